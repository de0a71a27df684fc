//! What is done outside of kernels: by library routines and by the host, on arrays that lie in memory.

use super::body::Body;
use super::{Lowerer, Operands, Place, Work, store_lane};
use lazuli_ir::{Atom, Aval, Equation, Graph, Prim, Result, Shape, Var};
use lazuli_kernel::{DType, Nest, Strides};

impl Lowerer<'_> {
    pub(super) fn matmul(&mut self, anchor: u32) -> Result<()> {
        let equation = &self.graph.equations[anchor as usize];
        let v = equation.outputs[0];
        let aval = self.aval(v);
        let (left, right) = (self.materialise(equation.inputs[0])?, self.materialise(equation.inputs[1])?);
        // (ab)ᵀ = bᵀaᵀ, whose sums are of the same products in the same order.
        let turned = self.is_read_transposed(v);
        let (a, b) = if turned { (transposed(&right), transposed(&left)) } else { (left, right) };
        let (rank, [m, k], [_, n]) = (aval.rank(), matrix(&a), matrix(&b));
        let batch: Shape = aval.shape[..rank - 2].into();
        let product = self.fresh(&Aval::new(aval.dtype, batch.iter().copied().chain([m, n]).collect::<Shape>()));
        if aval.size() > 0 {
            let [a, b, c] = [&a, &b, &product].map(|place| stretched(place, &batch));
            self.work.push(Work::Matmul { dtype: aval.dtype, batch, m, n, k, a, b, c });
        }
        let place = if turned { transposed(&product) } else { product };
        self.places.set(v, place);
        Ok(())
    }

    /// Whether a product is needed as its transpose and in no other way, so that it had better lie in memory as that. The parts of complex numbers are
    /// not summed in the same order either way.
    fn is_read_transposed(&mut self, v: Var) -> bool {
        let graph = self.graph;
        let user = self.only_users.get_or_insert_with(|| only_users(graph))[v.0 as usize];
        let Some(Equation { prim: Prim::Transpose(t), .. }) = user.and_then(|u| graph.equations.get(u as usize)) else {
            return false;
        };
        let rank = t.axes.len();
        let swaps = |(i, &axis): (usize, &usize)| axis == if i + 2 < rank { i } else { 2 * rank - 3 - i };
        self.aval(v).dtype != DType::C64 && t.axes.iter().enumerate().all(swaps)
    }

    pub(super) fn host(&mut self, anchor: u32) -> Result<()> {
        let equation = &self.graph.equations[anchor as usize];
        let mut args = Vec::with_capacity(equation.inputs.len());
        for &a in &equation.inputs {
            let aval = self.graph.aval(a);
            let place = self.contiguous(a)?;
            let offset = place.layout.offset.max(0) as usize;
            args.push((aval, Operands { buffer: place.buffer, offset, strides: Strides::from_slice(&[1]), len: 0 }));
        }
        self.work.push(Work::Host { call: equation.prim.host_call(), args });
        Ok(())
    }

    /// The place of an atom, copied if it is not row-contiguous there.
    pub(super) fn contiguous(&mut self, atom: Atom) -> Result<Place> {
        let graph = self.graph;
        let place = self.materialise(atom)?;
        let Atom::Var(v) = atom else { return Ok(place) };
        if place.layout.is_row_contiguous() {
            return Ok(place);
        }
        let mut body = Body::default();
        let at = body.begin(&place.layout.shape, &[]);
        let lane = body.load(&place, self.aval(v).dtype, &at, None);
        let copy = self.fresh(&graph.avals[v.0 as usize]);
        let mut stores = Vec::new();
        store_lane(&mut body, &copy, lane, &at, &mut stores);
        self.launch(body, Nest::Map { stores });
        Ok(copy)
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
            Operands { buffer: place.buffer, offset: place.layout.offset as usize, strides, len: 0 }
        };
        if aval.size() > 0 {
            let rows = (0..aval.rank()).filter(|&a| a != axis).map(|a| aval.shape[a]).collect();
            let (input, output) = (axis_last(&from), axis_last(&place));
            self.work.push(Work::Sort { dtype, rows, n: aval.shape[axis], indices, input, output });
        }
        self.places.set(v, place);
        Ok(())
    }
}

/// The equation that reads each variable, if it is one alone and the variable no output.
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
    let rank = place.layout.rank();
    place.layout.shape.swap(rank - 2, rank - 1);
    place.layout.strides.swap(rank - 2, rank - 1);
    place
}

/// A stack of matrices seen with the batch axes of the product.
fn stretched(place: &Place, batch: &[usize]) -> Operands {
    let layout = &place.layout;
    let own = layout.rank() - 2;
    let skip = batch.len() - own;
    let mut strides: Strides = (0..batch.len())
        .map(|i| if i < skip || layout.shape[i - skip] == 1 { 0 } else { layout.strides[i - skip] })
        .collect();
    strides.extend_from_slice(&layout.strides[own..]);
    Operands { buffer: place.buffer, offset: layout.offset.max(0) as usize, strides, len: 0 }
}
