//! What `compile` promises beyond what its documentation shows: keys, purity, modes, threads.

use lazuli::nn::optimizers::{Optimizer, Sgd};
use lazuli::nn::{Activation, LayerNorm, Linear, Module};
use lazuli::{
    Array, CompileMode, Compiled, DType, ErrorKind, Result, Tree, array, compile, compile_disabled, compile_mode, grad,
    random, value_and_grad, vmap,
};
use std::collections::BTreeMap;
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

/// Keys of which a hasher is told a part.
#[test]
fn keys_of_maps_are_told_apart_as_in_the_maps() {
    #[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
    struct Version(u32, u32);
    impl std::hash::Hash for Version {
        fn hash<H: std::hash::Hasher>(&self, h: &mut H) {
            self.0.hash(h);
        }
    }
    impl std::fmt::Display for Version {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{}", self.0)
        }
    }
    let f = compile(|map: &BTreeMap<Version, Array>| {
        map.iter().map(|(k, x)| x * k.1 as f32).reduce(|a, b| a + b).expect("there is one")
    });
    let call =
        |minor: u32| f(&BTreeMap::from([(Version(1, minor), array(1.0)), (Version(2, 0), array(1.0))])).item::<f32>();
    assert_eq!([5, 7, 5].map(call), [5.0f32, 7.0, 5.0]);
    assert_eq!(f.traces(), 2);
}

#[test]
fn which_arrays_are_one_is_part_of_the_key() {
    let (a, b) = (array([1.0, 2.0]), array([3.0, 4.0]));
    let f = compile(|x: &Array, y: &Array| x + y);
    let counts = traces(&f, &[&|f| drop(f(&a, &b)), &|f| drop(f(&a, &a)), &|f| drop(f(&b, &b)), &|f| drop(f(&b, &a))]);
    assert_eq!(counts, [1, 2, 2, 2]);
    assert_eq!(f(&a, &a).to_vec::<f32>(), [2.0, 4.0]);
    // Among many as among few.
    let sum = compile(|(s, xs): &(Array, Vec<Array>)| xs.iter().fold(s.clone(), |a, b| a + b));
    for n in [2, 11, 12, 13, 40] {
        let before = sum.traces();
        let distinct = |from: usize| (0..n).map(|i| array([(from + i) as f32])).collect::<Vec<_>>();
        let repeated = |of: usize, at: usize| {
            let mut xs = distinct(0);
            xs[at] = xs[of].clone();
            xs
        };
        let total = |xs: &Vec<Array>| xs.iter().map(|x| x.item::<f32>()).sum::<f32>();
        for (k, xs) in [distinct(0), distinct(5), repeated(0, n - 1), repeated(n - 2, n - 1)].into_iter().enumerate() {
            assert_eq!(sum(&(array([0.0]), xs.clone())).item::<f32>(), total(&xs));
            let traces = [1, 1, 2, if n == 2 { 2 } else { 3 }][k];
            assert_eq!(sum.traces() - before, traces, "{k} of {n}");
        }
    }
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
    let text = error.message();
    assert!(
        text.contains("'closure at ") && text.contains("made at ") && text.matches("contract.rs").count() > 1,
        "{text}"
    );
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

// ---- keys ----

/// How many traces there are after calls with the one tree, the other, and both again.
fn kept<A: Tree + Clone>(first: &A, second: &A) -> usize {
    let own = array(0.0);
    let f = compile(move |_: &A| own.clone());
    [first, second, first, second].into_iter().for_each(|tree| drop(f(tree)));
    f.traces()
}

#[test]
fn which_calls_share_a_trace() {
    fn check<A: Tree + Clone>(what: &str, first: A, second: A, shared: bool) {
        assert_eq!(kept(&first, &second), if shared { 1 } else { 2 }, "{what}");
    }
    let (a, b) = (array([1.0, 2.0]), array([3.0, 4.0]));
    let map = |keys: [&str; 2]| BTreeMap::from(keys.map(|k| (k.to_owned(), a.clone())));
    check("values of arrays", a.clone(), b.clone(), true);
    check("dtypes", a.clone(), array([1, 2]), false);
    check("shapes", a.clone(), array([1.0; 3]), false);
    check("ranks", a.clone(), array([[1.0, 2.0]]), false);
    check("two arrays and one twice", (a.clone(), b.clone()), (a.clone(), a.clone()), false);
    check("which of three are one", [a.clone(), a.clone(), b.clone()], [a.clone(), b.clone(), a.clone()], false);
    check("one array twice", [a.clone(), a.clone()], [b.clone(), b.clone()], true);
    check("lengths", vec![a.clone()], vec![a.clone(), b.clone()], false);
    check("[[a], [b]] and [[a, b]]", vec![vec![a.clone()], vec![b.clone()]], vec![vec![a.clone(), b.clone()]], false);
    check("[[], [a]] and [[a], []]", vec![vec![], vec![a.clone()]], vec![vec![a.clone()], vec![]], false);
    check("something and nothing", Some(a.clone()), None, false);
    check("keys of maps", map(["x", "y"]), map(["x", "z"]), false);
    check("equal maps", map(["x", "y"]), map(["y", "x"]), true);
    check("ints", 1_u64 << 40, 1_u64 << 40, true);
    check("other ints", 1_u64 << 40, (1_u64 << 40) + 1, false);
    check("zeros", 0.0_f32, -0.0, false);
    check("NaNs", f64::NAN, f64::from_bits(0x7ff8_0000_0000_0123), true);
    check("bools", true, false, false);
    check("texts", "sum".to_owned(), "sum".to_owned(), true);
    check("other texts", "sum".to_owned(), "mean".to_owned(), false);
    check(
        "texts in one and in two",
        vec!["ab".to_owned(), "c".to_owned()],
        vec!["a".to_owned(), "bc".to_owned()],
        false,
    );
    check("dtypes as constants", DType::F32, DType::F16, false);
    check("one box and another", boxed(false), boxed(true), false);
}

/// Modules of equal structure.
fn boxed(tanh: bool) -> Box<dyn Module> {
    if tanh { Box::new(Activation::TANH) } else { Box::new(Activation::RELU) }
}

fn plus_one(x: &Array) -> Array {
    x + 1.0f32
}

#[test]
fn which_functions_are_one() {
    fn plus_two(x: &Array) -> Array {
        x + 2.0f32
    }
    let x = array([1.0, 2.0]);
    // A function and a closure without captures are known by their type, wherever they are compiled.
    let (f, g) = (compile(plus_one), compile(plus_two));
    assert_eq!((f(&x).to_vec::<f32>(), g(&x).to_vec::<f32>()), (vec![2.0, 3.0], vec![3.0, 4.0]));
    assert_eq!(compile(plus_one).traces(), 1);
    // Closures that capture are functions of their own, at one place too.
    let scaled: Vec<_> = [2.0f32, 3.0].into_iter().map(|by| compile(move |x: &Array| x * by)).collect();
    assert_eq!(scaled.iter().map(|f| f(&x).to_vec::<f32>()).collect::<Vec<_>>(), [[2.0, 4.0], [3.0, 6.0]]);
    // So are pointers, which have one type.
    let pointers: [fn(&Array) -> Array; 2] = [plus_one, plus_two];
    assert_eq!(pointers.map(|f| compile(f)(&x).to_vec::<f32>()), [[2.0, 3.0], [3.0, 4.0]]);
    // What is compiled already stays what it is.
    let again = compile(g.clone()).shapeless();
    again(&array([1.0; 3]));
    again(&array([1.0; 4]));
    assert_eq!((again.traces(), g.traces()), (2, 2));
}

#[test]
fn shapeless_is_part_of_the_key() {
    let f = |x: &Array| x - 1.0f32;
    let (x, other) = (array([1.0, 2.0]), array([[1.0], [2.0], [3.0]]));
    let (exact, free) = (compile(f), compile(f).shapeless());
    let traces = [(&exact, &x), (&free, &x), (&free, &other), (&exact, &other)].map(|(f, x)| {
        f(x);
        f.traces()
    });
    assert_eq!(traces, [1, 2, 2, 3]);
}

#[test]
fn what_changes_an_optimizer_or_a_layer_is_part_of_the_key() {
    type State = (Linear, Sgd, LayerNorm);
    let step = compile(|(model, sgd, norm): &mut State, x: &Array| {
        let (loss, grads) = value_and_grad(|m: &Linear| norm.forward(&m.forward(x)).square().sum(()))(&*model);
        sgd.update(model, &grads);
        loss
    });
    let x = array([[1.0, 2.0]]);
    let mut state = (Linear::new(2, 2), Sgd::new(0.1).momentum(0.9), LayerNorm::new(2));
    let mut counts = Vec::new();
    let mut turn = |state: &mut State| {
        step(state, &x);
        counts.push(step.traces());
    };
    (0..3).for_each(|_| turn(&mut state));
    state.1 = state.1.clone().momentum(0.5);
    turn(&mut state);
    state.2 = state.2.clone().eps(1.0);
    turn(&mut state);
    // The optimizer's state grows in its first step, which costs one more trace.
    assert_eq!(counts, [1, 2, 2, 3, 4]);
}

#[test]
fn what_keeps_changing_is_named_with_its_remedy() {
    let f = compile(|x: &Array, by: &f32| x * *by);
    f(&array([1.0, 2.0]), &1.0);
    let check = |x: Array, by: f32, text: &str, remedy: &str| {
        f(&x, &by);
        let change = &f.latest_changes()[0];
        assert_eq!((change.to_string().as_str(), change.remedy), (text, remedy));
    };
    check(array([1.0, 2.0]), 2.0, "argument 1 was 1.0, is 2.0", "pass it as an Array");
    check(array([1.0; 3]), 2.0, "argument 0.shape[0] was 2, is 3", "compile(…).shapeless()");
}

#[test]
fn a_trace_belongs_to_the_function_not_to_the_thread() {
    let f = compile(|x: &Array| x + 3.0f32);
    f(&array(1.0));
    let elsewhere = f.clone();
    assert_eq!(std::thread::spawn(move || elsewhere(&array(2.0)).item::<f32>()).join().unwrap(), 5.0);
    assert_eq!(f.traces(), 1);
}

#[test]
fn recursion_and_re_entrancy_inline() {
    fn power(x: &Array, n: &i32) -> Array {
        if *n == 1 { x.clone() } else { x * compile(power)(x, &(n - 1)) }
    }
    assert_eq!(compile(power)(&array(2.0), &5).item::<f32>(), 32.0);
    let inner = compile(|x: &Array| x.exp() + 1.0f32);
    let outer = compile(move |x: &Array| inner(x) * inner(&(x * 2.0f32)));
    let x = array([0.5, -1.0]);
    let expected = (x.exp() + 1.0f32) * ((&x * 2.0f32).exp() + 1.0f32);
    assert_eq!(outer(&x).to_vec::<f32>(), expected.to_vec::<f32>());
    assert_eq!(outer.explain(&x).unwrap().kernels().len(), 1);
}

#[test]
fn what_a_compiled_function_captured_goes_with_it() {
    let (captured, seen) = (Arc::new(()), array([1.0, 2.0]));
    let (weak, constant) = (Arc::downgrade(&captured), seen.clone());
    let f = compile(move |x: &Array| {
        let _own = &captured;
        x * &constant
    });
    let other = f.clone();
    f(&array(2.0));
    drop(f);
    assert!(weak.upgrade().is_some(), "a clone is the function");
    drop(other);
    assert!(weak.upgrade().is_none());
}

#[test]
fn a_compiled_function_says_what_it_is() {
    let f = compile(plus_one);
    f(&array([1.0]));
    let text = format!("{f:?}");
    assert!(text.contains("plus_one") && text.contains("traces"), "{text}");
}

#[test]
fn warnings_name_the_function_and_the_remedy_once() {
    const CHILD: &str = "LAZULI_TEST_OF_WARNINGS";
    if std::env::var_os(CHILD).is_some() {
        let many = compile(|x: &Array, n: &i32| x + *n);
        (0..40).for_each(|n| drop(many(&array(1.0), &n)));
        let draw = compile(|x: &Array| x + random::uniform([2]));
        (0..2).for_each(|_| drop(draw(&array(1.0))));
        let captured = compile(|s: &mut random::State, x: &Array| x + random::using(s, || random::uniform([2])));
        captured(&mut random::State::new(1), &array(1.0));
        return;
    }
    let me = std::env::current_exe().unwrap();
    let arguments = ["--exact", "warnings_name_the_function_and_the_remedy_once", "--nocapture"];
    let child = std::process::Command::new(me).args(arguments).env(CHILD, "1").output().unwrap();
    let told = String::from_utf8_lossy(&child.stderr);
    let warnings: Vec<&str> = told.lines().filter(|line| line.starts_with("warning:")).collect();
    assert!(child.status.success() && warnings.len() == 2, "{told}");
    assert!(
        warnings[0].contains("contract.rs") && warnings[0].ends_with("argument 1 took 32 values: pass it as an Array")
    );
    assert!(warnings[1].contains("contract.rs") && warnings[1].contains("random::State"));
}

// ---- tracing and purity ----

#[test]
fn side_effects_happen_at_the_trace_and_constants_are_computed_there() {
    let runs = Arc::new(AtomicUsize::new(0));
    let (counter, pending) = (runs.clone(), array([1.0, 2.0]).exp());
    let constant = pending.clone();
    let f = compile(move |x: &Array| {
        counter.fetch_add(1, Ordering::Relaxed);
        x + constant.sum(())
    });
    assert!(!pending.is_evaluated());
    let results: Vec<f32> = [1.0, 2.0, 3.0].into_iter().map(|x| f(&array(x)).item()).collect();
    assert!(pending.is_evaluated());
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    assert_eq!(results, [1.0, 2.0, 3.0].map(|x| (array(x) + pending.sum(())).item::<f32>()));
}

#[test]
fn every_read_of_a_value_names_the_function_and_its_remedy() {
    /// The read stands on this line or on the one behind it.
    fn check(what: &str, remedy: &str, line: u32, read: impl Fn(&Array) -> Result<()> + Send + Sync + 'static) {
        let offender = compile(move |x: &Array| read(&(x + 1.0f32)));
        for _ in 0..2 {
            let error = offender.try_call(&array([1.0])).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TracedRead, "{what}: {error}");
            let text = error.to_string();
            assert!(text.contains("'closure at ") && text.contains(what) && text.contains(remedy), "{what}: {text}");
            let place = error.location().unwrap_or_default();
            assert!(
                [line, line + 1].into_iter().any(|line| place.ends_with(&format!("contract.rs:{line}"))),
                "{what}: {text}"
            );
        }
        assert_eq!(offender.traces(), 0);
    }
    check("print or to_string()", "debug::print", line!(), |x| {
        println!("{x}");
        Ok(())
    });
    check("print or to_string()", "disable_compile", line!(), |x| {
        assert!(!x.to_string().is_empty());
        Ok(())
    });
    check("item()", "`select` or `cond`", line!(), |x| {
        let _ = x.item::<f32>() > 0.0;
        Ok(())
    });
    check("item()", "`select` or `cond`", line!(), |x| x.try_item_scalar().map(drop));
    check("to_vec()", "return the array", line!(), |x| x.try_to_vec::<f32>().map(drop));
    check("to_vec()", "return the array", line!(), |x| {
        let _ = x.to_vec::<f32>();
        Ok(())
    });
    check("eval()", "leave the call out", line!(), |x| {
        lazuli::eval(x);
        Ok(())
    });
    check("eval()", "leave the call out", line!(), |x| lazuli::async_eval(std::slice::from_ref(x)));
}

#[test]
fn shapes_and_what_does_not_depend_on_the_arguments_can_be_read() {
    let f = compile(|x: &Array| {
        assert_eq!((x.shape(), x.ndim(), x.size(), x.dtype()), ([2].as_slice(), 1, 2, DType::F32));
        assert!(x.describe().contains("placeholder") && (x + 1.0f32).describe().contains("add"));
        x * (array([1.0, 2.0]).sum(()).item::<f32>())
    });
    assert_eq!(f(&array([1.0, 2.0])).to_vec::<f32>(), [3.0, 6.0]);
}

#[test]
fn a_function_that_fails_or_panics_caches_nothing_and_works_next_time() {
    let fail = Arc::new(AtomicUsize::new(1));
    let how = fail.clone();
    let f = compile(move |state: &mut Vec<Array>, x: &Array| {
        state[0] = &state[0] + x;
        state.push(x.clone());
        match how.load(Ordering::Relaxed) {
            1 => panic!("mine"),
            2 => drop(&state[0] + array([1.0; 3])),
            _ => {}
        }
        state[0].clone()
    });
    let mut state = vec![array([1.0, 2.0])];
    let x = array([1.0, 1.0]);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| f(&mut state, &x)));
    assert_eq!(panicked.unwrap_err().downcast_ref::<&str>(), Some(&"mine"));
    fail.store(2, Ordering::Relaxed);
    assert_eq!(f.try_call(&mut state, &x).unwrap_err().kind(), ErrorKind::Value);
    assert_eq!((state.len(), state[0].to_vec::<f32>(), f.traces()), (1, vec![1.0, 2.0], 0));
    fail.store(0, Ordering::Relaxed);
    assert_eq!(f(&mut state, &x).to_vec::<f32>(), [2.0, 3.0]);
    assert_eq!((state.len(), f.traces()), (2, 1));
}

// ---- results ----

#[test]
fn what_a_function_returns_comes_back() {
    type Everything = (Array, [Array; 2], Option<Array>, Vec<(String, f64)>, BTreeMap<i32, Array>, ());
    let f = compile(|x: &Array| -> Everything {
        let y = x + 1.0f32;
        let named = vec![("a".to_owned(), -0.0), ("b".to_owned(), 1.5)];
        (x.clone(), [y.clone(), y.clone()], None, named, BTreeMap::from([(3, y), (1, array([0.0]))]), ())
    });
    for x in [array([1.0, 2.0]), array([3.0, 4.0])] {
        let (same, twice, nothing, named, map, ()) = f(&x);
        let y = (&x + 1.0f32).to_vec::<f32>();
        assert_eq!(same.to_vec::<f32>(), x.to_vec::<f32>());
        assert!(twice.iter().chain([&map[&3]]).all(|a| a.to_vec::<f32>() == y) && nothing.is_none());
        assert_eq!(map.keys().copied().collect::<Vec<_>>(), [1, 3]);
        assert!(named[0].1.is_sign_negative() && named[1] == ("b".to_owned(), 1.5));
    }
    let nothing = compile(|_: &Array| ());
    nothing(&array(1.0));
    nothing(&array(2.0));
    assert_eq!((f.traces(), nothing.traces()), (1, 1));
}

// ---- transformations ----

/// What adds up takes the order of the whole program, wherever compiled functions begin and end in it.
#[test]
fn derivatives_through_compiled_functions_have_the_bits_of_plain_ones() {
    fn inner(x: &Array, a: &Array) -> Array {
        (x * 2.1f32).sin() * a.cos() * x.dim(0) / (x * x).sum(()).sqrt()
    }
    fn outer(inner: impl Fn(&Array, &Array) -> Array, x: &Array) -> Array {
        (inner(x, &x.tanh()) * x.exp() + x).sum(())
    }
    let fixed = compile(inner);
    let shapeless = compile(inner).shapeless();
    for n in [50, 51] {
        let x = array((0..n).map(|i| (i * 37 % 101) as f32 / 31.0 - 1.3).collect::<Vec<_>>());
        let second = |f: &(dyn Fn(&Array) -> Array + Send + Sync)| {
            (grad(f)(&x).to_vec::<f32>(), grad(|x: &Array| grad(f)(x).sum(()))(&x).to_vec::<f32>())
        };
        let plain = second(&|x| outer(inner, x));
        assert_eq!(second(&|x| outer(|x, a| fixed(x, a), x)), plain);
        assert_eq!(second(&|x| outer(|x, a| shapeless(x, a), x)), plain);
    }
}

#[test]
fn transformations_use_the_kept_graph() {
    type F = dyn Fn(&Array) -> Array + Send + Sync;
    let runs = Arc::new(AtomicUsize::new(0));
    let counter = runs.clone();
    let compiled = compile(move |x: &Array| {
        counter.fetch_add(1, Ordering::Relaxed);
        (x.sin() * 2.0f32).sum(())
    });
    let plain = |x: &Array| (x.sin() * 2.0f32).sum(());
    let x = array([1.0, 2.0]);
    compiled(&x);
    let check = |what: &str, transform: &dyn Fn(&F) -> Array| {
        let expected = transform(&plain).to_vec::<f32>();
        for _ in 0..3 {
            assert_eq!(transform(&*compiled).to_vec::<f32>(), expected, "{what}");
        }
        assert_eq!((runs.load(Ordering::Relaxed), compiled.traces()), (1, 1), "{what}");
    };
    check("grad", &|f| grad(f)(&x));
    check("value_and_grad", &|f| value_and_grad(f)(&x).1);
    check("vjp", &|f| lazuli::vjp(f, &x, &array(1.0)).1);
    check("jvp", &|f| lazuli::jvp(f, &x, &x).1);
    check("vmap", &|f| vmap(f)(&array([[1.0, 2.0], [3.0, 4.0]])));
    check("grad of grad", &|f| grad(|x: &Array| grad(f)(x).sum(()))(&x));
    check("vmap of grad", &|f| vmap(grad(f))(&array([[1.0, 2.0], [3.0, 4.0]])));
    check("within a function", &|f| f(&(&x * f(&x).exp() * 0.0f32 + &x)));
}

#[test]
fn derivatives_of_compiled_functions_have_the_bits_of_those_of_plain_ones() {
    type Pair = (Array, Array);
    fn swing(x: &Pair) -> Pair {
        let (q, p) = x;
        let p = p - q.sin() * 0.05f32;
        let q = q + &p * 0.1f32;
        let p = &p - q.sin() * 0.05f32;
        (q, p)
    }
    fn energy((q, p): &Pair) -> Array {
        (1.0 - q.cos()).sum(()) + (q.index(1..) - q.index(..-1)).square().sum(()) + (p * p).sum(())
    }
    let x: Pair = (array([0.3, -1.2, 0.7, 2.1, -0.4]), array([1.1, 0.2, -0.9, 0.4, 1.6]));
    let plain = grad(|x: &Pair| energy(&swing(x)))(&x);
    let compiled = compile(swing);
    let of_compiled = grad(|x: &Pair| energy(&compiled(x)))(&x);
    let within = compile(grad(move |x: &Pair| energy(&compiled(x))))(&x);
    for gradient in [of_compiled, within] {
        assert_eq!(gradient.0.to_vec::<f32>(), plain.0.to_vec::<f32>());
        assert_eq!(gradient.1.to_vec::<f32>(), plain.1.to_vec::<f32>());
    }
}

#[test]
fn a_compiled_transformation_traces_once_and_sees_the_whole_graph() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counter = runs.clone();
    let inner = compile(|x: &Array| (-x.abs()).exp());
    let slope = compile(grad(move |x: &Array| {
        counter.fetch_add(1, Ordering::Relaxed);
        inner(&inner(x)).sum(())
    }));
    let x = array([0.5, -1.0, 2.0]);
    let expected = grad(|x: &Array| (-(-x.abs()).exp().abs()).exp().sum(()))(&x).to_vec::<f32>();
    for _ in 0..3 {
        assert_eq!(slope(&x).to_vec::<f32>(), expected);
    }
    assert_eq!((runs.load(Ordering::Relaxed), slope.traces()), (1, 1));
    assert_eq!(slope.explain(&x).unwrap().kernels().len(), 1);
}
