//! The cache of generated functions, keyed by the structure of maps. It keeps what plans use, and [`KEPT`] bytes of what they may use again. Beside them stand
//! the kernels that were verified, and the passes that kernels of rows are divided into: what depends on structure is found once, not for each shape.

use crate::codegen::block::Layout;
use crate::codegen::{self, product};
use crate::exec::{Code, Entry, ExecutableMemory};
use crate::isa::Isa;
use crate::nest::{self, Facts, Passes};
use lazuli_kernel::hash::{Map, Set};
use lazuli_kernel::{Inst, Kernel, Result};
use smallvec::SmallVec;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Bytes of code that are kept though nobody uses some of them at the moment.
const KEPT: usize = 64 << 20;
/// How many kernels are remembered to have been verified.
const SOUND: usize = 4096;
/// For how many sets of facts the passes of a kernel are remembered.
const PLANNED: usize = 16;

/// A generated map.
#[derive(Debug)]
pub struct Function {
    pub kernel: Arc<Kernel>,
    pub layout: Layout,
    /// Operands that are read at computed positions and nowhere else.
    pub looked_up: Vec<u32>,
    code: Code,
}

#[derive(Debug)]
pub struct Kernels {
    pub isa: Isa,
    memory: ExecutableMemory,
    known: Mutex<Known>,
    /// The innermost loops of matrix products, which are few.
    products: Mutex<Map<product::Shape, Entry>>,
    /// Kernels of plans that were verified.
    sound: Mutex<Set<Arc<Kernel>>>,
    /// The passes of kernels of rows, by all that they depend on.
    passes: Mutex<Map<Kernel, Planned>>,
    generated: AtomicUsize,
    kept: usize,
}

/// The passes for some facts each.
type Planned = SmallVec<[(Facts, Arc<Passes>); 1]>;

#[derive(Debug, Default)]
struct Known {
    /// By kernel; of each the one whose stores go through the caches, and the one whose stores pass them by.
    functions: Map<Arc<Kernel>, [Option<Arc<Function>>; 2]>,
    /// Of their code.
    nbytes: usize,
}

impl Kernels {
    pub fn new(isa: Isa) -> Self {
        Self {
            isa,
            memory: ExecutableMemory::default(),
            known: Mutex::default(),
            products: Mutex::default(),
            sound: Mutex::default(),
            passes: Mutex::default(),
            generated: AtomicUsize::new(0),
            kept: KEPT,
        }
    }

    /// The function of a map. Callers that come at once may both generate it; the first one's is kept.
    pub fn get(&self, kernel: &Kernel, stream: bool) -> Result<Arc<Function>> {
        let found = |known: &Known| known.functions.get(kernel).and_then(|both| both[usize::from(stream)].clone());
        if let Some(found) = found(&self.known()) {
            return Ok(found);
        }
        let image = codegen::generate(kernel, self.isa, stream)?;
        let code = self.memory.install(&image)?;
        self.generated.fetch_add(1, Ordering::Relaxed);
        let kernel = Arc::new(kernel.clone());
        let (layout, looked_up) = (Layout::of(&kernel), looked_up(&kernel));
        let function = Arc::new(Function { kernel: kernel.clone(), layout, looked_up, code });
        let mut known = self.known();
        let place = &mut known.functions.entry(kernel).or_default()[usize::from(stream)];
        if let Some(first) = place {
            return Ok(first.clone());
        }
        *place = Some(function.clone());
        known.nbytes += function.nbytes();
        if known.nbytes > self.kept {
            known.forget_idle();
        }
        Ok(function)
    }

    /// The innermost loop of matrix products of this shape; not counted as a kernel.
    pub fn product(&self, shape: product::Shape) -> Result<Entry> {
        let mut products = self.products.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(&found) = products.get(&shape) {
            return Ok(found);
        }
        let entry = self.memory.install(&product::generate(shape, self.isa)?)?.leak();
        products.insert(shape, entry);
        Ok(entry)
    }

    /// This kernel, verified: the one that plans before it have, if they have an equal one.
    pub fn sound(&self, kernel: &Arc<Kernel>) -> Result<Arc<Kernel>> {
        let sound = || self.sound.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(known) = sound().get(kernel) {
            return Ok(known.clone());
        }
        kernel.verify()?;
        let mut sound = sound();
        if sound.len() >= SOUND {
            sound.clear();
        }
        sound.insert(kernel.clone());
        Ok(kernel.clone())
    }

    /// The passes of a kernel of rows, for launches of which these facts hold.
    pub fn passes(&self, kernel: &Kernel, facts: Facts) -> Arc<Passes> {
        let mut passes = self.passes.lock().unwrap_or_else(|e| e.into_inner());
        if let Some((_, found)) = passes.get(kernel).and_then(|all| all.iter().find(|(own, _)| *own == facts)) {
            return found.clone();
        }
        let planned = Arc::new(nest::plan(kernel, &facts));
        if passes.len() >= SOUND {
            passes.clear();
        }
        let all = passes.entry(kernel.clone()).or_default();
        if all.len() >= PLANNED {
            all.clear();
        }
        all.push((facts, planned.clone()));
        planned
    }

    pub fn generated(&self) -> usize {
        self.generated.load(Ordering::Relaxed)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Operands that a map reads at computed positions and nowhere else.
fn looked_up(kernel: &Kernel) -> Vec<u32> {
    let is_loaded = |operand: u32| kernel.body.contains(&Inst::Load(operand));
    let is_looked_up = |operand: u32| {
        kernel.body.iter().any(|i| matches!(*i, Inst::LoadAt { operand: other, .. } if other == operand))
    };
    (0..kernel.operands.len() as u32).filter(|&o| is_looked_up(o) && !is_loaded(o)).collect()
}

impl Known {
    /// Lets go of all functions that no plan has.
    fn forget_idle(&mut self) {
        self.functions.retain(|_, both| {
            both.iter_mut().for_each(|f| *f = f.take().filter(|f| Arc::strong_count(f) > 1));
            both.iter().any(Option::is_some)
        });
        self.nbytes = self.functions.values().flatten().flatten().map(|f| f.nbytes()).sum();
    }
}

impl Function {
    /// Takes an argument block of the function's layout; valid while the function lives.
    pub(crate) fn entry(&self) -> Entry {
        self.code.entry
    }

    fn nbytes(&self) -> usize {
        self.code.image().0.len()
    }

    /// The code in Intel's syntax, one instruction a line, with offsets from the image's start. Instructions that do nothing, which align what follows, are one
    /// line; behind the last instruction they are left out.
    pub fn disassemble(&self) -> String {
        use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter, Mnemonic};
        let (image, entry) = self.code.image();
        let mut decoder = Decoder::with_ip(64, &image[entry..], entry as u64, DecoderOptions::NONE);
        let mut formatter = IntelFormatter::new();
        formatter.options_mut().set_space_after_operand_separator(true);
        let mut text = String::new();
        let mut instruction = Instruction::default();
        let mut padding = 0;
        while decoder.can_decode() {
            decoder.decode_out(&mut instruction);
            if instruction.mnemonic() == Mnemonic::Nop {
                padding += instruction.len();
                continue;
            }
            if padding > 0 {
                text.push_str(&format!("        ({padding} bytes of padding)\n"));
                padding = 0;
            }
            text.push_str(&format!("{:6x}  ", instruction.ip()));
            formatter.format(&instruction, &mut text);
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x, negated so many times.
    fn kernel(times: usize) -> Kernel {
        let negations: String = (1..=times).map(|i| format!("%{i} = neg %{} ", i - 1)).collect();
        let text = format!(
            "kernel rank 1 vector 0 (in f32 unit, out f32 unit) {{ %0 = load 0 {negations}map {{ store 1 <- %{times} }} }}"
        );
        text.parse().unwrap()
    }

    #[test]
    fn functions_that_nobody_has_are_forgotten_when_they_are_many() {
        let isa = Isa::detect();
        if isa == Isa::Interpreter {
            return;
        }
        let one = Kernels::new(isa).get(&kernel(1), false).unwrap().nbytes();
        let kernels = Kernels { kept: 20 * one, ..Kernels::new(isa) };
        let held = kernels.get(&kernel(3), false).unwrap();
        let text = held.disassemble();
        for times in 1..200 {
            let last = kernels.get(&kernel(times), false).unwrap();
            let known = kernels.known();
            assert!(known.nbytes <= kernels.kept.max(held.nbytes() + last.nbytes()), "{} after {times}", known.nbytes);
            assert!(known.functions.contains_key(&held.kernel));
        }
        assert_eq!(kernels.generated(), 199);
        assert!(Arc::ptr_eq(&kernels.get(&kernel(3), false).unwrap(), &held));
        assert_eq!(held.disassemble(), text);
    }
}
