//! The same log gives the same replies and the same state, on any node and any number of times.

use std::collections::BTreeMap;
use uhaha_tests::client::words;
use uhaha_tests::{Client, Module, Node, Server};

/// The entry that `RAFT SNAPSHOT NOW` is of, and its content.
fn snapshot(server: &Server) -> (String, Vec<u8>) {
    let mut client = server.client();
    let taken = client.call(&words("RAFT SNAPSHOT NOW"));
    let fields: BTreeMap<&str, &str> = taken.fields();
    let file = client.call(&["RAFT", "SNAPSHOT", "FILE", fields["id"]]);
    let place = format!("{} {}", fields["term"], fields["index"]);
    (place, content(&std::fs::read(file.text()).unwrap()))
}

/// The chunks of a snapshot file after the first, which tells when it was written. The file is magic and version,
/// chunks that are length, checksum and bytes each, and after a length of 0 the checksum of them all.
fn content(file: &[u8]) -> Vec<u8> {
    let length = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let first = 12;
    let mut at = first + 8 + length(first);
    let mut chunks = Vec::new();
    while length(at) > 0 {
        let end = at + 8 + length(at);
        chunks.extend_from_slice(&file[at..end]);
        at = end;
    }
    chunks
}

fn assert_same(left: &(String, Vec<u8>), right: &(String, Vec<u8>)) {
    assert_eq!(left.0, right.0, "snapshots of the same entry");
    assert!(!left.1.is_empty());
    assert!(left.1 == right.1, "the states after entry {} differ", left.0);
}

fn fill(client: &mut Client) {
    let set = |n: u32| format!("SET key-{} value-{n} EX {}", n * 7919 % 500, 500 + n);
    let mut commands: Vec<String> = (0..2000).map(set).collect();
    commands.extend((0..100).map(|n| format!("DEL key-{n} key-{}", n * 3)));
    let commands: Vec<Vec<&str>> = commands.iter().map(|command| words(command)).collect();
    for reply in client.pipeline(&commands) {
        assert!(!matches!(reply, uhaha_tests::Value::Error(_)), "{reply:?}");
    }
}

/// No tick may move the log while two nodes are compared, and the membership, which is in the log and in snapshots,
/// must not tell them apart.
const ALIKE: [&str; 4] = ["--tick", "1h", "--advertise", "127.0.0.1:11001"];

#[test]
fn two_nodes_on_copies_of_one_data_directory_answer_alike() {
    let node = Node::new(Module::kvdb()).args(&ALIKE);
    let server = node.start();
    fill(&mut server.client());
    server.kill();
    let (left, right) = (node.with_copy("left").start(), node.with_copy("right").start());
    let reads = ["DBSIZE", "KEYS *", "GET key-1", "GET key-404", "KEYS key-1*"];
    let commands: Vec<Vec<&str>> = reads.iter().map(|read| words(read)).collect();
    let replies = left.client().pipeline(&commands);
    assert!(replies[1].array().len() > 100);
    assert_eq!(replies, right.client().pipeline(&commands));
}

#[test]
fn a_log_replayed_twice_gives_the_same_state_bytes() {
    let node = Node::new(Module::kvdb()).args(&ALIKE);
    let server = node.start();
    fill(&mut server.client());
    server.kill();
    let left = node.with_copy("left").start();
    // Reads between do not count.
    left.client().call(&words("KEYS *"));
    let right = node.with_copy("right").start();
    assert_same(&snapshot(&left), &snapshot(&right));
}

/// Faults, time and randomness are in the log too.
#[test]
fn a_log_of_faults_replays_to_the_same_state_bytes() {
    let node = Node::new(Module::hostile()).args(&["--guest-fuel", "1000000", "--guest-memory", "4MiB"]).args(&ALIKE);
    let server = node.start();
    let pattern = ["INCR", "TRAP", "NOW", "RANDOM", "INCR", "SPIN", "GROW", "FAIL", "BLOAT", "INCR"];
    let commands: Vec<Vec<&str>> = pattern.iter().cycle().take(60).map(|name| vec![*name]).collect();
    server.client().pipeline(&commands);
    let live = server.client().call(&["GET"]);
    server.kill();
    let (left, right) = (node.with_copy("left").start(), node.with_copy("right").start());
    assert_eq!(left.client().call(&["GET"]), live);
    assert_same(&snapshot(&left), &snapshot(&right));
    // What comes next is the same too, as long as it needs no time and no luck.
    assert_eq!(left.client().call(&["INCR"]), right.client().call(&["INCR"]));
}
