//! The sizes that a build decides before it reads a row: leaves, cells, samples, and the memory they take.
//!
//! `estimate` and the build itself use the same formulas, and a test holds them against what a build took.

use crate::build::near::NearLeaves;
use crate::build::{links, truth};
use crate::cluster;
use crate::index::centres::RowCentres;
use crate::index::links::LINKS_A_ROW;
use crate::index::recall_table::LIST_MAX;
use crate::index::tree::{Node, NodeFactors, Tree, LEVELS_MAX};
use crate::quantize::encode::{CodeShape, Factors};
use crate::quantize::rotation::PAD;
use crate::search::list::WalkList;
use crate::search::met::MetRows;
use crate::store::finer::{self, FinerCodes};
use crate::store::vectors::row_stride;
use crate::types::params::{BuildParams, LinkMode, DIM_MAX, SEGMENT_ROWS_MAX};
use crate::types::{ElementType, Error, Metric, Result};

/// Segments of at most so many rows are flat unless leaves were asked for: a scan of all codes is as fast as a descent.
const FLAT_ROWS_MAX: u64 = 4_096;
/// Rows of a leaf where the caller does not say; see `docs/experiments.md`.
const LEAF_ROWS: u32 = 48;
/// Leaves of a cell, the node above the leaves; see `docs/experiments.md`.
const CELL_LEAVES: u64 = 6;
/// Rows that train one cell.
pub const SAMPLE_A_CELL: usize = 24;
/// A cell may have so many times the rows aimed at.
const CELL_ROWS_SLACK: u64 = 4;
/// Rows that are assigned together.
const BLOCK_ROWS_MAX: usize = 8_192;
/// Bytes of floats that are assigned together.
const BLOCK_BYTES_MAX: usize = 32 << 20;
/// Most children of the root where the caller does not say.
const ROOT_CHILDREN_MAX: usize = 128;
/// More than the head of a quantiser and a recall table take.
const SMALL_SECTIONS_BYTES: u64 = 4 << 10;
/// What a leaf takes beside its centroid, and once more while it becomes a node, from above.
const LEAF_RECORD_BYTES: u64 = 256;
/// Held-out rows that measure recall, at most and, of large sets, at least.
const HELD_OUT_MAX: u64 = 1_600;
/// See `HELD_OUT_MAX`.
const HELD_OUT_MIN: u64 = 800;
/// Bits of the codes that links are made with.
pub const FINE_BITS: usize = finer::BITS;
/// Bytes of a row's id, and of its place in their order.
const ID_BYTES: usize = 8 + 4;
/// Elements of all rows times held-out rows: comparing each with each is a large part of a build.
const HELD_OUT_WORK: u64 = 1_000_000_000_000;

/// What a build of one segment will do.
#[derive(Clone, Debug)]
pub struct BuildLayout {
    /// Rows of the segment.
    pub rows: u64,
    /// Dimensions.
    pub dim: usize,
    /// Type of the stored elements.
    pub element: ElementType,
    /// Sizes of a code.
    pub shape: CodeShape,
    /// No tree.
    pub flat: bool,
    /// Rows aimed at in a leaf.
    pub leaf_rows: usize,
    /// Cells aimed at.
    pub cells: usize,
    /// Rows aimed at in a cell.
    pub cell_rows: usize,
    /// Cells with more rows are divided again before their leaves are made.
    pub cell_rows_max: usize,
    /// Most children of a node above the cells, unless one of these is divided again; 0: chosen.
    pub fanout: usize,
    /// Rows that train the cells.
    pub sample_rows: usize,
    /// Rows that are loaded and assigned together.
    pub block_rows: usize,
    /// Held-out rows that measure recall.
    pub held_out: usize,
    /// Rows get links.
    pub links: bool,
    /// How distance is measured.
    pub metric: Metric,
}

/// Held-out rows for a set of this size.
fn held_out(rows: u64, dim: usize) -> u64 {
    (HELD_OUT_WORK / (rows * dim as u64)).clamp(HELD_OUT_MIN, HELD_OUT_MAX)
}

impl BuildLayout {
    /// Decides the sizes for `rows` rows.
    ///
    /// # Errors
    /// `VDB_INVALID_ARGUMENT` for sizes out of range.
    pub fn new(rows: u64, dim: usize, element: ElementType, params: &BuildParams) -> Result<Self> {
        if !(1..=DIM_MAX).contains(&dim) {
            return Err(Error::invalid(format_args!("dim is {dim}; it must be 1 to {DIM_MAX}")));
        }
        if rows > SEGMENT_ROWS_MAX {
            return Err(Error::invalid(format_args!(
                "a segment of {rows} rows is too large; set segment_rows to at most {SEGMENT_ROWS_MAX}"
            )));
        }
        if !matches!(params.code_bits, 0 | 1 | 2 | 4) {
            return Err(Error::invalid(format_args!(
                "code_bits is {}; it must be 1, 2 or 4",
                params.code_bits
            )));
        }
        if params.leaf_rows > 65_536 || params.fanout == 1 || params.fanout > 65_536 {
            return Err(Error::invalid("leaf_rows must be at most 65536, and fanout 0 or 2 to 65536"));
        }
        let bits =
            if params.code_bits == 0 { CodeShape::default_bits(dim) } else { params.code_bits as usize };
        let shape = CodeShape { padded: dim.div_ceil(PAD) * PAD, bits };
        let leaf_rows = if params.leaf_rows == 0 { LEAF_ROWS } else { params.leaf_rows };
        let flat =
            params.flat || (rows <= FLAT_ROWS_MAX && params.leaf_rows == 0) || rows <= u64::from(leaf_rows);
        let cell_rows = u64::from(leaf_rows) * CELL_LEAVES;
        let cells = if flat { 1 } else { rows.div_ceil(cell_rows).max(1) };
        // Below the cells there are leaves; cells that are divided again lie beside each other.
        let levels = cluster::levels_above_leaves(cells as usize, params.fanout as usize) + 1;
        if levels > LEVELS_MAX {
            return Err(Error::invalid(format_args!(
                "fanout {} makes a tree of {levels} levels of {rows} rows, where {LEVELS_MAX} may be; raise it or \
                 leaf_rows, or set it to 0",
                params.fanout
            )));
        }
        let block_rows = (BLOCK_BYTES_MAX / (4 * dim)).clamp(64, BLOCK_ROWS_MAX).min(rows.max(1) as usize);
        Ok(BuildLayout {
            rows,
            dim,
            element,
            shape,
            flat,
            leaf_rows: leaf_rows as usize,
            cells: cells as usize,
            cell_rows: cell_rows as usize,
            cell_rows_max: (CELL_ROWS_SLACK * cell_rows) as usize,
            fanout: params.fanout as usize,
            sample_rows: rows.min((cells * SAMPLE_A_CELL as u64).max(4_096)) as usize,
            block_rows,
            links: params.links != LinkMode::Off && !flat,
            metric: params.metric,
            held_out: if rows < 64 { 0 } else { held_out(rows, dim).min(rows / 8) as usize },
        })
    }

    /// Sizes of a code that links are made with.
    pub fn fine_shape(&self) -> CodeShape {
        CodeShape { padded: self.shape.padded, bits: FINE_BITS }
    }

    /// True if the codes that links are made with stay in the index, between its candidates and its rows.
    pub fn finer(&self) -> bool {
        self.links && FinerCodes::serve(self.shape, self.metric)
    }

    /// Leaves to be expected, from above.
    pub fn leaves_at_most(&self) -> u64 {
        if self.flat {
            1
        } else {
            (self.rows * 3 / 2).div_ceil(self.leaf_rows as u64).max(1)
        }
    }

    /// Bytes of codes, factors (of finer codes too), ids and links, which are in memory while a segment is searched.
    pub fn row_memory_bytes(&self) -> u64 {
        let links = if self.links { LINKS_A_ROW * 4 } else { 0 };
        let finer = if self.finer() { std::mem::size_of::<Factors>() } else { 0 };
        self.coded_bytes() + self.rows * (links + finer) as u64
    }

    /// Bytes of codes, factors and ids, which stay in memory from the second pass on.
    fn coded_bytes(&self) -> u64 {
        self.rows * (self.shape.row_bytes() + std::mem::size_of::<Factors>() + ID_BYTES) as u64
    }

    /// Bytes of a row that links are made with.
    fn fine_row_bytes(&self) -> usize {
        if self.links {
            self.fine_shape().row_bytes() + std::mem::size_of::<Factors>()
        } else {
            0
        }
    }

    /// The most bytes that one search needs to take note of the rows that it met, beside what any search needs.
    pub fn walk_bytes(&self) -> u64 {
        if self.links {
            MetRows::bytes_max(
                self.rows,
                WalkList::met_max(LIST_MAX as usize),
                self.leaves_at_most(),
                self.rows,
            )
        } else {
            0
        }
    }

    /// Bytes of a node in memory while it is searched.
    pub fn node_bytes(&self) -> u64 {
        let records = std::mem::size_of::<Node>() + std::mem::size_of::<NodeFactors>();
        // And of a leaf its number.
        (self.shape.padded + self.shape.row_bytes() + records + 4) as u64 + Tree::derived_bytes(1)
    }

    /// Bytes of one group of rows that a thread works on in the second pass.
    pub fn cell_memory_bytes(&self) -> u64 {
        let products = 8 * truth::TILE.min(self.held_out);
        // Rows as bytes, for the cut into leaves or for the comparison with held-out rows.
        let bytes = self.dim + 8;
        // A thread encodes two groups before their rows are put where they belong.
        let fine = 2 * self.fine_row_bytes();
        let row =
            self.dim * (self.element.bytes() + 8) + self.shape.padded * 4 + products + bytes + fine + 64;
        let rows = if self.flat { self.block_rows } else { self.cell_rows_max };
        (rows.min(self.rows.max(1) as usize) * row) as u64
    }

    /// The least memory that the build works with, on `threads` threads.
    pub fn least_bytes(&self, threads: usize) -> u64 {
        let sample = (self.sample_rows * self.dim * 4 * 2) as u64;
        let block = (self.block_rows * self.dim * (4 + self.element.bytes())) as u64;
        let order = self.rows * 12;
        let leaves = self.leaves_at_most();
        let centroids = leaves * self.shape.padded as u64 * 4;
        let nodes = leaves * self.node_bytes();
        let assigning = self.thread_bytes_of_cells().saturating_mul(threads as u64);
        let first_pass = assigning.saturating_add(sample + block + self.centre_bytes());
        let cells = self.cell_memory_bytes().saturating_mul(threads as u64);
        let coded = self.coded_bytes() + self.rows * self.fine_row_bytes() as u64;
        let second_pass = cells.saturating_add(coded + centroids + leaves * LEAF_RECORD_BYTES);
        let numbering = coded + 2 * centroids + nodes + leaves * LEAF_RECORD_BYTES;
        // Links are made without the codes.
        let coded_finely = self.rows * (ID_BYTES + self.fine_row_bytes()) as u64;
        let linking = self.linking_bytes(threads).saturating_add(coded_finely + nodes);
        let list = if self.links { WalkList::bytes_max(LIST_MAX as usize) } else { 0 };
        let walks = (self.walk_bytes() + list).saturating_mul(threads as u64);
        // The held-out rows join the links when recall has been measured, by the codes that links are made with.
        let tuned = self.row_memory_bytes() + self.rows * self.fine_row_bytes() as u64 + nodes;
        let tuning = cells.saturating_add(walks).saturating_add(tuned);
        let passes = first_pass.max(second_pass).max(numbering).max(linking).max(tuning);
        passes.saturating_add(order + (8 << 20))
    }

    /// Bytes of the links while they are made, without the codes.
    fn linking_bytes(&self, threads: usize) -> u64 {
        if !self.links {
            return 0;
        }
        let thread = links::thread_bytes(self.shape.padded, self.rows, self.leaves_at_most());
        let shared = self.rows * links::ROUND_BYTES as u64 + NearLeaves::bytes(2 * self.leaves_at_most());
        thread.saturating_mul(threads as u64).saturating_add(shared)
    }

    /// Bytes of all centres of cells: while they are trained, the old ones and the new, those that rows are compared
    /// with, and the order of a router; then the sums of their rows in double precision, and the nodes.
    fn centre_bytes(&self) -> u64 {
        const COPIES: usize = 4;
        const RECORDS: usize = 256;
        let cells = if self.flat { 1 } else { self.cells };
        (cells * (self.dim * (4 * COPIES + 8) + RECORDS) + cluster::gathering_bytes(cells, self.fanout))
            as u64
    }

    /// Bytes of the rows and products that a thread compares with centres.
    fn thread_bytes_of_cells(&self) -> u64 {
        if self.flat {
            return 0;
        }
        cluster::thread_bytes(self.cells, self.dim) as u64
    }

    /// Bytes of the finished segment on disk.
    pub fn disk_bytes(&self) -> u64 {
        let vectors = self.rows * row_stride(self.dim * self.element.bytes()) as u64;
        let nodes = self.leaves_at_most() * (self.node_bytes() + self.shape.padded as u64 * 4);
        let finer = if self.finer() { self.fine_shape().row_bytes() } else { 0 };
        vectors + self.rows * finer as u64 + self.row_memory_bytes() + nodes + (1 << 16)
    }

    /// Bytes in memory after an open, from above: tree, codes, ids.
    pub fn open_bytes(&self) -> u64 {
        // Above the leaves of a small tree there are a cell and the root.
        let nodes = if self.flat { 1 } else { self.leaves_at_most() + 4 };
        let centres = nodes.min(self.fanout.max(ROOT_CHILDREN_MAX) as u64);
        // The quantiser has a mean, and its copy in memory as many signs at most.
        let vectors = (centres + 2) * self.shape.padded as u64 * 4;
        let nodes = nodes * self.node_bytes() + RowCentres::bytes_max(centres);
        self.row_memory_bytes() + nodes + vectors + SMALL_SECTIONS_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_compare_rows_with_cells_are_in_the_least_memory() {
        // The sample is most of what is needed: a thread of the second pass holds next to nothing.
        let params = BuildParams { leaf_rows: 4, links: LinkMode::Off, ..BuildParams::default() };
        for (rows, dim) in [(32_000, 400), (160_000, 400), (1_600_000, 1_024)] {
            let layout = BuildLayout::new(rows, dim, ElementType::F32, &params).unwrap();
            let (one, many) = (layout.least_bytes(1), layout.least_bytes(64));
            assert!(many - one >= 63 * (512 << 10), "{one} for one thread, {many} for 64");
        }
    }

    #[test]
    fn more_threads_never_need_less_memory() {
        let params = BuildParams { leaf_rows: 65_536, ..BuildParams::default() };
        let layout = BuildLayout::new(SEGMENT_ROWS_MAX, DIM_MAX, ElementType::F32, &params).unwrap();
        let needed = [1, 2, 1 << 10, 1 << 20, usize::MAX].map(|threads| layout.least_bytes(threads));
        assert!(needed.is_sorted(), "{needed:?}");
    }
}
