//! A leader that is killed, that leaves, that hands over: what clients see of it.

use crate::load::Load;
use uhaha_tests::cluster::LATE_TRANSFER;
use uhaha_tests::{Client, Cluster, Module, Value, ok, wait};

/// Clients of other nodes see nothing but a pause, clients of the killed node their own broken connection, and no
/// acknowledged ticket is lost or given again.
#[test]
fn killing_the_leader_costs_its_own_clients_their_connections_and_nobody_a_ticket() {
    let mut cluster = Cluster::start(Module::ticket(), 3);
    let addresses: Vec<_> = (0..3).flat_map(|position| [cluster.address(position); 2]).collect();
    for _ in 0..4 {
        let load = Load::start(&addresses);
        let leader = cluster.leader();
        cluster.kill(leader);
        load.wait_for(100);
        let seen = load.stop();
        for (address, client) in addresses.iter().zip(&seen) {
            assert_eq!(client.errors, Vec::<String>::new());
            assert_eq!(client.broken > 0, *address == cluster.address(leader), "connections broken");
        }
        let greatest = seen.iter().filter_map(|client| client.tickets.last()).max().unwrap();
        let next = cluster.client(cluster.follower()).call(&["TICKET"]).integer();
        assert!(next > *greatest, "{next} again, after {greatest}");
        cluster.restart(leader);
    }
}

/// Whoever it is.
fn lead_another(cluster: &Cluster, before: usize, client: &mut Client) {
    wait::until("another leader", || {
        let reply = client.call(&["RAFT", "TRANSFER"]);
        let is_late = matches!(&reply, Value::Error(error) if error.contains(LATE_TRANSFER));
        assert!(reply == ok() || is_late, "{reply:?}");
        (cluster.leader() != before).then_some(())
    });
}

/// Not even the clients of the old leader see an error.
#[test]
fn a_transfer_is_seen_by_nobody() {
    let cluster = Cluster::start(Module::ticket(), 3);
    let addresses: Vec<_> = (0..3).flat_map(|position| [cluster.address(position); 2]).collect();
    let load = Load::start(&addresses);
    for round in 0..6 {
        let (before, asked) = (cluster.leader(), round % 3);
        match round % 2 {
            0 => cluster.lead(asked),
            _ => lead_another(&cluster, before, &mut cluster.client((round + 1) % 3)),
        }
        load.wait_for(50);
    }
    for client in load.stop() {
        assert_eq!((client.errors, client.broken), (vec![], 0));
    }
}

/// The removed leader forwards like any other node until it is stopped.
#[test]
fn removing_the_leader_is_seen_by_no_client_of_another_node() {
    let cluster = Cluster::start(Module::ticket(), 5);
    let leader = cluster.leader();
    let others: Vec<usize> = (0..5).filter(|position| *position != leader).collect();
    let addresses: Vec<_> = others.iter().map(|position| cluster.address(*position)).collect();
    let load = Load::start(&addresses);
    let name = (leader + 1).to_string();
    assert_eq!(cluster.client(others[0]).call(&["RAFT", "SERVER", "REMOVE", &name]), uhaha_tests::int(1));
    load.wait_for(100);
    assert!(!cluster.members(others[0]).contains_key(&name));
    for client in load.stop() {
        assert_eq!((client.errors, client.broken), (vec![], 0));
    }
}

/// A node that waits to become a member answers clients already, and ends as any other does.
#[test]
fn a_node_that_still_joins_ends_with_0_at_a_signal() {
    let mut cluster = Cluster::start(Module::kvdb(), 2);
    let leader = cluster.leader();
    // Without the other nobody can be admitted.
    cluster.kill(1 - leader);
    let mut new = cluster.node("3").launch();
    wait::until("an answer", || Client::try_connect(new.address())?.try_call(&["PING"]));
    new.signal(rustix::process::Signal::TERM);
    let ended = new.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// SIGTERM and SHUTDOWN hand over first: clients of other nodes are not even held up.
#[test]
fn a_rolling_restart_breaks_only_the_connections_of_the_node_that_restarts() {
    let mut cluster = Cluster::start(Module::ticket(), 3);
    let addresses: Vec<_> = (0..3).map(|position| cluster.address(position)).collect();
    let load = Load::start(&addresses);
    for position in 0..3 {
        let leader = cluster.leader();
        if position == 1 {
            let mut server = cluster.take(position);
            server.client().send(&["SHUTDOWN"]);
            assert_eq!(server.wait().code, Some(0));
        } else {
            let ended = cluster.stop(position);
            assert_eq!(ended.code, Some(0));
            assert_eq!(ended.stderr.contains("handing leadership over"), leader == position, "{}", ended.stderr);
        }
        load.wait_for(50);
        cluster.restart(position);
        cluster.leader();
        load.wait_for(50);
    }
    for client in load.stop() {
        assert_eq!((client.errors, client.broken), (vec![], 1));
    }
}

#[test]
fn without_a_quorum_nothing_is_done_and_with_one_it_goes_on() {
    let mut cluster = Cluster::start_with(Module::kvdb(), 3, &["--leader-wait", "300ms"]);
    assert_eq!(cluster.client(0).insist(&["SET", "a", "1"]), ok());
    let leader = cluster.leader();
    let others: Vec<usize> = (0..3).filter(|position| *position != leader).collect();
    others.iter().for_each(|position| cluster.kill(*position));
    let mut client = cluster.client(leader);
    // What is under way when the quorum goes may still come to pass; what comes later is refused.
    let refused = wait::until("a refusal", || match client.call(&["SET", "a", "2"]) {
        Value::Error(error) if error.starts_with("CLUSTERDOWN") => Some(error),
        _ => None,
    });
    assert!(refused.contains("nothing was done"), "{refused}");
    client.call(&["GET", "a"]).assert_error("CLUSTERDOWN");
    client.call(&["RAFT", "SERVER", "REMOVE", "1"]).assert_error("");
    others.iter().for_each(|position| cluster.restart(*position));
    cluster.leader();
    assert_eq!(cluster.client(others[0]).insist(&["SET", "b", "1"]), ok());
    assert_eq!(cluster.client(leader).insist(&["GET", "b"]).text(), "1");
}
