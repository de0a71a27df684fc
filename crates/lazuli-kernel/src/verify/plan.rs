//! Proofs about the steps of a plan: bounds, conflicts, donations.

mod epilogue;

use super::access::{Access, Axis, FAR, Space};
use super::uses::Uses;
use crate::backend::Buffer;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ir::{Inner, Kernel};
use crate::plan::{Arg, Binding, Branch, LibraryCall, Plan, Slot, Step};
use crate::shape;
use crate::small::small;
use smallvec::SmallVec;
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
        let mut accesses = Accesses::new();
        // Of all steps, with their numbers: reads of inputs, and writes of outputs.
        let mut outside = Vec::new();
        for (i, step) in self.steps.iter().enumerate() {
            accesses.clear();
            let proof = self.step_accesses(step, uses, &mut accesses).and_then(|()| check_conflicts(&accesses));
            if let Err(e) = proof {
                return Err(Error::internal("verify", format!("step {i} of a plan: {}\n{step}", e.message())));
            }
            if !self.donations.is_empty() {
                let is_outside =
                    |a: &Access| matches!((a.space, a.writes), (Space::Input(_), _) | (Space::Output(_), true));
                outside.extend(accesses.drain(..).filter(is_outside).map(|a| (i, a)));
            }
        }
        self.verify_donations(&outside)
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

    /// The memory of a slot, its first byte there, and the one behind its last.
    fn locate(&self, slot: Slot) -> Result<(Space, i64, i64)> {
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
    fn step_accesses(
        &self,
        step: &Step,
        uses: &dyn Fn(&Arc<Kernel>) -> Result<Arc<Uses>>,
        out: &mut Accesses,
    ) -> Result<()> {
        match step {
            Step::Launch { kernel, bindings } => {
                let uses = uses(kernel)?;
                for (number, binding) in bindings.iter().enumerate() {
                    let first = out.len();
                    self.binding_accesses(kernel, &uses, binding, false, out)?;
                    out[first..].iter_mut().for_each(|a| a.binding = number as u32);
                }
                return Ok(());
            }
            Step::Product { call, kernel, binding } => {
                return self.product_accesses(call, kernel, &*uses(kernel)?, binding, out);
            }
            Step::Scatter(scatter) => {
                let [target, updates, epilogue] = scatter.passes().map(|pass| uses(&pass.kernel));
                return self.scatter_accesses(scatter, [&*target?, &*updates?, &*epilogue?], out);
            }
            Step::Call(call) => self.call_accesses(call, out)?,
            Step::Copy { from, to, nbytes } => {
                self.strided(&whole(*from, 0), DType::U8, &[*nbytes], false, out)?;
                self.strided(&whole(*to, 0), DType::U8, &[*nbytes], true, out)?;
            }
            Step::Branch(branch) => {
                branch.plans.iter().try_for_each(|plan| plan.verify_by(uses))?;
                self.branch_accesses(branch, out)?;
            }
            Step::Host { args, .. } => {
                for a in args {
                    self.strided(&whole(a.slot, a.offset), a.dtype, &[shape::size(&a.shape)], false, out)?;
                }
            }
        }
        as_wholes(out);
        Ok(())
    }

    /// Adds all that a kernel touches but, in a step that hands on a result, that.
    fn binding_accesses(
        &self,
        kernel: &Kernel,
        uses: &Uses,
        binding: &Binding,
        hands_on: bool,
        out: &mut Accesses,
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
                self.strided(arg, operand.dtype, extents, uses.written && !uses.kept, out)?;
            }
            if uses.kept {
                let moves = |(&n, &s): (&usize, &isize)| n > 1 && s != 0;
                if extents[kept..].iter().zip(&arg.strides[kept..]).any(moves) {
                    return wrong(format!("argument {i} moves along a reduced axis"));
                }
                let first = out.len();
                self.strided(arg, operand.dtype, &extents[..kept], uses.written, out)?;
                out[first..].iter_mut().for_each(|a| a.pointwise = !uses.later);
            }
            if uses.computed {
                self.computed(arg, operand.dtype, uses.written, out)?;
            }
        }
        Ok(())
    }

    fn branch_accesses(&self, branch: &Branch, out: &mut Accesses) -> Result<()> {
        let Branch { predicate, plans, inputs, outputs } = branch;
        let wrong = |message: String| Err(Error::internal("verify", message));
        self.strided(predicate, DType::Bool, &[], false, out)?;
        for plan in plans {
            if plan.inputs.len() != inputs.len() || plan.outputs.len() != outputs.len() || !plan.donations.is_empty() {
                return wrong("a branch of other numbers of inputs or outputs, or that donates".into());
            }
            for (&slot, &need) in inputs.iter().zip(&plan.inputs) {
                self.strided(&whole(slot, 0), DType::U8, &[need], false, out)?;
            }
        }
        for (n, &slot) in outputs.iter().enumerate() {
            let [a, b] = plans.each_ref().map(|plan| plan.outputs[n]);
            if a != b {
                return wrong(format!("output {n} of the branches has {a} and {b} bytes"));
            }
            self.strided(&whole(slot, 0), DType::U8, &[a], true, out)?;
        }
        Ok(())
    }

    fn call_accesses(&self, call: &LibraryCall, out: &mut Accesses) -> Result<()> {
        let wrong = |message: &str| Err(Error::internal("verify", message));
        let axes = |outer: &[usize], inner: &[usize]| small::<[usize; 6]>(outer.iter().chain(inner).copied());
        match call {
            LibraryCall::Matmul { dtype, batch, m, n, k, a, b, c } => {
                if !dtype.is_inexact() {
                    return wrong("matmul is for floats and complex numbers");
                }
                let inner = c.strides.get(batch.len()..).unwrap_or(&[]);
                if inner.len() != 2 || *n > 1 && inner[1] != 1 || *m > 1 && *n > 0 && inner[0] != *n as isize {
                    return wrong("the matrices of c are not row-contiguous");
                }
                self.strided(c, *dtype, &axes(batch, &[*m, *n]), true, out)?;
                self.factors(*dtype, batch, [*m, *n, *k], [a, b], out)
            }
            LibraryCall::Sort { dtype, rows, n, indices, input, output } => {
                if *indices && u32::try_from(*n).is_err() {
                    return wrong("positions in a row do not fit in uint32");
                }
                let to = if *indices { DType::U32 } else { *dtype };
                let extents = axes(rows, &[*n]);
                self.strided(input, *dtype, &extents, false, out)?;
                self.strided(output, to, &extents, true, out)
            }
        }
    }

    /// Adds what a product reads.
    fn factors(
        &self,
        dtype: DType,
        batch: &[usize],
        [m, n, k]: [usize; 3],
        [a, b]: [&Arg; 2],
        out: &mut Accesses,
    ) -> Result<()> {
        let axes = |inner: [usize; 2]| small::<[usize; 6]>(batch.iter().copied().chain(inner));
        self.strided(a, dtype, &axes([m, k]), false, out)?;
        self.strided(b, dtype, &axes([k, n]), false, out)
    }

    /// Adds the access through `arg` at every point of `extents`, within its slot; nothing if there is no point. Strides beyond the extents are
    /// not looked at.
    fn strided(&self, arg: &Arg, dtype: DType, extents: &[usize], writes: bool, out: &mut Accesses) -> Result<()> {
        let (space, start, end) = self.writable(arg.slot, writes)?;
        let wrong = |message: String| Err(Error::internal("verify", message));
        if arg.strides.len() < extents.len() {
            return wrong(format!("{arg} has no stride for each of {} axes", extents.len()));
        }
        if extents.contains(&0) {
            return Ok(());
        }
        let axes = || extents.iter().zip(&arg.strides);
        let is_far = |(&n, &s): (&usize, &isize)| n as u64 > FAR || s.unsigned_abs() as u64 > FAR;
        let itemsize = dtype.itemsize() as i64;
        let first = i64::try_from(arg.offset).ok().and_then(|n| n.checked_mul(itemsize)?.checked_add(start));
        let mut fits = false;
        if let Some(access) = first.and_then(|base| Access::new(space, base, itemsize, writes)) {
            // Where it stays, as it is not small.
            out.push(access);
            let access = out.last_mut().expect("it was just added");
            fits = (0..).zip(axes()).all(|(number, (&n, &s))| {
                let moves = n > 1 && (s != 0 || writes);
                let axis = || Axis { number, extent: n as i64, stride: s as i64 * itemsize };
                !is_far((&n, &s)) && (!moves || access.move_along(axis()).is_some())
            });
            fits &= access.span.0 >= start && access.span.1 <= end;
        }
        if !fits {
            if axes().any(is_far) {
                return wrong(format!("{arg} over {}: too far", shape::show(extents)));
            }
            let base = arg.offset as i128 * itemsize as i128;
            let (mut low, mut high) = (base, base + itemsize as i128);
            for (&n, &s) in axes() {
                let reach = (n as i128 - 1) * s as i128 * itemsize as i128;
                if reach < 0 { low += reach } else { high += reach }
            }
            let (extents, nbytes) = (shape::show(extents), end - start);
            return wrong(format!("{arg} over {extents} touches bytes {low}..{high} of {nbytes}"));
        }
        if writes && !out.last().is_some_and(Access::is_injective) {
            return wrong(format!("two points of {} store to one element of {arg}", shape::show(extents)));
        }
        Ok(())
    }

    /// Adds the access at computed positions `0..arg.len`, within its slot; nothing if there is no position.
    fn computed(&self, arg: &Arg, dtype: DType, writes: bool, out: &mut Accesses) -> Result<()> {
        let (space, start, end) = self.writable(arg.slot, writes)?;
        let itemsize = dtype.itemsize() as i64;
        if arg.len == 0 {
            return Ok(());
        }
        let last = (arg.offset as i128 + arg.len as i128) * itemsize as i128;
        if last > (end - start) as i128 {
            return Err(Error::internal("verify", format!("{arg} reaches byte {last} of {}", end - start)));
        }
        // All of it is within the slot, whose bytes 64 bits count.
        let base = start + arg.offset as i64 * itemsize;
        let mut access = Access::new(space, base, itemsize, writes).expect("within the slot");
        let axis = Axis { number: 0, extent: arg.len as i64, stride: itemsize };
        access.move_along(axis).expect("within the slot");
        out.push(Access { pointwise: false, ..access });
        Ok(())
    }

    /// As [`locate`](Self::locate), of a slot that may be written if it is to be.
    fn writable(&self, slot: Slot, writes: bool) -> Result<(Space, i64, i64)> {
        match slot {
            Slot::Input(_) if writes => {
                Err(Error::internal("verify", format!("{slot} is the caller's: it is not written")))
            }
            _ => self.locate(slot),
        }
    }

    /// Proves that outputs may take over inputs, by what steps read of inputs and write of outputs.
    fn verify_donations(&self, outside: &[(usize, Access)]) -> Result<()> {
        if self.donations.is_empty() {
            return Ok(());
        }
        let mut reads: Vec<Vec<(usize, &Access)>> = vec![Vec::new(); self.inputs.len()];
        let mut writes: Vec<Vec<(usize, &Access)>> = vec![Vec::new(); self.outputs.len()];
        for (step, a) in outside {
            match a.space {
                Space::Input(n) => reads[n as usize].push((*step, a)),
                Space::Output(n) => writes[n as usize].push((*step, a)),
                Space::Arena => {}
            }
        }
        for &(output, input) in &self.donations {
            let wrong = |why: &str| {
                let message = format!("output{output} cannot take the memory of input{input}: {why}\n{self}");
                Err(Error::internal("verify", message))
            };
            self.locate(Slot::Output(output))?;
            self.locate(Slot::Input(input))?;
            if self.outputs[output as usize] != self.inputs[input as usize] {
                return wrong("their sizes differ");
            }
            let (reads, writes) = (&reads[input as usize], &writes[output as usize]);
            let (Some(&(first, _)), Some(&(last, _))) = (writes.first(), reads.last()) else { continue };
            if last > first {
                return wrong("a later step reads the input");
            }
            for (_, write) in writes.iter().filter(|(step, _)| *step == first) {
                for (_, read) in reads.iter().filter(|(step, _)| *step == first) {
                    if !read.is_apart(write) && !read.is_same_map(write) {
                        return wrong("a step reads the input at other points than it writes");
                    }
                }
            }
        }
        Ok(())
    }
}

/// All of a slot from this element on, as a row.
fn whole(slot: Slot, offset: usize) -> Arg {
    Arg { slot, offset, strides: SmallVec::from_slice(&[1]), len: 0 }
}

/// Makes accesses those of a step that reads and writes its arguments in an order of its own.
fn as_wholes(accesses: &mut [Access]) {
    accesses.iter_mut().for_each(|a| a.pointwise = false);
}

/// What a step touches.
type Accesses = SmallVec<[Access; 8]>;

/// So many accesses are all compared with one another.
const FEW: usize = 16;

/// A write and any other access of one step are disjoint, or (within a binding) a read of each point's own element.
fn check_conflicts(accesses: &[Access]) -> Result<()> {
    let meet = |number: usize, other: usize| {
        let (a, b) = (&accesses[number], &accesses[other]);
        let in_place = a.is_same_map(b) && a.writes != b.writes;
        number != other && a.space == b.space && !in_place && !a.is_apart(b)
    };
    let writes = || (0..accesses.len()).filter(|&number| accesses[number].writes);
    let is_hit = if accesses.len() <= FEW {
        writes().any(|write| (0..accesses.len()).any(|number| meet(number, write)))
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
