//! Text to graphs: the inverse of printing. Names of variables are free; a graph that does not verify is refused.

use crate::aval::Aval;
use crate::graph::{Atom, Effect, Equation, Graph, Meta, Var};
use crate::location::Location;
use crate::param::Params;
use crate::prim::Prim;
use crate::prims::{Call, Cond, Derivative, GraphRule, ReadRule};
use crate::print::HEADER;
use lazuli_kernel::{DType, Error, Result, Shape};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

impl FromStr for Graph {
    type Err = Error;
    /// ```
    /// use lazuli_ir::Graph;
    /// let text = "graph v1 (a: f32[3]) {\n  b: f32[3] = multiply a 2.0:f32\n  return b\n}";
    /// let graph: Graph = text.parse()?;
    /// assert_eq!(graph.to_string(), text);
    /// # Ok::<(), lazuli_ir::Error>(())
    /// ```
    fn from_str(text: &str) -> Result<Graph> {
        Graph::parse(text, &|_, _, _| None)
    }
}

impl Graph {
    /// Reads a graph; `rule` finds the rules of its calls, of which the IR knows none.
    pub fn parse(text: &str, rule: &ReadRule) -> Result<Graph> {
        let mut p = Parser { text, at: 0, depth: 0, rule };
        p.skip();
        if !p.eat(HEADER) {
            return Err(p.expected(&format!("'{HEADER}': the text of another version can't be read")));
        }
        p.skip();
        let graph = p.graph()?;
        p.skip();
        if p.at < text.len() {
            return Err(p.expected("the end of the text"));
        }
        graph.verify()?;
        Ok(graph)
    }
}

impl FromStr for Aval {
    type Err = Error;
    fn from_str(text: &str) -> Result<Aval> {
        let bad = || Error::value("parse", format!("'{text}' is not a dtype with extents such as f32[2,3]"));
        let (dtype, dims) = text.strip_suffix(']').and_then(|t| t.split_once('[')).ok_or_else(bad)?;
        let dtype = DType::from_short_name(dtype).ok_or_else(bad)?;
        let dims: Option<Shape> = match dims {
            "" => Some(Shape::new()),
            dims => dims.split(',').map(|n| n.parse().ok()).collect(),
        };
        let aval = Aval::new(dtype, dims.ok_or_else(bad)?);
        // The number of bytes must be a number.
        aval.shape.iter().try_fold(dtype.itemsize(), |n, &m| n.checked_mul(m.max(1))).ok_or_else(bad)?;
        Ok(aval)
    }
}

/// Bodies of calls may nest this deep: each level takes some of the stack.
const DEEPEST: usize = 256;

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    rule: &'a ReadRule,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }
    fn expected(&self, what: &str) -> Error {
        let line = self.text[..self.at].matches('\n').count() + 1;
        let here: String = self.rest().lines().next().unwrap_or("").chars().take(40).collect();
        Error::value("parse", format!("line {line}: expected {what}, found '{here}'"))
    }
    /// Passes over spaces and line ends.
    fn skip(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }
    /// Passes over spaces within a line.
    fn blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches([' ', '\t']).len();
    }
    fn eat(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }
    fn need(&mut self, word: &str) -> Result<()> {
        self.skip();
        if self.eat(word) { Ok(()) } else { Err(self.expected(&format!("'{word}'"))) }
    }
    /// The text up to the first of these characters, or to the end.
    fn until(&mut self, stops: &[char]) -> &'a str {
        let rest = self.rest();
        let n = rest.find(stops).unwrap_or(rest.len());
        self.at += n;
        &rest[..n]
    }
    fn name(&mut self) -> Result<&'a str> {
        self.skip();
        let rest = self.rest();
        let n = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        if n == 0 || rest.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(self.expected("a name"));
        }
        self.at += n;
        Ok(&rest[..n])
    }

    /// From the parenthesis of the inputs to the closing brace.
    fn graph(&mut self) -> Result<Graph> {
        let (mut graph, mut names) = (Graph::default(), HashMap::new());
        self.need("(")?;
        self.skip();
        let mut first_constant = self.eat(";").then_some(0);
        loop {
            self.skip();
            if self.eat(")") {
                break;
            }
            let v = self.definition(&mut graph, &mut names)?;
            graph.inputs.push(v);
            self.skip();
            if self.eat(";") {
                first_constant = Some(graph.inputs.len());
            } else if !self.eat(",") && !self.rest().starts_with(')') {
                return Err(self.expected("',', ';' or ')'"));
            }
        }
        graph.constants = first_constant.map_or(0, |n| graph.inputs.len() - n);
        self.need("{")?;
        loop {
            self.skip();
            if self.rest().starts_with("return")
                && !self.rest()[6..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == ':' || c == '_')
            {
                self.at += 6;
                graph.outputs = self.atoms(&names)?;
                self.need("}")?;
                return Ok(graph);
            }
            let equation = self.equation(&mut graph, &mut names)?;
            graph.equations.push(equation);
        }
    }
    /// `name: f32[2,3]`: a new variable.
    fn definition(&mut self, graph: &mut Graph, names: &mut HashMap<&'a str, Var>) -> Result<Var> {
        let name = self.name()?;
        self.need(":")?;
        self.skip();
        let start = self.at;
        self.until(&[']']);
        if !self.eat("]") {
            return Err(self.expected("']'"));
        }
        let aval: Aval = self.text[start..self.at].parse()?;
        let v = Var(graph.avals.len() as u32);
        if names.insert(name, v).is_some() {
            return Err(Error::value("parse", format!("'{name}' is defined twice")));
        }
        graph.avals.push(aval);
        Ok(v)
    }
    fn equation(&mut self, graph: &mut Graph, names: &mut HashMap<&'a str, Var>) -> Result<Equation> {
        // The outputs are not known to the right hand side, so they are defined in another table first.
        let (mut outputs, mut defined) = (smallvec::SmallVec::new(), HashMap::new());
        // An equation without outputs begins with the primitive's name.
        let word =
            self.text.len() - self.rest().trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').len();
        if self.text[word..].trim_start().starts_with(':') {
            loop {
                outputs.push(self.definition(graph, &mut defined)?);
                self.skip();
                if !self.eat(",") {
                    break;
                }
            }
            self.need("=")?;
        }
        let name = self.name()?;
        let params = match self.eat("[") {
            true => {
                let text = &self.rest()[..crate::param::extent(self.rest())];
                self.at += text.len();
                self.need("]")?;
                text
            }
            false => "",
        };
        let inputs: SmallVec<[Atom; 3]> = self.atoms(names)?.into();
        let mut shapes = SmallVec::new();
        if self.eat("|") {
            for atom in self.atoms(names)? {
                match atom {
                    Atom::Var(v) => shapes.push(v),
                    Atom::Lit(_) => return Err(self.expected("a variable: a literal has no extents")),
                }
            }
        }
        let mut meta = Meta::default();
        if self.eat("{") {
            for mark in self.until(&['}', '\n']).split(',') {
                match mark.split_once('=') {
                    Some(("stream", n)) => meta.stream = n.parse().map_err(|_| self.expected("a stream's number"))?,
                    Some(("again", n)) => meta.again = n.parse().map_err(|_| self.expected("a number"))?,
                    None if mark == "ordered" => meta.effect = Effect::Ordered,
                    _ => return Err(self.expected("'stream=n', 'again=n' or 'ordered'")),
                }
            }
            self.need("}")?;
            self.blanks();
        }
        let unknown = || Error::value("parse", format!("there is no primitive '{name}' with parameters [{params}]"));
        let params_read = Params::split(params).ok_or_else(unknown)?;
        let prim = match name {
            "cond" if params.is_empty() => {
                let (on_true, on_false) = (self.nested("with")?, self.nested("else")?);
                Cond::new(on_true, on_false).into()
            }
            "call" => {
                let avals: Vec<Aval> = inputs.iter().map(|&a| graph.aval(a)).collect();
                self.call(params, &params_read, &avals)?.into()
            }
            _ => Prim::parse(name, &params_read).filter(|p| p.params() == params).ok_or_else(unknown)?,
        };
        meta.effect = meta.effect.max(prim.effect());
        self.blanks();
        if self.eat("@") {
            let place = self.until(&['\n']).trim();
            let (file, line) = place.rsplit_once(':').ok_or_else(|| self.expected("file:line"))?;
            let line = line.parse().map_err(|_| self.expected("file:line"))?;
            meta.location = Location::new(file, line);
        }
        for (name, v) in defined {
            if names.insert(name, v).is_some() {
                return Err(Error::value("parse", format!("'{name}' is defined twice")));
            }
        }
        Ok(Equation { prim, inputs, shapes, outputs, meta })
    }
    /// The body of a call, or the rule that makes it for these operands.
    fn call(&mut self, text: &str, params: &Params, inputs: &[Aval]) -> Result<Call> {
        let unknown = || Error::value("parse", format!("there is no primitive 'call' with parameters [{text}]"));
        let name: Arc<str> = params.read("name").ok_or_else(unknown)?;
        self.need("with")?;
        self.skip();
        self.deeper()?;
        let call = if self.rest().starts_with('(') {
            let graph = self.graph()?;
            let mut rule = |word: &str| -> Result<Option<Arc<Graph>>> {
                self.blanks();
                Ok(if self.eat(word) { Some(Arc::new(self.graph()?)) } else { None })
            };
            let (vjp, jvp) = (rule("vjp ")?, rule("jvp ")?);
            let derivative = match (params.read::<Arc<str>>("derivative").as_deref(), vjp, jvp) {
                (None, None, None) => Derivative::Body,
                (Some("recompute"), None, None) => Derivative::Recompute,
                (Some("custom"), vjp, jvp) => Derivative::Custom { vjp, jvp },
                (Some("pullback"), Some(vjp), None) => Derivative::Pullback { vjp },
                _ => return Err(self.expected("the rules that the derivative names")),
            };
            Call { derivative, ..Call::new(name, graph) }
        } else {
            let rule = self.rule()?;
            Call::ruled(name, rule, &inputs.iter().collect::<Vec<_>>())?
        };
        self.depth -= 1;
        Ok(call)
    }
    fn deeper(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth <= DEEPEST {
            return Ok(());
        }
        Err(Error::value("parse", format!("calls and branches are nested more than {DEEPEST} deep")))
    }
    /// A body behind this word.
    fn nested(&mut self, word: &str) -> Result<Graph> {
        self.need(word)?;
        self.skip();
        self.deeper()?;
        let graph = self.graph()?;
        self.depth -= 1;
        Ok(graph)
    }
    /// `roll[shift=1,axis=0]`, and the graph that it transforms.
    fn rule(&mut self) -> Result<Arc<dyn GraphRule>> {
        let name = self.name()?;
        self.need("[")?;
        let params = self.until(&[']', '\n']);
        self.need("]")?;
        self.blanks();
        let source = match self.rest().starts_with('(') {
            true => {
                let graph = self.graph()?;
                graph.verify()?;
                Some(graph)
            }
            false => None,
        };
        let read = Params::split(params).and_then(|read| (self.rule)(name, &read, source));
        let found = read.filter(|rule| rule.params() == params);
        found.ok_or_else(|| Error::value("parse", format!("there is no rule '{name}' with parameters [{params}]")))
    }
    /// Operands up to the end of the line, or whatever is not an operand.
    fn atoms(&mut self, names: &HashMap<&'a str, Var>) -> Result<Vec<Atom>> {
        let mut out = Vec::new();
        loop {
            self.blanks();
            let rest = self.rest();
            if rest.is_empty() || rest.starts_with(['\n', '\r', '|', '{', '}', '@']) || begins_body(rest) {
                return Ok(out);
            }
            let word = self.until(&[' ', '\t', '\n', '\r']);
            out.push(match names.get(word) {
                Some(&v) => v.into(),
                None if word.contains(':') => Atom::Lit(word.parse()?),
                None => {
                    self.at -= word.len();
                    return Err(self.expected("a variable that is defined above, or a literal"));
                }
            });
        }
    }
}

/// Whether the body of a call stands here, or its rule; a variable may have any name.
fn begins_body(rest: &str) -> bool {
    let Some(rest) = rest.strip_prefix("with ") else { return false };
    rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').starts_with(['(', '['])
}
