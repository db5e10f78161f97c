//! A stand-in for the machine: counts commands. It is replaced by the machine that runs a guest.

use crate::command::Command;
use crate::fault::Fault;
use crate::replies::Replies;
use crate::resp3::{PutToken, Token};
use crate::storage::snapshots::{SnapshotInfo, Snapshots};
use crate::type_config::{LogId, Membership, SnapshotMeta, TypeConfig};
use futures_util::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Clone)]
pub struct Machine {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    snapshots: Snapshots,
    wants_ticks: AtomicBool,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct State {
    applied: Option<LogId>,
    membership: Membership,
    now: u64,
    commands: i64,
    seeds: Vec<(u64, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub applied: Option<LogId>,
    /// The time of the last entry, in nanoseconds since the Unix epoch.
    pub now: u64,
}

impl Machine {
    pub fn open(snapshots: Snapshots) -> Result<Machine, Fault> {
        let mut state = State::default();
        let newest = snapshots.list().map_err(|error| Fault::because("cannot list snapshots", error))?;
        if let Some(info) = newest.first() {
            state = load(&snapshots, info).map_err(|error| Fault::because("cannot load a snapshot", error))?;
        }
        let shared = Shared { state: Mutex::new(state), snapshots, wants_ticks: AtomicBool::new(false) };
        Ok(Machine { shared: Arc::new(shared) })
    }

    pub async fn read(&self, commands: Vec<Command>) -> Result<Replies, Fault> {
        let count = self.state().commands;
        let mut replies = Builder::default();
        commands.iter().for_each(|_| replies.push(Token::Integer(count)));
        Ok(replies.finish())
    }

    pub fn wants_ticks(&self) -> bool {
        self.shared.wants_ticks.load(Ordering::Relaxed)
    }

    pub fn want_ticks(&self) {
        self.shared.wants_ticks.store(true, Ordering::Relaxed);
    }

    /// The stamp and the seed of every tick.
    pub fn seeds(&self) -> Vec<(u64, u64)> {
        self.state().seeds.clone()
    }

    pub fn status(&self) -> Status {
        let state = self.state();
        Status { applied: state.applied, now: state.now }
    }

    pub fn state_machine(&self) -> StateMachine {
        StateMachine { machine: self.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone)]
pub struct StateMachine {
    machine: Machine,
}

#[derive(Default)]
struct Builder {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Builder {
    fn push(&mut self, token: Token<'_>) {
        self.bytes.put_token(token);
        self.ends.push(self.bytes.len() as u32);
    }

    fn finish(self) -> Replies {
        Replies::new(self.bytes.into(), self.ends)
    }
}

fn load(snapshots: &Snapshots, info: &SnapshotInfo) -> Result<State, io::Error> {
    let mut reader = snapshots.read(&info.id).map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = reader.next_chunk().map_err(io::Error::other)? {
        bytes.extend(chunk);
    }
    postcard::from_bytes(&bytes).map_err(io::Error::other)
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotInfo;
    type SnapshotBuilder = StateMachine;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), io::Error> {
        let state = self.machine.state();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let mut replies = Builder::default();
            {
                let mut state = self.machine.state();
                state.applied = Some(entry.log_id);
                match entry.payload {
                    EntryPayload::Blank => {}
                    EntryPayload::Membership(membership) => {
                        state.membership = Membership::new(Some(entry.log_id), membership);
                    }
                    EntryPayload::Normal(proposal) => {
                        let (header, commands) = proposal.decode().map_err(io::Error::other)?;
                        state.now = state.now.max(header.stamp);
                        state.seeds.extend(header.seed.map(|seed| (header.stamp, seed)));
                        for command in commands {
                            state.commands += 1;
                            match command.args().first() {
                                Some(arg) => replies.push(Token::Bulk(arg)),
                                None => replies.push(Token::Integer(state.commands)),
                            }
                        }
                    }
                }
            }
            if let Some(responder) = responder {
                responder.send(replies.finish());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> StateMachine {
        self.clone()
    }

    async fn install_snapshot(&mut self, _meta: &SnapshotMeta, snapshot: SnapshotInfo) -> Result<(), io::Error> {
        let state = load(&self.machine.shared.snapshots, &snapshot)?;
        *self.machine.state() = state;
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<openraft::alias::SnapshotOf<TypeConfig, SnapshotInfo>>, io::Error> {
        let snapshots = &self.machine.shared.snapshots;
        let Some(info) = snapshots.list().map_err(io::Error::other)?.into_iter().next() else { return Ok(None) };
        let state = load(snapshots, &info)?;
        let meta = SnapshotMeta { last_log_id: state.applied, last_membership: state.membership };
        Ok(Some(openraft::alias::SnapshotOf::<TypeConfig, SnapshotInfo> { meta, snapshot: info }))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotInfo;

    async fn build_snapshot(&mut self) -> Result<openraft::alias::SnapshotOf<TypeConfig, SnapshotInfo>, io::Error> {
        let state = self.machine.state().clone();
        let applied = state.applied.ok_or_else(|| io::Error::other("nothing to snapshot"))?;
        let bytes = postcard::to_stdvec(&state).map_err(io::Error::other)?;
        let write = || {
            let mut writer = self.machine.shared.snapshots.begin(applied.committed_leader_id().term, applied.index)?;
            for chunk in bytes.chunks(1 << 20) {
                writer.chunk(chunk)?;
            }
            writer.finish()
        };
        let snapshot = write().map_err(io::Error::other)?;
        let meta = SnapshotMeta { last_log_id: state.applied, last_membership: state.membership };
        Ok(openraft::alias::SnapshotOf::<TypeConfig, SnapshotInfo> { meta, snapshot })
    }
}
