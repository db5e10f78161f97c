//! What earlier versions have left is read by this one, and what later ones leave is refused.

use std::path::{Path, PathBuf};
use uhaha_tests::fixtures::{self, CLUSTER, DATA, Fixture, KILLED, STOPPED};
use uhaha_tests::server::{Ended, Scratch, Server};
use uhaha_tests::{Client, Module, Node, Value, bulk, int, wait};

struct Unpacked {
    fixture: Fixture,
    scratch: Scratch,
}

impl Unpacked {
    fn new(fixture: Fixture) -> Unpacked {
        let scratch = Scratch::new();
        fixture.unpack(scratch.path());
        Unpacked { fixture, scratch }
    }

    fn path(&self) -> &Path {
        self.scratch.path()
    }

    fn module(&self) -> Module {
        Module::file(fixtures::module(self.path()))
    }

    fn nodes(&self) -> Vec<PathBuf> {
        fixtures::nodes(self.path())
    }

    fn node(&self, dir: &str) -> Node {
        Node::bare().data_of(self.module(), self.path().join(dir))
    }

    fn tool(&self, name: &str, node: &Path, args: &[&str]) -> Ended {
        let Module(module) = self.module();
        let command = [name, "--module", &module, "--data", node.to_str().unwrap()];
        Node::bare().args(&command).args(args).run_to_end()
    }

    /// Replays all nodes up to the entries of the facts, and compares the digests.
    fn assert_digests(&self) {
        let facts = self.fixture.facts();
        for node in self.nodes() {
            let id = node.file_name().unwrap().to_str().unwrap();
            let expected = |name: &str| &*facts[&format!("node {id}, {name}")];
            let last = expected("entries").rsplit(' ').next().unwrap();
            let ended = self.tool("replay", &node, &["--until", last]);
            assert_eq!(ended.code, Some(0), "{:?}: {}", self.fixture, ended.stderr);
            for name in ["running digest", "state digest"] {
                let found = ended.stdout.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
                assert_eq!(found, expected(name), "{:?}, node {id}, {name}", self.fixture);
            }
        }
    }
}

fn size(client: &mut Client) -> i64 {
    client.call(&["DBSIZE"]).integer()
}

fn assert_stopped(client: &mut Client) {
    assert_eq!(client.call(&["GET", "key-0"]), Value::Null);
    for (key, value) in [("key-7", "changed"), ("key-12", "changed again"), ("key-119", &"value".repeat(100))] {
        assert_eq!(client.call(&["GET", key]), bulk(value), "{key}");
    }
    assert_eq!(size(client), 120, "with the key that expires late");
}

#[test]
fn the_data_of_a_node_that_was_stopped_is_read() {
    for fixture in fixtures::named(STOPPED) {
        let data = Unpacked::new(fixture);
        data.assert_digests();
        let server = data.node(DATA).start();
        assert_stopped(&mut server.client());
        assert_eq!(server.client().call(&["SET", "new", "1"]), uhaha_tests::ok());
        assert_eq!(server.stop().code, Some(0));
        // It goes on, and what was there is still there.
        data.assert_digests();
        let server = data.node(DATA).start();
        assert_eq!(size(&mut server.client()), 121);
    }
}

#[test]
fn the_data_of_a_node_that_was_stopped_is_exported_and_imported() {
    for fixture in fixtures::named(STOPPED) {
        let data = Unpacked::new(fixture);
        let export = data.path().join("state.export");
        let ended = data.tool("export", &data.nodes()[0], &["--to", export.to_str().unwrap()]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let server = data.node("imported").args(&["--import", export.to_str().unwrap()]).start();
        assert_stopped(&mut server.client());
    }
}

#[test]
fn the_data_of_a_node_that_was_killed_is_read() {
    for fixture in fixtures::named(KILLED) {
        let data = Unpacked::new(fixture);
        data.assert_digests();
        let server = data.node(DATA).args(&["--guest-fuel", "1000000"]).start();
        let mut client = server.client();
        // The commands that failed have left no trace, but for those that replied with an error of their own.
        assert_eq!(client.call(&["INCR"]), int(11));
        client.call(&["TRAP"]).assert_error("TRAP");
        assert_eq!(client.call(&["INCR"]), int(12));
    }
}

#[test]
fn the_data_of_a_cluster_is_read() {
    for fixture in fixtures::named(CLUSTER) {
        let data = Unpacked::new(fixture);
        data.assert_digests();
        // The addresses stand in the log.
        let hosts = ["127.83.21.1:21083", "127.83.21.2:21083", "127.83.21.3:21083"];
        let start = |(id, host): (usize, &str)| {
            let args = format!("--id {id} --addr {host} --guest-fuel 1000000");
            data.node(&format!("{DATA}/{id}")).args(&args.split(' ').collect::<Vec<_>>()).launch()
        };
        let servers: Vec<Server> = (1..).zip(hosts).map(start).collect();
        servers.iter().for_each(Server::wait_until_ready);
        assert_eq!(servers[1].client().call(&["INCR"]), int(124));
        let digest = |server: &Server| {
            let info = server.client().call(&["RAFT", "INFO", "applied_index"]);
            info.fields()["applied_index"].to_owned()
        };
        wait::until("the same entries", || {
            let indexes: Vec<String> = servers.iter().map(digest).collect();
            indexes.iter().all(|index| *index == indexes[0]).then_some(())
        });
        for server in servers {
            assert_eq!(server.stop().code, Some(0));
        }
        data.assert_digests();
    }
}

#[test]
fn the_data_of_a_later_version_is_refused_and_left_alone() {
    let data = Unpacked::new(fixtures::named(KILLED).pop().unwrap());
    let node = &data.nodes()[0];
    std::fs::write(node.join("FORMAT"), "uhaha-server data 999\n").unwrap();
    let before = std::fs::read(node.join("log.redb")).unwrap();
    let started = data.node(DATA).args(&["--level", "error"]).run_to_end();
    let export = data.path().join("state.export");
    let tools = [data.tool("replay", node, &[]), data.tool("export", node, &["--to", export.to_str().unwrap()])];
    for ended in tools.iter().chain([&started]) {
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{}", ended.stderr);
        assert!(ended.stderr.contains("uhaha-server data 999"), "{}", ended.stderr);
        assert!(ended.stderr.contains("start the version that wrote it"), "{}", ended.stderr);
    }
    assert!(std::fs::read(node.join("log.redb")).unwrap() == before);
    assert!(!export.exists());
}
