//! Who is in the cluster, and every way in which that changes: on the leader, one change at a time.
//!
//! openraft refuses a change while another is under way, so none is queued here: nodes that join ask again, operators
//! are told.

use super::rpc::{Change, Join, Joined, Stage};
use super::{Cluster, Error, Options, Raft};
use crate::net::peer;
use crate::type_config::{Membership, Node, NodeId, TypeConfig};
use futures_util::future::join_all;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::metrics::WaitError;
use openraft::{ChangeMembers, Instant, RaftMetrics, ReadPolicy};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Long enough for a slow disk; an election among one needs two syncs.
const LEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for a quorum to agree on a change.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// A node that does not answer by then counts as one that is down.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// A learner that is closer than this to the end of the log may vote: it has the rest within a moment.
const VOTER_ENTRIES_LEFT_MAX: u64 = 1000;

type Metrics = RaftMetrics<TypeConfig>;

/// Makes a pristine log the log of the cluster that these nodes found; false if it is not pristine.
pub(super) async fn bootstrap(raft: &Raft, options: &Options) -> Result<bool, Error> {
    if options.founders.is_empty() || raft.is_initialized().await? {
        return Ok(false);
    }
    raft.initialize(options.founders.clone()).await?;
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
    if cluster.shared.machine.standing().is_quarantined() {
        return Err(Error::Refused(
            "this node's state is known to be wrong, and there is no other node to take one from; begin anew with \
             --restore and a snapshot of a node that was right"
                .to_owned(),
        ));
    }
    // A new cluster elects of itself; a second election would only cross the first.
    if !is_new {
        raft.trigger().elect(false).await?;
    }
    let leads = |metrics: &Metrics| metrics.state.is_leader();
    match raft.wait(Some(LEAD_TIMEOUT)).metrics(leads, "lead alone").await {
        Ok(_) => {}
        Err(WaitError::ShuttingDown) => return Err(Error::Stopped),
        Err(WaitError::Timeout(..)) => return Err(Error::Lead),
    }
    raft.ensure_linearizable(ReadPolicy::ReadIndex).await?;
    // The operator may have given the node another name or address since the last start.
    if cluster.metrics().membership_config.membership().get_node(&node_id) != Some(&options.node) {
        tracing::info!(node_id, node = %options.node, "node has a new name or address");
        cluster.set_node(node_id, options.node.clone()).await?;
    }
    Ok(())
}

impl Cluster {
    /// Does the next step for a node that wants to belong to the cluster.
    pub(super) async fn admit(&self, from: peer::Remote, join: Join) -> Joined {
        match self.admit_here(from, &join).await {
            Ok(joined) => joined,
            Err(Error::NotLeader { leader }) => Joined::Ask(leader),
            Err(Error::Refused(reason)) => Joined::Refused(reason),
            Err(error) => Joined::Later(error.to_string()),
        }
    }

    async fn admit_here(&self, from: peer::Remote, join: &Join) -> Result<Joined, Error> {
        let metrics = self.leading()?;
        if join.module != self.shared.module {
            return Err(Error::Refused(format!(
                "it runs another module ({}) than the cluster ({}); start it with the cluster's module",
                join.module, self.shared.module
            )));
        }
        let membership = metrics.membership_config.membership();
        let engine = self.shared.machine.guest().fingerprint();
        // A member is told by its own log.
        if join.engine != engine && membership.get_node(&join.node_id).is_none() {
            return Err(Error::Refused(format!(
                "it has another engine ({}) than the cluster ({engine}); start the cluster's version of the server",
                join.engine
            )));
        }
        for (node_id, node) in membership.nodes().filter(|(node_id, _)| **node_id != join.node_id) {
            if node.name == join.node.name {
                return Err(Error::Refused(format!(
                    "the cluster has a node {} already, at {}; choose another --id, or have that one removed first \
                     with RAFT SERVER REMOVE {0}",
                    node.name, node.address
                )));
            }
            if node.address == join.node.address {
                return Err(Error::Refused(format!(
                    "the cluster has node {} ({node_id}) at {} already; listen on or advertise another address",
                    node.name, node.address
                )));
            }
        }
        if join.stage == Stage::Asks {
            // An address at which the leader does not reach the node would make it a member that counts and never answers.
            let dialled = self.shared.peers.link(Some(join.node_id), &join.node.address).connection().await;
            return Ok(dialled.map_or_else(|error| Joined::Later(unreached(&error)), |_| Joined::Welcome));
        }
        if from.cluster.is_none() || from.node_id != join.node_id {
            return Err(Error::Refused("a node can join only for itself".to_owned()));
        }
        let catching_up = |entries_left| Ok(Joined::CatchingUp { entries_left });
        match membership.get_node(&join.node_id) {
            None if join.stage == Stage::Returns => {
                return Err(Error::Refused(
                    "it was removed; to have it back, start it with --join and an empty data directory".to_owned(),
                ));
            }
            None => {
                tracing::info!(node = %join.node, node_id = join.node_id, "a node joins");
                self.shared.raft.add_learner(join.node_id, join.node.clone(), false).await.map_err(refused)?;
                return if join.voter { catching_up(entries_left(&metrics, join.node_id)) } else { Ok(Joined::Member) };
            }
            Some(node) if *node != join.node => {
                tracing::info!(node = %join.node, node_id = join.node_id, "a node has a new name or address");
                self.shared.peers.note_moved(join.node_id, &join.node.address);
                self.set_node(join.node_id, join.node.clone()).await?;
            }
            Some(_) => {}
        }
        if join.voter && is_voter(&metrics, join.node_id) && is_joint(&metrics) {
            return Err(Error::ChangeInProgress);
        }
        if !join.voter || is_voter(&metrics, join.node_id) {
            return Ok(Joined::Member);
        }
        match entries_left(&metrics, join.node_id) {
            left if left > VOTER_ENTRIES_LEFT_MAX => catching_up(left),
            _ => {
                self.change_members(ChangeMembers::AddVoterIds(BTreeSet::from([join.node_id])), true).await?;
                Ok(Joined::Member)
            }
        }
    }

    /// Makes a change that an operator asked for, if this node leads.
    pub(super) async fn change_here(&self, change: &Change) -> Result<(), Error> {
        let metrics = self.leading()?;
        match change {
            Change::Transfer { name: None } => self.transfer(&metrics, None).await,
            Change::Transfer { name: Some(name) } => {
                let node_id = find(&metrics, name)?;
                match is_voter(&metrics, node_id) {
                    true => self.transfer(&metrics, Some(node_id)).await,
                    false => Err(Error::Refused(format!("{name} is no voter; promote it first"))),
                }
            }
            Change::Set { name, address, voter } => {
                let node_id = find(&metrics, name).map_err(|_| {
                    Error::Refused(format!(
                        "the cluster has no node {name}; a new node adds itself when it is started with --join and the \
                         address of a member"
                    ))
                })?;
                let node = Node { name: name.clone(), address: address.clone() };
                if metrics.membership_config.membership().get_node(&node_id) != Some(&node) {
                    self.set_node(node_id, node).await?;
                }
                match (voter, is_voter(&metrics, node_id)) {
                    (true, false) => self.promote(&metrics, node_id).await,
                    (false, true) => self.take_vote(&metrics, name, node_id, true).await,
                    _ => Ok(()),
                }
            }
            Change::Promote { name } => self.promote(&metrics, find(&metrics, name)?).await,
            Change::Demote { name } => match find(&metrics, name)? {
                node_id if is_voter(&metrics, node_id) => self.take_vote(&metrics, name, node_id, true).await,
                _ => Ok(()),
            },
            Change::Remove { name } => match find(&metrics, name)? {
                node_id if is_voter(&metrics, node_id) => self.take_vote(&metrics, name, node_id, false).await,
                node_id => self.change_members(ChangeMembers::RemoveNodes(BTreeSet::from([node_id])), false).await,
            },
        }
    }

    /// Gives leadership to the voter that is best prepared, if this node leads and there is another voter.
    pub async fn hand_over(&self) -> Result<(), Error> {
        match self.leading() {
            Ok(metrics) if metrics.membership_config.membership().voter_ids().count() > 1 => {
                self.transfer(&metrics, None).await
            }
            _ => Ok(()),
        }
    }

    async fn promote(&self, metrics: &Metrics, node_id: NodeId) -> Result<(), Error> {
        if is_voter(metrics, node_id) {
            return Ok(());
        }
        let left = entries_left(metrics, node_id);
        if left > VOTER_ENTRIES_LEFT_MAX {
            let reason = format!("it lacks {left} entries of the log; promote it when it has caught up");
            return Err(Error::Refused(reason));
        }
        self.change_members(ChangeMembers::AddVoterIds(BTreeSet::from([node_id])), true).await
    }

    /// Makes a voter a learner, or no member at all. A leader lets another lead first, and that one does it.
    async fn take_vote(&self, metrics: &Metrics, name: &str, node_id: NodeId, stays: bool) -> Result<(), Error> {
        let left: Vec<NodeId> =
            metrics.membership_config.membership().voter_ids().filter(|voter| *voter != node_id).collect();
        if left.is_empty() {
            return Err(Error::Refused(format!("{name} is the only voter: the cluster would be gone")));
        }
        let answering = join_all(left.iter().map(|voter| self.answers_now(metrics, *voter))).await;
        let answering = answering.into_iter().filter(|answers| *answers).count();
        let needed = left.len() / 2 + 1;
        if answering < needed {
            return Err(Error::Refused(format!(
                "without {name} the cluster would have {} voters of which {answering} answer, and it needs {needed}: \
                 bring a node back first",
                left.len()
            )));
        }
        if node_id == metrics.id {
            self.transfer(metrics, None).await?;
            return Err(Error::NoLeader);
        }
        self.change_members(ChangeMembers::RemoveVoters(BTreeSet::from([node_id])), stays).await
    }

    /// Has another voter lead, and returns when it does.
    async fn transfer(&self, metrics: &Metrics, to: Option<NodeId>) -> Result<(), Error> {
        let membership = metrics.membership_config.membership();
        let can_lead = |voter: &NodeId| self.answers(metrics, *voter) && self.shared.presence.is_sound(*voter);
        let others = membership.voter_ids().filter(|voter| *voter != metrics.id && can_lead(voter));
        let best = others.max_by_key(|voter| (matched(metrics, *voter), std::cmp::Reverse(*voter)));
        let to = match to {
            Some(to) if to == metrics.id => return Ok(()),
            Some(to) => to,
            None => best.ok_or_else(|| Error::Refused("no other voter answers".to_owned()))?,
        };
        let node = membership.get_node(&to).cloned().unwrap_or_default();
        tracing::info!(to = %node, "handing leadership over");
        self.shared.raft.trigger().transfer_leader(to).await?;
        let done = |now: &Metrics| now.current_leader.is_some_and(|leader| leader != metrics.id);
        match self.shared.raft.wait(Some(self.shared.transfer_timeout)).metrics(done, "another leader").await {
            Ok(_) => Ok(()),
            Err(WaitError::ShuttingDown) => Err(Error::Stopped),
            Err(WaitError::Timeout(..)) => Err(Error::Refused(format!("{node} did not take over in time"))),
        }
    }

    /// Whether a node has answered the leader lately.
    fn answers(&self, metrics: &Metrics, node_id: NodeId) -> bool {
        let last = metrics.heartbeat.as_ref().and_then(|answers| *answers.get(&node_id)?);
        node_id == metrics.id || last.is_some_and(|at| at.elapsed() < self.shared.answer_timeout)
    }

    /// Whether a node answers at this moment.
    async fn answers_now(&self, metrics: &Metrics, node_id: NodeId) -> bool {
        let Some(node) = metrics.membership_config.membership().get_node(&node_id) else { return false };
        let link = self.shared.peers.link(Some(node_id), &node.address);
        node_id == metrics.id || matches!(tokio::time::timeout(ANSWER_TIMEOUT, link.connection()).await, Ok(Ok(_)))
    }

    async fn set_node(&self, node_id: NodeId, node: Node) -> Result<(), Error> {
        self.change_members(ChangeMembers::SetNodes(BTreeMap::from([(node_id, node)])), true).await
    }

    async fn change_members(&self, change: ChangeMembers<NodeId, Node>, retain: bool) -> Result<(), Error> {
        let changing = self.shared.raft.change_membership(change, retain);
        // It stays under way until a quorum answers, but who asked for it wants to know.
        let changed = tokio::time::timeout(CHANGE_TIMEOUT, changing).await.map_err(|_| Error::Unknown)?;
        changed.map(drop).map_err(refused)
    }

    /// The metrics of a leader.
    fn leading(&self) -> Result<Metrics, Error> {
        let metrics = self.metrics();
        match (metrics.state.is_leader(), super::status::leader(&metrics)) {
            (true, _) => Ok(metrics),
            (false, Some(leader)) if metrics.current_leader != Some(metrics.id) => Err(Error::NotLeader { leader }),
            _ => Err(Error::NoLeader),
        }
    }

    pub(super) fn metrics(&self) -> Metrics {
        self.shared.raft.metrics().borrow_watched().clone()
    }

    /// Tells the links of every new address, and the operator of every new membership, until the node stops.
    pub(super) async fn follow_membership(self) {
        let mut metrics = self.shared.raft.metrics();
        let mut known: Arc<Membership> = Arc::default();
        let mut said = String::new();
        loop {
            let now = metrics.borrow_watched().membership_config.clone();
            if now != known {
                self.shared.peers.note_addresses(now.membership().nodes());
                let members = super::status::members(&metrics.borrow_watched()).into_iter();
                let members = members.map(|member| member.to_string()).collect::<Vec<_>>().join(", ");
                // A change of voters takes two entries, which look the same from here.
                if members != said {
                    tracing::info!(members, "membership");
                    said = members;
                }
                known = now;
            }
            let changed = self.shared.stopping.run_until_cancelled(metrics.changed()).await;
            if !matches!(changed, Some(Ok(()))) {
                return;
            }
        }
    }
}

fn find(metrics: &Metrics, name: &str) -> Result<NodeId, Error> {
    let membership = metrics.membership_config.membership();
    let found = membership.nodes().find(|(_, node)| node.name == name).map(|(node_id, _)| *node_id);
    found.ok_or_else(|| Error::Refused(format!("the cluster has no node {name}")))
}

fn is_voter(metrics: &Metrics, node_id: NodeId) -> bool {
    metrics.membership_config.membership().voter_ids().any(|voter| voter == node_id)
}

/// Whether a change is half done: a majority of the voters before it and one of those after it must agree to anything.
fn is_joint(metrics: &Metrics) -> bool {
    metrics.membership_config.membership().get_joint_config().len() > 1
}

/// Up to where a node has the leader's log.
fn matched(metrics: &Metrics, node_id: NodeId) -> Option<u64> {
    metrics.replication.as_ref()?.get(&node_id)?.map(|log_id| log_id.index)
}

fn entries_left(metrics: &Metrics, node_id: NodeId) -> u64 {
    let count = |index: Option<u64>| index.map_or(0, |index| index + 1);
    count(metrics.last_log_index).saturating_sub(count(matched(metrics, node_id)))
}

fn unreached(error: &peer::Error) -> String {
    format!("the leader does not reach it: {}", crate::fault::chain(error))
}

fn refused(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> Error {
    match error {
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => match error {
            ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_) => {
                Error::ChangeInProgress
            }
            error => Error::Refused(error.to_string()),
        },
        error => error.into(),
    }
}
