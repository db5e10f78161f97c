//! Machines that do nothing, to know what the guest and the log cost. No server has them: they are built for figures
//! alone.

use crate::replies::Replies;
use bytes::Bytes;
use std::sync::OnceLock;

/// In the environment, which of them takes the commands.
const VARIABLE: &str = "UHAHA_NATIVE";
const REPLY: &str = ":1\r\n";

/// What a machine that does nothing takes the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Native {
    /// The guest and all that belongs to its state.
    Guest,
    /// That, and Raft with its log.
    GuestAndLog,
}

/// Which one is wanted.
pub fn wanted() -> Option<Native> {
    static WANTED: OnceLock<Option<Native>> = OnceLock::new();
    *WANTED.get_or_init(|| match std::env::var(VARIABLE).as_deref() {
        Ok("guest") => Some(Native::Guest),
        Ok("guest-and-log") => Some(Native::GuestAndLog),
        _ => None,
    })
}

/// A number for each command.
pub fn replies(commands: usize) -> Replies {
    let ends = (1..=commands).map(|count| (count * REPLY.len()) as u32).collect();
    Replies::new(Bytes::from(REPLY.repeat(commands)), ends)
}
