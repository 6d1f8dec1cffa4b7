//! The wall between C and Rust: no panic passes it, and nothing is printed on the way.
//!
//! In: the body of an exported function. Out: its status, with the error object where the caller wants one.
//! A panic is a defect of the library; it ends as `VDB_INTERNAL` with its message and place, the handle
//! remains fit for `vdb_free`. The default panic hook would write to the host's stderr and, with
//! `RUST_BACKTRACE` in the host's environment, need more stack than a small thread has. So the first entry
//! from C installs a silent one. The standard library is private to `libvdb.so` and `libvdb.a`, which are
//! the only ways in here, so no other Rust code of the process notices; users of the Rust API never come by.
//!
//! Also counts, for each thread, the host's callbacks that it is in: calls from within are refused, since
//! the call further down the stack may hold what they would need.

use std::any::Any;
use std::cell::Cell;
use std::panic::{catch_unwind, AssertUnwindSafe};

use super::error::{self, vdb_error_t, vdb_status_t};
use crate::types::{Error, Result, Status};

thread_local! {
    /// Callbacks of the host that this thread is in. Const and without drop: no destructor is registered.
    static CALLBACKS: Cell<u32> = const { Cell::new(0) };
}

/// Runs the body of an exported function: sets `*error` to NULL or to a new object, and returns the status.
///
/// `outputs` puts all that the call fills into the state that a failure leaves, even if one of them cannot
/// be: it runs in every case, from within a callback too. `body` gets them and does the work.
///
/// # Safety
/// `error` is NULL or may be written.
pub(super) unsafe fn guard<O>(
    error: *mut *mut vdb_error_t,
    outputs: impl FnOnce() -> Result<O>,
    body: impl FnOnce(O) -> Result<()>,
) -> vdb_status_t {
    let checked = || {
        let outputs = outputs();
        if in_callback() {
            return Err(misuse());
        }
        body(outputs?)
    };
    let result = caught(checked).unwrap_or_else(Err);
    // SAFETY: the caller's promise.
    unsafe { error::report(error, result) }
}

/// Runs `work`, which writes `outputs` bit by bit; unless it ends in success, `blank` puts them back. A panic on its
/// way to [`guard`] is no success.
pub(super) fn blank_unless_ok<O>(
    outputs: &mut O,
    blank: impl FnOnce(&mut O),
    work: impl FnOnce(&mut O) -> Result<()>,
) -> Result<()> {
    struct Blank<'a, O, F: FnOnce(&mut O)>(&'a mut O, Option<F>);

    impl<O, F: FnOnce(&mut O)> Drop for Blank<'_, O, F> {
        fn drop(&mut self) {
            if let Some(blank) = self.1.take() {
                blank(self.0);
            }
        }
    }

    let mut armed = Blank(outputs, Some(blank));
    work(armed.0)?;
    armed.1 = None;
    Ok(())
}

/// Runs the body of an exported function that has no status; a panic gives `otherwise`.
pub(super) fn quiet<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    caught(body).unwrap_or(otherwise)
}

/// Runs a callback of the host, during which this thread may not come back in.
pub(super) fn call_host<T>(callback: impl FnOnce() -> T) -> T {
    CALLBACKS.set(CALLBACKS.get() + 1);
    let value = callback();
    CALLBACKS.set(CALLBACKS.get() - 1);
    value
}

/// Whether this thread is in a callback of the host.
pub(super) fn in_callback() -> bool {
    CALLBACKS.get() > 0
}

fn misuse() -> Error {
    Error::new(
        Status::Misuse,
        "called from within a callback; a callback may set a cancel token and read errors, and must leave \
         everything else until it has returned",
    )
}

fn caught<T>(body: impl FnOnce() -> T) -> Result<T> {
    hook::install();
    // What a body changes is either the caller's outputs, which `body` or its guard puts in order, or behind
    // locks that treat poison on their own.
    catch_unwind(AssertUnwindSafe(body)).map_err(|panic| internal(panic.as_ref()))
}

#[cold]
fn internal(panic: &(dyn Any + Send)) -> Error {
    let what = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "a panic without a message",
    };
    let place = hook::place();
    Error::new(
        Status::Internal,
        format_args!(
            "defect in libvdb {}{place}: {what}; please report it. The handle can still be freed",
            env!("CARGO_PKG_VERSION")
        ),
    )
}

/// The silent panic hook. Unit tests keep the default one, or their failures would be silent, too.
mod hook {
    use std::sync::{Mutex, Once};

    /// Where the latest panic was, " at file:line". A guess if several threads panic at once.
    static PLACE: Mutex<String> = Mutex::new(String::new());

    pub(super) fn install() {
        static INSTALLED: Once = Once::new();
        if !cfg!(test) {
            INSTALLED.call_once(|| {
                std::panic::set_hook(Box::new(|panic| {
                    let place = panic.location().map(|at| format!(" at {}:{}", at.file(), at.line()));
                    // Never waited for: in a forked child a thread that is gone may hold it.
                    if let Ok(mut latest) = PLACE.try_lock() {
                        *latest = place.unwrap_or_default();
                    }
                }));
            });
        }
    }

    pub(super) fn place() -> String {
        PLACE.try_lock().map(|mut latest| std::mem::take(&mut *latest)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::error::{
        vdb_error_free, vdb_error_message, vdb_error_status, VDB_INTERNAL, VDB_MISUSE, VDB_OK,
    };
    use std::ffi::CStr;
    use std::ptr::null_mut;

    #[test]
    fn a_panic_becomes_a_status_and_a_sentence() {
        let mut error = null_mut();
        // SAFETY: `error` is a live local, and the object is freed once.
        unsafe {
            let status = guard(&mut error, || Ok(()), |()| panic!("{} is not {}", 1, 2));
            assert_eq!((status, vdb_error_status(error)), (VDB_INTERNAL, VDB_INTERNAL));
            let message = CStr::from_ptr(vdb_error_message(error)).to_str().unwrap();
            assert!(message.contains("1 is not 2"), "{message}");
            vdb_error_free(error);
        }
        assert_eq!(quiet(7, || panic!("again")), 7);
    }

    #[test]
    fn outputs_are_blank_after_an_error_and_after_a_panic() {
        let call = |end: fn() -> Result<()>| {
            let mut slots = [7, 7];
            // SAFETY: no error object is asked for.
            let status = unsafe {
                guard(
                    null_mut(),
                    || Ok(&mut slots),
                    |slots| {
                        blank_unless_ok(
                            slots,
                            |slots| slots.fill(0),
                            |slots| {
                                slots[0] = 1;
                                end()
                            },
                        )
                    },
                )
            };
            (status, slots)
        };
        assert_eq!(call(|| Ok(())), (VDB_OK, [1, 7]));
        assert_eq!(call(|| Err(misuse())), (VDB_MISUSE, [0, 0]));
        assert_eq!(call(|| panic!("half way")), (VDB_INTERNAL, [0, 0]));
    }

    #[test]
    fn the_error_is_null_after_success_whatever_it_was() {
        let mut error = std::ptr::dangling_mut();
        // SAFETY: as above.
        assert_eq!(unsafe { guard(&mut error, || Ok(()), |()| Ok(())) }, VDB_OK);
        assert!(error.is_null());
    }

    #[test]
    fn a_call_from_within_a_callback_is_refused_but_for_its_outputs() {
        let (reset, worked) = (Cell::new(0), Cell::new(0));
        let count = |cell: &Cell<u32>| {
            cell.set(cell.get() + 1);
            Ok(())
        };
        // SAFETY: no error object is asked for.
        let call = || unsafe { guard(null_mut(), || count(&reset), |()| count(&worked)) };
        assert_eq!((call_host(call), reset.get(), worked.get()), (VDB_MISUSE, 1, 0));
        assert_eq!((call(), reset.get(), worked.get()), (VDB_OK, 2, 1));
    }
}
