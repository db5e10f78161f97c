//! Each host's clocks: how they differ from true time, and how programs read them.

use super::{Os, current, enter, real};
use libc::c_int;

const SECOND: u64 = 1_000_000_000;
/// 2026-01-01.
const WALL_BEGIN: u64 = 1_767_225_600 * SECOND;

/// A clock that may run fast or slow, and whose time of day may be anything.
#[derive(Debug)]
pub(crate) struct Clock {
    since: u64,
    monotonic_then: u64,
    drift_ppm: i64,
    /// The time of day is so much later than it is.
    wall_ahead_ns: i64,
}

impl Clock {
    /// Computers have been up for different times.
    pub(super) fn new(now: u64, number: u64) -> Clock {
        Clock { since: now, monotonic_then: (1_000 + 77 * number) * SECOND, drift_ppm: 0, wall_ahead_ns: 0 }
    }

    fn monotonic(&self, now: u64) -> u64 {
        let passed = i128::from(now - self.since);
        self.monotonic_then + (passed + passed * i128::from(self.drift_ppm) / 1_000_000) as u64
    }

    fn wall(&self, now: u64) -> u64 {
        (i128::from(WALL_BEGIN + now) + i128::from(self.monotonic(now)) - i128::from(self.monotonic_then)
            + i128::from(self.wall_ahead_ns)
            - i128::from(now - self.since)) as u64
    }

    /// When this clock will show `monotonic`.
    fn when(&self, monotonic: u64) -> u64 {
        let passed = i128::from(monotonic.saturating_sub(self.monotonic_then));
        // One more, so that whoever waits until then finds that it is then.
        self.since + (passed * 1_000_000 / i128::from(1_000_000 + self.drift_ppm)) as u64 + 1
    }

    /// From now on the clock gains so many microseconds in a second.
    pub(crate) fn drift(&mut self, now: u64, ppm: i64) {
        let gained = self.wall(now) as i128 - i128::from(WALL_BEGIN + now);
        (self.monotonic_then, self.since) = (self.monotonic(now), now);
        (self.drift_ppm, self.wall_ahead_ns) = (ppm, gained as i64);
    }

    /// Sets the time of day so much forward or back.
    pub(crate) fn jump(&mut self, ns: i64) {
        self.wall_ahead_ns += ns;
    }

    /// Makes the clock right.
    pub(crate) fn correct(&mut self, now: u64) {
        self.drift(now, 0);
        self.wall_ahead_ns = 0;
    }
}

impl Os {
    /// When a time on the running thread's monotonic clock is.
    pub(super) fn deadline_at(&self, monotonic: u64) -> u64 {
        self.hosts[self.here()].clock.when(monotonic)
    }

    pub(super) fn deadline_in(&self, ns: u64) -> u64 {
        let clock = &self.hosts[self.here()].clock;
        clock.when(clock.monotonic(self.scheduler.now()).saturating_add(ns))
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut libc::timespec) -> c_int {
    if current().is_none() {
        // SAFETY: the caller's contract.
        return unsafe { real::clock_gettime(clock, time) };
    }
    let ns = enter(|os| {
        os.scheduler.call();
        let (now, host) = (os.scheduler.now(), os.here());
        match clock {
            libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => os.hosts[host].clock.wall(now),
            _ => os.hosts[host].clock.monotonic(now),
        }
    });
    // SAFETY: the caller's contract.
    unsafe { *time = libc::timespec { tv_sec: (ns / SECOND) as i64, tv_nsec: (ns % SECOND) as i64 } };
    0
}

/// Nothing keeps a simulated clock right, and it says so.
#[unsafe(no_mangle)]
unsafe extern "C" fn adjtimex(timex: *mut libc::timex) -> c_int {
    if current().is_none() {
        // SAFETY: the caller's contract.
        return unsafe { real::adjtimex(timex) };
    }
    // SAFETY: the caller's contract.
    unsafe { (*timex).status = libc::STA_UNSYNC };
    libc::TIME_ERROR
}
