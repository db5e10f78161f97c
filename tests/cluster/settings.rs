//! How clusters come to other limits and to another engine: node by node, and for all at one entry.

use uhaha_tests::{Cluster, Module, Value, int, ok, wait};

/// What a node itself has, not older than what the leader has applied.
fn own(cluster: &Cluster, position: usize, command: &[&str]) -> Value {
    cluster.wait_for_log(position, cluster.leader());
    let mut client = cluster.client(position);
    assert_eq!(client.call(&["READONLY"]), ok());
    client.call(command)
}

fn limit(cluster: &Cluster, position: usize, name: &str) -> String {
    cluster.client(position).call(&["MACHINE", "LIMITS"]).fields()[name].to_owned()
}

/// Followers first, so that the leader changes once.
fn leader_last(cluster: &Cluster) -> Vec<usize> {
    let leader = cluster.leader();
    let followers = cluster.running().into_iter().filter(|position| *position != leader);
    followers.chain([leader]).collect()
}

#[test]
fn a_limit_changes_for_all_when_the_last_node_is_restarted_with_it() {
    let few = ["--guest-fuel", "30000"];
    let mut cluster = Cluster::start_with(Module::kvdb(), 3, &few);
    assert_eq!(cluster.client(0).call(&["SET", "key", "value"]), ok());
    let keys: Vec<String> = (0..1000).map(|number| format!("absent-{number}")).collect();
    let costly: Vec<&str> = ["DEL", "key"].into_iter().chain(keys.iter().map(String::as_str)).collect();
    let more = ["--guest-fuel", "1000000000"];
    for position in leader_last(&cluster) {
        cluster.leader();
        for asked in cluster.running() {
            cluster.client(asked).call(&costly).assert_error("FUEL DEL at index ");
            assert_eq!(limit(&cluster, asked, "guest-fuel"), "30000");
        }
        cluster.running().into_iter().for_each(|each| assert_eq!(own(&cluster, each, &["DBSIZE"]), int(1)));
        cluster.stop(position);
        cluster.restart_with(position, &more);
    }
    let deleted = wait::until("the new limit", || match cluster.client(0).call(&costly) {
        Value::Integer(deleted) => Some(deleted),
        _ => None,
    });
    assert_eq!(deleted, 1);
    for position in cluster.running() {
        assert_eq!(own(&cluster, position, &["DBSIZE"]), int(0));
        assert_eq!(limit(&cluster, position, "guest-fuel"), "1000000000");
    }
    // Each replays the log from its beginning, across the change, to the same.
    for position in leader_last(&cluster) {
        cluster.kill(position);
        cluster.restart_with(position, &more);
        assert_eq!(own(&cluster, position, &["DBSIZE"]), int(0));
        assert_eq!(own(&cluster, position, &["GET", "key"]), Value::Null);
    }
}

#[test]
fn the_leader_says_which_node_wants_what() {
    let mut cluster = Cluster::start(Module::hostile(), 3);
    assert_eq!(cluster.client(0).call(&["INCR"]), int(1));
    let other = cluster.follower();
    cluster.stop(other);
    cluster.restart_with(other, &["--guest-fuel", "7"]);
    let line = cluster.server(cluster.leader()).wait_for_log("nodes want other settings");
    assert!(line.contains(&format!("{}: guest-fuel=7", other + 1)), "{line}");
    assert_eq!(limit(&cluster, other, "wanted-guest-fuel"), "7");
    assert_eq!(cluster.client(other).call(&["INCR"]), int(2));
}

/// The tests have one engine, so it is told to call itself otherwise, which only a debug build does.
#[cfg(debug_assertions)]
const ENGINE: &str = "UHAHA_ENGINE_REVISION";

#[cfg(debug_assertions)]
#[test]
fn a_cluster_moves_to_another_engine_once_every_voter_has_it() {
    let mut cluster = Cluster::start_with(Module::hostile(), 3, &["--leader-wait", "200ms"]);
    assert_eq!(cluster.client(0).insist(&["INCR"]), int(1));
    let order = leader_last(&cluster);
    for position in &order {
        assert_eq!(own(&cluster, *position, &["GET"]).array()[0], int(1));
        cluster.client(*position).call(&["RAFT", "SNAPSHOT", "NOW"]);
    }
    for position in &order {
        cluster.stop(*position);
        cluster.set_env(*position, ENGINE, "next");
    }
    for position in &order[..2] {
        cluster.restart(*position);
    }
    let leader = cluster.leader();
    cluster.client(leader).call(&["INCR"]).assert_error("CLUSTERDOWN ");
    assert_eq!(cluster.client(leader).insist(&["GET"]).array()[0], int(1), "reads need no entry");
    cluster.restart(order[2]);
    wait::until("the new engine", || limit(&cluster, leader, "engine").ends_with("/next").then_some(()));
    assert_eq!(cluster.client(leader).insist(&["INCR"]), int(2));
    for position in cluster.running() {
        assert_eq!(own(&cluster, position, &["GET"]).array()[0], int(2));
    }
}

#[cfg(debug_assertions)]
#[test]
fn a_node_with_another_engine_is_not_let_in() {
    let cluster = Cluster::start(Module::hostile(), 1);
    let refused = cluster.node("2").env(ENGINE, "other").run_to_end();
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("it has another engine (") && refused.stderr.contains("/other)"),
        "{}",
        refused.stderr
    );
}
