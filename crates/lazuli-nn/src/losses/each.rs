//! The losses, not reduced.

use lazuli_core::raise::must;
use lazuli_core::{Array, Error, ops, select};

#[track_caller]
fn same_shape(op: &str, arrays: &[(&str, &Array)]) {
    if arrays.iter().any(|(_, a)| !a.same_shape(arrays[0].1)) {
        let shapes: Vec<String> = arrays.iter().map(|(name, a)| format!("{name} {:?}", a.shape())).collect();
        must(Err(Error::value(op, format!("shapes must be the same, got {}", shapes.join(", ")))))
    }
}

/// `f` of x, but `at_zero` with gradient zero where x is 0 and the derivative infinite.
#[track_caller]
fn at_nonzero(f: impl Fn(&Array) -> Array, x: &Array, at_zero: f64) -> Array {
    let zero = x.equal(0);
    let safe = f(&select(&zero, 1, x));
    select(zero, at_zero, safe)
}

/// Cross entropy of softmax(logits) along the last axis with class indices, of the shape of `logits` without it, or with probabilities
/// q, of the shape of `logits`, for −Σ q log softmax(logits).
///
/// # Panics
/// If the shapes do not match.
#[track_caller]
pub fn cross_entropy(logits: &Array, targets: &Array) -> Array {
    smoothed_cross_entropy(logits, targets, 0.0)
}

/// [`cross_entropy`] with the fraction `smoothing` of the target spread evenly over all classes (Szegedy et al., arXiv:1512.00567).
///
/// # Panics
/// If the shapes do not match, or the fraction is not in [0, 1).
#[track_caller]
pub fn smoothed_cross_entropy(logits: &Array, targets: &Array, smoothing: f64) -> Array {
    let op = "cross_entropy";
    if !(0.0..1.0).contains(&smoothing) {
        must(Err(Error::value(op, format!("label smoothing must be in [0, 1), got {smoothing}"))))
    }
    // −Σ q log p, where log p = logits − log Σ exp(logits); the mass is Σ q.
    let (mut score, mut mass) = if targets.ndim() == logits.ndim() {
        same_shape(op, &[("logits", logits), ("targets", targets)]);
        ((logits * targets).sum(-1), Some(targets.sum(-1)))
    } else {
        if logits.dims().split_last().is_none_or(|(_, rest)| rest != targets.dims()) {
            let message = format!(
                "logits {:?} take class indices of their shape without the last axis or probabilities of their shape, got targets {:?}",
                logits.shape(),
                targets.shape()
            );
            must(Err(Error::value(op, message)))
        }
        (must(ops::squeeze(&logits.take_along_axis(&targets.expand_dims([-1]), -1), Some(&[-1]))), None)
    };
    if smoothing > 0.0 {
        score = (1.0 - smoothing) * score + smoothing * logits.mean(-1);
        mass = mass.map(|mass| (1.0 - smoothing) * mass + smoothing);
    }
    let total = logits.logsumexp(-1);
    match mass {
        Some(mass) => mass * total - score,
        // A mass of 1, smoothed or not.
        None => total - score,
    }
}

/// Cross entropy of Bernoulli distributions, given by logits, with targets of 0 or 1 or between.
///
/// # Panics
/// If the shapes differ.
#[track_caller]
pub fn binary_cross_entropy(logits: &Array, targets: &Array) -> Array {
    same_shape("binary_cross_entropy", &[("logits", logits), ("targets", targets)]);
    must(ops::logaddexp(0.0, logits)) - logits * targets
}

/// [`binary_cross_entropy`] of probabilities, whose logarithms are cut off at −100. Logits lose no precision.
///
/// # Panics
/// If the shapes differ.
#[track_caller]
pub fn binary_cross_entropy_of_probabilities(probabilities: &Array, targets: &Array) -> Array {
    same_shape("binary_cross_entropy", &[("probabilities", probabilities), ("targets", targets)]);
    let log = |p: &Array| at_nonzero(Array::log, p, -100.0).maximum(-100);
    -(targets * log(probabilities) + (1 - targets) * log(&(1 - probabilities)))
}

/// Negative log likelihood of classes: −log_probabilities at the class indices, along the last axis.
///
/// # Panics
/// If the shapes do not match.
#[track_caller]
pub fn nll(log_probabilities: &Array, targets: &Array) -> Array {
    let picked = log_probabilities.take_along_axis(&targets.expand_dims([-1]), -1);
    must(ops::squeeze(&-picked, Some(&[-1])))
}

/// Kullback-Leibler divergence, Σ exp(targets) · (targets − predictions) along the last axis, of log probabilities.
#[track_caller]
pub fn kl_div(log_predictions: &Array, log_targets: &Array) -> Array {
    (log_targets.exp() * (log_targets - log_predictions)).sum(-1)
}

/// max(0, 1 − predictions · targets), for targets of −1 or 1.
#[track_caller]
pub fn hinge(predictions: &Array, targets: &Array) -> Array {
    (1 - predictions * targets).maximum(0)
}

/// Absolute error.
///
/// # Panics
/// If the shapes differ.
#[track_caller]
pub fn l1(predictions: &Array, targets: &Array) -> Array {
    same_shape("l1", &[("predictions", predictions), ("targets", targets)]);
    (predictions - targets).abs()
}

/// Squared error.
///
/// # Panics
/// If the shapes differ.
#[track_caller]
pub fn mse(predictions: &Array, targets: &Array) -> Array {
    same_shape("mse", &[("predictions", predictions), ("targets", targets)]);
    (predictions - targets).square()
}

/// With d = |predictions − targets|: d² / (2 beta) where d < beta, else d − beta / 2 (Girshick, arXiv:1504.08083).
///
/// # Panics
/// If the shapes differ.
#[track_caller]
pub fn smooth_l1(predictions: &Array, targets: &Array, beta: f64) -> Array {
    same_shape("smooth_l1", &[("predictions", predictions), ("targets", targets)]);
    let error = (predictions - targets).abs();
    if beta == 0.0 {
        return error;
    }
    select(error.less(beta), 0.5 * error.square() / beta, &error - 0.5 * beta)
}

/// With d = |predictions − targets|: d² / 2 where d ≤ delta, else delta · (d − delta / 2) (Huber, Ann. Math. Statist. 35 (1964), 73).
#[track_caller]
pub fn huber(predictions: &Array, targets: &Array, delta: f64) -> Array {
    let error = (predictions - targets).abs();
    select(error.less_equal(delta), 0.5 * error.square(), delta * (&error - 0.5 * delta))
}

/// log cosh of the difference, without overflow: near d² / 2 for small d, |d| − log 2 for large.
#[track_caller]
pub fn log_cosh(predictions: &Array, targets: &Array) -> Array {
    let error = predictions - targets;
    error.logaddexp(-&error) - 2f64.ln()
}

/// Negative log likelihood of normal distributions, but for the constant: (log v + (means − targets)² / v) / 2, with v = max(variances,
/// 1e-6).
///
/// # Panics
/// If the shapes differ.
#[track_caller]
pub fn gaussian_nll(means: &Array, targets: &Array, variances: &Array) -> Array {
    same_shape("gaussian_nll", &[("means", means), ("targets", targets), ("variances", variances)]);
    let variance = variances.maximum(1e-6);
    0.5 * (variance.log() + (targets - means).square() / variance)
}

/// The cosine of the angle between vectors along an axis: x1 · x2 / max(‖x1‖ ‖x2‖, 1e-8).
#[track_caller]
pub fn cosine_similarity(x1: &Array, x2: &Array, axis: isize) -> Array {
    let norm = |x: &Array| at_nonzero(Array::sqrt, &x.square().sum(axis), 0.0);
    (x1 * x2).sum(axis) / (norm(x1) * norm(x2)).maximum(1e-8)
}

/// max(‖anchors − positives‖ − ‖anchors − negatives‖ + margin, 0), with Euclidean norms along the last axis, to whose squares 1e-6 is
/// added (Schroff et al., arXiv:1503.03832).
#[track_caller]
pub fn triplet(anchors: &Array, positives: &Array, negatives: &Array, margin: f64) -> Array {
    let distance = |x: &Array| ((anchors - x).abs().power(2).sum(-1) + 1e-6).power(0.5);
    (distance(positives) - distance(negatives) + margin).maximum(0)
}

/// max(0, −targets · (inputs1 − inputs2) + margin). A target of 1 wants `inputs1` to be larger, −1 `inputs2`.
///
/// # Panics
/// If the shapes differ.
#[track_caller]
pub fn margin_ranking(inputs1: &Array, inputs2: &Array, targets: &Array, margin: f64) -> Array {
    same_shape("margin_ranking", &[("inputs1", inputs1), ("inputs2", inputs2), ("targets", targets)]);
    must(ops::maximum(0, -targets * (inputs1 - inputs2) + margin))
}
