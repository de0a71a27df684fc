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
use lazuli_ir::{AnyShapes, Aval, Error, Graph, Result};
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
                if !self.takes(inputs) {
                    let given: Vec<String> = inputs.iter().map(|aval| aval.to_string()).collect();
                    let text = format!("[{}] is not for operands {}", GraphRule::params(self), given.join(" "));
                    return Err(Error::value(GraphRule::name(self), text));
                }
                made(GraphRule::name(self), inputs, |operands| self.of(operands))
            }
            fn for_any_shapes(&self, inputs: &[&Aval]) -> Option<AnyShapes> {
                let make = || made_for_any_shapes(GraphRule::name(self), inputs, |operands| self.of(operands));
                self.takes(inputs).then(make).flatten()
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
    /// Whether such operands can be its own: those of a file may be any.
    fn takes(&self, inputs: &[&Aval]) -> bool {
        let rank = inputs.first().map_or(0, |a| a.rank());
        match self {
            ByShape::ArrayEqual { .. } => inputs.len() == 2,
            ByShape::BroadcastArrays {} | ByShape::Meshgrid { .. } => true,
            ByShape::IndexUpdate { items, .. } => {
                inputs.len() == 2 + items.iter().filter(|item| matches!(item, Item::Array(()))).count()
            }
            ByShape::Median {} => inputs.len() == 1 && rank > 0,
            ByShape::PadEdge { axis, .. } | ByShape::Roll { axis, .. } | ByShape::Split { axis, .. } => {
                inputs.len() == 1 && *axis < rank
            }
        }
    }

    /// Records the operation on these arrays, which are all that it needs.
    #[track_caller]
    pub fn apply(self, operands: &[&Array]) -> Result<Vec<Array>> {
        if operands.iter().any(|a| is_symbolic(a)) {
            return record_rule(Arc::new(self), operands);
        }
        self.of(&operands.iter().map(|&a| a.clone()).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use crate::shapeless::read_rule;
    use lazuli_ir::Graph;

    #[test]
    fn rules_of_files_are_looked_at() {
        let read = |rule: &str, operands: &str| {
            let text = format!(
                "graph v1 (a: f32[2,3], b: f32[2]) {{ c: f32[2,3] = call[name=f] {operands} with {rule}\n return c }}"
            );
            Graph::parse(&text, &read_rule).map(drop).map_err(|e| e.to_string())
        };
        assert_eq!(read("roll[shift=1,axis=1]", "a"), Ok(()));
        for (rule, operands, message) in [
            ("roll[shift=1,axis=2]", "a", "[roll] [shift=1,axis=2] is not for operands f32[2,3]"),
            ("roll[shift=1,axis=0]", "", "is not for operands "),
            ("roll[shift=1,axis=0]", "a b", "is not for operands f32[2,3] f32[2]"),
            ("split[parts=2,axis=7]", "a", "is not for operands"),
            ("split[parts=0,axis=0]", "a", "equal parts"),
            ("pad_edge[axis=9,low=1,high=1]", "a", "is not for operands"),
            ("median[]", "", "is not for operands"),
            ("array_equal[equal_nan=true]", "a", "is not for operands"),
            ("index_update[items=(array),op=add]", "a b", "is not for operands"),
        ] {
            let error = read(rule, operands).unwrap_err();
            assert!(error.contains(message), "{rule} {operands}: {error}");
        }
    }
}
