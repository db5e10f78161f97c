//! Damage in one of three: what the node says is done, and then the cluster is whole again and nothing is lost.

use std::fs;
use std::path::{Path, PathBuf};
use uhaha_server::storage::log;
use uhaha_tests::client::words;
use uhaha_tests::server::files;
use uhaha_tests::{Client, Cluster, Module, Value, int, ok, wait};

/// The log keeps the last hundred entries behind a snapshot.
const MANY: usize = 120;
const FEW: usize = 10;

fn own(cluster: &Cluster, position: usize) -> PathBuf {
    cluster.node_of(position).data()
}

/// So many entries. A write that found no leader is done again.
fn set(cluster: &Cluster, prefix: &str, entries: usize) {
    let mut client = cluster.client(cluster.leader());
    for n in 0..entries {
        let key = format!("{prefix}-{n}");
        wait::until("a write", || (client.call(&["SET", &key, prefix]) == ok()).then_some(()));
    }
}

fn snapshot(cluster: &Cluster, position: usize) {
    let mut client = cluster.client(position);
    client.call(&words("RAFT SNAPSHOT NOW")).fields();
    // On disk, for the node may be killed next. While the files are written a reading may find what is not whole.
    let log = own(cluster, position).join("log.redb");
    wait::until("the log to be purged", || {
        log::read(&log).is_ok_and(|contents| contents.purged.is_some_and(|purged| purged.index > 0)).then_some(())
    });
}

/// Flips a bit in the middle of a file.
fn damage(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(file, bytes).unwrap();
}

fn snapshots(cluster: &Cluster, position: usize) -> Vec<PathBuf> {
    let all = files(&own(cluster, position)).into_iter();
    all.filter(|file| file.extension().is_some_and(|extension| extension == "snapshot")).collect()
}

/// Every node has all keys, and the same digests after the same entry.
fn assert_whole(cluster: &Cluster, keys: i64) {
    let leader = cluster.leader();
    assert_eq!(cluster.client(leader).call(&["DBSIZE"]), int(keys));
    for position in cluster.running() {
        cluster.wait_for_log(position, leader);
        let mut client = cluster.client(position);
        client.call(&["READONLY"]);
        wait::until("a node's own state", || match client.call(&["DBSIZE"]) {
            Value::Integer(found) => {
                assert_eq!(found, keys, "node {position}");
                Some(())
            }
            _ => None,
        });
        let standing = client.call(&words("RAFT INFO standing"));
        assert_eq!(standing.fields()["standing"], "sound");
    }
    let digest = |position: usize| {
        let info = cluster.client(position).call(&words("RAFT INFO digest digest_index"));
        let fields = info.fields();
        (fields["digest_index"].to_owned(), fields["digest"].to_owned())
    };
    wait::until("the same digests", || {
        let digests: Vec<_> = cluster.running().into_iter().map(digest).collect();
        digests.iter().all(|found| *found == digests[0]).then_some(())
    });
}

#[test]
fn a_member_with_a_damaged_log_is_replaced_as_its_message_says() {
    // The database has most of the log.
    let mut cluster = Cluster::start_with(Module::kvdb(), 3, &["--wal-bytes", "16KiB"]);
    set(&cluster, "before", MANY);
    let victim = cluster.follower();
    snapshot(&cluster, victim);
    cluster.kill(victim);
    let file = own(&cluster, victim).join("log.redb");
    let good = fs::read(&file).unwrap();
    // Every page that is in use but the first.
    let mut bad = good.clone();
    (4096..bad.len()).filter(|at| good[*at] != 0).for_each(|at| bad[at] ^= 1);
    fs::write(&file, &bad).unwrap();
    let address = cluster.address(victim).to_string();
    let node = cluster.node_of(victim).clone().args(&["--addr", &address]);
    let ended = node.run_to_end();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let line = ended.stderr.lines().last().unwrap();
    let name = (victim + 1).to_string();
    let dir = own(&cluster, victim);
    for part in ["log.redb", &format!("RAFT SERVER REMOVE {name}"), &format!("move {} away", dir.display()), "--join"] {
        assert!(line.contains(part), "{part:?} is not in {line}");
    }
    // The others go on, and nobody takes the node in as if nothing had happened.
    set(&cluster, "meanwhile", FEW);
    let away = dir.with_extension("damaged");
    fs::rename(&dir, &away).unwrap();
    let other = cluster.leader();
    let join = cluster.address(other).to_string();
    let refused = node.args(&["--join", &join]).run_to_end();
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("cannot join"), "{}", refused.stderr);
    fs::remove_dir_all(&dir).unwrap();
    // As the line says.
    assert_eq!(cluster.client(other).call(&["RAFT", "SERVER", "REMOVE", &name]), int(1));
    cluster.restart_with(victim, &["--join", &join]);
    cluster.wait_for_voters(3);
    set(&cluster, "after", FEW);
    assert_whole(&cluster, (MANY + 2 * FEW) as i64);
}

/// The log and the vote are whole, so the node stays who it is.
#[test]
fn a_member_whose_snapshots_are_damaged_takes_another_nodes_state() {
    let mut cluster = Cluster::start(Module::kvdb(), 3);
    set(&cluster, "before", MANY);
    let victim = cluster.follower();
    snapshot(&cluster, victim);
    cluster.kill(victim);
    set(&cluster, "meanwhile", FEW);
    let found = snapshots(&cluster, victim);
    assert!(!found.is_empty());
    found.iter().for_each(|file| damage(file));
    cluster.restart(victim);
    cluster.server(victim).wait_for_log("this node's snapshots are damaged");
    cluster.server(victim).wait_for_log("this node has another's state, and is out of quarantine");
    set(&cluster, "after", FEW);
    assert_whole(&cluster, (MANY + 2 * FEW) as i64);
    // It has one of its own to start from.
    cluster.kill(victim);
    cluster.restart(victim);
    assert_whole(&cluster, (MANY + 2 * FEW) as i64);
}

/// A node that comes back gets a snapshot that is made anew, not the damaged one.
#[test]
fn a_leader_whose_snapshot_is_damaged_makes_another_for_who_needs_it() {
    let mut cluster = Cluster::start(Module::kvdb(), 3);
    set(&cluster, "before", FEW);
    let victim = cluster.follower();
    cluster.kill(victim);
    set(&cluster, "meanwhile", MANY);
    let sources: Vec<usize> = cluster.running();
    for source in &sources {
        snapshot(&cluster, *source);
        snapshots(&cluster, *source).iter().for_each(|file| damage(file));
    }
    cluster.restart(victim);
    let said = |position: &usize| cluster.server(*position).log().contains("a snapshot is damaged; check the disk");
    wait::until("the damage to be found", || sources.iter().any(said).then_some(()));
    set(&cluster, "after", FEW);
    assert_whole(&cluster, (MANY + 2 * FEW) as i64);
}

fn dbsize(client: &mut Client) -> Value {
    client.call(&["DBSIZE"])
}

/// Whoever has no peers has nobody to take a state from.
#[test]
fn a_node_alone_whose_snapshots_are_damaged_does_not_start() {
    let mut cluster = Cluster::start(Module::kvdb(), 1);
    set(&cluster, "before", MANY);
    snapshot(&cluster, 0);
    let keys = dbsize(&mut cluster.client(0));
    cluster.kill(0);
    let good: Vec<(PathBuf, Vec<u8>)> =
        snapshots(&cluster, 0).into_iter().map(|file| (file.clone(), fs::read(&file).unwrap())).collect();
    good.iter().for_each(|(file, _)| damage(file));
    let ended = cluster.node_of(0).run_to_end();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let line = ended.stderr.lines().last().unwrap();
    assert!(line.contains("no snapshot that reaches so far can be used"), "{line}");
    assert!(line.contains("--restore") && line.contains("RAFT SERVER REMOVE"), "{line}");
    // A backup of the files is as good as ever.
    good.iter().for_each(|(file, bytes)| fs::write(file, bytes).unwrap());
    cluster.restart(0);
    assert_eq!(dbsize(&mut cluster.client(0)), keys);
}
