/*
 * What must not be done, done: each wrong call gives a status and a sentence, outputs are in a defined state, nothing
 * half-built opens, nothing crashes, hangs, prints, or asks for absurd memory. The address space is limited for the
 * whole run, and what the library writes to stdout and stderr is caught and must be nothing.
 *
 * VDB_TEST_SENTENCES=1 shows the sentences. VDB_TEST_SMALL_DISK names a directory on a file system of some 2 MB.
 */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define ROWS 300
#define DIM 8
#define K 5
#define HUGE_SIZE ((size_t)1 << 63)

static float *rows;
static const char *skipped = "";

/* ---- what every failure leaves behind ---- */

static void fill(uint64_t *ids, float *distances, size_t count) {
    memset(ids, 0xee, count * sizeof *ids);
    memset(distances, 0xee, count * sizeof *distances);
}

static int blank(const uint64_t *ids, const float *distances, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (ids[i] != VDB_NO_ID || distances[i] != INFINITY)
            return 0;
    return 1;
}

/* A search that must fail with this status and leave its outputs blank. */
#define SEARCH_FAILS(expected, db, query, dim, k, params)                                        \
    do {                                                                                         \
        uint64_t ids_[K];                                                                        \
        float distances_[K];                                                                     \
        size_t count_ = 77;                                                                      \
        fill(ids_, distances_, K);                                                               \
        FAILS(expected, vdb_search(db, query, dim, k, params, ids_, distances_, &count_, &error)); \
        CHECK(count_ == 0 && (blank(ids_, distances_, K) || (k) != K));                          \
    } while (0)

/* ---- calls ---- */

static void searches(vdb_t *db) {
    vdb_error_t *error = NULL;
    uint64_t ids[4 * ROWS];
    float distances[4 * ROWS], bad[3 * DIM];
    size_t count = 7, counts[3];
    vdb_search_params_t params = new_params();
    SEARCH_FAILS(VDB_INVALID_ARGUMENT, NULL, rows, DIM, K, NULL);
    SEARCH_FAILS(VDB_INVALID_ARGUMENT, (vdb_t *)(void *)rows, rows, DIM, K, NULL); /* not a handle */
    SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, NULL, DIM, K, NULL);
    SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, rows, 0, K, NULL);
    SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, rows, DIM - 1, K, NULL);
    SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, rows, DIM + 1, K, NULL);
    SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, rows, HUGE_SIZE, K, NULL);
    SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, rows, SIZE_MAX, K, NULL);
    SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, rows, DIM, 0, NULL);
    SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, rows, DIM, HUGE_SIZE, NULL);
    SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, rows, DIM, HUGE_SIZE - 1, NULL);
    SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, rows, DIM, (size_t)1 << 61, NULL);
    SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, rows, DIM, SIZE_MAX, NULL);
    FAILS(VDB_INVALID_ARGUMENT, vdb_search(db, rows, DIM, K, NULL, NULL, distances, &count, &error));
    CHECK(count == 0);
    /* All at once, and nobody who asks why. */
    CHECK(vdb_search(NULL, NULL, 0, 0, NULL, NULL, NULL, NULL, NULL) == VDB_INVALID_ARGUMENT);

    /* More than there are: all of them. */
    for (size_t k = ROWS; k <= 4 * ROWS; k += ROWS) {
        fill(ids, distances, 4 * ROWS);
        OK(vdb_search(db, rows, DIM, k, NULL, ids, distances, &count, &error));
        CHECK(count == ROWS && blank(ids + ROWS, distances + ROWS, k - ROWS));
    }

    for (int i = 0; i < 4; i++) {
        static const float numbers[] = {NAN, INFINITY, -INFINITY, 3e38f};
        memcpy(bad, rows, sizeof bad);
        bad[DIM + 3] = numbers[i];
        if (i < 3)
            SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, bad + DIM, DIM, K, NULL);
        else
            SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, bad + DIM, DIM, K, NULL); /* its square is infinite */
        memset(counts, 0xee, sizeof counts);
        fill(ids, distances, 3 * K);
        CHECK(vdb_batch_search(db, bad, 3, DIM, K, NULL, ids, distances, counts, &error) == VDB_INVALID_ARGUMENT);
        CHECK(vdb_error_detail(error, VDB_DETAIL_ROW) == 1);
        CHECK(counts[0] == 0 && counts[2] == 0 && blank(ids, distances, 3 * K));
        vdb_error_free(error);
        error = NULL;
    }

    FAILS(VDB_INVALID_ARGUMENT, vdb_batch_search(NULL, rows, 2, DIM, K, NULL, ids, distances, counts, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_batch_search(db, NULL, 2, DIM, K, NULL, ids, distances, counts, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_batch_search(db, rows, 2, DIM, K, NULL, NULL, distances, counts, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_batch_search(db, rows, 2, DIM + 1, K, NULL, ids, distances, counts, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_batch_search(db, rows, 2, DIM, 0, NULL, ids, distances, counts, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_batch_search(db, rows, 2, DIM, HUGE_SIZE, NULL, ids, distances, counts, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_batch_search(db, rows, HUGE_SIZE, DIM, K, NULL, ids, distances, NULL, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_batch_search(db, rows, SIZE_MAX, DIM, K, NULL, ids, distances, NULL, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_batch_search(db, rows, (size_t)1 << 58, DIM, 1, NULL, ids, NULL, NULL, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_batch_search(db, rows, SIZE_MAX / 4, DIM, 4, NULL, ids, NULL, NULL, &error));
    {
        /* Nothing is written where the lengths together are those of no array. */
        size_t counts[1] = {77};
        FAILS(VDB_INVALID_ARGUMENT,
              vdb_batch_search(db, rows, (size_t)1 << 58, DIM, K, NULL, ids, distances, counts, &error));
        CHECK(counts[0] == 77);
    }

    for (int i = 0; i < 5; i++) {
        static const float recalls[] = {-0.5f, 1.5f, NAN, INFINITY, -INFINITY};
        params.recall = recalls[i];
        SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, rows, DIM, K, &params);
    }
    params = new_params();
    params.flags = 1u << 31;
    SEARCH_FAILS(VDB_UNSUPPORTED, db, rows, DIM, K, &params);
    params.flags = VDB_SEARCH_MAX_DISTANCE;
    params.max_distance = NAN;
    SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, rows, DIM, K, &params);
    params = new_params();
    params.reserved = 1;
    SEARCH_FAILS(VDB_UNSUPPORTED, db, rows, DIM, K, &params);
}

static void filters_and_tokens(vdb_t *db) {
    vdb_error_t *error = NULL;
    uint64_t values[4] = {1, 5, 5, 9};
    vdb_cancel_t token = 0;
    vdb_filter_t filter;
    vdb_search_params_t params = new_params();
    memset(&filter, 0, sizeof filter);
    filter.struct_size = sizeof filter;
    params.filter = &filter;
    SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, rows, DIM, K, &params); /* no kind */
    filter.kind = 3;
    SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, rows, DIM, K, &params);
    filter.kind = VDB_FILTER_IDS;
    filter.values = values;
    filter.value_count = 4;
    SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, rows, DIM, K, &params); /* 5 twice */
    values[2] = 3;
    SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, rows, DIM, K, &params); /* not ascending */
    values[2] = 7;
    filter.exclude = 2;
    SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, rows, DIM, K, &params);
    filter.exclude = 0;
    filter.value_count = HUGE_SIZE;
    SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, rows, DIM, K, &params);
    filter.value_count = 4;
    filter.values = NULL;
    SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, rows, DIM, K, &params);
    filter.values = values;
    filter.struct_size = 0;
    SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, rows, DIM, K, &params);
    filter.struct_size = 1000000;
    SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, rows, DIM, K, &params);

    params = new_params();
    params.cancel = &token;
    params.flags = VDB_SEARCH_NO_CACHE;
    vdb_cancel(&token);
    SEARCH_FAILS(VDB_CANCELLED, db, rows, DIM, K, &params);
    token = -7;
    SEARCH_FAILS(VDB_CANCELLED, db, rows, DIM, K, &params);
    params.cancel = (const vdb_cancel_t *)(const void *)((const char *)&token + 1);
    SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, rows, DIM, K, &params);
    params.cancel = NULL;
    params.timeout_ns = 1;
    SEARCH_FAILS(VDB_TIMEOUT, db, rows, DIM, K, &params);
    params.timeout_ns = UINT64_MAX;
    CHECK(vdb_search(db, rows, DIM, K, &params, values, NULL, NULL, NULL) == VDB_OK || K > 4);
}

static void cursors(vdb_t *db) {
    vdb_error_t *error = NULL;
    vdb_cursor_t *cursor = (vdb_cursor_t *)(void *)rows;
    uint64_t ids[K];
    float distances[K];
    size_t count = 7;
    FAILS(VDB_INVALID_ARGUMENT, vdb_cursor_open(NULL, rows, DIM, NULL, &cursor, &error));
    CHECK(cursor == NULL);
    FAILS(VDB_INVALID_ARGUMENT, vdb_cursor_open(db, NULL, DIM, NULL, &cursor, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_cursor_open(db, rows, DIM + 1, NULL, &cursor, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_cursor_open(db, rows, DIM, NULL, NULL, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_cursor_next(NULL, K, ids, distances, &count, &error));
    CHECK(count == 0 && blank(ids, distances, K));
    if (OK(vdb_cursor_open(db, rows, DIM, NULL, &cursor, &error))) {
        FAILS(VDB_INVALID_ARGUMENT, vdb_cursor_next(cursor, 0, ids, distances, &count, &error));
        FAILS(VDB_INVALID_ARGUMENT, vdb_cursor_next(cursor, K, NULL, distances, &count, &error));
        FAILS(VDB_INVALID_ARGUMENT, vdb_cursor_next(cursor, HUGE_SIZE, ids, distances, &count, &error));
        OK(vdb_cursor_next(cursor, K, ids, distances, &count, &error));
        CHECK(count == K);
        vdb_cursor_free(cursor);
    }
}

static void other_calls(vdb_t *db) {
    vdb_error_t *error = NULL;
    uint64_t ids[2] = {1, 2}, number = 7;
    float out[2 * DIM];
    uint8_t found[2], code[64];
    uint32_t segment = 7;
    const void *place = rows;
    vdb_type_t type = 7;
    vdb_job_t job = new_job();
    FAILS(VDB_INVALID_ARGUMENT, vdb_get(NULL, ids, 2, DIM, out, found, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_get(db, NULL, 2, DIM, out, found, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_get(db, ids, 2, DIM, NULL, found, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_get(db, ids, 2, DIM - 1, out, found, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_get(db, ids, HUGE_SIZE, DIM, out, NULL, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_get(db, ids, SIZE_MAX, DIM, out, NULL, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_get(db, ids, (size_t)1 << 58, DIM, out, found, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_borrow(NULL, 1, &place, &type, &error));
    CHECK(place == NULL && type == 0);
    FAILS(VDB_INVALID_ARGUMENT, vdb_borrow(db, 1, NULL, &type, &error));
    FAILS(VDB_NOT_FOUND, vdb_borrow(db, VDB_NO_ID, &place, &type, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_encode(db, NULL, DIM, 0, 0, code, 1, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_encode(db, rows, DIM, 0, 0, code, 0, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_encode(db, rows, DIM, 0, 0, NULL, 1, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_encode(db, rows, DIM, 0, 0, code, 63, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_code(db, 1, code, 63, &segment, &number, &error));
    CHECK(segment == 0 && number == VDB_NODE_NONE);
    FAILS(VDB_INVALID_ARGUMENT, vdb_code(db, 1, NULL, 1, &segment, &number, &error));
    CHECK(vdb_hamming(NULL, code, 3) == UINT64_MAX && vdb_hamming(code, NULL, 3) == UINT64_MAX);
    CHECK(vdb_hamming(code, code, SIZE_MAX) == UINT64_MAX);
    FAILS(VDB_INVALID_ARGUMENT, vdb_cache_resize(db, 0, 1, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_cache_clear(db, 3, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_cache_resize(NULL, VDB_CACHE_ANSWERS, 1, &error));
    OK(vdb_cache_resize(db, VDB_CACHE_ANSWERS, UINT64_MAX - 1, &error)); /* as much as the limit leaves */
    FAILS(VDB_INVALID_ARGUMENT, vdb_advise(db, 0, VDB_ADVICE_WARM, NULL, &error));
    FAILS(VDB_UNSUPPORTED, vdb_advise(db, 1u << 9, VDB_ADVICE_WARM, NULL, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_advise(db, VDB_PART_TREE, 9, NULL, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_advise(NULL, VDB_PART_TREE, VDB_ADVICE_WARM, NULL, &error));
    job.log_level = 9;
    FAILS(VDB_INVALID_ARGUMENT, vdb_advise(db, VDB_PART_TREE, VDB_ADVICE_WARM, &job, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_verify(NULL, NULL, &number, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_verify("", NULL, &number, &error));
    CHECK(number == 0);
}

/* A struct as a program with a newer header has it, and what lies behind. */
#define NEWER(type)        \
    struct newer_##type {  \
        type known;        \
        uint64_t newer[4]; \
        uint64_t behind;   \
    }
NEWER(vdb_info_t);
NEWER(vdb_stats_t);
NEWER(vdb_memory_t);
NEWER(vdb_segment_t);
NEWER(vdb_cache_info_t);
NEWER(vdb_estimate_t);

/* Each struct that the library fills: NULL, sizes that cannot be, that of the first version, and that of a newer
 * program: what is not known reads as zero, and nothing behind it is written. call fills *out. */
#define OUTPUT_STRUCT(type, first, call)                                                       \
    do {                                                                                       \
        static const size_t wrong[] = {0, 1, 8, (first) - 8, (first) - 1, 65537, 1000000, SIZE_MAX}; \
        struct newer_##type larger;                                                            \
        type *out = NULL;                                                                      \
        FAILS(VDB_INVALID_ARGUMENT, call);                                                     \
        out = &larger.known;                                                                   \
        for (size_t i_ = 0; i_ < sizeof wrong / sizeof *wrong; i_++) {                         \
            larger.known.struct_size = wrong[i_];                                              \
            FAILS(VDB_INVALID_ARGUMENT, call);                                                 \
            CHECK(larger.known.struct_size == wrong[i_]);                                      \
        }                                                                                      \
        memset(&larger, 0xee, sizeof larger);                                                  \
        larger.known.struct_size = offsetof(struct newer_##type, behind);                      \
        OK(call);                                                                              \
        CHECK(larger.newer[0] == 0 && larger.newer[3] == 0);                                   \
        CHECK(larger.behind == UINT64_C(0xeeeeeeeeeeeeeeee));                                  \
        memset(&larger, 0xee, sizeof larger);                                                  \
        larger.known.struct_size = (first);                                                    \
        OK(call);                                                                              \
        CHECK(((unsigned char *)&larger)[(first)] == 0xee);                                    \
    } while (0)

static void struct_sizes(vdb_t *db, const char *path) {
    static const size_t wrong[] = {0, 1, 7, 8, 1000000, SIZE_MAX};
    vdb_error_t *error = NULL;
    vdb_source_t source = array_source(NULL, ROWS, DIM, NULL);
    OUTPUT_STRUCT(vdb_info_t, 80, vdb_info(db, out, &error));
    OUTPUT_STRUCT(vdb_stats_t, 176, vdb_stats(db, out, &error));
    OUTPUT_STRUCT(vdb_memory_t, sizeof(vdb_memory_t), vdb_memory(db, out, &error));
    OUTPUT_STRUCT(vdb_segment_t, 752, vdb_segment(db, 0, out, &error));
    OUTPUT_STRUCT(vdb_cache_info_t, sizeof(vdb_cache_info_t), vdb_cache_info(db, VDB_CACHE_ANSWERS, out, &error));
    OUTPUT_STRUCT(vdb_estimate_t, sizeof(vdb_estimate_t), vdb_estimate(&source, NULL, out, &error));

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        vdb_search_params_t params = new_params();
        vdb_search_stats_t stats;
        vdb_options_t options = new_options();
        vdb_build_options_t build = build_options(VDB_METRIC_L2);
        vdb_build_report_t report;
        vdb_pool_options_t pool_options;
        vdb_job_t job = new_job();
        vdb_tree_node_t node;
        vdb_pool_t *pool = (vdb_pool_t *)(void *)rows;
        vdb_t *other = db;
        params.struct_size = options.struct_size = build.struct_size = job.struct_size = wrong[i];
        pool_options.struct_size = report.struct_size = stats.struct_size = node.struct_size = wrong[i];
        source.struct_size = wrong[i];
        SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, rows, DIM, K, &params);
        FAILS(VDB_INVALID_ARGUMENT, vdb_open(path, &options, &other, &error));
        CHECK(other == NULL);
        FAILS(VDB_INVALID_ARGUMENT, vdb_pool_open(&pool_options, &pool, &error));
        CHECK(pool == NULL);
        FAILS(VDB_INVALID_ARGUMENT, vdb_build(path, &source, NULL, NULL, &error));
        source.struct_size = sizeof source;
        FAILS(VDB_INVALID_ARGUMENT, vdb_build(path, &source, &build, NULL, &error));
        FAILS(VDB_INVALID_ARGUMENT, vdb_build(path, &source, NULL, &job, &error));
        build = build_options(VDB_METRIC_L2);
        build.report = &report;
        FAILS(VDB_INVALID_ARGUMENT, vdb_build(path, &source, &build, NULL, &error));
        FAILS(VDB_INVALID_ARGUMENT, vdb_verify(path, &job, NULL, &error));
        FAILS(VDB_INVALID_ARGUMENT, vdb_tree_node(db, 0, 0, &node, &error));
        params = new_params();
        params.stats = &stats;
        SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, rows, DIM, K, &params);
    }
    {
        /* A newer program's parameters: good while what is new in them is zero. */
        struct {
            vdb_search_params_t known;
            uint64_t newer[2];
        } larger;
        uint64_t ids[K];
        memset(&larger, 0, sizeof larger);
        larger.known.struct_size = sizeof larger;
        OK(vdb_search(db, rows, DIM, K, &larger.known, ids, NULL, NULL, &error));
        larger.newer[1] = 1;
        SEARCH_FAILS(VDB_UNSUPPORTED, db, rows, DIM, K, &larger.known);
    }
}

static void nodes(vdb_t *db) {
    vdb_error_t *error = NULL;
    vdb_tree_node_t node;
    float centroid[DIM];
    uint8_t code[64];
    uint64_t members[4];
    memset(&node, 0, sizeof node);
    node.struct_size = sizeof node;
    FAILS(VDB_INVALID_ARGUMENT, vdb_tree_node(db, 0, 0, NULL, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_tree_node(NULL, 0, 0, &node, &error));
    FAILS(VDB_NOT_FOUND, vdb_tree_node(db, UINT32_MAX, 0, &node, &error));
    FAILS(VDB_NOT_FOUND, vdb_tree_node(db, 0, VDB_NODE_NONE, &node, &error));
    node.centroid = centroid;
    FAILS(VDB_INVALID_ARGUMENT, vdb_tree_node(db, 0, 0, &node, &error)); /* centroid_dim 0 */
    node.centroid_dim = DIM;
    node.code = code;
    node.code_bytes = 63;
    FAILS(VDB_INVALID_ARGUMENT, vdb_tree_node(db, 0, 0, &node, &error));
    node.code = NULL;
    node.members = members;
    node.member_capacity = SIZE_MAX; /* more than there are: no more is touched than there are */
    node.member_first = UINT64_MAX;
    OK(vdb_tree_node(db, 0, 0, &node, &error));
    CHECK(node.member_count == 0 && node.rows == ROWS);
}

/* ---- builds ---- */

/* No index is there, or only the one from before. */
static void nothing_opens(const char *path) {
    vdb_t *db = (vdb_t *)(void *)rows;
    vdb_error_t *error = NULL;
    vdb_status_t status = vdb_open(path, NULL, &db, &error);
    CHECK(status == VDB_NOT_FOUND || status == VDB_FORMAT);
    CHECK(db == NULL && strlen(vdb_error_message(error)) > 10);
    vdb_error_free(error);
}

static int32_t stop(void *user, const char *phase, uint64_t done, uint64_t total) {
    (void)phase, (void)done, (void)total;
    return --*(int *)user < 0;
}

static void builds(void) {
    vdb_error_t *error = NULL;
    const char *path = in_work_dir("bad.vdb");
    vdb_source_t source = array_source(rows, ROWS, DIM, NULL), good = source;
    vdb_build_options_t options = build_options(VDB_METRIC_L2);
    vdb_job_t job = new_job();
    vdb_cancel_t token = 1;
    uint64_t *ids = must(malloc(ROWS * sizeof *ids));
    float *bad = must(malloc(ROWS * DIM * sizeof *bad));

    FAILS(VDB_INVALID_ARGUMENT, vdb_build(NULL, &source, NULL, NULL, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_build("", &source, NULL, NULL, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_build(path, NULL, NULL, NULL, &error));
    FAILS(VDB_NOT_FOUND, vdb_build(in_work_dir("no/such/parent"), &source, NULL, NULL, &error));
    source.data = NULL;
    FAILS(VDB_INVALID_ARGUMENT, vdb_build(path, &source, NULL, NULL, &error));
    source = good;
    source.dim = 0;
    FAILS(VDB_INVALID_ARGUMENT, vdb_build(path, &source, NULL, NULL, &error));
    source.dim = 65537;
    FAILS(VDB_INVALID_ARGUMENT, vdb_build(path, &source, NULL, NULL, &error));
    source.dim = SIZE_MAX;
    FAILS(VDB_INVALID_ARGUMENT, vdb_build(path, &source, NULL, NULL, &error));
    source = good;
    source.rows = UINT64_MAX;
    FAILS(VDB_INVALID_ARGUMENT, vdb_build(path, &source, NULL, NULL, &error));
    source = good;
    source.stride_bytes = 4;
    FAILS(VDB_INVALID_ARGUMENT, vdb_build(path, &source, NULL, NULL, &error));
    source.stride_bytes = SIZE_MAX;
    FAILS(VDB_INVALID_ARGUMENT, vdb_build(path, &source, NULL, NULL, &error));
    source = good;
    source.type = 4;
    FAILS(VDB_INVALID_ARGUMENT, vdb_build(path, &source, NULL, NULL, &error));
    source = good;
    source.path = "rows.npy";
    FAILS(VDB_INVALID_ARGUMENT, vdb_build(path, &source, NULL, NULL, &error)); /* array and file */
    source = good;
    source.ids_path = "ids.npy";
    FAILS(VDB_INVALID_ARGUMENT, vdb_build(path, &source, NULL, NULL, &error));
    options.metric = 4;
    FAILS(VDB_INVALID_ARGUMENT, vdb_build(path, &good, &options, NULL, &error));
    options = build_options(VDB_METRIC_L2);
    options.flags = 1u << 20;
    FAILS(VDB_UNSUPPORTED, vdb_build(path, &good, &options, NULL, &error));
    options = build_options(VDB_METRIC_L2);
    options.code_bits = 3;
    FAILS(VDB_INVALID_ARGUMENT, vdb_build(path, &good, &options, NULL, &error));
    options = build_options(VDB_METRIC_L2);
    options.links = 3;
    FAILS(VDB_INVALID_ARGUMENT, vdb_build(path, &good, &options, NULL, &error));

    /* Values and ids. */
    for (int i = 0; i < 2; i++) {
        memcpy(bad, rows, ROWS * DIM * sizeof *bad);
        bad[123 * DIM + 4] = i == 0 ? NAN : -INFINITY;
        source = array_source(bad, ROWS, DIM, NULL);
        CHECK(vdb_build(path, &source, NULL, NULL, &error) == VDB_INVALID_ARGUMENT);
        CHECK(vdb_error_detail(error, VDB_DETAIL_ROW) == 123);
        vdb_error_free(error);
        error = NULL;
    }
    memset(bad + 55 * DIM, 0, DIM * sizeof *bad);
    bad[123 * DIM + 4] = 0;
    options = build_options(VDB_METRIC_COSINE);
    CHECK(vdb_build(path, &source, &options, NULL, &error) == VDB_INVALID_ARGUMENT);
    CHECK(vdb_error_detail(error, VDB_DETAIL_ROW) == 55);
    vdb_error_free(error);
    error = NULL;
    for (size_t row = 0; row < ROWS; row++)
        ids[row] = row + 10;
    ids[77] = ids[12];
    source = array_source(rows, ROWS, DIM, ids);
    FAILS(VDB_INVALID_ARGUMENT, vdb_build(path, &source, NULL, NULL, &error));
    ids[77] = VDB_NO_ID;
    FAILS(VDB_INVALID_ARGUMENT, vdb_build(path, &source, NULL, NULL, &error));
    nothing_opens(path);

    /* Stopped: by the token, by time, by each call of the progress callback. */
    job.cancel = &token;
    FAILS(VDB_CANCELLED, vdb_build(path, &good, NULL, &job, &error));
    job = new_job();
    job.timeout_ns = 1;
    FAILS(VDB_TIMEOUT, vdb_build(path, &good, NULL, &job, &error));
    job = new_job();
    job.progress = stop;
    {
        float *many = make_rows(20000, DIM, 3);
        int cancelled = 0;
        source = array_source(many, 20000, DIM, NULL);
        for (int calls = 0; calls < 50; calls++) {
            int left = calls;
            vdb_status_t status;
            job.progress_user = &left;
            status = vdb_build(path, &source, NULL, &job, NULL);
            if (status == VDB_OK)
                break;
            CHECK(status == VDB_CANCELLED);
            cancelled++;
            nothing_opens(path);
        }
        CHECK(cancelled >= 1);
        free(many);
    }

    /* Too little memory is said before any work. */
    job = new_job();
    job.memory_limit_bytes = 1000;
    CHECK(vdb_build(in_work_dir("small.vdb"), &good, NULL, &job, &error) == VDB_OUT_OF_MEMORY);
    CHECK(vdb_error_detail(error, VDB_DETAIL_NEEDED_BYTES) > 1000);
    vdb_error_free(error);
    error = NULL;
    nothing_opens(in_work_dir("small.vdb"));
    free(bad);
    free(ids);
}

/* ---- indexes that are small or odd ---- */

static void odd_indexes(void) {
    vdb_error_t *error = NULL;
    const char *path = in_work_dir("odd.vdb");
    uint64_t ids[2 * ROWS];
    float distances[2 * ROWS], zero[DIM] = {0}, *equal = must(malloc(ROWS * DIM * sizeof *equal));
    size_t count = 7;
    vdb_t *db = NULL;
    for (vdb_metric_t metric = VDB_METRIC_L2; metric <= VDB_METRIC_COSINE; metric++) {
        vdb_search_params_t exact = new_params();
        exact.flags = VDB_SEARCH_EXACT;
        /* None. */
        if (build_rows(path, NULL, 0, DIM, metric, 0) && OK(vdb_open(path, NULL, &db, &error))) {
            fill(ids, distances, K);
            OK(vdb_search(db, rows, DIM, K, NULL, ids, distances, &count, &error));
            CHECK(count == 0 && blank(ids, distances, K));
            OK(vdb_search(db, rows, DIM, K, &exact, ids, distances, &count, &error));
            OK(vdb_batch_search(db, rows, 3, DIM, K, NULL, ids, distances, NULL, &error));
            CHECK(blank(ids, distances, 3 * K));
            FAILS(VDB_NOT_FOUND, vdb_borrow(db, 0, &(const void *){NULL}, NULL, &error));
            vdb_free(db);
        }
        /* One. */
        if (build_rows(path, rows, 1, DIM, metric, 0) && OK(vdb_open(path, NULL, &db, &error))) {
            OK(vdb_search(db, rows + DIM, DIM, K, NULL, ids, distances, &count, &error));
            CHECK(count == 1 && ids[0] == 0 && blank(ids + 1, distances + 1, K - 1));
            vdb_free(db);
        }
        /* All equal: by id. */
        for (size_t row = 0; row < ROWS; row++)
            memcpy(equal + row * DIM, rows, DIM * sizeof *equal);
        if (build_rows(path, equal, ROWS, DIM, metric, 8) && OK(vdb_open(path, NULL, &db, &error))) {
            OK(vdb_search(db, rows, DIM, K, &exact, ids, distances, &count, &error));
            for (size_t i = 0; i < K; i++)
                CHECK(ids[i] == i && distances[i] == distances[0]);
            OK(vdb_search(db, rows, DIM, 2 * ROWS, NULL, ids, distances, &count, &error));
            CHECK(count == ROWS);
            if (metric == VDB_METRIC_COSINE)
                SEARCH_FAILS(VDB_INVALID_ARGUMENT, db, zero, DIM, K, NULL);
            else
                OK(vdb_search(db, zero, DIM, K, NULL, ids, distances, &count, &error));
            vdb_free(db);
        }
        /* One dimension. */
        if (build_rows(path, rows, ROWS, 1, metric, 0) && OK(vdb_open(path, NULL, &db, &error))) {
            OK(vdb_search(db, rows, 1, K, NULL, ids, distances, &count, &error));
            CHECK(count == K);
            vdb_free(db);
        }
    }
    free(equal);
}

/* ---- files ---- */

static void write_file(const char *path, const void *bytes, size_t count) {
    FILE *file = must(fopen(path, "wb"));
    CHECK(fwrite(bytes, 1, count, file) == count);
    fclose(file);
}

static char *read_file(const char *path, size_t *count) {
    FILE *file = must(fopen(path, "rb"));
    char *bytes;
    fseek(file, 0, SEEK_END);
    *count = (size_t)ftell(file);
    rewind(file);
    bytes = must(malloc(*count + 1));
    CHECK(fread(bytes, 1, *count, file) == *count);
    fclose(file);
    return bytes;
}

static void source_files(void) {
    static const uint32_t lies[] = {0x7fffffff, 65536}, wide[] = {70000, 1}, wild[] = {UINT32_MAX, UINT32_MAX};
    static const char *names[] = {"x.npy", "x.fvecs", "x.bvecs", "x.fbin", "x.u8bin"};
    vdb_error_t *error = NULL;
    const char *path = in_work_dir("files.vdb");
    vdb_source_t source;
    memset(&source, 0, sizeof source);
    source.struct_size = sizeof source;
    source.path = in_work_dir("missing.npy");
    FAILS(VDB_NOT_FOUND, vdb_build(path, &source, NULL, NULL, &error));
    write_file(in_work_dir("rows.txt"), "1 2 3", 5);
    source.path = in_work_dir("rows.txt");
    FAILS(VDB_INVALID_ARGUMENT, vdb_build(path, &source, NULL, NULL, &error));
    for (size_t i = 0; i < 5; i++) {
        const char *name = in_work_dir(names[i]);
        const void *contents[] = {"", "\x93NUMPY", "hello, this is no vector file at all", lies, wide, wild};
        const size_t lengths[] = {0, 6, 36, sizeof lies, sizeof wide, sizeof wild};
        for (size_t j = 0; j < 6; j++) {
            vdb_status_t status;
            write_file(name, contents[j], lengths[j]);
            memset(&source, 0, sizeof source);
            source.struct_size = sizeof source;
            source.path = name;
            status = vdb_build(path, &source, NULL, NULL, &error);
            CHECK(status == VDB_CORRUPT || status == VDB_FORMAT || status == VDB_INVALID_ARGUMENT);
            CHECK(strstr(vdb_error_message(error), names[i]) != NULL); /* the sentence names the file */
            vdb_error_free(error);
            error = NULL;
        }
    }
    nothing_opens(path);
}

static void copy_index(const char *from, const char *to) {
    DIR *dir = must(opendir(from));
    struct dirent *entry;
    mkdir(to, 0700);
    while ((entry = readdir(dir)) != NULL) {
        char a[PATH_ROOM], b[PATH_ROOM], *bytes;
        size_t count;
        if (entry->d_name[0] == '.')
            continue;
        join(a, from, entry->d_name);
        join(b, to, entry->d_name);
        bytes = read_file(a, &count);
        write_file(b, bytes, count);
        free(bytes);
    }
    closedir(dir);
}

/* Opens what was damaged, searches if it opens, verifies; says whether the damage was found, and counts trouble. */
static int damage_is_found(const char *path) {
    vdb_t *db = NULL;
    vdb_error_t *error = NULL;
    vdb_options_t options = new_options();
    uint64_t ids[K], damages = 0;
    int found = 0;
    for (uint32_t flags = 0; flags < 4; flags++) {
        options.flags = flags;
        if (vdb_open(path, &options, &db, &error) == VDB_OK) {
            vdb_status_t status = vdb_search(db, rows, DIM, K, NULL, ids, NULL, NULL, NULL);
            CHECK(status == VDB_OK || status == VDB_CORRUPT || status == VDB_IO);
            vdb_free(db);
        } else {
            CHECK(db == NULL && strlen(vdb_error_message(error)) > 10);
            CHECK(vdb_error_status(error) != VDB_INTERNAL && vdb_error_status(error) != VDB_OUT_OF_MEMORY);
            vdb_error_free(error);
            found = 1;
        }
    }
    if (vdb_verify(path, NULL, &damages, &error) != VDB_OK) {
        CHECK(vdb_error_status(error) != VDB_CORRUPT || damages > 0);
        CHECK(vdb_error_status(error) != VDB_INTERNAL && strlen(vdb_error_message(error)) > 10);
        vdb_error_free(error);
        found = 1;
    }
    return found;
}

static void index_files(const char *good) {
    static const char garbage[5000] = {1, 2, 3};
    vdb_error_t *error = NULL;
    vdb_t *db = NULL;
    const char *copy = in_work_dir("copy.vdb");
    uint64_t seed = 1;
    DIR *dir = must(opendir(good));
    struct dirent *entry;
    FAILS(VDB_INVALID_ARGUMENT, vdb_open(NULL, NULL, &db, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_open("", NULL, &db, &error));
    FAILS(VDB_INVALID_ARGUMENT, vdb_open(good, NULL, NULL, &error));
    FAILS(VDB_NOT_FOUND, vdb_open(in_work_dir("nowhere"), NULL, &db, &error));
    FAILS(VDB_NOT_FOUND, vdb_verify(in_work_dir("nowhere"), NULL, NULL, &error));
    mkdir(in_work_dir("empty"), 0700);
    nothing_opens(in_work_dir("empty"));
    CHECK(vdb_open(in_work_dir("rows.txt"), NULL, &db, &error) != VDB_OK && db == NULL);
    vdb_error_free(error);
    error = NULL;
    while ((entry = readdir(dir)) != NULL) {
        char file[PATH_ROOM], *bytes;
        size_t count;
        if (entry->d_name[0] == '.')
            continue;
        join(file, good, entry->d_name);
        bytes = read_file(file, &count);
        join(file, copy, entry->d_name);
        for (int kind = 0; kind < 40 && count > 0; kind++) {
            size_t at = (size_t)(splitmix(&seed) % count);
            int found;
            remove_all(copy);
            copy_index(good, copy);
            if (kind == 0)
                write_file(file, bytes, 0);
            else if (kind == 1)
                remove(file);
            else if (kind == 2)
                write_file(file, garbage, sizeof garbage);
            else if (kind < 12)
                write_file(file, bytes, at); /* cut short anywhere */
            else if (kind == 12) {
                char *longer = must(calloc(count + 4096, 1));
                memcpy(longer, bytes, count);
                write_file(file, longer, count + 4096);
                free(longer);
            } else {
                bytes[at] ^= (char)(1 << (kind % 8));
                write_file(file, bytes, count);
                bytes[at] ^= (char)(1 << (kind % 8));
            }
            found = damage_is_found(copy);
            if (!found)
                fprintf(stderr, "not found: %s, kind %d, at %zu of %zu\n", entry->d_name, kind, at, count);
            CHECK(found);
        }
        free(bytes);
    }
    closedir(dir);
}

/* A user who may not read, or not write. As root the child becomes nobody first. */
static void permissions(const char *good) {
    const char *closed = in_work_dir("closed.vdb");
    pid_t process;
    int status = -1;
    copy_index(good, closed);
    chmod(work_dir, 0755);
    chmod(closed, 0);
    fflush(NULL);
    process = fork();
    if (process == 0) {
        vdb_error_t *error = NULL;
        vdb_t *db = NULL;
        vdb_source_t source = array_source(rows, ROWS, DIM, NULL);
        checks_failed = 0;
        if (getuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
            _exit(77);
        FAILS(VDB_IO, vdb_open(closed, NULL, &db, &error));
        CHECK(vdb_open(closed, NULL, &db, &error) == VDB_IO);
        CHECK(vdb_error_detail(error, VDB_DETAIL_OS_CODE) == EACCES);
        vdb_error_free(error);
        error = NULL;
        if (getuid() == 65534)
            FAILS(VDB_IO, vdb_build(in_work_dir("new.vdb"), &source, NULL, NULL, &error));
        _exit(checks_failed == 0 ? 0 : 1);
    }
    CHECK(waitpid(process, &status, 0) == process && WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skipped = ", permissions skipped: cannot become another user";
    else
        CHECK(WEXITSTATUS(status) == 0);
    chmod(closed, 0700);
}

/* A file that may not grow stands for a full disk; a small disk is a full disk. */
static void full_disk(const char *good) {
    const char *path = in_work_dir("full.vdb"), *small = getenv("VDB_TEST_SMALL_DISK");
    size_t many = 4000, dim = 256;
    float *big = make_rows(many, dim, 5);
    vdb_source_t source = array_source(big, many, dim, NULL);
    pid_t process;
    int status = -1;
    fflush(NULL);
    process = fork();
    if (process == 0) {
        struct rlimit limit = {200000, 200000};
        vdb_error_t *error = NULL;
        vdb_t *db = NULL;
        checks_failed = 0;
        signal(SIGXFSZ, SIG_IGN); /* the host's business, as the manual of setrlimit says */
        setrlimit(RLIMIT_FSIZE, &limit);
        FAILS(VDB_DISK_FULL, vdb_build(path, &source, NULL, NULL, &error));
        nothing_opens(path);
        limit.rlim_cur = 0;
        setrlimit(RLIMIT_FSIZE, &limit);
        if (OK(vdb_open(good, NULL, &db, &error))) /* opening needs no space */
            vdb_free(db);
        _exit(checks_failed == 0 ? 0 : 1);
    }
    CHECK(waitpid(process, &status, 0) == process && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    if (small != NULL && *small != 0) {
        vdb_error_t *error = NULL;
        vdb_t *db = NULL;
        char there[PATH_ROOM];
        join(there, small, "index.vdb");
        /* An index from before stays, whole. */
        if (build_rows(there, rows, ROWS, DIM, VDB_METRIC_L2, 0)) {
            vdb_build_options_t options = build_options(VDB_METRIC_L2);
            FAILS(VDB_DISK_FULL, vdb_build(there, &source, &options, NULL, &error));
            if (OK(vdb_open(there, NULL, &db, &error))) {
                uint64_t ids[K];
                OK(vdb_search(db, rows, DIM, K, NULL, ids, NULL, NULL, &error));
                CHECK(ids[0] == 0);
                vdb_free(db);
            }
            OK(vdb_verify(there, NULL, NULL, &error));
        }
    } else {
        skipped = ", small disk skipped: needs root";
    }
    free(big);
}

/* ---- silence ---- */

static int real_stdout, real_stderr;

static void catch_output(void) {
    int file = open(in_work_dir("output"), O_RDWR | O_CREAT | O_TRUNC, 0600);
    fflush(NULL);
    real_stdout = dup(1);
    real_stderr = dup(2);
    dup2(file, 1);
    dup2(file, 2);
    close(file);
}

/* Shows what was caught, and puts stdout and stderr back; what the checks said is in it, too. */
static void release_output(void) {
    char *bytes;
    size_t count;
    fflush(NULL);
    dup2(real_stdout, 1);
    dup2(real_stderr, 2);
    bytes = read_file(in_work_dir("output"), &count);
    bytes[count] = 0;
    fputs(bytes, stderr);
    if (checks_failed == 0 && getenv("VDB_TEST_SENTENCES") == NULL)
        CHECK(count == 0);
    free(bytes);
}

int main(void) {
    struct rlimit address_space = {(rlim_t)4 << 30, (rlim_t)4 << 30};
    const char *path;
    vdb_t *db;
    make_work_dir();
    rows = make_rows(ROWS, DIM, 11);
    setrlimit(RLIMIT_AS, &address_space);
    setenv("RUST_BACKTRACE", "1", 1); /* a host's variable, which must not make the library talk */
    catch_output();

    path = in_work_dir("good.vdb");
    path = strcpy(must(malloc(PATH_ROOM)), path);
    build_rows(path, rows, ROWS, DIM, VDB_METRIC_L2, 0);
    db = open_index(path, 1);
    if (db != NULL) {
        searches(db);
        filters_and_tokens(db);
        cursors(db);
        other_calls(db);
        struct_sizes(db, path);
        nodes(db);
        vdb_free(db);
        builds();
        odd_indexes();
        source_files();
        index_files(path);
        permissions(path);
        full_disk(path);
    }

    release_output();
    free((char *)path);
    free(rows);
    printf("%-10s %s, %d checks%s\n", "bad_input", checks_failed == 0 ? "ok" : "FAILED", checks_done, skipped);
    return checks_failed == 0 ? 0 : 1;
}
