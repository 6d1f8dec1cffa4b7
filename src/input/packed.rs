//! Rows at equal distances in a file: what every vector file is, once its header is read.
//!
//! Some formats put the dim before each row; it is checked whenever its row is read, since a file of two
//! dims would otherwise pass for rows of one, shifted.
//!
//! Reads go straight into the caller's buffer where rows are adjacent and nothing lies between them.
//! Otherwise rows that lie close together are read in one piece of at most [`SPAN_BYTES`] and copied
//! from there: reading over a gap of a page costs less than a call of the system.
//!
//! Calls `vfs`. Knows nothing of headers; its constructor checks them against the file's length.

use super::{check_gather, check_read, length, Rows};
use crate::memory::try_vec;
use crate::types::params::DIM_MAX;
use crate::types::{ElementType, Error, Result};
use crate::vfs::{Advice, VfsFile};
use std::sync::Arc;

/// Most bytes read at a time for rows that do not lie side by side; below what allocators map anew.
const SPAN_BYTES: usize = 64 << 10;

/// Bytes between two rows that are read rather than skipped.
const GAP_BYTES: u64 = 4 << 10;

/// What a header says.
pub(super) struct Layout {
    pub rows: u64,
    pub dim: u64,
    pub element_type: ElementType,
    /// Byte of the file at which the first row begins.
    pub start: u64,
    /// Whether an i32 with the dim stands before each row.
    pub dim_before_rows: bool,
}

/// The rows of a file.
pub(super) struct PackedRows {
    file: Arc<dyn VfsFile>,
    name: String,
    rows: u64,
    dim: usize,
    element_type: ElementType,
    start: u64,
    /// Bytes before the elements of each row: 0, or 4 of its dim.
    prefix: usize,
    /// From row to row.
    stride: usize,
}

impl PackedRows {
    /// The rows of `file`, if its length is what `layout` says.
    ///
    /// # Errors
    /// `InvalidArgument` for a dim out of range, `Corrupt` for another length, `Io`.
    pub fn new(file: Arc<dyn VfsFile>, name: String, layout: &Layout) -> Result<Self> {
        let Layout { rows, element_type, start, dim_before_rows, .. } = *layout;
        let dim = checked_dim(layout.dim)?;
        let prefix = if dim_before_rows { 4 } else { 0 };
        let stride = prefix + dim * element_type.bytes();
        let expected = rows.checked_mul(stride as u64).and_then(|bytes| bytes.checked_add(start));
        let length = length(&*file)?;
        match expected {
            Some(expected) if expected == length => {
                Ok(PackedRows { file, name, rows, dim, element_type, start, prefix, stride })
            }
            _ => Err(wrong_length(rows, dim, expected, length)),
        }
    }

    /// Reads the rows `first..first + count` with what stands before each, if anything does.
    fn read_raw(&self, first: u64, count: usize, raw: &mut [u8]) -> Result<()> {
        // `new` found the end of the last row to be a u64.
        let offset = self.start + first * self.stride as u64;
        self.file.read_exact_at(raw, offset).map_err(|error| {
            let last = first + (count as u64).saturating_sub(1);
            Error::io(format_args!("{}: cannot read rows {first} to {last}", self.name), &error)
                .with_row(first)
        })
    }

    /// Copies the elements of a row from what was read, and checks what stands before them.
    fn copy_row(&self, row: u64, raw: &[u8], out: &mut [u8]) -> Result<()> {
        let (prefix, elements) = raw.split_at(self.prefix);
        if let Some(dim) = prefix.first_chunk().copied().map(i32::from_le_bytes) {
            if i64::from(dim) != self.dim as i64 {
                let offset = self.start + row * self.stride as u64;
                let error = Error::corrupt(format_args!(
                    "{}: row {row} says it has dim {dim}, the first row says {}; the file is damaged or \
                     mixes dims, write it again with rows of one dim",
                    self.name, self.dim
                ));
                return Err(error.with_row(row).with_offset(offset));
            }
        }
        out.copy_from_slice(elements);
        Ok(())
    }

    /// How many of `rows`, from the first on, lie side by side.
    fn run(&self, rows: &[u64]) -> usize {
        let pairs = rows.iter().zip(rows.iter().skip(1));
        1 + pairs.take_while(|(row, next)| **next == **row + 1).count()
    }

    /// How many of `rows`, from the first on, lie close enough together to be read in one piece.
    fn span(&self, rows: &[u64]) -> usize {
        let stride = self.stride as u64;
        let pairs = rows.iter().zip(rows.iter().skip(1));
        let close = |(row, next): &(&u64, &u64)| {
            next >= row
                && (*next - *row).saturating_sub(1).saturating_mul(stride) <= GAP_BYTES
                && (*next - rows[0] + 1).saturating_mul(stride) <= SPAN_BYTES as u64
        };
        1 + pairs.take_while(close).count()
    }

    /// Reads `rows`, which lie in `first..first + count`, in one piece.
    fn read_span(
        &self,
        first: u64,
        count: usize,
        rows: impl Iterator<Item = u64>,
        scratch: &mut Vec<u8>,
        out: &mut [u8],
    ) -> Result<()> {
        let bytes = count * self.stride;
        if scratch.len() < bytes {
            *scratch = try_vec(bytes, 0)?;
        }
        let raw = &mut scratch[..bytes];
        self.read_raw(first, count, raw)?;
        for (row, out) in rows.zip(out.chunks_exact_mut(self.row_bytes())) {
            let start = (row - first) as usize * self.stride;
            self.copy_row(row, &raw[start..start + self.stride], out)?;
        }
        Ok(())
    }
}

impl Rows for PackedRows {
    fn rows(&self) -> u64 {
        self.rows
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn element_type(&self) -> ElementType {
        self.element_type
    }

    fn read(&self, first: u64, count: usize, out: &mut [u8]) -> Result<()> {
        check_read(self, first, count, out)?;
        if self.prefix == 0 {
            return self.read_raw(first, count, out);
        }
        let mut scratch = Vec::new();
        let at_a_time = (SPAN_BYTES / self.stride).max(1);
        let firsts = (first..).step_by(at_a_time);
        for (first, out) in firsts.zip(out.chunks_mut(at_a_time * self.row_bytes())) {
            let count = out.len() / self.row_bytes();
            self.read_span(first, count, first.., &mut scratch, out)?;
        }
        Ok(())
    }

    fn gather(&self, rows: &[u64], out: &mut [u8]) -> Result<()> {
        check_gather(self, rows, out)?;
        let mut scratch = Vec::new();
        let (mut rows, mut out) = (rows, out);
        while let Some(&first) = rows.first() {
            let span = self.span(rows);
            let run = if self.prefix == 0 { self.run(rows) } else { 0 };
            let direct = run >= span;
            let (now, later) = rows.split_at(if direct { run } else { span });
            let (now_out, later_out) = out.split_at_mut(now.len() * self.row_bytes());
            if direct {
                self.read_raw(first, run, now_out)?;
            } else {
                let count = (now[span - 1] - first + 1) as usize;
                self.read_span(first, count, now.iter().copied(), &mut scratch, now_out)?;
            }
            (rows, out) = (later, later_out);
        }
        Ok(())
    }

    fn reads_ahead(&self) -> bool {
        true
    }

    fn announce(&self, mut rows: &[u64]) {
        let byte_of = |row: u64| self.start.saturating_add(row.saturating_mul(self.stride as u64));
        while let [first, ..] = *rows {
            let (now, later) = rows.split_at(self.run(rows).max(self.span(rows)));
            let end = now.last().map_or(first, |last| last.saturating_add(1)).min(self.rows);
            if first < end {
                self.file.advise(Advice::WillNeed, byte_of(first), byte_of(end) - byte_of(first));
            }
            rows = later;
        }
    }

    fn describe(&self) -> String {
        format!("{}: {} rows x {}, {}", self.name, self.rows, self.dim, self.element_type.name())
    }
}

/// The dim that a file names, if it is one.
fn checked_dim(dim: u64) -> Result<usize> {
    match usize::try_from(dim) {
        Ok(checked @ 1..=DIM_MAX) => Ok(checked),
        _ => Err(Error::invalid(format_args!(
            "its header says dim {dim}, which must be from 1 to {DIM_MAX}; check that the file is what its \
             name says"
        ))),
    }
}

/// The sentence for a file that is shorter or longer than its header says.
fn wrong_length(rows: u64, dim: usize, expected: Option<u64>, length: u64) -> Error {
    let Some(expected) = expected else {
        return Error::corrupt(format_args!(
            "its header says {rows} rows of dim {dim}, more than any file holds; check that the file is what its \
             name says"
        ));
    };
    let (end, cure) = if length < expected {
        ("ends after", "it was cut short, copy or write it again")
    } else {
        ("has", "check that the elements are what the name says")
    };
    Error::corrupt(format_args!(
        "its header says {rows} rows of dim {dim}, {expected} bytes in all, but the file {end} {length}; {cure}"
    ))
}
