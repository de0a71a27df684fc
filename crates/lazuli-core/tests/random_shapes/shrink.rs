//! Programs that fail, with as little as still fails.

use crate::program::{Extent, Lies, Program, Role, Step};

/// The program with fewer calls, steps and outputs that still fails, and how it does.
pub fn shrunk(program: Program, what: String, fails: impl Fn(&Program) -> Option<String>) -> (Program, String) {
    // What a failure prints while it is looked for again is of no interest.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let (mut program, mut what) = (program, what);
    let mut tries = 600;
    'again: loop {
        for smaller in smaller(&program) {
            if tries == 0 {
                break 'again;
            }
            tries -= 1;
            if let Some(now) = fails(&smaller).filter(|now| manner(now) == manner(&what)) {
                (program, what) = (smaller, now);
                continue 'again;
            }
        }
        break;
    }
    std::panic::set_hook(hook);
    (program, what)
}

/// In what manner a program fails, whatever the numbers.
fn manner(what: &str) -> String {
    what.chars().filter(|c| c.is_alphabetic()).take(32).collect()
}

fn smaller(program: &Program) -> Vec<Program> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Program)| {
        let mut changed = program.clone();
        change(&mut changed);
        if changed != *program && !changed.calls.is_empty() {
            all.push(changed);
        }
    };
    for k in (0..program.calls.len()).rev() {
        with(&|p| _ = p.calls.remove(k));
    }
    for k in 0..program.outputs.len() {
        if program.outputs.len() > 1 {
            with(&|p| p.outputs = vec![p.outputs[k]]);
        }
    }
    with(&|p| {
        p.inputs.iter_mut().for_each(|i| {
            if matches!(i.role, Role::State(_)) {
                i.role = Role::Argument
            }
        })
    });
    for path in paths(&program.steps) {
        let Some(step) = at(&program.steps, &path) else { continue };
        let stand_ins = step.operands.iter().copied().chain(step.body.iter().flat_map(|b| b.outputs.iter().copied()));
        for other in stand_ins.collect::<Vec<_>>() {
            let name = step.name;
            with(&|p| {
                remove(&mut p.steps, &path);
                replace(p, name, other);
            });
        }
        if let Some(body) = &step.body {
            // What the body does, outside of it.
            with(&|p| {
                let body = body.clone();
                let step = remove(&mut p.steps, &path);
                let (last, rest) = path.split_last().expect("a path of a step");
                let steps = steps_at(&mut p.steps, rest);
                steps.splice(*last..*last, body.steps.clone());
                for (parameter, operand) in body.parameters.iter().zip(&step.operands) {
                    replace(p, *parameter, *operand);
                }
                replace(p, step.name, body.outputs[0]);
            });
            for k in 0..body.outputs.len() {
                with(&|p| {
                    let (last, rest) = path.split_last().expect("a path of a step");
                    let step = &mut steps_at(&mut p.steps, rest)[*last];
                    step.body.iter_mut().for_each(|b| b.outputs = vec![b.outputs[k]]);
                });
            }
        }
    }
    for i in 0..program.inputs.len() {
        let is_used = program
            .to_string()
            .split(|c: char| !c.is_ascii_digit())
            .filter(|w| *w == program.inputs[i].name.to_string())
            .count()
            > 1;
        if !is_used && program.inputs.len() > 1 {
            with(&|p| {
                p.inputs.remove(i);
                p.calls.iter_mut().for_each(|c| _ = c.layouts.remove(i));
            });
        }
    }
    with(&|p| p.calls.iter_mut().for_each(|c| c.layouts.iter_mut().for_each(|l| *l = Lies::Row)));
    with(&|p| p.calls.iter_mut().for_each(|c| (c.late, c.carries) = (false, false)));
    for k in 0..program.calls.len() {
        for i in 0..program.inputs.len() {
            with(&|p| p.calls[k].layouts[i] = Lies::Row);
        }
        for symbol in 0..3 {
            let is_used = program.inputs.iter().any(|i| i.shape.contains(&Extent::Symbol(symbol)));
            let n = program.calls[k].extents[symbol];
            for less in [if is_used { n / 2 } else { 0 }, n.saturating_sub(1)] {
                with(&|p| p.calls[k].extents[symbol] = less);
            }
        }
    }
    all
}

/// Positions of all steps, those within bodies among them: the last first.
fn paths(steps: &[Step]) -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    for (k, step) in steps.iter().enumerate().rev() {
        all.push(vec![k]);
        let within = step.body.iter().flat_map(|body| paths(&body.steps));
        all.extend(within.map(|path| [&[k], &path[..]].concat()));
    }
    all
}

fn at<'a>(steps: &'a [Step], path: &[usize]) -> Option<&'a Step> {
    let (first, rest) = path.split_first()?;
    let step = steps.get(*first)?;
    if rest.is_empty() { Some(step) } else { at(&step.body.as_ref()?.steps, rest) }
}

fn steps_at<'a>(steps: &'a mut Vec<Step>, path: &[usize]) -> &'a mut Vec<Step> {
    match path.split_first() {
        None => steps,
        Some((first, rest)) => steps_at(&mut steps[*first].body.as_mut().expect("a body on the path").steps, rest),
    }
}

fn remove(steps: &mut Vec<Step>, path: &[usize]) -> Step {
    let (last, rest) = path.split_last().expect("a path of a step");
    steps_at(steps, rest).remove(*last)
}

/// Uses another value for the one of that name.
fn replace(program: &mut Program, name: usize, other: usize) {
    let change = |v: &mut usize| {
        if *v == name {
            *v = other;
        }
    };
    fn within(steps: &mut [Step], change: &impl Fn(&mut usize)) {
        for step in steps {
            step.operands.iter_mut().for_each(change);
            for number in &mut step.numbers {
                if let crate::program::Number::Of(v, _) = number {
                    change(v);
                }
            }
            if let Some(body) = &mut step.body {
                within(&mut body.steps, change);
                body.outputs.iter_mut().for_each(change);
            }
        }
    }
    within(&mut program.steps, &change);
    program.outputs.iter_mut().for_each(change);
    for input in &mut program.inputs {
        if let Role::State(v) = &mut input.role {
            change(v);
        }
    }
}
