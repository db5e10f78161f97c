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
/// More than this between two clocks during one exchange: the system's was set, or the server contradicts itself.
const STEP_MIN: Duration = Duration::from_millis(5);
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
    if difference(time, asked_time).abs_diff(difference(nanos(elapsed), 0)) > nanos(STEP_MIN) {
        return Err(Error::Stepped);
    }
    // Clocks have a resolution, so a very short exchange may seem to end before it began.
    let delay = answer.round_trip_delay().as_secs_f64();
    if !(-STEP_MIN.as_secs_f64()..=(elapsed + STEP_MIN).as_secs_f64()).contains(&delay) {
        return Err(Error::Contradiction);
    }
    let delay = Duration::try_from_secs_f64(delay.max(0.0)).unwrap_or(elapsed);
    // At most 136 years, which 64 bits of nanoseconds hold.
    let offset = (answer.clock_offset().as_secs_f64() * 1e9) as i64;
    Ok(Sample { at, time: time.saturating_add_signed(offset), delay, stratum: answer.stratum() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UdpSocket;

    /// What a server answers to the client's transmit time.
    type Reply<'a> = &'a dyn Fn([u8; 8]) -> Vec<u8>;

    /// What comes of asking a server that answers this.
    async fn asked(reply: Reply<'_>) -> Result<Sample, Error> {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let serve = async {
            let mut request = [0; 48];
            let (_, client) = server.recv_from(&mut request).await.unwrap();
            let transmit = request[40..].try_into().unwrap();
            server.send_to(&reply(transmit), client).await.unwrap();
        };
        tokio::join!(ask(address), serve).0
    }

    /// An answer, whose receive and transmit time are so many seconds after the client's.
    fn answer(head: [u8; 2], id: &[u8; 4], transmit: [u8; 8], received: i64, sent: i64) -> Vec<u8> {
        let after = |seconds: i64| u64::from_be_bytes(transmit).wrapping_add_signed(seconds << 32).to_be_bytes();
        [&head[..], &[0; 10], id, &[0; 8], &transmit, &after(received), &after(sent)].concat()
    }

    #[tokio::test]
    async fn a_good_answer_is_a_sample() {
        let sample = asked(&|transmit| answer([0x24, 2], b"good", transmit, 100, 100)).await.unwrap();
        let ahead = difference(sample.time_at(Instant::now()), system_time());
        assert_eq!((ahead + 500_000_000) / 1_000_000_000, 100);
        assert_eq!(sample.stratum, 2);
        let error = sample.error_at(sample.at);
        assert!(error >= ERROR_MIN && sample.error_at(sample.at + Duration::from_secs(10)) == error + ERROR_MIN / 5);
    }

    #[tokio::test]
    async fn what_is_no_good_answer_is_an_error() {
        let error = |result: Result<Sample, Error>| result.unwrap_err().to_string();
        let cases: [(&str, Reply<'_>); 6] = [
            ("the answer cannot be used", &|_| vec![0; 7]),
            ("the answer cannot be used", &|_| vec![0xff; 48]),
            ("the answer cannot be used", &|transmit| answer([0xe4, 2], b"lost", transmit, 0, 0)),
            ("the answer cannot be used", &|_| answer([0x24, 2], b"echo", [1; 8], 0, 0)),
            ("the server refuses to be asked", &|transmit| answer([0x24, 0], b"RATE", transmit, 0, 0)),
            ("the answer contradicts itself", &|transmit| answer([0x24, 2], b"lies", transmit, 0, 9)),
        ];
        for (message, reply) in cases {
            assert_eq!(error(asked(reply).await), message);
        }
        let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert_eq!(error(ask(nobody).await), "no answer");
    }
}
