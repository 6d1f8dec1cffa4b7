/* What stands between Go and vdb.h.
 *
 * Go may hand pointers to its memory to C as arguments, but not inside structs. So these functions take the
 * parameter structs without their pointers, and the pointers beside them, and put both together on this side:
 * nothing has to be pinned, and a search allocates nothing. Otherwise they are the functions of vdb.h. */
#ifndef VDBGO_BRIDGE_H
#define VDBGO_BRIDGE_H

#include "vdb.h"

/* What a search asks for; no pointer in it is set. filter.kind 0 is no filter. */
typedef struct vdbgo_search_t {
    vdb_search_params_t params;
    vdb_filter_t filter;
} vdbgo_search_t;

vdb_status_t vdbgo_search(const vdb_t *db, const float *query, size_t dim, size_t k,
                          const vdbgo_search_t *search, const uint64_t *filter_values,
                          const vdb_cancel_t *cancel, vdb_search_stats_t *stats, uint64_t *ids,
                          float *distances, size_t *count, vdb_error_t **error);

vdb_status_t vdbgo_batch_search(const vdb_t *db, const float *queries, size_t query_count, size_t dim,
                                size_t k, const vdbgo_search_t *search, const uint64_t *filter_values,
                                const vdb_cancel_t *cancel, vdb_search_stats_t *stats, uint64_t *ids,
                                float *distances, size_t *counts, vdb_error_t **error);

/* cancel outlives the cursor: it is C's memory. */
vdb_status_t vdbgo_cursor_open(const vdb_t *db, const float *query, size_t dim, const vdbgo_search_t *search,
                               const uint64_t *filter_values, const vdb_cancel_t *cancel,
                               vdb_cursor_t **cursor, vdb_error_t **error);

/* What a build needs; of its structs no pointer is set but those that are C's memory, the paths. */
typedef struct vdbgo_build_t {
    vdb_source_t source;
    vdb_build_options_t options;
    vdb_job_t job;
} vdbgo_build_t;

/* data is whatever source.type says. progress is a cgo.Handle for vdbgo_progress, or 0. */
vdb_status_t vdbgo_build(const char *path, const vdbgo_build_t *build, const uint8_t *data,
                         const uint64_t *ids, const vdb_cancel_t *cancel, uintptr_t progress,
                         vdb_build_report_t *report, vdb_error_t **error);

#endif
