//! Operations that decide by the extents of their operands as numbers.
//!
//! In a shapeless trace each is recorded as one call whose body is made again where an extent is another that it was decided by; elsewhere its body is recorded at once. A row
//! states name, parameters and body. All of them are data, so that functions that use them can be saved.

use super::index::{self, Item};
use super::{create, derived, reduce, shape};
use crate::array::Array;
use crate::shapeless::{is_symbolic, made, made_for_any_shapes, record_rule};
use lazuli_ir::param::{Param, Params, join};
use lazuli_ir::prims::GraphRule;
use lazuli_ir::{AnyShapes, Aval, Graph, Result};
use lazuli_kernel::ScatterOp;
use smallvec::SmallVec;
use std::sync::Arc;

macro_rules! by_shape {
    ($($(#[$doc:meta])* $op:ident $name:literal { $($field:ident: $type:ty),* } $body:expr;)*) => {
        /// An operation with its parameters.
        #[derive(Debug, Clone)]
        pub(crate) enum ByShape {
            $($(#[$doc])* $op { $($field: $type),* },)*
        }

        impl ByShape {
            /// The operation of this name with these parameters.
            pub fn read(name: &str, params: &Params) -> Option<ByShape> {
                match name {
                    $($name => Some(ByShape::$op { $($field: params.read(stringify!($field))?),* }),)*
                    _ => None,
                }
            }

            fn of(&self, operands: &[Array]) -> Result<Vec<Array>> {
                match self {
                    $(ByShape::$op { $($field),* } => {
                        let body: fn(&[Array], $(&$type),*) -> Result<Vec<Array>> = $body;
                        body(operands, $($field),*)
                    })*
                }
            }
        }

        impl GraphRule for ByShape {
            fn graph(&self, inputs: &[&Aval]) -> Result<Graph> {
                made(GraphRule::name(self), inputs, |operands| self.of(operands))
            }
            fn for_any_shapes(&self, inputs: &[&Aval]) -> Option<AnyShapes> {
                made_for_any_shapes(GraphRule::name(self), inputs, |operands| self.of(operands))
            }
            fn name(&self) -> &'static str {
                match self {
                    $(ByShape::$op { .. } => $name,)*
                }
            }
            fn params(&self) -> String {
                match self {
                    $(ByShape::$op { $($field),* } => join(&[$((stringify!($field), Param::show($field))),*]),)*
                }
            }
        }
    };
}

by_shape! {
    ArrayEqual "array_equal" { equal_nan: bool } |x, &nan| Ok(vec![derived::same_elements(&x[0], &x[1], nan)?]);
    BroadcastArrays "broadcast_arrays" {} shape::stretched;
    IndexUpdate "index_update" { items: SmallVec<[Item<()>; 4]>, op: ScatterOp } |x, items, &op| {
        Ok(vec![index::updated(&x[0], &index::filled(items, &x[2..]), &x[1], op)?])
    };
    /// Of elements along the last axis.
    Median "median" {} |x| Ok(vec![reduce::middle(&x[0])?]);
    Meshgrid "meshgrid" { sparse: bool, xy: bool } |x, &sparse, &xy| create::grids(x, sparse, xy);
    PadEdge "pad_edge" { axis: usize, low: usize, high: usize } |x, &axis, &low, &high| {
        Ok(vec![shape::edges(&x[0], axis, low, high)?])
    };
    Roll "roll" { shift: isize, axis: usize } |x, &shift, &axis| Ok(vec![shape::rolled(&x[0], shift, axis)?]);
    Split "split" { parts: usize, axis: usize } |x, &parts, &axis| shape::parts(&x[0], parts, axis);
}

impl ByShape {
    /// Records the operation on these arrays, which are all that it needs.
    #[track_caller]
    pub fn apply(self, operands: &[&Array]) -> Result<Vec<Array>> {
        if operands.iter().any(|a| is_symbolic(a)) {
            return record_rule(Arc::new(self), operands);
        }
        self.of(&operands.iter().map(|&a| a.clone()).collect::<Vec<_>>())
    }
}
