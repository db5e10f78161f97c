//! Runs of redis-benchmark.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::process::{Process, Server};

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
}

pub(super) struct Load<'a> {
    /// Where the output of redis-benchmark goes.
    pub(super) dir: &'a Path,
    pub(super) keys: Option<u32>,
    pub(super) run_time: Duration,
}

impl Load<'_> {
    /// How many commands take about the time of one run. Also warms up.
    pub(super) fn calibrate(&self, server: &Server, cell: Cell, command: &[&str]) -> Result<u64> {
        let wanted = self.run_time.as_secs_f64();
        let mut count = cell.whole(COUNT_MIN);
        loop {
            let rate = self.run(server, cell, command, count)?.rate;
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

    pub(super) fn run(&self, server: &Server, cell: Cell, command: &[&str], count: u64) -> Result<Measured> {
        self.try_run(server, cell, command, count).with_context(|| {
            format!("{} of {} at {cell}, {count} commands; {}", command[0], server.name(), server.log_tail())
        })
    }

    fn try_run(&self, server: &Server, cell: Cell, command: &[&str], count: u64) -> Result<Measured> {
        let mut benchmark = Command::new("redis-benchmark");
        benchmark.args(["--csv", "-h", "127.0.0.1", "-p", &server.port().to_string()]);
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

/// Reads the table by the names of its columns, which grow in number with the versions.
fn parse(csv: &str) -> Result<Measured> {
    let fields =
        |line: &'_ str| -> Vec<String> { line.trim().trim_matches('"').split("\",\"").map(str::to_owned).collect() };
    let mut lines = csv.lines().skip_while(|line| !line.starts_with("\"test\""));
    let names = fields(lines.next().context("no table; redis-benchmark 6.2 or newer is needed")?);
    let values = fields(lines.next().context("no row in the table")?);
    let field = |name: &str| -> Result<f64> {
        let index = names.iter().position(|column| column == name).with_context(|| format!("no column {name}"))?;
        let value = values.get(index).with_context(|| format!("no value of {name}"))?;
        value.parse().with_context(|| format!("{name} is {value}"))
    };
    let measured = Measured { rate: field("rps")?, p50: field("p50_latency_ms")?, p99: field("p99_latency_ms")? };
    ensure!(measured.rate.is_finite() && measured.rate > 0.0, "a rate of {}", measured.rate);
    Ok(measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name() {
        let csv = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\"p95_latency_ms\",\
                   \"p99_latency_ms\",\"max_latency_ms\"\n\
                   \"SET k v\",\"245098.05\",\"2.916\",\"1.168\",\"2.223\",\"8.223\",\"12.623\",\"13.623\"\n";
        assert_eq!(parse(csv).unwrap(), Measured { rate: 245_098.05, p50: 2.223, p99: 12.623 });
    }

    #[test]
    fn a_table_that_is_not_whole_is_an_error() {
        assert!(parse("").is_err());
        assert!(parse("\"test\",\"rps\"\n").is_err());
        assert!(parse("\"test\",\"rps\"\n\"SET\",\"1.0\"\n").is_err());
        assert!(
            parse("\"test\",\"rps\",\"p50_latency_ms\",\"p99_latency_ms\"\n\"SET\",\"inf\",\"1\",\"1\"\n").is_err()
        );
    }

    #[test]
    fn counts_are_bounded_and_whole_pipelines() {
        assert_eq!(Cell::new(1, 1).whole(3), COUNT_MIN);
        assert_eq!(Cell::new(50, 16).whole(1000), 1600);
        assert!(Cell::new(50, 64).whole(u64::MAX) < COUNT_MAX + 3200);
    }
}
