//! A kernel's bindings, side by side.
//!
//! Bindings are independent, as [`Plan::verify`](lazuli_kernel::Plan::verify) has proved, so all of them are one parallel region: small ones share a task,
//! a large map is cut into parts. A large reduction, scan or scatter divides itself and has a region of its own.

use super::map::cut;
use super::{Context, Launch, PARALLEL, Room, Work};
use crate::kernels::{Function, Kernels};
use crate::known::Known;
use crate::tile::{Bases, Part};
use lazuli_kernel::{Binding, Result, Slot};
use std::ops::Range;
use std::sync::Arc;

/// The launches of one step.
pub struct Launches {
    /// Those that divide themselves come first.
    launches: Vec<Launch>,
    alone: usize,
    tasks: Vec<Task>,
    /// Bytes that a task works in.
    each: usize,
}

enum Task {
    Whole(Range<usize>),
    /// A box of the loop space of a map.
    Part(usize, Part),
}

impl Launches {
    pub fn new(kernels: &Kernels, known: &Known, bindings: &[Binding], threads: usize) -> Result<Self> {
        let mut launches = Vec::with_capacity(bindings.len());
        for Binding { extents, args, params } in bindings {
            launches.push(Launch::new(kernels, known, extents, args, params, threads)?);
        }
        let total: usize = launches.iter().map(|l| l.cost).fold(0, usize::saturating_add);
        if launches.len() == 1 || threads == 1 || total < PARALLEL {
            return Ok(Self { alone: launches.len(), launches, tasks: Vec::new(), each: 0 });
        }
        // As for a single map: more tasks than threads, each worth its start.
        let share = total / (total / PARALLEL).clamp(threads, 8 * threads);
        let divides = |l: &Launch| l.cost > share && !matches!(l.work, Work::Map(_));
        launches.sort_by_key(|l| !divides(l));
        let alone = launches.iter().take_while(|l| divides(l)).count();
        let mut tasks = Vec::new();
        let (mut first, mut cost) = (alone, 0usize);
        for (n, launch) in launches.iter().enumerate().skip(alone) {
            if let (Work::Map(map), true) = (&launch.work, launch.cost > share) {
                tasks.extend((first < n).then_some(Task::Whole(first..n)));
                (first, cost) = (n + 1, 0);
                let all = Part::all(map.tile().extents());
                let (count, part) = cut(map.tile(), &all, launch.cost / share);
                tasks.extend((0..count).map(|k| Task::Part(n, part(k))));
                continue;
            }
            cost += launch.cost;
            if cost >= share {
                tasks.push(Task::Whole(first..n + 1));
                (first, cost) = (n + 1, 0);
            }
        }
        tasks.extend((first < launches.len()).then_some(Task::Whole(first..launches.len())));
        let each = launches[alone..].iter().map(|l| l.need().on(1)).max().unwrap_or(0);
        Ok(Self { launches, alone, tasks, each })
    }

    /// Bytes that the step works in on so many threads.
    pub fn need(&self, threads: usize) -> usize {
        let alone = self.launches[..self.alone].iter().map(|l| l.need().on(threads)).max().unwrap_or(0);
        alone.max(self.each * self.tasks.len().min(threads))
    }

    pub fn functions(&self) -> Vec<Arc<Function>> {
        self.launches.first().map_or_else(Vec::new, Launch::functions)
    }

    /// # Safety
    ///
    /// As for [`Launch::run`].
    pub unsafe fn run(&self, address: &dyn Fn(Slot) -> usize, cx: &mut Context<'_>) {
        for launch in &self.launches[..self.alone] {
            // SAFETY: passed on.
            unsafe { launch.run(address, &mut cx.step()) };
        }
        if self.tasks.is_empty() {
            return;
        }
        let bases: Vec<Bases> = self.launches[self.alone..].iter().map(|l| l.bases(address)).collect();
        cx.run_in_rooms(self.tasks.len(), self.each, &|k, room: Room<'_>| match &self.tasks[k] {
            Task::Whole(range) => {
                let mut cx = Context::alone(room);
                for n in range.clone() {
                    // SAFETY: bindings are independent, and each is in one task.
                    unsafe { self.launches[n].run_at(&bases[n - self.alone], &mut cx.step()) };
                }
            }
            Task::Part(n, part) => {
                let Work::Map(map) = &self.launches[*n].work else { unreachable!("only maps are cut") };
                // SAFETY: the parts of a map are disjoint boxes of a launch, and points of a map are independent.
                unsafe { map.tile().run(&bases[n - self.alone], part) };
            }
        });
    }
}
