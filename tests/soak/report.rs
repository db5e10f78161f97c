//! The report: what was done, what grew, what it looked like.

use crate::load::Outcome;
use crate::options::Options;
use crate::plot::{self, Panel};
use crate::samples::{Sample, Seen};
use crate::shown;
use crate::trend::{Trend, trend};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

const MIB: f64 = (1_u64 << 20) as f64;

/// A number of a node that must not grow.
struct Bounded {
    name: &'static str,
    of: fn(&Seen) -> f64,
    /// What it may rise by over the second half: the larger of a part of its mean and this.
    slack: f64,
    /// Whether a restart begins it anew, so that only the node that lives through all is judged.
    dies: bool,
}

const SLACK_PART: f64 = 0.05;
const BOUNDED: [Bounded; 5] = [
    Bounded { name: "resident memory, MiB", of: |seen| seen.resident as f64 / MIB, slack: 8.0, dies: true },
    Bounded { name: "open descriptors", of: |seen| seen.descriptors as f64, slack: 4.0, dies: true },
    Bounded { name: "threads", of: |seen| seen.threads as f64, slack: 2.0, dies: true },
    // It goes up and down by a log between two snapshots.
    Bounded { name: "disk, MiB", of: |seen| seen.disk as f64 / MIB, slack: 16.0, dies: false },
    Bounded { name: "entries in the log", of: |seen| seen.entries as f64, slack: 1_000.0, dies: false },
];

/// The verdict about one number of one node.
pub(crate) struct Judged {
    name: &'static str,
    node: usize,
    trend: Trend,
    tolerance: f64,
    pub(crate) grows: bool,
}

pub(crate) fn judge(samples: &[Sample]) -> Vec<Judged> {
    let nodes = samples.first().map_or(0, |sample| sample.nodes.len());
    let mut all = Vec::new();
    for Bounded { name, of, slack, dies } in BOUNDED {
        for node in 0..if dies { nodes.min(1) } else { nodes } {
            let trend = trend(&curve(samples, |sample| of(&sample.nodes[node])));
            let tolerance = slack.max(trend.mean * SLACK_PART);
            all.push(Judged { name, node, trend, tolerance, grows: trend.rise > tolerance });
        }
    }
    all
}

fn curve(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> Vec<(f64, f64)> {
    samples.iter().map(|sample| (sample.at.as_secs_f64() / 3600.0, value(sample))).collect()
}

pub(crate) fn path(options: &Options) -> PathBuf {
    options.out.join("report.md")
}

pub(crate) fn status_line(sample: &Sample, length: Duration, event: Option<String>) -> String {
    let all = |of: fn(&Seen) -> u64| {
        let values: Vec<String> = sample.nodes.iter().map(|seen| of(seen).to_string()).collect();
        values.join("/")
    };
    format!(
        "{} of {}: {:.0}/s, p99 {:.1} ms, {} failed; MiB {}, fds {}, threads {}, disk MiB {}, entries {}; {}",
        shown(sample.at),
        shown(length),
        sample.commands_per_second,
        sample.p99.as_secs_f64() * 1e3,
        sample.failed,
        all(|seen| seen.resident >> 20),
        all(|seen| seen.descriptors),
        all(|seen| seen.threads),
        all(|seen| seen.disk >> 20),
        all(|seen| seen.entries),
        event.unwrap_or_default(),
    )
}

/// Writes `report.md`, `samples.csv` and `soak.svg`.
pub(crate) fn write(options: &Options, samples: &[Sample], events: &[(Duration, String)], outcome: Option<&Outcome>) {
    let put = |name: &str, text: String| std::fs::write(options.out.join(name), text).expect("the report is written");
    put("report.md", markdown(options, samples, events, outcome));
    put("samples.csv", csv(samples));
    put("soak.svg", plot::svg(&panels(samples)));
}

fn markdown(options: &Options, samples: &[Sample], events: &[(Duration, String)], outcome: Option<&Outcome>) -> String {
    let ran = samples.last().map_or(Duration::ZERO, |sample| sample.at);
    let mut out = format!(
        "# Soak\n\n{} nodes for {} at {} commands a second, {} samples.\n\n![over time](soak.svg)\n\n",
        options.nodes,
        shown(ran),
        options.rate,
        samples.len()
    );
    // Writing to a string cannot fail.
    match outcome {
        None => out.push_str("It is still running, or was ended early.\n"),
        Some(outcome) => {
            let Outcome { done, failed, reconnected, lost, digests } = outcome;
            let _ = writeln!(out, "{done} commands done, {failed} failed (to be repeated), {reconnected} connections.");
            let verdict = if lost.is_empty() { "none".to_owned() } else { lost.join("; ") };
            let _ = writeln!(out, "Acknowledged writes lost: {verdict}. Digests of the nodes: {}.", digests.join(", "));
        }
    }
    out.push_str(
        "\n| of the second half | node | mean | rise | tolerated | verdict |\n|---|---:|---:|---:|---:|---|\n",
    );
    for Judged { name, node, trend, tolerance, grows } in judge(samples) {
        let verdict = if grows { "**grows**" } else { "steady" };
        let Trend { mean, rise } = trend;
        let _ = writeln!(out, "| {name} | {} | {mean:.1} | {rise:+.1} | {tolerance:.1} | {verdict} |", node + 1);
    }
    out.push_str("\nMemory, descriptors and threads are judged of node 1, which is never restarted.\n\n");
    for (at, what) in events {
        let _ = writeln!(out, "- {} {what}", shown(*at));
    }
    out
}

fn csv(samples: &[Sample]) -> String {
    let mut out =
        "seconds,commands_per_second,failed,p99_ms,node,resident,descriptors,threads,disk,entries\n".to_owned();
    for sample in samples {
        for (node, seen) in sample.nodes.iter().enumerate() {
            let Seen { resident, descriptors, threads, disk, entries } = seen;
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "{:.1},{:.1},{},{:.2},{},{resident},{descriptors},{threads},{disk},{entries}",
                sample.at.as_secs_f64(),
                sample.commands_per_second,
                sample.failed,
                sample.p99.as_secs_f64() * 1e3,
                node + 1
            );
        }
    }
    out
}

fn panels(samples: &[Sample]) -> Vec<Panel> {
    let nodes = samples.first().map_or(0, |sample| sample.nodes.len());
    let mut panels = vec![
        Panel {
            title: "commands a second".to_owned(),
            curves: vec![curve(samples, |sample| sample.commands_per_second)],
        },
        Panel {
            title: "99th percentile, ms".to_owned(),
            curves: vec![curve(samples, |sample| sample.p99.as_secs_f64() * 1e3)],
        },
    ];
    panels.extend(BOUNDED.iter().map(|bounded| Panel {
        title: bounded.name.to_owned(),
        curves: (0..nodes).map(|node| curve(samples, |sample| (bounded.of)(&sample.nodes[node]))).collect(),
    }));
    panels.push(Panel {
        title: "commands that failed, of a sample".to_owned(),
        curves: vec![curve(samples, |sample| sample.failed as f64)],
    });
    panels
}
