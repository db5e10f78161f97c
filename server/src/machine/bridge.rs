//! openraft's view of the machine: a thin bridge that turns its calls into jobs of the apply thread.

use super::worker::Job;
use super::{Machine, snapshot};
use crate::fault::chain;
use crate::storage::snapshots::{SnapshotInfo, Snapshots};
use crate::type_config::{LogId, Membership, SnapshotMeta, TypeConfig};
use futures_util::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

/// Entries handed to the apply thread at a time; more would only hold back the first replies.
const ENTRIES_MAX: usize = 256;

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotInfo>;

/// The machine as openraft drives it.
#[derive(Clone)]
pub struct StateMachine {
    pub(super) machine: Machine,
}

impl StateMachine {
    async fn job<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, io::Error> {
        match self.machine.job(job).await {
            Ok(done) => Ok(done),
            // The thread ends by a fault alone, which it may be about to tell; openraft's end follows from this error.
            Err(_) => Err(io::Error::other(self.machine.shared.alarm.raised().await)),
        }
    }

    /// openraft is told of this one.
    fn note(&self, snapshot: &Snapshot) {
        self.machine.shared.snapshot_index.fetch_max(snapshot.snapshot.index, Ordering::Relaxed);
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    /// A snapshot is a file of this node; openraft only carries its name.
    type SnapshotData = SnapshotInfo;
    type SnapshotBuilder = StateMachine;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), io::Error> {
        self.job(|state| Job::AppliedState { state }).await
    }

    async fn apply<Entries>(&mut self, entries: Entries) -> Result<(), io::Error>
    where
        Entries: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut chunks = entries.ready_chunks(ENTRIES_MAX);
        while let Some(chunk) = chunks.next().await {
            let mut entries = chunk.into_iter().collect::<Result<VecDeque<_>, _>>()?;
            self.machine.apply_now(&mut entries).map_err(io::Error::other)?;
            if entries.is_empty() {
                continue;
            }
            self.job(|done| Job::Apply { entries, done }).await?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> StateMachine {
        self.clone()
    }

    async fn install_snapshot(&mut self, _meta: &SnapshotMeta, snapshot: SnapshotInfo) -> Result<(), io::Error> {
        self.job(|done| Job::Install { snapshot, done }).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let snapshots = self.machine.snapshots.clone();
        let reached = self.machine.shared.snapshot_index.load(Ordering::Relaxed);
        let newest = tokio::task::spawn_blocking(move || newest(&snapshots, reached));
        match newest.await.map_err(io::Error::other)?.map_err(io::Error::other)? {
            Some(newest) => {
                self.note(&newest);
                Ok(Some(newest))
            }
            // What has no state of its own cannot make one.
            None if reached == 0 || self.machine.standing().is_quarantined() => Ok(None),
            // It was found to be damaged, and the log behind it may be gone.
            None => self.build_snapshot().await.map(Some),
        }
    }
}

/// The newest snapshot, unless it is older than one that openraft was told of. Damaged ones are set aside.
fn newest(snapshots: &Snapshots, reached: u64) -> Result<Option<Snapshot>, snapshot::Error> {
    for info in snapshots.list()?.into_iter().filter(|info| info.index >= reached) {
        match snapshot::read_header(snapshots, &info.id) {
            Ok(header) => return Ok(Some(Snapshot { meta: header.meta, snapshot: info })),
            Err(error) => {
                tracing::error!(snapshot = info.id, error = chain(&error), "a snapshot is damaged; check the disk");
                snapshots.set_aside(&info.id)?;
            }
        }
    }
    Ok(None)
}

impl RaftSnapshotBuilder<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotInfo;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let (meta, checkpoint) = self.job(|state| Job::Checkpoint { state }).await?;
        let (snapshots, guest) = (self.machine.snapshots.clone(), Arc::clone(&self.machine.guest));
        let (sender, written) = oneshot::channel();
        // Not a thread of a pool: one that has stepped back cannot come forward again.
        std::thread::Builder::new().name("snapshot".to_owned()).spawn(move || {
            step_back();
            let info = snapshot::write(&snapshots, &guest, &meta, &checkpoint);
            // Whoever takes the next image need not copy this one.
            drop(checkpoint);
            // A receiver that is gone has lost interest in the snapshot.
            let _ = sender.send(info.map(|info| Snapshot { meta, snapshot: info }));
        })?;
        let lost = |_| io::Error::other("writing a snapshot panicked");
        let snapshot = written.await.map_err(lost)?.map_err(io::Error::other)?;
        self.note(&snapshot);
        Ok(snapshot)
    }
}

/// Lets threads that serve clients run before this one; it still gets its share of a busy processor.
fn step_back() {
    const NICE: i32 = 5;
    // Linux takes this for the thread. If it may not, the snapshot is written all the same.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "a snapshot is written at the priority of the others");
    }
}
