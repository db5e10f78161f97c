//! Guests that do nothing for their snapshots, each of another language: restarted, joined and restored by memory images
//! alone.

use uhaha_tests::client::words;
use uhaha_tests::guarantees::{images_are_enough, states_are_equal};
use uhaha_tests::{Cluster, Module, Value, int, wait};

#[test]
fn a_ticket_service_in_rust_is_kept_by_images() {
    images_are_enough(Module::ticket());
}

#[test]
fn a_ticket_service_in_c_is_kept_by_images() {
    images_are_enough(Module::ticket_in_c());
}

#[test]
fn a_ticket_service_in_javascript_is_kept_by_images() {
    images_are_enough(Module::ticket_in_javascript());
}

/// The standard library of a guest for WASI 0.2 keeps the streams that it has opened: the restarted node and the new one
/// print to handles that they never opened.
#[test]
fn wasi_handles_are_kept_by_images() {
    let mut cluster = Cluster::start(Module::teller(), 1);
    let mut told = 0;
    let mut tell = |cluster: &Cluster, command: &[&str]| {
        told += 1;
        let reply = cluster.client(0).call(command);
        match command[0] {
            "WAIT" => assert_eq!(reply, Value::Array(vec![int(0), int(1), int(told)])),
            _ => assert_eq!(reply, int(told)),
        }
    };
    for _ in 0..50 {
        tell(&cluster, &["TELL", "first"]);
        tell(&cluster, &["WARN", "first"]);
        tell(&cluster, &["WAIT"]);
    }
    cluster.client(0).call(&words("RAFT SNAPSHOT NOW")).fields();
    wait::until("the purge", || (cluster.number(0, "purged_index") > 0).then_some(()));
    cluster.add(&[]);
    cluster.wait_for_voters(2);
    cluster.wait_for_log(1, 0);
    assert!(cluster.number(1, "last_snapshot_index") > 0, "it came by snapshot");

    (0..2).for_each(|position| cluster.kill(position));
    (0..2).for_each(|position| cluster.restart_launched(position));
    (0..2).for_each(|position| cluster.server(position).wait_until_ready());
    tell(&cluster, &["TELL", "second"]);
    tell(&cluster, &["WARN", "second"]);
    for position in [0, 1] {
        let server = cluster.server(position);
        assert!(server.wait_for_log("told second").contains(" INFO guest: "));
        assert!(server.wait_for_log("warned of second").contains(" WARN guest: "));
    }
    cluster.client(0).call(&["FAIL", "third"]).assert_error("TRAP FAIL at index ");
    states_are_equal(&cluster, || tell(&cluster, &["WAIT"]));
}
