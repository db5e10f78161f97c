//! What is measured: one server, or the nodes of a cluster, of which clients talk to the leader.

use super::etcd;
use super::process::{Server, Usage, free_port};
use super::resp::Client;
use anyhow::{Context as _, Result, ensure};
use std::net::Ipv4Addr;
use std::path::Path;

pub(super) struct Service {
    pub(super) name: &'static str,
    nodes: Vec<Server>,
    leader: usize,
}

impl Service {
    pub(super) fn ours(program: &Path, module: &str, nodes: usize, dir: &Path) -> Result<Service> {
        if nodes == 1 {
            return Ok(Service::of("ours", Server::uhaha(program, module, dir)?));
        }
        let ports: Vec<u16> = (0..nodes).map(|_| free_port()).collect::<Result<_>>()?;
        let all: Vec<String> = ports.iter().map(|port| format!("{}:{port}", Ipv4Addr::LOCALHOST)).collect();
        let (all, count) = (all.join(","), nodes.to_string());
        let start = |(number, port): (usize, &u16)| {
            let name = (number + 1).to_string();
            let args = ["--id", &name, "--bootstrap-expect", &count, "--join", &all];
            Server::uhaha_at(program, module, &dir.join(&name), *port, &args)
        };
        let mut nodes: Vec<Server> = ports.iter().enumerate().map(start).collect::<Result<_>>()?;
        for node in &mut nodes {
            // All are voters from the beginning; one that follows is ready for its clients, too.
            node.wait_until("follow a leader", |port| {
                state(port).is_ok_and(|state| state == "leader" || state == "follower")
            })?;
        }
        let is_leader = |node: &Server| state(node.port()).is_ok_and(|state| state == "leader");
        let leader = nodes.iter().position(is_leader).context("nobody leads")?;
        Ok(Service { name: "ours", nodes, leader })
    }

    /// One server that has been started.
    pub(super) fn of(name: &'static str, server: Server) -> Service {
        Service { name, nodes: vec![server], leader: 0 }
    }

    /// Ours with nothing in the place of `what`.
    pub(super) fn native(program: &Path, what: &str, module: &str, dir: &Path) -> Result<Service> {
        Ok(Service::of("native", Server::native(program, what, module, dir)?))
    }

    pub(super) fn redis(dir: &Path) -> Result<Service> {
        Ok(Service::of("redis", Server::redis(dir)?))
    }

    pub(super) fn etcd(nodes: usize, dir: &Path) -> Result<Service> {
        let pairs: Vec<(u16, u16)> = (0..nodes).map(|_| Ok((free_port()?, free_port()?))).collect::<Result<_>>()?;
        let url = |port: u16| format!("http://{}:{port}", Ipv4Addr::LOCALHOST);
        let all: Vec<String> =
            pairs.iter().enumerate().map(|(number, (_, peer))| format!("n{number}={}", url(*peer))).collect();
        let all = all.join(",");
        let start = |(number, (client, peer)): (usize, &(u16, u16))| {
            let (name, client_url, peer_url) = (format!("n{number}"), url(*client), url(*peer));
            let args = [
                ["--name", &name],
                ["--listen-client-urls", &client_url],
                ["--advertise-client-urls", &client_url],
                ["--listen-peer-urls", &peer_url],
                ["--initial-advertise-peer-urls", &peer_url],
                ["--initial-cluster", &all],
                ["--log-level", "error"],
            ];
            Server::etcd(&dir.join(&name), *client, args.as_flattened())
        };
        let mut nodes: Vec<Server> = pairs.iter().enumerate().map(start).collect::<Result<_>>()?;
        for node in &mut nodes {
            node.wait_until("follow a leader", |port| etcd::leads(port).is_ok())?;
        }
        let leader = nodes.iter().position(|node| etcd::leads(node.port()).is_ok_and(|leads| leads));
        Ok(Service { name: "etcd", nodes, leader: leader.context("nobody leads")? })
    }

    /// The one that clients talk to.
    pub(super) fn leader(&self) -> &Server {
        &self.nodes[self.leader]
    }

    /// `SIGTERM`, one node after the other, and waits for their ends.
    pub(super) fn stop(self) -> Result<()> {
        self.nodes.into_iter().try_for_each(|node| node.stop().map(drop))
    }

    /// Of all nodes together; the memory is that of the largest.
    pub(super) fn usage(&self) -> Result<Usage> {
        let mut sum = Usage::default();
        for node in &self.nodes {
            let usage = node.usage()?;
            sum.cpu += usage.cpu;
            sum.resident = sum.resident.max(usage.resident);
        }
        Ok(sum)
    }

    /// What our nodes found worth a warning, and whether they refused something: both may explain a number.
    pub(super) fn remarks(&self) -> Result<String> {
        if self.name != "ours" {
            return Ok(String::new());
        }
        let mut text: String = self.nodes.iter().map(Server::warnings).collect();
        let info = Client::connect(self.leader().port())?.text(&["INFO", "stats"])?;
        for line in
            info.lines().filter(|line| line.starts_with("refused_commands:") || line.starts_with("failed_commands:"))
        {
            if !line.ends_with(":0") {
                text += &format!("    not every command was run: {line}\n");
            }
        }
        Ok(text)
    }
}

/// `leader` or `follower`, of a node that knows the leader.
fn state(port: u16) -> Result<String> {
    let mut client = Client::connect(port)?;
    ensure!(!client.text(&["RAFT", "LEADER"])?.is_empty(), "no leader is known");
    let info = client.text(&["RAFT", "INFO", "state"])?;
    info.lines().last().map(str::to_owned).context("no state")
}
