//! Measures the errors of the elementary functions, as machine code of each instruction set that the processor has, over all f32 inputs (of one argument; pairs
//! are drawn at random).
//!
//!     cargo run --release -p lazuli-cpu --example ulp -- [NAME ...] [--step N] [--isa avx512|avx2|interpreter]
//!
//! `--step N` visits every Nth bit pattern, and 2³²/N pairs. At every 1,000th chunk of points the interpreter must give the same bits. Results are judged as `lazuli_kernel::testing::accuracy` says. Fails if a function
//! exceeds the error that its table states.

use lazuli_cpu::{Cpu, Isa};
use lazuli_kernel::math::{FUNCTIONS, Function};
use lazuli_kernel::testing::accuracy::{Worst, measure_f32, plan};
use lazuli_kernel::testing::{Rng, check_backends};
use lazuli_kernel::{DType, Interpreter};
use std::process::ExitCode;
use std::time::Instant;

const CHUNK: u64 = 1 << 16;
/// One chunk in so many goes to the interpreter as well.
const COMPARED: u64 = 1000;

/// Points number `first..first + CHUNK` of a sweep.
fn points(function: &Function, first: u64, step: u64) -> Vec<[f32; 2]> {
    let mut rng = Rng(first);
    let mut pair = |i: u64| {
        let bits = rng.bits();
        let (x, y) = (f32::from_bits(bits as u32), f32::from_bits((bits >> 32) as u32));
        match i % 4 {
            0 => [x, y],
            // Where atan2 is at its worst.
            3 => [x, (x as f64 * (1.0 + rng.real(0.01))) as f32],
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

/// Asserts that the interpreter gives the same bits.
fn compare(cpu: &Cpu, function: &Function, points: &[[f32; 2]]) {
    let operand = |i: usize| points.iter().flat_map(|p| p[i].to_le_bytes()).collect();
    let inputs: Vec<Vec<u8>> = (0..function.arity()).map(operand).collect();
    let plan = plan(function, DType::F32, points.len());
    check_backends(&Interpreter::default(), cpu, &plan, &inputs).unwrap_or_else(|e| panic!("{}: {e}", function.name));
}

fn sweep(isa: Isa, function: &Function, step: u64) -> Worst {
    let total = (1u64 << 32).div_ceil(step);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()) as u64;
    let part = |thread: u64| {
        // One backend a thread: those of one stream would wait for one another.
        let cpu = Cpu::with_isa_and_threads(isa, 1).expect("the instruction set is there");
        let mut worst = Worst::default();
        for first in (thread * CHUNK..total).step_by((threads * CHUNK) as usize) {
            let points = points(function, first, step);
            if isa != Isa::Interpreter && (first / CHUNK).is_multiple_of(COMPARED) {
                compare(&cpu, function, &points);
            }
            let found = measure_f32(&cpu, function, &points);
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
    let mut sets = vec![Isa::Avx512, Isa::Avx2];
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--step" {
            let given = arguments.next().and_then(|n| n.parse().ok()).filter(|&n| n > 0);
            let Some(n) = given else {
                eprintln!("--step takes a positive number");
                return ExitCode::FAILURE;
            };
            step = n;
        } else if argument == "--isa" {
            sets = match arguments.next().as_deref() {
                Some("avx512") => vec![Isa::Avx512],
                Some("avx2") => vec![Isa::Avx2],
                Some("interpreter") => vec![Isa::Interpreter],
                _ => {
                    eprintln!("--isa takes avx512, avx2 or interpreter");
                    return ExitCode::FAILURE;
                }
            };
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
    sets.retain(|isa| isa.is_available());
    if sets.is_empty() {
        eprintln!("this processor has none of the instruction sets asked for");
        return ExitCode::FAILURE;
    }
    let mut code = ExitCode::SUCCESS;
    let wanted = FUNCTIONS.iter().filter(|f| names.is_empty() || names.iter().any(|n| n == f.name));
    for (function, &isa) in wanted.flat_map(|f| sets.iter().map(move |isa| (f, isa))) {
        let start = Instant::now();
        let Worst { ulp, operands: [x, y], got, want, points } = sweep(isa, function, step);
        let at = if function.arity() == 1 { format!("{x:e}") } else { format!("({x:e}, {y:e})") };
        let verdict = if ulp <= function.max_ulp_f32 { "" } else { "  EXCEEDS the documented error" };
        println!(
            "{:<10} {:<14} {ulp:.4} ULP (documented {}) at {at}: got {got:e}, want {want:e}; {points} points in {:.0} s{verdict}",
            function.name,
            isa.name(),
            function.max_ulp_f32,
            start.elapsed().as_secs_f64()
        );
        if !verdict.is_empty() {
            code = ExitCode::FAILURE;
        }
    }
    code
}
