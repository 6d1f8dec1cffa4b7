//! The system's allocator with a count, and with a refusal where a test wants one.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The system's allocator, and what goes through it.
pub struct Counting;

/// Pieces of so many bytes and more are refused.
pub static REFUSED_BYTES: AtomicUsize = AtomicUsize::new(usize::MAX);
/// Allocations so far, and on this thread.
pub static ALL_CALLS: AtomicUsize = AtomicUsize::new(0);
pub static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);
pub static PEAK_BYTES: AtomicUsize = AtomicUsize::new(0);
thread_local!(pub static CALLS: Cell<u64> = const { Cell::new(0) });
// So many pieces this thread still gets, and then none.
thread_local!(pub static LEFT: Cell<u64> = const { Cell::new(u64::MAX) });

pub fn is_refused(bytes: usize) -> bool {
    let left = LEFT.get();
    LEFT.set(if left == u64::MAX { left } else { left.saturating_sub(1) });
    left == 0 || bytes >= REFUSED_BYTES.load(Relaxed)
}

pub fn grown(bytes: usize) {
    CALLS.set(CALLS.get() + 1);
    ALL_CALLS.fetch_add(1, Relaxed);
    let live = LIVE_BYTES.fetch_add(bytes, Relaxed) + bytes;
    PEAK_BYTES.fetch_max(live, Relaxed);
}

// SAFETY: every call is the system allocator's; only numbers are kept, in atomics and a constant thread-local
// without a destructor, which allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_refused(layout.size()) {
            return std::ptr::null_mut();
        }
        grown(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_refused(layout.size()) {
            return std::ptr::null_mut();
        }
        grown(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if is_refused(new_size) {
            return std::ptr::null_mut();
        }
        // Both at once, as when the bytes move.
        grown(new_size);
        LIVE_BYTES.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, new_size) }
    }
}

#[global_allocator]
pub static ALLOCATOR: Counting = Counting;

/// Alone in the process until dropped.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes that `work` left behind, and the most that it held, beyond what was there before.
pub fn measured<T>(work: impl FnOnce() -> T) -> (T, usize, usize) {
    let before = LIVE_BYTES.load(Relaxed);
    PEAK_BYTES.store(before, Relaxed);
    let value = work();
    let after = LIVE_BYTES.load(Relaxed);
    (value, after.saturating_sub(before), PEAK_BYTES.load(Relaxed) - before)
}
