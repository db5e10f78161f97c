//! One question to one NTP server, by rsntp.

use super::{ServerName, difference, drift, nanos, system_time};
use rsntp::{AsyncSntpClient, Config, ProtocolError, SynchronizationError};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// A server that has not answered by then does not, and neither does the name service.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// What a server's own clock, and the way that its packets take, may add to the error that can be measured.
const ERROR_MIN: Duration = Duration::from_millis(5);
/// More than this between two clocks during one exchange: the system's was set.
const STEP_MIN: u64 = 5_000_000;
/// The year 2104. rsntp would take a later time for another one, and may panic at one before 1970.
const SYSTEM_TIME_MAX: u64 = 4_228_761_600 * 1_000_000_000;

/// A server's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) at: Instant,
    /// The server's time at that moment, in nanoseconds since the Unix epoch.
    pub(super) time: u64,
    pub(super) delay: Duration,
    pub(super) stratum: u8,
}

/// Why there is no sample.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the name cannot be resolved")]
    Resolve(#[source] io::Error),
    #[error("the name resolves to no address")]
    NoAddress,
    #[error("the name service does not answer")]
    ResolveTimeout,
    #[error("no answer")]
    Ask(#[source] io::Error),
    #[error("the answer cannot be used")]
    Answer(#[source] ProtocolError),
    #[error("the server refuses to be asked")]
    Kiss(#[source] ProtocolError),
    #[error("the system's clock was set meanwhile")]
    Stepped,
    #[error("the answer contradicts itself")]
    Contradiction,
    #[error("the system's clock shows a time that NTP cannot say")]
    SystemTime,
}

impl Sample {
    pub(super) fn time_at(&self, monotonic: Instant) -> u64 {
        self.time.saturating_add(nanos(monotonic.saturating_duration_since(self.at)))
    }

    /// The two ways of a packet may differ by the whole delay, and since then our clock has drifted.
    pub(super) fn error_at(&self, monotonic: Instant) -> Duration {
        self.delay / 2 + ERROR_MIN + drift(monotonic.saturating_duration_since(self.at))
    }
}

pub(super) async fn resolve(name: ServerName) -> Result<SocketAddr, Error> {
    let addresses = tokio::net::lookup_host((name.host.as_str(), name.port)).await.map_err(Error::Resolve)?;
    // The first is the one that the system prefers.
    addresses.into_iter().next().ok_or(Error::NoAddress)
}

pub(super) async fn ask(address: SocketAddr) -> Result<Sample, Error> {
    let from: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let client = AsyncSntpClient::with_config(Config::default().bind_address(from).timeout(ANSWER_TIMEOUT));
    let (asked, asked_time) = (Instant::now(), system_time());
    if !(1..SYSTEM_TIME_MAX).contains(&asked_time) {
        return Err(Error::SystemTime);
    }
    let answer = client.synchronize(address).await.map_err(|error| match error {
        SynchronizationError::IOError(error) => Error::Ask(error),
        SynchronizationError::ProtocolError(error @ ProtocolError::KissODeath(_)) => Error::Kiss(error),
        SynchronizationError::ProtocolError(error) => Error::Answer(error),
    })?;
    let (at, time) = (Instant::now(), system_time());
    let elapsed = at - asked;
    // rsntp measures with the system's clock.
    if difference(time, asked_time).abs_diff(difference(nanos(elapsed), 0)) > STEP_MIN {
        return Err(Error::Stepped);
    }
    // A clock has a resolution, so that of a very short exchange may seem to end before it began.
    let delay = Duration::try_from_secs_f64(answer.round_trip_delay().as_secs_f64().max(0.0));
    let delay = delay.ok().filter(|delay| *delay <= elapsed + Duration::from_nanos(STEP_MIN));
    let delay = delay.ok_or(Error::Contradiction)?;
    // At most 136 years, which 64 bits of nanoseconds hold.
    let offset = (answer.clock_offset().as_secs_f64() * 1e9) as i64;
    Ok(Sample { at, time: time.saturating_add_signed(offset), delay, stratum: answer.stratum() })
}
