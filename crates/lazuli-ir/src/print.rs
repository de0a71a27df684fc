//! Graphs as text. What is printed parses back to the same graph ([`FromStr`](std::str::FromStr)), locations included in the alternate form:
//!
//! ```text
//! graph v1 (a: f32[4,3], b: f32[3]; c: f32[]) {
//!   d: f32[4,3] = add a b
//!   e: f32[4,3] = broadcast_to[shape=(#0.0,3)] c | a
//!   f: f32[4,3] = call[name=relu] d with (a: f32[4,3]) {
//!     b: f32[4,3] = maximum a 0.0:f32
//!     return b
//!   }
//!   return f e
//! }
//! ```
//!
//! A call whose body a rule makes shows the rule in its place, with the graph that it transforms, if it does:
//!
//! ```text
//!   d: f32[3] = call[name=roll] a with roll[shift=1,axis=0]
//!   e: f32[3] = call[name=vjp] a b with vjp[primals=1,cotangents=1] (a: f32[3]) { … }
//! ```
//!
//! A choice prints both its branches, `g: f32[3] = cond p d with (…) { … } else (…) { … }`. Variables are named in the order of their definition; inputs after the `;` are constants; operands after the `|` are shape operands, to which `#0.1`
//! (axis 1 of the first) refers; a stream or effect that is not the default stands in braces behind the operands. With `{:#}` each equation
//! ends with its place in the user's program, ` @ file:line`.

use crate::graph::{Atom, Effect, Equation, Graph, Var};
use crate::location::Location;
use crate::prim::Prim;
use crate::prims::Rule;
use std::fmt;

/// First word of the text form, and its version.
pub const HEADER: &str = "graph v1";

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HEADER} ")?;
        Printer::new(self, f.alternate(), 0, None).graph(f)
    }
}

/// A graph with one equation pointed at; for reports about graphs that are not well formed.
pub(crate) struct Marked<'a>(pub &'a Graph, pub Option<usize>);

impl fmt::Display for Marked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HEADER} ")?;
        Printer::new(self.0, true, 0, self.1).graph(f)
    }
}

/// Parts of a graph's text: the names of its variables, its equations one by one.
#[derive(Debug)]
pub struct Text<'a>(Printer<'a>);

impl<'a> Text<'a> {
    pub fn new(graph: &'a Graph) -> Self {
        Self(Printer::new(graph, false, 0, None))
    }
    /// What a variable is called.
    pub fn name(&self, v: Var) -> String {
        self.0.name(v)
    }
    /// Equation number `i`, without its place in the user's program.
    pub fn equation(&self, i: usize) -> String {
        struct One<'a>(&'a Printer<'a>, &'a Equation);
        impl fmt::Display for One<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.equation(f, self.1)
            }
        }
        One(&self.0, &self.0.graph.equations[i]).to_string()
    }
}

/// `a`, `b`, …, `z`, `aa`, `ab`, …
fn letters(mut n: usize) -> String {
    let mut name = Vec::new();
    loop {
        name.push(b'a' + (n % 26) as u8);
        match (n / 26).checked_sub(1) {
            Some(rest) => n = rest,
            None => break,
        }
    }
    name.reverse();
    String::from_utf8(name).expect("letters are ASCII")
}

#[derive(Debug)]
struct Printer<'a> {
    graph: &'a Graph,
    /// Rank of each variable in the order of definition.
    order: Vec<Option<usize>>,
    locations: bool,
    depth: usize,
    marked: Option<usize>,
}

impl<'a> Printer<'a> {
    fn new(graph: &'a Graph, locations: bool, depth: usize, marked: Option<usize>) -> Self {
        let mut order = vec![None; graph.avals.len()];
        let defined = graph.inputs.iter().chain(graph.equations.iter().flat_map(|e| &e.outputs));
        for (n, v) in defined.enumerate() {
            if let Some(slot) = order.get_mut(v.0 as usize) {
                slot.get_or_insert(n);
            }
        }
        Self { graph, order, locations, depth, marked }
    }
    /// The name of a variable; `?n` if nothing defines it.
    fn name(&self, v: Var) -> String {
        self.order.get(v.0 as usize).copied().flatten().map_or_else(|| format!("?{}", v.0), letters)
    }
    fn atom(&self, a: Atom) -> String {
        match a {
            Atom::Var(v) => self.name(v),
            Atom::Lit(s) => s.to_string(),
        }
    }
    fn typed(&self, vars: &[Var]) -> String {
        let one = |v: &Var| match self.graph.avals.get(v.0 as usize) {
            Some(aval) => format!("{}: {aval}", self.name(*v)),
            None => self.name(*v),
        };
        vars.iter().map(one).collect::<Vec<_>>().join(", ")
    }
    fn graph(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let split = self.graph.inputs.len().saturating_sub(self.graph.constants);
        let (arguments, constants) = self.graph.inputs.split_at(split);
        write!(f, "({}", self.typed(arguments))?;
        if !constants.is_empty() {
            write!(f, "; {}", self.typed(constants))?;
        }
        writeln!(f, ") {{")?;
        let indent = "  ".repeat(self.depth + 1);
        for (i, e) in self.graph.equations.iter().enumerate() {
            match self.marked == Some(i) {
                true => write!(f, "> {}", &indent[2..])?,
                false => write!(f, "{indent}")?,
            }
            self.equation(f, e)?;
            if self.locations && e.meta.location != Location::UNKNOWN {
                write!(f, " @ {}", e.meta.location)?;
            }
            writeln!(f)?;
        }
        write!(f, "{indent}return")?;
        for &a in &self.graph.outputs {
            write!(f, " {}", self.atom(a))?;
        }
        write!(f, "\n{}}}", "  ".repeat(self.depth))
    }
    fn equation(&self, f: &mut fmt::Formatter<'_>, e: &Equation) -> fmt::Result {
        if !e.outputs.is_empty() {
            write!(f, "{} = ", self.typed(&e.outputs))?;
        }
        write!(f, "{}", e.prim.name())?;
        let params = e.prim.params();
        if !params.is_empty() {
            write!(f, "[{params}]")?;
        }
        for &a in &e.inputs {
            write!(f, " {}", self.atom(a))?;
        }
        if !e.shapes.is_empty() {
            write!(f, " |")?;
            for &v in &e.shapes {
                write!(f, " {}", self.name(v))?;
            }
        }
        let mut marks = Vec::new();
        if e.meta.stream != 0 {
            marks.push(format!("stream={}", e.meta.stream));
        }
        if e.stated_effect() == Effect::Ordered {
            marks.push("ordered".to_owned());
        }
        if e.meta.again != 0 {
            marks.push(format!("again={}", e.meta.again));
        }
        if !marks.is_empty() {
            write!(f, " {{{}}}", marks.join(","))?;
        }
        if let Prim::Cond(cond) = &e.prim {
            for (word, graph) in ["with", "else"].into_iter().zip(&cond.branches) {
                write!(f, " {word} ")?;
                Printer::new(graph, self.locations, self.depth + 1, None).graph(f)?;
            }
        }
        if let Prim::Call(call) = &e.prim {
            write!(f, " with ")?;
            let body = call.rule.as_ref().map_or(Some(&*call.graph), |rule| rule.make.source());
            if let Some(Rule { make: rule, .. }) = &call.rule {
                write!(f, "{}[{}]{}", rule.name(), rule.params(), if body.is_some() { " " } else { "" })?;
            }
            if let Some(graph) = body {
                Printer::new(graph, self.locations, self.depth + 1, None).graph(f)?;
            }
            for (rule, graph) in call.derivative.rules() {
                write!(f, " {rule} ")?;
                Printer::new(graph, self.locations, self.depth + 1, None).graph(f)?;
            }
        }
        Ok(())
    }
}
