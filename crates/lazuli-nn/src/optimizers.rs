//! Optimizers: λ is the learning rate, g the gradient, w the parameter.
//!
//! State is a tree: the learning rate and the moments are arrays, the other settings constants. Moments appear, as zeros, at the first
//! update: the structure grows once, which costs a compiled step one more trace. Parameters are the model's float arrays.

use lazuli_core::raise::must;
use lazuli_core::tree::{self, LeafMut};
use lazuli_core::{Array, Scalar, Tree, array, ops};
use lazuli_derive::Tree;

/// What updates a model by its gradient.
pub trait Optimizer: Tree {
    /// Moves each parameter of the model by its gradient, which is a tree of the model's structure.
    ///
    /// # Panics
    /// If the gradient has other arrays than the model.
    #[track_caller]
    fn update(&mut self, model: &mut impl Tree, gradient: &impl Tree)
    where
        Self: Sized,
    {
        let gradients = tree::arrays(gradient);
        assert_eq!(
            gradients.len(),
            tree::arrays(model).len(),
            "[update] the gradient must have the arrays of the model"
        );
        self.begin();
        let (mut gradients, mut index) = (gradients.iter(), 0);
        model.visit_mut(&mut |leaf| {
            if let LeafMut::Array(w) = leaf
                && let Some(g) = gradients.next()
                && w.dtype().is_float()
            {
                *w = self.step(index, g, w);
                index += 1;
            }
        });
    }
    /// Called once before the parameters are updated.
    fn begin(&mut self) {}
    /// The new value of the parameter with this number.
    fn step(&mut self, index: usize, gradient: &Array, parameter: &Array) -> Array;
}

/// The moment with this number, zeros at first.
fn moment<'a>(moments: &'a mut Vec<Array>, index: usize, like: &Array) -> &'a mut Array {
    if index == moments.len() {
        moments.push(must(ops::full_like(like, Scalar::zero(like.dtype()))));
    }
    &mut moments[index]
}

/// Stochastic gradient descent: with g ← g + weight_decay · w, v ← momentum · v + g and w ← w − λ v (nesterov: w − λ (g + momentum · v)).
#[derive(Debug, Clone, Tree)]
pub struct Sgd {
    pub learning_rate: Array,
    momentum: f32,
    weight_decay: f32,
    nesterov: bool,
    velocity: Vec<Array>,
}

impl Sgd {
    /// Without momentum and decay.
    pub fn new(learning_rate: f32) -> Sgd {
        let learning_rate = array(learning_rate);
        Sgd { learning_rate, momentum: 0.0, weight_decay: 0.0, nesterov: false, velocity: Vec::new() }
    }
    /// How much of the last velocity to keep.
    pub fn momentum(self, momentum: f32) -> Sgd {
        Sgd { momentum, ..self }
    }
    /// Strength of the L2 penalty.
    pub fn weight_decay(self, weight_decay: f32) -> Sgd {
        Sgd { weight_decay, ..self }
    }
    /// Looks ahead.
    ///
    /// # Panics
    /// Without a momentum above 0.
    #[track_caller]
    pub fn nesterov(self) -> Sgd {
        assert!(self.momentum > 0.0, "[Sgd] nesterov needs a momentum above 0: set it before");
        Sgd { nesterov: true, ..self }
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, index: usize, gradient: &Array, parameter: &Array) -> Array {
        let rate = self.learning_rate.astype(gradient.dtype());
        let mut g = gradient.clone();
        if self.weight_decay != 0.0 {
            g = g + self.weight_decay * parameter;
        }
        if self.momentum <= 0.0 {
            return parameter - rate * g;
        }
        let v = moment(&mut self.velocity, index, parameter);
        *v = self.momentum * &*v + &g;
        parameter - rate * if self.nesterov { g + self.momentum * &*v } else { v.clone() }
    }
}

/// Adam (Kingma and Ba, arXiv:1412.6980): m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², w ← w − λ m / (√v + eps), with m and v divided by
/// 1 − β₁ᵗ and 1 − β₂ᵗ at step t if the bias is corrected (not by default).
#[derive(Debug, Clone, Tree)]
pub struct Adam {
    pub learning_rate: Array,
    betas: (f64, f64),
    eps: f64,
    bias_correction: bool,
    /// Steps so far, float32.
    steps: Array,
    first: Vec<Array>,
    second: Vec<Array>,
}

impl Adam {
    /// With betas 0.9 and 0.999, eps 1e-8.
    pub fn new(learning_rate: f32) -> Adam {
        Adam {
            learning_rate: array(learning_rate),
            betas: (0.9, 0.999),
            eps: 1e-8,
            bias_correction: false,
            steps: array(0.0),
            first: Vec::new(),
            second: Vec::new(),
        }
    }
    /// How much of the moments to keep.
    pub fn betas(self, first: f64, second: f64) -> Adam {
        Adam { betas: (first, second), ..self }
    }
    /// Added to the denominator.
    pub fn eps(self, eps: f64) -> Adam {
        Adam { eps, ..self }
    }
    /// Corrects for the moments' starting at zero, as in the paper.
    pub fn bias_correction(self) -> Adam {
        Adam { bias_correction: true, ..self }
    }
}

impl Optimizer for Adam {
    fn begin(&mut self) {
        self.steps = &self.steps + 1.0f32;
    }
    fn step(&mut self, index: usize, gradient: &Array, parameter: &Array) -> Array {
        let (beta1, beta2) = self.betas;
        let dtype = gradient.dtype();
        let m = moment(&mut self.first, index, parameter);
        *m = beta1 * &*m + (1.0 - beta1) * gradient;
        let v = moment(&mut self.second, index, parameter);
        *v = beta2 * &*v + (1.0 - beta2) * gradient.square();
        let (mut rate, mut root) = (self.learning_rate.astype(dtype), v.sqrt());
        if self.bias_correction {
            let left = |beta: f64| 1.0f32 - array(beta as f32).power(&self.steps);
            rate = (&self.learning_rate / left(beta1)).astype(dtype);
            root = root * left(beta2).rsqrt().astype(dtype);
        }
        parameter - rate * &self.first[index] / (root + self.eps)
    }
}

/// Adam with weight decay apart from the gradient (Loshchilov and Hutter, arXiv:1711.05101): w ← w − λ · weight_decay · w, then a step of
/// [`Adam`].
#[derive(Debug, Clone, Tree)]
pub struct AdamW {
    /// The Adam that takes the step.
    pub adam: Adam,
    weight_decay: f64,
}

impl AdamW {
    /// With a decay of 0.01.
    pub fn new(learning_rate: f32) -> AdamW {
        AdamW { adam: Adam::new(learning_rate), weight_decay: 0.01 }
    }
    /// The decay.
    pub fn weight_decay(self, weight_decay: f64) -> AdamW {
        AdamW { weight_decay, ..self }
    }
}

impl Optimizer for AdamW {
    fn begin(&mut self) {
        self.adam.begin();
    }
    fn step(&mut self, index: usize, gradient: &Array, parameter: &Array) -> Array {
        let rate = self.adam.learning_rate.astype(gradient.dtype());
        let decayed = parameter * (1.0f32 - rate * self.weight_decay);
        self.adam.step(index, gradient, &decayed)
    }
}
