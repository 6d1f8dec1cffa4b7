//! Ids of rows: from position to id, and back.
//!
//! Ids are stored in the order of positions, in 4 bytes while all fit, else in 8. The way back is a permutation of
//! the positions sorted by id, searched by bisection; where the ids are 0..n-1 it is a plain table.

use crate::memory::AlignedBytes;
use crate::types::params::NO_ID;
use crate::types::{Error, Result};

/// Both directions of id <-> position.
pub struct Ids {
    rows: u32,
    /// 4 or 8.
    width: usize,
    ids: AlignedBytes,
    /// Positions (`u32`) in the order of their ids.
    by_id: AlignedBytes,
    /// The ids are exactly 0..rows.
    dense: bool,
}

impl Ids {
    /// Takes the arrays of a file: `rows` ids of `width` bytes, and `rows` positions.
    ///
    /// Positions are checked to be below `rows`; that they are in order is checked by `verify`, and a table that is
    /// not only makes look-ups miss.
    ///
    /// # Errors
    /// `VDB_CORRUPT`.
    pub fn new(rows: u32, width: usize, ids: AlignedBytes, by_id: AlignedBytes) -> Result<Self> {
        let sizes_agree = (width == 4 || width == 8)
            && ids.len() as u64 == u64::from(rows) * width as u64
            && by_id.len() as u64 == u64::from(rows) * 4;
        if !sizes_agree {
            return Err(Error::corrupt("ids: their number is not the number of rows"));
        }
        if by_id.as_slice::<u32>().iter().any(|position| *position >= rows) {
            return Err(Error::corrupt("ids: a position lies beyond the last row"));
        }
        let mut ids = Ids { rows, width, ids, by_id, dense: false };
        if (0..rows).any(|position| ids.id(position) == NO_ID) {
            return Err(Error::corrupt("ids: a row has the id that no row may have"));
        }
        let last = ids.by_id.as_slice::<u32>().last().copied();
        // Distinct ascending ids that begin with 0 and end with rows - 1 are 0..rows.
        ids.dense = ids.is_sorted() && last.is_none_or(|p| ids.id(p) == u64::from(rows) - 1);
        Ok(ids)
    }

    /// Rows.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// The id of a position.
    #[inline]
    pub fn id(&self, position: u32) -> u64 {
        if self.width == 4 {
            u64::from(self.ids.as_slice::<u32>()[position as usize])
        } else {
            self.ids.as_slice::<u64>()[position as usize]
        }
    }

    /// The id of a position as it lies in memory.
    #[inline]
    pub fn bytes_of(&self, position: u32) -> &[u8] {
        &self.ids[position as usize * self.width..][..self.width]
    }

    /// The position of an id. O(log rows), O(1) where ids are 0..rows.
    pub fn position(&self, id: u64) -> Option<u32> {
        let by_id = self.by_id.as_slice::<u32>();
        if self.dense {
            return by_id.get(usize::try_from(id).ok()?).copied();
        }
        let found = by_id.binary_search_by(|position| self.id(*position).cmp(&id)).ok()?;
        by_id.get(found).copied()
    }

    /// True if the way back is strictly ascending, which also says that every id is there once. O(rows).
    pub fn is_sorted(&self) -> bool {
        self.by_id.as_slice::<u32>().windows(2).all(|pair| self.id(pair[0]) < self.id(pair[1]))
    }

    /// Bytes in memory.
    pub fn memory_bytes(&self) -> u64 {
        (self.ids.len() + self.by_id.len()) as u64
    }
}
