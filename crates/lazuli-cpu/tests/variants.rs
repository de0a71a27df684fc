//! Variants of plans made ready beside others, against the same made ready alone, bit for bit.

use lazuli_cpu::{Cpu, Isa};
use lazuli_kernel::testing::{
    Case, DTYPES, NestKind, PlainVariant, Rng, random_call, random_case, random_scatter, variants,
};
use lazuli_kernel::{
    Arg, Backend, Binding, Executable, Kernel, LibraryCall, Mode, Plan, Result, Slot, Step, Stream, Variant, Varying,
};
use std::sync::Arc;

fn run(cpu: &Cpu, executable: &Arc<dyn Executable>, inputs: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let buffers = inputs.iter().map(|bytes| cpu.upload(bytes)).collect::<Result<Vec<_>>>().unwrap();
    let (buffers, donate): (Vec<_>, Vec<bool>) = buffers.iter().map(|buffer| (buffer, true)).unzip();
    // What a plan does not write of its outputs is what was in their memory before: that of these.
    let zeros = executable.signature().outputs.iter().map(|&nbytes| cpu.upload(&vec![0; nbytes]));
    drop(zeros.collect::<Result<Vec<_>>>().unwrap());
    let run = cpu.enqueue(Stream(0), executable, &buffers, &donate, &[], Mode::Wait).unwrap();
    run.event.wait().unwrap();
    let download = |(buffer, &nbytes)| {
        let mut bytes = vec![0; nbytes];
        cpu.download(buffer, 0, &mut bytes).map(|()| bytes)
    };
    run.outputs.iter().zip(&executable.signature().outputs).map(download).collect::<Result<_>>().unwrap()
}

/// Any step that computes.
fn case(seed: u64) -> Case {
    let kind = NestKind::ALL[seed as usize % NestKind::ALL.len()];
    match seed % 6 {
        0 => random_call(seed),
        1 => random_scatter(seed),
        _ => random_case(seed, kind, &DTYPES).side_by_side(2),
    }
}

/// Makes one step smaller, or moves what it works on.
fn change(plan: &mut Plan, rng: &mut Rng) {
    let number = rng.below(plan.steps.len());
    let binding = match &mut plan.steps[number] {
        Step::Launch { bindings, .. } => {
            let n = rng.below(bindings.len());
            &mut Arc::make_mut(bindings)[n]
        }
        Step::Product { binding, .. } => Arc::make_mut(binding),
        Step::Scatter(scatter) => &mut scatter.updates.binding,
        Step::Call(call) => {
            if let LibraryCall::Matmul { m, k, .. } = &mut **call {
                let size = if rng.once_in(2) { m } else { k };
                *size -= (*size).min(1);
            }
            return;
        }
        _ => return,
    };
    match rng.below(3) {
        0 | 1 if !binding.args.is_empty() => {
            let n = rng.below(binding.args.len());
            let arg = &mut binding.args[n];
            arg.len -= arg.len.min(1);
            match &mut arg.slot {
                Slot::Temp { offset, .. } => *offset += 64,
                _ => arg.offset += arg.offset % 2,
            }
        }
        _ => {
            let axis = rng.below(binding.extents.len().max(1));
            binding.extents.iter_mut().skip(axis).take(1).for_each(|n| *n -= (*n).min(1));
        }
    }
}

#[test]
fn variants_run_as_plans_by_themselves() {
    let Ok(cpu) = Cpu::with_isa_and_threads(Isa::Avx2, 2) else { return };
    let mut rng = Rng(5);
    let (mut compared, mut moved) = (0, 0);
    for seed in 0..1200 {
        let Case { plan, inputs } = case(seed);
        let first = cpu.prepare(&mut plan.clone()).unwrap();
        let mut plans = vec![plan.clone()];
        for _ in 0..5 {
            let mut plan = plans[plans.len() - 1].clone();
            if !plan.steps.is_empty() {
                (0..1 + rng.below(2)).for_each(|_| change(&mut plan, &mut rng));
            }
            if plan.verify().is_ok() {
                plans.push(plan);
            }
        }
        let all: Vec<&Plan> = plans.iter().collect();
        let mut variants = variants(&all).unwrap_or_else(|| panic!("seed {seed}: {plan}"));
        for (variant, plan) in variants.iter_mut().zip(&plans) {
            moved += usize::from(variant.values().is_some_and(|(_, values)| !values.is_empty()));
            let alone = cpu.prepare(&mut plan.clone()).unwrap();
            let beside = cpu.prepare_variant(variant, Some(&first)).unwrap();
            assert_eq!((beside.cost(), beside.workspace()), (alone.cost(), alone.workspace()), "seed {seed}: {plan}");
            assert_eq!(beside.signature(), alone.signature(), "seed {seed}: {plan}");
            assert_eq!(beside.disassemble().unwrap(), alone.disassemble().unwrap(), "seed {seed}: {plan}");
            assert!(run(&cpu, &beside, &inputs) == run(&cpu, &alone, &inputs), "seed {seed}: {plan}");
            compared += 1;
        }
    }
    assert!(compared > 4000 && moved > 3000, "{compared} compared, {moved} of which differ in values");
}

/// What is wrong is refused, wherever it stands among others, which are not disturbed.
#[test]
fn variants_that_are_wrong_are_refused() {
    let Ok(cpu) = Cpu::with_isa_and_threads(Isa::Avx2, 2) else { return };
    for seed in 0..200 {
        let Case { plan, inputs } = case(seed);
        let Some(larger) = plan.inputs.iter().position(|&nbytes| nbytes > 0) else { continue };
        let mut wrong = plan.clone();
        wrong.inputs[larger] = 0;
        if wrong.verify().is_ok() {
            continue;
        }
        let first = cpu.prepare(&mut plan.clone()).unwrap();
        let want = run(&cpu, &first, &inputs);
        for order in [[0, 1, 0, 1], [1, 0, 1, 0]] {
            let mut variants = variants(&[&plan, &wrong]).unwrap();
            for n in order {
                match cpu.prepare_variant(&mut variants[n], Some(&first)) {
                    Ok(made) => assert!(n == 0 && run(&cpu, &made, &inputs) == want, "seed {seed}: {plan}"),
                    Err(e) => assert!(n == 1 && e.message().contains("step "), "seed {seed}: {}", e.message()),
                }
            }
        }
    }
}

/// A variant with the plan of another one.
struct Mixed(PlainVariant, PlainVariant);

impl Variant for Mixed {
    fn values(&self) -> Option<(&Arc<Varying>, &[i64])> {
        self.0.values()
    }
    fn plan(&mut self) -> &mut Plan {
        self.1.plan()
    }
}

#[test]
fn plans_have_to_be_those_of_their_values() {
    let Ok(cpu) = Cpu::with_isa_and_threads(Isa::Avx2, 1) else { return };
    let Case { mut plan, .. } = random_case(3, NestKind::Map, &DTYPES);
    let plans = [(); 3].map(|()| {
        plan.inputs[0] += 64;
        plan.clone()
    });
    let first = cpu.prepare(&mut plan).unwrap();
    let [a, b, c] = variants(&plans.each_ref()).unwrap().try_into().unwrap();
    let mut mixed = Mixed(b, c);
    let refused = cpu.prepare_variant(&mut mixed, Some(&first)).map(drop).unwrap_err();
    assert_eq!(refused.message(), "a plan has other numbers than its values say");
    cpu.prepare_variant(&mut { a }, Some(&first)).unwrap();
}

/// A map that adds a number.
fn adds(number: usize) -> Plan {
    let text = format!(
        "kernel rank 1 vector 0 (in f32 unit, out f32 unit) {{ \
            %0 = load 0 %1 = const {number}.0:f32 %2 = add %0, %1 map {{ store 1 <- %2 }} }}"
    );
    let arg = |slot| Arg { slot, offset: 0, strides: [1].into_iter().collect(), len: 0 };
    let args = [Slot::Input(0), Slot::Output(0)].map(arg).into();
    let binding = Binding { extents: [4].into_iter().collect(), args, params: vec![] };
    let steps = vec![Step::launch(Arc::new(text.parse().unwrap()), binding)];
    Plan { inputs: vec![16], outputs: vec![16], steps, ..Plan::default() }
}

/// So many others come that kernels are forgotten, and equal ones that stand elsewhere take their places.
#[test]
fn kernels_of_variants_stay_the_same() {
    let Ok(cpu) = Cpu::with_isa_and_threads(Isa::Avx2, 1) else { return };
    let Case { plan, inputs } = random_scatter(1);
    let plans = [0, 1, 2].map(|fewer| {
        let mut plan = plan.clone();
        plan.steps.iter_mut().for_each(|step| match step {
            Step::Scatter(scatter) => scatter.updates.binding.extents[0] -= fewer,
            step => panic!("{step}"),
        });
        plan
    });
    let mut variants = variants(&plans.each_ref()).unwrap();
    let first = cpu.prepare_variant(&mut variants[0], None).unwrap();
    let own_kernels = |plan: &mut Plan| {
        let own = &mut |kernel: &mut Arc<Kernel>| {
            *kernel = Arc::new(Kernel::clone(kernel));
            Ok(())
        };
        plan.share_kernels(own).unwrap();
    };
    for number in 0..5000 {
        cpu.prepare(&mut adds(number)).unwrap();
    }
    for (variant, mut plan) in variants.iter_mut().zip(plans) {
        own_kernels(&mut plan);
        let alone = cpu.prepare(&mut plan).unwrap();
        own_kernels(variant.plan());
        let beside = cpu.prepare_variant(variant, Some(&first)).unwrap();
        assert!(run(&cpu, &beside, &inputs) == run(&cpu, &alone, &inputs));
    }
}

/// What another backend made is of no use.
#[test]
fn backends_do_not_share() {
    let case = random_case(1, NestKind::Map, &DTYPES);
    let other = Cpu::with_isa_and_threads(Isa::Interpreter, 1).unwrap().prepare(&mut case.plan.clone()).unwrap();
    for isa in [Isa::Avx2, Isa::Avx512, Isa::Interpreter] {
        let [Ok(a), Ok(b)] = [1, 2].map(|threads| Cpu::with_isa_and_threads(isa, threads)) else { continue };
        let alone = a.prepare(&mut case.plan.clone()).unwrap();
        for like in [&other, &b.prepare(&mut case.plan.clone()).unwrap()] {
            let beside = a.prepare_variant(&mut variants(&[&case.plan]).unwrap()[0], Some(like)).unwrap();
            assert_eq!(beside.disassemble().unwrap(), alone.disassemble().unwrap());
            assert!(run(&a, &beside, &case.inputs) == run(&a, &alone, &case.inputs));
        }
    }
}
