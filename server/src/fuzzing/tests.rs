//! Every input that is kept, through the function that it is for.

use super::TARGETS;
use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(name)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn replay(name: &str) {
    let (_, target) = TARGETS.iter().find(|(target, _)| *target == name).unwrap();
    let seeds = folder("seeds").join(name);
    let inputs = names(&seeds);
    assert!(!inputs.is_empty());
    for input in inputs {
        println!("{input}");
        target(&std::fs::read(seeds.join(input)).unwrap());
    }
    // What every fuzzer begins with.
    target(b"");
}

macro_rules! replayed {
    ($($target:ident)*) => {
        $(#[test] fn $target() { replay(stringify!($target)); })*
        const REPLAYED: &[&str] = &[$(stringify!($target)),*];
    };
}

replayed!(files images messages modules options peers proposals records replies requests users);

/// An input for each kind of bytes, made by what writes them.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    [
        crate::cli::fuzzing::seeds(),
        crate::dispatch::acl::fuzzing::seeds(),
        crate::guest::fuzzing::seeds(),
        crate::machine::fuzzing::seeds(),
        crate::net::peer::fuzzing::seeds(),
        crate::raft::fuzzing::seeds(),
        crate::redis::fuzzing::seeds(),
        crate::storage::fuzzing::seeds(),
        super::vocabulary::seeds(),
    ]
    .concat()
}

/// A seed that is out of date teaches a fuzzer nothing; `UHAHA_WRITE_SEEDS=1` writes them.
#[test]
fn seeds_are_what_is_written_today() {
    for (name, bytes) in seeds() {
        let path = folder("seeds").join(name);
        if std::env::var_os("UHAHA_WRITE_SEEDS").is_some() {
            std::fs::write(&path, &bytes).unwrap();
        }
        assert!(std::fs::read(&path).is_ok_and(|kept| kept == bytes), "{name}");
    }
}

#[test]
fn a_target_is_fuzzed_and_replayed() {
    let known = TARGETS.map(|(name, _)| name);
    assert_eq!(REPLAYED, known);
    assert_eq!(names(&folder("seeds")), known);
    assert_eq!(names(&folder("fuzz_targets")), known.map(|name| format!("{name}.rs")));
}
