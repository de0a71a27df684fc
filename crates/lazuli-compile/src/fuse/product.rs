//! Matrix products and writes into parts of arrays, and the maps that become their epilogues.
//!
//! An epilogue is a map whose loop is that of the result: it is run on each part of it that is finished, while that is hot. It has one product or write, no
//! reduction joins it, its axes are not split, and it is merged with no other kernel; values that it needs at its own points may be stored by it as by any map.

use super::{Class, Fuser, Placement, boundaries, operands};
use crate::lower::transpose_of;
use lazuli_ir::{Equation, Graph, Var, shape};

/// Elements of an array that is worth a pass less.
const LARGE: usize = 1 << 16;
/// Neighbours that are updated together: what the update of one alone costs is nothing to them.
const LONG: usize = 64;
/// One by one, updates are worth a search if the array has so many elements for each of them.
const FEW_SINGLE: usize = 256;

impl<'a> Fuser<'a> {
    /// A matrix product joins the map that needs it, or its transpose if that is all that is needed, before any other and at its own points; otherwise it is by
    /// itself.
    pub(super) fn product(&mut self, i: u32, e: &Equation) {
        let graph: &'a Graph = self.graph;
        let v = e.outputs[0];
        let users = &self.users[self.starts[v.0 as usize] as usize..self.starts[v.0 as usize + 1] as usize];
        let transpose = match users {
            [user] if !graph.outputs.contains(&v.into()) => transpose_of(graph, v, &graph.equations[*user as usize]),
            _ => None,
        };
        let Some(kernel) = self.join_map(i, e, transpose.unwrap_or(v)) else { return self.closed(i, e) };
        let above = self.kernel(kernel).height + 1;
        operands(e).for_each(|u| self.require(u, above, "a matrix product reads it"));
    }

    /// An assignment at computed positions or an update of a slice, at so many points, joins the map that needs it in the same way: what follows from it is computed from
    /// the target everywhere, and from the updates where they are. Not where those are many: each reads other operands of the map at a position of its own.
    pub(super) fn write(&mut self, i: u32, e: &Equation, space: &[usize]) {
        let v = e.outputs[0];
        let is_few = 2 * shape::size(space) <= shape::size(self.shape(v));
        if is_few && self.join_map(i, e, v).is_some() {
            return;
        }
        self.closed(i, e);
        if !is_few {
            self.keep(e, &self.lowerings[i as usize]);
        }
    }

    /// What is combined at computed positions, in runs of so many of these points, joins the map that needs it, too: part by part of the result, each of which then
    /// goes through the map. That saves a pass over the array, and costs a search for the updates of each part: not worth it where they are many, or where the array is in the cache anyhow.
    pub(super) fn combine(&mut self, i: u32, e: &Equation, space: &[usize], run: usize) {
        let v = e.outputs[0];
        let (updates, size) = (shape::size(space), shape::size(self.shape(v)));
        let why = if size < LARGE {
            Some("it is updated in memory: it is small")
        } else if run >= LONG {
            (updates > size).then_some("it is updated in memory: the updates are more than its elements")
        } else {
            (FEW_SINGLE.saturating_mul(updates) > size).then_some("it is updated in memory: many single elements are")
        };
        match why {
            None if self.join_map(i, e, v).is_some() => {}
            None => self.closed(i, e),
            Some(why) => {
                self.closed(i, e);
                self.note(v, why);
            }
        }
    }

    /// Makes an equation part of the map that needs its result, or `needed`, a view of that. None if there is none that it can join.
    fn join_map(&mut self, i: u32, e: &Equation, needed: Var) -> Option<u32> {
        let v = e.outputs[0];
        let mut demands = self.demands(needed);
        if demands.len() > 1 {
            self.share_loop(&mut demands);
        }
        let height = self.height_for(needed, &demands).max(self.floors[v.0 as usize]);
        let tied =
            |f: &Self, kernel: u32| demands.iter().any(|d| d.kernel != kernel && f.kernel(d.kernel).height == height);
        let kernel = match self.epilogue(i, needed, &demands, height) {
            Ok(kernel) if self.waits_for_effects && tied(self, kernel) => return None,
            Ok(kernel) => kernel,
            Err(why) => {
                if !self.stored[v.0 as usize] && !demands.is_empty() {
                    self.reasons.push((v, why));
                }
                return None;
            }
        };
        // None of the others is needed by this one, or it would be higher.
        if tied(self, kernel) {
            self.raise(kernel, height + 1);
        }
        if self.stored[v.0 as usize] || demands.iter().any(|d| d.kernel != kernel) {
            self.store(kernel, v);
        }
        let k = &mut self.kernels[kernel as usize];
        k.is_epilogue = true;
        k.group.anchors.push(i);
        self.place(i, Placement { kernel, class: Class::On(0), spent: 0, along_row: false }, 1);
        Some(kernel)
    }

    /// The kernel that an equation could join, among the highest of those that need it, or why there is none.
    fn epilogue(&self, i: u32, needed: Var, demands: &[Placement], height: u32) -> Result<u32, &'static str> {
        let mut why = "it is needed in memory first";
        for d in demands.iter().filter(|d| self.kernel(d.kernel).height == height) {
            let k = self.kernel(d.kernel);
            let again = demands.iter().any(|other| other.kernel == d.kernel && other.class != d.class);
            why = if !k.is_map() {
                "what needs it is no map"
            } else if k.is_epilogue {
                "the kernel has a product or an update already"
            } else if again || !self.stores_at(d) || k.boundaries != boundaries(self.shape(needed)) {
                "it is needed at other points than its own"
            } else if !self.is_near(i, d.kernel) {
                "another call or stream needs it"
            } else if !self.has_room(d.kernel, 1) {
                "the kernel would be too large"
            } else {
                return Ok(d.kernel);
            };
        }
        Err(why)
    }
}
