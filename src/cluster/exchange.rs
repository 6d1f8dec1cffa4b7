//! Rows change to nearer leaves, across the borders of their cells.
//!
//! Leaves are cut cell by cell, so that a row near the border of its cell had no choice among the leaves
//! beyond it, and with 30 leaves a cell most rows are near a border. A query then finds its neighbours in
//! more leaves. Once the leaves of all cells are known, each row names the nearest leaves of the few cells
//! nearest to it ([`LeafFinder`]), and rows move, those that gain most first, while there is room
//! ([`exchange`]). What that is worth: `docs/experiments.md`.
//!
//! In: rows, the cells near each, centroids of leaves, owners. Out: owners. No leaf outgrows its limit.
//!
//! Calls `kernels` (matrix product) and `pool`.

use super::assign::{Centroids, Nearest, Ranking, NO_CENTROID};
use super::numbers::squared_distance;
use super::route::offer_by_group;
use crate::pool::Pool;

/// Passes over the wishes that were not fulfilled; the fourth changes next to nothing.
const PASSES_MAX: usize = 4;

/// Rows that are gathered by cell at once.
const GATHERED_ROWS: usize = 4096;

/// Finds leaves that are nearer to a row than its own.
pub struct LeafFinder<'a> {
    leaves: &'a Centroids,
    ranking: Ranking,
    /// Where the leaves of each cell end.
    ends: &'a [u32],
}

impl<'a> LeafFinder<'a> {
    /// A finder among all leaves.
    ///
    /// * `leaves`: centroids, those of one cell together; scaled to length 1 if rows are ranked by direction
    /// * `ends`: where the leaves of each cell end
    ///
    /// # Panics
    /// If there are no leaves.
    pub fn new(leaves: &'a Centroids, ends: &'a [u32]) -> Self {
        assert_eq!(ends.last().map_or(0, |&end| end as usize), leaves.count());
        LeafFinder { leaves, ranking: Ranking::new(&leaves.data, leaves.dim), ends }
    }

    /// The nearest leaves of each row that are nearer than its own.
    ///
    /// * `rows`: n x dim, packed. Rows of one cell name much the same cells: pass such rows together
    /// * `near`: n x a few, the cells to look into, as [`assign_few`](super::assign_few) names them
    /// * `own`: the leaf of each row
    /// * `choices`: n x few leaves, nearest first; [`NO_CENTROID`] where there are no more
    /// * `gains`: n x few, by how much the squared distance falls
    ///
    /// # Panics
    /// If a length does not fit.
    pub fn nearer(
        &self,
        rows: &[f32],
        near: &[u32],
        own: &[u32],
        pool: &Pool,
        choices: &mut [u32],
        gains: &mut [f32],
    ) {
        let dim = self.leaves.dim;
        assert_eq!(rows.len(), own.len() * dim);
        if own.is_empty() {
            return;
        }
        let (few, beam) = (choices.len() / own.len(), near.len() / own.len());
        assert!(few > 0 && choices.len() == own.len() * few && gains.len() == choices.len());
        assert_eq!(near.len(), own.len() * beam);
        let blocks = choices.chunks_mut(GATHERED_ROWS * few).zip(gains.chunks_mut(GATHERED_ROWS * few));
        let inputs = rows.chunks(GATHERED_ROWS * dim).zip(near.chunks(GATHERED_ROWS * beam));
        let blocks = inputs.zip(own.chunks(GATHERED_ROWS)).zip(blocks);
        pool.for_each_of(blocks, pool.threads(), |(((rows, near), own), (choices, gains))| {
            let mut found = Nearest::new(few, choices, gains);
            offer_by_group(&self.ranking, self.ends, rows, near, &mut found);
            self.ranking.ranks_to_distances(rows, &mut found);
            self.keep_gains(rows, own, few, choices, gains);
        });
    }

    /// Makes distances gains, and takes out the leaves that are not nearer.
    fn keep_gains(&self, rows: &[f32], own: &[u32], few: usize, choices: &mut [u32], gains: &mut [f32]) {
        let lists = choices.chunks_exact_mut(few).zip(gains.chunks_exact_mut(few));
        for ((row, &own), (choices, gains)) in rows.chunks_exact(self.leaves.dim).zip(own).zip(lists) {
            let distance = squared_distance(row, self.leaves.centre(own as usize));
            for (choice, gain) in choices.iter_mut().zip(gains) {
                *gain = distance - *gain;
                // Less than the rounding of the two sums, or not a number, is no gain.
                let nearer = *gain > distance * 1e-6;
                if !nearer || *choice == own || *choice == NO_CENTROID {
                    (*choice, *gain) = (NO_CENTROID, 0.0);
                }
            }
        }
    }
}

/// Moves rows to the leaves they chose, greatest gain first, while those have room and the leaves they come
/// from keep `leaf_min` rows. Returns how many rows have moved in the end.
///
/// * `owners`: the leaf of each row; changed
/// * `leaf_count`: leaves are below this
/// * `choices`, `gains`: as [`LeafFinder::nearer`] wrote them, for all rows
///
/// # Panics
/// If a length does not fit, or a leaf is not below `leaf_count`.
pub fn exchange(
    owners: &mut [u32],
    leaf_count: usize,
    choices: &[u32],
    gains: &[f32],
    leaf_min: usize,
    leaf_max: usize,
) -> usize {
    assert!(choices.len() == gains.len() && owners.len() <= u32::MAX as usize);
    let few = choices.len() / owners.len().max(1);
    assert_eq!(choices.len(), few * owners.len());
    let mut sizes = vec![0usize; leaf_count];
    owners.iter().for_each(|&owner| sizes[owner as usize] += 1);
    // What each row has gained so far.
    let mut gained = vec![0.0f32; owners.len()];
    let mut wishes: Vec<usize> = (0..choices.len()).filter(|&wish| choices[wish] != NO_CENTROID).collect();
    wishes.sort_unstable_by(|&a, &b| gains[b].total_cmp(&gains[a]).then(a.cmp(&b)));
    let mut moved = vec![false; owners.len()];
    // Rows that leave make room for rows that had to wait.
    for _ in 0..PASSES_MAX {
        let mut fulfilled = false;
        wishes.retain(|&wish| {
            let row = wish / few;
            let (from, to) = (owners[row] as usize, choices[wish] as usize);
            if gains[wish] <= gained[row] {
                return false;
            }
            if sizes[to] >= leaf_max || sizes[from] <= leaf_min {
                return true;
            }
            sizes[from] -= 1;
            sizes[to] += 1;
            owners[row] = to as u32;
            gained[row] = gains[wish];
            moved[row] = true;
            fulfilled = true;
            false
        });
        if !fulfilled {
            break;
        }
    }
    moved.into_iter().filter(|&moved| moved).count()
}

#[cfg(test)]
mod tests {
    use super::super::numbers::{group_by, mean_of, members};
    use super::super::testing::{clustered, THREADS};
    use super::*;

    #[test]
    fn choices_are_the_nearest_leaves_of_the_named_cells() {
        let (n, dim, few, beam) = (5000, 6, 3, 2);
        let rows = clustered(n, dim, 30, 1);
        let leaves = Centroids { data: clustered(60, dim, 30, 2), dim };
        let ends = [7, 7, 20, 45, 60];
        let near: Vec<u32> = (0..n as u32).flat_map(|row| [row % 5, (row + 2) % 5]).collect();
        let own: Vec<u32> = (0..n as u32).map(|row| row % 60).collect();
        let finder = LeafFinder::new(&leaves, &ends);
        let run = |threads| {
            let (mut choices, mut gains) = (vec![0; n * few], vec![0.0; n * few]);
            finder.nearer(&rows, &near, &own, &Pool::new(threads), &mut choices, &mut gains);
            (choices, gains)
        };
        let (choices, gains) = run(1);
        THREADS.iter().for_each(|&threads| assert_eq!(run(threads), (choices.clone(), gains.clone())));
        for (i, row) in rows.chunks_exact(dim).enumerate() {
            let distance = |leaf: u32| squared_distance(row, leaves.centre(leaf as usize));
            let seen = |leaf: &u32| {
                near[i * beam..][..beam].contains(&(ends.partition_point(|end| end <= leaf) as u32))
            };
            let mut nearer: Vec<u32> = (0..60).filter(seen).collect();
            nearer.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)));
            nearer.truncate(few);
            for j in 0..few {
                let got = (choices[i * few + j], gains[i * few + j]);
                match nearer.get(j).filter(|&&leaf| distance(leaf) < distance(own[i])) {
                    None => assert_eq!(got, (NO_CENTROID, 0.0)),
                    Some(&leaf) => {
                        assert_eq!(got.0, leaf);
                        assert!((got.1 - distance(own[i]) + distance(leaf)).abs() < 1e-3);
                    }
                }
            }
        }
    }

    #[test]
    fn an_exchange_keeps_every_limit_and_lowers_the_residual() {
        let (n, dim, few, leaf_count) = (3000, 8, 2, 75);
        let rows = clustered(n, dim, 20, 1);
        // Leaves of 40 by position, which means by nothing; all in one cell.
        let mut owners: Vec<u32> = (0..n).map(|row| (row * leaf_count / n) as u32).collect();
        let mut before = f64::INFINITY;
        for round in 0..6 {
            let (order, ends) = group_by(&owners, leaf_count);
            let mean = |leaf| {
                let own =
                    members(&order, &ends, leaf).iter().flat_map(|&row| &rows[row as usize * dim..][..dim]);
                mean_of(&own.copied().collect::<Vec<_>>(), dim)
            };
            let leaves = Centroids { data: (0..leaf_count).flat_map(mean).collect(), dim };
            let (mut choices, mut gains) = (vec![0; n * few], vec![0.0; n * few]);
            let ends = [leaf_count as u32];
            let finder = LeafFinder::new(&leaves, &ends);
            finder.nearer(&rows, &vec![0; n], &owners, &Pool::new(1), &mut choices, &mut gains);
            let old = owners.clone();
            let moved = exchange(&mut owners, leaf_count, &choices, &gains, 20, 50);
            assert_eq!(moved, old.iter().zip(&owners).filter(|(a, b)| a != b).count());
            let mut sizes = vec![0; leaf_count];
            owners.iter().for_each(|&owner| sizes[owner as usize] += 1);
            assert!(sizes.iter().all(|size| (20..=50).contains(size)), "round {round}: {sizes:?}");
            let each = rows.chunks_exact(dim).zip(&owners);
            let after: f64 = each
                .map(|(row, &owner)| f64::from(squared_distance(row, leaves.centre(owner as usize))))
                .sum();
            assert!(after < before && moved > 0, "round {round}: {after} after {before}");
            before = after;
        }
    }

    #[test]
    fn nothing_to_exchange_is_no_error() {
        assert_eq!(exchange(&mut [], 0, &[], &[], 0, 1), 0);
        assert_eq!(exchange(&mut [0, 0], 2, &[NO_CENTROID, 1], &[0.0, 3.0], 2, 2), 0);
        assert_eq!(exchange(&mut [0, 0], 2, &[NO_CENTROID, 1], &[0.0, 3.0], 1, 2), 1);
    }
}
