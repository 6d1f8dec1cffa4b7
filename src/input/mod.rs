//! Where the rows of a build come from: an array of the caller's, or a vector file.
//!
//! Every source is a [`Rows`]: so many rows, of one dim and one element type, to be read by number from
//! any number of threads. A build reads them twice, once in order and once leaf by leaf, so that a file
//! may be far larger than memory; nothing here keeps rows.
//!
//! | name | content | elements |
//! |---|---|---|
//! | `.npy` | NumPy's format, versions 1 to 3, two dimensions, C order | f32, f16, u8 |
//! | `.fvecs`, `.bvecs` | each row: i32 dim, then the elements | f32, u8 |
//! | `.fbin`, `.u8bin` | u32 rows, u32 dim, then the elements row by row | f32, u8 |
//!
//! Ids of the rows come from `.u64bin` (u64 after u64, nothing else) or a one-dimensional `.npy` of u64
//! or i64. Everything is little-endian. Files are the user's and may hold anything: every length is
//! checked against the file's before it is used, and what does not fit is a sentence that names the
//! file and says what to do.
//!
//! Calls `vfs`, `memory`, `types`. Does not look at the values of elements: NaN and the like are for the
//! build to refuse.

pub mod array;
mod ids;
mod npy;
mod packed;
mod vecs;

pub use array::ArrayRows;
pub use ids::read_ids;

use crate::memory::{try_box, try_text};
use crate::types::{ElementType, Error, Result};
use crate::vfs::{open_outside, VfsFile};
use std::path::Path;
use std::sync::Arc;

/// A source of rows. Elements are handed out as they are stored, little-endian, packed row by row.
pub trait Rows: Sync {
    /// Number of rows.
    fn rows(&self) -> u64;

    /// Number of dimensions.
    fn dim(&self) -> usize;

    /// Type of the elements.
    fn element_type(&self) -> ElementType;

    /// Reads `count` rows from row `first` on. `out` has `count * row_bytes()` bytes.
    ///
    /// # Errors
    /// `InvalidArgument` if the rows or `out` are out of range; `Io`, `Corrupt` from a file.
    fn read(&self, first: u64, count: usize, out: &mut [u8]) -> Result<()>;

    /// Reads these rows, in this order, which is best ascending: neighbours are then read together.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn gather(&self, rows: &[u64], out: &mut [u8]) -> Result<()>;

    /// Whether [`announce`](Self::announce) is of any use.
    fn reads_ahead(&self) -> bool {
        false
    }

    /// Hint: these rows, best ascending, are gathered soon. A file begins to read them, all at once.
    fn announce(&self, _rows: &[u64]) {}

    /// The number by which messages name a row: of the caller's whole, if this is a part of it.
    fn number(&self, row: u64) -> u64 {
        row
    }

    /// The source as messages name it.
    fn describe(&self) -> String;

    /// Bytes of one row.
    fn row_bytes(&self) -> usize {
        self.dim() * self.element_type().bytes()
    }
}

/// Opens a vector file; the end of its name says what it is.
///
/// # Errors
/// `NotFound`, `Io`; `InvalidArgument` for an unknown name or a dim out of range, `Format` for another
/// kind of file, `Corrupt` if header and length contradict each other, `Unsupported` for an array of
/// NumPy's that is not one of rows in C order with elements we know.
pub fn open_file(path: &Path) -> Result<Box<dyn Rows + Send>> {
    let Some((_, open)) = FORMATS.iter().find(|(name, _)| ends_in(path, name)) else {
        let message = "the name does not say what the file holds; vectors are read from files that end in \
                       .npy, .fvecs, .bvecs, .fbin or .u8bin";
        return Err(Error::invalid(message).context(path.display()));
    };
    let file = open_outside(path)?;
    match open(file, try_text(format_args!("{}", path.display()))?) {
        Ok(rows) => Ok(try_box(rows)?),
        Err(error) => Err(error.context(path.display())),
    }
}

/// Makes rows of an open file, which messages call by its name.
type Open = fn(Arc<dyn VfsFile>, String) -> Result<packed::PackedRows>;

/// What names of vector files end in.
const FORMATS: [(&str, Open); 5] = [
    ("npy", npy::open),
    ("fvecs", vecs::open_fvecs),
    ("bvecs", vecs::open_bvecs),
    ("fbin", vecs::open_fbin),
    ("u8bin", vecs::open_u8bin),
];

/// Whether a file's name ends in this, in letters of any case.
fn ends_in(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|own| own.eq_ignore_ascii_case(extension))
}

/// Length of a file.
fn length(file: &dyn VfsFile) -> Result<u64> {
    file.len().map_err(|error| Error::io("cannot ask for the length", &error))
}

/// Checks the arguments of [`Rows::read`].
fn check_read(source: &dyn Rows, first: u64, count: usize, out: &[u8]) -> Result<()> {
    let end = first.checked_add(count as u64);
    if end.is_none_or(|end| end > source.rows()) {
        return Err(beyond(source, first));
    }
    check_room(source, count, out)
}

/// Checks the arguments of [`Rows::gather`].
fn check_gather(source: &dyn Rows, rows: &[u64], out: &[u8]) -> Result<()> {
    match rows.iter().find(|row| **row >= source.rows()) {
        Some(row) => Err(beyond(source, *row)),
        None => check_room(source, rows.len(), out),
    }
}

fn check_room(source: &dyn Rows, count: usize, out: &[u8]) -> Result<()> {
    if count.checked_mul(source.row_bytes()) != Some(out.len()) {
        let (row_bytes, room) = (source.row_bytes(), out.len());
        return Err(Error::invalid(format_args!(
            "{count} rows of {row_bytes} bytes do not fill {room} bytes"
        )));
    }
    Ok(())
}

fn beyond(source: &dyn Rows, row: u64) -> Error {
    Error::invalid(format_args!("row {row} is beyond the end of {}", source.describe())).with_row(row)
}

#[cfg(test)]
mod tests;
