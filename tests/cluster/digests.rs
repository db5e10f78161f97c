//! Replicas whose state went wrong: they are found out, shown to nobody, and healed.

use std::path::PathBuf;
use uhaha_tests::client::{Client, Value, bulk, int, ok};
use uhaha_tests::cluster::Cluster;
use uhaha_tests::guests::Module;
use uhaha_tests::server::files;
use uhaha_tests::wait;

const KEY: &str = "a key of which one bit will flip";
const VALUE: &str = "a value of which one bit will flip";

/// Marks come with snapshots only, or often. Who leads is found out by nobody's silence: on a machine that has much else to
/// do, the node that is made wrong could become the leader, or cease to be it.
const NEVER: &[&str] = &["--digest-interval", "0", "--election-timeout", "5s"];
const OFTEN: &[&str] = &["--digest-interval", "200ms", "--election-timeout", "5s"];

fn field(cluster: &Cluster, position: usize, name: &str) -> String {
    cluster.client(position).call(&["RAFT", "INFO", name]).fields()[name].to_owned()
}

fn standing(cluster: &Cluster, position: usize) -> String {
    field(cluster, position, "standing")
}

fn differences(cluster: &Cluster, position: usize) -> u64 {
    let info = cluster.client(position).call(&["INFO", "machine"]);
    let info = info.text();
    let line = info.lines().find_map(|line| line.strip_prefix("machine_digest_differences:"));
    line.unwrap().parse().unwrap()
}

fn corrupt(cluster: &Cluster, position: usize, pattern: &str) {
    assert!(cluster.client(position).call(&["DEBUG", "CORRUPT", pattern]).integer() > 0, "the memory has the pattern");
}

/// A client that reads what the node itself has, if that is any good.
fn reader(cluster: &Cluster, position: usize) -> Client {
    let mut client = cluster.client(position);
    assert_eq!(client.call(&["READONLY"]), ok());
    client
}

/// Writes until the node has found a difference and is healed. From the moment of the difference on, what it answers is
/// right.
fn write_until_healed(cluster: &Cluster, wrong: usize, through: usize, key: &str, right: &Value) {
    let (mut writer, mut reader) = (cluster.client(through), reader(cluster, wrong));
    wait::until("a difference and its end", || {
        // A leader that hands over answers that it does not know what became of a write.
        let _ = writer.call(&["SET", "beat", "x"]);
        if differences(cluster, wrong) == 0 {
            return None;
        }
        let read = reader.call(&["GET", key]);
        assert!(read == *right || matches!(&read, Value::Error(error) if error.starts_with("QUARANTINED")), "{read:?}");
        (standing(cluster, wrong) == "sound" && read == *right).then_some(())
    });
}

/// Waits until all nodes have applied the same and have the same digests of replies and states.
fn assert_all_agree(cluster: &Cluster) {
    let leader = cluster.leader();
    let mut writer = cluster.client(leader);
    // The mark of a snapshot makes everybody look at all of its state.
    writer.call(&["SET", "end", "x"]);
    writer.call(&["RAFT", "SNAPSHOT", "NOW"]);
    let names = ["standing", "digest", "digest_index", "digest_verified_index", "state_digest", "state_digest_index"];
    wait::until("digests that agree", || {
        assert_eq!(writer.call(&["SET", "end", "x"]), ok());
        let of = |position| {
            let info = cluster.client(position).call(&["RAFT", "INFO", "standing", "*digest*"]);
            let fields = info.fields();
            names.map(|name| fields[name].to_owned())
        };
        let all: Vec<[String; 6]> = cluster.running().into_iter().map(of).collect();
        let [standing, _, _, verified, _, marked] = &all[0];
        let checked = marked != "0" && verified.parse::<u64>().unwrap() >= marked.parse::<u64>().unwrap();
        (standing == "sound" && checked && all.iter().all(|other| *other == all[0])).then_some(())
    });
}

fn evidence(cluster: &Cluster, position: usize) -> Vec<PathBuf> {
    files(&cluster.node_of(position).data().join("evidence"))
}

/// The file goes a moment after the state is good.
fn wait_for_end_of_quarantine(cluster: &Cluster, position: usize) {
    wait::until("the end of the quarantine", || (!marker(cluster, position).exists()).then_some(()));
}

fn marker(cluster: &Cluster, position: usize) -> PathBuf {
    cluster.node_of(position).data().join("QUARANTINE")
}

#[test]
fn healthy_nodes_agree() {
    let cluster = Cluster::start_with(Module::kvdb(), 3, OFTEN);
    let mut client = cluster.client(cluster.follower());
    for number in 0..100 {
        assert_eq!(client.call(&["SET", &format!("key{}", number % 7), "x"]), ok());
        assert!(client.call(&["DEL", &format!("key{}", number % 5)]).integer() <= 1);
    }
    assert_all_agree(&cluster);
    assert!((0..3).all(|position| differences(&cluster, position) == 0));
}

#[test]
fn a_follower_is_found_out_by_a_reply() {
    let cluster = Cluster::start_with(Module::kvdb(), 3, NEVER);
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let mut client = cluster.client(leader);
    assert_eq!(client.call(&["SET", KEY, VALUE]), ok());
    cluster.wait_for_log(follower, leader);
    corrupt(&cluster, follower, KEY);
    assert_eq!(client.call(&["DEL", KEY]), int(1), "the follower replies something else, to nobody");
    write_until_healed(&cluster, follower, leader, KEY, &Value::Null);
    let [file] = &evidence(&cluster, follower)[..] else { panic!("one file of evidence") };
    let text = std::fs::read_to_string(file).unwrap();
    for part in ["the replies differ", &format!("\"DEL\" \"{KEY}\" → \":0\\r\\n\""), "\nmodule "] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    wait_for_end_of_quarantine(&cluster, follower);
    assert_all_agree(&cluster);
    assert_eq!(cluster.leader(), leader);
}

#[test]
fn a_follower_is_found_out_by_its_state_though_no_reply_shows_it() {
    let cluster = Cluster::start_with(Module::kvdb(), 3, OFTEN);
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let mut client = cluster.client(leader);
    assert_eq!(client.call(&["SET", KEY, VALUE]), ok());
    cluster.wait_for_log(follower, leader);
    corrupt(&cluster, follower, VALUE);
    write_until_healed(&cluster, follower, leader, KEY, &bulk(VALUE));
    let [file] = &evidence(&cluster, follower)[..] else { panic!("one file of evidence") };
    assert!(std::fs::read_to_string(file).unwrap().contains("the states differ"));
    assert_all_agree(&cluster);
    assert_eq!(reader(&cluster, follower).call(&["GET", KEY]), bulk(VALUE));
}

#[test]
fn a_leader_that_is_odd_steps_down_and_is_healed() {
    let cluster = Cluster::start_with(Module::kvdb(), 3, NEVER);
    let leader = cluster.leader();
    let other = cluster.follower();
    let mut client = cluster.client(leader);
    assert_eq!(client.call(&["SET", KEY, VALUE]), ok());
    cluster.wait_for_log(other, leader);
    corrupt(&cluster, leader, KEY);
    assert_eq!(client.call(&["DEL", KEY]), int(0), "nobody knows yet");
    write_until_healed(&cluster, leader, other, KEY, &Value::Null);
    assert_ne!(cluster.leader(), leader);
    assert_eq!(evidence(&cluster, leader).len(), 1);
    let others = (0..3).filter(|position| *position != leader);
    others.for_each(|position| assert!(evidence(&cluster, position).is_empty()));
    assert_all_agree(&cluster);
}

#[test]
fn of_two_nodes_the_follower_is_healed() {
    let cluster = Cluster::start_with(Module::kvdb(), 2, NEVER);
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let mut client = cluster.client(leader);
    assert_eq!(client.call(&["SET", KEY, VALUE]), ok());
    cluster.wait_for_log(follower, leader);
    corrupt(&cluster, follower, KEY);
    assert_eq!(client.call(&["DEL", KEY]), int(1));
    write_until_healed(&cluster, follower, leader, KEY, &Value::Null);
    assert_eq!(cluster.leader(), leader);
    assert_all_agree(&cluster);
}

#[test]
fn a_quarantine_outlives_a_restart_and_so_does_the_state_that_heals_it() {
    let mut cluster = Cluster::start_with(Module::kvdb(), 3, NEVER);
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let mut client = cluster.client(leader);
    assert_eq!(client.call(&["SET", KEY, VALUE]), ok());
    cluster.wait_for_log(follower, leader);
    corrupt(&cluster, follower, VALUE);
    // The wrong state goes into a snapshot.
    let taken = cluster.client3(follower).call(&["RAFT", "SNAPSHOT", "NOW"]);
    let wrong = taken.fields()["id"].to_owned();
    // Without the directory no state can be taken in.
    let data = cluster.node_of(follower).data();
    let (snapshots, away) = (data.join("snapshots"), data.join("away"));
    std::fs::rename(&snapshots, &away).unwrap();

    // The leader's snapshot is a mark.
    assert_eq!(client.call(&["SET", "other", "x"]), ok());
    client.call(&["RAFT", "SNAPSHOT", "NOW"]).fields();
    wait::until("the quarantine", || {
        assert_eq!(client.call(&["SET", "other", "x"]), ok());
        (standing(&cluster, follower) == "quarantined").then_some(())
    });
    assert_eq!(reader(&cluster, follower).call(&["GET", KEY]), bulk(VALUE), "the leader's");
    assert!(marker(&cluster, follower).exists());
    cluster.server(follower).wait_for_log("cannot get another's state yet");
    assert_eq!(standing(&cluster, follower), "quarantined");

    cluster.kill(follower);
    std::fs::rename(&away, &snapshots).unwrap();
    cluster.restart_launched(follower);
    cluster.server(follower).wait_for_log("known to be wrong");
    cluster.server(follower).wait_until_ready();
    write_until_sound(&cluster, follower, leader);
    wait_for_end_of_quarantine(&cluster, follower);
    assert!(!snapshots.join(format!("{wrong}.snapshot")).exists(), "it is set aside");
    assert_eq!(reader(&cluster, follower).call(&["GET", KEY]), bulk(VALUE));
    assert_all_agree(&cluster);

    cluster.kill(follower);
    cluster.restart(follower);
    cluster.wait_for_log(follower, leader);
    assert_eq!(reader(&cluster, follower).call(&["GET", KEY]), bulk(VALUE));
    assert_all_agree(&cluster);
}

fn write_until_sound(cluster: &Cluster, position: usize, through: usize) {
    let mut writer = cluster.client(through);
    wait::until("a sound state", || {
        assert_eq!(writer.call(&["SET", "beat", "x"]), ok());
        (standing(cluster, position) == "sound").then_some(())
    });
}
