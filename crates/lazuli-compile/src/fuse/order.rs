//! The order in which kernels run: as near to that of the program as what they read from one another permits.

use super::{Fuser, Group, NONE, Schedule};
use lazuli_ir::{Atom, Effect, Var, small};
use smallvec::SmallVec;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

pub(super) fn ordered(fuser: Fuser) -> Schedule {
    let Fuser { graph, kernels, merged, producers, reasons, .. } = fuser;
    let alive: Vec<usize> = (0..kernels.len()).filter(|&k| merged[k] as usize == k).collect();
    let mut writer = vec![NONE; graph.avals.len()];
    for &k in &alive {
        kernels[k].group.stores.iter().for_each(|v| writer[v.0 as usize] = k as u32);
    }
    // What a view reads is written where its source is.
    let writer_of = |mut v: Var| loop {
        let (w, producer) = (writer[v.0 as usize], producers[v.0 as usize]);
        if w != NONE || producer == NONE {
            return w;
        }
        let e = &graph.equations[producer as usize];
        match e.inputs.first() {
            Some(&Atom::Var(source)) if e.prim.is_view() => v = source,
            _ => return NONE,
        }
    };
    let mut readers: Vec<SmallVec<[u32; 4]>> = kernels.iter().map(|_| SmallVec::new()).collect();
    let mut waits = vec![0u32; kernels.len()];
    for &k in &alive {
        let written = kernels[k].reads.iter().map(writer_of).filter(|&w| w != NONE && w as usize != k);
        let mut before: SmallVec<[u32; 8]> = small(written);
        before.sort_unstable();
        before.dedup();
        waits[k] = before.len() as u32;
        before.into_iter().for_each(|w| readers[w as usize].push(k as u32));
    }
    // Effects happen in their order.
    let is_effect = |i: &&u32| graph.equations[**i as usize].meta.effect == Effect::Ordered;
    let mut effects: Vec<(u32, u32)> = alive
        .iter()
        .flat_map(|&k| kernels[k].group.members.iter().filter(is_effect).map(move |&i| (i, k as u32)))
        .collect();
    effects.sort_unstable();
    for pair in effects.windows(2).filter(|pair| pair[0].1 != pair[1].1) {
        waits[pair[1].1 as usize] += 1;
        readers[pair[0].1 as usize].push(pair[1].1);
    }
    let last = |k: usize| {
        let group = &kernels[k].group;
        let stores = group.stores.iter().map(|v| producers[v.0 as usize]);
        stores.max().or_else(|| group.anchors.first().copied()).unwrap_or(0)
    };
    let mut ready: BinaryHeap<Reverse<(u32, usize)>> =
        alive.iter().filter(|&&k| waits[k] == 0).map(|&k| Reverse((last(k), k))).collect();
    let mut order = Vec::with_capacity(alive.len());
    while let Some(Reverse((_, k))) = ready.pop() {
        order.push(k);
        for &r in &readers[k] {
            waits[r as usize] -= 1;
            if waits[r as usize] == 0 {
                ready.push(Reverse((last(r as usize), r as usize)));
            }
        }
    }
    assert_eq!(order.len(), alive.len(), "heights forbid that kernels wait for one another in a circle");
    let mut groups: Vec<Option<Group>> = kernels.into_iter().map(|k| Some(k.group)).collect();
    let groups = order.into_iter().map(|k| {
        let mut group = groups[k].take().expect("each kernel runs once");
        group.members.sort_unstable();
        group.members.dedup();
        group.anchors.sort_unstable();
        group.stores.sort_unstable();
        group
    });
    Schedule { groups: groups.collect(), reasons }
}
