//! Puts launches of one kernel side by side: one step with many bindings, such as the update of all parameters of a model, whatever their shapes.
//!
//! Launches are independent if they have equal *heights* (the longest chain of steps that need what one writes) or equal depths (the longest chain of steps
//! behind it), since each step that depends on another has another height and depth. Those of one kernel and one height become one; then those of one kernel and one
//! depth. Every dependence leads from a greater height to a smaller one before and after, so that no circle arises, and the steps are put in an order that
//! respects all of them, as near to the old one as can be.
//!
//! Only small launches are moved: a large one has nothing to gain, and finds its operands in the cache where it is.

use crate::lower::{BufferId, Program, Work};
use crate::memory::touches;
use lazuli_kernel::hash::{Map, WordHasher};
use lazuli_kernel::small;
use smallvec::{SmallVec, smallvec};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::{Hash, Hasher};

/// Whether a loop over so many points is worth running beside others: beyond, waking the threads once more is nothing.
pub(crate) fn is_small(points: usize) -> bool {
    points <= 1 << 20
}

/// The steps that a program ends up with: of each, the entries of its work that it consists of.
pub(crate) type Joined = Vec<SmallVec<[u32; 1]>>;

/// Joins launches of equal kernels that are independent.
pub(crate) fn beside(program: &mut Program) -> Joined {
    let mut joined: Joined = (0..program.work.len() as u32).map(|n| smallvec![n]).collect();
    for ranks in [heights, depths] {
        let hashes: Vec<Option<u64>> = program.work.iter().map(signature).collect();
        let mut sorted: Vec<u64> = hashes.iter().flatten().copied().collect();
        sorted.sort_unstable();
        if !sorted.windows(2).any(|w| w[0] == w[1]) {
            break;
        }
        let round = join(program, hashes, ranks);
        arrange(program, &round);
        joined =
            round.iter().map(|step| step.iter().flat_map(|&n| joined[n as usize].iter().copied()).collect()).collect();
    }
    joined
}

/// Joins the entries of a program's work.
pub(crate) fn arrange(program: &mut Program, joined: &Joined) {
    if joined.len() == program.work.len() {
        // Nothing is joined, so everything stays in its order.
        return;
    }
    let work = std::mem::replace(&mut program.work, Vec::with_capacity(joined.len()));
    let mut old: Vec<Option<Work>> = work.into_iter().map(Some).collect();
    let mut origins = std::mem::replace(&mut program.origins, Vec::with_capacity(joined.len()));
    for step in joined {
        let mut parts = step.iter().map(|&n| n as usize);
        let first = parts.next().expect("a step has a part");
        let (mut work, mut groups) =
            (old[first].take().expect("each part is in one step"), std::mem::take(&mut origins[first]));
        if let (Work::Launch(work), true) = (&mut work, step.len() > 1) {
            work.bindings.reserve_exact(step.len() - 1);
        }
        for n in parts {
            if let (Work::Launch(work), Some(Work::Launch(launch))) = (&mut work, old[n].take()) {
                work.bindings.extend(launch.bindings);
            }
            groups.extend(std::mem::take(&mut origins[n]));
        }
        program.work.push(work);
        program.origins.push(groups);
    }
}

/// Which launches of equal kernels and equal ranks become one, in an order that respects what each waits for.
fn join(program: &Program, hashes: Vec<Option<u64>>, ranks: fn(&[Touched]) -> Vec<u32>) -> Joined {
    let work = &program.work;
    let touched: Vec<Touched> = work.iter().map(|w| touched(w, program)).collect();
    let ranked = ranks(&touched);
    let mut partners: Map<(u64, u32), SmallVec<[usize; 2]>> = Map::default();
    // The first launch of each set of equal kernels and ranks.
    let mut into: Vec<usize> = (0..work.len()).collect();
    for (n, hash) in hashes.into_iter().enumerate() {
        let (Some(hash), Work::Launch(launch)) = (hash, &work[n]) else { continue };
        let known = partners.entry((hash, ranked[n])).or_default();
        let same = |&&k: &&usize| matches!(&work[k], Work::Launch(other) if other.kernel == launch.kernel);
        match known.iter().find(same) {
            Some(&first) => into[n] = first,
            None => known.push(n),
        }
    }
    let mut joined: Joined = vec![SmallVec::new(); work.len()];
    into.iter().enumerate().for_each(|(n, &first)| joined[first].push(n as u32));
    let order = match into.iter().enumerate().all(|(n, &first)| n == first) {
        true => (0..work.len()).collect(),
        false => ordered(&touched, program.buffers.len(), &into),
    };
    order.into_iter().map(|n| std::mem::take(&mut joined[n])).collect()
}

/// A hash of the kernel of a small launch.
fn signature(work: &Work) -> Option<u64> {
    let Work::Launch(launch) = work else { return None };
    if launch.bindings.iter().any(|b| !is_small(b.extents.iter().product())) {
        return None;
    }
    let mut hasher = WordHasher::default();
    launch.kernel.hash(&mut hasher);
    Some(hasher.finish())
}

/// The buffers that a step touches, and what it does with them. To those, steps with effects add one that they all write: they stay in order.
type Touched = SmallVec<[(BufferId, Use); 8]>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Read,
    Write,
    /// Writes what no other step writes that does the same with this buffer, so that they need not wait for each other.
    WritePart,
}

fn touched(work: &Work, program: &Program) -> Touched {
    let outside = work.has_effects().then_some((BufferId(program.buffers.len() as u32), Use::Write));
    let how = |buffer: BufferId, writes: bool| match writes {
        false => Use::Read,
        true if program.in_parts.binary_search(&buffer).is_ok() => Use::WritePart,
        true => Use::Write,
    };
    small(touches(work).iter().map(|t| (t.buffer, how(t.buffer, t.writes))).chain(outside))
}

/// The longest chain of steps that need what each step writes, or would overwrite what it reads.
fn heights(touched: &[Touched]) -> Vec<u32> {
    let mut ranks = chain(touched.iter().rev());
    ranks.reverse();
    ranks
}

/// The longest chain of steps that each step has to wait for.
fn depths(touched: &[Touched]) -> Vec<u32> {
    chain(touched.iter())
}

/// One more than the largest number among the steps met before that this one conflicts with.
fn chain<'a>(touched: impl Iterator<Item = &'a Touched> + Clone) -> Vec<u32> {
    // Of each buffer: of its readers, of its writers.
    let buffers = touched.clone().flatten().map(|(b, _)| b.0 as usize + 1).max().unwrap_or(0);
    let mut after: Vec<(u32, u32)> = vec![(0, 0); buffers];
    let ranks = touched.map(|touched| {
        let conflicts = |&(b, how): &(BufferId, Use)| {
            let (readers, writers) = after[b.0 as usize];
            match how {
                Use::Read => writers,
                Use::Write => readers.max(writers),
                Use::WritePart => readers,
            }
        };
        let rank = touched.iter().map(conflicts).max().unwrap_or(0);
        for &(b, how) in touched {
            let (readers, writers) = &mut after[b.0 as usize];
            let of = if how == Use::Read { readers } else { writers };
            *of = (*of).max(rank + 1);
        }
        rank
    });
    ranks.collect()
}

/// An order of the joined steps that respects what each has to wait for; where that leaves a choice, that of the last of those joined.
fn ordered(touched: &[Touched], buffers: usize, into: &[usize]) -> Vec<usize> {
    let steps = touched.len();
    let mut last: Vec<usize> = (0..steps).collect();
    for (n, &first) in into.iter().enumerate() {
        last[first] = last[first].max(n);
    }
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); steps];
    let mut waits = vec![0u32; steps];
    // Of each buffer: its last writer, or those of its parts, and the readers since.
    let mut writers: Vec<SmallVec<[usize; 2]>> = vec![SmallVec::new(); buffers + 1];
    let mut readers: Vec<SmallVec<[usize; 2]>> = vec![SmallVec::new(); buffers + 1];
    for (n, touched) in touched.iter().enumerate() {
        let this = into[n];
        let mut before: SmallVec<[usize; 8]> = SmallVec::new();
        for &(BufferId(b), how) in touched {
            let b = b as usize;
            if how != Use::WritePart {
                before.extend(writers[b].iter().copied());
            }
            if how != Use::Read {
                before.extend(readers[b].iter().copied());
            }
        }
        for &(BufferId(b), how) in touched {
            let b = b as usize;
            if how == Use::Write {
                writers[b].clear();
                readers[b].clear();
            }
            let those = if how == Use::Read { &mut readers[b] } else { &mut writers[b] };
            if those.last() != Some(&this) {
                those.push(this);
            }
        }
        before.retain(|b| *b != this);
        before.sort_unstable();
        before.dedup();
        for b in before {
            followers[b].push(this);
            waits[this] += 1;
        }
    }
    let first = |n: &usize| into[*n] == *n;
    let mut ready: BinaryHeap<Reverse<(usize, usize)>> =
        (0..steps).filter(first).filter(|&n| waits[n] == 0).map(|n| Reverse((last[n], n))).collect();
    let mut order = Vec::with_capacity(steps);
    while let Some(Reverse((_, n))) = ready.pop() {
        order.push(n);
        for &f in &followers[n] {
            waits[f] -= 1;
            if waits[f] == 0 {
                ready.push(Reverse((last[f], f)));
            }
        }
    }
    assert_eq!(order.len(), (0..steps).filter(first).count(), "steps of one rank are independent");
    order
}
