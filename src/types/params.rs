//! Limits and parameters that cross rooms, with their defaults.

use std::sync::atomic::AtomicI32;

/// Largest dimension.
pub const DIM_MAX: usize = 65_536;

/// Largest number of rows of one segment: positions are `u32`, and the last one is a sentinel.
pub const SEGMENT_ROWS_MAX: u64 = u32::MAX as u64 - 1;

/// The id that no row has.
pub const NO_ID: u64 = u64::MAX;

/// Recall@10 that a search aims at unless told otherwise.
pub const RECALL_DEFAULT: f32 = 0.95;

/// `rerank` value that means every candidate.
pub const RERANK_ALL: u32 = u32::MAX;

/// Which rows a search may return.
#[derive(Clone, Copy, Debug, Default)]
pub enum Filter<'a> {
    /// Every row.
    #[default]
    All,
    /// Bit `i` of the whole (word `i / 64`, bit `i % 64`) stands for id `first_id + i`; ids outside have bit 0.
    Bitmap {
        /// The bits.
        words: &'a [u64],
        /// Id of the first bit.
        first_id: u64,
        /// Set bits name the rows that must not be returned.
        exclude: bool,
    },
    /// Ascending ids, each once.
    Ids {
        /// The ids.
        ids: &'a [u64],
        /// The ids name the rows that must not be returned.
        exclude: bool,
    },
}

/// How to search. [`Default`] is what the C API's NULL means.
#[derive(Clone, Copy, Debug)]
pub struct SearchParams<'a> {
    /// Wanted recall@10, in (0, 1], else the call is refused. Not asked if `probes` is not 0.
    pub recall: f32,
    /// Leaves to visit a segment; 0: from `recall`, by the table measured at build.
    pub probes: u32,
    /// Most exact distances to compute; 0: as the bound needs; [`RERANK_ALL`]: every row of the probed leaves.
    pub rerank: u32,
    /// Threads for this call; 0 and 1: the calling thread, for a batch 0: the handle's pool.
    pub threads: u32,
    /// No codes, no tree: every row by its exact distance.
    pub exact: bool,
    /// Neither read nor fill the caches.
    pub no_cache: bool,
    /// From the call on; 0: none.
    pub timeout_ns: u64,
    /// Return no row farther than this.
    pub max_distance: Option<f32>,
    /// Which rows may be returned.
    pub filter: Filter<'a>,
    /// Stop soon after this becomes nonzero.
    pub cancel: Option<&'a AtomicI32>,
}

impl Default for SearchParams<'_> {
    fn default() -> Self {
        SearchParams {
            recall: RECALL_DEFAULT,
            probes: 0,
            rerank: 0,
            threads: 0,
            exact: false,
            no_cache: false,
            timeout_ns: 0,
            max_distance: None,
            filter: Filter::All,
            cancel: None,
        }
    }
}

/// Whether rows that lie near each other are linked. An index without a tree has no links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkMode {
    /// If the memory limit has room for making them.
    #[default]
    Auto,
    /// Or the build fails before it starts.
    On,
    /// A smaller index, built faster, that scans more codes for the same recall.
    Off,
}

/// What to build. [`Default`] lets the library choose.
#[derive(Clone, Debug)]
pub struct BuildParams {
    /// How distance is measured.
    pub metric: crate::types::Metric,
    /// Same input, parameters and seed: same bytes, on any number of threads; with [`LinkMode::Auto`] where memory has
    /// the same room.
    pub seed: u64,
    /// Aim for the rows of a leaf; 0: 48.
    pub leaf_rows: u32,
    /// Most children of an inner node above the leaves' parents; 0: chosen.
    pub fanout: u32,
    /// Code bits a dimension, 1, 2 or 4; 0: chosen from dim.
    pub code_bits: u32,
    /// Links between rows: 136 bytes a row in memory, 128 on disk, and half a byte a dimension beside one-bit codes.
    pub links: LinkMode,
    /// No tree: scan all codes. Chosen by itself for few rows.
    pub flat: bool,
    /// If an index is at the path, replace it in one rename when done.
    pub replace: bool,
    /// Most rows of one segment; 0: as many as fit.
    pub segment_rows: u64,
    /// Bound of the build's memory; 0: from what machine and cgroup have free.
    pub memory_limit_bytes: u64,
    /// Threads; 0: what machine and cgroup allow; 1: the calling thread alone.
    pub threads: u32,
}

impl Default for BuildParams {
    fn default() -> Self {
        BuildParams {
            metric: crate::types::Metric::L2,
            seed: 0,
            leaf_rows: 0,
            fanout: 0,
            code_bits: 0,
            links: LinkMode::Auto,
            flat: false,
            replace: false,
            segment_rows: 0,
            memory_limit_bytes: 0,
            threads: 0,
        }
    }
}
