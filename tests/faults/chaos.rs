//! The faults: each is done to a running cluster, lasts for a while, and is undone.

use crate::fleet::Fleet;
use rustix::process::Signal;
use std::fs;
use std::thread;
use std::time::Duration;
use uhaha_tests::network::ip;
use uhaha_tests::ntp::FakeServer;
use uhaha_tests::proxy::Mode;
use uhaha_tests::{Value, wait};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    KillOne,
    KillLeader,
    KillMajority,
    KillAll,
    Stop,
    RollingRestart,
    Pause,
    PauseLeader,
    SplitMinority,
    SplitLeader,
    CutOneWay,
    MuteLeader,
    ProxyDelay,
    ProxyTrickle,
    ProxySilent,
    ProxyDeaf,
    ProxyMute,
    ProxyCut,
    ProxyFlaky,
    DiskFull,
    SyncFails,
    ClockJump,
    Transfer,
    Snapshot,
    Replace,
}

/// What the network of a run is like: nodes see each other, or through proxies.
const EVERYWHERE: [Fault; 14] = [
    Fault::KillOne,
    Fault::KillLeader,
    Fault::KillMajority,
    Fault::KillAll,
    Fault::Stop,
    Fault::RollingRestart,
    Fault::Pause,
    Fault::PauseLeader,
    Fault::DiskFull,
    Fault::SyncFails,
    Fault::Transfer,
    Fault::Snapshot,
    Fault::Replace,
    Fault::ClockJump,
];
const DIRECT: [Fault; 4] = [Fault::SplitMinority, Fault::SplitLeader, Fault::CutOneWay, Fault::MuteLeader];
const PROXIED: [Fault; 7] = [
    Fault::ProxyDelay,
    Fault::ProxyTrickle,
    Fault::ProxySilent,
    Fault::ProxyDeaf,
    Fault::ProxyMute,
    Fault::ProxyCut,
    Fault::ProxyFlaky,
];

impl Fault {
    /// All that may befall such a run.
    pub(crate) fn possible(proxied: bool, clocks: bool) -> Vec<Fault> {
        let network: &[Fault] = if proxied { &PROXIED } else { &DIRECT };
        let all = EVERYWHERE.iter().chain(network).copied();
        // Those of the network twice, for they have many faces.
        let all = all.chain(network.iter().copied());
        all.filter(|fault| clocks || *fault != Fault::ClockJump).collect()
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Fault::KillOne => "kill-one",
            Fault::KillLeader => "kill-leader",
            Fault::KillMajority => "kill-majority",
            Fault::KillAll => "kill-all",
            Fault::Stop => "stop-one",
            Fault::RollingRestart => "rolling-restart",
            Fault::Pause => "pause-one",
            Fault::PauseLeader => "pause-leader",
            Fault::SplitMinority => "split-minority",
            Fault::SplitLeader => "split-leader",
            Fault::CutOneWay => "cut-one-way",
            Fault::MuteLeader => "mute-leader",
            Fault::ProxyDelay => "proxy-delay",
            Fault::ProxyTrickle => "proxy-trickle",
            Fault::ProxySilent => "proxy-silent",
            Fault::ProxyDeaf => "proxy-deaf",
            Fault::ProxyMute => "proxy-mute",
            Fault::ProxyCut => "proxy-cut",
            Fault::ProxyFlaky => "proxy-flaky",
            Fault::DiskFull => "disk-full",
            Fault::SyncFails => "sync-fails",
            Fault::ClockJump => "clock-jump",
            Fault::Transfer => "transfer",
            Fault::Snapshot => "snapshot",
            Fault::Replace => "replace-member",
        }
    }
}

pub(crate) struct Chaos<'a> {
    pub(crate) fleet: &'a mut Fleet,
    pub(crate) random: fastrand::Rng,
    pub(crate) clocks: &'a [FakeServer],
    /// What each node is started with beside what all are.
    pub(crate) args: &'a [Vec<String>],
    pub(crate) replaced: usize,
}

impl Chaos<'_> {
    /// Does it and undoes it; false if it cannot be done now.
    pub(crate) fn inflict(&mut self, fault: Fault) -> bool {
        let leader = self.fleet.leader();
        let one = self.some_node();
        match fault {
            Fault::KillOne => self.kill(&[one]),
            Fault::KillLeader => self.kill(&[leader.unwrap_or(one)]),
            Fault::KillMajority => {
                let majority = self.some_nodes(self.fleet.members.len() / 2 + 1);
                self.kill(&majority);
            }
            Fault::KillAll => self.kill(&self.fleet.running()),
            Fault::Stop => {
                self.fleet.stop(one);
                self.last_a_while();
                self.fleet.restart(one);
            }
            Fault::RollingRestart => {
                for position in self.fleet.running() {
                    self.fleet.stop(position);
                    self.fleet.restart(position);
                    self.wait_until_caught_up(position);
                }
            }
            Fault::Pause => self.pause(one),
            Fault::PauseLeader => self.pause(leader.unwrap_or(one)),
            Fault::SplitMinority => {
                let count = self.random.usize(1..=(self.fleet.members.len() - 1) / 2);
                let apart = self.some_nodes(count);
                self.split(&apart);
            }
            Fault::SplitLeader => {
                let apart = leader.unwrap_or(one);
                self.split(&[apart]);
            }
            Fault::CutOneWay => {
                let pair = self.some_nodes(2);
                self.fleet.network.cut_one_way(pair[0] + 1, pair[1] + 1);
                self.last_a_while();
            }
            Fault::MuteLeader => {
                let from = leader.unwrap_or(one);
                for to in (0..self.fleet.members.len()).filter(|to| *to != from) {
                    self.fleet.network.cut_one_way(from + 1, to + 1);
                }
                self.last_a_while();
            }
            Fault::ProxyDelay => {
                let delay = Duration::from_millis(self.random.u64(5..150));
                self.bend(Mode::Delay(delay));
            }
            Fault::ProxyTrickle => self.bend(Mode::Trickle),
            Fault::ProxySilent => self.bend(Mode::Silent),
            Fault::ProxyDeaf => self.bend(Mode::Deaf),
            Fault::ProxyMute => self.bend(Mode::Mute),
            Fault::ProxyCut => self.bend(Mode::Cut),
            Fault::ProxyFlaky => self.bend(Mode::Flaky(50)),
            Fault::DiskFull => return self.fill_a_disk(),
            Fault::SyncFails => self.fail_a_sync(one),
            Fault::ClockJump => self.clocks[one].set(self.random.i64(-3600..3600)),
            Fault::Transfer => {
                let to = self.fleet.members[one].name.clone();
                // Refused when that node is behind or another change is under way, which is fine.
                let _ = self.fleet.call(one, &["RAFT", "TRANSFER", &to]);
            }
            Fault::Snapshot => {
                for position in self.fleet.running() {
                    let _ = self.fleet.call(position, &["RAFT", "SNAPSHOT", "NOW"]);
                }
            }
            Fault::Replace => return self.replace(one),
        }
        self.fleet.heal_network();
        true
    }

    fn last_a_while(&mut self) {
        // A fault has no state to wait for: how long it lasts is part of it.
        thread::sleep(Duration::from_millis(self.random.u64(200..2500)));
    }

    fn some_node(&mut self) -> usize {
        self.random.usize(..self.fleet.members.len())
    }

    fn some_nodes(&mut self, count: usize) -> Vec<usize> {
        self.random.choose_multiple(0..self.fleet.members.len(), count)
    }

    fn kill(&mut self, positions: &[usize]) {
        positions.iter().for_each(|position| self.fleet.kill(*position));
        if self.random.bool() {
            self.last_a_while();
        }
        positions.iter().for_each(|position| self.fleet.restart(*position));
    }

    fn pause(&mut self, position: usize) {
        self.fleet.signal(position, Signal::STOP);
        self.last_a_while();
        self.fleet.signal(position, Signal::CONT);
    }

    fn split(&mut self, positions: &[usize]) {
        let machines: Vec<usize> = positions.iter().map(|position| position + 1).collect();
        self.fleet.network.split(&machines);
        self.last_a_while();
    }

    /// One node's proxy, or all for what one node sends.
    fn bend(&mut self, mode: Mode) {
        let one = self.some_node();
        let of_one = self.random.bool();
        for (position, member) in self.fleet.members.iter().enumerate() {
            let Some(proxy) = &member.proxy else { continue };
            if of_one && position != one {
                proxy.set_for(ip(one + 1).into(), mode);
            } else if !of_one && position == one {
                proxy.set(mode);
            }
        }
        self.last_a_while();
    }

    fn fill_a_disk(&mut self) -> bool {
        let Some(position) = self.fleet.small_disk() else { return false };
        let ballast = self.fleet.fill_disk(position);
        // The file of the log has room for some more entries; a snapshot may be what finds none.
        self.fleet.wait_for_fault(position, "No space left on device");
        fs::remove_file(ballast).unwrap();
        self.fleet.restart(position);
        true
    }

    fn fail_a_sync(&mut self, position: usize) {
        let trigger = self.fleet.members[position].node.data().join("FAIL-SYNC");
        fs::write(&trigger, if self.random.bool() { "after" } else { "" }).unwrap();
        self.fleet.wait_for_fault(position, "log.redb");
        fs::remove_file(trigger).unwrap();
        self.fleet.restart(position);
    }

    /// Removes a node for good and has another one take its place.
    fn replace(&mut self, position: usize) -> bool {
        let name = self.fleet.members[position].name.clone();
        let through = (position + 1) % self.fleet.members.len();
        let removed = wait::until("the removal", || {
            let reply = self.fleet.call(through, &["RAFT", "SERVER", "REMOVE", &name])?;
            match &reply {
                Value::Integer(1) => Some(true),
                // It was removed by the try before, whose answer was lost.
                Value::Error(error) if error.contains("has no node") => Some(true),
                _ => None,
            }
        });
        self.fleet.kill(position);
        self.replaced += 1;
        self.fleet.replace(position, &format!("{name}-{}", self.replaced), &self.args[position]);
        self.wait_until_caught_up(position);
        removed
    }

    /// As the operator of a rolling restart waits.
    fn wait_until_caught_up(&self, position: usize) {
        wait::until("a node that has caught up", || {
            let voter = self.fleet.info(position, "voter")? == "true";
            let applied: u64 = self.fleet.info(position, "applied_index")?.parse().ok()?;
            let leader = self.fleet.leader()?;
            let committed: u64 = self.fleet.info(leader, "commit_index")?.parse().ok()?;
            (voter && applied > 0 && applied + 100 >= committed).then_some(())
        });
    }
}
