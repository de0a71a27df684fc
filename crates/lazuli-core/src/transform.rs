//! `vjp`, `jvp` and `vmap` of functions of arrays: run, cut, transform, replay.
//!
//! The front ends put trees and argument numbers on top. The function is called once, on marked arrays.

use crate::array::Array;
use crate::trace::{self, Cut, Trace};
use lazuli_ir::{Aval, Error, Result, Scalar, shape};

/// Values of `f`, and a number of its cotangents pulled back.
#[derive(Debug)]
pub struct Pulled {
    pub outputs: Vec<Array>,
    /// One per input.
    pub cotangents: Vec<Array>,
}

/// Runs `f` on marked inputs. Values are there: `f` may evaluate them and branch on them.
#[track_caller]
fn traced(
    name: &str,
    transform: &'static str,
    inputs: &[Array],
    f: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
) -> Result<Cut> {
    let trace = Trace::begin(name, transform);
    let marked: Vec<Array> = inputs.iter().map(|a| trace.mark(a)).collect();
    let outputs = f(&marked)?;
    trace::cut(&marked, &outputs)
}

/// Outputs of `f` at `primals`, and the cotangents of the primals that `cotangents` of the outputs pull back to.
///
/// # Errors
/// If a primal or an output that is differentiated is not float or complex, or shapes differ.
pub fn vjp(
    name: &str,
    f: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
    primals: &[Array],
    cotangents: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
) -> Result<Pulled> {
    // Cotangents may depend on the number and shapes of the outputs, so they are asked for after the trace.
    let mut outputs = Vec::new();
    let cut = traced(name, "vjp", primals, |marked| {
        outputs = f(marked)?;
        Ok(outputs.clone())
    })?;
    let cts = cotangents(&outputs)?;
    if cts.len() != outputs.len() {
        return Err(Error::value(
            "vjp",
            format!("{} cotangents for {} outputs: give one each", cts.len(), outputs.len()),
        ));
    }
    for (i, (ct, out)) in cts.iter().zip(&outputs).enumerate() {
        if ct.shape() != out.shape() {
            let (a, b) = (shape::show(ct.shape()), shape::show(out.shape()));
            return Err(Error::value("vjp", format!("cotangent {i} has shape {a}, its output {b}: they must agree")));
        }
    }
    let wrt: Vec<usize> = (0..primals.len()).collect();
    let graph = lazuli_transform::vjp(&cut.graph, &wrt)?;
    let inputs: Vec<Array> = primals.iter().chain(&cts).chain(&cut.constants).cloned().collect();
    let mut results = trace::replay(&graph, &inputs);
    let cotangents = results.split_off(outputs.len());
    Ok(Pulled { outputs: results, cotangents })
}

/// Outputs of `f` at `primals`, and the gradient of its first output, a scalar, with respect to every primal. The other outputs are passed through.
pub fn value_and_grad(name: &str, f: impl FnOnce(&[Array]) -> Result<Vec<Array>>, primals: &[Array]) -> Result<Pulled> {
    let seed = |outputs: &[Array]| {
        let Some(loss) = outputs.first() else {
            return Err(Error::value(
                "grad",
                "the function returned no array: the first output must be the scalar to differentiate",
            ));
        };
        if loss.size() != 1 || loss.ndim() != 0 {
            let s = shape::show(loss.shape());
            return Err(Error::value(
                "grad",
                format!(
                    "the function returned an array of shape {s}: the gradient is that of a scalar, take the sum or mean of it, or use vjp"
                ),
            ));
        }
        let zero = |a: &Array| crate::ops::full(a.shape(), Scalar::zero(a.dtype()));
        let one = Array::scalar(Scalar::one(loss.dtype()));
        std::iter::once(Ok(one)).chain(outputs[1..].iter().map(zero)).collect()
    };
    vjp(name, f, primals, seed)
}

/// Outputs of `f` at `primals`, and their directional derivatives along `tangents`.
pub fn jvp(
    name: &str,
    f: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
    primals: &[Array],
    tangents: &[Array],
) -> Result<(Vec<Array>, Vec<Array>)> {
    if primals.len() != tangents.len() {
        return Err(Error::value(
            "jvp",
            format!("{} tangents for {} primals: give one each", tangents.len(), primals.len()),
        ));
    }
    for (i, (p, t)) in primals.iter().zip(tangents).enumerate() {
        if p.shape() != t.shape() {
            let (a, b) = (shape::show(t.shape()), shape::show(p.shape()));
            return Err(Error::value("jvp", format!("tangent {i} has shape {a}, its primal {b}: they must agree")));
        }
    }
    let cut = traced(name, "jvp", primals, f)?;
    let wrt: Vec<usize> = (0..primals.len()).collect();
    let graph = lazuli_transform::jvp(&cut.graph, &wrt)?;
    let inputs: Vec<Array> = primals.iter().chain(tangents).chain(&cut.constants).cloned().collect();
    let mut outputs = trace::replay(&graph, &inputs);
    let tangents = outputs.split_off(outputs.len() / 2);
    Ok((outputs, tangents))
}

/// `f` over a batch: input i is mapped along `in_axes[i]`, or given whole to every call; output i has the batch at `out_axes[i]`, or none.
/// `f` sees placeholders without the batch axis; `out_axes` is asked for once the outputs are known.
pub fn vmap(
    name: &str,
    f: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
    inputs: &[Array],
    in_axes: &[Option<isize>],
    out_axes: impl FnOnce(usize) -> Result<Vec<Option<isize>>>,
) -> Result<Vec<Array>> {
    let mut size = None;
    let mut avals: Vec<Aval> = Vec::new();
    let mut axes: Vec<Option<isize>> = Vec::new();
    for (i, (a, axis)) in inputs.iter().zip(in_axes).enumerate() {
        let mut aval = a.aval().clone();
        if let Some(axis) = axis {
            let axis = shape::normalize_axis("vmap", *axis, a.ndim()).map_err(|_| {
                Error::value(
                    "vmap",
                    format!("in_axes gives axis {axis} for input {i}, which has shape {}", shape::show(a.shape())),
                )
            })?;
            let n = aval.shape.remove(axis);
            if *size.get_or_insert(n) != n {
                return Err(Error::value(
                    "vmap",
                    format!(
                        "input {i} has extent {n} along its mapped axis {axis}, earlier ones {}: mapped axes must have one extent",
                        size.unwrap_or(0)
                    ),
                ));
            }
            axes.push(Some(axis as isize));
        } else {
            axes.push(None);
        }
        avals.push(aval);
    }
    let Some(size) = size else {
        return Err(Error::value("vmap", "no input is mapped: give at least one axis in in_axes"));
    };
    let trace = Trace::begin(name, "vmap");
    let holes: Vec<Array> = avals.iter().map(|a| trace.placeholder(a.clone())).collect();
    let outputs = f(&holes)?;
    let cut = trace::cut(&holes, &outputs)?;
    drop(trace);
    axes.extend(cut.constants.iter().map(|_| None));
    let graph = lazuli_transform::vmap(&cut.graph, &axes, &out_axes(outputs.len())?, size)?;
    let inputs: Vec<Array> = inputs.iter().chain(&cut.constants).cloned().collect();
    Ok(trace::replay(&graph, &inputs))
}
