//! Fusing, simplifying and layouts never change a result: every primitive, and random programs, in all modes and bit for bit.

use lazuli_compile::testing::{Host, InOutline, kind, random_inputs, run, run_compiled, run_with, written};
use lazuli_compile::{Fit, Fused, Options, compile, compile_first, compile_like, plan_like};
use lazuli_ir::prims::*;
use lazuli_ir::{Atom, Aval, Binary, Builder, DType, Dim, Graph, Result, Scalar, Ternary, Unary};
use lazuli_kernel::host;
use lazuli_kernel::testing::Rng;
use lazuli_kernel::{Kernel, Layout, Plan, ScatterOp, Step};
use smallvec::{SmallVec, smallvec};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

thread_local! {
    /// What programs of this thread have printed.
    static PRINTED: RefCell<String> = const { RefCell::new(String::new()) };
    /// How many kernels of programs of this thread were taken over from a template.
    static TAKEN_OVER: Cell<usize> = const { Cell::new(0) };
    /// Plans that followed by formulas, and how many of them have a step of each kind.
    static BY_FORMULAS: Cell<usize> = const { Cell::new(0) };
    static KINDS: RefCell<BTreeMap<&'static str, usize>> = const { RefCell::new(BTreeMap::new()) };
}

/// Takes what was printed since the last time.
fn printed() -> String {
    let write = |line: &str| {
        PRINTED.with_borrow_mut(|all| all.push_str(line));
        Ok(())
    };
    host::set_writer(Some(host::Writer::new(write)));
    PRINTED.take()
}

/// Sometimes prints one of these values.
fn print(b: &mut Builder, values: &[Atom], rng: &mut Rng) {
    if rng.once_in(8) {
        let value = rng.pick(values);
        let format = rng.pick(&["{0!r}", "value: {0}"]);
        let print = DebugPrint::new(format, &[&b.aval(value)]).unwrap();
        b.equation(print, &[value], &[]).unwrap();
    }
}

const FUSED: Options = Options { simplify: false, fuse: true };

/// Runs a graph op by op, fused, and simplified and fused, on contiguous inputs and on scrambled ones.
fn check(what: &str, graph: &Graph, inputs: &[Host], rng: &mut Rng) {
    printed();
    let results = |options: &Options| run(graph, inputs, options).unwrap_or_else(|e| panic!("{what}: {e}\n{graph}"));
    let want = results(&Options::EVAL);
    let text = printed();
    let same = |mode: &str, got: &[Host]| {
        assert_eq!(printed(), text, "{what}: {mode} changes what is printed\n{graph}");
        for (i, (g, w)) in got.iter().zip(&want).enumerate() {
            assert!(
                g.same(w),
                "{what}: {mode} changes output {i}\n{graph}\n{:?}\n{:?}",
                &g.scalars()[..g.scalars().len().min(40)],
                &w.scalars()[..w.scalars().len().min(40)]
            );
        }
    };
    follow(what, graph, rng);
    same("fusing", &results(&FUSED));
    same("compiling", &results(&Options::COMPILE));
    let (scrambled, layouts): (Vec<_>, Vec<_>) = inputs.iter().map(|h| h.scrambled(rng)).unzip();
    for options in [Options::EVAL, Options::COMPILE] {
        let got = run_with(graph, &scrambled, &layouts, &options).unwrap_or_else(|e| panic!("{what}: {e}\n{graph}"));
        same("another layout", &got);
    }
}

/// Compiles a graph after a template, that of itself with other extents, where it can be bound to some of the same pattern: the plan is the one that it has by itself, but
/// for where things lie in memory, and gives the same results.
fn follow(what: &str, graph: &Graph, rng: &mut Rng) {
    let avals = graph.input_avals();
    let wide: Vec<usize> = avals.iter().flat_map(|a| a.shape.iter().copied()).filter(|&n| n > 1).collect();
    if wide.is_empty() {
        return;
    }
    let old = rng.pick(&wide);
    let of_its_magnitude = (1 << old.ilog2())..(2 << old.ilog2());
    let rows = |graph: &Graph| graph.input_avals().into_iter().map(|a| Layout::row(a.shape)).collect::<Vec<_>>();
    let (first, template) = compile_first(graph, &rows(graph), &FUSED).unwrap();
    let mut templates = [template.expect("what is fused gives a template")];
    let outline = InOutline::new(graph);
    for new in of_its_magnitude.filter(|n| !wide.contains(n)).take(3) {
        let shape = |a: &Aval| a.shape.iter().map(|&n| if n == old { new } else { n }).collect();
        let Ok(other) = graph.rebind(&avals.iter().map(shape).collect::<Vec<_>>()) else { continue };
        let shapes = outline.as_ref().and_then(|outline| outline.shapes(&other));
        let outlined = outline.as_ref().zip(shapes.as_ref()).map(|(outline, shapes)| outline.of(&other, shapes));
        let outlined = outlined.as_ref();
        let inputs = random_inputs(&other, rng, true);
        let scrambled = inputs.iter().map(|h| h.scrambled(rng)).unzip();
        for (inputs, layouts) in [(inputs, rows(&other)), scrambled] {
            let formulas = outlined.and_then(|outlined| {
                plan_like(&mut templates, outlined, &layouts.iter().collect::<Vec<_>>(), Fit::Good)
            });
            let formulas = formulas.map(|(mut by, outputs)| (written(&mut by), outputs));
            let Some(like) = compile_like(&templates, &other, outlined, &layouts, &FUSED).unwrap() else { continue };
            if let Some((plan, outputs)) = formulas {
                assert_eq!(plan.to_string(), like.plan.to_string(), "{what}: {old} becomes {new}\n{graph}");
                assert_eq!(outputs, like.outputs, "{what}: {old} becomes {new}\n{graph}");
                BY_FORMULAS.set(BY_FORMULAS.get() + 1);
                let kinds: BTreeSet<&'static str> = plan.steps.iter().map(kind).collect();
                KINDS.with_borrow_mut(|all| kinds.into_iter().for_each(|kind| *all.entry(kind).or_default() += 1));
            }
            let alone = compile(&other, &layouts, &FUSED).unwrap();
            // Of extents that differ in size by less than two some may be fused in another way.
            if like.report.kernels(&other) != alone.report.kernels(&other) {
                continue;
            }
            assert_eq!(unplaced(&like.plan), unplaced(&alone.plan), "{what}: {old} becomes {new}\n{graph}");
            assert_eq!(like.outputs, alone.outputs, "{what}: {old} becomes {new}\n{graph}");
            let is_known = |kernel: &Arc<Kernel>| kernels(&first.plan).any(|known| Arc::ptr_eq(known, kernel));
            TAKEN_OVER.set(TAKEN_OVER.get() + kernels(&like.plan).filter(|&k| is_known(k)).count());
            let [got, want] = [like, alone].map(|compiled| run_compiled(&other, &inputs, compiled).unwrap());
            assert!(got.iter().zip(&want).all(|(g, w)| g.same(w)), "{what}: {old} becomes {new}\n{graph}");
            printed();
        }
    }
}

/// That so many plans with steps of these kinds followed by formulas.
fn expect_kinds(kinds: &[(&str, usize)]) {
    KINDS.with_borrow(|all| {
        for &(kind, least) in kinds {
            let n = all.get(kind).copied().unwrap_or(0);
            assert!(n >= least, "{n} plans by formulas have a step of kind {kind}, of {all:?}");
        }
    });
}

/// The text of a plan without offsets in the arena and its size, and without what may be donated, as sizes may be equal by chance.
fn unplaced(plan: &Plan) -> String {
    let plan = Plan { arena: 0, donations: Arc::default(), ..plan.clone() }.to_string();
    let mut parts = plan.split("temp[");
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |text, part| {
        let (range, rest) = part.split_once(']').expect("a range in brackets");
        let (from, to) = range.split_once("..").expect("a range");
        let [from, to] = [from, to].map(|n| n.parse::<usize>().expect("a number"));
        format!("{text}temp of {} bytes{rest}", to - from)
    })
}

/// The kernels of launches and of epilogues.
fn kernels(plan: &Plan) -> impl Iterator<Item = &Arc<Kernel>> {
    plan.steps.iter().filter_map(|step| match step {
        Step::Launch { kernel, .. } | Step::Product { kernel, .. } => Some(kernel),
        _ => None,
    })
}

#[test]
fn every_primitive() {
    let mut rng = Rng(1);
    for sample in lazuli_ir::testing::samples() {
        let graph = sample.graph().unwrap();
        let mut inputs: Vec<Host> = Vec::new();
        for o in &sample.inputs {
            let draw = |rng: &mut Rng| o.low + (rng.real(0.5) + 0.5) * (o.high - o.low);
            let values: Vec<f64> = (0..o.aval.size())
                .map(|_| if o.aval.dtype.is_integer() { draw(&mut rng).floor() } else { draw(&mut rng) })
                .collect();
            inputs.push(Host::new(o.aval.clone(), &values));
        }
        inputs.extend(sample.shapes.iter().map(|a| Host::new(a.clone(), &vec![0.0; a.size()])));
        check(&format!("{:?}", sample.prim), &graph, &inputs, &mut rng);

        // Where nobody wants its outputs in memory, it may be computed in another way.
        check(&format!("{:?}, used", sample.prim), &used(graph), &inputs, &mut rng);
    }
    assert!(TAKEN_OVER.get() > 50, "{} kernels were taken over", TAKEN_OVER.get());
}

/// The graph with its outputs, so far as they are numbers, negated.
fn used(mut graph: Graph) -> Graph {
    for i in 0..graph.outputs.len() {
        let aval = graph.aval(graph.outputs[i]);
        if aval.dtype == DType::Bool {
            continue;
        }
        graph.avals.push(aval);
        let v = lazuli_ir::Var(graph.avals.len() as u32 - 1);
        graph.equations.push(lazuli_ir::Equation {
            prim: Unary::Neg.into(),
            inputs: smallvec![graph.outputs[i]],
            shapes: smallvec![],
            outputs: smallvec![v],
            meta: Default::default(),
        });
        graph.outputs[i] = v.into();
    }
    graph
}

/// Graphs that random programs have found to be refused or wrong.
#[test]
fn found_graphs() {
    for text in [
        // A map that could join either of two reductions, which keep different axes.
        "graph v1 (a: i16[33,2], b: i16[33,1], c: i16[33,2]) {\n  d: i16[33,2] = abs a\n  e: i16[33,2] = remainder d c\n  \
         f: i32[33] = sum[axes=(1),keepdims=false] d\n  g: bool[33,2] = not_equal b d\n  \
         h: bool[] = all[axes=(0,1),keepdims=false] g\n  return e f h\n}",
        // A computed value without elements, within a border.
        "graph v1 (a: f32[0,1]) {\n  b: f32[1,0] = reshape[shape=(1,0),infer=none] a\n  c: f32[1,0] = exp b\n  \
         d: f32[3,2] = pad[low=(1,1),high=(1,1)] c 1.0:f32\n  e: f32[3,2] = negative d\n  return e\n}",
        // A loop that is split where the axes of what is regrouped end, for all extents of those.
        "graph v1 (a: f32[5,6]) {\n  b: f32[5,6] = exp a\n  c: f32[6,5] = transpose[axes=(1,0)] b\n  \
         d: f32[30] = flatten[start=0,end=1] c\n  e: f32[30] = negative d\n  return e\n}",
    ] {
        let graph: Graph = text.parse().unwrap_or_else(|e| panic!("{e}\n{text}"));
        let mut rng = Rng(7);
        let inputs = lazuli_compile::testing::random_inputs(&graph, &mut rng, true);
        check("found", &graph, &inputs, &mut rng);
    }
}

#[test]
fn random_programs() {
    for seed in 0..400 {
        let mut rng = Rng(seed);
        let graph = program(&mut rng);
        let inputs = lazuli_compile::testing::random_inputs(&graph, &mut rng, seed % 2 == 0);
        check(&format!("program {seed}"), &graph, &inputs, &mut rng);
    }
    assert!(TAKEN_OVER.get() > 200, "{} kernels were taken over", TAKEN_OVER.get());
    expect_kinds(&[("host", 25), ("sort", 5), ("scan", 1)]);
}

/// A product that is read as its transpose alone is computed as that.
#[test]
fn transposed_products() {
    let mut rng = Rng(7);
    for dtype in ["f32", "f16", "f64", "c64"] {
        for (batch, [m, k, n]) in
            [("", [5, 7, 3]), ("2,", [3, 300, 4]), ("", [1, 9, 4]), ("", [4, 9, 1]), ("", [3, 0, 2])]
        {
            let axes = if batch.is_empty() { "1,0" } else { "0,2,1" };
            let graph = format!(
                "graph v1 (a: {dtype}[{batch}{m},{k}], b: {dtype}[{k},{n}]) {{\n  c: {dtype}[{batch}{m},{n}] = matmul a b\n  \
                 d: {dtype}[{batch}{n},{m}] = transpose[axes=({axes})] c\n  e: {dtype}[{batch}{n},{m}] = negative d\n  return d e\n}}"
            );
            let graph: Graph = graph.parse().unwrap();
            let inputs = lazuli_compile::testing::random_inputs(&graph, &mut rng, true);
            check("a transposed product", &graph, &inputs, &mut rng);
            let layouts: Vec<Layout> = inputs.iter().map(|h| Layout::row(h.aval.shape.clone())).collect();
            let plan = compile(&graph, &layouts, &Options::COMPILE).unwrap().plan.to_string();
            let (m, n) = if dtype == "c64" { (m, n) } else { (n, m) };
            assert!(plan.contains(&format!(" m {m} n {n} k {k}\n")), "{plan}");
        }
    }
}

#[test]
fn random_rows() {
    for seed in 0..400 {
        let mut rng = Rng(seed);
        let graph = rows(&mut rng);
        let inputs = lazuli_compile::testing::random_inputs(&graph, &mut rng, seed % 2 == 0);
        check(&format!("rows {seed}"), &graph, &inputs, &mut rng);
    }
    assert!(TAKEN_OVER.get() > 200, "{} kernels were taken over", TAKEN_OVER.get());
    expect_kinds(&[("map or reduction", 180), ("host", 120), ("sort", 20)]);
}

/// A random graph of values of one shape and of their reductions along some axes, which meet again.
fn rows(rng: &mut Rng) -> Graph {
    let mut b = Builder::new();
    let mut shape: Vec<usize> = (0..1 + rng.below(3)).map(|_| rng.pick(&[1, 2, 3, 4, 7])).collect();
    let rank = shape.len();
    if rng.once_in(4) {
        shape[rank - 1] = rng.pick(&[33, 70, 300, 4100]);
    }
    let first = rng.below(rank);
    let trailing = !rng.once_in(4);
    let axes: SmallVec<[usize; 4]> = (0..rank).filter(|&a| if trailing { a >= first } else { a == first }).collect();
    let of_rows: Vec<usize> = (0..rank).map(|a| if axes.contains(&a) { 1 } else { shape[a] }).collect();
    let dtype = rng.pick(&[DType::F32, DType::F32, DType::F32, DType::F16, DType::BF16, DType::I32]);
    let input = |b: &mut Builder, dtype, shape: &[usize]| Atom::from(b.input(Aval::new(dtype, shape)));
    let mut points = vec![input(&mut b, dtype, &shape), input(&mut b, dtype, &shape[first..])];
    let mut results = vec![input(&mut b, dtype, &of_rows)];
    let (mask, indices) = (input(&mut b, DType::Bool, &shape), input(&mut b, DType::I32, &of_rows));
    let late = |rng: &mut Rng, of: &[Atom]| of[of.len() - 1 - rng.below(of.len().min(3))];
    for _ in 0..4 + rng.below(12) {
        let (x, r) = (late(rng, &points), late(rng, &results));
        let dtype = b.dtype(x);
        let made: Result<()> = (|| {
            match rng.below(14) {
                0..4 => {
                    let op = rng.pick(&[ReduceOp::Sum, ReduceOp::Sum, ReduceOp::Max, ReduceOp::Min, ReduceOp::Prod]);
                    let whole = broadcast_to(&mut b, x, &shape)?;
                    let keepdims = rng.once_in(2);
                    let mut y = b.op(Reduce { op, axes: axes.clone(), keepdims }, &[whole])?;
                    if !keepdims {
                        y = if rng.once_in(2) { expand_dims(&mut b, y, &axes)? } else { reshape(&mut b, y, &of_rows)? };
                    }
                    results.push(y);
                }
                4 | 5 => results.push(b.unary(rng.pick(Unary::ALL), r)?),
                6 => points.push(b.unary(rng.pick(Unary::ALL), x)?),
                7 => {
                    let y = late(rng, &points);
                    let y = b.cast(y, dtype)?;
                    points.push(b.binary(rng.pick(Binary::ALL), x, y)?);
                }
                8 => {
                    let other = if rng.once_in(2) { b.like(x, -0.5) } else { b.cast(r, dtype)? };
                    points.push(b.op(Ternary::Select, &[mask, x, other])?);
                }
                9 if axes.len() == 1 => {
                    let whole = broadcast_to(&mut b, x, &shape)?;
                    results.push(b.op(GatherAxis { axis: axes[0] }, &[whole, indices])?);
                }
                10 => points.push(b.cast(x, rng.pick(&[DType::F32, DType::F16, DType::BF16]))?),
                // What is no part of a row: a total of results, and a library routine.
                11 if rng.once_in(2) => {
                    let all = (0..rank).collect();
                    let total = b.op(Reduce { op: ReduceOp::Sum, axes: all, keepdims: true }, &[r])?;
                    results.push(broadcast_to(&mut b, total, &of_rows)?);
                }
                11 if rng.once_in(2) => points.push(b.op(Sort { axis: b.rank(x) - 1 }, &[x])?),
                _ => {
                    let r = b.cast(r, dtype)?;
                    points.push(b.binary(rng.pick(&[Binary::Sub, Binary::Mul, Binary::Div, Binary::Eq]), x, r)?);
                }
            }
            Ok(())
        })();
        // What an equation refuses is left out.
        drop(made);
        print(&mut b, if rng.once_in(2) { &points } else { &results }, rng);
    }
    let mut outputs = vec![*points.last().expect("not empty")];
    for _ in 0..rng.below(4) {
        outputs.push(if rng.once_in(2) { rng.pick(&points) } else { rng.pick(&results) });
    }
    b.finish(outputs)
}

#[test]
fn random_products() {
    let mut fused = 0;
    for seed in 0..600 {
        let mut rng = Rng(seed);
        let graph = products(&mut rng);
        let inputs = lazuli_compile::testing::random_inputs(&graph, &mut rng, true);
        check(&format!("products {seed}"), &graph, &inputs, &mut rng);
        let layouts: Vec<Layout> = inputs.iter().map(|h| Layout::row(h.aval.shape.clone())).collect();
        let steps = compile(&graph, &layouts, &Options::COMPILE).unwrap().plan.steps;
        fused += steps.iter().filter(|step| matches!(step, Step::Product { .. })).count();
    }
    assert!(fused > 200, "{fused} products have an epilogue");
    assert!(TAKEN_OVER.get() > 200, "{} kernels were taken over", TAKEN_OVER.get());
    assert!(BY_FORMULAS.get() > 200, "{} plans followed by formulas", BY_FORMULAS.get());
}

#[test]
fn random_writes() {
    let (mut joined, mut combined) = (0, 0);
    for seed in 0..440 {
        let mut rng = Rng(seed);
        let graph = writes(&mut rng, seed >= 400);
        let inputs = lazuli_compile::testing::random_inputs(&graph, &mut rng, true);
        check(&format!("writes {seed}"), &graph, &inputs, &mut rng);
        let layouts: Vec<Layout> = inputs.iter().map(|h| Layout::row(h.aval.shape.clone())).collect();
        let compiled = compile(&graph, &layouts, &Options::COMPILE).unwrap();
        combined += compiled.plan.steps.iter().filter(|step| matches!(step, Step::Scatter(_))).count();
        let kernels = compiled.report.kernels(&graph);
        let is_write = |op: &&str| ["scatter", "slice_update"].contains(op);
        let goes_on = |k: &Fused| k.ops.iter().any(is_write) && !k.ops.last().is_some_and(is_write);
        joined += kernels.iter().filter(|k| goes_on(k)).count();
    }
    assert!(joined > 100, "{joined} writes have a map behind them");
    assert!(combined > 20, "{combined} of them go on in one step");
    assert!(TAKEN_OVER.get() > 200, "{} kernels were taken over", TAKEN_OVER.get());
    expect_kinds(&[("map or reduction", 250), ("scatter", 200), ("scatter and map", 15)]);
}

/// A random graph of a write into a slice or at computed positions, some of them equal and some outside, and what follows from it. One into a large array combines what is there with rows
/// or single elements.
fn writes(rng: &mut Rng, is_large: bool) -> Graph {
    let mut b = Builder::new();
    let dtype = rng.pick(&[DType::F32, DType::F32, DType::F16, DType::I32, DType::F64, DType::U8, DType::C64]);
    let mut shape: Vec<usize> = (0..1 + rng.below(3)).map(|_| rng.pick(&[1, 2, 5, 8, 33])).collect();
    if is_large {
        shape = rng.pick(&[&[1000, 70][..], &[1000, 70], &[70_000]]).into();
    }
    let input = |b: &mut Builder, dtype, shape: &[usize]| Atom::from(b.input(Aval::new(dtype, shape)));
    let axes: SmallVec<[usize; 4]> = match is_large {
        true => smallvec![0],
        false => (0..shape.len()).filter(|_| rng.once_in(2)).collect(),
    };
    let rank = if axes.is_empty() { 0 } else { rng.below(3) };
    let positions: Vec<usize> = (0..rank).map(|_| rng.pick(&[1, 2, 4])).collect();
    let mut window = shape.clone();
    axes.iter().for_each(|&axis| window[axis] = 1);
    let (target, updates) = (input(&mut b, dtype, &shape), input(&mut b, dtype, &[&positions[..], &window].concat()));
    let mut operands = vec![b.unary(Unary::Neg, target).unwrap()];
    for (n, &axis) in axes.iter().enumerate() {
        let skip = if n > 0 && rng.once_in(3) { positions.len() } else { 0 };
        let index = input(&mut b, DType::I32, &positions[skip..]);
        let most = Atom::Lit(Scalar::from_i64(DType::I32, shape[axis] as i64 + 1));
        operands.push(b.binary(Binary::Remainder, index, most).unwrap());
    }
    operands.push(b.binary(Binary::Add, updates, updates).unwrap());
    let assigned = match !is_large && rng.once_in(3) {
        true => {
            let bound = |&n: &usize| match rng.below(4) {
                0 => Bound { start: Some(n as isize / 3), stop: Some(-1), step: 1 },
                1 => Bound { start: None, stop: None, step: -2 },
                2 => Bound { start: Some(1), stop: None, step: 3 },
                _ => Bound::ALL,
            };
            let bounds: SmallVec<[Bound; 4]> = shape.iter().map(bound).collect();
            let part: Vec<usize> = bounds.iter().zip(&shape).map(|(bound, &n)| bound.resolve(n).1).collect();
            let update = input(&mut b, dtype, &part);
            let op = rng.pick(&[ScatterOp::Assign, ScatterOp::Assign, ScatterOp::Add, ScatterOp::Max, ScatterOp::Mul]);
            let op = if dtype == DType::C64 { ScatterOp::Add } else { op };
            b.op(SliceUpdate { bounds, op }, &[operands[0], update]).unwrap()
        }
        false => {
            let op = if !is_large && rng.once_in(2) { ScatterOp::Assign } else { rng.pick(&ScatterOp::ALL) };
            let op = if dtype == DType::C64 && op != ScatterOp::Assign { ScatterOp::Add } else { op };
            b.op(Scatter { axes, op }, &operands).unwrap()
        }
    };
    let others = [input(&mut b, dtype, &shape), input(&mut b, dtype, &shape[shape.len() - 1..])];
    let mut pool = vec![assigned];
    for _ in 0..1 + rng.below(6) {
        let x = pool[pool.len() - 1 - rng.below(pool.len().min(2))];
        let made = match rng.below(8) {
            0..=1 => b.unary(rng.pick(&[Unary::Neg, Unary::Square]), x),
            2..=4 => {
                let y = if rng.once_in(3) { rng.pick(&pool) } else { rng.pick(&others) };
                let y = b.cast(y, b.dtype(x)).unwrap();
                b.binary(rng.pick(&[Binary::Add, Binary::Sub, Binary::Mul]), x, y)
            }
            5 if b.dtype(x) != DType::C64 => b.cast(x, rng.pick(&[DType::F32, DType::F16, DType::I32])),
            6 => reshape(&mut b, x, &[shape.iter().product()]),
            7 => reshape(&mut b, x, &shape),
            _ => b.unary(Unary::Abs, x),
        };
        pool.extend(made.ok());
    }
    let kept = rng.below(3);
    let outputs: Vec<Atom> = pool.iter().rev().take(1 + kept).copied().collect();
    b.finish(outputs)
}

/// A random graph of matrix products and what follows from them.
fn products(rng: &mut Rng) -> Graph {
    let mut b = Builder::new();
    let dtype = rng.pick(&[DType::F32, DType::F32, DType::F16, DType::BF16, DType::F64, DType::C64]);
    let batch: Vec<usize> = rng.pick(&[&[][..], &[], &[1], &[2], &[2, 3], &[3, 1]]).to_vec();
    let [m, n] = [(); 2].map(|()| rng.pick(&[1, 2, 3, 4, 6, 35]));
    let k = rng.pick(&[0, 1, 3, 5, 300]);
    let result = [&batch[..], &[m, n]].concat();
    let input = |b: &mut Builder, dtype, shape: &[usize]| Atom::from(b.input(Aval::new(dtype, shape)));
    let swap = |b: &mut Builder, x: Atom| {
        let rank = b.rank(x);
        let mut axes: SmallVec<[usize; 4]> = (0..rank).collect();
        axes.swap(rank - 2, rank - 1);
        b.op(Transpose { axes }, &[x])
    };
    let factor = |b: &mut Builder, rng: &mut Rng, [p, q]: [usize; 2]| -> Result<Atom> {
        let skip = if rng.once_in(3) { batch.len() } else { 0 };
        let mut outer = batch[skip..].to_vec();
        outer.iter_mut().for_each(|n| *n = if rng.once_in(4) { 1 } else { *n });
        let factor = match rng.once_in(3) {
            true => {
                let x = input(b, dtype, &[&outer[..], &[q, p]].concat());
                swap(b, x)?
            }
            false => input(b, dtype, &[&outer[..], &[p, q]].concat()),
        };
        if rng.once_in(3) { b.unary(Unary::Neg, factor) } else { Ok(factor) }
    };
    let [left, right] = [[m, k], [k, n]].map(|shape| factor(&mut b, rng, shape).unwrap());
    let others: Vec<Atom> = [&result[..], &[n], &[m, 1], &result].map(|shape| input(&mut b, dtype, shape)).into();
    let (square, mask) = (input(&mut b, dtype, &[n, n]), input(&mut b, DType::Bool, &result));
    let mut pool = vec![b.op(Matmul {}, &[left, right]).unwrap()];
    for _ in 0..1 + rng.below(8) {
        let x = pool[pool.len() - 1 - rng.below(pool.len().min(2))];
        let dtype = b.dtype(x);
        let made: Result<Atom> = (|| match rng.below(16) {
            0..=1 => b.unary(rng.pick(&[Unary::Neg, Unary::Abs, Unary::Tanh, Unary::Square]), x),
            2..=6 => {
                let other = if rng.once_in(5) { rng.pick(&pool) } else { rng.pick(&others) };
                let y = if rng.once_in(4) { b.like(x, 0.5) } else { b.cast(other, dtype)? };
                b.binary(rng.pick(&[Binary::Add, Binary::Sub, Binary::Mul, Binary::Maximum]), x, y)
            }
            7 => {
                let zero = b.like(x, 0.0);
                b.op(Ternary::Select, &[mask, x, zero])
            }
            8..=9 => b.cast(x, rng.pick(&[DType::F32, DType::F16, DType::BF16])),
            10 if b.rank(x) > 1 => swap(&mut b, x),
            11 => reshape(&mut b, x, &[result.iter().product()]),
            12 => reshape(&mut b, x, &result),
            13 => {
                let axes = smallvec![b.rank(x) - 1];
                b.op(Reduce { op: ReduceOp::Sum, axes, keepdims: true }, &[x])
            }
            14 => {
                let square = b.cast(square, dtype)?;
                b.op(Matmul {}, &[x, square])
            }
            _ => {
                let mut bounds: SmallVec<[Bound; 4]> = smallvec![Bound::ALL; b.rank(x)];
                *bounds.last_mut().expect("of rank 1 or more") = Bound { start: None, stop: None, step: -1 };
                b.op(Slice { bounds }, &[x])
            }
        })();
        pool.extend(made);
    }
    let mut outputs = vec![*pool.last().expect("not empty")];
    for _ in 0..rng.below(3) {
        outputs.push(rng.pick(&pool));
    }
    b.finish(outputs)
}

/// A random graph: what an equation refuses is left out.
fn program(rng: &mut Rng) -> Graph {
    let mut b = Builder::new();
    let dims = [1, 2, 3, 4, 6, rng.below(2) * 5];
    let dtypes = [DType::F32, DType::F32, DType::F32, DType::I32, DType::BF16, DType::C64, DType::Bool, DType::F16];
    let mut pool: Vec<Atom> = Vec::new();
    for _ in 0..1 + rng.below(3) {
        let shape: Vec<usize> = (0..rng.below(4)).map(|_| rng.pick(&dims)).collect();
        pool.push(b.input(Aval::new(rng.pick(&dtypes), shape.as_slice())).into());
    }
    for _ in 0..3 + rng.below(25) {
        if let Ok(a) = equation(&mut b, &pool, rng) {
            pool.push(a);
        }
        print(&mut b, &pool, rng);
    }
    let mut outputs = vec![*pool.last().expect("there are inputs")];
    for _ in 0..rng.below(4) {
        outputs.push(rng.pick(&pool));
    }
    b.finish(outputs)
}

/// A choice between two random programs of the same values.
fn choice(b: &mut Builder, pool: &[Atom], x: Atom, rng: &mut Rng) -> Result<Atom> {
    let c = b.cast(rng.pick(pool), DType::Bool)?;
    let axes = (0..b.rank(c)).collect();
    let predicate = b.op(Reduce { op: ReduceOp::Any, axes, keepdims: false }, &[c])?;
    let operands = [x, rng.pick(pool)];
    let avals = operands.map(|a| b.aval(a));
    let wanted = avals[0].clone();
    let mut branch = || {
        let mut inner = Builder::new();
        let mut pool: Vec<Atom> = avals.iter().map(|a| inner.input(a.clone()).into()).collect();
        for _ in 0..rng.below(6) {
            if let Ok(a) = equation(&mut inner, &pool, rng) {
                pool.push(a);
            }
            print(&mut inner, &pool, rng);
        }
        let fitting: Vec<Atom> = pool.into_iter().filter(|&a| inner.aval(a) == wanted).collect();
        let (first, second) = (fitting[fitting.len() - 1], rng.pick(&fitting));
        inner.finish(vec![first, second])
    };
    let cond = Cond::new(branch(), branch());
    let outputs = b.equation(cond, &[predicate, operands[0], operands[1]], &[])?;
    Ok(outputs[rng.below(2)].into())
}

fn equation(b: &mut Builder, pool: &[Atom], rng: &mut Rng) -> Result<Atom> {
    // The latest values are the likeliest operands: long chains, and some sharing.
    let recent = |rng: &mut Rng| match rng.below(3) {
        0 => rng.pick(pool),
        _ => pool[pool.len() - 1 - rng.below(pool.len().min(3))],
    };
    let x = recent(rng);
    let (dtype, shape) = (b.dtype(x), b.shape(x).to_vec());
    let rank = shape.len();
    let axis = if rank == 0 { 0 } else { rng.below(rank) };
    match rng.below(17) {
        16 if rng.once_in(2) => choice(b, pool, x, rng),
        0 | 1 => b.unary(rng.pick(Unary::ALL), x),
        2..=4 => {
            let y = recent(rng);
            let number = rng.pick(&[1.5, 1.0, -1.0, 0.0, -0.0, 2.0, 0.25, f64::INFINITY, f64::NEG_INFINITY]);
            let y = match rng.below(6) {
                0 | 1 => b.like(x, number),
                2 => x,
                3 => b.unary(Unary::Neg, x)?,
                _ => b.cast(y, dtype)?,
            };
            let (x, y) = if rng.once_in(4) { (y, x) } else { (x, y) };
            b.binary(rng.pick(Binary::ALL), x, y)
        }
        5 => {
            let (c, y) = (recent(rng), recent(rng));
            let (c, y) = (b.cast(c, DType::Bool)?, b.cast(y, dtype)?);
            let y = if rng.once_in(4) { x } else { y };
            b.op(Ternary::Select, &[c, x, y])
        }
        6 => b.cast(x, rng.pick(&[DType::F32, DType::F16, DType::I32, DType::BF16])),
        7 => {
            let mut axes: SmallVec<[usize; 4]> = (0..rank).collect();
            for i in (1..rank).rev() {
                axes.swap(i, rng.below(i + 1));
            }
            b.op(Transpose { axes }, &[x])
        }
        8 => {
            let size: usize = shape.iter().product();
            let mut to = Vec::new();
            let mut rest: usize = size;
            for n in [2, 3, 4] {
                if rest > 0 && rest.is_multiple_of(n) && rng.once_in(2) {
                    to.push(n);
                    rest /= n;
                }
            }
            to.insert(rng.below(to.len() + 1), rest);
            reshape(b, x, &to)
        }
        9 => expand_dims(b, x, &[rng.below(rank + 1)]),
        10 => {
            let mut to = shape.clone();
            to.insert(0, 1 + rng.below(3));
            broadcast_to(b, x, &to)
        }
        11 | 12 => {
            let op = rng.pick(&[ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min, ReduceOp::Any]);
            let axes: SmallVec<[usize; 4]> = (0..rank).filter(|_| rng.once_in(2)).collect();
            b.op(Reduce { op, axes, keepdims: rng.once_in(2) }, &[x])
        }
        13 => {
            let n = *shape.get(axis).unwrap_or(&0);
            let mut bounds: SmallVec<[Bound; 4]> = smallvec![Bound::ALL; rank];
            if rank > 0 {
                let start = rng.below(n + 1);
                bounds[axis] = Bound { start: Some(start as isize), stop: None, step: rng.pick(&[1, 2, -1]) };
            }
            b.op(Slice { bounds }, &[x])
        }
        14 => {
            let y = recent(rng);
            let y = b.cast(y, dtype)?;
            b.op(Concatenate { axis }, &[x, y])
        }
        15 if rng.once_in(3) => {
            let mut widths = || (0..rank).map(|_| rng.below(3)).collect();
            let (low, high) = (widths(), widths());
            let value = b.like(x, 1.0);
            b.op(Pad { low, high }, &[x, value])
        }
        _ if rank > 0 => match rng.below(4) {
            0 => b.op(
                Cumulative { op: lazuli_kernel::ScanOp::Sum, axis, reverse: rng.once_in(2), exclusive: false },
                &[x],
            ),
            1 => b.op(ArgReduce { op: ArgOp::Max, axis, keepdims: true }, &[x]),
            2 => b.op(Sort { axis }, &[x]),
            _ => b.op(Iota { dtype: DType::I32, shape: shape.iter().map(|&n| Dim::Known(n)).collect(), axis }, &[]),
        },
        _ => b.unary(Unary::Neg, x),
    }
}
