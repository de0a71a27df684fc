//! Products whose elements go through a map on their way to memory.
//!
//! Where the columns of the result are many, the map is called on each block of it that is finished, which still lies in a cache; products that are computed in
//! another way, as reductions, lie in a buffer of their own as a whole between the two.

use super::matmul::Matmul;
use crate::kernels::{Function, Kernels};
use crate::known::Known;
use crate::nest::{Bound, Context, Launch, Need, Room, bases};
use crate::tile::{Bases, Part, Tile, Words};
use lazuli_kernel::{Arg, Binding, LibraryCall, Nest, Result, Slot, small};
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::Arc;

/// A product with its epilogue.
pub struct Fused {
    product: Matmul,
    known: Arc<Known>,
    epilogue: Launch,
    /// Whether it is finished block by block.
    in_blocks: bool,
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

impl Blocks {
    /// Of the epilogue of a call; none if the result has a single column.
    fn of(call: &LibraryCall, args: &[Arg]) -> Option<Self> {
        let LibraryCall::Matmul { batch, m, n, .. } = call else { return None };
        let mut axes = 0..;
        let mut axis = |extent: usize| (extent != 1).then(|| axes.next()).flatten();
        let batch = small(batch.iter().map(|&n| axis(n)));
        let (rows, columns) = (axis(*m), axis(*n)?);
        let operands = small((0..args.len()).filter(|&o| args[o].slot == Slot::Result));
        Some(Self { batch, rows, columns, operands })
    }
}

impl Fused {
    /// For at most so many threads.
    pub fn new(
        kernels: &Kernels,
        call: &LibraryCall,
        known: Arc<Known>,
        binding: &Binding,
        threads: usize,
        words: &mut Words,
    ) -> Result<Self> {
        let mut product = Matmul::new(kernels, call, threads, words)?;
        let kernel = known.kernel();
        let has_points = matches!(kernel.nest, Nest::Map { .. }) && !binding.extents.contains(&0);
        // Vectors run along columns.
        let fits = Blocks::of(call, &binding.args).is_some_and(|blocks| blocks.columns == kernel.vector_axis as usize);
        let in_blocks = has_points && fits && product.go_on(call);
        let epilogue = Launch::new(&Bound::new(kernels, &known, binding), threads, in_blocks, words)?;
        Ok(Self { product, known, epilogue, in_blocks })
    }

    pub fn functions(&self) -> Vec<Arc<Function>> {
        self.product.functions().into_iter().chain(self.epilogue.functions(&self.known)).collect()
    }

    /// The memory that it works in on at most so many threads.
    pub fn need(&self, call: &LibraryCall, threads: usize) -> Need {
        let need = self.product.need(call, threads);
        let result = if self.in_blocks { 0 } else { Room::measure(|room| room.take_bytes(call.result_bytes())) };
        Need { shared: need.shared.saturating_add(result), ..need }
    }

    /// # Safety
    ///
    /// As for [`Matmul::run`] and `Launch::run`.
    pub unsafe fn run(
        &self,
        call: &LibraryCall,
        binding: &Binding,
        words: &[isize],
        address: &dyn Fn(Slot) -> usize,
        each: usize,
        cx: &mut Context<'_>,
    ) {
        let Self { product, known, epilogue, in_blocks } = self;
        let of_result = |at: usize| move |slot| if slot == Slot::Result { at } else { address(slot) };
        if *in_blocks && let (Some(blocks), Some(tile)) = (Blocks::of(call, &binding.args), epilogue.tile(known, words))
        {
            // The product's own operands begin at the offset of their part.
            let bases = bases(known.kernel(), &binding.args, &of_result(0));
            let finish = Finish { rows: tile.rows(bases.len()), blocks, tile, bases };
            // SAFETY: passed on.
            return unsafe { product.run(call, words, &of_result(0), Some(&finish), each, cx) };
        }
        let result = cx.room().take_bytes(call.result_bytes()).address();
        // SAFETY: passed on; the result has memory of its size, which is ours alone.
        unsafe {
            product.run(call, words, &of_result(result), None, each, cx);
            epilogue.run(known, words, &bases(known.kernel(), &binding.args, &of_result(result)), cx);
        }
    }
}

/// An epilogue in a run.
pub struct Finish<'a> {
    blocks: Blocks,
    tile: Tile<'a>,
    /// Of the tile's operands.
    rows: &'a [isize],
    bases: Bases,
}

impl Finish<'_> {
    /// Finishes a block of one matrix of the result, the one at `at` of the batch, that lies at `from` with `pitch` bytes from row to row.
    ///
    /// # Safety
    ///
    /// The block can be read there, and nobody else finishes a part of it; otherwise as for `Launch::run`.
    pub unsafe fn run(&self, at: &[usize], rows: Range<usize>, columns: Range<usize>, from: usize, pitch: usize) {
        let Blocks { batch, rows: row_axis, columns: column_axis, operands } = &self.blocks;
        let rank = self.tile.rank();
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
        let mut all: SmallVec<[isize; 64]> = SmallVec::from_slice(self.rows);
        let mut bases = self.bases.clone();
        for &o in operands {
            let own = &mut all[o * (rank + 1)..][..rank];
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
        unsafe { self.tile.with_rows(&all).run(&bases, &part) };
    }
}
