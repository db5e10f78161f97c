//! `Clocks`: how far apart the clocks of the members are.
//!
//! Each answer to a `Ping` says what the other node's clock shows. It was read at some moment of the round trip, so the
//! difference to this node's clock is known up to half of that. What counts is how far a clock is from the median of the
//! voters': of three, one that is wrong moves it by nothing. Of two nobody can tell which one is wrong, and a leader
//! takes its own for it: of an even number, the middle one that is farther from its own is the median.

use super::status::{self, Member};
use super::{Cluster, lock};
use crate::time::{self, Clock, Reading, difference};
use crate::type_config::NodeId;
use openraft::async_runtime::watch::WatchReceiver;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

pub(super) struct Clocks {
    pub(super) clock: Clock,
    skew_max: Duration,
    seen: Mutex<BTreeMap<NodeId, (Instant, Skew)>>,
    /// Nodes whose clocks are far off, so that it is said once.
    far: Mutex<BTreeSet<NodeId>>,
}

/// How far one clock is ahead of another, in nanoseconds: no less than `low`, no more than `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    low: i64,
    high: i64,
}

/// The clocks of a cluster as one node sees them.
#[derive(Clone, Debug)]
pub struct ClockStatus {
    pub clock: time::Status,
    /// How far this node's clock is ahead of the median of a quorum's; `None` while there is no quorum to compare with.
    pub skew: Option<Skew>,
    pub skew_max: Duration,
    /// The other members that answer, by name, and how far their clocks are ahead of this node's.
    pub others: Vec<(String, Skew)>,
}

impl Skew {
    /// Of a clock that showed `shown` between two readings of this node's.
    pub(super) fn measured(asked: Reading, shown: u64, answered: Reading) -> Skew {
        let elapsed = answered.monotonic.saturating_duration_since(asked.monotonic).as_nanos();
        let begun = answered.time.saturating_sub(u64::try_from(elapsed).unwrap_or(u64::MAX));
        Skew { low: difference(shown, answered.time), high: difference(shown, begun) }
    }

    /// The middle of what it may be, in nanoseconds.
    pub fn ahead(&self) -> i64 {
        self.low.midpoint(self.high)
    }

    /// How far that may be wrong.
    pub fn error(&self) -> Duration {
        Duration::from_nanos(self.high.abs_diff(self.low) / 2)
    }

    /// How far `self` is ahead of `other`, where both say how far they are ahead of the same clock.
    fn minus(self, other: Skew) -> Skew {
        Skew { low: self.low.saturating_sub(other.high), high: self.high.saturating_sub(other.low) }
    }

    /// Whether it is more than `most`, however large the error.
    fn exceeds(&self, most: Duration) -> bool {
        let most = i64::try_from(most.as_nanos()).unwrap_or(i64::MAX);
        self.low > most || self.high < -most
    }
}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:+.6}s±{:?}", self.ahead() as f64 / 1e9, self.error())
    }
}

/// The median of clocks that are so far ahead of this node's, its own among them. As uncertain as they are, it is no less
/// than the median of the lows and no more than that of the highs.
fn median(skews: &[Skew]) -> Option<Skew> {
    let sorted = |of: fn(&Skew) -> i64| {
        let mut values: Vec<i64> = skews.iter().map(of).collect();
        values.sort_unstable();
        values
    };
    let (middles, half) = (sorted(Skew::ahead), skews.len() / 2);
    let lower = half.checked_sub(1).filter(|_| skews.len().is_multiple_of(2));
    let rank = lower.filter(|lower| middles[*lower].unsigned_abs() > middles[half].unsigned_abs()).unwrap_or(half);
    Some(Skew { low: *sorted(|skew| skew.low).get(rank)?, high: *sorted(|skew| skew.high).get(rank)? })
}

impl Clocks {
    pub(super) fn new(clock: Clock, skew_max: Duration) -> Clocks {
        Clocks { clock, skew_max, seen: Mutex::default(), far: Mutex::default() }
    }

    /// Takes in how far a node's clock is ahead of this one's, or that it does not answer.
    pub(super) fn note(&self, node_id: NodeId, skew: Option<Skew>) {
        let mut seen = lock(&self.seen);
        match skew {
            Some(skew) => seen.insert(node_id, (Instant::now(), skew)),
            None => seen.remove(&node_id),
        };
    }

    /// The members that answer, and how far their clocks are ahead of this node's.
    fn seen(&self, members: &[Member], own: NodeId, age_max: Duration) -> Vec<(Member, Skew)> {
        let seen = lock(&self.seen);
        let skew = |member: &Member| match member.node_id == own {
            true => Some(Skew { low: 0, high: 0 }),
            false => seen.get(&member.node_id).filter(|(at, _)| at.elapsed() < age_max).map(|(_, skew)| *skew),
        };
        members.iter().filter_map(|member| Some((member.clone(), skew(member)?))).collect()
    }

    /// Says whose clock has come to be far off, and whose is no longer.
    fn warn(&self, seen: &[(Member, Skew)], own: NodeId, median: Skew) {
        let mut far = lock(&self.far);
        for (member, skew) in seen.iter().filter(|(member, _)| member.voter) {
            let (node, ahead) = (&member.node.name, skew.minus(median));
            if ahead.exceeds(self.skew_max) {
                if !far.insert(member.node_id) {
                    continue;
                }
                let others = seen.iter().filter(|(other, _)| other.node_id != member.node_id);
                let others: Vec<String> =
                    others.map(|(other, of)| format!("{} {}", other.node.name, of.minus(*skew))).collect();
                let (limit, others) = (self.skew_max, others.join(", "));
                match member.node_id == own {
                    true => {
                        tracing::warn!(node, %ahead, others, ?limit, "this leader's clock is far from its quorum's")
                    }
                    false => tracing::warn!(node, %ahead, others, ?limit, "a node's clock is far from its quorum's"),
                }
            } else if ahead.ahead().unsigned_abs() <= u64::try_from(self.skew_max.as_nanos()).unwrap_or(u64::MAX)
                && far.remove(&member.node_id)
            {
                tracing::info!(node, %ahead, "a clock is no longer far from its quorum's");
            }
        }
    }
}

/// The median of the voters' clocks, if a quorum of them is known and there is one to compare with.
fn of_quorum(members: &[Member], seen: &[(Member, Skew)]) -> Option<Skew> {
    let voters = members.iter().filter(|member| member.voter).count();
    let known: Vec<Skew> = seen.iter().filter(|(member, _)| member.voter).map(|(_, skew)| *skew).collect();
    if seen.len() < 2 || known.len() * 2 <= voters { None } else { median(&known) }
}

impl Cluster {
    /// A leader compares the clocks of all voters, its own among them.
    pub(super) fn compare_clocks(&self) {
        let shared = &self.shared;
        let metrics = shared.raft.metrics();
        let metrics = metrics.borrow_watched();
        if !metrics.state.is_leader() {
            // Whoever leads next says it anew.
            lock(&shared.clocks.far).clear();
            return;
        }
        let members = status::members(&metrics);
        let seen = shared.clocks.seen(&members, shared.node_id, shared.answer_timeout);
        if let Some(median) = of_quorum(&members, &seen) {
            shared.clocks.warn(&seen, shared.node_id, median);
        }
    }

    /// The node's clock, and how it compares with the other nodes'.
    pub fn clock_status(&self) -> ClockStatus {
        let shared = &self.shared;
        let members = self.members();
        let mut seen = shared.clocks.seen(&members, shared.node_id, shared.answer_timeout);
        let own = Skew { low: 0, high: 0 };
        let skew = of_quorum(&members, &seen).map(|median| own.minus(median));
        seen.retain(|(member, _)| member.node_id != shared.node_id);
        let others = seen.into_iter().map(|(member, skew)| (member.node.name, skew)).collect();
        ClockStatus { clock: shared.clocks.clock.status(), skew, skew_max: shared.clocks.skew_max, others }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::type_config::Node;

    const SECOND: i64 = 1_000_000_000;

    fn skew(ahead: i64, error: i64) -> Skew {
        Skew { low: ahead - error, high: ahead + error }
    }

    fn seen(skews: &[i64]) -> Vec<(Member, Skew)> {
        let node = |node_id: u64| Node { name: node_id.to_string(), address: String::new() };
        let member = |node_id| Member { node_id, node: node(node_id), leader: node_id == 1, voter: true };
        (1..).zip(skews).map(|(node_id, ahead)| (member(node_id), skew(*ahead, 0))).collect()
    }

    #[test]
    fn the_round_trip_bounds_what_the_difference_can_be() {
        let start = Instant::now();
        let reading =
            |time: u64| Reading { time, monotonic: start + Duration::from_nanos(time - 1_000), settled: true };
        let measured = Skew::measured(reading(1_000), 5_040, reading(1_100));
        assert_eq!((measured.low, measured.high), (3_940, 4_040));
        assert_eq!((measured.ahead(), measured.error()), (3_990, Duration::from_nanos(50)));
        assert!(measured.exceeds(Duration::from_nanos(3_939)) && !measured.exceeds(Duration::from_nanos(3_940)));
        let behind = Skew::measured(reading(10_000), 5_000, reading(10_000));
        assert!(behind.exceeds(Duration::from_nanos(4_999)) && !behind.exceeds(Duration::from_nanos(5_000)));
    }

    #[test]
    fn of_three_the_one_that_is_wrong_is_known_and_of_two_it_is_not() {
        let own = |skews: &[i64]| {
            let seen = seen(skews);
            let members: Vec<Member> = seen.iter().map(|(member, _)| member.clone()).collect();
            of_quorum(&members, &seen).map(|median| skew(0, 0).minus(median).ahead())
        };
        assert_eq!(own(&[0, SECOND, SECOND + 4]), Some(-SECOND));
        assert_eq!(own(&[0, 7, 3600 * SECOND]), Some(-7));
        assert_eq!(own(&[0, -2 * SECOND]), Some(2 * SECOND));
        assert_eq!(own(&[0, 5, SECOND, SECOND]), Some(-SECOND));
        assert_eq!(own(&[0, 5, 5, SECOND]), Some(-5));
        assert_eq!(own(&[0]), None);
    }

    #[test]
    fn a_minority_is_no_quorum() {
        let all = seen(&[0, 1, 2, 3, 4]);
        let members: Vec<Member> = all.iter().map(|(member, _)| member.clone()).collect();
        assert_eq!(of_quorum(&members, &all[..2]), None);
        assert_eq!(of_quorum(&members, &all[..3]), Some(skew(1, 0)));
    }

    #[test]
    fn the_median_is_as_uncertain_as_what_it_is_made_of() {
        assert_eq!(median(&[skew(0, 0), skew(10, 5), skew(1000, 900)]), Some(Skew { low: 5, high: 15 }));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn what_is_far_is_said_once_until_it_is_near_again() {
        let clocks = Clocks::new(Clock::new(time::Options::default()), Duration::from_secs(1));
        let near = skew(0, 0);
        clocks.warn(&seen(&[0, 0, 5 * SECOND]), 1, near);
        clocks.warn(&seen(&[0, 0, 5 * SECOND]), 1, near);
        assert_eq!(*lock(&clocks.far), BTreeSet::from([3]));
        clocks.warn(&seen(&[2 * SECOND, 0, 0]), 1, near);
        assert_eq!(*lock(&clocks.far), BTreeSet::from([1]));
    }
}
