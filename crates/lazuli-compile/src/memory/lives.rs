//! When buffers are alive, and which of them may lie in one piece of memory.

use super::arena::Arena;
use super::{Numbered, Owners, Terms, Touch, Touches};
use crate::lower::{BufferId, Work};
use lazuli_kernel::Slot;
use smallvec::{SmallVec, smallvec};
use std::collections::BTreeSet;

/// Memory of the arena: of a buffer, and of those that are born in it, one after another. In use from the step in which the first is born to that after which the
/// last is dead.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub buffers: SmallVec<[BufferId; 1]>,
    pub birth: usize,
    pub end: usize,
}

/// First and last step that touches each buffer; outputs live to the end, inputs all the time.
pub(super) struct Lives(Vec<Option<(usize, usize)>>);

impl Lives {
    pub fn new(touched: &[Touches], buffers: usize, outputs: &[Option<u32>], inputs: usize) -> Self {
        let mut lives: Vec<Option<(usize, usize)>> = vec![None; buffers];
        lives[..inputs].fill(Some((0, usize::MAX)));
        for (step, touches) in touched.iter().enumerate() {
            for t in touches {
                let life = lives[t.buffer.0 as usize].get_or_insert((step, step));
                life.1 = life.1.max(step);
            }
        }
        for (life, output) in lives.iter_mut().zip(outputs) {
            if let (Some(life), true) = (life, output.is_some()) {
                life.1 = usize::MAX;
            }
        }
        Self(lives)
    }

    /// Those of buffers that are alive from one step to another.
    #[cfg(test)]
    pub fn of(lives: &[(usize, usize)]) -> Self {
        Self(lives.iter().copied().map(Some).collect())
    }

    /// For each buffer, the one whose memory it is born in: what the step that first writes it reads for the last time, at the same points.
    pub fn share(
        &self,
        work: &[Work],
        touched: &[Touches],
        sizes: &[usize],
        inputs: usize,
        terms: &mut Terms,
    ) -> Vec<Option<BufferId>> {
        let mut parent: Vec<Option<BufferId>> = vec![None; sizes.len()];
        let mut taken = vec![false; sizes.len()];
        let mut owners = Owners::new(sizes.len());
        let number = |t: &Touch| t.buffer.0 as usize;
        for (step, (w, touches)) in work.iter().zip(touched).enumerate() {
            let (Work::Launch(_) | Work::Scatter(_) | Work::Call { epilogue: Some(_), .. }) = w else { continue };
            owners.note(step, touches, |t| Some(number(t)));
            for own in touches.chunk_by(|a, b| a.binding == b.binding) {
                let mut numbered = None;
                for born in own.iter().filter(|t| t.writes) {
                    let b = number(born);
                    let is_born = self.0[b].is_some_and(|(first, _)| first == step);
                    if parent[b].is_some() || !is_born || !owners.is_alone(b) {
                        continue;
                    }
                    let dies = |r: usize| {
                        r >= inputs && r != b && self.0[r].is_some_and(|(first, last)| first < step && last == step)
                    };
                    let numbered = numbered.get_or_insert_with(|| Numbered::new(own, |t| Some(number(t))));
                    let in_place = own.iter().find_map(|t| {
                        let r = number(t);
                        let fits = !t.writes && dies(r) && !taken[r] && sizes[r] == sizes[b] && owners.is_alone(r);
                        if fits { Some((t.buffer, numbered.alike(step, b, r)?)) } else { None }
                    });
                    if let Some((r, alike)) = in_place {
                        taken[r.0 as usize] = true;
                        parent[b] = Some(r);
                        terms.equal.push((r, born.buffer));
                        terms.alike.extend(alike);
                    }
                }
            }
        }
        parent
    }

    /// The slot of every buffer, and the size of the arena.
    pub fn place(
        &self,
        sizes: &[usize],
        parents: &[Option<BufferId>],
        outputs: &[Option<u32>],
        inputs: usize,
        terms: &mut Terms,
    ) -> (Vec<Slot>, usize) {
        // Buffers are numbered in the order of their making, so a parent comes before its heirs.
        let n = sizes.len();
        let mut heads: Vec<usize> = (0..n).collect();
        let mut ends: Vec<usize> = self.0.iter().map(|life| life.map_or(0, |l| l.1)).collect();
        let mut output_of: Vec<Option<u32>> = outputs.to_vec();
        for b in 0..n {
            if let Some(parent) = parents[b] {
                let head = heads[parent.0 as usize];
                heads[b] = head;
                ends[head] = ends[b];
                output_of[head] = output_of[b];
            }
        }
        let mut slots: Vec<Slot> = (0..n as u32).map(Slot::Input).collect();
        let mut arena = Arena::default();
        let mut piece_of: Vec<Option<usize>> = vec![None; n];
        let mut births: Vec<(usize, usize)> =
            (inputs..n).filter(|&b| heads[b] == b).map(|b| (self.0[b].map_or(0, |l| l.0), b)).collect();
        births.sort_unstable();
        let mut deaths: BTreeSet<(usize, usize)> = BTreeSet::new();
        for (birth, b) in births {
            while let Some(&(end, dead)) = deaths.first().filter(|(end, _)| *end < birth) {
                deaths.remove(&(end, dead));
                if let Slot::Temp { offset, nbytes } = slots[dead] {
                    arena.release(offset, nbytes);
                }
            }
            slots[b] = match output_of[b] {
                Some(n) => Slot::Output(n),
                None if self.0[b].is_none() || sizes[b] == 0 => Slot::Temp { offset: 0, nbytes: 0 },
                None => {
                    deaths.insert((ends[b], b));
                    terms.pieces.push(Piece { buffers: smallvec![BufferId(b as u32)], birth, end: ends[b] });
                    piece_of[b] = Some(terms.pieces.len() - 1);
                    Slot::Temp { offset: arena.allocate(sizes[b]), nbytes: sizes[b] }
                }
            };
        }
        for b in inputs..n {
            let head = heads[b];
            if let Some(piece) = piece_of[head].filter(|_| head != b) {
                terms.pieces[piece].buffers.push(BufferId(b as u32));
            }
            slots[b] = slots[head];
        }
        (slots, arena.size)
    }
}
