//! Proofs about the steps of a plan: bounds, conflicts, donations.

mod epilogue;

use super::access::{Access, Axis, FAR, Space, wholes};
use crate::backend::Buffer;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ir::{Inner, Inst, Kernel, Nest, Role};
use crate::plan::{Arg, Binding, Branch, HostArg, LibraryCall, Plan, Slot, Step};
use crate::shape;
use crate::small::small;
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

impl Plan {
    /// Checks the kernels of the plan, and proves that its steps stay within their slots and do not get in their own way.
    pub fn verify(&self) -> Result<()> {
        self.verify_by(&|kernel| kernel.verify())
    }

    /// The same with `check` in place of [`Kernel::verify`], for a backend that knows some kernels already.
    pub fn verify_by(&self, check: &dyn Fn(&Arc<Kernel>) -> Result<()>) -> Result<()> {
        let mut accesses = Vec::with_capacity(self.steps.len());
        for (i, step) in self.steps.iter().enumerate() {
            let of_step = self.step_accesses(step, check).and_then(|accesses| {
                check_conflicts(&accesses)?;
                Ok(accesses)
            });
            match of_step {
                Ok(a) => accesses.push(a),
                Err(e) => {
                    return Err(Error::internal("verify", format!("step {i} of a plan: {}\n{step}", e.message())));
                }
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

    /// The memory of a slot, its first byte there, and its size.
    fn locate(&self, slot: Slot) -> Result<(Space, usize, usize)> {
        let none = || Error::internal("verify", format!("there is no slot {slot}"));
        match slot {
            Slot::Input(n) => {
                let nbytes = *self.inputs.get(n as usize).ok_or_else(none)?;
                Ok((Space::Input(n), 0, nbytes))
            }
            Slot::Output(n) => {
                let nbytes = *self.outputs.get(n as usize).ok_or_else(none)?;
                Ok((Space::Output(n), 0, nbytes))
            }
            Slot::Result => Err(Error::internal("verify", "only a step with an epilogue has a result to hand on")),
            Slot::Temp { offset, nbytes } => {
                if offset % 64 != 0 || offset.checked_add(nbytes).is_none_or(|end| end > self.arena) {
                    let message = format!("{slot} is not aligned to 64 bytes, or beyond the arena of {}", self.arena);
                    return Err(Error::internal("verify", message));
                }
                Ok((Space::Arena, offset, nbytes))
            }
        }
    }

    /// All that a step touches, each proved to be within its slot.
    fn step_accesses(&self, step: &Step, check: &dyn Fn(&Arc<Kernel>) -> Result<()>) -> Result<Vec<Access>> {
        match step {
            Step::Launch { kernel, bindings } => {
                check(kernel)?;
                let uses = Uses::of(kernel);
                let mut all = Vec::new();
                for (number, binding) in bindings.iter().enumerate() {
                    let first = all.len();
                    self.binding_accesses(kernel, &uses, binding, false, &mut all)?;
                    all[first..].iter_mut().for_each(|a| a.binding = number as u32);
                }
                Ok(all)
            }
            Step::Call(call) => self.call_accesses(call),
            Step::Product { call, kernel, binding } => {
                check(kernel)?;
                self.product_accesses(call, kernel, binding)
            }
            Step::Scatter(scatter) => {
                scatter.passes().into_iter().try_for_each(|pass| check(&pass.kernel))?;
                self.scatter_accesses(scatter)
            }
            Step::Copy { from, to, nbytes } => {
                let bytes = |slot: &Slot| Arg { slot: *slot, offset: 0, strides: [1].into_iter().collect(), len: 0 };
                let from = self.strided(&bytes(from), DType::U8, &[*nbytes], false)?;
                let to = self.strided(&bytes(to), DType::U8, &[*nbytes], true)?;
                Ok(wholes([from, to]))
            }
            Step::Branch(branch) => {
                branch.plans.iter().try_for_each(|plan| plan.verify_by(check))?;
                self.branch_accesses(branch)
            }
            Step::Host { args, .. } => {
                let read = |a: &HostArg| {
                    let arg = Arg { slot: a.slot, offset: a.offset, strides: [1].into_iter().collect(), len: 0 };
                    self.strided(&arg, a.dtype, &[shape::size(&a.shape)], false)
                };
                Ok(wholes(args.iter().map(read).collect::<Result<Vec<_>>>()?))
            }
        }
    }

    /// Adds all that a kernel touches but, in a step that hands on a result, that.
    fn binding_accesses(
        &self,
        kernel: &Kernel,
        uses: &[Uses],
        binding: &Binding,
        hands_on: bool,
        out: &mut Vec<Access>,
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
        for (i, (operand, arg)) in kernel.operands.iter().zip(args).enumerate() {
            if arg.strides.len() != rank {
                return wrong(format!("argument {i} has {} strides for {rank} axes", arg.strides.len()));
            }
            let stride = extents.get(kernel.vector_axis as usize).zip(arg.strides.get(kernel.vector_axis as usize));
            let fits = match (stride, operand.inner) {
                (None | Some((0 | 1, _)), _) | (_, Inner::Strided) => true,
                (Some((_, &s)), Inner::Unit) => s == 1,
                (Some((_, &s)), Inner::Broadcast) => s == 0,
            };
            let uses = uses[i];
            if !fits && (uses.body || uses.kept) {
                return wrong(format!("argument {i} is not {} along the vector axis", operand.inner));
            }
            if hands_on && arg.slot == Slot::Result {
                continue;
            }
            if uses.body {
                out.extend(self.strided(arg, operand.dtype, extents, uses.written && !uses.kept)?);
            }
            if uses.kept {
                let moves = |(&n, &s): (&usize, &isize)| n > 1 && s != 0;
                if extents[kept..].iter().zip(&arg.strides[kept..]).any(moves) {
                    return wrong(format!("argument {i} moves along a reduced axis"));
                }
                let access = self.strided(arg, operand.dtype, &extents[..kept], uses.written)?;
                out.extend(access.map(|a| Access { pointwise: !uses.later, ..a }));
            }
            if uses.computed {
                out.extend(self.computed(arg, operand.dtype, uses.written)?);
            }
        }
        Ok(())
    }

    fn branch_accesses(&self, branch: &Branch) -> Result<Vec<Access>> {
        let Branch { predicate, plans, inputs, outputs } = branch;
        let wrong = |message: String| Err(Error::internal("verify", message));
        let bytes = |slot: &Slot| Arg { slot: *slot, offset: 0, strides: [1].into_iter().collect(), len: 0 };
        let mut all = vec![self.strided(predicate, DType::Bool, &[], false)?];
        for plan in plans {
            if plan.inputs.len() != inputs.len() || plan.outputs.len() != outputs.len() || !plan.donations.is_empty() {
                return wrong("a branch of other numbers of inputs or outputs, or that donates".into());
            }
            for (slot, &need) in inputs.iter().zip(&plan.inputs) {
                all.push(self.strided(&bytes(slot), DType::U8, &[need], false)?);
            }
        }
        for (n, slot) in outputs.iter().enumerate() {
            let (a, b) = (plans[0].outputs[n], plans[1].outputs[n]);
            if a != b {
                return wrong(format!("output {n} of the branches has {a} and {b} bytes"));
            }
            all.push(self.strided(&bytes(slot), DType::U8, &[a], true)?);
        }
        Ok(wholes(all))
    }

    fn call_accesses(&self, call: &LibraryCall) -> Result<Vec<Access>> {
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
                let c = self.strided(c, *dtype, &axes(batch, &[*m, *n]), true)?;
                let [a, b] = self.factors(*dtype, batch, [*m, *n, *k], [a, b])?;
                Ok(wholes([a, b, c]))
            }
            LibraryCall::Sort { dtype, rows, n, indices, input, output } => {
                if *indices && u32::try_from(*n).is_err() {
                    return wrong("positions in a row do not fit in uint32");
                }
                let to = if *indices { DType::U32 } else { *dtype };
                let extents = axes(rows, &[*n]);
                Ok(wholes([self.strided(input, *dtype, &extents, false)?, self.strided(output, to, &extents, true)?]))
            }
        }
    }

    /// What a product reads.
    fn factors(
        &self,
        dtype: DType,
        batch: &[usize],
        [m, n, k]: [usize; 3],
        [a, b]: [&Arg; 2],
    ) -> Result<[Option<Access>; 2]> {
        let axes = |inner: [usize; 2]| small::<[usize; 6]>(batch.iter().copied().chain(inner));
        Ok([self.strided(a, dtype, &axes([m, k]), false)?, self.strided(b, dtype, &axes([k, n]), false)?])
    }

    /// The access through `arg` at every point of `extents`, within its slot; `None` if there is no point. Strides beyond the extents are
    /// not looked at.
    fn strided(&self, arg: &Arg, dtype: DType, extents: &[usize], writes: bool) -> Result<Option<Access>> {
        let (space, start, nbytes) = self.writable(arg.slot, writes)?;
        if arg.strides.len() < extents.len() {
            return Err(Error::internal("verify", format!("{arg} has no stride for each of {} axes", extents.len())));
        }
        if extents.contains(&0) {
            return Ok(None);
        }
        let itemsize = dtype.itemsize() as i128;
        let mut axes: SmallVec<[Axis; 4]> = SmallVec::new();
        for (number, (&n, &s)) in extents.iter().zip(&arg.strides).enumerate() {
            if n as u64 > FAR || s.unsigned_abs() as u64 > FAR {
                return Err(Error::internal("verify", format!("{arg} over {}: too far", shape::show(extents))));
            }
            if n > 1 && (s != 0 || writes) {
                axes.push(Axis { number, extent: n as i128, stride: s as i128 * itemsize });
            }
        }
        let access = Access::new(space, start as i128 + arg.offset as i128 * itemsize, axes, itemsize, writes);
        let (low, high) = access.span;
        if low < start as i128 || high > (start + nbytes) as i128 {
            let (low, high) = (low - start as i128, high - start as i128);
            let extents = shape::show(extents);
            let message = format!("{arg} over {extents} touches bytes {low}..{high} of {nbytes}");
            return Err(Error::internal("verify", message));
        }
        if writes && !access.is_injective() {
            let message = format!("two points of {} store to one element of {arg}", shape::show(extents));
            return Err(Error::internal("verify", message));
        }
        Ok(Some(access))
    }

    /// The access at computed positions `0..arg.len`, within its slot; `None` if there is no position.
    fn computed(&self, arg: &Arg, dtype: DType, writes: bool) -> Result<Option<Access>> {
        let (space, start, nbytes) = self.writable(arg.slot, writes)?;
        let itemsize = dtype.itemsize() as i128;
        if arg.len == 0 {
            return Ok(None);
        }
        let end = (arg.offset as i128 + arg.len as i128) * itemsize;
        if end > nbytes as i128 {
            return Err(Error::internal("verify", format!("{arg} reaches byte {end} of {nbytes}")));
        }
        let base = start as i128 + arg.offset as i128 * itemsize;
        let axes = smallvec![Axis { number: 0, extent: arg.len as i128, stride: itemsize }];
        Ok(Some(Access { pointwise: false, ..Access::new(space, base, axes, itemsize, writes) }))
    }

    /// As [`locate`](Self::locate), of a slot that may be written if it is to be.
    fn writable(&self, slot: Slot, writes: bool) -> Result<(Space, usize, usize)> {
        match slot {
            Slot::Input(_) if writes => {
                Err(Error::internal("verify", format!("{slot} is the caller's: it is not written")))
            }
            _ => self.locate(slot),
        }
    }

    fn verify_donations(&self, steps: &[Vec<Access>]) -> Result<()> {
        if self.donations.is_empty() {
            return Ok(());
        }
        // Of each input its reads, of each output its writes, with the step.
        let mut reads: Vec<Vec<(usize, &Access)>> = vec![Vec::new(); self.inputs.len()];
        let mut writes: Vec<Vec<(usize, &Access)>> = vec![Vec::new(); self.outputs.len()];
        for (step, accesses) in steps.iter().enumerate() {
            for a in accesses {
                match a.space {
                    Space::Input(n) => reads[n as usize].push((step, a)),
                    Space::Output(n) if a.writes => writes[n as usize].push((step, a)),
                    _ => {}
                }
            }
        }
        for &(output, input) in &self.donations {
            let wrong = |why: &str| {
                let message = format!("output{output} cannot take the memory of input{input}: {why}\n{self}");
                Err(Error::internal("verify", message))
            };
            let ((_, _, a), (_, _, b)) = (self.locate(Slot::Output(output))?, self.locate(Slot::Input(input))?);
            if a != b {
                return wrong("their sizes differ");
            }
            let (reads, writes) = (&reads[input as usize], &writes[output as usize]);
            let (Some(&(first, _)), Some(&(last, _))) = (writes.first(), reads.last()) else { continue };
            if last > first {
                return wrong("a later step reads the input");
            }
            for (_, write) in writes.iter().filter(|(step, _)| *step == first) {
                for (_, read) in reads.iter().filter(|(step, _)| *step == first) {
                    let moved = Access { space: write.space, ..(*read).clone() };
                    if !moved.is_disjoint(write) && !moved.is_same_map(write) {
                        return wrong("a step reads the input at other points than it writes");
                    }
                }
            }
        }
        Ok(())
    }
}

/// A write and any other access of one step are disjoint, or (within a binding) a read of each point's own element.
fn check_conflicts(accesses: &[Access]) -> Result<()> {
    // By first byte, with the end of all that begins no later: what may meet an access is a short run of them.
    let written = accesses.iter().enumerate().filter(|(_, a)| a.writes);
    let mut writes: SmallVec<[(Space, i128, usize); 4]> = small(written.map(|(number, a)| (a.space, a.span.0, number)));
    writes.sort_unstable();
    let mut ends: SmallVec<[i128; 4]> = SmallVec::with_capacity(writes.len());
    for (n, &(space, _, number)) in writes.iter().enumerate() {
        let before = if n > 0 && writes[n - 1].0 == space { ends[n - 1] } else { i128::MIN };
        ends.push(before.max(accesses[number].span.1));
    }
    for (number, a) in accesses.iter().enumerate() {
        let (low, high) = a.span;
        let first = writes.partition_point(|w| w.0 < a.space);
        let last = first + writes[first..].partition_point(|w| w.0 == a.space && w.1 < high);
        let first = first + ends[first..last].partition_point(|&end| end <= low);
        for &(_, _, other) in &writes[first..last] {
            let b = &accesses[other];
            let in_place = a.is_same_map(b) && a.writes != b.writes;
            if other != number && !in_place && !a.is_disjoint(b) {
                let why = "a store may hit what another point of the step reads or writes: index maps of overlapping arguments must be equal";
                return Err(Error::internal("verify", why));
            }
        }
    }
    Ok(())
}

/// How a kernel touches one of its operands.
#[derive(Debug, Default, Clone, Copy)]
struct Uses {
    /// At every point of the loop space.
    body: bool,
    /// At every point of the axes that are not reduced.
    kept: bool,
    /// At computed positions.
    computed: bool,
    /// Among the above is a store: at the kept points if there is a use at those, else at all.
    written: bool,
    /// What is touched at kept points is touched behind the stores at all points: in rows.
    later: bool,
}

impl Uses {
    /// Of each operand.
    fn of(kernel: &Kernel) -> SmallVec<[Uses; 8]> {
        let mut uses: SmallVec<[Uses; 8]> = SmallVec::from_elem(Uses::default(), kernel.operands.len());
        let (mut body, mut kept): (SmallVec<[u32; 8]>, SmallVec<[u32; 8]>) = Default::default();
        let loads = |insts: &[Inst], into: &mut SmallVec<[u32; 8]>| {
            into.extend(insts.iter().filter_map(|i| if let Inst::Load(o) = i { Some(*o) } else { None }));
        };
        loads(&kernel.body, &mut body);
        for inst in kernel.insts() {
            if let Inst::LoadAt { operand, .. } = inst {
                uses[*operand as usize].computed = true;
            }
        }
        match &kernel.nest {
            Nest::Map { stores } => kept.extend(stores.iter().map(|s| s.operand)),
            Nest::Reduce { stores, epilogue, .. } => {
                kept.extend(stores.iter().map(|s| s.operand));
                loads(epilogue, &mut kept);
            }
            Nest::Rows { stores, epilogue, row_stores, .. } => {
                body.extend(stores.iter().map(|s| s.operand));
                kept.extend(row_stores.iter().map(|s| s.operand));
                loads(epilogue, &mut kept);
                uses.iter_mut().for_each(|u| u.later = true);
            }
            Nest::Scan { store, .. } => kept.push(*store),
            Nest::Scatter { target, .. } => {
                let target = &mut uses[*target as usize];
                (target.computed, target.written) = (true, true);
            }
        }
        kept.iter().for_each(|&o| uses[o as usize].kept = true);
        body.iter().for_each(|&o| uses[o as usize].body = true);
        for o in kept.into_iter().chain(body) {
            uses[o as usize].written = kernel.operands[o as usize].role != Role::In;
        }
        uses
    }
}
