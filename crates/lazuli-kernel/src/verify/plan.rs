//! Proofs about the steps of a plan: bounds, conflicts, donations.

mod epilogue;

use super::access::{Accesses, Fault, IndexMap, Place, Space};
use super::uses::{At, Use, Uses};
use super::words::{Ends, PLACE, PlanWords};
use crate::backend::Buffer;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ir::{Inner, Kernel};
use crate::noted::Proof;
use crate::noted::{Arithmetic, Notes, Operation, Plain};
use crate::plan::{Arg, Binding, Branch, LibraryCall, Plan, Signature, Slot, Step};
use crate::shape::{self, Shape};
use crate::varying::Varying;
use smallvec::SmallVec;
use std::sync::Arc;

impl Plan {
    /// Checks the kernels of the plan, and proves that its steps stay within their slots and do not get in their own way.
    pub fn verify(&self) -> Result<()> {
        self.prove(&PlanWords::of(self), &uses_of)
    }

    /// The same of a plan of these words, for a backend that knows some kernels already: `uses` gives those of a kernel that is well-formed, by [`Kernel::verify`], or an error.
    pub fn prove(&self, words: &PlanWords, uses: &UsesOf) -> Result<()> {
        Prover::new(self, &words.ends, 0, &mut Plain(&words.numbers), uses).prove()
    }

    /// The same; and the proof, which may be one about plans of other values too.
    pub(super) fn prove_noting(&self, words: &PlanWords, varying: &Varying, uses: &UsesOf) -> Result<Option<Proof>> {
        let mut notes = Notes::new(&words.numbers, varying.numbers(), varying.values());
        Prover::new(self, &words.ends, 0, &mut notes, uses).prove()?;
        Ok(notes.finish())
    }
}

impl Signature {
    /// Checks buffers for a run: one for each input, each of the size that the plan was proved with.
    pub fn verify_inputs(&self, inputs: &[&Buffer]) -> Result<()> {
        if inputs.len() != self.inputs.len() {
            let message = format!("the plan has {} inputs, {} were given", self.inputs.len(), inputs.len());
            return Err(Error::internal("enqueue", message));
        }
        match inputs.iter().zip(&self.inputs).position(|(buffer, &need)| buffer.nbytes() < need) {
            None => Ok(()),
            Some(i) => {
                let message =
                    format!("input {i} needs {} bytes, its buffer has {}", self.inputs[i], inputs[i].nbytes());
                Err(Error::internal("enqueue", message))
            }
        }
    }
}

/// How a kernel touches its operands.
pub(super) type UsesOf<'u> = dyn Fn(&Arc<Kernel>) -> Result<Arc<Uses>> + 'u;

/// That of a kernel that is verified for it.
pub(super) fn uses_of(kernel: &Arc<Kernel>) -> Result<Arc<Uses>> {
    kernel.verify()?;
    Ok(Arc::new(Uses::of(kernel)))
}

fn wrong<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::internal("verify", message))
}

/// Where a piece of the arena begins, and its size; of no use for other slots.
type Piece<N> = [N; 2];

/// Numbers of one axis each.
type Numbers<N> = SmallVec<[N; 4]>;

/// An argument, and its numbers.
struct Lie<'a, N> {
    arg: &'a Arg,
    piece: Piece<N>,
    offset: N,
    len: N,
    strides: Numbers<N>,
}

/// A binding, and its numbers.
struct Bound<'a, N> {
    binding: &'a Binding,
    extents: Numbers<N>,
    args: SmallVec<[Lie<'a, N>; 8]>,
}

/// A product of matrices, and its numbers.
struct Product<'a, N> {
    dtype: DType,
    batch: Numbers<N>,
    /// m, n, k.
    sizes: [N; 3],
    /// a, b, c.
    args: [Lie<'a, N>; 3],
}

/// Goes through a plan: its structure as it stands there, its numbers one after another as its [`PlanWords`] have them.
struct Prover<'a, 'c, A: Arithmetic> {
    plan: &'a Plan,
    uses: &'c UsesOf<'c>,
    cx: &'c mut A,
    /// Where the plan's numbers begin; all other places are counted from there.
    begin: usize,
    /// Where the numbers of each step end.
    ends: &'c [Ends],
    /// Where the next number is, and the next one that says where an array lies.
    at: usize,
    place_at: usize,
    accesses: Accesses<A::N>,
}

impl<'a, 'c, A: Arithmetic> Prover<'a, 'c, A> {
    fn new(plan: &'a Plan, ends: &'c [Ends], begin: usize, cx: &'c mut A, uses: &'c UsesOf<'c>) -> Self {
        let accesses = Accesses::new(plan.inputs.len(), plan.outputs.len(), &plan.donations);
        Self { plan, uses, cx, begin, ends, at: 0, place_at: 0, accesses }
    }

    fn prove(mut self) -> Result<()> {
        for (i, step) in self.plan.steps.iter().enumerate() {
            self.accesses.begin_step(i);
            (self.at, self.place_at) = (self.ends[i].numbers as usize, self.ends[i + 1].form as usize);
            let proof = self.step(step).and_then(|()| match self.accesses.conflict(self.cx) {
                false => Ok(()),
                // A write and any other access of one step are disjoint, or (within a binding) a read of each point's own element.
                true => wrong(
                    "a store may hit what another point of the step reads or writes: index maps of overlapping arguments must be equal",
                ),
            });
            if let Err(e) = proof {
                return wrong(format!("step {i} of a plan: {}\n{step}", e.message()));
            }
        }
        self.donations()
    }

    /// The number at a place.
    #[inline]
    fn number(&mut self, at: usize) -> A::N {
        self.cx.number(self.begin + at)
    }
    /// The next number.
    #[inline]
    fn next(&mut self) -> A::N {
        self.at += 1;
        self.number(self.at - 1)
    }
    #[inline]
    fn numbers(&mut self, n: usize) -> Numbers<A::N> {
        let mut numbers = Numbers::with_capacity(n);
        (0..n).for_each(|_| numbers.push(self.next()));
        numbers
    }
    /// Where the next array lies: the piece that its slot is, and an element.
    #[inline]
    fn lie(&mut self, slot: Slot) -> (Piece<A::N>, A::N) {
        let at = self.place_at;
        self.place_at += PLACE;
        let piece = match slot {
            Slot::Temp { .. } => [self.number(at), self.number(at + 1)],
            _ => [A::fixed(0); 2],
        };
        (piece, self.number(at + PLACE - 1))
    }
    #[inline]
    fn piece(&mut self, slot: Slot) -> Piece<A::N> {
        self.lie(slot).0
    }
    #[inline]
    fn arg(&mut self, arg: &'a Arg) -> Lie<'a, A::N> {
        let ((piece, offset), len) = (self.lie(arg.slot), self.next());
        Lie { arg, piece, offset, len, strides: self.numbers(arg.strides.len()) }
    }
    fn binding(&mut self, binding: &'a Binding) -> Bound<'a, A::N> {
        let extents = self.numbers(binding.extents.len());
        let lens = self.at;
        self.at += binding.args.len();
        let mut args = SmallVec::with_capacity(binding.args.len());
        for (n, arg) in binding.args.iter().enumerate() {
            let ((piece, offset), len) = (self.lie(arg.slot), self.number(lens + n));
            args.push(Lie { arg, piece, offset, len, strides: self.numbers(arg.strides.len()) });
        }
        Bound { binding, extents, args }
    }

    fn input(&mut self, n: u32) -> Option<A::N> {
        ((n as usize) < self.plan.inputs.len()).then(|| self.number(n as usize))
    }
    fn output(&mut self, n: u32) -> Option<A::N> {
        ((n as usize) < self.plan.outputs.len()).then(|| self.number(self.plan.inputs.len() + n as usize))
    }

    /// Where a slot lies; `None` if it is none, or the caller's while it is to be written.
    #[inline]
    fn locate(&mut self, slot: Slot, [offset, nbytes]: Piece<A::N>, writes: bool) -> Option<Place<A::N>> {
        match slot {
            Slot::Input(n) if !writes => Some((Space::Input(n), A::fixed(0), self.input(n)?)),
            Slot::Output(n) => Some((Space::Output(n), A::fixed(0), self.output(n)?)),
            Slot::Temp { .. } => {
                let arena = self.number(self.plan.inputs.len() + self.plan.outputs.len());
                let rest = self.cx.compute(Operation::Remainder, offset, A::fixed(64))?;
                let end = self.cx.sum(offset, nbytes)?;
                (self.cx.is(rest, 0) && !self.cx.less(arena, end)).then_some((Space::Arena, offset, end))
            }
            _ => None,
        }
    }

    /// Where a slot lies that may be written, if it is to be.
    #[inline]
    fn place(&mut self, slot: Slot, piece: Piece<A::N>, writes: bool) -> Result<Place<A::N>> {
        match self.locate(slot, piece, writes) {
            Some(place) => Ok(place),
            None => Err(self.unlocated(slot, writes)),
        }
    }

    /// Why a slot lies nowhere.
    #[cold]
    fn unlocated(&self, slot: Slot, writes: bool) -> Error {
        let message = match slot {
            Slot::Input(_) if writes => format!("{slot} is the caller's: it is not written"),
            Slot::Input(_) | Slot::Output(_) => format!("there is no slot {slot}"),
            Slot::Result => "only a step with an epilogue has a result to hand on".into(),
            Slot::Temp { .. } => {
                format!("{slot} is not aligned to 64 bytes, or beyond the arena of {}", self.plan.arena)
            }
        };
        Error::internal("verify", message)
    }

    /// Adds all that a step touches, each proved to be within its slot.
    fn step(&mut self, step: &'a Step) -> Result<()> {
        match step {
            Step::Launch { kernel, bindings } => {
                let uses = (self.uses)(kernel)?;
                for (number, binding) in bindings.iter().enumerate() {
                    self.accesses.begin_binding(number);
                    let bound = self.binding(binding);
                    self.launch(kernel, &uses, &bound, false)?;
                }
                Ok(())
            }
            Step::Product { call, kernel, binding } => self.product(call, kernel, binding),
            Step::Scatter(scatter) => self.scatter(scatter),
            Step::Call(call) => self.call(call),
            Step::Copy { from, to, nbytes } => {
                let pieces = [self.piece(*from), self.piece(*to)];
                let n = self.next();
                for (slot, piece, writes) in [(*from, pieces[0], false), (*to, pieces[1], true)] {
                    let row = Row { slot, piece, offset: A::fixed(0), dtype: DType::U8, shown: [0, *nbytes] };
                    self.row(row, n, writes)?;
                }
                Ok(())
            }
            Step::Branch(branch) => self.branch(branch),
            Step::Host { args, .. } => {
                for a in args {
                    let (piece, offset) = self.lie(a.slot);
                    let extents = self.numbers(a.shape.len());
                    let n = self.points(&extents);
                    let Some(n) = n else { return wrong(format!("{} is too large", shape::show(&a.shape))) };
                    let shown = [a.offset, shape::size(&a.shape)];
                    self.row(Row { slot: a.slot, piece, offset, dtype: a.dtype, shown }, n, false)?;
                }
                Ok(())
            }
        }
    }

    /// Whether there is no point.
    fn is_empty(&mut self, extents: &[A::N]) -> bool {
        extents.iter().any(|&n| self.cx.is(n, 0))
    }

    /// The points of a space of these extents; None if they are more than memory has.
    fn points(&mut self, extents: &[A::N]) -> Option<A::N> {
        extents.iter().try_fold(A::fixed(1), |points, &n| self.cx.product(points, n))
    }

    /// The size of a space of these extents, as if none were 0; None if it is more than memory has.
    fn size(&mut self, extents: &[A::N], itemsize: usize) -> Option<A::N> {
        let mut size = A::fixed(itemsize as i64);
        for &n in extents {
            if !self.cx.is(n, 0) {
                size = self.cx.product(size, n)?;
            }
        }
        Some(size)
    }

    /// Adds all that a kernel touches but, in a step that hands on a result, that.
    fn launch(
        &mut self,
        kernel: &Kernel,
        uses: &Uses,
        Bound { binding, extents, args }: &Bound<'a, A::N>,
        hands_on: bool,
    ) -> Result<()> {
        let Binding { extents: shown, params, .. } = binding;
        let rank = kernel.rank as usize;
        if extents.len() != rank || args.len() != kernel.operands.len() {
            let (e, a) = (extents.len(), args.len());
            return wrong(format!("a launch with {e} extents and {a} arguments, for a kernel of other numbers"));
        }
        if !params.iter().map(|p| p.dtype).eq(kernel.params.iter().copied()) {
            return wrong(format!("parameters {params:?} for a kernel that declares {:?}", kernel.params));
        }
        if self.size(extents, 1).is_none() {
            return wrong(format!("extents {} overflow", shape::show(shown)));
        }
        if let Some((i, lie)) = args.iter().enumerate().find(|(_, lie)| lie.strides.len() != rank) {
            return wrong(format!("argument {i} has {} strides for {rank} axes", lie.strides.len()));
        }
        let kept = rank - kernel.reduced() as usize;
        let has_rows = !self.is_empty(&extents[..kept]);
        let has_points = has_rows && !self.is_empty(&extents[kept..]);
        let vector = kernel.vector_axis as usize;
        let is_vector = extents.get(vector).is_some_and(|&n| self.cx.is_many(n));
        for Use { operand: i, itemsize, inner, at, writes } in uses.iter() {
            let lie = &args[i as usize];
            let slot = lie.arg.slot;
            if hands_on && slot == Slot::Result {
                continue;
            }
            let dtype = kernel.operands[i as usize].dtype;
            if at == At::Computed {
                self.computed(lie, dtype, writes)?;
                continue;
            }
            let strides = &lie.strides[..];
            let fits = !is_vector
                || match inner {
                    Inner::Strided => true,
                    Inner::Unit => self.cx.is(strides[vector], 1),
                    Inner::Broadcast => self.cx.is(strides[vector], 0),
                };
            if !fits {
                return wrong(format!("argument {i} is not {inner} along the vector axis"));
            }
            let (walked, has_any) = if at == At::All { (rank, has_points) } else { (kept, has_rows) };
            if (walked..rank).any(|axis| self.cx.is_many(extents[axis]) && !self.cx.is(strides[axis], 0)) {
                return wrong(format!("argument {i} moves along a reduced axis"));
            }
            let place = self.place(slot, lie.piece, writes)?;
            if !has_any {
                continue;
            }
            let mut axes = SmallVec::with_capacity(walked);
            (0..walked).for_each(|axis| axes.push((extents[axis], strides[axis])));
            let map = IndexMap { axes, itemsize: i64::from(itemsize), pointwise: at != At::Later };
            if let Err(fault) = self.accesses.add(self.cx, map, place, lie.offset, writes) {
                return Err(describe::<A>(fault, lie.arg, dtype, &shown[..walked], place));
            }
        }
        Ok(())
    }

    fn branch(&mut self, branch: &'a Branch) -> Result<()> {
        let Branch { predicate, plans, inputs, outputs } = branch;
        for plan in plans {
            if plan.inputs.len() != inputs.len() || plan.outputs.len() != outputs.len() || !plan.donations.is_empty() {
                return wrong("a branch of other numbers of inputs or outputs, or that donates");
            }
        }
        let lie = self.arg(predicate);
        self.strided(&lie, DType::Bool, &[], &[], false)?;
        let mut pieces: SmallVec<[Piece<A::N>; 8]> = SmallVec::new();
        inputs.iter().chain(outputs).for_each(|slot| pieces.push(self.piece(*slot)));
        let mut sizes: SmallVec<[Numbers<A::N>; 2]> = SmallVec::new();
        for plan in plans {
            let (words, begin) = (PlanWords::of(plan), self.at);
            Prover::new(plan, &words.ends, self.begin + begin, self.cx, self.uses).prove()?;
            for (n, (&slot, &need)) in inputs.iter().zip(&plan.inputs).enumerate() {
                let nbytes = self.next();
                let (piece, offset) = (pieces[n], A::fixed(0));
                self.row(Row { slot, piece, offset, dtype: DType::U8, shown: [0, need] }, nbytes, false)?;
            }
            sizes.push(self.numbers(outputs.len()));
            self.at = begin + words.numbers.len();
        }
        for (n, &slot) in outputs.iter().enumerate() {
            let [a, b] = plans.each_ref().map(|plan| plan.outputs[n]);
            let nbytes = sizes[0][n];
            if !self.cx.equal(nbytes, sizes[1][n]) {
                return wrong(format!("output {n} of the branches has {a} and {b} bytes"));
            }
            let (piece, offset) = (pieces[inputs.len() + n], A::fixed(0));
            self.row(Row { slot, piece, offset, dtype: DType::U8, shown: [0, a] }, nbytes, true)?;
        }
        Ok(())
    }

    /// The numbers of a product of matrices; None if it is none.
    fn matmul(&mut self, call: &'a LibraryCall) -> Option<Product<'a, A::N>> {
        let LibraryCall::Matmul { dtype, batch, a, b, c, .. } = call else { return None };
        let batch = self.numbers(batch.len());
        let sizes = std::array::from_fn(|_| self.next());
        Some(Product { dtype: *dtype, batch, sizes, args: [a, b, c].map(|arg| self.arg(arg)) })
    }

    fn call(&mut self, call: &'a LibraryCall) -> Result<()> {
        match call {
            LibraryCall::Matmul { batch, m, n, .. } => {
                let Some(product) = self.matmul(call) else { return wrong("only matrices have a product") };
                if !product.dtype.is_inexact() {
                    return wrong("matmul is for floats and complex numbers");
                }
                let [rows, columns, _] = product.sizes;
                let c = &product.args[2];
                let lies_well = match c.strides.get(product.batch.len()..) {
                    Some(&[row, column]) => {
                        (!self.cx.is_many(columns) || self.cx.is(column, 1))
                            && (!self.cx.is_many(rows) || self.cx.is(columns, 0) || self.cx.equal(row, columns))
                    }
                    _ => false,
                };
                if !lies_well {
                    return wrong("the matrices of c are not row-contiguous");
                }
                let shown: Shape = batch.iter().copied().chain([*m, *n]).collect();
                self.strided(c, product.dtype, &with(&product.batch, &[rows, columns]), &shown, true)?;
                self.factors(call, &product)
            }
            LibraryCall::Sort { dtype, rows, n, indices, input, output } => {
                let mut extents = self.numbers(rows.len());
                let (sorted, input, output) = (self.next(), self.arg(input), self.arg(output));
                if *indices && self.cx.less(A::fixed(u32::MAX.into()), sorted) {
                    return wrong("positions in a row do not fit in uint32");
                }
                extents.push(sorted);
                let to = call.result_dtype();
                let shown: Shape = rows.iter().copied().chain([*n]).collect();
                self.strided(&input, *dtype, &extents, &shown, false)?;
                self.strided(&output, to, &extents, &shown, true)
            }
        }
    }

    /// Adds what a product reads.
    fn factors(&mut self, call: &LibraryCall, product: &Product<'a, A::N>) -> Result<()> {
        let LibraryCall::Matmul { batch, m, n, k, .. } = call else { return wrong("only matrices have a product") };
        let [rows, columns, summed] = product.sizes;
        let factors = [([rows, summed], [*m, *k]), ([summed, columns], [*k, *n])];
        for (lie, (matrix, shown)) in product.args.iter().zip(factors) {
            let shown: Shape = batch.iter().copied().chain(shown).collect();
            self.strided(lie, product.dtype, &with(&product.batch, &matrix), &shown, false)?;
        }
        Ok(())
    }

    /// Adds the access through an argument at every point of some axes, in any order, within its slot; nothing if there is no point. Strides beyond those of the axes are not looked at.
    fn strided(
        &mut self,
        lie: &Lie<'a, A::N>,
        dtype: DType,
        extents: &[A::N],
        shown: &[usize],
        writes: bool,
    ) -> Result<()> {
        let place = self.place(lie.arg.slot, lie.piece, writes)?;
        let Some(strides) = lie.strides.get(..extents.len()) else {
            return wrong(format!("{} has no stride for each of {} axes", lie.arg, extents.len()));
        };
        if self.is_empty(extents) {
            return Ok(());
        }
        let axes = extents.iter().copied().zip(strides.iter().copied()).collect();
        let map = IndexMap { axes, itemsize: dtype.itemsize() as i64, pointwise: false };
        let added = self.accesses.add(self.cx, map, place, lie.offset, writes);
        added.map_err(|fault| describe::<A>(fault, lie.arg, dtype, shown, place))
    }

    /// The same for so many elements of a slot from one on, side by side.
    fn row(&mut self, row: Row<A::N>, n: A::N, writes: bool) -> Result<()> {
        let Row { slot, piece, offset, dtype, shown: [first, shown] } = row;
        let place = self.place(slot, piece, writes)?;
        self.add_row(place, offset, dtype, n, writes).map_err(|fault| {
            let arg = Arg { slot, offset: first, strides: SmallVec::from_slice(&[1]), len: 0 };
            describe::<A>(fault, &arg, dtype, &[shown], place)
        })
    }

    /// Adds the access at computed positions `0..arg.len`, within its slot; nothing if there is no position.
    fn computed(&mut self, lie: &Lie<'a, A::N>, dtype: DType, writes: bool) -> Result<()> {
        let place = self.place(lie.arg.slot, lie.piece, writes)?;
        self.add_row(place, lie.offset, dtype, lie.len, writes).map_err(|_| {
            let Arg { offset, len, .. } = lie.arg;
            let last = (*offset as i128 + *len as i128) * dtype.itemsize() as i128;
            let nbytes = A::shown(place.2) - A::shown(place.1);
            Error::internal("verify", format!("{} reaches byte {last} of {nbytes}", lie.arg))
        })
    }

    fn add_row(&mut self, place: Place<A::N>, offset: A::N, dtype: DType, n: A::N, writes: bool) -> Result<(), Fault> {
        if self.cx.is(n, 0) {
            return Ok(());
        }
        let axes = SmallVec::from_iter([(n, A::fixed(1))]);
        let map = IndexMap { axes, itemsize: dtype.itemsize() as i64, pointwise: false };
        self.accesses.add(self.cx, map, place, offset, writes)
    }

    /// Proves that outputs may take over inputs, by what all steps touch.
    fn donations(&mut self) -> Result<()> {
        for &(output, input) in &*self.plan.donations {
            let hindrance = match (self.output(output), self.input(input)) {
                (Some(to), Some(from)) if self.cx.equal(to, from) => {
                    self.accesses.hindrance(self.cx, output as usize, input as usize)
                }
                (Some(_), Some(_)) => Some("their sizes differ"),
                _ => Some("there is no such slot"),
            };
            if let Some(why) = hindrance {
                let plan = self.plan;
                return wrong(format!("output{output} cannot take the memory of input{input}: {why}\n{plan}"));
            }
        }
        Ok(())
    }
}

/// Elements side by side.
struct Row<N> {
    slot: Slot,
    piece: Piece<N>,
    offset: N,
    dtype: DType,
    /// The offset, and how many there are, for people.
    shown: [usize; 2],
}

fn with<N: Copy>(outer: &[N], inner: &[N]) -> Numbers<N> {
    outer.iter().chain(inner).copied().collect()
}

/// What is wrong with the access through an argument that lies there.
#[cold]
fn describe<A: Arithmetic>(
    fault: Fault,
    arg: &Arg,
    dtype: DType,
    extents: &[usize],
    (_, start, end): Place<A::N>,
) -> Error {
    let shown = shape::show(extents);
    let message = match fault {
        Fault::Twice => format!("two points of {shown} store to one element of {arg}"),
        Fault::Beyond => {
            let itemsize = dtype.itemsize() as i128;
            let base = arg.offset as i128 * itemsize;
            let (mut low, mut high) = (base, base + itemsize);
            for (&n, &s) in extents.iter().zip(&arg.strides) {
                let reach = (n as i128 - 1).saturating_mul(s as i128).saturating_mul(itemsize);
                if reach < 0 { low = low.saturating_add(reach) } else { high = high.saturating_add(reach) }
            }
            format!("{arg} over {shown} touches bytes {low}..{high} of {}", A::shown(end) - A::shown(start))
        }
    };
    Error::internal("verify", message)
}
