//! The node's clock: the system's, or what NTP servers say for a machine whose own clock nobody keeps right.
//!
//! It is read where a leader stamps a proposal, and told to the other nodes, which compare it with theirs. What it shows
//! may jump, as any clock does that is set right; `raft::ticker` makes of it a time that does not. Nothing waits for it:
//! until the first server has answered it is the system's clock.
//!
//! ```text
//! kernel      does something keep the system's clock right?
//! server      what was typed → where an NTP server is
//! exchange    one question to one server
//! selection   what most of the servers agree on
//! follow      asks them all, again and again
//! watch       says in the log when nothing keeps the system's clock right
//! ```

mod exchange;
mod follow;
mod kernel;
mod selection;
mod server;
mod watch;

pub use self::follow::{ServerState, ServerStatus};
pub use self::server::{ServerName, WrongServer};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;

/// How far a clock that nobody corrects may run away from the true time: parts of a million.
const DRIFT_PPM: u32 = 100;

#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Without any, the system's clock is the node's.
    pub servers: Vec<ServerName>,
    /// How often each is asked.
    pub interval: Duration,
}

/// A handle; clones show the same time.
#[derive(Clone, Debug)]
pub struct Clock {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    followed: Mutex<Followed>,
}

/// What is known from NTP servers.
#[derive(Debug, Default)]
struct Followed {
    estimate: Option<Estimate>,
    /// Whether most of the servers that answer agree.
    agreed: Option<bool>,
    servers: Vec<ServerStatus>,
}

/// The true time at one moment. The system may set its clock as it likes, this one runs on.
#[derive(Clone, Copy, Debug)]
struct Estimate {
    at: Instant,
    /// Nanoseconds since the Unix epoch.
    time: u64,
    error: Duration,
}

/// What the clock shows at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Nanoseconds since the Unix epoch.
    pub time: u64,
    pub monotonic: Instant,
    /// Whether it is the time of the source that was chosen, and not yet the system's in its place.
    pub settled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Os,
    Ntp,
}

/// What an operator asks about a clock.
#[derive(Clone, Debug)]
pub struct Status {
    pub source: Source,
    /// Nanoseconds since the Unix epoch.
    pub now: u64,
    /// Whether it is kept right; `None` if that cannot be told, or not yet.
    pub synchronized: Option<bool>,
    /// How far it may be from the true time, if that is known.
    pub error: Option<Duration>,
    /// How far it is ahead of the system's clock, in nanoseconds.
    pub offset: i64,
    pub servers: Vec<ServerStatus>,
}

impl Clock {
    pub fn new(options: Options) -> Clock {
        Clock { shared: Arc::new(Shared { options, followed: Mutex::default() }) }
    }

    /// Keeps it right, or says when nothing does, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let work = async {
            match self.source() {
                Source::Os => watch::run().await,
                Source::Ntp => follow::run(&self).await,
            }
        };
        stop.run_until_cancelled(work).await;
    }

    pub fn read(&self) -> Reading {
        let (time, monotonic) = (system_time(), Instant::now());
        match (self.source(), self.followed().estimate) {
            (Source::Os, _) => Reading { time, monotonic, settled: true },
            (Source::Ntp, None) => Reading { time, monotonic, settled: false },
            (Source::Ntp, Some(estimate)) => Reading { time: estimate.time_at(monotonic), monotonic, settled: true },
        }
    }

    pub fn status(&self) -> Status {
        let reading = self.read();
        let offset = if reading.settled { difference(reading.time, system_time()) } else { 0 };
        let source = self.source();
        if source == Source::Os {
            let discipline = kernel::discipline();
            let synchronized = discipline.map(|discipline| discipline.synchronized);
            let error = discipline.filter(|discipline| discipline.synchronized).map(|discipline| discipline.error);
            return Status { source, now: reading.time, synchronized, error, offset: 0, servers: Vec::new() };
        }
        let followed = self.followed();
        let error = followed.estimate.map(|estimate| estimate.error_at(reading.monotonic));
        let (synchronized, servers) = (followed.agreed, followed.servers.clone());
        Status { source, now: reading.time, synchronized, error, offset, servers }
    }

    fn source(&self) -> Source {
        if self.shared.options.servers.is_empty() { Source::Os } else { Source::Ntp }
    }

    fn followed(&self) -> MutexGuard<'_, Followed> {
        self.shared.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Estimate {
    fn time_at(&self, monotonic: Instant) -> u64 {
        self.time.saturating_add(nanos(monotonic.saturating_duration_since(self.at)))
    }

    fn error_at(&self, monotonic: Instant) -> Duration {
        self.error + drift(monotonic.saturating_duration_since(self.at))
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Source::Os => "os",
            Source::Ntp => "ntp",
        })
    }
}

/// What a clock that nobody corrects may have lost or gained in that time.
fn drift(elapsed: Duration) -> Duration {
    elapsed * DRIFT_PPM / 1_000_000
}

/// What the system's clock shows. One that stands before 1970 was never set.
fn system_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanos)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// `a - b`, as far as 64 bits with a sign reach: 292 years.
pub fn difference(a: u64, b: u64) -> i64 {
    i64::try_from(i128::from(a) - i128::from(b)).unwrap_or(if a > b { i64::MAX } else { i64::MIN })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_clock_is_shown_until_a_server_has_answered() {
        let clock = Clock::new(Options { servers: vec!["127.0.0.1:1".parse().unwrap()], interval: Duration::MAX });
        let before = clock.read();
        assert!(!before.settled && difference(system_time(), before.time).abs() < 60_000_000_000);
        assert_eq!((clock.status().source, clock.status().synchronized), (Source::Ntp, None));
        let error = Duration::from_millis(1);
        clock.followed().estimate = Some(Estimate { at: before.monotonic, time: 5_000, error });
        let after = clock.read();
        assert!(after.settled);
        assert_eq!(u128::from(after.time), 5_000 + (after.monotonic - before.monotonic).as_nanos());
        assert!(clock.status().error >= Some(error) && clock.status().offset < 0);
    }

    #[test]
    fn the_system_is_the_default_and_needs_nobody() {
        let clock = Clock::new(Options::default());
        assert!(clock.read().settled);
        assert_eq!((clock.status().source, clock.status().offset), (Source::Os, 0));
    }

    #[test]
    fn differences_have_a_sign_and_no_overflow() {
        assert_eq!((difference(5, 7), difference(7, 5)), (-2, 2));
        assert_eq!((difference(u64::MAX, 0), difference(0, u64::MAX)), (i64::MAX, i64::MIN));
    }
}
