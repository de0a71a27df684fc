//! Times kernels of the CPU backend: `cargo run --release -p lazuli-cpu --example bench_kernels -- [NAME]`.
//! With a name, only the rows whose name contains it.
//!
//! Medians of several runs, inputs of f32. "copy" moves the same bytes by a map that does nothing, and is the limit of the others.

use lazuli_cpu::Cpu;
use lazuli_kernel::{
    Accumulator, Arg, Backend, Binding, Buffer, Combine, DType, Emit, Inner, Inst, Kernel, LibraryCall, Mode, Nest,
    Operand, Plan, Role, Slot, Step, Store, Stream, Value, math,
};
use std::sync::Arc;
use std::time::Instant;

const UNIT: Inner = Inner::Unit;

fn map(f: impl FnOnce(&mut Emit, Value) -> Value) -> Kernel {
    let mut e = Emit::new();
    let x = e.input(DType::F32);
    let value = f(&mut e, x);
    let operand = e.operand(Operand { dtype: DType::F32, role: Role::Out, inner: UNIT });
    let (operands, body) = (e.operands, e.insts);
    Kernel {
        rank: 1,
        vector_axis: 0,
        params: vec![],
        operands,
        body,
        nest: Nest::Map { stores: vec![Store { operand, value }] },
    }
}

fn sum(vector_axis: u32) -> Kernel {
    let mut e = Emit::new();
    let value = e.input(DType::F32);
    // The output does not move along the reduced axis, which is axis 1.
    let inner = if vector_axis == 1 { Inner::Broadcast } else { UNIT };
    let operand = e.operand(Operand { dtype: DType::F32, role: Role::Out, inner });
    let accumulators = vec![Accumulator { combine: Combine::Sum, value }];
    let begin = e.begin_epilogue(&accumulators);
    let value = e.push(Inst::Reduced(0));
    let epilogue = e.insts.split_off(begin);
    let nest = Nest::Reduce { axes: 1, accumulators, epilogue, stores: vec![Store { operand, value }] };
    Kernel { rank: 2, vector_axis, params: vec![], operands: e.operands, body: e.insts, nest }
}

/// out[i, j] = in[j, i]
fn transposed() -> Kernel {
    let kernel = "kernel rank 2 vector 1 (in f32 strided, out f32 unit) { %0 = load 0 map { store 1 <- %0 } }";
    kernel.parse().expect("a kernel as text")
}

fn gelu(e: &mut Emit, x: Value) -> Value {
    let scale = e.f32(std::f32::consts::FRAC_1_SQRT_2);
    let scaled = e.mul(x, scale);
    let erf = math::erf(e, scaled);
    let one = e.f32(1.0);
    let sum = e.add(one, erf);
    let product = e.mul(x, sum);
    let half = e.f32(0.5);
    e.mul(product, half)
}

fn chain(e: &mut Emit, mut x: Value) -> Value {
    for i in 0..10 {
        let (a, b) = (e.f32(1.01 + i as f32), e.f32(0.25 - i as f32));
        x = e.mul(x, a);
        x = e.add(x, b);
        x = e.abs(x);
    }
    x
}

fn launch(kernel: Kernel, extents: &[usize], strides: [&[isize]; 2]) -> Step {
    let args = [Slot::Input(0), Slot::Output(0)].into_iter().zip(strides);
    let args = args.map(|(slot, s)| Arg { slot, offset: 0, strides: s.into(), len: 0 }).collect();
    Step::launch(Arc::new(kernel), Binding { extents: extents.into(), args, params: vec![] })
}

fn time(cpu: &Cpu, name: &str, step: Step, inputs: &[usize], output: usize) -> f64 {
    if std::env::args().nth(1).is_some_and(|wanted| !name.contains(&wanted)) {
        return f64::NAN;
    }
    let mut plan = Plan {
        inputs: inputs.iter().map(|n| 4 * n).collect(),
        outputs: vec![4 * output],
        steps: vec![step],
        ..Plan::default()
    };
    let begin = Instant::now();
    let executable = cpu.prepare(&mut plan).unwrap();
    let prepared = begin.elapsed();
    let buffers: Vec<Buffer> = inputs.iter().map(|&n| cpu.upload(&1.25f32.to_le_bytes().repeat(n)).unwrap()).collect();
    let donate = vec![false; inputs.len()];
    let once = || {
        let begin = Instant::now();
        let run =
            cpu.enqueue(Stream(0), &executable, &buffers.iter().collect::<Vec<_>>(), &donate, &[], Mode::Wait).unwrap();
        run.event.wait().unwrap();
        begin.elapsed().as_secs_f64()
    };
    let first = once();
    let runs = ((0.5 / first) as usize).clamp(5, 20_000);
    let mut times: Vec<f64> = (0..runs).map(|_| once()).collect();
    times.sort_by(f64::total_cmp);
    let median = times[runs / 2];
    let bytes = 4.0 * (inputs.iter().sum::<usize>() + output) as f64;
    println!(
        "{name:28} {:12.2} us  {:7.2} GB/s  (least {:.2} us, prepared in {:.0} us)",
        median * 1e6,
        bytes / median / 1e9,
        times[0] * 1e6,
        prepared.as_secs_f64() * 1e6
    );
    times[0]
}

fn main() {
    let cpu = Cpu::new();
    println!("{:?}", cpu.features());
    maps(&cpu);
    transposes(&cpu);
    reductions(&cpu);
    products(&cpu);
}

fn maps(cpu: &Cpu) {
    for n in [1usize, 1000, 100_000, 1_000_000, 32 * 1000 * 4096] {
        let step = |kernel| launch(kernel, &[n], [&[1], &[1]]);
        time(cpu, &format!("copy {n}"), step(map(|_, x| x)), &[n], n);
        time(cpu, &format!("gelu {n}"), step(map(gelu)), &[n], n);
        time(cpu, &format!("exp {n}"), step(map(math::exp)), &[n], n);
        time(cpu, &format!("chain {n}"), step(map(chain)), &[n], n);
        time(cpu, &format!("sin {n}"), step(map(math::sin)), &[n], n);
    }
}

fn transposes(cpu: &Cpu) {
    for n in [256, 4096] {
        let side = n as isize;
        time(cpu, &format!("transpose {n}"), launch(transposed(), &[n, n], [&[1, side], &[side, 1]]), &[n * n], n * n);
    }
}

fn reductions(cpu: &Cpu) {
    for n in [64, 4096] {
        time(cpu, &format!("sum of {n}"), launch(sum(1), &[1, n], [&[n as isize, 1], &[1, 0]]), &[n], 1);
    }
    let side = 4096;
    let all = side * side;
    time(cpu, "sum of 4096^2", launch(sum(1), &[1, all], [&[all as isize, 1], &[1, 0]]), &[all], 1);
    time(cpu, "sum over axis 1", launch(sum(1), &[side, side], [&[side as isize, 1], &[1, 0]]), &[all], side);
    time(cpu, "sum over axis 0", launch(sum(0), &[side, side], [&[1, side as isize], &[1, 0]]), &[all], side);
    time(cpu, "sum of rows of 8", launch(sum(1), &[all / 8, 8], [&[8, 1], &[1, 0]]), &[all], all / 8);
}

fn products(cpu: &Cpu) {
    for ([m, n, k], turned) in [
        ([64, 64, 64], ""),
        ([256, 256, 256], ""),
        ([1024, 1024, 1024], ""),
        ([2048, 2048, 2048], ""),
        ([256, 256, 784], ""),
        ([784, 256, 256], "a"),
        ([256, 784, 256], "b"),
        ([256, 10, 256], ""),
        ([256, 256, 10], "b"),
        ([256, 10, 256], "a"),
        ([8, 1024, 1024], ""),
        ([1, 4096, 4096], ""),
        ([4096, 1, 4096], ""),
    ] {
        matmul(cpu, &[], [m, n, k], turned);
    }
    for (shape, turned) in [([256, 256, 32], "b"), ([256, 32, 256], "")] {
        matmul(cpu, &[32], shape, turned);
    }
}

/// Of f32 matrices; `turned` names those that are transposed in memory.
fn matmul(cpu: &Cpu, batch: &[usize], [m, n, k]: [usize; 3], turned: &str) {
    let number: usize = batch.iter().product();
    let arg = |slot, name, rows: usize, columns: usize| {
        let inner = if turned.contains(name) { [1, rows as isize] } else { [columns as isize, 1] };
        let outer = batch.iter().map(|_| (rows * columns) as isize);
        Arg { slot, offset: 0, strides: outer.chain(inner).collect(), len: 0 }
    };
    let call = LibraryCall::Matmul {
        dtype: DType::F32,
        batch: batch.into(),
        m,
        n,
        k,
        a: arg(Slot::Input(0), "a", m, k),
        b: arg(Slot::Input(1), "b", k, n),
        c: arg(Slot::Output(0), "c", m, n),
    };
    let name = format!("matmul {batch:?} {m} {n} {k} {turned}");
    let step = Step::Call(Box::new(call));
    let seconds = time(cpu, &name, step, &[number * m * k, number * k * n], number * m * n);
    let rate = 2e-9 * (number * m * n * k) as f64 / seconds;
    if rate.is_finite() {
        println!("{:41} {rate:8.0} GFLOP/s", "");
    }
}
