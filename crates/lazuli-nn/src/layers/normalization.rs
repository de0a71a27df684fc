//! Normalisation: subtract a mean, divide by a standard deviation, scale and shift.
//!
//! Channels are the last axis. Statistics and normalised values of f16 and bf16 inputs are computed in float32; the output has the
//! promoted dtype of input and parameters. Variances divide by n (not n − 1), except in the running estimate of [`BatchNorm`].

use crate::activations::widen;
use crate::{Module, Param, Training};
use lazuli_core::raise::must;
use lazuli_core::{Array, Axes, DType, Error, Operand, keep};
use lazuli_derive::Tree;

#[track_caller]
fn standardised(x: &Array, axes: impl Axes + Copy, eps: f64) -> Array {
    let (mean, variance) = (x.mean(keep(axes)), x.var(keep(axes)));
    (x - mean) * (variance + eps).rsqrt()
}

/// That the layer takes the features of an input: others might broadcast.
#[track_caller]
fn check_features(layer: &str, x: &Array, parameter: &Array) {
    if x.ndim() == 0 || x.dim(-1) != parameter.dim(0) {
        let (dims, shape) = (parameter.shape()[0], x.shape());
        must(Err(Error::value(layer, format!("takes an array of shape [.., {dims}], not one of shape {shape:?}"))))
    }
}

/// What is made of the input `x`, scaled and shifted; of the dtype of `x`, unless a parameter has another.
#[track_caller]
fn affine(layer: &str, x: &Array, y: Array, weight: &Option<Param>, bias: &Option<Param>) -> Array {
    weight.iter().chain(bias).for_each(|parameter| check_features(layer, x, parameter));
    let dtype = x.dtype();
    let (mut y, mut narrow) = (y, dtype);
    if let Some(weight) = weight {
        y = y * weight;
        narrow = if Operand::dtype(weight) == Some(dtype) { narrow } else { y.dtype() };
    }
    if let Some(bias) = bias {
        y = y + bias;
        narrow = if Operand::dtype(bias) == Some(dtype) { narrow } else { y.dtype() };
    }
    y.astype(narrow)
}

fn ones(dims: usize) -> Option<Param> {
    Some(Array::ones([dims], DType::F32).into())
}

fn zeros(dims: usize) -> Option<Param> {
    Some(Array::zeros([dims], DType::F32).into())
}

macro_rules! settings {
    ($name:ident) => {
        impl $name {
            /// Adds this to the variance.
            pub fn eps(self, eps: f64) -> $name {
                $name { eps, ..self }
            }
        }
    };
    ($name:ident affine) => {
        settings! { $name }
        impl $name {
            /// Neither scales nor shifts.
            pub fn without_affine(self) -> $name {
                $name { weight: None, bias: None, ..self }
            }
        }
    };
}

/// Normalises over the last axis: (x − mean) / √(var + eps) · weight + bias (Ba et al., arXiv:1607.06450).
///
/// ```
/// use lazuli_core::array;
/// use lazuli_nn::{LayerNorm, Module};
/// let y = LayerNorm::new(2).forward(&array([[1.0, 3.0]]));
/// assert!(y.allclose(&array([[-0.999995, 0.999995]])));
/// ```
#[derive(Debug, Clone, Tree)]
pub struct LayerNorm {
    /// `(dims,)`; ones at first.
    pub weight: Option<Param>,
    /// `(dims,)`; zeros at first.
    pub bias: Option<Param>,
    eps: f64,
}

impl LayerNorm {
    /// For a last axis of length `dims`, with eps 1e-5.
    pub fn new(dims: usize) -> LayerNorm {
        LayerNorm { weight: ones(dims), bias: zeros(dims), eps: 1e-5 }
    }
    /// Scales without shifting.
    pub fn without_bias(self) -> LayerNorm {
        LayerNorm { bias: None, ..self }
    }
}

settings! { LayerNorm affine }

impl Module for LayerNorm {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        affine("LayerNorm", x, standardised(&widen(x), -1, self.eps), &self.weight, &self.bias)
    }
}

/// Divides by the root mean square of the last axis: x / √(mean(x²) + eps) · weight (Zhang and Sennrich, arXiv:1910.07467).
#[derive(Debug, Clone, Tree)]
pub struct RmsNorm {
    /// `(dims,)`; ones at first.
    pub weight: Option<Param>,
    eps: f64,
}

impl RmsNorm {
    /// For a last axis of length `dims`, with eps 1e-5.
    pub fn new(dims: usize) -> RmsNorm {
        RmsNorm { weight: ones(dims), eps: 1e-5 }
    }
}

settings! { RmsNorm }

impl Module for RmsNorm {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        let wide = widen(x);
        let power = wide.square().mean(keep(-1));
        affine("RmsNorm", x, wide * (power + self.eps).rsqrt(), &self.weight, &None)
    }
}

/// Normalises each channel of each example over its positions, `(N, …, dims)` (Ulyanov et al., arXiv:1607.08022).
#[derive(Debug, Clone, Tree)]
pub struct InstanceNorm {
    /// `(dims,)`, ones at first; none unless asked for.
    pub weight: Option<Param>,
    /// `(dims,)`, zeros at first; none unless asked for.
    pub bias: Option<Param>,
    eps: f64,
}

impl InstanceNorm {
    /// With eps 1e-5.
    pub fn new() -> InstanceNorm {
        InstanceNorm { weight: None, bias: None, eps: 1e-5 }
    }
    /// Scales and shifts `dims` channels.
    pub fn affine(self, dims: usize) -> InstanceNorm {
        InstanceNorm { weight: ones(dims), bias: zeros(dims), ..self }
    }
}

impl Default for InstanceNorm {
    fn default() -> Self {
        InstanceNorm::new()
    }
}

settings! { InstanceNorm }

impl Module for InstanceNorm {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        if x.ndim() < 3 {
            must(Err(Error::value("InstanceNorm", format!("expected shape (N, …, dims), got {:?}", x.shape()))))
        }
        let positions: Vec<isize> = (1..x.ndim() as isize - 1).collect();
        affine("InstanceNorm", x, standardised(&widen(x), &positions[..], self.eps), &self.weight, &self.bias)
    }
}

/// Normalises each group of channels of each example over positions and group, `(N, …, dims)` (Wu and He, arXiv:1803.08494).
///
/// Group g is the channels that are g modulo the number of groups, as in MLX; see [`pytorch`](Self::pytorch).
#[derive(Debug, Clone, Tree)]
pub struct GroupNorm {
    /// `(dims,)`; ones at first.
    pub weight: Option<Param>,
    /// `(dims,)`; zeros at first.
    pub bias: Option<Param>,
    groups: usize,
    dims: usize,
    eps: f64,
    consecutive: bool,
}

impl GroupNorm {
    /// With eps 1e-5.
    ///
    /// # Panics
    /// If the number of groups does not divide that of channels.
    #[track_caller]
    pub fn new(groups: usize, dims: usize) -> GroupNorm {
        if groups == 0 || !dims.is_multiple_of(groups) {
            must(Err(Error::value("GroupNorm", format!("{groups} groups do not divide {dims} channels evenly"))))
        }
        GroupNorm { weight: ones(dims), bias: zeros(dims), groups, dims, eps: 1e-5, consecutive: false }
    }
    /// Makes a group a run of consecutive channels, as in PyTorch.
    pub fn pytorch(self) -> GroupNorm {
        GroupNorm { consecutive: true, ..self }
    }
}

settings! { GroupNorm affine }

impl Module for GroupNorm {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        let (groups, size) = (self.groups as isize, (self.dims / self.groups) as isize);
        let (split, reduced) = if self.consecutive { ([groups, size], [1, 3]) } else { ([size, groups], [1, 2]) };
        let grouped = widen(x).reshape((x.dim(0), -1, split[0], split[1]));
        let y = standardised(&grouped, reduced, self.eps).reshape(x.dims());
        affine("GroupNorm", x, y, &self.weight, &self.bias)
    }
}

/// Normalises each channel over batch and positions, `(N, C)`, `(N, L, C)` or `(N, H, W, C)` (Ioffe and Szegedy, arXiv:1502.03167).
///
/// In training with the statistics of the input, in evaluation with the running ones, which are state: fixed arrays that no gradient is
/// taken by. `forward` does not change them; [`observe`](Self::observe) does.
///
/// ```
/// use lazuli_core::array;
/// use lazuli_nn::{BatchNorm, Module, Parameters};
/// let (mut layer, x) = (BatchNorm::new(1), array([[1.0], [3.0]]));
/// let y = layer.forward(&x);
/// layer.observe(&x);
/// assert!(y.allclose(&array([[-0.999995], [0.999995]])));
/// assert!(layer.running_mean.as_ref().unwrap().allclose(&array([0.2])));
/// assert_eq!(layer.trainable().len(), 2);
/// ```
#[derive(Debug, Clone, Tree)]
pub struct BatchNorm {
    /// `(features,)`; ones at first.
    pub weight: Option<Param>,
    /// `(features,)`; zeros at first.
    pub bias: Option<Param>,
    /// `(features,)`; zeros at first. None if statistics are not tracked.
    #[tree(fixed)]
    pub running_mean: Option<Array>,
    /// `(features,)`; ones at first.
    #[tree(fixed)]
    pub running_var: Option<Array>,
    eps: f64,
    momentum: f64,
    /// Which statistics are used.
    pub training: Training,
}

impl BatchNorm {
    /// With eps 1e-5 and momentum 0.1.
    pub fn new(features: usize) -> BatchNorm {
        BatchNorm {
            weight: ones(features),
            bias: zeros(features),
            running_mean: Some(Array::zeros([features], DType::F32)),
            running_var: Some(Array::ones([features], DType::F32)),
            eps: 1e-5,
            momentum: 0.1,
            training: Training(true),
        }
    }
    /// The weight of the newest statistics in the running ones.
    pub fn momentum(self, momentum: f64) -> BatchNorm {
        BatchNorm { momentum, ..self }
    }
    /// Uses the statistics of the input in evaluation too.
    pub fn without_running_stats(self) -> BatchNorm {
        BatchNorm { running_mean: None, running_var: None, ..self }
    }
    /// Mean and variance over all axes but the last.
    #[track_caller]
    fn statistics(wide: &Array) -> (Array, Array) {
        let others: Vec<isize> = (0..wide.ndim() as isize - 1).collect();
        (wide.mean(&others[..]), wide.var(&others[..]))
    }
    #[track_caller]
    fn check(&self, x: &Array) {
        if !(2..=4).contains(&x.ndim()) {
            let message = format!("expected an input of 2, 3 or 4 axes, got shape {:?}", x.shape());
            must(Err(Error::value("BatchNorm", message)))
        }
        self.running_mean.iter().for_each(|mean| check_features("BatchNorm", x, mean));
        if self.training.0 && x.shape()[..x.ndim() - 1].iter().product::<usize>() == 1 {
            let message = format!("training needs more than one value per channel, got shape {:?}", x.shape());
            must(Err(Error::value("BatchNorm", message)))
        }
    }
    /// In training, moves the running statistics towards those of this input, whose variance divides by n − 1.
    ///
    /// # Panics
    /// As [`forward`](Module::forward): if the input has not 2, 3 or 4 axes, other features, or a single value per channel.
    #[track_caller]
    pub fn observe(&mut self, x: &Array) {
        self.check(x);
        let (true, Some(running_mean), Some(running_var)) =
            (self.training.0, &mut self.running_mean, &mut self.running_var)
        else {
            return;
        };
        let count = (x.size() / x.shape()[x.ndim() - 1]) as f64;
        let (mean, variance) = BatchNorm::statistics(&widen(x));
        let m = self.momentum;
        *running_mean = (1.0 - m) * &*running_mean + m * mean;
        *running_var = (1.0 - m) * &*running_var + m * (variance * (count / (count - 1.0)));
    }
}

settings! { BatchNorm affine }

impl Module for BatchNorm {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        self.check(x);
        let wide = widen(x);
        let (mean, variance) = match (&self.running_mean, &self.running_var) {
            (Some(mean), Some(variance)) if !self.training.0 => (mean.clone(), variance.clone()),
            _ => BatchNorm::statistics(&wide),
        };
        affine("BatchNorm", x, (wide - mean) * (variance + self.eps).rsqrt(), &self.weight, &self.bias)
    }
}
