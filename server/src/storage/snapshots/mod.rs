//! `Snapshots`: a directory of snapshot files.
//!
//! A snapshot is written under a temporary name, synced and renamed, so a file with a snapshot's name is whole; what a
//! crash leaves under a temporary name is removed at the next open. The newest few are kept, with those that they add to:
//! a snapshot may hold only what has changed since another one. What is inside is `machine`'s; `container` draws the bytes
//! around it. All calls block: call them from threads that may.

mod container;
mod error;
mod receive;
#[cfg(test)]
mod tests;

pub use self::container::{SnapshotReader, SnapshotWriter};
pub use self::error::Error;

use self::container::{Header, verify};
use super::{frames, sync_dir};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// What `SnapshotWriter::chunk` takes at most.
pub const CHUNK_BYTES_MAX: usize = frames::CHUNK_BYTES_MAX;
const SUFFIX: &str = ".snapshot";
const TEMP_SUFFIX: &str = ".tmp";
const DAMAGED_SUFFIX: &str = ".damaged";
/// How many snapshots may stand between one and the whole one that it adds to, that one included.
pub const INCREMENTS_MAX: usize = 8;
/// As large as snapshots, and of interest to nobody but whoever looks into one failure.
const SET_ASIDE_MAX: usize = 3;

/// A handle; clones share one directory.
#[derive(Clone, Debug)]
pub struct Snapshots {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    keep: usize,
    /// Held while names change, so that two snapshots finishing at once do not prune each other's.
    names: Mutex<()>,
}

/// One snapshot, by what its name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// `<term>-<index>-<unix ms>`, padded so that text sorts as the numbers do.
    pub id: String,
    /// Of the last entry it covers.
    pub term: u64,
    pub index: u64,
    pub created_ms: u64,
    /// The size of the file.
    pub bytes: u64,
    /// The snapshot that it adds to, if it is not a whole one.
    pub parent: Option<String>,
}

impl Snapshots {
    /// Creates the directory if there is none, and removes what a crash left half written.
    pub fn open(dir: impl Into<PathBuf>, keep: usize) -> Result<Snapshots, Error> {
        let dir = dir.into();
        let created = fs::create_dir_all(&dir).and_then(|()| dir.parent().map_or(Ok(()), sync_dir));
        created.map_err(|source| Error::Create { path: dir.clone(), source })?;
        for name in names(&dir)? {
            if name.ends_with(TEMP_SUFFIX) {
                let path = dir.join(name);
                fs::remove_file(&path).map_err(|source| Error::Remove { path, source })?;
            }
        }
        Ok(Snapshots { shared: Arc::new(Shared { dir, keep: keep.max(1), names: Mutex::new(()) }) })
    }

    /// Of a directory that is only read: nothing is created or removed.
    pub fn open_to_read(dir: impl Into<PathBuf>) -> Snapshots {
        Snapshots { shared: Arc::new(Shared { dir: dir.into(), keep: usize::MAX, names: Mutex::new(()) }) }
    }

    /// Begins the snapshot of everything up to this entry, or of what has changed since `parent`.
    pub fn begin(&self, term: u64, index: u64, parent: Option<&str>) -> Result<SnapshotWriter, Error> {
        SnapshotWriter::create(self.clone(), Header { term, index, created_ms: now_ms() }, parent)
    }

    /// Begins a whole snapshot that takes the place of this one, which says the same.
    pub fn begin_whole(&self, id: &str) -> Result<SnapshotWriter, Error> {
        SnapshotWriter::replace(self.clone(), header_of(id)?)
    }

    /// This snapshot and all that it adds to, the whole one first.
    pub fn chain(&self, id: &str) -> Result<Vec<SnapshotInfo>, Error> {
        let mut chain = vec![self.get(id)?];
        while let Some(parent) = chain.last().and_then(|info| info.parent.clone()) {
            if chain.len() > INCREMENTS_MAX {
                return Err(Error::TooManyParents { id: id.to_owned() });
            }
            chain.push(self.get(&parent).map_err(|error| match error {
                Error::Unknown { .. } => Error::NoParent { id: id.to_owned(), parent },
                error => error,
            })?);
        }
        chain.reverse();
        Ok(chain)
    }

    /// Newest first.
    pub fn list(&self) -> Result<Vec<SnapshotInfo>, Error> {
        let mut infos = Vec::new();
        for name in names(&self.shared.dir)? {
            let Some(header) = name.strip_suffix(SUFFIX).and_then(Header::of_id) else { continue };
            match self.info(header) {
                // Pruned since the directory was read.
                Err(Error::Unknown { .. }) => {}
                info => infos.push(info?),
            }
        }
        infos.sort_by_key(|info| std::cmp::Reverse((info.term, info.index, info.created_ms)));
        Ok(infos)
    }

    pub fn get(&self, id: &str) -> Result<SnapshotInfo, Error> {
        self.info(header_of(id)?)
    }

    /// Where the file of a snapshot is.
    pub fn path(&self, id: &str) -> Result<PathBuf, Error> {
        Ok(self.file_path(&header_of(id)?.id()))
    }

    pub fn read(&self, id: &str) -> Result<SnapshotReader, Error> {
        let header = header_of(id)?;
        let reader = SnapshotReader::open(self.file_path(id))?;
        if *reader.header() != header {
            return Err(Error::Damaged { path: self.file_path(id), offset: 0, what: "the name of another snapshot" });
        }
        Ok(reader)
    }

    /// A piece of the file as it is, `limit` bytes or what is left; empty behind its end. The caller bounds `limit`.
    pub fn read_range(&self, id: &str, offset: u64, limit: u64) -> Result<Bytes, Error> {
        let path = self.file_path(&header_of(id)?.id());
        let mut file = File::open(&path).map_err(|source| Error::opening(id, &path, source))?;
        let mut read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            // Some file systems refuse to seek far behind the end.
            if offset < file.metadata()?.len() {
                file.seek(SeekFrom::Start(offset))?;
                Read::by_ref(&mut file).take(limit).read_to_end(&mut bytes)?;
            }
            Ok(bytes)
        };
        Ok(read().map_err(|source| Error::Read { path, source })?.into())
    }

    /// Takes a snapshot that is not to be used out of the list. The file stays, for whoever wants to know what happened to
    /// it, until newer ones are more than enough.
    pub fn set_aside(&self, id: &str) -> Result<(), Error> {
        let _names = self.lock_names();
        let path = self.file_path(&header_of(id)?.id());
        fs::rename(&path, path.with_extension(&DAMAGED_SUFFIX[1..]))
            .and_then(|()| sync_dir(&self.shared.dir))
            .map_err(|source| Error::Write { path, source })?;
        let mut aside = names(&self.shared.dir)?;
        aside.retain(|name| name.ends_with(DAMAGED_SUFFIX));
        aside.sort();
        for oldest in aside.iter().rev().skip(SET_ASIDE_MAX) {
            let path = self.shared.dir.join(oldest);
            fs::remove_file(&path).map_err(|source| Error::Remove { path, source })?;
        }
        Ok(())
    }

    /// Reads all of a file; those that it adds to are not looked at.
    pub fn verify(&self, id: &str) -> Result<(), Error> {
        self.read(id)?.read_to_end().map(drop)
    }

    /// Sets a snapshot aside if its file is damaged, or one that it adds to, and those between. Returns what was set aside.
    pub fn set_aside_damaged(&self, id: &str) -> Result<Vec<String>, Error> {
        let damaged = match self.chain(id) {
            Ok(chain) => {
                let is_whole = |info: &SnapshotInfo| !self.verify(&info.id).is_err_and(|error| error.is_damage());
                let whole = chain.iter().take_while(|info| is_whole(info)).count();
                chain.into_iter().skip(whole).map(|info| info.id).collect()
            }
            Err(Error::NoParent { .. } | Error::TooManyParents { .. }) => vec![id.to_owned()],
            Err(_) => Vec::new(),
        };
        damaged.iter().try_for_each(|id| self.set_aside(id))?;
        Ok(damaged)
    }

    /// Copies a snapshot file from elsewhere, after checking all of it.
    pub fn import(&self, from: &Path) -> Result<SnapshotInfo, Error> {
        let temp = self.shared.dir.join(format!("import-{}{TEMP_SUFFIX}", now_ms()));
        let result = self.import_by(from, &temp);
        if result.is_err() {
            // It is removed at the next open if not now.
            let _ = fs::remove_file(&temp);
        }
        result
    }

    fn import_by(&self, from: &Path, temp: &Path) -> Result<SnapshotInfo, Error> {
        fs::copy(from, temp).map_err(|source| Error::Copy { path: from.to_owned(), source })?;
        let header = verify(temp)?;
        let file = File::open(temp).map_err(|source| Error::Read { path: temp.to_owned(), source })?;
        file.sync_all().map_err(|source| Error::Write { path: temp.to_owned(), source })?;
        self.publish(temp, header)
    }

    /// Gives a whole, synced file its name, and prunes.
    fn publish(&self, temp: &Path, header: Header) -> Result<SnapshotInfo, Error> {
        let _names = self.lock_names();
        let path = self.file_path(&header.id());
        fs::rename(temp, &path)
            .and_then(|()| sync_dir(&self.shared.dir))
            .map_err(|source| Error::Write { path, source })?;
        let info = self.info(header)?;
        let all = self.list()?;
        let mut kept: BTreeSet<String> = all.iter().take(self.shared.keep).map(|kept| kept.id.clone()).collect();
        kept.insert(info.id.clone());
        for info in &all {
            // Newest first, so whatever a kept one adds to comes after it.
            kept.extend(info.parent.clone().filter(|_| kept.contains(&info.id)));
        }
        for old in all.into_iter().filter(|old| !kept.contains(&old.id)) {
            let path = self.file_path(&old.id);
            fs::remove_file(&path).map_err(|source| Error::Remove { path, source })?;
        }
        Ok(info)
    }

    fn info(&self, header: Header) -> Result<SnapshotInfo, Error> {
        let id = header.id();
        let path = self.file_path(&id);
        let bytes = fs::metadata(&path).map_err(|source| Error::opening(&id, &path, source))?.len();
        let parent = match SnapshotReader::open(path) {
            Ok(reader) => reader.parent().map(str::to_owned),
            Err(error @ Error::Unknown { .. }) => return Err(error),
            // Whoever reads it will come to know what is wrong with it.
            Err(_) => None,
        };
        Ok(SnapshotInfo { id, term: header.term, index: header.index, created_ms: header.created_ms, bytes, parent })
    }

    /// `id` must have been made or checked by `Header`.
    fn file_path(&self, id: &str) -> PathBuf {
        self.shared.dir.join(format!("{id}{SUFFIX}"))
    }

    fn lock_names(&self) -> MutexGuard<'_, ()> {
        self.shared.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Header {
    fn id(&self) -> String {
        format!("{:06}-{:012}-{:013}", self.term, self.index, self.created_ms)
    }

    /// Only what `id` writes is taken, so an id from a client cannot name any other file.
    fn of_id(id: &str) -> Option<Header> {
        let mut numbers = id.split('-').map(|digits| digits.parse().ok());
        let header = Header { term: numbers.next()??, index: numbers.next()??, created_ms: numbers.next()?? };
        (header.id() == id).then_some(header)
    }
}

impl fmt::Display for SnapshotInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

fn is_id(id: &str) -> bool {
    Header::of_id(id).is_some()
}

fn header_of(id: &str) -> Result<Header, Error> {
    Header::of_id(id).ok_or(Error::MalformedId)
}

fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let read = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            // A name that is not UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    };
    read().map_err(|source| Error::List { path: dir.to_owned(), source })
}

/// The time of creation is for people; nothing in the state depends on it.
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
