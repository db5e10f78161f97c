//! Accepts connections and tells by their first byte what they speak.
//!
//! The accept loop does nothing but accept: what waits for a client (its first byte, its commands) runs in a task of
//! its own, so one that says nothing holds up nobody. When the process runs out of descriptors the loop pauses and
//! tries again, since the clients that leave will make room.

use super::lobby::{Lobby, VISIT_MAX};
use super::tls::Tls;
use super::{Address, Error, Stream, Visitor};
use crate::seldom::Seldom;
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const BACKLOG: i32 = 1024;
/// So many are accepted before everybody else has a turn. Faster, and whoever connects again and again would fill the
/// runtime's queue, behind which clients wait with each step of each command.
const ACCEPTED_IN_A_ROW: u32 = 8;
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The first byte of a connection between nodes; no command begins with it.
const PEER_MARKER: u8 = 0;
/// The first byte of TLS: a record of the handshake.
const TLS_MARKER: u8 = 0x16;
/// Who has not finished the handshake by then is disconnected.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
const NOT_TLS: &str = "-ERR this port speaks TLS\r\n";
const NOT_PLAIN: &str = "-ERR this port does not speak TLS\r\n";

static FAILED_HANDSHAKES: Seldom = Seldom::new();

#[derive(Clone, Debug)]
pub struct Options {
    pub addresses: Vec<Address>,
    /// Most connections at a time; one more is told `refusal` and closed, unless it is a node's.
    pub connections_max: usize,
    pub refusal: &'static str,
    /// A connection without a byte for this long is closed; `None` waits for ever.
    pub first_byte_timeout: Option<Duration>,
    /// How often a silent connection is asked whether it still lives.
    pub keepalive: Duration,
    /// With it, nothing but TLS is served.
    pub tls: Option<Tls>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            addresses: vec![Address::new("127.0.0.1", 11001)],
            connections_max: 10_000,
            refusal: "-ERR max number of clients reached\r\n",
            first_byte_timeout: None,
            keepalive: Duration::from_secs(300),
            tls: None,
        }
    }
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Redis,
    /// What nodes say to each other.
    Peer,
}

/// Somebody who has begun to speak.
#[derive(Debug)]
pub struct Connection {
    pub protocol: Protocol,
    pub stream: Stream,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    /// Of a node that came when all places were taken: to be dropped once it has proven who it is.
    pub visitor: Option<Visitor>,
}

/// Bound, but not accepting yet.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    options: Options,
}

impl Listener {
    /// Takes all addresses or none.
    pub async fn bind(options: Options) -> Result<Listener, Error> {
        let mut sockets = Vec::new();
        for address in &options.addresses {
            if address.host().is_empty() {
                sockets.push(bind_everywhere(address.port())?);
                continue;
            }
            let resolved = tokio::net::lookup_host((address.host(), address.port())).await;
            let resolved = resolved.map_err(|source| Error::Resolve { address: address.clone(), source })?;
            let mut found = false;
            for resolved in resolved {
                found = true;
                sockets.push(bind_one(resolved, true).map_err(|source| Error::Bind { address: resolved, source })?);
            }
            if !found {
                return Err(Error::NoAddress(address.clone()));
            }
        }
        // A bound socket has an address; one without would be the system's fault and is only left out of the list.
        let addresses = sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect();
        Ok(Listener { sockets, addresses, options })
    }

    /// What it is bound to, with the ports that the system chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Accepts until `stop` is cancelled; returns then, while connections go on in `tasks`. `serve` is called for each
    /// one that has begun to speak, in a task of its own.
    pub async fn run<F, Fut>(self, stop: CancellationToken, tasks: TaskTracker, serve: F)
    where
        F: Fn(Connection) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let places = Arc::new(Semaphore::new(self.options.connections_max.min(Semaphore::MAX_PERMITS)));
        let lobby = Lobby::default();
        let loops = TaskTracker::new();
        for socket in self.sockets {
            let accepting = Accepting {
                socket,
                options: self.options.clone(),
                places: Arc::clone(&places),
                lobby: lobby.clone(),
                stop: stop.clone(),
                tasks: tasks.clone(),
            };
            loops.spawn(accepting.run(serve.clone()));
        }
        loops.close();
        loops.wait().await;
    }
}

/// Every interface, of both families where the system has them.
fn bind_everywhere(port: u16) -> Result<TcpListener, Error> {
    let six = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
    match bind_one(six, false) {
        Ok(socket) => Ok(socket),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(Error::Bind { address: six, source: error }),
        Err(_) => {
            let four = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
            bind_one(four, true).map_err(|source| Error::Bind { address: four, source })
        }
    }
}

fn bind_one(address: SocketAddr, one_family: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(socket2::Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(one_family)?;
    }
    // Without it a restart would have to wait for the last run's connections to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// One socket's accept loop.
struct Accepting {
    socket: TcpListener,
    options: Options,
    places: Arc<Semaphore>,
    lobby: Lobby,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Accepting {
    async fn run<F, Fut>(self, serve: F)
    where
        F: Fn(Connection) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let mut pause = PAUSE_MIN;
        let mut in_a_row = 0;
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    pause = PAUSE_MIN;
                    self.admit(stream, peer, serve.clone());
                    in_a_row += 1;
                    if in_a_row == ACCEPTED_IN_A_ROW {
                        in_a_row = 0;
                        tokio::task::yield_now().await;
                    }
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, ?pause, "cannot accept connections, pausing");
                    tokio::select! {
                        () = self.stop.cancelled() => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    fn admit<F, Fut>(&self, stream: TcpStream, peer: SocketAddr, serve: F)
    where
        F: Fn(Connection) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let (options, stop) = (self.options.clone(), self.stop.clone());
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => drop(self.tasks.spawn(async move {
                let greeted = stop.run_until_cancelled(greet(stream, peer, &options)).await;
                if let Some(connection) = greeted.flatten() {
                    serve(connection).await;
                }
                drop(place);
            })),
            Err(_) => {
                tracing::debug!(%peer, "too many connections");
                let visitor = self.lobby.enter();
                drop(self.tasks.spawn(async move {
                    let visited = stop.run_until_cancelled(visit(stream, peer, &options, visitor)).await;
                    if let Some(connection) = visited.flatten() {
                        serve(connection).await;
                    }
                }));
            }
        }
    }
}

/// Greets somebody for whom there is no place: a node is let in, everybody else hears the refusal.
async fn visit(stream: TcpStream, peer: SocketAddr, options: &Options, visitor: Visitor) -> Option<Connection> {
    let timeout = options.first_byte_timeout.map_or(VISIT_MAX, |timeout| timeout.min(VISIT_MAX));
    let hurried = Options { first_byte_timeout: Some(timeout), ..options.clone() };
    // Without TLS the stream is still here when the visitor has said nothing, and it is told why it must go.
    if options.tls.is_none() {
        let spoken = visitor.unless_sent_away(in_time(Some(timeout), stream.peek(&mut [0]))).await;
        if spoken.flatten().is_none() {
            dismiss(&stream, options.refusal);
            return None;
        }
    }
    let connection = visitor.unless_sent_away(greet(stream, peer, &hurried)).await.flatten()?;
    match connection.protocol {
        Protocol::Peer => Some(Connection { visitor: Some(visitor), ..connection }),
        Protocol::Redis => {
            let Connection { mut stream, .. } = connection;
            let mut said = [0; DISMISSED_BYTES];
            let goodbye = async {
                let _ = stream.read(&mut said).await;
                let _ = stream.write_all(options.refusal.as_bytes()).await;
                let _ = stream.shutdown().await;
            };
            // Whether it hears that is its own affair.
            let _ = tokio::time::timeout(VISIT_MAX, visitor.unless_sent_away(goodbye)).await;
            None
        }
    }
}

/// What is read of somebody who is sent away: a socket that is closed with bytes unread takes back what was written.
const DISMISSED_BYTES: usize = 16 << 10;

/// Sends somebody away with what fits into the socket's empty buffer; nobody waits for more.
fn dismiss(stream: &TcpStream, why: &str) {
    let mut said = [0; DISMISSED_BYTES];
    let _ = stream.try_read(&mut said);
    let _ = stream.try_write(why.as_bytes());
}

/// Waits for the first byte and looks what it is, without taking it.
async fn greet(stream: TcpStream, peer: SocketAddr, options: &Options) -> Option<Connection> {
    // Both are improvements only: a client is served without them too.
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(options.keepalive).with_interval(options.keepalive);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    let local = stream.local_addr().ok()?;
    let timeout = options.first_byte_timeout;
    let mut first = [0];
    in_time(timeout, stream.peek(&mut first)).await.filter(|peeked| *peeked == 1)?;
    let stream = match &options.tls {
        None if first[0] == TLS_MARKER => {
            // Taken for the beginning of a line, it would have both sides wait for each other.
            dismiss(&stream, NOT_PLAIN);
            return None;
        }
        None => Stream::plain(stream),
        Some(tls) if first[0] == TLS_MARKER => {
            let mut stream = match tokio::time::timeout(TLS_TIMEOUT, tls.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    if let Some(left_out) = FAILED_HANDSHAKES.may_log() {
                        tracing::info!(%peer, %error, left_out, "a TLS handshake failed");
                    }
                    return None;
                }
                Err(_) => return None,
            };
            in_time(timeout, stream.read_exact(&mut first)).await?;
            stream.put_back(first[0]);
            stream
        }
        Some(_) => {
            dismiss(&stream, NOT_TLS);
            return None;
        }
    };
    let protocol = if first[0] == PEER_MARKER { Protocol::Peer } else { Protocol::Redis };
    Some(Connection { protocol, stream, peer: canonical(peer), local: canonical(local), visitor: None })
}

/// What comes within the timeout, if there is one and nothing fails.
async fn in_time<T>(timeout: Option<Duration>, coming: impl Future<Output = io::Result<T>>) -> Option<T> {
    match timeout {
        Some(timeout) => tokio::time::timeout(timeout, coming).await.ok()?.ok(),
        None => coming.await.ok(),
    }
}

/// An IPv4 client of a socket for both families as the IPv4 client that it is.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Errors that `accept` reports for a connection that is gone already.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    struct Echo {
        addresses: Vec<SocketAddr>,
        stop: CancellationToken,
        tasks: TaskTracker,
    }

    /// Answers the first bytes of each connection with its peer's address.
    async fn echo(addresses: &[&str], change: impl FnOnce(&mut Options)) -> Echo {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let mut options = Options { addresses, ..Options::default() };
        change(&mut options);
        let listener = Listener::bind(options).await.unwrap();
        let echo = Echo {
            addresses: listener.addresses().to_vec(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        tokio::spawn(listener.run(echo.stop.clone(), echo.tasks.clone(), async |connection: Connection| {
            let mut stream = connection.stream;
            let mut bytes = [0; 16];
            let count = stream.read(&mut bytes).await.unwrap();
            stream.write_all(&bytes[..count]).await.unwrap();
            if connection.protocol == super::Protocol::Peer {
                stream.write_all(b"a node at ").await.unwrap();
            }
            stream.write_all(connection.peer.ip().to_string().as_bytes()).await.unwrap();
        }));
        echo
    }

    async fn ask(to: SocketAddr, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text).await;
        text
    }

    #[tokio::test]
    async fn serves_several_addresses_of_both_families() {
        let echo = echo(&["127.0.0.1:0", "[::1]:0", ":0"], |_| ()).await;
        assert_eq!(ask(echo.addresses[0], b"hi ").await, "hi 127.0.0.1");
        assert_eq!(ask(echo.addresses[1], b"hi ").await, "hi ::1");
        let everywhere = echo.addresses[2].port();
        assert_eq!(ask(([127, 0, 0, 1], everywhere).into(), b"hi ").await, "hi 127.0.0.1");
    }

    #[tokio::test]
    async fn a_silent_client_holds_up_nobody_and_goes_when_the_server_does() {
        let echo = echo(&["127.0.0.1:0"], |_| ()).await;
        let mut silent = TcpStream::connect(echo.addresses[0]).await.unwrap();
        assert_eq!(ask(echo.addresses[0], b"x").await, "x127.0.0.1");
        echo.stop.cancel();
        assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
        echo.tasks.close();
        echo.tasks.wait().await;
    }

    #[tokio::test]
    async fn a_silent_client_may_have_a_deadline() {
        let echo = echo(&["127.0.0.1:0"], |options| options.first_byte_timeout = Some(Duration::from_millis(10))).await;
        let mut silent = TcpStream::connect(echo.addresses[0]).await.unwrap();
        assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn nodes_and_clients_are_told_apart() {
        let echo = echo(&["127.0.0.1:0"], |_| ()).await;
        assert_eq!(ask(echo.addresses[0], b"\0").await, "\0a node at 127.0.0.1");
        assert_eq!(ask(echo.addresses[0], b"x").await, "x127.0.0.1");
    }

    #[tokio::test]
    async fn one_connection_too_many_is_told_so() {
        let echo = echo(&["127.0.0.1:0"], |options| options.connections_max = 1).await;
        let silent = TcpStream::connect(echo.addresses[0]).await.unwrap();
        assert_eq!(ask(echo.addresses[0], b"").await, "-ERR max number of clients reached\r\n");
        assert_eq!(ask(echo.addresses[0], b"x").await, "-ERR max number of clients reached\r\n");
        drop(silent);
        // Its place is free once its task has seen it go.
        while ask(echo.addresses[0], b"x").await != "x127.0.0.1" {
            tokio::task::yield_now().await;
        }
    }

    /// Clients that took all places would otherwise cut a node off from its cluster.
    #[tokio::test]
    async fn a_node_is_let_in_however_many_clients_there_are() {
        let echo = echo(&["127.0.0.1:0"], |options| options.connections_max = 1).await;
        let _client = TcpStream::connect(echo.addresses[0]).await.unwrap();
        let mut visitors = Vec::new();
        for _ in 0..100 {
            visitors.push(TcpStream::connect(echo.addresses[0]).await.unwrap());
        }
        assert_eq!(ask(echo.addresses[0], b"\0").await, "\0a node at 127.0.0.1");
    }

    #[tokio::test]
    async fn a_client_that_speaks_tls_is_told_that_this_port_does_not() {
        let echo = echo(&["127.0.0.1:0"], |_| ()).await;
        assert_eq!(ask(echo.addresses[0], &[0x16, 3, 1, 0, 9, 1]).await, "-ERR this port does not speak TLS\r\n");
    }

    #[tokio::test]
    async fn an_address_in_use_is_reported() {
        let echo = echo(&["127.0.0.1:0"], |_| ()).await;
        let taken = echo.addresses[0];
        let options = Options { addresses: vec![taken.to_string().parse().unwrap()], ..Options::default() };
        let error = Listener::bind(options).await.unwrap_err();
        assert_eq!(error.to_string(), format!("cannot listen on {taken}"));
    }
}
