//! A kernel's bindings, side by side.
//!
//! Bindings are independent, as [`Plan::verify`](lazuli_kernel::Plan::verify) has proved, so all of them are one parallel region: small ones share a task,
//! a large map is cut into parts. A large reduction, scan or scatter divides itself and has a region of its own.

use super::map::cut;
use super::{Bound, Context, Launch, Need, PARALLEL, Room, cost_per_point};
use crate::kernels::{Function, Kernels};
use crate::known::Known;
use crate::settle::Settling;
use crate::tile::Part;
use crate::words::{Cursor, Words};
use lazuli_kernel::{Binding, Kernel, Nest, Result};
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::Arc;

/// The launches of one step.
pub struct Launches {
    known: Arc<Known>,
    work: Work,
    /// Bytes that it works in.
    need: usize,
}

enum Work {
    /// Of one binding.
    One(Launch),
    Many(Box<Many>),
}

/// Of several bindings.
struct Many {
    launches: Vec<Launch>,
    /// How the threads share them, if that pays; otherwise they run one after another.
    shares: Option<Shares>,
}

struct Shares {
    /// Numbers of the launches that divide themselves, and of the others.
    alone: Vec<usize>,
    others: Vec<usize>,
    /// All of the others.
    tasks: Vec<Task>,
    /// Bytes that a task works in.
    each: usize,
}

enum Task {
    /// A range of the others.
    Whole(Range<usize>),
    /// A box of the loop space of a map, which is this one of the others.
    Part(usize, Part),
}

/// Rough cost of a launch, in picoseconds.
fn cost(kernel: &Kernel, extents: &[usize]) -> usize {
    extents.iter().product::<usize>().saturating_mul(cost_per_point(kernel))
}

impl Launches {
    pub fn new(
        kernels: &Kernels,
        known: Arc<Known>,
        bindings: &[Binding],
        threads: usize,
        at: &mut Cursor,
        words: &mut Words,
    ) -> Result<Self> {
        if let [binding] = bindings {
            let (launch, need) = Launch::new(&Bound::new(kernels, &known, binding, at), threads, false, words)?;
            return Ok(Self { known, work: Work::One(launch), need: need.on(threads) });
        }
        let kernel = &**known.kernel();
        let costs = bindings.iter().map(|b| cost(kernel, &b.extents));
        let share = share(costs.fold(0, usize::saturating_add), threads);
        let (mut launches, mut needs) = (Vec::with_capacity(bindings.len()), SmallVec::<[Need; 8]>::new());
        for binding in bindings {
            let in_parts = share.is_some_and(|share| cost(kernel, &binding.extents) > share);
            let (launch, need) = Launch::new(&Bound::new(kernels, &known, binding, at), threads, in_parts, words)?;
            launches.push(launch);
            needs.push(need);
        }
        let shares = share.map(|share| Shares::new(&known, &launches, &needs, bindings, share, words));
        let most = |needs: &mut dyn Iterator<Item = &Need>| needs.map(|need| need.on(threads)).max().unwrap_or(0);
        let need = match &shares {
            None => most(&mut needs.iter()),
            Some(Shares { alone, tasks, each, .. }) => {
                let alone = most(&mut alone.iter().map(|&n| &needs[n]));
                alone.max(each * tasks.len().min(threads))
            }
        };
        Ok(Self { known, work: Work::Many(Box::new(Many { launches, shares })), need })
    }

    /// As for [`Launch::settle`]: how many bytes it then works in.
    pub fn settle<S: Settling>(&self, cx: &mut S, threads: usize) -> Option<S::N> {
        let settle = |launch: &Launch, cx: &mut S| {
            let need = launch.settle(&self.known, cx, threads)?;
            Some(need.settle(cx, threads))
        };
        let launches = match &self.work {
            Work::One(launch) => return settle(launch, cx),
            // How they are shared is part of what they are.
            Work::Many(many) => match &**many {
                Many { shares: Some(_), .. } => return None,
                Many { launches, .. } => launches,
            },
        };
        let mut most = S::count(0);
        for launch in launches {
            let need = settle(launch, cx)?;
            most = cx.max(most, need);
        }
        let cost = self.cost(cx);
        let is_shared = threads > 1 && !cx.less(cost, S::count(PARALLEL));
        (!is_shared).then_some(most)
    }

    /// Rough cost on one thread, in picoseconds.
    pub fn cost<S: Settling>(&self, cx: &mut S) -> S::N {
        let launches = match &self.work {
            Work::One(launch) => std::slice::from_ref(launch),
            Work::Many(many) => &many.launches[..],
        };
        launches.iter().fold(S::count(0), |cost, launch| {
            let own = launch.cost(&self.known, cx);
            cx.add(cost, own)
        })
    }

    /// Bytes that the step works in, on so many threads as it was made for.
    pub fn need(&self) -> usize {
        self.need
    }

    pub fn functions(&self) -> Vec<Arc<Function>> {
        let first = match &self.work {
            Work::One(launch) => Some(launch),
            Work::Many(many) => many.launches.first(),
        };
        first.map_or_else(Vec::new, |launch| launch.functions(&self.known))
    }

    /// Runs them on arguments at these addresses, those of one binding behind those of the other.
    ///
    /// # Safety
    ///
    /// As for [`Launch::run`].
    pub unsafe fn run(&self, words: &[isize], bases: &[usize], cx: &mut Context<'_>) {
        let known = &*self.known;
        let Many { launches, shares } = match &self.work {
            // SAFETY: passed on.
            Work::One(launch) => return unsafe { launch.run(known, words, bases, cx) },
            Work::Many(many) => &**many,
        };
        let operands = known.kernel().operands.len();
        let bases_of = |n: usize| &bases[n * operands..][..operands];
        let Some(shares) = shares else {
            for (n, launch) in launches.iter().enumerate() {
                // SAFETY: passed on.
                unsafe { launch.run(known, words, bases_of(n), &mut cx.step()) };
            }
            return;
        };
        let Shares { alone, others, tasks, each } = shares;
        for &n in alone {
            // SAFETY: passed on.
            unsafe { launches[n].run(known, words, bases_of(n), &mut cx.step()) };
        }
        cx.run_in_rooms(tasks.len(), *each, &|k, room: Room<'_>| match &tasks[k] {
            Task::Whole(range) => {
                let mut cx = Context::alone(room);
                for k in range.clone() {
                    // SAFETY: bindings are independent, and each is in one task.
                    unsafe { launches[others[k]].run(known, words, bases_of(others[k]), &mut cx.step()) };
                }
            }
            Task::Part(k, part) => {
                let tile = launches[others[*k]].tile(known, words).expect("only maps made for parts are cut");
                // SAFETY: the parts of a map are disjoint boxes of a launch, and points of a map are independent.
                unsafe { tile.run(bases_of(others[*k]), part) };
            }
        });
    }
}

/// The cost from which on a launch is divided, if threads share launches of so much in all.
fn share(total: usize, threads: usize) -> Option<usize> {
    // As for a single map: more tasks than threads, each worth its start.
    (threads > 1 && total >= PARALLEL).then(|| total / (total / PARALLEL).clamp(threads, 8 * threads))
}

impl Shares {
    fn new(
        known: &Known,
        launches: &[Launch],
        needs: &[Need],
        bindings: &[Binding],
        share: usize,
        words: &[isize],
    ) -> Self {
        let kernel = known.kernel();
        let cost_of = |n: usize| cost(kernel, &bindings[n].extents);
        let is_map = matches!(kernel.nest, Nest::Map { .. });
        let (alone, others): (Vec<usize>, Vec<usize>) =
            (0..launches.len()).partition(|&n| cost_of(n) > share && !is_map);
        let mut tasks = Vec::new();
        let (mut first, mut cost) = (0, 0usize);
        for (k, &n) in others.iter().enumerate() {
            let own = cost_of(n);
            if let (Some(tile), true) = (launches[n].tile(known, words), own > share) {
                tasks.extend((first < k).then_some(Task::Whole(first..k)));
                (first, cost) = (k + 1, 0);
                let all = tile.all();
                let (count, part) = cut(&tile, &all, own / share);
                tasks.extend((0..count).map(|i| Task::Part(k, part(i))));
                continue;
            }
            cost += own;
            if cost >= share {
                tasks.push(Task::Whole(first..k + 1));
                (first, cost) = (k + 1, 0);
            }
        }
        tasks.extend((first < others.len()).then_some(Task::Whole(first..others.len())));
        let each = others.iter().map(|&n| needs[n].on(1)).max().unwrap_or(0);
        Self { alone, others, tasks, each }
    }
}
