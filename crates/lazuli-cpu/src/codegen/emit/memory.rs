//! Loads, stores, gathers and broadcasts: between registers and operands, staging areas and the argument block.

use super::{Emitter, POINTERS, Part, STAGE};
use crate::codegen::asm::{Arg, mem, mem_index};
use crate::codegen::line::{At, GatherFrom, UniformSource, Widen, Width};
use crate::codegen::ops::Kind;
use crate::isa::Isa;
use iced_x86::{Code, MemoryOperand, Register};

/// Bytes of a cache line.
const LINE: i32 = 64;
/// More operands than a processor's look-ahead follows.
const MANY: usize = 33;

impl Emitter<'_> {
    /// The register with an operand's address; `r9` if it is not kept in one.
    pub fn pointer(&mut self, operand: u32) -> Register {
        if let Some(&r) = POINTERS.get(operand as usize) {
            return r;
        }
        let from = mem(Register::RDI, self.layout.pointer(operand) as i64);
        self.asm.rm(Code::Mov_r64_rm64, Register::R9, from);
        Register::R9
    }

    fn address(&mut self, at: At, disp: i32) -> MemoryOperand {
        match at {
            At::Stage(n) => mem(Register::RSP, STAGE * n as i64 + disp as i64),
            At::Run { operand, start } => {
                let scale = self.kernel.operands[operand as usize].dtype.itemsize() as u32;
                let base = self.pointer(operand);
                let start =
                    self.memory(self.info[start.0 as usize].global.expect("what begins a run outlives its line"));
                self.asm.rm(Code::Mov_r64_rm64, Register::RAX, start);
                self.asm.rm(Code::Lea_r64_m, Register::R9, mem_index(base, Register::RAX, scale, 0));
                mem_index(Register::R9, Register::RSI, scale, disp as i64)
            }
            At::Operand(o) => {
                let scale = self.kernel.operands[o as usize].dtype.itemsize() as u32;
                let base = self.pointer(o);
                mem_index(base, Register::RSI, scale, disp as i64)
            }
        }
    }
    /// How far ahead operands are fetched, in bytes, if that is not left to the processor. Its own look-ahead ends with the page, and follows so many of them at once.
    fn look_ahead(&self) -> Option<i32> {
        match self.kernel.operands.len() {
            MANY.. => Some(4 * LINE),
            _ => self.stream.then_some(32 * LINE),
        }
    }
    /// AVX-512's mask of the live lanes, for operands in the tail.
    fn live(&self, at: At, half: u8, double: bool) -> Option<Register> {
        let tail = self.wide() && self.part == Part::Tail && !matches!(at, At::Stage(_));
        tail.then_some(if double && half == 1 { Register::K6 } else { Register::K7 })
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn load(&mut self, at: At, widen: Widen, disp: i32, half: u8, double: bool, dst: u8, mask: Option<u8>) {
        let from = self.address(at, disp);
        let d = self.vector_register(dst, Kind::F);
        if let Some(mask) = mask {
            let code = if double { Code::VEX_Vpmaskmovq_ymm_ymm_m256 } else { Code::VEX_Vpmaskmovd_ymm_ymm_m256 };
            let mask = self.vector_register(mask, Kind::F);
            return self.asm.vector(code, &[Arg::Reg(d), Arg::Reg(mask), Arg::Mem(from)], None, None);
        }
        let code = match (self.isa, widen) {
            (Isa::Avx512, Widen::Move) if double => Code::EVEX_Vmovdqu64_zmm_k1z_zmmm512,
            (Isa::Avx512, Widen::Move) => Code::EVEX_Vmovdqu32_zmm_k1z_zmmm512,
            (Isa::Avx512, Widen::ZeroByte) => Code::EVEX_Vpmovzxbd_zmm_k1z_xmmm128,
            (Isa::Avx512, Widen::SignByte) => Code::EVEX_Vpmovsxbd_zmm_k1z_xmmm128,
            (Isa::Avx512, Widen::ZeroWord) => Code::EVEX_Vpmovzxwd_zmm_k1z_ymmm256,
            (Isa::Avx512, Widen::SignWord) => Code::EVEX_Vpmovsxwd_zmm_k1z_ymmm256,
            (Isa::Avx512, Widen::Half) => Code::EVEX_Vcvtph2ps_zmm_k1z_ymmm256_sae,
            (_, Widen::Move) => Code::VEX_Vmovdqu_ymm_ymmm256,
            (_, Widen::ZeroByte) => Code::VEX_Vpmovzxbd_ymm_xmmm64,
            (_, Widen::SignByte) => Code::VEX_Vpmovsxbd_ymm_xmmm64,
            (_, Widen::ZeroWord) => Code::VEX_Vpmovzxwd_ymm_xmmm128,
            (_, Widen::SignWord) => Code::VEX_Vpmovsxwd_ymm_xmmm128,
            (_, Widen::Half) => Code::VEX_Vcvtph2ps_ymm_xmmm128,
        };
        let live = self.live(at, half, double).map(|k| (k, true));
        self.asm.vector(code, &[Arg::Reg(d), Arg::Mem(from)], None, live);
        if self.part == Part::Main
            && matches!(at, At::Operand(_))
            && disp % LINE == 0
            && let Some(ahead) = self.look_ahead()
        {
            let ahead = self.address(at, disp + ahead);
            self.asm.m(Code::Prefetcht0_m8, ahead);
        }
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn store(
        &mut self,
        at: At,
        width: Width,
        itemsize: u32,
        disp: i32,
        half: u8,
        stream: bool,
        value: u8,
        mask: Option<u8>,
    ) {
        let to = Arg::Mem(self.address(at, disp));
        let double = itemsize == 8;
        if let Some(mask) = mask {
            let code = if double { Code::VEX_Vpmaskmovq_m256_ymm_ymm } else { Code::VEX_Vpmaskmovd_m256_ymm_ymm };
            let (mask, value) = (self.vector_register(mask, Kind::F), self.vector_register(value, Kind::F));
            return self.asm.vector(code, &[to, Arg::Reg(mask), Arg::Reg(value)], None, None);
        }
        let code = match (self.isa, width, stream) {
            (Isa::Avx512, Width::Full, true) => Code::EVEX_Vmovntdq_m512_zmm,
            (Isa::Avx512, Width::Half, true) => Code::EVEX_Vmovntdq_m256_ymm,
            (Isa::Avx512, Width::Quarter, true) => Code::EVEX_Vmovntdq_m128_xmm,
            (Isa::Avx512, Width::Full, false) if double => Code::EVEX_Vmovdqu64_zmmm512_k1z_zmm,
            (Isa::Avx512, Width::Full, false) => Code::EVEX_Vmovdqu32_zmmm512_k1z_zmm,
            (Isa::Avx512, Width::Half, false) => Code::EVEX_Vmovdqu16_ymmm256_k1z_ymm,
            (Isa::Avx512, Width::Quarter, false) => Code::EVEX_Vmovdqu8_xmmm128_k1z_xmm,
            (_, Width::Full, true) => Code::VEX_Vmovntdq_m256_ymm,
            (_, Width::Half, true) => Code::VEX_Vmovntdq_m128_xmm,
            (_, Width::Full, false) => Code::VEX_Vmovdqu_ymmm256_ymm,
            (_, Width::Half, false) => Code::VEX_Vmovdqu_xmmm128_xmm,
            (_, Width::Quarter, _) => Code::VEX_Vmovq_xmmm64_xmm,
        };
        let kind = match width {
            Width::Full => Kind::F,
            Width::Half => Kind::H,
            Width::Quarter => Kind::Q,
        };
        let live = self.live(at, half, double).map(|k| (k, false));
        let value = Arg::Reg(self.vector_register(value, kind));
        self.asm.vector(code, &[to, value], None, live);
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn gather(
        &mut self,
        operand: u32,
        from: GatherFrom,
        half: u8,
        double: bool,
        scale: u32,
        dst: u8,
        index: u8,
    ) {
        let k = Register::K1;
        let base = match from {
            GatherFrom::Operand => self.pointer(operand),
            GatherFrom::Lane(first) => {
                // The second half follows at once.
                if half == 0 {
                    self.row_position(operand, scale, true, first);
                }
                Register::R9
            }
        };
        match self.live(At::Operand(operand), half, true) {
            Some(live) if from != GatherFrom::Operand => self.asm.rr(Code::VEX_Kmovw_kr_km16, k, live),
            _ => self.asm.vector(Code::VEX_Kxnorw_kr_kr_kr, &[k, k, k].map(Arg::Reg), None, None),
        }
        // Into scratch: the result's register may be that of the distances, which the processor refuses.
        let scratch = self.vector_register(self.scratch(0), Kind::F);
        let xor = Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32;
        self.asm.vector(xor, &[Arg::Reg(scratch); 3], None, None);
        let (code, kind) = match double {
            true => (Code::EVEX_Vgatherqpd_zmm_k1_vm64z, Kind::F),
            false => (Code::EVEX_Vgatherqps_ymm_k1_vm64z, Kind::H),
        };
        let to = self.vector_register(self.scratch(0), kind);
        let scale = if from == GatherFrom::Operand { scale } else { 1 };
        let place = mem_index(base, self.vector_register(index, Kind::F), scale, 0);
        self.asm.vector(code, &[Arg::Reg(to), Arg::Mem(place)], None, Some((k, false)));
        self.copy_vector(dst, self.scratch(0));
    }

    /// All lanes from a general register.
    pub(super) fn broadcast(&mut self, dst: u8, from: Register, double: bool) {
        let (d, x) = (self.vector_register(dst, Kind::F), Register::XMM0 + dst as u32);
        match (self.wide(), double) {
            (true, false) => self.asm.rr(Code::EVEX_Vpbroadcastd_zmm_k1z_r32, d, from),
            (true, true) => self.asm.rr(Code::EVEX_Vpbroadcastq_zmm_k1z_r64, d, from),
            (false, false) => {
                self.asm.rr(Code::VEX_Vmovd_xmm_rm32, x, from);
                self.asm.rr(Code::VEX_Vpbroadcastd_ymm_xmmm32, d, x);
            }
            (false, true) => {
                self.asm.rr(Code::VEX_Vmovq_xmm_rm64, x, from);
                self.asm.rr(Code::VEX_Vpbroadcastq_ymm_xmmm64, d, x);
            }
        }
    }

    pub(super) fn uniform(&mut self, from: UniformSource, widen: Widen, double: bool, dst: u8) {
        let m = match from {
            UniformSource::Block(offset) => mem(Register::RDI, offset as i64),
            UniformSource::Operand(o) => {
                let base = self.pointer(o);
                mem(base, 0)
            }
        };
        let (d, h) = (self.vector_register(dst, Kind::F), self.vector_register(dst, Kind::H));
        let code = match widen {
            Widen::Move => {
                let code = match (self.wide(), double) {
                    (true, false) => Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32,
                    (true, true) => Code::EVEX_Vbroadcastsd_zmm_k1z_xmmm64,
                    (false, false) => Code::VEX_Vbroadcastss_ymm_m32,
                    (false, true) => Code::VEX_Vbroadcastsd_ymm_m64,
                };
                return self.asm.rm(code, d, m);
            }
            Widen::Half => {
                let (load, convert) = if self.wide() {
                    (Code::EVEX_Vpbroadcastw_ymm_k1z_xmmm16, Code::EVEX_Vcvtph2ps_zmm_k1z_ymmm256_sae)
                } else {
                    (Code::VEX_Vpbroadcastw_xmm_xmmm16, Code::VEX_Vcvtph2ps_ymm_xmmm128)
                };
                self.asm.rm(load, h, m);
                return self.asm.rr(convert, d, h);
            }
            Widen::ZeroByte => Code::Movzx_r32_rm8,
            Widen::SignByte => Code::Movsx_r32_rm8,
            Widen::ZeroWord => Code::Movzx_r32_rm16,
            Widen::SignWord => Code::Movsx_r32_rm16,
        };
        self.asm.rm(code, Register::EAX, m);
        self.broadcast(dst, Register::EAX, false);
    }
}
