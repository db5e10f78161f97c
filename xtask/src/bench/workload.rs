//! What the servers are asked to do.

use super::load::{Ask, Cell};

/// What takes turns with ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// One redis-server, whatever the number of our nodes.
    Redis,
    /// As many nodes as ours.
    Etcd,
    /// Ours with a machine that does nothing, in the place of what `UHAHA_NATIVE` names.
    Native(&'static str),
}

pub(super) struct Workload {
    /// The name for `--only`.
    pub(super) part: &'static str,
    pub(super) title: String,
    pub(super) module: &'static str,
    pub(super) nodes: usize,
    pub(super) ours: Vec<String>,
    pub(super) peer: Peer,
    /// What the peer is asked; of etcd, the value it puts.
    pub(super) theirs: Vec<String>,
    /// How many keys `__rand_int__` stands for; `None` if it is not in the commands.
    pub(super) keys: Option<u32>,
    /// Whether the keys are there before: a GET of nothing is another workload.
    pub(super) filled: bool,
    /// Not a command by redis-benchmark, but SET and GET in turns, so many of each.
    pub(super) mix: Option<usize>,
    pub(super) cells: Vec<Cell>,
}

/// How many keys SET and GET draw from.
const KEYS: u32 = 100_000;
/// What the values take together at most.
const VALUES_BYTES_MAX: usize = 64 << 20;

/// The part that shows what guest and log cost.
pub(super) const NATIVE: &str = "native";

const CELLS: [(u64, u64); 6] = [(1, 1), (1, 64), (50, 1), (50, 16), (50, 64), (256, 1)];

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn cells(cells: &[(u64, u64)]) -> Vec<Cell> {
    cells.iter().map(|(clients, pipeline)| Cell::new(*clients, *pipeline)).collect()
}

/// The name of a number of bytes.
fn size(bytes: usize) -> String {
    if bytes < 1024 { format!("{bytes} B") } else { format!("{} KiB", bytes / 1024) }
}

impl Workload {
    fn of(part: &'static str, title: &str, module: &'static str, command: &str) -> Workload {
        Workload {
            part,
            title: title.to_owned(),
            module,
            nodes: 1,
            ours: words(command),
            peer: Peer::Redis,
            theirs: words(command),
            keys: None,
            filled: false,
            mix: None,
            cells: cells(&CELLS),
        }
    }

    fn ticket() -> Workload {
        let ticket = Workload::of("ticket", "TICKET beside INCR", "builtin:ticket", "TICKET");
        Workload { theirs: words("INCR k"), ..ticket }
    }

    fn set(part: &'static str, bytes: usize) -> Workload {
        let keys = KEYS.min((VALUES_BYTES_MAX / bytes) as u32);
        let command = format!("SET key:__rand_int__ {}", "v".repeat(bytes));
        let set = Workload::of(part, &format!("SET of {}", size(bytes)), "builtin:kvdb", &command);
        Workload { keys: Some(keys), ..set }
    }

    pub(super) fn all() -> Vec<Workload> {
        let get = Workload::of("get", "GET of 32 B", "builtin:kvdb", "GET key:__rand_int__");
        let mut all =
            vec![Workload::ticket(), Workload::set("set", 32), Workload { keys: Some(KEYS), filled: true, ..get }];
        for bytes in [16, 256, 4 << 10, 64 << 10] {
            all.push(Workload { cells: cells(&[(50, 16)]), ..Workload::set("payload", bytes) });
        }
        for (what, title) in
            [("guest", "TICKET beside no guest"), ("guest-and-log", "TICKET beside no guest and no log")]
        {
            let native =
                Workload { part: NATIVE, title: title.to_owned(), peer: Peer::Native(what), ..Workload::ticket() };
            all.push(Workload { theirs: native.ours.clone(), cells: cells(&[(50, 1), (50, 16), (50, 64)]), ..native });
        }
        let mix = Workload::of("mix", "SET and GET in turns, 32 of each", "builtin:kvdb", "");
        all.push(Workload { mix: Some(32), cells: cells(&[(1, 64)]), ..mix });
        let three = |workload: Workload, wanted: &[(u64, u64)]| Workload {
            part: "cluster",
            title: format!("{}, 3 nodes", workload.title),
            nodes: 3,
            cells: cells(wanted),
            ..workload
        };
        all.push(three(Workload::ticket(), &[(1, 1), (50, 1), (50, 16)]));
        all.push(three(Workload::set("cluster", 32), &[(1, 1), (50, 1), (50, 16)]));
        let put = three(Workload::set("cluster", 32), &[(1, 1), (64, 1)]);
        let title = "SET beside put of etcd, 32 B, 3 nodes".to_owned();
        all.push(Workload { part: "etcd", title, peer: Peer::Etcd, theirs: vec!["v".repeat(32)], ..put });
        all
    }

    pub(super) fn ask<'a>(&'a self, words: &'a [&'a str], of_peer: bool) -> Ask<'a> {
        match (self.mix, self.peer, of_peer) {
            (Some(depth), ..) => Ask::Mix(depth),
            (None, Peer::Etcd, true) => Ask::Put(words[0]),
            _ => Ask::Command(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_tell_workloads_apart() {
        let titles: Vec<String> = Workload::all().into_iter().map(|workload| workload.title).collect();
        let unique: std::collections::BTreeSet<&String> = titles.iter().collect();
        assert_eq!(unique.len(), titles.len(), "{titles:?}");
    }

    #[test]
    fn large_values_have_fewer_keys() {
        let keys = |bytes| Workload::set("set", bytes).keys;
        assert_eq!((keys(16), keys(64 << 10)), (Some(KEYS), Some(1024)));
    }
}
