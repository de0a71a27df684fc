//! Kernels that hold for other extents of the same pattern: they are those of the template, and no body is written anew. That they are what lowering gives debug builds compare by themselves.

use lazuli_compile::{Compiled, Options, compile_first, compile_like};
use lazuli_ir::{Graph, Shape};
use lazuli_kernel::{Kernel, Layout};
use std::sync::Arc;

/// A graph for N = `n` and M = `m`, with 2·N as D, N + 3 as P and N - 1 as L.
fn parse(inputs: &str, body: &str, [n, m]: [usize; 2]) -> Graph {
    let mut text = format!("graph v1 ({inputs}) {{\n{body}\n}}");
    for (letter, value) in [("N", n), ("M", m), ("D", 2 * n), ("P", n + 3), ("L", n - 1)] {
        text = text.replace(letter, &value.to_string());
    }
    text.parse().unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn kernels(compiled: &Compiled) -> Vec<Arc<Kernel>> {
    let mut kernels = Vec::new();
    let mut note = |kernel: &mut Arc<Kernel>| {
        kernels.push(kernel.clone());
        Ok(())
    };
    compiled.plan.clone().share_kernels(&mut note).unwrap();
    kernels
}

/// Compiles for the first extents, with inputs in rows, and for the others as for those: whether by the same kernels.
#[track_caller]
fn check_for(
    inputs: &str,
    body: &str,
    first: [usize; 2],
    others: &[[usize; 2]],
    lies: fn(Shape) -> Layout,
    same: bool,
) {
    let options = Options { simplify: false, ..Options::COMPILE };
    let inputs_of = |graph: &Graph, lies: fn(Shape) -> Layout| -> Vec<Layout> {
        graph.input_avals().into_iter().map(|aval| lies(aval.shape)).collect()
    };
    let graph = parse(inputs, body, first);
    let (compiled, template) = compile_first(&graph, &inputs_of(&graph, Layout::row), &options).unwrap();
    let (templates, known) = ([template.expect("it was fused")], kernels(&compiled));
    for extents in others {
        let graph = parse(inputs, body, *extents);
        let like = compile_like(&templates, &graph, None, &inputs_of(&graph, lies), &options).unwrap();
        let like = like.unwrap_or_else(|| panic!("{extents:?} are of another pattern than {first:?}\n{graph}"));
        let is_known = |kernel: &Arc<Kernel>| known.iter().any(|known| Arc::ptr_eq(known, kernel));
        let taken_over = kernels(&like).iter().all(is_known);
        assert_eq!(taken_over, same, "{extents:?}\n{graph}\n{}\n{}", compiled.plan, like.plan);
    }
}

#[track_caller]
fn check(inputs: &str, body: &str) {
    check_for(inputs, body, [5, 17], &[[6, 17], [7, 17], [6, 18]], Layout::row, true);
}

#[test]
fn kernels_with_plain_indices_hold() {
    check("a: f32[N,16], w: f32[16]", "b: f32[N,16] = multiply a w\nc: f32[N,16] = exp b\nreturn c");
    let count = "n: f32[] = number_of_elements[axes=(0,1),dtype=f32,literal=false] | a\n\
                 s: f32[N] = sum[axes=(1),keepdims=false] a\nm: f32[N] = divide s n\nreturn m";
    check("a: f32[N,16]", count);
}

#[test]
fn kernels_with_positions_that_are_data_hold() {
    let softmax = "m: f32[N,1] = max[axes=(1),keepdims=true] a\ns: f32[N,16] = subtract a m\ne: f32[N,16] = exp s\n\
                   t: f32[N,1] = sum[axes=(1),keepdims=true] e\n";
    let cross_entropy = format!(
        "{softmax}l: f32[N,1] = log t\nr: f32[N,1] = add l m\ng: f32[N,1] = take_along_axis[axis=1] a i\n\
         d: f32[N,1] = subtract r g\ny: f32[N,16] = divide e t\nreturn d y"
    );
    check("a: f32[N,16], i: i32[N,1]", &cross_entropy);
    check("a: f32[N,M], i: u32[N,1]", &cross_entropy.replace("16", "M"));
    let mean = "g: f32[N,1] = take_along_axis[axis=1] a i\ns: f32[] = sum[axes=(0,1),keepdims=false] g\nreturn s";
    check("a: f32[N,M], i: i32[N,1]", mean);
    for (dtype, op) in [("f32", "add"), ("f16", "mul"), ("c64", "assign"), ("i32", "max")] {
        let put =
            format!("b: {dtype}[N,M] = put_along_axis[axis=1,op={op}] a i u\nc: {dtype}[N,M] = square b\nreturn c");
        check(&format!("a: {dtype}[N,M], i: i32[N,1], u: {dtype}[N,1]"), &put);
    }
    let take = "x: c64[N,M] = exp a\nb: c64[N,P] = take_along_axis[axis=1] a i\nc: c64[N,P] = square b\nreturn x c";
    check("a: c64[N,M], i: i32[N,P]", take);
    // Of what is computed, at positions that are computed.
    let gather = "x: f32[N,M] = exp a\nj: i32[L] = add i 1:i32\nb: f32[L,1,M] = gather[axes=(0),slice_sizes=(1,M)] x j\n\
                  c: f32[L,1,M] = square b\nreturn c";
    check("a: f32[N,M], i: i32[L]", gather);
    let gather = "t: f32[M,N] = transpose[axes=(1,0)] a\nb: f32[L,1,1] = gather[axes=(0,1),slice_sizes=(1,1)] t i j\n\
                  c: f32[L,1,1] = square b\nreturn c";
    check("a: f32[N,M], i: i32[L], j: i32[L]", gather);
}

#[test]
fn kernels_with_shifted_positions_hold() {
    for (low, high, from, to) in
        [("1,0", "2,0", "N,M", "P,M"), ("0,0", "3,0", "N,M", "P,M"), ("3,1", "0,0", "N,17", "P,18")]
    {
        let body = format!("b: f32[{to}] = pad[low=({low}),high=({high})] a 7.0:f32\nc: f32[{to}] = exp b\nreturn c");
        check(&format!("a: f32[{from}]"), &body);
    }
    let concatenate = "x: f32[N,M] = exp a\nb: f32[D,M] = concatenate[axis=0] x a\nc: f32[D,M] = square b\nreturn c";
    check("a: f32[N,M]", concatenate);
    let stacked = "x: f32[1,N,16] = expand_dims[axes=(0)] a\ny: f32[1,N,16] = square x\nb: f32[2,N,16] = concatenate[axis=0] x y\n\
                   m: f32[2,N] = sum[axes=(2),keepdims=false] b\nreturn m";
    check("a: f32[N,16]", stacked);
    let slices = "x: f32[N,M] = exp a\ns: f32[L,M] = slice[bounds=(1:,:)] x\nt: f32[L,M] = slice[bounds=(:-1,:)] x\n\
                  d: f32[L,M] = subtract s t\nreturn d";
    check("a: f32[N,M]", slices);
    let reversed = "x: f32[N,M] = exp a\ns: f32[N,M] = slice[bounds=(::-1,:)] x\nd: f32[N,M] = add s x\nreturn d";
    check("a: f32[N,M]", reversed);
    let update = "b: f32[N,M] = slice_update[bounds=(1:,:),op=assign] a u\nx: f32[N,M] = exp b\n\
                  s: f32[N] = sum[axes=(1),keepdims=false] x\nreturn s";
    check("a: f32[N,M], u: f32[L,M]", update);
}

/// With regrouped positions of a transposed order.
const DIVIDED: &str = "i: i32[M,N] = iota[dtype=i32,shape=(M,N),axis=0]\nf: i32[N,M] = reshape[shape=(N,M),infer=none] i\n\
                       y: i32[N,M] = add f a\nreturn y";

#[test]
fn kernels_with_regrouped_positions_hold() {
    let heads = "t: f32[2,N,2,8] = transpose[axes=(0,2,1,3)] a\nf: f32[2,N,16] = flatten[start=2,end=3] t\n\
                 x: f32[2,N,16] = exp f\nreturn x";
    check("a: f32[2,2,N,8]", heads);
    let rows = "t: f32[2,N,16] = transpose[axes=(1,0,2)] a\nf: f32[D,16] = flatten[start=0,end=1] t\nx: f32[D,16] = exp f\nreturn x";
    check("a: f32[N,2,16]", rows);
    let both = "x: f32[N,16] = exp a\nu: f32[N,2,8] = unflatten[axis=1,shape=(2,8),infer=none] x\n\
                y: f32[N,2,8] = square u\nreturn x y";
    check("a: f32[N,16]", both);
    check("a: i32[N,M]", DIVIDED);
    let wide = "b: u16[N,32] = view[dtype=u16] a\nc: u16[N,32] = add b 1:u16\nreturn c";
    check("a: u32[N,16]", wide);
}

#[test]
fn kernels_with_numbers_of_points_hold() {
    let iota = "i: i32[N,M] = iota[dtype=i32,shape=(N,M),axis=0]\nb: i32[N,M] = add a i\nreturn b";
    check("a: i32[N,M]", iota);
    for (dtype, width) in [("u32", 4), ("u8", 1)] {
        let random =
            format!("b: {dtype}[N,M] = random_bits[shape=(N,M),width={width}] k\nc: {dtype}[N,M] = add a b\nreturn c");
        check(&format!("a: {dtype}[N,M], k: u32[2]"), &random);
    }
}

/// What an array's strides decide, where it lies in another way.
#[test]
fn kernels_are_lowered_anew_where_a_decision_comes_out_otherwise() {
    let turned = |shape: Shape| {
        let Layout { shape, strides, offset } = Layout::row(shape.into_iter().rev().collect::<Shape>());
        Layout { shape: shape.into_iter().rev().collect(), strides: strides.into_iter().rev().collect(), offset }
    };
    let take = "b: f32[N,1] = take_along_axis[axis=1] a i\nc: f32[N,1] = exp b\nreturn c";
    check_for("a: f32[N,M], i: i32[N,1]", take, [5, 17], &[[6, 17]], turned, false);
    let add = "b: f32[N,M] = add a u\nreturn b";
    check_for("a: f32[N,M], u: f32[M]", add, [5, 17], &[[6, 17]], turned, false);
}
