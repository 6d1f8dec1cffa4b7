//! Links between rows: what they are, that they help, and that every promise holds with them.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::fixture;
use crate::support::{
    batch, build, everything, exact, plain, search, search_counted, some_of, Index, Naive, Named, Set,
    METRICS,
};
use vdb::database::{self, Database, GivenIds, Job, OpenOptions, Pool};
use vdb::format::{Manifest, SectionKind, SegmentFile};
use vdb::index::links::{LINKS_A_ROW, NO_LINK};
use vdb::input::ArrayRows;
use vdb::search::met::MetRows;
use vdb::types::params::{BuildParams, LinkMode, SearchParams};
use vdb::types::{ElementType, Metric, Status};
use vdb::vfs::{OsVfs, Vfs};
use workload::gen::{Difficulty, GenParams};

/// Rows are linked.
fn linked() -> BuildParams {
    BuildParams { links: LinkMode::On, ..BuildParams::default() }
}

/// The links of each segment, row by row, in the order of positions.
fn links_of(path: &Path) -> Vec<Vec<Vec<u32>>> {
    let vfs: Arc<dyn Vfs> = OsVfs::open_dir(path).unwrap();
    let manifest = Manifest::load(&*vfs).unwrap();
    let segments = manifest.segments.iter().map(|entry| {
        let file = SegmentFile::open(&*vfs, &manifest, entry).unwrap();
        let Some(section) = file.section(SectionKind::LINKS) else { return Vec::new() };
        assert_eq!(section.bytes, entry.rows * LINKS_A_ROW as u64 * 4);
        let links = file.read(SectionKind::LINKS).unwrap();
        links.as_slice::<u32>().chunks_exact(LINKS_A_ROW).map(<[u32]>::to_vec).collect()
    });
    segments.collect()
}

/// Every link names another row, each once, and no gap is between them; how many there are.
fn check_links(index: &Index) -> usize {
    let segments = links_of(&index.path());
    let mut count = 0;
    for (nth, rows) in segments.iter().enumerate() {
        let report = index.db.segment(nth as u32).unwrap();
        assert_eq!(report.link_bytes, (rows.len() * LINKS_A_ROW * 4) as u64);
        for (position, links) in rows.iter().enumerate() {
            let there: Vec<u32> = links.iter().copied().take_while(|link| *link != NO_LINK).collect();
            assert!(links[there.len()..].iter().all(|link| *link == NO_LINK), "{position}: {links:?}");
            assert!(there.iter().all(|link| (*link as usize) < rows.len()), "{position}: {links:?}");
            assert!(!there.contains(&(position as u32)), "{position}: {links:?}");
            assert_eq!(there.iter().collect::<HashSet<_>>().len(), there.len(), "{position}: {links:?}");
            count += there.len();
        }
        // Leaves have every row once, so that there is a way to each.
        let mut members = vec![0; report.rows as usize];
        assert_eq!(index.db.node_members(nth as u32, 0, 0, &mut members).unwrap(), report.rows);
        assert_eq!(members.iter().collect::<HashSet<_>>().len(), members.len());
    }
    database::verify(&index.path(), &Job::default()).unwrap();
    count
}

/// Any way to ask gives true distances in order, and what must be exact is.
fn check_answers(index: &Index, queries: &[f32], k: usize) {
    let found = index.set.count().min(k);
    for (nth, query) in queries.chunks_exact(index.set.dim).enumerate() {
        let naive = Naive::new(&index.set, query, |_| true);
        for params in [everything(), exact()] {
            naive.assert_same(&search(&index.db, query, k, &params), k, &format!("query {nth}"));
        }
        let ways = [
            plain(),
            SearchParams { recall: 0.5, ..plain() },
            SearchParams { recall: 1.0, ..plain() },
            SearchParams { probes: 1, ..plain() },
            SearchParams { probes: 3, rerank: 5, ..plain() },
        ];
        for params in ways {
            let answer = search(&index.db, query, k, &params);
            naive.assert_true(&answer, &format!("query {nth}, {params:?}"));
            assert_eq!(answer.ids.len(), found, "query {nth}, {params:?}");
        }
    }
}

#[test]
fn every_metric_and_dimension() {
    for (nth, dim) in [1, 3, 64, 100, 1000].into_iter().enumerate() {
        for metric in METRICS {
            let count = if dim == 1000 { 600 } else { 1500 };
            let set = Set::whole(metric, ElementType::F32, count, dim, nth as u64);
            let index = Index::new(set, &BuildParams { leaf_rows: 12, ..linked() });
            assert!(index.db.info().links && check_links(&index) >= count, "{dim}, {}", metric.name());
            check_answers(&index, &index.set.queries(3), 10);
        }
    }
}

#[test]
fn equal_rows_near_ones_and_leaves_of_one_row() {
    let equal = Set { rows: vec![3.0; 900 * 8], ..Set::whole(Metric::L2, ElementType::F32, 900, 8, 1) };
    let mut near = Set::typical(Metric::Cosine, 900, 16);
    for row in 1..900 {
        near.rows.copy_within(0..16, row * 16);
        near.rows[row * 16 + row % 16] += 1e-6 * row as f32;
    }
    for (set, leaf_rows) in [
        (equal.clone(), 8),
        (equal, 1),
        (near.clone(), 8),
        (near, 48),
        (Set::whole(Metric::L2, ElementType::F32, 900, 8, 3), 1),
        (Set::whole(Metric::InnerProduct, ElementType::F32, 3, 8, 3), 1),
        (Set::whole(Metric::InnerProduct, ElementType::F32, 2, 8, 3), 1),
    ] {
        let index = Index::new(set, &BuildParams { leaf_rows, ..linked() });
        check_links(&index);
        check_answers(&index, &index.set.queries(3), 10);
    }
}

#[test]
fn an_index_has_links_where_it_has_a_tree_and_none_were_refused() {
    let has = |count, params: &BuildParams| {
        let index = Index::new(Set::typical(Metric::L2, count, 8), params);
        let links = !links_of(&index.path())[0].is_empty();
        assert_eq!(index.db.info().links, links);
        assert_eq!(index.db.memory().link_bytes > 0, links);
        check_answers(&index, &index.set.queries(1), 10);
        links
    };
    let auto = BuildParams::default();
    // The last size that is scanned by itself, and the first that is not.
    assert!(!has(4096, &auto) && has(4097, &auto));
    assert!(!has(4097, &BuildParams { links: LinkMode::Off, ..auto.clone() }));
    assert!(!has(4097, &BuildParams { flat: true, ..linked() }));
    assert!(!has(100, &linked()));
    assert!(has(100, &BuildParams { leaf_rows: 4, ..auto }));
}

#[test]
fn the_memory_limit_decides_or_is_named() {
    let set = Set::typical(Metric::L2, 20_000, 64);
    let source = ArrayRows::of_floats(&set.rows, set.dim).unwrap();
    let estimate = |links| {
        let params = BuildParams { links, threads: 1, ..BuildParams::default() };
        database::estimate(20_000, 64, ElementType::F32, GivenIds::None, &params).unwrap()
    };
    let [auto, on, off] = [LinkMode::Auto, LinkMode::On, LinkMode::Off].map(estimate);
    assert_eq!(auto.build_memory_bytes, off.build_memory_bytes);
    assert_eq!(auto.build_memory_best_bytes, on.build_memory_best_bytes);
    assert!(on.build_memory_bytes > off.build_memory_bytes);
    assert_eq!(
        on.open_memory_bytes - off.open_memory_bytes,
        20_000 * (LINKS_A_ROW as u64 * 4) + MetRows::bytes_max(20_000, 20_000, 0, 20_000)
    );
    assert!(on.index_disk_bytes >= off.index_disk_bytes + 20_000 * LINKS_A_ROW as u64 * 4);
    let lines = Mutex::new(Vec::new());
    let log = |_, line: &str| lines.lock().unwrap().push(line.to_owned());
    let build = |links, memory_limit_bytes| {
        lines.lock().unwrap().clear();
        let dir = fixture::folder();
        let params = BuildParams { links, memory_limit_bytes, threads: 1, ..BuildParams::default() };
        let job = Job { log: Some(&log), ..Job::default() };
        let report = database::build(dir.path(), &source, None, &params, &job)?;
        let told = lines.lock().unwrap().iter().any(|line| line.contains("rows are not linked"));
        let linked = fixture::open(dir.path()).unwrap().info().links;
        assert_eq!((report.links, told), (linked, links != LinkMode::Off && !linked));
        assert!(report.peak_bytes <= memory_limit_bytes);
        Ok::<bool, vdb::types::Error>(linked)
    };
    assert!(!build(LinkMode::Auto, on.build_memory_bytes - 1).unwrap());
    assert!(build(LinkMode::Auto, on.build_memory_bytes).unwrap());
    assert!(build(LinkMode::On, on.build_memory_bytes).unwrap());
    assert!(!build(LinkMode::Off, on.build_memory_bytes).unwrap());
    let refused = build(LinkMode::On, on.build_memory_bytes - 1).unwrap_err();
    assert_eq!(
        (refused.status(), refused.needed_bytes()),
        (Status::OutOfMemory, Some(on.build_memory_bytes))
    );
    assert!(refused.message().contains("links"), "{refused}");
    let refused = build(LinkMode::Auto, off.build_memory_bytes - 1).unwrap_err();
    assert_eq!(refused.needed_bytes(), Some(off.build_memory_bytes));
}

#[test]
fn recall_for_the_same_codes_is_better_than_without() {
    let trial = |links| {
        let set = Set::drawn(Metric::L2, GenParams::new(96, Difficulty::Hard), 12_000);
        Index::new(set, &BuildParams { links, ..BuildParams::default() })
    };
    let (with, without) = (trial(LinkMode::On), trial(LinkMode::Off));
    let queries = with.set.queries(200);
    let truth: Vec<Naive> =
        queries.chunks_exact(96).map(|query| Naive::new(&with.set, query, |_| true)).collect();
    let measure = |index: &Index, params: &SearchParams<'_>| {
        let (mut codes, mut walked, mut hits) = (0, 0, 0);
        for (query, naive) in queries.chunks_exact(96).zip(&truth) {
            let (answer, stats) = search_counted(&index.db, query, 10, params);
            assert!(stats.codes_walked <= stats.codes_scanned);
            codes += stats.codes_scanned;
            walked += stats.codes_walked;
            hits += naive.hits_at(10, &answer);
        }
        (codes, walked, hits as f64 / (10 * truth.len()) as f64)
    };
    for recall in [0.9, 0.95, 0.98] {
        let (codes, walked, found) = measure(&with, &SearchParams { recall, ..plain() });
        assert!(walked > 0, "no link was followed");
        let mut probes = 1;
        let (scanned, found_without) = loop {
            let (scanned, walked, found) = measure(&without, &SearchParams { probes, ..plain() });
            assert_eq!(walked, 0);
            if scanned >= codes {
                break (scanned, found);
            }
            probes += 1;
        };
        println!("asked {recall}: {codes} codes {found:.4}, without {scanned} codes {found_without:.4}");
        assert!(found > found_without, "asked {recall}: {found} by {codes}, {found_without} by {scanned}");
    }
}

#[test]
fn single_batch_and_any_number_of_threads_are_the_same_bits() {
    // So many leaves that the scan of most of them is worth several threads.
    let set = Set::drawn(Metric::L2, GenParams::new(8, Difficulty::Hard), 80_000);
    let long = Index::new(set, &linked());
    let small = Set::whole(Metric::Cosine, ElementType::F32, 5_000, 24, 5).with_scattered_ids();
    let small = Index::new(small, &BuildParams { leaf_rows: 16, segment_rows: 2_000, ..linked() });
    for (index, probes) in [(&long, 1_450), (&small, 2)] {
        let queries = index.set.queries(33);
        let ways = [
            plain(),
            SearchParams { recall: 0.7, ..plain() },
            SearchParams { probes, ..plain() },
            SearchParams { probes, rerank: 20, ..plain() },
        ];
        let mut walked = 0;
        for params in ways {
            let one = SearchParams { threads: 1, ..params };
            let expected: Vec<_> = queries
                .chunks_exact(index.set.dim)
                .map(|query| search_counted(&index.db, query, 10, &one))
                .collect();
            walked += expected.iter().map(|(_, stats)| stats.codes_walked).sum::<u64>();
            for threads in [1, 2, 3] {
                let db = index.open(&OpenOptions { threads, ..OpenOptions::default() });
                let together = batch(&db, &queries, 10, &params);
                for (nth, query) in queries.chunks_exact(index.set.dim).enumerate() {
                    let (found, stats) =
                        search_counted(&db, query, 10, &SearchParams { threads: 0, ..params });
                    let work = |s: &database::SearchStats| (s.codes_scanned, s.codes_walked, s.rows_reranked);
                    assert_eq!((&found, work(&stats)), (&expected[nth].0, work(&expected[nth].1)));
                    assert_eq!(together[nth], found, "query {nth} of a batch on {threads} threads");
                }
            }
        }
        assert!(walked > 0, "no link was followed");
    }
}

#[test]
fn builds_on_any_number_of_threads_give_the_same_bytes() {
    for metric in METRICS {
        let set = Set::typical(metric, 3_000, 20);
        let bytes = |threads, pool: Option<&Pool>| {
            let dir = fixture::folder();
            let params = BuildParams { leaf_rows: 10, segment_rows: 2_000, threads, ..linked() };
            build(dir.path(), set.clone(), &params, &Job { pool, ..Job::default() });
            let names = fixture::names(dir.path());
            names.iter().map(|name| std::fs::read(dir.path().join(name)).unwrap()).collect::<Vec<_>>()
        };
        let first = bytes(1, None);
        let pool = Pool::new(3);
        for again in [bytes(1, None), bytes(2, None), bytes(3, None), bytes(0, Some(&pool))] {
            assert!(again == first, "{}: other bytes", metric.name());
        }
    }
}

#[test]
fn filters_limits_and_cursors_keep_their_word() {
    let set = Set::whole(Metric::L2, ElementType::F32, 12_000, 16, 9);
    let index = Index::new(set, &BuildParams { leaf_rows: 16, segment_rows: 7_000, ..linked() });
    let all = index.set.all_ids();
    for count in [3, 4_200, 11_000] {
        let admitted = some_of(&all, count, 4);
        for query in index.set.queries(3).chunks_exact(16) {
            let naive = Naive::new(&index.set, query, |id| admitted.contains(&id));
            for named in Named::forms(&all, &admitted) {
                for recall in [0.5, 0.95] {
                    let params = SearchParams { filter: named.filter(), recall, ..plain() };
                    let answer = search(&index.db, query, 20, &params);
                    naive.assert_true(&answer, "filtered");
                    assert_eq!(answer.ids.len(), count.min(20));
                    // With the limit no row beyond it comes.
                    let limit = naive.hits[count.min(20) / 2].0 as f32;
                    let params = SearchParams { max_distance: Some(limit), ..params };
                    let near = search(&index.db, query, 20, &params);
                    naive.assert_true(&near, "filtered and near");
                    assert!(near.distances.iter().all(|distance| *distance <= limit));
                }
            }
        }
    }
    // Of the rows within a limit nearly all come, though more were asked for than there are.
    let (mut found, mut there) = (0, 0);
    for query in index.set.queries(20).chunks_exact(16) {
        let naive = Naive::new(&index.set, query, |_| true);
        let limit = naive.hits[30].0 as f32;
        let within = naive.hits.iter().filter(|(distance, _)| *distance <= f64::from(limit)).count();
        let params = SearchParams { max_distance: Some(limit), ..plain() };
        found += search(&index.db, query, 2 * within, &params).ids.len();
        there += within;
    }
    assert!(found as f64 >= 0.93 * there as f64, "{found} of {there} rows within the limit");
    // A cursor gives each row once, closest first, on and on.
    let query = &index.set.queries(1)[..];
    let mut cursor = index.db.cursor(query, &plain()).unwrap();
    let (mut seen, mut ids, mut distances) = (HashSet::new(), [0; 500], [0.0; 500]);
    let mut last = f32::NEG_INFINITY;
    loop {
        let count = cursor.next(500, &mut ids, Some(&mut distances), None).unwrap();
        assert!(ids[..count].iter().all(|id| seen.insert(*id)), "a row twice");
        assert!(distances[..count].is_sorted() && (count == 0 || distances[0] >= last));
        if count == 0 {
            break;
        }
        last = distances[count - 1];
    }
    // Those that were missed on the way would be out of order.
    assert!(seen.len() >= 11_900, "{} rows", seen.len());
}

#[test]
fn progress_is_told_by_the_caller_alone_and_a_stop_leaves_nothing() {
    let set = Set::typical(Metric::L2, 6_000, 24);
    let source = ArrayRows::of_floats(&set.rows, set.dim).unwrap();
    let (dir, caller) = (fixture::folder(), std::thread::current().id());
    let told = Mutex::new(Vec::new());
    let listen = |phase: &str, done: u64, total: u64| {
        assert_eq!(std::thread::current().id(), caller);
        if phase == "link" {
            told.lock().unwrap().push((done, total));
        }
        true
    };
    let params = BuildParams { leaf_rows: 16, threads: 3, ..linked() };
    let job = Job { progress: Some(&listen), ..Job::default() };
    database::build(dir.path(), &source, None, &params, &job).unwrap();
    let told = told.into_inner().unwrap();
    assert_eq!(told.first().map(|first| first.0), Some(0));
    assert!(told.last().is_some_and(|last| last.0 == last.1), "{told:?}");
    assert!(told.is_sorted() && told.iter().all(|(done, total)| done <= total), "{told:?}");
    let before = fixture::names(dir.path());
    let query = set.queries(1);
    let answer = search(&fixture::open(dir.path()).unwrap(), &query, 10, &plain());
    // Stopped when the phase begins, and when it ends.
    for at_end in [false, true] {
        let stop = |phase: &str, done: u64, total: u64| !(phase == "link" && (done == total) == at_end);
        let job = Job { progress: Some(&stop), ..Job::default() };
        let replace = BuildParams { replace: true, seed: 1, ..params.clone() };
        let error = database::build(dir.path(), &source, None, &replace, &job).unwrap_err();
        assert_eq!(error.status(), Status::Cancelled);
        assert_eq!(fixture::names(dir.path()), before);
        assert_eq!(search(&fixture::open(dir.path()).unwrap(), &query, 10, &plain()), answer);
        let fresh = fixture::folder();
        database::build(fresh.path(), &source, None, &params, &job).unwrap_err();
        assert_eq!(fixture::names(fresh.path()), ["LOCK"]);
        let error = Database::open(fresh.path(), &OpenOptions::default()).map(|_| ()).unwrap_err();
        assert_eq!(error.status(), Status::NotFound);
    }
}

#[test]
fn rows_that_a_filter_names_need_no_walk_and_all_leaves_neither() {
    let index = Index::new(Set::typical(Metric::L2, 6_000, 16), &BuildParams { leaf_rows: 16, ..linked() });
    let query = &index.set.queries(1)[..];
    let few = some_of(&index.set.all_ids(), 50, 2);
    let named = Named::forms(&index.set.all_ids(), &few).remove(0);
    for params in [
        SearchParams { filter: named.filter(), ..plain() },
        SearchParams { probes: u32::MAX, ..plain() },
        everything(),
        exact(),
    ] {
        assert_eq!(search_counted(&index.db, query, 10, &params).1.codes_walked, 0, "{params:?}");
    }
    assert!(search_counted(&index.db, query, 10, &plain()).1.codes_walked > 0);
}
