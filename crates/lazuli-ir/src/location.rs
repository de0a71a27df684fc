//! Places in the user's program, interned: an equation carries four bytes.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, OnceLock};

/// A `file:line` of the user's program. Outside equality and hashing of equations.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Location(u32);

#[derive(Default)]
struct Interner {
    /// By file, then by line.
    ids: HashMap<String, HashMap<u32, u32>>,
    places: Vec<(String, u32)>,
}

fn interner() -> &'static Mutex<Interner> {
    static INTERNER: OnceLock<Mutex<Interner>> = OnceLock::new();
    INTERNER.get_or_init(Default::default)
}

impl Location {
    /// Not known.
    pub const UNKNOWN: Location = Location(0);

    pub fn new(file: &str, line: u32) -> Self {
        let mut table = interner().lock().unwrap_or_else(|e| e.into_inner());
        if let Some(&id) = table.ids.get(file).and_then(|lines| lines.get(&line)) {
            return Location(id);
        }
        table.places.push((file.to_owned(), line));
        let id = table.places.len() as u32;
        table.ids.entry(file.to_owned()).or_default().insert(line, id);
        Location(id)
    }
    /// The caller's place in Rust code.
    #[track_caller]
    pub fn caller() -> Self {
        let at = std::panic::Location::caller();
        Location::new(at.file(), at.line())
    }
    /// File and line, if known.
    pub fn place(self) -> Option<(String, u32)> {
        let table = interner().lock().unwrap_or_else(|e| e.into_inner());
        self.0.checked_sub(1).and_then(|i| table.places.get(i as usize).cloned())
    }
}

/// `file:line`, on one line whatever the file is called.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place() {
            Some((file, line)) => {
                let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
                write!(f, "{}:{line}", file.chars().map(shown).collect::<String>())
            }
            None => f.write_str("unknown"),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
