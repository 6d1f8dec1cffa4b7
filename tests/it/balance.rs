//! Leaves stay small and balanced however the rows lie; the tree divides the rows; centroids are means.

use std::collections::HashSet;

use crate::support::{Index, Set, METRICS};
use vdb::database::Database;
use vdb::types::params::{BuildParams, LinkMode};
use vdb::types::{ElementType, Metric};
use workload::rng::Stream;

/// A leaf may have a quarter more rows than were aimed at.
fn limit(leaf_rows: u64) -> u64 {
    leaf_rows + leaf_rows.div_ceil(4)
}

/// 60 % of the rows in one dense cluster, 15 % copies of one row and 5 % of another, 2 % far outside, the
/// rest spread about.
fn skewed(metric: Metric, count: usize, dim: usize) -> Set {
    let mut stream = Stream::new(11);
    let centre: Vec<f32> = (0..dim).map(|_| stream.normal()).collect();
    let mut rows = Vec::with_capacity(count * dim);
    for _ in 0..count {
        let kind = stream.below(100);
        for (i, centre) in centre.iter().enumerate() {
            rows.push(match kind {
                0..60 => centre + 0.02 * stream.normal(),
                60..75 => centre + 0.02 * (i % 3) as f32,
                75..80 => -2.0 * centre,
                80..82 => 50.0 * stream.normal(),
                _ => 2.0 * stream.normal(),
            });
        }
    }
    Set { metric, element: ElementType::F32, dim, rows, ids: None, whole: false }
}

/// Ids of the rows below a node, asked for in portions.
fn members(db: &Database, segment: u32, node: u64) -> Vec<u64> {
    let rows = db.node(segment, node).unwrap().rows;
    let mut ids = Vec::new();
    loop {
        let mut portion = [u64::MAX; 1000];
        let written = db.node_members(segment, node, ids.len() as u64, &mut portion).unwrap();
        if written == 0 {
            assert_eq!(ids.len() as u64, rows, "node {node}");
            return ids;
        }
        ids.extend(&portion[..written as usize]);
    }
}

/// Levels, ranges and members of all trees fit together; every row is in exactly one leaf of one segment.
fn assert_divides_the_rows(index: &Index) {
    let db = &index.db;
    let mut seen = HashSet::new();
    for segment in 0..db.info().segments {
        let report = db.segment(segment).unwrap();
        assert_eq!(report.level_nodes.iter().sum::<u64>(), report.nodes);
        assert_eq!((report.level_nodes[0], report.level_nodes.last()), (1, Some(&report.leaves)));
        let mut leaves = 0;
        for node in 0..report.nodes {
            let told = db.node(segment, node).unwrap();
            let own = members(db, segment, node);
            assert!(told.rows > 0, "node {node} is empty");
            if told.children == 0 {
                leaves += 1;
                assert_eq!(u64::from(told.level) + 1, report.level_nodes.len() as u64);
                assert!((report.leaf_rows_min..=report.leaf_rows_max).contains(&told.rows));
                own.iter().for_each(|id| assert!(seen.insert(*id), "{id} is in two leaves"));
                continue;
            }
            let mut below = Vec::new();
            for child in told.first_child..told.first_child + told.children {
                let child_told = db.node(segment, child).unwrap();
                assert_eq!((child_told.parent, child_told.level), (Some(node), told.level + 1));
                below.extend(members(db, segment, child));
            }
            assert_eq!(own, below, "members of node {node}");
        }
        assert_eq!(leaves, report.leaves);
    }
    assert_eq!(seen, index.set.all_ids().into_iter().collect());
}

#[test]
fn no_leaf_is_far_beyond_its_size_on_skewed_rows() {
    for metric in METRICS {
        for (count, dim, leaf_rows) in [(2000, 6, 16), (4200, 24, 0), (900, 3, 7), (300, 2, 1)] {
            let set = skewed(metric, count, dim);
            let index = Index::tree(set, leaf_rows);
            let report = index.db.segment(0).unwrap();
            let target = if leaf_rows == 0 { 48 } else { u64::from(leaf_rows) };
            let what = format!("{} {count} x {dim}, {report:?}", metric.name());
            assert!(report.leaf_rows_max <= limit(target), "{what}");
            // No more leaves than half-full ones would be, and the middle one is of use.
            assert!(report.leaves <= 2 * (count as u64).div_ceil(target), "{what}");
            assert!(report.leaf_rows_median * 2 >= target, "{what}");
            // Few levels: each has several times the nodes of the one above.
            assert!(report.level_nodes.len() <= 5, "{what}");
            assert_divides_the_rows(&index);
        }
    }
}

#[test]
fn one_row_copied_many_times_makes_full_leaves() {
    for metric in METRICS {
        let mut set = skewed(metric, 6000, 5);
        set.rows = set.rows[..5].repeat(6000);
        let index = Index::tree(set, 10);
        let report = index.db.segment(0).unwrap();
        assert!(report.leaf_rows_max <= limit(10) && report.leaf_rows_median >= 8, "{report:?}");
        assert_divides_the_rows(&index);
    }
}

#[test]
fn typical_rows_scattered_ids_and_several_segments() {
    let set = Set::typical(Metric::Cosine, 7000, 24).with_scattered_ids();
    let params = BuildParams { leaf_rows: 20, segment_rows: 3000, fanout: 4, ..BuildParams::default() };
    let index = Index::new(set, &params);
    assert_divides_the_rows(&index);
    for segment in 0..3 {
        let report = index.db.segment(segment).unwrap();
        assert!(report.leaf_rows_max <= limit(20), "{report:?}");
    }
    // The nodes above the parents of leaves have no more children than were asked for.
    let report = index.db.segment(0).unwrap();
    let inner: u64 = report.level_nodes[..report.level_nodes.len() - 2].iter().sum();
    for node in 0..inner {
        assert!(index.db.node(0, node).unwrap().children <= 4, "node {node} of {report:?}");
    }
}

#[test]
fn a_flat_segment_is_one_leaf() {
    let index = Index::new(Set::typical(Metric::L2, 3000, 8), &BuildParams::default());
    assert!(index.db.info().flat);
    let report = index.db.segment(0).unwrap();
    assert_eq!((report.level_nodes, report.leaf_rows_max), (vec![1], 3000));
    assert_divides_the_rows(&index);
}

// ---- centroids ----

/// The rows of an index as its centroids see them, by id: of length 1 under cosine.
fn directions(set: &Set) -> Vec<Vec<f64>> {
    let row = |row: usize| {
        let vector: Vec<f64> = set.row(row).iter().map(|x| f64::from(*x)).collect();
        let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
        let scale = if set.metric == Metric::Cosine { 1.0 / length } else { 1.0 };
        vector.into_iter().map(|x| x * scale).collect()
    };
    (0..set.count()).map(row).collect()
}

/// Whether `centroid` is the mean of the rows, as far as f32 and a rotation keep it.
fn is_mean<'a>(centroid: &[f32], rows: impl Iterator<Item = &'a Vec<f64>>) -> bool {
    let (mut sum, mut size, mut count) = (vec![0.0; centroid.len()], 0.0f64, 0.0);
    for row in rows {
        sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        size = size.max(row.iter().map(|x| x * x).sum());
        count += 1.0;
    }
    let off: f64 = centroid.iter().zip(sum).map(|(c, s)| (f64::from(*c) - s / count).powi(2)).sum();
    off.sqrt() <= 1e-5 * size.sqrt()
}

/// The members that a leaf's centroid leaves out: the fewest that explain it.
fn left_out(centroid: &[f32], members: &[u64], rows: &[Vec<f64>]) -> Option<Vec<u64>> {
    fn choose(
        centroid: &[f32],
        members: &[u64],
        rows: &[Vec<f64>],
        out: &mut Vec<u64>,
        first: usize,
        more: usize,
    ) -> bool {
        if more == 0 {
            let kept = members.iter().filter(|id| !out.contains(id)).map(|id| &rows[*id as usize]);
            return is_mean(centroid, kept);
        }
        (first..members.len()).any(|at| {
            out.push(members[at]);
            let found = choose(centroid, members, rows, out, at + 1, more - 1);
            if !found {
                out.pop();
            }
            found
        })
    }
    (0..=6.min(members.len() - 1)).find_map(|count| {
        let mut out = Vec::new();
        choose(centroid, members, rows, &mut out, 0, count).then_some(out)
    })
}

#[test]
fn a_centroid_is_the_mean_of_its_members() {
    for metric in METRICS {
        // Too few rows for any to be held out.
        let params = BuildParams { leaf_rows: 6, segment_rows: 60, ..BuildParams::default() };
        let index = Index::new(Set::typical(metric, 600, 37), &params);
        let rows = directions(&index.set);
        let mut centroid = vec![0.0; 37];
        for segment in 0..10 {
            for node in 0..index.db.segment(segment).unwrap().nodes {
                index.db.node_centroid(segment, node, &mut centroid).unwrap();
                let own = members(&index.db, segment, node);
                assert!(is_mean(&centroid, own.iter().map(|id| &rows[*id as usize])), "node {node}");
            }
        }
    }
}

#[test]
fn rows_held_out_to_measure_recall_move_no_centroid() {
    for metric in [Metric::L2, Metric::Cosine] {
        // Rows without copies, so that sums tell which rows are in them; so many that no leaf is held out as
        // a whole, which would be the mean of all its rows and yet move no node above.
        let mut stream = Stream::new(4);
        let values = (0..40_000 * 7).map(|i| stream.normal() + (i / 7 % 9) as f32).collect();
        let set = Set { metric, element: ElementType::F32, dim: 7, rows: values, ids: None, whole: false };
        let index = Index::tree(set, 12);
        let rows = directions(&index.set);
        let report = index.db.segment(0).unwrap();
        let mut held_out: HashSet<u64> = HashSet::new();
        let mut centroid = vec![0.0; 7];
        // Leaves first: the last numbers.
        for node in (0..report.nodes).rev() {
            index.db.node_centroid(0, node, &mut centroid).unwrap();
            let own = members(&index.db, 0, node);
            if index.db.node(0, node).unwrap().children == 0 {
                let out = left_out(&centroid, &own, &rows);
                held_out.extend(out.unwrap_or_else(|| panic!("leaf {node} is no mean of its rows")));
            } else {
                let kept = own.iter().filter(|id| !held_out.contains(id)).map(|id| &rows[*id as usize]);
                assert!(is_mean(&centroid, kept), "{} node {node} of {report:?}", metric.name());
            }
        }
        let share = held_out.len() as f64 / 40_000.0;
        assert!(share > 0.0 && share <= 0.125, "{} rows held out", held_out.len());
    }
}

/// Groups that a large cell is cut into would be smaller than such leaves.
#[test]
fn leaves_of_many_thousand_rows() {
    for (count, leaf_rows) in [(9_000, 2_048), (9_000, 3_000), (15_000, 8_192)] {
        let params = BuildParams { leaf_rows, links: LinkMode::Off, ..BuildParams::default() };
        let index = Index::new(skewed(Metric::L2, count, 4), &params);
        assert_divides_the_rows(&index);
        let report = index.db.segment(0).unwrap();
        assert!(report.leaf_rows_max <= limit(leaf_rows.into()), "{report:?}");
        assert!(report.leaves >= (count as u64).div_ceil(limit(leaf_rows.into())), "{report:?}");
    }
}
