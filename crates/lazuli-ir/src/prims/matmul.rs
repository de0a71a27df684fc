//! Products of matrices.

use crate::aval::Aval;
use crate::builder::Builder;
use crate::extents::{Place, stretched};
use crate::graph::Atom;
use crate::param::fields;
use crate::prim::{Arity, Library, Lowering, Primals, Primitive, Tangents, TransposeCx, VmapCx, VmapOut};
use crate::prims::{Flatten, Transpose, conjugate, cotangent, unbroadcast};
use lazuli_kernel::{Error, Result, Shape, shape};
use smallvec::{SmallVec, smallvec};

/// Matrix product of (…, m, k) and (…, k, n), both of rank 2 or more; the axes in front broadcast. Floats or complex numbers of one dtype.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Matmul {}

/// The last two axes exchanged, and complex numbers conjugated.
fn adjoint(b: &mut Builder, a: Atom) -> Result<Atom> {
    let rank = b.rank(a);
    let mut axes: SmallVec<[usize; 4]> = (0..rank).collect();
    axes.swap(rank - 2, rank - 1);
    let a = conjugate(b, a)?;
    b.op(Transpose { axes }, &[a])
}

/// All rows of a stack of matrices as one matrix.
fn rows(b: &mut Builder, a: Atom) -> Result<Atom> {
    match b.rank(a) {
        2 => Ok(a),
        rank => b.op(Flatten { start: 0, end: rank - 2 }, &[a]),
    }
}

impl Primitive for Matmul {
    fields!("matmul");
    fn arity(&self) -> Arity {
        Arity::Exactly(2)
    }
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let (a, b) = (inputs[0], inputs[1]);
        if a.dtype != b.dtype || !a.dtype.is_inexact() {
            return Err(Error::value(
                "matmul",
                format!(
                    "is defined on floats or complex numbers of one dtype, not on {} and {}: cast with astype first",
                    a.dtype, b.dtype
                ),
            ));
        }
        let (p, q) = (a.rank(), b.rank());
        if p < 2 || q < 2 {
            return Err(Error::value("matmul", format!("needs arrays with at least 2 dimensions, not {a} and {b}")));
        }
        if a.shape[p - 1] != b.shape[q - 2] {
            let (x, y) = (shape::show(&a.shape), shape::show(&b.shape));
            return Err(Error::value(
                "matmul",
                format!("last dimension of a {x} must match second to last dimension of b {y}"),
            ));
        }
        let mut out: Shape = shape::broadcast("matmul", &a.shape[..p - 2], &b.shape[..q - 2])?;
        out.extend([a.shape[p - 2], b.shape[q - 1]]);
        Ok(smallvec![Aval::new(a.dtype, out)])
    }
    fn jvp(&self, b: &mut Builder, primals: Primals, tangents: &[Option<Atom>]) -> Result<Tangents> {
        let mut sum = None;
        for (k, tangent) in tangents.iter().enumerate() {
            let Some(t) = *tangent else { continue };
            let operands = if k == 0 { [t, primals.inputs[1]] } else { [primals.inputs[0], t] };
            let term = b.op(Matmul {}, &operands)?;
            sum = Some(match sum {
                Some(s) => b.add(s, term)?,
                None => term,
            });
        }
        Ok(smallvec![sum])
    }
    /// `ct · b*` and `a* · ct`, with the conjugate transposes. Where one matrix multiplies a whole stack, its cotangent is a single product over the rows of the stack, not a sum
    /// of products.
    fn transpose(&self, b: &mut Builder, cx: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
        let ct = cotangent(cotangents);
        match (cx.inputs[0], cx.inputs[1]) {
            (None, Some(right)) => {
                let right = adjoint(b, right)?;
                let product = b.op(Matmul {}, &[ct, right])?;
                Ok(smallvec![Some(unbroadcast(b, product, &cx.avals[0].shape)?), None])
            }
            (Some(left), None) => {
                let single = cx.avals[1].rank() == 2 && b.rank(left) == b.rank(ct);
                let (left, ct) = if single { (rows(b, left)?, rows(b, ct)?) } else { (left, ct) };
                let left = adjoint(b, left)?;
                let product = b.op(Matmul {}, &[left, ct])?;
                Ok(smallvec![None, Some(unbroadcast(b, product, &cx.avals[1].shape)?)])
            }
            _ => Err(Error::internal("matmul", "not linear in both operands together")),
        }
    }
    fn same_extents(&self, inputs: &[&Aval], output: &Aval, same: &mut dyn FnMut(Place, Place)) {
        let (p, q, r) = (inputs[0].rank(), inputs[1].rank(), output.rank());
        same(Place::Input(0, p - 1), Place::Input(1, q - 2));
        same(Place::Input(0, p - 2), Place::Output(r - 2));
        same(Place::Input(1, q - 1), Place::Output(r - 1));
        for (k, a) in inputs.iter().enumerate() {
            stretched(k, &a.shape[..a.rank() - 2], &output.shape[..r - 2], same);
        }
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        // One matrix for the whole batch stays one.
        let shared = cx.batched[0] && !cx.batched[1] && b.rank(cx.inputs[1]) == 2;
        let inputs = if shared { cx.inputs.into() } else { cx.align(b)? };
        Ok(smallvec![b.op(Matmul {}, &inputs)?])
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Library(Library::Matmul)
    }
}
