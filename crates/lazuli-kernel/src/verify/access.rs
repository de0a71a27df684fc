//! The bytes that a step touches through one argument, and whether two such sets meet.
//!
//! Bytes are counted in 64 bits: a slot has no more, so that what does not fit is out of bounds.

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
}

impl<'a> Axes<'a> {
    pub fn of(extents: &'a [usize]) -> Self {
        Self { outer: extents, inner: [1; 2], rank: extents.len() }
    }
    /// These, then one more.
    pub fn then_row(outer: &'a [usize], n: usize) -> Self {
        Self { outer, inner: [n, 1], rank: outer.len() + 1 }
    }
    /// These, then two more.
    pub fn then_matrix(outer: &'a [usize], inner: [usize; 2]) -> Self {
        Self { outer, inner, rank: outer.len() + 2 }
    }
    /// One axis.
    pub fn row(n: usize) -> Self {
        Self::then_row(&[], n)
    }
    pub fn rank(&self) -> usize {
        self.rank
    }
    /// That of an axis below the rank.
    #[inline]
    fn extent(&self, axis: usize) -> usize {
        self.outer.get(axis).copied().unwrap_or_else(|| self.inner[axis - self.outer.len()])
    }
    pub fn extents(&self) -> impl Iterator<Item = usize> {
        (0..self.rank).map(|axis| self.extent(axis))
    }
    /// Whether they are known to be equal, as they are the very same.
    fn are(&self, other: &Axes) -> bool {
        std::ptr::eq(self.outer, other.outer) && self.inner == other.inner && self.rank == other.rank
    }
}

/// How the bytes that are touched follow from the indices, up to where they begin: what arguments of one binding have in common, most often.
#[derive(Debug)]
struct IndexMap<'a> {
    axes: Axes<'a>,
    /// In elements, one for each axis.
    strides: &'a [isize],
    itemsize: i64,
    /// Each point of a kernel touches the one element that its indices give. Not so computed positions and library calls.
    pointwise: bool,
    extent: Extent,
    /// Whether two points never share an element, if that was asked for.
    injective: Option<bool>,
}

/// The bytes of an index map as a whole.
#[derive(Debug, Clone, Copy)]
enum Extent {
    /// There is no point.
    Empty,
    /// From the first byte to the one behind the last, counted from the byte where all indices are 0.
    Span(i64, i64),
    /// More than memory has.
    Far,
}

impl Extent {
    fn of(axes: &Axes, strides: &[isize], itemsize: i64) -> Self {
        let (outer, inner) = strides.split_at(axes.outer.len());
        let mut all = axes.outer.iter().zip(outer).chain(axes.inner.iter().zip(inner));
        let mut is_empty = false;
        let span = all.try_fold((0i64, itemsize), |(low, high), (&extent, &stride)| {
            is_empty |= extent == 0;
            if is_far(extent, stride) {
                return None;
            }
            let reach = (extent as i64 - 1).checked_mul(stride as i64 * itemsize)?;
            Some(if reach < 0 { (low.checked_add(reach)?, high) } else { (low, high.checked_add(reach)?) })
        });
        match span {
            Some(_) if is_empty => Extent::Empty,
            Some((low, high)) => Extent::Span(low, high),
            // The axes behind the one that is too far were not looked at.
            None if axes.extents().any(|n| n == 0) => Extent::Empty,
            None => Extent::Far,
        }
    }
}

impl<'a> IndexMap<'a> {
    fn new(axes: Axes<'a>, strides: &'a [isize], itemsize: i64, pointwise: bool) -> Self {
        let extent = Extent::of(&axes, strides, itemsize);
        Self { axes, strides, itemsize, pointwise, extent, injective: None }
    }

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

    /// Whether two points never share an element: sorted by stride, each axis steps over all that the ones below it span. What it spans is known to be no more than memory.
    fn is_injective(&mut self) -> bool {
        if let Some(known) = self.injective {
            return known;
        }
        // Most often they are sorted, the innermost last.
        let is = steps_over(self.long()) || {
            let mut axes: SmallVec<[(usize, isize); 6]> = self.long().collect();
            axes.sort_by_key(|(_, stride)| stride.unsigned_abs());
            steps_over(axes.into_iter())
        };
        self.injective = Some(is);
        is
    }

    /// Whether both lead to the same bytes from the same beginning, at every point of a binding that they are of.
    fn agrees(&self, other: &IndexMap) -> bool {
        let rank = self.strides.len().max(other.strides.len());
        self.pointwise
            && other.pointwise
            && self.itemsize == other.itemsize
            && (0..rank).all(|axis| self.moves_along(axis) == other.moves_along(axis))
    }
}

/// Whether each axis, an extent and a stride, steps over all elements that the ones before it span.
fn steps_over(mut axes: impl Iterator<Item = (usize, isize)>) -> bool {
    let mut reach = 1;
    axes.all(|(extent, stride)| {
        let (before, stride) = (reach, stride.unsigned_abs() as u64);
        reach += (extent as u64 - 1) * stride;
        stride >= before
    })
}

/// The bytes that one argument of a step touches, one element per point of the step's loop space.
#[derive(Debug, Clone)]
pub(super) struct Access {
    pub space: Space,
    /// Byte of the space where all indices are 0.
    base: i64,
    /// First byte touched and the one behind the last.
    pub span: (i64, i64),
    /// The number of its index map.
    map: u32,
    pub writes: bool,
    /// Which step of the plan it belongs to, and which binding of a launch.
    pub step: u32,
    binding: u32,
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

/// What steps touch: one binding after another, step by step.
#[derive(Debug)]
pub(super) struct Accesses<'a> {
    list: Vec<Access>,
    maps: Vec<IndexMap<'a>>,
    /// Where those of the step, and the maps of the binding, begin.
    first: usize,
    first_map: usize,
    step: u32,
    binding: u32,
    /// Whether what is added now is read and written in an order that is not that of points.
    pub as_wholes: bool,
}

impl<'a> Accesses<'a> {
    /// For about so many steps.
    pub fn with_capacity(steps: usize) -> Self {
        let (list, maps) = (Vec::with_capacity(8 * steps), Vec::with_capacity(4 * steps));
        Self { list, maps, first: 0, first_map: 0, step: 0, binding: 0, as_wholes: false }
    }

    /// Goes on to the step of this number; those before are forgotten unless they are `kept`.
    pub fn begin_step(&mut self, number: usize, kept: bool) {
        if !kept {
            self.list.clear();
            self.maps.clear();
        }
        (self.first, self.step, self.as_wholes) = (self.list.len(), number as u32, false);
        self.begin_binding(0);
    }

    /// Goes on to the binding of this number.
    pub fn begin_binding(&mut self, number: usize) {
        (self.first_map, self.binding) = (self.maps.len(), number as u32);
    }

    /// All of them.
    pub fn all(&self) -> &[Access] {
        &self.list
    }
    /// Those of the step.
    pub fn of_step(&self) -> &[Access] {
        &self.list[self.first..]
    }

    /// The number of this index map.
    #[inline]
    fn map(&mut self, axes: Axes<'a>, strides: &'a [isize], itemsize: i64, pointwise: bool) -> usize {
        let same = |map: &IndexMap| {
            let is_alike = map.itemsize == itemsize && map.pointwise == pointwise && map.axes.are(&axes);
            // They are of one rank, and few.
            is_alike && map.strides.iter().zip(strides).all(|(a, b)| a == b)
        };
        match self.maps[self.first_map..].iter().rposition(same) {
            Some(n) => self.first_map + n,
            None => {
                self.maps.push(IndexMap::new(axes, strides, itemsize, pointwise));
                self.maps.len() - 1
            }
        }
    }

    /// Adds the access that begins with this element of a slot, if there is a point, and it is well-formed. `pointwise`: as the indices give, where not all are taken as wholes.
    #[inline]
    pub fn add(
        &mut self,
        (space, start, end): Place,
        offset: usize,
        itemsize: i64,
        (axes, strides): (Axes<'a>, &'a [isize]),
        pointwise: bool,
        writes: bool,
    ) -> Result<(), Fault> {
        let number = self.map(axes, strides, itemsize, pointwise && !self.as_wholes);
        let map = &mut self.maps[number];
        let (low, high) = match map.extent {
            Extent::Empty => return Ok(()),
            Extent::Span(low, high) => (low, high),
            Extent::Far => return Err(Fault::Beyond),
        };
        let base = i64::try_from(offset).ok().and_then(|n| n.checked_mul(itemsize)?.checked_add(start));
        let span = base.and_then(|base| Some((base, (base.checked_add(low)?, base.checked_add(high)?))));
        let Some((base, span)) = span.filter(|(_, span)| span.0 >= start && span.1 <= end) else {
            return Err(Fault::Beyond);
        };
        if writes && !map.is_injective() {
            return Err(Fault::Twice);
        }
        let (step, binding, map) = (self.step, self.binding, number as u32);
        self.list.push(Access { space, base, span, map, writes, step, binding });
        Ok(())
    }

    /// Whether every point of one binding touches the same bytes through both, if their spaces are one.
    #[inline]
    pub fn is_same_map(&self, a: &Access, b: &Access) -> bool {
        let map = |access: &Access| &self.maps[access.map as usize];
        let agree = || if a.map == b.map { map(a).pointwise } else { map(a).agrees(map(b)) };
        a.binding == b.binding && a.base == b.base && agree()
    }

    /// Whether the two are known to touch no common byte, were their spaces one: they lie apart, or interleave as the parts of complex numbers do.
    #[inline]
    pub fn are_apart(&self, a: &Access, b: &Access) -> bool {
        a.span.1 <= b.span.0 || b.span.1 <= a.span.0 || self.interleave(a, b)
    }

    fn interleave(&self, a: &Access, b: &Access) -> bool {
        let [of_a, of_b] = [a, b].map(|access| &self.maps[access.map as usize]);
        let steps = |map: &IndexMap| {
            let itemsize = map.itemsize;
            map.long().fold(0, |g, (_, stride)| gcd(g, (stride as i64 * itemsize).abs()))
        };
        let step = gcd(steps(of_a), steps(of_b));
        if step == 0 {
            return false;
        }
        let gap = (b.base - a.base).rem_euclid(step);
        gap >= of_a.itemsize && gap + of_b.itemsize <= step
    }
}

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
