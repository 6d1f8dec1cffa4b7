//! Counts what a thread takes from the allocator, so that a test can bound it.
//!
//! The allocator of all unit tests of the library; to everything else it is the system's.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    /// Bytes that this thread took and did not give back since the count began, and their peak. What it
    /// gives back for others makes the first negative.
    static TAKEN: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// Counts `bytes` more, or less if negative, unless the allocator refused.
fn count(start: *mut u8, bytes: isize) -> *mut u8 {
    if start.is_null() {
        return start;
    }
    // Threads that end free their last bytes when the count is gone.
    let _ = TAKEN.try_with(|taken| {
        let now = taken.get().0 + bytes;
        taken.set((now, taken.get().1.max(now)));
    });
    start
}

// SAFETY: every call goes to `System` as it came; counting allocates nothing (a `const` thread-local).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        count(unsafe { System.alloc(layout) }, layout.size() as isize)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        count(unsafe { System.alloc_zeroed(layout) }, layout.size() as isize)
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        count(start, -(layout.size() as isize));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        count(unsafe { System.realloc(start, layout, size) }, size as isize - layout.size() as isize)
    }
}

/// The most bytes that `work` held at once on this thread, beyond what it began with.
pub fn peak_bytes<T>(work: impl FnOnce() -> T) -> (T, usize) {
    TAKEN.with(|taken| taken.set((0, 0)));
    let result = work();
    (result, TAKEN.with(|taken| taken.get().1 as usize))
}

#[test]
fn a_peak_is_seen_after_it_is_over() {
    let (_, peak) = peak_bytes(|| {
        let big = vec![1u8; 100_000];
        drop(big);
        vec![1u8; 10]
    });
    assert!((100_000..101_000).contains(&peak), "{peak}");
}
