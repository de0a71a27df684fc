//! Proofs about the steps of a plan: bounds, conflicts, donations.

mod epilogue;

use super::access::{Access, Accesses, Axes, Fault, Place, Space, is_far};
use super::uses::Uses;
use crate::backend::Buffer;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ir::{Inner, Kernel};
use crate::plan::{Arg, Binding, Branch, LibraryCall, Plan, Slot, Step};
use crate::shape;
use smallvec::SmallVec;
use std::mem::replace;
use std::sync::Arc;

impl Plan {
    /// Checks the kernels of the plan, and proves that its steps stay within their slots and do not get in their own way.
    pub fn verify(&self) -> Result<()> {
        self.verify_by(&|kernel| {
            kernel.verify()?;
            Ok(Arc::new(Uses::of(kernel)))
        })
    }

    /// The same for a backend that knows some kernels already: `uses` gives those of a kernel that is well-formed, by [`Kernel::verify`], or an error.
    pub fn verify_by(&self, uses: &dyn Fn(&Arc<Kernel>) -> Result<Arc<Uses>>) -> Result<()> {
        let mut accesses = Accesses::with_capacity(self.steps.len());
        for (i, step) in self.steps.iter().enumerate() {
            // Donations are about all steps together.
            accesses.begin_step(i, !self.donations.is_empty());
            let proof = self.step_accesses(step, uses, &mut accesses).and_then(|()| check_conflicts(&accesses));
            if let Err(e) = proof {
                return Err(Error::internal("verify", format!("step {i} of a plan: {}\n{step}", e.message())));
            }
        }
        self.verify_donations(&accesses)
    }

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

    /// Where a slot lies.
    #[inline]
    fn locate(&self, slot: Slot) -> Result<Place> {
        let none = || Error::internal("verify", format!("there is no slot {slot}"));
        // No memory has more.
        let byte = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        match slot {
            Slot::Input(n) => {
                let nbytes = *self.inputs.get(n as usize).ok_or_else(none)?;
                Ok((Space::Input(n), 0, byte(nbytes)))
            }
            Slot::Output(n) => {
                let nbytes = *self.outputs.get(n as usize).ok_or_else(none)?;
                Ok((Space::Output(n), 0, byte(nbytes)))
            }
            Slot::Result => Err(Error::internal("verify", "only a step with an epilogue has a result to hand on")),
            Slot::Temp { offset, nbytes } => {
                if offset % 64 != 0 || offset.checked_add(nbytes).is_none_or(|end| end > self.arena) {
                    let message = format!("{slot} is not aligned to 64 bytes, or beyond the arena of {}", self.arena);
                    return Err(Error::internal("verify", message));
                }
                Ok((Space::Arena, byte(offset), byte(offset + nbytes)))
            }
        }
    }

    /// Adds all that a step touches, each proved to be within its slot.
    fn step_accesses<'a>(
        &self,
        step: &'a Step,
        uses: &dyn Fn(&Arc<Kernel>) -> Result<Arc<Uses>>,
        out: &mut Accesses<'a>,
    ) -> Result<()> {
        match step {
            Step::Launch { kernel, bindings } => {
                let uses = uses(kernel)?;
                for (number, binding) in bindings.iter().enumerate() {
                    out.begin_binding(number);
                    self.binding_accesses(kernel, &uses, binding, false, out)?;
                }
            }
            Step::Product { call, kernel, binding } => {
                self.product_accesses(call, kernel, &*uses(kernel)?, binding, out)?;
            }
            Step::Scatter(scatter) => {
                let [target, updates, epilogue] = scatter.passes().map(|pass| uses(&pass.kernel));
                self.scatter_accesses(scatter, [&*target?, &*updates?, &*epilogue?], out)?;
            }
            Step::Call(call) => self.call_accesses(call, out)?,
            Step::Copy { from, to, nbytes } => {
                self.row(*from, 0, DType::U8, *nbytes, false, out)?;
                self.row(*to, 0, DType::U8, *nbytes, true, out)?;
            }
            Step::Branch(branch) => {
                branch.plans.iter().try_for_each(|plan| plan.verify_by(uses))?;
                self.branch_accesses(branch, out)?;
            }
            Step::Host { args, .. } => {
                for a in args {
                    self.row(a.slot, a.offset, a.dtype, shape::size(&a.shape), false, out)?;
                }
            }
        }
        Ok(())
    }

    /// Adds all that a kernel touches but, in a step that hands on a result, that.
    fn binding_accesses<'a>(
        &self,
        kernel: &Kernel,
        uses: &Uses,
        binding: &'a Binding,
        hands_on: bool,
        out: &mut Accesses<'a>,
    ) -> Result<()> {
        let Binding { extents, args, params } = binding;
        let wrong = |message: String| Err(Error::internal("verify", message));
        let rank = kernel.rank as usize;
        if extents.len() != rank || args.len() != kernel.operands.len() {
            let (e, a) = (extents.len(), args.len());
            return wrong(format!("a launch with {e} extents and {a} arguments, for a kernel of other numbers"));
        }
        if !params.iter().map(|p| p.dtype).eq(kernel.params.iter().copied()) {
            return wrong(format!("parameters {params:?} for a kernel that declares {:?}", kernel.params));
        }
        let total = extents.iter().try_fold(1usize, |n, &e| n.checked_mul(e.max(1)));
        if total.is_none_or(|n| n > isize::MAX as usize) {
            return wrong(format!("extents {} overflow", shape::show(extents)));
        }
        let kept = rank - kernel.reduced() as usize;
        for (i, ((operand, arg), uses)) in kernel.operands.iter().zip(args).zip(uses.iter()).enumerate() {
            if arg.strides.len() != rank {
                return wrong(format!("argument {i} has {} strides for {rank} axes", arg.strides.len()));
            }
            let stride = extents.get(kernel.vector_axis as usize).zip(arg.strides.get(kernel.vector_axis as usize));
            let fits = match (stride, operand.inner) {
                (None | Some((0 | 1, _)), _) | (_, Inner::Strided) => true,
                (Some((_, &s)), Inner::Unit) => s == 1,
                (Some((_, &s)), Inner::Broadcast) => s == 0,
            };
            if !fits && (uses.body || uses.kept) {
                return wrong(format!("argument {i} is not {} along the vector axis", operand.inner));
            }
            if hands_on && arg.slot == Slot::Result {
                continue;
            }
            if uses.body {
                self.strided(arg, operand.dtype, Axes::of(extents), true, uses.written && !uses.kept, out)?;
            }
            if uses.kept {
                let moves = |(&n, &s): (&usize, &isize)| n > 1 && s != 0;
                if extents[kept..].iter().zip(&arg.strides[kept..]).any(moves) {
                    return wrong(format!("argument {i} moves along a reduced axis"));
                }
                self.strided(arg, operand.dtype, Axes::of(&extents[..kept]), !uses.later, uses.written, out)?;
            }
            if uses.computed {
                self.computed(arg, operand.dtype, uses.written, out)?;
            }
        }
        Ok(())
    }

    fn branch_accesses<'a>(&self, branch: &'a Branch, out: &mut Accesses<'a>) -> Result<()> {
        let Branch { predicate, plans, inputs, outputs } = branch;
        let wrong = |message: String| Err(Error::internal("verify", message));
        self.strided(predicate, DType::Bool, Axes::of(&[]), false, false, out)?;
        for plan in plans {
            if plan.inputs.len() != inputs.len() || plan.outputs.len() != outputs.len() || !plan.donations.is_empty() {
                return wrong("a branch of other numbers of inputs or outputs, or that donates".into());
            }
            for (&slot, &need) in inputs.iter().zip(&plan.inputs) {
                self.row(slot, 0, DType::U8, need, false, out)?;
            }
        }
        for (n, &slot) in outputs.iter().enumerate() {
            let [a, b] = plans.each_ref().map(|plan| plan.outputs[n]);
            if a != b {
                return wrong(format!("output {n} of the branches has {a} and {b} bytes"));
            }
            self.row(slot, 0, DType::U8, a, true, out)?;
        }
        Ok(())
    }

    fn call_accesses<'a>(&self, call: &'a LibraryCall, out: &mut Accesses<'a>) -> Result<()> {
        let wrong = |message: &str| Err(Error::internal("verify", message));
        match call {
            LibraryCall::Matmul { dtype, batch, m, n, k, a, b, c } => {
                if !dtype.is_inexact() {
                    return wrong("matmul is for floats and complex numbers");
                }
                let inner = c.strides.get(batch.len()..).unwrap_or(&[]);
                if inner.len() != 2 || *n > 1 && inner[1] != 1 || *m > 1 && *n > 0 && inner[0] != *n as isize {
                    return wrong("the matrices of c are not row-contiguous");
                }
                self.strided(c, *dtype, Axes::then_matrix(batch, [*m, *n]), false, true, out)?;
                self.factors(*dtype, batch, [*m, *n, *k], [a, b], out)
            }
            LibraryCall::Sort { dtype, rows, n, indices, input, output } => {
                if *indices && u32::try_from(*n).is_err() {
                    return wrong("positions in a row do not fit in uint32");
                }
                let to = if *indices { DType::U32 } else { *dtype };
                let axes = Axes::then_row(rows, *n);
                self.strided(input, *dtype, axes, false, false, out)?;
                self.strided(output, to, axes, false, true, out)
            }
        }
    }

    /// Adds what a product reads.
    fn factors<'a>(
        &self,
        dtype: DType,
        batch: &'a [usize],
        [m, n, k]: [usize; 3],
        [a, b]: [&'a Arg; 2],
        out: &mut Accesses<'a>,
    ) -> Result<()> {
        self.strided(a, dtype, Axes::then_matrix(batch, [m, k]), false, false, out)?;
        self.strided(b, dtype, Axes::then_matrix(batch, [k, n]), false, false, out)
    }

    /// Adds the access through `arg` at every point of some axes, within its slot; nothing if there is no point. Strides beyond those of the axes are not looked at. `pointwise`: each
    /// point of a kernel touches its own element.
    #[inline]
    fn strided<'a>(
        &self,
        arg: &'a Arg,
        dtype: DType,
        axes: Axes<'a>,
        pointwise: bool,
        writes: bool,
        out: &mut Accesses<'a>,
    ) -> Result<()> {
        let place = self.writable(arg.slot, writes)?;
        let Some(strides) = arg.strides.get(..axes.rank()) else {
            let message = format!("{arg} has no stride for each of {} axes", axes.rank());
            return Err(Error::internal("verify", message));
        };
        let itemsize = dtype.itemsize() as i64;
        let added = out.add(place, arg.offset, itemsize, (axes, strides), pointwise, writes);
        added.map_err(|fault| describe(fault, arg, dtype, &axes, place))
    }

    /// The same for so many elements of a slot from one on, side by side, that are touched in any order.
    fn row(&self, slot: Slot, offset: usize, dtype: DType, n: usize, writes: bool, out: &mut Accesses) -> Result<()> {
        let (place, axes) = (self.writable(slot, writes)?, Axes::row(n));
        let added = out.add(place, offset, dtype.itemsize() as i64, (axes, &[1]), false, writes);
        added.map_err(|fault| {
            let arg = Arg { slot, offset, strides: SmallVec::from_slice(&[1]), len: 0 };
            describe(fault, &arg, dtype, &axes, place)
        })
    }

    /// Adds the access at computed positions `0..arg.len`, within its slot; nothing if there is no position.
    fn computed(&self, arg: &Arg, dtype: DType, writes: bool, out: &mut Accesses) -> Result<()> {
        let place = self.writable(arg.slot, writes)?;
        let added = out.add(place, arg.offset, dtype.itemsize() as i64, (Axes::row(arg.len), &[1]), false, writes);
        added.map_err(|_| {
            let (last, nbytes) = ((arg.offset as i128 + arg.len as i128) * dtype.itemsize() as i128, place.2 - place.1);
            Error::internal("verify", format!("{arg} reaches byte {last} of {nbytes}"))
        })
    }

    /// As [`locate`](Self::locate), of a slot that may be written if it is to be.
    #[inline]
    fn writable(&self, slot: Slot, writes: bool) -> Result<Place> {
        match slot {
            Slot::Input(_) if writes => {
                Err(Error::internal("verify", format!("{slot} is the caller's: it is not written")))
            }
            _ => self.locate(slot),
        }
    }

    /// Proves that outputs may take over inputs, by what all steps touch.
    fn verify_donations(&self, accesses: &Accesses) -> Result<()> {
        if self.donations.is_empty() {
            return Ok(());
        }
        let all = accesses.all();
        // By number, of each input the last read, of each output the first write, and of each read the one before it, of each write the one behind it; beyond all where there is none.
        const NONE: usize = usize::MAX;
        let mut last_reads: SmallVec<[usize; 32]> = SmallVec::from_elem(NONE, self.inputs.len());
        let mut first_writes: SmallVec<[usize; 32]> = SmallVec::from_elem(NONE, self.outputs.len());
        let mut next: Vec<usize> = vec![NONE; all.len()];
        for (number, a) in all.iter().enumerate() {
            if let Space::Input(n) = a.space {
                next[number] = replace(&mut last_reads[n as usize], number);
            }
        }
        for (number, a) in all.iter().enumerate().rev() {
            if let (Space::Output(n), true) = (a.space, a.writes) {
                next[number] = replace(&mut first_writes[n as usize], number);
            }
        }
        let in_the_way =
            |read: &Access, write: &Access| !accesses.is_same_map(read, write) && !accesses.are_apart(read, write);
        for &(output, input) in &self.donations {
            let wrong = |why: &str| {
                let message = format!("output{output} cannot take the memory of input{input}: {why}\n{self}");
                Err(Error::internal("verify", message))
            };
            let sizes = self.outputs.get(output as usize).zip(self.inputs.get(input as usize));
            match sizes {
                None => return wrong("there is no such slot"),
                Some((to, from)) if to != from => return wrong("their sizes differ"),
                _ => {}
            }
            let (mut write, last_read) = (first_writes[output as usize], last_reads[input as usize]);
            let (Some(first), Some(last)) = (all.get(write), all.get(last_read)) else { continue };
            let step = first.step;
            if last.step > step {
                return wrong("a later step reads the input");
            }
            while let Some(to) = all.get(write).filter(|a| a.step == step) {
                let mut read = last_read;
                while let Some(from) = all.get(read).filter(|a| a.step == step) {
                    if in_the_way(from, to) {
                        return wrong("a step reads the input at other points than it writes");
                    }
                    read = next[read];
                }
                write = next[write];
            }
        }
        Ok(())
    }
}

/// What is wrong with the access through an argument that lies there.
#[cold]
fn describe(fault: Fault, arg: &Arg, dtype: DType, axes: &Axes, (_, start, end): Place) -> Error {
    let extents: Vec<usize> = axes.extents().collect();
    let shown = shape::show(&extents);
    let message = match fault {
        Fault::Twice => format!("two points of {shown} store to one element of {arg}"),
        Fault::Beyond => {
            let axes = || extents.iter().copied().zip(arg.strides.iter().copied());
            let itemsize = dtype.itemsize() as i128;
            let base = arg.offset as i128 * itemsize;
            let (mut low, mut high) = (base, base + itemsize);
            for (n, s) in axes() {
                let reach = (n as i128 - 1) * s as i128 * itemsize;
                if reach < 0 { low += reach } else { high += reach }
            }
            match axes().any(|(n, s)| is_far(n, s)) {
                true => format!("{arg} over {shown}: too far"),
                false => format!("{arg} over {shown} touches bytes {low}..{high} of {}", end - start),
            }
        }
    };
    Error::internal("verify", message)
}

/// So many pairs of accesses are all compared.
const FEW: usize = 256;

/// A write and any other access of one step are disjoint, or (within a binding) a read of each point's own element.
fn check_conflicts(all: &Accesses) -> Result<()> {
    let accesses = all.of_step();
    // Of accesses of one space.
    let meet = |number: usize, other: usize| {
        let (a, b) = (&accesses[number], &accesses[other]);
        let in_place = || a.writes != b.writes && all.is_same_map(a, b);
        number != other && !in_place() && !all.are_apart(a, b)
    };
    let writes = || (0..accesses.len()).filter(|&number| accesses[number].writes);
    let is_hit = if writes().count() * accesses.len() <= FEW {
        // Most often each write is the only access of its space.
        let meets_any = |write: usize| {
            let space = accesses[write].space;
            accesses.iter().enumerate().any(|(number, a)| a.space == space && meet(number, write))
        };
        writes().any(meets_any)
    } else {
        // By first byte, with the end of all that begins no later: what may meet an access is a short run of them.
        let mut writes: Vec<usize> = writes().collect();
        writes.sort_unstable_by_key(|&write| (accesses[write].space, accesses[write].span.0));
        let mut ends: Vec<i64> = Vec::with_capacity(writes.len());
        for (n, &write) in writes.iter().enumerate() {
            let is_first = n == 0 || accesses[writes[n - 1]].space != accesses[write].space;
            let before = if is_first { i64::MIN } else { ends[n - 1] };
            ends.push(before.max(accesses[write].span.1));
        }
        accesses.iter().enumerate().any(|(number, a)| {
            let (low, high) = a.span;
            let first = writes.partition_point(|&w| accesses[w].space < a.space);
            let last =
                first + writes[first..].partition_point(|&w| accesses[w].space == a.space && accesses[w].span.0 < high);
            let first = first + ends[first..last].partition_point(|&end| end <= low);
            writes[first..last].iter().any(|&write| meet(number, write))
        })
    };
    if is_hit {
        let why = "a store may hit what another point of the step reads or writes: index maps of overlapping arguments must be equal";
        return Err(Error::internal("verify", why));
    }
    Ok(())
}
