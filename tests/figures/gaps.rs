//! For how long no ticket is given when the leader is killed, stopped, or hands over.

use super::show;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use uhaha_tests::{Client, Cluster, Module, Value, ok};

const ROUNDS: usize = 20;

/// When each ticket came, and which.
type Draws = Vec<(Instant, i64)>;

/// A client that finds another node when its own is gone; every error is one that it repeats by itself.
fn draw(addresses: &[SocketAddr], first: usize, stop: &AtomicBool) -> (Draws, Vec<String>) {
    let (mut draws, mut errors, mut next) = (Vec::new(), Vec::new(), first);
    let mut client = None;
    while !stop.load(Ordering::Relaxed) {
        let Some(connected) = client.as_mut() else {
            client = Client::try_connect(addresses[next % addresses.len()]);
            next += 1;
            continue;
        };
        match connected.try_call(&["TICKET"]) {
            Some(Value::Integer(ticket)) => draws.push((Instant::now(), ticket)),
            Some(Value::Error(error)) => errors.push(error),
            Some(other) => panic!("TICKET gave {other:?}"),
            None => client = None,
        }
    }
    (draws, errors)
}

fn gaps(what: &str, mut happen: impl FnMut(&mut Cluster, usize)) {
    let mut cluster = Cluster::start(Module::ticket(), 3);
    let mut gaps = Vec::new();
    let (mut all, mut errors) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let leader = cluster.leader();
        // Half of the clients are on the leader itself, and have to find another node.
        let addresses: Vec<SocketAddr> = (0..3).map(|position| cluster.address((leader + position) % 3)).collect();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..4)
                .map(|client| {
                    scope.spawn({
                        let (addresses, stop) = (&addresses, &stop);
                        move || draw(addresses, client, stop)
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(500));
            let at = Instant::now();
            happen(&mut cluster, leader);
            std::thread::sleep(Duration::from_secs(2));
            stop.store(true, Ordering::Relaxed);
            let mut drawn: Draws = Vec::new();
            for client in clients {
                let (draws, seen) = client.join().unwrap();
                assert!(draws.windows(2).all(|pair| pair[0].1 < pair[1].1), "a client's tickets rise");
                drawn.extend(draws);
                errors.extend(seen);
            }
            drawn.sort_unstable();
            // All that end after it happened: the longest is what it cost.
            let around = drawn.windows(2).filter(|pair| pair[1].0 > at).map(|pair| pair[1].0 - pair[0].0);
            gaps.push(around.max().expect("tickets are given again"));
            all.extend(drawn.into_iter().map(|(_, ticket)| ticket));
        });
        if !cluster.running().contains(&leader) {
            cluster.restart(leader);
        }
        let now = cluster.leader();
        cluster.wait_for_log(leader, now);
    }
    all.sort_unstable();
    assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "a ticket was given twice");
    let last = cluster.client(cluster.leader()).call(&["TICKET"]).integer();
    assert!(last > *all.last().unwrap(), "an acknowledged ticket was lost");
    errors.sort_unstable();
    println!(
        "{} tickets; tickets drawn and not seen: {}; errors: {errors:?}",
        all.len(),
        last as usize - 1 - all.len()
    );
    show(what, gaps);
}

#[test]
#[ignore = "it takes minutes and is for a person to judge"]
fn kill() {
    gaps("no ticket after kill -9 of the leader", |cluster, leader| cluster.kill(leader));
}

#[test]
#[ignore = "it takes minutes and is for a person to judge"]
fn terminate() {
    gaps("no ticket after SIGTERM of the leader", |cluster, leader| drop(cluster.stop(leader)));
}

#[test]
#[ignore = "it takes minutes and is for a person to judge"]
fn transfer() {
    gaps("no ticket after RAFT TRANSFER", |cluster, leader| {
        assert_eq!(cluster.client(leader).call(&["RAFT", "TRANSFER"]), ok());
    });
}
