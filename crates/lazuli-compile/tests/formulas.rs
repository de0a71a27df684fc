//! From the third shape of a pattern on plans follow by formulas: those with steps of every kind, from a table.

use lazuli_compile::testing::{InOutline, kind, written};
use lazuli_compile::{Fit, Options, compile_first, compile_like, plan_like};
use lazuli_ir::Graph;
use lazuli_kernel::{Kernel, Layout, Variant};
use std::sync::Arc;

const FUSED: Options = Options { simplify: false, fuse: true };

/// From the third shape on a plan follows by formulas, whatever its steps are.
#[test]
fn every_kind_of_step() {
    for (kind_of_step, text) in [
        ("scan", "(a: f32[N,6]) {\n  b: f32[N,6] = cumsum[axis=0,reverse=false,exclusive=false] a\n  return b\n}"),
        (
            "scan",
            "(a: f16[3,N,6]) {\n  b: f16[3,N,6] = exp a\n  c: f16[3,N,6] = cumsum[axis=1,reverse=true,exclusive=true] b\n  d: f16[3,N,6] = negative c\n  return c d\n}",
        ),
        (
            "scan",
            "(a: c64[N,6]) {\n  b: c64[6,N] = transpose[axes=(1,0)] a\n  c: c64[6,N] = cumsum[axis=1,reverse=false,exclusive=false] b\n  return c\n}",
        ),
        (
            "recurrence",
            "(a: f16[3,N,6]) {\n  b: f16[3,N,6] = exp a\n  c: f16[3,N,6] = linear_recurrence[axis=1,reverse=true] b a\n  return c\n}",
        ),
        (
            "scatter",
            "(a: f32[N,6], i: i32[4], u: f32[4,1,6]) {\n  b: f32[N,6] = scatter[axes=(0),op=assign] a i u\n  return b\n}",
        ),
        (
            "scatter",
            "(a: f32[N,6], i: i32[4], u: f32[4,1,6]) {\n  b: f32[N,6] = scatter[axes=(0),op=add] a i u\n  return b\n}",
        ),
        (
            "scatter",
            "(a: f16[N,6], i: i32[4], u: f16[4,1,6]) {\n  b: f16[N,6] = scatter[axes=(0),op=add] a i u\n  return b\n}",
        ),
        (
            "scatter",
            "(a: c64[N,6], i: i32[4], u: c64[4,1,6]) {\n  b: c64[N,6] = scatter[axes=(0),op=add] a i u\n  return b\n}",
        ),
        (
            "scatter",
            "(a: i32[N,6], i: i32[4], u: i32[4,1,6]) {\n  b: i32[N,6] = scatter[axes=(0),op=max] a i u\n  return b\n}",
        ),
        (
            "scatter",
            "(a: f32[N,6], i: i32[5], u: f32[5,1,6]) {\n  b: f32[N,6] = scatter[axes=(0),op=assign] a i u\n  c: f32[N,6] = exp b\n  return c\n}",
        ),
        (
            "scatter",
            "(a: f32[N,6], i: i32[3,6], u: f32[3,6]) {\n  b: f32[N,6] = put_along_axis[axis=0,op=add] a i u\n  return b\n}",
        ),
        (
            "scatter and map",
            "(a: f32[N,2048], i: i32[5], u: f32[5,1,2048]) {\n  b: f32[N,2048] = scatter[axes=(0),op=add] a i u\n  c: f32[N,2048] = exp b\n  return c\n}",
        ),
        (
            "scatter and map",
            "(a: f16[N,2048], d: f16[N,2048], i: i32[5], u: f16[5,1,2048]) {\n  b: f16[N,2048] = scatter[axes=(0),op=max] a i u\n  c: f16[N,2048] = multiply b d\n  return c b\n}",
        ),
        (
            "map or reduction",
            "(a: f32[N,8], u: f32[N,3]) {\n  b: f32[N,8] = slice_update[bounds=(:,1:4),op=assign] a u\n  return b\n}",
        ),
        (
            "map or reduction",
            "(a: c64[N,8], u: c64[N,3]) {\n  b: c64[N,8] = slice_update[bounds=(:,6:0:-2),op=add] a u\n  return b\n}",
        ),
        (
            "map or reduction",
            "(a: f32[N,8], u: f32[N,8]) {\n  b: f32[N,8] = slice_update[bounds=(::-1,:),op=assign] a u\n  c: f32[N,8] = exp b\n  return b c\n}",
        ),
        (
            "sort",
            "(a: f32[N,6]) {\n  b: f32[6,N] = transpose[axes=(1,0)] a\n  c: f32[6,N] = sort[axis=1] b\n  return c b\n}",
        ),
        ("sort", "(a: f16[N,6,3]) {\n  b: f16[N,6,3] = exp a\n  c: u32[N,6,3] = argsort[axis=0] b\n  return c\n}"),
        (
            "host",
            "(a: f32[N,6]) {\n  b: f32[6,N] = transpose[axes=(1,0)] a\n  debug_print[format=\"{0}\",batch=0] b\n  c: f32[N,6] = exp a\n  return c\n}",
        ),
        (
            "host",
            "(a: f32[N,6]) {\n  b: f32[3,6] = slice[bounds=(-3:,:)] a\n  debug_print[format=\"{0} {1}\",batch=0] b 1.0:f32\n  c: f32[3,6] = exp b\n  return c 2.0:f32\n}",
        ),
        (
            "branch",
            "(p: bool[], a: f32[N,6], w: f32[6,6]) {\n  b: f32[N,6] = exp a\n  c: f32[6,N], d: f32[] = cond p b w with (a: f32[N,6], w: f32[6,6]) {\n    b: f32[N,6] = matmul a w\n    c: f32[6,N] = transpose[axes=(1,0)] b\n    d: f32[6,N] = tanh c\n    e: f32[] = sum[axes=(0,1),keepdims=false] d\n    return d e\n  } else (a: f32[N,6], w: f32[6,6]) {\n    b: f32[6,N] = transpose[axes=(1,0)] a\n    return b 0.5:f32\n  }\n  e: f32[6,N] = multiply c d\n  return e\n}",
        ),
        (
            "branch",
            "(p: bool[2], a: f32[N,6]) {\n  q: bool[1] = slice[bounds=(1:2)] p\n  r: bool[] = squeeze[axes=(0)] q\n  b: f32[3,6] = slice[bounds=(-3:,:)] a\n  c: f32[6,N] = transpose[axes=(1,0)] a\n  d: f32[N] = cond r b c 2.0:f32 with (a: f32[3,6], b: f32[6,N], c: f32[]) {\n    d: f32[N] = sum[axes=(0),keepdims=false] b\n    e: f32[3] = max[axes=(1),keepdims=false] a\n    f: f32[] = sum[axes=(0),keepdims=false] e\n    g: bool[] = greater f c\n    h: f32[N] = cond g d f with (a: f32[N], b: f32[]) {\n      c: f32[N] = add a b\n      return c\n    } else (a: f32[N], b: f32[]) {\n      c: f32[N] = cumsum[axis=0,reverse=false,exclusive=false] a\n      return c\n    }\n    return h\n  } else (a: f32[3,6], b: f32[6,N], c: f32[]) {\n    d: f32[1,N] = slice[bounds=(2:3,:)] b\n    e: f32[N] = squeeze[axes=(0)] d\n    f: f32[N] = multiply e c\n    return f\n  }\n  return d\n}",
        ),
        (
            "product",
            "(a: f32[N,6], w: f32[6,6]) {\n  b: f32[6,N] = transpose[axes=(1,0)] a\n  c: f32[6,6] = matmul b a\n  d: f32[N,6] = matmul a w\n  e: f32[6,N] = transpose[axes=(1,0)] d\n  return c e\n}",
        ),
    ] {
        let graph = |n: usize| -> Graph {
            let text = format!("graph v1 {}", text.replace('N', &n.to_string()));
            text.parse().unwrap_or_else(|e| panic!("{e}\n{text}"))
        };
        let rows = |graph: &Graph| graph.input_avals().into_iter().map(|a| Layout::row(a.shape)).collect::<Vec<_>>();
        let (first, second) = (graph(33), graph(35));
        let outline = InOutline::new(&first).expect("it has no calls");
        let (_, template) = compile_first(&first, &rows(&first), &FUSED).unwrap();
        let mut templates = [template.expect("what is fused gives a template")];
        let mut compile_like = |graph: &Graph| {
            let shapes = outline.shapes(graph).unwrap();
            let outlined = outline.of(graph, &shapes);
            let by_formulas = plan_like(&mut templates, &outlined, &rows(graph).iter().collect::<Vec<_>>(), Fit::Good);
            let by_formulas = by_formulas.map(|(mut by, outputs)| (written(&mut by), outputs));
            let like = compile_like(&templates, graph, Some(&outlined), &rows(graph), &FUSED).unwrap();
            (by_formulas, like.unwrap_or_else(|| panic!("{kind_of_step} is of another pattern")))
        };
        assert!(compile_like(&second).0.is_none());
        // Each is written over the one before.
        for graph in [41, 59, 59, 33].map(graph) {
            let (by_formulas, like) = compile_like(&graph);
            let (plan, outputs) =
                by_formulas.unwrap_or_else(|| panic!("{kind_of_step} does not follow by formulas\n{graph}"));
            assert_eq!(plan.to_string(), like.plan.to_string(), "{kind_of_step}");
            assert_eq!(outputs, like.outputs, "{kind_of_step}");
            assert!(plan.steps.iter().any(|step| kind(step) == kind_of_step), "no {kind_of_step} in {plan}");
        }
    }
}

/// Where kernels of a plan were replaced by equal ones, later plans have those.
#[test]
fn kernels_stay_that_were_put_there() {
    let graph = |n: usize| -> Graph {
        let text = "graph v1 (a: f32[N,6], i: i32[5], u: f32[5,1,6]) {\n  b: f32[N,6] = exp a\n  \
                    c: f32[N,6] = scatter[axes=(0),op=add] b i u\n  return c\n}";
        text.replace('N', &n.to_string()).parse().unwrap()
    };
    let rows = |graph: &Graph| graph.input_avals().into_iter().map(|a| Layout::row(a.shape)).collect::<Vec<_>>();
    let (first, second) = (graph(33), graph(35));
    let outline = InOutline::new(&first).expect("it has no calls");
    let shapes = |graph: &Graph| outline.shapes(graph).unwrap();
    let (_, template) = compile_first(&first, &rows(&first), &FUSED).unwrap();
    let mut templates = [template.expect("what is fused gives a template")];
    compile_like(&templates, &second, Some(&outline.of(&second, &shapes(&second))), &rows(&second), &FUSED).unwrap();
    let mut share = |n: usize, with: &mut dyn FnMut(&mut Arc<Kernel>)| {
        let graph = graph(n);
        let (shapes, rows) = (shapes(&graph), rows(&graph));
        let found =
            plan_like(&mut templates, &outline.of(&graph, &shapes), &rows.iter().collect::<Vec<_>>(), Fit::Good);
        let shared = found.expect("it follows by formulas").0.plan().share_kernels(&mut |kernel| {
            with(kernel);
            Ok(())
        });
        shared.unwrap();
    };
    let mut own: Vec<Arc<Kernel>> = Vec::new();
    share(41, &mut |kernel| {
        own.push(Arc::new(Kernel::clone(kernel)));
        *kernel = own[own.len() - 1].clone();
    });
    let mut own = own.iter();
    share(43, &mut |kernel| assert!(Arc::ptr_eq(kernel, own.next().unwrap())));
    assert!(own.next().is_none());
}
