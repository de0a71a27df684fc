//! Format specifications for numbers, `[[fill]align][sign][#][0][width][grouping][.precision][type]`: those of Python's `str.format`
//! ("Format Specification Mini-Language" in its library reference), so that a format means the same in both languages and in files.
//!
//! Absent: the types `c` and `n`, and `#` for floats.

use crate::dtype::DType;
use crate::scalar::Scalar;
use std::str::FromStr;

/// How a number is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    fill: char,
    align: Option<char>,
    sign: char,
    prefixed: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

/// Wider than this is taken for a mistake, rather than for a wish to fill memory.
const WIDEST: usize = 1 << 12;

impl FromStr for Spec {
    type Err = String;
    fn from_str(text: &str) -> Result<Spec, String> {
        let bad = |why: &str| format!("the format '{text}' {why}");
        let mut rest: Vec<char> = text.chars().rev().collect();
        let is_align = |c: Option<&char>| c.is_some_and(|c| "<>=^".contains(*c));
        let mut spec = Spec {
            fill: ' ',
            align: None,
            sign: '-',
            prefixed: false,
            width: 0,
            grouping: None,
            precision: None,
            kind: None,
        };
        if rest.len() > 1 && is_align(rest.get(rest.len() - 2)) {
            spec.fill = rest.pop().unwrap_or(' ');
        }
        if is_align(rest.last()) {
            spec.align = rest.pop();
        }
        let eat = |rest: &mut Vec<char>, set: &str| rest.pop_if(|c| set.contains(*c));
        let number = |rest: &mut Vec<char>| {
            let mut n: Option<usize> = None;
            while let Some(digit) = rest.pop_if(|c| c.is_ascii_digit()) {
                n = Some((n.unwrap_or(0) * 10 + digit as usize - '0' as usize).min(WIDEST + 1));
            }
            n
        };
        spec.sign = eat(&mut rest, "+- ").unwrap_or('-');
        spec.prefixed = eat(&mut rest, "#").is_some();
        if eat(&mut rest, "0").is_some() {
            spec.align.get_or_insert_with(|| {
                spec.fill = '0';
                '='
            });
        }
        spec.width = number(&mut rest).unwrap_or(0);
        spec.grouping = eat(&mut rest, ",_");
        if eat(&mut rest, ".").is_some() {
            spec.precision = Some(number(&mut rest).ok_or_else(|| bad("has a point and no precision"))?);
        }
        spec.kind = rest.pop();
        if !rest.is_empty() || spec.kind.is_some_and(|k| !"bdoxXeEfFgG%".contains(k)) {
            return Err(bad(
                "is not one of numbers: [[fill]align][sign][#][0][width][,][.precision][type], type one of bdoxXeEfFgG%",
            ));
        }
        if spec.width.max(spec.precision.unwrap_or(0)) > WIDEST {
            return Err(bad(&format!("asks for more than {WIDEST} characters")));
        }
        Ok(spec)
    }
}

impl Spec {
    /// Whether numbers of this dtype can be written so.
    ///
    /// # Errors
    /// What is in the way.
    pub fn check(&self, dtype: DType) -> Result<(), String> {
        let whole = self.kind.is_some_and(|k| "bdoxX".contains(k));
        let exact = self.kind.is_none_or(|k| "bdoxX".contains(k)) && !dtype.is_inexact();
        match () {
            () if whole && dtype.is_inexact() => {
                Err(format!("the type '{}' is for integers", self.kind.unwrap_or('d')))
            }
            () if exact && self.precision.is_some() => Err("integers have no precision".into()),
            () if self.prefixed && !whole && !exact => Err("'#' is for integers".into()),
            () if dtype.is_complex() && (self.kind == Some('%') || self.align == Some('=')) => {
                Err("neither '%' nor '=' is for complex numbers".into())
            }
            () => Ok(()),
        }
    }

    /// The number as text; it is of a dtype that [`check`](Self::check) accepts.
    pub fn format(&self, s: Scalar) -> String {
        if s.dtype.is_complex() {
            let part = |v: f64| match (self.kind, self.precision) {
                (None, Some(p)) if v.is_finite() => (self.float(v).0, general(v.abs(), p.max(1), false)),
                (None, None) => (self.float(v).0, self.grouped(whole(&shortest(v.abs())), 3)),
                _ => self.float(v),
            };
            return self.padded("", &complex(s, self.kind.is_none(), part, |sign| self.shown(sign)), '>');
        }
        let exact = self.kind.is_none_or(|k| "bdoxX".contains(k)) && !s.dtype.is_inexact();
        let (sign, digits) = if exact { self.integer(s) } else { self.float(s.to_f64()) };
        self.padded(&self.shown(sign), &digits, '>')
    }

    fn shown(&self, sign: char) -> String {
        match (sign, self.sign) {
            ('-', _) => "-".into(),
            (_, '-') => String::new(),
            (_, plus) => plus.into(),
        }
    }

    fn integer(&self, s: Scalar) -> (char, String) {
        let (negative, magnitude) = match s.dtype {
            DType::U64 => (false, s.bits),
            _ => (s.to_i64() < 0, s.to_i64().unsigned_abs()),
        };
        let (prefix, digits, every) = match self.kind {
            Some('b') => ("0b", format!("{magnitude:b}"), 4),
            Some('o') => ("0o", format!("{magnitude:o}"), 4),
            Some('x') => ("0x", format!("{magnitude:x}"), 4),
            Some('X') => ("0X", format!("{magnitude:X}"), 4),
            _ => ("", magnitude.to_string(), 3),
        };
        let prefix = if self.prefixed { prefix } else { "" };
        (if negative { '-' } else { '+' }, format!("{prefix}{}", self.grouped(&digits, every)))
    }

    /// Sign and digits.
    fn float(&self, v: f64) -> (char, String) {
        let sign = if v.is_sign_negative() && !v.is_nan() { '-' } else { '+' };
        let v = v.abs();
        let capital = self.kind.is_some_and(|k| k.is_ascii_uppercase());
        let percent = if self.kind == Some('%') { "%" } else { "" };
        let digits = if v.is_nan() {
            "nan".into()
        } else if v.is_infinite() {
            "inf".into()
        } else {
            match (self.kind.map(|k| k.to_ascii_lowercase()), self.precision) {
                (Some('e'), p) => exponential(&format!("{v:.*e}", p.unwrap_or(6))),
                (Some('f'), p) => self.grouped(&format!("{v:.*}", p.unwrap_or(6)), 3),
                (Some('%'), p) => self.grouped(&format!("{:.*}", p.unwrap_or(6), v * 100.0), 3),
                (Some(_), p) => self.grouped(&general(v, p.unwrap_or(6).max(1), false), 3),
                (None, Some(p)) => self.grouped(&general(v, p.max(1), true), 3),
                (None, None) => self.grouped(&shortest(v), 3),
            }
        };
        (sign, if capital { digits.to_uppercase() } else { digits } + percent)
    }

    /// With a separator between groups of digits before the point.
    fn grouped(&self, digits: &str, every: usize) -> String {
        let Some(separator) = self.grouping else { return digits.to_owned() };
        let whole = digits.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(digits.len());
        let whole = digits.find('e').filter(|_| every == 3).unwrap_or(whole).min(whole);
        let mut out = String::new();
        for (i, c) in digits[..whole].chars().enumerate() {
            if i > 0 && (whole - i).is_multiple_of(every) {
                out.push(separator);
            }
            out.push(c);
        }
        out + &digits[whole..]
    }

    fn padded(&self, sign: &str, digits: &str, natural: char) -> String {
        let have = sign.chars().count() + digits.chars().count();
        let missing = self.width.saturating_sub(have);
        let fill = |n: usize| self.fill.to_string().repeat(n);
        match self.align.unwrap_or(natural) {
            '<' => format!("{sign}{digits}{}", fill(missing)),
            '^' => format!("{}{sign}{digits}{}", fill(missing / 2), fill(missing - missing / 2)),
            '=' => format!("{sign}{}{digits}", fill(missing)),
            _ => format!("{}{sign}{digits}", fill(missing)),
        }
    }
}

/// A number without a specification: a bool by its name, a float by the shortest digits that are its own (as f64).
pub fn plain(s: Scalar) -> String {
    match s.dtype {
        DType::Bool => super::scalar(s),
        d if d.is_complex() => {
            let part = |v: f64| {
                let sign = if v.is_sign_negative() && !v.is_nan() { '-' } else { '+' };
                (sign, whole(&shortest(v.abs())).to_owned())
            };
            complex(s, true, part, |sign| if sign == '-' { "-".into() } else { String::new() })
        }
        d if d.is_float() => {
            let v = s.to_f64();
            format!("{}{}", if v.is_sign_negative() && !v.is_nan() { "-" } else { "" }, shortest(v.abs()))
        }
        DType::U64 => s.bits.to_string(),
        _ => s.to_i64().to_string(),
    }
}

/// Real and imaginary part, of which `part` gives sign and digits, `shown` the first sign. `plainly`: in parentheses, and without a real part that is +0.
fn complex(s: Scalar, plainly: bool, part: impl Fn(f64) -> (char, String), shown: impl Fn(char) -> String) -> String {
    let (re, im) = (part(s.to_f64()), part(f64::from(s.imag())));
    if plainly && s.to_f64() == 0.0 && re.0 == '+' {
        return format!("{}{}j", shown(im.0), im.1);
    }
    let both = format!("{}{}{}{}j", shown(re.0), re.1, im.0, im.1);
    if plainly { format!("({both})") } else { both }
}

/// Without a fraction that is zero.
fn whole(digits: &str) -> &str {
    digits.strip_suffix(".0").unwrap_or(digits)
}

/// `1.5e7` as `1.5e+07`.
fn exponential(text: &str) -> String {
    let (mantissa, exponent) = text.split_once('e').expect("the e format has an exponent");
    let exponent: i32 = exponent.parse().expect("an integer exponent");
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// `p` significant digits, trailing zeros dropped; with an exponent where that is shorter. `point`: a digit follows the point in any case.
fn general(v: f64, p: usize, point: bool) -> String {
    let scientific = format!("{v:.*e}", p - 1);
    let exponent: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).expect("the e format");
    let trim = |s: &str| match s.contains('.') {
        true => s.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => s.to_owned(),
    };
    let most = p as i32 - i32::from(point);
    if (-4..most).contains(&exponent) || point && v == 0.0 {
        let text = trim(&format!("{v:.*}", (p as i32 - 1 - exponent).max(0) as usize));
        return if point && !text.contains('.') { text + ".0" } else { text };
    }
    let (mantissa, _) = scientific.split_once('e').expect("the e format");
    exponential(&format!("{}e{exponent}", trim(mantissa)))
}

/// The shortest digits that read back as this number, as Python's `repr`.
fn shortest(v: f64) -> String {
    if v.is_nan() {
        return "nan".into();
    }
    if v.is_infinite() {
        return "inf".into();
    }
    let scientific = format!("{v:e}");
    let exponent: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).expect("the e format");
    if v == 0.0 || (-4..16).contains(&exponent) { format!("{v:?}") } else { exponential(&scientific) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected texts are what Python 3 gives.
    #[test]
    fn numbers_are_written_as_python_writes_them() {
        let check = |spec: &str, s: Scalar, want: &str| {
            let read: Spec = spec.parse().unwrap();
            read.check(s.dtype).unwrap();
            assert_eq!(read.format(s), want, "{spec} of {s}");
        };
        let f = Scalar::f64;
        for (spec, v, want) in [
            (".3f", 2.0 / 3.0, "0.667"),
            ("8.2f", -1.5, "   -1.50"),
            ("<8.2f", 1.5, "1.50    "),
            ("*^9.1f", 1.5, "***1.5***"),
            ("08.2f", -1.5, "-0001.50"),
            ("+.1e", 12345.678, "+1.2e+04"),
            (" .2E", 1e-7, " 1.00E-07"),
            ("g", 1e6, "1e+06"),
            ("g", 123456.0, "123456"),
            (".3g", 100.0, "100"),
            (".3", 100.0, "1e+02"),
            (".3", 3.0, "3.0"),
            (".4", 0.0, "0.0"),
            (",.2f", 1234567.891, "1,234,567.89"),
            (".1%", 0.256, "25.6%"),
            ("", 1e16, "1e+16"),
            ("10", 0.1, "       0.1"),
            ("f", f64::INFINITY, "inf"),
            ("F", f64::NAN, "NAN"),
            ("_", 12345.5, "12_345.5"),
        ] {
            check(spec, f(v), want);
        }
        for (spec, v, want) in [
            ("d", -42, "-42"),
            ("05d", -42, "-0042"),
            ("#x", 255, "0xff"),
            ("X", 255, "FF"),
            ("b", 5, "101"),
            (",", 1234567, "1,234,567"),
            ("_x", 0x12345678, "1234_5678"),
            (".2f", 3, "3.00"),
            ("%", 1, "100.000000%"),
            (">6", 7, "     7"),
        ] {
            check(spec, Scalar::i64(v), want);
        }
        check("5", Scalar::bool(true), "    1");
        check(".2f", Scalar::c64(1.0, -2.5), "1.00-2.50j");
    }

    #[test]
    fn numbers_without_a_format_read_back() {
        for (s, want) in [
            (Scalar::f32(0.1), "0.10000000149011612"),
            (Scalar::f64(2.0), "2.0"),
            (Scalar::f64(-0.0), "-0.0"),
            (Scalar::f64(1e22), "1e+22"),
            (Scalar::f64(0.00001), "1e-05"),
            (Scalar::bool(true), "True"),
            (Scalar::i32(-3), "-3"),
            (Scalar::c64(1.0, -2.0), "(1-2j)"),
            (Scalar::c64(0.0, 2.5), "2.5j"),
        ] {
            assert_eq!(plain(s), want);
        }
    }

    #[test]
    fn what_is_no_format_of_a_number_is_refused() {
        for (spec, dtype) in [
            (".", DType::F32),
            ("q", DType::F32),
            ("..", DType::F32),
            ("d", DType::F32),
            (".2", DType::I32),
            ("#f", DType::F32),
            ("=5", DType::C64),
            ("99999", DType::F32),
        ] {
            assert!(spec.parse::<Spec>().and_then(|s| s.check(dtype)).is_err(), "{spec} of {dtype}");
        }
    }
}
