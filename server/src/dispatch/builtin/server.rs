//! About the server and its machine: `VERSION MACHINE BARRIER SHUTDOWN ROLE TIME INFO`.

use super::cluster::{Shard, offset};
use super::{ADMIN, Answer, Arg, Builtin, Call, FAST, Later, PLAIN, Run, info, is};
use crate::dispatch::error::{from_raft, syntax};
use crate::dispatch::host_and_port;
use crate::raft::{self, Visible};
use crate::reply::Reply;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(super) const ROWS: &[Builtin] = &[
    Builtin {
        name: "VERSION",
        arity: 1,
        flags: FAST,
        group: "server",
        summary: "Returns the name and version of the machine",
        arguments: &[],
        run: Run::Now(version),
    },
    Builtin {
        name: "MACHINE",
        arity: -1,
        flags: PLAIN,
        group: "server",
        summary: "Returns the machine's clock, in nanoseconds or for people, its limits, or how a command last failed",
        arguments: &[Arg::one_of(
            "what",
            &[Arg::word("human", "HUMAN"), Arg::word("limits", "LIMITS"), Arg::word("lasttrap", "LASTTRAP")],
        )
        .optional()],
        run: Run::Now(machine),
    },
    Builtin {
        name: "BARRIER",
        arity: 1,
        flags: PLAIN,
        group: "server",
        summary: "Returns once all writes before it are applied",
        arguments: &[],
        run: Run::Later(barrier),
    },
    Builtin {
        name: "SHUTDOWN",
        arity: -1,
        flags: ADMIN,
        group: "server",
        summary: "Stops this node; running commands are finished first",
        arguments: &[
            Arg::one_of("save-selector", &[Arg::word("nosave", "NOSAVE"), Arg::word("save", "SAVE")]).optional(),
            Arg::word("now", "NOW").optional(),
            Arg::word("force", "FORCE").optional(),
        ],
        run: Run::Later(shutdown),
    },
    Builtin {
        name: "ROLE",
        arity: 1,
        flags: FAST,
        group: "server",
        summary: "Returns the role of this node in Redis' words",
        arguments: &[],
        run: Run::Now(role),
    },
    Builtin {
        name: "TIME",
        arity: 1,
        flags: FAST,
        group: "server",
        summary: "Returns the machine's clock in seconds and microseconds",
        arguments: &[],
        run: Run::Now(time),
    },
    Builtin {
        name: "INFO",
        arity: -1,
        flags: PLAIN,
        group: "server",
        summary: "Tells about the server, by sections",
        arguments: &[Arg::text("section").optional().multiple()],
        run: Run::Now(info::info),
    },
];

fn version(call: Call<'_>) -> Answer {
    let description = call.dispatcher.backend.description();
    Ok(Reply::bulk(format!("{} version {}", description.name, description.version)))
}

fn machine(call: Call<'_>) -> Answer {
    let human = match call.args {
        [] => false,
        [word] if is(word, "HUMAN") || is(word, "H") => true,
        [word] if is(word, "LIMITS") => return Ok(limits(&call)),
        [word] if is(word, "LASTTRAP") => return last_trap(&call),
        _ => return Err(syntax()),
    };
    let status = call.dispatcher.backend.machine();
    let uptime = status.now.saturating_sub(status.boot);
    let at = |ns: u64| match human {
        true => human_time(ns),
        false => ns.to_string(),
    };
    let uptime = match human {
        true => humantime::format_duration(Duration::from_nanos(uptime)).to_string(),
        false => uptime.to_string(),
    };
    Ok(Reply::fields([
        ("boottime", Reply::bulk(at(status.boot))),
        ("now", Reply::bulk(at(status.now))),
        ("uptime", Reply::bulk(uptime)),
    ]))
}

/// What the guest is held to, and what this node would have: the two differ until all voters want the same.
fn limits(call: &Call<'_>) -> Reply {
    let backend = &call.dispatcher.backend;
    let wanted = backend.wanted_settings();
    let active = backend.machine().settings.unwrap_or_else(|| Arc::clone(&wanted));
    let mut fields = vec![
        (Reply::bulk("module"), Reply::bulk(active.module.clone())),
        (Reply::bulk("engine"), Reply::bulk(active.engine.clone())),
        (Reply::bulk("wanted-engine"), Reply::bulk(wanted.engine.clone())),
    ];
    for ((name, limit), (_, wanted)) in active.limits.named().into_iter().zip(wanted.limits.named()) {
        fields.push((Reply::bulk(name), Reply::bulk(limit.to_string())));
        fields.push((Reply::bulk(format!("wanted-{name}")), Reply::bulk(wanted.to_string())));
    }
    fields.push((Reply::bulk("guest-log-lines"), Reply::bulk(backend.guest_log_lines().to_string())));
    Reply::Map(fields)
}

/// With the guest's backtrace, which no error reply has: it need not be the same on every node.
fn last_trap(call: &Call<'_>) -> Answer {
    let Some(trap) = call.dispatcher.backend.machine().last_trap else { return Ok(Reply::Null) };
    let frames = trap.backtrace.frames().iter().map(Reply::bulk).collect();
    Ok(Reply::fields([
        ("command", Reply::bulk(&trap.command)),
        ("index", trap.index.map_or(Reply::Null, |index| Reply::bulk(index.to_string()))),
        ("code", Reply::bulk(trap.code.as_str())),
        ("reason", Reply::bulk(&trap.reason)),
        ("time", Reply::bulk(human_time(trap.now))),
        ("backtrace", Reply::Array(frames)),
    ]))
}

/// RFC 3339. Nanoseconds of 64 bits end in the year 2554, which has four digits.
pub(super) fn human_time(ns: u64) -> String {
    let time: SystemTime = UNIX_EPOCH + Duration::from_nanos(ns);
    humantime::format_rfc3339_nanos(time).to_string()
}

fn barrier(call: Call<'_>) -> Later<'_> {
    Box::pin(async move {
        let Call { dispatcher, .. } = call;
        let outcome = dispatcher.backend.barrier().await;
        outcome.map(|()| Reply::OK).map_err(|error| from_raft(&error, dispatcher.options.redirect))
    })
}

/// As in Redis there is no reply: the connection ends, and with it the server. Without `FORCE` a snapshot that was asked
/// for and cannot be taken is an error, and the server stays.
fn shutdown(call: Call<'_>) -> Later<'_> {
    Box::pin(async move {
        let Call { dispatcher, client, args, .. } = call;
        let known = ["NOSAVE", "SAVE", "NOW", "FORCE"];
        let asked = |word| args.iter().any(|arg| is(arg, word));
        if !args.iter().all(|arg| known.iter().any(|word| is(arg, word))) || asked("SAVE") && asked("NOSAVE") {
            return Err(syntax());
        }
        tracing::info!(client = client.id(), "a client asked for shutdown");
        if asked("SAVE") {
            match dispatcher.backend.snapshot().await {
                Ok(_) | Err(raft::Error::NothingToSnapshot) => {}
                Err(error) if asked("FORCE") => tracing::warn!(%error, "stopping without the snapshot asked for"),
                Err(error) => return Err(from_raft(&error, dispatcher.options.redirect)),
            }
        }
        client.want_replies(false);
        client.close();
        dispatcher.shutdown.cancel();
        Ok(Reply::OK)
    })
}

fn role(call: Call<'_>) -> Answer {
    let shard = Shard::new(call.dispatcher);
    let applied = Reply::Integer(call.dispatcher.backend.status().applied_index() as i64);
    if call.dispatcher.backend.is_leader() {
        let replica = |node: &Visible| {
            let (host, port) = host_and_port(&node.member.node.address);
            Reply::Array(vec![Reply::bulk(host), Reply::bulk(port.to_string()), Reply::bulk(offset(node).to_string())])
        };
        let replicas = shard.replicas().filter(|node| node.online).map(replica).collect();
        return Ok(Reply::Array(vec![Reply::bulk("master"), applied, Reply::Array(replicas)]));
    }
    let leader = shard.master().map(|master| master.member.node.address.as_str()).unwrap_or_default();
    let (host, port) = host_and_port(leader);
    let state = if shard.view.settled { "connected" } else { "connect" };
    Ok(Reply::Array(vec![
        Reply::bulk("slave"),
        Reply::bulk(host),
        Reply::Integer(i64::from(port)),
        Reply::bulk(state),
        applied,
    ]))
}

fn time(call: Call<'_>) -> Answer {
    let now = call.dispatcher.backend.machine().now;
    let micros = (now / 1000) % 1_000_000;
    Ok(Reply::Array(vec![Reply::bulk((now / 1_000_000_000).to_string()), Reply::bulk(micros.to_string())]))
}
