/* As bridge.h says. Decides nothing: joins structs and pointers, and calls. */
#include "bridge.h"

#include "_cgo_export.h"

/* Points search into itself and to the rest, and returns its parameters. */
static vdb_search_params_t *join(vdbgo_search_t *search, const uint64_t *filter_values,
                                 const vdb_cancel_t *cancel, vdb_search_stats_t *stats)
{
    search->params.struct_size = sizeof search->params;
    search->params.cancel = cancel;
    search->params.stats = stats;
    if (stats)
        stats->struct_size = sizeof *stats;
    if (search->filter.kind != 0) {
        search->filter.struct_size = sizeof search->filter;
        search->filter.values = filter_values;
        search->params.filter = &search->filter;
    }
    return &search->params;
}

vdb_status_t vdbgo_search(const vdb_t *db, const float *query, size_t dim, size_t k,
                          const vdbgo_search_t *search, const uint64_t *filter_values,
                          const vdb_cancel_t *cancel, vdb_search_stats_t *stats, uint64_t *ids,
                          float *distances, size_t *count, vdb_error_t **error)
{
    vdbgo_search_t own = *search;
    return vdb_search(db, query, dim, k, join(&own, filter_values, cancel, stats), ids, distances, count,
                      error);
}

vdb_status_t vdbgo_batch_search(const vdb_t *db, const float *queries, size_t query_count, size_t dim,
                                size_t k, const vdbgo_search_t *search, const uint64_t *filter_values,
                                const vdb_cancel_t *cancel, vdb_search_stats_t *stats, uint64_t *ids,
                                float *distances, size_t *counts, vdb_error_t **error)
{
    vdbgo_search_t own = *search;
    return vdb_batch_search(db, queries, query_count, dim, k, join(&own, filter_values, cancel, stats), ids,
                            distances, counts, error);
}

vdb_status_t vdbgo_cursor_open(const vdb_t *db, const float *query, size_t dim, const vdbgo_search_t *search,
                               const uint64_t *filter_values, const vdb_cancel_t *cancel,
                               vdb_cursor_t **cursor, vdb_error_t **error)
{
    vdbgo_search_t own = *search;
    return vdb_cursor_open(db, query, dim, join(&own, filter_values, cancel, NULL), cursor, error);
}

/* user is a number: as a pointer on a stack of Go's it would be taken for a broken one. */
static int32_t progress_to_go(void *user, const char *phase, uint64_t done, uint64_t total)
{
    return vdbgo_progress((uintptr_t)user, (char *)phase, done, total);
}

vdb_status_t vdbgo_build(const char *path, const vdbgo_build_t *build, const uint8_t *data,
                         const uint64_t *ids, const vdb_cancel_t *cancel, uintptr_t progress,
                         vdb_build_report_t *report, vdb_error_t **error)
{
    vdbgo_build_t own = *build;
    own.source.struct_size = sizeof own.source;
    own.source.data = data;
    own.source.ids = ids;
    own.options.struct_size = sizeof own.options;
    own.options.report = report;
    report->struct_size = sizeof *report;
    own.job.struct_size = sizeof own.job;
    own.job.cancel = cancel;
    if (progress != 0) {
        own.job.progress = progress_to_go;
        own.job.progress_user = (void *)progress;
    }
    return vdb_build(path, &own.source, &own.options, &own.job, error);
}
