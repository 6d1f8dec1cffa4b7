//! Rows into cells and leaves: sampling, k-means, the tree of centroids, balanced splits.
//!
//! In: packed f32 rows and a seed. Out: centroids, assignments, orders; never an error. The same input and
//! seed give the same bits on any number of threads: work is cut into blocks whose size does not depend on
//! the threads, and sums are formed in one order. Between kinds of CPU results may differ in the last bit,
//! since the matrix product sums as its registers are wide.
//!
//! `sample` picks the rows to train on; `kmeans` finds the centroids of one level; `assign` names the
//! nearest centroids of rows; `hierarchy` trains a tree of them; `balance` splits one cell into leaves.
//!
//! Calls `kernels` and `pool`. No I/O, no clocks; rows must be finite, and are trusted to be.

mod assign;
mod balance;
mod capacity;
mod hierarchy;
mod kmeans;
mod numbers;
mod random;
mod seeding;

#[cfg(test)]
mod testing;

pub use crate::kernels::gemm::inner_products;
pub use assign::{assign, assign_few, Centroids, NO_CENTROID};
pub use balance::{split_into_leaves, LeafParams, Leaves};
pub use hierarchy::{sample_rows, CellTree};
pub use kmeans::{kmeans, KmeansParams};
