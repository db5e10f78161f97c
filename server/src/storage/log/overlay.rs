//! `Overlay`: a database file that is read and stays as it is.
//!
//! redb writes even to a database that is only looked at: after a crash it repairs it. What it writes is kept in
//! memory, a page at a time, and is gone with the overlay. A repair changes a few pages; it could not change more than
//! the file has.

use redb::StorageBackend;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

const PAGE_BYTES: u64 = 4096;

type Page = Box<[u8; PAGE_BYTES as usize]>;

#[derive(Debug)]
pub(super) struct Overlay {
    file: File,
    changes: Mutex<Changes>,
}

#[derive(Debug)]
struct Changes {
    /// What is still valid of the file: it may have been cut.
    of_file: u64,
    len: u64,
    /// Whole pages by their number.
    pages: BTreeMap<u64, Page>,
}

impl Overlay {
    pub(super) fn open(path: &Path) -> io::Result<Overlay> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Overlay { file, changes: Mutex::new(Changes { of_file: len, len, pages: BTreeMap::new() }) })
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the file has at `offset`, and zeros behind its end.
    fn read_file(&self, of_file: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = of_file.saturating_sub(offset).min(out.len() as u64) as usize;
        out[there..].fill(0);
        self.file.read_exact_at(&mut out[..there], offset)
    }
}

/// Cuts `offset..offset + bytes` at the bounds of pages: the page, the place in it, the place in the whole.
fn pieces(offset: u64, bytes: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let inside = (at % PAGE_BYTES) as usize;
        let length = (PAGE_BYTES as usize - inside).min(bytes - done);
        let piece = (at / PAGE_BYTES, inside, done..done + length);
        done += length;
        (length > 0).then_some(piece)
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changes().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let changes = self.changes();
        changes.check(offset, out.len())?;
        for (number, inside, range) in pieces(offset, out.len()) {
            let piece = &mut out[range];
            match changes.pages.get(&number) {
                Some(page) => piece.copy_from_slice(&page[inside..inside + piece.len()]),
                None => self.read_file(changes.of_file, number * PAGE_BYTES + inside as u64, piece)?,
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut changes = self.changes();
        changes.of_file = changes.of_file.min(len);
        // What comes behind a cut is zero, whatever was there.
        changes.pages.split_off(&len.div_ceil(PAGE_BYTES));
        if let Some(page) = changes.pages.get_mut(&(len / PAGE_BYTES)) {
            page[(len % PAGE_BYTES) as usize..].fill(0);
        }
        changes.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let changes = &mut *self.changes();
        changes.check(offset, data.len())?;
        for (number, inside, range) in pieces(offset, data.len()) {
            let piece = &data[range];
            if !changes.pages.contains_key(&number) {
                let mut page = Box::new([0; PAGE_BYTES as usize]);
                self.read_file(changes.of_file, number * PAGE_BYTES, &mut page[..])?;
                changes.pages.insert(number, page);
            }
            if let Some(page) = changes.pages.get_mut(&number) {
                page[inside..inside + piece.len()].copy_from_slice(piece);
            }
        }
        Ok(())
    }
}

impl Changes {
    fn check(&self, offset: u64, bytes: usize) -> io::Result<()> {
        match offset.checked_add(bytes as u64) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_behaves_like_a_file_and_leaves_the_file_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let before: Vec<u8> = (0..10_000_u32).map(|n| n as u8).collect();
        std::fs::write(&path, &before).unwrap();
        let overlay = Overlay::open(&path).unwrap();
        let mut model = before.clone();
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let mut below = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % bound
        };
        for step in 0..2000 {
            let offset = below(model.len() as u64) as usize;
            let length = below((model.len() - offset) as u64 + 1) as usize;
            match below(4) {
                0 => {
                    let len = 1 + below(30_000);
                    overlay.set_len(len).unwrap();
                    model.resize(len as usize, 0);
                }
                1 => {
                    let data = vec![step as u8; length];
                    overlay.write(offset as u64, &data).unwrap();
                    model[offset..offset + length].copy_from_slice(&data);
                }
                _ => {
                    let mut out = vec![0xee; length];
                    overlay.read(offset as u64, &mut out).unwrap();
                    assert!(out == model[offset..offset + length], "step {step}: {length} bytes at {offset}");
                }
            }
            assert_eq!(overlay.len().unwrap(), model.len() as u64);
        }
        let end = model.len() as u64;
        assert_eq!(overlay.read(end, &mut [0]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(overlay.write(u64::MAX, &[0]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}
