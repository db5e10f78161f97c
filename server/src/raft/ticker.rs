//! `Ticker`: where wall time and the system's entropy enter the log, and nowhere else.
//!
//! Every proposal is stamped with `max(last stamp + 1, now)`, where now is the wall clock at the moment this node
//! became the leader plus what a monotonic clock has measured since: a step of the wall clock cannot move the cluster's
//! time while one node leads. A proposal with a fresh seed is a tick. The first of a leader is one, so that no one can
//! foresee its random numbers from those of the leader before; as the first may be refused while others are on their
//! way, all are until one is committed. Later ones follow when `tick` has passed.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What the world outside says at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Nanoseconds since the Unix epoch.
    pub(super) wall: u64,
    pub(super) monotonic: Instant,
}

pub(super) struct Ticker {
    tick: Duration,
    last_stamp: u64,
    /// When this node became the leader.
    anchor: Moment,
    last_tick: Option<Instant>,
    /// A tick of this leader is committed.
    confirmed: bool,
}

impl Moment {
    pub(super) fn now() -> Moment {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        Moment { wall, monotonic: Instant::now() }
    }
}

/// 64 bits that nobody can foresee.
pub(super) fn seed() -> Result<u64, getrandom::Error> {
    getrandom::u64()
}

impl Ticker {
    pub(super) fn new(tick: Duration, now: Moment) -> Ticker {
        Ticker { tick, last_stamp: 0, anchor: now, last_tick: None, confirmed: false }
    }

    /// This node leads from now on; `applied` is the time that the machine has reached.
    pub(super) fn lead(&mut self, now: Moment, applied: u64) {
        self.last_stamp = self.last_stamp.max(applied);
        self.anchor = now;
        self.last_tick = None;
        self.confirmed = false;
    }

    /// The stamp of the next proposal.
    pub(super) fn stamp(&mut self, monotonic: Instant) -> u64 {
        let elapsed = monotonic.saturating_duration_since(self.anchor.monotonic).as_nanos() as u64;
        let now = self.anchor.wall.saturating_add(elapsed);
        self.last_stamp = now.max(self.last_stamp.saturating_add(1));
        self.last_stamp
    }

    /// Whether the next proposal is a tick.
    pub(super) fn is_due(&self, monotonic: Instant) -> bool {
        !self.confirmed || self.last_tick.is_none_or(|last| monotonic.saturating_duration_since(last) >= self.tick)
    }

    pub(super) fn ticked(&mut self, monotonic: Instant) {
        self.last_tick = Some(monotonic);
    }

    /// A tick proposed since `lead` is committed.
    pub(super) fn confirm(&mut self) {
        self.confirmed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(200);

    #[test]
    fn stamps_rise_whatever_the_clocks_say() {
        let start = Moment { wall: 1_000, monotonic: Instant::now() };
        let mut ticker = Ticker::new(TICK, start);
        ticker.lead(start, 0);
        assert_eq!(ticker.stamp(start.monotonic), 1_000);
        assert_eq!(ticker.stamp(start.monotonic), 1_001);
        assert_eq!(ticker.stamp(start.monotonic + Duration::from_nanos(500)), 1_500);
        // A leader whose wall clock is behind goes on from where it was itself …
        ticker.lead(Moment { wall: 10, ..start }, 0);
        assert_eq!(ticker.stamp(start.monotonic), 1_501);
        // … and from where the log was.
        ticker.lead(Moment { wall: 10, ..start }, 9_000);
        assert_eq!(ticker.stamp(start.monotonic), 9_001);
    }

    #[test]
    fn ticks_first_as_leader_and_when_time_has_passed() {
        let start = Moment { wall: 1_000, monotonic: Instant::now() };
        let mut ticker = Ticker::new(TICK, start);
        assert!(ticker.is_due(start.monotonic));
        ticker.ticked(start.monotonic);
        assert!(ticker.is_due(start.monotonic), "the first may be refused");
        ticker.confirm();
        assert!(!ticker.is_due(start.monotonic + TICK - Duration::from_nanos(1)));
        assert!(ticker.is_due(start.monotonic + TICK));
        ticker.lead(start, 0);
        assert!(ticker.is_due(start.monotonic));
    }
}
