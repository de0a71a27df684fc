//! Proofs about the steps of a plan: bounds, conflicts, donations.

mod epilogue;

use super::access::{Accesses, Axes, Donated, Fault, IndexMap, Place, Space, is_far};
use super::kept::{Beside, Was, keeps_whole};
use super::uses::{At, Use, Uses};
use crate::backend::Buffer;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ir::{Inner, Kernel};
use crate::plan::{Arg, Binding, Branch, LibraryCall, Plan, Slot, Step};
use crate::shape;
use smallvec::SmallVec;
use std::ops::Deref;
use std::sync::Arc;

impl Plan {
    /// Checks the kernels of the plan, and proves that its steps stay within their slots and do not get in their own way.
    pub fn verify(&self) -> Result<()> {
        self.prove(None, &uses_of).map(drop)
    }

    /// Proves it, all but what a plan that was verified has in common with it. The slots that its donations speak of.
    pub(super) fn prove(&self, like: Option<&Verified>, uses: &UsesOf) -> Result<Arc<Donated>> {
        if let Some(like) = like.filter(|like| self.donates_as(like))
            && self.prove_steps(Some(&like.plan), &mut Accesses::new(&like.donated), uses)?
        {
            return Ok(like.donated.clone());
        }
        let donated = Arc::new(Donated::of(self.inputs.len(), self.outputs.len(), &self.donations));
        let mut accesses = Accesses::new(&donated);
        self.prove_steps(None, &mut accesses, uses)?;
        self.verify_donations(&accesses)?;
        Ok(donated)
    }

    /// Proves what steps touch, all but what another plan touches too. False if that is not enough, as what may be donated depends on all of it.
    fn prove_steps<'a>(&'a self, like: Option<&'a Plan>, accesses: &mut Accesses<'a>, uses: &UsesOf) -> Result<bool> {
        for (i, step) in self.steps.iter().enumerate() {
            let was = like.and_then(|like| Some((like, like.steps.get(i)?)));
            accesses.begin_step(i);
            let mut proof = self.step_accesses(step, was, uses, accesses);
            if accesses.mixes() {
                accesses.begin_step_again();
                proof = self.step_accesses(step, None, uses, accesses);
            }
            if let Err(e) = proof.and_then(|()| check_conflicts(accesses)) {
                return Err(Error::internal("verify", format!("step {i} of a plan: {}\n{step}", e.message())));
            }
            if like.is_some() && accesses.has_donated() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether it may donate just what another plan may, of the same sizes.
    fn donates_as(&self, Verified { plan: like, donated }: &Verified) -> bool {
        let changes = |sizes: [&[usize]; 2], is_donated: &dyn Fn(usize) -> bool| {
            let [now, was] = sizes;
            now.len() != was.len() || (0..now.len()).any(|n| now[n] != was[n] && is_donated(n))
        };
        (Arc::ptr_eq(&self.donations, &like.donations) || self.donations == like.donations)
            && !changes([&self.inputs, &like.inputs], &|n| donated.has_input(n))
            && !changes([&self.outputs, &like.outputs], &|n| donated.has_output(n))
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

    /// Where a slot lies; `None` if it is none, or the caller's while it is to be written.
    #[inline]
    fn locate(&self, slot: Slot, writes: bool) -> Option<Place> {
        // No memory has more.
        let byte = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        match slot {
            Slot::Input(n) if !writes => Some((Space::Input(n), 0, byte(*self.inputs.get(n as usize)?))),
            Slot::Output(n) => Some((Space::Output(n), 0, byte(*self.outputs.get(n as usize)?))),
            Slot::Temp { offset, nbytes } if offset % 64 == 0 => {
                let end = offset.checked_add(nbytes).filter(|&end| end <= self.arena)?;
                Some((Space::Arena, byte(offset), byte(end)))
            }
            _ => None,
        }
    }

    /// Where a slot lies that may be written, if it is to be.
    #[inline]
    fn place(&self, slot: Slot, writes: bool) -> Result<Place> {
        match self.locate(slot, writes) {
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
                format!("{slot} is not aligned to 64 bytes, or beyond the arena of {}", self.arena)
            }
        };
        Error::internal("verify", message)
    }

    /// Adds all that a step touches, each proved to be within its slot.
    fn step_accesses<'a>(
        &self,
        step: &'a Step,
        was: Was<'a, Step>,
        uses: &UsesOf,
        out: &mut Accesses<'a>,
    ) -> Result<()> {
        match step {
            Step::Launch { kernel, bindings } => {
                let uses = uses(kernel)?;
                let was = match was {
                    Some((plan, Step::Launch { kernel: of, bindings })) if of == kernel => Some((plan, bindings)),
                    _ => None,
                };
                for (number, binding) in bindings.iter().enumerate() {
                    out.begin_binding(number);
                    let was = was.and_then(|(plan, bindings)| Some((plan, bindings.get(number)?)));
                    self.binding_accesses(kernel, &uses, binding, was, false, out)?;
                }
            }
            Step::Product { call, kernel, binding } => {
                let was = match was {
                    Some((plan, Step::Product { call, kernel: of, binding })) if of == kernel => {
                        Some((plan, (&**call, &**binding)))
                    }
                    _ => None,
                };
                self.product_accesses(call, kernel, &*uses(kernel)?, binding, was, out)?;
            }
            Step::Scatter(scatter) => {
                let [target, updates, epilogue] = scatter.passes().map(|pass| uses(&pass.kernel));
                let was = match was {
                    Some((plan, Step::Scatter(was))) => Some((plan, &**was)),
                    _ => None,
                };
                self.scatter_accesses(scatter, [&*target?, &*updates?, &*epilogue?], was, out)?;
            }
            Step::Call(call) => {
                let was = match was {
                    Some((plan, Step::Call(was))) => Some((plan, &**was)),
                    _ => None,
                };
                self.call_accesses(call, was, out)?;
            }
            Step::Copy { from, to, nbytes } => {
                self.row(*from, 0, DType::U8, *nbytes, false, out)?;
                self.row(*to, 0, DType::U8, *nbytes, true, out)?;
            }
            Step::Branch(branch) => {
                branch.plans.iter().try_for_each(|plan| plan.prove(None, uses).map(drop))?;
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
        was: Was<'a, Binding>,
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
        if let Some((i, arg)) = args.iter().enumerate().find(|(_, arg)| arg.strides.len() != rank) {
            return wrong(format!("argument {i} has {} strides for {rank} axes", arg.strides.len()));
        }
        let all = Axes::of(extents);
        let reduced = kernel.reduced() as usize;
        let kept = if reduced == 0 { all } else { Axes::of(&extents[..rank - reduced]) };
        let vector = kernel.vector_axis as usize;
        let is_vector = extents.get(vector).is_some_and(|&n| n > 1);
        let beside = Beside::new(self, kernel, binding, was);
        for Use { operand: i, itemsize, inner, at, writes } in uses.iter() {
            let arg = &args[i as usize];
            if hands_on && arg.slot == Slot::Result {
                continue;
            }
            if let Some(beside) = &beside
                && beside.keeps(i as usize, at, writes)
            {
                out.keep(arg.slot);
                continue;
            }
            if at == At::Computed {
                self.computed(arg, kernel.operands[i as usize].dtype, writes, out)?;
                continue;
            }
            let strides = &arg.strides[..];
            let fits = !is_vector
                || match inner {
                    Inner::Strided => true,
                    Inner::Unit => strides[vector] == 1,
                    Inner::Broadcast => strides[vector] == 0,
                };
            if !fits {
                return wrong(format!("argument {i} is not {inner} along the vector axis"));
            }
            let axes = if at == At::All { &all } else { &kept };
            let (strides, others) = strides.split_at(axes.rank());
            let moves = |(&n, &s): (&usize, &isize)| n > 1 && s != 0;
            if extents[axes.rank()..].iter().zip(others).any(moves) {
                return wrong(format!("argument {i} moves along a reduced axis"));
            }
            let place = self.place(arg.slot, writes)?;
            if axes.is_empty() {
                continue;
            }
            let map = IndexMap { axes: *axes, strides, itemsize: i64::from(itemsize), pointwise: at != At::Later };
            if let Err(fault) = out.add(&map, &place, arg.offset, writes) {
                return Err(describe(fault, arg, kernel.operands[i as usize].dtype, axes, place));
            }
        }
        Ok(())
    }

    fn branch_accesses<'a>(&self, branch: &'a Branch, out: &mut Accesses<'a>) -> Result<()> {
        let Branch { predicate, plans, inputs, outputs } = branch;
        let wrong = |message: String| Err(Error::internal("verify", message));
        self.strided(predicate, DType::Bool, &Axes::of(&[]), false, None, out)?;
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

    fn call_accesses<'a>(
        &self,
        call: &'a LibraryCall,
        was: Was<'a, LibraryCall>,
        out: &mut Accesses<'a>,
    ) -> Result<()> {
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
                let (was, of_c) = match was {
                    Some((plan, LibraryCall::Matmul { dtype: of, batch, m, n, k, a, b, c })) if of == dtype => (
                        Some((plan, Factors { batch, sizes: [*m, *n, *k], args: [a, b] })),
                        Some((plan, c, Axes::then_matrix(batch, [*m, *n]))),
                    ),
                    _ => (None, None),
                };
                self.strided(c, *dtype, &Axes::then_matrix(batch, [*m, *n]), true, of_c, out)?;
                self.factors(*dtype, &Factors { batch, sizes: [*m, *n, *k], args: [a, b] }, was, out)
            }
            LibraryCall::Sort { dtype, rows, n, indices, input, output } => {
                if *indices && u32::try_from(*n).is_err() {
                    return wrong("positions in a row do not fit in uint32");
                }
                let to = if *indices { DType::U32 } else { *dtype };
                let axes = Axes::then_row(rows, *n);
                self.strided(input, *dtype, &axes, false, None, out)?;
                self.strided(output, to, &axes, true, None, out)
            }
        }
    }

    /// Adds what a product reads.
    fn factors<'a>(
        &self,
        dtype: DType,
        factors: &Factors<'a>,
        was: Option<(&'a Plan, Factors<'a>)>,
        out: &mut Accesses<'a>,
    ) -> Result<()> {
        let was = was.as_ref();
        for n in 0..2 {
            let was = was.map(|(plan, was)| (*plan, was.args[n], was.axes(n)));
            self.strided(factors.args[n], dtype, &factors.axes(n), false, was, out)?;
        }
        Ok(())
    }

    /// Adds the access through `arg` at every point of some axes, in any order, within its slot; nothing if there is no point. Strides beyond those of the axes are not looked at.
    fn strided<'a>(
        &self,
        arg: &'a Arg,
        dtype: DType,
        axes: &Axes<'a>,
        writes: bool,
        was: Option<(&Plan, &Arg, Axes)>,
        out: &mut Accesses<'a>,
    ) -> Result<()> {
        if keeps_whole(self, arg, axes, writes, was) {
            out.keep(arg.slot);
            return Ok(());
        }
        let place = self.place(arg.slot, writes)?;
        let Some(strides) = arg.strides.get(..axes.rank()) else {
            let message = format!("{arg} has no stride for each of {} axes", axes.rank());
            return Err(Error::internal("verify", message));
        };
        let added = add_whole(place, arg.offset, dtype, (axes, strides), writes, out);
        added.map_err(|fault| describe(fault, arg, dtype, axes, place))
    }

    /// The same for so many elements of a slot from one on, side by side.
    fn row(&self, slot: Slot, offset: usize, dtype: DType, n: usize, writes: bool, out: &mut Accesses) -> Result<()> {
        let (place, axes) = (self.place(slot, writes)?, Axes::row(n));
        add_whole(place, offset, dtype, (&axes, &[1]), writes, out).map_err(|fault| {
            let arg = Arg { slot, offset, strides: SmallVec::from_slice(&[1]), len: 0 };
            describe(fault, &arg, dtype, &axes, place)
        })
    }

    /// Adds the access at computed positions `0..arg.len`, within its slot; nothing if there is no position.
    fn computed(&self, arg: &Arg, dtype: DType, writes: bool, out: &mut Accesses) -> Result<()> {
        let (place, axes) = (self.place(arg.slot, writes)?, Axes::row(arg.len));
        add_whole(place, arg.offset, dtype, (&axes, &[1]), writes, out).map_err(|_| {
            let (last, nbytes) = ((arg.offset as i128 + arg.len as i128) * dtype.itemsize() as i128, place.2 - place.1);
            Error::internal("verify", format!("{arg} reaches byte {last} of {nbytes}"))
        })
    }

    /// Proves that outputs may take over inputs, by what all steps touch.
    fn verify_donations(&self, accesses: &Accesses) -> Result<()> {
        for &(output, input) in &*self.donations {
            let sizes = self.outputs.get(output as usize).zip(self.inputs.get(input as usize));
            let hindrance = match sizes {
                None => Some("there is no such slot"),
                Some((to, from)) if to != from => Some("their sizes differ"),
                Some(_) => accesses.hindrance(output as usize, input as usize),
            };
            if let Some(why) = hindrance {
                let message = format!("output{output} cannot take the memory of input{input}: {why}\n{self}");
                return Err(Error::internal("verify", message));
            }
        }
        Ok(())
    }
}

/// A plan that was verified, and stays as it is.
#[derive(Debug)]
pub struct Verified {
    plan: Plan,
    donated: Arc<Donated>,
}

impl Verified {
    /// Verifies a plan for a backend that knows some kernels already: `uses` gives those of a kernel that is well-formed, by [`Kernel::verify`], or an error. What it has in common
    /// with a plan that was verified, step by step, is not proved again. The verdict is that of [`Plan::verify`].
    ///
    /// # Errors
    /// Of kind [`Internal`](crate::ErrorKind::Internal): a broken invariant, with the step at fault.
    pub fn new(plan: Plan, like: Option<&Verified>, uses: &UsesOf) -> Result<Verified> {
        let donated = plan.prove(like, uses)?;
        Ok(Verified { plan, donated })
    }
}

impl Deref for Verified {
    type Target = Plan;
    fn deref(&self) -> &Plan {
        &self.plan
    }
}

/// How a kernel touches its operands.
type UsesOf<'u> = dyn Fn(&Arc<Kernel>) -> Result<Arc<Uses>> + 'u;

/// That of a kernel that is verified for it.
pub(super) fn uses_of(kernel: &Arc<Kernel>) -> Result<Arc<Uses>> {
    kernel.verify()?;
    Ok(Arc::new(Uses::of(kernel)))
}

/// What a product of matrices reads.
struct Factors<'a> {
    batch: &'a [usize],
    /// Of the product: m, n, k.
    sizes: [usize; 3],
    args: [&'a Arg; 2],
}

impl<'a> Factors<'a> {
    /// Those of a factor.
    fn axes(&self, number: usize) -> Axes<'a> {
        let [m, n, k] = self.sizes;
        Axes::then_matrix(self.batch, [[m, k], [k, n]][number])
    }
}

/// Adds an access that is not of points, if it touches anything.
fn add_whole<'a>(
    place: Place,
    offset: usize,
    dtype: DType,
    (axes, strides): (&Axes<'a>, &'a [isize]),
    writes: bool,
    out: &mut Accesses<'a>,
) -> Result<(), Fault> {
    if axes.is_empty() {
        return Ok(());
    }
    let map = IndexMap { axes: *axes, strides, itemsize: dtype.itemsize() as i64, pointwise: false };
    out.add(&map, &place, offset, writes)
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

/// A write and any other access of one step are disjoint, or (within a binding) a read of each point's own element.
fn check_conflicts(accesses: &Accesses) -> Result<()> {
    match accesses.conflict() {
        false => Ok(()),
        true => {
            let why = "a store may hit what another point of the step reads or writes: index maps of overlapping arguments must be equal";
            Err(Error::internal("verify", why))
        }
    }
}
