//! Stand-in for the machine layer while it is built elsewhere.

use crate::guest::spec::{Argument, ArgumentType, CommandSpec, Description, Kind};
use std::sync::Arc;

#[derive(Clone, Debug, Default)]
pub struct Status {
    pub now: u64,
    pub boot: u64,
    pub applied_index: u64,
    pub state_bytes: u64,
    pub traps: u64,
}

#[derive(Debug)]
pub struct Machine {
    description: Arc<Description>,
}

impl Machine {
    pub fn with(description: Description) -> Machine {
        Machine { description: Arc::new(description) }
    }

    pub fn status(&self) -> Status {
        Status { now: 1_700_000_003_500_000_000, boot: 1_700_000_000_000_000_000, ..Status::default() }
    }

    pub fn description(&self) -> Arc<Description> {
        Arc::clone(&self.description)
    }
}

/// A small kvdb.
pub fn description() -> Description {
    let argument = |name: &str, argument_type, optional, multiple, token: &str| Argument {
        name: name.into(),
        argument_type,
        optional,
        multiple,
        token: token.into(),
    };
    let command = |name: &str, kind, arity, arguments| CommandSpec {
        name: name.into(),
        kind,
        arity,
        summary: format!("{name} of the stand-in"),
        group: "kvdb".into(),
        arguments,
    };
    let key = || argument("key", ArgumentType::Key, false, false, "");
    Description {
        name: "kvdb".into(),
        version: "0.1.0".into(),
        state_version: 0,
        commands: vec![
            command(
                "SET",
                Kind::Write,
                -3,
                vec![
                    key(),
                    argument("value", ArgumentType::Text, false, false, ""),
                    argument("seconds", ArgumentType::Integer, true, false, "EX"),
                ],
            ),
            command("GET", Kind::Read, 2, vec![key()]),
            command("DEL", Kind::Write, -2, vec![argument("key", ArgumentType::Key, false, true, "")]),
            command("INFOMAP", Kind::Read, 1, vec![]),
            command("BIG", Kind::Read, 1, vec![]),
        ],
    }
}
