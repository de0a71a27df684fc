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

pub use reduce::{Lie, Reduction};
pub use room::{Context, Need, Pieces, Room, Scratch};
pub use rows::{Facts, Passes};
pub use scatter::Onwards;
pub use together::Launches;

use crate::kernels::{Function, Kernels};
use crate::known::{Form, Known, MapKernel};
use crate::settle::{OnWords, Settling};
use crate::tile::{Bases, Numbers, Tile, write_numbers};
use crate::words::{Cursor, Numbering, Words};
use lazuli_kernel::{Arg, Binding, Kernel, Nest, Result, Scalar, Shape, Slot, Store, Strides, Value, small};
use smallvec::SmallVec;
use std::sync::Arc;

/// A launch made ready: functions generated, numbers written. What is known of its kernel, the words of the plan and the launch's arguments are there when it runs.
pub enum Launch {
    /// No point at all.
    Nothing,
    Map(map::Map),
    Reduce(reduce::Reduce),
    Rows(rows::Rows),
    Scan(Box<scan::Scan>),
    Scatter(Box<scatter::Scatter>),
}

impl Launch {
    /// For at most so many threads, and the memory that it works in on these. `in_parts`: if it is a map, it will run in parts that others choose.
    pub fn new(launch: &Bound<'_>, threads: usize, in_parts: bool, words: &mut Words) -> Result<(Self, Need)> {
        let kernel = launch.kernel;
        let kept = launch.extents.len() - kernel.reduced() as usize;
        let scanned = |scan: scan::Scan, words: &mut Words| {
            let need = scan.settle(&mut OnWords(words), threads).into();
            (Launch::Scan(Box::new(scan)), need)
        };
        Ok(match &kernel.nest {
            _ if launch.extents[..kept].contains(&0) => (Launch::Nothing, Need::default()),
            Nest::Map { .. } => {
                let map = match in_parts {
                    true => map::Map::in_parts_of_others(launch, words)?,
                    false => map::Map::new(launch, words)?,
                };
                (Launch::Map(map), Need::default())
            }
            Nest::Reduce { .. } => {
                let (reduce, need) = reduce::Reduce::new(launch, threads, words)?;
                (Launch::Reduce(reduce), need)
            }
            Nest::Rows { .. } => {
                let (rows, need) = rows::Rows::new(launch, threads, words)?;
                (Launch::Rows(rows), need)
            }
            &Nest::Scan { op, reverse, exclusive, value, store } => {
                let store = Store { operand: store, value };
                scanned(scan::Scan::combining(launch, op, exclusive, reverse, store, words)?, words)
            }
            &Nest::Recurrence { reverse, factor, term, store } => {
                let store = Store { operand: store, value: term };
                scanned(scan::Scan::recurring(launch, factor, reverse, store, words)?, words)
            }
            &Nest::Scatter { op, target, index, mask, value } => {
                let update = scatter::Update { op, target, index, mask, value };
                let scatter = scatter::Scatter::new(launch, update, words)?;
                let need = scatter.need(threads);
                (Launch::Scatter(Box::new(scatter)), need)
            }
        })
    }

    /// Works out anew what follows from the numbers that the words have now, and the memory that it then works in. None if it would be made ready in another way for these.
    pub fn settle<S: Settling>(&self, known: &Known, cx: &mut S, threads: usize) -> Option<Need<S::N>> {
        let form = &known.form;
        let at = self.at(form)?;
        for axis in 0..form.kept {
            let extent = cx.number(at + axis);
            if cx.is(extent, 0) {
                return None;
            }
        }
        match self {
            Launch::Map(map) => map.settle(form, cx).map(|()| Need::none::<S>()),
            Launch::Reduce(reduce) => reduce.settle(form, cx, threads),
            Launch::Rows(rows) => rows.settle(form, cx, threads),
            Launch::Scan(scan) => Some(scan.settle(cx, threads)),
            Launch::Scatter(_) | Launch::Nothing => None,
        }
    }

    /// Where its extents stand, and behind them the other numbers if it is a reduction. None if it has no points at all.
    pub fn at(&self, form: &Form) -> Option<usize> {
        Some(match self {
            Launch::Nothing => return None,
            Launch::Map(map) => map.extents(form),
            Launch::Reduce(reduce) => reduce.at,
            Launch::Rows(rows) => rows.at,
            Launch::Scan(scan) => scan.at,
            Launch::Scatter(scatter) => scatter.at(),
        })
    }
    /// Rough cost on one thread, in picoseconds.
    pub fn cost<S: Settling>(&self, known: &Known, cx: &mut S) -> S::N {
        let Some(at) = self.at(&known.form) else { return S::count(0) };
        let extents = cx.numbers(at, known.form.rank);
        let points = cx.mul_all(&extents);
        cx.mul_by(points, known.form.cost)
    }

    /// Runs it on arguments at these addresses.
    ///
    /// # Safety
    ///
    /// The launch is of a plan that `Plan::verify` accepted; `known` is what is known of its kernel, and the words are those that it was made with. The addresses are of memory as
    /// large as the plan says, and nothing else touches it meanwhile but to read what this launch only reads.
    pub unsafe fn run(&self, known: &Known, words: &[isize], bases: &[usize], cx: &mut Context<'_>) {
        // SAFETY: passed on.
        unsafe {
            match self {
                Launch::Nothing => {}
                Launch::Map(map) => map.run(&known.map, words, bases, cx),
                Launch::Reduce(reduce) => reduce.run(words, bases, cx),
                Launch::Rows(rows) => rows.run(words, bases, cx),
                Launch::Scan(scan) => scan.run(words, bases, cx),
                Launch::Scatter(scatter) => scatter.run(words, bases, cx),
            }
        }
    }

    /// What runs in parts, if it is a map that was made for that.
    pub fn tile<'a>(&self, known: &'a Known, words: &'a [isize]) -> Option<Tile<'a>> {
        match self {
            Launch::Map(map) => map.tile(&known.map, words),
            _ => None,
        }
    }

    /// The functions it calls.
    pub fn functions(&self, known: &Known) -> Vec<Arc<Function>> {
        let of = |map: &MapKernel| map.generated(false).clone();
        match self {
            Launch::Nothing => vec![],
            Launch::Map(_) => vec![of(&known.map)],
            Launch::Reduce(reduce) => reduce.maps().map(of).collect(),
            Launch::Rows(rows) => rows.maps().map(of).collect(),
            Launch::Scan(scan) => scan.maps().map(of).collect(),
            Launch::Scatter(scatter) => scatter.maps().map(of).collect(),
        }
    }
}

/// The arguments of a launch that are what its step hands on to its epilogue.
pub struct HandedOn(SmallVec<[usize; 2]>);

impl HandedOn {
    pub fn of(args: &[Arg]) -> Self {
        Self(small((0..args.len()).filter(|&n| args[n].slot == Slot::Result)))
    }
    pub fn numbers(&self) -> &[usize] {
        &self.0
    }
    /// The addresses of the launch's arguments, where that lies here.
    pub fn bases(&self, bases: &[usize], at: usize) -> Bases {
        let mut bases = Bases::from_slice(bases);
        self.0.iter().for_each(|&n| bases[n] = bases[n].wrapping_add(at));
        bases
    }
}

/// A launch on its way to being made ready.
#[derive(Clone, Copy)]
pub struct Bound<'a> {
    pub kernels: &'a Kernels,
    pub known: &'a Known,
    pub kernel: &'a Kernel,
    pub extents: &'a [usize],
    pub args: &'a [Arg],
    pub params: &'a [Scalar],
    /// Which numbers of the plan these are.
    pub numbering: Numbering<'a>,
}

impl<'a> Bound<'a> {
    /// The next one of a plan.
    pub fn new(kernels: &'a Kernels, known: &'a Known, binding: &'a Binding, at: &mut Cursor) -> Bound<'a> {
        let Binding { extents, args, params } = binding;
        Bound { kernels, known, kernel: known.kernel(), extents, args, params, numbering: at.binding(binding) }
    }

    fn numbers(&self) -> Numbers<'a> {
        let Self { extents, args, params, numbering, .. } = *self;
        Numbers { extents, args, params, numbering }
    }

    /// Writes its numbers. Where they begin.
    fn write(&self, words: &mut Words) -> usize {
        write_numbers(words, self.kernel, &self.numbers())
    }

    /// The map that writes these values of the body to buffers, with its function.
    fn body_map(&self, values: &[Value]) -> Result<Arc<MapKernel>> {
        let map = self.known.body_map(values);
        map.function(self.kernels, false)?;
        Ok(map)
    }

    /// The same on numbers of its own, where all buffers have these strides in elements. The map, and where the numbers begin.
    fn write_body(&self, values: &[Value], strides: &[isize], words: &mut Words) -> Result<(Arc<MapKernel>, usize)> {
        let at = self.write(words);
        for value in values {
            let row = words.grow(strides.len() + 1);
            fill_row(&mut words[row..], strides, self.known.types[value.0 as usize].itemsize());
        }
        Ok((self.body_map(values)?, at))
    }
}

/// Extents as numbers.
fn numbers_of(extents: &[usize]) -> SmallVec<[i64; 8]> {
    small(extents.iter().map(|&n| n as i64))
}

/// Extents from words.
pub fn counts(words: &[isize]) -> Shape {
    small(words.iter().map(|&n| n as usize))
}

/// Writes the row of a buffer, from this word on, where its elements of so many bytes lie one behind the other over these extents.
fn derive_dense<S: Settling>(cx: &mut S, word: usize, extents: &[S::N], itemsize: S::N) {
    let mut step = itemsize;
    for (axis, &n) in extents.iter().enumerate().rev() {
        cx.derive(word + axis, step);
        let extent = cx.at_least(n, 1);
        step = cx.mul(step, extent);
    }
}

/// Whether strides in bytes are those of an array of such elements that is dense over these extents.
fn is_dense<S: Settling>(cx: &mut S, extents: &[S::N], strides: &[S::N], itemsize: usize) -> bool {
    let mut step = S::count(itemsize);
    for (&n, &stride) in extents.iter().zip(strides).rev() {
        if !cx.is(n, 1) && !cx.equal(stride, step) {
            return false;
        }
        let extent = cx.at_least(n, 1);
        step = cx.mul(step, extent);
    }
    true
}

/// Writes the row of a buffer with these strides in elements.
fn fill_row(row: &mut [isize], strides: &[isize], itemsize: usize) {
    row.iter_mut().zip(strides).for_each(|(own, s)| *own = s * itemsize as isize);
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
pub const PARALLEL: usize = 30_000_000;

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
