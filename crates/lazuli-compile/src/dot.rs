//! Graphs in Graphviz's DOT language: as operations, or as the kernels that these are fused into.
//!
//! Operations are boxes, called as their primitive (`Multiply`); arrays lie between them, called by their name or else `A`, `B`, …,
//! `AA`, …. Graphviz takes what has one name for one, so that no two arrays have the same: the second `t` is `t (2)`. A kernel of several operations, views through which it reads among them, is called `Compiled` and their names in order:
//! `CompiledBroadcastMultiplyAdd`. Scalars written in place are not shown.
//!
//! Absent: any layout or colour; that is Graphviz's.

use crate::fuse::{Group, fuse};
use crate::report::{FusedKind, Memory};
use lazuli_ir::{Atom, Equation, Graph, Prim, Result, Var};
use lazuli_kernel::hash::{Map, Set};
use std::fmt::Write;

/// The names of a graph's inputs and outputs, in order; where one is missing or empty, one is made up. Of several for one array the first counts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Names<'a> {
    pub inputs: &'a [&'a str],
    pub outputs: &'a [&'a str],
    /// Of any variables, before the names above.
    pub others: &'a [(Var, &'a str)],
}

/// Prints a graph as it stands, each equation a box.
pub fn operations(graph: &Graph, names: Names) -> String {
    let mut printer = Printer::new(graph, names);
    graph.equations.iter().for_each(|e| printer.operation(e));
    printer.finish()
}

/// The same, but the calls among these equations are shown as the kernels that their bodies are compiled to.
pub fn operations_and_kernels(graph: &Graph, compiled: &[usize], names: Names) -> Result<String> {
    let mut printer = Printer::new(graph, names);
    for (i, e) in graph.equations.iter().enumerate() {
        match &e.prim {
            Prim::Call(call) if compiled.contains(&i) => printer.body(e, &call.graph)?,
            _ => printer.operation(e),
        }
    }
    Ok(printer.finish())
}

/// Prints a graph as the kernels and library calls that it is compiled to, each a box.
pub fn kernels(graph: &Graph, names: Names) -> Result<String> {
    let flat = graph.inline_calls()?;
    let mut printer = Printer::new(&flat.graph, names);
    printer.kernels()?;
    Ok(printer.finish())
}

fn variables(e: &Equation) -> impl Iterator<Item = Var> {
    e.inputs.iter().filter_map(|atom| atom.var())
}

struct Printer<'a> {
    graph: &'a Graph,
    text: String,
    names: Map<Var, String>,
    /// All names in use.
    taken: Set<String>,
    boxes: usize,
    made_up: usize,
}

impl<'a> Printer<'a> {
    fn new(graph: &'a Graph, names: Names) -> Printer<'a> {
        let text = "digraph {\n".to_owned();
        let (names_of, taken) = (Map::default(), Set::default());
        let mut printer = Printer { graph, text, names: names_of, taken, boxes: 0, made_up: 0 };
        // What is made up comes after all that is given.
        names.others.iter().for_each(|&(v, name)| printer.call(v, name));
        graph.inputs.iter().zip(names.inputs).for_each(|(&v, name)| printer.call(v, name));
        let outputs = graph.outputs.iter().zip(names.outputs);
        outputs.filter_map(|(atom, name)| Some((atom.var()?, name))).for_each(|(v, name)| printer.call(v, name));
        let mut shown = Set::default();
        for &v in &graph.inputs {
            printer.end("source", v, &mut shown);
        }
        for v in graph.outputs.iter().filter_map(|atom| atom.var()) {
            printer.end("sink", v, &mut shown);
        }
        printer
    }

    /// Gives an array a name, if it has none.
    fn call(&mut self, v: Var, name: &str) {
        if name.is_empty() || self.names.contains_key(&v) {
            return;
        }
        let numbered = (2..).map(|n| format!("{name} ({n})"));
        let mut free = std::iter::once(name.to_owned()).chain(numbered).filter(|name| !self.taken.contains(name));
        let name = free.next().expect("there are numbers enough");
        self.taken.insert(name.clone());
        self.names.insert(v, name);
    }

    /// Prints an input or an output, once.
    fn end(&mut self, rank: &str, v: Var, shown: &mut Set<Var>) {
        if shown.insert(v) {
            let name = self.name(v);
            let _ = writeln!(self.text, "{{ rank={rank}; {name:?}; }}");
        }
    }

    fn operation(&mut self, e: &Equation) {
        self.block(&label(e), variables(e), &e.outputs);
    }

    /// Prints the kernels of a body in place of its call.
    fn body(&mut self, call: &Equation, body: &Graph) -> Result<()> {
        let flat = body.inline_calls()?;
        let mut names = Map::default();
        for (&v, &a) in flat.graph.inputs.iter().zip(&call.inputs) {
            let name = if let Atom::Var(a) = a { self.name(a) } else { self.fresh() };
            names.insert(v, name);
        }
        for (&a, &v) in flat.graph.outputs.iter().zip(&call.outputs) {
            if let Atom::Var(a) = a {
                names.entry(a).or_insert_with(|| self.name(v));
            }
        }
        let (text, taken) = (std::mem::take(&mut self.text), std::mem::take(&mut self.taken));
        let mut inner = Printer { graph: &flat.graph, text, names, taken, boxes: self.boxes, made_up: self.made_up };
        inner.kernels()?;
        (self.text, self.taken, self.boxes, self.made_up) = (inner.text, inner.taken, inner.boxes, inner.made_up);
        Ok(())
    }

    /// Prints all kernels.
    fn kernels(&mut self) -> Result<()> {
        let groups = fuse(self.graph, &[])?.groups;
        let memory = Memory::new(self.graph, &groups);
        let mut needed: Vec<Var> = self.graph.outputs.iter().filter_map(|atom| atom.var()).collect();
        for group in &groups {
            needed.extend(self.kernel(group, &memory));
        }
        // What is left is an input, or a view of something that is stored: no kernel makes it, but it leads there.
        let mut shown = memory.stored.clone();
        while let Some(v) = needed.pop() {
            if let Some(i) = memory.view(v).filter(|_| shown.insert(v)) {
                let e = &self.graph.equations[i as usize];
                self.operation(e);
                needed.extend(variables(e));
            }
        }
        Ok(())
    }

    /// Prints a kernel, with the views through which it reads; returns what it reads.
    fn kernel(&mut self, group: &Group, memory: &Memory<'_>) -> Vec<Var> {
        let equation = |i: &u32| &self.graph.equations[*i as usize];
        let mut members = group.members.clone();
        let reads = if FusedKind::of_group(self.graph, group) == FusedKind::Kernel {
            let (reads, views) = memory.reads(group);
            members.extend(views);
            members.sort_unstable();
            reads
        } else {
            let mut seen: Set<Var> = members.iter().flat_map(|i| equation(i).outputs.iter().copied()).collect();
            members.iter().flat_map(|i| variables(equation(i))).filter(|&v| seen.insert(v)).collect()
        };
        let names: Vec<String> = members.iter().map(|i| label(equation(i))).collect();
        let label = if names.len() == 1 { names.concat() } else { format!("Compiled{}", names.concat()) };
        self.block(&label, reads.iter().copied(), &group.stores);
        reads
    }

    fn block(&mut self, label: &str, reads: impl Iterator<Item = Var>, writes: &[Var]) {
        self.boxes += 1;
        let block = self.boxes;
        let _ = writeln!(self.text, "{{ {block} [label={label:?}, shape=rectangle]; }}");
        for v in reads {
            let name = self.name(v);
            let _ = writeln!(self.text, "{name:?} -> {block}");
        }
        for &v in writes {
            let name = self.name(v);
            let _ = writeln!(self.text, "{block} -> {name:?}");
        }
    }

    fn name(&mut self, v: Var) -> String {
        if let Some(name) = self.names.get(&v) {
            return name.clone();
        }
        let name = self.fresh();
        self.names.insert(v, name.clone());
        name
    }

    /// The next of A, B, …, Z, AA, AB, … that is free.
    fn fresh(&mut self) -> String {
        loop {
            let mut name = String::new();
            let mut rest = self.made_up + 1;
            while rest > 0 {
                rest -= 1;
                name.insert(0, char::from(b'A' + (rest % 26) as u8));
                rest /= 26;
            }
            self.made_up += 1;
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }

    fn finish(mut self) -> String {
        self.text += "}\n";
        self.text
    }
}

/// What an operation is called: a call as the function that it stands for.
fn label(e: &Equation) -> String {
    match &e.prim {
        Prim::Call(call) => class_name(&call.name),
        Prim::Broadcast(_) => "Broadcast".to_owned(),
        prim => class_name(prim.name()),
    }
}

/// `logical_not` as `LogicalNot`.
fn class_name(name: &str) -> String {
    let words = name.split('_').map(|word| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>()).unwrap_or_default()
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The boxes of a print, each as what it reads, its label, and what it writes.
    fn boxes(dot: &str) -> Vec<String> {
        let mut boxes: Vec<(String, String, String)> = Vec::new();
        for line in dot.lines() {
            if let Some((from, to)) = line.split_once(" -> ") {
                let last = boxes.last_mut().expect("edges follow their box");
                match from.strip_prefix('"') {
                    Some(from) => last.0 += from.trim_end_matches('"'),
                    None => last.2 += to.trim_matches('"'),
                }
            } else if let Some((_, label)) = line.split_once("label=\"") {
                let label = label.split('"').next().unwrap_or_default();
                boxes.push((String::new(), label.to_owned(), String::new()));
            }
        }
        boxes.into_iter().map(|(reads, label, writes)| format!("{reads} {label} {writes}")).collect()
    }

    const GRAPH: &str = "graph v1 (a: f32[4,3], b: f32[3,5]; c: f32[]) {
        d: f32[3,4] = transpose[axes=(1,0)] a
        e: f32[4,3] = multiply a 2.0:f32
        f: f32[4,3] = exp e
        g: f32[4,5] = matmul f b
        h: f32[4,5] = tanh g
        return h d
    }";

    #[test]
    fn operations_are_shown_as_they_stand() {
        let graph: Graph = GRAPH.parse().unwrap();
        let Atom::Var(g) = graph.equations[3].outputs[0].into() else { unreachable!() };
        let dot = operations(&graph, Names { inputs: &["x"], outputs: &["y"], others: &[(g, "scores")] });
        assert!(dot.starts_with("digraph {\n{ rank=source; \"x\"; }\n{ rank=source; \"A\"; }\n"), "{dot}");
        let expected = ["x Transpose C", "x Multiply D", "D Exp E", "EA Matmul scores", "scores Tanh y"];
        assert_eq!(boxes(&dot), expected, "{dot}");
    }

    #[test]
    fn no_two_arrays_have_one_name() {
        let graph: Graph = "graph v1 (a: f32[3], b: f32[3], c: f32[3]) {
            d: f32[3] = multiply a b
            e: f32[3] = call[name=f] c d with (a: f32[3], b: f32[3]) {
                c: f32[3] = sort[axis=0] a
                d: f32[3] = add b c
                return d
            }
            return e
        }"
        .parse()
        .unwrap();
        let d = graph.equations[0].outputs[0];
        // Names that are made up go around those that are given, and those that are given twice are told apart.
        let names = Names { inputs: &["", "B", "t"], outputs: &["t"], others: &[(d, "A"), (d, "other")] };
        let expected = ["CB Multiply A", "t Sort D", "AD Add t (2)"];
        assert_eq!(boxes(&operations_and_kernels(&graph, &[1], names).unwrap()), expected);
        let dot = operations(&graph, Names { inputs: &["t", "t", "t"], ..Names::default() });
        assert_eq!(boxes(&dot), ["tt (2) Multiply B", "t (3)B F A"], "{dot}");
    }

    #[test]
    fn compiled_calls_are_shown_as_kernels() {
        let graph: Graph = "graph v1 (a: f32[3], b: f32[3]) {
            c: f32[3] = negative a
            d: f32[3] = call[name=f] c b with (a: f32[3], b: f32[3]) {
                c: f32[3] = multiply a b
                d: f32[3] = exp c
                return d
            }
            e: f32[3] = call[name=softmax] d with (a: f32[3]) {
                b: f32[3] = exp a
                return b
            }
            return e
        }"
        .parse()
        .unwrap();
        let dot = operations_and_kernels(&graph, &[1], Names { inputs: &["x"], ..Names::default() }).unwrap();
        assert_eq!(boxes(&dot), ["x Negative C", "CA CompiledMultiplyExp D", "D Softmax B"], "{dot}");
    }

    #[test]
    fn kernels_are_named_after_what_is_fused() {
        let graph: Graph = GRAPH.parse().unwrap();
        let dot = kernels(&graph, Names { inputs: &["x"], outputs: &["y"], ..Names::default() }).unwrap();
        let expected = ["x CompiledMultiplyExp D", "DA CompiledMatmulTanh y", "x Transpose C"];
        assert_eq!(boxes(&dot), expected, "{dot}");
        let graph: Graph = "graph v1 (a: f32[3], b: f32[4,3], c: f32[4,3]) {
            d: f32[4,3] = broadcast_to[shape=(4,3)] a
            e: f32[4,3] = multiply d b
            f: f32[4,3] = add e c
            return f
        }"
        .parse()
        .unwrap();
        assert_eq!(boxes(&kernels(&graph, Names::default()).unwrap()), ["ABC CompiledBroadcastMultiplyAdd D"]);
    }
}
