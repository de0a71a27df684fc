//! What a step of a plan moves and computes.

use lazuli_kernel::{Arg, Binding, Kernel, LibraryCall, Slot, Step};

/// Work of one step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Bytes read and written, each operand once.
    pub nbytes: usize,
    /// Scalar operations; a multiplication and an addition for each product of a matmul.
    pub operations: usize,
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Cost>>(costs: I) -> Cost {
        costs
            .fold(Cost::default(), |a, b| Cost { nbytes: a.nbytes + b.nbytes, operations: a.operations + b.operations })
    }
}

pub fn of(step: &Step) -> Cost {
    match step {
        Step::Launch { kernel, bindings } => bindings.iter().map(|b| launch(kernel, b)).sum(),
        Step::Call(call) => library(call),
        Step::Product { call, kernel, binding } => {
            // The result of the product stays in the caches.
            let (product, epilogue) = (library(call), launch(kernel, binding));
            let nbytes = product.nbytes - call.result_bytes() + epilogue.nbytes;
            Cost { nbytes, operations: product.operations + epilogue.operations }
        }
        // The target stays in the caches.
        Step::Scatter(scatter) => scatter.passes().into_iter().map(|p| launch(&p.kernel, &p.binding)).sum(),
        Step::Copy { nbytes, .. } => Cost { nbytes: 2 * nbytes, operations: 0 },
        // The dearer of the two.
        Step::Branch(branch) => {
            let [a, b] = branch.plans.each_ref().map(|plan| plan.steps.iter().map(of).sum::<Cost>());
            Cost { nbytes: a.nbytes.max(b.nbytes), operations: a.operations.max(b.operations) }
        }
        Step::Host { args, .. } => Cost { nbytes: args.iter().map(|a| a.bytes().len()).sum(), operations: 0 },
    }
}

/// A launch. What a step hands on to its epilogue is not in memory.
fn launch(kernel: &Kernel, Binding { extents, args, .. }: &Binding) -> Cost {
    let elements = |arg: &Arg| {
        let walked: usize = extents.iter().zip(&arg.strides).filter(|(_, s)| **s != 0).map(|(n, _)| n).product();
        // What is read at computed positions is touched once a point, and no more often than it has elements.
        if arg.len > 0 { arg.len.min(extents.iter().product()) } else { walked }
    };
    let in_memory = args.iter().zip(&kernel.operands).filter(|(a, _)| a.slot != Slot::Result);
    let nbytes = in_memory.map(|(a, o)| elements(a) * o.dtype.itemsize()).sum();
    let arithmetic = |inst: &&lazuli_kernel::Inst| !inst.uses().is_empty();
    let points: usize = extents.iter().product();
    let kept: usize = extents[..extents.len() - kernel.reduced() as usize].iter().product();
    let body = kernel.body.iter().filter(arithmetic).count();
    let all = kernel.insts().filter(|i| arithmetic(i)).count();
    Cost { nbytes, operations: points * body + kept * (all - body) }
}

fn library(call: &LibraryCall) -> Cost {
    match call {
        LibraryCall::Matmul { dtype, batch, m, n, k, .. } => {
            let batch: usize = batch.iter().product();
            let nbytes = batch * (m * k + k * n + m * n) * dtype.itemsize();
            Cost { nbytes, operations: 2 * batch * m * n * k }
        }
        LibraryCall::Sort { dtype, rows, n, indices, .. } => {
            let elements = rows.iter().product::<usize>() * n;
            let comparisons = elements * n.next_power_of_two().trailing_zeros() as usize;
            let written = if *indices { 4 } else { dtype.itemsize() };
            Cost { nbytes: elements * (dtype.itemsize() + written), operations: comparisons }
        }
    }
}
