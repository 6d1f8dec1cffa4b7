//! The exact centroids of a segment's nodes: on disk, read when somebody looks.

use std::sync::Arc;

use crate::types::{Error, Result};
use crate::vfs::VfsFile;

/// Rotated centroids in the order of nodes.
pub struct Centroids {
    file: Arc<dyn VfsFile>,
    offset: u64,
}

impl Centroids {
    /// Centroids in `file` from byte `offset` on.
    pub fn new(file: Arc<dyn VfsFile>, offset: u64) -> Self {
        Centroids { file, offset }
    }

    /// Reads the centroid of `node`, `out.len()` bytes.
    ///
    /// # Errors
    /// `VDB_IO`, `VDB_CORRUPT` (a shortened file).
    pub fn read(&self, node: u32, out: &mut [u8]) -> Result<()> {
        let at = self.offset + u64::from(node) * out.len() as u64;
        let read = self.file.read_exact_at(out, at);
        read.map_err(|error| Error::io("a centroid could not be read; run \"vdb verify\"", &error))
    }
}
