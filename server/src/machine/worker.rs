//! The apply thread: owns the replica and does one job at a time, in the order they were sent.

use super::checkpoint::Checkpoint;
use super::replica::Replica;
use super::{Shared, Status, snapshot};
use crate::command::Command;
use crate::fault::Fault;
use crate::guest::Guest;
use crate::replies::Replies;
use crate::storage::snapshots::{SnapshotInfo, Snapshots};
use crate::type_config::{Entry, LogId, Membership, NodeId, SnapshotMeta, TypeConfig};
use openraft::EntryPayload;
use openraft::storage::ApplyResponder;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// How often a long replay says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

pub(super) type Applied = (Entry, Option<ApplyResponder<TypeConfig>>);

pub(super) enum Job {
    Apply { entries: Vec<Applied>, done: oneshot::Sender<()> },
    Read { commands: Vec<Command>, replies: oneshot::Sender<Replies> },
    AppliedState { state: oneshot::Sender<(Option<LogId>, Membership)> },
    Checkpoint { state: oneshot::Sender<(SnapshotMeta, Checkpoint)> },
    Install { snapshot: SnapshotInfo, done: oneshot::Sender<()> },
}

pub(super) struct Worker {
    pub(super) node_id: NodeId,
    pub(super) guest: Arc<Guest>,
    pub(super) snapshots: Snapshots,
    pub(super) replica: Replica,
    pub(super) applied: Option<LogId>,
    pub(super) membership: Membership,
    /// Entries up to here were applied before this start; until then the guest's log lines are dropped.
    pub(super) replay: Option<Replay>,
    pub(super) shared: Arc<Shared>,
}

/// A replay in progress.
pub(super) struct Replay {
    first: u64,
    last: u64,
    started: Instant,
    said: Instant,
}

impl Replay {
    /// A replay of the entries after `applied` up to `committed`; `None` if there are none.
    pub(super) fn new(applied: u64, committed: u64) -> Option<Replay> {
        let now = Instant::now();
        (committed > applied).then(|| Replay { first: applied + 1, last: committed, started: now, said: now })
    }

    /// Says how far it is now and then; whether it is over.
    fn is_over(&mut self, applied: u64) -> bool {
        let entries = self.last - self.first + 1;
        if applied >= self.last {
            tracing::info!(entries, elapsed = ?self.started.elapsed(), "replayed the log");
            return true;
        }
        if self.said.elapsed() >= PROGRESS_EVERY {
            self.said = Instant::now();
            let done = (applied + 1).saturating_sub(self.first);
            tracing::info!(done, entries, percent = done * 100 / entries, "replaying the log");
        }
        false
    }
}

impl Worker {
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        self.replica.set_silent(self.replay.is_some());
        self.shared.lock_digests().begin(self.replica.digests());
        self.publish();
        while let Some(job) = jobs.blocking_recv() {
            if let Err(fault) = self.work(job) {
                // Whoever waits for a job sees its channel close; the node stops.
                self.shared.alarm.raise(&fault);
                return;
            }
        }
    }

    fn work(&mut self, job: Job) -> Result<(), Fault> {
        // A receiver that is gone has lost interest in the answer, which is not an error here.
        match job {
            Job::Apply { entries, done } => {
                for (entry, responder) in entries {
                    self.apply(entry, responder)?;
                }
                self.publish();
                let _ = done.send(());
            }
            Job::Read { commands, replies } => {
                let before = self.replica.last_trap().cloned();
                let read = self.replica.read(&commands)?;
                // Whoever has the error and then asks for the trap must find it.
                if self.replica.last_trap().map(Arc::as_ptr) != before.as_ref().map(Arc::as_ptr) {
                    self.publish();
                }
                let _ = replies.send(read);
            }
            Job::AppliedState { state } => {
                let _ = state.send((self.applied, self.membership.clone()));
            }
            Job::Checkpoint { state } => {
                let meta = SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() };
                let _ = state.send((meta, self.replica.checkpoint()?));
            }
            Job::Install { snapshot, done } => {
                self.install(&snapshot)?;
                let _ = done.send(());
            }
        }
        Ok(())
    }

    fn apply(&mut self, entry: Entry, responder: Option<ApplyResponder<TypeConfig>>) -> Result<(), Fault> {
        let index = entry.log_id.index;
        let replies = match entry.payload {
            EntryPayload::Blank => Replies::default(),
            EntryPayload::Normal(proposal) => {
                let replies = self.replica.apply(index, &proposal)?.at(index);
                self.shared.lock_digests().push(self.replica.digests());
                self.shared.count(replies.len() as u64);
                for origin in proposal.origins().iter().filter(|origin| origin.node_id == self.node_id) {
                    self.shared.awaited.give(origin.request, &replies, origin.first, origin.count);
                }
                replies
            }
            EntryPayload::Membership(membership) => {
                self.membership = Membership::new(Some(entry.log_id), membership);
                Replies::default()
            }
        };
        self.applied = Some(entry.log_id);
        if self.replay.as_mut().is_some_and(|replay| replay.is_over(index)) {
            self.replay = None;
            self.replica.set_silent(false);
        }
        if let Some(responder) = responder {
            // Whoever has the reply and then asks for the status must find the entry applied.
            self.publish();
            responder.send(replies);
        }
        Ok(())
    }

    fn install(&mut self, snapshot: &SnapshotInfo) -> Result<(), Fault> {
        let read = snapshot::read(&self.snapshots, &self.guest, &snapshot.id);
        let (meta, checkpoint) =
            read.map_err(|error| Fault::because(format!("installing the snapshot {} failed", snapshot.id), error))?;
        self.replica = Replica::restore(Arc::clone(&self.guest), checkpoint)?;
        self.shared.lock_digests().begin(self.replica.digests());
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership;
        self.shared.awaited.forget();
        self.publish();
        Ok(())
    }

    fn publish(&self) {
        self.shared.publish(Status {
            now: self.replica.now(),
            boot: self.replica.boot(),
            applied: self.applied,
            digests: self.replica.digests(),
            memory_bytes: self.replica.memory_bytes(),
            traps: self.replica.traps(),
            last_trap: self.replica.last_trap().cloned(),
            ticks: self.replica.ticks(),
            ticking: self.replica.ticking(),
            replaying: self.replay.is_some(),
        });
    }
}
