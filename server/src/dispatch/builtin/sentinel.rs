//! `SENTINEL`: the cluster as clients of Redis Sentinel want to see it. Each node is a sentinel of the one master there
//! is, the leader.
//!
//! The master has one name, for it is part of what `+switch-master` announces, and clients compare it with theirs.

use super::cluster::{Shard, hash, offset};
use super::{Answer, Arg, Builtin, Call, PLAIN, Run, help, is};
use crate::dispatch::error::err;
use crate::dispatch::host_and_port;
use crate::dispatch::subscriptions::MASTER;
use crate::raft::Visible;
use crate::reply::{ErrorCode, ErrorReply, Reply};
use bytes::Bytes;

pub(super) const ROWS: &[Builtin] = &[Builtin {
    name: "SENTINEL",
    arity: -2,
    flags: PLAIN,
    group: "sentinel",
    summary: "Shows the cluster to clients of Sentinel: the leader is the master uhaha",
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

const NAME: &[Arg] = &[Arg::text("master-name")];
const DOWN: &[Arg] = &[Arg::text("ip"), Arg::integer("port"), Arg::integer("current-epoch"), Arg::text("runid")];

const MEMBERS: &[Builtin] = &[
    member("GET-MASTER-ADDR-BY-NAME", 3, "Returns host and port of the master", NAME, address),
    member("MASTER", 3, "Describes the master", NAME, |call| {
        let shard = named(&call)?;
        shard.master().map(|master| node(&shard, master)).ok_or_else(no_such_master)
    }),
    member("MASTERS", 2, "Describes all masters, which is one", &[], |call| {
        let shard = Shard::new(call.dispatcher);
        Ok(Reply::Array(shard.master().map(|master| node(&shard, master)).into_iter().collect()))
    }),
    member("REPLICAS", 3, "Describes the replicas of the master", NAME, replicas),
    member("SLAVES", 3, "Describes the replicas of the master", NAME, replicas),
    member("SENTINELS", 3, "Describes the other nodes as sentinels", NAME, |call| {
        let shard = named(&call)?;
        let others = shard.view.members.iter().filter(|node| !shard.is_myself(node));
        Ok(Reply::Array(others.map(|node| sentinel(&shard, node)).collect()))
    }),
    member("CKQUORUM", 3, "Says whether a majority of the voters answers", NAME, quorum),
    member("MYID", 2, "Returns the id of this node", &[], |call| {
        Ok(Reply::bulk(hash(&call.dispatcher.backend.status().node.name)))
    }),
    member("IS-MASTER-DOWN-BY-ADDR", 6, "Says whether the master at an address is down", DOWN, |call| {
        let shard = Shard::new(call.dispatcher);
        let (host, port) = (&call.args[0], &call.args[1]);
        let asked = |node: &&Visible| {
            let (own_host, own_port) = host_and_port(&node.member.node.address);
            own_host.as_bytes() == &**host && own_port.to_string().as_bytes() == &**port
        };
        let down = shard.master().filter(asked).is_some_and(|master| !shard.is_online(master));
        Ok(Reply::Array(vec![Reply::Integer(i64::from(down)), Reply::bulk("*"), Reply::Integer(0)]))
    }),
    member("HELP", 2, "Prints this help.", &[], |_| help("SENTINEL", MEMBERS)),
];

fn no_such_master() -> ErrorReply {
    err("No such master with that name")
}

fn named(call: &Call<'_>) -> Result<Shard, ErrorReply> {
    match call.args.first() {
        Some(name) if is_master(name) => Ok(Shard::new(call.dispatcher)),
        _ => Err(no_such_master()),
    }
}

fn is_master(name: &Bytes) -> bool {
    is(name, MASTER)
}

fn address(call: Call<'_>) -> Answer {
    if !call.args.first().is_some_and(is_master) {
        return Ok(Reply::NullArray);
    }
    let shard = Shard::new(call.dispatcher);
    Ok(shard.master().map_or(Reply::NullArray, |master| {
        let (host, port) = host_and_port(&master.member.node.address);
        Reply::Array(vec![Reply::bulk(host), Reply::bulk(port.to_string())])
    }))
}

fn replicas(call: Call<'_>) -> Answer {
    let shard = named(&call)?;
    Ok(Reply::Array(shard.replicas().map(|replica| node(&shard, replica)).collect()))
}

fn quorum(call: Call<'_>) -> Answer {
    let shard = named(&call)?;
    let voters = || shard.view.members.iter().filter(|node| node.member.voter);
    let (all, online) = (voters().count(), voters().filter(|node| node.online).count());
    if online > all / 2 {
        let text = format!("OK {online} usable Sentinels. Quorum and failover authorization can be reached");
        return Ok(Reply::Simple(text.into()));
    }
    let message = format!("{online} usable Sentinels. Not enough available Sentinels to reach the majority of {all}");
    Err(ErrorReply { code: ErrorCode::NoQuorum, message })
}

/// Fields that all nodes have; all are texts, as in Redis.
fn common(name: String, node: &Visible, flags: String) -> Vec<(&'static str, String)> {
    let (host, port) = host_and_port(&node.member.node.address);
    vec![
        ("name", name),
        ("ip", host),
        ("port", port.to_string()),
        ("runid", hash(&node.member.node.name)),
        ("flags", flags),
        ("link-pending-commands", "0".to_owned()),
        ("link-refcount", "1".to_owned()),
        ("last-ping-sent", "0".to_owned()),
        ("last-ok-ping-reply", "0".to_owned()),
        ("last-ping-reply", "0".to_owned()),
    ]
}

fn described(fields: Vec<(&'static str, String)>) -> Reply {
    Reply::fields(fields.into_iter().map(|(name, value)| (name, Reply::bulk(value))))
}

/// The master or a replica.
fn node(shard: &Shard, node: &Visible) -> Reply {
    let is_master = shard.is_master(node);
    let mut flags = if is_master { "master" } else { "slave" }.to_owned();
    if !shard.is_online(node) {
        flags.push_str(if is_master { ",s_down,o_down" } else { ",s_down" });
    }
    let own_name = if is_master { MASTER.to_owned() } else { node.member.node.address.clone() };
    let mut fields = common(own_name, node, flags);
    fields.push(("down-after-milliseconds", "1000".to_owned()));
    fields.push(("info-refresh", "0".to_owned()));
    fields.push(("role-reported", if is_master { "master" } else { "slave" }.to_owned()));
    fields.push(("role-reported-time", "0".to_owned()));
    if is_master {
        let voters = shard.view.members.iter().filter(|node| node.member.voter).count();
        fields.push(("config-epoch", shard.view.term.to_string()));
        fields.push(("num-slaves", shard.replicas().count().to_string()));
        fields.push(("num-other-sentinels", (shard.view.members.len() - 1).to_string()));
        fields.push(("quorum", (voters / 2 + 1).to_string()));
        fields.push(("failover-timeout", "1000".to_owned()));
        fields.push(("parallel-syncs", "1".to_owned()));
    } else if let Some(master) = shard.master() {
        let (host, port) = host_and_port(&master.member.node.address);
        fields.push(("master-link-down-time", "0".to_owned()));
        fields.push(("master-link-status", if shard.view.settled { "ok" } else { "err" }.to_owned()));
        fields.push(("master-host", host));
        fields.push(("master-port", port.to_string()));
        fields.push(("slave-priority", "100".to_owned()));
        fields.push(("slave-repl-offset", offset(node).to_string()));
        fields.push(("replica-announced", "1".to_owned()));
    }
    described(fields)
}

fn sentinel(shard: &Shard, node: &Visible) -> Reply {
    let flags = if node.online { "sentinel" } else { "sentinel,s_down" };
    let mut fields = common(hash(&node.member.node.name), node, flags.to_owned());
    fields.push(("last-hello-message", "0".to_owned()));
    fields.push(("voted-leader", "?".to_owned()));
    fields.push(("voted-leader-epoch", shard.view.term.to_string()));
    described(fields)
}
