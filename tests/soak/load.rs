//! Clients that write, read, pipeline and reconnect at a steady rate, and remember what was acknowledged.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use uhaha_tests::{Client, Cluster, Value, wait};

const CLIENTS: u32 = 8;
/// Keys that the state has in the end, so that it does not grow.
const KEYS: u64 = 20_000;
const VALUE_BYTES: usize = 100;
/// One round of a client: a write of its own key, and so many commands of others.
const PIPELINE: usize = 16;
const ROUND: u32 = 4 + PIPELINE as u32;
/// A connection lives for so many rounds.
const ROUNDS_PER_CONNECTION: u64 = 50;

#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<u64>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    done: AtomicU64,
    /// Commands with an outcome that is not known, or an error that says to try again.
    failed: AtomicU64,
    reconnected: AtomicU64,
    latencies: Mutex<Vec<Duration>>,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) reconnected: u64,
    /// Of clients that found less in the state than was acknowledged to them.
    pub(crate) lost: Vec<String>,
    /// What each node has for the digest of its state.
    pub(crate) digests: Vec<String>,
}

impl Outcome {
    pub(crate) fn is_right(&self) -> bool {
        self.lost.is_empty() && self.digests.windows(2).all(|pair| pair[0] == pair[1])
    }
}

impl Load {
    pub(crate) fn start(cluster: &Cluster, rate: u32) -> Load {
        let addresses: Arc<[SocketAddr]> = (0..cluster.len()).map(|position| cluster.address(position)).collect();
        let shared = Arc::new(Shared::default());
        let pause = Duration::from_secs(1) * ROUND * CLIENTS / rate;
        let client = |number| {
            let (addresses, shared) = (Arc::clone(&addresses), Arc::clone(&shared));
            thread::spawn(move || shared.run(number, &addresses, pause))
        };
        Load { clients: (0..CLIENTS).map(client).collect(), shared }
    }

    /// Commands so far: done and failed.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.shared.done.load(Ordering::Relaxed), self.shared.failed.load(Ordering::Relaxed))
    }

    /// A handle for who takes the latencies.
    pub(crate) fn latencies(&self) -> impl Fn() -> Vec<Duration> + use<> {
        let shared = Arc::clone(&self.shared);
        move || std::mem::take(&mut *shared.latencies.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends the clients and sees whether everything acknowledged is there, on all nodes alike.
    pub(crate) fn stop(self, cluster: &Cluster) -> Outcome {
        self.shared.stop.store(true, Ordering::Relaxed);
        let acknowledged: Vec<u64> =
            self.clients.into_iter().map(|client| client.join().expect("a client ends")).collect();
        let leader = cluster.leader();
        let mut client = cluster.client(leader);
        let mut lost = Vec::new();
        for (number, acknowledged) in acknowledged.into_iter().enumerate() {
            let found = match client.call(&["GET", &own_key(number as u32)]) {
                Value::Bulk(text) => String::from_utf8_lossy(&text).parse().unwrap_or(0),
                _ => 0,
            };
            if found < acknowledged {
                lost.push(format!("client {number} has {found}, and {acknowledged} was acknowledged"));
            }
        }
        let digests = digests(cluster, leader);
        let (done, failed) = (self.shared.done.load(Ordering::Relaxed), self.shared.failed.load(Ordering::Relaxed));
        Outcome { done, failed, reconnected: self.shared.reconnected.load(Ordering::Relaxed), lost, digests }
    }
}

/// Of all nodes at the same entry, once nothing is written any more.
fn digests(cluster: &Cluster, leader: usize) -> Vec<String> {
    wait::until("all nodes at one entry", || {
        let at = |position| {
            let info = cluster.client(position).call(&["RAFT", "INFO", "digest", "digest_index"]);
            let fields = info.fields();
            (fields["digest_index"].to_owned(), fields["digest"].to_owned())
        };
        let (index, _) = at(leader);
        let all: Vec<(String, String)> = (0..cluster.len()).map(at).collect();
        let same = all.iter().all(|(other, _)| *other == index);
        same.then(|| all.into_iter().map(|(_, digest)| digest).collect())
    })
}

fn own_key(client: u32) -> String {
    format!("own:{client}")
}

impl Shared {
    /// One client until the end; the last number that was acknowledged to it.
    fn run(&self, number: u32, addresses: &[SocketAddr], pause: Duration) -> u64 {
        let (mut acknowledged, mut next, mut connection) = (0, 1, None);
        let mut due = Instant::now();
        for round in u64::from(number).. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            if round % ROUNDS_PER_CONNECTION == 0 {
                connection = None;
            }
            let client = match &mut connection {
                Some(client) => client,
                None => {
                    self.reconnected.fetch_add(1, Ordering::Relaxed);
                    let address = addresses[(round / ROUNDS_PER_CONNECTION + next) as usize % addresses.len()];
                    let Some(client) = Client::try_connect(address) else {
                        self.fail();
                        next += 1;
                        continue;
                    };
                    connection.insert(client)
                }
            };
            match self.round(client, number, round, next) {
                Some(true) => acknowledged = next,
                Some(false) => {}
                None => connection = None,
            }
            next += 1;
            // Steady, but without making up for what a fault has cost.
            due = (due + pause).max(Instant::now() - pause);
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        acknowledged
    }

    /// Whether the own write was acknowledged; `None` if the connection is lost.
    fn round(&self, client: &mut Client, number: u32, round: u64, next: u64) -> Option<bool> {
        let key = |salt: u64| format!("key:{}", (round * 31 + salt * 7919 + u64::from(number) * 101) % KEYS);
        let value = format!("{round:0>VALUE_BYTES$}");
        let acknowledged = self.call(client, &["SET", &own_key(number), &next.to_string()])?;
        self.call(client, &["GET", &key(0)])?;
        self.call(client, &["SET", &key(1), &value])?;
        self.call(client, &["GET", &key(2)])?;
        let pipeline: Vec<Vec<String>> = (0..PIPELINE as u64)
            .map(|at| match at % 4 {
                0 => vec!["GET".to_owned(), key(at)],
                1 => vec!["DEL".to_owned(), key(at)],
                _ => vec!["SET".to_owned(), key(at), value.clone()],
            })
            .collect();
        let requests: Vec<u8> = pipeline.iter().flat_map(|words| uhaha_tests::client::encode(words)).collect();
        client.try_send_raw(&requests).ok().or_else(|| self.lose())?;
        for _ in &pipeline {
            match client.try_receive() {
                Ok(Some(reply)) => self.count(&reply),
                _ => return self.lose(),
            };
        }
        Some(acknowledged)
    }

    /// Whether the reply is none that says that nothing is known or done.
    fn call(&self, client: &mut Client, words: &[&str]) -> Option<bool> {
        let began = Instant::now();
        let reply = client.try_call(words).or_else(|| self.lose())?;
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).push(began.elapsed());
        Some(self.count(&reply))
    }

    fn count(&self, reply: &Value) -> bool {
        let fails = matches!(reply, Value::Error(_));
        let counter = if fails { &self.failed } else { &self.done };
        counter.fetch_add(1, Ordering::Relaxed);
        !fails
    }

    fn fail(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// The connection is gone.
    fn lose<T>(&self) -> Option<T> {
        self.fail();
        None
    }
}
