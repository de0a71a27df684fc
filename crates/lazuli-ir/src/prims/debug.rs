//! Printing of values while a program runs.

use crate::aval::Aval;
use crate::builder::Builder;
use crate::extents::{Place, Relations};
use crate::graph::{Atom, Effect};
use crate::param::Quoted;
use crate::prim::{Arity, Lowering, Primals, Primitive, Tangents, VmapCx, VmapOut};
use lazuli_kernel::text::{self, Spec};
use lazuli_kernel::{DType, Error, HostArray, HostCall, Result, Scalar, host, shape};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// Prints a line: the format with its inputs in the place of `{0}`, `{1:.3f}`, `{2!r}`, …; `{{` and `}}` are braces. It has no outputs and an ordered effect.
///
/// `{0}` is a number as such, and of an array with axes its printed form, which `{0!r}` is of both. A [format](Spec) is for numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DebugPrint {
    pub format: Quoted,
    /// How many leading axes of every input are those of batches: a line for each point of them, in row-major order.
    pub batch: usize,
}

/// A part of a format.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Value { input: usize, repr: bool, spec: Option<Spec> },
}

/// The parts of a format, or what is wrong with it.
fn parts(format: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = format.chars().peekable();
    while let Some(c) = rest.next() {
        if matches!(c, '{' | '}') && rest.peek() == Some(&c) {
            rest.next();
            text.push(c);
            continue;
        }
        match c {
            '}' => return Err("a '}' without its '{': write '}}' for the brace itself".into()),
            '{' => {}
            c => {
                text.push(c);
                continue;
            }
        }
        let mut field = String::new();
        loop {
            match rest.next() {
                Some('}') => break,
                Some(c) => field.push(c),
                None => return Err("a '{' without its '}': write '{{' for the brace itself".into()),
            }
        }
        if !text.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut text)));
        }
        let (name, spec) = field.split_once(':').map_or((&field[..], ""), |(name, spec)| (name, spec));
        let (name, repr) = match name.split_once('!') {
            Some((name, "r" | "s")) => (name, true),
            Some((_, other)) => return Err(format!("'!{other}' is no conversion: there are !r and !s")),
            None => (name, false),
        };
        let input = name.parse().map_err(|_| format!("'{{{field}}}' does not begin with the number of an input"))?;
        let spec = if spec.is_empty() { None } else { Some(spec.parse()?) };
        if repr && spec.is_some() {
            return Err(format!("'{{{field}}}' has both a conversion and a format"));
        }
        parts.push(Part::Value { input, repr, spec });
    }
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
}

fn numbered(format: &str) -> String {
    let mut out = String::with_capacity(format.len());
    let (mut next, mut rest) = (0, format);
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        out += before;
        let double = brace.starts_with("{{") || brace.starts_with("}}");
        let taken = if double { 2 } else { 1 };
        out += &brace[..taken];
        rest = &brace[taken..];
        if !double && brace.starts_with('{') && (rest.starts_with([':', '!', '}'])) {
            out += &next.to_string();
            next += 1;
        }
    }
    out + rest
}

impl DebugPrint {
    /// A print of this format for inputs of these avals. Empty fields (`{}`, `{:.2f}`) are numbered in their order.
    ///
    /// # Errors
    /// If the format is not well formed, names an input that is not there, leaves one out, or is not one for the input's dtype or shape.
    pub fn new(format: &str, inputs: &[&Aval]) -> Result<DebugPrint> {
        let print = DebugPrint { format: Quoted(numbered(format).into()), batch: 0 };
        print.check(inputs)?;
        Ok(print)
    }

    fn error(&self, what: String) -> Error {
        Error::value("debug.print", format!("in the format {:?}: {what}", &*self.format.0))
    }

    fn check(&self, inputs: &[&Aval]) -> Result<()> {
        let mut used = vec![false; inputs.len()];
        for part in parts(&self.format.0).map_err(|what| self.error(what))? {
            let Part::Value { input, spec, .. } = part else { continue };
            let Some(aval) = inputs.get(input) else {
                let n = inputs.len();
                return Err(self.error(format!("it names value {input}, and {n} are given")));
            };
            used[input] = true;
            let Some(spec) = spec else { continue };
            if aval.rank() != self.batch {
                let of = shape::show(&aval.shape);
                return Err(self.error(format!(
                    "a format is for numbers, and value {input} is an array of shape {of}: write {{{input}}}, or print elements of it"
                )));
            }
            spec.check(aval.dtype).map_err(|what| self.error(format!("value {input} is of {}: {what}", aval.dtype)))?;
        }
        match used.iter().position(|used| !used) {
            Some(left) => Err(self.error(format!("value {left} is not in it: add {{{left}}}"))),
            None => Ok(()),
        }
    }
}

impl Primitive for DebugPrint {
    crate::param::fields!("debug_print" format, batch);
    fn arity(&self) -> Arity {
        Arity::AtLeast(0)
    }
    fn infer(&self, inputs: &[&Aval], _: &[&Aval]) -> Result<SmallVec<[Aval; 1]>> {
        let batch = |a: &Aval| a.shape.get(..self.batch).map(<[usize]>::to_vec);
        if self.batch > 0
            && (inputs.is_empty() || !inputs.iter().all(|a| batch(a).is_some() && batch(a) == batch(inputs[0])))
        {
            return Err(Error::internal("debug_print", "all inputs have the batch in front"));
        }
        self.check(inputs)?;
        Ok(smallvec![])
    }
    fn jvp(&self, _: &mut Builder, _: Primals, _: &[Option<Atom>]) -> Result<Tangents> {
        Ok(smallvec![])
    }
    fn relate(&self, extents: &mut dyn Relations, inputs: &[&Aval]) {
        for (k, axis) in (1..inputs.len()).flat_map(|k| (0..self.batch).map(move |axis| (k, axis))) {
            let n = extents.extent(Place::Input(0, axis));
            extents.is(Place::Input(k, axis), n);
        }
    }
    fn vmap(&self, b: &mut Builder, cx: VmapCx) -> Result<VmapOut> {
        let inputs = cx.batch_all(b)?;
        b.equation(DebugPrint { batch: self.batch + 1, ..self.clone() }, &inputs, &[])?;
        Ok(smallvec![])
    }
    fn lowering(&self, _: &[&Aval], _: &[&Aval]) -> Lowering {
        Lowering::Host
    }
    fn host_call(&self) -> Arc<dyn HostCall> {
        Arc::new(Line { parts: parts(&self.format.0).unwrap_or_default(), batch: self.batch })
    }
    fn effect(&self) -> Effect {
        Effect::Ordered
    }
}

/// What is printed.
#[derive(Debug)]
struct Line {
    parts: Vec<Part>,
    batch: usize,
}

impl HostCall for Line {
    fn name(&self) -> &'static str {
        "debug_print"
    }
    fn call(&self, arrays: &[HostArray<'_>]) -> Result<()> {
        let points: usize = arrays.first().map_or(1, |a| a.shape[..self.batch].iter().product());
        for point in 0..points {
            let mut line = String::new();
            for part in &self.parts {
                match part {
                    Part::Text(text) => line += text,
                    Part::Value { input, repr, spec } => {
                        let HostArray { dtype, shape, bytes } = arrays[*input];
                        let n = bytes.len() / points;
                        line += &show(dtype, &shape[self.batch..], &bytes[point * n..][..n], *repr, spec.as_ref());
                    }
                }
            }
            line.push('\n');
            host::write(&line)?;
        }
        Ok(())
    }
}

fn show(dtype: DType, shape: &[usize], bytes: &[u8], repr: bool, spec: Option<&Spec>) -> String {
    match (shape, spec) {
        ([], Some(spec)) => spec.format(Scalar::from_bytes(dtype, bytes)),
        ([], None) if !repr => text::plain(Scalar::from_bytes(dtype, bytes)),
        _ => text::array(dtype, shape, bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_numbered_and_checked() {
        let f32s = |shape: &[usize]| Aval::new(DType::F32, shape);
        let check = |format: &str, inputs: &[Aval], want: &str| {
            let found = DebugPrint::new(format, &inputs.iter().collect::<Vec<_>>());
            let text = found.map_or_else(|e| e.message().to_owned(), |p| p.format.0.to_string());
            assert!(text.contains(want), "{format}: {text}");
        };
        let x = || f32s(&[]);
        check("x = {}, y = {:.2f}", &[x(), x()], "x = {0}, y = {1:.2f}");
        check("{{{}}}", &[x()], "{{{0}}}");
        check("{1} {0!r}", &[x(), f32s(&[2])], "{1} {0!r}");
        check("nothing", &[], "nothing");
        check("{}", &[], "names value 0, and 0 are given");
        check("{0}", &[x(), x()], "value 1 is not in it");
        check("{:.2f}", &[f32s(&[2])], "an array of shape (2,)");
        check("{:d}", &[x()], "value 0 is of float32: the type 'd' is for integers");
        check("{", &[], "without its '}'");
        check("}", &[], "without its '{'");
        check("{x}", &[x()], "does not begin with the number");
        check("{!x}", &[x()], "is no conversion");
    }
}
