//! Random programs. A step is kept if it is taken for all shapes that the program is to be called with; few programs have one that is refused for some.

use crate::program::{Body, Call, Extent, Input, Lies, Number, Program, Role, Step};
use crate::run::{DTYPES, FLOATS, INTEGERS, NONE, SCANS, SCATTERS, TAME, Values};
use lazuli_core::ops::{self, Binary, Unary};
use lazuli_core::{Array, DType};
use lazuli_kernel::testing::Rng;

/// A program, and how many elements a value of it has at most.
pub fn program(seed: u64) -> Program {
    let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9) + 1);
    let network = rng.once_in(4);
    let inputs = if network { weights(&mut rng) } else { inputs(&mut rng) };
    let calls = calls(&inputs, &mut rng, limit(seed));
    let mut maker = Maker { next: inputs.len(), alive: vec![true; calls.len()], rng, strange: seed % 8 == 7, network };
    let mut values: Vec<Values> = calls.iter().map(|call| zeros(&inputs, call, limit(seed))).collect();
    let names: Vec<usize> = inputs.iter().map(|input| input.name).collect();
    let size = 2 + maker.rng.below(9);
    let (steps, all) = maker.steps(&names, size, 0, &mut values);
    let mut program = Program { inputs, outputs: maker.outputs(&steps, &all, 5), steps, calls };
    maker.states(&mut program, &all, &values);
    program
}

/// How many elements a value of the program of this seed may have.
pub fn limit(seed: u64) -> usize {
    if seed % 16 == 15 { 1_000_000 } else { 30_000 }
}

fn inputs(rng: &mut Rng) -> Vec<Input> {
    let count = 1 + rng.below(4);
    let dtype = if rng.once_in(6) { rng.pick(&[DType::F16, DType::BF16, DType::C64, DType::I32]) } else { DType::F32 };
    // Most share their axes, from the last one on, with some that are known or missing.
    let axes: Vec<Extent> = (0..4).map(|_| extent(rng)).collect();
    let input = |name: usize| {
        let rank = rng.pick(&[0, 1, 1, 2, 2, 2, 2, 3, 3, 4]);
        let start = axes.len() - rank.min(if rng.once_in(6) { 4 } else { 3 });
        let mut shape: Vec<Extent> = axes[start..].to_vec();
        for e in &mut shape {
            if rng.once_in(4) {
                *e = extent(rng);
            }
        }
        if shape.len() > 1 && rng.once_in(4) {
            shape.rotate_left(1);
        }
        let captured = rng.once_in(5);
        if captured {
            shape.iter_mut().for_each(|e| *e = Extent::Known(rng.pick(&[1, 2, 3, 3, 5, 17])));
        }
        let dtype = match rng.below(8) {
            0 => rng.pick(&[DType::I32, DType::I32, DType::Bool, DType::U8]),
            _ => dtype,
        };
        Input { name, dtype, shape, role: if captured { Role::Captured } else { Role::Argument } }
    };
    let mut inputs: Vec<Input> = (0..count).map(input).collect();
    if inputs.iter().all(|i| i.role == Role::Captured) {
        let shape = vec![Extent::Symbol(0), Extent::Symbol(1)];
        inputs[0] = Input { name: 0, dtype, shape, role: Role::Argument };
    }
    inputs
}

/// A batch, and weights that it can be multiplied with.
fn weights(rng: &mut Rng) -> Vec<Input> {
    use Extent::{Known, Symbol};
    let hidden = if rng.once_in(2) { Known(rng.pick(&[2, 3, 8])) } else { Symbol(2) };
    let features = if rng.once_in(2) { Known(rng.pick(&[1, 3, 5])) } else { Symbol(1) };
    let batch = match rng.below(4) {
        0 => vec![Symbol(0), Symbol(1), features],
        1 => vec![Known(2), Symbol(0), features],
        _ => vec![Symbol(0), features],
    };
    let dtype = if rng.once_in(6) { rng.pick(&[DType::F16, DType::BF16]) } else { DType::F32 };
    let shapes = [batch, vec![features, hidden], vec![hidden, hidden], vec![hidden], vec![hidden, features]];
    let mut inputs = Vec::new();
    for (name, shape) in shapes.into_iter().enumerate().take(3 + rng.below(3)) {
        let is_known = shape.iter().all(|e| matches!(e, Known(_)));
        let role = if is_known && rng.once_in(2) { Role::Captured } else { Role::Argument };
        inputs.push(Input { name, dtype, shape, role });
    }
    inputs
}

fn extent(rng: &mut Rng) -> Extent {
    if rng.once_in(5) { Extent::Known(rng.pick(&[1, 2, 3, 3, 5, 17])) } else { Extent::Symbol(rng.below(3)) }
}

pub fn shape_of(input: &Input, call: &Call) -> Vec<usize> {
    let of = |e: &Extent| match *e {
        Extent::Symbol(k) => call.extents[k],
        Extent::Known(n) => n,
    };
    input.shape.iter().map(of).collect()
}

/// Six to ten calls: extents that differ a little or much from those of an earlier call, or not at all.
fn calls(inputs: &[Input], rng: &mut Rng, limit: usize) -> Vec<Call> {
    let fits = |extents: [usize; 3]| {
        let call = Call { extents, layouts: Vec::new(), carries: false, late: false };
        // What is empty is padded too, to lie in other ways.
        let size = |input: &Input| shape_of(input, &call).iter().map(|n| *n.max(&1)).product::<usize>();
        inputs.iter().all(|input| size(input) <= limit)
    };
    let scale = rng.below(3);
    let draw = |rng: &mut Rng| match rng.below(20) {
        0 => 0,
        1 | 2 => 1,
        3..=11 => rng.pick(&[2, 3, 4, 5, 7, 8]),
        12..=16 if scale > 0 => rng.pick(&[9, 16, 17, 31, 33, 64, 65, 100]),
        17..=19 if scale > 1 => rng.pick(&[127, 128, 300, 1000, 4097, 5000, 40_000]),
        _ => rng.pick(&[2, 3, 6, 17, 18]),
    };
    let mut all: Vec<[usize; 3]> = Vec::new();
    let mut calls: Vec<Call> = Vec::new();
    let late = rng.once_in(4);
    let count = 6 + rng.below(5);
    while calls.len() < count {
        let mut extents = match all.is_empty() || rng.once_in(5) {
            true => [(); 3].map(|()| draw(rng)),
            false => rng.pick(&all),
        };
        if !all.is_empty() && !rng.once_in(4) {
            for i in 0..3 {
                let other = extents[rng.below(3)];
                extents[i] = match rng.below(12) {
                    0..=4 => extents[i],
                    5 | 6 => extents[i] + 1,
                    7 => extents[i].saturating_sub(1),
                    8 => other,
                    9 => 2 * extents[i],
                    _ => draw(rng),
                };
            }
        }
        // What does not fit is made smaller.
        while !fits(extents) && extents != [0; 3] {
            let are_few = extents.iter().all(|n| *n <= 3);
            let smaller = |n: usize| match n {
                4.. => n / 2,
                _ if are_few => n.saturating_sub(1),
                few => few,
            };
            extents = extents.map(smaller);
        }
        all.push(extents);
        let layouts = (0..inputs.len()).map(|i| lies(i, rng)).collect();
        let carries = rng.once_in(2);
        calls.push(Call { extents, layouts, carries, late: late && rng.once_in(2) });
    }
    calls
}

fn lies(i: usize, rng: &mut Rng) -> Lies {
    match rng.below(12) {
        0..=5 => Lies::Row,
        6 if i > 0 => Lies::Same(rng.below(i)),
        _ => rng.pick(&Lies::ALL).0,
    }
}

/// What a call begins with, as far as shapes go.
fn zeros(inputs: &[Input], call: &Call, limit: usize) -> Values {
    let zero = |input: &Input| {
        let one = ops::ones(shape_of(input, call), input.dtype).expect("a dtype that has ones");
        (input.name, one)
    };
    Values { arrays: inputs.iter().map(zero).collect(), limit: Some(limit) }
}

/// What bodies are that transform, how often, and how many operands they have at most.
const TRANSFORMS: [(&str, usize); 9] = [
    ("grad", 3),
    ("grad", 3),
    ("grad", 2),
    ("vjp", 2),
    ("jvp", 2),
    ("vmap", 2),
    ("checkpoint", 2),
    ("custom", 2),
    ("compile", 2),
];

struct Maker {
    rng: Rng,
    /// The name of the next value.
    next: usize,
    /// Calls for which no step has been refused.
    alive: Vec<bool>,
    /// Whether operations that make numbers out of range are as likely as others, and numbers of extents are read.
    strange: bool,
    /// Whether most operations are those of neural networks.
    network: bool,
}

impl Maker {
    fn below(&mut self, n: usize) -> usize {
        self.rng.below(n)
    }
    fn flag(&mut self) -> isize {
        self.rng.below(2) as isize
    }
    fn name(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }
    /// One of these, the later ones rather.
    fn recent(&mut self, pool: &[usize]) -> usize {
        match self.rng.below(3) {
            0 => self.rng.pick(pool),
            _ => pool[pool.len() - 1 - self.rng.below(pool.len().min(3))],
        }
    }

    /// This many steps over the values in scope, or fewer; all values.
    fn steps(&mut self, scope: &[usize], size: usize, depth: usize, values: &mut [Values]) -> (Vec<Step>, Vec<usize>) {
        let (mut steps, mut pool) = (Vec::new(), scope.to_vec());
        for _ in 0..12 * size {
            let Some(step) = self.candidate(&pool, depth, values) else { continue };
            let results: Vec<_> = values.iter().map(|v| v.step(&step)).collect();
            let is_alive = |(alive, i): (&bool, usize)| *alive && results[i].is_ok();
            let taken: Vec<bool> = self.alive.iter().zip(0..).map(is_alive).collect();
            let lost = self.alive.iter().zip(&taken).filter(|(was, is)| **was && !**is).count();
            let left = taken.iter().filter(|is| **is).count();
            let too_large = results.iter().any(|r| r.as_ref().is_err_and(|e| e.to_string().contains("too ")));
            if lost > 0 && (depth > 0 || too_large || left < 4 || !self.rng.once_in(60)) {
                continue;
            }
            self.alive = taken;
            values.iter_mut().zip(results).for_each(|(v, result)| {
                v.arrays.extend(result.ok().map(|a| (step.name, a)));
            });
            pool.push(step.name);
            steps.push(step);
            if steps.len() == size {
                break;
            }
        }
        (steps, pool)
    }

    /// An array of that name, in the first call that is alive.
    fn array<'a>(&self, values: &'a [Values], name: usize) -> &'a Array {
        let first = self.alive.iter().position(|&is| is).expect("some calls are alive");
        &values[first].arrays[&name]
    }

    /// Values of which this holds, in all calls that are alive, the later ones rather.
    fn such(&mut self, pool: &[usize], values: &[Values], is: impl Fn(&Values, &Array) -> bool) -> Option<usize> {
        let alive: Vec<&Values> = values.iter().zip(&self.alive).filter(|(_, is)| **is).map(|(v, _)| v).collect();
        let holds = |name: &&usize| alive.iter().all(|v| v.arrays.get(*name).is_some_and(|a| is(v, a)));
        let fit: Vec<usize> = pool.iter().filter(holds).copied().collect();
        if fit.is_empty() { None } else { Some(self.recent(&fit)) }
    }

    /// The extent of some axis.
    fn extent(&mut self, pool: &[usize], values: &[Values]) -> Option<Number> {
        let v = self.such(pool, values, |_, a| a.ndim() > 0)?;
        let rank = self.array(values, v).ndim();
        Some(Number::Of(v, self.below(rank)))
    }

    fn candidate(&mut self, pool: &[usize], depth: usize, values: &[Values]) -> Option<Step> {
        if depth < 2 && self.rng.once_in(if depth == 0 { 5 } else { 7 }) {
            return self.transformed(pool, depth, values);
        }
        let kind = match self.network && !self.rng.once_in(4) {
            true => self.rng.pick(&[1, 3, 3, 4, 5, 13, 14, 18, 19, 23, 23, 24, 24, 25, 26, 27, 28, 31]),
            false => self.below(40),
        };
        let wants_axes = kind > 12;
        let x = self.such(pool, values, |_, a| !wants_axes || a.ndim() > 0)?;
        let a = self.array(values, x);
        let (rank, dtype) = (a.ndim(), a.dtype());
        let axis = if rank > 0 { self.below(rank) as isize } else { 0 };
        let signed = if self.rng.once_in(3) { axis - rank as isize } else { axis };
        let mut step = Step { name: 0, op: String::new(), numbers: Vec::new(), operands: vec![x], body: None };
        let known = |numbers: &[isize]| numbers.iter().map(|&n| Number::Known(n)).collect::<Vec<_>>();
        let end = |rng: &mut Rng| rng.pick(&[NONE, NONE, 0, 1, 2, -1, -2, 5]);
        let slice = |rng: &mut Rng| [end(rng), end(rng), rng.pick(&[1, 1, 1, 2, -1, -2, 3])];
        let reduced = |rng: &mut Rng| {
            let mut numbers = vec![rng.below(2) as isize];
            match rng.below(4) {
                0 => {}
                1 => numbers.extend((0..rank as isize).filter(|_| rng.once_in(2))),
                _ => numbers.push(signed),
            }
            numbers
        };
        let (op, numbers): (&str, Vec<Number>) = match kind {
            0..=2 => (self.unary(), vec![]),
            3..=8 => {
                // Beside a value with which it broadcasts, a number, or an extent.
                let op = match self.strange || self.rng.once_in(8) {
                    true => self.rng.pick(Binary::ALL),
                    false => self.rng.pick(&TAME),
                };
                let mut numbers = vec![];
                match self.below(8) {
                    0 => numbers.push(Number::Known(self.below(FLOATS.len() + INTEGERS.len()) as isize)),
                    1 => numbers.push(self.extent(pool, values)?),
                    _ => {
                        let fits = |v: &Values, b: &Array| {
                            v.arrays[&x]
                                .shape()
                                .iter()
                                .rev()
                                .zip(b.shape().iter().rev())
                                .all(|(n, m)| n == m || *n == 1 || *m == 1)
                        };
                        let any = self.rng.once_in(20);
                        step.operands.push(self.such(pool, values, |v, b| any || fits(v, b))?);
                    }
                }
                if !numbers.is_empty() && self.rng.once_in(3) {
                    numbers.push(Number::Known(1));
                }
                (op.row().name, numbers)
            }
            9 => {
                let others = [self.recent(pool), self.recent(pool)];
                step.operands.extend(others);
                step.operands.rotate_left(self.below(2));
                ("select", vec![])
            }
            10 => match self.below(3) {
                0 => ("clip", vec![]),
                _ => ("astype", known(&[self.below(if self.strange { DTYPES.len() } else { 4 }) as isize])),
            },
            // Extents that are handed over.
            11 => {
                let n = self.extent(pool, values)?;
                let m = self.extent(pool, values)?;
                let k = self.below(3) as isize - 1;
                step.operands.clear();
                let one = vec![if self.rng.once_in(3) { Number::Known(3) } else { n }, m];
                match self.below(8) {
                    0 => ("zeros", one),
                    1 => ("full", one),
                    2 => ("iota", [vec![Number::Known(self.flag())], one].concat()),
                    3 => ("uniform", one),
                    4 => ("normal", one),
                    5 => ("permutation", vec![n]),
                    6 => ("tri", vec![n, m, Number::Known(k)]),
                    _ => ("eye", vec![n, m, Number::Known(k)]),
                }
            }
            12 => match self.below(4) {
                0 => ("expand_dims", known(&[self.below(rank + 1) as isize])),
                1 => {
                    let n = self.extent(pool, values)?;
                    let mut to = if self.rng.once_in(2) { vec![n] } else { vec![Number::Known(2)] };
                    to.extend((0..rank).map(|axis| Number::Of(x, axis)));
                    ("broadcast_to", to)
                }
                2 => {
                    let fits = |v: &Values, b: &Array| {
                        let a = &v.arrays[&x];
                        a.ndim() <= b.ndim()
                            && a.shape().iter().rev().zip(b.shape().iter().rev()).all(|(n, m)| n == m || *n == 1)
                    };
                    let b = self.such(pool, values, fits)?;
                    let rank = self.array(values, b).ndim();
                    ("broadcast_to", (0..rank).map(|axis| Number::Of(b, axis)).collect())
                }
                _ => {
                    let others = [self.recent(pool), self.recent(pool)];
                    step.operands.extend(&others[..1 + self.below(2)]);
                    match self.rng.once_in(3) {
                        true => ("meshgrid", known(&[self.flag(), self.flag(), self.below(3) as isize])),
                        false => ("broadcast_arrays", known(&[self.below(3) as isize])),
                    }
                }
            },
            13..=17 => {
                let op = self.rng.pick(&[
                    "sum",
                    "sum",
                    "mean",
                    "mean",
                    "max",
                    "min",
                    "prod",
                    "any",
                    "all",
                    "var",
                    "deviation",
                    "logsumexp",
                    "median",
                ]);
                (op, known(&reduced(&mut self.rng)))
            }
            18 | 19 => match self.below(5) {
                0 | 1 => ("softmax", known(&[self.flag(), signed])),
                k => {
                    let widths = |v: &Values, w: &Array| {
                        w.ndim() == 1 && w.shape()[0] == *v.arrays[&x].shape().last().unwrap_or(&0)
                    };
                    for _ in 0..self.below(3) {
                        step.operands.extend(self.such(pool, values, widths));
                    }
                    step.operands.truncate(k);
                    (if k == 2 { "rms_norm" } else { "layer_norm" }, vec![])
                }
            },
            20 => (self.rng.pick(&["argmax", "argmin"]), known(&[self.flag(), signed])),
            21 => {
                let k = self.below(SCANS.len()) as isize;
                ("cumulative", known(&[k, signed, self.flag(), self.flag()]))
            }
            22 => (self.rng.pick(&["sort", "argsort"]), known(&[signed])),
            23..=26 => {
                let fits = |v: &Values, b: &Array| {
                    let inner = b.shape().len().checked_sub(2).map_or(b.shape().first(), |i| b.shape().get(i));
                    b.dtype() == dtype && inner == v.arrays[&x].shape().last()
                };
                step.operands.push(self.such(pool, values, fits)?);
                ("matmul", vec![])
            }
            27 => {
                let mut order: Vec<isize> = (0..rank as isize).collect();
                (1..rank).rev().for_each(|i| order.swap(i, self.rng.below(i + 1)));
                ("transpose", known(&order))
            }
            28 | 29 => match self.below(6) {
                0 => ("reshape", known(&[-1])),
                1 => ("reshape", vec![Number::Of(x, axis as usize), Number::Known(-1)]),
                2 => ("reshape", vec![Number::Known(-1), Number::Of(x, axis as usize)]),
                3 => ("reshape", (0..rank).rev().map(|axis| Number::Of(x, axis)).collect()),
                4 => {
                    let n = if self.rng.once_in(2) {
                        Number::Known(self.below(4) as isize)
                    } else {
                        self.extent(pool, values)?
                    };
                    ("unflatten", vec![Number::Known(signed), n, Number::Known(-1)])
                }
                _ => ("flatten", known(&[axis.min(0), signed])),
            },
            30 => match self.below(4) {
                0 => ("squeeze", known(&[signed])),
                1 => ("diagonal", known(&[self.below(3) as isize - 1, 0, signed])),
                _ => (self.rng.pick(&["tril", "triu"]), known(&[self.below(3) as isize - 1])),
            },
            31 | 32 => match self.below(4) {
                0 => ("index", known(&[axis, self.rng.pick(&[0, -1, 1])])),
                _ => ("slice", known(&[&[signed], &slice(&mut self.rng)[..]].concat())),
            },
            33 | 34 => {
                for _ in 0..1 + self.below(2) {
                    let alike = |v: &Values, b: &Array| {
                        let (s, t) = (v.arrays[&x].shape(), b.shape());
                        s.len() == t.len() && (0..s.len()).all(|i| s[i] == t[i] || i == axis as usize)
                    };
                    step.operands.push(self.such(pool, values, alike)?);
                }
                (if self.rng.once_in(3) { "stack" } else { "concatenate" }, known(&[signed]))
            }
            35 => match self.below(6) {
                0 => ("split", known(&[1 + self.below(3) as isize, signed, self.below(3) as isize])),
                1 => ("split_at", known(&[1, self.rng.pick(&[2, -1]), signed, self.below(3) as isize])),
                2 => ("repeat", known(&[self.below(4) as isize, signed])),
                3 => ("tile", known(&[1 + self.flag(), 2])),
                _ => ("roll", known(&[self.below(5) as isize - 2, signed])),
            },
            36 => {
                let mut widths = || (0..2 * rank).map(|_| self.rng.below(3) as isize).collect::<Vec<_>>();
                let widths = known(&widths());
                (if self.rng.once_in(4) { "pad_edge" } else { "pad" }, widths)
            }
            37 => {
                let i = self.such(pool, values, |_, i| i.dtype().is_integer() && i.ndim() < 3)?;
                let j = self.such(pool, values, |v, i| i.dtype().is_integer() && i.ndim() == v.arrays[&x].ndim());
                match (self.below(5), j) {
                    (0, Some(j)) => {
                        step.operands.push(j);
                        ("take_along_axis", known(&[signed]))
                    }
                    (1, Some(j)) => {
                        step.operands.extend([j, self.recent(pool)]);
                        ("put_along_axis", known(&[signed, self.below(SCATTERS.len()) as isize]))
                    }
                    (2, _) => {
                        step.operands.push(i);
                        ("take", known(&[signed]))
                    }
                    _ => {
                        step.operands.push(i);
                        ("gather", known(&[axis]))
                    }
                }
            }
            38 => {
                let k = if self.rng.once_in(2) { 0 } else { self.below(SCATTERS.len()) as isize };
                let v = self.recent(pool);
                let i = self.such(pool, values, |_, i| i.dtype().is_integer() && i.ndim() < 3);
                match (self.below(4), i) {
                    (0, Some(i)) => {
                        step.operands.extend([i, v]);
                        ("set_at", known(&[k, axis]))
                    }
                    (1, Some(i)) => {
                        step.operands.extend([i, v]);
                        ("set_part_at", known(&[&[k], &slice(&mut self.rng)[..]].concat()))
                    }
                    (2, _) => {
                        step.operands.push(v);
                        ("set_index", known(&[k, axis, self.rng.pick(&[0, -1])]))
                    }
                    _ => {
                        step.operands.push(v);
                        ("set_slice", known(&[&[k, axis], &slice(&mut self.rng)[..]].concat()))
                    }
                }
            }
            _ if self.strange && depth == 0 => {
                let n = Number::Of(x, axis as usize);
                match self.below(5) {
                    0 => ("when_less", vec![n, Number::Known(self.rng.pick(&[1, 4, 20]))]),
                    1 => ("when_equal", vec![n, self.extent(pool, values)?]),
                    2 => ("times_number", vec![n]),
                    3 => ("unless_refused", known(&[self.rng.pick(&[2, 3])])),
                    _ => ("categorical", known(&[signed])),
                }
            }
            _ => {
                step.operands.push(self.recent(pool));
                ("array_equal", vec![])
            }
        };
        step.op = op.to_owned();
        step.numbers = numbers;
        step.name = self.name();
        Some(step)
    }

    fn unary(&mut self) -> &'static str {
        let tame =
            [Unary::Neg, Unary::Abs, Unary::Square, Unary::Exp, Unary::Tanh, Unary::Sigmoid, Unary::Sin, Unary::Sqrt];
        let op = if self.strange || self.rng.once_in(6) { self.rng.pick(Unary::ALL) } else { self.rng.pick(&tame) };
        op.row().name
    }

    /// A step with a body of steps of its own.
    fn transformed(&mut self, pool: &[usize], depth: usize, values: &[Values]) -> Option<Step> {
        let (op, most) = if self.rng.once_in(10) { ("cond", 3) } else { self.rng.pick(&TRANSFORMS) };
        let differentiates = matches!(op, "grad" | "vjp" | "jvp" | "custom");
        let mut operands = Vec::new();
        for _ in 0..1 + self.below(most) {
            operands.push(self.such(pool, values, |_, a| {
                (op != "vmap" || a.ndim() > 0) && (!differentiates || a.dtype().is_float())
            })?);
        }
        if op == "cond" && operands.len() == 1 {
            operands.push(self.recent(pool));
        }
        let mut numbers = vec![Number::Known(self.below(4) as isize)];
        match op {
            "vmap" => {
                numbers.push(Number::Known(self.rng.pick(&[0, -1])));
                for (i, &x) in operands.iter().enumerate() {
                    let rank = self.array(values, x).ndim();
                    let axis = if i > 0 && self.rng.once_in(3) { NONE } else { self.below(rank) as isize };
                    numbers.push(Number::Known(axis));
                }
            }
            "custom" => numbers.push(Number::Known(self.below(3) as isize)),
            "compile" => numbers.push(Number::Known(self.flag())),
            _ => {}
        }
        // What the body is given: in a batch one point, in a choice what comes after the predicate.
        let given = &operands[usize::from(op == "cond")..];
        let parameters: Vec<usize> = given.iter().map(|_| self.name()).collect();
        let mut within: Vec<Values> = match op {
            "compile" => values.iter().map(|v| Values { limit: v.limit, ..Values::default() }).collect(),
            _ => values.to_vec(),
        };
        for (i, (&parameter, x)) in parameters.iter().zip(given).enumerate() {
            for (inner, outer) in within.iter_mut().zip(values) {
                let Some(array) = outer.arrays.get(x) else { continue };
                let point = match (op, numbers.get(2 + i)) {
                    ("vmap", Some(&Number::Known(axis))) if axis != NONE => {
                        ops::any(array, Some(&[axis]), false).and_then(|a| ops::astype(&a, array.dtype()))
                    }
                    _ => Ok(array.clone()),
                };
                inner.arrays.extend(point.ok().map(|point| (parameter, point)));
            }
        }
        let reaches = op != "compile" && self.rng.once_in(2);
        let around: Vec<usize> = if reaches { vec![self.recent(pool)] } else { Vec::new() };
        let scope = [&around[..], &parameters].concat();
        let size = 1 + self.below(4);
        let (steps, all) = self.steps(&scope, size, depth + 1, &mut within);
        steps.last()?;
        let outputs = self.outputs(&steps, &all, 3);
        let body = Body { parameters, steps, outputs };
        Some(Step { name: self.name(), op: op.to_owned(), numbers, operands, body: Some(body) })
    }

    /// Most of what nobody uses, and sometimes another value.
    fn outputs(&mut self, steps: &[Step], all: &[usize], most: usize) -> Vec<usize> {
        let text = steps.iter().map(Step::to_string).collect::<Vec<_>>().join(" ");
        let words: Vec<&str> = text.split(|c: char| !c.is_ascii_digit()).collect();
        let is_used = |name: usize| words.iter().filter(|word| **word == name.to_string()).count() > 1;
        let mut outputs: Vec<usize> =
            steps.iter().rev().map(|step| step.name).filter(|&name| !is_used(name)).take(most).collect();
        if outputs.is_empty() || self.rng.once_in(3) {
            outputs.push(self.recent(all));
        }
        outputs
    }

    /// Makes state of arguments that a value could replace.
    fn states(&mut self, program: &mut Program, all: &[usize], values: &[Values]) {
        for i in 0..program.inputs.len() {
            let name = program.inputs[i].name;
            if program.inputs[i].role != Role::Argument || !self.rng.once_in(3) {
                continue;
            }
            let alike = |v: &Values, a: &Array| a.aval() == v.arrays[&name].aval();
            let others: Vec<usize> = all.iter().copied().filter(|&v| v != name).collect();
            if let Some(value) = self.such(&others, values, alike) {
                program.inputs[i].role = Role::State(value);
            }
        }
    }
}
