//! Calls that fail and power that goes: the old state or the new one, and what was committed stays.

use super::fixture::*;
use crate::format::manifest::{remove_strays, Manifest};
use crate::types::{Result, Status};
use crate::vfs::faulty::{Call, Fault, FaultVfs, Plan};
use crate::vfs::power::PowerVfs;
use crate::vfs::{FileName, MemVfs, Vfs};
use std::sync::Arc;

/// Writes one more segment and commits it.
fn grow(vfs: &Arc<dyn Vfs>) -> Result<()> {
    let old = Manifest::load(&**vfs)?;
    let mut segments = old.segments.clone();
    segments.push(write_segment(vfs, old.next_number, 5)?);
    manifest(old.generation + 1, segments).commit(&**vfs)
}

fn generation(vfs: &dyn Vfs) -> u64 {
    open_and_verify(vfs).unwrap();
    Manifest::load(vfs).unwrap().generation
}

#[test]
fn a_call_that_fails_leaves_the_old_index_or_the_new_one() {
    let start = || -> (Arc<dyn Vfs>, FaultVfs) {
        let inner: Arc<dyn Vfs> = Arc::new(MemVfs::new());
        write_index(&inner, 5);
        let faulty = FaultVfs::new(Arc::clone(&inner));
        (inner, faulty)
    };
    let (_, counting) = start();
    grow(&(Arc::new(counting.clone()) as Arc<dyn Vfs>)).unwrap();
    let calls = counting.calls();
    assert!(calls.len() > 15);
    let errors = [libc::EIO, libc::ENOSPC, libc::EMFILE, libc::EINTR].map(Fault::Errno);
    let faults = errors.into_iter().chain([Fault::Short, Fault::TornWrite(libc::ENOSPC)]);
    let (mut failures, mut successes) = (0, 0);
    for fault in faults {
        for (nth, forever) in (1..=calls.len() as u64).flat_map(|nth| [(nth, false), (nth, true)]) {
            if fault == Fault::Errno(libc::EINTR) && forever {
                continue; // A signal for ever is a loop for ever, by design.
            }
            let (inner, faulty) = start();
            faulty.set_plan(Some(Plan { call: None, nth, forever, fault }));
            let result = grow(&(Arc::new(faulty.clone()) as Arc<dyn Vfs>));
            assert!(faulty.fired() > 0);
            let generation = generation(&*inner);
            match result {
                Ok(()) => {
                    assert_eq!(generation, 2);
                    successes += 1;
                }
                Err(error) => {
                    let struck = calls[nth as usize - 1];
                    let last = nth as usize == calls.len();
                    assert_eq!(generation, if last { 2 } else { 1 }, "{struck:?} {fault:?}: {error}");
                    assert_eq!(error.message().contains("may be the old or the new"), last, "{error}");
                    failures += 1;
                }
            }
            // Whatever was left behind, the next writer goes on.
            let manifest = Manifest::load(&*inner).unwrap();
            remove_strays(&*inner, &|number| manifest.names(number)).unwrap();
            grow(&inner).unwrap();
            assert_eq!(open_and_verify(&*inner).unwrap().len() as u64, generation + 1);
        }
    }
    // Short transfers and single signals during reads and writes are made up for.
    assert!(failures > 100 && successes > 10, "{failures} failures, {successes} successes");
}

#[test]
fn a_failed_sync_is_never_repeated() {
    for nth in 1..=2 {
        let inner: Arc<dyn Vfs> = Arc::new(MemVfs::new());
        write_index(&inner, 5);
        let faulty = FaultVfs::new(inner);
        let fault = Fault::Errno(libc::EIO);
        faulty.set_plan(Some(Plan { call: Some(Call::SyncData), nth, forever: false, fault }));
        let error = grow(&(Arc::new(faulty.clone()) as Arc<dyn Vfs>)).unwrap_err();
        assert_eq!((error.status(), error.os_code()), (Status::Io, Some(libc::EIO)));
        let syncs = faulty.calls().iter().filter(|call| **call == Call::SyncData).count();
        assert_eq!(syncs as u64, nth);
    }
}

#[test]
fn a_full_disk_is_said_before_the_work() {
    let faulty = FaultVfs::new(Arc::new(MemVfs::new()));
    let fault = Fault::Errno(libc::ENOSPC);
    faulty.set_plan(Some(Plan { call: Some(Call::Allocate), nth: 1, forever: false, fault }));
    let vfs: Arc<dyn Vfs> = Arc::new(faulty.clone());
    assert_eq!(write_segment(&vfs, 1, 5).unwrap_err().status(), Status::DiskFull);
    assert_eq!(vfs.list().unwrap().ours, []);
    assert!(!faulty.calls().contains(&Call::Write));
}

#[test]
fn a_writer_whose_write_failed_stays_failed() {
    use crate::format::{SectionKind, SectionSpec, SegmentWriter};
    let faulty = FaultVfs::new(Arc::new(MemVfs::new()));
    let vfs: Arc<dyn Vfs> = Arc::new(faulty.clone());
    let mut writer = SegmentWriter::create(&vfs, header(1, 5)).unwrap();
    let slot = writer.reserve(SectionSpec::opaque(SectionKind::IDS, 10).unwrap()).unwrap();
    let fault = Fault::TornWrite(libc::EIO);
    faulty.set_plan(Some(Plan { call: Some(Call::Write), nth: 1, forever: false, fault }));
    assert!(writer.append(slot, &[1; 10]).is_err());
    assert!(writer.append(slot, &[1; 10]).is_err());
    assert_eq!(writer.finish().unwrap_err().status(), Status::Io);
    assert_eq!(vfs.list().unwrap().ours, []);
}

#[test]
fn a_read_that_fails_is_an_error_and_nothing_else() {
    let inner: Arc<dyn Vfs> = Arc::new(MemVfs::new());
    write_index(&inner, 5);
    let faulty = FaultVfs::new(inner);
    open_and_verify(&faulty).unwrap();
    for nth in 1..=faulty.calls().len() as u64 {
        for (fault, status) in [
            (Fault::Errno(libc::EIO), Some(Status::Io)),
            (Fault::Errno(libc::ENOMEM), Some(Status::OutOfMemory)),
            (Fault::Short, None),
        ] {
            faulty.set_plan(Some(Plan { call: None, nth, forever: false, fault }));
            let result = open_and_verify(&faulty).map(|_| ());
            assert_eq!(result.as_ref().err().map(|error| error.status()), status, "{result:?}");
        }
    }
}

/// Syncs of a session that changes the index: before strays are removed, of the segment, of the new
/// manifest, of the directory before the rename, and after it.
const SYNCS: u64 = 5;

/// One writer's session on a disk that may lose power: opens, verifies, cleans up, commits one more
/// generation. `durable` follows what must survive from then on. `Err` is a broken promise; a session that
/// the loss of power ends is none.
fn session(vfs: &PowerVfs, durable: &mut u64, random: &mut Random) -> std::result::Result<(), String> {
    let disk: Arc<dyn Vfs> = Arc::new(vfs.clone());
    let old = Manifest::load(&*disk).map_err(|error| error.to_string())?;
    open_and_verify(&*disk).map_err(|error| error.to_string())?;
    if old.generation < *durable {
        return Err(format!("generation {} after {durable} was acknowledged", old.generation));
    }
    // Errors from here on come from the loss of power: what must hold is looked at by the next session.
    // The manifest may have been renamed by a process that ended before its last sync.
    if disk.sync_dir().is_err() || remove_strays(&*disk, &|number| old.names(number)).is_err() {
        return Ok(());
    }
    *durable = old.generation;
    let Ok(entry) = write_segment(&disk, old.next_number, 1 + random.next() % 5) else { return Ok(()) };
    // Sometimes more segments, sometimes the new one in place of all others.
    let mut segments = if random.below(2) == 0 { old.segments.clone() } else { Vec::new() };
    segments.push(entry);
    if manifest(old.generation + 1, segments).commit(&*disk).is_ok() {
        *durable = old.generation + 1;
    }
    Ok(())
}

/// An index, then up to four sessions each ended at some call by a loss of power or by the end of the
/// process alone, then a whole one. `left_out` is a sync that none of the sessions makes.
fn life(seed: u64, left_out: Option<u64>) -> std::result::Result<u64, String> {
    let mut random = Random::new(seed);
    let mut vfs = PowerVfs::new();
    write_index(&(Arc::new(vfs.clone()) as Arc<dyn Vfs>), 5);
    let mut durable = 1;
    vfs = vfs.crash(random.next());
    let losses = 1 + random.next() % 4;
    for loss in 0..=losses {
        if let Some(sync) = left_out {
            vfs.leave_out_sync(sync);
        }
        if loss < losses {
            // A session makes about 25 changing calls; some losses come after it.
            vfs.cut_at(1 + random.next() % 32);
        }
        session(&vfs, &mut durable, &mut random)
            .map_err(|broken| format!("seed {seed}, loss {loss} of {losses}: {broken}"))?;
        if loss < losses && random.below(3) == 0 {
            vfs.restart_process();
        } else if loss < losses {
            vfs = vfs.crash(random.next());
        }
    }
    let listing = vfs.list().map_err(|error| error.to_string())?;
    let strays = listing.ours.iter().filter(|name| **name == FileName::ManifestTmp).count();
    if strays > 0 {
        return Err(format!("seed {seed}: a clean session left a temporary file"));
    }
    Ok(losses)
}

#[test]
fn a_commit_survives_every_loss_of_power() {
    let mut states = 0;
    for seed in 0..4_000 {
        states += life(seed, None).unwrap();
    }
    assert!(states > 8_000);
}

#[test]
fn a_session_makes_the_syncs_that_are_left_out_below() {
    let vfs = PowerVfs::new();
    write_index(&(Arc::new(vfs.clone()) as Arc<dyn Vfs>), 5);
    let before = vfs.syncs();
    session(&vfs, &mut 1, &mut Random::new(1)).unwrap();
    assert_eq!(vfs.syncs() - before, SYNCS);
}

/// The control: with any of the syncs left out, the test above would fail.
#[test]
fn each_sync_that_is_left_out_is_noticed() {
    for sync in 1..=SYNCS {
        let noticed = (0..4_000).find(|seed| life(*seed, Some(sync)).is_err());
        assert!(noticed.is_some(), "sync {sync} can be left out, and nothing breaks");
    }
}
