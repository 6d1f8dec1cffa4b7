//! Rows into cells and leaves: sampling, k-means, the tree of centroids, balanced splits.
//!
//! In: packed f32 rows and a seed. Out: centroids, assignments, orders; the only error is memory that is refused. The
//! same input and seed give the same bits on any number of threads and any kind of CPU: work is cut into blocks whose
//! size does not depend on the threads, distances come from sums of integers (`bytes`), and floats are added in one
//! order.
//!
//! In the order of a build: `sample` picks the rows to train on; `train` finds the centres of cells, by `kmeans`;
//! `hierarchy` makes a tree of them and names the nearest cells of all rows (`assign`, `route`, by `bytes`); `balance`
//! cuts the rows of a cell into leaves, by `capacity`. A cell is what a thread works on at a time; a leaf is what a
//! search visits.
//!
//! Calls `kernels`, `memory` and `pool`. No I/O, no clocks; rows must be finite, and are trusted to be.

mod assign;
mod balance;
mod bytes;
mod capacity;
mod hierarchy;
mod kmeans;
mod numbers;
mod route;
mod sample;
mod seeding;
mod train;

#[cfg(test)]
mod testing;

pub use assign::{assign, thread_bytes, Centroids};
pub use balance::{split_into_leaves, LeafParams, Leaves};
pub use bytes::ByteRows;
pub use hierarchy::{gathering_bytes, levels_above_leaves, CellTree, TreeParams};
pub use kmeans::{kmeans, KmeansParams};
pub use numbers::mean_of;
pub use sample::sample_rows;
