//! What is computed point by point: views, and maps of them.

use super::cost::cost;
use super::schedule::{boundaries, nested};
use super::{Class, Fuser, Loop, MOST_VIEWS, Placement, same_points};
use crate::lower::is_joined;
use lazuli_ir::{Atom, Equation, Prim, Var, shape, small};
use smallvec::{SmallVec, smallvec};

impl<'a> Fuser<'a> {
    /// A view costs nothing and goes wherever it is needed. If it is needed in memory its source has to be there, and it needs no kernel: unless it is
    /// an output much smaller than a source that nobody else wants.
    pub(super) fn view(&mut self, i: u32, e: &Equation) {
        let v = e.outputs[0];
        let Atom::Var(source) = e.inputs[0] else { return self.pointwise(i, e) };
        let (stored, floor) = (self.stored[v.0 as usize], self.floors[v.0 as usize]);
        let smaller = shape::size(self.shape(v)) < shape::size(self.shape(source));
        if stored && smaller && !self.is_stored_anyway(source) {
            return self.pointwise(i, e);
        }
        if stored {
            self.require(source, floor, "a view of it is needed in memory");
        }
        if self.is_input(source) {
            return;
        }
        let demands = self.demands(v);
        let many = demands.len() > MOST_VIEWS;
        for d in demands {
            let regroup = regroups(&e.prim) && !same_points(self.shape(v), self.shape(source));
            let k = self.kernel(d.kernel);
            let splits = k.is_map() && k.stores_at(d.class);
            let far = !self.is_near(i, d.kernel);
            if many || far || regroup && !(splits && self.split(d.kernel, source)) {
                let above = self.kernel(d.kernel).height + 1;
                let why =
                    if far { "another call or stream needs it" } else { "it is regrouped across the loop's axes" };
                self.require(source, above, why);
                if many {
                    continue;
                }
                if regroup {
                    // What is in memory is seen through the view's own strides.
                    self.kernels[d.kernel as usize].reads.insert(source);
                    continue;
                }
            }
            self.place(i, d, 0);
        }
    }

    /// Splits a map's loop axes where those of `v` end; false if they do not nest.
    fn split(&mut self, kernel: u32, v: Var) -> bool {
        let shape = self.shape(v);
        let k = &mut self.kernels[kernel as usize];
        if k.is_epilogue {
            return false;
        }
        let Some(all) = nested(k.boundaries.iter().copied().chain(boundaries(shape))) else { return false };
        k.boundaries = all;
        k.group.splits.push(v);
        true
    }

    pub(super) fn pointwise(&mut self, i: u32, e: &Equation) {
        let v = e.outputs[0];
        let mut demands = self.demands(v);
        let far: SmallVec<[u32; 2]> = small(demands.iter().map(|d| d.kernel).filter(|&k| !self.is_near(i, k)));
        for kernel in far {
            let above = self.kernel(kernel).height + 1;
            self.require(v, above, "another call or stream needs it");
            demands.retain(|d| d.kernel != kernel);
        }
        let stored = self.stored[v.0 as usize];
        if demands.is_empty() && !stored {
            return;
        }
        self.expect_rows(i, v, &demands);
        let cost = cost(self.graph, e);
        if !stored {
            self.share_loop(&mut demands);
            match self.pull(&demands, e, v, cost) {
                Ok(placements) => return placements.into_iter().for_each(|p| self.place(i, p, cost)),
                Err(why) => self.reasons.push((v, why)),
            }
        }
        self.raise_over_host(v, &demands, |f, d| f.stores_at(d));
        let height = self.height_for(v, &demands);
        let is_cut = !is_joined(e) || demands.iter().all(|d| self.is_cut(d.kernel));
        let joined = if is_cut { self.join(&mut demands, height, i, cost) } else { None };
        let kernel = match joined {
            Some(kernel) => kernel,
            None => {
                let nest = Loop::map(self.shape(v));
                let own = Class::On(nest.axes.all());
                let kernel = self.new_kernel(i, Some(nest), self.shape(v), self.above(v, &demands));
                demands = smallvec![Placement { kernel, class: own, spent: 0, along_row: false }];
                kernel
            }
        };
        let here = demands.into_iter().filter(|d| self.find(d.kernel) == kernel);
        let placements: SmallVec<[Placement; 2]> = small(here.map(|d| Placement { kernel, ..d }));
        placements.into_iter().for_each(|p| self.place(i, p, cost));
        self.store(kernel, v);
    }
}

/// Views that keep the elements in their row-major order.
pub(super) fn regroups(prim: &Prim) -> bool {
    matches!(prim, Prim::Reshape(_) | Prim::Flatten(_) | Prim::Unflatten(_) | Prim::ExpandDims(_) | Prim::Squeeze(_))
}
