//! Numbers and arrays as text: as MLX prints them.

mod spec;

use crate::dtype::DType;
use crate::scalar::Scalar;
pub use spec::{Spec, plain};
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many elements are shown at each end of an axis that has more than twice as many.
const EDGE: usize = 3;

/// Decimal places of printed floats; [`SIGNIFICANT`] stands for six significant digits.
static PRECISION: AtomicUsize = AtomicUsize::new(SIGNIFICANT);
const SIGNIFICANT: usize = usize::MAX;

/// Sets how many decimal places printed floats have, in the whole process; `None` for six significant digits.
pub fn set_precision(places: Option<usize>) {
    PRECISION.store(places.unwrap_or(SIGNIFICANT), Ordering::Relaxed);
}

/// How many decimal places printed floats have; `None` for six significant digits.
pub fn precision() -> Option<usize> {
    Some(PRECISION.load(Ordering::Relaxed)).filter(|&p| p != SIGNIFICANT)
}

/// `array([1, 2], dtype=float32)`, from the bytes of the elements in row-major order.
pub fn array(dtype: DType, shape: &[usize], bytes: &[u8]) -> String {
    let mut out = String::from("array(");
    let item = dtype.itemsize();
    let show = |i: usize| scalar(Scalar::from_bytes(dtype, &bytes[i * item..(i + 1) * item]));
    nested(&mut out, shape, 0, &show, 6);
    out += &format!(", dtype={dtype})");
    out
}

/// One axis and those inside it; depth is bounded by the rank.
fn nested(out: &mut String, shape: &[usize], start: usize, show: &dyn Fn(usize) -> String, indent: usize) {
    let Some((&n, inner)) = shape.split_first() else {
        *out += &show(start);
        return;
    };
    let step: usize = inner.iter().product();
    let separator = if inner.is_empty() { ", ".to_owned() } else { format!(",\n{}", " ".repeat(indent + 1)) };
    out.push('[');
    let mut i = 0;
    while i < n {
        if i > 0 {
            *out += &separator;
        }
        if n > 2 * EDGE && i == EDGE {
            *out += "...";
            i = n - EDGE;
            continue;
        }
        nested(out, inner, start + i * step, show, indent + 1);
        i += 1;
    }
    out.push(']');
}

/// One number: floats with six significant digits, as C's `%g`, or with the decimal places of [`set_precision`].
pub fn scalar(s: Scalar) -> String {
    match s.dtype {
        DType::Bool => if s.bits != 0 { "True" } else { "False" }.into(),
        DType::U64 => s.bits.to_string(),
        DType::C64 => {
            let im = s.imag();
            format!("{}{}{}j", float(s.to_f64()), if im < 0.0 { "" } else { "+" }, float(im as f64))
        }
        d if d.is_float() => float(s.to_f64()),
        _ => s.to_i64().to_string(),
    }
}

/// A float as [`scalar`] writes it.
fn float(v: f64) -> String {
    match precision() {
        Some(places) if v.is_finite() => format!("{v:.places$}"),
        _ => general(v),
    }
}

/// `%g`: six significant digits, trailing zeros dropped, an exponent outside 1e-4 … 1e6.
fn general(v: f64) -> String {
    if v.is_nan() {
        return "nan".into();
    }
    if v.is_infinite() {
        return if v > 0.0 { "inf" } else { "-inf" }.into();
    }
    if v == 0.0 {
        return if v.is_sign_negative() { "-0" } else { "0" }.into();
    }
    let scientific = format!("{v:.5e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("the e format has an exponent");
    let exponent: i32 = exponent.parse().expect("an integer exponent");
    let trim =
        |s: &str| if s.contains('.') { s.trim_end_matches('0').trim_end_matches('.').to_owned() } else { s.to_owned() };
    if (-4..6).contains(&exponent) {
        return trim(&format!("{v:.*}", (5 - exponent) as usize));
    }
    format!("{}e{}{:02}", trim(mantissa), if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::general;

    #[test]
    fn numbers_print_as_c_prints_them() {
        for (v, want) in [
            (1.0, "1"),
            (2.367879441171442, "2.36788"),
            (1e-7, "1e-07"),
            (123456789.0, "1.23457e+08"),
            (100000.0, "100000"),
            (1e6, "1e+06"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (999999.5, "1e+06"),
            (-0.0, "-0"),
            (0.1, "0.1"),
        ] {
            assert_eq!(general(v), want);
        }
    }
}
