//! What is noted of a kernel while it is written first, and the [`Pass`] of a recipe that comes of it.

use super::{Array, Pass};
use crate::fuse::same_points;
use crate::lower::body::{Body, Part};
use crate::lower::finish::{Axes, Ending, Launch};
use crate::lower::numbers::{Lie, Numbers, Source, Visit};
use crate::lower::places::Held;
use lazuli_ir::{Arithmetic, Extents, Graph, Ix, Number, Operation, Prim, Relation, Var, small};
use lazuli_kernel::{Binding, DType, Kernel, Layout, Role};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// How an operand is walked: a part of an array's elements in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::lower) struct Walk {
    of: Held,
    part: Part,
    by: Steps,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Steps {
    /// Along these axes of the array and of the loop by these factors, from these positions.
    Strides { terms: SmallVec<[(u32, u32, Source); 4]>, from: SmallVec<[(u32, Source); 1]> },
    /// Anywhere, at computed positions.
    Anywhere,
}

impl Walk {
    /// The walk of an affine index.
    pub fn new(of: Held, at: &[Ix], part: Part) -> Walk {
        let (mut terms, mut from) = (SmallVec::new(), SmallVec::new());
        for (i, ix) in at.iter().enumerate() {
            let Ix::Affine { constant, terms: of_axis } = ix else {
                unreachable!("the caller asked for an affine access")
            };
            if !(constant.is_fixed() && *constant == Number::ZERO) {
                from.push((i as u32, Source::from(*constant)));
            }
            terms.extend(of_axis.iter().map(|term| (i as u32, term.axis, Source::from(term.factor))));
        }
        Walk { of, part, by: Steps::Strides { terms, from } }
    }

    pub fn anywhere(of: Held, part: Part) -> Walk {
        Walk { of, part, by: Steps::Anywhere }
    }
}

/// How an array lies in memory.
pub(in crate::lower) struct Lies {
    pub offset: Number,
    /// How far the first element lies behind the lowest.
    pub first: Number,
    /// From the lowest element to the highest.
    reach: Number,
    pub strides: Extents,
}

/// An operand over the loop axes of a body.
struct Walked {
    offset: Number,
    strides: Extents,
    len: Number,
}

impl Walked {
    /// Its numbers, and those of another one.
    fn pairs<'a>(&'a self, other: &'a Walked) -> impl Iterator<Item = (Number, Number)> + 'a {
        let strides = self.strides.iter().copied().zip(other.strides.iter().copied());
        [(self.offset, other.offset), (self.len, other.len)].into_iter().chain(strides)
    }
}

/// What is noted of a body while it is written.
#[derive(Debug, Default)]
pub(in crate::lower) struct Notes {
    pub numbers: Numbers,
    operands: Vec<Option<SmallVec<[Walk; 1]>>>,
    params: SmallVec<[(u32, DType, Source); 4]>,
    /// Extents of the loop axes.
    pub loops: SmallVec<[Number; 4]>,
    /// Variables that are read and lie row by row.
    rows: SmallVec<[Var; 4]>,
    /// Views that are computed, as they do not lie in memory.
    computed: SmallVec<[Var; 2]>,
    /// Whether one parameter stands for two numbers.
    is_mixed: bool,
}

impl Notes {
    /// An operand is a variable that is walked like this. There may be several such walks, if they lead to the same elements.
    pub fn operand(&mut self, operand: u32, is_new: bool, walk: Walk) {
        let operand = operand as usize;
        self.operands.resize(self.operands.len().max(operand + 1), None);
        match &mut self.operands[operand] {
            walks if is_new => *walks = Some(smallvec![walk]),
            Some(walks) if !walks.contains(&walk) => walks.push(walk),
            _ => {}
        }
    }

    /// The result of an equation is computed here.
    pub fn computed(&mut self, graph: &Graph, equation: u32) {
        let e = &graph.equations[equation as usize];
        let may_lie = match &e.prim {
            Prim::Reshape(_) | Prim::Flatten(_) | Prim::Unflatten(_) => {
                !same_points(&graph.aval_of(&e.inputs[0]).shape, graph.shape_of(e.outputs[0]))
            }
            _ => false,
        };
        if may_lie && !self.computed.contains(&e.outputs[0]) {
            self.computed.push(e.outputs[0]);
        }
    }

    /// A parameter that is a number, or one more that it is.
    pub fn param(&mut self, param: u32, is_new: bool, dtype: DType, number: Number) {
        let source = Source::from(number);
        match is_new {
            true if number.is_fixed() => {}
            true => self.params.push((param, dtype, source)),
            false => {
                let known = self.params.iter().find(|(known, ..)| *known == param);
                self.is_mixed |= known.map_or(!number.is_fixed(), |(_, _, known)| *known != source);
            }
        }
    }

    /// An array that is read, or written, lies like this.
    pub fn lies(&mut self, of: Held, layout: &Layout, role: Role) -> Lies {
        let (numbers, v) = (&mut self.numbers, of.var());
        let read = if let Held::Var(v) = of { Some(v).filter(|_| role == Role::In) } else { None };
        if read.is_some() && !is_row(layout) {
            return Lies {
                offset: numbers.lie(v, Lie::Offset, layout),
                first: numbers.lie(v, Lie::First, layout),
                reach: numbers.lie(v, Lie::Reach, layout),
                strides: small((0..layout.rank()).map(|axis| numbers.lie(v, Lie::Stride(axis as u32), layout))),
            };
        }
        if let Some(v) = read.filter(|v| !self.rows.contains(v)) {
            self.rows.push(v);
        }
        let extents: Extents = small(layout.shape.iter().enumerate().map(|(axis, n)| numbers.extent(v, axis, *n)));
        let strides = numbers.row_strides(&extents);
        let reach = extents.iter().rev().fold(Number::ONE, |size, n| numbers.compute(Operation::Product, size, *n));
        Lies { offset: Number::ZERO, first: Number::ZERO, reach, strides }
    }

    /// The operand that is an array, which lies like this, walked in this way.
    fn walked(&mut self, walk: &Walk, layout: &Layout, role: Role) -> Walked {
        let lies = self.lies(walk.of, layout, role);
        let (parts, number) = (Number::fixed(walk.part.of), Number::fixed(walk.part.number));
        let loops = self.loops.len();
        let numbers = &mut self.numbers;
        let mut strides = Extents::from_elem(Number::ZERO, loops);
        let Steps::Strides { terms, from } = &walk.by else {
            let low = numbers.add(lies.offset, lies.first, Number::fixed(-1));
            let len = numbers.add(Number::fixed(-walk.part.number), lies.reach, parts);
            return Walked { offset: numbers.add(number, low, parts), strides, len };
        };
        let steps: Extents = small(lies.strides.iter().map(|stride| numbers.add(Number::ZERO, *stride, parts)));
        let mut offset = numbers.add(number, lies.offset, parts);
        for (axis, constant) in from {
            let constant = numbers.number(*constant);
            offset = numbers.add(offset, steps[*axis as usize], constant);
        }
        for (axis, along, factor) in terms {
            let factor = numbers.number(*factor);
            let stride = &mut strides[*along as usize];
            *stride = numbers.add(*stride, steps[*axis as usize], factor);
        }
        Walked { offset, strides, len: Number::ZERO }
    }
}

/// A pass in the making: what was noted of its body, and what that ended in.
struct Draft<'a> {
    notes: Notes,
    of: SmallVec<[Held; 8]>,
    all: SmallVec<[Walked; 8]>,
    kernel: &'a Arc<Kernel>,
    binding: &'a Binding,
    ending: &'a Ending,
}

impl<'a> Draft<'a> {
    /// `lies` says how arrays lie that are read or written.
    fn new(
        body: &mut Body,
        launch: &'a Launch,
        ending: &'a Ending,
        lies: &mut dyn FnMut(Held, Role) -> Option<Layout>,
    ) -> Option<Draft<'a>> {
        let mut notes = std::mem::take(body.notes.as_mut()?);
        if notes.is_mixed {
            return None;
        }
        let (kernel, binding) = (&launch.kernel, &launch.bindings[0]);
        let mut of: SmallVec<[Held; 8]> = SmallVec::new();
        let mut all: SmallVec<[Walked; 8]> = SmallVec::new();
        for i in (0..body.args.len()).filter(|i| ending.live.operands[*i].is_some()) {
            let role = kernel.operands[all.len()].role;
            let walks = notes.operands.get_mut(i)?.take()?;
            let mut walked = |walk: &Walk, notes: &mut Notes| Some(notes.walked(walk, &lies(walk.of, role)?, role));
            let first = walked(walks.first()?, &mut notes)?;
            of.push(walks[0].of);
            // Other walks have to lead to the same elements.
            for walk in &walks[1..] {
                let other = walked(walk, &mut notes)?;
                first.pairs(&other).for_each(|(a, b)| notes.numbers.decided(Relation::Equal, a, b));
            }
            all.push(first);
        }
        // Operands of one buffer are not to become one.
        for (i, k) in (0..all.len()).flat_map(|i| (0..i).map(move |k| (i, k))) {
            let [a, b] = [i, k].map(|n| &kernel.operands[n]);
            if a.dtype == b.dtype && a.role == b.role && binding.args[i].slot == binding.args[k].slot {
                notes.numbers.differ(all[i].pairs(&all[k]))?;
            }
        }
        Some(Draft { notes, of, all, kernel, binding, ending })
    }

    /// What decides whether these axes of the loop, neighbours in the kernel, are walked as one: pairs of numbers, all of which are equal if so.
    fn as_one(&mut self, outer: u32, inner: u32) -> SmallVec<[(Number, Number); 8]> {
        let Notes { numbers, loops, .. } = &mut self.notes;
        let mut strides = |w: &Walked| {
            let [outer_stride, stride] = [outer, inner].map(|axis| w.strides[axis as usize]);
            (outer_stride, numbers.compute(Operation::Product, stride, loops[inner as usize]))
        };
        small(self.all.iter().map(&mut strides))
    }

    /// Notes that the axes of what is written are in the order of its strides, as far as these neighbours go.
    fn decide_order(&mut self, outer: u32, inner: u32) {
        let (Some(output), numbers) = (self.all.last(), &mut self.notes.numbers) else { return };
        let [a, b] = [inner, outer].map(|axis| {
            let stride = output.strides[axis as usize];
            numbers.decided(Relation::Less, stride, Number::ZERO);
            match stride.value < 0 {
                true => numbers.compute(Operation::Product, stride, Number::fixed(-1)),
                false => stride,
            }
        });
        let (a, b) = if inner < outer { (a, b) } else { (b, a) };
        numbers.decided(Relation::Less, a, b);
    }

    /// Notes what decides whether vectors are loaded, and along which axis: which strides are 0 and 1.
    fn decide_vectors(&mut self) {
        let (Ending { live, axes: Axes { groups, kept }, .. }, numbers) = (self.ending, &mut self.notes.numbers);
        let mut told = |group: usize, w: &Walked| {
            let stride = w.strides[*groups[group].last().expect("no group is empty") as usize];
            [Number::ZERO, Number::ONE].into_iter().for_each(|n| numbers.decided(Relation::Equal, stride, n));
        };
        if *kept > 0 && *kept < groups.len() {
            for (w, _) in self.all.iter().zip(live.strided()).filter(|(_, strided)| *strided) {
                told(kept - 1, w);
                told(groups.len() - 1, w);
            }
        }
        if !groups.is_empty() {
            self.all.iter().for_each(|w| told(self.kernel.vector_axis as usize, w));
        }
    }

    fn finish(self) -> Pass {
        let Draft { notes, of, all, kernel, binding, ending: Ending { live, axes, .. } } = self;
        let Notes { mut numbers, params, loops, rows, computed, .. } = notes;
        let array = |(of, w): (&Held, &Walked)| Array {
            of: *of,
            offset: w.offset.into(),
            strides: small(axes.steps(&w.strides).map(Source::from)),
            len: w.len.into(),
        };
        let mut arrays: SmallVec<[Array; 4]> = small(of.iter().zip(&all).map(array));
        let mut extents: SmallVec<[Source; 4]> = small(axes.groups.iter().map(|group| {
            let mut extents = group.iter().map(|axis| loops[*axis as usize]);
            let first = extents.next().expect("no group is empty");
            extents.fold(first, |size, n| numbers.compute(Operation::Product, size, n)).into()
        }));
        numbers.end();
        let used = |&(param, dtype, source): &(u32, DType, Source)| Some((live.params[param as usize]?, dtype, source));
        let mut by_number: SmallVec<[_; 2]> = params.iter().filter_map(used).collect();
        numbers.keep(&mut |f: &mut Visit| {
            arrays.iter_mut().for_each(|array| array.sources(f));
            extents.iter_mut().for_each(&mut *f);
            by_number.iter_mut().for_each(|(_, _, source)| f(source));
        });
        let (kernel, params) = (kernel.clone(), binding.params.clone());
        Pass { kernel, rows, computed, numbers, extents, arrays, params, by_number }
    }
}

/// Notes what decided over the axes of kernels that have them in common. None if that can't be said by numbers.
fn decide_axes(drafts: &mut [Draft]) -> Option<()> {
    let &Ending { ref counted, kept, ordered, keep_last, ref axes, .. } = drafts[0].ending;
    let rank = axes.groups.iter().map(|group| group.len()).sum::<usize>();
    let mut last = None;
    let places = axes.groups.iter().flat_map(|group| group.iter().enumerate());
    for (i, (in_group, &axis)) in places.enumerate() {
        let Some(outer) = last.replace(axis) else { continue };
        if !ordered && i < kept {
            drafts.iter_mut().for_each(|draft| draft.decide_order(outer, axis));
        }
        let is_apart = i == kept || keep_last && i + 1 == rank;
        if is_apart || counted.contains(&axis) || counted.contains(&outer) {
            continue;
        }
        if in_group == 0 {
            let differs = |draft: &mut Draft| {
                let pairs = draft.as_one(outer, axis);
                draft.notes.numbers.differ(pairs)
            };
            drafts.iter_mut().find_map(differs)?;
            continue;
        }
        for draft in &mut *drafts {
            let pairs = draft.as_one(outer, axis);
            pairs.into_iter().for_each(|(a, b)| draft.notes.numbers.decided(Relation::Equal, a, b));
        }
    }
    drafts.iter_mut().for_each(Draft::decide_vectors);
    Some(())
}

impl Pass {
    /// Of bodies that ended in these launches, of which the loop axes are the same ones. `lies` says how arrays lie that are read or written.
    pub(in crate::lower) fn noted<const N: usize>(
        ended: [(&mut Body, &Launch, &Ending); N],
        lies: &mut dyn FnMut(Held, Role) -> Option<Layout>,
    ) -> Option<Vec<Pass>> {
        let mut drafts: Vec<Draft> = Vec::with_capacity(N);
        for (body, launch, ending) in ended {
            drafts.push(Draft::new(body, launch, ending, lies)?);
        }
        decide_axes(&mut drafts)?;
        Some(drafts.into_iter().map(Draft::finish).collect())
    }
}

/// Whether an array lies as one that is written: row by row, from the start of its buffer on.
pub(crate) fn is_row(layout: &Layout) -> bool {
    let mut step = 1;
    let mut is_next = |(&n, &stride): (&usize, &isize)| {
        let is_next = stride == step;
        step *= n.max(1) as isize;
        is_next
    };
    layout.offset == 0 && layout.shape.iter().zip(&layout.strides).rev().all(&mut is_next)
}
