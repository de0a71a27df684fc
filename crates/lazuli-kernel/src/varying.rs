//! Plans that are the same but for some of their numbers, such as those of one program for several shapes.
//!
//! Such a plan is a few *values*: the others of its numbers are the same in all of them, or each is one of these. A backend that has made one of the plans ready need not be given
//! another one to do the same for it.

use crate::dtype::DType;
use crate::plan::{Plan, Step};
use crate::scalar::Scalar;
use crate::verify::{Parts, PlanWords};

/// Where a number of a plan comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// It is the same in all plans.
    Fixed(i64),
    /// It is the value of this number.
    Value(u32),
}

/// A parameter of a kernel that is a value: its place among the parameters of the plan, in the order of [`PlanWords`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VaryingParam {
    pub place: u32,
    pub dtype: DType,
    pub value: u32,
}

impl VaryingParam {
    /// The parameter, for these values.
    pub fn of(&self, values: &[i64]) -> Scalar {
        Scalar::from_i64(self.dtype, values[self.value as usize])
    }
}

/// What the numbers of some plans are made of, which have the same structure, parameters and donations.
#[derive(Debug)]
pub struct Varying {
    /// In the order of [`PlanWords`].
    numbers: Box<[Origin]>,
    params: Box<[VaryingParam]>,
    values: usize,
}

impl Varying {
    /// The place-holder of the first value; those of others follow. No number of a plan is as large.
    const FIRST: i64 = 1 << 56;

    /// What stands for the value of this number in a plan of place-holders.
    pub fn place_holder(value: usize) -> i64 {
        Self::FIRST + value as i64
    }

    /// That of so many values, given a plan in which a place-holder stands for each, but for parameters.
    pub fn of(plan: &Plan, values: usize, params: Vec<VaryingParam>) -> Varying {
        let origin = |&number: &i64| match number {
            Self::FIRST.. => Origin::Value((number - Self::FIRST) as u32),
            _ => Origin::Fixed(number),
        };
        let numbers = PlanWords::of(plan).numbers().iter().map(origin).collect();
        Varying { numbers, params: params.into(), values }
    }
    /// With these numbers, made of so many values, and no parameters among them.
    pub(crate) fn with_numbers(numbers: Vec<Origin>, values: usize) -> Varying {
        Varying { numbers: numbers.into(), params: [].into(), values }
    }

    /// How many values there are.
    pub fn values(&self) -> usize {
        self.values
    }
    /// Where each number of the plans comes from, in the order of [`PlanWords`].
    pub fn numbers(&self) -> &[Origin] {
        &self.numbers
    }
    /// Parameters that are values.
    pub fn params(&self) -> &[VaryingParam] {
        &self.params
    }
    /// Whether the form of a step, or one of its parameters, goes by a value.
    pub fn varies(&self, parts: &Parts) -> bool {
        self.numbers[parts.numbers.clone()].iter().any(|origin| matches!(origin, Origin::Value(_)))
            || self.params.iter().any(|param| parts.params.contains(&(param.place as usize)))
    }
    /// The number at this place, for some values.
    #[inline]
    pub fn number(&self, place: usize, values: &[i64]) -> i64 {
        match self.numbers[place] {
            Origin::Fixed(number) => number,
            Origin::Value(n) => values[n as usize],
        }
    }
    /// Whether a plan of these words is the one of these values.
    pub fn is_plan_of(&self, words: &PlanWords, values: &[i64]) -> bool {
        values.len() == self.values
            && words.numbers().len() == self.numbers.len()
            && self.are(0, words.numbers(), values)
            && self.params.iter().all(|param| words.params().get(param.place as usize) == Some(&param.of(values).bits))
    }
    /// Whether a step is the one of this number in the plan of these values, if `like` are the words of the plan of others.
    pub fn is_step_of(&self, step: &Step, number: usize, like: &PlanWords, values: &[i64]) -> bool {
        let own = PlanWords::of_step(step);
        let Some([numbers, params]) = own.is_step_of(like, number) else { return false };
        let param = |(place, &fixed): (usize, &u64)| {
            let found = self.params.iter().find(|param| param.place as usize == place);
            found.map_or(fixed, |param| param.of(values).bits)
        };
        self.are(numbers.start, own.numbers(), values)
            && params.clone().zip(&like.params()[params]).map(param).eq(own.params().iter().copied())
    }
    /// Whether numbers are those from this place on.
    fn are(&self, first: usize, numbers: &[i64], values: &[i64]) -> bool {
        (first..).zip(numbers).all(|(place, &number)| self.number(place, values) == number)
    }
}
