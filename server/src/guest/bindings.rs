//! The WIT types of `uhaha:machine/types`, as wasmtime lifts and lowers them.

use wasmtime::component::{ComponentType, Lift, Lower};

#[derive(Clone, Copy, Debug, PartialEq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "wasmtime makes the values of what the guest returns")]
pub(super) enum Kind {
    #[component(name = "write")]
    Write,
    #[component(name = "read")]
    Read,
    #[component(name = "intermediate")]
    Intermediate,
}

#[derive(Clone, Copy, Debug, PartialEq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "wasmtime makes the values of what the guest returns")]
pub(super) enum ArgumentType {
    #[component(name = "text")]
    Text,
    #[component(name = "integer")]
    Integer,
    #[component(name = "double")]
    Double,
    #[component(name = "key")]
    Key,
}

#[derive(Clone, Debug, ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct Argument {
    pub(super) name: String,
    #[component(name = "type")]
    pub(super) argument_type: ArgumentType,
    pub(super) optional: bool,
    pub(super) multiple: bool,
    pub(super) token: String,
}

#[derive(Clone, Debug, ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct CommandSpec {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) arity: i32,
    pub(super) summary: String,
    pub(super) group: String,
    pub(super) arguments: Vec<Argument>,
}

#[derive(Clone, Debug, ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct Description {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) commands: Vec<CommandSpec>,
    #[component(name = "state-version")]
    pub(super) state_version: u32,
}

#[derive(Clone, Debug, PartialEq, ComponentType, Lift, Lower)]
#[component(variant)]
pub(super) enum Token {
    #[component(name = "null")]
    Null,
    #[component(name = "boolean")]
    Boolean(bool),
    #[component(name = "integer")]
    Integer(i64),
    #[component(name = "double")]
    Double(f64),
    #[component(name = "simple")]
    Simple(String),
    #[component(name = "bulk")]
    Bulk(Vec<u8>),
    #[component(name = "verbatim")]
    Verbatim(String),
    #[component(name = "big-number")]
    BigNumber(String),
    #[component(name = "error")]
    Error(String),
    #[component(name = "array")]
    Array(u32),
    #[component(name = "map")]
    Map(u32),
    #[component(name = "set")]
    Set(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "wasmtime makes the values of what the guest returns")]
pub(super) enum Level {
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

impl From<Description> for super::spec::Description {
    fn from(raw: Description) -> Self {
        super::spec::Description {
            name: raw.name,
            version: raw.version,
            commands: raw.commands.into_iter().map(Into::into).collect(),
            state_version: raw.state_version,
        }
    }
}

impl From<CommandSpec> for super::spec::CommandSpec {
    fn from(raw: CommandSpec) -> Self {
        super::spec::CommandSpec {
            name: raw.name,
            kind: match raw.kind {
                Kind::Write => super::spec::Kind::Write,
                Kind::Read => super::spec::Kind::Read,
                Kind::Intermediate => super::spec::Kind::Intermediate,
            },
            arity: raw.arity,
            summary: raw.summary,
            group: raw.group,
            arguments: raw.arguments.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Argument> for super::spec::Argument {
    fn from(raw: Argument) -> Self {
        super::spec::Argument {
            name: raw.name,
            argument_type: match raw.argument_type {
                ArgumentType::Text => super::spec::ArgumentType::Text,
                ArgumentType::Integer => super::spec::ArgumentType::Integer,
                ArgumentType::Double => super::spec::ArgumentType::Double,
                ArgumentType::Key => super::spec::ArgumentType::Key,
            },
            optional: raw.optional,
            multiple: raw.multiple,
            token: raw.token,
        }
    }
}
