//! What the program was asked for, and the environment it needs.

use crate::plan::{Guest, Mutation};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

const USAGE: &str = "\
Usage: uhaha-simulation --seed SEED [OPTIONS]

  --seed SEED       what everything follows from
  --seconds S       how long faults go on, in simulated time (the seed's choice)
  --trace FILE      the whole readable trace, also of a run that passes
  --only FAULT      no faults but those whose names begin so, as PowerFails
  --guest NAME      ticket, kvdb or rash (the seed's choice)
  --leases          nodes count on leases, whatever the seed says
  --mutation NAME   break one thing on purpose: nosync, file-sync, directory-sync, open-reads or lease
  --events FILE     every event, to compare two runs that should be the same";

#[derive(Debug, Default)]
pub(crate) struct Arguments {
    pub(crate) seed: u64,
    pub(crate) seconds: Option<u64>,
    pub(crate) trace: Option<PathBuf>,
    pub(crate) only: Option<String>,
    pub(crate) guest: Option<Guest>,
    pub(crate) leases: bool,
    pub(crate) mutation: Option<Mutation>,
    pub(crate) events: Option<PathBuf>,
    /// Only compiles the guests, for the runs to come.
    pub(crate) prepare: bool,
}

impl Arguments {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut arguments = Arguments::default();
        let mut has_seed = false;
        while let Some(word) = words.next() {
            if word == "--prepare" {
                (arguments.prepare, has_seed) = (true, true);
                continue;
            }
            if word == "--leases" {
                arguments.leases = true;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{word} needs a value\n\n{USAGE}"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("{word} {value}: not a number"));
            // Files are named from where the program was started, which it leaves.
            let path = || std::path::absolute(&value).map_err(|error| format!("{word} {value}: {error}"));
            match word.as_str() {
                "--seed" => (arguments.seed, has_seed) = (number()?, true),
                "--seconds" => arguments.seconds = Some(number()?),
                "--trace" => arguments.trace = Some(path()?),
                "--only" => arguments.only = Some(value),
                "--guest" => {
                    let named = |guest: &Guest| guest.name() == value;
                    arguments.guest = Some(Guest::ALL.into_iter().find(named).ok_or(format!("no guest {value}"))?);
                }
                "--mutation" => {
                    arguments.mutation = Some(Mutation::named(&value).ok_or(format!("no mutation {value}"))?)
                }
                "--events" => arguments.events = Some(path()?),
                _ => return Err(format!("{word} is not an option\n\n{USAGE}")),
            }
        }
        match has_seed {
            true => Ok(arguments),
            false => Err(USAGE.to_owned()),
        }
    }
}

/// Starts the program again with what a run needs to be the same each time: addresses that are not random, and one
/// arena for all threads, so that memory lies where it lay before.
pub(crate) fn settle() -> Result<(), String> {
    const MARK: &str = "MALLOC_ARENA_MAX";
    if std::env::var_os(MARK).is_some_and(|value| value == "1") && crate::os::has_fixed_addresses() {
        return Ok(());
    }
    crate::os::fix_addresses();
    let program = std::env::current_exe().map_err(|error| format!("this program has no path: {error}"))?;
    Err(Command::new(program).args(std::env::args().skip(1)).env(MARK, "1").exec().to_string())
}
