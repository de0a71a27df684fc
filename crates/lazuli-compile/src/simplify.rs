//! Fewer equations for the same values: rewrite rules, folding of literals, common subexpressions, dead code.
//!
//! One pass from the first equation to the last builds the new graph. Each equation, its operands already simplified, is offered to the [rules] until none applies;
//! what is left is looked up among the equations built so far (hash-consing) and added if it is not there. A second pass, backwards, drops what no output
//! needs. Both are linear.
//!
//! Every rule is exact: the value it puts in place has the same bits (all NaNs counting as one). No rule looks at an extent, so that what was simplified once holds
//! for every shape that the graph is bound to. The branches of choices are simplified too ([`choices`]). Equations with an effect are neither merged nor dropped, and streams are not mixed.

mod choices;
mod fold;
mod rules;

use lazuli_ir::prims::{ExpandDims, Reduce, Squeeze};
use lazuli_ir::{Atom, Aval, Effect, Equation, Graph, Meta, Prim, Var, prune, small};
use lazuli_kernel::hash::{Map, WordHasher};
use rules::Rewrite;
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};

/// Names of the rewrite rules, by the primitives that they speak of, in the order in which they are tried.
pub fn rule_names() -> impl Iterator<Item = &'static str> {
    rules::names()
}

/// The same program with fewer equations, calls replaced by their bodies. Inputs and outputs keep their number and order. It holds for every shape that `graph`
/// can be bound to.
///
/// ```
/// use lazuli_compile::simplify;
/// let graph: lazuli_ir::Graph = "graph v1 (a: f32[3]) {\n  b: f32[3] = negative a\n  c: f32[3] = negative b\n  return c\n}".parse()?;
/// assert!(simplify(&graph).equations.is_empty());
/// # Ok::<(), lazuli_ir::Error>(())
/// ```
pub fn simplify(graph: &Graph) -> Graph {
    let simplified = choices::narrowed(walk(graph));
    debug_assert_eq!(simplified.verify().map_err(|e| e.to_string()), Ok(()));
    simplified
}

/// The pass itself.
fn walk(graph: &Graph) -> Graph {
    let mut s = Simplifier::default();
    let mut names: Vec<Option<Atom>> = vec![None; graph.avals.len()];
    for &v in &graph.inputs {
        let fresh = s.fresh(graph.avals[v.0 as usize].clone(), NONE);
        s.out.inputs.push(fresh);
        names[v.0 as usize] = Some(fresh.into());
    }
    s.out.constants = graph.constants;
    s.body(graph, &mut names, None);
    s.out.outputs = graph.outputs.iter().map(|a| named(&names, a)).collect();
    prune(s.out)
}

fn named(names: &[Option<Atom>], a: &Atom) -> Atom {
    match a {
        Atom::Var(v) => names[v.0 as usize].expect("a variable is defined before it is used"),
        literal => *literal,
    }
}

/// The equation of an input.
const NONE: u32 = u32::MAX;

/// The graph built so far.
#[derive(Default)]
struct Simplifier {
    out: Graph,
    /// Equation that defines each variable.
    producers: Vec<u32>,
    /// Equations by a hash of what they compute.
    known: Map<u64, SmallVec<[u32; 1]>>,
}

impl Simplifier {
    /// Adds the equations of a graph whose inputs have names, and those of the bodies that it calls. `call` is the meta of the call that it is the body of. Recurses as
    /// deep as calls are nested.
    fn body(&mut self, graph: &Graph, names: &mut [Option<Atom>], call: Option<Meta>) {
        let n = graph.equations.len();
        self.out.avals.reserve(graph.avals.len());
        self.producers.reserve(graph.avals.len());
        self.out.equations.reserve(n);
        self.known.reserve(n);
        for e in &graph.equations {
            let name = |a: &Atom| named(names, a);
            let inputs: SmallVec<[Atom; 3]> = small(e.inputs.iter().map(name));
            let meta = call.map_or(e.meta, |call| e.meta.within(call));
            // A body that refuses its operands stays a call: the error is the caller's to see, when it lowers the graph.
            if let Prim::Call(callee) = &e.prim
                && let Ok(body) = callee.body(&small::<[&Aval; 4]>(e.inputs.iter().map(|a| graph.aval_of(a))))
            {
                self.inline(&body, &inputs, &e.outputs, names, Some(meta));
                continue;
            }
            if let Prim::Cond(cond) = &e.prim
                && let Some(taken) = choices::decided(cond, inputs[0])
            {
                self.inline(taken, &inputs[1..], &e.outputs, names, call);
                continue;
            }
            let shapes: SmallVec<[Var; 1]> =
                small(e.shapes.iter().map(|&v| self.shape_operand(named(names, &v.into()), graph, v)));
            let prim = match &e.prim {
                Prim::Cond(cond) => choices::simplified(cond).into(),
                prim => prim.clone(),
            };
            let candidate = Equation { prim, inputs, shapes, outputs: SmallVec::new(), meta };
            let avals: SmallVec<[Aval; 1]> = small(e.outputs.iter().map(|v| graph.avals[v.0 as usize].clone()));
            for (v, a) in e.outputs.iter().zip(self.add(candidate, avals)) {
                names[v.0 as usize] = Some(a);
            }
        }
    }

    /// Adds the equations of a graph on these atoms; its outputs are what the variables `outputs` are called.
    fn inline(
        &mut self,
        graph: &Graph,
        inputs: &[Atom],
        outputs: &[Var],
        names: &mut [Option<Atom>],
        call: Option<Meta>,
    ) {
        let mut inner: Vec<Option<Atom>> = vec![None; graph.avals.len()];
        graph.inputs.iter().zip(inputs).for_each(|(v, &a)| inner[v.0 as usize] = Some(a));
        self.body(graph, &mut inner, call);
        for (v, a) in outputs.iter().zip(&graph.outputs) {
            names[v.0 as usize] = Some(named(&inner, a));
        }
    }

    fn fresh(&mut self, aval: Aval, producer: u32) -> Var {
        self.out.avals.push(aval);
        self.producers.push(producer);
        Var(self.out.avals.len() as u32 - 1)
    }

    /// The variable whose aval a shape parameter speaks of; where it became a literal, an unused one of that aval.
    fn shape_operand(&mut self, a: Atom, graph: &Graph, old: Var) -> Var {
        match a {
            Atom::Var(v) => v,
            Atom::Lit(_) => {
                let prim = lazuli_ir::prims::Broadcast { shape: SmallVec::new() }.into();
                let e = Equation {
                    prim,
                    inputs: SmallVec::from_slice(&[a]),
                    shapes: SmallVec::new(),
                    outputs: SmallVec::new(),
                    meta: Meta::default(),
                };
                self.push(e, SmallVec::from_elem(graph.avals[old.0 as usize].clone(), 1))[0]
            }
        }
    }

    /// What an equation gives: after the rules, and after a look at what is there.
    fn add(&mut self, mut e: Equation, avals: SmallVec<[Aval; 1]>) -> SmallVec<[Atom; 1]> {
        if e.meta.effect == Effect::Ordered {
            return small(self.push(e, avals).into_iter().map(Atom::from));
        }
        // Rules speak of operands: what has none (iota) stays as it is.
        let rewrite = |s: &Self, e: &Equation| match e.inputs.is_empty() {
            true => None,
            false => rules::rewrite(s, e),
        };
        while let Some(rewrite) = rewrite(self, &e) {
            match rewrite {
                Rewrite::Is(a) => return SmallVec::from_elem(a, 1),
                Rewrite::Becomes { prim, inputs, shapes } => e = Equation { prim, inputs, shapes, ..e },
            }
        }
        if let Some(view) = self.view_of_twin(&e) {
            return self.add(view, avals);
        }
        let hash = hash(&e);
        if let Some(other) = self.find(hash, &e) {
            return small(other.outputs.iter().map(|&v| v.into()));
        }
        self.known.entry(hash).or_default().push(self.out.equations.len() as u32);
        small(self.push(e, avals).into_iter().map(Atom::from))
    }

    /// The equation that is there already and computes the same.
    fn find(&self, hash: u64, e: &Equation) -> Option<&Equation> {
        let alike = self.known.get(&hash)?.iter().map(|&i| &self.out.equations[i as usize]);
        let same = |other: &&Equation| {
            other.prim == e.prim && other.shapes == e.shapes && other.meta == e.meta && ordered(other) == ordered(e)
        };
        alike.into_iter().find(same)
    }

    /// A reduction that is there already, but for the axes of extent 1 that it keeps or not, as a view of that.
    fn view_of_twin(&self, e: &Equation) -> Option<Equation> {
        let Prim::Reduce(reduce) = &e.prim else { return None };
        let twin = Equation { prim: Reduce { keepdims: !reduce.keepdims, ..reduce.clone() }.into(), ..e.clone() };
        let other = self.find(hash(&twin), &twin)?;
        let axes = reduce.axes.clone();
        let prim = if reduce.keepdims { ExpandDims { axes }.into() } else { Squeeze { axes }.into() };
        Some(Equation { prim, inputs: other.outputs.iter().map(|&v| v.into()).collect(), ..e.clone() })
    }

    fn push(&mut self, mut e: Equation, avals: SmallVec<[Aval; 1]>) -> SmallVec<[Var; 1]> {
        let number = self.out.equations.len() as u32;
        e.outputs = small(avals.into_iter().map(|a| self.fresh(a, number)));
        let outputs = SmallVec::from_slice(&e.outputs);
        self.out.equations.push(e);
        outputs
    }

    /// The equation that gives the first operand.
    pub(crate) fn operand(&self, e: &Equation) -> Option<&Equation> {
        e.inputs.first().and_then(|&a| self.producer(a))
    }
    /// The equation that an atom comes from, if there is one that a rule may look through.
    fn producer(&self, a: Atom) -> Option<&Equation> {
        let Atom::Var(v) = a else { return None };
        let e = self.out.equations.get(self.producers[v.0 as usize] as usize)?;
        (e.meta.effect == Effect::None).then_some(e)
    }
}

fn hash(e: &Equation) -> u64 {
    let mut hasher = WordHasher::default();
    (&e.prim, ordered(e), &e.shapes, e.meta).hash(&mut hasher);
    hasher.finish()
}

/// Operands in the order that equations are compared by: of commutative ops, whose result has the same bits either way, in one order.
fn ordered(e: &Equation) -> SmallVec<[Atom; 3]> {
    let mut inputs: SmallVec<[Atom; 3]> = SmallVec::from_slice(&e.inputs);
    if rules::commutes(&e.prim) {
        inputs.sort_by_key(|a| match a {
            Atom::Var(v) => (0, v.0 as u64),
            Atom::Lit(s) => (1, s.bits),
        });
    }
    inputs
}
