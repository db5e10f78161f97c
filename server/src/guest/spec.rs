//! What a guest declares: its name, its commands, what each takes.

use std::sync::Arc;

/// How a command is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Through the log, once on every replica.
    Write,
    /// On a private copy of the state.
    Read,
    /// Outside the log, without the state.
    Intermediate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentType {
    Text,
    Integer,
    Double,
    Key,
}

/// One declared argument, for hints and documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    pub name: String,
    pub argument_type: ArgumentType,
    pub optional: bool,
    pub multiple: bool,
    /// A literal word before the value, such as `EX`; empty for none.
    pub token: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSpec {
    /// In upper case.
    pub name: String,
    pub kind: Kind,
    /// As in Redis, counting the name: `n` means exactly n, `-n` at least n.
    pub arity: i32,
    pub summary: String,
    pub group: String,
    pub arguments: Vec<Argument>,
}

impl CommandSpec {
    /// Whether a command of this many words, the name included, has the right number.
    pub fn arity_fits(&self, words: usize) -> bool {
        let arity = self.arity.unsigned_abs() as usize;
        if self.arity >= 0 { words == arity } else { words >= arity }
    }

    /// First key, last key and step as `COMMAND INFO` gives them; zeroes without keys at fixed positions.
    pub fn key_positions(&self) -> (i64, i64, i64) {
        let mut first = 0;
        let mut last = 0;
        for (position, argument) in self.arguments.iter().enumerate() {
            if argument.argument_type != ArgumentType::Key {
                if argument.optional {
                    break;
                }
                continue;
            }
            if first == 0 {
                first = position as i64 + 1;
            }
            last = if argument.multiple { -1 } else { position as i64 + 1 };
        }
        (first, last, i64::from(first != 0))
    }
}

/// What a guest says of itself, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Letters, digits, `-`, `_` and `.`.
    pub name: String,
    pub version: String,
    pub commands: Vec<CommandSpec>,
    /// Version of the data that `portable.save` writes; 0 without it.
    pub state_version: u32,
}

/// What tells one module from another, and what it offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleInfo {
    pub description: Arc<Description>,
    /// SHA-256 of the module as it was given, in hexadecimal.
    pub hash: String,
    /// Size of the module as it was given.
    pub bytes: usize,
    /// Which optional interfaces it exports.
    pub batch: bool,
    pub tick: bool,
    pub portable: bool,
    /// The fingerprint of the engine that runs it here.
    pub engine: String,
}

/// Why a description is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error(
        "the machine's name {0:?} may have only letters, digits, '-', '_' and '.', 1 to 64 of them, and no leading '.'"
    )]
    MachineName(String),
    #[error("the command name {0:?} may have only printable ASCII without spaces, 1 to 64 characters")]
    CommandName(String),
    #[error("the command {0} is declared twice")]
    Duplicate(String),
    #[error("the command {0} has arity 0; it counts the name, so it is at least 1 or at most -1")]
    Arity(String),
    #[error("the command {0} is intermediate, which this server does not run; declare it as read or write")]
    Intermediate(String),
    #[error("{0} commands are declared, at most {COMMANDS_MAX} can be")]
    TooMany(usize),
}

const NAME_BYTES_MAX: usize = 64;
const COMMANDS_MAX: usize = 4096;

impl Description {
    /// Refuses what the WIT contract does not allow, and puts command names into upper case.
    pub fn checked(mut self) -> Result<Description, Error> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let fits = |name: &str| !name.is_empty() && name.len() <= NAME_BYTES_MAX;
        if !fits(&self.name) || !self.name.bytes().all(word) || self.name.starts_with('.') {
            return Err(Error::MachineName(self.name));
        }
        if self.commands.len() > COMMANDS_MAX {
            return Err(Error::TooMany(self.commands.len()));
        }
        let mut seen = std::collections::BTreeSet::new();
        for command in &mut self.commands {
            if !fits(&command.name) || !command.name.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(Error::CommandName(command.name.clone()));
            }
            command.name.make_ascii_uppercase();
            if command.arity == 0 {
                return Err(Error::Arity(command.name.clone()));
            }
            if command.kind == Kind::Intermediate {
                return Err(Error::Intermediate(command.name.clone()));
            }
            if !seen.insert(command.name.clone()) {
                return Err(Error::Duplicate(command.name.clone()));
            }
            if command.group.is_empty() {
                command.group.clone_from(&self.name);
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(name: &str, arity: i32, kind: Kind) -> CommandSpec {
        CommandSpec { name: name.into(), kind, arity, summary: String::new(), group: String::new(), arguments: vec![] }
    }

    fn described(name: &str, commands: Vec<CommandSpec>) -> Result<Description, Error> {
        Description { name: name.into(), version: "1".into(), commands, state_version: 0 }.checked()
    }

    #[test]
    fn names_are_folded_and_groups_filled() {
        let description = described("app", vec![command("Get", 2, Kind::Read)]).unwrap();
        assert_eq!(description.commands[0].name, "GET");
        assert_eq!(description.commands[0].group, "app");
    }

    #[test]
    fn refuses_what_the_contract_forbids() {
        let write = Kind::Write;
        assert_eq!(described("../x", vec![]), Err(Error::MachineName("../x".into())));
        assert_eq!(described("..", vec![]), Err(Error::MachineName("..".into())));
        assert_eq!(described("a", vec![command("a b", 1, write)]), Err(Error::CommandName("a b".into())));
        assert_eq!(described("a", vec![command("x", 0, write)]), Err(Error::Arity("X".into())));
        assert_eq!(
            described("a", vec![command("x", 1, write), command("X", 1, write)]),
            Err(Error::Duplicate("X".into()))
        );
        assert_eq!(described("a", vec![command("x", 1, Kind::Intermediate)]), Err(Error::Intermediate("X".into())));
    }

    #[test]
    fn key_positions_follow_the_arguments() {
        let argument = |argument_type, multiple| Argument {
            name: "a".into(),
            argument_type,
            optional: false,
            multiple,
            token: String::new(),
        };
        let mut set = command("SET", -3, Kind::Write);
        set.arguments = vec![argument(ArgumentType::Key, false), argument(ArgumentType::Text, false)];
        assert_eq!(set.key_positions(), (1, 1, 1));
        let mut del = command("DEL", -2, Kind::Write);
        del.arguments = vec![argument(ArgumentType::Key, true)];
        assert_eq!(del.key_positions(), (1, -1, 1));
        assert_eq!(command("PING", 1, Kind::Read).key_positions(), (0, 0, 0));
        assert!(del.arity_fits(3) && !del.arity_fits(1) && command("X", 2, Kind::Read).arity_fits(2));
    }
}
