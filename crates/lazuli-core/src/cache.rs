//! The cache of traces that both front ends look calls up in.
//!
//! A call is known by a list of tokens. Look-up is by hash and confirmed by comparing lists in full, so equal hashes confuse nobody.
//! A cache is bounded: what was used least recently goes. It also remembers what is needed to say why a call traced, and counts the
//! values that one place of the key took, to name what keeps changing.
//!
//! Invariants: each operation takes one hash and a constant number of steps besides; no lock is held while an entry is dropped,
//! since an entry may own objects of the user. Absent: what tokens mean (each front end has its own), and running anything.

mod changes;

pub use changes::{Change, array_changes, cause_of, changes};
use lazuli_kernel::hash::{Map, WordHasher};
use smallvec::SmallVec;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};

/// How many signatures a function keeps unless it is told otherwise.
pub const CACHE_SIZE: usize = 1024;

/// After how many values of one place of the key a warning is due.
const MANY: usize = 32;

/// How many of the changes that led to an entry are kept with it.
const MOST_CHANGES: usize = 16;

/// One part of what a call is known by.
pub trait Token: Clone + Eq + Hash {
    /// Where each token of a key stands in the call: `args[0]['w']`.
    fn paths(key: &[Self]) -> Vec<String>;
    /// How this token changed to `new` at `path`.
    fn changed(&self, new: &Self, path: &str) -> Vec<Change>;
    /// Whether the tokens that follow mean something else if this one differs.
    fn is_structure(&self) -> bool;
    /// What differs between two keys that are equal before `at`, where that is more than the tokens there say: an order.
    fn rearranged(_old: &[Self], _new: &[Self], _at: usize) -> Option<Change> {
        None
    }
    /// For a token that stands for an object by its identity: how to have one trace for all of them.
    fn identity(&self) -> Option<&'static str> {
        None
    }
}

/// What became of an entry that was put in.
#[derive(Debug)]
pub struct Inserted<E> {
    /// The entry to use: the one put in, or one that another thread put in first.
    pub entry: Arc<E>,
    /// What keeps changing and what to do about it: once per cache, when it is due.
    pub warning: Option<String>,
}

/// A bounded cache from lists of tokens to entries.
pub struct Cache<T, E> {
    inner: Mutex<Inner<T, E>>,
}

struct Inner<T, E> {
    capacity: usize,
    slots: Vec<Slot<T, E>>,
    by_hash: Map<u64, SmallVec<[usize; 1]>>,
    /// The ends of the chain of slots by use; none if there are no slots.
    newest: Option<usize>,
    oldest: Option<usize>,
    /// Why the latest trace was made.
    latest: Vec<Change>,
    taken: HashMap<String, Taken>,
    warned: bool,
}

/// An entry with its key.
#[derive(Debug)]
pub struct Kept<T, E> {
    /// Its key.
    pub key: Box<[T]>,
    /// The entry.
    pub entry: Arc<E>,
    /// Why it was made: [`MOST_CHANGES`] of what changed.
    changes: Box<[Change]>,
}

/// The values that one place of the key took.
#[derive(Default)]
struct Taken {
    values: HashSet<String>,
    remedy: &'static str,
}

struct Slot<T, E> {
    hash: u64,
    kept: Arc<Kept<T, E>>,
    newer: Option<usize>,
    older: Option<usize>,
}

impl<T, E> fmt::Debug for Cache<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<T, E> Default for Cache<T, E> {
    fn default() -> Self {
        Cache::new(CACHE_SIZE)
    }
}

impl<T, E> Cache<T, E> {
    /// A cache that keeps `capacity` entries, one at least.
    pub fn new(capacity: usize) -> Self {
        let inner = Inner {
            capacity: capacity.max(1),
            slots: Vec::new(),
            by_hash: Map::default(),
            newest: None,
            oldest: None,
            latest: Vec::new(),
            taken: HashMap::new(),
            warned: false,
        };
        Cache { inner: Mutex::new(inner) }
    }
    fn lock(&self) -> MutexGuard<'_, Inner<T, E>> {
        // No operation below can panic half-way through a change.
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }
    /// Keeps at most `capacity` entries from now on, one at least.
    pub fn set_capacity(&self, capacity: usize) {
        let mut inner = self.lock();
        inner.capacity = capacity.max(1);
        let removed = inner.shrink(capacity.max(1));
        drop(inner);
        drop(removed);
    }
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.lock().slots.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Why the latest entry was not found: how its key differed from that of the call before it. Empty for the first.
    pub fn latest_changes(&self) -> Vec<Change> {
        self.lock().latest.clone()
    }
    /// Why this entry was made, if it is here: how its key differed from that of the call before. Empty for the first.
    pub fn changes_to(&self, entry: &Arc<E>) -> Option<Vec<Change>> {
        let inner = self.lock();
        inner.slots.iter().find(|s| Arc::ptr_eq(&s.kept.entry, entry)).map(|s| s.kept.changes.to_vec())
    }
    /// All entries, or nothing if the cache is in use: for garbage collectors, which must not wait.
    pub fn try_entries(&self) -> Vec<Arc<E>> {
        self.inner
            .try_lock()
            .map_or_else(|_| Vec::new(), |inner| inner.slots.iter().map(|s| s.kept.entry.clone()).collect())
    }
    /// The entry that was used last: most calls are like the one before, and then no key need be made and looked up.
    pub fn newest(&self) -> Option<Arc<Kept<T, E>>> {
        let inner = self.lock();
        inner.newest.map(|slot| inner.slots[slot].kept.clone())
    }
    /// Forgets all entries.
    pub fn clear(&self) {
        let mut inner = self.lock();
        inner.by_hash.clear();
        (inner.newest, inner.oldest) = (None, None);
        let slots = std::mem::take(&mut inner.slots);
        drop(inner);
        drop(slots);
    }
}

impl<T: Token, E> Cache<T, E> {
    /// The entry of a key, which is now the one used last.
    pub fn get(&self, key: &[T]) -> Option<Arc<E>> {
        let mut inner = self.lock();
        // Most calls are like the one before.
        let newest = inner.newest.filter(|&slot| *inner.slots[slot].kept.key == *key);
        let slot = newest.or_else(|| inner.find(hash_of(key), key))?;
        inner.use_now(slot);
        Some(inner.slots[slot].kept.entry.clone())
    }

    /// Puts an entry in, unless there is one of this key already: the first to finish a trace wins.
    pub fn insert(&self, key: Vec<T>, entry: Arc<E>) -> Inserted<E> {
        self.insert_for(key, entry, None)
    }

    /// The same of an entry that was made because of this, and not of what its key says.
    pub fn insert_for(&self, key: Vec<T>, entry: Arc<E>, cause: Option<Change>) -> Inserted<E> {
        let hash = hash_of(&key);
        let mut inner = self.lock();
        if let Some(slot) = inner.find(hash, &key) {
            inner.use_now(slot);
            return Inserted { entry: inner.slots[slot].kept.entry.clone(), warning: None };
        }
        let warning = inner.compare(&key, cause);
        let room = inner.capacity - 1;
        let removed = inner.shrink(room);
        let slot = inner.slots.len();
        let changes = inner.latest.iter().take(MOST_CHANGES).cloned().collect();
        let kept = Arc::new(Kept { key: key.into(), entry: entry.clone(), changes });
        inner.slots.push(Slot { hash, kept, newer: None, older: None });
        inner.by_hash.entry(hash).or_default().push(slot);
        inner.link(slot);
        drop(inner);
        drop(removed);
        Inserted { entry, warning }
    }

    /// Forgets the entry of a key in which an object that stood there by its identity has died: the key means another object now.
    pub fn forget_dead(&self, key: &[T]) {
        let mut inner = self.lock();
        let slot = inner.find(hash_of(key), key);
        let removed = inner.remove(slot);
        for (token, what) in key.iter().zip(T::paths(key)) {
            if let (false, Some(remedy)) = (inner.warned, token.identity()) {
                let taken = inner.taken.entry(what).or_default();
                let another = format!("object {}", taken.values.len());
                taken.values.insert(another);
                taken.remedy = remedy;
            }
        }
        drop(inner);
        drop(removed);
    }
}

impl<T, E> Inner<T, E> {
    /// Puts a slot that is in no chain at its newest end.
    fn link(&mut self, slot: usize) {
        let newest = self.newest.replace(slot);
        self.slots[slot].older = newest;
        self.slots[slot].newer = None;
        match newest {
            Some(newest) => self.slots[newest].newer = Some(slot),
            None => self.oldest = Some(slot),
        }
    }
    fn unlink(&mut self, slot: usize) {
        let (newer, older) = (self.slots[slot].newer, self.slots[slot].older);
        match newer {
            Some(newer) => self.slots[newer].older = older,
            None => self.newest = older,
        }
        match older {
            Some(older) => self.slots[older].newer = newer,
            None => self.oldest = newer,
        }
    }
    fn use_now(&mut self, slot: usize) {
        if self.newest != Some(slot) {
            self.unlink(slot);
            self.link(slot);
        }
    }
    /// Takes the oldest slots out until `room` are left.
    fn shrink(&mut self, room: usize) -> Vec<Slot<T, E>> {
        let excess = self.slots.len().saturating_sub(room);
        (0..excess).filter_map(|_| self.remove(self.oldest)).collect()
    }
    /// Takes a slot out; the last one moves into its place.
    fn remove(&mut self, slot: Option<usize>) -> Option<Slot<T, E>> {
        let slot = slot?;
        self.unlink(slot);
        let last = self.slots.len() - 1;
        let (mine, its) = (self.slots[slot].hash, self.slots[last].hash);
        if let Some(bucket) = self.by_hash.get_mut(&mine) {
            bucket.retain(|s| *s != slot);
            if bucket.is_empty() {
                self.by_hash.remove(&mine);
            }
        }
        if last != slot {
            if let Some(moved) = self.by_hash.get_mut(&its).and_then(|b| b.iter_mut().find(|s| **s == last)) {
                *moved = slot;
            }
            let (newer, older) = (self.slots[last].newer, self.slots[last].older);
            match newer {
                Some(newer) => self.slots[newer].older = Some(slot),
                None => self.newest = Some(slot),
            }
            match older {
                Some(older) => self.slots[older].newer = Some(slot),
                None => self.oldest = Some(slot),
            }
        }
        Some(self.slots.swap_remove(slot))
    }
}

impl<T: Token, E> Inner<T, E> {
    fn find(&self, hash: u64, key: &[T]) -> Option<usize> {
        self.by_hash.get(&hash)?.iter().copied().find(|&s| *self.slots[s].kept.key == *key)
    }

    /// Notes the cause of a new entry, or how its key differs from the one used last, and what took its many values, if that has to be said now.
    fn compare(&mut self, key: &[T], cause: Option<Change>) -> Option<String> {
        self.latest = match (cause, self.newest) {
            (Some(cause), _) => vec![cause],
            (None, Some(newest)) => changes(&self.slots[newest].kept.key, key),
            (None, None) => Vec::new(),
        };
        if self.warned {
            return None;
        }
        for change in &self.latest {
            let taken = self.taken.entry(change.what.clone()).or_default();
            if taken.values.is_empty() {
                taken.values.insert(change.old.clone());
            }
            taken.values.insert(change.new.clone());
            taken.remedy = change.remedy;
        }
        let (what, Taken { values, remedy }) = self.taken.iter().find(|(_, taken)| taken.values.len() >= MANY)?;
        let told = format!("{what} took {} values", values.len());
        let warning = if remedy.is_empty() { told } else { format!("{told}: {remedy}") };
        self.warned = true;
        self.taken.clear();
        Some(warning)
    }
}

fn hash_of<T: Hash>(key: &[T]) -> u64 {
    let mut hasher = WordHasher::default();
    key.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token whose hash says little, so that different keys meet in one bucket.
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Number(i64);

    impl Hash for Number {
        fn hash<H: Hasher>(&self, h: &mut H) {
            (self.0 % 3).hash(h);
        }
    }

    impl Token for Number {
        fn paths(key: &[Self]) -> Vec<String> {
            (0..key.len()).map(|i| format!("args[{i}]")).collect()
        }
        fn changed(&self, new: &Self, path: &str) -> Vec<Change> {
            vec![Change::new(path, self.0, new.0).remedy("pass it as an array")]
        }
        fn is_structure(&self) -> bool {
            false
        }
    }

    fn key(n: i64) -> Vec<Number> {
        vec![Number(7), Number(n)]
    }

    #[test]
    fn finds_what_was_put_in_whatever_the_hashes() {
        let cache = Cache::new(100);
        for n in 0..100 {
            assert!(cache.get(&key(n)).is_none());
            assert_eq!(*cache.insert(key(n), Arc::new(n)).entry, n);
        }
        assert!((0..100).all(|n| cache.get(&key(n)).is_some_and(|e| *e == n)));
        // The first to finish wins.
        assert_eq!(*cache.insert(key(5), Arc::new(-1)).entry, 5);
        (0..100).step_by(2).for_each(|n| cache.forget_dead(&key(n)));
        assert_eq!(cache.len(), 50);
        assert!((0..100).all(|n| cache.get(&key(n)).is_some() == (n % 2 == 1)));
        cache.clear();
        assert!(cache.is_empty() && cache.get(&key(1)).is_none());
        assert_eq!(*cache.insert(key(1), Arc::new(9)).entry, 9);
    }

    /// Against a list that is kept in order of use.
    #[test]
    fn the_least_recently_used_goes() {
        let cache = Cache::new(7);
        let mut model: Vec<i64> = Vec::new();
        let mut random = 1u64;
        for _ in 0..5_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let n = (random >> 60) as i64;
            let known = model.iter().position(|m| *m == n);
            match (random >> 50) % 4 {
                0 => {
                    cache.forget_dead(&key(n));
                    known.map(|i| model.remove(i));
                }
                1 => {
                    assert_eq!(cache.get(&key(n)).map(|e| *e), known.map(|_| n));
                    if let Some(i) = known {
                        model.remove(i);
                        model.push(n);
                    }
                }
                _ => {
                    cache.insert(key(n), Arc::new(n));
                    known.map(|i| model.remove(i));
                    if model.len() == 7 {
                        model.remove(0);
                    }
                    model.push(n);
                }
            }
            assert_eq!(cache.len(), model.len());
        }
        assert!(model.iter().all(|n| cache.get(&key(*n)).is_some()));
    }

    /// A token that counts how often it is compared.
    #[derive(Debug, Clone, Eq)]
    struct Counted(i64);

    thread_local! {
        static COMPARED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }

    impl PartialEq for Counted {
        fn eq(&self, other: &Self) -> bool {
            COMPARED.set(COMPARED.get() + 1);
            self.0 == other.0
        }
    }

    impl Hash for Counted {
        fn hash<H: Hasher>(&self, h: &mut H) {
            self.0.hash(h);
        }
    }

    impl Token for Counted {
        fn paths(key: &[Self]) -> Vec<String> {
            vec!["args[0]".into(); key.len()]
        }
        fn changed(&self, new: &Self, path: &str) -> Vec<Change> {
            vec![Change::new(path, self.0, new.0)]
        }
        fn is_structure(&self) -> bool {
            false
        }
    }

    #[test]
    fn a_thousand_entries_are_found_as_quickly_as_one() {
        let comparisons = |entries: i64| {
            let cache = Cache::default();
            (0..entries).for_each(|n| drop(cache.insert(vec![Counted(n)], Arc::new(n))));
            let per_key = |n: i64| {
                COMPARED.set(0);
                assert_eq!(cache.get(&[Counted(n)]).as_deref(), Some(&n));
                COMPARED.get()
            };
            (0..entries).map(per_key).max().unwrap()
        };
        // With the entry used last, and with that of equal hash.
        assert!(comparisons(1) <= 2 && comparisons(1000) <= 2);
    }

    #[test]
    fn a_cache_keeps_1024_entries_unless_told_otherwise() {
        let cache = Cache::default();
        (0..1025).for_each(|n| drop(cache.insert(key(n), Arc::new(n))));
        assert_eq!(cache.len(), 1024);
        assert!(cache.get(&key(0)).is_none() && cache.get(&key(1)).is_some());
    }

    #[test]
    fn says_why_and_warns_once() {
        let cache = Cache::new(1000);
        assert!(cache.insert(key(0), Arc::new(0)).warning.is_none());
        assert_eq!(cache.latest_changes(), []);
        let warnings: Vec<_> = (1..100).filter_map(|n| cache.insert(key(n), Arc::new(n)).warning).collect();
        assert_eq!(warnings, ["args[1] took 32 values: pass it as an array"]);
        assert_eq!(cache.latest_changes()[0].to_string(), "args[1] was 98, is 99");
    }
}
