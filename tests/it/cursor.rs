//! A cursor stops when it is told to, wherever it stands, and stays there.

use std::sync::atomic::AtomicI32;

use vdb::types::params::{SearchParams, NO_ID};
use vdb::types::Status;

use crate::fixture::{build, folder, open, params, rows};

#[test]
fn a_cancelled_cursor_stays_where_it_is() {
    let (dir, dim, count) = (folder(), 8, 120);
    build(dir.path(), &rows(count, dim, 1), dim, &params()).unwrap();
    let db = open(dir.path()).unwrap();
    let query = rows(1, dim, 2);
    let mut whole = vec![0u64; count];
    db.search(&query, count, &SearchParams { exact: true, ..SearchParams::default() }, &mut whole, None)
        .unwrap();
    let mut cursor = db.cursor(&query, &SearchParams { recall: 1.0, ..SearchParams::default() }).unwrap();
    let (stop, go) = (AtomicI32::new(1), AtomicI32::new(0));
    let mut given: Vec<u64> = Vec::new();
    // Before the first rows, with rows at hand, and at the end, where nothing is left to search.
    loop {
        let mut ids = [0; 50];
        let error = cursor.next(50, &mut ids, None, Some(&stop)).unwrap_err();
        assert_eq!(error.status(), Status::Cancelled, "after {} rows", given.len());
        let found = cursor.next(50, &mut ids, None, Some(&go)).unwrap();
        assert!(ids[found..].iter().all(|id| *id == NO_ID));
        if found == 0 {
            break;
        }
        given.extend(&ids[..found]);
    }
    assert_eq!(given, whole);
    assert_eq!(cursor.next(50, &mut [0; 50], None, Some(&stop)).unwrap_err().status(), Status::Cancelled);
}
