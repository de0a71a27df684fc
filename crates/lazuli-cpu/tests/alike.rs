//! Plans made ready beside others, against the same made ready alone, bit for bit.

use lazuli_cpu::{Cpu, Isa};
use lazuli_kernel::testing::{Case, DTYPES, NestKind, Rng, random_call, random_case, random_scatter};
use lazuli_kernel::{Arg, Backend, Executable, LibraryCall, Mode, Plan, Result, Scatter, Slot, Step, Stream};
use std::sync::Arc;

fn run(cpu: &Cpu, executable: &Arc<dyn Executable>, inputs: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let buffers = inputs.iter().map(|bytes| cpu.upload(bytes)).collect::<Result<Vec<_>>>().unwrap();
    let (buffers, donate): (Vec<_>, Vec<bool>) = buffers.iter().map(|buffer| (buffer, true)).unzip();
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

/// Makes one step smaller, runs it with other numbers, or moves the arena.
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
            if let LibraryCall::Matmul { k, .. } = &mut **call {
                *k -= (*k).min(1);
            }
            return;
        }
        _ => return,
    };
    match rng.below(3) {
        0 if !binding.params.is_empty() => binding.params[0].bits ^= 1,
        1 if !binding.args.is_empty() => {
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
fn what_is_shared_runs_as_what_is_made() {
    let Ok(cpu) = Cpu::with_isa_and_threads(Isa::Avx2, 2) else { return };
    let mut rng = Rng(5);
    let mut compared = 0;
    for seed in 0..600 {
        let Case { plan, inputs } = case(seed);
        let first = cpu.prepare(&mut plan.clone()).unwrap();
        // The first again, and then each beside the one before: what is shared is handed on.
        let (mut plan, mut like) = (plan, first.clone());
        for n in 0..4 {
            let before = plan.clone();
            if n > 0 && !plan.steps.is_empty() {
                change(&mut plan, &mut rng);
            }
            let (alone, beside) = (cpu.prepare(&mut plan.clone()), cpu.prepare_like(&mut plan.clone(), &like));
            let (alone, beside) = match (alone, beside) {
                (Ok(alone), Ok(beside)) => (alone, beside),
                (alone, beside) => {
                    let [alone, beside] = [alone, beside].map(|made| made.map(drop).map_err(|e| e.to_string()));
                    assert_eq!(alone, beside, "seed {seed}: {plan}");
                    plan = before;
                    continue;
                }
            };
            assert_eq!((beside.cost(), beside.workspace()), (alone.cost(), alone.workspace()), "seed {seed}: {plan}");
            assert_eq!(beside.disassemble(), alone.disassemble(), "seed {seed}: {plan}");
            assert!(run(&cpu, &beside, &inputs) == run(&cpu, &alone, &inputs), "seed {seed}: {plan}");
            compared += 1;
            like = beside;
        }
    }
    assert!(compared > 1500, "{compared} compared");
}

/// A plan that does everything twice, the second time for outputs of its own.
fn twice(plan: &Plan) -> Plan {
    let own = plan.outputs.len() as u32;
    let mut other = plan.clone();
    let turn = |slot: &mut Slot| {
        if let Slot::Output(n) = slot {
            *n += own;
        }
    };
    let turn_args = |args: &mut [Arg]| args.iter_mut().for_each(|arg| turn(&mut arg.slot));
    let turn_call = |call: &mut LibraryCall| match call {
        LibraryCall::Matmul { a, b, c, .. } => [a, b, c].into_iter().for_each(|arg| turn(&mut arg.slot)),
        LibraryCall::Sort { input, output, .. } => [input, output].into_iter().for_each(|arg| turn(&mut arg.slot)),
    };
    for step in &mut other.steps {
        match step {
            Step::Launch { bindings, .. } => {
                Arc::make_mut(bindings).iter_mut().for_each(|binding| turn_args(&mut binding.args));
            }
            Step::Call(call) => turn_call(call),
            Step::Product { call, binding, .. } => {
                turn_call(call);
                turn_args(&mut Arc::make_mut(binding).args);
            }
            Step::Scatter(scatter) => {
                let Scatter { target, updates, epilogue } = &mut **scatter;
                [target, updates, epilogue].into_iter().for_each(|pass| turn_args(&mut pass.binding.args));
            }
            Step::Copy { from, to, .. } => [from, to].into_iter().for_each(turn),
            Step::Host { .. } | Step::Branch(_) => unreachable!("no case has one"),
        }
    }
    Plan {
        outputs: plan.outputs.repeat(2),
        steps: [plan.steps.clone(), other.steps].concat(),
        donations: [].into(),
        ..plan.clone()
    }
}

#[test]
fn what_is_done_again_runs_as_what_is_made() {
    let Ok(cpu) = Cpu::with_isa_and_threads(Isa::Avx2, 2) else { return };
    for seed in 0..600 {
        let Case { plan, inputs } = case(seed);
        let (once, doubled) = (cpu.prepare(&mut plan.clone()).unwrap(), twice(&plan));
        let first = cpu.prepare(&mut doubled.clone()).unwrap();
        let second = cpu.prepare_like(&mut doubled.clone(), &first).unwrap();
        let (outputs, code) = (run(&cpu, &once, &inputs), once.disassemble());
        for executable in [first, second] {
            assert_eq!(executable.disassemble(), [&code[..], &code].concat(), "seed {seed}: {plan}");
            assert!(run(&cpu, &executable, &inputs) == [&outputs[..], &outputs].concat(), "seed {seed}: {plan}");
        }
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
            let beside = a.prepare_like(&mut case.plan.clone(), like).unwrap();
            assert_eq!(beside.disassemble(), alone.disassemble());
            assert!(run(&a, &beside, &case.inputs) == run(&a, &alone, &case.inputs));
        }
    }
}
