//! The rules of CONTRIBUTING.md that a machine can keep: layers, one dependency in one folder, module docs, sizes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each folder or root file of the server, and what it may import besides the vocabulary and itself.
const LAYERS: [(&str, &[&str]); 19] = [
    ("main", &["cli", "config", "dispatch::acl", "export", "inspect", "node", "replay", "telemetry"]),
    ("lib", &[]),
    ("fuzzing", &["cli", "dispatch", "guest", "machine", "net", "raft", "redis", "storage"]),
    ("export", &["guest", "module", "replay", "storage"]),
    ("replay", &["guest", "machine", "module", "storage"]),
    ("inspect", &["dispatch", "guest", "module"]),
    ("node", &["config", "dispatch", "guest", "machine", "net", "raft", "redis", "storage", "time"]),
    ("cli", &["config", "dispatch", "module", "net", "telemetry"]),
    ("config", &["cli", "dispatch", "module", "net", "telemetry", "time"]),
    ("telemetry", &[]),
    ("module", &[]),
    ("redis", &["dispatch", "net"]),
    ("dispatch", &["raft", "machine", "guest::spec", "storage::snapshots"]),
    ("raft", &["machine", "storage", "net", "time"]),
    ("machine", &["guest", "storage::snapshots"]),
    ("guest", &[]),
    ("storage", &[]),
    ("net", &[]),
    ("time", &[]),
];

/// What every layer shares, from the bottom up: each may import those before it.
const VOCABULARY: [&str; 13] = [
    "fault",
    "pace",
    "undelivered",
    "seldom",
    "digest",
    "command",
    "resp3",
    "reply",
    "replies",
    "native",
    "settings",
    "proposal",
    "type_config",
];

/// Crates that only these places may name.
const HOMES: [(&str, &[&str]); 17] = [
    ("wasmtime", &["guest"]),
    ("wasmtime_wasi", &["guest"]),
    ("wit_component", &["guest"]),
    ("rustc_demangle", &["guest"]),
    ("serde_json", &["main"]),
    ("redb", &["storage"]),
    ("openraft", &["raft", "storage", "machine", "type_config"]),
    ("redis_protocol", &["redis"]),
    ("clap", &["cli", "telemetry"]),
    ("hmac", &["net"]),
    ("argon2", &["dispatch"]),
    ("rustls", &["net"]),
    ("tokio_rustls", &["net"]),
    ("rsntp", &["time"]),
    ("libc", &["guest", "time"]),
    ("lz4_flex", &["machine"]),
    ("xxhash_rust", &["machine"]),
];

const LINES_MAX: usize = 600;

/// A source file and the layer that it belongs to.
struct Source {
    path: PathBuf,
    layer: String,
    text: String,
}

impl Source {
    /// The code without its comments and without what is compiled for tests only.
    fn code(&self) -> String {
        let end = self.text.find("#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        let lines = self.text[..end].lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// What `crate::fuzzing` offers to be fuzzed, with the help that it gives.
    fn is_fuzzed(&self) -> bool {
        self.path.ends_with("fuzzing.rs")
    }

    fn is_test(&self) -> bool {
        let path = self.path.to_string_lossy();
        path.contains("/tests/") || path.ends_with("/tests.rs") || path.ends_with("/testing.rs")
    }
}

fn server() -> Vec<Source> {
    let root = uhaha_tests::root().join("server/src");
    let mut sources = Vec::new();
    for path in rust_files(&root) {
        let first = path.strip_prefix(&root).unwrap().components().next().unwrap();
        let layer = first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(&path).unwrap();
        sources.push(Source { path, layer, text });
    }
    assert!(sources.len() > 50, "the sources are where they are looked for");
    sources
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The paths after `crate::` (or the library's name) in `code`, up to two segments.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for start in ["crate::", "uhaha_server::"] {
        for (at, _) in code.match_indices(start) {
            let rest = &code[at + start.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                let group = &group[..group.find('}').unwrap_or(group.len())];
                found.extend(group.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()));
                continue;
            }
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
            let segments: Vec<&str> = rest[..end].split("::").filter(|segment| !segment.is_empty()).collect();
            found.insert(segments[..segments.len().min(2)].join("::"));
        }
    }
    found
}

fn within(import: &str, allowed: &str) -> bool {
    import == allowed || import.strip_prefix(allowed).is_some_and(|rest| rest.starts_with("::"))
}

#[test]
fn imports_point_down() {
    let mut wrong = Vec::new();
    for source in server().iter().filter(|source| !source.is_test()) {
        let allowed: Vec<&str> = match VOCABULARY.iter().position(|word| *word == source.layer) {
            Some(position) => VOCABULARY[..position].to_vec(),
            None => {
                let layer = LAYERS.iter().find(|(layer, _)| *layer == source.layer);
                let (_, below) = layer.unwrap_or_else(|| panic!("{}: a layer that tidy does not know", source.layer));
                VOCABULARY.iter().chain(below.iter()).copied().collect()
            }
        };
        for import in imports(&source.code()) {
            let own = within(&import, &source.layer) || (source.is_fuzzed() && within(&import, "fuzzing"));
            if !own && !allowed.iter().any(|allowed| within(&import, allowed)) {
                wrong.push(format!("{}: {} may not import {import}", source.path.display(), source.layer));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_dependency_has_one_home() {
    let mut wrong = Vec::new();
    for source in server().iter().filter(|source| !source.is_test()) {
        let code = source.code();
        for (dependency, homes) in HOMES {
            let named = code.contains(&format!("{dependency}::")) || code.contains(&format!("use {dependency};"));
            if named && !homes.contains(&&*source.layer) {
                wrong.push(format!("{}: only {homes:?} may name {dependency}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_and_holds_one_idea() {
    let root = uhaha_tests::root();
    let mut wrong = Vec::new();
    for folder in ["server/src", "guest-sdk/rust", "xtask/src", "tests", "examples", "fuzz"] {
        for path in rust_files(&root.join(folder)) {
            let text = fs::read_to_string(&path).unwrap();
            let is_unit_test = path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests");
            if !is_unit_test && !text.starts_with("//!") {
                wrong.push(format!("{}: begins without a module comment", path.display()));
            }
            if text.lines().count() > LINES_MAX {
                wrong.push(format!("{}: more than {LINES_MAX} lines", path.display()));
            }
            // Spelled apart, or this file would find itself.
            for mark in
                [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("#[ig", "nore"), concat!("unimpl", "emented!")]
            {
                // Figures are taken by a task that a person starts.
                let is_figure = path.starts_with(root.join("tests/figures")) && mark.starts_with("#[");
                if text.contains(mark) && !is_figure {
                    wrong.push(format!("{}: {mark}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A file that needs `unsafe` says why at its top, and these are all.
#[test]
fn unsafe_code_is_where_it_is_expected() {
    let root = uhaha_tests::root();
    let with: BTreeSet<String> = ["server/src", "tests/simulation/src"]
        .iter()
        .flat_map(|folder| rust_files(&root.join(folder)))
        .filter(|path| fs::read_to_string(path).unwrap().contains("expect(unsafe_code"))
        .map(|path| path.strip_prefix(&root).unwrap().display().to_string())
        .collect();
    assert_eq!(
        with.iter().map(String::as_str).collect::<Vec<_>>(),
        [
            "server/src/guest/barrier.rs",
            "server/src/guest/cache.rs",
            "server/src/guest/detached.rs",
            "server/src/guest/memory.rs",
            "server/src/guest/tracking.rs",
            "server/src/guest/view.rs",
            "server/src/time/kernel.rs",
            "tests/simulation/src/os/mod.rs",
        ]
    );
}
