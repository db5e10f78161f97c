//! `cargo xtask sim`: many seeds of the simulation, each in a process of its own, and what they found.

mod mutants;
mod mutations;
mod runs;

use self::runs::{Outcome, Program, each};
use crate::guests;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
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
    if let Some(name) = &options.mutation {
        return mutants::run(name, &options);
    }
    let path = build(options.debug)?;
    let program = Program { path: &path, words: Vec::new(), wanted: None };
    match options.seed {
        Some(seed) => one(&program, seed, &options),
        None => many(&program, &options),
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

fn one(program: &Program<'_>, seed: u64, options: &Options) -> Result<()> {
    match program.command(seed, options).status()?.success() {
        true => Ok(()),
        false => bail!("seed {seed} failed"),
    }
}

fn many(program: &Program<'_>, options: &Options) -> Result<()> {
    let began = Instant::now();
    let from = options.from.unwrap_or(1);
    let until = options.hours.map(|hours| began + Duration::from_secs_f64(hours * 3600.0));
    let last = match (options.seeds, until) {
        (Some(seeds), _) => from + seeds - 1,
        (None, Some(_)) => u64::MAX,
        (None, None) => from + 199,
    };
    let total = Mutex::new(Total::default());
    each(program, options, (from, last), until, |outcome| {
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
