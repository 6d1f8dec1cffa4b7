//! Vectors that behave like real ones, and the arithmetic of recall.
//!
//! For tests, benches and the `vdb` command; `libvdb.so` does not contain it, and it does not know the engine,
//! so that what judges the engine shares no code with it.
//!
//! - [`gen`]: rows and queries of any number, each from its own random stream;
//! - [`rows`]: where vectors come from: memory, a file, a generator;
//! - [`vecs`]: vector files, written and read;
//! - [`rng`], [`spectrum`], [`mixing`]: what the generator is made of.
#![deny(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::todo, clippy::unimplemented)
)]

pub mod gen;
mod law;
pub mod mixing;
pub mod recall;
pub mod rng;
pub mod rows;
pub mod spectrum;
pub mod vecs;
