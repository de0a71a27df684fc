//! Printing while programs run: when, how often, in which order, and what goes wrong.

use lazuli_core::debug::{self, Writer, set_writer};
use lazuli_core::export::{self, Traced};
use lazuli_core::{
    Array, CompileMode, Error, ErrorKind, array, compile, compile_mode, custom, eval, grad, synchronize, vmap,
};
use std::sync::{Arc, Mutex, MutexGuard};

/// What is printed while `f` runs, on whichever thread. One at a time: the writer is the process's.
fn printed(f: impl FnOnce()) -> String {
    let _alone = alone();
    let seen: Arc<Mutex<String>> = Arc::default();
    let to = seen.clone();
    set_writer(Some(Writer::new(move |line| {
        to.lock().unwrap().push_str(line);
        Ok(())
    })));
    f();
    set_writer(None);
    std::mem::take(&mut *seen.lock().unwrap())
}

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|e| e.into_inner())
}

#[track_caller]
fn check(f: impl FnOnce(), want: &str) {
    assert_eq!(printed(f), want);
}

fn square(x: &Array) -> Array {
    let y = x * x;
    debug::print("{} squared is {}", &[x, &y]);
    y
}

#[test]
fn prints_happen_when_the_function_is_called() {
    let x = array(3.0);
    check(|| drop(square(&x)), "3.0 squared is 9.0\n");
    let f = compile(square);
    check(|| drop(f(&x)), "3.0 squared is 9.0\n");
    check(|| drop((f(&x), f(&array(2.0)))), "3.0 squared is 9.0\n2.0 squared is 4.0\n");
    // No results, nothing that depends on arguments, the result of an inner call not used.
    let nothing = compile(|_: &Array| debug::print("hello {}", &[&array(1)]));
    check(|| nothing(&x), "hello 1\n");
    check(|| nothing(&x), "hello 1\n");
    let outer = compile(|x: &Array| {
        debug::print("before", &[]);
        drop(compile(square)(x));
        debug::print("after", &[]);
        x + 1.0
    });
    check(|| drop(outer(&x)), "before\n3.0 squared is 9.0\nafter\n");
    assert_eq!(outer.traces(), 1);
}

#[test]
fn transformations_copy_prints() {
    let x = array(3.0);
    let of_square = "3.0 squared is 9.0\n";
    check(|| drop(grad(square)(&x)), of_square);
    check(|| drop(compile(grad(square))(&x)), of_square);
    check(|| drop(grad(&*compile(square))(&x)), of_square);
    check(|| drop(compile(grad(grad(|x: &Array| square(x) * x)))(&x)), of_square);
    let points = array([1.0, 2.0]);
    let each = "1.0 squared is 1.0\n2.0 squared is 4.0\n";
    check(|| drop(vmap(square)(&points)), each);
    check(|| drop(compile(vmap(square))(&points)), each);
    check(|| drop(vmap(&*compile(square))(&points)), each);
    check(|| drop(vmap(grad(square))(&points)), each);
    // What does not depend on the batch is printed once.
    check(|| drop(vmap(|x: &Array| x + square(&array(3.0)))(&points)), of_square);
}

#[test]
fn a_checkpoint_prints_once_and_a_rule_when_it_is_used() {
    let point = |x: &Array| {
        custom::checkpoint("f", std::slice::from_ref(x), |x| Ok(vec![square(&x[0]).sin()])).unwrap().remove(0)
    };
    let x = array(3.0);
    for f in [compile(point), compile(grad(point))] {
        check(|| drop(f(&x)), "3.0 squared is 9.0\n");
    }
    check(|| drop(grad(point)(&x)), "3.0 squared is 9.0\n");
    let ruled = |x: &Array| {
        let vjp = |_: &[Array], ct: &[Array], _: &[Array]| {
            debug::print("cotangent {}", &[&ct[0]]);
            Ok(vec![&ct[0] * 2.0])
        };
        custom::custom_function(
            "f",
            std::slice::from_ref(x),
            |x| Ok(vec![x[0].sin()]),
            custom::Rules { vjp: Some(&vjp), ..Default::default() },
        )
        .unwrap()
        .remove(0)
            * 5.0
    };
    check(|| drop(compile(ruled)(&x)), "");
    check(|| drop(compile(grad(ruled))(&x)), "cotangent 5.0\n");
    check(|| drop(grad(ruled)(&x)), "cotangent 5.0\n");
}

#[test]
fn modes_print_once() {
    let x = array(3.0);
    for mode in
        [CompileMode::Disabled, CompileMode::NoSimplify, CompileMode::NoFuse, CompileMode::Enabled, CompileMode::Verify]
    {
        let _mode = compile_mode(mode);
        let f = compile(|x: &Array| square(x));
        for _ in 0..2 {
            check(|| drop(f(&x)), "3.0 squared is 9.0\n");
        }
    }
    let f = compile(square);
    check(|| drop(f.explain(&x).unwrap()), "");
    let shapeless = compile(|x: &Array| square(&x.sum(()))).shapeless();
    check(|| drop(shapeless(&array([1.0, 2.0]))), "3.0 squared is 9.0\n");
    check(|| drop(shapeless(&array([1.0, 1.0, 2.0]))), "4.0 squared is 16.0\n");
    assert_eq!(shapeless.traces(), 1);
}

#[test]
fn prints_wait_for_what_runs_in_the_background() {
    let x = Array::from_slice(&vec![1.0f32; 1 << 20], &[1 << 20]);
    check(
        || {
            let y = x.exp().sin();
            lazuli_core::async_eval(std::slice::from_ref(&y)).unwrap();
            debug::print("{:.3f}", &[&y.max(())]);
            drop(compile(square)(&y.sum(()).square().minimum(3.0f32)));
            synchronize().unwrap();
        },
        "0.411\n3.0 squared is 9.0\n",
    );
}

#[test]
fn exported_functions_print() {
    let file = std::env::temp_dir().join(format!("lazuli-prints-{}.safetensors", std::process::id()));
    check(
        || {
            let traced = Traced::new("f", &[array(3.0)], &[], false, |x| {
                debug::print("[\"x\", {}]\n", &[&x[0]]);
                Ok(vec![square(&x[0])])
            });
            export::save(&file, &[traced.unwrap()], "").unwrap();
        },
        "",
    );
    let f = export::load(&file).unwrap();
    check(|| drop(f.call(&[array(2.0)], &[]).unwrap()), "[\"x\", 2.0]\n\n2.0 squared is 4.0\n");
    std::fs::remove_file(file).unwrap();
}

/// Whatever the writer does is an error of the call, which loses nothing.
#[test]
fn a_writer_that_fails_or_panics_fails_the_call() {
    let _alone = alone();
    let step = compile(|state: &mut Array, x: &Array| {
        *state = &*state + x;
        debug::print("{}", &[state]);
    });
    type Write = fn(&str) -> Result<(), Error>;
    let writers: [Write; 2] =
        [|_| Err(Error::new(ErrorKind::Io, "writer", "the disk is full").caused_by(17u8)), |_| panic!("no ink")];
    for (writer, want) in writers.into_iter().zip(["the disk is full", "no ink"]) {
        let mut state = array(1.0);
        eval(std::slice::from_ref(&state)).unwrap();
        set_writer(Some(Writer::new(writer)));
        let error = step.try_call(&mut state, &array(2.0)).unwrap_err();
        assert!(error.message().contains(want), "{error}");
        assert_eq!(error.cause::<u8>().is_some(), want.contains("disk"));
        let error = debug::try_print("{}", &[&array(1.0)]).unwrap_err();
        assert!(error.message().contains(want), "{error}");
        set_writer(Some(Writer::new(|_| Ok(()))));
        step(&mut state, &array(2.0));
        assert_eq!(state.item::<f32>(), 3.0);
    }
    set_writer(None);
}
