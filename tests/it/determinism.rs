//! The same input, parameters and seed give the same bytes of every file, on any number of threads.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::{build, everything, exact, search, Naive, Set, METRICS};
use vdb::database::{Database, Job, OpenOptions, Pool};
use vdb::types::params::BuildParams;
use vdb::types::{ElementType, Metric};

/// Every file of a directory.
fn bytes_of(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|e| (e.file_name().to_string_lossy().into_owned(), std::fs::read(e.path()).unwrap()))
        .collect()
}

/// Builds in a directory of its own.
fn built(set: &Set, params: &BuildParams, job: &Job<'_>) -> BTreeMap<String, Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path(), set.clone(), params, job);
    bytes_of(dir.path())
}

/// Where two directories differ, for people.
fn difference(a: &BTreeMap<String, Vec<u8>>, b: &BTreeMap<String, Vec<u8>>) -> Option<String> {
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    if names(a) != names(b) {
        return Some(format!("files {:?} and {:?}", names(a), names(b)));
    }
    let (name, (left, right)) =
        a.iter().map(|(name, left)| (name, (left, &b[name]))).find(|(_, (left, right))| left != right)?;
    let at = left.iter().zip(right).position(|(x, y)| x != y);
    Some(format!("{name}: {} and {} bytes, first at {at:?}", left.len(), right.len()))
}

fn check(set: &Set, params: &BuildParams) {
    let first = built(set, &BuildParams { threads: 1, ..params.clone() }, &Job::default());
    assert!(first.len() >= 2, "a manifest and a segment at least: {:?}", first.keys());
    let what = format!("{} {} {params:?}", set.metric.name(), set.element.name());
    for threads in [1, 2] {
        let again = built(set, &BuildParams { threads, ..params.clone() }, &Job::default());
        assert_eq!(difference(&first, &again), None, "{what} on {threads} threads");
    }
    let pool = Pool::new(3);
    let lent = built(set, params, &Job { pool: Some(&pool), ..Job::default() });
    assert_eq!(difference(&first, &lent), None, "{what} on threads lent");
}

#[test]
fn trees_of_every_metric() {
    for metric in METRICS {
        let params = BuildParams { seed: 9, leaf_rows: 24, ..BuildParams::default() };
        check(&Set::typical(metric, 2500, 32), &params);
    }
}

#[test]
fn deep_trees_flat_ones_and_several_segments() {
    let set = Set::typical(Metric::L2, 2000, 16);
    check(&set, &BuildParams { leaf_rows: 4, fanout: 3, ..BuildParams::default() });
    check(&set, &BuildParams { leaf_rows: 20, segment_rows: 900, ..BuildParams::default() });
    check(&set, &BuildParams { flat: true, ..BuildParams::default() });
}

#[test]
fn halves_bytes_given_ids_and_copies() {
    for element in [ElementType::F16, ElementType::U8] {
        let mut set = Set::whole(Metric::L2, element, 1500, 20, 2).with_scattered_ids();
        // A third of all rows is one row: cells that k-means cannot cut.
        for row in 0..500 {
            set.rows.copy_within(0..20, row * 3 * 20);
        }
        check(&set, &BuildParams { leaf_rows: 8, ..BuildParams::default() });
    }
}

#[test]
fn another_seed_is_another_index_with_the_same_exact_answers() {
    let set = Set::whole(Metric::L2, ElementType::F32, 3000, 24, 4);
    let mut seen: Vec<BTreeMap<String, Vec<u8>>> = Vec::new();
    for seed in [0, 1, 2, u64::MAX] {
        let dir = tempfile::tempdir().unwrap();
        let params = BuildParams { seed, leaf_rows: 16, ..BuildParams::default() };
        build(dir.path(), set.clone(), &params, &Job::default());
        let files = bytes_of(dir.path());
        assert!(seen.iter().all(|other| difference(other, &files).is_some()), "seed {seed} changed nothing");
        seen.push(files);
        let db = Database::open(dir.path(), &OpenOptions::default()).unwrap();
        for query in set.queries(10).chunks_exact(24) {
            let naive = Naive::new(&set, query, |_| true);
            for params in [everything(), exact()] {
                naive.assert_same(&search(&db, query, 10, &params), 10, &format!("seed {seed}"));
            }
        }
    }
}
