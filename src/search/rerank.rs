//! Exact distances for the candidates of one search, best first.
//!
//! In: candidates with a lower bound of their distance. Out: the k nearest, exact. They are taken in the order of their
//! bound; the first bound above the k-th exact distance ends the search. A bound fails with small probability,
//! so this may lose a neighbour; `all` takes every row of the given runs instead and loses none.
//!
//! Calls `store` and `kernels`. Knows neither codes nor tree.

use std::ops::Range;

use crate::index::filter;
use crate::kernels::Kernels;
use crate::memory::AlignedBytes;
use crate::search::candidates::{Candidate, Candidates};
use crate::search::plan::Plan;
use crate::search::snapshot::{Segment, Snapshot};
use crate::stats::SearchStats;
use crate::store::cache::VectorCache;
use crate::store::vectors::ReadCost;
use crate::topk::heap::TopK;
use crate::types::{ElementType, Error, Metric, Result};

/// Rows whose cache lines are asked for ahead of their turn.
const PREFETCH_AHEAD: usize = 2;
/// Rows between two looks at deadline and cancel token: of a mapped file, and where each row may be a read.
const MAPPED_ROWS_A_LOOK: usize = 64;
const READ_ROWS_A_LOOK: usize = 8;
/// Bytes of whole leaves that are read at once on the path without mapping.
pub const RUN_BYTES: usize = 256 * 1024;

/// One query, ready for exact distances.
pub struct Exact<'a> {
    kernels: &'a Kernels,
    metric: Metric,
    element: ElementType,
    query: &'a [f32],
    /// 1 / |query| under cosine.
    inverse_length: f32,
}

impl<'a> Exact<'a> {
    /// `query` has as many elements as the rows.
    pub fn new(kernels: &'a Kernels, metric: Metric, element: ElementType, query: &'a [f32]) -> Self {
        let inverse_length = match metric {
            Metric::Cosine => 1.0 / kernels.dot_f32(query, query).sqrt(),
            _ => 1.0,
        };
        Exact { kernels, metric, element, query, inverse_length }
    }

    /// The distance of a stored row (`row_bytes`, little endian). The same bits on every CPU.
    #[inline]
    pub fn distance(&self, row: &[u8]) -> f32 {
        let k = self.kernels;
        let q = self.query;
        match (self.metric, self.element) {
            (Metric::L2, ElementType::F32) => k.l2_f32(bytemuck::cast_slice(row), q),
            (Metric::L2, ElementType::F16) => k.l2_f16(bytemuck::cast_slice(row), q),
            (Metric::L2, ElementType::U8) => k.l2_u8(row, q),
            (Metric::InnerProduct, ElementType::F32) => -k.dot_f32(bytemuck::cast_slice(row), q),
            (Metric::InnerProduct, ElementType::F16) => -k.dot_f16(bytemuck::cast_slice(row), q),
            (Metric::InnerProduct, ElementType::U8) => -k.dot_u8(row, q),
            (Metric::Cosine, ElementType::F32) => self.cosine(k.dot_norm_f32(bytemuck::cast_slice(row), q)),
            (Metric::Cosine, ElementType::F16) => self.cosine(k.dot_norm_f16(bytemuck::cast_slice(row), q)),
            (Metric::Cosine, ElementType::U8) => self.cosine(k.dot_norm_u8(row, q)),
        }
    }

    /// No distance is smaller.
    fn least(&self) -> f32 {
        match self.metric {
            Metric::L2 => 0.0,
            // Of one direction, but for rounding.
            Metric::Cosine => 4.0 * f32::EPSILON,
            Metric::InnerProduct => f32::NEG_INFINITY,
        }
    }

    fn cosine(&self, (dot, norm_sq): (f32, f32)) -> f32 {
        // Of equal directions, rounding would make it negative.
        (1.0 - dot * self.inverse_length / norm_sq.sqrt()).clamp(0.0, 2.0)
    }
}

/// What reranking reads from and counts into.
pub struct Reader<'a> {
    /// Rows that were read before.
    pub cache: Option<&'a VectorCache>,
    /// A row that is read now.
    pub row: &'a mut AlignedBytes,
    /// Counts.
    pub stats: &'a mut SearchStats,
}

/// Exact distances of the closed `candidates`, in the order of their bounds, into `top`; at most as many as `plan`
/// allows.
///
/// # Errors
/// `VDB_TIMEOUT`, `VDB_CANCELLED`; `VDB_IO` and `VDB_CORRUPT` on the read path.
pub fn by_bound(
    snapshot: &Snapshot,
    candidates: &mut Candidates,
    exact: &Exact<'_>,
    plan: &Plan<'_>,
    top: &mut TopK<u64>,
    reader: &mut Reader<'_>,
) -> Result<()> {
    let rows_max = plan.rerank_max.max(plan.k as u64);
    let row_bytes = snapshot.dim * snapshot.element.bytes();
    reader.row.grow(row_bytes)?;
    let mut cost = ReadCost::default();
    for nth in 0..PREFETCH_AHEAD {
        prefetch(exact.kernels, snapshot, candidates.in_order(nth));
    }
    let mut reranked = 0;
    for nth in 0.. {
        prefetch(exact.kernels, snapshot, candidates.in_order(nth + PREFETCH_AHEAD));
        let Some(candidate) = candidates.in_order(nth) else { break };
        let limit = top.threshold();
        // Where the k nearest are copies of the query, what is left can only be another copy.
        if candidate.bound > limit.min(plan.farthest) || limit <= exact.least() || reranked >= rows_max {
            break;
        }
        let segment = &snapshot.segments[candidate.segment as usize];
        let mapped = segment.vectors.mapped().is_some();
        if nth.is_multiple_of(if mapped { MAPPED_ROWS_A_LOOK } else { READ_ROWS_A_LOOK }) {
            plan.stop.check()?;
        }
        let row = segment.vectors.row(candidate.position, reader.cache, reader.row, &mut cost)?;
        let distance = exact.distance(row.bytes());
        if !distance.is_finite() {
            return Err(damaged(segment, candidate.position));
        }
        reranked += 1;
        if distance <= plan.farthest {
            top.push(distance, segment.index.ids.id(candidate.position));
        }
    }
    reader.stats.rows_reranked += reranked;
    reader.stats.rows_read += cost.rows;
    reader.stats.bytes_read += cost.bytes;
    reader.stats.read_ns += cost.read_ns;
    Ok(())
}

/// What a build takes has finite distances from every query.
#[cold]
fn damaged(segment: &Segment, position: u32) -> Error {
    let id = segment.index.ids.id(position);
    Error::corrupt(format_args!(
        "vectors: the row with id {id} has an element that no build takes. Build again"
    ))
}

fn prefetch(kernels: &Kernels, snapshot: &Snapshot, candidate: Option<&Candidate>) {
    let Some(candidate) = candidate else { return };
    let segment = &snapshot.segments[candidate.segment as usize];
    kernels.prefetch_lines(segment.index.ids.bytes_of(candidate.position));
    if let Some(row) = segment.vectors.borrow(candidate.position) {
        kernels.prefetch_lines(row);
    }
}

/// Exact distances of the rows at `positions` into `top`: no code is asked. Returns how many of them, admitted or not,
/// lie within the limit and the k nearest so far.
///
/// # Errors
/// `VDB_TIMEOUT`, `VDB_CANCELLED`; `VDB_IO` and `VDB_CORRUPT` on the read path.
pub fn all(
    segment: &Segment,
    positions: Range<u32>,
    exact: &Exact<'_>,
    plan: &Plan<'_>,
    top: &mut TopK<u64>,
    reader: &mut Reader<'_>,
) -> Result<u64> {
    let vectors = &segment.vectors;
    let (stride, row_bytes) = (vectors.stride(), vectors.row_bytes());
    let run = (RUN_BYTES / stride).clamp(1, positions.len().max(1)) as u32;
    let Range { mut start, end } = positions.clone();
    let mut near = 0;
    let mut cost = ReadCost::default();
    while start < end {
        plan.stop.check()?;
        let rows = (end - start).min(run);
        let bytes = rows as usize * stride;
        let block = match vectors.mapped() {
            Some(mapped) => &mapped[start as usize * stride..][..bytes],
            None => {
                reader.row.grow(bytes)?;
                vectors.read_strides(start, &mut reader.row[..bytes], &mut cost)?;
                &reader.row[..bytes]
            }
        };
        for (position, row) in (start..).zip(block.chunks_exact(stride)) {
            let distance = exact.distance(&row[..row_bytes]);
            if !distance.is_finite() {
                return Err(damaged(segment, position));
            }
            if distance <= plan.farthest && distance <= top.threshold() {
                near += 1;
                let id = segment.index.ids.id(position);
                if filter::admits(&plan.filter, id) {
                    top.push(distance, id);
                }
            }
        }
        start += rows;
    }
    reader.stats.rows_reranked += positions.len() as u64;
    reader.stats.rows_read += positions.len() as u64;
    reader.stats.bytes_read += positions.len() as u64 * stride as u64;
    reader.stats.read_ns += cost.read_ns;
    Ok(near)
}
