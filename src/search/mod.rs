//! A query in, the nearest rows out: plan, quantise, descend, scan, walk, refine, rerank, merge.
//!
//! Each step reads the buffer that the one before it wrote and writes its own; no step calls back. All buffers lie in
//! a `Scratch` that grows once and is lent for the call. A *tile* is a group of queries that go through the steps
//! together; a single search is a tile of one, which is why a batch answers bit for bit what single searches do:
//! what a query keeps is a set chosen by a total order, whatever order its leaves are scanned in.
//!
//! I/O only through `store`; no knowledge of files, builds or handles.

pub mod bases;
pub mod candidates;
pub mod descend;
pub mod exact;
pub mod list;
pub mod met;
pub mod plan;
pub mod refine;
pub mod rerank;
pub mod scan;
pub mod scratch;
pub mod snapshot;
pub mod tile;
pub mod walk;

pub use plan::Plan;
pub use scratch::Scratch;
pub use snapshot::{Segment, Snapshot};
