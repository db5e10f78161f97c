//! `--bootstrap-expect`: nodes that are all started alike begin one cluster.

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;
use uhaha_tests::{Module, Node, Server, ok, wait};

/// Nodes with names of their own and addresses that all of them know; started or not.
struct Muster {
    nodes: Vec<Node>,
    servers: Vec<Option<Server>>,
}

impl Muster {
    fn new(nodes: usize) -> Muster {
        // The system gives a port that it gave just now to nobody else for a while.
        let listeners: Vec<TcpListener> = (0..nodes).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<SocketAddr> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let all = addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",");
        let node = |(position, address): (usize, &SocketAddr)| {
            Node::new(Module::kvdb()).args(&[
                "--id",
                &format!("n{}", position + 1),
                "--addr",
                &address.to_string(),
                "--join",
                &all,
            ])
        };
        Muster {
            nodes: addresses.iter().enumerate().map(node).collect(),
            servers: addresses.iter().map(|_| None).collect(),
        }
    }

    fn expecting(nodes: usize) -> Muster {
        let mut muster = Muster::new(nodes);
        let expect = nodes.to_string();
        muster.nodes = muster.nodes.into_iter().map(|node| node.args(&["--bootstrap-expect", &expect])).collect();
        muster
    }

    fn launch(&mut self, position: usize) {
        self.servers[position] = Some(self.nodes[position].launch());
    }

    fn kill(&mut self, position: usize) {
        self.servers[position].take().expect("the node runs").kill();
    }

    fn server(&self, position: usize) -> &Server {
        self.servers[position].as_ref().expect("the node runs")
    }

    fn members(&self, position: usize) -> BTreeSet<(String, bool)> {
        let list = self.server(position).client().call(&["RAFT", "SERVER", "LIST"]);
        let member = |value: &uhaha_tests::Value| {
            let fields = value.fields();
            (fields["id"].to_owned(), fields["voter"] == "true")
        };
        list.array().iter().map(member).collect()
    }

    /// All of them are voters of one cluster, and each serves.
    fn assert_one_cluster(&self) {
        let all: BTreeSet<(String, bool)> = (1..=self.nodes.len()).map(|number| (format!("n{number}"), true)).collect();
        for position in 0..self.nodes.len() {
            self.server(position).wait_until_ready();
            wait::until("the members", || (self.members(position) == all).then_some(()));
            let key = format!("by-{position}");
            assert_eq!(self.server(position).client().call(&["SET", &key, "x"]), ok());
        }
        for position in 0..self.nodes.len() {
            assert_eq!(self.server(position).client().call(&["GET", "by-0"]).text(), "x");
        }
    }
}

#[test]
fn nodes_that_are_started_alike_become_one_cluster() {
    let mut muster = Muster::expecting(3);
    // The one that will found it comes last.
    muster.launch(2);
    muster.launch(1);
    muster.server(1).wait_for_log("2 of 3 nodes are here");
    muster.launch(0);
    muster.assert_one_cluster();
    // Later starts with the same command are like any other.
    for position in 0..3 {
        muster.kill(position);
    }
    for position in 0..3 {
        muster.launch(position);
    }
    muster.assert_one_cluster();
}

#[test]
fn a_cluster_of_five_begins_at_once() {
    let mut muster = Muster::expecting(5);
    for position in 0..5 {
        muster.launch(position);
    }
    muster.assert_one_cluster();
}

#[test]
fn whatever_is_killed_while_it_forms_there_is_one_cluster() {
    for round in 0..6 {
        let mut muster = Muster::expecting(3);
        for position in 0..3 {
            muster.launch(position);
        }
        // Forming takes about as long as all these moments together.
        thread::sleep(Duration::from_millis(15 * round));
        let position = round as usize % 3;
        muster.kill(position);
        muster.launch(position);
        muster.assert_one_cluster();
    }
}

/// As by a full disk: the write of its first vote fails, while the node still waits for a leader.
#[test]
fn a_founder_that_cannot_write_its_vote_ends() {
    let mut muster = Muster::expecting(3);
    // Without the trap a write over the limit would end the process by a signal.
    let script = "trap '' XFSZ; exec \"$0\" \"$@\"";
    let prefix = ["sh", "-c", script].map(str::to_owned).to_vec();
    let patient = |node: Node| node.args(&["--election-timeout", "3s"]).prefix(prefix.clone());
    muster.nodes = muster.nodes.into_iter().map(patient).collect();
    for position in 0..3 {
        muster.launch(position);
    }
    muster.server(0).wait_for_log("membership");
    let id = Pid::from_raw(muster.server(0).id() as i32);
    prlimit(id, Resource::Fsize, Rlimit { current: Some(0), maximum: Some(0) }).unwrap();
    let ended = muster.servers[0].as_mut().expect("the node runs").wait();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("File too large"), "{}", ended.stderr);
}

#[test]
fn a_founder_that_is_killed_gathers_the_others_again() {
    let mut muster = Muster::expecting(3);
    for position in 0..3 {
        muster.launch(position);
    }
    muster.server(0).wait_for_log("founding a cluster");
    muster.kill(0);
    muster.launch(0);
    muster.assert_one_cluster();
}

#[test]
fn a_node_that_lost_its_data_joins_by_the_same_command() {
    let mut muster = Muster::expecting(3);
    for position in 0..3 {
        muster.launch(position);
    }
    muster.assert_one_cluster();
    muster.kill(2);
    assert_eq!(muster.server(0).client().call(&["RAFT", "SERVER", "REMOVE", "n3"]), uhaha_tests::int(1));
    muster.nodes[2] = muster.nodes[2].with_dir("new");
    muster.launch(2);
    muster.assert_one_cluster();
}

#[test]
fn what_stands_in_the_way_is_said_and_nothing_begins() {
    let mut muster = Muster::expecting(3);
    let twin = muster.nodes[1].with_dir("twin").args(&["--id", "n1"]);
    muster.launch(0);
    muster.servers[1] = Some(twin.launch());
    muster.launch(2);
    muster.server(0).wait_for_log("have the same name; give one another --id");
    muster.kill(1);
    let stranger = muster.nodes[1].with_dir("stranger").module(Module::ticket());
    muster.servers[1] = Some(stranger.launch());
    muster.server(0).wait_for_log("run different modules");
    muster.kill(1);
    muster.launch(1);
    muster.assert_one_cluster();
}
