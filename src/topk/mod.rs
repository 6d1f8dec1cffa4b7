//! The k smallest of a stream, and the order of answers.
//!
//! Plain data structures over `(distance, key)` pairs; the key breaks ties, so that every answer has one order.
//! Calls `types`.

pub mod heap;
