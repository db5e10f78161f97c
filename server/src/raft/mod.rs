//! Stand-in for the raft layer while it is built elsewhere: the same face over a map in memory.

use crate::command::Command;
use crate::resp3::{PutToken, Token, Value};
use crate::storage::snapshots::SnapshotInfo;
use crate::type_config::{Node, NodeId};
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::sync::Mutex;

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

/// Answers like a kvdb guest and remembers the batches it got.
#[derive(Debug, Default)]
pub struct Cluster {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    map: BTreeMap<Bytes, Bytes>,
    batches: Vec<String>,
    fails: Option<Error>,
    follower: bool,
}

impl Cluster {
    pub async fn propose(&self, commands: Vec<Command>) -> Result<Vec<Value>, Error> {
        self.run('w', commands)
    }

    pub async fn read(&self, commands: Vec<Command>) -> Result<Vec<Value>, Error> {
        self.run('r', commands)
    }

    pub async fn barrier(&self) -> Result<(), Error> {
        self.run('b', Vec::new()).map(|_| ())
    }

    pub fn leader(&self) -> Option<Node> {
        Some(Node { name: "1".into(), address: "127.0.0.1:11001".into() })
    }

    pub fn is_leader(&self) -> bool {
        !self.lock().follower
    }

    pub fn status(&self) -> Status {
        Status {
            node_id: 1,
            node: Node { name: "1".into(), address: "127.0.0.1:11001".into() },
            state: "leader",
            voter: true,
            term: 1,
            ..Status::default()
        }
    }

    pub fn members(&self) -> Vec<Member> {
        self.leader().map(|node| Member { node_id: 1, node, leader: true, voter: true }).into_iter().collect()
    }

    pub async fn snapshot(&self) -> Result<SnapshotInfo, Error> {
        self.run('s', Vec::new())?;
        Ok(SnapshotInfo { id: "1-7".into(), term: 1, index: 7, created_ms: 1_700_000_000_000, bytes: 9 })
    }

    pub fn batches(&self) -> Vec<String> {
        self.lock().batches.clone()
    }

    pub fn fail(&self, error: Option<Error>) {
        self.lock().fails = error;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn run(&self, kind: char, commands: Vec<Command>) -> Result<Vec<Value>, Error> {
        let mut state = self.lock();
        state.batches.push(format!("{kind}{}", commands.len()));
        if let Some(error) = &state.fails {
            return Err(error.clone());
        }
        Ok(commands.iter().map(|command| answer(&mut state.map, command)).collect())
    }
}

fn answer(map: &mut BTreeMap<Bytes, Bytes>, command: &Command) -> Value {
    let mut out = BytesMut::new();
    let args = command.args();
    match command.name().to_ascii_uppercase().as_slice() {
        b"SET" => {
            map.insert(args[0].clone(), args[1].clone());
            out.put_token(Token::Simple(b"OK"));
        }
        b"GET" => match map.get(&args[0]) {
            Some(value) => out.put_token(Token::Bulk(value)),
            None => out.put_token(Token::Null),
        },
        b"INFOMAP" => {
            out.put_token(Token::Map(1));
            out.put_token(Token::Bulk(b"a"));
            out.put_token(Token::Boolean(true));
        }
        b"BIG" => out.put_token(Token::Bulk(&vec![b'x'; 1 << 20])),
        _ => out.put_token(Token::Error(b"ERR not in the stand-in")),
    }
    Value::from_checked(out.freeze())
}
