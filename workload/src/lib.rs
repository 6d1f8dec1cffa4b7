//! Vectors that behave like real ones, and the arithmetic of recall.
//!
//! For tests, benches and the `vdb` command; `libvdb.so` does not contain it, and it does not know the engine,
//! so that what judges the engine shares no code with it.
//!
//! - [`gen`]: rows and queries of any number, each from its own random stream;
//! - [`rows`]: where vectors come from: memory, a file, a generator;
//! - [`vecs`]: vector files, written and read;
//! - [`exact`], [`recall`]: the true neighbours, and how many of them an answer found;
//! - [`difficulty`], [`leaves`]: how hard a set is to search;
//! - [`rng`], [`spectrum`], [`mixing`], [`product`]: what these are made of.
#![deny(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::todo, clippy::unimplemented)
)]

pub mod difficulty;
pub mod exact;
pub mod gen;
mod law;
pub mod leaves;
pub mod mixing;
pub mod product;
pub mod recall;
pub mod rng;
pub mod rows;
pub mod spectrum;
mod tree;
pub mod vecs;
