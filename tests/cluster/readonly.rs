//! Reads of a node's own state.

use std::net::TcpListener;
use uhaha_tests::proxy::{Mode, Proxy};
use uhaha_tests::{Cluster, Module, bulk, ok, wait};

/// The node asks the leader on a way of its own, and hears of no new entries.
#[test]
fn reads_of_one_connection_do_not_go_backwards() {
    let mut cluster = Cluster::start_with(Module::kvdb(), 1, &["--leader-wait", "500ms", "--max-staleness", "1h"]);
    // The system gives a port that it gave just now to nobody else for a while.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), address).unwrap();
    let advertised = proxy.address().to_string();
    let behind = cluster.add(&["--nonvoter", "--addr", &address.to_string(), "--advertise", &advertised]);
    let mut writer = cluster.client(0);
    // What was on its way to the node may still come.
    let mut round = 0;
    let (mut reader, new) = wait::until("a state that is behind", || {
        round += 1;
        let [old, new] = ["old", "new"].map(|age| format!("{age}-{round}"));
        assert_eq!(writer.call(&["SET", "a", &old]), ok());
        proxy.set(Mode::Silent);
        assert_eq!(writer.call(&["SET", "a", &new]), ok());
        let mut reader = cluster.client(behind);
        assert_eq!(reader.call(&["READONLY"]), ok());
        if reader.call(&["GET", "a"]) == bulk(&old) {
            return Some((reader, new));
        }
        proxy.set(Mode::Pass);
        None
    });

    assert_eq!(reader.call(&["READWRITE"]), ok());
    assert_eq!(reader.call(&["GET", "a"]), bulk(&new));
    assert_eq!(reader.call(&["READONLY"]), ok());
    assert_eq!(reader.call(&["GET", "a"]), bulk(&new));
    proxy.set(Mode::Pass);
    assert_eq!(reader.call(&["GET", "a"]), bulk(&new));
}
