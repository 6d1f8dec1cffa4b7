//! The system's allocator with a count, and with a refusal where a test wants one. Large buffers, which the library
//! maps, are counted too.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The system's allocator, and what goes through it.
pub struct Counting;

/// Pieces of so many bytes and more are refused, on any thread, after the next `GIVEN` of them.
pub static REFUSED_BYTES: AtomicUsize = AtomicUsize::new(usize::MAX);
pub static GIVEN: AtomicU64 = AtomicU64::new(0);
/// Allocations so far, and on this thread.
pub static ALL_CALLS: AtomicUsize = AtomicUsize::new(0);
pub static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);
pub static PEAK_BYTES: AtomicUsize = AtomicUsize::new(0);
thread_local!(pub static CALLS: Cell<u64> = const { Cell::new(0) });
// So many pieces this thread still gets, and then none; or all but one, if it relents.
thread_local!(pub static LEFT: Cell<u64> = const { Cell::new(u64::MAX) });
thread_local!(pub static RELENTS: Cell<bool> = const { Cell::new(false) });
// The piece that this thread got last, if nothing came after it: where, and how large. And the size of such a piece
// that was given back at once: as every allocator does, this one hands it out again.
thread_local!(static LATEST: Cell<(usize, usize)> = const { Cell::new((0, 0)) });
thread_local!(static BACK_BYTES: Cell<usize> = const { Cell::new(0) });

pub fn is_refused(bytes: usize) -> bool {
    if BACK_BYTES.take() >= bytes {
        return false;
    }
    let left = LEFT.get();
    LEFT.set(match left {
        u64::MAX => left,
        0 if RELENTS.get() => u64::MAX,
        _ => left.saturating_sub(1),
    });
    let less = |given: u64| given.checked_sub(1);
    left == 0 || bytes >= REFUSED_BYTES.load(Relaxed) && GIVEN.fetch_update(Relaxed, Relaxed, less).is_err()
}

pub fn grown(at: *mut u8, bytes: usize) -> *mut u8 {
    LATEST.set((at as usize, bytes));
    CALLS.set(CALLS.get() + 1);
    ALL_CALLS.fetch_add(1, Relaxed);
    let live = LIVE_BYTES.fetch_add(bytes, Relaxed) + bytes;
    PEAK_BYTES.fetch_max(live, Relaxed);
    at
}

// SAFETY: every call is the system allocator's; only numbers are kept, in atomics and a constant thread-local
// without a destructor, which allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_refused(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        grown(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_refused(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        grown(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Relaxed);
        let at_once = LATEST.take() == (at as usize, layout.size());
        BACK_BYTES.set(if at_once { layout.size() } else { 0 });
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if is_refused(new_size) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        let at = unsafe { System.realloc(at, layout, new_size) };
        // Both at once, as when the bytes move.
        grown(at, new_size);
        LIVE_BYTES.fetch_sub(layout.size(), Relaxed);
        at
    }
}

#[global_allocator]
pub static ALLOCATOR: Counting = Counting;

/// Large buffers, which are mappings: (first byte, length), 0 where none is.
static MAPPINGS: [(AtomicUsize, AtomicUsize); 1 << 12] =
    [const { (AtomicUsize::new(0), AtomicUsize::new(0)) }; 1 << 12];

/// The library's own call, once for each large buffer: it is counted.
///
/// # Safety
/// As the system's.
#[cfg(target_os = "linux")]
#[no_mangle]
pub unsafe extern "C" fn madvise(at: *mut libc::c_void, bytes: usize, advice: libc::c_int) -> libc::c_int {
    if advice == libc::MADV_HUGEPAGE {
        let free = |slot: &&(AtomicUsize, AtomicUsize)| {
            slot.0.compare_exchange(0, at as usize, SeqCst, SeqCst).is_ok()
        };
        let slot = MAPPINGS.iter().find(free).expect("too many large buffers");
        slot.1.store(bytes, SeqCst);
        let live = LIVE_BYTES.fetch_add(bytes, Relaxed) + bytes;
        PEAK_BYTES.fetch_max(live, Relaxed);
    }
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_madvise, at, bytes, advice) as libc::c_int }
}

/// As `madvise`: the buffers that were counted, and other mappings.
///
/// # Safety
/// As the system's.
#[cfg(target_os = "linux")]
#[no_mangle]
pub unsafe extern "C" fn munmap(at: *mut libc::c_void, bytes: usize) -> libc::c_int {
    if let Some(slot) = MAPPINGS.iter().find(|slot| slot.0.load(SeqCst) == at as usize) {
        LIVE_BYTES.fetch_sub(slot.1.load(SeqCst), Relaxed);
        slot.0.store(0, SeqCst);
    }
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_munmap, at, bytes) as libc::c_int }
}

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
