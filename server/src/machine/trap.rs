//! `Trap`: a command or tick that failed and left no trace, as this node saw it.

use crate::command::Command;
use crate::guest::{Backtrace, Failure};
use crate::reply::ErrorCode;
use crate::resp3::{PutToken, Token};
use std::fmt;

/// Code and reason are the same on every replica, and all that a reply says. The rest is this node's to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trap {
    /// In upper case, as text; `TICK` for a tick.
    pub command: String,
    /// The log entry; none for a read.
    pub index: Option<u64>,
    pub code: ErrorCode,
    pub reason: String,
    pub backtrace: Backtrace,
    /// Machine time in nanoseconds since the Unix epoch.
    pub now: u64,
}

impl Trap {
    /// `command` is none for a tick.
    pub(super) fn new(
        command: Option<&Command>,
        index: Option<u64>,
        failure: &Failure,
        backtrace: &Backtrace,
        now: u64,
    ) -> Trap {
        Trap {
            command: command.map_or_else(|| "TICK".to_owned(), shown),
            index,
            code: code(failure),
            reason: failure.to_string(),
            backtrace: backtrace.clone(),
            now,
        }
    }

    /// The error reply of the command.
    pub(super) fn reply(&self) -> Vec<u8> {
        let mut reply = Vec::new();
        reply.put_token(Token::Error(self.to_string().as_bytes()));
        reply
    }

    pub(super) fn log(&self) {
        let (command, error, backtrace) = (&self.command, self.to_string(), self.backtrace.to_string());
        match self.index {
            Some(index) => {
                tracing::warn!(index, command, error, backtrace, "a command left no trace");
            }
            None => tracing::warn!(command, error, backtrace, "a read failed"),
        }
    }
}

/// What a client is told.
impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code.as_str(), self.command)?;
        if let Some(index) = self.index {
            write!(f, " at index {index}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

fn shown(command: &Command) -> String {
    command.name().to_ascii_uppercase().escape_ascii().to_string()
}

fn code(failure: &Failure) -> ErrorCode {
    match failure {
        Failure::Fuel(_) => ErrorCode::Fuel,
        Failure::Memory(_) => ErrorCode::Oom,
        Failure::TooBig { .. } => ErrorCode::TooBig,
        Failure::Trap(_) | Failure::NativeStack | Failure::Host(_) => ErrorCode::Trap,
    }
}
