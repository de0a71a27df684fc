//! Instruction selection: one scalar instruction of the kernel IR becomes vector instructions on virtual registers.
//!
//! A value is 16 (AVX-512) or 8 (AVX2) lanes. Integers of up to 32 bits live in 32-bit lanes, sign- or zero-extended
//! after each operation; f16 and bf16 live as the f32 of the same value; 64-bit values take two registers. A bool is a mask register on
//! AVX-512, 32-bit lanes of ones or zeros on AVX2.
//!
//! Registers, masks and comparisons are here, the scalar operations in [`arithmetic`], conversions in `convert`, memory in `access`.

mod arithmetic;

use super::line::{Class, MOp, Op, Place, UniformSource, V, VInfo};
use super::ops::{Kind, X};
use crate::isa::Isa;
use lazuli_kernel::hash::Map;
use lazuli_kernel::{DType, Kernel};
use smallvec::SmallVec;

/// The registers of a value: the second only for 64-bit values (lanes of the upper half).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Val(pub V, pub Option<V>);

/// Comparison of two registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cmp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// Builds the three lines of a function.
pub struct Lower<'k> {
    pub kernel: &'k Kernel,
    pub isa: Isa,
    pub types: Vec<DType>,
    pub info: Vec<VInfo>,
    /// The constants of the image, 64 bytes each.
    pub pool: Vec<[u8; 64]>,
    constants: Map<[u8; 64], V>,
    pub line: Vec<MOp>,
    pub uniform_line: Vec<MOp>,
    /// Slots of the frame taken by uniforms.
    pub uniform_slots: u32,
    pub in_uniform: bool,
    /// Whether the line being built is the tail.
    pub masked: bool,
    /// Which of the interleaved vectors is being built.
    pub copy: usize,
    pub tail_masks: [Option<V>; 3],
    /// Scalars already read by the uniform line.
    pub uniforms: Vec<(UniformSource, DType, Val)>,
    /// Bytes from the first lane of strided operands to each.
    pub distances: Vec<(u32, Val)>,
    /// Greatest position of operands read at computed ones.
    pub last_positions: Vec<(u32, V)>,
    /// Of instructions that read at computed positions: those that are consecutive along the vector axis.
    pub runs: Vec<Option<Run>>,
}

/// Consecutive positions along the vector axis.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// The first, of 64 bits.
    pub start: V,
    /// A bool: whether all of them lie within the array.
    pub inside: V,
}

impl<'k> Lower<'k> {
    pub fn new(kernel: &'k Kernel, isa: Isa) -> Self {
        Self {
            kernel,
            isa,
            types: kernel.dtypes(),
            info: Vec::new(),
            pool: Vec::new(),
            constants: Map::default(),
            line: Vec::new(),
            uniform_line: Vec::new(),
            uniform_slots: 0,
            in_uniform: false,
            masked: false,
            copy: 0,
            tail_masks: [None; 3],
            uniforms: Vec::new(),
            distances: Vec::new(),
            last_positions: Vec::new(),
            runs: Vec::new(),
        }
    }

    pub fn wide(&self) -> bool {
        self.isa == Isa::Avx512
    }

    // ---- Emission of single instructions.

    pub fn new_v(&mut self, class: Class, global: Option<Place>) -> V {
        self.info.push(VInfo { class, global });
        V(self.info.len() as u32 - 1)
    }
    pub fn push(&mut self, op: Op, dst: Option<V>, src: &[V], imm: Option<u8>) {
        let op = MOp { op, dst, src: SmallVec::from_slice(src), imm };
        if self.in_uniform { self.uniform_line.push(op) } else { self.line.push(op) }
    }
    /// An instruction with a result; `class` of the result.
    pub fn op(&mut self, op: Op, class: Class, src: &[V], imm: Option<u8>) -> V {
        let dst = self.new_v(class, None);
        self.push(op, Some(dst), src, imm);
        dst
    }
    pub fn x(&mut self, x: X, src: &[V]) -> V {
        self.xi(x, src, None)
    }
    pub fn xi(&mut self, x: X, src: &[V], imm: impl Into<Option<u8>>) -> V {
        let class = if x.kinds()[0] == Kind::K { Class::Mask } else { Class::Vector };
        self.op(Op::X(x), class, src, imm.into())
    }
    /// A constant of the image.
    pub fn pool(&mut self, bytes: [u8; 64]) -> V {
        if let Some(&v) = self.constants.get(&bytes) {
            return v;
        }
        let v = self.new_v(Class::Vector, Some(Place::Pool(64 * self.pool.len() as u32)));
        self.pool.push(bytes);
        self.constants.insert(bytes, v);
        v
    }
    pub fn c32(&mut self, bits: u32) -> V {
        let mut bytes = [0; 64];
        bytes.chunks_exact_mut(4).for_each(|c| c.copy_from_slice(&bits.to_le_bytes()));
        self.pool(bytes)
    }
    pub fn c64(&mut self, bits: u64) -> V {
        let mut bytes = [0; 64];
        bytes.chunks_exact_mut(8).for_each(|c| c.copy_from_slice(&bits.to_le_bytes()));
        self.pool(bytes)
    }
    pub fn f32(&mut self, v: f32) -> V {
        self.c32(v.to_bits())
    }
    pub fn f64(&mut self, v: f64) -> V {
        self.c64(v.to_bits())
    }
    /// `f` for each register of 64-bit values.
    pub fn halves(&mut self, mut f: impl FnMut(&mut Self, usize) -> V) -> Val {
        let lo = f(self, 0);
        Val(lo, Some(f(self, 1)))
    }

    // ---- Masks: bools of 32-bit lanes.

    /// Mask of the half `h` of a bool, for 64-bit lanes.
    pub fn mask_half(&mut self, mask: V, h: usize) -> V {
        match (self.wide(), h) {
            (true, 0) => mask,
            (true, _) => self.xi(X::KShr, &[mask], 8),
            (false, 0) => self.x(X::SignExtend, &[mask]),
            (false, _) => {
                let high = self.xi(X::High, &[mask], 1);
                self.x(X::SignExtend, &[high])
            }
        }
    }
    /// One bool from the masks of the halves of 64-bit lanes.
    pub fn join_masks(&mut self, lo: V, hi: V) -> V {
        if self.wide() { self.x(X::KUnpack, &[hi, lo]) } else { self.narrow_pair(lo, hi) }
    }
    /// The low 32 bits of 64-bit lanes.
    pub fn narrow_pair(&mut self, lo: V, hi: V) -> V {
        if self.wide() {
            let (lo, hi) = (self.x(X::NarrowQ, &[lo]), self.x(X::NarrowQ, &[hi]));
            self.xi(X::Join, &[lo, hi], 1)
        } else {
            let mixed = self.xi(X::ShufPs, &[lo, hi], 0x88);
            self.xi(X::PermQ, &[mixed], 0xD8)
        }
    }
    pub fn mask_and(&mut self, a: V, b: V) -> V {
        self.x(if self.wide() { X::KAnd } else { X::And }, &[a, b])
    }
    /// !a & b
    fn mask_andnot(&mut self, a: V, b: V) -> V {
        self.x(if self.wide() { X::KAndNot } else { X::AndNot }, &[a, b])
    }
    pub fn mask_or(&mut self, a: V, b: V) -> V {
        self.x(if self.wide() { X::KOr } else { X::Or }, &[a, b])
    }
    fn mask_xor(&mut self, a: V, b: V) -> V {
        self.x(if self.wide() { X::KXor } else { X::Xor }, &[a, b])
    }
    pub fn mask_not(&mut self, a: V) -> V {
        if self.wide() {
            self.x(X::KNot, &[a])
        } else {
            let ones = self.c32(u32::MAX);
            self.x(X::Xor, &[a, ones])
        }
    }
    /// mask ? a : b, lanes of 32 or (double) 64 bits.
    pub fn blend(&mut self, double: bool, mask: V, a: V, b: V) -> V {
        self.op(Op::Blend { double }, Class::Vector, &[mask, a, b], None)
    }
    /// mask ? a : 0.
    pub fn keep(&mut self, double: bool, mask: V, a: V) -> V {
        if self.wide() {
            self.op(Op::Keep { double }, Class::Vector, &[mask, a], None)
        } else {
            self.x(X::And, &[mask, a])
        }
    }

    /// Comparison of floats in one register; the mask has lanes as wide as theirs.
    pub fn compare_float(&mut self, cmp: Cmp, double: bool, a: V, b: V) -> V {
        let imm = match cmp {
            Cmp::Eq => 0x00,
            Cmp::Ne => 0x04,
            Cmp::Lt => 0x11,
            Cmp::Le => 0x12,
            Cmp::Ge => 0x1D,
            Cmp::Gt => 0x1E,
        };
        self.compare_float_imm(imm, double, a, b)
    }
    /// Lanes where either is NaN.
    pub fn unordered(&mut self, double: bool, a: V, b: V) -> V {
        self.compare_float_imm(0x03, double, a, b)
    }
    fn compare_float_imm(&mut self, imm: u8, double: bool, a: V, b: V) -> V {
        let x = match (self.wide(), double) {
            (true, false) => X::CmpPsK,
            (true, true) => X::CmpPdK,
            (false, false) => X::CmpPs,
            (false, true) => X::CmpPd,
        };
        self.xi(x, &[a, b], imm)
    }
    /// Comparison of integers in one register.
    pub fn compare_int(&mut self, cmp: Cmp, double: bool, signed: bool, a: V, b: V) -> V {
        if self.wide() {
            let imm = match cmp {
                Cmp::Eq => 0,
                Cmp::Lt => 1,
                Cmp::Le => 2,
                Cmp::Ne => 4,
                Cmp::Ge => 5,
                Cmp::Gt => 6,
            };
            let x = match (double, signed) {
                (false, true) => X::CmpSDK,
                (false, false) => X::CmpUDK,
                (true, true) => X::CmpSQK,
                (true, false) => X::CmpUQK,
            };
            return self.xi(x, &[a, b], imm);
        }
        let (eq, gt) = if double { (X::EqQ, X::GtQ) } else { (X::EqD, X::GtD) };
        let (a, b) = match cmp {
            Cmp::Eq | Cmp::Ne => (a, b),
            _ if signed => (a, b),
            _ => {
                let top = if double { self.c64(1 << 63) } else { self.c32(1 << 31) };
                (self.x(X::Xor, &[a, top]), self.x(X::Xor, &[b, top]))
            }
        };
        match cmp {
            Cmp::Eq => self.x(eq, &[a, b]),
            Cmp::Gt => self.x(gt, &[a, b]),
            Cmp::Lt => self.x(gt, &[b, a]),
            Cmp::Ne | Cmp::Le | Cmp::Ge => {
                let opposite = match cmp {
                    Cmp::Ne => self.x(eq, &[a, b]),
                    Cmp::Le => self.x(gt, &[a, b]),
                    _ => self.x(gt, &[b, a]),
                };
                let ones = self.c32(u32::MAX);
                self.x(X::Xor, &[opposite, ones])
            }
        }
    }
}
