//! The loops of kernels: their axes, which of them a reduction keeps, and whether what it reduces is a row that stays in the cache.

use lazuli_ir::{shape, small};
use smallvec::{SmallVec, smallvec};

/// A set of loop axes, a bit for each.
pub(super) type Mask = u64;

/// Bytes of the longest row that is worth keeping in the cache: a share of a second-level cache of 1 MiB. Longer ones go through memory.
const ROW_BYTES: usize = 256 << 10;
/// Rows side by side, where neighbours in memory are those of other rows: fewer at a time are walked slowly.
const ACROSS: usize = 256;
const LEAST_ACROSS: usize = 16;
/// Fewest points of rows side by side that are divided over threads, and fewest rows one by one.
const MANY_ACROSS: usize = 1024;
const MANY: usize = 32;
/// Points that are not worth dividing.
const FEW: usize = 1 << 16;

/// The extents of loop axes, outermost first, those of 1 left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Axes(SmallVec<[usize; 4]>);

impl Axes {
    pub fn of(shape: &[usize]) -> Self {
        let extents: SmallVec<[usize; 4]> = small(shape.iter().copied().filter(|&n| n != 1));
        // As one, where a mask has no bits for all.
        if extents.len() < Mask::BITS as usize { Self(extents) } else { Self(smallvec![shape::size(shape)]) }
    }

    pub fn all(&self) -> Mask {
        (1 << self.0.len()) - 1
    }

    /// The extents of some of the axes.
    fn along(&self, mask: Mask) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.0.iter().copied().enumerate().filter(move |(axis, _)| mask >> axis & 1 == 1)
    }

    /// Points along some of the axes.
    pub fn size(&self, mask: Mask) -> usize {
        self.along(mask).map(|(_, n)| n).product()
    }

    /// Whether these are those axes of `other`.
    pub fn are_those(&self, other: &Axes, mask: Mask) -> bool {
        other.along(mask).map(|(_, n)| n).eq(self.0.iter().copied())
    }

    /// The axes that remain for an operand of extents `shape` where a value of extents `out` that it is broadcast to is computed along `mask`; none
    /// if the value's axes are others.
    pub fn narrowed(&self, mask: Mask, out: &[usize], shape: &[usize]) -> Option<Mask> {
        let mut along = self.along(mask);
        let skip = out.len().checked_sub(shape.len())?;
        let mut narrow = 0;
        for (i, &n) in out.iter().enumerate().filter(|(_, n)| **n != 1) {
            let (axis, extent) = along.next()?;
            if extent != n {
                return None;
            }
            if i >= skip && shape[i - skip] != 1 {
                narrow |= 1 << axis;
            }
        }
        along.next().is_none().then_some(narrow)
    }
}

/// `mask` over axes that are those of `within`, over all of which that is a set.
pub(super) fn spread(mask: Mask, within: Mask) -> Mask {
    let bits = (0..Mask::BITS).filter(|b| within >> b & 1 == 1);
    bits.enumerate().filter(|(i, _)| mask >> i & 1 == 1).map(|(_, b)| 1 << b).sum()
}

/// What a kernel runs over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loop {
    pub axes: Axes,
    /// Those that its reductions keep; none if it is a map.
    pub kept: Option<Mask>,
    /// Whether values that are computed along a row may stay within the kernel until its reductions have results.
    pub is_row: bool,
}

impl Loop {
    pub fn map(space: &[usize]) -> Self {
        Self { axes: Axes::of(space), kept: None, is_row: false }
    }

    /// Of elements of `itemsize` bytes over a space, along `reduced` axes of it.
    pub fn reduction(space: &[usize], reduced: &[usize], itemsize: usize) -> Self {
        let kept_size: usize = (0..space.len()).filter(|a| !reduced.contains(a)).map(|a| space[a]).product();
        let n: usize = reduced.iter().map(|&a| space[a]).product();
        let (mut axes, mut kept) = (Axes::of(space), 0);
        let wide = (0..space.len()).filter(|&a| space[a] != 1);
        if wide.clone().count() < Mask::BITS as usize {
            wide.clone().enumerate().filter(|(_, a)| !reduced.contains(a)).for_each(|(i, _)| kept |= 1 << i);
        } else {
            (axes, kept) = (Axes(smallvec![kept_size, n]), 1);
        }
        // Neighbours in memory: of the same row, or of so many others.
        let inner: usize = (0..space.len()).rev().take_while(|a| !reduced.contains(a)).map(|a| space[a]).product();
        let (across, least, many) =
            if inner == 1 { (1, 1, MANY) } else { (inner.min(ACROSS), LEAST_ACROSS, MANY_ACROSS) };
        let bytes = n.saturating_mul(across).saturating_mul(itemsize);
        let divides = kept_size >= many || n.saturating_mul(kept_size) <= FEW;
        let wide_enough = across >= least || n.saturating_mul(kept_size) <= FEW;
        Self { axes, kept: Some(kept), is_row: n > 0 && bytes <= ROW_BYTES && divides && wide_enough }
    }

    /// How often a value is computed that depends on these axes: once for each row, or else for each run of the last axis, that it is the same along.
    pub fn points(&self, base: Mask) -> usize {
        let within_row = |kept: &Mask| base & !kept == 0;
        let all = self.axes.all();
        let last = all ^ all >> 1;
        self.axes.size(match self.kept.filter(within_row) {
            Some(kept) => kept,
            None if base & last == 0 => all & !last,
            None => all,
        })
    }

    /// Points of what a kernel of reductions keeps, or of a map.
    pub fn results(&self) -> usize {
        self.axes.size(self.kept.unwrap_or(self.axes.all()))
    }
}

/// How the loops of two kernels fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// As they are.
    Same,
    /// The first is a map over what the second keeps.
    First,
    Second,
}

/// Whether two kernels may become one, as far as their loops are concerned.
pub(super) fn fit(a: &Loop, b: &Loop) -> Option<Fit> {
    match (a.kept, b.kept) {
        (None, None) => (a.axes == b.axes).then_some(Fit::Same),
        (Some(p), Some(q)) => (p == q && a.axes == b.axes).then_some(Fit::Same),
        (None, Some(kept)) if a.axes.are_those(&b.axes, kept) => Some(Fit::First),
        (Some(kept), None) if b.axes.are_those(&a.axes, kept) => Some(Fit::Second),
        _ => (a.axes == b.axes && a.is_row | b.is_row).then_some(Fit::Same),
    }
}

/// How two kernels become one, and the loop of that.
pub(super) fn joined(a: &Loop, b: &Loop) -> Option<(Fit, Loop)> {
    let how = fit(a, b)?;
    let rows = if a.kept.is_some() { a } else { b };
    let is_row = rows.is_row && [a, b].iter().all(|nest| nest.kept.is_none() || nest.is_row);
    Some((how, Loop { is_row, ..rows.clone() }))
}
