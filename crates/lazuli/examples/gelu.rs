//! The README's example: a function op by op and compiled.

use lazuli::{Array, compile, random};
use std::time::Instant;

fn gelu(x: &Array) -> Array {
    x * (1.0 + (x / 2f32.sqrt()).erf()) / 2.0
}

fn main() {
    let x = random::uniform([1000, 4096]);
    let fast = compile(gelu);
    println!("{}", fast(&x).index((..1, ..4)));
    time(|| gelu(&x));
    time(|| fast(&x));
}

/// Prints the mean time of a hundred calls.
fn time(call: impl Fn() -> Array) {
    call().eval();
    let began = Instant::now();
    for _ in 0..100 {
        call().eval();
    }
    println!("{:.2} ms", began.elapsed().as_secs_f64() * 10.0);
}
