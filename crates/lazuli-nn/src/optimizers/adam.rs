//! Adam and its kin: averages of the gradient and of its size.

use super::{Moments, Optimizer, Place, Rate, check, has_rate};
use lazuli_core::{Array, ops, raise::must};
use lazuli_derive::Tree;

/// 1 − βᵗ at step t, float32.
fn missing(beta: f64, steps: &Array) -> Array {
    1 - must(ops::power(beta, steps))
}

/// β · m + (1 − β) · x.
fn average(beta: f64, m: &Array, x: &Array) -> Array {
    beta * m + (1.0 - beta) * x
}

/// Adam (Kingma and Ba, arXiv:1412.6980): m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², w ← w − λ m / (√v + eps), with m and v divided by
/// 1 − β₁ᵗ and 1 − β₂ᵗ at step t if the bias is corrected (not by default).
///
/// ```
/// use lazuli_nn::optimizers::Adam;
/// let optimizer = Adam::new(1e-3).betas(0.9, 0.98).bias_correction();
/// ```
#[derive(Debug, Clone, Tree)]
pub struct Adam {
    rate: Rate,
    betas: (f64, f64),
    eps: f64,
    bias_correction: bool,
    first: Moments,
    second: Moments,
}

impl Adam {
    /// With betas 0.9 and 0.999, eps 1e-8.
    pub fn new(learning_rate: impl Into<Rate>) -> Adam {
        Adam {
            rate: learning_rate.into(),
            betas: (0.9, 0.999),
            eps: 1e-8,
            bias_correction: false,
            first: Moments::default(),
            second: Moments::default(),
        }
    }
    /// How much of the moments to keep.
    pub fn betas(self, first: f64, second: f64) -> Adam {
        Adam { betas: (first, second), ..self }
    }
    /// Added to the denominator.
    ///
    /// # Panics
    /// If it is negative.
    #[track_caller]
    pub fn eps(self, eps: f64) -> Adam {
        check("Adam", "eps", eps, eps >= 0.0);
        Adam { eps, ..self }
    }
    /// Corrects for the moments' starting at zero, as in the paper.
    pub fn bias_correction(self) -> Adam {
        Adam { bias_correction: true, ..self }
    }
}

impl Optimizer for Adam {
    has_rate! {}
    fn step(&mut self, place: &Place, gradient: &Array, parameter: &Array) -> Array {
        let ((beta1, beta2), dtype) = (self.betas, gradient.dtype());
        let (m, v) = (self.first.at(place, parameter), self.second.at(place, parameter));
        *m = average(beta1, m, gradient);
        *v = average(beta2, v, &gradient.square());
        let (mut rate, mut root) = (self.rate.like(gradient), v.sqrt());
        if self.bias_correction {
            rate = (&self.rate.value / missing(beta1, &self.rate.steps)).astype(dtype);
            root = root * missing(beta2, &self.rate.steps).rsqrt().astype(dtype);
        }
        parameter - rate * &*m / (root + self.eps)
    }
}

/// Adam with weight decay apart from the gradient (Loshchilov and Hutter, arXiv:1711.05101): w ← w − λ · weight_decay · w, then a step of
/// [`Adam`].
#[derive(Debug, Clone, Tree)]
pub struct AdamW {
    adam: Adam,
    weight_decay: f64,
}

impl AdamW {
    /// With a decay of 0.01, and the settings of [`Adam::new`].
    pub fn new(learning_rate: impl Into<Rate>) -> AdamW {
        Adam::new(learning_rate).into()
    }
    /// The decay.
    pub fn weight_decay(self, weight_decay: f64) -> AdamW {
        AdamW { weight_decay, ..self }
    }
}

/// With a decay of 0.01, and the settings of this Adam.
impl From<Adam> for AdamW {
    fn from(adam: Adam) -> AdamW {
        AdamW { adam, weight_decay: 0.01 }
    }
}

impl Optimizer for AdamW {
    fn rate(&self) -> &Rate {
        &self.adam.rate
    }
    fn rate_mut(&mut self) -> &mut Rate {
        &mut self.adam.rate
    }
    fn step(&mut self, place: &Place, gradient: &Array, parameter: &Array) -> Array {
        let decayed = parameter * (1 - self.rate().like(gradient) * self.weight_decay);
        self.adam.step(place, gradient, &decayed)
    }
}

/// Adamax: Adam with the maximum norm, without bias correction (Kingma and Ba, section 7): m ← β₁ m + (1 − β₁) g, v ← max(β₂ v, |g|),
/// w ← w − λ m / (v + eps).
#[derive(Debug, Clone, Tree)]
pub struct Adamax {
    rate: Rate,
    betas: (f64, f64),
    eps: f64,
    first: Moments,
    largest: Moments,
}

impl Adamax {
    /// With betas 0.9 and 0.999, eps 1e-8.
    pub fn new(learning_rate: impl Into<Rate>) -> Adamax {
        let (first, largest) = (Moments::default(), Moments::default());
        Adamax { rate: learning_rate.into(), betas: (0.9, 0.999), eps: 1e-8, first, largest }
    }
    /// How much of m and v to keep.
    pub fn betas(self, first: f64, second: f64) -> Adamax {
        Adamax { betas: (first, second), ..self }
    }
    /// Added to the denominator.
    ///
    /// # Panics
    /// If it is negative.
    #[track_caller]
    pub fn eps(self, eps: f64) -> Adamax {
        check("Adamax", "eps", eps, eps >= 0.0);
        Adamax { eps, ..self }
    }
}

impl Optimizer for Adamax {
    has_rate! {}
    fn step(&mut self, place: &Place, gradient: &Array, parameter: &Array) -> Array {
        let (beta1, beta2) = self.betas;
        let (m, v) = (self.first.at(place, parameter), self.largest.at(place, parameter));
        *m = average(beta1, m, gradient);
        *v = (beta2 * &*v).maximum(gradient.abs());
        parameter - self.rate.like(gradient) * &*m / (&*v + self.eps)
    }
}

/// Lion (Chen et al., arXiv:2302.06675), steps of ±λ by the sign of an averaged gradient: c = β₁ m + (1 − β₁) g, m ← β₂ m + (1 − β₂) g,
/// w ← w − λ (sign(c) + weight_decay · w).
///
/// The paper advises a λ 3 to 10 times smaller than for [`AdamW`], and a decay as much larger.
#[derive(Debug, Clone, Tree)]
pub struct Lion {
    rate: Rate,
    betas: (f64, f64),
    weight_decay: f64,
    first: Moments,
}

impl Lion {
    /// With betas 0.9 and 0.99, without decay.
    pub fn new(learning_rate: impl Into<Rate>) -> Lion {
        Lion { rate: learning_rate.into(), betas: (0.9, 0.99), weight_decay: 0.0, first: Moments::default() }
    }
    /// How much of the average to keep, for the step and for the next.
    pub fn betas(self, first: f64, second: f64) -> Lion {
        Lion { betas: (first, second), ..self }
    }
    /// The decay.
    pub fn weight_decay(self, weight_decay: f64) -> Lion {
        Lion { weight_decay, ..self }
    }
}

impl Optimizer for Lion {
    has_rate! {}
    fn step(&mut self, place: &Place, gradient: &Array, parameter: &Array) -> Array {
        let ((beta1, beta2), rate) = (self.betas, self.rate.like(gradient));
        let m = self.first.at(place, parameter);
        let sign = average(beta1, m, gradient).sign();
        *m = average(beta2, m, gradient);
        let w = match self.weight_decay > 0.0 {
            true => (1 - &rate * self.weight_decay) * parameter,
            false => parameter.clone(),
        };
        w - rate * sign
    }
}
