//! What the machine's guarantees cost: commands applied in a second with and without them, on one thread, without a
//! network and without a log. `cargo xtask figures overhead` runs it; the table is for a person to judge.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "figures are printed")]

use bytes::Bytes;
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};
use uhaha_server::command::Command;
use uhaha_server::machine::overhead::{Bare, Guarantees, on_guest_thread};
use uhaha_server::module::Module;
use uhaha_server::proposal::{Checks, Proposal};

/// All variants run once in each round, so that what else the machine does meets all of them.
const ROUNDS: usize = 15;
const SLICE: Duration = Duration::from_millis(150);
/// Ten times as often as a server does by default, for a variant runs for some seconds only.
const MARK_EVERY: Duration = Duration::from_secs(1);
/// What different entries are made of before they are used again.
const COMMANDS: usize = 200_000;
const KEYS: u64 = 100_000;

const VARIANTS: [(&str, Guarantees); 7] = [
    ("none", Guarantees::NONE),
    ("counted call stack", Guarantees { call_stack: true, ..Guarantees::NONE }),
    ("fuel", Guarantees { fuel: true, ..Guarantees::NONE }),
    ("images and journal", Guarantees { images: true, ..Guarantees::NONE }),
    ("digests", Guarantees { digests: true, ..Guarantees::NONE }),
    ("all but images", Guarantees { images: false, ..Guarantees::ALL }),
    ("all", Guarantees::ALL),
];
/// Those that ratios are given to: nothing, and all but what an undone command needs.
const NONE: usize = 0;
const WITHOUT_IMAGES: usize = 5;

/// What guests are asked to do.
struct Workload {
    title: &'static str,
    module: Vec<u8>,
    /// The words of command number n.
    words: fn(u64) -> Vec<String>,
    /// Commands in an entry.
    batches: &'static [usize],
}

fn main() -> Result<(), Box<dyn Error>> {
    let cache = tempfile::tempdir()?;
    let builtin = |name: &str| -> Result<Vec<u8>, Box<dyn Error>> { Ok(name.parse::<Module>()?.read()?) };
    let workloads = [
        Workload {
            title: "TICKET",
            module: builtin("builtin:ticket")?,
            words: |_| vec!["TICKET".to_owned()],
            batches: &[1, 800],
        },
        Workload {
            title: "SET of 32 bytes, 100,000 keys",
            module: builtin("builtin:kvdb")?,
            words: |number| {
                let key = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % KEYS;
                vec!["SET".to_owned(), format!("key:{key:012}"), "abcdefghijklmnopqrstuvwxyz012345".to_owned()]
            },
            batches: &[1, 800],
        },
        Workload {
            title: "fib(24), which does nothing but call",
            module: fibonacci()?,
            words: |_| vec!["A".to_owned()],
            batches: &[1],
        },
    ];
    for workload in &workloads {
        for batch in workload.batches {
            let measured =
                on_guest_thread(|| measure(workload, *batch, cache.path()).map_err(|error| error.to_string()));
            print(workload, *batch, &measured??);
        }
    }
    Ok(())
}

/// The guest that counts, which for each command first computes a Fibonacci number.
fn fibonacci() -> Result<Vec<u8>, Box<dyn Error>> {
    const FIB: &str = "(module
  (func $fib (param $n i32) (result i32)
    (if (result i32) (i32.lt_u (local.get $n) (i32.const 2))
      (then (local.get $n))
      (else (i32.add
        (call $fib (i32.sub (local.get $n) (i32.const 1)))
        (call $fib (i32.sub (local.get $n) (i32.const 2)))))))";
    const BEGIN: &str = "(param i32) (result i32)\n    (global.set $top (i32.const 65536))";
    let counter = include_str!("../../tests/guests/counter.wat");
    let called = counter.replacen(BEGIN, &format!("{BEGIN} (drop (call $fib (i32.const 24)))"), 1);
    if called == counter {
        return Err("the guest that counts has another form".into());
    }
    Ok(called.replacen("(module", FIB, 1).into_bytes())
}

/// Commands in a second, of each variant in each round.
fn measure(workload: &Workload, batch: usize, cache: &Path) -> Result<Vec<Vec<f64>>, Box<dyn Error>> {
    // Commands that are all alike need not be many.
    let count = if workload.batches.len() > 1 { COMMANDS / batch } else { 16 };
    let marks = entries(workload, batch, 1, Checks { mark: true, ..Checks::default() })?;
    let entries = entries(workload, batch, count, Checks::default())?;
    let mut variants = Vec::new();
    for (name, gives) in VARIANTS {
        let mut variant =
            Variant { machine: Bare::new(&workload.module, cache, gives)?, index: 0, ran: Duration::ZERO };
        // Keys are new once only, and code is cold.
        for entry in &entries {
            variant.apply(entry)?;
        }
        let replies = variant.apply(&entries[0])?;
        if let Some(reply) = replies.iter().find(|reply| reply.as_bytes().starts_with(b"-")) {
            return Err(format!("{name}: {}", reply.as_bytes().escape_ascii()).into());
        }
        variants.push(variant);
    }
    let mut rates = vec![Vec::new(); VARIANTS.len()];
    for round in 0..ROUNDS {
        // Who is first changes.
        for turn in 0..VARIANTS.len() {
            let which = (round + turn) % VARIANTS.len();
            rates[which].push(variants[which].run(&entries, &marks[0])? * batch as f64);
        }
        eprintln!("{}, {batch} in an entry: round {} of {ROUNDS}", workload.title, round + 1);
    }
    Ok(rates)
}

struct Variant {
    machine: Bare,
    index: u64,
    ran: Duration,
}

impl Variant {
    fn apply(&mut self, entry: &Proposal) -> Result<uhaha_server::replies::Replies, Box<dyn Error>> {
        self.index += 1;
        self.machine.apply(self.index, entry)
    }

    /// Entries in a second, over one slice.
    fn run(&mut self, entries: &[Proposal], mark: &Proposal) -> Result<f64, Box<dyn Error>> {
        let marks = |ran: Duration| ran.as_nanos() / MARK_EVERY.as_nanos();
        let before = self.index;
        let begun = Instant::now();
        if marks(self.ran) != marks(self.ran + SLICE) {
            self.apply(mark)?;
        }
        // To look at the clock takes as long as a small command.
        while begun.elapsed() < SLICE {
            for _ in 0..16 {
                let entry = &entries[self.index as usize % entries.len()];
                self.apply(entry)?;
            }
        }
        let elapsed = begun.elapsed();
        self.ran += SLICE;
        Ok((self.index - before) as f64 / elapsed.as_secs_f64())
    }
}

/// So many entries, whose commands go on from one to the next.
fn entries(workload: &Workload, batch: usize, count: usize, checks: Checks) -> Result<Vec<Proposal>, Box<dyn Error>> {
    let command = |number: usize| {
        let words = (workload.words)(number as u64).into_iter().map(Bytes::from).collect();
        Command::new(words).ok_or("a command has a name")
    };
    (0..count)
        .map(|entry| {
            let commands = (0..batch).map(|number| command(entry * batch + number)).collect::<Result<Vec<_>, _>>()?;
            Ok(Proposal::encode_with(1, None, &[], None, checks, commands.iter()))
        })
        .collect()
}

fn print(workload: &Workload, batch: usize, rates: &[Vec<f64>]) {
    println!("\n### {}, {batch} in an entry\n", workload.title);
    println!("| guarantees | commands/s | of none (least–most) | of all but images |");
    println!("|---|---:|---:|---:|");
    for ((name, _), own) in VARIANTS.iter().zip(rates) {
        // Of one round, whose conditions both had.
        let ratios = |of: usize| own.iter().zip(&rates[of]).map(|(own, other)| own / other).collect::<Vec<_>>();
        let of_none = ratios(NONE);
        let least = of_none.iter().copied().fold(f64::INFINITY, f64::min);
        let most = of_none.iter().copied().fold(0.0, f64::max);
        println!(
            "| {name} | {:.0} | {:.3} ({least:.2}–{most:.2}) | {:.3} |",
            median(own.clone()),
            median(of_none),
            median(ratios(WITHOUT_IMAGES)),
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
