use super::*;

fn write(snapshots: &Snapshots, term: u64, index: u64, chunks: &[&[u8]]) -> SnapshotInfo {
    let mut writer = snapshots.begin(term, index, None).unwrap();
    for chunk in chunks {
        writer.chunk(chunk).unwrap();
    }
    writer.finish().unwrap()
}

fn read(snapshots: &Snapshots, id: &str) -> Result<Vec<Vec<u8>>, Error> {
    let mut reader = snapshots.read(id)?;
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.next_chunk()? {
        chunks.push(chunk);
    }
    assert!(reader.next_chunk()?.is_none());
    Ok(chunks)
}

#[test]
fn roundtrip_and_ranges() {
    let temp = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(temp.path().join("snapshots"), 3).unwrap();
    let large = vec![7; CHUNK_BYTES_MAX];
    let info = write(&snapshots, 2, 40, &[b"abc", b"", &large]);
    assert_eq!((info.term, info.index), (2, 40));
    assert_eq!(snapshots.list().unwrap(), std::slice::from_ref(&info));
    assert_eq!(snapshots.get(&info.id).unwrap(), info);
    assert_eq!(read(&snapshots, &info.id).unwrap(), [b"abc".to_vec(), large]);

    let file = fs::read(snapshots.path(&info.id).unwrap()).unwrap();
    assert_eq!(info.bytes, file.len() as u64);
    assert_eq!(snapshots.read_range(&info.id, 3, 10).unwrap(), file[3..13]);
    assert_eq!(snapshots.read_range(&info.id, info.bytes - 1, 10).unwrap(), file[file.len() - 1..]);
    assert!(snapshots.read_range(&info.id, u64::MAX >> 1, 10).unwrap().is_empty());

    let mut writer = snapshots.begin(2, 41, None).unwrap();
    assert!(matches!(writer.chunk(&vec![0; CHUNK_BYTES_MAX + 1]), Err(Error::ChunkTooLarge { .. })));
}

#[test]
fn keeps_the_newest_and_removes_what_a_crash_left() {
    let temp = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(temp.path(), 2).unwrap();
    for index in [9, 10, 10, 100] {
        write(&snapshots, 1, index, &[b"x"]);
    }
    let kept: Vec<u64> = snapshots.list().unwrap().iter().map(|info| info.index).collect();
    assert_eq!(kept, [100, 10]);
    drop(snapshots.begin(1, 101, None).unwrap());
    std::mem::forget(snapshots.begin(1, 102, None).unwrap());
    fs::write(temp.path().join("README"), "not ours").unwrap();
    let snapshots = Snapshots::open(temp.path(), 2).unwrap();
    assert_eq!(snapshots.list().unwrap().len(), 2);
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 3);
}

#[test]
fn what_is_set_aside_is_out_of_the_list_and_bounded() {
    let temp = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(temp.path(), 9).unwrap();
    let ids: Vec<String> = (1..=7).map(|index| write(&snapshots, 1, index, &[b"x"]).id).collect();
    ids[..5].iter().for_each(|id| snapshots.set_aside(id).unwrap());
    assert_eq!(snapshots.list().unwrap().len(), 2);
    let kept = |id: &str| temp.path().join(format!("{id}.damaged")).exists();
    assert_eq!(ids.iter().map(|id| kept(id)).collect::<Vec<_>>(), [false, false, true, true, true, false, false]);
    assert!(matches!(snapshots.read(&ids[4]), Err(Error::Unknown { .. })));
}

#[test]
fn every_flipped_byte_and_every_cut_is_found() {
    let temp = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(temp.path(), 3).unwrap();
    let info = write(&snapshots, 1, 2, &[b"some", b"chunks", b"here"]);
    let path = snapshots.path(&info.id).unwrap();
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(&path, bad).unwrap();
        assert!(read(&snapshots, &info.id).is_err(), "byte {at}");
        fs::write(&path, &good[..at]).unwrap();
        assert!(read(&snapshots, &info.id).is_err(), "cut at {at}");
    }
    // Dropping a whole chunk leaves every other checksum intact.
    let header = 8 + 4 + 8 + 24;
    fs::write(&path, [&good[..header], &good[header + 8 + 4..]].concat()).unwrap();
    assert!(matches!(read(&snapshots, &info.id), Err(Error::Damaged { what, .. }) if what.contains("number of bytes")));
    fs::write(&path, [&good[..], b"x"].concat()).unwrap();
    assert!(matches!(read(&snapshots, &info.id), Err(Error::Damaged { what: "bytes after the end", .. })));
}

#[test]
fn an_id_cannot_name_another_file() {
    let temp = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(temp.path(), 3).unwrap();
    let info = write(&snapshots, 1, 2, &[b"x"]);
    for id in ["", "../x", "1-2-3", "1-2", &format!("./{}", info.id), &format!("+{}", &info.id[1..]), "a-b-c"] {
        assert!(matches!(snapshots.get(id), Err(Error::MalformedId)), "{id}");
        assert!(matches!(snapshots.read_range(id, 0, 1), Err(Error::MalformedId)), "{id}");
        assert!(matches!(snapshots.path(id), Err(Error::MalformedId)), "{id}");
    }
    let other = Header { term: 1, index: 3, created_ms: 4 }.id();
    assert!(matches!(snapshots.get(&other), Err(Error::Unknown { .. })));
    // A file under the name of another snapshot is not taken for it.
    fs::copy(snapshots.path(&info.id).unwrap(), snapshots.path(&other).unwrap()).unwrap();
    assert!(matches!(snapshots.read(&other), Err(Error::Damaged { .. })));
}

#[test]
fn import_takes_a_whole_snapshot_only() {
    let temp = tempfile::tempdir().unwrap();
    let from = Snapshots::open(temp.path().join("from"), 3).unwrap();
    let to = Snapshots::open(temp.path().join("to"), 3).unwrap();
    let info = write(&from, 3, 9, &[b"abc"]);
    let path = from.path(&info.id).unwrap();
    assert_eq!(to.import(&path).unwrap(), info);
    assert_eq!(read(&to, &info.id).unwrap(), [b"abc"]);
    let mut bad = fs::read(&path).unwrap();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    fs::write(&path, bad).unwrap();
    assert!(matches!(to.import(&path), Err(Error::Damaged { .. })));
    assert_eq!(fs::read_dir(temp.path().join("to")).unwrap().count(), 1);
}

#[test]
fn a_snapshot_in_pieces_goes_on_where_it_stopped() {
    let temp = tempfile::tempdir().unwrap();
    let from = Snapshots::open(temp.path().join("from"), 3).unwrap();
    let to = Snapshots::open(temp.path().join("to"), 3).unwrap();
    let info = write(&from, 2, 9, &[b"one", b"two"]);
    let bytes = from.read_range(&info.id, 0, info.bytes).unwrap();
    let half = bytes.len() / 2;
    assert_eq!(to.receive(&info.id, 0, &bytes[..half]).unwrap(), half as u64);
    // Again, too far ahead, or only asked: nothing is added.
    for (offset, piece) in [(0, &bytes[..half]), (half as u64 + 1, &bytes[half..]), (0, &[][..])] {
        assert_eq!(to.receive(&info.id, offset, piece).unwrap(), half as u64);
    }
    assert!(matches!(to.received(&info.id), Err(Error::Damaged { .. })), "it is cut short");
    assert_eq!(to.receive(&info.id, 0, &[]).unwrap(), 0, "and begins anew");
    assert_eq!(to.receive(&info.id, 0, &bytes).unwrap(), info.bytes);
    let received = to.received(&info.id).unwrap();
    assert_eq!(received.id, info.id);
    assert_eq!(read(&to, &info.id).unwrap(), [b"one", b"two"]);
    assert_eq!(to.receive(&info.id, 0, &bytes).unwrap(), info.bytes, "it is there already");
    assert_eq!(to.received(&info.id).unwrap(), received);
}

#[test]
fn another_snapshot_takes_the_place_of_one_half_received() {
    let temp = tempfile::tempdir().unwrap();
    let to = Snapshots::open(temp.path(), 3).unwrap();
    let (old, new) = ("000001-000000000005-0000000000001", "000002-000000000007-0000000000001");
    assert_eq!(to.receive(old, 0, b"abc").unwrap(), 3);
    assert_eq!(to.receive(new, 0, b"de").unwrap(), 2);
    assert_eq!(to.receive(old, 3, b"").unwrap(), 0);
    assert!(to.receive("../x", 0, b"abc").is_err());
}

#[test]
fn a_snapshot_keeps_those_that_it_adds_to() {
    let temp = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(temp.path(), 2).unwrap();
    let whole = write(&snapshots, 1, 1, &[b"whole"]);
    let mut last = whole;
    for index in 2..=5 {
        let mut writer = snapshots.begin(1, index, Some(&last.id)).unwrap();
        writer.chunk(b"more").unwrap();
        let info = writer.finish().unwrap();
        assert_eq!(info.parent.as_ref(), Some(&last.id));
        last = info;
    }
    let chain: Vec<u64> = snapshots.chain(&last.id).unwrap().iter().map(|info| info.index).collect();
    assert_eq!(chain, [1, 2, 3, 4, 5]);
    assert!(matches!(snapshots.import(&snapshots.path(&last.id).unwrap()), Err(Error::Increment { .. })));

    let mut writer = snapshots.begin_whole(&last.id).unwrap();
    writer.chunk(b"all of it").unwrap();
    let replaced = writer.finish().unwrap();
    assert_eq!((&replaced.id, &replaced.parent), (&last.id, &None));
    let kept: Vec<u64> = snapshots.list().unwrap().iter().map(|info| info.index).collect();
    assert_eq!(kept, [5, 4, 3, 2, 1], "the fourth is kept, and needs the others");
    write(&snapshots, 1, 6, &[b"whole"]);
    let kept: Vec<u64> = snapshots.list().unwrap().iter().map(|info| info.index).collect();
    assert_eq!(kept, [6, 5]);
}

#[test]
fn a_chain_that_is_broken_or_endless_is_an_error() {
    let temp = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(temp.path(), 100).unwrap();
    let mut last = write(&snapshots, 1, 1, &[b"whole"]);
    let first = last.clone();
    for index in 2..=INCREMENTS_MAX as u64 + 2 {
        last = snapshots.begin(1, index, Some(&last.id)).unwrap().finish().unwrap();
    }
    assert!(matches!(snapshots.chain(&last.id), Err(Error::TooManyParents { .. })));
    fs::remove_file(snapshots.path(&first.id).unwrap()).unwrap();
    let second = snapshots.list().unwrap().pop().unwrap();
    assert!(matches!(snapshots.chain(&second.id), Err(Error::NoParent { .. })));
}

fn flip(snapshots: &Snapshots, id: &str) {
    let path = snapshots.path(id).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_snapshot_is_set_aside_with_those_that_add_to_it() {
    let temp = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(temp.path(), 100).unwrap();
    let mut chain = vec![write(&snapshots, 1, 1, &[b"whole"]).id];
    for index in 2..=4 {
        chain.push(snapshots.begin(1, index, chain.last().map(String::as_str)).unwrap().finish().unwrap().id);
    }
    assert!(snapshots.set_aside_damaged(&chain[3]).unwrap().is_empty(), "all are whole");
    flip(&snapshots, &chain[2]);
    assert!(snapshots.set_aside_damaged(&chain[1]).unwrap().is_empty(), "it does not add to the damaged one");
    assert_eq!(snapshots.set_aside_damaged(&chain[3]).unwrap(), chain[2..]);
    let left: Vec<String> = snapshots.list().unwrap().into_iter().map(|info| info.id).collect();
    assert_eq!(left, [chain[1].clone(), chain[0].clone()]);
    fs::remove_file(snapshots.path(&chain[0]).unwrap()).unwrap();
    assert_eq!(snapshots.set_aside_damaged(&chain[1]).unwrap(), chain[1..2], "what it adds to is gone");
    assert!(snapshots.set_aside_damaged(&chain[0]).unwrap().is_empty(), "what is gone is not damaged");
}

/// It would be taken for what was received, and be useless.
#[test]
fn a_damaged_snapshot_is_received_again() {
    let temp = tempfile::tempdir().unwrap();
    let from = Snapshots::open(temp.path().join("from"), 3).unwrap();
    let to = Snapshots::open(temp.path().join("to"), 3).unwrap();
    let info = write(&from, 2, 9, &[b"one", b"two"]);
    let bytes = from.read_range(&info.id, 0, info.bytes).unwrap();
    to.receive(&info.id, 0, &bytes).unwrap();
    to.received(&info.id).unwrap();
    for _ in 0..2 {
        flip(&to, &info.id);
        assert_eq!(to.receive(&info.id, 0, &[]).unwrap(), 0);
        assert_eq!(to.receive(&info.id, 0, &bytes).unwrap(), info.bytes);
        to.received(&info.id).unwrap();
        assert_eq!(read(&to, &info.id).unwrap(), [b"one", b"two"]);
    }
}
