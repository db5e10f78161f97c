//! `LogDisk`: what the writer thread needs of a disk, and `RedbDisk`, which gives it on redb.
//!
//! One commit is one redb transaction, hence one fsync. Nothing is committed after a commit that failed: the writer
//! ends with it, for after a failed fsync nobody knows what the disk holds.
//!
//! What is read is what was written: redb's checksums are verified at open, each row has one of its own, and the
//! watermark tells when the end is missing.

use super::super::sync_dir;
use super::guard::guarded;
use super::overlay::Overlay;
use super::rows::{Rows, Stale};
use super::watermark::{self, Place, Watermark};
use super::{Change, Error};
use crate::storage::schema::{
    ALL, Damage, Identity, LOG, META, Meta, Row, meta_row, read_meta_row, read_row, record_bytes,
};
use crate::type_config::{Entry, LogId, Vote};
use bytes::Bytes;
use openraft::entry::RaftEntry;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, Table, WriteTransaction};
use std::path::{Path, PathBuf};

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
    /// Makes all changes, in order, or none of them. With `durable`, they survive a power cut once it returns.
    fn commit(
        &mut self,
        changes: &mut dyn Iterator<Item = &Change>,
        committed: Option<LogId>,
        durable: bool,
    ) -> Result<(), Error>;

    /// Whether there is more to remove of what was purged: every commit removes some.
    fn has_stale(&self) -> bool;

    fn load(&mut self) -> Result<Loaded, Error>;
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
    keeping: Keeping,
}

/// What is removed in one commit, besides twice as much as it adds: to remove a gibibyte at once takes most of a second,
/// and nothing is appended meanwhile.
const STALE_ROWS: usize = 32;
const STALE_BYTES: usize = 2 << 20;

/// What becomes of the watermark.
enum Keeping {
    /// Nobody writes: what the file says, if there is one.
    Read(Option<Place>),
    /// It is begun when all was read.
    Wanted(Option<Place>),
    Kept(Watermark),
}

impl RedbDisk {
    /// redb's own cache: reads are answered from our memory, so it holds little more than the pages of a transaction.
    const CACHE_BYTES: usize = 16 << 20;

    pub(super) fn open(path: &Path) -> Result<RedbDisk, Error> {
        let reached = watermark::read(path)?;
        if reached.is_some() && !path.exists() {
            return Err(Error::Missing { path: path.to_owned() });
        }
        let database = RedbDisk::begin(path, RedbDisk::CACHE_BYTES, |builder| builder.create(path))?;
        // redb syncs what is in the file, not its name.
        let synced = path.parent().map_or(Ok(()), sync_dir);
        synced.map_err(|error| Error::open(path, redb::DatabaseError::Storage(redb::StorageError::Io(error))))?;
        RedbDisk::with_tables(database, path, Keeping::Wanted(reached))
    }

    /// Opens a file that is there and stays as it is.
    pub(super) fn open_to_read(path: &Path) -> Result<RedbDisk, Error> {
        let reached = watermark::read(path)?;
        let failed = |error| Error::open(path, redb::DatabaseError::Storage(redb::StorageError::Io(error)));
        let overlay = Overlay::open(path).map_err(failed)?;
        let database = RedbDisk::begin(path, RedbDisk::CACHE_BYTES, |builder| builder.create_with_backend(overlay))?;
        RedbDisk::with_tables(database, path, Keeping::Read(reached))
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

    fn with_tables(database: Database, path: &Path, keeping: Keeping) -> Result<RedbDisk, Error> {
        let (path, meta) = (path.to_owned(), Meta::default());
        let disk = RedbDisk { database: Some(database), path, meta, stale_upto: None, rows: Rows::default(), keeping };
        disk.transaction(Durability::Immediate, |transaction| {
            transaction.open_table(LOG)?;
            transaction.open_table(META)?;
            Ok(())
        })?;
        Ok(disk)
    }

    /// On a simulated disk, and without a cache, so that each page is read from there. The watermark is beside `path`.
    #[cfg(test)]
    pub(super) fn open_with_backend(backend: impl redb::StorageBackend, path: &Path) -> Result<RedbDisk, Error> {
        let reached = watermark::read(path)?;
        let database = RedbDisk::begin(path, 0, |builder| builder.create_with_backend(backend))?;
        RedbDisk::with_tables(database, path, Keeping::Wanted(reached))
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

    /// Refuses a log that has lost its end, and begins to keep the watermark.
    fn check_end(&mut self, last: Option<LogId>) -> Result<(), Error> {
        let Meta { revision, last: noted, .. } = self.meta;
        let place = Place::new(revision, last);
        let reached = match &self.keeping {
            Keeping::Read(reached) | Keeping::Wanted(reached) => *reached,
            // It was read before.
            Keeping::Kept(_) => None,
        };
        if place < Place::new(revision, noted) || reached.is_some_and(|reached| place < reached) {
            return Err(Error::Behind { path: self.path.clone() });
        }
        let is_new = place == Place::default();
        match (&self.keeping, reached) {
            (Keeping::Read(_) | Keeping::Wanted(_), None) if !is_new => {
                Err(Error::Missing { path: watermark::path(&self.path) })
            }
            (Keeping::Wanted(_), _) => {
                self.keeping = Keeping::Kept(Watermark::open(&self.path, place)?);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Drop for RedbDisk {
    fn drop(&mut self) {
        let database = self.database.take();
        // After a panic in redb, closing it may panic again; whoever heard of the first needs no second one.
        let _ = guarded(|| drop(database));
    }
}

impl LogDisk for RedbDisk {
    fn commit(
        &mut self,
        changes: &mut dyn Iterator<Item = &Change>,
        committed: Option<LogId>,
        durable: bool,
    ) -> Result<(), Error> {
        let durability = if durable { Durability::Immediate } else { Durability::None };
        let (mut meta, mut stale_upto) = (self.meta.clone(), self.stale_upto);
        let mut kept = std::mem::take(&mut self.rows);
        let rows = &mut kept;
        (self.meta, self.stale_upto) = self.transaction(durability, |transaction| {
            let log = &mut transaction.open_table(LOG)?;
            let mut appends_only = true;
            // Appends that follow each other share rows, whichever call they came from.
            let mut row = Row::new();
            let mut added = Added::default();
            for change in changes {
                if !matches!(change, Change::Append(_) | Change::Vote(_) | Change::Identity(_)) {
                    added.write(log, rows, &mut row)?;
                }
                appends_only &= matches!(change, Change::Append(_));
                match change {
                    Change::Append(entries) => {
                        for entry in entries {
                            if row.is_full(record_bytes(entry)) {
                                added.write(log, rows, &mut row)?;
                            }
                            row.push(entry).map_err(WriteError::Encode)?;
                        }
                        meta.last = entries.last().map(|entry| entry.log_id).or(meta.last);
                    }
                    Change::Truncate { from } => {
                        let left = truncate(log, rows, *from)?;
                        // What is left of a row that is partly purged is not the end of the log.
                        meta.last = left.filter(|left| Some(left.index) > index(meta.purged)).or(meta.purged);
                    }
                    Change::Purge(upto) => {
                        stale_upto = stale_upto.max(Some(upto.index));
                        meta.purged = Some(*upto);
                        meta.last = meta.last.filter(|last| last.index > upto.index).or(Some(*upto));
                    }
                    Change::Vote(vote) => meta.vote = Some(*vote),
                    Change::Identity(identity) => meta.identity = Some(identity.clone()),
                }
            }
            added.write(log, rows, &mut row)?;
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
            meta.committed = committed.or(meta.committed);
            // Most commits only append, and pay for no other page.
            if !appends_only || committed.is_some() {
                meta.revision += 1;
                let row = meta_row(&meta).map_err(WriteError::Encode)?;
                transaction.open_table(META)?.insert(ALL, &row[..])?;
            }
            Ok((meta, stale_upto))
        })?;
        self.rows = kept;
        match &mut self.keeping {
            Keeping::Kept(watermark) if durable => watermark.advance(Place::new(self.meta.revision, self.meta.last)),
            _ => Ok(()),
        }
    }

    fn has_stale(&self) -> bool {
        self.stale_upto.is_some()
    }

    fn load(&mut self) -> Result<Loaded, Error> {
        self.meta = self.read_meta()?.unwrap_or_default();
        let entries = self.read_entries(self.meta.purged)?;
        let last = entries.last().map(|entry| entry.log_id).or(self.meta.purged);
        self.check_end(last)?;
        self.meta.last = last;
        let Meta { vote, committed, purged, identity, .. } = self.meta.clone();
        Ok(Loaded { entries, purged, vote, committed, identity })
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

/// Removes the records from `from` on; the row that holds `from` in its middle is cut. The last one left.
fn truncate(log: &mut Table<'_, u64, &[u8]>, rows: &mut Rows, from: u64) -> Result<Option<LogId>, WriteError> {
    log.retain_in(from.., |_, _| false)?;
    rows.truncate(from);
    let Some(key) = rows.last() else { return Ok(None) };
    let row = log.get(key)?.map(|row| Bytes::copy_from_slice(row.value()));
    let Some(row) = row else { return Ok(None) };
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
    Ok(entries.last().map(|last| last.log_id))
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
