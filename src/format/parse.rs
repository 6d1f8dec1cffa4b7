//! The only reader of integers that nobody vouches for.
//!
//! A [`Field`] is a typed place in a record; a [`View`] is the bytes of a record; getting a field that the
//! bytes do not hold is an error, never a panic. The counterpart, [`put`], writes a field of a record that
//! we make ourselves. All numbers are little-endian. Calls nothing.

use crate::types::{Error, Result};
use std::marker::PhantomData;

/// A value with a fixed number of bytes on disk.
pub trait Value: Copy {
    /// How many.
    const BYTES: usize;

    /// Reads it from exactly [`BYTES`](Self::BYTES) bytes.
    fn read(bytes: &[u8]) -> Option<Self>;

    /// Writes it to exactly [`BYTES`](Self::BYTES) bytes.
    fn write(self, bytes: &mut [u8]);
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl Value for $integer {
            const BYTES: usize = size_of::<$integer>();

            fn read(bytes: &[u8]) -> Option<Self> {
                Some(<$integer>::from_le_bytes(bytes.try_into().ok()?))
            }

            fn write(self, bytes: &mut [u8]) {
                bytes.copy_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}

integers!(u8, u16, u32, u64);

impl<const N: usize> Value for [u8; N] {
    const BYTES: usize = N;

    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok()
    }

    fn write(self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self);
    }
}

/// A place in a record, and what lies there.
#[derive(Debug)]
pub struct Field<T> {
    /// First byte, from the record's start.
    pub offset: usize,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for Field<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Field<T> {}

impl<T: Value> Field<T> {
    /// The field that begins at `offset`.
    pub const fn at(offset: usize) -> Self {
        Field { offset, value: PhantomData }
    }

    /// First byte after the field.
    pub const fn end(self) -> usize {
        self.offset.saturating_add(T::BYTES)
    }
}

/// The bytes of a record.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    bytes: &'a [u8],
}

impl<'a> View<'a> {
    /// A record of which nothing is known yet.
    pub fn new(bytes: &'a [u8]) -> Self {
        View { bytes }
    }

    /// The value of a field.
    ///
    /// # Errors
    /// `Corrupt` if the record ends before the field does.
    pub fn get<T: Value>(&self, field: Field<T>) -> Result<T> {
        self.bytes.get(field.offset..field.end()).and_then(T::read).ok_or_else(|| {
            Error::corrupt(format_args!(
                "a record of {} bytes ends before its field at bytes {} to {}",
                self.bytes.len(),
                field.offset,
                field.end()
            ))
        })
    }
}

/// Writes a field of a record that is long enough for it.
///
/// # Errors
/// `Internal` if it is not.
pub fn put<T: Value>(record: &mut [u8], field: Field<T>, value: T) -> Result<()> {
    let place = record.get_mut(field.offset..field.end());
    let place = place.ok_or_else(|| internal("a field lies beyond its record"))?;
    value.write(place);
    Ok(())
}

/// Rounds up to a multiple of `align`; `None` beyond `u64`, or if `align` is 0.
pub fn align_up(value: u64, align: u64) -> Option<u64> {
    value.checked_next_multiple_of(align)
}

/// A number that this machine can index memory with.
///
/// # Errors
/// `OutOfMemory` if it cannot.
pub fn to_usize(what: &str, value: u64) -> Result<usize> {
    usize::try_from(value).map_err(|_| Error::out_of_memory(what, value))
}

/// A defect of ours.
pub(super) fn internal(message: impl std::fmt::Display) -> Error {
    let words = format_args!("defect in libvdb: {message}; please report it");
    Error::new(crate::types::Status::Internal, words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Status;

    #[test]
    fn a_field_is_read_as_it_was_written_and_never_beyond_the_record() {
        let mut record = [0u8; 16];
        put(&mut record, Field::<u32>::at(3), 0x0102_0304).unwrap();
        assert_eq!(record[3..7], [4, 3, 2, 1]);
        let view = View::new(&record);
        assert_eq!(view.get(Field::<u32>::at(3)).unwrap(), 0x0102_0304);
        assert_eq!(view.get(Field::<[u8; 2]>::at(3)).unwrap(), [4, 3]);
        assert_eq!(view.get(Field::<u64>::at(8)).unwrap(), 0);
        for offset in [9, 15, 16, 17, usize::MAX - 3, usize::MAX] {
            let beyond = Field::<u64>::at(offset);
            assert_eq!(view.get(beyond).unwrap_err().status(), Status::Corrupt);
            assert_eq!(put(&mut record.clone(), beyond, 1).unwrap_err().status(), Status::Internal);
        }
    }

    #[test]
    fn rounding_up_never_wraps() {
        assert_eq!(align_up(0, 64), Some(0));
        assert_eq!(align_up(1, 64), Some(64));
        assert_eq!(align_up(u64::MAX - 63, 64), Some(u64::MAX - 63));
        assert_eq!(align_up(u64::MAX, 64), None);
        assert_eq!(align_up(1, 0), None);
    }
}
