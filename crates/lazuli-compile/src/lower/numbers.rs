//! Where the numbers of a launch come from, so that they can be found again for other extents.
//!
//! While a body is written every [`Number`] that is made of extents and strides is noted as a [`Step`] of arithmetic on others, and every decision by such a number with how it came out. For other
//! extents the steps are gone through again; where all decisions come out as they did, the same body would be written.

use lazuli_ir::{Arithmetic, Ix, Number, Operation, Relation, Var};
use lazuli_kernel::hash::Map;
use lazuli_kernel::{Layout, small};
use smallvec::SmallVec;
use std::hash::Hash;

/// A number: the same for all extents, or the result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    Fixed(isize),
    Step(u32),
}

impl Source {
    /// Its value, given those of the steps.
    #[inline]
    pub fn value(self, steps: &[isize]) -> isize {
        match self {
            Source::Fixed(value) => value,
            Source::Step(step) => steps[step as usize],
        }
    }
}

impl From<Number> for Source {
    fn from(n: Number) -> Self {
        if n.is_fixed() { Source::Fixed(n.value) } else { Source::Step(n.origin - 1) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step<L> {
    Leaf(L),
    Compute(Operation, Source, Source),
}

/// Where numbers come from that are computed from no others.
pub(crate) trait Leaf: Copy + Eq + Hash {
    /// Whether it is an extent, which is neither 0 nor 1 in any binding of the pattern. Two that are equal are so in all; two that differ may be equal in one for which it is enough to be [right](crate::Fit::Right).
    fn is_extent(self) -> bool;
}

/// A number of a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum OfVar {
    Extent(Var, u32),
    /// Where it lies in memory.
    Lie(Var, Lie),
}

/// A number of how an array lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Lie {
    Stride(u32),
    Offset,
    /// How far its first element lies behind the lowest.
    First,
    /// From its lowest element to the highest.
    Reach,
}

impl Lie {
    pub fn of(self, layout: &Layout) -> isize {
        match self {
            Lie::Stride(axis) => layout.strides[axis as usize],
            Lie::Offset => layout.offset,
            Lie::First => layout.offset - layout.span().map_or(layout.offset, |(low, _)| low),
            Lie::Reach => layout.span().map_or(0, |(low, high)| high - low + 1),
        }
    }
}

impl Leaf for OfVar {
    fn is_extent(self) -> bool {
        matches!(self, OfVar::Extent(..))
    }
}

/// Whether a relation holds of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decision {
    pub relation: Relation,
    pub a: Source,
    pub b: Source,
    pub holds: bool,
}

/// Numbers that are made of these, such as those of a body.
#[derive(Debug)]
pub(crate) struct Numbers<L = OfVar> {
    /// With the value that each had.
    steps: Vec<(Step<L>, isize)>,
    /// The number of each, until the list ends.
    known: Map<Step<L>, u32>,
    decisions: Vec<Decision>,
    /// Numbers in indices, as which two indices are told apart: constants, and factors of loop counters.
    told_apart: [Vec<Number>; 2],
}

impl<L> Default for Numbers<L> {
    fn default() -> Self {
        Numbers { steps: Vec::new(), known: Map::default(), decisions: Vec::new(), told_apart: Default::default() }
    }
}

/// Called with each of some sources.
pub(super) type Visit<'a> = dyn FnMut(&mut Source) + 'a;

/// The values of the steps for some extents.
#[derive(Debug)]
pub(crate) struct Values(SmallVec<[isize; 16]>);

impl Values {
    pub fn get(&self, source: Source) -> isize {
        source.value(&self.0)
    }
    pub fn all(&self) -> &[isize] {
        &self.0
    }
}

impl<L: Leaf> Arithmetic for Numbers<L> {
    fn compute(&mut self, operation: Operation, a: Number, b: Number) -> Number {
        self.computed(operation, a, b)
    }
    fn holds(&mut self, relation: Relation, a: Number, b: Number) -> bool {
        self.decided(relation, a, b);
        relation.holds(a.value, b.value)
    }
}

impl Numbers {
    /// An extent. One that is 0 or 1 is so in every binding of the pattern, and those that are equal are so in every one.
    pub fn extent(&mut self, v: Var, axis: usize, value: usize) -> Number {
        let value = value as isize;
        let is_same =
            |(step, known): &(Step<OfVar>, isize)| matches!(step, Step::Leaf(OfVar::Extent(..))) && *known == value;
        match (value, self.steps.iter().position(is_same)) {
            (0 | 1, _) => Number::fixed(value),
            (_, Some(n)) => Number { value, origin: n as u32 + 1 },
            (_, None) => self.leaf(OfVar::Extent(v, axis as u32), value),
        }
    }
    /// A number of how a variable lies.
    pub fn lie(&mut self, v: Var, lie: Lie, layout: &Layout) -> Number {
        self.leaf(OfVar::Lie(v, lie), lie.of(layout))
    }
}

impl<L: Leaf> Numbers<L> {
    pub fn leaf(&mut self, leaf: L, value: isize) -> Number {
        self.step(Step::Leaf(leaf), value)
    }
    fn step(&mut self, step: Step<L>, value: isize) -> Number {
        let n = *self.known.entry(step).or_insert_with(|| {
            self.steps.push((step, value));
            self.steps.len() as u32 - 1
        });
        Number { value, origin: n + 1 }
    }
    /// A number of two others.
    fn computed(&mut self, operation: Operation, a: Number, b: Number) -> Number {
        match operation.at_once(a, b) {
            Some(number) => number,
            None if operation == Operation::AtLeastOne && self.is_many(a.into()) => a,
            None if operation == Operation::Remainder && self.is_multiple(a.into(), b.into()) => Number::ZERO,
            None => self.step(Step::Compute(operation, a.into(), b.into()), operation.apply(a.value, b.value)),
        }
    }
    /// A number, and another one so many times.
    pub fn add(&mut self, a: Number, b: Number, times: Number) -> Number {
        let product = self.product(b, times);
        self.sum(a, product)
    }
    /// The number that comes from there.
    pub fn number(&self, source: Source) -> Number {
        match source {
            Source::Fixed(value) => Number::fixed(value),
            Source::Step(n) => Number { value: self.steps[n as usize].1, origin: n + 1 },
        }
    }

    /// Whether a number is more than 1 in every binding of the pattern: an extent, or a product of such.
    fn is_many(&self, source: Source) -> bool {
        match source {
            Source::Fixed(value) => value > 1,
            Source::Step(n) => match self.steps[n as usize].0 {
                Step::Leaf(leaf) => leaf.is_extent(),
                Step::Compute(Operation::Product, a, b) => self.is_many(a) && self.is_many(b),
                Step::Compute(..) => false,
            },
        }
    }

    /// Whether a number is another one so many times, in every binding of the pattern.
    fn is_multiple(&self, a: Source, b: Source) -> bool {
        let is_product = |n| match self.steps[n as usize].0 {
            Step::Compute(Operation::Product, p, q) => self.is_multiple(p, b) || self.is_multiple(q, b),
            _ => false,
        };
        a == b || b == Source::Fixed(1) || matches!(a, Source::Step(n) if is_product(n))
    }

    /// Whether the same holds of two numbers in every binding of the pattern.
    fn is_known(&self, a: Source, b: Source) -> bool {
        let is_few = |n: Source| matches!(n, Source::Fixed(..=1));
        let is_fixed = |n: Source| matches!(n, Source::Fixed(_));
        a == b || is_fixed(a) && is_fixed(b) || is_few(a) && self.is_many(b) || self.is_many(a) && is_few(b)
    }

    /// A decision by two numbers.
    pub fn decided(&mut self, relation: Relation, a: Number, b: Number) {
        let holds = relation.holds(a.value, b.value);
        let (a, b) = (a.into(), b.into());
        let decision = Decision { relation, a, b, holds };
        if !self.is_known(a, b) && !self.decisions.contains(&decision) {
            self.decisions.push(decision);
        }
    }

    /// Of these pairs one at least is of two different numbers: decides that one stays so. None if there is none.
    pub fn differ(&mut self, pairs: impl IntoIterator<Item = (Number, Number)>) -> Option<()> {
        let mut pairs: SmallVec<[(Number, Number); 8]> = small(pairs);
        pairs.retain(|(a, b)| a != b);
        let is_known = |(a, b): &&(Number, Number)| self.is_known((*a).into(), (*b).into());
        let &(a, b) = pairs.iter().find(is_known).or(pairs.first())?;
        self.decided(Relation::Equal, a, b);
        Some(())
    }

    /// An index, or a position, that is told apart from others.
    pub fn told_apart(&mut self, at: &[Ix]) {
        let [constants, factors] = &mut self.told_apart;
        // What is 0 or 1 for all extents is told apart in any case.
        let note = |all: &mut Vec<Number>, n: Number| {
            if !(n.is_fixed() && matches!(n.value, 0 | 1)) && all.iter().all(|known| Source::from(*known) != n.into()) {
                all.push(n);
            }
        };
        for ix in at {
            if let Ix::Affine { constant, terms } = ix {
                note(constants, *constant);
                terms.iter().for_each(|term| note(factors, term.factor));
            }
        }
    }

    /// Ends the list: numbers that were told apart are to stay apart, and equal ones equal.
    pub fn end(&mut self) {
        self.known = Map::default();
        for mut all in std::mem::take(&mut self.told_apart) {
            if all.iter().all(|n| n.is_fixed()) {
                continue;
            }
            all.extend([Number::ZERO, Number::ONE]);
            for (i, &a) in all.iter().enumerate() {
                all[..i].iter().for_each(|&b| self.decided(Relation::Equal, a, b));
            }
        }
    }

    /// Leaves the steps that decisions and these sources need, and renumbers them.
    pub fn keep(&mut self, visit: &mut dyn FnMut(&mut Visit)) {
        let mut used = vec![false; self.steps.len()];
        let mut mark = |source: &mut Source| {
            if let Source::Step(n) = source {
                used[*n as usize] = true;
            }
        };
        visit(&mut mark);
        self.decisions.iter_mut().for_each(|d| [&mut d.a, &mut d.b].into_iter().for_each(&mut mark));
        for n in (0..self.steps.len()).rev() {
            if let (true, Step::Compute(_, a, b)) = (used[n], self.steps[n].0) {
                for source in [a, b] {
                    if let Source::Step(n) = source {
                        used[n as usize] = true;
                    }
                }
            }
        }
        let mut numbers = vec![0; used.len()];
        let mut next = 0;
        for (number, used) in numbers.iter_mut().zip(&used) {
            *number = next;
            next += *used as u32;
        }
        let mut renumber = |source: &mut Source| {
            if let Source::Step(n) = source {
                *n = numbers[*n as usize];
            }
        };
        visit(&mut renumber);
        self.decisions.iter_mut().for_each(|d| [&mut d.a, &mut d.b].into_iter().for_each(&mut renumber));
        let mut used = used.iter();
        self.steps.retain(|_| *used.next().expect("one for each"));
        for (step, _) in &mut self.steps {
            if let Step::Compute(_, a, b) = step {
                [a, b].into_iter().for_each(&mut renumber);
            }
        }
    }

    /// The values of the steps, given those that are computed from no others; none if one is not to be had, or a decision comes out otherwise.
    pub fn values(&self, mut read: impl FnMut(L) -> Option<isize>) -> Option<Values> {
        let mut values = Values(SmallVec::with_capacity(self.steps.len()));
        for (step, _) in &self.steps {
            let value = match *step {
                Step::Compute(operation, a, b) => operation.apply(values.get(a), values.get(b)),
                Step::Leaf(leaf) => read(leaf)?,
            };
            values.0.push(value);
        }
        let holds = |d: &Decision| d.relation.holds(values.get(d.a), values.get(d.b)) == d.holds;
        self.decisions.iter().all(holds).then_some(values)
    }

    pub fn steps(&self) -> impl Iterator<Item = Step<L>> {
        self.steps.iter().map(|(step, _)| *step)
    }
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }
}
