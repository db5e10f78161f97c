//! `CLUSTER`: one shard of all slots, as cluster clients want to see it.
//!
//! The leader is the master and the others its replicas, so that a client knows whom to ask when the leader is gone.
//! While no leader is known this node stands in for it: an error would leave the client with no view at all.

use super::{Answer, Arg, Builtin, Call, PLAIN, Run, help, integer, verbatim};
use crate::dispatch::Dispatcher;
use crate::dispatch::error::{err, not_an_integer};
use crate::raft::Member;
use crate::reply::{ErrorReply, Reply};
use bytes::Bytes;
use sha2::{Digest, Sha256};

const SLOTS: u16 = 16384;
const LAST_SLOT: i64 = SLOTS as i64 - 1;

pub(super) const ROWS: &[Builtin] = &[
    Builtin {
        name: "CLUSTER",
        arity: -2,
        flags: PLAIN,
        group: "cluster",
        summary: "Shows the cluster to cluster clients: one shard of all slots",
        arguments: &[],
        run: Run::Family(MEMBERS),
    },
    Builtin {
        name: "READONLY",
        arity: 1,
        flags: PLAIN,
        group: "cluster",
        summary: "Accepted for compatibility: reads are linearizable wherever they are sent",
        arguments: &[],
        run: Run::Now(|_| Ok(Reply::OK)),
    },
    Builtin {
        name: "READWRITE",
        arity: 1,
        flags: PLAIN,
        group: "cluster",
        summary: "Accepted for compatibility",
        arguments: &[],
        run: Run::Now(|_| Ok(Reply::OK)),
    },
];

const fn member(
    name: &'static str,
    arity: i32,
    summary: &'static str,
    arguments: &'static [Arg],
    run: fn(Call<'_>) -> Answer,
) -> Builtin {
    Builtin { name, arity, flags: PLAIN, group: "", summary, arguments, run: Run::Now(run) }
}

const MEMBERS: &[Builtin] = &[
    member("INFO", 2, "Tells about the cluster", &[], |call| Ok(info(call.dispatcher))),
    member("SLOTS", 2, "Returns the slots with their nodes", &[], |call| Ok(slots(call.dispatcher))),
    member("SHARDS", 2, "Returns the shards with their nodes", &[], |call| Ok(shards(call.dispatcher))),
    member("NODES", 2, "Returns the nodes, a line for each", &[], |call| Ok(nodes(call.dispatcher))),
    member("MYID", 2, "Returns the id of this node", &[], |call| {
        Ok(Reply::bulk(hash(&call.dispatcher.backend.status().node.name)))
    }),
    member("KEYSLOT", 3, "Returns the slot of a key", &[Arg::text("key")], |call| {
        Ok(Reply::Integer(i64::from(slot(&call.args[0]))))
    }),
    member(
        "COUNTKEYSINSLOT",
        3,
        "Returns 0: the server does not know the guest's keys",
        &[Arg::integer("slot")],
        |call| check_slot(&call.args[0]).map(|()| Reply::Integer(0)),
    ),
    member(
        "GETKEYSINSLOT",
        4,
        "Returns nothing: the server does not know the guest's keys",
        &[Arg::integer("slot"), Arg::integer("count")],
        |call| check_slot(&call.args[0]).map(|()| Reply::Array(vec![])),
    ),
    member("HELP", 2, "Prints this help.", &[], |_| help("CLUSTER", MEMBERS)),
];

/// The members with exactly one leader, who comes first.
fn view(dispatcher: &Dispatcher) -> Vec<Member> {
    let own = dispatcher.backend.status();
    let mut members = dispatcher.backend.members();
    if !members.iter().any(|member| member.leader) {
        match members.iter_mut().find(|member| member.node_id == own.node_id) {
            Some(member) => member.leader = true,
            None => members.push(Member { node_id: own.node_id, node: own.node, leader: true, voter: own.voter }),
        }
    }
    members.sort_by_key(|member| (!member.leader, member.node_id));
    members
}

/// Forty hex digits, as clients expect of a node's id.
fn hash(name: &str) -> String {
    Sha256::digest(name).iter().take(20).map(|byte| format!("{byte:02x}")).collect()
}

/// Of `host:port`, the host without the brackets of IPv6.
pub(super) fn host_and_port(address: &str) -> (String, u16) {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    (host.trim_start_matches('[').trim_end_matches(']').to_owned(), port.parse().unwrap_or(0))
}

fn info(dispatcher: &Dispatcher) -> Reply {
    let status = dispatcher.backend.status();
    let state = if dispatcher.backend.leader().is_some() { "ok" } else { "fail" };
    let known = view(dispatcher).len();
    verbatim(format!(
        "cluster_enabled:1\r\ncluster_state:{state}\r\ncluster_slots_assigned:{SLOTS}\r\ncluster_slots_ok:{SLOTS}\r\n\
         cluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_known_nodes:{known}\r\ncluster_size:1\r\n\
         cluster_current_epoch:{0}\r\ncluster_my_epoch:{0}\r\ncluster_stats_messages_sent:0\r\n\
         cluster_stats_messages_received:0\r\n",
        status.term
    ))
}

fn slots(dispatcher: &Dispatcher) -> Reply {
    let mut range = vec![Reply::Integer(0), Reply::Integer(LAST_SLOT)];
    range.extend(view(dispatcher).into_iter().map(|member| {
        let (host, port) = host_and_port(&member.node.address);
        Reply::Array(vec![
            Reply::bulk(host),
            Reply::Integer(i64::from(port)),
            Reply::bulk(hash(&member.node.name)),
            Reply::Array(vec![]),
        ])
    }));
    Reply::Array(vec![Reply::Array(range)])
}

fn shards(dispatcher: &Dispatcher) -> Reply {
    let applied = dispatcher.backend.status().applied_index() as i64;
    let node = |member: Member| {
        let (host, port) = host_and_port(&member.node.address);
        Reply::fields([
            ("id", Reply::bulk(hash(&member.node.name))),
            ("port", Reply::Integer(i64::from(port))),
            ("ip", Reply::bulk(host.as_str())),
            ("endpoint", Reply::bulk(host)),
            ("role", Reply::bulk(if member.leader { "master" } else { "replica" })),
            ("replication-offset", Reply::Integer(applied)),
            ("health", Reply::bulk("online")),
        ])
    };
    let nodes = view(dispatcher).into_iter().map(node).collect();
    let slots = Reply::Array(vec![Reply::Integer(0), Reply::Integer(LAST_SLOT)]);
    Reply::Array(vec![Reply::fields([("slots", slots), ("nodes", Reply::Array(nodes))])])
}

fn nodes(dispatcher: &Dispatcher) -> Reply {
    let own = dispatcher.backend.status();
    let members = view(dispatcher);
    let leader = members.first().map(|leader| hash(&leader.node.name)).unwrap_or_default();
    let line = |member: &Member| {
        let (host, port) = host_and_port(&member.node.address);
        let myself = if member.node_id == own.node_id { "myself," } else { "" };
        let part = match member.leader {
            true => format!("{myself}master - 0 0 {} connected 0-{LAST_SLOT}", own.term),
            false => format!("{myself}slave {leader} 0 0 {} connected", own.term),
        };
        // Peers use the port that clients use.
        format!("{} {host}:{port}@{port} {part}\n", hash(&member.node.name))
    };
    verbatim(members.iter().map(line).collect())
}

fn check_slot(arg: &Bytes) -> Result<(), ErrorReply> {
    match integer::<i64>(arg) {
        Some(0..=LAST_SLOT) => Ok(()),
        Some(_) => Err(err("Invalid slot")),
        None => Err(not_an_integer()),
    }
}

/// The slot of a key: of what stands in its first braces, if anything does.
fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|&byte| byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC16 as XMODEM has it: polynomial 0x1021, from 0.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        for (key, expected) in [("foo", 12182), ("bar", 5061), ("", 0), ("{foo}x", 12182), ("x{bar}{foo}", 5061)] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
        assert_eq!(slot(b"{}foo"), crc16(b"{}foo") % SLOTS);
        assert_eq!(slot(b"{foo"), crc16(b"{foo") % SLOTS);
    }

    #[test]
    fn addresses_fall_into_host_and_port() {
        assert_eq!(host_and_port("127.0.0.1:11001"), ("127.0.0.1".into(), 11001));
        assert_eq!(host_and_port("[::1]:11001"), ("::1".into(), 11001));
        assert_eq!(host_and_port("host"), ("host".into(), 0));
    }
}
