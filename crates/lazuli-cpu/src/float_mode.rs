//! The floating-point mode that kernels assume: round to nearest, subnormals kept, no traps.
//!
//! Another library of the process may have changed it on a thread (flush to zero, most often), and new threads inherit it.

/// The processor's mode register at its default.
#[cfg(target_arch = "x86_64")]
const DEFAULT: u32 = 0x1F80;
/// Sticky flags of past exceptions, which are no mode.
#[cfg(target_arch = "x86_64")]
const FLAGS: u32 = 0x3F;

/// Sets the default mode; puts the thread's own back when dropped.
#[derive(Debug)]
pub struct DefaultFloats {
    #[cfg(target_arch = "x86_64")]
    before: Option<u32>,
}

#[cfg(target_arch = "x86_64")]
impl DefaultFloats {
    pub fn set() -> Self {
        let mut now = 0u32;
        // SAFETY: stores the register into `now`.
        unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &mut now, options(nostack, preserves_flags)) };
        let before = (now & !FLAGS != DEFAULT).then_some(now);
        if before.is_some() {
            load(DEFAULT);
        }
        Self { before }
    }
}

#[cfg(target_arch = "x86_64")]
impl Drop for DefaultFloats {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            load(before);
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn load(mode: u32) {
    // SAFETY: the default, or a value read from this register before: no reserved bit is set.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &mode, options(nostack, preserves_flags, readonly)) };
}

#[cfg(not(target_arch = "x86_64"))]
impl DefaultFloats {
    pub fn set() -> Self {
        Self {}
    }
}
