//! What decides, on disk: full vectors, mapped or read, a cache of rows that were read, and finer codes before them.
//!
//! Knows neither tree nor ids. All I/O goes through `vfs`.

pub mod cache;
pub mod centroids;
pub mod finer;
pub mod vectors;
