//! What rows are rotated by, shifted by and coded relative to: decided between the passes.
//!
//! In: the partition. Out: rotated vectors that both the codes of rows and those of nodes are made with.

use crate::build::layout::BuildLayout;
use crate::build::partition::Partition;
use crate::build::Work;
use crate::memory::{try_collect, try_extend, try_vec};
use crate::quantize::rotation::Rotation;
use crate::types::{Metric, Result};

/// The transform of one segment.
pub struct Transform {
    /// The rotation.
    pub rotation: Rotation,
    /// The rotated vector that queries are shifted by: zeros under inner product, which no shift leaves as it is.
    pub mean: Vec<f32>,
    /// The rotated mean of all rows, which they are shifted by where they are compared with each other.
    pub middle: Vec<f32>,
    /// The rotated centres of the codes, one after the other.
    pub centres: Vec<f32>,
    /// The centre of each cell.
    pub cell_centres: Vec<u32>,
}

impl Transform {
    /// The transform of rows that were partitioned so.
    ///
    /// # Errors
    /// `VDB_OUT_OF_MEMORY`.
    pub fn new(work: &Work<'_>, layout: &BuildLayout, partition: &Partition) -> Result<Self> {
        let rotation = Rotation::new(layout.dim, work.seed)?;
        let mut middle = try_vec(layout.shape.padded, 0.0)?;
        rotation.apply(work.kernels, &partition.mean, &mut middle);
        let mut mean = try_vec(layout.shape.padded, 0.0)?;
        if work.metric != Metric::InnerProduct {
            mean.copy_from_slice(&middle);
        }
        let centres = centres(work, layout, partition, &rotation)?;
        Ok(Transform { rotation, mean, middle, centres, cell_centres: cell_centres(partition)? })
    }
}

/// The rotated centroids of the root's children, or of the root.
fn centres(
    work: &Work<'_>,
    layout: &BuildLayout,
    partition: &Partition,
    rotation: &Rotation,
) -> Result<Vec<f32>> {
    let padded = layout.shape.padded;
    let top = partition.levels.first();
    let mut centres = try_vec(top.map_or(1, Vec::len) * padded, 0.0f32)?;
    for (nth, out) in centres.chunks_exact_mut(padded).enumerate() {
        let centre = top.map_or(&partition.mean, |top| &top[nth].centroid);
        rotation.apply(work.kernels, centre, out);
    }
    Ok(centres)
}

/// The centre above each cell.
fn cell_centres(partition: &Partition) -> Result<Vec<u32>> {
    let Some(top) = partition.levels.first() else { return try_vec(partition.ends.len(), 0) };
    let mut above: Vec<u32> = try_collect(0..top.len() as u32)?;
    for level in &partition.levels[..partition.levels.len() - 1] {
        let mut below = Vec::new();
        for (node, centre) in level.iter().zip(&above) {
            try_extend(&mut below, std::iter::repeat_n(*centre, node.child_count as usize))?;
        }
        above = below;
    }
    Ok(above)
}
