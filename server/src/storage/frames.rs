//! The frame around what is kept in files of chunks: snapshots and exports. Numbers are little endian:
//!
//! ```text
//! file:    magic, 8 bytes │ u32 version │ header, a chunk │ chunks │ end
//! chunk:   u32 length, 1 to 1 MiB │ u32 crc32c of the bytes │ bytes
//! end:     u32 0 │ u32 crc32c of what follows │ u64 bytes in all chunks but the header │ sha256 of all before the end
//! ```
//!
//! Each chunk is checked as it is read, so a reader may use it before the end; only the end says that nothing is
//! missing.

use sha2::{Digest, Sha256};
use std::io::{self, Read, Write};

/// What `FrameWriter::chunk` takes at most.
pub(super) const CHUNK_BYTES_MAX: usize = 1 << 20;
const END_BYTES: usize = 8 + 32;

/// What kind of file it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) magic: &'static [u8; 8],
    pub(super) version: u32,
    /// What is said of a file with another magic.
    pub(super) mismatch: &'static str,
}

/// Why a file cannot be read on.
#[derive(Debug)]
pub(super) enum Wrong {
    Read(io::Error),
    Version(u32),
    Damaged { offset: u64, what: &'static str },
}

#[derive(Debug)]
pub(super) struct FrameWriter<W> {
    file: W,
    sha256: Sha256,
    bytes: u64,
}

impl<W: Write> FrameWriter<W> {
    pub(super) fn new(file: W, kind: Kind, header: &[u8]) -> io::Result<FrameWriter<W>> {
        let mut writer = FrameWriter { file, sha256: Sha256::new(), bytes: 0 };
        writer.put(kind.magic)?;
        writer.put(&kind.version.to_le_bytes())?;
        writer.put_chunk(header)?;
        Ok(writer)
    }

    /// Appends one chunk of at most `CHUNK_BYTES_MAX`; an empty one would be the end.
    pub(super) fn chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        debug_assert!((1..=CHUNK_BYTES_MAX).contains(&bytes.len()), "a chunk of {} bytes", bytes.len());
        self.bytes += bytes.len() as u64;
        self.put_chunk(bytes)
    }

    /// Writes the end. To make it durable is up to whoever has the file.
    pub(super) fn finish(&mut self) -> io::Result<&mut W> {
        let sha256 = self.sha256.clone().finalize();
        let end = [&self.bytes.to_le_bytes()[..], &sha256].concat();
        self.put(&0_u32.to_le_bytes())?;
        self.put(&crc32c::crc32c(&end).to_le_bytes())?;
        self.put(&end)?;
        self.file.flush()?;
        Ok(&mut self.file)
    }

    pub(super) fn into_inner(self) -> W {
        self.file
    }

    fn put_chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.put(&(bytes.len() as u32).to_le_bytes())?;
        self.put(&crc32c::crc32c(bytes).to_le_bytes())?;
        self.put(bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sha256.update(bytes);
        self.file.write_all(bytes)
    }
}

/// Reads such a file from its beginning, checking every byte.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    file: R,
    sha256: Sha256,
    /// Where the next byte is read.
    offset: u64,
    bytes: u64,
    ended: bool,
}

impl<R: Read> FrameReader<R> {
    /// The reader, and the header.
    pub(super) fn open(file: R, kind: Kind) -> Result<(FrameReader<R>, Vec<u8>), Wrong> {
        let mut reader = FrameReader { file, sha256: Sha256::new(), offset: 0, bytes: 0, ended: false };
        if reader.take::<8>()? != *kind.magic {
            return Err(reader.damaged(kind.mismatch));
        }
        let version = u32::from_le_bytes(reader.take()?);
        if version != kind.version {
            return Err(Wrong::Version(version));
        }
        let length = reader.length()?;
        if length == 0 {
            return Err(reader.damaged("no header"));
        }
        let header = reader.chunk_of(length)?;
        Ok((reader, header))
    }

    /// The next chunk, checked; `None` once the end is reached and checked.
    pub(super) fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, Wrong> {
        if self.ended {
            return Ok(None);
        }
        let before = self.sha256.clone();
        let length = self.length()?;
        if length > 0 {
            let chunk = self.chunk_of(length)?;
            self.bytes += length as u64;
            return Ok(Some(chunk));
        }
        let end = self.chunk_of(END_BYTES)?;
        if end[..8] != self.bytes.to_le_bytes() {
            return Err(self.damaged("the number of bytes does not match"));
        }
        if end[8..] != *before.finalize() {
            return Err(self.damaged("the sha256 does not match"));
        }
        match self.file.read(&mut [0]) {
            Ok(0) => {}
            Ok(_) => return Err(self.damaged("bytes after the end")),
            Err(error) => return Err(Wrong::Read(error)),
        }
        self.ended = true;
        Ok(None)
    }

    /// For those who find fault with what a chunk says.
    pub(super) fn damaged(&self, what: &'static str) -> Wrong {
        Wrong::Damaged { offset: self.offset, what }
    }

    fn length(&mut self) -> Result<usize, Wrong> {
        let length = u32::from_le_bytes(self.take()?) as usize;
        if length > CHUNK_BYTES_MAX { Err(self.damaged("a chunk over the limit")) } else { Ok(length) }
    }

    /// The checksum and the bytes of a chunk.
    fn chunk_of(&mut self, length: usize) -> Result<Vec<u8>, Wrong> {
        let crc = u32::from_le_bytes(self.take()?);
        let at = self.offset;
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        if crc32c::crc32c(&bytes) != crc {
            return Err(Wrong::Damaged { offset: at, what: "checksum does not match" });
        }
        Ok(bytes)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Wrong> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Wrong> {
        self.file.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("cut short"),
            _ => Wrong::Read(error),
        })?;
        self.sha256.update(&*bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }
}
