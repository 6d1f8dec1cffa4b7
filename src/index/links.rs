//! Links between rows: for each position the positions of a few rows near it.
//!
//! A walk follows them where leaves end: a row's neighbours that lie in other leaves are one link away. A row has at
//! most [`LINKS_A_ROW`] links, which fill two cache lines; where it has fewer, [`NO_LINK`] fills the rest. A file may
//! have room for fewer: the first ones had a line a row.

use crate::memory::AlignedBytes;
use crate::types::{Error, Result};

/// Most links of a row: two cache lines.
pub const LINKS_A_ROW: usize = 32;
/// Stands where a row has no further link.
pub const NO_LINK: u32 = u32::MAX;

/// The links of all rows of a segment, checked.
pub struct Links {
    links: AlignedBytes,
    /// Places of a row.
    a_row: usize,
}

impl Links {
    /// Takes the array of a file or a build: as many `u32` a row, at most [`LINKS_A_ROW`]. O(rows).
    ///
    /// # Errors
    /// `VDB_CORRUPT` if a link names no row.
    pub fn new(rows: u32, links: AlignedBytes) -> Result<Self> {
        let a_row = links.len() / 4 / (rows as usize).max(1);
        let fits = (1..=LINKS_A_ROW).contains(&a_row) || rows == 0;
        if !fits || links.len() as u64 != u64::from(rows) * a_row as u64 * 4 {
            return Err(Error::corrupt("links: their number is not that of the rows"));
        }
        // Looks at all of them: without an early end it is vector code.
        let fits = links.as_slice::<u32>().iter().fold(true, |fits, l| fits & (*l < rows || *l == NO_LINK));
        if !fits {
            return Err(Error::corrupt("links: one of them leads beyond the last row"));
        }
        Ok(Links { links, a_row })
    }

    /// The links of a row, [`NO_LINK`] behind the last one.
    #[inline]
    pub fn of(&self, position: u32) -> &[u32] {
        &self.links.as_slice::<u32>()[position as usize * self.a_row..][..self.a_row]
    }

    /// The array that was taken.
    pub fn into_array(self) -> AlignedBytes {
        self.links
    }

    /// Bytes on disk.
    pub fn stored_bytes(&self) -> u64 {
        self.links.len() as u64
    }

    /// What a search need not know: that no row is linked to itself or twice to another, and no link follows a gap.
    ///
    /// # Errors
    /// `VDB_CORRUPT`, with the first row that is.
    pub fn check(&self) -> Result<()> {
        let wrong = |row: usize, links: &[u32]| {
            let count = links.iter().take_while(|link| **link != NO_LINK).count();
            links[count..].iter().any(|link| *link != NO_LINK)
                || links[..count].contains(&(row as u32))
                || (1..count).any(|nth| links[..nth].contains(&links[nth]))
        };
        let mut rows = self.links.as_slice::<u32>().chunks_exact(self.a_row.max(1)).enumerate();
        match rows.find(|(row, links)| wrong(*row, links)) {
            None => Ok(()),
            Some((row, _)) => Err(Error::corrupt(format_args!(
                "links: those of position {row} lead to itself, or twice to one row, or have a gap. Build again"
            ))),
        }
    }

    /// Bytes in memory.
    pub fn memory_bytes(&self) -> u64 {
        self.links.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn a_link_beyond_the_last_row_is_found() {
        for (link, sound) in [(0, true), (2, true), (3, false), (NO_LINK - 1, false), (NO_LINK, true)] {
            for place in [0, LINKS_A_ROW, 3 * LINKS_A_ROW - 1] {
                let mut links = AlignedBytes::zeroed(3 * LINKS_A_ROW * 4).unwrap();
                links.as_mut_slice::<u32>()[place] = link;
                assert_eq!(Links::new(3, links).is_ok(), sound, "{link} at {place}");
            }
        }
        for (a_row, sound) in [(0, false), (1, true), (LINKS_A_ROW / 2, true), (LINKS_A_ROW + 1, false)] {
            let links = AlignedBytes::zeroed(3 * a_row * 4).unwrap();
            assert_eq!(Links::new(3, links).is_ok(), sound, "{a_row} a row");
        }
        assert!(Links::new(2, AlignedBytes::zeroed(3 * LINKS_A_ROW * 4).unwrap()).is_err());
    }
}
