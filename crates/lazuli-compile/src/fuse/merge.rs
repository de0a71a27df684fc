//! Kernels become one: those that could store a value that all of them need, those that a reduction joins, and siblings that read the same array.

use super::loops::{Fit, Loop, fit, joined, spread};
use super::{Class, Fuser, Kernel, LIFTED, MOST_INSTRUCTIONS, NONE, Placement, SMALL};
use super::{operands, same_points};
use lazuli_ir::{Atom, Lowering, Var, shape, small};
use lazuli_kernel::hash::Map;
use smallvec::{SmallVec, smallvec};

/// How many values are looked at in search of a reduction.
const FAR: usize = 12;

impl Fuser<'_> {
    /// Merges kernels of one height that could store the value.
    pub(super) fn share_loop(&mut self, demands: &mut SmallVec<[Placement; 2]>) {
        let first = demands[0];
        let mergeable = |d: &Placement| self.stores_at(d) && self.can_merge(first.kernel, d.kernel);
        if demands.len() > 1 && demands.iter().all(mergeable) {
            let kernels: SmallVec<[u32; 2]> = demands.iter().map(|d| d.kernel).collect();
            if self.fit_together(&kernels) {
                self.merge_all(&kernels, demands);
            }
        }
    }

    /// Merges kernels that demand a value; the demands become those of the one that is left.
    fn merge_all(&mut self, kernels: &[u32], demands: &mut SmallVec<[Placement; 2]>) -> u32 {
        let mut into = kernels[0];
        for &k in &kernels[1..] {
            into = self.merge(into, k, demands);
        }
        let mut merged: SmallVec<[Placement; 2]> = SmallVec::new();
        for d in demands.iter() {
            let d = Placement { kernel: self.find(d.kernel), ..*d };
            match merged.iter_mut().find(|m| m.kernel == d.kernel && m.class == d.class) {
                Some(m) => {
                    m.spent = m.spent.max(d.spent);
                    m.along_row |= d.along_row;
                }
                None => merged.push(d),
            }
        }
        *demands = merged;
        into
    }

    /// A kernel of this height that needs the value at indices where it can store it: no other kernel that needs it is as high.
    pub(super) fn join(
        &mut self,
        demands: &mut SmallVec<[Placement; 2]>,
        height: u32,
        i: u32,
        cost: u32,
    ) -> Option<u32> {
        let highest: SmallVec<[Placement; 2]> =
            demands.iter().copied().filter(|d| self.kernel(d.kernel).height == height).collect();
        let first = highest.first()?.kernel;
        let fits = |d: &Placement| self.stores_at(d) && (d.kernel == first || self.can_merge(first, d.kernel));
        if !highest.iter().all(fits) || !self.is_near(i, first) {
            return None;
        }
        let kernels: SmallVec<[u32; 2]> = highest.iter().map(|d| d.kernel).collect();
        if !self.fit_together(&kernels) {
            return None;
        }
        let into = self.merge_all(&kernels, demands);
        self.has_room(into, cost).then_some(into)
    }

    /// Whether two kernels may become one.
    fn can_merge(&self, a: u32, b: u32) -> bool {
        let (a, b) = (self.find(a), self.find(b));
        let (p, q) = (self.kernel(a), self.kernel(b));
        let (Some(one), Some(other)) = (&p.nest, &q.nest) else { return a == b };
        if p.is_epilogue || q.is_epilogue {
            return a == b;
        }
        // The axes of a reduction are not split.
        let splits = match p.is_map() && q.is_map() {
            true => p.boundaries == q.boundaries,
            false => p.group.splits.is_empty() && q.group.splits.is_empty(),
        };
        a == b
            || splits
                && fit(one, other).is_some()
                && p.height == q.height
                && p.region == q.region
                && p.stream == q.stream
                && p.instructions + q.instructions <= MOST_INSTRUCTIONS
    }

    /// Whether the loops of kernels that may each become one with the first may all become one: a map over the points of two reductions can join either,
    /// but not both if they keep different axes.
    fn fit_together(&self, kernels: &[u32]) -> bool {
        let mut kernels = kernels.iter().map(|&k| self.find(k));
        let Some(first) = kernels.next() else { return true };
        let mut all = self.kernel(first).nest.clone();
        kernels.filter(|&k| k != first).all(|k| {
            all = match (&all, &self.kernel(k).nest) {
                (Some(one), Some(other)) => joined(one, other).map(|(_, nest)| nest),
                _ => None,
            };
            all.is_some()
        })
    }

    /// Merges two kernels that may be; demands of a value go along.
    fn merge(&mut self, a: u32, b: u32, demands: &mut [Placement]) -> u32 {
        let (a, b) = (self.find(a), self.find(b));
        if a == b {
            return a;
        }
        let nest = |k: u32| self.kernel(k).nest.clone().expect("kernels that may be merged have loops");
        let (one, other) = (nest(a), nest(b));
        let (how, rows) = joined(&one, &other).expect("they may be merged");
        match how {
            Fit::Same => {}
            Fit::First => self.lift(a, &rows, demands),
            Fit::Second => self.lift(b, &rows, demands),
        }
        let larger = |k: &Kernel| k.group.members.len() + k.reads.len();
        let (into, from) = if larger(self.kernel(a)) >= larger(self.kernel(b)) { (a, b) } else { (b, a) };
        self.merged[from as usize] = into;
        let old = &mut self.kernels[from as usize];
        let (group, reads) = (std::mem::take(&mut old.group), std::mem::take(&mut old.reads));
        let instructions = old.instructions;
        let k = &mut self.kernels[into as usize];
        k.reads.extend(reads.iter());
        k.instructions += instructions;
        k.nest = Some(rows);
        k.group.anchors.extend(group.anchors);
        k.group.stores.extend(group.stores);
        k.group.splits.extend(group.splits);
        k.group.members.extend(group.members);
        into
    }

    /// Makes a map over what a reduction keeps one over what it reduces: its classes are those of the other loop then.
    fn lift(&mut self, kernel: u32, to: &Loop, demands: &mut [Placement]) {
        let kept = to.kept.expect("a reduction");
        let lift = |f: &mut Self, p: &mut Placement| {
            if f.find(p.kernel) == kernel {
                p.class = match p.class {
                    Class::On(mask) => Class::On(spread(mask, kept)),
                    Class::Other(n) => f.other((Class::On(kept), LIFTED, smallvec![n as usize])),
                };
            }
        };
        let mut members = self.kernel(kernel).group.members.clone();
        members.sort_unstable();
        members.dedup();
        for i in members {
            let mut placements = std::mem::take(&mut self.placements[i as usize]);
            placements.iter_mut().for_each(|p| lift(self, p));
            self.placements[i as usize] = placements;
        }
        demands.iter_mut().for_each(|p| lift(self, p));
        self.kernels[kernel as usize].nest = Some(to.clone());
    }

    /// A map that needs what follows point by point from the result of a reduction, once per row, will be joined by that reduction: it can store such a value
    /// already. (Should the reduction not join after all, what is left is lowered as two maps.)
    pub(super) fn expect_rows(&mut self, i: u32, v: Var, demands: &[Placement]) {
        for d in demands {
            let k = self.kernel(d.kernel);
            let (Class::On(mask), Some(own)) = (d.class, &k.nest) else { continue };
            let is_open = own.kept.is_none() && !k.is_epilogue && k.group.splits.is_empty();
            if !is_open || mask == own.axes.all() || !self.is_near(i, d.kernel) {
                continue;
            }
            if let Some(nest) =
                self.reduction_behind(v, |nest| nest.is_row && nest.kept == Some(mask) && nest.axes == own.axes)
            {
                self.kernels[d.kernel as usize].nest = Some(nest);
            }
        }
    }

    /// A reduction that fits, among those that a value follows from point by point.
    fn reduction_behind(&self, v: Var, fits: impl Fn(&Loop) -> bool) -> Option<Loop> {
        let mut pending: SmallVec<[Var; 8]> = smallvec![v];
        for _ in 0..FAR {
            let u = pending.pop()?;
            let Some(e) = self.graph.equations.get(self.producers[u.0 as usize] as usize) else { continue };
            if let (Lowering::Reduce { axes, .. }, &[Atom::Var(x)]) =
                (&self.lowerings[self.producers[u.0 as usize] as usize], &e.inputs[..])
            {
                let dtype = self.graph.avals[x.0 as usize].dtype;
                let nest = Loop::reduction(self.shape(x), axes, dtype.itemsize());
                if fits(&nest) {
                    return Some(nest);
                }
            } else if self.is_pointwise(self.producers[u.0 as usize]) {
                pending.extend(operands(e).filter(|&x| same_points(self.shape(x), self.shape(v))));
            }
        }
        None
    }

    /// Whether the kernel that needs the result of a reduction could contain that.
    pub(super) fn takes_row(&self, demand: &Placement, nest: &Loop) -> bool {
        let k = self.kernel(demand.kernel);
        let (Some(own), Class::On(mask), Some(kept)) = (&k.nest, demand.class, nest.kept) else { return false };
        k.group.splits.is_empty()
            && !k.is_epilogue
            && match own.kept {
                None if own.axes.are_those(&nest.axes, kept) => mask == own.axes.all(),
                None => nest.is_row && own.axes == nest.axes && mask == kept,
                Some(k) => {
                    let in_time = !demand.along_row || nest.is_row && own.is_row;
                    own.axes == nest.axes && k == kept && mask == kept && in_time
                }
            }
    }

    /// Raises a kernel to a height, and above it those that store what it reads.
    pub(super) fn raise(&mut self, kernel: u32, height: u32) {
        let mut pending = vec![(kernel, height)];
        while let Some((kernel, height)) = pending.pop() {
            let kernel = self.find(kernel);
            if self.kernel(kernel).height >= height {
                continue;
            }
            self.kernels[kernel as usize].height = height;
            let reads: SmallVec<[Var; 8]> = small(self.kernel(kernel).reads.iter().map(|v| self.source(v)));
            for v in reads {
                let v = v.0 as usize;
                if self.stored[v] {
                    self.floors[v] = self.floors[v].max(height + 1);
                }
                if self.writers[v] != NONE {
                    pending.push((self.writers[v], height + 1));
                }
            }
        }
    }

    /// What the host reads may be stored by the highest of the kernels that need it too, if those `can`: they are raised above the host's call.
    pub(super) fn raise_over_host(&mut self, v: Var, demands: &[Placement], can: impl Fn(&Self, &Placement) -> bool) {
        let is_host = |d: &&Placement| self.kernel(d.kernel).is_host(self.graph);
        if self.waits_for_effects || !demands.iter().any(|d| is_host(&d)) {
            return;
        }
        let others = || demands.iter().filter(|d| !is_host(d));
        let height = others().map(|d| self.kernel(d.kernel).height).max();
        let highest: SmallVec<[Placement; 2]> =
            others().filter(|d| Some(self.kernel(d.kernel).height) == height).copied().collect();
        if highest.iter().all(|d| can(self, d)) {
            let floor = self.floors[v.0 as usize];
            highest.iter().for_each(|d| self.raise(d.kernel, floor));
            // They read it, but not from memory.
            self.floors[v.0 as usize] = floor;
        }
    }

    /// What is in memory where a variable is read: itself, or what it is a view of.
    fn source(&self, mut v: Var) -> Var {
        while self.writers[v.0 as usize] == NONE
            && let Some(e) = self.graph.equations.get(self.producers[v.0 as usize] as usize)
            && let (true, &[Atom::Var(of)]) = (e.prim.is_view() && !self.stored[v.0 as usize], &e.inputs[..])
        {
            v = of;
        }
        v
    }

    /// The highest kernels that need the result of a reduction, made one that contains it. If some of them cannot be, the rest is raised above those.
    pub(super) fn join_rows(&mut self, demands: &[Placement], height: u32, i: u32, nest: &Loop) -> Option<u32> {
        let mut kernels: SmallVec<[u32; 2]> = SmallVec::new();
        let mut others: SmallVec<[u32; 2]> = SmallVec::new();
        for demand in demands.iter().filter(|d| self.kernel(d.kernel).height == height) {
            let side =
                if self.takes_row(demand, nest) && self.is_near(i, demand.kernel) { &mut kernels } else { &mut others };
            if !side.contains(&demand.kernel) {
                side.push(demand.kernel);
            }
        }
        kernels.retain(|k| !others.contains(k));
        let &first = kernels.first()?;
        let instructions: u64 = kernels.iter().map(|&k| u64::from(self.kernel(k).instructions)).sum();
        if instructions >= u64::from(MOST_INSTRUCTIONS) || !others.is_empty() && self.waits_for_effects {
            return None;
        }
        // None of the others is needed by these, or it would be higher.
        if !others.is_empty() {
            kernels.iter().for_each(|&k| self.raise(k, height + 1));
        }
        for &k in &kernels {
            let own = self.kernel(k).nest.clone()?;
            match fit(&own, nest)? {
                Fit::First => self.lift(k, nest, &mut []),
                _ => {
                    self.kernels[k as usize].nest =
                        Some(Loop { is_row: nest.is_row && (own.kept.is_none() || own.is_row), ..nest.clone() })
                }
            }
        }
        let mut into = first;
        for &k in &kernels[1..] {
            into = self.merge(into, k, &mut []);
        }
        Some(into)
    }

    /// Merges kernels of one height and loop that read something large in common, or are so small that a launch less is what counts.
    pub(super) fn merge_siblings(&mut self) {
        let mut first: Map<(u32, Var), SmallVec<[u32; 2]>> = Map::default();
        for id in 0..self.kernels.len() as u32 {
            let (true, Some(nest)) = (self.find(id) == id, &self.kernel(id).nest) else { continue };
            let points = nest.results();
            let worth = |v: &Var| points <= SMALL || 2 * shape::size(self.graph.shape_of(*v)) >= points;
            let mut reads: SmallVec<[Var; 8]> = small(self.kernel(id).reads.iter().filter(worth));
            reads.sort_unstable();
            let mut into = id;
            for &v in &reads {
                let key = (self.kernel(into).height, v);
                let known = first.entry(key).or_default().clone();
                if let Some(other) = known.into_iter().map(|k| self.find(k)).find(|&k| {
                    k != into && self.kernel(k).is_map() == self.kernel(into).is_map() && self.can_merge(k, into)
                }) {
                    into = self.merge(other, into, &mut []);
                }
            }
            for v in reads {
                let known = first.entry((self.kernel(into).height, v)).or_default();
                if known.len() < 4 && !known.contains(&into) {
                    known.push(into);
                }
            }
        }
    }
}
