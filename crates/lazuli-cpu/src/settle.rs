//! Settling: what follows for steps from the numbers that their words have: whether they would be made in the same way, the words that are derived, the memory that they work in, and what they cost.
//!
//! Steps are settled by code that looks at words through [`Settling`] alone: on the words of one plan ([`OnWords`]), or noted besides ([`Noting`]). For other values what was noted is gone through
//! ([`Settled`]), which takes a fraction of the time of that code; for a step of which something would be decided otherwise, the code decides. So what need not be decided is computed
//! ([`is_reached`](Settling::is_reached)).

use crate::kernels::Kernels;
use crate::memory::ALIGN;
use crate::nest::PARALLEL;
use crate::steps::Load;
use lazuli_kernel::noted::{Arithmetic, Noted, Notes, Operation, Proof, Relation, Roads, Values};
use lazuli_kernel::{Origin, small};
use smallvec::SmallVec;

/// Arithmetic on words, where the numbers are those of words by their place. What is too large to count stays the largest number.
pub trait Settling: Arithmetic {
    /// Sets a word.
    fn derive(&mut self, word: usize, n: Self::N);
    /// Generates the innermost loops of products for tiles of so many rows, if they are not there yet. None if that fails.
    fn generate_product(&mut self, kernels: &Kernels, double: bool, rows: Self::N) -> Option<()>;

    fn count(n: usize) -> Self::N {
        Self::fixed(i64::try_from(n).unwrap_or(i64::MAX))
    }
    /// The numbers of so many words.
    fn numbers(&mut self, from: usize, count: usize) -> SmallVec<[Self::N; 8]> {
        small((from..from + count).map(|word| self.number(word)))
    }
    fn saturating(&mut self, operation: Operation, a: Self::N, b: Self::N) -> Self::N {
        self.compute(operation, a, b).unwrap_or(Self::fixed(i64::MAX))
    }
    fn add(&mut self, a: Self::N, b: Self::N) -> Self::N {
        self.saturating(Operation::Sum, a, b)
    }
    fn mul(&mut self, a: Self::N, b: Self::N) -> Self::N {
        self.saturating(Operation::Product, a, b)
    }
    fn mul_by(&mut self, a: Self::N, times: usize) -> Self::N {
        self.mul(a, Self::count(times))
    }
    fn mul_all(&mut self, all: &[Self::N]) -> Self::N {
        all.iter().fold(Self::count(1), |product, &n| self.mul(product, n))
    }
    /// Rounded down.
    fn div(&mut self, a: Self::N, b: Self::N) -> Self::N {
        self.saturating(Operation::Quotient, a, b)
    }
    /// Rounded up.
    fn div_up(&mut self, a: Self::N, b: Self::N) -> Self::N {
        self.saturating(Operation::QuotientUp, a, b)
    }
    /// The least multiple that is no less.
    fn multiple(&mut self, a: Self::N, of: usize) -> Self::N {
        self.saturating(Operation::Multiple, a, Self::count(of))
    }
    fn sub(&mut self, a: Self::N, b: Self::N) -> Self::N {
        let b = self.saturating(Operation::Product, b, Self::fixed(-1));
        self.add(a, b)
    }
    fn min(&mut self, a: Self::N, b: Self::N) -> Self::N {
        self.saturating(Operation::Least, a, b)
    }
    fn max(&mut self, a: Self::N, b: Self::N) -> Self::N {
        self.saturating(Operation::Greatest, a, b)
    }
    fn at_least(&mut self, a: Self::N, least: usize) -> Self::N {
        self.max(a, Self::count(least))
    }
    fn at_most(&mut self, a: Self::N, most: usize) -> Self::N {
        self.min(a, Self::count(most))
    }
    /// 1 if `a` is at least so much, else 0: nothing is decided by it.
    fn is_reached(&mut self, a: Self::N, least: usize) -> Self::N {
        let times = self.div(a, Self::count(least));
        self.at_most(times, 1)
    }
    /// How many tasks work of this cost is for so many threads, if it is worth more than one.
    fn tasks(&mut self, cost: Self::N, threads: usize) -> Self::N {
        let worth = self.div(cost, Self::count(PARALLEL));
        let is_parallel = self.at_most(worth, 1);
        let least = self.mul_by(is_parallel, threads);
        let tasks = self.max(worth, least);
        let tasks = self.at_most(tasks, 8 * threads);
        self.at_least(tasks, 1)
    }
    /// As many bytes as a piece of so many takes in a [`Room`](crate::nest::Room).
    fn piece(&mut self, nbytes: Self::N) -> Self::N {
        self.multiple(nbytes, ALIGN)
    }
}

/// Arithmetic on the words of a plan.
pub struct OnWords<'w>(pub &'w mut [isize]);

impl Values for OnWords<'_> {
    #[inline]
    fn value(&self, at: usize) -> i64 {
        self.0[at] as i64
    }
}

impl Settling for OnWords<'_> {
    #[inline]
    fn derive(&mut self, word: usize, n: i64) {
        self.0[word] = n as isize;
    }
    fn generate_product(&mut self, kernels: &Kernels, double: bool, rows: i64) -> Option<()> {
        kernels.generate_product(double, rows as usize).ok()
    }
}

/// A word that is a value, or so many times that; the others stay as they are, or are derived.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// The word that it is, or the argument that it moves.
    pub of: u32,
    pub value: u32,
    pub times: i32,
}

/// What numbers of a plan's words are made of.
pub struct Sources {
    /// Of each word: itself, or the value that it is made of.
    numbers: Vec<i64>,
    origins: Vec<Origin>,
    times: Vec<i32>,
    values: usize,
}

impl Sources {
    pub fn new(words: &[isize], own: &[Times], values: &[i64]) -> Sources {
        let mut sources = Sources {
            numbers: words.iter().map(|&word| word as i64).collect(),
            origins: words.iter().map(|&word| Origin::Fixed(word as i64)).collect(),
            times: vec![1; words.len()],
            values: values.len(),
        };
        for &Times { of, value, times } in own {
            let of = of as usize;
            sources.numbers[of] = values[value as usize];
            sources.origins[of] = Origin::Value(value);
            sources.times[of] = times;
        }
        sources
    }
}

/// Arithmetic on the words of a plan that is noted, step by step.
pub struct Noting<'w> {
    notes: Notes<'w>,
    times: &'w [i32],
    words: &'w mut [isize],
    derived: Vec<(u32, Noted)>,
    loops: Vec<(bool, Noted)>,
    steps: Vec<Ended<Noted>>,
}

/// A step: how it loads the machine, if it is not made anew in any case, and where what it derives and its loops end.
#[derive(Debug)]
struct Ended<N> {
    load: Option<Load<N>>,
    derived: usize,
    loops: usize,
}

impl<'w> Noting<'w> {
    pub fn new(words: &'w mut [isize], sources: &'w Sources) -> Self {
        let Sources { numbers, origins, times, values } = sources;
        let notes = Notes::new(numbers, origins, *values);
        Noting { notes, times, words, derived: vec![], loops: vec![], steps: vec![] }
    }

    /// Notes how the next step is settled.
    pub fn step(&mut self, settle: impl FnOnce(&mut Self) -> Option<Load<Noted>>) {
        self.notes.next_road();
        let load = settle(self);
        self.steps.push(Ended { load, derived: self.derived.len(), loops: self.loops.len() });
    }

    /// What was noted, if it is about other values too.
    pub fn finish(self) -> Option<Settled> {
        let Noting { notes, derived, loops, steps, .. } = self;
        let wanted = steps.iter().filter_map(|step| step.load).flat_map(|load| [load.need, load.cost]);
        let wanted = wanted.chain(derived.iter().map(|(_, n)| *n)).chain(loops.iter().map(|(_, n)| *n));
        let (proof, roads, places) = notes.finish_roads(wanted)?;
        let mut places = places.into_iter().map(|place| place as u32);
        let mut next = || places.next().expect("each has its place");
        let ended = |Ended { load, derived, loops }: Ended<Noted>| {
            let load = load.map(|_| Load { need: next(), cost: next() });
            Ended { load, derived, loops }
        };
        let steps = steps.into_iter().map(ended).collect();
        let derived = derived.iter().map(|(word, _)| [*word, next()]).collect();
        let loops = loops.iter().map(|(double, _)| (*double, next())).collect();
        Some(Settled { proof, roads, steps, derived, loops })
    }
}

impl Arithmetic for Noting<'_> {
    type N = Noted;
    fn number(&mut self, at: usize) -> Noted {
        let n = self.notes.number(at);
        self.mul(n, Self::fixed(self.times[at].into()))
    }
    fn fixed(value: i64) -> Noted {
        Notes::fixed(value)
    }
    fn compute(&mut self, operation: Operation, a: Noted, b: Noted) -> Option<Noted> {
        self.notes.compute(operation, a, b)
    }
    fn holds(&mut self, relation: Relation, a: Noted, b: Noted) -> bool {
        self.notes.holds(relation, a, b)
    }
    fn shown(n: Noted) -> i64 {
        Notes::shown(n)
    }
}

impl Settling for Noting<'_> {
    fn derive(&mut self, word: usize, n: Noted) {
        self.words[word] = Self::shown(n) as isize;
        self.derived.push((word as u32, n));
    }
    fn generate_product(&mut self, kernels: &Kernels, double: bool, rows: Noted) -> Option<()> {
        self.loops.push((double, rows));
        kernels.generate_product(double, Self::shown(rows) as usize).ok()
    }
}

/// What was noted when the steps of a plan were settled.
#[derive(Debug)]
pub struct Settled {
    proof: Proof,
    /// One for each step.
    roads: Roads,
    /// Of loads, where they stand among what is computed.
    steps: Box<[Ended<u32>]>,
    /// Words, and where their numbers stand.
    derived: Box<[[u32; 2]]>,
    /// Whether products are of doubles, and where the rows of their tiles stand.
    loops: Box<[(bool, u32)]>,
}

/// The same for other values.
pub struct Again<'s> {
    settled: &'s Settled,
    computed: &'s [i64],
    /// Whether all steps are settled in the same way.
    is_alike: bool,
}

impl Settled {
    /// None if some number is too large. What is computed goes to this room.
    pub fn again<'s>(&'s self, values: &[i64], room: &'s mut Vec<i64>) -> Option<Again<'s>> {
        room.clear();
        room.extend_from_slice(values);
        let is_computed = self.proof.compute(room);
        is_computed.then(|| Again { settled: self, is_alike: self.proof.compare(room), computed: room })
    }
}

impl Again<'_> {
    /// Settles the step of this number on words. None if something would be decided otherwise, or it is made anew in any case.
    pub fn settle(&self, step: usize, kernels: &Kernels, words: &mut [isize]) -> Option<Load> {
        let Settled { roads, steps, derived, loops, .. } = self.settled;
        if !self.is_alike && !roads.is_alike(step, self.computed) {
            return None;
        }
        let of = |place: u32| self.computed[place as usize];
        let (first, loop_first) = step.checked_sub(1).map_or((0, 0), |n| (steps[n].derived, steps[n].loops));
        let Ended { load, derived: end, loops: loop_end } = &steps[step];
        for &(double, rows) in &loops[loop_first..*loop_end] {
            kernels.generate_product(double, of(rows) as usize).ok()?;
        }
        derived[first..*end].iter().for_each(|&[word, place]| words[word as usize] = of(place) as isize);
        let [need, cost] = load.map(|load| [load.need, load.cost].map(|place| of(place) as usize))?;
        Some(Load { need, cost })
    }
}
