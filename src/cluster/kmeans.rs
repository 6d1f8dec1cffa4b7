//! K-means on one level: Lloyd's rounds over all given rows.
//!
//! In: a sample of rows. Out: at most as many centroids as asked for, fewer where there are fewer distinct
//! rows, never NaN. A round names the nearest centroid of each row (`assign`) and moves
//! each centroid to the mean of its rows. A centroid that lost all its rows starts again inside the cell
//! whose rows lie farthest from their centre in sum. Rounds end when hardly a row changes its cell.
//!
//! Work a round: 2 x rows x centroids x dim floating-point operations, nearly all in the product.
//!
//! Each cell is summed by one thread in the order of its rows, so that results do not depend on the threads.

use super::assign::{assign_until, Centroids, NO_CENTROID};
use super::numbers::{group_by, members, normalise, MeanSum};
use super::seeding::{draw, seeds};
use crate::memory::{try_collect, try_vec, try_with_capacity};
use crate::pool::{Stop, Team};
use crate::types::rng::SplitMix64;
use crate::types::Result;

/// Rounds end when at most one row in this many has changed its cell.
const STOP_SHARE: usize = 500;

/// How to train.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KmeansParams {
    /// Any number; the same gives the same centroids.
    pub seed: u64,
    /// Most rounds; at least one is made.
    pub iterations_max: u32,
    /// Scale centroids to length 1. For rows of length 1: the plain mean of rows that have little in common
    /// is short, and near to everything.
    pub spherical: bool,
}

impl Default for KmeansParams {
    fn default() -> Self {
        KmeansParams { seed: 0, iterations_max: 8, spherical: false }
    }
}

/// Trains `count` centroids.
///
/// * `rows`: n x dim, packed, finite
///
/// Returns 1 to `count` centroids; none if there are no rows or `count` is 0. Once `stop` says so it ends
/// early, with centroids that are not good; the caller asks `stop` too.
///
/// # Errors
/// `OutOfMemory`.
pub fn kmeans<'p>(
    rows: &[f32],
    dim: usize,
    count: usize,
    params: &KmeansParams,
    pool: impl Into<Team<'p>>,
    stop: &Stop<'_>,
) -> Result<Centroids> {
    let pool = pool.into();
    assert!(dim > 0 && rows.len().is_multiple_of(dim));
    let mut random = SplitMix64::new(params.seed);
    let mut centroids = Centroids { data: try_with_capacity(count.min(rows.len() / dim) * dim)?, dim };
    let seeds = if count > 0 { seeds(rows, dim, count, &mut random)? } else { Vec::new() };
    for seed in seeds {
        centroids.data.extend_from_slice(&rows[seed as usize * dim..][..dim]);
    }
    if centroids.count() == 0 {
        return Ok(centroids);
    }
    finish_centres(&mut centroids.data, dim, params.spherical);
    let row_count = rows.len() / dim;
    let mut before = try_vec(row_count, NO_CENTROID)?;
    let mut owners = try_vec(row_count, 0)?;
    let mut distances = try_vec(row_count, 0.0)?;
    for _ in 0..params.iterations_max.max(1) {
        assign_until(rows, &centroids, pool, stop, &mut owners, Some(&mut distances))?;
        if stop.check().is_err() {
            break;
        }
        let (order, ends) = group_by(&owners, centroids.count())?;
        move_to_means(rows, &order, &ends, &mut centroids, pool)?;
        let restarted = restart_empty(rows, &order, &ends, &distances, &mut centroids, &mut random)?;
        finish_centres(&mut centroids.data, dim, params.spherical);
        let moved = owners.iter().zip(&before).filter(|(a, b)| a != b).count();
        if moved <= row_count / STOP_SHARE && !restarted {
            break;
        }
        std::mem::swap(&mut owners, &mut before);
    }
    Ok(centroids)
}

fn finish_centres(data: &mut [f32], dim: usize, spherical: bool) {
    if spherical {
        data.chunks_exact_mut(dim).for_each(normalise);
    }
}

/// Puts each centroid at the mean of its rows; one without rows stays.
pub(crate) fn move_to_means(
    rows: &[f32],
    order: &[u32],
    ends: &[u32],
    centroids: &mut Centroids,
    pool: Team<'_>,
) -> Result<()> {
    let dim = centroids.dim;
    let cells_a_part = centroids.count().div_ceil(64);
    let parts = centroids.data.chunks_mut(cells_a_part * dim).enumerate();
    pool.try_for_each_of(parts, |(part, centres)| {
        let mut sum = MeanSum::new(dim)?;
        for (i, centre) in centres.chunks_exact_mut(dim).enumerate() {
            for &row in members(order, ends, part * cells_a_part + i) {
                sum.add(&rows[row as usize * dim..][..dim]);
            }
            sum.take_mean(centre);
        }
        Ok(())
    })
}

/// Puts each centroid without rows on a row of the cell with the largest sum of squared distances, drawn in
/// proportion to its own; removes it if all rows lie on their centres. True if one was placed anew.
fn restart_empty(
    rows: &[f32],
    order: &[u32],
    ends: &[u32],
    distances: &[f32],
    centroids: &mut Centroids,
    random: &mut SplitMix64,
) -> Result<bool> {
    let dim = centroids.dim;
    let count = centroids.count();
    let empty: Vec<usize> = try_collect((0..count).filter(|&cell| members(order, ends, cell).is_empty()))?;
    if empty.is_empty() {
        return Ok(false);
    }
    let far = |cell| members(order, ends, cell).iter().map(|&row| distances[row as usize]);
    let mut sums: Vec<f32> = try_collect((0..count).map(|cell| far(cell).sum()))?;
    let mut unused = try_with_capacity(empty.len())?;
    for &cell in &empty {
        let donor = (0..count).fold(0, |best, other| if sums[other] > sums[best] { other } else { best });
        if sums[donor] > 0.0 {
            let weights = try_collect(far(donor))?;
            let total: f64 = weights.iter().map(|&d| f64::from(d)).sum();
            let row =
                members(order, ends, donor)[draw(&weights, f64::from(random.next_f32()) * total)] as usize;
            centroids.data[cell * dim..][..dim].copy_from_slice(&rows[row * dim..][..dim]);
            // Two centres will share what one had.
            sums[donor] /= 2.0;
        } else {
            unused.push(cell);
        }
    }
    let restarted = unused.len() < empty.len();
    remove(centroids, &unused);
    Ok(restarted)
}

/// Removes the centroids numbered in `unused`, ascending.
fn remove(centroids: &mut Centroids, unused: &[usize]) {
    let dim = centroids.dim;
    for &cell in unused.iter().rev() {
        centroids.data.drain(cell * dim..(cell + 1) * dim);
    }
}

#[cfg(test)]
mod tests {
    use super::super::assign::assign;
    use super::super::seeding::shuffled;
    use super::super::testing::{clustered, objective, THREADS};
    use super::*;
    use crate::pool::Pool;

    fn train(rows: &[f32], dim: usize, count: usize, threads: usize) -> Centroids {
        kmeans(
            rows,
            dim,
            count,
            &KmeansParams { seed: 5, ..KmeansParams::default() },
            &Pool::new(threads),
            &Stop::NEVER,
        )
        .unwrap()
    }

    /// Lloyd from random rows, one row and one centroid at a time, in f64.
    fn naive(rows: &[f32], dim: usize, count: usize, rounds: usize, seed: u64) -> Vec<f32> {
        let mut random = SplitMix64::new(seed);
        let picks = shuffled(rows.len() / dim, &mut random).unwrap();
        let mut centres: Vec<f64> = Vec::new();
        for &pick in &picks[..count] {
            centres.extend(rows[pick as usize * dim..][..dim].iter().map(|&x| f64::from(x)));
        }
        for _ in 0..rounds {
            let mut sums = vec![0.0; centres.len()];
            let mut counts = vec![0.0; count];
            for row in rows.chunks_exact(dim) {
                let far =
                    |c: &[f64]| -> f64 { c.iter().zip(row).map(|(c, &x)| (c - f64::from(x)).powi(2)).sum() };
                let owner = (0..count)
                    .min_by(|&a, &b| {
                        far(&centres[a * dim..][..dim]).total_cmp(&far(&centres[b * dim..][..dim]))
                    })
                    .unwrap();
                counts[owner] += 1.0;
                sums[owner * dim..][..dim].iter_mut().zip(row).for_each(|(s, &x)| *s += f64::from(x));
            }
            for (i, centre) in centres.iter_mut().enumerate() {
                if counts[i / dim] > 0.0 {
                    *centre = sums[i] / counts[i / dim];
                }
            }
        }
        centres.iter().map(|&x| x as f32).collect()
    }

    #[test]
    fn objective_is_not_worse_than_the_plain_algorithm() {
        for (count, rows_n, dim) in [(8, 2000, 10), (40, 3000, 33), (300, 3000, 8)] {
            let rows = clustered(rows_n, dim, 60, 11);
            let ours = train(&rows, dim, count, 1);
            let plain = (0..3).map(|seed| {
                let data = naive(&rows, dim, count, 8, seed);
                objective(&rows, &Centroids { data, dim })
            });
            let best = plain.fold(f64::INFINITY, f64::min);
            let got = objective(&rows, &ours);
            assert!(got <= best * 1.03, "{count} of {rows_n} x {dim}: {got} against {best}");
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let rows = clustered(5000, 24, 30, 2);
        for count in [3, 70, 400] {
            let one = train(&rows, 24, count, 1);
            THREADS.iter().for_each(|&threads| assert_eq!(train(&rows, 24, count, threads), one));
        }
    }

    #[test]
    fn degenerate_inputs_give_few_finite_centroids() {
        let distinct =
            |n: usize, kinds: usize| (0..n).flat_map(|i| [(i % kinds) as f32, 2.0]).collect::<Vec<f32>>();
        for (n, kinds, count, want) in [
            (0, 1, 5, 0),
            (5, 1, 0, 0),
            (1, 1, 1, 1),
            (1, 1, 9, 1),
            (50, 1, 8, 1),
            (50, 3, 8, 3),
            (4, 4, 9, 4),
            (2000, 7, 600, 7),
        ] {
            let centroids = train(&distinct(n, kinds), 2, count, 2);
            assert_eq!(centroids.count(), want, "{n} rows of {kinds} kinds, {count} wanted");
            assert!(centroids.data.iter().all(|x| x.is_finite()));
        }
    }

    #[test]
    fn enormous_and_tiny_rows_give_finite_centroids() {
        for scale in [1e-38f32, 1e-20, 1e19, 1e37] {
            let rows: Vec<f32> = clustered(400, 4, 5, 3).iter().map(|x| x / 100.0 * scale).collect();
            let centroids = train(&rows, 4, 6, 1);
            assert!(centroids.count() > 0 && centroids.data.iter().all(|x| x.is_finite()), "{scale}");
        }
    }

    #[test]
    fn spherical_centroids_have_length_one() {
        let mut rows = clustered(1000, 16, 9, 8);
        rows.chunks_exact_mut(16).for_each(normalise);
        let params = KmeansParams { spherical: true, ..KmeansParams::default() };
        let centroids = kmeans(&rows, 16, 12, &params, &Pool::new(1), &Stop::NEVER).unwrap();
        for centre in centroids.data.chunks_exact(16) {
            assert!((centre.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn no_cell_stays_empty_while_rows_could_fill_it() {
        // Nearly all rows alike, the rest apart: seeds beside the crowd lose their rows at first.
        let rows: Vec<f32> = (0..3000).map(|i| if i % 10 > 0 { 1.0 } else { i as f32 }).collect();
        let centroids = train(&rows, 1, 200, 1);
        let mut owners = vec![0; 3000];
        assign(&rows, &centroids, &Pool::new(1), &mut owners, None).unwrap();
        let used = owners.iter().collect::<std::collections::HashSet<_>>().len();
        assert!(used >= 195, "{used} of {}", centroids.count());
    }
}
