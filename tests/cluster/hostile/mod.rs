//! Guests that misbehave, on three nodes: each failure has its documented error, the next command sees the state from
//! before it, all nodes end with equal digests, and none of them is started again.

mod batches;
mod commands;
mod host_calls;
mod rust;
mod text;
mod ticks;

use std::collections::BTreeMap;
use uhaha_tests::{Client, Cluster, Module, Value, int, ok, wait};

/// Small, so that reaching them takes no time.
const LIMITS: [&str; 8] =
    ["--guest-fuel", "2000000", "--guest-tick-fuel", "2000000", "--guest-memory", "8MiB", "--guest-reply", "64KiB"];

/// What a node says of its state; all of it is the same on nodes that agree and have applied the same.
#[derive(PartialEq)]
struct Digests {
    standing: String,
    /// The last proposal that was applied, and the digest of all replies up to it.
    index: u64,
    running: String,
    verified: u64,
    /// The last mark, and the digest of the state there.
    mark: u64,
    state: String,
}

impl Digests {
    fn of(client: &mut Client) -> Digests {
        let info = client.call(&["RAFT", "INFO", "standing", "*digest*"]);
        let fields = info.fields();
        let number = |name| fields[name].parse().unwrap();
        Digests {
            standing: fields["standing"].to_owned(),
            index: number("digest_index"),
            running: fields["digest"].to_owned(),
            verified: number("digest_verified_index"),
            mark: number("state_digest_index"),
            state: fields["state_digest"].to_owned(),
        }
    }
}

/// Three nodes with one guest, and a client of a follower. The guest has `INCR`, and `GET` for what that counts, once
/// from memory and once from a global.
struct Trio {
    cluster: Cluster,
    client: Client,
    /// Of the writes that are to have an effect.
    count: i64,
    /// Of the commands and ticks that are to leave no trace.
    traps: u64,
}

impl Trio {
    fn start(module: Module) -> Trio {
        Trio::start_with(module, &[])
    }

    /// The same, each with more arguments, which come last.
    fn start_with(module: Module, args: &[&str]) -> Trio {
        let cluster = Cluster::start_with(module, 3, &[&LIMITS, args].concat());
        let client = cluster.client(cluster.follower());
        Trio { cluster, client, count: 0, traps: 0 }
    }

    /// A write that adds one and replies something else than the sum.
    #[track_caller]
    fn adds(&mut self, words: &[impl AsRef<[u8]>]) -> Value {
        self.count += 1;
        let reply = self.client.call(words);
        self.counts();
        reply
    }

    /// Adds one, and sees all that was added and nothing else.
    #[track_caller]
    fn counts(&mut self) {
        self.count += 1;
        assert_eq!(self.client.call(&["INCR"]), int(self.count));
        assert_eq!(counters(&mut self.client), [self.count; 2]);
    }

    /// A write that gets an error and leaves no trace. Returns what comes after the command's name and index.
    #[track_caller]
    fn fails(&mut self, words: &[impl AsRef<[u8]>], code: &str) -> String {
        let reply = self.client.call(words);
        let name = String::from_utf8(words[0].as_ref().to_vec()).unwrap();
        let start = format!("{code} {name} at index ");
        reply.assert_error(&start);
        self.traps += 1;
        self.counts();
        let (index, reason) = reply.error()[start.len()..].split_once(": ").unwrap();
        index.parse::<u64>().unwrap();
        reason.to_owned()
    }

    /// A read that gets an error on every node.
    #[track_caller]
    fn fails_to_read(&mut self, words: &[impl AsRef<[u8]>], error: &str) {
        for mut client in readers(&self.cluster) {
            client.call(words).assert_error(error);
            assert_eq!(counters(&mut client).len(), 2, "and the next read succeeds");
        }
        self.counts();
    }

    /// Waits until all nodes have the same digests, of replies and of the whole state, and looks at each.
    #[track_caller]
    fn agree(&mut self) -> Digests {
        // The mark of a snapshot makes everybody look at all of its state.
        let before = Digests::of(&mut self.client).mark;
        self.cluster.client(self.cluster.leader()).call(&["RAFT", "SNAPSHOT", "NOW"]).fields();
        let digests = wait::until("digests that agree", || {
            self.counts();
            agreed(&self.cluster).filter(|digests| digests.mark > before)
        });
        for (position, reader) in readers(&self.cluster).iter_mut().enumerate() {
            assert_eq!(counters(reader), [self.count; 2], "on node {position}");
            let info = info(reader);
            assert_eq!(info["process_id"], self.cluster.server(position).id().to_string(), "no node is another one");
            assert_eq!(info["machine_traps"], self.traps.to_string(), "on node {position}");
            assert_eq!((&*info["machine_digest_differences"], &*info["machine_standing"]), ("0", "sound"));
        }
        digests
    }
}

/// A client of each node that reads what that node has.
fn readers(cluster: &Cluster) -> Vec<Client> {
    let reader = |position| {
        let mut client = cluster.client(position);
        assert_eq!(client.call(&["READONLY"]), ok());
        client
    };
    cluster.running().into_iter().map(reader).collect()
}

#[track_caller]
fn counters(client: &mut Client) -> [i64; 2] {
    let reply = client.call(&["GET"]);
    let [memory, global, ..] = reply.array() else { panic!("GET gave {reply:?}") };
    [memory.integer(), global.integer()]
}

fn info(client: &mut Client) -> BTreeMap<String, String> {
    let reply = client.call(&["INFO", "everything"]);
    let fields = reply.text().lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The digests of all nodes, once they have applied the same and compared their states; a difference after the same entry
/// ends the test.
fn agreed(cluster: &Cluster) -> Option<Digests> {
    let of = |position| Digests::of(&mut cluster.client(position));
    let mut all: Vec<Digests> = cluster.running().into_iter().map(of).collect();
    let first = all.remove(0);
    for other in &all {
        if other.index == first.index {
            assert_eq!(other.running, first.running, "the replies up to entry {}", first.index);
        }
        if other.mark == first.mark {
            assert_eq!(other.state, first.state, "the state after entry {}", first.mark);
        }
    }
    let is_checked = first.standing == "sound" && first.mark > 0 && first.verified >= first.mark;
    (is_checked && all.iter().all(|other| *other == first)).then_some(first)
}
