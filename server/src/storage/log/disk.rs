//! `LogDisk`: what the writer thread needs of a disk, and `RedbDisk`, where the log is in the end.
//!
//! Nothing is committed after a commit that failed: the writer ends with it, for after a failed fsync nobody knows what
//! the disk holds.
//!
//! What is read is what was written: redb's checksums are verified at open, and each row has one of its own.

use super::super::sync_dir;
use super::Error;
use super::commit::{Change, Commit, first_after};
use super::guard::guarded;
use super::overlay::Overlay;
use super::place::Place;
use super::rows::{Rows, Stale};
use crate::storage::schema::{
    ALL, Damage, Identity, LOG, META, Meta, Row, meta_row, read_meta_row, read_row, record_bytes,
};
use crate::type_config::{Entry, LogId, Vote};
use bytes::Bytes;
use openraft::entry::RaftEntry;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, Table, WriteTransaction};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything that the disk held when it was opened.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Loaded {
    pub(super) entries: Vec<Entry>,
    pub(super) purged: Option<LogId>,
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) identity: Option<Identity>,
}

pub(super) trait LogDisk: Send + 'static {
    /// Reads everything; to be called once and first.
    fn load(&mut self) -> Result<Loaded, Error>;

    /// Makes a commit. With `durable`, it and those before it survive a power cut once it returns.
    fn commit(&mut self, commit: Commit, durable: bool) -> Result<(), Error>;

    /// When the next commit should come at the latest, even if there is nothing in it.
    fn wake_after(&self) -> Option<Duration>;
}

pub(super) struct RedbDisk {
    /// Taken only when it is dropped.
    database: Option<Database>,
    path: PathBuf,
    /// What the last commit left.
    meta: Meta,
    /// There may be rows that hold nothing above this index. They are not part of the log any more.
    stale_upto: Option<u64>,
    /// Those of the table. Of no use after a commit that failed, for that is the last one.
    rows: Rows,
}

/// What is removed in one commit, besides twice as much as it adds: to remove a gibibyte at once takes most of a second,
/// and nothing is appended meanwhile.
const STALE_ROWS: usize = 32;
const STALE_BYTES: usize = 2 << 20;

impl RedbDisk {
    /// redb's own cache: reads are answered from our memory, so it holds little more than the pages of a transaction.
    const CACHE_BYTES: usize = 16 << 20;

    pub(super) fn open(path: &Path) -> Result<RedbDisk, Error> {
        let database = RedbDisk::begin(path, RedbDisk::CACHE_BYTES, |builder| builder.create(path))?;
        // redb syncs what is in the file, not its name.
        let synced = path.parent().map_or(Ok(()), sync_dir);
        synced.map_err(|error| Error::open(path, redb::DatabaseError::Storage(redb::StorageError::Io(error))))?;
        RedbDisk::with_tables(database, path)
    }

    /// Opens a file that is there and stays as it is.
    pub(super) fn open_to_read(path: &Path) -> Result<RedbDisk, Error> {
        let failed = |error| Error::open(path, redb::DatabaseError::Storage(redb::StorageError::Io(error)));
        let overlay = Overlay::open(path).map_err(failed)?;
        let database = RedbDisk::begin(path, RedbDisk::CACHE_BYTES, |builder| builder.create_with_backend(overlay))?;
        RedbDisk::with_tables(database, path)
    }

    /// Opens the database and checks every page that is in use: without that, redb trusts a file that was closed well.
    fn begin(
        path: &Path,
        cache_bytes: usize,
        open: impl FnOnce(&redb::Builder) -> Result<Database, redb::DatabaseError>,
    ) -> Result<Database, Error> {
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes).set_check_integrity_on_open(true);
        let opened = guarded(|| open(&builder)).map_err(|what| Error::Damaged { path: path.to_owned(), what })?;
        opened.map_err(|error| Error::open(path, error))
    }

    fn with_tables(database: Database, path: &Path) -> Result<RedbDisk, Error> {
        let (path, meta) = (path.to_owned(), Meta::default());
        let disk = RedbDisk { database: Some(database), path, meta, stale_upto: None, rows: Rows::default() };
        disk.transaction(Durability::Immediate, |transaction| {
            transaction.open_table(LOG)?;
            transaction.open_table(META)?;
            Ok(())
        })?;
        Ok(disk)
    }

    /// On a simulated disk, and without a cache, so that each page is read from there.
    #[cfg(test)]
    pub(super) fn open_with_backend(backend: impl redb::StorageBackend, path: &Path) -> Result<RedbDisk, Error> {
        let database = RedbDisk::begin(path, 0, |builder| builder.create_with_backend(backend))?;
        RedbDisk::with_tables(database, path)
    }

    fn database(&self) -> Result<&Database, redb::Error> {
        self.database.as_ref().ok_or(redb::Error::DatabaseClosed)
    }

    fn transaction<T>(
        &self,
        durability: Durability,
        change: impl FnOnce(&WriteTransaction) -> Result<T, WriteError>,
    ) -> Result<T, Error> {
        let run = || -> Result<T, WriteError> {
            let mut transaction = self.database()?.begin_write()?;
            transaction.set_durability(durability)?;
            let changed = change(&transaction)?;
            transaction.commit()?;
            Ok(changed)
        };
        let path = self.path.clone();
        match guarded(run) {
            Ok(Ok(changed)) => Ok(changed),
            Ok(Err(WriteError::Redb(source))) => Err(Error::Write { path, source }),
            Ok(Err(WriteError::Encode(source))) => Err(Error::Encode { source }),
            Ok(Err(WriteError::Row(key, damage))) => Err(Error::damaged_log_row(&path, key, damage)),
            Err(what) => Err(Error::Damaged { path, what }),
        }
    }

    fn read<T>(&self, read: impl FnOnce() -> Result<T, Box<redb::Error>>) -> Result<T, Error> {
        let path = self.path.clone();
        match guarded(read) {
            Ok(result) => result.map_err(|source| Error::Read { path, source }),
            Err(what) => Err(Error::Damaged { path, what }),
        }
    }

    fn read_meta(&self) -> Result<Option<Meta>, Error> {
        let row = self.read(|| {
            let meta = self.database().map_err(boxed)?.begin_read().map_err(boxed)?.open_table(META).map_err(boxed)?;
            Ok(meta.get(ALL).map_err(boxed)?.map(|row| row.value().to_vec()))
        })?;
        row.map(|row| {
            let damaged =
                |damage| Error::DamagedRow { path: self.path.clone(), table: "meta", row: ALL.into(), damage };
            read_meta_row(&row).map_err(damaged)
        })
        .transpose()
    }

    fn read_entries(&mut self, purged: Option<LogId>) -> Result<Vec<Entry>, Error> {
        let mut next = purged.map_or(0, |purged| purged.index + 1);
        let (mut entries, mut stale_upto) = (Vec::new(), None);
        let mut all = Rows::default();
        let table = || self.database().map_err(boxed)?.begin_read().map_err(boxed)?.open_table(LOG).map_err(boxed);
        let log = self.read(table)?;
        let mut rows = self.read(|| log.iter().map_err(boxed))?;
        while let Some((key, row)) = self.read(|| {
            let row = rows.next().transpose().map_err(boxed)?;
            Ok(row.map(|(key, row)| (key.value(), Bytes::copy_from_slice(row.value()))))
        })? {
            all.push(key, row.len());
            let records = read_row(key, row).map_err(|damage| Error::damaged_log_row(&self.path, key, damage))?;
            for entry in records {
                // Of a row that is partly purged, or not removed yet.
                if entry.index() < next && entries.is_empty() {
                    stale_upto = index(purged);
                    continue;
                }
                if entry.index() != next {
                    return Err(Error::Hole { path: self.path.clone(), expected: next, found: entry.index() });
                }
                next += 1;
                entries.push(entry);
            }
        }
        drop(rows);
        self.stale_upto = stale_upto;
        self.rows = all;
        Ok(entries)
    }

    /// Reads everything, and refuses a log that has lost its end.
    pub(super) fn load(&mut self) -> Result<Loaded, Error> {
        self.meta = self.read_meta()?.unwrap_or_default();
        let entries = self.read_entries(self.meta.purged)?;
        let noted = Place::of(&self.meta);
        self.meta.last = entries.last().map(|entry| entry.log_id).or(self.meta.purged);
        if Place::of(&self.meta) < noted {
            return Err(Error::Behind { path: self.path.clone() });
        }
        let Meta { vote, committed, purged, identity, .. } = self.meta.clone();
        Ok(Loaded { entries, purged, vote, committed, identity })
    }

    /// What is kept beside the entries.
    pub(super) fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Whether there is more to remove of what was purged: every commit removes some.
    pub(super) fn has_stale(&self) -> bool {
        self.stale_upto.is_some()
    }

    /// Makes all commits, in order, or none of them. With `durable`, they survive a power cut once it returns.
    pub(super) fn commit(&mut self, commits: &[Commit], durable: bool) -> Result<(), Error> {
        let durability = if durable { Durability::Immediate } else { Durability::None };
        let (mut meta, mut stale_upto) = (self.meta.clone(), self.stale_upto);
        let mut kept = std::mem::take(&mut self.rows);
        let rows = &mut kept;
        (self.meta, self.stale_upto) = self.transaction(durability, |transaction| {
            let log = &mut transaction.open_table(LOG)?;
            // Appends that follow each other share rows, whichever commit they came from.
            let mut row = Row::new();
            let mut added = Added::default();
            for change in commits.iter().flat_map(|commit| &commit.changes) {
                match change {
                    Change::Append(entries) => {
                        for entry in entries {
                            if row.is_full(record_bytes(entry)) {
                                added.write(log, rows, &mut row)?;
                            }
                            row.push(entry).map_err(WriteError::Encode)?;
                        }
                    }
                    Change::Truncate { after } => {
                        added.write(log, rows, &mut row)?;
                        truncate(log, rows, first_after(*after))?;
                    }
                    Change::Purge(upto) => {
                        added.write(log, rows, &mut row)?;
                        stale_upto = stale_upto.max(Some(upto.index));
                    }
                    Change::Vote(_) | Change::Identity(_) => {}
                }
            }
            added.write(log, rows, &mut row)?;
            commits.iter().for_each(|commit| commit.advance(&mut meta));
            if let Some(upto) = stale_upto {
                let end = index(meta.last).unwrap_or(0);
                let (rows_max, bytes_max) = (STALE_ROWS + 2 * added.rows, STALE_BYTES + 2 * added.bytes);
                let Stale { last, more } = rows.take_stale(upto, end, rows_max, bytes_max);
                if let Some(last) = last {
                    log.retain_in(..=last, |_, _| false)?;
                }
                if !more {
                    stale_upto = None;
                }
            }
            if meta.revision != self.meta.revision {
                let row = meta_row(&meta).map_err(WriteError::Encode)?;
                transaction.open_table(META)?.insert(ALL, &row[..])?;
            }
            Ok((meta, stale_upto))
        })?;
        self.rows = kept;
        Ok(())
    }
}

impl Drop for RedbDisk {
    fn drop(&mut self) {
        let database = self.database.take();
        // After a panic in redb, closing it may panic again; whoever heard of the first needs no second one.
        let _ = guarded(|| drop(database));
    }
}

fn index(id: Option<LogId>) -> Option<u64> {
    id.map(|id| id.index)
}

/// What a commit has added.
#[derive(Default)]
struct Added {
    rows: usize,
    bytes: usize,
}

impl Added {
    /// Writes a row, if there is anything in it.
    fn write(&mut self, log: &mut Table<'_, u64, &[u8]>, rows: &mut Rows, row: &mut Row) -> Result<(), WriteError> {
        if let Some((key, bytes)) = row.seal() {
            log.insert(key, bytes)?;
            rows.push(key, bytes.len());
            self.rows += 1;
            self.bytes += bytes.len();
        }
        row.clear();
        Ok(())
    }
}

/// Removes the records from `from` on; the row that holds `from` in its middle is cut.
fn truncate(log: &mut Table<'_, u64, &[u8]>, rows: &mut Rows, from: u64) -> Result<(), WriteError> {
    log.retain_in(from.., |_, _| false)?;
    rows.truncate(from);
    let Some(key) = rows.last() else { return Ok(()) };
    let row = log.get(key)?.map(|row| Bytes::copy_from_slice(row.value()));
    let Some(row) = row else { return Ok(()) };
    let mut entries = read_row(key, row).map_err(|damage| WriteError::Row(key, damage))?;
    if entries.last().is_some_and(|last| last.index() >= from) {
        entries.retain(|entry| entry.index() < from);
        let mut row = Row::new();
        for entry in &entries {
            row.push(entry).map_err(WriteError::Encode)?;
        }
        rows.truncate(key);
        Added::default().write(log, rows, &mut row)?;
    }
    Ok(())
}

/// What can go wrong inside a transaction; it becomes an `Error` where the path is known.
enum WriteError {
    Redb(Box<redb::Error>),
    Encode(postcard::Error),
    Row(u64, Damage),
}

fn boxed(error: impl Into<redb::Error>) -> Box<redb::Error> {
    Box::new(error.into())
}

impl<E: Into<redb::Error>> From<E> for WriteError {
    fn from(error: E) -> WriteError {
        WriteError::Redb(boxed(error))
    }
}
