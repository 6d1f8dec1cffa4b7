//! Hints that a slice will be read soon, so that its cache lines travel while other work is done.
//!
//! On x86 lines are asked for into the second cache: on Zen 4 the first has some twenty places for lines that travel,
//! and one that has none left keeps the core waiting, where the second has about twice as many. What a search reads is
//! random, so that these places are what it is bound by: 1.3 to 2 times the rows a second, asked for further ahead
//! (`docs/experiments.md`). On AArch64, where it was not measured, the first.
//!
//! In: a slice. Out: nothing; a hint changes no answer. Calls nothing.

use super::Kernels;

/// The line of every CPU that has a table; a wrong guess costs a superfluous hint.
pub(super) const LINE_BYTES: usize = 64;

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

/// How far a block is asked for ahead of the place that is read. Measured from DRAM on Zen 3; the hardware's own
/// streams begin late and end at pages.
const AHEAD_BYTES: usize = 4096;

/// Asks for the first [`AHEAD_BYTES`] of a block that will be read from its start.
#[inline(always)]
pub(super) fn ask_first(block: &[u8]) {
    ask(&block[..block.len().min(AHEAD_BYTES)]);
}

/// Asks for what lies [`AHEAD_BYTES`] ahead of the `length` bytes at `start`, as far as the block goes.
#[inline(always)]
pub(super) fn ask_ahead(block: &[u8], start: usize, length: usize) {
    let ahead = block.len().min(start + AHEAD_BYTES);
    ask(&block[ahead..block.len().min(ahead + length)]);
}

/// Asks for every line of `bytes`, if they begin at one.
#[inline(always)]
fn ask(bytes: &[u8]) {
    for offset in (0..bytes.len()).step_by(LINE_BYTES) {
        prefetch_line(bytes.as_ptr().wrapping_add(offset));
    }
}

/// Asks for the line that holds `address`, which need not be a valid one.
#[inline(always)]
pub(super) fn prefetch_line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64, and a prefetch of any address, valid or not, has no effect but on caches.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(address.cast());
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
