//! The client side of the wire: one session a client, bytes to `Command` and `Reply` to bytes.
//!
//! Only this folder knows RESP's framing. `decode` turns what was read into commands without copying arguments,
//! `inline` splits what a person typed into telnet, `encode` writes replies in the protocol version that the client
//! speaks, and `session` ties them together over any stream.

mod decode;
mod encode;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod inline;
mod session;

pub use decode::{Decoder, ProtocolError};
pub use encode::{encode, encode_value};
pub use session::{End, Session};

use std::time::Duration;

/// The limits of one client.
#[derive(Clone, Debug)]
pub struct Options {
    /// Largest command with all its framing. More is a protocol error.
    pub request_bytes_max: usize,
    /// Largest single argument, Redis' `proto-max-bulk-len`. More is a protocol error.
    pub argument_bytes_max: usize,
    /// Most words of one command, its name included. More is a protocol error.
    pub args_max: usize,
    /// Longest line: an inline command, or the header of a count or length.
    pub inline_bytes_max: usize,
    /// Most commands that are dispatched together before their replies are written.
    pub pipeline_commands_max: usize,
    /// Replies are written to the socket as soon as this many bytes wait.
    pub output_bytes_flush: usize,
    /// A client that takes nothing for this long while replies wait is disconnected.
    pub output_timeout: Duration,
    /// A client that sends nothing for this long is disconnected; `None` waits for ever.
    pub idle_timeout: Option<Duration>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            request_bytes_max: 128 << 20,
            argument_bytes_max: 64 << 20,
            args_max: 1 << 20,
            inline_bytes_max: 64 << 10,
            pipeline_commands_max: 4096,
            output_bytes_flush: 64 << 10,
            output_timeout: Duration::from_secs(60),
            idle_timeout: None,
        }
    }
}
