//! Which instructions of a body are worth jumping over.
//!
//! A select whose condition goes one way in every lane makes what only its other side needs superfluous: the reduction of huge arguments in `sin`, for
//! instance. Such instructions are gathered into a region before the select, behind a jump. What the region would have computed is then
//! undefined, and only such selects see it. Spilled registers need no care at the jump: a spilled value lives in its slot from the start.

use lazuli_kernel::{Inst, Kernel, Nest, Value};
use std::collections::BinaryHeap;

/// Fewest instructions that make a region: a mispredicted jump costs as much as some tens of them.
const LEAST: usize = 24;

/// One entry of the order that instructions are emitted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Instruction by number.
    Inst(usize),
    /// The region up to the next `Land` is superfluous where the condition is `when` in all lanes.
    Skip {
        condition: Value,
        when: bool,
    },
    Land,
}

struct Region {
    condition: Value,
    when: bool,
    /// In order.
    members: Vec<usize>,
    /// It is emitted before this instruction.
    before: usize,
}

/// The order of a map's body. `uniform` says which instructions are computed elsewhere; they are left out.
pub fn schedule(kernel: &Kernel, uniform: impl Fn(usize) -> bool) -> Vec<Entry> {
    let body = &kernel.body;
    let mut regions = regions(kernel, &uniform);
    regions.sort_by_key(|r| std::cmp::Reverse(r.members.len()));
    let mut taken = vec![false; body.len()];
    regions.retain(|r| {
        let free = r.members.iter().all(|&m| !taken[m]);
        r.members.iter().for_each(|&m| taken[m] |= free);
        free
    });
    let mut order = Vec::with_capacity(body.len());
    for i in (0..body.len()).filter(|&i| !uniform(i)) {
        for r in regions.iter().filter(|r| r.before == i) {
            order.push(Entry::Skip { condition: r.condition, when: r.when });
            order.extend(r.members.iter().map(|&m| Entry::Inst(m)));
            order.push(Entry::Land);
        }
        if !taken[i] {
            order.push(Entry::Inst(i));
        }
    }
    order
}

fn regions(kernel: &Kernel, uniform: &impl Fn(usize) -> bool) -> Vec<Region> {
    let body = &kernel.body;
    let is_select = |inst: &Inst| matches!(inst, Inst::Select(c, ..) if !uniform(c.0 as usize));
    let mut selects: Vec<(Value, usize)> = Vec::new();
    for (i, inst) in body.iter().enumerate().filter(|(_, inst)| is_select(inst)) {
        selects.push((inst.uses()[0], i));
    }
    if selects.is_empty() || body.len() <= LEAST {
        return Vec::new();
    }
    selects.sort();
    let mut stored = vec![false; body.len()];
    if let Nest::Map { stores } = &kernel.nest {
        stores.iter().for_each(|s| stored[s.value.0 as usize] = true);
    }
    let mut finder = Finder { body, users: Users::of(body), member: vec![0; body.len()], round: 0 };
    // Loads share masks with one another, which must not be computed behind a jump.
    let stays = |i: usize| uniform(i) || stored[i] || matches!(body[i], Inst::Load(_) | Inst::LoadAt { .. });
    let of_one = selects.chunk_by(|a, b| a.0 == b.0);
    let sides = of_one.flat_map(|selects| [(selects, true), (selects, false)]);
    sides.filter_map(|(selects, when)| finder.region(selects, when, &stays)).collect()
}

/// Which instructions use each value.
struct Users {
    /// Where the users of each value begin in the list of all.
    first: Vec<u32>,
    all: Vec<u32>,
}

impl Users {
    fn of(body: &[Inst]) -> Self {
        let mut first = vec![0; body.len() + 1];
        body.iter().flat_map(Inst::uses).for_each(|v| first[v.0 as usize + 1] += 1);
        (1..first.len()).for_each(|i| first[i] += first[i - 1]);
        let mut next = first.clone();
        let mut all = vec![0; next[body.len()] as usize];
        for (i, inst) in body.iter().enumerate() {
            for v in inst.uses() {
                let place = &mut next[v.0 as usize];
                all[*place as usize] = i as u32;
                *place += 1;
            }
        }
        Self { first, all }
    }
    fn of_value(&self, i: usize) -> &[u32] {
        &self.all[self.first[i] as usize..self.first[i + 1] as usize]
    }
}

struct Finder<'a> {
    body: &'a [Inst],
    users: Users,
    /// The round in which an instruction was found to be a member.
    member: Vec<u32>,
    round: u32,
}

impl Finder<'_> {
    /// What is needed only where the condition of these selects is not `when` in some lane.
    fn region(&mut self, selects: &[(Value, usize)], when: bool, stays: &impl Fn(usize) -> bool) -> Option<Region> {
        self.round += 1;
        let (body, condition) = (self.body, selects[0].0);
        // What a select with the condition ignores where that is `when`.
        let ignored = |user: usize| match body[user] {
            Inst::Select(c, yes, no) if c == condition => {
                let (seen, ignored) = if when { (yes, no) } else { (no, yes) };
                (seen != ignored && c != ignored).then_some(ignored)
            }
            _ => None,
        };
        // Users come before what they use.
        let mut pending: BinaryHeap<u32> = selects.iter().filter_map(|s| ignored(s.1)).map(|v| v.0).collect();
        let (mut members, mut before, mut last) = (Vec::new(), usize::MAX, u32::MAX);
        while let Some(i) = pending.pop() {
            let is_seen = std::mem::replace(&mut last, i) == i;
            if is_seen || stays(i as usize) {
                continue;
            }
            let ignores = |user: u32| ignored(user as usize) == Some(Value(i));
            let users = self.users.of_value(i as usize);
            if users.iter().all(|&user| self.member[user as usize] == self.round || ignores(user)) {
                self.member[i as usize] = self.round;
                members.push(i as usize);
                before = users.iter().filter(|&&user| ignores(user)).fold(before, |b, &user| b.min(user as usize));
                pending.extend(body[i as usize].uses().iter().map(|v| v.0));
            }
        }
        members.reverse();
        let fits = members.last().is_some_and(|&last| last < before);
        (members.len() >= LEAST && fits).then_some(Region { condition, when, members, before })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lazuli_kernel::{DType, Emit, Inner, Operand, Role, Store};

    /// select(x > 0, x, f(x)) with `n` instructions in f.
    fn kernel(n: usize) -> Kernel {
        let mut e = Emit::new();
        let x = e.input(DType::F32);
        let zero = e.f32(0.0);
        let positive = e.binary(lazuli_kernel::BinaryOp::Gt, x, zero);
        let mut y = x;
        for _ in 0..n {
            y = e.add(y, x);
        }
        let value = e.push(Inst::Select(positive, x, y));
        let operand = e.operand(Operand { dtype: DType::F32, role: Role::Out, inner: Inner::Unit });
        let (operands, body) = (e.operands, e.insts);
        let nest = Nest::Map { stores: vec![Store { operand, value }] };
        Kernel { rank: 1, vector_axis: 0, params: vec![], operands, body, nest }
    }

    #[test]
    fn what_one_side_alone_needs_is_jumped_over() {
        let order = schedule(&kernel(LEAST), |_| false);
        let skips = order.iter().filter(|e| matches!(e, Entry::Skip { when: true, .. })).count();
        let inside = order.iter().skip_while(|e| !matches!(e, Entry::Skip { .. })).take_while(|e| **e != Entry::Land);
        assert_eq!((skips, inside.count()), (1, LEAST + 1));
        let numbers = |n| schedule(&kernel(n), |_| false).iter().filter(|e| matches!(e, Entry::Inst(_))).count();
        assert_eq!(numbers(LEAST), kernel(LEAST).body.len());
        assert!(!schedule(&kernel(LEAST - 1), |_| false).contains(&Entry::Land));
    }
}
