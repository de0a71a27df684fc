//! Initial values of parameters, float32, drawn from the calling thread's random state.
//!
//! The *fans* of a shape `(out, …, in)` are its input and output counts, each times the size of the axes between (the positions of a
//! convolution). Absent: `orthogonal`, which needs a QR decomposition.

use lazuli_core::raise::must;
use lazuli_core::{Array, DType, Error, Extents, Result, random, select};

/// Every element `value`.
#[track_caller]
pub fn constant(value: f64, shape: impl Extents) -> Array {
    Array::full(shape, value)
}

/// Uniform in [low, high).
///
/// ```
/// let w = lazuli_nn::init::uniform(-0.1, 0.1, [3, 2]);
/// assert!(w.abs().max(()).item::<f32>() <= 0.1);
/// ```
#[track_caller]
pub fn uniform(low: f64, high: f64, shape: impl Extents) -> Array {
    random::uniform_in(low, high, shape)
}

/// Normal with this mean and standard deviation.
#[track_caller]
pub fn normal(mean: f64, deviation: f64, shape: impl Extents) -> Array {
    let draw = |key| lazuli_core::ops::random::normal(&shape, DType::F32, mean, deviation, &key);
    must(random::next_key().and_then(draw))
}

/// Ones on the diagonal of a matrix of `n` rows and columns, zeros elsewhere.
#[track_caller]
pub fn identity(n: usize) -> Array {
    Array::eye(n)
}

/// Normal, with the fraction `sparsity` of each row of a matrix zero, rounded up to whole elements (Martens, ICML 2010).
#[track_caller]
pub fn sparse(sparsity: f64, mean: f64, deviation: f64, rows: usize, columns: usize) -> Array {
    let zeros = (sparsity * columns as f64).ceil();
    // The ranks of random numbers are a random permutation of each row.
    let ranks = random::uniform([rows, columns]).argsort(1).argsort(1);
    select(ranks.less(zeros), 0.0, normal(mean, deviation, [rows, columns]))
}

/// Which count the deviation is scaled by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fan {
    /// Inputs: keeps the variance of what flows forwards.
    In,
    /// Outputs: keeps the variance of the gradients.
    Out,
}

fn numbers(shape: &impl Extents) -> Vec<usize> {
    shape.extents().iter().map(|n| n.get() as usize).collect()
}

/// Input and output counts of a shape.
fn fans(op: &str, shape: &[usize]) -> Result<(usize, usize)> {
    let &[out, .., input] = shape else {
        return Err(Error::value(op, format!("expected at least 2 axes, got shape {shape:?}")));
    };
    let between: usize = shape[1..shape.len() - 1].iter().product();
    Ok((input * between, out * between))
}

#[track_caller]
fn fan(op: &str, shape: &[usize], mode: Fan) -> f64 {
    let (input, output) = must(fans(op, shape));
    if mode == Fan::In { input as f64 } else { output as f64 }
}

#[track_caller]
fn both(op: &str, shape: &[usize]) -> f64 {
    let (input, output) = must(fans(op, shape));
    (input + output) as f64
}

/// Normal with deviation gain · √(2 / (fan in + fan out)) (Glorot and Bengio, AISTATS 2010).
///
/// # Panics
/// If the shape has fewer than two axes.
#[track_caller]
pub fn glorot_normal(gain: f64, shape: impl Extents) -> Array {
    normal(0.0, gain * (2.0 / both("init.glorot_normal", &numbers(&shape))).sqrt(), shape)
}

/// Uniform in ±gain · √(6 / (fan in + fan out)) (Glorot and Bengio, AISTATS 2010).
///
/// ```
/// let w = lazuli_nn::init::glorot_uniform(1.0, [3, 3]);
/// assert!(w.abs().max(()).item::<f32>() <= 1.0);
/// ```
///
/// # Panics
/// If the shape has fewer than two axes.
#[track_caller]
pub fn glorot_uniform(gain: f64, shape: impl Extents) -> Array {
    let limit = gain * (6.0 / both("init.glorot_uniform", &numbers(&shape))).sqrt();
    uniform(-limit, limit, shape)
}

/// Normal with deviation gain / √fan (He et al., arXiv:1502.01852).
///
/// # Panics
/// If the shape has fewer than two axes.
#[track_caller]
pub fn he_normal(mode: Fan, gain: f64, shape: impl Extents) -> Array {
    normal(0.0, gain / fan("init.he_normal", &numbers(&shape), mode).sqrt(), shape)
}

/// Uniform in ±gain · √(3 / fan) (He et al., arXiv:1502.01852).
///
/// # Panics
/// If the shape has fewer than two axes.
#[track_caller]
pub fn he_uniform(mode: Fan, gain: f64, shape: impl Extents) -> Array {
    let limit = gain * (3.0 / fan("init.he_uniform", &numbers(&shape), mode)).sqrt();
    uniform(-limit, limit, shape)
}
