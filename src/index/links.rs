//! Links between rows: for each position the positions of a few rows near it.
//!
//! A walk follows them where leaves end: a row's neighbours that lie in other leaves are one link away. A row has at
//! most [`LINKS_A_ROW`] links, which fill two cache lines; where it has fewer, [`NO_LINK`] fills the rest. A file may
//! have room for fewer: the first ones had a line a row.

use crate::index::tree::Tree;
use crate::memory::{try_with_capacity, AlignedBytes};
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
    /// The centre that the code of each row is relative to: a walk meets rows one by one, where a scan meets leaves.
    centres: Vec<u16>,
}

impl Links {
    /// Takes the array of a file or a build: as many `u32` a row, at most [`LINKS_A_ROW`]. O(rows).
    ///
    /// # Errors
    /// `VDB_CORRUPT` if a link names no row, `VDB_OUT_OF_MEMORY`.
    pub fn new(rows: u32, links: AlignedBytes, tree: &Tree) -> Result<Self> {
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
        let centres = if tree.centre_count() > 1 { centres(rows, tree)? } else { Vec::new() };
        Ok(Links { links, a_row, centres })
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

    /// The centre that the code of a row is relative to.
    #[inline]
    pub fn centre(&self, position: u32) -> u32 {
        self.centres.get(position as usize).map_or(0, |centre| u32::from(*centre))
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
        (self.links.len() + self.centres.len() * 2) as u64
    }
}

/// The centre of each row. A root has at most 65,536 children, so that their numbers fit.
fn centres(rows: u32, tree: &Tree) -> Result<Vec<u16>> {
    if tree.centre_count() > usize::from(u16::MAX) + 1 {
        return Err(Error::corrupt("links: more centres than links can name"));
    }
    let mut centres = try_with_capacity(rows as usize)?;
    let root = &tree.nodes()[0];
    for (centre, child) in
        tree.nodes()[root.first_child as usize..][..root.child_count as usize].iter().enumerate()
    {
        centres.resize(centres.len() + child.row_count as usize, centre as u16);
    }
    Ok(centres)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::tree::{Node, NodeFactors, TreeParts};
    use crate::quantize::encode::CodeShape;

    /// A root that is the only leaf.
    fn tree(rows: u32) -> Tree {
        let shape = CodeShape { padded: 64, bits: 1 };
        let mut nodes = AlignedBytes::zeroed(size_of::<Node>()).unwrap();
        nodes.as_mut_slice::<Node>()[0] =
            Node { row_count: rows, leaf_count: 1, parent: u32::MAX, ..Node::default() };
        let parts = TreeParts {
            nodes,
            factors: AlignedBytes::zeroed(size_of::<NodeFactors>()).unwrap(),
            bytes: AlignedBytes::zeroed(shape.padded).unwrap(),
            codes: AlignedBytes::zeroed(shape.row_bytes()).unwrap(),
            centres: AlignedBytes::zeroed(shape.padded * 4).unwrap(),
        };
        Tree::new(parts, shape, u64::from(rows)).unwrap()
    }

    #[test]
    fn a_link_beyond_the_last_row_is_found() {
        for (link, sound) in [(0, true), (2, true), (3, false), (NO_LINK - 1, false), (NO_LINK, true)] {
            for place in [0, LINKS_A_ROW, 3 * LINKS_A_ROW - 1] {
                let mut links = AlignedBytes::zeroed(3 * LINKS_A_ROW * 4).unwrap();
                links.as_mut_slice::<u32>()[place] = link;
                assert_eq!(Links::new(3, links, &tree(3)).is_ok(), sound, "{link} at {place}");
            }
        }
        for (a_row, sound) in [(0, false), (1, true), (LINKS_A_ROW / 2, true), (LINKS_A_ROW + 1, false)] {
            let links = AlignedBytes::zeroed(3 * a_row * 4).unwrap();
            assert_eq!(Links::new(3, links, &tree(3)).is_ok(), sound, "{a_row} a row");
        }
        assert!(Links::new(2, AlignedBytes::zeroed(3 * LINKS_A_ROW * 4).unwrap(), &tree(2)).is_err());
    }
}
