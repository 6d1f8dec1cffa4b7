//! The rows that may still be in the answer, by the bounds of their codes.
//!
//! A row enters with a lower and an upper bound of its distance. The k-th smallest upper bound seen so far is the
//! *threshold*: a row whose lower bound lies above it cannot be among the k nearest at the confidence of the bounds.
//! The set that remains, cut to the `capacity` smallest lower bounds, does not depend on the order of arrival.

use std::cmp::Ordering;

use crate::topk::heap::TopK;

/// Candidates kept for each of the k answers; beyond them the farthest by lower bound are dropped.
const CAPACITY_A_K: usize = 32;
/// Least capacity.
const CAPACITY_MIN: usize = 8_192;

/// A row that may be in the answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Lower bound of its distance.
    pub bound: f32,
    /// Index of its segment in the snapshot.
    pub segment: u32,
    /// Its place there.
    pub position: u32,
}

impl Candidate {
    fn order(&self, other: &Self) -> Ordering {
        self.bound
            .total_cmp(&other.bound)
            .then_with(|| (self.segment, self.position).cmp(&(other.segment, other.position)))
    }
}

/// The candidates of one query.
#[derive(Debug, Default)]
pub struct Candidates {
    list: Vec<Candidate>,
    upper: TopK<(u32, u32)>,
    capacity: usize,
    farthest: f32,
    outer_near: u64,
}

impl Candidates {
    /// Forgets everything; the next `k` answers are wanted, none farther than `farthest`.
    pub fn reset(&mut self, k: usize, farthest: f32) {
        self.list.clear();
        self.upper.reset(k);
        self.capacity = CAPACITY_MIN.max(k.saturating_mul(CAPACITY_A_K));
        self.farthest = farthest;
        self.outer_near = 0;
    }

    /// True if the distance is limited, so that a visit should count the rows within.
    #[inline]
    pub fn is_limited(&self) -> bool {
        self.farthest < f32::INFINITY
    }

    /// No row farther than this is an answer.
    #[inline]
    pub fn farthest(&self) -> f32 {
        self.farthest
    }

    /// Takes note of rows within the limit, admitted or not, that the outer half of a visit met.
    #[inline]
    pub fn count_outer(&mut self, near: u64) {
        self.outer_near += near;
    }

    /// True if the visit went past the limit: the half of its leaves that are farthest from the query had no row
    /// within, so that wider ones are not expected to have any.
    pub fn is_past_limit(&self) -> bool {
        self.is_limited() && self.outer_near == 0
    }

    /// A row with a greater lower bound is no candidate.
    #[inline]
    pub fn threshold(&self) -> f32 {
        self.upper.threshold().min(self.farthest)
    }

    /// How many upper bounds are held: k, unless fewer rows were met.
    pub fn found(&self) -> usize {
        self.upper.len()
    }

    /// Offers a row whose lower bound is not above `threshold()`.
    #[inline]
    pub fn push(&mut self, candidate: Candidate, upper_bound: f32) {
        self.upper.push(upper_bound, (candidate.segment, candidate.position));
        self.list.push(candidate);
        if self.list.len() >= 2 * self.capacity {
            self.cut();
        }
    }

    /// Takes over what another thread found.
    pub fn merge(&mut self, other: &Self) {
        for held in other.upper.as_slice() {
            self.upper.push(held.distance, held.key);
        }
        self.list.extend_from_slice(&other.list);
        self.count_outer(other.outer_near);
        if self.list.len() >= 2 * self.capacity {
            self.cut();
        }
    }

    /// The candidates in the order of their lower bound.
    pub fn sorted(&mut self) -> &[Candidate] {
        self.cut();
        self.list.sort_unstable_by(Candidate::order);
        &self.list
    }

    /// Bytes of the lists.
    pub fn memory_bytes(&self) -> usize {
        self.list.capacity() * std::mem::size_of::<Candidate>() + self.upper.memory_bytes()
    }

    fn cut(&mut self) {
        let threshold = self.threshold();
        self.list.retain(|candidate| candidate.bound <= threshold);
        if self.list.len() > self.capacity {
            self.list.select_nth_unstable_by(self.capacity, Candidate::order);
            self.list.truncate(self.capacity);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::rng::SplitMix64;

    #[test]
    fn the_set_kept_does_not_depend_on_order_or_threads() {
        let mut random = SplitMix64::new(9);
        let mut rows: Vec<(Candidate, f32)> = (0..60_000u32)
            .map(|position| {
                let bound = (random.below(5_000) as f32) * 0.01;
                (
                    Candidate { bound, segment: position % 2, position },
                    bound + 0.01 * random.below(3_000) as f32,
                )
            })
            .collect();
        let mut expected: Option<Vec<Candidate>> = None;
        for round in 0..4 {
            let (mut left, mut right) = (Candidates::default(), Candidates::default());
            left.reset(10, f32::INFINITY);
            right.reset(10, f32::INFINITY);
            for (i, (candidate, upper)) in rows.iter().enumerate() {
                let side = if i % (round + 1) == 0 { &mut left } else { &mut right };
                if candidate.bound <= side.threshold() {
                    side.push(*candidate, *upper);
                }
            }
            left.merge(&right);
            let kept = left.sorted().to_vec();
            assert!(!kept.is_empty());
            assert_eq!(expected.get_or_insert_with(|| kept.clone()), &kept);
            for i in (1..rows.len()).rev() {
                rows.swap(i, random.below(i as u64 + 1) as usize);
            }
        }
    }

    #[test]
    fn equal_rows_are_cut_to_the_capacity() {
        let mut candidates = Candidates::default();
        candidates.reset(10, f32::INFINITY);
        for position in 0..100_000 {
            candidates.push(Candidate { bound: 1.0, segment: 0, position }, 2.0);
        }
        let kept = candidates.sorted();
        assert_eq!(kept.len(), CAPACITY_MIN);
        assert_eq!(kept.last().map(|c| c.position), Some(CAPACITY_MIN as u32 - 1));
    }
}
