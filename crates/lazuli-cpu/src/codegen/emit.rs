//! Writes allocated lines as machine instructions; how they reach memory is in [`memory`].
//!
//! General registers: `rdi` the argument block, `rsi` the element counter of the vector axis, `r8` the live lanes of the tail, `rax`,
//! `rcx`, `rdx`, `r9` scratch, `rbp` the caller's frame, `rsp` ours (aligned to 64 bytes: staging areas, then slots). The rest
//! hold the addresses of the first operands; others are read from the block where they are needed. Of the vector registers the two highest are scratch;
//! of the masks `k1` and `k2` are scratch, and in the tail `k7` and `k6` are the live lanes of 32 bits, and of the upper half of 64.

mod memory;

use super::asm::{Arg, Asm, Label, mem, mem_index};
use super::block::{self, Layout};
use super::line::{Allocation, Class, MOp, Op, Place, V, VInfo};
use super::ops::{Kind, X};
use crate::isa::Isa;
use iced_x86::{Code, Instruction, MemoryOperand, Register};
use lazuli_kernel::Kernel;

/// Bytes of one staging area: as many 64-bit elements as a vector has lanes.
pub const STAGE: i64 = 128;
pub const STAGES: i64 = 2;

/// Registers for operands' addresses, those that the caller need not keep first.
pub const POINTERS: [Register; 7] =
    [Register::R10, Register::R11, Register::RBX, Register::R12, Register::R13, Register::R14, Register::R15];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Uniform,
    Main,
    Tail,
}

pub struct Emitter<'a> {
    pub asm: Asm,
    pub isa: Isa,
    pub kernel: &'a Kernel,
    pub layout: Layout,
    pub info: &'a [VInfo],
    pub part: Part,
    /// Offset in the image of 8 words of ones, then 8 of zeros.
    pub tail_table: usize,
    /// Whether operands are far larger than the caches.
    pub stream: bool,
    /// Where the skip at hand goes.
    pub landing: Option<Label>,
}

/// Registers that allocation may use, by class.
pub fn free_registers(isa: Isa, part: Part) -> (Vec<u8>, Vec<u8>) {
    match isa {
        Isa::Avx512 => ((0..30).collect(), if part == Part::Tail { (3..6).collect() } else { (3..8).collect() }),
        _ => ((0..14).collect(), Vec::new()),
    }
}

impl Emitter<'_> {
    fn wide(&self) -> bool {
        self.isa == Isa::Avx512
    }

    pub fn vector_register(&self, n: u8, kind: Kind) -> Register {
        let (full, half) =
            if self.wide() { (Register::ZMM0, Register::YMM0) } else { (Register::YMM0, Register::XMM0) };
        let base = match kind {
            Kind::F | Kind::FM => full,
            Kind::H | Kind::HM => half,
            Kind::Q => Register::XMM0,
            Kind::K => Register::K0,
        };
        base + n as u32
    }
    fn scratch(&self, n: u8) -> u8 {
        if self.wide() { 30 + n } else { 14 + n }
    }
    /// The number of scratch register `n` of a class.
    fn scratch_of(&self, class: Class, n: u8) -> u8 {
        if class == Class::Mask { 1 + n } else { self.scratch(n) }
    }

    pub fn memory(&self, place: Place) -> MemoryOperand {
        match place {
            Place::Pool(offset) => self.asm.image(offset as usize),
            Place::Slot(n) => mem(Register::RSP, STAGE * STAGES + 64 * n as i64),
            Place::Reg(_) => unreachable!("a register has no address"),
        }
    }
    fn move_code(&self) -> Code {
        if self.wide() { Code::EVEX_Vmovups_zmm_k1z_zmmm512 } else { Code::VEX_Vmovups_ymm_ymmm256 }
    }
    /// Full vector register from memory.
    pub fn load_vector(&mut self, n: u8, from: MemoryOperand) {
        let (code, r) = (self.move_code(), self.vector_register(n, Kind::F));
        self.asm.rm(code, r, from);
    }
    fn copy_vector(&mut self, n: u8, from: u8) {
        if n != from {
            let (code, a, b) =
                (self.move_code(), self.vector_register(n, Kind::F), self.vector_register(from, Kind::F));
            self.asm.rr(code, a, b);
        }
    }
    fn store_slot(&mut self, class: Class, n: u8, place: Place) {
        let to = self.memory(place);
        match class {
            Class::Mask => self.asm.mr(Code::VEX_Kmovw_m16_kr, to, Register::K0 + n as u32),
            Class::Vector => {
                let code = if self.wide() { Code::EVEX_Vmovups_zmmm512_k1z_zmm } else { Code::VEX_Vmovups_ymmm256_ymm };
                let r = self.vector_register(n, Kind::F);
                self.asm.mr(code, to, r);
            }
        }
    }

    /// The number of a register that holds `v`: its own, or scratch register `s` filled from its slot.
    fn in_register(&mut self, v: V, allocation: &Allocation, s: u8) -> u8 {
        let class = self.info[v.0 as usize].class;
        match allocation.place(v, self.info) {
            Place::Reg(n) => n,
            place => {
                let n = self.scratch_of(class, s);
                let from = self.memory(place);
                match class {
                    Class::Mask => self.asm.rm(Code::VEX_Kmovw_kr_km16, Register::K0 + n as u32, from),
                    Class::Vector => self.load_vector(n, from),
                }
                n
            }
        }
    }
    fn register_or_memory(&mut self, v: V, kind: Kind, allocation: &Allocation) -> Arg {
        match allocation.place(v, self.info) {
            Place::Reg(n) => Arg::Reg(self.vector_register(n, kind)),
            place => Arg::Mem(self.memory(place)),
        }
    }

    pub fn line(&mut self, line: &[MOp], allocation: &Allocation) {
        for op in line {
            self.op(op, allocation);
        }
    }

    fn op(&mut self, op: &MOp, allocation: &Allocation) {
        let target = op.dst.map(|v| {
            let class = self.info[v.0 as usize].class;
            match allocation.place(v, self.info) {
                Place::Reg(n) => (class, n, None),
                place => (class, self.scratch_of(class, 0), Some(place)),
            }
        });
        let dst = target.map_or(0, |(_, n, _)| n);
        match op.op {
            Op::X(x) => self.table_op(x, dst, op, allocation),
            Op::Fma { double } => self.fma(double, dst, op, allocation),
            Op::Blend { double } => self.blend(double, dst, op, allocation),
            Op::Keep { double } => {
                let code =
                    if double { Code::EVEX_Vmovdqu64_zmm_k1z_zmmm512 } else { Code::EVEX_Vmovdqu32_zmm_k1z_zmmm512 };
                let k = Register::K0 + self.in_register(op.src[0], allocation, 0) as u32;
                let from = self.register_or_memory(op.src[1], Kind::F, allocation);
                let to = Arg::Reg(self.vector_register(dst, Kind::F));
                self.asm.vector(code, &[to, from], None, Some((k, true)));
            }
            Op::MaskBytes => {
                let k = Register::K0 + self.in_register(op.src[0], allocation, 0) as u32;
                let from = self.register_or_memory(op.src[1], Kind::Q, allocation);
                let to = Arg::Reg(self.vector_register(dst, Kind::Q));
                self.asm.vector(Code::EVEX_Vmovdqu8_xmm_k1z_xmmm128, &[to, from], None, Some((k, true)));
            }
            Op::MaskConst(on) => {
                let k = Arg::Reg(Register::K0 + dst as u32);
                let code = if on { Code::VEX_Kxnorw_kr_kr_kr } else { Code::VEX_Kxorw_kr_kr_kr };
                self.asm.vector(code, &[k, k, k], None, None);
            }
            Op::Gather { operand, from, half, double, scale } => {
                let index = self.in_register(op.src[0], allocation, 1);
                self.gather(operand, from, half, double, scale, dst, index);
            }
            Op::Skip { when } => self.skip(when, op, allocation),
            Op::Land => {
                let label = self.landing.take().expect("a skip comes before");
                self.asm.place(label);
            }
            Op::TailMask { part } => self.tail_mask(part, dst),
            Op::Load { at, widen, disp, half, double } => {
                let mask = op.src.first().map(|&v| self.in_register(v, allocation, 1));
                self.load(at, widen, disp, half, double, dst, mask);
            }
            Op::Store { at, width, itemsize, disp, half, stream } => {
                let value = self.in_register(op.src[0], allocation, 0);
                let mask = op.src.get(1).map(|&v| self.in_register(v, allocation, 1));
                self.store(at, width, itemsize, disp, half, stream, value, mask);
            }
            Op::Uniform { from, widen, double } => self.uniform(from, widen, double, dst),
            Op::Counter { plus, axis } => {
                let start = mem(Register::RDI, self.layout.index(axis) as i64);
                self.asm.rm(Code::Mov_r64_rm64, Register::RAX, start);
                let sum = mem_index(Register::RAX, Register::RSI, 1, plus as i64);
                self.asm.rm(Code::Lea_r64_m, Register::RAX, sum);
                self.broadcast(dst, Register::RAX, true);
            }
            Op::Lanes(lanes) => self.lanes(lanes),
        }
        if let Some((class, n, Some(place))) = target {
            self.store_slot(class, n, place);
        }
    }

    fn table_op(&mut self, x: X, dst: u8, op: &MOp, allocation: &Allocation) {
        let kinds = x.kinds();
        let mut args = smallvec::SmallVec::<[Arg; 4]>::new();
        args.push(Arg::Reg(self.vector_register(dst, kinds[0])));
        let mut scratch = 0;
        for (&v, &kind) in op.src.iter().zip(&kinds[1..]) {
            let arg = match (kind, allocation.place(v, self.info)) {
                (_, Place::Reg(n)) => Arg::Reg(self.vector_register(n, kind)),
                (Kind::FM | Kind::HM, place) => Arg::Mem(self.memory(place)),
                _ => {
                    let n = self.in_register(v, allocation, scratch);
                    scratch += 1;
                    Arg::Reg(self.vector_register(n, kind))
                }
            };
            args.push(arg);
        }
        self.asm.vector(x.code(self.isa), &args, op.imm, None);
    }

    /// Picks the form whose overwritten operand is the result's register, else copies the addend there first.
    fn fma(&mut self, double: bool, d: u8, op: &MOp, allocation: &Allocation) {
        let place = |v: V| allocation.place(v, self.info);
        let [mut a, mut b, c] = [op.src[0], op.src[1], op.src[2]];
        let to = Place::Reg(d);
        if place(b) == to && place(a) != to {
            std::mem::swap(&mut a, &mut b);
        }
        let is_register = |p: Place| matches!(p, Place::Reg(_));
        let (form, x, y) = if place(a) == to {
            if is_register(place(b)) || !is_register(place(c)) { (213, b, c) } else { (132, c, b) }
        } else {
            if place(c) != to {
                match place(c) {
                    Place::Reg(n) => self.copy_vector(d, n),
                    p => {
                        let from = self.memory(p);
                        self.load_vector(d, from);
                    }
                }
            }
            if is_register(allocation.place(a, self.info)) { (231, a, b) } else { (231, b, a) }
        };
        let code = match (self.isa, form, double) {
            (Isa::Avx512, 132, false) => Code::EVEX_Vfmadd132ps_zmm_k1z_zmm_zmmm512b32_er,
            (Isa::Avx512, 132, true) => Code::EVEX_Vfmadd132pd_zmm_k1z_zmm_zmmm512b64_er,
            (Isa::Avx512, 213, false) => Code::EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er,
            (Isa::Avx512, 213, true) => Code::EVEX_Vfmadd213pd_zmm_k1z_zmm_zmmm512b64_er,
            (Isa::Avx512, _, false) => Code::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er,
            (Isa::Avx512, _, true) => Code::EVEX_Vfmadd231pd_zmm_k1z_zmm_zmmm512b64_er,
            (_, 132, false) => Code::VEX_Vfmadd132ps_ymm_ymm_ymmm256,
            (_, 132, true) => Code::VEX_Vfmadd132pd_ymm_ymm_ymmm256,
            (_, 213, false) => Code::VEX_Vfmadd213ps_ymm_ymm_ymmm256,
            (_, 213, true) => Code::VEX_Vfmadd213pd_ymm_ymm_ymmm256,
            (_, _, false) => Code::VEX_Vfmadd231ps_ymm_ymm_ymmm256,
            (_, _, true) => Code::VEX_Vfmadd231pd_ymm_ymm_ymmm256,
        };
        let x = self.in_register(x, allocation, 1);
        let args = [
            Arg::Reg(self.vector_register(d, Kind::F)),
            Arg::Reg(self.vector_register(x, Kind::F)),
            self.register_or_memory(y, Kind::F, allocation),
        ];
        self.asm.vector(code, &args, None, None);
    }

    fn blend(&mut self, double: bool, d: u8, op: &MOp, allocation: &Allocation) {
        let mask = self.in_register(op.src[0], allocation, 1);
        let no = self.in_register(op.src[2], allocation, 0);
        let yes = self.register_or_memory(op.src[1], Kind::F, allocation);
        let (d, no) = (self.vector_register(d, Kind::F), self.vector_register(no, Kind::F));
        if self.wide() {
            let code = if double {
                Code::EVEX_Vblendmpd_zmm_k1z_zmm_zmmm512b64
            } else {
                Code::EVEX_Vblendmps_zmm_k1z_zmm_zmmm512b32
            };
            let k = Register::K0 + mask as u32;
            self.asm.vector(code, &[Arg::Reg(d), Arg::Reg(no), yes], None, Some((k, false)));
        } else {
            let code =
                if double { Code::VEX_Vblendvpd_ymm_ymm_ymmm256_ymm } else { Code::VEX_Vblendvps_ymm_ymm_ymmm256_ymm };
            let mask = self.vector_register(mask, Kind::F);
            self.asm.vector(code, &[Arg::Reg(d), Arg::Reg(no), yes, Arg::Reg(mask)], None, None);
        }
    }

    fn skip(&mut self, when: bool, op: &MOp, allocation: &Allocation) {
        let label = self.asm.label();
        self.landing = Some(label);
        // All of them in one register, which is scratch if there are several.
        let mut all = self.in_register(op.src[0], allocation, 0);
        let scratch = self.scratch_of(self.info[op.src[0].0 as usize].class, 0);
        for &v in &op.src[1..] {
            let next = self.in_register(v, allocation, 1);
            let (base, code) = match (self.wide(), when) {
                (true, true) => (Register::K0, Code::VEX_Kandw_kr_kr_kr),
                (true, false) => (Register::K0, Code::VEX_Korw_kr_kr_kr),
                (false, true) => (Register::YMM0, Code::VEX_Vpand_ymm_ymm_ymmm256),
                (false, false) => (Register::YMM0, Code::VEX_Vpor_ymm_ymm_ymmm256),
            };
            let args = [scratch, all, next].map(|n| Arg::Reg(base + n as u32));
            self.asm.vector(code, &args, None, None);
            all = scratch;
        }
        if self.wide() {
            let k = Register::K0 + all as u32;
            self.asm.rr(Code::VEX_Kortestw_kr_kr, k, k);
            // Carry: all ones. Zero: none.
            return self.asm.jump(if when { Code::Jb_rel32_64 } else { Code::Je_rel32_64 }, label);
        }
        self.asm.rr(Code::VEX_Vmovmskps_r32_ymm, Register::EAX, Register::YMM0 + all as u32);
        self.asm.ri(Code::Cmp_rm32_imm32, Register::EAX, if when { 0xFF } else { 0 });
        self.asm.jump(Code::Je_rel32_64, label);
    }

    fn tail_mask(&mut self, part: u8, dst: u8) {
        // The table's ones end at its word 8: reading from word 8 − live gives `live` ones.
        let table = self.asm.image(self.tail_table + 32);
        self.asm.rm(Code::Lea_r64_m, Register::RAX, table);
        self.asm.rr(Code::Mov_r64_rm64, Register::RCX, Register::R8);
        self.asm.ri(Code::Shl_rm64_imm8, Register::RCX, 2);
        self.asm.rr(Code::Sub_r64_rm64, Register::RAX, Register::RCX);
        let d = self.vector_register(dst, Kind::F);
        match part {
            0 => self.asm.rm(Code::VEX_Vmovdqu_ymm_ymmm256, d, mem(Register::RAX, 0)),
            _ => self.asm.rm(Code::VEX_Vpmovsxdq_ymm_xmmm128, d, mem(Register::RAX, 16 * (part as i64 - 1))),
        }
    }

    /// The whole function around its three lines. `pinned`: constants (bytes into the image) to keep in registers. `copies`:
    /// vectors of the main line, which is left out if that is 0.
    pub fn function(&mut self, lines: [(&[MOp], &Allocation); 3], pinned: &[(u32, u8)], copies: usize, slots: u32) {
        let lanes = self.isa.lanes() as i32;
        let operands = self.kernel.operands.len();
        let saved: Vec<Register> = POINTERS[..operands.min(POINTERS.len())].iter().skip(2).copied().collect();
        self.asm.r(Code::Push_r64, Register::RBP);
        self.asm.rr(Code::Mov_r64_rm64, Register::RBP, Register::RSP);
        for &r in &saved {
            self.asm.r(Code::Push_r64, r);
        }
        self.asm.ri(Code::And_rm64_imm8, Register::RSP, -64);
        self.asm.ri(Code::Sub_rm64_imm32, Register::RSP, (STAGE * STAGES) as i32 + 64 * slots as i32);
        for &(offset, register) in pinned {
            let from = self.asm.image(offset as usize);
            self.load_vector(register, from);
        }

        let (row, tail, row_end, done) = (self.asm.label(), self.asm.label(), self.asm.label(), self.asm.label());
        let n = mem(Register::RDI, 8 * block::N as i64);
        self.asm.place(row);
        for (operand, &register) in POINTERS.iter().enumerate().take(operands) {
            let from = mem(Register::RDI, self.layout.pointer(operand as u32) as i64);
            self.asm.rm(Code::Mov_r64_rm64, register, from);
        }
        self.part = Part::Uniform;
        self.line(lines[0].0, lines[0].1);
        self.asm.rr(Code::Xor_r32_rm32, Register::ESI, Register::ESI);

        if copies > 0 {
            let step = copies as i32 * lanes;
            let main = self.asm.label();
            self.asm.instruction(Instruction::with2(Code::Cmp_rm64_imm32, n, step));
            self.asm.jump(Code::Jl_rel32_64, tail);
            self.asm.align(32);
            self.asm.place(main);
            self.part = Part::Main;
            self.line(lines[1].0, lines[1].1);
            self.asm.ri(Code::Add_rm64_imm32, Register::RSI, step);
            self.asm.rm(Code::Lea_r64_m, Register::RAX, mem(Register::RSI, step as i64));
            self.asm.rm(Code::Cmp_r64_rm64, Register::RAX, n);
            self.asm.jump(Code::Jle_rel32_64, main);
        }

        self.asm.place(tail);
        self.part = Part::Tail;
        self.asm.rm(Code::Mov_r64_rm64, Register::R8, n);
        self.asm.rr(Code::Sub_r64_rm64, Register::R8, Register::RSI);
        self.asm.jump(Code::Jle_rel32_64, row_end);
        self.asm.ri(Code::Mov_r32_imm32, Register::EAX, lanes);
        self.asm.rr(Code::Cmp_r64_rm64, Register::R8, Register::RAX);
        self.asm.rr(Code::Cmovg_r64_rm64, Register::R8, Register::RAX);
        if self.wide() {
            self.asm.ri(Code::Mov_r32_imm32, Register::EAX, -1);
            let args = [Register::EAX, Register::EAX, Register::R8D].map(Arg::Reg);
            self.asm.vector(Code::VEX_Bzhi_r32_rm32_r32, &args, None, None);
            self.asm.rr(Code::VEX_Kmovw_kr_r32, Register::K7, Register::EAX);
            let args = [Register::K6, Register::K7].map(Arg::Reg);
            self.asm.vector(Code::VEX_Kshiftrw_kr_kr_imm8, &args, Some(8), None);
        }
        self.line(lines[2].0, lines[2].1);
        self.asm.ri(Code::Add_rm64_imm32, Register::RSI, lanes);
        self.asm.jump(Code::Jmp_rel32_64, tail);

        self.asm.place(row_end);
        self.asm.m(Code::Dec_rm64, mem(Register::RDI, 8 * block::ROWS as i64));
        self.asm.jump(Code::Je_rel32_64, done);
        self.asm.rm(Code::Mov_r64_rm64, Register::RAX, mem(Register::RDI, 8 * block::ROW_AXIS as i64));
        self.asm.m(Code::Inc_rm64, mem_index(Register::RDI, Register::RAX, 8, self.layout.index(0) as i64));
        for operand in 0..operands as u32 {
            let (stride, pointer) = (self.layout.row_stride(operand) as i64, self.layout.pointer(operand) as i64);
            self.asm.rm(Code::Mov_r64_rm64, Register::RAX, mem(Register::RDI, stride));
            self.asm.mr(Code::Add_rm64_r64, mem(Register::RDI, pointer), Register::RAX);
        }
        self.asm.jump(Code::Jmp_rel32_64, row);

        self.asm.place(done);
        if self.stream {
            self.asm.plain(Code::Sfence);
        }
        self.asm.plain(Code::VEX_Vzeroupper);
        self.asm.rm(Code::Lea_r64_m, Register::RSP, mem(Register::RBP, -8 * saved.len() as i64));
        for &r in saved.iter().rev() {
            self.asm.r(Code::Pop_r64, r);
        }
        self.asm.r(Code::Pop_r64, Register::RBP);
        self.asm.plain(Code::Retnq);
    }

    /// Loops while `rcx`, counted up here, is below the number of live lanes.
    pub fn next_lane(&mut self, top: Label) {
        self.asm.r(Code::Inc_rm64, Register::RCX);
        if self.part == Part::Tail {
            self.asm.rr(Code::Cmp_r64_rm64, Register::RCX, Register::R8);
        } else {
            self.asm.ri(Code::Cmp_rm64_imm8, Register::RCX, self.isa.lanes() as i32);
        }
        self.asm.jump(Code::Jl_rel32_64, top);
    }
}
