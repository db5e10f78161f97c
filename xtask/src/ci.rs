//! Everything a change must pass, in the order in which it is cheapest to fail. `.ci/run` calls it, and so should you.

use crate::{clients, guests};
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// `cargo xtask ci`
pub(crate) fn run() -> Result<()> {
    let began = Instant::now();
    let mut steps = Steps::default();
    let root = guests::root();
    let examples = root.join("examples");
    let bad_guests = root.join("tests/guests/rust");
    let fuzz = root.join("fuzz");
    let cargo = |dir: &Path, args: &[&str]| {
        let mut cargo = crate::cargo::command();
        cargo.args(args).current_dir(dir);
        cargo
    };
    steps.run("format", &mut cargo(&root, &["fmt", "--all", "--check"]))?;
    steps.run("format of the examples", &mut cargo(&examples, &["fmt", "--all", "--check"]))?;
    steps.run("format of the bad guests", &mut cargo(&bad_guests, &["fmt", "--all", "--check"]))?;
    steps.run("format of the fuzz targets", &mut cargo(&fuzz, &["fmt", "--all", "--check"]))?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    steps.run("clippy", &mut cargo(&root, &clippy))?;
    let figures = ["clippy", "--package", "uhaha-server", "--features", "figures", "--benches", "--locked", "--"];
    steps.run("clippy of the figures", cargo(&root, &figures).args(["-D", "warnings"]))?;
    steps.run("clippy of the examples", &mut cargo(&examples, &clippy))?;
    steps.run("clippy of the bad guests", &mut cargo(&bad_guests, &clippy))?;
    // Beside the server, whose dependencies they share, and without libFuzzer, which is C++.
    let clippy = ["clippy", "--all-targets", "--no-default-features", "--locked", "--target-dir", "../target"];
    steps.run("clippy of the fuzz targets", cargo(&fuzz, &clippy).args(["--", "-D", "warnings"]))?;
    let fresh = steps.time("guests from source", guests::build_fresh)?;
    steps.time("client libraries", clients::install)?;
    steps.time("guest in JavaScript", guests::javascript)?;
    steps.run("server", &mut cargo(&root, &["build", "--locked", "--package", "uhaha-server"]))?;
    steps.run("tests", &mut cargo(&root, &["nextest", "run", "--workspace", "--locked"]))?;
    steps.run("tests of the examples", &mut cargo(&examples, &["test", "--workspace", "--locked", "--quiet"]))?;
    steps.run("doc tests", &mut cargo(&root, &["test", "--doc", "--workspace", "--locked", "--quiet"]))?;
    let conformance = ["nextest", "run", "--package", "uhaha-tests", "--test", "e2e", "--locked", "-E", EXAMPLES];
    steps.run("guests from source, served", cargo(&root, &conformance).env("UHAHA_TEST_GUESTS", &fresh))?;
    let mut doc = cargo(&root, &["doc", "--workspace", "--no-deps", "--document-private-items", "--locked", "--quiet"]);
    steps.run("documentation", doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    if installed("cargo-deny") {
        let deny = ["deny", "check", "licenses", "bans", "sources"];
        steps.run("licences and advisories", &mut cargo(&root, &deny))?;
        steps.run("licences of the fuzz targets", &mut cargo(&fuzz, &deny))?;
    } else {
        println!("── licences: left out, cargo-deny is not installed (cargo install cargo-deny)");
    }
    steps.print();
    println!("all passed in {}", shown(began.elapsed()));
    Ok(())
}

/// The tests whose guests can be replaced by freshly built ones.
const EXAMPLES: &str = "test(single_node)";

/// What ran, and how long it took.
#[derive(Default)]
struct Steps(Vec<(String, Duration)>);

impl Steps {
    fn run(&mut self, name: &str, command: &mut Command) -> Result<()> {
        self.time(name, || {
            if !command.status()?.success() {
                bail!("{name}: failed; alone: {}", typed(command));
            }
            Ok(())
        })
    }

    fn time<T>(&mut self, name: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("── {name}");
        let began = Instant::now();
        let done = step()?;
        self.0.push((name.to_owned(), began.elapsed()));
        println!("── {name}: passed in {}", shown(began.elapsed()));
        Ok(done)
    }

    fn print(&self) {
        println!("──");
        for (name, elapsed) in &self.0 {
            println!("{:>8}  {name}", shown(*elapsed));
        }
    }
}

fn shown(elapsed: Duration) -> String {
    format!("{:.1} s", elapsed.as_secs_f64())
}

/// The command as a person would type it.
fn typed(command: &Command) -> String {
    let words = command.get_args().map(|arg| arg.to_string_lossy());
    std::iter::once("cargo".into()).chain(words).collect::<Vec<_>>().join(" ")
}

fn installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}
