//! `Offline`: the machine without a node. Entries are applied here and now, on the caller's thread, whose stack must be
//! large enough for a guest, and nothing is kept.

use super::replica::Replica;
use super::snapshot;
use crate::command::Command;
use crate::digest::Digest;
use crate::fault::Fault;
use crate::guest::{Guest, PortableError};
use crate::replies::Replies;
use crate::storage::snapshots::Snapshots;
use crate::type_config::{Entry, Node, NodeId};
use openraft::EntryPayload;
use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

pub struct Offline {
    replica: Replica,
    applied: Option<u64>,
}

/// Why a snapshot gives no state.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// It is whole, and this host cannot take it.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// What one entry did.
#[derive(Debug)]
pub struct Applied {
    pub index: u64,
    pub content: Content,
    /// One for each command.
    pub replies: Replies,
}

/// What an entry holds.
#[derive(Debug)]
pub enum Content {
    /// What a leader begins its term with.
    Blank,
    /// The members as `name@address`; learners are in parentheses.
    Membership(Vec<String>),
    Commands {
        /// Whether a tick comes before them.
        tick: bool,
        commands: Vec<Command>,
    },
}

impl Offline {
    /// The state before the first entry.
    pub fn new(guest: Arc<Guest>) -> Result<Offline, Fault> {
        let mut replica = Replica::new(guest)?;
        replica.set_silent(true);
        Ok(Offline { replica, applied: None })
    }

    /// The same for a guest that is to apply another module's log.
    pub fn stand_in(guest: Arc<Guest>) -> Result<Offline, Fault> {
        let mut offline = Offline::new(guest)?;
        offline.replica.set_stand_in();
        Ok(offline)
    }

    /// The state of a snapshot, which must be of this guest's module.
    pub fn of_snapshot(guest: Arc<Guest>, snapshots: &Snapshots, id: &str) -> Result<Offline, RestoreError> {
        let (meta, checkpoint) = snapshot::read(snapshots, &guest, id)?;
        let mut replica = Replica::restore(guest, checkpoint)?;
        replica.set_silent(true);
        Ok(Offline { replica, applied: meta.last_log_id.map(|id| id.index) })
    }

    /// Applies the entry that follows the last one.
    pub fn apply(&mut self, entry: &Entry) -> Result<Applied, Fault> {
        let index = entry.log_id.index;
        let (content, replies) = match &entry.payload {
            EntryPayload::Blank => (Content::Blank, Replies::default()),
            EntryPayload::Membership(membership) => (Content::Membership(members(membership)), Replies::default()),
            EntryPayload::Normal(proposal) => {
                let replies = self.replica.apply(index, proposal, true)?;
                let undecodable =
                    |error| Fault::because(format!("the entry at index {index} cannot be decoded"), error);
                let (header, commands) = proposal.decode().map_err(undecodable)?;
                (Content::Commands { tick: header.seed.is_some(), commands }, replies.at(index))
            }
        };
        self.applied = Some(index);
        Ok(Applied { index, content, replies })
    }

    /// Has the guest write the state in a form of its own, from a copy, so that the state stays as it is.
    pub fn save<W: Write + Send + 'static>(&mut self, output: W) -> Result<W, PortableError> {
        self.replica.copy()?.save(output)
    }

    /// The last entry applied.
    pub fn applied(&self) -> Option<u64> {
        self.applied
    }

    /// Machine time in nanoseconds since the Unix epoch; 0 before the first entry.
    pub fn now(&self) -> u64 {
        self.replica.now()
    }

    /// Commands and ticks that failed and left no trace.
    pub fn traps(&self) -> u64 {
        self.replica.traps()
    }

    /// Of all proposals and their replies.
    pub fn running_digest(&self) -> Digest {
        self.replica.digests().running
    }

    /// Of the state as it stands.
    pub fn state_digest(&mut self) -> Result<Digest, Fault> {
        let index = self.replica.digests().index;
        self.replica.checkpoint()?.digest(index)
    }
}

fn members(membership: &openraft::Membership<NodeId, Node>) -> Vec<String> {
    let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
    let shown = |(id, node): (&NodeId, &Node)| match voters.contains(id) {
        true => node.to_string(),
        false => format!("({node})"),
    };
    membership.nodes().map(shown).collect()
}
