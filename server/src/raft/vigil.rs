//! `Vigil`: notices at once that the leader's process has died.
//!
//! Raft misses a leader only after an election timeout, for a silent machine cannot be told from a slow one. A process
//! that was killed is not silent: the system closes its connections, and refuses new ones on its port. A follower that
//! sees both elects without waiting, as if the leader had handed over to it (dissertation, section 4.2.3); the vote
//! itself is Raft's own, so a mistake here costs an election and nothing else. The followers wait for each other in
//! the order of their numbers, so that they do not split the vote.

use super::Cluster;
use super::network::with_jitter;
use crate::net::peer;
use crate::type_config::{LogId, NodeId, TypeConfig};
use openraft::RaftMetrics;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::TransferLeaderRequest;
use std::io::ErrorKind;
use std::time::Duration;

/// An election among nodes that are near each other is over by then.
const TURN: Duration = Duration::from_millis(50);
/// Between two tries to reach a leader that cannot be reached, doubling: a process that is ending closes its connections
/// a little before its port.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// The leader in one term.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Leader {
    node_id: NodeId,
    term: u64,
}

impl Cluster {
    /// Until the node stops.
    pub(super) async fn keep_vigil(self) {
        let stopping = self.shared.stopping.clone();
        stopping.run_until_cancelled(self.watch_leaders()).await;
    }

    async fn watch_leaders(&self) {
        let mut metrics = self.shared.raft.metrics();
        loop {
            let leader = followed(&metrics.borrow_watched());
            let watched = async {
                match leader {
                    Some(leader) => self.watch(leader).await,
                    None => std::future::pending().await,
                }
            };
            let other = async {
                while followed(&metrics.borrow_watched()) == leader {
                    metrics.changed().await?;
                }
                Ok::<_, openraft::async_runtime::watch::RecvError>(())
            };
            tokio::select! {
                () = watched => {}
                changed = other => if changed.is_err() { return },
            }
        }
    }

    /// Watches one leader, until it has died and an election was begun.
    async fn watch(&self, leader: Leader) {
        let address = self.leader().map(|node| node.address).unwrap_or_default();
        let link = self.shared.peers.link(Some(leader.node_id), &address);
        let (mut reached, mut pause) = (false, PAUSE_MIN);
        loop {
            match link.connection().await {
                Ok(connection) => {
                    (reached, pause) = (true, PAUSE_MIN);
                    connection.closed().await;
                }
                // Only who was there can have died.
                Err(error) if reached && is_refused(&error) => break,
                Err(_) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
        tracing::warn!(leader = address, "the leader's process has ended");
        tokio::time::sleep(with_jitter(TURN * self.turn(leader))).await;
        let metrics = self.metrics();
        if followed(&metrics) != Some(leader) {
            return;
        }
        // Whose state is wrong leads only if nobody else can, which Raft's own timeout shows.
        if self.shared.machine.standing().is_quarantined() {
            std::future::pending::<()>().await;
        }
        let last: Option<LogId> = self.shared.log.status().last;
        let request = TransferLeaderRequest::<TypeConfig>::new(metrics.vote, self.shared.node_id, last);
        match self.shared.raft.handle_transfer_leader(request).await {
            Ok(Ok(())) => tracing::info!(term = leader.term, "wants to lead"),
            Ok(Err(error)) => tracing::debug!(%error, "another election is under way"),
            Err(error) => tracing::debug!(%error, "raft has stopped"),
        }
        // If nobody was elected, Raft's own timeout is next.
        std::future::pending().await
    }

    /// How many voters come before this one.
    fn turn(&self, leader: Leader) -> u32 {
        let metrics = self.metrics();
        let before = |voter: &NodeId| *voter != leader.node_id && *voter < self.shared.node_id;
        metrics.membership_config.membership().voter_ids().filter(before).count() as u32
    }
}

/// Whom this node follows as a voter.
fn followed(metrics: &RaftMetrics<TypeConfig>) -> Option<Leader> {
    let node_id = metrics.current_leader.filter(|leader| *leader != metrics.id)?;
    let votes = metrics.membership_config.membership().voter_ids().any(|voter| voter == metrics.id);
    votes.then_some(Leader { node_id, term: metrics.current_term })
}

fn is_refused(error: &peer::Error) -> bool {
    matches!(error, peer::Error::Connect { source, .. } if source.kind() == ErrorKind::ConnectionRefused)
}
