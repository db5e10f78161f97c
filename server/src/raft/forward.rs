//! Commands that reach a node which does not lead: they are sent on to the leader, and held while there is none.
//!
//! A node that answers for another never sends further itself, so there are no loops. What certainly was not done is
//! tried again until `leader_wait` is over. When the leader is lost with commands in its hands, this node's own log
//! tells what became of them: either it applies them, and has their replies, or it applies an entry of a later term
//! without having seen them, and then no one will ever run them, for a leader proposes forwarded commands only in the
//! term they were meant for.

use super::link::{Link, Peers};
use super::queue::{Queue, Refusal, Ticket, Weight};
use super::rpc::{self, Failure, Kind};
use super::{Cluster, Error};
use crate::command::Command;
use crate::machine::{Awaiting, Given};
use crate::net::peer;
use crate::replies::{Answered, Replies};
use crate::type_config::{Node, NodeId, TypeConfig};
use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::WaitError;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Waits between two tries, doubling; a new leader ends a wait at once.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// Links to nodes that no longer lead are forgotten now and then.
const LINKS_MAX: usize = 16;
/// Time for the leader to do what an operator asked.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// What forwarding needs to remember.
pub(super) struct Forward {
    peers: Peers,
    /// By address.
    links: Mutex<BTreeMap<String, Link>>,
    /// Begins at random, so that a number is not used again after a restart.
    next_request: AtomicU64,
    /// Whether commands are sent on; without it, clients are told who leads.
    pub(super) enabled: bool,
    pub(super) leader_wait: Duration,
}

/// Which way commands go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Write,
    Read(Weight),
}

/// What one try came to.
enum Try<T> {
    Done(Result<T, Error>),
    /// Nothing was done.
    Again,
}

/// Who leads, as far as this node knows.
struct Leader {
    node_id: NodeId,
    node: Node,
    term: u64,
}

impl Forward {
    pub(super) fn new(peers: Peers, enabled: bool, leader_wait: Duration) -> Result<Forward, Error> {
        let next_request = AtomicU64::new(getrandom::u64().map_err(Error::Entropy)?);
        Ok(Forward { peers, links: Mutex::default(), next_request, enabled, leader_wait })
    }

    pub(super) fn link(&self, address: &str) -> Link {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(address) {
            return link.clone();
        }
        if links.len() >= LINKS_MAX {
            links.clear();
        }
        let link = self.peers.link(None, address);
        links.insert(address.to_owned(), link.clone());
        link
    }
}

impl Cluster {
    /// Runs commands where the leader is.
    pub(super) async fn run(&self, way: Way, mut commands: Vec<Command>) -> Result<Answered, Error> {
        if self.is_leader() {
            match self.ask_here(way, commands, None).await {
                Ok(answered) => return Ok(answered),
                Err(Refusal { error: Error::NotLeader { .. } | Error::NoLeader, given_back: Some(back) }) => {
                    commands = back;
                }
                Err(refusal) => return Err(refusal.error),
            }
        }
        let forward = &self.shared.forward;
        let mut patience = Patience::new(self);
        loop {
            match self.leader_now() {
                // To be sent to one that has died would only be a longer way to its successor.
                Some(leader) if !forward.enabled && self.shared.presence.answers(leader.node_id) => {
                    return Err(Error::NotLeader { leader: leader.node });
                }
                Some(leader) if leader.node_id == self.shared.node_id => {
                    match self.ask_here(way, commands, None).await {
                        Ok(answered) => return Ok(answered),
                        Err(Refusal { error: Error::NotLeader { .. } | Error::NoLeader, given_back: Some(back) }) => {
                            commands = back;
                        }
                        Err(refusal) => return Err(refusal.error),
                    }
                }
                Some(leader) if forward.enabled => {
                    let tried = match way {
                        Way::Write => self.write_there(&leader, &commands).await,
                        Way::Read(weight) => self.read_there(&leader, &commands, weight).await,
                    };
                    if let Try::Done(outcome) = tried {
                        return outcome.map(|replies| {
                            // If there are too many, whoever asked finds out.
                            let rest = commands.split_off(replies.len().min(commands.len()));
                            Answered { replies, rest }
                        });
                    }
                }
                _ => {}
            }
            patience.wait().await?;
        }
    }

    /// Whether this node has applied the entry `index`, or does soon.
    pub(super) async fn reaches(&self, index: u64) -> Result<bool, Error> {
        if self.applied() >= index {
            return Ok(true);
        }
        if self.shared.stopping.is_cancelled() {
            return Err(Error::Stopped);
        }
        let wait = self.shared.raft.wait(Some(self.shared.forward.leader_wait));
        let reached = wait.applied_index_at_least(Some(index), "what a client has seen").await;
        Ok(reached.is_ok() || self.applied() >= index)
    }

    /// Has the leader make a change, wherever it is.
    pub(super) async fn run_change(&self, change: rpc::Change) -> Result<(), Error> {
        let mut patience = Patience::new(self);
        loop {
            match self.leader_now() {
                Some(leader) if leader.node_id == self.shared.node_id => match self.change_here(&change).await {
                    Err(Error::NotLeader { .. } | Error::NoLeader) => {}
                    outcome => return outcome,
                },
                Some(leader) => {
                    if let Try::Done(outcome) = self.change_there(&leader, &change).await {
                        return outcome;
                    }
                }
                None => {}
            }
            patience.wait().await?;
        }
    }

    /// Runs commands as the leader.
    pub(super) async fn ask_here(
        &self,
        way: Way,
        commands: Vec<Command>,
        ticket: Option<Ticket>,
    ) -> Result<Answered, Refusal> {
        let (queue, weight): (&Queue, Weight) = match way {
            Way::Write => (&self.shared.writes, Weight::Light),
            Way::Read(weight) => (&self.shared.reads, weight),
        };
        queue.ask(commands, ticket, weight).await
    }

    fn leader_now(&self) -> Option<Leader> {
        let metrics = self.shared.raft.metrics();
        let metrics = metrics.borrow_watched();
        let node_id = metrics.current_leader?;
        let node = metrics.membership_config.membership().get_node(&node_id)?.clone();
        Some(Leader { node_id, node, term: metrics.current_term })
    }

    async fn write_there(&self, leader: &Leader, commands: &[Command]) -> Try<Replies> {
        let forward = &self.shared.forward;
        let request = forward.next_request.fetch_add(1, Ordering::Relaxed);
        let mut awaiting = self.shared.machine.await_replies(request);
        let payload = rpc::encode_forwarded(request, leader.term, commands);
        let asked = match forward.link(&leader.node.address).send(Kind::Propose, payload).await {
            Ok(asked) => asked,
            Err(error) if error.is_harmless() => return refused(&error),
            Err(_) => return self.settle(awaiting, leader.term).await,
        };
        let answer = tokio::select! {
            answer = asked.answer() => answer,
            Some(replies) = awaiting.replies() => return Try::Done(Ok(replies)),
        };
        match answer.map(rpc::decode_answer) {
            Ok(Ok(Ok(replies))) if replies.len() == commands.len() => Try::Done(Ok(replies)),
            Ok(Ok(Err(Failure::NotLeader))) => Try::Again,
            Ok(Ok(Err(Failure::Busy))) => Try::Done(Err(Error::Busy)),
            Ok(Ok(Err(Failure::Refused(reason)))) => Try::Done(Err(Error::Refused(reason))),
            Err(error) if error.is_harmless() => refused(&error),
            _ => self.settle(awaiting, leader.term).await,
        }
    }

    /// The leader of `term` was lost, or gave up, with commands in its hands.
    async fn settle(&self, mut awaiting: Awaiting, term: u64) -> Try<Replies> {
        let wait = self.shared.raft.wait(Some(self.shared.forward.leader_wait));
        let later = |metrics: &openraft::RaftMetrics<_>| {
            metrics.last_applied.is_some_and(|log_id: crate::type_config::LogId| log_id.leader_id.term > term)
        };
        let passed = tokio::select! {
            biased;
            replies = awaiting.replies() => return Try::Done(replies.ok_or(Error::Unknown)),
            passed = wait.metrics(later, "a later term") => passed,
        };
        match (awaiting.given(), passed) {
            (Given::Replies(replies), _) => Try::Done(Ok(replies)),
            (Given::Nothing, Ok(_)) => Try::Again,
            _ => Try::Done(Err(Error::Unknown)),
        }
    }

    async fn read_there(&self, leader: &Leader, commands: &[Command], weight: Weight) -> Try<Replies> {
        let payload = rpc::encode_forwarded(weight as u64, leader.term, commands);
        let asked =
            async { Ok::<_, Arc<peer::Error>>(self.link_to(leader).send(Kind::Read, payload).await?.answer().await?) };
        match asked.await.map(rpc::decode_answer) {
            Ok(Ok(Ok(replies))) if (1..=commands.len()).contains(&replies.len()) => Try::Done(Ok(replies)),
            Ok(Ok(Err(Failure::Busy))) => Try::Done(Err(Error::Busy)),
            Ok(Ok(Err(Failure::Refused(reason)))) => Try::Done(Err(Error::Refused(reason))),
            Ok(Err(error)) => Try::Done(Err(Error::Refused(error.to_string()))),
            Err(error) => refused(&error),
            // A read changes nothing, so it may be tried as often as it takes.
            Ok(Ok(_)) => Try::Again,
        }
    }

    async fn change_there(&self, leader: &Leader, change: &rpc::Change) -> Try<()> {
        let payload = match rpc::encode(change) {
            Ok(payload) => payload,
            Err(error) => return Try::Done(Err(Error::Refused(error.to_string()))),
        };
        match self.link_to(leader).ask(Kind::Change, payload, CHANGE_TIMEOUT).await.map(|answer| decode_change(&answer))
        {
            Ok(Some(Ok(()))) => Try::Done(Ok(())),
            Ok(Some(Err(Failure::NotLeader))) => Try::Again,
            Ok(Some(Err(Failure::Refused(reason)))) => Try::Done(Err(Error::Refused(reason))),
            Err(error) if error.is_harmless() => refused(&error),
            _ => Try::Done(Err(Error::Unknown)),
        }
    }

    fn link_to(&self, leader: &Leader) -> Link {
        self.shared.forward.link(&leader.node.address)
    }
}

fn decode_change(answer: &Bytes) -> Option<Result<(), Failure>> {
    rpc::decode(answer).ok()
}

/// Whatever the reason was, it may be gone with the next try; but what is too large stays so.
fn refused<T>(error: &peer::Error) -> Try<T> {
    match error {
        peer::Error::TooLarge(_) => Try::Done(Err(Error::Refused(error.to_string()))),
        _ => Try::Again,
    }
}

/// How long commands are held.
struct Patience<'a> {
    cluster: &'a Cluster,
    until: Instant,
    pause: Duration,
}

impl<'a> Patience<'a> {
    fn new(cluster: &'a Cluster) -> Patience<'a> {
        Patience { cluster, until: Instant::now() + cluster.shared.forward.leader_wait, pause: PAUSE_MIN }
    }

    /// A short while, or until another leader is known; an error when it has lasted too long.
    async fn wait(&mut self) -> Result<(), Error> {
        if self.cluster.shared.stopping.is_cancelled() {
            return Err(Error::Stopped);
        }
        if Instant::now() >= self.until {
            return Err(Error::NoLeader);
        }
        // A node that joins hears of its leader before it knows where that one is, so `leader_now` would not do.
        let known = |metrics: &openraft::RaftMetrics<TypeConfig>| Some((metrics.current_leader?, metrics.current_term));
        let now = known(&self.cluster.shared.raft.metrics().borrow_watched());
        let changed = |metrics: &openraft::RaftMetrics<_>| known(metrics).is_some_and(|leader| now != Some(leader));
        let pause = super::network::with_jitter(self.pause);
        // Whether the time is over or there is another leader, it is worth a try; but without Raft no time passes here.
        if let Err(WaitError::ShuttingDown) =
            self.cluster.shared.raft.wait(Some(pause)).metrics(changed, "another leader").await
        {
            return Err(Error::Stopped);
        }
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }
}

/// The ticket and the commands of a request that another node has forwarded.
pub(super) fn forwarded(from: NodeId, payload: Bytes) -> Result<(Ticket, Vec<Command>), rpc::Error> {
    let (request, term, commands) = rpc::decode_forwarded(payload)?;
    Ok((Ticket { node_id: from, request, term }, commands))
}
