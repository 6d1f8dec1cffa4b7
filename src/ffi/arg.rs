//! What C passes, checked: arrays, strings, handles' neighbours, and structs that begin with their size.
//!
//! In: pointers and lengths that may be anything. Out: slices and values that Rust may trust, or an error
//! that names the argument and says what it should be. Input arrays may lie at any address: those that are
//! not aligned for their type are copied. Outputs are filled before a reference to them is made, so that
//! they are in a defined state from there on.
//!
//! Structs grow at their end only. A caller with an older header passes a smaller one, whose missing tail
//! reads as zero; one with a newer header passes a larger one, and what this library does not know in it must
//! be zero, lest a wish be ignored. Any size between the first version's and [`STRUCT_BYTES_MAX`] will do.
//! Calls nothing but the standard library.

use std::ffi::{c_char, CStr, OsStr};
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::slice;

use bytemuck::AnyBitPattern;

use crate::types::{Error, Result, Status};

/// No struct of this interface will ever be larger; a size beyond is one that was never set.
const STRUCT_BYTES_MAX: usize = 64 << 10;

/// No address space has room for more, of 4 bytes each; found before anything is written to them.
const VALUES_MAX: u64 = 1 << 45;

/// A struct of the interface that begins with `struct_size`.
///
/// # Safety
/// `repr(C)`, aligned to 8, without hidden padding; the first field is `struct_size: usize`; all zero is a
/// value of it, and so is any prefix of 8-byte steps followed by zeros.
pub(super) unsafe trait SizedStruct: Copy {
    /// As C knows it.
    const NAME: &'static str;
    /// Its size in the first release that had it.
    const FIRST_BYTES: usize;
}

/// Reads a struct that the caller filled; NULL reads as all zero. Fails if it has more than is known here.
///
/// # Safety
/// `given` is NULL or valid for reads of the size that its first word states.
pub(super) unsafe fn read<T: SizedStruct>(given: *const T) -> Result<T> {
    // SAFETY: the caller's promise.
    let value = unsafe { peek(given) }?;
    if !given.is_null() {
        // SAFETY: the caller's promise; `peek` has found the size sensible.
        // Test: `a_struct_of_any_size_is_read_or_refused`.
        let tail = unsafe {
            let size = stated_size(given)?;
            let known = known_bytes::<T>(size);
            slice::from_raw_parts(given.cast::<u8>().add(known), size - known)
        };
        if tail.iter().any(|byte| *byte != 0) {
            return Err(Error::new(
                Status::Unsupported,
                format_args!(
                    "{}: a field is set that libvdb {} does not know; load a newer library, or set what lies \
                     beyond its first {} bytes to zero",
                    T::NAME,
                    env!("CARGO_PKG_VERSION"),
                    size_of::<T>(),
                ),
            ));
        }
    }
    Ok(value)
}

/// As [`read`], whatever lies behind the fields that are known here: for those that name outputs, which are
/// put in order before the call may fail.
///
/// # Safety
/// As [`read`].
pub(super) unsafe fn peek<T: SizedStruct>(given: *const T) -> Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: so many bytes may be read, by the caller's promise, once `stated_size` has found the size
    // sensible; no more than a `T` is copied. All zero is a value of `T`, which is `SizedStruct`, and so is
    // a prefix of the caller's over it.
    unsafe {
        if !given.is_null() {
            let known = known_bytes::<T>(stated_size(given)?);
            given.cast::<u8>().copy_to_nonoverlapping(value.as_mut_ptr().cast(), known);
        }
        Ok(value.assume_init())
    }
}

/// Of a struct of `size` bytes, those that are read: whole steps, so that no field is read by halves.
fn known_bytes<T>(size: usize) -> usize {
    size.min(size_of::<T>()) / align_of::<T>() * align_of::<T>()
}

/// A struct that the library fills, as far as the caller has room.
pub(super) struct Output<T> {
    to: *mut T,
    size: usize,
}

impl<T: SizedStruct> Output<T> {
    /// Checks the size and sets all behind it to zero. `name` is the argument's.
    ///
    /// # Safety
    /// `to` is NULL, or valid for reads and writes of the size that its first word states, while this lives.
    pub(super) unsafe fn new(name: &str, to: *mut T) -> Result<Self> {
        if to.is_null() {
            return Err(null(name));
        }
        // SAFETY: the caller's promise; the size has been checked, and is at least that of the first word.
        unsafe {
            let size = stated_size(to)?;
            to.cast::<u8>().add(size_of::<usize>()).write_bytes(0, size - size_of::<usize>());
            Ok(Output { to, size })
        }
    }

    /// As [`new`](Self::new); NULL is `None`.
    ///
    /// # Safety
    /// As [`new`](Self::new).
    pub(super) unsafe fn optional(name: &str, to: *mut T) -> Result<Option<Self>> {
        if to.is_null() {
            return Ok(None);
        }
        // SAFETY: the caller's promise.
        unsafe { Self::new(name, to) }.map(Some)
    }

    /// Writes all fields but the size. What the caller has room for beyond them stays zero.
    pub(super) fn put(&self, value: &T) {
        let word = size_of::<usize>();
        let from = std::ptr::from_ref(value).cast::<u8>();
        // SAFETY: both are valid for the smaller of the two sizes, which is more than a word, and are apart.
        unsafe {
            let bytes = self.size.min(size_of::<T>()) - word;
            from.add(word).copy_to_nonoverlapping(self.to.cast::<u8>().add(word), bytes);
        }
    }
}

/// The size that a struct states, if it is sensible.
///
/// # Safety
/// `given` is valid for reads of a word.
unsafe fn stated_size<T: SizedStruct>(given: *const T) -> Result<usize> {
    // SAFETY: the caller's promise.
    let size = unsafe { given.cast::<usize>().read_unaligned() };
    if (T::FIRST_BYTES..=STRUCT_BYTES_MAX).contains(&size) {
        return Ok(size);
    }
    Err(Error::invalid(format_args!(
        "{}.struct_size is {size}; set the struct to zero and struct_size to sizeof({})",
        T::NAME,
        T::NAME
    )))
}

/// An array of the caller's, or a copy of it where it was not aligned.
pub(super) enum Input<'a, T> {
    InPlace(&'a [T]),
    Copied(Vec<T>),
}

impl<T> Deref for Input<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Input::InPlace(values) => values,
            Input::Copied(values) => values,
        }
    }
}

/// An array to read. Empty ones may be NULL.
///
/// # Safety
/// `from` is NULL or valid for reads of `len` values, for as long as `'a` is used.
pub(super) unsafe fn input<'a, T: AnyBitPattern>(
    name: &str,
    from: *const T,
    len: usize,
) -> Result<Input<'a, T>> {
    if !check_array(name, from, len)? {
        return Ok(Input::InPlace(&[]));
    }
    if from.is_aligned() {
        // SAFETY: not NULL, aligned, and `len` values do not leave the address space (`check_array`).
        return Ok(Input::InPlace(unsafe { slice::from_raw_parts(from, len) }));
    }
    let mut copy = Vec::<T>::new();
    if copy.try_reserve_exact(len).is_err() {
        return Err(Error::out_of_memory(
            format_args!("a copy of {name}, which is not aligned,"),
            bytes_of::<T>(len),
        ));
    }
    // SAFETY: there is room for `len` values, all bytes of which are copied, and any bytes are a `T`.
    // Test: `arrays_at_odd_addresses_are_read`.
    unsafe {
        from.cast::<u8>().copy_to_nonoverlapping(copy.as_mut_ptr().cast(), len * size_of::<T>());
        copy.set_len(len);
    }
    Ok(Input::Copied(copy))
}

/// A handle for C, which is freed as the box of its value.
pub(super) fn boxed<T>(value: T) -> Result<*mut T> {
    let mut place = Vec::new();
    if place.try_reserve_exact(1).is_err() {
        return Err(Error::out_of_memory("a handle", size_of::<T>() as u64));
    }
    place.push(value);
    // A box of one has the layout of its element.
    Ok(Box::into_raw(place.into_boxed_slice()).cast())
}

/// An array to fill, set to `blank`.
///
/// # Safety
/// `to` is NULL or valid for writes of `len` values, for as long as `'a` is used, and nothing else is there.
pub(super) unsafe fn output<'a, T: AnyBitPattern>(
    name: &str,
    to: *mut T,
    len: usize,
    blank: T,
) -> Result<&'a mut [T]> {
    if !check_array(name, to, len)? {
        return Ok(&mut []);
    }
    if !to.is_aligned() {
        return Err(Error::invalid(format_args!("{name} is not aligned; pass an array of its type")));
    }
    // SAFETY: not NULL, aligned, inside the address space (`check_array`), and written before it is referred
    // to.
    unsafe {
        for index in 0..len {
            to.add(index).write(blank);
        }
        Ok(slice::from_raw_parts_mut(to, len))
    }
}

/// As [`output`]; NULL is `None`.
///
/// # Safety
/// As [`output`].
pub(super) unsafe fn optional_output<'a, T: AnyBitPattern>(
    name: &str,
    to: *mut T,
    len: usize,
    blank: T,
) -> Result<Option<&'a mut [T]>> {
    if to.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    unsafe { output(name, to, len, blank) }.map(Some)
}

/// Writes one value, unless there is no place for it.
///
/// # Safety
/// `to` is NULL or valid for a write.
pub(super) unsafe fn put<T>(to: *mut T, value: T) {
    if !to.is_null() {
        // SAFETY: the caller's promise; aligned or not.
        unsafe { to.write_unaligned(value) };
    }
}

/// A place for a handle, set to NULL.
///
/// # Safety
/// `to` is NULL or valid for writes.
pub(super) unsafe fn handle_output<T>(name: &str, to: *mut *mut T) -> Result<()> {
    if to.is_null() {
        return Err(null(name));
    }
    // SAFETY: the caller's promise.
    unsafe { put(to, std::ptr::null_mut()) };
    Ok(())
}

/// A path: bytes as the system takes them.
///
/// # Safety
/// `from` is NULL or a NUL-terminated string, for as long as `'a` is used.
pub(super) unsafe fn path<'a>(name: &str, from: *const c_char) -> Result<&'a Path> {
    if from.is_null() {
        return Err(null(name));
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { CStr::from_ptr(from) }.to_bytes();
    if bytes.is_empty() {
        return Err(Error::invalid(format_args!("{name} is empty; pass the name of a directory or file")));
    }
    Ok(Path::new(OsStr::from_bytes(bytes)))
}

/// `a * b` values in an array of the caller's.
pub(super) fn product(name: &str, a: usize, b: usize) -> Result<usize> {
    a.checked_mul(b).filter(|values| *values as u64 <= VALUES_MAX).ok_or_else(|| {
        Error::invalid(format_args!(
            "{name} would have {a} x {b} values, more than an address space holds; check the lengths"
        ))
    })
}

/// The error for a NULL that has no meaning.
pub(super) fn null(name: &str) -> Error {
    Error::invalid(format_args!("{name} is NULL; pass a valid pointer (vdb.h says where NULL is legal)"))
}

/// Whether there is anything in an array; fails if it cannot be one.
fn check_array<T>(name: &str, at: *const T, len: usize) -> Result<bool> {
    if len == 0 {
        return Ok(false);
    }
    if at.is_null() {
        return Err(null(name));
    }
    let end = len.checked_mul(size_of::<T>()).filter(|bytes| isize::try_from(*bytes).is_ok());
    if end.and_then(|bytes| at.addr().checked_add(bytes)).is_none() {
        return Err(Error::invalid(format_args!(
            "{name} would have {len} values, more than an address space holds; check the lengths"
        )));
    }
    Ok(true)
}

fn bytes_of<T>(len: usize) -> u64 {
    (len as u64).saturating_mul(size_of::<T>() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr::null;

    #[derive(Clone, Copy, Debug, PartialEq)]
    #[repr(C)]
    struct Grown {
        struct_size: usize,
        first: u64,
        later: u64,
    }

    // SAFETY: three words.
    unsafe impl SizedStruct for Grown {
        const NAME: &'static str = "grown_t";
        const FIRST_BYTES: usize = 16;
    }

    fn read_words(words: &[u64; 8]) -> Result<Grown> {
        // SAFETY: sizes above 64 bytes are refused before more than the first word is read, or are not used
        // here.
        unsafe { read(words.as_ptr().cast::<Grown>()) }
    }

    #[test]
    fn a_struct_of_any_size_is_read_or_refused() {
        let status = |words: [u64; 8]| read_words(&words).map_err(|error| error.status());
        assert_eq!(status([16, 7, 9, 9, 9, 9, 9, 9]), Ok(Grown { struct_size: 16, first: 7, later: 0 }));
        assert_eq!(status([24, 7, 9, 9, 9, 9, 9, 9]), Ok(Grown { struct_size: 24, first: 7, later: 9 }));
        assert_eq!(status([48, 7, 9, 0, 0, 0, 9, 9]), Ok(Grown { struct_size: 48, first: 7, later: 9 }));
        assert_eq!(status([48, 7, 9, 0, 0, 1, 0, 0]), Err(Status::Unsupported));
        // Sizes that end inside of a field, or in no field.
        assert_eq!(status([17, 7, 0, 9, 9, 9, 9, 9]), Ok(Grown { struct_size: 17, first: 7, later: 0 }));
        assert_eq!(status([23, 7, 9, 0, 0, 0, 0, 0]), Err(Status::Unsupported));
        assert_eq!(status([25, 7, 9, 0, 9, 9, 9, 9]), Ok(Grown { struct_size: 25, first: 7, later: 9 }));
        assert_eq!(status([25, 7, 9, 1, 0, 0, 0, 0]), Err(Status::Unsupported));
        for size in [0, 1, 8, 15, 65_537, 1_000_000, u64::MAX] {
            assert_eq!(status([size, 7, 9, 0, 0, 0, 0, 0]), Err(Status::InvalidArgument), "{size}");
        }
        // SAFETY: NULL is what the contract names.
        let absent = unsafe { read::<Grown>(null()) }.unwrap();
        assert_eq!(absent, Grown { struct_size: 0, first: 0, later: 0 });
    }

    #[test]
    fn outputs_are_written_up_to_the_callers_size_and_no_further() {
        let value = Grown { struct_size: 24, first: 5, later: 6 };
        let sizes =
            [(16, [16, 5, 1, 1, 1]), (24, [24, 5, 6, 1, 1]), (25, [25, 5, 6, 0, 1]), (32, [32, 5, 6, 0, 1])];
        for (size, expected) in sizes {
            let mut words = [size, 1, 1, 1, 1_u64];
            // SAFETY: at most four of the five words are stated.
            let output = unsafe { Output::new("out", words.as_mut_ptr().cast::<Grown>()) }.unwrap();
            output.put(&value);
            assert_eq!(words, expected);
        }
    }

    #[test]
    fn arrays_at_odd_addresses_are_read() {
        let mut bytes = [0u8; 4 * 3 + 4];
        for shift in 0..4 {
            for (index, value) in [1.5f32, -2.0, 3.25].into_iter().enumerate() {
                bytes[shift + 4 * index..][..4].copy_from_slice(&value.to_ne_bytes());
            }
            // SAFETY: three floats fit behind `shift`.
            let read = unsafe { input("query", bytes.as_ptr().add(shift).cast::<f32>(), 3) }.unwrap();
            assert_eq!(*read, [1.5, -2.0, 3.25]);
        }
    }

    #[test]
    fn lengths_beyond_the_address_space_are_refused() {
        let value = 1u64;
        for len in [1 << 60, 1 << 61, 1 << 63, usize::MAX] {
            // SAFETY: refused before anything is read.
            let error = unsafe { input("ids", &value, len) }.map(|_| ()).unwrap_err();
            assert_eq!(error.status(), Status::InvalidArgument, "{len}");
            assert!(product("ids", len, 16).is_err());
        }
        // SAFETY: NULL is what the contract names.
        let missing = unsafe { output("ids", std::ptr::null_mut::<u64>(), 1, 0) }.map(|_| ()).unwrap_err();
        assert!(missing.message().contains("ids is NULL"));
    }
}
