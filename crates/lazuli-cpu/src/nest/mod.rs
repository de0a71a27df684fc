//! Loop nests: what is done with the values of a kernel's body.
//!
//! A map is generated as it is. The other nests run a map derived from the body into small buffers that stay in the cache, and combine
//! the buffers in Rust; what a reduction does after that is again a derived map, over its results. So the code generator knows
//! maps only.

pub mod fold;
mod map;
mod reduce;
mod room;
mod rows;
mod scan;
mod scatter;
mod together;

pub use room::{Context, Need, Pieces, Room, Scratch};
pub use rows::{Facts, Passes};
pub use scatter::Onwards;
pub use together::Launches;

use crate::kernels::{Function, Kernels};
use crate::known::Known;
use crate::tile::{Bases, Operand, Tile};
use lazuli_kernel::{Arg, Kernel, Nest, Result, Scalar, Slot, Strides, Value, small};
use smallvec::SmallVec;
use std::sync::Arc;

/// A launch made ready: functions generated, strides in bytes.
pub struct Launch {
    work: Work,
    /// Slot, and byte within it of the element with all indices 0, of each argument.
    args: Places,
    /// Rough cost, in picoseconds.
    cost: usize,
    need: Need,
}

enum Work {
    /// No point at all.
    Nothing,
    Map(map::Map),
    Reduce(Box<reduce::Reduce>),
    Rows(Box<rows::Rows>),
    Scan(Box<scan::Scan>),
    Scatter(Box<scatter::Scatter>),
}

impl Launch {
    /// For at most so many threads.
    pub fn new(
        kernels: &Kernels,
        known: &Known,
        extents: &[usize],
        args: &[Arg],
        params: &[Scalar],
        threads: usize,
    ) -> Result<Self> {
        let launch = Bound::new(kernels, known, extents, args, params);
        let kernel = launch.kernel;
        let kept = extents.len() - kernel.reduced() as usize;
        let work = match &kernel.nest {
            _ if extents[..kept].contains(&0) => Work::Nothing,
            Nest::Map { .. } => Work::Map(map::Map::new(&launch)?),
            Nest::Reduce { accumulators, epilogue, stores, .. } => {
                Work::Reduce(Box::new(reduce::Reduce::new(&launch, accumulators, epilogue, stores)?))
            }
            Nest::Rows { .. } => Work::Rows(Box::new(rows::Rows::new(&launch)?)),
            Nest::Scan { op, reverse, exclusive, value, store } => {
                Work::Scan(Box::new(scan::Scan::new(&launch, *op, *reverse, *exclusive, *value, *store)?))
            }
            &Nest::Scatter { op, target, index, mask, value } => {
                let update = scatter::Update { op, target, index, mask, value };
                Work::Scatter(Box::new(scatter::Scatter::new(&launch, update)?))
            }
        };
        let cost = extents.iter().product::<usize>().saturating_mul(cost_per_point(kernel));
        let need = match &work {
            Work::Nothing | Work::Map(_) => Need::default(),
            Work::Reduce(reduce) => reduce.need(threads),
            Work::Rows(rows) => rows.need(threads),
            Work::Scan(scan) => scan.need(threads),
            Work::Scatter(scatter) => scatter.need(threads),
        };
        Ok(Self { work, args: places(kernel, args), cost, need })
    }

    /// The memory that it works in.
    pub fn need(&self) -> Need {
        self.need
    }

    /// The addresses of its arguments. `address` gives that of a slot.
    pub fn bases(&self, address: &dyn Fn(Slot) -> usize) -> Bases {
        let mut bases = Bases::with_capacity(self.args.len());
        for &(slot, offset) in &self.args {
            bases.push(address(slot).wrapping_add(offset));
        }
        bases
    }

    /// Runs it. `address` gives that of a slot.
    ///
    /// # Safety
    ///
    /// As for [`run_at`](Self::run_at).
    pub unsafe fn run(&self, address: &dyn Fn(Slot) -> usize, cx: &mut Context<'_>) {
        // SAFETY: passed on.
        unsafe { self.run_at(&self.bases(address), cx) }
    }

    /// Runs it on arguments at these addresses.
    ///
    /// # Safety
    ///
    /// The launch is of a plan that `Plan::verify` accepted, the addresses are of memory as large as the plan says, and nothing else
    /// touches it meanwhile but to read what this launch only reads.
    unsafe fn run_at(&self, bases: &[usize], cx: &mut Context<'_>) {
        // SAFETY: passed on.
        unsafe {
            match &self.work {
                Work::Nothing => {}
                Work::Map(map) => map.run(bases, cx),
                Work::Reduce(reduce) => reduce.run(bases, self.need.each, cx),
                Work::Rows(rows) => rows.run(bases, self.need.each, cx),
                Work::Scan(scan) => scan.run(bases, self.need.each, cx),
                Work::Scatter(scatter) => scatter.run(bases, self.need.each, cx),
            }
        }
    }

    /// What runs, if it is a map.
    pub fn tile(&self) -> Option<&Tile> {
        match &self.work {
            Work::Map(map) => Some(map.tile()),
            _ => None,
        }
    }

    /// The functions it calls.
    pub fn functions(&self) -> Vec<Arc<Function>> {
        match &self.work {
            Work::Nothing => vec![],
            Work::Map(map) => map.functions(),
            Work::Reduce(reduce) => reduce.functions(),
            Work::Rows(rows) => rows.functions(),
            Work::Scan(scan) => scan.functions(),
            Work::Scatter(scatter) => scatter.functions(),
        }
    }
}

/// A launch on its way to being made ready.
struct Bound<'a> {
    kernels: &'a Kernels,
    known: &'a Known,
    kernel: &'a Kernel,
    extents: &'a [usize],
    args: &'a [Arg],
    params: &'a [Scalar],
}

/// Slot, and byte within it of the element with all indices 0, of each argument.
type Places = SmallVec<[(Slot, usize); 8]>;

fn places(kernel: &Kernel, args: &[Arg]) -> Places {
    small(args.iter().zip(&kernel.operands).map(|(arg, o)| (arg.slot, arg.offset * o.dtype.itemsize())))
}

impl<'a> Bound<'a> {
    fn new(
        kernels: &'a Kernels,
        known: &'a Known,
        extents: &'a [usize],
        args: &'a [Arg],
        params: &'a [Scalar],
    ) -> Bound<'a> {
        Bound { kernels, known, kernel: known.kernel(), extents, args, params }
    }

    /// A map as it is. `stream`: whether it may store past the caches.
    fn tile(&self, stream: bool) -> Result<Tile> {
        let operands = self.args.iter().map(Operand::from);
        Tile::new(self.kernels, &self.known.map, self.extents, operands, self.params, stream)
    }

    /// The map that writes these values of the body to buffers, all of which have these strides.
    fn body_tile(&self, values: &[Value], strides: &[isize]) -> Result<Tile> {
        let (map, operands) = (self.known.body_map(values), self.with_buffers(values.len(), strides));
        Tile::new(self.kernels, &map, self.extents, operands, self.params, false)
    }

    /// The launch's operands and so many buffers of these strides.
    fn with_buffers<'b>(&'b self, n: usize, strides: &'b [isize]) -> impl Iterator<Item = Operand<'b>> {
        self.args.iter().map(Operand::from).chain(std::iter::repeat_n(Operand { strides, len: 0 }, n))
    }

    /// Strides of what has one element.
    fn no_strides(&self) -> Strides {
        SmallVec::from_elem(0, self.extents.len())
    }
}

/// Row-major strides, in elements, of the axes `from..` of a space.
fn row_strides(extents: &[usize], from: usize) -> Strides {
    lazuli_kernel::shape::row_strides(&extents[from..])
}

/// Rough cost of evaluating a map's body once, in picoseconds.
pub fn cost_per_point(kernel: &Kernel) -> usize {
    60 * kernel.body.len() + 100
}

/// Work that is worth waking another thread for, in picoseconds.
const PARALLEL: usize = 30_000_000;

/// Calls `each(first, count, rest)` for boxes that make up the row-major range `from..from + count` of a space: axis ranges, and the linear position of the
/// box's first point. Axes behind the one that varies are covered whole.
fn boxes(extents: &[usize], from: usize, count: usize, mut each: impl FnMut(&[usize], &[usize], usize)) {
    let rank = extents.len();
    if rank == 0 {
        return each(&[], &[], from);
    }
    let (mut at, end) = (from, from + count);
    let mut start = vec![0; rank];
    let mut counts = vec![1; rank];
    while at < end {
        let mut rest = at;
        for axis in (0..rank).rev() {
            start[axis] = rest % extents[axis];
            rest /= extents[axis];
        }
        // The outermost axis along which whole inner spaces fit.
        let (mut axis, mut inner) = (rank - 1, 1);
        while axis > 0 && start[axis] == 0 && inner * extents[axis] <= end - at {
            inner *= extents[axis];
            axis -= 1;
        }
        let steps = ((end - at) / inner).min(extents[axis] - start[axis]);
        for a in 0..rank {
            counts[a] = match a.cmp(&axis) {
                std::cmp::Ordering::Less => 1,
                std::cmp::Ordering::Equal => steps,
                std::cmp::Ordering::Greater => extents[a],
            };
        }
        each(&start, &counts, at);
        at += steps * inner;
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn boxes_cover_a_range_in_order() {
        for extents in [&[7][..], &[3, 5], &[2, 3, 4], &[1, 4, 1, 3]] {
            let total: usize = extents.iter().product();
            for from in 0..=total {
                for count in 0..=total - from {
                    let mut next = from;
                    super::boxes(extents, from, count, |start, counts, at| {
                        assert_eq!(at, next);
                        let mut linear = 0;
                        for (axis, &n) in extents.iter().enumerate() {
                            assert!(start[axis] + counts[axis] <= n && counts[axis] > 0);
                            linear = linear * n + start[axis];
                        }
                        assert_eq!(linear, at);
                        next += counts.iter().product::<usize>();
                    });
                    assert_eq!(next, from + count);
                }
            }
        }
    }
}
