//! A scatter and the map that follows, block by block of the target.
//!
//! All positions are found first, and the updates listed by the blocks that they fall into, each list in the order of the loop space. Then each block by itself is computed, updated from
//! its list, and goes through the map while it lies in the cache: the target never goes through memory. Blocks are divided over the threads; an element is of one block, so that it
//! meets its updates in their order.

use super::super::map::Map;
use super::super::{Bound, Context, HandedOn, Need, PARALLEL, Room, Scratch, boxes, cost_per_point};
use super::{Located, Scatter, Share, Update};
use crate::kernels::{Function, Kernels};
use crate::known::Known;
use crate::tile::Tile;
use crate::words::{Cursor, Words};
use lazuli_kernel::{DType, Inst, Nest, Result, Role, Store};
use std::sync::Arc;

/// Elements of a block, about: it should stay in the first-level cache beside what else the map goes through.
const BLOCK: usize = 4096;

/// A scatter with its epilogue.
pub struct Onwards {
    /// Of the three passes.
    known: [Arc<Known>; 3],
    target: Map,
    updates: Scatter,
    epilogue: Map,
    /// Arguments of the two maps that are the target.
    handed_on: [HandedOn; 2],
    /// The argument that the target is as it lies, row by row.
    direct: Option<usize>,
    dtype: DType,
    /// Elements of the target, and of a block.
    len: usize,
    block: usize,
    tasks: usize,
    need: Need,
    /// On one thread, in picoseconds.
    pub cost: usize,
}

impl Onwards {
    /// For at most so many threads.
    pub fn new(
        kernels: &Kernels,
        passes: &lazuli_kernel::Scatter,
        known: [Arc<Known>; 3],
        threads: usize,
        at: &mut Cursor,
        words: &mut Words,
    ) -> Result<Self> {
        let bound = |n: usize| Bound::new(kernels, &known[n], &passes.passes()[n].binding, at);
        let [target, updates, epilogue] = [0, 1, 2].map(bound);
        let &Nest::Scatter { op, target: updated, index, mask, value } = &updates.kernel.nest else {
            unreachable!("the verifier has seen that they are a scatter")
        };
        let dtype = updates.kernel.operands[updated as usize].dtype;
        let len = target.extents.iter().product();
        let costs = [&target, &epilogue].map(|launch| cost_per_point(launch.kernel).saturating_mul(len));
        let mut onwards = Self {
            block: block(target.extents),
            target: Map::in_parts(&target, false, words)?,
            direct: direct(&target),
            updates: Scatter::new(&updates, Update { op, target: updated, index, mask, value }, words)?,
            epilogue: Map::in_parts_of_others(&epilogue, words)?,
            handed_on: [&target, &epilogue].map(|launch| HandedOn::of(launch.args)),
            dtype,
            len,
            tasks: 1,
            need: Need::default(),
            cost: 0,
            known: known.clone(),
        };
        let points: usize = updates.extents.iter().product();
        let cost = costs.into_iter().fold(points.saturating_mul(cost_per_point(updates.kernel)), usize::saturating_add);
        onwards.cost = cost;
        if cost >= PARALLEL {
            onwards.tasks = (cost / PARALLEL).clamp(threads, 8 * threads).min(onwards.blocks()).max(1);
        }
        let shared = Room::measure(|room| (onwards.updates.located(room), onwards.lists(room)));
        onwards.need = Need { shared, each: Room::measure(|room| onwards.rooms(room)), tasks: onwards.tasks };
        Ok(onwards)
    }

    pub fn functions(&self) -> Vec<Arc<Function>> {
        let maps = [&self.known[0].map].into_iter().chain(self.updates.maps()).chain([&self.known[2].map]);
        maps.map(|map| map.generated(false).clone()).collect()
    }

    /// The memory that it works in.
    pub fn need(&self) -> Need {
        self.need
    }

    fn blocks(&self) -> usize {
        self.len.div_ceil(self.block)
    }

    /// The most blocks that an update falls into: one that is longer than a block may begin anywhere in the first.
    fn most_blocks(&self) -> usize {
        let (_, n) = self.updates.count();
        n.saturating_sub(1).div_ceil(self.block) + 1
    }

    /// For the lists of all blocks, one behind the other, and where each of them ends; a single block needs none.
    fn lists<'m>(&self, room: &mut Room<'m>) -> [Scratch<'m>; 2] {
        let (updates, _) = self.updates.count();
        let (entries, ends) = match self.blocks() {
            1 => (0, 0),
            blocks => (updates.saturating_mul(self.most_blocks().min(blocks)), blocks + 1),
        };
        [room.take(entries, DType::U64), room.take(ends, DType::U64)]
    }

    /// For a block, and what updates of it are computed in.
    fn rooms<'m>(&self, room: &mut Room<'m>) -> [Scratch<'m>; 2] {
        [room.take(self.block.min(self.len), self.dtype), self.updates.buffer(room)]
    }

    /// Lists the updates of each block, if there are several: where each list ends, behind where the one before does.
    fn list(&self, located: &Located<'_>, [entries, ends]: &mut [Scratch<'_>; 2]) {
        if self.blocks() == 1 {
            return;
        }
        let (updates, n) = self.updates.count();
        let (positions, masks) = (located.positions(updates), located.masks(updates));
        let blocks_of = |update: usize| {
            let first = positions[update].max(0) as usize;
            let end = (positions[update].saturating_add(n as i64)).clamp(0, self.len as i64) as usize;
            if first >= end || masks.is_some_and(|m| m[update] == 0) {
                return 0..0;
            }
            let block = match self.block.is_power_of_two() {
                true => first >> self.block.trailing_zeros(),
                false => first / self.block,
            };
            let ends_there = end <= (block + 1) * self.block;
            block..if ends_there { block + 1 } else { (end - 1) / self.block + 1 }
        };
        let ends = ends.bytes_mut(0, 8 * (self.blocks() + 1)).of_mut::<u64>();
        ends.fill(0);
        // The length of each list behind its end to come; then where each begins; then, as they are filled, where each ends.
        for update in 0..updates {
            blocks_of(update).for_each(|block| ends[block + 1] += 1);
        }
        let mut begin = 0;
        for end in ends.iter_mut() {
            begin += *end;
            *end = begin;
        }
        let total = begin as usize;
        let entries = entries.bytes_mut(0, 8 * total).of_mut::<u64>();
        for update in 0..updates {
            for block in blocks_of(update) {
                entries[ends[block] as usize] = update as u64;
                ends[block] += 1;
            }
        }
    }

    /// Runs it on arguments at these addresses, those of one pass behind those of the other.
    ///
    /// # Safety
    ///
    /// As for `Launch::run`, of the three launches one after another.
    pub unsafe fn run(&self, words: &[isize], bases: &[usize], cx: &mut Context<'_>) {
        let operands = |n: usize| self.known[n].kernel().operands.len();
        let (target, bases) = bases.split_at(operands(0));
        let (updates, epilogue) = bases.split_at(operands(1));
        let [of_target, of_epilogue] = &self.handed_on;
        let tile = |map: &Map, n: usize| map.tile(&self.known[n].map, words).expect("it was made for parts");
        let [first_map, last_map] = [(&self.target, 0), (&self.epilogue, 2)].map(|(map, n)| tile(map, n));
        let mut located = self.updates.located(cx.room());
        // SAFETY: passed on; nothing is written to the result yet.
        unsafe { self.updates.locate(words, updates, &mut located, cx) };
        let mut lists = self.lists(cx.room());
        self.list(&located, &mut lists);
        let list_of = |block: usize| {
            let ends = lists[1].bytes(0, 8 * (self.blocks() + 1)).of::<u64>();
            let begin = if block == 0 { 0 } else { ends[block - 1] as usize };
            lists[0].bytes(8 * begin, 8 * (ends[block] as usize - begin)).of::<u64>()
        };
        let written = last_map.kernel().operands.iter().zip(epilogue).filter(|(o, _)| o.role != Role::In);
        let overwrites = written.map(|(_, base)| base).any(|base| target.contains(base));
        // By way of the caches, where what is stored may lie there, as the target was read from it.
        let last = if overwrites { last_map.through_caches() } else { last_map };
        cx.share(self.tasks, self.blocks(), self.need.each, &|blocks, room| {
            let [mut own, mut buffer] = self.rooms(room);
            for block in blocks {
                let first = block * self.block;
                let count = self.block.min(self.len - first);
                let list = (self.blocks() > 1).then(|| list_of(block));
                let is_updated = list.is_none_or(|list| !list.is_empty());
                if let (Some(direct), false) = (self.direct, is_updated) {
                    // SAFETY: as below; the target is read where it lies.
                    unsafe { run_part(&last, &of_epilogue.bases(epilogue, target[direct]), first, count) };
                    continue;
                }
                // Where the result would begin for this block to lie where it does.
                let at = own.address().wrapping_sub(first * self.dtype.itemsize());
                // SAFETY: points of a launch, whose accesses the verifier proved; the block is this task's.
                unsafe { run_part(&first_map, &of_target.bases(target, at), first, count) };
                if is_updated {
                    let share = Share { target: at, range: first..first + count, located: &located, list };
                    // SAFETY: as above; what updates read no pass writes.
                    unsafe { self.updates.apply(words, updates, &share, &mut buffer) };
                }
                // SAFETY: as above; blocks are parts of a map, whose points are independent, and what it writes is read at the same points only.
                unsafe { run_part(&last, &of_epilogue.bases(epilogue, at), first, count) };
            }
        });
    }
}

/// Runs a tile at the points of these numbers, in row-major order.
///
/// # Safety
///
/// As for [`Tile::run`].
unsafe fn run_part(tile: &Tile<'_>, bases: &[usize], first: usize, count: usize) {
    let mut part = tile.all();
    if let ([start], [n]) = (part.start.as_mut_slice(), part.count.as_mut_slice()) {
        (*start, *n) = (first, count);
        // SAFETY: passed on.
        return unsafe { tile.run(bases, &part) };
    }
    let extents = part.count.clone();
    boxes(&extents, first, count, |start, counts, _| {
        part.start.copy_from_slice(start);
        part.count.copy_from_slice(counts);
        // SAFETY: passed on.
        unsafe { tile.run(bases, &part) };
    });
}

/// The operand that a map copies row by row, if it does nothing else.
fn direct(launch: &Bound<'_>) -> Option<usize> {
    let (&[Inst::Load(operand)], Nest::Map { stores }) = (launch.kernel.body.as_slice(), &launch.kernel.nest) else {
        return None;
    };
    let [Store { operand: to, .. }] = stores.as_slice() else { return None };
    let [from, to] = [operand, *to].map(|o| &launch.args[o as usize].strides);
    (from == to).then_some(operand as usize)
}

/// Elements of a block: whole inner spaces, as many as fit; or all, where there are few.
fn block(extents: &[usize]) -> usize {
    let all = extents.iter().product();
    if (1..=2 * BLOCK).contains(&all) {
        return all;
    }
    let mut inner = 1;
    for &n in extents.iter().rev() {
        if n > BLOCK / inner {
            break;
        }
        inner *= n.max(1);
    }
    BLOCK / inner * inner
}
