//! Vectors that are refused instead of aborting the host.
//!
//! `Vec` ends the process when the allocator says no. These say
//! [`Status::OutOfMemory`](crate::types::Status::OutOfMemory) instead, and belong wherever a length
//! comes from input, parameters or a file. Pushing within the capacity that was asked for never
//! allocates again.

use crate::types::{Error, Result};

/// An empty vector with room for `count` values.
///
/// # Errors
/// `OutOfMemory` when the allocator refuses, or the size does not fit in the address space.
pub fn try_with_capacity<T>(count: usize) -> Result<Vec<T>> {
    let mut vec = Vec::new();
    match vec.try_reserve_exact(count) {
        Ok(()) => Ok(vec),
        Err(_) => {
            let bytes = (count as u64).saturating_mul(size_of::<T>() as u64);
            Err(Error::out_of_memory("a list", bytes))
        }
    }
}

/// Room in `vec` for `more` values; like `Vec`'s own, what is kept from call to call grows seldom.
///
/// # Errors
/// As [`try_with_capacity`]; the vector stays as it was.
pub fn try_reserve<T>(vec: &mut Vec<T>, more: usize) -> Result<()> {
    vec.try_reserve(more).map_err(|_| {
        let count = vec.len().saturating_add(more) as u64;
        Error::out_of_memory("a list", count.saturating_mul(size_of::<T>() as u64))
    })
}

/// Room in `vec` for `count` values in all, those it has among them.
///
/// # Errors
/// As [`try_reserve`].
pub fn try_hold<T>(vec: &mut Vec<T>, count: usize) -> Result<()> {
    try_reserve(vec, count.saturating_sub(vec.len()))
}

/// A vector of `count` copies of `value`.
///
/// # Errors
/// As [`try_with_capacity`].
pub fn try_vec<T: Clone>(count: usize, value: T) -> Result<Vec<T>> {
    let mut vec = try_with_capacity(count)?;
    vec.resize(count, value);
    Ok(vec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Status;

    #[test]
    fn a_length_that_cannot_be_is_an_error_with_its_bytes() {
        for count in [usize::MAX, usize::MAX / 8, isize::MAX as usize / 8 + 1] {
            let error = try_vec(count, 7u64).unwrap_err();
            assert_eq!(error.status(), Status::OutOfMemory);
            assert_eq!(error.needed_bytes(), Some((count as u64).saturating_mul(8)));
            let mut kept = vec![1u64];
            let error = try_reserve(&mut kept, count).unwrap_err();
            assert_eq!((error.status(), &kept[..]), (Status::OutOfMemory, &[1][..]));
        }
    }

    #[test]
    fn a_vector_is_filled_and_a_capacity_is_kept() {
        assert_eq!(try_vec(3, 7u8).unwrap(), [7, 7, 7]);
        assert_eq!(try_vec(0, 7u8).unwrap(), []);
        let mut list = try_with_capacity::<u32>(100).unwrap();
        let start = list.as_ptr();
        list.extend(0..100);
        assert_eq!(list.as_ptr(), start);
    }
}
