//! The time of the machine.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::host;

/// The time of the machine in nanoseconds since the Unix epoch.
///
/// In a write and in a tick every call returns a later nanosecond than the one before, so it can serve as an
/// identifier. In a read all calls return the time of the last write.
pub fn now() -> u64 {
    host::now()
}

/// A point in the time of the machine. Sums and differences stop at the ends of the range: the epoch, and the year
/// 2554.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time(u64);

impl Time {
    /// The epoch, 1970-01-01 00:00 UTC.
    pub const EPOCH: Time = Time(0);
    /// The last nanosecond that can be said.
    pub const MAX: Time = Time(u64::MAX);

    /// As [`now`].
    pub fn now() -> Self {
        Time(host::now())
    }

    /// So many nanoseconds since the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Time(nanos)
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// From the earlier time to this one; zero if that one is later.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(nanos(duration)))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;

    fn sub(self, duration: Duration) -> Time {
        Time(self.0.saturating_sub(nanos(duration)))
    }
}

/// Seconds with nine decimals.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.as_secs(), self.0 % 1_000_000_000)
    }
}
