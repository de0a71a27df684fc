//! Steps for plans that differ in [some numbers](lazuli_kernel::varying) only: those of one of the plans, on other words.
//!
//! Such steps are kept as the values of their plan, and what is derived from these. Their words are written when they run, which takes next to no time: those of the plan that was made ready, and
//! over them what differs. A step that would be made ready in another way for other numbers is made anew for them.

use crate::kernels::Kernels;
use crate::places::{Addresses, Places};
use crate::steps::{Load, Made, ReadyStep, Steps};
use crate::words::{Cursor, Source, Words};
use lazuli_kernel::{Origin, PLACE, Plan, PlanWords, Result, Varying, VaryingParam};
use smallvec::SmallVec;
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
    /// The steps whose words vary, and which words are derived in these.
    moving: Box<[u32]>,
    derived: Box<[Range<u32>]>,
    /// How many of the moving steps are made anew in any case.
    never: usize,
    /// Of the other steps.
    fixed: Load,
    /// Which number of the plan is the size of its arena.
    arena: usize,
    /// Where in the plan the numbers of each step begin.
    begins: Box<[Cursor]>,
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
    /// Their numbers.
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
        let (mut at, mut words, mut fixed) = (Cursor::default(), Words::default(), Load::default());
        let (mut steps, mut moving, mut derived) = (Vec::with_capacity(plan.steps.len()), vec![], vec![]);
        let (mut own, mut params) = (vec![], vec![]);
        let mut begins = Vec::with_capacity(plan.steps.len());
        for (number, step) in plan.steps.iter().enumerate() {
            let begin = plan_words.begin(number);
            debug_assert!(number == 0 || begin.params == at.params);
            at = Cursor { numbers: begin.numbers, params: begin.params };
            begins.push(at);
            let before = (words.copies().len(), words.derived().len(), own.len() + params.len());
            let step = ReadyStep::new(kernels, step, threads, &mut at, &mut words)?;
            debug_assert_eq!(at.numbers.max(begin.numbers), at.numbers);
            for copied in &words.copies()[before.0..] {
                match copied.from {
                    Source::Number { place, times } => {
                        debug_assert_eq!(
                            plan_words.numbers()[place as usize] as isize * times as isize,
                            words[copied.word as usize]
                        );
                        if let Origin::Value(value) = varying.numbers()[place as usize] {
                            own.push(Times { of: copied.word, value, times });
                        }
                    }
                    Source::Param(place) => {
                        let found = varying.params().iter().find(|param| param.place == place);
                        params.extend(found.map(|param| (copied.word, *param)));
                    }
                }
            }
            match before.2 == own.len() + params.len() {
                true => fixed.add(step.need(threads), step.cost(&words)),
                false => {
                    moving.push(number as u32);
                    derived.extend_from_slice(&words.derived()[before.1..]);
                }
            }
            steps.push(step);
        }
        let (places, words) = (Places::of(plan), words.into_boxed_slice());
        let mut variants = Variants {
            never: 0,
            varying: varying.clone(),
            values: values.into(),
            words: own.into(),
            params: params.into(),
            places: moved(&places, plan_words, varying).into(),
            moving: moving.into(),
            derived: derived.into(),
            fixed,
            begins: begins.into(),
            arena: plan.inputs.len() + plan.outputs.len(),
            made: Arc::new(Made { steps: steps.into(), words, places }),
        };
        let mut words = Words128::from_slice(&variants.made.words);
        let settles =
            |number: &&u32| variants.made.steps[**number as usize].settle(kernels, &mut words, threads).is_none();
        variants.never = variants.moving.iter().filter(settles).count();
        debug_assert_eq!(words[..], variants.made.words[..], "what is derived follows from the other words");
        Ok(variants)
    }

    /// How many steps are made anew for any other plan.
    pub fn never(&self) -> usize {
        self.never
    }

    /// The steps of the plan of other values, which was verified.
    pub fn follow(self: &Arc<Self>, kernels: &Kernels, values: &[i64], threads: usize) -> Follow {
        let mut words: Words128 = SmallVec::from_slice(&self.made.words);
        self.write(values, &mut words);
        let (mut load, mut other) = (self.fixed, Vec::new());
        for &number in &self.moving {
            let step = &self.made.steps[number as usize];
            match step.settle(kernels, &mut words, threads) {
                Some(need) => load.add(need, step.cost(&words)),
                None => other.push(number),
            }
        }
        let derived = self.derived.iter().flat_map(|range| &words[range.start as usize..range.end as usize]);
        let derived = derived.copied().collect();
        Follow { variant: Variant { of: self.clone(), values: values.into(), derived, anew: [].into() }, load, other }
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

/// Words of a run.
pub type Words128 = SmallVec<[isize; 128]>;

/// How arguments are moved by values.
fn moved(places: &Places, plan_words: &PlanWords, varying: &Varying) -> Vec<Times> {
    let mut all = Vec::new();
    let mut arg = 0;
    for (step, &count) in places.counts.iter().enumerate() {
        let begin = plan_words.begin(step).places;
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
        let made = self.other.drain(..).map(|number| {
            let (mut at, mut words) = (self.variant.of.begins[number as usize], Words::default());
            let step = ReadyStep::new(kernels, &plan.steps[number as usize], threads, &mut at, &mut words)?;
            self.load.add(step.need(threads), step.cost(&words));
            Ok(Anew { number: number as usize, step, words: words.into_boxed_slice() })
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
    /// Its words, given those of the plan that was made ready.
    pub fn words(&self, made: &[isize]) -> Words128 {
        let mut words = Words128::from_slice(made);
        self.of.write(&self.values, &mut words);
        let mut derived = &self.derived[..];
        for range in &self.of.derived {
            let own = derived.split_off(..range.len()).expect("they are there");
            words[range.start as usize..range.end as usize].copy_from_slice(own);
        }
        words
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
