//! What a search allocates once its buffers have grown: nothing, or a few lists.

use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use vdb::database::{CacheKind, Database, OpenOptions};
use vdb::types::params::{BuildParams, Filter, SearchParams, RERANK_ALL};
use vdb::types::{ElementType, Metric};

use crate::allocator::{alone, ALL_CALLS, CALLS};
use crate::fixture::{folder, params, rows};
use crate::{index, many_rows, DIM, ROWS};

/// Allocations of one pass over the queries, after passes that let all buffers grow.
fn allocations(db: &Database, queries: &[f32], k: usize, params: &SearchParams<'_>) -> u64 {
    let (mut ids, mut distances) = (vec![0u64; k], vec![0f32; k]);
    let mut pass = || {
        let before = CALLS.get();
        for query in queries.chunks_exact(DIM) {
            db.search(query, k, params, &mut ids, Some(&mut distances)).unwrap();
        }
        CALLS.get() - before
    };
    let cold = pass();
    pass();
    let warm = pass();
    assert!(cold > 0 || params.threads == 1, "the counter does not count");
    warm
}

#[test]
fn a_warm_search_allocates_nothing() {
    let _turn = alone();
    let queries = rows(40, DIM, 4);
    let every_third: Vec<u64> = (0..ROWS as u64).step_by(3).collect();
    let few = [5u64, 77, 1234, 5999];
    let bitmap = vec![0x1111_1111_1111_1111u64; ROWS / 64];
    let base = SearchParams { no_cache: true, threads: 1, ..SearchParams::default() };
    let named = |ids, exclude| SearchParams { filter: Filter::Ids { ids, exclude }, ..base };
    let words = Filter::Bitmap { words: &bitmap, first_id: 7, exclude: false };
    let ways = [
        ("default", base),
        ("much recall", SearchParams { recall: 1.0, ..base }),
        ("one probe", SearchParams { probes: 1, ..base }),
        ("every row of the leaves", SearchParams { probes: 3, rerank: RERANK_ALL, ..base }),
        ("exact", SearchParams { exact: true, ..base }),
        ("range", SearchParams { max_distance: Some(1.0), ..base }),
        ("time limit", SearchParams { timeout_ns: u64::MAX / 4, ..base }),
        ("a third of the ids", named(&every_third, false)),
        ("a few ids", named(&few, false)),
        ("all but a few ids", named(&few, true)),
        ("bitmap", SearchParams { filter: words, ..base }),
        ("the vector cache", SearchParams { no_cache: false, ..base }),
    ];
    for (element, metric, flat) in [
        (ElementType::F32, Metric::L2, false),
        (ElementType::F16, Metric::Cosine, false),
        (ElementType::U8, Metric::InnerProduct, true),
    ] {
        let dir = folder();
        index(
            dir.path(),
            element,
            &BuildParams { metric, flat, leaf_rows: 16, segment_rows: 4_000, ..params() },
        );
        for no_mmap in [false, true] {
            let options =
                OpenOptions { threads: 1, no_mmap, answer_cache_bytes: Some(0), ..OpenOptions::default() };
            let db = Database::open(dir.path(), &options).unwrap();
            assert_eq!(db.info().links, !flat);
            for (what, params) in &ways {
                for k in [1, 10, 200] {
                    let warm = allocations(&db, &queries, k, params);
                    assert_eq!(warm, 0, "{what}, k {k}, {element:?}, flat: {flat}, no_mmap: {no_mmap}");
                }
            }
        }
    }
}

/// Allocations on all threads while `work` runs, once it has run often enough for all buffers to have grown. The
/// middle one of some runs: which thread takes which buffers is chance, and one that seldom came to work may have grown
/// none yet.
fn warm_calls(mut work: impl FnMut()) -> usize {
    (0..40).for_each(|_| work());
    let mut calls: Vec<usize> = (0..5)
        .map(|_| {
            let before = ALL_CALLS.load(Relaxed);
            work();
            ALL_CALLS.load(Relaxed) - before
        })
        .collect();
    calls.sort_unstable();
    calls[2]
}

/// A batch makes the list of its tiles and that of its scratches, and one of counts if the caller has none.
const CALLS_A_BATCH: usize = 3;
/// A loop of several threads makes what they meet at, and for each thread what the queue of the pool wants.
const CALLS_A_LOOP: usize = 4;
const CALLS_A_THREAD: usize = 3;

#[test]
fn a_warm_batch_allocates_a_few_lists_however_many_queries_it_has() {
    let _turn = alone();
    let (dir, queries) = (folder(), rows(160, DIM, 4));
    index(dir.path(), ElementType::F32, &BuildParams { leaf_rows: 16, segment_rows: 4_000, ..params() });
    for threads in [1, 2, 4] {
        for no_mmap in [false, true] {
            let answer_cache_bytes = Some(0);
            let options = OpenOptions { threads, no_mmap, answer_cache_bytes, ..OpenOptions::default() };
            let db = Database::open(dir.path(), &options).unwrap();
            for (k, exact) in [(1, false), (10, false), (200, false), (10, true)] {
                let params = SearchParams { exact, no_cache: true, ..SearchParams::default() };
                let mut ids = vec![0; 160 * k];
                let calls = warm_calls(|| {
                    db.batch_search(&queries, DIM, k, &params, &mut ids, None, None).unwrap();
                });
                let threads = threads as usize;
                let most =
                    CALLS_A_BATCH + if threads > 1 { CALLS_A_LOOP + CALLS_A_THREAD * threads } else { 0 };
                assert!(
                    calls <= most,
                    "{calls}, {threads} threads, k {k}, exact: {exact}, no_mmap: {no_mmap}"
                );
            }
        }
    }
}

#[test]
fn a_warm_search_of_several_threads_allocates_what_they_meet_at() {
    let _turn = alone();
    let (dir, threads) = (folder(), 4);
    let queries = many_rows(dir.path(), 100_000);
    let options =
        OpenOptions { threads, answer_cache_bytes: Some(0), no_mmap: true, ..OpenOptions::default() };
    let db = Database::open(dir.path(), &options).unwrap();
    for exact in [false, true] {
        let params = SearchParams { exact, recall: 1.0, no_cache: true, threads, ..SearchParams::default() };
        for k in [10, 1_000] {
            let mut ids = vec![0; k];
            let calls = warm_calls(|| {
                db.search(&queries[..4], k, &params, &mut ids, None).unwrap();
            });
            // And the units of the scan, and the scratches.
            let most = 2 + CALLS_A_LOOP + CALLS_A_THREAD * threads as usize;
            assert!(calls <= most, "{calls}, k {k}, exact: {exact}");
        }
    }
}

#[test]
fn a_search_that_ends_early_leaves_its_memory_to_the_next() {
    let _turn = alone();
    let (dir, queries) = (folder(), rows(40, DIM, 4));
    index(dir.path(), ElementType::F32, &BuildParams { leaf_rows: 16, segment_rows: 4_000, ..params() });
    let options = OpenOptions { threads: 1, answer_cache_bytes: Some(0), ..OpenOptions::default() };
    let db = Database::open(dir.path(), &options).unwrap();
    let set = AtomicI32::new(1);
    for exact in [false, true] {
        let params =
            SearchParams { exact, recall: 1.0, no_cache: true, threads: 1, ..SearchParams::default() };
        let mut ids = vec![0; 40 * 200];
        let mut pass = |params: &SearchParams<'_>| {
            let one = db.search(&queries[..DIM], 200, params, &mut ids, None).map(|_| ());
            let many =
                db.batch_search(&queries, DIM, 200, params, &mut ids, None, Some(&mut [0; 40])).map(|_| ());
            (one, many)
        };
        let warm = warm_calls(|| {
            let (one, many) = pass(&params);
            one.and(many).unwrap();
        });
        // Stopped at once, and somewhere on the way.
        let mut stopped = 0;
        for timeout_ns in (0..40).map(|nth| 1 << (nth / 2)) {
            for cancel in [None, Some(&set)] {
                let (one, many) = pass(&SearchParams { timeout_ns, cancel, ..params });
                stopped += usize::from(one.is_err()) + usize::from(many.is_err());
                drop((one, many));
                let before = ALL_CALLS.load(Relaxed);
                let (one, many) = pass(&params);
                let calls = ALL_CALLS.load(Relaxed) - before;
                one.and(many).unwrap();
                assert_eq!(calls, warm, "after a stop at {timeout_ns} ns, exact: {exact}");
            }
        }
        assert!(stopped > 90, "{stopped}");
    }
}

#[test]
fn an_answer_from_the_cache_allocates_nothing() {
    let _turn = alone();
    let (dir, queries) = (folder(), rows(40, DIM, 4));
    index(dir.path(), ElementType::F32, &params());
    let options = OpenOptions { threads: 1, answer_cache_bytes: Some(4 << 20), ..OpenOptions::default() };
    let db = Database::open(dir.path(), &options).unwrap();
    assert_eq!(allocations(&db, &queries, 10, &SearchParams::default()), 0);
    let cache = db.cache(CacheKind::Answers);
    assert_eq!((cache.hits, cache.misses), (80, 40));
}
