//! What compilations of a shapeless program leave for later ones, of other shapes.

use crate::interrupt::{self, Watch};
use lazuli_compile::{Compiled, Fit, Options, Outlined, OutputInfo, Template, compile_first, compile_like, plan_like};
use lazuli_ir::{Graph, Result};
use lazuli_kernel::{Layout, Variant};
use std::sync::{Arc, Mutex, MutexGuard};

/// How many are kept: those of other orders of magnitude, or of other extents that are equal, of which programs meet few.
const MOST: usize = 64;

/// The templates of a program, the latest last.
#[derive(Debug, Default)]
pub(crate) struct Templates(Mutex<Vec<Template>>);

/// The templates, locked: nothing is asked of the user meanwhile, whose answer might be to compile something.
struct Known<'a> {
    templates: MutexGuard<'a, Vec<Template>>,
    _deferred: Watch,
}

impl Templates {
    fn known(&self) -> Known<'_> {
        let _deferred = interrupt::defer();
        Known { templates: self.0.lock().unwrap_or_else(|e| e.into_inner()), _deferred }
    }

    /// What is made of the plan for some extents, and of where its outputs lie, if it follows by formulas from an earlier one that fits these so well.
    pub fn with_variant<T>(
        &self,
        outlined: &Outlined,
        layouts: &[&Layout],
        fit: Fit,
        make: impl FnOnce(&mut dyn Variant, Arc<[OutputInfo]>) -> T,
    ) -> Option<T> {
        let mut known = self.known();
        plan_like(&mut known.templates, outlined, layouts, fit)
            .map(|(mut variant, outputs)| make(&mut variant, outputs))
    }

    /// Whether an earlier compilation, for other magnitudes, is followed for these extents too from now on.
    pub fn widen(&self, graph: &Graph, outlined: &Outlined) -> bool {
        lazuli_compile::widen(&mut self.known().templates, graph, outlined)
    }

    /// Compiles the program's graph for some extents, of which this is known: as an earlier one, if there is one that it can follow. Whether there is none.
    pub fn compile(
        &self,
        graph: &Graph,
        outlined: Option<&Outlined>,
        layouts: &[Layout],
        options: &Options,
    ) -> Result<(Compiled, bool)> {
        if let Some(compiled) = compile_like(&self.known().templates, graph, outlined, layouts, options)? {
            return Ok((compiled, false));
        }
        let (compiled, template) = compile_first(graph, layouts, options)?;
        if outlined.is_some() {
            // The template is followed at once, which makes formulas.
            compile_like(template.as_slice(), graph, outlined, layouts, options)?;
        }
        let mut guard = self.known();
        let known = &mut guard.templates;
        if known.len() == MOST {
            known.remove(0);
        }
        known.extend(template);
        Ok((compiled, true))
    }
}
