//! A snapshot's content: a header, then the extents of the state image.
//!
//! `storage::snapshots` frames and checksums the chunks and knows nothing of what is in them:
//!
//! ```text
//! first chunk   postcard of `Header`, which begins with its version
//! each other    u32 memory │ u64 offset │ bytes          little endian
//! ```

use super::checkpoint::Checkpoint;
use crate::digest::{Digest, Digests};
use crate::fault::Fault;
use crate::guest::{Extent, Guest, Image, MemoryImage, Source};
use crate::storage::snapshots::{self, SnapshotInfo, Snapshots};
use crate::type_config::{LogId, Membership, Node, NodeId, SnapshotMeta};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

const VERSION: u32 = 2;
/// Memory number and offset before an extent's bytes.
const EXTENT_HEADER_BYTES: usize = 4 + 8;

/// What stands before the extents.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Header {
    version: u32,
    /// SHA-256 of the module whose state this is.
    pub module: String,
    pub machine_name: String,
    /// Engine, settings and processor features of the node that wrote it.
    pub fingerprint: String,
    pub meta: SnapshotMeta,
    source: Source,
    boot: u64,
    ticking: bool,
    /// After the last normal entry.
    pub digests: Digests,
    /// Of the state in the snapshot.
    pub state: Digest,
    globals: Vec<u8>,
    /// Size of each memory.
    memories: Vec<u64>,
}

impl Header {
    /// Who had a vote when it was taken.
    pub fn voters(&self) -> BTreeSet<NodeId> {
        self.meta.last_membership.voter_ids().collect()
    }
}

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the snapshot cannot be read")]
    Storage(#[from] snapshots::Error),
    #[error("the snapshot has no header")]
    NoHeader,
    #[error("the snapshot's header cannot be decoded")]
    Header(#[source] postcard::Error),
    #[error("the snapshot has version {0}, this server reads version {VERSION}")]
    Version(u32),
    #[error("the snapshot was made with another module ({theirs}, this one is {ours}); start with that module")]
    Module { theirs: String, ours: String },
    #[error("the snapshot has an extent outside of its memories")]
    Extent,
    #[error("the state in the snapshot has the digest {found}, and it should be {expected}")]
    Digest { found: Digest, expected: Digest },
    #[error("the snapshot was taken before the first entry and holds nothing to restore")]
    Empty,
    #[error("the copy of the snapshot cannot be removed")]
    Remove(#[source] std::io::Error),
    #[error("the new membership is not valid")]
    Membership(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the snapshot cannot be written anew")]
    Write(#[from] Fault),
}

/// Writes a checkpoint as a new snapshot.
pub(super) fn write(
    snapshots: &Snapshots,
    guest: &Guest,
    meta: &SnapshotMeta,
    checkpoint: &Checkpoint,
) -> Result<SnapshotInfo, Fault> {
    let header = Header {
        version: VERSION,
        module: guest.hash().to_owned(),
        machine_name: guest.description().name.clone(),
        fingerprint: guest.fingerprint(),
        meta: meta.clone(),
        source: checkpoint.source.clone(),
        boot: checkpoint.boot,
        ticking: checkpoint.ticking,
        digests: checkpoint.digests,
        state: checkpoint.digest(index(meta)),
        globals: checkpoint.image.globals.clone(),
        memories: checkpoint.image.memories.iter().map(|memory| memory.bytes).collect(),
    };
    let failed = |error| Fault::because("writing a snapshot failed", error);
    let encoded = postcard::to_stdvec(&header).map_err(|error| Fault::because("encoding a snapshot failed", error))?;
    let (term, index) = meta.last_log_id.map_or((0, 0), |id| (id.leader_id.term, id.index));
    let mut writer = snapshots.begin(term, index).map_err(failed)?;
    writer.chunk(&encoded).map_err(failed)?;
    let mut chunk = Vec::new();
    for (number, memory) in checkpoint.image.memories.iter().enumerate() {
        for extent in &memory.extents {
            // An extent is at most as long as a chunk may be, less its own header: it is cut in two if need be.
            for (part, bytes) in extent.bytes.chunks(snapshots::CHUNK_BYTES_MAX - EXTENT_HEADER_BYTES).enumerate() {
                let offset = extent.offset + (part * (snapshots::CHUNK_BYTES_MAX - EXTENT_HEADER_BYTES)) as u64;
                chunk.clear();
                chunk.extend_from_slice(&(number as u32).to_le_bytes());
                chunk.extend_from_slice(&offset.to_le_bytes());
                chunk.extend_from_slice(bytes);
                writer.chunk(&chunk).map_err(failed)?;
            }
        }
    }
    writer.finish().map_err(failed)
}

/// Only the header, to know what a snapshot is.
pub fn read_header(snapshots: &Snapshots, id: &str) -> Result<Header, Error> {
    let mut reader = snapshots.read(id)?;
    header(reader.next_chunk()?)
}

/// The whole snapshot, which must be of this guest's module.
pub(super) fn read(snapshots: &Snapshots, guest: &Guest, id: &str) -> Result<(SnapshotMeta, Checkpoint), Error> {
    let mut reader = snapshots.read(id)?;
    let header = header(reader.next_chunk()?)?;
    if header.module != guest.hash() {
        return Err(Error::Module { theirs: header.module, ours: guest.hash().to_owned() });
    }
    let empty = |bytes: &u64| MemoryImage { bytes: *bytes, extents: Vec::new() };
    let mut memories: Vec<MemoryImage> = header.memories.iter().map(empty).collect();
    while let Some(chunk) = reader.next_chunk()? {
        let (number, extent) = extent(&chunk).ok_or(Error::Extent)?;
        memories.get_mut(number).ok_or(Error::Extent)?.extents.push(extent);
    }
    let image = Arc::new(Image { globals: header.globals, memories });
    let Header { source, boot, ticking, digests, meta, state: expected, .. } = header;
    let checkpoint = Checkpoint { image, source, boot, ticking, digests };
    // The file is what was written; this tells whether that was what had been the state.
    let found = checkpoint.digest(index(&meta));
    if found != expected {
        return Err(Error::Digest { found, expected });
    }
    Ok((meta, checkpoint))
}

/// Takes over a snapshot from a file of another cluster as the first state of a new one with this membership, and
/// returns the last entry that the state includes.
pub fn adopt(
    snapshots: &Snapshots,
    guest: &Guest,
    file: &Path,
    voters: BTreeSet<NodeId>,
    nodes: BTreeMap<NodeId, Node>,
) -> Result<LogId, Error> {
    let imported = snapshots.import(file)?;
    let (meta, checkpoint) = read(snapshots, guest, &imported.id)?;
    let last_log_id = meta.last_log_id.ok_or(Error::Empty)?;
    // The nodes it names belong to the other cluster.
    std::fs::remove_file(snapshots.path(&imported.id)?).map_err(Error::Remove)?;
    let membership =
        openraft::Membership::new(vec![voters], nodes).map_err(|error| Error::Membership(Box::new(error)))?;
    let last_membership = Membership::new(Some(last_log_id), membership);
    write(snapshots, guest, &SnapshotMeta { last_log_id: Some(last_log_id), last_membership }, &checkpoint)?;
    Ok(last_log_id)
}

fn index(meta: &SnapshotMeta) -> u64 {
    meta.last_log_id.map_or(0, |id| id.index)
}

fn header(chunk: Option<Vec<u8>>) -> Result<Header, Error> {
    let chunk = chunk.ok_or(Error::NoHeader)?;
    // The version comes first and has the same encoding in every version.
    let (version, _) = postcard::take_from_bytes::<u32>(&chunk).map_err(Error::Header)?;
    if version != VERSION {
        return Err(Error::Version(version));
    }
    postcard::from_bytes(&chunk).map_err(Error::Header)
}

fn extent(chunk: &[u8]) -> Option<(usize, Extent)> {
    let (number, rest) = chunk.split_first_chunk::<4>()?;
    let (offset, bytes) = rest.split_first_chunk::<8>()?;
    let extent = Extent { offset: u64::from_le_bytes(*offset), bytes: bytes.to_vec() };
    Some((u32::from_le_bytes(*number) as usize, extent))
}
