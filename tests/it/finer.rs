//! Finer codes: where they are, that they save reading rows and change no answer, and that any bytes in their place do
//! no harm.

use std::fs::OpenOptions as FileOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::support::{batch, plain, search_counted, searches, Index, Set};
use vdb::database::{Database, Job, OpenOptions};
use vdb::format::{Manifest, SectionKind, SegmentFile};
use vdb::types::params::{BuildParams, LinkMode, SearchParams};
use vdb::types::Metric;
use vdb::vfs::{OsVfs, Vfs};
use workload::rng::Stream;

const ROWS: usize = 6_000;
/// The least that is one bit a dimension.
const DIM: usize = 449;
const K: usize = 10;

/// Offset and length of the finer codes of each segment, and its file.
fn places(path: &Path) -> Vec<(String, u64, u64)> {
    let vfs: Arc<dyn Vfs> = OsVfs::open_dir(path).unwrap();
    let manifest = Manifest::load(&*vfs).unwrap();
    let places = manifest.segments.iter().filter_map(|entry| {
        let file = SegmentFile::open(&*vfs, &manifest, entry).unwrap();
        let section = file.section(SectionKind::FINER_CODES)?;
        assert!(file.section(SectionKind::FINER_FACTORS).is_some());
        Some((format!("seg-{:016x}.vdb", entry.number), section.offset, section.bytes))
    });
    places.collect()
}

#[test]
fn one_bit_codes_with_links_have_them_where_distances_have_a_mean() {
    let typical = |metric| Set::typical(metric, ROWS, DIM);
    let has = |set, params: &BuildParams| places(&Index::new(set, params).path()).len();
    let auto = BuildParams::default();
    assert_eq!(has(typical(Metric::L2), &auto), 1);
    assert_eq!(
        has(
            typical(Metric::Cosine),
            &BuildParams { segment_rows: ROWS as u64 / 2 + 1, leaf_rows: 24, ..auto.clone() }
        ),
        2
    );
    assert_eq!(has(typical(Metric::InnerProduct), &auto), 0);
    assert_eq!(has(typical(Metric::L2), &BuildParams { links: LinkMode::Off, ..auto.clone() }), 0);
    assert_eq!(has(typical(Metric::L2), &BuildParams { code_bits: 2, ..auto.clone() }), 0);
    assert_eq!(has(Set::typical(Metric::L2, ROWS, DIM - 1), &auto), 0);
}

#[test]
fn about_as_many_rows_are_read_as_returned_and_the_answers_stay() {
    for metric in [Metric::L2, Metric::Cosine] {
        for segment_rows in [0, ROWS as u64 / 2 + 1] {
            let params = BuildParams { segment_rows, leaf_rows: 24, ..BuildParams::default() };
            let index = Index::new(Set::typical(metric, ROWS, DIM), &params);
            // Rows that are read by system calls are not asked for by finer codes, which are mapped.
            let without = index.open(&OpenOptions { no_mmap: true, ..OpenOptions::default() });
            let queries = index.set.queries(200);
            for recall in [0.9, 0.99] {
                let params = SearchParams { recall, ..plain() };
                let (mut rows, mut rows_without, mut other) = (0, 0, 0);
                for query in queries.chunks_exact(DIM) {
                    let (answer, stats) = search_counted(&index.db, query, K, &params);
                    let (expected, stats_without) = search_counted(&without, query, K, &params);
                    other += expected.ids.iter().filter(|id| !answer.ids.contains(id)).count();
                    rows += stats.rows_reranked;
                    rows_without += stats_without.rows_reranked;
                    assert_eq!(stats.codes_scanned, stats_without.codes_scanned);
                }
                // A bound of four deviations fails once in thirty thousand times.
                assert!(other <= 2, "{other} of {} answers are others", 200 * K);
                assert!(rows <= 2 * 200 * K as u64, "{rows} rows read for {} answers", 200 * K);
                assert!(rows * 10 <= rows_without * 9, "{rows} rows read, {rows_without} without");
            }
            // Singly and together the same bits.
            assert_eq!(searches(&index.db, &queries, K, &plain()), batch(&index.db, &queries, K, &plain()));
            let memory = index.db.memory();
            assert_eq!(memory.second_tier_bytes, ROWS as u64 * 8);
            let stored: u64 = places(&index.path()).iter().map(|place| place.2).sum();
            assert!(memory.mapped_bytes >= (ROWS * DIM * 4) as u64 + stored, "{memory:?}");
        }
    }
}

#[test]
fn any_bytes_in_their_place_give_true_distances_and_are_found() {
    let index = Index::new(Set::typical(Metric::L2, ROWS, DIM), &BuildParams::default());
    let path = index.path();
    let (name, offset, bytes) = places(&path).remove(0);
    let mut stream = Stream::new(5);
    let junk: Vec<u8> = (0..bytes).map(|_| stream.below(256) as u8).collect();
    FileOptions::new().write(true).open(path.join(name)).unwrap().write_all_at(&junk, offset).unwrap();
    let db = Database::open(&path, &OpenOptions::default()).unwrap();
    for query in index.set.queries(50).chunks_exact(DIM) {
        let (answer, _) = search_counted(&db, query, K, &plain());
        assert_eq!(answer.ids.len(), K);
        // Whatever the codes say, their bounds do not rule out all rows.
        assert_eq!(search_counted(&db, query, 1, &plain()).0.ids.len(), 1);
        answer.assert_in_order("junk");
        for (id, distance) in answer.ids.iter().zip(&answer.distances) {
            let row = index.set.row(*id as usize);
            let truth: f32 = row.iter().zip(query).map(|(a, b)| (a - b) * (a - b)).sum();
            assert!((truth - distance).abs() < 1e-4, "{id} at {distance}, not {truth}");
        }
    }
    let error = vdb::database::verify(&path, &Job::default()).unwrap_err();
    assert!(error.message().contains("finer codes"), "{error}");
}

#[test]
fn of_many_copies_of_a_query_few_are_read() {
    for metric in [Metric::L2, Metric::Cosine] {
        let mut set = Set::typical(metric, ROWS, DIM);
        let copied = set.row(7).to_vec();
        for row in set.rows.chunks_exact_mut(DIM).skip(1_000).step_by(9).take(300) {
            row.copy_from_slice(&copied);
        }
        let index = Index::new(set, &BuildParams::default());
        let (answer, stats) = search_counted(&index.db, &copied, K, &plain());
        assert!(answer.distances.iter().all(|distance| *distance < 1e-6), "{answer:?}");
        assert!(stats.rows_reranked <= 3 * K as u64, "{} rows read", stats.rows_reranked);
    }
}
