//! `Watermark`: how far the log on disk had come at least, in a file beside it.
//!
//! After a crash redb takes a last transaction whose pages are not what it wrote for one that the crash interrupted, and
//! goes back to the one before. Bytes that rotted look the same, and then a vote or an entry is gone that others count
//! on. So the place that the log has reached is written down outside of it once its sync has returned, and a log that is
//! behind that place is refused. The file itself is not synced: an older place is true as well, only weaker.
//!
//! ```text
//! file:  two copies, at 0 and at 512; each change overwrites the older one
//! copy:  u32 crc32c of the rest │ u8 version (1) │ place
//! ```
//!
//! Numbers are little endian.

use super::Error;
use super::place::Place;
use bytes::{Buf, BufMut};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const FILE: &str = "WATERMARK";
const VERSION: u8 = 1;
const CRC_BYTES: usize = 4;
const COPY_BYTES: usize = CRC_BYTES + 1 + Place::BYTES;
/// A sector: a torn write leaves the other copy whole.
const COPY_DISTANCE: usize = 512;

#[derive(Debug)]
pub(super) struct Watermark {
    path: PathBuf,
    file: File,
    /// Where the older copy is.
    next: u64,
}

/// Where the file is for the log at `log`.
pub(super) fn path(log: &Path) -> PathBuf {
    log.with_file_name(FILE)
}

/// What the file beside the log at `log` says; `None` if there is none.
pub(super) fn read(log: &Path) -> Result<Option<Place>, Error> {
    Ok(load(&path(log))?.map(|(place, _)| place))
}

impl Watermark {
    /// Opens the file beside the log at `log`, or begins it at `place`.
    pub(super) fn open(log: &Path, place: Place) -> Result<Watermark, Error> {
        let path = path(log);
        let next = match load(&path)? {
            Some((_, next)) => next,
            None => {
                create(&path, place).map_err(|source| Error::WriteFile { path: path.clone(), source })?;
                COPY_DISTANCE as u64
            }
        };
        let file = OpenOptions::new().write(true).open(&path);
        let file = file.map_err(|source| Error::WriteFile { path: path.clone(), source })?;
        let mut watermark = Watermark { path, file, next };
        watermark.advance(place)?;
        Ok(watermark)
    }

    /// To be called when the log's sync has returned.
    pub(super) fn advance(&mut self, place: Place) -> Result<(), Error> {
        let written = self.file.write_all_at(&encode(place), self.next);
        written.map_err(|source| Error::WriteFile { path: self.path.clone(), source })?;
        self.next = COPY_DISTANCE as u64 - self.next;
        Ok(())
    }
}

/// Written aside, synced and renamed: from now on its absence means something.
fn create(path: &Path, place: Place) -> io::Result<()> {
    let temp = path.with_extension("tmp");
    let mut file = File::create(&temp)?;
    file.write_all(&encode(place))?;
    file.sync_all()?;
    std::fs::rename(&temp, path)?;
    path.parent().map_or(Ok(()), crate::storage::sync_dir)
}

/// The later place of the two copies, and where the other one stands.
fn load(path: &Path) -> Result<Option<(Place, u64)>, Error> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::ReadFile { path: path.to_owned(), source }),
    };
    let damaged = |what: String| Error::Damaged { path: path.to_owned(), what };
    let mut found = None;
    for at in [0, COPY_DISTANCE] {
        match bytes.get(at..at + COPY_BYTES).map(decode) {
            Some(Ok(place)) if found.is_none_or(|(best, _)| best < place) => {
                found = Some((place, (COPY_DISTANCE - at) as u64));
            }
            Some(Err(Wrong::Version(version))) => return Err(damaged(format!("unknown version {version}"))),
            // One is enough, and the second is not there at first.
            Some(_) | None => {}
        }
    }
    found.map(Some).ok_or_else(|| damaged("no copy is whole".to_owned()))
}

enum Wrong {
    Checksum,
    Version(u8),
}

fn encode(place: Place) -> Vec<u8> {
    let mut copy = Vec::with_capacity(COPY_BYTES);
    copy.put_u32_le(0);
    copy.put_u8(VERSION);
    place.put(&mut copy);
    let crc = crc32c::crc32c(&copy[CRC_BYTES..]);
    copy[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
    copy
}

/// `copy` has `COPY_BYTES`.
fn decode(mut copy: &[u8]) -> Result<Place, Wrong> {
    let crc = copy.get_u32_le();
    if crc32c::crc32c(copy) != crc {
        return Err(Wrong::Checksum);
    }
    let version = copy.get_u8();
    if version != VERSION {
        return Err(Wrong::Version(version));
    }
    Ok(Place::get(&mut copy))
}
