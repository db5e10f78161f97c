//! `Options`: what may be chosen about a member, and what it means to openraft.

use super::Error;
use crate::type_config::{Node, NodeId};
use openraft::SnapshotPolicy;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Options {
    pub node_id: NodeId,
    pub node: Node,
    /// SHA-256 of the module that this node runs; others may join with the same one only.
    pub module: String,
    /// The nodes of the new cluster that an empty log becomes the log of, all of them voters; none if it becomes none.
    pub founders: BTreeMap<NodeId, Node>,
    /// Whether commands that reach a follower are sent on to the leader; without it, clients are told who leads.
    pub forward: bool,
    /// How long commands are held while no leader can be reached.
    pub leader_wait: Duration,
    /// Whether a leader answers reads without asking the others while a quorum has confirmed it lately. It assumes that
    /// the clocks of the nodes run at about the same rate, and must be the same on all of them.
    pub lease_reads: bool,
    /// How far the clock of a node may be from those of a quorum before the leader warns.
    pub clock_skew_max: Duration,
    /// How old the last tick may get before a proposal carries a new seed.
    pub tick: Duration,
    /// What one proposal carries at most, but for a single larger group.
    pub batch_commands_max: usize,
    pub batch_bytes_max: usize,
    /// What may wait to be proposed, and again to be read; over it a caller gets `Error::Busy`.
    pub queue_commands_max: usize,
    pub queue_bytes_max: usize,
    /// While replies of more bytes are made and not taken, nothing more is run.
    pub undelivered_bytes_max: usize,
    /// With two, the next batch is on its way while the last one is synced; with more, batches get smaller.
    pub proposals_in_flight_max: usize,
    /// A snapshot is taken when the log behind the last one has so many entries or bytes.
    pub snapshot_log_entries: u64,
    pub snapshot_log_bytes: u64,
    /// How many entries stay in the log behind a snapshot.
    pub snapshot_log_entries_kept: u64,
    /// How often all replicas make the digest of their state, while there are writes; `None` if only with snapshots.
    pub mark_every: Option<Duration>,
    pub heartbeat: Duration,
    pub election_timeout_min: Duration,
    pub election_timeout_max: Duration,
}

/// Time for a peer to install a snapshot of a gigabyte.
const INSTALL_SNAPSHOT_TIMEOUT_MS: u64 = 10 * 60 * 1000;

impl Options {
    pub fn new(node_id: NodeId, node: Node) -> Options {
        Options {
            founders: BTreeMap::from([(node_id, node.clone())]),
            node_id,
            node,
            module: String::new(),
            forward: true,
            leader_wait: Duration::from_secs(5),
            lease_reads: false,
            clock_skew_max: Duration::from_millis(500),
            tick: Duration::from_millis(200),
            batch_commands_max: 4096,
            batch_bytes_max: 1 << 20,
            queue_commands_max: 256 << 10,
            queue_bytes_max: 256 << 20,
            undelivered_bytes_max: 256 << 20,
            proposals_in_flight_max: 1,
            snapshot_log_entries: 100_000,
            snapshot_log_bytes: 64 << 20,
            snapshot_log_entries_kept: 100,
            mark_every: Some(Duration::from_secs(10)),
            heartbeat: Duration::from_millis(200),
            election_timeout_min: Duration::from_millis(1000),
            election_timeout_max: Duration::from_millis(2000),
        }
    }

    /// How long a leader counts on what a quorum has confirmed: less than the time for which its followers elect nobody
    /// else, by more than any two clocks differ in rate.
    pub(super) fn lease(&self) -> Option<Duration> {
        self.lease_reads.then(|| self.election_timeout_min * 3 / 4)
    }

    pub(super) fn openraft(&self) -> Result<openraft::Config, Error> {
        let ms = |duration: Duration| duration.as_millis() as u64;
        let config = openraft::Config {
            cluster_name: "uhaha".into(),
            heartbeat_interval: ms(self.heartbeat),
            election_timeout_min: ms(self.election_timeout_min),
            election_timeout_max: ms(self.election_timeout_max),
            install_snapshot_timeout: INSTALL_SNAPSHOT_TIMEOUT_MS,
            max_payload_entries: 2048,
            // Above the trigger, so that a peer gets entries for as long as there are some.
            replication_lag_threshold: self.snapshot_log_entries.saturating_mul(2),
            // `compaction` decides, for openraft does not count bytes.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: self.snapshot_log_entries_kept,
            purge_batch_size: 1000,
            enable_pre_vote: Some(true),
            // A leader that lost the unsynced end of its log in a crash would hand out the same log ids again.
            enable_leader_restore: Some(false),
            // A leader cut off from its quorum stops its heartbeats, so that they hold up no one else's election.
            quorum_loss_probe_interval: Some(2 * ms(self.election_timeout_max)),
            ..openraft::Config::default()
        };
        config.validate().map_err(|source| Error::Options { source: Box::new(source) })
    }
}
