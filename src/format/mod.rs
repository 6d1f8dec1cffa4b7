//! Bytes on disk to checked values, and back: the manifest and the sections of a segment.
//!
//! In: files of an index directory, of any content. Out: numbers that agree with each other and with the
//! files' lengths, and section contents whose checksums match. `docs/format.md` describes every byte;
//! [`layout`] has the same as constants, and a test holds the two together.
//!
//! The chain of trust: the manifest carries its own checksum and the checksum of each segment's header;
//! the header that of the section table; an entry of the table that of the section's block checksums; and
//! each of those covers 64 KiB. Bytes between sections are zero, which `verify` looks at. So every byte is
//! covered, and a whole file that was swapped for another is found when it is opened.
//!
//! What a section's content means is for the rooms above. This one calls `vfs` and `memory`; it has no
//! `unsafe`, no unchecked arithmetic and no cast that could cut a number.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        clippy::indexing_slicing
    )
)]

pub mod checksum;
pub mod layout;
pub mod manifest;
pub mod parse;
pub mod section;
pub mod segment;
pub mod writer;

#[cfg(test)]
mod tests;

pub use layout::SectionKind;
pub use manifest::{remove_strays, Manifest, SegmentEntry};
pub use section::{SectionInfo, SectionSpec, SegmentHeader};
pub use segment::{SegmentFile, Step};
pub use writer::{SectionSlot, SegmentWriter};
