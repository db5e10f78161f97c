//! `cargo xtask bench`: the server beside redis-server, on one machine, one disk and with one promise, that an answered
//! write is on disk. Both are driven by redis-benchmark, in turns, so that what else the machine does meets both.

mod load;
mod machine;
mod process;
mod resp;
mod restart;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context as _, Result, bail, ensure};

use load::{Cell, Load, Measured};
use process::Server;
use resp::Client;

const USAGE: &str = "\
Usage: cargo xtask bench [options]

Measures the server beside redis-server (appendonly yes, appendfsync always) and prints Markdown tables.

  --server PATH   the server to measure [default: builds the release profile]
  --rounds N      how often each cell is measured; medians are printed [default: 3]
  --quick         one shorter round and fewer keys, to see whether it works
  --only PART     ticket, set, get or restart
  --help          this";

const CELLS: [Cell; 6] =
    [Cell::new(1, 1), Cell::new(1, 64), Cell::new(50, 1), Cell::new(50, 16), Cell::new(50, 64), Cell::new(256, 1)];
/// How many keys SET and GET draw from.
const KEYS: u32 = 100_000;
const ROUNDS_MAX: usize = 1000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Ticket,
    Set,
    Get,
    Restart,
}

impl Part {
    const ALL: [Part; 4] = [Part::Ticket, Part::Set, Part::Get, Part::Restart];

    fn name(self) -> &'static str {
        match self {
            Part::Ticket => "ticket",
            Part::Set => "set",
            Part::Get => "get",
            Part::Restart => "restart",
        }
    }
}

struct Options {
    server: Option<PathBuf>,
    rounds: usize,
    quick: bool,
    only: Option<Part>,
}

impl Options {
    /// `None` if help was asked for.
    fn parse(args: &[&str]) -> Result<Option<Options>> {
        let mut options = Options { server: None, rounds: 3, quick: false, only: None };
        let mut rounds = None;
        let mut args = args.iter().copied();
        while let Some(arg) = args.next() {
            let (name, value) = match arg.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value)),
                _ => (arg, None),
            };
            let mut value = || value.or_else(|| args.next()).with_context(|| format!("{name} needs a value"));
            match name {
                "--server" => options.server = Some(PathBuf::from(value()?)),
                "--rounds" => {
                    let count = value()?.parse().ok().filter(|count| (1..=ROUNDS_MAX).contains(count));
                    rounds = Some(count.with_context(|| format!("--rounds is a count from 1 to {ROUNDS_MAX}"))?);
                }
                "--quick" => options.quick = true,
                "--only" => {
                    let value = value()?;
                    let part = Part::ALL.into_iter().find(|part| part.name() == value);
                    options.only = Some(part.context("--only is ticket, set, get or restart")?);
                }
                "-h" | "--help" => return Ok(None),
                _ => bail!("no such option: {arg}\n\n{USAGE}"),
            }
        }
        options.rounds = rounds.unwrap_or(if options.quick { 1 } else { options.rounds });
        Ok(Some(options))
    }

    /// How long one run should take. Less says little: connecting and the first syncs weigh too much.
    fn run_time(&self) -> Duration {
        if self.quick { Duration::from_millis(500) } else { Duration::from_secs(2) }
    }
}

/// `cargo xtask bench`
pub(crate) fn run(args: &[&str]) -> Result<()> {
    let Some(options) = Options::parse(args)? else {
        println!("{USAGE}");
        return Ok(());
    };
    let parts: Vec<Part> = Part::ALL.into_iter().filter(|part| options.only.is_none_or(|only| only == *part)).collect();
    // Before a build of minutes, not after it.
    let versions = if parts.iter().any(|part| *part != Part::Restart) { Some(redis_versions()?) } else { None };
    let server = match &options.server {
        Some(server) => server.clone(),
        None => build_server()?,
    };
    ensure!(server.is_file(), "no server at {}", server.display());
    // On the disk of the build and not in a temporary folder, which is often in memory, where syncing costs nothing.
    let parent = crate::guests::root().join("target/bench");
    fs::create_dir_all(&parent).with_context(|| format!("creating {}", parent.display()))?;
    let dir = tempfile::Builder::new().prefix("run-").tempdir_in(&parent)?;

    println!("{}\n", machine::describe(dir.path(), versions.as_deref())?);
    for part in parts {
        let dir = dir.path().join(part.name());
        match part {
            Part::Ticket => workload(&options, &server, &dir, &Workload::TICKET)?,
            Part::Set => workload(&options, &server, &dir, &Workload::SET)?,
            Part::Get => workload(&options, &server, &dir, &Workload::GET)?,
            Part::Restart => restart::run(&server, &dir, if options.quick { 100_000 } else { 1_000_000 })?,
        }
        // A full disk would be a failure of this program alone.
        fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    Ok(())
}

fn redis_versions() -> Result<String> {
    let mut versions = Vec::new();
    for program in ["redis-server", "redis-benchmark"] {
        let output = match Command::new(program).arg("--version").output() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!("{program} is not installed; in Debian: apt-get install redis-server redis-tools")
            }
            output => output.with_context(|| format!("running {program}"))?,
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.split_whitespace().find_map(|word| {
            let word = word.strip_prefix("v=").unwrap_or(word);
            word.starts_with(|first: char| first.is_ascii_digit()).then(|| word.to_owned())
        });
        versions.push(format!("{program} {}", version.as_deref().unwrap_or("of unknown version")));
    }
    Ok(versions.join(", "))
}

fn build_server() -> Result<PathBuf> {
    let root = crate::guests::root();
    let target = match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => std::path::absolute(dir)?,
        None => root.join("target"),
    };
    let mut cargo = crate::cargo::command();
    cargo.args(["build", "--release", "--package", "uhaha-server", "--target-dir"]).arg(&target).current_dir(&root);
    ensure!(cargo.status()?.success(), "the server does not build");
    Ok(target.join("release/uhaha-server"))
}

/// What both servers are asked to do.
struct Workload {
    title: &'static str,
    module: &'static str,
    ours: &'static [&'static str],
    redis: &'static [&'static str],
    /// How many keys `__rand_int__` stands for; `None` if it is not in the commands.
    keys: Option<u32>,
    /// Whether the keys are there before: a GET of nothing is another workload.
    filled: bool,
}

const VALUE: &str = "abcdefghijklmnopqrstuvwxyz012345";
const SET: &[&str] = &["SET", "key:__rand_int__", VALUE];
const GET: &[&str] = &["GET", "key:__rand_int__"];

impl Workload {
    const TICKET: Workload = Workload {
        title: "TICKET beside INCR k",
        module: "builtin:ticket",
        ours: &["TICKET"],
        redis: &["INCR", "k"],
        keys: None,
        filled: false,
    };
    const SET: Workload = Workload {
        title: "SET of 32 bytes, 100,000 keys",
        module: "builtin:kvdb",
        ours: SET,
        redis: SET,
        keys: Some(KEYS),
        filled: false,
    };
    const GET: Workload = Workload {
        title: "GET of 32 bytes, 100,000 keys",
        module: "builtin:kvdb",
        ours: GET,
        redis: GET,
        keys: Some(KEYS),
        filled: true,
    };
}

/// One cell, measured.
struct Row {
    cell: Cell,
    ours: Vec<Measured>,
    redis: Vec<Measured>,
}

/// Measures all cells of a workload and prints their table.
fn workload(options: &Options, server: &Path, dir: &Path, workload: &Workload) -> Result<()> {
    let ours = Server::uhaha(server, workload.module, &dir.join("ours"))?;
    let redis = Server::redis(&dir.join("redis"))?;
    if workload.filled {
        resp::fill(ours.port(), KEYS, 'a').context("filling the server")?;
        resp::fill(redis.port(), KEYS, 'a').context("filling redis-server")?;
    }
    let load = Load { dir, keys: workload.keys, run_time: options.run_time() };
    let mut rows = Vec::new();
    for cell in CELLS {
        let count_ours = load.calibrate(&ours, cell, workload.ours)?;
        let count_redis = load.calibrate(&redis, cell, workload.redis)?;
        let mut row = Row { cell, ours: Vec::new(), redis: Vec::new() };
        for round in 0..options.rounds {
            // Who is first changes: what one leaves to the disk to do meets the other.
            if round % 2 == 0 {
                row.ours.push(load.run(&ours, cell, workload.ours, count_ours)?);
                row.redis.push(load.run(&redis, cell, workload.redis, count_redis)?);
            } else {
                row.redis.push(load.run(&redis, cell, workload.redis, count_redis)?);
                row.ours.push(load.run(&ours, cell, workload.ours, count_ours)?);
            }
        }
        eprintln!("{}: {}", workload.title, row.line());
        rows.push(row);
    }
    println!("## {}\n", workload.title);
    println!("| clients×pipeline | ours/s | redis/s | ours/redis (least–most) | ours p50/p99 ms | redis p50/p99 ms |");
    println!("|---|---:|---:|---:|---:|---:|");
    for row in &rows {
        println!("{}", row.line());
    }
    let load = machine::load_average()?;
    println!("\nAt the end: resident ours {}, redis {}; load average {load}.", ours.memory()?, redis.memory()?);
    let info = Client::connect(ours.port())?.text(&["INFO", "stats"])?;
    let unwell: Vec<&str> = info
        .lines()
        .filter(|line| line.starts_with("refused_commands:") || line.starts_with("failed_commands:"))
        .filter(|line| !line.ends_with(":0"))
        .collect();
    if !unwell.is_empty() {
        println!("Not every command was run: {}.", unwell.join(", "));
    }
    println!("{}", ours.warnings());
    Ok(())
}

impl Row {
    fn line(&self) -> String {
        let rate = |runs: &[Measured]| median(runs.iter().map(|run| run.rate));
        let latency = |runs: &[Measured]| {
            let [p50, p99] = [median(runs.iter().map(|run| run.p50)), median(runs.iter().map(|run| run.p99))];
            format!("{p50:.2}/{p99:.2}")
        };
        // What both met in one round is in the ratio of that round, and in no ratio of medians.
        let ratios = || self.ours.iter().zip(&self.redis).map(|(ours, redis)| ours.rate / redis.rate);
        let least = ratios().fold(f64::INFINITY, f64::min);
        let most = ratios().fold(0.0, f64::max);
        format!(
            "| {} | {} | {} | {:.2} ({least:.2}–{most:.2}) | {} | {} |",
            self.cell,
            grouped(rate(&self.ours)),
            grouped(rate(&self.redis)),
            median(ratios()),
            latency(&self.ours),
            latency(&self.redis),
        )
    }
}

/// The middle one, or what is between the two in the middle; 0 of nothing.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2).copied().unwrap_or_default();
    match values.len().checked_rem(2) {
        Some(0) if !values.is_empty() => (values[values.len() / 2 - 1] + upper) / 2.0,
        _ => upper,
    }
}

/// 1234567.8 as 1,234,568.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert_eq!(median(std::iter::empty()), 0.0);
    }

    #[test]
    fn numbers_are_grouped_by_three() {
        assert_eq!(grouped(0.4), "0");
        assert_eq!(grouped(123.0), "123");
        assert_eq!(grouped(1234.0), "1,234");
        assert_eq!(grouped(1_234_567.8), "1,234,568");
    }

    #[test]
    fn options_are_read_in_both_forms() {
        let options = Options::parse(&["--server=a", "--quick", "--only", "get"]).unwrap().unwrap();
        assert_eq!(options.server, Some(PathBuf::from("a")));
        assert_eq!(options.rounds, 1);
        assert!(options.only == Some(Part::Get));
        assert_eq!(Options::parse(&["--rounds", "5", "--quick"]).unwrap().unwrap().rounds, 5);
        assert!(Options::parse(&["--rounds", "0"]).is_err());
        assert!(Options::parse(&["--only"]).is_err());
        assert!(Options::parse(&["--fast"]).is_err());
        assert!(Options::parse(&["--help"]).unwrap().is_none());
    }
}
