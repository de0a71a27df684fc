//! Kernels and plans that break one rule each, and the verdicts on them.

use super::proofs::tests::beside;
use crate::dtype::DType;
use crate::error::Result;
use crate::ir::{Inst, Kernel, Nest, Store};
use crate::plan::{Arg, Binding, LibraryCall, Pass, Plan, Scatter, Slot, Step};
use crate::testing::{DTYPES, NestKind, Rng, random_case};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

fn verdict(result: Result<()>) -> String {
    result.map_or_else(|e| e.message().to_string(), |()| "ok".into())
}

/// The verdict on a kernel begins with `want` behind "malformed kernel", or is "ok".
#[track_caller]
fn check(signature: &str, body: &str, want: &str) {
    let text = format!("kernel rank 2 vector 1 ({signature}) {{\n{body}\n}}");
    let got = verdict(text.parse::<Kernel>().unwrap().verify());
    let got = got.strip_prefix("malformed kernel: ").unwrap_or(&got);
    assert!(got.starts_with(want), "{want:?} was expected of\n{text}\nbut: {got}");
}

#[test]
fn kernels_keep_the_invariants() {
    let one = "in f32 unit, out f32 unit";
    check(one, "%0 = load 0 map { store 1 <- %0 }", "ok");
    check(one, "%0 = load 0 %1 = add %0, %2 %2 = neg %0 map { store 1 <- %1 }", "%2 is used before it is defined");
    check(one, "%0 = load 7 map { store 1 <- %0 }", "there is no operand 7");
    check(one, "%0 = load 1 map { store 1 <- %0 }", "operand 1 is not read");
    check(one, "%0 = load 0 map { }", "operand 1 is never stored");
    check(one, "%0 = load 0 map { store 1 <- %0 store 1 <- %0 }", "operand 1 is stored twice");
    check(one, "%0 = load 0 map { store 0 <- %0 store 1 <- %0 }", "operand 0 is not written");
    check(one, "%0 = load 0 %1 = cast f64 %0 map { store 1 <- %1 }", "the operand is float32, the value float64");
    check(one, "%0 = load 0 %1 = not %0 map { store 1 <- %1 }", "Not does not accept float32");
    check(one, "%0 = load 0 %1 = cast i32 %0 %2 = add %0, %1 map { store 1 <- %0 }", "operands are float32 and int32");
    check(one, "%0 = load 0 %1 = index 2 map { store 1 <- %0 }", "there is no loop axis 2 here");
    check(one, "%0 = load 0 %1 = param 0 map { store 1 <- %0 }", "there is no parameter 0");
    check(one, "%0 = load 0 %1 = select %0, %0, %0 map { store 1 <- %0 }", "the condition is not bool");
    check(one, "%0 = load 0 %1 = cast c64 %0 map { store 1 <- %0 }", "no value is complex");
    check(one, "%0 = load 0 %1 = bitcast f64 %0 map { store 1 <- %0 }", "float32 and float64 differ in size");
    check(one, "%0 = load 0[%0] map { store 1 <- %0 }", "%0 is used before it is defined");
    check(one, "%0 = load 0 %1 = load 0[%0] map { store 1 <- %1 }", "the index is not int64");
    check("in c64 unit", "map { }", "complex operands and parameters are split before");
    check("in f16 unit", "%0 = load 0 %1 = add %0, %0 map { }", "Add does not accept float16");
    check("in f16 unit, out f16 unit", "%0 = load 0 %1 = cast f32 %0 %2 = cast f16 %1 map { store 1 <- %2 }", "ok");

    let sum = "in f32 unit, out f32 broadcast";
    check(sum, "%0 = load 0 reduce axes 1 (sum %0) { %1 = reduced 0 store 1 <- %1 }", "ok");
    check(sum, "%0 = load 0 reduce axes 3 (sum %0) { %1 = reduced 0 store 1 <- %1 }", "cannot reduce 3 of 2 axes");
    check(sum, "%0 = load 0 reduce axes 0 (sum %0) { %1 = reduced 0 store 1 <- %1 }", "cannot reduce 0 of 2 axes");
    check(sum, "%0 = load 0 reduce axes 1 () { %1 = const 0.0:f32 store 1 <- %1 }", "a reduction needs an accumulator");
    check(sum, "%0 = load 0 reduce axes 1 (sum %0) { store 1 <- %0 }", "an epilogue does not use %0 of the body");
    check(sum, "%0 = load 0 reduce axes 1 (sum %0) { %1 = index 1 store 1 <- %1 }", "there is no loop axis 1 here");
    check(sum, "%0 = load 0 reduce axes 1 (all %0) { %1 = reduced 0 store 1 <- %1 }", "All does not accept float32");
    check(
        sum,
        "%0 = load 0 reduce axes 1 (sum %0) { %1 = reduced_index 0 store 1 <- %1 }",
        "accumulator 0 does not track",
    );
    check(sum, "%0 = load 0 %1 = reduced 0 map { store 1 <- %0 }", "only an epilogue has results of a reduction");

    let rows = "in f32 unit, out f32 unit, out f32 broadcast";
    let row = |body: &str, want: &str| check(rows, &format!("%0 = load 0 {body}"), want);
    let stores = "{ store 1 <- %2 row { %3 = reduced 1 store 2 <- %3 } }";
    row(&format!("%1 = reduced 0 %2 = sub %0, %1 rows axes 1 (max %0, sum %2) {stores}"), "ok");
    row(
        &format!("%1 = reduced 1 %2 = sub %0, %1 rows axes 1 (max %0, sum %2) {stores}"),
        "accumulator 1 has no result",
    );
    row(&format!("%1 = reduced 2 %2 = sub %0, %1 rows axes 1 (max %0, sum %2) {stores}"), "there is no accumulator 2");
    row(
        &format!("%1 = reduced_index 0 %2 = neg %0 rows axes 1 (max %0, sum %2) {stores}"),
        "accumulator 0 does not track",
    );
    row(&format!("%1 = reduced 0 %2 = neg %0 rows axes 3 (max %0, sum %2) {stores}"), "cannot reduce 3 of 2 axes");
    row(
        "rows axes 1 () { store 1 <- %0 row { %1 = const 0.0:f32 store 2 <- %1 } }",
        "a reduction needs an accumulator",
    );
    row("rows axes 1 (sum %0) { store 1 <- %0 }", "operand 2 is never stored");
    row("rows axes 1 (sum %0) { store 1 <- %0 row { store 2 <- %0 } }", "an epilogue does not use %0 of the body");
    row("rows axes 1 (sum %0) { store 1 <- %0 row { %1 = reduced 0 store 1 <- %1 } }", "operand 1 is stored twice");
    row("rows axes 1 (sum %0) { row { %1 = index 1 store 2 <- %1 } }", "there is no loop axis 1 here");
    let updated = "in f32 unit, inout f32 unit";
    check(updated, "%0 = load 0 rows axes 1 (sum %0) { store 1 <- %0 }", "rows do not update operand 1");

    check(one, "%0 = load 0 scan sum 1 <- %0", "ok");
    check("in bool unit, out bool unit", "%0 = load 0 scan sum 1 <- %0", "Sum does not accept bool");
    check(one, "%0 = load 0 recurrence 1 <- %0, %0", "ok");
    check(one, "%0 = load 0 %1 = const 2:f64 recurrence 1 <- %1, %0", "the factor is float64, the term float32");
    check("in i32 unit, out i32 unit", "%0 = load 0 recurrence 1 <- %0, %0", "a recurrence is not of int32");
    let scatter = "in f32 unit, inout f32 strided";
    check(scatter, "%0 = load 0 %1 = index 0 scatter add 1[%1] <- %0", "ok");
    check(scatter, "%0 = load 0 %1 = load 1 %2 = index 0 scatter add 1[%2] <- %0", "the target of a scatter is not");
    check(one, "%0 = load 0 %1 = index 0 scatter add 1[%1] <- %0", "the target of a scatter has role inout");
}

#[test]
fn a_report_marks_the_line() {
    let text = "kernel rank 1 vector 0 (in f32 unit, out f32 unit) {\n%0 = load 0 %1 = not %0 map { store 1 <- %1 }\n}";
    let report = text.parse::<Kernel>().unwrap().verify().unwrap_err().to_string();
    assert_eq!(
        report,
        "\
[verify] malformed kernel: Not does not accept float32
kernel rank 1 vector 0 (in f32 unit, out f32 unit) {
  %0: f32 = load 0
  %1: f32 = not %0    <-- Not does not accept float32
  map {
    store 1 <- %1
  }
}"
    );
}

fn arg(slot: Slot, offset: usize, strides: &[isize]) -> Arg {
    Arg { slot, offset, strides: strides.iter().copied().collect(), len: 0 }
}

/// Inputs and outputs of 64 bytes each, an arena of 128.
fn plan(steps: Vec<Step>, donations: &[(u32, u32)]) -> Plan {
    Plan { inputs: vec![64; 2], outputs: vec![64; 2], arena: 128, steps, donations: donations.into() }
}

/// One for each text, so that plans have kernels in common.
fn kernel(text: &str) -> Arc<Kernel> {
    thread_local!(static KERNELS: RefCell<HashMap<String, Arc<Kernel>>> = RefCell::default());
    KERNELS.with_borrow_mut(|kernels| {
        kernels.entry(text.into()).or_insert_with(|| Arc::new(text.parse().unwrap())).clone()
    })
}

fn launch(text: &str, extents: &[usize], args: Vec<Arg>) -> Step {
    Step::launch(kernel(text), Binding { extents: extents.into(), args, params: Vec::new() })
}

/// out = in over an axis of `n` elements and one of 2, as strided operands.
fn copying(n: usize, from: Arg, to: Arg) -> Step {
    let text = "kernel rank 2 vector 1 (in f32 strided, out f32 strided) { %0 = load 0 map { store 1 <- %0 } }";
    launch(text, &[n, 2], vec![from, to])
}

/// The verdict on a plan, by itself, beside each that was accepted before, and after all.
#[track_caller]
fn verdict_on(plan: Plan) -> String {
    thread_local!(static ACCEPTED: RefCell<Vec<Plan>> = const { RefCell::new(Vec::new()) });
    let got = verdict(plan.verify());
    ACCEPTED.with_borrow_mut(|accepted| {
        for like in accepted.iter() {
            assert_eq!(beside(&plan, &[like]).0, got);
        }
        if got == "ok" {
            accepted.push(plan);
        }
    });
    got
}

#[track_caller]
fn check_plan(want: &str, steps: Vec<Step>, donations: &[(u32, u32)]) {
    let got = verdict_on(plan(steps, donations));
    assert!(got == want || want != "ok" && got.contains(want), "{want:?} was expected, not {got}");
}

#[test]
fn accesses_stay_in_bounds() {
    use Slot::*;
    let out = || arg(Output(0), 0, &[2, 1]);
    let temp = |offset, nbytes| Temp { offset, nbytes };
    check_plan("ok", vec![copying(8, arg(Input(0), 0, &[2, 1]), out())], &[]);
    check_plan("touches bytes 0..72 of 64", vec![copying(9, arg(Input(0), 0, &[0, 1]), out())], &[]);
    check_plan("touches bytes 4..68 of 64", vec![copying(8, arg(Input(0), 1, &[2, 1]), out())], &[]);
    check_plan("ok", vec![copying(8, arg(Input(0), 15, &[-2, -1]), out())], &[]);
    check_plan("touches bytes -4..60 of 64", vec![copying(8, arg(Input(0), 14, &[-2, -1]), out())], &[]);
    check_plan("ok", vec![copying(0, arg(Input(0), 999, &[-2, -1]), out())], &[]);
    check_plan("touches bytes", vec![copying(8, arg(Input(0), 0, &[isize::MIN, 1]), out())], &[]);
    check_plan("overflow", vec![copying(usize::MAX, arg(Input(0), 0, &[0, 0]), out())], &[]);
    // Bytes that 64 bits do not count: 2⁷¹ behind the first or before it.
    let distant = |stride| vec![copying((1 << 23) + 1, arg(Input(0), 0, &[stride, 1]), out())];
    check_plan("touches bytes 0..2361183241434822606856 of 64", distant(1 << 46), &[]);
    check_plan("touches bytes -2361183241434822606848..8 of 64", distant(-(1 << 46)), &[]);
    check_plan(
        "touches bytes 73786976294838206460..",
        vec![copying(8, arg(Input(0), usize::MAX, &[2, 1]), out())],
        &[],
    );
    check_plan("there is no slot input5", vec![copying(8, arg(Input(5), 0, &[2, 1]), out())], &[]);
    check_plan("the caller's", vec![copying(8, out(), arg(Input(0), 0, &[2, 1]))], &[]);
    check_plan("ok", vec![copying(8, arg(Input(0), 0, &[2, 1]), arg(temp(64, 64), 0, &[2, 1]))], &[]);
    check_plan("beyond the arena", vec![copying(8, arg(Input(0), 0, &[2, 1]), arg(temp(128, 64), 0, &[2, 1]))], &[]);
    check_plan("not aligned", vec![copying(8, arg(Input(0), 0, &[2, 1]), arg(temp(32, 64), 0, &[2, 1]))], &[]);
    check_plan("ok", vec![Step::Copy { from: Input(0), to: Output(0), nbytes: 64 }], &[]);
    check_plan("0..65 of 64", vec![Step::Copy { from: Input(0), to: Output(0), nbytes: 65 }], &[]);

    let unit = "kernel rank 2 vector 1 (in f32 unit, out f32 unit) { %0 = load 0 map { store 1 <- %0 } }";
    let step = |extents: &[usize]| vec![launch(unit, extents, vec![arg(Input(0), 0, &[1, 2]), out()])];
    check_plan("argument 0 is not unit along the vector axis", step(&[2, 2]), &[]);
    check_plan("ok", step(&[2, 1]), &[]);
    check_plan("a launch with 1 extents", step(&[2]), &[]);

    let sum = "kernel rank 2 vector 1 (in f32 unit, out f32 broadcast) { %0 = load 0 reduce axes 1 (sum %0) { %1 = reduced 0 store 1 <- %1 } }";
    let step = |inner, out| vec![launch(sum, &[2, 4], vec![arg(Input(0), 0, &[4, inner]), out])];
    check_plan("ok", step(1, arg(Output(0), 0, &[1, 0])), &[]);
    check_plan("not broadcast along the vector axis", step(1, arg(Output(0), 0, &[1, 1])), &[]);
    check_plan("two points", step(1, arg(Output(0), 0, &[0, 0])), &[]);

    let rows = "kernel rank 2 vector 1 (in f32 unit, in f32 strided, out f32 unit, out f32 broadcast) { \
        %0 = load 0 %1 = load 1 %2 = mul %0, %1 rows axes 1 (sum %2) { store 2 <- %2 row { %3 = reduced 0 store 3 <- %3 } } }";
    let step = |x, w, y, sum| vec![launch(rows, &[2, 4], vec![x, w, y, sum])];
    let (x, w, y, sum) = (arg(Input(0), 0, &[4, 1]), arg(Input(1), 0, &[1, 0]), arg(Output(0), 0, &[4, 1]), [1, 0]);
    check_plan("ok", step(x.clone(), w.clone(), y.clone(), arg(Output(1), 0, &sum)), &[]);
    check_plan("ok", step(x.clone(), w.clone(), y.clone(), arg(Output(1), 0, &sum)), &[(0, 0)]);
    // What a row stores once is written before the next row reads, perhaps.
    check_plan("at other points", step(x.clone(), w.clone(), y.clone(), arg(Output(1), 0, &sum)), &[(1, 1)]);
    check_plan("may hit", step(x.clone(), w.clone(), y.clone(), arg(Output(0), 7, &sum)), &[]);
    check_plan(
        "not broadcast along the vector axis",
        step(x.clone(), w.clone(), y.clone(), arg(Output(1), 0, &[4, 1])),
        &[],
    );
    check_plan("two points", step(x, w, arg(Output(0), 0, &[1, 1]), arg(Output(1), 0, &sum)), &[]);

    let gather =
        "kernel rank 1 vector 0 (in f32 unit, out f32 unit) { %0 = index 0 %1 = load 0[%0] map { store 1 <- %1 } }";
    let step = |offset, len| {
        vec![launch(gather, &[4], vec![Arg { len, ..arg(Input(0), offset, &[0]) }, arg(Output(0), 0, &[1])])]
    };
    check_plan("ok", step(4, 12), &[]);
    check_plan("reaches byte 68 of 64", step(5, 12), &[]);
    check_plan("ok", step(99, 0), &[]);

    let matmul = |k| {
        Step::Call(Box::new(LibraryCall::Matmul {
            dtype: DType::F32,
            batch: [].into_iter().collect(),
            m: 2,
            n: 3,
            k,
            a: arg(Input(0), 0, &[k as isize, 1]),
            b: arg(Input(1), 0, &[1, k as isize]),
            c: arg(Output(0), 0, &[3, 1]),
        }))
    };
    check_plan("ok", vec![matmul(5)], &[]);
    check_plan("touches bytes 0..72 of 64", vec![matmul(6)], &[]);
}

#[test]
fn epilogues_read_products_at_their_own_points() {
    use Slot::{Input, Output, Temp};
    const ADD: &str = "kernel rank 2 vector 1 (in f32 unit, in f32 unit, out f32 unit) { \
        %0 = load 0 %1 = load 1 %2 = add %0, %1 map { store 2 <- %2 } }";
    let product = |c: Arg, text: &str, extents: &[usize], args: Vec<Arg>| {
        let call = LibraryCall::Matmul {
            dtype: DType::F32,
            batch: [1].into_iter().collect(),
            m: 4,
            n: 3,
            k: 2,
            a: arg(Input(0), 0, &[8, 2, 1]),
            b: arg(Temp { offset: 0, nbytes: 64 }, 0, &[6, 3, 1]),
            c,
        };
        let binding = Arc::new(Binding { extents: extents.into(), args, params: Vec::new() });
        Step::Product { call: Box::new(call), kernel: kernel(text), binding }
    };
    let own = || arg(Slot::Result, 0, &[12, 3, 1]);
    let row = |slot| arg(slot, 0, &[3, 1]);
    let add = |from: Arg, other: Arg, to: Arg| vec![product(own(), ADD, &[4, 3], vec![from, other, to])];
    check_plan("ok", add(row(Slot::Result), row(Input(1)), row(Output(0))), &[(0, 1)]);
    check_plan("at other points than it writes", add(row(Slot::Result), row(Input(1)), row(Output(0))), &[(0, 0)]);
    check_plan("ok", add(row(Slot::Result), row(Output(0)), row(Output(0))), &[]);
    check_plan("may hit", add(row(Slot::Result), row(Input(1)), row(Temp { offset: 0, nbytes: 64 })), &[]);
    check_plan("ok", add(row(Slot::Result), row(Input(1)), row(Temp { offset: 64, nbytes: 64 })), &[]);
    check_plan(
        "touches bytes 12..60 of 48",
        add(row(Slot::Result), arg(Temp { offset: 64, nbytes: 48 }, 3, &[3, 1]), row(Output(0))),
        &[],
    );
    let elsewhere = "reads the result of the product at its own points";
    check_plan(elsewhere, add(arg(Slot::Result, 1, &[3, 1]), row(Input(1)), row(Output(0))), &[]);
    check_plan(elsewhere, add(arg(Slot::Result, 0, &[0, 1]), row(Input(1)), row(Output(0))), &[]);
    check_plan(elsewhere, add(row(Slot::Result), row(Input(1)), row(Slot::Result)), &[]);
    let args = || vec![row(Slot::Result), row(Input(1)), row(Output(0))];
    check_plan("not those of the product", vec![product(own(), ADD, &[3, 4], args())], &[]);
    check_plan(
        "not where its epilogue expects",
        vec![product(arg(Output(1), 0, &[12, 3, 1]), ADD, &[4, 3], args())],
        &[],
    );
    check_plan(
        "not where its epilogue expects",
        vec![product(arg(Slot::Result, 0, &[12, 1, 4]), ADD, &[4, 3], args())],
        &[],
    );
    let scan = "kernel rank 2 vector 1 (in f32 unit, out f32 unit) { %0 = load 0 scan sum 1 <- %0 }";
    check_plan(
        "an epilogue is a map",
        vec![product(own(), scan, &[4, 3], vec![row(Slot::Result), row(Output(0))])],
        &[],
    );
    check_plan("only a step with an epilogue", vec![copying(4, row(Slot::Result), row(Output(0)))], &[]);
}

#[test]
fn scatters_go_on_at_their_own_points() {
    use Slot::{Input, Output, Temp};
    const COPY: &str = "kernel rank 1 vector 0 (in f32 strided, out f32 strided) { %0 = load 0 map { store 1 <- %0 } }";
    const ADD: &str = "kernel rank 1 vector 0 (in f32 strided, in f32 strided, out f32 strided) { \
        %0 = load 0 %1 = load 1 %2 = add %0, %1 map { store 2 <- %2 } }";
    const UPDATE: &str = "kernel rank 1 vector 0 (in i64 unit, in f32 unit, inout f32 strided) { \
        %0 = load 0 %1 = load 1 scatter add 2[%0] <- %1 }";
    let pass = |text: &str, n: usize, args: Vec<Arg>| Pass {
        kernel: kernel(text),
        binding: Binding { extents: [n].into_iter().collect(), args, params: Vec::new() },
    };
    let row = |slot| arg(slot, 0, &[1]);
    let result = || row(Slot::Result);
    let temp = |offset| row(Temp { offset, nbytes: 64 });
    let whole = |len| Arg { len, ..arg(Slot::Result, 0, &[0]) };
    let target = |from| pass(COPY, 12, vec![from, result()]);
    let updates = |values| pass(UPDATE, 4, vec![row(Input(1)), values, whole(12)]);
    let epilogue = |other, to| pass(ADD, 12, vec![result(), other, to]);
    let scatter = |target, updates, epilogue| vec![Step::Scatter(Box::new(Scatter { target, updates, epilogue }))];
    let ok = || scatter(target(row(Input(0))), updates(temp(64)), epilogue(row(Input(0)), row(Output(0))));
    check_plan("ok", ok(), &[(0, 0)]);
    check_plan("at other points than it writes", ok(), &[(0, 1)]);
    // Over the target, and what the map reads: at equal points. Not over what updates read, wherever.
    let in_place = |to, values| scatter(target(temp(0)), updates(values), epilogue(row(Input(0)), to));
    check_plan("ok", in_place(temp(0), temp(64)), &[]);
    check_plan("may hit", in_place(temp(64), temp(64)), &[]);
    check_plan("may hit", in_place(arg(Temp { offset: 0, nbytes: 64 }, 11, &[-1]), temp(64)), &[]);
    // The three fit together.
    let to = || epilogue(row(Input(0)), row(Output(0)));
    let one = "each point to its own";
    check_plan(one, scatter(pass(COPY, 12, vec![row(Input(0)), row(Output(0))]), updates(temp(64)), to()), &[]);
    check_plan(one, scatter(pass(COPY, 12, vec![result(), result()]), updates(temp(64)), to()), &[]);
    check_plan(
        "not those of the target",
        scatter(pass(COPY, 6, vec![row(Input(0)), result()]), updates(temp(64)), to()),
        &[],
    );
    check_plan("go to all of the result", scatter(target(row(Input(0))), updates(result()), to()), &[]);
    let short = pass(UPDATE, 4, vec![row(Input(1)), temp(64), whole(11)]);
    check_plan("go to all of the result", scatter(target(row(Input(0))), short, to()), &[]);
    let turned = epilogue(arg(Slot::Result, 11, &[-1]), row(Output(0)));
    check_plan("at its own points", scatter(target(row(Input(0))), updates(temp(64)), turned), &[]);
    check_plan(
        "at its own points",
        scatter(target(row(Input(0))), updates(temp(64)), epilogue(temp(0), result())),
        &[],
    );
    let scan = pass(
        "kernel rank 1 vector 0 (in f32 unit, out f32 unit) { %0 = load 0 scan sum 1 <- %0 }",
        12,
        vec![result(), row(Output(0))],
    );
    check_plan("are maps", scatter(target(row(Input(0))), updates(temp(64)), scan), &[]);
    check_plan("are one", scatter(target(row(Input(0))), to(), to()), &[]);
}

#[test]
fn stores_hit_no_other_point() {
    use Slot::*;
    let t = |offset, strides: &[isize]| arg(Temp { offset: 0, nbytes: 128 }, offset, strides);
    check_plan("two points", vec![copying(4, arg(Input(0), 0, &[2, 1]), t(0, &[0, 1]))], &[]);
    check_plan("two points", vec![copying(4, arg(Input(0), 0, &[2, 1]), t(0, &[1, 1]))], &[]);
    check_plan("ok", vec![copying(4, t(0, &[2, 1]), t(0, &[2, 1]))], &[]);
    check_plan(
        "index maps of overlapping arguments must be equal",
        vec![copying(4, t(1, &[2, 1]), t(0, &[2, 1]))],
        &[],
    );
    check_plan(
        "index maps of overlapping arguments must be equal",
        vec![copying(4, t(7, &[-2, 1]), t(0, &[2, 1]))],
        &[],
    );
    check_plan("ok", vec![copying(4, t(8, &[2, 1]), t(0, &[2, 1]))], &[]);
    // Real from imaginary parts: they interleave.
    check_plan("ok", vec![copying(4, t(1, &[4, 2]), t(0, &[4, 2]))], &[]);
    let same = Temp { offset: 0, nbytes: 64 };
    check_plan("index maps", vec![Step::Copy { from: same, to: same, nbytes: 64 }], &[]);

    // Equal lists of strides, along different axes.
    let sum = "kernel rank 2 vector 1 (in f32 strided, out f32 broadcast) { %0 = load 0 reduce axes 1 (sum %0) { %1 = reduced 0 store 1 <- %1 } }";
    let step = |strides: &[isize]| vec![launch(sum, &[4, 4], vec![t(0, strides), t(0, &[4, 0])])];
    check_plan("ok", step(&[4, 0]), &[]);
    check_plan("index maps", step(&[0, 4]), &[]);
}

#[test]
fn bindings_do_not_meet() {
    use Slot::*;
    let t = |offset| arg(Temp { offset: 0, nbytes: 128 }, offset, &[2, 1]);
    let both = |first: Step, second: Step| match (first, second) {
        (Step::Launch { kernel, bindings }, Step::Launch { bindings: more, .. }) => {
            vec![Step::Launch { kernel, bindings: bindings.iter().chain(&*more).cloned().collect() }]
        }
        _ => unreachable!("both are launches"),
    };
    let out = |n, offset| arg(Output(n), offset, &[2, 1]);
    let from = |n| arg(Input(n), 0, &[2, 1]);
    check_plan("ok", both(copying(4, from(0), out(0, 0)), copying(4, from(0), out(0, 8))), &[]);
    check_plan("ok", both(copying(4, from(0), out(0, 0)), copying(4, from(1), out(1, 0))), &[(0, 0), (1, 1)]);
    check_plan("a store may hit", both(copying(4, from(0), out(0, 0)), copying(4, from(1), out(0, 7))), &[]);
    // In place within a binding, not across.
    check_plan("ok", both(copying(4, t(0), t(0)), copying(4, t(8), t(8))), &[]);
    check_plan("a store may hit", both(copying(4, t(0), t(8)), copying(4, t(8), t(0))), &[]);
    check_plan("at other points", both(copying(4, from(0), out(0, 0)), copying(4, from(0), out(1, 0))), &[(0, 0)]);

    // Many, each with two elements of the outputs and the arena to itself; but for two of them.
    let places = || {
        let of_outputs = (0..16).map(|k| arg(Output(k / 8), 2 * (k as usize % 8), &[2, 1]));
        of_outputs.chain((0..16).map(|k| t(2 * k)))
    };
    let copy = |to: Arg| Binding { extents: [1, 2].into_iter().collect(), args: vec![from(0), to], params: vec![] };
    let Step::Launch { kernel, .. } = copying(1, from(0), out(0, 0)) else { unreachable!("a launch") };
    let all = |change: &dyn Fn(&mut Vec<Arg>)| {
        let mut places: Vec<Arg> = places().collect();
        change(&mut places);
        vec![Step::Launch { kernel: kernel.clone(), bindings: places.into_iter().map(copy).collect() }]
    };
    check_plan("ok", all(&|_| ()), &[]);
    check_plan("ok", all(&|places| places.reverse()), &[]);
    for (i, place) in places().enumerate() {
        for other in (0..32).filter(|&other| other != i) {
            check_plan("a store may hit", all(&|places| places[other] = place.clone()), &[]);
        }
    }
}

#[test]
fn columns_do_not_meet() {
    use Slot::*;
    let text = "kernel rank 2 vector 1 (in u8 strided, out u8 strided) { %0 = load 0 map { store 1 <- %0 } }";
    // Two rows of columns, each of three elements, in any order: all of them at once, and a few by pairs.
    let check = |want: &str, begins: &[usize], row: isize| {
        let bindings = begins.iter().map(|&begin| {
            let to = arg(Temp { offset: 0, nbytes: 128 }, begin, &[row, 1]);
            Binding { extents: [2, 3].into_iter().collect(), args: vec![arg(Input(0), 0, &[0, 1]), to], params: vec![] }
        });
        check_plan(want, vec![Step::Launch { kernel: kernel(text), bindings: bindings.collect() }], &[]);
    };
    for count in [3, 20] {
        let row = 3 * count as isize;
        let all: Vec<usize> = (0..count).map(|k| 3 * (7 * k % count)).collect();
        check("ok", &all, row);
        check("a store may hit", &all, row - 1);
        for n in 0..count {
            let moved =
                |by: usize| all.iter().enumerate().map(|(k, &begin)| if k == n { begin + by } else { begin }).collect();
            check("a store may hit", &Vec::from_iter::<Vec<usize>>(moved(1)), row);
        }
    }
}

#[test]
fn donated_inputs_are_not_read_again() {
    use Slot::*;
    let copy =
        |input, strides: &[isize], output| copying(4, arg(Input(input), 0, strides), arg(Output(output), 0, &[2, 1]));
    check_plan("ok", vec![copy(0, &[2, 1], 0)], &[(0, 0)]);
    check_plan("at other points than it writes", vec![copy(0, &[1, 4], 0)], &[(0, 0)]);
    check_plan("ok", vec![copy(0, &[1, 4], 1), copy(0, &[2, 1], 0)], &[(0, 0)]);
    check_plan("a later step reads the input", vec![copy(0, &[2, 1], 0), copy(0, &[2, 1], 1)], &[(0, 0)]);
    let twice = Step::Copy { from: Input(1), to: Output(1), nbytes: 64 };
    check_plan("ok", vec![copy(0, &[2, 1], 0), twice.clone()], &[(0, 0), (1, 0)]);
    check_plan("a later step reads the input", vec![twice, copy(0, &[2, 1], 0)], &[(0, 0), (1, 0)]);
    check_plan("at other points", vec![Step::Copy { from: Input(0), to: Output(0), nbytes: 64 }], &[(0, 0)]);
    // All reads of the step that writes count, and all its writes.
    let sum = "kernel rank 2 vector 1 (in f32 strided, in f32 strided, out f32 strided) { %0 = load 0 %1 = load 1 %2 = add %0, %1 map { store 2 <- %2 } }";
    let add = |extents: &[usize], args: [(usize, [isize; 2]); 2], to: usize| {
        let [a, b] = args.map(|(offset, strides)| arg(Input(0), offset, &strides));
        launch(sum, extents, vec![a, b, arg(Output(0), to, &[2, 1])])
    };
    let (own, turned) = ((0, [2, 1]), (0, [1, 4]));
    check_plan("ok", vec![add(&[4, 2], [own, own], 0)], &[(0, 0)]);
    check_plan("ok", vec![add(&[4, 2], [turned, own], 0)], &[]);
    check_plan("at other points", vec![add(&[4, 2], [turned, own], 0)], &[(0, 0)]);
    check_plan("at other points", vec![add(&[4, 2], [own, turned], 0)], &[(0, 0)]);
    let halves = |second: (usize, [isize; 2])| {
        let parts = [add(&[2, 2], [own, own], 0), add(&[2, 2], [second, second], 4)];
        let (mut kernels, bindings): (Vec<_>, Vec<_>) = parts
            .into_iter()
            .map(|step| match step {
                Step::Launch { kernel, bindings } => (kernel, bindings[0].clone()),
                _ => unreachable!("a launch"),
            })
            .unzip();
        vec![Step::Launch { kernel: kernels.remove(0), bindings: bindings.into() }]
    };
    check_plan("ok", halves((4, [2, 1])), &[(0, 0)]);
    check_plan("ok", halves((0, [2, 1])), &[]);
    check_plan("at other points", halves((0, [2, 1])), &[(0, 0)]);
    check_plan("at other points", halves((4, [1, 2])), &[(0, 0)]);
    let mut small = plan(vec![copy(0, &[2, 1], 0)], &[(0, 0)]);
    small.outputs[0] = 32;
    assert!(verdict_on(small).contains("their sizes differ"));
}

/// One byte (of a slot's space) touched by a launch.
struct Touch {
    byte: (u8, usize),
    /// Of a reduction, the point of its kept axes; none for a computed position.
    point: Option<usize>,
    writes: bool,
}

/// Every byte that a launch touches, point by point; none if one is out of bounds.
fn enumerate(plan: &Plan, step: &Step) -> Option<Vec<Touch>> {
    let Step::Launch { kernel, bindings } = step else { return None };
    let Binding { extents, args, .. } = &bindings[0];
    let kept = extents.len() - kernel.reduced() as usize;
    let mut touched = Vec::new();
    let mut touch = |operand: u32, element: isize, point: Option<usize>, writes: bool| {
        let (itemsize, slot) = (kernel.operands[operand as usize].dtype.itemsize(), args[operand as usize].slot);
        let (space, start, nbytes) = match slot {
            Slot::Input(n) => (n as u8, 0, plan.inputs[n as usize]),
            Slot::Output(n) => (100 + n as u8, 0, plan.outputs[n as usize]),
            Slot::Temp { offset, nbytes } => (200, offset, nbytes),
            Slot::Result => unreachable!("a launch has no product"),
        };
        let first = usize::try_from(element).ok()? * itemsize;
        touched.extend((first..first + itemsize).map(|byte| Touch { byte: (space, start + byte), point, writes }));
        (first + itemsize <= nbytes).then_some(())
    };
    let at = |arg: &Arg, indices: &[usize]| {
        arg.offset as isize + indices.iter().zip(&arg.strides).map(|(&i, &s)| i as isize * s).sum::<isize>()
    };
    let each = |extents: &[usize]| {
        let mut points = vec![Vec::new()];
        for &n in extents {
            points = points.into_iter().flat_map(|p| (0..n).map(move |i| [&p[..], &[i]].concat())).collect();
        }
        points
    };
    let (stores, epilogue) = match &kernel.nest {
        Nest::Map { stores } => (stores.clone(), &[][..]),
        Nest::Reduce { stores, epilogue, .. } => (stores.clone(), &epilogue[..]),
        Nest::Rows { row_stores, epilogue, .. } => (row_stores.clone(), &epilogue[..]),
        Nest::Scan { value, store, .. } | Nest::Recurrence { term: value, store, .. } => {
            (vec![Store { operand: *store, value: *value }], &[][..])
        }
        Nest::Scatter { target, .. } => {
            for i in 0..args[*target as usize].len {
                touch(*target, (args[*target as usize].offset + i) as isize, None, true)?;
            }
            (vec![], &[][..])
        }
    };
    // Every point of rows is one by itself; what happens once per row comes behind them all.
    let (axes, first_row) = match &kernel.nest {
        Nest::Rows { .. } => (extents.len(), crate::shape::size(extents)),
        _ => (kept, 0),
    };
    for inst in kernel.insts() {
        if let Inst::LoadAt { operand, .. } = *inst {
            for i in 0..args[operand as usize].len {
                touch(operand, (args[operand as usize].offset + i) as isize, None, false)?;
            }
        }
    }
    for indices in each(extents) {
        let point = indices[..axes].iter().zip(&extents[..]).fold(0, |p, (&i, &n)| p * n + i);
        for inst in &kernel.body {
            if let Inst::Load(operand) = *inst {
                touch(operand, at(&args[operand as usize], &indices), Some(point), false)?;
            }
        }
        if let Nest::Rows { stores, .. } = &kernel.nest {
            for s in stores {
                touch(s.operand, at(&args[s.operand as usize], &indices), Some(point), true)?;
            }
        }
    }
    for (row, indices) in each(&extents[..kept]).into_iter().enumerate() {
        let point = first_row + row;
        for inst in epilogue {
            if let Inst::Load(operand) = *inst {
                touch(operand, at(&args[operand as usize], &indices), Some(point), false)?;
            }
        }
        for s in &stores {
            touch(s.operand, at(&args[s.operand as usize], &indices), Some(point), true)?;
        }
    }
    Some(touched)
}

/// Random plans with random damage: what the verifier accepts is in bounds, and no point writes what another one touches.
#[test]
fn what_is_accepted_is_safe_by_enumeration() {
    let mut rng = Rng(3);
    let (mut accepted, mut rejected) = (0, 0);
    for seed in 0..3000 {
        let mut plan = random_case(seed, NestKind::ALL[seed as usize % NestKind::ALL.len()], &DTYPES).plan;
        let Some(Step::Launch { bindings, .. }) =
            plan.steps.iter_mut().find(|step| matches!(step, Step::Launch { .. }))
        else {
            unreachable!("every case has a launch")
        };
        let Binding { extents, args, .. } = &mut Arc::make_mut(bindings)[0];
        if crate::shape::size(extents) > 400 {
            continue;
        }
        for _ in 0..rng.below(3) {
            let number = rng.below(args.len());
            let other = args[rng.below(args.len())].clone();
            let arg = &mut args[number];
            let axis = rng.below(arg.strides.len().max(1));
            match rng.below(6) {
                0 => arg.offset = rng.below(8),
                1 => arg.len += rng.below(3),
                2 if !arg.strides.is_empty() => arg.strides[axis] = rng.below(9) as isize - 4,
                3 if !extents.is_empty() => extents[axis] += rng.below(2),
                4 => *arg = Arg { strides: arg.strides.clone(), ..other },
                _ => *arg = other,
            }
        }
        if plan.verify().is_err() {
            rejected += 1;
            continue;
        }
        accepted += 1;
        for step in plan.steps.iter().filter(|step| matches!(step, Step::Launch { .. })) {
            let touched = enumerate(&plan, step).unwrap_or_else(|| panic!("seed {seed}: out of bounds\n{plan}"));
            let mut writers = HashMap::new();
            for t in touched.iter().filter(|t| t.writes) {
                let before = writers.insert(t.byte, t.point);
                assert!(before.is_none(), "seed {seed}: byte {:?} is written twice\n{plan}", t.byte);
            }
            for t in touched.iter().filter(|t| !t.writes) {
                let alone = writers.get(&t.byte).is_none_or(|writer| writer.is_some() && *writer == t.point);
                assert!(alone, "seed {seed}: byte {:?} is written and read by different points\n{plan}", t.byte);
            }
        }
    }
    assert!(accepted > 300 && rejected > 300, "{accepted} accepted, {rejected} rejected");
}
