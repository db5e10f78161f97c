//! What holds for every guest, whatever it was built with, shown with one that is given.

use crate::client::{Value, ok, words};
use crate::{Cluster, Module, Node, int, wait};

const ROUNDS: usize = 40;

/// What `leaves_no_trace` counted.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    pub writes: usize,
    pub reads: usize,
    /// Fuel of all writes and ticks.
    pub fuel: u64,
}

/// Reads leave no trace: writes on the leader, and after each round of them many reads on one follower, of what that one
/// has. All nodes end with the same state, and their writes took the same fuel.
#[track_caller]
pub fn reads_leave_no_trace(module: Module, writes: &[&str], reads_of: &[&str], reads: usize) -> Counted {
    let owned = |line: &&str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
    let writes: Vec<Vec<String>> = writes.iter().map(owned).collect();
    let reads: Vec<Vec<String>> = reads_of.iter().map(owned).cycle().take(reads / ROUNDS).collect();
    let cluster = Cluster::start(module, 3);
    let (leader, busy) = (cluster.leader(), cluster.follower());
    let (mut writer, mut reader) = (cluster.client(leader), cluster.client(busy));
    assert_eq!(reader.call(&["READONLY"]), ok());
    for _ in 0..ROUNDS {
        assert!(writer.pipeline(&writes).iter().all(|reply| !matches!(reply, Value::Error(_))));
        assert!(reader.pipeline(&reads).iter().all(|reply| !matches!(reply, Value::Error(_))));
        fuel(&cluster);
    }
    let mut written = ROUNDS * writes.len();
    states_are_equal(&cluster, || {
        writer.pipeline(&writes);
        written += writes.len();
    });
    Counted { writes: written, reads: ROUNDS * reads.len(), fuel: fuel(&cluster) }
}

/// The fuel that all nodes have taken for the same entries.
#[track_caller]
fn fuel(cluster: &Cluster) -> u64 {
    let taken = wait::until("an entry that all have applied last", || {
        let taken = [0, 1, 2].map(|position| {
            let info = cluster.client(position).call(&["INFO", "machine"]);
            let number = |name: &str| -> u64 {
                let line = info.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                line.unwrap().parse().unwrap()
            };
            (number("machine_applied_index"), number("machine_fuel"))
        });
        taken.iter().all(|other| other.0 == taken[0].0).then_some(taken)
    });
    assert_eq!(taken, [taken[0]; 3], "the last entry, and the fuel up to it");
    taken[0].1
}

/// Which mark of a snapshot a node has seen last, and the digest of its state there.
fn state(cluster: &Cluster, position: usize) -> (String, String) {
    let info = cluster.client(position).call(&["RAFT", "INFO", "state_digest*"]);
    let fields = info.fields();
    (fields["state_digest_index"].to_owned(), fields["state_digest"].to_owned())
}

/// A ticket service that does nothing for its snapshots is restarted, joined and restored by memory images alone.
#[track_caller]
pub fn images_are_enough(module: Module) {
    let mut cluster = Cluster::start(module.clone(), 1);
    // One entry each, for the log keeps the last hundred behind a snapshot.
    (1..=150).for_each(|ticket| assert_eq!(cluster.client(0).call(&["TICKET"]), int(ticket)));
    let taken = cluster.client(0).call(&words("RAFT SNAPSHOT NOW"));
    let file = cluster.client(0).call(&["RAFT", "SNAPSHOT", "FILE", taken.fields()["id"]]).text().to_owned();
    wait::until("the purge", || (cluster.number(0, "purged_index") > 0).then_some(()));

    // Elsewhere, it goes on from where the image was taken.
    let restored = Node::new(module).args(&["--restore", &file]).start();
    assert_eq!(restored.client().call(&["TICKET"]), int(151));

    // A new node cannot have it from the log.
    cluster.add(&[]);
    cluster.wait_for_voters(2);
    cluster.wait_for_log(1, 0);
    assert!(cluster.number(1, "last_snapshot_index") > 0, "it came by snapshot");
    assert_eq!(cluster.client(1).call(&["TICKET"]), int(151));

    // Both start again, and what they have is equal to the byte.
    (0..2).for_each(|position| cluster.kill(position));
    (0..2).for_each(|position| cluster.restart_launched(position));
    (0..2).for_each(|position| cluster.server(position).wait_until_ready());
    let mut ticket = 151;
    states_are_equal(&cluster, || {
        ticket += 1;
        assert_eq!(cluster.client(0).call(&["TICKET"]), int(ticket));
    });
}

/// All nodes have the same state at the mark of a snapshot, to which `write` gets them.
#[track_caller]
pub fn states_are_equal(cluster: &Cluster, mut write: impl FnMut()) {
    write();
    let before = state(cluster, 0).0;
    cluster.client(cluster.leader()).call(&words("RAFT SNAPSHOT NOW")).fields();
    let states = wait::until("a mark that all have reached", || {
        write();
        let states: Vec<_> = (0..cluster.len()).map(|position| state(cluster, position)).collect();
        (states[0].0 != before && states.iter().all(|other| other.0 == states[0].0)).then_some(states)
    });
    assert!(states.iter().all(|other| *other == states[0]), "{states:?}");
    for position in 0..cluster.len() {
        let info = cluster.client(position).call(&["INFO", "machine"]);
        assert!(info.text().lines().any(|line| line == "machine_digest_differences:0"));
    }
}
