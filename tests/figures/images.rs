//! What snapshots of states of several sizes cost: how long writes wait, how long the file takes, and how large it is.

use super::show;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use uhaha_tests::{Module, Node, Server, ok};

const VALUE_BYTES: usize = 16 << 10;

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

/// How long each write of one client takes while `work` is done.
fn writes_during(server: &Server, keys: u64, work: impl FnOnce()) -> Vec<Duration> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut client = server.client();
            let mut took = Vec::new();
            for number in 0_u64.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let key = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % keys;
                let begun = Instant::now();
                assert_eq!(client.call(&["SET", &format!("small-{key}"), "x"]), ok());
                took.push(begun.elapsed());
            }
            took
        });
        work();
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    })
}

fn snapshot(server: &Server, what: &str, keys: u64) {
    let mut taken = None;
    let took = writes_during(server, keys, || {
        let begun = Instant::now();
        let info = server.client().call(&["RAFT", "SNAPSHOT", "NOW"]);
        taken = Some((begun.elapsed(), info.fields()["size"].parse::<u64>().unwrap()));
    });
    let (elapsed, bytes) = taken.unwrap();
    println!("{what}: {bytes} bytes in {elapsed:.2?}");
    show("  a write meanwhile", took);
}

#[test]
#[ignore = "it takes minutes and is for a person to judge"]
fn images() {
    for mib in [1, 100, 1024] {
        let node = Node::new(Module::kvdb()).args(&["--nosync", "--snapshot-log-bytes", "8GiB"]);
        let server = node.start();
        let keys = (mib << 20) / VALUE_BYTES as u64;
        set(&server, 0..keys, 0);
        println!("── {mib} MiB in {keys} keys");
        let quiet = writes_during(&server, keys, || std::thread::sleep(Duration::from_secs(3)));
        show("  a write when nothing else is done", quiet);
        snapshot(&server, "whole snapshot", keys);
        set(&server, (0..keys).step_by(100), 1);
        snapshot(&server, "snapshot of what has changed", keys);
        drop(server.stop());
        let restarted = Instant::now();
        let server = node.start();
        println!("restart to the first reply: {:.2?}", restarted.elapsed());
        drop(server.stop());
    }
}
