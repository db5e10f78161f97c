//! The command table: what can be called, the server's own commands and the guest's in one.
//!
//! It feeds the dispatcher, which looks a command up by name in any case, and `COMMAND`, which describes all rows
//! alike. A guest that declares a name of ours is refused at start, not shadowed.

use super::builtin::{self, Arg, Builtin, Run};
use crate::guest::spec::{Argument, ArgumentType, CommandSpec, Description, Kind};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Longer names are in no table; a name this long is folded on the stack.
const NAME_BYTES_MAX: usize = 64;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error(
        "the guest {guest} declares the command {command}, which is one of the server's own; rename it in the guest"
    )]
    Clash { guest: String, command: String },
}

/// Where a command goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    Guest(Kind),
    Builtin(&'static Builtin),
}

/// One command, or one subcommand of a family such as `CLIENT`.
#[derive(Debug)]
pub(super) struct Row {
    /// In lower case; of a subcommand with its family before a bar: `client|id`.
    pub(super) name: String,
    pub(super) arity: i32,
    pub(super) flags: Vec<&'static str>,
    /// First, last and step as `COMMAND INFO` gives them.
    pub(super) keys: (i64, i64, i64),
    pub(super) group: String,
    pub(super) summary: String,
    pub(super) since: String,
    pub(super) arguments: Vec<Parameter>,
    pub(super) subcommands: Vec<Row>,
    pub(super) target: Target,
}

/// One argument as documentation describes it.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) parameter_type: &'static str,
    pub(super) token: String,
    pub(super) optional: bool,
    pub(super) multiple: bool,
    /// What there is to choose from, in a `oneof`.
    pub(super) choices: Vec<Parameter>,
}

#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Row>,
    by_name: BTreeMap<Box<[u8]>, u32>,
}

impl Table {
    pub(super) fn new(description: &Description) -> Result<Table, Error> {
        let mut table = Table { rows: Vec::new(), by_name: BTreeMap::new() };
        for builtin in builtin::all() {
            table.insert(Row::from_builtin(builtin, None));
        }
        for spec in &description.commands {
            if table.find(spec.name.as_bytes()).is_some() {
                return Err(Error::Clash { guest: description.name.clone(), command: spec.name.clone() });
            }
            table.insert(Row::from_guest(spec, &description.version));
        }
        Ok(table)
    }

    /// The row of a name in any case, and its number.
    pub(super) fn find(&self, name: &[u8]) -> Option<(u32, &Row)> {
        let mut folded = [0; NAME_BYTES_MAX];
        let folded = folded.get_mut(..name.len())?;
        folded.copy_from_slice(name);
        folded.make_ascii_lowercase();
        let at = *self.by_name.get(&*folded)?;
        Some((at, self.rows.get(at as usize)?))
    }

    /// As `find`, but looks at one row first: clients like to repeat themselves.
    pub(super) fn find_again(&self, last: u32, name: &[u8]) -> Option<(u32, &Row)> {
        match self.row(last) {
            Some(row) if row.name.as_bytes().eq_ignore_ascii_case(name) => Some((last, row)),
            _ => self.find(name),
        }
    }

    /// Also finds subcommands, written `client|id`.
    pub(super) fn find_full(&self, name: &[u8]) -> Option<&Row> {
        match name.iter().position(|&byte| byte == b'|') {
            None => self.find(name).map(|(_, row)| row),
            Some(bar) => self.find(&name[..bar])?.1.subcommand(&name[bar + 1..]),
        }
    }

    pub(super) fn row(&self, at: u32) -> Option<&Row> {
        self.rows.get(at as usize)
    }

    /// The server's own first, then the guest's as it declares them.
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    fn insert(&mut self, row: Row) {
        let at = self.rows.len() as u32;
        self.by_name.insert(row.name.as_bytes().into(), at);
        self.rows.push(row);
    }
}

impl Row {
    fn from_builtin(builtin: &'static Builtin, family: Option<&Builtin>) -> Row {
        let own = builtin.name.to_ascii_lowercase();
        let subcommands = match builtin.run {
            Run::Family(members) | Run::FamilyOr(members, _) => {
                members.iter().map(|member| Row::from_builtin(member, Some(builtin))).collect()
            }
            _ => Vec::new(),
        };
        Row {
            name: match family {
                Some(family) => format!("{}|{own}", family.name.to_ascii_lowercase()),
                None => own,
            },
            arity: builtin.arity,
            flags: builtin.flags.to_vec(),
            keys: (0, 0, 0),
            group: family.unwrap_or(builtin).group.to_owned(),
            summary: builtin.summary.to_owned(),
            since: env!("CARGO_PKG_VERSION").to_owned(),
            arguments: builtin.arguments.iter().map(Parameter::from_builtin).collect(),
            subcommands,
            target: Target::Builtin(builtin),
        }
    }

    fn from_guest(spec: &CommandSpec, version: &str) -> Row {
        Row {
            name: spec.name.to_ascii_lowercase(),
            arity: spec.arity,
            flags: match spec.kind {
                Kind::Write => vec!["write"],
                Kind::Read => vec!["readonly"],
                Kind::Intermediate => vec![],
            },
            keys: spec.key_positions(),
            group: spec.group.clone(),
            summary: spec.summary.clone(),
            since: version.to_owned(),
            arguments: spec.arguments.iter().map(Parameter::from_guest).collect(),
            subcommands: Vec::new(),
            target: Target::Guest(spec.kind),
        }
    }

    /// Whether a command of this many words, the names included, has the right number.
    pub(super) fn arity_fits(&self, words: usize) -> bool {
        let arity = self.arity.unsigned_abs() as usize;
        if self.arity >= 0 { words == arity } else { words >= arity }
    }

    pub(super) fn subcommand(&self, name: &[u8]) -> Option<&Row> {
        let own = |row: &Row| row.name.rsplit('|').next().is_some_and(|own| own.as_bytes().eq_ignore_ascii_case(name));
        self.subcommands.iter().find(|row| own(row))
    }

    /// The arguments of `words` that are keys, by their positions.
    pub(super) fn keys_of<'a>(&self, words: &'a [Bytes]) -> Vec<&'a Bytes> {
        let (first, last, step) = self.keys;
        if first <= 0 || step <= 0 {
            return Vec::new();
        }
        let last = if last < 0 { words.len() as i64 + last } else { last };
        words
            .iter()
            .enumerate()
            .filter(|(at, _)| (first..=last).contains(&(*at as i64)))
            .map(|(_, word)| word)
            .collect()
    }
}

impl Parameter {
    fn from_builtin(arg: &Arg) -> Parameter {
        Parameter {
            name: arg.name.to_owned(),
            parameter_type: arg.arg_type,
            token: arg.token.to_owned(),
            optional: arg.optional,
            multiple: arg.multiple,
            choices: arg.choices.iter().map(Parameter::from_builtin).collect(),
        }
    }

    fn from_guest(argument: &Argument) -> Parameter {
        Parameter {
            name: argument.name.clone(),
            parameter_type: match argument.argument_type {
                ArgumentType::Text => "string",
                ArgumentType::Integer => "integer",
                ArgumentType::Double => "double",
                ArgumentType::Key => "key",
            },
            token: argument.token.clone(),
            optional: argument.optional,
            multiple: argument.multiple,
            choices: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(name: &str) -> Description {
        let spec = CommandSpec {
            name: name.into(),
            kind: Kind::Write,
            arity: -2,
            summary: String::new(),
            group: "app".into(),
            arguments: vec![],
        };
        Description { name: "app".into(), version: "1".into(), commands: vec![spec], state_version: 0 }
    }

    #[test]
    fn finds_names_in_any_case_and_no_others() {
        let table = Table::new(&guest("TICKET")).unwrap();
        for name in ["ticket", "TICKET", "tIcKeT", "ping", "PING"] {
            assert!(table.find(name.as_bytes()).is_some(), "{name}");
        }
        for name in [&b""[..], b"ticke", b"tickets", b"client|id", &[b'a'; 65], &[b'a'; 1 << 16], b"\xff\0"] {
            assert!(table.find(name).is_none(), "{}", name.escape_ascii());
        }
        assert_eq!(table.find_full(b"CLIENT|ID").unwrap().name, "client|id");
        assert!(table.find_full(b"client|nope").is_none());
    }

    #[test]
    fn refuses_a_guest_that_declares_a_command_of_ours() {
        let error = Table::new(&guest("RAFT")).unwrap_err();
        assert_eq!(error, Error::Clash { guest: "app".into(), command: "RAFT".into() });
        assert!(error.to_string().contains("RAFT"));
    }

    #[test]
    fn our_own_names_are_unique_and_their_arities_sound() {
        let table = Table::new(&guest("TICKET")).unwrap();
        assert_eq!(table.by_name.len(), table.rows.len());
        for row in table.rows() {
            assert_ne!(row.arity, 0, "{}", row.name);
            assert!(!row.summary.is_empty() || row.name == "ticket", "{}", row.name);
            for sub in &row.subcommands {
                assert!(sub.arity.abs() >= 2, "{}", sub.name);
            }
        }
    }
}
