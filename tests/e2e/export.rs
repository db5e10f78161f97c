//! `uhaha-server export` and `--import`: the state in the guest's own form, from one cluster to another.

use std::path::{Path, PathBuf};
use uhaha_tests::client::words;
use uhaha_tests::server::Ended;
use uhaha_tests::{Client, Module, Node, Server, Value, bulk, int, ok, wait};

fn export(data: &Path, to: &Path, args: &[&str]) -> Ended {
    let (data, to) = (data.to_str().unwrap(), to.to_str().unwrap());
    Node::bare().args(&["export", "--data", data, "--to", to]).args(args).run_to_end()
}

#[track_caller]
fn exported(node: &Node, args: &[&str]) -> PathBuf {
    let to = node.scratch().join("state.export");
    let ended = export(node.dir(), &to, args);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains(&format!("file           {}\n", to.display())), "{}", ended.stdout);
    to
}

/// One line on stderr with all the words, and exit code 1.
#[track_caller]
fn assert_refused(ended: &Ended, words: &[&str]) {
    assert_eq!((ended.code, &*ended.stdout), (Some(1), ""), "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap();
    for word in words {
        assert!(last.contains(word), "{word:?} is not in {last}");
    }
}

fn importing(node: &Node, name: &str, file: &Path) -> Node {
    node.with_dir(name).args(&["--import", file.to_str().unwrap()])
}

fn machine_time(client: &mut Client) -> u64 {
    client.call(&["MACHINE"]).fields()["now"].parse().unwrap()
}

fn time_to_live(client: &mut Client, key: &str) -> bool {
    client.call(&["GET", key]) != Value::Null
}

fn fill(server: &Server) {
    let mut client = server.client();
    let set = |n| vec!["SET".to_owned(), format!("key-{n}"), format!("{n}").repeat(300)];
    let commands: Vec<Vec<String>> = (0..2000).map(set).collect();
    assert!(client.pipeline(&commands).iter().all(|reply| *reply == ok()));
}

#[test]
fn the_state_of_a_killed_node_begins_another_cluster() {
    let node = Node::new(Module::kvdb());
    let server = node.start();
    fill(&server);
    let mut client = server.client();
    client.call(&words("RAFT SNAPSHOT NOW"));
    // Behind the snapshot, so in the log only.
    assert_eq!(client.call(&words("SET soon 1 EX 2")), ok());
    assert_eq!(client.call(&words("SET late 2 EX 10000")), ok());
    assert_eq!(client.call(&words("DEL key-0")), int(1));
    let before = machine_time(&mut client);
    server.kill();
    let file = exported(&node, &[]);

    let other = importing(&node, "other", &file);
    let server = other.start();
    let mut client = server.client();
    assert!(machine_time(&mut client) >= before, "machine time does not go back");
    assert!(time_to_live(&mut client, "late"));
    wait::until("the key to expire", || (!time_to_live(&mut client, "soon")).then_some(()));
    for n in [1, 7, 1999] {
        assert_eq!(client.call(&["GET", &format!("key-{n}")]), bulk(&format!("{n}").repeat(300)));
    }
    assert_eq!(client.call(&["DBSIZE"]), int(2000));
    assert_eq!(client.call(&words("SET own 1")), ok());
    // It is there after a kill, and the file is not read again.
    server.kill();
    std::fs::remove_file(&file).unwrap();
    let server = other.start();
    server.wait_for_log("--import is ignored");
    assert_eq!(server.client().call(&["DBSIZE"]), int(2001));
    server.kill();
    // The imported state is that of a snapshot of its own, which the log goes on from.
    let again = exported(&other, &[]);
    let third = importing(&other, "third", &again).start();
    assert_eq!(third.client().call(&["DBSIZE"]), int(2001));
    // And the first node knows nothing of it.
    assert_eq!(node.start().client().call(&["GET", "own"]), Value::Null);
}

fn portable() -> Module {
    Module::file(uhaha_tests::root().join("tests/guests/portable.wat"))
}

fn counting() -> Node {
    Node::new(portable()).args(&["--guest-start-fuel", "1000000"])
}

fn count_to(node: &Node, count: i64) {
    let server = node.start();
    let mut client = server.client();
    let from = client.call(&["R"]).integer();
    (from + 1..=count).for_each(|count| assert_eq!(client.call(&["A"]), int(count)));
    assert_eq!(server.stop().code, Some(0));
}

#[test]
fn a_guest_that_fails_to_save_leaves_no_file() {
    let node = counting();
    let to = node.scratch().join("state.export");
    let Module(module) = portable();
    let args = ["--module", &module, "--guest-start-fuel", "1000000"];
    let failures: [&[&str]; 5] = [
        &["the guest failed", "unreachable"],
        &["the guest refuses: not today"],
        &["1000000 units of fuel", "--guest-start-fuel"],
        &["portable-io.write: 1048577 is over the limit"],
        &["portable-io.read is for portable.load only"],
    ];
    for (count, words) in (1..).zip(failures) {
        count_to(&node, count);
        let ended = export(node.dir(), &to, &args);
        assert_refused(&ended, words);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        let left: Vec<_> = std::fs::read_dir(node.scratch()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["data"], "nothing is left of it");
    }
    count_to(&node, 6);
    assert_refused(&export(node.dir(), &to, &[&args[..], &["--max-bytes", "7"]].concat()), &["more than 7 bytes"]);
    assert_eq!(export(node.dir(), &to, &args).code, Some(0));
    // The guest had counted on while it saved.
    count_to(&node, 7);
}

#[test]
fn what_cannot_be_imported_leaves_no_directory_behind() {
    let node = counting();
    let failures: [(i64, &[&str]); 4] = [
        (6, &["the guest failed", "unreachable"]),
        (7, &["the guest refuses: not today"]),
        (8, &["1000000 units of fuel", "--guest-start-fuel"]),
        (9, &["portable-io.write is for portable.save only"]),
    ];
    let Module(module) = portable();
    let mut file = PathBuf::new();
    for (count, words) in failures {
        count_to(&node, count);
        file = exported(&node, &["--module", &module]);
        let other = importing(&node, "other", &file);
        assert_refused(&other.run_to_end(), words);
        assert!(!other.dir().join("counter").exists(), "no half of a node");
    }
    let other = |module: Module, file: &Path| importing(&node, "other", file).module(module);
    let good = std::fs::read(&file).unwrap();
    assert_refused(&other(Module::kvdb(), &file).run_to_end(), &["of a guest with the name counter", "kvdb"]);
    assert_refused(&other(portable(), Path::new("missing.export")).run_to_end(), &["missing.export"]);
    let damaged = node.scratch().join("damaged.export");
    for (at, word) in [(0, "not an export"), (8, "unknown version"), (good.len() / 2, "damaged at byte")] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        std::fs::write(&damaged, bytes).unwrap();
        assert_refused(&other(portable(), &damaged).run_to_end(), &["cannot import", word]);
    }
    std::fs::write(&damaged, &good[..good.len() - 1]).unwrap();
    assert_refused(&other(portable(), &damaged).run_to_end(), &["cut short"]);
    // What is no guest with such a form has none.
    let hostile_node = Node::new(Module::hostile());
    hostile_node.start().kill();
    let Module(hostile) = Module::hostile();
    let ended = export(hostile_node.dir(), &hostile_node.scratch().join("x"), &["--module", &hostile]);
    assert_refused(&ended, &["does not export `uhaha:machine/portable@0.1.0`"]);
    // The same directory takes a good one.
    assert!(!other(portable(), &file).dir().join("counter").exists());
    count_to(&node, 10);
    let file = exported(&node, &["--module", &module]);
    assert_eq!(other(portable(), &file).start().client().call(&["A"]), int(11));
}

/// Another module with the same name is another version of the guest.
#[test]
fn another_version_of_the_module_takes_the_state() {
    let node = counting();
    count_to(&node, 20);
    let Module(module) = portable();
    let to = node.scratch().join("state.export");
    assert_refused(&export(node.dir(), &to, &["--module", "builtin:kvdb"]), &["is not the module that wrote the log"]);
    assert_refused(&export(node.dir(), &to, &[]), &["the log was written with the module", "--module"]);
    let file = exported(&node, &["--module", &module]);
    let text = std::fs::read_to_string(&module).unwrap().replace("1.0.0", "1.0.1");
    let newer = node.scratch().join("newer.wat");
    std::fs::write(&newer, text).unwrap();
    let server = importing(&node, "newer", &file).module(Module::file(newer)).start();
    assert_eq!(server.client().call(&["A"]), int(21));
}

#[test]
fn an_import_excludes_other_beginnings() {
    for other in ["--restore x", "--join 127.0.0.1:1", "--force-new-cluster"] {
        let line = format!("--module builtin:kvdb --import x {other}");
        let ended = Node::bare().args(&line.split(' ').collect::<Vec<_>>()).run_to_end();
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(2), 1), "{}", ended.stderr);
        assert!(ended.stderr.contains("exclude each other"), "{}", ended.stderr);
    }
    let usage = Node::bare().args(&["export", "--data", "x"]).run_to_end();
    assert_eq!((usage.code, usage.stderr.lines().count()), (Some(2), 1), "{}", usage.stderr);
    assert!(usage.stderr.contains("--to"), "{}", usage.stderr);
}
