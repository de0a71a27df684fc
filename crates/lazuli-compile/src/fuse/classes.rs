//! At which indices a value is needed.

use super::loops::Mask;
use super::{Fuser, NONE, Placement, regroups, same_points};
use crate::lower::is_joined;
use lazuli_ir::{Atom, Graph, Prim, Shape, Var, shape};
use smallvec::{SmallVec, smallvec};

/// At which indices a kernel needs a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Class {
    /// Those of its loop along these axes: it can store a value at all of them, or at those that its reductions keep.
    On(Mask),
    /// Others; equal numbers, equal indices.
    Other(u32),
}

/// What is known of a class of other indices.
#[derive(Debug, Clone, Copy)]
pub(super) struct Other {
    /// The loop axes that they depend on.
    base: Mask,
    /// How many there are, if those are not all points of these axes: the loop is cut, and they are those of one part.
    pub points: Option<usize>,
}

impl<'a> Fuser<'a> {
    /// Where a variable is needed: one entry for each kernel and class.
    pub(super) fn demands(&mut self, v: Var) -> SmallVec<[Placement; 2]> {
        let mut demands: SmallVec<[Placement; 2]> = SmallVec::new();
        let range = self.starts[v.0 as usize] as usize..self.starts[v.0 as usize + 1] as usize;
        for u in range {
            let user = self.users[u];
            for p in 0..self.placements[user as usize].len() {
                let Placement { kernel, class: of_user, spent, along_row } = self.placements[user as usize][p];
                let kernel = self.find(kernel);
                let class = self.operand_class(user, v, kernel, of_user);
                let kept = self.kernel(kernel).nest.as_ref().and_then(|nest| nest.kept);
                let within = kept.is_none_or(|kept| self.base(of_user) & !kept == 0) || !self.is_pointwise(user);
                let along_row = along_row || !within;
                match demands.iter_mut().find(|d| d.kernel == kernel && d.class == class) {
                    Some(d) => {
                        d.spent = d.spent.max(spent);
                        d.along_row |= along_row;
                    }
                    None => demands.push(Placement { kernel, class, spent, along_row }),
                }
            }
        }
        demands
    }

    /// The class of indices at which an equation, itself needed at `class`, needs an operand.
    pub(super) fn operand_class(&mut self, user: u32, v: Var, kernel: u32, class: Class) -> Class {
        let graph: &'a Graph = self.graph;
        let e = &graph.equations[user as usize];
        // Nothing but a call of the host has no outputs.
        let Some(&output) = e.outputs.first() else { return self.other((class, user, Shape::new())) };
        let (shape, out) = (self.shape(v), self.shape(output));
        let broadcasts = match &e.prim {
            prim if prim.is_elementwise() => true,
            Prim::Broadcast(_) => true,
            Prim::ScatterAxis(_) => self.is_pointwise(user),
            Prim::SliceUpdate(_) => {
                self.is_pointwise(user) && Atom::Var(v) == e.inputs[0] && Atom::Var(v) != e.inputs[1]
            }
            Prim::GatherAxis(_) => Atom::Var(v) == e.inputs[1] && Atom::Var(v) != e.inputs[0],
            _ => false,
        };
        match &e.prim {
            _ if broadcasts => {
                if same_points(shape, out) {
                    return class;
                }
                if let (Class::On(mask), Some(nest)) = (class, &self.kernel(kernel).nest)
                    && let Some(narrow) = nest.axes.narrowed(mask, out, shape)
                {
                    return Class::On(narrow);
                }
                self.other((class, NONE, shape.clone()))
            }
            prim if regroups(prim) => class,
            prim if prim.is_view() => self.other((class, user, Shape::new())),
            Prim::Reduce(_) | Prim::ArgReduce(_) => class,
            // Gathers and the like, and anchors that are no reductions, have indices of their own for each operand.
            _ => {
                let k = e.inputs.iter().position(|a| *a == Atom::Var(v)).unwrap_or(0);
                let own = self.other((class, user, smallvec![k]));
                if let Class::Other(n) = own
                    && is_joined(e)
                    && self.kernel(kernel).stores_at(class)
                    && self.is_cut(kernel)
                {
                    self.others[n as usize].points = Some(shape::size(shape));
                }
                own
            }
        }
    }

    pub(super) fn other(&mut self, key: (Class, u32, Shape)) -> Class {
        let other = Other {
            base: self.base(key.0),
            points: match key.0 {
                Class::On(_) => None,
                Class::Other(n) => self.others[n as usize].points,
            },
        };
        let next = self.classes.len() as u32;
        let number = *self.classes.entry(key).or_insert(next);
        if number == next {
            self.others.push(other);
        }
        Class::Other(number)
    }

    /// The loop axes that indices of a class depend on.
    pub(super) fn base(&self, class: Class) -> Mask {
        match class {
            Class::On(mask) => mask,
            Class::Other(n) => self.others[n as usize].base,
        }
    }
}
