//! `Commit`: changes of the log that are made together or not at all, and their bytes in the WAL.
//!
//! ```text
//! commit:  changes, one after the other, to the end of the bytes
//! change:  u8 kind │ content
//! kind:    1 append: u32 count │ count × record, as in the table `log`
//!          2 truncate: what is after this log id, or all if there is none: u8 0, or 1 and log id
//!          3 purge: log id │ 4 vote: u32 length │ postcard │ 5 identity: u32 length │ postcard
//!          6 committed: log id
//! log id:  u64 term │ u64 index
//! ```

use super::disk::Loaded;
use crate::storage::schema::{Damage, Identity, Meta, log_id, put_record, read_record};
use crate::type_config::{Entry, LogId, Vote};
use bytes::{Buf, BufMut, Bytes};
use openraft::entry::RaftEntry;
use serde::Serialize;

/// One change of the log, as it is queued.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    Append(Vec<Entry>),
    /// Entries after this one are gone, or all.
    Truncate {
        after: Option<LogId>,
    },
    Purge(LogId),
    Vote(Vote),
    Identity(Identity),
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Commit {
    pub(super) changes: Vec<Change>,
    /// The last entry known to be committed, if that is to be kept.
    pub(super) committed: Option<LogId>,
}

const APPEND: u8 = 1;
const TRUNCATE: u8 = 2;
const PURGE: u8 = 3;
const VOTE: u8 = 4;
const IDENTITY: u8 = 5;
const COMMITTED: u8 = 6;

impl Commit {
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.committed.is_none()
    }

    /// What it makes of what is kept beside the entries.
    pub(super) fn advance(&self, meta: &mut Meta) {
        let mut appends_only = self.committed.is_none();
        for change in &self.changes {
            appends_only &= matches!(change, Change::Append(_));
            match change {
                Change::Append(entries) => meta.last = entries.last().map(|entry| entry.log_id).or(meta.last),
                // What is left of a row that is partly purged is not the end of the log.
                Change::Truncate { after } => meta.last = (*after).max(meta.purged),
                Change::Purge(upto) => {
                    meta.purged = Some(*upto);
                    meta.last = meta.last.filter(|last| last.index > upto.index).or(Some(*upto));
                }
                Change::Vote(vote) => meta.vote = Some(*vote),
                Change::Identity(identity) => meta.identity = Some(identity.clone()),
            }
        }
        meta.committed = self.committed.or(meta.committed);
        // Most commits only append, and the log has then grown and nothing else.
        meta.revision += u64::from(!appends_only && !self.is_empty());
    }

    /// Makes it in memory too.
    pub(super) fn redo(&self, log: &mut Loaded) {
        for change in &self.changes {
            match change {
                Change::Append(entries) => log.entries.extend(entries.iter().cloned()),
                Change::Truncate { after } => {
                    let from = first_after(*after);
                    let left = log.entries.partition_point(|entry| entry.index() < from);
                    log.entries.truncate(left);
                }
                Change::Purge(upto) => {
                    let gone = log.entries.partition_point(|entry| entry.index() <= upto.index);
                    log.entries.drain(..gone);
                    log.purged = Some(*upto);
                }
                Change::Vote(vote) => log.vote = Some(*vote),
                Change::Identity(identity) => log.identity = Some(identity.clone()),
            }
        }
        log.committed = self.committed.or(log.committed);
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) -> Result<(), postcard::Error> {
        for change in &self.changes {
            match change {
                Change::Append(entries) => {
                    out.put_u8(APPEND);
                    out.put_u32_le(entries.len() as u32);
                    entries.iter().try_for_each(|entry| put_record(out, entry))?;
                }
                Change::Truncate { after } => {
                    out.put_u8(TRUNCATE);
                    out.put_u8(u8::from(after.is_some()));
                    after.iter().for_each(|after| put_log_id(out, after));
                }
                Change::Purge(upto) => {
                    out.put_u8(PURGE);
                    put_log_id(out, upto);
                }
                Change::Vote(vote) => put_postcard(out, VOTE, vote)?,
                Change::Identity(identity) => put_postcard(out, IDENTITY, identity)?,
            }
        }
        if let Some(committed) = &self.committed {
            out.put_u8(COMMITTED);
            put_log_id(out, committed);
        }
        Ok(())
    }

    /// Proposals are slices of `bytes`.
    pub(super) fn read(mut bytes: Bytes) -> Result<Commit, Damage> {
        let mut commit = Commit::default();
        while let Ok(kind) = bytes.try_get_u8() {
            let change = match kind {
                APPEND => {
                    let count = bytes.try_get_u32_le().map_err(|_| Damage::CutShort)?;
                    let entries: Result<_, _> = (0..count).map(|_| read_record(&mut bytes)).collect();
                    Change::Append(entries?)
                }
                TRUNCATE => match bytes.try_get_u8().map_err(|_| Damage::CutShort)? {
                    0 => Change::Truncate { after: None },
                    _ => Change::Truncate { after: Some(get_log_id(&mut bytes)?) },
                },
                PURGE => Change::Purge(get_log_id(&mut bytes)?),
                VOTE => Change::Vote(postcard::from_bytes(&get_slice(&mut bytes)?)?),
                IDENTITY => Change::Identity(postcard::from_bytes(&get_slice(&mut bytes)?)?),
                COMMITTED => {
                    commit.committed = Some(get_log_id(&mut bytes)?);
                    continue;
                }
                other => return Err(Damage::UnknownKind(other)),
            };
            commit.changes.push(change);
        }
        Ok(commit)
    }
}

/// The first index that is after this one.
pub(super) fn first_after(id: Option<LogId>) -> u64 {
    id.map_or(0, |id| id.index + 1)
}

fn put_log_id(out: &mut Vec<u8>, id: &LogId) {
    out.put_u64_le(**id.committed_leader_id());
    out.put_u64_le(id.index);
}

fn get_log_id(bytes: &mut Bytes) -> Result<LogId, Damage> {
    let term = bytes.try_get_u64_le().map_err(|_| Damage::CutShort)?;
    let index = bytes.try_get_u64_le().map_err(|_| Damage::CutShort)?;
    Ok(log_id(term, index))
}

fn put_postcard(out: &mut Vec<u8>, kind: u8, value: &impl Serialize) -> Result<(), postcard::Error> {
    let value = postcard::to_stdvec(value)?;
    out.put_u8(kind);
    out.put_u32_le(value.len() as u32);
    out.put_slice(&value);
    Ok(())
}

fn get_slice(bytes: &mut Bytes) -> Result<Bytes, Damage> {
    let length = bytes.try_get_u32_le().map_err(|_| Damage::CutShort)? as usize;
    if length > bytes.len() {
        return Err(Damage::CutShort);
    }
    Ok(bytes.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::schema::{ClusterId, Standing};

    #[test]
    fn bytes_are_the_commit_again_and_no_part_of_them_is() {
        let identity = Identity {
            cluster_id: ClusterId([7; 16]),
            node_id: 3,
            node_name: "c".into(),
            module: "m".into(),
            standing: Standing::Joining,
            forced: true,
        };
        let commit = Commit {
            changes: vec![
                Change::Append(vec![Entry::new_blank(log_id(1, 7)), Entry::new_blank(log_id(2, 8))]),
                Change::Truncate { after: Some(log_id(1, 7)) },
                Change::Truncate { after: None },
                Change::Purge(log_id(3, 9)),
                Change::Vote(Vote::new(4, 1)),
                Change::Identity(identity),
            ],
            committed: Some(log_id(2, 6)),
        };
        let mut bytes = Vec::new();
        commit.put(&mut bytes).unwrap();
        assert_eq!(Commit::read(bytes.clone().into()).unwrap(), commit);
        for end in 0..bytes.len() {
            assert!(Commit::read(Bytes::copy_from_slice(&bytes[..end])).ok().as_ref() != Some(&commit));
        }
        assert_eq!(Commit::read(Bytes::from_static(&[9])), Err(Damage::UnknownKind(9)));
        assert_eq!(Commit::read(Bytes::new()), Ok(Commit::default()));
    }
}
