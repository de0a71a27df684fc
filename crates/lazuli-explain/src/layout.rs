//! The layered layout of a directed graph (Sugiyama, Tagawa and Toda, 1981): layers by longest path, invisible nodes
//! where an edge crosses a layer, an order in each layer by barycentres, and positions that are the closest to their
//! neighbours' which that order allows. Parts that nothing connects are laid out by themselves, in rows from left to right.
//!
//! Absent: cycles, which a graph of computation has none of; an edge that would close one is routed but not heeded.

/// The space between nodes of a layer, and between layers.
const GAP: f32 = 12.0;
const LAYER_GAP: f32 = 20.0;
/// The space between parts.
const PART_GAP: f32 = 28.0;
/// How wide an edge is where it crosses a layer.
const EDGE: f32 = 3.0;
const SWEEPS: usize = 24;
/// The width of rows of parts, by their height.
const ASPECT: f32 = 1.6;

#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub width: f32,
    pub height: f32,
}

#[derive(Debug)]
pub struct Layout {
    pub width: f32,
    pub height: f32,
    /// The centre of each node.
    pub centres: Vec<(f32, f32)>,
    /// As they were given.
    pub sizes: Vec<Size>,
    /// The points that each edge runs through, from its first node's lower edge to its second's upper edge.
    pub routes: Vec<Vec<(f32, f32)>>,
}

impl Layout {
    pub fn new(sizes: &[Size], edges: &[(usize, usize)]) -> Layout {
        let parts = parts(sizes.len(), edges);
        if parts.len() < 2 {
            return Layout::of_part(sizes, edges);
        }
        // Of each node its part, and its number there; likewise the edges of each part.
        let mut place = vec![(0, 0); sizes.len()];
        for (p, nodes) in parts.iter().enumerate() {
            nodes.iter().enumerate().for_each(|(n, &node)| place[node] = (p, n));
        }
        let mut edges_of = vec![Vec::new(); parts.len()];
        edges.iter().enumerate().for_each(|(e, &(from, _))| edges_of[place[from].0].push(e));
        let layouts = parts.iter().zip(&edges_of).map(|(nodes, own)| {
            let own: Vec<_> = own.iter().map(|&e| (place[edges[e].0].1, place[edges[e].1].1)).collect();
            Layout::of_part(&nodes.iter().map(|&node| sizes[node]).collect::<Vec<_>>(), &own)
        });
        let layouts: Vec<Layout> = layouts.collect();
        let area: f32 = layouts.iter().map(|part| (part.width + PART_GAP) * (part.height + PART_GAP)).sum();
        let room = layouts.iter().map(|part| part.width).fold((area * ASPECT).sqrt(), f32::max);
        let (centres, routes) = (vec![(0.0, 0.0); sizes.len()], vec![Vec::new(); edges.len()]);
        let mut whole = Layout { width: 0.0, height: 0.0, centres, sizes: sizes.to_vec(), routes };
        let (mut x, mut y) = (0.0, 0.0);
        for ((part, nodes), own) in layouts.into_iter().zip(&parts).zip(&edges_of) {
            if x > 0.0 && x + part.width > room {
                (x, y) = (0.0, whole.height + PART_GAP);
            }
            let moved = |&(px, py): &(f32, f32)| (px + x, py + y);
            nodes.iter().zip(&part.centres).for_each(|(&node, at)| whole.centres[node] = moved(at));
            own.iter().zip(&part.routes).for_each(|(&e, route)| whole.routes[e] = route.iter().map(moved).collect());
            whole.width = whole.width.max(x + part.width);
            whole.height = whole.height.max(y + part.height);
            x += part.width + PART_GAP;
        }
        whole
    }

    fn of_part(sizes: &[Size], edges: &[(usize, usize)]) -> Layout {
        let layer_of = layers(sizes.len(), edges);
        let mut graph = Layered::new(sizes, edges, &layer_of);
        graph.order();
        graph.place();
        graph.finish(sizes, edges)
    }
}

/// The nodes of each part that nothing connects with the others, in order of their first.
fn parts(nodes: usize, edges: &[(usize, usize)]) -> Vec<Vec<usize>> {
    let mut neighbours = vec![Vec::new(); nodes];
    for &(from, to) in edges {
        neighbours[from].push(to);
        neighbours[to].push(from);
    }
    let mut seen = vec![false; nodes];
    let mut parts = Vec::new();
    for first in 0..nodes {
        let (mut part, mut todo) = (Vec::new(), vec![first]);
        while let Some(node) = todo.pop() {
            if !std::mem::replace(&mut seen[node], true) {
                part.push(node);
                todo.extend(&neighbours[node]);
            }
        }
        if !part.is_empty() {
            part.sort_unstable();
            parts.push(part);
        }
    }
    parts
}

/// The layer of each node: as far down as its inputs demand; then, from the last layer up, a node with no more inputs
/// than users moves down to just above the first of them, which shortens lines and makes none longer.
fn layers(nodes: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut users = vec![Vec::new(); nodes];
    let mut inputs = vec![0usize; nodes];
    for &(from, to) in edges {
        users[from].push(to);
        inputs[to] += 1;
    }
    let mut layer = vec![0usize; nodes];
    let mut waiting = inputs.clone();
    let mut order: Vec<usize> = (0..nodes).filter(|&node| waiting[node] == 0).collect();
    let mut next = 0;
    while next < order.len() {
        let node = order[next];
        next += 1;
        for &user in &users[node] {
            layer[user] = layer[user].max(layer[node] + 1);
            waiting[user] -= 1;
            if waiting[user] == 0 {
                order.push(user);
            }
        }
    }
    for &node in order.iter().rev() {
        if let Some(first) = users[node].iter().map(|&user| layer[user]).min()
            && inputs[node] <= users[node].len()
        {
            layer[node] = layer[node].max(first.saturating_sub(1));
        }
    }
    layer
}

/// Nodes, real ones first and then those where edges cross layers, with links between neighbouring layers only.
struct Layered {
    layers: Vec<Vec<usize>>,
    sizes: Vec<Size>,
    above: Vec<Vec<usize>>,
    below: Vec<Vec<usize>>,
    /// The crossing nodes of each edge.
    chains: Vec<Vec<usize>>,
    x: Vec<f32>,
}

impl Layered {
    fn new(sizes: &[Size], edges: &[(usize, usize)], layer_of: &[usize]) -> Layered {
        let depth = layer_of.iter().max().map_or(0, |&last| last + 1);
        let mut graph = Layered {
            layers: vec![Vec::new(); depth],
            sizes: sizes.to_vec(),
            above: vec![Vec::new(); sizes.len()],
            below: vec![Vec::new(); sizes.len()],
            chains: Vec::new(),
            x: Vec::new(),
        };
        for (node, &layer) in layer_of.iter().enumerate() {
            graph.layers[layer].push(node);
        }
        for &(from, to) in edges {
            let mut chain = Vec::new();
            let mut last = from;
            for layer in layer_of[from] + 1..layer_of[to] {
                let crossing = graph.sizes.len();
                graph.sizes.push(Size { width: EDGE, height: 0.0 });
                graph.above.push(Vec::new());
                graph.below.push(Vec::new());
                graph.layers[layer].push(crossing);
                graph.link(last, crossing);
                chain.push(crossing);
                last = crossing;
            }
            graph.link(last, to);
            graph.chains.push(chain);
        }
        graph.x = vec![0.0; graph.sizes.len()];
        graph
    }

    fn link(&mut self, upper: usize, lower: usize) {
        self.below[upper].push(lower);
        self.above[lower].push(upper);
    }

    /// Orders each layer by the barycentres of its neighbours, going down and up in turn, and keeps the order with the
    /// fewest crossings.
    fn order(&mut self) {
        let mut best = (self.crossings(), self.layers.clone());
        for sweep in 0..SWEEPS {
            if best.0 == 0 {
                break;
            }
            let down = sweep % 2 == 0;
            let mut position = vec![0.0; self.sizes.len()];
            for layer in &self.layers {
                layer.iter().enumerate().for_each(|(at, &node)| position[node] = at as f32);
            }
            let neighbours = if down { &self.above } else { &self.below };
            let depth = self.layers.len();
            for step in 0..depth {
                let layer = &mut self.layers[if down { step } else { depth - 1 - step }];
                let wish =
                    |node: usize| mean(neighbours[node].iter().map(|&other| position[other])).unwrap_or(position[node]);
                let mut keyed: Vec<_> = layer.iter().map(|&node| (wish(node), node)).collect();
                keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
                for (at, (_, node)) in keyed.into_iter().enumerate() {
                    layer[at] = node;
                    position[node] = at as f32;
                }
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.layers.clone());
            }
        }
        self.layers = best.1;
    }

    /// How many pairs of links cross: inversions of their lower ends when they are sorted by their upper ones, counted
    /// with a tree of partial sums (Barth, Mutzel and Jünger, 2004).
    fn crossings(&self) -> usize {
        let mut position = vec![0; self.sizes.len()];
        for layer in &self.layers {
            layer.iter().enumerate().for_each(|(at, &node)| position[node] = at);
        }
        let mut count = 0;
        for (layer, lower) in self.layers.iter().zip(self.layers.iter().skip(1)) {
            let mut sums = vec![0usize; lower.len() + 1];
            let mut links = 0;
            for &node in layer {
                let mut ends: Vec<usize> = self.below[node].iter().map(|&other| position[other]).collect();
                ends.sort_unstable();
                for &end in &ends {
                    // Links before this one that end at or before its end do not cross it.
                    let mut at = end + 1;
                    let mut before = 0;
                    while at > 0 {
                        before += sums[at];
                        at &= at - 1;
                    }
                    count += links - before;
                    links += 1;
                    let mut at = end + 1;
                    while at < sums.len() {
                        sums[at] += 1;
                        at += at & at.wrapping_neg();
                    }
                }
            }
        }
        count
    }

    /// Moves every layer as close to its neighbours as its order allows, going down and up in turn.
    fn place(&mut self) {
        for layer in &self.layers {
            let spacing = spacing(layer, &self.sizes);
            layer.iter().zip(&spacing).for_each(|(&node, &x)| self.x[node] = x);
        }
        for sweep in 0..SWEEPS {
            let depth = self.layers.len();
            for step in 0..depth {
                let layer = &self.layers[if sweep % 2 == 0 { step } else { depth - 1 - step }];
                let wishes: Vec<_> = layer
                    .iter()
                    .map(|&node| {
                        let all = self.above[node].iter().chain(&self.below[node]);
                        mean(all.map(|&other| self.x[other])).unwrap_or(self.x[node])
                    })
                    .collect();
                let places = closest(&wishes, &spacing(layer, &self.sizes));
                layer.iter().zip(places).for_each(|(&node, x)| self.x[node] = x);
            }
        }
    }

    fn finish(self, sizes: &[Size], edges: &[(usize, usize)]) -> Layout {
        let left = |node: usize| self.x[node] - self.sizes[node].width / 2.0;
        let right = |node: usize| self.x[node] + self.sizes[node].width / 2.0;
        let nodes = 0..self.sizes.len();
        let start = nodes.clone().map(left).fold(f32::INFINITY, f32::min);
        let end = nodes.map(right).fold(f32::NEG_INFINITY, f32::max);
        let mut y = vec![0.0; self.sizes.len()];
        let mut height = 0.0;
        for layer in &self.layers {
            let tallest = layer.iter().map(|&node| self.sizes[node].height).fold(0.0, f32::max);
            layer.iter().for_each(|&node| y[node] = height + tallest / 2.0);
            height += tallest + LAYER_GAP;
        }
        let centre = |node: usize| (self.x[node] - start, y[node]);
        let route = |(&(from, to), chain): (&(usize, usize), &Vec<usize>)| {
            let mut points = vec![(centre(from).0, centre(from).1 + sizes[from].height / 2.0)];
            points.extend(chain.iter().map(|&node| centre(node)));
            points.push((centre(to).0, centre(to).1 - sizes[to].height / 2.0));
            points
        };
        Layout {
            width: if sizes.is_empty() { 0.0 } else { end - start },
            height,
            centres: (0..sizes.len()).map(centre).collect(),
            sizes: sizes.to_vec(),
            routes: edges.iter().zip(&self.chains).map(route).collect(),
        }
    }
}

fn mean(values: impl Iterator<Item = f32>) -> Option<f32> {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f32)
}

/// The centres of a layer's nodes when it is packed from 0 to the right.
fn spacing(layer: &[usize], sizes: &[Size]) -> Vec<f32> {
    let mut end = 0.0;
    let centres = layer.iter().map(|&node| {
        let centre = end + sizes[node].width / 2.0;
        end += sizes[node].width + GAP;
        centre
    });
    centres.collect()
}

/// The places closest to the wishes, in least squares, that are at least as far apart as the spacing: isotonic
/// regression of what is wished beyond the spacing, by pooling adjacent violators.
fn closest(wishes: &[f32], spacing: &[f32]) -> Vec<f32> {
    // Each pool: sum of its values, and how many.
    let mut pools: Vec<(f32, usize)> = Vec::new();
    for (wish, space) in wishes.iter().zip(spacing) {
        let mut pool = (wish - space, 1);
        while let Some(&(sum, count)) = pools.last() {
            if sum / (count as f32) <= pool.0 / pool.1 as f32 {
                break;
            }
            pool = (pool.0 + sum, pool.1 + count);
            pools.pop();
        }
        pools.push(pool);
    }
    let levels = pools.into_iter().flat_map(|(sum, count)| std::iter::repeat_n(sum / count as f32, count));
    levels.zip(spacing).map(|(level, space)| level + space).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_follow_the_edges_and_inputs_stay_near_their_users() {
        // 0 → 1 → 2 → 3, and the inputs 4 → 5 of node 3.
        assert_eq!(layers(6, &[(0, 1), (1, 2), (2, 3), (4, 5), (5, 3)]), [0, 1, 2, 3, 1, 2]);
    }

    #[test]
    fn parts_that_nothing_connects_fill_rows() {
        assert_eq!(parts(5, &[(0, 3), (4, 1)]), [vec![0, 3], vec![1, 4], vec![2]]);
        let layout = Layout::new(&[Size { width: 60.0, height: 20.0 }; 64], &[(0, 63)]);
        assert!(layout.width < 3.0 * layout.height && layout.height < 3.0 * layout.width, "{layout:?}");
        assert_eq!(layout.routes[0].first().unwrap().0, layout.centres[0].0);
        assert_eq!(layout.routes[0].last().unwrap().0, layout.centres[63].0);
    }

    #[test]
    fn places_keep_their_distance() {
        assert_eq!(closest(&[5.0, 20.0], &[0.0, 10.0]), [5.0, 20.0]);
        assert_eq!(closest(&[5.0, 5.0], &[0.0, 10.0]), [0.0, 10.0]);
        assert_eq!(closest(&[9.0, 3.0, 3.0], &[0.0, 10.0, 20.0]), [-5.0, 5.0, 15.0]);
    }

    #[test]
    fn nodes_do_not_overlap_and_edges_end_at_their_nodes() {
        let sizes = [Size { width: 40.0, height: 20.0 }; 6];
        let edges = [(0, 2), (1, 2), (2, 3), (0, 3), (2, 4), (1, 5), (3, 5)];
        let layout = Layout::new(&sizes, &edges);
        for a in 0..sizes.len() {
            for b in 0..a {
                let ((ax, ay), (bx, by)) = (layout.centres[a], layout.centres[b]);
                assert!((ax - bx).abs() >= 40.0 || (ay - by).abs() >= 20.0, "{a} lies on {b}");
            }
        }
        for (route, (from, to)) in layout.routes.iter().zip(edges) {
            assert_eq!(route.first().unwrap().0, layout.centres[from].0);
            assert_eq!(route.last().unwrap().0, layout.centres[to].0);
            assert!(route.windows(2).all(|pair| pair[0].1 < pair[1].1), "{route:?}");
        }
    }
}
