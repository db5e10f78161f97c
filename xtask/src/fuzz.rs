//! `cargo xtask fuzz`: builds the fuzz targets with what libFuzzer needs to see its way, and runs them.
//!
//! Coverage counters are a pass of LLVM that a stable rustc runs too, so neither nightly nor cargo-fuzz is needed. Only
//! our own code gets counters: with them everywhere, as by RUSTFLAGS, all dependencies would be built once more, the
//! compiler of guests would be slow, and what it does would count as news. So this program is the `RUSTC_WRAPPER` of
//! that build. The profile of the fuzz crate has our code built otherwise than the server's workspace does, so that code
//! with counters is never taken for code without.

use anyhow::{Context as _, Result, bail, ensure};
use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const USAGE: &str = "\
Usage: cargo xtask fuzz [TARGET] [--minutes M] [--jobs N] [--corpus DIR] [--address]

Without a TARGET, all of them one after the other.
  --minutes M   how long each is run; 10 if nothing is said
  --jobs N      processes at a time; 1 if nothing is said
  --corpus DIR  where inputs are kept from run to run, in DIR/TARGET; fuzz/corpus if nothing is said
  --address     with AddressSanitizer, which takes a nightly toolchain";

/// Set for the build that this program is the wrapper of; its value is what else to tell rustc, or nothing.
const WRAPPING: &str = "UHAHA_FUZZ_WRAPPING";
/// Packages whose code gets counters.
const INSTRUMENTED: [&str; 2] = ["uhaha-server", "uhaha-fuzz"];
/// Those that cargo-fuzz gives too.
const COVERAGE: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    // A linker may drop the counters of a section that nothing names.
    "-Clink-dead-code",
];
/// An input that takes longer is a finding.
const INPUT_SECONDS_MAX: u32 = 20;
/// A process that grows beyond is a finding.
const MEMORY_MIB_MAX: u32 = 3072;

struct Options {
    target: Option<String>,
    minutes: u64,
    jobs: u32,
    corpus: PathBuf,
    address: bool,
}

/// `cargo xtask fuzz …`
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let fuzz = crate::guests::root().join("fuzz");
    let Some(options) = options(words, &fuzz)? else {
        println!("{USAGE}");
        return Ok(());
    };
    let known = targets(&fuzz)?;
    let chosen: Vec<&String> = match &options.target {
        None => known.iter().collect(),
        Some(name) => known.iter().filter(|target| *target == name).collect(),
    };
    ensure!(!chosen.is_empty(), "there are these targets: {}", known.join(", "));
    for target in chosen {
        let program = build(&fuzz, target, options.address)?;
        fuzz_one(&fuzz, &program, target, &options)?;
    }
    Ok(())
}

fn options(words: &[&str], fuzz: &Path) -> Result<Option<Options>> {
    let mut options = Options { target: None, minutes: 10, jobs: 1, corpus: fuzz.join("corpus"), address: false };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} wants a value"));
        match *word {
            "--minutes" => {
                options.minutes = value()?.parse()?;
                ensure!(options.minutes > 0, "libFuzzer takes no time for all the time that there is");
            }
            "--jobs" => options.jobs = value()?.parse()?,
            "--corpus" => options.corpus = value()?.into(),
            "--address" => options.address = true,
            "-h" | "--help" => return Ok(None),
            name if !name.starts_with('-') && options.target.is_none() => options.target = Some(name.to_owned()),
            other => bail!("what is {other}?\n\n{USAGE}"),
        }
    }
    Ok(Some(options))
}

/// By the names of their files.
fn targets(fuzz: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(fuzz.join("fuzz_targets"))? {
        let path = entry?.path();
        found.extend(path.file_stem().and_then(OsStr::to_str).map(str::to_owned));
    }
    found.sort();
    Ok(found)
}

/// Builds one target beside the server, whose dependencies it shares, and says where it is.
fn build(fuzz: &Path, target: &str, address: bool) -> Result<PathBuf> {
    let target_dir = crate::guests::root().join("target");
    let mut cargo = crate::cargo::command();
    if address {
        ensure!(has_nightly(), "AddressSanitizer takes a nightly toolchain: rustup toolchain install nightly");
        cargo.arg("+nightly");
    }
    cargo
        .args(["build", "--locked", "--bin", target, "--target-dir"])
        .arg(&target_dir)
        .current_dir(fuzz)
        .env("RUSTC_WRAPPER", env::current_exe()?)
        .env(WRAPPING, if address { "-Zsanitizer=address" } else { "" });
    if target == "modules" {
        cargo.args(["--features", target]);
    }
    ensure!(cargo.status()?.success(), "the target {target} does not build");
    Ok(target_dir.join("debug").join(target))
}

fn has_nightly() -> bool {
    let listed = Command::new("rustup").args(["toolchain", "list"]).output();
    listed.is_ok_and(|output| output.stdout.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"nightly")))
}

fn fuzz_one(fuzz: &Path, program: &Path, target: &str, options: &Options) -> Result<()> {
    let corpus = options.corpus.join(target);
    let artifacts = fuzz.join("artifacts").join(target);
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&artifacts)?;
    let mut run = Command::new(program);
    run.arg(&corpus)
        .arg(fuzz.join("seeds").join(target))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-max_total_time={}", options.minutes * 60))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .arg("-print_final_stats=1");
    let dictionary = fuzz.join("dictionaries").join(target);
    if dictionary.exists() {
        run.arg(format!("-dict={}", dictionary.display()));
    }
    if options.jobs > 1 {
        run.arg(format!("-fork={}", options.jobs));
    }
    println!("── {target}");
    let status = run.status()?;
    ensure!(status.success(), "{target}: a finding, or {status}; the input is in {}", artifacts.display());
    Ok(())
}

/// Whether cargo has started this program in the place of rustc.
pub(crate) fn is_wrapping() -> bool {
    env::var_os(WRAPPING).is_some()
}

/// Runs rustc, whose path comes first, as cargo wants it, and with counters for the packages that get them.
pub(crate) fn wrap(words: &[&str]) -> Result<()> {
    let (rustc, args) = words.split_first().context("cargo names rustc first")?;
    let mut rustc = Command::new(rustc);
    rustc.args(args);
    if env::var("CARGO_PKG_NAME").is_ok_and(|package| INSTRUMENTED.contains(&&*package)) {
        rustc.args(COVERAGE);
        rustc.args(env::var(WRAPPING).iter().filter(|flag| !flag.is_empty()));
    }
    Err(rustc.exec()).context("rustc does not start")
}
