//! The `vdb` command: build, search, measure and check index directories.
//!
//! Thin over the library: a command parses, calls, prints. Answers and reports go to stdout, progress and the
//! one line of an error to stderr. Exit status: 0; 1 for an error; 2 for wrong usage.
//!
//! - [`args`]: what the command line accepts;
//! - one module a command: [`build`], [`search`], [`info`], [`bench`], [`verify`], [`gen`], [`truth`];
//! - [`output`], [`closed`], [`progress`], [`failure`]: what the user sees;
//! - [`vectors`], [`process`], [`interrupt`]: files of vectors, this process's memory, Ctrl-C.
#![deny(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::todo, clippy::unimplemented)
)]

mod args;
mod bench;
mod build;
mod closed;
mod failure;
mod gen;
mod info;
mod interrupt;
mod output;
mod process;
mod progress;
mod search;
mod truth;
mod vectors;
mod verify;

use clap::Parser;
use std::process::ExitCode;

use args::{Arguments, Command};
use failure::Failure;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(words) => return told(&words),
    };
    let quiet = arguments.quiet;
    let done = match &arguments.command {
        Command::Build(args) => build::run(args, quiet),
        Command::Search(args) => search::run(args),
        Command::Info(args) => info::run(args),
        Command::Bench(args) => bench::run(args, quiet),
        Command::Verify(args) => verify::run(args, quiet),
        Command::Gen(args) => gen::run(args, quiet),
        Command::Truth(args) => truth::run(args, quiet),
    };
    status(done)
}

/// Help, or wrong usage, in clap's own words.
fn told(words: &clap::Error) -> ExitCode {
    let code = ExitCode::from(u8::try_from(words.exit_code()).unwrap_or(1));
    if words.use_stderr() {
        // Usage is as wrong if nobody reads why.
        let _ = words.print();
        return code;
    }
    match output::print_help(words) {
        Ok(()) => code,
        failed => status(failed),
    }
}

fn status(done: Result<(), Failure>) -> ExitCode {
    match done {
        // Who reads our output has seen enough: nothing went wrong.
        Ok(()) | Err(Failure::ReaderLeft) => ExitCode::SUCCESS,
        Err(Failure::Message(message)) => {
            output::complain(&message);
            ExitCode::FAILURE
        }
        Err(Failure::Usage(message)) => {
            output::complain(&message);
            ExitCode::from(2)
        }
    }
}
