//! What small random kernels do not reach: several threads, several blocks of a reduction, stores past the caches, library calls.

use lazuli_cpu::{Cpu, Isa};
use lazuli_kernel::testing::{Rng, check_backends, run};
use lazuli_kernel::{Arg, Backend, Binding, DType, Interpreter, LibraryCall, Plan, Scalar, Slot, Step, shape};
use std::sync::Arc;

fn backends() -> Vec<Cpu> {
    let all = [(Isa::Avx512, 1), (Isa::Avx512, 3), (Isa::Avx2, 3)];
    all.into_iter().filter_map(|(isa, threads)| Cpu::with_isa_and_threads(isa, threads).ok()).collect()
}

fn random(n: usize, dtype: DType) -> Vec<u8> {
    let mut rng = Rng(n as u64);
    (0..n).flat_map(|_| rng.scalar(dtype, true).to_bytes()).collect()
}

fn arg(slot: Slot, strides: &[isize]) -> Arg {
    Arg { slot, offset: 0, strides: strides.into(), len: 0 }
}

/// One input and one output of f32, the output's elements numbered by `out` strides.
fn check(kernel: &str, extents: &[usize], input: &[isize], output: &[isize], elements: usize) {
    let n = shape::size(extents);
    let plan = Plan {
        inputs: vec![4 * n],
        outputs: vec![4 * elements],
        steps: vec![Step::launch(
            Arc::new(kernel.parse().unwrap()),
            Binding {
                extents: extents.into(),
                args: vec![arg(Slot::Input(0), input), arg(Slot::Output(0), output)],
                params: vec![],
            },
        )],
        ..Plan::default()
    };
    for cpu in backends() {
        check_backends(&Interpreter::default(), &cpu, &plan, &[random(n, DType::F32)]).unwrap();
    }
}

const SQUARE: &str =
    "kernel rank 2 vector 1 (in f32 unit, out f32 unit) { %0 = load 0 %1 = mul %0, %0 map { store 1 <- %1 } }";

#[test]
fn maps() {
    // 25 MB and more are stored past the caches, where rows are aligned.
    for extents in [[2600, 2560], [2573, 2561], [1, 7_000_001], [600_000, 3]] {
        let row = extents[1] as isize;
        check(SQUARE, &extents, &[row, 1], &[row, 1], extents[0] * extents[1]);
    }
}

#[test]
fn reductions() {
    for (combine, vector) in [("sum", 1), ("sum", 0), ("max", 1), ("argmin", 1), ("argmin", 0)] {
        let epilogue = match combine {
            "argmin" => "%1 = reduced_index 0 %2 = cast f32 %1 store 1 <- %2",
            _ => "%1 = reduced 0 store 1 <- %1",
        };
        // The output does not move along the reduced axis.
        let out = if vector == 1 { "broadcast" } else { "unit" };
        let kernel = format!(
            "kernel rank 2 vector {vector} (in f32 unit, out f32 {out}) {{ %0 = load 0 reduce axes 1 ({combine} %0) {{ \
             {epilogue} }} }}"
        );
        for [kept, n] in [[1, 1_000_003], [3, 70_000], [700, 1000], [1500, 9000], [40_000, 17], [5, 4096 * 5]] {
            let strides = if vector == 1 { [n as isize, 1] } else { [1, kept as isize] };
            check(&kernel, &[kept, n], &strides, &[1, 0], kept);
        }
    }
}

#[test]
fn products_depend_on_shape_alone() {
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        for [m, n, k] in
            [[2, 3, 5], [17, 33, 300], [257, 130, 190], [1, 300, 257], [300, 1, 257], [1, 1, 5000], [4, 4, 0]]
        {
            let (a, b) = (random(m * k, dtype), random(k * n, dtype));
            let transpose = |bytes: &[u8], rows: usize, columns: usize| -> Vec<u8> {
                let size = dtype.itemsize();
                let at = |i: usize, j: usize| bytes[(i * columns + j) * size..][..size].to_vec();
                (0..columns).flat_map(|j| (0..rows).flat_map(move |i| at(i, j)).collect::<Vec<u8>>()).collect()
            };
            let plan = |a_strides: [isize; 2], b_strides: [isize; 2]| Plan {
                inputs: vec![a.len(), b.len()],
                outputs: vec![m * n * dtype.itemsize()],
                steps: vec![Step::Call(Box::new(LibraryCall::Matmul {
                    dtype,
                    batch: [].into_iter().collect(),
                    m,
                    n,
                    k,
                    a: arg(Slot::Input(0), &a_strides),
                    b: arg(Slot::Input(1), &b_strides),
                    c: arg(Slot::Output(0), &[n as isize, 1]),
                }))],
                ..Plan::default()
            };
            let plain = plan([k as isize, 1], [n as isize, 1]);
            let turned = plan([1, m as isize], [1, k as isize]);
            let turned_inputs = [transpose(&a, m, k), transpose(&b, k, n)];
            let want = run(&Interpreter::default(), &plain, &[a.clone(), b.clone()]).unwrap().remove(0);
            let mut first: Option<Vec<u8>> = None;
            for cpu in backends() {
                let got = run(&cpu, &plain, &[a.clone(), b.clone()]).unwrap().remove(0);
                let other = run(&cpu, &turned, &turned_inputs).unwrap().remove(0);
                assert!(got == other, "{dtype} ({m}, {n}, {k}): the layout changes the result");
                assert!(*first.get_or_insert(got.clone()) == got, "{dtype} ({m}, {n}, {k}): threads change the result");
                let number = |bytes: &[u8]| Scalar::from_bytes(dtype, bytes).to_f64();
                let tolerance = match dtype {
                    DType::F64 => 1e-12,
                    DType::F32 => 1e-5,
                    DType::F16 => 2e-3,
                    _ => 1e-2,
                };
                for (w, g) in want.chunks_exact(dtype.itemsize()).zip(got.chunks_exact(dtype.itemsize())) {
                    let (w, g) = (number(w), number(g));
                    let scale = 16.0 * (k as f64).sqrt().max(1.0);
                    assert!((w - g).abs() <= tolerance * (scale + w.abs()), "{dtype} ({m}, {n}, {k}): {w} and {g}");
                }
            }
        }
    }
}

#[test]
fn batches_of_products() {
    // (4, 1) of a against (1, 3) of b, by strides of 0.
    let (m, n, k) = (9, 20, 31);
    let plan = Plan {
        inputs: vec![4 * m * k * 8, 3 * k * n * 8],
        outputs: vec![12 * m * n * 8],
        steps: vec![Step::Call(Box::new(LibraryCall::Matmul {
            dtype: DType::F64,
            batch: [4, 3].into_iter().collect(),
            m,
            n,
            k,
            a: arg(Slot::Input(0), &[(m * k) as isize, 0, k as isize, 1]),
            b: arg(Slot::Input(1), &[0, (k * n) as isize, n as isize, 1]),
            c: arg(Slot::Output(0), &[(3 * m * n) as isize, (m * n) as isize, n as isize, 1]),
        }))],
        ..Plan::default()
    };
    let inputs = [random(4 * m * k, DType::F64), random(3 * k * n, DType::F64)];
    let want = run(&Interpreter::default(), &plan, &inputs).unwrap().remove(0);
    for cpu in backends() {
        let got = run(&cpu, &plan, &inputs).unwrap().remove(0);
        for (w, g) in want.chunks_exact(8).zip(got.chunks_exact(8)) {
            let number = |b| Scalar::from_bytes(DType::F64, b).to_f64();
            assert!((number(w) - number(g)).abs() < 1e-10);
        }
    }
}

#[test]
fn sorts() {
    for dtype in DType::ALL {
        for indices in [false, true] {
            for [rows, n] in [[1, 1], [3, 100], [40, 1000], [5, 0]] {
                let to = if indices { DType::U32 } else { dtype };
                let plan = Plan {
                    inputs: vec![rows * n * dtype.itemsize()],
                    outputs: vec![rows * n * to.itemsize()],
                    steps: vec![Step::Call(Box::new(LibraryCall::Sort {
                        dtype,
                        rows: [rows].into_iter().collect(),
                        n,
                        indices,
                        input: arg(Slot::Input(0), &[1, rows as isize]),
                        output: arg(Slot::Output(0), &[n as isize, 1]),
                    }))],
                    ..Plan::default()
                };
                let mut rng = Rng(7);
                let input: Vec<u8> = (0..rows * n).flat_map(|i| rng.scalar(dtype, i % 3 == 0).to_bytes()).collect();
                for cpu in backends() {
                    check_backends(&Interpreter::default(), &cpu, &plan, std::slice::from_ref(&input)).unwrap();
                }
            }
        }
    }
}

#[test]
fn bindings_run_side_by_side() {
    const SUM: &str = "kernel rank 2 vector 1 (in f32 unit, out f32 broadcast) {
        %0 = load 0 reduce axes 1 (sum %0) { %1 = reduced 0 store 1 <- %1 } }";
    for (kernel, is_sum) in [(SQUARE, false), (SUM, true)] {
        for sizes in [&[5, 100_000, 0, 700_000, 1, 64][..], &[3; 100], &[20_000; 30]] {
            let bindings = sizes.iter().enumerate().map(|(i, &n)| Binding {
                extents: [1, n].into_iter().collect(),
                args: vec![
                    arg(Slot::Input(i as u32), &[n as isize, 1]),
                    arg(Slot::Output(i as u32), &[n as isize, !is_sum as isize]),
                ],
                params: vec![],
            });
            let plan = Plan {
                inputs: sizes.iter().map(|n| 4 * n).collect(),
                outputs: sizes.iter().map(|n| if is_sum { 4 } else { 4 * n }).collect(),
                steps: vec![Step::Launch { kernel: Arc::new(kernel.parse().unwrap()), bindings: bindings.collect() }],
                ..Plan::default()
            };
            let inputs: Vec<Vec<u8>> = sizes.iter().map(|&n| random(n, DType::F32)).collect();
            for cpu in backends() {
                check_backends(&Interpreter::default(), &cpu, &plan, &inputs).unwrap();
            }
        }
    }
}

#[test]
fn kernels_are_generated_once() {
    let Ok(cpu) = Cpu::with_isa(Isa::Avx2) else { return };
    for n in [8, 9, 1000] {
        let plan = Plan {
            inputs: vec![4 * n],
            outputs: vec![4 * n],
            steps: vec![Step::launch(
                Arc::new(SQUARE.parse().unwrap()),
                Binding {
                    extents: [1, n].into_iter().collect(),
                    args: [Slot::Input(0), Slot::Output(0)].map(|s| arg(s, &[n as isize, 1])).to_vec(),
                    params: vec![],
                },
            )],
            ..Plan::default()
        };
        let executable = cpu.prepare(plan).unwrap();
        assert!(executable.disassemble()[0][0].contains("vmulps"));
    }
    assert_eq!(cpu.kernels_generated(), 1);
}
