//! The scalar operations of the kernel IR on the registers of a value.

use super::{Cmp, Lower, Val};
use crate::codegen::line::{Class, Lanes, Op, V};
use crate::codegen::ops::X;
use lazuli_kernel::{BinaryOp, DType, UnaryOp};

impl Lower<'_> {
    /// Makes 32-bit lanes hold a value of the narrower dtype `d` again.
    pub fn normalize(&mut self, d: DType, v: V) -> V {
        match d {
            DType::U8 | DType::U16 => {
                let ones = self.c32((1 << (8 * d.itemsize())) - 1);
                self.x(X::And, &[v, ones])
            }
            DType::I8 | DType::I16 => {
                let count = 32 - 8 * d.itemsize() as u8;
                let up = self.xi(X::SllD, &[v], count);
                self.xi(X::SraD, &[up], count)
            }
            _ => v,
        }
    }

    pub fn unary(&mut self, op: UnaryOp, d: DType, a: Val) -> Val {
        if let Some(hi) = a.1 {
            let lo = self.unary_register(op, d, a.0);
            return Val(lo, Some(self.unary_register(op, d, hi)));
        }
        if d == DType::Bool {
            return Val(self.mask_not(a.0), None);
        }
        let v = self.unary_register(op, d, a.0);
        Val(self.normalize(d, v), None)
    }

    fn unary_register(&mut self, op: UnaryOp, d: DType, a: V) -> V {
        let double = d.itemsize() == 8;
        let round = |mode: u8| (if double { X::RoundPd } else { X::RoundPs }, Some(8 | mode));
        let (x, imm) = match op {
            UnaryOp::Neg if d.is_float() => {
                let sign = if double { self.c64(1 << 63) } else { self.c32(1 << 31) };
                return self.x(X::Xor, &[a, sign]);
            }
            UnaryOp::Abs if d.is_float() => {
                let rest = if double { self.c64(!(1 << 63)) } else { self.c32(!(1 << 31)) };
                return self.x(X::And, &[a, rest]);
            }
            UnaryOp::Neg => {
                let zero = self.c32(0);
                return self.x(if double { X::SubQ } else { X::SubD }, &[zero, a]);
            }
            UnaryOp::Abs if matches!(d, DType::U8 | DType::U16 | DType::U32 | DType::U64) => return a,
            UnaryOp::Abs if double && !self.wide() => {
                let zero = self.c32(0);
                let sign = self.x(X::GtQ, &[zero, a]);
                let flipped = self.x(X::Xor, &[a, sign]);
                return self.x(X::SubQ, &[flipped, sign]);
            }
            UnaryOp::Abs => (if double { X::AbsQ } else { X::AbsD }, None),
            UnaryOp::Not => {
                let ones = self.c32(u32::MAX);
                return self.x(X::Xor, &[a, ones]);
            }
            UnaryOp::Sqrt => (if double { X::SqrtPd } else { X::SqrtPs }, None),
            UnaryOp::Floor => round(1),
            UnaryOp::Ceil => round(2),
            UnaryOp::Trunc => round(3),
            UnaryOp::Round => round(0),
        };
        self.xi(x, &[a], imm)
    }

    pub fn binary(&mut self, op: BinaryOp, d: DType, a: Val, b: Val) -> Val {
        if let Some(cmp) = comparison(op) {
            return Val(self.compare(cmp, d, a, b), None);
        }
        match (op, d) {
            (_, DType::Bool) => {
                let v = match op {
                    BinaryOp::And | BinaryOp::Min => self.mask_and(a.0, b.0),
                    BinaryOp::Or | BinaryOp::Max => self.mask_or(a.0, b.0),
                    BinaryOp::Xor => self.mask_xor(a.0, b.0),
                    _ => unreachable!("{op:?} is not defined on bool"),
                };
                Val(v, None)
            }
            (BinaryOp::Div | BinaryOp::Rem, DType::U64 | DType::I64) => {
                self.stage_out(0, a);
                self.stage_out(1, b);
                let signed = d == DType::I64;
                self.push(Op::Lanes(Lanes::Divide { signed, remainder: op == BinaryOp::Rem }), None, &[], None);
                self.stage_in_wide(0)
            }
            (BinaryOp::Div | BinaryOp::Rem, _) if d.is_integer() => Val(self.divide(op, d, a.0, b.0), None),
            _ => match (a.1, b.1) {
                (Some(a1), Some(b1)) => {
                    let lo = self.binary_register(op, d, a.0, b.0);
                    Val(lo, Some(self.binary_register(op, d, a1, b1)))
                }
                _ => {
                    let v = self.binary_register(op, d, a.0, b.0);
                    let wraps = matches!(op, BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Shl);
                    Val(if wraps { self.normalize(d, v) } else { v }, None)
                }
            },
        }
    }

    fn binary_register(&mut self, op: BinaryOp, d: DType, a: V, b: V) -> V {
        let double = d.itemsize() == 8;
        if d.is_float() {
            let x = match (op, double) {
                (BinaryOp::Add, false) => X::AddPs,
                (BinaryOp::Add, true) => X::AddPd,
                (BinaryOp::Sub, false) => X::SubPs,
                (BinaryOp::Sub, true) => X::SubPd,
                (BinaryOp::Mul, false) => X::MulPs,
                (BinaryOp::Mul, true) => X::MulPd,
                (BinaryOp::Div, false) => X::DivPs,
                (BinaryOp::Div, true) => X::DivPd,
                (BinaryOp::Lesser, false) => X::MinPs,
                (BinaryOp::Lesser, true) => X::MinPd,
                (BinaryOp::Greater, false) => X::MaxPs,
                (BinaryOp::Greater, true) => X::MaxPd,
                (BinaryOp::Min | BinaryOp::Max, _) => return self.float_min_max(op, double, a, b),
                _ => unreachable!("{op:?} is not defined on {d}"),
            };
            return self.x(x, &[a, b]);
        }
        let signed = matches!(d, DType::I8 | DType::I16 | DType::I32 | DType::I64);
        let x = match (op, double) {
            (BinaryOp::Add, false) => X::AddD,
            (BinaryOp::Add, true) => X::AddQ,
            (BinaryOp::Sub, false) => X::SubD,
            (BinaryOp::Sub, true) => X::SubQ,
            (BinaryOp::Mul, false) => X::MulD,
            (BinaryOp::Mul, true) if self.wide() => X::MulQ,
            (BinaryOp::Mul, true) => return self.mul_q(a, b),
            (BinaryOp::And, _) => X::And,
            (BinaryOp::Or, _) => X::Or,
            (BinaryOp::Xor, _) => X::Xor,
            (BinaryOp::Min, false) => {
                if signed {
                    X::MinSD
                } else {
                    X::MinUD
                }
            }
            (BinaryOp::Max, false) => {
                if signed {
                    X::MaxSD
                } else {
                    X::MaxUD
                }
            }
            (BinaryOp::Min, true) if self.wide() => {
                if signed {
                    X::MinSQ
                } else {
                    X::MinUQ
                }
            }
            (BinaryOp::Max, true) if self.wide() => {
                if signed {
                    X::MaxSQ
                } else {
                    X::MaxUQ
                }
            }
            (BinaryOp::Min | BinaryOp::Max, true) => {
                let cmp = if op == BinaryOp::Min { Cmp::Lt } else { Cmp::Gt };
                let mask = self.compare_int(cmp, true, signed, a, b);
                return self.blend(true, mask, a, b);
            }
            (BinaryOp::Shl, false) => X::SllvD,
            (BinaryOp::Shl, true) => X::SllvQ,
            (BinaryOp::Shr, false) => {
                if signed {
                    X::SravD
                } else {
                    X::SrlvD
                }
            }
            (BinaryOp::Shr, true) if !signed => X::SrlvQ,
            (BinaryOp::Shr, true) if self.wide() => X::SravQ,
            (BinaryOp::Shr, true) => {
                // Complemented where negative, an arithmetic shift is a logical one.
                let zero = self.c32(0);
                let sign = self.x(X::GtQ, &[zero, a]);
                let flipped = self.x(X::Xor, &[a, sign]);
                let shifted = self.x(X::SrlvQ, &[flipped, b]);
                return self.x(X::Xor, &[shifted, sign]);
            }
            (BinaryOp::MulHi, _) => return self.mul_high(a, b),
            _ => unreachable!("{op:?} is not defined on {d}"),
        };
        self.x(x, &[a, b])
    }

    /// NaN if either is, −0 < +0. The hardware's minimum returns its second operand for NaN and for zeros: taken both ways round,
    /// `or` unites the signs of zeros (`and` for the maximum), and NaN is put in where either operand is one.
    fn float_min_max(&mut self, op: BinaryOp, double: bool, a: V, b: V) -> V {
        let (x, join) = match (op, double) {
            (BinaryOp::Min, false) => (X::MinPs, X::Or),
            (BinaryOp::Min, true) => (X::MinPd, X::Or),
            (_, false) => (X::MaxPs, X::And),
            (_, true) => (X::MaxPd, X::And),
        };
        let (ab, ba) = (self.x(x, &[a, b]), self.x(x, &[b, a]));
        let joined = self.x(join, &[ab, ba]);
        if op == BinaryOp::Min {
            // NaN | anything is a NaN: one of the two orders returned it.
            return joined;
        }
        let nan = self.unordered(double, a, b);
        if self.wide() {
            let sum = self.x(if double { X::AddPd } else { X::AddPs }, &[a, b]);
            self.blend(double, nan, sum, joined)
        } else {
            self.x(X::Or, &[joined, nan])
        }
    }

    /// Low 64 bits of a 64-bit product, without AVX-512's instruction.
    fn mul_q(&mut self, a: V, b: V) -> V {
        let low = self.x(X::MulWide, &[a, b]);
        let (a_high, b_high) = (self.xi(X::SrlQ, &[a], 32), self.xi(X::SrlQ, &[b], 32));
        let (cross1, cross2) = (self.x(X::MulWide, &[a_high, b]), self.x(X::MulWide, &[b_high, a]));
        let cross = self.x(X::AddQ, &[cross1, cross2]);
        let cross = self.xi(X::SllQ, &[cross], 32);
        self.x(X::AddQ, &[low, cross])
    }

    /// High 32 bits of the products of 32-bit lanes.
    fn mul_high(&mut self, a: V, b: V) -> V {
        let even = self.x(X::MulWide, &[a, b]);
        let (a_odd, b_odd) = (self.xi(X::SrlQ, &[a], 32), self.xi(X::SrlQ, &[b], 32));
        let odd = self.x(X::MulWide, &[a_odd, b_odd]);
        let even = self.xi(X::SrlQ, &[even], 32);
        let upper = self.c64(0xFFFF_FFFF_0000_0000);
        let odd = self.x(X::And, &[odd, upper]);
        self.x(X::Or, &[even, odd])
    }

    /// Quotient or remainder of integers of up to 32 bits, by an f64 division: the quotient of two such numbers is
    /// never rounded up to an integer that it does not reach.
    fn divide(&mut self, op: BinaryOp, d: DType, a: V, b: V) -> V {
        let (x, y) = (self.int_to_f64(d, a), self.int_to_f64(d, b));
        let quotient = self.halves(|s, h| {
            let pick = |v: Val| if h == 0 { v.0 } else { v.1.unwrap_or(v.0) };
            s.x(X::DivPd, &[pick(x), pick(y)])
        });
        let q = if d == DType::U32 { self.f64_to_u32_unclamped(quotient) } else { self.f64_to_i32_unclamped(quotient) };
        let zero = self.c32(0);
        let defined = self.compare_int(Cmp::Ne, false, true, b, zero);
        let result = if op == BinaryOp::Div {
            q
        } else {
            let product = self.x(X::MulD, &[q, b]);
            self.x(X::SubD, &[a, product])
        };
        let result = self.keep(false, defined, result);
        // −128 / −1 is the one quotient that a narrow type does not hold.
        self.normalize(d, result)
    }

    fn compare(&mut self, cmp: Cmp, d: DType, a: Val, b: Val) -> V {
        if d == DType::Bool {
            return match cmp {
                Cmp::Ne => self.mask_xor(a.0, b.0),
                Cmp::Eq => {
                    let differ = self.mask_xor(a.0, b.0);
                    self.mask_not(differ)
                }
                Cmp::Lt => self.mask_andnot(a.0, b.0),
                Cmp::Gt => self.mask_andnot(b.0, a.0),
                Cmp::Le => {
                    let greater = self.mask_andnot(b.0, a.0);
                    self.mask_not(greater)
                }
                Cmp::Ge => {
                    let less = self.mask_andnot(a.0, b.0);
                    self.mask_not(less)
                }
            };
        }
        let signed = matches!(d, DType::I8 | DType::I16 | DType::I32 | DType::I64);
        let mut one = |a, b, double| {
            if d.is_float() {
                self.compare_float(cmp, double, a, b)
            } else {
                self.compare_int(cmp, double, signed, a, b)
            }
        };
        match (a.1, b.1) {
            (Some(a1), Some(b1)) => {
                let (lo, hi) = (one(a.0, b.0, true), one(a1, b1, true));
                self.join_masks(lo, hi)
            }
            _ => one(a.0, b.0, false),
        }
    }

    pub fn fma(&mut self, a: Val, b: Val, c: Val) -> Val {
        let mut one = |a, b, c, double| self.op(Op::Fma { double }, Class::Vector, &[a, b, c], None);
        match (a.1, b.1, c.1) {
            (Some(a1), Some(b1), Some(c1)) => {
                let lo = one(a.0, b.0, c.0, true);
                Val(lo, Some(one(a1, b1, c1, true)))
            }
            _ => Val(one(a.0, b.0, c.0, false), None),
        }
    }

    pub fn select(&mut self, d: DType, mask: V, a: Val, b: Val) -> Val {
        match (a.1, b.1) {
            _ if d == DType::Bool => {
                let (yes, no) = (self.mask_and(mask, a.0), self.mask_andnot(mask, b.0));
                Val(self.mask_or(yes, no), None)
            }
            (Some(a1), Some(b1)) => self.halves(|s, h| {
                let m = s.mask_half(mask, h);
                if h == 0 { s.blend(true, m, a.0, b.0) } else { s.blend(true, m, a1, b1) }
            }),
            _ => Val(self.blend(false, mask, a.0, b.0), None),
        }
    }
}

fn comparison(op: BinaryOp) -> Option<Cmp> {
    Some(match op {
        BinaryOp::Eq => Cmp::Eq,
        BinaryOp::Ne => Cmp::Ne,
        BinaryOp::Lt => Cmp::Lt,
        BinaryOp::Le => Cmp::Le,
        BinaryOp::Gt => Cmp::Gt,
        BinaryOp::Ge => Cmp::Ge,
        _ => return None,
    })
}
