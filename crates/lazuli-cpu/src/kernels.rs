//! The cache of generated functions, keyed by the structure of maps.

use crate::codegen::block::Layout;
use crate::codegen::{self, Image, product};
use crate::exec::{Entry, ExecutableMemory};
use crate::isa::Isa;
use lazuli_kernel::hash::Map;
use lazuli_kernel::{Kernel, Result};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A generated map.
#[derive(Debug)]
pub struct Function {
    pub kernel: Kernel,
    pub layout: Layout,
    pub(crate) entry: Entry,
    /// For people: the bytes that were installed.
    image: Image,
}

#[derive(Debug)]
pub struct Kernels {
    pub isa: Isa,
    memory: ExecutableMemory,
    /// By kernel, and whether its stores pass the caches by.
    known: Mutex<Map<(Kernel, bool), Arc<Function>>>,
    /// The innermost loops of matrix products.
    products: Mutex<Map<product::Shape, Entry>>,
    generated: AtomicUsize,
}

impl Kernels {
    pub fn new(isa: Isa) -> Self {
        let (memory, generated) = (ExecutableMemory::default(), AtomicUsize::new(0));
        Self { isa, memory, known: Mutex::default(), products: Mutex::default(), generated }
    }

    /// The function of a map. Callers that come at once may both generate it; the first one's is kept.
    pub fn get(&self, kernel: Kernel, stream: bool) -> Result<Arc<Function>> {
        let key = (kernel, stream);
        if let Some(found) = self.lock().get(&key) {
            return Ok(found.clone());
        }
        let image = codegen::generate(&key.0, self.isa, stream)?;
        let entry = self.memory.install(&image)?;
        self.generated.fetch_add(1, Ordering::Relaxed);
        let function = Function { kernel: key.0.clone(), layout: Layout::of(&key.0), entry, image };
        Ok(self.lock().entry(key).or_insert_with(|| Arc::new(function)).clone())
    }

    /// The innermost loop of matrix products of this shape; not counted as a kernel.
    pub fn product(&self, shape: product::Shape) -> Result<Entry> {
        let mut products = self.products.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(&found) = products.get(&shape) {
            return Ok(found);
        }
        let entry = self.memory.install(&product::generate(shape, self.isa)?)?;
        products.insert(shape, entry);
        Ok(entry)
    }

    pub fn generated(&self) -> usize {
        self.generated.load(Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Map<(Kernel, bool), Arc<Function>>> {
        self.known.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Function {
    /// The code in Intel's syntax, one instruction a line, with offsets from the image's start.
    pub fn disassemble(&self) -> String {
        use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter};
        let code = &self.image.bytes[self.image.entry..];
        let mut decoder = Decoder::with_ip(64, code, self.image.entry as u64, DecoderOptions::NONE);
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
