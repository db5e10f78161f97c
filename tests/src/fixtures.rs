//! Data directories that servers of this version and of earlier ones have left, in `tests/fixtures/data/VERSION`; those in
//! `0.1-format-2` are of a state of 0.1.0 that had no write-ahead log.
//!
//! `NAME.tar.gz` has the directory `data` and the module file that wrote it, `NAME.facts` what was true of it: a line a
//! fact, `NAME: VALUE`. `cargo xtask fixtures` makes those of this version.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What stands in the archive for `--dir`.
pub const DATA: &str = "data";
/// A single node that was stopped: snapshots of both kinds, a log that is purged, changed settings, digests. Of kvdb.
pub const STOPPED: &str = "stopped";
/// A single node that was killed, with failed commands in its log and no snapshot.
pub const KILLED: &str = "killed";
/// The three members of a cluster, stopped.
pub const CLUSTER: &str = "cluster";

#[derive(Clone, Debug)]
pub struct Fixture {
    pub version: String,
    pub name: String,
    dir: PathBuf,
}

/// Of all versions.
pub fn all() -> Vec<Fixture> {
    let mut found = Vec::new();
    for version in std::fs::read_dir(root()).unwrap() {
        let dir = version.unwrap().path();
        let version = dir.file_name().unwrap().to_str().unwrap().to_owned();
        for file in std::fs::read_dir(&dir).unwrap() {
            let file = file.unwrap().file_name().into_string().unwrap();
            if let Some(name) = file.strip_suffix(".facts") {
                found.push(Fixture { version: version.clone(), name: name.to_owned(), dir: dir.clone() });
            }
        }
    }
    assert!(!found.is_empty(), "the fixtures are where they are looked for");
    found.sort_by(|one, other| (&one.version, &one.name).cmp(&(&other.version, &other.name)));
    found
}

/// Those with this name, of all versions.
pub fn named(name: &str) -> Vec<Fixture> {
    all().into_iter().filter(|fixture| fixture.name == name).collect()
}

fn root() -> PathBuf {
    crate::root().join("tests/fixtures/data")
}

impl Fixture {
    /// One that is to be made.
    pub fn new(version: &str, name: &str) -> Fixture {
        Fixture { dir: root().join(version), version: version.to_owned(), name: name.to_owned() }
    }

    /// Unpacks it into a directory that is there.
    pub fn unpack(&self, to: &Path) {
        tar(Command::new("tar").arg("-xzf").arg(self.path("tar.gz")).arg("-C").arg(to));
    }

    /// Packs all that is in `from`, and writes down the facts.
    pub fn pack(&self, from: &Path, facts: &BTreeMap<String, String>) {
        std::fs::create_dir_all(&self.dir).unwrap();
        // The same files give the same archive.
        let plain = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "-czf"];
        tar(Command::new("tar").args(plain).arg(self.path("tar.gz")).arg("-C").arg(from).arg("."));
        let lines: String = facts.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        std::fs::write(self.path("facts"), lines).unwrap();
    }

    pub fn facts(&self) -> BTreeMap<String, String> {
        let text = std::fs::read_to_string(self.path("facts")).unwrap();
        let fact = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
        text.lines().map(|line| fact(line).unwrap()).collect()
    }

    pub fn path(&self, extension: &str) -> PathBuf {
        self.dir.join(format!("{}.{extension}", self.name))
    }
}

fn tar(command: &mut Command) {
    assert!(command.status().expect("tar is installed").success(), "{command:?} failed");
}

/// The module file in an unpacked fixture.
pub fn module(unpacked: &Path) -> PathBuf {
    let files = std::fs::read_dir(unpacked).unwrap().map(|file| file.unwrap().path());
    let is_module = |file: &PathBuf| file.extension().is_some_and(|kind| kind == "wasm" || kind == "wat");
    files.into_iter().find(is_module).expect("the module is in the archive")
}

/// The directories of the nodes in an unpacked fixture, by their `--id`.
pub fn nodes(unpacked: &Path) -> Vec<PathBuf> {
    let logs = crate::server::files(&unpacked.join(DATA)).into_iter().filter(|file| file.ends_with("log.redb"));
    let mut nodes: Vec<PathBuf> = logs.map(|log| log.parent().unwrap().to_owned()).collect();
    nodes.sort();
    nodes
}
