//! The bytes that a step touches through one argument, and whether two such sets meet.
//!
//! Bytes are counted in 64 bits: a slot has no more, so that what does not fit is out of bounds.

use crate::plan::Slot;
use smallvec::SmallVec;

/// The memory behind a slot: two slots overlap only within one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Space {
    Input(u32),
    Output(u32),
    Arena,
}

/// Extents of the loop axes of an access: those of a list, and up to two that follow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axes<'a> {
    outer: &'a [usize],
    inner: [usize; 2],
    rank: usize,
    /// Whether there is no point.
    is_empty: bool,
}

impl<'a> Axes<'a> {
    #[inline]
    pub fn of(extents: &'a [usize]) -> Self {
        Self { outer: extents, inner: [1; 2], rank: extents.len(), is_empty: extents.contains(&0) }
    }
    /// These, then one more.
    pub fn then_row(outer: &'a [usize], n: usize) -> Self {
        Self { outer, inner: [n, 1], rank: outer.len() + 1, is_empty: n == 0 || outer.contains(&0) }
    }
    /// These, then two more.
    pub fn then_matrix(outer: &'a [usize], inner: [usize; 2]) -> Self {
        Self { outer, inner, rank: outer.len() + 2, is_empty: inner.contains(&0) || outer.contains(&0) }
    }
    /// One axis.
    #[inline]
    pub fn row(n: usize) -> Self {
        Self::then_row(&[], n)
    }
    pub fn rank(&self) -> usize {
        self.rank
    }
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }
    /// That of an axis below the rank.
    #[inline]
    fn extent(&self, axis: usize) -> usize {
        match self.outer.get(axis) {
            Some(&extent) => extent,
            None => self.inner[axis - self.outer.len()],
        }
    }
    pub fn extents(&self) -> impl Iterator<Item = usize> {
        (0..self.rank).map(|axis| self.extent(axis))
    }
    /// Each with its stride.
    #[inline(always)]
    fn with(&self, strides: &[isize], mut each: impl FnMut(usize, isize) -> bool) -> bool {
        let (outer, inner) = strides.split_at(self.outer.len());
        self.outer.iter().zip(outer).all(|(&extent, &stride)| each(extent, stride))
            && (inner.is_empty() || self.inner.iter().zip(inner).all(|(&extent, &stride)| each(extent, stride)))
    }

    /// The bytes that are touched as a whole with these strides, if there is a point: the first and the one behind the last, counted from the byte where all indices are 0; None if
    /// they are more than memory has.
    #[inline(always)]
    fn span(&self, strides: &[isize], itemsize: i64) -> Option<(i64, i64)> {
        let (mut low, mut high) = (0i64, itemsize);
        let is_near = self.with(strides, |extent, stride| {
            if is_far(extent, stride) {
                return false;
            }
            let Some(reach) = (extent as i64 - 1).checked_mul(stride as i64 * itemsize) else { return false };
            let (before, behind) = (low.checked_add(reach.min(0)), high.checked_add(reach.max(0)));
            (low, high) = (before.unwrap_or(0), behind.unwrap_or(0));
            before.is_some() && behind.is_some()
        });
        is_near.then_some((low, high))
    }

    /// Whether two points never share an element: sorted by stride, each axis steps over all that the ones below it span. What is spanned is known to be no more than memory.
    #[inline]
    fn are_injective(&self, strides: &[isize]) -> bool {
        // Most often they are sorted, the innermost last.
        let mut reach = 1;
        for (axis, &stride) in strides.iter().enumerate().rev() {
            let extent = self.extent(axis);
            if extent > 1 && !steps_over(&mut reach, extent, stride) {
                return self.are_injective_in_some_order(strides);
            }
        }
        true
    }
    #[cold]
    fn are_injective_in_some_order(&self, strides: &[isize]) -> bool {
        let mut axes: SmallVec<[(usize, isize); 6]> = self.extents().zip(strides.iter().copied()).collect();
        axes.retain(|(extent, _)| *extent > 1);
        axes.sort_by_key(|(_, stride)| stride.unsigned_abs());
        let mut reach = 1;
        axes.into_iter().all(|(extent, stride)| steps_over(&mut reach, extent, stride))
    }
}

/// How the bytes that are touched follow from the indices, up to where they begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct IndexMap<'a> {
    pub axes: Axes<'a>,
    /// In elements, one for each axis.
    pub strides: &'a [isize],
    pub itemsize: i64,
    /// Each point of a kernel touches the one element that its indices give. Not so computed positions and library calls.
    pub pointwise: bool,
}

impl IndexMap<'_> {
    /// Extent and stride of the axes that are longer than 1, the innermost first.
    fn long(&self) -> impl Iterator<Item = (usize, isize)> {
        let axes = (0..self.strides.len()).rev().map(|axis| (self.axes.extent(axis), self.strides[axis]));
        axes.filter(|&(extent, _)| extent > 1)
    }

    /// Extent and stride of an axis that it moves along; None for any other.
    fn moves_along(&self, axis: usize) -> Option<(usize, isize)> {
        let stride = *self.strides.get(axis).filter(|&&s| s != 0)?;
        let extent = self.axes.extent(axis);
        (extent > 1).then_some((extent, stride))
    }

    /// Whether both lead to the same bytes from the same beginning, at every point of a binding that they are of.
    fn agrees(&self, other: &IndexMap) -> bool {
        let rank = self.strides.len().max(other.strides.len());
        self.pointwise
            && other.pointwise
            && self.itemsize == other.itemsize
            && (0..rank).all(|axis| self.moves_along(axis) == other.moves_along(axis))
    }

    /// All that it touches lies such a multiple of bytes from its beginning; 0 if it is one element.
    fn step(&self) -> i64 {
        self.long().fold(0, |g, (_, stride)| gcd(g, (stride as i64 * self.itemsize).abs()))
    }
}

/// Whether an axis steps over all elements that the ones before it span, which are so many. It counts those that they span together.
#[inline]
fn steps_over(reach: &mut u64, extent: usize, stride: isize) -> bool {
    let stride = stride.unsigned_abs() as u64;
    let is_over = stride >= *reach;
    *reach += (extent as u64 - 1) * stride;
    is_over
}

/// The bytes that one argument of a step touches, one element per point of the step's loop space.
#[derive(Debug)]
struct Access<'a> {
    space: Space,
    /// Byte of the space where all indices are 0.
    base: i64,
    /// First byte touched and the one behind the last.
    span: (i64, i64),
    map: IndexMap<'a>,
    /// Which binding of a launch it belongs to.
    binding: u32,
    /// The one before it in its chain.
    before: u32,
    writes: bool,
}

impl Access<'_> {
    /// Whether every point of one binding of a step touches the same bytes through both, if their spaces are one.
    #[inline]
    fn is_at_same_points(&self, other: &Access) -> bool {
        self.binding == other.binding && self.base == other.base && self.map.agrees(&other.map)
    }

    /// Whether a point may touch through one what another point touches through the other, were their spaces one: they are not a read and a write of each point's own element, and do
    /// not lie apart, nor interleave as the parts of complex numbers do.
    #[inline]
    fn meets(&self, other: &Access) -> bool {
        let in_place = || self.writes != other.writes && self.is_at_same_points(other);
        self.span.1 > other.span.0 && other.span.1 > self.span.0 && !in_place() && !self.interleaves(other)
    }

    fn interleaves(&self, other: &Access) -> bool {
        let step = gcd(self.map.step(), other.map.step());
        if step == 0 {
            return false;
        }
        let gap = (other.base - self.base).rem_euclid(step);
        gap >= self.map.itemsize && gap + other.map.itemsize <= step
    }
}

/// Where a slot lies: its space, its first byte there, and the one behind its last.
pub(super) type Place = (Space, i64, i64);

/// Why an access is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It leaves its slot.
    Beyond,
    /// Two points write one element.
    Twice,
}

/// The number of no step and of no access.
const NONE: u32 = u32::MAX;

/// Accesses of one step to a slot that donations speak of, as a chain.
#[derive(Debug, Clone, Copy)]
struct Chain {
    step: u32,
    /// The one that was added last.
    last: u32,
}

impl Chain {
    const EMPTY: Chain = Chain { step: NONE, last: NONE };

    /// Adds an access of a step, which begins the chain anew if it is of another one. The one before it.
    #[inline]
    fn add(&mut self, step: u32, number: u32) -> u32 {
        let before = if self.step == step { self.last } else { NONE };
        *self = Chain { step, last: number };
        before
    }
}

/// The slots that donations of a plan speak of.
#[derive(Debug, Default)]
pub(super) struct Donated {
    inputs: Box<[bool]>,
    outputs: Box<[bool]>,
}

impl Donated {
    /// Of so many inputs and outputs; those that there are not are left out.
    pub fn of(inputs: usize, outputs: usize, donations: &[(u32, u32)]) -> Self {
        let mut of = Self { inputs: vec![false; inputs].into(), outputs: vec![false; outputs].into() };
        for &(output, input) in donations {
            if let (Some(to), Some(from)) = (of.outputs.get_mut(output as usize), of.inputs.get_mut(input as usize)) {
                (*to, *from) = (true, true);
            }
        }
        of
    }
    pub fn has_input(&self, n: usize) -> bool {
        self.inputs[n]
    }
    pub fn has_output(&self, n: usize) -> bool {
        self.outputs[n]
    }
}

/// Of the accesses to an output.
#[derive(Debug, Clone, Copy)]
struct Output {
    /// Those of the first step that writes it.
    writes: Chain,
    /// The last step that touches it, and its first access; none if there are more.
    alone: (u32, u32),
}

/// What steps touch: one binding after another, step by step. Kept is what may be in another's way: accesses of the step but to inputs, which nothing writes, and those to slots that
/// donations speak of.
#[derive(Debug)]
pub(super) struct Accesses<'a> {
    list: Vec<Access<'a>>,
    /// Where those of the step begin.
    first: usize,
    /// Whether those of the step are kept behind it.
    is_kept: bool,
    /// The numbers of those of the step that may meet others: to the arena, and to outputs that are touched more than once. How many of them write.
    crowd: Vec<u32>,
    crowd_writes: usize,
    donated: &'a Donated,
    /// Of each input, accesses of the last step that reads it.
    reads: Vec<Chain>,
    outputs: Vec<Output>,
    step: u32,
    binding: u32,
    /// Whether an access to an output was kept in the step, and whether one was added.
    keeps_output: bool,
    adds_output: bool,
    /// Whether what is added now is read and written in an order that is not that of points.
    pub as_wholes: bool,
}

impl<'a> Accesses<'a> {
    /// For a plan whose donations speak of these.
    pub fn new(donated: &'a Donated) -> Self {
        Self {
            list: Vec::with_capacity(32),
            first: 0,
            is_kept: false,
            crowd: Vec::with_capacity(16),
            crowd_writes: 0,
            donated,
            reads: vec![Chain::EMPTY; donated.inputs.len()],
            outputs: vec![Output { writes: Chain::EMPTY, alone: (NONE, NONE) }; donated.outputs.len()],
            step: NONE,
            binding: 0,
            keeps_output: false,
            adds_output: false,
            as_wholes: false,
        }
    }

    /// Goes on to the step of this number.
    pub fn begin_step(&mut self, number: usize) {
        if !self.is_kept {
            self.list.truncate(self.first);
        }
        (self.first, self.is_kept) = (self.list.len(), false);
        self.crowd.clear();
        (self.step, self.binding, self.crowd_writes, self.as_wholes) = (number as u32, 0, 0, false);
        (self.keeps_output, self.adds_output) = (false, false);
    }

    /// Goes through the step once more.
    #[cold]
    pub fn begin_step_again(&mut self) {
        self.outputs.iter_mut().for_each(|output| output.alone = (NONE, NONE));
        self.begin_step(self.step as usize);
    }

    /// Leaves out an access that is kept.
    #[inline]
    pub fn keep(&mut self, slot: Slot) {
        self.keeps_output |= matches!(slot, Slot::Output(_));
    }

    /// Whether what was left out of the step may be in the way of what was not.
    pub fn mixes(&self) -> bool {
        self.keeps_output && self.adds_output
    }

    /// Whether the step has accesses that donations depend on, among those that were not left out.
    pub fn has_donated(&self) -> bool {
        self.is_kept
    }

    /// Goes on to the binding of this number.
    pub fn begin_binding(&mut self, number: usize) {
        self.binding = number as u32;
    }

    /// Adds the access by a map that has points, from this element of a slot on, if it is well-formed.
    #[inline]
    pub fn add(
        &mut self,
        map: &IndexMap<'a>,
        &(space, start, end): &Place,
        offset: usize,
        writes: bool,
    ) -> Result<(), Fault> {
        let Some((low, high)) = map.axes.span(map.strides, map.itemsize) else { return Err(Fault::Beyond) };
        let base = i64::try_from(offset).ok().and_then(|n| n.checked_mul(map.itemsize)?.checked_add(start));
        let Some(base) = base else { return Err(Fault::Beyond) };
        let (Some(low), Some(high)) = (base.checked_add(low), base.checked_add(high)) else {
            return Err(Fault::Beyond);
        };
        if low < start || high > end {
            return Err(Fault::Beyond);
        }
        if writes && !map.axes.are_injective(map.strides) {
            return Err(Fault::Twice);
        }
        let number = self.list.len() as u32;
        let mut before = NONE;
        match space {
            Space::Input(n) => {
                if !self.donated.has_input(n as usize) {
                    return Ok(());
                }
                self.is_kept = true;
                before = self.reads[n as usize].add(self.step, number);
            }
            Space::Output(n) => {
                self.adds_output = true;
                let output = &mut self.outputs[n as usize];
                if writes && self.donated.has_output(n as usize) && [self.step, NONE].contains(&output.writes.step) {
                    self.is_kept = true;
                    before = output.writes.add(self.step, number);
                }
                if output.alone.0 != self.step {
                    output.alone = (self.step, number);
                } else {
                    let first = std::mem::replace(&mut output.alone.1, NONE);
                    if first != NONE {
                        self.crowd_writes += usize::from(self.list[first as usize].writes);
                        self.crowd.push(first);
                    }
                    self.crowd_writes += usize::from(writes);
                    self.crowd.push(number);
                }
            }
            Space::Arena => {
                self.crowd_writes += usize::from(writes);
                self.crowd.push(number);
            }
        }
        let map = IndexMap { pointwise: map.pointwise && !self.as_wholes, ..*map };
        self.list.push(Access { space, base, span: (low, high), map, binding: self.binding, before, writes });
        Ok(())
    }

    /// Whether a write of the step meets any other access, but a read of each point's own element within a binding.
    pub fn conflict(&self) -> bool {
        if self.crowd_writes == 0 {
            return false;
        }
        let at = |number: u32| &self.list[number as usize];
        if self.crowd_writes * self.crowd.len() <= FEW {
            for &write in &self.crowd {
                let to = at(write);
                if !to.writes {
                    continue;
                }
                for &number in &self.crowd {
                    let a = at(number);
                    if a.space == to.space && number != write && a.meets(to) {
                        return true;
                    }
                }
            }
            return false;
        }
        // By first byte, with the end of all that begins no later: what may meet an access is a short run of them.
        let mut writes: Vec<u32> = self.crowd.iter().copied().filter(|&number| at(number).writes).collect();
        writes.sort_unstable_by_key(|&write| (at(write).space, at(write).span.0));
        let mut ends: Vec<i64> = Vec::with_capacity(writes.len());
        for (n, &write) in writes.iter().enumerate() {
            let is_first = n == 0 || at(writes[n - 1]).space != at(write).space;
            let before = if is_first { i64::MIN } else { ends[n - 1] };
            ends.push(before.max(at(write).span.1));
        }
        self.crowd.iter().any(|&number| {
            let a = at(number);
            let (low, high) = a.span;
            let first = writes.partition_point(|&w| at(w).space < a.space);
            let last = first + writes[first..].partition_point(|&w| at(w).space == a.space && at(w).span.0 < high);
            let first = first + ends[first..last].partition_point(|&end| end <= low);
            writes[first..last].iter().any(|&write| number != write && a.meets(at(write)))
        })
    }

    /// Why an output cannot take over an input, both of which there are.
    pub fn hindrance(&self, output: usize, input: usize) -> Option<&'static str> {
        let (writes, reads) = (self.outputs[output].writes, self.reads[input]);
        if writes.step == NONE || reads.step == NONE || reads.step < writes.step {
            return None;
        }
        if reads.step > writes.step {
            return Some("a later step reads the input");
        }
        let mut write = writes.last;
        while let Some(to) = self.list.get(write as usize) {
            let mut read = reads.last;
            while let Some(from) = self.list.get(read as usize) {
                if from.meets(to) {
                    return Some("a step reads the input at other points than it writes");
                }
                read = from.before;
            }
            write = to.before;
        }
        None
    }
}

/// So many pairs of accesses are all compared.
const FEW: usize = 256;

/// More elements than any machine's memory has, and few enough that bytes of so many fit in 64 bits.
const FAR: u64 = 1 << 48;

/// Whether an axis is longer, or goes in larger steps, than any memory.
#[inline]
pub(super) fn is_far(extent: usize, stride: isize) -> bool {
    extent as u64 > FAR || stride.unsigned_abs() as u64 > FAR
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
