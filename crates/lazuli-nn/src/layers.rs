//! Layers.

use crate::{Module, Training, activations, init};
use lazuli_core::raise::must;
use lazuli_core::tree::{Constant, Leaf, LeafMut};
use lazuli_core::{Array, DType, Tree, ops, random};
use lazuli_derive::Tree;

/// An affine map of the last axis: `x · weightᵀ + bias`, from `(…, input)` to `(…, output)`.
///
/// `weight` is `(output, input)`, `bias` `(output,)`; both start uniform in ±1/√input.
///
/// ```
/// use lazuli_nn::{Linear, Module};
/// use lazuli_core::array;
/// assert_eq!(Linear::new(2, 3).forward(&array([[1.0, 2.0]])).shape(), [1, 3]);
/// ```
#[derive(Debug, Clone, Tree)]
pub struct Linear {
    pub weight: Array,
    pub bias: Option<Array>,
}

impl Linear {
    /// A layer with random weights and biases.
    pub fn new(input: usize, output: usize) -> Linear {
        let bound = (1.0 / input as f64).sqrt();
        let weight = init::uniform(&[output, input], bound);
        Linear { weight, bias: Some(init::uniform(&[output], bound)) }
    }
    /// The layer without its bias.
    pub fn without_bias(self) -> Linear {
        Linear { bias: None, ..self }
    }
}

impl Module for Linear {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        let y = x.matmul(&self.weight.t());
        match &self.bias {
            Some(bias) => y + bias,
            None => y,
        }
    }
}

/// A vector for each integer below a count: rows of `weight`, which starts normal with variance 1/dims.
#[derive(Debug, Clone, Tree)]
pub struct Embedding {
    pub weight: Array,
}

impl Embedding {
    /// `count` random vectors of length `dims`.
    pub fn new(count: usize, dims: usize) -> Embedding {
        Embedding { weight: init::normal(&[count, dims], (1.0 / dims as f64).sqrt()) }
    }
}

impl Module for Embedding {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        self.weight.take(x, 0)
    }
}

/// Normalises over the last axis, then scales by `weight` and shifts by `bias` (ones and zeros at first).
#[derive(Debug, Clone, Tree)]
pub struct LayerNorm {
    pub weight: Array,
    pub bias: Array,
    /// Added to the variance.
    pub eps: f64,
}

impl LayerNorm {
    /// For a last axis of length `dims`, with eps 1e-5.
    pub fn new(dims: usize) -> LayerNorm {
        let (weight, bias) = (must(ops::ones([dims], DType::F32)), must(ops::zeros([dims], DType::F32)));
        LayerNorm { weight, bias, eps: 1e-5 }
    }
}

impl Module for LayerNorm {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        must(ops::layer_norm(x, Some(&self.weight), Some(&self.bias), self.eps))
    }
}

/// In training, zeroes each element with probability `p` and scales the others by 1/(1 − p); else the identity.
///
/// It draws from the calling thread's random key. A compiled step keeps that in its state and runs the model within
/// [`random::using`], or the same elements would be zeroed at every call.
#[derive(Debug, Clone, Tree)]
pub struct Dropout {
    keep: f64,
    pub training: Training,
}

impl Dropout {
    /// # Panics
    /// If `p` is not in [0, 1).
    #[track_caller]
    pub fn new(p: f64) -> Dropout {
        assert!((0.0..1.0).contains(&p), "[Dropout] probability p must be in [0, 1), got {p}");
        Dropout { keep: 1.0 - p, training: Training(true) }
    }
}

impl Module for Dropout {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        if self.keep == 1.0 || !self.training.0 {
            return x.clone();
        }
        let kept = must(random::next_key().and_then(|key| random::bernoulli(self.keep, x.dims(), &key)));
        kept * x * (1.0 / self.keep)
    }
}

/// Modules one after the other.
///
/// ```
/// use lazuli_nn::{Activation, Linear, Module, Sequential, activations};
/// use lazuli_core::array;
/// let model = Sequential::new()
///     .then(Linear::new(2, 8))
///     .then(Activation(activations::relu))
///     .then(Linear::new(8, 1));
/// assert_eq!(model.forward(&array([[1.0, 2.0]])).shape(), [1, 1]);
/// ```
#[derive(Debug, Clone, Default, Tree)]
pub struct Sequential(pub Vec<Box<dyn Module>>);

impl Sequential {
    /// No modules: the identity.
    pub fn new() -> Sequential {
        Sequential::default()
    }
    /// With one more module at the end.
    pub fn then(mut self, module: impl Module) -> Sequential {
        self.0.push(Box::new(module));
        self
    }
}

impl Module for Sequential {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        self.0.iter().fold(x.clone(), |x, module| module.forward(&x))
    }
}

/// A function without parameters as a module.
#[derive(Debug, Clone, Copy)]
pub struct Activation(pub fn(&Array) -> Array);

impl Activation {
    /// [`activations::relu`].
    pub const RELU: Activation = Activation(activations::relu);
    /// [`activations::gelu`].
    pub const GELU: Activation = Activation(activations::gelu);
}

/// A constant, by the function's address: equal addresses are equal code.
impl Tree for Activation {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(Leaf<'a>)) {
        f(Leaf::Constant(Constant::new::<Activation>(&(self.0 as usize).to_le_bytes())));
    }
    fn visit_mut(&mut self, f: &mut dyn FnMut(LeafMut<'_>)) {
        f(LeafMut::Constant(self));
    }
}

impl Module for Activation {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        (self.0)(x)
    }
}
