//! The table itself. It is a callback macro: `lazuli-ir` expands it into the families, `lazuli-core` into functions and methods,
//! the Python binding into functions, stubs and documentation; each takes what it needs of a row.

use super::{Accepts, Gives, Partial, Row, rules};
use crate::aval::Aval;
use crate::builder::Builder;
use crate::graph::Atom;
use crate::param::Params;
use crate::pointwise::{Ix, Lane, Pointwise};
use crate::prim::{Lowering, Primals, Primitive, Tangents, TransposeCx, VmapCx, VmapOut};
use lazuli_kernel::{BinaryOp, Result, UnaryOp};
use smallvec::SmallVec;

/// Calls `$with!` with every row of the elementwise ops.
#[macro_export]
macro_rules! elementwise_table {
    ($with:ident) => {
        $with! {
            /// Ops of one operand.
            Unary[1] {
                Neg negative "Elementwise negation, −a." {
                    accepts: Number, gives: Same,
                    partials: |_, _, _| Ok([Partial::MinusOne]),
                    real: |e, [a]| e.unary(UnaryOp::Neg, a),
                    complex: |e, [a]| { let (re, im) = a.parts(); Lane::Complex(e.neg(re), e.neg(im)) },
                }
                Conjugate conjugate "Complex conjugate; real numbers unchanged." {
                    accepts: Number, gives: Same,
                    partials: |_, _, _| Ok([Partial::Itself]),
                    real: |_, [a]| a,
                    complex: |e, [a]| { let (re, im) = a.parts(); Lane::Complex(re, e.neg(im)) },
                }
            }
            /// Ops of two operands of one dtype.
            Binary[2] {
                Add add "Elementwise sum, a + b." {
                    accepts: Number, gives: Same,
                    partials: |_, _, _| Ok([Partial::One, Partial::One]),
                    real: |e, [a, b]| e.binary(BinaryOp::Add, a, b),
                    complex: |e, [a, b]| { let ((a, b), (c, d)) = (a.parts(), b.parts()); Lane::Complex(e.add(a, c), e.add(b, d)) },
                }
                Sub subtract "Elementwise difference, a − b." {
                    accepts: Number, gives: Same,
                    partials: |_, _, _| Ok([Partial::One, Partial::MinusOne]),
                    real: |e, [a, b]| e.binary(BinaryOp::Sub, a, b),
                    complex: |e, [a, b]| { let ((a, b), (c, d)) = (a.parts(), b.parts()); Lane::Complex(e.sub(a, c), e.sub(b, d)) },
                }
                Mul multiply "Elementwise product, a · b." {
                    accepts: Any, gives: Same,
                    partials: |_, [a, b], _| Ok([Partial::Times(b), Partial::Times(a)]),
                    real: |e, [a, b]| rules::mul(e, a, b),
                    complex: |e, [a, b]| {
                        let ((a, b), (c, d)) = (a.parts(), b.parts());
                        let (ac, bd, ad, bc) = (e.mul(a, c), e.mul(b, d), e.mul(a, d), e.mul(b, c));
                        Lane::Complex(e.sub(ac, bd), e.add(ad, bc))
                    },
                }
                Div divide "Elementwise quotient, a / b." {
                    accepts: Inexact, gives: Same,
                    partials: |bld, [_, b], y| { let q = bld.div(y, b)?; Ok([Partial::Over(b), Partial::Times(bld.neg(q)?)]) },
                    real: |e, [a, b]| e.binary(BinaryOp::Div, a, b),
                    complex: |e, [a, b]| rules::complex_div(e, a, b),
                }
                Eq equal "Whether a = b." {
                    accepts: Any, gives: Bool,
                    partials: |_, _, _| Ok([Partial::Zero, Partial::Zero]),
                    real: |e, [a, b]| e.binary(BinaryOp::Eq, a, b),
                    complex: |e, [a, b]| {
                        let ((a, b), (c, d)) = (a.parts(), b.parts());
                        let (re, im) = (e.eq(a, c), e.eq(b, d));
                        Lane::Real(e.and(re, im))
                    },
                }
            }
            /// Ops of three operands.
            Ternary[3] {
                Select where "`a` where the condition holds, `b` elsewhere." {
                    accepts: Any, gives: Same,
                    partials: |_, _, _| Ok([Partial::Zero, Partial::Itself, Partial::Itself]),
                    real: |e, [c, a, b]| e.select(c, a, b),
                    complex: |e, [c, a, b]| {
                        let (c, (ar, ai), (br, bi)) = (c.real(), a.parts(), b.parts());
                        Lane::Complex(e.select(c, ar, br), e.select(c, ai, bi))
                    },
                }
            }
        }
    };
}

elementwise_table!(families);
