//! Graphs for inputs of other shapes: what is inferred again where it is reached is what is inferred when everything is.

use lazuli_ir::testing::{Sample, samples};
use lazuli_ir::{Atom, Aval, Builder, Equation, Graph, OutlineBuilder, Result, Shape, ShapeId, Var};

/// The avals of all variables for inputs of these shapes, by every shape rule.
fn inferred(graph: &Graph, inputs: &[Shape]) -> Result<Vec<Aval>> {
    let mut b = Builder::new();
    let mut names = vec![Var(0); graph.avals.len()];
    for (&v, shape) in graph.inputs.iter().zip(inputs) {
        names[v.0 as usize] = b.input(Aval::new(graph.avals[v.0 as usize].dtype, shape.clone()));
    }
    for e in &graph.equations {
        b.meta = e.meta;
        let operands: Vec<Atom> = e.inputs.iter().map(|a| a.var().map_or(*a, |v| names[v.0 as usize].into())).collect();
        let shapes: Vec<Var> = e.shapes.iter().map(|v| names[v.0 as usize]).collect();
        let outputs = b.equation(e.prim.clone(), &operands, &shapes)?;
        e.outputs.iter().zip(outputs).for_each(|(v, to)| names[v.0 as usize] = to);
    }
    Ok(names.into_iter().map(|v| b.aval(v.into())).collect())
}

/// Binds a graph to shapes beside its own, itself and by its outline, and compares with what is inferred from nothing. For how many it holds.
fn check(name: &str, graph: &Graph) -> usize {
    graph.verify().unwrap();
    let mut b = OutlineBuilder::new(graph.inputs.iter().map(|&v| graph.shape_of(v)));
    let ids = b.graph(graph, std::iter::empty()).unwrap();
    let numbers: Vec<ShapeId> = graph.outputs.iter().map(|a| b.of(a, &ids)).collect();
    let (outline, now) = b.finish().unwrap();
    let [ids, numbers] = [ids, numbers].map(|ids| ids.into_iter().map(|id| id.now(&now)).collect::<Vec<_>>());
    let was: Vec<Shape> = graph.input_avals().into_iter().map(|a| a.shape).collect();
    let mut others: Vec<Vec<Shape>> = vec![was.clone()];
    for &old in was.iter().flatten() {
        for new in [0, 1, 2 * old, old + 3] {
            let map = |s: &Shape| s.iter().map(|&n| if n == old { new } else { n }).collect();
            others.push(was.iter().map(map).collect());
            // And of some of the inputs alone.
            others.extend((1..was.len()).map(|k| {
                let (left, right) = was.split_at(k);
                left.iter().cloned().chain(right.iter().map(map)).collect()
            }));
        }
    }
    for (k, axis) in was.iter().enumerate().flat_map(|(k, s)| (0..s.len()).map(move |axis| (k, axis))) {
        for more in 1..4 {
            let mut one = was.clone();
            one[k][axis] += more;
            others.push(one);
        }
    }
    let (mut held, mut outlines) = (0, 0);
    for inputs in others {
        let text = format!("{name} for {inputs:?}");
        let avals = graph.rebound_avals(inputs.iter().map(|s| &s[..]), false);
        let outlined = outline.shapes(inputs.iter().map(|s| &s[..]), &mut |_| {});
        match (graph.rebind(&inputs), inferred(graph, &inputs)) {
            (Ok(now), Ok(expected)) => {
                now.verify().unwrap_or_else(|e| panic!("{text}: {e}"));
                assert_eq!(now.avals, expected, "{text}");
                let outputs = avals.unwrap().expect("nothing is made anew").output_avals();
                assert_eq!(outputs[..], now.output_avals()[..], "{text}");
                // It speaks of shapes of which the same extents are 0 and 1.
                let is_alike = alike(graph, &now);
                assert!(outlined.is_some() || !is_alike, "{text}: refused by the outline");
                if let Some(shapes) = outlined {
                    let of_outputs = numbers.iter().map(|id| id.of(&shapes));
                    assert!(of_outputs.eq(outputs_of(&now)), "{text}: {shapes:?}");
                    if graph.equations.iter().all(|e| e.prim.bodies().is_empty()) {
                        assert_eq!(graph.outlined(&ids, &shapes), now, "{text}");
                    }
                    outlines += 1;
                }
                assert_eq!(now.rebind(&was).unwrap(), *graph, "{text} and back");
                held += 1;
            }
            (Err(now), Err(expected)) => {
                assert_eq!(outlined, None, "{text}");
                assert_eq!(now.to_string(), expected.to_string(), "{text}");
                assert_eq!(avals.unwrap_err().to_string(), expected.to_string(), "{text}");
            }
            (now, expected) => panic!("{text}: {now:?}, not {expected:?}"),
        }
    }
    assert!(outlines > 1 || held < 2, "{name}");
    held
}

/// Whether of all variables the same extents are 0 and 1.
fn alike(a: &Graph, b: &Graph) -> bool {
    let few = |g: &Graph| g.avals.iter().flat_map(|a| a.shape.iter().map(|&n| n.min(2))).collect::<Vec<_>>();
    few(a) == few(b)
}

fn outputs_of(graph: &Graph) -> impl Iterator<Item = &Shape> {
    graph.outputs.iter().map(|a| &graph.aval_of(a).shape)
}

/// An operation twice, on operands of its own each time, and once on some of both.
fn thrice(sample: &Sample) -> Graph {
    let mut b = Builder::new();
    let avals: Vec<&Aval> = sample.inputs.iter().map(|o| &o.aval).chain(&sample.shapes).collect();
    let sets: Vec<Vec<Var>> = (0..2).map(|_| avals.iter().map(|&a| b.input(a.clone())).collect()).collect();
    let mixed = (0..avals.len()).map(|k| sets[k % 2][k]).collect();
    let mut outputs = Vec::new();
    for set in [&sets[0], &sets[1], &mixed] {
        let (inputs, shapes) = set.split_at(sample.inputs.len());
        let inputs: Vec<Atom> = inputs.iter().map(|&v| v.into()).collect();
        outputs.extend(b.equation(sample.prim.clone(), &inputs, shapes).unwrap().into_iter().map(Atom::from));
    }
    b.finish(outputs)
}

#[test]
fn the_op_table() {
    for sample in samples() {
        let name = format!("{}[{}]", sample.prim.name(), sample.prim.params());
        assert!(check(&name, &thrice(&sample)) > 0, "{name}");
    }
}

/// A step that trains some parameters with some rows: what it does to parameters alone is not looked at for other rows.
#[test]
fn a_step() {
    let text = "graph v1 (x: f32[5,3], w: f32[3,2], m: f32[3,2]) {
  a: f32[3,2] = multiply m 0.9:f32
  b: f32[5,2] = call[name=layer] x w with (x: f32[5,3], w: f32[3,2]) {
    n: f32[3,2] = negative w
    y: f32[5,2] = matmul x n
    z: f32[5,2] = call[name=sine,derivative=custom] y with (a: f32[5,2]) {
      b: f32[5,2] = sin a
      return b
    } vjp (a: f32[5,2], ct: f32[5,2], y: f32[5,2]) {
      b: f32[5,2] = multiply ct y
      return b
    }
    return z
  }
  t: f32[3,5] = transpose[axes=(1,0)] x
  g: f32[3,2] = matmul t b
  c: f32[3,2] = add a g
  d: f32[3,2] = subtract w c
  return d c b
}";
    let graph: Graph = text.parse().unwrap();
    assert!(check("a step", &graph) > 2);
    let shapes: [Shape; 3] = [[9, 3], [3, 2], [3, 2]].map(|s| s.into_iter().collect());
    let wider: Graph = text.replace('5', "9").parse().unwrap();
    assert_eq!(graph.rebind(&shapes).unwrap(), wider);
    // Equations are shared with the graph that is bound, but for bodies.
    let is_shared = |g: &Graph, of: &Graph| std::ptr::eq::<Equation>(&g.equations[0], &of.equations[0]);
    let inlined = graph.inline_calls().unwrap().graph.into_owned();
    assert!(is_shared(&inlined.rebind(&shapes).unwrap(), &inlined));
}
