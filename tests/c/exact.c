/*
 * Answers against the naive way: exact searches, all leaves with all rows reranked, batches against single searches,
 * cursors; under every metric, with ties, given ids and filters.
 */
#include "check.h"

#define ROWS 2500
#define DIM 24
#define QUERIES 40
#define K 12

/* An answer, however it was asked for. */
typedef struct answer {
    uint64_t ids[K];
    float distances[K];
    size_t count;
} answer;

static answer search(const vdb_t *db, const float *query, const vdb_search_params_t *params) {
    vdb_error_t *error = NULL;
    answer found;
    memset(&found, 0xee, sizeof found);
    OK(vdb_search(db, query, DIM, K, params, found.ids, found.distances, &found.count, &error));
    return found;
}

static int same(const answer *a, const answer *b) {
    return a->count == b->count && memcmp(a->ids, b->ids, sizeof a->ids) == 0 &&
           memcmp(a->distances, b->distances, sizeof a->distances) == 0;
}

/* Where whole numbers make all sums exact, ids and bits must be the naive ones; else ranks may swap when as near as
 * rounding is wide. */
static void against_naive(const answer *found, const hit *hits, int whole) {
    CHECK(found->count == K);
    for (size_t i = 0; i < K; i++) {
        if (whole) {
            CHECK(found->ids[i] == hits[i].id);
            CHECK(found->distances[i] == hits[i].distance);
        } else {
            CHECK(fabsf(found->distances[i] - hits[i].distance) <= 1e-5f * (1 + fabsf(hits[i].distance)));
        }
    }
}

static void one_set(const char *name, vdb_metric_t metric, const float *rows, const float *queries,
                    const uint64_t *ids, int whole) {
    vdb_error_t *error = NULL;
    vdb_t *db = NULL;
    const char *path = in_work_dir(name);
    vdb_source_t source = array_source(rows, ROWS, DIM, ids);
    vdb_build_options_t options = build_options(metric);
    vdb_search_params_t exact = new_params(), all = new_params(), some = new_params();
    answer *single = must(malloc(QUERIES * sizeof *single));
    uint64_t *batch_ids = must(malloc(QUERIES * K * sizeof *batch_ids));
    float *batch_distances = must(malloc(QUERIES * K * sizeof *batch_distances));
    size_t counts[QUERIES], good = 0;
    exact.flags = VDB_SEARCH_EXACT | VDB_SEARCH_NO_CACHE;
    all.probes = UINT32_MAX;
    all.rerank = UINT32_MAX;
    all.flags = VDB_SEARCH_NO_CACHE;
    some.flags = VDB_SEARCH_NO_CACHE;
    options.leaf_rows = 30;
    if (!OK(vdb_build(path, &source, &options, NULL, &error)) || !OK(vdb_open(path, NULL, &db, &error)))
        return;

    for (size_t query = 0; query < QUERIES; query++) {
        const float *vector = queries + query * DIM;
        hit *hits = naive_search(metric, rows, ids, ROWS, DIM, vector);
        answer true_answer = search(db, vector, &exact), everything = search(db, vector, &all);
        against_naive(&true_answer, hits, whole);
        CHECK(same(&true_answer, &everything));
        single[query] = search(db, vector, &some);
        for (size_t i = 0; i < K; i++)
            for (size_t j = 0; j < K; j++)
                good += single[query].ids[i] == true_answer.ids[j];
        free(hits);
    }
    CHECK(good >= QUERIES * K * 90 / 100); /* the default aims at 0.95 of the first ten */

    /* Batches of the same, on one thread and on several, bit for bit. */
    for (uint32_t threads = 0; threads < 4; threads++) {
        some.threads = threads;
        memset(batch_ids, 0xee, QUERIES * K * sizeof *batch_ids);
        memset(batch_distances, 0xee, QUERIES * K * sizeof *batch_distances);
        OK(vdb_batch_search(db, queries, QUERIES, DIM, K, &some, batch_ids, batch_distances, counts, &error));
        for (size_t query = 0; query < QUERIES; query++) {
            answer found;
            memcpy(found.ids, batch_ids + query * K, sizeof found.ids);
            memcpy(found.distances, batch_distances + query * K, sizeof found.distances);
            found.count = counts[query];
            CHECK(same(&found, &single[query]));
        }
        if (threads > 0) {
            answer found = search(db, queries, &some);
            CHECK(same(&found, &single[0]));
        }
    }

    vdb_free(db);
    free(batch_distances);
    free(batch_ids);
    free(single);
}

/* A cursor gives every row once, in order; an exact one in the order of the naive answer. */
static void cursors(const float *rows, const float *query, const uint64_t *row_ids) {
    vdb_error_t *error = NULL;
    vdb_t *db = NULL;
    vdb_source_t source = array_source(rows, ROWS, DIM, row_ids);
    vdb_build_options_t options = build_options(VDB_METRIC_L2);
    const char *path = in_work_dir("cursor.vdb");
    hit *hits = naive_search(VDB_METRIC_L2, rows, row_ids, ROWS, DIM, query);
    if (!OK(vdb_build(path, &source, &options, NULL, &error)) || !OK(vdb_open(path, NULL, &db, &error)))
        return;
    for (int exact = 0; exact < 2; exact++) {
        static const size_t portions[] = {1, 7, 50, 333, 4};
        vdb_cursor_t *cursor = NULL;
        vdb_search_params_t params = new_params();
        uint8_t *seen = must(calloc(ROWS, 1));
        uint64_t ids[333];
        float distances[333], last = -1;
        uint64_t last_id = 0;
        size_t total = 0, count = 1;
        params.flags = exact ? VDB_SEARCH_EXACT : 0;
        if (!OK(vdb_cursor_open(db, query, DIM, &params, &cursor, &error)))
            return;
        for (size_t call = 0; count > 0; call++) {
            size_t portion = portions[call % 5];
            if (!OK(vdb_cursor_next(cursor, portion, ids, distances, &count, &error)))
                break;
            CHECK(count <= portion);
            for (size_t i = 0; i < count; i++) {
                size_t row = (size_t)((ids[i] - row_ids[0]) / 7);
                CHECK(row < ROWS && !seen[row]);
                seen[row < ROWS ? row : 0] = 1;
                CHECK(distances[i] > last || (distances[i] == last && ids[i] > last_id) || total + i == 0);
                last = distances[i];
                last_id = ids[i];
                if (exact)
                    CHECK(ids[i] == hits[total + i].id && distances[i] == hits[total + i].distance);
            }
            for (size_t i = count; i < portion; i++)
                CHECK(ids[i] == VDB_NO_ID && distances[i] == INFINITY);
            total += count;
        }
        CHECK(total <= ROWS && total >= (exact ? ROWS : ROWS * 9 / 10));
        vdb_cursor_free(cursor);
        free(seen);
    }
    {
        /* The filter is the cursor's own: the caller's may go. */
        vdb_cursor_t *cursor = NULL;
        vdb_search_params_t params = new_params();
        vdb_filter_t filter;
        uint64_t named[30], ids[50];
        size_t count = 0;
        memset(&filter, 0, sizeof filter);
        filter.struct_size = sizeof filter;
        filter.kind = VDB_FILTER_IDS;
        filter.values = named;
        filter.value_count = 30;
        params.filter = &filter;
        for (size_t i = 0; i < 30; i++)
            named[i] = row_ids[i * 50];
        OK(vdb_cursor_open(db, query, DIM, &params, &cursor, &error));
        memset(named, 0, sizeof named);
        OK(vdb_cursor_next(cursor, 50, ids, NULL, &count, &error));
        CHECK(count == 30);
        vdb_free(db); /* a cursor may stay longer than its handle */
        OK(vdb_cursor_next(cursor, 50, ids, NULL, &count, &error));
        CHECK(count == 0);
        vdb_cursor_free(cursor);
    }
    free(hits);
}

int main(void) {
    float *rows = make_rows(ROWS, DIM, 1), *queries = make_rows(QUERIES, DIM, 2);
    float *whole_rows = make_whole_rows(ROWS, DIM, 3), *whole_queries = make_whole_rows(QUERIES, DIM, 4);
    uint64_t *ids = must(malloc(ROWS * sizeof *ids));
    make_work_dir();
    for (size_t row = 0; row < ROWS; row++)
        ids[row] = (UINT64_C(1) << 40) + 7 * row;
    /* Queries near rows, as real ones are. */
    for (size_t i = 0; i < QUERIES * DIM; i++)
        queries[i] = rows[i / DIM * 3 * DIM + i % DIM] + 0.1f * queries[i];
    one_set("l2", VDB_METRIC_L2, rows, queries, NULL, 0);
    one_set("ip", VDB_METRIC_IP, rows, queries, ids, 0);
    one_set("cosine", VDB_METRIC_COSINE, rows, queries, NULL, 0);
    one_set("whole-l2", VDB_METRIC_L2, whole_rows, whole_queries, ids, 1);
    one_set("whole-ip", VDB_METRIC_IP, whole_rows, whole_queries, NULL, 1);
    cursors(whole_rows, whole_queries, ids);
    free(ids);
    free(whole_queries);
    free(whole_rows);
    free(queries);
    free(rows);
    return finish("exact");
}
