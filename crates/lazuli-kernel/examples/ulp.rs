//! Measures the errors of the elementary functions over all f32 inputs (of one argument; pairs are drawn at random).
//!
//!     cargo run --release -p lazuli-kernel --example ulp -- [NAME ...] [--step N]
//!
//! `--step N` visits every Nth bit pattern, and 2³²/N pairs. Results are judged as `lazuli_kernel::testing::accuracy` says. Fails if a function
//! exceeds the error that its table states.

use lazuli_kernel::math::{FUNCTIONS, Function};
use lazuli_kernel::testing::Rng;
use lazuli_kernel::testing::accuracy::{Worst, measure_f32};
use lazuli_kernel::{Backend, Interpreter};
use std::process::ExitCode;
use std::time::Instant;

const CHUNK: u64 = 1 << 16;

/// Points number `first..first + CHUNK` of a sweep.
fn points(function: &Function, first: u64, step: u64) -> Vec<[f32; 2]> {
    let mut rng = Rng(first);
    let mut pair = |i: u64| {
        let bits = rng.bits();
        let (x, y) = (f32::from_bits(bits as u32), f32::from_bits((bits >> 32) as u32));
        match i % 3 {
            0 => [x, y],
            1 => [x.abs(), (rng.real(150.0) / (x.abs() as f64).log2()) as f32],
            _ => {
                let x = rng.real(40.0) as f32;
                [x, x + rng.real(20.0) as f32]
            }
        }
    };
    let numbers = (first..first + CHUNK).map(|i| i * step).take_while(|&i| i < 1 << 32);
    if function.arity() == 2 {
        numbers.map(&mut pair).collect()
    } else {
        numbers.map(|i| [f32::from_bits(i as u32), 0.0]).collect()
    }
}

fn sweep(backend: &dyn Backend, function: &Function, step: u64) -> Worst {
    let total = (1u64 << 32).div_ceil(step);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()) as u64;
    let part = |thread: u64| {
        let mut worst = Worst::default();
        for first in (thread * CHUNK..total).step_by((threads * CHUNK) as usize) {
            let found = measure_f32(backend, function, &points(function, first, step));
            worst = worst.merge(found.unwrap_or_else(|e| panic!("{e}")));
        }
        worst
    };
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads).map(|t| scope.spawn(move || part(t))).collect();
        parts.into_iter().map(|p| p.join().expect("a sweep does not panic")).fold(Worst::default(), Worst::merge)
    })
}

fn main() -> ExitCode {
    let mut step = 1;
    let mut names = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--step" {
            let given = arguments.next().and_then(|n| n.parse().ok()).filter(|&n| n > 0);
            let Some(n) = given else {
                eprintln!("--step takes a positive number");
                return ExitCode::FAILURE;
            };
            step = n;
        } else if FUNCTIONS.iter().any(|f| f.name == argument) {
            names.push(argument);
        } else {
            eprintln!(
                "there is no function '{argument}'; there are {}",
                FUNCTIONS.iter().map(|f| f.name).collect::<Vec<_>>().join(", ")
            );
            return ExitCode::FAILURE;
        }
    }
    let backend = Interpreter::default();
    let mut code = ExitCode::SUCCESS;
    for function in FUNCTIONS.iter().filter(|f| names.is_empty() || names.iter().any(|n| n == f.name)) {
        let start = Instant::now();
        let Worst { ulp, operands: [x, y], got, want, points } = sweep(&backend, function, step);
        let at = if function.arity() == 1 { format!("{x:e}") } else { format!("({x:e}, {y:e})") };
        let verdict = if ulp <= function.max_ulp_f32 { "" } else { "  EXCEEDS the documented error" };
        println!(
            "{:<10} {ulp:.4} ULP (documented {}) at {at}: got {got:e}, want {want:e}; {points} points in {:.0} s{verdict}",
            function.name,
            function.max_ulp_f32,
            start.elapsed().as_secs_f64()
        );
        if !verdict.is_empty() {
            code = ExitCode::FAILURE;
        }
    }
    code
}
