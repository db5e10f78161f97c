//! The WebAssembly component: the engine, its limits, calls into a guest, and its state as an image.
//!
//! Everything here is a function of what it is given. It knows nothing of Raft, of sockets or of the disk (but for the
//! cache of compiled code), so a guest can be run in a unit test; and it reads no clock and no entropy that a guest
//! could see. `machine` decides what is called when.

mod backtrace;
mod barrier;
mod bindings;
mod cache;
mod detached;
mod encode;
mod engine;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod handles;
mod host;
mod image;
mod inspect;
mod instance;
mod instrument;
mod load;
mod logs;
mod memory;
mod pages;
mod portable;
mod source;
pub mod spec;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tokens;
mod tracking;
mod view;
mod wasi;

pub use crate::settings::Limits;
pub use backtrace::Backtrace;
#[cfg(feature = "figures")]
pub(crate) use engine::Code;
pub use engine::THREAD_STACK_BYTES;
pub use handles::Handles;
pub use image::Image;
pub use inspect::{CoreModule, Import, Inspection, MemorySize, Supply};
pub use instance::{Call, Failure, Instance};
pub use load::{Error, Guest, Optional, module_hash};
pub use pages::{PAGE_BYTES, Pages};
pub use portable::PortableError;
pub use source::Source;

use std::cell::Cell;

const HANDLER: &str = "uhaha:machine/handler@0.1.0";
const BATCH: &str = "uhaha:machine/batch@0.1.0";
const TICKER: &str = "uhaha:machine/ticker@0.1.0";
const PORTABLE: &str = "uhaha:machine/portable@0.1.0";
const HANDLER_EXPECTED: &str = "a guest exports `uhaha:machine/handler@0.1.0` with `describe: func() -> description` \
     and `handle: func(command: u32, args: list<list<u8>>) -> result<list<token>, string>`";

/// Runs `work` on a thread with all the stack that a guest can have; an error if it panics.
pub fn on_guest_thread<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(name.to_owned()).stack_size(THREAD_STACK_BYTES);
        let working = thread.spawn_scoped(scope, work)?;
        working.join().map_err(|_| std::io::Error::other(format!("the thread {name} panicked")))
    })
}

thread_local! {
    static IS_GUEST_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// To be called on a thread whose stack is `THREAD_STACK_BYTES`, so that guests may run on it.
pub fn declare_guest_thread() {
    IS_GUEST_THREAD.set(true);
}

/// Whether this thread was declared one that guests may run on.
pub fn is_guest_thread() -> bool {
    IS_GUEST_THREAD.get()
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
