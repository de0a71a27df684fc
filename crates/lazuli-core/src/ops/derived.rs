//! Functions composed of others and recorded as one call: eager fuses inside it, a compiled function inlines it.

use super::by_shape::ByShape;
use super::reduce::inexact;
use super::{astype, binary, max, reduce, select, sum, unary};
use crate::array::{Array, Op};
use crate::shapeless;
use crate::trace::{self, Effects, Trace};
use lazuli_ir::prims::{Call, ReduceOp};
use lazuli_ir::{Binary, DType, Error, Kind, Result, Unary, shape};
use smallvec::SmallVec;

/// Records what `f` does to these arrays as one equation of this name.
#[track_caller]
pub fn call(name: &str, inputs: &[&Array], f: impl FnOnce(&[Array]) -> Result<Vec<Array>>) -> Result<Vec<Array>> {
    let meta = trace::meta();
    let cut = shapeless::as_one(|| {
        let inner = Trace::begin(name, "call");
        let holes: Vec<Array> = inputs.iter().map(|a| inner.stand_in(a)).collect();
        let outputs = f(&holes)?;
        trace::cut(&holes, &outputs, &Effects::default())
    })?;
    let avals: SmallVec<[_; 1]> = cut.graph.output_avals().into();
    let n = avals.len() as u32;
    let operands = inputs.iter().map(|&a| a.clone()).chain(cut.constants).collect();
    let prim = Call::new(name, cut.graph);
    let out = Array::pending(Op::Prim(prim.into()), operands, SmallVec::new(), avals, meta);
    Ok((0..n).map(|k| out.sibling(k)).collect())
}

#[track_caller]
fn call1(name: &str, a: &Array, f: impl FnOnce(&Array) -> Result<Array>) -> Result<Array> {
    Ok(call(name, &[a], |x| Ok(vec![f(&x[0])?]))?.remove(0))
}

/// Whether there is nothing along one of these axes. If so, a shapeless trace holds for no other extent of it; if not, the reduction that follows refuses such a shape.
#[track_caller]
fn nothing_along(op: &'static str, a: &Array, over: Option<&[isize]>) -> Result<bool> {
    let axes = super::shape::axes(op, over, a.ndim())?;
    let empty = axes.iter().find(|&&axis| a.aval().shape[axis] == 0);
    Ok(empty.is_some_and(|&axis| a.dim(axis as isize) == 0))
}

/// What is subtracted of exponents, so that the largest is about 1: the largest number along axes, of complex ones the one that is first by its real part,
/// then by its imaginary part. A constant for derivatives, on which results do not depend.
fn top(x: &Array, axes: Option<&[isize]>) -> Result<Array> {
    let top = match x.dtype().kind() {
        Kind::Complex => {
            let (re, im) = (unary(Unary::Real, x)?, unary(Unary::Imag, x)?);
            let real = max(&re, axes, true)?;
            let imag = max(&select(binary(Binary::Eq, &re, &real)?, &im, f64::NEG_INFINITY)?, axes, true)?;
            binary(Binary::Complex, real, imag)?
        }
        _ => max(x, axes, true)?,
    };
    unary(Unary::StopGradient, &top)
}

/// e^(x − max) / Σ e^(x − max) along axes, of complex numbers too. f16 and bf16 are computed in float32 if `precise`. Where there is nothing along an axis, nothing.
///
/// ```
/// use lazuli_core::{array, ops};
/// let p = ops::softmax(&array([[0.0, 0.0], [1.0, 1.0]]), Some(&[-1]), false)?;
/// assert_eq!(p.to_vec::<f32>(), [0.5; 4]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn softmax(a: &Array, axes: Option<&[isize]>, precise: bool) -> Result<Array> {
    let a = inexact(a)?;
    let dtype = a.dtype();
    if nothing_along("softmax", &a, axes)? {
        return Ok(a);
    }
    call1("softmax", &a, |x| {
        let is_narrow = matches!(dtype, DType::F16 | DType::BF16);
        let x = if precise && is_narrow { astype(x, DType::F32)? } else { x.clone() };
        let e = unary(Unary::Exp, &binary(Binary::Sub, &x, top(&x, axes)?)?)?;
        astype(&binary(Binary::Div, &e, sum(&e, axes, true)?)?, dtype)
    })
}

/// log Σ e^x along axes, without overflow; of complex numbers too.
///
/// ```
/// use lazuli_core::{array, ops};
/// let x = array([1000.0, 1000.0]);
/// assert_eq!(ops::logsumexp(&x, None, false)?.item::<f32>(), 1000.0 + 2f32.ln());
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn logsumexp(a: &Array, axes: Option<&[isize]>, keepdims: bool) -> Result<Array> {
    let a = inexact(a)?;
    if nothing_along("logsumexp", &a, axes)? {
        let a = a.aval();
        return Err(Error::value(
            "logsumexp",
            format!("an axis of {a} is empty: the logarithm of an empty sum has no value"),
        ));
    }
    call1("logsumexp", &a, |x| {
        let top = top(x, axes)?;
        // An infinite maximum would give ∞ − ∞.
        let finite = binary(Binary::Less, unary(Unary::Abs, &top)?, f64::INFINITY)?;
        let top = select(finite, &top, 0.0f32)?;
        let e = unary(Unary::Exp, &binary(Binary::Sub, x, &top)?)?;
        let out = binary(Binary::Add, unary(Unary::Log, &sum(&e, axes, true)?)?, &top)?;
        match (keepdims, axes) {
            (true, _) => Ok(out),
            (false, axes) => {
                super::squeeze(&out, Some(&axes.map_or_else(|| (0..x.ndim() as isize).collect(), |a| a.to_vec())))
            }
        }
    })
}

/// That the parameters of a normalisation have the extent of the last axis, and no other: one that broadcasts is a mistake.
#[track_caller]
fn fit(op: &'static str, a: &Array, parameters: &[(&str, Option<&Array>)]) -> Result<()> {
    for &(name, parameter) in parameters {
        let Some(p) = parameter else { continue };
        if p.ndim() != 1 || a.ndim() == 0 || p.dim(0) != a.dim(-1) {
            let (p, a) = (shape::show(p.shape()), shape::show(a.shape()));
            return Err(Error::value(
                op,
                format!("{name} {p} must have one axis, of the extent of the last axis of x {a}"),
            ));
        }
    }
    Ok(())
}

/// x / √(mean(x²) + eps) · weight along the last axis.
///
/// ```
/// use lazuli_core::{array, ops};
/// let y = ops::rms_norm(&array([3.0, 3.0]), Some(&array([1.0, 2.0])), 0.0)?;
/// assert_eq!(y.to_vec::<f32>(), [1.0, 2.0]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn rms_norm(a: &Array, weight: Option<&Array>, eps: f64) -> Result<Array> {
    fit("rms_norm", a, &[("weight", weight)])?;
    let inputs: Vec<&Array> = std::iter::once(a).chain(weight).collect();
    let f = |x: &[Array]| {
        let wide = astype(&x[0], if a.dtype() == DType::F64 { DType::F64 } else { DType::F32 })?;
        let power = super::mean(&unary(Unary::Square, &wide)?, Some(&[-1]), true)?;
        let scale = unary(Unary::Rsqrt, &binary(Binary::Add, power, eps)?)?;
        let mut out = astype(&binary(Binary::Mul, &wide, scale)?, a.dtype())?;
        if let Some(w) = x.get(1) {
            out = binary(Binary::Mul, out, w)?;
        }
        Ok(vec![out])
    };
    Ok(call("rms_norm", &inputs, f)?.remove(0))
}

/// (x − mean) / √(var + eps) · weight + bias along the last axis.
///
/// ```
/// use lazuli_core::{array, ops};
/// let y = ops::layer_norm(&array([1.0, 3.0]), None, Some(&array([0.0, 10.0])), 0.0)?;
/// assert_eq!(y.to_vec::<f32>(), [-1.0, 11.0]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn layer_norm(a: &Array, weight: Option<&Array>, bias: Option<&Array>, eps: f64) -> Result<Array> {
    fit("layer_norm", a, &[("weight", weight), ("bias", bias)])?;
    let inputs: Vec<&Array> = std::iter::once(a).chain(weight).chain(bias).collect();
    let f = |x: &[Array]| {
        let wide = astype(&x[0], if a.dtype() == DType::F64 { DType::F64 } else { DType::F32 })?;
        let centred = binary(Binary::Sub, &wide, super::mean(&wide, Some(&[-1]), true)?)?;
        let variance = super::mean(&unary(Unary::Square, &centred)?, Some(&[-1]), true)?;
        let scale = unary(Unary::Rsqrt, &binary(Binary::Add, variance, eps)?)?;
        let mut out = astype(&binary(Binary::Mul, &centred, scale)?, a.dtype())?;
        let mut rest = x[1..].iter();
        if weight.is_some() {
            out = binary(Binary::Mul, out, rest.next().expect("the weight"))?;
        }
        if bias.is_some() {
            out = binary(Binary::Add, out, rest.next().expect("the bias"))?;
        }
        Ok(vec![out])
    };
    Ok(call("layer_norm", &inputs, f)?.remove(0))
}

/// Whether the arrays have one shape and equal elements, as a bool scalar. NaN equals NaN if `equal_nan`.
///
/// ```
/// use lazuli_core::{array, ops};
/// let x = array([1.0, f32::NAN]);
/// assert!(!ops::array_equal(&x, &x, false)?.item::<bool>());
/// assert!(ops::array_equal(&x, &x, true)?.item::<bool>());
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn array_equal(a: &Array, b: &Array, equal_nan: bool) -> Result<Array> {
    Ok(ByShape::ArrayEqual { equal_nan }.apply(&[a, b])?.remove(0))
}

pub(crate) fn same_elements(a: &Array, b: &Array, equal_nan: bool) -> Result<Array> {
    // Where they are of one shape the comparison says so: of others, with 0 and 1 at the same axes, it takes no two that differ.
    if a.aval().shape != b.aval().shape && a.shape() != b.shape() {
        return Ok(Array::scalar(lazuli_ir::Scalar::bool(false)));
    }
    let mut same = binary(Binary::Eq, a, b)?;
    if equal_nan {
        let both = binary(Binary::LogicalAnd, binary(Binary::Ne, a, a)?, binary(Binary::Ne, b, b)?)?;
        same = binary(Binary::LogicalOr, same, both)?;
    }
    reduce(ReduceOp::All, &same, None, false)
}

/// |a − b| ≤ atol + rtol · |b|, element by element; infinities are close to themselves.
///
/// ```
/// use lazuli_core::{array, ops};
/// let close = ops::isclose(&array([1.0, 2.0]), &array([1.0001, 2.1]), 1e-3, 0.0, false)?;
/// assert_eq!(close.to_vec::<bool>(), [true, false]);
/// # Ok::<(), lazuli_core::Error>(())
/// ```
#[track_caller]
pub fn isclose(a: &Array, b: &Array, rtol: f64, atol: f64, equal_nan: bool) -> Result<Array> {
    let distance = unary(Unary::Abs, &binary(Binary::Sub, a, b)?)?;
    let allowed = binary(Binary::Add, binary(Binary::Mul, unary(Unary::Abs, b)?, rtol)?, atol)?;
    let near = binary(
        Binary::LogicalAnd,
        binary(Binary::LessEqual, distance, &allowed)?,
        binary(Binary::Less, unary(Unary::Abs, b)?, f64::INFINITY)?,
    )?;
    let mut out = binary(Binary::LogicalOr, near, binary(Binary::Eq, a, b)?)?;
    if equal_nan {
        let both = binary(Binary::LogicalAnd, binary(Binary::Ne, a, a)?, binary(Binary::Ne, b, b)?)?;
        out = binary(Binary::LogicalOr, out, both)?;
    }
    Ok(out)
}
