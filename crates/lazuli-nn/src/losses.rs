//! Loss functions: each is the mean of its losses, a scalar.
//!
//! Shapes must match where the text does not say otherwise: they are not broadcast, since a loss over an accidental outer product
//! trains, but on the wrong thing. Absent: weights, label smoothing, and other reductions.

use lazuli_core::raise::must;
use lazuli_core::{Array, Error, ops};

#[track_caller]
fn same_shape(op: &str, a: &Array, b: &Array) {
    if !a.same_shape(b) {
        must(Err(Error::value(op, format!("shapes must be the same, got {:?} and {:?}", a.shape(), b.shape()))))
    }
}

/// Cross entropy of softmax(logits) along the last axis with class indices, whose shape is that of `logits` without it.
///
/// ```
/// use lazuli_core::array;
/// let loss = lazuli_nn::losses::cross_entropy(&array([[2.0, -1.0], [-1.0, 2.0]]), &array([0, 1]));
/// assert!((loss.item::<f32>() - 0.0485873).abs() < 1e-6);
/// ```
///
/// # Panics
/// If the shapes do not match.
#[track_caller]
pub fn cross_entropy(logits: &Array, targets: &Array) -> Array {
    let classes = logits.dims();
    if classes.split_last().is_none_or(|(_, rest)| rest != targets.dims()) {
        let message = format!(
            "logits {:?} take class indices of their shape without the last axis, got targets {:?}",
            logits.shape(),
            targets.shape()
        );
        must(Err(Error::value("cross_entropy", message)))
    }
    let score = must(ops::take_along_axis(logits, &targets.expand_dims([-1]), Some(-1)));
    let score = must(ops::squeeze(&score, Some(&[-1])));
    (logits.logsumexp(-1) - score).mean(())
}

/// Cross entropy of Bernoulli distributions, given by logits, with targets of 0 or 1 or between.
///
/// # Panics
/// If the shapes differ.
#[track_caller]
pub fn binary_cross_entropy(logits: &Array, targets: &Array) -> Array {
    same_shape("binary_cross_entropy", logits, targets);
    (logits.logaddexp(0.0f32) - logits * targets).mean(())
}

/// Mean of squared differences.
///
/// # Panics
/// If the shapes differ.
#[track_caller]
pub fn mse(predictions: &Array, targets: &Array) -> Array {
    same_shape("mse", predictions, targets);
    (predictions - targets).square().mean(())
}
