//! The part of the DOT language that graph exporters write: nodes with attributes, and edges.

use crate::steps::{Failure, Result};
use std::collections::HashMap;

#[derive(Debug, Default)]
pub struct Dot {
    pub nodes: Vec<Node>,
    /// From and to, by index of the node.
    pub edges: Vec<(usize, usize)>,
}

#[derive(Debug)]
pub struct Node {
    pub name: String,
    pub label: Option<String>,
}

#[derive(Debug, PartialEq)]
enum Token {
    Name(String),
    Sign(&'static str),
}

pub fn parse(text: &str) -> Result<Dot> {
    let tokens = tokens(text)?;
    let mut dot = Dot::default();
    let mut index = HashMap::new();
    let mut tail = None;
    let mut at = match tokens.iter().position(|token| *token == Token::Sign("{")) {
        Some(opening) => opening + 1,
        None => return Err(Failure::new("the graph is not in DOT: it has no '{'")),
    };
    while let Some(token) = tokens.get(at) {
        at += 1;
        let Token::Name(name) = token else {
            if *token != Token::Sign("->") {
                tail = None;
            }
            continue;
        };
        // An attribute of the graph: `rank=source`.
        if tokens.get(at) == Some(&Token::Sign("=")) {
            at += 2;
            continue;
        }
        let node = *index.entry(name.clone()).or_insert_with(|| {
            dot.nodes.push(Node { name: name.clone(), label: None });
            dot.nodes.len() - 1
        });
        if let Some(from) = tail {
            dot.edges.push((from, node));
        }
        tail = (tokens.get(at) == Some(&Token::Sign("->"))).then_some(node);
        if tokens.get(at) == Some(&Token::Sign("[")) {
            let end = tokens[at..]
                .iter()
                .position(|token| *token == Token::Sign("]"))
                .map_or(tokens.len(), |length| at + length);
            for attribute in tokens[at..end].windows(3) {
                if let [Token::Name(key), Token::Sign("="), Token::Name(value)] = attribute
                    && key == "label"
                {
                    dot.nodes[node].label = Some(value.clone());
                }
            }
            at = end;
        }
    }
    Ok(dot)
}

fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length;
        if let Some(sign) = ["->", "{", "}", "[", "]", "=", ";", ","].into_iter().find(|sign| rest.starts_with(sign)) {
            tokens.push(Token::Sign(sign));
            length = sign.len();
        } else if first == '"' {
            let mut name = String::new();
            let mut chars = rest.char_indices().skip(1);
            length = loop {
                match chars.next() {
                    Some((at, '"')) => break at + 1,
                    Some((_, '\\')) => name.extend(chars.next().map(|(_, c)| if c == 'n' { ' ' } else { c })),
                    Some((_, c)) => name.push(c),
                    None => return Err(Failure::new("a quoted name in the graph has no end")),
                }
            };
            tokens.push(Token::Name(name));
        } else {
            length = rest
                .find(|c: char| c.is_whitespace() || "{}[]=;,\"-".contains(c))
                .unwrap_or(rest.len())
                .max(first.len_utf8());
            tokens.push(Token::Name(rest[..length].to_owned()));
        }
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_edges_and_labels_are_read() {
        let dot = parse("digraph g {\n  rankdir=TB;\n  a -> b -> \"c d\";\n  b [shape=box, label=\"x\\\"y\"];\n  { rank=source; e; }\n}").unwrap();
        let names: Vec<_> = dot.nodes.iter().map(|node| (node.name.as_str(), node.label.as_deref())).collect();
        assert_eq!(names, [("a", None), ("b", Some("x\"y")), ("c d", None), ("e", None)]);
        assert_eq!(dot.edges, [(0, 1), (1, 2)]);
        assert!(parse("no graph").is_err());
        assert!(parse("digraph { \"a }").is_err());
    }
}
