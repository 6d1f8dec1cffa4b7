//! The arithmetic that speed depends on, one table of functions for each kind of CPU.

pub mod gemm;
