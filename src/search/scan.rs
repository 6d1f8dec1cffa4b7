//! Estimates the rows of a leaf from their codes and keeps those that may be in the answer.
//!
//! In: a run of positions with one centre. Out: candidates. Codes are read in sequence; a filter is asked only for
//! rows whose lower bound is already good enough.

use std::ops::Range;

use crate::index::filter;
use crate::index::segment::SegmentIndex;
use crate::kernels::judge::{Judged, Limits, Rows, Terms, LANES};
use crate::kernels::Kernels;
use crate::pool::cancel::Stop;
use crate::quantize::encode::Factors;
use crate::quantize::estimate::{self, count, count_rows};
use crate::quantize::query::PreparedQuery;
use crate::search::candidates::{Candidate, Candidates};
use crate::search::list::WalkList;
use crate::search::scratch::{Asked, StageScratch, BLOCK_ROWS};
use crate::types::params::Filter;
use crate::types::Result;

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
    /// When to give up.
    pub stop: Stop<'a>,
}

/// Rows of a leaf that are asked for before it is scanned.
const PREFETCH_ROWS: usize = 64;
/// Rows that are counted between two requests for some of the next leaf: all of its lines at once would fill the
/// buffers of misses, and the core would wait for them instead of counting.
const STRIDE_ROWS: usize = 16;
/// Rows of one run between two looks at deadline and cancel token: a run may be a whole flat index.
const ROWS_A_LOOK: u32 = 8_192;

impl Scan<'_> {
    /// Scans the rows of a leaf; returns how many. `outer`: it lies in the outer half of the visit. `next` is scanned
    /// after it.
    ///
    /// # Errors
    /// `VDB_TIMEOUT`, `VDB_CANCELLED`.
    pub fn leaf(
        &self,
        leaf: u32,
        outer: bool,
        next: Option<u32>,
        asked: &mut Asked<'_>,
        stage: &mut StageScratch,
    ) -> Result<u64> {
        let node = self.index.tree.leaf(leaf);
        let base = asked.bases.of(self.kernels, self.index, asked.prepared, node.centre);
        let next = next.map_or(0..0, |next| {
            let next = self.index.tree.leaf(next);
            asked.bases.ask(self.kernels, self.index, next.centre);
            next.rows()
        });
        self.run(node.rows(), base, outer, next, asked, stage)?;
        Ok(u64::from(node.row_count))
    }

    /// Scans the rows at `positions`, all with the distance `base` to their centre, and asks for those of `next`:
    /// leaves lie anywhere, and the kernel asks only within one.
    ///
    /// # Errors
    /// `VDB_TIMEOUT`, `VDB_CANCELLED`.
    pub fn run(
        &self,
        positions: Range<u32>,
        base: f32,
        outer: bool,
        next: Range<u32>,
        asked: &mut Asked<'_>,
        stage: &mut StageScratch,
    ) -> Result<()> {
        let Asked { prepared, candidates, list, .. } = asked;
        let shape = self.index.quantiser.shape;
        let terms = self.terms(prepared);
        let codes = &self.index.codes;
        stage.bases[..positions.len().min(BLOCK_ROWS)].fill(base);
        let mut ahead = next.start..next.end.min(next.start + PREFETCH_ROWS as u32);
        for start in positions.clone().step_by(BLOCK_ROWS) {
            if start > positions.start && (start - positions.start).is_multiple_of(ROWS_A_LOOK) {
                self.stop.check()?;
            }
            let rows = ((positions.end - start) as usize).min(BLOCK_ROWS);
            for at in (0..rows).step_by(STRIDE_ROWS) {
                let few = STRIDE_ROWS.min(rows - at);
                let counted = &mut stage.counted[at..at + few];
                count(self.kernels, shape, prepared, codes.codes(start + at as u32, few), counted);
                ahead = self.ask(ahead);
            }
            self.judge(&terms, codes.factors(start, rows), candidates, list, stage);
            if outer && candidates.is_limited() {
                let near =
                    stage.estimates[..rows].iter().filter(|estimate| **estimate <= candidates.farthest());
                candidates.count_outer(near.count() as u64);
            }
            each_chosen(&stage.chosen[..rows.div_ceil(LANES)], |nth| {
                let position = start + nth as u32;
                list.offer(position, stage.estimates[nth]);
                self.keep(position, stage.estimates[nth], stage.slacks[nth], candidates);
            });
        }
        while !ahead.is_empty() {
            ahead = self.ask(ahead);
        }
        Ok(())
    }

    /// Asks for some of the rows; the rest of them.
    #[inline]
    fn ask(&self, ahead: Range<u32>) -> Range<u32> {
        let count = ahead.len().min(STRIDE_ROWS);
        self.kernels.prefetch_lines(self.index.codes.codes(ahead.start, count));
        self.kernels.prefetch_lines(bytemuck::cast_slice(self.index.codes.factors(ahead.start, count)));
        ahead.start + count as u32..ahead.end
    }

    /// Scans single rows at ascending `positions`.
    ///
    /// # Errors
    /// `VDB_TIMEOUT`, `VDB_CANCELLED`.
    pub fn listed(&self, positions: &[u32], asked: &mut Asked<'_>, stage: &mut StageScratch) -> Result<()> {
        let tree = &self.index.tree;
        let mut left = positions;
        while let Some(position) = left.first() {
            let node = tree.leaf(tree.leaf_of(*position));
            let end = node.first_row + node.row_count;
            let here = left.partition_point(|p| *p < end);
            for position in &left[..here] {
                let base = asked.bases.of(self.kernels, self.index, asked.prepared, node.centre);
                self.run(*position..*position + 1, base, false, 0..0, asked, stage)?;
            }
            left = &left[here..];
        }
        Ok(())
    }

    /// Asks for what [`rows`](Self::rows) will read of a row.
    #[inline]
    pub fn prefetch_row(&self, position: u32) {
        self.kernels.prefetch_lines(self.index.codes.codes(position, 1));
        self.kernels.prefetch_lines(bytemuck::bytes_of(self.index.codes.factors_of(position)));
    }

    /// Estimates rows that lie anywhere, at most [`BLOCK_ROWS`], and offers them to the candidates; calls `near` for
    /// those that the list may take, with position and estimate.
    pub fn rows(
        &self,
        positions: &[u32],
        asked: &mut Asked<'_>,
        stage: &mut StageScratch,
        mut near: impl FnMut(&mut WalkList, u32, f32),
    ) {
        let Asked { prepared, bases, candidates, list } = asked;
        let codes = &self.index.codes;
        let shape = self.index.quantiser.shape;
        let counted = &mut stage.counted[..positions.len()];
        count_rows(self.kernels, shape, prepared, codes.all(), shape.row_bytes(), positions, counted);
        for (nth, position) in positions.iter().enumerate() {
            let centre = self.index.tree.centre_of(*position);
            stage.bases[nth] = bases.of(self.kernels, self.index, prepared, centre);
            stage.factors[nth] = *codes.factors_of(*position);
        }
        let factors = std::mem::take(&mut stage.factors);
        self.judge(&self.terms(prepared), &factors[..positions.len()], candidates, list, stage);
        stage.factors = factors;
        each_chosen(&stage.chosen[..positions.len().div_ceil(LANES)], |nth| {
            self.keep(positions[nth], stage.estimates[nth], stage.slacks[nth], candidates);
            near(list, positions[nth], stage.estimates[nth]);
        });
    }

    fn terms(&self, prepared: &PreparedQuery) -> Terms {
        estimate::terms(prepared, self.index.quantiser.error_width, self.epsilon)
    }

    /// Estimates the rows that were counted, and chooses those that candidates or list may take.
    #[inline]
    fn judge(
        &self,
        terms: &Terms,
        factors: &[Factors],
        candidates: &Candidates,
        list: &WalkList,
        stage: &mut StageScratch,
    ) {
        let StageScratch { counted, bases, estimates, slacks, chosen, .. } = stage;
        let rows = factors.len();
        let limits = Limits { bound: candidates.threshold(), estimate: list.limit(candidates.kth()) };
        let factors = bytemuck::cast_slice(factors);
        let rows = Rows { bases: &bases[..rows], factors, counted: &counted[..rows] };
        self.kernels.judge(terms, limits, rows, Judged { estimates, slacks, chosen });
    }

    /// Makes a row a candidate if it may be in the answer.
    #[inline]
    fn keep(&self, position: u32, estimate: f32, slack: f32, candidates: &mut Candidates) {
        let bound = estimate - slack;
        if bound > candidates.threshold() {
            return;
        }
        if !matches!(self.filter, Filter::All) && !filter::admits(&self.filter, self.index.ids.id(position)) {
            candidates.refuse(estimate + slack);
            return;
        }
        candidates.push(Candidate { bound, segment: self.segment, position }, estimate + slack);
    }
}

/// Calls `take` for the number of each bit that is set.
#[inline]
fn each_chosen(chosen: &[u16], mut take: impl FnMut(usize)) {
    for (lanes, chosen) in chosen.iter().enumerate() {
        let mut left = *chosen;
        while left != 0 {
            take(lanes * LANES + left.trailing_zeros() as usize);
            left &= left - 1;
        }
    }
}
