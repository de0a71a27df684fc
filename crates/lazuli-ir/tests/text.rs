//! The text form: golden prints, what the parser refuses, what the verifier reports.

use lazuli_ir::param::Params;
use lazuli_ir::prims::{Call, GraphRule, Reduce, ReduceOp};
use lazuli_ir::{Aval, Binary, Builder, DType, Effect, Graph, Location, Result, Scalar, Unary, Var};
use smallvec::smallvec;
use std::sync::Arc;

fn f32(shape: &[usize]) -> Aval {
    Aval::new(DType::F32, shape)
}

/// A graph with a constant, a literal, a reduction, a shape operand, a call, marks and places.
fn everything() -> Result<Graph> {
    let mut b = Builder::new();
    let x = b.input(f32(&[2, 3]));
    let y = b.unary(Unary::Square, x.into())?;
    let body = Arc::new(b.finish(vec![y]));

    let mut b = Builder::new();
    let (x, w, c) = (b.input(f32(&[2, 3])), b.input(f32(&[3])), b.input(f32(&[])));
    b.set_constants(1);
    b.meta.location = Location::new("model file.py", 12);
    let sum = b.add(x.into(), w.into())?;
    let half = b.binary(Binary::Mul, sum, Scalar::f32(0.5).into())?;
    b.meta.stream = 2;
    let total = b.op(Reduce { op: ReduceOp::Sum, axes: smallvec![1], keepdims: false }, &[half])?;
    b.meta.effect = Effect::Ordered;
    let squares = b.op(Call::new("square", body), &[sum])?;
    b.meta = Default::default();
    let dims = [(0, 1), (0, 0)].map(|(operand, axis)| lazuli_ir::Dim::Of { operand, axis });
    let wide = b.equation(lazuli_ir::prims::Broadcast { shape: dims.into_iter().collect() }, &[c.into()], &[x])?[0];
    Ok(b.finish(vec![total, squares, wide.into(), Scalar::bool(true).into()]))
}

const PRINTED: &str = "\
graph v1 (a: f32[2,3], b: f32[3]; c: f32[]) {
  d: f32[2,3] = add a b @ model file.py:12
  e: f32[2,3] = multiply d 0.5:f32 @ model file.py:12
  f: f32[2] = sum[axes=(1),keepdims=false] e {stream=2} @ model file.py:12
  g: f32[2,3] = call[name=square] d {stream=2,ordered} with (a: f32[2,3]) {
    b: f32[2,3] = square a
    return b
  } @ model file.py:12
  h: f32[3,2] = broadcast_to[shape=(#0.1,#0.0)] c | a
  return f g h true:bool
}";

#[test]
fn prints_and_parses() {
    let graph = everything().unwrap();
    graph.verify().unwrap();
    assert_eq!(format!("{graph:#}"), PRINTED);
    assert_eq!(graph.to_string(), PRINTED.replace(" @ model file.py:12", ""));
    let again: Graph = PRINTED.parse().unwrap();
    assert_eq!(again, graph);
    assert_eq!(again.equations[0].meta.location, Location::new("model file.py", 12));
}

#[test]
fn names_of_functions_and_files_may_be_any() {
    for name in
        ["plain", "<lambda>", "a]b", "a,b=1", "with (", "f(x)", "two\nlines", "\"", "\\", "x\" @ y:1", "é\u{2028}", ""]
    {
        let mut b = Builder::new();
        let x = b.input(f32(&[2]));
        let y = b.unary(Unary::Square, x.into()).unwrap();
        let body = b.finish(vec![y]);
        let mut b = Builder::new();
        let x = b.input(f32(&[2]));
        b.meta.location = Location::new(&format!("{name}.py"), 3);
        let y = b.op(Call::new(name, body), &[x.into()]).unwrap();
        let graph = b.finish(vec![y]);
        let text = format!("{graph:#}");
        assert_eq!(text.lines().count(), 7, "{text}");
        let again: Graph = text.parse().unwrap_or_else(|e| panic!("{e} of\n{text}"));
        assert_eq!((format!("{again:#}"), &again), (text, &graph));
    }
}

#[test]
fn bodies_nest_as_deep_as_traces_do() {
    let nested = |depth: usize| {
        let mut graph: Graph = "graph v1 (a: f32[2]) { b: f32[2] = square a\n return b }".parse().unwrap();
        for _ in 0..depth {
            let mut b = Builder::new();
            let x = b.input(f32(&[2]));
            let y = b.op(Call::new("f", graph), &[x.into()]).unwrap();
            graph = b.finish(vec![y]);
        }
        graph.to_string()
    };
    // Threads of Rust have 2 MiB of stack.
    let read =
        |depth| std::thread::spawn(move || nested(depth).parse::<Graph>().map(|g| g.to_string())).join().unwrap();
    assert_eq!(read(256).unwrap(), nested(256));
    let error = read(257).unwrap_err().to_string();
    assert_eq!(error, "[parse] calls and branches are nested more than 256 deep");
}

#[test]
fn derivatives_of_calls_survive_the_round_trip() {
    let text = "\
graph v1 (a: f32[2]) {
  b: f32[2] = call[name=f,derivative=custom] a with (a: f32[2]) {
    b: f32[2] = sin a
    return b
  } vjp (a: f32[2], b: f32[2], c: f32[2]) {
    d: f32[2] = cos a
    e: f32[2] = multiply b d
    return e
  } jvp (a: f32[2], b: f32[2]) {
    return b
  }
  c: f32[2] = call[name=g,derivative=recompute] b {again=1} with (a: f32[2]) {
    b: f32[2] = exp a
    return b
  }
  return c
}";
    let graph: Graph = text.parse().unwrap();
    graph.verify().unwrap();
    assert_eq!(graph.to_string(), text);
    // The rules follow the shapes of the operands.
    let wider = graph.rebind(&[[3].into_iter().collect()]).unwrap().to_string();
    assert_eq!(wider, text.replace("f32[2]", "f32[3]"));
}

/// Negates `times` times what its graph gives, or its operand.
#[derive(Debug)]
struct Negate(usize, Option<Graph>);

impl GraphRule for Negate {
    fn graph(&self, inputs: &[&Aval]) -> Result<Graph> {
        let mut b = Builder::new();
        let a = b.input(inputs[0].clone());
        let mut out = match &self.1 {
            None => a.into(),
            Some(graph) => {
                let graph = graph.rebind(&[inputs[0].shape.clone()])?;
                b.op(Call::new("source", graph), &[a.into()])?
            }
        };
        for _ in 0..self.0 {
            out = b.neg(out)?;
        }
        Ok(b.finish(vec![out]))
    }
    fn name(&self) -> &'static str {
        "negate"
    }
    fn params(&self) -> String {
        format!("times={}", self.0)
    }
    fn source(&self) -> Option<&Graph> {
        self.1.as_ref()
    }
}

#[test]
fn rules_of_calls_survive_the_round_trip() {
    let text = "\
graph v1 (with: f32[2]) {
  b: f32[2] = call[name=f] with with negate[times=2]
  c: f32[2] = call[name=g] b with negate[times=1] (a: f32[2]) {
    b: f32[2] = sin a
    return b
  }
  return c
}";
    let read = |name: &str, params: &Params, source: Option<Graph>| -> Option<Arc<dyn GraphRule>> {
        (name == "negate").then_some(())?;
        Some(Arc::new(Negate(params.read("times")?, source)))
    };
    let graph = Graph::parse(text, &read).unwrap();
    graph.verify().unwrap();
    assert_eq!(graph.to_string(), text.replace("with:", "a:").replace("with with", "a with"));
    assert_eq!(Graph::parse(text, &read).unwrap(), graph);
    let bodies = graph.rebind(&[[3].into_iter().collect()]).unwrap().inline_calls().unwrap().graph.to_string();
    assert_eq!(bodies.matches("f32[3] = negative").count(), 3, "{bodies}");
    for (from, to) in [("times", "time"), ("negate", "turn"), ("times=2", "times=two"), ("] with", "] =")] {
        assert!(Graph::parse(&text.replacen(from, to, 1), &read).is_err(), "{from}");
    }
    let error = text.parse::<Graph>().unwrap_err().to_string();
    assert!(error.contains("there is no rule 'negate' with parameters [times=2]"), "{error}");
}

#[test]
fn names_go_on_after_z() {
    let mut b = Builder::new();
    let mut a = b.input(f32(&[])).into();
    for _ in 0..30 {
        a = b.neg(a).unwrap();
    }
    let text = b.finish(vec![a]).to_string();
    assert!(text.contains("  aa: f32[] = negative z\n  ab: f32[] = negative aa\n"), "{text}");
    assert_eq!(text.parse::<Graph>().unwrap().to_string(), text);
}

#[test]
fn names_and_spacing_are_free() {
    let graph: Graph =
        "graph v1 ( x_1:f32[2] ,y : f32[2] )\n{ sum:f32[2]=add x_1   y\n\n return  sum }".parse().unwrap();
    assert_eq!(graph.to_string(), "graph v1 (a: f32[2], b: f32[2]) {\n  c: f32[2] = add a b\n  return c\n}");
}

#[test]
fn an_infinite_or_strange_literal_comes_back() {
    for s in ["inf:f32", "-inf:f64", "NaN:f16", "-0.0:bf16", "18446744073709551615:u64", "(1,-2.5):c64", "true:bool"] {
        let text = format!("graph v1 () {{\n  return {s}\n}}");
        assert_eq!(text.parse::<Graph>().unwrap().to_string(), text);
    }
}

#[test]
fn wrong_text_is_refused() {
    let check = |body: &str, expect: &str| {
        let e = format!("graph v1 (a: f32[2]) {{\n{body}\n}}").parse::<Graph>().unwrap_err().to_string();
        assert_eq!(e, expect, "{body}");
    };
    check("b: f32[2] = add a c", "[parse] line 2: expected a variable that is defined above, or a literal, found 'c'");
    check("b: f32[2] = ad a a", "[parse] there is no primitive 'ad' with parameters []");
    check("b: f32[2] = sum[axes=(0)] a", "[parse] there is no primitive 'sum' with parameters [axes=(0)]");
    check("b: f32[2] = negative[axis=1] a", "[parse] there is no primitive 'negative' with parameters [axis=1]");
    check("a: f32[2] = negative a", "[parse] 'a' is defined twice");
    check("b: f33[2] = negative a", "[parse] 'f33[2]' is not a dtype with extents such as f32[2,3]");
    check("b: f32[2] = negative a {fast}", "[parse] line 2: expected 'stream=n', 'again=n' or 'ordered', found '}'");
    check("b: f32[2] = negative a", "[parse] line 3: expected a name, found '}'");
    let e = "graph v2 () {}".parse::<Graph>().unwrap_err();
    assert_eq!(
        e.to_string(),
        "[parse] line 1: expected 'graph v1': the text of another version can't be read, found 'graph v2 () {}'"
    );
}

#[test]
fn every_prefix_of_a_text_is_refused_without_a_panic() {
    for end in (0..PRINTED.len()).filter(|&n| PRINTED.is_char_boundary(n)) {
        assert!(PRINTED[..end].parse::<Graph>().is_err(), "{}", &PRINTED[..end]);
    }
}

/// Breaks a graph of two equations and expects the report to begin so.
fn verify(broken: impl Fn(&mut Graph), expect: &str) {
    let text = "graph v1 (a: f32[2], b: f32[2]) {\n  c: f32[2] = add a b\n  d: f32[2] = negative c\n  return d\n}";
    let mut graph: Graph = text.parse().unwrap();
    broken(&mut graph);
    let report = graph.verify().unwrap_err().to_string();
    assert!(report.starts_with(expect), "{report}");
}

#[test]
fn the_verifier_names_the_equation_at_fault() {
    verify(
        |g| g.equations.swap(0, 1),
        "[verify] equation 0 (negative): operand 0: variable 2 is not defined before this use\n\
         graph v1 (a: f32[2], b: f32[2]) {\n> c: f32[2] = negative d\n  d: f32[2] = add a b\n  return c\n}",
    );
    verify(
        |g| g.avals[3] = f32(&[3]),
        "[verify] equation 1 (negative): its outputs are (f32[2]), stated as (f32[3])\n",
    );
    verify(|g| g.avals[1] = f32(&[3]), "[verify] equation 0 (add): [add] shapes (2,) and (3,) cannot be broadcast");
    verify(|g| g.equations[1].outputs[0] = Var(0), "[verify] equation 1 (negative): variable 0 is defined twice\n");
    verify(
        |g| g.equations[1].outputs[0] = Var(9),
        "[verify] equation 1 (negative): its outputs are (f32[2]), stated as ()\n",
    );
    verify(|g| g.equations[0].inputs.truncate(1), "[verify] equation 0 (add): [add] takes 2 operands, not 1\n");
    verify(|g| g.constants = 3, "[verify] 3 constants among 2 inputs\n");
    verify(|g| g.inputs[1] = Var(0), "[verify] variable 0 is defined twice\n");
    verify(|g| g.outputs[0] = Var(7).into(), "[verify] an output: variable 7 is not defined before this use\n");
    verify(
        |g| g.outputs[0] = Scalar { dtype: DType::Bool, bits: 1 << 60 }.into(),
        "[verify] an output: true:bool has bits outside its dtype\n",
    );
}

#[test]
fn the_body_of_a_call_is_verified() {
    let body: Graph = "graph v1 (a: f32[3]) {\n  b: f32[3] = negative a\n  return b\n}".parse().unwrap();
    let broken = |change: &dyn Fn(&mut Graph)| {
        let mut body = body.clone();
        change(&mut body);
        let mut graph: Graph = "graph v1 (a: f32[3]) {\n  b: f32[3] = negative a\n  return b\n}".parse().unwrap();
        graph.equations[0].prim = Call::new("minus", body).into();
        graph.verify().unwrap_err().message().lines().next().unwrap().to_owned()
    };
    assert_eq!(broken(&|g| g.constants = 1), "equation 0 (call): its body has constants: what it needs is passed");
    assert_eq!(
        broken(&|g| *g = g.rebind(&[smallvec![4]]).unwrap()),
        "equation 0 (call): its body takes (f32[4]), not (f32[3])"
    );
    assert_eq!(
        broken(&|g| g.equations[0].inputs[0] = Var(1).into()),
        "equation 0 (call): its body is not well formed: equation 0 (negative): operand 0: variable 1 is not defined before this use"
    );
}

#[test]
fn rebinding_runs_the_shape_rules_again() {
    let graph = everything().unwrap().rebind(&[smallvec![5, 3], smallvec![3], smallvec![]]).unwrap();
    graph.verify().unwrap();
    let shapes: Vec<String> = graph.output_avals().iter().map(Aval::to_string).collect();
    assert_eq!(shapes, ["f32[5]", "f32[5,3]", "f32[3,5]", "bool[]"]);
}
