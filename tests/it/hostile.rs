//! No bytes in an index directory crash the host: each damage is a status and a sentence, or is found by verify.
//!
//! Every mutation goes through all that a host may do with a directory: open, search, look inside, verify.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::{Path, PathBuf};

use vdb::database::{self, Database, Job};
use vdb::format::{Manifest, SectionInfo, SectionKind, SegmentFile};
use vdb::types::params::{BuildParams, SearchParams, RERANK_ALL};
use vdb::types::{Error, Result, Status};
use vdb::vfs::OsVfs;

use crate::fixture::{build, folder, names, params, rows, segment, Random};

const DIM: usize = 24;
const ROWS: usize = 700;

/// An index of a few leaves, in a directory of its own.
fn index() -> tempfile::TempDir {
    let dir = folder();
    let params = BuildParams { leaf_rows: 24, code_bits: 1, ..params() };
    build(dir.path(), &rows(ROWS, DIM, 1), DIM, &params).unwrap();
    dir
}

/// A copy of an index.
fn copy(from: &Path) -> tempfile::TempDir {
    let dir = folder();
    for name in names(from) {
        fs::copy(from.join(&name), dir.path().join(&name)).unwrap();
    }
    dir
}

/// Searches, and looks at everything, on both read paths. Answers may be anything; panics fail the test.
fn use_it(db: &Database) -> Result<()> {
    let query: Vec<f32> = rows(1, DIM, 9);
    let (mut ids, mut distances) = ([0; 10], [0.0; 10]);
    for params in [
        SearchParams::default(),
        SearchParams { recall: 1.0, ..SearchParams::default() },
        SearchParams { exact: true, ..SearchParams::default() },
    ] {
        let found = db.search(&query, 10, &params, &mut ids, Some(&mut distances))?;
        assert!(found.count <= 10);
    }
    let (mut vector, mut code) = ([0.0; DIM], vec![0; db.info().code_bytes as usize]);
    for id in [0, 1, ROWS as u64 - 1] {
        tolerate(db.get(&[id], &mut vector, None));
        tolerate(db.code(id, &mut code).map(|_| ()));
    }
    for number in 0..db.info().segments {
        for node in 0..db.segment(number)?.nodes {
            tolerate(db.node_centroid(number, node, &mut vector));
            db.node_members(number, node, 0, &mut ids)?;
        }
    }
    Ok(())
}

/// Ids may be damaged in ways that make a row not to be found.
fn tolerate(result: Result<()>) {
    if let Err(error) = result {
        said(&error);
    }
}

/// A refusal that a host can act on.
fn said(error: &Error) -> Status {
    let status = error.status();
    let fair = [Status::Corrupt, Status::Format, Status::NotFound, Status::Io, Status::OutOfMemory];
    assert!(fair.contains(&status), "{status:?}: {error}");
    assert!(error.message().len() >= 20, "{error}");
    assert!(error.needed_bytes().is_none_or(|bytes| bytes < 1 << 40), "{error}");
    status
}

/// Opens and uses the directory both ways, and verifies it. `Ok` if nothing was noticed by opening, else how.
fn meet(path: &Path) -> (Result<()>, Result<()>) {
    let mut opened = Ok(());
    for no_mmap in [false, true] {
        let options = database::OpenOptions { threads: 1, no_mmap, ..database::OpenOptions::default() };
        opened = Database::open(path, &options).and_then(|db| use_it(&db));
        if let Err(error) = &opened {
            said(error);
        }
    }
    let verified = database::verify(path, &Job::default());
    if let Err(error) = &verified {
        said(error);
    }
    (opened, verified)
}

/// The directory is damaged: opening or verifying says so, and a checked open refuses.
fn is_noticed(path: &Path, what: &str) {
    let (opened, verified) = meet(path);
    assert!(verified.is_err(), "{what}: verify found nothing; opening: {opened:?}");
    let options = database::OpenOptions { threads: 1, check: true, ..database::OpenOptions::default() };
    assert!(Database::open(path, &options).is_err(), "{what}: a checked open took it");
}

/// Where a section of the only segment lies.
fn section(dir: &Path, kind: SectionKind) -> SectionInfo {
    let vfs = OsVfs::open_dir(dir).unwrap();
    let manifest = Manifest::load(&*vfs).unwrap();
    SegmentFile::open(&*vfs, &manifest, &manifest.segments[0]).unwrap().section(kind).unwrap()
}

/// Puts other bytes at an offset of a file, gives them back after `look`.
fn with_bytes(file: &Path, offset: u64, bytes: &[u8], look: impl FnOnce()) {
    let mut open = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut before = vec![0; bytes.len()];
    open.seek(SeekFrom::Start(offset)).unwrap();
    open.read_exact(&mut before).unwrap();
    if before != bytes {
        open.seek(SeekFrom::Start(offset)).unwrap();
        open.write_all(bytes).unwrap();
        look();
        open.seek(SeekFrom::Start(offset)).unwrap();
        open.write_all(&before).unwrap();
    }
}

#[test]
fn every_byte_of_the_manifest_and_of_the_heads_is_guarded() {
    let dir = index();
    let manifest = dir.path().join("MANIFEST");
    let file = segment(dir.path());
    let table = fs::metadata(&file).unwrap().len() - 64 * 13;
    let mut places: Vec<(PathBuf, u64)> =
        (0..fs::metadata(&manifest).unwrap().len()).map(|at| (manifest.clone(), at)).collect();
    places.extend((0..128).chain([1000, 4000, 4087, 4088, 4095]).map(|at| (file.clone(), at)));
    places.extend((table..table + 64 * 13).step_by(5).map(|at| (file.clone(), at)));
    for (path, at) in places {
        let byte = fs::read(&path).unwrap()[at as usize];
        for bit in [byte ^ 1, byte ^ 0x80, 0, 0xff] {
            with_bytes(&path, at, &[bit], || {
                let opened = crate::fixture::open(dir.path()).map(|_| ());
                let error = opened.expect_err(&format!("{}, byte {at}: was not noticed", path.display()));
                said(&error);
            });
        }
    }
    assert!(meet(dir.path()).1.is_ok(), "the bytes were given back");
}

#[test]
fn numbers_that_claim_too_much_are_refused_without_their_memory() {
    // Heads whose checksums are right again, so that the numbers themselves are met.
    let dir = index();
    let manifest = dir.path().join("MANIFEST");
    let good = fs::read(&manifest).unwrap();
    for at in (8..good.len() - 8).step_by(4) {
        for value in [0u32, 1, 0x7fff_ffff, u32::MAX] {
            let mut bytes = good.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            let body = bytes.len() - 8;
            let sum = xxhash(&bytes[..body]);
            bytes[body..].copy_from_slice(&sum.to_le_bytes());
            fs::write(&manifest, &bytes).unwrap();
            // Reserved fields may hold anything, so it may also be right.
            let _ = meet(dir.path());
        }
    }
}

/// The checksum of the format, by the library's own hand.
fn xxhash(bytes: &[u8]) -> u64 {
    vdb::format::checksum::checksum(bytes)
}

#[test]
fn flips_anywhere_are_found() {
    let dir = index();
    let file = segment(dir.path());
    let length = fs::metadata(&file).unwrap().len();
    let mut random = Random(77);
    for round in 0..250 {
        let at = random.below(length as usize) as u64;
        let mut byte = [0];
        let mut open = File::open(&file).unwrap();
        open.seek(SeekFrom::Start(at)).unwrap();
        open.read_exact(&mut byte).unwrap();
        let flipped = [byte[0] ^ 1 << random.below(8)];
        with_bytes(&file, at, &flipped, || is_noticed(dir.path(), &format!("flip {round} at {at}")));
    }
}

#[test]
fn noise_over_whole_stretches_is_found() {
    let dir = index();
    let file = segment(dir.path());
    let length = fs::metadata(&file).unwrap().len() as usize;
    let mut random = Random(78);
    for round in 0..60 {
        let at = random.below(length - 16);
        let bytes: Vec<u8> =
            (0..random.below((length - at).min(9_000)) + 1).map(|_| random.word() as u8).collect();
        with_bytes(&file, at as u64, &bytes, || is_noticed(dir.path(), &format!("noise {round} at {at}")));
    }
}

#[test]
fn sections_that_are_read_lazily_are_found_by_verify_and_by_a_checked_open() {
    let dir = index();
    let path = segment(dir.path());
    for kind in [SectionKind::VECTORS, SectionKind::CENTROIDS] {
        let section = section(dir.path(), kind);
        with_bytes(&path, section.offset + section.bytes / 2, &[0xa5; 3], || {
            // An open does not look, so that it stays short.
            crate::fixture::open(dir.path()).unwrap();
            is_noticed(dir.path(), &kind.to_string());
            let error = database::verify(dir.path(), &Job::default()).unwrap_err();
            let name = kind.to_string();
            assert!(error.message().contains(&name), "{error}");
            assert!((section.offset..section.offset + section.bytes).contains(&error.offset().unwrap()));
        });
    }
}

/// A distance that no row of a build has is damage, not an answer the fewer.
#[test]
fn rows_that_are_no_numbers_fail_the_search_that_meets_them() {
    let dir = index();
    let section = section(dir.path(), SectionKind::VECTORS);
    let query = rows(1, DIM, 9);
    for bytes in [f32::NAN.to_le_bytes(), f32::INFINITY.to_le_bytes()] {
        with_bytes(&segment(dir.path()), section.offset, &bytes, || {
            let db = crate::fixture::open(dir.path()).unwrap();
            let mut ids = vec![0; ROWS];
            for params in [
                SearchParams { exact: true, ..SearchParams::default() },
                SearchParams { probes: u32::MAX, ..SearchParams::default() },
                SearchParams { probes: u32::MAX, rerank: RERANK_ALL, ..SearchParams::default() },
            ] {
                let error = db.search(&query, ROWS, &params, &mut ids, None).map(|_| ()).unwrap_err();
                assert_eq!(error.status(), Status::Corrupt, "{error}");
            }
        });
    }
}

#[test]
fn files_of_every_other_length_are_refused() {
    let good = index();
    for name in names(good.path()).into_iter().filter(|name| name != "LOCK") {
        let dir = copy(good.path());
        let path = dir.path().join(&name);
        let bytes = fs::read(&path).unwrap();
        let length = bytes.len();
        let mut lengths =
            vec![0, 1, 7, 8, 63, 127, 128, 4095, 4096, 4097, length / 2, length - 8, length - 1];
        lengths.extend((1..16).map(|part| length * part / 16));
        for cut in lengths.into_iter().filter(|cut| *cut < length) {
            fs::write(&path, &bytes[..cut]).unwrap();
            is_noticed(dir.path(), &format!("{name} cut to {cut} of {length}"));
        }
        for more in [&[0u8][..], &[0; 4096], b"x"] {
            fs::write(&path, [&bytes, more].concat()).unwrap();
            is_noticed(dir.path(), &format!("{name} with {} bytes more", more.len()));
        }
        fs::write(&path, vec![0; length]).unwrap();
        is_noticed(dir.path(), &format!("{name} of zeros"));
    }
}

#[test]
fn files_of_another_index_are_refused() {
    let (one, other) = (index(), folder());
    build(other.path(), &rows(ROWS, DIM, 2), DIM, &BuildParams { leaf_rows: 24, ..params() }).unwrap();
    let dir = copy(one.path());
    fs::copy(segment(other.path()), segment(dir.path())).unwrap();
    is_noticed(dir.path(), "the segment of another");
    let dir = copy(one.path());
    fs::copy(other.path().join("MANIFEST"), dir.path().join("MANIFEST")).unwrap();
    is_noticed(dir.path(), "the manifest of another");
    // The same rows once more: other bytes nowhere but in what names them.
    let older = copy(one.path());
    build(one.path(), &rows(ROWS, DIM, 1), DIM, &BuildParams { leaf_rows: 24, replace: true, ..params() })
        .unwrap();
    let dir = copy(one.path());
    fs::copy(segment(older.path()), segment(dir.path())).unwrap();
    is_noticed(dir.path(), "an older segment under a newer name");
}

#[test]
fn what_is_missing_is_said() {
    let good = index();
    let dir = copy(good.path());
    fs::remove_file(dir.path().join("MANIFEST")).unwrap();
    let (opened, verified) = meet(dir.path());
    assert_eq!(opened.unwrap_err().status(), Status::NotFound);
    assert_eq!(verified.unwrap_err().status(), Status::NotFound);
    // No build has taken the segment away, so this is damage.
    let dir = copy(good.path());
    fs::remove_file(segment(dir.path())).unwrap();
    let (opened, verified) = meet(dir.path());
    assert_eq!(opened.unwrap_err().status(), Status::Corrupt);
    assert_eq!(verified.unwrap_err().status(), Status::Corrupt);
    // The lock is the writer's alone.
    let dir = copy(good.path());
    fs::remove_file(dir.path().join("LOCK")).unwrap();
    let (opened, verified) = meet(dir.path());
    assert!(opened.is_ok() && verified.is_ok());
    // Nothing, nothing in it, and something else.
    let nowhere = dir.path().join("nowhere");
    assert_eq!(meet(&nowhere).0.unwrap_err().status(), Status::NotFound);
    assert_eq!(meet(folder().path()).0.unwrap_err().status(), Status::NotFound);
    assert_eq!(meet(&dir.path().join("MANIFEST")).0.unwrap_err().status(), Status::Format);
    assert_eq!(meet(Path::new("/dev/null")).0.unwrap_err().status(), Status::Format);
}

#[test]
fn what_is_no_file_of_ours_is_refused_or_passed_over() {
    let good = index();
    for name in ["MANIFEST", "segment"] {
        let place = |dir: &Path| if name == "segment" { segment(dir) } else { dir.join(name) };
        for kind in
            ["directory", "loop", "link to the file", "link to nothing", "foreign text", "empty", "pipe"]
        {
            let dir = copy(good.path());
            let path = place(dir.path());
            let aside = dir.path().join("aside");
            fs::rename(&path, &aside).unwrap();
            match kind {
                "directory" => fs::create_dir(&path).unwrap(),
                "loop" => symlink(&path, &path).unwrap(),
                // Even to the right bytes: what a link leads to, another may change.
                "link to the file" => symlink(&aside, &path).unwrap(),
                "link to nothing" => symlink("nowhere", &path).unwrap(),
                "foreign text" => fs::write(&path, "root:x:0:0\n".repeat(4000)).unwrap(),
                "pipe" => {
                    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success())
                }
                _ => fs::write(&path, "").unwrap(),
            }
            is_noticed(dir.path(), &format!("{name} is a {kind}"));
        }
    }
    // Strangers beside the index do not matter.
    let dir = copy(good.path());
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    fs::create_dir(dir.path().join("seg-00000000000000ff.vdb.d")).unwrap();
    fs::write(dir.path().join("seg-00000000000000ff.vdb"), "left by a crash").unwrap();
    let (opened, verified) = meet(dir.path());
    assert!(opened.is_ok() && verified.is_ok(), "{opened:?} {verified:?}");
    // A directory that is reached by a link is the user's choice; a circle of links is none.
    symlink(dir.path(), dir.path().join("itself")).unwrap();
    assert!(meet(&dir.path().join("itself")).0.is_ok());
    symlink("circle", dir.path().join("circle")).unwrap();
    assert_eq!(meet(&dir.path().join("circle")).0.unwrap_err().status(), Status::Io);
}

#[test]
fn without_permission_there_is_a_sentence() {
    let dir = index();
    let locked = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    for path in [dir.path().join("MANIFEST"), segment(dir.path()), dir.path().to_path_buf()] {
        let mode = fs::metadata(&path).unwrap().permissions();
        locked(&path);
        let opened = meet(dir.path()).0;
        fs::set_permissions(&path, mode).unwrap();
        // The superuser may read everything, and then it is whole.
        if let Err(error) = opened {
            assert_eq!(error.status(), Status::Io, "{error}");
            assert!(error.message().to_lowercase().contains("permission"), "{error}");
        }
    }
}
