//! `Layered`: the log on disk, with the WAL in front of redb.
//!
//! A commit is durable when the WAL has it. What the WAL has goes on to redb in large parts, in the order in which it came,
//! by a thread of its own: redb writes eight pages, wherever they are, for each transaction, whatever is in it, and that
//! costs more than most commits need. What is large goes to redb at once, and is not written twice.
//!
//! At a start redb first gets what the WAL has and it has not. Every commit has a place, and the log is at one after it:
//! so those are known that redb has, and a gap is found. The watermark tells when the end is missing.

use super::Error;
use super::commit::Commit;
use super::disk::{Loaded, LogDisk, RedbDisk};
use super::folder::Folder;
use super::place::Place;
use super::wal::{self, Record, Wal};
use super::watermark::{self, Watermark};
use crate::storage::schema::Meta;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// From here on redb's pages weigh less than writing twice.
const LARGE_BYTES: usize = 256 << 10;
/// How soon a failure of the thread is noticed.
const LOOK_PERIOD: Duration = Duration::from_millis(100);

pub(super) struct Layered {
    /// Of redb.
    path: PathBuf,
    wal: Wal,
    /// What is filled of it before redb takes that.
    half_bytes: u32,
    /// What the WAL had at the start.
    records: Vec<Record>,
    /// What the watermark said at the start.
    reached: Option<Place>,
    /// Until it is loaded.
    redb: Option<RedbDisk>,
    /// From then on.
    open: Option<Open>,
}

struct Open {
    folder: Folder,
    watermark: Watermark,
    /// What the last commit left.
    meta: Meta,
    /// What the half of the WAL has that is filled.
    part: Vec<Commit>,
}

impl Layered {
    /// The WAL takes `wal_bytes`.
    pub(super) fn open(path: &Path, wal_bytes: u32) -> Result<Layered, Error> {
        let reached = reached(path)?;
        let redb = Some(RedbDisk::open(path)?);
        let half_bytes = wal_bytes / 2;
        let (wal, records) = Wal::open(path, half_bytes)?;
        Ok(Layered { path: path.to_owned(), wal, half_bytes, records, reached, redb, open: None })
    }

    /// On simulated disks. The watermark is beside `path`.
    #[cfg(test)]
    pub(super) fn open_with_backends(
        path: &Path,
        redb: impl redb::StorageBackend,
        wal: impl redb::StorageBackend,
    ) -> Result<Layered, Error> {
        let reached = watermark::read(path)?;
        let redb = Some(RedbDisk::open_with_backend(redb, path)?);
        let (wal, records) = Wal::with_backend(wal::path(path), Box::new(wal))?;
        let half_bytes = wal.half_bytes();
        Ok(Layered { path: path.to_owned(), wal, half_bytes, records, reached, redb, open: None })
    }

    /// Waits until nothing is under way to redb.
    #[cfg(test)]
    pub(super) fn settle(&mut self) {
        self.open.as_mut().unwrap().folder.wait().unwrap();
    }
}

/// Reads the whole log and changes nothing.
pub(super) fn read(path: &Path) -> Result<Loaded, Error> {
    let reached = reached(path)?;
    let mut redb = RedbDisk::open_to_read(path)?;
    Ok(Recovered::of(path, &mut redb, &Wal::read(path)?, reached)?.loaded)
}

/// What the watermark says; a log of which it alone is there is not taken for a new one.
fn reached(path: &Path) -> Result<Option<Place>, Error> {
    let reached = watermark::read(path)?;
    match reached.is_some() && !path.exists() {
        true => Err(Error::Missing { path: path.to_owned() }),
        false => Ok(reached),
    }
}

/// A log as it is after a start.
struct Recovered {
    loaded: Loaded,
    meta: Meta,
    /// What redb has not.
    commits: Vec<Commit>,
}

impl Recovered {
    /// Refuses a log that has a gap, or has lost its end.
    fn of(path: &Path, redb: &mut RedbDisk, records: &[Record], reached: Option<Place>) -> Result<Recovered, Error> {
        let mut loaded = redb.load()?;
        let (mut meta, mut commits) = (redb.meta().clone(), Vec::new());
        for record in records {
            let place = Place::of(&meta);
            if record.after <= place {
                continue;
            }
            let damaged = |what: &str| Error::Damaged {
                path: wal::path(path),
                what: format!("the record at byte {} {what}", record.at),
            };
            if record.before != place {
                return Err(damaged("does not follow what is before it"));
            }
            let commit =
                Commit::read(record.commit.clone()).map_err(|damage| damaged(&format!("is wrong: {damage}")))?;
            commit.advance(&mut meta);
            commit.redo(&mut loaded);
            if Place::of(&meta) != record.after {
                return Err(damaged("does not lead to where it says"));
            }
            commits.push(commit);
        }
        let place = Place::of(&meta);
        if reached.is_some_and(|reached| place < reached) {
            return Err(Error::Behind { path: path.to_owned() });
        }
        if reached.is_none() && place != Place::default() {
            return Err(Error::Missing { path: watermark::path(path) });
        }
        Ok(Recovered { loaded, meta, commits })
    }
}

impl LogDisk for Layered {
    fn load(&mut self) -> Result<Loaded, Error> {
        let mut redb = self.redb.take().ok_or(Error::Ended)?;
        let records = std::mem::take(&mut self.records);
        let Recovered { loaded, meta, commits } = Recovered::of(&self.path, &mut redb, &records, self.reached)?;
        if !commits.is_empty() {
            redb.commit(&commits, true)?;
        }
        self.wal.restart()?;
        self.wal.resize(&self.path, self.half_bytes)?;
        let watermark = Watermark::open(&self.path, Place::of(&meta))?;
        self.open = Some(Open { folder: Folder::start(redb)?, watermark, meta, part: Vec::new() });
        Ok(loaded)
    }

    fn commit(&mut self, commit: Commit, durable: bool) -> Result<(), Error> {
        let made = self.make(commit, durable);
        if let (Err(_), Some(open)) = (&made, &mut self.open) {
            // Whoever waits for it is told that it failed.
            open.part.clear();
        }
        made
    }

    fn wake_after(&self) -> Option<Duration> {
        self.open.as_ref().is_some_and(|open| open.folder.is_under_way()).then_some(LOOK_PERIOD)
    }
}

impl Layered {
    fn make(&mut self, commit: Commit, durable: bool) -> Result<(), Error> {
        let Open { folder, watermark, meta, part } = self.open.as_mut().ok_or(Error::Ended)?;
        folder.look()?;
        if !commit.is_empty() {
            let before = Place::of(meta);
            commit.advance(meta);
            let bytes = self.wal.encode(before, Place::of(meta), &commit)?;
            part.push(commit);
            if bytes > LARGE_BYTES.min(self.half_bytes as usize) {
                self.wal.drop_record();
                folder.fold(std::mem::take(part))?;
                folder.wait()?;
                self.wal.restart()?;
            } else {
                if !self.wal.has_room() {
                    let last = part.pop();
                    folder.fold(std::mem::take(part))?;
                    self.wal.switch()?;
                    part.extend(last);
                }
                self.wal.write()?;
            }
        }
        if durable {
            self.wal.sync()?;
            watermark.advance(Place::of(meta))?;
        }
        Ok(())
    }
}

impl Drop for Layered {
    /// Leaves everything to redb, if it can take it: the WAL has it in any case.
    fn drop(&mut self) {
        if let Some(Open { folder, part, .. }) = &mut self.open
            && !part.is_empty()
        {
            let _ = folder.fold(std::mem::take(part));
        }
    }
}
