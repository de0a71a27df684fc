//! Plans that are variants of others that were verified, and verdicts that must not depend on that.

use super::super::plan::uses_of;
use super::Proofs;
use crate::backend::Variant;
use crate::error::Result;
use crate::ir::Kernel;
use crate::plan::{Arg, Binding, Branch, LibraryCall, Plan, Slot, Step};
use crate::testing::{Case, DTYPES, NestKind, PlainVariant, Rng, random_call, random_case, random_scatter, variants};
use crate::varying::Varying;
use crate::verify::PlanWords;
use crate::{DType, Strides};
use std::sync::{Arc, LazyLock};

fn verdict(result: Result<()>) -> String {
    result.map_or_else(|e| e.message().to_string(), |()| "ok".into())
}

fn own_values(variant: &PlainVariant) -> (Arc<Varying>, Vec<i64>) {
    let (varying, values) = variant.values().expect("they are known");
    (varying.clone(), values.to_vec())
}

/// The verdict on a plan after others were verified of which it is a variant, which is that on it by itself; and whether it was one that proofs held of.
#[track_caller]
pub(in crate::verify) fn beside(plan: &Plan, others: &[&Plan]) -> (String, bool) {
    let alone = verdict(plan.verify());
    let Some(mut variants) = variants(&[others, &[plan]].concat()) else { return (alone, false) };
    let mut own = variants.pop().expect("that of the plan");
    let mut proofs = Proofs::default();
    let verify = |proofs: &mut Proofs, variant: &mut PlainVariant| {
        let words = PlanWords::of(variant.plan());
        let (varying, values) = own_values(variant);
        proofs.verify(variant.plan(), &words, (&varying, &values), &uses_of)
    };
    variants.iter_mut().for_each(|other| verify(&mut proofs, other).unwrap());
    let is_short = proofs.hold(&own_values(&own).1);
    let got = if is_short { "ok".into() } else { verdict(verify(&mut proofs, &mut own)) };
    assert_eq!(got, alone, "{plan}beside\n{}", others[0]);
    (got, is_short)
}

const ROW: usize = 4;

static KERNELS: LazyLock<[Arc<Kernel>; 3]> = LazyLock::new(|| {
    [
        // A layer: x · w + b, of a product that is there.
        "kernel rank 2 vector 1 (in f32 unit, in f32 unit, out f32 unit) { \
            %0 = load 0 %1 = load 1 %2 = add %0, %1 map { store 2 <- %2 } }",
        // The update of b by the sum over rows of its gradient, and a state beside it.
        "kernel rank 2 vector 0 (in f32 unit, in f32 unit, in f32 unit, out f32 unit, out f32 unit) { %0 = load 0 \
            reduce axes 1 (sum %0) { %1 = reduced 0 %2 = load 1 %3 = load 2 %4 = add %1, %2 %5 = add %1, %3 \
            store 3 <- %4 store 4 <- %5 } }",
        // Of an array that knows nothing of rows.
        "kernel rank 1 vector 0 (in f32 unit, out f32 unit) { %0 = load 0 map { store 1 <- %0 } }",
    ]
    .map(|text| Arc::new(text.parse().unwrap()))
});

fn arg(slot: Slot, offset: usize, strides: &[isize]) -> Arg {
    Arg { slot, offset, strides: Strides::from_slice(strides), len: 0 }
}

fn binding(extents: &[usize], args: Vec<Arg>) -> Binding {
    Binding { extents: extents.into(), args, params: vec![] }
}

/// A step of training on n rows x: w and b with a state of b, and two other arrays. The arena holds x · w and what follows.
fn training(n: usize) -> Plan {
    let others = 6;
    use Slot::{Input, Output, Temp};
    let nbytes = 4 * ROW * n;
    let place = nbytes.next_multiple_of(64);
    let [product, layer] = [0, place].map(|offset| Temp { offset, nbytes });
    let (points, row, column) = ([ROW as isize, 1], [0, 1], [1, 0]);
    let call = LibraryCall::Matmul {
        dtype: DType::F32,
        batch: [].into_iter().collect(),
        m: n,
        n: ROW,
        k: ROW,
        a: arg(Input(0), 0, &points),
        b: arg(Input(1), 0, &points),
        c: arg(product, 0, &points),
    };
    let [add, update, copy] = KERNELS.each_ref();
    let of_rows = vec![arg(product, 0, &points), arg(Input(2), 0, &row), arg(layer, 0, &points)];
    let state = [Input(2), Input(3), Output(0), Output(1)].map(|slot| arg(slot, 0, &column));
    let of_state = [arg(layer, 0, &[1, ROW as isize])].into_iter().chain(state).collect();
    let rest = [4, 5].map(|n| binding(&[others], vec![arg(Input(n), 0, &[1]), arg(Output(n - 2), 0, &[1])]));
    Plan {
        inputs: vec![nbytes, 4 * ROW * ROW, 4 * ROW, 4 * ROW, 4 * others, 4 * others],
        outputs: vec![4 * ROW, 4 * ROW, 4 * others, 4 * others],
        arena: 2 * place,
        steps: vec![
            Step::Call(Box::new(call)),
            Step::launch(add.clone(), binding(&[n, ROW], of_rows)),
            Step::launch(update.clone(), binding(&[ROW, n], of_state)),
            Step::Launch { kernel: copy.clone(), bindings: Arc::new(rest) },
        ],
        donations: [(0, 2), (0, 3), (1, 2), (1, 3), (2, 4), (3, 5)].into(),
    }
}

/// The binding of a launch.
fn of(plan: &mut Plan, step: usize, number: usize) -> &mut Binding {
    match &mut plan.steps[step] {
        Step::Launch { bindings, .. } => &mut Arc::make_mut(bindings)[number],
        _ => unreachable!("a launch"),
    }
}

fn call(plan: &mut Plan) -> &mut LibraryCall {
    match &mut plan.steps[0] {
        Step::Call(call) => call,
        _ => unreachable!("a call"),
    }
}

#[test]
fn other_extents_take_the_short_road() {
    for was in [[21, 37], [37, 5], [101, 7]] {
        let was = was.map(training);
        let was = was.each_ref();
        for now in [2, 4, 5, 64, 100] {
            assert_eq!(beside(&training(now), &was), ("ok".into(), true), "{now} after {}", was[1]);
        }
        // No points, and one, are other proofs.
        for now in [0, 1] {
            assert_eq!(beside(&training(now), &was), ("ok".into(), false), "{now} after {}", was[1]);
            assert_eq!(beside(was[0], &[&training(now), was[1]]).0, "ok");
        }
    }
}

#[test]
fn what_plans_have_in_common_is_looked_at() {
    let plan = training(20);
    let (varying, values) = own_values(&variants(&[&plan]).unwrap()[0]);
    let mut proofs = Proofs::default();
    proofs.verify(&plan, &PlanWords::of(&plan), (&varying, &values), &uses_of).unwrap();
    let check = |change: &dyn Fn(&mut Plan)| {
        let mut plan = plan.clone();
        change(&mut plan);
        verdict(proofs.check(&plan, &PlanWords::of(&plan), (&varying, &values)))
    };
    assert_eq!(check(&|_| ()), "ok");
    assert!(check(&|p| p.arena += 64).contains("other numbers than its values say"));
    assert!(check(&|p| of(p, 1, 0).args[1].slot = Slot::Input(3)).contains("another structure"));
    assert!(check(&|p| p.donations = [].into()).contains("other donations"));
}

#[test]
fn single_faults_are_found() {
    use Slot::{Input, Output, Temp};
    type Fault<'a> = &'a dyn Fn(&mut Plan);
    let faults: &[(&str, Fault)] = &[
        ("ok", &|_| ()),
        // Slots of other sizes, with accesses as before.
        ("touches bytes 0..16 of 12", &|p| p.inputs[2] = 12),
        ("touches bytes 0..24 of 20", &|p| p.outputs[2] = 20),
        ("touches bytes 0..64 of 60", &|p| p.inputs[1] = 60),
        ("their sizes differ", &|p| p.inputs[4] = 28),
        ("their sizes differ", &|p| p.outputs[3] = 28),
        ("there is no slot output3", &|p| p.outputs.truncate(3)),
        ("there is no slot input5", &|p| p.inputs.truncate(5)),
        // Other accesses of known slots.
        ("touches bytes 4..20 of 16", &|p| of(p, 1, 0).args[1].offset = 1),
        ("touches bytes 4..28 of 24", &|p| of(p, 3, 1).args[0].offset = 1),
        ("touches bytes 0..28 of 24", &|p| of(p, 3, 0).extents[0] = 7),
        ("not unit along the vector axis", &|p| of(p, 3, 0).args[0].strides[0] = -1),
        ("not unit along the vector axis", &|p| of(p, 2, 0).args[1].strides = [2, 0].into_iter().collect()),
        ("moves along a reduced axis", &|p| of(p, 2, 0).args[1].strides = [1, 1].into_iter().collect()),
        ("two points", &|p| of(p, 1, 0).args[2] = arg(Output(0), 0, &[0, 1])),
        ("a launch with 2 extents and 4 arguments", &|p| drop(of(p, 2, 0).args.pop())),
        ("there is no slot input9", &|p| of(p, 2, 0).args[1].slot = Input(9)),
        ("the caller's", &|p| of(p, 2, 0).args[3].slot = Input(2)),
        ("parameters", &|p| of(p, 3, 0).params.push(crate::Scalar::from_f64(DType::F32, 1.0))),
        ("touches bytes", &|p| {
            if let LibraryCall::Matmul { k, .. } = call(p) {
                *k += 1;
            }
        }),
        ("touches bytes 4..", &|p| {
            if let LibraryCall::Matmul { b, .. } = call(p) {
                b.offset = 1;
            }
        }),
        ("matmul is for floats", &|p| {
            if let LibraryCall::Matmul { dtype, .. } = call(p) {
                *dtype = DType::I32;
            }
        }),
        ("touches bytes", &|p| {
            if let LibraryCall::Matmul { dtype, .. } = call(p) {
                *dtype = DType::F64;
            }
        }),
        // Pieces of the arena.
        ("beyond the arena", &|p| p.arena -= 64),
        ("a store may hit", &|p| of(p, 1, 0).args[2].slot = Temp { offset: 64, nbytes: 4 * ROW * 20 }),
        ("is not aligned", &|p| of(p, 1, 0).args[0].slot = Temp { offset: 4, nbytes: 4 * ROW * 20 }),
        ("touches bytes", &|p| of(p, 2, 0).args[0].slot = Temp { offset: 64, nbytes: 64 }),
        // Outputs that meet.
        ("a store may hit", &|p| of(p, 2, 0).args[4].slot = Output(0)),
        ("a store may hit", &|p| of(p, 3, 1).args[1].slot = Output(2)),
        ("a store may hit", &|p| {
            let [a, b] = [0, 1].map(|n| of(p, 3, n).clone());
            let Step::Launch { bindings, .. } = &mut p.steps[3] else { unreachable!("a launch") };
            *bindings = [a.clone(), b, a].into();
        }),
        // What donations depend on.
        ("at other points", &|p| p.donations = [(2, 5)].into()),
        ("there is no such slot", &|p| p.donations = [(2, 9)].into()),
        ("at other points", &|p| {
            let turned = arg(Input(4), 5, &[-1]);
            let Step::Launch { kernel, bindings } = &mut p.steps[3] else { unreachable!("a launch") };
            let text = kernel.to_string().replace("in f32 unit", "in f32 strided");
            *kernel = Arc::new(text.parse().unwrap());
            Arc::make_mut(bindings)[0].args[0] = turned;
        }),
        ("at other points", &|p| of(p, 3, 1).args[0].slot = Input(4)),
        ("a later step reads the input", &|p| {
            let again = binding(&[4], vec![arg(Input(2), 0, &[1]), arg(Temp { offset: 0, nbytes: 64 }, 0, &[1])]);
            p.steps.push(Step::launch(KERNELS[2].clone(), again));
        }),
        ("a later step reads the input", &|p| p.steps.swap(1, 2)),
        ("a later step reads the input", &|p| {
            let first = p.steps.remove(2);
            p.steps.insert(0, first);
        }),
        ("a later step reads the input", &|p| {
            let to = Output(0);
            p.steps.insert(0, Step::Copy { from: Input(0), to, nbytes: 16 });
        }),
        // Fewer accesses are in nobody's way.
        ("ok", &|p| p.steps.truncate(3)),
        ("ok", &|p| drop(p.steps.remove(1))),
        ("ok", &|p| {
            let first = of(p, 3, 0).clone();
            p.steps[3] = Step::launch(KERNELS[2].clone(), first);
        }),
    ];
    for (number, (want, fault)) in faults.iter().enumerate() {
        for was in [[1, 1], [8, 30], [20, 20], [30, 19]] {
            let mut plan = training(20);
            fault(&mut plan);
            let (got, _) = beside(&plan, &was.map(training).each_ref());
            assert!(got == *want || *want != "ok" && got.contains(want), "fault {number}: {want:?}, not {got}");
        }
    }
}

/// A choice between two such steps of training.
fn choice(n: usize) -> Plan {
    let plans = [n, n].map(|n| Plan { donations: [].into(), ..training(n) });
    let Plan { mut inputs, outputs, .. } = plans[0].clone();
    let given = inputs.len() as u32;
    inputs.push(1);
    let branch = Branch {
        predicate: arg(Slot::Input(given), 0, &[]),
        inputs: (0..given).map(Slot::Input).collect(),
        outputs: (0..outputs.len() as u32).map(Slot::Output).collect(),
        plans,
    };
    Plan { inputs, outputs, arena: 0, steps: vec![Step::Branch(Box::new(branch))], donations: [].into() }
}

#[test]
fn plans_of_choices_are_looked_at() {
    use Slot::{Input, Output};
    type Fault<'a> = &'a dyn Fn(&mut Branch);
    let was = [21, 37].map(choice);
    let was = was.each_ref();
    for now in [2, 4, 5, 64, 100] {
        assert_eq!(beside(&choice(now), &was), ("ok".into(), true), "{now}");
    }
    let faults: &[(&str, Fault)] = &[
        ("touches bytes 0..24 of 20", &|b| b.plans[1].outputs[2] = 20),
        ("output 2 of the branches has 24 and 28 bytes", &|b| b.plans[1].outputs[2] = 28),
        ("touches bytes 0..28 of 24", &|b| b.plans[0].inputs[4] = 28),
        ("touches bytes 0..28 of 24", &|b| of(&mut b.plans[1], 3, 0).extents[0] = 7),
        ("beyond the arena", &|b| b.plans[0].arena -= 64),
        ("of other numbers of inputs", &|b| b.inputs.truncate(5)),
        ("or that donates", &|b| b.plans[0].donations = [(0, 2)].into()),
        ("touches bytes 1..2 of 1", &|b| b.predicate.offset = 1),
        ("there is no slot input9", &|b| b.inputs[0] = Input(9)),
        ("the caller's", &|b| b.outputs[0] = Input(0)),
        ("a store may hit", &|b| b.outputs[1] = Output(0)),
    ];
    for (number, (want, fault)) in faults.iter().enumerate() {
        let mut plan = choice(20);
        let Step::Branch(branch) = &mut plan.steps[0] else { unreachable!("a choice") };
        fault(branch);
        let (got, is_short) = beside(&plan, &was);
        assert!(got.contains(want) && !is_short, "fault {number}: {want:?}, not {got}");
    }
}

/// Changes something of a plan.
fn damage(plan: &mut Plan, rng: &mut Rng) {
    let change_size = |sizes: &mut Vec<usize>, rng: &mut Rng| {
        if let Some(n) = (!sizes.is_empty()).then(|| rng.below(sizes.len())) {
            sizes[n] = if rng.once_in(2) { sizes[n] + 4 } else { sizes[n].saturating_sub(4) };
        }
    };
    match rng.below(12) {
        0 => change_size(&mut plan.inputs, rng),
        1 => change_size(&mut plan.outputs, rng),
        2 => plan.arena += 64,
        3 => {
            let pair = (rng.below(plan.outputs.len().max(1)) as u32, rng.below(plan.inputs.len().max(1)) as u32);
            plan.donations = plan.donations.iter().copied().chain([pair]).collect();
        }
        4 if !plan.steps.is_empty() => drop(plan.steps.remove(rng.below(plan.steps.len()))),
        5 if !plan.steps.is_empty() => plan.steps.push(plan.steps[rng.below(plan.steps.len())].clone()),
        _ => {
            let number = rng.below(plan.steps.len().max(1));
            let binding = match plan.steps.get_mut(number) {
                Some(Step::Launch { bindings, .. }) => &mut Arc::make_mut(bindings)[0],
                Some(Step::Product { binding, .. }) => Arc::make_mut(binding),
                Some(Step::Scatter(scatter)) => match rng.below(3) {
                    0 => &mut scatter.target.binding,
                    1 => &mut scatter.updates.binding,
                    _ => &mut scatter.epilogue.binding,
                },
                Some(Step::Call(call)) => return damage_call(call, rng),
                _ => return,
            };
            let Binding { extents, args, .. } = binding;
            let axis = rng.below(extents.len().max(1));
            let n = rng.below(args.len().max(1));
            let other = args.get(rng.below(args.len().max(1))).cloned();
            match (rng.below(8), args.get_mut(n)) {
                (0..3, _) if !extents.is_empty() => {
                    extents[axis] = [rng.below(3), extents[axis] / 2, extents[axis] + 1][rng.below(3)];
                }
                (3, Some(arg)) => arg.offset = rng.below(4),
                (4, Some(arg)) => arg.len = rng.below(arg.len + 2),
                (5, Some(arg)) if !arg.strides.is_empty() => arg.strides[axis] = rng.below(7) as isize - 3,
                (6, Some(arg)) => arg.slot = other.map_or(arg.slot, |other| other.slot),
                (_, Some(arg)) => {
                    if let Slot::Temp { offset, .. } = &mut arg.slot {
                        *offset += 64;
                    }
                }
                _ => {}
            }
        }
    }
}

fn damage_call(call: &mut LibraryCall, rng: &mut Rng) {
    if let LibraryCall::Matmul { m, n, k, a, b, .. } = call {
        match rng.below(5) {
            0 => *m = (*m + rng.below(3)).saturating_sub(1),
            1 => *n = (*n + rng.below(3)).saturating_sub(1),
            2 => *k = (*k + rng.below(3)).saturating_sub(1),
            3 => a.offset += rng.below(2),
            _ => b.slot = a.slot,
        }
    }
}

/// Random plans, and each as it becomes by damages that come again and again, so that numbers vary at a few places: the verdict does not depend on what was known.
#[test]
fn verdicts_are_those_of_plans_by_themselves() {
    let mut rng = Rng(11);
    let (mut accepted, mut refused, mut short) = (0, 0, 0);
    for seed in 0..4000 {
        let kind = NestKind::ALL[seed as usize % NestKind::ALL.len()];
        let Case { plan: first, .. } = match seed % 8 {
            0 | 1 => random_call(seed),
            2 | 3 => random_scatter(seed),
            4 => random_case(seed, kind, &DTYPES).side_by_side(2),
            _ => random_case(seed, kind, &DTYPES),
        };
        let mut like = first;
        if like.verify().is_err() {
            continue;
        }
        let damages = [(); 3].map(|()| Rng(rng.below(1 << 20) as u64));
        let mut before = like.clone();
        for _ in 0..12 {
            let mut plan = like.clone();
            (0..1 + rng.below(2)).for_each(|_| damage(&mut plan, &mut damages[rng.below(3)].clone()));
            let (got, is_short) = beside(&plan, &[&like, &before]);
            if got == "ok" {
                accepted += 1;
                short += usize::from(is_short && plan.to_string() != like.to_string());
                before = std::mem::replace(&mut like, plan);
            } else {
                refused += 1;
            }
        }
    }
    assert!(accepted > 8000 && refused > 8000 && short > 800, "{accepted} accepted, {refused} refused, {short} short");
}
