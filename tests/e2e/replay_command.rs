//! `uhaha-server replay`: the log of a node that was killed, applied again; and another module on the same log.

use rustix::process::Signal;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use uhaha_tests::client::words;
use uhaha_tests::server::{Ended, files};
use uhaha_tests::{Client, Module, Node, int, wait};

const LIMITS: [&str; 6] = ["--guest-fuel", "1000000", "--guest-memory", "4MiB", "--guest-reply", "64KiB"];

/// Ticks would come between the commands whose entries are counted.
fn node(module: Module) -> Node {
    Node::new(module).args(&LIMITS).args(&["--tick", "1h"])
}

fn replay(data: &Path, args: &[&str]) -> Ended {
    Node::bare().args(&["replay", "--data", data.to_str().unwrap()]).args(&LIMITS).args(args).run_to_end()
}

fn hostile() -> String {
    let Module(path) = Module::hostile();
    path
}

/// What stands behind a name in the summary.
#[track_caller]
fn fact<'a>(ended: &'a Ended, name: &str) -> &'a str {
    let line = ended.stdout.lines().find_map(|line| line.trim_start().strip_prefix(name));
    line.unwrap_or_else(|| panic!("{name:?} is not in {}{}", ended.stdout, ended.stderr)).trim()
}

#[track_caller]
fn digests(ended: &Ended) -> (&str, &str) {
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{}", ended.stdout);
    (fact(ended, "running digest"), fact(ended, "state digest"))
}

fn applied(client: &mut Client) -> u64 {
    client.call(&words("RAFT INFO applied_index")).fields()["applied_index"].parse().unwrap()
}

/// Commands that do all that can go wrong, each in an entry of its own.
fn rough(client: &mut Client) {
    for name in ["INCR", "TRAP", "NOW", "RANDOM", "SPIN", "GROW", "FAIL", "BLOAT", "INCR"] {
        client.call(&[name]);
    }
}

/// All files with what is in them.
fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files(dir).into_iter().map(|file| (file.clone(), std::fs::read(&file).unwrap())).collect()
}

#[test]
fn the_log_of_a_killed_node_is_replayed_and_nothing_changes() {
    let node = node(Module::hostile());
    let server = node.start();
    let mut client = server.client();
    rough(&mut client);
    client.pipeline(&[vec!["INCR"], vec!["TRAP"], vec!["INCR"]]);
    let last = applied(&mut client).to_string();
    server.kill();
    let before = content(node.dir());
    let traced = replay(&node.data(), &["--module", &hostile(), "--until", &last, "--trace"]);
    let lines: Vec<&str> = traced.stdout.lines().collect();
    for part in ["Z INCR -> 1", "Z TRAP -> (error) TRAP TRAP at index ", "Z FAIL -> (error) ERR no luck", "Z INCR -> 5"]
    {
        assert!(lines.iter().any(|line| line.contains(part)), "{part:?} is not in {}", traced.stdout);
    }
    assert!(lines[0].starts_with("0 ") && lines[0].contains(" (members 1@127.0.0.1:"), "{}", lines[0]);
    assert_eq!((fact(&traced, "commands"), fact(&traced, "traps")), ("12", "4"));
    // What the only voter has in its log is committed, though it was killed before it could note that.
    assert_eq!(digests(&replay(node.dir(), &["--module", &hostile()])), digests(&traced));
    assert!(fact(&traced, "entries").ends_with(&format!("to {last}")), "{}", traced.stdout);
    // Again, from above the node's own directory: the same to the last bit.
    let again = replay(node.dir(), &["--module", &hostile(), "--until", &last]);
    assert_eq!(digests(&traced), digests(&again));
    let json = replay(node.dir(), &["--module", &hostile(), "--until", &last, "--trace", "--json"]);
    assert!(json.stdout.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{}", json.stdout);
    assert!(json.stdout.contains(&format!("\"state_digest\":\"{}\"", digests(&traced).1)), "{}", json.stdout);
    // Less of it is another state.
    let less = replay(node.dir(), &["--module", &hostile(), "--until", &(applied_in(&traced) - 1).to_string()]);
    assert_ne!(digests(&less), digests(&traced));
    assert!(content(node.dir()) == before, "a replay only reads");
    // The node itself sees the same.
    assert_eq!(node.start().client().call(&["INCR"]), int(6));
}

/// The last entry that was applied.
fn applied_in(ended: &Ended) -> u64 {
    fact(ended, "entries").rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_replay_from_a_snapshot_ends_like_one_from_the_beginning() {
    let node = node(Module::hostile());
    let server = node.start();
    let mut client = server.client();
    rough(&mut client);
    let snapshot = client.call(&words("RAFT SNAPSHOT NOW")).fields()["id"].to_owned();
    rough(&mut client);
    let last = applied(&mut client).to_string();
    server.kill();
    let from_snapshot = replay(node.dir(), &["--module", &hostile(), "--until", &last]);
    assert_eq!(fact(&from_snapshot, "began with"), format!("snapshot {snapshot}"));
    assert_eq!(fact(&from_snapshot, "traps"), "3");
    let whole = replay(node.dir(), &["--module", &hostile(), "--until", &last, "--from", "0"]);
    assert_eq!((fact(&whole, "began with"), fact(&whole, "traps")), ("the first entry", "6"));
    assert_eq!(digests(&from_snapshot), digests(&whole));
    // A damaged one is passed over, and told.
    let path = node.data().join("snapshots").join(&snapshot).with_extension("snapshot");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let passed_over = replay(node.dir(), &["--module", &hostile(), "--until", &last]);
    assert!(fact(&passed_over, "skipped").starts_with(&snapshot), "{}", passed_over.stdout);
    assert_eq!(digests(&passed_over), digests(&whole));
}

#[test]
fn without_a_module_the_example_that_wrote_the_log_is_found() {
    let node = Node::new(Module("builtin:ticket".to_owned()));
    let mut server = node.start();
    assert_eq!(server.client().call(&["TICKET"]), int(1));
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code, Some(0));
    let ended = replay(&node.data(), &["--trace"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("TICKET -> 1\n"), "{}", ended.stdout);
}

#[test]
fn another_module_is_compared_by_its_replies() {
    let node = node(Module::hostile());
    let server = node.start();
    let mut client = server.client();
    for name in ["NOW", "TRAP", "RANDOM"] {
        client.call(&[name]);
    }
    client.pipeline(&[vec!["NOW"], vec!["INCR"]]);
    let last = applied(&mut client);
    server.kill();
    let text = std::fs::read_to_string(hostile()).unwrap();
    let write = |name: &str, text: String| {
        let path = node.scratch().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let alike = write("alike.wat", text.replace("1.0.0", "1.0.1"));
    let other = write(
        "other.wat",
        text.replace(
            "(result i32) (call $add) (call $integer (i64.load",
            "(result i32) (call $add) (call $add) (call $integer (i64.load",
        ),
    );
    let compare = |module: &str| {
        let until = last.to_string();
        replay(node.dir(), &["--module", module, "--original", &hostile(), "--until", &until])
    };
    let ended = compare(&alike);
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{}", ended.stdout);
    assert!(ended.stdout.ends_with("no reply differs\n"), "{}", ended.stdout);
    assert_eq!(fact(&ended, "equal replies"), "5");
    let ended = compare(&other);
    assert_eq!((ended.code, &*ended.stderr), (Some(1), ""), "{}", ended.stdout);
    let end: Vec<&str> =
        ended.stdout.lines().skip_while(|line| *line != "the first reply that differs").skip(1).collect();
    let ends: Vec<&str> = end.iter().map(|line| line.rsplit("  ").next().unwrap()).collect();
    let index = ended.stdout.lines().find(|line| line.contains("of the entry")).unwrap();
    assert!(index.contains(&format!("{last}, command ")), "{index}");
    assert_eq!(ends[1..], ["INCR", "1", "2"], "{}", ended.stdout);
}

#[test]
fn what_cannot_be_replayed_is_refused_in_one_line() {
    let node = node(Module::hostile());
    let server = node.start();
    let refused = |args: &[&str], words: &[&str]| {
        let ended = replay(node.dir(), args);
        assert_eq!((ended.code, &*ended.stdout), (Some(1), ""), "{args:?}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{args:?}: {}", ended.stderr);
        for word in words {
            assert!(ended.stderr.contains(word), "{word:?} is not in {}", ended.stderr);
        }
    };
    let holder = format!("in use by process {}", server.id());
    refused(&["--module", &hostile()], &[&holder]);
    let mut client = server.client();
    // One entry each, for the log keeps the last hundred behind a snapshot.
    for count in 1..=150 {
        assert_eq!(client.call(&["INCR"]), int(count));
    }
    client.call(&words("RAFT SNAPSHOT NOW"));
    let purged =
        |client: &mut Client| client.call(&words("RAFT INFO purged_index")).fields()["purged_index"].to_owned();
    wait::until("the log to be purged", || (purged(&mut client) != "0").then_some(()));
    assert_eq!(client.call(&["INCR"]), int(151));
    let last = applied(&mut client);
    assert_eq!(server.stop().code, Some(0));
    refused(&[], &["--module", "the log was written with the module"]);
    refused(&["--module", "builtin:ticket"], &["--original"]);
    refused(&["--module", "builtin:ticket", "--original", "builtin:kvdb"], &["builtin:kvdb", "is not the module"]);
    refused(&["--module", "builtin:ticket", "--original", &hostile()], &["the log begins after index"]);
    refused(&["--module", &hostile(), "--until", "1"], &["--until 1", "the log begins after index"]);
    refused(&["--module", &hostile(), "--until", "1000000"], &["--until 1000000", "up to"]);
    refused(&["--module", "missing.wasm"], &["missing.wasm"]);
    let whole = replay(&node.dir().join("hostile"), &["--module", &hostile()]);
    assert_eq!((whole.code, fact(&whole, "entries").ends_with(&format!("to {last}"))), (Some(0), true), "{whole:?}");
    let nowhere = replay(&node.scratch().join("nowhere"), &[]);
    assert_eq!(nowhere.code, Some(1), "{}", nowhere.stdout);
    let usage = Node::bare().args(&["replay"]).run_to_end();
    assert_eq!((usage.code, usage.stderr.lines().count()), (Some(2), 1), "{}", usage.stderr);
    assert!(usage.stderr.contains("--data"), "{}", usage.stderr);
    // Nothing of this is in the way of the node.
    assert_eq!(node.start().client().call(&["INCR"]), int(152));
}
