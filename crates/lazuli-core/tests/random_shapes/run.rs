//! Programs run over arrays: the same steps plain and compiled.

use crate::program::{Body, Number, Step};
use lazuli_core::ops::{self, Binary, Bound, Item, Operand, ReduceOp, ScanOp, ScatterOp, random};
use lazuli_core::{Array, DType, Dim, Error, Extent, Result, Scalar, compile, custom, transform};
use lazuli_ir::Prim;
use std::collections::HashMap;

/// Values by name.
#[derive(Clone, Default)]
pub struct Values {
    pub arrays: HashMap<usize, Array>,
    /// Elements that a value may have, and multiplications that a product may take, if somebody looks: a program that is compiled must not ask for sizes.
    pub limit: Option<usize>,
}

/// An end of a slice that is not given.
pub const NONE: isize = 9999;
/// Numbers that stand beside arrays, by position.
pub const FLOATS: [f64; 8] = [2.0, 0.5, -1.0, 0.0, -0.0, 1.0, 3.0, f64::INFINITY];
pub const INTEGERS: [i32; 5] = [2, -1, 0, 1, 3];

impl Values {
    pub fn run(&mut self, steps: &[Step]) -> Result<()> {
        for step in steps {
            let value = self.step(step)?;
            self.arrays.insert(step.name, value);
        }
        Ok(())
    }

    pub fn get(&self, names: &[usize]) -> Result<Vec<Array>> {
        names.iter().map(|name| self.arrays.get(name).cloned().ok_or_else(|| refused("no such value"))).collect()
    }

    /// One step, unless its result is too large.
    pub fn step(&self, step: &Step) -> Result<Array> {
        let x = self.get(&step.operands)?;
        if let (Some(limit), "matmul", [a, b]) = (self.limit, step.op.as_str(), &x[..]) {
            let outer = b.shape().last().copied().unwrap_or(1).max(a.shape().first().copied().unwrap_or(1));
            if a.size().max(b.size()) * outer > 32 * limit {
                return Err(refused("too much work"));
            }
        }
        let out = match &step.body {
            Some(body) => self.transformed(step, body, &x)?,
            None => self.applied(step, &x)?,
        };
        match self.limit {
            Some(limit) if out.size() > limit => Err(refused("too large")),
            _ => Ok(out),
        }
    }

    /// The function of a body, which may use what is around it.
    fn function<'a>(&'a self, body: &'a Body) -> impl Fn(&[Array]) -> Result<Vec<Array>> + Clone + 'a {
        move |arguments| {
            let mut values = self.clone();
            values.arrays.extend(body.parameters.iter().copied().zip(arguments.iter().cloned()));
            values.run(&body.steps)?;
            values.get(&body.outputs)
        }
    }

    fn transformed(&self, step: &Step, body: &Body, x: &[Array]) -> Result<Array> {
        let numbers: Vec<isize> = step.numbers.iter().map(|n| known(*n)).collect::<Result<_>>()?;
        let (&which, rest) = numbers.split_first().ok_or_else(|| refused("which output is wanted"))?;
        let f = self.function(body);
        let outputs = match step.op.as_str() {
            "grad" => {
                let loss = |x: &[Array]| {
                    let sums = f(x)?.into_iter().map(|y| ops::sum(&ops::astype(&y, DType::F32)?, None, false));
                    let mut sums = sums.collect::<Result<Vec<_>>>()?.into_iter();
                    let first = sums.next().ok_or_else(|| refused("no output"))?;
                    Ok(vec![sums.try_fold(first, |a, b| ops::add(&a, &b))?])
                };
                let pulled = transform::value_and_grad("f", loss, x)?;
                [pulled.cotangents, pulled.outputs].concat()
            }
            "vjp" => {
                let pulled = transform::vjp("f", f, x, |y| y.iter().map(ops::cos).collect())?;
                [pulled.cotangents, pulled.outputs].concat()
            }
            "jvp" => {
                let tangents: Vec<Array> = x.iter().map(ops::cos).collect::<Result<_>>()?;
                let (outputs, tangents) = transform::jvp("f", f, x, &tangents)?;
                [tangents, outputs].concat()
            }
            "vmap" => {
                let (&out, axes) = rest.split_first().ok_or_else(|| refused("an axis of the output"))?;
                let axes: Vec<Option<isize>> = axes.iter().map(|&a| (a != NONE).then_some(a)).collect();
                transform::vmap("f", f, x, &axes, |n| Ok(vec![Some(out); n]))?
            }
            "checkpoint" => custom::checkpoint("f", x, f)?,
            "custom" => {
                let vjp: custom::Vjp<'_> = &|x, c, y| {
                    let all = [c, y].concat();
                    let sums = all.iter().map(|a| ops::mean(&ops::astype(a, DType::F32)?, None, false));
                    let sums: Vec<Array> = sums.collect::<Result<_>>()?;
                    x.iter().map(|x| sums.iter().try_fold(x.clone(), |x, s| ops::multiply(&x, s))).collect()
                };
                let jvp: custom::Jvp<'_> = &|x, t| {
                    let y = f(x)?;
                    let change = ops::mean(&ops::multiply(&x[0], &t[0])?, None, false)?;
                    y.iter().map(|y| ops::multiply(y, &change)).collect()
                };
                let mode = rest.first().copied().unwrap_or(0);
                let rules =
                    custom::Rules { vjp: (mode != 1).then_some(vjp), jvp: (mode != 0).then_some(jvp), vmap: None };
                custom::custom_function("f", x, &f, rules)?
            }
            "cond" => {
                let (predicate, operands) = x.split_first().ok_or_else(|| refused("no predicate"))?;
                let predicate = ops::reduce(ReduceOp::Any, &ops::greater(predicate, 0.5f32)?, None, false)?;
                let other = |x: &Vec<Array>| {
                    let y = f(x)?;
                    y.iter().map(|y| ops::multiply(y, y)).collect::<Result<Vec<_>>>()
                };
                lazuli_core::cond(&predicate, |x: &Vec<Array>| f(x), other, &operands.to_vec())?
            }
            // Reached from within by its parameters alone.
            "compile" if self.limit.is_none() => {
                let body = body.clone();
                let f = compile(move |x: &Vec<Array>| Values::default().function(&body)(x));
                let f = if rest == [1] { f.shapeless() } else { f };
                f.try_call(&x.to_vec())?
            }
            "compile" => Values { arrays: HashMap::new(), limit: self.limit }.function(body)(x)?,
            op => return Err(refused(op)),
        };
        let n = outputs.len().max(1);
        outputs.into_iter().nth(which as usize % n).ok_or_else(|| refused("no output"))
    }

    fn dim(&self, value: usize, axis: usize) -> Result<Dim> {
        let a = self.get(&[value])?.remove(0);
        if axis < a.ndim() { Ok(a.dim(axis as isize)) } else { Err(refused("no such axis")) }
    }

    fn extents(&self, numbers: &[Number]) -> Result<Vec<Extent>> {
        let extent = |n: &Number| match *n {
            Number::Known(n) => Ok(Extent::Known(n)),
            Number::Of(value, axis) => self.dim(value, axis).map(Extent::Of),
        };
        numbers.iter().map(extent).collect()
    }

    fn applied(&self, step: &Step, x: &[Array]) -> Result<Array> {
        let (op, numbers) = (step.op.as_str(), &step.numbers[..]);
        let first = || x.first().ok_or_else(|| refused("no operand"));
        // Steps that take extents of arrays.
        match (op, numbers) {
            ("reshape", _) => return ops::reshape(first()?, self.extents(numbers)?),
            ("unflatten", [axis, to @ ..]) => return ops::unflatten(first()?, known(*axis)?, self.extents(to)?),
            ("broadcast_to", _) => return ops::broadcast_to(first()?, self.extents(numbers)?),
            ("zeros", _) => return ops::zeros(self.extents(numbers)?, DType::F32),
            ("full", _) => return ops::full(self.extents(numbers)?, Scalar::from_f64(DType::F16, 1.5)),
            ("iota", [axis, to @ ..]) => return ops::iota(self.extents(to)?, known(*axis)? as usize, DType::I32),
            ("uniform", _) => {
                return random::uniform(0.0f32, 1.0f32, self.extents(numbers)?, DType::F32, &random::key(3));
            }
            ("normal", _) => {
                return random::normal(self.extents(numbers)?, DType::F32, 0.0f32, 1.0f32, &random::key(4));
            }
            ("permutation", [n]) => return random::permutation(self.extents(&[*n])?.remove(0), &random::key(5)),
            ("tri", [n, m, k]) => {
                let [n, m] = [n, m].map(|e| self.extents(&[*e]));
                return ops::tri(n?.remove(0), m?.remove(0), known(*k)?, DType::F32);
            }
            ("eye", [n, m, k]) => {
                let [n, m] = [n, m].map(|e| self.extents(&[*e]));
                return ops::eye(n?.remove(0), m?.remove(0), known(*k)?, DType::F32);
            }
            // Those that let the program depend on numbers.
            ("when_less", [Number::Of(v, axis), Number::Known(n)]) => {
                let less = self.dim(*v, *axis)? < *n as usize;
                return if less { ops::add(first()?, 1.0f32) } else { ops::negative(first()?) };
            }
            ("when_equal", [Number::Of(v, axis), Number::Of(w, other)]) => {
                let equal = self.dim(*v, *axis)? == self.dim(*w, *other)?;
                return if equal { ops::add(first()?, 1.0f32) } else { ops::negative(first()?) };
            }
            ("times_number", [Number::Of(v, axis)]) => {
                return ops::multiply(first()?, self.dim(*v, *axis)?.get() as f32);
            }
            ("unless_refused", [Number::Known(n)]) => {
                return match ops::reshape(first()?, [*n, -1]) {
                    Ok(y) => ops::multiply(first()?, ops::sum(&y, None, false)?),
                    Err(_) => ops::negative(first()?),
                };
            }
            _ => {}
        }
        if let (Some(Prim::Binary(op)), [a], [number, rest @ ..]) = (ops::by_name(op), x, numbers) {
            let dim;
            let number: &dyn Operand = match *number {
                Number::Known(k @ 0..8) => &FLOATS[k as usize],
                Number::Known(k) => INTEGERS.get(k as usize - FLOATS.len()).ok_or_else(|| refused("no such number"))?,
                Number::Of(value, axis) => {
                    dim = self.dim(value, axis)?;
                    &dim
                }
            };
            return if rest.is_empty() { ops::binary(op, a, number) } else { ops::binary(op, number, a) };
        }
        let numbers: Vec<isize> = numbers.iter().map(|n| known(*n)).collect::<Result<_>>()?;
        of_numbers(op, &numbers, x)
    }
}

fn refused(what: &str) -> Error {
    Error::value("program", what.to_owned())
}

fn known(n: Number) -> Result<isize> {
    match n {
        Number::Known(n) => Ok(n),
        Number::Of(..) => Err(refused("an extent where a number is asked for")),
    }
}

pub const SCANS: [ScanOp; 5] = ScanOp::ALL;
pub const SCATTERS: [ScatterOp; 5] = ScatterOp::ALL;
pub const DTYPES: [DType; 8] =
    [DType::F32, DType::F16, DType::BF16, DType::I32, DType::Bool, DType::C64, DType::U8, DType::F64];

fn bound(numbers: &[isize]) -> Bound {
    let end = |n: isize| (n != NONE).then_some(n);
    Bound { start: end(numbers[0]), stop: end(numbers[1]), step: numbers[2] }
}

/// Full slices up to an axis, then an item.
fn at(axis: isize, item: Item) -> Vec<Item> {
    let mut items = vec![Item::Slice(Bound::ALL); axis as usize];
    items.push(item);
    items
}

fn of_numbers(op: &str, numbers: &[isize], x: &[Array]) -> Result<Array> {
    // Reductions say whether they keep axes, and along which they go; along all if along none.
    let over = |from: usize| numbers.get(from..).filter(|axes| !axes.is_empty());
    let keeps = numbers.first() == Some(&1);
    let pick = |parts: Result<Vec<Array>>, k: isize| {
        let parts = parts?;
        parts.get(k as usize % parts.len().max(1)).cloned().ok_or_else(|| refused("no such part"))
    };
    match (op, numbers, x) {
        ("select", [], [c, a, b]) => ops::select(&ops::greater(c, 0.25f32)?, a, b),
        ("clip", [], [a]) => ops::clip(a, Some(&-0.5f32), Some(&1.5f32)),
        ("astype", &[k], [a]) => ops::astype(a, DTYPES[k as usize]),
        ("sum", _, [a]) => ops::sum(a, over(1), keeps),
        ("prod", _, [a]) => ops::prod(a, over(1), keeps),
        ("max", _, [a]) => ops::max(a, over(1), keeps),
        ("min", _, [a]) => ops::min(a, over(1), keeps),
        ("any", _, [a]) => ops::any(a, over(1), keeps),
        ("all", _, [a]) => ops::all(a, over(1), keeps),
        ("mean", _, [a]) => ops::mean(a, over(1), keeps),
        ("var", _, [a]) => ops::var(a, over(1), keeps, 1.0),
        ("deviation", _, [a]) => ops::deviation(a, over(1), keeps, 0.0),
        ("median", _, [a]) => ops::median(a, over(1), keeps),
        ("logsumexp", _, [a]) => ops::logsumexp(a, over(1), keeps),
        ("softmax", _, [a]) => ops::softmax(a, over(1), keeps),
        ("argmax", &[keep, axis], [a]) => ops::argmax(a, Some(axis), keep == 1),
        ("argmin", &[keep, axis], [a]) => ops::argmin(a, Some(axis), keep == 1),
        ("layer_norm", [], [a]) => ops::layer_norm(a, None, None, 1e-5),
        ("layer_norm", [], [a, w]) => ops::layer_norm(a, Some(w), None, 1e-5),
        ("layer_norm", [], [a, w, b]) => ops::layer_norm(a, Some(w), Some(b), 1e-5),
        ("rms_norm", [], [a]) => ops::rms_norm(a, None, 1e-5),
        ("rms_norm", [], [a, w]) => ops::rms_norm(a, Some(w), 1e-5),
        ("cumulative", &[k, axis, reverse, inclusive], [a]) => {
            ops::cumulative(SCANS[k as usize], a, Some(axis), reverse == 1, inclusive == 1)
        }
        ("sort", &[axis], [a]) => ops::sort(a, Some(axis)),
        ("argsort", &[axis], [a]) => ops::argsort(a, Some(axis)),
        ("matmul", [], [a, b]) => ops::matmul(a, b),
        ("transpose", order, [a]) => ops::transpose(a, Some(order)),
        ("flatten", &[start, end], [a]) => ops::flatten(a, start, end),
        ("expand_dims", axes, [a]) => ops::expand_dims(a, axes),
        ("squeeze", axes, [a]) => ops::squeeze(a, Some(axes)),
        ("broadcast_arrays", &[k], _) => pick(ops::broadcast_arrays(x), k),
        ("meshgrid", &[sparse, xy, k], _) => pick(ops::meshgrid(x, sparse == 1, xy == 1), k),
        ("slice", &[axis, _, _, _], [a]) => ops::slice_axis(a, axis, bound(&numbers[1..])),
        ("index", &[axis, i], [a]) => ops::get(a, &at(axis, Item::Int(i))),
        ("concatenate", &[axis], _) => ops::concatenate(x, axis),
        ("stack", &[axis], _) => ops::stack(x, axis),
        ("split", &[n, axis, k], [a]) => pick(ops::split(a, n as usize, axis), k),
        ("split_at", &[i, j, axis, k], [a]) => pick(ops::split_at(a, &[i, j], axis), k),
        ("pad", widths, [a]) => ops::pad(a, &pairs(widths), Scalar::from_f64(a.dtype(), 1.0)),
        ("pad_edge", widths, [a]) => ops::pad_edge(a, &pairs(widths)),
        ("repeat", &[n, axis], [a]) => ops::repeat(a, n as usize, axis),
        ("tile", reps, [a]) => ops::tile(a, &reps.iter().map(|&n| n as usize).collect::<Vec<_>>()),
        ("roll", &[shift, axis], [a]) => ops::roll(a, shift, axis),
        ("tril", &[k], [a]) => ops::tril(a, k),
        ("triu", &[k], [a]) => ops::triu(a, k),
        ("diagonal", &[k, i, j], [a]) => ops::diagonal(a, k, i, j),
        ("take", &[axis], [a, i]) => ops::take(a, i, Some(axis)),
        ("take_along_axis", &[axis], [a, i]) => ops::take_along_axis(a, i, Some(axis)),
        ("put_along_axis", &[axis, k], [a, i, v]) => ops::put_along_axis(a, i, v, Some(axis), SCATTERS[k as usize]),
        ("gather", &[axis], [a, i]) => ops::get(a, &at(axis, Item::Array(i.clone()))),
        ("set_slice", &[k, axis, _, _, _], [a, v]) => {
            ops::update(a, &at(axis, Item::Slice(bound(&numbers[2..]))), v, SCATTERS[k as usize])
        }
        ("set_index", &[k, axis, i], [a, v]) => ops::update(a, &at(axis, Item::Int(i)), v, SCATTERS[k as usize]),
        ("set_at", &[k, axis], [a, i, v]) => ops::update(a, &at(axis, Item::Array(i.clone())), v, SCATTERS[k as usize]),
        ("set_part_at", &[k, _, _, _], [a, i, v]) => {
            let items = [Item::Array(i.clone()), Item::Slice(bound(&numbers[1..]))];
            ops::update(a, &items, v, SCATTERS[k as usize])
        }
        ("array_equal", [], [a, b]) => ops::array_equal(a, b, true),
        ("categorical", &[axis], [a]) => random::categorical(a, axis, None, &random::key(6)),
        _ => match (ops::by_name(op), x) {
            (Some(Prim::Unary(op)), [a]) => ops::unary(op, a),
            (Some(Prim::Binary(op)), [a, b]) => ops::binary(op, a, b),
            _ => Err(refused(op)),
        },
    }
}

fn pairs(widths: &[isize]) -> Vec<(usize, usize)> {
    widths.chunks_exact(2).map(|pair| (pair[0] as usize, pair[1] as usize)).collect()
}

/// Binary operations that make few numbers that are none.
pub const TAME: [Binary; 5] = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Maximum, Binary::Minimum];
