//! Optimizers: λ is the learning rate, g the gradient, w the parameter.
//!
//! State is a tree: the learning rate, the step and the moments are arrays, the other settings constants. Moments appear, as zeros, at
//! the first update: the structure grows once, which costs a compiled step one more trace. What is updated are the model's float arrays
//! that are not fixed. State and arithmetic have the gradient's dtype; the learning rate is cast to it. Absent: groups of parameters
//! (see [`Split`]).

mod adam;
mod descent;
mod factored;
mod split;

pub use adam::{Adam, AdamW, Adamax, Lion};
pub use descent::{AdaDelta, Adagrad, RmsProp, Sgd};
pub use factored::{Adafactor, Muon};
pub use split::Split;

use crate::schedules::Schedule;
use lazuli_core::paths::{self, Entry};
use lazuli_core::raise::must;
use lazuli_core::tree::{self, LeafMut};
use lazuli_core::{Array, DType, Error, Tree, array};
use lazuli_derive::Tree;

/// What updates a model by its gradient.
///
/// ```
/// use lazuli_core::{Array, array, grad};
/// use lazuli_nn::optimizers::{Optimizer, Sgd};
/// let (mut w, mut optimizer) = (array([3.0, -4.0]), Sgd::new(0.5));
/// let gradient = grad(|w: &Array| w.square().sum(()))(&w);
/// optimizer.update(&mut w, &gradient);
/// assert_eq!(w.to_vec::<f32>(), [0.0, 0.0]);
/// ```
pub trait Optimizer: Tree {
    /// The learning rate and the step.
    fn rate(&self) -> &Rate;
    /// The learning rate and the step, to change them.
    fn rate_mut(&mut self) -> &mut Rate;
    /// The new value of a parameter.
    fn step(&mut self, place: &Place, gradient: &Array, parameter: &Array) -> Array;
    /// Called once before the parameters are updated: moves the step on.
    fn begin(&mut self) {
        self.rate_mut().advance();
    }
    /// Moves each parameter of the model by its gradient, which is a tree of the model's structure.
    ///
    /// # Panics
    /// If the gradient has other arrays than the model.
    #[track_caller]
    fn update(&mut self, model: &mut impl Tree, gradient: &impl Tree)
    where
        Self: Sized,
    {
        let (gradients, entries) = (tree::arrays(gradient), paths::entries(model));
        if gradients.len() != entries.len() {
            let message = format!(
                "the gradient has {} arrays, the model {}: it must have the model's structure",
                gradients.len(),
                entries.len()
            );
            must(Err(Error::value("update", message)))
        }
        self.begin();
        let mut next = 0;
        model.visit_mut(&mut |leaf| {
            if let LeafMut::Array(w) = leaf {
                let Entry { path, fixed, .. } = &entries[next];
                if !fixed && w.dtype().is_float() {
                    *w = self.step(&Place { index: next, path }, &gradients[next], w);
                }
                next += 1;
            }
        });
    }
    /// The learning rate, a scalar; of a schedule, that of the last step.
    fn learning_rate(&self) -> &Array {
        &self.rate().value
    }
    /// Sets the learning rate, to a number or a schedule.
    fn set_learning_rate(&mut self, rate: impl Into<Rate>)
    where
        Self: Sized,
    {
        let steps = self.rate().steps.clone();
        *self.rate_mut() = Rate { steps, ..rate.into() };
    }
}

/// Which of the model's arrays a parameter is.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Its number in the order of the tree.
    pub index: usize,
    /// Its path: see [`lazuli_core::paths`].
    pub path: &'a str,
}

/// A learning rate, and how many steps were made: from a number, or from a [`Schedule`].
///
/// ```
/// use lazuli_nn::optimizers::{Optimizer, Sgd};
/// use lazuli_nn::schedules::Schedule;
/// assert_eq!(Sgd::new(0.1).learning_rate().item::<f32>(), 0.1);
/// assert_eq!(Sgd::new(Schedule::exponential(0.5, 0.9)).learning_rate().item::<f32>(), 0.5);
/// ```
#[derive(Debug, Clone, Tree)]
pub struct Rate {
    /// The rate, a scalar.
    pub value: Array,
    /// Steps so far, a uint64 scalar.
    pub steps: Array,
    #[tree(constant)]
    schedule: Option<Schedule>,
}

impl Rate {
    fn advance(&mut self) {
        if let Some(schedule) = &self.schedule {
            self.value = schedule.at(&self.steps);
        }
        self.steps = &self.steps + 1;
    }
    /// The rate in the dtype of a gradient.
    fn like(&self, gradient: &Array) -> Array {
        self.value.astype(gradient.dtype())
    }
}

impl From<f64> for Rate {
    fn from(rate: f64) -> Rate {
        Rate { value: array(rate as f32), steps: Array::from(0u64), schedule: None }
    }
}

impl From<f32> for Rate {
    fn from(rate: f32) -> Rate {
        (rate as f64).into()
    }
}

impl From<Schedule> for Rate {
    fn from(schedule: Schedule) -> Rate {
        let steps = Array::from(0u64);
        Rate { value: schedule.at(&steps), steps, schedule: Some(schedule) }
    }
}

/// State of each parameter, by its number; zeros at first.
#[derive(Debug, Clone, Default, Tree)]
struct Moments(Vec<Option<Array>>);

impl Moments {
    fn at(&mut self, place: &Place, like: &Array) -> &mut Array {
        if self.0.len() <= place.index {
            self.0.resize(place.index + 1, None);
        }
        self.0[place.index].get_or_insert_with(|| like.zeros_like())
    }
}

/// The accessors that all optimizers share.
macro_rules! has_rate {
    () => {
        fn rate(&self) -> &Rate {
            &self.rate
        }
        fn rate_mut(&mut self) -> &mut Rate {
            &mut self.rate
        }
    };
}
use has_rate;

/// An error at the caller's line if a setting is out of its range.
#[track_caller]
fn check(op: &str, name: &str, value: f64, valid: bool) {
    if !valid {
        must(Err(Error::value(op, format!("{name} must not be negative, got {value}"))))
    }
}

/// Scales gradients down so that the norm of all of them together is at most `max_norm` (Pascanu et al., arXiv:1211.5063): the scaled
/// tree, and the norm before (a float32 scalar).
///
/// ```
/// use lazuli_core::array;
/// let (scaled, norm) = lazuli_nn::optimizers::clip_grad_norm(&array([3.0, 4.0]), 10.0);
/// assert_eq!((scaled.to_vec::<f32>(), norm.item::<f32>()), (vec![3.0, 4.0], 5.0));
/// ```
#[track_caller]
pub fn clip_grad_norm<T: Tree + Clone>(gradients: &T, max_norm: f64) -> (T, Array) {
    let varying: Vec<Array> = paths::entries(gradients).into_iter().filter(Entry::varies).map(|e| e.array).collect();
    let total = varying.iter().fold(array(0.0), |sum, g| sum + g.astype(DType::F32).square().sum(()));
    let norm = total.sqrt();
    let factor = (max_norm / (&norm + 1e-6)).minimum(1.0);
    let scale = |g: &Array| if g.dtype().is_float() { g * factor.astype(g.dtype()) } else { g.clone() };
    (tree::map(gradients, scale), norm)
}
