//! libvdb: nearest-neighbour search that a program links.
//!
//! The product is the C API of `include/vdb.h`, made by [`ffi`]. The Rust names re-exported here serve the
//! `vdb` command, tests and benches; they are not a stable interface.
//!
//! Floors, top to bottom; imports run downward only (`tests/it/tidy.rs` keeps it so):
//! `ffi` -> `database` -> `build` -> `search` -> `index`, `store` -> `format`, `input` ->
//! `quantize`, `cluster`, `topk` -> `kernels`, `pool`, `vfs`, `stats` -> `memory` -> `process`, `types`.
#![deny(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::todo, clippy::unimplemented)
)]
#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod build;
pub mod cluster;
pub mod database;
pub mod ffi;
pub mod format;
pub mod index;
pub mod input;
pub mod kernels;
pub mod memory;
pub mod pool;
pub mod process;
pub mod quantize;
pub mod search;
pub mod stats;
pub mod store;
pub mod topk;
pub mod types;
pub mod vfs;
