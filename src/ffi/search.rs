//! Searches: single and in batches, with their parameters.

use super::arg::{self, Output, SizedStruct};
use super::error::{vdb_error_t, vdb_status_t};
use super::guard::{blank_unless_ok, guard};
use super::job::{token, vdb_cancel_t};
use super::open::{check_dim, check_flags, database, vdb_t};
use crate::database::SearchStats;
use crate::types::params::{Filter, SearchParams, NO_ID, RECALL_DEFAULT};
use crate::types::{Error, Result};

/// The id that no row has; in slots behind the last answer.
pub const VDB_NO_ID: u64 = u64::MAX;

/// What the values of a filter are. VDB_FILTER_...
pub type vdb_filter_kind_t = u32;

/// Ids, ascending, each once.
pub const VDB_FILTER_IDS: vdb_filter_kind_t = 1;
/// Words of a bitmap: bit i of the whole, word i / 64, bit i % 64, is for id first_id + i.
pub const VDB_FILTER_BITMAP: vdb_filter_kind_t = 2;

/// Which rows a search may return: those that are named, or all but those. Read during the call only. Where
/// many rows near the query are refused, a search goes further, for the recall asked for among the others.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct vdb_filter_t {
    /// sizeof(vdb_filter_t)
    pub struct_size: usize,
    /// VDB_FILTER_...; has no default.
    pub kind: vdb_filter_kind_t,
    /// 1: the rows named are those that must not be returned.
    pub exclude: u32,
    /// Ids or words. NULL: none.
    pub values: *const u64,
    /// How many ids or words.
    pub value_count: usize,
    /// Of a bitmap: the id of its first bit.
    pub first_id: u64,
}

// SAFETY: words, a pointer and two halves of a word; all zero is NULL and 0.
unsafe impl SizedStruct for vdb_filter_t {
    const NAME: &'static str = "vdb_filter_t";
    const FIRST_BYTES: usize = 40;
}

/// What a search did, and how long each step took.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct vdb_search_stats_t {
    /// sizeof(vdb_search_stats_t)
    pub struct_size: usize,
    /// Of the index that answered.
    pub generation: u64,
    /// Rotate and quantise the query.
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
    /// Leaves visited, in all segments.
    pub leaves_scanned: u64,
    /// Codes whose distance was estimated, by leaf or by link.
    pub codes_scanned: u64,
    /// Rows whose distance was computed.
    pub rows_reranked: u64,
    /// Of these, not in the vector cache.
    pub rows_read: u64,
    /// Of vectors, from the page cache or from disk.
    pub bytes_read: u64,
    /// Leaves to visit, as set or as chosen from recall; the sum over segments, the queries of a batch, and attempts
    /// where a first one found too few rows.
    pub probes: u32,
    /// Answers that came from the answer cache.
    pub answer_cache_hits: u32,
    /// Of codes_scanned, those that links led to.
    pub codes_walked: u64,
}

// SAFETY: words and two halves of one.
unsafe impl SizedStruct for vdb_search_stats_t {
    const NAME: &'static str = "vdb_search_stats_t";
    const FIRST_BYTES: usize = 128;
}

/// Every row by its exact distance: no tree, no codes.
pub const VDB_SEARCH_EXACT: u32 = 1 << 0;
/// Neither read nor fill the caches.
pub const VDB_SEARCH_NO_CACHE: u32 = 1 << 1;
/// max_distance holds.
pub const VDB_SEARCH_MAX_DISTANCE: u32 = 1 << 2;

/// How to search. NULL, or all zero: recall 0.95, all else chosen.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct vdb_search_params_t {
    /// sizeof(vdb_search_params_t)
    pub struct_size: usize,
    /// Wanted recall@10, up to 1, which visits every leaf. 0: 0.95. Below 0, above 1 and NaN are refused, though
    /// probes, where set, decides.
    pub recall: f32,
    /// Leaves to visit. 0: from recall, by what the build measured.
    pub probes: u32,
    /// Most exact distances; k of them are computed at least. 0: as many as it takes; UINT32_MAX: every row visited.
    pub rerank: u32,
    /// 0: the caller's, or of the handle's where that pays; 1: the caller's alone.
    pub threads: u32,
    /// VDB_SEARCH_...
    pub flags: u32,
    /// Nothing: fills the gap before the next field, and takes no part in initialisers.
    pub gap: u32,
    /// From the call on. 0: none.
    pub timeout_ns: u64,
    /// NULL: every row may be returned.
    pub filter: *const vdb_filter_t,
    /// NULL: none.
    pub cancel: *const vdb_cancel_t,
    /// NULL: not wanted. A batch fills one, for the whole.
    pub stats: *mut vdb_search_stats_t,
    /// With VDB_SEARCH_MAX_DISTANCE: no row farther than this is returned.
    pub max_distance: f32,
    /// 0
    pub reserved: u32,
}

// SAFETY: words, pointers and pairs of halves of a word; all zero is NULL and 0.
unsafe impl SizedStruct for vdb_search_params_t {
    const NAME: &'static str = "vdb_search_params_t";
    const FIRST_BYTES: usize = 40;
}

/// Finds the k rows nearest to a query, closest first; equal distances by id.
///
///   query       dim floats at any address, none beyond 1e15; not all zero under VDB_METRIC_COSINE
///   dim         the index's
///   k           1 or more; above the number of rows it gives all rows
///   params      NULL: recall 0.95, all else chosen
///   ids         room for k
///   distances   room for k, or NULL. Smaller is closer: squared L2, the negated inner product, 1 - cosine;
///               exact, never an estimate
///   count       NULL, or receives how many were found: below k only if fewer rows are there, admitted by
///               filter, or found within max_distance; of those within, the recall asked for is found.
///               Slots behind them hold VDB_NO_ID and +infinity
///
/// The same call on the same index gives the same bits, single or in a batch, on any number of threads, with
/// caches or without, under the default rounding mode. Another k is another search: below full recall, the
/// first ten of k = 20 need not be those of k = 10. On failure count is 0 and every slot holds VDB_NO_ID and
/// +infinity.
///
/// Errors: VDB_INVALID_ARGUMENT, VDB_TIMEOUT, VDB_CANCELLED, VDB_CORRUPT, VDB_IO, VDB_OUT_OF_MEMORY,
/// VDB_UNSUPPORTED, VDB_FORKED, VDB_MISUSE. Threads: any number at once. Memory: of the handle's limit, part
/// of which is kept for searches; one takes about half a MB for a k up to 256, and 2 KB for each of a larger
/// k; where rows are linked, up to 1.5 bytes for each row of the largest segment as well. What others that
/// run leave too little for is VDB_OUT_OF_MEMORY. Nothing for the caller to free.
///
/// ```c
/// vdb_search_params_t params = {0};
/// params.struct_size = sizeof params;
/// params.recall = 0.99f;
/// status = vdb_search(db, query, 100, 10, &params, ids, distances, &count, &error);
/// ```
#[no_mangle]
pub unsafe extern "C" fn vdb_search(
    db: *const vdb_t,
    query: *const f32,
    dim: usize,
    k: usize,
    params: *const vdb_search_params_t,
    ids: *mut u64,
    distances: *mut f32,
    count: *mut usize,
    error: *mut *mut vdb_error_t,
) -> vdb_status_t {
    // SAFETY: the caller's, by the rules of the header.
    unsafe {
        guard(
            error,
            || {
                arg::put(count, 0);
                let stats = stats_output(params);
                Ok((Slots::new("k", ids, distances, 1, k)?, stats?))
            },
            |(mut slots, stats)| {
                blank_unless_ok(&mut slots, Slots::blank, |slots| {
                    let database = database(db)?;
                    check_dim(database, dim)?;
                    let query = arg::input("query", query, dim)?;
                    let (ids, distances) = (&mut *slots.ids, slots.distances.as_deref_mut());
                    let outcome = with_params(&arg::read(params)?, |params| {
                        database.search(&query, k, params, ids, distances)
                    })?;
                    put_stats(stats, &outcome.stats);
                    arg::put(count, outcome.count);
                    Ok(())
                })
            },
        )
    }
}

/// Finds the k rows nearest to each of many queries, in less time than as many calls of vdb_search: what
/// several queries visit is read once, and the handle's threads share the work.
///
///   queries       query_count x dim floats, row by row, at any address
///   query_count   0 is legal
///   dim, k        as for vdb_search
///   params        as for vdb_search; threads 0: all of the handle's
///   ids           room for query_count x k, row by row
///   distances     the same, or NULL
///   counts        room for query_count, or NULL
///
/// Answers bit for bit what single searches answer. One bad query fails the whole call, and VDB_DETAIL_ROW
/// names it; time limit and token hold for the whole. Errors, threads and memory as for vdb_search.
///
/// ```c
/// status = vdb_batch_search(db, queries, 1000, 100, 10, NULL, ids, distances, counts, &error);
/// for (size_t i = 0; status == VDB_OK && i < 1000; i++)
///     report(i, &ids[10 * i], &distances[10 * i], counts[i]);
/// ```
#[no_mangle]
pub unsafe extern "C" fn vdb_batch_search(
    db: *const vdb_t,
    queries: *const f32,
    query_count: usize,
    dim: usize,
    k: usize,
    params: *const vdb_search_params_t,
    ids: *mut u64,
    distances: *mut f32,
    counts: *mut usize,
    error: *mut *mut vdb_error_t,
) -> vdb_status_t {
    // SAFETY: the caller's, by the rules of the header.
    unsafe {
        guard(
            error,
            || {
                // Lengths that no arrays can have are found before any of them is written to.
                arg::product("queries", query_count, dim).and(arg::product("ids", query_count, k))?;
                let counts = arg::optional_output("counts", counts, query_count, 0);
                let stats = stats_output(params);
                Ok((Slots::new("k", ids, distances, query_count, k)?, counts?, stats?))
            },
            |(slots, counts, stats)| {
                let blank = |(slots, counts): &mut (Slots<'_>, Option<&mut [usize]>)| {
                    slots.blank();
                    counts.iter_mut().for_each(|counts| counts.fill(0));
                };
                blank_unless_ok(&mut (slots, counts), blank, |(slots, counts)| {
                    let database = database(db)?;
                    check_dim(database, dim)?;
                    let queries = arg::input("queries", queries, arg::product("queries", query_count, dim)?)?;
                    let (ids, distances) = (&mut *slots.ids, slots.distances.as_deref_mut());
                    let done = with_params(&arg::read(params)?, |params| {
                        let counts = counts.as_deref_mut();
                        database.batch_search(&queries, dim, k, params, ids, distances, counts)
                    })?;
                    put_stats(stats, &done);
                    Ok(())
                })
            },
        )
    }
}

/// The caller's room for answers.
pub(super) struct Slots<'a> {
    pub ids: &'a mut [u64],
    pub distances: Option<&'a mut [f32]>,
}

impl Slots<'_> {
    /// Room for `queries` x `k` answers, all of it blank; `name` is what the caller calls `k`.
    ///
    /// # Safety
    /// `ids` is NULL or has this room, `distances` too.
    pub(super) unsafe fn new(
        name: &str,
        ids: *mut u64,
        distances: *mut f32,
        queries: usize,
        k: usize,
    ) -> Result<Self> {
        check_k(name, k)?;
        let room = arg::product("ids", queries, k)?;
        // SAFETY: the caller's promise.
        unsafe {
            let distances = arg::optional_output("distances", distances, room, f32::INFINITY);
            let ids = arg::output("ids", ids, room, NO_ID);
            Ok(Slots { ids: ids?, distances: distances? })
        }
    }

    /// As before the search.
    pub(super) fn blank(&mut self) {
        self.ids.fill(NO_ID);
        if let Some(distances) = &mut self.distances {
            distances.fill(f32::INFINITY);
        }
    }
}

/// No caller has room for more than this, so a larger number is a mistake (a negative one, most often): it
/// must be found before the room is written to.
const K_MAX: usize = 1 << 32;

fn check_k(name: &str, k: usize) -> Result<()> {
    match k {
        0 => Err(Error::invalid(format_args!("{name} is 0; ask for 1 row or more"))),
        1..=K_MAX => Ok(()),
        _ => Err(Error::invalid(format_args!(
            "{name} is {k}, more rows than fit an answer; ask for fewer, or use a cursor"
        ))),
    }
}

/// The place for stats, all zero, if they are wanted. Parameters that cannot be read name no place.
///
/// # Safety
/// `params` is NULL or valid, and so is its `stats`, while the output lives.
pub(super) unsafe fn stats_output(
    params: *const vdb_search_params_t,
) -> Result<Option<Output<vdb_search_stats_t>>> {
    // SAFETY: the caller's promise.
    unsafe { Output::optional("stats", arg::peek(params)?.stats) }
}

/// Calls `search` with the parameters in Rust's terms.
///
/// # Safety
/// The pointers in `params` are NULL or valid, until `search` has returned.
pub(super) unsafe fn with_params<T>(
    params: &vdb_search_params_t,
    search: impl FnOnce(&SearchParams<'_>) -> Result<T>,
) -> Result<T> {
    let flag = |flag| params.flags & flag != 0;
    let known = VDB_SEARCH_EXACT | VDB_SEARCH_NO_CACHE | VDB_SEARCH_MAX_DISTANCE;
    check_flags("vdb_search_params_t.flags", params.flags, known)?;
    check_flags("vdb_search_params_t.reserved", params.reserved, 0)?;
    // SAFETY: the caller's promise, for all of these.
    unsafe {
        let filter = filter(params.filter)?;
        let params = SearchParams {
            recall: if params.recall == 0.0 { RECALL_DEFAULT } else { params.recall },
            probes: params.probes,
            rerank: params.rerank,
            threads: params.threads,
            exact: flag(VDB_SEARCH_EXACT),
            no_cache: flag(VDB_SEARCH_NO_CACHE),
            timeout_ns: params.timeout_ns,
            max_distance: flag(VDB_SEARCH_MAX_DISTANCE).then_some(params.max_distance),
            filter: match &filter {
                None => Filter::All,
                Some((VDB_FILTER_IDS, exclude, _, ids)) => Filter::Ids { ids, exclude: *exclude },
                Some((_, exclude, first_id, words)) => {
                    Filter::Bitmap { words, first_id: *first_id, exclude: *exclude }
                }
            },
            cancel: token(params.cancel)?,
        };
        search(&params)
    }
}

/// A filter's kind, whether it excludes, its first id and its values.
type Values<'a> = (vdb_filter_kind_t, bool, u64, arg::Input<'a, u64>);

/// # Safety
/// `filter` is NULL or valid, and so are its values, for as long as `'a` is used.
unsafe fn filter<'a>(filter: *const vdb_filter_t) -> Result<Option<Values<'a>>> {
    if filter.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    unsafe {
        let filter = arg::read(filter)?;
        if ![VDB_FILTER_IDS, VDB_FILTER_BITMAP].contains(&filter.kind) {
            return Err(Error::invalid(format_args!(
                "vdb_filter_t.kind is {}; use VDB_FILTER_IDS or VDB_FILTER_BITMAP, or no filter",
                filter.kind
            )));
        }
        if filter.exclude > 1 {
            return Err(Error::invalid(format_args!(
                "vdb_filter_t.exclude is {}; use 0 or 1",
                filter.exclude
            )));
        }
        let values = arg::input("vdb_filter_t.values", filter.values, filter.value_count)?;
        Ok(Some((filter.kind, filter.exclude == 1, filter.first_id, values)))
    }
}

/// Fills the caller's stats, if they are wanted.
fn put_stats(to: Option<Output<vdb_search_stats_t>>, stats: &SearchStats) {
    if let Some(to) = to {
        to.put(&vdb_search_stats_t::from(stats));
    }
}

impl From<&SearchStats> for vdb_search_stats_t {
    fn from(stats: &SearchStats) -> Self {
        vdb_search_stats_t {
            struct_size: size_of::<Self>(),
            generation: stats.generation,
            quantise_ns: stats.quantise_ns,
            descend_ns: stats.descend_ns,
            scan_ns: stats.scan_ns,
            walk_ns: stats.walk_ns,
            read_ns: stats.read_ns,
            rerank_ns: stats.rerank_ns,
            merge_ns: stats.merge_ns,
            nodes_ranked: stats.nodes_ranked,
            leaves_scanned: stats.leaves_scanned,
            codes_scanned: stats.codes_scanned,
            rows_reranked: stats.rows_reranked,
            rows_read: stats.rows_read,
            bytes_read: stats.bytes_read,
            probes: stats.probes,
            answer_cache_hits: stats.answer_cache_hit,
            codes_walked: stats.codes_walked,
        }
    }
}
