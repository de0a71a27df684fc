//! Sweeps over the op table: every sample infers, prints, parses and verifies, and its rules build graphs of the right shapes.

use lazuli_ir::prim::{Primals, VmapCx};
use lazuli_ir::testing::{Sample, samples};
use lazuli_ir::{Atom, Aval, Binary, Builder, Equation, Graph, Prim, Shape, Ternary, Unary, Var};
use std::collections::HashSet;

fn describe(s: &Sample) -> String {
    let inputs: Vec<String> = s.inputs.iter().map(|o| o.aval.to_string()).collect();
    format!("{}[{}] {}", s.prim.name(), s.prim.params(), inputs.join(" "))
}

#[test]
fn every_primitive_and_elementwise_op_has_a_sample() {
    let samples = samples();
    let kinds: HashSet<&str> = samples.iter().map(|s| s.prim.kind()).collect();
    let missing: Vec<_> = Prim::KINDS.iter().filter(|k| !kinds.contains(*k)).collect();
    assert!(missing.is_empty(), "no sample of {missing:?}");
    let ops: HashSet<&Prim> = samples.iter().map(|s| &s.prim).collect();
    let all = Unary::ALL.iter().map(|&op| Prim::from(op)).chain(Binary::ALL.iter().map(|&op| op.into()));
    for op in all.chain(Ternary::ALL.iter().map(|&op| op.into())) {
        assert!(ops.contains(&op), "no sample of {}", op.name());
    }
}

/// What a shapeless program needs of every primitive: its outputs follow from its operands, of whatever shapes it was made for. What has none is not looked at again.
#[test]
fn shape_rules_run_again() {
    for s in samples() {
        let graph = s.graph().unwrap_or_else(|e| panic!("{}: {e}", describe(&s)));
        let mut forgotten = graph.clone();
        let has_operands = |e: &&Equation| !e.inputs.is_empty() || !e.shapes.is_empty();
        let outputs = graph.equations.iter().filter(has_operands).flat_map(|e| &e.outputs);
        for v in graph.inputs.iter().chain(outputs) {
            forgotten.avals[v.0 as usize].shape = [9, 9, 9].as_slice().into();
        }
        let shapes: Vec<Shape> = graph.input_avals().into_iter().map(|a| a.shape).collect();
        let again = forgotten.rebind(&shapes).unwrap_or_else(|e| panic!("{}: {e}", describe(&s)));
        assert_eq!(again, graph, "{}", describe(&s));
    }
}

#[test]
fn no_two_primitives_print_alike() {
    let mut seen = std::collections::HashMap::new();
    for s in samples() {
        if let Some(kind) = seen.insert(s.prim.name(), s.prim.kind()) {
            assert_eq!(kind, s.prim.kind(), "two primitives are named {}", s.prim.name());
        }
    }
}

#[test]
fn samples_infer_print_and_parse() {
    for s in samples() {
        let graph = s.graph().unwrap_or_else(|e| panic!("{}: {e}", describe(&s)));
        assert_eq!(graph.output_avals(), s.outputs, "{}", describe(&s));
        graph.verify().unwrap_or_else(|e| panic!("{}: {e}", describe(&s)));
        let text = graph.to_string();
        let again: Graph = text.parse().unwrap_or_else(|e| panic!("{e} in\n{text}"));
        assert_eq!(again, graph, "{text}");
    }
}

#[test]
fn tangents_have_the_avals_of_the_outputs() {
    for s in samples() {
        if !s.prim.bodies().is_empty() || !s.inputs.iter().any(|o| o.aval.dtype.is_inexact()) {
            continue;
        }
        let differentiable = |k: usize| s.inputs[k].aval.dtype.is_inexact();
        // Each input alone, and all together.
        let choices = (0..s.inputs.len()).map(|k| vec![k]).chain([(0..s.inputs.len()).collect()]);
        for chosen in choices.filter(|c: &Vec<usize>| c.iter().any(|&k| differentiable(k))) {
            let mut b = Builder::new();
            let inputs: Vec<Atom> = s.inputs.iter().map(|o| b.input(o.aval.clone()).into()).collect();
            let shapes: Vec<Var> = s.shapes.iter().map(|a| b.input(a.clone())).collect();
            let outputs: Vec<Atom> =
                b.equation(s.prim.clone(), &inputs, &shapes).unwrap().into_iter().map(Atom::from).collect();
            let tangents: Vec<Option<Atom>> = (0..inputs.len())
                .map(|k| (chosen.contains(&k) && differentiable(k)).then(|| b.input(s.inputs[k].aval.clone()).into()))
                .collect();
            let primals = Primals { inputs: &inputs, shapes: &shapes, outputs: &outputs };
            let got = match s.prim.jvp(&mut b, primals, &tangents) {
                Ok(got) => got,
                Err(e) if e.kind() == lazuli_ir::ErrorKind::Unsupported => continue,
                Err(e) => panic!("{}: {e}", describe(&s)),
            };
            assert_eq!(got.len(), outputs.len(), "{}", describe(&s));
            for (t, y) in got.iter().zip(&outputs) {
                if let Some(t) = t {
                    assert_eq!(b.aval(*t), b.aval(*y), "{} with tangents of {chosen:?}", describe(&s));
                }
            }
            b.finish(got.into_iter().flatten().collect()).verify().unwrap();
        }
    }
}

#[test]
fn vmap_puts_the_batch_in_front() {
    const SIZE: usize = 7;
    for s in samples() {
        if !s.prim.bodies().is_empty() {
            continue;
        }
        let n = s.inputs.len() + s.shapes.len();
        for mask in 1u32..1 << n {
            let batched = |k: usize| mask >> k & 1 == 1;
            let mut b = Builder::new();
            let mut input = |k: usize, aval: &Aval| {
                let front: Shape = if batched(k) { [SIZE].into_iter().collect() } else { Shape::new() };
                b.input(Aval::new(aval.dtype, front.into_iter().chain(aval.shape.iter().copied()).collect::<Shape>()))
            };
            let inputs: Vec<Atom> = s.inputs.iter().enumerate().map(|(k, o)| input(k, &o.aval).into()).collect();
            let shapes: Vec<Var> = s.shapes.iter().enumerate().map(|(k, a)| input(s.inputs.len() + k, a)).collect();
            let flags: Vec<bool> = (0..n).map(batched).collect();
            let (batched, shapes_batched) = flags.split_at(s.inputs.len());
            if !batched.contains(&true) {
                let got = b.equation(s.prim.of_batched_shapes(shapes_batched), &inputs, &shapes).unwrap();
                let shared: Vec<Aval> = got.iter().map(|&v| b.aval(v.into())).collect();
                assert_eq!(shared, s.outputs, "{} with batched shapes {flags:?}", describe(&s));
                continue;
            }
            let cx = VmapCx { inputs: &inputs, batched, shapes: &shapes, shapes_batched, size: SIZE };
            let got = s.prim.vmap(&mut b, cx).unwrap_or_else(|e| panic!("{} batched {flags:?}: {e}", describe(&s)));
            for (&got, want) in got.iter().zip(&s.outputs) {
                let want: Shape = std::iter::once(SIZE).chain(want.shape.iter().copied()).collect();
                assert_eq!(b.shape(got), &want[..], "{} batched {flags:?}", describe(&s));
            }
            b.finish(got.into_iter().collect()).verify().unwrap();
        }
    }
}
