//! A disk that loses power: for tests of what is there afterwards.
//!
//! Every file has the bytes that are durable and the writes that are not yet, in order; so has the
//! directory, with its creations, renames and removals. `sync_data` and `sync_dir` make what is pending
//! of *their* file or directory durable, and nothing else does. When power is lost, each pending write is
//! kept, lost, cut short (half the time at a sector), or becomes zeros (space was given, data never came);
//! of the directory's pending operations a prefix survives, or any subset. That is more than most file
//! systems do to a program, and no less than some have done.
//!
//! Only changing calls are counted, and power can be cut at any of them: the call and all later ones
//! fail. A sync can be left out, to see that a test notices. Choices follow from a seed alone.
//! Calls nothing.

use super::mem::{copy_from, copy_to, grow};
use super::{FileName, Listing, LockGuard, Mapping, Vfs, VfsFile};
use crate::types::rng::SplitMix64;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A directory whose power can be cut. Clones share it.
#[derive(Clone, Default)]
pub struct PowerVfs {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Default)]
struct Disk {
    files: Vec<Inode>,
    live: BTreeMap<FileName, usize>,
    durable: BTreeMap<FileName, usize>,
    pending: Vec<Change>,
    calls: u64,
    cut_at: Option<u64>,
    syncs: u64,
    left_out: Option<u64>,
    lock: Arc<()>,
}

#[derive(Clone, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Write>,
}

/// A change of a file that is not durable yet.
#[derive(Clone)]
enum Write {
    Bytes { offset: u64, bytes: Vec<u8> },
    Length(u64),
}

/// A change of the directory that is not durable yet.
#[derive(Clone, Copy)]
enum Change {
    Create(FileName, usize),
    Rename(FileName, FileName, usize),
    Remove(FileName),
}

/// What is left of a pending write.
enum Fate {
    Kept,
    Lost,
    Cut(usize),
    Zeroed,
}

/// What is left of the pending changes of one file, or of the directory.
enum Survival {
    Nothing,
    All,
    Some,
}

impl PowerVfs {
    /// An empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of changing calls so far.
    pub fn calls(&self) -> u64 {
        self.disk().calls
    }

    /// Number of syncs so far, of files and of the directory.
    pub fn syncs(&self) -> u64 {
        self.disk().syncs
    }

    /// Cuts the power at changing call `call` (from 1): it does nothing and fails, as all after it.
    pub fn cut_at(&self, call: u64) {
        self.disk().cut_at = Some(call);
    }

    /// Lets calls work again, with everything pending as it was: only the process died, at the call where
    /// power would have gone. Counts begin at 0.
    pub fn restart_process(&self) {
        let mut disk = self.disk();
        (disk.calls, disk.syncs, disk.cut_at, disk.left_out) = (0, 0, None, None);
    }

    /// Makes sync `sync` (from 1) do nothing and report success.
    pub fn leave_out_sync(&self, sync: u64) {
        self.disk().left_out = Some(sync);
    }

    /// The directory as it is found when power comes back: one of the states that this loss may leave,
    /// chosen by `seed`. Its counts begin at 0.
    pub fn crash(&self, seed: u64) -> PowerVfs {
        let disk = self.disk();
        let mut random = Random(SplitMix64::new(seed));
        let files: Vec<Inode> = disk.files.iter().map(|inode| inode.survivor(&mut random)).collect();
        let mut names = disk.durable.clone();
        let survival = random.survival();
        // Half the time a prefix, else any subset.
        let prefix = match random.below(2) {
            0 => Some(random.below(disk.pending.len() as u64 + 1)),
            _ => None,
        };
        for (at, change) in (0u64..).zip(&disk.pending) {
            let survives = match (&survival, prefix) {
                (Survival::Nothing, _) => false,
                (Survival::All, _) => true,
                (Survival::Some, Some(end)) => at < end,
                (Survival::Some, None) => random.below(2) == 0,
            };
            if survives {
                change.apply(&mut names);
            }
        }
        let live = names.clone();
        PowerVfs { disk: Arc::new(Mutex::new(Disk { files, live, durable: names, ..Disk::default() })) }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a changing call, and fails it when power is out.
    fn enter(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let mut disk = self.disk();
        disk.calls += 1;
        match disk.cut_at {
            Some(cut) if disk.calls >= cut => Err(io::Error::other("power is out")),
            _ => Ok(disk),
        }
    }
}

impl Disk {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.pending.push(change);
    }

    /// Counts a sync; `false` if it is the one to leave out.
    fn sync_counts(&mut self) -> bool {
        self.syncs += 1;
        self.left_out != Some(self.syncs)
    }

    fn find(&self, name: FileName) -> io::Result<usize> {
        self.live.get(&name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Change {
    fn apply(self, names: &mut BTreeMap<FileName, usize>) {
        match self {
            Change::Create(name, inode) => {
                names.insert(name, inode);
            }
            Change::Rename(from, to, inode) => {
                // If the creation of `from` was lost, the new name survives all the same.
                names.remove(&from);
                names.insert(to, inode);
            }
            Change::Remove(name) => {
                names.remove(&name);
            }
        }
    }
}

impl Inode {
    fn survivor(&self, random: &mut Random) -> Inode {
        let mut content = self.durable.clone();
        let survival = random.survival();
        for write in &self.pending {
            let len = match write {
                Write::Bytes { bytes, .. } => bytes.len(),
                Write::Length(_) => 0,
            };
            let fate = match survival {
                Survival::Nothing => Fate::Lost,
                Survival::All => Fate::Kept,
                Survival::Some => random.fate(len),
            };
            let done = match (write, fate) {
                (_, Fate::Lost) => Ok(()),
                (Write::Length(len), _) => grow(&mut content, *len),
                (Write::Bytes { offset, bytes }, Fate::Kept) => copy_to(&mut content, bytes, *offset),
                (Write::Bytes { offset, bytes }, Fate::Cut(at)) => {
                    copy_to(&mut content, &bytes[..at], *offset)
                }
                (Write::Bytes { offset, .. }, Fate::Zeroed) => copy_to(&mut content, &vec![0; len], *offset),
            };
            // There was memory for these bytes before.
            debug_assert!(done.is_ok());
        }
        Inode { live: content.clone(), durable: content, pending: Vec::new() }
    }

    fn write(&mut self, write: Write) -> io::Result<()> {
        match &write {
            Write::Bytes { offset, bytes } => copy_to(&mut self.live, bytes, *offset)?,
            Write::Length(len) => grow(&mut self.live, *len)?,
        }
        self.pending.push(write);
        Ok(())
    }
}

impl Vfs for PowerVfs {
    fn open_read(&self, name: FileName) -> io::Result<Arc<dyn VfsFile>> {
        let inode = self.disk().find(name)?;
        Ok(Arc::new(PowerFile { vfs: self.clone(), inode }))
    }

    fn create_new(&self, name: FileName) -> io::Result<Arc<dyn VfsFile>> {
        let mut disk = self.enter()?;
        if disk.live.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = disk.files.len();
        disk.files.push(Inode::default());
        disk.change(Change::Create(name, inode));
        Ok(Arc::new(PowerFile { vfs: self.clone(), inode }))
    }

    fn rename(&self, from: FileName, to: FileName) -> io::Result<()> {
        let mut disk = self.enter()?;
        let inode = disk.find(from)?;
        disk.change(Change::Rename(from, to, inode));
        Ok(())
    }

    fn remove(&self, name: FileName) -> io::Result<()> {
        let mut disk = self.enter()?;
        disk.find(name)?;
        disk.change(Change::Remove(name));
        Ok(())
    }

    fn list(&self) -> io::Result<Listing> {
        Ok(Listing { ours: self.disk().live.keys().copied().collect(), foreign: 0 })
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut disk = self.enter()?;
        if disk.sync_counts() {
            disk.durable = disk.live.clone();
            disk.pending.clear();
        }
        Ok(())
    }

    fn lock(&self) -> io::Result<Option<LockGuard>> {
        let disk = self.disk();
        // The guard holds the second count, if there is one.
        (Arc::strong_count(&disk.lock) == 1).then(|| LockGuard::new(Arc::clone(&disk.lock))).transpose()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn display(&self) -> &str {
        "simulated disk"
    }
}

struct PowerFile {
    vfs: PowerVfs,
    inode: usize,
}

impl VfsFile for PowerFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.vfs.disk().files[self.inode].live.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(copy_from(&self.vfs.disk().files[self.inode].live, buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.vfs.enter()?;
        disk.files[self.inode].write(Write::Bytes { offset, bytes: bytes.to_vec() })?;
        Ok(bytes.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.vfs.enter()?;
        if disk.sync_counts() {
            let inode = &mut disk.files[self.inode];
            inode.durable = inode.live.clone();
            inode.pending.clear();
        }
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.vfs.enter()?.files[self.inode].write(Write::Length(len))
    }

    fn map(&self, _offset: u64, _len: u64) -> io::Result<Option<Mapping>> {
        Ok(None)
    }
}

/// What chance does to unsynced bytes.
struct Random(SplitMix64);

impl Random {
    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    fn survival(&mut self) -> Survival {
        match self.below(4) {
            0 => Survival::Nothing,
            1 => Survival::All,
            _ => Survival::Some,
        }
    }

    fn fate(&mut self, len: usize) -> Fate {
        let at = usize::try_from(self.below(len as u64 + 1)).unwrap_or(len);
        match self.below(5) {
            0 => Fate::Lost,
            1 => Fate::Cut(at),
            2 => Fate::Cut(at / SECTOR_BYTES * SECTOR_BYTES),
            3 => Fate::Zeroed,
            _ => Fate::Kept,
        }
    }
}
