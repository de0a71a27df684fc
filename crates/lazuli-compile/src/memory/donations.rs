//! Inputs whose memory an output may take over, if they are given up.

use super::{Alike, Numbered, Owners, Term, Terms, Touch, Touches};
use crate::lower::BufferId;
use lazuli_kernel::Slot;
use lazuli_kernel::hash::Map;
use smallvec::SmallVec;

/// How many inputs of one step an output has to choose from.
const MOST_CHOICES: usize = 16;

/// Pairs (output, input) of equal size where no step reads the input at or after a write of the output, but for reads of the very points written
/// in the same binding. Which inputs are given up is known at each run, so an output has those to choose from that it overwrites point by point, some of them if there are many;
/// otherwise it has one that has been read before.
pub(super) fn donations(
    touched: &[Touches],
    slots: &[Slot],
    sizes: &[usize],
    written: &[BufferId],
    returned: &[bool],
    terms: &mut Terms,
) -> Vec<(u32, u32)> {
    let inputs = &sizes[..returned.len()];
    let outputs: SmallVec<[usize; 8]> = written.iter().map(|b| sizes[b.0 as usize]).collect();
    let mut by_size: Map<usize, Vec<usize>> = Map::default();
    inputs.iter().enumerate().filter(|(i, _)| !returned[*i]).for_each(|(i, &n)| by_size.entry(n).or_default().push(i));
    if !outputs.iter().any(|n| by_size.contains_key(n)) {
        return Vec::new();
    }
    let slot = |t: &Touch| slots[t.buffer.0 as usize];
    let mut first_write = vec![usize::MAX; outputs.len()];
    let mut last_read = vec![None; inputs.len()];
    for (step, touches) in touched.iter().enumerate() {
        for t in touches {
            match slot(t) {
                Slot::Output(n) if t.writes => first_write[n as usize] = first_write[n as usize].min(step),
                Slot::Input(n) => last_read[n as usize] = Some(step),
                _ => {}
            }
        }
    }
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    let is_known =
        |pairs: &[(u32, u32)], output, input| pairs.iter().rev().take_while(|p| p.0 == output).any(|p| p.1 == input);
    let mut has_choice = vec![false; outputs.len()];
    let mut owners = Owners::new(inputs.len() + outputs.len());
    let number = |t: &Touch| match slot(t) {
        Slot::Input(n) => Some(n as usize),
        Slot::Output(n) => Some(inputs.len() + n as usize),
        _ => None,
    };
    for (step, touches) in touched.iter().enumerate() {
        owners.note(step, touches, number);
        for own in touches.chunk_by(|a, b| a.binding == b.binding) {
            let mut numbered = None;
            for (nth, write) in own.iter().filter(|t| t.writes).enumerate() {
                let Slot::Output(output) = slot(write) else { continue };
                let o = output as usize;
                if first_write[o] != step || has_choice[o] || !owners.is_alone(inputs.len() + o) {
                    continue;
                }
                let numbered = numbered.get_or_insert_with(|| Numbered::new(own, number));
                // Each begins with another input.
                let first = nth.min(own.len());
                let mut choices = 0;
                for t in own[first..].iter().chain(&own[..first]).filter(|t| !t.writes) {
                    let Slot::Input(input) = slot(t) else { continue };
                    let i = input as usize;
                    let fits = !returned[i] && last_read[i] == Some(step) && inputs[i] == outputs[o];
                    if !fits || !owners.is_alone(i) || is_known(&pairs, output, input) {
                        continue;
                    }
                    // The parts of complex numbers would be two maps of one buffer each: those are left to the arena's rule.
                    let same = |alike: &SmallVec<[Term; 2]>| alike.iter().all(|(_, how)| *how == Alike::Same);
                    if let Some(alike) = numbered.alike(step, inputs.len() + o, i).filter(same) {
                        terms.alike.extend(alike);
                        pairs.push((output, input));
                        has_choice[o] = true;
                        choices += 1;
                    }
                    if choices == MOST_CHOICES {
                        break;
                    }
                }
            }
        }
    }
    // What has been read, of each size, by the time of each output.
    let read_at = |i: &usize| last_read[*i].map_or(usize::MAX, |read| read);
    by_size.values_mut().for_each(|inputs| inputs.sort_by_key(|i| std::cmp::Reverse(read_at(i))));
    let mut order: Vec<usize> =
        (0..outputs.len()).filter(|&o| !has_choice[o] && first_write[o] != usize::MAX).collect();
    order.sort_by_key(|&o| first_write[o]);
    for o in order {
        let Some(free) = by_size.get_mut(&outputs[o]) else { continue };
        if let Some(&i) = free.last().filter(|i| read_at(i) < first_write[o]) {
            free.pop();
            pairs.push((o as u32, i as u32));
        }
    }
    terms.equal.extend(pairs.iter().map(|&(o, i)| (BufferId(i), written[o as usize])));
    pairs
}
