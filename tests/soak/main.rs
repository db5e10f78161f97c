//! `cargo xtask soak`: a cluster under steady load for hours, with what happens to clusters now and then, and a report
//! of whether anything grew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "it fails by panicking and talks to the terminal"
)]

mod events;
mod load;
mod options;
mod plot;
mod report;
mod samples;
mod trend;

use events::Events;
use load::Load;
use options::Options;
use samples::{Sample, Sampler};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use uhaha_tests::{Cluster, Module};

/// So that many snapshots are taken and much is purged within minutes.
const NODE_ARGS: [&str; 4] = ["--snapshot-log-entries", "2000", "--digest-interval", "10s"];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match Options::parse(&args) {
        Ok(Some(options)) => run(&options),
        Ok(None) => {
            println!("{}", options::USAGE);
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("error: {error}\n\n{}", options::USAGE);
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> ExitCode {
    std::fs::create_dir_all(&options.out).expect("the report has a place");
    let mut cluster = Cluster::start_with(Module::kvdb(), options.nodes, &NODE_ARGS);
    let load = Load::start(&cluster, options.rate);
    let mut events = Events::new(options.every);
    let mut sampler = Sampler::new(&load);
    let began = Instant::now();
    let mut samples: Vec<Sample> = Vec::new();
    while began.elapsed() < options.length {
        // A sample is a point in time, which is what is waited for.
        std::thread::sleep(options.sampled.min(options.length.saturating_sub(began.elapsed())));
        let sample = sampler.take(&cluster, began.elapsed());
        println!("{}", report::status_line(&sample, options.length, events.last()));
        samples.push(sample);
        events.happen_if_due(&mut cluster, began.elapsed());
        // What is known so far can be read at any time, and is there if the machine is not.
        report::write(options, &samples, events.all(), None);
    }
    drop(sampler);
    let outcome = load.stop(&cluster);
    report::write(options, &samples, events.all(), Some(&outcome));
    let grown = report::judge(&samples).iter().filter(|judged| judged.grows).count();
    println!("{}", report::path(options).display());
    if outcome.is_right() && grown == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// 3:07:09.
fn shown(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
