//! What the pool promises: each item once, results that do not depend on threads, nothing left behind.

use super::*;
use std::collections::BTreeSet;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{mpsc, Barrier};
use std::time::Duration;

const THREADS: [usize; 4] = [1, 2, 3, 8];

fn thread_id() -> libc::pid_t {
    // SAFETY: `gettid` cannot fail.
    #[allow(unsafe_code)]
    unsafe {
        libc::gettid()
    }
}

/// Runs all threads of a pool at once and returns their numbers, the caller's among them.
fn all_threads(pool: &Pool) -> BTreeSet<libc::pid_t> {
    let together = Barrier::new(pool.threads());
    let ids = Mutex::new(BTreeSet::new());
    pool.for_each(pool.threads(), usize::MAX, |_| {
        ids.lock().unwrap().insert(thread_id());
        together.wait();
    });
    ids.into_inner().unwrap()
}

#[test]
fn each_item_is_done_once() {
    for threads in THREADS {
        let pool = Pool::new(threads);
        for count in [0, 1, 2, 7, 1000] {
            for threads_max in [0, 1, 2, usize::MAX] {
                let done: Vec<AtomicU32> = (0..count).map(|_| AtomicU32::new(0)).collect();
                pool.for_each(count, threads_max, |index| {
                    done[index].fetch_add(1, Ordering::Relaxed);
                });
                assert!(done.iter().all(|times| times.load(Ordering::Relaxed) == 1));
            }
        }
    }
}

#[test]
fn values_come_in_order_and_chunks_are_each_written() {
    for threads in THREADS {
        let pool = Pool::new(threads);
        let values = pool.map_ordered(1000, usize::MAX, |index| Ok(index.to_string())).unwrap();
        assert!(values.iter().enumerate().all(|(index, value)| *value == index.to_string()));

        let mut squares = vec![0; 1001];
        let chunks = || 0..101usize;
        let mut squared = squares.chunks_mut(10).zip(chunks());
        let squaring = pool.try_for_each_of(&mut squared, usize::MAX, |(out, chunk)| {
            for (place, square) in out.iter_mut().enumerate() {
                *square = (chunk * 10 + place).pow(2);
            }
            Ok(())
        });
        squaring.unwrap();
        let odd = pool.try_for_each_of(chunks(), usize::MAX, |chunk| match chunk % 2 {
            0 => Ok(()),
            _ => Err(Error::invalid("odd").with_row(chunk as u64)),
        });
        assert_eq!(odd.unwrap_err().row(), Some(1));
        assert!(squares.iter().enumerate().all(|(index, square)| *square == index * index));
    }
}

#[test]
fn states_are_used_by_one_thread_at_a_time_and_bound_their_number() {
    for threads in THREADS {
        let pool = Pool::new(threads);
        for states_count in [1, 2, 5] {
            let mut sums = vec![0usize; states_count];
            pool.for_each_with(1000, &mut sums, |sum, index| *sum += index);
            assert_eq!(sums.iter().sum::<usize>(), 999 * 500);
            pool.try_for_each_with(1000, &mut sums, |sum, index| {
                *sum += index;
                Ok(())
            })
            .unwrap();
            assert_eq!(sums.iter().sum::<usize>(), 999 * 1000);
        }
        // Without a state nothing can be done.
        let mut none: [usize; 0] = [];
        pool.for_each_with(0, &mut none, |_, _| ());
    }
}

#[test]
fn the_error_of_the_lowest_item_wins_on_any_number_of_threads() {
    for threads in THREADS {
        let pool = Pool::new(threads);
        for round in 0..50 {
            let result = pool.try_for_each(500, usize::MAX, |index| {
                if index % 41 == 40 {
                    // The lowest takes longest, so that higher ones are reported first.
                    thread::sleep(Duration::from_micros(if index == 40 { 200 } else { 0 }));
                    return Err(Error::invalid(format!("item {index}")));
                }
                Ok(())
            });
            assert_eq!(result.unwrap_err().message(), "item 40", "round {round}, {threads} threads");
        }
        let error =
            pool.map_ordered(9, 9, |index| if index < 5 { Ok(index) } else { Err(Error::invalid("no")) });
        assert_eq!(error.unwrap_err().status(), Status::InvalidArgument);
    }
}

#[test]
fn an_error_stops_the_loop() {
    let done = AtomicUsize::new(0);
    let result = Pool::new(2).try_for_each(1_000_000, 2, |index| {
        done.fetch_add(1, Ordering::Relaxed);
        if index == 3 {
            return Err(Error::invalid("no"));
        }
        thread::sleep(Duration::from_micros(10));
        Ok(())
    });
    assert!(result.is_err());
    assert!(done.load(Ordering::Relaxed) < 1_000_000);
}

#[test]
fn a_list_that_cannot_be_is_an_error() {
    let error = Pool::new(2).map_ordered(usize::MAX, 2, |_| Ok(0u64)).unwrap_err();
    assert_eq!(error.status(), Status::OutOfMemory);
}

#[test]
fn panics_reach_the_caller() {
    for threads in THREADS {
        let pool = Pool::new(threads);
        for at in [0, 1, 99] {
            let panic = catch_unwind(AssertUnwindSafe(|| {
                pool.for_each(100, usize::MAX, |index| {
                    if index == at {
                        std::panic::panic_any(index);
                    }
                });
            }));
            assert_eq!(panic.unwrap_err().downcast_ref::<usize>(), Some(&at));
        }
        // In a helper alone, while the caller is well.
        let caller = thread_id();
        let together = Barrier::new(threads);
        let panic = catch_unwind(AssertUnwindSafe(|| {
            pool.for_each(threads, usize::MAX, |_| {
                together.wait();
                assert!(threads > 1 && thread_id() == caller, "meant");
            });
        }));
        assert!(panic.is_err());
        // The pool lives on.
        assert_eq!(all_threads(&pool).len(), threads);
    }
}

#[test]
fn one_thread_makes_none() {
    for pool in [Pool::new(0), Pool::new(1)] {
        assert_eq!(pool.threads(), 1);
        let caller = thread_id();
        pool.for_each(100, 8, |_| assert_eq!(thread_id(), caller));
        assert!(pool.workers.get().is_none());
    }
    let pool = Pool::new(8);
    let caller = thread_id();
    pool.for_each(100, 1, |_| assert_eq!(thread_id(), caller));
    pool.for_each(1, 8, |_| assert_eq!(thread_id(), caller));
    assert!(pool.workers.get().is_none(), "threads come on first need");
    assert_eq!(Pool::new(usize::MAX).threads(), THREADS_MAX);
}

#[test]
#[cfg(target_os = "linux")]
fn no_thread_is_left_after_drop() {
    let exists = |id: &libc::pid_t| std::path::Path::new(&format!("/proc/self/task/{id}")).exists();
    for round in 0..100 {
        let pool = Pool::new(2 + round % 4);
        let mut ids = all_threads(&pool);
        assert_eq!(ids.len(), pool.threads());
        assert!(ids.iter().all(exists));
        drop(pool);
        ids.remove(&thread_id());
        // A joined thread may be listed for a moment more: the kernel wakes who joins just before.
        for _ in 0..100 {
            if !ids.iter().any(exists) {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        assert!(!ids.iter().any(exists), "round {round}");
    }
}

/// Says, some time after the last item, that its thread has ended.
struct Last(std::sync::Arc<AtomicUsize>);

impl Drop for Last {
    fn drop(&mut self) {
        thread::sleep(Duration::from_millis(20));
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

thread_local!(static LAST: std::cell::RefCell<Option<Last>> = const { std::cell::RefCell::new(None) });

#[test]
fn drop_waits_for_the_last_instruction_of_each_thread() {
    let ended = std::sync::Arc::new(AtomicUsize::new(0));
    let pool = Pool::new(4);
    let (caller, together) = (thread_id(), Barrier::new(4));
    pool.for_each(4, 4, |_| {
        if thread_id() != caller {
            LAST.set(Some(Last(ended.clone())));
        }
        together.wait();
    });
    assert_eq!(ended.load(Ordering::SeqCst), 0);
    drop(pool);
    assert_eq!(ended.load(Ordering::SeqCst), 3);
}

#[test]
fn of_threads_that_are_refused_none_is_left() {
    let ended = std::sync::Arc::new(AtomicUsize::new(0));
    let mut made = 0;
    let workers = Workers::spawn(4, |thread| {
        if made == 2 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        made += 1;
        let last = Last(ended.clone());
        thread::Builder::new().spawn(move || {
            let _last = last;
            thread.run();
        })
    });
    assert!(workers.is_none());
    assert_eq!(ended.load(Ordering::SeqCst), 2, "those that were made have been joined");
}

#[test]
fn where_threads_are_refused_the_caller_works_alone_and_asks_again_later() {
    let pool = Pool::new(4);
    let asked = AtomicUsize::new(0);
    let refuse = |_: rayon::ThreadBuilder| {
        asked.fetch_add(1, Ordering::Relaxed);
        Err(io::ErrorKind::WouldBlock.into())
    };
    assert!(pool.make_workers(refuse).is_none());
    // As if no second would ever pass.
    *lock(&pool.refused) = Some(Instant::now() + Duration::from_secs(3_600));
    assert!(pool.make_workers(refuse).is_none());
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let caller = thread_id();
    pool.for_each(100, 4, |_| assert_eq!(thread_id(), caller));
    assert!(pool.workers.get().is_none());
    // As if it had passed.
    *lock(&pool.refused) = Instant::now().checked_sub(RETRY_AFTER);
    assert_eq!(all_threads(&pool).len(), 4);
    assert!(pool.make_workers(refuse).is_some());
    assert_eq!(asked.load(Ordering::Relaxed), 1, "they are there");
}

#[test]
fn a_caller_does_not_wait_for_busy_threads() {
    let pool = Pool::new(2);
    let (busy, until) = (Barrier::new(3), Barrier::new(3));
    thread::scope(|scope| {
        // Both threads of the pool's long work: its caller and its one helper.
        scope.spawn(|| {
            pool.for_each(2, 2, |_| {
                busy.wait();
                until.wait();
            });
        });
        busy.wait();
        let sum = AtomicUsize::new(0);
        pool.for_each(100, 2, |index| {
            sum.fetch_add(index, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 4950);
        until.wait();
    });
}

#[test]
fn a_late_thread_does_not_touch_the_work() {
    let pool = Pool::new(2);
    let (busy, until) = (Barrier::new(3), Barrier::new(3));
    let calls = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            pool.for_each(2, 2, |_| {
                busy.wait();
                until.wait();
            });
        });
        busy.wait();
        // The helper is asked for each of these and comes when all are over and their frames gone.
        for _ in 0..100 {
            let local = vec![1usize; 64];
            pool.for_each(64, 2, |index| {
                calls.fetch_add(local[index], Ordering::Relaxed);
            });
        }
        until.wait();
    });
    drop(pool);
    assert_eq!(calls.into_inner(), 6400);
}

#[test]
fn loops_inside_loops_end() {
    for threads in THREADS {
        let pool = Pool::new(threads);
        let sum = AtomicUsize::new(0);
        pool.for_each(20, usize::MAX, |outer| {
            pool.for_each(20, usize::MAX, |inner| {
                pool.for_each(3, usize::MAX, |deep| {
                    sum.fetch_add(outer * 1000 + inner * 10 + deep, Ordering::Relaxed);
                });
            });
        });
        assert_eq!(sum.into_inner(), (190 * 20 * 3) * 1000 + (190 * 20 * 3) * 10 + 400 * 3);
    }
}

#[test]
fn many_callers_share_a_pool() {
    let pool = Pool::new(3);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for count in 0..200 {
                    let values = pool.map_ordered(count, 3, Ok).unwrap();
                    assert!(values.into_iter().eq(0..count));
                }
            });
        }
    });
}

#[test]
#[cfg(target_os = "linux")]
fn pool_threads_block_signals_and_the_caller_keeps_its_mask() {
    /// The mask of blocked signals of a thread, and its name.
    fn blocked(id: libc::pid_t) -> (u64, String) {
        let status = std::fs::read_to_string(format!("/proc/self/task/{id}/status")).unwrap();
        let line =
            |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().to_owned();
        (u64::from_str_radix(&line("SigBlk:"), 16).unwrap(), line("Name:"))
    }
    let bit = |signal: libc::c_int| 1u64 << (signal - 1);
    let caller = thread_id();
    let (before, _) = blocked(caller);
    let pool = Pool::new(3);
    let mut ids = all_threads(&pool);
    assert_eq!(blocked(caller).0, before);
    assert!(ids.remove(&caller));
    for id in ids {
        let (mask, name) = blocked(id);
        for signal in
            [libc::SIGINT, libc::SIGTERM, libc::SIGALRM, libc::SIGUSR1, libc::SIGPROF, libc::SIGCHLD]
        {
            assert_ne!(mask & bit(signal), 0, "signal {signal}");
        }
        assert_eq!(mask & (bit(libc::SIGSEGV) | bit(libc::SIGBUS)), 0);
        assert!(name.starts_with("vdb-"), "{name}");
    }
}

/// Forks, runs `child` there, and returns whether it said yes within ten seconds.
#[allow(unsafe_code)]
fn in_child(child: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child only runs `child`, which allocates little and makes no thread (glibc keeps its
    // allocator usable after a fork), and leaves by `_exit`, without the test harness's destructors.
    unsafe {
        match libc::fork() {
            0 => {
                libc::alarm(10);
                let yes = catch_unwind(AssertUnwindSafe(child)).unwrap_or(false);
                libc::_exit(i32::from(!yes))
            }
            process => {
                assert!(process > 0);
                let mut status = 0;
                assert_eq!(libc::waitpid(process, &mut status, 0), process);
                libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
            }
        }
    }
}

#[test]
fn a_child_knows_that_it_is_one() {
    let guard = ForkGuard::new();
    assert!(!guard.forked());
    assert!(in_child(|| guard.forked() && !ForkGuard::new().forked()));
    assert!(!guard.forked(), "the parent's page is untouched");
}

#[test]
fn a_used_pool_neither_hangs_nor_joins_in_a_child() {
    let pool = Pool::new(4);
    all_threads(&pool);
    assert!(pool.check().is_ok());
    let pool = Mutex::new(Some(pool));
    assert!(in_child(|| {
        let pool = pool.lock().unwrap().take().unwrap();
        let sum = AtomicUsize::new(0);
        pool.for_each(100, 4, |index| {
            sum.fetch_add(index, Ordering::Relaxed);
        });
        let status = pool.check().unwrap_err().status();
        drop(pool);
        status == Status::Forked && sum.into_inner() == 4950
    }));
    let pool = pool.into_inner().unwrap().unwrap();
    assert!(pool.check().is_ok());
    assert_eq!(all_threads(&pool).len(), 4, "the parent's pool is whole");
}

#[test]
fn a_pool_may_be_dropped_by_another_thread() {
    let pool = Pool::new(3);
    all_threads(&pool);
    let (send, receive) = mpsc::channel();
    let dropper = thread::spawn(move || drop::<Pool>(receive.recv().unwrap()));
    send.send(pool).unwrap();
    dropper.join().unwrap();
}
