//! Keeps the host's signals away from pool threads.
//!
//! A signal that is sent to the process is handled by any thread that does not block it. Were that one of
//! ours, a host's handler would run on a thread that the host does not know. New threads inherit the
//! mask of the thread that makes them, so the mask is set there, around the making, and then put back.
//! Faults (`SIGSEGV` and its like) stay open: they are the thread's own, and blocking them would kill
//! the process past the host's crash reporter.
//!
//! Calls `pthread_sigmask`. Changes no disposition.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ptr::null_mut;

/// Signals that a thread raises by its own fault.
const FAULTS: [libc::c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];

/// Calls `make` while this thread, and so the threads that `make` makes, block all signals but faults.
pub(super) fn blocked<T>(make: impl FnOnce() -> T) -> T {
    let _restore = Restore(block());
    make()
}

/// The mask to put back; `None` if it could not be read.
struct Restore(Option<libc::sigset_t>);

impl Drop for Restore {
    fn drop(&mut self) {
        if let Some(mask) = &self.0 {
            // SAFETY: `mask` is a mask that the system wrote; the old one is not asked for.
            // Test: `pool_threads_block_signals_and_the_caller_keeps_its_mask`.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, null_mut()) };
        }
    }
}

/// Blocks all signals but faults in this thread; returns the mask before.
fn block() -> Option<libc::sigset_t> {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: `sigfillset` initialises `all` before the others use it; all pointers are to live locals
    // of the right type; `before` is read only if `pthread_sigmask` succeeded and so wrote it.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        for fault in FAULTS {
            libc::sigdelset(all.as_mut_ptr(), fault);
        }
        match libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) {
            0 => Some(before.assume_init()),
            _ => None,
        }
    }
}
