//! All leaves probed and every row reranked is the exact answer, id for id; so is the exact mode. Vectors
//! come back as they were given, and a distance is what the documentation says.

use crate::support::{
    carried, everything, exact, search, search_counted, searches, Index, Naive, Set, ELEMENTS, METRICS,
};
use vdb::database::OpenOptions;
use vdb::types::params::{BuildParams, SearchParams, RERANK_ALL};
use vdb::types::{ElementType, Metric};
use workload::vecs::VecFile;

const DIMS: [usize; 7] = [1, 3, 63, 64, 100, 300, 1024];

/// Rows of a set for each dim: small where each is large, so that the whole stays quick.
fn rows_for(dim: usize) -> usize {
    (60_000 / dim).clamp(150, 1200)
}

/// Every way that promises exactness, against the naive one.
fn check(index: &Index, queries: &[f32], k: usize, what: &str) {
    for (nth, query) in queries.chunks_exact(index.set.dim).enumerate() {
        let naive = Naive::new(&index.set, query, |_| true);
        let all = search(&index.db, query, k, &everything());
        naive.assert_same(&all, k, &format!("{what}, query {nth}, all leaves"));
        let scanned = search(&index.db, query, k, &exact());
        assert_eq!(scanned, all, "{what}, query {nth}, exact mode");
    }
}

#[test]
fn full_probing_with_full_rerank_is_brute_force() {
    for dim in DIMS {
        for (nth, element) in ELEMENTS.into_iter().enumerate() {
            for metric in METRICS {
                let count = rows_for(dim);
                let what = format!("{} {} {count} x {dim}", metric.name(), element.name());
                let set = Set::whole(metric, element, count, dim, (dim + nth) as u64);
                // Leaves of an odd size, so that few of them fill their blocks.
                let index = Index::tree(set, 13);
                assert!(!index.db.info().flat, "{what}");
                check(&index, &index.set.queries(4), 10, &what);
            }
        }
    }
}

#[test]
fn real_values_keep_their_order_up_to_rounding() {
    for (dim, count) in [(3, 2000), (100, 1500), (1024, 400)] {
        for metric in METRICS {
            for element in [ElementType::F32, ElementType::F16] {
                let set = Set { element, ..Set::typical(metric, count, dim) };
                let index = Index::tree(set, 20);
                check(&index, &index.set.queries(6), 25, &format!("{} typical {dim}", metric.name()));
            }
        }
    }
    let pictures = Set::of_file(Metric::Cosine, &carried("tests/data/fashion/base.u8bin"));
    let queries = VecFile::open(&carried("tests/data/fashion/query.u8bin")).unwrap();
    let queries = workload::rows::Matrix::first(&queries, 8).unwrap();
    check(&Index::tree(pictures, 32), queries.values(), 10, "pictures");
}

#[test]
fn flat_and_tree_every_code_width_and_several_segments_agree() {
    for metric in METRICS {
        let set = Set::whole(metric, ElementType::F32, 1000, 24, 5).with_scattered_ids();
        let queries = set.queries(10);
        let base = BuildParams { leaf_rows: 16, ..BuildParams::default() };
        let shapes = [
            BuildParams { flat: true, ..base.clone() },
            BuildParams { code_bits: 1, ..base.clone() },
            BuildParams { code_bits: 2, fanout: 3, ..base.clone() },
            BuildParams { code_bits: 4, segment_rows: 301, ..base.clone() },
            BuildParams { segment_rows: 1000 / 7, flat: true, ..base.clone() },
            // Segments too small for a tree, for codes to be measured, and of one row.
            BuildParams { segment_rows: 37, ..base },
        ];
        let mut first = None;
        for params in shapes {
            let index = Index::new(set.clone(), &params);
            let segments = if params.segment_rows == 0 { 1 } else { 1000u64.div_ceil(params.segment_rows) };
            assert_eq!(u64::from(index.db.info().segments), segments);
            assert_eq!(index.db.info().flat, params.flat);
            let what = format!("{} {params:?}", metric.name());
            check(&index, &queries, 30, &what);
            let answers = searches(&index.db, &queries, 30, &everything());
            assert_eq!(first.get_or_insert_with(|| answers.clone()), &answers, "{what}");
        }
    }
}

#[test]
fn any_number_of_rows_and_any_k() {
    for count in [1, 2, 7, 8, 63, 64, 65, 257] {
        for metric in METRICS {
            let set = Set::whole(metric, ElementType::F32, count, 10, count as u64);
            for leaf_rows in [0, 1, 5] {
                let index = Index::tree(set.clone(), leaf_rows);
                for k in [1, 2, count, count + 1, 1000] {
                    let what = format!("{} {count} rows, {leaf_rows} a leaf, k {k}", metric.name());
                    check(&index, &set.queries(2), k, &what);
                    // k answers whenever there are k rows, also when little is asked for.
                    let little = SearchParams { probes: 1, rerank: 1, ..everything() };
                    let found = search(&index.db, &set.queries(1), k, &little);
                    assert_eq!(found.ids.len(), k.min(count), "{what}");
                }
            }
        }
    }
}

#[test]
fn all_rows_equal_come_by_id() {
    for metric in METRICS {
        for element in ELEMENTS {
            let mut set = Set::whole(metric, element, 700, 6, 1).with_scattered_ids();
            set.rows = [1.0, 2.0, 0.0, 5.0, 1.0, 3.0].repeat(700);
            let index = Index::tree(set, 10);
            let mut ids = index.set.all_ids();
            ids.sort_unstable();
            for params in [everything(), exact()] {
                let found = search(&index.db, &index.set.queries(1), 40, &params);
                assert_eq!(found.ids, ids[..40], "{} {}", metric.name(), element.name());
            }
        }
    }
}

#[test]
fn read_and_mapped_handles_give_the_same_bits() {
    let index = Index::tree(Set { element: ElementType::F16, ..Set::typical(Metric::L2, 1200, 70) }, 24);
    let read = index.open(&OpenOptions { no_mmap: true, ..OpenOptions::default() });
    assert!(index.db.info().mapped && !read.info().mapped);
    let queries = index.set.queries(20);
    let some = SearchParams { probes: 5, ..everything() };
    for params in [everything(), exact(), crate::support::plain(), some] {
        assert_eq!(searches(&index.db, &queries, 10, &params), searches(&read, &queries, 10, &params));
    }
}

#[test]
fn time_in_system_calls_is_told_apart_from_that_of_distances() {
    let index = Index::tree(Set::typical(Metric::L2, 1200, 70), 24);
    let read = index.open(&OpenOptions { no_mmap: true, threads: 1, ..OpenOptions::default() });
    let query = index.set.queries(1);
    for params in [everything(), exact(), crate::support::plain()] {
        let (_, mapped) = search_counted(&index.db, &query, 10, &params);
        let (_, read) = search_counted(&read, &query, 10, &params);
        assert!(mapped.read_ns == 0 && mapped.rerank_ns > 0 && read.read_ns > 0 && read.rerank_ns > 0);
        assert_eq!(mapped.scan_ns > 0, mapped.codes_scanned > 0, "exact distances are no scan of codes");
    }
}

#[test]
fn vectors_come_back_as_they_were_given() {
    for element in ELEMENTS {
        for dim in DIMS {
            let set =
                Set::whole(Metric::Cosine, element, rows_for(dim).min(300), dim, 3).with_scattered_ids();
            let index =
                Index::new(set, &BuildParams { leaf_rows: 11, segment_rows: 170, ..BuildParams::default() });
            let ids = index.set.all_ids();
            for no_mmap in [false, true] {
                let db = index.open(&OpenOptions { no_mmap, ..OpenOptions::default() });
                let mut back = vec![f32::NAN; index.set.rows.len()];
                db.get(&ids, &mut back, None).unwrap();
                assert_eq!(back, index.set.rows, "{} x {dim}", element.name());
            }
            for (row, id) in ids.iter().enumerate() {
                let (bytes, of) = index.db.borrow(*id).unwrap();
                assert_eq!((of, bytes.len()), (element, dim * element.bytes()));
                if element == ElementType::U8 {
                    let given: Vec<u8> = index.set.row(row).iter().map(|x| *x as u8).collect();
                    assert_eq!(bytes, given);
                }
            }
        }
    }
}

#[test]
fn a_distance_is_what_the_documentation_says() {
    let rows = vec![3.0, 4.0, -6.0, 8.0, 0.5, 0.0];
    let query = [3.0, 0.0];
    let expected = [
        (Metric::L2, [(2, 6.25), (0, 16.0), (1, 145.0)]),
        (Metric::InnerProduct, [(0, -9.0), (2, -1.5), (1, 18.0)]),
        (Metric::Cosine, [(2, 0.0), (0, 0.4), (1, 1.6)]),
    ];
    for (metric, expected) in expected {
        let set =
            Set { metric, element: ElementType::F32, dim: 2, rows: rows.clone(), ids: None, whole: false };
        let index = Index::new(set, &BuildParams::default());
        let ways =
            [SearchParams::default(), everything(), exact(), SearchParams { rerank: RERANK_ALL, ..exact() }];
        for params in ways {
            let found = search(&index.db, &query, 3, &params);
            for (nth, (id, distance)) in expected.into_iter().enumerate() {
                assert_eq!(found.ids[nth], id, "{}", metric.name());
                assert!((found.distances[nth] - distance).abs() < 1e-6, "{} {found:?}", metric.name());
            }
        }
    }
}

#[test]
fn no_row_is_closer_than_its_equal() {
    for metric in [Metric::L2, Metric::Cosine] {
        let index = Index::new(Set::typical(metric, 500, 100), &BuildParams::default());
        for query in index.set.rows.chunks_exact(100) {
            let found = search(&index.db, query, 500, &exact());
            assert!(found.distances[0] < 1e-6, "{}: {:?}", metric.name(), &found.distances[..3]);
            assert!(found.distances.iter().all(|distance| *distance >= 0.0), "{}", metric.name());
            assert!(metric != Metric::Cosine || found.distances.iter().all(|distance| *distance <= 2.0));
        }
    }
}

#[test]
fn the_length_of_a_vector_is_nothing_to_the_cosine_as_long_as_it_has_one() {
    let scaled = |by: f32| {
        let set = Set::typical(Metric::Cosine, 600, 24);
        let rows = set.rows.iter().map(|x| x * by).collect();
        let queries: Vec<f32> = set.queries(5).iter().map(|x| x * by).collect();
        (Set { rows, ..set }, queries)
    };
    for by in [1e12, 1.0, 1e-10, 1e-13] {
        let (set, queries) = scaled(by);
        check(&Index::tree(set, 20), &queries, 10, &format!("times {by}"));
    }
    let (set, queries) = scaled(1e-25);
    let dir = tempfile::tempdir().unwrap();
    let source = vdb::database::ArrayRows::of_floats(&set.rows, set.dim).unwrap();
    let params = BuildParams { metric: Metric::Cosine, ..BuildParams::default() };
    let refused = vdb::database::build(dir.path(), &source, None, &params, &Default::default()).unwrap_err();
    assert!(refused.to_string().contains("no direction") && refused.row() == Some(0), "{refused}");
    let index = Index::tree(scaled(1.0).0, 20);
    let (mut ids, mut distances) = ([0; 3], [0.0; 3]);
    let query = &queries[..24];
    let refused = index.db.search(query, 3, &SearchParams::default(), &mut ids, Some(&mut distances));
    assert!(refused.unwrap_err().to_string().contains("no direction"));
}
