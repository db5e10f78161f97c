//! What a guest is, and what it says of itself.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Args, Error, ReplyWriter};

/// A deterministic state machine. [`#[machine]`](macro@crate::machine) implements it; the server and the
/// [`Tester`](crate::testing::Tester) call it.
pub trait Machine: Serialize + DeserializeOwned + 'static {
    /// Names the application and its data directory: letters, digits, `-`, `_` and `.`.
    const NAME: &'static str;
    /// The version of the application, for people.
    const VERSION: &'static str;
    /// The version of what [`Serialize`] writes; at least 1. Raise it with every change of the state type that
    /// older data does not fit.
    const STATE_VERSION: u32;
    /// All commands; a command is called by its position.
    const COMMANDS: &'static [CommandSpec];
    /// Whether [`tick`](Self::tick) does anything.
    const TICKS: bool;

    /// The state before the first command.
    fn init() -> Self;

    /// Runs the command at this position and writes its one reply.
    ///
    /// # Errors
    /// The command's own error, or that the arguments do not fit; nothing is written then.
    fn handle(&mut self, command: u32, args: Args<'_>, reply: &mut ReplyWriter) -> Result<(), Error>;

    /// Called at intervals; true while something is waiting for time to pass.
    fn tick(&mut self) -> bool;

    /// The state from data of another [`STATE_VERSION`](Self::STATE_VERSION).
    ///
    /// # Errors
    /// That this version cannot be read.
    fn migrate(state_version: u32, state: &[u8]) -> Result<Self, Error>;
}

/// One command that the machine answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandSpec {
    /// What clients type, matched without regard to case.
    pub name: &'static str,
    /// How it is run.
    pub kind: Kind,
    /// As in Redis, counting the name: `n` means exactly n, `-n` means at least n.
    pub arity: i32,
    /// One sentence for `COMMAND DOCS`.
    pub summary: &'static str,
    /// The heading it is listed under; empty means the machine's name.
    pub group: &'static str,
    /// Its arguments, in order.
    pub arguments: &'static [Argument],
}

/// How a command is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Takes `&mut self`: goes through the log and runs once on every replica.
    Write,
    /// Takes `&self`: runs on one node.
    Read,
}

/// One declared argument, for hints and documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Shown in hints; empty for a [`token`](Self::token) that stands alone.
    pub name: &'static str,
    /// What it holds.
    pub argument_type: ArgumentType,
    /// Whether it may be left out.
    pub optional: bool,
    /// Whether it may be given more than once.
    pub multiple: bool,
    /// The literal word before it, such as `EX`; empty for none.
    pub token: &'static str,
}

/// What an argument holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentType {
    /// Any bytes.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Double,
    /// A key, as `COMMAND GETKEYS` reports it.
    Key,
}

/// The arity of a command with these arguments.
#[doc(hidden)]
pub const fn arity(arguments: &[Argument]) -> i32 {
    let mut count = 1;
    let mut open = false;
    let mut i = 0;
    while i < arguments.len() {
        if !arguments[i].optional {
            count += 1;
        }
        open |= arguments[i].optional || arguments[i].multiple;
        i += 1;
    }
    if open { -count } else { count }
}

/// Refuses arguments that cannot be told apart, when compiling.
#[doc(hidden)]
pub const fn check(arguments: &[Argument]) {
    let mut i = 1;
    while i < arguments.len() {
        let (before, after) = (&arguments[i - 1], &arguments[i]);
        assert!(!before.multiple, "only the last parameter of a command can take more than one argument");
        if before.optional && before.token.is_empty() {
            assert!(after.optional, "a parameter of a command that may be left out comes after all that may not");
            assert!(after.token.is_empty(), "a command has optional parameters either by position or by token");
        }
        i += 1;
    }
}

/// The answer of a machine without `migrate`.
#[doc(hidden)]
pub fn no_migration<M: Machine>(state_version: u32) -> Error {
    Error::new(format!("state of version {state_version} cannot be read, only of version {}", M::STATE_VERSION))
}

/// The answer to a command that was never declared.
#[doc(hidden)]
pub fn no_such_command(command: u32) -> Error {
    Error::new(format!("no command at position {command}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Argument =
        Argument { name: "x", argument_type: ArgumentType::Text, optional: false, multiple: false, token: "" };
    const MAYBE: Argument = Argument { optional: true, ..ONE };
    const MANY: Argument = Argument { multiple: true, ..ONE };
    const WORD: Argument = Argument { token: "EX", ..MAYBE };

    #[test]
    fn the_arity_counts_the_name() {
        for (arguments, want) in [
            (&[][..], 1),
            (&[ONE], 2),
            (&[ONE, ONE], 3),
            (&[ONE, MAYBE], -2),
            (&[ONE, MANY], -3),
            (&[MAYBE, MAYBE], -1),
            (&[ONE, WORD, WORD], -2),
        ] {
            check(arguments);
            assert_eq!(arity(arguments), want);
        }
    }

    #[test]
    fn arguments_that_cannot_be_told_apart_are_refused() {
        for arguments in [&[MANY, ONE], &[MANY, WORD], &[MAYBE, ONE], &[MAYBE, WORD]] {
            assert!(std::panic::catch_unwind(|| check(arguments)).is_err(), "{arguments:?}");
        }
    }
}
