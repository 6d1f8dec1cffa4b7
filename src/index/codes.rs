//! The rows' codes and factors, in the order of positions.

use crate::memory::AlignedBytes;
use crate::quantize::encode::{CodeShape, Factors};
use crate::types::{Error, Result};

/// Codes of all rows of a segment: `row_bytes` each, 64-byte aligned as a whole, and their factors apart.
pub struct Codes {
    shape: CodeShape,
    codes: AlignedBytes,
    factors: AlignedBytes,
}

impl Codes {
    /// Checks the sizes against the number of rows, and that the factors are finite.
    ///
    /// # Errors
    /// `VDB_CORRUPT`.
    pub fn new(shape: CodeShape, codes: AlignedBytes, factors: AlignedBytes, rows: u64) -> Result<Self> {
        let sizes_agree = rows.checked_mul(shape.row_bytes() as u64) == Some(codes.len() as u64)
            && rows.checked_mul(std::mem::size_of::<Factors>() as u64) == Some(factors.len() as u64);
        if !sizes_agree {
            return Err(Error::corrupt("codes: their number is not the number of rows"));
        }
        if !factors.as_slice::<f32>().iter().all(|x| x.is_finite()) {
            return Err(Error::corrupt("codes: a factor is not a finite number"));
        }
        Ok(Codes { shape, codes, factors })
    }

    /// Sizes of a code.
    pub fn shape(&self) -> CodeShape {
        self.shape
    }

    /// The codes of `count` rows from position `first` on.
    #[inline]
    pub fn codes(&self, first: u32, count: usize) -> &[u8] {
        let bytes = self.shape.row_bytes();
        &self.codes[first as usize * bytes..][..count * bytes]
    }

    /// The codes of all rows.
    #[inline]
    pub fn all(&self) -> &[u8] {
        &self.codes
    }

    /// The factors of a row.
    #[inline]
    pub fn factors_of(&self, position: u32) -> &Factors {
        &self.factors.as_slice::<Factors>()[position as usize]
    }

    /// The factors of `count` rows from position `first` on.
    #[inline]
    pub fn factors(&self, first: u32, count: usize) -> &[Factors] {
        &self.factors.as_slice::<Factors>()[first as usize..][..count]
    }

    /// Bytes in memory.
    pub fn memory_bytes(&self) -> u64 {
        (self.codes.len() + self.factors.len()) as u64
    }
}
