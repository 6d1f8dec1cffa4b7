//! Ctrl-C and SIGTERM as a cancel token, so that a long job ends by itself and leaves nothing half-made.
//!
//! The second signal ends the process at once, for whoever does not want to wait.

use std::sync::atomic::{AtomicI32, Ordering};

/// As shells report a process that SIGINT ended.
const STATUS_INTERRUPTED: i32 = 130;

/// Nonzero from the first signal on.
static TOKEN: AtomicI32 = AtomicI32::new(0);

/// Begins to listen, and returns the token. Without the right to listen, signals end the process as ever.
pub fn token() -> &'static AtomicI32 {
    // The only errors are a second call, which changes nothing, and a system that refuses.
    let _ = ctrlc::set_handler(|| {
        if TOKEN.swap(1, Ordering::SeqCst) != 0 {
            std::process::exit(STATUS_INTERRUPTED);
        }
    });
    &TOKEN
}

/// Whether a signal came.
pub fn came() -> bool {
    TOKEN.load(Ordering::SeqCst) != 0
}
