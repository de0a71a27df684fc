//! Graphs as boxes and lines: the operations as traced or simplified, or the kernels.
//!
//! Inputs, constants and literals are named within the boxes that read them, not drawn: what is drawn is what depends on what.

use crate::Explanation;
use crate::layout::{Layout, Size};
use lazuli_compile::{Fused, FusedKind};
use lazuli_ir::{Atom, Equation, Graph, Prim, Text, Var};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The widest line of a box, in characters.
const WRAP: usize = 30;
/// What a box names of what it reads or gives, and of the operations in it: beyond, how many more there are.
const MOST_OPERANDS: usize = 5;
const MOST_OPS: usize = 24;
/// Of the page's type face, in points.
const CHARACTER: f32 = 6.7;
const LINE: f32 = 15.0;
const PADDING: f32 = 8.0;

/// One operation or kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name, or the operations in it.
    pub names: Vec<String>,
    /// What it reads that no box makes, and what it gives back, in small type.
    pub notes: Vec<String>,
    /// `op`, `kernel`, `library` or `host`.
    pub kind: &'static str,
    /// The kernel that it is, or that it became part of.
    pub kernel: Option<usize>,
}

#[derive(Debug, Clone, Default)]
pub struct View {
    pub nodes: Vec<Node>,
    /// From, to, and what goes along.
    pub edges: Vec<(usize, usize, String)>,
    /// All that each kernel reads that no box makes.
    pub reads: Vec<Vec<String>>,
}

impl View {
    pub fn layout(&self) -> Layout {
        let size = |node: &Node| {
            let widest = node.names.iter().chain(&node.notes).map(|l| l.chars().count()).max().unwrap_or(0);
            let lines = node.names.len() + node.notes.len();
            Size { width: widest as f32 * CHARACTER + 2.0 * PADDING, height: lines as f32 * LINE + PADDING }
        };
        let edges: Vec<(usize, usize)> = self.edges.iter().map(|&(from, to, _)| (from, to)).collect();
        Layout::new(&self.nodes.iter().map(size).collect::<Vec<_>>(), &edges)
    }
}

/// What is said of the operands of boxes: those that no box makes are named, the others are edges.
struct Reader<'a> {
    graph: &'a Graph,
    text: &'a Text<'a>,
    inputs: HashMap<Var, String>,
    /// The box that makes each variable.
    makers: HashMap<Var, usize>,
}

impl<'a> Reader<'a> {
    fn new(graph: &'a Graph, text: &'a Text<'a>, names: &[String]) -> Self {
        let name = |(i, &v): (usize, &Var)| match names.get(i).filter(|n| !n.is_empty()) {
            Some(name) => (v, name.clone()),
            None => (v, text.name(v)),
        };
        Self { graph, text, inputs: graph.inputs.iter().enumerate().map(name).collect(), makers: HashMap::new() }
    }

    /// The note of a box that reads these and makes those.
    fn notes(&self, reads: &[Atom], makes: &[Var]) -> Vec<String> {
        let named = self.named(reads);
        let mut notes = wrap(&named, MOST_OPERANDS, ", ", "← ");
        let outputs = self.graph.outputs.iter().enumerate();
        let is_made = |a: &Atom| a.var().is_some_and(|v| makes.contains(&v));
        let given: Vec<String> = outputs.filter(|(_, a)| is_made(a)).map(|(i, _)| i.to_string()).collect();
        if !given.is_empty() {
            notes.extend(wrap(&given, MOST_OPERANDS, ", ", "→ output "));
        }
        notes
    }

    /// The names of those that no box makes, each once.
    fn named(&self, reads: &[Atom]) -> Vec<String> {
        let (mut named, mut seen) = (Vec::new(), HashSet::new());
        for &atom in reads {
            let name = match atom {
                Atom::Lit(s) => s.to_string().split(':').next().unwrap_or_default().to_owned(),
                Atom::Var(v) => match self.inputs.get(&v) {
                    Some(name) => name.clone(),
                    None => continue,
                },
            };
            if seen.insert(name.clone()) {
                named.push(name);
            }
        }
        named
    }
    fn edges(&self, to: usize, reads: &[Atom], edges: &mut BTreeMap<(usize, usize), Vec<String>>) {
        for v in reads.iter().filter_map(|a| a.var()) {
            if let Some(&from) = self.makers.get(&v)
                && from != to
            {
                let label = format!("{}: {}", self.text.name(v), self.graph.avals[v.0 as usize]);
                let labels = edges.entry((from, to)).or_default();
                if !labels.contains(&label) {
                    labels.push(label);
                }
            }
        }
    }
}

fn listed(edges: BTreeMap<(usize, usize), Vec<String>>) -> Vec<(usize, usize, String)> {
    edges.into_iter().map(|((from, to), labels)| (from, to, labels.join("\n"))).collect()
}

/// Every operation a box. `kernel_of` says which kernel an equation became part of.
pub fn operations(graph: &Graph, names: &[String], kernel_of: impl Fn(usize) -> Option<usize>) -> View {
    let text = Text::new(graph);
    let mut reader = Reader::new(graph, &text, names);
    let mut view = View::default();
    let mut edges = BTreeMap::new();
    for (i, e) in graph.equations.iter().enumerate() {
        reader.edges(i, &e.inputs, &mut edges);
        view.nodes.push(Node {
            names: vec![name(e).to_owned()],
            notes: reader.notes(&e.inputs, &e.outputs),
            kind: "op",
            kernel: kernel_of(i),
        });
        reader.makers.extend(e.outputs.iter().map(|&v| (v, i)));
    }
    view.edges = listed(edges);
    view
}

/// Every kernel and library call a box.
pub fn kernels(e: &Explanation, kernels: &[Fused]) -> View {
    let graph = e.lowered();
    let text = Text::new(graph);
    let mut reader = Reader::new(graph, &text, &e.inputs);
    for (i, kernel) in kernels.iter().enumerate() {
        reader.makers.extend(kernel.stores.iter().map(|&v| (v, i)));
    }
    // Views that no kernel computes are looked through: what they show was made by another, or is an input.
    for equation in &graph.equations {
        let &[out] = &equation.outputs[..] else { continue };
        if reader.makers.contains_key(&out) || !equation.prim.is_view() {
            continue;
        }
        if let Some(seen) = equation.inputs.first().and_then(|a| a.var()) {
            if let Some(&maker) = reader.makers.get(&seen) {
                reader.makers.insert(out, maker);
            } else if let Some(name) = reader.inputs.get(&seen).cloned() {
                reader.inputs.insert(out, name);
            }
        }
    }
    let mut view = View::default();
    let mut edges = BTreeMap::new();
    for (i, kernel) in kernels.iter().enumerate() {
        let members = || kernel.members.iter().map(|&m| &graph.equations[m as usize]);
        let own: HashSet<Var> = members().flat_map(|e| e.outputs.iter().copied()).collect();
        let reads: Vec<Atom> = members()
            .flat_map(|e| e.inputs.iter().copied())
            .filter(|a| a.var().is_some_and(|v| !own.contains(&v)))
            .collect();
        view.reads.push(reader.named(&reads));
        reader.edges(i, &reads, &mut edges);
        let mut names = wrap(&members().take(kernel.ops.len()).map(name).collect::<Vec<_>>(), MOST_OPS, " ", "");
        if kernel.times > 1 {
            names.push(format!("× {}", kernel.times));
        }
        view.nodes.push(Node {
            names,
            notes: reader.notes(&reads, &kernel.stores),
            kind: match kernel.kind {
                FusedKind::Kernel => "kernel",
                FusedKind::Library => "library",
                FusedKind::Host | FusedKind::Branch => "host",
            },
            kernel: Some(i),
        });
    }
    view.edges = listed(edges);
    view
}

/// An operation's name: a call's is that of the function.
pub fn name(e: &Equation) -> &str {
    match &e.prim {
        Prim::Call(call) => &call.name,
        prim => prim.name(),
    }
}

/// So many of the words, and how many more there are, in lines of at most [`WRAP`] characters.
fn wrap<S: AsRef<str>>(words: &[S], most: usize, between: &str, first: &str) -> Vec<String> {
    // One more takes no more room than its number.
    let most = if words.len() == most + 1 { words.len() } else { most.min(words.len()) };
    let more = (words.len() > most).then(|| format!("and {} more", words.len() - most));
    let mut lines: Vec<String> = Vec::new();
    for word in words[..most].iter().map(S::as_ref).chain(more.as_deref()) {
        match lines.last_mut() {
            None => lines.push(format!("{first}{word}")),
            Some(line) if line.chars().count() + between.len() + word.chars().count() <= WRAP => {
                line.push_str(between);
                line.push_str(word);
            }
            Some(line) => {
                line.push_str(between.trim_end());
                lines.push(format!("{}{word}", " ".repeat(first.chars().count().min(2))));
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_name_so_many() {
        let words: Vec<String> = (0..9).map(|i| format!("args[{i}]")).collect();
        assert_eq!(wrap(&words[..3], 2, ", ", "← "), ["← args[0], args[1], args[2]"]);
        assert_eq!(wrap(&words, 2, ", ", "← "), ["← args[0], args[1], and 7 more"]);
    }
}
