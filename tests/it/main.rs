//! Tests of the whole, one module a promise.

mod header;
mod support;

mod balance;
mod batch;
mod caches;
mod determinism;
mod exact;
mod filters;
mod recall;
