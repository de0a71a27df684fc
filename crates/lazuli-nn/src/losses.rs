//! Loss functions. Each here is the mean of its losses, a scalar; [`each`] has the losses themselves, to be weighted, summed or looked
//! at.
//!
//! Shapes must match where the text does not say otherwise: they are not broadcast, since a loss over an accidental outer product
//! trains, but on the wrong thing.

use lazuli_core::Array;

pub mod each;

/// The mean of each function of `each`.
macro_rules! means {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $t:ty),*);)*) => { $(
        $(#[$doc])*
        ///
        /// # Panics
        /// If the shapes do not match.
        #[track_caller]
        pub fn $name($($arg: $t),*) -> Array {
            each::$name($($arg),*).mean(())
        }
    )* };
}

means! {
    /// Mean [cross entropy](each::cross_entropy) of softmax(logits) along the last axis with class indices or probabilities.
    ///
    /// ```
    /// use lazuli_core::array;
    /// let loss = lazuli_nn::losses::cross_entropy(&array([[2.0, -1.0], [-1.0, 2.0]]), &array([0, 1]));
    /// assert!((loss.item::<f32>() - 0.0485873).abs() < 1e-6);
    /// ```
    cross_entropy(logits: &Array, targets: &Array);
    /// Mean [cross entropy](each::smoothed_cross_entropy) with part of the target spread over all classes.
    smoothed_cross_entropy(logits: &Array, targets: &Array, smoothing: f64);
    /// Mean [cross entropy](each::binary_cross_entropy) of Bernoulli distributions, given by logits, with targets of 0 or 1 or between.
    ///
    /// ```
    /// use lazuli_core::array;
    /// let logits = array([0.105361, 0.223144, 1.20397, 0.916291]);
    /// let loss = lazuli_nn::losses::binary_cross_entropy(&logits, &array([0, 0, 1, 1]));
    /// assert!((loss.item::<f32>() - 0.539246).abs() < 1e-6);
    /// ```
    binary_cross_entropy(logits: &Array, targets: &Array);
    /// Mean [cross entropy](each::binary_cross_entropy_of_probabilities) of Bernoulli distributions, given by probabilities.
    binary_cross_entropy_of_probabilities(probabilities: &Array, targets: &Array);
    /// Mean [negative log likelihood](each::nll) of classes, given log probabilities along the last axis.
    nll(log_probabilities: &Array, targets: &Array);
    /// Mean [Kullback-Leibler divergence](each::kl_div) along the last axis.
    kl_div(log_predictions: &Array, log_targets: &Array);
    /// Mean of max(0, 1 − predictions · targets), for targets of −1 or 1.
    hinge(predictions: &Array, targets: &Array);
    /// Mean absolute error.
    l1(predictions: &Array, targets: &Array);
    /// Mean of squared differences.
    ///
    /// ```
    /// use lazuli_core::array;
    /// assert_eq!(lazuli_nn::losses::mse(&array([1.0, 2.0]), &array([1.0, 4.0])).item::<f32>(), 2.0);
    /// ```
    mse(predictions: &Array, targets: &Array);
    /// Mean [smooth absolute error](each::smooth_l1).
    smooth_l1(predictions: &Array, targets: &Array, beta: f64);
    /// Mean [Huber loss](each::huber).
    huber(predictions: &Array, targets: &Array, delta: f64);
    /// Mean of [log cosh](each::log_cosh) of the differences.
    log_cosh(predictions: &Array, targets: &Array);
    /// Mean [negative log likelihood](each::gaussian_nll) of normal distributions.
    gaussian_nll(means: &Array, targets: &Array, variances: &Array);
    /// Mean [cosine](each::cosine_similarity) of the angles between vectors along an axis.
    cosine_similarity(x1: &Array, x2: &Array, axis: isize);
    /// Mean [triplet loss](each::triplet), with Euclidean distances along the last axis.
    triplet(anchors: &Array, positives: &Array, negatives: &Array, margin: f64);
    /// Mean [ranking loss](each::margin_ranking).
    margin_ranking(inputs1: &Array, inputs2: &Array, targets: &Array, margin: f64);
}
