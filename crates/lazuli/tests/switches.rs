//! What turns the compiler off and on, in whole or in part, and what tells of its work. What belongs to a whole process is tried in one of its own: this
//! program, run again for a test that is otherwise ignored.

use lazuli::{
    Array, CompileMode, DType, ErrorKind, array, compile, compile_is_enabled, compile_mode, compile_stats,
    disable_compile, enable_compile, grad, random, set_compile_mode,
};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const VARIABLES: [&str; 3] = ["LAZULI_DISABLE_COMPILE", "MLX_DISABLE_COMPILE", "LAZULI_LOG"];

/// Runs a test in a process of its own, with these variables.
fn program(test: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]);
    for known in VARIABLES {
        command.env_remove(known);
    }
    let output = command.envs(variables.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{test} with {variables:?}: {output:?}");
    output
}

/// Lines of what a program said that tell of this.
fn lines<'a>(said: &'a [u8], of: &str) -> Vec<&'a str> {
    std::str::from_utf8(said).unwrap().lines().filter_map(|line| line.split_once(of)).map(|(_, rest)| rest).collect()
}

#[test]
fn the_environment_turns_compilation_off_until_a_call_overrides_it() {
    let check = |variables: &[(&str, &str)], enabled: bool| {
        let output = program("says_whether_compilation_is_enabled", variables);
        assert_eq!(lines(&output.stdout, "enabled: "), [format!("{enabled}").as_str(), "true"], "{variables:?}");
    };
    check(&[], true);
    for name in &VARIABLES[..2] {
        ["1", "yes", "true"].iter().for_each(|yes| check(&[(name, yes)], false));
        ["", "0", "false", "False"].iter().for_each(|no| check(&[(name, no)], true));
    }
    check(&[("MLX_DISABLE_COMPILE", "0"), ("LAZULI_DISABLE_COMPILE", "1")], false);
}

#[test]
#[ignore = "run in a process of its own"]
fn says_whether_compilation_is_enabled() {
    println!("\nenabled: {}", compile_is_enabled());
    enable_compile();
    println!("enabled: {}", compile_is_enabled());
}

#[test]
fn turning_compilation_off_acts_at_once_on_existing_functions_and_all_threads() {
    program("turns_compilation_off_and_on", &[]);
}

#[test]
#[ignore = "run in a process of its own"]
fn turns_compilation_off_and_on() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counter = runs.clone();
    let f = compile(move |x: &Array| {
        counter.fetch_add(1, Ordering::Relaxed);
        x.exp()
    });
    let x = array([1.0, 2.0]);
    let expected = f(&x).to_vec::<f32>();
    let check = |ran: usize| {
        assert_eq!(f(&x).to_vec::<f32>(), expected);
        let (f, x) = (f.clone(), x.clone());
        std::thread::spawn(move || f(&x)).join().unwrap();
        assert_eq!(runs.load(Ordering::Relaxed), ran);
    };
    check(1);
    disable_compile();
    check(3);
    enable_compile();
    check(3);
    set_compile_mode(CompileMode::Disabled);
    check(5);
}

#[test]
fn switching_within_a_training_loop_changes_nothing_but_speed() {
    type State = (Array, random::State);
    let step = compile(|(w, key): &mut State, x: &Array| {
        let noise = random::using(key, || random::normal([2]));
        *w = &*w - 0.1 * grad(|w: &Array| (w - x + &noise).square().sum(()))(&*w);
        w.sum(())
    });
    let losses = |modes: &[CompileMode]| {
        let mut state: State = (array([1.0, 2.0]), random::State::new(3));
        let losses: Vec<f32> = (0..8)
            .map(|n| {
                let _scope = compile_mode(modes[n % modes.len()]);
                step(&mut state, &array([1.0, 2.0])).item()
            })
            .collect();
        (losses, state.0.to_vec::<f32>(), state.1.key.to_vec::<u32>())
    };
    let expected = losses(&[CompileMode::Enabled]);
    assert_eq!(losses(&[CompileMode::Enabled, CompileMode::Disabled]), expected);
    assert_eq!(losses(&CompileMode::ALL), expected);
}

#[test]
fn a_verification_that_fails_leaves_state_alone() {
    let calls = AtomicUsize::new(0);
    let impure = compile(move |w: &mut Array, x: &Array| {
        *w = &*w + x * calls.fetch_add(1, Ordering::Relaxed) as f32;
    });
    let _scope = compile_mode(CompileMode::Verify);
    let mut w = array([1.0, 2.0]);
    let error = impure.try_call(&mut w, &array([1.0, 1.0])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Verification);
    assert_eq!(w.to_vec::<f32>(), [1.0, 2.0]);
}

#[test]
fn shapeless_functions_are_verified() {
    let scale = Arc::new(AtomicUsize::new(2));
    let read = scale.clone();
    let f = compile(move |x: &Array| x * read.load(Ordering::Relaxed) as f32).shapeless();
    let _scope = compile_mode(CompileMode::Verify);
    for n in [2, 3] {
        assert_eq!(f(&Array::ones([n], DType::F32)).to_vec::<f32>(), vec![2.0; n as usize]);
    }
    scale.store(3, Ordering::Relaxed);
    assert_eq!(f.try_call(&Array::ones([4], DType::F32)).unwrap_err().kind(), ErrorKind::Verification);
    assert_eq!(f.traces(), 1);
}

#[test]
fn modes_leave_out_their_stage() {
    let f = compile(|x: &Array| (-(-x)).exp() + 1.0);
    let check = |mode, kernels: &[&str], simplifies: bool| {
        let _scope = compile_mode(mode);
        let e = f.explain(&array([1.0, 2.0])).unwrap();
        let ops: Vec<String> = e.kernels().iter().map(|k| k.ops.join(" ")).collect();
        assert_eq!(ops, kernels, "{mode:?}");
        assert_eq!(e.lowered() != &e.traced, simplifies, "{mode:?}");
    };
    check(CompileMode::Enabled, &["exp add"], true);
    check(CompileMode::NoSimplify, &["negative negative exp add"], false);
    check(CompileMode::NoFuse, &["exp", "add"], true);
    // Neither runs the function on values, though calls would.
    check(CompileMode::Verify, &["exp add"], true);
    check(CompileMode::Disabled, &["exp add"], true);
}

#[test]
fn events_are_logged() {
    let run = |topics| {
        let output = program("is_traced_twice", &[("LAZULI_LOG", topics)]);
        lines(&output.stderr, "lazuli: ").iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()
    };
    assert!(run("").is_empty());
    let recompiles = run("recompiles");
    assert_eq!(recompiles.len(), 2, "{recompiles:?}");
    assert!(recompiles[0].ends_with(": for the first call") && recompiles[0].contains("switches.rs"), "{recompiles:?}");
    assert!(recompiles[1].ends_with(": argument 0.shape[0] was 2, is 3"), "{recompiles:?}");
    let kernels = run("kernels");
    assert!(kernels[0].ends_with("is compiled to 1 step") && kernels[1] == "  kernel: negative exp", "{kernels:?}");
    assert_eq!(run("recompiles,kernels").len(), recompiles.len() + kernels.len());
    assert!(run("everything")[0].ends_with("none of: recompiles, kernels"));
}

#[test]
#[ignore = "run in a process of its own"]
fn is_traced_twice() {
    let f = compile(|x: &Array| (-x).exp());
    for n in [2, 2, 3] {
        f(&Array::ones([n], DType::F32)).eval();
    }
}

#[test]
fn work_is_counted() {
    program("counts_work", &[]);
}

#[test]
#[ignore = "run in a process of its own"]
fn counts_work() {
    let f = compile(|x: &Array| x.exp() * 0.5 - x.tanh());
    let counted = |n: isize| {
        let x = Array::ones([n], DType::F32);
        x.eval();
        let before = compile_stats();
        f(&x).eval();
        let after = compile_stats();
        let of = |count: fn(&lazuli::CompileStats) -> u64| count(&after) - count(&before);
        [of(|s| s.traces), of(|s| s.simplifications), of(|s| s.plans), of(|s| s.kernels), of(|s| s.hits)]
    };
    assert_eq!(counted(8), [1, 1, 1, 1, 0]);
    assert_eq!(counted(8), [0, 0, 0, 0, 1]);
    assert_eq!(counted(9), [1, 1, 1, 0, 0], "code is shared");
    assert_eq!(counted(8), [0, 0, 0, 0, 1]);
}
