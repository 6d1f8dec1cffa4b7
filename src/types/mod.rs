//! The words that every room shares: errors, metrics, positions, parameters.
//!
//! Plain values without behaviour beyond their own arithmetic. Calls nothing; everything calls it.

pub mod error;
pub mod metric;
pub mod params;
pub mod rng;

pub use error::{Error, Result, Status};
pub use metric::{ElementType, Metric};
