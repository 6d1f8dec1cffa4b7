//! One error type for the library: a status for control flow, a sentence for people.
//!
//! A message names the file and the part, the fact, the consequence and the next step, as far as they
//! are known. `Error` is one pointer wide, so that `Result<()>` stays in a register.

use std::fmt;
use std::io;

/// Result of a call, as the C API returns it. Values are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// NULL, wrong dimension, NaN, k = 0, a size out of range.
    InvalidArgument = 1,
    /// No such file, id, node or segment.
    NotFound = 2,
    /// A build onto an index that is there.
    Exists = 3,
    /// Bytes on disk are not what was written.
    Corrupt = 4,
    /// Not an index, or written by a newer version.
    Format = 5,
    /// The system failed a read, write or sync.
    Io = 6,
    /// No space, or over quota.
    DiskFull = 7,
    /// Allocation failed, or the memory limit is too low.
    OutOfMemory = 8,
    /// The cancel token was set, or a progress callback said stop.
    Cancelled = 9,
    /// The time limit passed.
    Timeout = 10,
    /// Another process holds the writer's lock.
    Busy = 11,
    /// Write to a handle that was opened for reading.
    ReadOnly = 12,
    /// Legal, but not for this index, build or platform.
    Unsupported = 13,
    /// The handle was opened before a fork, in the parent.
    Forked = 14,
    /// Call from within a callback.
    Misuse = 15,
    /// A defect in the library, caught.
    Internal = 16,
}

/// What every fallible function of the library returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed.
pub struct Error(Box<Inner>);

struct Inner {
    status: Status,
    message: String,
    os_code: Option<i32>,
    row: Option<u64>,
    needed_bytes: Option<u64>,
    offset: Option<u64>,
}

impl Error {
    /// An error with a sentence that says what went wrong and what to do.
    pub fn new(status: Status, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            status,
            message: message.into(),
            os_code: None,
            row: None,
            needed_bytes: None,
            offset: None,
        }))
    }

    /// [`Status::InvalidArgument`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Status::InvalidArgument, message)
    }

    /// [`Status::Corrupt`].
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(Status::Corrupt, message)
    }

    /// [`Status::OutOfMemory`], with the bytes that would have done.
    pub fn out_of_memory(what: &str, needed_bytes: u64) -> Self {
        let mut error = Self::new(
            Status::OutOfMemory,
            format!(
                "{what} needs {needed_bytes} bytes of memory, more than can be had; raise the memory limit or \
                 free memory"
            ),
        );
        error.0.needed_bytes = Some(needed_bytes);
        error
    }

    /// A failed system call: `context` says what was tried on which file.
    pub fn io(context: impl fmt::Display, source: &io::Error) -> Self {
        let status = match source.kind() {
            io::ErrorKind::NotFound => Status::NotFound,
            io::ErrorKind::AlreadyExists => Status::Exists,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Status::DiskFull
            }
            io::ErrorKind::OutOfMemory => Status::OutOfMemory,
            io::ErrorKind::UnexpectedEof => Status::Corrupt,
            _ => Status::Io,
        };
        let mut error = Self::new(status, format!("{context}: {source}"));
        error.0.os_code = source.raw_os_error();
        error
    }

    /// Adds the 0-based row of the input that is at fault.
    pub fn with_row(mut self, row: u64) -> Self {
        self.0.row = Some(row);
        self
    }

    /// Adds the least memory or disk that would have done.
    pub fn with_needed_bytes(mut self, bytes: u64) -> Self {
        self.0.needed_bytes = Some(bytes);
        self
    }

    /// Adds the byte offset of the damage in the file that the message names.
    pub fn with_offset(mut self, offset: u64) -> Self {
        self.0.offset = Some(offset);
        self
    }

    /// Puts `context` before the sentence: "context: sentence".
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.0.message = format!("{context}: {}", self.0.message);
        self
    }

    /// Replaces the status, keeps the sentence.
    pub fn with_status(mut self, status: Status) -> Self {
        self.0.status = status;
        self
    }

    /// What the C API returns.
    pub fn status(&self) -> Status {
        self.0.status
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// `errno` of the system call that failed.
    pub fn os_code(&self) -> Option<i32> {
        self.0.os_code
    }

    /// 0-based row of the input that is at fault.
    pub fn row(&self) -> Option<u64> {
        self.0.row
    }

    /// The least memory or disk that would have done.
    pub fn needed_bytes(&self) -> Option<u64> {
        self.0.needed_bytes
    }

    /// Byte offset of the damage in the file that the message names.
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.status, self.0.message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_pointer() {
        assert_eq!(std::mem::size_of::<Error>(), std::mem::size_of::<usize>());
        assert_eq!(std::mem::size_of::<Result<()>>(), std::mem::size_of::<usize>());
    }

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let full = Error::io("write x", &io::Error::from_raw_os_error(libc::ENOSPC));
        assert_eq!((full.status(), full.os_code()), (Status::DiskFull, Some(libc::ENOSPC)));
        assert_eq!(Error::io("read x", &io::Error::from_raw_os_error(libc::EIO)).status(), Status::Io);
    }
}
