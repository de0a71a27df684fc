//! Loops over single lanes in general registers, for what vectors cannot do: run-time strides, computed positions, 64-bit
//! division, and on AVX2 short elements of a tail and conversions of 64-bit integers.

use super::asm::{Arg, Label, mem, mem_index};
use super::emit::{Emitter, STAGE};
use super::line::Lanes;
use iced_x86::{Code, Instruction, MemoryOperand, Register};

/// Element `rcx` of a staging area.
fn staged(stage: i64, size: u32) -> MemoryOperand {
    mem_index(Register::RSP, Register::RCX, size, STAGE * stage)
}

impl Emitter<'_> {
    pub fn lanes(&mut self, lanes: Lanes) {
        match lanes {
            Lanes::Gather { operand, size, strided, first } => {
                self.row_position(operand, size, strided, first);
                let top = self.lane_loop();
                self.load_element(size, mem(Register::R9, 0));
                self.store_element(size, staged(0, size));
                self.asm.rr(Code::Add_r64_rm64, Register::R9, Register::RDX);
                self.next_lane(top);
            }
            Lanes::Scatter { operand, size, strided, first } => {
                self.row_position(operand, size, strided, first);
                let top = self.lane_loop();
                self.load_element(size, staged(0, size));
                self.store_element(size, mem(Register::R9, 0));
                self.asm.rr(Code::Add_r64_rm64, Register::R9, Register::RDX);
                self.next_lane(top);
            }
            Lanes::Lookup { operand, size } => {
                let base = self.pointer(operand);
                let top = self.lane_loop();
                self.asm.rm(Code::Mov_r64_rm64, Register::RAX, staged(0, 8));
                self.load_element(size, mem_index(base, Register::RAX, size, 0));
                self.store_element(size, staged(1, size));
                self.next_lane(top);
            }
            Lanes::Divide { signed, remainder } => self.divide_lanes(signed, remainder),
            Lanes::IntToFloat { signed, double } => self.int_to_float_lanes(signed, double),
            Lanes::FloatToInt { signed } => self.float_to_int_lanes(signed),
        }
    }

    fn lane_loop(&mut self) -> Label {
        self.asm.rr(Code::Xor_r32_rm32, Register::ECX, Register::ECX);
        let top = self.asm.label();
        self.asm.place(top);
        top
    }

    /// `r9`: address of the operand's element at lane `first`; `rdx`: bytes to the next.
    pub fn row_position(&mut self, operand: u32, size: u32, strided: bool, first: i32) {
        if strided {
            let stride = mem(Register::RDI, self.layout.stride(operand) as i64);
            self.asm.rm(Code::Mov_r64_rm64, Register::RDX, stride);
        } else {
            self.asm.ri(Code::Mov_r32_imm32, Register::EDX, size as i32);
        }
        self.asm.rm(Code::Lea_r64_m, Register::RAX, mem(Register::RSI, first as i64));
        self.asm.rr(Code::Imul_r64_rm64, Register::RAX, Register::RDX);
        let base = self.pointer(operand);
        self.asm.rm(Code::Lea_r64_m, Register::R9, mem_index(base, Register::RAX, 1, 0));
    }

    /// `rax` or the low part of it.
    fn load_element(&mut self, size: u32, from: MemoryOperand) {
        let (code, to) = match size {
            1 => (Code::Movzx_r32_rm8, Register::EAX),
            2 => (Code::Movzx_r32_rm16, Register::EAX),
            4 => (Code::Mov_r32_rm32, Register::EAX),
            _ => (Code::Mov_r64_rm64, Register::RAX),
        };
        self.asm.rm(code, to, from);
    }
    fn store_element(&mut self, size: u32, to: MemoryOperand) {
        let (code, from) = match size {
            1 => (Code::Mov_rm8_r8, Register::AL),
            2 => (Code::Mov_rm16_r16, Register::AX),
            4 => (Code::Mov_rm32_r32, Register::EAX),
            _ => (Code::Mov_rm64_r64, Register::RAX),
        };
        self.asm.mr(code, to, from);
    }

    /// x/0 = 0 and x%0 = 0; MIN/−1 = MIN and MIN%−1 = 0, which would trap.
    fn divide_lanes(&mut self, signed: bool, remainder: bool) {
        let top = self.lane_loop();
        let (zero, divide, done) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.asm.rm(Code::Mov_r64_rm64, Register::RAX, staged(0, 8));
        self.asm.rm(Code::Mov_r64_rm64, Register::R9, staged(1, 8));
        self.asm.rr(Code::Test_rm64_r64, Register::R9, Register::R9);
        self.asm.jump(Code::Je_rel32_64, zero);
        if signed {
            self.asm.ri(Code::Cmp_rm64_imm8, Register::R9, -1);
            self.asm.jump(Code::Jne_rel32_64, divide);
            if remainder {
                self.asm.jump(Code::Jmp_rel32_64, zero);
            } else {
                self.asm.r(Code::Neg_rm64, Register::RAX);
                self.asm.jump(Code::Jmp_rel32_64, done);
            }
        }
        self.asm.place(divide);
        if signed {
            self.asm.plain(Code::Cqo);
            self.asm.r(Code::Idiv_rm64, Register::R9);
        } else {
            self.asm.rr(Code::Xor_r32_rm32, Register::EDX, Register::EDX);
            self.asm.r(Code::Div_rm64, Register::R9);
        }
        if remainder {
            self.asm.rr(Code::Mov_r64_rm64, Register::RAX, Register::RDX);
        }
        self.asm.jump(Code::Jmp_rel32_64, done);
        self.asm.place(zero);
        self.asm.rr(Code::Xor_r32_rm32, Register::EAX, Register::EAX);
        self.asm.place(done);
        self.asm.mr(Code::Mov_rm64_r64, staged(0, 8), Register::RAX);
        self.next_lane(top);
    }

    fn int_to_float_lanes(&mut self, signed: bool, double: bool) {
        let (convert, add, store, size) = if double {
            (Code::VEX_Vcvtsi2sd_xmm_xmm_rm64, Code::VEX_Vaddsd_xmm_xmm_xmmm64, Code::VEX_Vmovsd_m64_xmm, 8)
        } else {
            (Code::VEX_Vcvtsi2ss_xmm_xmm_rm64, Code::VEX_Vaddss_xmm_xmm_xmmm32, Code::VEX_Vmovss_m32_xmm, 4)
        };
        let x = Register::XMM14;
        let top = self.lane_loop();
        let (large, done) = (self.asm.label(), self.asm.label());
        self.asm.rm(Code::Mov_r64_rm64, Register::RAX, staged(0, 8));
        // The conversion keeps the upper lanes of its first source: cleared, so as not to wait for them.
        self.asm.vector(Code::VEX_Vxorps_xmm_xmm_xmmm128, &[x, x, x].map(Arg::Reg), None, None);
        if !signed {
            self.asm.rr(Code::Test_rm64_r64, Register::RAX, Register::RAX);
            self.asm.jump(Code::Js_rel32_64, large);
        }
        self.asm.vector(convert, &[x, x, Register::RAX].map(Arg::Reg), None, None);
        if !signed {
            self.asm.jump(Code::Jmp_rel32_64, done);
            self.asm.place(large);
            // Half of it, the lost bit kept as a sticky one, then doubled.
            self.asm.rr(Code::Mov_r64_rm64, Register::RDX, Register::RAX);
            self.asm.ri(Code::Shr_rm64_imm8, Register::RDX, 1);
            self.asm.ri(Code::And_rm32_imm8, Register::EAX, 1);
            self.asm.rr(Code::Or_r64_rm64, Register::RDX, Register::RAX);
            self.asm.vector(convert, &[x, x, Register::RDX].map(Arg::Reg), None, None);
            self.asm.vector(add, &[x, x, x].map(Arg::Reg), None, None);
            self.asm.place(done);
        }
        self.asm.mr(store, staged(1, size), x);
        self.next_lane(top);
    }

    fn float_to_int_lanes(&mut self, signed: bool) {
        let (x, y) = (Register::XMM14, Register::XMM15);
        let top = self.lane_loop();
        let (done, zero) = (self.asm.label(), self.asm.label());
        self.asm.rm(Code::VEX_Vmovsd_xmm_m64, x, staged(0, 8));
        self.asm.vector(Code::VEX_Vxorps_xmm_xmm_xmmm128, &[y, y, y].map(Arg::Reg), None, None);
        if signed {
            self.asm.rr(Code::VEX_Vcvttsd2si_r64_xmmm64, Register::RAX, x);
            // Only MIN, the answer to all that is out of range, overflows here.
            self.asm.ri(Code::Cmp_rm64_imm8, Register::RAX, 1);
            self.asm.jump(Code::Jno_rel32_64, done);
            self.asm.rr(Code::VEX_Vucomisd_xmm_xmmm64, x, y);
            self.asm.jump(Code::Jp_rel32_64, zero);
            self.asm.jump(Code::Jbe_rel32_64, done);
            self.asm.r(Code::Not_rm64, Register::RAX);
            self.asm.jump(Code::Jmp_rel32_64, done);
        } else {
            let small = self.asm.label();
            self.asm.rr(Code::VEX_Vucomisd_xmm_xmmm64, x, y);
            self.asm.jump(Code::Jbe_rel32_64, zero);
            self.asm.instruction(Instruction::with2(
                Code::Mov_r64_imm64,
                Register::RAX,
                9223372036854775808f64.to_bits(),
            ));
            self.asm.rr(Code::VEX_Vmovq_xmm_rm64, y, Register::RAX);
            self.asm.rr(Code::VEX_Vucomisd_xmm_xmmm64, x, y);
            self.asm.jump(Code::Jb_rel32_64, small);
            self.asm.vector(Code::VEX_Vsubsd_xmm_xmm_xmmm64, &[x, x, y].map(Arg::Reg), None, None);
            self.asm.rr(Code::VEX_Vcvttsd2si_r64_xmmm64, Register::RAX, x);
            self.asm.ri(Code::Btc_rm64_imm8, Register::RAX, 63);
            self.asm.jump(Code::Jae_rel32_64, done);
            // The top bit was set: the difference, too, was out of range.
            self.asm.instruction(Instruction::with2(Code::Mov_rm64_imm32, Register::RAX, -1));
            self.asm.jump(Code::Jmp_rel32_64, done);
            self.asm.place(small);
            self.asm.rr(Code::VEX_Vcvttsd2si_r64_xmmm64, Register::RAX, x);
            self.asm.jump(Code::Jmp_rel32_64, done);
        }
        self.asm.place(zero);
        self.asm.rr(Code::Xor_r32_rm32, Register::EAX, Register::EAX);
        self.asm.place(done);
        self.asm.mr(Code::Mov_rm64_r64, staged(1, 8), Register::RAX);
        self.next_lane(top);
    }
}
