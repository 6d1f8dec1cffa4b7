/*
 * The rules at the head of vdb.h, where a call fails: outputs are defined whatever the reason was, from within a
 * callback too; any struct_size from the first version's to 64 KiB will do; memory is bounded by the limit.
 */
#include "check.h"

#define ROWS 4000
#define DIM 12
#define K 5

static float *rows;
static char path[PATH_ROOM];

/* ---- outputs ---- */

/* Room for all that any function fills, and a handle or two to call it with. */
typedef struct outputs {
    uint64_t ids[2 * K], members[K], leaf, damages;
    float distances[2 * K], vectors[2 * DIM], centroid[DIM];
    size_t count, counts[2];
    uint8_t found[2], code[64];
    uint32_t segment;
    const void *vector;
    vdb_type_t type;
    vdb_t *db;
    vdb_pool_t *pool;
    vdb_cursor_t *cursor;
    vdb_search_stats_t search_stats;
    vdb_build_report_t report;
    vdb_estimate_t estimate;
    vdb_info_t info;
    vdb_stats_t stats;
    vdb_memory_t memory;
    vdb_segment_t of_segment;
    vdb_cache_info_t cache;
    vdb_tree_node_t node;
} outputs;

static void dirty(outputs *out, size_t code_bytes) {
    memset(out, 0xee, sizeof *out);
    out->search_stats.struct_size = sizeof out->search_stats;
    out->report.struct_size = sizeof out->report;
    out->estimate.struct_size = sizeof out->estimate;
    out->info.struct_size = sizeof out->info;
    out->stats.struct_size = sizeof out->stats;
    out->memory.struct_size = sizeof out->memory;
    out->of_segment.struct_size = sizeof out->of_segment;
    out->cache.struct_size = sizeof out->cache;
    out->node.struct_size = sizeof out->node;
    out->node.centroid = out->centroid;
    out->node.centroid_dim = DIM;
    out->node.code = out->code;
    out->node.code_bytes = code_bytes;
    out->node.members = out->members;
    out->node.member_capacity = K;
    out->node.reserved = 0;
}

static int zero(const void *at, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        if (((const unsigned char *)at)[i] != 0)
            return 0;
    return 1;
}

#define ZERO(field) zero(&(field), sizeof(field))
#define BLANK(of) zero((const char *)&(of) + sizeof(size_t), sizeof(of) - sizeof(size_t))

static int no_answer(const uint64_t *ids, const float *distances, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (ids[i] != VDB_NO_ID || distances[i] != INFINITY)
            return 0;
    return 1;
}

/* What a callback needs to try everything. */
typedef struct host {
    vdb_t *db;
    vdb_cursor_t *cursor;
    size_t code_bytes;
    int calls;
} host;

/* Every function that may fail, from within a callback: each is refused, and leaves what a failure leaves. */
static void try_everything(host *host) {
    vdb_error_t *error = NULL;
    vdb_t *db = host->db;
    const uint64_t wanted[2] = {1, 2};
    vdb_search_params_t params = new_params();
    vdb_build_options_t build = build_options(VDB_METRIC_L2);
    vdb_source_t source = array_source(rows, 10, DIM, NULL);
    outputs out;
    dirty(&out, host->code_bytes);
    params.stats = &out.search_stats;
    build.report = &out.report;

    FAILS(VDB_MISUSE, vdb_search(db, rows, DIM, K, &params, out.ids, out.distances, &out.count, &error));
    CHECK(out.count == 0 && no_answer(out.ids, out.distances, K) && BLANK(out.search_stats));
    dirty(&out, host->code_bytes);
    FAILS(VDB_MISUSE, vdb_batch_search(db, rows, 2, DIM, K, &params, out.ids, out.distances, out.counts, &error));
    CHECK(ZERO(out.counts) && no_answer(out.ids, out.distances, 2 * K) && BLANK(out.search_stats));
    dirty(&out, host->code_bytes);
    FAILS(VDB_MISUSE, vdb_cursor_open(db, rows, DIM, NULL, &out.cursor, &error));
    CHECK(out.cursor == NULL);
    FAILS(VDB_MISUSE, vdb_cursor_next(host->cursor, K, out.ids, out.distances, &out.count, &error));
    CHECK(out.count == 0 && no_answer(out.ids, out.distances, K));
    FAILS(VDB_MISUSE, vdb_open(path, NULL, &out.db, &error));
    FAILS(VDB_MISUSE, vdb_pool_open(NULL, &out.pool, &error));
    CHECK(out.db == NULL && out.pool == NULL);
    FAILS(VDB_MISUSE, vdb_build(in_work_dir("never.vdb"), &source, &build, NULL, &error));
    FAILS(VDB_MISUSE, vdb_estimate(&source, NULL, &out.estimate, &error));
    CHECK(BLANK(out.report) && BLANK(out.estimate));
    FAILS(VDB_MISUSE, vdb_get(db, wanted, 2, DIM, out.vectors, out.found, &error));
    CHECK(ZERO(out.vectors) && ZERO(out.found));
    FAILS(VDB_MISUSE, vdb_borrow(db, 1, &out.vector, &out.type, &error));
    CHECK(out.vector == NULL && out.type == 0);
    FAILS(VDB_MISUSE, vdb_encode(db, rows, DIM, 0, VDB_NODE_NONE, out.code, host->code_bytes, &error));
    CHECK(zero(out.code, host->code_bytes));
    dirty(&out, host->code_bytes);
    FAILS(VDB_MISUSE, vdb_code(db, 1, out.code, host->code_bytes, &out.segment, &out.leaf, &error));
    CHECK(zero(out.code, host->code_bytes) && out.segment == 0 && out.leaf == VDB_NODE_NONE);
    FAILS(VDB_MISUSE, vdb_info(db, &out.info, &error));
    FAILS(VDB_MISUSE, vdb_stats(db, &out.stats, &error));
    FAILS(VDB_MISUSE, vdb_memory(db, &out.memory, &error));
    FAILS(VDB_MISUSE, vdb_segment(db, 0, &out.of_segment, &error));
    FAILS(VDB_MISUSE, vdb_cache_info(db, VDB_CACHE_ANSWERS, &out.cache, &error));
    CHECK(BLANK(out.info) && BLANK(out.stats) && BLANK(out.memory) && BLANK(out.of_segment) && BLANK(out.cache));
    dirty(&out, host->code_bytes);
    FAILS(VDB_MISUSE, vdb_tree_node(db, 0, 0, &out.node, &error));
    CHECK(out.node.parent == VDB_NODE_NONE && out.node.rows == 0 && out.node.member_count == 0);
    CHECK(out.node.centroid == out.centroid && out.node.member_capacity == K);
    FAILS(VDB_MISUSE, vdb_cache_resize(db, VDB_CACHE_ANSWERS, 0, &error));
    FAILS(VDB_MISUSE, vdb_cache_clear(db, VDB_CACHE_ANSWERS, &error));
    FAILS(VDB_MISUSE, vdb_advise(db, VDB_PART_TREE, VDB_ADVICE_WARM, NULL, &error));
    FAILS(VDB_MISUSE, vdb_verify(path, NULL, &out.damages, &error));
    CHECK(out.damages == 0);
    vdb_cursor_free(host->cursor);
    vdb_free(db);
}

static int32_t on_progress(void *user, const char *phase, uint64_t done, uint64_t total) {
    host *host = user;
    (void)phase, (void)done, (void)total;
    if (host->calls++ == 0)
        try_everything(host);
    return 0;
}

static void from_callbacks(vdb_t *db, size_t code_bytes) {
    vdb_error_t *error = NULL;
    vdb_source_t source = array_source(rows, 10, DIM, NULL);
    vdb_job_t job = new_job();
    host host = {NULL, NULL, 0, 0};
    uint64_t ids[K];
    host.db = db;
    host.code_bytes = code_bytes;
    job.progress = on_progress;
    job.progress_user = &host;
    OK(vdb_cursor_open(db, rows, DIM, NULL, &host.cursor, &error));
    OK(vdb_build(in_work_dir("small.vdb"), &source, NULL, &job, &error));
    CHECK(host.calls > 0);
    OK(vdb_cursor_next(host.cursor, K, ids, NULL, NULL, &error));
    OK(vdb_search(db, rows, DIM, K, NULL, ids, NULL, NULL, &error));
    vdb_cursor_free(host.cursor);
}

/* Structs that hang on others are put in order, too, whatever is wrong beside them. */
static void lent_structs(vdb_t *db, size_t code_bytes) {
    vdb_error_t *error = NULL;
    vdb_source_t source = array_source(rows, 10, DIM, NULL);
    vdb_build_options_t build = build_options(VDB_METRIC_L2);
    outputs out;
    for (int wrong = 0; wrong < 9; wrong++) {
        struct {
            vdb_search_params_t known;
            uint64_t newer;
        } params;
        vdb_t *handle = wrong == 0 ? NULL : db;
        size_t dim = wrong == 1 ? DIM + 1 : DIM, k = wrong == 2 ? 0 : K;
        vdb_status_t status = wrong < 3 ? VDB_INVALID_ARGUMENT : VDB_UNSUPPORTED;
        memset(&params, 0, sizeof params);
        params.known = new_params();
        dirty(&out, code_bytes);
        params.known.stats = &out.search_stats;
        if (wrong == 3)
            params.known.flags = 1u << 30;
        if (wrong == 4)
            params.known.reserved = 1;
        if (wrong == 5) {
            params.known.struct_size = sizeof params;
            params.newer = 1;
        }
        if (wrong >= 6) { /* recall is refused though probes would decide */
            static const float recalls[] = {NAN, -1.0f, 2.0f};
            params.known.recall = recalls[wrong - 6];
            params.known.probes = 5;
            status = VDB_INVALID_ARGUMENT;
        }
        FAILS(status, vdb_search(handle, rows, dim, k, &params.known, out.ids, out.distances, NULL, &error));
        CHECK(BLANK(out.search_stats));
        dirty(&out, code_bytes);
        FAILS(status, vdb_batch_search(handle, rows, 1, dim, k, &params.known, out.ids, NULL, NULL, &error));
        CHECK(BLANK(out.search_stats));
    }
    dirty(&out, code_bytes);
    build.report = &out.report;
    FAILS(VDB_INVALID_ARGUMENT, vdb_build(NULL, &source, &build, NULL, &error));
    CHECK(BLANK(out.report));
    out.node.reserved = 1;
    FAILS(VDB_UNSUPPORTED, vdb_tree_node(db, 0, 0, &out.node, &error));
    CHECK(out.node.rows == 0 && out.node.member_count == 0);
}

/* ---- struct_size ---- */

static void struct_sizes(vdb_t *db) {
    static const size_t good[] = {sizeof(vdb_info_t), sizeof(vdb_info_t) + 1, 4095, 4096, 4097, 4608, 5001,
                                  65535, 65536};
    static const size_t bad[] = {65537, 1000000, SIZE_MAX};
    vdb_error_t *error = NULL;
    uint64_t ids[K];
    union {
        vdb_search_params_t params;
        vdb_info_t info;
        unsigned char bytes[65536];
    } *large = must(malloc(sizeof *large));
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        memset(large, 0, sizeof *large);
        large->params.struct_size = good[i];
        OK(vdb_search(db, rows, DIM, K, &large->params, ids, NULL, NULL, &error));
        if (good[i] > sizeof large->params) {
            large->bytes[good[i] - 1] = 1;
            FAILS(VDB_UNSUPPORTED, vdb_search(db, rows, DIM, K, &large->params, ids, NULL, NULL, &error));
        }
        memset(large, 0xee, sizeof *large);
        large->info.struct_size = good[i];
        OK(vdb_info(db, &large->info, &error));
        CHECK(large->info.rows == ROWS && large->info.struct_size == good[i]);
        CHECK(zero(large->bytes + sizeof large->info, good[i] - sizeof large->info));
        CHECK(good[i] == sizeof large->bytes || large->bytes[good[i]] == 0xee);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        memset(large, 0, sizeof *large);
        large->params.struct_size = bad[i];
        FAILS(VDB_INVALID_ARGUMENT, vdb_search(db, rows, DIM, K, &large->params, ids, NULL, NULL, &error));
        FAILS(VDB_INVALID_ARGUMENT, vdb_info(db, &large->info, &error));
    }
    free(large);
}

/* ---- memory ---- */

static vdb_memory_t memory_of(vdb_t *db) {
    vdb_error_t *error = NULL;
    vdb_memory_t memory;
    memset(&memory, 0, sizeof memory);
    memory.struct_size = sizeof memory;
    OK(vdb_memory(db, &memory, &error));
    return memory;
}

/* Cursors count, too, and are refused when the limit is reached. */
static void cursors_are_bounded(void) {
    enum { MOST = 2000 };
    static vdb_cursor_t *cursors[MOST];
    vdb_error_t *error = NULL;
    vdb_options_t options = new_options();
    vdb_t *db = NULL;
    vdb_memory_t memory;
    uint64_t *ids = must(malloc(ROWS * sizeof *ids)), before;
    size_t opened = 0, count = 7;
    vdb_status_t status = VDB_OK;
    options.memory_limit_bytes = 8u << 20;
    options.threads = 1;
    if (!OK(vdb_open(path, &options, &db, &error)))
        return;
    before = memory_of(db).other_bytes;
    while (status == VDB_OK && opened < MOST) {
        status = vdb_cursor_open(db, rows, DIM, NULL, &cursors[opened], &error);
        if (status == VDB_OK)
            status = vdb_cursor_next(cursors[opened++], ROWS / 4, ids, NULL, &count, &error);
    }
    CHECK(status == VDB_OUT_OF_MEMORY && opened > 2 && count == 0 && ids[0] == VDB_NO_ID);
    CHECK(strstr(vdb_error_message(error), "cursors") != NULL);
    CHECK(vdb_error_detail(error, VDB_DETAIL_NEEDED_BYTES) > (int64_t)options.memory_limit_bytes);
    vdb_error_free(error);
    error = NULL;
    memory = memory_of(db);
    CHECK(memory.other_bytes > before && memory.total_bytes <= memory.limit_bytes);
    while (opened > 0)
        vdb_cursor_free(cursors[--opened]);
    CHECK(memory_of(db).other_bytes == before);
    CHECK(memory_of(db).total_bytes < memory.total_bytes && memory_of(db).peak_bytes >= memory.total_bytes);
    vdb_free(db);
    free(ids);
}

/* A check of all bytes keeps to the job's limit, or says which would do. */
static void a_verify_is_bounded(void) {
    vdb_error_t *error = NULL;
    vdb_job_t job = new_job();
    uint64_t damages = 7;
    job.memory_limit_bytes = 1;
    CHECK(vdb_verify(path, &job, &damages, &error) == VDB_OUT_OF_MEMORY && damages == 0);
    CHECK(vdb_error_detail(error, VDB_DETAIL_NEEDED_BYTES) > 1);
    job.memory_limit_bytes = (uint64_t)vdb_error_detail(error, VDB_DETAIL_NEEDED_BYTES);
    vdb_error_free(error);
    error = NULL;
    OK(vdb_verify(path, &job, &damages, &error));
}

/* What the estimate says is enough, and no more than twice what is needed. */
static void estimates(void) {
    vdb_error_t *error = NULL;
    vdb_estimate_t estimate;
    vdb_source_t source = array_source(NULL, ROWS, DIM, NULL);
    vdb_options_t options = new_options();
    vdb_t *db = NULL;
    int64_t needed;
    memset(&estimate, 0, sizeof estimate);
    estimate.struct_size = sizeof estimate;
    OK(vdb_estimate(&source, NULL, &estimate, &error));
    options.memory_limit_bytes = 1;
    CHECK(vdb_open(path, &options, &db, &error) == VDB_OUT_OF_MEMORY);
    needed = vdb_error_detail(error, VDB_DETAIL_NEEDED_BYTES);
    vdb_error_free(error);
    error = NULL;
    CHECK(needed > 0 && estimate.open_memory_bytes >= (uint64_t)needed);
    CHECK(estimate.open_memory_bytes <= 2 * (uint64_t)needed);
    options.memory_limit_bytes = estimate.open_memory_bytes;
    OK(vdb_open(path, &options, &db, &error));
    vdb_free(db);
    /* What no build takes has no estimate. */
    source.rows = UINT64_MAX;
    source.dim = 65536;
    FAILS(VDB_INVALID_ARGUMENT, vdb_estimate(&source, NULL, &estimate, &error));
    CHECK(BLANK(estimate));
}

/* ---- sentences ---- */

static int says(const char *word, vdb_error_t **error) {
    int found = strstr(vdb_error_message(*error), word) != NULL;
    vdb_error_free(*error);
    *error = NULL;
    return found;
}

static void sentences(vdb_t *db) {
    vdb_error_t *error = NULL;
    vdb_cursor_t *cursor = NULL;
    vdb_source_t nothing = array_source(NULL, 0, DIM, NULL);
    vdb_t *empty = NULL;
    uint8_t code[1];
    uint64_t id;
    OK(vdb_cursor_open(db, rows, DIM, NULL, &cursor, &error));
    CHECK(vdb_cursor_next(cursor, 0, &id, NULL, NULL, &error) == VDB_INVALID_ARGUMENT);
    CHECK(says("capacity is 0", &error));
    vdb_cursor_free(cursor);
    OK(vdb_build(in_work_dir("empty.vdb"), &nothing, NULL, NULL, &error));
    if (OK(vdb_open(in_work_dir("empty.vdb"), NULL, &empty, &error))) {
        CHECK(vdb_encode(empty, rows, DIM, 0, VDB_NODE_NONE, code, 0, &error) == VDB_NOT_FOUND);
        CHECK(says("no rows", &error));
        vdb_free(empty);
    }
}

int main(void) {
    vdb_error_t *error = NULL;
    vdb_info_t info;
    vdb_t *db;
    make_work_dir();
    strcpy(path, in_work_dir("rules.vdb"));
    rows = make_rows(ROWS, DIM, 5);
    build_rows(path, rows, ROWS, DIM, VDB_METRIC_L2, 0);
    db = open_index(path, 1);
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    if (db != NULL && OK(vdb_info(db, &info, &error))) {
        from_callbacks(db, info.code_bytes);
        lent_structs(db, info.code_bytes);
        struct_sizes(db);
        cursors_are_bounded();
        a_verify_is_bounded();
        estimates();
        sentences(db);
        vdb_free(db);
    }
    free(rows);
    return finish("rules");
}
