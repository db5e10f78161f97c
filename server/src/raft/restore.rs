//! A log that begins where a restored snapshot ends.

use crate::storage::log::LogStorage;
use crate::type_config::{LogId, NodeId, Vote};
use openraft::storage::RaftLogStorage;
use std::io;

/// Makes an empty log continue after `last`, which a snapshot of this node covers. The vote is raised to the snapshot's
/// term, so that the next leader's entries are newer than everything the snapshot includes.
pub async fn begin_after(log: &LogStorage, last: LogId, node_id: NodeId) -> io::Result<()> {
    let mut log = log.clone();
    log.purge(last).await?;
    log.save_vote(&Vote::new(last.leader_id.term, node_id)).await
}
