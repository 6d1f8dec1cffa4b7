//! Typed, validated views of one segment's navigation data, all of it in memory.
//!
//! `tree` has the nodes, `centres` says which of them codes are relative to, `codes` the rows' codes, `links` which
//! rows are near which, `ids` both directions of id <-> position, `filter` the rows that a search may return,
//! `recall_table` what effort reaches which recall; `segment` puts them together and checks that they agree. What
//! passed these checks cannot be out of range afterwards, whatever bytes it came from.
//!
//! Never reads full vectors, files or clocks: `store` and `build` do.

pub mod centres;
pub mod codes;
pub mod filter;
pub mod ids;
pub mod links;
pub mod recall_table;
pub mod segment;
pub mod tree;
