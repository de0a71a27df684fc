//! Which instruction set kernels are generated for.

/// Instruction set of generated code, chosen when the backend is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    /// AVX-512 F, BW, DQ and VL: 32 registers of 16 lanes, mask registers.
    Avx512,
    /// AVX2, FMA, F16C and BMI2: 16 registers of 8 lanes.
    Avx2,
    /// No code is generated: kernels run in `lazuli-kernel`'s reference interpreter.
    Interpreter,
}

impl Isa {
    const ALL: [(&str, Isa); 3] = [("avx512", Isa::Avx512), ("avx2", Isa::Avx2), ("interpreter", Isa::Interpreter)];

    /// The best that this processor has, or what `LAZULI_CPU_ISA` (`avx512`, `avx2`, `interpreter`) asks for. If it asks for
    /// something else, or for what the processor does not have, that is said on the terminal.
    pub fn detect() -> Isa {
        let asked = std::env::var("LAZULI_CPU_ISA").unwrap_or_default();
        let (isa, complaint) = Isa::choose(&asked, Isa::is_available);
        if let Some(complaint) = complaint {
            eprintln!("lazuli: LAZULI_CPU_ISA asks for '{asked}', {complaint}");
        }
        isa
    }

    /// The best that is available and no better than what is asked for, if anything is; and what is wrong with that.
    fn choose(asked: &str, is_available: impl Fn(Isa) -> bool) -> (Isa, Option<String>) {
        let names = Isa::ALL.map(|(name, _)| name);
        let found = names.iter().position(|name| *name == asked);
        let mut fit = Isa::ALL[found.unwrap_or(0)..].iter().filter(|(_, isa)| is_available(*isa));
        let &(name, isa) = fit.next().expect("the interpreter is always there");
        let complaint = match found {
            None if asked.is_empty() => None,
            None => Some(format!("which is none of: {}", names.join(", "))),
            Some(k) if names[k] == name => None,
            Some(_) => Some(format!("which this processor does not have: it is {name}")),
        };
        (isa, complaint)
    }

    /// Whether this processor can run code of this instruction set.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
                && is_x86_feature_detected!("bmi2");
            match self {
                Isa::Interpreter => true,
                Isa::Avx2 => avx2,
                Isa::Avx512 => {
                    avx2 && is_x86_feature_detected!("avx512f")
                        && is_x86_feature_detected!("avx512bw")
                        && is_x86_feature_detected!("avx512dq")
                        && is_x86_feature_detected!("avx512vl")
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Isa::Interpreter
        }
    }

    /// Lanes of one vector of 32-bit elements.
    pub(crate) fn lanes(self) -> usize {
        match self {
            Isa::Avx512 => 16,
            Isa::Avx2 | Isa::Interpreter => 8,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Isa::Avx512 => "x86-64 AVX-512",
            Isa::Avx2 => "x86-64 AVX2",
            Isa::Interpreter => "interpreter",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Isa;

    #[test]
    fn what_is_asked_for_is_taken_or_complained_of() {
        let choose = |asked: &str, best: Isa| {
            let (isa, complaint) = Isa::choose(asked, |isa| isa != Isa::Avx512 || best == Isa::Avx512);
            (isa, complaint.unwrap_or_default())
        };
        for (asked, best, isa, complaint) in [
            ("", Isa::Avx512, Isa::Avx512, ""),
            ("", Isa::Avx2, Isa::Avx2, ""),
            ("avx2", Isa::Avx512, Isa::Avx2, ""),
            ("interpreter", Isa::Avx512, Isa::Interpreter, ""),
            ("avx512", Isa::Avx2, Isa::Avx2, "which this processor does not have: it is avx2"),
            ("AVX2", Isa::Avx512, Isa::Avx512, "which is none of: avx512, avx2, interpreter"),
        ] {
            assert_eq!(choose(asked, best), (isa, complaint.to_owned()), "{asked} where {best:?} is the best");
        }
    }
}
