//! What a search sees: the segments of one generation, immutable for as long as anybody holds them.

use std::sync::Arc;

use crate::index::segment::SegmentIndex;
use crate::store::centroids::Centroids;
use crate::store::finer::FinerCodes;
use crate::store::vectors::Vectors;
use crate::types::{ElementType, Metric};

/// One segment, ready to be searched.
pub struct Segment {
    /// Its number, which names its file.
    pub number: u64,
    /// What navigation touches.
    pub index: SegmentIndex,
    /// The exact centroids, for who looks inside.
    pub centroids: Centroids,
    /// What stands before the vectors, where it was built and both are mapped.
    pub finer: Option<FinerCodes>,
    /// Bytes of the finer codes on disk, mapped or not.
    pub finer_bytes: u64,
    /// What decides.
    pub vectors: Vectors,
}

/// The segments of one generation.
pub struct Snapshot {
    /// Number of the committed state.
    pub generation: u64,
    /// How distance is measured.
    pub metric: Metric,
    /// Type of the stored elements.
    pub element: ElementType,
    /// Dimensions of every vector.
    pub dim: usize,
    /// The segments, oldest first.
    pub segments: Vec<Arc<Segment>>,
}

impl Snapshot {
    /// Rows of all segments.
    pub fn rows(&self) -> u64 {
        self.segments.iter().map(|segment| u64::from(segment.index.rows())).sum()
    }
}
