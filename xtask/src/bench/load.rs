//! Runs of redis-benchmark.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::process::{Process, Server};
use super::{etcd, resp};

/// Bounds of one run: enough commands for a 99th percentile, and not all night.
const COUNT_MIN: u64 = 500;
const COUNT_MAX: u64 = 5_000_000;
/// A run that takes so much longer than it should is a stall.
const RUN_MAX: Duration = Duration::from_secs(60);
/// A first run that is this part of a whole one is long enough to count from.
const CALIBRATED_PART: f64 = 0.2;

/// How many clients, and how many commands each has under way.
#[derive(Clone, Copy)]
pub(super) struct Cell {
    clients: u64,
    pipeline: u64,
}

impl Cell {
    pub(super) const fn new(clients: u64, pipeline: u64) -> Cell {
        Cell { clients, pipeline }
    }

    /// The same number for each client, and whole pipelines: the last commands would run with fewer.
    fn whole(self, count: u64) -> u64 {
        count.clamp(COUNT_MIN, COUNT_MAX).next_multiple_of(self.clients * self.pipeline)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}", self.clients, self.pipeline)
    }
}

/// What one run gave: commands a second, and milliseconds from a pipeline's first byte to its last reply.
#[derive(Debug, PartialEq)]
pub(super) struct Measured {
    pub(super) rate: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
}

impl Measured {
    /// Of how long each pipeline of so many commands took, and all of them together.
    pub(super) fn of(mut latencies: Vec<Duration>, elapsed: Duration, commands: f64) -> Measured {
        latencies.sort_unstable();
        let below = |part: f64| {
            let at = (latencies.len() as f64 * part) as usize;
            latencies.get(at.min(latencies.len().saturating_sub(1))).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
        };
        let rate = latencies.len() as f64 * commands / elapsed.as_secs_f64();
        Measured { rate, p50: below(0.5), p99: below(0.99), p999: below(0.999) }
    }
}

/// What is asked of a server.
#[derive(Clone, Copy)]
pub(super) enum Ask<'a> {
    /// This command by redis-benchmark.
    Command(&'a [&'a str]),
    /// Puts of this value, of etcd. The pipeline is one.
    Put(&'a str),
    /// SET and GET in turns on one connection, in pipelines of so many of each.
    Mix(usize),
}

pub(super) struct Load<'a> {
    /// Where the output of redis-benchmark goes.
    pub(super) dir: &'a Path,
    pub(super) keys: Option<u32>,
    pub(super) run_time: Duration,
}

impl Load<'_> {
    /// How many commands take about the time of one run. Also warms up.
    pub(super) fn calibrate(&self, server: &Server, cell: Cell, ask: Ask<'_>) -> Result<u64> {
        let wanted = self.run_time.as_secs_f64();
        let mut count = cell.whole(COUNT_MIN);
        loop {
            let rate = self.run(server, cell, ask, count)?.rate;
            let elapsed = count as f64 / rate;
            let enough = cell.whole((rate * wanted) as u64);
            if elapsed >= wanted * CALIBRATED_PART || count >= enough {
                return Ok(enough);
            }
            // Short runs tell too low a rate: go there in steps.
            count = cell.whole((enough / 2).min(count * 10));
            if count >= enough {
                return Ok(enough);
            }
        }
    }

    pub(super) fn run(&self, server: &Server, cell: Cell, ask: Ask<'_>, count: u64) -> Result<Measured> {
        let measured = match ask {
            Ask::Command(command) => self.try_run(server, cell, command, count),
            Ask::Put(value) => etcd::put(server.port(), cell.clients, count, value),
            Ask::Mix(depth) => resp::mix(server.port(), depth, count),
        };
        measured.with_context(|| format!("{} at {cell}, {count} commands; {}", server.name(), server.log_tail()))
    }

    fn try_run(&self, server: &Server, cell: Cell, command: &[&str], count: u64) -> Result<Measured> {
        let mut benchmark = Command::new("redis-benchmark");
        // Not --csv, which leaves the 99.9th percentile out; --precision has it to the microsecond.
        benchmark.args(["--precision", "3", "-h", "127.0.0.1", "-p", &server.port().to_string()]);
        benchmark.args(["-c", &cell.clients.to_string(), "-P", &cell.pipeline.to_string(), "-n", &count.to_string()]);
        if let Some(keys) = self.keys {
            benchmark.args(["-r", &keys.to_string()]);
        }
        benchmark.args(command);
        let [stdout, stderr] = ["benchmark.stdout", "benchmark.stderr"].map(|name| self.dir.join(name));
        let mut process = Process::start(&mut benchmark, &stdout, &stderr)?;
        let status = process.wait(RUN_MAX)?;
        let (output, errors) = (fs::read_to_string(&stdout)?, fs::read_to_string(&stderr)?);
        ensure!(status.success(), "redis-benchmark ended with {status}\n{output}{errors}");
        // It counts replies that are errors, and goes on.
        if let Some(line) = output.lines().chain(errors.lines()).find(|line| line.contains("Error")) {
            bail!("{line}");
        }
        parse(&output).with_context(|| format!("redis-benchmark wrote:\n{output}{errors}"))
    }
}

/// Reads the summary, and the latencies below which parts of all commands were answered.
fn parse(output: &str) -> Result<Measured> {
    // What it shows while it runs ends with a carriage return.
    let lines = || output.lines().flat_map(|line| line.split('\r')).map(str::trim);
    let number = |text: &str| text.split_whitespace().next().and_then(|word| word.parse::<f64>().ok());
    let rate = lines().find_map(|line| line.strip_prefix("throughput summary:").and_then(number));
    let rate = rate.context("no throughput; redis-benchmark 6.2 or newer is needed")?;
    let parts: Vec<(f64, f64)> = lines()
        .filter_map(|line| {
            let (percent, rest) = line.split_once("% <= ")?;
            Some((percent.parse().ok()?, number(rest)?))
        })
        .collect();
    let below = |percent: f64| {
        let part = parts.iter().find(|(part, _)| *part >= percent);
        part.map(|(_, latency)| *latency).with_context(|| format!("no latency of {percent} %"))
    };
    ensure!(rate.is_finite() && rate > 0.0, "a rate of {rate}");
    Ok(Measured { rate, p50: below(50.0)?, p99: below(99.0)?, p999: below(99.9)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_and_the_percentiles_are_read() {
        let output = "SET k v: rps=0.0 (overall: nan)\r====== SET k v ======\n  1000 requests completed in 0.03 seconds\n\
                      Latency by percentile distribution:\n0.000% <= 0.103 milliseconds (cumulative count 1)\n\
                      50.000% <= 0.231 milliseconds (cumulative count 510)\n\
                      98.438% <= 0.9 milliseconds (cumulative count 985)\n\
                      99.219% <= 1.023 milliseconds (cumulative count 993)\n\
                      99.902% <= 1.5 milliseconds (cumulative count 1000)\n\
                      100.000% <= 1.5 milliseconds (cumulative count 1000)\n\nSummary:\n\
                      \x20 throughput summary: 245098.05 requests per second\n";
        assert_eq!(parse(output).unwrap(), Measured { rate: 245_098.05, p50: 0.231, p99: 1.023, p999: 1.5 });
    }

    #[test]
    fn a_summary_that_is_not_whole_is_an_error() {
        assert!(parse("").is_err());
        assert!(parse("  throughput summary: 1.0 requests per second\n").is_err());
        assert!(parse("100.000% <= 1 milliseconds\n  throughput summary: inf requests per second\n").is_err());
    }

    #[test]
    fn counts_are_bounded_and_whole_pipelines() {
        assert_eq!(Cell::new(1, 1).whole(3), COUNT_MIN);
        assert_eq!(Cell::new(50, 16).whole(1000), 1600);
        assert!(Cell::new(50, 64).whole(u64::MAX) < COUNT_MAX + 3200);
    }
}
