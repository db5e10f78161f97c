//! What snapshots of states of several sizes cost: how long the machine and writes wait, how long the file takes, and
//! how large it is. As a table, for the book.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use uhaha_tests::{Module, Node, Server, ok};

const VALUE_BYTES: usize = 16 << 10;
/// For how long writes are watched before and after a snapshot.
const AROUND: Duration = Duration::from_secs(3);

/// Bytes that do not get smaller by compression, other ones for each seed.
fn value(seed: u64) -> Vec<u8> {
    let mut state = seed | 1 << 63;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..VALUE_BYTES / 8).flat_map(|_| next()).collect()
}

fn set(server: &Server, keys: impl Iterator<Item = u64>, salt: u64) {
    let mut client = server.client();
    for key in keys {
        let reply = client.call(&[&b"SET"[..], format!("key-{key}").as_bytes(), &value(key << 8 | salt)[..]]);
        assert_eq!(reply, ok());
    }
}

/// When a write began and how long it took.
type Write = (Instant, Duration);

/// The writes of one client, one after the other, while `work` is done.
fn writes_during(server: &Server, keys: u64, work: impl FnOnce()) -> Vec<Write> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut client = server.client();
            let mut writes = Vec::new();
            for number in 0_u64.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let key = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % keys;
                let begun = Instant::now();
                assert_eq!(client.call(&["SET", &format!("small-{key}"), "x"]), ok());
                writes.push((begun, begun.elapsed()));
            }
            writes
        });
        work();
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    })
}

/// `p99, longest` of the writes that ended in this time.
fn shown(writes: &[Write], from: Instant, to: Instant) -> String {
    let mut took: Vec<Duration> =
        writes.iter().filter(|(begun, took)| (from..to).contains(&(*begun + *took))).map(|(_, took)| *took).collect();
    took.sort_unstable();
    match took.last() {
        None => "none".to_owned(),
        Some(longest) => format!("{:.1?}, {longest:.1?}", took[(took.len() - 1) * 99 / 100]),
    }
}

/// How long the machine waited for its last image, from the node's log.
fn pause(server: &Server) -> String {
    let log = server.log();
    let line = log.lines().rfind(|line| line.contains("marked an image for a snapshot")).unwrap();
    line.rsplit_once("elapsed=").unwrap().1.trim().to_owned()
}

/// Takes a snapshot and prints its row of the table.
fn snapshot(server: &Server, mib: usize, what: &str, keys: u64) {
    let mut taken = None;
    let begun = Instant::now();
    let writes = writes_during(server, keys, || {
        std::thread::sleep(AROUND);
        let asked = Instant::now();
        let info = server.client().call(&["RAFT", "SNAPSHOT", "NOW"]);
        taken = Some((asked, Instant::now(), info.fields()["size"].parse::<u64>().unwrap()));
        // The log is purged then, and the state's digest made.
        std::thread::sleep(AROUND);
    });
    let (asked, done, bytes) = taken.unwrap();
    let [before, meanwhile, after] =
        [(begun, asked), (asked, done), (done, done + AROUND)].map(|(from, to)| shown(&writes, from, to));
    let (took, paused) = (done - asked, pause(server));
    println!("| {mib} MiB | {what} | {bytes} | {took:.2?} | {paused} | {before} | {meanwhile} | {after} |");
}

#[test]
#[ignore = "it takes minutes and is for a person to judge"]
fn images() {
    println!("| state | snapshot | bytes | time | pause | a write before: p99, longest | meanwhile | after |");
    println!("|---|---|---:|---:|---:|---:|---:|---:|");
    let mut restarts = Vec::new();
    for mib in [1, 100, 1024] {
        let node = Node::new(Module::kvdb());
        let node = node.args(&["--nosync", "--snapshot-log-bytes", "8GiB", "--level", "debug"]);
        let server = node.start();
        let keys = (mib << 20) / VALUE_BYTES as u64;
        set(&server, 0..keys, 0);
        let mib = mib as usize;
        snapshot(&server, mib, "whole", keys);
        set(&server, (0..keys).step_by(100), 1);
        snapshot(&server, mib, "of what has changed", keys);
        drop(server.stop());
        let restarted = Instant::now();
        let server = node.start();
        restarts.push(format!("{mib} MiB {:.2?}", restarted.elapsed()));
        drop(server.stop());
    }
    println!("From a restart to the first reply: {}.", restarts.join(", "));
}
