//! Damage: the files of a data directory changed in every way, and what a server makes of each, without its process.
//!
//! What is looked at is all that a node begins with: the log with vote and identity, the snapshots, the quarantine. A node
//! is deterministic from there on, so what is equal here is equal for ever.

mod damage;

pub use damage::{Damage, Random, of_every_kind};

use crate::server::files;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use uhaha_server::digest::{Difference, Digests};
use uhaha_server::fault::chain;
use uhaha_server::storage::log::{self, Contents};
use uhaha_server::storage::snapshots::{SnapshotInfo, Snapshots};
use uhaha_server::storage::{DataDir, find};

/// What a node makes of a damaged directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Everything is what it was: the bytes are not in use.
    Harmless,
    /// It does not start, and says why in one line.
    Refused,
    /// A snapshot is passed over: an older one and the log give the same state.
    PassedOver,
    /// No snapshot is left that reaches the log: a member takes another node's state, a node that is alone refuses.
    NoState,
    /// It goes on with something else, or panics. This must never be.
    Wrong(String),
}

/// How many damages had which outcome.
pub type Tally = BTreeMap<Outcome, usize>;

/// A node's own directory and what is true of it.
#[derive(Debug)]
pub struct Subject {
    dir: PathBuf,
    contents: Contents,
    snapshots: BTreeMap<String, Vec<Vec<u8>>>,
    quarantine: Option<Difference>,
}

impl Subject {
    /// Puts a node's directory, which nobody uses, into quarantine, so that the file for it is there as well.
    pub fn new(dir: &Path) -> Subject {
        let digests = Digests { index: 7, ..Digests::default() };
        let open = DataDir::open_to_read(dir).unwrap();
        open.ward().enter(&Difference { ours: digests, theirs: digests }).unwrap();
        let contents = log::read(&open.log_path()).unwrap();
        let quarantine = open.ward().quarantined().unwrap();
        let listed = list(&open);
        let snapshots = listed.unwrap().into_iter().map(|info| {
            let chunks = read(&Snapshots::open_to_read(open.snapshots_path()), &info.id).unwrap();
            (info.id, chunks)
        });
        Subject { dir: dir.to_owned(), contents, snapshots: snapshots.collect(), quarantine }
    }

    /// The names of its files.
    pub fn files(&self) -> Vec<PathBuf> {
        let names = files(&self.dir).into_iter().map(|file| file.strip_prefix(&self.dir).unwrap().to_owned());
        let mut names: Vec<PathBuf> = names.collect();
        names.sort();
        names
    }

    pub fn bytes(&self, file: &Path) -> Vec<u8> {
        fs::read(self.dir.join(file)).unwrap()
    }

    /// Does each of the damages to a file, one at a time, on all processors.
    pub fn damage(&self, file: &Path, damages: &[Damage]) -> Tally {
        let next = AtomicUsize::new(0);
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let work = || {
            let copy = Copy::of(self, file);
            let mut tally = Tally::new();
            while let Some(damage) = damages.get(next.fetch_add(1, Ordering::Relaxed)) {
                let outcome = match copy.assess(damage) {
                    Outcome::Wrong(what) => Outcome::Wrong(format!("{}, {damage:?}: {what}", file.display())),
                    outcome => outcome,
                };
                *tally.entry(outcome).or_default() += 1;
            }
            tally
        };
        let tallies: Vec<Tally> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        let mut sum = Tally::new();
        for (outcome, count) in tallies.into_iter().flatten() {
            *sum.entry(outcome).or_default() += count;
        }
        sum
    }

    /// What a node makes of `dir`, in which only `file` is not as it was.
    fn assess(&self, dir: &Path, file: &Path) -> Outcome {
        match catch_unwind(AssertUnwindSafe(|| self.assess_or_refuse(dir, file))) {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(refusal)) if refusal.is_empty() || refusal.lines().count() != 1 => {
                Outcome::Wrong(format!("not one line: {refusal:?}"))
            }
            Ok(Err(_)) => Outcome::Refused,
            Err(_) => Outcome::Wrong("a panic".to_owned()),
        }
    }

    fn assess_or_refuse(&self, dir: &Path, file: &Path) -> Result<Outcome, String> {
        if file.starts_with("snapshots") {
            return self.assess_snapshots(&DataDir::open_to_read(dir).map_err(|error| chain(&error))?);
        }
        // One that only the log's name finds.
        let dir = DataDir::open_to_read(find(dir).map_err(|error| chain(&error))?).map_err(|error| chain(&error))?;
        if log::read(&dir.log_path()).map_err(|error| chain(&error))? != self.contents {
            return Ok(Outcome::Wrong("the log, the vote or the identity is another".to_owned()));
        }
        if dir.ward().quarantined().map_err(|error| chain(&error))? != self.quarantine {
            return Ok(Outcome::Wrong("the quarantine is another".to_owned()));
        }
        Ok(Outcome::Harmless)
    }

    fn assess_snapshots(&self, dir: &DataDir) -> Result<Outcome, String> {
        let snapshots = Snapshots::open_to_read(dir.snapshots_path());
        let listed = list(dir).map_err(|error| chain(&error))?;
        let mut whole = Vec::new();
        for info in listed {
            let Ok(chain) = snapshots.chain(&info.id) else { continue };
            let chunks: Result<Vec<_>, _> = chain.iter().map(|info| read(&snapshots, &info.id)).collect();
            let Ok(chunks) = chunks else { continue };
            let equal = chain.iter().zip(&chunks).all(|(info, chunks)| self.snapshots.get(&info.id) == Some(chunks));
            if !equal {
                return Ok(Outcome::Wrong(format!("the snapshot {} is another", info.id)));
            }
            whole.push(info);
        }
        let reaches = |info: &SnapshotInfo| Some(info.index) >= self.contents.purged.map(|id| id.index);
        Ok(match (whole.len() == self.snapshots.len(), whole.iter().any(reaches) || self.contents.purged.is_none()) {
            (true, _) => Outcome::Harmless,
            (false, true) => Outcome::PassedOver,
            (false, false) => Outcome::NoState,
        })
    }
}

fn list(dir: &DataDir) -> Result<Vec<SnapshotInfo>, uhaha_server::storage::snapshots::Error> {
    match dir.snapshots_path().is_dir() {
        true => Snapshots::open_to_read(dir.snapshots_path()).list(),
        false => Ok(Vec::new()),
    }
}

fn read(snapshots: &Snapshots, id: &str) -> Result<Vec<Vec<u8>>, uhaha_server::storage::snapshots::Error> {
    let mut reader = snapshots.read(id)?;
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.next_chunk()? {
        chunks.push(chunk);
    }
    Ok(chunks)
}

/// A copy of the directory for one worker, whole between two damages.
struct Copy<'a> {
    subject: &'a Subject,
    file: &'a Path,
    path: PathBuf,
    original: Vec<u8>,
    /// Kept for its end.
    dir: tempfile::TempDir,
}

impl<'a> Copy<'a> {
    fn of(subject: &'a Subject, file: &'a Path) -> Copy<'a> {
        let dir = tempfile::tempdir().unwrap();
        for name in subject.files() {
            let to = dir.path().join(&name);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(subject.dir.join(&name), to).unwrap();
        }
        let path = dir.path().join(file);
        Copy { subject, file, original: subject.bytes(file), path, dir }
    }

    fn assess(&self, damage: &Damage) -> Outcome {
        match damage.changes(&self.original) {
            // Most change little of much.
            Some(changes) => {
                let file = OpenOptions::new().write(true).open(&self.path).unwrap();
                let write = |file: &File, at: usize, bytes: &[u8]| file.write_all_at(bytes, at as u64).unwrap();
                changes.iter().for_each(|(at, bytes)| write(&file, *at, bytes));
                let outcome = self.subject.assess(self.dir.path(), self.file);
                changes.iter().for_each(|(at, bytes)| write(&file, *at, &self.original[*at..*at + bytes.len()]));
                outcome
            }
            None => {
                match damage.replace(&self.original) {
                    Some(bytes) => fs::write(&self.path, bytes).unwrap(),
                    None => fs::remove_file(&self.path).unwrap(),
                }
                let outcome = self.subject.assess(self.dir.path(), self.file);
                fs::write(&self.path, &self.original).unwrap();
                outcome
            }
        }
    }
}
