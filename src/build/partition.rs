//! Pass 1: every row to its cell.
//!
//! Cells are trained on a sample; then all rows stream by in blocks, each is assigned to its cell, and the cells' sums
//! are kept, so that centroids are exact means. Cells that came out far too large are divided again. Out: for each cell
//! its rows, ascending, and the levels of nodes above the cells.

use crate::build::layout::{BuildLayout, SAMPLE_A_CELL};
use crate::build::Work;
use crate::cluster::{self, CellTree, KmeansParams, TreeParams};
use crate::input::Rows;
use crate::kernels::Kernels;
use crate::memory::{try_collect, try_push, try_vec, try_with_capacity, AlignedVec};
use crate::types::{Metric, Result};
use std::ops::Range;

/// One inner node above the leaves.
pub struct UpperNode {
    /// Index of its first child in the level below.
    pub first_child: u32,
    /// Children in the level below; 0 on the level of the cells.
    pub child_count: u32,
    /// Mean of the rows below, in the source's dimensions.
    pub centroid: Vec<f32>,
    /// Rows that the mean is of: 0 if all below are held out.
    seen: u64,
}

/// The outcome of pass 1.
pub struct Partition {
    /// Levels from the root's children down to the cells. Empty for a flat segment.
    pub levels: Vec<Vec<UpperNode>>,
    /// Rows ordered by cell, ascending in each.
    pub order: Vec<u32>,
    /// Where each cell ends in `order`.
    pub ends: Vec<usize>,
    /// Mean of all rows.
    pub mean: Vec<f32>,
}

impl Partition {
    /// The rows of a cell.
    pub fn cell(&self, cell: usize) -> &[u32] {
        let start = if cell == 0 { 0 } else { self.ends[cell - 1] };
        &self.order[start..self.ends[cell]]
    }
}

/// Runs pass 1. `held_out` rows, ascending, belong to cells but move no centroid.
///
/// # Errors
/// What reading rows gives, `VDB_OUT_OF_MEMORY`, `VDB_CANCELLED`, `VDB_TIMEOUT`.
pub fn partition(
    work: &Work<'_>,
    layout: &BuildLayout,
    source: &dyn Rows,
    held_out: &[u64],
) -> Result<Partition> {
    let rows = layout.rows as usize;
    let tree = if layout.flat { None } else { Some(train(work, layout, source)?) };
    let cells = tree.as_ref().map_or(1, CellTree::cell_count);
    let mut owners = try_vec(rows, 0u32)?;
    let mut sums = Sums::new(work.kernels, cells, layout.dim)?;
    let mut block = AlignedVec::<f32>::zeroed(layout.block_rows * layout.dim)?;
    let mut first = 0;
    while first < rows {
        work.progress("assign", first as u64, rows as u64)?;
        let count = layout.block_rows.min(rows - first);
        work.load_block(source, first as u64, &mut block, count)?;
        let floats = &block[..count * layout.dim];
        if let Some(tree) = &tree {
            tree.assign(floats, work.team(), &mut owners[first..first + count], None)?;
        }
        sums.add(floats, first as u64, &owners[first..first + count], held_out);
        first += count;
    }
    let mut partition = group(&owners, cells, &sums, tree.as_ref())?;
    drop(owners);
    if tree.is_some() {
        divide_large_cells(work, layout, source, held_out, &mut partition)?;
        drop_empty(&mut partition)?;
        place_unseen(work, source, &mut partition)?;
    }
    Ok(partition)
}

fn train(work: &Work<'_>, layout: &BuildLayout, source: &dyn Rows) -> Result<CellTree> {
    work.progress("train", 0, 1)?;
    let numbers = cluster::sample_rows(layout.rows, layout.sample_rows, work.seed)?;
    let mut sample = try_vec(numbers.len() * layout.dim, 0f32)?;
    work.gather_block(source, &numbers, &mut sample)?;
    let kmeans = kmeans_params(work, work.seed);
    let params = TreeParams { cells: layout.cells, fanout: layout.fanout, kmeans };
    let tree = CellTree::train(&sample, layout.dim, &params, work.team(), &work.stop)?;
    work.progress("train", 1, 1)?;
    Ok(tree)
}

/// How all centres of a build are trained.
fn kmeans_params(work: &Work<'_>, seed: u64) -> KmeansParams {
    // Rows of length 1 are told apart by direction; a mean of unlike rows would be near to all of them.
    KmeansParams { seed, spherical: work.metric == Metric::Cosine, ..KmeansParams::default() }
}

/// Sums of the rows of each cell, in double precision, added in the order of rows.
struct Sums {
    kernels: &'static Kernels,
    dim: usize,
    sums: Vec<f64>,
    counts: Vec<u64>,
}

impl Sums {
    fn new(kernels: &'static Kernels, cells: usize, dim: usize) -> Result<Self> {
        Ok(Sums { kernels, dim, sums: try_vec(cells * dim, 0.0)?, counts: try_vec(cells, 0)? })
    }

    fn add(&mut self, rows: &[f32], first: u64, owners: &[u32], held_out: &[u64]) {
        for ((nth, row), owner) in rows.chunks_exact(self.dim).enumerate().zip(owners) {
            if held_out.binary_search(&(first + nth as u64)).is_ok() {
                continue;
            }
            let sums = &mut self.sums[*owner as usize * self.dim..][..self.dim];
            self.kernels.add_to_f64(row, sums);
            self.counts[*owner as usize] += 1;
        }
    }

    /// Rows that were added to the cells in `range`.
    fn seen(&self, range: Range<usize>) -> u64 {
        self.counts[range].iter().sum()
    }

    /// The mean of the cells in `range`; zeros if they hold nothing.
    fn mean(&self, range: Range<usize>) -> Result<Vec<f32>> {
        let count = self.seen(range.clone());
        let mut total = try_vec(self.dim, 0.0f64)?;
        for cell in range {
            let sums = &self.sums[cell * self.dim..][..self.dim];
            total.iter_mut().zip(sums).for_each(|(t, s)| *t += s);
        }
        try_collect(total.iter().map(|t| (t / count.max(1) as f64) as f32))
    }
}

/// Orders rows by cell, and makes the levels above with exact means.
fn group(owners: &[u32], cells: usize, sums: &Sums, tree: Option<&CellTree>) -> Result<Partition> {
    let mut ends = try_vec(cells, 0usize)?;
    for owner in owners {
        ends[*owner as usize] += 1;
    }
    let mut next = try_vec(cells, 0usize)?;
    let mut total = 0;
    for (next, end) in next.iter_mut().zip(&mut ends) {
        *next = total;
        total += *end;
        *end = total;
    }
    let mut order = try_vec(owners.len(), 0u32)?;
    for (row, owner) in owners.iter().enumerate() {
        let slot = &mut next[*owner as usize];
        order[*slot] = row as u32;
        *slot += 1;
    }
    let mut levels = Vec::new();
    if let Some(tree) = tree {
        for level in 0..tree.level_count() {
            let mut nodes = try_with_capacity(tree.node_count(level))?;
            for node in 0..tree.node_count(level) {
                let children = tree.children(level, node);
                nodes.push(UpperNode {
                    first_child: children.start as u32,
                    child_count: children.len() as u32,
                    centroid: sums.mean(tree.cells_below(level, node))?,
                    seen: sums.seen(tree.cells_below(level, node)),
                });
            }
            try_push(&mut levels, nodes)?;
        }
    }
    Ok(Partition { levels, order, ends, mean: sums.mean(0..cells)? })
}

/// Divides every cell above `cell_rows_max` by k-means over a sample of its rows, and by position where that fails.
fn divide_large_cells(
    work: &Work<'_>,
    layout: &BuildLayout,
    source: &dyn Rows,
    held_out: &[u64],
    partition: &mut Partition,
) -> Result<()> {
    let Some(cells) = partition.levels.pop() else { return Ok(()) };
    let mut parents_first = try_vec(cells.len() + 1, 0u32)?;
    let (mut divided, mut ends) = (try_with_capacity(cells.len())?, try_with_capacity(cells.len())?);
    let mut start = 0;
    for (number, node) in cells.into_iter().enumerate() {
        parents_first[number] = divided.len() as u32;
        let end = partition.ends[number];
        let rows = &mut partition.order[start..end];
        if rows.len() <= layout.cell_rows_max {
            try_push(&mut divided, node)?;
            try_push(&mut ends, end)?;
        } else {
            for (part_end, centroid, seen) in divide(work, layout, source, held_out, rows)? {
                try_push(&mut divided, UpperNode { first_child: 0, child_count: 0, centroid, seen })?;
                try_push(&mut ends, start + part_end)?;
            }
        }
        start = end;
    }
    if let Some(last) = parents_first.last_mut() {
        *last = divided.len() as u32;
    }
    if let Some(above) = partition.levels.last_mut() {
        for node in above.iter_mut() {
            let (first, end) = (node.first_child as usize, (node.first_child + node.child_count) as usize);
            node.first_child = parents_first[first];
            node.child_count = parents_first[end] - parents_first[first];
        }
    }
    // In the place of the level that was taken out.
    partition.levels.push(divided);
    partition.ends = ends;
    Ok(())
}

/// Divides `rows` in place into parts of at most `cell_rows_max`; gives where each ends, its mean, and of how
/// many rows.
fn divide(
    work: &Work<'_>,
    layout: &BuildLayout,
    source: &dyn Rows,
    held_out: &[u64],
    rows: &mut [u32],
) -> Result<Vec<(usize, Vec<f32>, u64)>> {
    let wanted = rows.len().div_ceil(layout.cell_rows);
    let seed = work.seed ^ u64::from(rows[0]);
    let mut sampled = cluster::sample_rows(rows.len() as u64, wanted * SAMPLE_A_CELL, seed)?;
    sampled.iter_mut().for_each(|place| *place = u64::from(rows[*place as usize]));
    let mut sample = try_vec(sampled.len() * layout.dim, 0f32)?;
    work.gather_block(source, &sampled, &mut sample)?;
    let params = kmeans_params(work, seed);
    let centroids = cluster::kmeans(&sample, layout.dim, wanted, &params, work.team(), &work.stop)?;
    drop(sample);
    let parts = centroids.count();
    let mut owners = try_vec(rows.len(), 0u32)?;
    let mut sums = Sums::new(work.kernels, parts, layout.dim)?;
    let mut block = AlignedVec::<f32>::zeroed(layout.block_rows * layout.dim)?;
    for (chunk, owners) in rows.chunks(layout.block_rows).zip(owners.chunks_mut(layout.block_rows)) {
        work.stop.check()?;
        let numbers: Vec<u64> = try_collect(chunk.iter().map(|row| u64::from(*row)))?;
        let floats = &mut block[..numbers.len() * layout.dim];
        work.gather_block(source, &numbers, floats)?;
        cluster::assign(floats, &centroids, work.team(), owners, None)?;
        for ((number, row), owner) in numbers.iter().zip(floats.chunks_exact(layout.dim)).zip(owners.iter()) {
            sums.add(row, *number, &[*owner], held_out);
        }
    }
    let mut keyed: Vec<(u32, u32)> = try_collect(owners.iter().copied().zip(rows.iter().copied()))?;
    keyed.sort_unstable();
    rows.iter_mut().zip(&keyed).for_each(|(row, (_, number))| *row = *number);
    let mut out = Vec::new();
    let mut start = 0;
    while start < keyed.len() {
        let owner = keyed[start].0;
        let end = start + keyed[start..].partition_point(|(o, _)| *o == owner);
        // Rows too much alike to be told apart are divided by position.
        let pieces = (end - start).div_ceil(layout.cell_rows_max);
        for piece in 1..=pieces {
            let part = owner as usize..owner as usize + 1;
            let part_end = start + (end - start) * piece / pieces;
            try_push(&mut out, (part_end, sums.mean(part.clone())?, sums.seen(part)))?;
        }
        start = end;
    }
    Ok(out)
}

/// Cells of which all rows are held out have no mean: their first row stands for it, and for the nodes above that have
/// none either.
fn place_unseen(work: &Work<'_>, source: &dyn Rows, partition: &mut Partition) -> Result<()> {
    let Some((cells, above)) = partition.levels.split_last_mut() else { return Ok(()) };
    let mut first = 0;
    for (cell, end) in cells.iter_mut().zip(&partition.ends) {
        if cell.seen == 0 {
            work.gather_block(source, &[u64::from(partition.order[first])], &mut cell.centroid)?;
        }
        first = *end;
    }
    let mut below: &[UpperNode] = cells;
    for level in above.iter_mut().rev() {
        for node in level.iter_mut().filter(|node| node.seen == 0) {
            node.centroid.copy_from_slice(&below[node.first_child as usize].centroid);
        }
        below = level;
    }
    Ok(())
}

/// Takes out cells without rows, and nodes without children, level by level from below.
fn drop_empty(partition: &mut Partition) -> Result<()> {
    let Some(cells) = partition.levels.last_mut() else { return Ok(()) };
    let mut start = 0;
    let mut kept = try_vec(cells.len(), false)?;
    for (kept, end) in kept.iter_mut().zip(&partition.ends) {
        *kept = *end > start;
        start = *end;
    }
    let mut nth = 0;
    partition.ends.retain(|_| {
        nth += 1;
        kept[nth - 1]
    });
    for level in (0..partition.levels.len()).rev() {
        // How many nodes before each are kept.
        let mut before = try_vec(kept.len() + 1, 0u32)?;
        for (nth, keep) in kept.iter().enumerate() {
            before[nth + 1] = before[nth] + u32::from(*keep);
        }
        let mut nth = 0;
        partition.levels[level].retain(|_| {
            nth += 1;
            kept[nth - 1]
        });
        let Some(above) = level.checked_sub(1) else { break };
        kept = try_with_capacity(partition.levels[above].len())?;
        for node in &mut partition.levels[above] {
            let (first, end) = (node.first_child as usize, (node.first_child + node.child_count) as usize);
            node.first_child = before[first];
            node.child_count = before[end] - before[first];
            kept.push(node.child_count > 0);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::ArrayRows;
    use crate::kernels::Kernels;
    use crate::pool::{Pool, Stop};
    use crate::types::params::BuildParams;
    use crate::types::rng::SplitMix64;
    use crate::types::ElementType;

    const DIM: usize = 4;
    /// Far more than rows of one blob are apart.
    const APART: f32 = 1_000.0;

    /// Blobs of so many rows, `APART` from each other and from the origin; the last has rows that are all equal.
    fn blobs(sizes: &[usize]) -> Vec<f32> {
        let mut random = SplitMix64::new(7);
        let mut rows = Vec::new();
        for (blob, size) in sizes.iter().enumerate() {
            let wide = if blob + 1 < sizes.len() { 1.0 } else { 0.0 };
            for _ in 0..size * DIM {
                rows.push(APART * (blob + 1) as f32 + wide * random.next_f32());
            }
        }
        rows
    }

    fn run(rows: &[f32], params: &BuildParams, held_out: &[u64]) -> (BuildLayout, Partition) {
        let source = ArrayRows::of_floats(rows, DIM).unwrap();
        let layout = BuildLayout::new(source.rows(), DIM, ElementType::F32, params).unwrap();
        let work = Work {
            kernels: Kernels::detect(),
            metric: params.metric,
            seed: 3,
            pool: &Pool::new(1),
            threads: 1,
            stop: Stop::NEVER,
            caller: crate::build::this_thread(),
            report: &|_, _, _| true,
        };
        let partition = partition(&work, &layout, &source, held_out).unwrap();
        (layout, partition)
    }

    /// For each level the nodes and the rows below them.
    fn rows_below(partition: &Partition) -> Vec<Vec<(&UpperNode, Vec<u32>)>> {
        let cells = partition.levels.last().unwrap().iter().enumerate();
        let mut levels = vec![cells.map(|(n, cell)| (cell, partition.cell(n).to_vec())).collect::<Vec<_>>()];
        for level in partition.levels.iter().rev().skip(1) {
            let below = levels.last().unwrap();
            let nodes = level.iter().map(|node| {
                let children = &below[node.first_child as usize..][..node.child_count as usize];
                (node, children.iter().flat_map(|(_, rows)| rows.clone()).collect())
            });
            let nodes = nodes.collect();
            levels.push(nodes);
        }
        levels
    }

    #[test]
    fn nodes_whose_rows_are_all_held_out_lie_among_them() {
        let sizes = [90, 90, 90, 90, 400];
        let rows = blobs(&sizes);
        let blob_ends = [90, 180, 270, 360, 760u64];
        // The second blob, and the last one: a cell too large, of rows that only their position tells apart.
        let held_out: Vec<u64> = (blob_ends[0]..blob_ends[1]).chain(blob_ends[3]..blob_ends[4]).collect();
        let params = BuildParams { leaf_rows: 4, fanout: 2, ..BuildParams::default() };
        let (layout, partition) = run(&rows, &params, &held_out);
        assert!(!layout.flat && partition.levels.len() > 2);
        let mut unseen = Vec::new();
        for level in rows_below(&partition) {
            let mut unseen_here = 0;
            for (node, below) in level {
                let seen = below.iter().filter(|row| held_out.binary_search(&u64::from(**row)).is_err());
                if seen.count() > 0 {
                    continue;
                }
                unseen_here += 1;
                let beside = below.iter().any(|row| {
                    let row = &rows[*row as usize * DIM..][..DIM];
                    row.iter().zip(&node.centroid).all(|(x, c)| (x - c).abs() < APART / 10.0)
                });
                assert!(beside, "{:?} is the centroid of rows {below:?}", node.centroid);
            }
            unseen.push(unseen_here);
        }
        assert!(unseen[0] >= 400 / layout.cell_rows_max && unseen[1] > 0, "{unseen:?}");
    }
}
