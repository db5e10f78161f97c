//! Every input that is kept, and some that are almost the same, through the function that it is for.
#![expect(clippy::print_stdout, reason = "shown only if the test fails")]

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

/// Changed inputs for each that is kept.
const ROUNDS: u64 = 200;
/// For those that run a guest or read a long help text.
const SLOW: [(&str, u64); 3] = [("images", 20), ("modules", 5), ("options", 5)];
/// Another number of rounds, for more than a test has time for.
const ROUNDS_VARIABLE: &str = "UHAHA_FUZZ_ROUNDS";

fn rounds(name: &str) -> u64 {
    let slow = SLOW.iter().find(|(slow, _)| *slow == name).map(|(_, rounds)| *rounds);
    let wanted = std::env::var(ROUNDS_VARIABLE).ok().map(|rounds| rounds.parse().unwrap());
    wanted.or(slow).unwrap_or(ROUNDS)
}

/// The input with one to four changes; the same ones in every run.
fn changed(input: &[u8], round: u64) -> Vec<u8> {
    let mut state = round;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound.max(1)
    };
    let mut bytes = input.to_vec();
    for _ in 0..=below(4) {
        let at = below(bytes.len());
        let end = (at + below(16)).min(bytes.len());
        match below(6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << below(8),
            1 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'9'][below(6)],
            2 => drop(bytes.drain(at..end)),
            3 => bytes.truncate(at),
            4 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => bytes.insert(at, below(256) as u8),
        }
    }
    bytes
}

/// Tells what broke the target.
struct Told<'a>(&'a [u8]);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.0.escape_ascii());
        }
    }
}

fn replay(name: &str) {
    let (_, target) = TARGETS.iter().find(|(target, _)| *target == name).unwrap();
    let seeds = folder("seeds").join(name);
    let inputs = names(&seeds);
    assert!(!inputs.is_empty());
    for input in inputs {
        println!("{input}");
        let bytes = std::fs::read(seeds.join(input)).unwrap();
        target(&bytes);
        for round in 0..rounds(name) {
            let changed = changed(&bytes, round);
            let told = Told(&changed);
            target(&changed);
            drop(told);
        }
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
