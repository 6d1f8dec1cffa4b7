//! Tests of the whole, one module a promise.

#[allow(dead_code, reason = "shared with tests/limits.rs")]
mod fixture;
mod support;

mod balance;
mod batch;
mod build;
mod caches;
mod cursor;
mod determinism;
mod document;
mod exact;
mod filters;
mod finer;
mod golden;
mod header;
mod hostile;
mod links;
mod recall;
mod tidy;
