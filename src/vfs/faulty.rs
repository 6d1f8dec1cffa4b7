//! A disk whose n-th call fails: for tests of what happens then.
//!
//! Wraps another [`Vfs`] and counts every call by kind. A [`Plan`] names the call that fails, how, and
//! whether only once or from then on. A test first runs without a plan to learn how many calls there are,
//! then once for each of them. Calls the wrapped directory.

use super::{Advice, FileName, Listing, LockGuard, Mapping, Vfs, VfsFile};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Kind of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// [`Vfs::open_read`].
    OpenRead,
    /// [`Vfs::create_new`].
    CreateNew,
    /// [`Vfs::rename`].
    Rename,
    /// [`Vfs::remove`].
    Remove,
    /// [`Vfs::list`].
    List,
    /// [`Vfs::sync_dir`].
    SyncDir,
    /// [`Vfs::lock`].
    Lock,
    /// [`Vfs::free_bytes`].
    FreeBytes,
    /// [`VfsFile::len`].
    Len,
    /// [`VfsFile::read_at`].
    Read,
    /// [`VfsFile::write_at`].
    Write,
    /// [`VfsFile::sync_data`].
    SyncData,
    /// [`VfsFile::allocate`].
    Allocate,
    /// [`VfsFile::map`].
    Map,
}

/// What happens at the chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails with this `errno` and does nothing.
    Errno(i32),
    /// A read or write transfers half of what was asked; other calls do as ever.
    Short,
    /// A write transfers half of what was asked, and fails with this `errno` all the same.
    TornWrite(i32),
}

/// Which call fails, and how.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Kind of the call; `None` counts all kinds.
    pub call: Option<Call>,
    /// Which of them, from 1.
    pub nth: u64,
    /// All later ones too.
    pub forever: bool,
    /// What happens.
    pub fault: Fault,
}

#[derive(Default)]
struct State {
    plan: Option<Plan>,
    /// Calls so far, in order.
    calls: Vec<Call>,
    /// Calls that the plan counts.
    counted: u64,
    fired: u64,
    /// Hints so far, which cannot fail, in order.
    advices: Vec<(Advice, u64, u64)>,
}

/// A directory whose calls are counted and may fail. Clones share the count.
#[derive(Clone)]
pub struct FaultVfs {
    inner: Arc<dyn Vfs>,
    state: Arc<Mutex<State>>,
}

impl FaultVfs {
    /// Wraps `inner`; no call fails until there is a plan.
    pub fn new(inner: Arc<dyn Vfs>) -> Self {
        FaultVfs { inner, state: Arc::default() }
    }

    /// Forgets all counts, and follows `plan` from here on.
    pub fn set_plan(&self, plan: Option<Plan>) {
        *state(&self.state) = State { plan, ..State::default() };
    }

    /// The calls since the plan was set, in order.
    pub fn calls(&self) -> Vec<Call> {
        state(&self.state).calls.clone()
    }

    /// How many calls the plan made fail or fall short.
    pub fn fired(&self) -> u64 {
        state(&self.state).fired
    }

    /// What files were advised since the plan was set, in order: advice, offset, length.
    pub fn advices(&self) -> Vec<(Advice, u64, u64)> {
        state(&self.state).advices.clone()
    }

    fn enter(&self, call: Call) -> io::Result<Option<Fault>> {
        enter(&self.state, call)
    }

    fn wrap(&self, file: Arc<dyn VfsFile>) -> Arc<dyn VfsFile> {
        Arc::new(FaultFile { inner: file, state: Arc::clone(&self.state) })
    }
}

fn state(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a call. An error if it fails outright; else what is to happen to its transfer.
fn enter(shared: &Mutex<State>, call: Call) -> io::Result<Option<Fault>> {
    let mut state = state(shared);
    state.calls.push(call);
    let Some(plan) = state.plan else { return Ok(None) };
    if plan.call.is_some_and(|counted| counted != call) {
        return Ok(None);
    }
    state.counted += 1;
    if state.counted != plan.nth && !(plan.forever && state.counted > plan.nth) {
        return Ok(None);
    }
    state.fired += 1;
    match plan.fault {
        Fault::Errno(errno) => Err(io::Error::from_raw_os_error(errno)),
        Fault::TornWrite(errno) if call != Call::Write => Err(io::Error::from_raw_os_error(errno)),
        fault => Ok(Some(fault)),
    }
}

impl Vfs for FaultVfs {
    fn open_read(&self, name: FileName) -> io::Result<Arc<dyn VfsFile>> {
        self.enter(Call::OpenRead)?;
        Ok(self.wrap(self.inner.open_read(name)?))
    }

    fn create_new(&self, name: FileName) -> io::Result<Arc<dyn VfsFile>> {
        self.enter(Call::CreateNew)?;
        Ok(self.wrap(self.inner.create_new(name)?))
    }

    fn rename(&self, from: FileName, to: FileName) -> io::Result<()> {
        self.enter(Call::Rename)?;
        self.inner.rename(from, to)
    }

    fn remove(&self, name: FileName) -> io::Result<()> {
        self.enter(Call::Remove)?;
        self.inner.remove(name)
    }

    fn list(&self) -> io::Result<Listing> {
        self.enter(Call::List)?;
        self.inner.list()
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.enter(Call::SyncDir)?;
        self.inner.sync_dir()
    }

    fn lock(&self) -> io::Result<Option<LockGuard>> {
        self.enter(Call::Lock)?;
        self.inner.lock()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.enter(Call::FreeBytes)?;
        self.inner.free_bytes()
    }

    fn display(&self) -> &str {
        self.inner.display()
    }
}

struct FaultFile {
    inner: Arc<dyn VfsFile>,
    state: Arc<Mutex<State>>,
}

impl VfsFile for FaultFile {
    fn len(&self) -> io::Result<u64> {
        enter(&self.state, Call::Len)?;
        self.inner.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let asked = match enter(&self.state, Call::Read)? {
            Some(_) => buffer.len().div_ceil(2),
            None => buffer.len(),
        };
        self.inner.read_at(&mut buffer[..asked], offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let half = bytes.len().div_ceil(2);
        match enter(&self.state, Call::Write)? {
            Some(Fault::TornWrite(errno)) => {
                self.inner.write_all_at(&bytes[..half], offset)?;
                Err(io::Error::from_raw_os_error(errno))
            }
            Some(_) => self.inner.write_at(&bytes[..half], offset),
            None => self.inner.write_at(bytes, offset),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        enter(&self.state, Call::SyncData)?;
        self.inner.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        enter(&self.state, Call::Allocate)?;
        self.inner.allocate(len)
    }

    fn start_writeback(&self, offset: u64, len: u64) {
        self.inner.start_writeback(offset, len);
    }

    fn advise(&self, advice: Advice, offset: u64, len: u64) {
        state(&self.state).advices.push((advice, offset, len));
        self.inner.advise(advice, offset, len);
    }

    fn map(&self, offset: u64, len: u64) -> io::Result<Option<Mapping>> {
        enter(&self.state, Call::Map)?;
        self.inner.map(offset, len)
    }
}
