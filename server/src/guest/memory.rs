//! Linear memories that the host can copy, restore and look at through a private view.
//!
//! wasmtime asks the engine's `MemoryCreator` for every linear memory. Ours are shared mappings of a memfd, so a
//! second instance can map the same pages privately: the reader, which sees the writer's state without copying it
//! and whose own changes go nowhere else. The writer's memory is tracked once it has been captured: `tracking` says how
//! an image of it is made while it goes on.
#![expect(unsafe_code, reason = "mapping memory is what this file is for; nothing outside it handles the pointers")]

use super::barrier::Barrier;
use super::pages::{PAGE_BYTES, Pages, each_data, each_nonzero, read_all, write_all};
use super::tracking::{Buffers, CHUNK_BYTES, Tracking};
use super::view::View;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap, mmap_anonymous, mprotect, munmap};
use std::ffi::c_void;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

/// One linear memory of one instance.
pub(super) struct Memory {
    base: *mut u8,
    reserved: usize,
    /// What the guest sees as its size.
    bytes: AtomicUsize,
    file: Mutex<Arc<OwnedFd>>,
    /// Set once this memory shows another's pages privately; its own file is then unused.
    is_view: AtomicBool,
    /// How much of it shows the other's pages; what it grew by since is its own.
    viewed_bytes: AtomicUsize,
    /// Once there has been an image of it.
    barrier: Mutex<Option<Barrier<Tracking>>>,
    /// While it shows another's pages.
    view: Mutex<Option<Barrier<View>>>,
}

// SAFETY: the mapping belongs to this value until it is dropped. Its content is only touched by the thread that
// runs or inspects the instance, which `Instance` guarantees by needing `&mut self` for both.
unsafe impl Send for Memory {}
// SAFETY: as above; the methods that read or write the content are reached through `&mut Instance` only.
unsafe impl Sync for Memory {}

impl Memory {
    fn new(bytes: usize, reserved: usize) -> Result<Memory, Errno> {
        let file = memfd_create("uhaha-memory", MemfdFlags::CLOEXEC)?;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                reserved.max(PAGE_BYTES),
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )?
        };
        let memory = Memory {
            base: base.cast(),
            reserved: reserved.max(PAGE_BYTES),
            bytes: AtomicUsize::new(0),
            file: Mutex::new(Arc::new(file)),
            is_view: AtomicBool::new(false),
            viewed_bytes: AtomicUsize::new(0),
            barrier: Mutex::default(),
            view: Mutex::default(),
        };
        memory.grow(bytes)?;
        Ok(memory)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn grow(&self, bytes: usize) -> Result<(), Errno> {
        let old = self.bytes();
        if bytes > old {
            let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::FIXED | MapFlags::NORESERVE);
            if self.is_view.load(Ordering::Relaxed) {
                // SAFETY: the range lies in this value's reservation, and nothing is mapped there yet.
                unsafe { mmap_anonymous(self.at(old), bytes - old, protection, flags | MapFlags::PRIVATE)? };
            } else {
                let file = self.file();
                ftruncate(&file, bytes as u64)?;
                // SAFETY: as above.
                unsafe { mmap(self.at(old), bytes - old, protection, flags | MapFlags::SHARED, &file, old as u64)? };
            }
            if let Some(tracking) = self.tracking() {
                tracking.grow(bytes);
            }
            self.bytes.store(bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    fn at(&self, offset: usize) -> *mut c_void {
        assert!(offset <= self.reserved, "offsets stay inside the reservation");
        // SAFETY: the offset was just checked to be inside the reservation.
        unsafe { self.base.add(offset).cast() }
    }

    fn file(&self) -> Arc<OwnedFd> {
        Arc::clone(&lock(&self.file))
    }

    fn tracking(&self) -> Option<Arc<Tracking>> {
        lock(&self.barrier).as_ref().map(|barrier| Arc::clone(barrier.watched()))
    }

    /// Reads the content at `offset` into the whole of `into`.
    pub(super) fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), Errno> {
        let from = self.content_at(offset, into.len())?;
        // SAFETY: the guest does not run, and what is mapped for it can be read.
        unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn content(&self) -> Vec<u8> {
        let mut content = vec![0; self.bytes()];
        self.read(0, &mut content).expect("a memory's file can be read");
        content
    }

    /// Copies `source` to `offset`.
    pub(super) fn write(&self, offset: usize, source: &[u8]) -> Result<(), Errno> {
        let to = self.content_at(offset, source.len())?;
        // SAFETY: as above; a part that is protected is opened by the barrier.
        unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), to, source.len()) };
        Ok(())
    }

    /// Where these bytes are mapped; an error unless the memory has them all.
    fn content_at(&self, offset: usize, length: usize) -> Result<*mut u8, Errno> {
        match offset.checked_add(length) {
            Some(end) if end <= self.bytes() => Ok(self.at(offset).cast()),
            _ => Err(Errno::FAULT),
        }
    }

    /// Marks the memory as it is now for `pages()` to follow, which they have done when the work returned here is done.
    /// Pages that others hold stay as they are, and are replaced.
    pub(super) fn mark(&self) -> Result<Arc<Pages>, Errno> {
        let Some(tracking) = self.tracking() else { return self.copy() };
        // The tracking holds them, and the barrier the tracking.
        if Arc::strong_count(tracking.pages()) > 1 {
            tracking.copy_pending(&mut Buffers::default());
            return self.copy();
        }
        tracking.mark()?;
        Ok(Arc::clone(tracking.pages()))
    }

    /// New pages with all of the memory's content, followed from now on if the system allows it.
    fn copy(&self) -> Result<Arc<Pages>, Errno> {
        let (file, bytes) = (self.file(), self.bytes());
        let pages = Arc::new(Pages::new(bytes as u64)?);
        let mut content = vec![0; CHUNK_BYTES];
        each_data(&file, bytes as u64, |from, to| {
            let mut at = from;
            while at < to {
                let length = CHUNK_BYTES.min((to - at) as usize);
                read_all(&file, &mut content[..length], at)?;
                each_nonzero(&content[..length], |start, run| pages.put(at + start as u64, run).map(drop))?;
                at += length as u64;
            }
            Ok::<_, Errno>(())
        })?;
        self.follow(&pages)?;
        Ok(pages)
    }

    /// Has the pages, which are what the memory is, follow it from now on.
    pub(super) fn follow(&self, pages: &Arc<Pages>) -> Result<(), Errno> {
        let mut barrier = lock(&self.barrier);
        // The slot of the one before is given back first.
        *barrier = None;
        let (file, bytes) = (self.file(), self.bytes());
        if bytes > 0 {
            // SAFETY: the range is this memory's own mapping; whatever was protected becomes writable.
            unsafe { mprotect(self.at(0), bytes, MprotectFlags::READ | MprotectFlags::WRITE)? };
        }
        *barrier = Barrier::new(Arc::new(Tracking::new(self.base, bytes, file, Arc::clone(pages))));
        match barrier.as_ref() {
            Some(barrier) => barrier.watched().mark_clean(),
            // Every image is then a copy of the whole.
            None => Ok(()),
        }
    }

    /// The work that is left after `mark`; any thread may do it.
    pub(super) fn pending(&self) -> Option<Arc<Tracking>> {
        self.tracking()
    }

    /// How many bytes the guest may have written to since the last mark.
    pub(super) fn dirty_bytes(&self) -> usize {
        self.tracking().map_or(0, |tracking| tracking.dirty_chunks() * CHUNK_BYTES)
    }

    /// Makes the content that of the pages, which are of this size.
    pub(super) fn fill(&self, pages: &Arc<Pages>) -> Result<(), Errno> {
        let file = self.file();
        ftruncate(&file, 0)?;
        ftruncate(&file, self.bytes() as u64)?;
        pages.each_run(|offset, run| write_all(&file, run, offset))?;
        self.follow(pages)
    }

    /// Takes over the file of `broken`, a memory that no guest runs on any more, as it was when it was marked last.
    pub(super) fn inherit(&self, broken: &Memory, pages: &Arc<Pages>) -> Result<(), Errno> {
        let tracking = broken.tracking().filter(|tracking| Arc::ptr_eq(tracking.pages(), pages));
        let Some(tracking) = tracking else { return self.fill(pages) };
        tracking.revert()?;
        *lock(&broken.barrier) = None;
        let file = broken.file();
        if self.bytes() > 0 {
            let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::FIXED | MapFlags::NORESERVE);
            // SAFETY: the range lies in this value's reservation and replaces its own mapping.
            unsafe { mmap(self.at(0), self.bytes(), protection, flags | MapFlags::SHARED, &file, 0)? };
        }
        *lock(&self.file) = file;
        drop(tracking);
        self.follow(pages)
    }

    /// Flips a bit of the last byte wherever `pattern` stands, as a guest would that went wrong; returns in how many places.
    #[cfg(debug_assertions)]
    pub(super) fn flip(&self, pattern: &[u8]) -> usize {
        let mut content = vec![0; self.bytes()];
        if pattern.is_empty() || self.read(0, &mut content).is_err() {
            return 0;
        }
        let found = content.windows(pattern.len()).enumerate().filter(|(_, window)| *window == pattern);
        let ends: Vec<usize> = found.map(|(at, _)| at + pattern.len() - 1).collect();
        for at in &ends {
            // SAFETY: the offset is inside the mapping, and no guest runs meanwhile.
            unsafe { self.base.add(*at).write_volatile(content[*at] ^ 1) };
        }
        ends.len()
    }

    /// Shows the pages of `writer`, which has the same size, from now on.
    pub(super) fn become_view_of(&self, writer: &Memory) -> Result<(), Errno> {
        assert_eq!(self.bytes(), writer.bytes(), "a view is grown to the writer's size first");
        let mut view = lock(&self.view);
        *view = None;
        if self.bytes() > 0 {
            *view = Barrier::new(Arc::new(View::new(self.base, self.bytes())));
            // Where nobody can be told of writes, all of it is made anew each time.
            let protection = if view.is_some() { ProtFlags::READ } else { ProtFlags::READ | ProtFlags::WRITE };
            let flags = MapFlags::FIXED | MapFlags::NORESERVE | MapFlags::PRIVATE;
            // SAFETY: the range lies in this value's reservation and replaces its own mapping.
            unsafe { mmap(self.at(0), self.bytes(), protection, flags, writer.file(), 0)? };
        }
        self.is_view.store(true, Ordering::Relaxed);
        self.viewed_bytes.store(self.bytes(), Ordering::Relaxed);
        Ok(())
    }

    /// Whether every page of it shows the other's.
    pub(super) fn is_whole_view(&self) -> bool {
        self.is_view.load(Ordering::Relaxed) && self.viewed_bytes.load(Ordering::Relaxed) == self.bytes()
    }

    /// Drops what was written to this view of all of `writer`, so that it shows the writer's pages as they are.
    pub(super) fn refresh(&self, writer: &Memory) -> Result<(), Errno> {
        debug_assert!(self.is_whole_view() && self.bytes() == writer.bytes());
        if self.bytes() == 0 {
            return Ok(());
        }
        let is_done = lock(&self.view).as_ref().map(|view| {
            // SAFETY: both are mapped as long as their values live, and are of the same size.
            unsafe { view.watched().refresh(writer.base) }
        });
        match is_done {
            Some(true) => Ok(()),
            Some(false) => self.become_view_of(writer),
            // SAFETY: the mapping is private, so only this view's own changes are lost.
            None => unsafe { madvise(self.at(0), self.bytes(), Advice::LinuxDontNeed) },
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Memory {
    fn drop(&mut self) {
        // No handler may look at what is about to go.
        *lock(&self.barrier) = None;
        *lock(&self.view) = None;
        // SAFETY: the mapping is this value's own, and wasmtime has dropped its `LinearMemory` or never uses it again.
        if let Err(error) = unsafe { munmap(self.base.cast(), self.reserved) } {
            tracing::warn!(%error, "unmapping a guest's memory failed");
        }
    }
}

/// What wasmtime holds of a `Memory`.
struct Handle(Arc<Memory>);

// SAFETY: the reservation never moves, is zero where first mapped, and stays inaccessible past `bytes`.
unsafe impl LinearMemory for Handle {
    fn byte_size(&self) -> usize {
        self.0.bytes()
    }

    fn byte_capacity(&self) -> usize {
        self.0.reserved
    }

    fn grow_to(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.0.grow(bytes).map_err(|error| wasmtime::Error::msg(format!("growing a memory to {bytes} bytes: {error}")))
    }

    fn as_ptr(&self) -> *mut u8 {
        self.0.base
    }
}

/// Makes memories for one engine and remembers them until the instance that they belong to takes them.
#[derive(Default)]
pub(super) struct Memories {
    made: Mutex<Vec<Arc<Memory>>>,
}

impl Memories {
    /// Runs `instantiate` and returns what it gave with the memories that it made, in the order of their creation.
    pub(super) fn made_by<T>(&self, instantiate: impl FnOnce() -> T) -> (T, Vec<Arc<Memory>>) {
        // One instantiation at a time, or the memories of two would mix.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        self.take();
        let given = instantiate();
        (given, self.take())
    }

    fn take(&self) -> Vec<Arc<Memory>> {
        std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The engine's handle to its `Memories`.
pub(super) struct Creator(pub(super) Arc<Memories>);

// SAFETY: `Memory::new` reserves what is asked, with the guard behind it, and hands out zeroed memory.
unsafe impl MemoryCreator for Creator {
    fn new_memory(
        &self,
        _ty: MemoryType,
        minimum: usize,
        maximum: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let capacity = reserved.or(maximum).unwrap_or(minimum).max(minimum);
        let memory = Memory::new(minimum, capacity + guard).map_err(|error| format!("mapping a memory: {error}"))?;
        let memory = Arc::new(memory);
        self.0.made.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&memory));
        Ok(Box::new(Handle(memory)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<const N: usize>(memory: &Memory, offset: usize) -> [u8; N] {
        std::array::from_fn(|at| {
            // SAFETY: tests look at what is mapped.
            unsafe { memory.base.add(offset + at).read_volatile() }
        })
    }

    /// As the guest would, through the mapping.
    fn poke(memory: &Memory, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= memory.bytes());
        for (at, byte) in bytes.iter().enumerate() {
            // SAFETY: as above.
            unsafe { memory.base.add(offset + at).write_volatile(*byte) };
        }
    }

    fn content(pages: &Pages, offset: usize) -> [u8; 3] {
        let mut content = [0; 3];
        pages.read(offset as u64, &mut content).unwrap();
        content
    }

    #[test]
    fn a_view_sees_the_writer_and_keeps_its_changes_to_itself() {
        let writer = Memory::new(1 << 16, 1 << 24).unwrap();
        let view = Memory::new(1 << 16, 1 << 24).unwrap();
        poke(&writer, 10, b"old");
        view.become_view_of(&writer).unwrap();
        assert_eq!(&read(&view, 10), b"old");
        poke(&view, 10, b"own");
        assert_eq!(&read(&writer, 10), b"old");
        poke(&writer, 10, b"new");
        view.refresh(&writer).unwrap();
        assert_eq!(&read(&view, 10), b"new");

        view.grow(1 << 17).unwrap();
        assert!(!view.is_whole_view(), "what it grew by is its own");
        writer.grow(1 << 17).unwrap();
        poke(&writer, 1 << 16, b"far");
        view.become_view_of(&writer).unwrap();
        assert_eq!(&read(&view, 1 << 16), b"far");
    }

    /// However much of it was written to, and however often it was refreshed: the view is what the writer is.
    #[test]
    fn a_view_is_the_writer_again_after_each_refresh() {
        const PAGES: usize = 400;
        let writer = Memory::new(PAGES * PAGE_BYTES, 1 << 24).unwrap();
        let view = Memory::new(PAGES * PAGE_BYTES, 1 << 24).unwrap();
        view.become_view_of(&writer).unwrap();
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let whole = |memory: &Memory| -> Vec<u8> {
            // SAFETY: tests look at what is mapped.
            unsafe { std::slice::from_raw_parts(memory.base, memory.bytes()) }.to_vec()
        };
        for round in 0..600_u32 {
            let hot = 20 + round as usize / 200;
            for _ in 0..3 {
                poke(&writer, random(PAGES) * PAGE_BYTES + random(4000), &round.to_le_bytes());
                poke(&view, (hot + random(8)) * PAGE_BYTES + random(4000), b"own");
            }
            match round % 100 {
                // A large reply, at the end of the memory.
                50 => (300..PAGES).for_each(|page| poke(&view, page * PAGE_BYTES, b"own")),
                // Here and there.
                75 => (0..PAGES).step_by(9).for_each(|page| poke(&view, page * PAGE_BYTES, b"own")),
                _ => {}
            }
            let before = whole(&writer);
            view.refresh(&writer).unwrap();
            assert!(whole(&view) == before, "round {round}");
            assert!(whole(&writer) == before, "round {round}: the view has written to the writer");
        }
    }

    #[test]
    fn pages_are_the_memory_as_it_was_marked_whatever_is_written_meanwhile() {
        let memory = Memory::new(3 * CHUNK_BYTES, 1 << 24).unwrap();
        poke(&memory, 5, b"one");
        drop(memory.mark().unwrap());
        poke(&memory, 5, b"two");
        poke(&memory, CHUNK_BYTES + 5, b"two");
        assert_eq!(memory.dirty_bytes(), 2 * CHUNK_BYTES);
        let pages = memory.mark().unwrap();
        assert_eq!(memory.dirty_bytes(), 0);
        poke(&memory, 5, b"six");
        assert_eq!(content(&pages, 5), *b"two", "the write had it copied first");
        assert_eq!(content(&pages, CHUNK_BYTES + 5), *b"\0\0\0", "nobody has copied it yet");
        memory.pending().unwrap().copy_pending(&mut Buffers::default());
        assert_eq!(content(&pages, CHUNK_BYTES + 5), *b"two");
        assert_eq!(&read(&memory, 5), b"six");
    }

    #[test]
    fn pages_that_are_held_are_left_alone() {
        let memory = Memory::new(CHUNK_BYTES, 1 << 24).unwrap();
        let held = memory.mark().unwrap();
        poke(&memory, 5, b"two");
        let pages = memory.mark().unwrap();
        assert_eq!((content(&held, 5), content(&pages, 5)), (*b"\0\0\0", *b"two"));
    }

    #[test]
    fn a_memory_grows_within_a_chunk_and_past_it() {
        let memory = Memory::new(1 << 16, 1 << 24).unwrap();
        poke(&memory, 5, b"one");
        drop(memory.mark().unwrap());
        memory.grow(2 << 16).unwrap();
        poke(&memory, (2 << 16) - 3, b"end");
        memory.grow(9 << 16).unwrap();
        poke(&memory, (9 << 16) - 3, b"end");
        let pages = memory.mark().unwrap();
        memory.pending().unwrap().copy_pending(&mut Buffers::default());
        assert_eq!(pages.bytes(), 9 << 16);
        for (offset, expected) in [(5, b"one"), ((2 << 16) - 3, b"end"), ((9 << 16) - 3, b"end")] {
            assert_eq!(&content(&pages, offset), expected);
        }
    }

    #[test]
    fn another_memory_inherits_the_marked_state() {
        let broken = Memory::new(4 * CHUNK_BYTES, 1 << 24).unwrap();
        poke(&broken, 5, b"one");
        poke(&broken, 2 * CHUNK_BYTES, b"one");
        drop(broken.mark().unwrap());
        let pages = broken.mark().unwrap();
        poke(&broken, 5, b"bad");
        poke(&broken, 3 * CHUNK_BYTES, b"bad");
        broken.grow(6 * CHUNK_BYTES).unwrap();
        poke(&broken, 5 * CHUNK_BYTES, b"bad");

        let fresh = Memory::new(4 * CHUNK_BYTES, 1 << 24).unwrap();
        poke(&fresh, 9, b"own");
        fresh.inherit(&broken, &pages).unwrap();
        drop((broken, pages));
        assert_eq!(&read(&fresh, 5), b"one");
        assert_eq!(&read(&fresh, 2 * CHUNK_BYTES), b"one");
        assert_eq!(&read(&fresh, 9), b"\0\0\0");
        assert_eq!(&read(&fresh, 3 * CHUNK_BYTES), b"\0\0\0");
        assert_eq!(fresh.dirty_bytes(), 0);
        fresh.grow(6 * CHUNK_BYTES).unwrap();
        assert_eq!(&read(&fresh, 5 * CHUNK_BYTES), b"\0\0\0");
        poke(&fresh, 5, b"two");
        let pages = fresh.mark().unwrap();
        fresh.pending().unwrap().copy_pending(&mut Buffers::default());
        assert_eq!(content(&pages, 5), *b"two");
    }

    /// So large that page tables are moved to protect it, where the system can do that.
    #[test]
    fn a_large_memory_is_marked_and_read_and_written_on() {
        let memory = Memory::new(640 * CHUNK_BYTES, 1 << 28).unwrap();
        let offsets: Vec<usize> = (0..640).map(|chunk| chunk * CHUNK_BYTES + 5 * PAGE_BYTES).collect();
        for round in 0..4_u8 {
            // In the third round most, in the fourth few chunks are written to before the mark.
            let written =
                |number: &usize| round < 2 || !number.is_multiple_of(9) && round == 2 || number.is_multiple_of(50);
            let written: Vec<usize> = (0..offsets.len()).filter(written).map(|number| offsets[number]).collect();
            let before: Vec<[u8; 3]> = offsets.iter().map(|offset| read(&memory, *offset)).collect();
            written.iter().for_each(|offset| poke(&memory, *offset, &[round + 1; 3]));
            let pages = memory.mark().unwrap();
            let expected = |number: usize| match written.contains(&offsets[number]) {
                true => [round + 1; 3],
                false => before[number],
            };
            std::thread::scope(|scope| {
                let tracking = memory.pending().unwrap();
                scope.spawn(move || {
                    tracking.reattach();
                    tracking.copy_pending(&mut Buffers::default());
                });
                for (number, offset) in offsets.iter().enumerate() {
                    assert_eq!(read(&memory, *offset), expected(number));
                    poke(&memory, *offset, &[0xff; 3]);
                    assert_eq!(read(&memory, *offset), [0xff; 3]);
                }
            });
            (0..offsets.len()).for_each(|number| assert_eq!(content(&pages, offsets[number]), expected(number)));
        }
    }

    #[test]
    fn many_threads_copy_while_the_guest_writes() {
        let memory = Memory::new(64 * CHUNK_BYTES, 1 << 26).unwrap();
        let offsets: Vec<usize> = (0..256).map(|number| number * 16 * PAGE_BYTES).collect();
        for round in 0..50_u8 {
            offsets.iter().for_each(|offset| poke(&memory, *offset, &[round; 3]));
            let pages = memory.mark().unwrap();
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    let tracking = memory.pending().unwrap();
                    scope.spawn(move || tracking.copy_pending(&mut Buffers::default()));
                }
                offsets.iter().for_each(|offset| poke(&memory, *offset, &[0xff; 3]));
            });
            assert!(offsets.iter().all(|offset| content(&pages, *offset) == [round; 3]));
        }
    }
}
