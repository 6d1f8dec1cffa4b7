//! Rows in the caller's memory, at equal distances.
//!
//! Borrows; copies only what is asked for. Elements are in the machine's order, which is little-endian
//! on all that is supported. They need no alignment, since they are copied as bytes.

use super::{check_gather, check_read, Rows};
use crate::types::params::DIM_MAX;
use crate::types::{ElementType, Error, Result};

/// A source over borrowed memory.
#[derive(Clone, Copy)]
pub struct ArrayRows<'a> {
    bytes: &'a [u8],
    rows: u64,
    dim: usize,
    element_type: ElementType,
    stride_bytes: usize,
}

impl<'a> ArrayRows<'a> {
    /// `rows` rows in `bytes`, each `stride_bytes` after the one before; 0: packed.
    ///
    /// # Errors
    /// `InvalidArgument` if the dim is out of range, rows overlap, or `bytes` ends before they do.
    pub fn new(
        bytes: &'a [u8],
        rows: u64,
        dim: usize,
        element_type: ElementType,
        stride_bytes: usize,
    ) -> Result<Self> {
        let needed = Self::needed_bytes(rows, dim, element_type, stride_bytes)?;
        if bytes.len() < needed {
            let have = bytes.len();
            return Err(Error::invalid(format_args!("{rows} rows of {dim} need {needed} bytes, not {have}")));
        }
        let stride_bytes = if stride_bytes == 0 { dim * element_type.bytes() } else { stride_bytes };
        Ok(ArrayRows { bytes, rows, dim, element_type, stride_bytes })
    }

    /// Packed rows of floats.
    ///
    /// # Errors
    /// `InvalidArgument` if the dim is out of range or does not divide the number of values.
    pub fn of_floats(values: &'a [f32], dim: usize) -> Result<Self> {
        if dim == 0 || !values.len().is_multiple_of(dim) {
            return Err(Error::invalid(format_args!(
                "{} values are no whole rows of dim {dim}",
                values.len()
            )));
        }
        let rows = (values.len() / dim) as u64;
        Self::new(bytemuck::cast_slice(values), rows, dim, ElementType::F32, 0)
    }

    /// From the first byte of the first row to the last of the last: what a caller who has only a pointer
    /// says it points to.
    ///
    /// # Errors
    /// `InvalidArgument` if the dim is out of range, rows overlap, or no memory could be so large.
    pub fn needed_bytes(
        rows: u64,
        dim: usize,
        element_type: ElementType,
        stride_bytes: usize,
    ) -> Result<usize> {
        if dim == 0 || dim > DIM_MAX {
            return Err(Error::invalid(format_args!("dim is {dim}; it must be from 1 to {DIM_MAX}")));
        }
        let row_bytes = dim * element_type.bytes();
        let stride_bytes = if stride_bytes == 0 { row_bytes } else { stride_bytes };
        if stride_bytes < row_bytes {
            return Err(Error::invalid(format_args!(
                "stride is {stride_bytes} bytes, less than the {row_bytes} of a row; give 0 for packed rows"
            )));
        }
        let Some(before_last) = rows.checked_sub(1) else { return Ok(0) };
        let needed = usize::try_from(before_last)
            .ok()
            .and_then(|count| count.checked_mul(stride_bytes)?.checked_add(row_bytes))
            .filter(|bytes| isize::try_from(*bytes).is_ok());
        needed.ok_or_else(|| {
            Error::invalid(format_args!("{rows} rows of dim {dim} are larger than any memory"))
        })
    }

    /// Bytes of a row that `new` found inside of `bytes`.
    fn row(&self, row: u64) -> &'a [u8] {
        let start = row as usize * self.stride_bytes;
        &self.bytes[start..start + self.row_bytes()]
    }
}

impl Rows for ArrayRows<'_> {
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
        if self.stride_bytes == self.row_bytes() {
            let start = first as usize * self.stride_bytes;
            out.copy_from_slice(&self.bytes[start..start + out.len()]);
        } else {
            for (out, row) in out.chunks_exact_mut(self.row_bytes()).zip(first..) {
                out.copy_from_slice(self.row(row));
            }
        }
        Ok(())
    }

    fn gather(&self, rows: &[u64], out: &mut [u8]) -> Result<()> {
        check_gather(self, rows, out)?;
        for (out, row) in out.chunks_exact_mut(self.row_bytes()).zip(rows) {
            out.copy_from_slice(self.row(*row));
        }
        Ok(())
    }

    fn describe(&self) -> String {
        format!("an array of {} rows x {}, {}", self.rows, self.dim, self.element_type.name())
    }
}
