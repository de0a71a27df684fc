//! A map bound to extents and strides, and its calls over boxes of the loop space.
//!
//! This is the room where generated code is called. Everything that runs comes down to [`Tile::run`] on sub-boxes of a verified
//! launch, some of whose operands may be buffers of the nest that drives it.
//!
//! What a plan keeps of its launches is numbers, the [words](crate::words), one launch behind the other ([`write_numbers`]); the maps of a launch have the same ones. What follows from kernels is
//! looked up in what is [known](crate::known) of them when it runs.

use crate::codegen::block::{Layout, N, OPERAND_WORDS, ROW_AXIS, ROWS};
use crate::kernels::Function;
use crate::known::{Form, MapKernel};
use crate::settle::Settling;
use crate::words::{Numbering, Words};
use lazuli_kernel::{Arg, Inner, Kernel, Role, Scalar, small};
use smallvec::SmallVec;

/// Addresses of a tile's operands at the origin of the loop space.
pub type Bases = SmallVec<[usize; 8]>;

/// What operands of no elements are read from.
#[repr(align(64))]
struct Zeros(#[allow(dead_code)] [u64; 8]);
static ZEROS: Zeros = Zeros([0; 8]);

/// Where to run: first index and number of indices along each axis, none of them 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub start: SmallVec<[usize; 4]>,
    pub count: SmallVec<[usize; 4]>,
}

impl Part {
    pub fn all(extents: &[usize]) -> Self {
        Self { start: SmallVec::from_elem(0, extents.len()), count: extents.into() }
    }
    pub fn is_empty(&self) -> bool {
        self.count.contains(&0)
    }
    /// The same box with another range along one axis.
    pub fn with(&self, axis: usize, start: usize, count: usize) -> Self {
        let mut part = self.clone();
        part.start[axis] = start;
        part.count[axis] = count;
        part
    }
}

/// Elements of a row that are gone through before the next row, where each is on a cache line of its own: the lines stay in the first-level cache for the
/// rows that need their other elements.
const SCATTERED: usize = 64;
/// Bytes of a cache line.
const LINE: usize = 64;

/// The axis that rows step along in a box of so many indices: the last one that is not the vectors' and has more than one.
fn row_axis(count: &[usize], vector_axis: usize) -> Option<usize> {
    (0..count.len()).rev().find(|&a| a != vector_axis && count[a] > 1)
}

/// Writes how far a call over a box of so many indices goes. The axis that its rows step along.
#[inline]
fn head(block: &mut [isize], vector_axis: usize, count: &[usize]) -> Option<usize> {
    let row_axis = row_axis(count, vector_axis);
    block[N] = count.get(vector_axis).map_or(1, |&n| n as isize);
    block[ROWS] = row_axis.map_or(1, |a| count[a] as isize);
    block[ROW_AXIS] = row_axis.unwrap_or(0) as isize;
    row_axis
}

/// What a launch runs on, and which numbers of the plan these are.
#[derive(Clone, Copy)]
pub struct Numbers<'a> {
    pub extents: &'a [usize],
    pub args: &'a [Arg],
    pub params: &'a [Scalar],
    pub numbering: Numbering<'a>,
}

impl Numbers<'_> {
    fn extent(&self, words: &mut Words, word: usize, axis: usize) {
        words.set(word, self.extents[axis] as isize, 1, self.numbering.number(axis));
    }
    /// So many times the stride.
    fn stride(&self, words: &mut Words, word: usize, arg: usize, axis: usize, times: usize) {
        let rank = self.extents.len();
        let number = self.numbering.number(rank + self.args.len() + arg * rank + axis);
        words.set(word, self.args[arg].strides[axis], times, number);
    }
    fn len(&self, words: &mut Words, word: usize, arg: usize) {
        let number = self.numbering.number(self.extents.len() + arg);
        words.set(word, self.args[arg].len as isize, 1, number);
    }
    fn all_params(&self, words: &mut Words, first: usize) {
        (0..).zip(self.params).for_each(|(n, param)| words.set_param(first + n, param.bits, self.numbering.param(n)));
    }
}

/// Writes the numbers of a launch: its extents, its parameters, and a row for each of its arrays: bytes between neighbours along each axis, and the elements that computed
/// positions may touch. Where they begin.
pub fn write_numbers(words: &mut Words, kernel: &Kernel, launch: &Numbers<'_>) -> usize {
    let (rank, params) = (launch.extents.len(), launch.params.len());
    let width = rank + 1;
    let at = words.grow(rank + params + width * launch.args.len());
    (0..rank).for_each(|axis| launch.extent(words, at + axis, axis));
    launch.all_params(words, at + rank);
    for (o, declared) in kernel.operands.iter().enumerate().take(launch.args.len()) {
        let row = at + rank + params + o * width;
        (0..rank).for_each(|axis| launch.stride(words, row + axis, o, axis, declared.dtype.itemsize()));
        launch.len(words, row + rank, o);
    }
    at
}

/// A map whose whole loop space is one call of its function. It is kept as the argument block of that, but for addresses.
pub struct Whole;

impl Whole {
    /// Along which axis rows step, if one call goes through the whole of a loop space of these extents, which has points. `along`: bytes between neighbours along the axis of vectors, of each
    /// operand.
    pub fn rows<S: Settling>(
        cx: &mut S,
        vector_axis: usize,
        extents: &[S::N],
        along: &[S::N],
    ) -> Option<Option<usize>> {
        let mut walked = (0..extents.len()).filter(|&a| a != vector_axis && cx.is_many(extents[a]));
        let row_axis = walked.next();
        if walked.next().is_some() {
            return None;
        }
        let is_long = row_axis.is_some() && cx.less(S::count(SCATTERED), extents[vector_axis]);
        let is_scattered = is_long
            && along.iter().any(|&step| {
                let step = cx.magnitude(step);
                step.is_none_or(|step| !cx.less(step, S::count(LINE)))
            });
        (!is_scattered).then_some(row_axis)
    }

    /// Writes the block, for rows that step along this axis. Where it begins.
    pub fn write(words: &mut Words, function: &Function, row_axis: Option<usize>, launch: &Numbers<'_>) -> usize {
        let (kernel, layout) = (&function.kernel, function.layout);
        let (rank, vector_axis) = (launch.extents.len(), kernel.vector_axis as usize);
        let at = words.grow(layout.words());
        let count = |words: &mut Words, word: usize, axis: Option<usize>| match axis {
            Some(axis) => launch.extent(words, at + word, axis),
            None => words.set(at + word, 1, 1, None),
        };
        count(words, N, Some(vector_axis).filter(|axis| *axis < rank));
        count(words, ROWS, row_axis);
        words.set(at + ROW_AXIS, row_axis.unwrap_or(0) as isize, 1, None);
        for (o, declared) in kernel.operands.iter().enumerate().take(launch.args.len()) {
            let (own, itemsize) = (at + layout.operand_word(o as u32), declared.dtype.itemsize());
            if let Some(axis) = row_axis {
                launch.stride(words, own + 1, o, axis, itemsize);
            }
            if vector_axis < rank {
                launch.stride(words, own + 2, o, vector_axis, itemsize);
            }
            launch.len(words, own + 3, o);
        }
        (0..rank).for_each(|axis| launch.extent(words, at + layout.extent_word(axis as u32), axis));
        launch.all_params(words, at + layout.param_word(0));
        at
    }

    /// Where the extents of a map stand whose block begins there.
    pub fn extents(form: &Form, at: usize) -> usize {
        at + Layout::new(form.rank, form.params, form.operands.len()).extent_word(0)
    }
    /// And bytes between neighbours along the axis of vectors, of an operand.
    pub fn along(form: &Form, at: usize, operand: usize) -> usize {
        at + Layout::new(form.rank, form.params, form.operands.len()).operand_word(operand as u32) + 2
    }

    /// Runs over the whole loop space. `bases`: an address per operand.
    ///
    /// # Safety
    ///
    /// The words at this place are what was written of the map, whose function was generated; otherwise as for [`Tile::run`], over all of the loop space.
    pub unsafe fn run(map: &MapKernel, words: &[isize], at: usize, bases: &[usize]) {
        let function = map.generated(false);
        let mut block = SmallVec::<[isize; 2 * FEW]>::from_slice(&words[at..at + function.layout.words()]);
        place(&mut block, function, bases.iter().copied());
        // SAFETY: as in `Tile::run`.
        unsafe { (function.entry())(block.as_mut_ptr().cast()) };
    }
}

/// Words of argument blocks that lie on the stack.
const FEW: usize = 48;
const MORE: usize = 192;

/// Writes the addresses of the operands.
#[inline]
fn place(block: &mut [isize], function: &Function, at: impl Iterator<Item = usize>) {
    let layout = function.layout;
    for (o, at) in (0..).zip(at) {
        block[layout.operand_word(o)] = at as isize;
    }
    for &o in &function.looked_up {
        let own = layout.operand_word(o);
        if block[own + 3] == 0 {
            block[own] = &raw const ZEROS as isize;
        }
    }
}

/// A map on the numbers of a launch.
#[derive(Debug, Clone, Copy)]
pub struct Tile<'a> {
    function: &'a Function,
    /// Variant that stores past the caches.
    streaming: Option<&'a Function>,
    rank: usize,
    vector_axis: usize,
    /// Extents and parameters.
    head: &'a [isize],
    /// Of all arrays of the launch.
    rows: &'a [isize],
    /// Which of them each operand is; the first, in order, if there is nothing here.
    sources: Option<&'a [u32]>,
}

impl<'a> Tile<'a> {
    /// Of a map of the rank and the parameters of a launch, whose numbers begin at this place of the words. `streams`: whether it may store past the caches. Functions
    /// were generated.
    pub fn new(map: &'a MapKernel, words: &'a [isize], at: usize, streams: bool) -> Self {
        let (rank, vector_axis) = (map.kernel.rank as usize, map.kernel.vector_axis as usize);
        let (head, rows) = words[at..].split_at(rank + map.kernel.params.len());
        let streaming = if streams { Some(&**map.generated(true)) } else { None };
        Self { function: map.generated(false), streaming, rank, vector_axis, head, rows, sources: None }
    }

    /// The same, where operand `o` is the array of number `sources[o]`.
    pub fn with_sources(self, sources: &'a [u32]) -> Self {
        Self { sources: Some(sources), ..self }
    }

    /// The same with other arrays.
    pub fn with_rows<'b>(self, rows: &'b [isize]) -> Tile<'b>
    where
        'a: 'b,
    {
        Tile { rows, ..self }
    }

    /// The same, that never stores past the caches.
    pub fn through_caches(self) -> Self {
        Self { streaming: None, ..self }
    }

    pub fn kernel(&self) -> &'a Kernel {
        &self.function.kernel
    }
    pub fn rank(&self) -> usize {
        self.rank
    }
    /// The whole loop space.
    pub fn all(&self) -> Part {
        let extents = self.head[..self.rank].iter().map(|&n| n as usize);
        Part { start: SmallVec::from_elem(0, self.rank), count: small(extents) }
    }
    /// The rows of the first so many arrays.
    pub fn rows(&self, arrays: usize) -> &'a [isize] {
        &self.rows[..arrays * (self.rank + 1)]
    }
    /// Bytes between neighbours of an operand along each axis.
    pub fn strides(&self, operand: usize) -> &'a [isize] {
        &self.row(operand)[..self.rank]
    }
    pub fn vector_axis(&self) -> usize {
        self.vector_axis
    }

    #[inline]
    fn row(&self, operand: usize) -> &'a [isize] {
        let (array, width) = (self.sources.map_or(operand, |s| s[operand] as usize), self.rank + 1);
        &self.rows[array * width..][..width]
    }

    /// Whether the streaming variant may run over this box: rows of all outputs begin at multiples of 64 bytes, and none of them is
    /// being updated in place.
    fn can_stream(&self, bases: &[usize], part: &Part) -> bool {
        let operands = &self.kernel().operands;
        let is_update = |base: usize| operands.iter().zip(bases).any(|(o, &b)| o.role == Role::In && b == base);
        operands.iter().enumerate().filter(|(_, o)| o.role != Role::In).all(|(i, o)| {
            let strides = self.strides(i);
            let mut axes = part.count.iter().zip(strides).enumerate();
            let first =
                bases[i] as isize + part.start.iter().zip(strides).map(|(&s, &t)| s as isize * t).sum::<isize>();
            o.role == Role::Out
                && o.inner == Inner::Unit
                && first % 64 == 0
                && axes.all(|(axis, (&n, &s))| axis == self.vector_axis || n == 1 || s % 64 == 0)
                && !is_update(bases[i])
        })
    }

    /// Writes the argument block for calls over boxes of so many indices, but for where they lie. The axis that their rows step along; and whether neighbours along the vector
    /// axis lie on cache lines of their own in some operand.
    #[inline]
    fn fill(&self, block: &mut [isize], layout: Layout, count: &[usize]) -> (Option<usize>, bool) {
        let rank = self.rank;
        // Parameters come behind extents, of which there is room for one at least.
        let first = layout.param_word(0) - rank;
        block[first..first + self.head.len()].copy_from_slice(self.head);
        let row_axis = head(block, self.vector_axis, count);
        let mut scattered = false;
        for (o, own) in block[layout.operand_word(0)..].chunks_exact_mut(OPERAND_WORDS as usize).enumerate() {
            let row = self.row(o);
            own[1] = row_axis.map_or(0, |axis| row[axis]);
            own[2] = if rank > 0 { row[self.vector_axis] } else { 0 };
            own[3] = row[rank];
            scattered |= own[2].unsigned_abs() >= LINE;
        }
        (row_axis, scattered)
    }

    /// Runs over a box. `bases`: an address per operand.
    ///
    /// # Safety
    ///
    /// The numbers are those of a launch that the map was made for. Every element that the map's kernel reads or writes at the points of the box, through these addresses and the
    /// strides of its rows, must be valid for that, and nobody else may write what is read or touch what is written meanwhile. For the operands of a launch
    /// `Plan::verify` proves it for the whole loop space; the addresses of a nest's own buffers, and their rows, are its responsibility: those of operands of stride class `Unit` may
    /// differ along axes other than the vectors'.
    pub unsafe fn run(&self, bases: &[usize], part: &Part) {
        if part.is_empty() {
            return;
        }
        let function = match self.streaming {
            Some(f) if self.can_stream(bases, part) => f,
            _ => self.function,
        };
        let (rank, vector_axis, layout) = (self.rank, self.vector_axis, function.layout);
        let (mut few, mut more, mut many);
        let block = match layout.words() {
            n if n <= FEW => {
                few = [0; FEW];
                &mut few[..n]
            }
            n if n <= MORE => {
                more = [0; MORE];
                &mut more[..n]
            }
            n => {
                many = vec![0; n];
                &mut many[..]
            }
        };
        let (row_axis, scattered) = self.fill(block, layout, &part.count);
        if scattered && part.count[vector_axis] > SCATTERED && part.count.iter().filter(|&&n| n > 1).count() > 1 {
            let (start, count) = (part.start[vector_axis], part.count[vector_axis]);
            for first in (0..count).step_by(SCATTERED) {
                let piece = part.with(vector_axis, start + first, SCATTERED.min(count - first));
                // SAFETY: a part of the caller's.
                unsafe { self.run(bases, &piece) };
            }
            return;
        }
        let rows = block[ROWS];
        let mut at: SmallVec<[usize; 4]> = SmallVec::from_slice(&part.start);
        loop {
            // The function counts rows, the index along their axis, and the addresses in the block itself.
            block[ROWS] = rows;
            for (axis, &i) in at.iter().enumerate() {
                block[layout.index_word(axis as u32)] = i as isize;
            }
            let origin = |(o, &base): (usize, &usize)| {
                let offset: isize = at.iter().zip(self.row(o)).map(|(&i, &s)| (i as isize).wrapping_mul(s)).sum();
                base.wrapping_add_signed(offset)
            };
            place(block, function, bases.iter().enumerate().map(origin));
            // SAFETY: the block has the function's layout. The emitter made a function that touches the block, its own
            // image and frame, and the operands' elements at the points of this box only: tails are masked or walked lane by lane, and
            // computed positions are clamped to the operand's length. Those are valid by the contract of this method. Registers that the C convention keeps are
            // kept, and it neither unwinds nor changes the floating-point mode.
            unsafe { (function.entry())(block.as_mut_ptr().cast()) };
            // The next combination of the other axes.
            let mut axis = rank;
            loop {
                if axis == 0 {
                    return;
                }
                axis -= 1;
                if axis == vector_axis || Some(axis) == row_axis {
                    continue;
                }
                at[axis] += 1;
                if at[axis] < part.start[axis] + part.count[axis] {
                    break;
                }
                at[axis] = part.start[axis];
            }
        }
    }
}
