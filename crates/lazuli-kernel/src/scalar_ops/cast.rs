//! Conversions between dtypes, rounded once.

use super::element::{Element, with_integer};
use crate::dtype::DType;
use half::{bf16, f16};

/// Goes by way of f64 from floats and of i64 or u64 from the others: each holds its sources exactly.
pub(crate) fn cast(from: DType, to: DType, a: &[u64], out: &mut [u64]) {
    match from {
        _ if from == to => out.copy_from_slice(a),
        DType::F16 => from_float(to, a, out, |a| f16::from_bits(a as u16).to_f64()),
        DType::BF16 => from_float(to, a, out, |a| bf16::from_bits(a as u16).to_f64()),
        DType::F32 => from_float(to, a, out, |a| f32::of(a) as f64),
        DType::F64 => from_float(to, a, out, f64::of),
        DType::I8 => from_signed(to, a, out, |a| i8::of(a) as i64),
        DType::I16 => from_signed(to, a, out, |a| i16::of(a) as i64),
        DType::I32 => from_signed(to, a, out, |a| i32::of(a) as i64),
        DType::I64 => from_signed(to, a, out, i64::of),
        DType::Bool | DType::U8 | DType::U16 | DType::U32 | DType::U64 => from_unsigned(to, a, out),
        DType::C64 => unreachable!("no value of a kernel is complex"),
    }
}

fn from_float(to: DType, a: &[u64], out: &mut [u64], value: impl Fn(u64) -> f64) {
    let value = |&a: &u64| value(a);
    let values = a.iter().map(value);
    let out = out.iter_mut();
    match to {
        DType::Bool => out.zip(values).for_each(|(o, v)| *o = (v != 0.0) as u64),
        DType::F16 => out.zip(values).for_each(|(o, v)| *o = f64_to_f16(v).to_bits() as u64),
        DType::BF16 => out.zip(values).for_each(|(o, v)| *o = f64_to_bf16(v).to_bits() as u64),
        DType::F32 => out.zip(values).for_each(|(o, v)| *o = (v as f32).bits()),
        DType::F64 => out.zip(values).for_each(|(o, v)| *o = v.bits()),
        // `as` truncates and saturates, and turns NaN into 0.
        _ => with_integer!(to, T => out.zip(values).for_each(|(o, v)| *o = (v as T).bits())),
    }
}

fn from_signed(to: DType, a: &[u64], out: &mut [u64], value: impl Fn(u64) -> i64) {
    let value = |&a: &u64| value(a);
    let values = a.iter().map(value);
    let out = out.iter_mut();
    match to {
        DType::Bool => out.zip(values).for_each(|(o, v)| *o = (v != 0) as u64),
        DType::F16 => out.zip(values).for_each(|(o, v)| *o = f16::from_f32(v as f32).to_bits() as u64),
        DType::BF16 => out.zip(values).for_each(|(o, v)| *o = bf16::from_f32(v as f32).to_bits() as u64),
        DType::F32 => out.zip(values).for_each(|(o, v)| *o = (v as f32).bits()),
        DType::F64 => out.zip(values).for_each(|(o, v)| *o = (v as f64).bits()),
        _ => with_integer!(to, T => out.zip(values).for_each(|(o, v)| *o = (v as T).bits())),
    }
}

fn from_unsigned(to: DType, a: &[u64], out: &mut [u64]) {
    let out = out.iter_mut().zip(a);
    match to {
        DType::Bool => out.for_each(|(o, &v)| *o = (v != 0) as u64),
        DType::F16 => out.for_each(|(o, &v)| *o = f16::from_f32(v as f32).to_bits() as u64),
        DType::BF16 => out.for_each(|(o, &v)| *o = bf16::from_f32(v as f32).to_bits() as u64),
        DType::F32 => out.for_each(|(o, &v)| *o = (v as f32).bits()),
        DType::F64 => out.for_each(|(o, &v)| *o = (v as f64).bits()),
        _ => with_integer!(to, T => out.for_each(|(o, &v)| *o = (v as T).bits())),
    }
}

/// f64 to f16, rounded once to nearest even. (`half` converts by way of f32 where it uses the hardware, and drops low bits where it does not.)
pub fn f64_to_f16(v: f64) -> f16 {
    f16::from_f32(round_to_odd(v))
}

/// f64 to bf16, rounded once to nearest even.
pub fn f64_to_bf16(v: f64) -> bf16 {
    bf16::from_f32(round_to_odd(v))
}

/// f64 to f32, toward zero, with the last bit set if anything was lost: rounding the result to a format that is two or
/// more bits narrower then gives what rounding `v` itself would (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved
/// algorithms using rounding to odd", 2008).
fn round_to_odd(v: f64) -> f32 {
    let near = v as f32;
    if near as f64 == v {
        return near;
    }
    let away = (near as f64).abs() > v.abs();
    f32::from_bits((near.to_bits() - away as u32) | 1)
}
