//! Products whose elements go through a map on their way to memory.
//!
//! Where the columns of the result are many, the map is called on each block of it that is finished, which still lies in a cache; products that are computed in
//! another way, as reductions, lie in a buffer of their own as a whole between the two.

use super::matmul::Matmul;
use crate::kernels::{Function, Kernels};
use crate::known::Known;
use crate::nest::{Context, Launch, Need, Room};
use crate::tile::{Bases, Part, Tile};
use lazuli_kernel::{Binding, LibraryCall, Result, Slot, small};
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::Arc;

/// A product with its epilogue.
pub struct Fused {
    product: Matmul,
    epilogue: Launch,
    /// Size of the product's result.
    nbytes: usize,
    /// If it can be finished block by block.
    blocks: Option<Blocks>,
}

/// How the epilogue runs over blocks.
struct Blocks {
    /// The loop axis of each batch axis, if it is longer than 1.
    batch: SmallVec<[Option<usize>; 4]>,
    rows: Option<usize>,
    columns: usize,
    /// Operands that are the product, or its parts.
    operands: SmallVec<[usize; 2]>,
}

impl Fused {
    /// For at most so many threads.
    pub fn new(
        kernels: &Kernels,
        call: &LibraryCall,
        known: &Known,
        binding: &Binding,
        threads: usize,
    ) -> Result<Box<Self>> {
        let mut product = Matmul::new(kernels, call, threads)?;
        let Binding { extents, args, params } = binding;
        let epilogue = Launch::new(kernels, known, extents, args, params, threads)?;
        let nbytes = call.result_bytes();
        let mut blocks = None;
        if let (LibraryCall::Matmul { batch, m, n, .. }, Some(tile)) = (call, epilogue.tile())
            && *n > 1
        {
            let mut axes = 0..;
            let mut axis = |extent: usize| (extent != 1).then(|| axes.next()).flatten();
            let batch = small(batch.iter().map(|&n| axis(n)));
            let (rows, columns) = (axis(*m), axis(*n).expect("longer than 1"));
            let operands = small((0..args.len()).filter(|&o| args[o].slot == Slot::Result));
            let divides = tile.vector_axis() == columns && product.go_on();
            blocks = divides.then_some(Blocks { batch, rows, columns, operands });
        }
        Ok(Box::new(Self { product, epilogue, nbytes, blocks }))
    }

    pub fn functions(&self) -> Vec<Arc<Function>> {
        self.product.functions().into_iter().chain(self.epilogue.functions()).collect()
    }

    /// The memory that it works in on at most so many threads.
    pub fn need(&self, threads: usize) -> Need {
        let need = self.product.need(threads);
        let result = if self.blocks.is_some() { 0 } else { Room::measure(|room| room.take_bytes(self.nbytes)) };
        Need { shared: need.shared.saturating_add(result), ..need }
    }

    /// # Safety
    ///
    /// As for `Launch::run`.
    pub unsafe fn run(&self, address: &dyn Fn(Slot) -> usize, each: usize, cx: &mut Context<'_>) {
        if let (Some(blocks), Some(tile)) = (&self.blocks, self.epilogue.tile()) {
            // The product's own operands begin at the offset of their part.
            let address = |slot| if slot == Slot::Result { 0 } else { address(slot) };
            let finish = Finish { blocks, tile, bases: self.epilogue.bases(&address) };
            // SAFETY: passed on.
            return unsafe { self.product.run(&address, Some(&finish), each, cx) };
        }
        let result = cx.room().take_bytes(self.nbytes).address();
        let address = |slot| if slot == Slot::Result { result } else { address(slot) };
        // SAFETY: passed on; the result has memory of its size, which is ours alone.
        unsafe {
            self.product.run(&address, None, each, cx);
            self.epilogue.run(&address, cx);
        }
    }
}

/// An epilogue in a run.
pub struct Finish<'a> {
    blocks: &'a Blocks,
    tile: &'a Tile,
    bases: Bases,
}

impl Finish<'_> {
    /// Finishes a block of one matrix of the result, the one at `at` of the batch, that lies at `from` with `pitch` bytes from row to row.
    ///
    /// # Safety
    ///
    /// The block can be read there, and nobody else finishes a part of it; otherwise as for `Launch::run`.
    pub unsafe fn run(&self, at: &[usize], rows: Range<usize>, columns: Range<usize>, from: usize, pitch: usize) {
        let Blocks { batch, rows: row_axis, columns: column_axis, operands } = self.blocks;
        let rank = self.tile.extents().len();
        let mut part = Part { start: SmallVec::from_elem(0, rank), count: SmallVec::from_elem(1, rank) };
        for (axis, &i) in batch.iter().zip(at) {
            if let Some(axis) = axis {
                part.start[*axis] = i;
            }
        }
        if let Some(axis) = *row_axis {
            (part.start[axis], part.count[axis]) = (rows.start, rows.len());
        }
        (part.start[*column_axis], part.count[*column_axis]) = (columns.start, columns.len());
        let mut strides: SmallVec<[isize; 64]> = SmallVec::from_slice(self.tile.strides());
        let mut bases = self.bases.clone();
        for &o in operands {
            let own = &mut strides[o * rank..(o + 1) * rank];
            own[..*column_axis].fill(0);
            let mut before = columns.start as isize * own[*column_axis];
            if let Some(axis) = *row_axis {
                own[axis] = pitch as isize;
                before += (rows.start * pitch) as isize;
            }
            bases[o] = bases[o].wrapping_add(from).wrapping_add_signed(-before);
        }
        // SAFETY: the points of the block are points of the launch, whose accesses the verifier proved; of the product they read the block, which lies as these
        // strides say. Columns are the axis of vectors, and their stride is the tile's own.
        unsafe { self.tile.run_with(&strides, &bases, &part) };
    }
}
