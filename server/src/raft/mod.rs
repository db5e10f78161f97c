//! Agreement: what is proposed here is committed by openraft, then applied by `machine`.
//!
//! `Cluster` is the only door. `dispatch` calls it for writes and reads, `node` starts and stops it.
//!
//! ```text
//! propose → forward → queue → proposer → openraft → storage (append) … machine (apply) → replies
//! read    → forward → queue → reads    → openraft (ReadIndex) → machine → replies
//!           if it is short and this node is alone in the cluster → machine → replies
//! read_here → presence (how old?) → queue → reads → machine → replies
//!              ↓                             ↓ network
//!           link → another node:          service → openraft or queue there
//! ```
//!
//! openraft's types end in this folder: what comes out is `Error`, `Status` and `Member`.

mod agreement;
mod checker;
mod clocks;
mod compaction;
mod error;
mod evidence;
mod forward;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod healing;
mod join;
mod jury;
mod link;
mod membership;
mod muster;
mod network;
mod options;
mod presence;
mod proposer;
mod queue;
mod reads;
mod retry;
mod rewrite;
mod rpc;
mod service;
mod snapshots;
mod status;
mod supervise;
#[cfg(test)]
mod tests;
mod ticker;
mod vigil;

pub use self::clocks::{ClockStatus, Skew};
pub use self::error::Error;
pub use self::join::{Knock, knock, new_node_id};
pub use self::muster::{Mustering, Outcome};
pub use self::options::Options;
pub use self::queue::Weight;
pub use self::rewrite::{begin_after, take_over};
pub use self::rpc::Change;
pub use self::status::{Member, Role, Status, View, Visible};

use self::agreement::Agreement;
use self::checker::MarkWanted;
use self::clocks::Clocks;
use self::compaction::Compaction;
use self::forward::{Forward, Way};
use self::link::Peers;
use self::presence::Presence;
use self::proposer::Proposer;
use self::queue::Queue;
use self::reads::{Lease, Policy, Reads};
use crate::command::Command;
use crate::machine::{Machine, Readable, StateMachine};
use crate::net::peer::Local;
use crate::replies::{Answered, Replies};
use crate::storage::log::LogStorage;
use crate::storage::snapshots::SnapshotInfo;
use crate::storage::ward::Ward;
use crate::time::Clock;
use crate::type_config::{Node, NodeId, TypeConfig};
use crate::undelivered::Undelivered;
use openraft::async_runtime::watch::WatchReceiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long `shutdown` waits for what is in flight.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// A handle; clones share one member of the cluster.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cluster({})", self.shared.node)
    }
}

struct Shared {
    node_id: NodeId,
    node: Node,
    module: String,
    raft: Raft,
    log: LogStorage,
    machine: Machine,
    peers: Peers,
    forward: Forward,
    writes: Queue,
    reads: Queue,
    /// Reads of this node's own state.
    reads_here: Queue,
    undelivered: Undelivered,
    presence: Presence,
    clocks: Clocks,
    /// How long a leader counts on what a quorum has confirmed, if it does.
    lease: Option<Duration>,
    started: Instant,
    compaction: Compaction,
    ward: Ward,
    /// How old a node's last answer may be for it to count as one that answers.
    answer_timeout: Duration,
    transfer_timeout: Duration,
    /// Cancelled first when the node stops.
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl Cluster {
    /// Joins a member's log and machine to openraft. An empty log may become that of a new cluster; a node that is
    /// the only voter returns once it leads and has applied everything that was committed, others at once.
    ///
    /// `local` is how this node introduces itself to others, asked for each connection.
    pub async fn start(
        options: Options,
        log: LogStorage,
        machine: Machine,
        clock: Clock,
        ward: Ward,
        local: impl Fn() -> Local + Send + Sync + 'static,
    ) -> Result<Cluster, Error> {
        let config = Arc::new(options.openraft()?);
        agreement::check_log(&log, &machine).await?;
        let peers = Peers::new(local);
        let forward = Forward::new(peers.clone(), options.forward, options.leader_wait)?;
        let network = network::Factory {
            peers: peers.clone(),
            machine: machine.clone(),
            append_timeout: options.election_timeout_max,
        };
        let raft = Raft::new(options.node_id, config, network, log.clone(), machine.state_machine()).await?;
        let is_new = membership::bootstrap(&raft, &options).await?;

        let writes = Queue::new(options.queue_commands_max, options.queue_bytes_max);
        let reads = Queue::new(options.queue_commands_max, options.queue_bytes_max);
        let reads_here = Queue::new(options.queue_commands_max, options.queue_bytes_max);
        let undelivered = Undelivered::new(options.undelivered_bytes_max);
        let presence = Presence::new(options.election_timeout_max);
        let stopping = CancellationToken::new();
        let mark = MarkWanted::default();
        let compaction = Compaction::new(raft.clone(), log.clone(), machine.clone(), mark.clone(), &options);
        let tasks = TaskTracker::new();
        let agreement = Agreement::new(machine.clone(), presence.clone(), options.node_id);
        let proposer = Proposer::new(
            raft.clone(),
            machine.clone(),
            writes.clone(),
            undelivered.clone(),
            clock.clone(),
            agreement,
            mark,
            &options,
        );
        let lease = options.lease().map(|age_max| Lease::new(age_max, presence.clone(), stopping.clone()));
        let policy = Policy::Linearizable { raft: raft.clone(), lease };
        let reading = Reads::new(policy, machine.clone(), reads.clone(), undelivered.clone(), &options);
        let reading_here = Reads::new(Policy::Here, machine.clone(), reads_here.clone(), undelivered.clone(), &options);
        supervise::task(&tasks, "proposer", machine.alarm(), proposer.run());
        supervise::task(&tasks, "reads", machine.alarm(), reading.run());
        supervise::task(&tasks, "reads of its own state", machine.alarm(), reading_here.run());
        supervise::task(&tasks, "compaction", machine.alarm(), compaction.clone().run());
        supervise::core(&raft, machine.alarm());

        let alarm = machine.alarm();
        let cluster = Cluster {
            shared: Arc::new(Shared {
                node_id: options.node_id,
                node: options.node.clone(),
                module: options.module.clone(),
                raft,
                log,
                machine,
                peers,
                forward,
                writes,
                reads,
                reads_here,
                undelivered,
                presence,
                clocks: Clocks::new(clock, options.clock_skew_max),
                lease: options.lease(),
                started: Instant::now(),
                compaction,
                ward,
                answer_timeout: options.election_timeout_max,
                transfer_timeout: options.election_timeout_max,
                stopping,
                tasks: tasks.clone(),
            }),
        };
        supervise::task(&tasks, "membership", alarm.clone(), cluster.clone().follow_membership());
        supervise::task(&tasks, "presence", alarm.clone(), cluster.clone().keep_presence(options.heartbeat * 2));
        supervise::task(&tasks, "jury", alarm.clone(), cluster.clone().keep_sound());
        // It elects although the leader may hold a lease: a process that seems to have ended may still read.
        if !options.lease_reads {
            supervise::task(&tasks, "vigil", alarm, cluster.clone().keep_vigil());
        }
        tasks.close();
        if let Err(error) = membership::lead_if_alone(&cluster, &options, is_new).await {
            cluster.shutdown().await;
            return Err(error);
        }
        Ok(cluster)
    }

    /// Runs commands in this order, with nothing in between but what other callers propose between two proposals. It is
    /// this node's or, unless forwarding is off, the leader's work.
    /// One reply a command. Whatever the error says was not done was not done at all; `Error::Unknown` says neither.
    pub async fn propose(&self, commands: Vec<Command>) -> Result<Replies, Error> {
        if commands.is_empty() {
            return Ok(Replies::default());
        }
        self.run(Way::Write, commands).await.map(|answered| answered.replies)
    }

    /// Runs commands that change nothing on a state that has everything acknowledged before this call, or the first of
    /// them if their replies are large.
    pub async fn read(&self, commands: Vec<Command>, weight: Weight) -> Result<Answered, Error> {
        if commands.is_empty() {
            return Ok(Answered::default());
        }
        // Without anybody to ask, nor another thread.
        let is_all_in = |state: &Readable<'_>| {
            let applied = state.applied;
            applied.is_some_and(|applied| self.shared.log.is_all_in(self.shared.node_id, applied, state.membership))
        };
        match self.read_now(&commands, weight, is_all_in) {
            Some(replies) => Ok(Answered::whole(replies)),
            None => self.run(Way::Read(weight), commands).await,
        }
    }

    /// Runs commands that change nothing on this node's own state, if that has the entry `index_min` and is known to be
    /// no older than `age_max`; as `read` if not.
    pub async fn read_here(
        &self,
        commands: Vec<Command>,
        weight: Weight,
        index_min: u64,
        age_max: Option<Duration>,
    ) -> Result<Answered, Error> {
        if commands.is_empty() {
            return Ok(Answered::default());
        }
        let serves = || self.shared.machine.standing().serves() && self.is_fresh(age_max);
        // What is too old is not waited for, and may have become so meanwhile.
        if !serves() || !self.reaches(index_min).await? || !serves() {
            return self.read(commands, weight).await;
        }
        let has_seen = |state: &Readable<'_>| state.applied.map_or(0, |applied| applied.index) >= index_min;
        match self.read_now(&commands, weight, has_seen) {
            Some(replies) => Ok(Answered::whole(replies)),
            None => self.shared.reads_here.ask(commands, None, weight).await.map_err(|refusal| refusal.error),
        }
    }

    /// Runs reads on this thread, if there is little to them and the state at hand is one that `suits`.
    fn read_now(
        &self,
        commands: &[Command],
        weight: Weight,
        suits: impl FnOnce(&Readable<'_>) -> bool,
    ) -> Option<Replies> {
        let is_little = weight == Weight::Light && queue::are_small(commands);
        is_little.then(|| self.shared.machine.read_now(commands, suits)).flatten()
    }

    /// Returns when everything proposed before is committed and applied.
    pub async fn barrier(&self) -> Result<(), Error> {
        self.run(Way::Write, Vec::new()).await.map(drop)
    }

    /// Has the leader change the cluster, wherever it is.
    pub async fn change(&self, change: Change) -> Result<(), Error> {
        self.run_change(change).await
    }

    /// Who leads, as far as this node knows.
    pub fn leader(&self) -> Option<Node> {
        status::leader(&self.shared.raft.metrics().borrow_watched())
    }

    pub fn is_leader(&self) -> bool {
        self.shared.raft.is_leader()
    }

    pub fn status(&self) -> Status {
        let shared = &self.shared;
        Status::new(
            &shared.node,
            &shared.raft.metrics().borrow_watched(),
            shared.log.status(),
            &shared.machine.status(),
        )
    }

    /// What is counted of replies on their way.
    pub fn undelivered(&self) -> &Undelivered {
        &self.shared.undelivered
    }

    /// In the order of their ids.
    pub fn members(&self) -> Vec<Member> {
        status::members(&self.shared.raft.metrics().borrow_watched())
    }

    /// Takes a snapshot of everything applied so far, and purges the log behind it.
    pub async fn snapshot(&self) -> Result<SnapshotInfo, Error> {
        self.shared.compaction.snapshot().await
    }

    /// Holds commands no longer for a leader to come, so that sessions can end.
    pub fn stop_waiting(&self) {
        self.shared.stopping.cancel();
    }

    /// Answers what is queued, then stops Raft and closes the log. What comes later gets `Error::Stopped`.
    pub async fn shutdown(&self) {
        let shared = &self.shared;
        shared.stopping.cancel();
        shared.writes.close();
        shared.reads.close();
        shared.reads_here.close();
        shared.compaction.close();
        // Without a quorum nothing in flight is ever answered; stopping Raft then answers it.
        let drained = tokio::time::timeout(DRAIN_TIMEOUT, shared.tasks.wait()).await.is_ok();
        if !drained {
            tracing::warn!("proposals are not answered in time");
        }
        if let Err(error) = shared.raft.shutdown().await {
            tracing::warn!(%error, "raft did not stop cleanly");
        }
        shared.tasks.wait().await;
        shared.log.close().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
