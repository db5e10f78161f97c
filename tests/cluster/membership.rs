//! Joining, leaving, moving, and what is refused.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use uhaha_tests::{Cluster, Module, Node, int, ok, wait};

#[test]
fn nodes_join_through_any_node_and_serve_what_was_there_before() {
    let mut cluster = Cluster::start(Module::kvdb(), 1);
    assert_eq!(cluster.client(0).call(&["SET", "before", "1"]), ok());
    cluster.add(&[]);
    // Through one that does not lead.
    let through = cluster.address(1).to_string();
    cluster.run(Node::new(Module::kvdb()).args(&["--id", "3", "--join", &through]));
    cluster.add(&["--nonvoter"]);
    cluster.wait_for_members(4);
    cluster.wait_for_voters(3);
    for position in 0..4 {
        let members: Vec<_> = cluster.members(position).into_iter().collect();
        let expected = [("1", true), ("2", true), ("3", true), ("4", false)];
        assert_eq!(members, expected.map(|(name, voter)| (name.to_owned(), voter)));
        let mut client = cluster.client(position);
        assert_eq!(client.call(&["GET", "before"]).text(), "1");
        assert_eq!(client.call(&["SET", &format!("by-{position}"), "x"]), ok());
    }
    assert_eq!(cluster.client(3).call(&["DBSIZE"]), int(5));
    let info = cluster.client(3).call(&["RAFT", "INFO", "state", "voter"]);
    assert_eq!(info.fields()["state"], "learner");
    assert_eq!(info.fields()["voter"], "false");
}

#[test]
fn parts_change_and_a_removed_node_stays_out() {
    let mut cluster = Cluster::start(Module::kvdb(), 3);
    let mut client = cluster.client(cluster.follower());
    for (change, voter) in [("DEMOTE", false), ("PROMOTE", true), ("PROMOTE", true)] {
        assert_eq!(client.call(&["RAFT", "SERVER", change, "3"]), int(1));
        wait::until("the change", || (cluster.members(0)["3"] == voter).then_some(()));
    }
    client.call(&["RAFT", "SERVER", "REMOVE", "9"]).assert_error("ERR the cluster has no node 9");
    client.call(&["RAFT", "SERVER", "ADD", "9", "127.0.0.1:1"]).assert_error("ERR the cluster has no node 9");
    // The leader itself: another one leads first.
    let leader = cluster.leader();
    let other = cluster.follower();
    let name = (leader + 1).to_string();
    assert_eq!(cluster.client(other).call(&["RAFT", "SERVER", "REMOVE", &name]), int(1));
    wait::until("the removal", || (cluster.members(other).len() == 2).then_some(()));
    assert_eq!(cluster.client(other).call(&["SET", "a", "1"]), ok());
    drop(cluster.stop(leader));
    cluster.restart(leader);
    cluster.server(leader).wait_for_log("it was removed");
    assert_eq!(cluster.members(other).len(), 2);
}

#[test]
fn a_member_that_comes_back_elsewhere_is_found_there() {
    let mut cluster = Cluster::start(Module::kvdb(), 3);
    for position in 0..3 {
        drop(cluster.stop(position));
        cluster.restart_elsewhere(position);
        let address = cluster.address(position).to_string();
        wait::until("the new address", || {
            let list = cluster.client((position + 1) % 3).call(&["RAFT", "SERVER", "LIST"]);
            list.array().iter().any(|member| member.fields()["address"] == address).then_some(())
        });
        cluster.leader();
        assert_eq!(cluster.client(position).call(&["SET", "a", "1"]), ok());
    }
    assert_eq!(cluster.members(0).len(), 3);
}

#[test]
fn all_nodes_come_back_after_all_were_killed() {
    let mut cluster = Cluster::start(Module::kvdb(), 3);
    assert_eq!(cluster.client(0).call(&["SET", "a", "1"]), ok());
    (0..3).for_each(|position| cluster.kill(position));
    (0..3).for_each(|position| cluster.restart(position));
    for position in 0..3 {
        assert_eq!(cluster.client(position).call(&["GET", "a"]).text(), "1");
    }
}

#[test]
fn who_does_not_belong_is_told_why() {
    let cluster = Cluster::start_with(Module::kvdb(), 1, &["--peer-secret", "right"]);
    let refused = |node: Node| {
        let ended = node.run_to_end();
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        ended.stderr
    };
    let stderr = refused(cluster.node("1"));
    assert!(stderr.contains("the cluster has a node 1 already"), "{stderr}");
    let stderr = refused(cluster.node("2").module(Module::ticket()));
    assert!(stderr.contains("it runs another module"), "{stderr}");

    // A secret may be changed on the other side, so this one goes on trying, and both sides say why.
    let node = cluster.node("2").args(&["--peer-secret", "wrong"]);
    let mut waiting = node.command().stderr(Stdio::piped()).spawn().unwrap();
    let line = cluster.server(0).wait_for_log("a connection between nodes is refused");
    assert!(line.contains("the peer secret is wrong"), "{line}");
    let said = BufReader::new(waiting.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.into_iter().any(|line| line.contains("the peer secret is wrong")));
    waiting.kill().unwrap();
    waiting.wait().unwrap();
}

/// Two clusters whose nodes got each other's addresses.
#[test]
fn a_node_of_another_cluster_is_refused() {
    let mut cluster = Cluster::start(Module::kvdb(), 2);
    let stranger_at = cluster.address(1);
    cluster.kill(1);
    let stranger = Node::new(Module::kvdb()).args(&["--addr", &stranger_at.to_string()]).start();
    let line = stranger.wait_for_log("a connection between nodes is refused");
    assert!(line.contains("different clusters"), "{line}");
    cluster.server(0).wait_for_log("different clusters");
    assert_eq!(stranger.client().call(&["SET", "own", "1"]), ok());
}
