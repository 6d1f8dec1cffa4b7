//! `vdb verify`: every byte of an index read, each damage told.
//!
//! Damage is the report, and goes to stdout, a line each; that there is some is the error.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use vdb::database::{self, Job, LogLevel};
use vdb::types::Status;

use crate::args::IndexArgs;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{print_json, print_text};
use crate::progress::Progress;

/// What `--json` prints.
#[derive(Serialize)]
struct Verdict {
    index: String,
    sound: bool,
    damage: Vec<String>,
    notes: Vec<String>,
}

/// Verifies, prints what was found, and fails if that is damage.
pub fn run(args: &IndexArgs, quiet: bool) -> Result<(), Failure> {
    let lines = Mutex::new(Vec::new());
    let log = |level: LogLevel, line: &str| {
        if level <= LogLevel::Warn {
            lines.lock().unwrap_or_else(PoisonError::into_inner).push((level, line.to_owned()));
        }
    };
    let outcome = {
        let progress = Progress::new(quiet);
        let show = |phase: &str, done: u64, total: u64| {
            progress.show(phase, done, total);
            true
        };
        let cancel = Some(interrupt::token());
        database::verify(
            &args.index,
            &Job { progress: Some(&show), cancel, log: Some(&log), ..Job::default() },
        )
    };
    let lines = lines.into_inner().unwrap_or_else(PoisonError::into_inner);
    let of = |wanted: LogLevel| {
        lines.iter().filter(move |(level, _)| *level == wanted).map(|(_, line)| line.clone())
    };
    let mut verdict = Verdict {
        index: args.index.display().to_string(),
        sound: outcome.is_ok(),
        damage: of(LogLevel::Error).collect(),
        notes: of(LogLevel::Warn).collect(),
    };
    let failure = match outcome {
        Ok(()) => None,
        Err(error) if matches!(error.status(), Status::Corrupt | Status::Format) => {
            if verdict.damage.is_empty() {
                verdict.damage.push(error.message().to_owned());
            }
            Some(Failure::new(error))
        }
        // Not damage: nothing was verified.
        Err(error) if error.status() == Status::Cancelled => {
            return Err(Failure::at(&args.index, "interrupted before all was read"));
        }
        Err(error) => return Err(error.into()),
    };
    let printed = if args.json { print_json(&verdict) } else { print_text(&text(&verdict)) };
    // Damage is told by the exit status even if nobody reads the list to its end.
    failure.map_or(printed, Err)
}

fn text(verdict: &Verdict) -> String {
    let mut lines: Vec<String> = verdict.damage.iter().map(|line| format!("damaged: {line}")).collect();
    lines.extend(verdict.notes.iter().map(|line| format!("note: {line}")));
    if verdict.sound {
        lines.push(format!("{}: no damage found", verdict.index));
    }
    lines.join("\n")
}
