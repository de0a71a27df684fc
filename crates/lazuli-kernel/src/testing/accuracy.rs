//! Errors of the elementary functions, in units in the last place, on any backend.
//!
//! f32 results are judged by the f64 function of the same name, 2²⁹ times as fine, computed beside them in one kernel; f64 results by
//! values from arbitrary precision that the caller brings.

use super::run;
use crate::backend::Backend;
use crate::dtype::DType;
use crate::ir::{Emit, Inner, Kernel, Nest, Operand, Role, Store, Value};
use crate::math::{Emitter, Function};
use crate::plan::{Arg, Binding, Plan, Slot, Step};
use std::sync::Arc;

/// The largest error seen so far, and where.
#[derive(Debug, Clone, Copy, Default)]
pub struct Worst {
    pub ulp: f64,
    pub operands: [f64; 2],
    pub got: f64,
    pub want: f64,
    pub points: u64,
}

impl Worst {
    fn see(&mut self, ulp: f64, operands: [f64; 2], got: f64, want: f64) {
        self.points += 1;
        if ulp > self.ulp {
            *self = Self { ulp, operands, got, want, points: self.points };
        }
    }
    /// Of two sets of points.
    pub fn merge(self, other: Self) -> Self {
        let points = self.points + other.points;
        Self { points, ..if self.ulp >= other.ulp { self } else { other } }
    }
}

/// Numbers at the edges of f32, for both operands.
pub const EDGES: [f32; 24] = [
    0.0,
    1.0,
    f32::INFINITY,
    f32::NAN,
    f32::MAX,
    f32::MIN_POSITIVE,
    1e-45,
    1.1754942e-38,
    0.5,
    2.0,
    3.0,
    1.5,
    0.99999994,
    1.0000001,
    8388607.5,
    8388609.0,
    16777215.0,
    16777216.0,
    88.72284,
    103.97208,
    1e-30,
    1e30,
    std::f32::consts::FRAC_PI_2,
    std::f32::consts::PI,
];

/// Stores f(x) and, for f32, the f64 function of the same operands, for `n` points.
pub fn plan(function: &Function, dtype: DType, n: usize) -> Plan {
    let mut e = Emit::new();
    let operands: Vec<Value> = (0..function.arity()).map(|_| e.input(dtype)).collect();
    let emit = |e: &mut Emit, v: &[Value]| match function.emit {
        Emitter::Unary(f) => f(e, v[0]),
        Emitter::Binary(f) => f(e, v[0], v[1]),
    };
    let mut results = vec![emit(&mut e, &operands)];
    if dtype == DType::F32 {
        let wide: Vec<Value> = operands.iter().map(|&v| e.cast(DType::F64, v)).collect();
        results.push(emit(&mut e, &wide));
    }
    let stores = results.into_iter().map(|value| {
        let dtype = e.dtype(value);
        Store { operand: e.operand(Operand { dtype, role: Role::Out, inner: Inner::Unit }), value }
    });
    let stores: Vec<Store> = stores.collect();
    let arg = |slot| Arg { slot, offset: 0, strides: [1].into_iter().collect(), len: n };
    let inputs = (0..operands.len() as u32).map(Slot::Input);
    let args = inputs.chain((0..stores.len() as u32).map(Slot::Output)).map(arg).collect();
    let sizes = stores.iter().map(|s| n * e.operands[s.operand as usize].dtype.itemsize()).collect();
    let kernel = Kernel {
        rank: 1,
        vector_axis: 0,
        params: vec![],
        operands: e.operands,
        body: e.insts,
        nest: Nest::Map { stores },
    };
    Plan {
        inputs: vec![n * dtype.itemsize(); operands.len()],
        outputs: sizes,
        steps: vec![Step::launch(
            Arc::new(kernel),
            Binding { extents: [n].into_iter().collect(), args, params: vec![] },
        )],
        ..Plan::default()
    }
}

/// 2 to the exponent of the last place of `y`, for a significand of `bits` bits and least exponent `least`.
fn unit(y: f64, bits: i32, least: i32) -> f64 {
    let exponent = ((y.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    2f64.powi(exponent.clamp(least, -least + 1) - (bits - 1))
}

/// Errors of `function` in f32 at these points (operands past its arity are ignored). ∞ counts as 2¹²⁸; a NaN in the wrong place and a
/// wrong sign of zero count as infinitely wrong.
pub fn measure_f32(backend: &dyn Backend, function: &Function, points: &[[f32; 2]]) -> Result<Worst, String> {
    let operand = |i: usize| points.iter().flat_map(|p| p[i].to_le_bytes()).collect();
    let inputs: Vec<Vec<u8>> = (0..function.arity()).map(operand).collect();
    let outputs = run(backend, &plan(function, DType::F32, points.len()), &inputs)?;
    let got = outputs[0].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    let want = outputs[1].chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap()));
    let mut worst = Worst::default();
    let limit = 2f64.powi(128);
    for ((&p, got), want) in points.iter().zip(got).zip(want) {
        // Rounded correctly: at most half a unit, which is not worth the arithmetic once as much was seen.
        if worst.ulp >= 0.5 && got.to_bits() == (want as f32).to_bits() {
            worst.points += 1;
            continue;
        }
        let operands = [p[0] as f64, if function.arity() == 2 { p[1] as f64 } else { 0.0 }];
        let scale = scale(function, operands, want);
        let zero = got == 0.0 || scale == 0.0;
        let ulp = if got.is_nan() || want.is_nan() {
            if got.is_nan() && want.is_nan() { 0.0 } else { f64::INFINITY }
        } else if zero && got.is_sign_negative() != scale.is_sign_negative() {
            f64::INFINITY
        } else {
            let got = if got.is_infinite() { limit.copysign(got as f64) } else { got as f64 };
            let want = want.clamp(-limit, limit);
            (got - want).abs() / unit(scale.clamp(-limit, limit), 24, -126)
        };
        worst.see(ulp, operands, got as f64, want);
    }
    Ok(worst)
}

/// What errors are relative to: the result, but for logaddexp, whose sum cancels near a result of 0, the largest of operands and result.
fn scale(function: &Function, [a, b]: [f64; 2], want: f64) -> f64 {
    let finite = |v: f64| if v.is_finite() { v.abs() } else { 0.0 };
    if function.name == "logaddexp" { want.abs().max(finite(a)).max(finite(b)) } else { want }
}

/// Errors of `function` in f64 at records of `tools/math_reference.py`: operands, the correctly rounded result, and the rest of the exact one in
/// units of its last place (f32), all little-endian.
pub fn measure_f64(backend: &dyn Backend, function: &Function, records: &[u8]) -> Result<Worst, String> {
    let arity = function.arity();
    let record = 8 * arity + 12;
    let field = |r: &[u8], i: usize| f64::from_le_bytes(r[8 * i..8 * i + 8].try_into().unwrap());
    let operand = |i: usize| records.chunks_exact(record).flat_map(|r| r[8 * i..8 * i + 8].to_vec()).collect();
    let inputs: Vec<Vec<u8>> = (0..arity).map(operand).collect();
    let outputs = run(backend, &plan(function, DType::F64, records.len() / record), &inputs)?;
    let mut worst = Worst::default();
    for (r, got) in records.chunks_exact(record).zip(outputs[0].chunks_exact(8)) {
        let got = f64::from_le_bytes(got.try_into().unwrap());
        let operands = [field(r, 0), if arity == 2 { field(r, 1) } else { 0.0 }];
        let want = field(r, arity);
        let rest = f32::from_le_bytes(r[record - 4..].try_into().unwrap()) as f64;
        let ulp = if got == want && want.is_infinite() {
            0.0
        } else if !got.is_finite() || !want.is_finite() {
            f64::INFINITY
        } else {
            let exact = unit(want, 53, -1022);
            ((got - want) / exact - rest).abs() * (exact / unit(scale(function, operands, want), 53, -1022))
        };
        worst.see(ulp, operands, got, want);
    }
    Ok(worst)
}
