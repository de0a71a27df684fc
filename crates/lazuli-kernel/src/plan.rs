//! A plan: what a backend is asked to run, with every shape known.
//!
//! A plan has slots (its inputs, its outputs, and temporaries placed in one arena) and steps in the order of
//! execution. The arrays of a step are [`Arg`]s: slot, dtype's elements, offset and strides. What kernels run on is shared by plans that have it in common, as those of one program for
//! several shapes have.

use crate::backend::Buffer;
use crate::dtype::DType;
use crate::error::Result;
use crate::host::HostCall;
use crate::ir::{Kernel, Role};
use crate::scalar::Scalar;
use crate::shape::{self, Shape, Strides};
use smallvec::{SmallVec, smallvec};
use std::collections::HashMap;
use std::sync::Arc;

/// A piece of memory that steps read and write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// The caller's buffer number `n`.
    Input(u32),
    /// Output number `n`, allocated by the backend for each run (or an input given up by the caller, see [`Plan::donations`]).
    Output(u32),
    /// Bytes `offset..` of the plan's arena; offsets are multiples of 64.
    Temp { offset: usize, nbytes: usize },
    /// What a [`Step::Product`] or a [`Step::Scatter`] hands on to its epilogue, row-contiguous: memory of that step's own, of which a backend makes as much as
    /// it needs.
    Result,
}

/// An array of a step, seen through its strides (in elements) over the loop axes of the step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Arg {
    pub slot: Slot,
    /// Element of the slot where all indices are 0.
    pub offset: usize,
    pub strides: Strides,
    /// For computed positions ([`crate::ir::Inst::LoadAt`], scatter): how many elements from `offset` on may be touched. Strides
    /// do not matter to those.
    pub len: usize,
}

/// One entry of a plan.
#[derive(Debug, Clone)]
pub enum Step {
    /// Runs a kernel once for each binding. Bindings are independent: a backend may run them in any order, or side by side.
    Launch { kernel: Arc<Kernel>, bindings: Arc<[Binding]> },
    /// Runs a library routine.
    Call(Box<LibraryCall>),
    /// A [`LibraryCall::Matmul`] whose result, in [`Slot::Result`], goes through a map on its way to memory, while it is hot: the *epilogue*. The map's loop
    /// axes are those of the result, batch axes first, without those of extent 1; it loads the result at its own points. The outcome is that of the call
    /// followed by the launch.
    Product { call: Box<LibraryCall>, kernel: Arc<Kernel>, binding: Arc<Binding> },
    /// A scatter whose outcome goes through a map on its way to memory.
    Scatter(Box<Scatter>),
    /// Copies `nbytes` from the start of one slot to another.
    Copy { from: Slot, to: Slot, nbytes: usize },
    /// Asks the host to do something with arrays. Such steps happen once each, in their order; if one fails, the plan does.
    Host { call: Arc<dyn HostCall>, args: Vec<HostArg> },
    /// Runs one of two plans.
    Branch(Box<Branch>),
}

/// A scatter and the map that follows, its *epilogue*. The outcome is that of three launches, one after another. As the maps write nothing that is read at other points,
/// nor anything that the updates read, a backend may do all three block by block of [`Slot::Result`], while that is hot.
#[derive(Debug, Clone)]
pub struct Scatter {
    /// A map that writes the target to [`Slot::Result`], and nothing else.
    pub target: Pass,
    /// The updates: a [`Nest::Scatter`](crate::Nest::Scatter) over all of [`Slot::Result`].
    pub updates: Pass,
    /// A map over the loop space of `target` that loads what became of it at its own points.
    pub epilogue: Pass,
}

/// A kernel, and what it runs on.
#[derive(Debug, Clone)]
pub struct Pass {
    pub kernel: Arc<Kernel>,
    pub binding: Binding,
}

impl Scatter {
    /// The passes in their order.
    pub fn passes(&self) -> [&Pass; 3] {
        [&self.target, &self.updates, &self.epilogue]
    }
    fn passes_mut(&mut self) -> [&mut Pass; 3] {
        [&mut self.target, &mut self.updates, &mut self.epilogue]
    }
    /// Size in bytes of the result.
    pub fn result_bytes(&self) -> usize {
        let Pass { kernel, binding } = &self.target;
        let stored = kernel.operands.iter().find(|operand| operand.role != Role::In);
        shape::size(&binding.extents) * stored.map_or(0, |operand| operand.dtype.itemsize())
    }
}

/// A choice between two plans, by a value that is known when it comes to it.
#[derive(Debug, Clone)]
pub struct Branch {
    /// A bool.
    pub predicate: Arg,
    /// The first runs if it is true. Their inputs are slots of the plan around them, whole, as are their outputs; they donate nothing.
    pub plans: [Plan; 2],
    pub inputs: Vec<Slot>,
    pub outputs: Vec<Slot>,
}

/// An array of a host call: row-contiguous, from an element of the slot on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostArg {
    pub slot: Slot,
    pub offset: usize,
    pub dtype: DType,
    pub shape: Shape,
}

impl HostArg {
    /// Where its bytes lie in the slot; nowhere, if there are none.
    pub fn bytes(&self) -> std::ops::Range<usize> {
        let item = self.dtype.itemsize();
        match shape::size(&self.shape) {
            0 => 0..0,
            n => self.offset * item..(self.offset + n) * item,
        }
    }
}

/// What a kernel runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// One per loop axis.
    pub extents: Shape,
    /// The operands, in order.
    pub args: Vec<Arg>,
    pub params: Vec<Scalar>,
}

impl Step {
    /// A kernel that runs once.
    pub fn launch(kernel: Arc<Kernel>, binding: Binding) -> Step {
        Step::Launch { kernel, bindings: Arc::new([binding]) }
    }
    /// As [`Plan::share_kernels`].
    pub fn share_kernels(&mut self, share: &mut dyn FnMut(&mut Arc<Kernel>) -> Result<()>) -> Result<()> {
        match self {
            Step::Launch { kernel, .. } | Step::Product { kernel, .. } => share(kernel),
            Step::Scatter(scatter) => scatter.passes_mut().into_iter().try_for_each(|pass| share(&mut pass.kernel)),
            Step::Branch(branch) => branch.plans.iter_mut().try_for_each(|plan| plan.share_kernels(share)),
            Step::Call(_) | Step::Copy { .. } | Step::Host { .. } => Ok(()),
        }
    }
    /// What its kernels run on, and those of the plans within.
    pub fn bindings(&self) -> SmallVec<[&Binding; 3]> {
        match self {
            Step::Launch { bindings, .. } => bindings.iter().collect(),
            Step::Product { binding, .. } => smallvec![&**binding],
            Step::Scatter(scatter) => scatter.passes().map(|pass| &pass.binding).into_iter().collect(),
            Step::Branch(branch) => branch.plans.iter().flat_map(|plan| &plan.steps).flat_map(Step::bindings).collect(),
            Step::Call(_) | Step::Copy { .. } | Step::Host { .. } => SmallVec::new(),
        }
    }
}

/// Steps of k between which a matrix product adds what it has summed to the result.
pub const MATMUL_BLOCK: usize = 256;

/// Work that loop nests do not express well.
#[derive(Debug, Clone)]
pub enum LibraryCall {
    /// `c[b, i, j] = Σₖ a[b, i, k] · b[b, k, j]` for every point b of `batch`. Strides of each argument: those of the
    /// batch axes, then of its two matrix axes. f32, f64, f16 and bf16 (summed in f32, rounded once at the end), c64; `c` is row-contiguous in its
    /// matrix axes.
    ///
    /// **Order.** Every element of c is a chain of fused multiply-adds in order of k from +0, broken into blocks of
    /// [`MATMUL_BLOCK`] steps: the sums of the blocks are added in order, on top of the first. A complex matrix counts as a real one, of twice the columns on the
    /// left, `re, im, re, im, …`, and on the right of 2×2 blocks `[re im; −im re]`. If m = 1 or n = 1 and numbers are real, it is a reduction over k in place
    /// of that: products are rounded, and combined as by [`Combine::Sum`](crate::Combine).
    Matmul { dtype: DType, batch: Shape, m: usize, n: usize, k: usize, a: Arg, b: Arg, c: Arg },
    /// Sorts each row of `n` elements along the last axis; args have strides over `rows` axes then the sorted one. Stable; NaN last,
    /// complex numbers by real, then imaginary part.
    /// With `indices`, `output` is uint32 and receives the permutation that sorts.
    Sort { dtype: DType, rows: Shape, n: usize, indices: bool, input: Arg, output: Arg },
}

impl LibraryCall {
    /// Of the elements of the result.
    pub fn result_dtype(&self) -> DType {
        match self {
            LibraryCall::Sort { indices: true, .. } => DType::U32,
            LibraryCall::Matmul { dtype, .. } | LibraryCall::Sort { dtype, .. } => *dtype,
        }
    }
    /// Size in bytes of the result, row-contiguous.
    pub fn result_bytes(&self) -> usize {
        let elements = match self {
            LibraryCall::Matmul { batch, m, n, .. } => batch.iter().product::<usize>() * m * n,
            LibraryCall::Sort { rows, n, .. } => rows.iter().product::<usize>() * n,
        };
        elements * self.result_dtype().itemsize()
    }
}

/// A straight program of steps.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Size in bytes of every input, the least that the caller must give.
    pub inputs: Vec<usize>,
    /// Size in bytes of every output.
    pub outputs: Vec<usize>,
    /// Bytes of the arena that temporaries live in.
    pub arena: usize,
    pub steps: Vec<Step>,
    /// Pairs (output, input) where the output may take over the input's memory if the caller gives it up. In a run each input is taken over once
    /// at most, and each output takes over the first it can ([`Signature::taken`]). Sizes agree and each
    /// step that writes the output is a launch, or an epilogue, that reads the input only in the binding and at the point that writes, and no later step reads
    /// the input.
    pub donations: Arc<[(u32, u32)]>,
}

impl Plan {
    /// Whether it has effects beyond its outputs.
    pub fn has_effects(&self) -> bool {
        self.steps.iter().any(|step| match step {
            Step::Host { .. } => true,
            Step::Branch(branch) => branch.plans.iter().any(Plan::has_effects),
            _ => false,
        })
    }

    /// Shows each kernel, in the order of the steps: it may be replaced with an equal one, which a backend has already.
    pub fn share_kernels(&mut self, share: &mut dyn FnMut(&mut Arc<Kernel>) -> Result<()>) -> Result<()> {
        self.steps.iter_mut().try_for_each(|step| step.share_kernels(share))
    }
}

/// What those have to know of a plan that was made ready who run it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signature {
    /// Size in bytes of every input, the least that the caller must give.
    pub inputs: Vec<usize>,
    /// Size in bytes of every output.
    pub outputs: Vec<usize>,
    /// Those of the plan.
    pub donations: Arc<[(u32, u32)]>,
    /// How many steps it has.
    pub steps: usize,
    /// Whether it has effects beyond its outputs.
    pub has_effects: bool,
}

impl Signature {
    pub fn of(plan: &Plan) -> Self {
        Self {
            inputs: plan.inputs.clone(),
            outputs: plan.outputs.clone(),
            donations: plan.donations.clone(),
            steps: plan.steps.len(),
            has_effects: plan.has_effects(),
        }
    }

    /// For each output the input whose memory it takes over in a run: one that was given up, that the plan has a use for, and that shares its
    /// memory with no other input.
    pub fn taken(&self, inputs: &[&Buffer], donate: &[bool]) -> SmallVec<[Option<u32>; 4]> {
        let mut of = SmallVec::from_elem(None, self.outputs.len());
        if !donate.contains(&true) {
            return of;
        }
        let mut seen: HashMap<usize, usize> = HashMap::with_capacity(inputs.len());
        inputs.iter().for_each(|b| *seen.entry(b.id()).or_default() += 1);
        let mut free = donate.to_vec();
        for &(output, input) in &*self.donations {
            let (o, i) = (output as usize, input as usize);
            let Some(buffer) = inputs.get(i).filter(|_| of[o].is_none() && free.get(i) == Some(&true)) else {
                continue;
            };
            if buffer.nbytes() == self.outputs[o] && seen[&buffer.id()] == 1 {
                (of[o], free[i]) = (Some(input), false);
            }
        }
        of
    }
}
