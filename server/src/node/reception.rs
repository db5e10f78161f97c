//! Who serves a connection: a session for a client, the cluster for another node.
//!
//! Connections are accepted before the node is ready, because other nodes must reach it for it to become ready. Clients
//! that come early wait.

use crate::dispatch::Dispatcher;
use crate::net::peer::{self, Local, Remote, Service};
use crate::net::{Connection, Protocol};
use crate::raft::{Cluster, Mustering};
use crate::redis::{self, Session};
use crate::seldom::Seldom;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

static REFUSED_PEERS: Seldom = Seldom::new();

type MakeLocal = Arc<dyn Fn() -> Local + Send + Sync>;

/// A handle; clones share one reception.
#[derive(Clone)]
pub(super) struct Reception {
    clients: watch::Sender<Option<Arc<Dispatcher>>>,
    peers: watch::Sender<Option<Stage>>,
    options: redis::Options,
    stop: CancellationToken,
}

/// How other nodes are served for the time being.
#[derive(Clone)]
struct Stage {
    local: MakeLocal,
    peers: Peers,
    /// Ends its connections: they would go on to be served as if nothing had changed.
    over: CancellationToken,
}

/// What answers other nodes.
#[derive(Clone)]
pub(super) enum Peers {
    /// The node belongs to no cluster yet.
    Outside,
    /// It begins one with others.
    Mustering(Mustering),
    Member(Cluster),
}

impl Service for Peers {
    async fn answer(&self, from: Remote, kind: u8, payload: Bytes) -> Result<Bytes, String> {
        match self {
            Peers::Outside => Err("this node belongs to no cluster yet".to_owned()),
            Peers::Mustering(mustering) => mustering.answer(from, kind, payload).await,
            Peers::Member(cluster) => cluster.answer(from, kind, payload).await,
        }
    }
}

impl Reception {
    pub(super) fn new(options: redis::Options, stop: CancellationToken) -> Reception {
        Reception { clients: watch::Sender::new(None), peers: watch::Sender::new(None), options, stop }
    }

    /// From now on other nodes are answered, and told that this one is what `local` says.
    pub(super) fn open_to_peers(&self, local: impl Fn() -> Local + Send + Sync + 'static, peers: Peers) {
        let stage = Stage { local: Arc::new(local), peers, over: self.stop.child_token() };
        if let Some(last) = self.peers.send_replace(Some(stage)) {
            last.over.cancel();
        }
    }

    /// From now on clients are served.
    pub(super) fn open_to_clients(&self, dispatcher: Arc<Dispatcher>) {
        self.clients.send_replace(Some(dispatcher));
    }

    /// Serves one connection to its end.
    pub(super) async fn serve(self, connection: Connection) {
        let Connection { protocol, stream, peer, local, visitor } = connection;
        match protocol {
            Protocol::Redis => {
                let Some(dispatcher) = self.ready(&self.clients).await else { return };
                let end = Session::serve(stream, peer, local, dispatcher, self.options).await;
                tracing::debug!(client = %peer, ?end, "session ended");
            }
            Protocol::Peer => {
                let Some(Stage { local, peers, over }) = self.ready(&self.peers).await else { return };
                match peer::serve(stream, visitor, local(), peers, over).await {
                    Ok(()) => tracing::debug!(%peer, "connection of a node ended"),
                    Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                        if let Some(left_out) = REFUSED_PEERS.may_log() {
                            tracing::warn!(%peer, %error, left_out, "a connection between nodes is refused");
                        }
                    }
                    Err(error) => tracing::debug!(%peer, %error, "connection of a node ended"),
                }
            }
        }
    }

    /// What the node has for this kind of connection, once it does; `None` if it stops first.
    async fn ready<T: Clone>(&self, sender: &watch::Sender<Option<T>>) -> Option<T> {
        let mut receiver = sender.subscribe();
        let ready = self.stop.run_until_cancelled(receiver.wait_for(Option::is_some)).await?;
        ready.ok().and_then(|value| value.clone())
    }
}
