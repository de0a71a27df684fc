//! An explanation as one page: data for the script in `page.html`.

use crate::json::{list, object, string, strings};
use crate::view::{self, View};
use crate::{Explanation, text};
use lazuli_ir::{Graph, Location, Result, Text};
use lazuli_kernel::interrupt;
use std::collections::HashMap;
use std::sync::Arc;

const TEMPLATE: &str = include_str!("page.html");

/// Graphs of more operations than this are not drawn: nobody could read them, and laying them out would take long.
const MOST_NODES: usize = 4000;
/// Operations of machine code that are named one by one.
const MOST_OPS: usize = 6;

pub fn page(e: &Explanation) -> Result<String> {
    let kernels = e.kernels();
    let mut kernel_of = vec![None; e.lowered().equations.len()];
    for (k, kernel) in kernels.iter().enumerate() {
        for &m in &kernel.members {
            kernel_of[m as usize].get_or_insert(k);
        }
    }
    let mut codes = Codes::default();
    let view = view::kernels(e, &kernels);
    let described = kernels.iter().zip(&view.reads).map(|(k, reads)| {
        interrupt::poll()?;
        Ok(kernel(e, k, reads, &mut codes))
    });
    let compiled = list(described.collect::<Result<Vec<_>>>()?);
    let views = list([
        drawn_operations("As traced", e, &e.traced, |_| None)?,
        drawn_operations("Simplified", e, e.lowered(), |i| kernel_of[i])?,
        drawn("Compiled", &view, &compiled),
    ]);
    let facts = text::facts(e).into_iter().map(|(label, value)| strings([label, value.as_str()]));
    let constants =
        e.constants.iter().map(|c| strings([c.name.clone(), c.aval.to_string(), text::bytes(c.aval.nbytes())]));
    let boundaries = e.boundaries().into_iter().map(|(name, why, at)| strings([name, why.to_owned(), place(at)]));
    let data = object(&[
        ("name", string(&e.name)),
        ("summary", string(&text::summary(e))),
        ("facts", list(facts)),
        ("views", views),
        ("codes", strings(&codes.texts)),
        ("constants", list(constants)),
        ("boundaries", list(boundaries)),
    ]);
    Ok(TEMPLATE.replace("/*DATA*/", &data))
}

fn place(at: Location) -> String {
    if at == Location::UNKNOWN { String::new() } else { at.to_string() }
}

fn undrawn(title: &str, boxes: usize) -> String {
    let note = format!("{boxes} boxes are too many to draw: read them as text, or compile a part");
    object(&[("title", string(title)), ("note", string(&note))])
}

/// The operations of a graph.
fn drawn_operations(
    title: &str,
    e: &Explanation,
    graph: &Graph,
    of: impl Fn(usize) -> Option<usize>,
) -> Result<String> {
    if graph.equations.len() > MOST_NODES {
        return Ok(undrawn(title, graph.equations.len()));
    }
    interrupt::poll()?;
    Ok(drawn(title, &view::operations(graph, &e.inputs, &of), &operations(graph, &of)?))
}

/// A view with the places of its boxes, and what is shown of each when it is chosen.
fn drawn(title: &str, view: &View, details: &str) -> String {
    let n = view.nodes.len();
    if n > MOST_NODES {
        return undrawn(title, n);
    }
    let layout = view.layout();
    let nodes = view.nodes.iter().zip(layout.centres.iter().zip(&layout.sizes)).map(|(node, (&(x, y), size))| {
        object(&[
            ("x", number(x - size.width / 2.0)),
            ("y", number(y - size.height / 2.0)),
            ("w", number(size.width)),
            ("h", number(size.height)),
            ("names", strings(&node.names)),
            ("notes", strings(&node.notes)),
            ("kind", string(node.kind)),
            ("kernel", node.kernel.map_or("null".to_owned(), |k| k.to_string())),
        ])
    });
    let edges = view.edges.iter().zip(&layout.routes).map(|((from, to, label), route)| {
        let points = route.iter().flat_map(|&(x, y)| [number(x), number(y)]);
        list([from.to_string(), to.to_string(), string(label), list(points)])
    });
    object(&[
        ("title", string(title)),
        ("note", string(&text::counted(n, if title == "Compiled" { "step" } else { "op" }))),
        ("width", number(layout.width)),
        ("height", number(layout.height)),
        ("nodes", list(nodes)),
        ("edges", list(edges)),
        ("details", details.to_owned()),
    ])
}

fn number(x: f32) -> String {
    format!("{x:.1}")
}

/// Of each operation: title, label–value pairs, operations, texts.
fn operations(graph: &Graph, kernel_of: impl Fn(usize) -> Option<usize>) -> Result<String> {
    let text = Text::new(graph);
    let described = graph.equations.iter().enumerate().map(|(i, e)| {
        interrupt::poll_at(i)?;
        let results: Vec<String> = e.outputs.iter().map(|v| graph.avals[v.0 as usize].to_string()).collect();
        let mut facts = vec![strings(["result", results.join(", ").as_str()])];
        if e.meta.location != Location::UNKNOWN {
            facts.push(strings(["written at", place(e.meta.location).as_str()]));
        }
        if let Some(k) = kernel_of(i) {
            facts.push(strings(["computed in", format!("step {k} of Compiled").as_str()]));
        }
        Ok(object(&[
            ("title", string(view::name(e))),
            ("facts", list(facts)),
            ("ops", list([])),
            ("texts", list([strings(["equation", text.equation(i).as_str()])])),
        ]))
    });
    Ok(list(described.collect::<Result<Vec<_>>>()?))
}

/// Kernels and machine code, each once, however many steps run it.
#[derive(Default)]
struct Codes {
    texts: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, usize>,
}

impl Codes {
    fn number(&mut self, code: &str) -> usize {
        if let Some(&known) = self.numbers.get(code) {
            return known;
        }
        let (code, number): (Arc<str>, usize) = (code.into(), self.texts.len());
        self.texts.push(code.clone());
        self.numbers.insert(code, number);
        number
    }
}

/// What a function's machine code does: the operations of the kernel that it was generated from.
fn purpose(code: &str) -> String {
    let names = code.lines().take_while(|line| !line.starts_with("## Machine code"));
    let names = names.filter_map(|line| line.trim_start().split_once(" = ")?.1.split(' ').next());
    let ops: Vec<&str> = names.filter(|op| !matches!(*op, "load" | "const" | "param")).collect();
    match ops[..] {
        [] => "moves elements".into(),
        [first, .., last] if ops.len() > MOST_OPS => format!("{first} … {last}, {} operations", ops.len()),
        _ => ops.join(" "),
    }
}

fn kernel(e: &Explanation, kernel: &lazuli_compile::Fused, reads: &[String], codes: &mut Codes) -> String {
    let graph = e.lowered();
    let text = Text::new(graph);
    let cost = text::cost_of(e, kernel);
    let mut facts = vec![
        strings(["fused", text::counted(kernel.members.len(), "op").as_str()]),
        strings(["computes", format!("{} operations", text::number(cost.operations)).as_str()]),
        strings(["moves", text::bytes(cost.nbytes).as_str()]),
    ];
    if !reads.is_empty() {
        facts.push(strings(["reads", reads.join(", ").as_str()]));
    }
    for v in &kernel.stores {
        facts.push(strings(["stores", format!("{}: {}", text.name(*v), graph.avals[v.0 as usize]).as_str()]));
    }
    let ops = kernel.members.iter().map(|&m| {
        let at = place(graph.equations[m as usize].meta.location);
        strings([text.equation(m as usize), at])
    });
    let mut texts = Vec::new();
    for &s in &kernel.steps {
        let step = e.compiled.plan.steps[s].to_string();
        match step.find("\nkernel ") {
            Some(at) => {
                texts.push(strings(["step", &step[..at]]));
                texts.push(list([string("kernel"), codes.number(&step[at + 1..]).to_string()]));
            }
            None => texts.push(strings(["step", step.as_str()])),
        }
        let functions = e.code.get(s).map_or(&[][..], |functions| functions);
        for (k, code) in functions.iter().enumerate() {
            let of = if functions.len() == 1 { String::new() } else { format!(" {} of {}", k + 1, functions.len()) };
            let label = format!("machine code{of}: {}", purpose(code));
            texts.push(list([string(&label), codes.number(code).to_string()]));
        }
    }
    let mut branches = String::new();
    let _ = text::branches(&mut branches, &e.compiled, &e.simplified, kernel, "");
    if !branches.is_empty() {
        texts.push(strings(["branches", branches.as_str()]));
    }
    object(&[
        ("title", string(&capital(kernel.kind.name()))),
        ("facts", list(facts)),
        ("ops", list(ops)),
        ("texts", list(texts)),
    ])
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
