//! What the format promises.

mod document;
mod fixture;
mod roundtrip;
