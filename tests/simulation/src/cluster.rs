//! All nodes of a run: which there are, which run, and whether they agree.

use crate::history::{self, Outcome, record};
use crate::logs::Logs;
use crate::os::{self, Crash, HostId};
use crate::plan::Plan;
use crate::verdict::report;
use crate::{client, faults, node, telemetry};
use std::collections::BTreeMap;
use std::time::Duration;
use uhaha_tests::client::{Client as Connection, Value};

const SECOND: u64 = 1_000_000_000;
const SECRET: &str = "of the cluster";
/// Far more than a cluster without faults needs to agree.
const PATIENCE_NS: u64 = 60 * SECOND;
/// More than a node needs to end.
const SHUTDOWN_NS: u64 = 10 * SECOND;
const ANSWER: Duration = Duration::from_secs(3);

pub(crate) struct Cluster {
    pub(crate) plan: Plan,
    /// Founders first, then those that join later.
    pub(crate) nodes: Vec<HostId>,
    /// How many were ever started.
    pub(crate) started: usize,
    /// Those that were removed for good.
    pub(crate) retired: Vec<HostId>,
    /// Those that were to be removed, and nobody has said whether they were.
    pub(crate) leaving: Vec<HostId>,
    /// One that does not know the peer secret, and whether it was started.
    stranger: HostId,
    stranger_came: bool,
    /// The one whose disk has lost bits. It may find that it cannot go on.
    pub(crate) rotten: Option<HostId>,
    /// A node was to become no voter, or none at all, and may still do.
    pub(crate) is_fewer: bool,
    pub(crate) logs: Logs,
    /// The leader of each term.
    leaders: BTreeMap<u64, HostId>,
    /// The digest of the state after an entry.
    states: BTreeMap<u64, String>,
}

/// What a node says of itself.
pub(crate) struct Info(BTreeMap<String, String>);

impl Info {
    pub(crate) fn get(&self, field: &str) -> &str {
        self.0.get(field).map_or("", String::as_str)
    }

    fn number(&self, field: &str) -> u64 {
        self.get(field).parse().unwrap_or(0)
    }
}

impl Cluster {
    pub(crate) fn start(plan: &Plan, nodes: Vec<HostId>, stranger: HostId) -> Cluster {
        let cluster = Cluster {
            plan: plan.clone(),
            nodes,
            started: plan.founders,
            retired: Vec::new(),
            leaving: Vec::new(),
            stranger,
            stranger_came: false,
            rotten: None,
            is_fewer: false,
            logs: Logs::default(),
            leaders: BTreeMap::new(),
            states: BTreeMap::new(),
        };
        for position in 0..plan.founders {
            cluster.start_node(cluster.nodes[position]);
        }
        cluster
    }

    pub(crate) fn start_node(&self, host: HostId) {
        node::start(host, &self.plan, &self.nodes[..self.plan.founders], SECRET);
    }

    /// Starts a node that wants to join and does not know the secret; returns whether it is there for the first time.
    pub(crate) fn start_stranger(&mut self) -> bool {
        let is_first = !std::mem::replace(&mut self.stranger_came, true);
        if is_first {
            node::start(self.stranger, &self.plan, &self.nodes[..self.plan.founders], "of another");
        }
        is_first
    }

    /// Whoever does not know the secret belongs to no cluster, and so it answers nobody.
    pub(crate) fn look_at_stranger(&mut self) {
        if self.stranger_came && self.info(self.stranger).is_some() {
            report("strangers stay out", "a node that does not know the peer secret was taken in");
        }
    }

    /// Has a node end and flips bits on its disk, once in a run; returns whether it was done. A log that was closed well
    /// is not looked at as one is that was not.
    pub(crate) fn rot(&mut self, host: HostId, bits: u64, ends_well: bool) -> bool {
        // A cluster that is not begun yet may need each of those that begin it, and one with fewer voters each of them.
        let founders = &self.nodes[..self.plan.founders];
        let has_begun = history::has_begun() && founders.iter().all(|founder| self.logs.has_served(*founder));
        if self.rotten.is_some() || self.is_fewer || !has_begun {
            return false;
        }
        if ends_well {
            self.shut_down(host);
        }
        self.crash(host, Crash::Process);
        self.rotten = Some(host);
        self.logs.forget(host);
        os::enter(|os| {
            if let Some(path) = os.disks.rot(host, bits) {
                os.say(host, &format!("{bits} bits are flipped in {}", path.display()));
            }
        });
        self.start_node(host);
        true
    }

    fn shut_down(&self, host: HostId) {
        self.tell(host, &["SHUTDOWN"]);
        let begin = os::now();
        while os::enter(|os| os.hosts[host].is_running) && os::now() - begin < SHUTDOWN_NS {
            os::sleep(SECOND / 100);
        }
    }

    /// A node that refuses what its disk has is removed, as the manual says.
    fn gives_up(&mut self, host: HostId) -> bool {
        let refuses = self.rotten == Some(host) && os::enter(|os| os.hosts[host].ended_itself);
        if refuses {
            self.retired.push(host);
            let name = os::enter(|os| os.hosts[host].name.clone());
            if let Some(by) = self.running().first() {
                self.tell(*by, &["RAFT", "SERVER", "REMOVE", &name]);
            }
        }
        refuses
    }

    /// The nodes that were started and not removed.
    pub(crate) fn current(&self) -> Vec<HostId> {
        let started = self.nodes[..self.started].iter().copied();
        started.filter(|host| !self.retired.contains(host)).collect()
    }

    pub(crate) fn running(&self) -> Vec<HostId> {
        self.current().into_iter().filter(|host| os::enter(|os| os.hosts[*host].is_running)).collect()
    }

    pub(crate) fn crash(&mut self, host: HostId, crash: Crash) {
        node::crash(host, crash);
        self.logs.look(host);
    }

    /// Those that have found that they were removed are.
    fn retire(&mut self) {
        for host in std::mem::take(&mut self.leaving) {
            match telemetry::was_removed(host) {
                true => {
                    self.crash(host, Crash::Process);
                    self.retired.push(host);
                }
                false => self.leaving.push(host),
            }
        }
    }

    /// Starts whatever does not run.
    pub(crate) fn start_all(&mut self) {
        self.retire();
        for host in self.current() {
            if !os::enter(|os| os.hosts[host].is_running) && !self.gives_up(host) {
                self.logs.look(host);
                self.start_node(host);
            }
        }
    }

    pub(crate) fn connect(&self, host: HostId) -> Option<Connection> {
        let mut connection = Connection::try_connect(node::address(host).parse().ok()?)?;
        connection.set_patience(ANSWER);
        Some(connection)
    }

    /// Has a node do something; returns its answer, if there is one.
    pub(crate) fn tell(&self, host: HostId, words: &[&str]) -> Option<Value> {
        let answer = self.connect(host)?.try_call(words);
        let shown = answer.as_ref().map_or("no answer".to_owned(), |answer| format!("{answer:?}"));
        os::say(&format!("{} to {}: {}", words.join(" "), node::address(host), &shown[..shown.len().min(200)]));
        answer
    }

    pub(crate) fn info(&mut self, host: HostId) -> Option<Info> {
        let answer = self.connect(host)?.try_call(&["RAFT", "INFO"])?;
        if matches!(answer, Value::Error(_)) {
            return None;
        }
        let info = Info(answer.fields().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect());
        self.note_leader(host, &info);
        self.note_state(host, &info);
        self.logs.note_served(host);
        Some(info)
    }

    fn note_leader(&mut self, host: HostId, info: &Info) {
        if info.get("state") == "leader" {
            let term = info.number("term");
            let known = *self.leaders.entry(term).or_insert(host);
            if known != host {
                let names = os::enter(|os| (os.hosts[known].name.clone(), os.hosts[host].name.clone()));
                report("one leader per term", &format!("{} and {} both led in term {term}", names.0, names.1));
            }
        }
    }

    /// Nodes compare the same; here it is seen if they do not.
    fn note_state(&mut self, host: HostId, info: &Info) {
        let (index, state) = (info.number("state_digest_index"), info.get("state_digest"));
        // It was not made yet.
        if state.bytes().all(|digit| digit == b'0') {
            return;
        }
        let known = self.states.entry(index).or_insert_with(|| state.to_owned());
        if *known != state {
            let name = os::enter(|os| os.hosts[host].name.clone());
            report("states", &format!("{name} has {state} after entry {index}, and another node had {known}"));
        }
    }

    /// Waits until all nodes have applied the same entries and have the same state.
    pub(crate) fn settle(&mut self) {
        let begin = os::now();
        loop {
            match self.disagreement() {
                None => return,
                Some(disagreement) if os::now() - begin > PATIENCE_NS => {
                    return report("agreement after the faults", &disagreement);
                }
                Some(_) => os::sleep(SECOND),
            }
        }
    }

    /// Why the nodes do not agree yet.
    fn disagreement(&mut self) -> Option<String> {
        self.retire();
        let mut first: Option<Info> = None;
        for host in self.current() {
            let name = os::enter(|os| os.hosts[host].name.clone());
            let Some(info) = self.info(host) else {
                // One that was stopped by a fault that lay in wait is started again.
                self.start_all();
                return Some(format!("{name} does not answer"));
            };
            if info.get("applied_index") != info.get("last_log_index") || info.get("standing") != "sound" {
                return Some(format!("{name} has {} and is {}", info.get("applied_index"), info.get("standing")));
            }
            let Some(first) = &first else {
                first = Some(info);
                continue;
            };
            for field in ["applied_index", "term", "digest_index", "digest"] {
                if first.get(field) != info.get(field) {
                    return Some(format!("{name}: {field} is {} and not {}", info.get(field), first.get(field)));
                }
            }
        }
        None
    }

    /// Asks what is there in the end, as one more client.
    pub(crate) fn ask_for_the_last(&self) {
        for call in client::last_calls(self.plan.guest) {
            let mut answered = false;
            for host in self.current().into_iter().cycle().take(10 * self.nodes.len()) {
                let Some(mut connection) = self.connect(host) else { continue };
                let outcome = record(0, call.clone(), |call| client::ask(self.plan.guest, &mut connection, call));
                answered = !matches!(outcome, Outcome::Unknown(_) | Outcome::Refused(_));
                if answered {
                    break;
                }
                os::sleep(SECOND / 10);
            }
            if !answered {
                report("answers after the faults", &format!("{call:?} is not answered by any node"));
            }
        }
    }

    /// Ends all nodes and looks at what they leave.
    pub(crate) fn end(&mut self) {
        for host in self.running() {
            self.crash(host, Crash::Process);
        }
        faults::count_many("(logs compared)", self.logs.read);
        faults::count_many("(terms whose leader was seen)", self.leaders.len() as u64);
    }
}
