//! The rows that a walk goes on from: the closest by their estimates, in order once it has begun.
//!
//! A list has two limits: a number of rows, and, but under inner product, a distance that follows from that of the
//! k-th answer so far. Where the answers stand out from what lies around them, few rows are within the distance and the
//! walk is short; where many lie about as far, it goes on to the number. (A walk bounded by a multiple of the k-th
//! distance: Al-Jazzazi et al., "Distance Adaptive Beam Search", 2025.)
//!
//! Kept in a total order, so that the set does not depend on the order of arrival; rows that a scan offers are put in
//! order when the walk begins. Calls `topk`.

use crate::index::links::LINKS_A_ROW;
use crate::memory::try_with_capacity;
use crate::topk::heap::{of_rank, place};
use crate::types::{Metric, Result};

/// A walk leaves at most so many rows for each that its list holds: about two are usual, and links of a damaged file
/// must not lead through all rows.
pub const LEFT_A_ROW: usize = 8;

/// A list of so many rows holds those that may be as close as the k-th answer.
const LENGTH_AT_KTH: f32 = 64.0;
/// How much of that distance a list of twice the length goes further. (`docs/experiments.md`: where a walk ends.)
const SHARE_A_DOUBLING: f32 = 0.05;

/// The position of a row that is kept as a number which sorts by estimate, then position.
#[inline]
pub fn position(near: u64) -> u32 {
    near as u32
}

/// Its estimate.
#[inline]
pub fn estimate(near: u64) -> f32 {
    of_rank((near >> 32) as u32)
}

/// The list of one query.
#[derive(Debug, Default)]
pub struct WalkList {
    pub(super) near: Vec<u64>,
    /// Which of them were left; as long as `near` once the walk has begun.
    pub(super) left: Vec<bool>,
    length: usize,
    /// By what share of the k-th distance a row may be farther; infinite: distances are no measure.
    share: f32,
    /// A row with a greater estimate does not join.
    threshold: f32,
}

impl WalkList {
    /// Forgets everything; the next walk holds `length` rows, 0: there is none.
    ///
    /// # Errors
    /// `VDB_OUT_OF_MEMORY`.
    pub fn reset(&mut self, length: usize, metric: Metric) -> Result<()> {
        self.near.clear();
        self.left.clear();
        self.length = length;
        self.share = match metric {
            // A product has no zero to measure from.
            Metric::InnerProduct => f32::INFINITY,
            _ => SHARE_A_DOUBLING * (length as f32 / LENGTH_AT_KTH).log2(),
        };
        self.threshold = if length == 0 { f32::NEG_INFINITY } else { f32::INFINITY };
        // Either may have been refused the last time.
        if self.near.capacity() < 2 * length || self.left.capacity() < length {
            (self.near, self.left) = (Vec::new(), Vec::new());
            self.near = try_with_capacity(2 * length)?;
            self.left = try_with_capacity(length)?;
        }
        Ok(())
    }

    /// The most bytes of a list of `length` rows.
    pub fn bytes_max(length: usize) -> u64 {
        (2 * length * std::mem::size_of::<u64>() + length) as u64
    }

    /// The most rows that a walk with a list of `length` meets.
    pub fn met_max(length: usize) -> u64 {
        ((length + 1) * LEFT_A_ROW * LINKS_A_ROW) as u64
    }

    /// Rows that it holds.
    pub fn length(&self) -> usize {
        self.length
    }

    /// A row with a greater estimate is not left, where the k-th answer so far may be as far as `kth`: less far the
    /// closer that is.
    #[inline]
    pub fn limit(&self, kth: f32) -> f32 {
        if kth < f32::INFINITY && self.share < f32::INFINITY {
            self.threshold.min(kth + self.share * kth.abs())
        } else {
            self.threshold
        }
    }

    /// Offers a row from a scan.
    #[inline]
    pub fn offer(&mut self, position: u32, estimate: f32) {
        if estimate <= self.threshold && self.length > 0 {
            self.push(place(estimate, position));
        }
    }

    #[inline]
    fn push(&mut self, near: u64) {
        self.near.push(near);
        if self.near.len() == 2 * self.length {
            self.cut();
        }
    }

    /// Takes over what another thread was offered.
    pub fn merge(&mut self, other: &Self) {
        for near in &other.near {
            self.push(*near);
        }
    }

    /// Bytes of the lists.
    pub fn memory_bytes(&self) -> usize {
        self.near.capacity() * std::mem::size_of::<u64>() + self.left.capacity()
    }

    fn cut(&mut self) {
        if self.near.len() > self.length {
            let (_, nth, _) = self.near.select_nth_unstable(self.length - 1);
            self.threshold = estimate(*nth);
            self.near.truncate(self.length);
        }
    }

    /// In order, for a walk that does not come by the row `hidden`, where the k-th answer may be as far as `kth`.
    pub fn begin(&mut self, kth: f32, hidden: Option<u32>) {
        let limit = self.limit(kth);
        self.near.retain(|near| estimate(*near) <= limit);
        self.cut();
        self.near.sort_unstable();
        if let Some(hidden) = hidden {
            self.near.retain(|near| position(*near) != hidden);
        }
        self.left.resize(self.near.len(), false);
    }

    /// Puts a row in its place; that place, or the length of the list if it is too far.
    #[inline]
    pub fn insert(&mut self, estimated: f32, position: u32) -> usize {
        if estimated > self.threshold {
            return self.length;
        }
        let new = place(estimated, position);
        let at = self.near.partition_point(|near| *near < new);
        if at < self.length {
            self.near.truncate(self.length - 1);
            self.left.truncate(self.length - 1);
            self.near.insert(at, new);
            self.left.insert(at, false);
            if self.near.len() == self.length {
                self.threshold = estimate(self.near[self.length - 1]);
            }
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::rng::SplitMix64;

    #[test]
    fn numbers_sort_as_estimates_do() {
        let mut estimates = [0.0, -0.0, 1.5, -1.5, f32::INFINITY, f32::NEG_INFINITY, 1e-40, -1e-40, f32::MAX];
        estimates.sort_by(f32::total_cmp);
        for pair in estimates.windows(2) {
            assert!(place(pair[0], u32::MAX - 1) < place(pair[1], 0), "{pair:?}");
        }
        for value in estimates {
            let number = place(value, 7);
            assert_eq!((estimate(number).to_bits(), position(number)), (value.to_bits(), 7));
        }
    }

    #[test]
    fn a_limit_follows_the_kth_distance_but_for_products() {
        let mut list = WalkList::default();
        for (length, share) in [(16, -0.1), (32, -0.05), (64, 0.0), (256, 0.1), (1_024, 0.2)] {
            list.reset(length, Metric::L2).unwrap();
            for kth in [0.0, 1e-3, 2.0] {
                assert!((list.limit(kth) - kth * (1.0 + share)).abs() < 1e-6, "{length} rows, {kth}");
            }
            // Of an estimate below zero a share goes up, too.
            assert!((list.limit(-1.0) + 1.0 - share).abs() < 1e-6);
            assert_eq!(list.limit(f32::INFINITY), f32::INFINITY);
            list.reset(length, Metric::InnerProduct).unwrap();
            assert_eq!(list.limit(2.0), f32::INFINITY);
        }
        list.reset(64, Metric::Cosine).unwrap();
        (0..10).for_each(|position| list.offer(position, position as f32));
        list.begin(4.0, Some(2));
        assert_eq!(list.near.iter().map(|near| position(*near)).collect::<Vec<_>>(), [0, 1, 3, 4]);
    }

    #[test]
    fn a_list_keeps_the_closest_in_any_order() {
        let mut random = SplitMix64::new(6);
        let mut offered: Vec<(f32, u32)> =
            (0..1_000).map(|position| (random.below(100) as f32, position)).collect();
        let mut expected = None;
        for _ in 0..4 {
            let (mut list, mut other) = (WalkList::default(), WalkList::default());
            list.reset(50, Metric::L2).unwrap();
            other.reset(50, Metric::L2).unwrap();
            for (estimate, position) in &offered[..400] {
                list.offer(*position, *estimate);
            }
            for (estimate, position) in &offered[400..700] {
                other.offer(*position, *estimate);
            }
            list.merge(&other);
            list.begin(f32::INFINITY, None);
            for (estimate, position) in &offered[700..] {
                list.insert(*estimate, *position);
            }
            let kept: Vec<(f32, u32)> =
                list.near.iter().map(|near| (estimate(*near), position(*near))).collect();
            assert!(kept.len() == 50 && kept.is_sorted_by(|a, b| a.0 < b.0 || (a.0 == b.0 && a.1 < b.1)));
            assert_eq!(expected.get_or_insert_with(|| kept.clone()), &kept);
            for i in (1..offered.len()).rev() {
                offered.swap(i, random.below(i as u64 + 1) as usize);
            }
        }
    }
}
