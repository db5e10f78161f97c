//! Guests that do nothing for their snapshots, in Rust and in C: restarted, joined and restored by memory images alone.

use uhaha_tests::client::words;
use uhaha_tests::{Cluster, Module, Node, int, wait};

#[track_caller]
fn is_kept_by_images(module: Module) {
    let mut cluster = Cluster::start(module.clone(), 1);
    // One entry each, for the log keeps the last hundred behind a snapshot.
    (1..=150).for_each(|ticket| assert_eq!(cluster.client(0).call(&["TICKET"]), int(ticket)));
    let taken = cluster.client(0).call(&words("RAFT SNAPSHOT NOW"));
    let file = cluster.client(0).call(&["RAFT", "SNAPSHOT", "FILE", taken.fields()["id"]]).text().to_owned();
    wait::until("the purge", || (cluster.number(0, "purged_index") > 0).then_some(()));

    // Elsewhere, it goes on from where the image was taken.
    let restored = Node::new(module).args(&["--restore", &file]).start();
    assert_eq!(restored.client().call(&["TICKET"]), int(151));

    // A new node cannot have it from the log.
    cluster.add(&[]);
    cluster.wait_for_voters(2);
    cluster.wait_for_log(1, 0);
    assert!(cluster.number(1, "last_snapshot_index") > 0, "it came by snapshot");
    assert_eq!(cluster.client(1).call(&["TICKET"]), int(151));

    // Both start again, and what they have is equal to the byte.
    (0..2).for_each(|position| cluster.kill(position));
    (0..2).for_each(|position| cluster.restart_launched(position));
    (0..2).for_each(|position| cluster.server(position).wait_until_ready());
    let mut ticket = 151;
    let mut draw = |cluster: &Cluster| {
        ticket += 1;
        assert_eq!(cluster.client(0).call(&["TICKET"]), int(ticket));
    };
    draw(&cluster);
    // The mark of a snapshot makes everybody look at all of its state.
    cluster.client(cluster.leader()).call(&words("RAFT SNAPSHOT NOW")).fields();
    let [one, other] = wait::until("a mark that both have reached", || {
        draw(&cluster);
        let digest = |position| {
            let info = cluster.client(position).call(&words("RAFT INFO state_digest state_digest_index"));
            let fields = info.fields();
            (fields["state_digest_index"].to_owned(), fields["state_digest"].to_owned())
        };
        let digests = [0, 1].map(digest);
        (digests[0].0 != "0" && digests[0].0 == digests[1].0).then_some(digests)
    });
    assert_eq!(one, other);
}

#[test]
fn a_ticket_service_in_rust_is_kept_by_images() {
    is_kept_by_images(Module::ticket());
}

#[test]
fn a_ticket_service_in_c_is_kept_by_images() {
    is_kept_by_images(Module::ticket_in_c());
}
