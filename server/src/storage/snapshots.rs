//! Snapshot files: a framed, checksummed container for whatever `machine` puts in.
//!
//! ```text
//! "UHAHASNP" │ u32 version (1) │ chunk … │ end
//! chunk: u32 length (1 … 1 MiB) │ u32 crc32c of the bytes │ bytes
//! end:   u32 0 │ u64 bytes of all chunks │ sha256 of the bytes of all chunks      numbers are little endian
//! ```
//!
//! A snapshot is written aside, synced and renamed, so a file with a snapshot's name is whole unless the disk has
//! damaged it, which the checksums tell.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The longest chunk.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

const MAGIC: &[u8; 8] = b"UHAHASNP";
const VERSION: u32 = 1;
const EXTENSION: &str = "snapshot";
const TEMPORARY: &str = "partial";

/// Why a snapshot cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{action} {path}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{0:?} is not the id of a snapshot")]
    BadId(String),
    #[error("there is no snapshot {0}")]
    Missing(String),
    #[error("{path} is not a snapshot of this server")]
    NotASnapshot { path: PathBuf },
    #[error("{path} has format version {version}, this server reads version {VERSION}")]
    Version { path: PathBuf, version: u32 },
    #[error("{path} is damaged at byte {offset}: {what}")]
    Damaged { path: PathBuf, offset: u64, what: &'static str },
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}

/// What is known of a snapshot without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// `<term>-<index>-<created>`, each with leading zeros, so that ids sort by age.
    pub id: String,
    pub term: u64,
    pub index: u64,
    /// Milliseconds since the Unix epoch.
    pub created_ms: u64,
    pub bytes: u64,
}

/// A directory of snapshots. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Snapshots {
    dir: Arc<Path>,
    keep: usize,
}

impl Snapshots {
    /// Opens or creates the directory and removes what a crash left half written. `keep` is at least 1.
    pub fn open(dir: &Path, keep: usize) -> Result<Snapshots, Error> {
        fs::create_dir_all(dir).map_err(io_error("creating", dir))?;
        for entry in fs::read_dir(dir).map_err(io_error("listing", dir))? {
            let path = entry.map_err(io_error("listing", dir))?.path();
            if path.extension().is_some_and(|extension| extension == TEMPORARY) {
                fs::remove_file(&path).map_err(io_error("removing", &path))?;
            }
        }
        Ok(Snapshots { dir: dir.into(), keep: keep.max(1) })
    }

    /// Begins a snapshot of the state after the entry `index` of `term`.
    pub fn begin(&self, term: u64, index: u64) -> Result<SnapshotWriter, Error> {
        let created_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_millis() as u64);
        let id = format!("{term:010}-{index:020}-{created_ms:013}");
        let path = self.dir.join(&id).with_extension(TEMPORARY);
        let file = File::create(&path).map_err(io_error("creating", &path))?;
        let info = SnapshotInfo { id, term, index, created_ms, bytes: 0 };
        let mut writer = SnapshotWriter {
            snapshots: self.clone(),
            info,
            file: BufWriter::with_capacity(CHUNK_BYTES_MAX, file),
            path,
            content_bytes: 0,
            hash: Sha256::new(),
            finished: false,
        };
        writer.put(MAGIC)?;
        writer.put(&VERSION.to_le_bytes())?;
        Ok(writer)
    }

    /// Newest first.
    pub fn list(&self) -> Result<Vec<SnapshotInfo>, Error> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(io_error("listing", &self.dir))? {
            let path = entry.map_err(io_error("listing", &self.dir))?.path();
            if path.extension().is_none_or(|extension| extension != EXTENSION) {
                continue;
            }
            let Some(info) = path.file_stem().and_then(|stem| stem.to_str()).and_then(parse_id) else { continue };
            let bytes = fs::metadata(&path).map_err(io_error("reading", &path))?.len();
            found.push(SnapshotInfo { bytes, ..info });
        }
        found.sort_by(|a, b| (b.index, b.term, b.created_ms).cmp(&(a.index, a.term, a.created_ms)));
        Ok(found)
    }

    pub fn get(&self, id: &str) -> Result<SnapshotInfo, Error> {
        let path = self.path(id)?;
        let bytes = fs::metadata(&path).map_err(io_error("reading", &path))?.len();
        // `path` has checked the id.
        parse_id(id).map(|info| SnapshotInfo { bytes, ..info }).ok_or_else(|| Error::BadId(id.to_owned()))
    }

    /// The file of a snapshot that exists. An id is never taken as a path.
    pub fn path(&self, id: &str) -> Result<PathBuf, Error> {
        parse_id(id).ok_or_else(|| Error::BadId(id.to_owned()))?;
        let path = self.dir.join(id).with_extension(EXTENSION);
        if path.is_file() { Ok(path) } else { Err(Error::Missing(id.to_owned())) }
    }

    /// Reads a snapshot chunk by chunk, checking each.
    pub fn read(&self, id: &str) -> Result<SnapshotReader, Error> {
        SnapshotReader::open(&self.path(id)?)
    }

    /// Raw bytes of the file from `offset`, at most `limit` of them; fewer at the end.
    pub fn read_range(&self, id: &str, offset: u64, limit: u64) -> Result<Bytes, Error> {
        let path = self.path(id)?;
        let mut file = File::open(&path).map_err(io_error("opening", &path))?;
        let length = file.metadata().map_err(io_error("reading", &path))?.len();
        let wanted = limit.min(length.saturating_sub(offset));
        file.seek(SeekFrom::Start(offset.min(length))).map_err(io_error("reading", &path))?;
        let mut bytes = Vec::new();
        file.take(wanted).read_to_end(&mut bytes).map_err(io_error("reading", &path))?;
        Ok(bytes.into())
    }

    /// Removes all but the newest ones.
    fn prune(&self) -> Result<(), Error> {
        for old in self.list()?.into_iter().skip(self.keep) {
            let path = self.path(&old.id)?;
            fs::remove_file(&path).map_err(io_error("removing", &path))?;
        }
        Ok(())
    }
}

fn parse_id(id: &str) -> Option<SnapshotInfo> {
    let mut parts = id.split('-').map(|part| {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u64>().ok().filter(|_| digits)
    });
    let (term, index, created_ms) = (parts.next()??, parts.next()??, parts.next()??);
    let info = SnapshotInfo { id: id.to_owned(), term, index, created_ms, bytes: 0 };
    parts.next().is_none().then_some(info)
}

/// A snapshot being written. Dropped before `finish`, it leaves nothing behind.
pub struct SnapshotWriter {
    snapshots: Snapshots,
    info: SnapshotInfo,
    file: BufWriter<File>,
    path: PathBuf,
    content_bytes: u64,
    hash: Sha256,
    finished: bool,
}

impl SnapshotWriter {
    /// Appends a chunk of 1 to `CHUNK_BYTES_MAX` bytes.
    pub fn chunk(&mut self, bytes: &[u8]) -> Result<(), Error> {
        assert!((1..=CHUNK_BYTES_MAX).contains(&bytes.len()), "chunks have a length in bounds");
        self.put(&(bytes.len() as u32).to_le_bytes())?;
        self.put(&crc32c::crc32c(bytes).to_le_bytes())?;
        self.put(bytes)?;
        self.content_bytes += bytes.len() as u64;
        self.hash.update(bytes);
        Ok(())
    }

    /// Makes the snapshot durable under its name and removes those too old to keep.
    pub fn finish(mut self) -> Result<SnapshotInfo, Error> {
        self.put(&0_u32.to_le_bytes())?;
        self.put(&self.content_bytes.to_le_bytes())?;
        let hash = self.hash.clone().finalize();
        self.put(&hash)?;
        self.file.flush().map_err(io_error("writing", &self.path))?;
        self.file.get_ref().sync_all().map_err(io_error("syncing", &self.path))?;
        let name = self.path.with_extension(EXTENSION);
        fs::rename(&self.path, &name).map_err(io_error("renaming", &self.path))?;
        self.finished = true;
        // The name itself is durable only once the directory is.
        let dir = &self.snapshots.dir;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("syncing", dir))?;
        self.snapshots.prune()?;
        Ok(self.info.clone())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.info.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(io_error("writing", &self.path))
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "a half-written snapshot stays until the next start");
        }
    }
}

/// A snapshot being read.
pub struct SnapshotReader {
    file: BufReader<File>,
    path: PathBuf,
    offset: u64,
    content_bytes: u64,
    hash: Sha256,
    ended: bool,
}

impl SnapshotReader {
    /// Opens a snapshot file anywhere.
    pub fn open(path: &Path) -> Result<SnapshotReader, Error> {
        let file = File::open(path).map_err(io_error("opening", path))?;
        let mut reader = SnapshotReader {
            file: BufReader::with_capacity(CHUNK_BYTES_MAX, file),
            path: path.to_owned(),
            offset: 0,
            content_bytes: 0,
            hash: Sha256::new(),
            ended: false,
        };
        let magic = reader.take::<8>();
        if !matches!(&magic, Ok(magic) if magic == MAGIC) {
            return Err(Error::NotASnapshot { path: reader.path });
        }
        match u32::from_le_bytes(reader.take()?) {
            VERSION => Ok(reader),
            version => Err(Error::Version { path: reader.path, version }),
        }
    }

    /// The next chunk, or `None` after the last one once the whole file has been found good.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, Error> {
        if self.ended {
            return Ok(None);
        }
        let length = u32::from_le_bytes(self.take()?) as usize;
        if length == 0 {
            self.end()?;
            return Ok(None);
        }
        if length > CHUNK_BYTES_MAX {
            return Err(self.damaged("a chunk is too long"));
        }
        let crc = u32::from_le_bytes(self.take()?);
        let mut chunk = vec![0; length];
        self.fill(&mut chunk)?;
        if crc32c::crc32c(&chunk) != crc {
            return Err(self.damaged("a chunk's checksum is wrong"));
        }
        self.content_bytes += length as u64;
        self.hash.update(&chunk);
        Ok(Some(chunk))
    }

    fn end(&mut self) -> Result<(), Error> {
        let bytes = u64::from_le_bytes(self.take()?);
        let hash: [u8; 32] = self.take()?;
        if bytes != self.content_bytes || hash != self.hash.clone().finalize().as_slice() {
            return Err(self.damaged("the checksum of the whole is wrong"));
        }
        let mut after = [0];
        if self.file.read(&mut after).map_err(io_error("reading", &self.path))? != 0 {
            return Err(self.damaged("there are bytes after the end"));
        }
        self.ended = true;
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        match self.file.read_exact(bytes) {
            Ok(()) => {
                self.offset += bytes.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.damaged("it is cut short")),
            Err(error) => Err(io_error("reading", &self.path)(error)),
        }
    }

    fn damaged(&self, what: &'static str) -> Error {
        Error::Damaged { path: self.path.clone(), offset: self.offset, what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(snapshots: &Snapshots, index: u64) -> SnapshotInfo {
        let mut writer = snapshots.begin(1, index).unwrap();
        for chunk in 0..3_u8 {
            writer.chunk(&vec![chunk; 1000 + usize::from(chunk)]).unwrap();
        }
        writer.finish().unwrap()
    }

    fn read_all(reader: Result<SnapshotReader, Error>) -> Result<Vec<Vec<u8>>, Error> {
        let mut reader = reader?;
        let mut chunks = Vec::new();
        while let Some(chunk) = reader.next_chunk()? {
            chunks.push(chunk);
        }
        Ok(chunks)
    }

    #[test]
    fn what_is_written_is_read_and_listed() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(dir.path(), 3).unwrap();
        let info = written(&snapshots, 7);
        assert_eq!(snapshots.list().unwrap(), std::slice::from_ref(&info));
        assert_eq!(snapshots.get(&info.id).unwrap(), info);
        let chunks = read_all(snapshots.read(&info.id)).unwrap();
        assert_eq!(chunks.iter().map(Vec::len).collect::<Vec<_>>(), [1000, 1001, 1002]);
        let raw = fs::read(snapshots.path(&info.id).unwrap()).unwrap();
        assert_eq!(raw.len() as u64, info.bytes);
        assert_eq!(snapshots.read_range(&info.id, 5, 10).unwrap(), &raw[5..15]);
        assert_eq!(snapshots.read_range(&info.id, info.bytes - 2, u64::MAX).unwrap().len(), 2);
        assert!(snapshots.read_range(&info.id, u64::MAX, 1).unwrap().is_empty());
    }

    #[test]
    fn only_the_newest_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(dir.path(), 2).unwrap();
        for index in [5, 900, 1000] {
            written(&snapshots, index);
        }
        let kept: Vec<u64> = snapshots.list().unwrap().iter().map(|info| info.index).collect();
        assert_eq!(kept, [1000, 900]);
    }

    #[test]
    fn a_half_written_snapshot_is_never_seen() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(dir.path(), 2).unwrap();
        let mut writer = snapshots.begin(1, 1).unwrap();
        writer.chunk(b"x").unwrap();
        assert!(snapshots.list().unwrap().is_empty());
        drop(writer);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        fs::write(dir.path().join("1-1-1.partial"), b"left by a crash").unwrap();
        Snapshots::open(dir.path(), 2).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn every_damaged_byte_and_every_cut_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(dir.path(), 2).unwrap();
        let path = snapshots.path(&written(&snapshots, 1).id).unwrap();
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(&path, &bad).unwrap();
            assert!(read_all(SnapshotReader::open(&path)).is_err(), "byte {at} was flipped");
        }
        for length in (0..good.len()).step_by(7) {
            fs::write(&path, &good[..length]).unwrap();
            assert!(read_all(SnapshotReader::open(&path)).is_err(), "cut to {length} bytes");
        }
    }

    #[test]
    fn ids_are_not_paths() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(dir.path(), 2).unwrap();
        for id in ["", "../1-1-1", "1-1", "1-1-1-1", "1-1-1/..", "+1-1-1", "1-1-x"] {
            assert!(matches!(snapshots.path(id), Err(Error::BadId(_))), "{id}");
        }
        assert!(matches!(snapshots.path("1-1-1"), Err(Error::Missing(_))));
    }
}
