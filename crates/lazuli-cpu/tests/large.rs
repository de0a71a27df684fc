//! What small random kernels do not reach: several threads, several blocks of a reduction, stores past the caches, library calls.

use lazuli_cpu::{Cpu, Isa};
use lazuli_kernel::testing::{Rng, check_backends, run};
use lazuli_kernel::{
    Arg, Backend, Binding, DType, Interpreter, LibraryCall, Pass, Plan, Scalar, Scatter, Slot, Step, shape,
};
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

/// Of what lies in memory, and of what is computed.
#[test]
fn reductions() {
    for (combine, vector) in [("sum", 1), ("sum", 0), ("max", 1), ("argmin", 1), ("argmin", 0)] {
        for (element, epilogue) in [("%0", 1), ("%1", 2)] {
            let body = if element == "%0" { "%0 = load 0" } else { "%0 = load 0 %1 = abs %0" };
            let (result, cast) = (epilogue, epilogue + 1);
            let epilogue = match combine {
                "argmin" => format!("%{result} = reduced_index 0 %{cast} = cast f32 %{result} store 1 <- %{cast}"),
                _ => format!("%{result} = reduced 0 store 1 <- %{result}"),
            };
            // The output does not move along the reduced axis.
            let out = if vector == 1 { "broadcast" } else { "unit" };
            let kernel = format!(
                "kernel rank 2 vector {vector} (in f32 unit, out f32 {out}) {{ {body} reduce axes 1 ({combine} {element}) {{ \
                 {epilogue} }} }}"
            );
            for [kept, n] in [[1, 300_003], [3, 70_000], [700, 1000], [200, 9000], [10_000, 17], [5, 4096 * 5]] {
                let strides = if vector == 1 { [n as isize, 1] } else { [1, kept as isize] };
                check(&kernel, &[kept, n], &strides, &[1, 0], kept);
            }
        }
    }
}

/// Rows that are written into a table: some of them equal, overlapping, beyond an end, or masked; by themselves, and with a map that follows.
#[test]
fn runs_of_updates() {
    for (op, masked) in [("add", false), ("assign", true), ("mul", false), ("max", true), ("min", false)] {
        for [runs, n] in [[700, 600], [3, 70], [90, 64], [1, 9_000]] {
            check_updates(op, masked, 40_000, [runs, n]);
        }
    }
    // Stored past the caches, if not over the table itself.
    check_updates("add", false, 6_400_000, [500, 640]);
}

fn check_updates(op: &str, masked: bool, table: usize, [runs, n]: [usize; 2]) {
    let mask = if masked { "%5 = const 0:i64 %6 = ge %2, %5 " } else { "" };
    let condition = if masked { " if %6" } else { "" };
    let kernel = format!(
        "kernel rank 2 vector 1 (in i32 broadcast, in f32 unit, inout f32 broadcast; params i64) {{ \
         %0 = load 0 %1 = param 0 %2 = cast i64 %0 %3 = index 1 %4 = add %2, %3 {mask}\
         %{v} = load 1 %{w} = abs %{v} scatter {op} 2[%4] <- %{w}{condition} }}",
        v = if masked { 7 } else { 5 },
        w = if masked { 8 } else { 6 },
    );
    let copy = "kernel rank 1 vector 0 (in f32 unit, out f32 unit) { %0 = load 0 map { store 1 <- %0 } }";
    let square =
        "kernel rank 1 vector 0 (in f32 unit, out f32 unit) { %0 = load 0 %1 = mul %0, %0 map { store 1 <- %1 } }";
    let map = |text: &str, from, to| Pass {
        kernel: Arc::new(text.parse().unwrap()),
        binding: Binding {
            extents: [table].as_slice().into(),
            args: vec![arg(from, &[1]), arg(to, &[1])],
            params: vec![],
        },
    };
    let updates = |of| Pass {
        kernel: Arc::new(kernel.parse().unwrap()),
        binding: Binding {
            extents: [runs, n].as_slice().into(),
            args: vec![
                arg(Slot::Input(0), &[1, 0]),
                arg(Slot::Input(1), &[n as isize, 1]),
                Arg { len: table, ..arg(of, &[0, 0]) },
            ],
            params: vec![Scalar::i64(0)],
        },
    };
    let launch = |pass: Pass| Step::launch(pass.kernel, pass.binding);
    let (source, to) = (Slot::Input(2), Slot::Output(0));
    let apart = vec![launch(map(copy, source, to)), launch(updates(to))];
    let onwards = Step::Scatter(Box::new(Scatter {
        target: map(copy, source, Slot::Result),
        updates: updates(Slot::Result),
        epilogue: map(square, Slot::Result, to),
    }));
    let mut rng = Rng(n as u64);
    let position = |_| (rng.below(table + 2 * n) as i32 - n as i32) / 3 * 3;
    let positions: Vec<u8> = (0..runs).map(position).flat_map(i32::to_le_bytes).collect();
    let inputs = [positions, random(runs * n, DType::F32), random(table, DType::F32)];
    for (steps, donations) in [(apart, &[][..]), (vec![onwards.clone()], &[]), (vec![onwards], &[(0, 2)])] {
        let sizes = (vec![4 * runs, 4 * runs * n, 4 * table], vec![4 * table]);
        let plan = Plan { inputs: sizes.0, outputs: sizes.1, steps, donations: donations.into(), ..Plan::default() };
        for cpu in backends() {
            check_backends(&Interpreter::default(), &cpu, &plan, &inputs).unwrap();
        }
    }
}

/// A product of a (m, k) and b (k, n), each as it stands or transposed in memory, in front of a batch of (4, 1) matrices of a against (1, 3) of b.
fn product(dtype: DType, [m, n, k]: [usize; 3], turned: [bool; 2], batched: bool) -> (Plan, [Vec<u8>; 2]) {
    let matrix = |turned: bool, rows: usize, columns: usize| match turned {
        false => [columns as isize, 1],
        true => [1, rows as isize],
    };
    let (batch, of_a, of_b): (&[usize], _, _) = if batched { (&[4, 3], 4, 3) } else { (&[], 1, 1) };
    let strides = |batch: [usize; 2], inner: [isize; 2]| -> Vec<isize> {
        let outer = batch.map(|s| s as isize);
        outer.into_iter().filter(|_| batched).chain(inner).collect()
    };
    let plan = Plan {
        inputs: vec![of_a * m * k * dtype.itemsize(), of_b * k * n * dtype.itemsize()],
        outputs: vec![of_a * of_b * m * n * dtype.itemsize()],
        steps: vec![Step::Call(Box::new(LibraryCall::Matmul {
            dtype,
            batch: batch.into(),
            m,
            n,
            k,
            a: arg(Slot::Input(0), &strides([m * k, 0], matrix(turned[0], m, k))),
            b: arg(Slot::Input(1), &strides([0, k * n], matrix(turned[1], k, n))),
            c: arg(Slot::Output(0), &strides([3 * m * n, m * n], [n as isize, 1])),
        }))],
        ..Plan::default()
    };
    let inputs = [random(of_a * m * k, dtype), random(of_b * k * n, dtype)];
    (plan, inputs)
}

const MATRICES: [DType; 5] = [DType::F32, DType::F64, DType::F16, DType::BF16, DType::C64];

#[test]
fn products() {
    for dtype in MATRICES {
        for shape in [
            [2, 3, 5],
            [17, 33, 300],
            [25, 64, 513],
            [130, 257, 190],
            [12, 500, 70],
            [1, 300, 257],
            [300, 1, 257],
            [1, 1, 5000],
            [4, 4, 0],
        ] {
            for turned in [[false, false], [true, false], [false, true], [true, true]] {
                let (plan, inputs) = product(dtype, shape, turned, false);
                for cpu in backends() {
                    check_backends(&Interpreter::default(), &cpu, &plan, &inputs).unwrap();
                }
            }
        }
        let (plan, inputs) = product(dtype, [9, 20, 31], [false, true], true);
        for cpu in backends() {
            check_backends(&Interpreter::default(), &cpu, &plan, &inputs).unwrap();
        }
    }
}

/// Tiles and panels of several tasks, where the interpreter would be slow: threads and instruction sets agree.
#[test]
fn large_products() {
    for shape in [[700, 1100, 300], [37, 2100, 40]] {
        let (plan, inputs) = product(DType::F32, shape, [false, true], false);
        let results: Vec<_> = backends().iter().map(|cpu| run(cpu, &plan, &inputs).unwrap()).collect();
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{shape:?}");
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
        let mut plan = Plan {
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
        let executable = cpu.prepare(&mut plan).unwrap();
        assert!(executable.disassemble().unwrap()[0][0].contains("vmulps"));
    }
    assert_eq!(cpu.kernels_generated(), 1);
}
