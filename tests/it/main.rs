//! Tests of the whole, one module a promise.

mod header;
mod support;

mod batch;
mod caches;
mod filters;
