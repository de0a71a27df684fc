//! What becomes of state where memory runs out: a call that fails leaves it as it was.
//!
//! A call is lazy, and what it puts into state waits for it. All its memory is allocated before anything runs; where that cannot be, the call is over, as if it
//! had not been made: outputs that took the places of inputs become these, whose memory nothing has touched, and the others fail for good. Where a call does
//! more to state than that (state grows, arrays change places), nothing could be put back when it runs: such a call is started before the state is touched.

use crate::array::{Array, Node, Value};
use crate::run::Ready;
use lazuli_ir::{Aval, Error, ErrorKind};
use lazuli_kernel::{Event, Layout};
use smallvec::SmallVec;

/// What a call does to state that its caller keeps.
#[derive(Debug, Clone, Default)]
pub enum Updates {
    /// Nothing.
    #[default]
    Nothing,
    /// Outputs take the places of inputs: the numbers of both.
    Arrays(Box<[(usize, usize)]>),
    /// More than that.
    More,
}

impl Updates {
    /// Of outputs that take the places of inputs: the numbers of both.
    pub fn of_arrays(pairs: impl IntoIterator<Item = (usize, usize)>) -> Updates {
        let pairs: Box<[_]> = pairs.into_iter().collect();
        if pairs.is_empty() { Updates::Nothing } else { Updates::Arrays(pairs) }
    }
    /// Whether this input is state, whose place an output takes.
    pub(crate) fn is_of(&self, input: usize) -> bool {
        matches!(self, Updates::Arrays(pairs) if pairs.iter().any(|pair| pair.1 == input))
    }
    /// Whether the state could not be put back if a call with these inputs failed.
    pub(crate) fn are_final(&self, inputs: &[Array], outputs: &[Aval]) -> bool {
        match self {
            Updates::Nothing => false,
            Updates::Arrays(pairs) => pairs.iter().any(|&(output, input)| outputs[output] != *inputs[input].aval()),
            Updates::More => true,
        }
    }
    /// The values of a call that has failed, if it has updated state that can be put back.
    pub(crate) fn undone(&self, node: &Node, inputs: &[Array], error: &Error) -> Option<SmallVec<[Value; 1]>> {
        let Updates::Arrays(pairs) = self else { return None };
        if self.are_final(inputs, &node.avals) {
            return None;
        }
        let failed = Event::failed(error.clone());
        let without = |aval: &Aval| Value {
            layout: Layout::row(&aval.shape[..]),
            event: failed.clone(),
            ..Value::empty().clone()
        };
        let mut values: SmallVec<[Value; 1]> = node.avals.iter().map(without).collect();
        for &(output, input) in pairs {
            values[output] = inputs[input].value()?.clone();
        }
        Some(values)
    }
    /// What a caller can rely on after a call has failed.
    fn promise(&self) -> &'static str {
        match self {
            Updates::Nothing => "",
            Updates::Arrays(_) | Updates::More => ". The state that it updates is as it was before the call",
        }
    }
}

/// Says of an allocation that failed what it was for, and what to do. Other errors stay as they are.
pub(crate) fn explain(error: Error, what: &str, ready: &Ready, updates: &Updates) -> Error {
    if error.kind() != ErrorKind::Memory || error.op() != "allocate" {
        return error;
    }
    let (why, promise) = (error.message(), updates.promise());
    let message = format!(
        "{what} needs {} bytes besides its inputs: {why}{promise}. Use smaller arrays (a smaller batch), or free others or raise the limit \
         (set_memory_limit) and try again",
        ready.memory()
    );
    Error::new(ErrorKind::Memory, "eval", message)
}
