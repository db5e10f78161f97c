//! `Status` and `Member`: what an operator asks about a node and its cluster.

use crate::machine;
use crate::storage::log;
use crate::type_config::{LogId, Node, NodeId, TypeConfig};
use openraft::{Instant, RaftMetrics, ServerState};
use std::fmt;
use std::time::Duration;

/// What this node knows, at one moment.
#[derive(Clone, Debug)]
pub struct Status {
    pub node_id: NodeId,
    pub node: Node,
    pub role: Role,
    pub voter: bool,
    pub leader: Option<NodeId>,
    pub term: u64,
    /// The first entry still in the log.
    pub first_log_index: Option<u64>,
    pub last_log: Option<LogId>,
    /// What the log takes, in memory and, roughly, on disk.
    pub log_bytes: u64,
    /// As far as this node knows.
    pub committed: Option<LogId>,
    pub applied: Option<LogId>,
    /// Committed but not applied.
    pub apply_pending: u64,
    /// The machine's time, in nanoseconds since the Unix epoch.
    pub now: u64,
    pub snapshot: Option<LogId>,
    pub purged: Option<LogId>,
    /// The entry that holds the membership in force.
    pub membership: Option<LogId>,
    pub members: Vec<Member>,
    /// How long ago a quorum last confirmed this leader.
    pub last_quorum_contact: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Leader,
    Candidate,
    Follower,
    Learner,
    Stopped,
}

/// One node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub node_id: NodeId,
    pub node: Node,
    pub leader: bool,
    pub voter: bool,
}

/// The cluster as clients should see it, at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// This node.
    pub node_id: NodeId,
    pub term: u64,
    /// Who leads, or else was the last to lead, or else this node: clients want one to begin with.
    pub leader: NodeId,
    /// Whether that one leads and answers.
    pub settled: bool,
    pub members: Vec<Visible>,
}

/// A member as this node sees it.
#[derive(Clone, Debug)]
pub struct Visible {
    pub member: Member,
    /// Whether it answers, and its state is not known to be wrong.
    pub online: bool,
    /// Up to which index it has applied the log, as far as this node knows.
    pub applied: Option<u64>,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.node, if self.voter { "voter" } else { "nonvoter" })
    }
}

impl Status {
    pub(super) fn new(
        node: &Node,
        metrics: &RaftMetrics<TypeConfig>,
        log: log::Status,
        machine: &machine::Status,
    ) -> Status {
        let members = members(metrics);
        let this = members.iter().find(|member| member.node_id == metrics.id);
        let applied = machine.applied.max(metrics.last_applied);
        // openraft publishes its metrics a little after the machine has applied.
        let committed = metrics.local_committed.max(applied);
        let count = |log_id: Option<LogId>| log_id.map_or(0, |log_id| log_id.index + 1);
        Status {
            node_id: metrics.id,
            node: node.clone(),
            role: Role::of(metrics.state),
            voter: this.is_some_and(|member| member.voter),
            leader: metrics.current_leader,
            term: metrics.current_term,
            first_log_index: log.first,
            last_log: log.last,
            log_bytes: log.bytes,
            committed,
            applied,
            apply_pending: count(committed).saturating_sub(count(applied)),
            now: machine.now,
            snapshot: metrics.snapshot,
            purged: log.purged,
            membership: *metrics.membership_config.log_id(),
            last_quorum_contact: metrics.last_quorum_acked.map(|at| at.elapsed()),
            members,
        }
    }
}

/// Log positions as operators read them: 0 for none.
impl Status {
    pub fn last_log_index(&self) -> u64 {
        index(self.last_log)
    }

    pub fn last_log_term(&self) -> u64 {
        term(self.last_log)
    }

    pub fn commit_index(&self) -> u64 {
        index(self.committed)
    }

    pub fn applied_index(&self) -> u64 {
        index(self.applied)
    }

    pub fn snapshot_index(&self) -> u64 {
        index(self.snapshot)
    }

    pub fn snapshot_term(&self) -> u64 {
        term(self.snapshot)
    }

    pub fn purged_index(&self) -> u64 {
        index(self.purged)
    }
}

fn index(log_id: Option<LogId>) -> u64 {
    log_id.map_or(0, |log_id| log_id.index)
}

fn term(log_id: Option<LogId>) -> u64 {
    log_id.map_or(0, |log_id| log_id.leader_id.term)
}

impl Role {
    fn of(state: ServerState) -> Role {
        match state {
            ServerState::Leader => Role::Leader,
            ServerState::Candidate => Role::Candidate,
            ServerState::Follower => Role::Follower,
            ServerState::Learner => Role::Learner,
            ServerState::Shutdown => Role::Stopped,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Leader => "leader",
            Role::Candidate => "candidate",
            Role::Follower => "follower",
            Role::Learner => "learner",
            Role::Stopped => "stopped",
        })
    }
}

pub(super) fn leader(metrics: &RaftMetrics<TypeConfig>) -> Option<Node> {
    metrics.membership_config.membership().get_node(&metrics.current_leader?).cloned()
}

pub(super) fn members(metrics: &RaftMetrics<TypeConfig>) -> Vec<Member> {
    let membership = metrics.membership_config.membership();
    membership
        .nodes()
        .map(|(node_id, node)| Member {
            node_id: *node_id,
            node: node.clone(),
            leader: metrics.current_leader == Some(*node_id),
            voter: membership.voter_ids().any(|voter| voter == *node_id),
        })
        .collect()
}
