//! Gradient descent, plain and scaled by sums of squares.

use super::{Moments, Optimizer, Place, Rate, check, has_rate};
use lazuli_core::raise::must;
use lazuli_core::{Array, Error};
use lazuli_derive::Tree;

/// Stochastic gradient descent, with momentum (Sutskever et al., ICML 2013): with g ← g + weight_decay · w, v ← momentum · v +
/// (1 − dampening) · g and w ← w − λ v (nesterov: w − λ (g + momentum · v)).
///
/// ```
/// use lazuli_nn::optimizers::Sgd;
/// let optimizer = Sgd::new(0.1).momentum(0.9).weight_decay(1e-4).nesterov();
/// ```
#[derive(Debug, Clone, Tree)]
pub struct Sgd {
    rate: Rate,
    momentum: f64,
    weight_decay: f64,
    dampening: f64,
    nesterov: bool,
    velocity: Moments,
}

impl Sgd {
    /// Without momentum and decay.
    pub fn new(learning_rate: impl Into<Rate>) -> Sgd {
        let (rate, velocity) = (learning_rate.into(), Moments::default());
        Sgd { rate, momentum: 0.0, weight_decay: 0.0, dampening: 0.0, nesterov: false, velocity }
    }
    /// How much of the last velocity to keep.
    pub fn momentum(self, momentum: f64) -> Sgd {
        Sgd { momentum, ..self }
    }
    /// Strength of the L2 penalty.
    pub fn weight_decay(self, weight_decay: f64) -> Sgd {
        Sgd { weight_decay, ..self }
    }
    /// How much of the gradient to leave out of the velocity.
    pub fn dampening(self, dampening: f64) -> Sgd {
        Sgd { dampening, ..self }
    }
    /// Looks ahead.
    ///
    /// # Panics
    /// Without a momentum above 0, or with dampening.
    #[track_caller]
    pub fn nesterov(self) -> Sgd {
        if self.momentum <= 0.0 || self.dampening != 0.0 {
            must(Err(Error::value("Sgd", "nesterov needs a momentum above 0 and no dampening: set it before")))
        }
        Sgd { nesterov: true, ..self }
    }
}

impl Optimizer for Sgd {
    has_rate! {}
    fn step(&mut self, place: &Place, gradient: &Array, parameter: &Array) -> Array {
        let rate = self.rate.like(gradient);
        let mut g = gradient.clone();
        if self.weight_decay != 0.0 {
            g = g + self.weight_decay * parameter;
        }
        if self.momentum <= 0.0 {
            return parameter - rate * g;
        }
        let fresh = if self.dampening > 0.0 { (1.0 - self.dampening) * &g } else { g.clone() };
        let v = self.velocity.at(place, parameter);
        *v = self.momentum * &*v + fresh;
        parameter - rate * if self.nesterov { g + self.momentum * &*v } else { v.clone() }
    }
}

/// RMSprop (Tieleman and Hinton, Coursera lecture 6.5, 2012): v ← alpha · v + (1 − alpha) · g², w ← w − λ g / (√v + eps).
#[derive(Debug, Clone, Tree)]
pub struct RmsProp {
    rate: Rate,
    alpha: f64,
    eps: f64,
    squares: Moments,
}

impl RmsProp {
    /// With alpha 0.99 and eps 1e-8.
    pub fn new(learning_rate: impl Into<Rate>) -> RmsProp {
        RmsProp { rate: learning_rate.into(), alpha: 0.99, eps: 1e-8, squares: Moments::default() }
    }
    /// How much of v to keep.
    ///
    /// # Panics
    /// If it is negative.
    #[track_caller]
    pub fn alpha(self, alpha: f64) -> RmsProp {
        check("RmsProp", "alpha", alpha, alpha >= 0.0);
        RmsProp { alpha, ..self }
    }
    /// Added to the denominator.
    ///
    /// # Panics
    /// If it is negative.
    #[track_caller]
    pub fn eps(self, eps: f64) -> RmsProp {
        check("RmsProp", "eps", eps, eps >= 0.0);
        RmsProp { eps, ..self }
    }
}

impl Optimizer for RmsProp {
    has_rate! {}
    fn step(&mut self, place: &Place, gradient: &Array, parameter: &Array) -> Array {
        let v = self.squares.at(place, parameter);
        *v = self.alpha * &*v + (1.0 - self.alpha) * gradient.square();
        parameter - self.rate.like(gradient) * gradient / (v.sqrt() + self.eps)
    }
}

/// Adagrad (Duchi et al., JMLR 12 (2011), 2121): v ← v + g², w ← w − λ g / (√v + eps).
#[derive(Debug, Clone, Tree)]
pub struct Adagrad {
    rate: Rate,
    eps: f64,
    squares: Moments,
}

impl Adagrad {
    /// With eps 1e-8.
    pub fn new(learning_rate: impl Into<Rate>) -> Adagrad {
        Adagrad { rate: learning_rate.into(), eps: 1e-8, squares: Moments::default() }
    }
    /// Added to the denominator.
    ///
    /// # Panics
    /// If it is negative.
    #[track_caller]
    pub fn eps(self, eps: f64) -> Adagrad {
        check("Adagrad", "eps", eps, eps >= 0.0);
        Adagrad { eps, ..self }
    }
}

impl Optimizer for Adagrad {
    has_rate! {}
    fn step(&mut self, place: &Place, gradient: &Array, parameter: &Array) -> Array {
        let v = self.squares.at(place, parameter);
        *v = &*v + gradient.square();
        parameter - self.rate.like(gradient) * gradient / (v.sqrt() + self.eps)
    }
}

/// AdaDelta (Zeiler, arXiv:1212.5701): with averages v of g² and u of d², v ← rho · v + (1 − rho) · g²,
/// d = g · √(u + eps) / √(v + eps), u ← rho · u + (1 − rho) · d² and w ← w − λ d.
#[derive(Debug, Clone, Tree)]
pub struct AdaDelta {
    rate: Rate,
    rho: f64,
    eps: f64,
    squares: Moments,
    deltas: Moments,
}

impl AdaDelta {
    /// With rho 0.9 and eps 1e-6.
    pub fn new(learning_rate: impl Into<Rate>) -> AdaDelta {
        let (squares, deltas) = (Moments::default(), Moments::default());
        AdaDelta { rate: learning_rate.into(), rho: 0.9, eps: 1e-6, squares, deltas }
    }
    /// How much of the averages to keep.
    ///
    /// # Panics
    /// If it is negative.
    #[track_caller]
    pub fn rho(self, rho: f64) -> AdaDelta {
        check("AdaDelta", "rho", rho, rho >= 0.0);
        AdaDelta { rho, ..self }
    }
    /// Added under the roots.
    ///
    /// # Panics
    /// If it is negative.
    #[track_caller]
    pub fn eps(self, eps: f64) -> AdaDelta {
        check("AdaDelta", "eps", eps, eps >= 0.0);
        AdaDelta { eps, ..self }
    }
}

impl Optimizer for AdaDelta {
    has_rate! {}
    fn step(&mut self, place: &Place, gradient: &Array, parameter: &Array) -> Array {
        let (v, u) = (self.squares.at(place, parameter), self.deltas.at(place, parameter));
        *v = self.rho * &*v + (1.0 - self.rho) * gradient.square();
        let d = (&*u + self.eps).sqrt() / (&*v + self.eps).sqrt() * gradient;
        *u = self.rho * &*u + (1.0 - self.rho) * d.square();
        parameter - self.rate.like(gradient) * d
    }
}
