//! `--force-new-cluster`: what is left of a cluster whose majority is lost for good.

use uhaha_tests::{Cluster, Module, Node, Server, ok, wait};

fn members(server: &Server) -> usize {
    server.client().call(&["RAFT", "SERVER", "LIST"]).array().len()
}

#[test]
fn the_last_node_goes_on_alone_with_everything_acknowledged() {
    let mut cluster = Cluster::start_with(Module::kvdb(), 3, &["--leader-wait", "200ms"]);
    let mut client = cluster.client(cluster.leader());
    for number in 0..200 {
        assert_eq!(client.insist(&["SET", &format!("key-{number}"), &number.to_string()]), ok());
    }
    let left = cluster.follower();
    cluster.wait_for_log(left, cluster.leader());
    let lost: Vec<usize> = (0..3).filter(|position| *position != left).collect();
    for position in &lost {
        cluster.kill(*position);
    }
    cluster.client(left).call(&["SET", "a", "1"]).assert_error("CLUSTERDOWN");
    cluster.kill(left);

    let node = cluster.node_of(left).clone().args(&["--addr", &cluster.address(left).to_string()]);
    let forced = node.clone().args(&["--force-new-cluster"]);
    let server = forced.start();
    server.wait_for_log("this node goes on alone");
    assert_eq!(members(&server), 1);
    let mut client = server.client();
    for number in 0..200 {
        assert_eq!(client.call(&["GET", &format!("key-{number}")]).text(), number.to_string());
    }
    assert_eq!(client.call(&["SET", "after", "1"]), ok());

    // Who comes back from the dead belongs to another cluster now.
    cluster.restart_launched(lost[0]);
    cluster.server(lost[0]).wait_for_log("the nodes belong to different clusters");
    cluster.kill(lost[0]);

    // A unit file in which the flag was forgotten does no harm.
    let joining = Node::new(Module::kvdb()).args(&["--id", "new", "--join", &server.address().to_string()]);
    let joined = joining.start();
    wait::until("the member", || (members(&server) == 2).then_some(()));
    drop(server.stop());
    let server = forced.start();
    server.wait_for_log("--force-new-cluster is ignored");
    assert_eq!(members(&server), 2);
    assert_eq!(joined.client().call(&["GET", "after"]).text(), "1");
    // A start without it makes it count again.
    drop(server.stop());
    let server = node.start();
    assert_eq!(members(&server), 2);
    drop(server.stop());
    joined.kill();
    let server = forced.start();
    assert_eq!(members(&server), 1);
    assert_eq!(server.client().call(&["GET", "after"]).text(), "1");
}

#[test]
fn a_snapshot_read_from_another_node_begins_a_cluster() {
    let cluster = Cluster::start(Module::kvdb(), 2);
    let mut client = cluster.client(cluster.leader());
    for number in 0..100 {
        assert_eq!(client.call(&["SET", &format!("key-{number}"), &number.to_string()]), ok());
    }
    let follower = cluster.follower();
    cluster.wait_for_log(follower, cluster.leader());
    let mut client = cluster.client(follower);
    let now = client.call(&["RAFT", "SNAPSHOT", "NOW"]);
    let id = now.fields()["id"].to_owned();
    let read = client.call(&["RAFT", "SNAPSHOT", "READ", &id]);
    let uhaha_tests::Value::Bulk(bytes) = read else { panic!("{read:?}") };
    let node = Node::new(Module::kvdb());
    let file = node.scratch().join("downloaded.snap");
    std::fs::write(&file, bytes).unwrap();
    let server = node.args(&["--restore", file.to_str().unwrap()]).start();
    assert_eq!(members(&server), 1);
    for number in 0..100 {
        assert_eq!(server.client().call(&["GET", &format!("key-{number}")]).text(), number.to_string());
    }
}

#[test]
fn there_must_be_something_to_go_on_with() {
    let ended = Node::new(Module::kvdb()).args(&["--force-new-cluster"]).run_to_end();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("--force-new-cluster needs the data of a node"), "{}", ended.stderr);
}
