//! Linear memories that the host can copy, restore and look at through a private view.
//!
//! wasmtime asks the engine's `MemoryCreator` for every linear memory. Ours are shared mappings of a memfd, so a
//! second instance can map the same pages privately: the reader, which sees the writer's state without copying it
//! and whose own changes go nowhere else.
#![expect(unsafe_code, reason = "mapping memory is what this file is for; nothing outside it handles the pointers")]

use rustix::fs::{MemfdFlags, SeekFrom, ftruncate, memfd_create, seek};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
use std::ffi::c_void;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

/// Granularity of images: runs of zero bytes of this size and alignment are left out.
pub(super) const PAGE_BYTES: usize = 4096;
/// The longest run of pages that is one extent of an image.
const EXTENT_BYTES_MAX: usize = 1 << 20;

/// One linear memory of one instance.
pub(super) struct Memory {
    base: *mut u8,
    reserved: usize,
    /// What the guest sees as its size.
    bytes: AtomicUsize,
    file: OwnedFd,
    /// Set once this memory shows another's pages privately; its own file is then unused.
    is_view: AtomicBool,
    /// How much of it shows the other's pages; what it grew by since is its own.
    viewed_bytes: AtomicUsize,
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
            file,
            is_view: AtomicBool::new(false),
            viewed_bytes: AtomicUsize::new(0),
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
                ftruncate(&self.file, bytes as u64)?;
                // SAFETY: as above.
                unsafe {
                    mmap(self.at(old), bytes - old, protection, flags | MapFlags::SHARED, &self.file, old as u64)?
                };
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

    /// The content; the caller must not run the instance while it holds this.
    pub(super) fn content(&self) -> &[u8] {
        // SAFETY: the first `bytes` bytes are mapped readable; see `Sync` for who may write meanwhile.
        unsafe { std::slice::from_raw_parts(self.base, self.bytes()) }
    }

    /// Copies `source` to `offset`.
    pub(super) fn write(&self, offset: usize, source: &[u8]) {
        let end = offset.checked_add(source.len()).filter(|end| *end <= self.bytes());
        assert!(end.is_some(), "writes stay inside the memory");
        // SAFETY: the range was just checked, and no reference into the memory outlives a call (see `content`).
        unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), self.base.add(offset), source.len()) }
    }

    /// Makes every byte zero and gives the pages back.
    pub(super) fn clear(&self) -> Result<(), Errno> {
        ftruncate(&self.file, 0)?;
        ftruncate(&self.file, self.bytes() as u64)
    }

    /// Shows the pages of `writer`, which has the same size, from now on.
    pub(super) fn become_view_of(&self, writer: &Memory) -> Result<(), Errno> {
        assert_eq!(self.bytes(), writer.bytes(), "a view is grown to the writer's size first");
        if self.bytes() > 0 {
            // SAFETY: the range lies in this value's reservation and replaces its own mapping.
            unsafe {
                mmap(
                    self.at(0),
                    self.bytes(),
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::FIXED | MapFlags::NORESERVE | MapFlags::PRIVATE,
                    &writer.file,
                    0,
                )?
            };
        }
        self.is_view.store(true, Ordering::Relaxed);
        self.viewed_bytes.store(self.bytes(), Ordering::Relaxed);
        Ok(())
    }

    /// Whether every page of it shows the other's.
    pub(super) fn is_whole_view(&self) -> bool {
        self.is_view.load(Ordering::Relaxed) && self.viewed_bytes.load(Ordering::Relaxed) == self.bytes()
    }

    /// Drops what was written to this view, so that it shows the writer's pages as they are.
    pub(super) fn refresh(&self) -> Result<(), Errno> {
        debug_assert!(self.is_whole_view());
        if self.bytes() == 0 {
            return Ok(());
        }
        // SAFETY: the mapping is private, so only this view's own changes are lost.
        unsafe { madvise(self.at(0), self.bytes(), Advice::LinuxDontNeed) }
    }

    /// Calls `visit` with each run of pages that are not all zero, in order.
    pub(super) fn each_extent(&self, mut visit: impl FnMut(u64, &[u8])) -> Result<(), Errno> {
        let content = self.content();
        let mut at = 0;
        while at < content.len() {
            // Pages that were never touched are holes of the file and need no look.
            at = match seek(&self.file, SeekFrom::Data(at as u64)) {
                Ok(data) => data as usize / PAGE_BYTES * PAGE_BYTES,
                Err(Errno::NXIO) => break,
                Err(error) => return Err(error),
            };
            let hole = (seek(&self.file, SeekFrom::Hole(at as u64))? as usize).min(content.len());
            while at < hole {
                if is_zero(&content[at..(at + PAGE_BYTES).min(hole)]) {
                    at += PAGE_BYTES;
                    continue;
                }
                let start = at;
                while at < hole && at - start < EXTENT_BYTES_MAX && !is_zero(&content[at..(at + PAGE_BYTES).min(hole)])
                {
                    at += PAGE_BYTES;
                }
                visit(start as u64, &content[start..at.min(hole)]);
            }
        }
        Ok(())
    }
}

fn is_zero(page: &[u8]) -> bool {
    page.iter().all(|byte| *byte == 0)
}

impl Drop for Memory {
    fn drop(&mut self) {
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

    fn extents(memory: &Memory) -> Vec<(u64, Vec<u8>)> {
        let mut found = Vec::new();
        memory.each_extent(|offset, bytes| found.push((offset, bytes.to_vec()))).unwrap();
        found
    }

    #[test]
    fn extents_leave_out_zero_pages() {
        let memory = Memory::new(1 << 20, 1 << 24).unwrap();
        memory.write(PAGE_BYTES * 3 + 5, b"x");
        memory.write(PAGE_BYTES * 4, b"y");
        memory.write(PAGE_BYTES * 9, &[0]);
        let found = extents(&memory);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].0, found[0].1.len()), (PAGE_BYTES as u64 * 3, PAGE_BYTES * 2));
        memory.clear().unwrap();
        assert!(extents(&memory).is_empty());
        assert_eq!(memory.content()[PAGE_BYTES * 4], 0);
    }

    #[test]
    fn a_view_sees_the_writer_and_keeps_its_changes_to_itself() {
        let writer = Memory::new(1 << 16, 1 << 24).unwrap();
        let view = Memory::new(1 << 16, 1 << 24).unwrap();
        writer.write(10, b"old");
        view.become_view_of(&writer).unwrap();
        assert_eq!(&view.content()[10..13], b"old");
        view.write(10, b"own");
        assert_eq!(&writer.content()[10..13], b"old");
        writer.write(10, b"new");
        view.refresh().unwrap();
        assert_eq!(&view.content()[10..13], b"new");

        view.grow(1 << 17).unwrap();
        assert!(!view.is_whole_view(), "what it grew by is its own");
        writer.grow(1 << 17).unwrap();
        writer.write(1 << 16, b"far");
        view.become_view_of(&writer).unwrap();
        assert_eq!(&view.content()[1 << 16..(1 << 16) + 3], b"far");
    }
}
