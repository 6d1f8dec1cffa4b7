//! A range of a file as read-only memory.
//!
//! The length is fixed when it is mapped and was within the file then. If another program makes the file
//! shorter afterwards, touching a page beyond its end raises SIGBUS, which no library can turn into an
//! error; so mapping is for those who own their files, and reading is always possible instead.
//! Calls `mmap` and `madvise` through memmap2.
#![allow(unsafe_code, clippy::disallowed_types)]

use super::Advice;
use std::fs::File;
use std::io;
use std::ops::Deref;

/// Read-only memory that shows a range of a file.
#[derive(Debug)]
pub struct Mapping {
    map: memmap2::Mmap,
}

impl Mapping {
    /// Maps `len` bytes at `offset`, which must lie within the file.
    pub(super) fn new(file: &File, offset: u64, len: u64) -> io::Result<Self> {
        let end = offset.checked_add(len);
        if end.is_none_or(|end| end > file.metadata().map_or(0, |m| m.len())) {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the range to map ends beyond the file",
            ));
        }
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        // SAFETY: the range lies within the file (checked above), the mapping is read-only, and files
        // of an index are never written again once they may be mapped. What other programs do to them
        // is outside any program's power; the module's doc and the README say so.
        // Test: `a_mapping_shows_the_file_and_never_beyond_it`.
        let map = unsafe { memmap2::MmapOptions::new().offset(offset).len(len).map(file)? };
        let mapping = Mapping { map };
        mapping.advise(Advice::Random, 0, len);
        Ok(mapping)
    }

    /// Hint about coming accesses to a range of the mapping. Ranges beyond its end are cut.
    pub fn advise(&self, advice: Advice, offset: usize, len: usize) {
        let offset = offset.min(self.map.len());
        let len = len.min(self.map.len() - offset);
        if len == 0 {
            return;
        }
        // A refused hint costs speed only.
        let _ = match advice {
            Advice::Random => self.map.advise_range(memmap2::Advice::Random, offset, len),
            Advice::Sequential => self.map.advise_range(memmap2::Advice::Sequential, offset, len),
            Advice::WillNeed => self.map.advise_range(memmap2::Advice::WillNeed, offset, len),
            // SAFETY: the mapping is read-only and of a file, so a page that is dropped comes back with
            // the same bytes. Test: `a_mapping_shows_the_file_and_never_beyond_it`.
            Advice::DontNeed => unsafe {
                self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, len)
            },
        };
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}
