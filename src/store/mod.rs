//! Full vectors: a row by its position, mapped or read, and a cache of rows that were read.
//!
//! Knows neither codes nor ids. All I/O goes through `vfs`.

pub mod cache;
pub mod centroids;
pub mod vectors;
