//! `cargo xtask sim`: many seeds of the simulation, each in a process of its own, and what they found.

use crate::guests;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const USAGE: &str = "\
Usage: cargo xtask sim [OPTIONS]

  --seed S          one seed, with its whole output
  --seeds N         seeds 1 to N (200)
  --from F          begin with seed F instead of 1
  --hours H         go on for so long, however many seeds that are
  --seconds S       simulated seconds of faults in each run (each seed's choice)
  --jobs J          runs at a time (one a core)
  --mutation NAME   break one thing on purpose, and expect that a check fires; all tries each
  --debug           the development build, which is slower and has more assertions";

/// A run that takes longer hangs: it computes and no simulated time passes.
const RUN_MAX: Duration = Duration::from_secs(900);
const MUTATIONS: [&str; 5] = ["nosync", "file-sync", "directory-sync", "open-reads", "lease"];

#[derive(Default)]
struct Options {
    seed: Option<u64>,
    seeds: Option<u64>,
    from: Option<u64>,
    hours: Option<f64>,
    seconds: Option<u64>,
    jobs: Option<usize>,
    mutation: Option<String>,
    debug: bool,
}

/// What a run printed.
struct Outcome {
    seed: u64,
    passed: bool,
    stdout: String,
}

/// What all runs did together.
#[derive(Default)]
struct Total {
    faults: BTreeMap<String, u64>,
    runs: u64,
    operations: u64,
    simulated: f64,
    failures: Vec<Outcome>,
}

pub(crate) fn run(words: &[&str]) -> Result<()> {
    let options = parse(words)?;
    let program = build(options.debug)?;
    match (&options.seed, options.mutation.as_deref()) {
        (Some(seed), _) => one(&program, *seed, &options),
        (None, Some("all")) => MUTATIONS.iter().try_for_each(|mutation| mutate(&program, mutation, &options)),
        (None, Some(mutation)) => mutate(&program, mutation, &options),
        (None, None) => many(&program, &options),
    }
}

fn parse(words: &[&str]) -> Result<Options> {
    let mut options = Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if *word == "--debug" {
            options.debug = true;
            continue;
        }
        let value = words.next().with_context(|| format!("{word} needs a value\n\n{USAGE}"))?;
        let wrong = || format!("{word} {value}: not a number");
        match *word {
            "--seed" => options.seed = Some(value.parse().with_context(wrong)?),
            "--seeds" => options.seeds = Some(value.parse().with_context(wrong)?),
            "--from" => options.from = Some(value.parse().with_context(wrong)?),
            "--hours" => options.hours = Some(value.parse().with_context(wrong)?),
            "--seconds" => options.seconds = Some(value.parse().with_context(wrong)?),
            "--jobs" => options.jobs = Some(value.parse().with_context(wrong)?),
            "--mutation" => options.mutation = Some((*value).to_owned()),
            _ => bail!("{word} is not an option\n\n{USAGE}"),
        }
    }
    Ok(options)
}

/// `UHAHA_SIMULATION_BIN`, or what cargo builds now.
fn build(debug: bool) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("UHAHA_SIMULATION_BIN") {
        return Ok(path.into());
    }
    let mut cargo = crate::cargo::command();
    cargo.args(["build", "--quiet", "--locked", "--bin", "uhaha-simulation"]).current_dir(guests::root());
    let profile = if debug { "debug" } else { "release" };
    // In development with the features of all packages, as the tests are built.
    cargo.args(if debug { &["--workspace"][..] } else { &["--package", "uhaha-simulation", "--release"] });
    if !cargo.status()?.success() {
        bail!("the simulation does not build");
    }
    Ok(guests::root().join("target").join(profile).join("uhaha-simulation"))
}

fn command(program: &Path, seed: u64, options: &Options) -> Command {
    let mut command = Command::new(program);
    command.args(["--seed", &seed.to_string()]);
    if let Some(seconds) = options.seconds {
        command.args(["--seconds", &seconds.to_string()]);
    }
    command
}

fn one(program: &Path, seed: u64, options: &Options) -> Result<()> {
    let mut command = command(program, seed, options);
    if let Some(mutation) = &options.mutation {
        command.args(["--mutation", mutation]);
    }
    if !command.status()?.success() {
        bail!("seed {seed} failed");
    }
    Ok(())
}

/// Runs one seed to its end, or until it hangs.
fn outcome(program: &Path, seed: u64, mutation: Option<&str>, options: &Options) -> Result<Outcome> {
    let mut command = command(program, seed, options);
    if let Some(mutation) = mutation {
        command.args(["--mutation", mutation]);
    }
    let output = tempfile::NamedTempFile::new()?;
    let mut child = command.stdout(output.reopen()?).stderr(Stdio::inherit()).spawn()?;
    let began = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if began.elapsed() > RUN_MAX => {
                child.kill()?;
                child.wait()?;
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let mut stdout = std::fs::read_to_string(output.path())?;
    match status {
        Some(status) if status.code().is_none_or(|code| code > 1) => {
            stdout.push_str(&format!("VIOLATION ended at 0 s: the run ended with {status}\n"));
        }
        Some(_) => {}
        None => stdout.push_str(&format!("VIOLATION hangs at 0 s: no end within {RUN_MAX:?}\n")),
    }
    Ok(Outcome { seed, passed: status.is_some_and(|status| status.success()), stdout })
}

fn many(program: &Path, options: &Options) -> Result<()> {
    let began = Instant::now();
    let from = options.from.unwrap_or(1);
    let until = options.hours.map(|hours| began + Duration::from_secs_f64(hours * 3600.0));
    let last = match (options.seeds, until) {
        (Some(seeds), _) => from + seeds - 1,
        (None, Some(_)) => u64::MAX,
        (None, None) => from + 199,
    };
    let total = Mutex::new(Total::default());
    each(program, options, None, (from, last), until, |outcome| {
        let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
        total.add(outcome);
        total.progress(last - from + 1, began);
        true
    })?;
    let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    total.print(began);
    match total.failures.is_empty() {
        true => Ok(()),
        false => bail!("{} of {} seeds failed", total.failures.len(), total.runs),
    }
}

/// Runs seeds beside each other until there are no more, the time is over, or `take` has enough.
fn each(
    program: &Path,
    options: &Options,
    mutation: Option<&str>,
    (from, last): (u64, u64),
    until: Option<Instant>,
    take: impl Fn(Outcome) -> bool + Sync,
) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (next, enough) = (AtomicU64::new(from), AtomicBool::new(false));
    let worker = || -> Result<()> {
        while !enough.load(Ordering::Relaxed) && until.is_none_or(|until| Instant::now() < until) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > last {
                break;
            }
            if !take(outcome(program, seed, mutation, options)?) {
                enough.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs.unwrap_or(cores)).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a worker panicked")))
    })
}

impl Outcome {
    /// The number before ` what` in the line that sums the run up.
    fn number(&self, what: &str) -> f64 {
        let summary = self.stdout.lines().find(|line| line.starts_with("seed "));
        let before = summary.and_then(|line| line.split(what).next());
        before.and_then(|text| text.split_whitespace().last()).and_then(|word| word.parse().ok()).unwrap_or(0.0)
    }

    /// The check that fired first, and when.
    fn violation(&self) -> Option<(&str, &str)> {
        let line = self.stdout.lines().find_map(|line| line.strip_prefix("VIOLATION "))?;
        let (check, rest) = line.split_once(" at ")?;
        Some((check, rest.split_whitespace().next()?))
    }
}

impl Total {
    fn add(&mut self, outcome: Outcome) {
        self.runs += 1;
        self.operations += outcome.number(" operations") as u64;
        self.simulated += outcome.number(" s simulated");
        for line in outcome.stdout.lines().filter_map(|line| line.strip_prefix("fault ")) {
            if let Some((many, kind)) = line.split_once(' ') {
                *self.faults.entry(kind.to_owned()).or_default() += many.parse::<u64>().unwrap_or(0);
            }
        }
        if !outcome.passed {
            eprintln!("\rseed {} failed: {:?}          ", outcome.seed, outcome.violation());
            self.failures.push(outcome);
        }
    }

    fn progress(&self, of: u64, began: Instant) {
        let faults: u64 = self.faults.iter().filter(|(kind, _)| !kind.starts_with('(')).map(|(_, many)| many).sum();
        let of = if of > 1 << 40 { String::new() } else { format!(" of {of}") };
        eprint!(
            "\r{}{of} seeds, {} failed, {faults} faults, {:.0} s simulated in {:.0} s ",
            self.runs,
            self.failures.len(),
            self.simulated,
            began.elapsed().as_secs_f64()
        );
        // A terminal that takes no progress loses nothing else.
        let _ = std::io::stderr().flush();
    }

    fn print(&self, began: Instant) {
        eprintln!();
        for outcome in &self.failures {
            println!("{}", outcome.stdout);
        }
        for (kind, many) in &self.faults {
            println!("{many:>10}  {kind}");
        }
        println!(
            "{} seeds, {} failed; {} operations, {:.0} s simulated in {:.0} s",
            self.runs,
            self.failures.len(),
            self.operations,
            self.simulated,
            began.elapsed().as_secs_f64()
        );
        for outcome in &self.failures {
            println!("cargo xtask sim --seed {}", outcome.seed);
        }
    }
}

/// Runs seeds until a check fires, which one must.
fn mutate(program: &Path, mutation: &str, options: &Options) -> Result<()> {
    let from = options.from.unwrap_or(1);
    let last = from + options.seeds.unwrap_or(200) - 1;
    let caught = Mutex::new((0, None));
    each(program, options, Some(mutation), (from, last), None, |outcome| {
        let mut caught = caught.lock().unwrap_or_else(PoisonError::into_inner);
        caught.0 += 1;
        if let Some((check, at)) = outcome.violation() {
            caught.1 = Some((outcome.seed, check.to_owned(), at.to_owned()));
        }
        caught.1.is_none()
    })?;
    match caught.into_inner().unwrap_or_else(PoisonError::into_inner) {
        (tried, Some((seed, check, at))) => {
            println!("| {mutation} | {seed} | {check} | {at} s | {tried} |");
            Ok(())
        }
        (tried, None) => bail!("{mutation}: no check fired in {tried} seeds"),
    }
}
