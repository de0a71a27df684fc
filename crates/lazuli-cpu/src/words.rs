//! The numbers of steps, as words, and where they come from.
//!
//! Steps are made ready as what follows from kernels and from decisions by numbers, and *words*: all numbers that they run on, one step behind the other. A word is the same for all plans that
//! differ in [some numbers](lazuli_kernel::varying) only, or a number of the plan, perhaps several times, or it is *derived* from other words when a step is settled (`settle`). So a plan of other
//! numbers needs other words, and nothing else.

use lazuli_kernel::{Binding, LibraryCall};
use std::ops::{Deref, DerefMut, Range};

/// The words of steps.
#[derive(Debug, Default)]
pub struct Words {
    words: Vec<isize>,
    copies: Vec<Copied>,
    derived: Vec<Range<u32>>,
}

/// A word that is a number of the plan, or a parameter.
#[derive(Debug, Clone, Copy)]
pub struct Copied {
    pub word: u32,
    pub from: Source,
}

/// Where a word comes from, by the place that this has in [`PlanWords`](lazuli_kernel::PlanWords).
#[derive(Debug, Clone, Copy)]
pub enum Source {
    Number { place: u32, times: i32 },
    Param(u32),
}

impl Words {
    /// More words, all 0 for now. Where they begin.
    pub fn grow(&mut self, n: usize) -> usize {
        let at = self.words.len();
        self.words.resize(at + n, 0);
        at
    }
    /// The same, of words that are derived.
    pub fn derive(&mut self, n: usize) -> usize {
        let at = self.grow(n);
        self.derived.push(at as u32..(at + n) as u32);
        at
    }
    /// Sets a word to a number so many times, which is the one of this place, if it is any.
    pub fn set(&mut self, word: usize, number: isize, times: usize, place: Option<u32>) {
        self.words[word] = number * times as isize;
        if let Some(place) = place {
            let from = Source::Number { place, times: times as i32 };
            self.copies.push(Copied { word: word as u32, from });
        }
    }
    /// Adds a number as a word.
    pub fn push(&mut self, number: isize, place: Option<u32>) {
        let word = self.grow(1);
        self.set(word, number, 1, place);
    }
    /// Sets a word to the bits of a parameter, which is the one of this place.
    pub fn set_param(&mut self, word: usize, bits: u64, place: usize) {
        self.words[word] = bits as isize;
        self.copies.push(Copied { word: word as u32, from: Source::Param(place as u32) });
    }

    pub fn copies(&self) -> &[Copied] {
        &self.copies
    }
    pub fn derived(&self) -> &[Range<u32>] {
        &self.derived
    }
    pub fn into_boxed_slice(self) -> Box<[isize]> {
        self.words.into_boxed_slice()
    }
}

impl Deref for Words {
    type Target = [isize];
    fn deref(&self) -> &[isize] {
        &self.words
    }
}

impl DerefMut for Words {
    fn deref_mut(&mut self) -> &mut [isize] {
        &mut self.words
    }
}

/// Which of the plan's numbers are those of a launch: its extents, the lengths of its arguments, and the strides of one after the other. And where its parameters begin.
#[derive(Debug, Clone, Copy)]
pub struct Numbering<'a> {
    numbers: Numbers<'a>,
    params: usize,
}

#[derive(Debug, Clone, Copy)]
enum Numbers<'a> {
    /// All from this one on.
    From(usize),
    /// Each by itself; None if it is none of the plan's.
    Listed(&'a [Option<u32>]),
}

impl<'a> Numbering<'a> {
    pub fn listed(numbers: &'a [Option<u32>]) -> Self {
        Self { numbers: Numbers::Listed(numbers), params: 0 }
    }
    /// Which one this number of the launch is.
    pub fn number(&self, n: usize) -> Option<u32> {
        match self.numbers {
            Numbers::From(first) => Some((first + n) as u32),
            Numbers::Listed(all) => all[n],
        }
    }
    pub fn param(&self, n: usize) -> usize {
        self.params + n
    }
}

/// The place in [`PlanWords`](lazuli_kernel::PlanWords) of what comes next of a plan.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cursor {
    pub numbers: usize,
    pub params: usize,
}

impl Cursor {
    /// Goes on behind a binding, whose numbers these are.
    pub fn binding(&mut self, binding: &Binding) -> Numbering<'static> {
        let own = Numbering { numbers: Numbers::From(self.numbers), params: self.params };
        let of_args = binding.args.iter().map(|arg| 1 + arg.strides.len()).sum::<usize>();
        self.numbers += binding.extents.len() + of_args;
        self.params += binding.params.len();
        own
    }
    /// Goes on behind a call; where its numbers begin.
    pub fn call(&mut self, call: &LibraryCall) -> usize {
        let own = self.numbers;
        self.numbers += match call {
            LibraryCall::Matmul { batch, a, b, c, .. } => {
                batch.len() + 3 + [a, b, c].iter().map(|arg| 1 + arg.strides.len()).sum::<usize>()
            }
            LibraryCall::Sort { rows, input, output, .. } => {
                rows.len() + 1 + [input, output].iter().map(|arg| 1 + arg.strides.len()).sum::<usize>()
            }
        };
        own
    }
}
