//! One segment's navigation: quantiser, tree, codes, ids and recall table, checked to agree.

use bytemuck::{Pod, Zeroable};

use crate::index::codes::Codes;
use crate::index::ids::Ids;
use crate::index::links::Links;
use crate::index::recall_table::RecallTable;
use crate::index::tree::Tree;
use crate::memory::AlignedBytes;
use crate::quantize::encode::CodeShape;
use crate::quantize::rotation::{Rotation, PAD};
use crate::types::params::DIM_MAX;
use crate::types::{Error, Metric, Result};

/// Head of the quantiser section; the rotated mean follows, `padded` floats. 64 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct QuantiserHead {
    /// Seed of the rotation's signs.
    pub rotation_seed: u64,
    /// Dimensions of a vector.
    pub dim: u32,
    /// Dimensions after rotation.
    pub padded: u32,
    /// Bits a dimension of a code.
    pub bits: u32,
    /// Mean error width of the codes, see `quantize::encode`.
    pub error_width: f32,
    /// Mean error width of the finer codes; 0: there are none.
    pub finer_error_width: f32,
    /// Zero.
    pub reserved: [u32; 9],
}

/// The transform from vectors to codes, as one index has it.
pub struct Quantiser {
    /// The rotation.
    pub rotation: Rotation,
    /// Sizes of a code.
    pub shape: CodeShape,
    /// How distance is measured.
    pub metric: Metric,
    /// Mean error width of the codes.
    pub error_width: f32,
    /// The same of the finer codes.
    pub finer_error_width: f32,
    /// The rotated mean that queries are shifted by.
    mean: AlignedBytes,
}

impl Quantiser {
    /// Reads the quantiser section.
    ///
    /// # Errors
    /// `VDB_CORRUPT` if it disagrees with itself or with `dim`.
    pub fn new(metric: Metric, dim: usize, section: &AlignedBytes) -> Result<Self> {
        let head_bytes = std::mem::size_of::<QuantiserHead>();
        let wrong = || Error::corrupt("quantiser: its sizes do not fit the index's dimension");
        if section.len() < head_bytes || !(1..=DIM_MAX).contains(&dim) {
            return Err(wrong());
        }
        let head: QuantiserHead = bytemuck::pod_read_unaligned(&section[..head_bytes]);
        let padded = dim.div_ceil(PAD) * PAD;
        if head.dim as usize != dim
            || head.padded as usize != padded
            || !matches!(head.bits, 1 | 2 | 4)
            || section.len() != head_bytes + padded * 4
        {
            return Err(wrong());
        }
        let mut mean = AlignedBytes::zeroed(padded * 4)?;
        mean.copy_from_slice(&section[head_bytes..]);
        let shape = CodeShape { padded, bits: head.bits as usize };
        let finite = mean.as_slice::<f32>().iter().all(|x| x.is_finite());
        let sensible = |width: f32| width.is_finite() && width >= 0.0;
        if !finite || !sensible(head.error_width) || !sensible(head.finer_error_width) {
            return Err(Error::corrupt("quantiser: a number is not finite"));
        }
        let rotation = Rotation::new(dim, head.rotation_seed)?;
        let QuantiserHead { error_width, finer_error_width, .. } = head;
        Ok(Quantiser { rotation, shape, metric, error_width, finer_error_width, mean })
    }

    /// The rotated mean.
    #[inline]
    pub fn mean(&self) -> &[f32] {
        self.mean.as_slice()
    }

    /// Bytes in memory.
    pub fn memory_bytes(&self) -> u64 {
        (self.mean.len() + self.rotation.memory_bytes()) as u64
    }
}

/// Everything that navigation touches, in memory.
pub struct SegmentIndex {
    /// From vectors to codes.
    pub quantiser: Quantiser,
    /// The nodes.
    pub tree: Tree,
    /// The rows' codes.
    pub codes: Codes,
    /// Which rows are near which, if the index has links.
    pub links: Option<Links>,
    /// The rows' ids.
    pub ids: Ids,
    /// Effort for a wanted recall.
    pub recall_table: RecallTable,
}

impl SegmentIndex {
    /// Rows.
    pub fn rows(&self) -> u32 {
        self.ids.rows()
    }
}
