//! A directory in memory: for tests, and for indexes that are never stored.
//!
//! Behaves as the real one where callers can see it: a removed file lives on for whoever has it open,
//! a new file must not exist, and one lock is had at a time. Nothing is durable, so syncs do nothing.
//! Clones share the directory. Calls nothing.

use super::{FileName, Listing, LockGuard, Mapping, Vfs, VfsFile};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// A directory in memory.
#[derive(Clone, Default)]
pub struct MemVfs {
    files: Arc<Mutex<BTreeMap<FileName, Arc<MemFile>>>>,
    locked: Arc<AtomicBool>,
}

impl MemVfs {
    /// An empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<FileName, Arc<MemFile>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vfs for MemVfs {
    fn open_read(&self, name: FileName) -> io::Result<Arc<dyn VfsFile>> {
        match self.files().get(&name) {
            Some(file) => Ok(Arc::clone(file) as Arc<dyn VfsFile>),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create_new(&self, name: FileName) -> io::Result<Arc<dyn VfsFile>> {
        let mut files = self.files();
        if files.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = Arc::new(MemFile::default());
        files.insert(name, Arc::clone(&file));
        Ok(file)
    }

    fn rename(&self, from: FileName, to: FileName) -> io::Result<()> {
        let mut files = self.files();
        let file = files.remove(&from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to, file);
        Ok(())
    }

    fn remove(&self, name: FileName) -> io::Result<()> {
        self.files().remove(&name).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self) -> io::Result<Listing> {
        Ok(Listing { ours: self.files().keys().copied().collect(), foreign: 0 })
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self) -> io::Result<Option<LockGuard>> {
        // Acquire pairs with the release in `MemLock`: what the last writer did is seen by the next.
        if self.locked.swap(true, Ordering::Acquire) {
            return Ok(None);
        }
        self.files().entry(FileName::Lock).or_default();
        LockGuard::new(MemLock(Arc::clone(&self.locked))).map(Some)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn display(&self) -> &str {
        "memory"
    }
}

struct MemLock(Arc<AtomicBool>);

impl Drop for MemLock {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// A file in memory.
#[derive(Default)]
struct MemFile {
    content: RwLock<Vec<u8>>,
}

impl VfsFile for MemFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content.read().unwrap_or_else(PoisonError::into_inner).len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = self.content.read().unwrap_or_else(PoisonError::into_inner);
        Ok(copy_from(&content, buffer, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut content = self.content.write().unwrap_or_else(PoisonError::into_inner);
        copy_to(&mut content, bytes, offset)?;
        Ok(bytes.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut content = self.content.write().unwrap_or_else(PoisonError::into_inner);
        grow(&mut content, len)
    }

    fn map(&self, _offset: u64, _len: u64) -> io::Result<Option<Mapping>> {
        Ok(None)
    }
}

/// Copies what `content` has at `offset` into `buffer`; returns how much that was.
pub(super) fn copy_from(content: &[u8], buffer: &mut [u8], offset: u64) -> usize {
    let rest = usize::try_from(offset).ok().and_then(|start| content.get(start..)).unwrap_or_default();
    let count = rest.len().min(buffer.len());
    buffer[..count].copy_from_slice(&rest[..count]);
    count
}

/// Writes `bytes` into `content` at `offset`, growing it with zeros where it must.
pub(super) fn copy_to(content: &mut Vec<u8>, bytes: &[u8], offset: u64) -> io::Result<()> {
    let end = offset.checked_add(bytes.len() as u64).ok_or_else(too_large)?;
    grow(content, end)?;
    let start = offset as usize;
    content[start..start + bytes.len()].copy_from_slice(bytes);
    Ok(())
}

/// Makes `content` at least `len` bytes long, with zeros.
pub(super) fn grow(content: &mut Vec<u8>, len: u64) -> io::Result<()> {
    let len = usize::try_from(len).map_err(|_| too_large())?;
    if len > content.len() {
        content.try_reserve(len - content.len()).map_err(|_| too_large())?;
        content.resize(len, 0);
    }
    Ok(())
}

/// What a disk says to a file that it cannot hold.
fn too_large() -> io::Error {
    io::ErrorKind::StorageFull.into()
}
