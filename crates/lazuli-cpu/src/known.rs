//! Kernels that plans use, each with all that follows from its structure: found once, not for each shape.
//!
//! A kernel is found by its structure, or by its address where it is one that came before: a plan for another shape has most often the very kernels of the first.
//! What depends on more than structure, on which values a map has to write or on how operands lie, is found there by a key of that. So a plan whose kernels are known
//! hashes none of them. What is ready to run has what is known of its kernel, and so the functions too.
//!
//! Absent: when functions are forgotten, which `kernels` says.

use crate::kernels::{Function, Kernels};
use crate::nest::{Facts, Lie, Passes, Reduction, cost_per_point};
use lazuli_kernel::hash::Map;
use lazuli_kernel::{DType, Inner, Kernel, Nest, Operand, Result, Role, Store, Uses, Value};
use smallvec::SmallVec;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

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
    functions: [OnceLock<Arc<Function>>; 2],
}

impl MapKernel {
    pub fn new(kernel: impl Into<Arc<Kernel>>) -> Self {
        Self { kernel: kernel.into(), functions: Default::default() }
    }

    /// Its function, generated if it is the first time that somebody asks for it.
    pub fn function(&self, kernels: &Kernels, stream: bool) -> Result<&Arc<Function>> {
        let own = &self.functions[usize::from(stream)];
        if let Some(function) = own.get() {
            return Ok(function);
        }
        let function = kernels.get(&self.kernel, stream)?;
        Ok(own.get_or_init(|| function))
    }

    /// The same, of one that was asked for before.
    pub fn generated(&self, stream: bool) -> &Arc<Function> {
        self.functions[usize::from(stream)].get().expect("functions are generated before anything runs")
    }
}

/// A kernel that was verified.
#[derive(Debug)]
pub struct Known {
    /// It as it is, with its functions if it is a map.
    pub map: MapKernel,
    pub uses: Arc<Uses>,
    pub form: Form,
    /// Of its values.
    pub types: Vec<DType>,
    /// Maps that write values of the body.
    bodies: Derived<SmallVec<[Value; 2]>, MapKernel>,
    /// Of a reduction.
    pub reductions: Derived<SmallVec<[Lie; 8]>, Reduction>,
    /// Of rows.
    pub passes: Derived<Facts, Passes>,
}

impl Known {
    fn new(kernel: &Arc<Kernel>) -> Result<Self> {
        kernel.verify()?;
        Ok(Self {
            map: MapKernel::new(kernel.clone()),
            uses: Arc::new(Uses::of(kernel)),
            form: Form::of(kernel),
            types: kernel.dtypes(),
            bodies: Derived::default(),
            reductions: Derived::default(),
            passes: Derived::default(),
        })
    }

    pub fn kernel(&self) -> &Arc<Kernel> {
        &self.map.kernel
    }

    /// The map that writes these values of the body to buffers, as operands after the kernel's own.
    pub fn body_map(&self, values: &[Value]) -> Arc<MapKernel> {
        self.bodies.get(
            |own| own[..] == *values,
            || values.into(),
            |values| {
                let Kernel { rank, vector_axis, params, operands, body, .. } = &**self.kernel();
                let buffer =
                    |v: &Value| Operand { dtype: self.types[v.0 as usize], role: Role::Out, inner: Inner::Unit };
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
            },
        )
    }
}

/// What of a kernel decides, with the numbers of a launch, how that is made ready: in one place, as it is looked at for each shape.
#[derive(Debug)]
pub struct Form {
    /// Number of axes, and of those among them that are not reduced.
    pub rank: usize,
    pub kept: usize,
    pub vector_axis: usize,
    pub params: usize,
    /// Of a point, in picoseconds.
    pub cost: usize,
    pub operands: SmallVec<[OperandForm; 8]>,
}

#[derive(Debug, Clone, Copy)]
pub struct OperandForm {
    pub dtype: DType,
    /// Whether it is only read.
    pub is_in: bool,
}

impl Form {
    fn of(kernel: &Kernel) -> Self {
        let operand = |o: &Operand| OperandForm { dtype: o.dtype, is_in: o.role == Role::In };
        Self {
            rank: kernel.rank as usize,
            kept: (kernel.rank - kernel.reduced()) as usize,
            vector_axis: kernel.vector_axis as usize,
            params: kernel.params.len(),
            cost: cost_per_point(kernel),
            operands: kernel.operands.iter().map(operand).collect(),
        }
    }

    /// Where the row of an argument begins, of a launch whose numbers begin there.
    pub fn row(&self, at: usize, operand: usize) -> usize {
        at + self.rank + self.params + operand * (self.rank + 1)
    }
}

impl OperandForm {
    pub fn itemsize(&self) -> usize {
        self.dtype.itemsize()
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
    /// That of the key that is the one. Callers that come at once may both make it.
    pub fn get(&self, is: impl Fn(&K) -> bool, key: impl FnOnce() -> K, make: impl FnOnce(&K) -> V) -> Arc<V> {
        if let Some((_, found)) = lock(&self.0).iter().find(|(own, _)| is(own)) {
            return found.clone();
        }
        let key = key();
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
    /// Lets go of the kernels that no plan has.
    pub fn forget_idle(&self) {
        let mut both = lock(&self.0);
        both.by_address.clear();
        both.by_structure.retain(|_, known| Arc::strong_count(known) > 1);
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    /// x, scaled by this number.
    fn kernel(scale: usize) -> Arc<Kernel> {
        let text = format!(
            "kernel rank 1 vector 0 (in f32 unit, out f32 unit) {{ \
                %0 = load 0 %1 = const {scale}.0:f32 %2 = mul %0, %1 map {{ store 1 <- %2 }} }}"
        );
        Arc::new(text.parse().unwrap())
    }

    #[test]
    fn kernels_are_found_by_structure_and_by_address() {
        let table = Table::default();
        let first = kernel(1);
        let known = table.get(&first).unwrap();
        assert!(Arc::ptr_eq(known.kernel(), &first));
        let addresses = || lock(&table.0).by_address.len();
        // A plan's own is not kept, as it goes with the plan; one that somebody else has too is.
        assert!(Arc::ptr_eq(&table.get(&kernel(1)).unwrap(), &known));
        assert_eq!(addresses(), 1);
        let (again, other) = (kernel(1), kernel(1));
        let _held = again.clone();
        for _ in 0..2 {
            assert!(Arc::ptr_eq(&table.get(&again).unwrap(), &known));
            assert_eq!(addresses(), 2);
        }
        assert!(Arc::ptr_eq(&table.get(&other).unwrap(), &known));
        assert!(!Arc::ptr_eq(&table.get(&kernel(2)).unwrap(), &known));
    }

    #[test]
    fn malformed_kernels_are_refused_each_time() {
        let table = Table::default();
        let text = "kernel rank 1 vector 0 (in f32 unit, out f32 unit) { %0 = load 7 map { store 1 <- %0 } }";
        let malformed: Arc<Kernel> = Arc::new(text.parse().unwrap());
        let _held = malformed.clone();
        for _ in 0..2 {
            assert!(table.get(&malformed).unwrap_err().message().contains("there is no operand 7"));
        }
    }

    #[test]
    fn so_many_kernels_are_remembered() {
        let table = Table::default();
        let mut last = table.get(&kernel(0)).unwrap();
        for scale in 1..REMEMBERED + 10 {
            last = table.get(&kernel(scale)).unwrap();
        }
        let both = lock(&table.0);
        assert!(both.by_address.len() < 20 && both.by_structure.len() == both.by_address.len());
        let found = both.by_structure.get(last.kernel()).unwrap();
        assert!(Arc::ptr_eq(found, &last));
        for (address, (kernel, known)) in &both.by_address {
            assert_eq!(*address, Arc::as_ptr(kernel) as usize);
            assert_eq!(kernel, known.kernel());
        }
    }

    #[test]
    fn what_is_derived_is_made_once() {
        let kernels = Kernels::new(Isa::detect());
        let known = kernels.known(&kernel(3)).unwrap();
        let [a, b] = [0, 2].map(|v| known.body_map(&[Value(v)]));
        assert!(Arc::ptr_eq(&a, &known.body_map(&[Value(0)])) && !Arc::ptr_eq(&a, &b));
        assert_eq!(b.kernel.operands.len(), 3);
        if kernels.isa == Isa::Interpreter {
            return;
        }
        let function = known.map.function(&kernels, false).unwrap();
        assert!(Arc::ptr_eq(function, known.map.function(&kernels, false).unwrap()));
        assert!(!Arc::ptr_eq(function, known.map.function(&kernels, true).unwrap()));
        assert!(Arc::ptr_eq(function, known.map.generated(false)));
        assert_eq!(kernels.generated(), 2);
    }
}
