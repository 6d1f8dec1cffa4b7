//! How much memory: a warm search allocates nothing, a handle stays below its limit, a build below its estimate.
//!
//! A binary of its own, since it counts what the whole process allocates. Its tests take turns.

use std::path::Path;
use std::sync::Barrier;

use vdb::database::{self, CacheKind, Database, GivenIds, Job, OpenOptions};
use vdb::input::ArrayRows;
use vdb::pool::Pool;
use vdb::types::params::{BuildParams, LinkMode, SearchParams};
use vdb::types::{ElementType, Metric, Status};

#[path = "limits/allocator.rs"]
mod allocator;
#[path = "limits/build_out_of_memory.rs"]
mod build_out_of_memory;
#[path = "it/fixture.rs"]
#[allow(dead_code, reason = "shared with the tests of the whole")]
mod fixture;
#[path = "limits/out_of_memory.rs"]
mod out_of_memory;
#[path = "limits/warm.rs"]
mod warm;

use allocator::{alone, measured};
use fixture::{folder, params, rows};

const DIM: usize = 48;
const ROWS: usize = 6_000;

/// An index over `ROWS` rows.
fn index(path: &Path, element: ElementType, params: &BuildParams) {
    let floats = rows(ROWS, DIM, 3);
    let bytes: Vec<u8> = match element {
        ElementType::F32 => floats.iter().flat_map(|x| x.to_le_bytes()).collect(),
        // Halves with 5 bits of exponent around 1: any pattern of the rest is a number.
        ElementType::F16 => floats
            .iter()
            .flat_map(|x| (0x3800u16 | (x.to_bits() >> 13) as u16 & 0x3ff).to_le_bytes())
            .collect(),
        ElementType::U8 => floats.iter().map(|x| (x * 80.0 + 128.0) as u8).collect(),
    };
    let source = ArrayRows::new(&bytes, ROWS as u64, DIM, element, 0).unwrap();
    database::build(path, &source, None, params, &Job::default()).unwrap();
}

#[test]
fn a_handle_stays_below_its_limit_and_a_refusal_names_the_least() {
    let _turn = alone();
    let (dir, queries) = (folder(), rows(3_000, DIM, 5));
    index(dir.path(), ElementType::F32, &BuildParams { segment_rows: 2_500, leaf_rows: 20, ..params() });
    let open = |limit, bytes| {
        let options = OpenOptions {
            threads: 1,
            memory_limit_bytes: limit,
            no_mmap: true,
            vector_cache_bytes: bytes,
            answer_cache_bytes: bytes,
            ..OpenOptions::default()
        };
        Database::open(dir.path(), &options)
    };
    let refused = open(1, None).map(|_| ()).unwrap_err();
    assert_eq!(refused.status(), Status::OutOfMemory);
    let least = refused.needed_bytes().unwrap();
    assert!(refused.message().contains(&least.to_string()), "{refused}");
    let almost = open(least - 1, None).map(|_| ()).unwrap_err();
    assert_eq!(almost.needed_bytes(), Some(least), "{almost}");
    let told = database::estimate(
        ROWS as u64,
        DIM,
        ElementType::F32,
        GivenIds::None,
        &BuildParams { segment_rows: 2_500, leaf_rows: 20, ..params() },
    );
    let told = told.unwrap().open_memory_bytes;
    assert!((least..=2 * least).contains(&told), "an estimate of {told} for {least}");
    // Caches at their widest take what is left and no more.
    for (extra, bytes) in
        [(0, None), (0, Some(u64::MAX)), (1 << 18, Some(u64::MAX)), (4 << 20, Some(3 << 20))]
    {
        let limit = least + extra;
        let (db, held, peak) = measured(|| open(limit, bytes).unwrap());
        assert!(held as u64 <= limit && peak as u64 <= limit, "open: {held}, at most {peak}, of {limit}");
        let ((), more, _) = measured(|| {
            let (mut ids, mut distances) = ([0; 10], [0.0; 10]);
            for query in queries.chunks_exact(DIM) {
                db.search(query, 10, &SearchParams::default(), &mut ids, Some(&mut distances)).unwrap();
            }
            // A large k and a batch work with more, and must not keep it.
            let mut ids = vec![0; 20 * 3_000];
            let batch = &queries[..20 * DIM];
            db.batch_search(batch, DIM, 3_000, &SearchParams::default(), &mut ids, None, None).unwrap();
        });
        assert!((held + more) as u64 <= limit, "{held} and {more} of {limit}");
        let report = db.memory();
        assert!(report.total_bytes <= limit && report.limit_bytes == limit, "{report:?}");
        // Growing one cache never takes what the other has.
        db.cache_resize(CacheKind::Answers, u64::MAX).unwrap();
        db.cache_resize(CacheKind::Vectors, u64::MAX).unwrap();
        let caches = [CacheKind::Answers, CacheKind::Vectors].map(|kind| db.cache(kind).capacity_bytes);
        assert!(caches.iter().sum::<u64>() <= extra, "{caches:?} of {limit}");
    }
}

/// An index of many small rows, and a query.
fn many_rows(path: &Path, count: usize) -> Vec<f32> {
    let floats = rows(count, 4, 8);
    let source = ArrayRows::of_floats(&floats, 4).unwrap();
    database::build(path, &source, None, &BuildParams { flat: true, ..params() }, &Job::default()).unwrap();
    rows(20, 4, 9)
}

#[test]
fn a_search_for_all_rows_stays_below_the_limit_or_names_the_least() {
    let _turn = alone();
    let (dir, count) = (folder(), 100_000);
    let queries = many_rows(dir.path(), count);
    let open = |limit, threads| {
        let answer_cache_bytes = Some(0);
        let options =
            OpenOptions { threads, memory_limit_bytes: limit, answer_cache_bytes, ..OpenOptions::default() };
        Database::open(dir.path(), &options)
    };
    let opened = open(1, 1).map(|_| ()).unwrap_err().needed_bytes().unwrap();
    let params = SearchParams { recall: 1.0, no_cache: true, ..SearchParams::default() };
    let (mut ids, mut batch) = (vec![0; count], vec![0; 20 * count]);
    let refused = open(opened, 1).unwrap().search(&queries[..4], count, &params, &mut ids, None).unwrap_err();
    assert_eq!(refused.status(), Status::OutOfMemory, "{refused}");
    let least = refused.needed_bytes().unwrap();
    assert!(refused.message().contains(&least.to_string()), "{refused}");
    let again = open(least - 1, 1).unwrap().search(&queries[..4], count, &params, &mut ids, None);
    assert_eq!(again.unwrap_err().needed_bytes(), Some(least));
    for threads in [1, 4] {
        for exact in [false, true] {
            let params = SearchParams { exact, ..params };
            let (_, held, peak) = measured(|| {
                let db = open(least, threads).unwrap();
                db.search(&queries[..4], count, &params, &mut ids, None).unwrap();
                db.batch_search(&queries, 4, count, &params, &mut batch, None, None).unwrap();
                assert_eq!(batch[..count], ids);
                let mut cursor = db.cursor(&queries[..4], &params).unwrap();
                assert!(cursor.next(100, &mut ids[..100], None, None).is_ok());
            });
            assert!(held < 1 << 16 && peak as u64 <= least, "{held}, at most {peak} of {least}");
        }
    }
}

#[test]
fn searches_of_many_threads_stay_below_the_limit_or_say_what_to_do() {
    let _turn = alone();
    let (dir, count, limit) = (folder(), 50_000, 7 << 20);
    let queries = many_rows(dir.path(), count);
    for exact in [false, true] {
        for k in [10, 9_500] {
            let params =
                SearchParams { exact, recall: 1.0, threads: 1, no_cache: true, ..SearchParams::default() };
            let options = OpenOptions {
                threads: 1,
                memory_limit_bytes: limit,
                answer_cache_bytes: Some(0),
                ..OpenOptions::default()
            };
            let mut answers = vec![0; 64 * k];
            let (outcomes, _, peak) = measured(|| {
                let db = Database::open(dir.path(), &options).unwrap();
                let together = Barrier::new(64);
                std::thread::scope(|scope| {
                    let threads: Vec<_> = answers
                        .chunks_mut(k)
                        .map(|ids| {
                            let (db, queries, together) = (&db, &queries, &together);
                            scope.spawn(move || {
                                together.wait();
                                (0..20)
                                    .map(|_| db.search(&queries[..4], k, &params, ids, None).map(|_| ()))
                                    .collect()
                            })
                        })
                        .collect();
                    let outcomes = threads.into_iter().map(|thread| thread.join().unwrap());
                    outcomes.collect::<Vec<Vec<vdb::types::Result<()>>>>()
                })
            });
            // Threads themselves, and errors, are some KB each.
            assert!(peak as u64 <= limit + (1 << 20), "{peak} of {limit}, k {k}, exact: {exact}");
            let mut found = 0;
            for outcome in outcomes.into_iter().flatten() {
                let Err(error) = outcome else {
                    found += 1;
                    continue;
                };
                assert_eq!(error.status(), Status::OutOfMemory);
                assert!(error.message().contains("fewer searches at a time"), "{error}");
                assert!(error.needed_bytes() > Some(limit), "{error}");
            }
            assert!(found > 20, "{found} searches for {k}");
        }
    }
}

#[test]
fn a_build_stays_below_its_estimate_and_reports_no_less_than_it_took() {
    let _turn = alone();
    let base = BuildParams { threads: 1, ..BuildParams::default() };
    let linked = BuildParams { links: LinkMode::On, ..base.clone() };
    for (count, dim, params) in [
        (3_000, 32, base.clone()),
        (30_000, 48, base.clone()),
        (30_000, 48, BuildParams { threads: 2, metric: Metric::Cosine, ..base.clone() }),
        (30_000, 8, BuildParams { threads: 8, ..base.clone() }),
        (5_000, 8, linked.clone()),
        (30_000, 48, linked.clone()),
        (30_000, 48, BuildParams { threads: 2, leaf_rows: 500, metric: Metric::Cosine, ..linked.clone() }),
        (30_000, 8, BuildParams { threads: 8, leaf_rows: 3, ..linked.clone() }),
        (70_000, 4, linked.clone()),
        (20_000, 500, BuildParams { threads: 2, ..linked.clone() }),
        (3_000, 1_024, BuildParams { leaf_rows: 20, metric: Metric::InnerProduct, ..linked.clone() }),
        (9_000, 100, BuildParams { segment_rows: 4_500, threads: 3, ..linked.clone() }),
        (2_500, 64, BuildParams { leaf_rows: 1, ..linked.clone() }),
        (70_000, 8, BuildParams { leaf_rows: 1, fanout: 4, links: LinkMode::Off, ..base.clone() }),
        (30_000, 48, BuildParams { flat: true, code_bits: 4, ..base.clone() }),
        (30_000, 48, BuildParams { segment_rows: 8_000, leaf_rows: 16, ..base.clone() }),
        (2_000, 1_500, BuildParams { leaf_rows: 30, metric: Metric::InnerProduct, ..base.clone() }),
        (1, 3, base.clone()),
    ] {
        let (dir, floats) = (folder(), rows(count, dim, 6));
        let ids: Vec<u64> = (0..count as u64).map(|row| row * 3 + (1 << 40)).collect();
        let source = ArrayRows::of_floats(&floats, dim).unwrap();
        let estimate =
            database::estimate(count as u64, dim, ElementType::F32, GivenIds::Lent, &params).unwrap();
        let told = match params.threads {
            1 => estimate.build_memory_bytes,
            _ => estimate.build_memory_best_bytes,
        };
        let limited = BuildParams { memory_limit_bytes: told, ..params.clone() };
        let work = || database::build(dir.path(), &source, Some(&ids), &limited, &Job::default()).unwrap();
        let (report, _, peak) = measured(work);
        println!("{count} x {dim}: {peak} of {told}");
        let what = format!("{count} x {dim}, {params:?}: took {peak}, told {told}");
        assert!(peak as u64 <= told, "{what}");
        assert!(params.flat || report.links || params.links != LinkMode::On, "{what}");
        assert!(report.peak_bytes >= peak as u64, "{what}, reported {}", report.peak_bytes);
        assert!(report.disk_bytes <= estimate.index_disk_bytes, "{what}: disk {}", report.disk_bytes);
        let less =
            BuildParams { memory_limit_bytes: estimate.build_memory_bytes - 1, replace: true, ..params };
        let refused = database::build(dir.path(), &source, Some(&ids), &less, &Job::default()).unwrap_err();
        assert_eq!(refused.status(), Status::OutOfMemory);
        assert_eq!(refused.needed_bytes(), Some(estimate.build_memory_bytes), "{refused}");
    }
}

#[test]
fn a_build_of_many_cells_on_a_lent_pool_stays_below_its_estimate() {
    let _turn = alone();
    let pool = Pool::new(48);
    // More cells than are compared with every row, of few rows and of many; of rows far from each other and alike.
    for (count, dim, leaf_rows, metric) in [
        (40_000, 2, 1, Metric::L2),
        (40_000, 16, 3, Metric::Cosine),
        (70_000, 8, 5, Metric::InnerProduct),
        (9_000, 200, 1, Metric::L2),
    ] {
        let (dir, floats) = (folder(), rows(count, dim, 6));
        let source = ArrayRows::of_floats(&floats, dim).unwrap();
        let params = BuildParams { leaf_rows, metric, threads: 1, ..BuildParams::default() };
        let told = database::estimate(count as u64, dim, ElementType::F32, GivenIds::None, &params).unwrap();
        let limited = BuildParams { memory_limit_bytes: told.build_memory_bytes, ..params };
        for pool in [None, Some(&pool)] {
            let job = Job { pool, ..Job::default() };
            let limited = BuildParams { replace: true, ..limited.clone() };
            let work = || database::build(dir.path(), &source, None, &limited, &job).unwrap();
            let (report, _, peak) = measured(work);
            let told = told.build_memory_bytes;
            println!("{count} x {dim}, {leaf_rows} a leaf, lent: {}: {peak} of {told}", pool.is_some());
            assert!(peak as u64 <= told, "{count} x {dim}: took {peak}, told {told}");
            assert!(report.peak_bytes >= peak as u64 && report.peak_bytes <= told);
        }
    }
}

#[test]
fn the_ids_of_a_file_are_in_the_memory_of_a_build() {
    let _turn = alone();
    let (dir, count, dim) = (folder(), 200_000, 2);
    let ids: Vec<u8> = (0..count as u64).flat_map(|row| (row * 3 + (1 << 40)).to_le_bytes()).collect();
    std::fs::write(dir.path().join("ids.u64bin"), ids).unwrap();
    let head = [count as u32, dim as u32].map(u32::to_le_bytes).concat();
    let floats: Vec<u8> = rows(count, dim, 6).iter().flat_map(|x| x.to_le_bytes()).collect();
    std::fs::write(dir.path().join("rows.fbin"), [head, floats].concat()).unwrap();
    let params = BuildParams { threads: 1, segment_rows: 10_000, ..BuildParams::default() };
    let told = database::estimate(count as u64, dim, ElementType::F32, GivenIds::File, &params).unwrap();
    let build = |memory_limit_bytes| {
        let params = BuildParams { memory_limit_bytes, replace: true, ..params.clone() };
        let (vectors, ids) = (dir.path().join("rows.fbin"), dir.path().join("ids.u64bin"));
        database::build_from_file(&dir.path().join("index"), &vectors, Some(&ids), &params, &Job::default())
    };
    let (built, _, peak) = measured(|| build(told.build_memory_bytes));
    built.unwrap();
    assert!(peak as u64 <= told.build_memory_bytes, "{peak} of {}", told.build_memory_bytes);
    // What does not fit is refused before the ids are read.
    let (refused, _, peak) = measured(|| build(told.build_memory_bytes - 1));
    assert_eq!(refused.unwrap_err().needed_bytes(), Some(told.build_memory_bytes));
    assert!(peak < count, "{peak} bytes for a refusal");
}

#[test]
fn a_verification_stays_below_its_limit() {
    let _turn = alone();
    // Small rows and large ones: what passes through weighs more than what is kept, and less.
    for (count, dim) in [(500, 8), (60_000, 48), (3_000, 1_024)] {
        let dir = folder();
        let params = BuildParams { segment_rows: 40_000, ..params() };
        fixture::build(dir.path(), &rows(count, dim, 6), dim, &params).unwrap();
        let verify =
            |memory_limit_bytes| database::verify(dir.path(), &Job { memory_limit_bytes, ..Job::default() });
        let needed = verify(1).unwrap_err().needed_bytes().unwrap();
        let (verified, _, peak) = measured(|| verify(needed));
        verified.unwrap();
        println!("{count} x {dim}: {peak} of {needed}");
        assert!(peak as u64 <= needed, "{count} x {dim}: {peak} of {needed}");
    }
}
