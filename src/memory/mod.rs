//! Memory that is asked for politely: aligned buffers, one budget, and what the machine has.
//!
//! A host must never die because this library wanted memory. Every buffer whose size comes from data,
//! parameters or a file is made here, fallibly: [`AlignedBytes`] and [`AlignedVec`] for what kernels
//! read, [`try_vec`], [`try_collect`] and their like for the rest. A refusal is
//! [`Status::OutOfMemory`](crate::types::Status::OutOfMemory) with the bytes that would have done.
//!
//! Calls `types` and the system. Knows nothing of what the bytes mean.

pub mod aligned;
pub mod budget;
pub mod fallible;
pub mod lru;
pub mod probe;

pub use aligned::{AlignedBytes, AlignedVec, ALIGN_BYTES};
pub use budget::{Budget, PartBytes, Share};
pub use fallible::{
    try_arc, try_box, try_collect, try_defaults, try_extend, try_hold, try_push, try_reserve,
};
pub use fallible::{try_room, try_text, try_vec, try_with_capacity};
pub use lru::Lru;
