//! Files of format 1 stay readable: an index of long ago opens, verifies, and answers as it did.
//!
//! What is in `tests/golden/v1` was built once and is never built again; `make golden` makes what is new beside it. The
//! text beside each index is what the library said then: for queries near some of its rows the ids and distances of an
//! exact search, bit for bit. Tree and codes are met by a search of all leaves, which must say the same, and by a plain
//! one, which must find most of it.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use vdb::database::{self, Database, Job, OpenOptions};
use vdb::input::ArrayRows;
use vdb::types::params::{BuildParams, LinkMode, SearchParams, RERANK_ALL};
use vdb::types::{ElementType, Metric};

use crate::fixture::{folder, params, rows};

const DIM: usize = 8;
const ROWS: usize = 120;
const QUERIES: usize = 8;
const K: usize = 5;

/// One index for each metric, each with another element and kind of code; the first with sparse ids in two
/// segments. The last has links, which those before it could not have.
const KINDS: [(&str, Metric, ElementType, u32, LinkMode); 4] = [
    ("l2", Metric::L2, ElementType::U8, 4, LinkMode::Off),
    ("ip", Metric::InnerProduct, ElementType::F16, 2, LinkMode::Off),
    ("cosine", Metric::Cosine, ElementType::F32, 1, LinkMode::Off),
    ("links", Metric::Cosine, ElementType::F32, 2, LinkMode::On),
];

fn place() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

/// Builds one of the indexes.
fn build(path: &Path, metric: Metric, element: ElementType, code_bits: u32, links: LinkMode) {
    let floats = rows(ROWS, DIM, 41);
    let bytes: Vec<u8> = match element {
        ElementType::F32 => floats.iter().flat_map(|x| x.to_le_bytes()).collect(),
        ElementType::F16 => {
            floats.iter().flat_map(|x| (0x3800 | (x.to_bits() >> 13) as u16 & 0x3ff).to_le_bytes()).collect()
        }
        ElementType::U8 => floats.iter().map(|x| (x * 80.0 + 128.0) as u8).collect(),
    };
    let source = ArrayRows::new(&bytes, ROWS as u64, DIM, element, 0).unwrap();
    let segment_rows = if metric == Metric::L2 { 90 } else { 0 };
    let params = BuildParams { metric, code_bits, links, leaf_rows: 12, segment_rows, seed: 7, ..params() };
    let ids: Vec<u64> = (0..ROWS as u64).map(|row| row * 5 % 127 + (u64::from(code_bits) << 33)).collect();
    let ids = (metric == Metric::L2).then_some(&ids[..]);
    database::build(path, &source, ids, &params, &Job::default()).unwrap();
}

/// What an index says, as text.
fn said(path: &Path) -> String {
    let mut text = String::new();
    for no_mmap in [false, true] {
        let options = OpenOptions { threads: 1, no_mmap, check: true, ..OpenOptions::default() };
        let db = Database::open(path, &options).unwrap();
        let (mut told, mut missed) = (String::new(), 0);
        // By id, so that another division of the rows asks the same.
        let mut ids: Vec<u64> = (0..db.info().segments)
            .flat_map(|segment| {
                let mut ids = vec![0; db.segment(segment).unwrap().rows as usize];
                db.node_members(segment, 0, 0, &mut ids).unwrap();
                ids
            })
            .collect();
        ids.sort_unstable();
        for id in ids.into_iter().step_by(ROWS / QUERIES) {
            let mut query = [0.0; DIM];
            db.get(&[id], &mut query, None).unwrap();
            query.iter_mut().for_each(|x| *x *= 1.03);
            let query = &query;
            let answer = |params: &SearchParams<'_>| {
                let (mut ids, mut distances) = ([0; K], [0.0f32; K]);
                db.search(query, K, params, &mut ids, Some(&mut distances)).unwrap();
                (ids, distances.map(f32::to_bits))
            };
            let exact = answer(&SearchParams { exact: true, ..SearchParams::default() });
            let all = SearchParams { probes: u32::MAX, rerank: RERANK_ALL, ..SearchParams::default() };
            assert_eq!(answer(&all), exact);
            let plain = answer(&SearchParams::default()).0;
            missed += exact.0.iter().filter(|id| !plain.contains(id)).count();
            for (id, distance) in exact.0.iter().zip(exact.1) {
                write!(told, "{id}:{distance:08x} ").unwrap();
            }
            told.push('\n');
        }
        let wanted = told.lines().count() * K;
        assert!(missed * 10 <= wanted, "{missed} of {wanted} are not found by codes");
        assert!(text.is_empty() || text == told, "the two read paths differ");
        text = told;
    }
    text
}

#[test]
fn an_index_of_format_1_answers_as_it_did() {
    if std::env::var_os("VDB_WRITE_GOLDEN").is_some() {
        for (name, metric, element, code_bits, links) in KINDS {
            let path = place().join(name);
            if path.exists() {
                continue;
            }
            fs::create_dir_all(place()).unwrap();
            build(&path, metric, element, code_bits, links);
            fs::remove_file(path.join("LOCK")).unwrap();
            fs::write(place().join(format!("{name}.txt")), said(&path)).unwrap();
        }
    }
    for (name, metric, element, _, links) in KINDS {
        let path = place().join(name);
        database::verify(&path, &Job::default()).unwrap();
        let db = Database::open(&path, &OpenOptions { threads: 1, ..OpenOptions::default() }).unwrap();
        let info = db.info();
        let segments = if metric == Metric::L2 { 2 } else { 1 };
        assert_eq!((info.metric, info.element, info.segments), (metric, element, segments));
        assert_eq!((info.rows, info.flat, info.format_version), (ROWS as u64, false, 1));
        assert_eq!(info.links, links == LinkMode::On);
        assert_eq!(said(&path), fs::read_to_string(place().join(format!("{name}.txt"))).unwrap(), "{name}");
    }
}

#[test]
fn a_build_of_today_answers_the_same() {
    for (name, metric, element, code_bits, _) in KINDS {
        for links in [LinkMode::On, LinkMode::Off] {
            let dir = folder();
            build(dir.path(), metric, element, code_bits, links);
            let then = fs::read_to_string(place().join(format!("{name}.txt"))).unwrap();
            assert_eq!(said(dir.path()), then, "{name}");
        }
    }
}
