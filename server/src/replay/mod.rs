//! `uhaha-server replay`: applies the log of a node that is not running again, and tells what came of it.
//!
//! Nothing in the data directory changes. With the module that wrote the log, two replays end with the same digests, and
//! with those of the cluster; with another one, the log is applied to both, and the first reply that differs is told.

mod compare;
mod modules;
mod report;
mod show;

pub use self::report::{Difference, Outcome, Report};

use self::modules::Modules;
use crate::fault::{Fault, chain};
use crate::guest::{self, Guest, Limits};
use crate::machine::{Applied, Content, Offline, RestoreError, snapshot};
use crate::module::Module;
use crate::storage::schema::Identity;
use crate::storage::snapshots::{self, SnapshotInfo, Snapshots};
use crate::storage::{self, DataDir, log, ward};
use crate::type_config::{Entry, NodeId};
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a long replay says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub struct Options {
    /// The node's own directory, or one that has only that one in it.
    pub data: PathBuf,
    /// Without one, the example that wrote the log.
    pub module: Option<Module>,
    /// The module that wrote the log, if `module` is another one and this no example.
    pub original: Option<Module>,
    pub limits: Limits,
    /// Begins with the newest snapshot that is not of a later entry; 0 begins with the first entry.
    pub from: Option<u64>,
    /// The last entry to apply; without it, the last one known to be committed.
    pub until: Option<u64>,
}

/// Why a log cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Dir(#[from] storage::Error),
    #[error(transparent)]
    Log(#[from] log::Error),
    #[error("the snapshots cannot be listed")]
    Snapshots(#[from] snapshots::Error),
    #[error("the data directory {0} was never used")]
    New(String),
    #[error("cannot read the module {name}")]
    ReadModule { name: String, source: io::Error },
    #[error("the module {name} is refused")]
    Module { name: String, source: guest::Error },
    #[error("cannot make a directory for the compiled module")]
    Cache(#[source] io::Error),
    #[error("the log was written with the module {hash}; give its file with {flag}")]
    NoModule { hash: String, flag: &'static str },
    #[error("{name} ({theirs}) is not the module that wrote the log ({ours})")]
    NotOriginal { name: String, theirs: String, ours: String },
    #[error(
        "another module can be compared only from the first entry on, and the log begins after index {purged}: what was \
         before is in snapshots, which fit no module but the one that made them"
    )]
    Purged { purged: u64 },
    #[error("--from needs the module that wrote the log: another one has no snapshots and begins with the first entry")]
    FromWithOther,
    #[error("--until {until}: the log has the entries up to {last}")]
    Until { until: u64, last: u64 },
    #[error("--until {until}: the log begins after index {purged}, and the snapshots are newer or damaged{problems}")]
    NoState { until: u64, purged: u64, problems: String },
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("cannot print")]
    Print(#[from] io::Error),
    #[error("the guest could not be run")]
    Thread(#[source] io::Error),
    #[error(transparent)]
    Ward(#[from] ward::Error),
    #[error("the state of the node in {0} is known to be wrong: it is in quarantine; take another node's")]
    Quarantined(String),
}

/// A line of `--trace`.
#[derive(Debug, Serialize)]
pub struct Line {
    index: u64,
    /// The machine's, after the entry.
    time: String,
    /// In parentheses if it is no command of a client.
    command: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<String>,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.index, self.time, self.command)?;
        self.reply.as_ref().map_or(Ok(()), |reply| write!(f, " -> {reply}"))
    }
}

/// Where lines of `--trace` go; none if it was not asked for.
pub type Trace<'a> = Option<&'a mut (dyn FnMut(&Line) -> io::Result<()> + Send)>;

/// Replays a log.
pub fn replay(options: &Options, trace: Trace<'_>) -> Result<Outcome, Error> {
    guest::on_guest_thread("apply", || replay_here(options, trace)).unwrap_or_else(|error| Err(Error::Thread(error)))
}

/// The guest and the state of a node after the last entry that is to be applied. With `original` only: the module that
/// wrote the log is the only one that this state fits. To be called on a thread for guests.
pub fn recall(options: &Options) -> Result<Recalled, Error> {
    let dir = DataDir::open_to_read(storage::find(&options.data)?)?;
    if dir.ward().quarantined()?.is_some() {
        return Err(Error::Quarantined(dir.path().display().to_string()));
    }
    let node = Kept::read(&dir)?;
    let guest = Modules::load(options, &node.identity.module)?.original;
    let span = Span::of(&node.contents, node.is_alone(), options)?;
    let (mut machine, start) = start(&node.snapshots, node.listed.clone(), &span, options, &guest)?;
    // All that is needed is in memory: a node may have its directory back.
    drop(dir);
    let entries = span.after(machine.applied());
    let mut progress = Progress::new(entries);
    for entry in entries {
        progress.at(machine.apply(entry)?.index);
    }
    Ok(Recalled { guest, machine, skipped: start.skipped })
}

/// What a node knew when it ended.
pub struct Recalled {
    pub guest: Arc<Guest>,
    pub machine: Offline,
    /// Snapshots that could not be used, with the reason.
    pub skipped: Vec<String>,
}

fn replay_here(options: &Options, trace: Trace<'_>) -> Result<Outcome, Error> {
    let dir = DataDir::open_to_read(storage::find(&options.data)?)?;
    let node = Kept::read(&dir)?;
    let modules = Modules::load(options, &node.identity.module)?;
    if modules.other.is_some() && options.from.is_some() {
        return Err(Error::FromWithOther);
    }
    let span = Span::of(&node.contents, node.is_alone(), options)?;
    match modules.other {
        Some(other) => {
            drop(dir);
            compare::compare(&span, &modules.original, &other, trace).map(Outcome::Compared)
        }
        None => {
            let (machine, start) = start(&node.snapshots, node.listed.clone(), &span, options, &modules.original)?;
            // All that is needed is in memory: a node may have its directory back.
            let path = dir.path().display().to_string();
            drop(dir);
            Report::of(path, &span, &modules.original, machine, start, trace).map(Outcome::Replayed)
        }
    }
}

/// What a node has kept.
struct Kept {
    identity: Identity,
    contents: log::Contents,
    snapshots: Snapshots,
    /// Newest first.
    listed: Vec<SnapshotInfo>,
}

impl Kept {
    fn read(dir: &DataDir) -> Result<Kept, Error> {
        let contents = log::read(&dir.log_path())?;
        let identity = contents.identity.clone().ok_or_else(|| Error::New(dir.path().display().to_string()))?;
        let snapshots = Snapshots::open_to_read(dir.snapshots_path());
        let listed = if dir.snapshots_path().is_dir() { snapshots.list()? } else { Vec::new() };
        Ok(Kept { identity, contents, snapshots, listed })
    }

    /// Whether the node is its cluster's only voter.
    fn is_alone(&self) -> bool {
        let voters = self.contents.voters().or_else(|| voters(&self.snapshots, &self.listed));
        voters == Some(BTreeSet::from([self.identity.node_id]))
    }
}

/// The entries that there are, and how far they are to be applied.
struct Span<'a> {
    /// Those up to the last one to apply.
    entries: &'a [Entry],
    /// The last entry that the log no longer has; 0 if it has all.
    purged: u64,
    until: u64,
    committed: u64,
    /// The last entry of the log.
    last: u64,
}

impl Span<'_> {
    /// What the only voter of a cluster has in its log is committed, whether it had noted that or not.
    fn of<'a>(contents: &'a log::Contents, alone: bool, options: &Options) -> Result<Span<'a>, Error> {
        let purged = contents.purged.map_or(0, |id| id.index);
        let last = contents.entries.last().map_or(purged, |entry| entry.log_id.index);
        let known = contents.committed.map_or(0, |id| id.index).min(last);
        let committed = if alone { last } else { known };
        let until = options.until.unwrap_or(committed);
        if until > last {
            return Err(Error::Until { until, last });
        }
        let end = contents.entries.partition_point(|entry| entry.log_id.index <= until);
        Ok(Span { entries: &contents.entries[..end], purged, until, committed, last })
    }

    fn after(&self, applied: Option<u64>) -> &[Entry] {
        &self.entries[self.entries.partition_point(|entry| Some(entry.log_id.index) <= applied)..]
    }
}

/// Who had a vote when the newest snapshot was taken that can be read.
fn voters(snapshots: &Snapshots, listed: &[SnapshotInfo]) -> Option<BTreeSet<NodeId>> {
    listed.iter().find_map(|info| snapshot::read_header(snapshots, &info.id).ok()).map(|header| header.voters())
}

/// What a replay began with.
struct Start {
    snapshot: Option<SnapshotInfo>,
    /// Snapshots that could not be used, with the reason.
    skipped: Vec<String>,
}

/// The state of the newest snapshot that is whole and not too new, or the very first state.
fn start(
    snapshots: &Snapshots,
    listed: Vec<SnapshotInfo>,
    span: &Span<'_>,
    options: &Options,
    guest: &Arc<Guest>,
) -> Result<(Offline, Start), Error> {
    let most = options.from.unwrap_or(u64::MAX).min(span.until);
    let mut skipped = Vec::new();
    for info in listed.into_iter().filter(|info| (span.purged..=most).contains(&info.index)) {
        match Offline::of_snapshot(Arc::clone(guest), snapshots, &info.id) {
            Ok(machine) => return Ok((machine, Start { snapshot: Some(info), skipped })),
            Err(RestoreError::Fault(fault)) => return Err(fault.into()),
            Err(error) => skipped.push(format!("{}: {}", info.id, chain(&error))),
        }
    }
    if span.purged > 0 {
        let problems = skipped.iter().map(|problem| format!("; {problem}")).collect();
        return Err(Error::NoState { until: most, purged: span.purged, problems });
    }
    Ok((Offline::new(Arc::clone(guest))?, Start { snapshot: None, skipped }))
}

/// Tells a person now and then how far a long replay is.
struct Progress {
    said: Instant,
    first: u64,
    last: u64,
}

impl Progress {
    fn new(entries: &[Entry]) -> Progress {
        let index = |entry: Option<&Entry>| entry.map_or(0, |entry| entry.log_id.index);
        Progress { said: Instant::now(), first: index(entries.first()), last: index(entries.last()) }
    }

    fn at(&mut self, index: u64) {
        if self.said.elapsed() >= PROGRESS_EVERY {
            self.said = Instant::now();
            let (done, all) = (index - self.first + 1, self.last - self.first + 1);
            // When stderr is gone there is nobody left to tell.
            let _ = writeln!(io::stderr(), "replayed {done} of {all} entries ({} %)", done * 100 / all);
        }
    }
}

/// The lines of one entry.
fn lines(applied: &Applied, now: u64) -> Vec<Line> {
    let time = report::human_time(now);
    let line = |command: String, reply| Line { index: applied.index, time: time.clone(), command, reply };
    match &applied.content {
        Content::Blank => vec![line("(a term begins)".to_owned(), None)],
        Content::Membership(members) => {
            vec![line(format!("(members {})", members.join(", ").escape_debug()), None)]
        }
        Content::Commands { tick, commands } => {
            let ticks = tick.then(|| line("(tick)".to_owned(), None)).into_iter();
            let replied = commands.iter().zip(applied.replies.iter());
            let commands = replied.map(|(command, reply)| line(show::command(command), Some(show::reply(reply))));
            ticks.chain(commands).collect()
        }
    }
}
