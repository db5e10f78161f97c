//! Limits and the engine are the log's, whatever a node is started with.

use uhaha_tests::{Module, Node, Server, int};

fn node(reply: &str) -> Node {
    Node::new(Module::hostile()).args(&["--guest-reply", reply])
}

/// The counter, as the guest keeps it in memory.
fn counter(server: &Server) -> i64 {
    server.client().call(&["GET"]).array()[0].integer()
}

fn limit(server: &Server, name: &str) -> String {
    server.client().call(&["MACHINE", "LIMITS"]).fields()[name].to_owned()
}

#[test]
fn a_node_alone_has_another_limit_from_its_restart_on() {
    let node = node("1KiB");
    let server = node.start();
    server.client().call(&["HUGE"]).assert_error("TOOBIG HUGE at index ");
    assert_eq!(limit(&server, "guest-reply"), "1024");
    server.stop();
    let server = node.args(&["--guest-reply", "1MiB"]).start();
    assert!(server.client().call(&["HUGE"]).bytes().len() > 1024);
    let line = server.wait_for_log("the cluster's settings changed");
    assert!(line.contains("guest-reply=1048576") && line.contains("guest-reply=1024"), "{line}");
    assert_eq!(limit(&server, "guest-reply"), "1048576");
    assert_eq!(limit(&server, "wanted-guest-reply"), "1048576");
    assert_eq!(counter(&server), 1);
}

/// Under the new limit, what had failed would succeed and count.
#[test]
fn a_log_written_under_the_old_limit_is_applied_under_it_again() {
    let node = node("1KiB");
    let server = node.start();
    let mut client = server.client();
    for count in 1..=3 {
        assert_eq!(client.call(&["INCR"]), int(count));
        client.call(&["HUGE"]).assert_error("TOOBIG ");
    }
    server.kill();
    let node = node.args(&["--guest-reply", "1MiB"]);
    let server = node.start();
    assert_eq!(counter(&server), 3);
    assert!(server.client().call(&["HUGE"]).bytes().len() > 1024);
    assert_eq!(counter(&server), 4);
    server.kill();
    // And across the change, by a node that wants the old limit again.
    let server = node.args(&["--guest-reply", "1KiB"]).start();
    assert_eq!(counter(&server), 4);
    server.client().call(&["HUGE"]).assert_error("TOOBIG ");
    assert_eq!(counter(&server), 4);
}

#[test]
fn a_snapshot_carries_the_settings_in_force() {
    let node = node("1KiB");
    let server = node.start();
    server.client().call(&["HUGE"]).assert_error("TOOBIG ");
    server.client().call(&["RAFT", "SNAPSHOT", "NOW"]);
    server.kill();
    let server = node.args(&["--guest-reply", "2KiB"]).start();
    let line = server.wait_for_log("the cluster's settings changed");
    assert!(line.contains("guest-reply=2048") && line.contains("guest-reply=1024"), "{line}");
}

/// The tests have one engine, so it is told to call itself otherwise, which only a debug build does.
#[cfg(debug_assertions)]
const ENGINE: &str = "UHAHA_ENGINE_REVISION";

#[cfg(debug_assertions)]
#[test]
fn another_engine_applies_nothing_of_the_old_log_and_goes_on_from_a_snapshot() {
    let node = Node::new(Module::hostile());
    let (old, new) = (node.clone().env(ENGINE, "old"), node.env(ENGINE, "new"));
    let server = old.start();
    assert_eq!(server.client().call(&["INCR"]), int(1));
    server.kill();

    let refused = new.run_to_end();
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    let line = refused.stderr.lines().last().unwrap();
    assert!(line.contains("/old") && line.contains("/new") && line.contains("RAFT SNAPSHOT NOW"), "{line}");

    let server = old.start();
    assert_eq!(counter(&server), 1, "nothing has happened to the data");
    server.client().call(&["RAFT", "SNAPSHOT", "NOW"]);
    server.stop();
    let server = new.start();
    assert_eq!(server.client().call(&["INCR"]), int(2));
    let line = server.wait_for_log("the cluster's settings changed");
    assert!(line.contains("/old") && line.contains("/new"), "{line}");
    assert!(limit(&server, "engine").ends_with("/new"));
    server.kill();
    assert_eq!(counter(&new.start()), 2, "the old engine's part is in the snapshot");
    let refused = old.run_to_end();
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("/new, and this node has"), "{}", refused.stderr);
}

#[test]
fn limits_that_cannot_be_obeyed_are_refused() {
    for (args, said) in [
        (&["--guest-tick-fuel", "0"][..], "--guest-tick-fuel must not be 0"),
        (&["--guest-replies", "2GiB"], "--guest-replies must not be more than 1GiB"),
        (&["--guest-reply", "65MiB", "--guest-replies", "64MiB"], "--guest-reply (65MiB) must not be larger than"),
        (&["--guest-start-fuel", "1"], "it used more than 1 units of fuel"),
        (&["--guest-memory", "64KiB"], "is refused"),
    ] {
        let ended = Node::new(Module::hostile()).args(args).run_to_end();
        assert!(ended.code != Some(0) && ended.stderr.contains(said), "{args:?}: {}", ended.stderr);
    }
}
