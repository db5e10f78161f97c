//! The WebAssembly component: the engine, its limits, calls into a guest, and its state as an image.
//!
//! Everything here is a function of what it is given. It knows nothing of Raft, of sockets or of the disk (but for the
//! cache of compiled code), so a guest can be run in a unit test; and it reads no clock and no entropy that a guest
//! could see. `machine` decides what is called when.

mod backtrace;
mod bindings;
mod cache;
mod encode;
mod engine;
mod host;
mod image;
mod inspect;
mod instance;
mod instrument;
mod load;
mod logs;
mod memory;
mod source;
pub mod spec;
#[cfg(test)]
mod tests;
mod tokens;
mod wasi;

pub use backtrace::Backtrace;
pub use engine::THREAD_STACK_BYTES;
pub use image::{Extent, Image, MemoryImage};
pub use inspect::{CoreModule, Import, Inspection, MemorySize, Supply};
pub use instance::{Call, Failure, Instance, REPLIES_BYTES_MAX};
pub use load::{Error, Guest, Optional, module_hash};
pub use source::Source;

const HANDLER: &str = "uhaha:machine/handler@0.1.0";
const BATCH: &str = "uhaha:machine/batch@0.1.0";
const TICKER: &str = "uhaha:machine/ticker@0.1.0";
const PORTABLE: &str = "uhaha:machine/portable@0.1.0";
const HANDLER_EXPECTED: &str = "a guest exports `uhaha:machine/handler@0.1.0` with `describe: func() -> description` \
     and `handle: func(command: u32, args: list<list<u8>>) -> result<list<token>, string>`";

/// What one instance may use. The same on every replica, for a limit decides replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Fuel for one command, one tick or one read.
    pub fuel_max: u64,
    /// Each linear memory's size.
    pub memory_bytes_max: usize,
    pub table_elements_max: usize,
    /// One reply, as RESP3.
    pub reply_bytes_max: usize,
    pub log_lines_per_second: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            fuel_max: 1_000_000_000,
            memory_bytes_max: 4 << 30,
            table_elements_max: 1 << 20,
            reply_bytes_max: 64 << 20,
            log_lines_per_second: 1000,
        }
    }
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
