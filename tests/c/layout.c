/*
 * Sizes and places that must never change within a soname: what programs were compiled with. A line of this file is
 * changed only together with the soname; new fields go to the end, and their lines too. The size of a struct that begins
 * with struct_size grows with them.
 */
#include "check.h"

#define PLACE(type, field, offset) \
    typedef char type##_##field##_has_moved[offsetof(type, field) == (offset) ? 1 : -1]
#define SIZE(type, bytes) typedef char type##_has_changed[sizeof(type) == (bytes) ? 1 : -1]

PLACE(vdb_search_params_t, struct_size, 0);
PLACE(vdb_search_params_t, recall, 8);
PLACE(vdb_search_params_t, probes, 12);
PLACE(vdb_search_params_t, rerank, 16);
PLACE(vdb_search_params_t, threads, 20);
PLACE(vdb_search_params_t, flags, 24);
PLACE(vdb_search_params_t, timeout_ns, 32);
PLACE(vdb_search_params_t, filter, 40);
PLACE(vdb_search_params_t, cancel, 48);
PLACE(vdb_search_params_t, stats, 56);
PLACE(vdb_search_params_t, max_distance, 64);
PLACE(vdb_filter_t, values, 16);
PLACE(vdb_options_t, pool, 32);
PLACE(vdb_options_t, log_level, 56);
PLACE(vdb_job_t, cancel, 40);
PLACE(vdb_job_t, pool, 64);
PLACE(vdb_source_t, type, 40);
PLACE(vdb_source_t, path, 56);
PLACE(vdb_build_options_t, metric, 16);
PLACE(vdb_build_options_t, links, 36);
PLACE(vdb_build_options_t, report, 48);
PLACE(vdb_build_report_t, phases, 48);
PLACE(vdb_info_t, metric, 32);
PLACE(vdb_info_t, disk_bytes, 64);
PLACE(vdb_info_t, links, 80);
PLACE(vdb_search_stats_t, codes_walked, 128);
PLACE(vdb_stats_t, codes_walked, 176);
PLACE(vdb_segment_t, level_nodes, 112);
PLACE(vdb_segment_t, efforts, 240);
PLACE(vdb_segment_t, link_bytes, 752);
PLACE(vdb_segment_t, walks, 760);
PLACE(vdb_tree_node_t, parent, 72);

SIZE(vdb_status_t, 4);
SIZE(vdb_pool_options_t, 16);
SIZE(vdb_job_t, 80);
SIZE(vdb_options_t, 72);
SIZE(vdb_filter_t, 40);
SIZE(vdb_search_stats_t, 136);
SIZE(vdb_search_params_t, 72);
SIZE(vdb_source_t, 72);
SIZE(vdb_phase_t, 32);
SIZE(vdb_build_report_t, 560);
SIZE(vdb_build_options_t, 56);
SIZE(vdb_estimate_t, 48);
SIZE(vdb_info_t, 88);
SIZE(vdb_stats_t, 184);
SIZE(vdb_memory_t, 112);
SIZE(vdb_effort_t, 8);
SIZE(vdb_segment_t, 1016);
SIZE(vdb_tree_node_t, 112);
SIZE(vdb_cache_info_t, 56);

int main(void) {
    /* The numbers of the fixed flags, and the order of the first fields as an initialiser sees it. */
    vdb_search_params_t params = {sizeof params, 0.5f, 1, 2, 3, 4, 5, NULL, NULL, NULL, 6.0f, 0};
    CHECK(params.recall == 0.5f && params.probes == 1 && params.rerank == 2 && params.threads == 3);
    CHECK(params.flags == 4 && params.timeout_ns == 5 && params.max_distance == 6.0f);
    CHECK(VDB_SEARCH_EXACT == 1u && VDB_SEARCH_NO_CACHE == 2u && VDB_SEARCH_MAX_DISTANCE == 4u);
    CHECK(VDB_VERSION == ((uint32_t)VDB_VERSION_MAJOR << 16 | VDB_VERSION_MINOR << 8 | VDB_VERSION_PATCH));
    return finish("layout");
}
