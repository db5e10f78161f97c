//! The replicated state machine: the guest, its clock and its generator, moved forward by committed entries.
//!
//! One thread of its own applies whole entries in log order (`worker`) to the state (`replica`), which survives traps
//! (`checkpoint`) and restarts (`snapshot`). `Machine` is the handle to that thread, `StateMachine` (`bridge`) what
//! openraft sees of it. Nothing here reads a clock or draws a random number that a guest could see.

mod awaited;
mod bridge;
mod checkpoint;
mod digest;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod lending;
mod obedience;
mod offline;
#[cfg(feature = "figures")]
pub mod overhead;
mod portable;
mod replica;
pub mod snapshot;
mod standing;
mod start;
mod tail;
mod trap;
mod worker;

#[cfg(test)]
mod tests;

pub use awaited::{Awaiting, Given};
pub use bridge::StateMachine;
pub use obedience::LogCheck;
pub use offline::{Applied, Content, Offline, RestoreError};
pub use portable::{Imported, import};
pub use standing::{Standing, Verdict};
pub use start::{Options, StartError};
pub use trap::Trap;
pub use worker::Readable;

use crate::command::Command;
use crate::digest::Digests;
use crate::fault::{Alarm, Fault};
use crate::guest::spec::{Description, ModuleInfo};
use crate::guest::{self, Guest};
use crate::replies::{Answered, Replies};
use crate::settings::Settings;
use crate::storage::snapshots::{SnapshotInfo, Snapshots};
use crate::type_config::LogId;
use awaited::Awaited;
use digest::{Comparison, Ring};
use lending::Lending;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot, watch};
use worker::Job;

/// A handle to the apply thread, which ends with the last handle.
#[derive(Clone)]
pub struct Machine {
    jobs: mpsc::Sender<Job>,
    guest: Arc<Guest>,
    wanted: Arc<Settings>,
    snapshots: Snapshots,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Machine({})", self.guest.description().name)
    }
}

/// The machine as it stood after the last entries were applied.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Machine time in nanoseconds since the Unix epoch; 0 before the first entry.
    pub now: u64,
    /// Time of the first entry ever applied.
    pub boot: u64,
    pub applied: Option<LogId>,
    /// After the last normal entry.
    pub digests: Digests,
    /// After the last mark since this start.
    pub marked: Digests,
    /// The last entry whose digests in the log, told by a leader, were this node's own.
    pub verified: u64,
    /// The last mark whose digests the log has.
    pub heard_mark: u64,
    /// Digests in the log that could not be compared since this start: this node has none of that entry.
    pub incomparable: u64,
    /// Digests in the log that were not this node's own since this start.
    pub differences: u64,
    pub standing: Standing,
    /// Size of the guest's memories.
    pub memory_bytes: u64,
    /// Fuel of the writes and ticks applied since this start.
    pub fuel: u64,
    /// Commands and ticks that failed and left no trace, since this start.
    pub traps: u64,
    /// The last of them, or of the reads that failed.
    pub last_trap: Option<Arc<Trap>>,
    /// Ticks applied since this start.
    pub ticks: u64,
    /// Whether ticks matter while no commands come.
    pub ticking: bool,
    /// Whether entries of before this start are being applied again.
    pub replaying: bool,
    /// Those in force; `None` before a proposal has set them.
    pub settings: Option<Arc<Settings>>,
}

/// What the apply thread shows to others.
struct Shared {
    status: Mutex<Status>,
    /// After the last entries.
    digests: Mutex<Ring>,
    /// Commands applied since this start.
    commands: AtomicU64,
    awaited: Awaited,
    /// The last entry of the newest snapshot that openraft was told of; 0 if there was none.
    snapshot_index: AtomicU64,
    /// As in the status, for those who wait for it to change.
    standing: watch::Sender<Standing>,
    alarm: Alarm,
    lending: Lending,
}

impl Shared {
    fn publish(&self, status: Status) {
        let standing = status.standing;
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
        self.standing.send_if_modified(|known| std::mem::replace(known, standing) != standing);
    }

    fn lock_digests(&self) -> MutexGuard<'_, Ring> {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, commands: u64) {
        self.commands.fetch_add(commands, Ordering::Relaxed);
    }
}

impl Machine {
    /// Runs read commands on a private view of the state: `most` at most, and no more than have replies that may be kept.
    /// What they change is thrown away. Nothing while the state is known to be wrong.
    pub async fn read(&self, commands: Vec<Command>, most: usize) -> Result<Option<Answered>, Fault> {
        self.job(|answer| Job::Read { commands, most, answer }).await
    }

    /// Runs read commands as `read` does, but on the caller's thread and at once: if the apply thread has nothing to do, if
    /// the state is one that `suits`, and if they are short. Otherwise nothing is run, and `read` is the way.
    pub fn read_now(&self, commands: &[Command], suits: impl FnOnce(&Readable<'_>) -> bool) -> Option<Replies> {
        if !guest::is_guest_thread() {
            return None;
        }
        let read = self.shared.lending.with(|worker| match worker.readable() {
            Some(readable) if suits(&readable) => worker.read_short(commands),
            _ => Ok(None),
        });
        read?.unwrap_or_else(|fault| {
            self.shared.alarm.raise(&fault);
            None
        })
    }

    /// Applies entries as the apply thread does, but on the caller's thread: the first of them that are short, which are
    /// taken out, if that thread has nothing to do.
    fn apply_now(&self, entries: &mut VecDeque<worker::Applied>) -> Result<(), Fault> {
        if !guest::is_guest_thread() {
            return Ok(());
        }
        let applied = self.shared.lending.with(|worker| worker.apply_short(entries));
        applied.unwrap_or(Ok(())).inspect_err(|fault| self.shared.alarm.raise(fault))
    }

    pub fn status(&self) -> Status {
        self.shared.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What there was after the normal entry at `index`, if that is one of the last.
    pub fn digests_at(&self, index: u64) -> Option<Digests> {
        self.shared.lock_digests().at(index)
    }

    /// How far the state can be trusted.
    pub fn standing(&self) -> Standing {
        *self.shared.standing.borrow()
    }

    /// The same, and every change of it.
    pub fn standings(&self) -> watch::Receiver<Standing> {
        self.shared.standing.subscribe()
    }

    /// Judges what another replica has, which may raise a doubt, and returns what this one has.
    pub async fn compare(&self, theirs: Digests) -> Option<Digests> {
        let ours = self.digests_at(theirs.index)?;
        let compared = self.shared.lock_digests().compare(&theirs);
        if let Comparison::Differ(_) = compared {
            // If the thread has ended, so has the node.
            let _ = self.jobs.send(Job::Compare { theirs }).await;
        }
        Some(ours)
    }

    /// Ends a doubt. The last entries, as text, if the state is known to be wrong now.
    pub async fn judge(&self, verdict: Verdict) -> Result<Option<String>, Fault> {
        self.job(|tail| Job::Judge { verdict, tail }).await
    }

    /// Puts the state of a snapshot in the place of one that is known to be wrong.
    pub async fn heal(&self, snapshot: SnapshotInfo) -> Result<Result<(), snapshot::Error>, Fault> {
        self.job(|healed| Job::Heal { snapshot, healed }).await
    }

    /// Makes the state wrong wherever it has `pattern`, and returns in how many places. For tests: a server that is built
    /// to be used cannot do this.
    #[cfg(debug_assertions)]
    pub async fn corrupt(&self, pattern: Vec<u8>) -> Result<usize, Fault> {
        self.job(|places| Job::Corrupt { pattern, places }).await
    }

    /// Commands applied since this start.
    pub fn commands_applied(&self) -> u64 {
        self.shared.commands.load(Ordering::Relaxed)
    }

    /// Whether ticks matter while no commands come.
    pub fn wants_ticks(&self) -> bool {
        self.shared.status.lock().unwrap_or_else(PoisonError::into_inner).ticking
    }

    /// Promises the replies of commands that this node has forwarded under the number `request`, once it applies them.
    pub fn await_replies(&self, request: u64) -> Awaiting {
        Awaiting::new(&self.shared, request)
    }

    /// Where faults are told.
    pub fn alarm(&self) -> Alarm {
        self.shared.alarm.clone()
    }

    pub fn description(&self) -> Arc<Description> {
        Arc::clone(self.guest.description())
    }

    pub fn module(&self) -> ModuleInfo {
        self.guest.info()
    }

    /// Where the machine's snapshots are.
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// Those in force; `None` before a proposal has set them.
    pub fn settings(&self) -> Option<Arc<Settings>> {
        self.shared.status.lock().unwrap_or_else(PoisonError::into_inner).settings.clone()
    }

    /// To find out whether the log that follows what is applied can be applied here.
    pub fn log_check(&self) -> LogCheck<'_> {
        LogCheck::new(&self.guest, self.settings())
    }

    /// What this node would have the cluster agree on.
    pub fn wanted_settings(&self) -> &Arc<Settings> {
        &self.wanted
    }

    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    pub fn state_machine(&self) -> StateMachine {
        StateMachine { machine: self.clone() }
    }

    async fn job<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, Fault> {
        let stopped = || Fault::new("the machine has stopped");
        let (sender, receiver) = oneshot::channel();
        self.jobs.send(job(sender)).await.map_err(|_| stopped())?;
        receiver.await.map_err(|_| stopped())
    }
}
