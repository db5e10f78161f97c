//! The server's own commands, by Redis' groups. Each file gives its rows of the table and their handlers.
//!
//! A handler sees the client, the arguments after its name, and the dispatcher with all that stands behind it. Its
//! arity is checked before it is called.

mod acl;
mod client;
mod cluster;
mod command;
mod config;
mod connection;
#[cfg(debug_assertions)]
mod debug;
mod info;
mod module;
mod pubsub;
mod raft;
mod sentinel;
mod server;
mod snapshot;

use super::{Client, Dispatcher};
use crate::reply::{ErrorReply, Reply};
use bytes::Bytes;
use std::fmt;
use std::pin::Pin;

/// One call of a built-in.
pub(super) struct Call<'a> {
    pub(super) dispatcher: &'a Dispatcher,
    pub(super) client: &'a mut Client,
    /// What follows its name, or both names of a subcommand.
    pub(super) args: &'a [Bytes],
}

pub(super) type Answer = Result<Reply, ErrorReply>;
type Later<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

#[derive(Clone, Copy)]
pub(super) enum Run {
    Now(fn(Call<'_>) -> Answer),
    Later(for<'a> fn(Call<'a>) -> Later<'a>),
    /// Its first argument names one of these.
    Family(&'static [Builtin]),
    /// The same, but it may also be called without an argument.
    FamilyOr(&'static [Builtin], fn(Call<'_>) -> Answer),
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Run::Now(_) => "Now",
            Run::Later(_) => "Later",
            Run::Family(_) | Run::FamilyOr(..) => "Family",
        })
    }
}

/// A row of the table as we write it down.
#[derive(Debug)]
pub(super) struct Builtin {
    /// In upper case; of a subcommand without its family.
    pub(super) name: &'static str,
    /// As in Redis, counting all names.
    pub(super) arity: i32,
    pub(super) flags: &'static [&'static str],
    /// Empty for a subcommand, which has that of its family.
    pub(super) group: &'static str,
    pub(super) summary: &'static str,
    pub(super) arguments: &'static [Arg],
    pub(super) run: Run,
}

/// An argument, for hints and documentation.
#[derive(Debug)]
pub(super) struct Arg {
    pub(super) name: &'static str,
    pub(super) arg_type: &'static str,
    pub(super) token: &'static str,
    pub(super) optional: bool,
    pub(super) multiple: bool,
    pub(super) choices: &'static [Arg],
}

impl Arg {
    const fn new(name: &'static str, arg_type: &'static str) -> Arg {
        Arg { name, arg_type, token: "", optional: false, multiple: false, choices: &[] }
    }

    const fn text(name: &'static str) -> Arg {
        Arg::new(name, "string")
    }

    const fn integer(name: &'static str) -> Arg {
        Arg::new(name, "integer")
    }

    /// A literal word.
    const fn word(name: &'static str, token: &'static str) -> Arg {
        Arg::new(name, "pure-token").after(token)
    }

    const fn one_of(name: &'static str, choices: &'static [Arg]) -> Arg {
        Arg { choices, ..Arg::new(name, "oneof") }
    }

    /// With a literal word before it.
    const fn after(self, token: &'static str) -> Arg {
        Arg { token, ..self }
    }

    const fn optional(self) -> Arg {
        Arg { optional: true, ..self }
    }

    const fn multiple(self) -> Arg {
        Arg { multiple: true, ..self }
    }
}

const ON_OFF: &[Arg] = &[Arg::word("on", "ON"), Arg::word("off", "OFF")];

/// Flags of Redis that clients look at.
const FAST: &[&str] = &["loading", "stale", "fast"];
const PLAIN: &[&str] = &["loading", "stale"];
const ADMIN: &[&str] = &["admin", "noscript", "loading", "stale"];
/// The only commands of a client that has subscribed in RESP2, with a few of connections.
const PUBSUB: &[&str] = &["pubsub", "noscript", "loading", "stale"];
const STRANGER: &[&str] = &["noscript", "loading", "stale", "fast", "no_auth"];

impl super::table::Row {
    /// Whether one who has subscribed in RESP2 may call it.
    pub(super) fn is_for_subscribers(&self) -> bool {
        self.flags.contains(&"pubsub") || matches!(&*self.name, "ping" | "quit" | "reset")
    }

    /// Whether one who has not authenticated may call it.
    pub(super) fn is_for_strangers(&self) -> bool {
        self.flags.contains(&"no_auth")
    }
}

pub(super) fn all() -> impl Iterator<Item = &'static Builtin> {
    let rows = [connection::ROWS, client::ROWS, acl::ROWS, server::ROWS, command::ROWS, config::ROWS, raft::ROWS];
    let rows = rows.into_iter().chain([module::ROWS, cluster::ROWS, sentinel::ROWS, pubsub::ROWS]);
    #[cfg(debug_assertions)]
    let rows = rows.chain([debug::ROWS]);
    rows.flatten()
}

/// The reply of a family's `HELP`: its members with their arguments and summaries, in Redis' form.
fn help(family: &str, members: &[Builtin]) -> Answer {
    let line = |text: String| Reply::Simple(text.into());
    let mut lines = vec![line(format!("{family} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"))];
    for member in members {
        let mut usage = member.name.to_owned();
        for arg in member.arguments {
            usage.push(' ');
            usage.push_str(&arg.to_string());
        }
        lines.push(line(usage));
        lines.push(line(format!("    {}", member.summary)));
    }
    Ok(Reply::Array(lines))
}

/// As in Redis' documentation: `[EX seconds]`, `<ON | OFF>`, `key [key ...]`.
impl fmt::Display for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = match self.choices {
            [] if self.arg_type == "pure-token" => String::new(),
            [] => self.name.to_owned(),
            choices => {
                let choices: Vec<String> = choices.iter().map(Arg::to_string).collect();
                let joined = choices.join(" | ");
                if self.optional { joined } else { format!("<{joined}>") }
            }
        };
        let once = [self.token, &value].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        let all = if self.multiple { format!("{once} [{once} ...]") } else { once };
        if self.optional { write!(f, "[{all}]") } else { f.write_str(&all) }
    }
}

/// Whether an argument is that word, in any case.
fn is(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

/// A decimal integer as Redis reads one.
fn integer<T: std::str::FromStr>(arg: &[u8]) -> Option<T> {
    if arg.first() == Some(&b'+') {
        return None;
    }
    std::str::from_utf8(arg).ok()?.parse().ok()
}

/// Text for people in RESP3, a bulk string in RESP2.
fn verbatim(text: String) -> Reply {
    Reply::Verbatim(text)
}

fn lossy(arg: &[u8]) -> String {
    String::from_utf8_lossy(arg).into_owned()
}
