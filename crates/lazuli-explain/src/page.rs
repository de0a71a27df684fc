//! An explanation as one page: data for the script in `page.html`.

use crate::json::{list, object, string, strings};
use crate::view::{self, View};
use crate::{Explanation, text};
use lazuli_ir::{Graph, Location, Text};

const TEMPLATE: &str = include_str!("page.html");

/// Graphs of more operations than this are not drawn: nobody could read them, and laying them out would take long.
const MOST_NODES: usize = 4000;

pub fn page(e: &Explanation) -> String {
    let kernels = e.kernels();
    let mut kernel_of = vec![None; e.lowered().equations.len()];
    for (k, kernel) in kernels.iter().enumerate() {
        for &m in &kernel.members {
            kernel_of[m as usize].get_or_insert(k);
        }
    }
    let views = list([
        drawn("As traced", &view::operations(&e.traced, &e.inputs, |_| None), &operations(&e.traced, |_| None)),
        drawn(
            "Simplified",
            &view::operations(e.lowered(), &e.inputs, |i| kernel_of[i]),
            &operations(e.lowered(), |i| kernel_of[i]),
        ),
        drawn("Compiled", &view::kernels(e, &kernels), &list(kernels.iter().map(|k| kernel(e, k)))),
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
        ("constants", list(constants)),
        ("boundaries", list(boundaries)),
    ]);
    TEMPLATE.replace("/*DATA*/", &data)
}

fn place(at: Location) -> String {
    if at == Location::UNKNOWN { String::new() } else { at.to_string() }
}

/// A view with the places of its boxes, and what is shown of each when it is chosen.
fn drawn(title: &str, view: &View, details: &str) -> String {
    let n = view.nodes.len();
    if n > MOST_NODES {
        let note = format!("{n} boxes are too many to draw: read them as text, or compile a part");
        return object(&[("title", string(title)), ("note", string(&note)), ("details", details.to_owned())]);
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
fn operations(graph: &Graph, kernel_of: impl Fn(usize) -> Option<usize>) -> String {
    let text = Text::new(graph);
    list(graph.equations.iter().enumerate().map(|(i, e)| {
        let results: Vec<String> = e.outputs.iter().map(|v| graph.avals[v.0 as usize].to_string()).collect();
        let mut facts = vec![strings(["result", results.join(", ").as_str()])];
        if e.meta.location != Location::UNKNOWN {
            facts.push(strings(["written at", place(e.meta.location).as_str()]));
        }
        if let Some(k) = kernel_of(i) {
            facts.push(strings(["computed in", format!("step {k} of Compiled").as_str()]));
        }
        object(&[
            ("title", string(view::name(e))),
            ("facts", list(facts)),
            ("ops", list([])),
            ("texts", list([strings(["equation", text.equation(i).as_str()])])),
        ])
    }))
}

fn kernel(e: &Explanation, kernel: &lazuli_compile::Fused) -> String {
    let graph = e.lowered();
    let text = Text::new(graph);
    let cost = text::cost_of(e, kernel);
    let mut facts = vec![
        strings(["fused", text::counted(kernel.members.len(), "op").as_str()]),
        strings(["computes", format!("{} operations", text::number(cost.operations)).as_str()]),
        strings(["moves", text::bytes(cost.nbytes).as_str()]),
    ];
    for v in &kernel.stores {
        facts.push(strings(["stores", format!("{}: {}", text.name(*v), graph.avals[v.0 as usize]).as_str()]));
    }
    let ops = kernel.members.iter().map(|&m| {
        let at = place(graph.equations[m as usize].meta.location);
        strings([text.equation(m as usize), at])
    });
    let mut texts = Vec::new();
    for &s in &kernel.steps {
        texts.push(strings(["step", e.compiled.plan.steps[s].to_string().as_str()]));
        texts.extend(e.code.get(s).into_iter().flatten().map(|code| strings(["machine code", code.as_str()])));
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
