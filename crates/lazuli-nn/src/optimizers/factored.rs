//! Optimizers that see matrices as such: Adafactor and Muon.

use super::{Moments, Optimizer, Place, Rate, has_rate};
use crate::schedules::Schedule;
use lazuli_core::raise::must;
use lazuli_core::{Array, DType, Ellipsis, NewAxis, keep, ops};
use lazuli_derive::Tree;

/// Adafactor (Shazeer and Stern, arXiv:1804.04235): second moments of matrices are kept by rows and columns only.
#[derive(Debug, Clone, Tree)]
pub struct Adafactor {
    rate: Rate,
    eps: (f64, f64),
    clip_threshold: f64,
    decay_rate: f64,
    beta1: Option<f64>,
    weight_decay: f64,
    scale_parameter: bool,
    relative_step: bool,
    warmup: bool,
    rows: Moments,
    columns: Moments,
    whole: Moments,
    first: Moments,
}

impl Adafactor {
    /// With λ = 1/√t at step t, at most 0.01.
    pub fn new() -> Adafactor {
        Adafactor {
            rate: Schedule::Constant(0.0).into(),
            eps: (1e-30, 1e-3),
            clip_threshold: 1.0,
            decay_rate: -0.8,
            beta1: None,
            weight_decay: 0.0,
            scale_parameter: true,
            relative_step: true,
            warmup: false,
            rows: Moments::default(),
            columns: Moments::default(),
            whole: Moments::default(),
            first: Moments::default(),
        }
    }
    /// This λ in place of the relative step.
    pub fn with_rate(self, learning_rate: impl Into<Rate>) -> Adafactor {
        Adafactor { rate: learning_rate.into(), relative_step: false, ..self }
    }
    /// Added to the squared gradient (1e-30 by default), and the least scale of a parameter (1e-3).
    pub fn eps(self, square: f64, scale: f64) -> Adafactor {
        Adafactor { eps: (square, scale), ..self }
    }
    /// The largest root mean square of an update (1 by default).
    pub fn clip_threshold(self, clip_threshold: f64) -> Adafactor {
        Adafactor { clip_threshold, ..self }
    }
    /// At step t the second moments keep 1 − t^rate of themselves (−0.8 by default).
    pub fn decay_rate(self, decay_rate: f64) -> Adafactor {
        Adafactor { decay_rate, ..self }
    }
    /// Keeps a first moment too, and of it this much.
    pub fn beta1(self, beta1: f64) -> Adafactor {
        Adafactor { beta1: Some(beta1), ..self }
    }
    /// The decay.
    pub fn weight_decay(self, weight_decay: f64) -> Adafactor {
        Adafactor { weight_decay, ..self }
    }
    /// Does not scale λ by the parameter's root mean square.
    pub fn unscaled(self) -> Adafactor {
        Adafactor { scale_parameter: false, ..self }
    }
    /// Keeps the relative step below 10⁻⁶ t.
    pub fn warmup(self) -> Adafactor {
        Adafactor { warmup: true, ..self }
    }

    fn step_size(&self, parameter: &Array) -> Array {
        let mut rate = self.rate.value.clone();
        if self.relative_step {
            let step = self.rate.steps.astype(DType::F32);
            let inverse = step.rsqrt();
            rate = if self.warmup { (1e-6 * step).minimum(inverse) } else { must(ops::minimum(1e-2, inverse)) };
        }
        rate = rate.astype(parameter.dtype());
        match self.scale_parameter {
            true => rate * must(ops::maximum(self.eps.1, root_mean_square(parameter))),
            false => rate,
        }
    }

    /// The gradient divided by the root of the second moments, which are brought up to date.
    fn normalised(&mut self, place: &Place, gradient: &Array) -> Array {
        let kept = (1 - self.rate.steps.astype(DType::F32).power(self.decay_rate)).astype(gradient.dtype());
        let square = gradient.square() + self.eps.0;
        let average = |moments: &mut Moments, new: Array| {
            let m = moments.at(place, &new);
            *m = &kept * &*m + (1 - &kept) * new;
            m.clone()
        };
        if gradient.ndim() < 2 {
            return average(&mut self.whole, square).rsqrt() * gradient;
        }
        let row = average(&mut self.rows, square.mean(-1));
        let column = average(&mut self.columns, square.mean(-2));
        let row = (&row / row.mean(keep(-1))).rsqrt();
        row.index((Ellipsis, .., NewAxis)) * column.rsqrt().index((Ellipsis, NewAxis, ..)) * gradient
    }
}

impl Default for Adafactor {
    fn default() -> Self {
        Adafactor::new()
    }
}

impl Optimizer for Adafactor {
    has_rate! {}
    fn step(&mut self, place: &Place, gradient: &Array, parameter: &Array) -> Array {
        let size = self.step_size(parameter);
        let update = self.normalised(place, gradient);
        let excess = must(ops::maximum(1.0, root_mean_square(&update) / self.clip_threshold));
        let mut update = &size * (update / excess);
        if let Some(beta1) = self.beta1 {
            let m = self.first.at(place, parameter);
            *m = beta1 * &*m + (1.0 - beta1) * update;
            update = m.clone();
        }
        match self.weight_decay != 0.0 {
            true => parameter * (1 - self.weight_decay * size) - update,
            false => parameter - update,
        }
    }
}

fn root_mean_square(x: &Array) -> Array {
    x.square().mean(()).sqrt()
}

/// Muon (Jordan et al., kellerjordan.github.io/posts/muon, 2024), orthogonalised momentum: with g ← g + weight_decay · w and
/// v ← momentum · v + (1 − momentum) · g, steps by the orthogonal factor of v for matrices, scaled by √max(1, rows / columns), and by v
/// for vectors.
///
/// For embeddings, output layers and vectors use another optimizer (see [`Split`](super::Split)). Axes after the second count as one.
#[derive(Debug, Clone, Tree)]
pub struct Muon {
    rate: Rate,
    momentum: f64,
    weight_decay: f64,
    nesterov: bool,
    iterations: usize,
    velocity: Moments,
}

impl Muon {
    /// With momentum 0.95 (nesterov), a decay of 0.01 and 5 iterations.
    pub fn new(learning_rate: impl Into<Rate>) -> Muon {
        Muon {
            rate: learning_rate.into(),
            momentum: 0.95,
            weight_decay: 0.01,
            nesterov: true,
            iterations: 5,
            velocity: Moments::default(),
        }
    }
    /// How much of v to keep.
    pub fn momentum(self, momentum: f64) -> Muon {
        Muon { momentum, ..self }
    }
    /// Strength of the L2 penalty.
    pub fn weight_decay(self, weight_decay: f64) -> Muon {
        Muon { weight_decay, ..self }
    }
    /// Steps by v instead of (1 − momentum) · g + momentum · v.
    pub fn without_nesterov(self) -> Muon {
        Muon { nesterov: false, ..self }
    }
    /// Iterations of the orthogonalisation.
    pub fn iterations(self, iterations: usize) -> Muon {
        Muon { iterations, ..self }
    }
}

impl Optimizer for Muon {
    has_rate! {}
    fn step(&mut self, place: &Place, gradient: &Array, parameter: &Array) -> Array {
        let mut g = gradient.clone();
        if self.weight_decay != 0.0 {
            g = g + self.weight_decay * parameter;
        }
        let fresh = (1.0 - self.momentum) * g;
        let v = self.velocity.at(place, parameter);
        *v = self.momentum * &*v + &fresh;
        let mut update = if self.nesterov { fresh + self.momentum * &*v } else { v.clone() };
        let mut rate = self.rate.like(gradient);
        if update.ndim() >= 2 {
            let matrix = update.reshape((update.dim(0), -1));
            let aspect = matrix.shape()[0] as f64 / matrix.shape()[1] as f64;
            update = orthogonalised(&matrix, self.iterations).reshape(update.dims());
            rate = rate * aspect.max(1.0).sqrt();
        }
        parameter - rate * update
    }
}

/// Moves the singular values of a matrix near 1, by a quintic Newton-Schulz iteration.
///
/// The coefficients are from the article on Muon (see there): they trade exactness, values end up in about [0.7, 1.2], for fast growth
/// of small ones.
fn orthogonalised(x: &Array, iterations: usize) -> Array {
    let (a, b, c) = (3.4445, -4.7750, 2.0315);
    let tall = x.shape()[0] > x.shape()[1];
    let wide = if tall { x.t() } else { x.clone() };
    let mut wide = &wide / (wide.square().sum(()).sqrt() + 1e-7);
    for _ in 0..iterations {
        let gram = wide.matmul(&wide.t());
        wide = a * &wide + (b * &gram + (c * &gram).matmul(&gram)).matmul(&wide);
    }
    if tall { wide.t() } else { wide }
}
