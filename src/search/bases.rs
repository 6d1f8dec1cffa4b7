//! Distances of a query to the centres of the codes, each found when it is first asked for: a query meets rows of a few
//! centres, and each is as long as a row.
//!
//! In: a prepared query. Out: what its estimates start from, exact up to rounding in one fixed order, whenever it is
//! asked.

use crate::index::segment::SegmentIndex;
use crate::kernels::Kernels;
use crate::memory::try_hold;
use crate::quantize::query::PreparedQuery;
use crate::types::{Metric, Result};

/// The distances of one query to the centres of one segment.
#[derive(Debug, Default)]
pub struct Bases {
    /// [`UNKNOWN`] where it was not asked for.
    distances: Vec<f32>,
}

/// No distance: they are finite, and the bits of one that overflowed are others.
const UNKNOWN: u32 = u32::MAX;

impl Bases {
    /// Forgets all; the next segment has so many centres.
    ///
    /// # Errors
    /// `VDB_OUT_OF_MEMORY`.
    pub fn reset(&mut self, centres: usize) -> Result<()> {
        self.distances.clear();
        try_hold(&mut self.distances, centres)?;
        self.distances.resize(centres, f32::from_bits(UNKNOWN));
        Ok(())
    }

    /// Asks for what the distance to a centre is found from, if that is not known.
    #[inline]
    pub fn ask(&self, kernels: &Kernels, index: &SegmentIndex, centre: u32) {
        if self.distances[centre as usize].to_bits() == UNKNOWN {
            kernels.prefetch_lines(bytemuck::cast_slice(index.tree.centre(centre)));
        }
    }

    /// The distance to a centre.
    #[inline]
    pub fn of(
        &mut self,
        kernels: &Kernels,
        index: &SegmentIndex,
        prepared: &PreparedQuery,
        centre: u32,
    ) -> f32 {
        let held = &mut self.distances[centre as usize];
        if held.to_bits() == UNKNOWN {
            *held = centre_distance(kernels, index.quantiser.metric, index.tree.centre(centre), prepared);
        }
        *held
    }

    /// Bytes of the list.
    pub fn memory_bytes(&self) -> usize {
        self.distances.capacity() * std::mem::size_of::<f32>()
    }
}

/// The distance of the query to one rotated centre.
pub fn centre_distance(kernels: &Kernels, metric: Metric, centre: &[f32], prepared: &PreparedQuery) -> f32 {
    match metric {
        Metric::L2 => kernels.l2_f32(centre, &prepared.rotated),
        Metric::Cosine => 0.5 * kernels.l2_f32(centre, &prepared.rotated),
        Metric::InnerProduct => -kernels.dot_f32(centre, &prepared.rotated),
    }
}
