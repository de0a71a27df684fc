//! Random numbers from explicit keys: Threefry-2x32 counters, as in MLX and JAX.
//!
//! A key is a uint32 array of shape (2,), or (…, 2) for several. The same key gives the same numbers on every backend, eager or
//! compiled. Absent: implicit keys, which the front ends keep (Rust's is [`crate::random`]).

use crate::array::Array;
use crate::dim::{Extent, Extents, Resolved};
use crate::ops::{self, Operand, astype, binary, select, unary};
use lazuli_ir::prims::RandomBits;
use lazuli_ir::{Binary, DType, Error, Result, Scalar, Unary, shape};

/// The key of a seed.
///
/// ```
/// use lazuli_core::ops::random;
/// assert_eq!(random::key(0).shape(), [2]);
/// ```
pub fn key(seed: u64) -> Array {
    Array::from_slice(&[(seed >> 32) as u32, seed as u32], &[2])
}

/// Random bits: unsigned integers of `width` bytes (1, 2 or 4).
///
/// ```
/// use lazuli_core::{DType, ops::random};
/// let bits = random::bits([4], 1, &random::key(0))?;
/// assert_eq!((bits.dtype(), bits.shape()), (DType::U8, &[4][..]));
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn bits(dims: impl Extents, width: usize, key: &Array) -> Result<Array> {
    if key.dtype() != DType::U32 || key.aval().shape.last() != Some(&2) {
        return Err(Error::value(
            "random",
            format!("a key is a uint32 array of shape (2,), not {} {}", key.dtype(), shape::show(&key.aval().shape)),
        ));
    }
    let dims = Resolved::new("random", &dims.extents(), false)?;
    Ok(ops::record(RandomBits { shape: dims.dims.clone(), width }, &[key], &dims.operands())?.remove(0))
}

/// `n` keys from one, as an array of shape (n, 2).
///
/// ```
/// use lazuli_core::ops::random;
/// let keys = random::split(&random::key(0), 3)?;
/// assert_eq!(keys.shape(), [3, 2]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn split(key: &Array, n: usize) -> Result<Array> {
    bits([n, 2], 4, key)
}

/// Uniform numbers in [low, high).
///
/// ```
/// use lazuli_core::{DType, ops::random};
/// let x = random::uniform(-1.0f32, 1.0f32, [100], DType::F32, &random::key(0))?;
/// assert!(x.to_vec::<f32>().iter().all(|v| (-1.0..1.0).contains(v)));
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn uniform(low: impl Operand, high: impl Operand, dims: impl Extents, dtype: DType, key: &Array) -> Result<Array> {
    if !dtype.is_float() {
        return Err(Error::value(
            "random.uniform",
            format!("gives float dtypes, not {dtype}: use randint for integers"),
        ));
    }
    let (low, high) = (astype(&low.array(Some(dtype)), dtype)?, astype(&high.array(Some(dtype)), dtype)?);
    let range = binary(Binary::Sub, &high, &low)?;
    let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let random = astype(&bits(dims, 4, key)?, wide)?;
    // The largest value below 1 stands for what rounds up to 1.
    let unit = binary(Binary::Div, random, Array::scalar(Scalar::from_f64(wide, u32::MAX as f64)))?;
    let below = match dtype {
        DType::F16 => 1.0 - f64::powi(2.0, -11),
        DType::BF16 => 1.0 - f64::powi(2.0, -8),
        _ => 1.0 - f64::powi(2.0, -24),
    };
    let unit = astype(&binary(Binary::Minimum, unit, below)?, dtype)?;
    binary(Binary::Add, binary(Binary::Mul, unit, range)?, low)
}

/// Normal numbers with this mean and standard deviation: √2 · erfinv of uniform numbers in (−1, 1).
///
/// ```
/// use lazuli_core::{DType, ops::random};
/// let x = random::normal([1000], DType::F32, 5.0f32, 0.1f32, &random::key(0))?;
/// assert!((x.mean(()).item::<f32>() - 5.0).abs() < 0.05);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn normal(
    dims: impl Extents,
    dtype: DType,
    mean: impl Operand,
    deviation: impl Operand,
    key: &Array,
) -> Result<Array> {
    let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let above = -1.0 + f64::powi(2.0, -24);
    let samples = uniform(above, 1.0f64, dims, wide, key)?;
    let samples = binary(Binary::Mul, unary(Unary::Erfinv, &samples)?, std::f64::consts::SQRT_2)?;
    let samples = astype(&samples, dtype)?;
    binary(Binary::Add, binary(Binary::Mul, samples, deviation)?, mean)
}

/// Integers in [low, high).
///
/// ```
/// use lazuli_core::{DType, ops::random};
/// let dice = random::randint(1, 7, [100], DType::I32, &random::key(0))?;
/// assert!(dice.to_vec::<i32>().iter().all(|n| (1..7).contains(n)));
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn randint(low: impl Operand, high: impl Operand, dims: impl Extents, dtype: DType, key: &Array) -> Result<Array> {
    if !dtype.is_integer() {
        return Err(Error::value("random.randint", format!("gives integer dtypes, not {dtype}")));
    }
    let (low, high) = (low.array(Some(dtype)), high.array(Some(dtype)));
    let random = uniform(astype(&low, DType::F32)?, astype(&high, DType::F32)?, dims, DType::F32, key)?;
    astype(&ops::maximum(unary(Unary::Floor, &random)?, astype(&low, DType::F32)?)?, dtype)
}

/// True with probability `p`.
///
/// ```
/// use lazuli_core::ops::random;
/// let coins = random::bernoulli(1.0f32, [8], &random::key(0))?;
/// assert_eq!(coins.to_vec::<bool>(), [true; 8]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn bernoulli(p: impl Operand, dims: impl Extents, key: &Array) -> Result<Array> {
    let p = p.array(None);
    let random = uniform(0.0f32, 1.0f32, dims, DType::F32, key)?;
    binary(Binary::Less, random, astype(&p, DType::F32)?)
}

/// Standard Gumbel numbers: −log(−log(u)).
///
/// ```
/// use lazuli_core::{DType, ops::random};
/// assert_eq!(random::gumbel([3], DType::F32, &random::key(0))?.shape(), [3]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn gumbel(dims: impl Extents, dtype: DType, key: &Array) -> Result<Array> {
    let u = uniform(0.0f32, 1.0f32, dims, DType::F32, key)?;
    let inner = unary(Unary::Neg, &unary(Unary::Log, &u)?)?;
    astype(&unary(Unary::Neg, &unary(Unary::Log, &inner)?)?, dtype)
}

/// Positions drawn with probability softmax(logits) along an axis, by the Gumbel-max rule; `dims` is the shape of the result.
///
/// ```
/// use lazuli_core::{array, ops::random};
/// let logits = array([[0.0, f32::NEG_INFINITY], [f32::NEG_INFINITY, 0.0]]);
/// let drawn = random::categorical(&logits, -1, None, &random::key(0))?;
/// assert_eq!(drawn.to_vec::<u32>(), [0, 1]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn categorical(logits: &Array, axis: isize, extra: Option<usize>, key: &Array) -> Result<Array> {
    let axis = ops::axis("random.categorical", axis, logits.ndim())? as isize;
    let mut dims = logits.dims().extents();
    let mut logits = logits.clone();
    if let Some(n) = extra {
        dims.push(n.into());
        logits = ops::expand_dims(&logits, &[-1])?;
    }
    let noise = gumbel(&dims, DType::F32, key)?;
    ops::argmax(&binary(Binary::Add, logits, noise)?, Some(axis), false)
}

/// Normal numbers cut off outside [low, high], by inversion.
///
/// ```
/// use lazuli_core::{DType, ops::random};
/// let x = random::truncated_normal(-1.0f32, 1.0f32, [100], DType::F32, &random::key(0))?;
/// assert!(x.to_vec::<f32>().iter().all(|v| v.abs() <= 1.0));
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn truncated_normal(
    low: impl Operand,
    high: impl Operand,
    dims: impl Extents,
    dtype: DType,
    key: &Array,
) -> Result<Array> {
    let root2 = std::f64::consts::SQRT_2;
    let (low, high) = (astype(&low.array(None), DType::F32)?, astype(&high.array(None), DType::F32)?);
    let a = unary(Unary::Erf, &binary(Binary::Div, &low, root2)?)?;
    let b = unary(Unary::Erf, &binary(Binary::Div, &high, root2)?)?;
    let u = uniform(a, b, dims, DType::F32, key)?;
    let out = binary(Binary::Mul, unary(Unary::Erfinv, &u)?, root2)?;
    let out = ops::clip(&out, Some(&low), Some(&high))?;
    astype(&out, dtype)
}

/// A permutation of 0 … n−1.
///
/// ```
/// use lazuli_core::ops::random;
/// let mut order = random::permutation(5, &random::key(0))?.to_vec::<u32>();
/// order.sort();
/// assert_eq!(order, [0, 1, 2, 3, 4]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn permutation(n: impl Into<Extent>, key: &Array) -> Result<Array> {
    ops::argsort(&bits([n.into()], 4, key)?, Some(0))
}

/// Laplace numbers: location + scale · sign(u) · log(1 − |u|), u uniform in (−1, 1).
///
/// ```
/// use lazuli_core::{DType, ops::random};
/// assert_eq!(random::laplace([3], DType::F32, 0.0f32, 1.0f32, &random::key(0))?.shape(), [3]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn laplace(
    dims: impl Extents,
    dtype: DType,
    location: impl Operand,
    scale: impl Operand,
    key: &Array,
) -> Result<Array> {
    let above = -1.0 + f64::powi(2.0, -24);
    let u = uniform(above, 1.0f64, dims, DType::F32, key)?;
    let magnitude = unary(Unary::Log1p, &unary(Unary::Neg, &unary(Unary::Abs, &u)?)?)?;
    let below = binary(Binary::Less, &u, 0.0f32)?;
    let standard = select(below, unary(Unary::Neg, &magnitude)?, &magnitude)?;
    let standard = astype(&standard, dtype)?;
    binary(Binary::Add, binary(Binary::Mul, standard, scale)?, location)
}
