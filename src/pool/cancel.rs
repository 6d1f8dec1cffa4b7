//! When to give up: a deadline, a token that the caller owns; in tests, a question as well.
//!
//! Long work asks [`Stop::check`] between pieces of at most some 100 microseconds: between leaves and
//! between groups of rows, never inside kernels. Without anything to look at, that costs a branch or two;
//! with a deadline, one reading of the clock (some 25 ns).
//!
//! Calls the clock.

use crate::types::{Error, Result, Status};
use std::fmt;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// Reasons to stop one call. Copied freely; borrowed from the caller for the length of the call.
#[derive(Clone, Copy, Default)]
pub struct Stop<'a> {
    /// When, and after how long, for the sentence.
    deadline: Option<(Instant, Duration)>,
    token: Option<&'a AtomicI32>,
    #[cfg(test)]
    callback: Option<&'a (dyn Fn() -> bool + Sync)>,
}

impl<'a> Stop<'a> {
    /// Goes on to the end.
    pub const NEVER: Stop<'static> = Stop {
        deadline: None,
        token: None,
        #[cfg(test)]
        callback: None,
    };

    /// Stops `timeout` from now. One beyond what the clock can say is none.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.deadline = Instant::now().checked_add(timeout).map(|when| (when, timeout));
        self
    }

    /// Stops when `token` is not 0. It may be set by any thread, or by a signal handler.
    pub fn with_token(mut self, token: &'a AtomicI32) -> Self {
        self.token = Some(token);
        self
    }

    /// For tests that watch who looks, and when: stops when `callback` returns true. Any thread of the call asks it.
    #[cfg(test)]
    pub fn with_callback(mut self, callback: &'a (dyn Fn() -> bool + Sync)) -> Self {
        self.callback = Some(callback);
        self
    }

    /// Fails if it is time to stop.
    ///
    /// # Errors
    /// `Cancelled`, `Timeout`.
    #[inline]
    pub fn check(&self) -> Result<()> {
        if self.token.is_some_and(|token| token.load(Ordering::Relaxed) != 0) {
            return Err(cancelled("the caller set the cancel token"));
        }
        if let Some((when, timeout)) = self.deadline {
            if Instant::now() >= when {
                return Err(timed_out(timeout));
            }
        }
        #[cfg(test)]
        if self.callback.is_some_and(|callback| callback()) {
            return Err(cancelled("the caller's callback said stop"));
        }
        Ok(())
    }
}

impl fmt::Debug for Stop<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.map(|token| token.load(Ordering::Relaxed));
        f.debug_struct("Stop").field("deadline", &self.deadline).field("token", &token).finish()
    }
}

#[cold]
fn cancelled(who: &str) -> Error {
    Error::new(Status::Cancelled, format_args!("cancelled: {who}"))
}

#[cold]
fn timed_out(timeout: Duration) -> Error {
    Error::new(
        Status::Timeout,
        format_args!("not done within the time limit of {timeout:?}; raise the limit, or ask for less work"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(stop: Stop) -> Status {
        stop.check().map_or_else(|error| error.status(), |()| Status::Ok)
    }

    #[test]
    fn nothing_set_never_stops() {
        assert_eq!(status(Stop::NEVER), Status::Ok);
        assert_eq!(status(Stop::default()), Status::Ok);
    }

    #[test]
    fn a_deadline_stops_when_it_has_passed() {
        assert_eq!(status(Stop::NEVER.with_timeout(Duration::ZERO)), Status::Timeout);
        assert_eq!(status(Stop::NEVER.with_timeout(Duration::from_secs(3600))), Status::Ok);
        assert_eq!(status(Stop::NEVER.with_timeout(Duration::MAX)), Status::Ok);
        let stop = Stop::NEVER.with_timeout(Duration::from_nanos(1500));
        std::thread::sleep(Duration::from_millis(1));
        assert!(stop.check().unwrap_err().message().contains("1.5µs"));
    }

    #[test]
    fn a_token_stops_at_any_value_but_0() {
        let token = AtomicI32::new(0);
        let stop = Stop::NEVER.with_token(&token).with_timeout(Duration::ZERO);
        assert_eq!(status(stop), Status::Timeout);
        for value in [1, -1, i32::MIN] {
            token.store(value, Ordering::Relaxed);
            assert_eq!(status(stop), Status::Cancelled);
        }
    }

    #[test]
    fn a_callback_stops_when_it_says_so() {
        let asked = AtomicI32::new(0);
        let third = || asked.fetch_add(1, Ordering::Relaxed) == 2;
        let stop = Stop::NEVER.with_callback(&third);
        let answers = [status(stop), status(stop), status(stop), status(stop)];
        assert_eq!(answers, [Status::Ok, Status::Ok, Status::Cancelled, Status::Ok]);
    }
}
