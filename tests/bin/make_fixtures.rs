//! Makes the fixtures of this version; `cargo xtask fixtures` runs it. Those that are there are replaced, so it is for
//! versions that are not released.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a task that a person starts ends with the first surprise"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use uhaha_server::storage::snapshots::Snapshots;
use uhaha_tests::client::words;
use uhaha_tests::fixtures::{self, CLUSTER, DATA, Fixture, KILLED, STOPPED};
use uhaha_tests::server::Scratch;
use uhaha_tests::{Client, Module, Node, Server, int, ok, wait};

/// The log keeps the last hundred entries behind a snapshot.
const ENTRIES: usize = 120;
/// The cluster's addresses are in its log, so they must be free when it is started again.
const HOSTS: [&str; 3] = ["127.83.21.1:21083", "127.83.21.2:21083", "127.83.21.3:21083"];

fn main() {
    let version = Node::bare().args(&["--version"]).run_to_end().stdout;
    let version = version.split_whitespace().next_back().unwrap();
    for (name, make) in [(STOPPED, stopped as fn(&Path)), (KILLED, killed), (CLUSTER, cluster)] {
        let scratch = Scratch::new();
        make(scratch.path());
        // Compiled code is no data.
        for dir in [DATA.to_owned()].iter().chain(&(1..=3).map(|n| format!("{DATA}/{n}")).collect::<Vec<_>>()) {
            let _ = std::fs::remove_dir_all(scratch.path().join(dir).join("cache"));
        }
        let facts = facts(scratch.path());
        let fixture = Fixture::new(version, name);
        fixture.pack(scratch.path(), &facts);
        let bytes = std::fs::metadata(fixture.path("tar.gz")).unwrap().len();
        println!("{}: {bytes} bytes", fixture.path("tar.gz").display());
    }
}

/// The module with which the fixture goes, whatever becomes of the one in the sources.
fn module(from: &str, to: &Path) -> Module {
    let from = uhaha_tests::root().join(from);
    let copy = to.join(from.file_name().unwrap());
    std::fs::copy(from, &copy).unwrap();
    Module::file(copy)
}

fn start(module: &Module, dir: PathBuf, args: &[&str]) -> Server {
    // Small, so that each byte of it can be damaged in turn.
    Node::bare().data_of(module.clone(), dir).args(&["--wal-bytes", "32KiB"]).args(args).start()
}

fn set(client: &mut Client, range: std::ops::Range<usize>, value: &str) {
    for n in range {
        assert_eq!(client.call(&["SET", &format!("key-{n}"), value]), ok());
    }
}

fn purged(client: &mut Client) {
    wait::until("the log to be purged", || {
        let purged = client.call(&words("RAFT INFO purged_index")).fields()["purged_index"].parse::<u64>();
        purged.is_ok_and(|index| index > 0).then_some(())
    });
}

fn stopped(scratch: &Path) {
    let module = module("examples/prebuilt/kvdb.wasm", scratch);
    let dir = scratch.join(DATA);
    let server = start(&module, dir.clone(), &["--digest-interval", "100ms"]);
    let mut client = server.client();
    set(&mut client, 0..ENTRIES, &"value".repeat(100));
    assert_eq!(client.call(&words("SET late 1 EX 100000000")), ok());
    client.call(&words("RAFT SNAPSHOT NOW"));
    purged(&mut client);
    set(&mut client, 0..5, "changed");
    client.call(&words("RAFT SNAPSHOT NOW"));
    set(&mut client, 5..10, "changed");
    assert_eq!(server.stop().code, Some(0));
    // Another limit is another entry of settings.
    let server = start(&module, dir, &["--digest-interval", "100ms", "--guest-reply", "1MiB"]);
    let mut client = server.client();
    assert_eq!(client.call(&words("DEL key-0")), int(1));
    set(&mut client, 10..ENTRIES / 4, "changed again");
    assert_eq!(server.stop().code, Some(0));
    let node = &fixtures::nodes(scratch)[0];
    let kinds = Snapshots::open_to_read(node.join("snapshots")).list().unwrap();
    assert!(kinds.iter().any(|info| info.parent.is_some()) && kinds.iter().any(|info| info.parent.is_none()));
}

fn killed(scratch: &Path) {
    let module = module("tests/guests/hostile.wat", scratch);
    let server = start(&module, scratch.join(DATA), &["--guest-fuel", "1000000", "--digest-interval", "100ms"]);
    let mut client = server.client();
    for _ in 0..4 {
        for name in ["INCR", "TRAP", "NOW", "RANDOM", "SPIN", "GROW", "FAIL", "HALF"] {
            client.call(&[name]);
        }
    }
    client.pipeline(&[vec!["INCR"], vec!["TRAP"], vec!["INCR"]]);
    server.kill();
}

fn cluster(scratch: &Path) {
    let module = module("tests/guests/hostile.wat", scratch);
    let mut servers = Vec::new();
    for (n, host) in (1..).zip(HOSTS) {
        let mut args = format!("--id {n} --addr {host} --guest-fuel 1000000");
        if n > 1 {
            args += &format!(" --join {}", HOSTS[0]);
        }
        let dir = scratch.join(DATA).join(n.to_string());
        servers.push(start(&module, dir, &args.split(' ').collect::<Vec<_>>()));
    }
    let mut client = servers[0].client();
    let number = |client: &mut Client, field: &str| -> u64 {
        client.call(&["RAFT", "INFO", field]).fields()[field].parse().unwrap()
    };
    for _ in 0..ENTRIES {
        client.call(&["INCR"]);
    }
    for name in ["TRAP", "SPIN", "NOW", "INCR"] {
        client.call(&[name]);
    }
    for server in &servers {
        server.client().call(&words("RAFT SNAPSHOT NOW"));
        purged(&mut server.client());
    }
    client.call(&["INCR"]);
    client.call(&words("RAFT SERVER DEMOTE 3"));
    client.call(&words("RAFT SERVER PROMOTE 3"));
    client.call(&["INCR"]);
    let last = number(&mut client, "applied_index");
    for server in &servers {
        let mut client = server.client();
        wait::until("the log", || (number(&mut client, "applied_index") >= last).then_some(()));
    }
    // The leader hands over to one that is still there.
    for server in servers {
        assert_eq!(server.stop().code, Some(0));
    }
}

/// What a replay of each node says.
fn facts(scratch: &Path) -> BTreeMap<String, String> {
    let module = fixtures::module(scratch);
    let mut facts = BTreeMap::new();
    for node in fixtures::nodes(scratch) {
        let args = ["replay", "--module", module.to_str().unwrap(), "--data", node.to_str().unwrap()];
        let ended = Node::bare().args(&args).run_to_end();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let id = node.file_name().unwrap().to_str().unwrap();
        for name in ["entries", "running digest", "state digest"] {
            let value = ended.stdout.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            facts.insert(format!("node {id}, {name}"), value.trim().to_owned());
        }
    }
    facts
}
