//! The centres that rows are assigned by: many, trained on a sample by way of groups.
//!
//! Few centres by k-means. Above [`FLAT_CENTRES_MAX`] of them by rounds of k-means, too, from random rows, but each
//! row of the sample meets only the centres of the groups near to it: after each round the centres themselves are
//! divided into about their square root of groups. Centres that own far too many rows are cut, crumbs given up.
//!
//! In: a sample of rows. Out: the router over the centres.
//!
//! Calls `pool`.

use super::assign::{assign, Centroids};
use super::kmeans::{kmeans, move_to_means, KmeansParams};
use super::numbers::{group_by, members, normalise};
use super::route::Router;
use super::seeding::seeds;
use crate::memory::{try_collect, try_defaults, try_vec, try_with_capacity};
use crate::pool::{Pool, Stop, Team};
use crate::types::rng::SplitMix64;
use crate::types::Result;

/// Up to this many centres, rows are compared with every one.
pub(crate) const FLAT_CENTRES_MAX: usize = 1024;

/// A centre that owns more than this many mean shares of the sample is cut.
const LARGE: usize = 3;

/// One that owns less than a mean share over this is given up: each search meets the cells of a whole region,
/// however few rows they have.
const SMALL: usize = 3;

/// How often sizes are put right where centres are few.
const RESIZES_MAX: u32 = 2;

/// Trains about `wanted` centres on `sample` and gives them in the order of the router.
///
/// # Errors
/// `OutOfMemory`.
pub(crate) fn train(
    sample: &[f32],
    dim: usize,
    wanted: usize,
    params: &KmeansParams,
    pool: Team<'_>,
    stop: &Stop<'_>,
) -> Result<(Centroids, Router)> {
    let rows = sample.len() / dim;
    let wanted = wanted.clamp(1, rows);
    let mut owners = try_vec(rows, 0)?;
    let centres = first_centres(sample, dim, wanted, params, pool, stop)?;
    let rounds = if centres.count() > FLAT_CENTRES_MAX { params.iterations_max } else { RESIZES_MAX };
    let (mut ordered, mut way) = router(centres, params, pool, stop)?;
    for round in 0..=rounds {
        way.assign(sample, pool, stop, &mut owners, None)?;
        // Once stopped, some owners are of the round before, which may have had more centres.
        if stop.check().is_err() {
            break;
        }
        let (order, ends) = group_by(&owners, ordered.count())?;
        if ordered.count() <= FLAT_CENTRES_MAX && !out_of_bounds(&ends, wanted) {
            break;
        }
        // What is cut last leaves crumbs: once more these are given up, and nothing is cut.
        let most = if round < rounds { usize::MAX } else { 1 };
        let sizes = Sizes { wanted, most };
        let centres = resized(sample, ordered, &order, &ends, sizes, params, pool, stop)?;
        (ordered, way) = router(centres, params, pool, stop)?;
    }
    Ok((ordered, way))
}

/// The way to the centres, by groups if there are many; and the centres in its order.
fn router(
    centres: Centroids,
    params: &KmeansParams,
    pool: Team<'_>,
    stop: &Stop<'_>,
) -> Result<(Centroids, Router)> {
    let (count, dim) = (centres.count(), centres.dim);
    if count <= FLAT_CENTRES_MAX {
        let router = Router::flat(&centres.data, dim)?;
        return Ok((centres, router));
    }
    let groups = kmeans(&centres.data, dim, count.isqrt(), params, pool, stop)?;
    let mut owners = try_vec(count, 0)?;
    assign(&centres.data, &groups, pool, &mut owners, None)?;
    let (order, ends) = group_by(&owners, groups.count())?;
    let ordered = Centroids { data: packed(&centres.data, dim, &order)?, dim };
    let router = Router::grouped(&ordered.data, dim, &groups.data, &ends)?;
    Ok((ordered, router))
}

/// Centres by k-means alone, or where they are many random rows to begin with.
fn first_centres(
    sample: &[f32],
    dim: usize,
    wanted: usize,
    params: &KmeansParams,
    pool: Team<'_>,
    stop: &Stop<'_>,
) -> Result<Centroids> {
    let wanted = wanted.clamp(1, sample.len() / dim);
    if wanted <= FLAT_CENTRES_MAX {
        return kmeans(sample, dim, wanted, params, pool, stop);
    }
    let seeds = seeds(sample, dim, wanted, &mut SplitMix64::new(params.seed))?;
    Ok(Centroids { data: packed(sample, dim, &seeds)?, dim })
}

/// The rows of these numbers, one after the other.
fn packed(rows: &[f32], dim: usize, numbers: &[u32]) -> Result<Vec<f32>> {
    let mut packed = try_with_capacity(numbers.len() * dim)?;
    numbers.iter().for_each(|&row| packed.extend_from_slice(row_of(rows, dim, row as usize)));
    Ok(packed)
}

pub(crate) fn row_of(rows: &[f32], dim: usize, row: usize) -> &[f32] {
    &rows[row * dim..][..dim]
}

/// K-means on some rows of the sample, on this thread. `part` makes it another random stream.
fn train_on(
    sample: &[f32],
    dim: usize,
    rows: &[u32],
    wanted: usize,
    part: usize,
    params: &KmeansParams,
    stop: &Stop<'_>,
) -> Result<Vec<f32>> {
    let packed = packed(sample, dim, rows)?;
    let kmeans_params = KmeansParams { seed: params.seed.wrapping_add(1 + part as u64), ..*params };
    Ok(kmeans(&packed, dim, wanted, &kmeans_params, &Pool::new(1), stop)?.data)
}

/// Rows of each cell, from where they end.
pub(crate) fn sizes(ends: &[u32]) -> impl Iterator<Item = usize> + '_ {
    let firsts = std::iter::once(0).chain(ends.iter().copied());
    firsts.zip(ends).map(|(first, &end)| (end - first) as usize)
}

/// How many cells one of this size should be, where `rows` should have `cells`; 0: it should not be.
fn pieces(size: usize, rows: usize, cells: usize) -> usize {
    if size * cells > LARGE * rows {
        (size * cells + rows / 2) / rows
    } else {
        usize::from(size * cells * SMALL >= rows)
    }
}

fn out_of_bounds(ends: &[u32], wanted: usize) -> bool {
    let rows = ends.last().map_or(0, |&end| end as usize);
    sizes(ends).any(|size| pieces(size, rows, wanted) != 1)
}

/// How cells should be sized.
#[derive(Clone, Copy)]
struct Sizes {
    /// How many there should be.
    wanted: usize,
    /// Cells that one is cut into at most.
    most: usize,
}

/// Cuts large cells by k-means, leaves out crumbs, and moves the others to their means.
fn resized(
    sample: &[f32],
    mut cells: Centroids,
    order: &[u32],
    ends: &[u32],
    sizes: Sizes,
    params: &KmeansParams,
    pool: Team<'_>,
    stop: &Stop<'_>,
) -> Result<Centroids> {
    let dim = cells.dim;
    move_to_means(sample, order, ends, &mut cells, pool)?;
    if params.spherical {
        cells.data.chunks_exact_mut(dim).for_each(normalise);
    }
    // Where all are small, the largest stays.
    let largest = self::sizes(ends).max().unwrap_or(0);
    let mut parts: Vec<Vec<f32>> = try_defaults(cells.count())?;
    pool.try_for_each_of(parts.iter_mut().enumerate(), |(cell, part)| {
        let rows = members(order, ends, cell);
        let least = usize::from(rows.len() == largest);
        *part = match pieces(rows.len(), order.len(), sizes.wanted).clamp(least, sizes.most) {
            0 => Vec::new(),
            1 => try_collect(cells.centre(cell).iter().copied())?,
            pieces => train_on(sample, dim, rows, pieces, cell, params, stop)?,
        };
        Ok(())
    })?;
    let mut data = try_with_capacity(parts.iter().map(Vec::len).sum())?;
    parts.iter().for_each(|part| data.extend_from_slice(part));
    Ok(Centroids { data, dim })
}
