//! An assignment of memory for the same steps with other extents: all that it decided is taken over, and where the pieces of the arena lie is worked out anew.
//!
//! Of two pieces that are in use at the same time one lies below the other, and stays there. So it is enough to know of each which lie right below it at some
//! time: it begins where the last of these ends.

use super::arena::ALIGN;
use super::lives::Piece;
use super::{Alike, ArrayId, Assignment, Term, Terms, all_arrays, launches};
use crate::lower::{BufferId, Program, Work};
use crate::pipeline::OutputSource;
use lazuli_kernel::hash::Map;
use lazuli_kernel::{Kernel, LibraryCall, Slot};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;

/// An assignment that others follow.
#[derive(Debug)]
pub(crate) struct Arrangement {
    assignment: Assignment,
    steps: Vec<Form>,
    /// The buffers that their arrays are in, one after another.
    touched: Vec<BufferId>,
    /// How many buffers there are, those of no bytes among those touched, and those of the outputs.
    buffers: usize,
    empty: Vec<BufferId>,
    outputs: Vec<BufferId>,
    equal: Vec<(BufferId, BufferId)>,
    alike: Vec<Term>,
    stack: Vec<Stacked>,
}

/// What a step is but for its arrays.
#[derive(Debug)]
struct Form {
    kind: Kind,
    kernels: SmallVec<[Arc<Kernel>; 1]>,
    /// Of its launches in all.
    bindings: usize,
}

impl Form {
    fn of(work: &Work) -> Form {
        let kernels = kernels(work).cloned().collect();
        Form { kind: kind(work), kernels, bindings: bindings(work) }
    }
    fn is_of(&self, work: &Work) -> bool {
        self.kind == kind(work) && self.bindings == bindings(work) && self.kernels.iter().eq(kernels(work))
    }
}

type Kind = (Discriminant<Work>, Option<Discriminant<LibraryCall>>);

fn kind(work: &Work) -> Kind {
    let call = if let Work::Call { call, .. } = work { Some(discriminant(&**call)) } else { None };
    (discriminant(work), call)
}

/// The kernels of a step.
fn kernels(work: &Work) -> impl Iterator<Item = &Arc<Kernel>> {
    launches(work).iter().map(|launch| &launch.kernel)
}

fn bindings(work: &Work) -> usize {
    launches(work).iter().map(|launch| launch.bindings.len()).sum()
}

/// A piece of the arena, and the places in the stack of those that are right below it at some time.
#[derive(Debug)]
struct Stacked {
    buffers: SmallVec<[BufferId; 1]>,
    on: SmallVec<[u32; 2]>,
}

impl Arrangement {
    /// Of a program and its assignment.
    pub fn new(program: &Program, assignment: Assignment, terms: Terms) -> Arrangement {
        let Terms { equal, alike, pieces } = terms;
        let mut touched: Vec<BufferId> = Vec::new();
        for work in &program.work {
            all_arrays(work, |array| {
                touched.push(BufferId::of(array));
                true
            });
        }
        let mut empty: Vec<BufferId> = touched.iter().filter(|b| program.buffers[b.0 as usize] == 0).copied().collect();
        empty.sort_unstable();
        empty.dedup();
        Arrangement {
            steps: program.work.iter().map(Form::of).collect(),
            touched,
            buffers: program.buffers.len(),
            empty,
            equal,
            alike: essential(alike),
            outputs: program.outputs.iter().map(|place| place.buffer).collect(),
            stack: stacked(&pieces, &assignment.slots),
            assignment,
        }
    }

    /// The assignment for another program; none if it has other steps, or if something does not hold for it that was taken for granted.
    pub fn follow(&self, program: &Program) -> Option<Assignment> {
        let Program { buffers, work, outputs, .. } = program;
        let size = |b: &BufferId| buffers[b.0 as usize];
        let mut touched = self.touched.iter();
        let same = buffers.len() == self.buffers
            && work.len() == self.steps.len()
            && work.iter().zip(&self.steps).all(|(work, form)| form.is_of(work))
            && work.iter().all(|work| all_arrays(work, |array| touched.next() == Some(&BufferId::of(array))))
            && touched.next().is_none()
            && outputs.iter().map(|place| &place.buffer).eq(&self.outputs)
            && self.empty.iter().all(|b| size(b) == 0)
            && self.equal.iter().all(|(a, b)| size(a) == size(b))
            && self.alike.iter().all(|&([a, b], how)| Alike::of(a.of(program), b.of(program)) == Some(how));
        same.then(|| self.restacked(buffers))
    }

    /// The assignment for buffers of these sizes.
    fn restacked(&self, sizes: &[usize]) -> Assignment {
        let mut assignment = self.assignment.clone();
        let size = |b: BufferId| sizes[b.0 as usize];
        let (places, arena) = self.places(size);
        self.set_slots(|piece| places[piece], size, &mut assignment.slots);
        assignment.arena = arena;
        assignment
    }

    /// Where buffers are, in the arena for some sizes.
    pub fn slots(&self) -> &[Slot] {
        &self.assignment.slots
    }
    /// Where each piece of the arena begins, for these sizes of buffers; and how large it is.
    pub fn places(&self, size: impl Fn(BufferId) -> usize) -> (SmallVec<[usize; 64]>, usize) {
        let mut places: SmallVec<[usize; 64]> = SmallVec::from_elem(0, self.stack.len());
        let (mut ends, mut arena) = (places.clone(), 0);
        for (n, Stacked { buffers, on }) in self.stack.iter().enumerate() {
            let place = on.iter().fold(0, |place, &below| ends[below as usize].max(place));
            let end = place + size(buffers[0]).next_multiple_of(ALIGN);
            (places[n], ends[n]) = (place, end);
            arena = arena.max(end);
        }
        (places, arena)
    }
    /// Of each piece of the arena whether it may begin elsewhere, if so much is known of the sizes of buffers; and whether the arena may be of another size.
    pub fn moving(&self, is_other: impl Fn(BufferId) -> bool) -> (Vec<bool>, bool) {
        let (mut places, mut ends) = (Vec::new(), Vec::new());
        for Stacked { buffers, on } in &self.stack {
            let is_moving = on.iter().any(|&below| ends[below as usize]);
            places.push(is_moving);
            ends.push(is_moving || is_other(buffers[0]));
        }
        (places, ends.contains(&true))
    }
    /// Sets the slots of the buffers in the arena, whose pieces begin there.
    pub fn set_slots(&self, place: impl Fn(usize) -> usize, size: impl Fn(BufferId) -> usize, slots: &mut [Slot]) {
        for (piece, Stacked { buffers, .. }) in self.stack.iter().enumerate() {
            let (offset, nbytes) = (place(piece), size(buffers[0]));
            buffers.iter().for_each(|b| slots[b.0 as usize] = Slot::Temp { offset, nbytes });
        }
    }
    /// Of the plan's inputs and outputs what each has, where buffers have these sizes.
    pub fn inputs(&self, sizes: &[usize]) -> impl Iterator<Item = usize> {
        self.assignment.inputs(sizes)
    }
    pub fn outputs(&self, sizes: &[usize]) -> impl Iterator<Item = usize> {
        self.assignment.outputs(sizes)
    }
    /// Where outputs of the graph are.
    pub fn sources(&self) -> &[OutputSource] {
        &self.assignment.sources
    }

    /// Buffers whose sizes have to be equal.
    pub fn equal_sizes(&self) -> impl Iterator<Item = (BufferId, BufferId)> {
        self.equal.iter().copied()
    }
    /// Arrays that have to be walked alike, and how.
    pub fn walked_alike(&self) -> &[Term] {
        &self.alike
    }
}

/// Those terms from which the others follow: if a is walked as b, and b as c, then a is walked as c.
fn essential(mut terms: Vec<Term>) -> Vec<Term> {
    let mut leaders: Map<ArrayId, ArrayId> = Map::default();
    terms.retain(|&([a, b], how)| {
        if how != Alike::Same {
            return true;
        }
        let [a, b] = [a, b].map(|mut id| {
            while let Some(&leader) = leaders.get(&id) {
                id = leader;
            }
            id
        });
        if a != b {
            leaders.insert(b, a);
        }
        a != b
    });
    terms
}

/// The pieces of the arena in the order of their offsets, and what each lies on. Two that are in use at the same time are neighbours then, or there is a chain of neighbours
/// from one to the other: at the birth of a piece it becomes the neighbour of those around it, and the death of one between two others leaves a chain through it.
fn stacked(pieces: &[Piece], slots: &[Slot]) -> Vec<Stacked> {
    let offset = |piece: usize| match slots[pieces[piece].buffers[0].0 as usize] {
        Slot::Temp { offset, .. } => offset,
        _ => unreachable!("a piece is in the arena"),
    };
    let mut on: Vec<SmallVec<[u32; 2]>> = vec![SmallVec::new(); pieces.len()];
    let (mut alive, mut deaths) = (BTreeMap::new(), BTreeSet::new());
    for (n, piece) in pieces.iter().enumerate() {
        while let Some((end, dead)) = deaths.pop_first() {
            if end >= piece.birth {
                deaths.insert((end, dead));
                break;
            }
            alive.remove(&offset(dead));
        }
        let at = offset(n);
        let below = alive.range(..at).next_back().map(|(_, below)| *below);
        let above = alive.range(at..).next().map(|(_, above)| *above);
        on[n].extend(below.map(|below| below as u32));
        above.into_iter().for_each(|above: usize| on[above].push(n as u32));
        alive.insert(at, n);
        deaths.insert((piece.end, n));
    }
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    order.sort_by_key(|&n| offset(n));
    let mut places = vec![0; pieces.len()];
    order.iter().enumerate().for_each(|(place, &n)| places[n] = place as u32);
    let placed = |on: &SmallVec<[u32; 2]>| on.iter().map(|&n| places[n as usize]).collect();
    order.into_iter().map(|n| Stacked { buffers: pieces[n].buffers.clone(), on: placed(&on[n]) }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::lives::Lives;
    use super::*;
    use lazuli_kernel::testing::Rng;

    /// Buffers that are alive from one step to another, at random.
    fn random_lives(rng: &mut Rng, buffers: usize) -> Vec<(usize, usize)> {
        let life = |_| {
            let birth = rng.below(buffers);
            (birth, birth + rng.below(6))
        };
        (0..buffers).map(life).collect()
    }

    fn arrangement(lives: &[(usize, usize)], sizes: &[usize]) -> Arrangement {
        let n = sizes.len();
        let mut terms = Terms::default();
        let (slots, arena) = Lives::of(lives).place(sizes, &vec![None; n], &vec![None; n], 0, &mut terms);
        let assignment = Assignment { slots, arena, ..Assignment::default() };
        Arrangement::new(&Program::default(), assignment, terms)
    }

    #[test]
    fn pieces_that_are_in_use_at_once_never_meet() {
        let mut rng = Rng(7);
        for case in 0..300 {
            let n = 1 + rng.below(24);
            let lives = random_lives(&mut rng, n);
            let mut sizes = || -> Vec<usize> { (0..n).map(|_| 1 + rng.below(400)).collect() };
            let (first, other) = (sizes(), sizes());
            let arrangement = arrangement(&lives, &first);
            let again = arrangement.restacked(&first);
            assert_eq!((&again.slots, again.arena), (&arrangement.assignment.slots, arrangement.assignment.arena));
            let moved = arrangement.restacked(&other);
            let at = |b: usize| match moved.slots[b] {
                Slot::Temp { offset, nbytes } => (offset, offset + nbytes),
                slot => panic!("{slot:?} is not in the arena"),
            };
            for a in 0..n {
                assert!(at(a).1 <= moved.arena && at(a).0 % ALIGN == 0 && at(a).1 - at(a).0 == other[a]);
                for b in 0..a {
                    let at_once = lives[a].0 <= lives[b].1 && lives[b].0 <= lives[a].1;
                    assert!(!at_once || at(a).1 <= at(b).0 || at(b).1 <= at(a).0, "case {case}: {a} and {b}");
                }
            }
        }
    }
}
