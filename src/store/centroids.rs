//! The exact centroids of a segment's nodes: on disk, read when somebody looks.

use std::sync::Arc;

use crate::memory::AlignedBytes;
use crate::types::{Error, Result};
use crate::vfs::VfsFile;

/// Bytes that are read at a time to check them all.
const PIECE_BYTES: usize = 256 << 10;

/// Rotated centroids in the order of nodes.
pub struct Centroids {
    file: Arc<dyn VfsFile>,
    offset: u64,
    nodes: u32,
    /// Floats of one.
    padded: usize,
}

impl Centroids {
    /// The centroids of `nodes` nodes, `padded` floats each, in `file` from byte `offset` on.
    ///
    /// # Errors
    /// `VDB_CORRUPT` if the section is not as long as they are.
    pub fn new(
        file: Arc<dyn VfsFile>,
        offset: u64,
        section_bytes: u64,
        nodes: u32,
        padded: usize,
    ) -> Result<Self> {
        if (padded as u64).checked_mul(4 * u64::from(nodes)) != Some(section_bytes) {
            return Err(Error::corrupt(
                "centroids: the section's length is not that of its nodes; build again",
            ));
        }
        Ok(Centroids { file, offset, nodes, padded })
    }

    /// Reads the centroid of `node`, which is one of the segment's; `out` is as long as one.
    ///
    /// # Errors
    /// `VDB_IO`, `VDB_CORRUPT` (a shortened file).
    pub fn read(&self, node: u32, out: &mut [u8]) -> Result<()> {
        debug_assert!(node < self.nodes && out.len() == self.padded * 4);
        self.read_from(node, out)
    }

    /// Reads all of them, and looks at every number.
    ///
    /// # Errors
    /// `VDB_CORRUPT` for one that is not finite, `VDB_IO`, `VDB_OUT_OF_MEMORY`.
    pub fn check(&self) -> Result<()> {
        let at_once = (PIECE_BYTES / (self.padded * 4)).clamp(1, (self.nodes as usize).max(1));
        let mut buffer = AlignedBytes::zeroed(at_once * self.padded * 4)?;
        for first in (0..self.nodes).step_by(at_once) {
            let count = at_once.min((self.nodes - first) as usize);
            let piece = &mut buffer[..count * self.padded * 4];
            self.read_from(first, piece)?;
            let floats: &[f32] = bytemuck::cast_slice(piece);
            if let Some(bad) = floats.iter().position(|x| !x.is_finite()) {
                let node = first as usize + bad / self.padded;
                return Err(Error::corrupt(format_args!(
                    "centroids: that of node {node} has an element that is no number; build again"
                )));
            }
        }
        Ok(())
    }

    fn read_from(&self, node: u32, out: &mut [u8]) -> Result<()> {
        let at = self.offset + u64::from(node) * (self.padded * 4) as u64;
        let read = self.file.read_exact_at(out, at);
        read.map_err(|error| Error::io("a centroid could not be read; run \"vdb verify\"", &error))
    }
}
