//! The cache of generated functions, keyed by the structure of maps. It keeps what plans use, and [`KEPT`] bytes of what they may use again.

use crate::codegen::block::Layout;
use crate::codegen::{self, product};
use crate::exec::{Code, Entry, ExecutableMemory};
use crate::isa::Isa;
use lazuli_kernel::hash::Map;
use lazuli_kernel::{Kernel, Result};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Bytes of code that are kept though nobody uses some of them at the moment.
const KEPT: usize = 64 << 20;

/// A generated map.
#[derive(Debug)]
pub struct Function {
    pub kernel: Arc<Kernel>,
    pub layout: Layout,
    code: Code,
}

#[derive(Debug)]
pub struct Kernels {
    pub isa: Isa,
    memory: ExecutableMemory,
    known: Mutex<Known>,
    /// The innermost loops of matrix products, which are few.
    products: Mutex<Map<product::Shape, Entry>>,
    generated: AtomicUsize,
    kept: usize,
}

#[derive(Debug, Default)]
struct Known {
    /// By kernel, and whether its stores pass the caches by.
    functions: Map<(Arc<Kernel>, bool), Arc<Function>>,
    /// Of their code.
    nbytes: usize,
}

impl Kernels {
    pub fn new(isa: Isa) -> Self {
        let (memory, generated) = (ExecutableMemory::default(), AtomicUsize::new(0));
        Self { isa, memory, known: Mutex::default(), products: Mutex::default(), generated, kept: KEPT }
    }

    /// The function of a map. Callers that come at once may both generate it; the first one's is kept.
    pub fn get(&self, kernel: Kernel, stream: bool) -> Result<Arc<Function>> {
        let key = (Arc::new(kernel), stream);
        if let Some(found) = self.known().functions.get(&key) {
            return Ok(found.clone());
        }
        let image = codegen::generate(&key.0, self.isa, stream)?;
        let code = self.memory.install(&image)?;
        self.generated.fetch_add(1, Ordering::Relaxed);
        let function = Arc::new(Function { kernel: key.0.clone(), layout: Layout::of(&key.0), code });
        let mut known = self.known();
        if let Some(first) = known.functions.get(&key) {
            return Ok(first.clone());
        }
        known.nbytes += function.nbytes();
        known.functions.insert(key, function.clone());
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

    pub fn generated(&self) -> usize {
        self.generated.load(Ordering::Relaxed)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Known {
    /// Lets go of all functions that no plan has.
    fn forget_idle(&mut self) {
        self.functions.retain(|_, function| Arc::strong_count(function) > 1);
        self.nbytes = self.functions.values().map(|f| f.nbytes()).sum();
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

    /// The code in Intel's syntax, one instruction a line, with offsets from the image's start.
    pub fn disassemble(&self) -> String {
        use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter};
        let (image, entry) = self.code.image();
        let mut decoder = Decoder::with_ip(64, &image[entry..], entry as u64, DecoderOptions::NONE);
        let mut formatter = IntelFormatter::new();
        formatter.options_mut().set_space_after_operand_separator(true);
        let mut text = String::new();
        let mut instruction = Instruction::default();
        while decoder.can_decode() {
            decoder.decode_out(&mut instruction);
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
        let one = Kernels::new(isa).get(kernel(1), false).unwrap().nbytes();
        let kernels = Kernels { kept: 20 * one, ..Kernels::new(isa) };
        let held = kernels.get(kernel(3), false).unwrap();
        let text = held.disassemble();
        for times in 1..200 {
            let last = kernels.get(kernel(times), false).unwrap();
            let known = kernels.known();
            assert!(known.nbytes <= kernels.kept.max(held.nbytes() + last.nbytes()), "{} after {times}", known.nbytes);
            assert!(known.functions.contains_key(&(held.kernel.clone(), false)));
        }
        assert_eq!(kernels.generated(), 199);
        assert!(Arc::ptr_eq(&kernels.get(kernel(3), false).unwrap(), &held));
        assert_eq!(held.disassemble(), text);
    }
}
