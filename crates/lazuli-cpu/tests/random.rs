//! Random kernels on each instruction set against the interpreter, bit for bit.

use lazuli_cpu::{Cpu, Isa};
use lazuli_kernel::testing::{Case, DTYPES, NestKind, check_backends, random_call, random_case, random_scatter};
use lazuli_kernel::{DType, Interpreter};

/// `LAZULI_RANDOM_CASES` asks for more.
fn cases() -> u64 {
    std::env::var("LAZULI_RANDOM_CASES").ok().and_then(|v| v.parse().ok()).unwrap_or(60)
}

fn check(isa: Isa, kind: NestKind, dtypes: &[DType]) {
    let Ok(cpu) = Cpu::with_isa_and_threads(isa, 2) else { return };
    let judge = Interpreter::default();
    for seed in 0..cases() {
        let case = random_case(seed, kind, dtypes);
        // Some with several bindings.
        let case = if seed % 4 == 0 { case.side_by_side(3) } else { case };
        if let Err(e) = check_backends(&judge, &cpu, &case.plan, &case.inputs) {
            panic!("seed {seed}, {kind:?} of {dtypes:?} on {isa:?}: {e}");
        }
    }
}

/// Each dtype by itself, then all together.
fn check_all(isa: Isa, kind: NestKind) {
    for dtype in DTYPES {
        check(isa, kind, &[dtype]);
    }
    check(isa, kind, &[DType::F32]);
    check(isa, kind, &DTYPES);
}

macro_rules! tests {
    ($($name:ident: $isa:ident $kind:ident;)*) => {
        $( #[test] fn $name() { check_all(Isa::$isa, NestKind::$kind) } )*
    };
}
tests! {
    maps_on_avx512: Avx512 Map;
    maps_on_avx2: Avx2 Map;
    reductions_on_avx512: Avx512 Reduce;
    reductions_on_avx2: Avx2 Reduce;
    rows_on_avx512: Avx512 Rows;
    rows_on_avx2: Avx2 Rows;
    scans_on_avx512: Avx512 Scan;
    scans_on_avx2: Avx2 Scan;
    recurrences_on_avx512: Avx512 Recurrence;
    recurrences_on_avx2: Avx2 Recurrence;
    scatters_on_avx512: Avx512 Scatter;
    scatters_on_avx2: Avx2 Scatter;
}

/// Products with and without epilogues, and sorts.
#[test]
fn calls() {
    check_cases(random_call);
}

/// Scatters with the maps that follow them.
#[test]
fn scatters_onwards() {
    check_cases(random_scatter);
}

fn check_cases(case: fn(u64) -> Case) {
    let judge = Interpreter::default();
    for isa in [Isa::Avx512, Isa::Avx2] {
        let Ok(cpu) = Cpu::with_isa_and_threads(isa, 2) else { continue };
        for seed in 0..10 * cases() {
            let case = case(seed);
            if let Err(e) = check_backends(&judge, &cpu, &case.plan, &case.inputs) {
                panic!("seed {seed} on {isa:?}: {e}");
            }
        }
    }
}
