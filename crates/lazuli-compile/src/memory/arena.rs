//! The arena while buffers are put into it, one after another.

use std::collections::{BTreeMap, BTreeSet};

/// Offsets are multiples of this, a cache line.
pub(super) const ALIGN: usize = 64;

/// Free pieces of the arena, by offset and by size.
#[derive(Default)]
pub(super) struct Arena {
    pub size: usize,
    by_offset: BTreeMap<usize, usize>,
    by_size: BTreeSet<(usize, usize)>,
}

impl Arena {
    /// The offset of the smallest free piece that is large enough, or the end of the arena.
    pub fn allocate(&mut self, nbytes: usize) -> usize {
        let need = nbytes.next_multiple_of(ALIGN);
        if let Some(&(size, offset)) = self.by_size.range((need, 0)..).next() {
            self.remove(offset, size);
            self.insert(offset + need, size - need);
            return offset;
        }
        let offset = match self.by_offset.last_key_value() {
            Some((&offset, &size)) if offset + size == self.size => {
                self.remove(offset, size);
                offset
            }
            _ => self.size,
        };
        self.size = offset + need;
        offset
    }
    pub fn release(&mut self, offset: usize, nbytes: usize) {
        let (mut offset, mut size) = (offset, nbytes.next_multiple_of(ALIGN));
        if let Some((&before, &n)) = self.by_offset.range(..offset).next_back().filter(|(o, n)| **o + **n == offset) {
            self.remove(before, n);
            (offset, size) = (before, size + n);
        }
        if let Some(&n) = self.by_offset.get(&(offset + size)) {
            self.remove(offset + size, n);
            size += n;
        }
        self.insert(offset, size);
    }
    fn insert(&mut self, offset: usize, size: usize) {
        if size > 0 {
            self.by_offset.insert(offset, size);
            self.by_size.insert((size, offset));
        }
    }
    fn remove(&mut self, offset: usize, size: usize) {
        self.by_offset.remove(&offset);
        self.by_size.remove(&(size, offset));
    }
}
