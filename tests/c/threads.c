/*
 * Many threads on one handle get the answers of one; and no thread is there that was not asked for: none before a
 * batch, none ever with threads = 1, none after vdb_free.
 */
#include "check.h"

#include <pthread.h>
#include <time.h>

#define ROWS 4000
#define DIM 32
#define K 10
#define WORKERS 8
#define ROUNDS 150

static float *rows;
static vdb_t *shared;
static uint64_t expected[ROUNDS][K];

/* Threads of this process now. */
static int threads_now(void) {
    DIR *dir = must(opendir("/proc/self/task"));
    struct dirent *entry;
    int count = 0;
    while ((entry = readdir(dir)) != NULL)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

/* A thread that was joined may stand in the list for a moment. */
static int threads_settled(int wanted) {
    static const struct timespec moment = {0, 1000000};
    for (int wait = 0; wait < 200 && threads_now() != wanted; wait++)
        nanosleep(&moment, NULL);
    return threads_now();
}

static void *worker(void *argument) {
    size_t number = *(size_t *)argument, bad = 0;
    uint64_t ids[4 * K];
    for (size_t round = 0; round < ROUNDS; round++) {
        size_t query = (round * 7 + number) % (ROUNDS - 4);
        vdb_stats_t stats;
        memset(&stats, 0, sizeof stats);
        stats.struct_size = sizeof stats;
        switch ((round + number) % 3) {
        case 0:
            bad += vdb_search(shared, rows + query * DIM, DIM, K, NULL, ids, NULL, NULL, NULL) != VDB_OK;
            bad += memcmp(ids, expected[query], sizeof expected[0]) != 0;
            break;
        case 1:
            bad += vdb_batch_search(shared, rows + query * DIM, 4, DIM, K, NULL, ids, NULL, NULL, NULL) != VDB_OK;
            bad += memcmp(ids, expected[query], 4 * sizeof expected[0]) != 0;
            break;
        default:
            bad += vdb_stats(shared, &stats, NULL) != VDB_OK;
            bad += vdb_cache_clear(shared, VDB_CACHE_ANSWERS, NULL) != VDB_OK;
            break;
        }
    }
    *(size_t *)argument = bad;
    return NULL;
}

static void many_threads(const char *path) {
    pthread_t threads[WORKERS];
    size_t numbers[WORKERS];
    shared = open_index(path, 4);
    for (size_t query = 0; query < ROUNDS; query++)
        CHECK(vdb_search(shared, rows + query * DIM, DIM, K, NULL, expected[query], NULL, NULL, NULL) == VDB_OK);
    for (size_t i = 0; i < WORKERS; i++) {
        numbers[i] = i;
        CHECK(pthread_create(&threads[i], NULL, worker, &numbers[i]) == 0);
    }
    for (size_t i = 0; i < WORKERS; i++) {
        pthread_join(threads[i], NULL);
        CHECK(numbers[i] == 0);
    }
    vdb_free(shared);
    CHECK(threads_settled(1) == 1);
}

static void thread_counts(const char *path) {
    uint64_t ids[200 * K];
    vdb_error_t *error = NULL;
    vdb_search_params_t params = new_params();
    vdb_pool_options_t pool_options;
    vdb_options_t options = new_options();
    vdb_pool_t *pool = NULL;
    vdb_t *db = open_index(path, 1), *other = NULL;
    vdb_job_t job = new_job();
    params.flags = VDB_SEARCH_NO_CACHE;
    params.threads = 8;
    OK(vdb_batch_search(db, rows, 200, DIM, K, &params, ids, NULL, NULL, &error));
    OK(vdb_search(db, rows, DIM, K, &params, ids, NULL, NULL, &error));
    params.flags |= VDB_SEARCH_EXACT;
    OK(vdb_search(db, rows, DIM, K, &params, ids, NULL, NULL, &error));
    CHECK(threads_now() == 1); /* 1 in the options: none is made, whatever is asked */
    vdb_free(db);

    job.threads = 1;
    OK(vdb_verify(path, &job, NULL, &error));
    CHECK(threads_now() == 1);

    params = new_params();
    db = open_index(path, 4);
    CHECK(threads_now() == 1); /* nothing to do yet */
    OK(vdb_batch_search(db, rows, 200, DIM, K, &params, ids, NULL, NULL, &error));
    CHECK(threads_now() == 4);
    vdb_free(db);
    CHECK(threads_settled(1) == 1);

    /* A lent pool is made once, for all. */
    memset(&pool_options, 0, sizeof pool_options);
    pool_options.struct_size = sizeof pool_options;
    pool_options.threads = 3;
    OK(vdb_pool_open(&pool_options, &pool, &error));
    options.pool = pool;
    OK(vdb_open(path, &options, &db, &error));
    OK(vdb_open(path, &options, &other, &error));
    OK(vdb_batch_search(db, rows, 200, DIM, K, NULL, ids, NULL, NULL, &error));
    OK(vdb_batch_search(other, rows, 200, DIM, K, NULL, ids, NULL, NULL, &error));
    CHECK(threads_now() == 3);
    vdb_free(db);
    vdb_pool_free(pool);
    OK(vdb_batch_search(other, rows, 200, DIM, K, NULL, ids, NULL, NULL, &error));
    vdb_free(other);
    CHECK(threads_settled(1) == 1);
}

int main(void) {
    vdb_error_t *error = NULL;
    vdb_job_t job = new_job();
    vdb_source_t source;
    const char *path;
    make_work_dir();
    path = in_work_dir("threads.vdb");
    rows = make_rows(ROWS, DIM, 9);
    source = array_source(rows, ROWS, DIM, NULL);
    job.threads = 1;
    OK(vdb_build(path, &source, NULL, &job, &error));
    CHECK(threads_now() == 1);
    job.threads = 3;
    OK(vdb_build(in_work_dir("other.vdb"), &source, NULL, &job, &error));
    CHECK(threads_settled(1) == 1);
    thread_counts(path);
    many_threads(path);
    free(rows);
    return finish("threads");
}
