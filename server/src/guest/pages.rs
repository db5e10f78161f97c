//! `Pages`: the content of one linear memory at one moment, in a file of its own that is only in memory.
//!
//! It follows its memory from image to image by taking over the pages that differ, and remembers which those were: for
//! the next snapshot file, and for the digest. Nothing here needs the instance, so an image can be written to disk while
//! the guest goes on.

use rustix::fs::{MemfdFlags, SeekFrom, fstat, ftruncate, memfd_create, seek};
use rustix::io::{Errno, pread, pwrite};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Granularity of images: a page of zeros is not part of one.
pub const PAGE_BYTES: usize = 4096;
/// What one memory can have at most: all that 32 bits can address.
pub(super) const MEMORY_BYTES_MAX: usize = 4 << 30;
/// The longest run of pages that is visited at once.
const RUN_BYTES_MAX: usize = 1 << 20;

/// The content of one memory.
pub struct Pages {
    file: OwnedFd,
    bytes: AtomicU64,
    /// The snapshot file that has all pages but the unsaved ones, if there is one.
    saved_as: Mutex<Option<String>>,
    /// Those taken over since that file was written, zero ones too.
    unsaved: PageSet,
    /// What each page added to the sum when it was looked at last.
    hashes: Mutex<Hashes>,
    /// Those that have come since.
    unhashed: PageSet,
}

#[derive(Default)]
struct Hashes {
    of_pages: Vec<u128>,
    sum: u128,
}

impl Pages {
    /// A memory of zeros.
    pub fn new(bytes: u64) -> Result<Pages, Errno> {
        let file = memfd_create("uhaha-image", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, bytes)?;
        Ok(Pages {
            file,
            bytes: AtomicU64::new(bytes),
            saved_as: Mutex::default(),
            unsaved: PageSet::new(),
            hashes: Mutex::default(),
            unhashed: PageSet::new(),
        })
    }

    /// The size of the memory.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How much of it is not a hole of the file.
    pub fn data_bytes(&self) -> u64 {
        // What cannot be told counts as all of it.
        fstat(&self.file).map_or_else(|_| self.bytes(), |stat| stat.st_blocks as u64 * 512)
    }

    pub fn resize(&self, bytes: u64) -> Result<(), Errno> {
        ftruncate(&self.file, bytes)?;
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Puts content that comes from a snapshot file; false if it lies outside of the memory.
    pub fn put(&self, offset: u64, bytes: &[u8]) -> Result<bool, Errno> {
        let inside = offset.checked_add(bytes.len() as u64).is_some_and(|end| end <= self.bytes());
        if inside && !bytes.is_empty() {
            write_all(&self.file, bytes, offset)?;
            let page = |offset: u64| offset as usize / PAGE_BYTES;
            (page(offset)..=page(offset + bytes.len() as u64 - 1)).for_each(|page| self.unhashed.insert(page));
        }
        Ok(inside)
    }

    /// Takes over those pages of `new`, the memory's content at `offset`, that differ from what is here. `old` is as long
    /// as `new` and is overwritten. Needs no allocation, for it may run in a signal handler.
    pub(super) fn update(&self, offset: u64, new: &[u8], old: &mut [u8]) -> Result<(), Errno> {
        read_all(&self.file, old, offset)?;
        let pages = new.len().div_ceil(PAGE_BYTES);
        let range = |from: usize, to: usize| from * PAGE_BYTES..(to * PAGE_BYTES).min(new.len());
        let differs = |page: usize| new[range(page, page + 1)] != old[range(page, page + 1)];
        let mut page = 0;
        while page < pages {
            if !differs(page) {
                page += 1;
                continue;
            }
            let first = page;
            while page < pages && differs(page) {
                self.unsaved.insert(offset as usize / PAGE_BYTES + page);
                self.unhashed.insert(offset as usize / PAGE_BYTES + page);
                page += 1;
            }
            write_all(&self.file, &new[range(first, page)], offset + (first * PAGE_BYTES) as u64)?;
        }
        Ok(())
    }

    /// Reads the content at `offset` into the whole of `into`; what is behind the end reads as zeros.
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), Errno> {
        read_all(&self.file, into, offset)
    }

    /// Calls `visit` with each run of pages that are not all zero, in order.
    pub fn each_run<E: From<Errno>>(&self, mut visit: impl FnMut(u64, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut buffer = vec![0; RUN_BYTES_MAX];
        each_data(&self.file, self.bytes(), |from, to| {
            let mut at = from;
            while at < to {
                let length = ((to - at) as usize).min(RUN_BYTES_MAX);
                let content = &mut buffer[..length];
                read_all(&self.file, content, at)?;
                each_nonzero(content, |start, run| visit(at + start as u64, run))?;
                at += length as u64;
            }
            Ok(())
        })
    }

    /// Calls `visit` with each run of pages that were taken over since the last snapshot file, in order.
    pub fn each_unsaved<E: From<Errno>>(&self, mut visit: impl FnMut(u64, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut buffer = vec![0; RUN_BYTES_MAX];
        self.unsaved.each_run(RUN_BYTES_MAX / PAGE_BYTES, |pages| {
            let offset = pages.start * PAGE_BYTES;
            let end = (pages.end * PAGE_BYTES).min(self.bytes() as usize);
            let content = &mut buffer[..end.saturating_sub(offset)];
            read_all(&self.file, content, offset as u64)?;
            visit(offset as u64, content)
        })
    }

    /// The sum, modulo 2^128, of `hash` over the numbers and contents of all pages, where a page of zeros adds nothing. It
    /// looks only at those that have come since it was asked last, so `hash` must be the same function each time.
    pub fn sum(&self, hash: impl Fn(u64, &[u8]) -> u128) -> Result<u128, Errno> {
        let mut hashes = lock(&self.hashes);
        let Hashes { of_pages, sum } = &mut *hashes;
        let mut buffer = vec![0; RUN_BYTES_MAX];
        self.unhashed.each_run(RUN_BYTES_MAX / PAGE_BYTES, |pages| {
            let content = &mut buffer[..pages.len() * PAGE_BYTES];
            read_all(&self.file, content, (pages.start * PAGE_BYTES) as u64)?;
            if of_pages.len() < pages.end {
                of_pages.resize(pages.end, 0);
            }
            for (page, bytes) in pages.zip(content.chunks(PAGE_BYTES)) {
                let new = hash(page as u64, bytes);
                let old = std::mem::replace(&mut of_pages[page], new);
                *sum = sum.wrapping_sub(old).wrapping_add(new);
            }
            Ok::<_, Errno>(())
        })?;
        self.unhashed.clear();
        Ok(*sum)
    }

    /// How much `sum` would look at.
    pub(super) fn unhashed_bytes(&self) -> u64 {
        (self.unhashed.count() * PAGE_BYTES) as u64
    }

    /// How much was taken over since the last snapshot file.
    pub fn unsaved_bytes(&self) -> u64 {
        (self.unsaved.count() * PAGE_BYTES) as u64
    }

    /// The snapshot file that has all of it but what was taken over since.
    pub fn saved_as(&self) -> Option<String> {
        lock(&self.saved_as).clone()
    }

    /// All of it is in this snapshot file now.
    pub fn saved(&self, id: &str) {
        self.unsaved.clear();
        *lock(&self.saved_as) = Some(id.to_owned());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A set of page numbers that a signal handler may add to.
struct PageSet(Box<[AtomicU64]>);

impl PageSet {
    fn new() -> PageSet {
        PageSet((0..MEMORY_BYTES_MAX / PAGE_BYTES / 64).map(|_| AtomicU64::new(0)).collect())
    }

    fn insert(&self, page: usize) {
        if let Some(word) = self.0.get(page / 64) {
            word.fetch_or(1 << (page % 64), Ordering::Relaxed);
        }
    }

    fn contains(&self, page: usize) -> bool {
        self.0.get(page / 64).is_some_and(|word| word.load(Ordering::Relaxed) >> (page % 64) & 1 == 1)
    }

    /// Calls `visit` with the members, in order, as runs of so many at most that follow each other.
    fn each_run<E>(&self, most: usize, mut visit: impl FnMut(Range<usize>) -> Result<(), E>) -> Result<(), E> {
        let mut page = 0;
        while let Some(first) = self.next(page) {
            page = first + 1;
            while page - first < most && self.contains(page) {
                page += 1;
            }
            visit(first..page)?;
        }
        Ok(())
    }

    /// The first member that is `page` or later.
    fn next(&self, page: usize) -> Option<usize> {
        let mut mask = u64::MAX << (page % 64);
        for (number, word) in self.0.iter().enumerate().skip(page / 64) {
            let found = word.load(Ordering::Relaxed) & mask;
            if found != 0 {
                return Some(number * 64 + found.trailing_zeros() as usize);
            }
            mask = u64::MAX;
        }
        None
    }

    fn count(&self) -> usize {
        self.0.iter().map(|word| word.load(Ordering::Relaxed).count_ones() as usize).sum()
    }

    fn clear(&self) {
        self.0.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }
}

/// Calls `visit` with the bounds of each part of the file that is not a hole, in whole pages.
pub(super) fn each_data<E: From<Errno>>(
    file: &OwnedFd,
    bytes: u64,
    mut visit: impl FnMut(u64, u64) -> Result<(), E>,
) -> Result<(), E> {
    let mut at = 0;
    while at < bytes {
        at = match seek(file, SeekFrom::Data(at)) {
            Ok(data) => data / PAGE_BYTES as u64 * PAGE_BYTES as u64,
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let hole = seek(file, SeekFrom::Hole(at))?.min(bytes);
        visit(at, hole)?;
        at = hole;
    }
    Ok(())
}

pub(super) fn each_nonzero<E>(content: &[u8], mut visit: impl FnMut(usize, &[u8]) -> Result<(), E>) -> Result<(), E> {
    let page = |at: usize| &content[at..(at + PAGE_BYTES).min(content.len())];
    let is_zero = |at: usize| page(at).iter().all(|byte| *byte == 0);
    let mut at = 0;
    while at < content.len() {
        if is_zero(at) {
            at += PAGE_BYTES;
            continue;
        }
        let start = at;
        while at < content.len() && !is_zero(at) {
            at += PAGE_BYTES;
        }
        visit(start, &content[start..at.min(content.len())])?;
    }
    Ok(())
}

/// What is behind the end of the file reads as zeros.
pub(super) fn read_all(file: &OwnedFd, mut into: &mut [u8], mut offset: u64) -> Result<(), Errno> {
    while !into.is_empty() {
        match pread(file, &mut *into, offset) {
            Ok(0) => {
                into.fill(0);
                return Ok(());
            }
            Ok(read) => {
                into = &mut into[read..];
                offset += read as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(super) fn write_all(file: &OwnedFd, mut from: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !from.is_empty() {
        match pwrite(file, from, offset) {
            Ok(written) => {
                from = &from[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(pages: &Pages) -> Vec<(u64, Vec<u8>)> {
        let mut found = Vec::new();
        let visit = |offset, bytes: &[u8]| -> Result<(), Errno> {
            found.push((offset, bytes.to_vec()));
            Ok(())
        };
        pages.each_run(visit).unwrap();
        found
    }

    fn unsaved(pages: &Pages) -> Vec<(u64, usize)> {
        let mut found = Vec::new();
        let visit = |offset, bytes: &[u8]| -> Result<(), Errno> {
            found.push((offset, bytes.len()));
            Ok(())
        };
        pages.each_unsaved(visit).unwrap();
        found
    }

    #[test]
    fn runs_leave_out_zero_pages() {
        let pages = Pages::new(1 << 20).unwrap();
        for (page, content) in [(3, b"x"), (4, b"y"), (9, b"\0")] {
            assert!(pages.put((PAGE_BYTES * page + 5) as u64, content).unwrap());
        }
        let found = runs(&pages);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].0, found[0].1.len()), (PAGE_BYTES as u64 * 3, PAGE_BYTES * 2));
        assert!(!pages.put((1 << 20) - 1, b"ab").unwrap(), "it would lie outside");
        assert!(!pages.put(u64::MAX, b"a").unwrap());
    }

    #[test]
    fn only_pages_that_differ_are_taken_over_and_remembered() {
        let pages = Pages::new(1 << 20).unwrap();
        let mut new = vec![0; 8 * PAGE_BYTES];
        for page in [0, 1, 5] {
            new[page * PAGE_BYTES + 7] = 1;
        }
        let mut old = vec![0xff; new.len()];
        pages.update(PAGE_BYTES as u64 * 64, &new, &mut old).unwrap();
        let at = |page: usize| ((64 + page) * PAGE_BYTES) as u64;
        assert_eq!(unsaved(&pages), [(at(0), 2 * PAGE_BYTES), (at(5), PAGE_BYTES)]);
        assert_eq!(pages.unsaved_bytes(), 3 * PAGE_BYTES as u64);
        pages.saved("one");
        assert_eq!(pages.saved_as().as_deref(), Some("one"));
        pages.update(PAGE_BYTES as u64 * 64, &new, &mut old).unwrap();
        assert_eq!(unsaved(&pages), []);
        new[5 * PAGE_BYTES + 7] = 0;
        pages.update(PAGE_BYTES as u64 * 64, &new, &mut old).unwrap();
        assert_eq!(unsaved(&pages), [(at(5), PAGE_BYTES)], "a page that became zero is a change too");
        assert_eq!(runs(&pages).len(), 1);
    }

    #[test]
    fn what_a_memory_grows_by_is_zero() {
        let pages = Pages::new(PAGE_BYTES as u64).unwrap();
        pages.put(0, &[1; PAGE_BYTES]).unwrap();
        pages.resize(3 * PAGE_BYTES as u64).unwrap();
        let mut content = vec![9; 3 * PAGE_BYTES];
        pages.read(0, &mut content).unwrap();
        assert!(
            content[..PAGE_BYTES].iter().all(|byte| *byte == 1) && content[PAGE_BYTES..].iter().all(|byte| *byte == 0)
        );
    }
}
