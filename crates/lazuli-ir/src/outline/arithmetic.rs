//! The numbers of an outline: extents, and what follows from them.

use super::Numbers;
use crate::extents::{Place, Relations};
use crate::number::{Number, Operation, Relation};
use lazuli_kernel::hash::Map;

/// How a number follows from two others.
#[derive(Debug)]
struct Step {
    operation: Operation,
    a: u32,
    b: u32,
    to: u32,
}

/// What must come out for two numbers as it did.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Decision {
    relation: Relation,
    a: u32,
    b: u32,
    holds: bool,
}

/// Numbers that follow from those of arguments.
#[derive(Debug, Default)]
pub(super) struct Arithmetic {
    /// Of each number its value for the arguments that the outline was made for; that of one that follows from no argument for all.
    pub own: Vec<isize>,
    steps: Vec<Step>,
    decisions: Vec<Decision>,
}

impl Arithmetic {
    /// Finds the numbers that follow from those of arguments. Whether all decisions come out as they did.
    pub fn complete(&self, now: &mut [isize]) -> bool {
        for Step { operation, a, b, to } in &self.steps {
            now[*to as usize] = operation.apply(now[*a as usize], now[*b as usize]);
        }
        let holds = |d: &Decision| d.relation.holds(now[d.a as usize], now[d.b as usize]) == d.holds;
        self.decisions.iter().all(holds)
    }
    /// Marks what follows from numbers that are marked.
    pub fn spread(&self, marked: &mut [bool]) {
        for Step { a, b, to, .. } in &self.steps {
            marked[*to as usize] |= marked[*a as usize] || marked[*b as usize];
        }
    }
}

/// Notes arithmetic, equation by equation.
#[derive(Debug)]
pub(super) struct Notes {
    pub arithmetic: Arithmetic,
    /// Of each number whether it follows from no argument.
    is_fixed: Vec<bool>,
    fixed: Map<isize, u32>,
    computed: Map<(Operation, u32, u32), u32>,
    /// Of each class of extents the number that they are, once something says it.
    numbers: Vec<Option<u32>>,
}

impl Notes {
    /// For so many classes of extents.
    pub fn new(classes: usize) -> Self {
        let (is_fixed, numbers) = (Vec::new(), vec![None; classes]);
        Notes { arithmetic: Arithmetic::default(), is_fixed, fixed: Map::default(), computed: Map::default(), numbers }
    }
    /// The number of a class of extents.
    pub fn of(&self, class: u32) -> Option<u32> {
        self.numbers[class as usize]
    }
    /// Extents that are the same for all arguments.
    pub fn fix(&mut self, class: u32, value: usize) {
        self.numbers[class as usize] = Some(self.numbered(Number::fixed(value as isize)));
    }
    /// Extents of an argument, which had this value: their number, and whether nothing said before what it is.
    pub fn argument(&mut self, class: u32, value: usize) -> (u32, bool) {
        match self.of(class) {
            Some(number) => (number, false),
            None => {
                let number = self.add(value as isize, false);
                self.numbers[class as usize] = Some(number);
                (number, true)
            }
        }
    }
    /// Whether numbers follow from no argument.
    pub fn is_fixed(&self, number: u32) -> bool {
        self.is_fixed[number as usize]
    }

    fn add(&mut self, value: isize, is_fixed: bool) -> u32 {
        self.arithmetic.own.push(value);
        self.is_fixed.push(is_fixed);
        self.is_fixed.len() as u32 - 1
    }
    fn numbered(&mut self, n: Number) -> u32 {
        if !n.is_fixed() {
            return n.origin - 1;
        }
        if let Some(&number) = self.fixed.get(&n.value) {
            return number;
        }
        let number = self.add(n.value, true);
        self.fixed.insert(n.value, number);
        number
    }
    fn number(&self, number: u32) -> Number {
        let value = self.arithmetic.own[number as usize];
        if self.is_fixed(number) { Number::fixed(value) } else { Number { value, origin: number + 1 } }
    }
    fn compute(&mut self, operation: Operation, a: Number, b: Number) -> Number {
        if let Some(number) = operation.at_once(a, b) {
            return number;
        }
        let value = operation.apply(a.value, b.value);
        let (a, b) = (self.numbered(a), self.numbered(b));
        if let Some(&known) = self.computed.get(&(operation, a, b)) {
            return self.number(known);
        }
        let to = self.add(value, false);
        self.computed.insert((operation, a, b), to);
        self.arithmetic.steps.push(Step { operation, a, b, to });
        self.number(to)
    }
    fn decide(&mut self, relation: Relation, a: Number, b: Number) {
        let holds = relation.holds(a.value, b.value);
        let decision = Decision { relation, a: self.numbered(a), b: self.numbered(b), holds };
        let is_known = decision.a == decision.b || a.is_fixed() && b.is_fixed();
        if !is_known && !self.arithmetic.decisions.contains(&decision) {
            self.arithmetic.decisions.push(decision);
        }
    }
}

/// An equation, as the classes of its extents.
pub(super) struct Related<'a> {
    pub notes: &'a mut Notes,
    pub inputs: &'a [&'a Numbers],
    pub shapes: &'a [&'a Numbers],
    pub output: Option<&'a Numbers>,
}

impl Related<'_> {
    fn class(&self, place: Place) -> u32 {
        match place {
            Place::Input(k, axis) => self.inputs[k][axis],
            Place::Shape(k, axis) => self.shapes[k][axis],
            Place::Output(axis) => self.output.expect("an equation whose output is spoken of has one")[axis],
        }
    }
}

impl Relations for Related<'_> {
    fn extent(&mut self, place: Place) -> Number {
        let number = self.notes.of(self.class(place));
        self.notes.number(number.expect("operands come before what follows from them"))
    }
    fn compute(&mut self, operation: Operation, a: Number, b: Number) -> Number {
        self.notes.compute(operation, a, b)
    }
    fn is(&mut self, place: Place, number: Number) {
        let class = self.class(place);
        match self.notes.of(class) {
            Some(known) => self.notes.decide(Relation::Equal, self.notes.number(known), number),
            None => self.notes.numbers[class as usize] = Some(self.notes.numbered(number)),
        }
    }
    fn equal(&mut self, a: Number, b: Number) {
        self.notes.decide(Relation::Equal, a, b);
    }
    fn at_most(&mut self, a: Number, b: Number) {
        self.notes.decide(Relation::Less, b, a);
    }
}
