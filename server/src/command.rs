//! `Command`: what a Redis client sends, a name and its arguments.

use bytes::Bytes;
use std::fmt;

/// A name and its arguments, as slices of the buffer they were read into. Never empty.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    args: Vec<Bytes>,
    is_read: bool,
}

impl Command {
    /// `args` begins with the name; `None` if it is empty.
    pub fn new(args: Vec<Bytes>) -> Option<Command> {
        (!args.is_empty()).then_some(Command { args, is_read: false })
    }

    /// The same, marked as a read: where it stands among writes, it is run on a private view of the state.
    pub fn read(self) -> Command {
        Command { is_read: true, ..self }
    }

    /// Whether it is marked so.
    pub fn is_read(&self) -> bool {
        self.is_read
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
