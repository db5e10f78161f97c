//! `CLUSTER`: one shard of all slots, as cluster clients want to see it.
//!
//! The leader is the master and the others its replicas, so that a client knows whom to ask when the leader is gone.
//! While no leader is known the last one stands there and is said to have failed, as Redis has it: an error would leave
//! the client with no view at all.

use super::{Answer, Arg, Builtin, Call, FAST, PLAIN, Run, help, integer, lossy, verbatim};
use crate::dispatch::error::{err, not_an_integer};
use crate::dispatch::{Client, Dispatcher, host_and_port};
use crate::raft::{View, Visible};
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
        flags: FAST,
        group: "cluster",
        summary: "From here on reads may be answered by this node and be behind the leader, up to --max-staleness",
        arguments: &[],
        run: Run::Now(|call| Ok(read_here(call.client, true))),
    },
    Builtin {
        name: "READWRITE",
        arity: 1,
        flags: FAST,
        group: "cluster",
        summary: "From here on reads are linearizable, wherever they are sent",
        arguments: &[],
        run: Run::Now(|call| Ok(read_here(call.client, false))),
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
    member("REPLICAS", 3, "Returns the replicas of a node, a line for each", &[Arg::text("node-id")], replicas),
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

fn read_here(client: &mut Client, here: bool) -> Reply {
    client.read_here(here);
    Reply::OK
}

/// What clients are shown, the master first.
pub(super) struct Shard {
    pub(super) view: View,
}

impl Shard {
    pub(super) fn new(dispatcher: &Dispatcher) -> Shard {
        let mut view = dispatcher.backend.view();
        let leader = view.leader;
        view.members.sort_by_key(|visible| (visible.member.node_id != leader, visible.member.node_id));
        Shard { view }
    }

    pub(super) fn is_master(&self, node: &Visible) -> bool {
        node.member.node_id == self.view.leader
    }

    pub(super) fn is_myself(&self, node: &Visible) -> bool {
        node.member.node_id == self.view.node_id
    }

    /// A master that may not be followed is not one to be recommended, whether it answers or not.
    pub(super) fn is_online(&self, node: &Visible) -> bool {
        node.online && (self.view.settled || !self.is_master(node))
    }

    pub(super) fn master(&self) -> Option<&Visible> {
        self.view.members.first().filter(|node| self.is_master(node))
    }

    pub(super) fn replicas(&self) -> impl Iterator<Item = &Visible> {
        self.view.members.iter().filter(|node| !self.is_master(node))
    }
}

/// Forty hex digits, as clients expect of a node's id.
pub(super) fn hash(name: &str) -> String {
    Sha256::digest(name).iter().take(20).map(|byte| format!("{byte:02x}")).collect()
}

fn info(dispatcher: &Dispatcher) -> Reply {
    let Shard { view } = Shard::new(dispatcher);
    let (state, ok, fail) = if view.settled { ("ok", SLOTS, 0) } else { ("fail", 0, SLOTS) };
    verbatim(format!(
        "cluster_enabled:1\r\ncluster_state:{state}\r\ncluster_slots_assigned:{SLOTS}\r\ncluster_slots_ok:{ok}\r\n\
         cluster_slots_pfail:0\r\ncluster_slots_fail:{fail}\r\ncluster_known_nodes:{known}\r\ncluster_size:1\r\n\
         cluster_current_epoch:{term}\r\ncluster_my_epoch:{term}\r\ncluster_stats_messages_sent:0\r\n\
         cluster_stats_messages_received:0\r\n",
        known = view.members.len(),
        term = view.term
    ))
}

/// As Redis does, leaves out replicas that do not answer.
fn slots(dispatcher: &Dispatcher) -> Reply {
    let shard = Shard::new(dispatcher);
    let listed = shard.view.members.iter().filter(|node| shard.is_master(node) || shard.is_online(node));
    let mut range = vec![Reply::Integer(0), Reply::Integer(LAST_SLOT)];
    range.extend(listed.map(|node| {
        let (host, port) = host_and_port(&node.member.node.address);
        Reply::Array(vec![
            Reply::bulk(host),
            Reply::Integer(i64::from(port)),
            Reply::bulk(hash(&node.member.node.name)),
            Reply::Array(vec![]),
        ])
    }));
    Reply::Array(vec![Reply::Array(range)])
}

fn shards(dispatcher: &Dispatcher) -> Reply {
    let shard = Shard::new(dispatcher);
    let node = |node: &Visible| {
        let (host, port) = host_and_port(&node.member.node.address);
        Reply::fields([
            ("id", Reply::bulk(hash(&node.member.node.name))),
            ("port", Reply::Integer(i64::from(port))),
            ("ip", Reply::bulk(host.as_str())),
            ("endpoint", Reply::bulk(host)),
            ("role", Reply::bulk(if shard.is_master(node) { "master" } else { "replica" })),
            ("replication-offset", Reply::Integer(offset(node))),
            ("health", Reply::bulk(if shard.is_online(node) { "online" } else { "fail" })),
        ])
    };
    let nodes = shard.view.members.iter().map(node).collect();
    let slots = Reply::Array(vec![Reply::Integer(0), Reply::Integer(LAST_SLOT)]);
    Reply::Array(vec![Reply::fields([("slots", slots), ("nodes", Reply::Array(nodes))])])
}

/// The index up to which a node has applied the log stands for Redis' offset.
pub(super) fn offset(node: &Visible) -> i64 {
    node.applied.unwrap_or(0) as i64
}

fn nodes(dispatcher: &Dispatcher) -> Reply {
    let shard = Shard::new(dispatcher);
    verbatim(shard.view.members.iter().map(|node| shard.line(node)).collect())
}

/// The nodes that follow the named one.
fn replicas(call: Call<'_>) -> Answer {
    let shard = Shard::new(call.dispatcher);
    let named = |node: &&Visible| hash(&node.member.node.name).as_bytes() == &*call.args[0];
    match shard.view.members.iter().find(named) {
        None => Err(err(format!("Unknown node {}", lossy(&call.args[0])))),
        Some(node) if !shard.is_master(node) => Err(err("The specified node is not a master")),
        Some(_) => Ok(Reply::Array(shard.replicas().map(|node| Reply::bulk(shard.line(node).trim_end())).collect())),
    }
}

impl Shard {
    /// A line of `CLUSTER NODES`.
    fn line(&self, node: &Visible) -> String {
        let (host, port) = host_and_port(&node.member.node.address);
        let mut flags = Vec::new();
        if self.is_myself(node) {
            flags.push("myself");
        }
        flags.push(if self.is_master(node) { "master" } else { "slave" });
        if !self.is_online(node) {
            flags.push("fail");
        }
        let master = match self.is_master(node) {
            true => "-".to_owned(),
            false => self.master().map_or_else(|| "-".to_owned(), |master| hash(&master.member.node.name)),
        };
        let link = if node.online { "connected" } else { "disconnected" };
        let slots = if self.is_master(node) { format!(" 0-{LAST_SLOT}") } else { String::new() };
        // Peers use the port that clients use.
        format!(
            "{} {host}:{port}@{port} {} {master} 0 0 {} {link}{slots}\n",
            hash(&node.member.node.name),
            flags.join(","),
            self.view.term
        )
    }
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
