//! Starting the machine: the newest snapshot that is whole, and the thread that goes on from there.

use super::awaited::Awaited;
use super::digest::Ring;
use super::lending::Lending;
use super::replica::Replica;
use super::standing::{Audit, Standing};
use super::tail::Tail;
use super::worker::{Job, Replay, Worker};
use super::{Machine, Shared, Status, snapshot};
use crate::digest::Difference;
use crate::fault::{Alarm, Fault, chain};
use crate::guest::{self, Guest};
use crate::storage::snapshots::Snapshots;
use crate::type_config::{LogId, Membership, NodeId};
use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, watch};

/// Jobs waiting for the apply thread; each is a batch already.
const JOBS_MAX: usize = 1024;

/// What the machine starts from.
pub struct Options {
    pub node_id: NodeId,
    pub guest: Arc<Guest>,
    pub snapshots: Snapshots,
    /// The last entry that the log no longer has: a snapshot must reach at least this far.
    pub purged: Option<LogId>,
    /// The last entry known to be committed: up to here, applying is a replay.
    pub committed: Option<LogId>,
    /// Why the state that the snapshots and the log give is known to be wrong, if it is.
    pub quarantined: Option<Difference>,
    pub alarm: Alarm,
}

/// Why the machine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the snapshots cannot be listed")]
    List(#[source] crate::storage::snapshots::Error),
    #[error("a damaged snapshot cannot be set aside")]
    SetAside(#[source] crate::storage::snapshots::Error),
    #[error(
        "the log begins after index {purged}, and no snapshot that reaches so far can be used{problems}; \
         in a cluster, have another node remove this one (RAFT SERVER REMOVE), move its data directory away and let it \
         join again; otherwise restore the data directory from a copy, or start a new one with --restore"
    )]
    NoSnapshot { purged: u64, problems: String },
    #[error("the newest snapshot cannot be used")]
    Module(#[source] snapshot::Error),
    #[error("the machine's state could not be set up")]
    State(#[from] Fault),
    #[error("the apply thread could not be started")]
    Thread(#[source] std::io::Error),
}

impl Machine {
    /// Returns once the state is there; all of the guest runs on the apply thread, whose stack is large enough for it.
    pub fn start(options: Options) -> Result<Machine, StartError> {
        let shared = Arc::new(Shared {
            status: Mutex::new(Status::default()),
            digests: Mutex::new(Ring::default()),
            commands: AtomicU64::new(0),
            awaited: Awaited::default(),
            snapshot_index: AtomicU64::new(0),
            standing: watch::Sender::default(),
            alarm: options.alarm.clone(),
            lending: Lending::default(),
        });
        let (guest, snapshots) = (Arc::clone(&options.guest), options.snapshots.clone());
        let (jobs, receiver) = mpsc::channel(JOBS_MAX);
        let (started, outcome) = std::sync::mpsc::sync_channel(1);
        let (thread_shared, weak_jobs) = (Arc::clone(&shared), jobs.downgrade());
        std::thread::Builder::new()
            .name("apply".to_owned())
            .stack_size(guest::THREAD_STACK_BYTES)
            .spawn(move || {
                let _guard = PanicGuard(options.alarm.clone());
                match worker(options, thread_shared, weak_jobs) {
                    Ok(worker) => {
                        // The caller may look at the status at once.
                        worker.publish();
                        // The caller waits for this.
                        let _ = started.send(Ok(()));
                        worker.run(receiver);
                    }
                    Err(error) => {
                        let _ = started.send(Err(error));
                    }
                }
            })
            .map_err(StartError::Thread)?;
        match outcome.recv() {
            Ok(Ok(())) => Ok(Machine { jobs, wanted: Arc::new(guest.settings()), guest, snapshots, shared }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(StartError::State(Fault::new("a thread of the machine panicked"))),
        }
    }
}

fn worker(options: Options, shared: Arc<Shared>, jobs: mpsc::WeakSender<Job>) -> Result<Worker, StartError> {
    let Options { node_id, guest, snapshots, purged, committed, quarantined, alarm: _ } = options;
    let State { replica, applied, membership, standing } = match quarantined {
        None => match newest_state(&guest, &snapshots, purged) {
            Err(lost @ StartError::NoSnapshot { .. }) => lost_state(&guest, &snapshots, purged, node_id, lost)?,
            state => state?,
        },
        Some(difference) => {
            State { standing: Standing::Quarantined(difference), ..no_state(&guest, &snapshots, purged)?.0 }
        }
    };
    let index = |id: Option<LogId>| id.map_or(0, |id| id.index);
    let replay = Replay::new(index(applied), index(committed));
    Ok(Worker {
        node_id,
        guest,
        snapshots,
        replica,
        applied,
        membership,
        audit: Audit { standing, ..Audit::default() },
        tail: Tail::default(),
        jobs,
        digesting: None,
        held: VecDeque::new(),
        compared: 0,
        replay,
        shared,
    })
}

/// What a machine begins with.
struct State {
    replica: Replica,
    applied: Option<LogId>,
    membership: Membership,
    standing: Standing,
}

/// A bug that panics must stop the node, not leave it answering nothing.
pub(super) struct PanicGuard(pub(super) Alarm);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.raise(&Fault::new("the apply thread panicked"));
        }
    }
}

/// The state of the newest snapshot that is whole and of this module, or the very first state.
fn newest_state(guest: &Arc<Guest>, snapshots: &Snapshots, purged: Option<LogId>) -> Result<State, StartError> {
    let purged = purged.map_or(0, |id| id.index);
    let mut problems = String::new();
    let mut damaged = Vec::new();
    for info in snapshots.list().map_err(StartError::List)? {
        if info.index < purged {
            break;
        }
        let started = std::time::Instant::now();
        match snapshot::read(snapshots, guest, &info.id) {
            Ok((meta, checkpoint)) => {
                let replica = Replica::restore(Arc::clone(guest), checkpoint)?;
                tracing::info!(snapshot = info.id, bytes = info.bytes, elapsed = ?started.elapsed(), "loaded a snapshot");
                set_aside(snapshots, &damaged)?;
                let (applied, membership) = (meta.last_log_id, meta.last_membership);
                return Ok(State { replica, applied, membership, standing: Standing::Sound });
            }
            // Every snapshot and the whole log are of the other module too: an older one would not help.
            Err(error @ snapshot::Error::Module { .. }) => return Err(StartError::Module(error)),
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(snapshot = info.id, error, "a snapshot is damaged; trying an older one");
                problems.push_str(&format!("; {}: {error}", info.id));
                damaged.push(info.id);
            }
        }
    }
    if purged > 0 {
        return Err(StartError::NoSnapshot { purged, problems });
    }
    set_aside(snapshots, &damaged)?;
    let replica = Replica::new(Arc::clone(guest))?;
    Ok(State { replica, applied: None, membership: Membership::default(), standing: Standing::Sound })
}

/// No snapshot can be used, and without one the log says too little. The vote and the log are whole, so a node that is not
/// alone goes on as one whose state is known to be wrong, and gets another's. It must be known where the snapshot stood.
fn lost_state(
    guest: &Arc<Guest>,
    snapshots: &Snapshots,
    purged: Option<LogId>,
    node_id: NodeId,
    lost: StartError,
) -> Result<State, StartError> {
    let Ok((state, Some(header))) = no_state(guest, snapshots, purged) else { return Err(lost) };
    if header.voters().iter().all(|voter| *voter == node_id) {
        return Err(lost);
    }
    let error = chain(&lost);
    tracing::error!(error, "this node's snapshots are damaged: it is in quarantine until it has another's state");
    let difference = Difference { ours: header.digests, theirs: header.digests };
    Ok(State { standing: Standing::Quarantined(difference), ..state })
}

/// The very first state in the place of one that is known to be wrong, for nobody to see, and where the newest snapshot
/// stands: Raft goes on from there.
fn no_state(
    guest: &Arc<Guest>,
    snapshots: &Snapshots,
    purged: Option<LogId>,
) -> Result<(State, Option<snapshot::Header>), StartError> {
    let replica = Replica::new(Arc::clone(guest))?;
    let purged = purged.map_or(0, |id| id.index);
    let (mut damaged, mut problems) = (Vec::new(), String::new());
    for info in snapshots.list().map_err(StartError::List)?.into_iter().filter(|info| info.index >= purged) {
        match snapshot::read_header(snapshots, &info.id) {
            Ok(header) => {
                set_aside(snapshots, &damaged)?;
                let (applied, membership) = (header.meta.last_log_id, header.meta.last_membership.clone());
                return Ok((State { replica, applied, membership, standing: Standing::Sound }, Some(header)));
            }
            Err(error) => {
                problems.push_str(&format!("; {}: {}", info.id, chain(&error)));
                damaged.push(info.id);
            }
        }
    }
    match purged {
        0 => {
            let membership = Membership::default();
            Ok((State { replica, applied: None, membership, standing: Standing::Sound }, None))
        }
        purged => Err(StartError::NoSnapshot { purged, problems }),
    }
}

/// Raft asks for the newest snapshot of the list, and it must be one that can be installed.
fn set_aside(snapshots: &Snapshots, damaged: &[String]) -> Result<(), StartError> {
    damaged.iter().try_for_each(|id| snapshots.set_aside(id)).map_err(StartError::SetAside)
}
