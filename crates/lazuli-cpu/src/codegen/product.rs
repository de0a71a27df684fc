//! The innermost loops of matrix products: a tile of c, a few rows by one or two vectors, in registers over a block of k.
//!
//! Every element of the tile is a chain of fused multiply-adds in order of k, from 0, which is then stored or added to what stands there.
//! A function goes through tiles one below the other, all against the same columns of b. a is read one element at a time, at any strides;
//! b by vectors, each step of k at a run-time distance from the last. Everything comes in the argument block.

use super::Image;
use super::asm::{Arg, Asm, mem, mem_index};
use crate::isa::Isa;
use iced_x86::{Code, MemoryOperand, Register};
use lazuli_kernel::{Error, Result};

/// Which loop.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// f64 in place of f32.
    pub double: bool,
    /// Rows of the tile, at most [`max_rows`].
    pub rows: usize,
    /// Vectors side by side, 1 or 2.
    pub vectors: usize,
}

/// The argument block. Distances in bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Block {
    /// Steps of k, at least 1.
    pub k: usize,
    /// First element of the first tile's rows of a; the function moves it on.
    pub a: usize,
    pub a_row: isize,
    /// From one k to the next.
    pub a_step: isize,
    pub b: usize,
    pub b_step: isize,
    /// First element of the first tile of c; the function moves it on.
    pub c: usize,
    pub c_row: isize,
    /// Tiles, at least 1; the function counts them down.
    pub tiles: usize,
    /// From one tile to the next.
    pub a_tile: isize,
    pub c_tile: isize,
    /// Not 0: the tiles are added to c.
    pub add: usize,
    /// What to fetch into the second-level cache meanwhile, and how much further at each step of k.
    pub ahead: usize,
    pub ahead_step: usize,
}

/// Bytes from the block's start to its fields, in order.
const K: i64 = 0;
const A: i64 = 8;
const A_ROW: i64 = 16;
const A_STEP: i64 = 24;
const B: i64 = 32;
const B_STEP: i64 = 40;
const C: i64 = 48;
const C_ROW: i64 = 56;
const TILES: i64 = 64;
const A_TILE: i64 = 72;
const C_TILE: i64 = 80;
const ADD: i64 = 88;
const AHEAD: i64 = 96;
const AHEAD_STEP: i64 = 104;

/// Rows of the largest tile on any processor.
pub const MOST_ROWS: usize = 12;

/// Rows of the largest tile: with two vectors a row, they and a step of b fill the registers.
pub fn max_rows(isa: Isa) -> usize {
    if isa == Isa::Avx512 { MOST_ROWS } else { 6 }
}

/// Addresses of the rows: every third has a register, the two after it lie one and two distances further.
const THIRDS: [Register; 4] = [Register::RAX, Register::RCX, Register::RDX, Register::RSI];
const DISTANCE: Register = Register::R8;

fn row(i: usize, disp: i64) -> MemoryOperand {
    let base = THIRDS[i / 3];
    match i % 3 {
        0 => mem(base, disp),
        n => mem_index(base, DISTANCE, n as u32, disp),
    }
}

/// Points the registers of `rows` rows at those from `first` on, `distance` apart: fields of the block.
fn point(asm: &mut Asm, rows: usize, first: i64, distance: i64) {
    asm.rm(Code::Mov_r64_rm64, THIRDS[0], mem(Register::RDI, first));
    asm.rm(Code::Mov_r64_rm64, DISTANCE, mem(Register::RDI, distance));
    for i in 1..rows.div_ceil(3) {
        asm.rm(Code::Lea_r64_m, THIRDS[i], mem_index(THIRDS[i - 1], DISTANCE, 2, 0));
        asm.rr(Code::Add_r64_rm64, THIRDS[i], DISTANCE);
    }
}

/// Generates the function of a shape.
pub fn generate(shape: Shape, isa: Isa) -> Result<Image> {
    let Shape { double, rows, vectors } = shape;
    debug_assert!((1..=max_rows(isa)).contains(&rows) && (1..=2).contains(&vectors));
    let wide = isa == Isa::Avx512;
    let bytes = if wide { 64 } else { 32 };
    let register = |n: usize| (if wide { Register::ZMM0 } else { Register::YMM0 }) + n as u32;
    let sum = |i: usize, v: usize| register(i * vectors + v);
    let sums = rows * vectors;
    let of_b = |v: usize| register(sums + v);
    // The rest take elements of a, in turn.
    let first = sums + vectors;
    let of_a = |i: usize| register(first + i % ((if wide { 32 } else { 16 }) - first).min(4));
    let (load, store) = match wide {
        true => (Code::EVEX_Vmovups_zmm_k1z_zmmm512, Code::EVEX_Vmovups_zmmm512_k1z_zmm),
        false => (Code::VEX_Vmovups_ymm_ymmm256, Code::VEX_Vmovups_ymmm256_ymm),
    };
    let (broadcast, fma, add) = match (wide, double) {
        (true, false) => (
            Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32,
            Code::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er,
            Code::EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er,
        ),
        (true, true) => (
            Code::EVEX_Vbroadcastsd_zmm_k1z_xmmm64,
            Code::EVEX_Vfmadd231pd_zmm_k1z_zmm_zmmm512b64_er,
            Code::EVEX_Vaddpd_zmm_k1z_zmm_zmmm512b64_er,
        ),
        (false, false) => {
            (Code::VEX_Vbroadcastss_ymm_m32, Code::VEX_Vfmadd231ps_ymm_ymm_ymmm256, Code::VEX_Vaddps_ymm_ymm_ymmm256)
        }
        (false, true) => {
            (Code::VEX_Vbroadcastsd_ymm_m64, Code::VEX_Vfmadd231pd_ymm_ymm_ymmm256, Code::VEX_Vaddpd_ymm_ymm_ymmm256)
        }
    };
    let (counter, b, a_step, b_step) = (Register::R11, Register::R10, Register::R9, Register::RBX);
    let (ahead, ahead_step) = (Register::R12, Register::R13);
    let saved = [b_step, ahead, ahead_step];
    let field = |offset: i64| mem(Register::RDI, offset);

    let mut asm = Asm::new(0);
    let (tile, step, put) = (asm.label(), asm.label(), asm.label());
    saved.iter().for_each(|&r| asm.r(Code::Push_r64, r));
    asm.rm(Code::Mov_r64_rm64, ahead, field(AHEAD));
    asm.rm(Code::Mov_r64_rm64, ahead_step, field(AHEAD_STEP));
    asm.place(tile);
    // The tile's lines of c, which are needed last.
    point(&mut asm, rows, C, C_ROW);
    for i in 0..rows {
        (0..vectors).for_each(|v| asm.m(Code::Prefetcht0_m8, row(i, bytes * v as i64)));
    }
    point(&mut asm, rows, A, A_ROW);
    asm.rm(Code::Mov_r64_rm64, a_step, field(A_STEP));
    asm.rm(Code::Mov_r64_rm64, b, field(B));
    asm.rm(Code::Mov_r64_rm64, b_step, field(B_STEP));
    asm.rm(Code::Mov_r64_rm64, counter, field(K));
    let zero = if wide { Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32 } else { Code::VEX_Vpxor_ymm_ymm_ymmm256 };
    for n in 0..sums {
        asm.vector(zero, &[Arg::Reg(register(n)); 3], None, None);
    }
    asm.align(32);
    asm.place(step);
    for v in 0..vectors {
        asm.rm(load, of_b(v), mem(b, bytes * v as i64));
    }
    for i in 0..rows {
        asm.rm(broadcast, of_a(i), row(i, 0));
        for v in 0..vectors {
            asm.vector(fma, &[sum(i, v), of_a(i), of_b(v)].map(Arg::Reg), None, None);
        }
    }
    for &third in &THIRDS[..rows.div_ceil(3)] {
        asm.rr(Code::Add_r64_rm64, third, a_step);
    }
    asm.rr(Code::Add_r64_rm64, b, b_step);
    asm.m(Code::Prefetcht1_m8, mem(ahead, 0));
    asm.rr(Code::Add_r64_rm64, ahead, ahead_step);
    asm.r(Code::Dec_rm64, counter);
    asm.jump(Code::Jne_rel32_64, step);

    point(&mut asm, rows, C, C_ROW);
    asm.instruction(iced_x86::Instruction::with2(Code::Cmp_rm64_imm8, field(ADD), 0));
    asm.jump(Code::Je_rel32_64, put);
    for i in 0..rows {
        for v in 0..vectors {
            let there = Arg::Mem(row(i, bytes * v as i64));
            asm.vector(add, &[Arg::Reg(sum(i, v)), Arg::Reg(sum(i, v)), there], None, None);
        }
    }
    asm.place(put);
    for i in 0..rows {
        (0..vectors).for_each(|v| asm.mr(store, row(i, bytes * v as i64), sum(i, v)));
    }
    for (pointer, distance) in [(A, A_TILE), (C, C_TILE)] {
        asm.rm(Code::Mov_r64_rm64, Register::RAX, field(distance));
        asm.mr(Code::Add_rm64_r64, field(pointer), Register::RAX);
    }
    asm.m(Code::Dec_rm64, field(TILES));
    asm.jump(Code::Jne_rel32_64, tile);
    asm.plain(Code::VEX_Vzeroupper);
    saved.iter().rev().for_each(|&r| asm.r(Code::Pop_r64, r));
    asm.plain(Code::Retnq);
    let bytes = asm.finish().map_err(|e| Error::internal("generate", format!("{e}, in {shape:?}")))?;
    Ok(Image { bytes, entry: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_is_laid_out_as_the_code_reads_it() {
        macro_rules! offsets {
            ($($field:ident = $offset:ident),*) => { $( assert_eq!(std::mem::offset_of!(Block, $field) as i64, $offset); )* };
        }
        offsets!(k = K, a = A, a_row = A_ROW, a_step = A_STEP, b = B, b_step = B_STEP, c = C, c_row = C_ROW);
        offsets!(tiles = TILES, a_tile = A_TILE, c_tile = C_TILE, add = ADD, ahead = AHEAD);
        offsets!(ahead_step = AHEAD_STEP);
    }
}
