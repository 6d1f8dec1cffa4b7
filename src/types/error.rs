//! One error type for the library: a status for control flow, a sentence for people.
//!
//! A message names the file and the part, the fact, the consequence and the next step, as far as they
//! are known. `Error` is one pointer wide, so that `Result<()>` stays in registers.
//!
//! Where memory is out there is none for an error either: then it is one that was there before, and says so.

use std::borrow::Cow;
use std::fmt::{self, Write};
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
pub struct Error(
    /// An array, since it is what a list of one becomes, which may be refused its memory. `None`: it was.
    Option<Box<[Inner; 1]>>,
);

struct Inner {
    status: Status,
    message: Cow<'static, str>,
    os_code: Option<i32>,
    row: Option<u64>,
    needed_bytes: Option<u64>,
    offset: Option<u64>,
}

impl Error {
    /// An error with a sentence that says what went wrong and what to do.
    pub fn new(status: Status, message: impl Words) -> Self {
        let message = message.words();
        let mut place = Vec::new();
        if place.try_reserve_exact(1).is_err() {
            return Error(None);
        }
        place.push(Inner { status, message, os_code: None, row: None, needed_bytes: None, offset: None });
        Error(place.into_boxed_slice().try_into().ok())
    }

    fn inner(&self) -> &Inner {
        static NO_MEMORY: Inner = Inner {
            status: Status::OutOfMemory,
            message: Cow::Borrowed("memory is out, even for a sentence that says what wanted it; free some"),
            os_code: None,
            row: None,
            needed_bytes: None,
            offset: None,
        };
        self.0.as_ref().map_or(&NO_MEMORY, |inner| &inner[0])
    }

    fn change(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        if let Some(inner) = &mut self.0 {
            change(&mut inner[0]);
        }
        self
    }

    /// [`Status::InvalidArgument`].
    pub fn invalid(message: impl Words) -> Self {
        Self::new(Status::InvalidArgument, message)
    }

    /// [`Status::Corrupt`].
    pub fn corrupt(message: impl Words) -> Self {
        Self::new(Status::Corrupt, message)
    }

    /// [`Status::OutOfMemory`], with the bytes that would have done.
    pub fn out_of_memory(what: impl fmt::Display, needed_bytes: u64) -> Self {
        let words = format_args!(
            "{what} needs {needed_bytes} bytes of memory, more than can be had; raise the memory limit or free \
             memory"
        );
        Self::new(Status::OutOfMemory, words).with_needed_bytes(needed_bytes)
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
        Self::new(status, format_args!("{context}: {source}"))
            .change(|inner| inner.os_code = source.raw_os_error())
    }

    /// Adds the 0-based row of the input that is at fault.
    pub fn with_row(self, row: u64) -> Self {
        self.change(|inner| inner.row = Some(row))
    }

    /// Adds the least memory or disk that would have done.
    pub fn with_needed_bytes(self, bytes: u64) -> Self {
        self.change(|inner| inner.needed_bytes = Some(bytes))
    }

    /// Adds the byte offset of the damage in the file that the message names.
    pub fn with_offset(self, offset: u64) -> Self {
        self.change(|inner| inner.offset = Some(offset))
    }

    /// Puts `context` before the sentence: "context: sentence".
    pub fn context(self, context: impl fmt::Display) -> Self {
        self.change(|inner| {
            if let Some(message) = sentence(format_args!("{context}: {}", inner.message)) {
                inner.message = Cow::Owned(message);
            }
        })
    }

    /// Replaces the status, keeps the sentence.
    pub fn with_status(self, status: Status) -> Self {
        self.change(|inner| inner.status = status)
    }

    /// What the C API returns.
    pub fn status(&self) -> Status {
        self.inner().status
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.inner().message
    }

    /// `errno` of the system call that failed.
    pub fn os_code(&self) -> Option<i32> {
        self.inner().os_code
    }

    /// 0-based row of the input that is at fault.
    pub fn row(&self) -> Option<u64> {
        self.inner().row
    }

    /// The least memory or disk that would have done.
    pub fn needed_bytes(&self) -> Option<u64> {
        self.inner().needed_bytes
    }

    /// Byte offset of the damage in the file that the message names.
    pub fn offset(&self) -> Option<u64> {
        self.inner().offset
    }
}

/// What may become a message.
pub trait Words {
    /// The message.
    fn words(self) -> Cow<'static, str>;
}

impl Words for &'static str {
    fn words(self) -> Cow<'static, str> {
        Cow::Borrowed(self)
    }
}

impl Words for String {
    fn words(self) -> Cow<'static, str> {
        Cow::Owned(self)
    }
}

/// Unlike `format!`, which ends the process where memory is out.
impl Words for fmt::Arguments<'_> {
    fn words(self) -> Cow<'static, str> {
        let without = "memory is out, even for a sentence that says more; free some";
        sentence(self).map_or(Cow::Borrowed(without), Cow::Owned)
    }
}

/// The text of `words`; `None` without memory for it.
pub(crate) fn sentence(words: fmt::Arguments<'_>) -> Option<String> {
    struct Text(String);
    impl fmt::Write for Text {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            self.0.try_reserve(part.len()).map_err(|_| fmt::Error)?;
            self.0.push_str(part);
            Ok(())
        }
    }
    let mut text = Text(String::new());
    text.write_fmt(words).ok().map(|()| text.0)
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.status(), self.message())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_pointer() {
        assert_eq!(std::mem::size_of::<Error>(), std::mem::size_of::<usize>());
        assert!(std::mem::size_of::<Result<()>>() <= 2 * std::mem::size_of::<usize>());
    }

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let full = Error::io("write x", &io::Error::from_raw_os_error(libc::ENOSPC));
        assert_eq!((full.status(), full.os_code()), (Status::DiskFull, Some(libc::ENOSPC)));
        assert_eq!(Error::io("read x", &io::Error::from_raw_os_error(libc::EIO)).status(), Status::Io);
    }
}
