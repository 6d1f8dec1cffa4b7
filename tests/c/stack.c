/*
 * A thread with 64 KB of stack gets through every kind of call, errors included.
 */
#include "check.h"

#include <pthread.h>

#define ROWS 3000
#define DIM 128
#define K 100
#define STACK_BYTES (64 * 1024)

static float *rows;

static int32_t go_on(void *user, const char *phase, uint64_t done, uint64_t total) {
    (void)user, (void)phase, (void)done, (void)total;
    return 0;
}

static void *on_small_stack(void *threads) {
    vdb_error_t *error = NULL;
    vdb_t *db = NULL;
    vdb_cursor_t *cursor = NULL;
    const char *path = in_work_dir(*(uint32_t *)threads == 1 ? "one.vdb" : "two.vdb");
    vdb_source_t source = array_source(rows, ROWS, DIM, NULL);
    vdb_options_t options = new_options();
    vdb_search_params_t params = new_params();
    vdb_job_t job = new_job();
    uint64_t *ids = must(malloc(20 * K * sizeof *ids));
    float *distances = must(malloc(20 * K * sizeof *distances));
    job.threads = options.threads = *(uint32_t *)threads;
    job.progress = go_on;
    params.flags = VDB_SEARCH_EXACT;
    OK(vdb_build(path, &source, NULL, &job, &error));
    FAILS(VDB_EXISTS, vdb_build(path, &source, NULL, &job, &error));
    FAILS(VDB_NOT_FOUND, vdb_open("/nowhere/at/all", NULL, &db, &error));
    OK(vdb_verify(path, &job, NULL, &error));
    if (OK(vdb_open(path, &options, &db, &error))) {
        OK(vdb_search(db, rows, DIM, K, NULL, ids, distances, NULL, &error));
        OK(vdb_search(db, rows, DIM, K, &params, ids, distances, NULL, &error));
        OK(vdb_batch_search(db, rows, 20, DIM, K, NULL, ids, distances, NULL, &error));
        OK(vdb_batch_search(db, rows, 20, DIM, K, &params, ids, distances, NULL, &error));
        FAILS(VDB_INVALID_ARGUMENT, vdb_search(db, rows, DIM + 1, K, NULL, ids, distances, NULL, &error));
        OK(vdb_cursor_open(db, rows, DIM, NULL, &cursor, &error));
        OK(vdb_cursor_next(cursor, K, ids, distances, NULL, &error));
        vdb_cursor_free(cursor);
        OK(vdb_advise(db, VDB_PART_VECTORS, VDB_ADVICE_WARM, &job, &error));
        vdb_free(db);
    }
    free(distances);
    free(ids);
    return NULL;
}

int main(void) {
    make_work_dir();
    rows = make_rows(ROWS, DIM, 6);
    for (uint32_t threads = 1; threads <= 2; threads++) {
        pthread_attr_t attributes;
        pthread_t thread;
        CHECK(pthread_attr_init(&attributes) == 0);
        CHECK(pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0);
        CHECK(pthread_create(&thread, &attributes, on_small_stack, &threads) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
        pthread_attr_destroy(&attributes);
    }
    free(rows);
    return finish("stack");
}
