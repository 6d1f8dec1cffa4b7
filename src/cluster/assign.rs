//! The nearest centroids of rows.
//!
//! In: rows and centroids, packed. Out: for each row the index of its nearest centroid, ties to the smaller index,
//! and the squared distance on request; within a block, the few nearest.
//!
//! |x - c|^2 = |x|^2 + |c|^2 - 2 x.c, and |x|^2 is the same for every centroid: a matrix product and one
//! addition rank them. With rows far from the origin the large terms cancel and leave noise, so centroids
//! are shifted by their mean m: with c = m + s the rank is |s|^2 + 2 m.s - 2 x.s, whose terms are as small
//! as the centroids are close together. The shift costs a copy of the centroids and nothing a row.
//!
//! Rows are taken in blocks, centroids in tiles; the products of block and tile stay in the second-level
//! cache until they are ranked, 16 at a time against the worst that is kept.
//!
//! Calls `kernels` (matrix product) and `pool`.

use super::numbers::{mean_of, squared_distance};
use super::route::{BEAM, GATHERED_ROWS};
use super::train::FLAT_CENTRES_MAX;
use crate::kernels::gemm::inner_products;
use crate::memory::{try_vec, try_with_capacity};
use crate::pool::{Stop, Team};
use crate::types::Result;

/// Stands where a row has fewer centroids than were asked for.
pub const NO_CENTROID: u32 = u32::MAX;

/// Rows whose products with one tile are formed at once.
pub(crate) const BLOCK_ROWS: usize = 256;

/// Centroids in a tile: with [`BLOCK_ROWS`] rows the products take 512 KiB.
const TILE_CENTROIDS: usize = 512;

/// Bytes that a thread takes for ranking rows against `cells` centres: the products of a block and a tile, the rows of
/// a block and what the matrix product packs, and of a block that is gathered by group its choices.
pub fn thread_bytes(cells: usize, dim: usize) -> usize {
    let products = BLOCK_ROWS * TILE_CENTROIDS.min(cells) * 4;
    let choices = if cells > FLAT_CENTRES_MAX { GATHERED_ROWS * (BEAM + 1) * 12 } else { BLOCK_ROWS * 4 };
    products + choices + (BLOCK_ROWS + TILE_CENTROIDS.min(cells)) * dim * 4
}

/// Ranks compared at once with the worst kept.
const LANES: usize = 16;

/// Centres of cells: count x dim, packed.
#[derive(Clone, Debug, PartialEq)]
pub struct Centroids {
    /// The centres, one after the other.
    pub data: Vec<f32>,
    /// Their dimension, at least 1.
    pub dim: usize,
}

impl Centroids {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.data.len() / self.dim
    }

    /// The one numbered `index`.
    pub fn centre(&self, index: usize) -> &[f32] {
        &self.data[index * self.dim..][..self.dim]
    }
}

/// The nearest centroid of each row.
///
/// * `rows`: n x dim, packed
/// * `out`: n indices
/// * `distances`: n squared distances, if wanted
///
/// # Errors
/// `OutOfMemory`.
///
/// # Panics
/// If there are no centroids, or a length does not fit.
pub fn assign<'p>(
    rows: &[f32],
    centroids: &Centroids,
    pool: impl Into<Team<'p>>,
    out: &mut [u32],
    distances: Option<&mut [f32]>,
) -> Result<()> {
    assign_until(rows, centroids, pool.into(), &Stop::NEVER, out, distances)
}

/// [`assign`], until `stop` says so: then some outputs are left as they were.
pub(crate) fn assign_until(
    rows: &[f32],
    centroids: &Centroids,
    pool: Team<'_>,
    stop: &Stop<'_>,
    out: &mut [u32],
    distances: Option<&mut [f32]>,
) -> Result<()> {
    let ranking = Ranking::new(&centroids.data, centroids.dim)?;
    for_each_block(rows, BLOCK_ROWS, &ranking, pool, stop, out, distances, |rows, found| {
        ranking.nearest(rows, found)
    })
}

/// Cuts rows and outputs into blocks, lets `find` fill the lists of each block with ranks, one a row, and makes them
/// distances if those are wanted. Once `stop` says so, blocks are left as they were.
pub(crate) fn for_each_block(
    rows: &[f32],
    block_rows: usize,
    ranking: &Ranking,
    pool: Team<'_>,
    stop: &Stop<'_>,
    out: &mut [u32],
    distances: Option<&mut [f32]>,
    find: impl Fn(&[f32], &mut Nearest<'_>) -> Result<()> + Sync,
) -> Result<()> {
    let dim = ranking.dim;
    assert!(rows.len().is_multiple_of(dim) && out.len() == rows.len() / dim);
    let blocks = rows.chunks(block_rows * dim).zip(out.chunks_mut(block_rows));
    match distances {
        None => pool.try_for_each_of(blocks, |(rows, ids)| {
            if stop.check().is_err() {
                return Ok(());
            }
            let mut ranks = try_vec(ids.len(), 0.0)?;
            find(rows, &mut Nearest::new(1, ids, &mut ranks))
        }),
        Some(distances) => {
            assert_eq!(distances.len(), rows.len() / dim);
            let blocks = blocks.zip(distances.chunks_mut(block_rows));
            pool.try_for_each_of(blocks, |((rows, ids), ranks)| {
                if stop.check().is_err() {
                    return Ok(());
                }
                let mut found = Nearest::new(1, ids, ranks);
                find(rows, &mut found)?;
                ranking.ranks_to_distances(rows, &mut found);
                Ok(())
            })
        }
    }
}

/// The `few` best centroids so far of each row of a block: two matrices, rows sorted by rank.
pub(crate) struct Nearest<'a> {
    few: usize,
    ids: &'a mut [u32],
    ranks: &'a mut [f32],
}

impl<'a> Nearest<'a> {
    /// Empty lists in the given memory.
    pub(crate) fn new(few: usize, ids: &'a mut [u32], ranks: &'a mut [f32]) -> Self {
        ids.fill(NO_CENTROID);
        ranks.fill(f32::INFINITY);
        Nearest { few, ids, ranks }
    }

    /// Ends the search. Where every rank overflowed, the first centroid is as good as any.
    pub(crate) fn close(&mut self) {
        for nearest in self.ids.chunks_exact_mut(self.few).map(|ids| &mut ids[0]) {
            if *nearest == NO_CENTROID {
                *nearest = 0;
            }
        }
    }

    /// Offers row `row` the centroids `first..first + ranks.len()`. Equal ranks keep the order of offering.
    fn offer(&mut self, row: usize, first: usize, ranks: &[f32]) {
        let ids = &mut self.ids[row * self.few..][..self.few];
        let kept = &mut self.ranks[row * self.few..][..self.few];
        let mut worst = kept[self.few - 1];
        for (chunk_index, chunk) in ranks.chunks(LANES).enumerate() {
            if smallest(chunk) >= worst {
                continue;
            }
            for (lane, &rank) in chunk.iter().enumerate() {
                if rank < worst {
                    insert(kept, ids, rank, (first + chunk_index * LANES + lane) as u32);
                    worst = kept[self.few - 1];
                }
            }
        }
    }
}

/// The least of a chunk; infinity for none. Written with comparisons, so that it becomes vector minima.
fn smallest(chunk: &[f32]) -> f32 {
    let least = |a: f32, b: f32| if b < a { b } else { a };
    let Ok(chunk) = <&[f32; LANES]>::try_from(chunk) else {
        return chunk.iter().fold(f32::INFINITY, |a, &b| least(a, b));
    };
    let mut half = LANES / 2;
    let mut lanes = *chunk;
    while half > 0 {
        for i in 0..half {
            lanes[i] = least(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// Puts `rank` behind all that are not larger, dropping the last.
fn insert(ranks: &mut [f32], ids: &mut [u32], rank: f32, id: u32) {
    let mut at = ranks.len() - 1;
    while at > 0 && ranks[at - 1] > rank {
        ranks[at] = ranks[at - 1];
        ids[at] = ids[at - 1];
        at -= 1;
    }
    ranks[at] = rank;
    ids[at] = id;
}

/// Centroids made ready for ranking.
#[derive(Clone, Debug)]
pub(crate) struct Ranking {
    dim: usize,
    /// m: the mean of the centroids.
    mean: Vec<f32>,
    /// s = c - m, count x dim.
    shifted: Vec<f32>,
    /// |s|^2 + 2 m.s.
    bias: Vec<f32>,
}

impl Ranking {
    /// Ranks the centroids in `data`, count x dim.
    pub(crate) fn new(data: &[f32], dim: usize) -> Result<Self> {
        assert!(!data.is_empty(), "no centroids");
        let mean = mean_of(data, dim)?;
        let mut shifted = try_with_capacity(data.len())?;
        let mut bias = try_with_capacity(data.len() / dim)?;
        for centre in data.chunks_exact(dim) {
            let first = shifted.len();
            shifted.extend(centre.iter().zip(&mean).map(|(c, m)| c - m));
            let pairs = shifted[first..].iter().zip(&mean);
            bias.push(
                pairs.map(|(&s, &m)| f64::from(s) * (f64::from(s) + 2.0 * f64::from(m))).sum::<f64>() as f32
            );
        }
        Ok(Ranking { dim, mean, shifted, bias })
    }

    /// Of centroids and rows.
    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    /// Fills the empty lists of a block of rows.
    pub(crate) fn nearest(&self, rows: &[f32], found: &mut Nearest<'_>) -> Result<()> {
        let all = 0..self.bias.len();
        let mut products = try_vec(rows.len() / self.dim * all.len().min(TILE_CENTROIDS), 0.0)?;
        self.offer(rows, all, &mut products, |row| row, found)?;
        found.close();
        Ok(())
    }

    /// Writes the rank of every centroid for every row: n x count.
    pub(crate) fn ranks(&self, rows: &[f32], ranks: &mut [f32]) -> Result<()> {
        inner_products(rows, &self.shifted, self.dim, ranks)?;
        for ranks in ranks.chunks_exact_mut(self.bias.len()) {
            ranks.iter_mut().zip(&self.bias).for_each(|(rank, b)| *rank = b - 2.0 * *rank);
        }
        Ok(())
    }

    /// Offers the centroids in `range` to the lists of the rows; `place` says which list is a row's.
    pub(crate) fn offer(
        &self,
        rows: &[f32],
        range: std::ops::Range<usize>,
        products: &mut [f32],
        place: impl Fn(usize) -> usize,
        found: &mut Nearest<'_>,
    ) -> Result<()> {
        let count = rows.len() / self.dim;
        for first in range.clone().step_by(TILE_CENTROIDS) {
            let tile = first..range.end.min(first + TILE_CENTROIDS);
            let products = &mut products[..count * tile.len()];
            let shifted = &self.shifted[tile.start * self.dim..tile.end * self.dim];
            inner_products(rows, shifted, self.dim, products)?;
            let bias = &self.bias[tile.clone()];
            for (row, ranks) in products.chunks_exact_mut(tile.len()).enumerate() {
                for (rank, b) in ranks.iter_mut().zip(bias) {
                    *rank = b - 2.0 * *rank;
                }
                found.offer(place(row), first, ranks);
            }
        }
        Ok(())
    }

    /// Adds |x - m|^2 to the ranks of each row.
    pub(crate) fn ranks_to_distances(&self, rows: &[f32], found: &mut Nearest<'_>) {
        for (row, ranks) in rows.chunks_exact(self.dim).zip(found.ranks.chunks_exact_mut(found.few)) {
            let own = squared_distance(row, &self.mean);
            ranks.iter_mut().for_each(|rank| *rank = (*rank + own).max(0.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{clustered, THREADS};
    use super::*;
    use crate::pool::Pool;

    /// All centroids by distance in f64, ties to the smaller index.
    fn brute(row: &[f32], centroids: &Centroids) -> Vec<(f64, u32)> {
        let distance =
            |c: &[f32]| c.iter().zip(row).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
        let all = centroids.data.chunks_exact(centroids.dim).map(distance);
        let mut all: Vec<(f64, u32)> = all.zip(0..).collect();
        all.sort_by(|a, b| a.partial_cmp(b).unwrap());
        all
    }

    fn check(rows: &[f32], centroids: &Centroids, few: usize, tolerance: f64) {
        let dim = centroids.dim;
        let n = rows.len() / dim;
        let (mut ids, mut distances) = (vec![7; n * few], vec![f32::NAN; n * few]);
        let ranking = Ranking::new(&centroids.data, dim).unwrap();
        let mut found = Nearest::new(few, &mut ids, &mut distances);
        ranking.nearest(rows, &mut found).unwrap();
        ranking.ranks_to_distances(rows, &mut found);
        for (threads, with_distances) in [(1, false), (2, true)] {
            let (mut nearest, mut near) = (vec![9; n], vec![f32::NAN; n]);
            let wanted = with_distances.then_some(&mut near[..]);
            assign(rows, centroids, &Pool::new(threads), &mut nearest, wanted).unwrap();
            assert!(ids.iter().step_by(few).eq(&nearest));
            assert!(!with_distances || distances.iter().step_by(few).eq(&near));
        }
        for (i, row) in rows.chunks_exact(dim).enumerate() {
            let want = brute(row, centroids);
            let slack = tolerance * (1.0 + want.last().unwrap().0);
            for j in 0..few {
                let (id, got) = (ids[i * few + j], distances[i * few + j]);
                let Some(&(distance, _)) = want.get(j) else {
                    assert_eq!((id, got), (NO_CENTROID, f32::INFINITY));
                    continue;
                };
                assert!((f64::from(got) - distance).abs() <= slack, "{got} for {distance}");
                let own = want.iter().find(|w| w.1 == id).unwrap().0;
                assert!((own - distance).abs() <= slack, "{own} taken for {distance}");
            }
            let mut once = ids[i * few..][..few.min(want.len())].to_vec();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), few.min(want.len()));
        }
    }

    #[test]
    fn nearest_centroids_equal_brute_force() {
        for dim in [1, 3, 16, 50] {
            for count in [1, 2, 15, 16, 17, TILE_CENTROIDS, TILE_CENTROIDS + 1] {
                let centroids = Centroids { data: clustered(count, dim, 20, 1), dim };
                let rows = clustered(BLOCK_ROWS + 3, dim, 20, 2);
                [1, 2, 5].iter().for_each(|&few| check(&rows, &centroids, few, 1e-6));
            }
        }
    }

    #[test]
    fn rows_far_from_the_origin_keep_their_centroids() {
        let lift = |v: Vec<f32>| v.iter().map(|x| x + 30_000.0).collect::<Vec<f32>>();
        let centroids = Centroids { data: lift(clustered(100, 32, 20, 1)), dim: 32 };
        // Without the shift the terms are 3e10 and their rounding 2e3, against distances near 1e3.
        check(&lift(clustered(300, 32, 20, 2)), &centroids, 1, 1e-2);
    }

    #[test]
    fn equal_centroids_are_told_apart_by_index() {
        let centroids = Centroids { data: [[1.0f32, 2.0]; 40].concat(), dim: 2 };
        let (mut ids, mut ranks) = ([0; 6], [0.0; 6]);
        let mut found = Nearest::new(3, &mut ids, &mut ranks);
        let ranking = Ranking::new(&centroids.data, 2).unwrap();
        ranking.nearest(&[1.0, 2.0, 5.0, -1.0], &mut found).unwrap();
        assert_eq!(ids, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let centroids = Centroids { data: clustered(600, 20, 50, 1), dim: 20 };
        let rows = clustered(4000, 20, 50, 2);
        let run = |threads| {
            let (mut ids, mut distances) = (vec![0; 4000], vec![0.0; 4000]);
            assign(&rows, &centroids, &Pool::new(threads), &mut ids, Some(&mut distances)).unwrap();
            (ids, distances)
        };
        let one = run(1);
        THREADS.iter().for_each(|&threads| assert_eq!(run(threads), one));
    }

    #[test]
    fn overflow_still_names_a_centroid() {
        let centroids = Centroids { data: vec![3e38, -3e38, 1.0, 1.0], dim: 2 };
        let mut ids = [9; 2];
        assign(&[3e38, 3e38, -3e38, 1e38], &centroids, &Pool::new(1), &mut ids, None).unwrap();
        assert!(ids.iter().all(|&id| id < 2));
        assign(&[], &centroids, &Pool::new(1), &mut [], None).unwrap();
    }
}
