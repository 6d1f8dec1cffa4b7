//! Loads and stores of vector registers behind references to arrays, so that the kernels need no `unsafe`.
//!
//! In and out: references to arrays that are exactly as long as the register; none of them needs an alignment.
//! A slice becomes arrays by `as_chunks`, its tail by a copy into a zeroed array ([`padded`]) or a masked load.
//!
//! Kernels use plain loops: a closure with vector operations that goes through a function of the standard library
//! (`array::from_fn`, `fold`, `for_each`) is compiled there without the CPU features and may not be inlined, which
//! passes registers through memory.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;

/// `tail`, at most 63 values and fewer than `N`, followed by zeros. Every kernel's sum is the same with zeros
/// appended. Copies of fixed lengths spare the call that a copy of any length would be.
#[inline(always)]
pub(super) fn padded<T: Copy + Default, const N: usize>(tail: &[T]) -> [T; N] {
    let mut array = [T::default(); N];
    let mut start = 0;
    for length in [32, 16, 8, 4, 2, 1] {
        if length < N && tail.len() & length != 0 {
            array[start..start + length].copy_from_slice(&tail[start..start + length]);
            start += length;
        }
    }
    array
}
