//! Memory of the interpreter: boxed bytes behind a lock, counted; and a plan's slots while its steps run.

use crate::backend::{Buffer, Memory, MemoryStats};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Slot;
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Bytes in use, and the most there were.
#[derive(Debug, Default)]
pub(super) struct Tally {
    active: AtomicUsize,
    peak: AtomicUsize,
}

impl Tally {
    pub fn stats(&self) -> MemoryStats {
        MemoryStats { active: self.active.load(Relaxed), peak: self.peak.load(Relaxed), cache: 0 }
    }
    pub fn reset_peak(&self) {
        self.peak.store(self.active.load(Relaxed), Relaxed);
    }
}

/// What stands behind the interpreter's buffers.
pub(super) struct Bytes {
    bytes: RwLock<Box<[u8]>>,
    nbytes: usize,
    tally: Arc<Tally>,
}

impl Bytes {
    /// Fresh memory, filled with a pattern so that a read of what was never written shows.
    pub fn allocate(nbytes: usize, tally: &Arc<Tally>) -> Result<Arc<Self>> {
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(nbytes).is_err() {
            let stats = tally.stats();
            let message = format!("cannot allocate {nbytes} bytes; {} are in use", stats.active);
            return Err(Error::new(ErrorKind::Memory, "allocate", message));
        }
        bytes.resize(nbytes, 0xA5);
        let active = tally.active.fetch_add(nbytes, Relaxed) + nbytes;
        tally.peak.fetch_max(active, Relaxed);
        Ok(Arc::new(Self { bytes: RwLock::new(bytes.into_boxed_slice()), nbytes, tally: tally.clone() }))
    }
    pub fn read(&self) -> RwLockReadGuard<'_, Box<[u8]>> {
        self.bytes.read().unwrap_or_else(PoisonError::into_inner)
    }
    pub fn write(&self) -> RwLockWriteGuard<'_, Box<[u8]>> {
        self.bytes.write().unwrap_or_else(PoisonError::into_inner)
    }
    /// The interpreter's memory behind a buffer.
    pub fn of(buffer: &Buffer) -> Result<&Self> {
        buffer.memory().ok_or_else(|| Error::internal("interpreter", format!("{buffer:?} is of another backend")))
    }
}

impl Memory for Bytes {
    fn nbytes(&self) -> usize {
        self.nbytes
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.tally.active.fetch_sub(self.nbytes, Relaxed);
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.nbytes)
    }
}

enum Guard<'a> {
    Read(RwLockReadGuard<'a, Box<[u8]>>),
    Write(RwLockWriteGuard<'a, Box<[u8]>>),
}

/// The memory of a plan's slots, locked for one run.
pub(super) struct Slots<'a> {
    guards: Vec<Guard<'a>>,
    /// Guard of each input and output, and of the arena. An output that took over an input's memory shares its guard.
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    arena: usize,
    /// [`Slot::Result`] of the step that runs.
    result: Vec<u8>,
}

impl<'a> Slots<'a> {
    pub fn lock(inputs: &[&'a Buffer], outputs: &'a [Buffer], arena: &'a Buffer) -> Result<Self> {
        let written = outputs.iter().chain([arena]);
        let mut memories: BTreeMap<usize, (&Bytes, bool)> = BTreeMap::new();
        for (buffer, writes) in inputs.iter().map(|b| (*b, false)).chain(written.map(|b| (b, true))) {
            memories.entry(buffer.id()).or_insert((Bytes::of(buffer)?, writes)).1 |= writes;
        }
        let number: BTreeMap<usize, usize> = memories.keys().enumerate().map(|(n, &id)| (id, n)).collect();
        let place = |b: &Buffer| number[&b.id()];
        Ok(Self {
            inputs: inputs.iter().map(|b| place(b)).collect(),
            outputs: outputs.iter().map(place).collect(),
            arena: place(arena),
            result: Vec::new(),
            // In the order of addresses, so that two runs cannot wait for one another.
            guards: memories
                .into_values()
                .map(|(m, writes)| if writes { Guard::Write(m.write()) } else { Guard::Read(m.read()) })
                .collect(),
        })
    }

    /// Makes memory for what a step hands on to its epilogue.
    pub fn begin_result(&mut self, nbytes: usize) {
        self.result = vec![0; nbytes];
    }

    fn guard(&self, slot: Slot) -> usize {
        match slot {
            Slot::Result => unreachable!("has memory of its own"),
            Slot::Input(n) => self.inputs[n as usize],
            Slot::Output(n) => self.outputs[n as usize],
            Slot::Temp { .. } => self.arena,
        }
    }

    pub fn bytes(&self, slot: Slot) -> &[u8] {
        if slot == Slot::Result {
            return &self.result;
        }
        let whole: &[u8] = match &self.guards[self.guard(slot)] {
            Guard::Read(bytes) => bytes,
            Guard::Write(bytes) => bytes,
        };
        match slot {
            Slot::Temp { offset, nbytes } => &whole[offset..offset + nbytes],
            _ => whole,
        }
    }

    /// The slot's bytes, to be written. Panics for an input, which the verifier has ruled out.
    pub fn bytes_mut(&mut self, slot: Slot) -> &mut [u8] {
        if slot == Slot::Result {
            return &mut self.result;
        }
        let guard = self.guard(slot);
        let Guard::Write(whole) = &mut self.guards[guard] else { panic!("{slot} is not written") };
        match slot {
            Slot::Temp { offset, nbytes } => &mut whole[offset..offset + nbytes],
            _ => whole,
        }
    }
}
