//! Activation functions: plain compositions of array operations, elementwise unless an axis is named; and the modules that apply them.
//!
//! None is compiled in advance; within a compiled function all of them fuse. Those without parameters are modules as constants of
//! [`Activation`], the others as structs.

use crate::{Module, Param};
use lazuli_core::tree::{Constant, Leaf, LeafMut};
use lazuli_core::{Array, DType, Tree, keep, select};

/// A function without parameters as a module.
///
/// ```
/// use lazuli_core::array;
/// use lazuli_nn::{Activation, Module};
/// assert_eq!(Activation::RELU.forward(&array([-1.0, 2.0])).to_vec::<f32>(), [0.0, 2.0]);
/// assert_eq!(Activation(|x| x * 2.0).forward(&array(1.0)).item::<f32>(), 2.0);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Activation(
    /// What it computes.
    pub fn(&Array) -> Array,
);

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

macro_rules! activations {
    ($($(#[$doc:meta])* $name:ident $constant:ident |$x:ident| $body:expr;)*) => {
        $(
            $(#[$doc])*
            #[track_caller]
            pub fn $name($x: &Array) -> Array { $body }
        )*
        impl Activation { $(
            #[doc = concat!("[`", stringify!($name), "`] as a module.")]
            pub const $constant: Activation = Activation($name);
        )* }
    };
}

activations! {
    /// Rectified linear unit: max(x, 0).
    ///
    /// ```
    /// use lazuli_core::array;
    /// assert_eq!(lazuli_nn::activations::relu(&array([-1.0, 2.0])).to_vec::<f32>(), [0.0, 2.0]);
    /// ```
    relu RELU |x| x.maximum(0);
    /// Squared rectifier: max(x, 0)² (So et al., arXiv:2109.08668).
    relu2 RELU2 |x| x.maximum(0).square();
    /// Rectifier capped at 6: min(max(x, 0), 6).
    relu6 RELU6 |x| x.maximum(0).minimum(6.0);
    /// 1.0507 · [`elu`] with α = 1.67326 (Klambauer et al., arXiv:1706.02515).
    selu SELU |x| 1.0507 * elu(x, 1.67326);
    /// Logistic function: 1 / (1 + e⁻ˣ).
    sigmoid SIGMOID |x| x.sigmoid();
    /// Hyperbolic tangent.
    tanh TANH |x| x.tanh();
    /// A smooth rectifier: ln(1 + eˣ), without overflow.
    softplus SOFTPLUS |x| x.logaddexp(0);
    /// x / (1 + |x|).
    softsign SOFTSIGN |x| x / (1 + x.abs());
    /// Logarithm of the logistic function, −ln(1 + e⁻ˣ), without overflow.
    log_sigmoid LOG_SIGMOID |x| -softplus(&-x);
    /// x · sigmoid(x), also called swish (Ramachandran et al., arXiv:1710.05941).
    silu SILU |x| x * x.sigmoid();
    /// x · tanh(softplus(x)) (Misra, arXiv:1908.08681).
    mish MISH |x| x * softplus(x).tanh();
    /// x · Φ(x), with Φ the normal distribution function (Hendrycks and Gimpel, arXiv:1606.08415).
    ///
    /// ```
    /// use lazuli_core::array;
    /// assert_eq!(lazuli_nn::activations::gelu(&array(0.0)).item::<f32>(), 0.0);
    /// ```
    gelu GELU |x| x * (1 + (x / std::f64::consts::SQRT_2).erf()) / 2;
    /// [`gelu`] by a hyperbolic tangent: x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))).
    gelu_approx GELU_APPROX |x| {
        let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.power(3));
        0.5 * x * (1 + inner.tanh())
    };
    /// [`gelu`] by a logistic function: x · sigmoid(1.702 x).
    gelu_fast_approx GELU_FAST_APPROX |x| x * (1.702 * x).sigmoid();
    /// Exponentials divided by their sum along the last axis.
    softmax SOFTMAX |x| x.softmax(-1);
    /// [`softmax`] of −x.
    softmin SOFTMIN |x| (-x).softmax(-1);
    /// Logarithm of [`softmax`], without overflow: x − logsumexp(x) along the last axis.
    log_softmax LOG_SOFTMAX |x| x - x.logsumexp(keep(-1));
    /// min(max(x, −1), 1). [`Array::clip`] has other bounds.
    hard_tanh HARD_TANH |x| x.maximum(-1.0).minimum(1.0);
    /// x · min(max(x + 3, 0), 6) / 6 (Howard et al., arXiv:1905.02244).
    hardswish HARDSWISH |x| x * relu6(&(x + 3)) / 6;
}

/// Rectifier with a slope for negative values: max(slope · x, x).
#[track_caller]
pub fn leaky_relu(x: &Array, slope: f64) -> Array {
    (slope * x).maximum(x)
}

/// Rectifier with a learned slope: max(0, x) + alpha · min(0, x) (He et al., arXiv:1502.01852).
#[track_caller]
pub fn prelu(x: &Array, alpha: &Array) -> Array {
    x.maximum(0) + alpha * x.minimum(0)
}

/// Exponential linear unit: x if x > 0, else alpha · (eˣ − 1) (Clevert et al., arXiv:1511.07289).
#[track_caller]
pub fn elu(x: &Array, alpha: f64) -> Array {
    // The minimum keeps the exponential, and so the gradient, finite where it is not chosen.
    select(x.greater(0), x, alpha * (x.minimum(0).exp() - 1))
}

/// Continuously differentiable [`elu`]: max(0, x) + alpha · (exp(min(0, x) / alpha) − 1) (Barron, arXiv:1704.07483).
#[track_caller]
pub fn celu(x: &Array, alpha: f64) -> Array {
    x.maximum(0.0) + alpha * ((x.minimum(0.0) / alpha).exp() - 1)
}

/// Gated linear unit: a · sigmoid(b), where a and b are the two halves of x along `axis` (Dauphin et al., arXiv:1612.08083).
///
/// # Panics
/// If the axis has an odd extent.
#[track_caller]
pub fn glu(x: &Array, axis: isize) -> Array {
    let halves = x.split(2, axis);
    &halves[0] * halves[1].sigmoid()
}

/// 1 where x ≥ threshold, else 0, as int32.
#[track_caller]
pub fn step(x: &Array, threshold: f64) -> Array {
    select(x.greater_equal(threshold), 1, 0)
}

/// x where |x| > lambda, else 0.
#[track_caller]
pub fn hard_shrink(x: &Array, lambda: f64) -> Array {
    select(x.abs().greater(lambda), x, 0)
}

/// x moved towards 0 by lambda, or 0 where it would cross it.
#[track_caller]
pub fn softshrink(x: &Array, lambda: f64) -> Array {
    select(x.abs().greater(lambda), x - x.sign() * lambda, 0)
}

macro_rules! with_a_number {
    ($($(#[$doc:meta])* $layer:ident $name:ident $field:ident: $t:ty;)*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, lazuli_derive::Tree)]
        pub struct $layer {
            /// The function's argument.
            pub $field: $t,
        }

        impl Module for $layer {
            #[track_caller]
            fn forward(&self, x: &Array) -> Array {
                $name(x, self.$field)
            }
        }
    )* };
}

with_a_number! {
    /// The module of [`leaky_relu`].
    LeakyRelu leaky_relu slope: f64;
    /// The module of [`elu`].
    Elu elu alpha: f64;
    /// The module of [`celu`].
    Celu celu alpha: f64;
    /// The module of [`glu`].
    Glu glu axis: isize;
    /// The module of [`step`].
    Step step threshold: f64;
    /// The module of [`hard_shrink`].
    HardShrink hard_shrink lambda: f64;
    /// The module of [`softshrink`].
    Softshrink softshrink lambda: f64;
}

/// The module of [`prelu`], whose slopes are a parameter.
#[derive(Debug, Clone, lazuli_derive::Tree)]
pub struct PRelu {
    /// Broadcast against the input's last axis.
    pub weight: Param,
}

impl PRelu {
    /// `n` slopes, each `init` at first.
    pub fn new(n: usize, init: f64) -> PRelu {
        PRelu { weight: Array::full([n], init).into() }
    }
}

impl Module for PRelu {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        prelu(x, &self.weight)
    }
}

/// float32 for an input of half precision, in which sums lose too much; else the input.
pub(crate) fn widen(x: &Array) -> Array {
    if matches!(x.dtype(), DType::F16 | DType::BF16) { x.astype(DType::F32) } else { x.clone() }
}
