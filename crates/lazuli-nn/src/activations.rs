//! Activation functions: plain compositions of array operations, elementwise unless an axis is named.
//!
//! None is compiled in advance; within a compiled function all of them fuse.

use lazuli_core::Array;

/// max(x, 0).
#[track_caller]
pub fn relu(x: &Array) -> Array {
    x.maximum(0.0f32)
}

/// 1 / (1 + e⁻ˣ).
#[track_caller]
pub fn sigmoid(x: &Array) -> Array {
    x.sigmoid()
}

/// x · sigmoid(x), also called swish.
#[track_caller]
pub fn silu(x: &Array) -> Array {
    x * x.sigmoid()
}

/// tanh(x).
#[track_caller]
pub fn tanh(x: &Array) -> Array {
    x.tanh()
}

/// x · Φ(x), with Φ the normal distribution function.
///
/// ```
/// use lazuli_core::array;
/// assert_eq!(lazuli_nn::activations::gelu(&array(0.0)).item::<f32>(), 0.0);
/// ```
#[track_caller]
pub fn gelu(x: &Array) -> Array {
    x * (1.0f32 + (x / 2f32.sqrt()).erf()) / 2.0f32
}

/// ln(1 + eˣ).
#[track_caller]
pub fn softplus(x: &Array) -> Array {
    x.logaddexp(0.0f32)
}

/// x where x > 0, else `slope` · x.
#[track_caller]
pub fn leaky_relu(x: &Array, slope: f32) -> Array {
    x.maximum(x * slope)
}
