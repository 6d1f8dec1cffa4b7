//! From vectors to codes, and from codes to distances with error bounds.
//!
//! The method is RaBitQ (Gao and Long, SIGMOD 2024) and its extension to more bits (Gao et al., SIGMOD 2025),
//! with one change: codes are signed odd integers, so that the kernel for one bit is a weighted Hamming distance
//! and a row needs two factors, no bit count.
//!
//! * `rotation`: an orthonormal transform that makes every direction alike.
//! * `encode`: rotated row -> code and factors.
//! * `query`: rotated query -> bit planes and 8-bit form, once a search.
//! * `estimate`: code and factors -> estimate, lower and upper bound.
//!
//! Pure arithmetic on slices: calls `kernels` only, cannot fail.

pub mod encode;
pub mod estimate;
pub mod query;
pub mod rotation;
