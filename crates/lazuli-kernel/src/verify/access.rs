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

/// One loop axis of an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Axis {
    pub number: u32,
    pub extent: i64,
    /// In bytes.
    pub stride: i64,
}

/// The bytes that one argument of a step touches, one element per point of the step's loop space.
#[derive(Debug, Clone)]
pub(super) struct Access {
    pub space: Space,
    /// Byte of the space where all indices are 0.
    pub base: i64,
    /// First byte touched and the one behind the last.
    pub span: (i64, i64),
    /// The loop axes that it moves along, or (if it writes) should.
    pub axes: SmallVec<[Axis; 4]>,
    pub itemsize: i64,
    /// Each point of a kernel touches the one element that its indices give. Not so computed positions and library calls.
    pub pointwise: bool,
    pub writes: bool,
    /// Which binding of a launch it belongs to.
    pub binding: u32,
}

impl Access {
    /// The access of one element at byte `base` of a space; at the point, within the first binding. None if that is too far.
    #[inline]
    pub fn new(space: Space, base: i64, itemsize: i64, writes: bool) -> Option<Self> {
        let span = (base, base.checked_add(itemsize)?);
        Some(Self { space, base, axes: SmallVec::new(), span, itemsize, pointwise: true, writes, binding: 0 })
    }

    /// Lets it move along an axis, whose extent is not 0. None if that is too far.
    #[inline]
    pub fn move_along(&mut self, axis: Axis) -> Option<()> {
        let reach = (axis.extent - 1).checked_mul(axis.stride)?;
        let end = if reach < 0 { &mut self.span.0 } else { &mut self.span.1 };
        *end = end.checked_add(reach)?;
        self.axes.push(axis);
        Some(())
    }

    /// Whether two points never share an element: sorted by stride, each axis steps over all that the ones below it span.
    pub fn is_injective(&self) -> bool {
        // Most often they are sorted, the innermost last.
        self.steps_over(self.axes.iter().rev()) || {
            let mut axes = self.axes.clone();
            axes.sort_by_key(|axis| axis.stride.abs());
            self.steps_over(axes.iter())
        }
    }

    /// Whether each axis steps over all that the ones before it span.
    fn steps_over<'a>(&self, mut axes: impl Iterator<Item = &'a Axis>) -> bool {
        let mut reach = self.itemsize;
        axes.all(|axis| {
            let clear = axis.stride.abs() >= reach;
            reach += (axis.extent - 1) * axis.stride.abs();
            clear
        })
    }

    /// Whether every point of one binding touches the same bytes through both, if their spaces are one.
    pub fn is_same_map(&self, other: &Access) -> bool {
        self.pointwise
            && other.pointwise
            && self.binding == other.binding
            && self.base == other.base
            && self.itemsize == other.itemsize
            && self.axes == other.axes
    }

    /// Whether the two are known to touch no common byte, were their spaces one: they lie apart, or interleave as the parts of complex numbers do.
    pub fn is_apart(&self, other: &Access) -> bool {
        let ((a, a_end), (b, b_end)) = (self.span, other.span);
        if a_end <= b || b_end <= a {
            return true;
        }
        let step = self.axes.iter().chain(&other.axes).fold(0, |g, axis| gcd(g, axis.stride.abs()));
        if step == 0 {
            return false;
        }
        let gap = (other.base - self.base).rem_euclid(step);
        gap >= self.itemsize && gap + other.itemsize <= step
    }
}

/// More elements than any machine's memory has, and few enough that bytes of so many fit in 64 bits.
pub(super) const FAR: u64 = 1 << 48;

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
