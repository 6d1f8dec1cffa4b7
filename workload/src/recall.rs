//! How many of the true nearest rows an answer found, and where the slow answers lie.
//!
//! An id counts when its true distance is not above that of the k-th nearest, give or take a millionth: rows at
//! equal distance are equally right. An id given twice counts once; ids beyond the k asked for are not looked at.

/// The nearest rows of each query, nearest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// Neighbours a query.
    pub k: usize,
    /// Row ids, k a query.
    pub ids: Vec<u64>,
    /// Their distances, k a query; smaller is closer.
    pub distances: Vec<f64>,
}

impl Truth {
    /// Number of queries.
    #[must_use]
    pub fn queries(&self) -> usize {
        self.ids.len() / self.k.max(1)
    }

    /// The largest distance of a query that counts as one of the k nearest; `k` from 1 to the truth's.
    #[must_use]
    pub fn limit(&self, query: usize, k: usize) -> f64 {
        let kth = self.distances[query * self.k + k.min(self.k) - 1];
        kth + (kth.abs() * 1e-6).max(1e-12)
    }

    /// How many of the first k ids found for a query are among its k nearest. Of rows at the distance of the
    /// k-th only those count that the truth lists: ask for truth deeper than k where many rows are equal, or use
    /// [`Truth::hits_by_distance`].
    #[must_use]
    pub fn hits(&self, query: usize, k: usize, found: &[u64]) -> usize {
        let limit = self.limit(query, k);
        let range = query * self.k..(query + 1) * self.k;
        let right = self.ids[range.clone()].iter().zip(&self.distances[range]).filter(|(_, d)| **d <= limit);
        let right: Vec<u64> = right.map(|(id, _)| *id).collect();
        distinct(found, k).filter(|(_, id)| right.contains(id)).count().min(k)
    }

    /// The same, from the true distances of the ids found: right under any number of ties.
    #[must_use]
    pub fn hits_by_distance(&self, query: usize, k: usize, found: &[u64], distances: &[f64]) -> usize {
        let limit = self.limit(query, k);
        distinct(found, k).filter(|(i, _)| distances.get(*i).is_some_and(|d| *d <= limit)).count().min(k)
    }

    /// recall@k over all queries; `found` has `k` ids a query, anything that is no row's id where fewer were
    /// found. 1 when there is nothing to find.
    #[must_use]
    pub fn recall(&self, k: usize, found: &[u64]) -> f64 {
        let k = k.min(self.k);
        if k == 0 || self.queries() == 0 {
            return 1.0;
        }
        let width = found.len() / self.queries();
        let hits = |query: usize| self.hits(query, k, &found[query * width..(query + 1) * width]);
        (0..self.queries()).map(hits).sum::<usize>() as f64 / (self.queries() * k) as f64
    }
}

/// The first k ids, with their places, without those that were there before.
fn distinct(found: &[u64], k: usize) -> impl Iterator<Item = (usize, u64)> + '_ {
    let first = &found[..k.min(found.len())];
    first.iter().copied().enumerate().filter(|(i, id)| !first[..*i].contains(id))
}

/// Middle and tail of a set of measurements.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Percentiles {
    /// Half are not above this.
    pub p50: f64,
    /// 95 in a hundred are not above this.
    pub p95: f64,
    /// 99 in a hundred are not above this.
    pub p99: f64,
    /// 999 in a thousand are not above this.
    pub p999: f64,
}

impl Percentiles {
    /// Of measurements in any order; zeros when there are none.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |share| percentile(&sorted, share);
        Self { p50: at(0.5), p95: at(0.95), p99: at(0.99), p999: at(0.999) }
    }
}

/// The smallest of some ascending values that a share of them is not above (nearest rank); 0 when there are none.
#[must_use]
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    // A hair less than the product, so that 0.95 of 100 is the 95th and not the 96th.
    let rank = (share * sorted.len() as f64 - 1e-9).ceil().max(1.0) as usize;
    sorted.get(rank.min(sorted.len()).wrapping_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    /// One query; ids 0..6 at distances 0 1 2 2 2 3.
    fn truth() -> Truth {
        Truth { k: 6, ids: (0..6).collect(), distances: vec![0.0, 1.0, 2.0, 2.0, 2.0, 3.0] }
    }

    #[test]
    fn ties_at_the_end_are_all_right_and_no_more_than_k_count() {
        let t = truth();
        assert_eq!(t.hits(0, 3, &[0, 1, 4]), 3);
        assert_eq!(t.hits(0, 3, &[2, 3, 4]), 3);
        assert_eq!(t.hits(0, 3, &[0, 1, 5]), 2);
        assert_eq!(t.hits(0, 2, &[0, 2]), 1);
        assert_eq!(t.hits_by_distance(0, 3, &[0, 1, 77], &[0.0, 1.0, 2.000_001]), 3);
        assert_eq!(t.hits_by_distance(0, 3, &[0, 1, 77], &[0.0, 1.0, 2.001]), 2);
    }

    #[test]
    fn repeated_ids_count_once_and_ids_beyond_k_do_not_count() {
        let t = truth();
        assert_eq!(t.hits(0, 3, &[0, 0, 0]), 1);
        assert_eq!(t.hits(0, 2, &[9, 8, 0, 1]), 0);
        assert_eq!(t.hits(0, 3, &[]), 0);
    }

    #[test]
    fn negative_distances_get_their_slack_in_the_right_direction() {
        let t = Truth { k: 2, ids: vec![5, 6], distances: vec![-10.0, -8.0] };
        assert_eq!(t.hits_by_distance(0, 2, &[1, 2], &[-10.0, -7.999_999]), 2);
        assert_eq!(t.hits_by_distance(0, 2, &[1, 2], &[-10.0, -7.9]), 1);
    }

    #[test]
    fn recall_is_that_of_sets_where_nothing_is_tied() {
        let mut stream = Stream::new(3);
        let (queries, k, depth) = (50, 10, 30);
        let ids: Vec<u64> = (0..queries).flat_map(|_| (0..depth as u64).map(|i| i * 7)).collect();
        let distances = (0..queries).flat_map(|_| (0..depth).map(f64::from)).collect();
        let t = Truth { k: depth as usize, ids, distances };
        let found: Vec<u64> = (0..queries * k).map(|_| stream.below(140)).collect();
        let naive: usize =
            found.chunks_exact(k).map(|row| (0..k as u64).filter(|i| row.contains(&(i * 7))).count()).sum();
        assert_eq!(t.recall(k, &found), naive as f64 / (queries * k) as f64);
        assert_eq!(Truth { k: 0, ids: vec![], distances: vec![] }.recall(10, &[]), 1.0);
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let values: Vec<f64> = (1..=1000).rev().map(f64::from).collect();
        let p = Percentiles::of(&values);
        assert_eq!((p.p50, p.p95, p.p99, p.p999), (500.0, 950.0, 990.0, 999.0));
        assert_eq!(Percentiles::of(&[4.0]), Percentiles { p50: 4.0, p95: 4.0, p99: 4.0, p999: 4.0 });
        assert_eq!(Percentiles::of(&[]), Percentiles::default());
    }
}
