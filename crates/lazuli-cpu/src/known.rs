//! Kernels that plans use, each with all that follows from its structure: found once, not for each shape.
//!
//! A kernel is found by its structure, or by its address where it is one that came before: a plan for another shape has most often the very kernels of the first.
//! What more depends on is a part of a key beside it: which values a map has to write, how operands lie. So a plan whose kernels are known hashes none of them.
//!
//! Absent: the code, which `kernels` owns; here it is referred to while somebody has it.

use crate::kernels::{Function, Kernels};
use crate::nest::{Facts, Passes};
use lazuli_kernel::hash::Map;
use lazuli_kernel::{DType, Inner, Kernel, Nest, Operand, Result, Role, Store, Uses, Value};
use smallvec::SmallVec;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

/// How many kernels are remembered.
const REMEMBERED: usize = 4096;
/// How many things of one sort are remembered of a kernel.
const DERIVED: usize = 16;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// A map, and the functions that were generated for it.
#[derive(Debug)]
pub struct MapKernel {
    pub kernel: Arc<Kernel>,
    /// The one whose stores go through the caches, and the one whose stores pass them by.
    functions: [Mutex<Weak<Function>>; 2],
}

impl MapKernel {
    pub fn new(kernel: impl Into<Arc<Kernel>>) -> Self {
        Self { kernel: kernel.into(), functions: Default::default() }
    }

    /// Its function, generated if nobody has it.
    pub fn function(&self, kernels: &Kernels, stream: bool) -> Result<Arc<Function>> {
        let own = &self.functions[usize::from(stream)];
        if let Some(function) = lock(own).upgrade() {
            return Ok(function);
        }
        let function = kernels.get(&self.kernel, stream)?;
        *lock(own) = Arc::downgrade(&function);
        Ok(function)
    }
}

/// A kernel that was verified.
#[derive(Debug)]
pub struct Known {
    /// It as it is, with its functions if it is a map.
    pub map: MapKernel,
    pub uses: Arc<Uses>,
    /// Of its values.
    pub types: Vec<DType>,
    /// Maps that write values of the body.
    bodies: Derived<SmallVec<[Value; 2]>, MapKernel>,
    /// Maps of results of a reduction, by the strides of the operands.
    pub epilogues: Derived<SmallVec<[Inner; 8]>, MapKernel>,
    /// Of rows.
    pub passes: Derived<Facts, Passes>,
}

impl Known {
    fn new(kernel: &Arc<Kernel>) -> Result<Self> {
        kernel.verify()?;
        Ok(Self {
            map: MapKernel::new(kernel.clone()),
            uses: Arc::new(Uses::of(kernel)),
            types: kernel.dtypes(),
            bodies: Derived::default(),
            epilogues: Derived::default(),
            passes: Derived::default(),
        })
    }

    pub fn kernel(&self) -> &Arc<Kernel> {
        &self.map.kernel
    }

    /// The map that writes these values of the body to buffers, as operands after the kernel's own.
    pub fn body_map(&self, values: &[Value]) -> Arc<MapKernel> {
        self.bodies.get(values.into(), |values| {
            let Kernel { rank, vector_axis, params, operands, body, .. } = &**self.kernel();
            let buffer = |v: &Value| Operand { dtype: self.types[v.0 as usize], role: Role::Out, inner: Inner::Unit };
            let stores = values.iter().zip(operands.len() as u32..);
            let stores = stores.map(|(&value, operand)| Store { operand, value }).collect();
            MapKernel::new(Kernel {
                rank: *rank,
                vector_axis: *vector_axis,
                params: params.clone(),
                operands: operands.iter().copied().chain(values.iter().map(buffer)).collect(),
                body: body.clone(),
                nest: Nest::Map { stores },
            })
        })
    }
}

/// What was made of a kernel, by all else that it depends on.
#[derive(Debug)]
pub struct Derived<K, V>(Mutex<Vec<(K, Arc<V>)>>);

impl<K, V> Default for Derived<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K, V> Derived<K, V> {
    /// That of this key. Callers that come at once may both make it.
    pub fn get(&self, key: K, make: impl FnOnce(&K) -> V) -> Arc<V>
    where
        K: PartialEq,
    {
        if let Some((_, found)) = lock(&self.0).iter().find(|(own, _)| *own == key) {
            return found.clone();
        }
        let made = Arc::new(make(&key));
        let mut all = lock(&self.0);
        if all.len() >= DERIVED {
            all.clear();
        }
        all.push((key, made.clone()));
        made
    }
}

/// The kernels that are remembered.
#[derive(Debug, Default)]
pub struct Table(Mutex<Both>);

#[derive(Debug, Default)]
struct Both {
    by_structure: Map<Arc<Kernel>, Arc<Known>>,
    /// With the kernel at the address, so that no other takes its place.
    by_address: Map<usize, (Arc<Kernel>, Arc<Known>)>,
}

impl Table {
    /// What is known of a kernel, which is verified if it is new.
    pub fn get(&self, kernel: &Arc<Kernel>) -> Result<Arc<Known>> {
        let address = Arc::as_ptr(kernel) as usize;
        {
            let mut both = lock(&self.0);
            if let Some((_, known)) = both.by_address.get(&address) {
                return Ok(known.clone());
            }
            if let Some(known) = both.by_structure.get(kernel).cloned() {
                // One that somebody keeps besides the plan may come again.
                if Arc::strong_count(kernel) > 1 {
                    both.note_address(kernel, &known);
                }
                return Ok(known);
            }
        }
        let known = Arc::new(Known::new(kernel)?);
        let mut both = lock(&self.0);
        let known = both.by_structure.entry(kernel.clone()).or_insert(known).clone();
        both.note_address(kernel, &known);
        Ok(known)
    }
}

impl Both {
    fn note_address(&mut self, kernel: &Arc<Kernel>, known: &Arc<Known>) {
        if self.by_address.len() >= REMEMBERED {
            *self = Self::default();
            self.by_structure.insert(known.kernel().clone(), known.clone());
        }
        self.by_address.insert(Arc::as_ptr(kernel) as usize, (kernel.clone(), known.clone()));
    }
}
