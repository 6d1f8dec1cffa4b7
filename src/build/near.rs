//! Which leaves lie near a cell, and near a row: by squared distance, whatever the metric is.
//!
//! In: the tree with its 8-bit centroids, rows as integers. Out: leaves. A search ranks leaves by its metric; rows that
//! become each other's neighbours are compared by squared distance, and so are the leaves where they are looked for: by
//! inner product the leaves of the longest rows would be near to all.
//!
//! Calls `kernels` and `index`. Knows nothing of links.

use std::ops::Range;

use crate::build::fine::FineRows;
use crate::index::segment::SegmentIndex;
use crate::index::tree::Tree;
use crate::kernels::Kernels;
use crate::memory::{try_push, try_vec, try_with_capacity};
use crate::quantize::encode::metric_weights;
use crate::topk::heap::Scored;
use crate::types::Result;

/// Nodes of a level above the cells whose children are ranked.
const BEAM: usize = 64;

/// The nodes of a tree, to be ranked by squared distance.
pub struct NearLeaves<'a> {
    kernels: &'static Kernels,
    tree: &'a Tree,
    padded: usize,
    /// Steps of the nodes' bytes.
    steps: Vec<f32>,
    /// Their squared lengths.
    squares: Vec<f32>,
    /// What a node adds to its rank for a row: its squared length, less twice its product with the shift of the rows.
    offsets: Vec<f32>,
}

/// What a thread works in.
pub struct NearWork {
    ranked: Vec<Scored<u32>>,
    above: Vec<u32>,
    products: Vec<i32>,
}

impl<'a> NearLeaves<'a> {
    /// Of the tree of `index`; rows will come as differences from its mean plus `shift`. O(nodes * dim).
    ///
    /// # Errors
    /// `VDB_OUT_OF_MEMORY`.
    pub fn new(kernels: &'static Kernels, index: &'a SegmentIndex, shift: &[f32]) -> Result<Self> {
        let (tree, padded) = (&index.tree, index.quantiser.shape.padded);
        let (weight, _) = metric_weights(index.quantiser.metric);
        let mut steps = try_vec(tree.nodes().len(), 0.0)?;
        let mut squares = try_vec(tree.nodes().len(), 0.0)?;
        let mut offsets = try_vec(tree.nodes().len(), 0.0)?;
        for (number, factors) in tree.factors().iter().enumerate() {
            let bytes = tree.bytes_of(number as u32, 1);
            let step = factors.rank_scale / weight;
            let mut square = [0];
            kernels.dot_i8(bytes, bytes, &mut square);
            steps[number] = step;
            squares[number] = step * step * square[0] as f32;
            offsets[number] = squares[number] - 2.0 * step * kernels.product(bytes, shift) as f32;
        }
        Ok(NearLeaves { kernels, tree, padded, steps, squares, offsets })
    }

    /// Bytes of the tables of so many nodes.
    pub fn bytes(nodes: u64) -> u64 {
        nodes * 12
    }

    /// Leaves of the tree.
    pub fn leaf_count(&self) -> u32 {
        self.tree.leaf_count()
    }

    /// Room for a thread to work in, for so many rows at a time.
    ///
    /// # Errors
    /// `VDB_OUT_OF_MEMORY`.
    pub fn workspace(&self, rows: usize) -> Result<NearWork> {
        let starts = self.tree.level_starts();
        let widest = starts.windows(2).map(|level| (level[1] - level[0]) as usize).rev().skip(1).max();
        let widest = widest.unwrap_or(1);
        let cells = &self.tree.nodes()[self.cells().start as usize..self.cells().end as usize];
        let leaves = cells.iter().map(|cell| cell.child_count as usize).max().unwrap_or(1);
        Ok(NearWork {
            ranked: try_with_capacity(widest)?,
            above: try_with_capacity(BEAM)?,
            products: try_vec(widest.max(rows * leaves), 0)?,
        })
    }

    /// The nodes of the cells, those that have leaves as children.
    pub fn cells(&self) -> Range<u32> {
        let starts = self.tree.level_starts();
        let leaves = starts.len() - 2;
        starts[leaves - 1]..starts[leaves]
    }

    /// Fills `near` with the leaves of a cell, and then with those of the cells nearest to it until they hold `rows`
    /// rows: a run of nodes for each cell.
    ///
    /// # Errors
    /// `VDB_OUT_OF_MEMORY`.
    pub fn of_cell(
        &self,
        cell: u32,
        rows: usize,
        work: &mut NearWork,
        near: &mut Vec<Range<u32>>,
    ) -> Result<()> {
        let NearWork { ranked, above, products } = work;
        let (nodes, cells) = (self.tree.nodes(), self.cells());
        let bytes = self.tree.bytes_of(cell, 1);
        ranked.clear();
        ranked.push(Scored { distance: 0.0, key: 0 });
        while ranked[0].key < cells.start {
            if ranked.len() > BEAM {
                ranked.select_nth_unstable_by(BEAM, Scored::order);
                ranked.truncate(BEAM);
            }
            above.clear();
            above.extend(ranked.iter().map(|node| node.key));
            ranked.clear();
            for parent in above.iter() {
                let parent = &nodes[*parent as usize];
                let products = &mut products[..parent.child_count as usize];
                self.kernels.dot_i8(
                    self.tree.bytes_of(parent.first_child, parent.child_count),
                    bytes,
                    products,
                );
                for (key, product) in (parent.first_child..).zip(products) {
                    let product = self.steps[cell as usize] * self.steps[key as usize] * *product as f32;
                    ranked.push(Scored { distance: self.squares[key as usize] - 2.0 * product, key });
                }
            }
        }
        ranked.sort_unstable_by(Scored::order);
        near.clear();
        let mut held = 0;
        let others = ranked.iter().map(|node| node.key).filter(|other| *other != cell);
        for cell in std::iter::once(cell).chain(others) {
            let node = &nodes[cell as usize];
            try_push(near, node.first_child..node.first_child + node.child_count)?;
            held += node.row_count as usize;
            if held >= rows {
                break;
            }
        }
        Ok(())
    }

    /// Writes the rank of each leaf in `near` for each of `rows`: row by row, smaller is nearer.
    pub fn rank(&self, rows: &FineRows, near: &[Range<u32>], work: &mut NearWork, ranks: &mut [f32]) {
        let count = rows.count();
        let leaves = ranks.len() / count.max(1);
        let mut at = 0;
        for run in near {
            let (first, width) = (run.start as usize, run.len());
            let products = &mut work.products[..count * width];
            let bytes = self.tree.bytes_of(run.start, width as u32);
            self.kernels.products_i8(rows.odd(), bytes, self.padded, products);
            for (row, products) in products.chunks_exact(width).enumerate() {
                let step = -2.0 * rows.step(row);
                let ranks = &mut ranks[row * leaves + at..][..width];
                let nodes = self.offsets[first..].iter().zip(&self.steps[first..]);
                for ((rank, product), (offset, node_step)) in ranks.iter_mut().zip(products).zip(nodes) {
                    *rank = offset + step * node_step * *product as f32;
                }
            }
            at += width;
        }
    }
}
