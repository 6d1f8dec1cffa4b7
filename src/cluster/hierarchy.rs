//! A tree of centroids: cells at the bottom, levels of nodes above them, any depth.
//!
//! In: a sample of rows and a wanted number of cells. Out: the levels, and the cells of any rows. Children
//! of one node lie together in the level below it, near ones next to each other as far as one dimension allows.
//!
//! 1. The centres of cells are trained (`train`).
//! 2. Levels upward: the nodes of one level are gathered into balanced groups (`balance`) until few enough
//!    for one root are left.
//!
//! A row belongs to the cell of its nearest centre, as k-means ended with it, of length 1 if spherical. Means of
//! all rows, which the index wants, are for the caller to sum while rows are assigned.
//!
//! Calls `pool`.

use super::assign::Centroids;
use super::balance::{split_into_leaves, LeafParams};
use super::kmeans::KmeansParams;
use super::numbers::{normalise, MeanSum};
use super::route::Router;
use super::train::train;
use crate::memory::{try_collect, try_extend, try_push, try_vec, try_with_capacity};
use crate::pool::{Stop, Team};
use crate::types::Result;
use std::ops::Range;

/// Children that a node may have, for each that it has on average.
const SLACK: usize = 4;

/// Pairs of a node and a group that are compared at once, 8 bytes each.
const PAIRS_AT_ONCE_MAX: usize = 4 << 20;
/// Nodes that are gathered into groups at once, at least and at most.
const NODES_AT_ONCE: std::ops::RangeInclusive<usize> = 4_096..=32_768;

/// How to train a tree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TreeParams {
    /// Cells wanted; there may be some more, or fewer.
    pub cells: usize,
    /// Most children of a node, at least 2; 0: as many as two levels need, within 16 to 128 on average.
    pub fanout: usize,
    /// How to train the centres.
    pub kmeans: KmeansParams,
}

/// Levels of nodes, and the way to the cells.
#[derive(Clone, Debug)]
pub struct CellTree {
    /// Of each level above the cells, top to bottom: where the children of each node end in the next.
    child_ends: Vec<Vec<u32>>,
    router: Router,
    /// The cell of each centre of the router.
    cell_of: Vec<u32>,
}

impl CellTree {
    /// Trains a tree on `sample`: n x dim, packed, finite, at least one row. Once `stop` says so it ends
    /// early, with a tree that is not good; the caller asks `stop` too.
    ///
    /// # Errors
    /// `OutOfMemory`.
    ///
    /// # Panics
    /// If there are no rows.
    pub fn train<'p>(
        sample: &[f32],
        dim: usize,
        params: &TreeParams,
        pool: impl Into<Team<'p>>,
        stop: &Stop<'_>,
    ) -> Result<Self> {
        assert!(dim > 0 && !sample.is_empty() && sample.len().is_multiple_of(dim));
        let (centres, router) = train(sample, dim, params.cells, &params.kmeans, pool.into(), stop)?;
        let Shape { order, child_ends } = Shape::new(centres, params, stop)?;
        let mut cell_of = try_vec(order.len(), 0)?;
        order.iter().zip(0..).for_each(|(centre, cell)| cell_of[*centre as usize] = cell);
        Ok(CellTree { child_ends, router, cell_of })
    }

    /// How many cells there are.
    pub fn cell_count(&self) -> usize {
        self.cell_of.len()
    }

    /// How many levels there are, that of the cells among them.
    pub fn level_count(&self) -> usize {
        self.child_ends.len() + 1
    }

    /// How many nodes a level has; level 0 is the top, the last one that of the cells.
    pub fn node_count(&self, level: usize) -> usize {
        self.child_ends.get(level).map_or(self.cell_count(), Vec::len)
    }

    /// The children of a node in the next level; none of a cell.
    pub fn children(&self, level: usize, node: usize) -> Range<usize> {
        let Some(ends) = self.child_ends.get(level) else { return 0..0 };
        let first = if node == 0 { 0 } else { ends[node - 1] };
        first as usize..ends[node] as usize
    }

    /// The cells below a node; of a cell, itself.
    pub fn cells_below(&self, level: usize, node: usize) -> Range<usize> {
        let mut range = node..node + 1;
        for level in level..self.child_ends.len() {
            range = self.children(level, range.start).start..self.children(level, range.end - 1).end;
        }
        range
    }

    /// The cell of each row, and the squared distance from its nearest centre if wanted.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn assign<'p>(
        &self,
        rows: &[f32],
        pool: impl Into<Team<'p>>,
        out: &mut [u32],
        distances: Option<&mut [f32]>,
    ) -> Result<()> {
        self.router.assign(rows, pool.into(), &Stop::NEVER, out, distances)?;
        out.iter_mut().for_each(|owner| *owner = self.cell_of[*owner as usize]);
        Ok(())
    }
}

/// Cells in the order of the tree, and the levels above them.
struct Shape {
    /// The number of each cell's centre: those of a node lie together.
    order: Vec<u32>,
    /// Top to bottom: where the children of each node end in the next level.
    child_ends: Vec<Vec<u32>>,
}

impl Shape {
    fn new(centres: Centroids, params: &TreeParams, stop: &Stop<'_>) -> Result<Self> {
        let Fanout { root_most, target, most } = Fanout::new(centres.count(), params.fanout);
        let KmeansParams { seed, spherical, .. } = params.kmeans;
        // Bottom to top: the groups of each level, of nodes in the order in which they were found.
        let mut found = Vec::new();
        let mut nodes = centres;
        let at_once_max = nodes_at_once(target);
        let split = LeafParams { leaf_target: target, leaf_max: most, at_once_max, seed, spherical };
        while nodes.count() > root_most {
            let groups = split_into_leaves(&nodes.data, nodes.dim, &split, stop)?;
            let mut means = try_vec(groups.count() * nodes.dim, 0.0)?;
            for (group, mean) in means.chunks_exact_mut(nodes.dim).enumerate() {
                centre(&nodes, groups.rows(group), spherical, mean)?;
            }
            nodes = Centroids { data: means, dim: nodes.dim };
            try_push(&mut found, groups)?;
        }
        // Top to bottom: the order of one level orders the one below it.
        let mut child_ends = Vec::new();
        let mut order: Vec<u32> = try_collect(0..nodes.count() as u32)?;
        for groups in found.into_iter().rev() {
            let mut order_below = Vec::new();
            let mut ends = try_with_capacity(order.len())?;
            for &node in &order {
                try_extend(&mut order_below, groups.rows(node as usize).iter().copied())?;
                ends.push(order_below.len() as u32);
            }
            try_push(&mut child_ends, ends)?;
            order = order_below;
        }
        Ok(Shape { order, child_ends })
    }
}

/// Nodes that are gathered into groups of about `target` at once.
fn nodes_at_once(target: usize) -> usize {
    let fit = target.saturating_mul(PAIRS_AT_ONCE_MAX).isqrt();
    fit.clamp(*NODES_AT_ONCE.start(), *NODES_AT_ONCE.end())
}

/// The most bytes that the gathering of cells into groups takes beside their centres.
pub fn gathering_bytes(cells: usize, fanout: usize) -> usize {
    let target = Fanout::new(cells, fanout).target;
    let nodes = cells.min(nodes_at_once(target));
    nodes * (nodes / target + 1) * 8
}

/// Levels of a tree over so many cells, root and cells included, as far as sizes tell.
pub fn levels_above_leaves(cells: usize, fanout: usize) -> usize {
    let Fanout { root_most, target, .. } = Fanout::new(cells, fanout);
    let (mut nodes, mut levels) = (cells, 2);
    while nodes > root_most {
        nodes = nodes.div_ceil(target);
        levels += 1;
    }
    levels
}

/// Writes the centre of some nodes.
fn centre(nodes: &Centroids, members: &[u32], spherical: bool, out: &mut [f32]) -> Result<()> {
    let mut sum = MeanSum::new(nodes.dim)?;
    members.iter().for_each(|&node| sum.add(nodes.centre(node as usize)));
    sum.take_mean(out);
    if spherical {
        normalise(out);
    }
    Ok(())
}

/// How many children nodes have.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Fanout {
    /// The root, at most.
    root_most: usize,
    /// Others, on average: all levels are alike and have some room.
    target: usize,
    /// Others, at most. Where nobody limits it, far above the average: a node that finds its nearest parent full is
    /// put below one where no search will look for it.
    most: usize,
}

impl Fanout {
    fn new(cells: usize, wanted: usize) -> Self {
        let root_most = match wanted {
            0 => ((cells.isqrt() + 1) * 4 / 3 + 1).clamp(16, 128),
            wanted => wanted.max(2),
        };
        let roomy = (root_most * 3 / 4).max(2);
        let reaches =
            |target: usize, levels: u32| target.checked_pow(levels).is_none_or(|nodes| nodes >= cells);
        let levels = (1..usize::BITS).find(|&levels| reaches(roomy, levels)).unwrap_or(usize::BITS);
        let target = (2..roomy).find(|&target| reaches(target, levels)).unwrap_or(roomy);
        Fanout {
            root_most,
            target,
            most: if wanted == 0 { root_most.max(SLACK * target) } else { root_most },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::kmeans::kmeans;
    use super::super::numbers::{group_by, mean_of, members};
    use super::super::testing::{clustered, objective, skewed, THREADS};
    use super::super::train::{row_of, sizes, FLAT_CENTRES_MAX};
    use super::*;
    use crate::pool::Pool;
    use crate::types::rng::SplitMix64;
    use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

    fn params(cells: usize, fanout: usize) -> TreeParams {
        TreeParams { cells, fanout, kmeans: KmeansParams { seed: 3, iterations_max: 4, spherical: false } }
    }

    fn train(rows: &[f32], dim: usize, cells: usize, fanout: usize, threads: usize) -> CellTree {
        CellTree::train(rows, dim, &params(cells, fanout), &Pool::new(threads), &Stop::NEVER).unwrap()
    }

    #[test]
    fn training_may_be_stopped_at_any_look() {
        let dim = 4;
        let mut rows = skewed(6_000, dim, 5, 5);
        rows.iter_mut().skip(3 * dim * 1_000).for_each(|x| *x *= 1e-3);
        for looks in 0..80 {
            let left = AtomicI32::new(looks);
            let none_left = || left.fetch_sub(1, Relaxed) <= 0;
            let stop = Stop::NEVER.with_callback(&none_left);
            CellTree::train(&rows, dim, &params(2 * FLAT_CENTRES_MAX, 32), &Pool::new(1), &stop).unwrap();
        }
    }

    #[test]
    fn rows_that_crowd_do_not_multiply_the_cells() {
        // Places whose rows are as much nearer to each other as they are more.
        let (dim, wanted) = (8, 2 * FLAT_CENTRES_MAX);
        let mut random = SplitMix64::new(3);
        let mut rows = Vec::new();
        for place in 1..=24usize {
            let centre: Vec<f32> = (0..dim).map(|_| random.next_f32() * 10.0).collect();
            for _ in 0..12_000 / place {
                let far = random.next_f32().powi(6) * place as f32 * 0.2;
                rows.extend(centre.iter().map(|x| x + far * (random.next_f32() - 0.5)));
            }
        }
        let params = TreeParams { cells: wanted, fanout: 0, kmeans: KmeansParams::default() };
        let tree = CellTree::train(&rows, dim, &params, &Pool::new(2), &Stop::NEVER).unwrap();
        let cells = tree.cell_count();
        assert!((wanted / 2..=wanted * 3 / 2).contains(&cells), "{cells} cells");
    }

    fn owners(tree: &CellTree, rows: &[f32], dim: usize) -> Vec<u32> {
        let mut owners = vec![0; rows.len() / dim];
        tree.assign(rows, &Pool::new(2), &mut owners, None).unwrap();
        owners
    }

    /// Levels fit together, and no node has more children than it may.
    fn check(tree: &CellTree, fanout: usize) {
        let last = tree.level_count() - 1;
        assert!(tree.node_count(0) <= fanout && tree.node_count(last) == tree.cell_count());
        for level in 0..=last {
            let (mut next_child, mut next_cell) = (0, 0);
            for node in 0..tree.node_count(level) {
                let (children, cells) = (tree.children(level, node), tree.cells_below(level, node));
                assert_eq!(cells.start, next_cell);
                next_cell = cells.end;
                if level < last {
                    assert_eq!(children.start, next_child);
                    next_child = children.end;
                    assert!((1..=fanout).contains(&children.len()), "{} children", children.len());
                } else {
                    assert_eq!((children.len(), cells), (0, node..node + 1));
                }
            }
            assert_eq!(next_cell, tree.cell_count());
            assert!(level == last || next_child == tree.node_count(level + 1));
        }
    }

    #[test]
    fn trees_of_any_depth_fit_together() {
        let dim = 5;
        let rows = clustered(4000, dim, 60, 1);
        for (cells, fanout, levels) in
            [(1, 8, 1), (8, 8, 1), (60, 8, 3), (60, 16, 2), (60, 2, 6), (300, 40, 2)]
        {
            let tree = train(&rows, dim, cells, fanout, 2);
            check(&tree, fanout);
            let got = tree.level_count();
            assert!(got.abs_diff(levels) <= 1, "{got} levels for {cells} cells");
            assert!(tree.cell_count() * 2 >= cells && tree.cell_count() <= cells * 2);
        }
    }

    #[test]
    fn many_cells_are_trained_and_found_by_way_of_groups() {
        let dim = 6;
        let rows = clustered(20_000, dim, 100, 1);
        let tree = train(&rows, dim, 1500, 0, 2);
        check(&tree, SLACK * 128);
        assert!(tree.node_count(0) <= 128);
        assert!(tree.cell_count() > FLAT_CENTRES_MAX && tree.level_count() == 2);
        let mut distances = vec![0.0; 20_000];
        tree.assign(&rows, &Pool::new(1), &mut [0; 20_000], Some(&mut distances)).unwrap();
        let found = distances.iter().map(|&d| f64::from(d)).sum::<f64>() / 20_000.0;
        let kmeans_params = params(0, 0).kmeans;
        let flat =
            kmeans(&rows, dim, tree.cell_count(), &kmeans_params, &Pool::new(1), &Stop::NEVER).unwrap();
        let plain = objective(&rows, &flat);
        assert!(found < plain * 1.1, "{found} against {plain}");
    }

    #[test]
    fn nodes_that_share_a_parent_lie_near_each_other() {
        let dim = 4;
        let rows = clustered(6000, dim, 60, 7);
        let tree = train(&rows, dim, 60, 12, 1);
        let (order, ends) = group_by(&owners(&tree, &rows, dim), tree.cell_count()).unwrap();
        // Sum of squared distances from the mean of the rows in these cells.
        let spread = |cells: Range<usize>| {
            let below = cells.flat_map(|cell| members(&order, &ends, cell));
            let packed: Vec<f32> = below.flat_map(|&row| row_of(&rows, dim, row as usize)).copied().collect();
            let mean = Centroids { data: mean_of(&packed, dim).unwrap(), dim };
            objective(&packed, &mean) * (packed.len() / dim) as f64
        };
        let nodes: f64 = (0..tree.node_count(0)).map(|node| spread(tree.cells_below(0, node))).sum();
        let all = spread(0..tree.cell_count());
        assert!(nodes < 0.6 * all, "{nodes} of {all}");
    }

    #[test]
    fn sizes_of_cells_are_bounded_on_skewed_rows() {
        let dim = 8;
        let rows = skewed(20_000, dim, 300, 2);
        let tree = train(&rows, dim, 100, 0, 2);
        let (_, ends) = group_by(&owners(&tree, &rows, dim), tree.cell_count()).unwrap();
        let mut sizes: Vec<usize> = sizes(&ends).collect();
        sizes.sort_unstable();
        let mean = 20_000 / sizes.len();
        // The largest is that of the 6,000 equal rows, which nothing can cut.
        assert!(sizes[sizes.len() - 2] <= mean * 4, "{sizes:?}");
        assert!(sizes[sizes.len() / 20] * 10 >= mean, "{sizes:?}");
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let rows = skewed(6000, 6, 80, 4);
        for cells in [50, 1200] {
            let one = train(&rows, 6, cells, 0, 1);
            for threads in THREADS {
                let tree = train(&rows, 6, cells, 0, threads);
                assert_eq!(tree.child_ends, one.child_ends);
                assert_eq!(owners(&tree, &rows, 6), owners(&one, &rows, 6));
            }
        }
    }

    #[test]
    fn degenerate_samples_make_small_trees() {
        for (rows, cells) in [(1, 1), (1, 50), (500, 50), (3000, 2000)] {
            let tree = train(&[1.0, -2.0].repeat(rows), 2, cells, 0, 2);
            assert_eq!(tree.cell_count(), 1);
            check(&tree, 16);
        }
        let rows: Vec<f32> = (0..3000).flat_map(|i| [(i % 5) as f32, 0.0]).collect();
        assert_eq!(train(&rows, 2, 2000, 0, 2).cell_count(), 5);
    }

    #[test]
    fn a_stopped_training_ends_with_some_tree() {
        let rows = clustered(5000, 4, 30, 1);
        let now = std::sync::atomic::AtomicI32::new(1);
        let stop = Stop::NEVER.with_token(&now);
        let tree = CellTree::train(&rows, 4, &params(1500, 0), &Pool::new(2), &stop).unwrap();
        assert!(tree.cell_count() > 0);
    }

    #[test]
    fn fanouts_leave_room_and_reach_every_cell() {
        for cells in [1usize, 2, 16, 17, 600, 650, 1000, 5171, 16_384, 650_000] {
            for wanted in [0, 2, 3, 8, 64, 1000] {
                let Fanout { root_most, target, most } = Fanout::new(cells, wanted);
                assert!(target >= 2 && target <= root_most && root_most <= most);
                assert!(wanted == 0 || most == wanted);
            }
        }
        let sizes = |cells| {
            let Fanout { root_most, target, most } = Fanout::new(cells, 0);
            (root_most, target, most)
        };
        assert_eq!((sizes(650), sizes(5171)), ((35, 26, 104), (97, 72, 288)));
    }
}
