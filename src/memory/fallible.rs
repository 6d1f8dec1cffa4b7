//! Vectors that are refused instead of aborting the host.
//!
//! `Vec` ends the process when the allocator says no. These say
//! [`Status::OutOfMemory`](crate::types::Status::OutOfMemory) instead, and belong wherever a length
//! comes from input, parameters or a file. Pushing within the capacity that was asked for never
//! allocates again.
//!
//! What the standard library allocates without asking gets its room asked for just before, by [`try_room`]: allocators
//! nearly always hand out again what a thread has just given back, unless another thread takes it in between.

use crate::types::error::sentence;
use crate::types::{Error, Result};
use std::fmt;
use std::sync::Arc;

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

/// Puts `value` behind the others.
///
/// # Errors
/// As [`try_reserve`].
#[inline]
pub fn try_push<T>(vec: &mut Vec<T>, value: T) -> Result<()> {
    if vec.len() == vec.capacity() {
        try_reserve(vec, 1)?;
    }
    vec.push(value);
    Ok(())
}

/// Puts `values` behind the others.
///
/// # Errors
/// As [`try_reserve`]; some may have been added then.
pub fn try_extend<T>(vec: &mut Vec<T>, values: impl IntoIterator<Item = T>) -> Result<()> {
    let mut values = values.into_iter();
    // What an iterator is sure of goes in at once, which is all of it where it knows its length.
    let sure = values.size_hint().0;
    try_reserve(vec, sure)?;
    vec.extend(values.by_ref().take(sure));
    values.try_for_each(|value| try_push(vec, value))
}

/// A vector of `values`.
///
/// # Errors
/// As [`try_with_capacity`].
pub fn try_collect<T>(values: impl IntoIterator<Item = T>) -> Result<Vec<T>> {
    let values = values.into_iter();
    let mut vec = try_with_capacity(values.size_hint().0)?;
    try_extend(&mut vec, values)?;
    Ok(vec)
}

/// A vector of `count` default values, each made anew.
///
/// # Errors
/// As [`try_with_capacity`].
pub fn try_defaults<T: Default>(count: usize) -> Result<Vec<T>> {
    let mut vec = try_with_capacity(count)?;
    vec.resize_with(count, T::default);
    Ok(vec)
}

/// The text of `words`.
///
/// # Errors
/// `OutOfMemory`.
pub fn try_text(words: fmt::Arguments<'_>) -> Result<String> {
    sentence(words).ok_or_else(|| Error::out_of_memory("a text", 256))
}

/// Asks for `bytes` and gives them back, for what takes as much next and would end the process if it were refused.
///
/// # Errors
/// As [`try_with_capacity`].
pub fn try_room(bytes: usize) -> Result<()> {
    let room = try_with_capacity::<u8>(bytes)?;
    // Or a compiler that sees through both leaves them out.
    std::hint::black_box(&room);
    Ok(())
}

/// A shared value.
///
/// # Errors
/// As [`try_with_capacity`].
pub fn try_arc<T>(value: T) -> Result<Arc<T>> {
    /// Two counts, and what an alignment may add.
    const COUNTS: usize = 2 * size_of::<usize>();
    try_room((COUNTS + size_of::<T>()).next_multiple_of(align_of::<T>().max(align_of::<usize>())))?;
    Ok(Arc::new(value))
}

/// A boxed value.
///
/// # Errors
/// As [`try_with_capacity`].
pub fn try_box<T>(value: T) -> Result<Box<T>> {
    try_room(size_of::<T>())?;
    Ok(Box::new(value))
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
    fn iterators_are_collected_whatever_they_know_of_their_length() {
        assert_eq!(try_collect(0..5u8).unwrap(), [0, 1, 2, 3, 4]);
        let mut odd = try_collect((0..100u32).filter(|x| x % 2 == 1)).unwrap();
        assert_eq!(odd.len(), 50);
        try_extend(&mut odd, [7, 9]).unwrap();
        try_push(&mut odd, 11).unwrap();
        assert_eq!(odd[48..], [97, 99, 7, 9, 11]);
        assert!(try_collect((0..usize::MAX).map(|x| x as u64)).is_err());
        assert_eq!(try_defaults::<Vec<u8>>(2).unwrap(), vec![Vec::<u8>::new(); 2]);
    }

    #[test]
    fn room_is_asked_for_before_it_is_taken() {
        assert_eq!(try_room(usize::MAX).unwrap_err().status(), Status::OutOfMemory);
        assert_eq!((*try_arc(7u8).unwrap(), *try_box([1u64; 9]).unwrap()), (7, [1; 9]));
        assert_eq!(try_text(format_args!("{} and {}", 1, 2)).unwrap(), "1 and 2");
    }

    #[test]
    fn a_vector_is_filled_and_a_capacity_is_kept() {
        assert_eq!(try_vec(3, 7u8).unwrap(), [7, 7, 7]);
        assert_eq!(try_vec(0, 7u8).unwrap(), [0; 0]);
        let mut list = try_with_capacity::<u32>(100).unwrap();
        let start = list.as_ptr();
        list.extend(0..100);
        assert_eq!(list.as_ptr(), start);
    }
}
