//! The bytes of `log.redb`: every table, key and row.
//!
//! Numbers are little endian. Table `log`: key u64, the index of the row's first record; a row holds what one
//! gathering appended, at most about 32 KiB unless a single record is larger:
//!
//! ```text
//! row:     u32 crc32c of the rest │ records
//! record:  u32 length of payload │ u64 index │ u64 term │ u8 kind │ payload
//! kind:    0 blank, no payload │ 1 normal, a `Proposal` │ 2 membership, postcard
//! ```
//!
//! Table `meta`: the key is the text `all`, and the only row holds a `Meta`:
//!
//! ```text
//! row:     u8 version (1) │ u32 crc32c of the rest │ postcard
//! ```
//!
//! Records follow each other without a hole, across rows too. Those at or below `Meta::purged` are no part of the log, but
//! may still be there: rows are removed in steps, and never the one that also holds the first record kept.

use crate::proposal::Proposal;
use crate::type_config::{Entry, LogId, NodeId, TypeConfig, Vote};
use bytes::{Buf, BufMut, Bytes};
use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use openraft::vote::RaftLeaderId;
use redb::TableDefinition;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;

pub(super) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// The key of the only row of `META`.
pub(super) const ALL: &str = "all";

const META_VERSION: u8 = 1;
const CRC_BYTES: usize = size_of::<u32>();
const RECORD_HEADER_BYTES: usize = 4 + 8 + 8 + 1;

/// Who this data directory belongs to. Written before the first entry, and once more when a node has joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub cluster_id: ClusterId,
    pub node_id: NodeId,
    pub node_name: String,
    /// The name that the guest gives itself: another guest's log is not replayed.
    pub module: String,
    pub standing: Standing,
    /// Whether `--force-new-cluster` was obeyed, and every start since had it too: it counts once.
    pub forced: bool,
}

/// All that is kept beside the entries. It is one row, so that no part of it can be lost without the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    /// How often this row was written: every transaction writes it that does more than append.
    pub(super) revision: u64,
    /// The end of the log when it was written.
    pub(super) last: Option<LogId>,
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
    pub(super) identity: Option<Identity>,
}

/// How far a node is in the cluster that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It gathers the nodes that the cluster begins with.
    Founding,
    /// It goes on asking until the cluster has taken it in.
    Joining,
    Member,
}

/// 128 random bits, made when a cluster is.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterId(pub [u8; 16]);

impl ClusterId {
    pub fn random() -> Result<ClusterId, getrandom::Error> {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits)?;
        Ok(ClusterId(bits))
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a row is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("checksum does not match")]
    Checksum,
    #[error("cut short")]
    CutShort,
    #[error("unknown version {0}")]
    UnknownVersion(u8),
    #[error("unknown kind {0} of record")]
    UnknownKind(u8),
    #[error("cannot decode")]
    Undecodable(#[from] postcard::Error),
    #[error("row begins with record {0}")]
    WrongKey(u64),
}

/// A row of the table `log` while it is filled.
pub(super) struct Row {
    first: Option<u64>,
    bytes: Vec<u8>,
}

impl Row {
    /// What a row grows to: redb stores it in a handful of its pages, and a change rewrites no more than this.
    pub(super) const BYTES_AIM: usize = 32 << 10;

    pub(super) fn new() -> Row {
        Row { first: None, bytes: Vec::with_capacity(Row::BYTES_AIM) }
    }

    pub(super) fn push(&mut self, entry: &Entry) -> Result<(), postcard::Error> {
        if self.first.is_none() {
            self.first = Some(entry.index());
            self.bytes.put_u32_le(0);
        }
        put_record(&mut self.bytes, entry)
    }

    /// True if a record of `bytes` should begin the next row.
    pub(super) fn is_full(&self, bytes: usize) -> bool {
        self.first.is_some() && self.bytes.len() + bytes > Row::BYTES_AIM
    }

    /// The key and the row, if there is anything in it; it is empty after `clear`.
    pub(super) fn seal(&mut self) -> Option<(u64, &[u8])> {
        let first = self.first?;
        let crc = crc32c::crc32c(&self.bytes[CRC_BYTES..]);
        self.bytes[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
        Some((first, &self.bytes))
    }

    pub(super) fn clear(&mut self) {
        self.first = None;
        self.bytes.clear();
    }
}

/// What an entry takes in the log.
pub fn record_bytes(entry: &Entry) -> usize {
    RECORD_HEADER_BYTES
        + match &entry.payload {
            EntryPayload::Blank => 0,
            EntryPayload::Normal(proposal) => proposal.as_bytes().len(),
            // An estimate: it is only used to bound memory and rows.
            EntryPayload::Membership(membership) => 64 * (1 + membership.nodes().count()),
        }
}

/// Appends a record. Nodes send each other entries in this form too.
pub fn put_record(out: &mut Vec<u8>, entry: &Entry) -> Result<(), postcard::Error> {
    let membership;
    let (kind, payload) = match &entry.payload {
        EntryPayload::Blank => (0, &[][..]),
        EntryPayload::Normal(proposal) => (1, &proposal.as_bytes()[..]),
        EntryPayload::Membership(value) => {
            membership = postcard::to_stdvec(value)?;
            (2, &membership[..])
        }
    };
    // A longer payload could not be read back; the limits on requests are far below.
    let length = u32::try_from(payload.len()).map_err(|_| postcard::Error::SerializeBufferFull)?;
    out.put_u32_le(length);
    out.put_u64_le(entry.index());
    out.put_u64_le(entry.log_id.committed_leader_id().term);
    out.put_u8(kind);
    out.put_slice(payload);
    Ok(())
}

/// The entries of the row `key`. Proposals are slices of `row`.
pub(super) fn read_row(key: u64, mut row: Bytes) -> Result<Vec<Entry>, Damage> {
    let crc = row.try_get_u32_le().map_err(|_| Damage::CutShort)?;
    if crc32c::crc32c(&row) != crc {
        return Err(Damage::Checksum);
    }
    let mut entries = Vec::new();
    while !row.is_empty() {
        entries.push(read_record(&mut row)?);
    }
    match entries.first() {
        None => Err(Damage::CutShort),
        Some(first) if first.index() != key => Err(Damage::WrongKey(first.index())),
        Some(_) => Ok(entries),
    }
}

/// Takes the first record off `row`, whose proposal is a slice of it.
pub fn read_record(row: &mut Bytes) -> Result<Entry, Damage> {
    if row.len() < RECORD_HEADER_BYTES {
        return Err(Damage::CutShort);
    }
    let length = row.get_u32_le() as usize;
    let index = row.get_u64_le();
    let term = row.get_u64_le();
    let kind = row.get_u8();
    if row.len() < length {
        return Err(Damage::CutShort);
    }
    let payload = row.split_to(length);
    let payload = match kind {
        0 => EntryPayload::Blank,
        1 => EntryPayload::Normal(Proposal::from_bytes(payload)),
        2 => EntryPayload::Membership(postcard::from_bytes(&payload)?),
        other => return Err(Damage::UnknownKind(other)),
    };
    Ok(Entry { log_id: log_id(term, index), payload })
}

/// A log id of a term, which has one leader at most.
pub fn log_id(term: u64, index: u64) -> LogId {
    let leader = <TypeConfig as openraft::RaftTypeConfig>::LeaderId::new(term, 0);
    LogId::new(leader.to_committed(), index)
}

pub(super) fn meta_row(value: &impl Serialize) -> Result<Vec<u8>, postcard::Error> {
    let row = postcard::to_extend(value, vec![META_VERSION, 0, 0, 0, 0])?;
    let crc = crc32c::crc32c(&row[1 + CRC_BYTES..]);
    let mut row = row;
    row[1..1 + CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
    Ok(row)
}

pub(super) fn read_meta_row<T: DeserializeOwned>(mut row: &[u8]) -> Result<T, Damage> {
    let version = row.try_get_u8().map_err(|_| Damage::CutShort)?;
    if version != META_VERSION {
        return Err(Damage::UnknownVersion(version));
    }
    let crc = row.try_get_u32_le().map_err(|_| Damage::CutShort)?;
    if crc32c::crc32c(row) != crc {
        return Err(Damage::Checksum);
    }
    Ok(postcard::from_bytes(row)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::entry::RaftEntry;

    fn entries() -> Vec<Entry> {
        let membership = openraft::Membership::new(
            vec![[1].into()],
            std::collections::BTreeMap::from([(1, crate::type_config::Node::default())]),
        );
        vec![
            Entry::new_blank(log_id(1, 7)),
            Entry { log_id: log_id(2, 8), payload: EntryPayload::Normal(Proposal::from_bytes("abc".into())) },
            Entry { log_id: log_id(2, 9), payload: EntryPayload::Membership(membership.unwrap()) },
        ]
    }

    #[test]
    fn roundtrip_row() {
        let mut row = Row::new();
        assert!(row.seal().is_none());
        for entry in entries() {
            row.push(&entry).unwrap();
        }
        let (key, bytes) = row.seal().unwrap();
        assert_eq!(key, 7);
        assert_eq!(read_row(key, Bytes::copy_from_slice(bytes)).unwrap(), entries());
        assert_eq!(read_row(8, Bytes::copy_from_slice(bytes)), Err(Damage::WrongKey(7)));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_row_is_found() {
        let mut row = Row::new();
        for entry in entries() {
            row.push(&entry).unwrap();
        }
        let (key, bytes) = row.seal().unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read_row(key, bad.into()), Err(Damage::Checksum));
        }
        for end in 0..bytes.len() {
            assert!(read_row(key, Bytes::copy_from_slice(&bytes[..end])).is_err());
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_meta_row_is_found() {
        let row = meta_row(&log_id(3, 4)).unwrap();
        assert_eq!(read_meta_row::<LogId>(&row).unwrap(), log_id(3, 4));
        for bit in 0..row.len() * 8 {
            let mut bad = row.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read_meta_row::<LogId>(&bad).is_err());
        }
        for end in 0..row.len() {
            assert!(read_meta_row::<LogId>(&row[..end]).is_err());
        }
    }
}
