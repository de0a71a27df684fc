//! Elementary functions as machine code: the bits of the interpreter, whichever way each lane goes, and the errors that their table states.

use lazuli_cpu::{Cpu, Isa};
use lazuli_kernel::math::{FUNCTIONS, Function};
use lazuli_kernel::testing::accuracy::{EDGES, measure_f64, plan};
use lazuli_kernel::testing::{Rng, check_backends};
use lazuli_kernel::{DType, Interpreter, Scalar};

const RUN: usize = 64;

/// Runs of numbers that are all moderate, all wild, and mixed: code that is jumped over where no lane needs it is jumped over, is not, and is needed by some.
fn numbers(seed: u64, dtype: DType, n: usize) -> Vec<u8> {
    let mut rng = Rng(seed);
    let mut number = |i: usize| {
        let wild = match i / RUN % 3 {
            0 => false,
            1 => true,
            _ => rng.once_in(8),
        };
        match (wild, rng.below(4)) {
            (false, _) => Scalar::from_f64(dtype, rng.real(4.0)),
            (true, 0) => Scalar::from_f64(dtype, rng.pick(&EDGES) as f64),
            (true, _) => Scalar::from_bytes(dtype, &rng.bits().to_le_bytes()),
        }
    };
    (0..n).flat_map(|i| number(i).to_bytes()).collect()
}

fn check(isa: Isa, dtype: DType) {
    let Ok(cpu) = Cpu::with_isa_and_threads(isa, 1) else { return };
    let n = 24 * RUN + 5;
    for function in FUNCTIONS {
        let inputs: Vec<Vec<u8>> = (0..function.arity() as u64).map(|seed| numbers(seed, dtype, n)).collect();
        if let Err(e) = check_backends(&Interpreter::default(), &cpu, &plan(function, dtype, n), &inputs) {
            panic!("{} of {dtype} on {isa:?}: {e}", function.name);
        }
    }
}

#[test]
fn bits_are_those_of_the_interpreter() {
    for isa in [Isa::Avx512, Isa::Avx2] {
        check(isa, DType::F32);
        check(isa, DType::F64);
    }
}

#[test]
fn f64_errors_are_as_documented() {
    let error = |cpu: &Cpu, function: &Function| {
        let path = format!("{}/../lazuli-kernel/tests/data/f64/{}.bin", env!("CARGO_MANIFEST_DIR"), function.name);
        measure_f64(cpu, function, &std::fs::read(&path).unwrap()).unwrap()
    };
    for isa in [Isa::Avx512, Isa::Avx2] {
        let Ok(cpu) = Cpu::with_isa_and_threads(isa, 1) else { continue };
        for function in FUNCTIONS {
            let worst = error(&cpu, function);
            assert!(worst.ulp <= function.max_ulp_f64, "{} on {isa:?}: {worst:?}", function.name);
        }
    }
}
