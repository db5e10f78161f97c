//! `Wal`: the write-ahead log, where a commit is durable with one write and one sync of bytes that follow each other.
//!
//! The file has two halves. One is filled; when it is full the other is begun, and meanwhile redb takes what the first
//! one has. What redb has is of no use here any more, and is overwritten without being removed: which records count, their
//! places tell.
//!
//! ```text
//! file:    header │ half │ half
//! header:  4096 bytes: "uhahawal" │ u32 version (1) │ u32 bytes of a half │ u32 crc32c of all before │ zeros
//! half:    records, one after the other; the first that is not whole, or has another salt than the one before, ends it
//! record:  u32 crc32c of the rest │ u32 length of the commit │ u64 salt │ place before it │ place after it │ commit
//! ```
//!
//! Numbers are little endian. The salt is drawn anew each time a half is begun, so that nothing a client has ever sent can
//! be taken for a record.

use super::commit::Commit;
use super::overlay::Overlay;
use super::place::Place;
use super::{Error, StorageBackend};
use bytes::{Buf, BufMut, Bytes};
use redb::backends::FileBackend;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub(super) const NAME: &str = "log.wal";

const MAGIC: &[u8; 8] = b"uhahawal";
const VERSION: u32 = 1;
const CRC_BYTES: usize = 4;
const HEADER_BYTES: u64 = 4096;
const HEADER_USED_BYTES: usize = MAGIC.len() + 4 + 4 + CRC_BYTES;
const RECORD_HEADER_BYTES: usize = CRC_BYTES + 4 + 8 + 2 * Place::BYTES;

#[derive(Debug)]
pub(super) struct Wal {
    path: PathBuf,
    file: Box<dyn StorageBackend>,
    half_bytes: u32,
    /// Which half is filled.
    second: bool,
    /// How far it is.
    filled: u32,
    salt: u64,
    /// Something was written and not synced.
    unsynced: bool,
    record: Vec<u8>,
}

/// One commit, as the file has it.
#[derive(Debug)]
pub(super) struct Record {
    /// Where it is in the file.
    pub(super) at: u64,
    pub(super) before: Place,
    pub(super) after: Place,
    pub(super) commit: Bytes,
}

/// Where the file is for the log at `log`.
pub(super) fn path(log: &Path) -> PathBuf {
    log.with_file_name(NAME)
}

impl Wal {
    /// Opens the file beside the log at `log`, or makes it with halves of so many bytes, and reads what it has.
    pub(super) fn open(log: &Path, half_bytes: u32) -> Result<(Wal, Vec<Record>), Error> {
        let path = path(log);
        let failed = |source| Error::WriteFile { path: path.clone(), source };
        if !path.exists() {
            create(&path, half_bytes).map_err(failed)?;
        }
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed)?;
        let file = FileBackend::new(file).map_err(|error| Error::open(&path, error))?;
        Wal::with_backend(path, Box::new(file))
    }

    /// What the file beside the log at `log` has, which stays as it is.
    pub(super) fn read(log: &Path) -> Result<Vec<Record>, Error> {
        let path = path(log);
        match Overlay::open(&path) {
            Ok(file) => Ok(Wal::with_backend(path, Box::new(file))?.1),
            // Of a version that had none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(Error::ReadFile { path, source }),
        }
    }

    /// A file that has been begun with `begin`.
    pub(super) fn with_backend(path: PathBuf, file: Box<dyn StorageBackend>) -> Result<(Wal, Vec<Record>), Error> {
        let mut wal =
            Wal { path, file, half_bytes: 0, second: false, filled: 0, salt: 0, unsynced: false, record: Vec::new() };
        wal.half_bytes = wal.read_header()?;
        let mut halves = [wal.read_half(false)?, wal.read_half(true)?];
        halves.sort_by_key(|records| records.first().map(|record| record.before));
        Ok((wal, halves.into_iter().flatten().collect()))
    }

    fn read_header(&self) -> Result<u32, Error> {
        let damaged = |what: &str| Error::Damaged { path: self.path.clone(), what: what.to_owned() };
        let header = self.read_bytes(0, HEADER_USED_BYTES)?;
        let Some(mut header) = header.filter(|header| header.starts_with(MAGIC)) else {
            return Err(damaged("it does not begin as it should"));
        };
        let crc = crc32c::crc32c(&header[..HEADER_USED_BYTES - CRC_BYTES]);
        header.advance(MAGIC.len());
        let (version, half_bytes) = (header.get_u32_le(), header.get_u32_le());
        match (header.get_u32_le() == crc, version) {
            (false, _) => Err(damaged("the checksum of its beginning does not match")),
            (true, VERSION) => Ok(half_bytes),
            (true, _) => Err(damaged("its version is unknown")),
        }
    }

    fn read_half(&self, second: bool) -> Result<Vec<Record>, Error> {
        let start = self.start(second);
        let there = self.file.len().map_err(|error| self.read_failed(error))?.saturating_sub(start);
        let bytes = self.read_bytes(start, there.min(self.half_bytes.into()) as usize)?;
        Ok(bytes.map(|bytes| records(start, bytes)).unwrap_or_default())
    }

    /// `None` if the file ends before.
    fn read_bytes(&self, at: u64, length: usize) -> Result<Option<Bytes>, Error> {
        let mut bytes = vec![0; length];
        match self.file.read(at, &mut bytes) {
            Ok(()) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(self.read_failed(error)),
        }
    }

    fn read_failed(&self, source: io::Error) -> Error {
        Error::ReadFile { path: self.path.clone(), source }
    }

    fn write_failed(&self, source: io::Error) -> Error {
        Error::WriteFile { path: self.path.clone(), source }
    }

    #[cfg(test)]
    pub(super) fn half_bytes(&self) -> u32 {
        self.half_bytes
    }

    fn start(&self, second: bool) -> u64 {
        HEADER_BYTES + if second { self.half_bytes.into() } else { 0 }
    }

    /// Makes the file anew if its halves have another size. Nothing that is there may be needed any more.
    pub(super) fn resize(&mut self, log: &Path, half_bytes: u32) -> Result<(), Error> {
        if self.half_bytes == half_bytes {
            return Ok(());
        }
        create(&self.path, half_bytes).map_err(|error| self.write_failed(error))?;
        *self = Wal::open(log, half_bytes)?.0;
        self.restart()
    }

    /// Begins the other half. Nothing that is there may be needed any more, and what is in this one comes to the disk before.
    pub(super) fn switch(&mut self) -> Result<(), Error> {
        self.sync()?;
        self.second = !self.second;
        self.restart()
    }

    /// Begins the half anew. Nothing that is there may be needed any more.
    pub(super) fn restart(&mut self) -> Result<(), Error> {
        let mut salt = [0; 8];
        getrandom::fill(&mut salt).map_err(|error| self.write_failed(error.into()))?;
        self.salt = u64::from_le_bytes(salt);
        self.filled = 0;
        Ok(())
    }

    /// Makes a record of a commit, to be written with `write`; its bytes.
    pub(super) fn encode(&mut self, before: Place, after: Place, commit: &Commit) -> Result<usize, Error> {
        let record = &mut self.record;
        begin_record(record, before, after);
        commit.put(record).map_err(|source| Error::Encode { source })?;
        Ok(record.len())
    }

    /// The record is not written; it may have been as large as a request.
    pub(super) fn drop_record(&mut self) {
        self.record = Vec::new();
    }

    /// Whether the record has room in what is left of this half.
    pub(super) fn has_room(&self) -> bool {
        self.record.len() <= (self.half_bytes - self.filled) as usize
    }

    /// Writes the record, which has room.
    pub(super) fn write(&mut self) -> Result<(), Error> {
        seal(&mut self.record, self.salt);
        let at = self.start(self.second) + u64::from(self.filled);
        self.unsynced = true;
        self.file.write(at, &self.record).map_err(|error| self.write_failed(error))?;
        self.filled += self.record.len() as u32;
        Ok(())
    }

    pub(super) fn sync(&mut self) -> Result<(), Error> {
        if self.unsynced {
            self.file.sync_data().map_err(|error| self.write_failed(error))?;
            self.unsynced = false;
        }
        Ok(())
    }
}

/// What is before the commit, with room for what `seal` knows.
fn begin_record(record: &mut Vec<u8>, before: Place, after: Place) {
    record.clear();
    record.put_bytes(0, CRC_BYTES + 4 + 8);
    before.put(record);
    after.put(record);
}

fn seal(record: &mut [u8], salt: u64) {
    let length = (record.len() - RECORD_HEADER_BYTES) as u32;
    record[CRC_BYTES..CRC_BYTES + 4].copy_from_slice(&length.to_le_bytes());
    record[CRC_BYTES + 4..CRC_BYTES + 12].copy_from_slice(&salt.to_le_bytes());
    let crc = crc32c::crc32c(&record[CRC_BYTES..]);
    record[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
}

/// A record of these bytes, whatever they are.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn record(salt: u64, before: Place, after: Place, commit: &[u8]) -> Vec<u8> {
    let mut record = Vec::new();
    begin_record(&mut record, before, after);
    record.extend_from_slice(commit);
    seal(&mut record, salt);
    record
}

/// The records of a half that begins at `start` of the file.
pub(super) fn records(start: u64, half: Bytes) -> Vec<Record> {
    let mut records = Vec::new();
    let (mut at, mut salt) = (0, None);
    while let Some(record) = half.get(at..).filter(|rest| rest.len() >= RECORD_HEADER_BYTES) {
        let mut header = &record[..RECORD_HEADER_BYTES];
        let (crc, length, salted) = (header.get_u32_le(), header.get_u32_le() as usize, header.get_u64_le());
        let end = RECORD_HEADER_BYTES.saturating_add(length);
        let is_whole = record.get(CRC_BYTES..end).is_some_and(|rest| crc32c::crc32c(rest) == crc);
        if !is_whole || *salt.get_or_insert(salted) != salted {
            break;
        }
        let (before, after) = (Place::get(&mut header), Place::get(&mut header));
        let commit = half.slice(at + RECORD_HEADER_BYTES..at + end);
        records.push(Record { at: start + at as u64, before, after, commit });
        at += end;
    }
    records
}

/// Written aside, synced and renamed. It is full of zeros from the beginning: a sync is slower where the file has to grow.
fn create(path: &Path, half_bytes: u32) -> io::Result<()> {
    let temp = path.with_extension("tmp");
    let mut file = File::create(&temp)?;
    file.write_all(&begin(half_bytes))?;
    file.sync_all()?;
    std::fs::rename(&temp, path)?;
    path.parent().map_or(Ok(()), crate::storage::sync_dir)
}

/// A file without records.
pub(super) fn begin(half_bytes: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES as usize + 2 * half_bytes as usize);
    bytes.put_slice(MAGIC);
    bytes.put_u32_le(VERSION);
    bytes.put_u32_le(half_bytes);
    let crc = crc32c::crc32c(&bytes);
    bytes.put_u32_le(crc);
    bytes.resize(HEADER_BYTES as usize + 2 * half_bytes as usize, 0);
    bytes
}
