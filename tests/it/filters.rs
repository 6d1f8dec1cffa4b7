//! Only admitted rows come back, and as many as were asked for if so many are admitted; a limit on the
//! distance is kept; a cursor goes on past k, in order and without repeating.

use std::collections::HashSet;

use crate::support::{
    everything, exact, plain, search, search_counted, some_of, Answer, Index, Naive, Named, Set, METRICS,
};
use vdb::database::Database;
use vdb::types::params::{BuildParams, Filter, LinkMode, SearchParams, NO_ID};
use vdb::types::{ElementType, Metric};
use workload::rng::Stream;

/// Exact answers among the rows admitted, and as many as there are at any effort.
fn check(index: &Index, admitted: &HashSet<u64>, queries: &[f32], k: usize) {
    let all = index.set.all_ids();
    for query in queries.chunks_exact(index.set.dim) {
        let naive = Naive::new(&index.set, query, |id| admitted.contains(&id));
        for named in Named::forms(&all, admitted) {
            let form = match &named {
                Named::Ids(ids, exclude) => format!("{} ids, exclude: {exclude}", ids.len()),
                Named::Bitmap(words, first_id, exclude) => {
                    format!("{} words from {first_id}, exclude: {exclude}", words.len())
                }
            };
            let what = format!("{} of {} by {form}", admitted.len(), all.len());
            let with = |params| SearchParams { filter: named.filter(), ..params };
            for params in [everything(), exact()] {
                naive.assert_same(&search(&index.db, query, k, &with(params)), k, &what);
            }
            let low = SearchParams { recall: 0.3, ..plain() };
            let one = SearchParams { probes: 1, ..plain() };
            let mean = SearchParams { probes: 1, rerank: 1, ..plain() };
            for params in [plain(), low, one, mean, SearchParams { probes: 2, ..everything() }] {
                let found = search(&index.db, query, k, &with(params));
                naive.assert_true(&found, &what);
                assert_eq!(found.ids.len(), k.min(admitted.len()), "{what}: rows found, {params:?}");
            }
        }
    }
}

#[test]
fn any_share_of_the_rows_in_every_form() {
    for metric in METRICS {
        let index = Index::tree(Set::whole(metric, ElementType::F32, 6000, 16, 6), 16);
        let all = index.set.all_ids();
        for count in [0, 1, 9, 10, 11, 150, 4096, 4097, 5500, 5999, 6000] {
            let admitted = some_of(&all, count, count as u64);
            check(&index, &admitted, &index.set.queries(2), 10);
        }
        // Rows that lie together: the ones far from the query.
        let query = &index.set.queries(1)[..];
        let naive = Naive::new(&index.set, query, |_| true);
        let far: HashSet<u64> = naive.hits[5900..].iter().map(|(_, id)| *id).collect();
        check(&index, &far, query, 30);
    }
}

/// "More like these, but none that I have seen": the filter cuts out what lies nearest, however few rows that is of
/// all.
#[test]
fn rows_behind_those_that_a_filter_cuts_out_are_found() {
    for (metric, links) in [(Metric::Cosine, LinkMode::On), (Metric::L2, LinkMode::Off)] {
        let index =
            Index::new(Set::typical(metric, 12_000, 48), &BuildParams { links, ..BuildParams::default() });
        let queries = index.set.queries(40);
        for seen in [10, 100, 1_000] {
            let (mut found, mut codes) = (0, 0);
            for query in queries.chunks_exact(48) {
                let nearest = search(&index.db, query, seen + 10, &exact()).ids;
                let (cut, behind) = nearest.split_at(seen);
                let mut ids = cut.to_vec();
                ids.sort_unstable();
                let params = SearchParams { filter: Filter::Ids { ids: &ids, exclude: true }, ..plain() };
                let before = index.db.totals().work.codes_scanned;
                let answer = search(&index.db, query, 10, &params);
                codes += index.db.totals().work.codes_scanned - before;
                found += answer.ids.iter().filter(|id| behind.contains(id)).count();
            }
            assert!(found >= 400 * 92 / 100, "{found} of 400 behind {seen}, {metric:?}, {links:?}");
            println!("{metric:?}, {links:?}: {found} of 400 behind {seen}, {} codes", codes / 40);
        }
    }
}

/// A third of the rows may be returned, and of the nearest nearly none.
#[test]
fn rows_behind_those_that_a_selective_filter_cuts_out_are_found() {
    let set = Set::typical(Metric::L2, 16_000, 48);
    let index = Index::new(set, &BuildParams { links: LinkMode::On, ..BuildParams::default() });
    let (mut found, k) = (0, 100);
    let queries = index.set.queries(12);
    for query in queries.chunks_exact(48) {
        let nearest = search(&index.db, query, 16_000, &exact()).ids;
        let (near, far) = nearest.split_at(5_000);
        let mut ids: Vec<u64> = near.iter().step_by(250).chain(far.iter().step_by(2)).copied().collect();
        let behind: HashSet<u64> =
            near.iter().step_by(250).chain(far.iter().step_by(2)).take(k).copied().collect();
        ids.sort_unstable();
        let params = SearchParams { filter: Filter::Ids { ids: &ids, exclude: false }, ..plain() };
        found += search(&index.db, query, k, &params).ids.iter().filter(|id| behind.contains(id)).count();
    }
    assert!(found >= 12 * k * 92 / 100, "{found} of {}", 12 * k);
}

/// Where rows lie in tight bunches, no link leads from what a filter cuts out to what is left.
#[test]
fn rows_behind_bunches_that_a_filter_cuts_out_are_found() {
    let (count, dim, bunches) = (12_000, 24, 120);
    let mut stream = Stream::new(8);
    let centres: Vec<f32> = (0..bunches * dim).map(|_| 4.0 * stream.normal()).collect();
    let rows: Vec<f32> =
        (0..count * dim).map(|i| centres[i % (bunches * dim)] + 0.5 * stream.normal()).collect();
    for links in [LinkMode::On, LinkMode::Off] {
        let (metric, element) = (Metric::L2, ElementType::F32);
        let set = Set { metric, element, dim, rows: rows.clone(), ids: None, whole: false };
        let index = Index::new(set, &BuildParams { links, ..BuildParams::default() });
        for (seen, k) in [(100, 1), (100, 10), (300, 10), (1_000, 1), (1_000, 10)] {
            let mut found = 0;
            for nth in 0..40 {
                let query = &index.set.rows[nth * 251 * dim..][..dim];
                let nearest = search(&index.db, query, seen + k, &exact()).ids;
                let (cut, behind) = nearest.split_at(seen);
                let mut ids = cut.to_vec();
                ids.sort_unstable();
                let params = SearchParams { filter: Filter::Ids { ids: &ids, exclude: true }, ..plain() };
                let answer = search(&index.db, query, k, &params);
                found += answer.ids.iter().filter(|id| behind.contains(id)).count();
            }
            println!("{links:?}: {found} of {} behind {seen}", 40 * k);
            assert!(found >= 40 * k * 9 / 10, "{found} of {} behind {seen}, {links:?}", 40 * k);
        }
    }
}

#[test]
fn scattered_ids_and_several_segments() {
    let set = Set::whole(Metric::Cosine, ElementType::U8, 2000, 12, 6).with_scattered_ids();
    let params = BuildParams { leaf_rows: 10, segment_rows: 700, ..BuildParams::default() };
    let index = Index::new(set, &params);
    let all = index.set.all_ids();
    for count in [1, 10, 400, 1999] {
        check(&index, &some_of(&all, count, 8), &index.set.queries(2), 10);
    }
    // All of one segment alone.
    check(&index, &all[700..1400].iter().copied().collect(), &index.set.queries(2), 1000);
}

#[test]
fn names_of_no_row_admit_nothing() {
    let index = Index::tree(Set::whole(Metric::L2, ElementType::F32, 3000, 8, 1), 12);
    let query = &index.set.queries(1)[..];
    let absent: Vec<u64> = (5000..12_000).chain([u64::MAX - 1]).collect();
    let bits = vec![u64::MAX; 200];
    let none = [
        Filter::Ids { ids: &absent, exclude: false },
        Filter::Ids { ids: &[], exclude: false },
        Filter::Bitmap { words: &bits, first_id: 3000, exclude: false },
        Filter::Bitmap { words: &bits, first_id: u64::MAX - 64, exclude: false },
        Filter::Bitmap { words: &[], first_id: 0, exclude: false },
        Filter::Bitmap { words: &[0, 0], first_id: 0, exclude: false },
    ];
    let every = [
        Filter::Ids { ids: &absent, exclude: true },
        Filter::Ids { ids: &[], exclude: true },
        Filter::Bitmap { words: &bits, first_id: 3000, exclude: true },
        Filter::Bitmap { words: &[], first_id: 0, exclude: true },
        Filter::Bitmap { words: &bits, first_id: 0, exclude: false },
    ];
    for params in [plain(), everything(), exact()] {
        for filter in none {
            assert_eq!(search(&index.db, query, 5, &SearchParams { filter, ..params }), Answer::default());
        }
        let unfiltered = search(&index.db, query, 5, &params);
        for filter in every {
            let found = search(&index.db, query, 5, &SearchParams { filter, ..params });
            if params.probes > 0 || params.exact {
                assert_eq!(found, unfiltered);
            }
            assert_eq!(found.ids.len(), 5);
        }
    }
}

#[test]
fn recall_is_kept_however_few_are_admitted_and_however_they_are_named() {
    for metric in METRICS {
        let index = Index::tree(Set::typical(metric, 8000, 32), 24);
        let (all, queries) = (index.set.all_ids(), index.set.queries(60));
        for count in [60, 600, 3000, 4500, 7500] {
            let admitted = some_of(&all, count, 12);
            let forms = Named::forms(&all, &admitted);
            let mut hits = vec![0; forms.len()];
            for query in queries.chunks_exact(32) {
                let naive = Naive::new(&index.set, query, |id| admitted.contains(&id));
                for (named, hits) in forms.iter().zip(&mut hits) {
                    let params = SearchParams { filter: named.filter(), ..plain() };
                    *hits += naive.hits_at(10, &search(&index.db, query, 10, &params));
                }
            }
            for (named, hits) in forms.iter().zip(hits) {
                let recall = hits as f64 / 600.0;
                let form = std::mem::discriminant(named);
                // 600 answers: the standard error is near 0.01.
                assert!(recall >= 0.93, "{} {count} rows: recall {recall} by {form:?}", metric.name());
            }
        }
    }
}

#[test]
fn no_row_lies_beyond_the_limit_and_none_within_is_left_out() {
    for metric in METRICS {
        let set = Set::whole(metric, ElementType::F32, 5000, 12, 3);
        let index = Index::tree(set, 16);
        let all = index.set.all_ids();
        let third = some_of(&all, 1700, 2);
        for query in index.set.queries(5).chunks_exact(12) {
            let ranked = search(&index.db, query, 200, &exact());
            if metric == Metric::InnerProduct {
                assert!(ranked.distances[100] < 0.0, "limits of inner products are negative");
            }
            for rank in [0, 1, 17, 100] {
                let limit = ranked.distances[rank];
                for admitted in [None, Some(&third)] {
                    let admits = |id: u64| admitted.is_none_or(|ids| ids.contains(&id));
                    let within: Vec<u64> = (ranked.ids.iter().zip(&ranked.distances))
                        .filter(|(id, distance)| **distance <= limit && admits(**id))
                        .map(|(id, _)| *id)
                        .collect();
                    let forms = match admitted {
                        None => vec![Named::Ids(Vec::new(), true)],
                        Some(ids) => Named::forms(&all, ids),
                    };
                    for named in &forms {
                        let limited = |params| SearchParams {
                            max_distance: Some(limit),
                            filter: named.filter(),
                            ..params
                        };
                        for params in [everything(), exact()] {
                            // The limit itself is within.
                            assert_eq!(search(&index.db, query, 200, &limited(params)).ids, within);
                            let first = search(&index.db, query, 3, &limited(params));
                            assert_eq!(first.ids, within[..3.min(within.len())]);
                        }
                        let found = search(&index.db, query, 200, &limited(plain()));
                        found.assert_in_order("within a limit");
                        assert!(found.ids.iter().all(|id| within.contains(id)));
                    }
                }
            }
        }
    }
}

#[test]
fn a_limit_that_holds_nobody_back_changes_nothing_and_one_too_near_leaves_nothing() {
    for metric in METRICS {
        let index = Index::tree(Set::typical(metric, 5000, 16), 16);
        let all = index.set.all_ids();
        let few = Named::forms(&all, &some_of(&all, 90, 4));
        for query in index.set.queries(4).chunks_exact(16) {
            let nearest = search(&index.db, query, 1, &exact()).distances[0];
            for params in [plain(), SearchParams { probes: 1, ..plain() }, everything(), exact()] {
                for filter in few.iter().map(Named::filter).chain([Filter::All]) {
                    let params = SearchParams { filter, ..params };
                    let free = search(&index.db, query, 20, &params);
                    for far in [f32::INFINITY, 1e30] {
                        let limited = SearchParams { max_distance: Some(far), ..params };
                        assert_eq!(search(&index.db, query, 20, &limited), free, "{}", metric.name());
                    }
                    for near in [nearest - nearest.abs() * 1e-3 - 1e-3, -1e30, f32::NEG_INFINITY] {
                        let limited = SearchParams { max_distance: Some(near), ..params };
                        assert_eq!(search(&index.db, query, 20, &limited), Answer::default());
                    }
                }
            }
        }
    }
}

#[test]
fn recall_within_a_limit_is_that_of_a_search() {
    for metric in METRICS {
        let index = Index::tree(Set::typical(metric, 20_000, 32), 24);
        let all: HashSet<u64> = index.set.all_ids().into_iter().collect();
        let third = some_of(&index.set.all_ids(), 7000, 7);
        // (found, within) without a filter, with one, and with one that turns the near half of those within away.
        let mut sums = [(0, 0); 3];
        let mut sums_of_one_leaf = [(0, 0); 3];
        for query in index.set.queries(40).chunks_exact(32) {
            for rank in [40, 1000] {
                let ranked = search(&index.db, query, rank, &exact());
                let limit = ranked.distances[rank - 1];
                let far = all.iter().copied().filter(|id| !ranked.ids[..rank / 2].contains(id)).collect();
                for (nth, admitted) in [&all, &third, &far].into_iter().enumerate() {
                    let named = &Named::forms(&index.set.all_ids(), admitted)[0];
                    let within = ranked.ids.iter().filter(|id| admitted.contains(id)).count();
                    let params =
                        SearchParams { max_distance: Some(limit), filter: named.filter(), ..plain() };
                    let found = |k, params| search(&index.db, query, k, &params).ids.len();
                    sums[nth].0 += found(within, params) + found(2 * rank, params);
                    sums[nth].1 += 2 * within;
                    // A visit that is too narrow goes on until it is past the limit.
                    sums_of_one_leaf[nth].0 += found(2 * rank, SearchParams { probes: 1, ..params });
                    sums_of_one_leaf[nth].1 += within;
                }
            }
        }
        for (sums, least) in [(sums, 0.96), (sums_of_one_leaf, 0.88)] {
            for (found, within) in sums {
                let recall = found as f64 / within as f64;
                assert!(recall >= least, "{}: {found} of {within} rows within the limit", metric.name());
            }
        }
    }
}

#[test]
fn of_those_within_a_limit_the_recall_asked_for_is_found_whatever_the_segments() {
    for metric in METRICS {
        // Segments of one size, and a small remainder.
        for (rows, segment_rows) in [(12_000, 4_000), (13_000, 6_000)] {
            let params = BuildParams { leaf_rows: 24, segment_rows, ..BuildParams::default() };
            let index = Index::new(Set::typical(metric, rows, 32), &params);
            let queries = index.set.queries(40);
            for rank in [10, 300] {
                let limits = queries
                    .chunks_exact(32)
                    .map(|query| (query, search(&index.db, query, rank, &exact()).distances[rank - 1]));
                let limits: Vec<(&[f32], f32)> = limits.collect();
                for recall in [0.8, 0.9, 0.95, 0.99] {
                    // More are asked for than lie within, and the very number.
                    for k in [rank, 2 * rank, 10 * rank] {
                        let found: usize = limits
                            .iter()
                            .map(|(query, limit)| {
                                let limited = SearchParams { max_distance: Some(*limit), recall, ..plain() };
                                search(&index.db, query, k, &limited).ids.len()
                            })
                            .sum();
                        let all = (rank * limits.len()) as f32;
                        let reached = found as f32 / all;
                        // So many neighbours tell a share no closer than that.
                        let error = (recall * (1.0 - recall) / all).sqrt();
                        assert!(
                            reached >= recall - error,
                            "{} {rows}/{segment_rows}: {reached} of {rank} within the limit, {recall} asked, k {k}",
                            metric.name()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_limit_reached_in_a_small_segment_widens_no_other() {
    let dim = 16;
    let codes = |segment_rows| {
        // A tree, and with a limit of rows a flat remainder.
        let index = Index::new(
            Set::typical(Metric::L2, 13_000, dim),
            &BuildParams { segment_rows, ..BuildParams::default() },
        );
        let queries = index.set.queries(40);
        let scanned = queries.chunks_exact(dim).map(|query| {
            let limit = search(&index.db, query, 20, &exact()).distances[19];
            let limited = SearchParams { max_distance: Some(limit), ..plain() };
            search_counted(&index.db, query, 200, &limited).1.codes_scanned
        });
        scanned.sum::<u64>() / 40
    };
    let (one, two) = (codes(0), codes(12_000));
    assert!(two < one + 13_000 / 4, "{two} codes a search of two segments, {one} of one");
}

// ---- cursors ----

/// All pages of a cursor, of sizes that go round.
fn pages(db: &Database, query: &[f32], params: &SearchParams<'_>, sizes: &[usize]) -> Answer {
    let mut cursor = db.cursor(query, params).unwrap();
    let mut all = Answer::default();
    for size in sizes.iter().cycle() {
        let (mut ids, mut distances) = (vec![7; *size], vec![f32::NAN; *size]);
        let count = cursor.next(*size, &mut ids, Some(&mut distances), None).unwrap();
        let page = Answer::of_slots(&ids, &distances, count);
        all.ids.extend(page.ids);
        all.distances.extend(page.distances);
        if count == 0 {
            break;
        }
    }
    // The end stays the end.
    let mut ids = [7];
    assert_eq!(cursor.next(1, &mut ids, None, None).unwrap(), 0);
    assert_eq!(ids, [NO_ID]);
    all
}

#[test]
fn a_cursor_gives_what_one_long_search_gives() {
    for metric in METRICS {
        let params = BuildParams { leaf_rows: 14, segment_rows: 1500, ..BuildParams::default() };
        let index = Index::new(Set::whole(metric, ElementType::F32, 2500, 10, 7), &params);
        let all = index.set.all_ids();
        let query = &index.set.queries(1)[..];
        let limit = search(&index.db, query, 400, &exact()).distances[399];
        let mut filters = vec![Named::Ids(Vec::new(), true)];
        filters.extend(Named::forms(&all, &some_of(&all, 33, 5)));
        filters.extend(Named::forms(&all, &some_of(&all, 1900, 5)));
        for named in &filters {
            for max_distance in [None, Some(limit)] {
                let with = |params| SearchParams { filter: named.filter(), max_distance, ..params };
                let every_leaf = SearchParams { probes: u32::MAX, ..plain() };
                for params in [everything(), exact(), every_leaf] {
                    let long = search(&index.db, query, 2500, &with(params));
                    for sizes in [&[10][..], &[1, 50, 3, 700], &[2500], &[4000]] {
                        let paged = pages(&index.db, query, &with(params), sizes);
                        assert_eq!(paged, long, "{} pages of {sizes:?}, {params:?}", metric.name());
                    }
                }
            }
        }
    }
}

#[test]
fn a_cursor_at_default_effort_goes_on_in_order_to_the_end() {
    for metric in METRICS {
        let index = Index::tree(Set::typical(metric, 4000, 24), 20);
        for query in index.set.queries(3).chunks_exact(24) {
            let naive = Naive::new(&index.set, query, |_| true);
            for sizes in [&[50][..], &[1, 9], &[1000]] {
                let paged = pages(&index.db, query, &plain(), sizes);
                naive.assert_true(&paged, "pages");
                // A row that was missed cannot be given when its turn is over.
                assert!(paged.ids.len() >= 3800, "{} of 4000 rows came", paged.ids.len());
            }
            // Of those within a limit none is left out either because the first search stopped early.
            let limit = naive.hits[1000].0 as f32;
            let params = SearchParams { max_distance: Some(limit), ..plain() };
            let paged = pages(&index.db, query, &params, &[50]);
            assert!(paged.distances.iter().all(|distance| *distance <= limit));
            assert!(paged.ids.len() >= 950, "{} of 1000 rows within {limit} came", paged.ids.len());
        }
    }
}

#[test]
fn a_cursor_keeps_its_filter_and_its_index() {
    let index = Index::tree(Set::whole(Metric::L2, ElementType::F32, 3000, 8, 2), 12);
    let query = index.set.queries(1);
    let mut named = vec![5, 6, 2999];
    let params = SearchParams { filter: Filter::Ids { ids: &named, exclude: false }, ..plain() };
    let expected = search(&index.db, &query, 3, &params).ids;
    let mut cursor = index.db.cursor(&query, &params).unwrap();
    named.fill(0);
    drop(index);
    let mut ids = [0; 4];
    assert_eq!(cursor.next(4, &mut ids, None, None).unwrap(), 3);
    assert_eq!(ids[..3], expected);
}

#[test]
fn few_admitted_rows_cost_no_scan_of_the_rest() {
    let index = Index::tree(Set::typical(Metric::L2, 12_000, 16), 24);
    let ids: Vec<u64> = (0..40).map(|i| i * 300).collect();
    let params = SearchParams { filter: Filter::Ids { ids: &ids, exclude: false }, ..plain() };
    for query in index.set.queries(5).chunks_exact(16) {
        let (_, stats) = search_counted(&index.db, query, 10, &params);
        assert_eq!(stats.codes_scanned, 40);
    }
}
