//! `LogDisk`: what the writer thread needs of a disk, and `RedbDisk`, which gives it on redb.
//!
//! One commit is one redb transaction, hence one fsync. Nothing is committed after a commit that failed: the writer
//! ends with it, for after a failed fsync nobody knows what the disk holds.

use super::super::sync_dir;
use super::overlay::Overlay;
use super::{Change, Error};
use crate::storage::schema::{
    COMMITTED, Damage, IDENTITY, Identity, LOG, META, PURGED, Row, VOTE, meta_row, read_meta_row, read_row,
    record_bytes,
};
use crate::type_config::{Entry, LogId, Vote};
use bytes::Bytes;
use openraft::entry::RaftEntry;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, Table, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
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

    fn load(&mut self) -> Result<Loaded, Error>;
}

pub(super) struct RedbDisk {
    database: Database,
    path: PathBuf,
}

impl RedbDisk {
    /// redb's own cache: reads are answered from our memory, so it holds little more than the pages of a transaction.
    const CACHE_BYTES: usize = 16 << 20;

    pub(super) fn open(path: &Path) -> Result<RedbDisk, Error> {
        let database = RedbDisk::builder().create(path).map_err(|error| Error::open(path, error))?;
        // redb syncs what is in the file, not its name.
        let synced = path.parent().map_or(Ok(()), sync_dir);
        synced.map_err(|error| Error::open(path, redb::DatabaseError::Storage(redb::StorageError::Io(error))))?;
        RedbDisk::with_tables(database, path)
    }

    /// Opens a file that is there and stays as it is.
    pub(super) fn open_to_read(path: &Path) -> Result<RedbDisk, Error> {
        let failed = |error| Error::open(path, redb::DatabaseError::Storage(redb::StorageError::Io(error)));
        let overlay = Overlay::open(path).map_err(failed)?;
        let database = RedbDisk::builder().create_with_backend(overlay).map_err(|error| Error::open(path, error))?;
        Ok(RedbDisk { database, path: path.to_owned() })
    }

    fn builder() -> redb::Builder {
        let mut builder = Database::builder();
        builder.set_cache_size(RedbDisk::CACHE_BYTES);
        builder
    }

    fn with_tables(database: Database, path: &Path) -> Result<RedbDisk, Error> {
        let disk = RedbDisk { database, path: path.to_owned() };
        disk.transaction(Durability::Immediate, |transaction| {
            transaction.open_table(LOG)?;
            transaction.open_table(META)?;
            Ok(())
        })?;
        Ok(disk)
    }

    #[cfg(test)]
    pub(super) fn open_with_backend(backend: impl redb::StorageBackend) -> Result<RedbDisk, Error> {
        let path = Path::new("simulated");
        let database = RedbDisk::builder().create_with_backend(backend).map_err(|error| Error::open(path, error))?;
        RedbDisk::with_tables(database, path)
    }

    fn transaction(
        &self,
        durability: Durability,
        change: impl FnOnce(&WriteTransaction) -> Result<(), WriteError>,
    ) -> Result<(), Error> {
        let run = || -> Result<(), WriteError> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(durability)?;
            change(&transaction)?;
            transaction.commit()?;
            Ok(())
        };
        run().map_err(|error| match error {
            WriteError::Redb(source) => Error::Write { path: self.path.clone(), source },
            WriteError::Encode(source) => Error::Encode { source },
            WriteError::Row(key, damage) => Error::damaged_log_row(&self.path, key, damage),
        })
    }

    fn read<T>(&self, read: impl FnOnce() -> Result<T, Box<redb::Error>>) -> Result<T, Error> {
        read().map_err(|source| Error::Read { path: self.path.clone(), source })
    }

    fn read_meta<T: DeserializeOwned>(&self, key: &'static str) -> Result<Option<T>, Error> {
        let row = self.read(|| {
            let meta = self.database.begin_read().map_err(boxed)?.open_table(META).map_err(boxed)?;
            Ok(meta.get(key).map_err(boxed)?.map(|row| row.value().to_vec()))
        })?;
        row.map(|row| {
            let damaged =
                |damage| Error::DamagedRow { path: self.path.clone(), table: "meta", row: key.into(), damage };
            read_meta_row(&row).map_err(damaged)
        })
        .transpose()
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
        self.transaction(durability, |transaction| {
            let log = &mut transaction.open_table(LOG)?;
            // Appends that follow each other share rows, whichever call they came from.
            let mut row = Row::new();
            for change in changes {
                if !matches!(change, Change::Append(_) | Change::Vote(_) | Change::Identity(_)) {
                    write_row(log, &mut row)?;
                }
                match change {
                    Change::Append(entries) => {
                        for entry in entries {
                            if row.is_full(record_bytes(entry)) {
                                write_row(log, &mut row)?;
                            }
                            row.push(entry).map_err(WriteError::Encode)?;
                        }
                    }
                    Change::Truncate { from } => truncate(log, *from)?,
                    Change::Purge(upto) => {
                        purge(log, upto.index)?;
                        put(transaction, PURGED, upto)?;
                    }
                    Change::Vote(vote) => put(transaction, VOTE, vote)?,
                    Change::Identity(identity) => put(transaction, IDENTITY, identity)?,
                }
            }
            write_row(log, &mut row)?;
            committed.map_or(Ok(()), |committed| put(transaction, COMMITTED, &committed))
        })
    }

    fn load(&mut self) -> Result<Loaded, Error> {
        let purged: Option<LogId> = self.read_meta(PURGED)?;
        let mut next = purged.map_or(0, |purged| purged.index + 1);
        let mut entries = Vec::new();
        let log = self.read(|| self.database.begin_read().map_err(boxed)?.open_table(LOG).map_err(boxed))?;
        for row in self.read(|| log.iter().map_err(boxed))? {
            let (key, row) = self.read(|| row.map_err(boxed))?;
            let key = key.value();
            let records = read_row(key, Bytes::copy_from_slice(row.value()))
                .map_err(|damage| Error::damaged_log_row(&self.path, key, damage))?;
            for entry in records {
                // What is left of a row that is partly purged.
                if entry.index() < next && entries.is_empty() {
                    continue;
                }
                if entry.index() != next {
                    return Err(Error::Hole { path: self.path.clone(), expected: next, found: entry.index() });
                }
                next += 1;
                entries.push(entry);
            }
        }
        Ok(Loaded {
            entries,
            purged,
            vote: self.read_meta(VOTE)?,
            committed: self.read_meta(COMMITTED)?,
            identity: self.read_meta(IDENTITY)?,
        })
    }
}

/// The table is opened for each row: most commits have none, and pay for no page of it.
fn put(transaction: &WriteTransaction, key: &str, value: &impl Serialize) -> Result<(), WriteError> {
    let row = meta_row(value).map_err(WriteError::Encode)?;
    transaction.open_table(META)?.insert(key, &row[..])?;
    Ok(())
}

fn write_row(log: &mut Table<'_, u64, &[u8]>, row: &mut Row) -> Result<(), WriteError> {
    if let Some((key, bytes)) = row.seal() {
        log.insert(key, bytes)?;
    }
    row.clear();
    Ok(())
}

/// Removes the records from `from` on; the row that holds `from` in its middle is cut.
fn truncate(log: &mut Table<'_, u64, &[u8]>, from: u64) -> Result<(), WriteError> {
    log.retain_in(from.., |_, _| false)?;
    let Some((key, entries)) = last_row_below(log, from)? else { return Ok(()) };
    if entries.last().is_some_and(|last| last.index() >= from) {
        let mut row = Row::new();
        for entry in entries.iter().take_while(|entry| entry.index() < from) {
            row.push(entry).map_err(WriteError::Encode)?;
        }
        debug_assert!(key < from);
        write_row(log, &mut row)?;
    }
    Ok(())
}

/// Removes the rows that hold nothing above `upto`.
fn purge(log: &mut Table<'_, u64, &[u8]>, upto: u64) -> Result<(), WriteError> {
    let end = upto.saturating_add(1);
    if let Some((key, entries)) = last_row_below(log, end)? {
        let all = entries.last().is_some_and(|last| last.index() <= upto);
        log.retain_in(..if all { end } else { key }, |_, _| false)?;
    }
    Ok(())
}

fn last_row_below(log: &Table<'_, u64, &[u8]>, end: u64) -> Result<Option<(u64, Vec<Entry>)>, WriteError> {
    let Some(row) = log.range(..end)?.next_back() else { return Ok(None) };
    let (key, row) = row?;
    let key = key.value();
    let entries = read_row(key, Bytes::copy_from_slice(row.value())).map_err(|damage| WriteError::Row(key, damage))?;
    Ok(Some((key, entries)))
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
