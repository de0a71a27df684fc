//! What compilations of a shapeless program leave for later ones, of other shapes.

use lazuli_compile::{
    Compiled, Options, Outlined, OutputInfo, Template, compile_first, compile_like, made_ready, plan_like,
};
use lazuli_ir::{Graph, Result};
use lazuli_kernel::{Layout, Plan};
use std::sync::{Arc, Mutex, MutexGuard};

/// How many are kept: each is of extents of one order of magnitude, of which programs meet few.
const MOST: usize = 64;

/// The templates of a program, the latest last.
#[derive(Debug, Default)]
pub(crate) struct Templates(Mutex<Vec<Template>>);

impl Templates {
    fn known(&self) -> MutexGuard<'_, Vec<Template>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The plan for some extents, if it follows from an earlier one by formulas, and where outputs lie.
    pub fn plan(&self, outlined: Outlined, layouts: &[Layout]) -> Option<(Plan, Arc<[OutputInfo]>)> {
        plan_like(&self.known(), outlined, layouts)
    }

    /// A plan of the program was made ready.
    pub fn made_ready(&self, plan: &Plan) {
        made_ready(&mut self.known(), plan);
    }

    /// Compiles the program's graph for some extents, of which this is known: as an earlier one, if there is one that it can follow.
    pub fn compile(
        &self,
        graph: &Graph,
        outlined: Option<Outlined>,
        layouts: &[Layout],
        options: &Options,
    ) -> Result<Compiled> {
        if let Some(compiled) = compile_like(&self.known(), graph, outlined, layouts, options)? {
            return Ok(compiled);
        }
        let (compiled, template) = compile_first(graph, layouts, options)?;
        let mut known = self.known();
        if known.len() == MOST {
            known.remove(0);
        }
        known.extend(template);
        Ok(compiled)
    }
}
