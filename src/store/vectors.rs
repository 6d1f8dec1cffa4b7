//! The vectors of one segment in leaf order, by position.
//!
//! Two paths: *mapped*, where a row is a slice of the file and the system's page cache does the rest, and *read*,
//! where a row is copied by a system call, so that a failing or shortened file is an error and never a signal.
//! The cache belongs to the read path: a mapped row is already where the page cache has it.

use std::sync::Arc;
use std::time::Instant;

use crate::memory::AlignedBytes;
use crate::store::cache::VectorCache;
use crate::types::{ElementType, Error, Result, Status};
use crate::vfs::{Advice, Mapping, VfsFile};

/// Bytes from one row to the next: a row never straddles more pages than it must.
///
/// Small rows are packed. A row from half a page on is padded to a divisor or multiple of 4,096 bytes
/// if that costs at most an eighth, so that an f32 row of 1,024 dimensions is exactly one page read.
pub fn row_stride(row_bytes: usize) -> usize {
    const PAGE: usize = 4096;
    let wanted = if row_bytes >= PAGE {
        row_bytes.div_ceil(PAGE) * PAGE
    } else {
        // The largest part of a page, PAGE / m, that still holds the row.
        PAGE / (PAGE / row_bytes.max(1)).max(1)
    };
    let wanted = wanted.div_ceil(4) * 4;
    let fits = wanted >= row_bytes && PAGE.is_multiple_of(wanted.min(PAGE));
    if fits && row_bytes >= PAGE / 8 && (wanted - row_bytes) * 8 <= row_bytes {
        wanted
    } else {
        row_bytes.div_ceil(4) * 4
    }
}

/// The vectors of one segment.
pub struct Vectors {
    file: Arc<dyn VfsFile>,
    /// Byte of the file where row 0 starts.
    offset: u64,
    rows: u32,
    dim: usize,
    element: ElementType,
    stride: usize,
    mapping: Option<Mapping>,
    /// Number of the segment, for the cache.
    segment: u64,
}

/// A row on its way to an exact distance.
pub enum Row<'a> {
    /// In the mapping, or in the caller's buffer.
    Borrowed(&'a [u8]),
    /// In the cache.
    Cached(Arc<AlignedBytes>),
}

impl Row<'_> {
    /// The row's elements, little endian, `row_bytes` of them, at least 4-byte aligned.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Row::Borrowed(bytes) => bytes,
            Row::Cached(bytes) => bytes,
        }
    }
}

/// What reading rows cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadCost {
    /// Rows that no cache of ours had.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Time inside reads of the file; of a mapped file none is known.
    pub read_ns: u64,
}

impl Vectors {
    /// Vectors in `file` from byte `offset` on. With `mapping`, rows are slices of it.
    ///
    /// # Errors
    /// `VDB_CORRUPT` if the section cannot hold the rows.
    pub fn new(
        file: Arc<dyn VfsFile>,
        offset: u64,
        section_bytes: u64,
        mapping: Option<Mapping>,
        rows: u32,
        dim: usize,
        element: ElementType,
        segment: u64,
    ) -> Result<Self> {
        let stride = row_stride(dim * element.bytes());
        let mapped_too_short = mapping.as_ref().is_some_and(|m| (m.len() as u64) < section_bytes);
        if u64::from(rows).checked_mul(stride as u64) != Some(section_bytes) || mapped_too_short {
            return Err(Error::corrupt("vectors: the section's length is not that of its rows"));
        }
        Ok(Vectors { file, offset, rows, dim, element, stride, mapping, segment })
    }

    /// Rows.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Dimensions.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Type of an element.
    pub fn element(&self) -> ElementType {
        self.element
    }

    /// Bytes of one row's elements.
    pub fn row_bytes(&self) -> usize {
        self.dim * self.element.bytes()
    }

    /// Bytes from row to row.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Number of the segment.
    pub fn segment(&self) -> u64 {
        self.segment
    }

    /// Length of the file that the rows are in.
    ///
    /// # Errors
    /// `VDB_IO`.
    pub fn file_bytes(&self) -> Result<u64> {
        self.file.len().map_err(|error| Error::io("vectors: the length of the file is not to be had", &error))
    }

    /// The mapped rows from position 0 on, `stride` apart; `None` on the read path.
    #[inline]
    pub fn mapped(&self) -> Option<&[u8]> {
        self.mapping.as_deref()
    }

    /// Tells the system how the rows will be used, mapped or read.
    pub fn advise(&self, advice: Advice) {
        if let Some(mapping) = &self.mapping {
            mapping.advise(advice, 0, mapping.len());
        }
        // After the mapping: the page cache keeps the pages that a process has mapped.
        self.file.advise(advice, self.offset, u64::from(self.rows) * self.stride as u64);
    }

    /// The row of a position in place, if it is mapped: no copy, valid as long as `self`.
    pub fn borrow(&self, position: u32) -> Option<&[u8]> {
        let start = position as usize * self.stride;
        self.mapped()?.get(start..start + self.row_bytes())
    }

    /// The row of a position: in place, from the cache, or read into `buffer` (`row_bytes` long or more).
    ///
    /// # Errors
    /// `VDB_IO` and `VDB_CORRUPT` (a shortened file) on the read path.
    #[inline]
    pub fn row<'a>(
        &'a self,
        position: u32,
        cache: Option<&VectorCache>,
        buffer: &'a mut AlignedBytes,
        cost: &mut ReadCost,
    ) -> Result<Row<'a>> {
        let row_bytes = self.row_bytes();
        cost.bytes += row_bytes as u64;
        cost.rows += 1;
        if let Some(bytes) = self.borrow(position) {
            return Ok(Row::Borrowed(bytes));
        }
        if let Some(cache) = cache {
            if let Some(row) = cache.get(self.segment, position) {
                cost.bytes -= row_bytes as u64;
                cost.rows -= 1;
                return Ok(Row::Cached(row));
            }
        }
        if position >= self.rows || buffer.len() < row_bytes {
            return Err(Error::new(Status::Internal, "vectors: a position or buffer is out of range"));
        }
        self.read(position, &mut buffer[..row_bytes], cost)?;
        if let Some(cache) = cache {
            cache.put(self.segment, position, &buffer[..row_bytes]);
        }
        Ok(Row::Borrowed(&buffer[..row_bytes]))
    }

    /// Reads `out.len() / stride` whole strides from position `first` on, past any cache: for scans of all rows.
    /// Of the cost, counts the time.
    ///
    /// # Errors
    /// `VDB_IO` and `VDB_CORRUPT`.
    pub fn read_strides(&self, first: u32, out: &mut [u8], cost: &mut ReadCost) -> Result<()> {
        self.read(first, out, cost)
    }

    fn read(&self, position: u32, out: &mut [u8], cost: &mut ReadCost) -> Result<()> {
        let at = self.offset + u64::from(position) * self.stride as u64;
        let clock = Instant::now();
        let done = self.file.read_exact_at(out, at);
        cost.read_ns += clock.elapsed().as_nanos() as u64;
        done.map_err(|error| {
            Error::io("vectors: a row could not be read; check the disk and run \"vdb verify\"", &error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_do_not_straddle_pages_without_need() {
        for (row_bytes, stride) in [
            (4, 4),
            (1, 4),
            (200, 200),
            (400, 400),
            (512, 512),
            (768, 768),
            (784, 784),
            (1024, 1024),
            (2000, 2048),
            (2048, 2048),
            (4000, 4096),
            (4096, 4096),
            (3072, 3072),
            (6144, 6144),
            (8000, 8192),
            (262_144, 262_144),
        ] {
            assert_eq!(row_stride(row_bytes), stride, "row of {row_bytes} bytes");
        }
        for row_bytes in 1..20_000 {
            let stride = row_stride(row_bytes);
            assert!(
                stride >= row_bytes
                    && stride.is_multiple_of(4)
                    && (stride - row_bytes) * 8 <= row_bytes.max(32)
            );
        }
    }
}
