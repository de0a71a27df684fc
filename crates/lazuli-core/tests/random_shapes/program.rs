//! Programs as data: what they are given, what they do, and how they are called. They print as text that parses again.
//!
//! ```text
//! 0: f32[n,m]                     an argument
//! 1: f32[3,m] state 5             state: the call leaves value 5 in its place
//! 2: f32[4,4] captured            reached through a closure
//! 3 = softmax[0] 0                a step
//! 5 = grad[1] 3 1 { 6 7           a step with a body of parameters 6 and 7
//!   8 = add 6 7
//! } 8                             what the body returns
//! 9 = reshape[#0.1,-1] 5          #0.1: extent 1 of value 0
//! return 9
//! call 3,5,1 row,flipped,row      n, m and k, how inputs lie in memory, and how the call is made
//! ```

use lazuli_core::DType;
use std::fmt;

/// A random function and its calls.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Program {
    pub inputs: Vec<Input>,
    pub steps: Vec<Step>,
    pub outputs: Vec<usize>,
    pub calls: Vec<Call>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    pub name: usize,
    pub dtype: DType,
    pub shape: Vec<Extent>,
    pub role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Role {
    Argument,
    /// Replaced by this value.
    State(usize),
    /// The same at all calls, so of known extents.
    Captured,
}

/// An extent of an input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Extent {
    Symbol(usize),
    Known(usize),
}

pub const SYMBOLS: [&str; 3] = ["n", "m", "k"];

/// One operation on values that came before, by their names.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub name: usize,
    pub op: String,
    pub numbers: Vec<Number>,
    pub operands: Vec<usize>,
    pub body: Option<Body>,
}

/// The function that a step transforms. It may use values of what is around it.
#[derive(Debug, Clone, PartialEq)]
pub struct Body {
    pub parameters: Vec<usize>,
    pub steps: Vec<Step>,
    pub outputs: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    Known(isize),
    /// The extent of an axis of a value.
    Of(usize, usize),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub extents: [usize; 3],
    /// Of each input.
    pub layouts: Vec<Lies>,
    /// State is what the call before left, if the extents are the same.
    pub carries: bool,
    /// Results are looked at after all calls.
    pub late: bool,
}

/// How an input lies in memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lies {
    Row,
    /// Axes in reverse order.
    Transposed,
    /// Each axis backwards.
    Flipped,
    /// Every second element of each axis.
    Strided,
    /// A part in the middle of a larger array.
    Within,
    /// One index of the first axis stands for all.
    Stretched,
    /// Not yet computed.
    Pending,
    /// The same array object as an earlier input, if that is alike.
    Same(usize),
}

impl Lies {
    pub const ALL: [(Lies, &str); 7] = [
        (Lies::Row, "row"),
        (Lies::Transposed, "transposed"),
        (Lies::Flipped, "flipped"),
        (Lies::Strided, "strided"),
        (Lies::Within, "within"),
        (Lies::Stretched, "stretched"),
        (Lies::Pending, "pending"),
    ];
}

fn joined<T: ToString>(items: &[T], by: &str) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(by)
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Extent::Symbol(k) => f.write_str(SYMBOLS[*k]),
            Extent::Known(n) => write!(f, "{n}"),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Known(n) => write!(f, "{n}"),
            Number::Of(value, axis) => write!(f, "#{value}.{axis}"),
        }
    }
}

impl fmt::Display for Lies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, Lies::ALL.iter().find(|(lies, _)| lies == self)) {
            (Lies::Same(k), _) => write!(f, "same.{k}"),
            (_, Some((_, name))) => f.write_str(name),
            (_, None) => Err(fmt::Error),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.name, self.op)?;
        if !self.numbers.is_empty() {
            write!(f, "[{}]", joined(&self.numbers, ","))?;
        }
        self.operands.iter().try_for_each(|x| write!(f, " {x}"))?;
        if let Some(body) = &self.body {
            let steps = joined(&body.steps, "\n").replace('\n', "\n  ");
            write!(f, " {{ {}\n  {steps}\n}} {}", joined(&body.parameters, " "), joined(&body.outputs, " "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Input { name, dtype, shape, role } in &self.inputs {
            write!(f, "{name}: {}[{}]", dtype.short_name(), joined(shape, ","))?;
            match role {
                Role::Argument => writeln!(f)?,
                Role::State(value) => writeln!(f, " state {value}")?,
                Role::Captured => writeln!(f, " captured")?,
            }
        }
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))?;
        writeln!(f, "return {}", joined(&self.outputs, " "))?;
        for call in &self.calls {
            write!(f, "call {} {}", joined(&call.extents, ","), joined(&call.layouts, ","))?;
            let words = [(call.carries, " carries"), (call.late, " late")];
            words.iter().filter(|(is, _)| *is).try_for_each(|(_, word)| f.write_str(word))?;
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Program {
    /// The inverse of printing. `None` if the text is no program.
    pub fn parse(text: &str) -> Option<Program> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
        let mut program = Program::default();
        while let Some(input) = lines.next_if(|line| line.split(' ').next().is_some_and(|word| word.ends_with(':'))) {
            program.inputs.push(parse_input(input)?);
        }
        let last;
        (program.steps, last) = parse_steps(&mut lines)?;
        program.outputs = names(last.strip_prefix("return")?)?;
        program.calls = lines.map(parse_call).collect::<Option<_>>()?;
        Some(program)
    }
}

fn names(text: &str) -> Option<Vec<usize>> {
    text.split_whitespace().map(|word| word.parse().ok()).collect()
}

fn parse_input(line: &str) -> Option<Input> {
    let (name, rest) = line.split_once(": ")?;
    let (dtype, rest) = rest.split_once('[')?;
    let (shape, role) = rest.split_once(']')?;
    let extent = |word: &str| match SYMBOLS.iter().position(|s| *s == word) {
        Some(k) => Some(Extent::Symbol(k)),
        None => word.parse().ok().map(Extent::Known),
    };
    let role = match role.trim().split_once(' ') {
        Some(("state", value)) => Role::State(value.parse().ok()?),
        _ if role.trim() == "captured" => Role::Captured,
        _ => Role::Argument,
    };
    Some(Input {
        name: name.parse().ok()?,
        dtype: DType::from_short_name(dtype)?,
        shape: shape.split(',').filter(|word| !word.is_empty()).map(extent).collect::<Option<_>>()?,
        role,
    })
}

/// Steps, and the line that ends them.
fn parse_steps<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Option<(Vec<Step>, &'a str)> {
    let mut steps = Vec::new();
    loop {
        let line = lines.next()?;
        let Some((name, rest)) = line.split_once(" = ") else { return Some((steps, line)) };
        let (head, parameters) = match rest.split_once(" {") {
            Some((head, parameters)) => (head, Some(parameters)),
            None => (rest, None),
        };
        let (op, operands) = head.split_once(' ').unwrap_or((head, ""));
        let (op, numbers) = op.strip_suffix(']').and_then(|op| op.split_once('[')).unwrap_or((op, ""));
        let number = |word: &str| match word.strip_prefix('#') {
            Some(of) => of.split_once('.').and_then(|(v, a)| Some(Number::Of(v.parse().ok()?, a.parse().ok()?))),
            None => word.parse().ok().map(Number::Known),
        };
        let body = match parameters {
            None => None,
            Some(parameters) => {
                let (steps, last) = parse_steps(lines)?;
                Some(Body { parameters: names(parameters)?, steps, outputs: names(last.strip_prefix('}')?)? })
            }
        };
        steps.push(Step {
            name: name.parse().ok()?,
            op: op.to_owned(),
            numbers: numbers.split(',').filter(|word| !word.is_empty()).map(number).collect::<Option<_>>()?,
            operands: names(operands)?,
            body,
        });
    }
}

fn parse_call(line: &str) -> Option<Call> {
    let mut words = line.strip_prefix("call ")?.split(' ');
    let extents: Vec<usize> = words.next()?.split(',').map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let lies = |word: &str| match word.strip_prefix("same.") {
        Some(k) => k.parse().ok().map(Lies::Same),
        None => Lies::ALL.iter().find(|(_, name)| *name == word).map(|(lies, _)| *lies),
    };
    let layouts = words.next()?.split(',').filter(|w| !w.is_empty()).map(lies).collect::<Option<_>>()?;
    let rest: Vec<&str> = words.collect();
    Some(Call {
        extents: extents.try_into().ok()?,
        layouts,
        carries: rest.contains(&"carries"),
        late: rest.contains(&"late"),
    })
}
