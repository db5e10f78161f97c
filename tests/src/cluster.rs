//! Several servers that are one cluster.

use crate::client::{Client, Value, ok};
use crate::guests::Module;
use crate::server::{Ended, Node, Server};
use crate::wait;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Nodes named `1`, `2`, … The first began the cluster, the others joined it. A node keeps its port over a restart.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<Member>,
    module: Module,
    args: Vec<String>,
}

#[derive(Debug)]
struct Member {
    node: Node,
    address: SocketAddr,
    server: Option<Server>,
}

/// What is said of a node that was to lead and does not yet; it may still come to.
pub const LATE_TRANSFER: &str = "did not take over in time";

/// Longer than elections take on a machine that has much else to do, unless a test says how long commands are held.
const LEADER_WAIT: [&str; 2] = ["--leader-wait", "30s"];

impl Cluster {
    /// So many nodes, all of them voters.
    pub fn start(module: Module, nodes: usize) -> Cluster {
        Cluster::start_with(module, nodes, &[])
    }

    /// The same, each with these arguments.
    pub fn start_with(module: Module, nodes: usize, args: &[&str]) -> Cluster {
        let mut cluster = Cluster::empty(module, args);
        for _ in 0..nodes {
            cluster.add(&[]);
        }
        cluster.wait_for_voters(nodes);
        cluster
    }

    /// A cluster to which nodes with these arguments are added.
    pub fn empty(module: Module, args: &[&str]) -> Cluster {
        let args = LEADER_WAIT.iter().chain(args).map(|arg| arg.to_string()).collect();
        Cluster { members: Vec::new(), module, args }
    }

    /// One more node with more arguments, which joins through the first that runs; returns its position.
    pub fn add(&mut self, args: &[&str]) -> usize {
        let position = self.members.len();
        let node = self.node(&(position + 1).to_string()).args(args);
        self.run(node);
        position
    }

    /// A node that would join through the first that runs, not started yet.
    pub fn node(&self, name: &str) -> Node {
        let common: Vec<&str> = self.args.iter().map(String::as_str).collect();
        let node = Node::new(self.module.clone()).args(&["--id", name]).args(&common);
        match self.members.iter().find(|member| member.server.is_some()) {
            Some(member) => node.args(&["--join", &member.address.to_string()]),
            None => node,
        }
    }

    /// Starts a node as the next member.
    pub fn run(&mut self, node: Node) {
        let server = node.start();
        self.members.push(Member { address: server.address(), node, server: Some(server) });
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub fn address(&self, position: usize) -> SocketAddr {
        self.members[position].address
    }

    pub fn server(&self, position: usize) -> &Server {
        self.members[position].server.as_ref().expect("the node runs")
    }

    /// A client that speaks RESP3.
    pub fn client3(&self, position: usize) -> Client {
        self.server(position).client3()
    }

    pub fn client(&self, position: usize) -> Client {
        self.server(position).client()
    }

    /// The positions of all that run.
    pub fn running(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|position| self.members[*position].server.is_some()).collect()
    }

    /// The position of the leader, once all that run agree on one that runs.
    pub fn leader(&self) -> usize {
        wait::until("a leader that all agree on", || {
            let mut agreed = None;
            for position in self.running() {
                let leader = self.leader_for(position)?;
                if agreed.is_some_and(|agreed| agreed != leader) {
                    return None;
                }
                agreed = Some(leader);
            }
            agreed.filter(|leader| self.members[*leader].server.is_some())
        })
    }

    /// Some node that does not lead.
    pub fn follower(&self) -> usize {
        let leader = self.leader();
        *self.running().iter().find(|position| **position != leader).expect("there are followers")
    }

    /// Has a node lead. One that is behind, or slow, does not take over in time, and is asked again.
    pub fn lead(&self, position: usize) {
        wait::until("the transfer", || {
            let reply = self.client(position).call(&["RAFT", "TRANSFER", &(position + 1).to_string()]);
            let is_late = matches!(&reply, Value::Error(error) if error.contains(LATE_TRANSFER));
            assert!(reply == ok() || is_late, "{reply:?}");
            (self.leader() == position).then_some(())
        });
    }

    /// Whom a node takes for the leader.
    pub fn leader_for(&self, position: usize) -> Option<usize> {
        let leader = Client::try_connect(self.address(position))?.try_call(&["RAFT", "LEADER"])?;
        let Value::Bulk(address) = leader else { return None };
        let address: SocketAddr = std::str::from_utf8(&address).ok()?.parse().ok()?;
        self.members.iter().position(|member| member.address == address)
    }

    /// What a node says of the members: `name → voter`.
    pub fn members(&self, position: usize) -> BTreeMap<String, bool> {
        let list = self.client(position).call(&["RAFT", "SERVER", "LIST"]);
        let member = |value: &Value| {
            let fields = value.fields();
            (fields["id"].to_owned(), fields["voter"] == "true")
        };
        list.array().iter().map(member).collect()
    }

    /// Waits until all that run know so many voters.
    pub fn wait_for_voters(&self, voters: usize) {
        wait::until("the voters", || {
            let voters_of = |position| self.members(position).into_values().filter(|voter| *voter).count();
            self.running().into_iter().all(|position| voters_of(position) == voters).then_some(())
        });
        // A node knows of a change that is half done, too; one that is ready has seen its own end.
        self.running().into_iter().for_each(|position| drop(self.server(position).wait_for_log("ready node=")));
    }

    /// Waits until all that run know so many members.
    pub fn wait_for_members(&self, members: usize) {
        wait::until("the members", || {
            self.running().into_iter().all(|position| self.members(position).len() == members).then_some(())
        });
    }

    /// A number of `RAFT INFO`.
    pub fn number(&self, position: usize, field: &str) -> u64 {
        let info = self.client(position).call(&["RAFT", "INFO", field]);
        info.fields()[field].parse().expect("the field is a number")
    }

    /// Waits until a node has applied everything that another one has.
    pub fn wait_for_log(&self, position: usize, of: usize) {
        let target = self.number(of, "applied_index");
        wait::until("the log", || (self.number(position, "applied_index") >= target).then_some(()));
    }

    pub fn kill(&mut self, position: usize) {
        self.members[position].server.take().expect("the node runs").kill();
    }

    pub fn stop(&mut self, position: usize) -> Ended {
        self.members[position].server.take().expect("the node runs").stop()
    }

    /// Takes the server out, for who wants to end it in another way.
    pub fn take(&mut self, position: usize) -> Server {
        self.members[position].server.take().expect("the node runs")
    }

    /// Starts a node again on its data and its port.
    pub fn restart(&mut self, position: usize) {
        self.restart_with(position, &[]);
    }

    /// The same with more arguments for this time.
    pub fn restart_with(&mut self, position: usize, args: &[&str]) {
        self.restart_launched_with(position, args);
        self.server(position).wait_until_ready();
    }

    /// Sets a variable of a node's environment for all its starts to come.
    pub fn set_env(&mut self, position: usize, name: &str, value: &str) {
        let member = &mut self.members[position];
        member.node = member.node.clone().env(name, value);
    }

    /// The same without waiting until it serves.
    pub fn restart_launched(&mut self, position: usize) {
        self.restart_launched_with(position, &[]);
    }

    pub fn restart_launched_with(&mut self, position: usize, args: &[&str]) {
        let member = &mut self.members[position];
        assert!(member.server.is_none(), "the node runs");
        let node = member.node.clone().args(&["--addr", &member.address.to_string()]).args(args);
        member.server = Some(node.launch());
    }

    /// The same on a port of the system's choice.
    pub fn restart_elsewhere(&mut self, position: usize) {
        let member = &mut self.members[position];
        let server = member.node.start();
        member.address = server.address();
        member.server = Some(server);
    }

    pub fn scratch(&self, position: usize) -> &std::path::Path {
        self.members[position].node.scratch()
    }

    /// What a node is started with.
    pub fn node_of(&self, position: usize) -> &Node {
        &self.members[position].node
    }
}
