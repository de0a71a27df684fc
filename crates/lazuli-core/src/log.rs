//! What compilation does, told as it happens: `LAZULI_LOG=recompiles,kernels` in the environment.

use crate::cache::{Change, cause_of};
use lazuli_explain::Explanation;
use std::sync::OnceLock;

/// What can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Each trace of a compiled function, and why it was made.
    Recompiles,
    /// The kernels of each plan that is made.
    Kernels,
}

const TOPICS: [(&str, Topic); 2] = [("recompiles", Topic::Recompiles), ("kernels", Topic::Kernels)];

/// Whether the environment asks for it.
pub fn wants(topic: Topic) -> bool {
    static WANTED: OnceLock<Vec<Topic>> = OnceLock::new();
    let wanted = || {
        let text = std::env::var("LAZULI_LOG").unwrap_or_default();
        let words: Vec<&str> = text.split(',').map(str::trim).filter(|w| !w.is_empty()).collect();
        if let Some(unknown) = words.iter().find(|w| TOPICS.iter().all(|(name, _)| name != *w)) {
            let known = TOPICS.map(|(name, _)| name).join(", ");
            eprintln!("lazuli: LAZULI_LOG asks for '{unknown}', which is none of: {known}");
        }
        TOPICS.into_iter().filter(|(name, _)| words.contains(name)).map(|(_, topic)| topic).collect()
    };
    WANTED.get_or_init(wanted).contains(&topic)
}

/// Says at once if the environment asks for what there is not.
pub fn check() {
    wants(Topic::Kernels);
}

/// Tells that a function was traced, and why.
pub fn traced(name: &str, changes: impl FnOnce() -> Vec<Change>) {
    if wants(Topic::Recompiles) {
        eprintln!("lazuli: traced '{name}': {}", cause_of(&changes()));
    }
}

/// Tells what a plan consists of.
pub fn kernels(e: &Explanation) {
    let kernels = e.kernels();
    eprintln!(
        "lazuli: '{}' is compiled to {} step{}",
        e.name,
        kernels.len(),
        if kernels.len() == 1 { "" } else { "s" }
    );
    for kernel in kernels {
        eprintln!("lazuli:   {}: {}", kernel.kind.name(), kernel.ops.join(" "));
    }
}
