//! Transformations of programs: a [`Graph`] in, a [`Graph`] out, on the rules that each primitive states in `lazuli-ir`.
//!
//! - [`jvp`]: forward mode. Every equation is followed by its jvp rule, which is linear in the tangents.
//! - [`linearize`]: splits a jvp into the program as it was, with the values that the derivative needs, and a linear program on tangents.
//! - [`vjp`], [`grad`]: reverse mode. The linear equations of a jvp are walked backwards with their transpose rules.
//! - [`vmap`]: vectorisation. Every equation that depends on a mapped argument runs over the whole batch.
//!
//! Graphs of results are ordinary graphs, so transforms nest in any order. Invariants: constants (the last inputs) stay constants and stay last;
//! locations and streams are those of the equation that a rule came from; a [`Call`](lazuli_ir::prims::Call) turns into calls of transformed bodies, so that
//! what eager execution fuses stays together; every engine takes time linear in the graph and recurses only into bodies of calls, never along a graph.
//!
//! Absent on purpose: arrays, tracing, the pairing of constants with data, simplification beyond dead code.
//!
//! ```
//! use lazuli_ir::{Aval, Builder, DType, Unary};
//! let mut b = Builder::new();
//! let x = b.input(Aval::scalar(DType::F32));
//! let y = b.unary(Unary::Exp, x.into())?;
//! let graph = b.finish(vec![y]);
//! // The derivative of exp is exp: inputs x; outputs eˣ and 1·eˣ.
//! let derivative = lazuli_transform::grad(&graph, &[0])?;
//! assert_eq!(derivative.outputs.len(), 2);
//! # Ok::<(), lazuli_ir::Error>(())
//! ```
#![forbid(unsafe_code)]

mod call;
mod cond;
mod env;
mod jvp;
mod linearize;
mod transpose;
mod vjp;
mod vmap;

pub use jvp::{jvp, jvp_for_any_shapes};
pub use lazuli_ir::prune;
pub use linearize::{Linearized, Residual, linearize};
pub use transpose::transpose;
pub use vjp::{grad, vjp, vjp_for_any_shapes};
pub use vmap::{unbatch, vmap, vmap_for_any_shapes};

use lazuli_ir::prims::broadcast_to;
use lazuli_ir::{AnyShapes, Atom, Aval, Builder, Error, Graph, Result, Scalar, Var};

/// Checks that the inputs `wrt` of a graph exist and have derivatives.
fn check_differentiable(op: &str, graph: &Graph, wrt: &[usize]) -> Result<()> {
    for (k, &i) in wrt.iter().enumerate() {
        if wrt[..k].contains(&i) {
            return Err(Error::value(op, format!("argument {i} was asked for twice")));
        }
        let Some(v) = graph.arguments().get(i) else {
            let n = graph.arguments().len();
            return Err(Error::value(op, format!("argument {i} was asked for, but the function has {n}")));
        };
        let dtype = graph.avals[v.0 as usize].dtype;
        if !dtype.is_inexact() {
            return Err(Error::value(
                op,
                format!(
                    "argument {i} has dtype {dtype}, and derivatives are taken with respect to float and complex arrays: \
                     convert it with astype(float32), or leave it out of argnums"
                ),
            ));
        }
    }
    Ok(())
}

/// Zeros of an aval: a literal stretched to its shape.
fn zeros(b: &mut Builder, aval: &Aval) -> Result<Atom> {
    broadcast_to(b, Scalar::zero(aval.dtype).into(), &aval.shape)
}

/// The graph of a builder for any shapes, without what no output needs.
fn finish_for_any_shapes(b: Builder, outputs: Vec<Atom>) -> Result<AnyShapes> {
    let AnyShapes { graph, fixed } = b.finish_for_any_shapes(outputs)?;
    Ok(AnyShapes { graph: prune(graph), fixed })
}

/// Declares an input for each of these variables of another graph.
fn declare(b: &mut Builder, graph: &Graph, vars: &[Var]) -> Vec<Atom> {
    vars.iter().map(|v| b.input(graph.avals[v.0 as usize].clone()).into()).collect()
}
