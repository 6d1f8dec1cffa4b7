//! The `vdb` command as a user meets it: what it prints, what it leaves on disk, and with which status it ends.
//!
//! Each test runs the binary on small data of its own in a directory of its own. No test looks at times.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const ROWS: usize = 3000;
const DIM: usize = 24;
const QUERIES: usize = 40;

/// A directory with rows, queries, and the command.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn empty() -> Self {
        Bench { dir: tempfile::tempdir().unwrap() }
    }

    /// With `rows.fbin` and `queries.fbin`.
    fn with_rows() -> Self {
        let bench = Self::empty();
        let (rows, dim, queries) = (ROWS.to_string(), DIM.to_string(), QUERIES.to_string());
        bench.ok(&[
            "gen",
            "rows.fbin",
            "--rows",
            &rows,
            "--dim",
            &dim,
            "--queries",
            "queries.fbin",
            "--query-count",
            &queries,
        ]);
        bench
    }

    /// With an index of the rows, too.
    fn with_index(metric: &str) -> Self {
        let bench = Self::with_rows();
        bench.ok(&["build", "rows.fbin", "index", "--metric", metric]);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vdb"));
        // Quiet, since on a busy machine any job may be long enough for a line of progress.
        command.arg("--quiet").args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What a command that succeeds prints. It has nothing to complain about.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""), "{args:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args)).unwrap()
    }

    /// The one line on stderr of a command that fails with this status and prints nothing else.
    fn error(&self, status: i32, args: &[&str]) -> String {
        let output = self.run(args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{args:?}: {stderr}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "{args:?}");
        if status == 1 {
            assert!(stderr.starts_with("vdb: ") && stderr.ends_with('\n'), "{args:?}: {stderr}");
            assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
        }
        stderr
    }
}

/// The (id, distance) pairs of each line.
fn answers(text: &str) -> Vec<Vec<(u64, f32)>> {
    let pair = |entry: &str| {
        let (id, distance) = entry.split_once(':').unwrap();
        (id.parse().unwrap(), distance.parse().unwrap())
    };
    text.lines().map(|line| line.split_whitespace().map(pair).collect()).collect()
}

#[test]
fn wrong_usage_ends_with_status_2() {
    let bench = Bench::empty();
    for args in [
        &["frobnicate"][..],
        &["build", "rows.fbin"],
        &["build", "rows.fbin", "index"],
        &["build", "rows.fbin", "index", "--metric", "manhattan"],
        &["build", "rows.fbin", "index", "--metric", "l2", "--bits", "3"],
        &["build", "rows.fbin", "index", "--metric", "l2", "--memory", "lots"],
        &["search", "index"],
        &["search", "index", "--queries", "q.fbin", "--k", "0"],
        &["search", "index", "--queries", "q.fbin", "--recall", "1.5"],
        &["search", "index", "--queries", "q.fbin", "--recall", "0.9", "--probes", "3"],
        &["bench", "index", "--queries", "q.fbin", "--recall", "0.9,zero"],
        &["bench", "index", "--queries", "q.fbin", "--threads", "1000000"],
        &["gen", "rows.fbin", "--rows", "10"],
        &["gen", "rows.fbin", "--rows", "10", "--dim", "0"],
        &["gen", "rows.fbin", "--rows", "10", "--dim", "4", "--queries", "./rows.fbin"],
        &["gen", "rows.txt", "--rows", "10", "--dim", "4"],
        &["gen", "rows.fbin", "--rows", "10", "--dim", "4", "--type", "f16"],
        &["gen", "rows.fbin", "--rows", "9000000000", "--dim", "4"],
        &["truth", "rows.fbin", "truth.bin", "--queries", "q.fbin", "--metric", "l2"],
    ] {
        assert!(!bench.error(2, args).is_empty());
    }
    assert_eq!(std::fs::read_dir(bench.dir.path()).unwrap().count(), 0, "wrong usage leaves nothing behind");
}

#[test]
fn help_and_version_end_with_status_0() {
    let bench = Bench::empty();
    assert!(bench.ok(&["--version"]).starts_with("vdb "));
    assert!(bench.ok(&["search", "--help"]).contains("id:distance id:distance"));
    for command in ["build", "search", "info", "bench", "verify", "gen", "truth"] {
        assert!(
            bench.ok(&["--help"]).contains(command) && bench.ok(&[command, "--help"]).contains("Usage: vdb")
        );
    }
}

#[test]
fn missing_empty_and_foreign_files_are_one_line_and_status_1() {
    let bench = Bench::with_rows();
    std::fs::write(bench.path("empty.fbin"), b"").unwrap();
    std::fs::write(bench.path("foreign.npy"), b"this is no array of numbers").unwrap();
    std::fs::write(bench.path("short.fbin"), [5, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3]).unwrap();
    std::fs::write(bench.path("rows.csv"), b"1,2,3").unwrap();
    std::fs::create_dir(bench.path("folder.fbin")).unwrap();
    for file in ["missing.fbin", "empty.fbin", "foreign.npy", "short.fbin", "rows.csv", "folder.fbin"] {
        let line = bench.error(1, &["build", file, "index", "--metric", "l2"]);
        assert!(line.contains(file), "{line}");
        let opened = bench.run(&["info", "index"]);
        assert_eq!(opened.status.code(), Some(1), "a build from {file} left something that opens");
    }
    for args in [
        &["info", "nowhere"][..],
        &["verify", "nowhere"],
        &["search", "nowhere", "--queries", "queries.fbin"],
    ] {
        assert!(bench.error(1, args).contains("nowhere"));
    }
    std::fs::create_dir(bench.path("bare")).unwrap();
    bench.error(1, &["info", "bare"]);
    bench.error(1, &["info", "rows.fbin"]);
    bench.error(1, &["gen", "nowhere/rows.fbin", "--rows", "10", "--dim", "4"]);
    let line = bench.error(1, &["gen", "vast.npy", "--rows", "70368744177664", "--dim", "4"]);
    assert!(line.contains("vast.npy") && line.contains("free"), "{line}");
}

#[test]
fn search_prints_a_line_a_query_and_all_probed_is_exact() {
    for metric in ["l2", "ip", "cosine"] {
        let bench = Bench::with_index(metric);
        let ask = ["search", "index", "--queries", "queries.fbin", "--k", "7"];
        let exact = answers(&bench.ok(&[&ask[..], &["--exact"]].concat()));
        assert_eq!(exact.len(), QUERIES);
        for line in &exact {
            assert_eq!(line.len(), 7);
            assert!(line.windows(2).all(|pair| (pair[0].1, pair[0].0) < (pair[1].1, pair[1].0)), "{line:?}");
            assert!(line.iter().all(|(id, _)| *id < ROWS as u64));
        }
        let all = answers(&bench.ok(&[&ask[..], &["--probes", "4000000", "--rerank", "all"]].concat()));
        assert_eq!(all, exact, "{metric}");
        let one = bench.ok(&[&ask[..], &["--threads", "1"]].concat());
        assert_eq!(bench.ok(&[&ask[..], &["--threads", "3"]].concat()), one, "threads do not change answers");
        let json = bench.json(&[&ask[..], &["--exact", "--json"]].concat());
        assert_eq!(json["k"], 7);
        let results = json["results"].as_array().unwrap();
        assert_eq!(results.len(), QUERIES);
        for (result, line) in results.iter().zip(&exact) {
            let ids: Vec<u64> =
                result["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
            assert_eq!(ids, line.iter().map(|(id, _)| *id).collect::<Vec<_>>());
            assert_eq!(result["distances"].as_array().unwrap().len(), 7);
        }
    }
}

#[test]
fn more_neighbours_than_rows_are_all_rows() {
    let bench = Bench::empty();
    bench.ok(&["gen", "few.npy", "--rows", "5", "--dim", "3", "--queries", "q.npy", "--query-count", "2"]);
    bench.ok(&["build", "few.npy", "index", "--metric", "l2"]);
    for k in ["6", "9223372036854775808", "18446744073709551615"] {
        let lines = answers(&bench.ok(&["search", "index", "--queries", "q.npy", "--k", k]));
        assert!(lines.len() == 2 && lines.iter().all(|line| line.len() == 5), "{lines:?}");
    }
}

#[test]
fn queries_that_do_not_fit_are_named() {
    let bench = Bench::with_index("cosine");
    bench.ok(&["gen", "other.fbin", "--rows", "3", "--dim", "5"]);
    let line = bench.error(1, &["search", "index", "--queries", "other.fbin"]);
    assert!(line.contains("other.fbin") && line.contains('5') && line.contains(&DIM.to_string()), "{line}");

    let header = [3u32, DIM as u32].map(u32::to_le_bytes).concat();
    let mut values = vec![1.0f32; 3 * DIM];
    values[2 * DIM + 1] = f32::NAN;
    let bytes: Vec<u8> = header.into_iter().chain(values.iter().flat_map(|v| v.to_le_bytes())).collect();
    std::fs::write(bench.path("nan.fbin"), bytes).unwrap();
    let line = bench.error(1, &["search", "index", "--queries", "nan.fbin"]);
    assert!(line.contains("nan.fbin") && line.contains("vector 2"), "{line}");
}

#[test]
fn bench_measures_recall_and_reports_all_that_it_should() {
    let bench = Bench::with_index("cosine");
    let ask = ["bench", "index", "--queries", "queries.fbin", "--rounds", "2", "--threads", "2"];
    let report = bench.json(
        &[&ask[..], &["--recall", "0.5,0.95", "--probes", "3", "--plot", "plot.svg", "--json"]].concat(),
    );
    let results = report["results"].as_array().unwrap();
    assert_eq!(results.len(), 6, "three efforts, each one by one and in batches");
    for result in results {
        for field in ["recall", "qps", "p50_us", "p95_us", "p99_us", "p999_us", "threads", "batch", "probes"]
        {
            assert!(result[field].as_f64().is_some_and(|value| value >= 0.0), "{field} in {result}");
        }
        for field in ["codes_scanned", "codes_walked", "rows_reranked", "bytes_read"] {
            assert!(result[field].as_f64().is_some_and(|value| value >= 0.0), "{field} in {result}");
        }
        for phase in ["quantise", "descend", "scan", "walk", "read", "rerank", "merge"] {
            assert!(result["phases_us"][phase].is_f64(), "{phase} in {result}");
        }
        assert_eq!(result["answer_cache_hits"], 0.0, "answers come from the index");
    }
    for found in results.iter().map(|result| |field: &str| result[field].as_f64().unwrap()) {
        assert!(found("recall_worst") <= found("recall") && found("recall_worst") >= 0.0);
        // With all at least 0.8 the mean is, too.
        assert!(found("recall") >= 0.8 || found("recall_poor_share") > 0.0);
    }
    let (single, batch) = (&results[2], &results[3]);
    assert!((single["recall_asked"].as_f64().unwrap() - 0.95).abs() < 1e-6);
    assert!(single["recall"].as_f64().unwrap() >= 0.9, "{single}");
    assert_eq!((&single["threads"], &single["batch"]), (&1.into(), &1.into()));
    assert_eq!((&batch["threads"], &batch["batch"]), (&2.into(), &QUERIES.into()));
    assert_eq!(results[4]["probes_asked"], 3);
    let plot = std::fs::read_to_string(bench.path("plot.svg")).unwrap();
    assert!(plot.starts_with("<svg") && plot.contains("recall@10"));

    let text = bench.ok(&[&ask[..], &["--batch", "1", "--cache"]].concat());
    for word in ["recall@10", "poor %", "worst", "QPS", "p999 us", "quantise", "rerank", "memory:", "0.99"] {
        assert!(text.contains(word), "{word} in\n{text}");
    }
}

#[test]
fn truth_from_a_file_is_that_of_the_exact_mode() {
    let bench = Bench::with_index("ip");
    let truth =
        ["truth", "rows.fbin", "truth.ibin", "--queries", "queries.fbin", "--metric", "ip", "--k", "20"];
    let made = bench.json(&[&truth[..], &["--json"]].concat());
    assert_eq!((&made["file"], &made["k"]), (&Value::from("truth.ibin"), &Value::from(20)));
    let ask =
        ["bench", "index", "--queries", "queries.fbin", "--rounds", "1", "--recall", "0.3,0.95", "--json"];
    let recalls = |args: &[&str]| -> Vec<f64> {
        bench.json(args)["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["recall"].as_f64().unwrap())
            .collect()
    };
    assert_eq!(recalls(&ask), recalls(&[&ask[..], &["--truth", "truth.ibin"]].concat()));
    let line = bench.error(1, &[&ask[..], &["--truth", "truth.ibin", "--k", "21"]].concat());
    assert!(line.contains("truth.ibin") && line.contains("20") && line.contains("21"), "{line}");
    bench.error(1, &[&ask[..], &["--truth", "queries.fbin"]].concat());
}

#[test]
fn build_and_info_tell_what_was_made() {
    let bench = Bench::with_rows();
    let args =
        ["build", "rows.fbin", "index", "--metric", "l2", "--memory", "256M", "--threads", "2", "--json"];
    let report = bench.json(&args);
    assert_eq!((&report["rows"], &report["dim"]), (&ROWS.into(), &DIM.into()));
    assert!(report["rss_peak_bytes"].as_u64().unwrap() > 0 && report["disk_bytes"].as_u64().unwrap() > 0);
    assert!(bench.error(1, &args).contains("index"), "an index is not overwritten");
    bench.json(&[&args[..], &["--replace"]].concat());
    let info = bench.json(&["info", "index", "--json"]);
    assert_eq!(
        (&info["rows"], &info["metric"], &info["generation"]),
        (&ROWS.into(), &"l2".into(), &2.into())
    );
    assert_eq!(info["segments"].as_array().unwrap().len(), 1);
    assert!(info["memory"]["code_bytes"].as_u64().unwrap() > 0);
    assert!(bench.ok(&["info", "index"]).contains("3,000 rows x 24, f32, l2"));
    assert_eq!(
        (&report["links"], &info["links"]),
        (&false.into(), &false.into()),
        "so few rows have no tree"
    );
}

#[test]
fn links_are_made_as_asked_and_shown() {
    let bench = Bench::with_rows();
    let args = ["build", "rows.fbin", "index", "--metric", "l2", "--leaf-rows", "16", "--replace", "--json"];
    for (asked, links) in [("auto", true), ("on", true), ("off", false)] {
        let report = bench.json(&[&args[..], &["--links", asked]].concat());
        assert_eq!(report["links"], links, "{asked}");
        let info = bench.json(&["info", "index", "--json"]);
        assert_eq!(info["links"], links, "{asked}");
        let bytes = if links { 128 * ROWS as u64 } else { 0 };
        assert_eq!(info["segments"][0]["link_bytes"], bytes, "{asked}");
        assert_eq!(info["memory"]["link_bytes"].as_u64().unwrap() > 0, links, "{asked}");
        let text = bench.ok(&["info", "index"]);
        assert_eq!(
            (text.contains("tree and links"), text.contains("links    none")),
            (links, !links),
            "{text}"
        );
    }
    let line = bench.error(2, &[&args[..], &["--links", "some"]].concat());
    assert!(line.contains("--links"), "{line}");
    let line = bench.error(1, &[&args[..], &["--links", "on", "--memory", "1M"]].concat());
    assert!(line.contains("links"), "{line}");
}

#[test]
fn ids_of_a_file_are_those_of_the_answers() {
    let bench = Bench::with_rows();
    let ids: Vec<u8> = (0..ROWS as u64).flat_map(|row| (row * 3 + 1_000_000_000_000).to_le_bytes()).collect();
    std::fs::write(bench.path("ids.u64bin"), &ids).unwrap();
    bench.ok(&["build", "rows.fbin", "index", "--metric", "l2", "--ids", "ids.u64bin"]);
    let found = answers(&bench.ok(&["search", "index", "--queries", "queries.fbin", "--exact"]));
    assert!(found
        .iter()
        .flatten()
        .all(|(id, _)| *id >= 1_000_000_000_000 && (id - 1_000_000_000_000) % 3 == 0));
    std::fs::write(bench.path("ids.u64bin"), &ids[8..]).unwrap();
    bench.error(1, &["build", "rows.fbin", "other", "--metric", "l2", "--ids", "ids.u64bin"]);
}

/// The largest file below a directory.
fn largest_file(dir: &Path) -> PathBuf {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

#[test]
fn verify_finds_one_flipped_bit() {
    let bench = Bench::with_index("l2");
    assert!(bench.ok(&["verify", "index"]).contains("no damage"));
    assert_eq!(bench.json(&["verify", "index", "--json"])["sound"], true);

    let file = largest_file(&bench.path("index"));
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&file, bytes).unwrap();
    let output = bench.run(&["verify", "index"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("damaged: "));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("vdb: ") && stderr.lines().count() == 1, "{stderr}");
    let output = bench.run(&["verify", "index", "--json"]);
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &verdict["sound"]), (Some(1), &false.into()));
    assert!(!verdict["damage"].as_array().unwrap().is_empty());
}

#[test]
fn generated_files_are_deterministic_and_of_every_format() {
    let bench = Bench::empty();
    for name in ["a.npy", "a.fbin", "a.fvecs", "a.u8bin", "a.bvecs"] {
        bench.ok(&["gen", name, "--rows", "300", "--dim", "8", "--threads", "1"]);
        let once = std::fs::read(bench.path(name)).unwrap();
        bench.ok(&["gen", name, "--rows", "300", "--dim", "8", "--threads", "2"]);
        assert_eq!(std::fs::read(bench.path(name)).unwrap(), once, "{name}");
        bench.ok(&["gen", name, "--rows", "300", "--dim", "8", "--seed", "2"]);
        assert_ne!(std::fs::read(bench.path(name)).unwrap(), once, "{name}");
        bench.ok(&["build", name, &format!("{name}.index"), "--metric", "l2"]);
    }
    for (kind, bytes) in [("f32", 4), ("f16", 2), ("u8", 1)] {
        let made = bench.json(&["gen", "t.npy", "--rows", "100", "--dim", "8", "--type", kind, "--json"]);
        assert_eq!(made["rows"], 100);
        assert_eq!(std::fs::metadata(bench.path("t.npy")).unwrap().len(), 128 + 100 * 8 * bytes);
        let report = bench.json(&["build", "t.npy", &format!("{kind}.index"), "--metric", "l2", "--json"]);
        assert_eq!(report["element"], kind);
    }
    let strays = std::fs::read_dir(bench.dir.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains(".part"));
    assert_eq!(strays.count(), 0);
}

#[test]
fn how_hard_a_file_is_can_be_asked() {
    let bench = Bench::with_rows();
    let report =
        bench.json(&["gen", "--check", "rows.fbin", "--queries", "queries.fbin", "--unit", "--json"]);
    let lid = report["lid_p10_p50_p90"][1].as_f64().unwrap();
    assert!((2.0..60.0).contains(&lid), "{report}");
    assert!(bench.ok(&["gen", "--check", "rows.fbin", "--queries", "queries.fbin"]).contains("3000 x 24"));
}

/// Sends SIGINT to a command once a file or directory is there, and returns how the command ended.
#[cfg(unix)]
fn interrupted(bench: &Bench, args: &[&str], there: impl Fn() -> bool) -> Output {
    let mut child = bench.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !there() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    // A process that has ended meanwhile is not there to be signalled; then `kill` complains to nobody.
    let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).stderr(Stdio::null()).status();
    child.wait_with_output().unwrap()
}

#[cfg(unix)]
#[test]
fn an_interrupted_gen_leaves_no_file() {
    let bench = Bench::empty();
    let begun = || std::fs::read_dir(bench.dir.path()).unwrap().next().is_some();
    let output = interrupted(&bench, &["gen", "endless.u8bin", "--rows", "20000000", "--dim", "32"], begun);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("endless.u8bin: interrupted") && stderr.lines().count() == 1, "{stderr}");
    assert!(!begun(), "something was left behind");
}

#[cfg(unix)]
#[test]
fn an_interrupted_build_leaves_no_index_that_opens() {
    let bench = Bench::empty();
    bench.ok(&["gen", "rows.fbin", "--rows", "60000", "--dim", "64"]);
    let begun = || bench.path("index").exists();
    let output =
        interrupted(&bench, &["build", "rows.fbin", "index", "--metric", "l2", "--threads", "1"], begun);
    // On a machine where it was done before the signal came, it is whole.
    let whole = output.status.code() == Some(0);
    if !whole {
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
    }
    assert_eq!(bench.run(&["info", "index"]).status.code(), Some(i32::from(!whole)));
    bench.ok(&["build", "rows.fbin", "index", "--metric", "l2", "--replace"]);
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_is_no_error() {
    let bench = Bench::with_index("l2");
    let args = ["search", "index", "--queries", "rows.fbin", "--k", "100"];
    let mut child = bench.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
}

#[test]
fn wrong_usage_is_wrong_though_nobody_reads_why() {
    let bench = Bench::empty();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = bench.command(&["build", "a", "b", "--metric", "zz"]).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

/// Every command that prints, and help.
#[cfg(target_os = "linux")]
const PRINTING: [&str; 11] = [
    "info index",
    "info index --json",
    "search index --queries queries.fbin",
    "search index --queries queries.fbin --json",
    "bench index --queries queries.fbin --limit-queries 5",
    "verify index",
    "build rows.fbin another --metric l2",
    "truth rows.fbin truth.ibin --queries queries.fbin --metric l2",
    "gen more.fbin --rows 50 --dim 8",
    "--help",
    "--version",
];

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_told() {
    let bench = Bench::with_index("l2");
    for args in PRINTING {
        // No room; closed; open for reading alone.
        for to in [">/dev/full", ">&-", "1</dev/null"] {
            // What the one before has built is there.
            let _ = std::fs::remove_dir_all(bench.path("another"));
            let line = format!("{} --quiet {args} {to}", env!("CARGO_BIN_EXE_vdb"));
            let mut shell = Command::new("sh");
            let output = shell.args(["-c", &line]).current_dir(bench.dir.path()).output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{args} {to}: {stderr}");
            let is_line = stderr.starts_with("vdb: cannot write the output") && stderr.lines().count() == 1;
            assert!(is_line, "{args} {to}: {stderr}");
        }
        let _ = std::fs::remove_dir_all(bench.path("another"));
        let line = format!("{} --quiet {args} | true", env!("CARGO_BIN_EXE_vdb"));
        let output = Command::new("sh").args(["-c", &line]).current_dir(bench.dir.path()).output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{args}, piped to one that leaves");
    }
}
