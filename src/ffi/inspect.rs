//! Look inside: what an index is, what it did, what memory it takes, its segments and their trees.

use super::arg::{self, Output, SizedStruct};
use super::build::{vdb_metric_t, vdb_type_t};
use super::error::{vdb_error_t, vdb_status_t};
use super::guard::guard;
use super::open::{check_dim, check_flags, database, vdb_t};
use super::search::VDB_NO_ID;
use super::vectors::{check_code_bytes, VDB_NODE_NONE};
use crate::database::{Database, NodeReport, SegmentReport};
use crate::types::Result;

/// What an index is.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct vdb_info_t {
    /// sizeof(vdb_info_t)
    pub struct_size: usize,
    /// Number of the commit that the handle sees.
    pub generation: u64,
    /// Rows that a search can return.
    pub rows: u64,
    /// Dimensions of every vector.
    pub dim: usize,
    /// How distance is measured: VDB_METRIC_...
    pub metric: vdb_metric_t,
    /// How vectors are stored: VDB_TYPE_...
    pub r#type: vdb_type_t,
    /// Segments; vdb_segment takes 0 to segments - 1.
    pub segments: u32,
    /// Bytes of one row's code.
    pub code_bytes: u32,
    /// Bits of a code for each dimension.
    pub code_bits: u32,
    /// Version of the files' format.
    pub format_version: u32,
    /// 1: no segment has a tree.
    pub flat: u32,
    /// 1: vectors are mapped; 0: they are read.
    pub mapped: u32,
    /// Bytes of the segment files of this generation.
    pub disk_bytes: u64,
    /// Time that the open took.
    pub open_ns: u64,
    /// 1: rows are linked, in one segment at least.
    pub links: u32,
    /// 0
    pub reserved: u32,
}

// SAFETY: words and pairs of halves of a word.
unsafe impl SizedStruct for vdb_info_t {
    const NAME: &'static str = "vdb_info_t";
    const FIRST_BYTES: usize = 80;
}

/// Fills info with what the index is.
///
/// Errors: VDB_INVALID_ARGUMENT, VDB_FORKED. Threads: any number at once. Time: constant.
///
/// ```c
/// vdb_info_t info = {0};
/// info.struct_size = sizeof info;
/// status = vdb_info(db, &info, &error);
/// ```
#[no_mangle]
pub unsafe extern "C" fn vdb_info(
    db: *const vdb_t,
    info: *mut vdb_info_t,
    error: *mut *mut vdb_error_t,
) -> vdb_status_t {
    // SAFETY: the caller's, by the rules of the header.
    unsafe {
        guard(
            error,
            || Output::new("info", info),
            |to| {
                let info = database(db)?.info();
                to.put(&vdb_info_t {
                    struct_size: size_of::<vdb_info_t>(),
                    generation: info.generation,
                    rows: info.rows,
                    dim: info.dim,
                    metric: info.metric as vdb_metric_t,
                    r#type: info.element as vdb_type_t,
                    segments: info.segments,
                    code_bytes: info.code_bytes,
                    code_bits: info.code_bits,
                    format_version: info.format_version,
                    flat: info.flat.into(),
                    mapped: info.mapped.into(),
                    disk_bytes: info.disk_bytes,
                    open_ns: info.open_ns,
                    links: info.links.into(),
                    reserved: 0,
                });
                Ok(())
            },
        )
    }
}

/// What happened since the handle was opened. Numbers only grow: subtract two readings to measure between.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct vdb_stats_t {
    /// sizeof(vdb_stats_t)
    pub struct_size: usize,
    /// Calls of vdb_search. Here and below, those refused for NULL, dim or flags are not counted.
    pub searches: u64,
    /// Calls of vdb_batch_search.
    pub batches: u64,
    /// Queries in those.
    pub batch_queries: u64,
    /// Searches and batches that failed.
    pub errors: u64,
    /// Of these, by VDB_TIMEOUT.
    pub timeouts: u64,
    /// Of these, by VDB_CANCELLED.
    pub cancels: u64,
    /// Time inside searches, summed over the callers.
    pub search_ns: u64,
    /// From here on, sums of what each search that succeeded did, as in vdb_search_stats_t.
    pub quantise_ns: u64,
    /// Rank nodes, down to the leaves.
    pub descend_ns: u64,
    /// Estimate distances from codes.
    pub scan_ns: u64,
    /// Follow links between rows.
    pub walk_ns: u64,
    /// Read vectors by system calls. Page faults of mapped ones are in rerank_ns.
    pub read_ns: u64,
    /// Exact distances. VDB_SEARCH_EXACT over several threads: their sum.
    pub rerank_ns: u64,
    /// Join segments and threads.
    pub merge_ns: u64,
    /// Nodes whose distance was taken.
    pub nodes_ranked: u64,
    /// Leaves visited.
    pub leaves_scanned: u64,
    /// Codes whose distance was estimated, by leaf or by link.
    pub codes_scanned: u64,
    /// Rows whose distance was computed.
    pub rows_reranked: u64,
    /// Of these, not in the vector cache.
    pub rows_read: u64,
    /// Of vectors, from the page cache or from disk.
    pub bytes_read: u64,
    /// Answers that came from the answer cache.
    pub answer_cache_hits: u64,
    /// Of codes_scanned, those that links led to.
    pub codes_walked: u64,
}

// SAFETY: words.
unsafe impl SizedStruct for vdb_stats_t {
    const NAME: &'static str = "vdb_stats_t";
    const FIRST_BYTES: usize = 176;
}

/// Fills stats with what happened since the open. Each number is exact; together they are not one instant.
///
/// Errors: VDB_INVALID_ARGUMENT, VDB_FORKED. Threads: any number at once. Time: constant.
#[no_mangle]
pub unsafe extern "C" fn vdb_stats(
    db: *const vdb_t,
    stats: *mut vdb_stats_t,
    error: *mut *mut vdb_error_t,
) -> vdb_status_t {
    // SAFETY: the caller's, by the rules of the header.
    unsafe {
        guard(
            error,
            || Output::new("stats", stats),
            |to| {
                let totals = database(db)?.totals();
                to.put(&vdb_stats_t {
                    struct_size: size_of::<vdb_stats_t>(),
                    searches: totals.searches,
                    batches: totals.batches,
                    batch_queries: totals.batch_queries,
                    errors: totals.errors,
                    timeouts: totals.timeouts,
                    cancels: totals.cancels,
                    search_ns: totals.search_ns,
                    quantise_ns: totals.work.quantise_ns,
                    descend_ns: totals.work.descend_ns,
                    scan_ns: totals.work.scan_ns,
                    walk_ns: totals.work.walk_ns,
                    read_ns: totals.work.read_ns,
                    rerank_ns: totals.work.rerank_ns,
                    merge_ns: totals.work.merge_ns,
                    nodes_ranked: totals.work.nodes_ranked,
                    leaves_scanned: totals.work.leaves_scanned,
                    codes_scanned: totals.work.codes_scanned,
                    rows_reranked: totals.work.rows_reranked,
                    rows_read: totals.work.rows_read,
                    bytes_read: totals.work.bytes_read,
                    answer_cache_hits: totals.work.answer_cache_hit.into(),
                    codes_walked: totals.work.codes_walked,
                });
                Ok(())
            },
        )
    }
}

/// Bytes in memory, by part.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct vdb_memory_t {
    /// sizeof(vdb_memory_t)
    pub struct_size: usize,
    /// The limit in force now.
    pub limit_bytes: u64,
    /// Sum of the parts below, but for mapped_bytes.
    pub total_bytes: u64,
    /// Sum of the most that each part has had: no total since the open was higher.
    pub peak_bytes: u64,
    /// Nodes, their codes and centroids, the rotation.
    pub tree_bytes: u64,
    /// Codes and their factors.
    pub code_bytes: u64,
    /// Ids, and the way back from them.
    pub id_bytes: u64,
    /// Links between rows.
    pub link_bytes: u64,
    /// Factors of the finer codes, which are mapped.
    pub second_tier_bytes: u64,
    /// Vectors kept.
    pub vector_cache_bytes: u64,
    /// Answers kept.
    pub answer_cache_bytes: u64,
    /// Working memory of searches: kept to be used again, and of those that run what they may take.
    pub scratch_bytes: u64,
    /// Open cursors: rows fetched and not yet given, queries, filters; and, while they run, searches that are
    /// too many or too large for the part of the limit that is kept for working memory.
    pub other_bytes: u64,
    /// Address space of mapped vectors and finer codes, whose memory is the page cache's.
    pub mapped_bytes: u64,
}

// SAFETY: words.
unsafe impl SizedStruct for vdb_memory_t {
    const NAME: &'static str = "vdb_memory_t";
    const FIRST_BYTES: usize = 112;
}

/// Fills memory with what the handle takes, by part.
///
/// Errors: VDB_INVALID_ARGUMENT, VDB_FORKED. Threads: any number at once. Time: constant.
#[no_mangle]
pub unsafe extern "C" fn vdb_memory(
    db: *const vdb_t,
    memory: *mut vdb_memory_t,
    error: *mut *mut vdb_error_t,
) -> vdb_status_t {
    // SAFETY: the caller's, by the rules of the header.
    unsafe {
        guard(
            error,
            || Output::new("memory", memory),
            |to| {
                let memory = database(db)?.memory();
                to.put(&vdb_memory_t {
                    struct_size: size_of::<vdb_memory_t>(),
                    limit_bytes: memory.limit_bytes,
                    total_bytes: memory.total_bytes,
                    peak_bytes: memory.peak_bytes,
                    tree_bytes: memory.tree_bytes,
                    code_bytes: memory.code_bytes,
                    id_bytes: memory.id_bytes,
                    link_bytes: memory.link_bytes,
                    second_tier_bytes: memory.second_tier_bytes,
                    vector_cache_bytes: memory.vector_cache_bytes,
                    answer_cache_bytes: memory.answer_cache_bytes,
                    scratch_bytes: memory.scratch_bytes,
                    other_bytes: memory.other_bytes,
                    mapped_bytes: memory.mapped_bytes,
                });
                Ok(())
            },
        )
    }
}

/// Most levels of a tree.
pub const VDB_LEVELS_MAX: usize = 16;
/// Most measured efforts of a segment.
pub const VDB_EFFORTS_MAX: usize = 64;

/// What the build measured on rows that it held out: so many probes, and where rows are linked a walk as long
/// as vdb_segment_t.walks says, reach this recall@10.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct vdb_effort_t {
    /// Recall@10, less a margin for the chance of the measurement.
    pub recall: f32,
    /// Leaves visited.
    pub probes: u32,
}

/// A segment: an immutable index over some of the rows, with a tree of its own. Nodes are numbered level by
/// level from the root, which is 0; the leaves are the last.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct vdb_segment_t {
    /// sizeof(vdb_segment_t)
    pub struct_size: usize,
    /// Its number, which names its file.
    pub number: u64,
    /// Rows in it.
    pub rows: u64,
    /// On disk, as the next four: nodes, their codes and centroids.
    pub tree_bytes: u64,
    /// Codes, finer ones too, and their factors.
    pub code_bytes: u64,
    /// Ids, and the way back from them.
    pub id_bytes: u64,
    /// Vectors.
    pub vector_bytes: u64,
    /// The whole file.
    pub file_bytes: u64,
    /// Nodes of its tree, leaves included.
    pub nodes: u64,
    /// Leaves of its tree.
    pub leaves: u64,
    /// Rows of the smallest leaf.
    pub leaf_rows_min: u64,
    /// Rows of the middle leaf.
    pub leaf_rows_median: u64,
    /// Rows of the largest leaf.
    pub leaf_rows_max: u64,
    /// Levels of its tree; 1: the root is the only leaf.
    pub levels: u32,
    /// Length of efforts.
    pub effort_count: u32,
    /// Nodes of each level, root first.
    pub level_nodes: [u64; VDB_LEVELS_MAX],
    /// By ascending probes, and of the same probes by longer walks.
    pub efforts: [vdb_effort_t; VDB_EFFORTS_MAX],
    /// On disk: links between rows. 0: there are none.
    pub link_bytes: u64,
    /// For each of efforts, how many of the closest rows a search holds and follows links from. 0: it follows none.
    pub walks: [u32; VDB_EFFORTS_MAX],
}

// SAFETY: words and pairs of halves of a word.
unsafe impl SizedStruct for vdb_segment_t {
    const NAME: &'static str = "vdb_segment_t";
    const FIRST_BYTES: usize = 752;
}

/// Fills segment with what a segment is: its sizes, its tree, what was measured.
///
///   index   0 to vdb_info_t.segments - 1
///
/// Errors: VDB_INVALID_ARGUMENT, VDB_NOT_FOUND, VDB_IO (the length of its file), VDB_FORKED. Threads: any
/// number at once. Time: linear in leaves.
#[no_mangle]
pub unsafe extern "C" fn vdb_segment(
    db: *const vdb_t,
    index: u32,
    segment: *mut vdb_segment_t,
    error: *mut *mut vdb_error_t,
) -> vdb_status_t {
    // SAFETY: the caller's, by the rules of the header.
    unsafe {
        guard(
            error,
            || Output::new("segment", segment),
            |to| {
                to.put(&vdb_segment_t::from(&database(db)?.segment(index)?));
                Ok(())
            },
        )
    }
}

/// A node of a tree. The caller may lend three buffers to be filled; those that stay NULL cost nothing.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct vdb_tree_node_t {
    /// sizeof(vdb_tree_node_t)
    pub struct_size: usize,
    /// In: NULL, or room for the centroid.
    pub centroid: *mut f32,
    /// In: floats of that room: the index's dim.
    pub centroid_dim: usize,
    /// In: NULL, or room for the node's code.
    pub code: *mut u8,
    /// In: bytes of that room: vdb_info_t.code_bytes.
    pub code_bytes: usize,
    /// In: NULL, or room for ids of the rows below.
    pub members: *mut u64,
    /// In: how many ids that room has.
    pub member_capacity: usize,
    /// In: rows below to pass over.
    pub member_first: u64,
    /// Out: ids written.
    pub member_count: u64,
    /// Out: its parent; VDB_NODE_NONE for the root.
    pub parent: u64,
    /// Out: its children are numbered on from here.
    pub first_child: u64,
    /// Out: how many; 0: a leaf.
    pub children: u64,
    /// Out: rows below it.
    pub rows: u64,
    /// Out: its level; 0 for the root.
    pub level: u32,
    /// 0
    pub reserved: u32,
}

// SAFETY: words, pointers and two halves of a word; all zero is NULL and 0.
unsafe impl SizedStruct for vdb_tree_node_t {
    const NAME: &'static str = "vdb_tree_node_t";
    const FIRST_BYTES: usize = 112;
}

/// Reads a node: where it hangs, and as far as buffers are lent its centroid, its code and the ids below it.
///
///   segment   0 to vdb_info_t.segments - 1
///   index     0, the root, to vdb_segment_t.nodes - 1
///   node      lends buffers, and is filled
///
/// The centroid is the mean of the rows below, in full precision; under VDB_METRIC_COSINE it is one of
/// directions, of length 1 or less. Rows that the build held out to measure recall move no centroid, but that
/// of a leaf which has no others. On failure what the lent buffers hold is of no use.
///
/// Errors: VDB_INVALID_ARGUMENT, VDB_NOT_FOUND, VDB_FORKED, and for the centroid, which is read from disk,
/// VDB_IO, VDB_CORRUPT, VDB_OUT_OF_MEMORY. Threads: any number at once. Time: linear in what is filled.
///
/// ```c
/// vdb_tree_node_t node = {0};
/// node.struct_size = sizeof node;
/// node.centroid = centroid;
/// node.centroid_dim = 100;
/// status = vdb_tree_node(db, 0, 0, &node, &error);
/// ```
#[no_mangle]
pub unsafe extern "C" fn vdb_tree_node(
    db: *const vdb_t,
    segment: u32,
    index: u64,
    node: *mut vdb_tree_node_t,
    error: *mut *mut vdb_error_t,
) -> vdb_status_t {
    // SAFETY: the caller's, by the rules of the header.
    unsafe {
        guard(
            error,
            || vdb_tree_node_t::output(node),
            |(to, mut value)| {
                let database = database(db)?;
                value.place(&database.node(segment, index)?);
                value.fill_buffers(database, segment, index)?;
                to.put(&value);
                Ok(())
            },
        )
    }
}

impl vdb_tree_node_t {
    /// The caller's struct, in the state that a failure leaves.
    ///
    /// # Safety
    /// `node` is NULL or valid, while the output lives.
    unsafe fn output(node: *mut Self) -> Result<(Output<Self>, Self)> {
        // SAFETY: the caller's promise; `Output::new` refuses NULL, which alone reads as it is written.
        unsafe {
            let read = arg::read(node);
            let mut value = arg::peek(node)?;
            let to = Output::new("node", node)?;
            value.clear();
            to.put(&value);
            check_flags("vdb_tree_node_t.reserved", read?.reserved, 0)?;
            Ok((to, value))
        }
    }

    /// What is filled, as it is when the call fails.
    fn clear(&mut self) {
        self.place(&NodeReport { parent: None, first_child: 0, children: 0, rows: 0, level: 0 });
        self.member_count = 0;
        self.reserved = 0;
    }

    fn place(&mut self, node: &NodeReport) {
        self.parent = node.parent.unwrap_or(VDB_NODE_NONE);
        self.first_child = node.first_child;
        self.children = node.children;
        self.rows = node.rows;
        self.level = node.level;
    }

    /// # Safety
    /// The buffers are NULL or have the room that they are said to have.
    unsafe fn fill_buffers(&mut self, database: &Database, segment: u32, index: u64) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe {
            if !self.centroid.is_null() {
                check_dim(database, self.centroid_dim)?;
                let centroid =
                    arg::output("vdb_tree_node_t.centroid", self.centroid, self.centroid_dim, 0.0)?;
                database.node_centroid(segment, index, centroid)?;
            }
            if !self.code.is_null() {
                check_code_bytes(database, self.code_bytes)?;
                let code = arg::output("vdb_tree_node_t.code", self.code, self.code_bytes, 0)?;
                database.node_code(segment, index, code)?;
            }
            if !self.members.is_null() {
                // No more than are left: the rest of the room is not touched.
                let left = self.rows.saturating_sub(self.member_first);
                let room = self.member_capacity.min(usize::try_from(left).unwrap_or(usize::MAX));
                let members = arg::output("vdb_tree_node_t.members", self.members, room, VDB_NO_ID)?;
                self.member_count = database.node_members(segment, index, self.member_first, members)?;
            }
        }
        Ok(())
    }
}

impl From<&SegmentReport> for vdb_segment_t {
    fn from(report: &SegmentReport) -> Self {
        let mut level_nodes = [0; VDB_LEVELS_MAX];
        for (to, from) in level_nodes.iter_mut().zip(&report.level_nodes) {
            *to = *from;
        }
        let mut efforts = [vdb_effort_t { recall: 0.0, probes: 0 }; VDB_EFFORTS_MAX];
        let mut walks = [0; VDB_EFFORTS_MAX];
        for (nth, effort) in report.efforts.iter().take(VDB_EFFORTS_MAX).enumerate() {
            efforts[nth] = vdb_effort_t { recall: effort.recall, probes: effort.probes };
            walks[nth] = effort.list;
        }
        vdb_segment_t {
            struct_size: size_of::<Self>(),
            number: report.number,
            rows: report.rows,
            tree_bytes: report.tree_bytes,
            code_bytes: report.code_bytes,
            id_bytes: report.id_bytes,
            vector_bytes: report.vector_bytes,
            file_bytes: report.file_bytes,
            nodes: report.nodes,
            leaves: report.leaves,
            leaf_rows_min: report.leaf_rows_min,
            leaf_rows_median: report.leaf_rows_median,
            leaf_rows_max: report.leaf_rows_max,
            levels: report.level_nodes.len().min(VDB_LEVELS_MAX) as u32,
            effort_count: report.efforts.len().min(VDB_EFFORTS_MAX) as u32,
            level_nodes,
            efforts,
            link_bytes: report.link_bytes,
            walks,
        }
    }
}
