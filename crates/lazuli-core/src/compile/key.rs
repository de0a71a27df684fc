//! What a call of a compiled function is known by: tokens, read from the trees that it is given.

use crate::array::Array;
use crate::cache::{self, Change};
use crate::program::Arrays;
use crate::switch::CompileMode;
use crate::tree::{Constant, Leaf, Tree};
use lazuli_ir::{Aval, DType};
use lazuli_kernel::hash::Map;
use lazuli_kernel::shape::is_same;
use smallvec::SmallVec;
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Token {
    Mode(CompileMode),
    /// The state or an argument begins; its name.
    Part(Part),
    Array(Aval),
    /// Of a shapeless function: dtype, and of each axis whether its extent is 0, 1 or more.
    Ranked(DType, SmallVec<[u8; 4]>),
    /// Of a shapeless function of any rank.
    AnyRank(DType),
    /// Marks the keys of a shapeless function; the number tells traces of one key apart.
    Shapeless(usize),
    /// The array that an earlier leaf is.
    Same(usize),
    Constant(Constant),
    Open(&'static str, usize),
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Part {
    State,
    Argument(usize),
}

impl cache::Token for Token {
    /// `argument 0`, and behind it the position in each container on the way: `state.0.2`.
    fn paths(key: &[Self]) -> Vec<String> {
        let mut part = String::from("the mode");
        let mut at: Vec<usize> = Vec::new();
        let place = |part: &str, at: &[usize]| at.iter().fold(part.to_owned(), |path, i| format!("{path}.{i}"));
        key.iter()
            .map(|token| {
                if let Token::Part(p) = token {
                    part = match p {
                        Part::State => "the state".into(),
                        Part::Argument(i) => format!("argument {i}"),
                    };
                }
                let path = place(&part, &at);
                match token {
                    Token::Open(..) => at.push(0),
                    Token::Close => {
                        at.pop();
                    }
                    _ => {}
                }
                if !matches!(token, Token::Open(..))
                    && let Some(last) = at.last_mut()
                {
                    *last += 1;
                }
                path
            })
            .collect()
    }
    fn changed(&self, new: &Self, path: &str) -> Vec<Change> {
        match (self, new) {
            (Token::Array(a), Token::Array(b)) => {
                cache::array_changes(path, (a.dtype, &a.shape), (b.dtype, &b.shape), "compile(…).shapeless()")
            }
            (Token::Constant(a), Token::Constant(b)) => {
                vec![Change::new(path, a, b).remedy("pass it as an Array")]
            }
            (a, b) => vec![Change::new(path, a, b)],
        }
    }
    fn is_structure(&self) -> bool {
        matches!(self, Token::Part(_) | Token::Open(..) | Token::Close)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Mode(mode) => f.write_str(mode.name()),
            Token::Part(_) => f.write_str("another argument"),
            Token::Array(aval) => write!(f, "an array {aval}"),
            Token::Ranked(d, s) => write!(f, "an array of {d} with {} axes, extents {s:?} (2 is 2 or more)", s.len()),
            Token::AnyRank(d) => write!(f, "an array of {d}"),
            Token::Shapeless(n) => write!(f, "shapeless trace {n}"),
            Token::Same(_) => f.write_str("an array that occurs before"),
            Token::Constant(c) => c.fmt(f),
            Token::Open(kind, n) => write!(f, "{kind} of {n}"),
            Token::Close => f.write_str("the end of a container"),
        }
    }
}

/// What a function is called with.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub mode: CompileMode,
    pub state: Option<&'a dyn Tree>,
    pub arguments: &'a [&'a dyn Tree],
}

/// A call as read: its arrays, and its key unless it is that of an earlier call.
pub(super) struct Call {
    pub key: Vec<Token>,
    /// Every array leaf, in order.
    pub arrays: Arrays,
    /// How many of them are the state's.
    pub state: usize,
}

/// A token of a call that is being read: it is made only where it is kept.
enum Item<'a> {
    Mode(CompileMode),
    Part(Part),
    Array(&'a Aval),
    Same(usize),
    Constant(Constant),
    Open(&'static str, usize),
    Close,
}

impl Item<'_> {
    #[inline]
    fn is(&self, token: &Token) -> bool {
        match (self, token) {
            (Item::Array(a), Token::Array(b)) => a.dtype == b.dtype && is_same(&a.shape, &b.shape),
            (Item::Array(a), Token::Ranked(dtype, few)) => a.dtype == *dtype && few_of(a).eq(few.iter().copied()),
            (Item::Array(a), Token::AnyRank(dtype)) => a.dtype == *dtype,
            (Item::Mode(a), Token::Mode(b)) => a == b,
            (Item::Part(a), Token::Part(b)) => a == b,
            (Item::Same(a), Token::Same(b)) => a == b,
            (Item::Constant(a), Token::Constant(b)) => a == b,
            (Item::Open(kind, n), Token::Open(other, m)) => n == m && kind == other,
            (Item::Close, Token::Close) => true,
            _ => false,
        }
    }
    fn into_token(self) -> Token {
        match self {
            Item::Mode(mode) => Token::Mode(mode),
            Item::Part(part) => Token::Part(part),
            Item::Array(aval) => Token::Array(aval.clone()),
            Item::Same(place) => Token::Same(place),
            Item::Constant(constant) => Token::Constant(constant),
            Item::Open(kind, n) => Token::Open(kind, n),
            Item::Close => Token::Close,
        }
    }
}

impl Given<'_> {
    pub fn read(self) -> Call {
        let (mut key, mut arrays) = (Vec::new(), Arrays::new());
        let state = self.items(&mut arrays, &mut |item| key.push(item.into_token()));
        Call { key, arrays, state }
    }
    /// Whether this is the key of the call, of a shapeless function that of the first trace of such arguments; and adds the arrays of the call.
    #[inline]
    pub fn is(self, key: &[Token], is_shapeless: bool, arrays: &mut Arrays) -> bool {
        let key = match (is_shapeless, key) {
            (false, key) | (true, [Token::Shapeless(0), key @ ..]) => key,
            _ => return false,
        };
        let (mut rest, mut is_alike) = (key.iter(), true);
        self.items(arrays, &mut |item| is_alike = is_alike && rest.next().is_some_and(|token| item.is(token)));
        is_alike && rest.as_slice().is_empty()
    }
    /// Tells the items of the key, and adds the arrays; how many of them are the state's.
    #[inline]
    fn items(self, arrays: &mut Arrays, tell: &mut impl FnMut(Item<'_>)) -> usize {
        let mut found = Found { arrays, places: Map::default() };
        tell(Item::Mode(self.mode));
        if let Some(state) = self.state {
            add(Part::State, state, &mut found, tell);
        }
        let state = found.arrays.len();
        for (i, argument) in self.arguments.iter().enumerate() {
            add(Part::Argument(i), *argument, &mut found, tell);
        }
        state
    }
}

/// The arrays of a call so far.
struct Found<'a> {
    arrays: &'a mut Arrays,
    /// Where each of them was first, once there are many.
    places: Map<(usize, u32), usize>,
}

/// Among fewer arrays than this, looking through them all is quickest.
const FEW: usize = 12;

impl Found<'_> {
    /// Adds an array, and says where it was before.
    fn push(&mut self, a: &Array) -> Option<usize> {
        let n = self.arrays.len();
        let place = if n < FEW { self.arrays.iter().position(|earlier| earlier.id() == a.id()) } else { self.place(a) };
        self.arrays.push(a.clone());
        place
    }
    #[inline(never)]
    fn place(&mut self, a: &Array) -> Option<usize> {
        let n = self.arrays.len();
        if n == FEW {
            self.places = self.arrays.iter().enumerate().rev().map(|(i, a)| (a.id(), i)).collect();
        }
        let place = *self.places.entry(a.id()).or_insert(n);
        (place < n).then_some(place)
    }
}

fn add(part: Part, tree: &dyn Tree, found: &mut Found<'_>, tell: &mut impl FnMut(Item<'_>)) {
    tell(Item::Part(part));
    tree.visit(&mut |leaf| {
        tell(match leaf {
            Leaf::Array(a) => found.push(a).map_or(Item::Array(a.aval()), Item::Same),
            Leaf::Name(_) => return,
            Leaf::Constant(c) => Item::Constant(c),
            Leaf::Open(kind, n) => Item::Open(kind, n),
            Leaf::Close => Item::Close,
        });
    });
}

/// Of each axis whether its extent is 0, 1 or more.
fn few_of(aval: &Aval) -> impl Iterator<Item = u8> {
    aval.shape.iter().map(|&n| n.min(2) as u8)
}

/// The key of the `n`-th shapeless trace of such arguments.
pub(super) fn blurred(key: &[Token], any_rank: bool, n: usize) -> Vec<Token> {
    let blur = |t: &Token| match t {
        Token::Array(a) if any_rank => Token::AnyRank(a.dtype),
        Token::Array(a) => Token::Ranked(a.dtype, few_of(a).collect()),
        t => t.clone(),
    };
    std::iter::once(Token::Shapeless(n)).chain(key.iter().map(blur)).collect()
}

/// What a tree is but for its arrays.
pub(super) fn skeleton(tree: &impl Tree) -> Vec<Token> {
    let mut key = Vec::new();
    let mut found = Found { arrays: &mut Arrays::new(), places: Map::default() };
    add(Part::State, tree, &mut found, &mut |item| {
        key.push(match item {
            Item::Array(_) | Item::Same(_) => Token::Same(0),
            other => other.into_token(),
        });
    });
    key
}
