//! Loads and stores of vector registers behind references to arrays, so that the kernels need no `unsafe`.
//!
//! In and out: references to arrays that are exactly as long as the register; none of them needs an alignment.
//! A slice becomes arrays by `as_chunks`, its tail by a copy into a zeroed array ([`padded`]) or a masked load.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;

/// `tail`, followed by zeros. Every kernel's sum is the same with zeros appended.
#[inline(always)]
pub(super) fn padded<T: Copy + Default, const N: usize>(tail: &[T]) -> [T; N] {
    let mut array = [T::default(); N];
    array[..tail.len()].copy_from_slice(tail);
    array
}
