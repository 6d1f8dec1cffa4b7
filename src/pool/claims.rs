//! Who does which item of a loop: a counter that threads take numbers from.
//!
//! Numbers are handed out in ascending order, each once. After [`Claims::stop`] there are no more.
//! Calls nothing.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The items `0..count` of one loop.
pub(super) struct Claims {
    next: AtomicUsize,
    count: usize,
}

impl Claims {
    pub(super) fn new(count: usize) -> Self {
        Claims { next: AtomicUsize::new(0), count }
    }

    /// The lowest item that nobody has claimed.
    pub(super) fn next(&self) -> Option<usize> {
        // Relaxed: the number is all that is shared; what items write is published when the loop ends.
        // The look before the step keeps the counter from growing without end.
        if self.next.load(Ordering::Relaxed) >= self.count {
            return None;
        }
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        (index < self.count).then_some(index)
    }

    /// Leaves out what is not claimed yet.
    pub(super) fn stop(&self) {
        self.next.fetch_max(self.count, Ordering::Relaxed);
    }

    /// Runs `work`; if it panics, the other threads get no more items.
    pub(super) fn run(&self, work: &(dyn Fn(&Claims) + Sync)) {
        struct StopOnPanic<'a>(&'a Claims);
        impl Drop for StopOnPanic<'_> {
            fn drop(&mut self) {
                self.0.stop();
            }
        }
        let guard = StopOnPanic(self);
        work(self);
        // `work` returns when nothing is left to claim, so that stopping here changes nothing.
        drop(guard);
    }
}
