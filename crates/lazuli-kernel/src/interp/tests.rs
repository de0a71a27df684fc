//! Kernels and calls against results worked out by hand.

use super::*;
use crate::dtype::DType;
use crate::plan::{Arg, Binding, LibraryCall, Slot};
use crate::scalar::Scalar;
use crate::testing::run;

/// Numbers as bytes of a dtype, and back.
fn bytes(dtype: DType, values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|&v| Scalar::from_f64(dtype, v).to_bytes()).collect()
}

fn numbers(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    bytes.chunks_exact(dtype.itemsize()).map(|b| Scalar::from_bytes(dtype, b).to_f64()).collect()
}

fn arg(slot: Slot, offset: usize, strides: &[isize], len: usize) -> Arg {
    Arg { slot, offset, strides: strides.iter().copied().collect(), len }
}

/// Runs a kernel whose operands are, in order, `inputs` and then `outputs`: (dtype, data or size, offset, strides), the latter
/// beginning as zeros.
#[track_caller]
fn check(
    kernel: &str,
    extents: &[usize],
    inputs: &[(DType, &[f64], usize, &[isize])],
    output: (DType, usize, &[isize]),
    want: &[f64],
) {
    let kernel: crate::Kernel = kernel.parse().unwrap();
    let (dtype, offset, strides) = output;
    let mut data: Vec<Vec<u8>> = inputs.iter().map(|(d, values, ..)| bytes(*d, values)).collect();
    let mut args: Vec<Arg> = Vec::new();
    for (i, (_, values, offset, strides)) in inputs.iter().enumerate() {
        args.push(arg(Slot::Input(i as u32), *offset, strides, values.len() - offset));
    }
    args.push(arg(Slot::Output(0), offset, strides, want.len() - offset));
    data.push(bytes(dtype, &vec![0.0; want.len()]));
    let nbytes = want.len() * dtype.itemsize();
    let plan = Plan {
        inputs: data.iter().map(Vec::len).collect(),
        outputs: vec![nbytes],
        steps: vec![
            Step::Copy { from: Slot::Input(inputs.len() as u32), to: Slot::Output(0), nbytes },
            Step::launch(Arc::new(kernel), Binding { extents: extents.into(), args, params: vec![] }),
        ],
        ..Plan::default()
    };
    let got = numbers(dtype, &run(&Interpreter::default(), &plan, &data).unwrap()[0]);
    // As text, in which NaN equals NaN and −0 is not 0.
    assert_eq!(format!("{got:?}"), format!("{want:?}"));
}

const NAN: f64 = f64::NAN;
use DType::*;

#[test]
fn maps_follow_the_layouts() {
    let copy = |inner| {
        format!("kernel rank 2 vector 1 (in f32 {inner}, out f32 strided) {{ %0 = load 0 map {{ store 1 <- %0 }} }}")
    };
    let six = [0., 1., 2., 3., 4., 5.];
    let out = (F32, 0, &[3, 1][..]);
    check(&copy("unit"), &[2, 3], &[(F32, &six, 0, &[3, 1])], out, &six);
    check(&copy("strided"), &[2, 3], &[(F32, &six, 0, &[1, 2])], out, &[0., 2., 4., 1., 3., 5.]);
    check(&copy("strided"), &[2, 3], &[(F32, &six, 5, &[-3, -1])], out, &[5., 4., 3., 2., 1., 0.]);
    check(&copy("broadcast"), &[2, 3], &[(F32, &six, 4, &[1, 0])], out, &[4., 4., 4., 5., 5., 5.]);
    check(&copy("unit"), &[2, 3], &[(F32, &six, 0, &[3, 1])], (F32, 1, &[1, 2]), &[0., 0., 3., 1., 4., 2., 5.]);
    check(&copy("unit"), &[0, 3], &[(F32, &[], 0, &[3, 1])], out, &[0.]);

    let index = "kernel rank 2 vector 1 (out i64 unit) {
        %0 = index 0 %1 = index 1 %2 = extent 1 %3 = mul %0, %2 %4 = add %3, %1 map { store 0 <- %4 } }";
    check(index, &[2, 3], &[], (I64, 0, &[3, 1]), &six);
    let scalar =
        "kernel rank 0 vector 0 (in bool unit, out f16 unit) { %0 = load 0 %1 = cast f16 %0 map { store 1 <- %1 } }";
    check(scalar, &[], &[(Bool, &[1.], 0, &[])], (F16, 0, &[]), &[1.]);
}

#[test]
fn computed_loads_are_clamped_or_masked() {
    let gather = "kernel rank 1 vector 0 (in f32 strided, in i64 unit, out f32 unit) {
        %0 = load 1 %1 = load 0[%0] map { store 2 <- %1 } }";
    let table = (F32, &[9., 10., 20., 30.][..], 1, &[0][..]);
    let index = (I64, &[-1., 0., 1., 2., 3., 99.][..], 0, &[1][..]);
    check(gather, &[6], &[table, index], (F32, 0, &[1]), &[10., 10., 20., 30., 30., 30.]);
    check(gather, &[6], &[(F32, &[], 0, &[0]), index], (F32, 0, &[1]), &[0.; 6]);
    let masked = "kernel rank 1 vector 0 (in f32 strided, in i64 unit, out f32 unit) {
        %0 = load 1 %1 = const 1:i64 %2 = ge %0, %1 %3 = load 0[%0] if %2 map { store 2 <- %3 } }";
    check(masked, &[6], &[table, index], (F32, 0, &[1]), &[0., 0., 20., 30., 30., 30.]);
}

fn reduction(what: &str, dtype: &str) -> String {
    format!(
        "kernel rank 1 vector 0 (in {dtype} unit, out {dtype} broadcast) {{
            %0 = load 0 reduce axes 1 ({what} %0) {{ %1 = reduced 0 store 1 <- %1 }} }}"
    )
}

/// The documented order, transcribed with other means: recursion over what is combined.
fn documented_sum(v: &[f32]) -> f32 {
    fn halving(p: &[f32]) -> f32 {
        if p.len() == 1 {
            return p[0];
        }
        let (low, high) = p.split_at(p.len() / 2);
        halving(&low.iter().zip(high).map(|(a, b)| a + b).collect::<Vec<_>>())
    }
    fn tree(blocks: &[f32]) -> f32 {
        match blocks {
            [] => 0.0,
            [one] => *one,
            _ => {
                // The left half is the largest power of two that leaves something for the right.
                let (left, right) = blocks.split_at((blocks.len().next_power_of_two() / 2).max(1));
                tree(left) + tree(right)
            }
        }
    }
    let block =
        |b: &[f32]| halving(&(0..64).map(|j| b.iter().skip(j).step_by(64).fold(0.0, |s, v| s + v)).collect::<Vec<_>>());
    tree(&v.chunks(4096).map(block).collect::<Vec<_>>())
}

#[test]
fn sums_are_in_the_documented_order() {
    let mut rng = crate::testing::Rng(7);
    for n in [0, 1, 2, 63, 64, 65, 1000, 4095, 4096, 4097, 3 * 4096, 5 * 4096 + 17, 7 * 4096] {
        let values: Vec<f64> = (0..n).map(|_| rng.real(1.0) as f32 as f64).collect();
        let want = documented_sum(&values.iter().map(|&v| v as f32).collect::<Vec<_>>());
        check(&reduction("sum", "f32"), &[n], &[(F32, &values, 0, &[1])], (F32, 0, &[0]), &[want as f64]);
    }
    // Another order gives another result, so that the test can fail.
    let values = [1e8f32, 1.0, -1e8, 1.0];
    assert_eq!((documented_sum(&values), values.iter().sum()), (2.0, 1.0));
}

#[test]
fn reductions_give_identities_extremes_and_positions() {
    let reduce = |what: &str, d: DType, values: &[f64], want: f64| {
        check(&reduction(what, d.short_name()), &[values.len()], &[(d, values, 0, &[1])], (d, 0, &[0]), &[want]);
    };
    reduce("sum", I8, &[100., 100.], -56.);
    reduce("prod", F64, &[2., 3., 4.], 24.);
    reduce("prod", U8, &[], 1.);
    reduce("min", F32, &[0., -0., 1.], -0.);
    reduce("max", F32, &[-0., 0., -1.], 0.);
    reduce("min", F32, &[1., NAN, -1.], NAN);
    reduce("min", F32, &[], f64::INFINITY);
    reduce("max", I32, &[], i32::MIN as f64);
    reduce("all", Bool, &[1., 1.], 1.);
    reduce("all", Bool, &[], 1.);
    reduce("any", Bool, &[0., 1.], 1.);
    reduce("any", Bool, &[], 0.);
    reduce("argmin", F32, &[0., -0.], 0.);

    let position = |what: &str, values: &[f64], want: f64| {
        let kernel = format!(
            "kernel rank 1 vector 0 (in f32 unit, out i64 broadcast) {{
                %0 = load 0 reduce axes 1 ({what} %0) {{ %1 = reduced_index 0 store 1 <- %1 }} }}"
        );
        check(&kernel, &[values.len()], &[(F32, values, 0, &[1])], (I64, 0, &[0]), &[want]);
    };
    position("argmin", &[3., 1., 2., 1.], 1.);
    position("argmax", &[3., 1., 3.], 0.);
    position("argmin", &[0., -0.], 0.);
    position("argmax", &[1., NAN, 5., NAN], 1.);
    position("argmin", &[], 0.);

    // Two axes kept of three, an epilogue that reads an operand of its own.
    let mean = "kernel rank 2 vector 1 (in f32 strided, in f32 broadcast, out f32 broadcast) {
        %0 = load 0 reduce axes 1 (sum %0) {
            %1 = reduced 0 %2 = extent 1 %3 = cast f32 %2 %4 = div %1, %3 %5 = load 1 %6 = add %4, %5 store 2 <- %6 } }";
    let columns = (F32, &[1., 2., 3., 4., 5., 6.][..], 0, &[1, 3][..]);
    check(mean, &[3, 2], &[columns, (F32, &[10., 20., 30.], 0, &[1, 0])], (F32, 0, &[1, 0]), &[12.5, 23.5, 34.5]);
}

#[test]
fn scans_run_in_order() {
    let scan = |how: &str, values: &[f64], want: &[f64]| {
        let kernel = format!("kernel rank 2 vector 1 (in f32 unit, out f32 unit) {{ %0 = load 0 scan {how} 1 <- %0 }}");
        let row = (values.len() / 2) as isize;
        check(&kernel, &[2, row as usize], &[(F32, values, 0, &[row, 1])], (F32, 0, &[row, 1]), want);
    };
    scan("sum", &[1., 2., 3., 4., 5., 6.], &[1., 3., 6., 4., 9., 15.]);
    scan("sum reverse", &[1., 2., 3., 4., 5., 6.], &[6., 5., 3., 15., 11., 6.]);
    scan("sum exclusive", &[1., 2., 3., 4., 5., 6.], &[0., 1., 3., 0., 4., 9.]);
    scan("prod reverse exclusive", &[1., 2., 3., 4., 5., 6.], &[6., 3., 1., 30., 6., 1.]);
    scan("sum", &[-0., 1., -0., -0.], &[-0., 1., -0., -0.]);
    scan("sum exclusive", &[-0., 1., -0., -0.], &[0., 0., 0., 0.]);
    scan("min", &[1., NAN, 0., 2.], &[1., NAN, 0., 0.]);
    scan("max exclusive", &[1., 2., 0., 3.], &[f64::NEG_INFINITY, 1., f64::NEG_INFINITY, 0.]);
    scan("logaddexp exclusive", &[1., 2., 3., 4.], &[f64::NEG_INFINITY, 1., f64::NEG_INFINITY, 3.]);
    let infinite = [f64::NEG_INFINITY; 4];
    scan("logaddexp", &infinite, &infinite);
    // log(e⁰ + e⁰ + …) = log n, rounded.
    scan("logaddexp", &[0.; 6], &[0., 2f32.ln() as f64, 3f32.ln() as f64, 0., 2f32.ln() as f64, 3f32.ln() as f64]);
    // Longer than a tile, from both ends.
    let n = 2 * tile::TILE + 37;
    let (ones, up): (Vec<f64>, Vec<f64>) = ((0..2 * n).map(|_| 1.).collect(), (1..=n).map(|i| i as f64).collect());
    let down: Vec<f64> = up.iter().rev().copied().collect();
    scan("sum", &ones, &[&up[..], &up].concat());
    scan("sum reverse", &ones, &[&down[..], &down].concat());
}

#[test]
fn recurrences_run_in_order() {
    let recurrence = |how: &str, factors: &[f64], terms: &[f64], want: &[f64]| {
        let kernel = format!(
            "kernel rank 2 vector 1 (in f32 unit, in f32 unit, out f32 unit) {{
                %0 = load 0 %1 = load 1 recurrence {how} 2 <- %0, %1 }}"
        );
        let row = (terms.len() / 2) as isize;
        let inputs = [(F32, factors, 0, &[row, 1][..]), (F32, terms, 0, &[row, 1])];
        check(&kernel, &[2, row as usize], &inputs, (F32, 0, &[row, 1]), want);
    };
    let (factors, terms) = ([9., 2., 3., 9., -1., 0.], [1., 10., 5., 2., 3., 4.]);
    recurrence("", &factors, &terms, &[0., 1., 12., 0., 2., 1.]);
    recurrence("reverse", &factors, &terms, &[20., 5., 0., -1., 4., 0.]);
    // The first factor multiplies nothing, and the sign of the first term stays.
    recurrence("", &[f64::INFINITY, 2.], &[-0., 1.], &[0., 0.]);
    recurrence("", &[NAN, 1., 1., NAN, 1., 1.], &[-0., -0., 1., 3., 1., 1.], &[0., -0., -0., 0., 3., 4.]);
    // Longer than a tile, from both ends.
    let n = 2 * tile::TILE + 37;
    let (ones, up): (Vec<f64>, Vec<f64>) = ((0..2 * n).map(|_| 1.).collect(), (0..n).map(|i| i as f64).collect());
    let down: Vec<f64> = up.iter().rev().copied().collect();
    recurrence("", &ones, &ones, &[&up[..], &up].concat());
    recurrence("reverse", &ones, &ones, &[&down[..], &down].concat());
}

#[test]
fn scatters_run_in_order() {
    let scatter = |op: &str, index: &[f64], values: &[f64], want: &[f64]| {
        let kernel = format!(
            "kernel rank 1 vector 0 (in i64 unit, in f32 unit, inout f32 strided) {{
                %0 = load 0 %1 = load 1 scatter {op} 2[%0] <- %1 }}"
        );
        let inputs = [(I64, index, 0, &[1][..]), (F32, values, 0, &[1])];
        check(&kernel, &[index.len()], &inputs, (F32, 0, &[0]), want);
    };
    scatter("assign", &[1., 1., 0.], &[5., 6., 7.], &[7., 6., 0.]);
    scatter("add", &[1., 1., 0.], &[5., 6., 7.], &[7., 11., 0.]);
    scatter("add", &[-1., 3., 99., 2.], &[5., 6., 7., 8.], &[0., 0., 8.]);
    scatter("min", &[1., 1.], &[5., -6.], &[0., -6., 0.]);
    // In order: 1e8 + 1 − 1e8 is 0 in f32, by another order 1.
    scatter("add", &[0., 0., 0.], &[1e8, 1., -1e8], &[0.]);
}

/// One library call from input 0 (and 1) to output 0.
#[track_caller]
fn check_call(call: LibraryCall, inputs: &[(DType, &[f64])], out: DType, want: &[f64]) {
    let data: Vec<Vec<u8>> = inputs.iter().map(|(d, values)| bytes(*d, values)).collect();
    let plan = Plan {
        inputs: data.iter().map(Vec::len).collect(),
        outputs: vec![want.len() * out.itemsize()],
        steps: vec![Step::Call(Box::new(call))],
        ..Plan::default()
    };
    let got = numbers(out, &run(&Interpreter::default(), &plan, &data).unwrap()[0]);
    assert_eq!(format!("{got:?}"), format!("{want:?}"));
}

#[test]
fn matmul_accepts_any_strides() {
    let matmul = |dtype, batch: &[usize], (m, n, k), a: &[isize], b: &[isize], c: &[isize]| LibraryCall::Matmul {
        dtype,
        batch: batch.into(),
        m,
        n,
        k,
        a: arg(Slot::Input(0), 0, a, 0),
        b: arg(Slot::Input(1), 0, b, 0),
        c: arg(Slot::Output(0), 0, c, 0),
    };
    let (a, b) = ([1., 2., 3., 4., 5., 6.], [1., 0., 2., 1., 0., 3.]);
    let want = [5., 11., 14., 23.];
    for d in [F16, BF16, F32, F64] {
        check_call(matmul(d, &[], (2, 2, 3), &[3, 1], &[2, 1], &[2, 1]), &[(d, &a), (d, &b)], d, &want);
    }
    // a transposed, b shared by two batches.
    let a = [1., 4., 2., 5., 3., 6., 0., 0., 0., 1., 0., 0.];
    let call = matmul(F32, &[2], (2, 2, 3), &[6, 1, 2], &[0, 2, 1], &[4, 2, 1]);
    check_call(call, &[(F32, &a), (F32, &b)], F32, &[5., 11., 14., 23., 0., 0., 2., 1.]);
    check_call(matmul(F32, &[], (1, 2, 0), &[0, 1], &[2, 1], &[2, 1]), &[(F32, &[]), (F32, &[])], F32, &[0., 0.]);
    // The halves are summed in f32: 2048 + 1 + 1 would stay 2048.
    let call = matmul(F16, &[], (1, 1, 3), &[3, 1], &[1, 1], &[1, 1]);
    check_call(call, &[(F16, &[2048., 1., 1.]), (F16, &[1., 1., 1.])], F16, &[2050.]);
}

/// (1+2i)·(3+4i) + 3·i
#[test]
fn matmul_of_complex_numbers() {
    let data = |numbers: &[f32]| -> Vec<u8> { numbers.iter().flat_map(|v| v.to_le_bytes()).collect() };
    let inputs = [data(&[1., 2., 3., 0.]), data(&[3., 4., 0., 1.])];
    let argument = |slot, strides| arg(slot, 0, strides, 0);
    let call = LibraryCall::Matmul {
        dtype: DType::C64,
        batch: [].into_iter().collect(),
        m: 1,
        n: 1,
        k: 2,
        a: argument(Slot::Input(0), &[2, 1]),
        b: argument(Slot::Input(1), &[1, 1]),
        c: argument(Slot::Output(0), &[1, 1]),
    };
    let plan =
        Plan { inputs: vec![16, 16], outputs: vec![8], steps: vec![Step::Call(Box::new(call))], ..Plan::default() };
    assert_eq!(run(&Interpreter::default(), &plan, &inputs).unwrap(), [data(&[-5., 13.])]);
}

#[test]
fn sorts_are_stable_and_put_nan_last() {
    let sort = |dtype, rows: &[usize], n, indices, input: &[isize]| LibraryCall::Sort {
        dtype,
        rows: rows.into(),
        n,
        indices,
        input: arg(Slot::Input(0), 0, input, 0),
        output: arg(Slot::Output(0), 0, if rows.is_empty() { &[1] } else { &[1, 2] }, 0),
    };
    let v = [NAN, 1., -0., f64::INFINITY, 0., -1.];
    check_call(sort(F32, &[], 6, false, &[1]), &[(F32, &v)], F32, &[-1., -0., 0., 1., f64::INFINITY, NAN]);
    check_call(sort(BF16, &[], 6, true, &[1]), &[(BF16, &v)], U32, &[5., 2., 4., 1., 3., 0.]);
    check_call(sort(I8, &[], 3, false, &[1]), &[(I8, &[1., -128., 127.])], I8, &[-128., 1., 127.]);
    check_call(sort(U64, &[], 2, false, &[1]), &[(U64, &[1e19, 1.])], U64, &[1., 1e19]);
    // Rows and columns exchange their places in the output.
    check_call(sort(I32, &[2], 3, false, &[3, 1]), &[(I32, &[3., 1., 2., 6., 5., 4.])], I32, &[1., 4., 2., 5., 3., 6.]);
}

#[test]
fn memory_is_counted_and_donated() {
    let backend = Interpreter::default();
    let kernel = "kernel rank 1 vector 0 (in f32 unit, out f32 unit) { %0 = load 0 %1 = neg %0 map { store 1 <- %1 } }";
    let args = vec![arg(Slot::Input(0), 0, &[1], 0), arg(Slot::Output(0), 0, &[1], 0)];
    let kernel: Arc<crate::Kernel> = Arc::new(kernel.parse().unwrap());
    let launch = Step::launch(kernel.clone(), Binding { extents: [4].into_iter().collect(), args, params: vec![] });
    let donations = [(0, 0)].into();
    let mut plan = Plan { inputs: vec![16], outputs: vec![16], steps: vec![launch], donations, arena: 64 };
    let executable = backend.prepare(&mut plan).unwrap();
    assert_eq!(executable.disassemble().unwrap(), [[kernel.to_string().into()]]);
    let x = backend.upload(&bytes(F32, &[1., 2., 3., 4.])).unwrap();
    assert_eq!(backend.memory(), MemoryStats { active: 16, peak: 16, cache: 0 });

    let y = backend.enqueue(Stream(0), &executable, &[&x], &[false], &[], Mode::Wait).unwrap().outputs.remove(0);
    assert!(!y.same(&x));
    assert_eq!(backend.memory(), MemoryStats { active: 32, peak: 96, cache: 0 });
    drop(y);
    let y = backend.enqueue(Stream(0), &executable, &[&x], &[true], &[], Mode::Wait).unwrap().outputs.remove(0);
    assert!(y.same(&x));
    let mut out = [0; 16];
    backend.download(&x, 0, &mut out).unwrap();
    assert_eq!(numbers(F32, &out), [-1., -2., -3., -4.]);

    drop((x, y));
    backend.reset_peak_memory();
    assert_eq!(backend.memory(), MemoryStats::default());
    let small = backend.upload(&[0; 8]).unwrap();
    let error = backend.enqueue(Stream(0), &executable, &[&small], &[false], &[], Mode::Wait).unwrap_err();
    assert_eq!(error.message(), "input 0 needs 16 bytes, its buffer has 8");
    assert!(backend.download(&small, 4, &mut [0; 8]).is_err());
}
