//! What goes to stdout, and how numbers read: tables for people, JSON for programs.
//!
//! All writes return their errors, so that a reader who left early ends a command in silence.

use std::fmt::Display;
use std::io::{self, BufWriter, StdoutLock, Write};

use serde::Serialize;

use crate::closed::is_closed;
use crate::failure::Failure;

/// Buffered stdout, for one command; none where nobody can write to it.
pub fn stdout() -> Result<BufWriter<StdoutLock<'static>>, Failure> {
    if is_closed() {
        return Err(Failure::new("cannot write the output: stdout is closed"));
    }
    Ok(BufWriter::with_capacity(1 << 16, io::stdout().lock()))
}

/// Prints the help that was asked for.
pub fn print_help(words: &clap::Error) -> Result<(), Failure> {
    drop(stdout()?);
    words.print()?;
    io::stdout().flush()?;
    Ok(())
}

/// Prints one value as JSON, indented.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let mut out = stdout()?;
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// Prints text, with the line end that it lacks.
pub fn print_text(text: &str) -> Result<(), Failure> {
    let mut out = stdout()?;
    writeln!(out, "{}", text.trim_end())?;
    out.flush()?;
    Ok(())
}

/// The one line of an error.
pub fn complain(message: &str) {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    // Where stderr is closed, the exit status still tells.
    let _ = writeln!(io::stderr(), "vdb: {line}");
}

/// `1234567` as `1,234,567`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the unit that leaves one to four digits before the point.
pub fn bytes(value: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if value < 1024 {
        return format!("{value} B");
    }
    let mut scaled = value as f64 / 1024.0;
    let mut unit = 0;
    while scaled >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

/// Seconds or less, with three digits that matter.
pub fn seconds(value_ns: u64) -> String {
    match value_ns as f64 {
        ns if ns < 1e6 => format!("{:.0} us", ns / 1e3),
        ns if ns < 1e9 => format!("{:.1} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}

/// Text in columns as wide as their widest cell: words to the left, then numbers to the right.
pub struct Table {
    words: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table of one row of headings, of which the first `words` are over words.
    pub fn new<T: Display>(words: usize, headings: impl IntoIterator<Item = T>) -> Self {
        let mut table = Table { words, rows: Vec::new() };
        table.row(headings);
        table
    }

    /// Adds a row below.
    pub fn row<T: Display>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(|cell| cell.to_string()).collect());
    }

    /// The table, with a line end after each row.
    pub fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |i: usize| self.rows.iter().filter_map(|row| row.get(i)).map(|c| c.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|i| width(i).unwrap_or(0)).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
                line += if i == 0 { "" } else { "  " };
                line += &if i < self.words { format!("{cell:<width$}") } else { format!("{cell:>width$}") };
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([count(0), count(999), count(1000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [bytes(0), bytes(1023), bytes(1536), bytes(3 << 30)],
            ["0 B", "1023 B", "1.5 KiB", "3.0 GiB"]
        );
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
        assert_eq!(
            [seconds(1500), seconds(2_340_000), seconds(61_500_000_000)],
            ["2 us", "2.3 ms", "61.50 s"]
        );
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(1, ["name", "n"]);
        table.row(["a", "1,000"]);
        assert_eq!(table.text(), "name      n\na     1,000\n");
    }
}
