//! The replies of a command: the types that can be one, and their encoding.

mod decode;
mod types;
mod writer;

#[cfg(any(target_arch = "wasm32", test))]
pub(crate) use decode::Token;
use decode::Tokens;
pub use types::{IntoReply, OK, Reply, Status, ToReply, Verbatim};
pub use writer::ReplyWriter;

#[cfg(test)]
mod tests;
