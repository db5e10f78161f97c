//! What cluster clients and Sentinel clients are told by each node, and what a node reads from its own state.

use uhaha_tests::{Client, Cluster, Module, Value, bulk, int, ok, wait};

/// `CLUSTER NODES` as `address → (flags, link-state)`, without who said it.
fn nodes(cluster: &Cluster, position: usize) -> Vec<(String, String, String)> {
    let text = cluster.client(position).call(&["CLUSTER", "NODES"]);
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let address = words[1].split('@').next().unwrap();
        (address.to_owned(), words[2].replace("myself,", ""), words[7].to_owned())
    };
    let mut nodes: Vec<_> = text.text().lines().map(line).collect();
    nodes.sort();
    nodes
}

fn expected(cluster: &Cluster, leader: usize, dead: Option<usize>) -> Vec<(String, String, String)> {
    let node = |position: usize| {
        let role = if position == leader { "master" } else { "slave" };
        let (fail, link) = if dead == Some(position) { (",fail", "disconnected") } else { ("", "connected") };
        (cluster.address(position).to_string(), format!("{role}{fail}"), link.to_owned())
    };
    let mut nodes: Vec<_> = (0..cluster.len()).map(node).collect();
    nodes.sort();
    nodes
}

fn wait_for_nodes(cluster: &Cluster, leader: usize, dead: Option<usize>) {
    let expected = expected(cluster, leader, dead);
    wait::until("the view of all nodes", || {
        cluster.running().into_iter().all(|position| nodes(cluster, position) == expected).then_some(())
    });
}

/// The ports of `CLUSTER SLOTS`, the master's first.
fn slots(cluster: &Cluster, position: usize) -> Vec<i64> {
    let slots = cluster.client(position).call(&["CLUSTER", "SLOTS"]);
    slots.array()[0].array()[2..].iter().map(|node| node.array()[1].integer()).collect()
}

#[test]
fn every_node_shows_the_same_cluster() {
    let mut cluster = Cluster::start(Module::ticket(), 3);
    let leader = cluster.leader();
    wait_for_nodes(&cluster, leader, None);
    for position in 0..3 {
        assert_eq!(slots(&cluster, position)[0], i64::from(cluster.address(leader).port()));
        assert_eq!(slots(&cluster, position).len(), 3);
        let info = cluster.client(position).call(&["CLUSTER", "INFO"]);
        assert!(info.text().contains("cluster_state:ok") && info.text().contains("cluster_known_nodes:3"));
        let shards = cluster.client3(position).call(&["CLUSTER", "SHARDS"]);
        assert!(!format!("{shards:?}").contains("fail"), "{shards:?}");
    }
    let role = cluster.client(leader).call(&["ROLE"]);
    assert_eq!((&role.array()[0], role.array()[2].array().len()), (&bulk("master"), 2));
    let follower = cluster.follower();
    let role = cluster.client(follower).call(&["ROLE"]);
    assert_eq!(role.array()[0], bulk("slave"));
    assert_eq!(
        (role.array()[2].integer(), &role.array()[3]),
        (cluster.address(leader).port().into(), &bulk("connected"))
    );

    cluster.kill(follower);
    wait_for_nodes(&cluster, leader, Some(follower));
    for position in cluster.running() {
        assert_eq!(slots(&cluster, position).len(), 2);
    }
    let info = cluster.client(leader).call(&["INFO", "replication"]);
    assert!(info.text().contains("connected_slaves:1\r\n"), "{}", info.text());
    cluster.restart(follower);
    wait_for_nodes(&cluster, leader, None);
}

#[test]
fn without_a_leader_the_cluster_is_said_to_have_failed() {
    let mut cluster = Cluster::start_with(Module::ticket(), 3, &["--leader-wait", "200ms"]);
    let leader = cluster.leader();
    wait_for_nodes(&cluster, leader, None);
    let others: Vec<usize> = (0..3).filter(|position| *position != leader).collect();
    cluster.kill(leader);
    cluster.kill(others[0]);
    let mut client = cluster.client(others[1]);
    wait::until("the failure", || {
        client.call(&["CLUSTER", "INFO"]).text().contains("cluster_state:fail").then_some(())
    });
    assert!(client.call(&["CLUSTER", "INFO"]).text().contains("cluster_slots_fail:16384"));
    let all = nodes(&cluster, others[1]);
    assert_eq!(all.iter().filter(|(_, flags, _)| flags.starts_with("master")).count(), 1, "{all:?}");
    assert!(all.iter().any(|(_, flags, _)| flags == "master,fail"), "{all:?}");
    let quorum = wait::until("the others to be missed", || match client.call(&["SENTINEL", "CKQUORUM", "uhaha"]) {
        Value::Error(error) => Some(error),
        _ => None,
    });
    assert!(quorum.starts_with("NOQUORUM 1 usable Sentinels"), "{quorum}");
    let master = client.call(&["SENTINEL", "MASTER", "uhaha"]);
    assert!(master.fields()["flags"].contains("o_down"));
}

/// Moves to the leader are told while there is one that answers; until then, the command is held.
#[test]
fn a_redirecting_node_holds_commands_until_there_is_a_leader() {
    let mut cluster = Cluster::start_with(Module::ticket(), 3, &["--redirect", "moved"]);
    let leader = cluster.leader();
    let moved = format!("MOVED 0 {}", cluster.address(leader));
    let follower = cluster.follower();
    wait::until("a view", || (cluster.client(follower).call(&["TICKET"]) == Value::Error(moved.clone())).then_some(()));
    let mut clients: Vec<Client> = (0..3).filter(|position| *position != leader).map(|at| cluster.client(at)).collect();
    cluster.kill(leader);
    for client in &mut clients {
        wait::until("another leader", || match client.call(&["TICKET"]) {
            // For a moment the old one may not be known to be dead.
            Value::Error(error) if error == moved => None,
            Value::Error(error) if error.starts_with("MOVED 0 ") => Some(()),
            Value::Integer(_) => Some(()),
            other => panic!("TICKET gave {other:?}"),
        });
    }
}

#[test]
fn a_new_leader_is_announced_to_sentinels_clients() {
    let cluster = Cluster::start(Module::ticket(), 3);
    let old = cluster.leader();
    let mut plain = cluster.client(old);
    let mut pushed = cluster.client3(old);
    for client in [&mut plain, &mut pushed] {
        client.call(&["SUBSCRIBE", "+switch-master"]);
    }
    let new = (old + 1) % 3;
    cluster.lead(new);
    let at = |position: usize| cluster.address(position).to_string().replace(':', " ");
    let event = [bulk("message"), bulk("+switch-master"), bulk(&format!("uhaha {} {}", at(old), at(new)))];
    assert_eq!(plain.receive(), Value::Array(event.to_vec()));
    assert_eq!(pushed.receive(), Value::Push(event.to_vec()));
    assert_eq!(pushed.call(&["PING"]).text(), "PONG", "RESP3 does both on one connection");
    for position in 0..3 {
        let mut client = cluster.client(position);
        let address = wait::until("the new address", || {
            let address = client.call(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "uhaha"]);
            (address.texts()[1] == cluster.address(new).port().to_string()).then_some(address)
        });
        assert_eq!(address.texts()[0], "127.0.0.1");
        assert_eq!(client.call(&["SENTINEL", "SENTINELS", "uhaha"]).array().len(), 2);
    }
}

#[test]
fn a_node_reads_its_own_state_if_it_is_asked_to() {
    let mut cluster = Cluster::start_with(Module::kvdb(), 3, &["--leader-wait", "300ms", "--max-staleness", "4s"]);
    let follower = cluster.follower();
    let mut client = cluster.client(follower);
    client.call(&["READONLY"]);
    for number in 0..200 {
        let value = number.to_string();
        assert_eq!(client.insist(&["SET", "key", &value]), ok());
        assert_eq!(client.insist(&["GET", "key"]).text(), value, "it reads what it has written");
    }
    // Alone, it answers for as long as what it has is new enough, and not a moment longer.
    for position in 0..3 {
        if position != follower {
            cluster.kill(position);
        }
    }
    assert_eq!(client.call(&["GET", "key"]).text(), "199");
    let refused = wait::until("the end of what it knows", || match client.call(&["GET", "key"]) {
        Value::Error(error) => Some(error),
        value => {
            assert_eq!(value.text(), "199");
            None
        }
    });
    assert!(refused.starts_with("CLUSTERDOWN"), "{refused}");
    assert_eq!(client.call(&["READWRITE"]), ok());
    client.call(&["GET", "key"]).assert_error("CLUSTERDOWN");
}

#[test]
fn open_reads_need_nobody_else() {
    let args = ["--openreads", "--max-staleness", "0", "--leader-wait", "300ms"];
    let mut cluster = Cluster::start_with(Module::kvdb(), 3, &args);
    let follower = cluster.follower();
    let mut client = cluster.client(follower);
    assert_eq!(client.insist(&["SET", "key", "1"]), ok());
    for position in 0..3 {
        if position != follower {
            cluster.kill(position);
        }
    }
    assert_eq!(client.call(&["GET", "key"]).text(), "1");
    assert_eq!(client.call(&["DBSIZE"]), int(1));
    assert_eq!(client.call(&["READWRITE"]), ok());
    client.call(&["GET", "key"]).assert_error("CLUSTERDOWN");
}

/// A lease changes how long a read takes, never what it sees.
#[test]
fn reads_by_lease_see_every_write() {
    let mut cluster = Cluster::start_with(Module::kvdb(), 3, &["--lease-reads"]);
    let mut clients: Vec<Client> = (0..3).map(|position| cluster.client(position)).collect();
    for number in 0..300 {
        let value = number.to_string();
        assert_eq!(clients[number % 3].call(&["SET", "key", &value]), ok());
        assert_eq!(clients[(number + 1) % 3].call(&["GET", "key"]).text(), value);
        if number % 50 == 49 {
            cluster.lead(number / 50 % 3);
        }
    }
    let leader = cluster.leader();
    cluster.kill(leader);
    let mut client = cluster.client(cluster.follower());
    assert_eq!(client.call(&["GET", "key"]).text(), "299");
    assert_eq!(client.call(&["SET", "key", "300"]), ok());
    assert_eq!(client.call(&["GET", "key"]).text(), "300");
}
