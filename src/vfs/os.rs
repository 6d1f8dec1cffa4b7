//! The real disk.
//!
//! A directory is opened once and held; its files are opened relative to that descriptor, never by path,
//! so that neither a link planted in the directory nor a directory moved or replaced meanwhile can lead
//! elsewhere. What is opened must be a regular file (a FIFO would block, a device would act). New files
//! are made with `O_EXCL` and belong to their user alone.
//!
//! The lock is `flock` on `LOCK`, which the kernel gives back when the process ends, plus a table of the
//! directories that this process has locked. The table holds where the kernel's lock does not: on network
//! file systems that make `flock` of `fcntl` locks, which never refuse their own process and are lost when
//! any descriptor of the file is closed, and when somebody removed `LOCK`. A child that is forked during a
//! build inherits the lock's descriptor, not the build: its table is its own and empty, and the parent gives
//! the lock back by a call, since closing would not while the child has the descriptor. (A parent that is
//! killed leaves it to the child, until that ends or runs another program.)
//!
//! Calls the system; a call that a signal interrupted is made again, except `close`.
#![allow(unsafe_code, clippy::disallowed_types)]

use super::name::Spelling;
use super::{refused, Advice, FileName, Listing, LockGuard, Mapping, Vfs, VfsFile, LIST_ENTRIES_MAX};
use crate::memory::{try_arc, try_box, try_push, try_room, try_text};
use crate::process::ForkGuard;
use crate::types::{Error, Result, Status};
use std::ffi::CStr;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A directory of the file system, held open.
#[derive(Debug)]
pub struct OsVfs {
    dir: File,
    /// Its path, for messages only.
    path: String,
}

impl OsVfs {
    /// Opens a directory that is there.
    ///
    /// # Errors
    /// `NotFound` (nothing there), `Format` (not a directory), `Io` (permission and the rest).
    pub fn open_dir(path: &Path) -> Result<Arc<Self>> {
        room_for(path)?;
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path);
        match opened {
            Ok(dir) => try_arc(OsVfs { dir, path: try_text(format_args!("{}", path.display()))? }),
            Err(error) => Err(match error.raw_os_error() {
                Some(libc::ENOTDIR) => Error::new(
                    Status::Format,
                    format_args!("{}: is not a directory; an index is a directory of files", path.display()),
                ),
                _ => path_error(path, "cannot open the directory", &error),
            }),
        }
    }

    /// Makes a directory, durably, or opens it if it is there.
    ///
    /// # Errors
    /// `NotFound` (no such parent), `Format` (a file of that name), `Io`, `DiskFull`.
    pub fn create_dir(path: &Path) -> Result<Arc<Self>> {
        room_for(path)?;
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(path_error(path, "cannot make the directory", &error)),
        }
        let vfs = Self::open_dir(path)?;
        // The parent, even if the directory was there: it may be there because a crash came between
        // this mkdir and this sync.
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        room_for(parent)?;
        let synced = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY)
            .open(parent)
            .and_then(|parent| parent.sync_all());
        match synced {
            Ok(()) => Ok(vfs),
            Err(error) => Err(path_error(parent, "cannot sync the directory", &error)),
        }
    }

    fn open_at(&self, name: &CStr, flags: i32) -> io::Result<File> {
        let flags = flags | libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
        let fd = retry(|| {
            // SAFETY: `name` ends with NUL and outlives the call; the descriptor of `dir` is open as
            // long as `self`. Test: `links_and_pipes_are_refused`.
            unsafe { libc::openat(self.dir.as_raw_fd(), name.as_ptr(), flags, 0o600 as libc::c_uint) }
        })?;
        // SAFETY: `openat` has just returned this descriptor, and nobody else knows it.
        let file = unsafe { File::from_raw_fd(fd) };
        regular(file)
    }

    /// Every entry but `.` and `..`, given to `entry`.
    fn each_entry(&self, entry: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        // A descriptor of its own: `readdir` moves the cursor that duplicates share.
        let own = retry(|| {
            let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
            // SAFETY: as in `open_at`.
            unsafe { libc::openat(self.dir.as_raw_fd(), c".".as_ptr(), flags) }
        })?;
        let mut stream = DirStream::new(own)?;
        while let Some(name) = stream.next()? {
            if name != b"." && name != b".." {
                entry(name)?;
            }
        }
        Ok(())
    }
}

impl Vfs for OsVfs {
    fn open_read(&self, name: FileName) -> io::Result<Arc<dyn VfsFile>> {
        let file = self.open_at(Spelling::of(name).as_c(), libc::O_RDONLY)?;
        Ok(try_arc(OsFile { file }).map_err(refused)?)
    }

    fn create_new(&self, name: FileName) -> io::Result<Arc<dyn VfsFile>> {
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
        let file = self.open_at(Spelling::of(name).as_c(), flags)?;
        Ok(try_arc(OsFile { file }).map_err(refused)?)
    }

    fn rename(&self, from: FileName, to: FileName) -> io::Result<()> {
        let (from, to) = (Spelling::of(from), Spelling::of(to));
        let dir = self.dir.as_raw_fd();
        // SAFETY: both names end with NUL and outlive the call.
        retry(|| unsafe { libc::renameat(dir, from.as_c().as_ptr(), dir, to.as_c().as_ptr()) }).map(|_| ())
    }

    fn remove(&self, name: FileName) -> io::Result<()> {
        let name = Spelling::of(name);
        // SAFETY: the name ends with NUL and outlives the call.
        retry(|| unsafe { libc::unlinkat(self.dir.as_raw_fd(), name.as_c().as_ptr(), 0) }).map(|_| ())
    }

    fn list(&self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        self.each_entry(&mut |entry| {
            match FileName::parse(entry) {
                Some(name) => try_push(&mut listing.ours, name).map_err(refused)?,
                None => listing.foreign += 1,
            }
            if listing.ours.len() + listing.foreign > LIST_ENTRIES_MAX {
                return Err(io::Error::other(format!(
                    "the directory holds more than {LIST_ENTRIES_MAX} entries, and an index never does"
                )));
            }
            Ok(())
        })?;
        listing.ours.sort_unstable();
        Ok(listing)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.dir.sync_all()
    }

    fn lock(&self) -> io::Result<Option<LockGuard>> {
        let metadata = self.dir.metadata()?;
        // Before the file is opened: where `flock` is made of `fcntl` locks, closing it would drop ours.
        let Some(claim) = Claim::new((metadata.dev(), metadata.ino())).map_err(refused)? else {
            return Ok(None);
        };
        let file = self.open_at(Spelling::of(FileName::Lock).as_c(), libc::O_RDWR | libc::O_CREAT)?;
        loop {
            match file.try_lock() {
                Ok(()) => return LockGuard::new(OsLock { file, claim }).map(Some),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        // SAFETY: all fields are integers, for which zero is a value.
        let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
        // SAFETY: `stat` is a `statvfs` that the call may fill; the descriptor is open.
        retry(|| unsafe { libc::fstatvfs(self.dir.as_raw_fd(), &mut stat) })?;
        // The fields' types differ between systems.
        #[allow(clippy::unnecessary_cast)]
        Ok((stat.f_bavail as u64).saturating_mul(stat.f_frsize as u64))
    }

    fn display(&self) -> &str {
        &self.path
    }
}

/// The directories that one process has locked.
struct Locked {
    guard: ForkGuard,
    /// Device and inode of each.
    places: Mutex<Vec<(u64, u64)>>,
}

/// The table of the process that asked last; never freed, so that it may be looked at any time.
static LOCKED: AtomicPtr<Locked> = AtomicPtr::new(ptr::null_mut());

impl Locked {
    /// The table of this process. A forked child makes one of its own: what its parent has locked is not the child's,
    /// and a thread that the child does not have may have held the mutex.
    fn here() -> Result<&'static Locked> {
        let mut latest = LOCKED.load(Ordering::Acquire);
        loop {
            // SAFETY: NULL, or of a box below that was published when complete and is never freed.
            // Test: `a_second_writer_is_refused_until_the_first_is_gone`.
            if let Some(table) = unsafe { latest.as_ref() }.filter(|table| table.is_here()) {
                return Ok(table);
            }
            let own = Box::into_raw(try_box(Locked { guard: ForkGuard::new(), places: Mutex::default() })?);
            match LOCKED.compare_exchange(latest, own, Ordering::AcqRel, Ordering::Acquire) {
                // SAFETY: it is public now, and nobody frees it.
                Ok(_) => return Ok(unsafe { &*own }),
                Err(others) => {
                    // SAFETY: made above, and seen by nobody else.
                    drop(unsafe { Box::from_raw(own) });
                    latest = others;
                }
            }
        }
    }

    /// Whether it is this process's, and not that of one that it was forked from.
    fn is_here(&self) -> bool {
        !self.guard.forked()
    }

    /// Never held across a call of the system.
    fn places(&self) -> MutexGuard<'_, Vec<(u64, u64)>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An entry of the table of locked directories, as long as it lives.
struct Claim {
    table: &'static Locked,
    place: (u64, u64),
}

impl Claim {
    /// `None` if this process has one for the directory.
    fn new(place: (u64, u64)) -> Result<Option<Self>> {
        let table = Locked::here()?;
        let mut places = table.places();
        if places.contains(&place) {
            return Ok(None);
        }
        try_push(&mut places, place)?;
        Ok(Some(Claim { table, place }))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.table.is_here() {
            self.table.places().retain(|place| *place != self.place);
        }
    }
}

/// Holds the lock of one directory.
struct OsLock {
    /// Closed before the claim goes: whoever locks next must not lose the lock by it.
    file: File,
    claim: Claim,
}

impl Drop for OsLock {
    fn drop(&mut self) {
        // Not in a forked child, which shares the lock and would drop the parent's. Closing alone gives it back too,
        // once no process has the descriptor.
        if self.claim.table.is_here() {
            let _ = self.file.unlock();
        }
    }
}

/// Opens any regular file to read, by a user's path; links are followed.
///
/// # Errors
/// `NotFound`, `Format` (not a regular file), `Io` (permission and the rest).
pub fn open_outside(path: &Path) -> Result<Arc<dyn VfsFile>> {
    room_for(path)?;
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).and_then(regular);
    match opened {
        Ok(file) => Ok(try_arc(OsFile { file })?),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            Err(Error::new(Status::Format, format_args!("{}: {error}", path.display())))
        }
        Err(error) => Err(path_error(path, "cannot open the file", &error)),
    }
}

/// One file of the file system.
struct OsFile {
    file: File,
}

impl VfsFile for OsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let now = self.len()?;
        if len <= now {
            return Ok(());
        }
        if !reserve_space(&self.file, len)? {
            self.file.set_len(len)?;
        }
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn start_writeback(&self, offset: u64, len: u64) {
        if let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) {
            // SAFETY: takes no memory; a refused hint costs speed only.
            unsafe { libc::sync_file_range(self.file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE) };
        }
    }

    #[cfg(target_os = "linux")]
    fn advise(&self, advice: Advice, offset: u64, len: u64) {
        let advice = match advice {
            Advice::Random => libc::POSIX_FADV_RANDOM,
            Advice::Sequential => libc::POSIX_FADV_SEQUENTIAL,
            Advice::WillNeed => libc::POSIX_FADV_WILLNEED,
            Advice::DontNeed => libc::POSIX_FADV_DONTNEED,
        };
        if let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) {
            // SAFETY: takes no memory; a refused hint costs speed only.
            unsafe { libc::posix_fadvise(self.file.as_raw_fd(), offset, len, advice) };
        }
    }

    fn map(&self, offset: u64, len: u64) -> io::Result<Option<Mapping>> {
        Mapping::new(&self.file, offset, len).map(Some)
    }
}

/// Takes space for a file of `len` bytes. `false` where the file system cannot.
#[cfg(target_os = "linux")]
fn reserve_space(file: &File, len: u64) -> io::Result<bool> {
    let len = i64::try_from(len).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    // SAFETY: takes no memory. Test: `allocate_grows_with_zeros_and_never_shrinks`.
    match retry(|| unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, len) }) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes space for a file of `len` bytes. `false` where the file system cannot.
#[cfg(not(target_os = "linux"))]
fn reserve_space(_file: &File, _len: u64) -> io::Result<bool> {
    Ok(false)
}

/// An open directory stream, closed when dropped.
struct DirStream(std::ptr::NonNull<libc::DIR>);

impl DirStream {
    /// Takes `fd` over.
    fn new(fd: RawFd) -> io::Result<Self> {
        // SAFETY: the caller made `fd` and gives it away.
        let owned = unsafe { File::from_raw_fd(fd) };
        // SAFETY: `owned` is an open descriptor of a directory.
        let stream = unsafe { libc::fdopendir(owned.as_raw_fd()) };
        match std::ptr::NonNull::new(stream) {
            Some(stream) => {
                // The stream owns the descriptor from here on, and `closedir` closes it.
                let _ = owned.into_raw_fd();
                Ok(DirStream(stream))
            }
            None => Err(io::Error::last_os_error()),
        }
    }

    /// The next name, which is there until the one after it is asked for.
    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        set_errno(0);
        // SAFETY: the stream is open until `drop`; only this thread has it (no `Send`).
        let entry = unsafe { libc::readdir(self.0.as_ptr()) };
        if entry.is_null() {
            let error = io::Error::last_os_error();
            return if error.raw_os_error() == Some(0) { Ok(None) } else { Err(error) };
        }
        // SAFETY: `readdir` returned an entry whose name ends with NUL, valid until the next call on
        // the stream, which the borrow of `self` keeps back. Test: `a_listing_names_ours_and_counts_the_rest`.
        Ok(Some(unsafe { CStr::from_ptr((*entry).d_name.as_ptr()) }.to_bytes()))
    }
}

impl Drop for DirStream {
    fn drop(&mut self) {
        // SAFETY: opened in `new`, closed nowhere else.
        unsafe { libc::closedir(self.0.as_ptr()) };
    }
}

fn set_errno(value: i32) {
    #[cfg(target_os = "linux")]
    // SAFETY: the address of this thread's `errno`, always valid.
    unsafe {
        *libc::__errno_location() = value;
    }
    #[cfg(target_os = "macos")]
    // SAFETY: as above.
    unsafe {
        *libc::__error() = value;
    }
}

/// Makes a system call until no signal interrupts it.
fn retry(mut call: impl FnMut() -> i32) -> io::Result<i32> {
    loop {
        let result = call();
        if result >= 0 {
            return Ok(result);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// The file, if it is a regular one.
fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file"))
    }
}

/// Asks for what the standard library copies a long path to without asking.
fn room_for(path: &Path) -> Result<()> {
    try_room(path.as_os_str().len() + 1)
}

/// A sentence for a failure on a user's path.
fn path_error(path: &Path, what: &str, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => {
            Error::new(Status::NotFound, format_args!("{}: no such file or directory", path.display()))
        }
        io::ErrorKind::PermissionDenied => {
            Error::io(format_args!("{}: {what}: no permission for this user", path.display()), error)
        }
        _ => Error::io(format_args!("{}: {what}", path.display()), error),
    }
}
