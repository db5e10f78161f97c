//! Exports: the state of a guest in a form of its own, as a file that goes from one cluster to another.
//!
//! The bytes are `frames` with the magic "uhahaexp", version 1. The header is postcard of `Header`; the chunks together
//! are what the guest wrote, cut without regard to how it was written. Like a snapshot, an export is written aside,
//! synced and renamed, so a file with its name is whole.

use super::frames::{CHUNK_BYTES_MAX, FrameReader, FrameWriter, Kind, Wrong};
use super::sync_dir;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

const KIND: Kind = Kind { magic: b"uhahaexp", version: 1, mismatch: "not an export" };
const BUFFER_BYTES: usize = 256 << 10;

/// What an export says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The name of the guest.
    pub guest: String,
    /// SHA-256 of the module that wrote it, in hexadecimal.
    pub module: String,
    /// The guest's, of the form that follows.
    pub state_version: u32,
    /// Machine time in nanoseconds since the Unix epoch, which must not go back.
    pub clock: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot create {}", path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is an export of unknown version {version}", path.display())]
    UnknownVersion { path: PathBuf, version: u32 },
    #[error("{} is damaged at byte {offset}: {what}", path.display())]
    Damaged { path: PathBuf, offset: u64, what: &'static str },
}

/// A place for an export, where nothing is to be seen yet.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    file: NamedTempFile,
}

impl Draft {
    pub fn create(path: &Path) -> Result<Draft, Error> {
        let parent = parent(path);
        let file = tempfile::Builder::new().prefix(".uhaha-export-").tempfile_in(parent);
        let file = file.map_err(|source| Error::Create { path: path.to_owned(), source })?;
        Ok(Draft { path: path.to_owned(), file })
    }

    /// Takes at most so many bytes of state.
    pub fn begin(self, header: &Header, bytes_max: u64) -> Result<ExportWriter, Error> {
        let failed = |source| Error::Write { path: self.path.clone(), source };
        let header = postcard::to_stdvec(header).map_err(|error| failed(io::Error::other(error)))?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, self.file);
        let frames = FrameWriter::new(file, KIND, &header).map_err(failed)?;
        Ok(ExportWriter { path: self.path, frames, chunk: Vec::new(), bytes: 0, bytes_max })
    }
}

/// An export that is being written. Dropped before `finish`, it leaves nothing.
#[derive(Debug)]
pub struct ExportWriter {
    path: PathBuf,
    frames: FrameWriter<BufWriter<NamedTempFile>>,
    /// What is not a whole chunk yet.
    chunk: Vec<u8>,
    bytes: u64,
    bytes_max: u64,
}

impl Write for ExportWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes + bytes.len() as u64 > self.bytes_max {
            let max = self.bytes_max;
            return Err(io::Error::other(format!("the state has more than {max} bytes, the most that is allowed")));
        }
        let taken = bytes.len().min(CHUNK_BYTES_MAX - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        self.bytes += taken as u64;
        if self.chunk.len() == CHUNK_BYTES_MAX {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.chunk.is_empty() {
            self.frames.chunk(&self.chunk)?;
            self.chunk.clear();
        }
        Ok(())
    }
}

impl ExportWriter {
    /// Bytes of state so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes it durable under its name, in the place of what had that name before. The bytes of state in it.
    pub fn finish(self) -> Result<u64, Error> {
        let (path, bytes) = (self.path.clone(), self.bytes);
        self.publish().map_err(|source| Error::Write { path, source })?;
        Ok(bytes)
    }

    fn publish(mut self) -> io::Result<()> {
        self.flush()?;
        self.frames.finish()?.get_ref().as_file().sync_all()?;
        let file = self.frames.into_inner().into_inner().map_err(io::IntoInnerError::into_error)?;
        file.persist(&self.path).map_err(|error| error.error)?;
        sync_dir(parent(&self.path))
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Reads an export, checking every byte.
#[derive(Debug)]
pub struct ExportReader {
    path: PathBuf,
    frames: FrameReader<BufReader<File>>,
    header: Header,
    chunk: io::Cursor<Vec<u8>>,
}

impl ExportReader {
    /// Opens an export after all of it was checked: a guest should not see the half of a state.
    pub fn open(path: &Path) -> Result<ExportReader, Error> {
        let mut check = ExportReader::begin(path)?;
        while check.next_chunk()?.is_some() {}
        ExportReader::begin(path)
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    fn begin(path: &Path) -> Result<ExportReader, Error> {
        let file = File::open(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        let file = BufReader::with_capacity(BUFFER_BYTES, file);
        let (frames, header) = FrameReader::open(file, KIND).map_err(|why| wrong(path, why))?;
        let decoded = postcard::take_from_bytes(&header).ok().filter(|(_, rest)| rest.is_empty());
        let header = decoded.map(|(header, _)| header);
        let header = header.ok_or_else(|| wrong(path, frames.damaged("a malformed header")))?;
        Ok(ExportReader { path: path.to_owned(), frames, header, chunk: io::Cursor::default() })
    }

    fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, Error> {
        self.frames.next_chunk().map_err(|why| wrong(&self.path, why))
    }
}

impl Read for ExportReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.chunk.read(buffer)? {
            0 if !buffer.is_empty() => {}
            taken => return Ok(taken),
        }
        match self.next_chunk().map_err(io::Error::other)? {
            Some(chunk) => self.chunk = io::Cursor::new(chunk),
            None => return Ok(0),
        }
        // No chunk is empty.
        self.chunk.read(buffer)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn header() -> Header {
        Header { guest: "app".to_owned(), module: "ab".repeat(32), state_version: 3, clock: 7 }
    }

    fn write(path: &Path, bytes_max: u64, parts: &[&[u8]]) -> Result<u64, Box<dyn std::error::Error>> {
        let mut writer = Draft::create(path)?.begin(&header(), bytes_max)?;
        for part in parts {
            writer.write_all(part)?;
        }
        assert_eq!(writer.bytes(), parts.iter().map(|part| part.len() as u64).sum::<u64>());
        Ok(writer.finish()?)
    }

    fn read(path: &Path) -> Result<(Header, Vec<u8>), Error> {
        let mut reader = ExportReader::open(path)?;
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        Ok((reader.header().clone(), bytes))
    }

    fn names(dir: &Path) -> Vec<String> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn what_was_written_is_read_however_it_was_cut() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("state.export");
        let large: Vec<u8> = (0..2 * CHUNK_BYTES_MAX + 5).map(|number| (number % 251) as u8).collect();
        let cases: [&[&[u8]]; 4] = [&[], &[b"", b"abc"], &[b"abc", &large, b"d"], &[&large[..CHUNK_BYTES_MAX]]];
        for parts in cases {
            write(&path, 1 << 30, parts).unwrap();
            let (found, bytes) = read(&path).unwrap();
            assert_eq!(found, header());
            assert!(bytes == parts.concat());
        }
        assert_eq!(names(temp.path()), ["state.export"], "an older one is replaced");
        // Buffers of any size get it all.
        write(&path, 1 << 30, &[&large]).unwrap();
        let (mut reader, mut bytes, mut buffer) = (ExportReader::open(&path).unwrap(), Vec::new(), [0; 7919]);
        while let taken @ 1.. = reader.read(&mut buffer).unwrap() {
            bytes.extend_from_slice(&buffer[..taken]);
        }
        assert!(bytes == large);
    }

    #[test]
    fn what_is_given_up_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("state.export");
        let error = write(&path, 5, &[b"abc", b"def"]).unwrap_err().to_string();
        assert!(error.contains("more than 5 bytes"), "{error}");
        drop(Draft::create(&path).unwrap());
        assert!(names(temp.path()).is_empty());
        write(&path, 6, &[b"abc", b"def"]).unwrap();
        let missing = temp.path().join("missing").join("state.export");
        assert!(matches!(Draft::create(&missing), Err(Error::Create { .. })));
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_found() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("state.export");
        write(&path, 100, &[b"some", b"state"]).unwrap();
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(&path, bad).unwrap();
            assert!(read(&path).is_err(), "byte {at}");
            fs::write(&path, &good[..at]).unwrap();
            assert!(read(&path).is_err(), "cut at {at}");
        }
        fs::write(&path, [&good[..], b"x"].concat()).unwrap();
        assert!(matches!(read(&path), Err(Error::Damaged { what: "bytes after the end", .. })));
        let mut unknown = good.clone();
        unknown[8] = 2;
        fs::write(&path, unknown).unwrap();
        assert!(matches!(read(&path), Err(Error::UnknownVersion { version: 2, .. })));
        fs::write(&path, "some other file").unwrap();
        assert!(matches!(read(&path), Err(Error::Damaged { what: "not an export", .. })));
        fs::write(&path, good).unwrap();
        assert_eq!(read(&path).unwrap().1, b"somestate");
    }
}
