//! The replicated state machine: the guest, its clock and its generator, moved forward by committed entries.
//!
//! One thread of its own applies whole entries in log order (`worker`) to the state (`replica`), which survives traps
//! (`checkpoint`) and restarts (`snapshot`). `Machine` is the handle to that thread, `StateMachine` (`bridge`) what
//! openraft sees of it. Nothing here reads a clock or draws a random number that a guest could see.

mod awaited;
mod bridge;
mod checkpoint;
mod digest;
mod offline;
mod replica;
pub mod snapshot;
mod start;
mod trap;
mod worker;

#[cfg(test)]
mod tests;

pub use awaited::{Awaiting, Given};
pub use bridge::StateMachine;
pub use offline::{Applied, Content, Offline, RestoreError};
pub use start::{Options, StartError};
pub use trap::Trap;

use crate::command::Command;
use crate::digest::Digests;
use crate::fault::{Alarm, Fault};
use crate::guest::Guest;
use crate::guest::spec::{Description, ModuleInfo};
use crate::replies::Replies;
use crate::storage::snapshots::Snapshots;
use crate::type_config::LogId;
use awaited::Awaited;
use digest::Ring;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot};
use worker::Job;

/// A handle to the apply thread, which ends with the last handle.
#[derive(Clone)]
pub struct Machine {
    jobs: mpsc::Sender<Job>,
    guest: Arc<Guest>,
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
    /// Size of the guest's memories.
    pub memory_bytes: u64,
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
}

/// What the apply thread shows to others.
struct Shared {
    status: Mutex<Status>,
    /// After the last entries.
    digests: Mutex<Ring>,
    /// Commands applied since this start.
    commands: AtomicU64,
    awaited: Awaited,
    alarm: Alarm,
}

impl Shared {
    fn publish(&self, status: Status) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    fn lock_digests(&self) -> MutexGuard<'_, Ring> {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, commands: u64) {
        self.commands.fetch_add(commands, Ordering::Relaxed);
    }
}

impl Machine {
    /// Runs read commands on a private view of the state, one reply each. What they change is thrown away.
    pub async fn read(&self, commands: Vec<Command>) -> Result<Replies, Fault> {
        self.job(|replies| Job::Read { commands, replies }).await
    }

    pub fn status(&self) -> Status {
        self.shared.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What there was after the normal entry at `index`, if that is one of the last.
    pub fn digests_at(&self, index: u64) -> Option<Digests> {
        self.shared.lock_digests().at(index)
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
