//! Memory that is refused, in large pieces or altogether, ends a search in a status.

use std::ptr::{null, null_mut};
use std::sync::atomic::Ordering::Relaxed;

use vdb::database::{Database, OpenOptions};
use vdb::ffi::error::{vdb_error_free, vdb_error_message, vdb_error_status};
use vdb::ffi::error::{VDB_INVALID_ARGUMENT, VDB_OK, VDB_OUT_OF_MEMORY};
use vdb::ffi::open::{vdb_free, vdb_open};
use vdb::ffi::search::vdb_search;
use vdb::types::params::{BuildParams, Filter, SearchParams, RERANK_ALL};
use vdb::types::{ElementType, Metric, Status};

use crate::allocator::{alone, LEFT, REFUSED_BYTES};
use crate::fixture::{folder, params, rows};
use crate::{index, many_rows, DIM};

#[test]
fn a_search_without_memory_ends_in_a_status() {
    let _turn = alone();
    let (dir, count) = (folder(), 100_000);
    let queries = many_rows(dir.path(), count);
    let mut counts = [0, 0];
    for refused_bytes in (12..24).map(|bits| 1 << bits) {
        for exact in [false, true] {
            let options = OpenOptions { threads: 2, ..OpenOptions::default() };
            let db = Database::open(dir.path(), &options).unwrap();
            let params = SearchParams { exact, recall: 1.0, ..SearchParams::default() };
            for k in [10, 3_000, count] {
                let (mut ids, mut batch) = (vec![0; k], vec![0; 20 * k]);
                REFUSED_BYTES.store(refused_bytes, Relaxed);
                let one = db.search(&queries[..4], k, &params, &mut ids, None).map(|_| ());
                let many = db.batch_search(&queries, 4, k, &params, &mut batch, None, None).map(|_| ());
                let mut cursor = db.cursor(&queries[..4], &params).unwrap();
                let next = cursor.next(k, &mut ids, None, None).map(|_| ());
                REFUSED_BYTES.store(usize::MAX, Relaxed);
                for outcome in [one, many, next] {
                    counts[usize::from(outcome.is_ok())] += 1;
                    let status = outcome.map_or_else(|error| error.status(), |()| Status::OutOfMemory);
                    assert_eq!(status, Status::OutOfMemory);
                }
            }
        }
    }
    assert!(counts.iter().all(|count| *count > 10), "{counts:?} failed and not");
}

#[test]
fn a_search_without_any_memory_ends_in_a_status() {
    let _turn = alone();
    let (dir, queries) = (folder(), rows(40, DIM, 4));
    index(
        dir.path(),
        ElementType::F32,
        &BuildParams { segment_rows: 4_000, metric: Metric::Cosine, ..params() },
    );
    let few = [5u64, 77, 1234, 5999];
    let base = SearchParams { threads: 1, ..SearchParams::default() };
    let ways = [
        base,
        SearchParams { recall: 1.0, ..base },
        SearchParams { exact: true, ..base },
        SearchParams { timeout_ns: 1, ..base },
        SearchParams { probes: 3, rerank: RERANK_ALL, ..base },
        SearchParams { filter: Filter::Ids { ids: &few, exclude: false }, ..base },
    ];
    let mapped = OpenOptions { threads: 1, ..OpenOptions::default() };
    // Rows that are read are kept.
    let read = OpenOptions { no_mmap: true, vector_cache_bytes: Some(1 << 20), ..mapped.clone() };
    let (mut ids, mut batch, mut counts) = (vec![0; 10], vec![0; 400], vec![0; 40]);
    for (params, options) in ways.iter().flat_map(|way| [(way, &mapped), (way, &read)]) {
        for way in 0..4 {
            let mut refused = 0;
            for left in 0.. {
                // A handle whose searches have no memory yet.
                let db = Database::open(dir.path(), options).unwrap();
                LEFT.set(left);
                let outcome = match way {
                    0 => db.search(&queries[..DIM], 10, params, &mut ids, None).map(|_| ()),
                    1 => db
                        .batch_search(&queries, DIM, 10, params, &mut batch, None, Some(&mut counts))
                        .map(|_| ()),
                    2 => db
                        .cursor(&queries[..DIM], params)
                        .and_then(|mut cursor| cursor.next(10, &mut ids, None, None).map(|_| ())),
                    // What is wrong with the arguments has a sentence of its own.
                    _ => db.search(&queries[..DIM], 0, params, &mut ids, None).map(|_| ()),
                };
                let was_enough = LEFT.replace(u64::MAX) > 0;
                match outcome {
                    Err(error) if error.status() == Status::OutOfMemory => {
                        assert!(error.message().contains("memory"), "{error}");
                        refused += 1;
                    }
                    // An answer that there is no memory to remember is an answer.
                    Ok(()) | Err(_) => {}
                }
                if way == 0 {
                    // What the search that was refused left behind is no ground to stand on.
                    LEFT.set(0);
                    let again = db.search(&queries[..DIM], 10, params, &mut ids, None).map(|_| ());
                    LEFT.set(u64::MAX);
                    assert!(again.map_or_else(|error| error.status() != Status::Internal, |()| true));
                }
                if was_enough {
                    break;
                }
            }
            assert!(refused > 0, "{params:?} {way}");
        }
    }
}

#[test]
fn an_error_reaches_c_without_any_memory() {
    let _turn = alone();
    let (dir, query) = (folder(), rows(1, DIM, 4));
    index(dir.path(), ElementType::F32, &params());
    let path = std::ffi::CString::new(dir.path().to_str().unwrap()).unwrap();
    // SAFETY: the handle and the errors are used until they are freed, once; buffers are as long as is said.
    unsafe {
        for (k, otherwise) in [(10, VDB_OK), (0, VDB_INVALID_ARGUMENT)] {
            let mut statuses = Vec::with_capacity(100);
            for left in 0.. {
                let (mut db, mut error, mut ids, mut count) = (null_mut(), null_mut(), [0; 10], 0);
                assert_eq!(vdb_open(path.as_ptr(), null(), &mut db, &mut error), VDB_OK);
                let options = (null(), ids.as_mut_ptr(), null_mut());
                LEFT.set(left);
                let status = vdb_search(
                    db,
                    query.as_ptr(),
                    DIM,
                    k,
                    options.0,
                    options.1,
                    options.2,
                    &mut count,
                    &mut error,
                );
                let was_enough = LEFT.replace(u64::MAX) > 0;
                assert_eq!(vdb_error_status(error), status);
                let message = std::ffi::CStr::from_ptr(vdb_error_message(error)).to_str().unwrap();
                assert!(status == otherwise || message.contains("memory"), "{message}");
                vdb_error_free(error);
                vdb_free(db);
                statuses.push(status);
                if was_enough {
                    break;
                }
            }
            assert_eq!(statuses.first(), Some(&VDB_OUT_OF_MEMORY));
            assert_eq!(statuses.last(), Some(&otherwise));
            assert!(statuses.iter().all(|status| [otherwise, VDB_OUT_OF_MEMORY].contains(status)));
        }
    }
}
