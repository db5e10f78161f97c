//! `CONFIG GET`: what redis-benchmark and client libraries ask. The configuration itself is changed by flags only.

use super::{ADMIN, Answer, Arg, Builtin, Call, Run, help};
use crate::dispatch::error::err;
use crate::dispatch::{Options, glob};
use crate::reply::Reply;

pub(super) const ROWS: &[Builtin] = &[Builtin {
    name: "CONFIG",
    arity: -2,
    flags: ADMIN,
    group: "server",
    summary: "Shows the configuration under Redis' names",
    arguments: &[],
    run: Run::Family(MEMBERS),
}];

const fn member(
    name: &'static str,
    arity: i32,
    summary: &'static str,
    arguments: &'static [Arg],
    run: fn(Call<'_>) -> Answer,
) -> Builtin {
    Builtin { name, arity, flags: ADMIN, group: "", summary, arguments, run: Run::Now(run) }
}

const MEMBERS: &[Builtin] = &[
    member("GET", -3, "Returns the settings that match the patterns", &[Arg::text("parameter").multiple()], get),
    member(
        "SET",
        -4,
        "Refused: settings are flags of the server, see --help",
        &[Arg::text("parameter value").multiple()],
        refuse,
    ),
    member("REWRITE", 2, "Refused: settings are flags of the server, see --help", &[], refuse),
    member("RESETSTAT", 2, "Refused: counters run from the start of the server", &[], |_| {
        Err(err("CONFIG RESETSTAT is not available: counters run from the start of the server"))
    }),
    member("HELP", 2, "Prints this help.", &[], |_| help("CONFIG", MEMBERS)),
];

fn get(call: Call<'_>) -> Answer {
    let matching = settings(&call.dispatcher.options)
        .into_iter()
        .filter(|(name, _)| call.args.iter().any(|pattern| glob::matches(pattern, name.as_bytes())))
        .map(|(name, value)| (Reply::bulk(name), Reply::bulk(value)));
    Ok(Reply::Map(matching.collect()))
}

/// In the order of their names. The password is not among them.
fn settings(options: &Options) -> Vec<(&'static str, String)> {
    let word = str::to_owned;
    vec![
        ("appendfsync", word(if options.sync { "always" } else { "no" })),
        ("appendonly", word("yes")),
        ("databases", word("1")),
        ("maxclients", options.clients_max.to_string()),
        ("maxmemory", word("0")),
        ("maxmemory-policy", word("noeviction")),
        ("notify-keyspace-events", String::new()),
        ("proto-max-bulk-len", options.argument_bytes_max.to_string()),
        ("save", String::new()),
        ("timeout", options.idle_timeout.map_or(0, |idle| idle.as_secs()).to_string()),
    ]
}

fn refuse(_: Call<'_>) -> Answer {
    Err(err("the configuration cannot be changed while the server runs: settings are its flags, see --help"))
}
