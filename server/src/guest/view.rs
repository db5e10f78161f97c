//! `View`: which pages of a private view are its own, and how they are made the writer's again.
//!
//! A page that was never written to shows the writer's page, whatever becomes of that. The first write gives the view a
//! copy of its own. To have the kernel drop all copies takes it a hundred microseconds, most of them to find the pages
//! again that the next read wants. So the view is protected against writes; the first one opens its page, and a refresh
//! copies the pages that are open, of which a guest has few: its stack, and what its allocator gives out again and again.
//! Now and then all are closed, so that those are found again that are still written to.
#![expect(unsafe_code, reason = "changing the protection of a memory and copying into it is what this file is for")]

use super::barrier::Watched;
use super::pages::PAGE_BYTES;
use rustix::mm::{Advice, MprotectFlags, madvise, mprotect};
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ops::Range;

/// With more pages open than this, the view is mapped anew.
const OPEN_PAGES_MAX: usize = 64;
const OPEN_RANGES_MAX: usize = 32;
/// After so many pages were copied, to close and to find them again is the smaller part of the work.
const COPIED_PAGES_MAX: usize = 1024;

/// A mapping whose pages are all protected at first.
pub(super) struct View {
    /// Where it is mapped.
    start: usize,
    bytes: usize,
    open: UnsafeCell<Open>,
}

// SAFETY: `open` is used by the one thread that runs the guest or refreshes the view, for both take `&mut Instance`.
unsafe impl Sync for View {}

/// Pages that may be written to.
#[derive(Default)]
struct Open {
    ranges: [Range<usize>; OPEN_RANGES_MAX],
    count: usize,
    pages: usize,
    all: bool,
    /// Since all were closed.
    copied_pages: usize,
}

impl View {
    pub(super) fn new(start: *mut u8, bytes: usize) -> View {
        View { start: start as usize, bytes, open: UnsafeCell::default() }
    }

    /// Makes the open pages those of the writer, which is mapped at `writer` and does not run. False if there are so many
    /// that the view is to be mapped anew.
    ///
    /// # Safety
    /// As many bytes as the view has can be read at `writer`, and this view is still mapped.
    pub(super) unsafe fn refresh(&self, writer: *const u8) -> bool {
        // SAFETY: see `Sync`.
        let open = unsafe { &mut *self.open.get() };
        if open.all {
            return false;
        }
        if open.copied_pages > COPIED_PAGES_MAX {
            let are_closed = open.ranges().iter().all(|pages| self.close(pages));
            *open = Open::default();
            return are_closed;
        }
        open.copied_pages += open.pages;
        for pages in open.ranges() {
            let (from, to) = (pages.start * PAGE_BYTES, (pages.end * PAGE_BYTES).min(self.bytes));
            // SAFETY: the caller vouches for both ends; open pages are writable and lie inside the view.
            unsafe { std::ptr::copy_nonoverlapping(writer.add(from), (self.start + from) as *mut u8, to - from) };
        }
        true
    }

    fn allow(&self, pages: &Range<usize>) -> bool {
        let (at, bytes) = self.mapped(pages);
        // SAFETY: the range lies inside the view's own mapping; only writes to it are let through.
        unsafe { mprotect(at, bytes, MprotectFlags::READ | MprotectFlags::WRITE).is_ok() }
    }

    /// Drops the view's own copies, and protects it there against writes.
    fn close(&self, pages: &Range<usize>) -> bool {
        let (at, bytes) = self.mapped(pages);
        // SAFETY: as above; the mapping is private, so only the view's own changes are lost.
        unsafe {
            madvise(at, bytes, Advice::LinuxDontNeed).and_then(|()| mprotect(at, bytes, MprotectFlags::READ)).is_ok()
        }
    }

    fn mapped(&self, pages: &Range<usize>) -> (*mut c_void, usize) {
        let (from, to) = (pages.start * PAGE_BYTES, (pages.end * PAGE_BYTES).min(self.bytes));
        ((self.start + from) as *mut c_void, to - from)
    }
}

impl Watched for View {
    fn addresses(&self) -> Range<usize> {
        self.start..self.start + self.bytes
    }

    fn open_at(&self, address: usize) -> bool {
        // SAFETY: see `Sync`; it is interrupted in the guest, or where the host writes to it.
        let open = unsafe { &mut *self.open.get() };
        let page = (address - self.start) / PAGE_BYTES;
        if open.all || open.ranges().iter().any(|range| range.contains(&page)) {
            return false;
        }
        if let Some(pages) = open.add(page, self.bytes.div_ceil(PAGE_BYTES))
            && self.allow(&pages)
        {
            return true;
        }
        // There are too many, or the kernel has to keep too many parts apart.
        open.all = true;
        self.allow(&(0..self.bytes.div_ceil(PAGE_BYTES)))
    }
}

impl Open {
    fn ranges(&self) -> &[Range<usize>] {
        &self.ranges[..self.count]
    }

    /// Adds the page with, if it follows those before it, as many more as they are: who writes much writes on. `None` if there
    /// is no room.
    fn add(&mut self, page: usize, end: usize) -> Option<Range<usize>> {
        let last = self.count.checked_sub(1).map(|last| &mut self.ranges[last]);
        let added = match last {
            Some(last) if last.end == page => {
                let added = page..end.min(page + last.len());
                last.end = added.end;
                added
            }
            _ => {
                *self.ranges.get_mut(self.count)? = page..page + 1;
                self.count += 1;
                page..page + 1
            }
        };
        self.pages += added.len();
        (self.pages <= OPEN_PAGES_MAX).then_some(added)
    }
}
