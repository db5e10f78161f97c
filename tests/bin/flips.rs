//! Damages every file of the fixtures in every way and prints the table; `cargo xtask flips` runs it.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a task that a person starts talks to the terminal")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;
use uhaha_tests::fixtures;
use uhaha_tests::flips::{Outcome, Random, Subject, Tally, of_every_kind};
use uhaha_tests::server::Scratch;

/// Which damages are done: all, or so many to a file.
struct Options {
    seed: u64,
    sample: Option<usize>,
}

fn main() -> ExitCode {
    let Some(Options { seed, sample }) = options() else {
        println!("Usage: flips [--seed S] [--sample N]");
        return ExitCode::from(2);
    };
    // Panics inside redb are expected, and become errors.
    std::panic::set_hook(Box::new(|_| {}));
    let began = Instant::now();
    let mut random = Random::new(seed);
    let mut rows: BTreeMap<String, Tally> = BTreeMap::new();
    for fixture in fixtures::all() {
        let scratch = Scratch::new();
        fixture.unpack(scratch.path());
        // The members of a cluster are alike.
        let subject = Subject::new(&fixtures::nodes(scratch.path())[0]);
        for file in subject.files() {
            let mut damages = of_every_kind(subject.bytes(&file).len(), &mut random);
            if let Some(sample) = sample {
                damages = (0..sample).map(|_| damages[random.below(damages.len())].clone()).collect();
            }
            let tally = subject.damage(&file, &damages);
            let row = match file.starts_with("snapshots") {
                true => format!("{}: snapshots", fixture.name),
                false => format!("{}: {}", fixture.name, file.display()),
            };
            for (outcome, count) in tally {
                *rows.entry(row.clone()).or_default().entry(outcome).or_default() += count;
            }
        }
    }
    print(&rows);
    println!("seed {seed}, {} s", began.elapsed().as_secs());
    let wrong = rows.values().flat_map(Tally::keys).any(|outcome| matches!(outcome, Outcome::Wrong(_)));
    if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn options() -> Option<Options> {
    let mut options = Options { seed: 1, sample: None };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next()?;
        match &*arg {
            "--seed" => options.seed = value.parse().ok()?,
            "--sample" => options.sample = Some(value.parse().ok()?),
            _ => return None,
        }
    }
    Some(options)
}

fn print(rows: &BTreeMap<String, Tally>) {
    println!("| file | damages | refused | snapshot passed over | no state left | harmless | wrong |");
    println!("|---|---|---|---|---|---|---|");
    for (row, tally) in rows {
        let of = |outcome: Outcome| tally.get(&outcome).copied().unwrap_or_default();
        let all: usize = tally.values().sum();
        let known = [Outcome::Refused, Outcome::PassedOver, Outcome::NoState, Outcome::Harmless].map(of);
        let [refused, passed_over, no_state, harmless] = known;
        let wrong = all - known.iter().sum::<usize>();
        println!("| {row} | {all} | {refused} | {passed_over} | {no_state} | {harmless} | {wrong} |");
    }
    for outcome in rows.values().flat_map(Tally::keys) {
        if let Outcome::Wrong(what) = outcome {
            println!("wrong: {what}");
        }
    }
}
