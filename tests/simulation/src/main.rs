//! A cluster of real nodes on a simulated system, with faults, from one seed: `cargo xtask sim`.
//!
//! `os` is the system: threads, time, network, disks. On it run the server as it is shipped (`node`) and clients of it
//! (`client`), while the `nemesis` breaks things. What clients were told is judged by `checks`, what nodes have on their
//! disks by `logs`. Everything that happens follows from the seed, so a seed that fails does so again.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that reports to whoever started it")]

mod arguments;
mod checks;
mod client;
mod cluster;
mod faults;
mod history;
mod logs;
mod nemesis;
mod node;
mod os;
mod pipelines;
mod plan;
mod reader;
mod rng;
mod run;
mod telemetry;
mod trace;
mod verdict;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = match arguments::Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    if arguments.prepare {
        return node::prepare();
    }
    if let Err(message) = node::prepare_aside().and_then(|()| arguments::settle()) {
        eprintln!("{message}");
        return ExitCode::from(2);
    }
    run::run(&arguments)
}
