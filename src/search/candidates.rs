//! The rows that may still be in the answer, by the bounds of their codes.
//!
//! A row enters with a lower and an upper bound of its distance. The k-th smallest upper bound seen so far is the
//! *threshold*: a row whose lower bound lies above it cannot be among the k nearest at the confidence of the bounds.
//! The set that remains, cut to the `capacity` smallest lower bounds, does not depend on the order of arrival.

use crate::topk::heap::{place, rank, TopK};
use crate::types::{Error, Result};

/// Candidates kept for each of the k answers; beyond them the farthest by lower bound are dropped.
const CAPACITY_A_K: usize = 32;
/// Least capacity.
const CAPACITY_MIN: usize = 8_192;
/// Refused rows that are counted for each of the k answers, and at least and at most: a filter that admits one row of
/// so many needs to refuse about as many for an answer, without cutting out what is near.
const REFUSED_A_K: usize = 64;
/// See `REFUSED_A_K`.
const REFUSED_MIN: usize = 2_048;
/// See `REFUSED_A_K`.
const REFUSED_MAX: usize = 16_384;
/// Entries by which a list grows at least.
const LIST_MIN: usize = 64;
/// Candidates that are put in order at first, and then as many again as there are.
const ORDERED_MIN: usize = 64;

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
    /// A number that sorts by bound, then place.
    #[inline]
    fn rank(&self) -> u128 {
        let place = u64::from(self.segment) << 32 | u64::from(self.position);
        u128::from(rank(self.bound)) << 64 | u128::from(place)
    }

    /// True if its bound is above the limit; of what is no number that is not certain.
    #[inline]
    pub fn is_beyond(&self, limit: f32) -> bool {
        self.bound > limit
    }

    /// The same as a smaller number among candidates of one segment.
    #[inline]
    pub fn rank_in_segment(&self) -> u64 {
        place(self.bound, self.position)
    }
}

/// The candidates of one query.
#[derive(Debug, Default)]
pub struct Candidates {
    list: Vec<Candidate>,
    upper: TopK<(u32, u32)>,
    capacity: usize,
    /// Entries of the list at most: it is cut when twice the capacity are there, and no row comes twice.
    most: usize,
    /// Entries at the head of the list that are in order, once it is closed.
    ordered: usize,
    /// Bytes that could not be had; 0: none were refused.
    refused_bytes: u64,
    farthest: f32,
    outer_near: u64,
    /// Upper bounds of rows that the filter refused: the `refused_most` smallest, and as many more until they are cut.
    refused: Vec<f32>,
    refused_most: usize,
}

impl Candidates {
    /// Forgets everything; the next `k` answers are wanted out of `rows` rows, none farther than `farthest`.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn reset(&mut self, k: usize, rows: u64, farthest: f32) -> Result<()> {
        self.list.clear();
        self.capacity = capacity(k);
        self.most = most(k, rows);
        self.refused_bytes = 0;
        self.farthest = farthest;
        self.outer_near = 0;
        self.refused.clear();
        self.refused_most = refused_most(k);
        self.upper.try_reset(k)
    }

    /// The most bytes that the candidates for `k` answers out of `rows` rows take. While the list grows, the half that
    /// it has outgrown is there, too.
    pub fn bytes_max(k: usize, rows: u64) -> u64 {
        let list = (most(k, rows) as u64).saturating_mul(std::mem::size_of::<Candidate>() as u64);
        let refused = (2 * refused_most(k) * std::mem::size_of::<f32>()) as u64;
        list.saturating_add(list / 2).saturating_add(refused).saturating_add(TopK::<(u32, u32)>::bytes_max(k))
    }

    /// Fails if there was no memory for a candidate, whose loss the answer would not show.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn check(&self) -> Result<()> {
        match self.refused_bytes {
            0 => Ok(()),
            bytes => Err(Error::out_of_memory("the candidates of a search", bytes)),
        }
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

    /// Takes note of a row that the filter refused.
    pub fn refuse(&mut self, upper_bound: f32) {
        if upper_bound > self.upper.threshold() {
            return;
        }
        let room = 2 * self.refused_most;
        if self.refused.capacity() < room
            && self.refused.try_reserve_exact(room - self.refused.len()).is_err()
        {
            self.refused_bytes = (room * std::mem::size_of::<f32>()) as u64;
            return;
        }
        self.refused.push(upper_bound);
        if self.refused.len() == room {
            self.refused.select_nth_unstable_by(self.refused_most, f32::total_cmp);
            self.refused.truncate(self.refused_most);
        }
    }

    /// How many of the rows that were refused are as close, by their bounds, as the k that were found, up to some
    /// hundred for each. Does not depend on the order of arrival.
    pub fn refused(&self) -> usize {
        let threshold = self.upper.threshold();
        self.refused.iter().filter(|bound| **bound <= threshold).count().min(self.refused_most)
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

    /// The k-th smallest upper bound, whatever limit the answers have.
    #[inline]
    pub fn kth(&self) -> f32 {
        self.upper.threshold()
    }

    /// How many upper bounds are held: k, unless fewer rows were met.
    pub fn found(&self) -> usize {
        self.upper.len()
    }

    /// Offers a row whose lower bound is not above `threshold()`.
    #[inline]
    pub fn push(&mut self, candidate: Candidate, upper_bound: f32) {
        self.upper.push(upper_bound, (candidate.segment, candidate.position));
        self.keep(candidate);
    }

    #[inline]
    fn keep(&mut self, candidate: Candidate) {
        if self.list.len() == self.list.capacity() && !self.grow() {
            return;
        }
        self.list.push(candidate);
        if self.list.len() >= 2 * self.capacity {
            self.cut();
        }
    }

    /// Makes room for more; false if there is no memory, which `check` then says.
    #[cold]
    fn grow(&mut self) -> bool {
        let held = self.list.len();
        // By doubling, and to the end where another doubling would leave less than one to do.
        let room = if held > self.most / 4 { self.most } else { 2 * held };
        let room = room.max(held + LIST_MIN);
        let grown = self.list.try_reserve_exact(room - held).is_ok();
        if !grown {
            self.refused_bytes = (room * std::mem::size_of::<Candidate>()) as u64;
        }
        grown
    }

    /// Takes over what another thread found.
    pub fn merge(&mut self, other: &Self) {
        for held in other.upper.as_slice() {
            self.upper.push(held.distance, held.key);
        }
        for candidate in &other.list {
            self.keep(*candidate);
        }
        self.count_outer(other.outer_near);
        other.refused.iter().for_each(|bound| self.refuse(*bound));
        self.refused_bytes = self.refused_bytes.max(other.refused_bytes);
    }

    /// Drops what can be no answer; from here on candidates come [`in order`](Self::in_order).
    pub fn close(&mut self) {
        self.cut();
        self.ordered = 0;
    }

    /// The `nth` candidate in the order of lower bounds. As many as are asked for are sorted, and some more: a search
    /// seldom wants all.
    #[inline]
    pub fn in_order(&mut self, nth: usize) -> Option<&Candidate> {
        while nth >= self.ordered && self.ordered < self.list.len() {
            self.order_more();
        }
        self.list.get(nth)
    }

    /// The closed candidates of a segment, in any order. Their bounds may be raised.
    pub fn of_segment(&mut self, segment: u32) -> &mut [Candidate] {
        self.ordered = 0;
        partition(&mut self.list, |candidate| candidate.segment == segment)
    }

    /// Drops the candidates with a greater bound.
    pub fn keep_within(&mut self, limit: f32) {
        self.ordered = 0;
        self.list.retain(|candidate| !candidate.is_beyond(limit));
    }

    fn order_more(&mut self) {
        let rest = &mut self.list[self.ordered..];
        let more = rest.len().min(self.ordered.max(ORDERED_MIN));
        if more < rest.len() {
            rest.select_nth_unstable_by_key(more, Candidate::rank);
        }
        rest[..more].sort_unstable_by_key(Candidate::rank);
        self.ordered += more;
    }

    /// Bytes of the lists.
    pub fn memory_bytes(&self) -> usize {
        let refused = self.refused.capacity() * std::mem::size_of::<f32>();
        self.list.capacity() * std::mem::size_of::<Candidate>() + self.upper.memory_bytes() + refused
    }

    fn cut(&mut self) {
        let threshold = self.threshold();
        self.list.retain(|candidate| candidate.bound <= threshold);
        if self.list.len() > self.capacity {
            self.list.select_nth_unstable_by_key(self.capacity, Candidate::rank);
            self.list.truncate(self.capacity);
        }
    }
}

/// Puts the candidates of which `holds` is true before the others, in no order; those.
pub fn partition(list: &mut [Candidate], holds: impl Fn(&Candidate) -> bool) -> &mut [Candidate] {
    let mut count = 0;
    for nth in 0..list.len() {
        if holds(&list[nth]) {
            list.swap(count, nth);
            count += 1;
        }
    }
    &mut list[..count]
}

fn capacity(k: usize) -> usize {
    CAPACITY_MIN.max(k.saturating_mul(CAPACITY_A_K))
}

fn refused_most(k: usize) -> usize {
    k.saturating_mul(REFUSED_A_K).clamp(REFUSED_MIN, REFUSED_MAX)
}

fn most(k: usize, rows: u64) -> usize {
    capacity(k).saturating_mul(2).min(usize::try_from(rows).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::rng::SplitMix64;

    fn all(candidates: &mut Candidates) -> Vec<Candidate> {
        candidates.close();
        (0..).map_while(|nth| candidates.in_order(nth).copied()).collect()
    }

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
            left.reset(10, 60_000, f32::INFINITY).unwrap();
            right.reset(10, 60_000, f32::INFINITY).unwrap();
            for (i, (candidate, upper)) in rows.iter().enumerate() {
                let side = if i % (round + 1) == 0 { &mut left } else { &mut right };
                if candidate.bound <= side.threshold() {
                    side.push(*candidate, *upper);
                }
            }
            left.merge(&right);
            let kept = all(&mut left);
            let rank = |c: &Candidate| (c.bound, c.segment, c.position);
            assert!(!kept.is_empty() && kept.is_sorted_by(|a, b| rank(a) < rank(b)));
            assert_eq!(expected.get_or_insert_with(|| kept.clone()), &kept);
            for i in (1..rows.len()).rev() {
                rows.swap(i, random.below(i as u64 + 1) as usize);
            }
        }
    }

    #[test]
    fn what_bounds_rule_out_goes_and_the_rest_comes_in_their_order() {
        let mut random = SplitMix64::new(12);
        let mut candidates = Candidates::default();
        candidates.reset(500, 60_000, f32::INFINITY).unwrap();
        for position in 0..500 {
            let bound = random.next_f32();
            candidates.push(Candidate { bound, segment: position % 3, position }, 2.0);
        }
        candidates.close();
        assert!(candidates.in_order(70).is_some());
        let mine = candidates.of_segment(1);
        assert!(mine.len() == 167 && mine.iter().all(|candidate| candidate.segment == 1));
        mine.iter_mut().for_each(|candidate| candidate.bound += 0.5);
        candidates.keep_within(0.75);
        let left: Vec<Candidate> = (0..).map_while(|nth| candidates.in_order(nth).copied()).collect();
        assert!(left.is_sorted_by(|a, b| a.bound <= b.bound) && left.last().unwrap().bound <= 0.75);
        let of_segment = |segment| left.iter().filter(|candidate| candidate.segment == segment).count();
        assert!(of_segment(1) < 60 && of_segment(0) > 100 && of_segment(2) > 100, "{}", of_segment(1));
    }

    #[test]
    fn refused_rows_are_counted_alike_in_any_order_and_on_any_threads() {
        let mut random = SplitMix64::new(4);
        for (admitted, near) in [(40, 30_000u64), (20_000, 5), (0, 10_000)] {
            let mut rows: Vec<(bool, f32)> = (0..20_000).map(|_| (false, random.next_f32())).collect();
            rows.extend((0..admitted).map(|_| (true, random.below(near) as f32 * 1e-4)));
            let mut expected = None;
            for round in 0..5 {
                let (mut left, mut right) = (Candidates::default(), Candidates::default());
                left.reset(10, 60_000, f32::INFINITY).unwrap();
                right.reset(10, 60_000, f32::INFINITY).unwrap();
                for (position, (is_admitted, upper)) in (0u32..).zip(&rows) {
                    let side = if position % (round + 1) == 0 { &mut left } else { &mut right };
                    if *is_admitted {
                        side.push(Candidate { bound: 0.0, segment: 0, position }, *upper);
                    } else {
                        side.refuse(*upper);
                    }
                }
                left.merge(&right);
                assert_eq!(*expected.get_or_insert(left.refused()), left.refused());
                for i in (1..rows.len()).rev() {
                    rows.swap(i, random.below(i as u64 + 1) as usize);
                }
            }
        }
    }

    #[test]
    fn equal_rows_are_cut_to_the_capacity() {
        let mut candidates = Candidates::default();
        candidates.reset(10, 100_000, f32::INFINITY).unwrap();
        for position in 0..100_000 {
            candidates.push(Candidate { bound: 1.0, segment: 0, position }, 2.0);
            assert!(candidates.memory_bytes() as u64 <= Candidates::bytes_max(10, 100_000));
        }
        candidates.check().unwrap();
        let kept = all(&mut candidates);
        assert_eq!(kept.len(), CAPACITY_MIN);
        assert_eq!(kept.last().map(|c| c.position), Some(CAPACITY_MIN as u32 - 1));
    }
}
