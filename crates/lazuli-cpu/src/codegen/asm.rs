//! Encodes instructions into bytes, with labels and memory operands. No knowledge of kernels.
//!
//! Offsets count from the start of the function's image, which begins with its pool of constants; code reaches them
//! relative to `rip`, so that the image runs wherever it is put.

use iced_x86::{Code, Encoder, IcedError, Instruction, MemoryOperand, Register};

#[derive(Debug, Clone, Copy)]
pub struct Label(usize);

/// An operand of an instruction.
#[derive(Debug, Clone, Copy)]
pub enum Arg {
    Reg(Register),
    Mem(MemoryOperand),
}

pub fn mem(base: Register, disp: i64) -> MemoryOperand {
    MemoryOperand::with_base_displ(base, disp)
}

pub fn mem_index(base: Register, index: Register, scale: u32, disp: i64) -> MemoryOperand {
    MemoryOperand::new(base, index, scale, disp, 8, false, Register::None)
}

pub struct Asm {
    encoder: Encoder,
    ip: u64,
    labels: Vec<Option<u64>>,
    /// Position after a 32-bit displacement, and the label it must reach.
    fixups: Vec<(u64, Label)>,
    start: u64,
    error: Option<IcedError>,
}

impl Asm {
    /// Code that begins `start` bytes into the image.
    pub fn new(start: usize) -> Self {
        Self {
            encoder: Encoder::new(64),
            ip: start as u64,
            labels: Vec::new(),
            fixups: Vec::new(),
            start: start as u64,
            error: None,
        }
    }

    /// Encodes; the first error is kept for [`finish`](Self::finish).
    pub fn instruction(&mut self, instruction: Result<Instruction, IcedError>) {
        match instruction.and_then(|i| self.encoder.encode(&i, self.ip)) {
            Ok(n) => self.ip += n as u64,
            Err(e) => {
                self.error.get_or_insert(e);
            }
        }
    }

    /// An instruction of up to four operands, then an immediate; AVX-512 masking with `mask`.
    pub fn vector(&mut self, code: Code, args: &[Arg], imm: Option<u8>, mask: Option<(Register, bool)>) {
        self.instruction(vector(code, args, imm, mask));
    }

    pub fn rr(&mut self, code: Code, a: Register, b: Register) {
        self.instruction(Instruction::with2(code, a, b));
    }
    pub fn rm(&mut self, code: Code, a: Register, m: MemoryOperand) {
        self.instruction(Instruction::with2(code, a, m));
    }
    pub fn mr(&mut self, code: Code, m: MemoryOperand, a: Register) {
        self.instruction(Instruction::with2(code, m, a));
    }
    pub fn ri(&mut self, code: Code, a: Register, imm: i32) {
        self.instruction(Instruction::with2(code, a, imm));
    }
    pub fn r(&mut self, code: Code, a: Register) {
        self.instruction(Instruction::with1(code, a));
    }
    pub fn m(&mut self, code: Code, m: MemoryOperand) {
        self.instruction(Instruction::with1(code, m));
    }
    pub fn plain(&mut self, code: Code) {
        self.instruction(Ok(Instruction::with(code)));
    }
    /// A constant `offset` bytes into the image.
    pub fn image(&self, offset: usize) -> MemoryOperand {
        mem(Register::RIP, offset as i64)
    }

    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }
    pub fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.ip);
    }
    /// Begins the next instruction at a multiple of `n`, with no-ops before it.
    pub fn align(&mut self, n: u64) {
        for _ in 0..self.ip.next_multiple_of(n) - self.ip {
            self.plain(Code::Nopd);
        }
    }
    /// A jump with a 32-bit displacement.
    pub fn jump(&mut self, code: Code, label: Label) {
        self.instruction(Instruction::with_branch(code, self.ip));
        self.fixups.push((self.ip, label));
    }

    /// The code, with every jump resolved.
    pub fn finish(mut self) -> Result<Vec<u8>, String> {
        if let Some(e) = self.error {
            return Err(e.to_string());
        }
        let mut bytes = self.encoder.take_buffer();
        for (after, label) in self.fixups {
            let target = self.labels[label.0].ok_or("jump to a label that was never placed")?;
            let displacement = (target as i64 - after as i64) as i32;
            let at = (after - self.start) as usize;
            bytes[at - 4..at].copy_from_slice(&displacement.to_le_bytes());
        }
        Ok(bytes)
    }
}

fn vector(code: Code, args: &[Arg], imm: Option<u8>, mask: Option<(Register, bool)>) -> Result<Instruction, IcedError> {
    use Arg::{Mem, Reg};
    let i = imm.map(u32::from);
    let mut instruction = match (args, i) {
        (&[Reg(a), Reg(b)], None) => Instruction::with2(code, a, b),
        (&[Reg(a), Mem(b)], None) => Instruction::with2(code, a, b),
        (&[Mem(a), Reg(b)], None) => Instruction::with2(code, a, b),
        (&[Reg(a), Reg(b)], Some(i)) => Instruction::with3(code, a, b, i),
        (&[Reg(a), Mem(b)], Some(i)) => Instruction::with3(code, a, b, i),
        (&[Reg(a), Reg(b), Reg(c)], None) => Instruction::with3(code, a, b, c),
        (&[Reg(a), Reg(b), Mem(c)], None) => Instruction::with3(code, a, b, c),
        (&[Mem(a), Reg(b), Reg(c)], None) => Instruction::with3(code, a, b, c),
        (&[Reg(a), Mem(b), Reg(c)], None) => Instruction::with3(code, a, b, c),
        (&[Reg(a), Reg(b), Reg(c)], Some(i)) => Instruction::with4(code, a, b, c, i),
        (&[Reg(a), Reg(b), Mem(c)], Some(i)) => Instruction::with4(code, a, b, c, i),
        (&[Reg(a), Reg(b), Reg(c), Reg(d)], None) => Instruction::with4(code, a, b, c, d),
        (&[Reg(a), Reg(b), Mem(c), Reg(d)], None) => Instruction::with4(code, a, b, c, d),
        _ => unreachable!("{code:?} with operands {args:?}"),
    }?;
    if let Some((k, zero)) = mask {
        instruction.set_op_mask(k);
        instruction.set_zeroing_masking(zero);
    }
    Ok(instruction)
}
