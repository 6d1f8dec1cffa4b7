//! One suite over every directory: what callers rely on holds for the real disk and for its stand-ins.

use super::faulty::{Call, Fault, FaultVfs, Plan};
use super::power::PowerVfs;
use super::*;
use crate::types::Status;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::Path;

fn name() -> FileName {
    FileName::Segment(7)
}

fn other() -> FileName {
    FileName::Segment(8)
}

fn each_vfs(check: impl Fn(&str, Arc<dyn Vfs>)) {
    let real = tempfile::tempdir().unwrap();
    check("os", OsVfs::open_dir(real.path()).unwrap());
    check("mem", Arc::new(MemVfs::new()));
    check("power", Arc::new(PowerVfs::new()));
    check("faulty", Arc::new(FaultVfs::new(Arc::new(MemVfs::new()))));
}

fn content(file: &dyn VfsFile) -> Vec<u8> {
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn what_is_written_is_read_back_at_its_offset() {
    each_vfs(|vfs_name, vfs| {
        let file = vfs.create_new(name()).unwrap();
        file.write_all_at(b"world", 6).unwrap();
        file.write_all_at(b"hello", 0).unwrap();
        file.sync_data().unwrap();
        assert_eq!(content(&*file), b"hello\0world", "{vfs_name}");
        let again = vfs.open_read(name()).unwrap();
        let mut middle = [0; 3];
        again.read_exact_at(&mut middle, 4).unwrap();
        assert_eq!(&middle, b"o\0w", "{vfs_name}");
        let mut beyond = [9; 4];
        assert_eq!(again.read_at(&mut beyond, 100).unwrap(), 0, "{vfs_name}");
        let early = again.read_exact_at(&mut beyond, 9).unwrap_err();
        assert_eq!(early.kind(), io::ErrorKind::UnexpectedEof, "{vfs_name}");
        file.start_writeback(0, 11);
        file.advise(Advice::DontNeed, 0, 0);
        assert_eq!(content(&*again), b"hello\0world", "{vfs_name}");
    });
}

#[test]
fn a_new_file_must_not_exist_and_an_old_one_must() {
    each_vfs(|vfs_name, vfs| {
        assert_eq!(vfs.open_read(name()).err().unwrap().kind(), io::ErrorKind::NotFound, "{vfs_name}");
        assert_eq!(vfs.remove(name()).unwrap_err().kind(), io::ErrorKind::NotFound, "{vfs_name}");
        assert_eq!(vfs.rename(name(), other()).unwrap_err().kind(), io::ErrorKind::NotFound, "{vfs_name}");
        vfs.create_new(name()).unwrap();
        let again = vfs.create_new(name()).err().unwrap();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists, "{vfs_name}");
    });
}

#[test]
fn a_rename_replaces_and_a_removed_file_lives_on_for_its_reader() {
    each_vfs(|vfs_name, vfs| {
        vfs.create_new(name()).unwrap().write_all_at(b"new", 0).unwrap();
        vfs.create_new(other()).unwrap().write_all_at(b"old", 0).unwrap();
        let reader = vfs.open_read(other()).unwrap();
        vfs.rename(name(), other()).unwrap();
        vfs.sync_dir().unwrap();
        assert_eq!(content(&*vfs.open_read(other()).unwrap()), b"new", "{vfs_name}");
        assert!(vfs.open_read(name()).is_err(), "{vfs_name}");
        assert_eq!(content(&*reader), b"old", "{vfs_name}");
        vfs.remove(other()).unwrap();
        assert_eq!(vfs.list().unwrap(), Listing::default(), "{vfs_name}");
        assert_eq!(content(&*reader), b"old", "{vfs_name}");
    });
}

#[test]
fn allocate_grows_with_zeros_and_never_shrinks() {
    each_vfs(|vfs_name, vfs| {
        let file = vfs.create_new(name()).unwrap();
        file.write_all_at(b"abc", 0).unwrap();
        file.allocate(10_000).unwrap();
        file.allocate(2).unwrap();
        let bytes = content(&*file);
        assert_eq!(bytes.len(), 10_000, "{vfs_name}");
        assert!(bytes.starts_with(b"abc\0") && bytes[3..].iter().all(|byte| *byte == 0), "{vfs_name}");
        // More than any disk or memory has.
        let error = file.allocate(1 << 62).err();
        assert!(vfs_name == "power" || error.is_some(), "{vfs_name}");
    });
}

#[test]
fn a_second_writer_is_refused_until_the_first_is_gone() {
    each_vfs(|vfs_name, vfs| {
        let first = vfs.lock().unwrap();
        assert!(first.is_some(), "{vfs_name}");
        assert!(vfs.lock().unwrap().is_none(), "{vfs_name}");
        drop(first);
        assert!(vfs.lock().unwrap().is_some(), "{vfs_name}");
    });
}

#[test]
fn a_second_writer_is_refused_by_any_path_to_the_directory() {
    let parent = tempfile::tempdir().unwrap();
    let real = parent.path().join("index");
    let link = parent.path().join("link");
    let first = OsVfs::create_dir(&real).unwrap();
    symlink(&real, &link).unwrap();
    let second = OsVfs::open_dir(&link).unwrap();
    let held = first.lock().unwrap();
    assert!(held.is_some() && second.lock().unwrap().is_none());
    drop(held);
    let held = second.lock().unwrap();
    assert!(held.is_some() && first.lock().unwrap().is_none());
    // Nor by a new LOCK, which the kernel has not locked.
    std::fs::remove_file(real.join("LOCK")).unwrap();
    assert!(first.lock().unwrap().is_none());
    assert!(!real.join("LOCK").exists(), "a refusal opens nothing");
}

#[test]
fn a_lock_held_elsewhere_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let vfs = OsVfs::open_dir(dir.path()).unwrap();
    drop(vfs.lock().unwrap());
    // As another process would: by the kernel's lock, not by our table.
    let elsewhere = std::fs::File::open(dir.path().join("LOCK")).unwrap();
    elsewhere.try_lock().unwrap();
    assert!(vfs.lock().unwrap().is_none());
    drop(elsewhere);
    assert!(vfs.lock().unwrap().is_some());
}

/// Forks, and gives what `child` says there, a number from 0 to 127.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn in_child(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child only runs `child`, which makes no thread, and leaves by `_exit`, without destructors.
    unsafe {
        let process = libc::fork();
        if process == 0 {
            libc::alarm(10);
            libc::_exit(std::panic::catch_unwind(std::panic::AssertUnwindSafe(child)).unwrap_or(99));
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(process, &mut status, 0), process);
        if libc::WIFEXITED(status) {
            libc::WEXITSTATUS(status)
        } else {
            98
        }
    }
}

/// The next child is process number 1 of a namespace of its own; false where that is not allowed.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn next_child_is_number_1() -> bool {
    // SAFETY: takes a number.
    unsafe { libc::unshare(libc::CLONE_NEWPID) == 0 }
}

#[cfg(target_os = "linux")]
#[test]
fn a_child_with_the_number_of_its_parent_does_not_give_its_lock_back() {
    const SKIPPED: i32 = 7;
    let dir = tempfile::tempdir().unwrap();
    let vfs = OsVfs::open_dir(dir.path()).unwrap();
    let lock_is_held = || {
        let elsewhere = std::fs::File::open(dir.path().join("LOCK")).unwrap();
        elsewhere.try_lock().is_err()
    };
    let outcome = in_child(|| {
        if !next_child_is_number_1() {
            return SKIPPED;
        }
        in_child(|| {
            assert_eq!(std::process::id(), 1);
            let guard = std::cell::Cell::new(vfs.lock().unwrap());
            if !next_child_is_number_1() {
                return SKIPPED;
            }
            let child = in_child(|| {
                assert_eq!(std::process::id(), 1);
                drop(guard.take());
                0
            });
            assert!(child == 0 && lock_is_held());
            drop(guard.take());
            i32::from(lock_is_held())
        })
    });
    assert!(outcome == 0 || outcome == SKIPPED, "{outcome}");
    if outcome == SKIPPED {
        println!("skipped: only root may make namespaces of process numbers");
    }
}

#[test]
fn a_listing_names_ours_and_counts_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let vfs = OsVfs::open_dir(dir.path()).unwrap();
    for foreign in ["notes.txt", "seg-1.vdb", "a name that is longer than any of ours, by far, and then some"]
    {
        std::fs::write(dir.path().join(foreign), b"x").unwrap();
    }
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    vfs.create_new(other()).unwrap();
    vfs.create_new(name()).unwrap();
    let listing = Listing { ours: vec![name(), other()], foreign: 4 };
    assert_eq!(vfs.list().unwrap(), listing);
    assert_eq!(vfs.list().unwrap(), listing, "a second listing begins at the front");
}

#[test]
fn links_and_pipes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let vfs = OsVfs::open_dir(dir.path()).unwrap();
    let at = dir.path().join(name().to_string());
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, b"secret").unwrap();
    symlink(&secret, &at).unwrap();
    assert!(vfs.open_read(name()).is_err());
    assert!(vfs.create_new(name()).is_err());
    assert_eq!(std::fs::read(&secret).unwrap(), b"secret");
    std::fs::remove_file(&at).unwrap();
    std::fs::create_dir(&at).unwrap();
    assert!(vfs.open_read(name()).is_err());
    std::fs::remove_dir(&at).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&at).status();
    if made.is_ok_and(|status| status.success()) {
        // Would block for ever without O_NONBLOCK.
        assert!(vfs.open_read(name()).is_err());
        assert_eq!(open_outside(&at).err().unwrap().status(), Status::Format);
    }
}

#[test]
fn a_new_file_belongs_to_its_user_alone() {
    let parent = tempfile::tempdir().unwrap();
    let vfs = OsVfs::create_dir(&parent.path().join("index")).unwrap();
    vfs.create_new(name()).unwrap();
    let mode = std::fs::metadata(parent.path().join("index").join(name().to_string())).unwrap().permissions();
    assert_eq!(mode.mode() & 0o077, 0);
}

#[test]
fn a_directory_that_moves_is_still_the_same() {
    let parent = tempfile::tempdir().unwrap();
    let vfs = OsVfs::create_dir(&parent.path().join("before")).unwrap();
    std::fs::rename(parent.path().join("before"), parent.path().join("after")).unwrap();
    std::fs::create_dir(parent.path().join("before")).unwrap();
    vfs.create_new(name()).unwrap();
    assert!(parent.path().join("after").join(name().to_string()).exists());
    assert_eq!(vfs.list().unwrap().ours, [name()]);
}

#[test]
fn a_wrong_path_is_a_sentence_with_the_path() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"x").unwrap();
    let missing = dir.path().join("missing");
    let cases = [
        (OsVfs::open_dir(&missing).err(), &missing, Status::NotFound),
        (OsVfs::open_dir(&file).err(), &file, Status::Format),
        (OsVfs::create_dir(&file).err(), &file, Status::Format),
        (OsVfs::create_dir(&missing.join("deeper")).err(), &missing, Status::NotFound),
        (open_outside(&missing).err(), &missing, Status::NotFound),
        (open_outside(dir.path()).err(), &dir.path().to_path_buf(), Status::Format),
    ];
    for (error, path, status) in cases {
        let error = error.unwrap();
        assert_eq!(error.status(), status, "{error}");
        assert!(error.message().contains(path.to_str().unwrap()), "{error}");
    }
    assert!(OsVfs::open_dir(Path::new("a\0b")).is_err());
}

#[test]
fn a_file_outside_is_read_through_a_link() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rows"), b"rows").unwrap();
    symlink("rows", dir.path().join("link")).unwrap();
    assert_eq!(content(&*open_outside(&dir.path().join("link")).unwrap()), b"rows");
}

#[test]
fn a_directory_made_twice_keeps_its_files() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("index");
    OsVfs::create_dir(&path).unwrap().create_new(name()).unwrap();
    assert_eq!(OsVfs::create_dir(&path).unwrap().list().unwrap().ours, [name()]);
}

#[test]
fn a_mapping_shows_the_file_and_never_beyond_it() {
    let dir = tempfile::tempdir().unwrap();
    let vfs = OsVfs::open_dir(dir.path()).unwrap();
    let bytes: Vec<u8> = (0..20_000u32).map(|i| (i % 251) as u8).collect();
    let file = vfs.create_new(name()).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    for (offset, len) in [(0, 20_000), (1, 19_999), (4_096, 64), (5_000, 10_000), (20_000, 0), (0, 0)] {
        let map = file.map(offset, len).unwrap().unwrap();
        let shown = &bytes[offset as usize..(offset + len) as usize];
        assert_eq!(&map[..], shown);
        for advice in [Advice::WillNeed, Advice::DontNeed, Advice::Sequential, Advice::Random] {
            map.advise(advice, 0, usize::MAX);
            map.advise(advice, 4_000, 200);
        }
        assert_eq!(&map[..], shown);
    }
    for (offset, len) in [(0, 20_001), (20_001, 0), (20_000, 1), (u64::MAX, 1), (1, u64::MAX)] {
        assert!(file.map(offset, len).is_err());
    }
    assert!(MemVfs::new().create_new(name()).unwrap().map(0, 0).unwrap().is_none());
}

#[test]
fn free_bytes_is_a_number_of_this_disk() {
    let dir = tempfile::tempdir().unwrap();
    assert!(OsVfs::open_dir(dir.path()).unwrap().free_bytes().unwrap() > 0);
}

#[test]
fn a_planned_fault_strikes_the_call_it_names() {
    let vfs = FaultVfs::new(Arc::new(MemVfs::new()));
    let file = vfs.create_new(name()).unwrap();
    let plan = |fault, forever| Plan { call: Some(Call::Write), nth: 2, forever, fault };

    vfs.set_plan(Some(plan(Fault::Errno(libc::EIO), false)));
    assert!(file.write_at(b"a", 0).is_ok());
    assert_eq!(file.write_at(b"a", 0).unwrap_err().raw_os_error(), Some(libc::EIO));
    assert!(file.write_at(b"a", 0).is_ok());
    assert_eq!((vfs.fired(), vfs.calls()), (1, vec![Call::Write; 3]));

    vfs.set_plan(Some(plan(Fault::Errno(libc::ENOSPC), true)));
    let failed = (0..4).filter(|_| file.write_at(b"a", 0).is_err()).count();
    assert_eq!(failed, 3);

    vfs.set_plan(Some(plan(Fault::Short, false)));
    file.write_all_at(b"first", 0).unwrap();
    file.write_all_at(b"second", 0).unwrap();
    assert_eq!((content(&*file), vfs.calls().len()), (b"second".to_vec(), 5), "3 writes, len, read");

    vfs.set_plan(Some(plan(Fault::TornWrite(libc::EIO), false)));
    file.write_all_at(b"SECOND", 0).unwrap();
    assert!(file.write_all_at(b"third!", 0).is_err());
    assert_eq!(content(&*file), b"thiOND");

    vfs.set_plan(Some(plan(Fault::Errno(libc::EINTR), false)));
    file.write_all_at(b"......", 0).unwrap();
    file.write_all_at(b"signal", 0).unwrap();
    assert_eq!((content(&*file), vfs.fired()), (b"signal".to_vec(), 1));
}

#[test]
fn only_what_was_synced_survives_every_power_loss() {
    let vfs = PowerVfs::new();
    let file = vfs.create_new(name()).unwrap();
    file.write_all_at(&[1; 2000], 0).unwrap();
    file.sync_data().unwrap();
    vfs.sync_dir().unwrap();
    file.write_all_at(&[2; 2000], 2000).unwrap();
    vfs.create_new(other()).unwrap();
    let (mut kept, mut lost, mut cut, mut zeroed, mut named) = (0, 0, 0, 0, 0);
    for seed in 0..1000 {
        let after = vfs.crash(seed);
        let bytes = content(&*after.open_read(name()).unwrap());
        assert_eq!(bytes[..2000], [1; 2000]);
        match &bytes[2000..] {
            [] => lost += 1,
            rest if rest.iter().all(|byte| *byte == 0) => zeroed += 1,
            rest if rest.len() < 2000 => cut += 1,
            rest => {
                assert_eq!(rest, [2; 2000]);
                kept += 1;
            }
        }
        named += usize::from(after.open_read(other()).is_ok());
    }
    assert!([kept, lost, cut, zeroed, named, 1000 - named].iter().all(|count| *count > 50));
}

#[test]
fn a_rename_is_done_or_not_and_never_half() {
    let vfs = PowerVfs::new();
    vfs.create_new(name()).unwrap();
    vfs.sync_dir().unwrap();
    vfs.rename(name(), other()).unwrap();
    for seed in 0..200 {
        assert_eq!(vfs.crash(seed).list().unwrap().ours.len(), 1, "one name or the other");
    }
    vfs.sync_dir().unwrap();
    for seed in 0..200 {
        assert_eq!(vfs.crash(seed).list().unwrap().ours, [other()]);
    }
}

#[test]
fn when_power_is_out_every_change_fails() {
    let vfs = PowerVfs::new();
    let file = vfs.create_new(name()).unwrap();
    vfs.cut_at(3);
    file.write_all_at(b"a", 0).unwrap();
    assert!(file.sync_data().is_err());
    assert!(file.write_all_at(b"a", 0).is_err());
    assert!(vfs.sync_dir().is_err() && vfs.remove(name()).is_err());
    assert_eq!((vfs.calls(), vfs.syncs()), (6, 0));
    let kept = (0..100).filter(|seed| vfs.crash(*seed).open_read(name()).is_ok()).count();
    assert!((20..80).contains(&kept));
    vfs.restart_process();
    assert_eq!(content(&*vfs.open_read(name()).unwrap()), b"a");
    assert!((0..100).any(|seed| vfs.crash(seed).open_read(name()).is_err()), "still not durable");
    vfs.sync_dir().unwrap();
    assert_eq!((vfs.calls(), vfs.syncs()), (1, 1));
}
