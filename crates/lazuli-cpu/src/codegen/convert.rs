//! Selection of conversions and bit casts.

use super::line::{Class, Lanes, Op, V};
use super::ops::X;
use super::select::{Cmp, Lower, Val};
use lazuli_kernel::DType::{self, *};

fn is_signed(d: DType) -> bool {
    matches!(d, I8 | I16 | I32 | I64)
}

/// Whether the value lives as an f32 in 32-bit lanes.
fn is_f32_like(d: DType) -> bool {
    matches!(d, F16 | BF16 | F32)
}

impl Lower<'_> {
    pub fn cast(&mut self, to: DType, from: DType, a: Val) -> Val {
        match (from, to) {
            _ if from == to => a,
            (Bool, _) => self.bool_to(to, a.0),
            (_, Bool) => self.truth(from, a),
            (F64, F32) => Val(self.f64_to_f32(a), None),
            (F64, F16 | BF16) => {
                let odd = self.f64_to_f32_odd(a);
                Val(self.round_to(to, odd), None)
            }
            (F64, _) => self.f64_to_int(to, a),
            (_, F64) if is_f32_like(from) => self.f32_to_f64(a.0),
            (_, F32) if is_f32_like(from) => a,
            (_, F16 | BF16) if is_f32_like(from) => Val(self.round_to(to, a.0), None),
            (_, U32 | I64 | U64) if is_f32_like(from) => {
                let wide = self.f32_to_f64(a.0);
                self.f64_to_int(to, wide)
            }
            _ if is_f32_like(from) => Val(self.f32_to_int(to, a.0), None),
            (_, F64) => self.int_to_f64_any(from, a),
            // Integers go to f16 and bf16 by way of f32.
            (_, F32 | F16 | BF16) => {
                let v = self.int_to_f32(from, a);
                Val(self.round_to(to, v), None)
            }
            _ => self.int_to_int(to, from, a),
        }
    }

    pub fn bitcast(&mut self, to: DType, from: DType, a: Val) -> Val {
        if from == to || to.itemsize() >= 4 {
            return a;
        }
        // Through zero-extended bits in 32-bit lanes.
        let bits = match from {
            Bool => {
                let one = self.c32(1);
                self.keep(false, a.0, one)
            }
            F16 => {
                let half = self.xi(X::CvtPsPh, &[a.0], 0);
                self.widen_half_register(half)
            }
            BF16 => self.xi(X::SrlD, &[a.0], 16),
            _ => a.0,
        };
        let v = match to {
            Bool => return self.truth(U8, Val(bits, None)),
            F16 => {
                let half = self.pack_words(bits);
                self.x(X::CvtPhPs, &[half])
            }
            BF16 => self.xi(X::SllD, &[bits], 16),
            _ => self.normalize(to, bits),
        };
        Val(v, None)
    }

    fn bool_to(&mut self, to: DType, mask: V) -> Val {
        if to.itemsize() == 8 {
            let one = if to == F64 { self.f64(1.0) } else { self.c64(1) };
            return self.halves(|s, h| {
                let m = s.mask_half(mask, h);
                s.keep(true, m, one)
            });
        }
        let one = if is_f32_like(to) { self.f32(1.0) } else { self.c32(1) };
        Val(self.keep(false, mask, one), None)
    }

    pub fn truth(&mut self, from: DType, a: Val) -> Val {
        let zero = self.c32(0);
        let float = from.is_float();
        let mut one = |v, double| {
            if float {
                self.compare_float(Cmp::Ne, double, v, zero)
            } else {
                self.compare_int(Cmp::Ne, double, true, v, zero)
            }
        };
        let mask = match a.1 {
            None => one(a.0, false),
            Some(hi) => {
                let (lo, hi) = (one(a.0, true), one(hi, true));
                self.join_masks(lo, hi)
            }
        };
        Val(mask, None)
    }

    fn int_to_int(&mut self, to: DType, from: DType, a: Val) -> Val {
        match (a.1, to.itemsize()) {
            (Some(_), 8) => a,
            (Some(hi), _) => {
                let v = self.narrow_pair(a.0, hi);
                Val(self.normalize(to, v), None)
            }
            (None, 8) => {
                let x = if is_signed(from) { X::SignExtend } else { X::ZeroExtend };
                self.extend(x, a.0)
            }
            (None, n) if n < from.itemsize() || (n == from.itemsize() && n < 4) || (is_signed(from) && n < 4) => {
                Val(self.normalize(to, a.0), None)
            }
            _ => a,
        }
    }

    /// Both halves of 32-bit lanes through an instruction that takes half a register.
    fn extend(&mut self, x: X, v: V) -> Val {
        let lo = self.x(x, &[v]);
        let high = self.xi(X::High, &[v], 1);
        Val(lo, Some(self.x(x, &[high])))
    }

    /// 32-bit results of an instruction that halves 64-bit lanes.
    fn contract(&mut self, x: X, a: Val) -> V {
        let lo = self.x(x, &[a.0]);
        let hi = self.x(x, &[a.1.expect("a 64-bit value has two registers")]);
        self.xi(X::Join, &[lo, hi], 1)
    }

    fn f64_to_f32(&mut self, a: Val) -> V {
        self.contract(X::CvtPdPs, a)
    }
    fn f32_to_f64(&mut self, v: V) -> Val {
        self.extend(X::CvtPsPd, v)
    }

    /// f32 in lanes rounded to f16 or bf16 (unchanged for f32).
    pub fn round_to(&mut self, to: DType, v: V) -> V {
        match to {
            F16 => {
                let half = self.xi(X::CvtPsPh, &[v], 0);
                self.x(X::CvtPhPs, &[half])
            }
            BF16 => {
                // Adds just under half a unit, or half if the last kept bit is odd, and drops the low bits.
                let shifted = self.xi(X::SrlD, &[v], 16);
                let (one, bias, keep) = (self.c32(1), self.c32(0x7FFF), self.c32(0xFFFF_0000));
                let odd = self.x(X::And, &[shifted, one]);
                let sum = self.x(X::AddD, &[v, bias]);
                let sum = self.x(X::AddD, &[sum, odd]);
                let nan = self.unordered(false, v, v);
                let quiet = self.c32(0x7FC0_0000);
                let picked = self.blend(false, nan, quiet, sum);
                self.x(X::And, &[picked, keep])
            }
            _ => v,
        }
    }

    /// f64 to f32 rounded to odd: toward zero, with the last bit set if anything was lost. A later rounding to f16 or
    /// bf16 then rounds as if once.
    fn f64_to_f32_odd(&mut self, a: Val) -> V {
        let nearest = self.f64_to_f32(a);
        let back = self.f32_to_f64(nearest);
        let magnitude = self.c64(!(1 << 63));
        let mut masks = |pick: fn(Val) -> V| {
            let (x, y) = (pick(a), pick(back));
            let (ax, ay) = (self.x(X::And, &[x, magnitude]), self.x(X::And, &[y, magnitude]));
            let above = self.compare_float(Cmp::Gt, true, ay, ax);
            let below = self.compare_float(Cmp::Lt, true, ay, ax);
            (above, below)
        };
        let (above0, below0) = masks(|v| v.0);
        let (above1, below1) = masks(|v| v.1.unwrap_or(v.0));
        let above = self.join_masks(above0, above1);
        let below = self.join_masks(below0, below1);
        let inexact = self.mask_or(above, below);
        let one = self.c32(1);
        let back_off = self.keep(false, above, one);
        let toward_zero = self.x(X::SubD, &[nearest, back_off]);
        let sticky = self.keep(false, inexact, one);
        self.x(X::Or, &[toward_zero, sticky])
    }

    fn int_to_f32(&mut self, from: DType, a: Val) -> V {
        match from {
            U32 if self.wide() => self.x(X::CvtUdqPs, &[a.0]),
            U32 => {
                // Both halves are exact; their sum rounds once.
                let low_bits = self.c32(0xFFFF);
                let low = self.x(X::And, &[a.0, low_bits]);
                let high = self.xi(X::SrlD, &[a.0], 16);
                let (low, high) = (self.x(X::CvtDqPs, &[low]), self.x(X::CvtDqPs, &[high]));
                let scale = self.f32(65536.0);
                self.op(Op::Fma { double: false }, Class::Vector, &[high, scale, low], None)
            }
            I64 if self.wide() => self.contract(X::CvtQqPs, a),
            U64 if self.wide() => self.contract(X::CvtUqqPs, a),
            I64 | U64 => {
                self.stage_out(0, a);
                let lanes = Lanes::IntToFloat { signed: from == I64, double: false };
                self.push(Op::Lanes(lanes), None, &[], None);
                self.stage_in(1)
            }
            _ => self.x(X::CvtDqPs, &[a.0]),
        }
    }

    fn int_to_f64_any(&mut self, from: DType, a: Val) -> Val {
        match from {
            I64 | U64 if self.wide() => {
                let x = if from == I64 { X::CvtQqPd } else { X::CvtUqqPd };
                self.halves(|s, h| s.x(x, &[if h == 0 { a.0 } else { a.1.unwrap_or(a.0) }]))
            }
            I64 | U64 => {
                self.stage_out(0, a);
                let lanes = Lanes::IntToFloat { signed: from == I64, double: true };
                self.push(Op::Lanes(lanes), None, &[], None);
                self.stage_in_wide(1)
            }
            _ => self.int_to_f64(from, a.0),
        }
    }

    /// Integers of up to 32 bits.
    pub fn int_to_f64(&mut self, from: DType, v: V) -> Val {
        if from != U32 {
            return self.extend(X::CvtDqPd, v);
        }
        // 2⁵² + v has v as its low bits.
        let wide = self.extend(X::ZeroExtend, v);
        let magic = self.f64(f64::from_bits(0x4330_0000_0000_0000));
        self.halves(|s, h| {
            let bits = if h == 0 { wide.0 } else { wide.1.unwrap_or(wide.0) };
            let sum = s.x(X::Or, &[bits, magic]);
            s.x(X::SubPd, &[sum, magic])
        })
    }

    /// To integers of at most 32 bits, not u32.
    fn f32_to_int(&mut self, to: DType, v: V) -> V {
        let number = self.ordered(false, v);
        if to == I32 {
            let r = self.x(X::CvtPsDq, &[v]);
            let limit = self.f32(2147483648.0);
            let over = self.compare_float(Cmp::Ge, false, v, limit);
            let most = self.c32(i32::MAX as u32);
            let r = self.blend(false, over, most, r);
            return self.keep(false, number, r);
        }
        let (lo, hi) = narrow_range(to);
        let (lo, hi) = (self.f32(lo as f32), self.f32(hi as f32));
        let clamped = self.x(X::MaxPs, &[v, lo]);
        let clamped = self.x(X::MinPs, &[clamped, hi]);
        let r = self.x(X::CvtPsDq, &[clamped]);
        self.keep(false, number, r)
    }

    /// Mask of the lanes that are not NaN.
    fn ordered(&mut self, double: bool, v: V) -> V {
        self.compare_float(Cmp::Eq, double, v, v)
    }

    fn f64_to_int(&mut self, to: DType, a: Val) -> Val {
        if matches!(to, I64 | U64) {
            return self.f64_to_int64(to, a);
        }
        let (lo, hi) = narrow_range(to);
        let (lo, hi) = (self.f64(lo), self.f64(hi));
        let clamped = self.halves(|s, h| {
            let v = if h == 0 { a.0 } else { a.1.unwrap_or(a.0) };
            let v1 = s.x(X::MaxPd, &[v, lo]);
            let v1 = s.x(X::MinPd, &[v1, hi]);
            let number = s.ordered(true, v);
            s.keep(true, number, v1)
        });
        Val(if to == U32 { self.f64_to_u32_unclamped(clamped) } else { self.f64_to_i32_unclamped(clamped) }, None)
    }

    pub fn f64_to_i32_unclamped(&mut self, a: Val) -> V {
        self.contract(X::CvtPdDq, a)
    }
    /// For numbers in the range of u32 (others give anything).
    pub fn f64_to_u32_unclamped(&mut self, a: Val) -> V {
        let magic = self.f64(f64::from_bits(0x4330_0000_0000_0000));
        let sums = self.halves(|s, h| {
            let v = if h == 0 { a.0 } else { a.1.unwrap_or(a.0) };
            let whole = s.xi(X::RoundPd, &[v], 11);
            s.x(X::AddPd, &[whole, magic])
        });
        self.narrow_pair(sums.0, sums.1.unwrap_or(sums.0))
    }

    fn f64_to_int64(&mut self, to: DType, a: Val) -> Val {
        if !self.wide() {
            self.stage_out(0, a);
            self.push(Op::Lanes(Lanes::FloatToInt { signed: to == I64 }), None, &[], None);
            return self.stage_in_wide(1);
        }
        self.halves(|s, h| {
            let v = if h == 0 { a.0 } else { a.1.unwrap_or(a.0) };
            if to == U64 {
                // The maximum returns its second operand for NaN; beyond the range the conversion gives all ones.
                let zero = s.c32(0);
                let positive = s.x(X::MaxPd, &[v, zero]);
                return s.x(X::CvtPdUqq, &[positive]);
            }
            let r = s.x(X::CvtPdQq, &[v]);
            let (limit, most) = (s.f64(9223372036854775808.0), s.c64(i64::MAX as u64));
            let over = s.compare_float(Cmp::Ge, true, v, limit);
            let r = s.blend(true, over, most, r);
            let number = s.ordered(true, v);
            s.keep(true, number, r)
        })
    }
}

/// Smallest and largest value of an integer dtype of up to 32 bits.
fn narrow_range(d: DType) -> (f64, f64) {
    let bits = 8 * d.itemsize() as i32;
    if is_signed(d) { (-(2f64.powi(bits - 1)), 2f64.powi(bits - 1) - 1.0) } else { (0.0, 2f64.powi(bits) - 1.0) }
}
