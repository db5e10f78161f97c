//! `Ticker`: where wall time and the system's entropy enter the log, and nowhere else.
//!
//! Every proposal is stamped with a time that follows the node's clock and never goes back: it begins at the later of
//! the clock and what the log has reached, and where it is not what the clock shows it goes by a tenth faster or slower
//! until it is. So a clock that is set moves the cluster's time gently, and a leader whose clock is behind the last
//! one's neither turns time back nor halts it. The exception is a clock that hears its source for the first time: until
//! then it only stood in for it, and the way forward is one step.
//!
//! A proposal with a fresh seed is a tick. The first of a leader is one, so that no one can foresee its random numbers
//! from those of the leader before; as the first may be refused while others are on their way, all are until one is
//! committed. Later ones follow when `tick` has passed.

use crate::time::Reading;
use std::time::{Duration, Instant};

/// The part of the time that passes by which stamps may approach the clock.
const SLEW: u64 = 10;

pub(super) struct Ticker {
    tick: Duration,
    last_stamp: u64,
    /// The clock when it was given out.
    last_reading: Reading,
    last_tick: Option<Instant>,
    /// A tick of this leader is committed.
    confirmed: bool,
}

/// 64 bits that nobody can foresee.
pub(super) fn seed() -> Result<u64, getrandom::Error> {
    getrandom::u64()
}

impl Ticker {
    pub(super) fn new(tick: Duration, now: Reading) -> Ticker {
        Ticker { tick, last_stamp: 0, last_reading: now, last_tick: None, confirmed: false }
    }

    /// This node leads from now on; `applied` is the time that the machine has reached.
    pub(super) fn lead(&mut self, now: Reading, applied: u64) {
        self.last_stamp = self.last_stamp.max(applied).max(now.time);
        self.last_reading = now;
        self.last_tick = None;
        self.confirmed = false;
    }

    /// The stamp of the next proposal.
    pub(super) fn stamp(&mut self, now: Reading) -> u64 {
        let elapsed = now.monotonic.saturating_duration_since(self.last_reading.monotonic).as_nanos() as u64;
        let even = self.last_stamp.saturating_add(elapsed);
        let (slow, fast) = (even - elapsed / SLEW, even.saturating_add(elapsed / SLEW));
        let steps = now.settled && !self.last_reading.settled;
        let stamp = now.time.clamp(slow, if steps { u64::MAX } else { fast });
        self.last_stamp = stamp.max(self.last_stamp.saturating_add(1));
        self.last_reading = now;
        self.last_stamp
    }

    /// Whether the next proposal is a tick.
    pub(super) fn is_due(&self, monotonic: Instant) -> bool {
        !self.confirmed || self.last_tick.is_none_or(|last| monotonic.saturating_duration_since(last) >= self.tick)
    }

    pub(super) fn ticked(&mut self, monotonic: Instant) {
        self.last_tick = Some(monotonic);
    }

    /// A tick proposed since `lead` is committed, and the machine has reached the time `applied`: later than was known to
    /// `lead` if entries of the leader before were still to be applied.
    pub(super) fn confirm(&mut self, applied: u64) {
        self.confirmed = true;
        self.last_stamp = self.last_stamp.max(applied);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(200);

    /// Seconds, as nanoseconds.
    const fn s(seconds: u64) -> u64 {
        seconds * 1_000_000_000
    }

    /// A clock that shows `time`, so many nanoseconds after `start`.
    fn reading(start: Instant, time: u64, elapsed: u64) -> Reading {
        Reading { time, monotonic: start + Duration::from_nanos(elapsed), settled: true }
    }

    fn leading(start: Instant, time: u64, applied: u64) -> Ticker {
        let mut ticker = Ticker::new(TICK, reading(start, 0, 0));
        ticker.lead(reading(start, time, 0), applied);
        ticker
    }

    #[test]
    fn stamps_are_what_the_clock_shows_and_always_rise() {
        let start = Instant::now();
        let mut ticker = leading(start, 1_000, 0);
        assert_eq!(ticker.stamp(reading(start, 1_000, 0)), 1_001);
        assert_eq!(ticker.stamp(reading(start, 1_000, 0)), 1_002);
        assert_eq!(ticker.stamp(reading(start, 1_500, 500)), 1_500);
        // A leader whose clock is behind goes on from where it was itself …
        ticker.lead(reading(start, 10, 500), 0);
        assert_eq!(ticker.stamp(reading(start, 10, 500)), 1_501);
        // … and from where the log was, also where it comes to know that late.
        ticker.lead(reading(start, 10, 500), 9_000);
        assert_eq!(ticker.stamp(reading(start, 10, 500)), 9_001);
        ticker.confirm(20_000);
        assert_eq!(ticker.stamp(reading(start, 10, 500)), 20_001);
    }

    #[test]
    fn time_ahead_of_the_clock_goes_on_more_slowly_until_the_clock_is_there() {
        let start = Instant::now();
        let mut ticker = leading(start, s(1_000), s(1_003));
        assert_eq!(ticker.stamp(reading(start, s(1_010), s(10))), s(1_003) + s(9));
        assert_eq!(ticker.stamp(reading(start, s(1_030), s(30))), s(1_030));
        assert_eq!(ticker.stamp(reading(start, s(1_040), s(40))), s(1_040));
    }

    #[test]
    fn a_clock_that_is_set_is_followed_gently() {
        let start = Instant::now();
        let mut ticker = leading(start, s(1_000), 0);
        assert_eq!(ticker.stamp(reading(start, s(5_000), s(10))), s(1_011), "set forward");
        assert_eq!(ticker.stamp(reading(start, s(100), s(20))), s(1_020), "set back");
        assert_eq!(ticker.stamp(reading(start, s(1_035), s(40))), s(1_038), "and what is left is caught up with");
    }

    #[test]
    fn the_first_word_of_a_clocks_source_is_one_step_forward_and_none_back() {
        let start = Instant::now();
        for (time, stamp) in [(s(5_000), s(5_000)), (s(100), s(1_009))] {
            let mut ticker = Ticker::new(TICK, reading(start, 0, 0));
            ticker.lead(Reading { settled: false, ..reading(start, s(1_000), 0) }, 0);
            assert_eq!(ticker.stamp(reading(start, time, s(10))), stamp);
            assert_eq!(ticker.stamp(reading(start, s(9_000), s(20))), stamp + s(11), "the next is none");
        }
    }

    #[test]
    fn no_clock_overflows() {
        let start = Instant::now();
        let mut ticker = leading(start, u64::MAX - 5, 0);
        assert_eq!(ticker.stamp(reading(start, u64::MAX, s(10))), u64::MAX);
        assert_eq!(ticker.stamp(reading(start, 0, s(20))), u64::MAX);
    }

    #[test]
    fn ticks_first_as_leader_and_when_time_has_passed() {
        let start = reading(Instant::now(), 1_000, 0);
        let mut ticker = Ticker::new(TICK, start);
        assert!(ticker.is_due(start.monotonic));
        ticker.ticked(start.monotonic);
        assert!(ticker.is_due(start.monotonic), "the first may be refused");
        ticker.confirm(0);
        assert!(!ticker.is_due(start.monotonic + TICK - Duration::from_nanos(1)));
        assert!(ticker.is_due(start.monotonic + TICK));
        ticker.lead(start, 0);
        assert!(ticker.is_due(start.monotonic));
    }
}
