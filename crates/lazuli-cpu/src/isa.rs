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
    /// The best that this processor has, or what `LAZULI_CPU_ISA` (`avx512`, `avx2`, `interpreter`) asks for if the
    /// processor has it.
    pub fn detect() -> Isa {
        let wanted = match std::env::var("LAZULI_CPU_ISA").as_deref() {
            Ok("interpreter") => Isa::Interpreter,
            Ok("avx2") => Isa::Avx2,
            _ => Isa::Avx512,
        };
        [Isa::Avx512, Isa::Avx2]
            .into_iter()
            .skip_while(|&isa| isa != wanted)
            .find(|isa| isa.is_available())
            .unwrap_or(Isa::Interpreter)
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
