//! How a node whose state is known to be wrong gets another's.
//!
//! It asks the leader for a snapshot that is not behind its own state and fetches it piece by piece, going on where it
//! stopped. openraft has no part in this, for it would take such a snapshot for one that the node has passed already:
//! the node's log is right, and goes on. Once the snapshot's last entry is known here to be committed, the machine takes
//! the state over and passes over the entries in it.

use super::rpc::{self, Heal, Kind, Offer, Piece};
use super::{Cluster, link::Link};
use crate::fault::{Fault, chain};
use crate::machine;
use crate::net::peer;
use crate::storage::snapshots as storage;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

const PIECE_BYTES: u64 = 1 << 20;
const PIECE_TIMEOUT: Duration = Duration::from_secs(10);
/// The leader may have to take a snapshot first.
const OFFER_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Time for this node's log to reach the snapshot.
const LOG_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("no other node leads")]
    NoLeader,
    #[error("the leader gives no snapshot")]
    Peer(#[source] Arc<peer::Error>),
    #[error("a message about a snapshot cannot be read")]
    Message(#[from] rpc::Error),
    #[error("the snapshot cannot be read or written")]
    Storage(#[from] storage::Error),
    #[error("the snapshot cannot be used")]
    Content(#[from] machine::snapshot::Error),
    #[error("the leader's snapshot ends early")]
    CutShort,
    #[error("the log has not reached the snapshot at index {0} yet")]
    Behind(u64),
    #[error("the machine has stopped")]
    Machine(#[from] Fault),
    #[error("the node is stopping")]
    Stopped,
}

impl From<Arc<peer::Error>> for Error {
    fn from(error: Arc<peer::Error>) -> Error {
        Error::Peer(error)
    }
}

impl Cluster {
    /// Puts the leader's state in the place of this node's, which is known to be wrong.
    pub(super) async fn heal(&self) -> Result<(), Error> {
        if self.is_leader()
            && let Err(error) = self.hand_over().await
        {
            tracing::debug!(%error, "a leader in quarantine cannot hand over yet");
        }
        let leader = self.leader().filter(|_| !self.is_leader()).ok_or(Error::NoLeader)?;
        let link = self.shared.forward.link(&leader.address);
        let index = self.applied();
        let offered = link.ask(Kind::Heal, rpc::encode(&Heal { index })?, OFFER_TIMEOUT).await?;
        let offer: Offer = rpc::decode(&offered)?;
        tracing::info!(
            snapshot = offer.id,
            bytes = offer.total,
            peer = link.address(),
            "fetching another node's state"
        );
        self.fetch(&link, &offer).await?;
        // A log that ends before the snapshot, or otherwise, would be the worse for a restart now.
        let reached = self.shared.raft.wait(Some(LOG_TIMEOUT));
        let reached =
            reached.metrics(|metrics| metrics.local_committed.map(|id| id.index) >= Some(offer.index), "heal");
        reached.await.map_err(|_| Error::Behind(offer.index))?;
        let (snapshots, id) = (self.shared.machine.snapshots().clone(), offer.id);
        let snapshot = blocking(move || {
            let whole = snapshots.received(&id)?;
            // They are of this node's making, or of a time before it was known to be wrong.
            for old in snapshots.list()?.into_iter().filter(|old| *old != whole) {
                snapshots.set_aside(&old.id)?;
            }
            Ok(whole)
        })
        .await?;
        Ok(self.shared.machine.heal(snapshot).await??)
    }

    async fn fetch(&self, link: &Link, offer: &Offer) -> Result<(), Error> {
        let snapshots = self.shared.machine.snapshots();
        let mut piece = Bytes::new();
        let mut offset = 0;
        loop {
            let (receiving, id, from) = (snapshots.clone(), offer.id.clone(), offset);
            // An empty piece asks how much there is.
            offset = blocking(move || Ok(receiving.receive(&id, from, &piece)?)).await?;
            if offset >= offer.total {
                return Ok(());
            }
            let wanted = rpc::encode(&Piece { id: offer.id.clone(), offset })?;
            piece = link.ask(Kind::Piece, wanted, PIECE_TIMEOUT).await?;
            if piece.is_empty() {
                return Err(Error::CutShort);
            }
        }
    }

    /// For a node in quarantine: a snapshot with everything up to the index that it names.
    pub(super) async fn offer(&self, heal: &Heal) -> Result<Offer, String> {
        if !self.is_leader() || self.shared.machine.standing() != machine::Standing::Sound {
            return Err("this node does not lead, or is in doubt itself".to_owned());
        }
        let snapshots = self.shared.machine.snapshots().clone();
        let listed = snapshots.clone();
        let newest = blocking(move || Ok(listed.list()?.into_iter().next())).await.map_err(|error| chain(&error))?;
        let snapshot = match newest.filter(|newest| newest.index >= heal.index) {
            Some(newest) => newest,
            None => self.snapshot().await.map_err(|error| chain(&error))?,
        };
        if snapshot.index < heal.index {
            return Err("this node has not applied so much yet".to_owned());
        }
        // One that adds to others is of no use without them.
        let whole = blocking(move || Ok(machine::snapshot::whole(&snapshots, &snapshot.id)?)).await;
        let snapshot = whole.map_err(|error| chain(&error))?;
        Ok(Offer { id: snapshot.id, index: snapshot.index, total: snapshot.bytes })
    }

    pub(super) async fn piece(&self, piece: Piece) -> Result<Bytes, String> {
        let snapshots = self.shared.machine.snapshots().clone();
        let read = blocking(move || Ok(snapshots.read_range(&piece.id, piece.offset, PIECE_BYTES)?)).await;
        read.map_err(|error| chain(&error))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Error::Stopped))
}
