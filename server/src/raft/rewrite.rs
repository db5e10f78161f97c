//! What is done to a log while no cluster runs on it: to begin it behind a snapshot, or to take it over.

use crate::storage::log::LogStorage;
use crate::storage::schema::log_id;
use crate::type_config::{Entry, LogId, Node, NodeId, TypeConfig, Vote};
use openraft::EntryPayload;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Makes an empty log continue after `last`, which a snapshot of this node covers. The vote is raised to the snapshot's
/// term, so that the next leader's entries are newer than everything the snapshot includes.
pub async fn begin_after(log: &LogStorage, last: LogId, node_id: NodeId) -> io::Result<()> {
    let mut log = log.clone();
    log.purge(last).await?;
    log.save_vote(&Vote::new(last.leader_id.term, node_id)).await
}

/// Makes this node the only member, by an entry that no quorum has agreed to, in a term of its own. Everything before
/// stays, whether it was committed or not: it may have been acknowledged. To repeat it does no harm.
pub async fn take_over(log: &LogStorage, node_id: NodeId, node: Node) -> io::Result<LogId> {
    let mut log = log.clone();
    let status = log.status();
    let last = status.last.or(status.purged);
    let voted = log.read_vote().await?.map_or(0, |vote| vote.leader_id.term);
    let term = voted.max(last.map_or(0, |last| last.leader_id.term)) + 1;
    log.save_vote(&Vote::new(term, node_id)).await?;
    let members = openraft::Membership::new(vec![BTreeSet::from([node_id])], BTreeMap::from([(node_id, node)]));
    let alone = Entry {
        log_id: log_id(term, last.map_or(0, |last| last.index + 1)),
        payload: EntryPayload::Membership(members.map_err(io::Error::other)?),
    };
    let taken = alone.log_id;
    let (sender, flushed) = TypeConfig::oneshot();
    log.append([alone], IOFlushed::signal(sender)).await?;
    flushed.await.map_err(io::Error::other)??;
    Ok(taken)
}
