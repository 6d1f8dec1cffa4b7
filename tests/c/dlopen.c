/*
 * A plugin host's life: load, open, search, free, unload, again and again; memory, descriptors, mappings and threads stay
 * as they are. And a thread of the host's that was inside, ends after the library was closed: it must end well.
 *
 *     dlopen LIBRARY
 */
#include "check.h"

#include <dlfcn.h>
#include <pthread.h>

#define ROWS 2000
#define DIM 16
#define K 5
#define ROUNDS 200

typedef vdb_status_t open_fn(const char *, const vdb_options_t *, vdb_t **, vdb_error_t **);
typedef vdb_status_t search_fn(const vdb_t *, const float *, size_t, size_t, const vdb_search_params_t *, uint64_t *,
                               float *, size_t *, vdb_error_t **);
typedef vdb_status_t batch_fn(const vdb_t *, const float *, size_t, size_t, size_t, const vdb_search_params_t *,
                              uint64_t *, float *, size_t *, vdb_error_t **);
typedef vdb_status_t build_fn(const char *, const vdb_source_t *, const vdb_build_options_t *, const vdb_job_t *,
                              vdb_error_t **);
typedef void free_fn(vdb_t *);
typedef void error_free_fn(vdb_error_t *);
typedef uint32_t version_fn(void);

static struct library {
    void *handle;
    open_fn *open;
    search_fn *search;
    batch_fn *batch_search;
    build_fn *build;
    free_fn *free;
    error_free_fn *error_free;
    version_fn *version;
} vdb;

static const char *library_path, *index_path;
static float *rows;

/* dlsym as POSIX wants it written: a function's address by way of an object's. */
static void look_up(const char *name, void *function) {
    *(void **)function = dlsym(vdb.handle, name);
    CHECK(*(void **)function != NULL);
}

static int load(void) {
    vdb.handle = dlopen(library_path, RTLD_NOW | RTLD_LOCAL);
    if (!CHECK(vdb.handle != NULL)) {
        fprintf(stderr, "%s\n", dlerror());
        return 0;
    }
    look_up("vdb_open", &vdb.open);
    look_up("vdb_search", &vdb.search);
    look_up("vdb_batch_search", &vdb.batch_search);
    look_up("vdb_build", &vdb.build);
    look_up("vdb_free", &vdb.free);
    look_up("vdb_error_free", &vdb.error_free);
    look_up("vdb_version", &vdb.version);
    return checks_failed == 0;
}

static void search_once(uint32_t threads) {
    vdb_t *db = NULL;
    vdb_error_t *error = NULL;
    vdb_options_t options = new_options();
    vdb_search_params_t all = all_leaves();
    uint64_t ids[64 * K];
    float distances[64 * K];
    options.threads = threads;
    CHECK(vdb.version() == VDB_VERSION);
    CHECK(vdb.open("/nowhere/at/all", NULL, &db, &error) != VDB_OK && db == NULL && error != NULL);
    vdb.error_free(error);
    if (!CHECK(vdb.open(index_path, &options, &db, &error) == VDB_OK))
        return;
    CHECK(vdb.search(db, rows, DIM, K, &all, ids, distances, NULL, &error) == VDB_OK && ids[0] == 0);
    CHECK(vdb.batch_search(db, rows, 64, DIM, K, &all, ids, distances, NULL, &error) == VDB_OK && ids[K] == 1);
    vdb.free(db);
}

static size_t lines_of(const char *path) {
    FILE *file = must(fopen(path, "r"));
    size_t lines = 0;
    for (int c; (c = getc(file)) != EOF;)
        lines += c == '\n';
    fclose(file);
    return lines;
}

static size_t entries_of(const char *path) {
    DIR *dir = must(opendir(path));
    size_t count = 0;
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

static size_t resident_kb(void) {
    FILE *file = must(fopen("/proc/self/status", "r"));
    char line[256];
    unsigned long kb = 0;
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "VmRSS: %lu kB", &kb) == 1)
            break;
    fclose(file);
    return kb;
}

static void many_rounds(void) {
    size_t maps = 0, files = 0, memory = 0;
    for (int round = 0; round < ROUNDS; round++) {
        if (!load())
            return;
        search_once(round % 2 == 0 ? 1 : 3);
        CHECK(dlclose(vdb.handle) == 0);
        if (round == ROUNDS / 10) {
            maps = lines_of("/proc/self/maps");
            files = entries_of("/proc/self/fd");
            memory = resident_kb();
        }
    }
    CHECK(entries_of("/proc/self/fd") == files);
    CHECK(entries_of("/proc/self/task") == 3); /* ".", ".." and this thread */
    CHECK(lines_of("/proc/self/maps") <= maps + 4);
    CHECK(resident_kb() <= memory + 2048);
}

static pthread_barrier_t barrier;

static void *guest(void *unused) {
    search_once(1);
    pthread_barrier_wait(&barrier); /* it was inside */
    pthread_barrier_wait(&barrier); /* the library is closed: now end */
    return unused;
}

static void thread_outlives_library(void) {
    for (int round = 0; round < 20; round++) {
        pthread_t thread;
        if (!load())
            return;
        pthread_barrier_init(&barrier, NULL, 2);
        CHECK(pthread_create(&thread, NULL, guest, NULL) == 0);
        pthread_barrier_wait(&barrier);
        CHECK(dlclose(vdb.handle) == 0);
        pthread_barrier_wait(&barrier);
        CHECK(pthread_join(thread, NULL) == 0);
        pthread_barrier_destroy(&barrier);
    }
}

int main(int argc, char **argv) {
    vdb_source_t source;
    vdb_error_t *error = NULL;
    if (argc != 2)
        return 2;
    library_path = argv[1];
    make_work_dir();
    index_path = in_work_dir("dlopen.vdb");
    rows = make_rows(ROWS, DIM, 8);
    source = array_source(rows, ROWS, DIM, NULL);
    if (load()) {
        CHECK(vdb.build(index_path, &source, NULL, NULL, &error) == VDB_OK);
        CHECK(dlclose(vdb.handle) == 0);
        thread_outlives_library();
        many_rounds();
    }
    free(rows);
    return finish("dlopen");
}
