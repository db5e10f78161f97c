//! How much memory a target has at the same time: no more than its input warrants, whatever the input says.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What a target may need besides what its input is worth: a chunk of a snapshot, tables, a made-up value.
const SPARE_BYTES: isize = 8 << 20;
/// What a byte of input may be worth; a word of a command is at least four.
const BYTES_PER_BYTE: isize = 64;
/// They run a compiler, keep guests or read a help text.
const UNMETERED: [&str; 3] = ["images", "modules", "options"];

#[global_allocator]
static METER: Meter = Meter;

struct Meter;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn note(bytes: isize) {
    // There are none while a thread ends, and then nothing is measured.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

// SAFETY: all of it is left to the system's allocator.
unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        note(-(layout.size() as isize));
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        note(bytes as isize - layout.size() as isize);
        unsafe { System.realloc(at, layout, bytes) }
    }
}

/// Runs the target on this thread.
pub fn metered(target: &str, input_bytes: usize, run: impl FnOnce()) {
    let before = HELD.get();
    MOST.set(before);
    run();
    let most = MOST.get() - before;
    let allowed = SPARE_BYTES + BYTES_PER_BYTE * input_bytes as isize;
    assert!(most <= allowed || UNMETERED.contains(&target), "{most} bytes of memory for an input of {input_bytes}");
}
