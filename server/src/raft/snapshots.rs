//! Sending a snapshot file to a node that needs what the log no longer has, and taking one in.
//!
//! The sender asks how much is there and goes on from that, a piece at a time; each piece is checked by its frame, the
//! whole by what is in the file. Only then openraft is told, and the machine takes the state over.

use super::Raft;
use super::link::Link;
use super::rpc::{self, Chunk, Kind, SnapshotEnd};
use crate::machine::snapshot::{read_header, whole};
use crate::net::peer;
use crate::storage::snapshots::{self as storage, SnapshotInfo, Snapshots};
use crate::type_config::Vote;
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PIECE_BYTES: u64 = 1 << 20;
const PIECE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a long transfer says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the snapshot cannot be sent")]
    Peer(Arc<peer::Error>),
    #[error("a message about a snapshot cannot be read")]
    Message(#[from] rpc::Error),
    #[error("the snapshot cannot be read or written")]
    Storage(#[from] storage::Error),
    #[error("the snapshot cannot be used")]
    Content(#[from] crate::machine::snapshot::Error),
    #[error("the other node has more of the snapshot than there is")]
    TooLong,
    #[error("raft has stopped")]
    Stopped,
}

impl From<Arc<peer::Error>> for Error {
    fn from(error: Arc<peer::Error>) -> Error {
        Error::Peer(error)
    }
}

/// Sends a snapshot, has it installed, and returns the vote of the other node.
pub(super) async fn send(
    link: &Link,
    snapshots: &Snapshots,
    vote: Vote,
    snapshot: &SnapshotInfo,
    install_timeout: Duration,
) -> Result<Vote, Error> {
    let (id, total) = {
        let (snapshots, id) = (snapshots.clone(), snapshot.id.clone());
        let whole = blocking(move || Ok(whole(&snapshots, &id)?)).await?;
        (whole.id, whole.bytes)
    };
    let mut offset = ask(link, Chunk { id: id.clone(), total, offset: 0 }, &[]).await?;
    tracing::info!(snapshot = id, bytes = total, from = offset, peer = link.address(), "sending a snapshot");
    let mut said = Instant::now();
    while offset < total {
        let (reading, id) = (snapshots.clone(), id.clone());
        let piece = blocking(move || Ok(reading.read_range(&id, offset, PIECE_BYTES)?)).await?;
        offset = ask(link, Chunk { id: snapshot.id.clone(), total, offset }, &piece).await?;
        if said.elapsed() >= PROGRESS_EVERY {
            said = Instant::now();
            tracing::info!(snapshot = snapshot.id, peer = link.address(), percent = offset * 100 / total, "sending");
        }
    }
    if offset > total {
        return Err(Error::TooLong);
    }
    let end = rpc::encode(&SnapshotEnd { vote, id })?;
    let answer = link.ask(Kind::SnapshotEnd, end, install_timeout).await?;
    tracing::info!(snapshot = snapshot.id, peer = link.address(), "the snapshot is installed there");
    Ok(rpc::decode(&answer)?)
}

async fn ask(link: &Link, chunk: Chunk, piece: &[u8]) -> Result<u64, Error> {
    let payload = rpc::encode_chunk(&chunk, piece)?;
    Ok(rpc::decode(&link.ask(Kind::SnapshotChunk, payload, PIECE_TIMEOUT).await?)?)
}

/// Takes one piece in.
pub(super) async fn receive(snapshots: &Snapshots, payload: &Bytes) -> Result<Bytes, Error> {
    let (chunk, piece) = rpc::decode_chunk(payload)?;
    let snapshots = snapshots.clone();
    if chunk.offset == 0 && !piece.is_empty() {
        tracing::info!(snapshot = chunk.id, bytes = chunk.total, "receiving a snapshot");
    }
    let length = blocking(move || Ok(snapshots.receive(&chunk.id, chunk.offset, &piece)?)).await?;
    Ok(rpc::encode(&length)?)
}

/// Takes the state of a whole snapshot over.
pub(super) async fn install(raft: &Raft, snapshots: &Snapshots, payload: &Bytes) -> Result<Bytes, Error> {
    let SnapshotEnd { vote, id } = rpc::decode(payload)?;
    let snapshots = snapshots.clone();
    let (info, meta) = blocking(move || {
        let info = snapshots.received(&id)?;
        let meta = read_header(&snapshots, &info.id)?.meta;
        Ok((info, meta))
    })
    .await?;
    let snapshot = openraft::alias::SnapshotOf::<crate::type_config::TypeConfig, SnapshotInfo> { meta, snapshot: info };
    let response = raft.install_full_snapshot(vote, snapshot).await.map_err(|_| Error::Stopped)?;
    Ok(rpc::encode(&response.vote)?)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Error::Stopped))
}
