//! Shapeless functions: traced for one set of shapes and called with others, they give what plain functions give, bit for bit, or refuse.

use lazuli_core::ops::{self, Item, random};
use lazuli_core::{
    Array, DType, Error, ErrorKind, Scalar, compile, compile_stats, cond, custom, grad, transform, vmap,
};
use lazuli_ir::prims::Bound;
use lazuli_kernel::{ScanOp, ScatterOp};

type Function = fn(&Vec<Array>) -> Result<Vec<Array>, Error>;
type Shapes = &'static [&'static [usize]];

/// Numbers that tell positions apart, of one sign in no pattern.
fn values(shape: &[usize], salt: usize) -> Array {
    let n: usize = shape.iter().product();
    let data: Vec<f32> = (0..n).map(|i| ((i * 37 + salt * 11) % 23) as f32 / 4.0 - 2.5).collect();
    Array::from_slice(&data, shape)
}

fn bits(arrays: &[Array]) -> Vec<(Vec<usize>, DType, Vec<u8>)> {
    arrays.iter().map(|a| (a.shape().to_vec(), a.dtype(), a.try_to_bytes().expect("a value"))).collect()
}

/// What is expected of other shapes than those of the trace.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// No new trace.
    Holds,
    /// An error of the kind `ShapeGuard`.
    Refused,
}
use Expect::{Holds, Refused};

/// Traces `f` for the first shapes, then calls it with the others.
#[track_caller]
fn check(Case { name, f, expect, shapes }: Case) {
    let compiled = compile(move |x: &Vec<Array>| f(x)).shapeless();
    let auto = compile(move |x: &Vec<Array>| f(x)).shapeless_auto();
    for (k, shapes) in shapes.iter().enumerate() {
        let x: Vec<Array> = shapes.iter().enumerate().map(|(i, s)| values(s, i)).collect();
        let plain = bits(&f(&x).unwrap_or_else(|e| panic!("{name} at {shapes:?}: {e}")));
        let got = compiled.try_call(&x);
        match (k == 0 || expect == Holds, got) {
            (true, Ok(got)) => assert_eq!(bits(&got), plain, "{name} at {shapes:?}"),
            (false, Err(e)) if e.kind() == ErrorKind::ShapeGuard => {}
            (false, Ok(_)) => panic!("{name} at {shapes:?}: it should have been refused"),
            (_, Err(e)) => panic!("{name} at {shapes:?}: {e}"),
        }
        assert_eq!(bits(&auto(&x).expect("auto traces again")), plain, "{name} at {shapes:?}, auto");
    }
    assert_eq!(compiled.traces(), 1, "{name}");
}

macro_rules! cases {
    ($($name:literal $expect:ident $shapes:expr => |$x:ident| $body:expr;)*) => {
        vec![$(Case { name: $name, f: |$x| Ok($body), expect: $expect, shapes: $shapes }),*]
    };
}

struct Case {
    name: &'static str,
    f: Function,
    expect: Expect,
    shapes: &'static [Shapes],
}

const ONE: &[Shapes] = &[&[&[2, 3]], &[&[4, 5]], &[&[7, 2]], &[&[3, 3]]];
const OTHER: &[Shapes] = &[&[&[2, 3]], &[&[4, 5]], &[&[7, 2]]];
const TWO: &[Shapes] = &[&[&[2, 3], &[2, 3]], &[&[4, 5], &[4, 5]], &[&[7, 2], &[7, 2]]];
const ROWS: &[Shapes] = &[&[&[2, 6]], &[&[5, 6]], &[&[3, 6]]];
const COLUMNS: &[Shapes] = &[&[&[2, 6]], &[&[2, 4]], &[&[2, 2]]];

#[test]
fn extents_stay_symbolic() {
    let cases = cases! {
        "zeros" Holds ONE => |x| vec![&x[0] + ops::zeros(x[0].dims(), DType::F32)?, ops::ones(x[0].dims(), DType::I32)?];
        "dim as scalar" Holds ONE => |x| vec![x[0].sum(()) / x[0].dim(0), x[0].dim(1) - &x[0]];
        "reshape" Holds ONE => |x| vec![x[0].reshape((x[0].dim(1), -1)), x[0].reshape((x[0].dim(1), x[0].dim(0))), x[0].reshape([-1])];
        "unflatten" Holds ONE => |x| vec![ops::unflatten(&x[0].flatten(0..=1), 0, x[0].dims())?];
        "broadcast_to" Holds ONE => |x| vec![x[0].sum(0).broadcast_to((3, x[0].dim(0), x[0].dim(1)))];
        "last element" Holds ONE => |x| vec![x[0].index(&[Item::Int(-1)]), x[0].index(&[Item::Ellipsis, Item::Int(-1)])];
        "slices" Holds ONE => |x| vec![x[0].slice_axis(0, 1, isize::MAX), x[0].slice_axis(1, -2, isize::MAX), ops::slice(&x[0], &[Bound { start: None, stop: None, step: -1 }; 2])?];
        "mean var" Holds ONE => |x| vec![x[0].mean(()), x[0].mean(1), ops::var(&x[0], Some(&[0]), true, 1.0)?];
        "softmax" Holds ONE => |x| vec![x[0].softmax(-1), x[0].logsumexp(0), ops::layer_norm(&x[0], None, None, 1e-5)?, ops::rms_norm(&x[0], None, 1e-5)?];
        "iota eye tri" Holds ONE => |x| vec![ops::iota(x[0].dims(), 1, DType::I32)?, ops::eye(x[0].dim(0), x[0].dim(1), 1, DType::F32)?, ops::tri(x[0].dim(1), 3, 0, DType::F32)?];
        "tril triu" Holds ONE => |x| vec![ops::tril(&x[0], 0)?, ops::triu(&x[0], -1)?];
        "meshgrid" Holds ONE => |x| ops::meshgrid(&[x[0].sum(0), x[0].sum(1)], false, true)?;
        "broadcast_arrays" Holds ONE => |x| ops::broadcast_arrays(&[x[0].clone(), ops::sum(&x[0], Some(&[0]), true)?])?;
        "concatenate stack" Holds TWO => |x| vec![ops::concatenate(x, 0)?, ops::concatenate(x, 1)?, ops::stack(x, 1)?];
        "split" Holds ROWS => |x| ops::split(&x[0], 3, 1)?;
        "split by the extent" Holds COLUMNS => |x| ops::split(&x[0], 2, 1)?;
        "pad" Holds ONE => |x| vec![ops::pad(&x[0], &[(1, 2), (0, 3)], Scalar::from_f64(DType::F32, 7.0))?];
        "repeat tile roll" Holds ONE => |x| vec![ops::repeat(&x[0], 2, 1)?, ops::tile(&x[0], &[2, 1, 3])?, ops::roll(&x[0], 1, 0)?, ops::roll(&x[0], -5, 1)?];
        "sort cumulative" Holds ONE => |x| vec![ops::sort(&x[0], None)?, ops::argsort(&x[0], Some(0))?, ops::cumulative(ScanOp::Sum, &x[0], Some(1), true, false)?, ops::cumulative(ScanOp::LogAddExp, &x[0], None, false, true)?];
        "argmax" Holds ONE => |x| vec![ops::argmax(&x[0], None, true)?, x[0].argmin(0)];
        "matmul" Holds &[&[&[2, 3], &[3, 4]], &[&[5, 2], &[2, 2]], &[&[3, 7], &[7, 3]]] => |x| vec![x[0].matmul(&x[1]), x[0].t().matmul(&x[0])];
        "take" Holds ONE => |x| vec![ops::take(&x[0], &ops::argsort(&x[0].sum(1), None)?, Some(0))?, ops::take_along_axis(&x[0], &ops::argsort(&x[0], Some(1))?, Some(1))?, ops::take_along_axis(&x[0], &ops::argsort(&x[0], None)?, None)?];
        "put" Holds ONE => |x| vec![ops::put_along_axis(&x[0], &ops::argsort(&x[0], Some(1))?, &x[0], Some(1), ScatterOp::Assign)?, ops::put_along_axis(&x[0], &ops::argsort(&x[0], None)?, &x[0], None, ScatterOp::Add)?];
        "updates" Holds ONE => |x| vec![
            x[0].set(&[Item::Int(-1)], x[0].sum(0)),
            x[0].set(&[Item::Slice(Bound { start: None, stop: None, step: 2 })], x[0].sum(0)),
            ops::update(&x[0], &[Item::Slice(Bound { start: Some(1), stop: None, step: 1 }), Item::Array(ops::argmax(&x[0], Some(1), false)?)], &x[0].sum(()), ScatterOp::Add)?
        ];
        "gather" Holds ONE => |x| vec![ops::get(&x[0], &[Item::Array(ops::argmax(&x[0], Some(0), false)?), Item::NewAxis, Item::Slice(Bound { start: Some(-2), stop: None, step: 1 })])?];
        "equal" Holds TWO => |x| vec![ops::array_equal(&x[0], &x[0], false)?, ops::array_equal(&x[0], &x[1], true)?, ops::array_equal(&x[0], &x[0].t(), true)?];
        "squeeze" Holds ONE => |x| vec![ops::sum(&x[0], Some(&[0]), true)?.squeeze()];
        "random" Holds ONE => |x| {
            let key = random::key(3);
            vec![
                random::uniform(0.0f32, 1.0f32, x[0].dims(), DType::F32, &key)?,
                random::normal((3, x[0].dim(1)), DType::F16, 0.0f32, 1.0f32, &key)?,
                random::permutation(x[0].dim(0), &key)?,
                random::categorical(&x[0], -1, Some(5), &key)?,
                random::bits(x[0].dims(), 1, &key)?,
            ]
        };
        "comparison" Holds ONE => |x| vec![if x[0].dim(0) < 100 && x[0].dims() != vec![x[0].dim(0)] { &x[0] + 1.0f32 } else { &x[0] - 1.0f32 }];
    };
    cases.into_iter().for_each(check);
}

#[test]
fn numbers_that_were_read_are_guarded() {
    let cases = cases! {
        "shape" Refused OTHER => |x| vec![&x[0] * (x[0].shape()[0] as f32)];
        "size" Refused OTHER => |x| vec![&x[0] * (x[0].size() as f32)];
        "product" Refused OTHER => |x| vec![x[0].reshape([x[0].dim(0) * x[0].dim(1), -1])];
        "get" Refused OTHER => |x| vec![&x[0] + (x[0].dim(1).get() as f32)];
        "of an intermediate" Refused OTHER => |x| vec![&x[0] + (x[0].t().dim(0).get() as f32)];
        "comparison" Refused &[&[&[2, 3]], &[&[4, 3]], &[&[9, 2]]] => |x| vec![if x[0].dim(0) < 4 { &x[0] + 1.0f32 } else { &x[0] - 1.0f32 }];
        "equality" Refused &[&[&[3, 3]], &[&[4, 3]], &[&[3, 2]]] => |x| vec![if x[0].dim(0) == x[0].dim(1) { &x[0] + 1.0f32 } else { &x[0] - 1.0f32 }];
        "printed" Refused OTHER => |x| { let _ = format!("{}", x[0].dim(0)); vec![x[0].clone()] };
        "squeeze" Refused &[&[&[2, 3]], &[&[3, 3]]] => |x| vec![x[0].slice_axis(0, 1, isize::MAX).squeeze()];
        "under grad" Refused OTHER => |x| vec![grad(|x: &Array| (x * (x.dim(0).get() as f32)).sum(()))(&x[0])];
        "under vmap" Refused &[&[&[2, 3]], &[&[2, 4]]] => |x| vec![vmap(|x: &Array| x * (x.dim(0).get() as f32))(&x[0])];
        "under a checkpoint" Refused OTHER => |x| custom::checkpoint("f", x, |x| Ok(vec![&x[0] * (x[0].dim(0).get() as f32)]))?;
        "in a rule" Refused OTHER => |x| vec![grad(|x: &Array| {
            let rule: custom::Vjp<'_> = &|x, c, _| Ok(vec![&c[0] * &x[0] * (x[0].dim(0).get() as f32)]);
            custom::custom_function("f", std::slice::from_ref(x), |x| Ok(vec![x[0].sum(())]), custom::Rules { vjp: Some(rule), ..Default::default() }).unwrap().remove(0)
        })(&x[0])];
        "in a function of its own" Refused OTHER => |x| vec![compile(|x: &Array| x * (x.shape()[0] as f32))(&x[0])];
    };
    cases.into_iter().for_each(check);
}

/// What is refused for some extents decides where a function goes, whether it makes use of what is not refused or not.
#[test]
fn refusals_are_guarded() {
    let cases = cases! {
        "refused at the trace" Refused &[&[&[4]], &[&[6]], &[&[9]]] => |x| vec![ops::reshape(&x[0], [3, -1]).map_or(&x[0] * 2.0, |y| y.sum(()))];
        "refused later" Refused &[&[&[6]], &[&[4]], &[&[8]]] => |x| vec![ops::reshape(&x[0], [3, -1]).map_or(&x[0] * 2.0, |y| y.sum(()))];
        "refused later, without a use" Refused &[&[&[6]], &[&[4]], &[&[8]]] => |x| vec![&x[0] * ops::reshape(&x[0], [3, -1]).map_or(2.0, |_| 3.0)];
        "refused by a body that is made anew" Refused &[&[&[6]], &[&[5]]] => |x| vec![&x[0] * ops::split(&x[0], 2, 0).map_or(2.0, |_| 3.0)];
        "refused later, for a gradient" Refused &[&[&[6]], &[&[4]]] => |x| {
            vec![grad(|x: &Array| x.sum(()) * ops::reshape(x, [3, -1]).map_or(2.0, |_| 3.0))(&x[0])]
        };
        "not refused" Holds &[&[&[6]], &[&[9]]] => |x| vec![&x[0] * ops::reshape(&x[0], [3, -1]).map_or(2.0, |_| 3.0)];
        "an integer that does not fit" Refused &[&[&[100]], &[&[128]], &[&[200]]] => |x| {
            let small = ops::astype(&x[0], DType::I8)?;
            vec![ops::add(&small, x[0].dim(0)).unwrap_or_else(|_| small.clone())]
        };
        "an integer that fits" Holds &[&[&[100]], &[&[127]], &[&[3]]] => |x| {
            vec![ops::add(&ops::astype(&x[0], DType::I8)?, x[0].dim(0))?]
        };
    };
    cases.into_iter().for_each(check);
}

#[test]
fn transformations_follow_the_shapes() {
    let cases = cases! {
        "second derivatives" Holds &[&[&[3]], &[&[16]], &[&[33]]] => |x| {
            let first = grad(|x: &Array| (x / x.matmul(x)).sum(()));
            vec![grad(move |x: &Array| first(x).sum(()))(&x[0])]
        };
        "second derivatives of calls" Holds ONE => |x| {
            let first = |f: fn(&Array) -> Array| grad(move |x: &Array| f(&x.exp()).sum(()));
            let second = |f: fn(&Array) -> Array| grad(move |x: &Array| first(f)(x).sum(()))(&x[0]);
            vec![
                second(|x| ops::rms_norm(x, None, 1e-5).unwrap()),
                second(|x| ops::layer_norm(x, None, None, 1e-5).unwrap()),
                second(|x| x.softmax(-1) * x),
                second(|x| x.logsumexp(0) * x),
            ]
        };
        "checkpoint" Holds ONE => |x| {
            let f = |x: &Array| custom::checkpoint("f", std::slice::from_ref(x), |x| Ok(vec![x[0].sin().sum(0) / x[0].dim(0)])).unwrap().remove(0);
            vec![f(&x[0]), grad(move |x: &Array| f(x).sum(()))(&x[0])]
        };
        "rules" Holds ONE => |x| vec![grad(|x: &Array| {
            let rule: custom::Vjp<'_> = &|x, c, y| Ok(vec![&c[0] * &x[0] * &y[0] / x[0].dim(0)]);
            custom::custom_function("f", std::slice::from_ref(x), |x| Ok(vec![x[0].exp()]), custom::Rules { vjp: Some(rule), ..Default::default() }).unwrap().remove(0).sum(())
        })(&x[0])];
        "grad of mean" Holds ONE => |x| vec![grad(|x: &Array| (x.sin() * x).mean(()))(&x[0])];
        "grad through broadcasting" Holds &[&[&[2, 3], &[3]], &[&[4, 5], &[5]], &[&[7, 2], &[2]]] => |x| {
            let w = x[1].clone();
            vec![grad(|x: &(Array, Array)| (&x.0 * &x.1).softmax(-1).max(0).sum(()))(&(x[0].clone(), w)).1]
        };
        "grad of views" Holds ONE => |x| vec![grad(|x: &Array| {
            let part = x.slice_axis(0, 1, isize::MAX).reshape([-1]);
            (&part * &part).sum(()) + ops::cumulative(ScanOp::Prod, x, Some(1), false, true).unwrap().sum(())
        })(&x[0])];
        "grad of grad" Holds ONE => |x| vec![grad(|x: &Array| grad(|x: &Array| (x.exp() * x).sum(()))(x).sum(()))(&x[0])];
        "grad of matmul" Holds &[&[&[2, 3], &[3, 4]], &[&[5, 2], &[2, 2]]] => |x| {
            let b = x[1].clone();
            vec![grad(move |a: &Array| a.matmul(&b).sum(()))(&x[0])]
        };
        "vmap" Holds ONE => |x| vec![vmap(|x: &Array| x.softmax(0) * x.sum(()) / x.dim(0))(&x[0])];
        "vmap of zeros" Holds ONE => |x| vec![vmap(|x: &Array| x + ops::zeros(x.dims(), DType::F32).unwrap())(&x[0])];
        "vmap over no points" Holds &[&[&[0, 3]], &[&[0, 5]]] => |x| vec![vmap(|x: &Array| x * 2.0)(&x[0]), vmap(|x: &Array| ops::take(x, &random::permutation(x.dim(0), &random::key(3)).unwrap(), Some(0)).unwrap())(&x[0])];
        "grad of branches" Holds &[&[&[3]], &[&[7]], &[&[2]]] => |x| {
            let second = |x: &Array| grad(|x: &Array| grad(|x: &Array| (1.0 / x).sum(()))(x).sum(()))(x);
            vec![grad(|x: &Array| cond(&x.max(()).greater(0.0f32), second, |x: &Array| -x, x).sum(()))(&x[0])]
        };
        "vmap of grad" Holds ONE => |x| vec![vmap(|x: &Array| grad(|x: &Array| (x * x).mean(()))(x))(&x[0])];
        "jvp" Holds TWO => |x| {
            let (a, b) = transform::jvp("f", |x| Ok(vec![x[0].sin().sum(0)]), &x[..1], &x[1..])?;
            [a, b].concat()
        };
        "vjp" Holds ONE => |x| transform::vjp("f", |x| Ok(vec![x[0].sin()]), x, |y| Ok(vec![ops::ones(y[0].dims(), DType::F32)?]))?.cotangents;
        "directions of another dtype" Holds ONE => |x| {
            let f = |x: &[Array]| Ok(vec![ops::astype(&x[0], DType::F16)?.sin()]);
            let pulled = transform::vjp("f", f, x, |y| Ok(vec![ops::full(y[0].dims(), Scalar::from_f64(DType::F32, 1.0001))?]))?;
            let (_, pushed) = transform::jvp("f", f, x, &[ops::ones(x[0].dims(), DType::I32)?])?;
            [pulled.cotangents, pushed].concat()
        };
        "compiled within" Holds ONE => |x| vec![compile(|x: &Array| x.sum(()) / x.dim(0))(&x[0]), compile(|x: &Array| x.sum(()) / x.dim(0)).shapeless()(&x[0])];
    };
    cases.into_iter().for_each(check);
}

/// A graph is lowered, and machine code generated, for the first shapes: plans for others follow from that, from the second on, of other orders of magnitude too where it would be fused alike.
#[test]
fn plans_and_kernels_hold_for_other_shapes() {
    type Function = fn(&Array) -> Array;
    let functions: [(&str, Function); 10] = [
        ("gelu", |x| x * (1.0 + (x / std::f32::consts::SQRT_2).erf()) / 2.0),
        ("rows", |x| ops::layer_norm(x, None, None, 1e-5).unwrap() * x.softmax(-1)),
        ("gather", |x| ops::get(x, &[Item::Array(ops::argmax(x, Some(0), false).unwrap())]).unwrap()),
        ("derivative", |x| grad(|x: &Array| (x.matmul(&x.t()) + x.sum(1)).tanh().mean(()))(x)),
        ("cross entropy", |x| {
            let classes = ops::argmax(x, Some(1), true).unwrap();
            grad(move |x: &Array| (x.logsumexp(1) - x.take_along_axis(&classes, 1).sum(1)).mean(()))(x)
        }),
        ("parts", |x| ops::concatenate(&[x.exp(), x.sin().slice_axis(0, 1, isize::MAX)], 0).unwrap().square()),
        ("random bits", |x| {
            x + ops::random::uniform(0.0f32, 1.0f32, x.dims(), DType::F32, &ops::random::key(1)).unwrap()
        }),
        ("choice", |x| {
            let both = |x: &Array| ops::concatenate(&[x.clone(), x.exp()], 0).unwrap().matmul(&x.t()).mean(());
            let sums = |x: &Array| ops::cumulative(ScanOp::Sum, x, Some(0), false, true).unwrap().mean(());
            cond(&x.max(()).greater(0.0f32), both, sums, x)
        }),
        ("scatter", |x| {
            let rows = Array::from_slice(&[1i32, 0, 1], &[3]);
            grad(|x: &Array| ops::take(x, &rows, Some(0)).unwrap().square().sum(()))(x)
        }),
        ("regrouped", |x| ops::stack(&[x.clone(), x.exp()], 1).unwrap().transpose([1, 0, 2]).flatten(0..=1).sin()),
    ];
    for (name, f) in functions {
        let compiled = compile(move |x: &Array| f(x)).shapeless();
        for (k, shape) in [[37, 9], [38, 9], [43, 10], [37, 12], [70, 40]].into_iter().enumerate() {
            let (x, before) = (values(&shape, 0), compile_stats());
            let got = bits(&[compiled.try_call(&x).unwrap()]);
            let now = compile_stats();
            assert!(k == 0 || now.kernels == before.kernels, "{name} generates code for {shape:?}");
            assert_eq!(now.lowered - before.lowered, u64::from(k == 0), "{name} is lowered for {shape:?}");
            assert_eq!(got, bits(&[f(&x)]), "{name} at {shape:?}");
        }
    }
}

/// For other orders of magnitude, and extents that happen to be equal, the plan that is there serves at first, and is replaced once: when its runs have taken as long as it takes to compile.
#[test]
fn plans_for_other_magnitudes_serve_for_a_time() {
    let f = |x: &Array| grad(|x: &Array| (x.matmul(&x.t()) + x.sum(1)).softmax(-1).square().mean(()))(x);
    let compiled = compile(f).shapeless();
    let call = |n: usize| {
        let (x, before) = (values(&[n, 9], 0), compile_stats());
        assert_eq!(bits(&[compiled.try_call(&x).unwrap()]), bits(&[f(&x)]), "{n} rows");
        let now = compile_stats();
        (now.plans - before.plans, now.lowered - before.lowered)
    };
    assert_eq!([call(100), call(300), call(9), call(81)], [(1, 1), (1, 0), (1, 0), (1, 0)]);
    assert!((0..1000).position(|_| call(300).0 == 1).is_some_and(|runs| runs > 0), "it is never replaced, or at once");
    assert!((0..100).all(|_| call(300) == (0, 0)) && call(301) == (1, 0), "it is not as any other from then on");
}

/// Of a derivative the graph that was traced is bound to other shapes, unless a rule may go another way for them.
#[test]
fn derivatives_are_bound_to_other_shapes() {
    type Derivative = fn(&Array) -> Array;
    let check = |name: &str, f: Derivative, shapes: &[&[usize]], anew: &[&[usize]]| {
        let compiled = compile(move |x: &Array| f(x)).shapeless();
        let call = |shape: &[usize]| {
            let (x, before) = (values(shape, 0), compile_stats().simplifications);
            assert_eq!(bits(&[compiled.try_call(&x).unwrap()]), bits(&[f(&x)]), "{name} at {shape:?}");
            compile_stats().simplifications - before
        };
        call(shapes[0]);
        for shape in &shapes[1..] {
            assert_eq!(call(shape), 0, "{name} at {shape:?} was made anew");
        }
        for shape in anew {
            assert_eq!(call(shape), 1, "{name} at {shape:?} was not made anew");
        }
    };
    check(
        "mean",
        |x| grad(|x: &Array| (x.sin() * x).mean(()))(x),
        &[&[2, 3], &[4, 5], &[7, 2]],
        &[&[1, 5], &[4, 1], &[0, 5]],
    );
    check(
        "network",
        |x| {
            let w = Array::from_slice(&[0.1f32, -0.3, 0.2, 0.4, -0.1, 0.3, 0.7, 0.2, -0.5], &[3, 3]);
            let loss = |w: &Array| {
                let y = (0..3).fold(x.clone(), |y, _| (y.matmul(w) + w.slice_axis(0, 0, 1)).tanh());
                y.square().mean(())
            };
            grad(loss)(&w)
        },
        &[&[2, 3], &[4, 3], &[70, 3]],
        &[&[1, 3], &[0, 3]],
    );
    check(
        "normalised",
        |x| grad(|x: &Array| (ops::layer_norm(x, None, None, 1e-5).unwrap() * x.softmax(-1)).sum(()))(x),
        &[&[2, 3], &[4, 5]],
        &[&[2, 1]],
    );
    check(
        "second derivative",
        |x| grad(|x: &Array| grad(|x: &Array| (x.exp() * x.softmax(-1)).sum(()))(x).mean(()))(x),
        &[&[2, 3], &[4, 5]],
        &[&[1, 3]],
    );
    check(
        "attention",
        |x| {
            grad(|x: &Array| {
                let heads = |x: &Array| x.unflatten(2, [2, -1]).transpose([0, 2, 1, 3]);
                let (q, k, v) = (heads(x), heads(&x.sin()), heads(&x.cos()));
                let weights = (q.matmul(&k.transpose([0, 1, 3, 2])) / 2.0f32).softmax(-1);
                weights.matmul(&v).transpose([0, 2, 1, 3]).flatten(2..=3).square().sum(())
            })(x)
        },
        &[&[2, 3, 4], &[5, 2, 8], &[3, 7, 4]],
        &[&[1, 3, 4]],
    );
    check(
        "parts",
        |x| {
            grad(|x: &Array| {
                let y = x.slice_axis(0, 1, isize::MAX) - x.slice_axis(0, 0, -1);
                ops::concatenate(&[y.clone(), y.sin()], 1).unwrap().square().sum(())
            })(x)
        },
        &[&[3, 4], &[8, 4], &[8, 6]],
        &[&[2, 4]],
    );
    // What a branch of it computes has extents that neither what it is given has nor what it returns.
    check(
        "choice of sizes",
        |x| {
            let both = |x: &Array| ops::concatenate(&[x.clone(), x.exp(), x.slice_axis(0, 1, -1)], 0).unwrap().mean(());
            let loss = |x: &Array| cond(&x.max(()).greater(0.0f32), both, |x: &Array| x.square().mean(()), x);
            grad(loss)(x)
        },
        &[&[4, 3], &[6, 3], &[9, 5]],
        &[&[4, 1]],
    );
    check(
        "the last of each",
        |x| grad(|x: &Array| (x.slice_axis(1, -1, isize::MAX) * x.slice_axis(1, -3, -1).exp()).sum(()))(x),
        &[&[3, 4], &[8, 4], &[3, 7]],
        &[&[3, 2], &[1, 4]],
    );
    check(
        "losses",
        |x| {
            let positions = ops::astype(&x.slice_axis(1, 0, 1).abs(), DType::I32).unwrap();
            let loss = |x: &Array| {
                let chosen = ops::take_along_axis(x, &positions, Some(1)).unwrap();
                (x.logsumexp(1).expand_dims([1]) - chosen).mean(())
            };
            grad(loss)(x)
        },
        &[&[3, 4], &[8, 9], &[4, 4]],
        &[&[1, 4]],
    );
    check(
        "the first of each",
        |x| grad(|x: &Array| (x.slice_axis(1, 0, 1) * x.slice_axis(1, 2, 4).exp()).sum(()))(x),
        &[&[3, 6], &[8, 6], &[3, 9]],
        &[&[3, 3], &[1, 6]],
    );
    check(
        "equal parts",
        |x| {
            let parts = |x: &Array| ops::split(&x.tanh(), 3, 1).unwrap();
            grad(|x: &Array| parts(x).iter().fold(x.sum(()), |sum, part| sum + part.square().mean(())))(x)
        },
        &[&[2, 6], &[5, 6], &[2, 9]],
        &[&[1, 6], &[2, 3]],
    );
    check(
        "joined",
        |x| {
            let joined = |x: &Array| ops::concatenate(&[x.clone(), x.slice_axis(1, 0, 2), x.sin()], 1).unwrap();
            let first = |x: &Array| grad(|x: &Array| joined(x).exp().sum(()))(x);
            let again = |x: &Array| {
                custom::checkpoint("f", std::slice::from_ref(x), |x| Ok(vec![joined(&x[0]).sin()])).unwrap().remove(0)
            };
            grad(|x: &Array| (first(x) * x).sum(()) + again(x).square().sum(()))(x)
        },
        &[&[2, 6], &[5, 6], &[2, 9]],
        &[&[1, 6]],
    );
    // What one branch keeps has the shape of what the other keeps only where the array is square.
    check(
        "choices",
        |x| {
            let first = |x: &Array| (x.exp() * x.softmax(-1)).exp().sum(()) + x.slice_axis(0, 0, 1).sin().sum(());
            let second = |x: &Array| (x.t().sin() * x.t().exp().sum(0)).exp().mean(());
            grad(|x: &Array| cond(&x.max(()).greater(0.0f32), first, second, x) * x.sum(()))(x)
        },
        &[&[2, 3], &[4, 5], &[3, 3]],
        &[&[1, 3], &[4, 1]],
    );
    // They go by the extent of the axis that is cut, which is that of an input, or a number.
    check(
        "rolled and tiled",
        |x| grad(|x: &Array| ops::tile(&(ops::roll(x, 2, 1).unwrap() * x), &[1, 2]).unwrap().exp().sum(()))(x),
        &[&[2, 6], &[5, 6], &[2, 9]],
        &[&[1, 6], &[2, 3], &[2, 2]],
    );
    check(
        "compared",
        |x| {
            let same = ops::array_equal(x, &(x * 1.0f32), false).unwrap();
            grad(|x: &Array| ops::select(&same, x.sin(), x).unwrap().sum(()))(x)
        },
        &[&[2, 6], &[5, 7]],
        &[&[1, 6]],
    );
    check(
        "halves",
        |x| {
            grad(|x: &Array| {
                let heads = x.reshape((x.dim(0), 2, 4));
                let [a, b] = [0, 2].map(|from| heads.slice_axis(2, from, from + 2));
                ops::concatenate(&[&a * a.cos() - b.sin(), &a * b.sin() + &b], 2).unwrap().square().mean(())
            })(x)
        },
        &[&[2, 8], &[5, 8]],
        &[&[1, 8]],
    );
    check(
        "updates",
        |x| {
            grad(|x: &Array| {
                let part = [Item::Slice(Bound::ALL), Item::Slice(Bound::range(1, 3))];
                let y = ops::update(x, &part, &x.slice_axis(1, 3, 5), ScatterOp::Assign).unwrap();
                let rows = [Item::Array(ops::argmax(x, Some(0), false).unwrap())];
                ops::update(&y, &rows, &x.sum(0), ScatterOp::Add).unwrap().exp().sum(())
            })(x)
        },
        &[&[2, 6], &[5, 6], &[2, 9]],
        &[&[1, 6]],
    );
    check(
        "diagonals",
        |x| {
            grad(|x: &Array| {
                let below = ops::diagonal(x, -1, 1, 2).unwrap();
                below.exp().sum(()) + ops::trace(&x.square(), 0, 0, 1, None).unwrap().sum(())
            })(x)
        },
        &[&[2, 6, 4], &[5, 6, 7], &[2, 9, 3]],
        &[&[1, 6, 4], &[4, 2, 3], &[2, 6, 1]],
    );
    check("median", |x| ops::median(x, Some(&[1]), false).unwrap(), &[&[2, 6], &[5, 6], &[2, 9]], &[&[2, 1], &[2, 0]]);
    check(
        "median",
        |x| grad(|x: &Array| ops::median(x, Some(&[1]), false).unwrap().exp().sum(()))(x),
        &[&[2, 6], &[5, 6], &[2, 9]],
        &[&[1, 6], &[2, 1]],
    );
    check(
        "recurrences",
        |x| {
            let scan = |op, x: &Array, reverse| ops::cumulative(op, x, Some(1), reverse, !reverse).unwrap();
            let both = |x: &Array| scan(ScanOp::Prod, x, false) + scan(ScanOp::LogAddExp, x, true).exp();
            grad(|x: &Array| (both(x) * grad(|x: &Array| both(x).sum(()))(x)).sum(()))(x)
        },
        &[&[2, 6], &[5, 6], &[2, 7], &[3, 8], &[2, 4], &[2, 5], &[9, 90]],
        &[&[1, 6]],
    );
    // Which of several stays is found by their numbers.
    check(
        "assignments",
        |x| {
            let row = ops::argmax(x, Some(0), true).unwrap();
            let rows = ops::argmin(x, Some(0), false).unwrap();
            let columns = ops::astype(&x.abs(), DType::I32).unwrap();
            grad(|x: &Array| {
                let y = ops::put_along_axis(x, &row, &x.mean(0).expand_dims([0]), Some(0), ScatterOp::Assign).unwrap();
                let y = ops::put_along_axis(&y, &columns, &x.sin(), Some(1), ScatterOp::Assign).unwrap();
                ops::update(&y, &[Item::Array(rows.clone())], &x.sum(0), ScatterOp::Assign).unwrap().exp().sum(())
            })(x)
        },
        &[&[2, 6], &[5, 6], &[2, 9]],
        &[&[1, 6]],
    );
    check(
        "a branch of extents that no operand has",
        |x| {
            let first = |x: &Array| {
                let twice = ops::concatenate(&[x.sin(), x.clone()], 0).unwrap().exp();
                (&twice * twice.flatten(0..=1).cos().sum(())).sum(())
            };
            let second = |x: &Array| x.t().exp().sin().sum(());
            grad(|x: &Array| cond(&x.max(()).greater(0.0f32), first, second, x) * x.sum(()))(x)
        },
        &[&[2, 3], &[4, 5], &[3, 3]],
        &[&[1, 3], &[4, 1]],
    );
    check(
        "stretched",
        |x| {
            grad(|x: &Array| {
                let both = ops::broadcast_arrays(&[x.clone(), x.mean(0)]).unwrap();
                (&both[0] * both[1].exp()).sum(())
            })(x)
        },
        &[&[2, 6], &[5, 3]],
        &[&[1, 6]],
    );
}

/// The derivative of an assignment to a part of an axis beside positions, which becomes positions by its number.
fn with_a_number(x: &Array) -> Array {
    let rows = ops::argmax(x, Some(1), false).unwrap();
    let part = [Item::Array(rows), Item::Slice(Bound::range(1, 3))];
    let assign = |x: &Array| ops::update(x, &part, &x.slice_axis(1, 0, 2), ScatterOp::Assign).unwrap();
    grad(|x: &Array| assign(x).exp().sum(()))(x)
}

/// What is made anew for shapes of another kind is bound to more of that kind.
#[test]
fn what_is_made_anew_holds_for_more_shapes() {
    type Derivative = fn(&Array) -> Array;
    type Calls = &'static [(&'static [usize], u64)];
    let cases: [(&str, Derivative, Calls); 4] = [
        (
            "more rows than one",
            |x| grad(|x: &Array| (x.softmax(-1) * x.mean(0)).sum(()))(x),
            &[(&[1, 3], 0), (&[4, 3], 1), (&[5, 3], 0), (&[7, 9], 0), (&[1, 5], 0), (&[4, 1], 1), (&[9, 1], 0)],
        ),
        (
            "within choices, calls and batches",
            |x| {
                let scan = |x: &Array| ops::cumulative(ScanOp::LogAddExp, x, Some(0), false, true).unwrap();
                let again = |x: &Array| {
                    let twice = |x: &[Array]| Ok(vec![scan(&x[0]) * ops::median(&x[0], Some(&[0]), true)?]);
                    custom::checkpoint("f", std::slice::from_ref(x), twice).unwrap().remove(0)
                };
                let choice = |x: &Array| cond(&x.max(()).greater(0.0f32), again, |x: &Array| x.sin(), x);
                vmap(move |x: &Array| grad(|x: &Array| choice(x).sum(()))(x))(&ops::stack(&[x.clone(), -x], 0).unwrap())
            },
            &[(&[1], 0), (&[10], 1), (&[16], 0), (&[11], 0)],
        ),
        (
            "a number",
            with_a_number,
            &[(&[2, 6], 0), (&[5, 6], 0), (&[2, 7], 1), (&[5, 7], 0), (&[3, 6], 0), (&[3, 8], 1)],
        ),
        (
            "a rule",
            |x| ops::median(x, Some(&[1]), false).unwrap(),
            &[(&[2, 1], 0), (&[3, 5], 1), (&[2, 6], 0), (&[4, 1], 0)],
        ),
    ];
    for (name, f, calls) in cases {
        let compiled = compile(move |x: &Array| f(x)).shapeless();
        for (k, &(shape, expected)) in calls.iter().enumerate() {
            let (x, before) = (values(shape, 0), compile_stats().simplifications);
            assert_eq!(bits(&[compiled.try_call(&x).unwrap()]), bits(&[f(&x)]), "{name} at {shape:?}");
            let made = compile_stats().simplifications - before;
            assert!(k == 0 || made == expected, "{name} at {shape:?}: {made} made anew");
        }
    }
    // Of what goes by numbers a few are kept.
    let compiled = compile(|x: &Array| with_a_number(x)).shapeless();
    for n in (4..40).chain(4..40) {
        let x = values(&[3, n], 0);
        assert_eq!(bits(&[compiled(&x)]), bits(&[with_a_number(&x)]), "{n}");
    }
}

#[test]
fn elementwise_functions_are_free_in_rank() {
    let f = compile(|x: &Array, y: &Array| (x + y).abs()).shapeless();
    let before = compile_stats().traces;
    for shape in [&[][..], &[3], &[2, 3], &[1, 2, 3]] {
        let (x, y) = (values(shape, 0), values(&[], 1));
        assert_eq!(bits(&[f(&x, &y)]), bits(&[(&x + &y).abs()]));
    }
    assert_eq!(f.traces(), 1);
    assert!(compile_stats().traces > before);
    // Whoever looks at the rank gets a trace for each.
    let f = compile(|x: &Array| x * (x.ndim() as f32)).shapeless();
    for shape in [&[][..], &[3], &[2, 3]] {
        let x = values(shape, 0);
        assert_eq!(bits(&[f(&x)]), bits(&[&x * (shape.len() as f32)]));
    }
    assert_eq!(f.traces(), 3);
}

#[test]
fn a_refusal_names_dimension_values_and_line() {
    let f = compile(|x: &Array| x.reshape([x.dim(0) * x.dim(1), -1])).shapeless();
    let line = line!() - 1;
    f(&values(&[2, 3, 4], 0));
    let error = f.try_call(&values(&[5, 3, 4], 0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ShapeGuard);
    let text = error.to_string();
    for part in ["dimension 0 of array argument 0", "was 2", "is now 5", &format!("shapeless.rs:{line}")] {
        assert!(text.contains(part), "{part}: {text}");
    }
    f(&values(&[2, 3, 7], 0));
}

#[test]
fn what_a_trace_holds_for() {
    let check = |f: Function, calls: &[Shapes], expected: &[usize]| {
        let compiled = compile(move |x: &Vec<Array>| f(x)).shapeless();
        let mut counts = Vec::new();
        for shapes in calls {
            let x: Vec<Array> = shapes.iter().enumerate().map(|(i, s)| values(s, i)).collect();
            assert_eq!(bits(&compiled(&x).unwrap()), bits(&f(&x).unwrap()), "{shapes:?}");
            counts.push(compiled.traces());
        }
        assert_eq!(counts, expected);
    };
    check(|x| Ok(vec![x[0].sum(0)]), &[&[&[2, 3]], &[&[4, 5]], &[&[2, 3, 4]], &[&[9, 8, 7]]], &[1, 1, 2, 2]);
    let broadcast: &[Shapes] = &[
        &[&[2, 3], &[2, 3]],
        &[&[4, 5], &[4, 5]],
        &[&[4, 5], &[1, 5]],
        &[&[4, 5], &[4, 1]],
        &[&[2, 3], &[1, 3]],
        &[&[0, 3], &[1, 3]],
        &[&[0, 5], &[1, 5]],
    ];
    check(|x| Ok(vec![(&x[0] + &x[1]).sum(0)]), broadcast, &[1, 1, 2, 3, 3, 4, 4]);
}

#[test]
fn extents_outside_of_a_trace_are_numbers() {
    let check = |x: &Array, symbolic: bool| {
        assert_eq!((x.dim(-1).is_symbolic(), x.dim(-1).get(), x.shape()), (symbolic, 3, &[2, 3][..]));
    };
    let x = values(&[2, 3], 0);
    check(&x, false);
    compile(move |x: &Array| {
        check(x, false);
        x.clone()
    })(&x);
    compile(move |x: &Array| {
        check(x, true);
        x.clone()
    })
    .shapeless()(&x);
}

#[test]
fn auto_traces_again_where_it_would_be_refused() {
    let f = |x: &Array| x * (x.dim(0).get() as f32 + 1.0);
    let auto = compile(f).shapeless_auto();
    let counts = [[2, 3], [2, 9], [5, 3], [2, 4], [5, 1], [5, 2]].map(|shape: [usize; 2]| {
        assert_eq!(bits(&[auto(&values(&shape, 0))]), bits(&[f(&values(&shape, 0))]));
        auto.traces()
    });
    assert_eq!(counts, [1, 1, 2, 2, 3, 3]);
}

#[test]
fn auto_says_what_made_it_trace_again() {
    let auto =
        compile(|x: &Array| if x.dim(1) < 9 { x * (x.dim(0).get() as f32 + 1.0) } else { x.sin() }).shapeless_auto();
    let causes = [[2, 3], [5, 3], [5, 9], [5, 4], [6, 4]].map(|shape: [usize; 2]| {
        auto(&values(&shape, 0));
        auto.latest_changes().iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    });
    let read = |old, new| format!("dimension 0 of array argument 0 was {old}, is {new}");
    let compared = "whether dimension 1 of array argument 0 is less than 9 was true, is false".to_owned();
    // The latest trace is that of other extents, which holds for none below 9.
    let back = "whether dimension 1 of array argument 0 is less than 9 was false, is true".to_owned();
    assert_eq!(causes, [String::new(), read(2, 5), compared.clone(), compared, back]);
    let added = compile(|x: &Array, y: &Array| ops::add(x, y).unwrap_or_else(|_| x.clone())).shapeless_auto();
    for (n, m) in [(2, 2), (3, 2)] {
        added(&values(&[n], 0), &values(&[m], 0));
    }
    let cause = added.latest_changes()[0].to_string();
    assert!(
        cause.starts_with("whether the latest trace holds for the shapes was true, is false (")
            && cause.contains("broadcast"),
        "{cause}"
    );
}

#[test]
fn state_is_shapeless_too() {
    let step = compile(|total: &mut Array, x: &Array| *total = &*total + x.sum(1) / x.dim(1)).shapeless();
    for shape in [[2, 3], [5, 4]] {
        let (mut total, x) = (values(&shape[..1], 1), values(&shape, 0));
        let expected = &total + x.sum(1) / x.dim(1);
        step(&mut total, &x);
        assert_eq!(bits(&[total]), bits(&[expected]));
    }
    assert_eq!(step.traces(), 1);
}

/// A batch of two extents is refused for other shapes as it is for the first, whether the function uses both or not.
#[test]
fn batches_are_of_one_extent() {
    let both = |x: &Vec<Array>| vmap(|x: &Array, y: &Array| x.sum(()) * y.t())(&x[0], &x[1]);
    let one = |x: &Vec<Array>| vmap(|_: &Array, y: &Array| y.maximum(y).t())(&x[0], &x[1]);
    let given = |m: usize, n: usize| vec![values(&[m, 4], 0), values(&[n, 2], 1)];
    for compiled in [compile(both).shapeless(), compile(one).shapeless()] {
        for n in [3, 5, 2, 7] {
            compiled.try_call(&given(n, n)).expect("batches of one extent");
            let error = compiled.try_call(&given(n + 1, n)).expect_err("batches of two extents");
            assert!(error.message().contains("mapped axes must have one extent"), "{error}");
        }
        assert_eq!(compiled.traces(), 1);
    }
}
