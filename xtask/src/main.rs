//! The project's own tasks: `cargo xtask <task>`. One file a task.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a task talks to the terminal")]

mod bench;
mod cargo;
mod ci;
mod clients;
mod data;
mod faults;
mod figures;
mod fuzz;
mod guests;
mod sim;
mod soak;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
Usage: cargo xtask <task>

  ci               everything a change must pass
  clients          install the client libraries that tests want
  bench            measure against redis-server and etcd; bench --help has the options
  hostile [WHICH]  clients that mean harm at full size, with others beside them; takes minutes
  soak             a cluster under load for hours, and whether anything grows; soak --help has the options
  figures [WHICH]  how long a cluster is without a leader; what catching up, snapshots, reads and guarantees cost
  fuzz [TARGET]    fuzz what reads untrusted bytes; fuzz --help has the options
  fixtures         make the data directories of this version that later ones must read
  flips            damage every byte of them; flips --seed S --sample N damages some. Takes minutes
  sim              nodes on a simulated system, with faults, from seeds; sim --help has the options
  faults           kill, cut, fill and confuse real clusters; faults --help has the options
  guests           build the example guests into examples/prebuilt
  guests --check   build them elsewhere and say whether the bytes are the same
  guests js        build the example in JavaScript into target, with a compiler from npm
  guests python    build the example in Python into target, with a compiler from PyPI";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[&str]) -> Result<()> {
    match args {
        rustc if fuzz::is_wrapping() => fuzz::wrap(rustc),
        ["ci"] => ci::run(),
        ["clients"] => clients::install(),
        ["bench", options @ ..] => bench::run(options),
        ["faults", options @ ..] => faults::run(options),
        ["figures"] => figures::run(None),
        ["figures", which] => figures::run(Some(which)),
        ["hostile"] => figures::run(Some("hostile_clients")),
        ["hostile", which] => figures::hostile(which),
        ["soak", options @ ..] => soak::run(options),
        ["fuzz", options @ ..] => fuzz::run(options),
        ["fixtures"] => data::fixtures(),
        ["flips", options @ ..] => data::flips(options),
        ["sim", options @ ..] => sim::run(options),
        ["guests"] => guests::build(),
        ["guests", "--check"] => guests::check(),
        ["guests", "js"] => guests::javascript(),
        ["guests", "python"] => guests::python(),
        [] | ["help" | "-h" | "--help"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("no such task: {}\n\n{USAGE}", args.join(" ")),
    }
}
