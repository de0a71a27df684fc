//! Matrix products, in the order that [`LibraryCall::Matmul`](lazuli_kernel::LibraryCall) states.
//!
//! A product with a vector is a reduction of our own. Any other runs on generated loops over tiles of c (`codegen::product`): b is packed
//! once, into panels as wide as a tile; tasks take rows of tiles and some panels, block of k after block of k. Elements of a are read where
//! they lie, unless they have to be converted or lie so that packing them pays. Neither that nor how tasks are cut changes a bit, because every element
//! of c is the same chain of operations.

mod panels;
mod sizes;
mod vector;

use super::epilogue::Finish;
use super::pack::{self, Number};
use super::{View, indices};
use crate::codegen::product::{Block, max_rows};
use crate::exec::Entry;
use crate::kernels::{Function, Kernels, Products};
use crate::memory::ALIGN;
use crate::nest::{Context, Need, Room, Scratch, counts};
use crate::settle::{OnWords, Settling};
use crate::words::{Cursor, Words};
use half::{bf16, f16};
use lazuli_kernel::{DType, Error, LibraryCall, MATMUL_BLOCK, Result, Shape, small};
use panels::{Cut, Panels, Tiles};
use sizes::{Fixed, Sizes};
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::Arc;
use vector::Vector;
pub use vector::VectorProduct;

/// Work that is worth a task of its own, in floating-point operations.
const TASK: usize = 1 << 20;
/// The most tiles and panels of a task: its rows of a over one block of k, and its part of c, should stay in the second-level cache.
const MOST_TILES: usize = 16;
const MOST_PANELS: usize = 64;
/// Panels from which on it pays to pack a.
const PACK_PANELS: usize = 12;
/// Tiles up to which it does not pay to pack b.
const FEW_TILES: usize = 2;

/// Runs the expression with `$t` as the number that a product of this dtype is of.
macro_rules! with_number {
    ($dtype:expr, $t:ident => $e:expr) => {
        match $dtype {
            DType::F64 => {
                type $t = f64;
                $e
            }
            DType::F32 => {
                type $t = f32;
                $e
            }
            DType::F16 => {
                type $t = f16;
                $e
            }
            DType::C64 => {
                type $t = [f32; 2];
                $e
            }
            _ => {
                type $t = bf16;
                $e
            }
        }
    };
}

pub enum Matmul {
    /// With a vector, or over nothing.
    Vector(Box<Vector>),
    Matrix(Ready),
}

/// A product of matrices made ready.
#[derive(Debug)]
pub struct Ready {
    /// Where its numbers begin: m, n and k, the tiles, how it is cut, bytes that a task works in, the extents of the batch, then the strides of a, of b and of c in elements.
    at: usize,
    loops: Arc<Products>,
    /// Axes of the batch.
    batch: u32,
    /// Elements of a vector.
    lanes: u16,
    /// Of a tile.
    most_rows: u16,
    dtype: DType,
    /// Whether blocks of the result go on into an epilogue.
    goes_on: bool,
}

/// Numbers before those of the batch, of which these are the first.
const FIRST: usize = 10;
const SIZES: usize = 3;

/// A product and its numbers.
struct Product<'a> {
    batch: &'a [usize],
    m: usize,
    n: usize,
    k: usize,
    tiles: Tiles,
    cut: Cut,
    a: View<'a>,
    b: View<'a>,
    c: View<'a>,
    /// Over tall and over short tiles, of one and of two vectors.
    loops: [&'static [Entry; 2]; 2],
    ready: &'a Ready,
}

impl Matmul {
    /// For at most so many threads, and the memory that it works in on these. `into_epilogue`: blocks of the result go on into an epilogue, if it is computed in blocks,
    /// which sums over nothing are not.
    pub fn new(
        kernels: &Kernels,
        call: &LibraryCall,
        into_epilogue: bool,
        threads: usize,
        at: &mut Cursor,
        words: &mut Words,
    ) -> Result<(Self, Need)> {
        let &LibraryCall::Matmul { dtype, ref batch, m, n, k, ref a, ref b, ref c } = call else {
            return Err(Error::internal("prepare", "not a matrix product"));
        };
        let numbers = at.call(call);
        if is_vector(dtype, &mut OnWords(&mut []), [m, n, k].map(|n| n as i64)) {
            let (vector, need) = Vector::new(kernels, call, numbers, threads, words)?;
            return Ok((Matmul::Vector(Box::new(vector)), need));
        }
        let rank = batch.len() + 2;
        let number = |n: usize| Some((numbers + n) as u32);
        let begin = words.len();
        (0..).zip([m, n, k]).for_each(|(i, size)| words.push(size as isize, number(batch.len() + i)));
        words.derive(FIRST - SIZES);
        (0..).zip(batch).for_each(|(i, &size)| words.push(size as isize, number(i)));
        for (i, arg) in [a, b, c].into_iter().enumerate() {
            // Each length stands before strides.
            let first = batch.len() + SIZES + i * (1 + rank) + 1;
            (0..).zip(&arg.strides).for_each(|(axis, &stride)| words.push(stride, number(first + axis)));
        }
        let double = dtype == DType::F64;
        let ready = Ready {
            at: begin,
            loops: kernels.products.clone(),
            batch: batch.len() as u32,
            lanes: (kernels.isa.lanes() / (1 + double as usize)) as u16,
            most_rows: max_rows(kernels.isa) as u16,
            dtype,
            goes_on: into_epilogue && k > 0,
        };
        let mut cx = OnWords(words);
        let tiles = ready.tiles(&mut cx);
        for rows in tiles.heights(&mut cx) {
            kernels.generate_product(double, rows as usize)?;
        }
        let need = ready.derive(&mut cx, tiles, threads).into();
        Ok((Matmul::Matrix(ready), need))
    }

    /// As for `Launch::settle`.
    pub fn settle<S: Settling>(
        &self,
        kernels: &Kernels,
        into_epilogue: bool,
        cx: &mut S,
        threads: usize,
    ) -> Option<Need<S::N>> {
        match self {
            Matmul::Vector(vector) => vector.settle(cx, threads),
            Matmul::Matrix(ready) => {
                let sizes @ [_, _, k] = ready.sizes(cx);
                if is_vector(ready.dtype, cx, sizes) || (into_epilogue && !cx.is(k, 0)) != ready.goes_on {
                    return None;
                }
                let tiles = ready.tiles(cx);
                for rows in tiles.heights(cx) {
                    cx.generate_product(kernels, ready.dtype == DType::F64, rows)?;
                }
                Some(ready.derive(cx, tiles, threads))
            }
        }
    }

    /// Columns of the result, and its size in bytes.
    pub fn columns<S: Settling>(&self, cx: &mut S) -> S::N {
        match self {
            Matmul::Vector(vector) => vector.columns(cx),
            Matmul::Matrix(ready) => ready.sizes(cx)[1],
        }
    }
    pub fn result_bytes<S: Settling>(&self, cx: &mut S) -> S::N {
        match self {
            Matmul::Vector(vector) => vector.result_bytes(cx),
            Matmul::Matrix(ready) => {
                let ([m, n, _], batch) = (ready.sizes(cx), ready.batch(cx));
                let matrices = cx.mul_all(&batch);
                let elements = cx.mul_all(&[matrices, m, n]);
                cx.mul_by(elements, ready.dtype.itemsize())
            }
        }
    }

    /// Rough cost on one thread, in picoseconds.
    pub fn cost<S: Settling>(&self, cx: &mut S) -> S::N {
        match self {
            Matmul::Vector(vector) => vector.cost(cx),
            Matmul::Matrix(ready) => {
                let (sizes, batch) = (ready.sizes(cx), ready.batch(cx));
                let (products, matrices) = (cx.mul_all(&sizes), cx.mul_all(&batch));
                let all = cx.mul(products, matrices);
                cx.mul_by(all, 30)
            }
        }
    }

    pub fn functions(&self) -> Vec<Arc<Function>> {
        match self {
            Matmul::Vector(vector) => vector.functions(),
            Matmul::Matrix(_) => vec![],
        }
    }

    /// Whether blocks of the result go on into an epilogue.
    pub fn goes_on(&self) -> bool {
        matches!(self, Matmul::Matrix(Ready { goes_on: true, .. }))
    }

    /// Runs it on a, b and c at these addresses. Blocks of the result go on into `finish`, if they [do so](Self::goes_on).
    ///
    /// # Safety
    ///
    /// As for `Launch::run`.
    pub unsafe fn run(&self, words: &[isize], bases: [usize; 3], finish: Option<&Finish<'_>>, cx: &mut Context<'_>) {
        match self {
            // SAFETY: passed on.
            Matmul::Vector(vector) => unsafe { vector.run(words, &bases, cx) },
            Matmul::Matrix(ready) => {
                let first = words[ready.at..].first_chunk::<FIRST>().expect("its numbers are there");
                let [m, n, k, number, height, tall, down, across, tasks, each] = first.map(|n| n as usize);
                let (tiles, cut) = (Tiles { number, height, tall }, Cut { down, across, tasks });
                let batch = counts(&words[ready.at + FIRST..][..ready.batch as usize]);
                let product = ready.product(&batch, [m, n, k], (tiles, cut), words);
                // SAFETY: passed on.
                with_number!(ready.dtype, T => unsafe { product.run::<T>(bases, finish, each, cx) })
            }
        }
    }
}

impl Ready {
    /// m, n and k.
    fn sizes<S: Settling>(&self, cx: &mut S) -> [S::N; SIZES] {
        [0, 1, 2].map(|n| cx.number(self.at + n))
    }
    fn batch<S: Settling>(&self, cx: &mut S) -> SmallVec<[S::N; 8]> {
        cx.numbers(self.at + FIRST, self.batch as usize)
    }
    fn tiles<S: Settling>(&self, cx: &mut S) -> Tiles<S::N> {
        let m = cx.number(self.at);
        let rows = cx.at_least(m, 1);
        Tiles::of(cx, rows, self.most_rows.into())
    }

    /// Whose innermost loops were generated.
    fn product<'a>(
        &'a self,
        batch: &'a [usize],
        [m, n, k]: [usize; SIZES],
        (tiles, cut): (Tiles, Cut),
        words: &'a [isize],
    ) -> Product<'a> {
        let rank = batch.len() + 2;
        let strides = &words[self.at + FIRST + batch.len()..];
        let view = |n: usize| View { strides: &strides[n * rank..][..rank], itemsize: self.dtype.itemsize() };
        let loops = [tiles.height, tiles.height - 1].map(|rows| self.loops.of(self.dtype == DType::F64, rows.max(1)));
        Product { batch, m, n, k, tiles, cut, a: view(0), b: view(1), c: view(2), loops, ready: self }
    }

    /// Derives what follows from the product's own numbers. The memory that it works in.
    fn derive<S: Settling>(&self, cx: &mut S, tiles: Tiles<S::N>, threads: usize) -> Need<S::N> {
        let ([m, n, k], batch) = (self.sizes(cx), self.batch(cx));
        let (strides, rank) = (self.at + FIRST + batch.len(), batch.len() + 2);
        let [a, b] = [0, 1].map(|n| cx.numbers(strides + n * rank, rank));
        let fixed = with_number!(self.dtype, T => Fixed::of::<T>(self.lanes.into(), self.goes_on));
        let sizes = Sizes { m, n, k, batch: &batch, a: &a, b: &b, tiles };
        let (Cut { down, across, tasks }, need) = sizes.settle(cx, &fixed, threads);
        let derived = [tiles.number, tiles.height, tiles.tall, down, across, tasks, need.each];
        (self.at + SIZES..).zip(derived).for_each(|(word, n)| cx.derive(word, n));
        need
    }
}

/// Whether a product is one with a vector, or over nothing.
fn is_vector<S: Settling>(dtype: DType, cx: &mut S, [m, n, k]: [S::N; SIZES]) -> bool {
    dtype != DType::C64 && (cx.is(m, 1) || cx.is(n, 1) || cx.is(k, 0))
}

impl Product<'_> {
    /// # Safety
    ///
    /// As for [`Matmul::run`].
    unsafe fn run<T: Number>(&self, bases: [usize; 3], finish: Option<&Finish<'_>>, each: usize, cx: &mut Context<'_>) {
        let matrices = self.matrices();
        if matrices * self.m * self.n == 0 {
            return;
        }
        if self.k == 0 {
            for matrix in 0..matrices {
                let c = self.c.at(bases[2], &indices(self.batch, matrix)) as *mut u8;
                // SAFETY: the verifier proved that this matrix of c lies within its slot, in one piece.
                unsafe { c.write_bytes(0, self.m * self.n * size_of::<T>()) };
            }
            return;
        }
        let b = self.panels::<T>();
        let mut packed = self.packed::<T>(&b, cx.room());
        // SAFETY: passed on; the memory holds all panels that are packed.
        unsafe { self.pack_b::<T>(bases[1], &b, packed.address(), cx) };
        let cut = self.cut;
        let bases = [bases[0], bases[1], packed.address(), bases[2]];
        cx.share(cut.tasks, matrices * cut.down * cut.across, each, &|units, room| {
            let mut memory = room.take_bytes(each);
            for unit in units {
                let (matrix, part) = (unit / (cut.down * cut.across), unit % (cut.down * cut.across));
                let (tiles, panels) = self.part_of(&b, cut, part);
                // SAFETY: passed on; parts of c are disjoint, and the memory is enough for each.
                unsafe { self.part::<T>(bases, matrix, tiles, panels, &b, finish, (memory.address(), each)) };
            }
        })
    }

    fn matrices(&self) -> usize {
        self.batch.iter().product()
    }

    /// The tiles and panels of a part of each matrix.
    fn part_of(&self, b: &Panels, Cut { down, across, .. }: Cut, part: usize) -> (Range<usize>, Range<usize>) {
        (share(self.tiles.number, part / across, down), share(b.number, part % across, across))
    }

    /// Bytes that a part of so many rows needs for a, packed, for sums apart from c, and for elements that they become on their way into an epilogue.
    fn part_memory<T: Number>(&self, b: &Panels, rows: usize, panels: &Range<usize>) -> [usize; 3] {
        let packed = if self.packs_a::<T>(panels) { rows * b.pitch() } else { 0 };
        let (mut apart, mut widest) = (0, 0);
        for group in b.groups::<T>(panels, rows) {
            apart = apart.max(group.place + rows * group.width);
            widest = widest.max(b.columns_of(&group.panels).len() / T::PARTS);
        }
        let elements = if self.ready.goes_on && !T::SAME { rows * widest } else { 0 };
        let nbytes = [packed * size_of::<T::Wide>(), apart * size_of::<T::Wide>(), elements * size_of::<T>()];
        nbytes.map(|n| n.next_multiple_of(ALIGN))
    }

    fn packs_a<T: Number>(&self, panels: &Range<usize>) -> bool {
        let [row, column] = self.strides(&self.a);
        let reads_in_place = T::SAME && (T::PARTS == 1 || column == 1);
        !reads_in_place || panels.len() >= PACK_PANELS || row == 1 && panels.len() > 1
    }

    /// Strides of the matrix axes in elements.
    fn strides(&self, view: &View<'_>) -> [isize; 2] {
        let axes = self.batch.len();
        [view.strides[axes], view.strides[axes + 1]]
    }

    fn panels<T: Number>(&self) -> Panels<'_> {
        let (columns, depth, lanes) = (T::PARTS * self.n, T::PARTS * self.k, self.ready.lanes as usize);
        let [_, column] = self.strides(&self.b);
        let lies_well = T::PARTS == 1 && T::SAME && column == 1 && self.tiles.number <= FEW_TILES;
        let first = if lies_well { columns / (2 * lanes) } else { 0 };
        let (number, go_on) = (columns.div_ceil(2 * lanes), self.ready.goes_on);
        Panels { columns, depth, lanes, number, first, batch: self.batch, strides: self.b.strides, go_on }
    }

    /// Memory for the panels that are packed, of all matrices.
    fn packed<'m, T: Number>(&self, b: &Panels, room: &mut Room<'m>) -> Scratch<'m> {
        room.take_bytes(b.size().saturating_mul(b.matrices()).saturating_mul(size_of::<T::Wide>()))
    }

    /// Packs what is to be packed of b.
    ///
    /// # Safety
    ///
    /// `base` is that of b, and at `to` is memory for its packed panels.
    unsafe fn pack_b<T: Number>(&self, base: usize, b: &Panels, to: usize, cx: &mut Context<'_>) {
        let (extents, matrices): (Shape, usize) = (small(b.extents()), b.matrices());
        let [row, column] = self.strides(&self.b);
        let (panels, blocks) = (b.number - b.first, b.depth.div_ceil(MATMUL_BLOCK));
        let tasks = (matrices * b.size() / (1 << 14)).clamp(1, 4 * cx.threads());
        cx.share(tasks, matrices * panels * blocks, 0, &|units, _| {
            for unit in units {
                let (matrix, panel, block) =
                    (unit / (panels * blocks), b.first + unit / blocks % panels, unit % blocks * MATMUL_BLOCK);
                let (across, left) = (b.vectors(panel) * b.lanes, panel * 2 * b.lanes);
                let down = MATMUL_BLOCK.min(b.depth - block);
                let place = matrix * b.size() + b.place(panel) + block * across;
                let from = self.b.at(base, &indices(&extents, matrix));
                let from = pack::Matrix { address: from, row, column };
                // SAFETY: rows and columns of b; the block's own place in the packed numbers.
                unsafe {
                    let to = std::slice::from_raw_parts_mut((to as *mut T::Wide).add(place), down * across);
                    pack::columns::<T>(from, block, left..left + b.width(panel), across, to);
                }
            }
        });
    }

    /// Computes these tiles of these panels of one matrix.
    ///
    /// # Safety
    ///
    /// Bases of a, b, packed b and c; at `memory` are as many bytes for the part.
    #[allow(clippy::too_many_arguments)]
    unsafe fn part<T: Number>(
        &self,
        bases: [usize; 4],
        matrix: usize,
        tiles: Range<usize>,
        panels: Range<usize>,
        b: &Panels,
        finish: Option<&Finish<'_>>,
        (memory, nbytes): (usize, usize),
    ) {
        let size = size_of::<T::Wide>();
        let at = indices(self.batch, matrix);
        let ([a_row, a_column], [b_row, _]) = (self.strides(&self.a), self.strides(&self.b));
        let (from_a, from_b) = (self.a.at(bases[0], &at), self.b.at(bases[1], &at));
        let c = self.c.at(bases[3], &at);
        let packed = bases[2] + b.matrix(&at) * b.size() * size;
        let (top, rows) = (self.tiles.first_row(tiles.start), self.tiles.rows(&tiles));
        let bottom = top + rows;

        let (packs_a, by_steps, pitch) = (self.packs_a::<T>(&panels), a_row == 1 && T::PARTS == 1, b.pitch());
        let [of_a, of_sums, of_elements] = self.part_memory::<T>(b, rows, &panels);
        assert!(of_a + of_sums + of_elements <= nbytes, "a part takes more memory than the product said");
        let (packed_a, aside, elements) = (memory, memory + of_a, memory + of_a + of_sums);
        let groups = b.groups::<T>(&panels, rows);

        let tiles_here = tiles.len();
        for block in (0..b.depth).step_by(MATMUL_BLOCK) {
            let k = MATMUL_BLOCK.min(b.depth - block);
            if packs_a {
                let from = pack::Matrix { address: from_a, row: a_row, column: a_column };
                // SAFETY: rows of a; our own buffer, which holds as many.
                unsafe {
                    let to = std::slice::from_raw_parts_mut(packed_a as *mut T::Wide, rows * pitch);
                    if !by_steps {
                        pack::rows::<T>(from, top, block, k, pitch, to);
                    } else {
                        for (height, tiles) in self.tiles.by_height(&tiles) {
                            for row in tiles.clone().map(|tile| self.tiles.first_row(tile)) {
                                let place = (row - top) * k;
                                pack::steps::<T>(from, row..row + height, block, &mut to[place..place + height * k]);
                            }
                        }
                    }
                }
            }
            let is_last = block + k == b.depth;
            let mut groups = groups.clone().peekable();
            for panel in panels.clone() {
                let (vectors, left) = (b.vectors(panel), panel * 2 * b.lanes);
                let width = vectors * b.lanes;
                let (from_b, b_step) = if panel >= b.first {
                    (packed + (b.place(panel) + block * width) * size, width)
                } else {
                    (offset::<T::Wide>(from_b, block as isize * b_row + left as isize), b_row as usize)
                };
                let group = groups.next_if(|g| g.panels.end == panel + 1).or_else(|| groups.peek().cloned());
                let group = group.filter(|g| g.panels.contains(&panel));
                let (to_c, c_row) = match &group {
                    Some(g) => (aside + (g.place + left - b.columns_of(&g.panels).start) * size, g.width),
                    None => (c + (top * b.columns + left) * size, b.columns),
                };
                for (short, (height, tiles)) in self.tiles.by_height(&tiles).into_iter().enumerate() {
                    if tiles.is_empty() {
                        continue;
                    }
                    let down = self.tiles.first_row(tiles.start) - top;
                    let (a, a_row, a_step, a_tile) = if packs_a && by_steps {
                        (packed_a + down * k * size, 1, height as isize, (height * k) as isize)
                    } else if packs_a {
                        (packed_a + down * pitch * size, pitch as isize, 1, (height * pitch) as isize)
                    } else {
                        // In real numbers.
                        let (row, step) = (a_row * T::PARTS as isize, if T::PARTS == 1 { a_column } else { 1 });
                        let first = (top + down) as isize * row + block as isize * step;
                        (offset::<T::Wide>(from_a, first), row, step, height as isize * row)
                    };
                    let bytes = size as isize;
                    let mut call = Block {
                        k,
                        a,
                        a_row: a_row * bytes,
                        a_step: a_step * bytes,
                        b: from_b,
                        b_step: b_step as isize * bytes,
                        c: to_c + down * c_row * size,
                        c_row: c_row as isize * bytes,
                        tiles: tiles.len(),
                        a_tile: a_tile * bytes,
                        c_tile: (height * c_row) as isize * bytes,
                        add: (block > 0) as usize,
                        // The next panel of b, divided over the tiles of this one.
                        ahead: from_b + (b.depth + down / self.tiles.height * k / tiles_here) * width * size,
                        ahead_step: (width * size).div_ceil(tiles_here),
                    };
                    // SAFETY: the function reads `height` rows of a per tile and k rows of one or two vectors of b, and writes as many
                    // vectors of each row of c: all within the operands, by the caller's promise, or within our packed numbers and sums.
                    unsafe { self.loops[short][vectors - 1]((&raw mut call).cast()) };
                }
                let Some(g) = group.filter(|g| is_last && g.panels.end == panel + 1) else { continue };
                let (sums, columns) = (aside + g.place * size, b.columns_of(&g.panels));
                let of_elements = columns.start / T::PARTS..columns.end / T::PARTS;
                // SAFETY: the sums of these rows and columns have just been computed; they go to their place in c, or through the epilogue, as elements.
                unsafe {
                    match finish {
                        None => {
                            put::<T>(sums, g.width, columns.len(), rows, c, top * b.columns + columns.start, b.columns)
                        }
                        Some(finish) if T::SAME => {
                            finish.run(self.batch, &at, top..bottom, of_elements, sums, g.width * size)
                        }
                        Some(finish) => {
                            put::<T>(sums, g.width, columns.len(), rows, elements, 0, columns.len());
                            let pitch = of_elements.len() * size_of::<T>();
                            finish.run(self.batch, &at, top..bottom, of_elements, elements, pitch);
                        }
                    }
                }
            }
        }
    }
}

/// Part `k` of so many things, in `parts` nearly equal ones.
fn share(n: usize, k: usize, parts: usize) -> Range<usize> {
    if parts == 1 { 0..n } else { n * k / parts..n * (k + 1) / parts }
}

/// Stores rows of sums, `pitch` numbers apart, as elements: from number `first` of what lies at `to` on, `row` numbers apart.
///
/// # Safety
///
/// The sums can be read, and the elements written.
unsafe fn put<T: Number>(sums: usize, pitch: usize, columns: usize, rows: usize, to: usize, first: usize, row: usize) {
    for i in 0..rows {
        // SAFETY: the caller's.
        unsafe {
            let sums = std::slice::from_raw_parts((sums as *const T::Wide).add(i * pitch), columns);
            T::put(sums, first + i * row, to);
        }
    }
}

fn offset<T>(address: usize, elements: isize) -> usize {
    address.wrapping_add_signed(elements * size_of::<T>() as isize)
}

#[cfg(test)]
mod tests {
    use super::{OnWords, Tiles};

    #[test]
    fn tiles_cover_the_rows() {
        for most in [6, 12] {
            for m in 1..300 {
                let tiles = Tiles::of(&mut OnWords(&mut []), m as i64, most);
                let [number, height, tall] = [tiles.number, tiles.height, tiles.tall].map(|n| n as usize);
                let tiles = Tiles { number, height, tall };
                assert_eq!((tiles.first_row(0), tiles.first_row(tiles.number)), (0, m));
                let [tall, short] = tiles.by_height(&(0..tiles.number));
                assert_eq!(tall.0 * tall.1.len() + short.0 * short.1.len(), m);
                assert!(tall.0 <= most && !tall.1.is_empty());
            }
        }
    }
}
