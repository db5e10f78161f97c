//! What is told of runs: a line for each as it ends, and a table of all faults.

use crate::run::Facts;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// What the lines that a run tells begin with.
const MARK: &str = "faults:";
/// How much of the output of a failed run is shown.
const SHOWN_LINES: usize = 60;

impl Facts {
    /// For `Report::take` in another process.
    pub(crate) fn tell(&self) {
        let Facts { kind, faults, operations, unknown, stale_reads, libraries } = self;
        for (name, returned, unknown) in libraries {
            println!("\n{MARK}\tlibrary\t{name}\t{returned}\t{unknown}");
        }
        for (fault, gap) in faults {
            println!("\n{MARK}\tfault\t{fault}\t{}", gap.as_millis());
        }
        println!("\n{MARK}\tend\t{kind}\t{operations}\t{unknown}\t{stale_reads}");
    }
}

#[derive(Default)]
pub(crate) struct Report {
    /// By fault: how often, and the longest time without an acknowledged write.
    faults: BTreeMap<String, (usize, Duration)>,
    /// By library and way: operations that returned, and that are unknown.
    libraries: BTreeMap<String, (usize, usize)>,
    operations: u64,
    unknown: u64,
    stale_reads: u64,
    passed: usize,
    failed: Vec<u64>,
}

impl Report {
    pub(crate) fn runs(&self) -> usize {
        self.passed + self.failed.len()
    }

    /// Takes in what a run has told; false if it did not come to its end.
    pub(crate) fn take(&mut self, seed: u64, told: &str) -> bool {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let mut longest = Duration::ZERO;
        for line in told.lines().filter(|line| line.starts_with(MARK)) {
            match line.split('\t').collect::<Vec<_>>()[..] {
                [_, "fault", fault, gap] => {
                    let gap = Duration::from_millis(gap.parse().unwrap());
                    *counts.entry(fault).or_default() += 1;
                    longest = longest.max(gap);
                    let (count, of_fault) = self.faults.entry(fault.to_owned()).or_default();
                    *count += 1;
                    *of_fault = gap.max(*of_fault);
                }
                [_, "library", name, returned, unknown] => {
                    let (all_returned, all_unknown) = self.libraries.entry(name.to_owned()).or_default();
                    *all_returned += returned.parse::<usize>().unwrap();
                    *all_unknown += unknown.parse::<usize>().unwrap();
                }
                [_, "end", kind, operations, unknown, stale_reads] => {
                    let faults: Vec<String> =
                        counts.iter().map(|(fault, count)| format!("{fault}×{count}").replace("×1", "")).collect();
                    println!(
                        "seed {seed}: {kind}; {}; {operations} operations, {unknown} unknown; longest gap {longest:?}",
                        faults.join(" ")
                    );
                    self.operations += operations.parse::<u64>().unwrap();
                    self.unknown += unknown.parse::<u64>().unwrap();
                    self.stale_reads += stale_reads.parse::<u64>().unwrap();
                    self.passed += 1;
                    return true;
                }
                _ => return false,
            }
        }
        false
    }

    pub(crate) fn fail(&mut self, seed: u64, seconds: u64, dir: &Path, output: &str) {
        let lines: Vec<&str> = output.lines().filter(|line| !line.starts_with(MARK)).collect();
        let shown = lines.iter().take(SHOWN_LINES).copied().collect::<Vec<_>>().join("\n");
        println!("seed {seed}: FAILED\n{shown}");
        println!("data, logs and history are in {}", dir.display());
        println!("again: cargo xtask faults --runs 1 --seed {seed} --seconds {seconds}");
        self.failed.push(seed);
    }

    pub(crate) fn print(&self) {
        let Report { faults, libraries, operations, unknown, stale_reads, passed, failed } = self;
        println!("\n| fault | times | longest gap |\n|---|--:|--:|");
        for (fault, (count, gap)) in faults {
            println!("| {fault} | {count} | {:.2} s |", gap.as_secs_f64());
        }
        println!("\n| library | operations | of unknown outcome |\n|---|--:|--:|");
        for (name, (returned, unknown)) in libraries {
            println!("| {name} | {returned} | {unknown} |");
        }
        println!(
            "\n{passed} runs passed, {} failed; {operations} operations, {unknown} of unknown outcome, \
             {stale_reads} reads of a node's own state",
            failed.len()
        );
    }

    pub(crate) fn assert_all_passed(&self) {
        assert!(self.passed > 0 && self.failed.is_empty(), "these seeds failed: {:?}", self.failed);
    }
}
