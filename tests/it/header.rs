//! `include/vdb.h` is what cbindgen makes of `src/ffi`, in the order of a manual.
//!
//! cbindgen translates the items; it puts constants first, functions last, and a comment of its own line
//! above each field. Here its output is taken apart again and laid out by topic, in the order of the source,
//! with short comments beside what they belong to. The head of the page comes from `cbindgen.toml`, the
//! version from Cargo.
//!
//! The test fails when the committed header is not what comes out. `VDB_WRITE_HEADER=1` writes it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Files of `src/ffi` in reading order, with the titles of their parts. A type must come before its use.
const TOPICS: [(&str, &str); 12] = [
    ("version", "Version"),
    ("error", "Status and errors"),
    ("pool", "Threads, shared between indexes"),
    ("job", "Long work: cancel, progress, log, limits"),
    ("open", "Open and close"),
    ("search", "Search"),
    ("cursor", "Search that goes on"),
    ("build", "Build"),
    ("vectors", "Vectors and codes"),
    ("inspect", "Look inside"),
    ("cache", "Caches"),
    ("care", "Care"),
];

/// Lines end here.
const WIDTH: usize = 110;

#[test]
fn the_committed_header_is_what_the_source_says() {
    let path = root().join("include/vdb.h");
    let fresh = generate();
    if std::env::var_os("VDB_WRITE_HEADER").is_some() {
        fs::write(&path, &fresh).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let differs = fresh.lines().zip(committed.lines()).position(|(a, b)| a != b);
    assert!(fresh == committed, "include/vdb.h is stale (first at line {differs:?}): run `make header`");
    if let Some(long) = fresh.lines().find(|line| line.chars().count() > WIDTH) {
        panic!("longer than {WIDTH} columns: {long}");
    }
}

#[test]
fn every_item_of_the_header_says_what_it_is() {
    for (name, item) in items() {
        assert!(!item.doc.is_empty(), "{name} has no doc comment");
        for (field, doc) in &item.fields {
            assert!(!doc.is_empty(), "{name}: {field} has no doc comment");
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn source(topic: &str) -> PathBuf {
    root().join("src/ffi").join(topic).with_extension("rs")
}

fn config() -> cbindgen::Config {
    cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap()
}

// ---- what cbindgen says ----

/// One thing of the header.
struct Item {
    doc: Vec<String>,
    /// The declaration in C, on one line; of a struct with fields, its name alone.
    code: String,
    /// Declarations and docs of the fields of a struct.
    fields: Vec<(String, Vec<String>)>,
}

/// All items by name, as cbindgen translates them.
fn items() -> BTreeMap<String, Item> {
    let mut builder = cbindgen::Builder::new().with_config(config());
    for (topic, _) in TOPICS {
        builder = builder.with_src(source(topic));
    }
    let mut text = Vec::new();
    builder.generate().expect("cbindgen cannot read src/ffi").write(&mut text);
    let text = String::from_utf8(text).unwrap();

    let mut items = BTreeMap::new();
    // Only items are followed by an empty line and have a comment or a declaration that names one.
    for block in text.split("\n\n") {
        let lines: Vec<&str> = block.lines().filter(|line| !line.trim().is_empty()).collect();
        let (doc, code) = split_doc(&lines);
        if let Some(name) = code.first().and_then(|line| name_of(line)) {
            let item = match code {
                [one] => Item { doc, code: (*one).to_owned(), fields: Vec::new() },
                [_, fields @ .., _] => Item { doc, code: name.clone(), fields: fields_of(fields) },
                [] => unreachable!("a name has a line"),
            };
            assert!(items.insert(name.clone(), item).is_none(), "{name} is there twice");
        }
    }
    items
}

/// The lines of a comment without their marks, and what follows it.
fn split_doc<'a>(lines: &'a [&'a str]) -> (Vec<String>, &'a [&'a str]) {
    if lines.first().map(|line| line.trim()) != Some("/**") {
        return (Vec::new(), lines);
    }
    let end = lines.iter().position(|line| line.trim() == "*/").expect("an open comment");
    let text = lines[1..end].iter().map(|line| {
        let line = line.trim_start().strip_prefix('*').expect("a line of a comment");
        line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned()
    });
    (text.collect(), &lines[end + 1..])
}

fn fields_of<'a>(mut lines: &'a [&'a str]) -> Vec<(String, Vec<String>)> {
    let mut fields = Vec::new();
    while !lines.is_empty() {
        let (doc, rest) = split_doc(lines);
        let field = rest[0].trim().trim_end_matches(';');
        // A gap that C makes before an aligned field, named in Rust, where it must not be left to chance: in
        // C a field without a name, which takes no part in initialisers.
        let field = if field == "uint32_t gap" { "uint32_t : 32" } else { field };
        fields.push((field.replace("struct vdb_", "vdb_"), doc));
        lines = &rest[1..];
    }
    fields
}

/// The name that a declaration of cbindgen's declares.
fn name_of(line: &str) -> Option<String> {
    let words =
        |text: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned).collect();
    let words: Vec<String> = words(line);
    let ours = |word: &&String| word.starts_with("vdb_") || word.starts_with("VDB_");
    if line.starts_with("#define VDB_H") || line.starts_with("#ifndef") || line.starts_with("#endif") {
        return None;
    }
    let is_type = line.starts_with("typedef") && !line.contains('(') && !line.ends_with('{');
    match is_type {
        true => words.iter().rfind(ours).cloned(),
        // A function's own name stands before the bracket; its return type may be one of ours.
        false if line.contains('(') && !line.starts_with('#') => {
            let inner = if line.starts_with("typedef") { line.split("(*").nth(1)? } else { line };
            let before = inner.split(['(', ')']).next()?;
            before.rsplit([' ', '*']).next().map(str::to_owned)
        }
        false => words.iter().find(ours).cloned(),
    }
}

// ---- what the source says ----

/// Names of the public items of a topic, in order, with the types of constants.
fn names_in_order(topic: &str) -> Vec<(String, Option<String>)> {
    let mut names = Vec::new();
    for line in fs::read_to_string(source(topic)).unwrap().lines() {
        let Some(rest) = line.strip_prefix("pub ") else { continue };
        let rest = rest.trim_start_matches("unsafe ").trim_start_matches("extern \"C\" ");
        let Some((kind, rest)) = rest.split_once(' ') else { continue };
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if ["const", "type", "struct", "fn"].contains(&kind) && name.to_lowercase().starts_with("vdb_") {
            let of = (kind == "const").then(|| rest[name.len() + 2..].split(" =").next().unwrap().to_owned());
            names.push((name, of));
        }
    }
    names
}

/// Whether a constant of this type is unsigned, and 32 bits wide.
fn is_unsigned(of: &str) -> bool {
    let alias = format!("pub type {of} = u32;");
    let declared = |topic| fs::read_to_string(source(topic)).unwrap().contains(&alias);
    of == "u32" || TOPICS.iter().any(|(topic, _)| declared(topic))
}

// ---- the header ----

fn generate() -> String {
    let config = config();
    let mut items = items();
    let mut out = String::new();
    let part = |text: &Option<String>| text.clone().unwrap_or_default().trim().to_owned();
    writeln!(
        out,
        "{}\n#ifndef VDB_H\n#define VDB_H\n\n#include <stddef.h>\n#include <stdint.h>",
        part(&config.header)
    )
    .unwrap();
    writeln!(out, "\n{}\n\n#ifdef __cplusplus\nextern \"C\" {{\n#endif", part(&config.after_includes))
        .unwrap();
    for (topic, title) in TOPICS {
        let rule = "=".repeat(WIDTH - 6);
        writeln!(out, "\n/* {rule} *\n * {title}\n * {rule} */").unwrap();
        if topic == "version" {
            out.push_str(&version_macros());
        }
        write_topic(&mut out, topic, &mut items);
    }
    writeln!(out, "\n#ifdef __cplusplus\n}} /* extern \"C\" */\n#endif\n\n#endif /* VDB_H */").unwrap();
    assert!(items.is_empty(), "in no topic: {:?}", items.keys());
    out
}

fn version_macros() -> String {
    let part = |name, number| format!("#define VDB_VERSION_{name} {number}\n");
    let mut out = String::from("\n/** Version of this header. */\n");
    out += &part("MAJOR", env!("CARGO_PKG_VERSION_MAJOR"));
    out += &part("MINOR", env!("CARGO_PKG_VERSION_MINOR"));
    out += &part("PATCH", env!("CARGO_PKG_VERSION_PATCH"));
    out += "/** The same as one number that can be compared. */\n";
    out += "#define VDB_VERSION \\\n    ";
    out += "((uint32_t)(VDB_VERSION_MAJOR << 16 | VDB_VERSION_MINOR << 8 | VDB_VERSION_PATCH))\n";
    out
}

fn write_topic(out: &mut String, topic: &str, items: &mut BTreeMap<String, Item>) {
    let mut table: Vec<Constant> = Vec::new();
    for (name, constant_of) in names_in_order(topic) {
        let item = items.remove(&name).unwrap_or_else(|| panic!("cbindgen left out {name}"));
        // Constants of one type that follow each other are one table.
        if table.last().is_some_and(|last| constant_of.as_ref() != Some(&last.of)) {
            write_table(out, &mut table);
        }
        match constant_of {
            Some(of) => {
                let value = literal(item.code.splitn(3, ' ').nth(2).unwrap(), &of);
                table.push(Constant { name, of, value, doc: item.doc.join(" ") });
            }
            None => {
                out.push('\n');
                write_doc(out, &item.doc);
                write_declaration(out, &item);
            }
        }
    }
    write_table(out, &mut table);
}

/// A constant of the header.
struct Constant {
    name: String,
    /// Its type in Rust.
    of: String,
    value: String,
    doc: String,
}

/// A value as C should read it: unsigned where it is.
fn literal(value: &str, of: &str) -> String {
    match is_unsigned(of) {
        true if value.starts_with('(') => value.replacen(" <<", "u <<", 1),
        true => format!("{value}u"),
        false => value.to_owned(),
    }
}

fn write_table(out: &mut String, table: &mut Vec<Constant>) {
    let longest = |length: fn(&Constant) -> usize| table.iter().map(length).max().unwrap_or(0);
    let (names, values) = (longest(|constant| constant.name.len()), longest(|constant| constant.value.len()));
    if !table.is_empty() {
        out.push('\n');
    }
    for Constant { name, value, doc, .. } in table.drain(..) {
        let code = format!("#define {name:names$}  {value:>values$}");
        write_beside(out, &code, code.len(), &doc);
    }
}

/// Code with a short comment beside it, which goes on below if it must.
fn write_beside(out: &mut String, code: &str, width: usize, doc: &str) {
    let column = width + 2;
    let mut line = format!("{code:column$}/**<");
    for word in doc.split(' ') {
        if line.chars().count() + 1 + word.chars().count() + 3 > WIDTH {
            writeln!(out, "{line}").unwrap();
            line = " ".repeat(column + 4);
        }
        line = format!("{line} {word}");
    }
    writeln!(out, "{line} */").unwrap();
}

fn write_doc(out: &mut String, doc: &[String]) {
    if let [one] = doc {
        if one.chars().count() + 7 <= WIDTH {
            writeln!(out, "/** {one} */").unwrap();
            return;
        }
    }
    out.push_str("/**\n");
    let mut in_code = false;
    for line in doc {
        if line.starts_with("```") {
            in_code = !in_code;
            continue;
        }
        let indent = if in_code { "    " } else { "" };
        writeln!(out, "{}", format!(" * {indent}{line}").trim_end()).unwrap();
    }
    out.push_str(" */\n");
}

fn write_declaration(out: &mut String, item: &Item) {
    if !item.fields.is_empty() {
        let name = &item.code;
        writeln!(out, "typedef struct {name} {{").unwrap();
        let width = item.fields.iter().map(|(field, _)| field.len()).max().unwrap_or(0) + 5;
        for (field, doc) in &item.fields {
            write_beside(out, &format!("    {field};"), width, &doc.join(" "));
        }
        writeln!(out, "}} {name};").unwrap();
        return;
    }
    // A function: parameters fill the line, and go on below the first.
    let code = match item.code.starts_with("typedef struct") {
        true => item.code.clone(),
        false => item.code.replace("struct vdb_", "vdb_"),
    };
    let open = code.rfind('(').filter(|_| code.ends_with(");")).map_or(0, |at| at + 1);
    let mut line = code[..open].to_owned();
    for (nth, parameter) in code[open..].split(", ").enumerate() {
        let parameter = if nth == 0 { parameter.to_owned() } else { format!(" {parameter}") };
        if line.len() + parameter.len() + 1 > WIDTH {
            writeln!(out, "{line}").unwrap();
            line = " ".repeat(open) + parameter.trim_start();
        } else {
            line += &parameter;
        }
        if !line.ends_with(';') {
            line.push(',');
        }
    }
    writeln!(out, "{line}").unwrap();
}

#[test]
fn sources_of_the_header_are_all_named() {
    let internal = ["arg", "guard", "mod"];
    let mut files: Vec<String> = fs::read_dir(root().join("src/ffi"))
        .unwrap()
        .map(|entry| {
            Path::new(&entry.unwrap().file_name()).file_stem().unwrap().to_string_lossy().into_owned()
        })
        .filter(|name| !internal.contains(&name.as_str()))
        .collect();
    let mut topics: Vec<String> = TOPICS.iter().map(|(topic, _)| (*topic).to_owned()).collect();
    files.sort();
    topics.sort();
    assert_eq!(files, topics);
}
