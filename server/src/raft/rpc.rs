//! What nodes ask each other, as bytes.
//!
//! Entries travel as the records of the log (`storage::schema`), so that a proposal is copied as it is and decoded
//! once; everything else is small and rare, and is postcard.

use crate::command::Command;
use crate::proposal::Proposal;
use crate::replies::Replies;
use crate::storage::schema::{Damage, put_record, read_record, record_bytes};
use crate::type_config::{LogId, Node, NodeId, TypeConfig, Vote};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use openraft::raft::AppendEntriesRequest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The kind of a request between nodes; its number is on the wire and never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// `AppendEntries` (Raft paper, section 5.3): see `encode_append`.
    Append = 1,
    /// `RequestVote` (section 5.2).
    Vote = 2,
    /// A vote that changes nothing yet (dissertation, section 9.6).
    PreVote = 3,
    /// The leader asks this node to lead (dissertation, section 3.10).
    Transfer = 4,
    /// A piece of a snapshot: `Chunk`, answered with how many bytes of it are there.
    SnapshotChunk = 5,
    /// All pieces are there: `SnapshotEnd`, answered with the vote.
    SnapshotEnd = 6,
    /// A node wants to belong to the cluster: `Join`, answered with `Joined`.
    Join = 7,
    /// Commands to be proposed, answered as `encode_answer` says.
    Propose = 8,
    /// Commands to be read.
    Read = 9,
    /// A change that an operator asked for: `Change`.
    Change = 10,
    /// Whether the node is there, and how far: answered with `Pong`.
    Ping = 11,
    /// Nodes without a cluster make one together: `Muster`, answered with `Mustered`.
    Muster = 12,
    /// What the node has after an entry: `Digests` of the one that asks, answered with an optional `Digests`.
    Digests = 13,
    /// A snapshot for a node whose state is known to be wrong: `Heal`, answered with `Offer`.
    Heal = 14,
    /// A piece of that snapshot: `Piece`, answered with bytes.
    Piece = 15,
}

impl Kind {
    pub(super) fn of(number: u8) -> Option<Kind> {
        use Kind::{Append, Change, Join, Muster, Ping, PreVote, Propose, Read, Transfer, Vote};
        use Kind::{Digests, Heal, Piece, SnapshotChunk, SnapshotEnd};
        let raft = [Append, Vote, PreVote, Transfer, SnapshotChunk, SnapshotEnd];
        let others = [Join, Propose, Read, Change, Ping, Muster, Digests, Heal, Piece];
        raft.into_iter().chain(others).find(|kind| *kind as u8 == number)
    }
}

/// Why bytes from another node cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("a message between nodes cannot be decoded")]
    Postcard(#[from] postcard::Error),
    #[error("an entry from another node cannot be decoded")]
    Entry(#[from] Damage),
    #[error("a message between nodes is cut short")]
    CutShort,
    #[error("commands from another node cannot be decoded")]
    Commands(#[from] crate::proposal::Error),
}

#[derive(Serialize, Deserialize)]
struct AppendHeader {
    vote: Vote,
    prev_log_id: Option<LogId>,
    leader_commit: Option<LogId>,
}

/// A postcard header, then records to the end.
pub(super) fn encode_append(request: &AppendEntriesRequest<TypeConfig>) -> Result<Bytes, Error> {
    let header =
        AppendHeader { vote: request.vote, prev_log_id: request.prev_log_id, leader_commit: request.leader_commit };
    let records: usize = request.entries.iter().map(record_bytes).sum();
    let mut out = postcard::to_extend(&header, Vec::with_capacity(64 + records))?;
    for entry in &request.entries {
        put_record(&mut out, entry)?;
    }
    Ok(out.into())
}

pub(super) fn decode_append(bytes: &Bytes) -> Result<AppendEntriesRequest<TypeConfig>, Error> {
    let (header, rest) = postcard::take_from_bytes::<AppendHeader>(bytes)?;
    let mut records = bytes.slice(bytes.len() - rest.len()..);
    let mut entries = Vec::new();
    while !records.is_empty() {
        entries.push(read_record(&mut records)?);
    }
    let AppendHeader { vote, prev_log_id, leader_commit } = header;
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
}

pub(super) fn encode(message: &impl Serialize) -> Result<Bytes, Error> {
    Ok(postcard::to_stdvec(message)?.into())
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    Ok(postcard::from_bytes(bytes)?)
}

/// What stands before the bytes of a piece of a snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Chunk {
    pub(super) id: String,
    /// The size of the whole file.
    pub(super) total: u64,
    /// Where in the file the bytes belong. An empty piece only asks how many are there.
    pub(super) offset: u64,
}

pub(super) fn encode_chunk(chunk: &Chunk, bytes: &[u8]) -> Result<Bytes, Error> {
    let mut out = postcard::to_extend(chunk, Vec::with_capacity(128 + bytes.len()))?;
    out.extend_from_slice(bytes);
    Ok(out.into())
}

pub(super) fn decode_chunk(bytes: &Bytes) -> Result<(Chunk, Bytes), Error> {
    let (chunk, rest) = postcard::take_from_bytes::<Chunk>(bytes)?;
    let rest = bytes.slice(bytes.len() - rest.len()..);
    Ok((chunk, rest))
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SnapshotEnd {
    pub(super) vote: Vote,
    pub(super) id: String,
}

/// A node wants the state that includes everything up to `index`, or more.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Heal {
    pub(super) index: u64,
}

/// The snapshot that it may fetch.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) id: String,
    /// Of the last entry in it.
    pub(super) index: u64,
    /// The size of the whole file.
    pub(super) total: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) id: String,
    pub(super) offset: u64,
}

/// A node that wants to belong to the cluster. Asked again and again, each question moves it one step on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Join {
    pub(super) node_id: NodeId,
    pub(super) node: Node,
    /// SHA-256 of its module.
    pub(super) module: String,
    /// The fingerprint of its engine.
    pub(super) engine: String,
    pub(super) voter: bool,
    pub(super) stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// It belongs to no cluster and asks whether this one would have it. Nothing is changed yet.
    Asks,
    /// It has written down that it belongs to this cluster.
    Joins,
    /// It has been a member, and tells where it is now.
    Returns,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Joined {
    /// Nothing was done; ask there.
    Ask(Node),
    /// Nothing was done, for a reason that may pass. Ask again.
    Later(String),
    /// It would become a member.
    Welcome,
    /// It is a learner, and gets entries until it is close enough to the leader to vote.
    CatchingUp { entries_left: u64 },
    /// It is what it asked to be.
    Member,
    /// It cannot be, and asking again does not help.
    Refused(String),
}

/// A node without a cluster asks another about one that they begin together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Muster {
    pub(super) recruit: Recruit,
    /// The cluster that it founds, and that the other is to belong to; without one it only looks who is there.
    pub(super) cluster: Option<[u8; 16]>,
}

/// A node that may become one of the first of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Recruit {
    pub(super) node_id: NodeId,
    pub(super) node: Node,
    /// SHA-256 of its module.
    pub(super) module: String,
    /// The fingerprint of its engine.
    pub(super) engine: String,
    /// How many nodes it begins a cluster with.
    pub(super) expect: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Mustered {
    /// It belongs to no cluster and waits too.
    Waits(Recruit),
    /// It has written down that it belongs to this cluster, which may not have begun.
    Belongs { node_id: NodeId, node: Node, cluster: [u8; 16] },
    /// It is a node of a cluster that has begun.
    Member,
    /// Nothing was done, for a reason that the operator should know.
    No(String),
}

/// What an operator may change. Nodes are named as operators name them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A node that is a member already gets another address, or a vote, or none.
    Set {
        name: String,
        address: String,
        voter: bool,
    },
    Remove {
        name: String,
    },
    Promote {
        name: String,
    },
    Demote {
        name: String,
    },
    /// To this node, or to the one that is best prepared.
    Transfer {
        name: Option<String>,
    },
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pong {
    pub(super) applied: u64,
    /// Of a leader alone.
    pub(super) lead: Option<Lead>,
    /// Whether it elects no other leader while the lease of one may last.
    pub(super) keeps_leases: bool,
    /// Whether its state is not known to be wrong.
    pub(super) sound: bool,
    /// Those that it was started with, as `Settings` encodes them.
    pub(super) settings: Vec<u8>,
    /// What its clock shows, in nanoseconds since the Unix epoch.
    pub(super) clock: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lead {
    pub(super) committed: u64,
    /// How long ago a quorum confirmed it.
    pub(super) confirmed_ms: u64,
}

/// Why a request that was forwarded was not answered as it should be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Failure {
    /// Nothing was done.
    NotLeader,
    /// It may have been done, or may still be.
    Unknown,
    /// Nothing was done.
    Busy,
    /// Nothing was done.
    Refused(String),
}

/// `u64 request │ u64 term │ commands`, little endian; the commands as the log has them, and their stamp means nothing.
pub(super) fn encode_forwarded(request: u64, term: u64, commands: &[Command]) -> Bytes {
    let commands = Proposal::encode(0, None, &[], commands.iter());
    let mut out = BytesMut::with_capacity(8 + 8 + commands.as_bytes().len());
    out.put_u64_le(request);
    out.put_u64_le(term);
    out.put_slice(commands.as_bytes());
    out.freeze()
}

pub(super) fn decode_forwarded(mut bytes: Bytes) -> Result<(u64, u64, Vec<Command>), Error> {
    let request = bytes.try_get_u64_le().map_err(|_| Error::CutShort)?;
    let term = bytes.try_get_u64_le().map_err(|_| Error::CutShort)?;
    Ok((request, term, Proposal::from_bytes(bytes).decode()?.1))
}

/// `0 │ replies`, or `1 │ postcard of Failure`.
pub(super) fn encode_answer(outcome: Result<Replies, Failure>) -> Result<Bytes, Error> {
    match outcome {
        Ok(replies) => {
            let mut out = BytesMut::with_capacity(13 + 4 * replies.len() + replies.bytes());
            out.put_u8(0);
            replies.put(&mut out);
            Ok(out.freeze())
        }
        Err(failure) => Ok(postcard::to_extend(&failure, vec![1])?.into()),
    }
}

pub(super) fn decode_answer(mut bytes: Bytes) -> Result<Result<Replies, Failure>, Error> {
    match bytes.try_get_u8() {
        Ok(0) => Ok(Ok(Replies::take(bytes).ok_or(Error::CutShort)?)),
        Ok(_) => Ok(Err(decode(&bytes)?)),
        Err(_) => Err(Error::CutShort),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::schema::log_id;
    use crate::type_config::Entry;
    use openraft::EntryPayload;

    #[test]
    fn append_entries_roundtrip_and_cuts_are_errors() {
        let entry = |index, payload| Entry { log_id: log_id(3, index), payload };
        let membership =
            openraft::Membership::new(vec![[1].into()], std::collections::BTreeMap::from([(1, Node::default())]));
        let request = AppendEntriesRequest {
            vote: Vote::new_committed(3, 7),
            prev_log_id: Some(log_id(2, 8)),
            entries: vec![
                entry(9, EntryPayload::Blank),
                entry(10, EntryPayload::Normal(Proposal::encode(5, Some(6), &[], [].iter()))),
                entry(11, EntryPayload::Membership(membership.unwrap())),
            ],
            leader_commit: Some(log_id(3, 9)),
        };
        let bytes = encode_append(&request).unwrap();
        let decoded = decode_append(&bytes).unwrap();
        assert_eq!(format!("{decoded:?}"), format!("{request:?}"));
        assert_eq!(decoded.entries, request.entries);
        assert!(decode_append(&bytes.slice(..bytes.len() - 1)).is_err());
        assert!(decode_append(&bytes.slice(..2)).is_err());
    }

    #[test]
    fn answers_roundtrip_and_lies_are_errors() {
        let replies = Replies::new(Bytes::from_static(b":1\r\n:22\r\n"), vec![4, 9]);
        let bytes = encode_answer(Ok(replies.clone())).unwrap();
        assert_eq!(decode_answer(bytes.clone()).unwrap().unwrap(), replies);
        for end in 0..bytes.len() {
            assert!(decode_answer(bytes.slice(..end)).is_err(), "cut at {end}");
        }
        let failure = encode_answer(Err(Failure::Busy)).unwrap();
        assert!(matches!(decode_answer(failure).unwrap(), Err(Failure::Busy)));
    }

    #[test]
    fn a_kind_is_known_by_its_number() {
        assert_eq!((1..=15).filter_map(Kind::of).count(), 15);
        assert_eq!(Kind::of(Kind::Change as u8), Some(Kind::Change));
        assert_eq!(Kind::of(0), None);
        assert_eq!(Kind::of(16), None);
    }
}
