//! Whether this process was begun with a stdout that nobody can write to.
//!
//! Rust opens `/dev/null` in the place of a closed stdout before `main`, and takes the error of one that is open for
//! reading for success: later, nothing tells either from output that arrived. So the descriptor is looked at earlier,
//! where the system allows that.
#![allow(unsafe_code, reason = "the only way to run before the runtime")]

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

static CLOSED: AtomicBool = AtomicBool::new(false);

/// True if stdout was closed, or open for reading alone, when the process began.
pub fn is_closed() -> bool {
    CLOSED.load(Relaxed)
}

#[cfg(target_os = "linux")]
mod early {
    use super::{AtomicBool, Relaxed, CLOSED};

    extern "C" fn look() {
        // SAFETY: takes numbers alone, and changes nothing.
        let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFL) };
        let unwritable = flags == -1 || flags & libc::O_ACCMODE == libc::O_RDONLY;
        AtomicBool::store(&CLOSED, unwritable, Relaxed);
    }

    // SAFETY: what stands in this section is called once before the runtime, with arguments that may be ignored. It
    // calls the system, and touches an atomic that needs no initialisation.
    #[used]
    #[link_section = ".init_array"]
    static LOOK: extern "C" fn() = look;
}
