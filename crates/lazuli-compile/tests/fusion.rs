//! Which operations share a kernel, and what simplification leaves: graphs as text.

use lazuli_compile::{Options, compile};
use lazuli_ir::{Atom, Aval, Binary, Builder, DType, Graph, Unary};
use lazuli_kernel::{Layout, Step};

fn parse(inputs: &str, body: &str) -> Graph {
    format!("graph v1 ({inputs}) {{\n{body}\n}}").parse().unwrap_or_else(|e| panic!("{e}\n{body}"))
}

/// The ops of each kernel, in the order in which they run.
#[track_caller]
fn check(inputs: &str, body: &str, want: &[&str]) {
    let graph = parse(inputs, body);
    let layouts: Vec<Layout> = graph.input_avals().into_iter().map(|a| Layout::row(a.shape)).collect();
    let compiled = compile(&graph, &layouts, &Options::COMPILE).unwrap();
    let got: Vec<String> = compiled.report.kernels(&graph).iter().map(|k| k.ops.join(" ")).collect();
    assert_eq!(got, want, "{}", compiled.plan);
}

#[test]
fn chains_of_elementwise_ops_are_one_kernel() {
    check(
        "a: f32[8]",
        "b: f32[8] = negative a\nc: f32[8] = exp b\nd: f32[8] = add c 1.0:f32\nreturn d",
        &["negative exp add"],
    );
    // Both results of one loop, and siblings that read the same array.
    check("a: f32[8]", "b: f32[8] = exp a\nc: f32[8] = negative b\nreturn b c", &["exp negative"]);
    check("a: f32[8]", "b: f32[8] = sin a\nc: f32[8] = cos a\nreturn b c", &["sin cos"]);
}

#[test]
fn views_are_index_maps() {
    let body = "b: f32[2,4] = exp a\nc: f32[4,2] = transpose[axes=(1,0)] b\nd: f32[4,2] = negative c\nreturn d";
    check("a: f32[2,4]", body, &["exp transpose negative"]);
    let body = "b: f32[2,4] = exp a\nc: f32[8] = reshape[shape=(8),infer=none] b\nd: f32[8] = negative c\nreturn d";
    check("a: f32[2,4]", body, &["exp reshape negative"]);
}

#[test]
fn reductions_take_their_operands_and_what_follows() {
    let body = "b: f32[4,8] = square a\nc: f32[4] = sum[axes=(1),keepdims=false] b\nd: f32[4] = sqrt c\nreturn d";
    check("a: f32[4,8]", body, &["square sum sqrt"]);
    let softmax = "b: f32[4,1] = max[axes=(1),keepdims=true] a\nc: f32[4,8] = subtract a b\nd: f32[4,8] = exp c\n\
                   e: f32[4,1] = sum[axes=(1),keepdims=true] d\nf: f32[4,8] = divide d e\nreturn f";
    check("a: f32[4,8]", softmax, &["max", "subtract exp sum", "subtract exp divide"]);
}

#[test]
fn a_circle_of_kernels_is_not_made() {
    // The last op needs both the map and a reduction of it.
    let body = "b: f32[8] = erf a\nc: f32[] = sum[axes=(0),keepdims=false] b\nd: f32[8] = subtract b c\nreturn b d";
    check("a: f32[8]", body, &["erf", "sum", "subtract"]);
}

#[test]
fn long_chains_need_bounded_stack_and_little_time() {
    let mut b = Builder::new();
    let x = b.input(Aval::new(DType::F32, [4].as_slice()));
    let mut y: Atom = x.into();
    for i in 0..10_000 {
        y = b.binary(if i % 2 == 0 { Binary::Add } else { Binary::Mul }, y, x.into()).unwrap();
    }
    let graph = b.finish(vec![y]);
    for options in [Options::EVAL, Options::COMPILE] {
        let compiled = compile(&graph, &[Layout::row([4].as_slice())], &options).unwrap();
        let most = if options.fuse { 4 } else { 10_000 };
        assert!(compiled.plan.steps.len() <= most, "{} steps", compiled.plan.steps.len());
    }
}

#[test]
fn shapes_and_numbers_do_not_decide_the_code() {
    let kernels = |n: usize, rate: f64| {
        let mut b = Builder::new();
        let x: Atom = b.input(Aval::new(DType::F32, [n, 3].as_slice())).into();
        let y = b.mul(x, b.like(x, rate)).unwrap();
        let y = b.unary(Unary::Exp, y).unwrap();
        let graph = b.finish(vec![y]);
        let plan = compile(&graph, &[Layout::row([n, 3].as_slice())], &Options::COMPILE).unwrap().plan;
        plan.steps
            .into_iter()
            .map(|s| match s {
                Step::Launch { kernel, .. } => kernel,
                other => panic!("{other}"),
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(kernels(4, 0.1), kernels(7, 0.2));
}

/// The extents of each binding of each step.
#[track_caller]
fn check_steps(inputs: &str, body: &str, want: &[&str]) {
    let graph = parse(inputs, body);
    let layouts: Vec<Layout> = graph.input_avals().into_iter().map(|a| Layout::row(a.shape)).collect();
    let plan = compile(&graph, &layouts, &Options::COMPILE).unwrap().plan;
    let bindings = |step: &Step| match step {
        Step::Launch { bindings, .. } => {
            bindings.iter().map(|b| lazuli_kernel::shape::show(&b.extents)).collect::<Vec<_>>().join(" ")
        }
        _ => "library".into(),
    };
    let got: Vec<String> = plan.steps.iter().map(bindings).collect();
    assert_eq!(got, want, "{plan}");
}

#[test]
fn independent_kernels_of_one_structure_are_one_launch() {
    let step = |v: &str, new: &str, p: &str, g: &str, shape: &str| {
        format!(
            "m{new}: {shape} = multiply {v} 0.9:f32\n{new}: {shape} = add m{new} {g}\n\
             s{new}: {shape} = multiply {new} 0.1:f32\nn{new}: {shape} = subtract {p} s{new}\n"
        )
    };
    let update = step("a", "u", "b", "c", "f32[4,8]")
        + &step("d", "v", "e", "f", "f32[8]")
        + &step("g", "w", "h", "i", "f32[3,5]");
    check_steps(
        "a: f32[4,8], b: f32[4,8], c: f32[4,8], d: f32[8], e: f32[8], f: f32[8], g: f32[3,5], h: f32[3,5], i: f32[3,5]",
        &format!("{update}return u nu v nv w nw"),
        &["(32,) (8,) (15,)"],
    );
    // Reductions too; not where one needs the other.
    let sums = "c: f32[] = sum[axes=(0),keepdims=false] a\nd: f32[] = sum[axes=(0),keepdims=false] b\nreturn c d";
    check_steps("a: f32[7], b: f32[9]", sums, &["(7,) (9,)"]);
    let chain =
        "b: f32[8,8] = matmul a a\nc: f32[8,8] = exp b\nd: f32[8,8] = matmul c c\ne: f32[8,8] = exp d\nreturn c e";
    check_steps("a: f32[8,8]", chain, &["library", "(64,)", "library", "(64,)"]);
}
