//! The bytes that a step touches through one argument, and whether two such sets meet.

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
    pub number: usize,
    pub extent: i128,
    /// In bytes.
    pub stride: i128,
}

/// The bytes that one argument of a step touches, one element per point of the step's loop space.
#[derive(Debug, Clone)]
pub(super) struct Access {
    pub space: Space,
    /// Byte of the space where all indices are 0.
    pub base: i128,
    /// First byte touched and the one behind the last.
    pub span: (i128, i128),
    /// The loop axes that it moves along, or (if it writes) should.
    pub axes: SmallVec<[Axis; 4]>,
    pub itemsize: i128,
    /// Each point of a kernel touches the one element that its indices give. Not so computed positions and library calls.
    pub pointwise: bool,
    pub writes: bool,
    /// Which binding of a launch it belongs to.
    pub binding: u32,
}

impl Access {
    /// The access of elements along these axes, from byte `base` of a space on; at the point, within the first binding.
    pub fn new(space: Space, base: i128, axes: SmallVec<[Axis; 4]>, itemsize: i128, writes: bool) -> Self {
        let (mut low, mut high) = (base, base + itemsize);
        for axis in &axes {
            let reach = (axis.extent - 1) * axis.stride;
            if reach < 0 { low += reach } else { high += reach }
        }
        Self { space, base, axes, span: (low, high), itemsize, pointwise: true, writes, binding: 0 }
    }

    /// Whether two points never share an element: sorted by stride, each axis steps over all that the ones below it span.
    pub fn is_injective(&self) -> bool {
        let mut axes = self.axes.clone();
        axes.sort_by_key(|axis| axis.stride.abs());
        let mut reach = self.itemsize;
        axes.into_iter().all(|axis| {
            let clear = axis.stride.abs() >= reach;
            reach += (axis.extent - 1) * axis.stride.abs();
            clear
        })
    }

    /// Whether every point of one binding touches the same bytes through both.
    pub fn is_same_map(&self, other: &Access) -> bool {
        self.pointwise
            && other.pointwise
            && self.binding == other.binding
            && self.base == other.base
            && self.itemsize == other.itemsize
            && self.axes == other.axes
    }

    /// Whether the two are known to touch no common byte: they lie apart, or interleave as the parts of complex numbers do.
    pub fn is_disjoint(&self, other: &Access) -> bool {
        if self.space != other.space {
            return true;
        }
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

/// More elements than any machine's memory has, and few enough that spans fit in 128 bits.
pub(super) const FAR: u64 = 1 << 48;

/// Accesses of a step that reads and writes its arguments in an order of its own.
pub(super) fn wholes(accesses: impl IntoIterator<Item = Option<Access>>) -> Vec<Access> {
    accesses.into_iter().flatten().map(|a| Access { pointwise: false, ..a }).collect()
}

fn gcd(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { gcd(b, a % b) }
}
