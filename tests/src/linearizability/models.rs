//! What the example guests do, and a register.

use super::Model;
use std::fmt::{self, Display};

/// One value that is read and written; it begins empty.
#[derive(Debug)]
pub struct Register;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RegisterInput {
    Read,
    Write(u64),
}

#[derive(Clone, Debug, PartialEq)]
pub enum RegisterOutput {
    Value(Option<u64>),
    Written,
}

impl Model for Register {
    type Input = RegisterInput;
    type Output = RegisterOutput;
    type State = Option<u64>;
    type Part = ();

    fn part(_: &RegisterInput) {}

    fn is_read(input: &RegisterInput) -> bool {
        *input == RegisterInput::Read
    }

    fn initial() -> Option<u64> {
        None
    }

    fn step(state: &Option<u64>, input: &RegisterInput) -> (Option<u64>, RegisterOutput) {
        match input {
            RegisterInput::Read => (*state, RegisterOutput::Value(*state)),
            RegisterInput::Write(value) => (Some(*value), RegisterOutput::Written),
        }
    }
}

impl Display for RegisterInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegisterInput::Read => write!(f, "read"),
            RegisterInput::Write(value) => write!(f, "write {value}"),
        }
    }
}

impl Display for RegisterOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegisterOutput::Value(Some(value)) => write!(f, "{value}"),
            RegisterOutput::Value(None) => write!(f, "nothing"),
            RegisterOutput::Written => write!(f, "done"),
        }
    }
}

/// `TICKET` of the guest ticket: each is one more than the one before.
#[derive(Debug)]
pub struct Counter;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Next;

impl Counter {
    /// The only operation.
    pub const NEXT: Next = Next;
}

impl Model for Counter {
    type Input = Next;
    type Output = u64;
    type State = u64;
    type Part = ();

    fn part(_: &Next) {}

    fn is_read(_: &Next) -> bool {
        false
    }

    fn is_past(state: &u64, _: &Next, output: &u64) -> bool {
        output <= state
    }

    fn initial() -> u64 {
        0
    }

    fn step(state: &u64, _: &Next) -> (u64, u64) {
        (state + 1, state + 1)
    }
}

impl Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TICKET")
    }
}

/// The guest kvdb, for commands on one key each and without expiry; each key is a part.
#[derive(Debug)]
pub struct Kvdb;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KvdbInput {
    Get(String),
    Set(String, String),
    Del(String),
}

#[derive(Clone, Debug, PartialEq)]
pub enum KvdbOutput {
    Value(Option<String>),
    Ok,
    Deleted(i64),
}

impl KvdbInput {
    /// As it goes over the wire.
    pub fn words(&self) -> Vec<&str> {
        match self {
            KvdbInput::Get(key) => vec!["GET", key],
            KvdbInput::Set(key, value) => vec!["SET", key, value],
            KvdbInput::Del(key) => vec!["DEL", key],
        }
    }
}

impl Model for Kvdb {
    type Input = KvdbInput;
    type Output = KvdbOutput;
    type State = Option<String>;
    type Part = String;

    fn part(input: &KvdbInput) -> String {
        match input {
            KvdbInput::Get(key) | KvdbInput::Set(key, _) | KvdbInput::Del(key) => key.clone(),
        }
    }

    fn is_read(input: &KvdbInput) -> bool {
        matches!(input, KvdbInput::Get(_))
    }

    fn initial() -> Option<String> {
        None
    }

    fn step(state: &Option<String>, input: &KvdbInput) -> (Option<String>, KvdbOutput) {
        match input {
            KvdbInput::Get(_) => (state.clone(), KvdbOutput::Value(state.clone())),
            KvdbInput::Set(_, value) => (Some(value.clone()), KvdbOutput::Ok),
            KvdbInput::Del(_) => (None, KvdbOutput::Deleted(state.is_some().into())),
        }
    }
}

impl Display for KvdbInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.words().join(" "))
    }
}

impl Display for KvdbOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KvdbOutput::Value(Some(value)) => write!(f, "{value}"),
            KvdbOutput::Value(None) => write!(f, "nil"),
            KvdbOutput::Ok => write!(f, "OK"),
            KvdbOutput::Deleted(count) => write!(f, "{count}"),
        }
    }
}
