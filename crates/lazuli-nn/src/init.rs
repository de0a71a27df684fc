//! Initial values of parameters, drawn from the calling thread's random key.

use lazuli_core::raise::must;
use lazuli_core::{Array, DType, random};

/// Uniform in [−bound, bound), float32.
#[track_caller]
pub fn uniform(shape: &[usize], bound: f64) -> Array {
    must(random::next_key().and_then(|key| random::uniform(-bound, bound, shape, DType::F32, &key)))
}

/// Normal with mean 0 and this standard deviation, float32.
#[track_caller]
pub fn normal(shape: &[usize], deviation: f64) -> Array {
    must(random::next_key().and_then(|key| random::normal(shape, DType::F32, 0.0f64, deviation, &key)))
}
