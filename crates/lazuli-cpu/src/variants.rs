//! Steps for plans that differ in [some numbers](lazuli_kernel::varying) only: those of one of the plans, on other words.
//!
//! Such steps are kept as the values of their plan, and what is derived from these. Their words are written when they run, which takes next to no time: over those of the plan that was made ready, or
//! of another of its variants, which a thread has still from the last time. A step that would be made ready in another way for other numbers is made anew for them.

use crate::kernels::Kernels;
use crate::places::{Addresses, Places};
use crate::settle::{Noting, OnWords, Settled, Settling, Sources, Times};
use crate::steps::{Load, Made, ReadyStep, Steps};
use crate::words::{Cursor, Source, Words};
use lazuli_kernel::hash::Map;
use lazuli_kernel::{Error, Kernel, Origin, PLACE, Plan, PlanWords, Result, Signature, Varying, VaryingParam};
use std::cell::Cell;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What was made ready of one plan, and how others follow from it.
pub struct Variants {
    made: Arc<Made>,
    varying: Arc<Varying>,
    /// The kernels of that plan, each once.
    kernels: Box<[Arc<Kernel>]>,
    /// Its words and its values.
    plan: PlanWords,
    values: Box<[i64]>,
    signature: Signature,
    words: Box<[Times]>,
    params: Box<[(u32, VaryingParam)]>,
    places: Box<[Times]>,
    moving: Box<[Moving]>,
    /// How many of these are made anew in any case.
    never: usize,
    /// Which words are derived in these, and which of them are as in an earlier one, alike in all: to and from.
    derived: Box<[Range<u32>]>,
    again: Box<[[u32; 2]]>,
    /// Of the other steps.
    fixed: Load,
    /// How steps were settled for the first values, if others may be settled so.
    settled: Option<Settled>,
}

/// A step whose words vary.
struct Moving {
    number: usize,
    /// Where its numbers begin in the plan.
    at: Cursor,
    /// Later ones that are alike for all values.
    alike: Vec<(usize, Cursor)>,
}

/// What differs in the steps of another plan.
pub struct Variant {
    of: Arc<Variants>,
    /// No other has it.
    id: u64,
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
    /// Their numbers, and where their numbers begin.
    pub other: Vec<(usize, Cursor)>,
}

impl Variants {
    /// Makes a verified plan ready, the one of these values.
    pub fn new(
        kernels: &Kernels,
        plan: &mut Plan,
        plan_words: PlanWords,
        (varying, values): (&Arc<Varying>, &[i64]),
        threads: usize,
    ) -> Result<Variants> {
        let (mut words, mut fixed) = (Words::default(), Load::default());
        let (mut steps, mut moving) = (Vec::with_capacity(plan.steps.len()), Vec::<Moving>::new());
        let (mut own, mut params, mut firsts) = (vec![], vec![], Map::default());
        let (mut all_derived, mut again) = (Vec::<Range<u32>>::new(), vec![]);
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
            // The plans of a choice have words of their own.
            let varies_within = matches!(step, ReadyStep::Branch(_)) && varying.varies(&parts);
            if before == own.len() + params.len() && !varies_within {
                fixed.add(Load::of(&step, &mut words, threads));
            } else {
                let derived = &words.derived()[derived..];
                // Parameters decide nothing.
                let form = (&plan_words.structure()[parts.structure], &varying.numbers()[parts.numbers]);
                match firsts.entry(form) {
                    Entry::Occupied(first) => {
                        let (first, from): &(usize, Range<usize>) = first.get();
                        moving[*first].alike.push((number, begin));
                        let words = |ranges: &[Range<u32>]| ranges.iter().cloned().flatten().collect::<Vec<u32>>();
                        let pairs = words(derived).into_iter().zip(words(&all_derived[from.clone()]));
                        again.extend(pairs.map(|(to, from)| [to, from]));
                    }
                    Entry::Vacant(entry) => {
                        entry.insert((moving.len(), all_derived.len()..all_derived.len() + derived.len()));
                        moving.push(Moving { number, at: begin, alike: vec![] });
                    }
                }
                all_derived.extend_from_slice(derived);
            }
            steps.push(step);
        }
        let (places, words) = (Places::of(plan), words.into_boxed_slice());
        let mut variants = Variants {
            places: moved(&places, &plan_words, varying).into(),
            made: Arc::new(Made::new(steps, words, places)),
            varying: varying.clone(),
            kernels: each_once(plan)?,
            plan: plan_words,
            values: values.into(),
            signature: Signature::of(plan),
            words: own.into(),
            params: params.into(),
            moving: moving.into(),
            never: 0,
            derived: all_derived.into(),
            again: again.into(),
            fixed,
            settled: None,
        };
        let note = |words: &mut [isize]| {
            let (sources, mut never) = (Sources::new(words, &variants.words, values), 0);
            let mut noting = Noting::new(words, &sources);
            for moving in &variants.moving {
                noting.step(|cx| {
                    let load = variants.settle_step(moving, kernels, cx, threads);
                    never += if load.is_none() { 1 + moving.alike.len() } else { 0 };
                    load
                });
            }
            let settled = noting.finish();
            debug_assert_eq!(*words, variants.made.words[..], "what is derived follows from the other words");
            (settled, never)
        };
        (variants.settled, variants.never) = with_words(&variants.made, unique(), |_| {}, note);
        Ok(variants)
    }

    /// Puts the kernels of the plan that was made ready in place of one that is equal: by these plans and steps are compared.
    fn share(&self, kernel: &mut Arc<Kernel>) -> Result<()> {
        let is_own = |own: &&Arc<Kernel>| Arc::ptr_eq(own, kernel);
        let own = self.kernels.iter().find(is_own).or_else(|| self.kernels.iter().find(|own| *own == kernel));
        own.into_iter().for_each(|own| *kernel = own.clone());
        Ok(())
    }
    /// The words of the plan of other values, whose kernels become those of the plan that was made ready.
    pub fn read(&self, plan: &mut Plan) -> Result<PlanWords> {
        plan.share_kernels(&mut |kernel| self.share(kernel))?;
        Ok(PlanWords::of(plan))
    }

    /// How many steps are made anew for any other plan.
    pub fn never(&self) -> usize {
        self.never
    }

    /// What the first numbers of the plan of these values are: sizes of inputs, then of outputs.
    pub fn signature(&self, values: &[i64]) -> Signature {
        let &Signature { ref inputs, ref donations, steps, has_effects, .. } = &self.signature;
        let sizes = |places: Range<usize>| places.map(|place| self.varying.number(place, values) as usize).collect();
        let (inputs, outputs) = (sizes(0..inputs.len()), sizes(inputs.len()..self.arena()));
        Signature { inputs, outputs, donations: donations.clone(), steps, has_effects }
    }
    /// Which number comes next: the size of the arena.
    fn arena(&self) -> usize {
        self.signature.inputs.len() + self.signature.outputs.len()
    }

    /// The steps of the plan of other values, which was verified.
    pub fn follow(self: &Arc<Self>, kernels: &Kernels, values: &[i64], threads: usize, room: &mut Vec<i64>) -> Follow {
        let id = unique();
        let ((load, other), derived) = with_words(
            &self.made,
            id,
            |words| self.write(values, words),
            |words| {
                let settled = self.settle(kernels, values, words, threads, room);
                let mut derived = Vec::with_capacity(self.derived.iter().map(|range| range.len()).sum());
                self.derived.iter().for_each(|range| derived.extend_from_slice(&words[wide(range)]));
                (settled, derived.into_boxed_slice())
            },
        );
        let variant = Variant { of: self.clone(), id, values: values.into(), derived, anew: [].into() };
        Follow { variant, load, other }
    }

    /// Settles the moving steps on the words of these values: the load of all steps, but for those that would be made ready in another way, which are returned.
    fn settle(
        &self,
        kernels: &Kernels,
        values: &[i64],
        words: &mut [isize],
        threads: usize,
        room: &mut Vec<i64>,
    ) -> (Load, Vec<(usize, Cursor)>) {
        let again = self.settled.as_ref().and_then(|settled| settled.again(values, room));
        let (mut load, mut other) = (self.fixed, Vec::new());
        for (n, moving) in self.moving.iter().enumerate() {
            let noted = again.as_ref().and_then(|again| again.settle(n, kernels, words));
            let by_code = || self.settle_step(moving, kernels, &mut OnWords(words), threads).map(Load::from);
            match noted.or_else(by_code) {
                Some(own) => load.add(own),
                None => other.extend([(moving.number, moving.at)].into_iter().chain(moving.alike.iter().copied())),
            }
        }
        self.again.iter().for_each(|&[to, from]| words[to as usize] = words[from as usize]);
        other.sort_unstable_by_key(|(number, _)| *number);
        (load, other)
    }
    /// Settles a step; the load of it, and of those that are alike.
    fn settle_step<S: Settling>(
        &self,
        Moving { number, alike, .. }: &Moving,
        kernels: &Kernels,
        cx: &mut S,
        threads: usize,
    ) -> Option<Load<S::N>> {
        let step = &self.made.steps[*number];
        let need = step.settle(kernels, cx, threads)?;
        let cost = step.cost(cx);
        Some(Load { need, cost: cx.mul_by(cost, 1 + alike.len()) })
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

/// The kernels of a plan.
fn each_once(plan: &mut Plan) -> Result<Box<[Arc<Kernel>]>> {
    let mut all: Vec<Arc<Kernel>> = Vec::new();
    plan.share_kernels(&mut |kernel| {
        if !all.iter().any(|known| Arc::ptr_eq(known, kernel)) {
            all.push(kernel.clone());
        }
        Ok(())
    })?;
    Ok(all.into())
}

fn wide(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

/// A number that was not given before in this process.
pub fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Words that a thread wrote.
#[derive(Default)]
struct Written {
    words: Vec<isize>,
    /// Of which steps they are, and of which variant of those.
    made: u64,
    variant: u64,
}

/// Gives `run` the words of a variant, or what `write` makes of those of others: they lie where the thread wrote those of the last one, and are written only as far as they differ.
fn with_words<T>(
    made: &Made,
    variant: u64,
    write: impl FnOnce(&mut [isize]),
    run: impl FnOnce(&mut [isize]) -> T,
) -> T {
    thread_local!(static WRITTEN: Cell<Written> = const { Cell::new(Written { words: Vec::new(), made: 0, variant: 0 }) });
    // What runs within gets other room.
    let mut written = WRITTEN.take();
    if written.made != made.id {
        written.words.clear();
        written.words.extend_from_slice(&made.words);
    }
    if (written.made, written.variant) != (made.id, variant) {
        write(&mut written.words);
        (written.made, written.variant) = (made.id, variant);
    }
    let result = run(&mut written.words);
    WRITTEN.set(written);
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
    /// With the other steps made anew, those of the plan of the values.
    pub fn complete(
        mut self,
        kernels: &Kernels,
        plan: &mut dyn lazuli_kernel::Variant,
        threads: usize,
    ) -> Result<Follow> {
        let of = &*self.variant.of;
        let Variants { varying, plan: like, .. } = of;
        let made = self.other.drain(..).map(|(number, mut at)| {
            let (mut words, mut step) = (Words::default(), plan.step(number).clone());
            step.share_kernels(&mut |kernel| of.share(kernel))?;
            if !varying.is_step_of(&step, number, like, &self.variant.values) {
                return Err(Error::internal("prepare", format!("step {number} has other numbers than its values say")));
            }
            let step = ReadyStep::new(kernels, &step, threads, &mut at, &mut words)?;
            self.load.add(Load::of(&step, &mut words, threads));
            Ok(Anew { number, step, words: words.into_boxed_slice() })
        });
        self.variant.anew = made.collect::<Result<_>>()?;
        Ok(self)
    }

    pub fn steps(self) -> Steps {
        debug_assert!(self.other.is_empty());
        let of = &self.variant.of;
        let (made, arena) = (of.made.clone(), of.varying.number(of.arena(), &self.variant.values) as usize);
        Steps::of(made, Some(self.variant), arena, self.load)
    }
}

impl Variant {
    /// Runs something on its words.
    pub fn with_words<T>(&self, run: impl FnOnce(&[isize]) -> T) -> T {
        let write = |words: &mut [isize]| {
            self.of.write(&self.values, words);
            let mut derived = &self.derived[..];
            for range in &self.of.derived {
                let own = derived.split_off(..range.len()).expect("they are there");
                words[wide(range)].copy_from_slice(own);
            }
        };
        with_words(&self.of.made, self.id, write, |words| run(words))
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
