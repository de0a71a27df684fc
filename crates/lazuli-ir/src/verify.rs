//! What a well-formed graph is, said once and checked between the stages of the pipeline in debug builds.

use crate::aval::Aval;
use crate::graph::{Atom, Equation, Graph, Var};
use crate::print::Marked;
use lazuli_kernel::{Error, Result, Scalar};

impl Graph {
    /// Checks every invariant: each variable is defined once, before its uses; an equation's outputs have the avals that its primitive's rule gives; literals
    /// are numbers of their dtype; at most all inputs are constants; the body of a call is well formed, has no constants, and takes
    /// the operands. The error names the equation at fault and prints the graph with that marked.
    pub fn verify(&self) -> Result<()> {
        let report = |equation: Option<usize>, what: String| {
            let place =
                equation.map_or(String::new(), |i| format!("equation {i} ({}): ", self.equations[i].prim.name()));
            Error::internal("verify", format!("{place}{what}\n{}", Marked(self, equation)))
        };
        let mut defined = vec![false; self.avals.len()];
        let mut define = |v: Var| match defined.get_mut(v.0 as usize) {
            None => Err(format!("variable {} has no aval", v.0)),
            Some(true) => Err(format!("variable {} is defined twice", v.0)),
            Some(slot) => {
                *slot = true;
                Ok(())
            }
        };
        if self.constants > self.inputs.len() {
            return Err(report(None, format!("{} constants among {} inputs", self.constants, self.inputs.len())));
        }
        for &v in &self.inputs {
            define(v).map_err(|what| report(None, what))?;
        }
        // Where each variable is defined: inputs first, then equation by equation.
        let mut known = vec![false; self.avals.len()];
        for &v in &self.inputs {
            known[v.0 as usize] = true;
        }
        for (i, e) in self.equations.iter().enumerate() {
            self.check_uses(e, &known).map_err(|what| report(Some(i), what))?;
            self.check_types(e).map_err(|what| report(Some(i), what))?;
            for &v in &e.outputs {
                define(v).map_err(|what| report(Some(i), what))?;
                known[v.0 as usize] = true;
            }
        }
        for &a in &self.outputs {
            check_atom(a, &known).map_err(|what| report(None, format!("an output: {what}")))?;
        }
        Ok(())
    }

    fn check_uses(&self, e: &Equation, known: &[bool]) -> std::result::Result<(), String> {
        for (k, &a) in e.inputs.iter().enumerate() {
            check_atom(a, known).map_err(|what| format!("operand {k}: {what}"))?;
        }
        for (k, &v) in e.shapes.iter().enumerate() {
            check_atom(v.into(), known).map_err(|what| format!("shape operand {k}: {what}"))?;
        }
        Ok(())
    }

    fn check_types(&self, e: &Equation) -> std::result::Result<(), String> {
        for body in e.prim.bodies() {
            body.verify().map_err(|err| format!("its body is not well formed: {}", err.message()))?;
            if body.constants != 0 {
                return Err("its body has constants: what it needs is passed".to_owned());
            }
            let operands: Vec<Aval> = e.prim.operands(&e.inputs).iter().map(|&a| self.aval(a)).collect();
            if body.input_avals() != operands {
                return Err(format!("its body takes {}, not {}", list(&body.input_avals()), list(&operands)));
            }
        }
        if e.meta.effect < e.prim.effect() {
            return Err("it has an effect that it does not state".to_owned());
        }
        let inferred = self.infer(e).map_err(|err| err.to_string())?;
        let stated: Option<Vec<Aval>> = e.outputs.iter().map(|v| self.avals.get(v.0 as usize).cloned()).collect();
        match stated {
            Some(stated) if stated[..] == inferred[..] => Ok(()),
            stated => {
                Err(format!("its outputs are {}, stated as {}", list(&inferred), list(&stated.unwrap_or_default())))
            }
        }
    }
}

fn list(avals: &[Aval]) -> String {
    format!("({})", avals.iter().map(Aval::to_string).collect::<Vec<_>>().join(", "))
}

fn check_atom(a: Atom, known: &[bool]) -> std::result::Result<(), String> {
    match a {
        Atom::Var(v) if known.get(v.0 as usize) != Some(&true) => {
            Err(format!("variable {} is not defined before this use", v.0))
        }
        Atom::Lit(s) if Scalar::from_bytes(s.dtype, &s.to_bytes()) != s => {
            Err(format!("{s} has bits outside its dtype"))
        }
        _ => Ok(()),
    }
}
