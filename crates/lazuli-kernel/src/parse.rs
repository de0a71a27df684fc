//! Reads what [`crate::print`] writes: kernels and scalars from text.
//!
//! `//` begins a comment; the dtype of a value may be left out, and is checked where it is given. Parsing checks the
//! form only: whether a kernel makes sense is the verifier's question ([`Kernel::verify`]).

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ir::{
    Accumulator, BinaryOp, Combine, Inner, Inst, Kernel, Nest, Operand, Role, ScanOp, ScatterOp, Store, UnaryOp, Value,
};
use crate::print::keyword;
use crate::scalar::Scalar;
use std::fmt::Debug;
use std::str::FromStr;

impl FromStr for Kernel {
    type Err = Error;
    /// ```
    /// use lazuli_kernel::Kernel;
    /// let text = "\
    /// kernel rank 1 vector 0 (in f32 unit, out f32 unit) {
    ///   %0: f32 = load 0
    ///   %1: f32 = add %0, %0
    ///   map {
    ///     store 1 <- %1
    ///   }
    /// }";
    /// let kernel: Kernel = text.parse()?;
    /// kernel.verify()?;
    /// assert_eq!(kernel.to_string(), text);
    /// # Ok::<(), lazuli_kernel::Error>(())
    /// ```
    fn from_str(text: &str) -> Result<Kernel> {
        let mut p = Parser { tokens: tokens(text), next: 0 };
        let kernel = p.kernel()?;
        match p.peek() {
            None => Ok(kernel),
            Some(_) => Err(p.expected("the end")),
        }
    }
}

impl FromStr for Scalar {
    type Err = Error;
    /// `1.5:f32`, `-inf:f16`, `-3:i8`, `true:bool`, `(1,2):c64`.
    fn from_str(text: &str) -> Result<Scalar> {
        let wrong =
            || Error::value("parse", format!("'{text}' is no scalar: write value:dtype, as in 1.5:f32 or -3:i8"));
        let (value, name) = text.rsplit_once(':').ok_or_else(wrong)?;
        let dtype = DType::from_short_name(name).ok_or_else(wrong)?;
        let f64 = || value.parse::<f64>().map_err(|_| wrong());
        match dtype {
            DType::Bool => value.parse().map(Scalar::bool).map_err(|_| wrong()),
            // Through f64 an f32 would round twice.
            DType::F32 => value.parse().map(Scalar::f32).map_err(|_| wrong()),
            DType::F16 | DType::BF16 | DType::F64 => Ok(Scalar::from_f64(dtype, f64()?)),
            DType::C64 => {
                let parts = value.strip_prefix('(').and_then(|v| v.strip_suffix(')')).and_then(|v| v.split_once(','));
                let (re, im) = parts.ok_or_else(wrong)?;
                Ok(Scalar::c64(re.trim().parse().map_err(|_| wrong())?, im.trim().parse().map_err(|_| wrong())?))
            }
            DType::U64 => Ok(Scalar { dtype, bits: value.parse().map_err(|_| wrong())? }),
            _ => {
                let v: i64 = value.parse().map_err(|_| wrong())?;
                let s = Scalar::from_i64(dtype, v);
                if s.to_i64() == v { Ok(s) } else { Err(wrong()) }
            }
        }
    }
}

/// A token and the number of its line, from 1.
type Token<'a> = (&'a str, usize);

/// Splits at white space and around punctuation; `<-` is one token.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut out = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut rest = line.split("//").next().unwrap_or("").trim_start();
        while let Some(first) = rest.chars().next() {
            let is_part = |c: char| c.is_alphanumeric() || "%_.:-+".contains(c);
            let length = match first {
                '<' if rest.starts_with("<-") => 2,
                c if is_part(c) => rest.find(|c| !is_part(c)).unwrap_or(rest.len()),
                c => c.len_utf8(),
            };
            out.push((&rest[..length], number + 1));
            rest = rest[length..].trim_start();
        }
    }
    out
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    next: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.next).map(|t| t.0)
    }
    /// An error at the next token.
    fn expected(&self, what: &str) -> Error {
        let (found, line) = match self.tokens.get(self.next) {
            Some((t, line)) => (format!("'{t}'"), *line),
            None => ("the end".into(), self.tokens.last().map_or(1, |t| t.1)),
        };
        Error::value("parse", format!("line {line}: expected {what}, found {found}"))
    }
    fn eat(&mut self, token: &str) -> bool {
        let found = self.peek() == Some(token);
        self.next += found as usize;
        found
    }
    fn expect(&mut self, token: &str) -> Result<()> {
        if self.eat(token) { Ok(()) } else { Err(self.expected(&format!("'{token}'"))) }
    }
    /// The next token turned into a `T`, or an error that says `what` was expected.
    fn read<T>(&mut self, what: &str, f: impl FnOnce(&str) -> Option<T>) -> Result<T> {
        let value = self.peek().and_then(f).ok_or_else(|| self.expected(what))?;
        self.next += 1;
        Ok(value)
    }
    fn number(&mut self) -> Result<u32> {
        self.read("a number", |t| t.parse().ok())
    }
    fn value(&mut self) -> Result<Value> {
        self.read("a value such as %0", |t| t.strip_prefix('%')?.parse().ok().map(Value))
    }
    fn next_value(&mut self) -> Result<Value> {
        self.expect(",")?;
        self.value()
    }
    fn dtype(&mut self) -> Result<DType> {
        self.read("a dtype", DType::from_short_name)
    }
    fn one_of<T: Copy + Debug>(&mut self, what: &str, all: &[T]) -> Result<T> {
        self.read(what, |t| find(all, t))
    }
    fn guard(&mut self) -> Result<Option<Value>> {
        if self.eat("if") { self.value().map(Some) } else { Ok(None) }
    }

    fn kernel(&mut self) -> Result<Kernel> {
        self.expect("kernel")?;
        self.expect("rank")?;
        let rank = self.number()?;
        self.expect("vector")?;
        let vector_axis = self.number()?;
        let (operands, params) = self.signature()?;
        self.expect("{")?;
        let mut kernel =
            Kernel { rank, vector_axis, params, operands, body: Vec::new(), nest: Nest::Map { stores: Vec::new() } };
        let mut annotations = Vec::new();
        kernel.body = self.insts(0, &mut annotations)?;
        kernel.nest = self.nest(kernel.body.len(), &mut annotations)?;
        self.expect("}")?;
        let known = crate::print::known_dtypes(&kernel);
        for (number, dtype, line) in annotations {
            if known[number] != Some(dtype) {
                let known = known[number].map_or("unknown", DType::short_name);
                let message =
                    format!("line {line}: %{number} is marked {}, but its dtype is {known}", dtype.short_name());
                return Err(Error::value("parse", message));
            }
        }
        Ok(kernel)
    }

    /// `(in f32 unit, out f32 unit; params f32)`.
    fn signature(&mut self) -> Result<(Vec<Operand>, Vec<DType>)> {
        let (mut operands, mut params) = (Vec::new(), Vec::new());
        self.expect("(")?;
        while !matches!(self.peek(), Some(")" | ";")) {
            if !operands.is_empty() {
                self.expect(",")?;
            }
            let role = self.one_of("in, out or inout", &[Role::In, Role::Out, Role::InOut])?;
            let dtype = self.dtype()?;
            let inner = self.one_of("unit, broadcast or strided", &[Inner::Unit, Inner::Broadcast, Inner::Strided])?;
            operands.push(Operand { dtype, role, inner });
        }
        if self.eat(";") {
            self.expect("params")?;
            params.push(self.dtype()?);
            while self.eat(",") {
                params.push(self.dtype()?);
            }
        }
        self.expect(")")?;
        Ok((operands, params))
    }

    /// Lines `%n: dtype = …`, numbered from `first`; dtypes that are given go to `annotations` with their line.
    fn insts(&mut self, first: usize, annotations: &mut Vec<(usize, DType, usize)>) -> Result<Vec<Inst>> {
        let mut out = Vec::new();
        while let Some(token) = self.peek().filter(|t| t.starts_with('%')) {
            let number = first + out.len();
            let line = self.tokens[self.next].1;
            let label = token.trim_end_matches(':');
            if label != format!("%{number}") {
                return Err(self.expected(&format!("%{number}: values are numbered in order")));
            }
            self.next += 1;
            if token.ends_with(':') {
                if self.peek() == Some("?") {
                    return Err(self.expected("a dtype"));
                }
                annotations.push((number, self.dtype()?, line));
            }
            self.expect("=")?;
            out.push(self.inst()?);
        }
        Ok(out)
    }

    fn inst(&mut self) -> Result<Inst> {
        let name = self.peek().ok_or_else(|| self.expected("an instruction"))?;
        self.next += 1;
        Ok(match name {
            "param" => Inst::Param(self.number()?),
            "const" => Inst::Const(self.scalar()?),
            "index" => Inst::Index(self.number()?),
            "extent" => Inst::Extent(self.number()?),
            "load" => {
                let operand = self.number()?;
                if !self.eat("[") {
                    return Ok(Inst::Load(operand));
                }
                let index = self.value()?;
                self.expect("]")?;
                Inst::LoadAt { operand, index, mask: self.guard()? }
            }
            "fma" => Inst::Fma(self.value()?, self.next_value()?, self.next_value()?),
            "select" => Inst::Select(self.value()?, self.next_value()?, self.next_value()?),
            "cast" => Inst::Cast(self.dtype()?, self.value()?),
            "bitcast" => Inst::Bitcast(self.dtype()?, self.value()?),
            "reduced" => Inst::Reduced(self.number()?),
            "reduced_index" => Inst::ReducedIndex(self.number()?),
            _ => {
                if let Some(op) = find(&UnaryOp::ALL, name) {
                    Inst::Unary(op, self.value()?)
                } else if let Some(op) = find(&BinaryOp::ALL, name) {
                    Inst::Binary(op, self.value()?, self.next_value()?)
                } else {
                    self.next -= 1;
                    return Err(self.expected("an instruction"));
                }
            }
        })
    }

    fn scalar(&mut self) -> Result<Scalar> {
        self.read("a scalar such as 1.5:f32", |t| t.parse().ok())
    }

    fn nest(&mut self, first: usize, annotations: &mut Vec<(usize, DType, usize)>) -> Result<Nest> {
        let keyword = self.peek().ok_or_else(|| self.expected("a nest"))?;
        self.next += 1;
        match keyword {
            "map" => Ok(Nest::Map { stores: self.block(|p| p.stores())? }),
            "reduce" => {
                let (axes, accumulators) = self.accumulators()?;
                let (epilogue, stores) = self.block(|p| Ok((p.insts(first, annotations)?, p.stores()?)))?;
                Ok(Nest::Reduce { axes, accumulators, epilogue, stores })
            }
            "rows" => {
                let (axes, accumulators) = self.accumulators()?;
                let (stores, (epilogue, row_stores)) = self.block(|p| {
                    let stores = p.stores()?;
                    let row = match p.eat("row") {
                        true => p.block(|p| Ok((p.insts(first, annotations)?, p.stores()?)))?,
                        false => (Vec::new(), Vec::new()),
                    };
                    Ok((stores, row))
                })?;
                Ok(Nest::Rows { axes, accumulators, stores, epilogue, row_stores })
            }
            "scan" => {
                let op = self.one_of("a way to scan", &ScanOp::ALL)?;
                let reverse = self.eat("reverse");
                let exclusive = self.eat("exclusive");
                let store = self.number()?;
                self.expect("<-")?;
                Ok(Nest::Scan { op, reverse, exclusive, value: self.value()?, store })
            }
            "recurrence" => {
                let reverse = self.eat("reverse");
                let store = self.number()?;
                self.expect("<-")?;
                Ok(Nest::Recurrence { reverse, factor: self.value()?, term: self.next_value()?, store })
            }
            "scatter" => {
                let op = self.one_of("a way to scatter", &ScatterOp::ALL)?;
                let target = self.number()?;
                self.expect("[")?;
                let index = self.value()?;
                self.expect("]")?;
                self.expect("<-")?;
                let value = self.value()?;
                Ok(Nest::Scatter { op, target, index, mask: self.guard()?, value })
            }
            _ => {
                self.next -= 1;
                Err(self.expected("an instruction, map, reduce, rows, scan, recurrence or scatter"))
            }
        }
    }

    /// `axes 1 (max %0, sum %8)`.
    fn accumulators(&mut self) -> Result<(u32, Vec<Accumulator>)> {
        self.expect("axes")?;
        let axes = self.number()?;
        self.expect("(")?;
        let mut accumulators = Vec::new();
        while !self.eat(")") {
            if !accumulators.is_empty() {
                self.expect(",")?;
            }
            let combine = self.one_of("a way to combine", &Combine::ALL)?;
            accumulators.push(Accumulator { combine, value: self.value()? });
        }
        Ok((axes, accumulators))
    }

    fn block<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.expect("{")?;
        let out = f(self)?;
        self.expect("}")?;
        Ok(out)
    }

    fn stores(&mut self) -> Result<Vec<Store>> {
        let mut out = Vec::new();
        while self.eat("store") {
            let operand = self.number()?;
            self.expect("<-")?;
            out.push(Store { operand, value: self.value()? });
        }
        Ok(out)
    }
}

/// The op whose [`keyword`] is `name`.
fn find<T: Copy + Debug>(all: &[T], name: &str) -> Option<T> {
    all.iter().copied().find(|&op| keyword(op) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text that parses prints as itself.
    #[track_caller]
    fn check(text: &str) {
        let kernel: Kernel = text.parse().unwrap();
        assert_eq!(kernel.to_string(), text);
    }

    #[test]
    fn kernels_survive_the_round_trip() {
        check(
            "\
kernel rank 2 vector 1 (in f32 unit, in i64 strided, out f16 unit, inout f32 broadcast; params f32, i64) {
  %0: f32 = load 0
  %1: i64 = load 1
  %2: f32 = param 0
  %3: f32 = const -1.5:f32
  %4: f32 = fma %0, %2, %3
  %5: bool = lt %0, %4
  %6: f32 = load 0[%1] if %5
  %7: f32 = load 0[%1]
  %8: f32 = select %5, %6, %7
  %9: f16 = cast f16 %8
  %10: i64 = index 1
  %11: i64 = extent 0
  %12: i32 = bitcast i32 %8
  %13: f32 = sqrt %8
  map {
    store 2 <- %9
    store 3 <- %13
  }
}",
        );
        check(
            "\
kernel rank 2 vector 1 (in f32 unit, out f32 broadcast, out i64 broadcast) {
  %0: f32 = load 0
  reduce axes 1 (sum %0, argmax %0) {
    %1: f32 = reduced 0
    %2: i64 = reduced_index 1
    store 1 <- %1
    store 2 <- %2
  }
}",
        );
        check(
            "\
kernel rank 2 vector 1 (in f32 unit, out f32 unit, out f32 broadcast, out i64 broadcast) {
  %0: f32 = load 0
  %1: f32 = reduced 0
  %2: f32 = sub %0, %1
  rows axes 1 (max %0, argmin %2) {
    store 1 <- %2
    row {
      %3: f32 = reduced 0
      %4: i64 = reduced_index 1
      store 2 <- %3
      store 3 <- %4
    }
  }
}",
        );
        check(
            "\
kernel rank 1 vector 0 (in f32 unit, out f32 unit) {
  %0: f32 = load 0
  scan logaddexp reverse exclusive 1 <- %0
}",
        );
        check(
            "\
kernel rank 1 vector 0 (in f32 unit, in f32 strided, out f32 unit) {
  %0: f32 = load 0
  %1: f32 = load 1
  recurrence reverse 2 <- %0, %1
}",
        );
        check(
            "\
kernel rank 1 vector 0 (in f32 unit, in i64 unit, inout f32 strided) {
  %0: f32 = load 0
  %1: i64 = load 1
  %2: bool = const true:bool
  scatter add 2[%1] <- %0 if %2
}",
        );
    }

    #[test]
    fn scalars_survive_the_round_trip() {
        use crate::scalar_ops::INTERESTING;
        for s in DType::ALL.iter().flat_map(|&d| INTERESTING.iter().map(move |&v| Scalar::from_f64(d, v))) {
            let back: Scalar = s.to_string().parse().unwrap();
            assert!(back == s || s.to_f64().is_nan() && back.to_f64().is_nan(), "{s} came back as {back}");
        }
    }

    #[test]
    fn errors_say_where_and_what() {
        for (text, want) in [
            ("kernel rank x", "line 1: expected a number, found 'x'"),
            ("kernel rank 1 vector 0 () {\n %0 = frob %1", "line 2: expected an instruction, found 'frob'"),
            (
                "kernel rank 1 vector 0 () {\n %1 = load 0",
                "line 2: expected %0: values are numbered in order, found '%1'",
            ),
            ("kernel rank 1 vector 0 () {\n %0 = const 300:u8", "expected a scalar such as 1.5:f32"),
            ("kernel rank 1 vector 0 () { map {", "line 1: expected '}', found the end"),
            (
                "kernel rank 1 vector 0 (in f32 unit) {\n %0: i32 = load 0 map { } }",
                "line 2: %0 is marked i32, but its dtype is f32",
            ),
        ] {
            let error = text.parse::<Kernel>().unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
