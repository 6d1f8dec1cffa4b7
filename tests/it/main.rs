//! Tests of the whole, one module a promise.

mod header;
