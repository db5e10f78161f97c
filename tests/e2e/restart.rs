//! What was acknowledged is there after a restart, however the process ended.

use uhaha_tests::client::words;
use uhaha_tests::{Module, Node, bulk, int, ok, wait};

#[test]
fn a_clean_restart_goes_on_where_it_stopped() {
    let node = Node::new(Module::ticket());
    for first in [1, 4, 7] {
        let server = node.start();
        let mut client = server.client();
        for ticket in first..first + 3 {
            assert_eq!(client.call(&["TICKET"]), int(ticket));
        }
        let ended = server.stop();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
}

#[test]
fn kill_9_keeps_all_that_was_acknowledged() {
    let node = Node::new(Module::kvdb());
    for round in 0..3 {
        let server = node.start();
        let mut client = server.client();
        assert_eq!(client.call(&["DBSIZE"]), int(round * 100));
        let key = |n| format!("{round}-{n}");
        let commands: Vec<_> = (0..100).map(|n| vec!["SET".to_owned(), key(n), n.to_string()]).collect();
        assert!(client.pipeline(&commands).iter().all(|reply| *reply == ok()));
        server.kill();
        let server = node.start();
        let mut client = server.client();
        assert_eq!(client.call(&["DBSIZE"]), int((round + 1) * 100));
        assert_eq!(client.call(&["GET", &key(42)]), bulk("42"));
        server.kill();
    }
}

/// Time does not stand still while a node is down, and never goes back.
#[test]
fn keys_expire_while_the_node_is_down() {
    let node = Node::new(Module::kvdb());
    let server = node.start();
    let mut client = server.client();
    assert_eq!(client.call(&words("SET brief 1 EX 0.2")), ok());
    assert_eq!(client.call(&words("SET long 1 EX 1000")), ok());
    let now: u64 = client.call(&["MACHINE"]).fields()["now"].parse().unwrap();
    server.kill();
    let server = node.start();
    let mut client = server.client();
    let later: u64 = client.call(&["MACHINE"]).fields()["now"].parse().unwrap();
    assert!(later >= now, "{later} is before {now}");
    wait::until("the key to expire", || (client.call(&["DBSIZE"]) == int(1)).then_some(()));
    assert_eq!(client.call(&["GET", "long"]), bulk("1"));
}

#[test]
fn a_kill_during_start_up_does_no_harm() {
    let node = Node::new(Module::ticket());
    let server = node.start();
    let commands: Vec<Vec<&str>> = (0..5000).map(|_| vec!["TICKET"]).collect();
    assert_eq!(server.client().pipeline(&commands).last(), Some(&int(5000)));
    server.kill();
    for _ in 0..5 {
        let mut child = node.command().stderr(std::process::Stdio::null()).spawn().unwrap();
        // At once, or a moment later: wherever the start has come to, the data must stay good.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(node.start().client().call(&["TICKET"]), int(5001));
}
