//! Which instructions of a body are worth jumping over.
//!
//! A select whose condition goes one way in every lane makes what only its other side needs superfluous: the reduction of huge arguments in `sin`, for
//! instance. Such instructions are gathered into a region before the select, behind a jump. What the region would have computed is then
//! undefined, and only such selects see it. Spilled registers need no care at the jump: a spilled value lives in its slot from the start.

use lazuli_kernel::{Inst, Kernel, Nest, Value};

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
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); body.len()];
    for (i, inst) in body.iter().enumerate() {
        inst.uses().iter().for_each(|v| users[v.0 as usize].push(i));
    }
    let mut stored = vec![false; body.len()];
    if let Nest::Map { stores } = &kernel.nest {
        stores.iter().for_each(|s| stored[s.value.0 as usize] = true);
    }
    let mut conditions: Vec<Value> = body
        .iter()
        .filter_map(|inst| match inst {
            Inst::Select(c, ..) if !uniform(c.0 as usize) => Some(*c),
            _ => None,
        })
        .collect();
    conditions.sort();
    conditions.dedup();
    let sides = conditions.into_iter().flat_map(|c| [(c, true), (c, false)]);
    sides.filter_map(|(condition, when)| region(body, uniform, &users, &stored, condition, when)).collect()
}

/// What is needed only where the condition is not `when` in some lane.
fn region(
    body: &[Inst],
    uniform: &impl Fn(usize) -> bool,
    users: &[Vec<usize>],
    stored: &[bool],
    condition: Value,
    when: bool,
) -> Option<Region> {
    // Whether the instruction is a select that ignores the value where the condition is `when`.
    let ignores = |user: usize, value: Value| match body[user] {
        Inst::Select(c, yes, no) if c == condition => {
            let (seen, ignored) = if when { (yes, no) } else { (no, yes) };
            ignored == value && seen != value && c != value
        }
        _ => false,
    };
    let mut member = vec![false; body.len()];
    let mut before = usize::MAX;
    for i in (0..body.len()).rev() {
        // Loads share masks with one another, which must not be computed behind a jump.
        let stays = uniform(i) || stored[i] || users[i].is_empty();
        if stays || matches!(body[i], Inst::Load(_) | Inst::LoadAt { .. }) {
            continue;
        }
        let value = Value(i as u32);
        if users[i].iter().all(|&user| member[user] || ignores(user, value)) {
            member[i] = true;
            let selects = users[i].iter().filter(|&&user| ignores(user, value));
            before = selects.fold(before, |before, &user| before.min(user));
        }
    }
    let members: Vec<usize> = (0..body.len()).filter(|&i| member[i]).collect();
    let fits = members.last().is_some_and(|&last| last < before);
    (members.len() >= LEAST && fits).then_some(Region { condition, when, members, before })
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
