//! The README's example: a function op by op and compiled.

use lazuli::{Array, DType, Result, compile, random};
use std::time::Instant;

fn gelu(x: &Array) -> Array {
    x * (1.0 + (x / 2f32.sqrt()).erf()) / 2.0
}

fn main() -> Result<()> {
    let x = random::uniform(0.0, 1.0, [1000, 4096], DType::F32, &random::key(0))?;
    let fast = compile(gelu);
    println!("{}", fast(&x).slice_axis(0, 0, 1).slice_axis(1, 0, 4));
    time(|| gelu(&x));
    time(|| fast(&x));
    Ok(())
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
