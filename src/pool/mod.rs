//! Parallel loops over a private pool of threads: the only way this library uses more than one core.
//!
//! In: a number of items and a function of one item. Out: the function was called for each item once;
//! the caller works too, so a pool of `n` threads makes `n - 1`, on first need, and a pool of one never
//! makes any. Items are claimed one by one in ascending order by whoever is free; what is returned never
//! depends on who that was.
//!
//! The manners of a guest in someone else's process:
//! - Dropping the pool joins its threads. Rayon's own drop only asks them to end, and a host that
//!   unloads the library after that pulls the code from under them. Here the `JoinHandle`s are kept.
//! - Pool threads block the host's signals, from before their first instruction.
//! - A caller waits only for its own items: when the threads are busy with another caller's long work,
//!   it does everything itself and leaves (`gate`).
//! - In a forked child, which has no pool threads, loops run on the caller alone and nothing is joined;
//!   [`Pool::check`] says so.
//! - Where the system refuses to make threads, loops take longer and end all the same; a loop that begins a
//!   second later asks again. [`Pool::is_short`] says so, for whoever has a log.
//! - A panic in an item reaches the caller as that panic, after all threads have left the loop.
//!
//! Calls `types`, rayon and the system. Rayon's global pool, which nobody can join, is banned by
//! `clippy.toml`.

pub mod cancel;
mod claims;
mod gate;
mod signals;

pub use crate::process::ForkGuard;
pub use cancel::Stop;

use crate::types::{Error, Result, Status};
use claims::Claims;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// More threads than this are not made for one pool.
pub const THREADS_MAX: usize = 1024;

/// So long after the system refused threads it is not asked again: making some of them in vain costs as much as
/// making all.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A pool of threads, made on first need and joined on drop.
pub struct Pool {
    threads: usize,
    workers: OnceLock<Workers>,
    /// When the system refused them last; locked while they are made.
    refused: Mutex<Option<Instant>>,
    /// Whether it did, and has not given them since.
    short: AtomicBool,
    guard: ForkGuard,
}

/// A pool, and how many of its threads a piece of work may use: each holds memory, which the caller has counted.
#[derive(Clone, Copy)]
pub struct Team<'a> {
    pool: &'a Pool,
    threads: usize,
}

impl<'a> From<&'a Pool> for Team<'a> {
    /// All its threads.
    fn from(pool: &'a Pool) -> Self {
        pool.team(pool.threads())
    }
}

impl Team<'_> {
    /// As [`Pool::try_for_each_of`], on the threads of the team.
    ///
    /// # Errors
    /// The one of the first item that fails.
    pub fn try_for_each_of<I>(&self, items: I, f: impl Fn(I::Item) -> Result<()> + Sync) -> Result<()>
    where
        I: ExactSizeIterator + Send,
        I::Item: Send,
    {
        self.pool.try_for_each_of(items, self.threads, f)
    }
}

/// The threads that help a caller.
struct Workers {
    rayon: rayon::ThreadPool,
    handles: Vec<JoinHandle<()>>,
}

impl Pool {
    /// A pool whose loops run on at most `threads` threads, the caller's among them. Makes none yet.
    pub fn new(threads: usize) -> Self {
        let threads = threads.clamp(1, THREADS_MAX);
        Pool {
            threads,
            workers: OnceLock::new(),
            refused: Mutex::new(None),
            short: AtomicBool::new(false),
            guard: ForkGuard::new(),
        }
    }

    /// How many threads a loop may run on, the caller's among them; at least 1.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The pool for work that may use at most `threads` of its threads.
    pub fn team(&self, threads: usize) -> Team<'_> {
        Team { pool: self, threads: threads.clamp(1, self.threads) }
    }

    /// Whether loops run on their callers alone, since the system refused to make threads.
    pub fn is_short(&self) -> bool {
        self.short.load(Relaxed)
    }

    /// As if the system had refused threads, from now on.
    #[cfg(test)]
    pub(crate) fn refuse_threads(&self) {
        assert!(self.make_workers(|_| Err(io::ErrorKind::WouldBlock.into())).is_none());
        *lock(&self.refused) = Some(Instant::now() + Duration::from_secs(3_600));
    }

    /// Fails in a child of the process that made the pool.
    ///
    /// # Errors
    /// `Forked`.
    pub fn check(&self) -> Result<()> {
        if self.guard.forked() {
            return Err(Error::new(
                Status::Forked,
                "this was opened before a fork, by the parent process, whose threads the child does not \
                 have; open it again in the child",
            ));
        }
        Ok(())
    }

    /// Calls `f` for each of `0..count` on at most `threads_max` threads.
    ///
    /// # Panics
    /// If `f` does, with its panic; items that were not begun by then are left out.
    pub fn for_each(&self, count: usize, threads_max: usize, f: impl Fn(usize) + Sync) {
        self.drive(count, threads_max, &|claims| {
            while let Some(index) = claims.next() {
                f(index);
            }
        });
    }

    /// As [`for_each`](Self::for_each), with a state for each thread: at most `states.len()` threads.
    /// Which state meets which item is not determined; a state is scratch, not a result.
    pub fn for_each_with<W: Send>(&self, count: usize, states: &mut [W], f: impl Fn(&mut W, usize) + Sync) {
        let threads_max = states.len();
        let states = Mutex::new(states.iter_mut());
        self.drive(count, threads_max, &|claims| {
            let Some(state) = lock(&states).next() else { return };
            while let Some(index) = claims.next() {
                f(state, index);
            }
        });
    }

    /// As [`for_each`](Self::for_each), but stops at the first error.
    ///
    /// # Errors
    /// The one of the lowest item that fails, whatever the number of threads.
    pub fn try_for_each(
        &self,
        count: usize,
        threads_max: usize,
        f: impl Fn(usize) -> Result<()> + Sync,
    ) -> Result<()> {
        let failure = Failure::default();
        self.drive(count, threads_max, &|claims| {
            while let Some(index) = claims.next() {
                failure.keep(f(index), index, claims);
            }
        });
        failure.result()
    }

    /// As [`try_for_each`](Self::try_for_each), with a state for each thread, as
    /// [`for_each_with`](Self::for_each_with).
    ///
    /// # Errors
    /// The one of the lowest item that fails.
    pub fn try_for_each_with<W: Send>(
        &self,
        count: usize,
        states: &mut [W],
        f: impl Fn(&mut W, usize) -> Result<()> + Sync,
    ) -> Result<()> {
        let failure = Failure::default();
        let threads_max = states.len();
        let states = Mutex::new(states.iter_mut());
        self.drive(count, threads_max, &|claims| {
            let Some(state) = lock(&states).next() else { return };
            while let Some(index) = claims.next() {
                failure.keep(f(state, index), index, claims);
            }
        });
        failure.result()
    }

    /// Calls `f` for each of `items`, which are taken in their order: chunks of a buffer to be written,
    /// say. Taking one costs a lock, so let an item be worth a microsecond or more. Stops at the first error.
    ///
    /// # Errors
    /// The one of the first item that fails, whatever the number of threads.
    pub fn try_for_each_of<I>(
        &self,
        items: I,
        threads_max: usize,
        f: impl Fn(I::Item) -> Result<()> + Sync,
    ) -> Result<()>
    where
        I: ExactSizeIterator + Send,
        I::Item: Send,
    {
        let failure = Failure::default();
        let count = items.len();
        let items = Mutex::new(items.enumerate());
        self.drive(count, threads_max, &|claims| {
            while claims.next().is_some() {
                let Some((index, item)) = lock(&items).next() else { return };
                failure.keep(f(item), index, claims);
            }
        });
        failure.result()
    }

    /// The values of `f` for each of `0..count`, in this order.
    ///
    /// # Errors
    /// The one of the lowest item that fails; `OutOfMemory` if there is no room for the values.
    pub fn map_ordered<T: Send>(
        &self,
        count: usize,
        threads_max: usize,
        f: impl Fn(usize) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let mut slots: Vec<Mutex<Option<T>>> = Vec::new();
        let mut values = Vec::new();
        if slots.try_reserve_exact(count).is_err() || values.try_reserve_exact(count).is_err() {
            let bytes = size_of::<T>() as u64 + size_of::<Mutex<Option<T>>>() as u64;
            return Err(Error::out_of_memory("a list", bytes.saturating_mul(count as u64)));
        }
        slots.resize_with(count, Mutex::default);
        self.try_for_each(count, threads_max, |index| {
            *lock(&slots[index]) = Some(f(index)?);
            Ok(())
        })?;
        // Without an error every slot is full.
        values.extend(
            slots.into_iter().filter_map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner)),
        );
        Ok(values)
    }

    /// Runs `work` on the caller and on as many free threads as are worth it. Each takes items from the
    /// same claims until there are none.
    fn drive(&self, count: usize, threads_max: usize, work: &(dyn Fn(&Claims) + Sync)) {
        let claims = Claims::new(count);
        let threads = self.threads.min(threads_max).min(count);
        let workers = if threads > 1 && !self.guard.forked() { self.workers() } else { None };
        match workers {
            Some(workers) => gate::run(&workers.rayon, threads - 1, &|| claims.run(work)),
            None => work(&claims),
        }
    }

    /// The threads, made by the first call; `None` if the system refuses them.
    #[allow(clippy::disallowed_methods, reason = "this is what others call instead")]
    fn workers(&self) -> Option<&Workers> {
        let spawn = |thread: rayon::ThreadBuilder| {
            let name = format!("vdb-{}", thread.index());
            thread::Builder::new().name(name).spawn(|| thread.run())
        };
        self.workers.get().or_else(|| self.make_workers(spawn))
    }

    /// Makes the threads by `spawn`, unless another caller has or the system refused them just now.
    #[cold]
    fn make_workers<S>(&self, spawn: S) -> Option<&Workers>
    where
        S: FnMut(rayon::ThreadBuilder) -> io::Result<JoinHandle<()>>,
    {
        let mut refused = lock(&self.refused);
        if self.workers.get().is_none() && refused.is_none_or(|at| at.elapsed() >= RETRY_AFTER) {
            match Workers::spawn(self.threads - 1, spawn) {
                // Set here only, under the lock.
                Some(workers) => drop(self.workers.set(workers)),
                None => *refused = Some(Instant::now()),
            }
            self.short.store(self.workers.get().is_none(), Relaxed);
        }
        self.workers.get()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let workers = mem::take(&mut self.workers);
        if self.guard.forked() {
            // The threads are the parent's, and locks may be held by threads that do not exist here.
            mem::forget(workers);
        } else if let Some(workers) = workers.into_inner() {
            workers.join();
        }
    }
}

impl Workers {
    /// Makes `count` threads by `spawn`; all or none.
    fn spawn<S>(count: usize, mut spawn: S) -> Option<Self>
    where
        S: FnMut(rayon::ThreadBuilder) -> io::Result<JoinHandle<()>>,
    {
        let mut handles = Vec::new();
        let rayon = signals::blocked(|| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(count)
                .spawn_handler(|thread| {
                    handles.push(spawn(thread)?);
                    Ok(())
                })
                .build()
        });
        match rayon {
            Ok(rayon) => Some(Workers { rayon, handles }),
            Err(_) => {
                // Those that were made before the refusal have been told to end.
                join(handles);
                None
            }
        }
    }

    /// Ends and joins all threads. They are idle, since each loop borrows the pool until it is done.
    fn join(self) {
        drop(self.rayon);
        join(self.handles);
    }
}

fn join(handles: Vec<JoinHandle<()>>) {
    for handle in handles {
        // Panics of items are caught in `gate`; were one to end a thread, the caller has seen it.
        let _ = handle.join();
    }
}

/// The error of the lowest item so far.
#[derive(Default)]
struct Failure(Mutex<Option<(usize, Error)>>);

impl Failure {
    /// Items are claimed in ascending order: all below `index` have been claimed, so each of them will
    /// report here, too, and the lowest error does not depend on timing.
    fn keep(&self, result: Result<()>, index: usize, claims: &Claims) {
        let Err(error) = result else { return };
        claims.stop();
        let mut lowest = lock(&self.0);
        if lowest.as_ref().is_none_or(|(so_far, _)| index < *so_far) {
            *lowest = Some((index, error));
        }
    }

    fn result(self) -> Result<()> {
        match self.0.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }
}

/// Locks what a panic cannot leave half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
