//! A machine without a guest and without a log, which does nothing, to know what these two cost. No server has it: it is
//! built for figures alone.

use crate::replies::Replies;
use bytes::Bytes;
use std::sync::OnceLock;

/// With this in the environment, writes go to the machine that does nothing.
const VARIABLE: &str = "UHAHA_NATIVE";
const REPLY: &str = ":1\r\n";

pub(super) fn is_wanted() -> bool {
    static WANTED: OnceLock<bool> = OnceLock::new();
    *WANTED.get_or_init(|| std::env::var_os(VARIABLE).is_some())
}

/// A number for each command.
pub(super) fn replies(commands: usize) -> Replies {
    let ends = (1..=commands).map(|count| (count * REPLY.len()) as u32).collect();
    Replies::new(Bytes::from(REPLY.repeat(commands)), ends)
}
