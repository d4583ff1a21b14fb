//! The shape of the source tree: who may import whom, which crate stays where, how long a file may be, and that the
//! documents speak of things that exist. Each rule has a negative control: a planted violation that it must catch.

#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]

#[path = "architecture/documents.rs"]
mod documents;
#[path = "architecture/rules.rs"]
mod rules;
#[path = "architecture/source.rs"]
mod source;

use std::path::{Path, PathBuf};

use source::{Source, tree};

type Rule = fn(&[Source]) -> Vec<String>;

fn holds(rule: Rule) {
    let sources = tree(&root());
    assert!(sources.len() > 30, "only {} sources found: the walk is broken", sources.len());
    none(&rule(&sources));
}

fn none(violations: &[String]) {
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

/// A rule must say nothing about `good` and name the line of the violation in `bad`.
fn catches(rule: Rule, path: &str, good: &str, bad: &str) {
    none(&rule(&[Source::new(path, good)]));
    let violations = rule(&[Source::new(path, &format!("\n{bad}\n"))]);
    assert!(!violations.is_empty(), "not caught in {path}: {bad}");
    assert!(violations[0].starts_with(&format!("src/{path}")), "{violations:?}");
}

/// The repository; cargo names it when it runs a test.
fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn imports_point_downwards() {
    holds(rules::imports);
}

#[test]
fn an_import_that_points_upwards_is_caught() {
    let caught = |path, bad| catches(rules::imports, path, "use crate::{Error, Result};\nuse super::merge;\n", bad);
    caught("record/codec.rs", "use crate::store::Store;");
    caught("record/codec.rs", "use crate::{Error, store::{Store, Batch}};");
    caught("record/codec.rs", "use super::super::clock::now_ms;");
    caught("record/mod.rs", "pub fn f(_: &super::task::TaskView) {}");
    caught("record/codec.rs", "fn f() -> i64 { crate::clock::now_ms() }");
    caught("store/task_store.rs", "use crate::query::Table;");
    caught("index/writer.rs", "use crate::api::ApiState;");
    caught("broker/local/db.rs", "use crate::runtime::Health;");
    caught("task/open.rs", "use crate::query::leaf;");
    caught("query/leaf.rs", "use crate::runtime;");
    caught("api/routes.rs", "use crate::app::App;");
    assert_eq!(rules::imports(&[Source::new("newcomer/mod.rs", "fn f() {}")]).len(), 1, "a module without a place");
    none(&rules::imports(&[Source::new("task/open.rs", "use crate::query::Table; use crate::store::Store;")]));
    none(&rules::imports(&[Source::new(
        "record/codec.rs",
        "// use crate::store::Store;\n#[cfg(test)]\nuse crate::store::Store;",
    )]));
}

#[test]
fn foreign_crates_stay_at_home() {
    holds(rules::crates);
}

#[test]
fn a_foreign_crate_abroad_is_caught() {
    catches(rules::crates, "broker/local.rs", "use rocksdb::DB;", "use rdkafka::ClientConfig;");
    catches(rules::crates, "runtime/mod.rs", "struct Tantivy; fn tantivy() {}", "fn f(_: &rocksdb::DB) {}");
    catches(rules::crates, "store/mod.rs", "use rocksdb::DB;", "use tantivy::Index;");
    catches(rules::crates, "query/mod.rs", "use tantivy::Index;", "use {axum::Router};");
    catches(rules::crates, "store/mod.rs", "", "let n = bincode::encode_to_vec(x, c);");
    catches(rules::crates, "runtime/mod.rs", "", "use axum as web;");
}

#[test]
fn the_stored_form_has_one_home() {
    holds(rules::stored_form);
}

#[test]
fn a_second_home_of_the_stored_form_is_caught() {
    let good = "#[derive(bincode::Encode)] struct A;";
    catches(rules::stored_form, "record/state.rs", good, "bincode::decode_from_slice(b, c)");
    none(&rules::stored_form(&[Source::new("record/codec/bytes.rs", "bincode::decode_from_slice(b, c)")]));
}

#[test]
fn the_wall_clock_has_one_reader() {
    holds(rules::wall_clock);
}

#[test]
fn a_second_reader_of_the_wall_clock_is_caught() {
    let good = "let t = std::time::Instant::now();";
    catches(rules::wall_clock, "runtime/mod.rs", good, "let t = std::time::SystemTime::now();");
    catches(rules::wall_clock, "query/dates.rs", good, "let t = jiff::Timestamp::now();");
    none(&rules::wall_clock(&[Source::new("clock.rs", "std::time::SystemTime::now()")]));
}

#[test]
fn files_are_short() {
    holds(rules::length);
}

#[test]
fn a_long_file_is_caught() {
    let long = "fn f() {}\n".repeat(rules::LONGEST);
    catches(rules::length, "store/mod.rs", &long, &format!("{long}fn g() {{}}"));
    let tested = format!("{long}#[cfg(test)]\nmod tests {{\n{long}}}");
    none(&rules::length(&[Source::new("store/mod.rs", &tested)]));
}

#[test]
fn nothing_panics_on_purpose() {
    holds(rules::panics);
}

#[test]
fn a_panic_is_caught() {
    let good =
        "x.unwrap_or(1); // x.unwrap()\nlet s = \".expect(\";\n#[cfg(test)]\nmod tests { fn f() { x.unwrap() } }";
    catches(rules::panics, "store/mod.rs", good, "let y = x.unwrap();");
    catches(rules::panics, "store/mod.rs", good, "let y = x\n  .expect(\"there\");");
    catches(rules::panics, "store/mod.rs", good, "todo!()");
}

#[test]
fn every_fault_point_stands_once() {
    none(&rules::fault_points(&tree(&root()), keld::fault::POINTS));
}

#[test]
fn a_fault_point_absent_doubled_or_unknown_is_caught() {
    let file = |text| [Source::new("task/commit.rs", text)];
    let points = ["a.1", "a.2"];
    none(&rules::fault_points(&file("fault::point(\"a.1\"); crate::fault::point(\n\"a.2\");"), &points));
    assert_eq!(rules::fault_points(&file("fault::point(\"a.1\");"), &points).len(), 1, "absent");
    assert_eq!(
        rules::fault_points(&file("fault::point(\"a.1\"); fault::point(\"a.2\"); fault::point(\"a.2\");"), &points)
            .len(),
        1
    );
    assert_eq!(
        rules::fault_points(&file("fault::point(\"a.1\"); fault::point(\"a.2\"); fault::point(\"a.3\");"), &points)
            .len(),
        1
    );
    assert_eq!(
        rules::fault_points(&file("fault::point(\"a.1\"); // fault::point(\"a.2\");"), &points).len(),
        1,
        "in a comment"
    );
}

const DOCUMENTS: &[&str] = &["README.md", "CHANGELOG.md", "config/demo/README.md", "benches/RESULTS.md"];

#[test]
fn documents_speak_of_what_exists() {
    let (root, makefile) = (root(), read("Makefile"));
    assert!(documents::targets(&makefile).contains(&"demo") && documents::targets(&makefile).contains(&"test"));
    for name in DOCUMENTS {
        let text = read(name);
        none(&documents::commands(name, &text, &makefile));
        none(&documents::files(name, &text, &root));
    }
}

#[test]
fn a_document_that_speaks_of_nothing_is_caught() {
    let root = root();
    let makefile = "X ?= 1\ndemo: build\n\t@echo test: x\n";
    assert_eq!(documents::targets(makefile), ["demo"]);
    none(&documents::commands("a", "it will make sense: `make demo`, `x  # to make a y`", makefile));
    assert_eq!(documents::commands("a", "`make test`", makefile).len(), 1);
    assert_eq!(documents::commands("a", "```sh\nmake demo\nmake tset\n```", makefile).len(), 1);
    none(&documents::files("a", "`scripts/setup --tests`, `tests/architecture.rs::files_are_short`", &root));
    assert_eq!(documents::files("a", "`scripts/nothing`", &root).len(), 1);
    assert_eq!(documents::files("a", "`tests/architecture.rs::no_such_test`", &root).len(), 1);
}

#[test]
fn no_file_holds_a_path_of_one_machine() {
    let mut looked = 0;
    for name in tracked() {
        if let Ok(text) = std::fs::read_to_string(root().join(&name)) {
            // This file and its neighbours speak of such paths on purpose.
            if !name.starts_with("tests/architecture") {
                none(&documents::machine_paths(&name, &text));
                looked += 1;
            }
        }
    }
    assert!(looked > 20, "looked at {looked} files only");
}

#[test]
fn a_path_of_one_machine_is_caught() {
    none(&documents::machine_paths("a", "see ~/work/x, a/home/b and https://example.org/home/"));
    assert_eq!(documents::machine_paths("a", "in /work/shared").len(), 1);
    assert_eq!(documents::machine_paths("a", "x\n= \"/root/a\"").len(), 1);
}

/// Files of the repository, by walking what is not generated.
fn tracked() -> Vec<String> {
    fn walk(root: &Path, dir: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).expect("folder can be listed").flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if [".git", "target", "state"].contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                walk(root, &path, found);
            } else if let Ok(below) = path.strip_prefix(root) {
                found.push(below.to_string_lossy().into_owned());
            }
        }
    }
    let root = root();
    let mut found = Vec::new();
    walk(&root, &root, &mut found);
    found
}
