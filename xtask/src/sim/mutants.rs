//! `--mutation`: a program with one thing broken, and the check that notices.
//!
//! The source is changed in a copy of the repository under `target/mutated`. All changes are made at once, and a variable
//! of the environment says which one counts, so that there is one program to be compiled and not one for each.

use super::mutations::{ALL, EDITS, Mutation, WANTED};
use super::runs::{Program, each};
use super::{Options, one};
use crate::guests;
use anyhow::{Context as _, Result, bail, ensure};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Seeds that are tried if nothing is said; a safety measure that they do not miss is none, or a check is missing.
const SEEDS: u64 = 60;

/// A mutation runs for minutes and is compiled for that: quickly, and in parts of which most stay as they are. What comes
/// from elsewhere is optimized.
const QUICK: [&str; 5] = [
    "profile.release.incremental=true",
    "profile.release.package.uhaha-server.opt-level=1",
    "profile.release.package.uhaha-server.codegen-units=64",
    "profile.release.package.uhaha-simulation.opt-level=1",
    "profile.release.package.uhaha-tests.opt-level=1",
];

/// `cargo xtask sim --mutation NAME`
pub(super) fn run(name: &str, options: &Options) -> Result<()> {
    let chosen: Vec<&Mutation> = ALL.iter().filter(|mutation| name == "all" || mutation.name == name).collect();
    ensure!(!chosen.is_empty(), "there are these mutations: {}", ALL.map(|mutation| mutation.name).join(", "));
    let path = build()?;
    let mut missed = Vec::new();
    for mutation in chosen {
        let mut words = mutation.words.to_vec();
        if mutation.is_asked {
            words.extend(["--mutation", mutation.name]);
        }
        let wanted = (!mutation.is_asked).then_some((WANTED, mutation.name));
        let program = Program { path: &path, words, wanted };
        match options.seed {
            Some(seed) => one(&program, seed, options)?,
            None if caught(mutation, &program, options)? => {}
            None => missed.push(mutation.name),
        }
    }
    ensure!(missed.is_empty(), "no check fired for {}", missed.join(", "));
    Ok(())
}

/// Runs seeds until a check fires, and says so.
fn caught(mutation: &Mutation, program: &Program<'_>, options: &Options) -> Result<bool> {
    let from = options.from.unwrap_or(1);
    let last = from + options.seeds.unwrap_or(SEEDS) - 1;
    let found = Mutex::new((0, None));
    each(program, options, (from, last), None, |outcome| {
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        found.0 += 1;
        if let Some((check, at)) = outcome.violation() {
            found.1 = Some((outcome.seed, check.to_owned(), at.to_owned()));
        }
        found.1.is_none()
    })?;
    let Mutation { name, breaks, .. } = mutation;
    let (tried, row) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    match &row {
        Some((seed, check, at)) => println!("| `{name}` | {breaks} | {seed} | {check} | {at} | {tried} |"),
        None => println!("| `{name}` | {breaks} | none of {tried} | | | {tried} |"),
    }
    Ok(row.is_some())
}

/// The simulation with the server as the edits make it.
fn build() -> Result<PathBuf> {
    let root = guests::root();
    let mutated = root.join("target/mutated");
    let tree = mutated.join("tree");
    copy(&root, &tree)?;
    let target = mutated.join("target");
    let mut cargo = crate::cargo::command();
    cargo.args(["build", "--quiet", "--locked", "--release", "--package", "uhaha-simulation"]);
    for setting in QUICK {
        cargo.args(["--config", setting]);
    }
    cargo.current_dir(&tree).env("CARGO_TARGET_DIR", &target);
    // What the edits leave unused is no news.
    let built = cargo.output()?;
    match built.status.success() {
        true => Ok(target.join("release/uhaha-simulation")),
        false => bail!("it does not build\n{}", String::from_utf8_lossy(&built.stderr)),
    }
}

/// Makes `tree` the repository with the edits. Files that are as they should be stay untouched, for cargo goes by times.
fn copy(root: &Path, tree: &Path) -> Result<()> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("git")?;
    ensure!(listed.status.success(), "git does not list the files of the repository");
    for name in listed.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = str::from_utf8(name)?;
        let (from, to) = (root.join(name), tree.join(name));
        // One that was removed and is still in the index.
        let Ok(metadata) = fs::symlink_metadata(&from) else { continue };
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        if metadata.is_symlink() {
            if !to.is_symlink() {
                symlink(fs::read_link(&from)?, &to)?;
            }
            continue;
        }
        let mut content = fs::read(&from).with_context(|| name.to_owned())?;
        for edit in EDITS.iter().filter(|edit| edit.path() == name) {
            content = edit.apply(&String::from_utf8(content)?)?.into_bytes();
        }
        if !fs::read(&to).is_ok_and(|there| there == content) {
            fs::write(&to, content)?;
        }
    }
    Ok(())
}
