//! Hints that a slice will be read soon, so that its cache lines travel while other work is done.
//!
//! In: a slice. Out: nothing; a hint changes no answer. Calls nothing.

use super::Kernels;

/// The line of every CPU that has a table; a wrong guess costs a superfluous hint.
const LINE_BYTES: usize = 64;

impl Kernels {
    /// Asks for every cache line that `bytes` touches. Costs about one instruction a line; a line that is not in
    /// memory at all (a page not yet read from disk) is not fetched.
    #[inline]
    pub fn prefetch_lines(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let start = bytes.as_ptr();
        let skew = start.addr() % LINE_BYTES;
        for offset in (0..skew + bytes.len()).step_by(LINE_BYTES) {
            prefetch_line(start.wrapping_sub(skew).wrapping_add(offset));
        }
    }
}

/// Asks for the line that holds `address`, which need not be a valid one.
#[inline(always)]
pub(super) fn prefetch_line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64, and a prefetch of any address, valid or not, has no effect but on caches.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: PRFM is part of AArch64, and a prefetch of any address, valid or not, has no effect but on caches.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", not(miri)))))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_slice_may_be_asked_for() {
        let bytes = vec![0u8; 1000];
        for kernels in Kernels::available() {
            for start in 0..130 {
                kernels.prefetch_lines(&bytes[start..]);
                kernels.prefetch_lines(&bytes[start..start]);
                kernels.prefetch_lines(&bytes[start..start + 1]);
            }
        }
    }
}
