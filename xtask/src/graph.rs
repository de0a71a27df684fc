//! A graph in DOT, as Lazuli and MLX export it, drawn as a picture: operations in layers, data flowing down.
//!
//! The text names arrays as nodes without a label and operations as nodes with one. An array between two operations is
//! drawn as the line from one to the other; an input or output of the whole graph is drawn as a small dot, with its
//! name if somebody gave it one.
//!
//! Absent: the rest of the DOT language (ports, styles, nested clusters), which is skipped.

mod dot;

use crate::picture::{Anchor, FAINT, INK, Picture, Rgb, SERIES, text_width};
use crate::steps::Result;
use lazuli_explain::layout::{Layout, Size};
use std::collections::HashMap;

const TEXT: f32 = 11.0;
const LINE: f32 = 14.0;
const MARGIN: f32 = 28.0;
/// The fill of boxes of one operation, and of those in which several are fused.
const PLAIN: Rgb = 0xf5f7fa;
const FUSED: Rgb = 0xdbe7ff;
/// The widest line of operations in a fused box, in characters.
const WRAP: usize = 26;

/// What is drawn: operations, and the graph's own inputs and outputs.
#[derive(Debug, PartialEq)]
struct Node {
    lines: Vec<String>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Operation,
    Fused,
    Terminal,
}

/// The nodes and the edges between them, by index.
#[derive(Debug, Default)]
struct Graph {
    nodes: Vec<Node>,
    edges: Vec<(usize, usize)>,
}

/// Draws graphs beside each other, each under its title and the count of its operations.
pub fn draw(graphs: &[(&str, &str)]) -> Result<Picture> {
    let graphs = graphs.iter().map(|(title, text)| Ok((*title, read(text)?))).collect::<Result<Vec<_>>>()?;
    let layouts: Vec<_> = graphs.iter().map(|(_, graph)| Layout::new(&sizes(graph), &graph.edges)).collect();
    let top = 64.0;
    let width: f32 = layouts.iter().map(|layout| layout.width.max(220.0) + 2.0 * MARGIN).sum();
    let height = layouts.iter().map(|layout| layout.height).fold(0.0, f32::max) + top + MARGIN;
    let mut picture = Picture::new(width, height);
    let mut left = MARGIN;
    for ((title, graph), layout) in graphs.iter().zip(&layouts) {
        picture.text((left, 28.0), Anchor::Start, 16.0, INK, title);
        let operations = graph.nodes.iter().filter(|node| node.kind != Kind::Terminal).count();
        let fused = graph.nodes.iter().filter(|node| node.kind == Kind::Fused).count();
        let count = match fused {
            0 => format!("{operations} operations"),
            _ => format!("{operations} operations, {fused} of them fused kernels"),
        };
        picture.text((left, 46.0), Anchor::Start, 11.0, FAINT, &count);
        draw_one(&mut picture, graph, layout, (left, top));
        left += layout.width.max(220.0) + 2.0 * MARGIN;
    }
    Ok(picture)
}

fn draw_one(picture: &mut Picture, graph: &Graph, layout: &Layout, (left, top): (f32, f32)) {
    for (route, &(_, to)) in layout.routes.iter().zip(&graph.edges) {
        let points: Vec<_> = route.iter().map(|&(x, y)| (left + x, top + y)).collect();
        picture.curve(&points, 1.0, FAINT);
        if let (Some(&(x, y)), Kind::Operation | Kind::Fused) = (points.last(), graph.nodes[to].kind) {
            picture.polygon(&[(x, y), (x - 3.0, y - 6.0), (x + 3.0, y - 6.0)], FAINT);
        }
    }
    for ((node, &(x, y)), size) in graph.nodes.iter().zip(&layout.centres).zip(sizes(graph)) {
        let (x, y) = (left + x, top + y);
        match node.kind {
            Kind::Terminal => {
                picture.circle((x, y), 4.0, SERIES[1]);
                for line in &node.lines {
                    picture.text((x + 8.0, y + 4.0), Anchor::Start, TEXT, INK, line);
                }
            }
            Kind::Operation | Kind::Fused => {
                let (fill, outline) = if node.kind == Kind::Fused { (FUSED, SERIES[0]) } else { (PLAIN, FAINT) };
                let corner = (x - size.width / 2.0, y - size.height / 2.0);
                picture.rounded([corner.0, corner.1, size.width, size.height], 5.0, fill, outline);
                for (index, line) in node.lines.iter().enumerate() {
                    let baseline = corner.1 + 14.0 + LINE * index as f32;
                    picture.text((x, baseline), Anchor::Middle, TEXT, INK, line);
                }
            }
        }
    }
}

fn sizes(graph: &Graph) -> Vec<Size> {
    let size = |node: &Node| {
        let text = node.lines.iter().map(|line| text_width(TEXT, line)).fold(0.0, f32::max);
        match node.kind {
            // Its name stands to the right of the dot, which stays in the middle.
            Kind::Terminal => Size { width: 8.0 + 2.0 * (text + 4.0), height: 10.0 },
            _ => Size { width: text + 16.0, height: 7.0 + LINE * node.lines.len() as f32 },
        }
    };
    graph.nodes.iter().map(size).collect()
}

/// Reads DOT and leaves out the arrays between operations.
fn read(text: &str) -> Result<Graph> {
    let dot = dot::parse(text)?;
    let mut graph = Graph::default();
    let mut kept = HashMap::new();
    let has = |pick: fn(&(usize, usize)) -> usize, node| dot.edges.iter().any(|edge| pick(edge) == node);
    for (index, node) in dot.nodes.iter().enumerate() {
        let is_between = node.label.is_none() && has(|edge| edge.1, index) && has(|edge| edge.0, index);
        if is_between {
            continue;
        }
        kept.insert(index, graph.nodes.len());
        graph.nodes.push(match &node.label {
            Some(label) => operation(label),
            // The exporter calls unnamed arrays A, B, …, AA, …
            None if node.name.chars().all(|c| c.is_ascii_uppercase()) => {
                Node { lines: Vec::new(), kind: Kind::Terminal }
            }
            None => Node { lines: vec![node.name.clone()], kind: Kind::Terminal },
        });
    }
    // An edge that ends at an array left out goes on to where the array is used.
    let mut edges: Vec<(usize, usize)> = dot.edges.clone();
    while let Some((from, between)) = edges.pop() {
        match (kept.get(&from), kept.get(&between)) {
            (Some(&from), Some(&to)) => graph.edges.push((from, to)),
            (Some(_), None) => {
                edges.extend(dot.edges.iter().filter(|edge| edge.0 == between).map(|edge| (from, edge.1)))
            }
            (None, _) => {}
        }
    }
    graph.edges.sort_unstable();
    graph.edges.dedup();
    Ok(graph)
}

/// The box of an operation; a fused one is called `Compiled` and its operations in order, as one word.
fn operation(label: &str) -> Node {
    let Some(names) = label.strip_prefix("Compiled").filter(|names| !names.is_empty()) else {
        return Node { lines: vec![label.to_owned()], kind: Kind::Operation };
    };
    let mut lines = vec![String::new()];
    for name in words(names) {
        let line = lines.last_mut().expect("there is a line");
        if line.is_empty() {
            *line = name.to_owned();
        } else if line.len() + 1 + name.len() <= WRAP {
            *line += " ";
            *line += name;
        } else {
            lines.push(name.to_owned());
        }
    }
    Node { lines, kind: Kind::Fused }
}

/// The capitalised words that a name is made of.
fn words(name: &str) -> Vec<&str> {
    let mut starts: Vec<usize> = name.char_indices().filter(|(_, c)| c.is_uppercase()).map(|(at, _)| at).collect();
    if starts.first() != Some(&0) {
        starts.insert(0, 0);
    }
    let ends = starts.iter().skip(1).copied().chain([name.len()]);
    starts.iter().zip(ends).map(|(&start, end)| &name[start..end]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_between_operations_become_lines() {
        let text = "digraph {\n{ rank=source; \"x\"; }\n{ rank=source; \"A\"; }\n{ 1 [label =\"Exp\", shape=rectangle]; }\n\"x\" -> 1\n{ \"B\"; }\n1 -> \"B\"\n\
                    { 2 [label =\"CompiledAddMultiply\", shape=rectangle]; }\n\"B\" -> 2\n\"A\" -> 2\n\"B\" -> 2\n{ rank=sink; \"C\"; }\n2 -> \"C\"\n}";
        let graph = read(text).unwrap();
        let lines: Vec<_> = graph.nodes.iter().map(|node| (node.lines.join("/"), node.kind)).collect();
        let expected = [
            ("x", Kind::Terminal),
            ("", Kind::Terminal),
            ("Exp", Kind::Operation),
            ("Add Multiply", Kind::Fused),
            ("", Kind::Terminal),
        ];
        assert_eq!(lines, expected.map(|(line, kind)| (line.to_owned(), kind)));
        assert_eq!(graph.edges, [(0, 2), (1, 3), (2, 3), (3, 4)]);
    }

    #[test]
    fn fused_names_are_wrapped() {
        assert_eq!(
            operation("CompiledBroadcastMultiplyAddSubtractExp").lines,
            ["Broadcast Multiply Add", "Subtract Exp"]
        );
        assert_eq!(operation("Matmul").lines, ["Matmul"]);
    }
}
