//! Kernels for other extents of the same [pattern](crate::pattern): their launches follow by arithmetic from what was noted when they were lowered first.
//!
//! What is written into a kernel depends on ranks, on which extents are equal, 0 and 1, and on [decisions](super::numbers) by numbers that are made of extents and strides. All else that a launch
//! has follows from such numbers: its parameters, and how its operands are walked. Of the launches of a group a [`Recipe`] is noted: their kernels, and where these numbers come from.
//! Which loop axes are merged, along which one vectors run and how each operand is walked along that are decisions too. All of them have to come out as they did; otherwise the kernel is
//! lowered anew. What lies row by row, as most arrays do, has strides that are products of extents, so that for most kernels nothing is left to be decided.

mod formulas;
mod notes;

use super::Lowerer;
use super::body::Access;
use super::finish::Launch;
use super::numbers::{Numbers, OfVar, Source, Visit};
use super::outside::OnlyUsers;
use super::places::{BufferId, Held, Place, Producers};
use crate::template::Template;
pub use formulas::ByFormulas;
pub(crate) use formulas::{Formulas, Linked, WorkSource};
use lazuli_ir::{Graph, Var, small};
use lazuli_kernel::hash::Map;
use lazuli_kernel::{Binding, DType, Kernel, Layout, Role, Scalar, Shape};
pub(crate) use notes::is_row;
pub(super) use notes::{Lies, Notes, Walk};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// What lowering for other extents takes over.
#[derive(Debug, Default)]
pub(crate) struct Recipes {
    /// By what they are for: a variable of the group, or a copy.
    pub launches: Map<Held, Recipe>,
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

/// The launches of a group that stores some variables, one after another.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(super) stores: SmallVec<[Var; 2]>,
    /// What lies in a place that only these launches know.
    pub(super) given: Option<Held>,
    pub(super) passes: Vec<Pass>,
    /// Whether they are one step, a scatter and the map that follows.
    pub(super) is_scatter: bool,
}

/// A kernel, and what its launch follows from.
#[derive(Debug)]
pub(super) struct Pass {
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

/// An operand of a launch: what lies in memory.
#[derive(Debug)]
struct Array {
    of: Held,
    offset: Source,
    strides: SmallVec<[Source; 4]>,
    len: Source,
}

impl Array {
    fn sources(&mut self, f: &mut Visit) {
        [&mut self.offset, &mut self.len].into_iter().chain(&mut self.strides).for_each(f);
    }
}

impl Pass {
    /// What the kernel runs on.
    fn bound(&self, graph: &Graph, arrays: &mut Arrays) -> Option<Binding> {
        if !self.rows.iter().all(|v| arrays.place(Held::Var(*v), Role::In).is_some_and(|place| is_row(&place.layout))) {
            return None;
        }
        let values = self.numbers.values(|leaf| match leaf {
            OfVar::Extent(v, axis) => Some(graph.shape_of(v)[axis as usize] as isize),
            OfVar::Lie(v, lie) => Some(lie.of(&arrays.place(Held::Var(v), Role::In)?.layout)),
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

/// Where the operands of launches are: in place already, in one that only these launches know, or in a new one, for what they store.
struct Arrays<'l, 'a> {
    lowerer: &'l mut Lowerer<'a>,
    written: &'l mut Written,
    /// How many of these are not new.
    given: usize,
}

/// Places that only some launches know, and new ones.
pub(super) type Written = Vec<(Held, Place)>;

impl Arrays<'_, '_> {
    fn place(&mut self, of: Held, role: Role) -> Option<&Place> {
        let graph = self.lowerer.graph;
        if let (Held::Var(v), Role::In) = (of, role) {
            return self.lowerer.places.of(graph, v);
        }
        let n = match self.written.iter().position(|(known, _)| *known == of) {
            Some(n) => n,
            None if role == Role::Out => {
                let buffer = BufferId((self.lowerer.buffers.len() + self.written.len() - self.given) as u32);
                let layout = Layout::row(Shape::from_slice(graph.shape_of(of.var())));
                self.written.push((of, Place { buffer, layout }));
                self.written.len() - 1
            }
            None => return None,
        };
        Some(&self.written[n].1)
    }
}

impl<'a> Lowerer<'a> {
    /// The launches of a group that stores these variables, by the recipe of this: if there is one, and it leads to the same kernels here. What they store and where is left in `written`.
    /// `given` lies in a place that only these launches know.
    #[inline(never)]
    pub(super) fn follow(
        &mut self,
        of: Held,
        stores: &[Var],
        given: Option<(Held, &Place)>,
        written: &mut Written,
    ) -> Option<(&'a Recipe, SmallVec<[Launch; 1]>)> {
        let Recall::Follow(recipes) = self.recall else { return None };
        let recipe = recipes.launches.get(&of)?;
        if recipe.stores[..] != *stores || recipe.given != given.map(|(held, _)| held) {
            return None;
        }
        let graph = self.graph;
        let mut computed = recipe.passes.iter().flat_map(|pass| &pass.computed);
        if computed.any(|v| self.places.of(graph, *v).is_some()) {
            return None;
        }
        written.clear();
        written.extend(given.map(|(held, place)| (held, place.clone())));
        let given = written.len();
        let mut arrays = Arrays { lowerer: self, written, given };
        let mut launches = SmallVec::new();
        for pass in &recipe.passes {
            let bound = pass.bound(graph, &mut arrays)?;
            launches.push(Launch { kernel: pass.kernel.clone(), bindings: smallvec![bound] });
        }
        self.buffers.extend(written[given..].iter().map(|(held, _)| held.nbytes(graph)));
        Some((recipe, launches))
    }
}
