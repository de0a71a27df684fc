//! From a kernel to machine code.
//!
//! Only maps are generated: reductions, scans and scatters are driven from Rust around maps derived from their bodies (see
//! `nest`). The steps: select instructions for each line (`select`, `convert`, `access`), choose how many vectors to
//! interleave, allocate registers (`line`), write bytes (`emit`, `lanes`, over `asm`). A function runs `rows` rows of `n` elements and
//! takes everything else from its argument block (`block`).
//!
//! Nothing here is unsafe: the result is bytes. What they do when run is argued in `call`.

mod access;
mod asm;
pub mod block;
mod convert;
mod emit;
mod lanes;
mod line;
mod ops;
pub mod product;
mod select;
mod skip;

use crate::isa::Isa;
use asm::Asm;
use emit::{Emitter, Part, free_registers};
use lazuli_kernel::{Error, Kernel, Result};
use line::{Class, MOp, Place, allocate, pressure};
use select::Lower;

/// The bytes of a generated function: its constants, then its code.
#[derive(Debug)]
pub struct Image {
    pub bytes: Vec<u8>,
    /// Where the code begins.
    pub entry: usize,
}

/// Longest main line worth unrolling, in instructions.
const UNROLL_LIMIT: usize = 480;

/// Generates the function of a map. With `stream`, full vectors are stored past the caches; the caller aligns such rows to 64 bytes.
pub fn generate(kernel: &Kernel, isa: Isa, stream: bool) -> Result<Image> {
    let mut lower = Lower::new(kernel, isa);
    let layout = block::Layout::of(kernel);
    let uniform = lower.uniform_values(&layout);
    let order = skip::schedule(kernel, |i| uniform[i].is_some());
    let tail_line = lower.body_line(&uniform, &order, 1, true, stream);

    let single = lower.body_line(&uniform, &order, 1, false, stream);
    let copies = choose_copies(&single, &lower, isa);
    let main_line = if copies == 1 { single } else { lower.body_line(&uniform, &order, copies, false, stream) };
    let uniform_line = std::mem::take(&mut lower.uniform_line);

    let pinned = pin_globals(&main_line, &mut lower, isa);
    let info = &lower.info;
    let lines = [&uniform_line, &main_line, &tail_line];
    let mut allocations = Vec::with_capacity(3);
    let mut slots = lower.uniform_slots;
    for (line, part) in lines.iter().zip([Part::Uniform, Part::Main, Part::Tail]) {
        let (vectors, masks) = free_registers(isa, part);
        let vectors: Vec<u8> = vectors.into_iter().filter(|r| !pinned.registers.contains(r)).collect();
        let allocation = allocate(line, info, &vectors, &masks, lower.uniform_slots);
        slots = slots.max(allocation.slots);
        allocations.push(allocation);
    }

    let tail_table = 64 * lower.pool.len();
    let entry = tail_table + 64;
    let mut emitter = Emitter {
        asm: Asm::new(entry),
        isa,
        kernel,
        layout,
        info,
        part: Part::Uniform,
        tail_table,
        stream,
        landing: None,
    };
    emitter.function(
        [(lines[0], &allocations[0]), (lines[1], &allocations[1]), (lines[2], &allocations[2])],
        &pinned.constants,
        copies,
        slots,
    );
    let code = emitter.asm.finish().map_err(|e| Error::internal("generate", format!("{e}, in {kernel:?}")))?;
    let mut bytes = Vec::with_capacity(entry + code.len());
    lower.pool.iter().for_each(|c| bytes.extend_from_slice(c));
    bytes.extend_from_slice(&[0xFF; 32]);
    bytes.extend_from_slice(&[0; 32]);
    bytes.extend_from_slice(&code);
    Ok(Image { bytes, entry })
}

/// As many interleaved vectors as the registers hold.
fn choose_copies(single: &[MOp], lower: &Lower<'_>, isa: Isa) -> usize {
    let (vectors, masks) = free_registers(isa, Part::Main);
    let live = pressure(single, &lower.info, Class::Vector);
    let live_masks = pressure(single, &lower.info, Class::Mask);
    [4, 2]
        .into_iter()
        .find(|c| c * live <= vectors.len() && c * live_masks <= masks.len().max(1) && c * single.len() <= UNROLL_LIMIT)
        .unwrap_or(1)
}

#[derive(Default)]
struct Pinned {
    registers: Vec<u8>,
    /// Constants (bytes into the image) and their registers.
    constants: Vec<(u32, u8)>,
}

/// Gives the registers that the main line leaves over to the constants and uniforms that it uses most.
fn pin_globals(main: &[MOp], lower: &mut Lower<'_>, isa: Isa) -> Pinned {
    let (vectors, _) = free_registers(isa, Part::Main);
    let spare = vectors.len().saturating_sub(pressure(main, &lower.info, Class::Vector));
    let mut uses = vec![0u32; lower.info.len()];
    main.iter().flat_map(|op| &op.src).for_each(|v| uses[v.0 as usize] += 1);
    let mut globals: Vec<usize> = (0..uses.len())
        .filter(|&v| uses[v] > 0 && lower.info[v].global.is_some() && lower.info[v].class == Class::Vector)
        .collect();
    globals.sort_by_key(|&v| std::cmp::Reverse(uses[v]));
    let mut pinned = Pinned::default();
    // From the top, so that locals keep the low numbers.
    for (v, &register) in globals.into_iter().zip(vectors.iter().rev()).take(spare.min(vectors.len() - 4)) {
        if let Some(Place::Pool(offset)) = lower.info[v].global.replace(Place::Reg(register)) {
            pinned.constants.push((offset, register));
        }
        pinned.registers.push(register);
    }
    pinned
}
