//! Recurrent layers.
//!
//! Inputs are `(…, length, input)`, states `(…, hidden)`. A layer returns its state at every step, `(…, length, hidden)`. The loop over
//! the sequence runs in Rust: a compiled function unrolls it. A state that is not given is zero.

use crate::{Activation, Module, Param, init};
use lazuli_core::{Array, Ellipsis, stack};
use lazuli_derive::Tree;

#[track_caller]
fn uniform(hidden: usize, shape: &[usize]) -> Param {
    let k = 1.0 / (hidden as f64).sqrt();
    init::uniform(-k, k, shape).into()
}

/// The input's part of all steps.
#[track_caller]
fn projected(x: &Array, weight: &Param, bias: &Option<Param>) -> Array {
    let x = x.matmul(&weight.t());
    match bias {
        Some(bias) => x + bias,
        None => x,
    }
}

/// The steps of a sequence, in order.
#[track_caller]
fn steps(x: &Array) -> impl Iterator<Item = Array> + '_ {
    let length = if x.ndim() < 2 { 0 } else { x.shape()[x.ndim() - 2] };
    (0..length).map(|t| x.index((Ellipsis, t, ..)))
}

/// Elman's layer: h ← tanh(Wxh x + Whh h + bias).
///
/// ```
/// use lazuli_core::{Array, DType};
/// use lazuli_nn::{Module, Rnn};
/// assert_eq!(Rnn::new(3, 5).forward(&Array::zeros([2, 7, 3], DType::F32)).shape(), [2, 7, 5]);
/// ```
#[derive(Debug, Clone, Tree)]
pub struct Rnn {
    /// `(hidden, input)`; uniform in ±1/√hidden at first, as the others.
    #[tree(name = "Wxh")]
    pub weight_input: Param,
    /// `(hidden, hidden)`.
    #[tree(name = "Whh")]
    pub weight_hidden: Param,
    /// `(hidden,)`.
    pub bias: Option<Param>,
    nonlinearity: Activation,
}

impl Rnn {
    /// A layer with random weights and bias.
    pub fn new(input: usize, hidden: usize) -> Rnn {
        Rnn {
            weight_input: uniform(hidden, &[hidden, input]),
            weight_hidden: uniform(hidden, &[hidden, hidden]),
            bias: Some(uniform(hidden, &[hidden])),
            nonlinearity: Activation::TANH,
        }
    }
    /// The layer without its bias.
    pub fn without_bias(self) -> Rnn {
        Rnn { bias: None, ..self }
    }
    /// Another function in place of tanh.
    pub fn nonlinearity(self, nonlinearity: Activation) -> Rnn {
        Rnn { nonlinearity, ..self }
    }
    /// The states, from this one on.
    ///
    /// # Panics
    /// If the input's last axis is not of the size that the layer was made for.
    #[track_caller]
    pub fn forward_from(&self, x: &Array, hidden: Option<&Array>) -> Array {
        let x = projected(x, &self.weight_input, &self.bias);
        let mut hidden = hidden.cloned();
        let mut states = Vec::new();
        for x in steps(&x) {
            let sum = match &hidden {
                Some(h) => x + h.matmul(&self.weight_hidden.t()),
                None => x,
            };
            states.push(hidden.insert(self.nonlinearity.forward(&sum)).clone());
        }
        stack(&states, -2)
    }
}

impl Module for Rnn {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        self.forward_from(x, None)
    }
}

/// Gated recurrent unit (Cho et al., arXiv:1406.1078). With r, z, n stacked in this order in the weights and the bias:
///
/// ```text
/// r = σ(Wx_r x + Wh_r h + b_r)
/// z = σ(Wx_z x + Wh_z h + b_z)
/// n = tanh(Wx_n x + b_n + r · (Wh_n h + bhn))
/// h ← (1 − z) · n + z · h
/// ```
#[derive(Debug, Clone, Tree)]
pub struct Gru {
    /// `(3 hidden, input)`; uniform in ±1/√hidden at first, as the others.
    #[tree(name = "Wx")]
    pub weight_input: Param,
    /// `(3 hidden, hidden)`.
    #[tree(name = "Wh")]
    pub weight_hidden: Param,
    /// `(3 hidden,)`.
    #[tree(name = "b")]
    pub bias: Option<Param>,
    /// `(hidden,)`.
    #[tree(name = "bhn")]
    pub bias_new: Option<Param>,
}

impl Gru {
    /// A layer with random weights and biases.
    pub fn new(input: usize, hidden: usize) -> Gru {
        Gru {
            weight_input: uniform(hidden, &[3 * hidden, input]),
            weight_hidden: uniform(hidden, &[3 * hidden, hidden]),
            bias: Some(uniform(hidden, &[3 * hidden])),
            bias_new: Some(uniform(hidden, &[hidden])),
        }
    }
    /// The layer without its biases.
    pub fn without_bias(self) -> Gru {
        Gru { bias: None, bias_new: None, ..self }
    }
    /// The states, from this one on.
    ///
    /// # Panics
    /// If the input's last axis is not of the size that the layer was made for.
    #[track_caller]
    pub fn forward_from(&self, x: &Array, hidden: Option<&Array>) -> Array {
        let x = projected(x, &self.weight_input, &self.bias);
        let gates = 2 * self.weight_hidden.shape()[1];
        let mut hidden = hidden.cloned();
        let mut states = Vec::new();
        for x in steps(&x) {
            let (mut rz, x_n) = (x.index((Ellipsis, ..gates)), x.index((Ellipsis, gates..)));
            let mut h_n = self.bias_new.as_ref().map(|b| (**b).clone());
            if let Some(h) = &hidden {
                let h = h.matmul(&self.weight_hidden.t());
                rz = rz + h.index((Ellipsis, ..gates));
                let h = h.index((Ellipsis, gates..));
                h_n = Some(match &self.bias_new {
                    Some(b) => h + b,
                    None => h,
                });
            }
            let rz = rz.sigmoid().split(2, -1);
            let (r, z) = (&rz[0], &rz[1]);
            let n = match h_n {
                Some(h_n) => x_n + r * h_n,
                None => x_n,
            };
            let new = (1 - z) * n.tanh();
            let next = match &hidden {
                Some(h) => new + z * h,
                None => new,
            };
            states.push(hidden.insert(next).clone());
        }
        stack(&states, -2)
    }
}

impl Module for Gru {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        self.forward_from(x, None)
    }
}

/// Long short-term memory (Hochreiter and Schmidhuber, 1997; gates as in Gers et al., 2000). With i, f, g, o stacked in this order in
/// the weights and the bias:
///
/// ```text
/// i, f, o = σ(Wx x + Wh h + bias)
/// g = tanh(Wx_g x + Wh_g h + bias_g)
/// c ← f · c + i · g
/// h ← o · tanh(c)
/// ```
#[derive(Debug, Clone, Tree)]
pub struct Lstm {
    /// `(4 hidden, input)`; uniform in ±1/√hidden at first, as the others.
    #[tree(name = "Wx")]
    pub weight_input: Param,
    /// `(4 hidden, hidden)`.
    #[tree(name = "Wh")]
    pub weight_hidden: Param,
    /// `(4 hidden,)`.
    pub bias: Option<Param>,
}

impl Lstm {
    /// A layer with random weights and bias.
    pub fn new(input: usize, hidden: usize) -> Lstm {
        Lstm {
            weight_input: uniform(hidden, &[4 * hidden, input]),
            weight_hidden: uniform(hidden, &[4 * hidden, hidden]),
            bias: Some(uniform(hidden, &[4 * hidden])),
        }
    }
    /// The layer without its bias.
    pub fn without_bias(self) -> Lstm {
        Lstm { bias: None, ..self }
    }
    /// The states h and c at every step, from these on.
    ///
    /// ```
    /// use lazuli_core::{Array, DType};
    /// use lazuli_nn::Lstm;
    /// let (h, c) = Lstm::new(3, 5).forward_from(&Array::zeros([7, 3], DType::F32), None, None);
    /// assert_eq!((h.shape(), c.shape()), ([7, 5].as_slice(), [7, 5].as_slice()));
    /// ```
    ///
    /// # Panics
    /// If the input's last axis is not of the size that the layer was made for.
    #[track_caller]
    pub fn forward_from(&self, x: &Array, hidden: Option<&Array>, cell: Option<&Array>) -> (Array, Array) {
        let x = projected(x, &self.weight_input, &self.bias);
        let (mut hidden, mut cell) = (hidden.cloned(), cell.cloned());
        let (mut hiddens, mut cells) = (Vec::new(), Vec::new());
        for x in steps(&x) {
            let gates = match &hidden {
                Some(h) => x + h.matmul(&self.weight_hidden.t()),
                None => x,
            };
            let gates = gates.split(4, -1);
            let [i, f, g, o] = &gates[..] else { unreachable!("four parts were asked for") };
            let new = i.sigmoid() * g.tanh();
            let next = match &cell {
                Some(c) => f.sigmoid() * c + new,
                None => new,
            };
            hiddens.push(hidden.insert(o.sigmoid() * next.tanh()).clone());
            cells.push(cell.insert(next).clone());
        }
        (stack(&hiddens, -2), stack(&cells, -2))
    }
}

/// The states h.
impl Module for Lstm {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        self.forward_from(x, None, None).0
    }
}
