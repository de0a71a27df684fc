//! Time of a call of a compiled function, and of running what it recorded:
//! `cargo run --profile fast -p lazuli-core --example call_time [calls]`.
//!
//! Prints nanoseconds per call: the best and the median of samples that take turns. With a number of calls it makes just those of
//! `exp(-x) + y`, for an instruction counter.

use lazuli_core::{Array, array, compile, eval};
use std::hint::black_box;
use std::time::Instant;

const CALLS: usize = 2_000;
const SAMPLES: usize = 101;

fn main() {
    let f = compile(|x: &Array, y: &Array| (-x).exp() + y);
    let (x, y) = (array(1.0), array(2.0));
    let scalars = || eval(&[f(&x, &y)]).expect("two numbers");
    scalars();
    if let Some(calls) = std::env::args().nth(1) {
        let calls: usize = calls.parse().expect("a number of calls");
        (0..calls).for_each(|_| scalars());
        return;
    }
    let (a, b) = (Array::from_slice(&[0.5f32; 100], &[10, 10]), Array::from_slice(&[0.5f32; 100], &[10, 10]));
    let step = compile(|s: &mut (Array, Array), x: &Array| {
        s.1 = &s.1 * 0.9 + x;
        s.0 = &s.0 - &s.1 * 0.1;
    });
    let mut state = (a.clone(), b.clone());
    let mut update = || {
        step(&mut state, &x);
        eval(&[state.0.clone(), state.1.clone()]).expect("an update");
    };
    let mut rows: [(&str, &mut dyn FnMut()); 4] = [
        ("exp(-x) + y of scalars, call and eval", &mut || scalars()),
        ("the call alone, and dropping its result", &mut || drop(black_box(f(&x, &y)))),
        ("the same without compile, and eval", &mut || eval(&[(-&x).exp() + &y]).expect("two numbers")),
        ("an update of state of two arrays of 100, and eval", &mut update),
    ];
    let mut samples = vec![Vec::new(); rows.len()];
    for _ in 0..SAMPLES {
        for ((_, run), samples) in rows.iter_mut().zip(&mut samples) {
            let start = Instant::now();
            (0..CALLS).for_each(|_| run());
            samples.push(start.elapsed().as_nanos() as f64 / CALLS as f64);
        }
    }
    for ((name, _), samples) in rows.iter().zip(&mut samples) {
        samples.sort_by(f64::total_cmp);
        println!("{name:50} best {:7.0} ns, median {:7.0} ns", samples[0], samples[SAMPLES / 2]);
    }
}
