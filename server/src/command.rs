//! `Command`: what a Redis client sends, a name and its arguments.

use bytes::Bytes;
use std::fmt;

/// A name and its arguments, as slices of the buffer they were read into. Never empty.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    args: Vec<Bytes>,
}

impl Command {
    /// `args` begins with the name; `None` if it is empty.
    pub fn new(args: Vec<Bytes>) -> Option<Command> {
        (!args.is_empty()).then_some(Command { args })
    }

    /// The name as the client typed it; compare it without regard to case.
    pub fn name(&self) -> &[u8] {
        &self.args[0]
    }

    /// The arguments after the name.
    pub fn args(&self) -> &[Bytes] {
        &self.args[1..]
    }

    /// The name and the arguments.
    pub fn words(&self) -> &[Bytes] {
        &self.args
    }

    /// What it counts against the limits of a batch.
    pub fn bytes(&self) -> usize {
        self.args.iter().map(|arg| arg.len() + size_of::<u32>()).sum::<usize>() + size_of::<u32>()
    }
}

/// Shows the name only: arguments may be secrets and never reach a log.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.name().escape_ascii(), self.args.len() - 1)
    }
}
