//! A batch answers bit for bit what single searches answer; several threads answer what one does.

use std::collections::HashSet;

use crate::support::{
    batch, batch_counted, carried, everything, exact, plain, search_counted, searches, some_of, Answer,
    Index, Named, Set, METRICS,
};
use vdb::database::{Database, OpenOptions};
use vdb::types::params::{BuildParams, SearchParams};
use vdb::types::{ElementType, Metric};
use workload::rows::Matrix;
use workload::vecs::VecFile;

/// Around the tiles that a batch is cut into, and many of them.
const COUNTS: [usize; 7] = [1, 7, 31, 33, 64, 65, 200];

/// The same index by 1, 2 and 3 threads.
fn by_threads(index: &Index) -> Vec<Database> {
    let open = |threads| index.open(&OpenOptions { threads, ..OpenOptions::default() });
    [1, 2, 3].map(open).into()
}

/// Batches of the first queries, on any number of threads, against one search for each.
fn check(handles: &[Database], queries: &[f32], k: usize, params: &SearchParams<'_>, what: &str) {
    let dim = handles[0].dim();
    let single = searches(&handles[0], queries, k, params);
    for count in COUNTS.into_iter().filter(|count| *count <= single.len()) {
        for db in handles {
            let found = batch(db, &queries[..count * dim], k, params);
            for (nth, (batched, alone)) in found.iter().zip(&single).enumerate() {
                assert_eq!(batched, alone, "{what}, k {k}, query {nth} of {count}");
            }
            assert_eq!(found.len(), count);
        }
    }
}

/// What a caller may set, each with its name.
fn ways() -> Vec<(&'static str, SearchParams<'static>)> {
    vec![
        ("default", plain()),
        ("recall 0.5", SearchParams { recall: 0.5, ..plain() }),
        ("recall 0.99", SearchParams { recall: 0.99, ..plain() }),
        ("recall 1", SearchParams { recall: 1.0, ..plain() }),
        ("one probe", SearchParams { probes: 1, ..plain() }),
        ("nine probes", SearchParams { probes: 9, ..plain() }),
        ("few exact distances", SearchParams { rerank: 12, ..plain() }),
        ("everything", everything()),
        ("everything of few leaves", SearchParams { probes: 4, ..everything() }),
        ("exact", exact()),
    ]
}

#[test]
fn every_way_to_ask_under_every_metric() {
    for metric in METRICS {
        let index = Index::tree(Set::typical(metric, 3000, 40), 24);
        let (handles, queries) = (by_threads(&index), index.set.queries(200));
        for (what, params) in ways() {
            check(&handles, &queries, 10, &params, what);
        }
        check(&handles, &queries, 1, &plain(), "nearest alone");
        check(&handles, &queries[..7 * 40], 700, &plain(), "a large k");
    }
}

#[test]
fn ties_segments_and_other_elements() {
    for (nth, element) in crate::support::ELEMENTS.into_iter().enumerate() {
        let set = Set::whole(METRICS[nth], element, 1500, 33, 8).with_scattered_ids();
        let params = BuildParams { leaf_rows: 15, segment_rows: 600, ..BuildParams::default() };
        let index = Index::new(set, &params);
        let (handles, queries) = (by_threads(&index), index.set.queries(65));
        for (what, params) in ways() {
            check(&handles, &queries, 10, &params, what);
        }
    }
    let pictures = Set::of_file(Metric::L2, &carried("tests/data/fashion/base.u8bin"));
    let queries = VecFile::open(&carried("tests/data/fashion/query.u8bin")).unwrap();
    let queries = Matrix::of(&queries).unwrap();
    let index = Index::new(pictures, &BuildParams::default());
    check(&by_threads(&index), queries.values(), 10, &plain(), "pictures");
}

#[test]
fn filters_and_limits() {
    let index = Index::tree(Set::typical(Metric::L2, 6000, 24), 24);
    let (handles, queries) = (by_threads(&index), index.set.queries(65));
    let all = index.set.all_ids();
    // Some so few that they are met one by one, some not; some so few that searches must widen.
    for count in [1, 40, 4500, 5990] {
        for named in Named::forms(&all, &some_of(&all, count, 3)) {
            for (what, params) in ways().into_iter().step_by(2) {
                let params = SearchParams { filter: named.filter(), ..params };
                check(&handles, &queries[..33 * 24], 10, &params, &format!("{count} rows, {what}"));
            }
        }
    }
    let limit = searches(&handles[0], &queries[..24], 60, &exact())[0].distances[59];
    for (what, params) in ways() {
        let params = SearchParams { max_distance: Some(limit), ..params };
        check(&handles, &queries, 100, &params, &format!("within {limit}, {what}"));
    }
}

#[test]
fn equal_queries_and_no_queries() {
    let index = Index::tree(Set::typical(Metric::Cosine, 2000, 16), 24);
    let one = index.set.queries(1);
    let single = searches(&index.db, &one, 10, &plain());
    for found in batch(&index.db, &one.repeat(70), 10, &SearchParams::default()) {
        assert_eq!(found, single[0]);
    }
    assert_eq!(batch(&index.db, &[], 10, &plain()), Vec::<Answer>::new());
}

#[test]
fn a_long_scan_on_several_threads_is_that_of_one() {
    // More codes than a scan takes on one thread where it may have more.
    let set = Set { element: ElementType::U8, ..Set::whole(Metric::L2, ElementType::U8, 70_000, 12, 2) };
    let index = Index::new(set, &BuildParams { flat: true, ..BuildParams::default() });
    let queries = index.set.queries(6);
    let handles = by_threads(&index);
    let all = index.set.all_ids();
    let (half, none) = (some_of(&all, 35_000, 5), HashSet::new());
    let mut filters = Named::forms(&all, &half);
    filters.extend(Named::forms(&all, &none));
    let mut ways = ways();
    ways.push(("near", SearchParams { max_distance: Some(40.0), ..plain() }));
    ways.extend(filters.iter().map(|named| ("filtered", SearchParams { filter: named.filter(), ..plain() })));
    for (what, params) in ways {
        for query in queries.chunks_exact(12) {
            let one = SearchParams { threads: 1, ..params };
            let (expected, counted) = search_counted(&handles[0], query, 50, &one);
            for (db, threads) in [(&handles[1], 0), (&handles[2], 0), (&handles[2], 2), (&handles[1], 9)] {
                let more = SearchParams { threads, ..params };
                let (found, stats) = search_counted(db, query, 50, &more);
                assert_eq!(found, expected, "{what} on {threads} threads");
                let work = |s: &vdb::database::SearchStats| (s.codes_scanned, s.leaves_scanned, s.probes);
                assert_eq!(work(&stats), work(&counted), "{what} on {threads} threads");
            }
        }
        check(&handles, &queries, 50, &params, what);
    }
}

#[test]
fn a_batch_counts_the_work_of_its_searches() {
    let index = Index::tree(Set::typical(Metric::L2, 3000, 32), 24);
    let queries = index.set.queries(70);
    for (what, params) in ways() {
        let (_, batched) = batch_counted(&index.db, &queries, 10, &params);
        let mut summed = vdb::database::SearchStats::default();
        for query in queries.chunks_exact(32) {
            summed.add(&search_counted(&index.db, query, 10, &params).1);
        }
        let work = |s: vdb::database::SearchStats| {
            (s.probes, s.leaves_scanned, s.codes_scanned, s.nodes_ranked, s.rows_reranked)
        };
        assert_eq!(work(batched), work(summed), "{what}");
    }
}
