//! Transformations for any shapes: a graph that is made at some shapes and bound to others is the one that is made at those.

use lazuli_ir::testing::samples;
use lazuli_ir::{AnyShapes, Aval, Fixed, Graph, Prim, Result, Shape};
use lazuli_transform::{jvp, jvp_for_any_shapes, unbatch, vjp, vjp_for_any_shapes, vmap, vmap_for_any_shapes};
use std::collections::BTreeSet;

/// A derivative of a graph in its inexact arguments.
#[derive(Clone, Copy)]
struct Derivative {
    name: &'static str,
    anew: fn(&Graph, &[usize]) -> Result<Graph>,
    lasting: fn(&Graph, &[usize]) -> Result<AnyShapes>,
    /// Of the operands between the arguments and the constants, given the arguments that count.
    between: fn(&Graph, &[usize]) -> Vec<Aval>,
}

const DERIVATIVES: [Derivative; 2] = [
    Derivative { name: "vjp", anew: vjp, lasting: vjp_for_any_shapes, between: |g, _| g.output_avals() },
    Derivative {
        name: "jvp",
        anew: jvp,
        lasting: jvp_for_any_shapes,
        between: |g, wrt| wrt.iter().map(|&i| g.avals[g.inputs[i].0 as usize].clone()).collect(),
    },
];

fn text(graph: &Graph) -> String {
    graph.for_these_shapes().unwrap_or_else(|e| panic!("{e}\n{graph}")).to_string()
}

fn shapes(avals: impl IntoIterator<Item = Aval>) -> Vec<Shape> {
    avals.into_iter().map(|a| a.shape).collect()
}

/// Shapes beside these: every one of the extents becomes another, all become twice as large, and each 0 and 1.
fn others(inputs: &[Shape]) -> Vec<Vec<Shape>> {
    let extents: BTreeSet<usize> = inputs.iter().flatten().copied().collect();
    let map = |f: &dyn Fn(usize) -> usize| inputs.iter().map(|s| s.iter().map(|&n| f(n)).collect()).collect();
    let mut out = vec![map(&|n| if n > 1 { 2 * n } else { n }), map(&|n| if n > 1 { n + 1 } else { n })];
    for e in extents {
        out.extend([e + 5, 1, 0].map(|to| map(&|n| if n == e { to } else { n })));
    }
    // One axis alone, where it is not tied to others.
    for (k, axis) in inputs.iter().enumerate().flat_map(|(k, s)| (0..s.len()).map(move |axis| (k, axis))) {
        let mut one = inputs.to_vec();
        one[k][axis] += 3;
        out.push(one);
    }
    out
}

/// For how many shapes a graph that was made of another was bound: for operands of these shapes, and others. `point`: the shapes of the source's inputs, and what is given
/// besides; `anew`: what is made of the source for other operands.
fn bind(
    name: &str,
    source: &Graph,
    made: &AnyShapes,
    was: &[Shape],
    point: &dyn Fn(&[Shape]) -> Option<Vec<Shape>>,
    operands: &dyn Fn(&Graph, Vec<Shape>) -> Vec<Shape>,
    anew: &dyn Fn(&Graph, &[Shape]) -> Result<Graph>,
) -> usize {
    made.graph.verify().unwrap();
    let here = anew(source, was).unwrap();
    assert_eq!(text(&made.graph), text(&here), "{name}");
    assert_eq!(made.graph.input_avals(), here.input_avals(), "{name}");
    let mut bound = 0;
    for inputs in others(was) {
        let Some(points) = point(&inputs) else { continue };
        let Ok(here) = source.rebind(&points) else { continue };
        let operands = operands(&here, inputs.clone());
        let given = made.graph.input_avals();
        let is_fixed = |f: &Fixed| given[f.input].shape[f.axis] == operands[f.input][f.axis];
        let lasts = source.rebound_avals(points.iter().map(|s| &s[..]), true).unwrap().is_some()
            && made.fixed.iter().all(is_fixed)
            && made.graph.rebound_avals(operands.iter().map(|s| &s[..]), true).is_ok_and(|avals| avals.is_some());
        if lasts {
            let (rebound, anew) = (made.graph.rebind(&operands).unwrap(), anew(&here, &inputs).unwrap());
            assert_eq!(text(&rebound), text(&anew), "{name}: made at {was:?}, bound to {inputs:?}");
            assert_eq!(rebound.output_avals(), anew.output_avals());
            bound += 1;
        }
    }
    bound
}

/// For how many shapes the derivative of a graph was bound; `None` if there is none for any shapes.
fn check(name: &str, graph: &Graph, d: Derivative) -> Option<usize> {
    let arguments = graph.arguments().iter().enumerate();
    let wrt: Vec<usize> =
        arguments.filter(|(_, v)| graph.avals[v.0 as usize].dtype.is_inexact()).map(|(i, _)| i).collect();
    (d.anew)(graph, &wrt).ok()?;
    let made = (d.lasting)(graph, &wrt).ok()?;
    let operands =
        |here: &Graph, inputs: Vec<Shape>| inputs.into_iter().chain(shapes((d.between)(here, &wrt))).collect();
    let was = shapes(graph.input_avals());
    let point = |inputs: &[Shape]| Some(inputs.to_vec());
    let anew = |here: &Graph, _: &[Shape]| (d.anew)(here, &wrt);
    Some(bind(&format!("{name}: {}", d.name), graph, &made, &was, &point, &operands, &anew))
}

/// The same of a batch of four, of the inputs for which `mapped` says so, at the axes that `axis` says for ranks.
fn check_vmap(
    name: &str,
    graph: &Graph,
    mapped: &dyn Fn(usize) -> bool,
    axis: &dyn Fn(usize) -> usize,
) -> Option<usize> {
    let axis_of = |aval: &Aval| axis(aval.rank() + 1) as isize;
    let inputs = graph.input_avals();
    let in_axes: Vec<Option<isize>> =
        (0..graph.arguments().len()).map(|k| mapped(k).then(|| axis_of(&inputs[k]))).collect();
    let out_axes: Vec<Option<isize>> = graph.output_avals().iter().map(|aval| Some(axis_of(aval))).collect();
    let made = vmap_for_any_shapes(graph, &in_axes, &out_axes, 4).ok()?;
    let batch = |(k, aval): (usize, &Aval)| {
        let mut shape = aval.shape.clone();
        in_axes.get(k).copied().flatten().into_iter().for_each(|axis| shape.insert(axis as usize, 4));
        shape
    };
    let was: Vec<Shape> = inputs.iter().enumerate().map(batch).collect();
    let points = |given: &[Shape]| {
        let avals: Vec<Aval> = inputs.iter().zip(given).map(|(a, shape)| Aval::new(a.dtype, shape.clone())).collect();
        let all: Vec<Option<isize>> = (0..inputs.len()).map(|k| in_axes.get(k).copied().flatten()).collect();
        unbatch(&avals, &all).ok()
    };
    let anew = |here: &Graph, given: &[Shape]| vmap(here, &in_axes, &out_axes, points(given).unwrap().0);
    let point = |given: &[Shape]| points(given).map(|(_, points)| shapes(points));
    Some(bind(&format!("{name}: vmap"), graph, &made, &was, &point, &|_, inputs| inputs, &anew))
}

/// For how many shapes a vmap was bound, of all inputs and of each alone, along first and last axes.
fn check_vmaps(name: &str, graph: &Graph) -> Option<usize> {
    let n = graph.arguments().len();
    let mut bound = None;
    for axis in [&|_| 0, &|rank| rank - 1] as [&dyn Fn(usize) -> usize; 2] {
        for alone in (0..n).map(Some).chain([None]) {
            let mapped = |k: usize| alone.is_none_or(|alone| k == alone);
            bound = bound.max(check_vmap(name, graph, &mapped, axis));
        }
    }
    bound
}

/// Kinds of primitives of which some derivative held for other shapes.
#[test]
fn the_op_table() {
    let (mut holding, mut asked) = (BTreeSet::new(), BTreeSet::new());
    for sample in samples() {
        let Ok(graph) = sample.graph() else { continue };
        let name = format!("{}[{}]", sample.prim.name(), sample.prim.params());
        for d in DERIVATIVES {
            let bound = check(&name, &graph, d).unwrap_or(0);
            // Derivatives of derivatives put the rules to primitives that only rules emit.
            let wrt: Vec<usize> =
                (0..sample.inputs.len()).filter(|&i| sample.inputs[i].aval.dtype.is_inexact()).collect();
            let mut second = 0;
            if let Ok(made) = vjp_for_any_shapes(&graph, &wrt) {
                second = check(&format!("{name} twice"), &made.graph, d).unwrap_or(0);
            }
            asked.insert(sample.prim.kind());
            if bound > 0 || second > 0 {
                holding.insert(sample.prim.kind());
            }
        }
    }
    let not: Vec<&&str> = asked.difference(&holding).collect();
    assert_eq!(format!("{not:?}"), "[]");
    assert!(asked.len() + 2 >= Prim::KINDS.len(), "{asked:?}");
}

/// Of every kind of primitive some vmap held for other shapes.
#[test]
fn batches_of_the_op_table() {
    let (mut holding, mut asked) = (BTreeSet::new(), BTreeSet::new());
    for sample in samples() {
        let Ok(graph) = sample.graph() else { continue };
        let name = format!("{}[{}]", sample.prim.name(), sample.prim.params());
        asked.insert(sample.prim.kind());
        if check_vmaps(&name, &graph).is_some_and(|bound| bound > 0) {
            holding.insert(sample.prim.kind());
        }
        // Of derivatives, which have what only rules emit, and of batches.
        let wrt: Vec<usize> = (0..sample.inputs.len()).filter(|&i| sample.inputs[i].aval.dtype.is_inexact()).collect();
        for made in DERIVATIVES.iter().filter_map(|d| (d.lasting)(&graph, &wrt).ok()) {
            check_vmap(&format!("{name} derived"), &made.graph, &|_| true, &|rank| rank - 1);
        }
        let n = graph.arguments().len();
        if let Ok(made) = vmap_for_any_shapes(&graph, &vec![Some(0); n], &vec![Some(0); graph.outputs.len()], 7) {
            check_vmap(&format!("{name} twice"), &made.graph, &|_| true, &|rank| rank - 1);
            for d in DERIVATIVES {
                check(&format!("{name} of a batch"), &made.graph, d);
            }
        }
    }
    assert_eq!(asked, holding);
    assert!(asked.len() + 2 >= Prim::KINDS.len(), "{asked:?}");
}

/// Of programs with calls, and with extents that no input has.
#[test]
fn programs() {
    let check = |text: &str, expected: bool| {
        let graph: Graph = format!("graph v1 {text}").parse().unwrap();
        for d in DERIVATIVES {
            let bound = check(text, &graph, d);
            assert_eq!(bound.is_some_and(|n| n > 0), expected, "{}: {bound:?}\n{text}", d.name);
        }
        assert!(check_vmaps(text, &graph).is_some_and(|n| n > 0), "vmap: {text}");
    };
    // The linear part of a mean needs the extents of its operand, of which it has no value.
    let mean = "(a: f32[2,3]) {
        b: f32[2] = sum[axes=(1),keepdims=false] a
        c: f32[] = number_of_elements[axes=(1),dtype=f32,literal=true] | a
        d: f32[2] = divide b c
        return d
      }";
    check(
        &format!("(a: f32[2,3]) {{\n b: f32[2,3] = exp a\n c: f32[2] = call[name=mean] b with {mean}\n return c\n}}"),
        true,
    );
    let again = "name=mean,derivative=recompute";
    check(
        &format!("(a: f32[2,3]) {{\n b: f32[2,3] = exp a\n c: f32[2] = call[{again}] b with {mean}\n return c\n}}"),
        true,
    );
    // Calls within calls.
    let outer =
        format!("(a: f32[2,3]) {{\n b: f32[2,3] = sin a\n c: f32[2] = call[name=mean] b with {mean}\n return c\n}}");
    check(
        &format!("(a: f32[2,3]) {{\n b: f32[2,3] = exp a\n c: f32[2] = call[name=outer] b with {outer}\n return c\n}}"),
        true,
    );
    // What is merged is an extent that no input has.
    check(
        "(a: f32[2,3]) {\n b: f32[6] = flatten[start=0,end=1] a\n c: f32[] = sum[axes=(0),keepdims=false] b\n return c\n}",
        true,
    );
    // A reshape that changes no shape, here and elsewhere; and one that does so here.
    check("(a: f32[2,3]) {\n b: f32[2,3] = sin a\n c: f32[2,3] = add a b\n return c b\n}", true);
    // Parts and joints, of extents that are those of inputs, of what is computed, or of nothing else; within calls they are fixed where no operand has them.
    let part = "(a: f32[2,3]) {\n b: f32[2,2] = slice[bounds=(:,0:2)] a\n c: f32[2,2] = exp b\n return c\n}";
    let joint = "(a: f32[2,3]) {\n b: f32[4,3] = concatenate[axis=0] a a\n c: f32[4,3] = add b b\n return c\n}";
    let both = "(a: f32[2,3]) {
        b: f32[2,1] = slice[bounds=(:,2:)] a
        c: f32[2,2] = slice[bounds=(:,:2)] a
        d: f32[2,3] = concatenate[axis=1] b c
        return d
    }";
    check(
        "(a: f32[2,3]) {
            b: f32[6] = flatten[start=0,end=1] a
            c: f32[2] = slice[bounds=(:2)] b
            d: f32[8] = concatenate[axis=0] b c
            return d
        }",
        true,
    );
    for (body, out) in [(part, "f32[2,2]"), (joint, "f32[4,3]"), (both, "f32[2,3]")] {
        check(body, true);
        for derivative in ["", ",derivative=recompute"] {
            let call = format!("c: {out} = call[name=body{derivative}] b with {body}\n return c");
            check(&format!("(a: f32[2,3]) {{\n b: f32[2,3] = sin a\n {call}\n}}"), true);
        }
    }
    // Along axes that are inputs', joined, stated, or merged.
    check("(a: f32[2,3]) {\n b: f32[2,3] = cumprod[axis=1,reverse=false,exclusive=false] a\n return b\n}", true);
    check(
        "(a: f32[2,3]) {
            b: f32[4,3] = concatenate[axis=0] a a
            c: f32[4,3] = cumprod[axis=0,reverse=false,exclusive=false] b
            return c
        }",
        true,
    );
    check(
        "(a: f32[2,6]) {
            b: f32[2,3,2] = reshape[shape=(#0.0,3,2),infer=none] a | a
            c: f32[2,3,2] = cumprod[axis=1,reverse=false,exclusive=false] b
            return c
        }",
        true,
    );
    let cumulative = "c: f32[6] = cumprod[axis=0,reverse=false,exclusive=false] b";
    check(&format!("(a: f32[2,3]) {{\n b: f32[6] = flatten[start=0,end=1] a\n {cumulative}\n return c\n}}"), true);
}
