//! What stands behind the dispatcher: the cluster, the machine and the snapshot files, or in tests a stand-in.
//!
//! An enum rather than a trait: there is one real backend, its calls are awaited on the hottest path, and a stand-in is
//! wanted in tests alone. It is also the only file here that calls the layers below.

use super::error::{err, from_snapshots};
#[cfg(test)]
use super::testing::Fake;
use crate::command::Command;
use crate::fault::chain;
use crate::guest::spec::{Description, ModuleInfo};
use crate::machine::{self, Machine, snapshot};
#[cfg(feature = "figures")]
use crate::native;
use crate::raft::{self, Change, ClockStatus, Cluster, Member, View, Weight};
use crate::replies::{Answered, Replies};
use crate::reply::ErrorReply;
use crate::settings::Settings;
use crate::storage::snapshots::{self, SnapshotInfo, Snapshots};
use crate::type_config::{Node, NodeId};
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

#[derive(Debug)]
pub(super) enum Backend {
    Node {
        cluster: Arc<Cluster>,
        machine: Arc<Machine>,
        snapshots: Arc<Snapshots>,
    },
    #[cfg(test)]
    Fake(Arc<Fake>),
}

impl Backend {
    pub(super) async fn propose(&self, commands: Vec<Command>) -> Result<Replies, raft::Error> {
        match self {
            #[cfg(feature = "figures")]
            Backend::Node { .. } if native::wanted() == Some(native::Native::GuestAndLog) => {
                Ok(native::replies(commands.len()))
            }
            Backend::Node { cluster, .. } => cluster.propose(commands).await,
            #[cfg(test)]
            Backend::Fake(fake) => fake.propose(&commands),
        }
    }

    pub(super) async fn read(&self, commands: Vec<Command>, weight: Weight) -> Result<Answered, raft::Error> {
        match self {
            Backend::Node { cluster, .. } => cluster.read(commands, weight).await,
            #[cfg(test)]
            Backend::Fake(fake) => fake.answer('r', commands),
        }
    }

    /// From this node's own state if that is new enough, as `read` otherwise.
    pub(super) async fn read_here(
        &self,
        commands: Vec<Command>,
        weight: Weight,
        index_min: u64,
        age_max: Option<Duration>,
    ) -> Result<Answered, raft::Error> {
        match self {
            Backend::Node { cluster, .. } => cluster.read_here(commands, weight, index_min, age_max).await,
            #[cfg(test)]
            Backend::Fake(fake) => fake.answer('h', commands),
        }
    }

    pub(super) async fn barrier(&self) -> Result<(), raft::Error> {
        match self {
            Backend::Node { cluster, .. } => cluster.barrier().await,
            #[cfg(test)]
            Backend::Fake(fake) => fake.run('b', &[]).map(|_| ()),
        }
    }

    pub(super) async fn change(&self, change: Change) -> Result<(), raft::Error> {
        match self {
            Backend::Node { cluster, .. } => cluster.change(change).await,
            #[cfg(test)]
            Backend::Fake(fake) => fake.run('c', &[]).map(|_| ()),
        }
    }

    pub(super) async fn snapshot(&self) -> Result<SnapshotInfo, raft::Error> {
        match self {
            Backend::Node { cluster, .. } => cluster.snapshot().await,
            #[cfg(test)]
            Backend::Fake(fake) => fake.run('s', &[]).map(|_| Fake::snapshot()),
        }
    }

    pub(super) fn leader(&self) -> Option<Node> {
        match self {
            Backend::Node { cluster, .. } => cluster.leader(),
            #[cfg(test)]
            Backend::Fake(fake) => fake.leader(),
        }
    }

    pub(super) fn is_leader(&self) -> bool {
        match self {
            Backend::Node { cluster, .. } => cluster.is_leader(),
            #[cfg(test)]
            Backend::Fake(fake) => fake.is_leader(),
        }
    }

    pub(super) fn status(&self) -> raft::Status {
        match self {
            Backend::Node { cluster, .. } => cluster.status(),
            #[cfg(test)]
            Backend::Fake(fake) => fake.status(),
        }
    }

    pub(super) fn view(&self) -> View {
        match self {
            Backend::Node { cluster, .. } => cluster.view(),
            #[cfg(test)]
            Backend::Fake(fake) => fake.view(),
        }
    }

    /// Who leads, or was the last to lead, and every change of it.
    pub(super) fn leaders(&self) -> watch::Receiver<Option<(NodeId, Node)>> {
        match self {
            Backend::Node { cluster, .. } => cluster.leaders(),
            #[cfg(test)]
            Backend::Fake(fake) => fake.leaders(),
        }
    }

    pub(super) fn members(&self) -> Vec<Member> {
        match self {
            Backend::Node { cluster, .. } => cluster.members(),
            #[cfg(test)]
            Backend::Fake(fake) => fake.members(),
        }
    }

    /// The node's clock, and how it compares with the other nodes'.
    pub(super) fn clock_status(&self) -> ClockStatus {
        match self {
            Backend::Node { cluster, .. } => cluster.clock_status(),
            #[cfg(test)]
            Backend::Fake(_) => Fake::clock_status(),
        }
    }

    pub(super) fn machine(&self) -> machine::Status {
        match self {
            Backend::Node { machine, .. } => machine.status(),
            #[cfg(test)]
            Backend::Fake(_) => Fake::machine(),
        }
    }

    /// Makes this node's state wrong wherever it has `pattern`, and returns in how many places.
    #[cfg(debug_assertions)]
    pub(super) async fn corrupt(&self, pattern: &[u8]) -> Result<usize, ErrorReply> {
        match self {
            Backend::Node { machine, .. } => {
                machine.corrupt(pattern.to_vec()).await.map_err(|fault| err(fault.to_string()))
            }
            #[cfg(test)]
            Backend::Fake(_) => Ok(0),
        }
    }

    /// The settings that this node was started with.
    pub(super) fn wanted_settings(&self) -> Arc<Settings> {
        match self {
            Backend::Node { machine, .. } => Arc::clone(machine.wanted_settings()),
            #[cfg(test)]
            Backend::Fake(_) => Arc::new(Fake::wanted_settings()),
        }
    }

    pub(super) fn guest_log_lines(&self) -> u32 {
        match self {
            Backend::Node { machine, .. } => machine.guest().log_lines_per_second(),
            #[cfg(test)]
            Backend::Fake(_) => crate::settings::LOG_LINES_PER_SECOND,
        }
    }

    pub(super) fn description(&self) -> Arc<Description> {
        match self {
            Backend::Node { machine, .. } => machine.description(),
            #[cfg(test)]
            Backend::Fake(_) => Arc::new(Fake::description()),
        }
    }

    pub(super) fn module(&self) -> ModuleInfo {
        match self {
            Backend::Node { machine, .. } => machine.module(),
            #[cfg(test)]
            Backend::Fake(_) => Fake::module(),
        }
    }

    pub(super) async fn list_snapshots(&self) -> Result<Vec<SnapshotInfo>, ErrorReply> {
        match self {
            Backend::Node { snapshots, .. } => blocking(snapshots, Snapshots::list).await,
            #[cfg(test)]
            Backend::Fake(_) => Ok(vec![Fake::snapshot()]),
        }
    }

    /// The snapshot as a file that needs no other one.
    pub(super) async fn whole_snapshot(&self, id: String) -> Result<SnapshotInfo, ErrorReply> {
        match self {
            Backend::Node { snapshots, .. } => {
                let made = blocking(snapshots, move |snapshots| Ok(snapshot::whole(snapshots, &id))).await?;
                made.map_err(|error| match error {
                    snapshot::Error::Storage(error) => from_snapshots(&error),
                    error => err(chain(&error)),
                })
            }
            #[cfg(test)]
            Backend::Fake(_) => Fake::find(&id),
        }
    }

    pub(super) async fn snapshot_path(&self, id: String) -> Result<PathBuf, ErrorReply> {
        match self {
            Backend::Node { snapshots, .. } => blocking(snapshots, move |snapshots| snapshots.path(&id)).await,
            #[cfg(test)]
            Backend::Fake(_) => Fake::find(&id).map(|found| PathBuf::from("/data/snapshots").join(found.id)),
        }
    }

    pub(super) async fn read_snapshot(&self, id: String, offset: u64, limit: u64) -> Result<Bytes, ErrorReply> {
        match self {
            Backend::Node { snapshots, .. } => {
                blocking(snapshots, move |snapshots| snapshots.read_range(&id, offset, limit)).await
            }
            #[cfg(test)]
            Backend::Fake(_) => Fake::find(&id).map(|_| Fake::read(offset, limit)),
        }
    }
}

/// Files are read off the runtime's threads.
async fn blocking<T: Send + 'static>(
    snapshots: &Arc<Snapshots>,
    work: impl FnOnce(&Snapshots) -> Result<T, snapshots::Error> + Send + 'static,
) -> Result<T, ErrorReply> {
    let snapshots = Arc::clone(snapshots);
    match tokio::task::spawn_blocking(move || work(&snapshots)).await {
        Ok(outcome) => outcome.map_err(|error| from_snapshots(&error)),
        Err(_) => Err(err("the snapshot could not be read")),
    }
}
