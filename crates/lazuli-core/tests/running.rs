//! Running plans: what is donated and what never is, memory that runs out, work in the background, interruption.

use lazuli_core::interrupt::watch;
use lazuli_core::{
    Array, Compiled, Error, ErrorKind, array, async_eval, backend, compile, compile_stats, eval, synchronize, try_eval,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex, MutexGuard};

const SIDE: isize = 1024;
const N: usize = (SIDE * SIDE) as usize;
const BYTES: usize = 4 * N;

type Call<'a> = &'a dyn Fn(&Array) -> Array;

/// Memory is counted for the whole process, so tests run one after another.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|e| e.into_inner())
}

fn filled(value: f32) -> Array {
    let a = Array::from_slice(&vec![value; N], &[N]);
    run(&a).unwrap();
    a
}

fn run(a: &Array) -> Result<(), Error> {
    eval(std::slice::from_ref(a))
}

/// How much more memory than now was in use at the worst moment of `f`.
fn peak(f: impl FnOnce()) -> usize {
    let before = backend::default().memory().active;
    backend::default().reset_peak_memory();
    f();
    backend::default().memory().peak - before
}

fn is(a: &Array, value: f32) -> bool {
    let elements = a.to_vec::<f32>();
    elements.len() == a.size() && elements.iter().all(|&x| x == value)
}

/// Calls `next` on an array that has a second owner of some kind; the second owner must see what it saw before.
fn check_kept(what: &str, next: Call, own: &dyn Fn(&Array) -> Box<dyn Fn() -> bool>) {
    let mut x = filled(1.0);
    let sees = own(&x);
    for _ in 0..3 {
        x = next(&x);
        run(&x).unwrap();
    }
    assert!(sees(), "{what}");
    assert!(is(&x, 4.0), "{what}");
}

#[test]
fn what_others_can_see_is_never_overwritten() {
    let _alone = alone();
    let step = compile(|x: &Array| x + 1.0f32);
    let calls: [(&str, Call); 2] = [("compiled", &|x| step(x)), ("eager", &|x| x + 1.0f32)];
    for (how, next) in calls {
        let check = |what: &str, own: &dyn Fn(&Array) -> Box<dyn Fn() -> bool>| {
            check_kept(&format!("{how}: {what}"), next, own);
        };
        check("a handle", &|x| {
            let x = x.clone();
            Box::new(move || is(&x, 1.0))
        });
        check("a view that was made", &|x| {
            let row = x.reshape([SIDE, SIDE]).transpose([1, 0]);
            run(&row).unwrap();
            Box::new(move || is(&row, 1.0))
        });
        check("a pending view", &|x| {
            let row = x.reshape([SIDE, SIDE]);
            Box::new(move || is(&row, 1.0))
        });
        check("a pending array", &|x| {
            let later = x * 3.0f32;
            Box::new(move || is(&later, 3.0))
        });
        check("a constant of a compiled function", &|x| {
            let x = x.clone();
            let f = compile(move |y: &Array| y + &x);
            Box::new(move || is(&f(&array(0.0)), 1.0))
        });
        check("work in the background", &|x| {
            let sum = (x * 2.0f32).exp().sum(());
            async_eval(std::slice::from_ref(&sum)).unwrap();
            let want = (2.0f32).exp() * N as f32;
            Box::new(move || (sum.item::<f32>() / want - 1.0).abs() < 1e-3)
        });
        check("its memory, lent", &|x| {
            let x = x.clone();
            let lent = x.lend().unwrap();
            Box::new(move || lent.address == x.lend().unwrap().address && is(&x, 1.0))
        });
    }
}

#[test]
fn arguments_that_are_one_array_are_not_donated_to_one_another() {
    let _alone = alone();
    let f = compile(|(a, b): &(Array, Array)| (a + 1.0f32, b * 3.0f32));
    let x = filled(2.0);
    let (p, q) = f(&(x.clone(), x.clone()));
    drop(x);
    eval(&[p.clone(), q.clone()]).unwrap();
    assert!(is(&p, 3.0) && is(&q, 6.0));
    // Two views of one memory: each array has one handle, the memory two.
    let x = filled(2.0);
    let (a, b) = (x.reshape([SIDE * 2, SIDE / 2]), x.reshape([SIDE / 2, SIDE * 2]));
    eval(&[a.clone(), b.clone()]).unwrap();
    drop(x);
    let g = compile(|(a, b): &(Array, Array)| (a + 1.0f32, b * 3.0f32));
    let (p, q) = g(&(a.clone(), b.clone()));
    drop((a, b));
    eval(&[p.clone(), q.clone()]).unwrap();
    assert!(is(&p, 3.0) && is(&q, 6.0));
}

#[test]
fn state_that_is_replaced_gives_its_memory() {
    let _alone = alone();
    let step: Compiled<_> = compile(|(w, m): &mut (Array, Array), g: &Array| {
        *m = &*m * 0.5f32 + g;
        *w = &*w - &*m * 0.25f32;
    });
    let g = filled(1.0);
    let mut state = (filled(4.0), filled(0.0));
    let kept = state.clone();
    let turn = |state: &mut (Array, Array)| {
        step(state, &g);
        eval(&[state.0.clone(), state.1.clone()]).unwrap();
    };
    let first = peak(|| turn(&mut state));
    let later = peak(|| turn(&mut state));
    assert!(first >= 2 * BYTES, "somebody holds the first state, so there must be another: {first}");
    assert!(later < BYTES / 2, "the second state was overwritten: {later}");
    assert!(is(&kept.0, 4.0) && is(&kept.1, 0.0));
    assert!(is(&state.1, 1.5) && is(&state.0, 4.0 - 0.25 - 0.375));
    // An eager step gives its own too.
    let mut x = filled(1.0);
    let eager = peak(|| {
        x = &x * 2.0f32;
        run(&x).unwrap();
    });
    assert!(eager < BYTES / 2 && is(&x, 2.0), "{eager}");
}

#[test]
fn what_a_gradient_can_reach_is_kept() {
    let _alone = alone();
    let x = filled(3.0);
    let grad = lazuli_core::grad(|x: &Array| {
        let mut y = x * 1.0f32;
        for _ in 0..3 {
            // Evaluated half-way: the trace still has to reach it.
            y = &y * x;
            run(&y).unwrap();
        }
        y.sum(())
    });
    assert!(is(&grad(&x), 4.0 * 27.0) && is(&x, 3.0));
}

#[test]
fn threads_share_arrays_and_lose_nothing() {
    let _alone = alone();
    let step = compile(|x: &Array| x * 2.0f32 + 1.0f32);
    for round in 0..20 {
        let shared = filled(1.0);
        let barrier = Barrier::new(3);
        let (step, barrier) = (&step, &barrier);
        std::thread::scope(|s| {
            for t in 0..3 {
                let x = shared.clone();
                s.spawn(move || {
                    let mut own = step(&x);
                    let mut chain = step(&x);
                    drop(x);
                    barrier.wait();
                    for _ in 0..4 {
                        chain = step(&chain);
                        match (round + t) % 3 {
                            0 => run(&chain).unwrap(),
                            1 => async_eval(std::slice::from_ref(&chain)).unwrap(),
                            _ => own = own + &chain * 0.0f32,
                        }
                    }
                    assert!(is(&own, 3.0) && is(&chain, 63.0), "round {round}, thread {t}");
                });
            }
        });
        assert!(is(&shared, 1.0), "round {round}");
    }
}

#[test]
fn background_work_runs_in_order() {
    let _alone = alone();
    let step = compile(|x: &Array| x * 0.5f32 + 1.0f32);
    let mut x = filled(0.0);
    let mut seen = vec![];
    for _ in 0..30 {
        x = step(&x);
        async_eval(std::slice::from_ref(&x)).unwrap();
        assert!(x.is_evaluated());
        seen.push(x.clone());
    }
    synchronize().unwrap();
    let mut want = 0.0;
    for x in &seen {
        want = want * 0.5 + 1.0;
        assert!(is(x, want));
    }
}

/// Evaluates with this much more memory than is in use.
fn within(bytes: usize, evaluate: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    let before = backend::default().memory().active;
    let old = backend::default().set_memory_limit(before + bytes);
    let result = evaluate();
    backend::default().set_memory_limit(old);
    result
}

// Not elementwise, so that it takes memory of its own: for what it computes, or to work in (the second factor in panels, and rows to sort).
fn square(x: &Array) -> Array {
    x.reshape([SIDE, SIDE]).matmul(&x.reshape([SIDE, SIDE]))
}
fn thin(x: &Array) -> Array {
    x.index(..2 * SIDE as i32).reshape([2, SIDE]).matmul(&x.reshape([SIDE, SIDE]).transpose([1, 0]))
}
fn sorted(x: &Array) -> Array {
    x.sort(0).index(..2)
}

type Evaluate = fn(&[Array]) -> Result<(), Error>;

#[test]
fn running_out_of_memory_leaves_the_state_as_it_was() {
    let _alone = alone();
    let all: [fn(&Array) -> Array; 3] = [square, thin, sorted];
    for (f, evaluate) in all.into_iter().flat_map(|f| [(f, eval as Evaluate), (f, async_eval)]) {
        let step = compile(move |(w, m): &mut (Array, Array), x: &Array| {
            *m = &*m + x;
            *w = &*w * 2.0f32;
            f(x)
        });
        let x = filled(1.0);
        let mut state = (filled(3.0), filled(5.0));
        let result = step(&mut state, &x);
        let before = backend::default().memory().active;
        let [w, m] = [&state.0, &state.1].map(Array::clone);
        let error = within(BYTES / 2, || evaluate(&[result.clone(), w, m])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Memory, "{error}");
        for part in [
            "the call of '",
            "bytes besides its inputs",
            "cannot allocate",
            "state that it updates is as it was",
            "set_memory_limit",
        ] {
            assert!(error.message().contains(part), "{error}");
        }
        assert_eq!(backend::default().memory().active, before);
        // The call is over, whatever memory there is now. Its results have no values, the state has those of before.
        assert!(is(&state.0, 3.0) && is(&state.1, 5.0));
        assert_eq!(run(&result).unwrap_err().kind(), ErrorKind::Memory);
        assert!(result.describe().contains("failed"), "{}", result.describe());
        let again = step(&mut state, &x);
        eval(&[again.clone(), state.0.clone(), state.1.clone()]).unwrap();
        assert!(is(&state.0, 6.0) && is(&state.1, 6.0) && again.equal(f(&x)).all(()).item::<bool>());
    }
}

#[test]
fn calls_after_one_that_ran_out_of_memory_go_on_from_the_state_before_it() {
    let _alone = alone();
    let step = compile(|w: &mut Array, x: &Array| {
        *w = &*w * 2.0f32;
        x.matmul(x).sum(()) + w.sum(())
    });
    let [large, small] = [SIDE as usize, 2].map(|n| Array::from_slice(&vec![1.0f32; n * n], &[n, n]));
    let mut w = filled(3.0);
    step(&mut w, &small);
    let lost = step(&mut w, &large);
    let kept = step(&mut w, &small);
    // The first call overwrites what it is given; the second has no room for the product.
    let error = within(BYTES / 2, || eval(&[lost.clone(), kept.clone(), w.clone()])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Memory, "{error}");
    assert!(is(&w, 12.0) && run(&lost).is_err());
    assert_eq!(kept.item::<f32>(), 8.0 + 12.0 * N as f32);
}

#[test]
fn a_call_that_changes_more_of_the_state_than_its_values_is_started_before_the_state_is_touched() {
    let _alone = alone();
    let x = filled(1.0);
    // What it grows by, and an array whose shape changes.
    let push = compile(|state: &mut Vec<Array>, x: &Array| state.push(square(x)));
    let join = compile(|state: &mut Vec<Array>, x: &Array| {
        state[0] = lazuli_core::concatenate(&[state[0].clone(), x.clone()], 0)
    });
    for step in [&push, &join] {
        let mut state = vec![filled(3.0)];
        let error = within(BYTES / 2, || step.try_call(&mut state, &x)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Memory, "{error}");
        assert!(state.len() == 1 && is(&state[0], 3.0));
        step(&mut state, &x);
        assert!(state.len() + state[0].size() / N == 3);
    }
    // Unless nothing is to run.
    let counted = compile_stats().plans;
    drop(compile(|state: &mut Vec<Array>, x: &Array| state.push(x + 7.0f32)).explain(&vec![], &x));
    assert_eq!(compile_stats().plans, counted);
}

#[test]
fn what_keeps_no_state_can_be_asked_again_when_memory_has_run_out() {
    let _alone = alone();
    let x = filled(1.0);
    for (y, what) in [(square(&x), "matmul"), (compile(square)(&x), "the call of '")] {
        for _ in 0..2 {
            let error = within(BYTES / 2, || run(&y)).unwrap_err();
            assert!(error.kind() == ErrorKind::Memory && error.message().contains(what), "{error}");
        }
        assert!(is(&y.reshape([N as isize]), SIDE as f32));
    }
}

static ASKED: AtomicBool = AtomicBool::new(false);

#[test]
fn an_interrupted_evaluation_can_be_done_again() {
    let _alone = alone();
    let yes = || {
        ASKED.store(true, Ordering::Relaxed);
        true
    };
    let long = |x: &Array| {
        let a = x.reshape([SIDE, SIDE]);
        (0..8).fold(a, |a, _| a.matmul(&a) * (1.0 / SIDE as f32))
    };
    let compiled = compile(long);
    let calls: [(&str, Call); 2] = [("eager", &long), ("compiled", &*compiled)];
    for (how, f) in calls {
        let x = filled(1.0);
        let y = f(&x);
        ASKED.store(false, Ordering::Relaxed);
        let watching = watch(yes);
        let result = run(&y);
        drop(watching);
        // A machine that is done within 50 ms asks nothing.
        if ASKED.load(Ordering::Relaxed) {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled, "{how}");
        }
        assert!(is(&x, 1.0), "{how}");
        assert!(is(&y, 1.0), "{how}");
    }
}

#[test]
fn a_closure_made_anew_is_traced_and_generates_no_code() {
    let _alone = alone();
    let x = array([1.0, 2.0]);
    let made = |by: f32| run(&compile(move |x: &Array| (x * by).exp() - x)(&x)).unwrap();
    made(2.0);
    let before = compile_stats();
    (3..8).for_each(|by| made(by as f32));
    let after = compile_stats();
    assert_eq!((after.traces - before.traces, after.kernels - before.kernels), (5, 0));
}

#[test]
fn explanations_tell_the_peak_of_memory() {
    let _alone = alone();
    let check = |f: fn(&Array) -> Array| {
        let f = compile(f);
        let x = filled(1.0).reshape([SIDE, SIDE]);
        run(&x).unwrap();
        run(&f(&x)).unwrap();
        let told = f.explain(&x).unwrap().peak_memory();
        let measured = peak(|| run(&f(&x)).unwrap());
        assert!(told <= measured && measured <= told + told / 8 + 4096, "{told} bytes told, {measured} measured");
    };
    check(|x| -x * 2.0);
    check(|x| x.softmax(-1));
    check(|x| x.t().matmul(x) + x.sum(()));
    check(|x| lazuli_core::ops::sort(x, Some(0)).unwrap());
}

#[test]
fn a_front_end_keeps_its_lock_for_what_is_quick_alone() {
    let _alone = alone();
    let f = compile(|x: &Array| (-x).exp() + 1.0);
    let (small, large) = (array(0.0), filled(0.0));
    // The plan has to be made first.
    let first = f(&small);
    assert!(!try_eval(std::slice::from_ref(&first)).unwrap() && !first.is_evaluated());
    let hits = compile_stats().hits;
    eval(std::slice::from_ref(&first)).unwrap();
    assert!(try_eval(std::slice::from_ref(&first)).unwrap());
    let second = f(&small);
    assert!(try_eval(&[first, second.clone()]).unwrap() && is(&second, 2.0));
    assert_eq!(compile_stats().hits, hits + 1);
    // What takes longer, or is no call of a compiled function, is left as it is.
    f(&large).eval();
    for pending in [f(&large), &small + 1.0] {
        assert!(!try_eval(std::slice::from_ref(&pending)).unwrap() && !pending.is_evaluated());
        pending.eval();
        assert!(try_eval(&[pending]).unwrap());
    }
    // One node has several results.
    let pair = compile(|x: &Array| (x + 1.0, x * 2.0));
    let (a, b) = pair(&small);
    a.eval();
    assert!(b.is_evaluated());
    let (a, b) = pair(&small);
    assert!(try_eval(&[a, b]).unwrap());
}
