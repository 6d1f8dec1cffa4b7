/* Semantic search over words, through the C API: neighbours of well-known words, recall against the exact answer,
 * latency and throughput, memory.
 *
 *     words INDEX DATA_DIR
 *
 * INDEX was built by `vdb build` from DATA_DIR/base.f16.npy; line i of DATA_DIR/words.txt is the word of row i. */
#define _POSIX_C_SOURCE 200809L
#include <vdb.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DIM = 100, K = 10, WORD_MAX = 64, ROUNDS = 5 };

static char (*words)[WORD_MAX];
static size_t word_count;

static void fail(const char *what, vdb_error_t *error)
{
    fprintf(stderr, "words: %s: %s\n", what, error ? vdb_error_message(error) : "failed");
    vdb_error_free(error);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static FILE *open_in(const char *dir, const char *name)
{
    char path[4096];
    FILE *file;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    file = fopen(path, "rb");
    if (!file) {
        perror(path);
        exit(1);
    }
    return file;
}

static void load_words(const char *dir)
{
    FILE *file = open_in(dir, "words.txt");
    char line[WORD_MAX];
    size_t room = 0;
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\r\n")] = 0;
        if (word_count == room) {
            room = room ? 2 * room : 1024;
            words = realloc(words, room * sizeof *words);
            if (!words)
                fail("out of memory", NULL);
        }
        strcpy(words[word_count++], line);
    }
    fclose(file);
}

/* Held-out words, as an .fbin file: u32 rows, u32 dim, floats. */
static float *load_queries(const char *dir, size_t *count)
{
    FILE *file = open_in(dir, "query.fbin");
    uint32_t head[2];
    float *rows;
    if (fread(head, sizeof head, 1, file) != 1 || head[1] != DIM)
        fail("query.fbin is not what it was", NULL);
    *count = head[0];
    rows = malloc(*count * DIM * sizeof *rows);
    if (!rows || fread(rows, DIM * sizeof *rows, *count, file) != *count)
        fail("query.fbin ends early", NULL);
    fclose(file);
    return rows;
}

static void show_neighbours(const vdb_t *db, const char *word)
{
    uint64_t id, ids[K + 1];
    float vector[DIM], distances[K + 1];
    size_t count, i;
    vdb_error_t *error = NULL;
    for (id = 0; id < word_count && strcmp(words[id], word); id++)
        ;
    if (id == word_count)
        return;
    if (vdb_get(db, &id, 1, DIM, vector, NULL, &error) != VDB_OK)
        fail("vdb_get", error);
    if (vdb_search(db, vector, DIM, K + 1, NULL, ids, distances, &count, &error) != VDB_OK)
        fail("vdb_search", error);
    printf("  %-10s", word);
    for (i = 0; i < count; i++)
        if (ids[i] != id)
            printf(" %s %.3f ", words[ids[i]], distances[i]);
    printf("\n");
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Searches for every query, one after the other; seconds of each call go to times. */
static void search_all(const vdb_t *db, const float *queries, size_t count, const vdb_search_params_t *params,
                       uint64_t *ids, double *times)
{
    vdb_error_t *error = NULL;
    size_t i;
    for (i = 0; i < count; i++) {
        float distances[K];
        size_t found;
        double start = now();
        if (vdb_search(db, queries + i * DIM, DIM, K, params, ids + i * K, distances, &found, &error) != VDB_OK)
            fail("vdb_search", error);
        times[i] = now() - start;
    }
}

static double recall(const uint64_t *found, const uint64_t *truth, size_t count)
{
    size_t hits = 0, i, j, l;
    for (i = 0; i < count; i++)
        for (j = 0; j < K; j++)
            for (l = 0; l < K; l++)
                hits += found[i * K + j] == truth[i * K + l];
    return (double)hits / (double)(count * K);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, ascending);
    return values[count / 2];
}

static void measure(const vdb_t *db, const float *queries, size_t count)
{
    vdb_search_params_t params;
    uint64_t *truth = malloc(count * K * sizeof *truth), *found = malloc(count * K * sizeof *found);
    float *distances = malloc(count * K * sizeof *distances);
    double *times = malloc(count * ROUNDS * sizeof *times), batch[ROUNDS], single[ROUNDS], exact, sum;
    vdb_error_t *error = NULL;
    size_t round, i;
    if (!truth || !found || !distances || !times)
        fail("out of memory", NULL);
    memset(&params, 0, sizeof params);
    params.struct_size = sizeof params;
    params.threads = 1;
    params.flags = VDB_SEARCH_EXACT | VDB_SEARCH_NO_CACHE;
    search_all(db, queries, count, &params, truth, times);
    for (exact = 0, i = 0; i < count; i++)
        exact += times[i];
    params.flags = VDB_SEARCH_NO_CACHE;
    for (round = 0; round < ROUNDS; round++) {
        double start;
        search_all(db, queries, count, &params, found, times + round * count);
        for (sum = 0, i = 0; i < count; i++)
            sum += times[round * count + i];
        single[round] = (double)count / sum;
        params.threads = 0;
        start = now();
        if (vdb_batch_search(db, queries, count, DIM, K, &params, found, distances, NULL, &error) != VDB_OK)
            fail("vdb_batch_search", error);
        batch[round] = (double)count / (now() - start);
        params.threads = 1;
    }
    qsort(times, count * ROUNDS, sizeof *times, ascending);
    printf("\n%zu held-out words, %d nearest each, default parameters, medians of %d rounds:\n", count, K, ROUNDS);
    printf("  recall@10          %.4f\n", recall(found, truth, count));
    printf("  one thread         %.0f queries a second, p50 %.0f us, p99 %.0f us\n", median(single, ROUNDS),
           1e6 * times[count * ROUNDS / 2], 1e6 * times[count * ROUNDS * 99 / 100]);
    printf("  batch, all threads %.0f queries a second\n", median(batch, ROUNDS));
    printf("  exact, one thread  %.0f queries a second\n", (double)count / exact);
    free(truth);
    free(found);
    free(distances);
    free(times);
}

static void show_memory(const vdb_t *db)
{
    vdb_memory_t memory;
    vdb_error_t *error = NULL;
    memset(&memory, 0, sizeof memory);
    memory.struct_size = sizeof memory;
    if (vdb_memory(db, &memory, &error) != VDB_OK)
        fail("vdb_memory", error);
    printf("  memory             %.1f MB: tree %.1f, codes %.1f, ids %.1f, rest %.1f; vectors mapped %.1f\n",
           1e-6 * (double)memory.total_bytes, 1e-6 * (double)memory.tree_bytes, 1e-6 * (double)memory.code_bytes,
           1e-6 * (double)memory.id_bytes,
           1e-6 * (double)(memory.total_bytes - memory.tree_bytes - memory.code_bytes - memory.id_bytes),
           1e-6 * (double)memory.mapped_bytes);
}

int main(int argc, char **argv)
{
    static const char *const asked[] = {"king", "guitar", "paris", "physics", "happy", "coffee"};
    vdb_t *db = NULL;
    vdb_error_t *error = NULL;
    float *queries;
    size_t count, i;
    if (argc != 3) {
        fprintf(stderr, "usage: words INDEX DATA_DIR\n");
        return 2;
    }
    load_words(argv[2]);
    queries = load_queries(argv[2], &count);
    if (vdb_open(argv[1], NULL, &db, &error) != VDB_OK)
        fail("vdb_open", error);
    printf("\nnearest words, with 1 - cosine:\n");
    for (i = 0; i < sizeof asked / sizeof *asked; i++)
        show_neighbours(db, asked[i]);
    measure(db, queries, count);
    show_memory(db);
    free(queries);
    free(words);
    vdb_free(db);
    return 0;
}
