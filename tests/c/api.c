/*
 * Everything once, as it is meant to be used.
 */
#include "check.h"

#define ROWS 3000
#define DIM 48
#define K 10

static float *rows;
static uint64_t ids_of_rows[ROWS];

/* ---- what callbacks see ---- */

typedef struct watch {
    int lines, last_level;
    int steps;
    vdb_status_t inner; /* what a call from within gave */
    vdb_t *db;
} watch;

static void on_log(void *user, vdb_log_level_t level, const char *message) {
    watch *seen = user;
    seen->lines++;
    seen->last_level = (int)level;
    CHECK(message != NULL && strchr(message, '\n') == NULL);
}

static int32_t on_progress(void *user, const char *phase, uint64_t done, uint64_t total) {
    watch *seen = user;
    seen->steps++;
    CHECK(phase != NULL && *phase != 0);
    CHECK(done <= total);
    if (seen->db != NULL) {
        vdb_info_t info;
        memset(&info, 0, sizeof info);
        info.struct_size = sizeof info;
        seen->inner = vdb_info(seen->db, &info, NULL);
    }
    return 0;
}

/* ---- parts ---- */

static void versions(void) {
    CHECK(vdb_version() == VDB_VERSION);
    CHECK(strlen(vdb_build_info()) > 5);
    CHECK(strcmp(vdb_status_name(VDB_CORRUPT), "VDB_CORRUPT") == 0);
    CHECK(strcmp(vdb_status_name(12345), "VDB_UNKNOWN") == 0);
    CHECK(strcmp(vdb_error_message(NULL), "") == 0);
    CHECK(vdb_error_status(NULL) == VDB_OK && vdb_error_detail(NULL, VDB_DETAIL_ROW) == -1);
    vdb_error_free(NULL);
    vdb_free(NULL);
    vdb_pool_free(NULL);
    vdb_cursor_free(NULL);
    vdb_cancel(NULL);
}

static void building(const char *path) {
    vdb_error_t *error = NULL;
    vdb_source_t source = array_source(rows, ROWS, DIM, ids_of_rows);
    vdb_build_options_t options = build_options(VDB_METRIC_L2);
    vdb_build_report_t report;
    vdb_estimate_t estimate;
    vdb_job_t job = new_job();
    watch seen = {0, 0, 0, 0, NULL};
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    memset(&estimate, 0, sizeof estimate);
    estimate.struct_size = sizeof estimate;
    options.report = &report;
    options.leaf_rows = 40;
    options.seed = 7;
    job.progress = on_progress;
    job.progress_user = &seen;
    job.log = on_log;
    job.log_user = &seen;
    job.log_level = VDB_LOG_DEBUG;
    job.threads = 2;
    if (OK(vdb_estimate(&source, &options, &estimate, &error))) {
        CHECK(estimate.struct_size == sizeof estimate);
        CHECK(estimate.build_memory_bytes > 0 && estimate.build_memory_best_bytes >= estimate.build_memory_bytes);
        CHECK(estimate.index_disk_bytes >= ROWS * DIM * 4);
        CHECK(estimate.build_disk_bytes >= estimate.index_disk_bytes);
        CHECK(estimate.open_memory_bytes > 0);
    }
    if (OK(vdb_build(path, &source, &options, &job, &error))) {
        uint64_t total = 0;
        CHECK(seen.steps > 0);
        CHECK(report.rows == ROWS && report.disk_bytes >= ROWS * DIM * 4);
        CHECK(report.phase_count > 0 && report.phase_count <= VDB_PHASES_MAX);
        for (uint64_t i = 0; i < report.phase_count; i++) {
            CHECK(strlen(report.phases[i].name) > 0);
            total += report.phases[i].ns;
        }
        CHECK(total > 0);
    }
    /* Links must be made, and memory has no room: nothing is begun. */
    options.flags = VDB_BUILD_REPLACE;
    options.links = VDB_LINKS_ON;
    if (OK(vdb_estimate(&source, &options, &estimate, &error))) {
        job.memory_limit_bytes = estimate.build_memory_bytes - 1;
        CHECK(vdb_build(path, &source, &options, &job, &error) == VDB_OUT_OF_MEMORY);
        CHECK(vdb_error_detail(error, VDB_DETAIL_NEEDED_BYTES) == (int64_t)estimate.build_memory_bytes);
        vdb_error_free(error);
        error = NULL;
    }
    options.links = VDB_LINKS_AUTO;
    options.flags = 0;
    options.report = NULL;
    FAILS(VDB_EXISTS, vdb_build(path, &source, &options, NULL, &error));
}

static void searching(const vdb_t *db) {
    vdb_error_t *error = NULL;
    uint64_t ids[K];
    float distances[K];
    size_t count = 77;
    vdb_search_stats_t stats;
    vdb_search_params_t params = new_params(), all = all_leaves();
    memset(&stats, 0, sizeof stats);
    stats.struct_size = sizeof stats;
    params.recall = 0.99f;
    params.stats = &stats;

    if (OK(vdb_search(db, rows, DIM, K, &all, ids, distances, &count, &error))) {
        CHECK(count == K && ids[0] == ids_of_rows[0] && distances[0] == 0.0f);
        for (size_t i = 1; i < K; i++)
            CHECK(distances[i - 1] < distances[i] || (distances[i - 1] == distances[i] && ids[i - 1] < ids[i]));
    }
    CHECK(vdb_search(db, rows, DIM, K, NULL, ids, NULL, NULL, NULL) == VDB_OK);
    if (OK(vdb_search(db, rows, DIM, K, &params, ids, distances, &count, &error))) {
        CHECK(stats.struct_size == sizeof stats);
        CHECK(stats.rows_reranked > 0 && stats.probes > 0 && stats.leaves_scanned > 0 && stats.codes_scanned > 0);
        CHECK(stats.codes_walked < stats.codes_scanned);
        CHECK(stats.generation > 0);
    }
    params.flags = VDB_SEARCH_MAX_DISTANCE | VDB_SEARCH_NO_CACHE;
    params.max_distance = distances[4];
    if (OK(vdb_search(db, rows, DIM, K, &params, ids, distances, &count, &error))) {
        CHECK(count >= 5 && count < K && distances[count - 1] <= params.max_distance);
        for (size_t i = count; i < K; i++)
            CHECK(ids[i] == VDB_NO_ID && distances[i] == INFINITY);
    }
    /* The beginning of the struct that the first programs knew is enough for ever. */
    params = new_params();
    params.struct_size = offsetof(vdb_search_params_t, timeout_ns) + sizeof params.timeout_ns;
    params.stats = (vdb_search_stats_t *)(uintptr_t)8;
    OK(vdb_search(db, rows, DIM, K, &params, ids, distances, &count, &error));
    CHECK(count == K);
}

static void filtering(const vdb_t *db) {
    vdb_error_t *error = NULL;
    uint64_t ids[ROWS], named[64];
    float distances[ROWS];
    uint64_t words[(ROWS * 3 + 64) / 64];
    size_t count = 0;
    vdb_filter_t filter;
    vdb_search_params_t params = new_params();
    memset(&filter, 0, sizeof filter);
    filter.struct_size = sizeof filter;
    params.filter = &filter;

    for (size_t i = 0; i < 64; i++)
        named[i] = ids_of_rows[i * 40];
    filter.kind = VDB_FILTER_IDS;
    filter.values = named;
    filter.value_count = 64;
    if (OK(vdb_search(db, rows, DIM, 64, &params, ids, distances, &count, &error))) {
        CHECK(count == 64);
        for (size_t i = 0; i < count; i++)
            CHECK((ids[i] - ids_of_rows[0]) % (40 * 3) == 0);
    }
    filter.exclude = 1;
    if (OK(vdb_search(db, rows, DIM, 20, &params, ids, distances, &count, &error))) {
        CHECK(count == 20);
        for (size_t i = 0; i < count; i++)
            CHECK((ids[i] - ids_of_rows[0]) % (40 * 3) != 0);
    }
    /* No names: nothing is admitted, and all but nothing is all. */
    filter.values = NULL;
    filter.value_count = 0;
    if (OK(vdb_search(db, rows, DIM, 20, &params, ids, distances, &count, &error)))
        CHECK(count == 20);
    filter.exclude = 0;
    if (OK(vdb_search(db, rows, DIM, 20, &params, ids, distances, &count, &error)))
        CHECK(count == 0 && ids[0] == VDB_NO_ID && distances[0] == INFINITY);

    memset(words, 0, sizeof words);
    for (size_t row = 0; row < ROWS; row += 2)
        words[row * 3 / 64] |= (uint64_t)1 << (row * 3 % 64);
    filter.kind = VDB_FILTER_BITMAP;
    filter.values = words;
    filter.value_count = sizeof words / sizeof words[0];
    filter.first_id = ids_of_rows[0];
    if (OK(vdb_search(db, rows, DIM, 50, &params, ids, distances, &count, &error))) {
        CHECK(count == 50);
        for (size_t i = 0; i < count; i++)
            CHECK((ids[i] - ids_of_rows[0]) / 3 % 2 == 0);
    }
}

static void batching(const vdb_t *db) {
    vdb_error_t *error = NULL;
    uint64_t ids[20 * K];
    float distances[20 * K];
    size_t counts[20];
    vdb_search_params_t all = all_leaves();
    if (OK(vdb_batch_search(db, rows, 20, DIM, K, &all, ids, distances, counts, &error))) {
        for (size_t query = 0; query < 20; query++)
            CHECK(counts[query] == K && ids[query * K] == ids_of_rows[query] && distances[query * K] == 0.0f);
    }
    OK(vdb_batch_search(db, rows, 20, DIM, K, NULL, ids, NULL, NULL, &error));
    OK(vdb_batch_search(db, NULL, 0, DIM, K, NULL, NULL, NULL, NULL, &error));
}

static void walking_on(const vdb_t *db) {
    vdb_error_t *error = NULL;
    vdb_cursor_t *cursor = NULL;
    uint64_t ids[7];
    float distances[7], last = -1;
    size_t count = 0, total = 0;
    if (!OK(vdb_cursor_open(db, rows, DIM, NULL, &cursor, &error)))
        return;
    while (total < 300 && OK(vdb_cursor_next(cursor, 7, ids, distances, &count, &error)) && count > 0) {
        for (size_t i = 0; i < count; i++) {
            CHECK(distances[i] >= last);
            last = distances[i];
        }
        total += count;
    }
    CHECK(total >= 300);
    vdb_cursor_free(cursor);
}

static void vectors_and_codes(const vdb_t *db, uint32_t code_bytes) {
    vdb_error_t *error = NULL;
    uint64_t wanted[3] = {ids_of_rows[5], 4, ids_of_rows[2999]}; /* 4 is no id */
    uint64_t leaf = 0;
    uint32_t segment = 9;
    float out[3 * DIM];
    uint8_t found[3], *code = must(calloc(2, code_bytes)), *other = code + code_bytes;
    const void *place = NULL;
    vdb_type_t type = 0;
    float *copied = must(malloc(sizeof(float) * DIM));

    if (OK(vdb_get(db, wanted, 3, DIM, out, found, &error))) {
        CHECK(found[0] == 1 && found[1] == 0 && found[2] == 1);
        CHECK(memcmp(out, rows + 5 * DIM, sizeof(float) * DIM) == 0);
        CHECK(memcmp(out + 2 * DIM, rows + 2999 * DIM, sizeof(float) * DIM) == 0);
        for (size_t i = 0; i < DIM; i++)
            CHECK(out[DIM + i] == 0.0f);
    }
    CHECK(vdb_get(db, wanted, 3, DIM, out, NULL, &error) == VDB_NOT_FOUND);
    CHECK(vdb_error_detail(error, VDB_DETAIL_ROW) == 1);
    vdb_error_free(error);
    error = NULL;
    if (OK(vdb_borrow(db, wanted[0], &place, &type, &error))) {
        CHECK(type == VDB_TYPE_F32 && (uintptr_t)place % 4 == 0);
        memcpy(copied, place, sizeof(float) * DIM);
        CHECK(memcmp(copied, rows + 5 * DIM, sizeof(float) * DIM) == 0);
    }
    FAILS(VDB_NOT_FOUND, vdb_borrow(db, 4, &place, &type, &error));
    CHECK(place == NULL && type == 0);

    if (OK(vdb_code(db, wanted[0], code, code_bytes, &segment, &leaf, &error))) {
        vdb_tree_node_t node;
        memset(&node, 0, sizeof node);
        node.struct_size = sizeof node;
        CHECK(segment == 0);
        /* Rows are encoded from the centroid of their leaf's parent. */
        OK(vdb_tree_node(db, segment, leaf, &node, &error));
        CHECK(node.children == 0 && node.parent != VDB_NODE_NONE);
        OK(vdb_encode(db, rows + 5 * DIM, DIM, segment, node.parent, other, code_bytes, &error));
        CHECK(vdb_hamming(code, other, code_bytes) == 0);
        OK(vdb_encode(db, rows + 5 * DIM, DIM, 0, VDB_NODE_NONE, other, code_bytes, &error));
        CHECK(vdb_hamming(code, other, code_bytes) <= 8 * (uint64_t)code_bytes);
    }
    CHECK(vdb_code(db, wanted[0], code, code_bytes, NULL, NULL, NULL) == VDB_OK);
    FAILS(VDB_NOT_FOUND, vdb_code(db, 4, code, code_bytes, &segment, &leaf, &error));
    CHECK(leaf == VDB_NODE_NONE);
    CHECK(vdb_hamming((const uint8_t *)"\x0f\xff", (const uint8_t *)"\xf0\xfe", 2) == 9);
    CHECK(vdb_hamming(NULL, NULL, 0) == 0);
    free(copied);
    free(code);
}

/* Adds up what is below a node, and returns the rows. */
static uint64_t below(const vdb_t *db, uint64_t index, uint32_t level, uint64_t *leaves) {
    vdb_error_t *error = NULL;
    vdb_tree_node_t node;
    uint64_t total = 0;
    memset(&node, 0, sizeof node);
    node.struct_size = sizeof node;
    if (!OK(vdb_tree_node(db, 0, index, &node, &error)))
        return 0;
    CHECK(node.level == level);
    for (uint64_t child = 0; child < node.children; child++)
        total += below(db, node.first_child + child, level + 1, leaves);
    if (node.children == 0) {
        (*leaves)++;
        return node.rows;
    }
    CHECK(total == node.rows);
    return total;
}

static void looking_inside(const vdb_t *db) {
    vdb_error_t *error = NULL;
    vdb_info_t info;
    vdb_stats_t stats;
    vdb_memory_t memory;
    vdb_segment_t segment;
    vdb_tree_node_t node;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    memset(&stats, 0, sizeof stats);
    stats.struct_size = sizeof stats;
    memset(&memory, 0, sizeof memory);
    memory.struct_size = sizeof memory;
    memset(&segment, 0, sizeof segment);
    segment.struct_size = sizeof segment;
    memset(&node, 0, sizeof node);
    node.struct_size = sizeof node;

    if (!OK(vdb_info(db, &info, &error)))
        return;
    CHECK(info.struct_size == sizeof info && info.generation > 0 && info.rows == ROWS && info.dim == DIM);
    CHECK(info.metric == VDB_METRIC_L2 && info.type == VDB_TYPE_F32 && info.segments == 1 && info.mapped == 1);
    CHECK(info.links == 1 && info.reserved == 0);
    CHECK(info.code_bytes >= DIM / 8 && info.code_bits >= 1 && info.disk_bytes >= ROWS * DIM * 4);
    vectors_and_codes(db, info.code_bytes);

    if (OK(vdb_stats(db, &stats, &error))) {
        vdb_stats_t after = stats;
        vdb_search_params_t late = new_params();
        float query[2 * DIM] = {0};
        uint64_t ids[2];
        late.timeout_ns = 1;
        FAILS(VDB_TIMEOUT, vdb_search(db, query, DIM, 1, &late, ids, NULL, NULL, &error));
        FAILS(VDB_TIMEOUT, vdb_batch_search(db, query, 2, DIM, 1, &late, ids, NULL, NULL, &error));
        FAILS(VDB_INVALID_ARGUMENT, vdb_search(db, query, DIM + 1, 1, NULL, ids, NULL, NULL, &error));
        OK(vdb_stats(db, &after, &error));
        CHECK(after.searches == stats.searches + 1 && after.batches == stats.batches + 1);
        CHECK(after.batch_queries == stats.batch_queries + 2 && after.errors == stats.errors + 2);
        CHECK(after.timeouts == stats.timeouts + 2 && after.rows_reranked == stats.rows_reranked);
        CHECK(stats.searches > 5 && stats.batches >= 2 && stats.batch_queries >= 40);
        CHECK(stats.rows_reranked > 0 && stats.search_ns > 0 && stats.codes_scanned > 0);
        CHECK(stats.codes_walked > 0 && stats.codes_walked < stats.codes_scanned);
    }
    if (OK(vdb_memory(db, &memory, &error))) {
        CHECK(memory.link_bytes >= 128 * (uint64_t)ROWS && memory.link_bytes <= 130 * (uint64_t)ROWS);
        CHECK(memory.limit_bytes > 0 && memory.code_bytes >= (uint64_t)ROWS * info.code_bytes);
        CHECK(memory.total_bytes == memory.tree_bytes + memory.code_bytes + memory.id_bytes + memory.link_bytes +
                                        memory.second_tier_bytes + memory.vector_cache_bytes +
                                        memory.answer_cache_bytes + memory.scratch_bytes + memory.other_bytes);
        CHECK(memory.peak_bytes >= memory.total_bytes && memory.mapped_bytes >= ROWS * DIM * 4);
    }
    if (OK(vdb_segment(db, 0, &segment, &error))) {
        uint64_t nodes = 0, leaves = 0;
        CHECK(segment.rows == ROWS && segment.leaves > 1 && segment.nodes > segment.leaves && segment.levels >= 2);
        for (uint32_t level = 0; level < segment.levels; level++)
            nodes += segment.level_nodes[level];
        CHECK(nodes == segment.nodes && segment.level_nodes[0] == 1);
        CHECK(segment.leaf_rows_min <= segment.leaf_rows_median);
        CHECK(segment.leaf_rows_median <= segment.leaf_rows_max);
        CHECK(segment.vector_bytes >= ROWS * DIM * 4 && segment.file_bytes > segment.vector_bytes);
        CHECK(segment.effort_count > 0 && segment.efforts[0].probes >= 1 && segment.walks[0] >= 1);
        CHECK(segment.link_bytes == 128 * (uint64_t)ROWS);
        CHECK(below(db, 0, 0, &leaves) == ROWS && leaves == segment.leaves);
    }
    FAILS(VDB_NOT_FOUND, vdb_segment(db, 1, &segment, &error));
    CHECK(segment.rows == 0 && segment.struct_size == sizeof segment);

    {
        float centroid[DIM], mean[DIM];
        uint64_t *members = must(malloc(ROWS * sizeof *members)), seen = 0, checksum = 0;
        uint8_t *code = must(malloc(info.code_bytes));
        memset(mean, 0, sizeof mean);
        for (size_t row = 0; row < ROWS; row++)
            for (size_t i = 0; i < DIM; i++)
                mean[i] += rows[row * DIM + i] / ROWS;
        node.centroid = centroid;
        node.centroid_dim = DIM;
        node.code = code;
        node.code_bytes = info.code_bytes;
        node.members = members;
        node.member_capacity = 1000;
        while (OK(vdb_tree_node(db, 0, 0, &node, &error)) && node.member_count > 0) {
            for (uint64_t i = 0; i < node.member_count; i++)
                checksum += members[i];
            seen += node.member_count;
            node.member_first = seen;
        }
        CHECK(node.parent == VDB_NODE_NONE && node.rows == ROWS && seen == ROWS);
        for (size_t row = 0; row < ROWS; row++)
            checksum -= ids_of_rows[row];
        CHECK(checksum == 0);
        for (size_t i = 0; i < DIM; i++)
            CHECK(fabsf(centroid[i] - mean[i]) < 0.1f);
        free(code);
        free(members);
    }
    FAILS(VDB_NOT_FOUND, vdb_tree_node(db, 0, UINT64_MAX - 1, &node, &error));
    FAILS(VDB_NOT_FOUND, vdb_tree_node(db, 1, 0, &node, &error));
}

static void caches(vdb_t *db) {
    vdb_error_t *error = NULL;
    vdb_cache_info_t before, after;
    uint64_t ids[K], again[K];
    memset(&before, 0, sizeof before);
    before.struct_size = sizeof before;
    after = before;
    OK(vdb_cache_resize(db, VDB_CACHE_ANSWERS, 1 << 20, &error));
    OK(vdb_cache_clear(db, VDB_CACHE_ANSWERS, &error));
    OK(vdb_cache_info(db, VDB_CACHE_ANSWERS, &before, &error));
    CHECK(before.capacity_bytes == 1 << 20 && before.entries == 0);
    OK(vdb_search(db, rows + 90 * DIM, DIM, K, NULL, ids, NULL, NULL, &error));
    OK(vdb_search(db, rows + 90 * DIM, DIM, K, NULL, again, NULL, NULL, &error));
    CHECK(memcmp(ids, again, sizeof ids) == 0);
    OK(vdb_cache_info(db, VDB_CACHE_ANSWERS, &after, &error));
    CHECK(after.hits == before.hits + 1 && after.entries == 1 && after.used_bytes > 0);
    OK(vdb_cache_resize(db, VDB_CACHE_ANSWERS, VDB_CACHE_OFF, &error));
    OK(vdb_search(db, rows + 90 * DIM, DIM, K, NULL, again, NULL, NULL, &error));
    CHECK(memcmp(ids, again, sizeof ids) == 0);
    OK(vdb_cache_info(db, VDB_CACHE_ANSWERS, &after, &error));
    CHECK(after.capacity_bytes == 0 && after.entries == 0);
    OK(vdb_cache_info(db, VDB_CACHE_VECTORS, &after, &error));
    OK(vdb_cache_clear(db, VDB_CACHE_VECTORS, &error));
}

static void caring(vdb_t *db, const char *path) {
    vdb_error_t *error = NULL;
    vdb_job_t job = new_job();
    watch seen = {0, 0, 0, 0, NULL};
    uint64_t damages = 9;
    uint32_t all = VDB_PART_TREE | VDB_PART_CODES | VDB_PART_VECTORS;
    for (vdb_advice_t advice = VDB_ADVICE_WARM; advice <= VDB_ADVICE_SCAN; advice++)
        OK(vdb_advise(db, all, advice, NULL, &error));
    /* A progress callback that calls back in is refused, and the work goes on. */
    seen.db = db;
    seen.inner = VDB_OK;
    job.progress = on_progress;
    job.progress_user = &seen;
    OK(vdb_verify(path, &job, &damages, &error));
    CHECK(damages == 0);
    if (seen.steps > 0)
        CHECK(seen.inner == VDB_MISUSE);
    OK(vdb_verify(path, NULL, NULL, &error));
}

static void handle_options(const char *path) {
    vdb_error_t *error = NULL;
    vdb_pool_options_t pool_options;
    vdb_pool_t *pool = NULL;
    vdb_t *first = NULL, *second = NULL;
    vdb_options_t options = new_options();
    watch seen = {0, 0, 0, 0, NULL};
    uint64_t ids[20 * K];
    memset(&pool_options, 0, sizeof pool_options);
    pool_options.struct_size = sizeof pool_options;
    pool_options.threads = 3;
    if (!OK(vdb_pool_open(&pool_options, &pool, &error)))
        return;
    options.pool = pool;
    options.flags = VDB_OPEN_NO_MMAP | VDB_OPEN_CHECK;
    options.log = on_log;
    options.log_user = &seen;
    options.log_level = VDB_LOG_DEBUG;
    options.vector_cache_bytes = 1 << 20;
    options.answer_cache_bytes = VDB_CACHE_OFF;
    OK(vdb_open(path, &options, &first, &error));
    options.flags = 0;
    OK(vdb_open(path, &options, &second, &error));
    vdb_pool_free(pool); /* the handles keep their shares */
    OK(vdb_batch_search(first, rows, 20, DIM, K, NULL, ids, NULL, NULL, &error));
    OK(vdb_batch_search(second, rows, 20, DIM, K, NULL, ids, NULL, NULL, &error));
    {
        const void *place = &seen;
        vdb_cache_info_t cache;
        FAILS(VDB_UNSUPPORTED, vdb_borrow(first, ids[0], &place, NULL, &error));
        CHECK(place == NULL);
        memset(&cache, 0, sizeof cache);
        cache.struct_size = sizeof cache;
        OK(vdb_cache_info(first, VDB_CACHE_VECTORS, &cache, &error));
        CHECK(cache.capacity_bytes == 1 << 20 && cache.hits + cache.misses > 0);
    }
    vdb_free(first);
    vdb_free(second);
    CHECK(vdb_pool_open(NULL, &pool, NULL) == VDB_OK);
    vdb_pool_free(pool);
}

/* Files in, as NumPy and the fbin tools write them. */
static void from_files(void) {
    vdb_error_t *error = NULL;
    vdb_source_t source;
    vdb_estimate_t estimate;
    vdb_t *db = NULL;
    vdb_search_params_t all = all_leaves();
    uint64_t ids[K];
    uint32_t head[2] = {ROWS, DIM};
    const char *path = in_work_dir("file.vdb"), *vectors = in_work_dir("rows.fbin"), *names = in_work_dir("ids.u64bin");
    FILE *file = must(fopen(vectors, "wb"));
    CHECK(fwrite(head, sizeof head, 1, file) == 1 && fwrite(rows, sizeof(float) * DIM, ROWS, file) == ROWS);
    fclose(file);
    file = must(fopen(names, "wb"));
    CHECK(fwrite(ids_of_rows, sizeof ids_of_rows, 1, file) == 1);
    fclose(file);

    memset(&source, 0, sizeof source);
    source.struct_size = sizeof source;
    source.path = vectors;
    source.ids_path = names;
    memset(&estimate, 0, sizeof estimate);
    estimate.struct_size = sizeof estimate;
    OK(vdb_estimate(&source, NULL, &estimate, &error));
    CHECK(estimate.index_disk_bytes >= ROWS * DIM * 4);
    if (!OK(vdb_build(path, &source, NULL, NULL, &error)) || !OK(vdb_open(path, NULL, &db, &error)))
        return;
    OK(vdb_search(db, rows + 11 * DIM, DIM, K, &all, ids, NULL, NULL, &error));
    CHECK(ids[0] == ids_of_rows[11]);
    vdb_free(db);
}

/* Bytes and half floats, rows apart from each other, at an odd address. */
static void other_types(void) {
    vdb_error_t *error = NULL;
    vdb_source_t source = array_source(NULL, 500, 16, NULL);
    uint8_t *bytes = must(malloc(500 * 21 + 1));
    uint64_t seed = 5, ids[K];
    float query[16];
    vdb_search_params_t all = all_leaves();
    const char *path = in_work_dir("bytes.vdb");
    vdb_t *db = NULL;
    for (size_t i = 0; i < 500 * 21 + 1; i++)
        bytes[i] = (uint8_t)splitmix(&seed);
    source.data = bytes + 1;
    source.stride_bytes = 21;
    source.type = VDB_TYPE_U8;
    for (size_t i = 0; i < 16; i++)
        query[i] = bytes[1 + 21 * 33 + i];
    if (OK(vdb_build(path, &source, NULL, NULL, &error)) && OK(vdb_open(path, NULL, &db, &error))) {
        OK(vdb_search(db, query, 16, K, &all, ids, NULL, NULL, &error));
        CHECK(ids[0] == 33);
        vdb_free(db);
    }
    free(bytes);
}

/* A query at any address. */
static void odd_addresses(const vdb_t *db) {
    vdb_error_t *error = NULL;
    char *bytes = must(malloc(sizeof(float) * DIM * 2 + 8));
    vdb_search_params_t all = all_leaves();
    uint64_t ids[2 * K];
    for (size_t shift = 1; shift < 4; shift++) {
        const float *odd = (const float *)(const void *)(bytes + shift);
        memcpy(bytes + shift, rows + 17 * DIM, sizeof(float) * DIM * 2);
        OK(vdb_search(db, odd, DIM, K, &all, ids, NULL, NULL, &error));
        CHECK(ids[0] == ids_of_rows[17]);
        OK(vdb_batch_search(db, odd, 2, DIM, K, &all, ids, NULL, NULL, &error));
        CHECK(ids[0] == ids_of_rows[17] && ids[K] == ids_of_rows[18]);
    }
    free(bytes);
}

int main(void) {
    vdb_error_t *error = NULL;
    vdb_t *db = NULL;
    const char *path;
    make_work_dir();
    path = in_work_dir("all.vdb");
    rows = make_rows(ROWS, DIM, 42);
    for (size_t row = 0; row < ROWS; row++)
        ids_of_rows[row] = 1000003 + 3 * row;

    versions();
    building(path);
    if (OK(vdb_open(path, NULL, &db, &error))) {
        searching(db);
        filtering(db);
        batching(db);
        walking_on(db);
        looking_inside(db);
        odd_addresses(db);
        caches(db);
        caring(db, path);
        vdb_free(db);
        handle_options(path);
    }
    from_files();
    other_types();
    free(rows);
    return finish("api");
}
