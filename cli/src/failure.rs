//! Why a command ended early.
//!
//! In: errors of the library, of files, of our own output. Out: one sentence and, in `main`, an exit status.

use std::fmt::Display;
use std::io;
use std::path::Path;

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// What is told on stderr, in one line. Status 1.
    Message(String),
    /// Arguments that each are legal, but not together or not with these files. Status 2.
    Usage(String),
    /// The reader of our output closed it, as `head` does. Silence, and status 0.
    ReaderLeft,
}

impl Failure {
    /// A sentence.
    pub fn new(message: impl Display) -> Self {
        Failure::Message(message.to_string())
    }

    /// An error about a file: its name comes first, once.
    pub fn at(path: &Path, error: impl Display) -> Self {
        let (name, sentence) = (path.display().to_string(), error.to_string());
        Failure::Message(if sentence.contains(&name) { sentence } else { format!("{name}: {sentence}") })
    }

    /// The same sentence, as the fault of the command line.
    pub fn into_usage(self) -> Self {
        match self {
            Failure::Message(message) => Failure::Usage(message),
            other => other,
        }
    }
}

impl From<vdb::types::Error> for Failure {
    fn from(error: vdb::types::Error) -> Self {
        Failure::new(error)
    }
}

/// Only writes to stdout come this way; an error about a file goes through [`Failure::at`].
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ReaderLeft,
            _ => Failure::new(format_args!("cannot write the output: {error}")),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        io::Error::from(error).into()
    }
}
