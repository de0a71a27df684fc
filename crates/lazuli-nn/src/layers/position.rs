//! Positions for attention.

use crate::Module;
use lazuli_core::raise::must;
use lazuli_core::{Array, DType, Ellipsis, Error, NewAxis, Operand, concatenate, ops, stack, step};
use lazuli_derive::Tree;
use std::f64::consts::PI;

/// 0, 1, … n − 1 in float32.
#[track_caller]
fn positions(n: usize) -> Array {
    Array::arange(0..n as i32).astype(DType::F32)
}

/// Rotates pairs of features by angles that grow with the position (Su et al., arXiv:2104.09864).
///
/// Pair i of `dims / 2` turns by scale · position · base^(−2i / dims). From `(…, positions, features)` to the same; features beyond
/// `dims` are left alone.
///
/// ```
/// use lazuli_core::{Array, DType};
/// use lazuli_nn::{Module, Rope};
/// assert_eq!(Rope::new(4).forward(&Array::ones([2, 3, 6], DType::F32)).shape(), [2, 3, 6]);
/// ```
#[derive(Debug, Clone, Tree)]
pub struct Rope {
    dims: usize,
    interleaved: bool,
    base: f64,
    scale: f64,
}

impl Rope {
    /// Rotates the pairs (i, i + dims / 2) with base 10,000.
    ///
    /// # Panics
    /// If `dims` is odd.
    #[track_caller]
    pub fn new(dims: usize) -> Rope {
        if !dims.is_multiple_of(2) {
            must(Err(Error::value("Rope", format!("dims must be even, got {dims}"))))
        }
        Rope { dims, interleaved: false, base: 10000.0, scale: 1.0 }
    }
    /// Rotates the pairs (2i, 2i + 1), as the paper does.
    pub fn traditional(self) -> Rope {
        Rope { interleaved: true, ..self }
    }
    /// Base of the geometric progression of angles.
    pub fn base(self, base: f64) -> Rope {
        Rope { base, ..self }
    }
    /// Scale of the positions.
    pub fn scale(self, scale: f64) -> Rope {
        Rope { scale, ..self }
    }
    /// Rotates `x`, whose first position is number `offset`: an integer or an array of one.
    ///
    /// # Panics
    /// If `x` has fewer than two axes, or fewer features than `dims`.
    #[track_caller]
    pub fn forward_at(&self, x: &Array, offset: impl Operand) -> Array {
        let [.., length, features] = *x.shape() else {
            must(Err(Error::value("Rope", format!("expected shape (…, positions, features), got {:?}", x.shape()))))
        };
        let half = self.dims / 2;
        let places = (positions(length) + offset) * self.scale;
        let frequencies = (positions(half) * (-self.base.ln() / half as f64)).exp();
        let angles = places.index((.., NewAxis)) * frequencies;
        let (cos, sin) = (angles.cos(), angles.sin());
        let turned = x.index((Ellipsis, ..self.dims));
        let (a, b) = match self.interleaved {
            true => (turned.index((Ellipsis, step(.., 2))), turned.index((Ellipsis, step(1.., 2)))),
            false => (turned.index((Ellipsis, ..half)), turned.index((Ellipsis, half..))),
        };
        let pair = [&a * &cos - &b * &sin, a * sin + b * cos];
        let pair = match self.interleaved {
            true => stack(&pair, -1).flatten(-2..=-1),
            false => concatenate(&pair, -1),
        };
        let turned = pair.astype(x.dtype());
        match features == self.dims {
            true => turned,
            false => concatenate(&[turned, x.index((Ellipsis, self.dims..))], -1),
        }
    }
}

impl Module for Rope {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        self.forward_at(x, 0)
    }
}

/// Sines and cosines of positions at geometrically spaced frequencies (Vaswani et al., arXiv:1706.03762): from positions `s` to
/// `s + (dims,)`, sines in the first half and cosines in the second.
///
/// ```
/// use lazuli_core::array;
/// use lazuli_nn::{Module, SinusoidalPositionalEncoding};
/// let y = SinusoidalPositionalEncoding::new(2).forward(&array([0.0]));
/// assert_eq!(y.to_vec::<f32>(), [0.0, 1.0]);
/// ```
#[derive(Debug, Clone, Tree)]
pub struct SinusoidalPositionalEncoding {
    dims: usize,
    lowest: f64,
    highest: f64,
    scale: f64,
    cos_first: bool,
    full_turns: bool,
}

impl SinusoidalPositionalEncoding {
    /// Frequencies from 1 down to 0.0001, scaled by √(2 / dims), which gives encodings the norm 1.
    ///
    /// # Panics
    /// If `dims` is odd or 0.
    #[track_caller]
    pub fn new(dims: usize) -> Self {
        if dims == 0 || !dims.is_multiple_of(2) {
            let message = format!("dims must be positive and even, got {dims}");
            must(Err(Error::value("SinusoidalPositionalEncoding", message)))
        }
        let scale = (2.0 / dims as f64).sqrt();
        Self { dims, lowest: 1e-4, highest: 1.0, scale, cos_first: false, full_turns: false }
    }
    /// The lowest and highest frequency.
    pub fn frequencies(self, lowest: f64, highest: f64) -> Self {
        Self { lowest, highest, ..self }
    }
    /// What encodings are multiplied by.
    pub fn scale(self, scale: f64) -> Self {
        Self { scale, ..self }
    }
    /// Cosines before sines.
    pub fn cos_first(self) -> Self {
        Self { cos_first: true, ..self }
    }
    /// Frequencies count turns, not radians, per position.
    pub fn full_turns(self) -> Self {
        Self { full_turns: true, ..self }
    }
}

impl Module for SinusoidalPositionalEncoding {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        let half = self.dims / 2;
        // From the highest frequency (at 0) down to the lowest (at 1).
        let fraction = positions(half) / half.saturating_sub(1).max(1);
        let (low, high) = (self.lowest.ln(), self.highest.ln());
        let mut frequencies = (high + fraction * (low - high)).exp();
        if self.full_turns {
            frequencies = frequencies * (2.0 * PI);
        }
        let angles = x.index((Ellipsis, NewAxis)) * frequencies;
        let mut waves = [angles.sin(), angles.cos()];
        if self.cos_first {
            waves.reverse();
        }
        let y = concatenate(&waves, -1);
        if self.scale == 1.0 { y } else { y * self.scale }
    }
}

/// Adds to attention scores, `(batch, heads, queries, keys)`, a penalty linear in the distance (Press et al., arXiv:2108.12409).
#[derive(Debug, Clone, Copy, Default, Tree)]
pub struct Alibi;

impl Alibi {
    /// The penalty of each head per position, of shape `(heads, 1, 1)`.
    ///
    /// For n heads, n a power of two: 2^(−8k/n), k = 1 … n. Otherwise those of the next lower power of two, then every other one of the
    /// next higher (the paper's own code does so).
    #[track_caller]
    pub fn slopes(heads: usize, dtype: DType) -> Array {
        let geometric = |n: usize| (1..=n).map(move |k| 2f64.powf(-8.0 * k as f64 / n as f64) as f32);
        let lower = if heads == 0 { 0 } else { 1 << heads.ilog2() };
        let slopes: Vec<f32> = geometric(lower).chain(geometric(2 * lower).step_by(2).take(heads - lower)).collect();
        Array::from(slopes).reshape([-1, 1, 1]).astype(dtype)
    }
    /// The bias, −slope · |query − key|, of shape `(1, heads, queries, keys)`; the first query is at position `offset`.
    #[track_caller]
    pub fn bias(queries: usize, keys: usize, heads: usize, offset: usize, dtype: DType) -> Array {
        let rows = Array::arange(offset as i32..(offset + queries) as i32);
        let columns = Array::arange(0..keys as i32);
        let distance = (rows.index((.., NewAxis)) - columns.index((NewAxis, ..))).abs().astype(dtype);
        (-distance * Alibi::slopes(heads, dtype)).index(NewAxis)
    }
    /// Adds the bias, and a mask if there is one, to scores whose first query is at `offset`.
    ///
    /// # Panics
    /// If the scores do not have four axes.
    #[track_caller]
    pub fn forward_at(&self, scores: &Array, offset: usize, mask: Option<&Array>) -> Array {
        let [_, heads, queries, keys] = *scores.shape() else {
            let message = format!("expected shape (batch, heads, queries, keys), got {:?}", scores.shape());
            must(Err(Error::value("Alibi", message)))
        };
        let mut bias = Alibi::bias(queries, keys, heads, offset, scores.dtype());
        if let Some(mask) = mask {
            bias = bias + mask;
        }
        must(ops::add(scores, bias))
    }
}

impl Module for Alibi {
    #[track_caller]
    fn forward(&self, scores: &Array) -> Array {
        self.forward_at(scores, 0, None)
    }
}
