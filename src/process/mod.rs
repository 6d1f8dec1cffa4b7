//! Tells a forked child from the process that made a handle, for the price of one load.
//!
//! The kernel is asked to wipe one page in children (`MADV_WIPEONFORK`, Linux 4.14); a word on it that
//! reads as 0 says: forked. Where that is not to be had, `getpid` is compared, a system call of some
//! hundred nanoseconds. `pthread_atfork` would leave a hook in the host for ever.
//!
//! A number of a process says less than it seems to: it comes back when its process has ended, and the first process
//! of every container is number 1.
//!
//! Calls `mmap` and `getpid`.
#![allow(unsafe_code)]

use std::ptr::{null_mut, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

/// What the word says in the process that wrote it.
const HERE: u32 = 0x7664_6221;

/// Remembers the process that made it.
pub struct ForkGuard {
    /// A page that holds [`HERE`], and zeros in a forked child.
    page: Option<NonNull<AtomicU32>>,
    process: libc::pid_t,
}

// SAFETY: the page belongs to this value alone, holds an atomic, and is unmapped on drop only.
unsafe impl Send for ForkGuard {}
// SAFETY: as above; `forked` only loads.
unsafe impl Sync for ForkGuard {}

impl ForkGuard {
    /// A guard of the calling process.
    #[allow(clippy::new_without_default, reason = "a guard says where it was made; that is an act")]
    pub fn new() -> Self {
        // SAFETY: `getpid` cannot fail.
        ForkGuard { page: wiped_page(), process: unsafe { libc::getpid() } }
    }

    /// Whether this is another process than the one that made the guard.
    #[inline]
    pub fn forked(&self) -> bool {
        match self.page {
            // SAFETY: the page was mapped and written by `wiped_page` and lives as long as `self`; a
            // child has it too, with zeros, which are a value of the type.
            Some(page) => unsafe { page.as_ref() }.load(Ordering::Relaxed) != HERE,
            // SAFETY: as in `new`.
            None => unsafe { libc::getpid() != self.process },
        }
    }
}

impl Drop for ForkGuard {
    fn drop(&mut self) {
        if let Some(page) = self.page {
            // SAFETY: mapped by `wiped_page` with this size, and nothing else points to it.
            unsafe { libc::munmap(page.as_ptr().cast(), size_of::<AtomicU32>()) };
        }
    }
}

/// Maps a page that children see as zeros, with [`HERE`] on it; `None` where the system cannot.
#[cfg(target_os = "linux")]
fn wiped_page() -> Option<NonNull<AtomicU32>> {
    // Sizes are rounded up to whole pages by the kernel, in all three calls.
    let len = size_of::<AtomicU32>();
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new anonymous mapping replaces nothing. It is aligned to a page, zero, and large enough
    // for the word, which is written only when the kernel has agreed to wipe it.
    // Test: `a_child_knows_that_it_is_one`.
    unsafe {
        let page = libc::mmap(null_mut(), len, protection, kind, -1, 0);
        if page == libc::MAP_FAILED {
            return None;
        }
        if libc::madvise(page, len, libc::MADV_WIPEONFORK) != 0 {
            libc::munmap(page, len);
            return None;
        }
        let word = NonNull::new(page.cast::<AtomicU32>())?;
        word.as_ref().store(HERE, Ordering::Relaxed);
        Some(word)
    }
}

/// Other systems compare process numbers.
#[cfg(not(target_os = "linux"))]
fn wiped_page() -> Option<NonNull<AtomicU32>> {
    None
}
