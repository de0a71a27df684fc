//! Single equations and short programs through the whole road and the interpreter.

use lazuli_compile::Options;
use lazuli_compile::testing::{Host, run};
use lazuli_ir::prims::*;
use lazuli_ir::{Atom, Aval, Binary, Builder, DType, Dim, Result, Unary};
use smallvec::smallvec;

/// What a program of inputs filled with 0, 1, 2, … gives.
#[track_caller]
fn check(inputs: &[Aval], build: impl Fn(&mut Builder, &[Atom]) -> Result<Vec<Atom>>, want: &[&[f64]]) {
    let mut b = Builder::new();
    let atoms: Vec<Atom> = inputs.iter().map(|a| b.input(a.clone()).into()).collect();
    let outputs = build(&mut b, &atoms).unwrap();
    let graph = b.finish(outputs);
    let host = |a: &Aval| Host::new(a.clone(), &(0..a.size()).map(|i| i as f64).collect::<Vec<_>>());
    let hosts: Vec<Host> = inputs.iter().map(host).collect();
    for options in [Options::EVAL, Options::COMPILE] {
        let got: Vec<Vec<f64>> = run(&graph, &hosts, &options).unwrap().iter().map(Host::values).collect();
        assert_eq!(got, want, "{options:?}");
    }
}

fn f32s(shape: &[usize]) -> Aval {
    Aval::new(DType::F32, shape)
}

#[test]
fn elementwise_ops_broadcast() {
    check(&[f32s(&[2, 3]), f32s(&[3])], |b, x| Ok(vec![b.add(x[0], x[1])?]), &[&[0., 2., 4., 3., 5., 7.]]);
    check(&[f32s(&[2, 1]), f32s(&[1, 3])], |b, x| Ok(vec![b.sub(x[0], x[1])?]), &[&[0., -1., -2., 1., 0., -1.]]);
    check(&[f32s(&[])], |b, x| Ok(vec![b.unary(Unary::Neg, x[0])?]), &[&[-0.0]]);
    check(&[f32s(&[0, 3]), f32s(&[3])], |b, x| Ok(vec![b.add(x[0], x[1])?]), &[&[]]);
    check(&[f32s(&[3])], |b, x| Ok(vec![b.mul(x[0], b.like(x[0], 2.5))?]), &[&[0., 2.5, 5.]]);
    let half = Aval::new(DType::F16, [3].as_slice());
    check(&[half], |b, x| Ok(vec![b.div(x[0], b.like(x[0], 3.0))?]), &[&[0., 0.333251953125, 0.66650390625]]);
    let complex = Aval::new(DType::C64, [2].as_slice());
    check(
        &[complex],
        |b, x| {
            let s = b.add(x[0], x[0])?;
            Ok(vec![b.mul(s, s)?])
        },
        &[&[0., 4.]],
    );
}

#[test]
fn views_move_nothing_until_they_must() {
    let transposed = |b: &mut Builder, a| b.op(Transpose { axes: smallvec![1, 0] }, &[a]);
    check(&[f32s(&[2, 3])], |b, x| Ok(vec![transposed(b, x[0])?]), &[&[0., 3., 1., 4., 2., 5.]]);
    let mixed = |b: &mut Builder, x: &[Atom]| {
        let t = transposed(b, x[0])?;
        let flat = reshape(b, t, &[6])?;
        let n = b.neg(t)?;
        Ok(vec![flat, b.add(n, t)?, b.neg(flat)?])
    };
    let flat = [0., 3., 1., 4., 2., 5.];
    check(&[f32s(&[2, 3])], mixed, &[&flat, &[0.; 6], &flat.map(|v: f64| -v)]);
    let stretched = |b: &mut Builder, x: &[Atom]| b.op(Broadcast { shape: smallvec![Dim::Known(2), Dim::Known(2)] }, x);
    check(&[f32s(&[2])], |b, x| Ok(vec![stretched(b, x)?]), &[&[0., 1., 0., 1.]]);
}

#[test]
fn reductions_reduce() {
    let sum = |b: &mut Builder, a, axes: &[usize]| {
        b.op(Reduce { op: ReduceOp::Sum, axes: axes.into(), keepdims: false }, &[a])
    };
    check(&[f32s(&[2, 3])], |b, x| Ok(vec![sum(b, x[0], &[0])?]), &[&[3., 5., 7.]]);
    check(&[f32s(&[2, 3])], |b, x| Ok(vec![sum(b, x[0], &[1])?]), &[&[3., 12.]]);
    check(&[f32s(&[2, 3])], |b, x| Ok(vec![sum(b, x[0], &[0, 1])?]), &[&[15.]]);
    check(&[f32s(&[2, 3, 2])], |b, x| Ok(vec![sum(b, x[0], &[1])?]), &[&[6., 9., 24., 27.]]);
    check(&[f32s(&[2, 0])], |b, x| Ok(vec![sum(b, x[0], &[1])?]), &[&[0., 0.]]);
    check(&[f32s(&[0, 2])], |b, x| Ok(vec![sum(b, x[0], &[1])?]), &[&[]]);
    check(&[f32s(&[1, 2])], |b, x| Ok(vec![sum(b, x[0], &[0])?]), &[&[0., 1.]]);
    check(&[Aval::new(DType::C64, [3].as_slice())], |b, x| Ok(vec![sum(b, x[0], &[0])?]), &[&[3.]]);
    check(&[Aval::new(DType::BF16, [3].as_slice())], |b, x| Ok(vec![sum(b, x[0], &[0])?]), &[&[3.]]);
    check(&[Aval::new(DType::U8, [3].as_slice())], |b, x| Ok(vec![sum(b, x[0], &[0])?]), &[&[3.]]);
}

#[test]
fn outputs_may_be_inputs_literals_and_each_other() {
    let all = |b: &mut Builder, x: &[Atom]| {
        let y = b.binary(Binary::Add, x[0], x[0])?;
        Ok(vec![x[0], b.like(x[0], 7.0), y, y])
    };
    check(&[f32s(&[2])], all, &[&[0., 1.], &[7.], &[0., 2.], &[0., 2.]]);
}
