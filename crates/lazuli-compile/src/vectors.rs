//! Products of a computed matrix with a vector, as sums of products: what computes the matrix then needs no memory, and goes where the sums are.
//!
//! Such a product is a reduction already ([`LibraryCall::Matmul`](lazuli_kernel::LibraryCall)): products rounded, combined as any sum, half floats in float32 and
//! rounded once at the end. So the bits are the same. Each element of the matrix is used once, and moving it through memory would take longest: a matrix of narrow
//! numbers that are widened and scaled, say. Products with a matrix that lies in memory stay library calls.

use lazuli_ir::prims::{Cast, ExpandDims, Reduce, ReduceOp, Transpose};
use lazuli_ir::{Atom, Binary, DType, Equation, Graph, Prim, Unary, Var, shape};
use smallvec::{SmallVec, smallvec};
use std::borrow::Cow;

/// The graph with such products replaced. Variables keep their numbers.
pub(crate) fn as_sums(graph: Cow<Graph>) -> Cow<Graph> {
    if !graph.equations.iter().any(|e| with_vector(&graph, e).is_some()) {
        return graph;
    }
    let mut producers: Vec<Option<u32>> = vec![None; graph.avals.len()];
    for (i, e) in graph.equations.iter().enumerate() {
        e.outputs.iter().for_each(|v| producers[v.0 as usize] = Some(i as u32));
    }
    let replaced: Vec<u32> = (0..graph.equations.len() as u32)
        .filter(|&i| {
            let e = &graph.equations[i as usize];
            with_vector(&graph, e).is_some_and(|k| {
                let [matrix, vector] = [k, 1 - k].map(|k| source(&graph, &producers, e.inputs[k]));
                matrix.is_some_and(|e| e.prim.is_elementwise()) && !vector.is_some_and(is_division)
            })
        })
        .collect();
    if replaced.is_empty() {
        return graph;
    }
    let mut graph = graph.into_owned();
    let old = std::mem::take(&mut graph.equations);
    for (i, e) in old.into_iter().enumerate() {
        match replaced.binary_search(&(i as u32)) {
            Ok(_) => sum_of_products(&mut graph, e),
            Err(_) => graph.equations.push(e),
        }
    }
    Cow::Owned(graph)
}

/// Which operand is the matrix, of a product of real numbers with a vector that reads each element of it once.
fn with_vector(graph: &Graph, e: &Equation) -> Option<usize> {
    let Prim::Matmul(_) = e.prim else { return None };
    let [a, b] = [0, 1].map(|k| graph.aval_of(&e.inputs[k]));
    let [m, k, n] = [a.shape[a.rank() - 2], a.shape[a.rank() - 1], b.shape[b.rank() - 1]];
    let points = k * shape::size(graph.shape_of(e.outputs[0]));
    match a.dtype == DType::C64 || points == 0 {
        true => None,
        false if n == 1 => (a.size() == points).then_some(0),
        false => (m == 1 && b.size() == points).then_some(1),
    }
}

/// The equation that computes an operand, or what it is a view of.
fn source<'a>(graph: &'a Graph, producers: &[Option<u32>], mut a: Atom) -> Option<&'a Equation> {
    loop {
        let e = &graph.equations[producers[a.var()?.0 as usize]? as usize];
        if !e.prim.is_view() {
            return Some(e);
        }
        a = e.inputs[0];
    }
}

/// Such a vector had better lie in memory: it would be divided anew for each row of the matrix.
fn is_division(e: &Equation) -> bool {
    use Binary::{Div, FloorDivide, Remainder};
    matches!(e.prim, Prim::Binary(Div | FloorDivide | Remainder) | Prim::Unary(Unary::Sqrt | Unary::Rsqrt))
}

/// `Σₖ a[…, i, k] · bᵀ[…, j, k]`, where i or j is always 0.
fn sum_of_products(graph: &mut Graph, product: Equation) {
    let (out, [a, b]) = (product.outputs[0], [product.inputs[0], product.inputs[1]]);
    let (aval, of_b) = (graph.avals[out.0 as usize].clone(), graph.aval_of(&b).rank());
    let is_half = matches!(aval.dtype, DType::F16 | DType::BF16);
    let (axis, is_row) = (aval.rank() - 1, aval.shape[aval.rank() - 1] != 1);
    let mut add = |prim: Prim, inputs: &[Atom]| -> Atom {
        let mut e = Equation { prim, inputs: inputs.into(), outputs: smallvec![], ..product.clone() };
        let aval = graph.infer(&e).expect("the operands of a product are those of its parts").remove(0);
        graph.avals.push(aval);
        let v = Var(graph.avals.len() as u32 - 1);
        e.outputs.push(v);
        graph.equations.push(e);
        v.into()
    };
    let mut axes: SmallVec<[usize; 4]> = (0..of_b).collect();
    axes.swap(of_b - 2, of_b - 1);
    let turned = add(Transpose { axes }.into(), &[b]);
    let [a, b] = match is_half {
        true => [a, turned].map(|x| add(Cast { dtype: DType::F32 }.into(), &[x])),
        false => [a, turned],
    };
    let products = add(Binary::Mul.into(), &[a, b]);
    // Of one row its elements lie along the axis before the last.
    let mut sums = add(Reduce { op: ReduceOp::Sum, axes: smallvec![axis], keepdims: !is_row }.into(), &[products]);
    if is_half {
        sums = add(Cast { dtype: aval.dtype }.into(), &[sums]);
    }
    if is_row {
        add(ExpandDims { axes: smallvec![axis - 1] }.into(), &[sums]);
    }
    // The last of them is the product.
    graph.avals.pop();
    graph.equations.last_mut().expect("some were added").outputs = smallvec![out];
}
