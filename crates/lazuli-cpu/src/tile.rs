//! A map bound to extents and strides, and its calls over boxes of the loop space.
//!
//! This is the room where generated code is called. Everything that runs comes down to [`Tile::run`] on sub-boxes of a verified
//! launch, some of whose operands may be buffers of the nest that drives it.

use crate::codegen::block::{Layout, N, ROW_AXIS, ROWS};
use crate::kernels::{Function, Kernels};
use crate::known::MapKernel;
use lazuli_kernel::{Arg, Inner, Kernel, Result, Role, Scalar, small};
use smallvec::SmallVec;
use std::sync::Arc;

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

#[derive(Debug)]
pub struct Tile {
    function: Arc<Function>,
    /// Variant that stores past the caches.
    streaming: Option<Arc<Function>>,
    extents: SmallVec<[usize; 4]>,
    vector_axis: usize,
    /// The argument block for one call over the whole loop space, but for addresses; then strides in bytes, operand by operand.
    words: Box<[isize]>,
    /// Operands that have no elements and are read at computed positions only.
    empty: SmallVec<[u32; 2]>,
    /// Whether neighbours along the vector axis lie on cache lines of their own in some operand.
    scattered: bool,
    /// Whether one call of the function goes through the whole loop space.
    is_one_call: bool,
}

/// Elements of a row that are gone through before the next row, where each is on a cache line of its own: the lines stay in the first-level cache for the
/// rows that need their other elements.
const SCATTERED: usize = 64;

/// The axis that rows step along in a box of so many indices: the last one that is not the vectors' and has more than one.
fn row_axis(count: &[usize], vector_axis: usize) -> Option<usize> {
    (0..count.len()).rev().find(|&a| a != vector_axis && count[a] > 1)
}

/// Writes how far a call over a box of so many indices goes. The axis that its rows step along.
fn head(block: &mut [isize], vector_axis: usize, count: &[usize]) -> Option<usize> {
    let row_axis = row_axis(count, vector_axis);
    block[N] = count.get(vector_axis).map_or(1, |&n| n as isize);
    block[ROWS] = row_axis.map_or(1, |a| count[a] as isize);
    block[ROW_AXIS] = row_axis.unwrap_or(0) as isize;
    row_axis
}

/// Writes what is the same in all calls over a box of so many indices, whichever those are.
fn fill(block: &mut [isize], layout: Layout, vector_axis: usize, strides: &[isize], count: &[usize]) {
    let (rank, row_axis) = (count.len(), head(block, vector_axis, count));
    for o in 0..layout.operands() {
        block[layout.operand_word(o) + 1] = row_axis.map_or(0, |a| strides[o as usize * rank + a]);
    }
}

/// One operand of a tile.
#[derive(Debug, Clone, Copy)]
pub struct Operand<'a> {
    /// In elements, one per axis.
    pub strides: &'a [isize],
    pub len: usize,
}

impl<'a> From<&'a Arg> for Operand<'a> {
    fn from(arg: &'a Arg) -> Self {
        Self { strides: &arg.strides, len: arg.len }
    }
}

impl Tile {
    pub fn new<'a>(
        kernels: &Kernels,
        map: &MapKernel,
        extents: &[usize],
        operands: impl Iterator<Item = Operand<'a>>,
        params: &[Scalar],
        stream: bool,
    ) -> Result<Self> {
        let streaming = if stream { Some(map.function(kernels, true)?) } else { None };
        let function = map.function(kernels, false)?;
        let (kernel, layout) = (&map.kernel, function.layout);
        let vector_axis = kernel.vector_axis as usize;
        let mut words: Vec<isize> = Vec::with_capacity(layout.words() + extents.len() * kernel.operands.len());
        words.resize(layout.words(), 0);
        words[layout.extent_word(0)..].iter_mut().zip(extents).for_each(|(word, &n)| *word = n as isize);
        words[layout.param_word(0)..].iter_mut().zip(params).for_each(|(word, p)| *word = p.bits as isize);
        let row_axis = head(&mut words, vector_axis, extents);
        let mut scattered = false;
        for (o, (operand, declared)) in (0..).zip(operands.zip(&kernel.operands)) {
            let (itemsize, from) = (declared.dtype.itemsize() as isize, words.len());
            words.extend(operand.strides.iter().map(|s| s * itemsize));
            let step = |axis: usize| words.get(from + axis).copied().unwrap_or(0);
            let (row, along, at) = (row_axis.map_or(0, step), step(vector_axis), layout.operand_word(o));
            words[at + 1..at + 4].copy_from_slice(&[row, along, operand.len as isize]);
            scattered |= along.unsigned_abs() >= 64;
        }
        let is_empty = |&o: &u32| words[layout.operand_word(o) + 3] == 0;
        let empty = small(function.looked_up.iter().copied().filter(is_empty));
        let walked = (0..extents.len()).filter(|&a| a != vector_axis && extents[a] > 1).count();
        let cut = scattered && extents.get(vector_axis).is_some_and(|&n| n > SCATTERED);
        let is_one_call = streaming.is_none() && walked <= 1 && !cut && !extents.contains(&0);
        let (extents, words) = (SmallVec::from_slice(extents), words.into_boxed_slice());
        Ok(Self { function, streaming, extents, vector_axis, words, empty, scattered, is_one_call })
    }

    /// Runs over the whole loop space. `bases`: an address per operand.
    ///
    /// # Safety
    ///
    /// As for [`run`](Self::run), over all of the loop space.
    pub unsafe fn run_all(&self, bases: &[usize]) {
        if !self.is_one_call {
            // SAFETY: passed on.
            return unsafe { self.run(bases, &Part::all(&self.extents)) };
        }
        let mut block = self.block();
        self.place(&mut block, bases.iter().copied());
        // SAFETY: as in `run_with`.
        unsafe { (self.function.entry())(block.as_mut_ptr().cast()) };
    }

    /// The argument block for one call over the whole loop space, but for addresses.
    #[inline]
    fn block(&self) -> SmallVec<[isize; 96]> {
        SmallVec::from_slice(&self.words[..self.function.layout.words()])
    }

    /// Writes the addresses of the operands.
    #[inline]
    fn place(&self, block: &mut [isize], at: impl Iterator<Item = usize>) {
        let layout = self.function.layout;
        for (o, at) in (0..).zip(at) {
            block[layout.operand_word(o)] = at as isize;
        }
        for &o in &self.empty {
            block[layout.operand_word(o)] = &raw const ZEROS as isize;
        }
    }

    pub fn function(&self) -> &Arc<Function> {
        &self.function
    }
    pub fn kernel(&self) -> &Kernel {
        &self.function.kernel
    }
    pub fn extents(&self) -> &[usize] {
        &self.extents
    }
    /// Bytes between neighbours along each axis, operand by operand.
    pub fn strides(&self) -> &[isize] {
        &self.words[self.function.layout.words()..]
    }
    pub fn vector_axis(&self) -> usize {
        self.vector_axis
    }

    /// Whether the streaming variant may run over this box: rows of all outputs begin at multiples of 64 bytes, and none of them is
    /// being updated in place.
    fn can_stream(&self, bases: &[usize], strides: &[isize], part: &Part) -> bool {
        let (operands, rank) = (&self.kernel().operands, self.extents.len());
        let is_update = |base: usize| operands.iter().zip(bases).any(|(o, &b)| o.role == Role::In && b == base);
        operands.iter().enumerate().filter(|(_, o)| o.role != Role::In).all(|(i, o)| {
            let strides = &strides[i * rank..(i + 1) * rank];
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

    /// Runs over a box. `bases`: an address per operand.
    ///
    /// # Safety
    ///
    /// Every element that the tile's kernel reads or writes at the points of the box, through these addresses and the tile's strides, must
    /// be valid for that, and nobody else may write what is read or touch what is written meanwhile. For the operands of a launch
    /// `Plan::verify` proves it for the whole loop space; the addresses of a nest's own buffers are its responsibility.
    pub unsafe fn run(&self, bases: &[usize], part: &Part) {
        // SAFETY: as promised by the caller.
        unsafe { self.run_with(self.strides(), bases, part) }
    }

    /// The same with other strides, for operands of stride class `Unit`, which may differ along axes other than the vectors'.
    ///
    /// # Safety
    ///
    /// As for [`run`](Self::run), with these strides.
    pub unsafe fn run_with(&self, strides: &[isize], bases: &[usize], part: &Part) {
        if part.is_empty() {
            return;
        }
        let function = match &self.streaming {
            Some(f) if self.can_stream(bases, strides, part) => f,
            _ => &self.function,
        };
        let rank = self.extents.len();
        if self.scattered
            && part.count[self.vector_axis] > SCATTERED
            && part.count.iter().filter(|&&n| n > 1).count() > 1
        {
            let (start, count) = (part.start[self.vector_axis], part.count[self.vector_axis]);
            for first in (0..count).step_by(SCATTERED) {
                let piece = part.with(self.vector_axis, start + first, SCATTERED.min(count - first));
                // SAFETY: a part of the caller's.
                unsafe { self.run_with(strides, bases, &piece) };
            }
            return;
        }
        let layout = function.layout;
        let row_axis = row_axis(&part.count, self.vector_axis);
        let mut block = self.block();
        let mut at: SmallVec<[usize; 4]> = SmallVec::from_slice(&part.start);
        loop {
            // The function counts in the block itself.
            fill(&mut block, layout, self.vector_axis, strides, &part.count);
            for (axis, &i) in at.iter().enumerate() {
                block[layout.index_word(axis as u32)] = i as isize;
            }
            let origin = |(o, &base): (usize, &usize)| {
                let strides = &strides[o * rank..(o + 1) * rank];
                let offset: isize = at.iter().zip(strides).map(|(&i, &s)| (i as isize).wrapping_mul(s)).sum();
                base.wrapping_add_signed(offset)
            };
            self.place(&mut block, bases.iter().enumerate().map(origin));
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
                if axis == self.vector_axis || Some(axis) == row_axis {
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
