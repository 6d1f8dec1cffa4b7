/*
 * A handle belongs to the process that opened it: its child is told so at once, frees without hanging, and opens anew.
 * The parent goes on. With threads running at the time of the fork, which is when locks would hang. A child of a build
 * has no part in it, and holds nothing up: neither the parent's next build nor its own.
 */
#include "check.h"

#include <pthread.h>
#include <sys/wait.h>
#include <time.h>

#define ROWS 2000
#define DIM 16
#define K 5

static float *rows;

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* What the child does with what it inherited; its exit status is the number of checks that failed. */
static int child(const char *path, vdb_t *db, vdb_pool_t *pool, vdb_cursor_t *cursor) {
    vdb_error_t *error = NULL;
    uint64_t ids[4 * K];
    size_t count = 7;
    vdb_info_t info;
    vdb_t *own = NULL;
    vdb_options_t options = new_options();
    vdb_search_params_t all = all_leaves();
    double begin = seconds();
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    FAILS(VDB_FORKED, vdb_search(db, rows, DIM, K, NULL, ids, NULL, &count, &error));
    CHECK(count == 0 && ids[0] == VDB_NO_ID);
    FAILS(VDB_FORKED, vdb_batch_search(db, rows, 4, DIM, K, NULL, ids, NULL, NULL, &error));
    FAILS(VDB_FORKED, vdb_info(db, &info, &error));
    FAILS(VDB_FORKED, vdb_cache_clear(db, VDB_CACHE_ANSWERS, &error));
    FAILS(VDB_FORKED, vdb_cursor_next(cursor, K, ids, NULL, &count, &error));
    if (pool != NULL) {
        options.pool = pool;
        FAILS(VDB_FORKED, vdb_open(path, &options, &own, &error));
        CHECK(own == NULL);
    }
    CHECK(seconds() - begin < 1.0);
    vdb_cursor_free(cursor);
    vdb_free(db);
    vdb_pool_free(pool);
    CHECK(seconds() - begin < 2.0);

    if (OK(vdb_open(path, NULL, &own, &error))) {
        OK(vdb_batch_search(own, rows, 4, DIM, K, &all, ids, NULL, NULL, &error));
        CHECK(ids[0] == 0 && ids[K] == 1);
        vdb_free(own);
    }
    return checks_failed;
}

static void fork_with(const char *path, vdb_pool_t *pool, uint32_t threads) {
    vdb_error_t *error = NULL;
    vdb_t *db = NULL;
    vdb_cursor_t *cursor = NULL;
    vdb_options_t options = new_options();
    vdb_search_params_t all = all_leaves();
    uint64_t ids[64 * K];
    pid_t process;
    int status = -1;
    options.pool = pool;
    options.threads = threads;
    OK(vdb_open(path, &options, &db, &error));
    OK(vdb_batch_search(db, rows, 64, DIM, K, &all, ids, NULL, NULL, &error));
    OK(vdb_cursor_open(db, rows, DIM, NULL, &cursor, &error));
    fflush(NULL);
    process = fork();
    if (process == 0) {
        alarm(30); /* a hang is a failure, not a wait */
        work_dir[0] = 0;
        _exit(child(path, db, pool, cursor) == 0 ? 0 : 1);
    }
    CHECK(waitpid(process, &status, 0) == process);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    OK(vdb_batch_search(db, rows, 64, DIM, K, &all, ids, NULL, NULL, &error));
    CHECK(ids[0] == 0 && ids[K] == 1);
    OK(vdb_cursor_next(cursor, K, ids, NULL, NULL, &error));
    vdb_cursor_free(cursor);
    vdb_free(db);
}

/* ---- a fork in the middle of a build, by a thread that has nothing to do with it ---- */

static int begun[2], forked[2], finished[2];
static const char *built;
static pid_t of_build;

static char one_byte(const int pipes[2]) {
    char byte = 0;
    CHECK(read(pipes[0], &byte, 1) == 1);
    return byte;
}

static void send_byte(const int pipes[2]) {
    CHECK(write(pipes[1], "x", 1) == 1);
}

/* The build is held until the child is there. */
static int first_progress(void *user, const char *phase, uint64_t done, uint64_t total) {
    int *calls = user;
    (void)phase, (void)done, (void)total;
    if ((*calls)++ == 0) {
        send_byte(begun);
        one_byte(forked);
    }
    return 0;
}

static void *fork_during_build(void *unused) {
    vdb_error_t *error = NULL;
    vdb_source_t source = array_source(rows, ROWS, DIM, NULL);
    vdb_build_options_t options = build_options(VDB_METRIC_L2);
    one_byte(begun);
    fflush(NULL);
    of_build = fork();
    if (of_build == 0) {
        alarm(30);
        work_dir[0] = 0;
        checks_failed = 0;
        /* The parent is at it. */
        FAILS(VDB_BUSY, vdb_build(built, &source, &options, NULL, &error));
        send_byte(forked);
        one_byte(finished);
        OK(vdb_build(built, &source, &options, NULL, &error));
        _exit(checks_failed == 0 ? 0 : 1);
    }
    return unused;
}

static void fork_in_a_build(const char *path) {
    vdb_error_t *error = NULL;
    vdb_source_t source = array_source(rows, ROWS, DIM, NULL);
    vdb_build_options_t options = build_options(VDB_METRIC_L2);
    vdb_job_t job = new_job();
    pthread_t thread;
    int calls = 0, status = -1;
    CHECK(pipe(begun) == 0 && pipe(forked) == 0 && pipe(finished) == 0);
    built = path;
    job.progress = first_progress;
    job.progress_user = &calls;
    CHECK(pthread_create(&thread, NULL, fork_during_build, NULL) == 0);
    OK(vdb_build(path, &source, &options, &job, &error));
    CHECK(pthread_join(thread, NULL) == 0 && calls > 0);
    /* The child lives, and has all that was open when it was forked. */
    OK(vdb_build(path, &source, &options, NULL, &error));
    send_byte(finished);
    CHECK(waitpid(of_build, &status, 0) == of_build);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    OK(vdb_build(path, &source, &options, NULL, &error));
}

int main(void) {
    vdb_error_t *error = NULL;
    vdb_pool_options_t options;
    vdb_pool_t *pool = NULL;
    const char *path;
    make_work_dir();
    path = in_work_dir("fork.vdb");
    rows = make_rows(ROWS, DIM, 3);
    build_rows(path, rows, ROWS, DIM, VDB_METRIC_L2, 0);
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.threads = 4;
    OK(vdb_pool_open(&options, &pool, &error));
    fork_with(path, pool, 0);
    fork_with(path, NULL, 4);
    fork_with(path, NULL, 1);
    vdb_pool_free(pool);
    fork_in_a_build(path);
    free(rows);
    return finish("fork");
}
