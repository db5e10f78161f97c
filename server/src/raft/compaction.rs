//! `Compaction`: snapshots, and the purge of the log behind them.
//!
//! A task looks a few times a second at how long the log behind the last snapshot is, in entries and in bytes: what is
//! not purged is also in memory. One snapshot is taken at a time, whether it is due or an operator asked.

use super::checker::MarkWanted;
use super::{Error, Options, Raft};
use crate::machine::Machine;
use crate::storage::log::LogStorage;
use crate::storage::snapshots::SnapshotInfo;
use openraft::async_runtime::watch::WatchReceiver;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

const PERIOD: Duration = Duration::from_millis(200);
/// A machine that takes longer has lost the request.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// A handle; clones share one lock.
#[derive(Clone)]
pub(super) struct Compaction {
    raft: Raft,
    log: LogStorage,
    running: Arc<Mutex<()>>,
    /// The state in a snapshot is what a node starts from: it had better be the same everywhere.
    mark: MarkWanted,
    machine: Machine,
    closed: CancellationToken,
    log_entries_max: u64,
    log_bytes_max: u64,
    log_entries_kept: u64,
}

impl Compaction {
    pub(super) fn new(
        raft: Raft,
        log: LogStorage,
        machine: Machine,
        mark: MarkWanted,
        options: &Options,
    ) -> Compaction {
        Compaction {
            raft,
            log,
            running: Arc::default(),
            mark,
            machine,
            closed: CancellationToken::new(),
            log_entries_max: options.snapshot_log_entries.max(1),
            log_bytes_max: options.snapshot_log_bytes.max(1),
            log_entries_kept: options.snapshot_log_entries_kept,
        }
    }

    pub(super) async fn run(self) {
        // Dropping a snapshot's wait is harmless: openraft stops the snapshot when it stops itself.
        self.closed.run_until_cancelled(self.watch()).await;
    }

    pub(super) fn close(&self) {
        self.closed.cancel();
    }

    async fn watch(&self) {
        loop {
            tokio::time::sleep(PERIOD).await;
            if !self.is_due() {
                continue;
            }
            match self.snapshot().await {
                Ok(snapshot) => tracing::info!(%snapshot, bytes = snapshot.bytes, "snapshot taken"),
                Err(Error::SnapshotInProgress | Error::NothingToSnapshot | Error::Quarantined) => {}
                Err(Error::Stopped) => return,
                Err(error) => tracing::warn!(%error, "no snapshot"),
            }
        }
    }

    fn is_due(&self) -> bool {
        let (applied, snapshot) = self.indexes();
        let next = snapshot.map_or(0, |index| index + 1);
        let entries = applied.map_or(0, |index| (index + 1).saturating_sub(next));
        entries > 0 && (entries >= self.log_entries_max || self.log.bytes_after(snapshot) >= self.log_bytes_max)
    }

    /// Takes one snapshot and purges the log.
    pub(super) async fn snapshot(&self) -> Result<SnapshotInfo, Error> {
        if self.machine.standing().is_quarantined() {
            return Err(Error::Quarantined);
        }
        let _running = self.running.try_lock().map_err(|_| Error::SnapshotInProgress)?;
        let (applied, snapshot) = self.indexes();
        if applied <= snapshot {
            return Err(Error::NothingToSnapshot);
        }
        self.raft.trigger().snapshot().await?;
        let taken = |metrics: &openraft::RaftMetrics<_>| metrics.snapshot.map(|log_id| log_id.index) >= applied;
        match self.raft.wait(Some(SNAPSHOT_TIMEOUT)).metrics(taken, "snapshot").await {
            Ok(_) => {}
            Err(openraft::metrics::WaitError::ShuttingDown) => return Err(Error::Stopped),
            Err(openraft::metrics::WaitError::Timeout(..)) => return Err(Error::SnapshotFailed),
        }
        // Not before: while a snapshot is written from the image of a state, the image cannot follow the state.
        self.mark.set();
        let snapshot = self.raft.get_snapshot().await.map_err(|error| Error::from(error.unwrap_fatal()))?;
        let snapshot = snapshot.ok_or(Error::SnapshotFailed)?;
        if let Some(upto) = snapshot.snapshot.index.checked_sub(self.log_entries_kept) {
            self.raft.trigger().purge_log(upto).await?;
        }
        Ok(snapshot.snapshot)
    }

    /// The last applied entry and the last one in a snapshot.
    fn indexes(&self) -> (Option<u64>, Option<u64>) {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        (metrics.last_applied.map(|log_id| log_id.index), metrics.snapshot.map(|log_id| log_id.index))
    }
}
