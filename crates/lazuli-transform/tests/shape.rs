//! What the transforms promise of the graphs they return, without running them: signatures, errors, size, order.

use lazuli_ir::prims::{Call, Cast, Derivative, Reduce, ReduceOp, Transpose};
use lazuli_ir::{Atom, Aval, Builder, DType, Graph, Location, Prim, Result, Unary};
use lazuli_transform::{grad, jvp, linearize, prune, unbatch, vjp, vmap};

fn f32s(shape: &[usize]) -> Aval {
    Aval::new(DType::F32, shape)
}

fn build(inputs: &[Aval], constants: usize, f: impl FnOnce(&mut Builder, &[Atom]) -> Result<Vec<Atom>>) -> Graph {
    let mut b = Builder::new();
    let inputs: Vec<Atom> = inputs.iter().map(|a| b.input(a.clone()).into()).collect();
    b.set_constants(constants);
    let outputs = f(&mut b, &inputs).expect("a well-formed program");
    b.finish(outputs)
}

fn sum(b: &mut Builder, a: Atom) -> Result<Atom> {
    let axes = (0..b.rank(a)).collect();
    b.op(Reduce { op: ReduceOp::Sum, axes, keepdims: false }, &[a])
}

/// Σ (x·c)²; an auxiliary output; x is argument 0, n an integer argument, c a constant.
fn loss() -> Graph {
    build(&[f32s(&[3]), Aval::new(DType::I32, [3].as_slice()), f32s(&[3])], 1, |b, v| {
        let y = b.mul(v[0], v[2])?;
        let y = b.unary(Unary::Square, y)?;
        Ok(vec![sum(b, y)?, v[1]])
    })
}

fn signature(g: &Graph) -> String {
    let show = |avals: Vec<Aval>| avals.iter().map(Aval::to_string).collect::<Vec<_>>().join(" ");
    format!("{} -> {} ({} constants)", show(g.input_avals()), show(g.output_avals()), g.constants)
}

#[test]
fn constants_stay_last_and_outputs_come_first() {
    let g = loss();
    let check = |name: &str, got: Result<Graph>, want: &str| assert_eq!(signature(&got.unwrap()), want, "{name}");
    check("grad", grad(&g, &[0]), "f32[3] i32[3] f32[3] -> f32[] i32[3] f32[3] (1 constants)");
    check("vjp", vjp(&g, &[0]), "f32[3] i32[3] f32[] i32[3] f32[3] -> f32[] i32[3] f32[3] (1 constants)");
    check("jvp", jvp(&g, &[0]), "f32[3] i32[3] f32[3] f32[3] -> f32[] i32[3] f32[] i32[3] (1 constants)");
    let axes = [Some(-1), None];
    check("vmap", vmap(&g, &axes, &axes, 5), "f32[3,5] i32[3] f32[3] -> f32[5] i32[3] (1 constants)");
    let axes = [Some(0), None];
    check("vmap", vmap(&g, &axes, &[Some(0), Some(1)], 5), "f32[5,3] i32[3] f32[3] -> f32[5] i32[3,5] (1 constants)");
}

#[test]
fn errors_name_the_argument_and_the_remedy() {
    let check = |got: Result<Graph>, want: &str| assert_eq!(got.unwrap_err().to_string(), want);
    let g = loss();
    check(
        grad(&g, &[1]),
        "[grad] argument 1 has dtype int32, and derivatives are taken with respect to float and complex arrays: convert it with \
         astype(float32), or leave it out of argnums",
    );
    check(grad(&g, &[2]), "[grad] argument 2 was asked for, but the function has 2");
    check(jvp(&g, &[0, 0]), "[jvp] argument 0 was asked for twice");
    let vector = build(&[f32s(&[2])], 0, |_, v| Ok(v.to_vec()));
    check(
        grad(&vector, &[0]),
        "[grad] the function must return a scalar first, not an array of shape (2,): reduce it with sum or mean, or use vjp with a \
         cotangent of that shape",
    );
    let integer = build(&[f32s(&[])], 0, |b, v| Ok(vec![b.op(Cast { dtype: DType::I32 }, v)?]));
    check(
        grad(&integer, &[0]),
        "[grad] output 0 has dtype int32, and derivatives are taken of float and complex results: convert it with astype(float32) before \
         it is computed from the arguments",
    );
    check(
        vmap(&vector, &[Some(2)], &[Some(0)], 4),
        "[vmap] in_axes names axis 2 of argument 0, whose points have shape (2,)",
    );
    check(
        vmap(&vector, &[Some(0)], &[None], 4),
        "[vmap] output 0 depends on a mapped argument, so that out_axes must name an axis for it, not None",
    );
    let check = |axes: &[Option<isize>], want: &str| {
        let got = unbatch(&[f32s(&[3, 2]), f32s(&[4, 2])], axes);
        assert_eq!(got.unwrap_err().to_string(), want);
    };
    check(&[Some(0), Some(2)], "[vmap] in_axes names axis 2 of argument 1, which has shape (4, 2)");
    check(
        &[Some(0), Some(0)],
        "[vmap] mapped axes must have one extent, but axis 0 of argument 1 (shape (4, 2)) has 4 and argument 0 has 3",
    );
    check(&[None, None], "[vmap] no argument is mapped: give at least one of them an axis in in_axes, not None");
}

#[test]
fn linearize_keeps_nonlinear_work_out_of_the_linear_part() {
    let g = build(&[f32s(&[2])], 0, |b, v| {
        let y = b.unary(Unary::Exp, v[0])?;
        let z = b.unary(Unary::Sin, y)?;
        Ok(vec![z])
    });
    let parts = linearize(&g, &[0]).unwrap();
    assert_eq!(signature(&parts.forward), "f32[2] -> f32[2] f32[2] f32[2] (0 constants)");
    assert_eq!(signature(&parts.linear), "f32[2] f32[2] f32[2] -> f32[2] (0 constants)");
    assert!(parts.linear.equations.iter().all(|e| e.prim.name() == "multiply"));
}

/// A function of one array that is a call of sin then exp, differentiated so.
fn called(derivative: Derivative) -> Graph {
    let body = build(&[f32s(&[4])], 0, |b, v| {
        let y = b.unary(Unary::Sin, v[0])?;
        Ok(vec![b.unary(Unary::Exp, y)?])
    });
    build(&[f32s(&[4])], 0, |b, v| {
        let y = b.op(Call { derivative, ..Call::new("f", body) }, v)?;
        Ok(vec![sum(b, y)?])
    })
}

#[test]
fn a_checkpoint_is_computed_again() {
    let sines = |g: &Graph| {
        let flat = lazuli_compile::simplify(&grad(g, &[0]).unwrap());
        flat.equations.iter().filter(|e| e.prim.name() == "sin").map(|e| e.meta.again).collect::<Vec<_>>()
    };
    assert_eq!(sines(&called(Derivative::Body)), [0]);
    // Not the same as the sine of the function's own value, and after it.
    assert_eq!(sines(&called(Derivative::Recompute)), [0, 1]);
    // Only the arguments are kept.
    let d = grad(&called(Derivative::Recompute), &[0]).unwrap();
    let calls = d.equations.iter().filter(|e| matches!(e.prim, Prim::Call(_)));
    assert_eq!(calls.map(|e| e.outputs.len()).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn custom_rules_take_the_place_of_derivatives() {
    let rule = |inputs: &[Aval], op: Unary| build(inputs, 0, |b, v| Ok(vec![b.unary(op, v[1])?]));
    let custom = Derivative::Custom {
        vjp: Some(rule(&[f32s(&[4]), f32s(&[4]), f32s(&[4])], Unary::Floor).into()),
        jvp: Some(rule(&[f32s(&[4]), f32s(&[4])], Unary::Ceil).into()),
    };
    let g = called(custom);
    let ops = |g: &Graph| {
        let flat = lazuli_compile::simplify(g);
        flat.equations.iter().map(|e| e.prim.name()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ops(&grad(&g, &[0]).unwrap()), "sin exp sum expand_dims broadcast_to floor");
    assert_eq!(ops(&jvp(&g, &[0]).unwrap()), "sin exp ceil sum sum");
    let batched = vmap(&grad(&g, &[0]).unwrap(), &[Some(0)], &[Some(0), Some(0)], 3).unwrap();
    assert!(ops(&batched).contains("floor") && !ops(&batched).contains("cos"), "{}", ops(&batched));
    let of_batch = vjp(&vmap(&g, &[Some(0)], &[Some(0)], 3).unwrap(), &[0]).unwrap();
    assert!(ops(&of_batch).contains("floor") && !ops(&of_batch).contains("cos"), "{}", ops(&of_batch));
}

#[test]
fn calls_stay_calls() {
    let body = build(&[f32s(&[4])], 0, |b, v| {
        let y = b.unary(Unary::Tanh, v[0])?;
        Ok(vec![b.mul(y, v[0])?])
    });
    let g = build(&[f32s(&[4])], 0, |b, v| {
        b.meta.location = Location::new("train.py", 7);
        let call = Call::new("act", body);
        let y = b.op(call, v)?;
        Ok(vec![sum(b, y)?])
    });
    let names = |g: &Graph| {
        let name = |p: &Prim| match p {
            Prim::Call(c) => format!("call {}", c.name),
            p => p.name().to_string(),
        };
        g.equations.iter().map(|e| name(&e.prim)).collect::<Vec<_>>().join(", ")
    };
    let d = grad(&g, &[0]).unwrap();
    assert_eq!(names(&d), "call act, sum, expand_dims, broadcast_to, call act_vjp");
    let batched = vmap(&d, &[Some(0)], &[Some(0), Some(0)], 3).unwrap();
    assert_eq!(names(&batched), "call act, sum, expand_dims, broadcast_to, call act_vjp");
    let flat = d.inline_calls().unwrap().graph;
    assert!(flat.equations.iter().all(|e| !matches!(e.prim, Prim::Call(_))));
    assert!(flat.equations.iter().all(|e| e.meta.location == Location::new("train.py", 7)));
    assert_eq!(flat.output_avals(), d.output_avals());
}

#[test]
fn dead_equations_go() {
    let g = build(&[f32s(&[2, 3])], 0, |b, v| {
        b.unary(Unary::Exp, v[0])?;
        Ok(vec![b.op(Transpose { axes: [1, 0].as_slice().into() }, v)?])
    });
    let g = prune(g);
    assert_eq!((g.equations.len(), g.avals.len()), (1, 2));
}

/// A long chain is transformed without recursion and in linear time.
#[test]
fn long_graphs() {
    let g = build(&[f32s(&[])], 0, |b, v| {
        let mut x = v[0];
        for _ in 0..50_000 {
            let s = b.unary(Unary::Sin, x)?;
            x = b.mul(s, x)?;
        }
        Ok(vec![x])
    });
    let start = std::time::Instant::now();
    let sizes = [
        grad(&g, &[0]).unwrap().equations.len(),
        jvp(&g, &[0]).unwrap().equations.len(),
        vmap(&g, &[Some(0)], &[Some(0)], 2).unwrap().equations.len(),
    ];
    assert_eq!(sizes, [350_000, 350_000, 100_000]);
    let took = start.elapsed();
    assert!(took.as_secs() < 10, "three transforms of 100,000 equations took {took:?}");
    eprintln!("three transforms of 100,000 equations: {took:?}");
}
