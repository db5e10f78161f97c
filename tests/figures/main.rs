//! Figures of a cluster of real processes, for `cargo xtask figures`. What must hold is asserted; how long things take
//! is printed, for a person to judge.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "figures are printed")]

mod catch_up;
mod gaps;
mod hostile;
mod images;
mod reads;

use std::time::Duration;

/// `count median max` of durations, and where 99 of 100 are below.
fn show(what: &str, mut all: Vec<Duration>) {
    all.sort_unstable();
    let at = |part: f64| all[((all.len() - 1) as f64 * part).round() as usize];
    println!(
        "{what}: {} times, median {:.1?}, p99 {:.1?}, max {:.1?}",
        all.len(),
        at(0.5),
        at(0.99),
        all.last().expect("something was measured")
    );
}
