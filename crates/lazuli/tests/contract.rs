//! What `compile` promises beyond what its documentation shows: keys, purity, modes, threads.

use lazuli::{
    Array, CompileMode, Compiled, ErrorKind, array, compile, compile_disabled, compile_mode, grad, random, vmap,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

/// Calls one after the other, and how many traces there are after each.
fn traces<C: ?Sized>(f: &Compiled<C>, calls: &[&dyn Fn(&C)]) -> Vec<usize> {
    calls
        .iter()
        .map(|call| {
            call(f);
            f.traces()
        })
        .collect()
}

#[test]
fn constants_are_told_apart_by_bits() {
    let x = array(1.0);
    let f = compile(move |x: &Array, n: &f64| x * *n as f32);
    let other_nan = f64::from_bits(0x7ff8_0000_0000_0123);
    let counts = traces(
        &f,
        &[&|f| drop(f(&x, &0.0)), &|f| drop(f(&x, &-0.0)), &|f| drop(f(&x, &f64::NAN)), &|f| drop(f(&x, &other_nan))],
    );
    assert_eq!(counts, [1, 2, 3, 3]);
}

#[test]
fn which_arrays_are_one_is_part_of_the_key() {
    let (a, b) = (array([1.0, 2.0]), array([3.0, 4.0]));
    let f = compile(|x: &Array, y: &Array| x + y);
    let counts = traces(&f, &[&|f| drop(f(&a, &b)), &|f| drop(f(&a, &a)), &|f| drop(f(&b, &b)), &|f| drop(f(&b, &a))]);
    assert_eq!(counts, [1, 2, 2, 2]);
    assert_eq!(f(&a, &a).to_vec::<f32>(), [2.0, 4.0]);
}

#[test]
fn the_mode_is_part_of_the_key() {
    let x = array([1.0, 2.0]);
    let f = compile(|x: &Array| (x + 1.0f32).exp());
    let expected = f(&x).to_vec::<f32>();
    for mode in [CompileMode::NoFuse, CompileMode::NoSimplify, CompileMode::Verify, CompileMode::Disabled] {
        let _scope = compile_mode(mode);
        assert_eq!(f(&x).to_vec::<f32>(), expected, "{mode:?}");
    }
    // Verifying shares the trace of the enabled mode, and a plain call makes none.
    assert_eq!(f.traces(), 3);
}

#[test]
fn the_cache_is_bounded_and_the_least_recently_used_goes() {
    let x = array(1.0);
    let runs = Arc::new(AtomicUsize::new(0));
    let counter = runs.clone();
    let f = compile(move |x: &Array, n: &i32| {
        counter.fetch_add(1, Ordering::Relaxed);
        x + *n
    })
    .cache_size(2);
    for (n, expected) in [(1, 1), (2, 2), (1, 2), (3, 3), (1, 3), (2, 4)] {
        f(&x, &n);
        assert_eq!(runs.load(Ordering::Relaxed), expected, "{n}");
    }
    assert_eq!(f.latest_changes()[0].to_string(), "argument 1 was 1, is 2");
}

#[test]
fn an_argument_that_is_also_captured_is_refused() {
    let x = array([1.0, 2.0]);
    let captured = x.clone();
    let f = compile(move |x: &Array| x + &captured);
    let error = f.try_call(&x).unwrap_err();
    assert!(error.message().contains("uncaptured input"), "{error}");
    // As an input of a pending array, too.
    let pending = (&x * 2.0f32).exp();
    let g = compile(move |x: &Array| x + &pending);
    assert!(g.try_call(&x).unwrap_err().message().contains("uncaptured input"));
    assert_eq!((f.traces(), g.traces()), (0, 0));
    // A copy of the state is a constant by the user's will.
    let target = x.clone();
    let h = compile(move |s: &mut Array| {
        *s = &*s + &target;
    });
    let mut s = x.clone();
    h(&mut s);
    h(&mut s);
    assert_eq!(s.to_vec::<f32>(), [3.0, 6.0]);
}

#[test]
fn a_placeholder_that_got_out_names_the_function() {
    let kept = Arc::new(std::sync::Mutex::new(Vec::new()));
    let keeper = kept.clone();
    let leak = compile(move |x: &Array| {
        keeper.lock().unwrap().push(x * 2.0f32);
        x + 1.0f32
    });
    leak(&array(1.0));
    let left = kept.lock().unwrap()[0].clone();
    assert!(left.describe().contains("traced"), "{}", left.describe());
    let error = lazuli::catch(|| left.try_item_scalar()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeakedTracer);
    assert!(error.message().contains("contract.rs"), "{error}");
}

#[test]
fn compiled_functions_capture_what_an_outer_trace_is_about() {
    let slope = grad(|w: &Array| {
        let w = w.clone();
        compile(move |x: &Array| (x * &w).sum(()))(&array([1.0, 2.0]))
    });
    assert_eq!(slope(&array(5.0)).item::<f32>(), 3.0);
    let rows = vmap(|w: &Array| {
        let w = w.clone();
        compile(move |x: &Array| x * &w)(&array(2.0))
    });
    assert_eq!(rows(&array([1.0, 2.0])).to_vec::<f32>(), [2.0, 4.0]);
}

#[test]
fn concurrent_first_calls_may_both_trace() {
    let barrier = Arc::new(Barrier::new(2));
    let gate = barrier.clone();
    let f = compile(move |x: &Array| {
        gate.wait(); // would hang if a lock were held while the function runs
        x + 1.0f32
    });
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let f = f.clone();
            std::thread::spawn(move || f(&array(1.0)).item::<f32>())
        })
        .collect();
    assert!(threads.into_iter().all(|t| t.join().unwrap() == 2.0));
    assert_eq!(f.traces(), 1);
}

#[test]
fn verifying_tells_impure_functions_and_moves_state_on_once() {
    let calls = AtomicUsize::new(0);
    let impure = compile(move |x: &Array| x * (calls.fetch_add(1, Ordering::Relaxed) as f32));
    let _scope = compile_mode(CompileMode::Verify);
    let error = impure.try_call(&array([1.0, 2.0])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Verification);
    assert!(error.message().contains("is impure") && error.message().contains("ULP"), "{error}");

    let draw = compile(|state: &mut random::State| random::using(state, || random::uniform([4])));
    let run = |mode| {
        let _scope = compile_mode(mode);
        let mut state = random::State::new(7);
        let drawn: Vec<Vec<f32>> = (0..3).map(|_| draw(&mut state).to_vec::<f32>()).collect();
        (drawn, state.key.to_vec::<u32>())
    };
    assert_eq!(run(CompileMode::Verify), run(CompileMode::Enabled));
    let _off = compile_disabled();
    assert_eq!(run(CompileMode::Disabled), run(CompileMode::Enabled));
}
