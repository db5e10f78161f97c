//! What breaks things.

use crate::cluster::Cluster;
use crate::faults::count;
use crate::os::{self, Crash, HostId};
use crate::rng::Rng;
use uhaha_tests::client::Value;

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLI;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    PowerFails,
    PowerFailsAtWrite,
    PowerFailsEverywhere,
    Split,
    Isolate,
    OneWay,
    Loss,
    Delays,
    SlowDisk,
    FullDisk,
    SyncFails,
    ReadFails,
    Rot,
    ClockJump,
    ClockDrift,
    Pause,
    Transfer,
    Snapshot,
    Join,
    Demote,
    Promote,
    Remove,
    Stranger,
    Heal,
}

/// Each with how likely it is.
const FAULTS: [(Fault, u64); 25] = [
    (Fault::Kill, 6),
    (Fault::PowerFails, 6),
    (Fault::PowerFailsAtWrite, 8),
    (Fault::PowerFailsEverywhere, 2),
    (Fault::Split, 6),
    (Fault::Isolate, 5),
    (Fault::OneWay, 6),
    (Fault::Loss, 4),
    (Fault::Delays, 3),
    (Fault::SlowDisk, 4),
    (Fault::FullDisk, 3),
    (Fault::SyncFails, 3),
    (Fault::ReadFails, 2),
    (Fault::Rot, 2),
    (Fault::ClockJump, 4),
    (Fault::ClockDrift, 4),
    (Fault::Pause, 6),
    (Fault::Transfer, 5),
    (Fault::Snapshot, 5),
    (Fault::Join, 4),
    (Fault::Demote, 2),
    (Fault::Promote, 3),
    (Fault::Remove, 1),
    (Fault::Stranger, 1),
    (Fault::Heal, 12),
];

pub(crate) struct Nemesis {
    rng: Rng,
    /// Some runs have few kinds of faults, and those often.
    weights: Vec<u64>,
    pause_ns: (u64, u64),
    latency_ns: (u64, u64),
}

impl Nemesis {
    pub(crate) fn new(seed: u64, only: Option<&str>) -> Nemesis {
        let mut rng = Rng::new(seed, "nemesis");
        let is_narrow = rng.one_in(3);
        let weigh = |(fault, weight): &(Fault, u64)| match *fault {
            Fault::Heal => *weight,
            _ if only.is_some() => u64::from(only.is_some_and(|only| format!("{fault:?}").starts_with(only))) * 20,
            _ if is_narrow && !rng.one_in(3) => 0,
            _ => *weight,
        };
        let weights = FAULTS.iter().map(weigh).collect();
        let pause_least = rng.magnitude(50 * MILLI, SECOND);
        let pause_ns = (pause_least, pause_least * rng.between(2, 6));
        Nemesis { rng, weights, pause_ns, latency_ns: os::enter(|os| os.network.latency_ns) }
    }

    /// Makes faults until `end`, then mends everything.
    pub(crate) fn rage(&mut self, cluster: &mut Cluster, end: u64) {
        while os::now() < end {
            let pause = self.rng.between(self.pause_ns.0, self.pause_ns.1);
            os::sleep(pause);
            let fault = self.choose();
            self.make(fault, cluster);
            for host in cluster.running() {
                cluster.info(host);
            }
        }
        self.mend(cluster);
    }

    fn choose(&mut self) -> Fault {
        let mut left = self.rng.below(self.weights.iter().sum());
        for ((fault, _), weight) in FAULTS.iter().zip(&self.weights) {
            match left.checked_sub(*weight) {
                Some(less) => left = less,
                None => return *fault,
            }
        }
        Fault::Heal
    }

    fn some(&mut self, hosts: &[HostId]) -> Option<HostId> {
        (!hosts.is_empty()).then(|| *self.rng.pick(hosts))
    }

    fn make(&mut self, fault: Fault, cluster: &mut Cluster) {
        let Some(host) = self.some(&cluster.running()) else { return self.mend(cluster) };
        let name = os::enter(|os| os.hosts[host].name.clone());
        match fault {
            Fault::Kill => {
                count("process killed");
                cluster.crash(host, Crash::Process);
                self.perhaps_start(cluster);
            }
            Fault::PowerFails => {
                count("power failure");
                cluster.crash(host, Crash::Power);
                self.perhaps_start(cluster);
            }
            Fault::PowerFailsEverywhere => {
                count("power failure of all");
                for host in cluster.running() {
                    cluster.crash(host, Crash::Power);
                }
                let dark = self.rng.magnitude(MILLI, 3 * SECOND);
                os::sleep(dark);
                cluster.start_all();
            }
            Fault::PowerFailsAtWrite => {
                count("power failure at a write");
                let at = self.rng.magnitude(1, 60);
                os::enter(|os| os.disks.faults(host).power_fails_in = Some(at));
            }
            Fault::Split => {
                count("partition");
                let all = self.everybody();
                let side: Vec<HostId> = all.iter().copied().filter(|_| self.rng.one_in(2)).collect();
                self.cut(&side, &all, true);
            }
            Fault::Isolate => {
                count("node isolated");
                let all = self.everybody();
                self.cut(&[host], &all, true);
            }
            Fault::OneWay => {
                count("one-way cut");
                let all = self.everybody();
                match self.rng.one_in(2) {
                    true => self.cut(&[host], &all, false),
                    false => {
                        let others: Vec<HostId> = all.into_iter().filter(|other| *other != host).collect();
                        self.cut(&others, &[host], false);
                    }
                }
            }
            Fault::Loss => {
                count("lossy network");
                let lost = self.rng.magnitude(3, 50);
                os::enter(|os| os.network.lost_one_in = lost);
            }
            Fault::Delays => {
                count("slow network");
                let least = self.rng.magnitude(MILLI, 100 * MILLI);
                os::enter(|os| os.network.latency_ns = (least, least * 4));
            }
            Fault::SlowDisk => {
                count("slow disk");
                let least = self.rng.magnitude(5 * MILLI, 500 * MILLI);
                os::enter(|os| os.disks.faults(host).sync_ns = (least, least * 2));
            }
            Fault::FullDisk => {
                count("full disk");
                os::enter(|os| os.disks.faults(host).is_full = true);
            }
            Fault::SyncFails => {
                count("sync fails");
                os::enter(|os| os.disks.faults(host).syncs_fail = 1);
            }
            Fault::ReadFails => {
                count("read fails");
                let many = self.rng.between(1, 3) as u32;
                os::enter(|os| os.disks.faults(host).reads_fail = many);
            }
            Fault::Rot => {
                let bits = self.rng.magnitude(1, 2_000);
                if cluster.rot(host, bits, self.rng.one_in(2)) {
                    count("bits flipped on a disk");
                }
            }
            Fault::ClockJump => {
                count("clock jump");
                let far = self.rng.magnitude(MILLI, 3_600 * SECOND) as i64;
                let ns = if self.rng.one_in(2) { far } else { -far };
                os::enter(|os| os.hosts[host].clock.jump(ns));
            }
            Fault::ClockDrift => {
                count("clock drift");
                let most = cluster.plan.drift_ppm_max();
                let ppm = self.rng.between(0, 2 * most) as i64 - most as i64;
                os::enter(|os| {
                    let now = os.scheduler.now();
                    os.hosts[host].clock.drift(now, ppm);
                });
            }
            Fault::Pause => {
                count("process paused");
                let ns = self.rng.magnitude(10 * MILLI, 5 * SECOND);
                os::enter(|os| {
                    os.say(host, &format!("is paused for {} ms", ns / MILLI));
                    os.scheduler.pause(host, ns);
                });
            }
            Fault::Transfer => {
                count("leadership transfer");
                let Some(to) = self.some(&cluster.current()) else { return };
                let to = os::enter(|os| os.hosts[to].name.clone());
                cluster.tell(host, &["RAFT", "TRANSFER", &to]);
            }
            Fault::Snapshot => {
                count("snapshot asked for");
                cluster.tell(host, &["RAFT", "SNAPSHOT", "NOW"]);
            }
            Fault::Join => {
                if cluster.started < cluster.nodes.len() {
                    count("node joins");
                    let new = cluster.nodes[cluster.started];
                    cluster.started += 1;
                    cluster.start_node(new);
                }
            }
            // A voter may be gone for good, and the others must be enough.
            Fault::Demote | Fault::Remove if cluster.rotten.is_some() => {}
            Fault::Demote => {
                count("node demoted");
                cluster.is_fewer = true;
                cluster.tell(host, &["RAFT", "SERVER", "DEMOTE", &name]);
            }
            Fault::Promote => {
                count("node promoted");
                let Some(which) = self.some(&cluster.current()) else { return };
                let which = os::enter(|os| os.hosts[which].name.clone());
                cluster.tell(host, &["RAFT", "SERVER", "PROMOTE", &which]);
            }
            Fault::Remove => self.remove(host, &name, cluster),
            Fault::Stranger => {
                if cluster.start_stranger() {
                    count("node with a wrong secret");
                }
            }
            Fault::Heal => self.mend(cluster),
        }
        os::say(&format!("fault: {fault:?} {name}"));
    }

    /// A node that leaves for good must leave enough behind.
    fn remove(&mut self, host: HostId, name: &str, cluster: &mut Cluster) {
        if cluster.current().len() <= 3 || !cluster.leaving.is_empty() {
            return;
        }
        let Some(by) = self.some(&cluster.running()) else { return };
        cluster.is_fewer = true;
        let removed = cluster.tell(by, &["RAFT", "SERVER", "REMOVE", name]);
        match removed {
            Some(Value::Integer(1)) => {
                count("node removed");
                cluster.crash(host, Crash::Process);
                cluster.retired.push(host);
            }
            _ => cluster.leaving.push(host),
        }
    }

    /// All hosts but the world.
    fn everybody(&self) -> Vec<HostId> {
        os::enter(|os| (1..os.hosts.len()).collect())
    }

    fn cut(&mut self, side: &[HostId], all: &[HostId], both_ways: bool) {
        os::enter(|os| {
            for one in side {
                for other in all.iter().filter(|other| !side.contains(other)) {
                    os.network.cut(*one, *other);
                    if both_ways {
                        os.network.cut(*other, *one);
                    }
                }
            }
        });
    }

    fn perhaps_start(&mut self, cluster: &mut Cluster) {
        if self.rng.one_in(2) {
            let dark = self.rng.magnitude(MILLI, 2 * SECOND);
            os::sleep(dark);
            cluster.start_all();
        }
    }

    /// Everything works again, and every node runs.
    fn mend(&mut self, cluster: &mut Cluster) {
        let latency_ns = self.latency_ns;
        os::enter(|os| {
            os.network.heal();
            os.network.latency_ns = latency_ns;
            let now = os.scheduler.now();
            for host in &mut os.hosts {
                host.clock.correct(now);
            }
        });
        let sync_ns = cluster.plan.sync_ns;
        for host in cluster.current() {
            os::enter(|os| {
                let faults = os.disks.faults(host);
                *faults = crate::os::DiskFaults { sync_ns, ..Default::default() };
            });
        }
        cluster.start_all();
    }
}
