//! The bytes of a snapshot file. Numbers are little endian:
//!
//! ```text
//! file:    magic "uhahasnp" │ u32 version (2) │ header │ chunks │ end
//! header:  a chunk of u64 term │ u64 index │ u64 created, ms since the Unix epoch │ id of the snapshot it adds to, if any
//! chunk:   u32 length, 1 to 1 MiB │ u32 crc32c of the bytes │ bytes
//! end:     u32 0 │ u32 crc32c of what follows │ u64 bytes in all chunks │ sha256 of all before the end
//! ```
//!
//! Each chunk is checked as it is read, so a reader may use it before the end; only the end says that nothing is
//! missing, and who installs a snapshot must have reached it.

use super::{Error, SnapshotInfo, Snapshots, TEMP_SUFFIX, is_id};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"uhahasnp";
const VERSION: u32 = 2;
/// What `SnapshotWriter::chunk` takes at most.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;
const HEADER_BYTES: usize = 3 * 8;
/// The longest id has three numbers of 64 bits.
const PARENT_BYTES_MAX: usize = 3 * 20 + 2;
const END_BYTES: usize = 8 + 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) term: u64,
    pub(super) index: u64,
    pub(super) created_ms: u64,
}

/// A snapshot that is being written. Dropped before `finish`, it leaves nothing.
#[derive(Debug)]
pub struct SnapshotWriter {
    snapshots: Snapshots,
    header: Header,
    path: PathBuf,
    file: BufWriter<File>,
    sha256: Sha256,
    bytes: u64,
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
        let file = BufWriter::with_capacity(256 << 10, file);
        let sha256 = Sha256::new();
        let mut writer = SnapshotWriter { snapshots, header, path, file, sha256, bytes: 0, finished: false };
        writer.put(MAGIC)?;
        writer.put(&VERSION.to_le_bytes())?;
        let mut encoded = [header.term, header.index, header.created_ms].map(u64::to_le_bytes).concat();
        encoded.extend_from_slice(parent.unwrap_or_default().as_bytes());
        writer.put_chunk(&encoded)?;
        Ok(writer)
    }

    /// Appends one chunk of at most `CHUNK_BYTES_MAX`; nothing is written for an empty one.
    pub fn chunk(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() > CHUNK_BYTES_MAX {
            return Err(Error::ChunkTooLarge { bytes: bytes.len() });
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.bytes += bytes.len() as u64;
        self.put_chunk(bytes)
    }

    /// Makes it durable under its name, and removes the oldest snapshots beyond those kept.
    pub fn finish(mut self) -> Result<SnapshotInfo, Error> {
        let sha256 = self.sha256.clone().finalize();
        let end = [&self.bytes.to_le_bytes()[..], &sha256].concat();
        self.put(&0_u32.to_le_bytes())?;
        self.put(&crc32c::crc32c(&end).to_le_bytes())?;
        self.put(&end)?;
        self.file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all())
            .map_err(|source| Error::Write { path: self.path.clone(), source })?;
        let info = self.snapshots.publish(&self.path, self.header)?;
        self.finished = true;
        Ok(info)
    }

    fn put_chunk(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.put(&(bytes.len() as u32).to_le_bytes())?;
        self.put(&crc32c::crc32c(bytes).to_le_bytes())?;
        self.put(bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.sha256.update(bytes);
        self.file.write_all(bytes).map_err(|source| Error::Write { path: self.path.clone(), source })
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
    file: BufReader<File>,
    header: Header,
    parent: Option<String>,
    sha256: Sha256,
    /// Where the next byte is read.
    offset: u64,
    bytes: u64,
    ended: bool,
}

impl SnapshotReader {
    pub(super) fn open(path: PathBuf) -> Result<SnapshotReader, Error> {
        let id = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let file = File::open(&path).map_err(|source| Error::opening(&id, &path, source))?;
        let mut reader = SnapshotReader {
            path,
            file: BufReader::with_capacity(256 << 10, file),
            header: Header { term: 0, index: 0, created_ms: 0 },
            parent: None,
            sha256: Sha256::new(),
            offset: 0,
            bytes: 0,
            ended: false,
        };
        if reader.take::<8>()? != *MAGIC {
            return Err(reader.damaged("not a snapshot"));
        }
        let version = u32::from_le_bytes(reader.take()?);
        if version != VERSION {
            return Err(Error::UnknownVersion { path: reader.path, version });
        }
        let length = u32::from_le_bytes(reader.take()?) as usize;
        if !(HEADER_BYTES..=HEADER_BYTES + PARENT_BYTES_MAX).contains(&length) {
            return Err(reader.damaged("a header of unknown length"));
        }
        let chunk = reader.chunk_of(length)?;
        let field = |at: usize| chunk[at..at + 8].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        reader.header = Header { term: field(0), index: field(8), created_ms: field(16) };
        let parent = std::str::from_utf8(&chunk[HEADER_BYTES..]).ok().filter(|id| id.is_empty() || is_id(id));
        let parent = parent.ok_or_else(|| reader.damaged("a malformed parent"))?;
        reader.parent = (!parent.is_empty()).then(|| parent.to_owned());
        Ok(reader)
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// The snapshot that this one adds to, if it is not a whole one.
    pub(super) fn parent(&self) -> Option<&str> {
        self.parent.as_deref()
    }

    /// The next chunk, checked; `None` once the end is reached and checked.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, Error> {
        if self.ended {
            return Ok(None);
        }
        let sha256 = self.sha256.clone().finalize();
        let length = u32::from_le_bytes(self.take()?) as usize;
        if length > CHUNK_BYTES_MAX {
            return Err(self.damaged("a chunk over the limit"));
        }
        if length > 0 {
            let chunk = self.chunk_of(length)?;
            self.bytes += length as u64;
            return Ok(Some(chunk));
        }
        let end = self.chunk_of(END_BYTES)?;
        if end[..8] != self.bytes.to_le_bytes() {
            return Err(self.damaged("the number of bytes does not match"));
        }
        if end[8..] != *sha256 {
            return Err(self.damaged("the sha256 does not match"));
        }
        match self.file.read(&mut [0]) {
            Ok(0) => {}
            Ok(_) => return Err(self.damaged("bytes after the end")),
            Err(source) => return Err(Error::Read { path: self.path.clone(), source }),
        }
        self.ended = true;
        Ok(None)
    }

    /// The checksum and the bytes of a chunk.
    fn chunk_of(&mut self, length: usize) -> Result<Vec<u8>, Error> {
        let crc = u32::from_le_bytes(self.take()?);
        let at = self.offset;
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        if crc32c::crc32c(&bytes) != crc {
            self.offset = at;
            return Err(self.damaged("checksum does not match"));
        }
        Ok(bytes)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.file.read_exact(bytes).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("cut short"),
            _ => Error::Read { path: self.path.clone(), source },
        })?;
        self.sha256.update(&*bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn damaged(&self, what: &'static str) -> Error {
        Error::Damaged { path: self.path.clone(), offset: self.offset, what }
    }
}

/// Reads a file to its end and returns its header. It must be a whole snapshot, which needs no other.
pub(super) fn verify(path: &Path) -> Result<Header, Error> {
    let mut reader = SnapshotReader::open(path.to_owned())?;
    if reader.parent.is_some() {
        return Err(Error::Increment { path: path.to_owned() });
    }
    while reader.next_chunk()?.is_some() {}
    Ok(reader.header)
}
