//! Commits, and halves of the write-ahead log.

use super::commit::Commit;
use super::place::Place;
use super::wal::{record, records};
use arbitrary::{Result, Unstructured};
use bytes::Bytes;

/// What can be read of a commit is what was written.
pub(crate) fn commit(data: &[u8]) {
    let Ok(commit) = Commit::read(Bytes::copy_from_slice(data)) else { return };
    let mut again = Vec::new();
    commit.put(&mut again).expect("it was read");
    assert_eq!(Commit::read(again.into()), Ok(commit));
}

/// Records with checksums that are right, of some salts, and then anything: those of the first salt are found, up to the
/// first of another.
pub(crate) fn half(data: &[u8]) -> Result<()> {
    let mut input = Unstructured::new(data);
    let (mut half, mut written) = (Vec::new(), Vec::new());
    for _ in 0..input.int_in_range(0..=8)? {
        let salt = u64::from(input.arbitrary::<u8>()? % 3);
        let commit: Vec<u8> = input.arbitrary()?;
        half.extend(record(salt, Place::default(), Place::default(), &commit));
        written.push((salt, commit));
    }
    let whole = written.iter().take_while(|(salt, _)| *salt == written[0].0).count();
    half.extend_from_slice(input.take_rest());
    let found = records(0, half.into());
    assert!(found.len() >= whole);
    for (record, (_, commit)) in found.iter().zip(&written) {
        assert_eq!(record.commit, *commit);
    }
    Ok(())
}
