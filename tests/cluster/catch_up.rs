//! Nodes that were away while others wrote.

use uhaha_tests::{Client, Cluster, Module, Node, Value, int, ok, wait};

/// Few at a time: each few are an entry of the log.
fn set_many(client: &mut Client, prefix: &str, count: usize) {
    for chunk in 0..count / 10 {
        let commands: Vec<[String; 3]> =
            (0..10).map(|key| ["SET".to_owned(), format!("{prefix}-{chunk}-{key}"), "x".repeat(100)]).collect();
        for command in &commands {
            client.send(&command.each_ref().map(String::as_str));
        }
        for _ in &commands {
            assert_eq!(client.receive(), ok());
        }
    }
}

/// One from its log, one that lacks what the log no longer has, one that never had anything.
#[test]
fn a_node_that_was_away_catches_up_by_log_or_by_snapshot_while_writes_go_on() {
    let mut cluster = Cluster::start(Module::kvdb(), 3);
    let away = cluster.follower();
    cluster.kill(away);
    let leader = cluster.leader();
    set_many(&mut cluster.client(leader), "log", 500);
    cluster.restart(away);
    cluster.wait_for_log(away, leader);

    let has = cluster.number(away, "last_log_index");
    cluster.kill(away);
    set_many(&mut cluster.client(leader), "snapshot", 2000);
    for position in cluster.running() {
        cluster.wait_for_log(position, leader);
        cluster.client(position).call(&["RAFT", "SNAPSHOT", "NOW"]);
    }
    // Until the log begins later than what the node has, it would not need the snapshot; whoever leads by then.
    for position in cluster.running() {
        wait::until("the purge", || (cluster.number(position, "purged_index") > has).then_some(()));
    }
    cluster.restart(away);
    let new = cluster.add(&[]);
    set_many(&mut cluster.client(leader), "meanwhile", 500);
    for position in [away, new] {
        cluster.wait_for_log(position, leader);
        assert!(cluster.number(position, "last_snapshot_index") > 0, "it came by snapshot");
        assert_eq!(cluster.client(position).call(&["DBSIZE"]), int(3000));
    }

    // What was installed is there after a restart, and the same on each.
    cluster.kill(new);
    cluster.restart(new);
    assert_eq!(cluster.client(new).call(&["DBSIZE"]), int(3000));
    let last = |position| cluster.client(position).call(&["GET", "meanwhile-49-9"]);
    assert!(cluster.running().into_iter().all(|position| last(position) == last(leader)));
}

/// Replaces a dead node by a new one of another name.
#[test]
fn a_dead_node_is_replaced() {
    let mut cluster = Cluster::start(Module::kvdb(), 3);
    let dead = cluster.follower();
    cluster.kill(dead);
    let leader = cluster.leader();
    let name = (dead + 1).to_string();
    assert_eq!(cluster.client(leader).call(&["RAFT", "SERVER", "REMOVE", &name]), int(1));
    let address = cluster.address(leader).to_string();
    cluster.run(Node::new(Module::kvdb()).args(&["--id", "new", "--join", &address]));
    cluster.wait_for_members(3);
    assert_eq!(cluster.client(3).call(&["SET", "a", "1"]), ok());
}

/// The last voters that answer may not be taken away.
#[test]
fn a_change_that_would_lose_the_quorum_is_refused() {
    let mut cluster = Cluster::start(Module::kvdb(), 3);
    let dead = cluster.follower();
    cluster.kill(dead);
    let leader = cluster.leader();
    let other = cluster.follower();
    let name = (other + 1).to_string();
    let refusal = wait::until("the leader to miss the dead node", || {
        match cluster.client(leader).call(&["RAFT", "SERVER", "DEMOTE", &name]) {
            Value::Error(error) => Some(error),
            _ => {
                cluster.client(leader).call(&["RAFT", "SERVER", "PROMOTE", &name]);
                None
            }
        }
    });
    assert!(refusal.contains("would have 2 voters of which 1 answer, and it needs 2"), "{refusal}");
}
