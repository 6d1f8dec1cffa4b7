//! The only door to the disk: one directory, its files, and what can go wrong with them.
//!
//! A [`Vfs`] stands for one index directory and holds it open; a [`VfsFile`] for one open file. Files
//! are named by [`FileName`], which is made of numbers, so that no path read from a file ever reaches
//! the system. All I/O of the library goes through these traits: the real disk ([`os`]), memory
//! ([`mem`]), a disk whose n-th call fails ([`faulty`]), and one that loses power ([`power`]).
//!
//! Rules that every caller may rely on: reads and writes name their offset and share no cursor, so a
//! file may be used from any number of threads; a short transfer and a signal are never seen by callers
//! of the `_exact` and `_all` forms; [`VfsFile::sync_data`] and [`Vfs::sync_dir`] are the only calls
//! that make anything durable, and neither is ever repeated after it failed; no name and no content
//! depends on time or process.
//!
//! Errors are `io::Error` here: only the caller knows what it was doing, and says so. The exceptions are
//! the three calls that take a user's path, [`os::OsVfs::open_dir`], [`os::OsVfs::create_dir`] and
//! [`open_outside`]. Calls the system; knows nothing of what the files mean.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this is what others call instead")]

#[doc(hidden)]
pub mod faulty;
mod mapping;
pub mod mem;
mod name;
pub mod os;
#[doc(hidden)]
pub mod power;
#[cfg(test)]
mod tests;

pub use mapping::Mapping;
pub use mem::MemVfs;
pub use name::FileName;
pub use os::{open_outside, OsVfs};

use crate::memory::try_box;
use crate::types::Error;
use std::any::Any;
use std::io;
use std::sync::Arc;

/// Most entries that [`Vfs::list`] reads before it calls the directory foreign.
pub const LIST_ENTRIES_MAX: usize = 65_536;

/// One directory.
pub trait Vfs: Send + Sync {
    /// Opens a file to read. Anything but a regular file is refused, links included.
    fn open_read(&self, name: FileName) -> io::Result<Arc<dyn VfsFile>>;

    /// Makes a file that was not there, to write and to read. `AlreadyExists` if it was.
    fn create_new(&self, name: FileName) -> io::Result<Arc<dyn VfsFile>>;

    /// Gives a file another name and replaces what had that name, in one step. Durable after
    /// [`sync_dir`](Self::sync_dir).
    fn rename(&self, from: FileName, to: FileName) -> io::Result<()>;

    /// Removes a name. Who has the file open keeps it.
    fn remove(&self, name: FileName) -> io::Result<()>;

    /// What the directory holds. More than [`LIST_ENTRIES_MAX`] entries are an error.
    fn list(&self) -> io::Result<Listing>;

    /// Makes creations, renames and removals durable. Never repeated after a failure.
    fn sync_dir(&self) -> io::Result<()>;

    /// Takes the writer's lock, or says at once (`None`) that it is taken, by this process or another.
    fn lock(&self) -> io::Result<Option<LockGuard>>;

    /// Bytes that this process may still write to the file system.
    fn free_bytes(&self) -> io::Result<u64>;

    /// How messages name the directory.
    fn display(&self) -> &str;

    /// How messages name a file of it.
    fn display_file(&self, name: FileName) -> FilePath<'_> {
        FilePath { directory: self.display(), name }
    }
}

/// One open file. Offsets are explicit, so any number of threads may use it.
#[allow(clippy::len_without_is_empty)]
pub trait VfsFile: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Reads up to `buffer.len()` bytes at `offset`; fewer is no error, 0 is the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes up to `bytes.len()` bytes at `offset`; fewer is no error.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes content and length durable. Never repeated after a failure: the system reports a lost
    /// write once, and calls the next sync a success.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes the file at least `len` bytes long, and takes the space now, so that a full disk shows
    /// before the work. New bytes are zero. Where a file system cannot reserve, only the length grows.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Hint: the system may begin to write this range. Promises nothing, above all no durability.
    fn start_writeback(&self, _offset: u64, _len: u64) {}

    /// Hint about coming accesses; `len` 0 is up to the end.
    fn advise(&self, _advice: Advice, _offset: u64, _len: u64) {}

    /// Maps a range read-only. `None` where there is nothing to map; then the range is read instead.
    fn map(&self, offset: u64, len: u64) -> io::Result<Option<Mapping>>;

    /// Fills `buffer` from `offset` on. `UnexpectedEof` if the file ends before.
    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, offset) {
                Ok(0) => {
                    let message =
                        format!("the file ends before byte {}", offset.saturating_add(buffer.len() as u64));
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
                }
                Ok(read) => {
                    buffer = buffer.get_mut(read..).unwrap_or_default();
                    offset = offset.saturating_add(read as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of `bytes` at `offset`.
    fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = bytes.get(written..).unwrap_or_default();
                    offset = offset.saturating_add(written as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A file as messages name it.
#[derive(Clone, Copy, Debug)]
pub struct FilePath<'a> {
    directory: &'a str,
    name: FileName,
}

impl std::fmt::Display for FilePath<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.directory, self.name)
    }
}

/// What a directory holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The files with names of ours, in order.
    pub ours: Vec<FileName>,
    /// Number of all other entries.
    pub foreign: usize,
}

/// Memory that was refused, as a failure of the disk: callers say what they were doing.
fn refused(_: Error) -> io::Error {
    io::ErrorKind::OutOfMemory.into()
}

/// How a range of a file will be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Here and there: reading ahead is a waste.
    Random,
    /// From front to back.
    Sequential,
    /// Soon: reading may begin.
    WillNeed,
    /// Not again soon: cached pages may go.
    DontNeed,
}

/// The writer's lock. Dropping it gives the lock back, and so does the end of the process.
pub struct LockGuard {
    _held: Box<dyn Any + Send + Sync>,
}

impl LockGuard {
    /// A guard that drops `held` when it is dropped; at once, if there is no memory for the guard.
    pub(crate) fn new(held: impl Any + Send + Sync) -> io::Result<Self> {
        Ok(LockGuard { _held: try_box(held).map_err(refused)? })
    }
}

impl std::fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LockGuard")
    }
}
