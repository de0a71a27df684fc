//! The tokens of a call on their way into its key.

use super::Token;
use lazuli_core::{DType, Shape};
use std::ops::Deref;

/// What has been read of a call. Most calls are like the one before: as long as this one is, its tokens are compared with the key of that one, and none is
/// kept.
#[derive(Debug, Default)]
pub struct Tokens<'k> {
    /// A key of another call, and how many of its first tokens are those of this call too.
    known: &'k [Token],
    same: usize,
    /// All tokens, once one differs.
    own: Option<Vec<Token>>,
}

impl<'k> Tokens<'k> {
    /// None yet, of a call that may have this key.
    pub fn like(known: &'k [Token]) -> Self {
        Tokens { known, same: 0, own: None }
    }
    #[inline]
    pub fn push(&mut self, token: Token) {
        if !self.goes_on(|known| *known == token) {
            self.own().push(token);
        }
    }
    #[inline]
    pub fn push_array(&mut self, dtype: DType, shape: &Shape) {
        if !self.goes_on(|known| matches!(known, Token::Array(d, s) if *d == dtype && s == shape)) {
            self.own().push(Token::Array(dtype, shape.clone()));
        }
    }
    /// Whether the next token is that of the known key, which is then counted.
    #[inline]
    fn goes_on(&mut self, is_next: impl FnOnce(&Token) -> bool) -> bool {
        let goes_on = self.own.is_none() && self.known.get(self.same).is_some_and(is_next);
        self.same += usize::from(goes_on);
        goes_on
    }
    fn own(&mut self) -> &mut Vec<Token> {
        self.own.get_or_insert_with(|| {
            let mut own = Vec::with_capacity(self.known.len().max(16));
            own.extend_from_slice(&self.known[..self.same]);
            own
        })
    }
    /// Whether they are all of the known key.
    pub fn are_known(&self) -> bool {
        self.own.is_none() && self.same == self.known.len()
    }
    pub fn into_vec(self) -> Vec<Token> {
        self.own.unwrap_or_else(|| self.known[..self.same].to_vec())
    }
}

impl Deref for Tokens<'_> {
    type Target = [Token];
    fn deref(&self) -> &[Token] {
        self.own.as_deref().unwrap_or(&self.known[..self.same])
    }
}
