//! Branches on values: eager and compiled alike, bit for bit, transformed in every way, and what is refused.

use lazuli_core::{
    Array, CompileMode, DType, ErrorKind, array, catch, compile, compile_mode, cond, eval, grad, random, try_jvp, vmap,
};

/// Both branches read the operand and something of the closure, and compute what takes several kernels.
fn choice(x: &Array, w: &Array) -> Array {
    let picked = cond(
        &x.sum(()).greater(0.0),
        |x: &Array| (x * w).sin().sum(()) + x,
        |x: &Array| (x - w).square() * x.exp().mean(()),
        x,
    );
    picked * 2.0 + w
}

const MODES: [CompileMode; 5] =
    [CompileMode::Disabled, CompileMode::NoSimplify, CompileMode::NoFuse, CompileMode::Enabled, CompileMode::Verify];

/// The same bits for both signs of x, in every mode.
#[track_caller]
fn check(f: impl Fn(&Array, &Array) -> Array + Send + Sync + Copy + 'static) {
    let w = array([0.5, -1.5, 2.0]);
    for x in [array([1.0, 2.0, -0.5]), array([-1.0, 0.25, -0.5])] {
        let want = f(&x, &w).to_vec::<f32>();
        for mode in MODES {
            let _mode = compile_mode(mode);
            let compiled = compile(f);
            assert_eq!(compiled(&x, &w).to_vec::<f32>(), want, "{mode:?}");
        }
    }
}

#[test]
fn compiled_branches_give_the_bits_of_plain_ones() {
    check(choice);
    check(|x, w| grad(move |x: &Array| choice(x, &w.clone()).sum(()))(x));
    check(|x, w| {
        let w = w.clone();
        grad(move |x: &Array| grad(|x: &Array| choice(x, &w).sum(()))(x).square().sum(()))(x)
    });
    check(|x, w| cond(&w.max(()).greater(1.0), |x: &Array| choice(x, w), |x: &Array| x + w, x));
    check(|x, w| {
        let (a, n) = cond(
            &x.sum(()).greater(0.0),
            |(x, _): &(Array, Vec<Array>)| (x.clone(), vec![x.exp(), x.clone()]),
            |(_, ws): &(Array, Vec<Array>)| (ws[0].clone(), vec![ws[0].sin(), ws[0].clone()]),
            &(x.clone(), vec![w.clone()]),
        );
        a + &n[0] * &n[1]
    });
}

/// Where a branch passes an operand on, where only one reaches an array, and where it adds to what there is.
#[test]
fn derivatives_of_any_order_add_up_in_one_order() {
    fn f(x: &Array) -> Array {
        let w = x.tanh();
        let y = cond(&x.sum(()).greater(0.0), |x: &Array| x.sin() * x * &w, |x: &Array| x.clone(), x);
        let z = cond(&y.max(()).greater(1.0), |y: &Array| y + 1.0, |y: &Array| y.exp() * x, &y);
        (&y * x * &z + x.tanh() * z).sum(())
    }
    let second = |x: &Array| grad(f)(x).sum(());
    let third = move |x: &Array| grad(second)(x).sum(());
    for sign in [1.0, -1.0] {
        let x: Vec<f32> = (0..100).map(|i| sign * ((i * 37 % 101) as f32 / 31.0 - 0.3)).collect();
        let x = array(x);
        assert_eq!(compile(grad(f))(&x).to_vec::<f32>(), grad(f)(&x).to_vec::<f32>());
        assert_eq!(compile(grad(second))(&x).to_vec::<f32>(), grad(second)(&x).to_vec::<f32>());
        assert_eq!(compile(grad(third))(&x).to_vec::<f32>(), grad(third)(&x).to_vec::<f32>());
    }
}

/// Infinities and NaN of the branch that is not taken stay where they are.
#[test]
fn the_other_branch_does_not_run() {
    let f = |x: &Array| cond(&x.greater(0.0), |x: &Array| x.log(), |x: &Array| x * 0.0, x);
    for g in [compile(f), compile(grad(f))] {
        assert!(g(&array(0.0)).item::<f32>().is_finite());
    }
    // What a branch reaches through its closure alone is part of it, too.
    let explained =
        compile(|p: &Array, w: &Array| cond(&p.greater(0.0), |()| w.matmul(w).sum(()), |()| array(0.0), &()));
    let w = Array::from_slice(&[1.0f32; 16], &[4, 4]);
    let text = explained.explain(&array(1.0), &w).unwrap().to_string();
    assert!(text.contains("1 branch"), "{text}");
    let [_, branches] = text.split_once("if true:").map(|(a, b)| [a, b]).unwrap();
    let (on_true, on_false) = branches.split_once("if false:").unwrap();
    assert!(on_true.contains("matmul") && !on_false.contains("matmul"), "{text}");
    assert_eq!(explained(&array(1.0), &w).item::<f32>(), 64.0);
    assert_eq!(explained(&array(-1.0), &w).item::<f32>(), 0.0);
}

#[test]
fn batches_choose_once_or_for_each_point() {
    let f = |x: &Array| cond(&x.greater(0.0), |x: &Array| x.sqrt(), |x: &Array| -x, x);
    let points = array([4.0, -4.0, 9.0]);
    for g in [compile(vmap(f)), compile(vmap(grad(f)))] {
        let loop_: Vec<f32> = [4.0, -4.0, 9.0].map(|x| g(&array([x])).to_vec::<f32>()[0]).to_vec();
        assert_eq!(g(&points).to_vec::<f32>(), loop_);
    }
    assert_eq!(vmap(f)(&points).to_vec::<f32>(), [2.0, 4.0, 3.0]);
    let shared = compile(|p: &Array, x: &Array| {
        let p = p.clone();
        vmap(move |x: &Array| cond(&p.greater(0.0), |x: &Array| x * 2.0, |_: &Array| array(1.0), x))(x)
    });
    assert_eq!(shared(&array(1.0), &points).to_vec::<f32>(), [8.0, -8.0, 18.0]);
    assert_eq!(shared(&array(0.0), &points).to_vec::<f32>(), [1.0, 1.0, 1.0]);
    let text = shared.explain(&array(1.0), &points).unwrap().to_string();
    assert!(text.contains("1 branch"), "{text}");
}

#[test]
fn forward_mode_goes_through_the_branch_too() {
    let f = |x: &Array| cond(&x.greater(0.0), |x: &Array| x.square(), |x: &Array| x * 3.0, x);
    let push = compile(move |x: &Array, t: &Array| try_jvp(f, x, t).unwrap().1);
    for (x, want) in [(2.0, 4.0), (-2.0, 3.0)] {
        assert_eq!(push(&array(x), &array(1.0)).item::<f32>(), want);
    }
}

#[test]
fn one_trace_holds_for_other_shapes() {
    let f = compile(|x: &Array| {
        cond(&x.sum(()).greater(0.0), |x: &Array| x - x.mean(()), |x: &Array| Array::zeros(x.dims(), DType::F32), x)
    })
    .shapeless();
    for (x, want) in [
        (array([1.0, 3.0]), vec![-1.0, 1.0]),
        (array([1.0, 2.0, 3.0]), vec![-1.0, 0.0, 1.0]),
        (array([-1.0, -2.0, -3.0, 0.0]), vec![0.0; 4]),
    ] {
        assert_eq!(f(&x).to_vec::<f32>(), want);
    }
    assert_eq!(f.traces(), 1);
    // A number that a branch reads is guarded as any other.
    let g = compile(|x: &Array| {
        cond(&x.sum(()).greater(0.0), |x: &Array| x * x.shape()[0] as f32, |x: &Array| x.clone(), x)
    })
    .shapeless();
    g(&array([1.0, 2.0]));
    assert_eq!(g.try_call(&array([1.0, 2.0, 3.0])).unwrap_err().kind(), ErrorKind::ShapeGuard);
}

#[test]
fn the_random_key_goes_on_from_the_branch_that_ran() {
    let draws = |state: &mut random::State, p: &Array| {
        random::using(state, || {
            let first = cond(
                &p.greater(0.0),
                |()| random::uniform([2]) + random::uniform([2]),
                |()| Array::zeros([2], DType::F32),
                &(),
            );
            (first, random::uniform([2]))
        })
    };
    let compiled = compile(draws);
    for p in [1.0, -1.0] {
        let (mut a, mut b) = (random::State::new(7), random::State::new(7));
        let (plain, fast) = (draws(&mut a, &array(p)), compiled(&mut b, &array(p)));
        assert_eq!(plain.0.to_vec::<f32>(), fast.0.to_vec::<f32>());
        assert_eq!(plain.1.to_vec::<f32>(), fast.1.to_vec::<f32>());
        assert_eq!(a.key.to_vec::<u32>(), b.key.to_vec::<u32>());
    }
    // Where derivatives are taken it is the thread's key that goes on so.
    let f = |x: &Array| cond(&x.greater(0.0), |x: &Array| x * random::uniform([2]).sum(()), |x: &Array| x.clone(), x);
    for p in [1.0, -1.0] {
        random::set_state(random::State::new(7));
        f(&array(p));
        let after = random::state().key.to_vec::<u32>();
        random::set_state(random::State::new(7));
        grad(f)(&array(p));
        assert_eq!(random::state().key.to_vec::<u32>(), after);
    }
    // Branches that draw nothing leave the thread's key alone.
    let key = random::state().key.id();
    compile(|x: &Array| cond(&x.greater(0.0), |x: &Array| x + 1.0, |x: &Array| x.clone(), x))(&array(1.0));
    assert_eq!(random::state().key.id(), key);
}

#[test]
fn what_does_not_agree_is_refused() {
    let x = array([1.0, 2.0]);
    let refused = |f: &(dyn Fn(&Array) -> Array + Sync), parts: &[&str]| {
        let trace = |x: &Array| catch(|| Ok(vmap(|x: &Array| f(x))(x)));
        let error = trace(&Array::from_slice(&[1.0f32, 2.0], &[1, 2])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Value);
        parts.iter().for_each(|p| assert!(error.message().contains(p), "{p}: {error}"));
    };
    refused(
        &|x| cond(x, |x: &Array| x.clone(), |x: &Array| x.clone(), x),
        &["the predicate has shape (2,)", "any or all"],
    );
    let p = |x: &Array| x.sum(()).greater(0.0);
    refused(
        &|x| cond(&p(x), |x: &Array| x.sum(()), |x: &Array| x.clone(), x),
        &[
            "array 0 of the result is float32 of shape () from 'the function if true' and float32 of shape (2,) from 'the function if false'",
        ],
    );
    refused(&|x| cond(&p(x), |x: &Array| vec![x.clone()], |_: &Array| vec![], x).remove(0), &["other trees"]);
    assert!(catch(|| Ok(cond(&x, |x: &Array| x.clone(), |x: &Array| x.clone(), &x))).is_err());
}

#[test]
fn branches_that_fail_leave_everything_as_it_was() {
    let before = random::state().key.id();
    let f = compile(|x: &Array| {
        cond(&x.greater(0.0), |x: &Array| x + random::uniform([3]).reshape([7]), |x: &Array| x.clone(), x)
    });
    assert!(f.try_call(&array(1.0)).is_err());
    assert_eq!(random::state().key.id(), before);
    let y = &array(1.0) + 1.0;
    eval(std::slice::from_ref(&y)).unwrap();
}
