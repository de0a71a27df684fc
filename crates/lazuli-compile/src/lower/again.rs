//! Kernels for other extents of the same [pattern](crate::pattern): their launches follow by arithmetic from what was noted when they were lowered first.
//!
//! What is written into a kernel depends on ranks, on which extents are equal, 0 and 1, and on [decisions](super::numbers) by numbers that are made of extents and strides. All else that a launch
//! has follows from such numbers: its parameters, and how its operands are walked. Of a kernel a [`Recipe`] is noted: the kernel, and where these numbers come from.
//! Which loop axes are merged, along which one vectors run and how each operand is walked along that are decisions too. All of them have to come out as they did; otherwise the kernel is
//! lowered anew. What lies row by row, as most arrays do, has strides that are products of extents, so that for most kernels nothing is left to be decided.
//!
//! Absent: recipes of launches that are not a group of their own, as scans, writes at computed positions and copies are. These are lowered anew.

mod formulas;
mod notes;

use super::Lowerer;
use super::body::Access;
use super::finish::Launch;
use super::numbers::{Numbers, OfVar, Source, Visit};
use super::outside::OnlyUsers;
use super::places::{BufferId, Place, Producers};
use crate::template::Template;
pub(crate) use formulas::{Formulas, Linked, WorkSource};
use lazuli_ir::{Graph, Var, small};
use lazuli_kernel::hash::Map;
use lazuli_kernel::{Binding, DType, Kernel, Layout, Role, Scalar, Shape};
use notes::is_row;
pub(super) use notes::{Lies, Notes, Walk};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// What lowering for other extents takes over.
#[derive(Debug, Default)]
pub(crate) struct Recipes {
    /// By the first variable that each kernel stores.
    pub launches: Map<Var, Recipe>,
    /// By the choice and the number of the branch.
    pub branches: Map<(u32, usize), Template>,
    pub producers: Producers,
    pub only_users: Option<OnlyUsers>,
}

/// What lowering does with recipes.
pub(crate) enum Recall<'a> {
    Nothing,
    /// Notes them.
    Note(&'a mut Recipes),
    /// Goes by those that were noted for extents of the same pattern.
    Follow(&'a Recipes),
}

/// A kernel, and what its launch follows from.
#[derive(Debug)]
pub(crate) struct Recipe {
    stores: SmallVec<[Var; 2]>,
    /// What lies in a place that only this launch knows.
    given: Option<Var>,
    kernel: Arc<Kernel>,
    /// Variables that are read and have to lie row by row.
    rows: SmallVec<[Var; 4]>,
    /// Variables that are computed, and may not lie in memory.
    computed: SmallVec<[Var; 2]>,
    numbers: Numbers,
    extents: SmallVec<[Source; 4]>,
    /// The operands.
    arrays: SmallVec<[Array; 4]>,
    /// As they were, and those that follow from numbers.
    params: Vec<Scalar>,
    by_number: SmallVec<[(u32, DType, Source); 2]>,
}

/// An operand of a launch: a variable in memory.
#[derive(Debug)]
struct Array {
    of: Var,
    offset: Source,
    strides: SmallVec<[Source; 4]>,
    len: Source,
}

impl Array {
    fn sources(&mut self, f: &mut Visit) {
        [&mut self.offset, &mut self.len].into_iter().chain(&mut self.strides).for_each(f);
    }
}

impl Recipe {
    /// What the kernel runs on.
    fn bound(&self, graph: &Graph, arrays: &mut Arrays) -> Option<Binding> {
        if !self.rows.iter().all(|v| arrays.place(*v, Role::In).is_some_and(|place| is_row(&place.layout))) {
            return None;
        }
        let values = self.numbers.values(|leaf| match leaf {
            OfVar::Extent(v, axis) => Some(graph.shape_of(v)[axis as usize] as isize),
            OfVar::Lie(v, lie) => Some(lie.of(&arrays.place(v, Role::In)?.layout)),
        })?;
        let mut args = Vec::with_capacity(self.arrays.len());
        for (Array { of, offset, strides, len }, operand) in self.arrays.iter().zip(&self.kernel.operands) {
            let buffer = arrays.place(*of, operand.role)?.buffer;
            let strides = small(strides.iter().map(|stride| values.get(*stride)));
            args.push(
                Access { buffer, offset: values.get(*offset), strides, len: values.get(*len) as usize }.operands(),
            );
        }
        let mut params = self.params.clone();
        for &(param, dtype, source) in &self.by_number {
            params[param as usize] = Scalar::from_i64(dtype, values.get(source) as i64);
        }
        Some(Binding { extents: small(self.extents.iter().map(|n| values.get(*n) as usize)), args, params })
    }
}

/// Where the operands of a launch are: in place already, in one that only this launch knows, or in a new one, for what it stores.
pub(super) struct Arrays<'l, 'a> {
    lowerer: &'l mut Lowerer<'a>,
    given: Option<(Var, &'l Place)>,
    written: &'l mut Vec<(Var, Place)>,
}

impl Arrays<'_, '_> {
    pub fn place(&mut self, v: Var, role: Role) -> Option<&Place> {
        let graph = self.lowerer.graph;
        match (role, self.given) {
            (Role::In, Some((own, place))) if own == v => Some(place),
            (Role::In, _) => self.lowerer.places.of(graph, v),
            _ => {
                let known = self.written.iter().position(|(known, _)| *known == v);
                let n = known.unwrap_or_else(|| {
                    let buffer = BufferId((self.lowerer.buffers.len() + self.written.len()) as u32);
                    self.written.push((v, Place { buffer, layout: Layout::row(Shape::from_slice(graph.shape_of(v))) }));
                    self.written.len() - 1
                });
                Some(&self.written[n].1)
            }
        }
    }
}

impl Lowerer<'_> {
    /// The launch that stores these variables, by its recipe: if there is one, and it leads to the same kernel here. What it stores and where is left in `written`. `given` lies in a
    /// place that only this launch knows.
    pub(super) fn follow(
        &mut self,
        stores: &[Var],
        given: Option<(Var, &Place)>,
        written: &mut Vec<(Var, Place)>,
    ) -> Option<Launch> {
        let Recall::Follow(recipes) = self.recall else { return None };
        let recipe = recipes.launches.get(stores.first()?)?;
        if recipe.stores[..] != *stores || recipe.given != given.map(|(v, _)| v) {
            return None;
        }
        let graph = self.graph;
        if recipe.computed.iter().any(|v| self.places.of(graph, *v).is_some()) {
            return None;
        }
        written.clear();
        let mut arrays = Arrays { lowerer: self, given, written };
        let bound = recipe.bound(graph, &mut arrays)?;
        self.buffers.extend(written.iter().map(|(v, _)| graph.avals[v.0 as usize].nbytes()));
        Some(Launch { kernel: recipe.kernel.clone(), bindings: smallvec![bound] })
    }
}
