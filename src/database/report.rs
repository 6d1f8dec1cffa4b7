//! What can be looked at: plain numbers, filled by `inspect`, copied to C structs by `ffi`.

pub use crate::index::recall_table::Effort;
use crate::memory::try_push;
use crate::types::{ElementType, Metric, Result};

/// What the index is.
#[derive(Clone, Debug)]
pub struct Info {
    /// Number of the commit that is seen.
    pub generation: u64,
    /// Rows that a search can return.
    pub rows: u64,
    /// Of every vector.
    pub dim: usize,
    /// How distance is measured.
    pub metric: Metric,
    /// Of the stored vectors.
    pub element: ElementType,
    /// Segments.
    pub segments: u32,
    /// Bytes of one row's code.
    pub code_bytes: u32,
    /// Bits a dimension of a code.
    pub code_bits: u32,
    /// Of the files.
    pub format_version: u32,
    /// No segment has a tree.
    pub flat: bool,
    /// Rows are linked, in one segment at least.
    pub links: bool,
    /// Vectors are mapped, not read.
    pub mapped: bool,
    /// All files of this generation.
    pub disk_bytes: u64,
    /// Name of the kernels in use.
    pub kernels: &'static str,
    /// Nanoseconds that the open took.
    pub open_ns: u64,
}

impl Info {
    /// What a search goes by, in words.
    pub fn shape(&self) -> &'static str {
        match (self.flat, self.links) {
            (true, _) => "flat",
            (false, false) => "tree",
            (false, true) => "tree and links",
        }
    }
}

/// What happened since the handle was opened. Only grows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Single searches, failed ones included.
    pub searches: u64,
    /// Batches, failed ones included.
    pub batches: u64,
    /// Queries in those.
    pub batch_queries: u64,
    /// Searches and batches that failed. A call whose arguments C could not have meant (NULL, another dim, an
    /// unknown flag) is refused by `ffi` and not counted; nor are cursors.
    pub errors: u64,
    /// Of these, by time limit.
    pub timeouts: u64,
    /// Of these, by cancel token.
    pub cancels: u64,
    /// Nanoseconds inside searches, all threads.
    pub search_ns: u64,
    /// Sums of the own counts of searches that succeeded.
    pub work: crate::stats::SearchStats,
}

/// Bytes in memory, by part. `mapped_bytes` is address space alone and in no sum.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryReport {
    /// In force now.
    pub limit_bytes: u64,
    /// Sum of the parts below.
    pub total_bytes: u64,
    /// Sum of the most that each part had at a time: no total since the open was higher.
    pub peak_bytes: u64,
    /// Nodes and centroids.
    pub tree_bytes: u64,
    /// Codes and factors.
    pub code_bytes: u64,
    /// Ids and the way back.
    pub id_bytes: u64,
    /// Links between rows.
    pub link_bytes: u64,
    /// Factors of the finer codes, which are mapped.
    pub second_tier_bytes: u64,
    /// Full vectors kept.
    pub vector_cache_bytes: u64,
    /// Whole answers kept.
    pub answer_cache_bytes: u64,
    /// Working memory of searches: kept for reuse, and of those that run what they may take.
    pub scratch_bytes: u64,
    /// Open cursors: rows fetched and not yet given, queries, filters; and, while they run, searches that are too many
    /// or too large for the part of the limit that is kept for working memory.
    pub other_bytes: u64,
    /// Address space of mapped vectors and finer codes.
    pub mapped_bytes: u64,
}

/// One segment and its tree.
#[derive(Clone, Debug)]
pub struct SegmentReport {
    /// Its number, which names its file.
    pub number: u64,
    /// Rows.
    pub rows: u64,
    /// On disk, as the five below: nodes, their codes and centroids.
    pub tree_bytes: u64,
    /// Codes, finer ones too, and factors.
    pub code_bytes: u64,
    /// Ids and the way back.
    pub id_bytes: u64,
    /// Links between rows; 0: there are none.
    pub link_bytes: u64,
    /// Full vectors.
    pub vector_bytes: u64,
    /// The whole file.
    pub file_bytes: u64,
    /// Nodes, leaves included.
    pub nodes: u64,
    /// Leaves.
    pub leaves: u64,
    /// Rows of the smallest leaf.
    pub leaf_rows_min: u64,
    /// Rows of the middle leaf.
    pub leaf_rows_median: u64,
    /// Rows of the largest leaf.
    pub leaf_rows_max: u64,
    /// Nodes of each level, root first.
    pub level_nodes: Vec<u64>,
    /// Measured, by ascending probes, and of the same probes by longer walks.
    pub efforts: Vec<Effort>,
}

/// One node of a segment's tree.
#[derive(Clone, Copy, Debug)]
pub struct NodeReport {
    /// `None` for the root.
    pub parent: Option<u64>,
    /// Its children are numbered on from here.
    pub first_child: u64,
    /// 0: a leaf.
    pub children: u64,
    /// Rows below it.
    pub rows: u64,
    /// 0 for the root.
    pub level: u32,
}

/// A cache, as it is now. Counts only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheReport {
    /// 0: off.
    pub capacity_bytes: u64,
    /// Entries and their bookkeeping.
    pub used_bytes: u64,
    /// Held.
    pub entries: u64,
    /// Look-ups that found.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
    /// Entries dropped for room.
    pub evictions: u64,
}

/// What a build and an open would take.
#[derive(Clone, Copy, Debug, Default)]
pub struct Estimate {
    /// The least that works.
    pub build_memory_bytes: u64,
    /// Beyond this, more does not help.
    pub build_memory_best_bytes: u64,
    /// Peak on disk, the finished index included.
    pub build_disk_bytes: u64,
    /// Tree, codes, ids and working memory of one search.
    pub open_memory_bytes: u64,
    /// The finished index.
    pub index_disk_bytes: u64,
}

/// What a build did.
#[derive(Clone, Debug, Default)]
pub struct BuildReport {
    /// Number of the commit.
    pub generation: u64,
    /// Rows indexed.
    pub rows: u64,
    /// (phase, nanoseconds), in order; of several segments the sum.
    pub phases: Vec<(&'static str, u64)>,
    /// Memory that the build allowed itself, by the formulas of its estimate.
    pub peak_bytes: u64,
    /// Bytes of the finished index.
    pub disk_bytes: u64,
    /// Rows are linked, in one segment at least.
    pub links: bool,
}

impl BuildReport {
    /// Adds to what a phase took.
    pub(super) fn add_phase(&mut self, phase: &'static str, ns: u64) -> Result<()> {
        match self.phases.iter_mut().find(|(name, _)| *name == phase) {
            Some((_, sum)) => *sum += ns,
            None => try_push(&mut self.phases, (phase, ns))?,
        }
        Ok(())
    }
}
