//! Kernels, plans and launches as text, for people and for golden tests.
//!
//! A kernel prints as one line per instruction, each value with its dtype:
//!
//! ```text
//! kernel rank 2 vector 1 (in f32 unit, out f32 unit; params f32) {
//!   %0: f32 = load 0
//!   %1: f32 = param 0
//!   %2: f32 = mul %0, %1
//!   map {
//!     store 1 <- %2
//!   }
//! }
//! ```
//!
//! and [`crate::parse`] reads it back. Printing never fails: a kernel that the verifier rejects prints too, with `?` for a
//! dtype that cannot be told.

use crate::dtype::DType;
use crate::ir::{Inner, Inst, Kernel, Nest, Operand, Role, Store, Value};
use crate::plan::{Arg, Binding, LibraryCall, Pass, Plan, Scatter, Slot, Step};
use crate::shape;
use std::fmt::{self, Debug, Display, Formatter};

/// A line of a printed kernel: what the verifier points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The first line: rank, vector axis, operands, parameters.
    Header,
    /// The instruction of this number.
    Inst(usize),
    /// The line that opens the nest, or that is all of it.
    Nest,
    /// The store of this number; those of a row follow those of its points.
    Store(usize),
    Brace,
}

/// The name of an op in text: its identifier in lower case, so that the two cannot differ.
pub(crate) fn keyword(op: impl Debug) -> String {
    format!("{op:?}").to_lowercase()
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl Display for Role {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&keyword(self))
    }
}

impl Display for Inner {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&keyword(self))
    }
}

impl Display for Operand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.role, self.dtype.short_name(), self.inner)
    }
}

impl Display for Inst {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Inst::Param(p) => write!(f, "param {p}"),
            Inst::Const(s) => write!(f, "const {s}"),
            Inst::Index(axis) => write!(f, "index {axis}"),
            Inst::Extent(axis) => write!(f, "extent {axis}"),
            Inst::Load(operand) => write!(f, "load {operand}"),
            Inst::LoadAt { operand, index, mask: None } => write!(f, "load {operand}[{index}]"),
            Inst::LoadAt { operand, index, mask: Some(mask) } => write!(f, "load {operand}[{index}] if {mask}"),
            Inst::Unary(op, a) => write!(f, "{} {a}", keyword(op)),
            Inst::Binary(op, a, b) => write!(f, "{} {a}, {b}", keyword(op)),
            Inst::Fma(a, b, c) => write!(f, "fma {a}, {b}, {c}"),
            Inst::Select(c, a, b) => write!(f, "select {c}, {a}, {b}"),
            Inst::Cast(d, a) => write!(f, "cast {} {a}", d.short_name()),
            Inst::Bitcast(d, a) => write!(f, "bitcast {} {a}", d.short_name()),
            Inst::Reduced(a) => write!(f, "reduced {a}"),
            Inst::ReducedIndex(a) => write!(f, "reduced_index {a}"),
        }
    }
}

impl Display for Kernel {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let text: Vec<String> = lines(self).into_iter().map(|(_, line)| line).collect();
        f.write_str(&text.join("\n"))
    }
}

/// The kernel's text with `<-- note` behind the line at `place`.
pub(crate) fn annotated(kernel: &Kernel, place: Place, note: &str) -> String {
    let mut text = String::new();
    for (at, line) in lines(kernel) {
        text.push('\n');
        text += &line;
        if at == place {
            text += &format!("    <-- {note}");
        }
    }
    text
}

fn lines(kernel: &Kernel) -> Vec<(Place, String)> {
    let list = |items: Vec<String>| items.join(", ");
    let mut header = list(kernel.operands.iter().map(|o| o.to_string()).collect());
    if !kernel.params.is_empty() {
        header += &format!("; params {}", list(kernel.params.iter().map(|d| d.short_name().to_string()).collect()));
    }
    let types = known_dtypes(kernel);
    let inst = |number: usize, inst: &Inst, indent: &str| {
        let dtype = types[number].map_or("?", DType::short_name);
        (Place::Inst(number), format!("{indent}%{number}: {dtype} = {inst}"))
    };
    let header = format!("kernel rank {} vector {} ({header}) {{", kernel.rank, kernel.vector_axis);
    let mut out = vec![(Place::Header, header)];
    out.extend(kernel.body.iter().enumerate().map(|(i, x)| inst(i, x, "  ")));
    let guard = |mask: &Option<Value>| mask.map_or(String::new(), |m| format!(" if {m}"));
    let accumulated = || {
        let what = kernel.accumulators().iter().map(|a| format!("{} {}", keyword(a.combine), a.value)).collect();
        format!("axes {} ({})", kernel.reduced(), list(what))
    };
    let epilogue = |insts: &[Inst], indent: &str| -> Vec<_> {
        insts.iter().enumerate().map(|(i, x)| inst(kernel.body.len() + i, x, indent)).collect()
    };
    let store = |number: usize, s: &Store, indent: &str| {
        (Place::Store(number), format!("{indent}store {} <- {}", s.operand, s.value))
    };
    match &kernel.nest {
        Nest::Map { stores } => {
            out.push((Place::Nest, "  map {".into()));
            out.extend(stores.iter().enumerate().map(|(i, s)| store(i, s, "    ")));
            out.push((Place::Brace, "  }".into()));
        }
        Nest::Reduce { epilogue: insts, stores, .. } => {
            out.push((Place::Nest, format!("  reduce {} {{", accumulated())));
            out.extend(epilogue(insts, "    "));
            out.extend(stores.iter().enumerate().map(|(i, s)| store(i, s, "    ")));
            out.push((Place::Brace, "  }".into()));
        }
        Nest::Rows { stores, epilogue: insts, row_stores, .. } => {
            out.push((Place::Nest, format!("  rows {} {{", accumulated())));
            out.extend(stores.iter().enumerate().map(|(i, s)| store(i, s, "    ")));
            if !insts.is_empty() || !row_stores.is_empty() {
                out.push((Place::Brace, "    row {".into()));
                out.extend(epilogue(insts, "      "));
                out.extend(row_stores.iter().enumerate().map(|(i, s)| store(stores.len() + i, s, "      ")));
                out.push((Place::Brace, "    }".into()));
            }
            out.push((Place::Brace, "  }".into()));
        }
        Nest::Scan { op, reverse, exclusive, value, store } => {
            let reverse = if *reverse { " reverse" } else { "" };
            let exclusive = if *exclusive { " exclusive" } else { "" };
            out.push((Place::Nest, format!("  scan {}{reverse}{exclusive} {store} <- {value}", keyword(op))));
        }
        Nest::Recurrence { reverse, factor, term, store } => {
            let reverse = if *reverse { " reverse" } else { "" };
            out.push((Place::Nest, format!("  recurrence{reverse} {store} <- {factor}, {term}")));
        }
        Nest::Scatter { op, target, index, mask, value } => {
            out.push((Place::Nest, format!("  scatter {} {target}[{index}] <- {value}{}", keyword(op), guard(mask))));
        }
    }
    out.push((Place::Brace, "}".into()));
    out
}

/// As [`Kernel::dtypes`], for kernels that may be malformed.
pub(crate) fn known_dtypes(kernel: &Kernel) -> Vec<Option<DType>> {
    let accumulators = kernel.accumulators();
    let mut types: Vec<Option<DType>> = Vec::new();
    for inst in kernel.insts() {
        let value = |v: Value| types.get(v.0 as usize).copied().flatten();
        types.push(match *inst {
            Inst::Param(p) => kernel.params.get(p as usize).copied(),
            Inst::Load(o) | Inst::LoadAt { operand: o, .. } => kernel.operands.get(o as usize).map(|o| o.dtype),
            Inst::Reduced(a) => accumulators.get(a as usize).and_then(|a| value(a.value)),
            _ => inst.uses().iter().all(|&v| value(v).is_some()).then(|| {
                inst.dtype(
                    |v| value(v).expect("all uses are known"),
                    |_| unreachable!("matched above"),
                    |_| unreachable!("matched above"),
                    |_| unreachable!("matched above"),
                )
            }),
        });
    }
    types
}

impl Display for Slot {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Slot::Input(n) => write!(f, "input{n}"),
            Slot::Output(n) => write!(f, "output{n}"),
            Slot::Temp { offset, nbytes } => write!(f, "temp[{offset}..{}]", offset.saturating_add(nbytes)),
            Slot::Result => f.write_str("result"),
        }
    }
}

/// `input0 + 12 strides (16, 1) len 64`; an offset of 0 and a length of 0 are left out.
impl Display for Arg {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.slot)?;
        if self.offset != 0 {
            write!(f, " + {}", self.offset)?;
        }
        let strides: Vec<String> = self.strides.iter().map(|s| s.to_string()).collect();
        write!(f, " strides ({})", strides.join(", "))?;
        if self.len != 0 {
            write!(f, " len {}", self.len)?;
        }
        Ok(())
    }
}

impl Display for Binding {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "extents {}", shape::show(&self.extents))?;
        if !self.params.is_empty() {
            write!(f, " params {:?}", self.params)?;
        }
        self.args.iter().enumerate().try_for_each(|(i, arg)| write!(f, "\n  {i}: {arg}"))
    }
}

impl Display for Pass {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.binding, self.kernel)
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Step::Launch { kernel, bindings } => {
                for binding in &**bindings {
                    writeln!(f, "launch {binding}")?;
                }
                write!(f, "{kernel}")
            }
            Step::Call(call) => write!(f, "{call}"),
            Step::Product { call, kernel, binding } => write!(f, "{call}\nepilogue {binding}\n{kernel}"),
            Step::Scatter(scatter) => {
                let Scatter { target, updates, epilogue } = &**scatter;
                write!(f, "scatter {target}\nupdates {updates}\nepilogue {epilogue}")
            }
            Step::Copy { from, to, nbytes } => write!(f, "copy {to} <- {from}, {nbytes} bytes"),
            Step::Branch(branch) => {
                let slots = |slots: &[Slot]| slots.iter().map(|s| s.to_string()).collect::<Vec<_>>().join(", ");
                write!(
                    f,
                    "if {} inputs ({}) outputs ({})",
                    branch.predicate,
                    slots(&branch.inputs),
                    slots(&branch.outputs)
                )?;
                for (word, plan) in ["then", "else"].into_iter().zip(&branch.plans) {
                    write!(f, "\n{word} {plan}")?;
                }
                Ok(())
            }
            Step::Host { call, args } => {
                write!(f, "host {}", call.name())?;
                for (i, a) in args.iter().enumerate() {
                    write!(f, "\n  {i}: {} + {} {} {}", a.slot, a.offset, a.dtype.short_name(), shape::show(&a.shape))?;
                }
                Ok(())
            }
        }
    }
}

impl Display for LibraryCall {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            LibraryCall::Matmul { dtype, batch, m, n, k, a, b, c } => {
                let batch = shape::show(batch);
                write!(f, "matmul {} batch {batch} m {m} n {n} k {k}\n  a: {a}\n  b: {b}\n  c: {c}", dtype.short_name())
            }
            LibraryCall::Sort { dtype, rows, n, indices, input, output } => {
                let what = if *indices { "argsort" } else { "sort" };
                let rows = shape::show(rows);
                write!(f, "{what} {} rows {rows} n {n}\n  input: {input}\n  output: {output}", dtype.short_name())
            }
        }
    }
}

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let sizes = |s: &[usize]| s.iter().map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
        writeln!(
            f,
            "plan inputs ({}) outputs ({}) arena {} bytes {{",
            sizes(&self.inputs),
            sizes(&self.outputs),
            self.arena
        )?;
        for step in &self.steps {
            for line in step.to_string().lines() {
                writeln!(f, "  {line}")?;
            }
        }
        for (output, input) in &*self.donations {
            writeln!(f, "  donate output{output} <- input{input}")?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar::Scalar;
    use std::sync::Arc;

    #[test]
    fn plans_print_their_slots_steps_and_donations() {
        let arg = |slot, offset, strides: &[isize], len| Arg { slot, offset, strides: strides.into(), len };
        let kernel = "kernel rank 1 vector 0 (in f32 unit, out f32 unit; params f32) {
            %0 = load 0 %1 = param 0 %2 = mul %0, %1 map { store 1 <- %2 } }";
        let temp = Slot::Temp { offset: 64, nbytes: 32 };
        let plan = Plan {
            inputs: vec![16, 24],
            outputs: vec![16],
            arena: 128,
            steps: vec![
                Step::Copy { from: Slot::Input(0), to: temp, nbytes: 16 },
                Step::launch(
                    Arc::new(kernel.parse().unwrap()),
                    Binding {
                        extents: [4].into_iter().collect(),
                        args: vec![arg(temp, 3, &[-1], 0), arg(Slot::Output(0), 0, &[1], 0)],
                        params: vec![Scalar::f32(0.5)],
                    },
                ),
                Step::Call(Box::new(LibraryCall::Sort {
                    dtype: DType::F32,
                    rows: [2].into_iter().collect(),
                    n: 2,
                    indices: true,
                    input: arg(Slot::Input(0), 0, &[2, 1], 0),
                    output: arg(Slot::Output(0), 0, &[2, 1], 4),
                })),
            ],
            donations: [(0, 0)].into(),
        };
        let want = "\
plan inputs (16, 24) outputs (16) arena 128 bytes {
  copy temp[64..96] <- input0, 16 bytes
  launch extents (4,) params [0.5:f32]
    0: temp[64..96] + 3 strides (-1)
    1: output0 strides (1)
  kernel rank 1 vector 0 (in f32 unit, out f32 unit; params f32) {
    %0: f32 = load 0
    %1: f32 = param 0
    %2: f32 = mul %0, %1
    map {
      store 1 <- %2
    }
  }
  argsort f32 rows (2,) n 2
    input: input0 strides (2, 1)
    output: output0 strides (2, 1) len 4
  donate output0 <- input0
}";
        assert_eq!(plan.to_string(), want);
    }
}
