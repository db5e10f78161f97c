//! The side of a node that joins: it asks whoever answers, follows the way to the leader, and asks again until it is
//! what it wants to be. Each question is harmless to repeat, so a node that was interrupted simply begins again.

use super::link::Peers;

use super::retry::Retry;
use super::rpc::{self, Join, Joined, Kind, Stage};
use super::{Cluster, Error};
use crate::net::peer::{Local, Remote};
use crate::type_config::{Node, NodeId};
use std::collections::VecDeque;
use std::time::Duration;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What a node without a cluster asks for.
#[derive(Clone, Debug)]
pub struct Knock {
    /// How it introduces itself: without a cluster, with the number that it will have in it.
    pub local: Local,
    pub node: Node,
    /// SHA-256 of its module.
    pub module: String,
    /// The fingerprint of its engine.
    pub engine: String,
    /// Nodes of the cluster, any of them.
    pub addresses: Vec<String>,
}

/// Finds the cluster and asks whether it would have this node; returns the cluster's id. Nothing is changed yet: the
/// node writes down whose it is first.
pub async fn knock(knock: Knock) -> Result<[u8; 16], Error> {
    let Knock { local, node, module, engine, addresses } = knock;
    let join = Join { node_id: local.node_id, node, module, engine, voter: true, stage: Stage::Asks };
    let peers = Peers::new(move || local.clone());
    let mut asking = Asking::new(&peers, &addresses);
    loop {
        match asking.ask(&join).await {
            Some((Joined::Welcome | Joined::Member | Joined::CatchingUp { .. }, Some(cluster))) => return Ok(cluster),
            Some((Joined::Refused(reason), _)) => return Err(Error::Join(reason)),
            Some((Joined::Later(reason), _)) => asking.say(&reason),
            _ => asking.say("none of them answers"),
        }
        asking.retry.pause().await;
    }
}

impl Cluster {
    /// Becomes a member, by asking these nodes and all that the log names.
    pub async fn join(&self, addresses: &[String], voter: bool) -> Result<(), Error> {
        self.ask_until_member(addresses, voter, Stage::Joins).await
    }

    /// Tells the others where this member is now; an error if they no longer know it.
    pub async fn check_in(&self) -> Result<(), Error> {
        self.ask_until_member(&[], false, Stage::Returns).await
    }

    async fn ask_until_member(&self, addresses: &[String], voter: bool, stage: Stage) -> Result<(), Error> {
        let shared = &self.shared;
        let (module, engine) = (shared.module.clone(), shared.machine.guest().fingerprint().to_owned());
        let join = Join { node_id: shared.node_id, node: shared.node.clone(), module, engine, voter, stage };
        let mut asking = Asking::new(&shared.peers, addresses);
        loop {
            let metrics = self.metrics();
            // A leader knows everything about itself but its address, and asks itself for that.
            let others = super::status::members(&metrics).into_iter().filter(|member| member.node_id != shared.node_id);
            asking.add(others.map(|member| member.node.address));
            if asking.addresses.is_empty() {
                return Ok(());
            }
            let answer = match metrics.state.is_leader() {
                true => Some((
                    self.admit(Remote { cluster: Some([0; 16]), node_id: shared.node_id }, join.clone()).await,
                    None,
                )),
                false => asking.ask(&join).await,
            };
            match answer {
                Some((Joined::Member, _)) => return Ok(()),
                Some((Joined::Refused(reason), _)) => return Err(Error::Join(reason)),
                Some((Joined::CatchingUp { entries_left }, _)) => {
                    asking.say(&format!("catching up, {entries_left} entries left"));
                    asking.retry.hurry();
                }
                Some((Joined::Later(reason), _)) => asking.say(&reason),
                _ => asking.say("no leader answers"),
            }
            if shared.stopping.run_until_cancelled(asking.retry.pause()).await.is_none() {
                return Err(Error::Stopped);
            }
        }
    }
}

/// Whom to ask next, and when.
struct Asking<'a> {
    peers: &'a Peers,
    addresses: VecDeque<String>,
    retry: Retry,
}

impl<'a> Asking<'a> {
    fn new(peers: &'a Peers, addresses: &[String]) -> Asking<'a> {
        Asking { peers, addresses: addresses.iter().cloned().collect(), retry: Retry::new() }
    }

    fn add(&mut self, addresses: impl Iterator<Item = String>) {
        for address in addresses {
            if !self.addresses.contains(&address) {
                self.addresses.push_back(address);
            }
        }
    }

    /// Asks each address once, and the leader that one of them names; the first that has something to say ends it.
    async fn ask(&mut self, join: &Join) -> Option<(Joined, Option<[u8; 16]>)> {
        let mut last = None;
        for _ in 0..self.addresses.len() {
            let address = self.addresses.front()?.clone();
            let mut answer = self.ask_one(&address, join).await;
            if let Some((Joined::Ask(leader), _)) = &answer {
                let leader = leader.address.clone();
                answer = self.ask_one(&leader, join).await;
            }
            match answer {
                Some((Joined::Ask(_) | Joined::Later(_), _)) => last = answer,
                Some(_) => return answer,
                None => {}
            }
            self.addresses.rotate_left(1);
        }
        last
    }

    async fn ask_one(&self, address: &str, join: &Join) -> Option<(Joined, Option<[u8; 16]>)> {
        let link = self.peers.link(None, address);
        let connection = link.connection().await.ok()?;
        let payload = rpc::encode(join).ok()?;
        let cluster = connection.remote().cluster;
        // A node that has no cluster either can say nothing about it, unless it is this one.
        let answer = connection.ask(Kind::Join as u8, payload, ANSWER_TIMEOUT).await;
        match answer {
            Ok(answer) => Some((rpc::decode(&answer).ok()?, cluster)),
            Err(error) => {
                tracing::debug!(peer = address, error = crate::fault::chain(&error), "no answer about joining");
                None
            }
        }
    }

    fn say(&mut self, what: &str) {
        let addresses: Vec<&str> = self.addresses.iter().map(String::as_str).collect();
        self.retry.say(&addresses.join(", "), what);
    }
}

/// A number for a node that joins. It is never used twice in a cluster, because 2^63 of them are drawn from evenly;
/// small ones are left to the nodes that began one.
pub fn new_node_id() -> Result<NodeId, Error> {
    Ok(getrandom::u64().map_err(Error::Entropy)? | 1 << 63)
}
