//! What is done outside of kernels: by library routines and by the host, on arrays that lie in memory.

use super::body::Body;
use super::finish::finish;
use super::write::{Written, are_affine};
use super::{BufferId, Fork, Held, Launch, Lowerer, Place, Recall, Work, WorkSource, store_lane};
use crate::fuse::Group;
use crate::pipeline::{Compiled, Options, compile_branch, compile_branch_first, compile_branch_like};
use lazuli_ir::{Atom, Equation, Graph, Index, Lane, Prim, Result, Shape, Var, shape, small};
use lazuli_kernel::{Arg, DType, Layout, LibraryCall, Nest, Store, Strides};
use smallvec::SmallVec;
use std::sync::Arc;

/// A map over a result, on its way.
pub(super) struct Epilogue {
    body: Body,
    written: Written,
    v: Var,
    /// What is computed as a whole: `v` or its transpose.
    whole: Var,
    /// Of the result, its points, and their values.
    layout: Layout,
    at: Index,
    lane: Lane,
}

impl Lowerer<'_> {
    /// A matrix product, with what the group computes from it as its epilogue.
    pub(super) fn matmul(&mut self, anchor: u32, group: &Group) -> Result<()> {
        let graph = self.graph;
        let equation = &graph.equations[anchor as usize];
        let v = equation.outputs[0];
        let aval = self.aval(v);
        let (left, right) = (self.materialise(equation.inputs[0])?, self.materialise(equation.inputs[1])?);
        // (ab)ᵀ = bᵀaᵀ, whose sums are of the same products in the same order.
        let turned = self.read_transposed(v);
        let (a, b) = if turned.is_some() { (transposed(&right), transposed(&left)) } else { (left, right) };
        let (rank, [m, k], [_, n]) = (aval.rank(), matrix(&a), matrix(&b));
        let batch: Shape = aval.shape[..rank - 2].into();
        let product = self.fresh(self.aval(turned.unwrap_or(v)));
        let epilogue = match group.stores.as_slice() {
            [only] if *only == v => None,
            _ if aval.size() == 0 => None,
            stores => self.launch_epilogue(v, turned, &product, stores),
        };
        let has_epilogue = epilogue.is_some();
        if aval.size() > 0 {
            let [a, b, c] = [&a, &b, &product].map(|Place { buffer, layout }| {
                let strides = stretched(&layout.strides, |axis| layout.shape[axis] == 1, batch.len(), 0);
                Arg { slot: buffer.slot(), offset: layout.offset.max(0) as usize, strides, len: 0 }
            });
            let call = Box::new(LibraryCall::Matmul { dtype: aval.dtype, batch, m, n, k, a, b, c });
            let source = match equation.inputs[..] {
                [Atom::Var(a), Atom::Var(b)] => WorkSource::Matmul {
                    factors: if turned.is_some() { [b, a] } else { [a, b] },
                    result: v,
                    turned,
                    epilogue: epilogue.is_some().then(|| group.stores[0]),
                },
                _ => WorkSource::Other,
            };
            self.push_from(Work::Call { call, epilogue }, source);
        }
        if has_epilogue {
            return Ok(());
        }
        let place = if turned.is_some() { transposed(&product) } else { product };
        self.places.set(v, place);
        self.maps(group)
    }

    /// A map over a product `v`, or its transpose, that lies in a place of its own: what it computes, `v` itself if that is among it, gets a place.
    fn launch_epilogue(&mut self, v: Var, turned: Option<Var>, product: &Place, stores: &[Var]) -> Option<Box<Launch>> {
        let whole = turned.unwrap_or(v);
        let given = Held::Aside(whole, self.aval(v).dtype);
        let mut written = std::mem::take(&mut self.written);
        let followed = self.follow(Held::Var(stores[0]), stores, Some((given, product)), &mut written);
        if let Some((_, launches)) = followed {
            for (held, place) in written.drain(..) {
                match held {
                    Held::Var(u) if u == whole => {
                        self.places.set(v, if turned.is_some() { transposed(&place) } else { place })
                    }
                    Held::Var(u) => self.places.set(u, place),
                    Held::Aside(..) => {}
                }
            }
            self.written = written;
            return launches.into_iter().next().map(Box::new);
        }
        self.written = written;
        let epilogue = self.epilogue(v, turned, (given, product), stores)?;
        let (mut body, nest_stores) = self.end_epilogue(epilogue, stores);
        let (launch, ending) = finish(&body, Nest::Map { stores: nest_stores }, true);
        self.note([(&mut body, &launch, &ending)]);
        self.recipe_of(Held::Var(stores[0]), stores, Some(given), false);
        self.spare = Some(body);
        Some(Box::new(launch))
    }

    /// A map over `v`, or its transpose, where that is the result that lies there, row-contiguous: it computes these variables. None if it would have to read
    /// the result at other points than its own.
    pub(super) fn epilogue(
        &mut self,
        v: Var,
        turned: Option<Var>,
        (result, place): (Held, &Place),
        stores: &[Var],
    ) -> Option<Epilogue> {
        let space = &place.layout.shape;
        let points = shape::size(space);
        let mut body = self.body();
        let whole = turned.unwrap_or(v);
        let extents = body.extents(self.graph, whole.into());
        let at = body.begin(&extents, &[]);
        let lane = match body.load(result, place, result.dtype(self.graph), &at, None) {
            Lane::Real(x) => Lane::Real(body.emit.cast(self.aval(v).dtype, x)),
            complex => complex,
        };
        body.define(whole, at.clone(), lane);
        body.give(v);
        let others: SmallVec<[Var; 4]> = stores.iter().copied().filter(|&u| u != v).collect();
        if others.iter().any(|&u| self.aval(u).size() != points || self.places.of(self.graph, u).is_some()) {
            return None;
        }
        let written = self.eval_all(&mut body, &others, &at, &extents);
        if body.is_stray || !are_affine(&written) {
            return None;
        }
        Some(Epilogue { body, written, v, whole, layout: place.layout.clone(), at, lane })
    }

    /// Gives what an epilogue computes, and the result itself if it is among these variables, its place.
    pub(super) fn end_epilogue(&mut self, epilogue: Epilogue, stores: &[Var]) -> (Body, Vec<Store>) {
        let Epilogue { mut body, written, v, whole, layout, at, lane } = epilogue;
        let mut nest_stores = self.store(&mut body, &written);
        if stores.contains(&v) {
            let own = Place { buffer: self.buffer(self.aval(v).nbytes()), layout };
            store_lane(&mut body, Some(Held::Var(whole)), &own, lane, &at, &mut nest_stores);
            self.places.set(v, if whole == v { own } else { transposed(&own) });
        }
        (body, nest_stores)
    }

    /// The transpose of a product, if that is needed in no other way and so had better lie in memory as that.
    fn read_transposed(&mut self, v: Var) -> Option<Var> {
        let graph = self.graph;
        let user = self.only_users.get_or_insert_with(|| only_users(graph).into())[v.0 as usize]?;
        transpose_of(graph, v, &graph.equations[user as usize])
    }

    pub(super) fn host(&mut self, anchor: u32) -> Result<()> {
        let equation = &self.graph.equations[anchor as usize];
        let mut args = Vec::with_capacity(equation.inputs.len());
        for &a in &equation.inputs {
            let aval = self.graph.aval(a);
            let place = self.contiguous(a)?;
            let offset = place.layout.offset.max(0) as usize;
            args.push((aval, Arg { slot: place.buffer.slot(), offset, strides: Strides::from_slice(&[1]), len: 0 }));
        }
        self.push_from(Work::Host { call: equation.prim.host_call(), args }, WorkSource::Host(anchor));
        Ok(())
    }

    /// The place of an atom, copied if it is not row-contiguous there.
    pub(super) fn contiguous(&mut self, atom: Atom) -> Result<Place> {
        let place = self.materialise(atom)?;
        match atom {
            Atom::Var(v) if !place.layout.is_row_contiguous() => Ok(self.copied(v, &place)),
            _ => Ok(place),
        }
    }

    /// A row-contiguous copy of a variable, which lies in this place.
    pub(super) fn copied(&mut self, v: Var, place: &Place) -> Place {
        let copy = Held::Aside(v, self.aval(v).dtype);
        if self.launch_again(copy, &[v]) {
            let buffer = BufferId(self.buffers.len() as u32 - 1);
            return Place { buffer, layout: Layout::row(self.aval(v).shape.clone()) };
        }
        let own = self.fresh_for(copy);
        self.convert((Held::Var(v), place), (copy, &own));
        self.recipe(copy, &[v]);
        own
    }

    /// A choice: each branch is a plan of its own, for inputs as they lie here.
    pub(super) fn branch(&mut self, anchor: u32) -> Result<()> {
        let graph = self.graph;
        let equation = &graph.equations[anchor as usize];
        let whole = |buffer: BufferId, offset| Arg { slot: buffer.slot(), offset, strides: Strides::new(), len: 0 };
        let predicate = self.materialise(equation.inputs[0])?;
        let (mut inputs, mut layouts) = (Vec::new(), Vec::new());
        for &a in &equation.inputs[1..] {
            let place = self.materialise(a)?;
            inputs.push(whole(place.buffer, 0));
            layouts.push(place.layout);
        }
        // What was to be simplified has been.
        let options = Options { simplify: false, ..self.options };
        let [on_true, on_false] = equation.prim.bodies() else { unreachable!("a choice has two branches") };
        let first = self.compiled_branch((anchor, 0), on_true, &layouts, &options)?;
        let branches = [first, self.compiled_branch((anchor, 1), on_false, &layouts, &options)?];
        let mut outputs = Vec::with_capacity(equation.outputs.len());
        for &v in &equation.outputs {
            let place = self.fresh(self.aval(v));
            outputs.push(whole(place.buffer, 0));
            self.places.set(v, place);
        }
        let plans = branches.each_ref().map(|b| b.plan.clone());
        let predicate = whole(predicate.buffer, predicate.layout.offset.max(0) as usize);
        let fork = Box::new(Fork { predicate, plans, inputs, outputs });
        self.push_from(Work::Branch(fork), WorkSource::Choice(anchor));
        self.branches.push((anchor, branches));
        Ok(())
    }

    /// A branch (its choice, and its number), as it was for earlier extents if it can be.
    fn compiled_branch(
        &mut self,
        of: (u32, usize),
        branch: &Graph,
        layouts: &[Layout],
        options: &Options,
    ) -> Result<Compiled> {
        match &mut self.recall {
            Recall::Nothing => compile_branch(branch, layouts, options),
            Recall::Follow(recipes) => compile_branch_like(recipes.branches.get(&of), branch, layouts, options),
            Recall::Note(recipes) => {
                let (compiled, template) = compile_branch_first(branch, layouts, options)?;
                recipes.branches.extend(template.map(|template| (of, template)));
                Ok(compiled)
            }
        }
    }

    pub(super) fn sort(&mut self, anchor: u32, axis: usize, indices: bool) -> Result<()> {
        let equation = &self.graph.equations[anchor as usize];
        let v = equation.outputs[0];
        let aval = self.aval(v);
        let from = self.materialise(equation.inputs[0])?;
        let dtype = self.input_aval(anchor, 0).dtype;
        let place = self.fresh(aval);
        let axis_last = |place: &Place| {
            let order = (0..aval.rank()).filter(|&a| a != axis).chain([axis]);
            let strides = order.map(|a| place.layout.strides[a]).collect();
            Arg { slot: place.buffer.slot(), offset: place.layout.offset as usize, strides, len: 0 }
        };
        if aval.size() > 0 {
            let rows = (0..aval.rank()).filter(|&a| a != axis).map(|a| aval.shape[a]).collect();
            let (input, output) = (axis_last(&from), axis_last(&place));
            let call = Box::new(LibraryCall::Sort { dtype, rows, n: aval.shape[axis], indices, input, output });
            let source = match equation.inputs[0] {
                Atom::Var(of) => WorkSource::Sort { of, result: v, axis: axis as u32 },
                Atom::Lit(_) => WorkSource::Other,
            };
            self.push_from(Work::Call { call, epilogue: None }, source);
        }
        self.places.set(v, place);
        Ok(())
    }
}

/// The result of an equation that swaps the axes of the matrices of `v`. None for complex numbers: their parts are not summed in the same order either way.
pub(crate) fn transpose_of(graph: &Graph, v: Var, e: &Equation) -> Option<Var> {
    let Prim::Transpose(t) = &e.prim else { return None };
    let rank = t.axes.len();
    let swaps = |(i, &axis): (usize, &usize)| axis == if i + 2 < rank { i } else { 2 * rank - 3 - i };
    let is_real = graph.avals[v.0 as usize].dtype != DType::C64;
    (is_real && t.axes.iter().enumerate().all(swaps)).then_some(e.outputs[0])
}

/// The equation that reads each variable, if it is one alone and the variable no output.
pub(crate) type OnlyUsers = Arc<[Option<u32>]>;

fn only_users(graph: &Graph) -> Vec<Option<u32>> {
    let mut users = vec![None; graph.avals.len()];
    let mut read = vec![false; graph.avals.len()];
    let mut note = |atom: &Atom, user: Option<u32>| {
        if let Atom::Var(v) = atom {
            let v = v.0 as usize;
            users[v] = user.filter(|_| !read[v]);
            read[v] = true;
        }
    };
    for (i, e) in graph.equations.iter().enumerate() {
        e.inputs.iter().for_each(|atom| note(atom, Some(i as u32)));
    }
    graph.outputs.iter().for_each(|atom| note(atom, None));
    users
}

/// Rows and columns of a stack of matrices.
fn matrix(place: &Place) -> [usize; 2] {
    let shape = &place.layout.shape;
    [shape[shape.len() - 2], shape[shape.len() - 1]]
}

/// The same numbers as their transposes.
fn transposed(place: &Place) -> Place {
    let mut place = place.clone();
    swap_last(&mut place.layout.shape);
    swap_last(&mut place.layout.strides);
    place
}

/// Of the axes of stacked matrices those of transposed ones.
pub(super) fn swap_last<T>(axes: &mut [T]) {
    let rank = axes.len();
    axes.swap(rank - 2, rank - 1);
}

/// The strides of a stack of matrices, seen with the batch axes of a product: so many. Along those that it has not, or where it is one matrix, it stands still.
pub(super) fn stretched<T: Copy>(
    strides: &[T],
    is_one: impl Fn(usize) -> bool,
    batch: usize,
    still: T,
) -> SmallVec<[T; 4]> {
    let (own, matrix) = strides.split_at(strides.len() - 2);
    let skip = batch - own.len();
    let along = own.iter().enumerate().map(|(axis, &stride)| if is_one(axis) { still } else { stride });
    small(std::iter::repeat_n(still, skip).chain(along).chain(matrix.iter().copied()))
}
