//! One run: a cluster under load, faults one after the other, and what must be true in the end.

use crate::chaos::{Chaos, Fault};
use crate::fleet::Fleet;
use crate::libraries::Kind;
use crate::load::{Record, Work};
use crate::{stale, verify};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};
use uhaha_tests::linearizability::{Counter, Kvdb, Operation, Outcome};
use uhaha_tests::network::{Network, TEST};
use uhaha_tests::ntp::FakeServer;
use uhaha_tests::{Module, wait};

const CLIENTS: usize = 8;
/// How many of these are libraries.
const LIBRARIES: usize = 3;
const READERS: usize = 2;
pub(crate) const MAX_STALENESS: Duration = Duration::from_secs(2);

/// What a seed stands for.
pub(crate) struct Plan {
    pub(crate) duration: Duration,
    nodes: usize,
    is_kvdb: bool,
    proxied: bool,
    clocks: bool,
    lease_reads: bool,
    often_snapshots: bool,
    /// Which clients are libraries.
    libraries: BTreeMap<usize, Kind>,
    random: fastrand::Rng,
}

/// What is told of a run, one fact a line.
#[derive(Default)]
pub(crate) struct Facts {
    pub(crate) kind: String,
    pub(crate) faults: Vec<(&'static str, Duration)>,
    pub(crate) operations: usize,
    pub(crate) unknown: usize,
    pub(crate) stale_reads: usize,
    /// Of each client that is a library: what it was, and how many of its operations returned and are unknown.
    pub(crate) libraries: Vec<(String, usize, usize)>,
}

impl Plan {
    pub(crate) fn new(seed: u64, duration: Duration) -> Plan {
        let mut random = fastrand::Rng::with_seed(seed);
        Plan {
            duration,
            nodes: if random.u8(..3) == 0 { 5 } else { 3 },
            is_kvdb: random.u8(..5) < 3,
            proxied: random.bool(),
            clocks: random.u8(..3) == 0,
            lease_reads: random.u8(..4) == 0,
            often_snapshots: random.bool(),
            libraries: libraries(seed),
            random,
        }
    }

    /// Of what a seed stands for, without a run.
    pub(crate) fn nodes(&self) -> usize {
        self.nodes
    }

    pub(crate) fn run(self, network: Network, dir: &Path) -> Facts {
        if self.is_kvdb { self.run_with::<Kvdb>(network, dir) } else { self.run_with::<Counter>(network, dir) }
    }

    fn args(&self) -> Vec<String> {
        let mut args = vec!["--leader-wait", "1s", "--digest-interval", "500ms", "--max-staleness", "2s"];
        if self.lease_reads {
            args.push("--lease-reads");
        }
        if self.often_snapshots {
            args.extend(["--snapshot-log-entries", "300"]);
        }
        args.into_iter().map(str::to_owned).collect()
    }

    fn kind(&self, module: &str) -> String {
        let traits = [
            (self.proxied, "proxies"),
            (self.clocks, "clocks"),
            (self.lease_reads, "leases"),
            (self.often_snapshots, "snapshots"),
        ];
        let traits: Vec<&str> = traits.iter().filter(|(has, _)| *has).map(|(_, name)| *name).collect();
        format!("{} nodes, {module}, {}", self.nodes, if traits.is_empty() { "plain".into() } else { traits.join("+") })
    }

    fn run_with<M: Work>(mut self, network: Network, dir: &Path) -> Facts {
        network.prepare_cuts();
        let clocks: Vec<FakeServer> = match self.clocks {
            true => (0..self.nodes).map(|_| FakeServer::start_on(TEST, self.random.i64(-60..60))).collect(),
            false => Vec::new(),
        };
        let args: Vec<Vec<String>> = (0..self.nodes)
            .map(|position| {
                let ntp = clocks
                    .get(position)
                    .map(|clock| ["--ntp", &clock.address(), "--ntp-interval", "200ms"].map(str::to_owned));
                ntp.map(Vec::from).unwrap_or_default()
            })
            .collect();
        let fleet = Fleet::new(network, Module(format!("builtin:{}", M::MODULE)), self.args(), dir.to_owned());
        let mut kept = Kept { fleet, record: Record::<M>::new(), dir: dir.to_owned() };
        let Kept { fleet, record, .. } = &mut kept;
        for (position, args) in args.iter().enumerate() {
            fleet.add(args, self.proxied, position == 1);
        }
        wait::until("the voters", || {
            (0..self.nodes).all(|position| fleet.info(position, "voter").as_deref() == Some("true")).then_some(())
        });
        let mut facts = Facts { kind: self.kind(M::MODULE), ..Facts::default() };
        let addresses: Vec<SocketAddr> = (0..self.nodes).map(|position| fleet.address(position)).collect();
        thread::scope(|scope| {
            // Even if a check fails, the clients must end for it to be told.
            let _end = End(record);
            for number in 0..CLIENTS + READERS {
                let (random, addresses, record) = (self.random.fork(), &addresses, &*record);
                match self.libraries.get(&number).copied() {
                    Some(kind) => scope.spawn(move || record.library(number, kind, addresses, dir, random)),
                    None if number < CLIENTS => scope.spawn(move || record.client(number, addresses, random)),
                    None => scope.spawn(move || record.reader(number, addresses, random)),
                };
            }
            let random = self.random.fork();
            let mut chaos = Chaos { fleet, random, clocks: &clocks, args: &args, replaced: 0 };
            self.torment(&mut chaos, record, dir, &mut facts);
        });
        self.conclude(&mut kept, &mut facts);
        facts
    }

    fn torment<M: Work>(&mut self, chaos: &mut Chaos<'_>, record: &Record<M>, dir: &Path, facts: &mut Facts) {
        let possible = Fault::possible(self.proxied, self.clocks);
        wait::until("an answer to each client", || {
            (0..CLIENTS).all(|client| record.has_answered(client)).then_some(())
        });
        let begun = Instant::now();
        while begun.elapsed() < self.duration {
            let Some(fault) = self.random.choice(&possible).copied() else { return };
            let from = record.now();
            if !chaos.inflict(fault) {
                continue;
            }
            wait_for_writes(record);
            let gap = record.longest_gap(from, record.now());
            note(
                &dir.join("faults.txt"),
                &format!("{:>9.3} s  {}, longest gap {gap:?}", from as f64 / 1e9, fault.name()),
            );
            facts.faults.push((fault.name(), gap));
        }
    }

    fn conclude<M: Work>(&self, kept: &mut Kept<M>, facts: &mut Facts) {
        let Kept { fleet, record, dir } = kept;
        fleet.heal_network();
        (0..self.nodes).for_each(|position| fleet.restart(position));
        // Whatever is missing would be missed by these.
        for input in M::last() {
            wait::until("an answer", || {
                let at = fleet.leader()?;
                let mut client = fleet.client(at)?;
                record.run(CLIENTS + READERS, input.clone(), |words| client.try_call(words)).then_some(())
            });
        }
        let write = || {
            let mut random = fastrand::Rng::with_seed(0);
            let input =
                (0..).map(|_| M::next(&mut random, 0)).find(|input| !M::is_read(input)).expect("there are writes");
            if let Some(at) = fleet.leader() {
                let _ = fleet.call(at, &M::words(&input));
            }
        };
        let index = fleet.wait_for_agreement(write);
        let operations = record.operations.lock().unwrap();
        facts.operations = operations.len();
        facts.unknown = operations.iter().filter(|operation| operation.outcome == Outcome::Unknown).count();
        facts.libraries = self.libraries.iter().map(|(number, kind)| of_library(&operations, *number, *kind)).collect();
        let strange = record.strange.lock().unwrap();
        assert!(strange.is_empty(), "replies that no documentation allows for: {strange:#?}");
        verify::history(&operations, dir);
        let stale_reads = record.stale_reads.lock().unwrap();
        facts.stale_reads = stale_reads.len();
        stale::check(&operations, &stale_reads);
        verify::replays(fleet, index);
    }
}

/// Of those that are installed; the place of another is taken by a client of our own.
fn libraries(seed: u64) -> BTreeMap<usize, Kind> {
    // From numbers of their own, so that what else the seed stands for does not depend on them.
    let chosen = fastrand::Rng::with_seed(!seed).choose_multiple(Kind::all(), LIBRARIES);
    chosen.into_iter().enumerate().filter(|(_, kind)| kind.library.is_installed()).collect()
}

/// Until the cluster takes writes again, and each of its clients may have had a turn.
fn wait_for_writes<M: Work>(record: &Record<M>) {
    let acknowledged = || record.acknowledged.lock().unwrap().len();
    let before = acknowledged();
    wait::until("acknowledged writes", || (acknowledged() >= before + 2 * CLIENTS).then_some(()));
}

fn of_library<M: Work>(operations: &[Operation<M>], number: usize, kind: Kind) -> (String, usize, usize) {
    let own = operations.iter().filter(|operation| operation.client == number);
    own.fold((kind.name(), 0, 0), |(name, returned, unknown), operation| match operation.outcome {
        Outcome::Returned { .. } => (name, returned + 1, unknown),
        Outcome::Unknown => (name, returned, unknown + 1),
        Outcome::Refused => (name, returned, unknown),
    })
}

pub(crate) fn note(file: &Path, line: &str) {
    use std::io::Write;
    let mut file = fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
    writeln!(file, "{line}").unwrap();
}

struct End<'a, M: Work>(&'a Record<M>);

impl<M: Work> Drop for End<'_, M> {
    fn drop(&mut self) {
        self.0.done.store(true, Ordering::Relaxed);
    }
}

/// What a run that fails leaves behind: the data of all nodes and the history.
struct Kept<M: Work> {
    fleet: Fleet,
    record: Record<M>,
    dir: PathBuf,
}

impl<M: Work> Drop for Kept<M> {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        self.fleet.keep_data(&self.dir);
        let operations = self.record.operations.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        verify::write_history(&operations, &self.dir);
    }
}
