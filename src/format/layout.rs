//! Every constant and offset of the files, the counterpart of `docs/format.md`.
//!
//! A record is a list of typed fields at fixed offsets; a test compares each list with the table of the
//! same name in the document. Numbers of section kinds and flags are never given a second meaning.
//! Calls nothing.

use super::parse::Field;
use std::fmt;

/// Files with another major version cannot be read.
pub const FORMAT_MAJOR: u16 = 1;

/// Files with a newer minor version can be read; what they add may be skipped.
pub const FORMAT_MINOR: u16 = 0;

/// First bytes of a manifest.
pub const MANIFEST_MAGIC: [u8; 8] = *b"VDBMANI\0";

/// First bytes of a segment.
pub const SEGMENT_MAGIC: [u8; 8] = *b"VDBSEG\0\0";

/// Largest manifest.
pub const MANIFEST_BYTES_MAX: usize = 1 << 20;

/// Bytes that each checksum of a section covers.
pub const BLOCK_BYTES: usize = 1 << BLOCK_LOG2;

/// Logarithm of [`BLOCK_BYTES`], as the section table has it.
pub const BLOCK_LOG2: u8 = 16;

/// Most sections of a segment.
pub const SECTIONS_MAX: usize = 64;

/// Sections that are read whole begin at a multiple of this.
pub const ALIGN_SMALL: u64 = 64;

/// Sections that are mapped or read in part begin at a multiple of this.
pub const ALIGN_BULK: u64 = 4096;

/// Gaps between the parts of a segment are shorter than this.
pub const GAP_BYTES_MAX: u64 = ALIGN_BULK;

/// Flag of a section that a reader must know.
pub const SECTION_REQUIRED: u16 = 1;

/// Bits of a manifest's or segment's required flags that this version knows: none yet. Reserved: bit 0
/// deleted rows, bit 1 a log.
pub const FLAGS_REQUIRED_KNOWN: u64 = 0;

/// Declares the fields of a record once: as constants, and as a list for the test.
macro_rules! record {
    ($(#[$doc:meta])* $record:ident, $bytes:expr, {
        $($(#[$field_doc:meta])* $name:ident: $value:ty = $offset:expr,)*
    }) => {
        $(#[$doc])*
        pub mod $record {
            use super::Field;

            /// Length of the record.
            pub const BYTES: usize = $bytes;

            $($(#[$field_doc])* pub const $name: Field<$value> = Field::at($offset);)*

            /// Name, first byte and end of every field.
            #[cfg(test)]
            pub const FIELDS: &[(&str, usize, usize)] =
                &[$((stringify!($name), $name.offset, $name.end())),*];
        }
    };
}

record!(
    /// Head of a manifest; the segments follow, and then the checksum of everything before it.
    manifest_head, 128, {
        /// [`super::MANIFEST_MAGIC`].
        MAGIC: [u8; 8] = 0,
        /// [`super::FORMAT_MAJOR`].
        MAJOR: u16 = 8,
        /// [`super::FORMAT_MINOR`].
        MINOR: u16 = 10,
        /// Number of segments.
        SEGMENT_COUNT: u32 = 12,
        /// What a reader must know to read on.
        FLAGS_REQUIRED: u64 = 16,
        /// What a reader may ignore.
        FLAGS_OPTIONAL: u64 = 24,
        /// Of the index; its segments carry the same.
        UUID: [u8; 16] = 32,
        /// Grows by one with every commit.
        GENERATION: u64 = 48,
        /// Dimensions of a vector.
        DIM: u32 = 56,
        /// [`crate::types::Metric`].
        METRIC: u32 = 60,
        /// [`crate::types::ElementType`].
        ELEMENT_TYPE: u32 = 64,
        /// Zero.
        RESERVED: [u8; 4] = 68,
        /// Number of the next new file; greater than that of any file ever named here.
        NEXT_NUMBER: u64 = 72,
        /// Rows of all segments that are not deleted.
        LIVE_ROWS: u64 = 80,
        /// Reserved for the first log to replay; 0.
        FIRST_LOG: u64 = 88,
        /// Reserved for the first sequence number of the log; 0.
        FIRST_SEQUENCE: u64 = 96,
        /// Zero.
        RESERVED_END: [u8; 24] = 104,
    }
);

record!(
    /// One segment of a manifest.
    manifest_segment, 64, {
        /// Number in the file's name.
        NUMBER: u64 = 0,
        /// Rows, deleted ones too.
        ROWS: u64 = 8,
        /// Length of the file.
        FILE_BYTES: u64 = 16,
        /// The checksum at the end of the file's header.
        HEADER_CHECKSUM: u64 = 24,
        /// Reserved for the generation that last deleted rows; 0.
        TOMBSTONE_GENERATION: u64 = 32,
        /// Reserved for the number of deleted rows; 0.
        TOMBSTONE_COUNT: u64 = 40,
        /// Zero.
        RESERVED: [u8; 16] = 48,
    }
);

record!(
    /// Header of a segment.
    segment_header, 4096, {
        /// [`super::SEGMENT_MAGIC`].
        MAGIC: [u8; 8] = 0,
        /// [`super::FORMAT_MAJOR`].
        MAJOR: u16 = 8,
        /// [`super::FORMAT_MINOR`].
        MINOR: u16 = 10,
        /// Number of sections.
        SECTION_COUNT: u32 = 12,
        /// What a reader must know to read on.
        FLAGS_REQUIRED: u64 = 16,
        /// What a reader may ignore.
        FLAGS_OPTIONAL: u64 = 24,
        /// Of the index.
        UUID: [u8; 16] = 32,
        /// Number in the file's name.
        NUMBER: u64 = 48,
        /// Rows.
        ROWS: u64 = 56,
        /// Dimensions of a vector.
        DIM: u32 = 64,
        /// [`crate::types::Metric`].
        METRIC: u32 = 68,
        /// [`crate::types::ElementType`].
        ELEMENT_TYPE: u32 = 72,
        /// Zero.
        RESERVED: [u8; 4] = 76,
        /// Seed of the build.
        SEED: u64 = 80,
        /// Length of the file.
        FILE_BYTES: u64 = 88,
        /// First byte of the section table.
        TABLE_OFFSET: u64 = 96,
        /// Checksum of the section table.
        TABLE_CHECKSUM: u64 = 104,
        /// Zero.
        RESERVED_END: [u8; 3976] = 112,
        /// Checksum of everything before it.
        CHECKSUM: u64 = 4088,
    }
);

record!(
    /// One entry of a segment's section table.
    section_entry, 64, {
        /// [`super::SectionKind`].
        KIND: u32 = 0,
        /// Version of the section's own layout.
        VERSION: u16 = 4,
        /// [`super::SECTION_REQUIRED`].
        FLAGS: u16 = 6,
        /// First byte in the file.
        OFFSET: u64 = 8,
        /// Length.
        LENGTH: u64 = 16,
        /// Number of records; 0 if the section is not an array of them.
        COUNT: u64 = 24,
        /// Bytes of a record; 0 if the section is not an array of them.
        STRIDE: u32 = 32,
        /// [`super::BLOCK_LOG2`].
        BLOCK_LOG2: u8 = 36,
        /// Zero.
        RESERVED: [u8; 3] = 37,
        /// First byte of the section's block checksums, 8 bytes each.
        SUMS_OFFSET: u64 = 40,
        /// Checksum of the block checksums.
        SUMS_CHECKSUM: u64 = 48,
        /// Zero.
        RESERVED_END: [u8; 8] = 56,
    }
);

/// What a section holds. Numbers of newer versions are kept as they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SectionKind(pub u32);

/// What the format says about a kind of section.
#[derive(Clone, Copy, Debug)]
pub struct KindLayout {
    /// The kind.
    pub kind: SectionKind,
    /// Name in messages.
    pub name: &'static str,
    /// Newest version of its layout that this library reads, and the one that it writes.
    pub version: u16,
    /// A reader that does not know it gives wrong answers.
    pub required: bool,
    /// Multiple that it begins at.
    pub align: u64,
}

macro_rules! kinds {
    ($(
        $(#[$doc:meta])*
        $kind:ident = $number:literal, $name:literal, $version:literal, $required:literal, $align:expr;
    )*) => {
        impl SectionKind {
            $($(#[$doc])* pub const $kind: SectionKind = SectionKind($number);)*
        }

        /// The kinds that this version reads and writes.
        pub const KINDS: &[KindLayout] = &[$(KindLayout {
            kind: SectionKind::$kind,
            name: $name,
            version: $version,
            required: $required,
            align: $align,
        },)*];
    };
}

// Reserved: 13 what the build did.
kinds! {
    /// Nodes of the tree.
    TREE_NODES = 1, "tree nodes", 1, true, ALIGN_SMALL;
    /// Exact centroids of the nodes, f32.
    CENTROIDS = 2, "centroids", 1, true, ALIGN_BULK;
    /// Centroids of the nodes, 8 bits a dimension.
    NODE_BYTES = 3, "node bytes", 1, true, ALIGN_BULK;
    /// Codes of the nodes.
    NODE_CODES = 4, "node codes", 1, true, ALIGN_BULK;
    /// Factors of the nodes' codes.
    NODE_FACTORS = 5, "node factors", 1, true, ALIGN_SMALL;
    /// Codes of the rows.
    CODES = 6, "codes", 1, true, ALIGN_BULK;
    /// Factors of the rows' codes.
    FACTORS = 7, "factors", 1, true, ALIGN_BULK;
    /// Ids of the rows, by position.
    IDS = 8, "ids", 1, true, ALIGN_BULK;
    /// Positions of the rows, by id.
    ID_ORDER = 9, "id order", 1, true, ALIGN_BULK;
    /// Full vectors of the rows.
    VECTORS = 10, "vectors", 1, true, ALIGN_BULK;
    /// Centre and parameters of the quantiser.
    QUANTISER = 11, "quantiser", 1, true, ALIGN_SMALL;
    /// Recall by probes, measured at build.
    RECALL_TABLE = 12, "recall table", 1, false, ALIGN_SMALL;
    /// Exact centroids that the rows' codes are relative to, f32.
    CENTRES = 14, "centres", 1, true, ALIGN_SMALL;
    /// Positions of rows near each row.
    LINKS = 32, "links", 1, false, ALIGN_BULK;
    /// Finer codes of the rows, four bits a dimension.
    FINER_CODES = 33, "finer codes", 1, false, ALIGN_BULK;
    /// Lengths of the walks that the recall table speaks of. A reader that does not know them would promise too much.
    WALK_LISTS = 34, "walk lists", 1, true, ALIGN_SMALL;
    /// Factors of the finer codes.
    FINER_FACTORS = 35, "finer factors", 1, false, ALIGN_BULK;
}

impl SectionKind {
    /// What this version knows of the kind.
    pub fn layout(self) -> Option<&'static KindLayout> {
        KINDS.iter().find(|layout| layout.kind == self)
    }
}

impl fmt::Display for SectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layout() {
            Some(layout) => write!(f, "section \"{}\"", layout.name),
            None => write!(f, "section of kind {}", self.0),
        }
    }
}

impl fmt::Debug for SectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
