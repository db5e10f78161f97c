//! Snapshots: taken, listed, read, restored from; the log purged behind them; damaged ones passed over or refused.

use std::path::{Path, PathBuf};
use uhaha_tests::client::words;
use uhaha_tests::{Client, Module, Node, Server, Value, bulk, int, ok, wait};

fn fill(client: &mut Client, round: usize) {
    let set = |n| vec!["SET".to_owned(), format!("key-{n}"), format!("{round}-{n}")];
    let commands: Vec<Vec<String>> = (0..1000).map(set).collect();
    assert!(client.pipeline(&commands).iter().all(|reply| *reply == ok()));
}

fn take(client: &mut Client) -> String {
    client.call(&words("RAFT SNAPSHOT NOW")).fields()["id"].to_owned()
}

fn file(client: &mut Client, id: &str) -> PathBuf {
    PathBuf::from(client.call(&["RAFT", "SNAPSHOT", "FILE", id]).text())
}

fn raft_info(client: &mut Client, field: &str) -> u64 {
    client.call(&["RAFT", "INFO", field]).fields()[field].parse().unwrap()
}

/// Turns one bit in the middle of a file.
fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn shutdown_with_save_leaves_a_snapshot() {
    let node = Node::new(Module::ticket());
    let mut server = node.start();
    let mut client = server.client();
    assert_eq!(client.call(&["TICKET"]), int(1));
    client.send(&["SHUTDOWN", "SAVE"]);
    client.assert_closed();
    assert_eq!(server.wait().code, Some(0));
    let server = node.start();
    let mut client = server.client();
    assert_eq!(client.call(&words("RAFT SNAPSHOT LIST")).array().len(), 1);
    assert_eq!(client.call(&["TICKET"]), int(2));
}

#[test]
fn a_snapshot_is_taken_listed_and_read() {
    let server = Server::start(Module::kvdb());
    let mut client = server.client();
    assert_eq!(client.call(&words("RAFT SNAPSHOT LIST")), Value::Array(vec![]));
    fill(&mut client, 1);
    let taken = client.call(&words("RAFT SNAPSHOT NOW"));
    let fields = taken.fields();
    let id = fields["id"];
    let list = client.call(&words("RAFT SNAPSHOT LIST"));
    assert_eq!(list.array()[0].fields(), fields);
    let bytes = std::fs::read(file(&mut client, id)).unwrap();
    assert_eq!(fields["size"], bytes.len().to_string());
    assert!(client.call(&["RAFT", "SNAPSHOT", "READ", id]).bytes() == &bytes[..]);
    let range = |client: &mut Client, offset: &str, limit: &str| {
        client.call(&["RAFT", "SNAPSHOT", "READ", id, "RANGE", offset, limit]).bytes().clone()
    };
    assert_eq!(range(&mut client, "0", "8"), &bytes[..8]);
    assert_eq!(range(&mut client, "100", "50"), &bytes[100..150]);
    let end = bytes.len().to_string();
    assert!(range(&mut client, &end, "50").is_empty());
    assert!(range(&mut client, "0", "18446744073709551615") == bytes[..]);
    for wrong in ["RANGE 0", "RANGE -1 5", "RANGE 0 x", "FROM 0 5"] {
        let command = format!("RAFT SNAPSHOT READ {id} {wrong}");
        client.call(&words(&command)).assert_error("ERR syntax error");
    }
}

#[test]
fn an_id_is_never_a_path() {
    let server = Server::start(Module::kvdb());
    let mut client = server.client();
    take(&mut client);
    for id in ["../../../../../../etc/passwd", "/etc/passwd", "..", "", "1-1-1"] {
        client.call(&["RAFT", "SNAPSHOT", "READ", id]).assert_error("ERR ");
        client.call(&["RAFT", "SNAPSHOT", "FILE", id]).assert_error("ERR ");
    }
}

#[test]
fn the_log_is_purged_behind_a_snapshot_and_the_node_starts_from_it() {
    let node = Node::new(Module::kvdb());
    let server = node.start();
    let mut client = server.client();
    // One entry each, for the log keeps the last hundred behind a snapshot.
    for n in 0..150 {
        assert_eq!(client.call(&["SET", "counter", &n.to_string()]), ok());
    }
    fill(&mut client, 2);
    let id = take(&mut client);
    wait::until("the log to be purged", || (raft_info(&mut client, "purged_index") > 0).then_some(()));
    assert_eq!(client.call(&words("SET after snapshot")), ok());
    server.kill();
    let server = node.start();
    let line = server.wait_for_log("loaded a snapshot");
    assert!(line.contains(&id), "{line} is not of {id}");
    let mut client = server.client();
    assert_eq!(client.call(&["GET", "key-7"]), bulk("2-7"));
    assert_eq!(client.call(&["GET", "after"]), bulk("snapshot"));
    assert_eq!(client.call(&["GET", "counter"]), bulk("149"));
    assert_eq!(client.call(&["DBSIZE"]), int(1002));
}

#[test]
fn snapshots_are_taken_by_the_length_of_the_log_and_only_so_many_kept() {
    let node = Node::new(Module::ticket()).args(&["--snapshot-log-entries", "50", "--snapshot-keep", "2"]);
    let server = node.start();
    let mut client = server.client();
    let mut tickets = 0;
    let mut newest = String::new();
    for _ in 0..4 {
        newest = wait::until("a snapshot by itself", || {
            tickets += 1;
            assert_eq!(client.call(&["TICKET"]), int(tickets));
            let list = client.call(&words("RAFT SNAPSHOT LIST"));
            let first = list.array().first()?.fields()["id"].to_owned();
            (first != newest).then_some(first)
        });
    }
    wait::until("the old ones to go", || (client.call(&words("RAFT SNAPSHOT LIST")).array().len() == 2).then_some(()));
    server.kill();
    assert_eq!(node.start().client().call(&["TICKET"]), int(tickets + 1));
}

#[test]
fn snapshots_are_taken_by_the_bytes_of_the_log() {
    let server = Node::new(Module::kvdb()).args(&["--snapshot-log-bytes", "1MiB"]).start();
    let mut client = server.client();
    let value = "x".repeat(100_000);
    wait::until("a snapshot by itself", || {
        assert_eq!(client.call(&["SET", "key", &value]), ok());
        (!client.call(&words("RAFT SNAPSHOT LIST")).array().is_empty()).then_some(())
    });
}

/// As long as an older one and the log after it are there.
#[test]
fn a_damaged_newest_snapshot_is_passed_over() {
    let node = Node::new(Module::kvdb());
    let server = node.start();
    let mut client = server.client();
    fill(&mut client, 1);
    let older = take(&mut client);
    fill(&mut client, 2);
    let newest = take(&mut client);
    let path = file(&mut client, &newest);
    server.kill();
    damage(&path);
    let server = node.start();
    let line = server.wait_for_log("a snapshot is damaged");
    assert!(line.contains("WARN") && line.contains(&newest), "{line}");
    assert!(server.wait_for_log("loaded a snapshot").contains(&older));
    assert_eq!(server.client().call(&["GET", "key-7"]), bulk("2-7"));
    // The log alone does too.
    server.kill();
    damage(&node.data().join("snapshots").join(&older).with_extension("snapshot"));
    assert_eq!(node.start().client().call(&["GET", "key-7"]), bulk("2-7"));
}

/// A state with a gap in its history is worse than none.
#[test]
fn a_damaged_snapshot_that_nothing_can_replace_is_a_clear_refusal() {
    let node = Node::new(Module::ticket());
    let server = node.start();
    let mut client = server.client();
    let draw = |client: &mut Client| {
        // One entry each, for the log keeps the last hundred behind a snapshot.
        for _ in 0..150 {
            client.call(&["TICKET"]).integer();
        }
    };
    draw(&mut client);
    take(&mut client);
    draw(&mut client);
    let newest = take(&mut client);
    wait::until("the log to be purged", || (raft_info(&mut client, "purged_index") > 160).then_some(()));
    let path = file(&mut client, &newest);
    let good = std::fs::read(&path).unwrap();
    // Not killed: the purge is durable only later, and without it the log still reaches back.
    assert_eq!(server.stop().code, Some(0));
    damage(&path);
    let ended = node.run_to_end();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap();
    for word in ["the log begins after index", &newest, "damaged at byte", "--restore"] {
        assert!(last.contains(word), "{word:?} is not in {last}");
    }
    std::fs::write(&path, good).unwrap();
    assert_eq!(node.start().client().call(&["TICKET"]), int(301), "the refusal changed nothing");
}

/// The file of a snapshot of a thousand keys.
fn filled_and_taken(client: &mut Client) -> PathBuf {
    fill(client, 1);
    let id = take(client);
    file(client, &id)
}

#[test]
fn a_snapshot_restores_to_a_new_node_that_keeps_it() {
    let node = Node::new(Module::kvdb());
    let server = node.start();
    let mut client = server.client();
    let path = filled_and_taken(&mut client);
    assert_eq!(client.call(&words("SET after snapshot")), ok());
    let path = path.to_str().unwrap();
    let restored = node.with_dir("restored").args(&["--restore", path]);
    let copy = restored.start();
    let mut other = copy.client();
    assert_eq!(other.call(&["DBSIZE"]), int(1000));
    assert_eq!(other.call(&["GET", "key-7"]), bulk("1-7"));
    assert_eq!(other.call(&words("SET own 1")), ok());
    assert_eq!(client.call(&["GET", "own"]), Value::Null, "two clusters, two states");
    copy.kill();
    // Told again, it keeps what it has and says so.
    let copy = restored.start();
    copy.wait_for_log("--restore is ignored");
    assert_eq!(copy.client().call(&["DBSIZE"]), int(1001));
}

#[test]
fn what_cannot_be_restored_leaves_no_node_behind() {
    let node = Node::new(Module::kvdb());
    let server = node.start();
    let mut client = server.client();
    let path = filled_and_taken(&mut client);
    let copy = node.scratch().join("copy.snapshot");
    std::fs::copy(&path, &copy).unwrap();
    let restored = |name: &str, path: &Path| node.with_dir(name).args(&["--restore", path.to_str().unwrap()]);
    let refused = |node: &Node, word: &str| {
        let ended = node.run_to_end();
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.lines().last().unwrap().contains(word), "{word:?} is not in {}", ended.stderr);
    };
    refused(&restored("missing", Path::new("missing.snapshot")), "missing.snapshot");
    refused(&restored("other", &copy).module(Module::ticket()), "another module");
    let good = std::fs::read(&copy).unwrap();
    damage(&copy);
    let node = restored("damaged", &copy);
    refused(&node, "damaged at byte");
    std::fs::write(&copy, good).unwrap();
    assert_eq!(node.start().client().call(&["DBSIZE"]), int(1000), "the same again with a good file");
}
