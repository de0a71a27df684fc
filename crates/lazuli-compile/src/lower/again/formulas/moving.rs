//! Which numbers of a plan by formulas are not the same in all plans so far: they are the values of a [variant](lazuli_kernel::Variant).

use super::{Class, Formulas, StepFormula};
use crate::lower::numbers::{Decision, Source, Step};
use crate::pattern::{ClassNumbers, Fit, MovingClasses};
use lazuli_ir::{MovingAxes, Operation, Relation, Shape};
use lazuli_kernel::{Plan, Varying, VaryingParam};
use std::sync::Arc;

/// The numbers of a plan that are not the same in all.
#[derive(Debug)]
pub(super) struct Moving {
    /// The extents of shapes that are not.
    pub of: Arc<[MovingAxes]>,
    pub varying: Arc<Varying>,
    /// Those of the plan asked for last: of formulas, then for it and each of those within where pieces of the arena begin, and the size of that.
    pub values: Vec<i64>,
    formulas: Vec<u32>,
    arenas: Vec<Arena>,
    /// Which formulas are numbers that count something: they are not negative.
    counts: Vec<u32>,
    /// Whether outputs lie elsewhere.
    pub outputs: bool,
    /// The numbers of the classes of the pattern.
    numbers: ClassNumbers,
    classes: MovingClasses,
    /// The values of all formulas, and behind them constants. Of them are computed anew those that move, and looked at what is decided by such.
    pub all: Vec<isize>,
    leaves: Vec<(u32, Class)>,
    computed: Vec<Computed>,
    decided: Vec<Decided>,
}

/// A formula that is computed of two numbers, by their places among all.
#[derive(Debug)]
struct Computed {
    place: u32,
    operation: Operation,
    a: u32,
    b: u32,
}

/// How it was decided by two numbers.
#[derive(Debug)]
struct Decided {
    relation: Relation,
    holds: bool,
    a: u32,
    b: u32,
}

/// Of an arena that not all plans have which pieces begin elsewhere, and whether it is of another size.
#[derive(Debug)]
struct Arena {
    pieces: Vec<u32>,
    is_other: bool,
}

impl Moving {
    /// Of formulas for some shapes: those that go by such an extent. None if they are not for these shapes.
    pub fn new(of: &mut Formulas, extents: &Arc<[MovingAxes]>, shapes: &[Shape], fit: Fit) -> Option<Moving> {
        let class_numbers = of.pattern.fits(of.shapes.iter().map(|id| &id.of(shapes)[..]), fit)?;
        let values = of.values(&class_numbers)?;
        let classes = of.pattern.moving(of.shapes.iter().map(|id| &id.of(extents)[..]));
        let moves = moves(of, &classes.classes);
        let is_moving = |source: Source| matches!(source, Source::Step(n) if moves[n as usize]);
        let mut all_values = values.all().to_vec();
        let mut place = |source: Source| match source {
            Source::Step(n) => n,
            Source::Fixed(value) => {
                all_values.push(value);
                all_values.len() as u32 - 1
            }
        };
        let (mut leaves, mut computed) = (vec![], vec![]);
        for (n, step) in (0..).zip(of.numbers.steps()).filter(|(n, _)| moves[*n as usize]) {
            match step {
                Step::Leaf(class) => leaves.push((n, class)),
                Step::Compute(operation, a, b) => {
                    computed.push(Computed { place: n, operation, a: place(a), b: place(b) })
                }
            }
        }
        let decides = |d: &&Decision| is_moving(d.a) || is_moving(d.b);
        let decided = of.numbers.decisions().iter().filter(decides);
        let decided = decided.map(|&Decision { relation, a, b, holds }| {
            let [a, b] = [a, b].map(&mut place);
            Decided { relation, holds, a, b }
        });
        let decided = decided.collect();
        let (mut used, mut counts) = (vec![false; moves.len()], vec![false; moves.len()]);
        let mark = |all: &mut [bool], source: &Source| {
            if let Source::Step(n) = *source {
                all[n as usize] = moves[n as usize];
            }
        };
        of.own.sources(&mut |source| mark(&mut used, source));
        of.own.counts(&mut |source| mark(&mut counts, source));
        let mut outputs = false;
        of.outputs.iter_mut().for_each(|output| output.sources(&mut |source| outputs |= is_moving(*source)));
        let numbers = |all: &[bool]| (0..).zip(all).filter(|(_, is)| **is).map(|(n, _)| n).collect::<Vec<u32>>();
        let (formulas, counts) = (numbers(&used), numbers(&counts));

        // The plan with a place-holder for each. It is written anew where somebody asks for it.
        let mut all = 0;
        let mut holder = || {
            all += 1;
            Varying::place_holder(all - 1) as usize
        };
        let mut marked = values.all().to_vec();
        formulas.iter().for_each(|&formula| marked[formula as usize] = holder() as isize);
        let mut arenas = Vec::new();
        of.own.each_mut(&mut |plan| {
            let (pieces, is_other) = plan.memory.moving(|b| is_moving(plan.sizes[b.0 as usize]));
            let (pieces, (mut places, mut arena)) = (numbers(&pieces), plan.places(values.all()));
            pieces.iter().for_each(|&piece| places[piece as usize] = holder());
            if is_other {
                arena = holder();
            }
            plan.set_places(&marked, &places, arena);
            arenas.push(Arena { pieces, is_other });
        });
        of.own.write(&marked, &mut of.plan);
        let varying = Arc::new(Varying::of(&of.plan, all, params(&of.own.steps, &of.plan, &formulas)));
        Some(Moving {
            of: extents.clone(),
            varying,
            values: Vec::with_capacity(all),
            formulas,
            arenas,
            counts,
            outputs,
            numbers: class_numbers,
            classes,
            all: all_values,
            leaves,
            computed,
            decided,
        })
    }

    /// Makes them those of the plan for these shapes. None if formulas do not say it.
    pub fn set(&mut self, Formulas { shapes, pattern, own, .. }: &Formulas, all: &[Shape], fit: Fit) -> Option<()> {
        if !pattern.follow(&self.classes, |shape| &shapes[shape].of(all)[..], fit, &mut self.numbers) {
            return None;
        }
        let formulas = &mut self.all;
        for &(place, Class(class)) in &self.leaves {
            formulas[place as usize] = self.numbers[class as usize] as isize;
        }
        for &Computed { place, operation, a, b } in &self.computed {
            formulas[place as usize] = operation.apply(formulas[a as usize], formulas[b as usize]);
        }
        let holds = |d: &Decided| d.relation.holds(formulas[d.a as usize], formulas[d.b as usize]) == d.holds;
        if !self.decided.iter().all(holds) {
            return None;
        }
        if self.counts.iter().any(|&n| formulas[n as usize] < 0) {
            return None;
        }
        self.values.clear();
        self.values.extend(self.formulas.iter().map(|&n| formulas[n as usize] as i64));
        let mut arenas = self.arenas.iter();
        own.each(&mut |plan| {
            let Arena { pieces, is_other } = arenas.next().expect("each plan has one");
            let (places, arena) = plan.places(formulas);
            self.values.extend(pieces.iter().map(|&n| places[n as usize] as i64));
            self.values.extend(is_other.then_some(arena as i64));
        });
        Some(())
    }
}

/// Of each number of formulas, whether it goes by one of these classes.
fn moves(of: &Formulas, classes: &[bool]) -> Vec<bool> {
    let mut moves: Vec<bool> = Vec::new();
    for step in of.numbers.steps() {
        let is = |source: Source| matches!(source, Source::Step(n) if moves[n as usize]);
        let now = match step {
            Step::Leaf(Class(class)) => classes[class as usize],
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
        for (of, binding) in formula.bindings().into_iter().zip(step.bindings()) {
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
