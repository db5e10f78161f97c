//! `RAFT`: the node's part in the cluster.
//!
//! `RAFT SERVER` and `RAFT SNAPSHOT` have subcommands of their own, which the table does not know: their handlers look
//! at the third word.

use super::{ADMIN, Answer, Arg, Builtin, Call, Later, PLAIN, Run, help, is, lossy, snapshot};
use crate::dispatch::error::{from_raft, syntax, unknown_subcommand};
use crate::dispatch::{Dispatcher, glob};
use crate::raft::Change;
use crate::reply::{ErrorReply, Reply};

pub(super) const ROWS: &[Builtin] = &[Builtin {
    name: "RAFT",
    arity: -2,
    flags: PLAIN,
    group: "cluster",
    summary: "Commands about the cluster, its log and its snapshots",
    arguments: &[],
    run: Run::Family(MEMBERS),
}];

const SERVER: &[Arg] = &[
    Arg::word("list", "LIST"),
    Arg::text("id address [VOTER|NONVOTER]").after("ADD"),
    Arg::text("id").after("REMOVE"),
    Arg::text("id").after("PROMOTE"),
    Arg::text("id").after("DEMOTE"),
];

const SNAPSHOT: &[Arg] = &[
    Arg::word("now", "NOW"),
    Arg::word("list", "LIST"),
    Arg::text("id").after("FILE"),
    Arg::text("id [RANGE offset limit]").after("READ"),
];

const MEMBERS: &[Builtin] = &[
    Builtin {
        name: "LEADER",
        arity: 2,
        flags: PLAIN,
        group: "",
        summary: "Returns the leader's address, empty if none is known",
        arguments: &[],
        run: Run::Now(|call| {
            Ok(Reply::bulk(call.dispatcher.backend.leader().map(|leader| leader.address).unwrap_or_default()))
        }),
    },
    Builtin {
        name: "INFO",
        arity: -2,
        flags: PLAIN,
        group: "",
        summary: "Returns the fields that match a pattern, or all",
        arguments: &[Arg::text("pattern").optional().multiple()],
        run: Run::Now(info),
    },
    Builtin {
        name: "SERVER",
        arity: -3,
        flags: ADMIN,
        group: "",
        summary: "Lists or changes the members of the cluster",
        arguments: &[Arg::one_of("subcommand", SERVER)],
        run: Run::Later(server),
    },
    Builtin {
        name: "TRANSFER",
        arity: -2,
        flags: ADMIN,
        group: "",
        summary: "Has another node lead: this one, or the one that is best prepared",
        arguments: &[Arg::text("id").optional()],
        run: Run::Later(transfer),
    },
    Builtin {
        name: "SNAPSHOT",
        arity: -3,
        flags: ADMIN,
        group: "",
        summary: "Takes, lists, locates or reads snapshots of this node",
        arguments: &[Arg::one_of("subcommand", SNAPSHOT)],
        run: Run::Later(snapshot::snapshot),
    },
    Builtin {
        name: "HELP",
        arity: 2,
        flags: PLAIN,
        group: "",
        summary: "Prints this help.",
        arguments: &[],
        run: Run::Now(|_| help("RAFT", MEMBERS)),
    },
];

fn info(call: Call<'_>) -> Answer {
    let fits = |name: &str| call.args.is_empty() || call.args.iter().any(|arg| glob::matches(arg, name.as_bytes()));
    let fields = fields(call.dispatcher).into_iter().filter(|(name, _)| fits(name));
    Ok(Reply::Map(fields.map(|(name, value)| (Reply::bulk(name), Reply::bulk(value))).collect()))
}

/// In the order of their names.
pub(super) fn fields(dispatcher: &Dispatcher) -> Vec<(&'static str, String)> {
    let status = dispatcher.backend.status();
    let machine = dispatcher.backend.machine();
    let members = dispatcher.backend.members();
    let configuration: Vec<String> = members
        .iter()
        .map(|member| format!("{}:{}", member.node, if member.voter { "voter" } else { "nonvoter" }))
        .collect();
    // Entries that are applied in the moment between the two counts must not make it negative.
    let behind = status.last_log_index().saturating_sub(status.applied_index());
    let loaded = match status.last_log_index() {
        0 => 100.0,
        last => 100.0 * status.applied_index().min(last) as f64 / last as f64,
    };
    vec![
        ("applied_index", status.applied_index().to_string()),
        ("commit_index", status.commit_index().to_string()),
        ("digest", machine.digests.running.to_string()),
        ("digest_index", machine.digests.index.to_string()),
        ("digest_verified_index", machine.verified.to_string()),
        ("fsm_pending", status.apply_pending.to_string()),
        ("id", status.node.name.clone()),
        ("last_log_index", status.last_log_index().to_string()),
        ("last_log_term", status.last_log_term().to_string()),
        ("last_snapshot_index", status.snapshot_index().to_string()),
        ("last_snapshot_term", status.snapshot_term().to_string()),
        ("latest_configuration", configuration.join(",")),
        ("logs_behind", behind.to_string()),
        ("logs_loaded_percent", format!("{loaded:.1}")),
        ("node_id", status.node_id.to_string()),
        ("num_peers", members.iter().filter(|member| member.node_id != status.node_id).count().to_string()),
        ("purged_index", status.purged_index().to_string()),
        ("standing", machine.standing.as_str().to_owned()),
        ("state", status.role.to_string()),
        ("state_digest", machine.marked.state.unwrap_or_default().to_string()),
        ("state_digest_index", machine.marked.index.to_string()),
        ("term", status.term.to_string()),
        ("voter", status.voter.to_string()),
    ]
}

fn server(call: Call<'_>) -> Later<'_> {
    Box::pin(async move {
        let Call { dispatcher, args, .. } = call;
        let [subcommand, args @ ..] = args else {
            return Err(syntax());
        };
        let change = match (lossy(subcommand).to_ascii_uppercase().as_str(), args) {
            ("LIST", []) => return Ok(list(dispatcher)),
            ("ADD", [id, address]) => set(id, address, true),
            ("ADD", [id, address, part]) if is(part, "VOTER") => set(id, address, true),
            ("ADD", [id, address, part]) if is(part, "NONVOTER") => set(id, address, false),
            ("REMOVE", [id]) => Change::Remove { name: lossy(id) },
            ("PROMOTE", [id]) => Change::Promote { name: lossy(id) },
            ("DEMOTE", [id]) => Change::Demote { name: lossy(id) },
            ("LIST" | "ADD" | "REMOVE" | "PROMOTE" | "DEMOTE", _) => return Err(syntax()),
            _ => return Err(unknown_subcommand(subcommand, "RAFT")),
        };
        make(dispatcher, change).await?;
        Ok(Reply::Integer(1))
    })
}

fn set(name: &[u8], address: &[u8], voter: bool) -> Change {
    Change::Set { name: lossy(name), address: lossy(address), voter }
}

fn transfer(call: Call<'_>) -> Later<'_> {
    Box::pin(async move {
        let name = match call.args {
            [] => None,
            [name] => Some(lossy(name)),
            _ => return Err(syntax()),
        };
        make(call.dispatcher, Change::Transfer { name }).await?;
        Ok(Reply::OK)
    })
}

async fn make(dispatcher: &Dispatcher, change: Change) -> Result<(), ErrorReply> {
    dispatcher.backend.change(change).await.map_err(|error| from_raft(&error, dispatcher.options.redirect))
}

fn list(dispatcher: &Dispatcher) -> Reply {
    let row = |member: crate::raft::Member| {
        Reply::fields([
            ("id", Reply::bulk(member.node.name)),
            ("address", Reply::bulk(member.node.address)),
            ("leader", Reply::bulk(member.leader.to_string())),
            ("voter", Reply::bulk(member.voter.to_string())),
        ])
    };
    Reply::Array(dispatcher.backend.members().into_iter().map(row).collect())
}
