//! The bytes of a snapshot file: `frames` with the magic "uhahasnp", version 2, and the header
//!
//! ```text
//! u64 term │ u64 index │ u64 created, ms since the Unix epoch │ id of the snapshot it adds to, if any     little endian
//! ```
//!
//! Who installs a snapshot must have reached its end.

use super::{Error, SnapshotInfo, Snapshots, TEMP_SUFFIX, is_id};
use crate::storage::frames::{CHUNK_BYTES_MAX, FrameReader, FrameWriter, Kind, Wrong};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

const KIND: Kind = Kind { magic: b"uhahasnp", version: 2, mismatch: "not a snapshot" };
/// What may wait to be written to disk. A sync of the log can have to wait for that.
const UNSYNCED_BYTES_MAX: u64 = 8 << 20;
const HEADER_BYTES: usize = 3 * 8;
/// The longest id has three numbers of 64 bits.
const PARENT_BYTES_MAX: usize = 3 * 20 + 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) term: u64,
    pub(super) index: u64,
    pub(super) created_ms: u64,
}

/// A file that never has much left to be written to disk.
#[derive(Debug)]
struct Paced {
    file: BufWriter<File>,
    unsynced: u64,
}

impl Paced {
    fn new(file: File) -> Paced {
        Paced { file: BufWriter::with_capacity(256 << 10, file), unsynced: 0 }
    }
}

impl Write for Paced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.unsynced += written as u64;
        if self.unsynced >= UNSYNCED_BYTES_MAX {
            self.flush()?;
            self.file.get_ref().sync_data()?;
            self.unsynced = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A snapshot that is being written. Dropped before `finish`, it leaves nothing.
#[derive(Debug)]
pub struct SnapshotWriter {
    snapshots: Snapshots,
    header: Header,
    path: PathBuf,
    frames: FrameWriter<Paced>,
    finished: bool,
}

impl SnapshotWriter {
    pub(super) fn create(
        snapshots: Snapshots,
        mut header: Header,
        parent: Option<&str>,
    ) -> Result<SnapshotWriter, Error> {
        // Two snapshots of one entry within a millisecond get different names.
        let (path, file) = loop {
            let path = snapshots.shared.dir.join(format!("{}{TEMP_SUFFIX}", header.id()));
            let taken = snapshots.file_path(&header.id()).exists();
            match File::create_new(&path) {
                Ok(file) if !taken => break (path, file),
                Ok(_) => fs::remove_file(&path).map_err(|source| Error::Remove { path, source })?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(Error::Create { path, source }),
            }
            header.created_ms += 1;
        };
        SnapshotWriter::write_to(snapshots, header, parent, path, file)
    }

    /// A snapshot that is to take the place of the one with the same name.
    pub(super) fn replace(snapshots: Snapshots, header: Header) -> Result<SnapshotWriter, Error> {
        let path = snapshots.shared.dir.join(format!("whole-{}{TEMP_SUFFIX}", header.id()));
        let file = File::create(&path).map_err(|source| Error::Create { path: path.clone(), source })?;
        SnapshotWriter::write_to(snapshots, header, None, path, file)
    }

    fn write_to(
        snapshots: Snapshots,
        header: Header,
        parent: Option<&str>,
        path: PathBuf,
        file: File,
    ) -> Result<SnapshotWriter, Error> {
        let mut encoded = [header.term, header.index, header.created_ms].map(u64::to_le_bytes).concat();
        encoded.extend_from_slice(parent.unwrap_or_default().as_bytes());
        match FrameWriter::new(Paced::new(file), KIND, &encoded) {
            Ok(frames) => Ok(SnapshotWriter { snapshots, header, path, frames, finished: false }),
            Err(source) => {
                // It is removed at the next open if not now.
                let _ = fs::remove_file(&path);
                Err(Error::Write { path, source })
            }
        }
    }

    /// Appends one chunk of at most `CHUNK_BYTES_MAX`; nothing is written for an empty one.
    pub fn chunk(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() > CHUNK_BYTES_MAX {
            return Err(Error::ChunkTooLarge { bytes: bytes.len() });
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.frames.chunk(bytes).map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    /// Makes it durable under its name, and removes the oldest snapshots beyond those kept.
    pub fn finish(mut self) -> Result<SnapshotInfo, Error> {
        let synced = self.frames.finish().and_then(|paced| paced.file.get_ref().sync_all());
        synced.map_err(|source| Error::Write { path: self.path.clone(), source })?;
        let info = self.snapshots.publish(&self.path, self.header)?;
        self.finished = true;
        Ok(info)
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if !self.finished {
            // It is removed at the next open if not now.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Reads a snapshot from its beginning, checking every byte.
#[derive(Debug)]
pub struct SnapshotReader {
    path: PathBuf,
    frames: FrameReader<BufReader<File>>,
    header: Header,
    parent: Option<String>,
}

impl SnapshotReader {
    pub(super) fn open(path: PathBuf) -> Result<SnapshotReader, Error> {
        let id = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let file = File::open(&path).map_err(|source| Error::opening(&id, &path, source))?;
        let (frames, chunk) =
            FrameReader::open(BufReader::with_capacity(256 << 10, file), KIND).map_err(|why| wrong(&path, why))?;
        if !(HEADER_BYTES..=HEADER_BYTES + PARENT_BYTES_MAX).contains(&chunk.len()) {
            return Err(wrong(&path, frames.damaged("a header of unknown length")));
        }
        let field = |at: usize| chunk[at..at + 8].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let header = Header { term: field(0), index: field(8), created_ms: field(16) };
        let parent = std::str::from_utf8(&chunk[HEADER_BYTES..]).ok().filter(|id| id.is_empty() || is_id(id));
        let parent = parent.ok_or_else(|| wrong(&path, frames.damaged("a malformed parent")))?;
        let parent = (!parent.is_empty()).then(|| parent.to_owned());
        Ok(SnapshotReader { path, frames, header, parent })
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// The snapshot that this one adds to, if it is not a whole one.
    pub(super) fn parent(&self) -> Option<&str> {
        self.parent.as_deref()
    }

    /// Checks all that is left, and returns the header.
    pub(super) fn read_to_end(mut self) -> Result<Header, Error> {
        while self.next_chunk()?.is_some() {}
        Ok(self.header)
    }

    /// The next chunk, checked; `None` once the end is reached and checked.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, Error> {
        self.frames.next_chunk().map_err(|why| wrong(&self.path, why))
    }
}

fn wrong(path: &Path, why: Wrong) -> Error {
    let path = path.to_owned();
    match why {
        Wrong::Read(source) => Error::Read { path, source },
        Wrong::Version(version) => Error::UnknownVersion { path, version },
        Wrong::Damaged { offset, what } => Error::Damaged { path, offset, what },
    }
}

/// Reads a file to its end and returns its header. It must be a whole snapshot, which needs no other.
pub(super) fn verify(path: &Path) -> Result<Header, Error> {
    let reader = SnapshotReader::open(path.to_owned())?;
    if reader.parent.is_some() {
        return Err(Error::Increment { path: path.to_owned() });
    }
    reader.read_to_end()
}
