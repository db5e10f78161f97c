//! Real clusters under load, to which everything happens that happens to clusters: nodes killed, stopped and paused,
//! networks cut in both directions and in one, proxies that delay, mangle and cut connections, full disks, syncs that
//! fail, clocks that jump, leaders that hand over, snapshots, members replaced.
//!
//! Each run has a seed, from which its cluster, its load and its faults follow; what they meet is up to the machine.
//! `cargo xtask faults` does many, one here is part of every test run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and tells about it on the terminal"
)]

mod chaos;
mod fleet;
mod libraries;
mod load;
mod report;
mod run;
mod stale;
mod verify;

use report::Report;
use run::Plan;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use uhaha_tests::network::Network;

const TEST: &str = "no_fault_loses_or_repeats_what_was_acknowledged";

/// A number from the environment, as `cargo xtask faults` gives it.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Where what a run leaves behind is kept.
fn dir(seed: u64) -> PathBuf {
    uhaha_tests::root().join(format!("target/faults/{seed}"))
}

#[test]
fn no_fault_loses_or_repeats_what_was_acknowledged() {
    if Network::is_inside() {
        let seed = number("UHAHA_FAULTS_SEED").expect("a run has a seed");
        let seconds = number("UHAHA_FAULTS_SECONDS").expect("a run has a length");
        let plan = Plan::new(seed, Duration::from_secs(seconds));
        let network = Network::new(plan.nodes());
        plan.run(network, &dir(seed)).tell();
        return;
    }
    let seed = number("UHAHA_FAULTS_SEED").unwrap_or(1);
    let runs = number("UHAHA_FAULTS_RUNS").unwrap_or(2);
    let seconds = number("UHAHA_FAULTS_SECONDS").unwrap_or(8);
    let until = number("UHAHA_FAULTS_HOURS").map(|hours| Instant::now() + Duration::from_secs(hours * 3600));
    libraries::say_what_is_missing();
    let mut report = Report::default();
    for seed in seed.. {
        let is_over = until.map_or(report.runs() as u64 >= runs, |until| Instant::now() >= until);
        if is_over {
            break;
        }
        run(seed, seconds, &mut report);
    }
    report.print();
    report.assert_all_passed();
}

/// In a process of its own, for that has its own network and takes everything with it.
fn run(seed: u64, seconds: u64, report: &mut Report) {
    let dir = dir(seed);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let mut process = Network::process(TEST);
    process.env("UHAHA_FAULTS_SEED", seed.to_string()).env("UHAHA_FAULTS_SECONDS", seconds.to_string());
    let output = process.output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && report.take(seed, &stdout) {
        let _ = std::fs::remove_dir_all(&dir);
        return;
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    std::fs::write(dir.join("output.txt"), format!("{stdout}\n{stderr}")).unwrap();
    report.fail(seed, seconds, &dir, &format!("{stdout}\n{stderr}"));
}
