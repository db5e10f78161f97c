//! What is on disk, and snapshots that come from other nodes.

use super::frames::{CHUNK_BYTES_MAX, FrameReader, FrameWriter, Kind, Wrong};
use super::log;
use super::schema::{Identity, Row, meta_row, read_meta_row, read_row};
use super::snapshots::Snapshots;
use crate::digest::Difference;
use crate::fuzzing::{pieces, scratch};
use crate::type_config::{LogId, Vote};
use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// `u8 what │ the rest`: a row of the log or of a value, each as it is or with the checksum that it should have; a commit, and
/// a half of the write-ahead log.
pub fn records(data: &[u8]) {
    let [what, rest @ ..] = data else { return };
    match what % 9 {
        0 => row(rest),
        1 => value::<Vote>(rest),
        2 => value::<LogId>(rest),
        3 => value::<Option<LogId>>(rest),
        4 => value::<Identity>(rest),
        5 => value::<Difference>(rest),
        6 => log::fuzzing::commit(rest),
        7 => drop(log::fuzzing::half(rest)),
        // It takes a checksum to be anything.
        _ => {
            assert!(read_row(0, Bytes::copy_from_slice(rest)).is_err() || rest.len() > 4);
            let _ = read_meta_row::<Vote>(rest);
        }
    }
}

/// `u64 key │ records`.
fn row(data: &[u8]) {
    let Some((key, records)) = data.split_first_chunk::<8>() else { return };
    let key = u64::from_le_bytes(*key);
    let row = [&crc32c::crc32c(records).to_le_bytes()[..], records].concat();
    let Ok(entries) = read_row(key, row.into()) else { return };
    let mut again = Row::new();
    entries.iter().for_each(|entry| again.push(entry).expect("it was read"));
    let (first, bytes) = again.seal().expect("no row is empty");
    assert_eq!(first, key);
    assert_eq!(read_row(key, Bytes::copy_from_slice(bytes)), Ok(entries));
}

fn value<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) {
    let mut row = meta_row(&()).expect("nothing can be encoded");
    row.extend_from_slice(data);
    let crc = crc32c::crc32c(data).to_le_bytes();
    row[1..5].copy_from_slice(&crc);
    let Ok(value) = read_meta_row::<T>(&row) else { return };
    let again = meta_row(&value).expect("it was read");
    assert_eq!(read_meta_row::<T>(&again), Ok(value));
}

const KIND: Kind = Kind { magic: b"uhahafuz", version: 1, mismatch: "another file" };

/// `u8 what │ the rest`: a file of chunks, one that is made up and then damaged, one that lies with right checksums, and
/// a snapshot on its way from node to node.
pub fn files(data: &[u8]) {
    let [what, rest @ ..] = data else { return };
    let mut input = Unstructured::new(rest);
    match what % 4 {
        0 => drop(read_file(rest)),
        1 => drop(made_up(&mut input)),
        2 => drop(lying(&mut input)),
        _ => drop(transfer(&mut input)),
    }
}

/// The header and the chunks.
fn read_file(file: &[u8]) -> std::result::Result<Vec<Vec<u8>>, Wrong> {
    let (mut reader, header) = FrameReader::open(file, KIND)?;
    let mut chunks = vec![header];
    while let Some(chunk) = reader.next_chunk()? {
        assert!((1..=CHUNK_BYTES_MAX).contains(&chunk.len()));
        chunks.push(chunk);
    }
    Ok(chunks)
}

fn chunks(input: &mut Unstructured<'_>) -> Result<Vec<Vec<u8>>> {
    let mut chunks = Vec::new();
    for _ in 0..input.int_in_range(1..=8)? {
        let mut chunk: Vec<u8> = input.arbitrary()?;
        chunk.push(0);
        chunks.push(chunk);
    }
    Ok(chunks)
}

fn made_up(input: &mut Unstructured<'_>) -> Result<()> {
    let (at, change) = (input.arbitrary::<u32>()? as usize, input.arbitrary::<u8>()?);
    let chunks = chunks(input)?;
    let (header, rest) = chunks.split_first().expect("there is one at least");
    let mut file = Vec::new();
    let mut writer = FrameWriter::new(&mut file, KIND, header).expect("memory takes all");
    rest.iter().for_each(|chunk| writer.chunk(chunk).expect("memory takes all"));
    writer.finish().expect("memory takes all");
    assert_eq!(read_file(&file).expect("it is whole"), chunks);
    let at = at % file.len();
    read_file(&file[..at]).expect_err("it is cut short");
    if change != 0 {
        file[at] ^= change;
        read_file(&file).expect_err("it is damaged");
    }
    Ok(())
}

fn lying(input: &mut Unstructured<'_>) -> Result<()> {
    let mut file = [&KIND.magic[..], &KIND.version.to_le_bytes()].concat();
    while !input.is_empty() {
        let said: Option<u32> = input.arbitrary()?;
        let chunk: Vec<u8> = input.arbitrary()?;
        file.extend_from_slice(&said.unwrap_or(chunk.len() as u32).to_le_bytes());
        file.extend_from_slice(&crc32c::crc32c(&chunk).to_le_bytes());
        file.extend_from_slice(&chunk);
    }
    read_file(&file).expect_err("no such file ends as it should");
    Ok(())
}

/// What comes in pieces is what was sent, or is refused.
fn transfer(input: &mut Unstructured<'_>) -> Result<()> {
    let (at, change) = (input.arbitrary::<u32>()? as usize, input.arbitrary::<u8>()?);
    let (term, index, stray) = (input.arbitrary::<u64>()?, input.arbitrary::<u64>()?, input.arbitrary::<u64>()?);
    let pattern: Vec<u8> = input.arbitrary()?;
    let chunks = chunks(input)?;
    let dir = scratch();
    let open = |name: &str| Snapshots::open(dir.path().join(name), 2).expect("a directory can be made");
    let (from, to) = (open("from"), open("to"));
    let mut writer = from.begin(term, index, None).expect("a file can be made");
    chunks.iter().for_each(|chunk| writer.chunk(chunk).expect("it can be written"));
    let id = writer.finish().expect("it can be written").id;
    let mut file = std::fs::read(from.path(&id).expect("the id is right")).expect("it was written");
    let at = at % file.len();
    file[at] ^= change;
    let mut length = 0;
    for piece in pieces(&file, &pattern) {
        assert_eq!(to.receive(&id, length ^ stray.max(1), piece).expect("it can be written"), length, "not the next");
        length = to.receive(&id, length, piece).expect("it can be written");
    }
    assert_eq!(length, file.len() as u64);
    let received = to.received(&id);
    assert_eq!(received.is_ok(), change == 0, "{received:?}");
    if received.is_ok() {
        let mut reader = to.read(&id).expect("it was checked");
        for chunk in chunks {
            assert_eq!(reader.next_chunk().expect("it was checked"), Some(chunk));
        }
        assert_eq!(reader.next_chunk().expect("it was checked"), None);
    }
    Ok(())
}

#[cfg(test)]
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    use super::schema::{ClusterId, Standing, log_id, put_record};
    use crate::digest::Digests;
    use crate::proposal::Proposal;
    use crate::type_config::{Entry, Node};
    use openraft::EntryPayload;

    let nodes = std::collections::BTreeMap::from([(1, Node::default())]);
    let membership = openraft::Membership::new(vec![[1].into()], nodes).expect("it is a membership");
    let mut records = 7_u64.to_le_bytes().to_vec();
    for (index, payload) in [
        (7, EntryPayload::Blank),
        (8, EntryPayload::Normal(Proposal::encode(5, Some(6), &[], [].iter()))),
        (9, EntryPayload::Membership(membership)),
    ] {
        put_record(&mut records, &Entry { log_id: log_id(2, index), payload }).expect("it can be encoded");
    }
    let identity = Identity {
        cluster_id: ClusterId([7; 16]),
        node_id: 1,
        node_name: "1".to_owned(),
        module: "app".to_owned(),
        standing: Standing::Member,
        forced: false,
    };
    let difference = Difference { ours: Digests::default(), theirs: Digests { index: 7, ..Digests::default() } };
    // What follows the version and the checksum.
    let value = |row: std::result::Result<Vec<u8>, postcard::Error>| row.expect("it can be encoded").split_off(5);
    let mut file = Vec::new();
    let mut writer = FrameWriter::new(&mut file, KIND, b"header").expect("memory takes all");
    writer.chunk(b"chunk").and_then(|()| writer.finish().map(drop)).expect("memory takes all");
    let lie = [&[2, 1][..], &u32::MAX.to_le_bytes(), b"chunk"].concat();
    vec![
        ("records/row", [&[0][..], &records].concat()),
        ("records/vote", [&[1][..], &value(meta_row(&Vote::new_committed(3, 7)))].concat()),
        ("records/log-id", [&[2][..], &value(meta_row(&log_id(3, 7)))].concat()),
        ("records/identity", [&[4][..], &value(meta_row(&identity))].concat()),
        ("records/difference", [&[5][..], &value(meta_row(&difference))].concat()),
        ("records/commit", [&[6, 1, 3, 0, 0, 0][..], &records[8..]].concat()),
        ("records/half", [&[7][..], &[1; 60]].concat()),
        ("files/whole", [&[0][..], &file].concat()),
        ("files/made-up", [&[1][..], &[5; 60]].concat()),
        ("files/lie", lie),
        ("files/transfer", [&[3][..], &[0; 5], &[1; 60]].concat()),
    ]
}
