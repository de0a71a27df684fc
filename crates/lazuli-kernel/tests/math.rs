//! The elementary functions keep the errors that their table states, sampled. `cargo xtask ulp` visits every f32.

use lazuli_kernel::Interpreter;
use lazuli_kernel::math::{FUNCTIONS, Function};
use lazuli_kernel::testing::Rng;
use lazuli_kernel::testing::accuracy::{EDGES, Worst, measure_f32, measure_f64};

/// Asserts that `measure` finds no function worse than the `bound` that its row states; says all that are.
fn check(bound: fn(&Function) -> f64, measure: impl Fn(&Function) -> Result<Worst, String> + Sync) {
    let faults = |functions: &[Function]| -> Vec<String> {
        let fault = |function: &Function| match measure(function) {
            Ok(worst) if worst.points > 100 && worst.ulp <= bound(function) => None,
            found => Some(format!("[{}] {} ULP are documented; found {found:?}", function.name, bound(function))),
        };
        functions.iter().filter_map(fault).collect()
    };
    let (first, second) = FUNCTIONS.split_at(FUNCTIONS.len() / 2);
    let faults = std::thread::scope(|scope| {
        let first = scope.spawn(|| faults(first));
        let second = faults(second);
        [first.join().expect("measuring does not panic"), second].concat()
    });
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Edges (all pairs of them), bit patterns from end to end, and pairs of like magnitude.
fn points(function: &Function) -> Vec<[f32; 2]> {
    let edges: Vec<f32> = EDGES.iter().flat_map(|&v| [v, -v]).collect();
    if function.arity() == 1 {
        let sampled = (0..=u32::MAX).step_by(199_967).map(f32::from_bits);
        return edges.into_iter().chain(sampled).map(|x| [x, 0.0]).collect();
    }
    let mut rng = Rng(1);
    let pairs = edges.iter().flat_map(|&x| edges.iter().map(move |&y| [x, y]));
    let mut points: Vec<[f32; 2]> = pairs.collect();
    for _ in 0..6_000 {
        let bits = rng.bits();
        points.push([f32::from_bits(bits as u32), f32::from_bits((bits >> 32) as u32)]);
        let x = rng.real(20.0) as f32;
        points.push([x, x + rng.real(10.0) as f32]);
        points.push([x.abs(), (rng.real(140.0) / (x.abs() as f64).log2()) as f32]);
    }
    points
}

#[test]
fn f32_errors_are_as_documented() {
    check(|f| f.max_ulp_f32, |f| measure_f32(&Interpreter::default(), f, &points(f)));
}

#[test]
fn f64_errors_are_as_documented() {
    check(
        |f| f.max_ulp_f64,
        |f| {
            let path = format!("{}/tests/data/f64/{}.bin", env!("CARGO_MANIFEST_DIR"), f.name);
            let records = std::fs::read(&path).map_err(|e| format!("{path}: {e}; tools/math_reference.py makes it"))?;
            measure_f64(&Interpreter::default(), f, &records)
        },
    );
}
