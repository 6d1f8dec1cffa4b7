//! The C API: every function, struct and constant of `include/vdb.h`, one file a topic.
//! cbindgen copies the doc comments, so they are written for people who read C.
//!
//! In: what a C program passes, which may be anything. Out: a status, an error object, and outputs in a
//! defined state, whatever happened. Each exported function has the same shape: one unsafe block under the
//! promise that the head of the header asks of callers (a pointer is NULL or valid for the size that its
//! text names); in it [`guard`], which turns panics into `VDB_INTERNAL`; in that, checks by [`arg`], one call
//! of `database`, and copies into the caller's memory. No function here decides anything about an index.
//!
//! Calls `database` and `types`. Never reaches deeper: what C can do, Rust callers of `database` can do.
//! `tests/it/header.rs` writes the header from these files and fails when it is stale.
#![allow(unsafe_code)]
#![allow(non_camel_case_types, reason = "types are named as C has them")]
#![allow(
    clippy::missing_safety_doc,
    reason = "the docs say in the words of C what a caller owes; `# Safety` would end up in the header"
)]

mod arg;
mod guard;

pub mod build;
pub mod cache;
pub mod care;
pub mod cursor;
pub mod error;
pub mod inspect;
pub mod job;
pub mod open;
pub mod pool;
pub mod search;
pub mod vectors;
pub mod version;
