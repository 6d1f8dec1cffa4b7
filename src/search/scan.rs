//! Estimates the rows of a leaf from their codes and keeps those that may be in the answer.
//!
//! In: a run of positions with one centre. Out: candidates. Codes are read in sequence; a filter is asked only for
//! rows whose lower bound is already good enough.

use crate::index::filter;
use crate::index::segment::SegmentIndex;
use crate::kernels::Kernels;
use crate::quantize::estimate::{count, estimates};
use crate::quantize::query::PreparedQuery;
use crate::search::candidates::{Candidate, Candidates};
use crate::search::scratch::{StageScratch, BLOCK_ROWS};
use crate::types::params::Filter;

/// What the scan of one segment needs to know, the same for all its leaves.
pub struct Scan<'a> {
    /// The functions to use.
    pub kernels: &'a Kernels,
    /// The segment.
    pub index: &'a SegmentIndex,
    /// Its number in the snapshot.
    pub segment: u32,
    /// Width of the bounds, in deviations.
    pub epsilon: f32,
    /// Which rows may be returned.
    pub filter: Filter<'a>,
}

/// Rows of a leaf that are asked for before it is scanned.
const PREFETCH_ROWS: usize = 64;

impl Scan<'_> {
    /// Scans the rows of a leaf. `bases` are the query's distances to the centres. `outer`: it lies in the outer half
    /// of the visit.
    pub fn leaf(
        &self,
        leaf: u32,
        outer: bool,
        prepared: &PreparedQuery,
        bases: &[f32],
        candidates: &mut Candidates,
        stage: &mut StageScratch,
    ) -> u64 {
        let node = self.index.tree.leaf(leaf);
        let base = bases[node.centre as usize];
        self.run(node.first_row, node.row_count, base, outer, prepared, candidates, stage);
        u64::from(node.row_count)
    }

    /// Asks for the codes of a leaf that is scanned next: leaves lie anywhere, and the kernel asks only within one.
    pub fn prefetch(&self, leaf: u32) {
        let node = self.index.tree.leaf(leaf);
        let rows = (node.row_count as usize).min(PREFETCH_ROWS);
        self.kernels.prefetch_lines(self.index.codes.codes(node.first_row, rows));
        self.kernels.prefetch_lines(bytemuck::cast_slice(self.index.codes.factors(node.first_row, rows)));
    }

    /// Scans `row_count` rows from `first` on, all with the distance `base` to their centre.
    pub fn run(
        &self,
        first: u32,
        row_count: u32,
        base: f32,
        outer: bool,
        prepared: &PreparedQuery,
        candidates: &mut Candidates,
        stage: &mut StageScratch,
    ) {
        let shape = self.index.quantiser.shape;
        let mut start = first;
        let end = first + row_count;
        while start < end {
            let rows = (end - start).min(BLOCK_ROWS as u32) as usize;
            let counted = &mut stage.counted[..rows];
            count(self.kernels, shape, prepared, self.index.codes.codes(start, rows), counted);
            let factors = self.index.codes.factors(start, rows);
            let width = self.index.quantiser.error_width;
            estimates(prepared, base, width, factors, counted, &mut stage.estimates, &mut stage.deviations);
            if outer && candidates.is_limited() {
                let near =
                    stage.estimates[..rows].iter().filter(|estimate| **estimate <= candidates.farthest());
                candidates.count_outer(near.count() as u64);
            }
            self.keep(start, &stage.estimates[..rows], &stage.deviations[..rows], candidates);
            start += rows as u32;
        }
    }

    /// Scans single rows at ascending `positions`.
    pub fn listed(
        &self,
        positions: &[u32],
        prepared: &PreparedQuery,
        bases: &[f32],
        candidates: &mut Candidates,
        stage: &mut StageScratch,
    ) {
        let tree = &self.index.tree;
        let mut left = positions;
        while let Some(position) = left.first() {
            let node = tree.leaf(tree.leaf_of(*position));
            let end = node.first_row + node.row_count;
            let here = left.partition_point(|p| *p < end);
            for position in &left[..here] {
                self.run(*position, 1, bases[node.centre as usize], false, prepared, candidates, stage);
            }
            left = &left[here..];
        }
    }

    #[inline]
    fn keep(&self, first: u32, estimates: &[f32], deviations: &[f32], candidates: &mut Candidates) {
        let mut threshold = candidates.threshold();
        for (nth, (estimate, deviation)) in estimates.iter().zip(deviations).enumerate() {
            let slack = self.epsilon * deviation;
            let bound = estimate - slack;
            if bound > threshold {
                continue;
            }
            let position = first + nth as u32;
            if !matches!(self.filter, Filter::All)
                && !filter::admits(&self.filter, self.index.ids.id(position))
            {
                continue;
            }
            candidates.push(Candidate { bound, segment: self.segment, position }, estimate + slack);
            threshold = candidates.threshold();
        }
    }
}
