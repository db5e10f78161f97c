//! Who is in the cluster. A node begins as a cluster of one; peers come with the transport between nodes.

use super::{Cluster, Error, Options, Raft};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::WaitError;
use openraft::{ChangeMembers, ReadPolicy};
use std::collections::BTreeMap;
use std::time::Duration;

/// Long enough for a slow disk; an election among one needs two syncs.
const LEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Makes a pristine log the log of a cluster with this node alone; false if it is not pristine.
pub(super) async fn bootstrap(raft: &Raft, options: &Options) -> Result<bool, Error> {
    if raft.is_initialized().await? {
        return Ok(false);
    }
    raft.initialize(BTreeMap::from([(options.node_id, options.node.clone())])).await?;
    Ok(true)
}

/// If this node is the only voter, makes it the leader at once, for no election timeout needs to pass where nobody else
/// can lead, and waits until it has committed an entry of its own, hence everything before.
pub(super) async fn lead_if_alone(cluster: &Cluster, options: &Options, is_new: bool) -> Result<(), Error> {
    let raft = &cluster.shared.raft;
    let node_id = options.node_id;
    // The core is asked, for the metrics may not know yet what `bootstrap` did.
    let alone = move |state: &openraft::RaftState<_>| state.membership_state.effective().voter_ids().eq([node_id]);
    if !raft.with_raft_state(alone).await? {
        return Ok(());
    }
    // A new cluster elects of itself; a second election would only cross the first.
    if !is_new {
        raft.trigger().elect(false).await?;
    }
    let leads = |metrics: &openraft::RaftMetrics<_>| metrics.state.is_leader();
    match raft.wait(Some(LEAD_TIMEOUT)).metrics(leads, "lead alone").await {
        Ok(_) => {}
        Err(WaitError::ShuttingDown) => return Err(Error::Stopped),
        Err(WaitError::Timeout(..)) => return Err(Error::Lead),
    }
    raft.ensure_linearizable(ReadPolicy::ReadIndex).await?;
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
