//! Stand-in for the raft layer while it is built elsewhere: its face and nothing behind it.

use crate::command::Command;
use crate::resp3::Value;
use crate::storage::snapshots::SnapshotInfo;
use crate::type_config::{Node, NodeId};

#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("this node is not the leader")]
    NotLeader { leader: Option<Node> },
    #[error("no leader is known")]
    NoLeader,
    #[error("the outcome is unknown")]
    Unknown,
    #[error("too much is waiting")]
    Busy,
    #[error("the node is stopping")]
    Stopped,
    #[error("a snapshot is in progress")]
    SnapshotInProgress,
    #[error("nothing new to snapshot")]
    NothingToSnapshot,
}

#[derive(Clone, Debug, Default)]
pub struct Status {
    pub node_id: NodeId,
    pub node: Node,
    pub state: &'static str,
    pub voter: bool,
    pub term: u64,
    pub last_log_index: u64,
    pub last_log_term: u64,
    pub commit_index: u64,
    pub applied_index: u64,
    pub snapshot_index: u64,
    pub snapshot_term: u64,
    pub purged_index: u64,
    pub pending: u64,
}

#[derive(Clone, Debug)]
pub struct Member {
    pub node_id: NodeId,
    pub node: Node,
    pub leader: bool,
    pub voter: bool,
}

#[derive(Debug, Default)]
pub struct Cluster {}

impl Cluster {
    pub async fn propose(&self, _commands: Vec<Command>) -> Result<Vec<Value>, Error> {
        Err(Error::NoLeader)
    }

    pub async fn read(&self, _commands: Vec<Command>) -> Result<Vec<Value>, Error> {
        Err(Error::NoLeader)
    }

    pub async fn barrier(&self) -> Result<(), Error> {
        Err(Error::NoLeader)
    }

    pub fn leader(&self) -> Option<Node> {
        None
    }

    pub fn is_leader(&self) -> bool {
        false
    }

    pub fn status(&self) -> Status {
        Status::default()
    }

    pub fn members(&self) -> Vec<Member> {
        Vec::new()
    }

    pub async fn snapshot(&self) -> Result<SnapshotInfo, Error> {
        Err(Error::NoLeader)
    }
}
