//! Connections between nodes: who is on the other side, and requests with answers.
//!
//! A connection begins with a byte that no Redis command begins with, so it shares the clients' port. Both sides then
//! prove that they know the cluster's secret (`hello`), and from there on one side asks and the other answers, in
//! frames. What is asked is bytes to this folder; `raft` gives them their meaning.

mod dial;
mod frame;
mod hello;
mod serve;
#[cfg(test)]
mod tests;

pub use dial::{Asked, Connection, dial};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use hello::fuzzing;
pub use hello::{Local, Remote, Secret};
pub use serve::{Service, serve};

use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;

/// Raised when nodes of two versions would not understand each other.
const PROTOCOL_VERSION: u16 = 2;
/// A connection that has not said who it is by then is closed.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests of one connection that are answered at a time; more wait in the sender's socket.
const REQUESTS_MAX: usize = 1024;
/// A connection on which nothing is acknowledged for so long is lost: the other machine, or the way to it, is gone.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// How often a connection without traffic is asked whether it still lives.
const KEEPALIVE: Duration = Duration::from_secs(1);

/// Has the system find out when the other side is gone without a word.
fn notice_silence(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(SILENCE_MAX))?;
    Ok(())
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request was not sent.
    #[error("cannot connect to {address}")]
    Connect { address: String, source: io::Error },
    /// The request was not sent.
    #[error("{address} refuses the connection: {reason}")]
    Refused { address: String, reason: String },
    /// The request was not sent.
    #[error("{address} does not know the cluster's secret")]
    Impostor { address: String },
    /// The request was not sent.
    #[error("a frame of {0} bytes is larger than nodes send each other")]
    TooLarge(usize),
    /// Whether the other side has acted is not known.
    #[error("the connection was lost")]
    Lost,
    /// Whether the other side has acted is not known.
    #[error("no answer in time")]
    Timeout,
    /// The other side has decided not to act.
    #[error("{0}")]
    Answer(String),
}

impl Error {
    /// Whether the request certainly had no effect.
    pub fn is_harmless(&self) -> bool {
        match self {
            Error::Connect { .. } | Error::Refused { .. } | Error::Impostor { .. } => true,
            Error::TooLarge(_) | Error::Answer(_) => true,
            Error::Lost | Error::Timeout => false,
        }
    }
}
