/*
 * NAME
 *     vdb - find the nearest vectors
 *
 * SYNOPSIS
 *     #include <vdb.h>
 *
 *     vdb_t *db = NULL;
 *     vdb_error_t *error = NULL;
 *     uint64_t ids[10];
 *     float distances[10];
 *     size_t count = 0;
 *
 *     vdb_status_t status = vdb_open("words.vdb", NULL, &db, &error);
 *     if (status == VDB_OK)
 *         status = vdb_search(db, query, 100, 10, NULL, ids, distances, &count, &error);
 *     if (status != VDB_OK)
 *         fprintf(stderr, "%s\n", vdb_error_message(error));
 *     vdb_error_free(error);
 *     vdb_free(db);
 *
 *     Link with -lvdb. C99 or later, C++11 or later, 64-bit systems.
 *
 * DESCRIPTION
 *     An index is a directory. vdb_build makes one from vectors and their ids; vdb_open opens it; vdb_search
 *     asks for the k rows nearest to a query, vdb_batch_search for those of many queries. The other
 *     functions look inside, set sizes, or check. An index is not changed by anything here but a build,
 *     which replaces it whole.
 *
 * RULES
 *     What follows holds for every function and is not said again below.
 *
 *   Errors
 *     Functions that can fail return a vdb_status_t, and take a last argument error: NULL, or where a
 *     pointer to an error object goes. It is never read; on success it receives NULL, on failure an object
 *     that says in a sentence what went wrong and what to do, and that the caller frees with vdb_error_free.
 *     After a failure all outputs are defined: handles and pointers are NULL, numbers are 0, ids are
 *     VDB_NO_ID, nodes VDB_NODE_NONE, distances are +infinity, structs are zero behind their struct_size but
 *     for what they lend.
 *
 *   NULL
 *     May be passed for options, params, job and error, which then mean the default, to every _free, and
 *     where the text says so. For an array of no elements, too. Anywhere else it is VDB_INVALID_ARGUMENT.
 *
 *   Structs
 *     Set the whole to zero, then struct_size to its sizeof, then what matters; zero means the default.
 *     Structs grow at their end only. A program that was compiled with an older header passes a smaller one,
 *     and gets the defaults for the rest. One compiled with a newer header passes a larger one: what this
 *     library does not know must be zero, or the call fails with VDB_UNSUPPORTED. Any size will do from that
 *     of the first version up to 64 KiB; others are VDB_INVALID_ARGUMENT. Structs that the library fills
 *     have their struct_size set by the caller, too; no byte beyond it is written. Fields named reserved
 *     stay 0.
 *
 *   Ownership
 *     Arguments are read during the call and not kept; but callbacks and their user pointers in the options
 *     of a handle are used until it and its cursors are freed. The library allocates nothing that the
 *     caller frees, except handles and errors, each by its own _free, exactly once.
 *
 *   Threads
 *     A handle may be used by any number of threads at once, whether the function takes it const or not; a
 *     cursor by one at a time. A _free must be the last call on its handle. Nothing is bound to a thread. A
 *     search runs on the thread that calls, unless its parameters and the handle's threads allow more.
 *
 *   Fork
 *     Handles belong to the process that opened them. In a forked child, calls on them give VDB_FORKED at
 *     once, and their _free does nothing that could hang. The child opens the index anew.
 *
 *   Callbacks
 *     May call vdb_cancel, vdb_version, vdb_status_name and the functions of errors. All others give
 *     VDB_MISUSE there, and a _free does nothing. Must not leave by longjmp or a C++ exception. Their user
 *     pointer is handed back as it was given.
 *
 *   The process
 *     The library prints nothing, ends nothing (but see Memory), installs no signal handler, and leaves
 *     locale, environment, rounding mode, umask and working directory alone. Bad input is never a reason to
 *     abort. Its files are close-on-exec, its threads block signals. After the handles are freed it may be
 *     unloaded; its code stays mapped.
 *
 *   Memory
 *     What grows with the index is bounded by memory_limit_bytes, and refused with VDB_OUT_OF_MEMORY. So
 *     are allocations that fail: any of a search, a batch, a cursor or a build on the caller's thread
 *     alone, its errors among them; on several threads all but small ones (4 KB). A few small ones
 *     are asked for, given back and taken, since what takes them does not ask. If another thread gets them
 *     in between, if opening is refused a little, or making a thread and handing it work, the process ends
 *     with a line on stderr: set the limit to what there is. A stack of 64 KB is enough.
 *
 *   Units
 *     Names ending in _bytes are bytes, in _ns nanoseconds; lengths without either count elements. Strings
 *     are UTF-8 and end in NUL; paths are bytes as the system takes them.
 *
 *   Versions
 *     Before 1.0 the minor version may break compatibility, and the library's soname has it. From 1.0 on
 *     nothing is removed or changed within a major version; structs and constants only grow.
 */
#ifndef VDB_H
#define VDB_H

#include <stddef.h>
#include <stdint.h>

#if SIZE_MAX < UINT64_MAX
#error "libvdb needs a 64-bit target"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ======================================================================================================== *
 * Version
 * ======================================================================================================== */

/** Version of this header. */
#define VDB_VERSION_MAJOR 0
#define VDB_VERSION_MINOR 1
#define VDB_VERSION_PATCH 0
/** The same as one number that can be compared. */
#define VDB_VERSION \
    ((uint32_t)(VDB_VERSION_MAJOR << 16 | VDB_VERSION_MINOR << 8 | VDB_VERSION_PATCH))

/**
 * Says which library is loaded, in the form of VDB_VERSION: major << 16 | minor << 8 | patch.
 *
 * It may be another one than the header is of. The two fit if their majors are equal and the library is not
 * the older; before 1.0 the minor counts as the major. Programs that load the library by dlopen compare
 * first.
 *
 * Never fails. Any thread, any time, callbacks included.
 */
uint32_t vdb_version(void);

/**
 * Says which library is loaded in words for a bug report: version, system, and the kernels that this machine
 * gets, as in "0.1.0 x86_64-linux avx2".
 *
 * Returns a string that stays valid. Never fails. Any thread.
 */
const char *vdb_build_info(void);

/* ======================================================================================================== *
 * Status and errors
 * ======================================================================================================== */

/** Result of a call: VDB_OK, or why it failed. Values are never reused, and new ones may appear. */
typedef int32_t vdb_status_t;

#define VDB_OK                 0  /**< Done. */
#define VDB_INVALID_ARGUMENT   1  /**< NULL, wrong dimension, NaN, k = 0, a size out of range. */
#define VDB_NOT_FOUND          2  /**< No such file, id, node or segment. */
#define VDB_EXISTS             3  /**< A build onto an index that is there. */
#define VDB_CORRUPT            4  /**< Bytes on disk are not what was written; the message says where. */
#define VDB_FORMAT             5  /**< Not an index, or written by a newer version. */
#define VDB_IO                 6  /**< The system failed a read, write or sync: VDB_DETAIL_OS_CODE. */
#define VDB_DISK_FULL          7  /**< No space, or over quota; nothing half-written can be seen. */
#define VDB_OUT_OF_MEMORY      8  /**< Allocation failed, or the limit is too low: VDB_DETAIL_NEEDED_BYTES. */
#define VDB_CANCELLED          9  /**< The cancel token was set, or the progress callback said stop. */
#define VDB_TIMEOUT           10  /**< timeout_ns passed. */
#define VDB_BUSY              11  /**< Another process is writing; never waited for. */
#define VDB_READ_ONLY         12  /**< A write to what was opened for reading. */
#define VDB_UNSUPPORTED       13  /**< Legal, but not for this index, library or machine. */
#define VDB_FORKED            14  /**< The handle was opened before a fork, by the parent. */
#define VDB_MISUSE            15  /**< Called from within a callback. */
#define VDB_INTERNAL          16  /**< A defect of the library, caught; the handle can still be freed. */

/**
 * Names a status, as "VDB_CORRUPT".
 *
 * Returns a string that stays valid; "VDB_UNKNOWN" for a value that this library does not have. Any thread.
 */
const char *vdb_status_name(vdb_status_t status);

/** Why a call failed. Never changes; any thread may read it; the caller frees it. */
typedef struct vdb_error_t vdb_error_t;

/** Which number vdb_error_detail is to return. VDB_DETAIL_... */
typedef uint32_t vdb_detail_t;

#define VDB_DETAIL_OS_CODE       1u  /**< errno of the system call that failed. */
#define VDB_DETAIL_ROW           2u  /**< Row of the input that is at fault, from 0. */
#define VDB_DETAIL_NEEDED_BYTES  3u  /**< The least memory or disk that would have done. */
#define VDB_DETAIL_OFFSET        4u  /**< Where the damage begins in the file that the message names. */

/**
 * Says in a sentence, in UTF-8, what went wrong and what to do about it.
 *
 * Returns a string that is valid until the error is freed; "" for NULL. Any thread.
 *
 *     if (vdb_open(path, NULL, &db, &error) != VDB_OK) {
 *         fprintf(stderr, "%s\n", vdb_error_message(error));
 *         vdb_error_free(error);
 *     }
 */
const char *vdb_error_message(const vdb_error_t *error);

/** Returns the status that the call returned; VDB_OK for NULL. Any thread. */
vdb_status_t vdb_error_status(const vdb_error_t *error);

/**
 * Returns a number that belongs to the error, VDB_DETAIL_..., or -1 if it has none of that kind. Any thread.
 */
int64_t vdb_error_detail(const vdb_error_t *error, vdb_detail_t detail);

/** Frees an error. NULL is a no-op. */
void vdb_error_free(vdb_error_t *error);

/* ======================================================================================================== *
 * Threads, shared between indexes
 * ======================================================================================================== */

/** Threads to be shared by any number of indexes and jobs. */
typedef struct vdb_pool_t vdb_pool_t;

/** How to make a pool. */
typedef struct vdb_pool_options_t {
    size_t struct_size;  /**< sizeof(vdb_pool_options_t) */
    uint32_t threads;    /**< The caller's among them. 0: what machine and cgroup allow. */
    uint32_t reserved;   /**< 0 */
} vdb_pool_options_t;

/**
 * Makes a pool. Its threads come to life when they are first needed: one fewer than asked for, since whoever
 * calls works too. They block all signals but faults, and are named vdb-0, vdb-1 and on.
 *
 *   options   NULL: what machine and cgroup allow
 *   pool      receives the pool; lend it by vdb_options_t.pool and vdb_job_t.pool
 *
 * Errors: VDB_INVALID_ARGUMENT, VDB_UNSUPPORTED. Threads: any.
 */
vdb_status_t vdb_pool_open(const vdb_pool_options_t *options, vdb_pool_t **pool, vdb_error_t **error);

/**
 * Gives up the caller's share of a pool; indexes that it was lent to keep theirs. The last to go joins the
 * threads before it returns. NULL is a no-op. Must not be called from within a callback.
 */
void vdb_pool_free(vdb_pool_t *pool);

/* ======================================================================================================== *
 * Long work: cancel, progress, log, limits
 * ======================================================================================================== */

/**
 * A cancel token: a number of the caller's, 0 as long as work may go on.
 *
 * The library reads it with atomic loads, between leaves and between groups of rows (some 100 us apart), and
 * never writes it. It lives longer than the calls that it was given to; write 0 to use it again when they
 * have returned. A flag that a host has already will do, a volatile sig_atomic_t of its signal handler say.
 * Work looks at it, and at time limits; an answer from the cache and an empty batch take none, and succeed.
 */
typedef int32_t vdb_cancel_t;

/**
 * Sets a token, with an atomic store: calls that were given it stop soon with VDB_CANCELLED, calls that get
 * it later stop at once. NULL is a no-op. Any thread; callbacks and signal handlers may.
 */
void vdb_cancel(vdb_cancel_t *token);

/** How much a line of log matters. VDB_LOG_... */
typedef uint32_t vdb_log_level_t;

#define VDB_LOG_ERROR  1u  /**< Something was lost or refused. */
#define VDB_LOG_WARN   2u  /**< It works, but not as asked. */
#define VDB_LOG_INFO   3u  /**< A line or two for each open and build. */
#define VDB_LOG_DEBUG  4u  /**< For those who look for a defect. */

/**
 * Receives a line of log, without newline, valid during the call. Runs on whichever thread has something to
 * say, possibly on several at once.
 */
typedef void (*vdb_log_fn)(void *user, vdb_log_level_t level, const char *message);

/**
 * Receives progress, on the thread that called: when a phase begins and ends, and in between at most ten
 * times a second. phase is one word, done and total count in its own unit. Returns 0 to go on; anything else
 * cancels.
 */
typedef int32_t (*vdb_progress_fn)(void *user, const char *phase, uint64_t done, uint64_t total);

/** How to run long work: build, verify, advise. NULL: quietly, to the end, with what the machine has. */
typedef struct vdb_job_t {
    size_t struct_size;           /**< sizeof(vdb_job_t) */
    vdb_progress_fn progress;     /**< NULL: none. */
    void *progress_user;          /**< Given to progress. */
    vdb_log_fn log;               /**< NULL: silence. */
    void *log_user;               /**< Given to log. */
    const vdb_cancel_t *cancel;   /**< NULL: none. */
    uint64_t timeout_ns;          /**< From the call on. 0: none. */
    uint64_t memory_limit_bytes;  /**< 0: from what machine and cgroup have free. */
    const vdb_pool_t *pool;       /**< Threads of the host's. NULL: as many as threads says. */
    uint32_t threads;             /**< 0: what machine and cgroup allow; 1: the calling thread alone. */
    vdb_log_level_t log_level;    /**< Lines that matter less are not made. 0: VDB_LOG_WARN. */
} vdb_job_t;

/* ======================================================================================================== *
 * Open and close
 * ======================================================================================================== */

/** An open index. */
typedef struct vdb_t vdb_t;

#define VDB_CACHE_OFF  UINT64_MAX  /**< For cache sizes: no cache. */

#define VDB_OPEN_NO_MMAP  (1u << 0)  /**< Read by system calls alone: a failing disk is VDB_IO, never a
                                          signal. For plugins. Finer codes, which would be a read each, are
                                          not asked: more rows are read, and about one answer in thirty
                                          thousand is another. */
#define VDB_OPEN_CHECK    (1u << 1)  /**< Check every byte before use, not only headers, tree and codes. */

/** How to open an index. */
typedef struct vdb_options_t {
    size_t struct_size;           /**< sizeof(vdb_options_t) */
    uint64_t memory_limit_bytes;  /**< For all that the handle keeps between calls, and for what searches
                                       work with: those that do not fit beside others that run are refused.
                                       0: from what machine and cgroup have free. */
    uint64_t vector_cache_bytes;  /**< Of the limit. 0: chosen; mapped: none. VDB_CACHE_OFF: none. */
    uint64_t answer_cache_bytes;  /**< Of the limit. 0: chosen; VDB_CACHE_OFF: none. */
    const vdb_pool_t *pool;       /**< Threads of the host's, shared. NULL: the handle's own, made on first
                                       need. */
    vdb_log_fn log;               /**< NULL: silence. Called until the handle is freed, from its threads
                                       too. */
    void *log_user;               /**< Given to log. */
    vdb_log_level_t log_level;    /**< Lines that matter less are not made. 0: VDB_LOG_WARN. */
    uint32_t threads;             /**< Without a pool. 0: what machine and cgroup allow; 1: no thread is
                                       ever made. */
    uint32_t flags;               /**< VDB_OPEN_... */
    uint32_t reserved;            /**< 0 */
} vdb_options_t;

/**
 * Opens the index in a directory, for reading.
 *
 *   path      the directory
 *   options   NULL: memory and caches as the machine has room, threads made when a batch needs them
 *   db        receives the handle
 *
 * Reads and checks manifest, headers, tree, codes, ids and links; vectors stay on disk. Needs no free disk
 * space and changes nothing. Any number of handles, in any number of processes, may have one index open; each
 * goes on with the state that it opened, also when a build replaces the index meanwhile. MANIFEST and
 * segments must be regular files; the directory alone may be a symbolic link. One without MANIFEST is
 * VDB_NOT_FOUND.
 *
 * Errors: VDB_INVALID_ARGUMENT, VDB_NOT_FOUND, VDB_FORMAT, VDB_CORRUPT, VDB_IO, VDB_OUT_OF_MEMORY,
 * VDB_UNSUPPORTED, VDB_FORKED (the pool is the parent's). Threads: any. Time: linear in what is read,
 * some 240 bytes a row at 1024 dimensions.
 *
 *     vdb_options_t options = {0};
 *     options.struct_size = sizeof options;
 *     options.memory_limit_bytes = 512u << 20;
 *     options.threads = 1;
 *     status = vdb_open("words.vdb", &options, &db, &error);
 */
vdb_status_t vdb_open(const char *path, const vdb_options_t *options, vdb_t **db, vdb_error_t **error);

/**
 * Closes a handle: joins its threads, gives its memory and files back. NULL is a no-op.
 *
 * No other call on the handle may be running, and none may follow. Cursors that are still open stay good;
 * what they need, threads and callbacks included, stays until they are freed. In a forked child it returns
 * at once and leaves the parent's memory mapped. Must not be called from within a callback.
 */
void vdb_free(vdb_t *db);

/* ======================================================================================================== *
 * Search
 * ======================================================================================================== */

#define VDB_NO_ID  UINT64_MAX  /**< The id that no row has; in slots behind the last answer. */

/** What the values of a filter are. VDB_FILTER_... */
typedef uint32_t vdb_filter_kind_t;

#define VDB_FILTER_IDS     1u  /**< Ids, ascending, each once. */
#define VDB_FILTER_BITMAP  2u  /**< Words of a bitmap: bit i of the whole, word i / 64, bit i % 64, is for
                                    id first_id + i. */

/**
 * Which rows a search may return: those that are named, or all but those. Read during the call only. Where
 * many rows near the query are refused, a search goes further, for the recall asked for among the others.
 */
typedef struct vdb_filter_t {
    size_t struct_size;      /**< sizeof(vdb_filter_t) */
    vdb_filter_kind_t kind;  /**< VDB_FILTER_...; has no default. */
    uint32_t exclude;        /**< 1: the rows named are those that must not be returned. */
    const uint64_t *values;  /**< Ids or words. NULL: none. */
    size_t value_count;      /**< How many ids or words. */
    uint64_t first_id;       /**< Of a bitmap: the id of its first bit. */
} vdb_filter_t;

/** What a search did, and how long each step took. */
typedef struct vdb_search_stats_t {
    size_t struct_size;          /**< sizeof(vdb_search_stats_t) */
    uint64_t generation;         /**< Of the index that answered. */
    uint64_t quantise_ns;        /**< Rotate and quantise the query. */
    uint64_t descend_ns;         /**< Rank nodes, down to the leaves. */
    uint64_t scan_ns;            /**< Estimate distances from codes. */
    uint64_t walk_ns;            /**< Follow links between rows. */
    uint64_t read_ns;            /**< Read vectors by system calls. Page faults of mapped ones are in
                                      rerank_ns. */
    uint64_t rerank_ns;          /**< Exact distances. VDB_SEARCH_EXACT over several threads: their sum. */
    uint64_t merge_ns;           /**< Join segments and threads. */
    uint64_t nodes_ranked;       /**< Nodes whose distance was taken. */
    uint64_t leaves_scanned;     /**< Leaves visited, in all segments. */
    uint64_t codes_scanned;      /**< Codes whose distance was estimated, by leaf or by link. */
    uint64_t rows_reranked;      /**< Rows whose distance was computed. */
    uint64_t rows_read;          /**< Of these, not in the vector cache. */
    uint64_t bytes_read;         /**< Of vectors, from the page cache or from disk. */
    uint32_t probes;             /**< Leaves to visit, as set or as chosen from recall; the sum over
                                      segments, the queries of a batch, and attempts where a first one
                                      found too few rows. */
    uint32_t answer_cache_hits;  /**< Answers that came from the answer cache. */
    uint64_t codes_walked;       /**< Of codes_scanned, those that links led to. */
} vdb_search_stats_t;

#define VDB_SEARCH_EXACT         (1u << 0)  /**< Every row by its exact distance: no tree, no codes. */
#define VDB_SEARCH_NO_CACHE      (1u << 1)  /**< Neither read nor fill the caches. */
#define VDB_SEARCH_MAX_DISTANCE  (1u << 2)  /**< max_distance holds. */

/** How to search. NULL, or all zero: recall 0.95, all else chosen. */
typedef struct vdb_search_params_t {
    size_t struct_size;          /**< sizeof(vdb_search_params_t) */
    float recall;                /**< Wanted recall@10, up to 1, which visits every leaf. 0: 0.95. Below 0,
                                      above 1 and NaN are refused, though probes, where set, decides. */
    uint32_t probes;             /**< Leaves to visit. 0: from recall, by what the build measured. */
    uint32_t rerank;             /**< Most exact distances; k of them are computed at least. 0: as many as
                                      it takes; UINT32_MAX: every row visited. */
    uint32_t threads;            /**< 0: the caller's, or of the handle's where that pays; 1: the caller's
                                      alone. */
    uint32_t flags;              /**< VDB_SEARCH_... */
    uint32_t : 32;               /**< Nothing: fills the gap before the next field, and takes no part in
                                      initialisers. */
    uint64_t timeout_ns;         /**< From the call on. 0: none. */
    const vdb_filter_t *filter;  /**< NULL: every row may be returned. */
    const vdb_cancel_t *cancel;  /**< NULL: none. */
    vdb_search_stats_t *stats;   /**< NULL: not wanted. A batch fills one, for the whole. */
    float max_distance;          /**< With VDB_SEARCH_MAX_DISTANCE: no row farther than this is returned. */
    uint32_t reserved;           /**< 0 */
} vdb_search_params_t;

/**
 * Finds the k rows nearest to a query, closest first; equal distances by id.
 *
 *   query       dim floats at any address, none beyond 1e15; not all zero under VDB_METRIC_COSINE
 *   dim         the index's
 *   k           1 or more; above the number of rows it gives all rows
 *   params      NULL: recall 0.95, all else chosen
 *   ids         room for k
 *   distances   room for k, or NULL. Smaller is closer: squared L2, the negated inner product, 1 - cosine;
 *               exact, never an estimate
 *   count       NULL, or receives how many were found: below k only if fewer rows are there, admitted by
 *               filter, or found within max_distance; of those within, the recall asked for is found.
 *               Slots behind them hold VDB_NO_ID and +infinity
 *
 * The same call on the same index gives the same bits, single or in a batch, on any number of threads, with
 * caches or without, under the default rounding mode. Another k is another search: below full recall, the
 * first ten of k = 20 need not be those of k = 10. On failure count is 0 and every slot holds VDB_NO_ID and
 * +infinity.
 *
 * Errors: VDB_INVALID_ARGUMENT, VDB_TIMEOUT, VDB_CANCELLED, VDB_CORRUPT, VDB_IO, VDB_OUT_OF_MEMORY,
 * VDB_UNSUPPORTED, VDB_FORKED, VDB_MISUSE. Threads: any number at once. Memory: of the handle's limit, part
 * of which is kept for searches; one takes about half a MB for a k up to 256, and 2 KB for each of a larger
 * k; where rows are linked, up to 1.5 bytes for each row of the largest segment as well. What others that
 * run leave too little for is VDB_OUT_OF_MEMORY. Nothing for the caller to free.
 *
 *     vdb_search_params_t params = {0};
 *     params.struct_size = sizeof params;
 *     params.recall = 0.99f;
 *     status = vdb_search(db, query, 100, 10, &params, ids, distances, &count, &error);
 */
vdb_status_t vdb_search(const vdb_t *db, const float *query, size_t dim, size_t k,
                        const vdb_search_params_t *params, uint64_t *ids, float *distances, size_t *count,
                        vdb_error_t **error);

/**
 * Finds the k rows nearest to each of many queries, in less time than as many calls of vdb_search: what
 * several queries visit is read once, and the handle's threads share the work.
 *
 *   queries       query_count x dim floats, row by row, at any address
 *   query_count   0 is legal
 *   dim, k        as for vdb_search
 *   params        as for vdb_search; threads 0: all of the handle's
 *   ids           room for query_count x k, row by row
 *   distances     the same, or NULL
 *   counts        room for query_count, or NULL
 *
 * Answers bit for bit what single searches answer. One bad query fails the whole call, and VDB_DETAIL_ROW
 * names it; time limit and token hold for the whole. Errors, threads and memory as for vdb_search.
 *
 *     status = vdb_batch_search(db, queries, 1000, 100, 10, NULL, ids, distances, counts, &error);
 *     for (size_t i = 0; status == VDB_OK && i < 1000; i++)
 *         report(i, &ids[10 * i], &distances[10 * i], counts[i]);
 */
vdb_status_t vdb_batch_search(const vdb_t *db, const float *queries, size_t query_count, size_t dim, size_t k,
                              const vdb_search_params_t *params, uint64_t *ids, float *distances,
                              size_t *counts, vdb_error_t **error);

/* ======================================================================================================== *
 * Search that goes on
 * ======================================================================================================== */

/** A search that goes on. */
typedef struct vdb_cursor_t vdb_cursor_t;

/**
 * Begins a search that gives its rows in portions, as a database wants them that checks each row itself.
 *
 *   query, dim   as for vdb_search; copied
 *   params       NULL: recall 0.95. The filter is copied; the token is looked at by each call of
 *                vdb_cursor_next, so it lives as long as the cursor; the time limit holds for each of these
 *                calls; stats are not filled
 *   cursor       receives the cursor
 *
 * Errors: as for vdb_search. Threads: any. Memory: of the handle's limit, 24 bytes for each row that was
 * fetched and not yet given, which are about as many as were given already.
 *
 *     status = vdb_cursor_open(db, query, 100, NULL, &cursor, &error);
 *     while (status == VDB_OK && wanted > 0) {
 *         status = vdb_cursor_next(cursor, 50, ids, distances, &count, &error);
 *         if (count == 0)
 *             break;
 *         wanted -= take(ids, count);
 *     }
 *     vdb_cursor_free(cursor);
 */
vdb_status_t vdb_cursor_open(const vdb_t *db, const float *query, size_t dim,
                             const vdb_search_params_t *params, vdb_cursor_t **cursor, vdb_error_t **error);

/**
 * Gives the next rows: never one twice, none closer than those before.
 *
 * A row that was missed when its turn came does not come later, so a cursor that was taken to its end may
 * leave some out: nearly none at recall 1, none with VDB_SEARCH_EXACT.
 *
 *   capacity    how many at most, 1 or more
 *   ids         room for capacity
 *   distances   room for capacity, or NULL
 *   count       NULL, or receives how many: below capacity near the end, 0 at the end. Slots behind them
 *               hold VDB_NO_ID and +infinity
 *
 * Errors: as for vdb_search; the cursor stays where it was. Threads: one at a time for each cursor.
 */
vdb_status_t vdb_cursor_next(vdb_cursor_t *cursor, size_t capacity, uint64_t *ids, float *distances,
                             size_t *count, vdb_error_t **error);

/** Ends a cursor. NULL is a no-op. Must not be called from within a callback. */
void vdb_cursor_free(vdb_cursor_t *cursor);

/* ======================================================================================================== *
 * Build
 * ======================================================================================================== */

/** How distance is measured. Smaller is closer under each. VDB_METRIC_... */
typedef uint32_t vdb_metric_t;

#define VDB_METRIC_L2      1u  /**< Squared Euclidean distance. */
#define VDB_METRIC_IP      2u  /**< The negated inner product. */
#define VDB_METRIC_COSINE  3u  /**< 1 - cosine; vectors are stored as given. */

/** Type of the elements of a vector. VDB_TYPE_... */
typedef uint32_t vdb_type_t;

#define VDB_TYPE_F32  1u  /**< IEEE 754, 32 bit. */
#define VDB_TYPE_F16  2u  /**< IEEE 754, 16 bit. */
#define VDB_TYPE_U8   3u  /**< Bytes, 0 to 255. */

/** Where vectors come from: an array (data) or a file (path). */
typedef struct vdb_source_t {
    size_t struct_size;    /**< sizeof(vdb_source_t) */
    const void *data;      /**< Array: rows x dim elements at any address, none beyond 1e15. NULL: a file,
                                or no rows. */
    size_t stride_bytes;   /**< Array: from one row to the next. 0: packed. */
    uint64_t rows;         /**< Array: how many. 0 makes an empty index. */
    size_t dim;            /**< Array: 1 to 65536. */
    vdb_type_t type;       /**< Array: 0: VDB_TYPE_F32. */
    uint32_t reserved;     /**< 0 */
    const uint64_t *ids;   /**< Array: one for each row, no two alike, none VDB_NO_ID. NULL: 0 to rows - 1. */
    const char *path;      /**< File: .npy .fvecs .bvecs .fbin or .u8bin, as its name says. */
    const char *ids_path;  /**< File: the ids, .npy or .u64bin (nothing but 8 bytes each, little endian).
                                NULL: 0 to rows - 1. */
} vdb_source_t;

#define VDB_PHASES_MAX      16  /**< Phases that a build report has room for. */
#define VDB_PHASE_NAME_MAX  24  /**< Room for the name of one, its NUL included. */

/** A phase of a build. */
typedef struct vdb_phase_t {
    char name[VDB_PHASE_NAME_MAX];  /**< One word, as vdb_progress_fn gets it. */
    uint64_t ns;                    /**< How long it took. */
} vdb_phase_t;

/** What a build did. */
typedef struct vdb_build_report_t {
    size_t struct_size;                  /**< sizeof(vdb_build_report_t) */
    uint64_t generation;                 /**< Number of the commit. */
    uint64_t rows;                       /**< Rows of the index. */
    uint64_t disk_bytes;                 /**< Bytes of the finished index. */
    uint64_t peak_bytes;                 /**< Memory that it allowed itself for data; it took no more. */
    uint64_t phase_count;                /**< Length of phases. */
    vdb_phase_t phases[VDB_PHASES_MAX];  /**< What it did, in order; of several segments the sums. */
} vdb_build_report_t;

#define VDB_BUILD_FLAT     (1u << 0)  /**< No tree: scan all codes. Chosen by itself for few rows. */
#define VDB_BUILD_REPLACE  (1u << 1)  /**< If an index is at the path, replace it, in one rename when all
                                           is done. A file MANIFEST that is none of an index is replaced,
                                           too: give an index a directory of its own. */

/**
 * Whether rows that lie near each other are linked: 136 bytes a row in memory, fewer codes scanned and fewer
 * rows read for the same recall. Rows of 449 dimensions and more, but under inner product, keep the finer
 * codes that links are made with: half a byte a dimension on disk. An index without a tree has no links.
 * VDB_LINKS_...
 */
typedef uint32_t vdb_links_t;

#define VDB_LINKS_AUTO  0u  /**< If the memory limit has room for making them; else without, and a line of
                                 log says so. */
#define VDB_LINKS_ON    1u  /**< Always: without room the build fails before it starts, and
                                 VDB_DETAIL_NEEDED_BYTES says what would do. */
#define VDB_LINKS_OFF   2u  /**< Never: a smaller index, built faster. */

/** What to build. NULL, or all zero: squared L2, all else chosen. */
typedef struct vdb_build_options_t {
    size_t struct_size;          /**< sizeof(vdb_build_options_t) */
    uint64_t seed;               /**< Same source, options and seed: same bytes of vectors, codes and tree,
                                      on any number of threads (with VDB_LINKS_AUTO: where it decides
                                      alike); in an empty directory, same files. */
    vdb_metric_t metric;         /**< 0: VDB_METRIC_L2. */
    uint32_t flags;              /**< VDB_BUILD_... */
    uint32_t leaf_rows;          /**< Aim for the rows of a leaf. 0: 48. */
    uint32_t fanout;             /**< Most children of a node above the leaves' parents. 0: chosen. */
    uint32_t code_bits;          /**< Bits of a code for each dimension: 1, 2 or 4. 0: chosen from dim. */
    vdb_links_t links;           /**< VDB_LINKS_... */
    uint64_t segment_rows;       /**< Most rows of a segment. 0: as many as fit. */
    vdb_build_report_t *report;  /**< NULL: not wanted. */
} vdb_build_options_t;

/** What a build and an open take. */
typedef struct vdb_estimate_t {
    size_t struct_size;                /**< sizeof(vdb_estimate_t) */
    uint64_t build_memory_bytes;       /**< The least that a build works with; links left to VDB_LINKS_AUTO
                                            are not made. */
    uint64_t build_memory_best_bytes;  /**< Beyond this, more does not help; links left to VDB_LINKS_AUTO
                                            are made. */
    uint64_t build_disk_bytes;         /**< At its peak, the finished index included. */
    uint64_t open_memory_bytes;        /**< Tree, codes, ids, links, and the working memory of one search. */
    uint64_t index_disk_bytes;         /**< The finished index. */
} vdb_estimate_t;

/**
 * Builds an index in a directory, and commits it.
 *
 *   path      the directory; made if it is not there, but not those above it
 *   source    where the vectors come from; elements are stored as they are given
 *   options   NULL: squared L2, all else chosen
 *   job       NULL: quietly, to the end, with all threads
 *
 * Reads the source twice, and keeps to memory_limit_bytes of the job; if that cannot be, it says so before
 * any work. Nothing can be opened at path before the last step, one rename: a build that fails, is
 * cancelled or killed leaves what was there before, and at most files that the next build sweeps away. The
 * directory is made with mode 0700, files with 0600.
 *
 * Errors: VDB_INVALID_ARGUMENT (VDB_DETAIL_ROW says which row has NaN, an element beyond 1e15, no direction
 * under VDB_METRIC_COSINE, or an id twice), VDB_NOT_FOUND, VDB_EXISTS, VDB_FORMAT and VDB_CORRUPT (of a
 * source file), VDB_IO, VDB_DISK_FULL, VDB_OUT_OF_MEMORY, VDB_CANCELLED, VDB_TIMEOUT, VDB_BUSY,
 * VDB_UNSUPPORTED. Threads: any. Time: about rows x dim x the square root of rows.
 *
 *     vdb_source_t source = {0};
 *     source.struct_size = sizeof source;
 *     source.data = vectors;
 *     source.rows = 20000;
 *     source.dim = 100;
 *     vdb_build_options_t options = {0};
 *     options.struct_size = sizeof options;
 *     options.metric = VDB_METRIC_COSINE;
 *     status = vdb_build("words.vdb", &source, &options, NULL, &error);
 */
vdb_status_t vdb_build(const char *path, const vdb_source_t *source, const vdb_build_options_t *options,
                       const vdb_job_t *job, vdb_error_t **error);

/**
 * Says beforehand what vdb_build and vdb_open will need. Of a file it reads the header, of an array nothing.
 *
 *   source     as for vdb_build; data may be NULL
 *   options    as for vdb_build
 *   estimate   is filled
 *
 * Errors: VDB_INVALID_ARGUMENT, and of a file VDB_NOT_FOUND, VDB_FORMAT, VDB_CORRUPT, VDB_IO,
 * VDB_UNSUPPORTED. Threads: any.
 */
vdb_status_t vdb_estimate(const vdb_source_t *source, const vdb_build_options_t *options,
                          vdb_estimate_t *estimate, vdb_error_t **error);

/* ======================================================================================================== *
 * Vectors and codes
 * ======================================================================================================== */

/**
 * Copies vectors out, as floats, by their ids.
 *
 *   ids        id_count of them, in any order
 *   id_count   0 is legal
 *   dim        the index's
 *   out        room for id_count x dim floats; rows that are not found are all zero. Not touched if dim is
 *              not the index's
 *   found      room for id_count bytes, which become 1 or 0. NULL: an id that is not there fails the call
 *              with VDB_NOT_FOUND, and VDB_DETAIL_ROW is its place in ids
 *
 * Errors: VDB_INVALID_ARGUMENT, VDB_NOT_FOUND, VDB_CORRUPT, VDB_IO, VDB_OUT_OF_MEMORY, VDB_FORKED. Threads:
 * any number at once.
 *
 *     status = vdb_get(db, &ids[0], 1, 100, vector, NULL, &error);
 */
vdb_status_t vdb_get(const vdb_t *db, const uint64_t *ids, size_t id_count, size_t dim, float *out,
                     uint8_t *found, vdb_error_t **error);

/**
 * Gives the place of a vector in the index, as it is stored there: no copy.
 *
 *   vector   receives its address, aligned to its type; valid until db is freed
 *   type     NULL, or receives the type of its elements, VDB_TYPE_...
 *
 * Touching it may end in a signal if the disk fails; plugins use vdb_get.
 *
 * Errors: VDB_NOT_FOUND, VDB_UNSUPPORTED (opened with VDB_OPEN_NO_MMAP), VDB_CORRUPT, VDB_FORKED. Threads:
 * any number at once.
 */
vdb_status_t vdb_borrow(const vdb_t *db, uint64_t id, const void **vector, vdb_type_t *type,
                        vdb_error_t **error);

#define VDB_NODE_NONE  UINT64_MAX  /**< The node that no tree has. */

/**
 * Encodes a vector from the centroid of a node: the signs of their difference, rotated, or finer steps of it.
 * The rows of a leaf are encoded from the centroid of the root's child that is above the leaf, or is it;
 * where the root is the only leaf, from the root's.
 *
 *   vector, dim       the vector, as a query of vdb_search
 *   segment, node     the node, as for vdb_tree_node. VDB_NODE_NONE: from the origin, by the rotation of the
 *                     first segment; segment is then not looked at
 *   code, code_bytes  receives the code; vdb_info_t.code_bytes of room
 *
 * Errors: VDB_INVALID_ARGUMENT, VDB_NOT_FOUND (segment or node), VDB_OUT_OF_MEMORY, VDB_FORKED, and for a
 * node, whose centroid is read from disk, VDB_IO and VDB_CORRUPT. Threads: any number at once.
 *
 *     status = vdb_encode(db, vector, 100, 0, VDB_NODE_NONE, code, info.code_bytes, &error);
 */
vdb_status_t vdb_encode(const vdb_t *db, const float *vector, size_t dim, uint32_t segment, uint64_t node,
                        uint8_t *code, size_t code_bytes, vdb_error_t **error);

/**
 * Reads the code that a row has.
 *
 *   code, code_bytes  receives the code; vdb_info_t.code_bytes of room
 *   segment, leaf     NULL, or receive where the row is: the leaf's number is a node's for vdb_tree_node;
 *                     VDB_NODE_NONE on failure
 *
 * Errors: VDB_INVALID_ARGUMENT, VDB_NOT_FOUND, VDB_FORKED. Threads: any number at once.
 */
vdb_status_t vdb_code(const vdb_t *db, uint64_t id, uint8_t *code, size_t code_bytes, uint32_t *segment,
                      uint64_t *leaf, vdb_error_t **error);

/**
 * Counts the bits in which two codes differ, by the fastest kernel of this machine.
 *
 *   a, b    bytes of them, at any address; nothing about them is checked but NULL
 *
 * Returns the count, or UINT64_MAX if a or b is NULL though bytes is not 0. Any thread.
 */
uint64_t vdb_hamming(const uint8_t *a, const uint8_t *b, size_t bytes);

/* ======================================================================================================== *
 * Look inside
 * ======================================================================================================== */

/** What an index is. */
typedef struct vdb_info_t {
    size_t struct_size;       /**< sizeof(vdb_info_t) */
    uint64_t generation;      /**< Number of the commit that the handle sees. */
    uint64_t rows;            /**< Rows that a search can return. */
    size_t dim;               /**< Dimensions of every vector. */
    vdb_metric_t metric;      /**< How distance is measured: VDB_METRIC_... */
    vdb_type_t type;          /**< How vectors are stored: VDB_TYPE_... */
    uint32_t segments;        /**< Segments; vdb_segment takes 0 to segments - 1. */
    uint32_t code_bytes;      /**< Bytes of one row's code. */
    uint32_t code_bits;       /**< Bits of a code for each dimension. */
    uint32_t format_version;  /**< Version of the files' format. */
    uint32_t flat;            /**< 1: no segment has a tree. */
    uint32_t mapped;          /**< 1: vectors are mapped; 0: they are read. */
    uint64_t disk_bytes;      /**< Bytes of the segment files of this generation. */
    uint64_t open_ns;         /**< Time that the open took. */
    uint32_t links;           /**< 1: rows are linked, in one segment at least. */
    uint32_t reserved;        /**< 0 */
} vdb_info_t;

/**
 * Fills info with what the index is.
 *
 * Errors: VDB_INVALID_ARGUMENT, VDB_FORKED. Threads: any number at once. Time: constant.
 *
 *     vdb_info_t info = {0};
 *     info.struct_size = sizeof info;
 *     status = vdb_info(db, &info, &error);
 */
vdb_status_t vdb_info(const vdb_t *db, vdb_info_t *info, vdb_error_t **error);

/** What happened since the handle was opened. Numbers only grow: subtract two readings to measure between. */
typedef struct vdb_stats_t {
    size_t struct_size;          /**< sizeof(vdb_stats_t) */
    uint64_t searches;           /**< Calls of vdb_search. Here and below, those refused for NULL, dim or
                                      flags are not counted. */
    uint64_t batches;            /**< Calls of vdb_batch_search. */
    uint64_t batch_queries;      /**< Queries in those. */
    uint64_t errors;             /**< Searches and batches that failed. */
    uint64_t timeouts;           /**< Of these, by VDB_TIMEOUT. */
    uint64_t cancels;            /**< Of these, by VDB_CANCELLED. */
    uint64_t search_ns;          /**< Time inside searches, summed over the callers. */
    uint64_t quantise_ns;        /**< From here on, sums of what each search that succeeded did, as in
                                      vdb_search_stats_t. */
    uint64_t descend_ns;         /**< Rank nodes, down to the leaves. */
    uint64_t scan_ns;            /**< Estimate distances from codes. */
    uint64_t walk_ns;            /**< Follow links between rows. */
    uint64_t read_ns;            /**< Read vectors by system calls. Page faults of mapped ones are in
                                      rerank_ns. */
    uint64_t rerank_ns;          /**< Exact distances. VDB_SEARCH_EXACT over several threads: their sum. */
    uint64_t merge_ns;           /**< Join segments and threads. */
    uint64_t nodes_ranked;       /**< Nodes whose distance was taken. */
    uint64_t leaves_scanned;     /**< Leaves visited. */
    uint64_t codes_scanned;      /**< Codes whose distance was estimated, by leaf or by link. */
    uint64_t rows_reranked;      /**< Rows whose distance was computed. */
    uint64_t rows_read;          /**< Of these, not in the vector cache. */
    uint64_t bytes_read;         /**< Of vectors, from the page cache or from disk. */
    uint64_t answer_cache_hits;  /**< Answers that came from the answer cache. */
    uint64_t codes_walked;       /**< Of codes_scanned, those that links led to. */
} vdb_stats_t;

/**
 * Fills stats with what happened since the open. Each number is exact; together they are not one instant.
 *
 * Errors: VDB_INVALID_ARGUMENT, VDB_FORKED. Threads: any number at once. Time: constant.
 */
vdb_status_t vdb_stats(const vdb_t *db, vdb_stats_t *stats, vdb_error_t **error);

/** Bytes in memory, by part. */
typedef struct vdb_memory_t {
    size_t struct_size;           /**< sizeof(vdb_memory_t) */
    uint64_t limit_bytes;         /**< The limit in force now. */
    uint64_t total_bytes;         /**< Sum of the parts below, but for mapped_bytes. */
    uint64_t peak_bytes;          /**< Sum of the most that each part has had: no total since the open was
                                       higher. */
    uint64_t tree_bytes;          /**< Nodes, their codes and centroids, the rotation. */
    uint64_t code_bytes;          /**< Codes and their factors. */
    uint64_t id_bytes;            /**< Ids, and the way back from them. */
    uint64_t link_bytes;          /**< Links between rows. */
    uint64_t second_tier_bytes;   /**< Factors of the finer codes, which are mapped. */
    uint64_t vector_cache_bytes;  /**< Vectors kept. */
    uint64_t answer_cache_bytes;  /**< Answers kept. */
    uint64_t scratch_bytes;       /**< Working memory of searches: kept to be used again, and of those that
                                       run what they may take. */
    uint64_t other_bytes;         /**< Open cursors: rows fetched and not yet given, queries, filters; and,
                                       while they run, searches that are too many or too large for the part
                                       of the limit that is kept for working memory. */
    uint64_t mapped_bytes;        /**< Address space of mapped vectors and finer codes, whose memory is the
                                       page cache's. */
} vdb_memory_t;

/**
 * Fills memory with what the handle takes, by part.
 *
 * Errors: VDB_INVALID_ARGUMENT, VDB_FORKED. Threads: any number at once. Time: constant.
 */
vdb_status_t vdb_memory(const vdb_t *db, vdb_memory_t *memory, vdb_error_t **error);

#define VDB_LEVELS_MAX   16  /**< Most levels of a tree. */
#define VDB_EFFORTS_MAX  64  /**< Most measured efforts of a segment. */

/**
 * What the build measured on rows that it held out: so many probes, and where rows are linked a walk as long
 * as vdb_segment_t.walks says, reach this recall@10.
 */
typedef struct vdb_effort_t {
    float recall;     /**< Recall@10, less a margin for the chance of the measurement. */
    uint32_t probes;  /**< Leaves visited. */
} vdb_effort_t;

/**
 * A segment: an immutable index over some of the rows, with a tree of its own. Nodes are numbered level by
 * level from the root, which is 0; the leaves are the last.
 */
typedef struct vdb_segment_t {
    size_t struct_size;                     /**< sizeof(vdb_segment_t) */
    uint64_t number;                        /**< Its number, which names its file. */
    uint64_t rows;                          /**< Rows in it. */
    uint64_t tree_bytes;                    /**< On disk, as the next four: nodes, their codes and
                                                 centroids. */
    uint64_t code_bytes;                    /**< Codes, finer ones too, and their factors. */
    uint64_t id_bytes;                      /**< Ids, and the way back from them. */
    uint64_t vector_bytes;                  /**< Vectors. */
    uint64_t file_bytes;                    /**< The whole file. */
    uint64_t nodes;                         /**< Nodes of its tree, leaves included. */
    uint64_t leaves;                        /**< Leaves of its tree. */
    uint64_t leaf_rows_min;                 /**< Rows of the smallest leaf. */
    uint64_t leaf_rows_median;              /**< Rows of the middle leaf. */
    uint64_t leaf_rows_max;                 /**< Rows of the largest leaf. */
    uint32_t levels;                        /**< Levels of its tree; 1: the root is the only leaf. */
    uint32_t effort_count;                  /**< Length of efforts. */
    uint64_t level_nodes[VDB_LEVELS_MAX];   /**< Nodes of each level, root first. */
    vdb_effort_t efforts[VDB_EFFORTS_MAX];  /**< By ascending probes, and of the same probes by longer
                                                 walks. */
    uint64_t link_bytes;                    /**< On disk: links between rows. 0: there are none. */
    uint32_t walks[VDB_EFFORTS_MAX];        /**< For each of efforts, how many of the closest rows a search
                                                 holds and follows links from. 0: it follows none. */
} vdb_segment_t;

/**
 * Fills segment with what a segment is: its sizes, its tree, what was measured.
 *
 *   index   0 to vdb_info_t.segments - 1
 *
 * Errors: VDB_INVALID_ARGUMENT, VDB_NOT_FOUND, VDB_IO (the length of its file), VDB_FORKED. Threads: any
 * number at once. Time: linear in leaves.
 */
vdb_status_t vdb_segment(const vdb_t *db, uint32_t index, vdb_segment_t *segment, vdb_error_t **error);

/** A node of a tree. The caller may lend three buffers to be filled; those that stay NULL cost nothing. */
typedef struct vdb_tree_node_t {
    size_t struct_size;      /**< sizeof(vdb_tree_node_t) */
    float *centroid;         /**< In: NULL, or room for the centroid. */
    size_t centroid_dim;     /**< In: floats of that room: the index's dim. */
    uint8_t *code;           /**< In: NULL, or room for the node's code. */
    size_t code_bytes;       /**< In: bytes of that room: vdb_info_t.code_bytes. */
    uint64_t *members;       /**< In: NULL, or room for ids of the rows below. */
    size_t member_capacity;  /**< In: how many ids that room has. */
    uint64_t member_first;   /**< In: rows below to pass over. */
    uint64_t member_count;   /**< Out: ids written. */
    uint64_t parent;         /**< Out: its parent; VDB_NODE_NONE for the root. */
    uint64_t first_child;    /**< Out: its children are numbered on from here. */
    uint64_t children;       /**< Out: how many; 0: a leaf. */
    uint64_t rows;           /**< Out: rows below it. */
    uint32_t level;          /**< Out: its level; 0 for the root. */
    uint32_t reserved;       /**< 0 */
} vdb_tree_node_t;

/**
 * Reads a node: where it hangs, and as far as buffers are lent its centroid, its code and the ids below it.
 *
 *   segment   0 to vdb_info_t.segments - 1
 *   index     0, the root, to vdb_segment_t.nodes - 1
 *   node      lends buffers, and is filled
 *
 * The centroid is the mean of the rows below, in full precision; under VDB_METRIC_COSINE it is one of
 * directions, of length 1 or less. Rows that the build held out to measure recall move no centroid, but that
 * of a leaf which has no others. On failure what the lent buffers hold is of no use.
 *
 * Errors: VDB_INVALID_ARGUMENT, VDB_NOT_FOUND, VDB_FORKED, and for the centroid, which is read from disk,
 * VDB_IO, VDB_CORRUPT, VDB_OUT_OF_MEMORY. Threads: any number at once. Time: linear in what is filled.
 *
 *     vdb_tree_node_t node = {0};
 *     node.struct_size = sizeof node;
 *     node.centroid = centroid;
 *     node.centroid_dim = 100;
 *     status = vdb_tree_node(db, 0, 0, &node, &error);
 */
vdb_status_t vdb_tree_node(const vdb_t *db, uint32_t segment, uint64_t index, vdb_tree_node_t *node,
                           vdb_error_t **error);

/* ======================================================================================================== *
 * Caches
 * ======================================================================================================== */

/** Which cache. VDB_CACHE_... */
typedef uint32_t vdb_cache_t;

#define VDB_CACHE_VECTORS  1u  /**< Full vectors, by row; for handles that read rather than map. */
#define VDB_CACHE_ANSWERS  2u  /**< Whole answers, by query, k and parameters. */

/** A cache, as it is now. Counts only grow. */
typedef struct vdb_cache_info_t {
    size_t struct_size;       /**< sizeof(vdb_cache_info_t) */
    uint64_t capacity_bytes;  /**< 0: off. */
    uint64_t used_bytes;      /**< Entries and what it takes to find them. */
    uint64_t entries;         /**< Vectors or answers held. */
    uint64_t hits;            /**< Look-ups that found. */
    uint64_t misses;          /**< Look-ups that did not. */
    uint64_t evictions;       /**< Entries that made room for others. */
} vdb_cache_info_t;

/**
 * Fills info with what a cache holds and how often it helped.
 *
 * Errors: VDB_INVALID_ARGUMENT, VDB_FORKED. Threads: any number at once. Time: constant.
 *
 *     vdb_cache_info_t info = {0};
 *     info.struct_size = sizeof info;
 *     status = vdb_cache_info(db, VDB_CACHE_ANSWERS, &info, &error);
 */
vdb_status_t vdb_cache_info(const vdb_t *db, vdb_cache_t cache, vdb_cache_info_t *info, vdb_error_t **error);

/**
 * Gives a cache another size, at once; entries that no longer fit go, counts stay.
 *
 *   bytes   0 and VDB_CACHE_OFF: off. Never more than the handle's limit leaves: see vdb_cache_info
 *
 * Errors: VDB_INVALID_ARGUMENT, VDB_FORKED. Threads: any number at once, searches included.
 */
vdb_status_t vdb_cache_resize(vdb_t *db, vdb_cache_t cache, uint64_t bytes, vdb_error_t **error);

/**
 * Forgets what a cache holds; size and counts stay.
 *
 * Errors: VDB_INVALID_ARGUMENT, VDB_FORKED. Threads: any number at once, searches included.
 */
vdb_status_t vdb_cache_clear(vdb_t *db, vdb_cache_t cache, vdb_error_t **error);

/* ======================================================================================================== *
 * Care
 * ======================================================================================================== */

#define VDB_PART_TREE     (1u << 0)  /**< Nodes and centroids. */
#define VDB_PART_CODES    (1u << 1)  /**< Codes and their factors. */
#define VDB_PART_VECTORS  (1u << 2)  /**< Full vectors. */

/** How a part will be used. VDB_ADVICE_... */
typedef uint32_t vdb_advice_t;

#define VDB_ADVICE_WARM    1u  /**< Bring it into memory now: vectors are read once, into the page cache,
                                    before the call returns. */
#define VDB_ADVICE_COLD    2u  /**< It will not be needed for a while: its pages may leave the page cache,
                                    if no other program has them. */
#define VDB_ADVICE_RANDOM  3u  /**< The system should not read ahead; how vectors begin. */
#define VDB_ADVICE_SCAN    4u  /**< The system should read ahead. */

/**
 * Says how parts of the index will be used. No answer depends on it. Tree and codes are in memory in any
 * case: for them nothing is done. For vectors it says so to the system, which may do otherwise.
 *
 *   parts    VDB_PART_..., one or several
 *   advice   VDB_ADVICE_...
 *   job      NULL: quietly, to the end
 *
 * Errors: VDB_INVALID_ARGUMENT, VDB_CORRUPT, VDB_IO, VDB_OUT_OF_MEMORY, VDB_CANCELLED, VDB_TIMEOUT,
 * VDB_FORKED. Threads: any number at once.
 *
 *     status = vdb_advise(db, VDB_PART_VECTORS, VDB_ADVICE_WARM, NULL, &error);
 */
vdb_status_t vdb_advise(vdb_t *db, uint32_t parts, vdb_advice_t advice, const vdb_job_t *job,
                        vdb_error_t **error);

/**
 * Reads the whole index at a path and checks every byte and every reference in it. Changes nothing; handles
 * may be open on it, and searched.
 *
 *   path      the directory
 *   job       NULL: quietly. Its log gets each damage, by VDB_LOG_ERROR
 *   damages   NULL, or receives how many there are
 *
 * Returns VDB_OK if all is as it was written. VDB_CORRUPT: the message names the first damage. Other errors:
 * VDB_INVALID_ARGUMENT, VDB_NOT_FOUND, VDB_FORMAT, VDB_IO, VDB_OUT_OF_MEMORY, VDB_CANCELLED, VDB_TIMEOUT.
 * Threads: any. Time: linear in the bytes of the index. Memory: tree, codes and ids of one segment at a time,
 * and a MiB or so that bytes pass through, within memory_limit_bytes of the job; if that is too little, it
 * says so before any work.
 *
 *     status = vdb_verify("words.vdb", NULL, NULL, &error);
 */
vdb_status_t vdb_verify(const char *path, const vdb_job_t *job, uint64_t *damages, vdb_error_t **error);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* VDB_H */
