//! `Presence`: which members answer, how far they have applied the log, and how old this node's own state may be.
//!
//! Each node asks each other one twice in a while, with a message of a few bytes, so that any of them can tell a client
//! who is there. The leader's answer also bounds the age of what this node has applied: it says what was committed, and
//! how long ago a quorum last confirmed it as the leader. Before that moment nobody else can have committed anything, so
//! a node that has applied as much is no older than the moment of the question less that time. Only the rates of the two
//! clocks matter for this, not what they show.

use super::clocks::Skew;
use super::link::Link;
use super::rpc::{self, Kind, Lead, Pong};
use super::status::{Member, View, Visible};
use super::{Cluster, Error, lock};
use crate::time::Clock;
use crate::type_config::{Node, NodeId, TypeConfig};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use openraft::RaftMetrics;
use openraft::async_runtime::watch::WatchReceiver;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// A node that is behind for so long may have been removed without hearing of it. It is also how often that is looked at.
const OUT_OF_TOUCH: Duration = Duration::from_secs(10);

/// Points that wait for this node to apply them. One that applies more slowly than they come needs none in between.
const POINTS_MAX: usize = 32;

/// What the others have said. Clones share it.
#[derive(Clone)]
pub(super) struct Presence {
    shared: Arc<Shared>,
}

struct Shared {
    seen: Mutex<BTreeMap<NodeId, Seen>>,
    points: Mutex<VecDeque<Point>>,
    /// Who was last known to lead.
    leader: watch::Sender<Option<(NodeId, Node)>>,
    /// How old an answer may be for a node to count as one that answers.
    answer_timeout: Duration,
}

/// A node when it was last asked and answered.
struct Seen {
    at: Instant,
    pong: Pong,
}

/// Everything that was committed before `at` has an index up to `committed`.
#[derive(Clone, Copy, Debug)]
struct Point {
    at: Instant,
    committed: u64,
}

/// A question that is under way: to whom it went, when, and the answer with what it says about the other's clock.
type Asked = BoxFuture<'static, (NodeId, Instant, Option<(Pong, Skew)>)>;

impl Presence {
    pub(super) fn new(answer_timeout: Duration) -> Presence {
        let (seen, points, leader) = (Mutex::default(), Mutex::default(), watch::Sender::new(None));
        Presence { shared: Arc::new(Shared { seen, points, leader, answer_timeout }) }
    }

    /// Who leads, or was the last to lead.
    pub(super) fn leaders(&self) -> watch::Receiver<Option<(NodeId, Node)>> {
        self.shared.leader.subscribe()
    }

    fn last_leader(&self) -> Option<NodeId> {
        self.shared.leader.borrow().as_ref().map(|(node_id, _)| *node_id)
    }

    pub(super) fn answers(&self, node_id: NodeId) -> bool {
        self.last_pong(node_id, Instant::now()).is_some()
    }

    /// Whether a node elects no other leader while the lease of one may last.
    pub(super) fn keeps_leases(&self, node_id: NodeId) -> bool {
        self.last_pong(node_id, Instant::now()).is_some_and(|pong| pong.keeps_leases)
    }

    /// Whether a node's state is not known to be wrong, or the node not known at all.
    pub(super) fn is_sound(&self, node_id: NodeId) -> bool {
        self.last_pong(node_id, Instant::now()).is_none_or(|pong| pong.sound)
    }

    /// The settings that a node was started with, encoded.
    pub(super) fn wants(&self, node_id: NodeId) -> Option<Vec<u8>> {
        self.last_pong(node_id, Instant::now()).map(|pong| pong.settings)
    }

    /// The last answer of a node, if that was lately.
    fn last_pong(&self, node_id: NodeId, now: Instant) -> Option<Pong> {
        let seen = lock(&self.shared.seen);
        let recent = |seen: &&Seen| now.saturating_duration_since(seen.at) < self.shared.answer_timeout;
        seen.get(&node_id).filter(recent).map(|seen| seen.pong.clone())
    }

    /// Takes in an answer, or that there was none; `applied` is how far this node is.
    fn note(&self, node_id: NodeId, asked: Instant, pong: Option<Pong>, applied: u64) {
        let Some(pong) = pong else {
            lock(&self.shared.seen).remove(&node_id);
            return;
        };
        let lead = pong.lead;
        lock(&self.shared.seen).insert(node_id, Seen { at: asked, pong });
        let Some(lead) = lead else { return };
        let Some(at) = asked.checked_sub(Duration::from_millis(lead.confirmed_ms)) else { return };
        let mut points = lock(&self.shared.points);
        // One that led before may answer after its successor, and its point is the older one.
        let is_newer = points.back().is_none_or(|last| last.at < at);
        // The oldest are kept, for they are the next to be reached.
        if is_newer && points.len() < POINTS_MAX {
            points.push_back(Point { at, committed: lead.committed });
        }
        forget_passed(&mut points, applied);
    }

    /// How old the state up to the index `applied` is at most, if anything is known of it.
    fn age(&self, applied: u64, now: Instant) -> Option<Duration> {
        let mut points = lock(&self.shared.points);
        forget_passed(&mut points, applied);
        let reached = points.front().filter(|point| point.committed <= applied);
        reached.map(|point| now.saturating_duration_since(point.at))
    }
}

/// All that are reached but the last say nothing that it does not say.
fn forget_passed(points: &mut VecDeque<Point>, applied: u64) {
    while points.get(1).is_some_and(|next| next.committed <= applied) {
        points.pop_front();
    }
}

impl Cluster {
    /// Asks the others and follows who leads, until the node stops.
    pub(super) async fn keep_presence(self, every: Duration) {
        let stopping = self.shared.stopping.clone();
        stopping.run_until_cancelled(self.ask_around(every)).await;
    }

    async fn ask_around(&self, every: Duration) {
        let presence = &self.shared.presence;
        let mut metrics = self.shared.raft.metrics();
        let mut rounds = interval(every);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut links: BTreeMap<NodeId, Link> = BTreeMap::new();
        let mut asked: FuturesUnordered<Asked> = FuturesUnordered::new();
        // A node is not asked again before it has answered or is given up.
        let mut silent: Vec<NodeId> = Vec::new();
        presence.follow(&metrics.borrow_watched());
        loop {
            tokio::select! {
                Some((node_id, at, answer)) = asked.next() => {
                    silent.retain(|other| *other != node_id);
                    let (pong, skew) = answer.unzip();
                    presence.note(node_id, at, pong, self.applied());
                    self.shared.clocks.note(node_id, skew);
                }
                changed = metrics.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    presence.follow(&metrics.borrow_watched());
                }
                _ = rounds.tick() => {
                    self.compare_clocks();
                    let members = super::status::members(&metrics.borrow_watched());
                    links.retain(|node_id, _| members.iter().any(|member| member.node_id == *node_id));
                    for Member { node_id, node, .. } in members {
                        if node_id == self.shared.node_id || silent.contains(&node_id) {
                            continue;
                        }
                        silent.push(node_id);
                        let peers = &self.shared.peers;
                        let link = links.entry(node_id).or_insert_with(|| peers.link(Some(node_id), &node.address));
                        let clock = self.shared.clocks.clock.clone();
                        asked.push(Box::pin(ask(node_id, link.clone(), clock, self.shared.answer_timeout)));
                    }
                }
            }
        }
    }

    /// What another node is told that asks whether this one is there.
    pub(super) async fn pong(&self) -> Result<Pong, Error> {
        let metrics = self.metrics();
        let applied = self.applied();
        let keeps_leases = self.shared.lease.is_some();
        let sound = !self.shared.machine.standing().is_quarantined();
        let settings = self.shared.machine.wanted_settings().encode();
        let clock = || self.shared.clocks.clock.read().time;
        let Some(confirmed) = self.confirmed(&metrics) else {
            return Ok(Pong { applied, lead: None, keeps_leases, sound, settings, clock: clock() });
        };
        // The core is asked, for the metrics may be behind what it has committed.
        let committed = self.shared.raft.with_raft_state(|state| state.local_committed().copied()).await?;
        // Until it has committed an entry of its own, a leader does not know all that was committed before it.
        let committed = committed.filter(|log_id| log_id.leader_id.term == metrics.current_term);
        let confirmed_ms = u64::try_from(confirmed.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        let lead = committed.map(|log_id| Lead { committed: log_id.index, confirmed_ms });
        Ok(Pong { applied, lead, keeps_leases, sound, settings, clock: clock() })
    }

    /// The index up to which this node has applied the log.
    pub(super) fn applied(&self) -> u64 {
        self.shared.machine.status().applied.map_or(0, |log_id| log_id.index)
    }

    /// How long ago a quorum confirmed that this node leads; `None` if it does not.
    fn confirmed(&self, metrics: &RaftMetrics<TypeConfig>) -> Option<Duration> {
        if !metrics.state.is_leader() {
            return None;
        }
        if metrics.membership_config.membership().voter_ids().eq([self.shared.node_id]) {
            return Some(Duration::ZERO);
        }
        metrics.last_quorum_acked.map(|at| openraft::Instant::elapsed(&*at))
    }

    /// How old what this node has applied can be at most; `None` if it cannot tell.
    fn age(&self) -> Option<Duration> {
        let metrics = self.shared.raft.metrics();
        let metrics = metrics.borrow_watched();
        match self.confirmed(&metrics) {
            // What a leader has acknowledged it has applied.
            Some(confirmed) => Some(confirmed),
            None => self.shared.presence.age(self.applied(), Instant::now()),
        }
    }

    /// Whether what this node has applied is known to be no older than that; without a limit it always is.
    pub(super) fn is_fresh(&self, age_max: Option<Duration>) -> bool {
        age_max.is_none_or(|age_max| self.age().is_some_and(|age| age <= age_max))
    }

    /// Returns when what this node has applied is older than it is in a cluster that works, and not at once; whether that
    /// came before the node's end.
    pub async fn is_out_of_touch(&self) -> bool {
        let lost = async {
            loop {
                tokio::time::sleep(OUT_OF_TOUCH).await;
                // A leader would be the last to hear of its removal.
                if !self.metrics().state.is_leader() && !self.is_fresh(Some(OUT_OF_TOUCH)) {
                    return;
                }
            }
        };
        self.shared.stopping.run_until_cancelled(lost).await.is_some()
    }

    /// The cluster as clients should see it.
    pub fn view(&self) -> View {
        let shared = &self.shared;
        let (metrics, now) = (self.metrics(), Instant::now());
        let members = super::status::members(&metrics);
        let answers = |node_id| match node_id == shared.node_id {
            // A leader without its quorum is none.
            true => {
                !metrics.state.is_leader()
                    || self.confirmed(&metrics).is_some_and(|confirmed| confirmed < shared.answer_timeout)
            }
            false => shared.presence.answers(node_id),
        };
        let known = |node_id: &NodeId| members.iter().any(|member| member.node_id == *node_id);
        let leader = metrics.current_leader.or_else(|| shared.presence.last_leader()).filter(known);
        let settled = metrics.current_leader.is_some_and(|node_id| known(&node_id) && answers(node_id));
        let own = self.applied();
        let sound = |node_id| match node_id == shared.node_id {
            true => !shared.machine.standing().is_quarantined(),
            false => shared.presence.is_sound(node_id),
        };
        let visible = |member: Member| Visible {
            online: answers(member.node_id) && sound(member.node_id),
            applied: if member.node_id == shared.node_id {
                Some(own)
            } else {
                shared.presence.last_pong(member.node_id, now).map(|pong| pong.applied)
            },
            member,
        };
        View {
            node_id: shared.node_id,
            term: metrics.current_term,
            leader: leader.unwrap_or(shared.node_id),
            settled,
            members: members.iter().cloned().map(visible).collect(),
        }
    }

    /// Who leads, or was the last to lead, and every change of it.
    pub fn leaders(&self) -> watch::Receiver<Option<(NodeId, Node)>> {
        self.shared.presence.leaders()
    }
}

impl Presence {
    fn follow(&self, metrics: &RaftMetrics<TypeConfig>) {
        let Some((node_id, node)) = metrics.current_leader.zip(super::status::leader(metrics)) else { return };
        self.shared.leader.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&(node_id, node.clone()));
            if changed {
                *known = Some((node_id, node));
            }
            changed
        });
    }
}

async fn ask(node_id: NodeId, link: Link, clock: Clock, timeout: Duration) -> (NodeId, Instant, Option<(Pong, Skew)>) {
    let (at, asked) = (Instant::now(), clock.read());
    let answer = link.ask(Kind::Ping, Bytes::new(), timeout).await.ok();
    let answered = clock.read();
    let pong = answer.and_then(|pong| rpc::decode::<Pong>(&pong).ok());
    let with_skew = |pong: Pong| {
        let skew = Skew::measured(asked, pong.clock, answered);
        (pong, skew)
    };
    (node_id, at, pong.map(with_skew))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pong(committed: u64, confirmed_ms: u64) -> Option<Pong> {
        let lead = Some(Lead { committed, confirmed_ms });
        Some(Pong { applied: committed, lead, keeps_leases: true, sound: true, settings: Vec::new(), clock: 0 })
    }

    #[test]
    fn a_state_is_as_old_as_the_last_point_that_it_has_reached() {
        let presence = Presence::new(SECOND);
        let begin = Instant::now();
        let now = begin + 4 * SECOND;
        assert_eq!(presence.age(7, now), None);
        presence.note(2, begin + SECOND, pong(5, 1000), 0);
        presence.note(2, begin + 2 * SECOND, pong(8, 500), 0);
        presence.note(2, begin + SECOND, pong(8, 0), 0);
        presence.note(2, now, pong(9, 0), 0);
        assert_eq!(presence.age(4, now), None);
        assert_eq!(presence.age(7, now), Some(4 * SECOND));
        assert_eq!(presence.age(8, now), Some(SECOND * 5 / 2));
        assert_eq!(presence.age(20, now), Some(Duration::ZERO));
        assert_eq!(presence.age(20, now + SECOND), Some(SECOND));
    }

    #[test]
    fn points_are_bounded_and_the_newest_that_is_reached_counts() {
        let begin = Instant::now();
        let at = |index: u64| begin + Duration::from_millis(index);
        let presence = Presence::new(SECOND);
        (0..1000).for_each(|index| presence.note(2, at(index), pong(index, 0), 0));
        assert_eq!(lock(&presence.shared.points).len(), POINTS_MAX);
        assert_eq!(presence.age(0, at(1000)), Some(SECOND));
        // Whether anybody asks for it or not.
        (1000..2000).for_each(|index| presence.note(2, at(index), pong(index, 0), index));
        assert_eq!(presence.age(2000, at(2000)), Some(Duration::from_millis(1)));
    }

    #[test]
    fn a_node_that_answers_no_more_is_gone() {
        let (presence, now) = (Presence::new(SECOND), Instant::now());
        assert_eq!(presence.last_pong(2, now), None);
        presence.note(2, now, pong(5, 0), 0);
        assert_eq!(presence.last_pong(2, now), pong(5, 0));
        assert_eq!(presence.last_pong(2, now + SECOND), None);
        presence.note(2, now, None, 0);
        assert_eq!(presence.last_pong(2, now), None);
    }
}
