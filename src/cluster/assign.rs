//! The nearest centroids of rows.
//!
//! In: rows and centroids, packed. Out: for each row the index of its nearest centroid, ties to the smaller index,
//! and the squared distance on request, as near as bytes tell it; within a block, the few nearest.
//!
//! Rows are taken in blocks, centroids in tiles; the distances of block and tile stay in the second-level cache until
//! they are ranked, 16 at a time against the worst that is kept.
//!
//! Calls `bytes` and `pool`.

use super::bytes::ByteRows;
use super::numbers::mean_of;
use super::route::{BEAM, GATHERED_ROWS};
use super::train::FLAT_CENTRES_MAX;
use crate::memory::try_vec;
use crate::pool::{Stop, Team};
use crate::types::Result;

/// Stands where a row has fewer centroids than were asked for.
pub const NO_CENTROID: u32 = u32::MAX;

/// Rows whose distances to one tile are formed at once.
pub(crate) const BLOCK_ROWS: usize = 256;

/// Centroids in a tile: with [`BLOCK_ROWS`] rows products and distances take 1 MiB.
const TILE_CENTROIDS: usize = 512;

/// Bytes that a thread takes for ranking rows against `cells` centres: the rows of a block as bytes, their products
/// with a tile and what those become, and of a block that is gathered by group its choices.
pub fn thread_bytes(cells: usize, dim: usize) -> usize {
    let pairs = BLOCK_ROWS * TILE_CENTROIDS.min(cells) * 8;
    let choices = if cells > FLAT_CENTRES_MAX { GATHERED_ROWS * (BEAM + 1) * 12 } else { BLOCK_ROWS * 4 };
    pairs + choices + ByteRows::bytes_of(BLOCK_ROWS, dim)
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
    let (ranking, dim) = (Ranking::new(&centroids.data, centroids.dim)?, centroids.dim);
    for_each_block(rows, dim, BLOCK_ROWS, pool, stop, out, distances, |rows, found| {
        let mut work = RankWork::new(dim, ranking.count())?;
        ranking.offer(rows.chunks_exact(dim).enumerate(), 0, &mut work, found);
        found.close();
        Ok(())
    })
}

/// Cuts rows and outputs into blocks, and lets `find` fill the lists of each block, one centroid a row. Once `stop`
/// says so, blocks are left as they were.
pub(crate) fn for_each_block(
    rows: &[f32],
    dim: usize,
    block_rows: usize,
    pool: Team<'_>,
    stop: &Stop<'_>,
    out: &mut [u32],
    distances: Option<&mut [f32]>,
    find: impl Fn(&[f32], &mut Nearest<'_>) -> Result<()> + Sync,
) -> Result<()> {
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
                find(rows, &mut Nearest::new(1, ids, ranks))
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

/// Centroids made ready for ranking: as bytes about their mean.
#[derive(Clone, Debug)]
pub(crate) struct Ranking {
    origin: Vec<f32>,
    centres: ByteRows,
}

/// What a thread ranks in.
pub(crate) struct RankWork {
    rows: ByteRows,
    products: Vec<i32>,
    ranks: Vec<f32>,
}

impl RankWork {
    /// Room for blocks of rows against tiles of at most `centres`.
    pub(crate) fn new(dim: usize, centres: usize) -> Result<Self> {
        let pairs = BLOCK_ROWS * centres.min(TILE_CENTROIDS);
        Ok(RankWork {
            rows: ByteRows::with_capacity(BLOCK_ROWS, dim)?,
            products: try_vec(pairs, 0)?,
            ranks: try_vec(pairs, 0.0)?,
        })
    }
}

impl Ranking {
    /// Ranks the centroids in `data`, count x dim.
    pub(crate) fn new(data: &[f32], dim: usize) -> Result<Self> {
        assert!(!data.is_empty(), "no centroids");
        let origin = mean_of(data, dim)?;
        let centres = ByteRows::of(data, dim, &origin)?;
        Ok(Ranking { origin, centres })
    }

    /// How many centroids there are.
    pub(crate) fn count(&self) -> usize {
        self.centres.count()
    }

    /// Offers the centroids to the lists of at most [`BLOCK_ROWS`] rows, each given with the place of its list. The
    /// first centroid has the number `first`.
    pub(crate) fn offer<'r>(
        &self,
        rows: impl Iterator<Item = (usize, &'r [f32])> + Clone,
        first: usize,
        work: &mut RankWork,
        found: &mut Nearest<'_>,
    ) {
        work.rows.clear();
        rows.clone().for_each(|(_, row)| work.rows.push(row, &self.origin));
        for start in (0..self.count()).step_by(TILE_CENTROIDS) {
            let tile = start..self.count().min(start + TILE_CENTROIDS);
            let pairs = work.rows.count() * tile.len();
            let (products, ranks) = (&mut work.products[..pairs], &mut work.ranks[..pairs]);
            work.rows.distances(&self.centres, tile.clone(), products, ranks);
            for ((place, _), ranks) in rows.clone().zip(ranks.chunks_exact(tile.len())) {
                found.offer(place, first + start, ranks);
            }
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

    fn check(rows: &[f32], centroids: &Centroids, few: usize) {
        let dim = centroids.dim;
        let n = rows.len() / dim;
        let (mut ids, mut distances) = (vec![7; n * few], vec![f32::NAN; n * few]);
        let ranking = Ranking::new(&centroids.data, dim).unwrap();
        let mut work = RankWork::new(dim, ranking.count()).unwrap();
        for (block, rows) in rows.chunks(BLOCK_ROWS * dim).enumerate() {
            let places = block * BLOCK_ROWS * few..(block * BLOCK_ROWS + rows.len() / dim) * few;
            let mut found = Nearest::new(few, &mut ids[places.clone()], &mut distances[places]);
            ranking.offer(rows.chunks_exact(dim).enumerate(), 0, &mut work, &mut found);
            found.close();
        }
        for (threads, with_distances) in [(1, false), (2, true)] {
            let (mut nearest, mut near) = (vec![9; n], vec![f32::NAN; n]);
            let wanted = with_distances.then_some(&mut near[..]);
            assign(rows, centroids, &Pool::new(threads), &mut nearest, wanted).unwrap();
            assert!(ids.iter().step_by(few).eq(&nearest));
            assert!(!with_distances || distances.iter().step_by(few).eq(&near));
        }
        // What bytes round away: half a step at most in each dimension.
        let rounding = |row: &[f32]| {
            let far = row.iter().zip(&ranking.origin).map(|(x, o)| (x - o).abs()).fold(0.0, f32::max);
            f64::from(far) * 0.51 / 127.0 * (dim as f64).sqrt()
        };
        let of_centres = centroids.data.chunks_exact(dim).map(rounding).fold(0.0, f64::max);
        for (i, row) in rows.chunks_exact(dim).enumerate() {
            let want = brute(row, centroids);
            let slack = rounding(row) + of_centres;
            for j in 0..few {
                let (id, got) = (ids[i * few + j], distances[i * few + j]);
                let Some(&(distance, _)) = want.get(j) else {
                    assert_eq!((id, got), (NO_CENTROID, f32::INFINITY));
                    continue;
                };
                assert!((f64::from(got).sqrt() - distance.sqrt()).abs() <= slack, "{got} for {distance}");
                let own = want.iter().find(|w| w.1 == id).unwrap().0;
                assert!((own.sqrt() - distance.sqrt()).abs() <= 2.0 * slack, "{own} taken for {distance}");
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
                [1, 2, 5].iter().for_each(|&few| check(&rows, &centroids, few));
            }
        }
    }

    #[test]
    fn rows_far_from_the_origin_keep_their_centroids() {
        let lift = |v: Vec<f32>| v.iter().map(|x| x + 30_000.0).collect::<Vec<f32>>();
        let centroids = Centroids { data: lift(clustered(100, 32, 20, 1)), dim: 32 };
        // Bytes about the origin itself would be 240 apart, as wide as all rows together.
        check(&lift(clustered(300, 32, 20, 2)), &centroids, 1);
    }

    #[test]
    fn equal_centroids_are_told_apart_by_index() {
        let centroids = Centroids { data: [[1.0f32, 2.0]; 40].concat(), dim: 2 };
        let (mut ids, mut ranks) = ([0; 6], [0.0; 6]);
        let mut found = Nearest::new(3, &mut ids, &mut ranks);
        let (ranking, mut work) = (Ranking::new(&centroids.data, 2).unwrap(), RankWork::new(2, 40).unwrap());
        ranking.offer([1.0, 2.0, 5.0, -1.0].chunks_exact(2).enumerate(), 0, &mut work, &mut found);
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
