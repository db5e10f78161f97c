//! Sockets: binding, accepting, and telling protocols apart. It knows nothing of what is served on them.

mod address;
pub mod descriptors;
mod listener;
mod lobby;
pub mod peer;
mod stream;
pub mod tls;

pub use address::Address;
pub use listener::{Connection, Listener, Options, Protocol};
pub use lobby::Visitor;
pub use stream::Stream;

use std::io;
use std::net::SocketAddr;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0:?} is not an address: expected HOST:PORT, [IPV6]:PORT or :PORT")]
    Address(String),
    #[error("cannot resolve {address}")]
    Resolve { address: Address, source: io::Error },
    #[error("{0} resolves to no address")]
    NoAddress(Address),
    #[error("cannot listen on {address}")]
    Bind { address: SocketAddr, source: io::Error },
}
