//! The cache of generated functions, keyed by the structure of maps. It keeps what plans use, and [`KEPT`] bytes of what they may use again. Beside it stands
//! what is [known](crate::known) of the kernels of plans.

use crate::codegen::block::Layout;
use crate::codegen::{self, product};
use crate::exec::{Code, Entry, ExecutableMemory};
use crate::isa::Isa;
use crate::known::{Known, Table};
use crate::library::VectorProduct;
use lazuli_kernel::hash::Map;
use lazuli_kernel::{Inst, Kernel, Result};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// Bytes of code that are kept though nobody uses some of them at the moment.
const KEPT: usize = 64 << 20;

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
    functions: Mutex<Functions>,
    pub products: Arc<Products>,
    /// Kernels of plans.
    known: Table,
    /// Those of products with a vector, which are few.
    vector_products: Mutex<Map<VectorProduct, Arc<Known>>>,
    generated: AtomicUsize,
    kept: usize,
}

#[derive(Debug, Default)]
struct Functions {
    /// By kernel; of each the one whose stores go through the caches, and the one whose stores pass them by.
    by_kernel: Map<Arc<Kernel>, [Option<Arc<Function>>; 2]>,
    /// Of their code.
    nbytes: usize,
}

impl Kernels {
    pub fn new(isa: Isa) -> Self {
        Self {
            isa,
            memory: ExecutableMemory::default(),
            functions: Mutex::default(),
            products: Default::default(),
            known: Table::default(),
            vector_products: Mutex::default(),
            generated: AtomicUsize::new(0),
            kept: KEPT,
        }
    }

    /// The function of a map. Callers that come at once may both generate it; the first one's is kept.
    pub fn get(&self, kernel: &Arc<Kernel>, stream: bool) -> Result<Arc<Function>> {
        let found = |all: &Functions| all.by_kernel.get(kernel).and_then(|both| both[usize::from(stream)].clone());
        if let Some(found) = found(&self.functions()) {
            return Ok(found);
        }
        let image = codegen::generate(kernel, self.isa, stream)?;
        let code = self.memory.install(&image)?;
        self.generated.fetch_add(1, Ordering::Relaxed);
        let (layout, looked_up) = (Layout::of(kernel), looked_up(kernel));
        let function = Arc::new(Function { kernel: kernel.clone(), layout, looked_up, code });
        let mut all = self.functions();
        let place = &mut all.by_kernel.entry(kernel.clone()).or_default()[usize::from(stream)];
        if let Some(first) = place {
            return Ok(first.clone());
        }
        *place = Some(function.clone());
        all.nbytes += function.nbytes();
        let is_full = all.nbytes > self.kept;
        drop(all);
        if is_full {
            self.forget_idle();
        }
        Ok(function)
    }

    /// Lets go of all functions that no plan has, and of what is known of kernels that none has.
    fn forget_idle(&self) {
        self.vector_products().clear();
        self.known.forget_idle();
        self.functions().forget_idle();
    }

    /// Generates the innermost loops of matrix products over tiles of so many rows, if that is still to do; not counted as kernels.
    pub fn generate_product(&self, double: bool, rows: usize) -> Result<()> {
        let place = self.products.place(double, rows);
        if place.get().is_some() {
            return Ok(());
        }
        let install =
            |vectors| self.memory.install(&product::generate(product::Shape { double, rows, vectors }, self.isa)?);
        let both = [install(1)?, install(2)?];
        place.get_or_init(|| Box::leak(Box::new(both.map(Code::leak))));
        Ok(())
    }

    /// What is known of a kernel of a plan, which is verified if it is new.
    pub fn known(&self, kernel: &Arc<Kernel>) -> Result<Arc<Known>> {
        self.known.get(kernel)
    }

    /// Puts the one that is known in place of an equal kernel.
    pub fn share(&self, kernel: &mut Arc<Kernel>) -> Result<()> {
        *kernel = self.known(kernel)?.kernel().clone();
        Ok(())
    }

    /// What is known of the kernel of a product with a vector.
    pub fn vector_product(&self, form: VectorProduct) -> Result<Arc<Known>> {
        if let Some(found) = self.vector_products().get(&form) {
            return Ok(found.clone());
        }
        let known = self.known(&Arc::new(form.kernel()))?;
        self.vector_products().insert(form, known.clone());
        Ok(known)
    }

    pub fn generated(&self) -> usize {
        self.generated.load(Ordering::Relaxed)
    }

    fn functions(&self) -> MutexGuard<'_, Functions> {
        self.functions.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn vector_products(&self) -> MutexGuard<'_, Map<VectorProduct, Arc<Known>>> {
        self.vector_products.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// The innermost loops of matrix products: of f32 and of f64, by rows of the tile, for one and for two vectors.
#[derive(Debug, Default)]
pub struct Products([[OnceLock<&'static [Entry; 2]>; product::MOST_ROWS]; 2]);

impl Products {
    fn place(&self, double: bool, rows: usize) -> &OnceLock<&'static [Entry; 2]> {
        &self.0[usize::from(double)][rows - 1]
    }
    /// Those over tiles of so many rows, of one and of two vectors, which were generated.
    pub fn of(&self, double: bool, rows: usize) -> &'static [Entry; 2] {
        self.place(double, rows).get().expect("they were generated when a product was made ready")
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

impl Functions {
    /// Lets go of all functions that nobody has.
    fn forget_idle(&mut self) {
        self.by_kernel.retain(|_, both| {
            both.iter_mut().for_each(|f| *f = f.take().filter(|f| Arc::strong_count(f) > 1));
            both.iter().any(Option::is_some)
        });
        self.nbytes = self.by_kernel.values().flatten().flatten().map(|f| f.nbytes()).sum();
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
    fn kernel(times: usize) -> Arc<Kernel> {
        let negations: String = (1..=times).map(|i| format!("%{i} = neg %{} ", i - 1)).collect();
        let text = format!(
            "kernel rank 1 vector 0 (in f32 unit, out f32 unit) {{ %0 = load 0 {negations}map {{ store 1 <- %{times} }} }}"
        );
        Arc::new(text.parse().unwrap())
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
            let all = kernels.functions();
            assert!(all.nbytes <= kernels.kept.max(held.nbytes() + last.nbytes()), "{} after {times}", all.nbytes);
            assert!(all.by_kernel.contains_key(&held.kernel));
        }
        assert_eq!(kernels.generated(), 199);
        assert!(Arc::ptr_eq(&kernels.get(&kernel(3), false).unwrap(), &held));
        assert_eq!(held.disassemble(), text);
    }
}
