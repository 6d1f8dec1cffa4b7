//! The rules of the house that no compiler keeps: floors, heads of files, sizes, words, and documents that say
//! what is there.
//!
//! Reads the sources as text. The floors come from the table of ARCHITECTURE.md, so that the page cannot
//! promise another house than the one that stands.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Lines of a Rust file, and columns of a line: rustfmt keeps code at 110, this is for prose and macros.
const FILE_LINES: usize = 600;
const LINE_COLUMNS: usize = 120;
/// Lines of a function, from its name to its brace.
const FUNCTION_LINES: usize = 70;

/// Where `unsafe` may stand: what CONTRIBUTING.md names, and the allocators that count in tests.
const UNSAFE: [&str; 8] = [
    "src/kernels/",
    "src/memory/aligned.rs",
    "src/pool/",
    "src/process/",
    "src/vfs/",
    "src/ffi/",
    "src/format/tests/allocation.rs",
    "tests/limits",
];

/// Hosts that committed text may lead to.
const HOSTS: [&str; 5] =
    ["github.com", "go.dev", "nlp.stanford.edu", "opendatacommons.org", "www.apache.org"];

/// Every text file of the repository, as (path from the root, content).
fn texts() -> Vec<(String, String)> {
    let mut files = Vec::new();
    collect(Path::new(env!("CARGO_MANIFEST_DIR")), "", &mut files);
    assert!(files.len() > 150, "{} files are not the repository", files.len());
    files.sort();
    files
}

fn collect(dir: &Path, prefix: &str, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            // Outputs, and folders of tools: `.git`, editors.
            if name != "target" && name != "build" && (!name.starts_with('.') || name == ".ci")
                || path == "src/build"
            {
                collect(&entry.path(), &format!("{path}/"), files);
            }
        } else if kind.is_file() && name != ".git" {
            if let Ok(text) = fs::read_to_string(entry.path()) {
                files.push((path, text));
            }
        }
    }
}

fn rust() -> Vec<(String, String)> {
    texts().into_iter().filter(|(path, _)| path.ends_with(".rs")).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn exists(path: &str) -> bool {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists()
}

/// The line without its comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Fails with every complaint at once.
fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// Room -> floor, by the table of ARCHITECTURE.md.
fn floors() -> BTreeMap<String, u32> {
    let mut floors = BTreeMap::new();
    for line in read("ARCHITECTURE.md").lines().filter(|line| line.starts_with("| ")) {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let Some(Ok(floor)) = cells.next().map(str::parse::<u32>) else { continue };
        for room in cells.next().unwrap_or_default().split("](src/").skip(1) {
            let room = room.split(')').next().unwrap_or_default().to_owned();
            assert_eq!(floors.insert(room.clone(), floor), None, "{room} is on two floors");
        }
    }
    floors
}

#[test]
fn imports_run_downward() {
    let floors = floors();
    let mut complaints = Vec::new();
    let mut seen = 0;
    for (path, text) in rust() {
        let Some(place) = path.strip_prefix("src/").filter(|place| place.contains('/')) else { continue };
        let room = place.split('/').next().unwrap_or_default();
        let Some(floor) = floors.get(room) else {
            complaints.push(format!("{path}: the room {room} is on no floor of ARCHITECTURE.md"));
            continue;
        };
        // Modules between the crate and this file: so many `super` lead out of the room.
        let depth = place.split('/').count() - usize::from(place.ends_with("mod.rs"));
        let out = "super::".repeat(depth);
        for (number, line) in text.lines().enumerate() {
            let line = code(line);
            for (at, _) in line.match_indices("crate::") {
                let name = line[at + 7..].split(|c| !is_word(c)).next().unwrap_or_default();
                let below = floors.get(name).is_some_and(|target| target < floor);
                seen += 1;
                if name != room && !below {
                    complaints.push(format!("{path}:{}: {room} must not know {name:?}", number + 1));
                }
            }
            if line.contains("crate::{") || line.contains(&out) && !line.starts_with(' ') {
                complaints.push(format!("{path}:{}: name the room: use crate::room::...", number + 1));
            }
        }
    }
    assert!(seen > 200, "only {seen} imports were seen");
    none(complaints);
}

#[test]
fn the_rooms_are_those_of_the_page_and_of_the_crate() {
    let floors = floors();
    let lib = read("src/lib.rs");
    let modules: Vec<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(modules, floors.keys().collect::<Vec<_>>());
    let mut folders: Vec<String> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "lib.rs")
        .collect();
    folders.sort();
    assert_eq!(folders, modules);
    // The crate's own words: "`a` -> `b`, `c` -> ...", from the top floor down.
    let words = lib.split("Floors, top to bottom").nth(1).unwrap().split("#!").next().unwrap();
    let floors_told = words.split_once("so):").unwrap().1.split("->");
    let mut standing: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for (room, floor) in &floors {
        standing.entry(*floor).or_default().push(room);
    }
    let standing: Vec<Vec<&str>> = standing.into_values().rev().collect();
    let told: Vec<Vec<&str>> = floors_told
        .map(|floor| {
            let mut rooms: Vec<&str> = floor.split('`').skip(1).step_by(2).collect();
            rooms.sort_unstable();
            rooms
        })
        .collect();
    assert_eq!(told, standing);
}

#[test]
fn every_file_says_what_it_is() {
    let silent = rust().into_iter().filter(|(_, text)| !text.starts_with("//! "));
    none(silent.map(|(path, _)| format!("{path}: opens without `//!`")).collect());
}

#[test]
fn files_functions_and_lines_are_short() {
    let mut complaints = Vec::new();
    for (path, text) in rust() {
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() > FILE_LINES {
            complaints.push(format!("{path}: {} lines; divide it", lines.len()));
        }
        for (number, line) in lines.iter().enumerate() {
            let columns = line.chars().count();
            if columns > LINE_COLUMNS {
                complaints.push(format!("{path}:{}: {columns} columns", number + 1));
            }
            let Some(name) = function_name(line) else { continue };
            let indent = &line[..line.len() - line.trim_start().len()];
            let end = lines[number..].iter().position(|line| {
                line.strip_prefix(indent).is_some_and(|rest| rest == "}" || rest.starts_with("fn "))
                    && *line != lines[number]
            });
            // A body on one line, or a declaration, ends before any brace at its column.
            if line.ends_with(['{', '(', '<']) && end.is_some_and(|end| end + 1 > FUNCTION_LINES) {
                let end = end.unwrap_or_default() + 1;
                complaints.push(format!("{path}:{}: {name} has {end} lines; divide it", number + 1));
            }
        }
    }
    none(complaints);
}

/// The name of the function that begins on this line.
fn function_name(line: &str) -> Option<&str> {
    let (before, after) = code(line).split_once("fn ")?;
    let modifiers = ["pub", "pub(super)", "pub(crate)", "const", "unsafe", "extern", "\"C\""];
    before
        .split_whitespace()
        .all(|word| modifiers.contains(&word))
        .then(|| after.split(|c| !is_word(c)).next().unwrap_or_default())
}

#[test]
fn unsafe_stands_where_it_may() {
    let contributing = read("CONTRIBUTING.md");
    for place in &UNSAFE[..6] {
        let name = place.trim_start_matches("src/").trim_end_matches('/');
        assert!(contributing.contains(&format!("`{name}`")), "CONTRIBUTING.md does not name {name}");
    }
    let word = concat!("un", "safe");
    let mut complaints = Vec::new();
    for (path, text) in rust() {
        // The command and the test data are other crates, which answer for themselves.
        let other = path.starts_with("cli/") || path.starts_with("workload/");
        if other || UNSAFE.iter().any(|place| path.starts_with(place)) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let line = code(line);
            let used = line.match_indices(word).any(|(at, _)| {
                let after = line[at + word.len()..].trim_start();
                ["{", "fn ", "impl ", "extern "].iter().any(|next| after.starts_with(next))
            });
            if used || line.contains(concat!("allow(un", "safe_code)")) {
                complaints.push(format!("{path}:{}: not a room for it: {}", number + 1, line.trim()));
            }
        }
    }
    none(complaints);
}

#[test]
fn committed_text_is_for_its_readers() {
    // In pieces, so that this file may stand too.
    let banned = [
        (concat!("TO", "DO"), "do it, or leave it"),
        (concat!("FIX", "ME"), "mend it"),
        (concat!("XX", "X:"), "say what is wrong"),
        (concat!("HA", "CK:"), "say why it must be so"),
        (concat!("issue", " #"), "say what it said"),
        (concat!("/wor", "k/"), "a path of one machine"),
        (concat!("/ho", "me/"), "a path of one machine"),
        (concat!("/ro", "ot/"), "a path of one machine"),
        (concat!("dbg", "!("), "a trace left behind"),
        (concat!("Co-Auth", "ored"), "the history says who"),
    ];
    let mut complaints = Vec::new();
    for (path, text) in texts() {
        for (number, line) in text.lines().enumerate() {
            let at = || format!("{path}:{}", number + 1);
            for (word, instead) in banned {
                if line.contains(word) {
                    complaints.push(format!("{}: {word:?}: {instead}", at()));
                }
            }
            for (place, _) in line.match_indices("://") {
                let host = line[place + 3..].split(|c: char| !is_word(c) && !".-:".contains(c)).next();
                let scheme = line[..place].ends_with("http") || line[..place].ends_with("https");
                if scheme && !HOSTS.contains(&host.unwrap_or_default().trim_end_matches(['.', ':'])) {
                    complaints.push(format!("{}: {host:?} is no host that readers were promised", at()));
                }
            }
        }
    }
    none(complaints);
}

#[test]
fn dependencies_come_from_the_public_registry_and_are_explained() {
    let lock = read("Cargo.lock");
    let public = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    none(
        lock.lines()
            .filter(|line| line.starts_with("source") && *line != public)
            .map(str::to_owned)
            .collect(),
    );
    let cargo = read("Cargo.toml");
    let list = cargo.split("[dependencies]\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let page = read("ARCHITECTURE.md");
    for name in list.lines().filter_map(|line| line.split(" = ").next()) {
        assert!(page.contains(&format!("| `{name}` |")), "ARCHITECTURE.md does not say why {name} is there");
    }
}

#[test]
fn every_invariant_has_a_test_that_is_there() {
    let page = read("ARCHITECTURE.md");
    let section = page.split("## Invariants").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut items: Vec<String> = Vec::new();
    for line in section.lines().skip(1) {
        if line.starts_with(|c: char| c.is_ascii_digit()) {
            items.push(String::new());
        }
        if let Some(item) = items.last_mut() {
            item.push_str(line);
        }
    }
    assert!(items.len() >= 10, "{items:?}");
    let mut complaints = Vec::new();
    for item in items {
        let named: Vec<&str> = item.split('`').skip(1).step_by(2).collect();
        let places: Vec<&str> =
            named.iter().copied().filter(|name| name.contains('/') || name.contains('.')).collect();
        if places.is_empty() {
            complaints.push(format!("names no test: {item}"));
        }
        complaints.extend(
            places.iter().filter(|place| !exists(place)).map(|place| format!("{place} is not there")),
        );
        // A bare name in backticks is a test of one of those files.
        for name in named.iter().filter(|name| name.contains('_') && name.chars().all(is_word)) {
            let told = places.iter().filter(|place| exists(place) && place.ends_with(".rs"));
            if !told.clone().any(|place| read(place).contains(&format!("fn {name}("))) {
                complaints.push(format!("{name} is no test of {places:?}"));
            }
        }
    }
    none(complaints);
}

#[test]
fn links_and_targets_lead_somewhere() {
    let mut complaints = Vec::new();
    for (path, text) in texts().into_iter().filter(|(path, _)| path.ends_with(".md")) {
        let folder = path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if !file.is_empty() && !link.contains("://") && !exists(&format!("{folder}{file}")) {
                complaints.push(format!("{path}: {link} leads nowhere"));
            }
        }
    }
    let makefile = read("Makefile");
    let phony = makefile.replace("\\\n", " ");
    let phony = phony.lines().find_map(|line| line.strip_prefix(".PHONY:")).unwrap();
    for target in phony.split_whitespace() {
        if !makefile.lines().any(|line| line.starts_with(&format!("{target}:"))) {
            complaints.push(format!("Makefile: {target} has no rule"));
        }
    }
    none(complaints);
}

#[test]
fn every_module_of_tests_is_run() {
    let main = read("tests/it/main.rs");
    for (path, _) in rust() {
        let Some(name) = path.strip_prefix("tests/it/").and_then(|name| name.strip_suffix(".rs")) else {
            continue;
        };
        let known = name == "main" || name.contains('/') || main.contains(&format!("mod {name};"));
        assert!(known, "{path} is not named in tests/it/main.rs");
    }
}
