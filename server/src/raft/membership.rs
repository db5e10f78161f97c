//! Who is in the cluster. A node begins as a cluster of one; peers come with the transport between nodes.

use super::{Cluster, Error, Options, Raft};
use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Long enough for a slow disk; an election among one needs two syncs.
const LEAD_TIMEOUT: Duration = Duration::from_secs(30);
const LEAD_RETRY: Duration = Duration::from_millis(2);

/// Makes a pristine log the log of a cluster with this node alone.
pub(super) async fn bootstrap(raft: &Raft, options: &Options) -> Result<(), Error> {
    if raft.is_initialized().await? {
        return Ok(());
    }
    raft.initialize(BTreeMap::from([(options.node_id, options.node.clone())])).await?;
    Ok(())
}

/// If this node is the only voter, makes it the leader at once, for no election timeout needs to pass where nobody else
/// can lead, and waits until it has committed an entry of its own, hence everything before.
pub(super) async fn lead_if_alone(cluster: &Cluster, options: &Options) -> Result<(), Error> {
    let raft = &cluster.shared.raft;
    if !raft.voter_ids().eq([options.node_id]) {
        return Ok(());
    }
    if !raft.is_leader() {
        raft.trigger().elect(false).await?;
    }
    let begun = Instant::now();
    loop {
        match raft.ensure_linearizable(openraft::ReadPolicy::ReadIndex).await.map_err(Error::from) {
            Ok(_) => break,
            // Not yet.
            Err(Error::NoLeader | Error::NotLeader { .. }) if begun.elapsed() < LEAD_TIMEOUT => {
                tokio::time::sleep(LEAD_RETRY).await;
            }
            Err(Error::NoLeader | Error::NotLeader { .. }) => return Err(Error::Lead),
            Err(error) => return Err(error),
        }
    }
    rename(raft, options).await
}

/// The operator may have given the node another name or address since the last start.
async fn rename(raft: &Raft, options: &Options) -> Result<(), Error> {
    let membership = raft.metrics().borrow_watched().membership_config.clone();
    if membership.membership().get_node(&options.node_id) == Some(&options.node) {
        return Ok(());
    }
    tracing::info!(node_id = options.node_id, node = %options.node, "node has a new name or address");
    let change = ChangeMembers::SetNodes(BTreeMap::from([(options.node_id, options.node.clone())]));
    raft.change_membership(change, false).await?;
    Ok(())
}
