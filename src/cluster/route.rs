//! Rows to cells, by way of groups of cells where there are many.
//!
//! With 5,000 cells a row would be compared 5,000 times. Instead the groups of cells are ranked first, 70 of
//! them, and only the cells of the [`BEAM`] nearest groups after that: 350 comparisons. The rows of a block
//! are gathered by group, so that each group's cells meet all rows that chose it together.
//!
//! In: rows. Out: the nearest cells, among those of the groups that were looked into.
//!
//! Calls `pool`.

use super::assign::{for_each_block, Nearest, RankWork, Ranking, BLOCK_ROWS, NO_CENTROID};
use super::numbers::{group_by, members};
use crate::memory::{try_collect, try_vec, try_with_capacity};
use crate::pool::{Stop, Team};
use crate::types::Result;

/// Groups that a row looks into.
pub(crate) const BEAM: usize = 4;

/// Rows that are gathered by group at once: enough that a group meets some hundred rows of a block.
pub(crate) const GATHERED_ROWS: usize = 4096;

/// The way from rows to cells.
#[derive(Clone, Debug)]
pub(crate) struct Router {
    dim: usize,
    /// The centres of the groups, if there are several.
    centres: Option<Ranking>,
    /// The cells of each group, with the number of the first.
    groups: Vec<(usize, Ranking)>,
}

impl Router {
    /// Compares every row with every cell.
    pub(crate) fn flat(cells: &[f32], dim: usize) -> Result<Self> {
        let groups = try_collect([(0, Ranking::new(cells, dim)?)])?;
        Ok(Router { dim, centres: None, groups })
    }

    /// Compares rows with the cells of the nearest groups; those of one group lie together and end at `ends`.
    pub(crate) fn grouped(cells: &[f32], dim: usize, centres: &[f32], ends: &[u32]) -> Result<Self> {
        let mut groups = try_with_capacity(ends.len())?;
        let mut kept = try_with_capacity(centres.len())?;
        let mut first = 0;
        for (end, centre) in ends.iter().zip(centres.chunks_exact(dim)) {
            let end = *end as usize;
            if first < end {
                groups.push((first, Ranking::new(&cells[first * dim..end * dim], dim)?));
                kept.extend_from_slice(centre);
            }
            first = end;
        }
        Ok(Router { dim, centres: Some(Ranking::new(&kept, dim)?), groups })
    }

    /// The nearest cell of each row, until `stop` says so; see [`assign`](super::assign).
    pub(crate) fn assign(
        &self,
        rows: &[f32],
        pool: Team<'_>,
        stop: &Stop<'_>,
        out: &mut [u32],
        distances: Option<&mut [f32]>,
    ) -> Result<()> {
        let block_rows = if self.centres.is_some() { GATHERED_ROWS } else { BLOCK_ROWS };
        for_each_block(rows, self.dim, block_rows, pool, stop, out, distances, |rows, found| {
            self.nearest(rows, found)
        })
    }

    /// Fills the empty lists of at most [`GATHERED_ROWS`] rows, or [`BLOCK_ROWS`] where there are no groups.
    fn nearest(&self, rows: &[f32], found: &mut Nearest<'_>) -> Result<()> {
        let rows: Vec<&[f32]> = try_collect(rows.chunks_exact(self.dim))?;
        let widest = self.groups.iter().map(|(_, cells)| cells.count()).max().unwrap_or(0);
        let centres = self.centres.as_ref().map_or(0, Ranking::count);
        let mut work = RankWork::new(self.dim, widest.max(centres))?;
        match &self.centres {
            None => self.groups[0].1.offer(rows.iter().copied().enumerate(), 0, &mut work, found),
            Some(centres) => self.by_groups(centres, &rows, &mut work, found)?,
        }
        found.close();
        Ok(())
    }

    /// Offers each row the cells of the groups nearest to it, group by group: the rows that chose one meet its cells
    /// together.
    fn by_groups(
        &self,
        centres: &Ranking,
        rows: &[&[f32]],
        work: &mut RankWork,
        found: &mut Nearest<'_>,
    ) -> Result<()> {
        let beam = BEAM.min(self.groups.len());
        let mut chosen = try_vec(rows.len() * beam, 0)?;
        let mut ranks = try_vec(rows.len() * beam, 0.0)?;
        for (block, rows) in rows.chunks(BLOCK_ROWS).enumerate() {
            let first = block * BLOCK_ROWS * beam;
            let range = first..first + rows.len() * beam;
            let mut nearest = Nearest::new(beam, &mut chosen[range.clone()], &mut ranks[range]);
            centres.offer(rows.iter().copied().enumerate(), 0, work, &mut nearest);
        }
        // Where ranks overflow, a row may have chosen fewer groups.
        chosen.iter_mut().for_each(|group| *group = if *group == NO_CENTROID { 0 } else { *group });
        let (order, ends) = group_by(&chosen, self.groups.len())?;
        for (group, (first, cells)) in self.groups.iter().enumerate() {
            for choices in members(&order, &ends, group).chunks(BLOCK_ROWS) {
                let chose = choices.iter().map(|choice| *choice as usize / beam);
                cells.offer(chose.map(|row| (row, rows[row])), *first, work, found);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::balance::{split_into_leaves, LeafParams};
    use super::super::numbers::{mean_of, squared_distance};
    use super::super::testing::{clustered, THREADS};
    use super::*;
    use crate::pool::Pool;

    /// Cells in groups of about 20, their router, and the plain one.
    fn routers(cells: usize, dim: usize) -> (Vec<f32>, Router, Router) {
        let rows = clustered(cells, dim, 30, 1);
        let params =
            LeafParams { leaf_target: 20, leaf_max: 0, at_once_max: 4_096, seed: 1, spherical: false };
        let groups = split_into_leaves(&rows, dim, &params, &Stop::NEVER).unwrap();
        let cells: Vec<f32> =
            groups.order.iter().flat_map(|&cell| &rows[cell as usize * dim..][..dim]).copied().collect();
        let mut centres = Vec::new();
        for group in 0..groups.count() {
            let first = if group == 0 { 0 } else { groups.ends[group - 1] } as usize;
            centres.extend(mean_of(&cells[first * dim..groups.ends[group] as usize * dim], dim).unwrap());
        }
        let flat = Router::flat(&cells, dim).unwrap();
        let grouped = Router::grouped(&cells, dim, &centres, &groups.ends).unwrap();
        (cells, grouped, flat)
    }

    fn run(router: &Router, rows: &[f32], threads: usize) -> (Vec<u32>, Vec<f32>) {
        let count = rows.len() / router.dim;
        let (mut out, mut distances) = (vec![0; count], vec![0.0; count]);
        let pool = Pool::new(threads);
        router.assign(rows, (&pool).into(), &Stop::NEVER, &mut out, Some(&mut distances)).unwrap();
        (out, distances)
    }

    #[test]
    fn the_way_by_groups_seldom_misses_the_nearest_cell() {
        let dim = 12;
        let (cells, grouped, flat) = routers(400, dim);
        // Of the same clusters as the cells.
        let rows = clustered(9000, dim, 30, 1);
        let (by_groups, distances) = run(&grouped, &rows, 1);
        let (all, nearest) = run(&flat, &rows, 1);
        let missed = by_groups.iter().zip(&all).filter(|(a, b)| a != b).count();
        assert!(missed < 9000 / 50, "{missed} of 9000");
        for (i, row) in rows.chunks_exact(dim).enumerate() {
            let own = squared_distance(row, &cells[by_groups[i] as usize * dim..][..dim]);
            assert!((own.sqrt() - distances[i].sqrt()).abs() < 0.1);
            assert!(distances[i].sqrt() >= nearest[i].sqrt() - 0.1);
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let (_, grouped, _) = routers(300, 6);
        let rows = clustered(10_000, 6, 30, 2);
        let one = run(&grouped, &rows, 1);
        THREADS.iter().for_each(|&threads| assert_eq!(run(&grouped, &rows, threads), one));
    }

    #[test]
    fn few_cells_are_named_in_order_and_once() {
        let (_, grouped, _) = routers(45, 6);
        let rows = clustered(100, 6, 30, 3);
        let (mut ids, mut distances) = (vec![0; 5000], vec![0.0; 5000]);
        grouped.nearest(&rows, &mut Nearest::new(50, &mut ids, &mut distances)).unwrap();
        for (ids, distances) in ids.chunks_exact(50).zip(distances.chunks_exact(50)) {
            assert!(distances.is_sorted());
            let mut named: Vec<u32> = ids.iter().copied().filter(|&id| id != NO_CENTROID).collect();
            assert!(named.len() >= 40);
            named.sort_unstable();
            assert!(named.is_sorted_by(|a, b| a < b));
        }
    }

    #[test]
    fn rows_that_overflow_still_find_a_cell() {
        let (_, grouped, _) = routers(100, 6);
        let (ids, _) = run(&grouped, &[3e38; 12], 1);
        assert!(ids.iter().all(|&id| id < 100));
    }
}
