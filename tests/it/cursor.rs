//! A cursor stops when it is told to or finds no memory, wherever it stands, and stays there.

use std::sync::atomic::AtomicI32;

use vdb::database::{Database, OpenOptions};
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

#[test]
fn what_a_cursor_holds_is_counted_bounded_and_given_back() {
    let (dir, dim, count) = (folder(), 8, 4_000);
    build(dir.path(), &rows(count, dim, 1), dim, &params()).unwrap();
    let open_with = |limit| {
        let options = OpenOptions { memory_limit_bytes: limit, threads: 1, ..OpenOptions::default() };
        Database::open(dir.path(), &options)
    };
    let least = open_with(1).map(|_| ()).unwrap_err().needed_bytes().unwrap();
    let db = open_with(least).unwrap();
    let query = rows(1, dim, 2);
    let before = db.memory().other_bytes;
    let mut cursors = Vec::new();
    let mut ids = vec![0; count];
    let error = loop {
        let mut cursor = db.cursor(&query, &SearchParams::default()).unwrap();
        let given = cursor.next(640, &mut ids, None, None);
        let memory = db.memory();
        assert!(memory.total_bytes <= memory.limit_bytes && memory.other_bytes > before);
        cursors.push(cursor);
        match given {
            Ok(found) => assert_eq!(found, 640),
            Err(error) => break error,
        }
        assert!(cursors.len() < 1_000, "the limit bounds cursors");
    };
    assert_eq!(error.status(), Status::OutOfMemory);
    assert!(error.message().contains("cursors"), "{error}");
    assert!(error.needed_bytes().is_some_and(|bytes| bytes > least));
    // It stands where it stood, and goes on when others have gone.
    let mut refused = cursors.pop().unwrap();
    drop(cursors);
    let found = refused.next(10, &mut ids, None, None).unwrap();
    let mut whole = [0; 10];
    db.search(&query, 10, &SearchParams { recall: 1.0, ..SearchParams::default() }, &mut whole, None)
        .unwrap();
    assert_eq!(ids[..found], whole);
    drop(refused);
    assert_eq!(db.memory().other_bytes, before);
}
