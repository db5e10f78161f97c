//! `Detached`: page tables taken away from a mapping, so that it can be protected without a visit to each page.
//!
//! To protect a gibibyte the kernel changes a quarter of a million entries, one by one. To move them elsewhere takes
//! some hundred microseconds, for whole tables move; the mapping stays, without entries, and a page that is used again
//! gets its entry from the file. Whoever drops what was moved away can first make the entries anew, beside the guest.
#![expect(unsafe_code, reason = "mappings are moved and removed here; nothing outside handles the addresses")]

use super::pages::each_data;
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MremapFlags, ProtFlags, madvise, mmap_anonymous, mremap_fixed, munmap};
use std::ffi::c_void;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

/// What one page table covers: only whole ones move fast.
const TABLE_BYTES: usize = 2 << 20;
/// What is dropped or filled at once. Whoever changes a mapping of the process meanwhile waits for that, less than a
/// millisecond.
const STEP_BYTES: usize = 4 << 20;

/// Set at the first failure: Linux moves page tables of files without their mapping since 5.13.
static UNSUPPORTED: AtomicBool = AtomicBool::new(false);

/// Where the page tables of a mapping have gone. Dropping it drops them.
pub(super) struct Detached {
    mapping: usize,
    /// Reserved addresses.
    start: usize,
    bytes: usize,
}

impl Detached {
    /// Room for what is taken from a mapping of this size; `None` if the system cannot do it.
    pub(super) fn reserve(mapping: usize, bytes: usize) -> Option<Detached> {
        if UNSUPPORTED.load(Ordering::Relaxed) {
            return None;
        }
        // As far from the bound of a page table as the mapping is.
        let bytes = bytes + TABLE_BYTES;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, ProtFlags::empty(), flags) }.ok()?;
        Some(Detached { mapping, start: start as usize, bytes })
    }

    /// Takes away the page tables that lie inside of the range. It belongs to the mapping, which is of a file, and has one
    /// protection. Whatever happens, the content stays as it is.
    pub(super) fn take(&mut self, range: Range<usize>) {
        let (from, to) = (range.start.next_multiple_of(TABLE_BYTES), range.end / TABLE_BYTES * TABLE_BYTES);
        if from >= to || self.bytes == 0 {
            return;
        }
        let aligned = self.start + self.mapping.wrapping_sub(self.start) % TABLE_BYTES;
        let target = (aligned + (from - self.mapping)) as *mut c_void;
        let flags = MremapFlags::MAYMOVE | MremapFlags::DONTUNMAP;
        // SAFETY: the target lies inside the reservation, and the mapping stays, with the same content.
        if let Err(error) = unsafe { mremap_fixed(from as *mut _, to - from, to - from, flags, target) } {
            tracing::debug!(%error, "page tables cannot be moved");
            UNSUPPORTED.store(true, Ordering::Relaxed);
            // Whether the target is still reserved is not known, so these addresses are given up.
            self.bytes = 0;
        }
    }

    /// Makes the entries anew of those pages that the file has.
    pub(super) fn refill(&self, file: &OwnedFd, bytes: usize) -> Result<(), Errno> {
        each_data(file, bytes as u64, |from, to| {
            let (from, to) = (self.mapping + from as usize, self.mapping + to as usize);
            (from..to).step_by(STEP_BYTES).try_for_each(|at| {
                // SAFETY: nothing is written, and if the mapping has gone meanwhile, nothing is lost.
                unsafe { madvise(at as *mut _, STEP_BYTES.min(to - at), Advice::LinuxPopulateRead) }
            })
        })
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        let end = self.start + self.bytes;
        for at in (self.start..end).step_by(STEP_BYTES) {
            // SAFETY: the range is this value's own, and nothing refers to it.
            if let Err(error) = unsafe { munmap(at as *mut _, STEP_BYTES.min(end - at)) } {
                tracing::warn!(%error, "unmapping what a guest's memory had before an image failed");
            }
        }
    }
}
