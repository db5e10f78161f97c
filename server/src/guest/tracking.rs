//! `Tracking`: which chunks of a memory may differ from its `Pages`, and how they are brought up to date while the guest
//! goes on.
//!
//! ```text
//!            mark                    copy
//!   dirty ─────────► pending ─► copying ─► clean        protected against writes in all but dirty
//!     ▲                 │                    │
//!     └─────────────────┴── first write ─────┘          which copies a pending chunk before it lets the write pass
//! ```
//!
//! So an image is the memory as it was when it was marked, and marking is all that the guest waits for. `open_at` and
//! `mark` are called by the one thread that runs the guest, `copy` by any.
#![expect(unsafe_code, reason = "changing the protection of a memory is what this file is for")]

use super::barrier::Watched;
use super::detached::Detached;
use super::pages::{MEMORY_BYTES_MAX, Pages, read_all, write_all};
use rustix::io::Errno;
use rustix::mm::{MprotectFlags, mprotect};
use std::cell::UnsafeCell;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is protected and copied at once. Larger ones are marked faster, smaller ones copied less often.
pub(super) const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that one page table covers. Once a few of them are written to, all are let through: the kernel then has fewer
/// parts to keep apart, and page tables can be moved.
const BLOCK_CHUNKS: usize = 8;
const BLOCK_CHUNKS_OPENED_MAX: usize = 2;
/// From so many chunks on their page tables are taken away to protect them. To protect fewer takes some milliseconds,
/// less than to make the entries anew.
const DETACHED_CHUNKS_MIN: usize = 512;

const DIRTY: u8 = 0;
const PENDING: u8 = 1;
const COPYING: u8 = 2;
const CLEAN: u8 = 3;

/// One memory's chunks, and the pages that follow it.
pub(super) struct Tracking {
    /// Where the memory is mapped.
    start: usize,
    /// How much of it is mapped for the guest.
    bytes: AtomicUsize,
    file: Arc<OwnedFd>,
    pages: Arc<Pages>,
    states: Box<[AtomicU8]>,
    /// A chunk could not be copied: the pages are not what they should be.
    failed: AtomicBool,
    /// What the last mark took away.
    detached: Mutex<Option<Detached>>,
    buffers: UnsafeCell<Buffers>,
}

// SAFETY: all fields but `buffers` may be shared, and that one is used by the thread that runs the guest alone.
unsafe impl Sync for Tracking {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Tracking {}

/// Room to compare a chunk with its pages.
pub(super) struct Buffers {
    new: Box<[u8]>,
    old: Box<[u8]>,
}

impl Default for Buffers {
    fn default() -> Buffers {
        Buffers { new: vec![0; CHUNK_BYTES].into(), old: vec![0; CHUNK_BYTES].into() }
    }
}

impl Watched for Tracking {
    fn addresses(&self) -> Range<usize> {
        self.start..self.start + MEMORY_BYTES_MAX
    }

    fn open_at(&self, address: usize) -> bool {
        let offset = address - self.start;
        let inside = offset < self.bytes.load(Ordering::Relaxed);
        inside && self.states[offset / CHUNK_BYTES].load(Ordering::Acquire) != DIRTY && self.open(offset / CHUNK_BYTES)
    }
}

impl Tracking {
    /// Of a memory whose every chunk is writable, and differs from the pages or may do so.
    pub(super) fn new(start: *mut u8, bytes: usize, file: Arc<OwnedFd>, pages: Arc<Pages>) -> Tracking {
        Tracking {
            start: start as usize,
            bytes: AtomicUsize::new(bytes),
            file,
            pages,
            states: (0..MEMORY_BYTES_MAX / CHUNK_BYTES).map(|_| AtomicU8::new(DIRTY)).collect(),
            failed: AtomicBool::new(false),
            detached: Mutex::default(),
            buffers: UnsafeCell::default(),
        }
    }

    pub(super) fn pages(&self) -> &Arc<Pages> {
        &self.pages
    }

    fn chunks(&self) -> usize {
        self.bytes.load(Ordering::Relaxed).div_ceil(CHUNK_BYTES)
    }

    /// How many chunks the guest has written to since the last mark.
    pub(super) fn dirty_chunks(&self) -> usize {
        self.states[..self.chunks()].iter().filter(|state| state.load(Ordering::Relaxed) == DIRTY).count()
    }

    /// The memory is about to grow from its present size to this one, in parts that are writable.
    pub(super) fn grow(&self, bytes: usize) {
        let old = self.bytes.load(Ordering::Relaxed);
        if !old.is_multiple_of(CHUNK_BYTES) {
            // A chunk is protected as a whole or not at all.
            self.open(old / CHUNK_BYTES);
        }
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// From now on the pages are to become what the memory is at this moment.
    pub(super) fn mark(&self) -> Result<(), Errno> {
        self.pages.resize(self.bytes.load(Ordering::Relaxed) as u64)?;
        let is_large = self.dirty_chunks() >= DETACHED_CHUNKS_MIN;
        let bytes = self.bytes.load(Ordering::Relaxed);
        let mut detached = is_large.then(|| Detached::reserve(self.start, bytes)).flatten();
        self.protect_dirty(PENDING, detached.as_mut())?;
        *self.detached() = detached;
        Ok(())
    }

    /// The pages are already what the memory is.
    pub(super) fn mark_clean(&self) -> Result<(), Errno> {
        self.protect_dirty(CLEAN, None)
    }

    fn protect_dirty(&self, state: u8, mut detached: Option<&mut Detached>) -> Result<(), Errno> {
        let chunks = self.chunks();
        let is_dirty = |chunk: usize| self.states[chunk].load(Ordering::Relaxed) == DIRTY;
        let mut chunk = 0;
        while chunk < chunks {
            let first = chunk;
            while chunk < chunks && is_dirty(chunk) {
                chunk += 1;
            }
            if chunk > first {
                if let Some(detached) = &mut detached {
                    let range = self.range(first..chunk);
                    detached.take(self.start + range.start..self.start + range.end);
                }
                self.protect(first..chunk, MprotectFlags::READ)?;
                self.states[first..chunk].iter().for_each(|dirty| dirty.store(state, Ordering::Release));
            } else {
                chunk += 1;
            }
        }
        Ok(())
    }

    fn detached(&self) -> MutexGuard<'_, Option<Detached>> {
        self.detached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes of these chunks that the memory has.
    fn range(&self, chunks: Range<usize>) -> Range<usize> {
        chunks.start * CHUNK_BYTES..(chunks.end * CHUNK_BYTES).min(self.bytes.load(Ordering::Relaxed))
    }

    fn protect(&self, chunks: Range<usize>, access: MprotectFlags) -> Result<(), Errno> {
        let range = self.range(chunks);
        // SAFETY: the range is part of the memory's own mapping; only writes to it are let through or not.
        unsafe { mprotect((self.start + range.start) as *mut _, range.len(), access) }
    }

    /// Makes up for what the last mark took away, so that the guest need not.
    pub(super) fn reattach(&self) {
        let detached = self.detached().take();
        if let Some(detached) = detached {
            // Where it cannot be done, the kernel does it when the guest comes there.
            let _ = detached.refill(&self.file, self.bytes.load(Ordering::Relaxed));
        }
    }

    /// Copies every chunk that is still to be copied. Waits for those that another thread is copying.
    pub(super) fn copy_pending(&self, buffers: &mut Buffers) {
        (0..self.chunks()).for_each(|chunk| self.copy(chunk, buffers));
    }

    /// Whether what was marked has become the pages'; an error if it could not.
    pub(super) fn check(&self) -> Result<(), Errno> {
        if self.failed.load(Ordering::Acquire) { Err(Errno::IO) } else { Ok(()) }
    }

    /// Returns when the chunk is no longer pending.
    fn copy(&self, chunk: usize, buffers: &mut Buffers) {
        let state = &self.states[chunk];
        match state.compare_exchange(PENDING, COPYING, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                let offset = (chunk * CHUNK_BYTES) as u64;
                let length = CHUNK_BYTES.min((self.pages.bytes() - offset) as usize);
                let (new, old) = (&mut buffers.new[..length], &mut buffers.old[..length]);
                // Read from the file and not from the mapping, where to look at a hole would fill it.
                let copied = read_all(&self.file, new, offset).and_then(|()| self.pages.update(offset, new, old));
                if copied.is_err() {
                    self.failed.store(true, Ordering::Release);
                }
                state.store(CLEAN, Ordering::Release);
            }
            Err(_) => {
                while state.load(Ordering::Acquire) == COPYING {
                    std::thread::yield_now();
                }
            }
        }
    }

    fn open(&self, chunk: usize) -> bool {
        if self.states[chunk].load(Ordering::Acquire) == DIRTY {
            return true;
        }
        // SAFETY: only the thread that runs the guest comes here, and it cannot while it is here.
        self.copy(chunk, unsafe { &mut *self.buffers.get() });
        let access = MprotectFlags::READ | MprotectFlags::WRITE;
        let chunks = self.to_be_opened_with(chunk);
        let opened = match self.protect(chunks.clone(), access) {
            // Too many parts with different protection: to open all of them leaves one.
            Err(Errno::NOMEM) => return self.open_all(),
            opened => opened.is_ok(),
        };
        self.states[chunks].iter().for_each(|state| state.store(DIRTY, Ordering::Release));
        opened
    }

    /// The chunk, which is no longer pending, and its neighbors if that needs no copying and enough of them are dirty.
    fn to_be_opened_with(&self, chunk: usize) -> Range<usize> {
        let first = chunk / BLOCK_CHUNKS * BLOCK_CHUNKS;
        let block = first..(first + BLOCK_CHUNKS).min(self.chunks());
        let states = || self.states[block.clone()].iter().map(|state| state.load(Ordering::Acquire));
        let is_copied = states().all(|state| matches!(state, DIRTY | CLEAN));
        match is_copied && states().filter(|state| *state == DIRTY).count() >= BLOCK_CHUNKS_OPENED_MAX {
            true => block,
            false => chunk..chunk + 1,
        }
    }

    fn open_all(&self) -> bool {
        // SAFETY: as in `open`.
        self.copy_pending(unsafe { &mut *self.buffers.get() });
        let opened = self.protect(0..self.chunks(), MprotectFlags::READ | MprotectFlags::WRITE).is_ok();
        self.states[..self.chunks()].iter().for_each(|state| state.store(DIRTY, Ordering::Release));
        opened
    }

    /// Makes the memory's file what the pages are, whatever the guest has done since. The mapping is not to be used any
    /// more.
    pub(super) fn revert(&self) -> Result<(), Errno> {
        let bytes = self.pages.bytes();
        let mut buffers = Buffers::default();
        for (chunk, state) in self.states[..(bytes as usize).div_ceil(CHUNK_BYTES)].iter().enumerate() {
            if state.load(Ordering::Acquire) != DIRTY {
                continue;
            }
            let offset = (chunk * CHUNK_BYTES) as u64;
            let length = CHUNK_BYTES.min((bytes - offset) as usize);
            let (wrong, right) = (&mut buffers.new[..length], &mut buffers.old[..length]);
            read_all(&self.file, wrong, offset)?;
            self.pages.read(offset, right)?;
            let pages = wrong.chunks(super::pages::PAGE_BYTES).zip(right.chunks(super::pages::PAGE_BYTES));
            for (page, (wrong, right)) in pages.enumerate() {
                if wrong != right {
                    write_all(&self.file, right, offset + (page * super::pages::PAGE_BYTES) as u64)?;
                }
            }
        }
        rustix::fs::ftruncate(&self.file, bytes)
    }
}
