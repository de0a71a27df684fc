//! Derivatives against finite differences, transposes against the inner product, vmap against a loop: every op of the elementwise table and
//! programs of all other primitives, on the reference interpreter.

use lazuli_compile::Options;
use lazuli_compile::testing::{Host, run};
use lazuli_ir::prims::*;
use lazuli_ir::{Accepts, Atom, Aval, Binary, Builder, DType, Graph, Prim, Result, Scalar, Ternary, Unary};
use lazuli_kernel::testing::Rng;
use lazuli_kernel::{ScanOp, ScatterOp};
use lazuli_transform::{jvp, linearize, vjp, vmap};
use smallvec::smallvec;

/// Numbers of an array in row-major order, both parts of complex ones.
fn numbers(a: &Host) -> Vec<f64> {
    let parts = |s: Scalar| match s.dtype {
        DType::C64 => vec![s.to_f64(), s.imag() as f64],
        _ => vec![s.to_f64()],
    };
    a.scalars().into_iter().flat_map(parts).collect()
}

/// Inverse of [`numbers`].
fn array(aval: &Aval, numbers: &[f64]) -> Host {
    let bytes = match aval.dtype {
        DType::C64 => numbers.chunks(2).flat_map(|p| Scalar::c64(p[0] as f32, p[1] as f32).to_bytes()).collect(),
        d => numbers.iter().flat_map(|&v| Scalar::from_f64(d, v).to_bytes()).collect(),
    };
    Host { aval: aval.clone(), bytes }
}

/// Random numbers in `low..low + 0.7`; integers are 0 or 1.
fn random(aval: &Aval, rng: &mut Rng, low: f64) -> Host {
    let n = aval.size() * if aval.dtype.is_complex() { 2 } else { 1 };
    let mut number = || match aval.dtype.is_inexact() {
        true => low + 0.35 + rng.real(0.35),
        false => rng.below(2) as f64,
    };
    array(aval, &(0..n).map(|_| number()).collect::<Vec<_>>())
}

fn eval(name: &str, graph: &Graph, inputs: &[Host]) -> Vec<Host> {
    let flat = graph.inline_calls().unwrap_or_else(|e| panic!("{name}: {e}"));
    run(&flat.graph, inputs, &Options::EVAL).unwrap_or_else(|e| panic!("{name}: {e}\n{graph:?}"))
}

#[track_caller]
fn close(name: &str, what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{name}: {what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let near = (g - w).abs() <= tolerance * (1.0 + g.abs() + w.abs()) || g == w || g.is_nan() && w.is_nan();
        assert!(near, "{name}: {what}: element {i} is {g}, not {w}\n{got:?}\n{want:?}");
    }
}

fn differentiable(graph: &Graph) -> Vec<usize> {
    (0..graph.arguments().len()).filter(|&i| graph.avals[graph.inputs[i].0 as usize].dtype.is_inexact()).collect()
}

/// Step and tolerance of central differences, and the tolerance of sums: by the narrowest float around.
fn precision(graph: &Graph) -> (f64, f64, f64) {
    let wide = graph.avals.iter().all(|a| !a.dtype.is_inexact() || a.dtype == DType::F64);
    if wide { (1e-6, 1e-8, 1e-12) } else { (4e-3, 4e-3, 1e-5) }
}

/// jvp against differences, vjp against jvp. The graph has no constants.
fn check_derivatives(name: &str, graph: &Graph, inputs: &[Host], rng: &mut Rng) {
    let wrt = differentiable(graph);
    if wrt.is_empty() {
        return;
    }
    let (step, tolerance, exact) = precision(graph);
    let outputs = graph.output_avals();
    let direction: Vec<Host> = wrt.iter().map(|&i| random(&inputs[i].aval, rng, -0.5)).collect();
    let pushed = eval(name, &jvp(graph, &wrt).unwrap(), &[inputs, &direction].concat());
    let (values, tangents) = pushed.split_at(outputs.len());

    let moved = |by: f64| {
        let mut inputs = inputs.to_vec();
        for (&i, d) in wrt.iter().zip(&direction) {
            let sum: Vec<f64> = numbers(&inputs[i]).iter().zip(numbers(d)).map(|(x, d)| x + by * d).collect();
            inputs[i] = array(&inputs[i].aval, &sum);
        }
        eval(name, graph, &inputs)
    };
    let (after, before) = (moved(step), moved(-step));
    let cotangents: Vec<Host> = outputs.iter().map(|a| random(a, rng, -0.5)).collect();
    let mut forward = 0.0;
    for (k, aval) in outputs.iter().enumerate() {
        if !aval.dtype.is_inexact() {
            assert!(numbers(&tangents[k]).iter().all(|&t| t == 0.0), "{name}: the tangent of {aval} is zero");
            continue;
        }
        let differences: Vec<f64> = numbers(&after[k])
            .iter()
            .zip(numbers(&before[k]))
            .map(|(a, b)| if *a == b { 0.0 } else { (a - b) / (2.0 * step) })
            .collect();
        close(name, &format!("tangent of output {k}"), &numbers(&tangents[k]), &differences, tolerance);
        forward += dot(&tangents[k], &cotangents[k]);
    }

    let pulled = eval(name, &vjp(graph, &wrt).unwrap(), &[inputs, &cotangents].concat());
    assert_eq!(&pulled[..outputs.len()], values, "{name}: values of vjp and jvp");
    let backward: f64 = pulled[outputs.len()..].iter().zip(&direction).map(|(ct, d)| dot(ct, d)).sum();
    close(name, "⟨Jv, w⟩ = ⟨v, Jᵀw⟩", &[backward], &[forward], exact);

    let parts = linearize(graph, &wrt).unwrap();
    let held = eval(name, &parts.forward, inputs);
    let mut linear_inputs: Vec<Host> = Vec::new();
    for r in &parts.residuals {
        linear_inputs.push(match *r {
            lazuli_transform::Residual::Input(k) => inputs[k].clone(),
            lazuli_transform::Residual::Output(k) => held[k].clone(),
        });
    }
    linear_inputs.extend(direction);
    let linear = eval(name, &parts.linear, &linear_inputs);
    for (k, t) in parts.tangents.iter().enumerate() {
        if let Some(t) = t {
            assert!(linear[*t].same(&tangents[k]), "{name}: output {k} of the linear part");
        }
    }
}

fn dot(a: &Host, b: &Host) -> f64 {
    numbers(a).iter().zip(numbers(b)).map(|(a, b)| a * b).sum()
}

/// Arrays put together along a new axis: the first or the last.
fn stack(points: &[&Host], last: bool) -> Host {
    let (n, size) = (points.len(), points[0].aval.dtype.itemsize());
    let mut aval = points[0].aval.clone();
    if !last {
        aval.shape.insert(0, n);
        return Host { aval, bytes: points.iter().flat_map(|p| p.bytes.clone()).collect() };
    }
    aval.shape.push(n);
    let bytes = (0..points[0].aval.size())
        .flat_map(|i| points.iter().flat_map(move |p| p.bytes[i * size..(i + 1) * size].to_vec()));
    Host { bytes: bytes.collect(), aval }
}

/// vmap against a loop over its points: all arguments mapped at the first axis, at the last, and each alone.
fn check_vmap(name: &str, graph: &Graph, points: &[Vec<Host>]) {
    let (n, count) = (points.len(), graph.inputs.len());
    let mut plans: Vec<(Vec<bool>, bool)> = vec![(vec![true; count], false), (vec![true; count], true)];
    if count > 1 {
        plans.extend((0..count).map(|k| ((0..count).map(|i| i == k).collect(), false)));
    }
    for (mapped, last) in plans {
        if !mapped.contains(&true) {
            continue;
        }
        let axis = Some(if last { -1 } else { 0 });
        let in_axes: Vec<_> = mapped.iter().map(|&m| axis.filter(|_| m)).collect();
        let batched = vmap(graph, &in_axes, &vec![Some(0); graph.outputs.len()], n)
            .unwrap_or_else(|e| panic!("{name}: vmap over {in_axes:?}: {e}"));
        let at = |p: usize, k: usize| if mapped[k] { &points[p][k] } else { &points[0][k] };
        let inputs: Vec<Host> = (0..count)
            .map(|k| match mapped[k] {
                true => stack(&points.iter().map(|p| &p[k]).collect::<Vec<_>>(), last),
                false => points[0][k].clone(),
            })
            .collect();
        let got = eval(name, &batched, &inputs);
        let want: Vec<Vec<Host>> =
            (0..n).map(|p| eval(name, graph, &(0..count).map(|k| at(p, k).clone()).collect::<Vec<_>>())).collect();
        for (o, got) in got.iter().enumerate() {
            let want = stack(&want.iter().map(|w| &w[o]).collect::<Vec<_>>(), false);
            assert_eq!(got.aval, want.aval, "{name}: vmap over {in_axes:?}, output {o}");
            close(name, &format!("vmap over {in_axes:?}, output {o}"), &numbers(got), &numbers(&want), 1e-5);
        }
        let none = vmap(graph, &in_axes, &vec![Some(0); graph.outputs.len()], 0)
            .unwrap_or_else(|e| panic!("{name}: vmap over no points of {in_axes:?}: {e}"));
        for (got, point) in none.output_avals().iter().zip(graph.output_avals()) {
            assert_eq!((&got.shape[1..], got.shape[0], got.dtype), (&point.shape[..], 0, point.dtype), "{name}");
        }
    }
}

/// Everything that can be asked of a program, of its vjp, and of that under vmap.
fn check(name: &str, graph: &Graph, low: f64) {
    let rng = &mut Rng(name.bytes().fold(7, |h, b| h * 31 % 1_000_003 + b as u64));
    let mut points = |g: &Graph| -> Vec<Vec<Host>> {
        (0..3).map(|_| g.input_avals().iter().map(|a| random(a, rng, low)).collect()).collect()
    };
    let inputs = points(graph);
    check_vmap(name, graph, &inputs);
    let wrt = differentiable(graph);
    if wrt.is_empty() {
        return;
    }
    let reverse = vjp(graph, &wrt).unwrap_or_else(|e| panic!("{name}: vjp: {e}"));
    let reverse_inputs = points(&reverse);
    check_vmap(&format!("vjp of {name}"), &reverse, &reverse_inputs);
    check_derivatives(name, graph, &inputs[0], rng);
    check_derivatives(&format!("vjp of {name}"), &reverse, &reverse_inputs[0], rng);
}

fn build(inputs: &[Aval], f: impl FnOnce(&mut Builder, &[Atom]) -> Result<Vec<Atom>>) -> Graph {
    let mut b = Builder::new();
    let inputs: Vec<Atom> = inputs.iter().map(|a| b.input(a.clone()).into()).collect();
    let outputs = f(&mut b, &inputs).expect("a well-formed program");
    b.finish(outputs)
}

fn one(prim: impl Into<Prim>, inputs: &[Aval]) -> Graph {
    build(inputs, |b, v| Ok(b.equation(prim, v, &[])?.into_iter().map(Atom::from).collect()))
}

fn f64s(shape: &[usize]) -> Aval {
    Aval::new(DType::F64, shape)
}

#[test]
fn the_elementwise_table() {
    let dtypes = [DType::F32, DType::F64, DType::C64];
    for dtype in dtypes {
        let of = |shape: &[usize]| Aval::new(dtype, shape);
        // Differences do not see what stop_gradient is for, nor that the sign of a complex number is taken for a constant.
        let apart = |op| op == Unary::StopGradient || op == Unary::Sign && dtype == DType::C64;
        for &op in Unary::ALL.iter().filter(|&&op| !apart(op)) {
            if op.row().accepts.contains(dtype) {
                let low = if op == Unary::Arccosh { 1.2 } else { 0.15 };
                check(op.row().name, &one(op, &[of(&[3])]), low);
            }
        }
        for &op in Binary::ALL {
            if op.row().accepts.contains(dtype) {
                check(op.row().name, &one(op, &[of(&[2, 3]), of(&[3])]), 0.15);
                check(op.row().name, &one(op, &[of(&[]), of(&[2])]), 0.15);
            }
        }
        for &op in Ternary::ALL {
            check(op.row().name, &one(op, &[Aval::new(DType::Bool, [2, 1].as_slice()), of(&[3]), of(&[])]), 0.15);
        }
    }
    let stopped = jvp(&one(Unary::StopGradient, &[f64s(&[])]), &[0]).unwrap();
    assert_eq!(stopped.outputs[1], Scalar::f64(0.0).into());
    // Ops that no float takes have no derivative to state.
    let rest = Unary::ALL.iter().map(|o| o.row().accepts).chain(Binary::ALL.iter().map(|o| o.row().accepts));
    let skipped = rest.filter(|a| !a.contains(DType::F32));
    assert!(skipped.into_iter().all(|a| matches!(a, Accepts::Bits | Accepts::Integer)));
}

#[test]
fn views_and_reductions() {
    check("transpose", &one(Transpose { axes: smallvec![2, 0, 1] }, &[f64s(&[2, 3, 4])]), 0.1);
    check("expand_dims", &one(ExpandDims { axes: smallvec![0, 2] }, &[f64s(&[2, 3])]), 0.1);
    check("squeeze", &one(Squeeze { axes: smallvec![1] }, &[f64s(&[2, 1, 3])]), 0.1);
    check("reshape", &build(&[f64s(&[2, 3])], |b, v| Ok(vec![reshape(b, v[0], &[3, 2])?])), 0.1);
    check("broadcast_to", &build(&[f64s(&[2, 1])], |b, v| Ok(vec![broadcast_to(b, v[0], &[4, 2, 3])?])), 0.1);
    check("cast", &one(Cast { dtype: DType::F32 }, &[f64s(&[3])]), 0.1);
    for op in [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Min, ReduceOp::Max] {
        for keepdims in [false, true] {
            check("reduce", &one(Reduce { op, axes: smallvec![0, 2], keepdims }, &[f64s(&[2, 3, 2])]), 0.1);
        }
    }
    check("matmul", &one(Matmul {}, &[f64s(&[2, 3]), f64s(&[3, 4])]), 0.1);
    check("batched matmul", &one(Matmul {}, &[f64s(&[2, 2, 3]), f64s(&[2, 3, 2])]), 0.1);
    let complex = |shape: &[usize]| Aval::new(DType::C64, shape);
    check("complex matmul", &one(Matmul {}, &[complex(&[2, 3]), complex(&[3, 2])]), 0.1);
    check("concatenate", &one(Concatenate { axis: 1 }, &[f64s(&[2, 1]), f64s(&[2, 2])]), 0.1);
}

/// x / Σ x², as one call: its derivatives are calls again, and nest.
#[test]
fn calls() {
    let body = build(&[f64s(&[4])], |b, v| {
        let s = b.mul(v[0], v[0])?;
        let s = b.op(Reduce { op: ReduceOp::Sum, axes: smallvec![0], keepdims: true }, &[s])?;
        Ok(vec![b.div(v[0], s)?])
    });
    let graph = build(&[f64s(&[4]), f64s(&[4])], |b, v| {
        let call = Call::new("unit", body);
        let y = b.op(call.clone(), &[v[0]])?;
        let z = b.mul(y, v[1])?;
        Ok(vec![b.op(call, &[z])?, y])
    });
    check("calls", &graph, 0.5);
}

#[test]
fn slices_and_joins() {
    let bounds = smallvec![Bound { start: None, stop: None, step: -2 }, Bound::range(1, 3)];
    check("slice", &one(Slice { bounds }, &[f64s(&[4, 3])]), 0.1);
    for op in [ScatterOp::Assign, ScatterOp::Add, ScatterOp::Mul, ScatterOp::Min, ScatterOp::Max] {
        let bounds = smallvec![Bound { start: Some(0), stop: None, step: 2 }];
        check("slice_update", &one(SliceUpdate { bounds, op }, &[f64s(&[5]), f64s(&[3])]), 0.1);
    }
    let bounds = smallvec![Bound { start: Some(-2), stop: None, step: 1 }, Bound { start: None, stop: None, step: -2 }];
    let unslice = Unslice { bounds, shape: smallvec![4.into(), 3.into()] };
    check("unslice", &one(unslice, &[f64s(&[2, 2])]), 0.1);
    check("diagonal", &one(Diagonal { offset: -1 }, &[f64s(&[2, 4, 3])]), 0.1);
    let undiagonal = Undiagonal { offset: 1, shape: smallvec![4.into(), 3.into()] };
    check("undiagonal", &one(undiagonal, &[f64s(&[2, 2])]), 0.1);
    let part = Part { axis: 1, index: 1, count: 3, extents: smallvec![] };
    check("part", &one(part.clone(), &[f64s(&[2, 6])]), 0.1);
    let extents = smallvec![2.into(), 1.into(), 0.into()];
    check("part of stated extents", &one(Part { extents, ..part }, &[f64s(&[2, 3])]), 0.1);
    let pad = Pad { low: smallvec![1, 0], high: smallvec![2, 1] };
    check("pad", &one(pad, &[f64s(&[2, 2]), f64s(&[])]), 0.1);
    check("flatten", &one(Flatten { start: 1, end: 2 }, &[f64s(&[2, 3, 2])]), 0.1);
}

/// Random integers are 0 or 1: in range, with repeats.
#[test]
fn indices() {
    let ints = |shape: &[usize]| Aval::new(DType::I32, shape);
    let gather = Gather { axes: smallvec![0, 2], slice_sizes: smallvec![1.into(), 2.into(), 1.into()] };
    check("gather", &one(gather, &[f64s(&[2, 2, 3]), ints(&[3]), ints(&[2, 1])]), 0.1);
    check("gather_axis", &one(GatherAxis { axis: 1 }, &[f64s(&[2, 3]), ints(&[2, 4])]), 0.1);
    // A scatter that multiplies says that it has no derivative in its updates.
    for op in [ScatterOp::Assign, ScatterOp::Add, ScatterOp::Min, ScatterOp::Max] {
        let name = format!("scatter {op:?}");
        let scatter = Scatter { axes: smallvec![0], op };
        check(&name, &one(scatter, &[f64s(&[3, 2]), ints(&[4]), f64s(&[4, 1, 2])]), 0.1);
        let scatter = ScatterAxis { axis: 0, op };
        check(&format!("{name} along an axis"), &one(scatter, &[f64s(&[3, 2]), ints(&[2, 2]), f64s(&[2, 2])]), 0.1);
    }
}

#[test]
fn scans_and_sorts() {
    for op in [ScanOp::Sum, ScanOp::Prod, ScanOp::Min, ScanOp::Max] {
        for (reverse, exclusive) in [(false, false), (true, false), (false, true), (true, true)] {
            let scan = Cumulative { op, axis: 1, reverse, exclusive };
            check(&format!("{op:?} {reverse} {exclusive}"), &one(scan, &[f64s(&[2, 4])]), 0.1);
        }
    }
    for reverse in [false, true] {
        let recurrence = Recurrence { axis: 1, reverse };
        check(&format!("recurrence {reverse}"), &one(recurrence, &[f64s(&[2, 4]), f64s(&[2, 4])]), 0.1);
    }
    check("sort", &one(Sort { axis: 0 }, &[f64s(&[4, 2])]), 0.1);
    check("argsort", &one(ArgSort { axis: 1 }, &[f64s(&[2, 4])]), 0.1);
    for op in [ArgOp::Min, ArgOp::Max] {
        check("argreduce", &one(ArgReduce { op, axis: 0, keepdims: false }, &[f64s(&[4, 2])]), 0.1);
    }
}
