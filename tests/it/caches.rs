//! Caches change no answer: they count, keep to their bytes, can be resized and cleared at any time, and are
//! passed over when a search says so.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::support::{
    batch, build, exact, plain, search, search_counted, searches, some_of, Answer, Index, Naive, Named, Set,
};
use vdb::database::{CacheKind, CacheReport, Database, Job, OpenOptions};
use vdb::types::params::{BuildParams, Filter, SearchParams};
use vdb::types::{ElementType, Metric};

/// With both caches, and vectors that are read, since mapped ones are cached by the system.
fn cached(vector_bytes: u64, answer_bytes: u64) -> OpenOptions {
    OpenOptions {
        no_mmap: true,
        vector_cache_bytes: Some(vector_bytes),
        answer_cache_bytes: Some(answer_bytes),
        ..OpenOptions::default()
    }
}

fn remembering() -> SearchParams<'static> {
    SearchParams::default()
}

fn answers(db: &Database) -> CacheReport {
    db.cache(CacheKind::Answers)
}

fn vectors(db: &Database) -> CacheReport {
    db.cache(CacheKind::Vectors)
}

/// What a cache does must be neither of this.
fn counts(report: CacheReport) -> (u64, u64, u64, u64) {
    (report.entries, report.used_bytes, report.hits, report.misses)
}

#[test]
fn an_answer_that_is_remembered_is_the_answer() {
    let index = Index::tree(Set::typical(Metric::Cosine, 3000, 32), 20);
    let db = index.open(&cached(0, 1 << 20));
    let all = index.set.all_ids();
    let named = Named::forms(&all, &some_of(&all, 500, 1));
    let queries = index.set.queries(5);
    let mut ways: Vec<SearchParams<'_>> = vec![
        remembering(),
        SearchParams { recall: 0.8, ..remembering() },
        SearchParams { probes: 2, ..remembering() },
        SearchParams { probes: 3, ..remembering() },
        SearchParams { rerank: 11, ..remembering() },
        SearchParams { max_distance: Some(0.4), ..remembering() },
        SearchParams { max_distance: Some(0.3), ..remembering() },
        SearchParams { exact: true, ..remembering() },
    ];
    ways.extend(named.iter().map(|named| SearchParams { filter: named.filter(), ..remembering() }));
    let mut asked = 0;
    for round in 0..3 {
        for params in &ways {
            for k in [1, 10, 30] {
                for query in queries.chunks_exact(32) {
                    let expected = search(&db, query, k, &SearchParams { no_cache: true, ..*params });
                    let (found, stats) = search_counted(&db, query, k, params);
                    assert_eq!(found, expected, "round {round}, k {k}, {params:?}");
                    assert_eq!(stats.answer_cache_hit, u32::from(round > 0), "k {k}, {params:?}");
                    asked += u64::from(round == 0);
                }
            }
        }
    }
    let report = answers(&db);
    assert_eq!((report.entries, report.misses, report.hits), (asked, asked, 2 * asked));
    assert!(report.used_bytes > asked * 32 * 4 && report.used_bytes <= report.capacity_bytes);
    assert_eq!(db.memory().answer_cache_bytes, report.used_bytes);
}

#[test]
fn batches_and_searches_remember_for_each_other() {
    let index = Index::tree(Set::typical(Metric::L2, 3000, 16), 20);
    let db = index.open(&cached(0, 1 << 20));
    let queries = index.set.queries(100);
    let expected = searches(&db, &queries, 10, &plain());
    assert_eq!(searches(&db, &queries[..40 * 16], 10, &remembering()), expected[..40]);
    assert_eq!(batch(&db, &queries, 10, &remembering()), expected);
    assert_eq!((answers(&db).hits, answers(&db).misses), (40, 100));
    assert_eq!(batch(&db, &queries, 10, &remembering()), expected);
    assert_eq!(searches(&db, &queries, 10, &remembering()), expected);
    assert_eq!((answers(&db).hits, answers(&db).misses, answers(&db).entries), (240, 100, 100));
    // An answer without distances is the same answer.
    let mut ids = [0; 10];
    db.search(&queries[..16], 10, &remembering(), &mut ids, None).unwrap();
    assert_eq!(ids[..], expected[0].ids);
    assert_eq!(answers(&db).hits, 241);
}

#[test]
fn a_changed_filter_is_another_question() {
    let index = Index::tree(Set::typical(Metric::L2, 2000, 8), 20);
    let db = index.open(&cached(0, 1 << 20));
    let query = index.set.queries(1);
    // The caller's own list, changed in place between searches.
    let mut ids: Vec<u64> = (0..50).collect();
    let mut words = [!0u64; 8];
    for step in 0..50 {
        ids[step] += 1000;
        ids.sort_unstable();
        words[step / 8] &= words[step / 8] << 1;
        for exclude in [false, true] {
            for filter in [
                Filter::Ids { ids: &ids, exclude },
                Filter::Bitmap { words: &words, first_id: 0, exclude },
                Filter::Bitmap { words: &words, first_id: 64, exclude },
            ] {
                let params = SearchParams { filter, ..remembering() };
                let expected = search(&db, &query, 10, &SearchParams { no_cache: true, ..params });
                assert_eq!(search(&db, &query, 10, &params), expected, "{params:?}");
                assert_eq!(search(&db, &query, 10, &params), expected, "{params:?}");
            }
        }
    }
    assert!(answers(&db).hits >= 300);
}

#[test]
fn vectors_that_are_kept_are_not_read_again() {
    for element in [ElementType::F32, ElementType::F16, ElementType::U8] {
        let index = Index::tree(Set::whole(Metric::L2, element, 2000, 30, 3), 20);
        let db = index.open(&cached(1 << 22, 0));
        let mapped = index.open(&OpenOptions { vector_cache_bytes: Some(1 << 22), ..OpenOptions::default() });
        let queries = index.set.queries(30);
        let expected = searches(&mapped, &queries, 10, &plain());
        assert_eq!(searches(&db, &queries, 10, &remembering()), expected);
        let first = vectors(&db);
        assert!(first.misses > 0 && first.entries == first.misses, "{first:?}");
        assert!(first.used_bytes >= first.entries * (30 * element.bytes() as u64));
        for (query, expected) in queries.chunks_exact(30).zip(&expected) {
            let (found, stats) = search_counted(&db, query, 10, &remembering());
            assert_eq!(&found, expected);
            assert!(stats.rows_reranked > 0 && (stats.rows_read, stats.bytes_read) == (0, 0), "{stats:?}");
        }
        let second = vectors(&db);
        assert_eq!((second.entries, second.misses), (first.entries, first.misses));
        assert!(second.hits >= first.hits + 300);
        assert_eq!(db.memory().vector_cache_bytes, second.used_bytes);
        // Vectors asked for by id come by the same way.
        let mut vector = vec![0.0; 30];
        db.get(&expected[0].ids[..1], &mut vector, None).unwrap();
        assert_eq!(vectors(&db).hits, second.hits + 1);
        // Mapped vectors need no cache of ours.
        assert_eq!(counts(vectors(&mapped)), (0, 0, 0, 0));
    }
}

#[test]
fn no_cache_neither_reads_nor_fills() {
    let index = Index::tree(Set::typical(Metric::L2, 2000, 16), 20);
    let db = index.open(&cached(1 << 20, 1 << 20));
    let queries = index.set.queries(20);
    let ask = |params: &SearchParams<'_>| {
        assert_eq!(searches(&db, &queries, 10, params), batch(&db, &queries, 10, params));
    };
    for params in [plain(), exact(), SearchParams { probes: 4, ..plain() }] {
        ask(&params);
        assert_eq!((counts(answers(&db)), counts(vectors(&db))), ((0, 0, 0, 0), (0, 0, 0, 0)));
    }
    ask(&remembering());
    let (filled_answers, filled_vectors) = (answers(&db), vectors(&db));
    assert!(filled_answers.hits >= 20 && filled_vectors.misses > 0);
    for params in [plain(), exact()] {
        ask(&params);
        assert_eq!((answers(&db), vectors(&db)), (filled_answers, filled_vectors));
    }
}

#[test]
fn bytes_stay_within_bounds_through_resize_and_clear() {
    let index = Index::tree(Set::typical(Metric::L2, 3000, 24), 20);
    let db = index.open(&cached(64 << 10, 64 << 10));
    let queries = index.set.queries(300);
    let expected = searches(&db, &queries, 10, &plain());
    let ask = || assert_eq!(searches(&db, &queries, 10, &remembering()), expected);
    let both = [CacheKind::Answers, CacheKind::Vectors];
    let mut before = both.map(|kind| db.cache(kind));
    for bytes in [64 << 10, 16 << 10, 0, 1, 300, 32 << 10, 8 << 20, 0, 64 << 10] {
        for kind in both {
            db.cache_resize(kind, bytes).unwrap();
            let report = db.cache(kind);
            assert_eq!(report.capacity_bytes, bytes);
            assert!(report.used_bytes <= bytes, "at once: {report:?}");
        }
        ask();
        ask();
        for (kind, before) in both.into_iter().zip(&mut before) {
            let report = db.cache(kind);
            assert!(report.used_bytes <= bytes, "{kind:?} of {bytes}: {report:?}");
            assert_eq!(report.entries == 0, report.used_bytes == 0, "{report:?}");
            if bytes < 512 {
                // Nothing fits; when it is off, nobody even looks.
                assert_eq!(report.entries, 0, "{report:?}");
                assert!(bytes > 0 || (report.hits, report.misses) == (before.hits, before.misses));
            } else {
                assert!(report.entries > 0 && report.misses > before.misses, "{report:?}");
            }
            assert!(bytes < 8 << 20 || report.hits > before.hits, "{report:?}");
            assert!(report.evictions >= before.evictions);
            *before = report;
        }
    }
    assert!(before.iter().all(|report| report.evictions > 0), "{before:?}");
    for kind in both {
        let full = db.cache(kind);
        db.cache_clear(kind);
        let cleared = db.cache(kind);
        assert_eq!((cleared.entries, cleared.used_bytes), (0, 0));
        assert_eq!((cleared.capacity_bytes, cleared.hits), (full.capacity_bytes, full.hits));
        assert_eq!((cleared.misses, cleared.evictions), (full.misses, full.evictions));
    }
    ask();
}

/// Rows of another seed at the same path: the same ids, other vectors.
fn replace(path: &Path, seed: u64) -> Set {
    let set = Set::whole(Metric::L2, ElementType::F32, 1500, 12, seed);
    let params = BuildParams { replace: true, leaf_rows: 20, ..BuildParams::default() };
    build(path, set, &params, &Job::default())
}

#[test]
fn a_replaced_index_never_answers_with_what_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut handles: Vec<(Set, Database, Vec<Answer>)> = Vec::new();
    let queries = replace(dir.path(), 0).queries(20);
    for seed in 1..4 {
        let set = replace(dir.path(), seed);
        let db = Database::open(dir.path(), &cached(1 << 20, 1 << 20)).unwrap();
        assert_eq!(db.info().generation, seed + 1);
        for query in queries.chunks_exact(12) {
            let naive = Naive::new(&set, query, |_| true);
            for _ in 0..2 {
                naive.assert_same(
                    &search(&db, query, 5, &SearchParams { exact: true, ..remembering() }),
                    5,
                    "new",
                );
            }
        }
        let answers = searches(&db, &queries, 10, &remembering());
        handles.push((set, db, answers));
        // Handles that were open see what they saw, whether it is remembered or not.
        for (set, db, answers) in &handles {
            assert_eq!(&searches(db, &queries, 10, &remembering()), answers);
            assert_eq!(&searches(db, &queries, 10, &plain()), answers);
            let mut vector = [0.0; 12];
            db.get(&[77], &mut vector, None).unwrap();
            assert_eq!(vector, set.row(77));
        }
    }
}

#[test]
fn many_threads_at_once() {
    let index = Index::tree(Set::typical(Metric::InnerProduct, 2000, 16), 20);
    let db = index.open(&cached(40 << 10, 40 << 10));
    let queries = index.set.queries(60);
    let expected = searches(&db, &queries, 10, &plain());
    let running = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let (db, queries, expected, running) = (&db, &queries, &expected, &running);
        scope.spawn(move || {
            let sizes = [0u64, 4 << 10, 40 << 10, 1 << 20];
            for round in (0..).take_while(|_| running.load(Relaxed)) {
                for kind in [CacheKind::Answers, CacheKind::Vectors] {
                    db.cache_resize(kind, sizes[round % 4]).unwrap();
                    if round % 3 == 0 {
                        db.cache_clear(kind);
                    }
                }
            }
        });
        let askers: Vec<_> = (0..3usize)
            .map(|thread| {
                scope.spawn(move || {
                    for round in 0..12 {
                        let first = (thread * 17 + round * 5) % 50;
                        let part = &queries[first * 16..(first + 10) * 16];
                        let found = match (thread + round) % 2 {
                            0 => batch(db, part, 10, &remembering()),
                            _ => searches(db, part, 10, &remembering()),
                        };
                        assert_eq!(found, expected[first..first + 10]);
                    }
                })
            })
            .collect();
        let outcomes: Vec<_> = askers.into_iter().map(|asker| asker.join()).collect();
        running.store(false, Relaxed);
        outcomes.into_iter().for_each(|outcome| outcome.unwrap());
    });
}

#[test]
fn a_cache_that_was_turned_off_while_it_was_filled_is_empty() {
    let index = Index::tree(Set::typical(Metric::L2, 1000, 8), 20);
    let db = index.open(&cached(1 << 20, 1 << 20));
    let queries = index.set.queries(50);
    // An insertion that began before the resize must not outlive it.
    for _ in 0..300 {
        let both = [CacheKind::Answers, CacheKind::Vectors];
        both.into_iter().for_each(|kind| db.cache_resize(kind, 1 << 20).unwrap());
        std::thread::scope(|scope| {
            scope.spawn(|| searches(&db, &queries, 3, &remembering()));
            scope.spawn(|| both.into_iter().for_each(|kind| db.cache_resize(kind, 0).unwrap()));
        });
        for kind in both {
            let report = db.cache(kind);
            assert_eq!((report.entries, report.used_bytes), (0, 0), "{kind:?}");
        }
    }
}
