//! What a benchmark has found, for people and for `--compare`.

use super::machine;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Everything of one run of the benchmark.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Report {
    /// The day, and what it was measured on.
    pub(super) date: String,
    pub(super) machine: String,
    /// What was measured: a commit, or a path.
    pub(super) server: String,
    pub(super) rows: Vec<Row>,
}

/// One cell of a workload, of all servers that took turns in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    /// Names the workload, such as `TICKET, 3 nodes`.
    pub(super) workload: String,
    /// Clients × pipeline.
    pub(super) cell: String,
    /// Ours first.
    pub(super) servers: Vec<Measurement>,
}

/// One server in one cell, a value for each round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Measurement {
    pub(super) name: String,
    pub(super) rounds: Vec<Round>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Round {
    /// Commands a second.
    pub(super) rate: f64,
    /// Milliseconds from a pipeline's first byte to its last reply; `None` if the load does not tell.
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
    pub(super) p999: Option<f64>,
    /// Processor time of a command in microseconds, of all nodes together.
    pub(super) cpu: f64,
    /// Bytes that the disk wrote for a command, by all nodes together and whatever else writes; `None` where the kernel does not
    /// tell.
    pub(super) written: Option<f64>,
    /// Resident mebibytes of the largest node after the round.
    pub(super) resident: f64,
}

impl Measurement {
    pub(super) fn median(&self, value: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(value))
    }

    /// The median of those rounds that have it.
    fn some(&self, value: impl Fn(&Round) -> Option<f64>) -> Option<f64> {
        let values: Vec<f64> = self.rounds.iter().filter_map(value).collect();
        (!values.is_empty()).then(|| median(values.into_iter()))
    }

    fn latency(&self, value: impl Fn(&Round) -> Option<f64>) -> String {
        self.some(value).map_or("–".to_owned(), |latency| format!("{latency:.2}"))
    }
}

impl Row {
    /// Ours in parts of another server, the median of the rounds, with the least and the most.
    pub(super) fn ratio(&self, other: usize) -> Option<(f64, f64, f64)> {
        let [ours, other] = [self.servers.first()?, self.servers.get(other)?];
        // What both met in one round is in the ratio of that round, and in no ratio of medians.
        let ratios = || ours.rounds.iter().zip(&other.rounds).map(|(ours, other)| ours.rate / other.rate);
        let least = ratios().fold(f64::INFINITY, f64::min);
        Some((median(ratios()), least, ratios().fold(0.0, f64::max)))
    }

    pub(super) fn line(&self) -> String {
        let mut line = format!("| {} |", self.cell);
        for server in &self.servers {
            let _ = write!(line, " {} |", grouped(server.median(|round| round.rate)));
        }
        for other in 1..self.servers.len() {
            let (ratio, least, most) = self.ratio(other).unwrap_or_default();
            let _ = write!(line, " {ratio:.2} ({least:.2}–{most:.2}) |");
        }
        for server in &self.servers {
            let [p50, p99, p999] = [
                server.latency(|round| round.p50),
                server.latency(|round| round.p99),
                server.latency(|round| round.p999),
            ];
            let _ = write!(line, " {p50}/{p99}/{p999} |");
        }
        for server in &self.servers {
            let (cpu, written) = (server.median(|round| round.cpu), server.some(|round| round.written));
            let _ = write!(line, " {cpu:.1} µs, {} B |", written.map_or("–".to_owned(), grouped));
        }
        line
    }

    /// The head of a table of such rows.
    fn head(&self) -> String {
        let names: Vec<&str> = self.servers.iter().map(|server| &*server.name).collect();
        let mut columns = vec!["clients×pipeline".to_owned()];
        columns.extend(names.iter().map(|name| format!("{name}/s")));
        columns.extend(names[1..].iter().map(|name| format!("{}/{name} (least–most)", names[0])));
        columns.extend(names.iter().map(|name| format!("{name} p50/p99/p99.9 ms")));
        columns.extend(names.iter().map(|name| format!("{name}, of a command")));
        format!("| {} |\n|---|{}", columns.join(" | "), "---:|".repeat(columns.len() - 1))
    }
}

impl Report {
    pub(super) fn new(machine: String, server: String) -> Report {
        Report { date: machine::today(), machine, server, rows: Vec::new() }
    }

    pub(super) fn read(path: &Path) -> Result<Report> {
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no report of a benchmark", path.display()))
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
    }

    /// The rows of one workload as a table.
    pub(super) fn table(&self, workload: &str) -> String {
        let rows: Vec<&Row> = self.rows.iter().filter(|row| row.workload == workload).collect();
        let Some(first) = rows.first() else { return String::new() };
        let mut text = format!("## {workload}\n\n{}\n", first.head());
        rows.iter().for_each(|row| text.push_str(&format!("{}\n", row.line())));
        if let Some(last) = rows.last() {
            let resident = |server: &Measurement| {
                format!("{} {:.0} MiB", server.name, server.rounds.last().map_or(0.0, |round| round.resident))
            };
            let resident: Vec<String> = last.servers.iter().map(resident).collect();
            let _ = writeln!(text, "\nAt the end, resident: {}.", resident.join(", "));
        }
        text
    }
}

/// The middle one, or what is between the two in the middle; 0 of nothing.
pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2).copied().unwrap_or_default();
    match values.len().checked_rem(2) {
        Some(0) if !values.is_empty() => (values[values.len() / 2 - 1] + upper) / 2.0,
        _ => upper,
    }
}

/// 1234567.8 as 1,234,568.
pub(super) fn grouped(number: f64) -> String {
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
pub(super) mod tests {
    use super::*;

    /// A row of ours and of redis, a round for each pair of rates.
    pub(in super::super) fn row(workload: &str, cell: &str, rates: &[(f64, f64)]) -> Row {
        let round =
            |rate| Round { rate, p50: Some(1.0), p99: None, p999: None, cpu: 2.0, written: Some(3.0), resident: 4.0 };
        let of = |name: &str, rates: Vec<f64>| Measurement {
            name: name.to_owned(),
            rounds: rates.into_iter().map(round).collect(),
        };
        let servers = vec![
            of("ours", rates.iter().map(|(ours, _)| *ours).collect()),
            of("redis", rates.iter().map(|(_, redis)| *redis).collect()),
        ];
        Row { workload: workload.to_owned(), cell: cell.to_owned(), servers }
    }

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

    /// Whatever slows both down in one round leaves its ratio alone.
    #[test]
    fn the_ratio_is_that_of_rounds() {
        let row = row("SET", "1×1", &[(50.0, 100.0), (5.0, 10.0), (90.0, 100.0)]);
        assert_eq!(row.ratio(1), Some((0.5, 0.5, 0.9)));
        assert_eq!(row.ratio(2), None);
        assert!(row.line().starts_with("| 1×1 | 50 | 100 | 0.50 (0.50–0.90) | 1.00/–/– | 1.00/–/– | 2.0 µs, 3 B |"));
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a.json");
        let mut report = Report::new("a machine".to_owned(), "a commit".to_owned());
        report.rows.push(row("SET", "1×1", &[(1.0, 2.0)]));
        report.write(&path).unwrap();
        let read = Report::read(&path).unwrap();
        assert_eq!(
            (read.table("SET"), read.machine, read.server),
            (report.table("SET"), report.machine, report.server)
        );
        assert!(Report::read(&temp.path().join("b.json")).is_err());
    }
}
