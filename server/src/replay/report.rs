//! What a replay found, for a program or for a person.

use super::{Error, Progress, Span, Start, Trace, lines};
use crate::guest::Guest;
use crate::machine::{Content, Offline};
use serde::Serialize;
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    Replayed(Report),
    Compared(Comparison),
}

/// Of a replay with the module that wrote the log.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The node's own directory.
    data: String,
    module: Named,
    /// The snapshot that it began with; without one it began with the first entry.
    snapshot: Option<String>,
    /// Snapshots that could not be used, with the reason.
    skipped: Vec<String>,
    /// The entries that were applied; none of them if the snapshot reaches far enough.
    first: Option<u64>,
    last: u64,
    entries: usize,
    commands: usize,
    ticks: usize,
    /// Commands and ticks that failed and left no trace.
    traps: u64,
    /// The machine's, at the end.
    time: String,
    running_digest: String,
    state_digest: String,
    /// The last entry known to be committed, and the last one of the log.
    committed: u64,
    last_in_log: u64,
}

/// Of a replay with the module that wrote the log and another one.
#[derive(Debug, Serialize)]
pub struct Comparison {
    pub(super) original: Named,
    pub(super) other: Named,
    /// Entries applied to both, the one with the difference among them.
    pub(super) entries: usize,
    /// Commands with equal replies.
    pub(super) commands: usize,
    pub(super) last: u64,
    pub(super) difference: Option<Difference>,
}

/// The first reply that differs.
#[derive(Debug, Serialize)]
pub struct Difference {
    pub index: u64,
    /// The place in its entry, from 0.
    pub position: usize,
    pub command: String,
    pub original: String,
    pub other: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Named {
    name: String,
    version: String,
    hash: String,
}

impl Named {
    pub(super) fn of(guest: &Guest) -> Named {
        let description = guest.description();
        Named { name: description.name.clone(), version: description.version.clone(), hash: guest.hash().to_owned() }
    }
}

impl Report {
    /// Applies what the span has behind the machine's state.
    pub(super) fn of(
        data: String,
        span: &Span<'_>,
        guest: &Guest,
        mut machine: Offline,
        start: Start,
        mut trace: Trace<'_>,
    ) -> Result<Report, Error> {
        let entries = span.after(machine.applied());
        let (mut commands, mut ticks) = (0, 0);
        let mut progress = Progress::new(entries);
        for entry in entries {
            let applied = machine.apply(entry)?;
            if let Content::Commands { tick, commands: of_entry } = &applied.content {
                ticks += usize::from(*tick);
                commands += of_entry.len();
            }
            if let Some(trace) = &mut trace {
                lines(&applied, machine.now()).iter().try_for_each(&mut **trace)?;
            }
            progress.at(applied.index);
        }
        Ok(Report {
            data,
            module: Named::of(guest),
            snapshot: start.snapshot.map(|info| info.id),
            skipped: start.skipped,
            first: entries.first().map(|entry| entry.log_id.index),
            last: machine.applied().unwrap_or(0),
            entries: entries.len(),
            commands,
            ticks,
            traps: machine.traps(),
            time: human_time(machine.now()),
            running_digest: machine.running_digest().to_string(),
            state_digest: machine.state_digest()?.to_string(),
            committed: span.committed,
            last_in_log: span.last,
        })
    }
}

impl Outcome {
    /// Whether another module gave another reply.
    pub fn differs(&self) -> bool {
        matches!(self, Outcome::Compared(Comparison { difference: Some(_), .. }))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Replayed(report) => report.fmt(f),
            Outcome::Compared(comparison) => comparison.fmt(f),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = match &self.snapshot {
            Some(snapshot) => format!("snapshot {snapshot}"),
            None => "the first entry".to_owned(),
        };
        let entries = match self.first {
            Some(first) => format!("{}, from {first} to {}", self.entries, self.last),
            None => format!("none; the state is that of entry {}", self.last),
        };
        let facts = [
            ("data", &self.data),
            ("module", &self.module.to_string()),
            ("began with", &from),
            ("entries", &entries),
            ("commands", &self.commands.to_string()),
            ("ticks", &self.ticks.to_string()),
            ("traps", &self.traps.to_string()),
            ("machine time", &self.time),
            ("running digest", &self.running_digest),
            ("state digest", &self.state_digest),
        ];
        self.skipped.iter().try_for_each(|problem| writeln!(f, "{:<16}{problem}", "skipped"))?;
        facts.iter().try_for_each(|(name, fact)| writeln!(f, "{name:<16}{fact}"))?;
        if self.last_in_log > self.last {
            let committed = if self.last < self.committed { "" } else { " not known here to be committed;" };
            writeln!(f, "{:<16}entries up to {};{committed} see --until", "not applied", self.last_in_log)?;
        }
        Ok(())
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = [
            ("original", self.original.to_string()),
            ("other", self.other.to_string()),
            ("entries", format!("{}, up to {}", self.entries, self.last)),
            ("equal replies", self.commands.to_string()),
        ];
        facts.iter().try_for_each(|(name, fact)| writeln!(f, "{name:<16}{fact}"))?;
        let Some(difference) = &self.difference else { return writeln!(f, "no reply differs") };
        writeln!(f, "the first reply that differs")?;
        let facts = [
            ("index", format!("{}, command {} of the entry", difference.index, difference.position + 1)),
            ("command", difference.command.clone()),
            ("original", difference.original.clone()),
            ("other", difference.other.clone()),
        ];
        facts.iter().try_for_each(|(name, fact)| writeln!(f, "  {name:<14}{fact}"))
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.name, self.version, self.hash)
    }
}

/// RFC 3339. Nanoseconds of 64 bits end in the year 2554, which has four digits.
pub(super) fn human_time(ns: u64) -> String {
    humantime::format_rfc3339_nanos(UNIX_EPOCH + Duration::from_nanos(ns)).to_string()
}
