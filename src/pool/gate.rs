//! One piece of work, done by its caller and by whichever pool threads come in time.
//!
//! The caller opens a gate, asks some threads to help, works itself, then closes the gate and waits for
//! those who are inside. A thread that comes later finds it closed and leaves without a look at the
//! work. So a caller never waits for a thread that is busy elsewhere. Rayon's scopes do: they wait until
//! each spawned task has begun and ended, behind whatever those threads are doing, say minutes of a
//! build while a search wants to return.
//!
//! Loops inside loops cannot lock each other out: a caller waits only for threads that are inside its
//! own work, which may in turn wait only for those inside theirs.
//!
//! Calls rayon's `spawn` on a private pool. Knows nothing of items.
#![allow(unsafe_code)]

use super::lock;
use std::any::Any;
use std::mem;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::ptr::NonNull;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

type Panic = Box<dyn Any + Send>;

/// Shared by a caller and those it asked to help; outlives both.
struct Gate {
    work: Work,
    state: Mutex<State>,
    empty: Condvar,
}

struct State {
    open: bool,
    /// Helpers at work now.
    inside: usize,
    /// The first panic of a helper.
    panic: Option<Panic>,
}

/// Borrowed work whose lifetime the gate guards instead of the compiler.
struct Work(NonNull<dyn Fn() + Sync>);

// SAFETY: what is pointed to is `Sync`, so that it may be called from any thread.
unsafe impl Send for Work {}
// SAFETY: as above.
unsafe impl Sync for Work {}

/// Calls `work` here and on up to `helpers` threads of `pool`, each once; returns when all who began
/// have ended. A panic of any of them is raised here.
pub(super) fn run(pool: &rayon::ThreadPool, helpers: usize, work: &(dyn Fn() + Sync)) {
    // SAFETY: only the lifetime changes. The work is called through this pointer by a helper that is
    // inside while the gate is open or being closed, and this function does not return, nor unwind,
    // before `close` has seen the last of them leave: the only code in between that can panic is
    // `spawn`, when it cannot allocate, and `Closing` closes the gate then, too. Rayon drops or calls
    // late closures later, but they find the gate closed.
    // Tests: `a_late_thread_does_not_touch_the_work`, `panics_reach_the_caller`.
    let work_pointer = Work(NonNull::from(unsafe {
        mem::transmute::<&(dyn Fn() + Sync), &'static (dyn Fn() + Sync)>(work)
    }));
    let state = Mutex::new(State { open: true, inside: 0, panic: None });
    let gate = Arc::new(Gate { work: work_pointer, state, empty: Condvar::new() });
    let closing = Closing(&gate);
    for _ in 0..helpers {
        let gate = Arc::clone(&gate);
        pool.spawn(move || gate.help());
    }
    let own = catch_unwind(AssertUnwindSafe(work));
    drop(closing);
    let helped = lock(&gate.state).panic.take();
    if let Some(panic) = own.err().or(helped) {
        resume_unwind(panic);
    }
}

impl Gate {
    /// What a helper does.
    fn help(&self) {
        {
            let mut state = lock(&self.state);
            if !state.open {
                return;
            }
            state.inside += 1;
        }
        // SAFETY: this thread is inside, so that `run` has not returned and its `work` is alive.
        let result = catch_unwind(AssertUnwindSafe(|| unsafe { self.work.0.as_ref()() }));
        let mut state = lock(&self.state);
        state.inside -= 1;
        if let Err(panic) = result {
            state.panic.get_or_insert(panic);
        }
        if state.inside == 0 {
            self.empty.notify_one();
        }
    }

    /// Lets nobody in, and waits for those inside.
    fn close(&self) {
        let mut state = lock(&self.state);
        state.open = false;
        while state.inside > 0 {
            state = self.empty.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Closes the gate on every way out.
struct Closing<'a>(&'a Gate);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}
