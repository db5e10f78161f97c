//! `Link`: the way to one node for one purpose. It dials when something is to be sent and again when the connection is
//! lost.
//!
//! Dialling is a task of its own: whoever began it may give up before it is done, as a heartbeat does after a fraction
//! of a second, and the next one finds it further on. Between two nodes there is a link for replication, one for what
//! must not wait behind it, and one for snapshots.

use super::lock;
use super::rpc::Kind;
use crate::fault::chain;
use crate::net::peer::{self, Asked, Connection, Local};
use crate::type_config::{Node, NodeId};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A node that does not answer by then is down, or too far away to be a member.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);

/// How this node introduces itself, and what it thinks of the others. Clones share it.
#[derive(Clone)]
pub(super) struct Peers {
    shared: Arc<PeersShared>,
}

struct PeersShared {
    local: Box<dyn Fn() -> Local + Send + Sync>,
    addresses: Mutex<Addresses>,
    /// Why an address cannot be reached, so that it is said once and not for each try.
    unreachable: Mutex<BTreeMap<String, String>>,
}

/// Where members are now. A link may be older than their last move.
#[derive(Default)]
struct Addresses {
    members: BTreeMap<NodeId, String>,
    /// Where members say that they are, until the membership says so too.
    moved: BTreeMap<NodeId, String>,
}

impl Peers {
    /// `local` is asked for each connection: secrets may change.
    pub(super) fn new(local: impl Fn() -> Local + Send + Sync + 'static) -> Peers {
        let local = Box::new(local);
        Peers { shared: Arc::new(PeersShared { local, addresses: Mutex::default(), unreachable: Mutex::default() }) }
    }

    pub(super) fn local(&self) -> Local {
        (self.shared.local)()
    }

    /// A link to `address`, where the node `target` is expected, or any.
    pub(super) fn link(&self, target: Option<NodeId>, address: &str) -> Link {
        let shared =
            LinkShared { peers: self.clone(), target, address: address.to_owned(), slot: Mutex::new(Slot::Idle) };
        Link { shared: Arc::new(shared) }
    }

    /// What the membership says.
    pub(super) fn note_addresses<'a>(&self, nodes: impl Iterator<Item = (&'a NodeId, &'a Node)>) {
        let Addresses { members, moved } = &mut *lock(&self.shared.addresses);
        *members = nodes.map(|(node_id, node)| (*node_id, node.address.clone())).collect();
        moved.retain(|node_id, address| members.get(node_id).is_some_and(|member| member != address));
    }

    /// A member says that it is elsewhere now. To write that into the membership may need its vote, so it has to be
    /// reached there first.
    pub(super) fn note_moved(&self, node_id: NodeId, address: &str) {
        lock(&self.shared.addresses).moved.insert(node_id, address.to_owned());
    }

    fn address(&self, node_id: NodeId) -> Option<String> {
        let Addresses { members, moved } = &*lock(&self.shared.addresses);
        moved.get(&node_id).or_else(|| members.get(&node_id)).cloned()
    }

    fn report(&self, address: &str, outcome: &Dialled) {
        let mut unreachable = lock(&self.shared.unreachable);
        match outcome {
            Ok(_) => {
                if unreachable.remove(address).is_some() {
                    tracing::info!(peer = address, "a node can be reached again");
                }
            }
            Err(error) => {
                let error = chain(&**error);
                if unreachable.get(address) != Some(&error) {
                    tracing::warn!(peer = address, error, "a node cannot be reached");
                    unreachable.insert(address.to_owned(), error);
                }
            }
        }
    }
}

type Dialled = Result<Connection, Arc<peer::Error>>;
type Dialling = Shared<BoxFuture<'static, Dialled>>;

/// A handle; clones share one connection.
#[derive(Clone)]
pub(super) struct Link {
    shared: Arc<LinkShared>,
}

struct LinkShared {
    peers: Peers,
    target: Option<NodeId>,
    address: String,
    slot: Mutex<Slot>,
}

enum Slot {
    Idle,
    Dialling(Dialling),
    Open(Connection),
}

impl Link {
    pub(super) fn address(&self) -> &str {
        &self.shared.address
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn ask(&self, kind: Kind, payload: Bytes, timeout: Duration) -> Result<Bytes, Arc<peer::Error>> {
        let exchange = async { Ok(self.send(kind, payload).await?.answer().await?) };
        tokio::time::timeout(timeout, exchange).await.unwrap_or_else(|_| Err(Arc::new(peer::Error::Timeout)))
    }

    /// Sends a request; it arrives before any that is sent on this link after this returns.
    pub(super) async fn send(&self, kind: Kind, payload: Bytes) -> Result<Asked, Arc<peer::Error>> {
        Ok(self.connection().await?.send(kind as u8, payload).await?)
    }

    /// Forgets a connection that gives no answers.
    pub(super) fn drop_connection(&self) {
        *lock(&self.shared.slot) = Slot::Idle;
    }

    pub(super) async fn connection(&self) -> Dialled {
        let dialling = match &mut *lock(&self.shared.slot) {
            Slot::Open(connection) if !connection.is_lost() => return Ok(connection.clone()),
            Slot::Dialling(dialling) => dialling.clone(),
            slot => {
                let dialling = self.dial();
                *slot = Slot::Dialling(dialling.clone());
                dialling
            }
        };
        let dialled = dialling.clone().await;
        let mut slot = lock(&self.shared.slot);
        if matches!(&*slot, Slot::Dialling(current) if current.ptr_eq(&dialling)) {
            *slot = dialled.clone().map_or(Slot::Idle, Slot::Open);
        }
        dialled
    }

    fn dial(&self) -> Dialling {
        let shared = Arc::clone(&self.shared);
        let task = tokio::spawn(async move {
            let peers = &shared.peers;
            let known = shared.target.and_then(|target| peers.address(target));
            let address = known.as_ref().unwrap_or(&shared.address);
            let local = peers.local();
            let dialled = peer::dial(address, shared.target, &local, DIAL_TIMEOUT).await.map_err(Arc::new);
            peers.report(address, &dialled);
            dialled
        });
        // A task ends without a result only when the runtime does.
        task.map(|dialled| dialled.unwrap_or_else(|_| Err(Arc::new(peer::Error::Lost)))).boxed().shared()
    }
}
