//! The README's example: a function op by op and compiled.

use lazuli_core::{Array, DType, Options, Program, Result, eval, random};
use std::sync::Arc;
use std::time::Instant;

fn gelu(x: &Array) -> Array {
    x * (1.0 + (x / 2f32.sqrt()).erf()) / 2.0
}

fn main() -> Result<()> {
    let x = random::uniform(0.0, 1.0, &[1000, 4096], DType::F32, &random::key(0))?;
    eval(std::slice::from_ref(&x))?;
    let fast = Arc::new(Program::trace("gelu", &[x.aval().clone()], Options::COMPILE, |x| Ok(vec![gelu(&x[0])]))?);
    println!("{}", fast.call(std::slice::from_ref(&x))?[0].slice_axis(0, 0, 1).slice_axis(1, 0, 4));
    time(|| eval(&[gelu(&x)]))?;
    time(|| eval(&fast.call(std::slice::from_ref(&x))?))
}

/// Prints the mean time of a hundred calls.
fn time(call: impl Fn() -> Result<()>) -> Result<()> {
    call()?;
    let began = Instant::now();
    for _ in 0..100 {
        call()?;
    }
    println!("{:.2} ms", began.elapsed().as_secs_f64() * 10.0);
    Ok(())
}
