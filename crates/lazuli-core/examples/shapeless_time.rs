//! What a new shape costs a shapeless function, beside a shape that it was called with before: medians over many shapes, in microseconds.
//!
//! `cargo run --profile fast -p lazuli-core --example shapeless_time [part of a name]`

use lazuli_core::ops::{self, Item};
use lazuli_core::{Array, DType, Result, compile, grad};
use std::time::Instant;

type Function = fn(&Array) -> Result<Array>;

const FUNCTIONS: &[(&str, Function)] = &[
    ("gelu", |x| Ok(x * (1.0 + (x / std::f32::consts::SQRT_2).erf()) / 2.0f32)),
    ("softmax", |x| Ok(x.softmax(-1))),
    ("layer_norm", |x| ops::layer_norm(x, None, None, 1e-5)),
    ("random bits", |x| Ok(x + ops::random::uniform(0.0f32, 1.0f32, x.dims(), DType::F32, &ops::random::key(1))?)),
    ("slices", |x| Ok(x.slice_axis(0, 1, isize::MAX) - x.slice_axis(0, 0, -1))),
    ("gather", |x| ops::get(x, &[Item::Array(ops::argmax(x, Some(0), false)?)])),
    ("concatenate", |x| ops::concatenate(&[x.clone(), x * 2.0f32, x.exp()], 0)),
    ("matmul", |x| Ok(x.matmul(&x.t()))),
    ("network of 3 layers", |x| {
        let w = Array::from_slice(&[0.1f32; 64], &[8, 8]);
        Ok((0..3).fold(x.clone(), |y, _| (y.matmul(&w) + w.slice_axis(0, 0, 1)).tanh()))
    }),
    ("attention", |x| {
        let w = Array::from_slice(&[0.1f32; 64], &[8, 8]);
        let (q, k, v) = (x.matmul(&w), x.matmul(&w.t()), x.matmul(&(&w + 1.0f32)));
        Ok((q.matmul(&k.t()) / 8.0f32).softmax(-1).matmul(&v))
    }),
    ("roll (made anew)", |x| ops::roll(x, 1, 0)),
    ("grad of mean", |x| Ok(grad(|x: &Array| (x.sin() * x).mean(()))(x))),
    ("grad of a network of 3 layers", |x| {
        let w = Array::from_slice(&[0.1f32; 64], &[8, 8]);
        let loss = |w: &Array| {
            let y = (0..3).fold(x.clone(), |y, _| (y.matmul(w) + w.slice_axis(0, 0, 1)).tanh());
            y.square().mean(())
        };
        Ok(grad(loss)(&w))
    }),
    ("training step of 3 layers", |x| {
        let w = Array::from_slice(&[0.1f32; 64], &[8, 8]);
        let classes = ops::argmax(x, Some(1), true)?;
        let loss = |w: &Array| {
            let y = (0..3).fold(x.clone(), |y, _| (y.matmul(w) + w.slice_axis(0, 0, 1)).maximum(0.0f32));
            let chosen = y.take_along_axis(&classes, 1).sum(1);
            (y.logsumexp(1) - chosen).mean(())
        };
        Ok(&w - grad(loss)(&w) * 0.1f32)
    }),
];

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    println!("{:>30} {:>10} {:>10} {:>10}", "", "new", "repeated", "extra");
    for &(name, f) in FUNCTIONS.iter().filter(|(name, _)| name.contains(&wanted)) {
        let compiled = compile(move |x: &Array| f(x)).shapeless();
        let inputs: Vec<Array> = (4..60).map(|n| Array::from_slice(&vec![0.5f32; n * 8], &[n, 8])).collect();
        let median = |inputs: &[Array]| -> f64 {
            let time = |x| {
                let begin = Instant::now();
                compiled(x).expect("shapes that fit").eval();
                begin.elapsed().as_secs_f64() * 1e6
            };
            let mut times: Vec<f64> = inputs.iter().map(time).collect();
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        };
        // The first shapes generate the code that the others use.
        median(&inputs[..8]);
        let new = median(&inputs[8..]);
        let repeated = median(&inputs[8..]);
        assert_eq!(compiled.traces(), 1);
        println!("{name:>30} {new:>10.1} {repeated:>10.1} {:>10.1}", new - repeated);
    }
}
