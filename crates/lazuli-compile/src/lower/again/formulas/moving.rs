//! Which numbers of a plan by formulas are not the same in all plans so far: they are the values of a [variant](lazuli_kernel::Variant).

use super::{Class, Formulas, Now, StepFormula};
use crate::lower::numbers::{Source, Step, Values};
use crate::memory::Arrangement;
use lazuli_kernel::{Plan, Varying, VaryingParam};
use std::mem::take;
use std::sync::Arc;

/// The numbers of a plan that are not the same in all.
#[derive(Debug)]
pub(super) struct Moving {
    pub varying: Arc<Varying>,
    /// Those of the plan asked for last: of formulas, then where pieces of the arena begin, then the size of that.
    pub values: Vec<i64>,
    formulas: Vec<u32>,
    pieces: Vec<u32>,
    arena: bool,
    /// Which formulas are numbers that count something: they are not negative.
    counts: Vec<u32>,
    /// Whether outputs lie elsewhere.
    pub outputs: bool,
}

impl Moving {
    /// Of formulas for some values: those that go by a class whose number is not common to all plans.
    pub fn new(of: &mut Formulas, memory: &Arrangement, values: &Values) -> Moving {
        let moves = moves(of);
        let is_moving = |source: Source| matches!(source, Source::Step(n) if moves[n as usize]);
        let (mut used, mut counts) = (vec![false; moves.len()], vec![false; moves.len()]);
        let mark = |all: &mut [bool], source: &Source| {
            if let Source::Step(n) = *source {
                all[n as usize] = moves[n as usize];
            }
        };
        of.steps.iter_mut().for_each(|step| step.sources(&mut |source| mark(&mut used, source)));
        of.steps.iter().for_each(|step| step.counts(&mut |source| mark(&mut counts, source)));
        of.sizes.iter().for_each(|size| [&mut used, &mut counts].into_iter().for_each(|all| mark(all, size)));
        let mut outputs = false;
        of.outputs.iter_mut().for_each(|output| output.sources(&mut |source| outputs |= is_moving(*source)));
        let numbers = |all: &[bool]| (0..).zip(all).filter(|(_, is)| **is).map(|(n, _)| n).collect::<Vec<u32>>();
        let (formulas, counts) = (numbers(&used), numbers(&counts));
        let (pieces, arena) = memory.moving(|b| is_moving(of.sizes[b.0 as usize]));
        let pieces = numbers(&pieces);
        let all = formulas.len() + pieces.len() + usize::from(arena);

        // The plan with a place-holder for each. It is written anew where somebody asks for it.
        let holder = |n: usize| Varying::place_holder(n) as usize;
        let mut marked = values.all().to_vec();
        (0..).zip(&formulas).for_each(|(n, &formula)| marked[formula as usize] = holder(n) as isize);
        let size = |source: &Source, values: &[isize]| source.value(values) as usize;
        let (mut places, mut arena_bytes) = memory.places(|b| size(&of.sizes[b.0 as usize], values.all()));
        (formulas.len()..).zip(&pieces).for_each(|(n, &piece)| places[piece as usize] = holder(n));
        if arena {
            arena_bytes = holder(all - 1);
        }
        let (mut slots, mut plan) = (take(&mut of.slots), take(&mut of.plan));
        memory.set_slots(|n| places[n], |b| size(&of.sizes[b.0 as usize], &marked), &mut slots);
        of.write(&mut plan, &Now { values: &marked, slots: &slots }, memory, arena_bytes);
        let varying = Arc::new(Varying::of(&plan, all, params(&of.steps, &plan, &formulas)));
        (of.slots, of.plan) = (slots, plan);
        Moving { varying, values: Vec::with_capacity(all), formulas, pieces, arena, counts, outputs }
    }

    /// Those of the plan for these values of formulas. None if there can be none.
    pub fn set(&mut self, values: &Values, sizes: &[Source], memory: &Arrangement) -> Option<()> {
        let formulas = values.all();
        if self.counts.iter().any(|&n| formulas[n as usize] < 0) {
            return None;
        }
        let (places, arena) = memory.places(|b| values.get(sizes[b.0 as usize]) as usize);
        self.values.clear();
        self.values.extend(self.formulas.iter().map(|&n| formulas[n as usize] as i64));
        self.values.extend(self.pieces.iter().map(|&n| places[n as usize] as i64));
        self.values.extend(self.arena.then_some(arena as i64));
        Some(())
    }
}

/// Of each number of formulas, whether it goes by a class whose number is not common to all plans.
fn moves(of: &Formulas) -> Vec<bool> {
    let mut moves: Vec<bool> = Vec::new();
    for step in of.numbers.steps() {
        let is = |source: Source| matches!(source, Source::Step(n) if moves[n as usize]);
        let now = match step {
            Step::Leaf(Class(class)) => of.common[class as usize].is_none(),
            Step::Compute(_, a, b) => is(a) || is(b),
        };
        moves.push(now);
    }
    moves
}

/// The parameters of a plan that are among these formulas.
fn params(steps: &[StepFormula], plan: &Plan, formulas: &[u32]) -> Vec<VaryingParam> {
    let mut all = Vec::new();
    let mut begin = 0;
    for (formula, step) in steps.iter().zip(&plan.steps) {
        for (of, binding) in formula.bindings().zip(step.bindings()) {
            for &(param, dtype, source) in &of.params {
                if let Source::Step(n) = source
                    && let Ok(value) = formulas.binary_search(&n)
                {
                    all.push(VaryingParam { place: begin + param, dtype, value: value as u32 });
                }
            }
            begin += binding.params.len() as u32;
        }
    }
    all
}
