//! Runs of the simulation, short ones: `cargo xtask sim` has the long ones.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

/// What a run printed, and whether it passed.
fn run(seed: u64, more: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uhaha-simulation"));
    let output = command.args(["--seed", &seed.to_string()]).args(more).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

/// The line that sums a run up, with the hash of all its events.
fn summary(text: &str) -> &str {
    text.lines().find(|line| line.starts_with("seed ")).unwrap_or_else(|| panic!("no summary:\n{text}"))
}

#[test]
fn a_seed_does_the_same_each_time() {
    let (passed, first) = run(3, &["--seconds", "4"]);
    assert!(passed, "{first}");
    // Where the program's own arguments lie, and how long they are, must not matter.
    let trace = std::env::temp_dir().join(format!("a-trace-of-{}", std::process::id()));
    let (_, second) = run(3, &["--seconds", "4", "--trace", trace.to_str().unwrap()]);
    std::fs::remove_file(&trace).unwrap();
    assert_eq!(summary(&first), summary(&second));
    assert_ne!(summary(&first), summary(&run(4, &["--seconds", "4"]).1), "another seed does something else");
}

#[test]
fn clusters_survive_faults() {
    for seed in [5, 8] {
        let (passed, text) = run(seed, &["--seconds", "4"]);
        assert!(passed, "{text}");
        // Checks that looked at nothing found nothing.
        assert!(text.contains("(logs compared)") && text.contains("(terms whose leader was seen)"), "{text}");
    }
}

/// The directory of a node was not synced into the one above it, so a power failure could take all of it along.
#[test]
fn a_power_failure_takes_no_data_directory_along() {
    let (passed, text) = run(1, &["--seconds", "3", "--only", "PowerFails"]);
    assert!(passed, "{text}");
    assert!(text.contains(" power failure"), "{text}");
}

#[test]
fn a_disk_that_forgets_names_is_found_out() {
    // Not every run has its power failures where it matters.
    let found = (1..=8).any(|seed| {
        let (passed, text) = run(seed, &["--seconds", "3", "--only", "PowerFails", "--mutation", "directory-sync"]);
        assert_eq!(passed, !text.contains("VIOLATION"), "{text}");
        !passed
    });
    assert!(found);
}
