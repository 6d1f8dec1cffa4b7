//! Statuses and error objects: why a call failed, for programs and for people.

use std::borrow::Cow;
use std::ffi::{c_char, CStr, CString};
use std::sync::atomic::{AtomicU64, Ordering};

use super::arg;
use super::guard::quiet;
use crate::memory::try_with_capacity;
use crate::types::{Error, Result};

/// Result of a call: VDB_OK, or why it failed. Values are never reused, and new ones may appear.
pub type vdb_status_t = i32;

/// Done.
pub const VDB_OK: vdb_status_t = 0;
/// NULL, wrong dimension, NaN, k = 0, a size out of range.
pub const VDB_INVALID_ARGUMENT: vdb_status_t = 1;
/// No such file, id, node or segment.
pub const VDB_NOT_FOUND: vdb_status_t = 2;
/// A build onto an index that is there.
pub const VDB_EXISTS: vdb_status_t = 3;
/// Bytes on disk are not what was written; the message says where.
pub const VDB_CORRUPT: vdb_status_t = 4;
/// Not an index, or written by a newer version.
pub const VDB_FORMAT: vdb_status_t = 5;
/// The system failed a read, write or sync: VDB_DETAIL_OS_CODE.
pub const VDB_IO: vdb_status_t = 6;
/// No space, or over quota; nothing half-written can be seen.
pub const VDB_DISK_FULL: vdb_status_t = 7;
/// Allocation failed, or the limit is too low: VDB_DETAIL_NEEDED_BYTES.
pub const VDB_OUT_OF_MEMORY: vdb_status_t = 8;
/// The cancel token was set, or the progress callback said stop.
pub const VDB_CANCELLED: vdb_status_t = 9;
/// timeout_ns passed.
pub const VDB_TIMEOUT: vdb_status_t = 10;
/// Another process is writing; never waited for.
pub const VDB_BUSY: vdb_status_t = 11;
/// A write to what was opened for reading.
pub const VDB_READ_ONLY: vdb_status_t = 12;
/// Legal, but not for this index, library or machine.
pub const VDB_UNSUPPORTED: vdb_status_t = 13;
/// The handle was opened before a fork, by the parent.
pub const VDB_FORKED: vdb_status_t = 14;
/// Called from within a callback.
pub const VDB_MISUSE: vdb_status_t = 15;
/// A defect of the library, caught; the handle can still be freed.
pub const VDB_INTERNAL: vdb_status_t = 16;

/// Names a status, as "VDB_CORRUPT".
///
/// Returns a string that stays valid; "VDB_UNKNOWN" for a value that this library does not have. Any thread.
#[no_mangle]
pub extern "C" fn vdb_status_name(status: vdb_status_t) -> *const c_char {
    name(status).as_ptr()
}

/// Why a call failed. Never changes; any thread may read it; the caller frees it.
pub struct vdb_error_t {
    magic: AtomicU64,
    status: vdb_status_t,
    /// Ends in NUL.
    message: Cow<'static, [u8]>,
    os_code: Option<i64>,
    row: Option<i64>,
    needed_bytes: Option<i64>,
    offset: Option<i64>,
}

/// What a live error says in its first word.
const MAGIC: u64 = u64::from_le_bytes(*b"vdberror");

/// Which number vdb_error_detail is to return. VDB_DETAIL_...
pub type vdb_detail_t = u32;

/// errno of the system call that failed.
pub const VDB_DETAIL_OS_CODE: vdb_detail_t = 1;
/// Row of the input that is at fault, from 0.
pub const VDB_DETAIL_ROW: vdb_detail_t = 2;
/// The least memory or disk that would have done.
pub const VDB_DETAIL_NEEDED_BYTES: vdb_detail_t = 3;
/// Where the damage begins in the file that the message names.
pub const VDB_DETAIL_OFFSET: vdb_detail_t = 4;

/// Says in a sentence, in UTF-8, what went wrong and what to do about it.
///
/// Returns a string that is valid until the error is freed; "" for NULL. Any thread.
///
/// ```c
/// if (vdb_open(path, NULL, &db, &error) != VDB_OK) {
///     fprintf(stderr, "%s\n", vdb_error_message(error));
///     vdb_error_free(error);
/// }
/// ```
#[no_mangle]
pub unsafe extern "C" fn vdb_error_message(error: *const vdb_error_t) -> *const c_char {
    // SAFETY: the caller's, by the rules of the header: NULL or an error that was not freed.
    unsafe { live(error) }.map_or(c"".as_ptr(), |error| error.message.as_ptr().cast())
}

/// Returns the status that the call returned; VDB_OK for NULL. Any thread.
#[no_mangle]
pub unsafe extern "C" fn vdb_error_status(error: *const vdb_error_t) -> vdb_status_t {
    // SAFETY: as in `vdb_error_message`.
    unsafe { live(error) }.map_or(VDB_OK, |error| error.status)
}

/// Returns a number that belongs to the error, VDB_DETAIL_..., or -1 if it has none of that kind. Any thread.
#[no_mangle]
pub unsafe extern "C" fn vdb_error_detail(error: *const vdb_error_t, detail: vdb_detail_t) -> i64 {
    // SAFETY: as in `vdb_error_message`.
    let number = unsafe { live(error) }.and_then(|error| match detail {
        VDB_DETAIL_OS_CODE => error.os_code,
        VDB_DETAIL_ROW => error.row,
        VDB_DETAIL_NEEDED_BYTES => error.needed_bytes,
        VDB_DETAIL_OFFSET => error.offset,
        _ => None,
    });
    number.unwrap_or(-1)
}

/// Frees an error. NULL is a no-op.
#[no_mangle]
pub unsafe extern "C" fn vdb_error_free(error: *mut vdb_error_t) {
    quiet((), || {
        // SAFETY: as in `vdb_error_message`; every live error was boxed by `report`.
        unsafe {
            if let Some(live) = live(error).filter(|live| !std::ptr::eq(*live, &raw const NO_MEMORY)) {
                live.magic.store(0, Ordering::Relaxed);
                drop(Box::from_raw(error));
            }
        }
    });
}

/// Hands a result to C: sets `*error` to NULL or to a new object, and returns the status.
///
/// # Safety
/// `error` is NULL or may be written.
pub(super) unsafe fn report(error: *mut *mut vdb_error_t, result: Result<()>) -> vdb_status_t {
    let (status, object) = match result {
        Ok(()) => (VDB_OK, std::ptr::null_mut()),
        Err(cause) if error.is_null() => (cause.status() as vdb_status_t, std::ptr::null_mut()),
        Err(cause) => object(&cause),
    };
    // SAFETY: the caller's promise.
    unsafe { arg::put(error, object) };
    status
}

/// What stands for every error that there was no memory for: nobody frees it.
static NO_MEMORY: vdb_error_t = vdb_error_t {
    magic: AtomicU64::new(MAGIC),
    status: VDB_OUT_OF_MEMORY,
    message: Cow::Borrowed(b"memory is out, even for a sentence that says what failed; free some\0"),
    os_code: None,
    row: None,
    needed_bytes: None,
    offset: None,
};

/// The status and an object for C.
fn object(cause: &Error) -> (vdb_status_t, *mut vdb_error_t) {
    let made =
        bytes_of(cause.message()).and_then(|message| arg::boxed(vdb_error_t::new(cause, message)).ok());
    match made {
        Some(object) => (cause.status() as vdb_status_t, object),
        // Only read, as all of them are until they are freed, which this one never is.
        None => (NO_MEMORY.status, (&raw const NO_MEMORY).cast_mut()),
    }
}

/// The bytes of a message, ending in NUL; `None` without memory. One inside would hide the rest.
fn bytes_of(message: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(message.len() + 1).ok()?;
    bytes.extend(message.bytes().map(|byte| if byte == 0 { b'?' } else { byte }));
    bytes.push(0);
    Some(bytes)
}

impl vdb_error_t {
    fn new(cause: &Error, message: Vec<u8>) -> Self {
        let number = |value: Option<u64>| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX));
        vdb_error_t {
            magic: AtomicU64::new(MAGIC),
            status: cause.status() as vdb_status_t,
            message: Cow::Owned(message),
            os_code: cause.os_code().map(i64::from),
            row: number(cause.row()),
            needed_bytes: number(cause.needed_bytes()),
            offset: number(cause.offset()),
        }
    }
}

/// A string for C; `None` without memory for it. A NUL inside, which only hostile file contents could bring, would hide
/// the rest.
pub(super) fn text(message: &str) -> Option<CString> {
    let mut bytes = try_with_capacity(message.len() + 1).ok()?;
    bytes.extend(message.bytes().map(|byte| if byte == 0 { b'?' } else { byte }));
    bytes.push(0);
    CString::from_vec_with_nul(bytes).ok()
}

/// The error behind a pointer, unless it is NULL or is seen to have been freed.
///
/// # Safety
/// `error` is NULL or points to an error; for one that was freed there is no promise, only this attempt.
unsafe fn live<'a>(error: *const vdb_error_t) -> Option<&'a vdb_error_t> {
    if error.is_null() || !error.is_aligned() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { &*error }).filter(|error| error.magic.load(Ordering::Relaxed) == MAGIC)
}

fn name(status: vdb_status_t) -> &'static CStr {
    match status {
        VDB_OK => c"VDB_OK",
        VDB_INVALID_ARGUMENT => c"VDB_INVALID_ARGUMENT",
        VDB_NOT_FOUND => c"VDB_NOT_FOUND",
        VDB_EXISTS => c"VDB_EXISTS",
        VDB_CORRUPT => c"VDB_CORRUPT",
        VDB_FORMAT => c"VDB_FORMAT",
        VDB_IO => c"VDB_IO",
        VDB_DISK_FULL => c"VDB_DISK_FULL",
        VDB_OUT_OF_MEMORY => c"VDB_OUT_OF_MEMORY",
        VDB_CANCELLED => c"VDB_CANCELLED",
        VDB_TIMEOUT => c"VDB_TIMEOUT",
        VDB_BUSY => c"VDB_BUSY",
        VDB_READ_ONLY => c"VDB_READ_ONLY",
        VDB_UNSUPPORTED => c"VDB_UNSUPPORTED",
        VDB_FORKED => c"VDB_FORKED",
        VDB_MISUSE => c"VDB_MISUSE",
        VDB_INTERNAL => c"VDB_INTERNAL",
        _ => c"VDB_UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Status;
    use std::ptr::null_mut;

    #[test]
    fn every_status_of_the_engine_has_the_number_and_name_of_c() {
        let all = [
            (Status::Ok, VDB_OK),
            (Status::InvalidArgument, VDB_INVALID_ARGUMENT),
            (Status::NotFound, VDB_NOT_FOUND),
            (Status::Exists, VDB_EXISTS),
            (Status::Corrupt, VDB_CORRUPT),
            (Status::Format, VDB_FORMAT),
            (Status::Io, VDB_IO),
            (Status::DiskFull, VDB_DISK_FULL),
            (Status::OutOfMemory, VDB_OUT_OF_MEMORY),
            (Status::Cancelled, VDB_CANCELLED),
            (Status::Timeout, VDB_TIMEOUT),
            (Status::Busy, VDB_BUSY),
            (Status::ReadOnly, VDB_READ_ONLY),
            (Status::Unsupported, VDB_UNSUPPORTED),
            (Status::Forked, VDB_FORKED),
            (Status::Misuse, VDB_MISUSE),
            (Status::Internal, VDB_INTERNAL),
        ];
        for (place, (engine, c)) in all.into_iter().enumerate() {
            assert_eq!((engine as i32, c), (place as i32, place as i32));
            let camel: String = name(c).to_str().unwrap().replace("VDB_", "").replace('_', "");
            assert_eq!(camel.to_lowercase(), format!("{engine:?}").to_lowercase());
        }
        assert_eq!(name(all.len() as i32), c"VDB_UNKNOWN");
        assert_eq!(name(-1), c"VDB_UNKNOWN");
    }

    #[test]
    fn an_error_carries_its_sentence_and_its_numbers() {
        let cause =
            Error::new(Status::Corrupt, "a\0b").with_row(3).with_offset(u64::MAX).with_needed_bytes(5);
        let mut error = null_mut();
        // SAFETY: `error` is a live local until it is freed.
        unsafe {
            assert_eq!(report(&mut error, Err(cause)), VDB_CORRUPT);
            assert_eq!(CStr::from_ptr(vdb_error_message(error)), c"a?b");
            let details = [1, 2, 3, 4, 5].map(|detail| vdb_error_detail(error, detail));
            assert_eq!(details, [-1, 3, 5, i64::MAX, -1]);
            vdb_error_free(error);
        }
    }

    #[test]
    fn null_is_an_error_that_says_nothing() {
        // SAFETY: NULL is legal everywhere here.
        unsafe {
            assert_eq!(CStr::from_ptr(vdb_error_message(null_mut())), c"");
            assert_eq!(vdb_error_status(null_mut()), VDB_OK);
            assert_eq!(vdb_error_detail(null_mut(), VDB_DETAIL_ROW), -1);
            vdb_error_free(null_mut());
        }
    }
}
