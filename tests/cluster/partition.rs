//! Nodes on machines of their own, between which packets vanish.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Instant;
use uhaha_tests::network::Network;
use uhaha_tests::{Client, Cluster, Module, Value, int, ok, wait};

/// A cluster with a node on each machine; node 1 is at position 0.
fn cluster(network: &Network, nodes: usize, args: &[&str]) -> Cluster {
    let mut cluster = Cluster::empty(Module::kvdb(), args);
    for machine in 1..=nodes {
        let address = network.address(machine).to_string();
        let node = cluster.node(&machine.to_string()).args(&["--addr", &address]).prefix(network.on(machine));
        cluster.run(node);
    }
    cluster.wait_for_voters(nodes);
    cluster
}

fn machines(positions: &[usize]) -> Vec<usize> {
    positions.iter().map(|position| position + 1).collect()
}

/// A write that succeeds sooner or later, each try on a connection of its own.
fn set(cluster: &Cluster, position: usize, key: &str, value: &str) {
    wait::until("a write", || {
        let reply = Client::try_connect(cluster.address(position))?.try_call(&["SET", key, value])?;
        (reply == ok()).then_some(())
    });
}

/// Waits until a node has so many keys itself, whatever the leader has; returns a client of that state.
fn wait_for_keys(cluster: &Cluster, position: usize, keys: i64) -> Client {
    let mut client = cluster.client(position);
    assert_eq!(client.call(&["READONLY"]), ok());
    wait::until("the keys", || (client.call(&["DBSIZE"]) == int(keys)).then_some(()));
    client
}

/// Cuts the leader and another node off, and has the leader take a write that it cannot commit. Where a split takes so
/// long that the leader has noticed before, or no longer leads, it is healed and tried again.
fn cut_off_with_a_write(network: &Network, cluster: &Cluster) -> (usize, [usize; 2], u64) {
    loop {
        set(cluster, 0, "before", "1");
        let leader = cluster.leader();
        let minority = [leader, (leader + 1) % cluster.len()];
        let mut at_leader = cluster.client(leader);
        let logged = cluster.number(leader, "last_log_index");
        network.split(&machines(&minority));
        let reply = at_leader.call(&["SET", "before", "lost"]);
        let lost = cluster.number(leader, "last_log_index");
        match &reply {
            Value::Error(error) if error.starts_with("UNKNOWN") && lost > logged => return (leader, minority, lost),
            Value::Error(error) if error.starts_with("UNKNOWN") || error.starts_with("CLUSTERDOWN") => {}
            reply => assert_eq!(*reply, ok()),
        }
        network.heal();
    }
}

#[test]
fn a_minority_refuses_and_what_it_could_not_commit_is_gone_when_it_heals() {
    Network::run("partition::a_minority_refuses_and_what_it_could_not_commit_is_gone_when_it_heals", 5, |network| {
        let cluster = cluster(&network, 5, &["--leader-wait", "500ms"]);
        let (leader, minority, lost) = cut_off_with_a_write(&network, &cluster);
        let majority: Vec<usize> = (0..5).filter(|position| !minority.contains(position)).collect();
        for position in minority {
            let mut client = cluster.client(position);
            client.call(&["GET", "before"]).assert_error("CLUSTERDOWN");
            client.call(&["SET", "before", "refused"]).assert_error("CLUSTERDOWN");
        }
        assert_eq!(cluster.number(leader, "last_log_index"), lost, "what is refused is in no log");
        for number in 0..50 {
            set(&cluster, majority[number % 3], &format!("key-{number}"), "x");
        }
        assert_eq!(cluster.client(majority[0]).insist(&["GET", "before"]).text(), "1");

        network.heal();
        assert!(majority.contains(&cluster.leader()), "the majority's leader goes on");
        for position in 0..5 {
            let mut client = wait_for_keys(&cluster, position, 51);
            assert_eq!(client.call(&["GET", "before"]).text(), "1");
        }
        for position in 0..5 {
            set(&cluster, position, "after", "1");
        }
    });
}

/// While one client reads at the old leader without a pause, another writes on the other side: from when that was
/// acknowledged, no read that begins returns what was there before.
fn no_read_is_stale(network: &Network, args: &[&str]) {
    let cluster = cluster(network, 3, args);
    let leader = cluster.leader();
    let other = (leader + 1) % cluster.len();
    set(&cluster, leader, "key", "old");
    let done = AtomicBool::new(false);
    let (answered, first_answer) = mpsc::channel();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut client = cluster.client(leader);
            let mut answers = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let begun = Instant::now();
                if let Value::Bulk(value) = client.call(&["GET", "key"]) {
                    answers.push((begun, value));
                    // Nobody listens any more after the first.
                    let _ = answered.send(());
                }
            }
            answers
        });
        first_answer.recv().expect("the reader is answered while the network is whole");
        network.split(&machines(&[leader]));
        set(&cluster, other, "key", "new");
        let acknowledged = Instant::now();
        // The old leader has had time to answer, had it believed that it still leads.
        for _ in 0..20 {
            set(&cluster, other, "more", "x");
        }
        done.store(true, Ordering::Relaxed);
        let answers = reader.join().unwrap();
        assert!(answers.iter().any(|(_, value)| value == "old"), "reads were answered before");
        let stale = answers.iter().find(|(begun, value)| *begun > acknowledged && value == "old");
        assert_eq!(stale, None);
    });
    network.heal();
    wait::until("the new value at the old leader", || {
        let value = Client::try_connect(cluster.address(leader))?.try_call(&["GET", "key"])?;
        matches!(value, Value::Bulk(value) if value == "new").then_some(())
    });
}

#[test]
fn a_leader_that_is_cut_off_answers_no_stale_read() {
    Network::run("partition::a_leader_that_is_cut_off_answers_no_stale_read", 3, |network| {
        no_read_is_stale(&network, &["--leader-wait", "100ms"]);
    });
}

#[test]
fn a_leader_with_a_lease_answers_no_stale_read_either() {
    Network::run("partition::a_leader_with_a_lease_answers_no_stale_read_either", 3, |network| {
        no_read_is_stale(&network, &["--leader-wait", "100ms", "--lease-reads"]);
    });
}

/// Two of five on one side, then two others, again and again: every acknowledged write is there in the end, everywhere.
#[test]
fn splits_in_turn_lose_no_acknowledged_write() {
    Network::run("partition::splits_in_turn_lose_no_acknowledged_write", 5, |network| {
        let cluster = cluster(&network, 5, &["--leader-wait", "1s"]);
        for (round, apart) in [[1, 2], [3, 4], [5, 1], [2, 4]].into_iter().enumerate() {
            network.split(&apart);
            let here = (0..5).find(|position| !apart.contains(&(position + 1))).expect("three of five");
            for number in 0..10 {
                set(&cluster, here, &format!("{round}-{number}"), "x");
            }
            network.heal();
        }
        (0..5).for_each(|position| drop(wait_for_keys(&cluster, position, 40)));
    });
}

/// It was not restarted either, which is when nodes have always asked.
#[test]
fn a_node_that_was_removed_while_it_was_cut_off_is_told() {
    Network::run("partition::a_node_that_was_removed_while_it_was_cut_off_is_told", 3, |network| {
        let cluster = cluster(&network, 3, &["--leader-wait", "1s"]);
        let gone = cluster.follower();
        network.split(&machines(&[gone]));
        let name = (gone + 1).to_string();
        let mut leader = cluster.client(cluster.leader());
        wait::until("the removal", || match leader.call(&["RAFT", "SERVER", "REMOVE", &name]) {
            Value::Integer(1) => Some(()),
            Value::Error(error) if error.contains("has no node") => Some(()),
            _ => None,
        });
        assert!(!cluster.server(gone).log().contains("it was removed"));
        network.heal();
        cluster.server(gone).wait_for_log("the cluster does not know this node");
        assert!(cluster.server(gone).log().contains("it was removed; to have it back, start it with --join"));
    });
}
