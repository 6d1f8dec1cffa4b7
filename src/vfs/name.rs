//! Names of the files of an index directory: a kind and numbers, and their one spelling.
//!
//! A name is never text that came from a file; it is made here, and read back only if it is spelt exactly
//! as it would be made. Kinds that this version does not write are known, so that it does not take a file
//! of a newer version for a stranger's. Calls nothing.

use std::ffi::CStr;
use std::fmt;
use std::io::Write;

/// A file of an index directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileName {
    /// `LOCK`: empty, locked by the writer, never removed.
    Lock,
    /// `MANIFEST`: which segments there are; replaced by rename only.
    Manifest,
    /// `MANIFEST.tmp`: the next manifest, until it is renamed.
    ManifestTmp,
    /// `seg-<16 hex>.vdb`: an immutable segment.
    Segment(u64),
    /// `spill-<16 hex>.tmp`: rows on their way into a segment; removed by whom comes next.
    Spill(u64),
    /// `del-<16 hex>-<16 hex>.vdb`: deleted rows of a segment at a generation. Reserved.
    Tombstones {
        /// Number of the segment.
        segment: u64,
        /// Generation that wrote it.
        generation: u64,
    },
    /// `wal-<16 hex>.log`: a log. Reserved.
    Log(u64),
}

impl FileName {
    /// The file of a directory entry, if the entry is spelt as we spell it.
    pub fn parse(entry: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(entry).ok()?;
        let number = |digits: &str| match digits.len() {
            16 => u64::from_str_radix(digits, 16).ok(),
            _ => None,
        };
        let between = |prefix, suffix| text.strip_prefix(prefix)?.strip_suffix(suffix);
        let name = match text {
            "LOCK" => FileName::Lock,
            "MANIFEST" => FileName::Manifest,
            "MANIFEST.tmp" => FileName::ManifestTmp,
            _ => {
                if let Some(digits) = between("seg-", ".vdb") {
                    FileName::Segment(number(digits)?)
                } else if let Some(digits) = between("spill-", ".tmp") {
                    FileName::Spill(number(digits)?)
                } else if let Some(digits) = between("wal-", ".log") {
                    FileName::Log(number(digits)?)
                } else {
                    let (segment, generation) = between("del-", ".vdb")?.split_once('-')?;
                    FileName::Tombstones { segment: number(segment)?, generation: number(generation)? }
                }
            }
        };
        // One spelling only: capitals and signs parse as numbers, but are not ours.
        (Spelling::of(name).as_c().to_bytes() == entry).then_some(name)
    }
}

/// A name as the system takes it. On the stack, so that a file can be named where memory is out.
pub(super) struct Spelling([u8; Self::BYTES]);

impl Spelling {
    /// Longer than any name, with the NUL behind it.
    const BYTES: usize = 64;

    pub(super) fn of(name: FileName) -> Self {
        let mut spelling = Spelling([0; Self::BYTES]);
        // What does not fit would be cut, and nothing is as long.
        let _ = write!(&mut spelling.0[..Self::BYTES - 1], "{name}");
        spelling
    }

    pub(super) fn as_c(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileName::Lock => f.write_str("LOCK"),
            FileName::Manifest => f.write_str("MANIFEST"),
            FileName::ManifestTmp => f.write_str("MANIFEST.tmp"),
            FileName::Segment(number) => write!(f, "seg-{number:016x}.vdb"),
            FileName::Spill(number) => write!(f, "spill-{number:016x}.tmp"),
            FileName::Tombstones { segment, generation } => {
                write!(f, "del-{segment:016x}-{generation:016x}.vdb")
            }
            FileName::Log(number) => write!(f, "wal-{number:016x}.log"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_as_it_was_made() {
        for number in [0, 1, 0xabc, u64::MAX] {
            for name in [
                FileName::Lock,
                FileName::Manifest,
                FileName::ManifestTmp,
                FileName::Segment(number),
                FileName::Spill(number),
                FileName::Log(number),
                FileName::Tombstones { segment: number, generation: 7 },
                FileName::Tombstones { segment: 7, generation: number },
            ] {
                assert_eq!(FileName::parse(name.to_string().as_bytes()), Some(name));
            }
        }
    }

    #[test]
    fn any_other_spelling_is_foreign() {
        for text in [
            "",
            ".",
            "manifest",
            "MANIFEST.tmp.tmp",
            "seg-.vdb",
            "seg-1.vdb",
            "seg-000000000000000A.vdb",
            "seg-+00000000000000a.vdb",
            "seg-00000000000000001.vdb",
            "seg-0000000000000001.vdb/",
            "seg-0000000000000001.vd",
            "../seg-0000000000000001.vdb",
            "del-0000000000000001.vdb",
            "del-0000000000000001-0000000000000001-0000000000000001.vdb",
            "wal-0000000000000001.log\0",
        ] {
            assert_eq!(FileName::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(FileName::parse(b"seg-\xff000000000000001.vdb"), None);
    }
}
