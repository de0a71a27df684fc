//! Linear maps, table look-up, and modules one after the other.

use crate::{Module, Param, init};
use lazuli_core::raise::must;
use lazuli_core::{Array, Ellipsis, NewAxis, ops};
use lazuli_derive::Tree;

/// Returns its input.
#[derive(Debug, Clone, Copy, Default, Tree)]
pub struct Identity;

impl Module for Identity {
    fn forward(&self, x: &Array) -> Array {
        x.clone()
    }
}

/// An affine map of the last axis: `x · weightᵀ + bias`, from `(…, input)` to `(…, output)`.
///
/// ```
/// use lazuli_nn::{Linear, Module};
/// use lazuli_core::array;
/// assert_eq!(Linear::new(2, 3).forward(&array([[1.0, 2.0]])).shape(), [1, 3]);
/// ```
#[derive(Debug, Clone, Tree)]
pub struct Linear {
    /// `(output, input)`; uniform in ±1/√input at first.
    pub weight: Param,
    /// `(output,)`; uniform in ±1/√input at first.
    pub bias: Option<Param>,
}

impl Linear {
    /// A layer with random weights and biases.
    pub fn new(input: usize, output: usize) -> Linear {
        let k = (1.0 / input as f64).sqrt();
        let weight = init::uniform(-k, k, [output, input]).into();
        Linear { weight, bias: Some(init::uniform(-k, k, [output]).into()) }
    }
    /// The layer without its bias.
    pub fn without_bias(self) -> Linear {
        Linear { bias: None, ..self }
    }
}

/// Adds the bias, if there is one.
#[track_caller]
fn shifted(y: Array, bias: &Option<Param>) -> Array {
    match bias {
        Some(bias) => y + bias,
        None => y,
    }
}

impl Module for Linear {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        shifted(x.matmul(&self.weight.t()), &self.bias)
    }
}

/// A bilinear map of the last axes of two inputs: y\[i\] = x₂ · weight\[i\] · x₁ + bias\[i\], from `(…, input1)` and `(…, input2)` to
/// `(…, output)`.
///
/// ```
/// use lazuli_nn::Bilinear;
/// use lazuli_core::{Array, DType};
/// let (x, y) = (Array::ones([4, 2], DType::F32), Array::ones([4, 3], DType::F32));
/// assert_eq!(Bilinear::new(2, 3, 5).forward(&x, &y).shape(), [4, 5]);
/// ```
#[derive(Debug, Clone, Tree)]
pub struct Bilinear {
    /// `(output, input2, input1)`; uniform in ±1/√input1 at first.
    pub weight: Param,
    /// `(output,)`; uniform in ±1/√input1 at first.
    pub bias: Option<Param>,
}

impl Bilinear {
    /// A layer with random weights and biases.
    pub fn new(input1: usize, input2: usize, output: usize) -> Bilinear {
        let k = (1.0 / input1 as f64).sqrt();
        let weight = init::uniform(-k, k, [output, input2, input1]).into();
        Bilinear { weight, bias: Some(init::uniform(-k, k, [output]).into()) }
    }
    /// The layer without its bias.
    pub fn without_bias(self) -> Bilinear {
        Bilinear { bias: None, ..self }
    }
    /// The layer's output for two inputs.
    ///
    /// # Panics
    /// If a last axis has not the extent that the layer was made for, or the others do not broadcast.
    #[track_caller]
    pub fn forward(&self, x1: &Array, x2: &Array) -> Array {
        // One product for all outputs: (…, input1) times (input1, output · input2).
        let flat = x1.matmul(&self.weight.flatten(0..=1).t());
        let rows = flat.unflatten(-1, [self.weight.dim(0), self.weight.dim(1)]);
        let y = rows.matmul(&x2.index((Ellipsis, NewAxis)));
        shifted(must(ops::squeeze(&y, Some(&[-1]))), &self.bias)
    }
}

/// A vector for each integer below a count: from integers of shape `s` to `s + (dims,)`.
///
/// ```
/// use lazuli_nn::{Embedding, Module};
/// use lazuli_core::array;
/// assert_eq!(Embedding::new(10, 4).forward(&array([[1, 2, 3]])).shape(), [1, 3, 4]);
/// ```
#[derive(Debug, Clone, Tree)]
pub struct Embedding {
    /// `(count, dims)`; normal with variance 1/dims at first.
    pub weight: Param,
}

impl Embedding {
    /// `count` random vectors of length `dims`.
    pub fn new(count: usize, dims: usize) -> Embedding {
        Embedding { weight: init::normal(0.0, (1.0 / dims as f64).sqrt(), [count, dims]).into() }
    }
    /// `x · weightᵀ`, the scores of all vectors: an output layer with tied weight.
    ///
    /// # Panics
    /// If the last axis of `x` is not of `dims`.
    #[track_caller]
    pub fn as_linear(&self, x: &Array) -> Array {
        x.matmul(&self.weight.t())
    }
}

impl Module for Embedding {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        self.weight.index(x)
    }
}

/// Modules one after the other.
///
/// ```
/// use lazuli_nn::{Activation, Linear, Module, Sequential};
/// use lazuli_core::array;
/// let model = Sequential::new().then(Linear::new(2, 8)).then(Activation::RELU).then(Linear::new(8, 1));
/// assert_eq!(model.forward(&array([[1.0, 2.0]])).shape(), [1, 1]);
/// ```
#[derive(Debug, Clone, Default, Tree)]
pub struct Sequential {
    /// What is applied, in order.
    pub layers: Vec<Box<dyn Module>>,
}

impl Sequential {
    /// No modules: the identity.
    pub fn new() -> Sequential {
        Sequential::default()
    }
    /// With one more module at the end.
    pub fn then(mut self, module: impl Module) -> Sequential {
        self.layers.push(Box::new(module));
        self
    }
}

impl Module for Sequential {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        self.layers.forward(x)
    }
}
