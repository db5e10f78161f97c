//! Runs of the simulation, each in a process of its own, and what they printed.

use super::Options;
use anyhow::{Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A run that takes longer hangs: it computes and no simulated time passes.
const RUN_MAX: Duration = Duration::from_secs(900);

/// What a run printed.
pub(super) struct Outcome {
    pub(super) seed: u64,
    pub(super) passed: bool,
    pub(super) stdout: String,
}

/// What is run with each seed.
pub(super) struct Program<'a> {
    pub(super) path: &'a Path,
    /// Its arguments besides those that follow from the options.
    pub(super) words: Vec<&'a str>,
    /// A variable of its environment.
    pub(super) wanted: Option<(&'a str, &'a str)>,
}

impl Program<'_> {
    pub(super) fn command(&self, seed: u64, options: &Options) -> Command {
        let mut command = Command::new(self.path);
        command.args(["--seed", &seed.to_string()]).args(&self.words).envs(self.wanted);
        if let Some(seconds) = options.seconds {
            command.args(["--seconds", &seconds.to_string()]);
        }
        command
    }
}

/// Runs one seed to its end, or until it hangs.
fn outcome(program: &Program<'_>, seed: u64, options: &Options) -> Result<Outcome> {
    let mut command = program.command(seed, options);
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

/// Runs seeds beside each other until there are no more, the time is over, or `take` has enough.
pub(super) fn each(
    program: &Program<'_>,
    options: &Options,
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
            if !take(outcome(program, seed, options)?) {
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
    pub(super) fn number(&self, what: &str) -> f64 {
        let summary = self.stdout.lines().find(|line| line.starts_with("seed "));
        let before = summary.and_then(|line| line.split(what).next());
        before.and_then(|text| text.split_whitespace().last()).and_then(|word| word.parse().ok()).unwrap_or(0.0)
    }

    /// The check that fired first, and when.
    pub(super) fn violation(&self) -> Option<(&str, &str)> {
        let line = self.stdout.lines().find_map(|line| line.strip_prefix("VIOLATION "))?;
        let (check, rest) = line.split_once(" at ")?;
        Some((check, rest.split_whitespace().next()?))
    }
}
