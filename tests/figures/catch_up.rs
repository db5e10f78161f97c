//! What writes cost while a node that is a million entries behind, and nodes that have nothing, catch up.

use super::show;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use uhaha_tests::{Client, Cluster, Module, int, ok, wait};

const ENTRIES: u64 = 1_000_000;
/// Each has one command under way, since what one connection pipelines may become one entry.
const WRITERS: u64 = 128;
/// Empty nodes that join, one after the other: each takes too short for a percentile of its own.
const JOINS: u64 = 10;
/// Keys that the state has in the end.
const KEYS: u64 = 200_000;

/// One command is one entry, so that so many are written in minutes: without a sync each.
const FILLING: [&str; 5] = ["--nosync", "--batch-commands", "1", "--snapshot-log-entries", "300000"];
const MEASURING: [&str; 3] = ["--sync", "--batch-commands", "4096"];

/// How long single writes take, one after the other, until `stop`.
fn write(address: SocketAddr, client: u64, stop: &AtomicBool) -> Vec<Duration> {
    let mut connection = Client::connect(address);
    let mut took = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let begun = Instant::now();
        assert_eq!(connection.call(&["SET", &format!("w{client}-{}", number % 1000), "x"]), ok());
        took.push(begun.elapsed());
    }
    took
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn writes(address: SocketAddr, until: impl FnOnce()) -> Vec<Duration> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        let clients: Vec<_> = (0..4).map(|client| scope.spawn(move || write(address, client, stop))).collect();
        // Dropped when `until` fails too, so that the clients end.
        let stopping = Stop(stop);
        until();
        drop(stopping);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

#[test]
#[ignore = "it takes minutes and is for a person to judge"]
fn while_nodes_catch_up() {
    let mut cluster = Cluster::start_with(Module::kvdb(), 3, &FILLING);
    cluster.kill(2);
    let leader = cluster.leader();
    let value = "v".repeat(100);
    let begun = Instant::now();
    let first = cluster.number(leader, "last_log_index");
    let mut clients: Vec<_> = (0..WRITERS).map(|_| cluster.client(leader)).collect();
    let mut written = 0;
    while cluster.number(leader, "last_log_index") - first < ENTRIES {
        for _ in 0..100 {
            for (client, number) in clients.iter_mut().zip(written..) {
                client.send(&["SET", &format!("key-{}", number % KEYS), &value]);
            }
            for client in &mut clients {
                assert_eq!(client.receive(), ok());
                written += 1;
            }
        }
    }
    println!("{written} commands in more than {ENTRIES} entries, written in {:.0?}", begun.elapsed());
    for position in [0, 1] {
        cluster.server(position).wait_for_log("ready");
        drop(cluster.stop(position));
    }
    for position in [0, 1] {
        cluster.restart_with(position, &MEASURING);
    }
    let leader = cluster.leader();
    let other = cluster.address(1 - leader);
    let settle = || std::thread::sleep(Duration::from_secs(10));
    show("a write while all is quiet", writes(other, settle));
    cluster.restart_launched_with(2, &MEASURING);
    let begun = Instant::now();
    let took = writes(other, || cluster.wait_for_log(2, leader));
    println!("caught up {ENTRIES} entries in {:.1?}", begun.elapsed());
    show("a write meanwhile", took);
    show("a write when all is quiet again", writes(other, settle));
}

#[test]
#[ignore = "it takes minutes and is for a person to judge"]
fn while_empty_nodes_join() {
    let mut cluster = Cluster::start_with(Module::kvdb(), 3, &MEASURING);
    let leader = cluster.leader();
    let other = cluster.address(cluster.follower());
    let value = "v".repeat(100);
    let mut client = cluster.client(leader);
    for first in (0..KEYS).step_by(1000) {
        let set = |key: u64| vec!["SET".to_owned(), format!("key-{key}"), value.clone()];
        client.pipeline(&(first..first + 1000).map(set).collect::<Vec<_>>());
    }
    for position in cluster.running() {
        cluster.client(position).call(&["RAFT", "SNAPSHOT", "NOW"]);
    }
    let settle = || std::thread::sleep(Duration::from_secs(10));
    show("a write while all is quiet", writes(other, settle));
    let mut joins = Vec::new();
    let mut meanwhile = Vec::new();
    for _ in 0..JOINS {
        let begun = Instant::now();
        let mut new = 0;
        meanwhile.extend(writes(other, || {
            new = cluster.add(&["--nonvoter"]);
            cluster.wait_for_log(new, leader);
        }));
        joins.push(begun.elapsed());
        let name = (new + 1).to_string();
        wait::until("the removal", || {
            (cluster.client(leader).call(&["RAFT", "SERVER", "REMOVE", &name]) == int(1)).then_some(())
        });
        cluster.kill(new);
    }
    show("an empty node joins and has the state", joins);
    show("a write meanwhile", meanwhile);
    show("a write when all is quiet again", writes(other, settle));
}
