use super::{Replica, apply, proposal, read};
use crate::guest::testing::printing;
use crate::guest::{Guest, Limits};
use crate::machine::snapshot;
use crate::proposal::Proposal;
use crate::storage::schema::log_id;
use crate::storage::snapshots::Snapshots;
use crate::type_config::{Membership, SnapshotMeta};
use std::sync::Arc;

fn guest() -> Arc<Guest> {
    let cache = tempfile::tempdir().unwrap();
    Arc::new(Guest::load(&printing(false), Limits::default(), cache.path()).unwrap())
}

fn log() -> Vec<Proposal> {
    vec![
        proposal(1000, Some(1), &[]),
        proposal(2000, None, &["P", "X", "X"]),
        proposal(3000, None, &["D", "T", "X", "N", "Q", "P", "X"]),
        proposal(4000, None, &["X", "D", "T"]),
        proposal(5000, None, &["D", "Q", "X", "P"]),
    ]
}

#[test]
fn commands_that_fail_leave_the_handles_as_they_were() {
    let mut replica = Replica::new(guest()).unwrap();
    let replies: Vec<Vec<String>> =
        (1..).zip(&log()).map(|(index, proposal)| apply(&mut replica, index, proposal)).collect();
    assert_eq!(replies[1], [":1", ":3", ":2"]);
    assert_eq!((&*replies[2][0], &*replies[2][2]), (":2", ":5"));
    assert!(replies[2][1].starts_with("-TRAP T at index 3: "), "{}", replies[2][1]);
    assert!(replies[2][3].contains("left a WASI handle open (a network)"), "{}", replies[2][3]);
    assert_eq!(replica.traps(), 3);
}

/// Restarts from a snapshot and reads between entries change neither a reply nor the state.
#[test]
fn handles_are_the_same_after_a_restart_and_however_much_was_read() {
    let directory = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(directory.path(), 100).unwrap();
    let guest = guest();
    let (mut quiet, mut disturbed) =
        (Replica::new(Arc::clone(&guest)).unwrap(), Replica::new(Arc::clone(&guest)).unwrap());
    for (index, proposal) in (1..).zip(&log()) {
        let replies = apply(&mut quiet, index, proposal);
        assert_eq!(apply(&mut disturbed, index, proposal), replies, "entry {index}");
        let first = read(&mut disturbed, &["R"]);
        assert_eq!(read(&mut disturbed, &["R"]), first, "a read leaves nothing to the next");
        assert_eq!(read(&mut disturbed, &["R", "R"])[0], first[0]);
        let checkpoint = disturbed.checkpoint().unwrap();
        assert_eq!(checkpoint, quiet.checkpoint().unwrap(), "entry {index}");
        let meta = SnapshotMeta { last_log_id: Some(log_id(1, index)), last_membership: Membership::default() };
        let info = snapshot::write(&snapshots, &guest, &meta, &checkpoint).unwrap();
        let (_, found) = snapshot::read(&snapshots, &guest, &info.id).unwrap();
        assert_eq!(found.image.handles, checkpoint.image.handles);
        disturbed = Replica::restore(Arc::clone(&guest), found).unwrap();
        let digest = |replica: &mut Replica| replica.checkpoint().unwrap().digest(index).unwrap();
        assert_eq!(digest(&mut disturbed), digest(&mut quiet), "entry {index}");
    }
}
