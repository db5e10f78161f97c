//! A snapshot's content: a header, then the pages of the state image.
//!
//! `storage::snapshots` frames and checksums the chunks and knows nothing of what is in them:
//!
//! ```text
//! first chunk   postcard of `Header`, which begins with its version
//! each other    u32 memory │ u64 offset │ u32 length │ bytes          little endian
//! ```
//!
//! The bytes are an LZ4 block unless there are as many as the length says. A whole snapshot leaves out pages of zeros; one
//! that adds to another has all pages that have changed since, and is taken when that is much less.

#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;

use super::checkpoint::Checkpoint;
use super::portable::Imported;
use crate::digest::{Digest, Digests};
use crate::fault::{Fault, chain};
use crate::guest::{Guest, Handles, Image, Pages, Source};
use crate::settings::{self, Settings};
use crate::storage::snapshots::{self, INCREMENTS_MAX, SnapshotInfo, SnapshotWriter, Snapshots};
use crate::type_config::{LogId, Membership, Node, NodeId, SnapshotMeta};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

const VERSION: u32 = 2;
/// Memory number, offset and length before a run's bytes.
const RUN_HEADER_BYTES: usize = 4 + 8 + 4;
/// An increment that is not smaller than the whole by this factor is not worth what reading it takes.
const INCREMENT_FACTOR: u64 = 2;

/// What stands before the pages.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Header {
    version: u32,
    /// SHA-256 of the module whose state this is.
    pub module: String,
    pub machine_name: String,
    /// The settings in force, as `Settings` encodes them; empty before a proposal has set them.
    settings: Vec<u8>,
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
    /// WASI handles that the guest has.
    handles: Handles,
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
    #[error("the snapshot's settings cannot be read")]
    Settings(#[from] settings::Error),
    #[error("the snapshot has version {0}, this server reads version {VERSION}")]
    Version(u32),
    #[error("the snapshot was made with another module ({theirs}, this one is {ours}); start with that module")]
    Module { theirs: String, ours: String },
    #[error("the snapshot has pages outside of its memories, or damaged ones")]
    Pages,
    #[error("the pages of the snapshot cannot be kept in memory")]
    Memory(#[source] std::io::Error),
    #[error("the snapshot has {found} memories, and its module has {expected}")]
    Memories { found: usize, expected: usize },
    #[error("the snapshot adds to one of another shape")]
    Shape,
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
    let failed = |error| Fault::because("writing a snapshot failed", error);
    let image = &checkpoint.image;
    image.settle()?;
    let header = Header {
        version: VERSION,
        module: guest.hash().to_owned(),
        machine_name: guest.description().name.clone(),
        settings: checkpoint.settings.as_ref().map(|settings| settings.encode()).unwrap_or_default(),
        meta: meta.clone(),
        source: checkpoint.source.clone(),
        boot: checkpoint.boot,
        ticking: checkpoint.ticking,
        digests: checkpoint.digests,
        state: checkpoint.digest(index(meta))?,
        globals: image.globals.clone(),
        memories: image.memories.iter().map(|pages| pages.bytes()).collect(),
        handles: image.handles.clone(),
    };
    let parent = parent(snapshots, &image.memories);
    let (term, index) = meta.last_log_id.map_or((0, 0), |id| (id.leader_id.term, id.index));
    let writer = snapshots.begin(term, index, parent.as_deref()).map_err(|error| failed(error.into()))?;
    let info = put(writer, &header, &image.memories, parent.is_some()).map_err(failed)?;
    image.memories.iter().for_each(|pages| pages.saved(&info.id));
    Ok(info)
}

/// The snapshot that the next one is to add to, if that is worth it.
fn parent(snapshots: &Snapshots, memories: &[Arc<Pages>]) -> Option<String> {
    let saved_as = memories.first()?.saved_as()?;
    if memories.iter().any(|pages| pages.saved_as().as_ref() != Some(&saved_as)) {
        return None;
    }
    let sum = |of: fn(&Pages) -> u64| memories.iter().map(|pages| of(pages)).sum::<u64>();
    if sum(Pages::unsaved_bytes) * INCREMENT_FACTOR > sum(Pages::data_bytes) {
        return None;
    }
    // Whatever is wrong with those before, a whole one does without them.
    let chain = snapshots.chain(&saved_as).ok()?;
    let (whole, increments) = chain.split_first()?;
    let added: u64 = increments.iter().map(|info| info.bytes).sum();
    (chain.len() < INCREMENTS_MAX && added * INCREMENT_FACTOR <= whole.bytes).then_some(saved_as)
}

/// Why writing stopped.
type Stopped = Box<dyn std::error::Error + Send + Sync>;

fn put(
    mut writer: SnapshotWriter,
    header: &Header,
    memories: &[Arc<Pages>],
    only_unsaved: bool,
) -> Result<SnapshotInfo, Stopped> {
    writer.chunk(&postcard::to_stdvec(header)?)?;
    let mut chunk = Vec::new();
    for (number, pages) in memories.iter().enumerate() {
        let mut visit = |offset: u64, run: &[u8]| -> std::io::Result<()> {
            // A run is at most as long as a chunk may be, less its own header: it is cut in two if need be.
            let part_bytes_max = snapshots::CHUNK_BYTES_MAX - RUN_HEADER_BYTES;
            for (part, bytes) in run.chunks(part_bytes_max).enumerate() {
                chunk.clear();
                put_run(&mut chunk, number, offset + (part * part_bytes_max) as u64, bytes);
                writer.chunk(&chunk).map_err(std::io::Error::other)?;
            }
            Ok(())
        };
        match only_unsaved {
            true => pages.each_unsaved(&mut visit)?,
            false => pages.each_run(&mut visit)?,
        }
    }
    Ok(writer.finish()?)
}

fn put_run(chunk: &mut Vec<u8>, memory: usize, offset: u64, bytes: &[u8]) {
    chunk.extend_from_slice(&(memory as u32).to_le_bytes());
    chunk.extend_from_slice(&offset.to_le_bytes());
    chunk.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    let compressed = lz4_flex::block::compress(bytes);
    let smaller = compressed.len() < bytes.len();
    chunk.extend_from_slice(if smaller { &compressed } else { bytes });
}

/// Only the header, to know what a snapshot is.
pub fn read_header(snapshots: &Snapshots, id: &str) -> Result<Header, Error> {
    let mut reader = snapshots.read(id)?;
    header(reader.next_chunk()?)
}

/// The whole snapshot, which must be of this guest's module.
pub(super) fn read(snapshots: &Snapshots, guest: &Guest, id: &str) -> Result<(SnapshotMeta, Checkpoint), Error> {
    let header = read_header(snapshots, id)?;
    if header.module != guest.hash() {
        return Err(Error::Module { theirs: header.module, ours: guest.hash().to_owned() });
    }
    // Each takes a file and tables of its own, so they are not made on the word of a file.
    let (found, expected) = (header.memories.len(), guest.memories());
    if found != expected {
        return Err(Error::Memories { found, expected });
    }
    let (header, memories) = read_chain(snapshots, id)?;
    let mut image = Image::new(header.globals, memories);
    image.handles = header.handles;
    let settings = match header.settings.is_empty() {
        true => None,
        false => Some(Arc::new(Settings::decode(&header.settings)?)),
    };
    let Header { source, boot, ticking, digests, meta, state: expected, .. } = header;
    let checkpoint = Checkpoint { image, source, boot, ticking, digests, settings };
    // The files are what was written; this tells whether that was what had been the state.
    let found = checkpoint.digest(index(&meta))?;
    if found != expected {
        return Err(Error::Digest { found, expected });
    }
    Ok((meta, checkpoint))
}

/// The snapshot as a file that needs no other one, for whoever is to get it. All of it is read, and if it is damaged, it is
/// set aside.
pub fn whole(snapshots: &Snapshots, id: &str) -> Result<SnapshotInfo, Error> {
    make_whole(snapshots, id).inspect_err(|error| {
        let error = chain(error);
        match snapshots.set_aside_damaged(id) {
            Ok(damaged) if damaged.is_empty() => {}
            Ok(damaged) => {
                let aside = damaged.join(", ");
                tracing::error!(snapshot = id, error, aside, "a snapshot is damaged; check the disk");
            }
            Err(also) => tracing::error!(snapshot = id, error, also = chain(&also), "a damaged snapshot stays"),
        }
    })
}

fn make_whole(snapshots: &Snapshots, id: &str) -> Result<SnapshotInfo, Error> {
    let info = snapshots.get(id)?;
    if info.parent.is_none() {
        snapshots.verify(id)?;
        return Ok(info);
    }
    let (header, memories) = read_chain(snapshots, id)?;
    let written = put(snapshots.begin_whole(id)?, &header, &memories, false);
    written.map_err(|error| Error::Write(Fault::because("writing a whole snapshot failed", error)))
}

/// The header of this snapshot and the content of its memories, from all that it adds to.
fn read_chain(snapshots: &Snapshots, id: &str) -> Result<(Header, Vec<Arc<Pages>>), Error> {
    let count = read_header(snapshots, id)?.memories.len();
    let mut memories: Vec<Arc<Pages>> = Vec::new();
    let mut last = None;
    for info in snapshots.chain(id)? {
        let mut reader = snapshots.read(&info.id)?;
        let header = header(reader.next_chunk()?)?;
        if header.memories.len() != count {
            return Err(Error::Shape);
        }
        if last.is_none() {
            let empty = |bytes: &u64| Pages::new(*bytes).map(Arc::new);
            memories = header.memories.iter().map(empty).collect::<Result<_, _>>().map_err(in_memory)?;
        }
        for (pages, bytes) in memories.iter().zip(&header.memories) {
            pages.resize(*bytes).map_err(in_memory)?;
        }
        while let Some(chunk) = reader.next_chunk()? {
            let run = run(&chunk).ok_or(Error::Pages)?;
            let pages = memories.get(run.memory).ok_or(Error::Pages)?;
            if !pages.put(run.offset, &run.bytes).map_err(in_memory)? {
                return Err(Error::Pages);
            }
        }
        memories.iter().for_each(|pages| pages.saved(&info.id));
        last = Some(header);
    }
    Ok((last.ok_or(Error::NoHeader)?, memories))
}

fn in_memory(error: rustix::io::Errno) -> Error {
    Error::Memory(error.into())
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
    write_first(snapshots, guest, &checkpoint, last_log_id, (voters, nodes))?;
    Ok(last_log_id)
}

/// Writes a state that a guest has loaded as the first one of a new cluster with this membership, as if it stood after
/// the entry `last`.
pub fn found(
    snapshots: &Snapshots,
    guest: &Guest,
    imported: &Imported,
    last: LogId,
    voters: BTreeSet<NodeId>,
    nodes: BTreeMap<NodeId, Node>,
) -> Result<(), Error> {
    write_first(snapshots, guest, &imported.0, last, (voters, nodes))
}

fn write_first(
    snapshots: &Snapshots,
    guest: &Guest,
    checkpoint: &Checkpoint,
    last: LogId,
    (voters, nodes): (BTreeSet<NodeId>, BTreeMap<NodeId, Node>),
) -> Result<(), Error> {
    let membership =
        openraft::Membership::new(vec![voters], nodes).map_err(|error| Error::Membership(Box::new(error)))?;
    let last_membership = Membership::new(Some(last), membership);
    write(snapshots, guest, &SnapshotMeta { last_log_id: Some(last), last_membership }, checkpoint)?;
    Ok(())
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

/// A run of pages.
struct Run<'a> {
    memory: usize,
    offset: u64,
    bytes: Cow<'a, [u8]>,
}

fn run(chunk: &[u8]) -> Option<Run<'_>> {
    let (memory, rest) = chunk.split_first_chunk::<4>()?;
    let (offset, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > snapshots::CHUNK_BYTES_MAX {
        return None;
    }
    let bytes = match rest.len() == length {
        true => Cow::Borrowed(rest),
        false => Cow::Owned(lz4_flex::block::decompress(rest, length).ok().filter(|bytes| bytes.len() == length)?),
    };
    Some(Run { memory: u32::from_le_bytes(*memory) as usize, offset: u64::from_le_bytes(*offset), bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_roundtrip_and_damaged_ones_are_refused() {
        let even = vec![7; 5000];
        let odd: Vec<u8> = (0..5000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for bytes in [even, odd, vec![1]] {
            let mut chunk = Vec::new();
            put_run(&mut chunk, 3, 1 << 40, &bytes);
            let run = run(&chunk).unwrap();
            assert_eq!((run.memory, run.offset, &*run.bytes), (3, 1 << 40, &bytes[..]));
        }
        let mut chunk = Vec::new();
        put_run(&mut chunk, 0, 0, &[7; 5000]);
        assert!(chunk.len() < 100, "it is compressed");
        for end in 0..chunk.len() {
            assert!(run(&chunk[..end]).is_none(), "cut at {end}");
        }
        chunk[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(run(&chunk).is_none(), "no memory is asked for by what a file says");
    }
}
