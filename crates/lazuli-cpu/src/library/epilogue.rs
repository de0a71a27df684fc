//! Products whose elements go through a map on their way to memory.
//!
//! Where the columns of the result are many, the map is called on each block of it that is finished, which still lies in a cache; products that are computed in
//! another way, as reductions, lie in a buffer of their own as a whole between the two.

use super::matmul::Matmul;
use crate::kernels::{Function, Kernels};
use crate::known::Known;
use crate::nest::{Bound, Context, HandedOn, Launch, Need};
use crate::settle::{OnWords, Settling};
use crate::tile::{Bases, Part, Tile};
use crate::words::{Cursor, Words};
use lazuli_kernel::{Binding, LibraryCall, Result};
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::Arc;

/// A product with its epilogue.
pub struct Fused {
    product: Matmul,
    known: Arc<Known>,
    epilogue: Launch,
    /// Operands of the epilogue that are the product, or its parts.
    handed_on: HandedOn,
    /// Whether the kernel lets blocks of the product be finished one by one, if it has columns.
    fits: bool,
    /// Where bytes of the product stand, unless it is finished block by block.
    whole: Option<usize>,
}

impl Fused {
    /// For at most so many threads, and the memory that it works in on these.
    pub fn new(
        kernels: &Kernels,
        call: &LibraryCall,
        known: Arc<Known>,
        binding: &Binding,
        threads: usize,
        at: &mut Cursor,
        words: &mut Words,
    ) -> Result<(Self, Need)> {
        let kernel = known.kernel();
        // Vectors run along columns, which are the last of the axes that are longer than 1.
        let fits = kernel.vector_axis + 1 == kernel.rank;
        let is_wide = matches!(call, LibraryCall::Matmul { n, .. } if *n != 1);
        let in_blocks = fits && is_wide && !binding.extents.contains(&0);
        let (product, mut need) = Matmul::new(kernels, call, in_blocks, threads, at, words)?;
        let in_blocks = product.goes_on();
        // It is a map, which needs no memory.
        let (epilogue, _) = Launch::new(&Bound::new(kernels, &known, binding, at), threads, in_blocks, words)?;
        let whole = (!in_blocks).then(|| words.derive(1));
        let fused = Self { product, known, epilogue, handed_on: HandedOn::of(&binding.args), fits, whole };
        need.shared = need.shared.saturating_add(fused.derive(&mut OnWords(words)) as usize);
        Ok((fused, need))
    }

    /// As for `Launch::settle`.
    pub fn settle<S: Settling>(&self, kernels: &Kernels, cx: &mut S, threads: usize) -> Option<Need<S::N>> {
        let into_epilogue = self.fits && {
            let columns = self.product.columns(cx);
            !cx.is(columns, 1)
        };
        let need = self.product.settle(kernels, into_epilogue, cx, threads)?;
        // Which has points.
        self.epilogue.settle(&self.known, cx, threads)?;
        let whole = self.derive(cx);
        Some(Need { shared: cx.add(need.shared, whole), ..need })
    }

    /// Derives the size of the whole product, if it has to lie somewhere; the bytes that it takes.
    fn derive<S: Settling>(&self, cx: &mut S) -> S::N {
        let Some(whole) = self.whole else { return S::count(0) };
        let nbytes = self.product.result_bytes(cx);
        cx.derive(whole, nbytes);
        cx.piece(nbytes)
    }

    /// Rough cost on one thread, in picoseconds.
    pub fn cost<S: Settling>(&self, cx: &mut S) -> S::N {
        let (product, epilogue) = (self.product.cost(cx), self.epilogue.cost(&self.known, cx));
        cx.add(product, epilogue)
    }

    pub fn functions(&self) -> Vec<Arc<Function>> {
        self.product.functions().into_iter().chain(self.epilogue.functions(&self.known)).collect()
    }

    /// Runs it on the product's arguments and the epilogue's, at these addresses.
    ///
    /// # Safety
    ///
    /// As for [`Matmul::run`] and `Launch::run`.
    pub unsafe fn run(&self, words: &[isize], bases: &[usize], cx: &mut Context<'_>) {
        let Self { product, known, epilogue, handed_on, whole, .. } = self;
        let (&[a, b, c], bases) = bases.split_first_chunk().expect("a product has three arguments");
        let Some(whole) = *whole else {
            let tile = epilogue.tile(known, words).expect("it was made for parts");
            // The product's own operands begin at the offset of their part.
            let finish = Finish { rows: tile.rows(bases.len()), handed_on: handed_on.numbers(), tile, bases };
            // SAFETY: passed on.
            return unsafe { product.run(words, [a, b, c], Some(&finish), cx) };
        };
        let result = cx.room().take_bytes(words[whole] as usize).address();
        // SAFETY: passed on; the result has memory of its size, which is ours alone.
        unsafe {
            product.run(words, [a, b, c.wrapping_add(result)], None, cx);
            epilogue.run(known, words, &handed_on.bases(bases, result), cx);
        }
    }
}

/// An epilogue in a run.
pub struct Finish<'a> {
    tile: Tile<'a>,
    /// Of the tile's operands.
    rows: &'a [isize],
    bases: &'a [usize],
    /// Operands that are the product, or its parts.
    handed_on: &'a [usize],
}

impl Finish<'_> {
    /// Finishes a block of one matrix of the result, the one at `at` of the batch, that lies at `from` with `pitch` bytes from row to row. The axes of the tile are those of the batch, of rows
    /// and of columns that are longer than 1.
    ///
    /// # Safety
    ///
    /// The block can be read there, and nobody else finishes a part of it; otherwise as for `Launch::run`.
    pub unsafe fn run(
        &self,
        batch: &[usize],
        at: &[usize],
        rows: Range<usize>,
        columns: Range<usize>,
        from: usize,
        pitch: usize,
    ) {
        let rank = self.tile.rank();
        let mut part = Part { start: SmallVec::from_elem(0, rank), count: SmallVec::from_elem(1, rank) };
        let mut axis = 0;
        for (_, &i) in batch.iter().zip(at).filter(|(n, _)| **n != 1) {
            part.start[axis] = i;
            axis += 1;
        }
        let column_axis = rank - 1;
        let row_axis = (axis < column_axis).then_some(axis);
        if let Some(axis) = row_axis {
            (part.start[axis], part.count[axis]) = (rows.start, rows.len());
        }
        (part.start[column_axis], part.count[column_axis]) = (columns.start, columns.len());
        let mut all: SmallVec<[isize; 64]> = SmallVec::from_slice(self.rows);
        let mut bases = Bases::from_slice(self.bases);
        for &o in self.handed_on {
            let own = &mut all[o * (rank + 1)..][..rank];
            own[..column_axis].fill(0);
            let mut before = columns.start as isize * own[column_axis];
            if let Some(axis) = row_axis {
                own[axis] = pitch as isize;
                before += (rows.start * pitch) as isize;
            }
            bases[o] = bases[o].wrapping_add(from).wrapping_add_signed(-before);
        }
        // SAFETY: the points of the block are points of the launch, whose accesses the verifier proved; of the product they read the block, which lies as these
        // strides say. Columns are the axis of vectors, and their stride is the tile's own.
        unsafe { self.tile.with_rows(&all).run(&bases, &part) };
    }
}
