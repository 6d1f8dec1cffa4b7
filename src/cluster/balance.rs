//! One cell of rows into small leaves of nearly equal size.
//!
//! In: the rows of a cell. Out: an order of them and where each leaf ends in it; every leaf within its
//! limit, leaves that lie near each other next to each other where that is possible.
//!
//! A search pays for every row of a leaf it visits, so one large leaf costs as much as many small ones and
//! holds little more of the answer: balance counts as much as closeness. Plain k-means leaves crumbs and
//! giants. Here each of its rounds assigns rows under a limit on the size (`capacity`), so that the centres
//! settle where balanced leaves have theirs; at the end crumbs dissolve into their neighbours. Measured in
//! `docs/experiments.md`: the residual is that of plain k-means, and fewer rows are read for the same recall.
//!
//! - Many equal rows would sit at one distance from any centre, and flood its neighbours; they become leaves
//!   of their own first, cut by position.
//! - A large cell is cut into groups in the same way first, and each group into leaves, unless leaves are as large
//!   as groups: the work is rows x (rows of a group / rows of a leaf) x dim a round.
//!
//! Runs on the calling thread: cells are worked on in parallel. Calls `bytes`.

use super::bytes::ByteRows;
use super::capacity::Capacity;
use super::numbers::{mean_of, normalise, squared_distance, MeanSum};
use super::seeding::{row_hash, seeds};
use crate::memory::{try_collect, try_extend, try_push, try_vec, try_with_capacity};
use crate::pool::Stop;
use crate::types::rng::SplitMix64;
use crate::types::{Error, Result};
use std::borrow::Cow;
use std::collections::HashMap;

/// Rounds of k-means.
const ROUNDS: usize = 5;

/// How to cut a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeafParams {
    /// Rows that a leaf should have, at least 1.
    pub leaf_target: usize,
    /// Most rows of a leaf, at least `leaf_target`; 0: a quarter above it.
    pub leaf_max: usize,
    /// Rows that are cut into leaves at once, at least 4; more are cut into groups of half as many.
    pub at_once_max: usize,
    /// Any number; the same gives the same leaves.
    pub seed: u64,
    /// Rank leaves by direction: for rows of length 1, as in [`KmeansParams`](super::KmeansParams).
    pub spherical: bool,
}

impl LeafParams {
    /// The limit in force.
    pub fn limit(&self) -> usize {
        match self.leaf_max {
            0 => self.leaf_target + self.leaf_target.div_ceil(4),
            limit => limit.max(self.leaf_target),
        }
        .max(1)
    }
}

/// The leaves of one cell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Leaves {
    /// Every row of the cell once, leaf by leaf.
    pub order: Vec<u32>,
    /// Where each leaf ends in `order`, ascending.
    pub ends: Vec<u32>,
}

impl Leaves {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// The rows of one leaf.
    pub fn rows(&self, leaf: usize) -> &[u32] {
        let first = if leaf == 0 { 0 } else { self.ends[leaf - 1] };
        &self.order[first as usize..self.ends[leaf] as usize]
    }
}

/// Cuts the rows of a cell into leaves.
///
/// * `rows`: m x dim, packed, finite
///
/// No leaf is larger than [`LeafParams::limit`], and none has fewer rows than a quarter of the target, unless
/// there are no more. Once `stop` says so the rounds end early, with leaves that are not good; the caller asks `stop`
/// too.
///
/// # Errors
/// `OutOfMemory`.
pub fn split_into_leaves(rows: &[f32], dim: usize, params: &LeafParams, stop: &Stop<'_>) -> Result<Leaves> {
    assert!(dim > 0 && rows.len().is_multiple_of(dim) && params.leaf_target > 0);
    let (random, leaves) = (SplitMix64::new(params.seed), Leaves::default());
    let mut split = Split { rows, dim, params, stop, random, leaves, here: None };
    split.cut(try_collect(0..(rows.len() / dim) as u32)?)?;
    Ok(split.leaves)
}

/// Rows that stay together in the order: of one group, one leaf, or equal.
struct Part {
    rows: Vec<u32>,
    centre: Vec<f32>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Group,
    Leaf,
    Copies,
}

struct Split<'a> {
    rows: &'a [f32],
    dim: usize,
    params: &'a LeafParams,
    stop: &'a Stop<'a>,
    random: SplitMix64,
    leaves: Leaves,
    /// Centre of the last leaf appended.
    here: Option<Vec<f32>>,
}

impl<'a> Split<'a> {
    fn row(&self, row: u32) -> &'a [f32] {
        &self.rows[row as usize * self.dim..][..self.dim]
    }

    /// Parts of fewer rows dissolve.
    fn floor(&self) -> usize {
        self.params.leaf_target / 4
    }

    /// Appends the leaves of the given rows.
    fn cut(&mut self, rows: Vec<u32>) -> Result<()> {
        let mut parts = Vec::new();
        let at_once_max = self.params.at_once_max;
        // Groups could be smaller than a leaf of more rows.
        if rows.len() > at_once_max && self.params.leaf_target <= at_once_max / 2 {
            let others = self.set_copies_apart(rows, at_once_max / 4, &mut parts)?;
            let groups = others.len().div_ceil(at_once_max / 2);
            let limit = at_once_max * 3 / 4;
            self.partition(others, groups, limit, Kind::Group, &mut parts)?;
        } else {
            let target = self.params.leaf_target;
            let others = self.set_copies_apart(rows, target / 2, &mut parts)?;
            let limit = self.params.limit();
            let leaves = ((others.len() + target / 2) / target).max(others.len().div_ceil(limit));
            self.partition(others, leaves, limit, Kind::Leaf, &mut parts)?;
        }
        dissolve_crumbs(&mut parts, self.floor(), self.params.limit())?;
        for index in chain(&parts, self.here.as_deref())? {
            let rows = std::mem::take(&mut parts[index].rows);
            if parts[index].kind == Kind::Group {
                self.cut(rows)?;
            } else {
                self.append(&rows)?;
                self.here = Some(std::mem::take(&mut parts[index].centre));
            }
        }
        Ok(())
    }

    /// Appends rows as leaves, cut by position into as few as the limit allows, of equal size.
    fn append(&mut self, rows: &[u32]) -> Result<()> {
        let mut left = rows;
        for leaves in (1..=rows.len().div_ceil(self.params.limit())).rev() {
            let (leaf, later) = left.split_at(left.len().div_ceil(leaves));
            left = later;
            try_extend(&mut self.leaves.order, leaf.iter().copied())?;
            try_push(&mut self.leaves.ends, self.leaves.order.len() as u32)?;
        }
        Ok(())
    }

    /// Moves rows of which there are `least` equal ones or more into parts of their own; returns the others.
    fn set_copies_apart(&self, rows: Vec<u32>, least: usize, parts: &mut Vec<Part>) -> Result<Vec<u32>> {
        let mut scratch = Vec::new();
        let mut hashes = try_with_capacity(rows.len())?;
        for &row in &rows {
            hashes.push(row_hash(self.row(row), &mut scratch)?);
        }
        let mut copies: HashMap<u64, usize> = try_table(rows.len())?;
        hashes.iter().for_each(|&hash| *copies.entry(hash).or_default() += 1);
        copies.retain(|_, count| *count >= least.max(2));
        if copies.is_empty() {
            return Ok(rows);
        }
        let mut part_of = try_table(copies.len())?;
        let mut others = Vec::new();
        for (row, hash) in rows.into_iter().zip(hashes) {
            if !copies.contains_key(&hash) {
                try_push(&mut others, row)?;
                continue;
            }
            let part = *part_of.entry(hash).or_insert(parts.len());
            if part == parts.len() {
                let centre = try_collect(self.row(row).iter().copied())?;
                try_push(parts, Part { rows: Vec::new(), centre, kind: Kind::Copies })?;
            }
            try_push(&mut parts[part].rows, row)?;
        }
        Ok(others)
    }

    /// Balanced k-means: appends at most `count` parts of at most `limit` rows, which `count` can hold.
    fn partition(
        &mut self,
        rows: Vec<u32>,
        count: usize,
        limit: usize,
        kind: Kind,
        parts: &mut Vec<Part>,
    ) -> Result<()> {
        let dim = self.dim;
        // Of two parts, neither is then a crumb.
        let limit = if count == 2 { limit.min(rows.len() - self.floor()) } else { limit };
        let packed = self.pack(&rows)?;
        let seeds = if count > 1 { seeds(&packed, dim, count, &mut self.random)? } else { Vec::new() };
        if seeds.len() < 2 || seeds.len() * limit < rows.len() {
            // One part; or fewer distinct rows than it takes, which only their positions tell apart.
            let centre = mean_of(&packed, dim)?;
            for rows in rows.chunks(limit) {
                let rows = try_collect(rows.iter().copied())?;
                try_push(parts, Part { rows, centre: try_collect(centre.iter().copied())?, kind })?;
            }
            return Ok(());
        }
        let mut centres = try_with_capacity(seeds.len() * dim)?;
        seeds.iter().for_each(|&seed| centres.extend_from_slice(&packed[seed as usize * dim..][..dim]));
        let origin = mean_of(&packed, dim)?;
        let coded = ByteRows::of(&packed, dim, &origin)?;
        let mut products = try_vec(rows.len() * seeds.len(), 0)?;
        let mut ranks = try_vec(rows.len() * seeds.len(), 0.0)?;
        let mut rank = |centres: &[f32], ranks: &mut [f32]| {
            let centres = ByteRows::of(centres, dim, &origin)?;
            coded.distances(&centres, 0..centres.count(), &mut products, ranks);
            Ok(())
        };
        let mut prices = try_vec(seeds.len(), 0.0)?;
        for _ in 0..ROUNDS {
            if self.stop.check().is_err() {
                break;
            }
            rank(&centres, &mut ranks)?;
            let members = Capacity::assign(&ranks, &mut prices, limit)?.into_members();
            move_to_means(&packed, dim, &members, &mut centres)?;
            if self.params.spherical {
                centres.chunks_exact_mut(dim).for_each(normalise);
            }
            halve(&mut prices);
        }
        rank(&centres, &mut ranks)?;
        let mut capacity = Capacity::assign(&ranks, &mut prices, limit)?;
        capacity.merge_crumbs(self.floor())?;
        for (members, centre) in capacity.into_members().iter().zip(centres.chunks_exact(dim)) {
            if !members.is_empty() {
                let rows = try_collect(members.iter().map(|&row| rows[row as usize]))?;
                try_push(parts, Part { rows, centre: try_collect(centre.iter().copied())?, kind })?;
            }
        }
        Ok(())
    }

    /// The given rows, packed.
    fn pack(&self, rows: &[u32]) -> Result<Cow<'a, [f32]>> {
        if rows.len() * self.dim == self.rows.len() && rows.is_sorted() {
            return Ok(Cow::Borrowed(self.rows));
        }
        let mut packed = try_with_capacity(rows.len() * self.dim)?;
        rows.iter().for_each(|&row| packed.extend_from_slice(self.row(row)));
        Ok(Cow::Owned(packed))
    }
}

/// A table with room for `count` keys.
fn try_table<V>(count: usize) -> Result<HashMap<u64, V>> {
    let mut table = HashMap::new();
    table.try_reserve(count).map_err(|_| Error::out_of_memory("a table of rows", 32 * count as u64))?;
    Ok(table)
}

/// Puts each centre at the mean of its rows; one without rows stays.
fn move_to_means(packed: &[f32], dim: usize, members: &[Vec<u32>], centres: &mut [f32]) -> Result<()> {
    let mut sum = MeanSum::new(dim)?;
    for (centre, members) in centres.chunks_exact_mut(dim).zip(members) {
        members.iter().for_each(|&row| sum.add(&packed[row as usize * dim..][..dim]));
        sum.take_mean(centre);
    }
    Ok(())
}

/// Keeps half of what each price is above the least.
fn halve(prices: &mut [f32]) {
    let least = prices.iter().fold(f32::INFINITY, |a, &b| a.min(b));
    prices.iter_mut().for_each(|price| *price = (*price - least) / 2.0);
}

/// Adds each part of fewer than `floor` rows to the nearest part with room, or to the nearest.
fn dissolve_crumbs(parts: &mut Vec<Part>, floor: usize, limit: usize) -> Result<()> {
    while parts.len() > 1 {
        let Some(at) = parts.iter().position(|part| part.rows.len() < floor) else { break };
        let crumb = parts.swap_remove(at);
        let order = |part: &Part| {
            let room = part.rows.len().next_multiple_of(limit) - part.rows.len();
            let full = part.kind != Kind::Group && room < crumb.rows.len();
            (full, squared_distance(&part.centre, &crumb.centre))
        };
        let nearest = parts.iter_mut().map(|part| (order(part), part)).reduce(|best, next| {
            let closer = (next.0 .0, next.0 .1) < (best.0 .0, best.0 .1);
            if closer {
                next
            } else {
                best
            }
        });
        if let Some((_, part)) = nearest {
            try_extend(&mut part.rows, crumb.rows)?;
        }
    }
    Ok(())
}

/// An order of the parts in which each is followed by the nearest that is left, beginning near `before`.
fn chain(parts: &[Part], before: Option<&[f32]>) -> Result<Vec<usize>> {
    let mut left: Vec<usize> = try_collect(0..parts.len())?;
    let mut order = try_with_capacity(parts.len())?;
    let mut here = before;
    while !left.is_empty() {
        let far = |index: &usize| here.map_or(0.0, |here| squared_distance(here, &parts[*index].centre));
        let nearest = (0..left.len()).map(|at| (far(&left[at]), at));
        let (_, at) =
            nearest.fold((f32::INFINITY, 0), |best, next| if next.0 < best.0 { next } else { best });
        let index = left.remove(at);
        here = Some(&parts[index].centre);
        order.push(index);
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::super::assign::{assign, Centroids};
    use super::super::kmeans::{kmeans, KmeansParams};
    use super::super::testing::{clustered, objective, skewed};
    use super::*;
    use crate::pool::Pool;

    const AT_ONCE_MAX: usize = 4_096;

    fn split(rows: &[f32], dim: usize, leaf_target: usize, leaf_max: usize) -> Leaves {
        let params =
            LeafParams { leaf_target, leaf_max, at_once_max: AT_ONCE_MAX, seed: 9, spherical: false };
        let leaves = split_into_leaves(rows, dim, &params, &Stop::NEVER).unwrap();
        check(rows.len() / dim, &leaves, &params);
        leaves
    }

    /// Every row once, every leaf within its limits.
    fn check(count: usize, leaves: &Leaves, params: &LeafParams) {
        let mut once = leaves.order.clone();
        once.sort_unstable();
        assert_eq!(once, (0..count as u32).collect::<Vec<_>>());
        assert_eq!(leaves.ends.last().map_or(0, |&end| end as usize), count);
        for leaf in 0..leaves.count() {
            let size = leaves.rows(leaf).len();
            let floor = (params.leaf_target / 4).clamp(1, count);
            assert!(
                (floor..=params.limit()).contains(&size),
                "leaf {leaf} of {size} rows, {count} in all, {params:?}"
            );
        }
    }

    /// Mean squared distance of a row to the mean of its leaf.
    fn residual(rows: &[f32], dim: usize, leaves: &Leaves) -> f64 {
        let mut total = 0.0;
        for leaf in 0..leaves.count() {
            let packed: Vec<f32> = leaves
                .rows(leaf)
                .iter()
                .flat_map(|&row| &rows[row as usize * dim..][..dim])
                .copied()
                .collect();
            let data = mean_of(&packed, dim).unwrap();
            total += objective(&packed, &Centroids { data, dim }) * leaves.rows(leaf).len() as f64;
        }
        total / (rows.len() / dim) as f64
    }

    #[test]
    fn every_count_of_rows_makes_whole_leaves() {
        let rows = clustered(700, 3, 9, 1);
        for count in (0..130).chain([500, 700]) {
            for (target, max) in [(1, 1), (2, 0), (7, 7), (16, 0), (48, 0), (48, 96)] {
                split(&rows[..count * 3], 3, target, max);
            }
        }
    }

    #[test]
    fn sizes_stay_near_the_target_on_skewed_rows() {
        for (count, dim) in [(1500, 20), (4000, 8), (20_000, 6)] {
            let leaves = split(&skewed(count, dim, 200, 4), dim, 48, 0);
            let mut sizes: Vec<usize> = (0..leaves.count()).map(|leaf| leaves.rows(leaf).len()).collect();
            sizes.sort_unstable();
            let at = |share: usize| sizes[sizes.len() * share / 100];
            assert!(at(5) >= 16 && (40..=60).contains(&at(50)), "{} {} of {count}", at(5), at(50));
            assert!(leaves.count() * 48 <= count * 5 / 4);
        }
    }

    #[test]
    fn equal_rows_are_cut_by_position() {
        for count in [1, 60, 61, 1000, 5000, 10_000] {
            let leaves = split(&[2.5, -1.0].repeat(count), 2, 48, 0);
            assert_eq!(leaves.order, (0..count as u32).collect::<Vec<_>>());
            assert_eq!(leaves.count(), count.div_ceil(60));
        }
    }

    #[test]
    fn few_distinct_rows_share_no_leaf_needlessly() {
        let rows: Vec<f32> = (0..2000).flat_map(|i| [(i % 10) as f32, 3.0]).collect();
        let leaves = split(&rows, 2, 48, 0);
        assert!(residual(&rows, 2, &leaves) < 1e-9);
        // Kinds too small for a leaf of their own, and fewer of them than leaves.
        let rows: Vec<f32> = (0..600).flat_map(|i| [(i % 40) as f32, 3.0]).collect();
        split(&rows, 2, 48, 0);
    }

    #[test]
    fn a_limit_costs_little_residual() {
        let (rows, dim) = (clustered(3000, 24, 10, 5), 24);
        let leaves = split(&rows, dim, 48, 0);
        let plain = kmeans(&rows, dim, leaves.count(), &KmeansParams::default(), &Pool::new(1), &Stop::NEVER)
            .unwrap();
        let (ours, plain) = (residual(&rows, dim, &leaves), objective(&rows, &plain));
        assert!(ours <= plain * 1.05, "{ours} against {plain}");
    }

    #[test]
    fn neighbouring_leaves_lie_near_each_other() {
        let (rows, dim) = (clustered(12_000, 8, 100, 3), 8);
        let leaves = split(&rows, dim, 48, 0);
        let centre = |leaf: usize| {
            let own = leaves.rows(leaf).iter().flat_map(|&row| &rows[row as usize * dim..][..dim]);
            mean_of(&own.copied().collect::<Vec<_>>(), dim).unwrap()
        };
        let centres: Vec<Vec<f32>> = (0..leaves.count()).map(centre).collect();
        let apart = |step: usize| {
            let pairs = (0..centres.len()).map(|i| (&centres[i], &centres[(i + step) % centres.len()]));
            pairs.map(|(a, b)| squared_distance(a, b)).sum::<f32>()
        };
        assert!(apart(1) < 0.6 * apart(centres.len() / 2), "{} {}", apart(1), apart(centres.len() / 2));
    }

    #[test]
    fn enormous_rows_are_still_split() {
        let rows: Vec<f32> = clustered(500, 4, 5, 3).iter().map(|x| x * 1e36).collect();
        split(&rows, 4, 16, 0);
    }

    #[test]
    fn spherical_leaves_follow_direction() {
        let dim = 16;
        let mut rows = clustered(2000, dim, 40, 8);
        rows.chunks_exact_mut(dim).for_each(normalise);
        let params =
            LeafParams { leaf_target: 32, leaf_max: 0, at_once_max: AT_ONCE_MAX, seed: 1, spherical: true };
        let leaves = split_into_leaves(&rows, dim, &params, &Stop::NEVER).unwrap();
        check(2000, &leaves, &params);
        let mut owners = vec![0; 2000];
        let whole = Centroids { data: mean_of(&rows, dim).unwrap(), dim };
        assign(&rows, &whole, &Pool::new(1), &mut owners, None).unwrap();
        assert!(residual(&rows, dim, &leaves) < 0.4 * objective(&rows, &whole));
    }
}
