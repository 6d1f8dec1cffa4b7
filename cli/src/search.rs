//! `vdb search`: a file of queries in, a line of ids and distances a query out.
//!
//! Queries go to the library in batches of bounded size, which answer as single searches would; answers are
//! printed as they come, so that neither many queries nor a large k need memory for all of them.

use std::io::Write;

use serde::Serialize;
use vdb::database::{Database, OpenOptions};
use vdb::types::params::SearchParams;

use crate::args::SearchArgs;
use crate::failure::Failure;
use crate::output;
use crate::vectors::read_queries;

/// Neighbours that are held at once, a batch being at least one query.
const NEIGHBOURS_AT_ONCE: usize = 1 << 20;
/// Queries of a batch: enough to share leaves, few enough that the first answers come soon.
const QUERIES_AT_ONCE: usize = 1024;

/// Searches, and prints the answers.
pub fn run(args: &SearchArgs) -> Result<(), Failure> {
    let options = OpenOptions {
        memory_limit_bytes: args.memory.unwrap_or(0),
        threads: args.threads,
        answer_cache_bytes: Some(0),
        ..OpenOptions::default()
    };
    let database = Database::open(&args.index, &options)?;
    let queries = read_queries(&args.queries, database.dim(), args.limit_queries)?;
    let params = SearchParams {
        recall: args.recall,
        probes: args.probes.unwrap_or(0),
        rerank: args.rerank.unwrap_or(0),
        exact: args.exact,
        ..SearchParams::default()
    };
    // More neighbours than rows do not exist; asking for the rows alone keeps the buffers small.
    let k = args.k.min(database.rows().max(1)) as usize;
    let mut out = output::stdout()?;
    let mut print = Printer { out: &mut out, json: args.json, printed: 0 };
    print.begin(args.k)?;
    let at_once = (NEIGHBOURS_AT_ONCE / k).clamp(1, QUERIES_AT_ONCE);
    let (mut ids, mut distances) = (vec![0; at_once * k], vec![0.0; at_once * k]);
    let mut counts = vec![0; at_once];
    for part in queries.values().chunks(at_once * database.dim()) {
        let size = part.len() / database.dim();
        let (ids, distances) = (&mut ids[..size * k], &mut distances[..size * k]);
        let found = &mut counts[..size];
        database
            .batch_search(part, database.dim(), k, &params, ids, Some(distances), Some(found))
            .map_err(|e| blame(args, print.printed, &e))?;
        for ((ids, distances), found) in ids.chunks(k).zip(distances.chunks(k)).zip(found) {
            print.answer(&ids[..*found], &distances[..*found])?;
        }
    }
    print.end()?;
    out.flush()?;
    Ok(())
}

/// Names the query of the file, where the library can only name that of the batch.
fn blame(args: &SearchArgs, first: usize, error: &vdb::types::Error) -> Failure {
    match error.row() {
        Some(row) => Failure::new(format_args!(
            "{}: vector {}, counted from 0: {error}",
            args.queries.display(),
            first as u64 + row
        )),
        None => Failure::new(error),
    }
}

/// One entry of the `results` that `--json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    ids: &'a [u64],
    distances: &'a [f32],
}

/// Prints answers one by one, as lines or as entries of one JSON object.
struct Printer<'a, W: Write> {
    out: &'a mut W,
    json: bool,
    printed: usize,
}

impl<W: Write> Printer<'_, W> {
    fn begin(&mut self, k: u64) -> Result<(), Failure> {
        if self.json {
            write!(self.out, "{{\"k\": {k}, \"results\": [")?;
        }
        Ok(())
    }

    fn answer(&mut self, ids: &[u64], distances: &[f32]) -> Result<(), Failure> {
        if self.json {
            self.out.write_all(if self.printed == 0 { b"\n  " } else { b",\n  " })?;
            serde_json::to_writer(&mut *self.out, &Answer { ids, distances })?;
        } else {
            for (i, (id, distance)) in ids.iter().zip(distances).enumerate() {
                write!(self.out, "{}{id}:{distance}", if i == 0 { "" } else { " " })?;
            }
            writeln!(self.out)?;
        }
        self.printed += 1;
        Ok(())
    }

    fn end(&mut self) -> Result<(), Failure> {
        if self.json {
            writeln!(self.out, "\n]}}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(json: bool) -> String {
        let mut out = Vec::new();
        let mut print = Printer { out: &mut out, json, printed: 0 };
        print.begin(2).unwrap();
        print.answer(&[7, u64::MAX - 1], &[0.25, 1e-9]).unwrap();
        print.answer(&[], &[]).unwrap();
        print.end().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_a_query_even_where_nothing_was_found() {
        assert_eq!(printed(false), "7:0.25 18446744073709551614:0.000000001\n\n");
    }

    #[test]
    fn json_is_one_object() {
        let value: serde_json::Value = serde_json::from_str(&printed(true)).unwrap();
        assert_eq!(value["results"][0]["ids"][1].as_u64(), Some(u64::MAX - 1));
        assert_eq!(value["results"].as_array().map(Vec::len), Some(2));
    }
}
