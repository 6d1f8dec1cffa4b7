/*
 * What the C tests share: checks that count and go on, made-up rows, an index in a directory that goes away, and
 * nearest neighbours the naive way. C99 and POSIX; one program a test, exit status 0 or 1. Comes before all other
 * headers, since it says which POSIX.
 */
#ifndef CHECK_H
#define CHECK_H

#define _XOPEN_SOURCE 700

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "vdb.h"

static int checks_done, checks_failed;

/* A check that goes on; the sentence of the error helps to see why. */
#define CHECK(condition) check((condition) ? 1 : 0, #condition, __FILE__, __LINE__)

static inline int check(int holds, const char *what, const char *file, int line) {
    checks_done++;
    if (!holds) {
        checks_failed++;
        fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
    }
    return holds;
}

/* A call that must succeed; returns 1 if it did. */
#define OK(call) ok((call), &error, #call, __FILE__, __LINE__)

static inline int ok(vdb_status_t status, vdb_error_t **error, const char *what, const char *file, int line) {
    checks_done++;
    if (status == VDB_OK) {
        check(*error == NULL, "*error is NULL after success", file, line);
        return 1;
    }
    checks_failed++;
    fprintf(stderr, "%s:%d: %s: %s: %s\n", file, line, what, vdb_status_name(status), vdb_error_message(*error));
    vdb_error_free(*error);
    *error = NULL;
    return 0;
}

/* A call that must fail with this status, and with a sentence. */
#define FAILS(expected, call) fails((expected), (call), &error, #call, __FILE__, __LINE__)

static inline int fails(vdb_status_t expected, vdb_status_t status, vdb_error_t **error, const char *what,
                        const char *file, int line) {
    int good = status == expected && status != VDB_OK && *error != NULL;
    checks_done++;
    good = good && vdb_error_status(*error) == status && strlen(vdb_error_message(*error)) >= 10;
    if (!good) {
        checks_failed++;
        fprintf(stderr, "%s:%d: %s: %s, not %s: %s\n", file, line, what, vdb_status_name(status),
                vdb_status_name(expected), vdb_error_message(*error));
    }
    if (getenv("VDB_TEST_SENTENCES") != NULL)
        fprintf(stderr, "    %s: %s\n", vdb_status_name(status), vdb_error_message(*error));
    vdb_error_free(*error);
    *error = NULL;
    return good;
}

static inline int finish(const char *name) {
    printf("%-10s %s, %d checks\n", name, checks_failed == 0 ? "ok" : "FAILED", checks_done);
    return checks_failed == 0 ? 0 : 1;
}

/* ---- numbers ---- */

static inline uint64_t splitmix(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* From -1 to 1. */
static inline float uniform(uint64_t *state) {
    return (float)((double)(splitmix(state) >> 11) / 4503599627370496.0 - 1.0);
}

static inline void *must(void *memory) {
    if (memory == NULL) {
        fprintf(stderr, "no memory for the test\n");
        exit(2);
    }
    return memory;
}

/* Rows around centres, so that a tree has something to find. */
static inline float *make_rows(size_t rows, size_t dim, uint64_t seed) {
    size_t centres = rows / 50 + 1;
    float *values = must(malloc((rows + centres) * dim * sizeof *values));
    float *centre = values + rows * dim;
    for (size_t i = 0; i < centres * dim; i++)
        centre[i] = uniform(&seed);
    for (size_t row = 0; row < rows; row++) {
        size_t of = (size_t)(splitmix(&seed) % centres);
        for (size_t i = 0; i < dim; i++)
            values[row * dim + i] = centre[of * dim + i] + 0.3f * uniform(&seed);
    }
    return values;
}

/* Small whole numbers: sums of their products are exact in any order, and ties are many. */
static inline float *make_whole_rows(size_t rows, size_t dim, uint64_t seed) {
    float *values = must(malloc(rows * dim * sizeof *values));
    for (size_t i = 0; i < rows * dim; i++)
        values[i] = (float)(int)(splitmix(&seed) % 9) - 4.0f;
    return values;
}

/* ---- nearest neighbours, the naive way ---- */

typedef struct hit {
    float distance;
    uint64_t id;
} hit;

static inline int nearer(const void *a, const void *b) {
    const hit *x = a, *y = b;
    if (x->distance != y->distance)
        return x->distance < y->distance ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static inline float naive_distance(vdb_metric_t metric, const float *a, const float *b, size_t dim) {
    double l2 = 0, ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < dim; i++) {
        l2 += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        ab += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    if (metric == VDB_METRIC_IP)
        return (float)-ab;
    return (float)(metric == VDB_METRIC_COSINE ? 1 - ab / sqrt(aa * bb) : l2);
}

/* All rows, nearest first; ids NULL: their numbers. */
static inline hit *naive_search(vdb_metric_t metric, const float *rows, const uint64_t *ids, size_t count,
                                size_t dim, const float *query) {
    hit *hits = must(malloc((count + 1) * sizeof *hits));
    for (size_t row = 0; row < count; row++) {
        hits[row].distance = naive_distance(metric, query, rows + row * dim, dim);
        hits[row].id = ids == NULL ? row : ids[row];
    }
    qsort(hits, count, sizeof *hits, nearer);
    return hits;
}

/* ---- directories ---- */

#define PATH_ROOM 1024

static char work_dir[256];

static inline void join(char path[PATH_ROOM], const char *directory, const char *name) {
    size_t length = strlen(directory);
    if (length + strlen(name) + 2 > PATH_ROOM) {
        fprintf(stderr, "%s/%s: too long\n", directory, name);
        exit(2);
    }
    memcpy(path, directory, length);
    path[length] = '/';
    strcpy(path + length + 1, name);
}

static inline void remove_all(const char *path) {
    DIR *dir = opendir(path);
    if (dir != NULL) {
        struct dirent *entry;
        while ((entry = readdir(dir)) != NULL) {
            char inner[PATH_ROOM];
            if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                continue;
            join(inner, path, entry->d_name);
            remove_all(inner);
        }
        closedir(dir);
    }
    remove(path);
}

static inline void remove_work_dir(void) {
    remove_all(work_dir);
}

/* A directory of this test's own, removed at its end. */
static inline void make_work_dir(void) {
    const char *tmp = getenv("TMPDIR");
    snprintf(work_dir, sizeof work_dir, "%s/vdb-test-XXXXXX", tmp == NULL || *tmp == 0 ? "/tmp" : tmp);
    if (mkdtemp(work_dir) == NULL) {
        perror(work_dir);
        exit(2);
    }
    atexit(remove_work_dir);
}

/* A path in it. The last 64 are good. */
static inline const char *in_work_dir(const char *name) {
    static char paths[64][PATH_ROOM];
    static int next;
    char *path = paths[next++ % 64];
    join(path, work_dir, name);
    return path;
}

/* ---- indexes ---- */

static inline vdb_source_t array_source(const void *rows, size_t count, size_t dim, const uint64_t *ids) {
    vdb_source_t source;
    memset(&source, 0, sizeof source);
    source.struct_size = sizeof source;
    source.data = rows;
    source.rows = count;
    source.dim = dim;
    source.ids = ids;
    return source;
}

static inline vdb_build_options_t build_options(vdb_metric_t metric) {
    vdb_build_options_t options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.metric = metric;
    options.flags = VDB_BUILD_REPLACE;
    return options;
}

static inline vdb_job_t new_job(void) {
    vdb_job_t job;
    memset(&job, 0, sizeof job);
    job.struct_size = sizeof job;
    return job;
}

static inline vdb_options_t new_options(void) {
    vdb_options_t options;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    return options;
}

static inline vdb_search_params_t new_params(void) {
    vdb_search_params_t params;
    memset(&params, 0, sizeof params);
    params.struct_size = sizeof params;
    return params;
}

/* For those who must find the very row: no leaf is left out. */
static inline vdb_search_params_t all_leaves(void) {
    vdb_search_params_t params = new_params();
    params.probes = UINT32_MAX;
    return params;
}

/* Builds with defaults; leaf_rows 0 lets the library choose. */
static inline int build_rows(const char *path, const float *rows, size_t count, size_t dim, vdb_metric_t metric,
                             uint32_t leaf_rows) {
    vdb_error_t *error = NULL;
    vdb_source_t source = array_source(rows, count, dim, NULL);
    vdb_build_options_t options = build_options(metric);
    options.leaf_rows = leaf_rows;
    return OK(vdb_build(path, &source, &options, NULL, &error));
}

static inline vdb_t *open_index(const char *path, uint32_t threads) {
    vdb_error_t *error = NULL;
    vdb_t *db = NULL;
    vdb_options_t options = new_options();
    options.threads = threads;
    OK(vdb_open(path, &options, &db, &error));
    return db;
}

#endif
