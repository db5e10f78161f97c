//! `CLIENT`: who is connected, what they are called, who must go.

use super::connection::client_name;
use super::{Answer, Arg, Builtin, Call, Later, ON_OFF, PLAIN, Run, help, integer, is, lossy, verbatim};
use crate::dispatch::clients::{Clients, Entry};
use crate::dispatch::error::{err, not_an_integer, syntax};
use crate::dispatch::{Client, Dispatcher};
use crate::reply::{ErrorReply, Reply};
use bytes::Bytes;
use std::sync::Arc;

pub(super) const ROWS: &[Builtin] = &[Builtin {
    name: "CLIENT",
    arity: -2,
    flags: PLAIN,
    group: "connection",
    summary: "Commands about clients",
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
    Builtin { name, arity, flags: PLAIN, group: "", summary, arguments, run: Run::Now(run) }
}

/// What takes some hundred microseconds.
const LINES_IN_A_ROW: usize = 256;
const IDS_IN_A_ROW: usize = 8192;

const REPLY_MODES: &[Arg] = &[Arg::word("on", "ON"), Arg::word("off", "OFF"), Arg::word("skip", "SKIP")];
const ATTRIBUTES: &[Arg] = &[Arg::text("libname").after("LIB-NAME"), Arg::text("libver").after("LIB-VER")];
const CLIENT_TYPES: &[Arg] = &[
    Arg::word("normal", "NORMAL"),
    Arg::word("master", "MASTER"),
    Arg::word("replica", "REPLICA"),
    Arg::word("pubsub", "PUBSUB"),
];

const MEMBERS: &[Builtin] = &[
    member("ID", 2, "Returns the id of the connection", &[], |call| Ok(Reply::Integer(call.client.id() as i64))),
    member("GETNAME", 2, "Returns the name of the connection", &[], |call| match call.client.profile().name {
        name if name.is_empty() => Ok(Reply::Null),
        name => Ok(Reply::bulk(name)),
    }),
    member("SETNAME", 3, "Names the connection", &[Arg::text("connection-name")], set_name),
    member("SETINFO", 4, "Says which library the client uses", &[Arg::one_of("attr", ATTRIBUTES)], set_info),
    member("INFO", 2, "Tells about the connection", &[], |call| {
        Ok(verbatim(line(call.dispatcher, call.client.entry()) + "\n"))
    }),
    Builtin {
        name: "LIST",
        arity: -2,
        flags: PLAIN,
        group: "",
        summary: "Lists the connected clients",
        arguments: &[
            Arg::one_of("client-type", CLIENT_TYPES).after("TYPE").optional(),
            Arg::integer("client-id").multiple().after("ID").optional(),
        ],
        run: Run::Later(list),
    },
    member("KILL", -3, "Ends connections", &[Arg::text("ip:port | filter value").multiple()], kill),
    member("REPLY", 3, "Turns replies on or off, or leaves out one", &[Arg::one_of("action", REPLY_MODES)], reply),
    member(
        "NO-EVICT",
        3,
        "Accepted for compatibility: clients over --clients-memory are disconnected all the same",
        &[Arg::one_of("enabled", ON_OFF)],
        on_off,
    ),
    member("NO-TOUCH", 3, "Accepted for compatibility: nothing is touched", &[Arg::one_of("enabled", ON_OFF)], on_off),
    member("UNPAUSE", 2, "Accepted for compatibility: no client is paused", &[], |_| Ok(Reply::OK)),
    member("GETREDIR", 2, "Returns -1: there is no client side caching", &[], |_| Ok(Reply::Integer(-1))),
    member("TRACKINGINFO", 2, "Says that client side caching is off", &[], |_| {
        Ok(Reply::fields([
            ("flags", Reply::Set(vec![Reply::bulk("off")])),
            ("redirect", Reply::Integer(-1)),
            ("prefixes", Reply::Array(vec![])),
        ]))
    }),
    member("HELP", 2, "Prints this help.", &[], |_| help("CLIENT", MEMBERS)),
];

fn line(dispatcher: &Dispatcher, entry: &Entry) -> String {
    dispatcher
        .clients
        .line(entry, |row| dispatcher.table.row(row).map_or_else(|| "NULL".to_owned(), |row| row.name.clone()))
}

fn set_name(call: Call<'_>) -> Answer {
    let name = client_name(&call.args[0])?;
    call.client.change_profile(|profile| profile.name = name);
    Ok(Reply::OK)
}

fn set_info(call: Call<'_>) -> Answer {
    let [attribute, value] = call.args else {
        return Err(syntax());
    };
    let field = lossy(attribute).to_ascii_lowercase();
    if !matches!(field.as_str(), "lib-name" | "lib-ver") {
        return Err(err(format!("Unrecognized option '{}'", lossy(attribute))));
    }
    let value = client_name(value)
        .map_err(|_| err(format!("{field} cannot contain spaces, newlines or special characters.")))?;
    call.client.change_profile(|profile| match field.as_str() {
        "lib-name" => profile.library = value,
        _ => profile.library_version = value,
    });
    Ok(Reply::OK)
}

/// There may be thousands of clients, and a million ids to look for: others have their turn meanwhile.
fn list(call: Call<'_>) -> Later<'_> {
    Box::pin(async move {
        let all = call.dispatcher.clients.all();
        let shown: Vec<Arc<Entry>> = match call.args {
            [] => all,
            [option, client_type] if is(option, "TYPE") => {
                if is_normal(client_type)? {
                    all
                } else {
                    Vec::new()
                }
            }
            [option, ids @ ..] if is(option, "ID") && !ids.is_empty() => with_ids(all, ids).await?,
            _ => return Err(syntax()),
        };
        let mut lines = String::new();
        for some in shown.chunks(LINES_IN_A_ROW) {
            for entry in some {
                lines.push_str(&line(call.dispatcher, entry));
                lines.push('\n');
            }
            tokio::task::yield_now().await;
        }
        Ok(verbatim(lines))
    })
}

/// Each of these clients, which are in the order of their ids, that is among the ids.
async fn with_ids(mut all: Vec<Arc<Entry>>, ids: &[Bytes]) -> Result<Vec<Arc<Entry>>, ErrorReply> {
    let mut wanted = vec![false; all.len()];
    for some in ids.chunks(IDS_IN_A_ROW) {
        for id in some {
            let id = integer::<u64>(id).filter(|id| *id > 0).ok_or_else(|| err("Invalid client ID"))?;
            if let Ok(at) = all.binary_search_by_key(&id, |entry| entry.id) {
                wanted[at] = true;
            }
        }
        tokio::task::yield_now().await;
    }
    let mut wanted = wanted.into_iter();
    all.retain(|_| wanted.next() == Some(true));
    Ok(all)
}

/// Every client of ours is of the type `normal`.
fn is_normal(client_type: &[u8]) -> Result<bool, ErrorReply> {
    match lossy(client_type).to_ascii_lowercase().as_str() {
        "normal" => Ok(true),
        "master" | "replica" | "slave" | "pubsub" => Ok(false),
        _ => Err(err(format!("Unknown client type '{}'", lossy(client_type)))),
    }
}

fn kill(call: Call<'_>) -> Answer {
    let Call { dispatcher, client, args } = call;
    if let [address] = args {
        let killed = end(&dispatcher.clients, client, |entry| address == entry.peer.to_string().as_str());
        return if killed > 0 { Ok(Reply::OK) } else { Err(err("No such client")) };
    }
    let filter = Filter::parse(args)?;
    let own = client.id();
    Ok(Reply::Integer(end(&dispatcher.clients, client, |entry| filter.fits(&dispatcher.clients, entry, own))))
}

/// Ends the sessions that fit and counts them. The caller's own ends after its reply.
fn end(clients: &Clients, client: &mut Client, fits: impl Fn(&Entry) -> bool) -> i64 {
    let mut ended = 0;
    for entry in clients.all().iter().filter(|entry| fits(entry)) {
        if entry.id == client.id() {
            client.close();
        } else {
            entry.kill();
        }
        ended += 1;
    }
    ended
}

/// The conditions of `CLIENT KILL`, all of which must hold.
#[derive(Default)]
struct Filter {
    client_id: Option<u64>,
    peer: Option<Bytes>,
    local: Option<Bytes>,
    age_seconds_min: Option<u64>,
    /// A type or user that no client has.
    nobody: bool,
    kills_caller: bool,
}

impl Filter {
    fn parse(args: &[Bytes]) -> Result<Filter, ErrorReply> {
        let mut filter = Filter::default();
        let mut rest = args;
        while let [option, value, more @ ..] = rest {
            rest = more;
            match lossy(option).to_ascii_uppercase().as_str() {
                "ID" => {
                    let id = integer(value).filter(|id| *id > 0);
                    filter.client_id = Some(id.ok_or_else(|| err("client-id should be greater than 0"))?);
                }
                "ADDR" => filter.peer = Some(value.clone()),
                "LADDR" => filter.local = Some(value.clone()),
                "TYPE" => filter.nobody |= !is_normal(value)?,
                "USER" if &value[..] == b"default" => {}
                "USER" => return Err(err(format!("No such user '{}'", lossy(value)))),
                "MAXAGE" => filter.age_seconds_min = Some(integer(value).ok_or_else(not_an_integer)?),
                "SKIPME" if is(value, "YES") => filter.kills_caller = false,
                "SKIPME" if is(value, "NO") => filter.kills_caller = true,
                _ => return Err(syntax()),
            }
        }
        if rest.is_empty() { Ok(filter) } else { Err(syntax()) }
    }

    fn fits(&self, clients: &Clients, entry: &Entry, own: u64) -> bool {
        !self.nobody
            && (self.kills_caller || entry.id != own)
            && self.client_id.is_none_or(|id| entry.id == id)
            && self.peer.as_ref().is_none_or(|peer| peer == entry.peer.to_string().as_str())
            && self.local.as_ref().is_none_or(|local| local == entry.local.to_string().as_str())
            && self.age_seconds_min.is_none_or(|seconds| clients.age(entry).as_secs() >= seconds)
    }
}

fn reply(call: Call<'_>) -> Answer {
    match &call.args[0] {
        mode if is(mode, "ON") => call.client.want_replies(true),
        mode if is(mode, "OFF") => call.client.want_replies(false),
        mode if is(mode, "SKIP") => call.client.skip_next_reply(),
        _ => return Err(syntax()),
    }
    Ok(Reply::OK)
}

fn on_off(call: Call<'_>) -> Answer {
    let known = ["ON", "OFF"].into_iter().any(|word| is(&call.args[0], word));
    if known { Ok(Reply::OK) } else { Err(syntax()) }
}
