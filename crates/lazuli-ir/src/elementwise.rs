//! The elementwise families: one row per op.
//!
//! A row states what the op accepts and gives, its partial derivatives, and what it does to one number. Shape rule (NumPy
//! broadcasting of all operands), jvp, transpose, vmap and lowering are the family's and follow from the row.
//!
//! Float ops on f16 and bf16 are computed in f32 and rounded once, by the family.

use crate::builder::Builder;
use crate::graph::Atom;
use crate::pointwise::Lane;
use lazuli_kernel::{DType, Emit, Result, Value};

/// Which dtypes an op is defined on. A public function casts other operands up first (integers to f32 for `Float`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepts {
    Any,
    /// All but bool.
    Number,
    /// All but bool and complex.
    Real,
    /// All but complex.
    Ordered,
    /// Float and complex.
    Inexact,
    Float,
    Integer,
    /// Integer and bool.
    Bits,
    Bool,
    Float32,
}

impl Accepts {
    pub fn contains(self, d: DType) -> bool {
        match self {
            Accepts::Any => true,
            Accepts::Number => d != DType::Bool,
            Accepts::Real => d != DType::Bool && d != DType::C64,
            Accepts::Ordered => d != DType::C64,
            Accepts::Inexact => d.is_inexact(),
            Accepts::Float => d.is_float(),
            Accepts::Integer => d.is_integer(),
            Accepts::Bits => d.is_integer() || d == DType::Bool,
            Accepts::Bool => d == DType::Bool,
            Accepts::Float32 => d == DType::F32,
        }
    }
    /// For messages: "a float or complex dtype".
    pub fn describe(self) -> &'static str {
        match self {
            Accepts::Any => "any dtype",
            Accepts::Number => "a numeric dtype (not bool)",
            Accepts::Real => "an integer or float dtype",
            Accepts::Ordered => "a dtype that is not complex",
            Accepts::Inexact => "a float or complex dtype",
            Accepts::Float => "a float dtype",
            Accepts::Integer => "an integer dtype",
            Accepts::Bits => "an integer dtype or bool",
            Accepts::Bool => "bool",
            Accepts::Float32 => "float32",
        }
    }
}

/// dtype of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gives {
    Same,
    Bool,
    /// The float of a complex number's parts; other dtypes unchanged.
    RealPart,
    Complex,
}

/// Derivative of an op with respect to one operand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Partial {
    /// No dependence, or a step function.
    Zero,
    One,
    MinusOne,
    /// The tangent times this factor.
    Times(Atom),
    /// The tangent divided by this: a division is exact where a product with the inverse is not.
    Over(Atom),
    /// The real part of the tangent times this factor: a real function of a complex operand.
    RealTimes(Atom),
    /// Linear in the tangent, but not a product: the op itself applied to the tangent (conjugate, real, imag, a select).
    Itself,
}

/// One row of the table.
#[derive(Debug)]
pub struct Row<const N: usize> {
    /// As in Python and in printed graphs.
    pub name: &'static str,
    pub doc: &'static str,
    pub accepts: Accepts,
    pub gives: Gives,
    /// Derivative of the result `y` with respect to each operand.
    pub partials: fn(&mut Builder, [Atom; N], Atom) -> Result<[Partial; N]>,
    /// The op on numbers of one real dtype (never f16 or bf16: the family widens those).
    pub real: fn(&mut Emit, [Value; N]) -> Value,
    /// The op where an operand is complex (all of them are, but for the condition of a select) or the result is.
    pub complex: fn(&mut Emit, [Lane; N]) -> Lane,
}

/// Declares the families from the table: the enum of ops, the row of each, the rules that follow.
macro_rules! families {
    ($($(#[$meta:meta])* $family:ident[$n:literal] { $($variant:ident $name:ident $doc:literal {
        example: [$($operand:literal),*] => $result:literal,
        accepts: $accepts:ident, gives: $gives:ident, partials: $partials:expr, real: $real:expr, complex: $complex:expr $(,)?
    })* })*) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $family { $(#[doc = $doc] $variant),* }

        impl $family {
            pub const ALL: &[$family] = &[$($family::$variant),*];
            pub fn row(self) -> &'static Row<$n> {
                match self { $($family::$variant => {
                    static ROW: Row<$n> = Row {
                        name: stringify!($name), doc: $doc, accepts: Accepts::$accepts, gives: Gives::$gives,
                        partials: $partials, real: $real, complex: $complex,
                    };
                    &ROW
                })* }
            }
        }

        impl Primitive for $family {
            fn name(&self) -> &'static str { self.row().name }
            fn arity(&self) -> Arity { Arity::Exactly($n) }
            fn parse(name: &str, _: &Params) -> Option<Self> { Self::ALL.iter().copied().find(|op| op.name() == name) }
            fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> { rules::infer(self.row(), inputs) }
            fn jvp(&self, b: &mut Builder, primals: Primals, tangents: &[Option<Atom>]) -> Result<Tangents> {
                rules::jvp((*self).into(), self.row(), b, primals, tangents)
            }
            fn transpose(&self, b: &mut Builder, cx: TransposeCx, cotangents: &[Option<Atom>]) -> Result<Tangents> {
                rules::transpose((*self).into(), b, cx, cotangents[0])
            }
            fn same_extents(&self, inputs: &[&Aval], output: &Aval, same: &mut dyn FnMut(Place, Place)) {
                inputs.iter().enumerate().for_each(|(k, a)| stretched(k, &a.shape, &output.shape, same));
            }
            fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> { rules::vmap((*self).into(), b, cx) }
            fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering { Lowering::Pointwise }
            fn pointwise(&self, cx: &mut dyn Pointwise, at: &[Ix]) -> Lane { rules::pointwise(self.row(), cx, at) }
        }
    )* };
}

mod complex;
mod partials;
mod rules;
mod scalar;
mod table;
#[cfg(test)]
mod tests;
pub use table::{Binary, Ternary, Unary};
