//! What a key is a list of, and what is said of two keys that differ.

use lazuli_core::cache::{self, Change};
use lazuli_core::{CompileMode, DType, Shape};
use std::collections::HashSet;
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Token {
    Mode(CompileMode),
    Shapeless(&'static str),
    /// `args`, `kwargs`, `inputs` or `outputs` begin.
    Part(&'static str),
    /// What follows is of a derived or registered class.
    Class(usize),
    /// The version of the attributes of the object that follows, or of what stands in the array object that follows.
    Version(u64),
    List(usize),
    Tuple(usize),
    /// Each entry is a key and a value.
    Dict(usize),
    /// What a registered class keeps besides its children, and this many children.
    Node(usize),
    /// Start, stop and step.
    Slice,
    /// Attributes of the object of a derived class that follows: each is a name and a value.
    Attributes(usize),
    Key(Box<str>),
    /// A key that is no string that UTF-8 can hold, by its hash and what Python writes for it.
    OtherKey(isize, Box<str>),
    /// A key that is compared by identity, and its text.
    ObjectKey(usize, Box<str>),
    Array(DType, Shape),
    /// An array of any rank and extents (shapeless).
    AnyArray(DType),
    /// An array of this rank, and per axis whether its extent is 0, 1 or more (shapeless).
    Ranked(DType, Box<[u8]>),
    /// A number that is traced, of this dtype by itself.
    Number(DType),
    /// Behind a shapeless key: a further trace for such arguments.
    Next,
    /// The array object that an earlier leaf is.
    Same(usize),
    /// The list, dict or object of a registered class that follows is one that stands before.
    Again(usize),
    None,
    Ellipsis,
    Bool(bool),
    Int(i64),
    BigInt(Box<str>),
    Float(u64),
    Complex(u64, u64),
    Text(Box<str>),
    /// A text with lone surrogates, escaped.
    Surrogates(Box<str>),
    Bytes(Box<[u8]>),
    DType(DType),
    /// An object that is compared by identity.
    Identity(usize),
    /// A bound method: its object and its function.
    Method(usize, usize),
}

impl Token {
    /// How many children stand behind it.
    fn children(&self) -> usize {
        match self {
            Token::List(n) | Token::Tuple(n) | Token::Dict(n) | Token::Attributes(n) => *n,
            Token::Node(n) => n + 1,
            Token::Slice => 3,
            _ => 0,
        }
    }
    /// Whether it stands before something, and is no child itself.
    fn is_prefix(&self) -> bool {
        self.is_key() || matches!(self, Token::Class(_) | Token::Version(_) | Token::Again(_) | Token::Attributes(_))
    }
}

impl cache::Token for Token {
    fn paths(key: &[Self]) -> Vec<String> {
        /// A container on the way: its path, itself, how many of its children were met, the key of the next.
        struct Open<'a>(String, &'a Token, usize, Option<String>);
        let mut part = "the mode";
        let mut open: Vec<Open<'_>> = Vec::new();
        let mut paths = Vec::with_capacity(key.len());
        for token in key {
            if let Token::Part(name) = token {
                part = name;
                open.clear();
                paths.push(part.to_owned());
                continue;
            }
            while open.last().is_some_and(|Open(_, of, met, _)| *met == of.children()) {
                open.pop();
            }
            let path = match open.last_mut() {
                None => part.to_owned(),
                Some(Open(path, of, met, name)) => {
                    match (token, &of) {
                        (Token::Key(k), Token::Attributes(_)) => *name = Some(format!("{path}.{k}")),
                        (Token::Key(k), _) => *name = Some(format!("{path}['{k}']")),
                        (Token::OtherKey(_, k) | Token::ObjectKey(_, k), _) => *name = Some(format!("{path}[{k}]")),
                        _ => {}
                    }
                    let here = match (of, &name) {
                        (Token::Dict(_) | Token::Attributes(_), Some(name)) => name.clone(),
                        (Token::Node(_), _) if *met == 0 => format!("{path}.aux"),
                        (Token::Node(_), _) => format!("{path}[{}]", *met - 1),
                        _ => format!("{path}[{met}]"),
                    };
                    *met += usize::from(!token.is_prefix());
                    here
                }
            };
            if token.children() > 0 {
                open.push(Open(path.clone(), token, 0, None));
            }
            paths.push(path);
        }
        paths
    }
    fn changed(&self, new: &Self, path: &str) -> Vec<Change> {
        match (self, new) {
            (Token::Array(a, s), Token::Array(b, t)) => cache::array_changes(path, (*a, s), (*b, t), "shapeless=True"),
            (a, b) if a.is_number() && b.is_number() => {
                vec![Change::new(path, a, b).remedy("pass it as mx.array(…), or compile with traced_scalars=True")]
            }
            (a, b) => vec![Change::new(path, a, b).remedy(b.identity().unwrap_or_default())],
        }
    }
    fn is_structure(&self) -> bool {
        self.is_prefix() || self.children() > 0 || matches!(self, Token::Part(_))
    }
    fn rearranged(old: &[Self], new: &[Self], at: usize) -> Option<Change> {
        let container = around(new, at)?;
        let (was, is) = (keys(old, container), keys(new, container));
        let same: HashSet<_> = was.iter().collect();
        if was.len() != is.len() || !is.iter().all(|key| same.contains(key)) {
            return None;
        }
        let differ = was.iter().zip(&is).position(|(a, b)| a != b)?;
        let first = if was.len() > SHOWN { differ } else { 0 };
        let show = |keys: &[&Token]| {
            let shown: Vec<String> = keys[first..].iter().take(SHOWN).map(|key| key.bare()).collect();
            let before = if first > 0 { "…, " } else { "" };
            let after = if keys.len() - first > SHOWN { ", …" } else { "" };
            format!("[{before}{}{after}]", shown.join(", "))
        };
        let (what, remedy) = match new[container] {
            Token::Attributes(_) => ("attributes", "set them in one order"),
            _ => ("keys", "give them in one order, as dict(sorted(d.items())) does"),
        };
        let what = format!("the order of the {what} of {}", Self::paths(new)[container]);
        Some(Change::new(what, show(&was), show(&is)).remedy(remedy))
    }
    fn identity(&self) -> Option<&'static str> {
        let by_identity = matches!(self, Token::Identity(_) | Token::Method(..) | Token::ObjectKey(..));
        by_identity.then_some("it is compared by identity, make it once and pass the same object")
    }
}

/// How many keys of a dict a message shows.
const SHOWN: usize = 8;

/// Where the dict or the attributes begin of which the token at `at` is a key.
fn around(key: &[Token], at: usize) -> Option<usize> {
    let mut open: Vec<(usize, usize)> = Vec::new();
    for (i, token) in key[..=at].iter().enumerate() {
        while open.pop_if(|(_, left)| *left == 0).is_some() {}
        if let Token::Part(_) = token {
            open.clear();
        }
        if i == at {
            break;
        }
        if let (Some((_, left)), false) = (open.last_mut(), token.is_prefix()) {
            *left -= 1;
        }
        if token.children() > 0 {
            open.push((i, token.children()));
        }
    }
    let &(container, _) = open.last()?;
    (key[at].is_key() && matches!(key[container], Token::Dict(_) | Token::Attributes(_))).then_some(container)
}

/// The keys of the dict, or the names of the attributes, that begin at `container`.
fn keys(key: &[Token], container: usize) -> Vec<&Token> {
    let mut rest = key[container + 1..].iter();
    let mut keys = Vec::new();
    for _ in 0..key[container].children() {
        keys.extend(rest.next());
        let mut left = 1;
        while left > 0
            && let Some(token) = rest.next()
        {
            left += token.children();
            left -= usize::from(!token.is_prefix());
        }
    }
    keys
}

impl Token {
    fn is_key(&self) -> bool {
        matches!(self, Token::Key(_) | Token::OtherKey(..) | Token::ObjectKey(..))
    }
    /// A key as the user writes it.
    fn bare(&self) -> String {
        match self {
            Token::Key(k) => format!("'{k}'"),
            Token::OtherKey(_, k) | Token::ObjectKey(_, k) => k.to_string(),
            other => other.to_string(),
        }
    }
    fn is_number(&self) -> bool {
        matches!(self, Token::Bool(_) | Token::Int(_) | Token::BigInt(_) | Token::Float(_) | Token::Complex(..))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Mode(m) => f.write_str(m.name()),
            Token::Shapeless(s) => write!(f, "shapeless={s}"),
            Token::Part(name) => f.write_str(name),
            Token::Class(at) => write!(f, "an object of the class at {at:#x}"),
            Token::Version(n) => write!(f, "an object of version {n}"),
            Token::List(n) => write!(f, "a list of {n}"),
            Token::Tuple(n) => write!(f, "a tuple of {n}"),
            Token::Dict(n) => write!(f, "a dict of {n}"),
            Token::Node(n) => write!(f, "a registered node of {n}"),
            Token::Slice => f.write_str("a slice"),
            Token::Attributes(n) => write!(f, "an object with {n} attributes"),
            Token::Key(k) => write!(f, "the key '{k}'"),
            Token::OtherKey(_, k) => write!(f, "the key {k}"),
            Token::ObjectKey(at, k) => write!(f, "the key {k}, the object at {at:#x}"),
            Token::Array(d, s) => write!(f, "an array of shape {}, {d}", lazuli_ir::shape::show(s)),
            Token::Number(d) => write!(f, "a traced number of {d}"),
            Token::AnyArray(d) => write!(f, "an array of {d}"),
            Token::Ranked(d, s) => write!(f, "an array of {d} with {} axes, extents {s:?} (2 is 2 or more)", s.len()),
            Token::Next => f.write_str("a further trace, because a guard of another does not hold"),
            Token::Same(_) => f.write_str("an array that is passed before"),
            Token::Again(_) => f.write_str("a container that is passed before"),
            Token::None => f.write_str("None"),
            Token::Ellipsis => f.write_str("..."),
            Token::Bool(b) => f.write_str(if *b { "True" } else { "False" }),
            Token::Int(i) => write!(f, "{i}"),
            Token::BigInt(i) => f.write_str(i),
            Token::Float(bits) => write!(f, "{:?}", f64::from_bits(*bits)),
            Token::Complex(re, im) => write!(f, "({:?}+{:?}j)", f64::from_bits(*re), f64::from_bits(*im)),
            Token::Text(s) => write!(f, "{s:?}"),
            Token::Surrogates(s) => f.write_str(s),
            Token::Bytes(b) => write!(f, "{} bytes", b.len()),
            Token::DType(d) => write!(f, "{d}"),
            Token::Identity(at) => write!(f, "the object at {at:#x}"),
            Token::Method(object, _) => write!(f, "a method of the object at {object:#x}"),
        }
    }
}
