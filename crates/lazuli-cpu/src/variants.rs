//! Steps for plans that differ in [some numbers](lazuli_kernel::varying) only: those of one of the plans, on other words.
//!
//! Such steps are kept as the values of their plan, and what is derived from these. Their words are written when they run, which takes next to no time: those of the plan that was made ready, and
//! over them what differs. A step that would be made ready in another way for other numbers is made anew for them.

use crate::kernels::Kernels;
use crate::places::{Addresses, Places};
use crate::steps::{Load, Made, ReadyStep, Steps};
use crate::words::{Cursor, Source, Words};
use lazuli_kernel::hash::Map;
use lazuli_kernel::{Origin, PLACE, Plan, PlanWords, Result, Varying, VaryingParam};
use smallvec::SmallVec;
use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

/// A number that is a value, or so many times that.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// The word that it is, or the argument that it moves.
    of: u32,
    value: u32,
    times: i32,
}

/// What was made ready of one plan, and how others follow from it.
pub struct Variants {
    made: Arc<Made>,
    varying: Arc<Varying>,
    /// The values of that plan.
    values: Box<[i64]>,
    words: Box<[Times]>,
    params: Box<[(u32, VaryingParam)]>,
    places: Box<[Times]>,
    moving: Box<[Moving]>,
    /// Which words are derived in these, and how many there are.
    derived: Box<[Range<u32>]>,
    count: usize,
    /// How many of the moving steps are made anew in any case.
    never: usize,
    /// Of the other steps.
    fixed: Load,
    /// Which number of the plan is the size of its arena.
    arena: usize,
}

/// A step whose words vary.
struct Moving {
    number: usize,
    /// The earlier one of these that is alike for all values.
    first: Option<u32>,
    /// Where its numbers begin in the plan.
    at: Cursor,
    /// Which of the derived words are its own.
    derived: Range<u32>,
}

/// What differs in the steps of another plan.
pub struct Variant {
    of: Arc<Variants>,
    values: Box<[i64]>,
    derived: Box<[isize]>,
    /// In the order of the steps.
    pub anew: Box<[Anew]>,
}

/// A step that is made ready in another way.
pub struct Anew {
    pub number: usize,
    pub step: ReadyStep,
    pub words: Box<[isize]>,
}

/// The steps of another plan, but for those that would be made ready in another way.
pub struct Follow {
    variant: Variant,
    load: Load,
    /// Which of the moving ones these are.
    pub other: Vec<u32>,
}

impl Variants {
    /// Makes a verified plan ready, the one of these values.
    pub fn new(
        kernels: &Kernels,
        plan: &Plan,
        plan_words: &PlanWords,
        (varying, values): (&Arc<Varying>, &[i64]),
        threads: usize,
    ) -> Result<Variants> {
        let (mut words, mut fixed) = (Words::default(), Load::default());
        let (mut steps, mut moving) = (Vec::with_capacity(plan.steps.len()), Vec::<Moving>::new());
        let (mut own, mut params, mut firsts) = (vec![], vec![], Map::default());
        let mut all_derived: Vec<Range<u32>> = vec![];
        for (number, step) in plan.steps.iter().enumerate() {
            let parts = plan_words.parts(number);
            let begin = Cursor { numbers: parts.numbers.start, params: parts.params.start };
            let (mut at, copies, derived) = (begin, words.copies().len(), words.derived().len());
            let step = ReadyStep::new(kernels, step, threads, &mut at, &mut words)?;
            let before = own.len() + params.len();
            for copied in &words.copies()[copies..] {
                match copied.from {
                    Source::Number { place, times } => {
                        let number = plan_words.numbers()[place as usize] as isize;
                        debug_assert_eq!(number.wrapping_mul(times as isize), words[copied.word as usize]);
                        if let Origin::Value(value) = varying.numbers()[place as usize] {
                            own.push(Times { of: copied.word, value, times });
                        }
                    }
                    Source::Param(place) => {
                        debug_assert_eq!(plan_words.params()[place as usize], words[copied.word as usize] as u64);
                        let found = varying.params().iter().find(|param| param.place == place);
                        params.extend(found.map(|param| (copied.word, *param)));
                    }
                }
            }
            if before == own.len() + params.len() {
                fixed.add(step.need(threads), step.cost(&words));
            } else {
                let first = all_derived.len() as u32;
                all_derived.extend_from_slice(&words.derived()[derived..]);
                let derived = first..all_derived.len() as u32;
                // Parameters decide nothing.
                let form = (&plan_words.structure()[parts.structure], &varying.numbers()[parts.numbers]);
                let first = *firsts.entry(form).or_insert(moving.len() as u32);
                let first = (first as usize != moving.len()).then_some(first);
                moving.push(Moving { number, first, at: begin, derived });
            }
            steps.push(step);
        }
        let (places, words) = (Places::of(plan), words.into_boxed_slice());
        let mut variants = Variants {
            places: moved(&places, plan_words, varying).into(),
            made: Arc::new(Made { steps: steps.into(), words, places }),
            varying: varying.clone(),
            values: values.into(),
            words: own.into(),
            params: params.into(),
            moving: moving.into(),
            count: all_derived.iter().map(|range| range.len()).sum(),
            derived: all_derived.into(),
            never: 0,
            fixed,
            arena: plan.inputs.len() + plan.outputs.len(),
        };
        variants.never = with_copy(&variants.made.words, |words| {
            let (_, other) = variants.settle(kernels, words, threads);
            debug_assert_eq!(*words, variants.made.words[..], "what is derived follows from the other words");
            other.len()
        });
        Ok(variants)
    }

    /// How many steps are made anew for any other plan.
    pub fn never(&self) -> usize {
        self.never
    }

    /// The steps of the plan of other values, which was verified.
    pub fn follow(self: &Arc<Self>, kernels: &Kernels, values: &[i64], threads: usize) -> Follow {
        let mut derived = Vec::with_capacity(self.count);
        let (load, other) = with_copy(&self.made.words, |words| {
            self.write(values, words);
            let settled = self.settle(kernels, words, threads);
            self.derived.iter().for_each(|range| derived.extend_from_slice(&words[wide(range)]));
            settled
        });
        let (of, values, derived) = (self.clone(), values.into(), derived.into());
        Follow { variant: Variant { of, values, derived, anew: [].into() }, load, other }
    }

    /// Settles the moving steps on these words: the load of all steps, but for those that would be made ready in another way, which are returned.
    fn settle(&self, kernels: &Kernels, words: &mut [isize], threads: usize) -> (Load, Vec<u32>) {
        let (mut load, mut other) = (self.fixed, Vec::new());
        // Of each what it works in, and its cost.
        let mut loads: SmallVec<[Option<(usize, usize)>; 64]> = SmallVec::with_capacity(self.moving.len());
        for (n, &Moving { number, first, ref derived, .. }) in (0..).zip(&self.moving) {
            let own = match first {
                Some(first) => {
                    let from = &self.derived[wide(&self.moving[first as usize].derived)];
                    let pairs = self.derived[wide(derived)].iter().zip(from);
                    pairs.for_each(|(to, from)| words.copy_within(wide(from), to.start as usize));
                    loads[first as usize]
                }
                None => {
                    let step = &self.made.steps[number];
                    step.settle(kernels, words, threads).map(|need| (need, step.cost(words)))
                }
            };
            match own {
                Some((need, cost)) => load.add(need, cost),
                None => other.push(n),
            }
            loads.push(own);
        }
        (load, other)
    }

    /// Writes the words that are numbers of a plan, for these values.
    fn write(&self, values: &[i64], words: &mut [isize]) {
        for &Times { of, value, times } in &self.words {
            words[of as usize] = values[value as usize] as isize * times as isize;
        }
        for (word, param) in &self.params {
            words[*word as usize] = param.of(values).bits as isize;
        }
    }
}

fn wide(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

/// Copies words to where others were before them, so that no memory is asked for.
fn with_copy<T>(words: &[isize], f: impl FnOnce(&mut [isize]) -> T) -> T {
    thread_local!(static ROOM: Cell<Vec<isize>> = const { Cell::new(Vec::new()) });
    // What runs within gets other room.
    let mut copy = ROOM.take();
    copy.clear();
    copy.extend_from_slice(words);
    let result = f(&mut copy);
    ROOM.set(copy);
    result
}

/// How arguments are moved by values.
fn moved(places: &Places, plan_words: &PlanWords, varying: &Varying) -> Vec<Times> {
    let mut all = Vec::new();
    let mut arg = 0;
    for (step, &count) in places.counts.iter().enumerate() {
        let begin = plan_words.parts(step).places;
        for n in 0..count as usize {
            let [offset, _, from] = [0, 1, 2].map(|k| varying.numbers()[begin + n * PLACE + k]);
            for (origin, times) in [(offset, 1), (from, places.itemsizes[arg] as i32)] {
                if let Origin::Value(value) = origin {
                    all.push(Times { of: arg as u32, value, times });
                }
            }
            arg += 1;
        }
    }
    all
}

impl Follow {
    /// With the other steps made anew, for the plan of the values.
    pub fn complete(mut self, kernels: &Kernels, plan: &Plan, threads: usize) -> Result<Follow> {
        let made = self.other.drain(..).map(|n| {
            let Moving { number, mut at, .. } = self.variant.of.moving[n as usize];
            let mut words = Words::default();
            let step = ReadyStep::new(kernels, &plan.steps[number], threads, &mut at, &mut words)?;
            self.load.add(step.need(threads), step.cost(&words));
            Ok(Anew { number, step, words: words.into_boxed_slice() })
        });
        self.variant.anew = made.collect::<Result<_>>()?;
        Ok(self)
    }

    pub fn steps(self) -> Steps {
        debug_assert!(self.other.is_empty());
        let Variants { made, varying, arena, .. } = &*self.variant.of;
        let (made, arena) = (made.clone(), varying.number(*arena, &self.variant.values) as usize);
        Steps::of(made, Some(self.variant), arena, self.load)
    }
}

impl Variant {
    /// Runs something on its words, given those of the plan that was made ready.
    pub fn with_words<T>(&self, made: &[isize], run: impl FnOnce(&[isize]) -> T) -> T {
        with_copy(made, |words| {
            self.of.write(&self.values, words);
            let mut derived = &self.derived[..];
            for range in &self.of.derived {
                let own = derived.split_off(..range.len()).expect("they are there");
                words[wide(range)].copy_from_slice(own);
            }
            run(words)
        })
    }

    /// Moves the addresses of arguments that lie elsewhere.
    pub fn place(&self, addresses: &mut Addresses) {
        for &Times { of, value, times } in &self.of.places {
            let value = value as usize;
            let moved = (self.values[value] - self.of.values[value]) as isize * times as isize;
            let address = &mut addresses[of as usize];
            *address = address.wrapping_add_signed(moved);
        }
    }
}
