//! How `--bootstrap-expect N` makes one cluster of N nodes that all start without one.
//!
//! Each node looks at all addresses until it sees N nodes that wait, itself among them. The one whose name comes first
//! founds the cluster: it writes that down, has every other node write down that it belongs to it, and begins the log
//! with all of them as voters. Names do not change, so exactly one of N nodes can be the founder, whatever restarts in
//! between; a founder that starts again gathers the others again, and the others go on asking to be let in.

use super::join::Knock;
use super::link::Peers;
use super::retry::Retry;
use super::rpc::{self, Kind, Muster, Mustered, Recruit};
use crate::net::peer::{Remote, Service};
use crate::type_config::{Node, NodeId};
use bytes::Bytes;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Time for the other side to sync that it belongs to a cluster.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

type ClusterId = [u8; 16];

/// A node among those that are to begin a cluster. Clones share it, and answer the other nodes.
#[derive(Clone)]
pub struct Mustering {
    shared: Arc<Shared>,
}

struct Shared {
    recruit: Recruit,
    addresses: Vec<String>,
    peers: Peers,
    standing: watch::Sender<Standing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Waits,
    Founds,
    /// A founder waits until it is written down that this node belongs to its cluster.
    Summoned(ClusterId),
    Belongs(ClusterId),
    /// It asks a cluster that has begun to be let in.
    Leaves,
}

/// How a node that waited goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All are there, and this node gathers them.
    Founds,
    /// It is to write down that it belongs to this cluster, and then to say so by `belongs`.
    Summoned(ClusterId),
    /// There is a cluster already.
    Joins,
}

impl Mustering {
    /// `founds` for a node that has written down that it founds a cluster.
    pub fn new(knock: Knock, expect: usize, founds: bool) -> Mustering {
        let Knock { local, node, module, engine, addresses } = knock;
        let recruit = Recruit { node_id: local.node_id, node, module, engine, expect };
        let peers = Peers::new(move || local.clone());
        let standing = watch::Sender::new(if founds { Standing::Founds } else { Standing::Waits });
        Mustering { shared: Arc::new(Shared { recruit, addresses, peers, standing }) }
    }

    /// Waits until it is clear which cluster the node belongs to.
    pub async fn wait(&self) -> Outcome {
        let mut standing = self.shared.standing.subscribe();
        let mut retry = Retry::new();
        loop {
            let look = async {
                let step = Step::of(&self.shared.recruit, self.ask_all(None).await);
                if let Step::Waits(what) = &step {
                    self.say(&mut retry, what);
                    retry.pause().await;
                }
                step
            };
            let step = tokio::select! {
                // The sender is this node's own, so it outlives the wait.
                _ = standing.wait_for(|now| matches!(now, Standing::Summoned(_))) => Step::Waits(String::new()),
                step = look => step,
            };
            match step {
                Step::Founds => drop(self.move_on(Standing::Founds)),
                Step::Joins => drop(self.move_on(Standing::Leaves)),
                Step::Waits(_) => {}
            }
            // A founder may have been quicker than what this node found out meanwhile.
            match *self.shared.standing.borrow() {
                Standing::Waits => {}
                Standing::Founds => return Outcome::Founds,
                Standing::Leaves => return Outcome::Joins,
                Standing::Summoned(cluster) | Standing::Belongs(cluster) => return Outcome::Summoned(cluster),
            }
        }
    }

    /// It is written down that this node belongs to the cluster that it was summoned to.
    pub fn belongs(&self, cluster: ClusterId) {
        self.shared.standing.send_replace(Standing::Belongs(cluster));
    }

    /// Has the others write down that they belong to the cluster that this node founds. Returns all nodes it begins
    /// with, this one among them.
    pub async fn gather(&self, cluster: ClusterId) -> BTreeMap<NodeId, Node> {
        let recruit = &self.shared.recruit;
        let mut founders = BTreeMap::from([(recruit.node_id, recruit.node.clone())]);
        let mut retry = Retry::new();
        loop {
            for mustered in self.ask_all(Some(cluster)).await {
                match mustered {
                    Mustered::Belongs { node_id, node, cluster: theirs } if theirs == cluster => {
                        founders.insert(node_id, node);
                    }
                    Mustered::No(reason) => self.say(&mut retry, &reason),
                    Mustered::Member => self.say(&mut retry, "one of them is a member of another cluster"),
                    Mustered::Waits(_) | Mustered::Belongs { .. } => {}
                }
            }
            if founders.len() >= recruit.expect {
                return founders;
            }
            let names: Vec<&str> = founders.values().map(|node| node.name.as_str()).collect();
            self.say(&mut retry, &format!("founding one of {}, has {}", recruit.expect, names.join(", ")));
            retry.pause().await;
        }
    }

    /// Only a node that still waits takes another way; whether it did.
    fn move_on(&self, to: Standing) -> bool {
        self.shared.standing.send_if_modified(|standing| {
            let waits = *standing == Standing::Waits;
            if waits {
                *standing = to;
            }
            waits
        })
    }

    /// What the other nodes say that can be reached, but for this one.
    async fn ask_all(&self, cluster: Option<ClusterId>) -> Vec<Mustered> {
        let muster = Muster { recruit: self.shared.recruit.clone(), cluster };
        let asked = join_all(self.shared.addresses.iter().map(|address| self.ask(address, &muster))).await;
        asked.into_iter().flatten().collect()
    }

    async fn ask(&self, address: &str, muster: &Muster) -> Option<Mustered> {
        // A new connection each time: one from before the other side belonged to a cluster would not know of it.
        let connection = self.shared.peers.link(None, address).connection().await.ok()?;
        if connection.remote().node_id == self.shared.recruit.node_id {
            return None;
        }
        match connection.ask(Kind::Muster as u8, rpc::encode(muster).ok()?, ANSWER_TIMEOUT).await {
            Ok(answer) => rpc::decode(&answer).ok(),
            Err(error) => {
                tracing::debug!(peer = address, error = crate::fault::chain(&error), "no answer about a new cluster");
                None
            }
        }
    }

    async fn answer_muster(&self, muster: Muster) -> Mustered {
        let recruit = &self.shared.recruit;
        let Some(cluster) = muster.cluster else {
            return match *self.shared.standing.borrow() {
                Standing::Waits => Mustered::Waits(recruit.clone()),
                Standing::Founds => Mustered::No(format!("{} gathers the others", recruit.node)),
                Standing::Leaves => Mustered::No(format!("{} joins a cluster that has begun", recruit.node)),
                Standing::Summoned(cluster) | Standing::Belongs(cluster) => self.belongs_to(cluster),
            };
        };
        if let Some(reason) = objection(recruit, &muster.recruit) {
            return Mustered::No(reason);
        }
        self.move_on(Standing::Summoned(cluster));
        let mut standing = self.shared.standing.subscribe();
        let written = standing.wait_for(|now| *now != Standing::Summoned(cluster)).await;
        match written.map(|standing| *standing) {
            Ok(Standing::Belongs(theirs)) => self.belongs_to(theirs),
            Ok(Standing::Founds) => Mustered::No(format!("{} founds a cluster too", recruit.node)),
            _ => Mustered::No(format!("{} goes another way", recruit.node)),
        }
    }

    fn belongs_to(&self, cluster: ClusterId) -> Mustered {
        let Recruit { node_id, node, .. } = self.shared.recruit.clone();
        Mustered::Belongs { node_id, node, cluster }
    }

    fn say(&self, retry: &mut Retry, what: &str) {
        retry.say(&self.shared.addresses.join(", "), what);
    }
}

impl Service for Mustering {
    async fn answer(&self, _from: Remote, kind: u8, payload: Bytes) -> Result<Bytes, String> {
        match Kind::of(kind) {
            Some(Kind::Muster) => {
                let muster = rpc::decode(&payload).map_err(|error| error.to_string())?;
                rpc::encode(&self.answer_muster(muster).await).map_err(|error| error.to_string())
            }
            _ => Err("this node belongs to no cluster yet".to_owned()),
        }
    }
}

/// What a look around means for a node.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Founds,
    Joins,
    /// For what.
    Waits(String),
}

impl Step {
    fn of(this: &Recruit, seen: Vec<Mustered>) -> Step {
        // A node may have several addresses.
        let mut waiting = BTreeMap::from([(this.node_id, this.clone())]);
        let mut reason = None;
        for mustered in seen {
            match mustered {
                Mustered::Waits(recruit) => drop(waiting.insert(recruit.node_id, recruit)),
                Mustered::Member => return Step::Joins,
                Mustered::Belongs { node, .. } => reason = Some(format!("{node} belongs to one that has not begun")),
                Mustered::No(why) => reason = Some(why),
            }
        }
        if let Some(reason) = reason {
            return Step::Waits(reason);
        }
        if let Some(reason) = waiting.values().find_map(|other| objection(this, other)) {
            return Step::Waits(reason);
        }
        let names: Vec<&str> = waiting.values().map(|recruit| recruit.node.name.as_str()).collect();
        let (here, expect) = (names.len(), this.expect);
        let names_here = names.join(", ");
        if here < expect {
            return Step::Waits(format!("{here} of {expect} nodes are here: {names_here}"));
        }
        if here > expect {
            return Step::Waits(format!(
                "{here} nodes are here ({names_here}), but --bootstrap-expect is {expect}: stop those that are to join \
                 later"
            ));
        }
        match names.iter().min() {
            Some(first) if *first != this.node.name => Step::Waits(format!("all are here, {first} gathers them")),
            _ => Step::Founds,
        }
    }
}

/// Why two nodes cannot begin a cluster together.
fn objection(this: &Recruit, other: &Recruit) -> Option<String> {
    if this.node_id == other.node_id {
        return None;
    }
    let (node, theirs) = (&this.node, &other.node);
    if node.name == theirs.name {
        return Some(format!("{node} and {theirs} have the same name; give one another --id"));
    }
    if node.address == theirs.address {
        return Some(format!("{node} and {theirs} say that they have the same address; give each its --advertise"));
    }
    if this.module != other.module {
        return Some(format!("{node} and {theirs} run different modules ({} and {})", this.module, other.module));
    }
    if this.engine != other.engine {
        return Some(format!(
            "{node} and {theirs} have different engines ({} and {}); start one version of the server on all",
            this.engine, other.engine
        ));
    }
    let (expect, expected) = (this.expect, other.expect);
    (expect != expected).then(|| {
        format!("{node} and {theirs} differ in --bootstrap-expect ({expect} and {expected}); start them with the same")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recruit(number: u64) -> Recruit {
        let node = Node { name: format!("n{number}"), address: format!("10.0.0.{number}:1") };
        Recruit { node_id: 100 - number, node, module: "m".into(), engine: "e".into(), expect: 3 }
    }

    fn waits(number: u64) -> Mustered {
        Mustered::Waits(recruit(number))
    }

    fn reason(this: u64, seen: Vec<Mustered>) -> String {
        match Step::of(&recruit(this), seen) {
            Step::Waits(reason) => reason,
            step => panic!("{step:?}"),
        }
    }

    #[test]
    fn the_first_by_name_founds_once_all_are_there() {
        assert_eq!(Step::of(&recruit(1), vec![waits(3), waits(2), waits(2)]), Step::Founds);
        assert_eq!(reason(2, vec![waits(3), waits(1)]), "all are here, n1 gathers them");
        assert_eq!(reason(1, vec![waits(3)]), "2 of 3 nodes are here: n3, n1");
        assert!(reason(1, vec![waits(3), waits(2), waits(4)]).starts_with("4 nodes are here (n4, n3, n2, n1), but"));
    }

    #[test]
    fn a_cluster_that_has_begun_is_joined_whoever_else_waits() {
        assert_eq!(Step::of(&recruit(1), vec![waits(3), waits(2), Mustered::Member]), Step::Joins);
    }

    #[test]
    fn nobody_founds_while_one_node_cannot_take_part() {
        let belongs = Mustered::Belongs { node_id: 9, node: Node::default(), cluster: [1; 16] };
        assert!(reason(1, vec![waits(3), waits(2), belongs]).ends_with("belongs to one that has not begun"));
        for (change, said) in [
            (|other: &mut Recruit| other.node.name = "n1".into(), "the same name; give one another --id"),
            (|other: &mut Recruit| other.node.address = "10.0.0.1:1".into(), "give each its --advertise"),
            (|other: &mut Recruit| other.module = "x".into(), "run different modules (m and x)"),
            (
                |other: &mut Recruit| other.engine = "x".into(),
                "have different engines (e and x); start one version of the server on all",
            ),
            (|other: &mut Recruit| other.expect = 5, "--bootstrap-expect (3 and 5); start them with the same"),
        ] as [(fn(&mut Recruit), &str); 5]
        {
            let mut other = recruit(2);
            change(&mut other);
            let reason = reason(1, vec![Mustered::Waits(other), waits(3)]);
            assert!(reason.ends_with(said), "{reason}");
        }
    }
}
