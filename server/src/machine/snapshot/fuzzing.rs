//! Chunks of snapshots as a fuzzer makes them.

use super::{Checkpoint, Error, Header, VERSION, put_run, read_chain, read_header, run};
use crate::digest::{Digest, Digests};
use crate::guest::{Guest, Handles, Image, Source};
use crate::storage::snapshots::{CHUNK_BYTES_MAX, Snapshots};
use crate::type_config::SnapshotMeta;
use arbitrary::{Result, Unstructured};

const PAGE: u64 = 1 << 16;
const RUNS_MAX: usize = 6;

/// What a chunk says is refused, or the same when it is said again.
pub(in crate::machine) fn pages(chunk: &[u8]) {
    let Some(found) = run(chunk) else { return };
    assert!(found.bytes.len() <= CHUNK_BYTES_MAX);
    let mut again = Vec::new();
    put_run(&mut again, found.memory, found.offset, &found.bytes);
    let read = run(&again).expect("it was written");
    assert_eq!((read.memory, read.offset, read.bytes), (found.memory, found.offset, found.bytes));
}

/// The same for the first chunk.
pub(in crate::machine) fn header(chunk: &[u8]) {
    let Ok(found) = super::header(Some(chunk.to_vec())) else { return };
    let again = postcard::to_stdvec(&found).expect("it was decoded");
    let read = super::header(Some(again)).expect("it was encoded");
    assert_eq!(format!("{read:?}"), format!("{found:?}"));
}

/// A snapshot's chunks, which fit the guest more often than chance would have it.
pub(in crate::machine) fn chunks(input: &mut Unstructured<'_>, guest: &Guest, index: u64) -> Result<Vec<Vec<u8>>> {
    let fresh = fresh(guest);
    let memories = match input.int_in_range(0..=7_u64)? {
        0 => input.arbitrary()?,
        more => fresh.memories.iter().map(|pages| pages.bytes() + (more & 1) * PAGE).collect(),
    };
    let globals = match input.int_in_range(0..=7)? {
        0 => input.arbitrary()?,
        1..4 => fresh.globals.clone(),
        _ => input.bytes(fresh.globals.len())?.to_vec(),
    };
    let handles = match input.int_in_range(0..=3)? {
        0 => fresh.handles,
        _ => postcard::from_bytes(&input.arbitrary::<Vec<u8>>()?).unwrap_or(Handles::NONE),
    };
    let settings = if input.arbitrary()? { Vec::new() } else { input.arbitrary()? };
    let header = Header {
        version: VERSION,
        module: guest.hash().to_owned(),
        machine_name: guest.description().name.clone(),
        settings,
        meta: SnapshotMeta::default(),
        source: Source::default(),
        boot: input.arbitrary()?,
        ticking: input.arbitrary()?,
        digests: Digests { index, ..Digests::default() },
        state: Digest(input.arbitrary()?),
        globals,
        memories,
        handles,
    };
    let mut chunks = vec![postcard::to_stdvec(&header).expect("a header can be encoded")];
    for _ in 0..input.int_in_range(0..=RUNS_MAX)? {
        let mut chunk = Vec::new();
        let offset = match input.arbitrary()? {
            false => input.arbitrary::<u64>()?,
            true => u64::from(input.arbitrary::<u16>()?),
        };
        match input.arbitrary()? {
            false => chunk.extend_from_slice(&input.arbitrary::<Vec<u8>>()?),
            true => {
                put_run(&mut chunk, usize::from(input.arbitrary::<u8>()? & 1), offset, &input.arbitrary::<Vec<u8>>()?)
            }
        }
        chunks.push(chunk);
    }
    Ok(chunks)
}

fn fresh(guest: &Guest) -> Image {
    let mut instance = guest.instantiate().expect("the guest starts");
    instance.capture(Image::default()).expect("the state can be read")
}

/// What a snapshot holds, whatever digest it should have.
pub(in crate::machine) fn checkpoint(
    snapshots: &Snapshots,
    guest: &Guest,
    id: &str,
) -> std::result::Result<Checkpoint, Error> {
    if read_header(snapshots, id)?.memories.len() != guest.memories() {
        return Err(Error::Shape);
    }
    let (header, memories) = read_chain(snapshots, id)?;
    let mut image = Image::new(header.globals, memories);
    image.handles = header.handles;
    let Header { source, boot, ticking, digests, .. } = header;
    Ok(Checkpoint { image, source, boot, ticking, digests, settings: None })
}

#[cfg(test)]
pub(in crate::machine) fn seed_pages() -> Vec<u8> {
    let mut chunk = Vec::new();
    put_run(&mut chunk, 0, PAGE, &[7; 5000]);
    chunk
}

#[cfg(test)]
pub(in crate::machine) fn seed_header() -> Vec<u8> {
    let header = Header {
        version: VERSION,
        module: "ab".repeat(32),
        machine_name: "app".to_owned(),
        settings: Vec::new(),
        meta: SnapshotMeta::default(),
        source: Source::default(),
        boot: 7,
        ticking: true,
        digests: Digests::default(),
        state: Digest(7),
        globals: vec![0; 16],
        memories: vec![PAGE],
        handles: Handles::NONE,
    };
    postcard::to_stdvec(&header).expect("a header can be encoded")
}
