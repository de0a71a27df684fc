//! Schedules of the learning rate: values that follow from the step.
//!
//! A schedule is a constant of the optimizer, so a compiled step evaluates it on the step's array and is traced once. Absent: schedules
//! that depend on the loss; set the rate by hand.

use lazuli_core::raise::must;
use lazuli_core::{Array, Error, array, select};
use std::f64::consts::PI;
use std::hash::{Hash, Hasher};

/// A function from the step, an integer scalar, to a value.
///
/// ```
/// use lazuli_core::array;
/// use lazuli_nn::schedules::Schedule;
/// let schedule = Schedule::linear(0.0, 0.1, 10).then(10, Schedule::cosine(0.1, 200, 0.0));
/// assert!(schedule.at(&array(5)).allclose(&array(0.05)));
/// assert_eq!(schedule.at(&array(10)).item::<f32>(), 0.1);
/// ```
#[derive(Debug, Clone)]
pub enum Schedule {
    /// The same value at every step.
    Constant(f64),
    /// `init · decay ^ step`.
    Exponential {
        /// At step 0.
        init: f64,
        /// The factor.
        decay: f64,
    },
    /// `init · decay ^ ⌊step / every⌋`.
    Step {
        /// At step 0.
        init: f64,
        /// The factor.
        decay: f64,
        /// Steps between two factors.
        every: u32,
    },
    /// From `init` to `end` along half a cosine, then constant (Loshchilov and Hutter, arXiv:1608.03983).
    Cosine {
        /// At step 0.
        init: f64,
        /// How many steps it takes.
        steps: u32,
        /// From then on.
        end: f64,
    },
    /// From `init` to `end` along a line, then constant.
    Linear {
        /// At step 0.
        init: f64,
        /// From then on.
        end: f64,
        /// How many steps it takes.
        steps: u32,
    },
    /// The first before a step, the second, which counts from there, from it on.
    Then(Box<Schedule>, u32, Box<Schedule>),
    /// A function of the step, which must branch with `select` and not on the step's value.
    Custom(fn(&Array) -> Array),
}

impl Schedule {
    /// See [`Schedule::Exponential`].
    pub fn exponential(init: f64, decay: f64) -> Schedule {
        Schedule::Exponential { init, decay }
    }
    /// See [`Schedule::Step`].
    ///
    /// # Panics
    /// If `every` is 0.
    #[track_caller]
    pub fn step(init: f64, decay: f64, every: u32) -> Schedule {
        positive("step", every);
        Schedule::Step { init, decay, every }
    }
    /// See [`Schedule::Cosine`].
    ///
    /// # Panics
    /// If `steps` is 0.
    #[track_caller]
    pub fn cosine(init: f64, steps: u32, end: f64) -> Schedule {
        positive("cosine", steps);
        Schedule::Cosine { init, steps, end }
    }
    /// See [`Schedule::Linear`].
    ///
    /// # Panics
    /// If `steps` is 0.
    #[track_caller]
    pub fn linear(init: f64, end: f64, steps: u32) -> Schedule {
        positive("linear", steps);
        Schedule::Linear { init, end, steps }
    }
    /// This schedule up to a step, then another, whose step 0 that is.
    pub fn then(self, boundary: u32, later: Schedule) -> Schedule {
        Schedule::Then(Box::new(self), boundary, Box::new(later))
    }
    /// The value at a step: a float32 scalar.
    #[track_caller]
    pub fn at(&self, step: &Array) -> Array {
        let number = |n: u32| n as i64;
        match self {
            Schedule::Constant(value) => array(*value as f32),
            Schedule::Exponential { init, decay } => *init * must(lazuli_core::ops::power(*decay, step)),
            Schedule::Step { init, decay, every } => {
                *init * must(lazuli_core::ops::power(*decay, step.floor_divide(number(*every))))
            }
            Schedule::Cosine { init, steps, end } => {
                let done = step.minimum(number(*steps)) / number(*steps);
                *end + 0.5 * (init - end) * (1.0 + (PI * done).cos())
            }
            Schedule::Linear { init, end, steps } => {
                *init + (end - init) / *steps as f64 * step.minimum(number(*steps))
            }
            // An unsigned step wraps before the boundary; what comes of that is not chosen.
            Schedule::Then(first, boundary, later) => {
                let rest = step - number(*boundary);
                select(step.less(number(*boundary)), first.at(step), later.at(&rest))
            }
            Schedule::Custom(f) => f(step),
        }
    }
}

#[track_caller]
fn positive(name: &str, steps: u32) {
    if steps == 0 {
        must(Err(Error::value(format!("Schedule::{name}"), "the number of steps must be at least 1")))
    }
}

/// By the kind and the bits of the numbers; a custom function by its address.
impl Hash for Schedule {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        let mut numbers = |values: &[f64]| values.iter().for_each(|v| v.to_bits().hash(state));
        match self {
            Schedule::Constant(value) => numbers(&[*value]),
            Schedule::Exponential { init, decay } => numbers(&[*init, *decay]),
            Schedule::Step { init, decay, every } => numbers(&[*init, *decay, *every as f64]),
            Schedule::Cosine { init, steps, end } | Schedule::Linear { init, end, steps } => {
                numbers(&[*init, *end, *steps as f64]);
            }
            Schedule::Then(first, boundary, later) => (first, boundary, later).hash(state),
            Schedule::Custom(f) => (*f as usize).hash(state),
        }
    }
}
