//! Where variables lie, as formulas: [`Places`](crate::lower::places::Places) for any extents of a pattern.

use super::{Class, Linked};
use crate::lower::again;
use crate::lower::numbers::{Lie, Source};
use crate::lower::places::{CHAIN, Held};
use lazuli_ir::number::Values;
use lazuli_ir::{Arithmetic, Atom, Equation, Extents, Number, Operation, Prim, Shape, Strided, Var, small};
use lazuli_kernel::Layout;
use smallvec::SmallVec;

impl<'a> Linked<'a> {
    /// The shape of a variable.
    pub(super) fn shape(&self, v: Var) -> Option<u32> {
        self.numbers_of.get(self.of.ids.get(v.0 as usize)?).copied()
    }
    fn class(&mut self, class: u32) -> Number {
        match self.pattern.numbers()[class as usize] as isize {
            few @ (0 | 1) => Number::fixed(few),
            n => self.numbers.leaf(Class(class), n),
        }
    }
    pub(super) fn extents(&mut self, v: Var) -> Option<Extents> {
        let classes: SmallVec<[u32; 4]> = SmallVec::from_slice(self.pattern.classes(self.shape(v)? as usize).0);
        Some(small(classes.iter().map(|&class| self.class(class))))
    }
    fn size(&mut self, v: Var) -> Option<Number> {
        let (_, class) = self.pattern.classes(self.shape(v)? as usize);
        Some(self.class(class))
    }
    pub(super) fn nbytes(&mut self, of: Held) -> Option<Number> {
        let (size, itemsize) = (self.size(of.var())?, of.dtype(self.of.graph).itemsize());
        Some(self.numbers.compute(Operation::Product, size, Number::fixed(itemsize as isize)))
    }

    /// A variable that lies row by row.
    pub(super) fn row(&mut self, v: Var) -> Option<Strided> {
        let extents = self.extents(v)?;
        Some(Strided::row(&mut self.numbers, extents))
    }
    /// Whether something lies row by row from the start of its buffer on: a decision.
    pub(super) fn is_row(&mut self, place: &Strided) -> bool {
        let row = Strided::row(&mut self.numbers, place.extents.clone());
        let mut pairs = place.strides.iter().zip(&row.strides).chain([(&place.offset, &row.offset)]);
        pairs.all(|(a, b)| self.numbers.equal(*a, *b))
    }
    /// Whether it does so for all extents.
    fn is_always_row(&mut self, place: &Strided) -> bool {
        let row = Strided::row(&mut self.numbers, place.extents.clone());
        let mut pairs = place.strides.iter().zip(&row.strides).chain([(&place.offset, &row.offset)]);
        pairs.all(|(a, b)| Source::from(*a) == Source::from(*b))
    }

    /// Where an atom lies.
    pub(super) fn atom(&mut self, atom: Atom) -> Option<Strided> {
        match atom {
            Atom::Var(v) => self.place(v),
            // A number that a program states, in memory.
            Atom::Lit(_) => Some(Strided::fixed(&Layout::row(Shape::new()))),
        }
    }
    /// Where a variable lies.
    pub(super) fn place(&mut self, v: Var) -> Option<Strided> {
        let mut chain: SmallVec<[(Var, &'a Equation); CHAIN]> = SmallVec::new();
        let mut source = v;
        let mut place = loop {
            if let Some(place) = self.of.places.get(&source) {
                break place.clone();
            }
            let view = self.of.graph.equations.get(self.of.recipes.producers[source.0 as usize] as usize)?;
            let of = view.inputs.first().filter(|_| view.prim.is_view() && chain.len() < CHAIN);
            match of {
                Some(Atom::Var(input)) => {
                    chain.push((source, view));
                    source = *input;
                }
                // Nothing writes what is empty.
                _ if self.of.graph.avals[source.0 as usize].size() == 0 => break self.row(source)?,
                _ => return None,
            }
        };
        for (view, equation) in chain.into_iter().rev() {
            place = self.view(&place, view, equation)?;
            self.of.places.insert(view, place.clone());
        }
        Some(place)
    }
    /// What lies in a place, seen through an equation as this variable; None if strides can't say it.
    fn view(&mut self, of: &Strided, v: Var, equation: &Equation) -> Option<Strided> {
        let output = self.extents(v)?;
        let shapes: Option<SmallVec<[Extents; 2]>> = equation.shapes.iter().map(|&v| self.extents(v)).collect();
        let (prim, shapes) = (&equation.prim, shapes?);
        // Row by row is row by row, however axes are grouped.
        if matches!(prim, Prim::Reshape(_) | Prim::Flatten(_) | Prim::Unflatten(_)) && self.is_always_row(of) {
            let now = prim.strided(&mut Values, of, &output, &shapes)?;
            if again::is_row(&now.layout()) {
                return self.row(v);
            }
        }
        prim.strided(&mut self.numbers, of, &output, &shapes)
    }

    /// How many bytes of its buffer a variable that lies there needs.
    pub(super) fn reach(&mut self, v: Var, place: &Strided) -> Option<Number> {
        if self.is_always_row(place) {
            return self.nbytes(Held::Var(v));
        }
        let itemsize = self.of.graph.avals[v.0 as usize].dtype.itemsize() as isize;
        let cx = &mut self.numbers;
        let Some((_, last)) = place.span(cx) else { return Some(Number::ZERO) };
        let elements = cx.sum(last, Number::ONE);
        Some(cx.product(elements, Number::fixed(itemsize)))
    }

    /// A number of how a variable lies.
    pub(super) fn lie(&mut self, v: Var, lie: Lie) -> Option<Number> {
        let place = self.place(v)?;
        match lie {
            Lie::Stride(axis) => return Some(place.strides[axis as usize]),
            Lie::Offset => return Some(place.offset),
            Lie::Reach if self.is_always_row(&place) => return self.size(v),
            Lie::First | Lie::Reach => {}
        }
        let cx = &mut self.numbers;
        let Some((low, high)) = place.span(cx) else { return Some(Number::ZERO) };
        let below = cx.negative(low);
        Some(match lie {
            Lie::First => cx.sum(place.offset, below),
            _ => {
                let last = cx.sum(high, below);
                cx.sum(last, Number::ONE)
            }
        })
    }
}
