//! Parameters of primitives as text: what [`Primitive::params`](crate::prim::Primitive::params) prints and the parser reads back.
//!
//! A block lists its fields once, in `fields!`; name, printed parameters and the reading of them follow.

use crate::aval::Dim;
use lazuli_kernel::{DType, ScatterOp};
use smallvec::SmallVec;
use std::sync::Arc;

/// A type of parameter: `read(show(v)) == Some(v)`.
pub trait Param: Sized {
    fn show(&self) -> String;
    fn read(text: &str) -> Option<Self>;
}

/// The parameters of one equation as written, still text: `axes=(1,0),keepdims=false`.
#[derive(Debug, Clone, Default)]
pub struct Params<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Params<'a> {
    /// Splits at the commas outside parentheses; `None` if an entry has no `=`.
    pub fn split(text: &'a str) -> Option<Self> {
        list(text).into_iter().map(|entry| entry.split_once('=')).collect::<Option<Vec<_>>>().map(Self)
    }
    pub fn read<T: Param>(&self, name: &str) -> Option<T> {
        self.0.iter().find(|(n, _)| *n == name).and_then(|(_, text)| T::read(text))
    }
    pub fn len(&self) -> usize {
        self.0.len()
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The entries between commas that are outside parentheses and quotes; none for the empty text.
fn list(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut out) = (0, 0, Vec::new());
    let mut outside = Outside::default();
    for (i, c) in text.char_indices() {
        match c {
            c if !outside.sees(c) => {}
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                out.push(&text[from..i]);
                from = i + 1;
            }
            _ => {}
        }
    }
    if !text.is_empty() {
        out.push(&text[from..]);
    }
    out
}

impl Param for usize {
    fn show(&self) -> String {
        self.to_string()
    }
    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Param for isize {
    fn show(&self) -> String {
        self.to_string()
    }
    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Param for bool {
    fn show(&self) -> String {
        self.to_string()
    }
    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Param for DType {
    fn show(&self) -> String {
        self.short_name().to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        DType::from_short_name(text)
    }
}

/// As it is; between quotes where it would end the parameter, or be taken for a quoted one.
impl Param for Arc<str> {
    fn show(&self) -> String {
        let ends = |c: char| c.is_control() || matches!(c, '"' | '(' | ')' | ']' | ',');
        if self.contains(ends) { Quoted(self.clone()).show() } else { self.to_string() }
    }
    fn read(text: &str) -> Option<Self> {
        if text.starts_with('"') { Quoted::read(text).map(|quoted| quoted.0) } else { Some(text.into()) }
    }
}

/// Any text, which stands between quotes: brackets and commas in it are its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Quoted(pub Arc<str>);

impl Param for Quoted {
    fn show(&self) -> String {
        let escaped = |c: char| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() => c.escape_default().to_string(),
            c => c.to_string(),
        };
        format!("\"{}\"", self.0.chars().map(escaped).collect::<String>())
    }
    fn read(text: &str) -> Option<Self> {
        let mut rest = text.strip_prefix('"')?.strip_suffix('"')?.chars();
        let mut out = String::new();
        while let Some(c) = rest.next() {
            out.push(match c {
                '\\' => match rest.next()? {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    'u' => {
                        let code: String = rest.by_ref().take_while(|c| *c != '}').collect();
                        char::from_u32(u32::from_str_radix(code.strip_prefix('{')?, 16).ok()?)?
                    }
                    c => c,
                },
                c => c,
            });
        }
        Some(Quoted(out.into()))
    }
}

/// How far the parameters reach at the beginning of a text: up to the bracket or line end that closes them, outside of quotes.
pub(crate) fn extent(text: &str) -> usize {
    let mut outside = Outside::default();
    text.char_indices().find(|&(_, c)| outside.sees(c) && matches!(c, ']' | '\n')).map_or(text.len(), |(i, _)| i)
}

/// Tells what stands outside of quotes.
#[derive(Default)]
struct Outside {
    quoted: bool,
    escaped: bool,
}

impl Outside {
    /// Whether the next character does.
    fn sees(&mut self, c: char) -> bool {
        let outside = !self.quoted;
        match c {
            '"' if !self.escaped => self.quoted = !self.quoted,
            _ => {}
        }
        self.escaped = self.quoted && c == '\\' && !self.escaped;
        outside && c != '"'
    }
}

/// `none`, or the value.
impl<T: Param> Param for Option<T> {
    fn show(&self) -> String {
        self.as_ref().map_or("none".to_owned(), Param::show)
    }
    fn read(text: &str) -> Option<Self> {
        if text == "none" { Some(None) } else { T::read(text).map(Some) }
    }
}

/// `(1,0)`.
impl<T: Param, const N: usize> Param for SmallVec<[T; N]>
where
    [T; N]: smallvec::Array<Item = T>,
{
    fn show(&self) -> String {
        format!("({})", self.iter().map(Param::show).collect::<Vec<_>>().join(","))
    }
    fn read(text: &str) -> Option<Self> {
        list(text.strip_prefix('(')?.strip_suffix(')')?).into_iter().map(T::read).collect()
    }
}

impl Param for Dim {
    fn show(&self) -> String {
        self.to_string()
    }
    fn read(text: &str) -> Option<Self> {
        match text.strip_prefix('#') {
            None => text.parse().ok().map(Dim::Known),
            Some(rest) => {
                let (operand, axis) = rest.split_once('.')?;
                Some(Dim::Of { operand: operand.parse().ok()?, axis: axis.parse().ok()? })
            }
        }
    }
}

impl Param for ScatterOp {
    fn show(&self) -> String {
        match self {
            ScatterOp::Assign => "assign",
            ScatterOp::Add => "add",
            ScatterOp::Mul => "mul",
            ScatterOp::Min => "min",
            ScatterOp::Max => "max",
        }
        .to_owned()
    }
    fn read(text: &str) -> Option<Self> {
        let all = [ScatterOp::Assign, ScatterOp::Add, ScatterOp::Mul, ScatterOp::Min, ScatterOp::Max];
        all.into_iter().find(|op| op.show() == text)
    }
}

/// Name, printed parameters and their parser from a list of the fields. Where the name depends on a field, that field is given
/// first with the name of each of its values.
macro_rules! fields {
    ($name:literal $($field:ident),*) => {
        fn name(&self) -> &'static str {
            $name
        }
        fn params(&self) -> String {
            let fields: &[(&str, String)] = &[$((stringify!($field), crate::param::Param::show(&self.$field))),*];
            crate::param::join(fields)
        }
        #[allow(unused_variables)]
        fn parse(name: &str, params: &crate::param::Params) -> Option<Self> {
            if name != $name { return None }
            Some(Self { $($field: params.read(stringify!($field))?),* })
        }
    };
    ($op:ident { $($value:path => $name:literal),* $(,)? } $($field:ident),*) => {
        fn name(&self) -> &'static str {
            match self.$op { $($value => $name),* }
        }
        fn params(&self) -> String {
            crate::param::join(&[$((stringify!($field), crate::param::Param::show(&self.$field))),*])
        }
        fn parse(name: &str, params: &crate::param::Params) -> Option<Self> {
            let $op = match name { $($name => $value,)* _ => return None };
            Some(Self { $op, $($field: params.read(stringify!($field))?),* })
        }
    };
}
pub(crate) use fields;

/// `axes=(1,0),keepdims=false`.
pub fn join(fields: &[(&str, String)]) -> String {
    fields.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}
