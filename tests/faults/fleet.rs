//! The nodes of one run: each on a machine of its own, some behind proxies, one on a small disk.

use rustix::process::Signal;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use uhaha_tests::network::{Network, TEST};
use uhaha_tests::proxy::{Mode, Proxy};
use uhaha_tests::server::Server;
use uhaha_tests::{Client, Module, Node, Value, wait};

const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const PROXY_PORT: u16 = 21000;
const SMALL_DISK: &str = "64m";

pub(crate) struct Fleet {
    pub(crate) network: Network,
    pub(crate) members: Vec<Member>,
    module: Module,
    args: Vec<String>,
    /// Where the logs of the nodes go.
    logs: PathBuf,
}

pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) node: Node,
    pub(crate) server: Option<Server>,
    pub(crate) proxy: Option<Proxy>,
    address: SocketAddr,
    /// Its data is on a disk of its own, which can be filled.
    small_disk: bool,
}

impl Fleet {
    pub(crate) fn new(network: Network, module: Module, args: Vec<String>, logs: PathBuf) -> Fleet {
        Fleet { network, members: Vec::new(), module, args, logs }
    }

    /// Starts one more node, which joins those that are there.
    pub(crate) fn add(&mut self, args: &[String], proxied: bool, small_disk: bool) {
        let position = self.members.len();
        let address = self.network.address(position + 1);
        let proxy = proxied.then(|| {
            let listen = SocketAddr::from((TEST, PROXY_PORT + position as u16));
            Proxy::start(listen, address).unwrap()
        });
        let name = (position + 1).to_string();
        let node = self.node(&name, position, args, proxy.as_ref());
        if small_disk {
            mount(node.dir());
        }
        self.share_cache(&node);
        let server = node.start();
        self.members.push(Member { name, node, server: Some(server), proxy, address, small_disk });
    }

    fn node(&self, name: &str, position: usize, args: &[String], proxy: Option<&Proxy>) -> Node {
        let all: Vec<&str> = self.args.iter().chain(args).map(String::as_str).collect();
        let node = Node::new(self.module.clone())
            // So that the database is written to all the time.
            .args(&["--wal-bytes", "64KiB"])
            .args(&["--id", name, "--addr", &self.network.address(position + 1).to_string()])
            .args(&all)
            .prefix(self.network.on(position + 1));
        let node = match proxy {
            Some(proxy) => node.args(&["--advertise", &proxy.address().to_string()]),
            None => node,
        };
        let others: Vec<String> = (0..self.members.len())
            .filter(|other| *other != position)
            .map(|other| self.address(other).to_string())
            .collect();
        if others.is_empty() { node } else { node.args(&["--join", &others.join(",")]) }
    }

    /// Another node in the place of one that was removed, with a new name and no data.
    pub(crate) fn replace(&mut self, position: usize, name: &str, args: &[String]) {
        let node = self.node(name, position, args, self.members[position].proxy.as_ref());
        self.share_cache(&node);
        let server = node.launch();
        let member = &mut self.members[position];
        (member.name, member.node, member.server, member.small_disk) = (name.to_owned(), node, Some(server), false);
    }

    /// Gives a node the compiled code of one that runs, for to compile takes longer than all else.
    fn share_cache(&self, node: &Node) {
        if let Some(member) = self.members.iter().find(|member| member.server.is_some()) {
            fs::create_dir_all(node.dir()).unwrap();
            sh(&format!("cp -r {}/cache {}/", member.node.dir().display(), node.dir().display()));
        }
    }

    /// As clients and other nodes know it.
    pub(crate) fn address(&self, position: usize) -> SocketAddr {
        let member = &self.members[position];
        member.proxy.as_ref().map_or(member.address, Proxy::address)
    }

    /// A client that goes by no proxy.
    pub(crate) fn client(&self, position: usize) -> Option<Client> {
        Client::connect_within(self.members[position].address, CALL_TIMEOUT)
    }

    pub(crate) fn call(&self, position: usize, words: &[&str]) -> Option<Value> {
        self.client(position)?.try_call(words)
    }

    pub(crate) fn info(&self, position: usize, name: &str) -> Option<String> {
        let info = self.call(position, &["RAFT", "INFO", name])?;
        match info {
            Value::Array(_) | Value::Map(_) => info.fields().get(name).map(|value| value.to_string()),
            _ => None,
        }
    }

    /// The node that says it leads, if there is one alone.
    pub(crate) fn leader(&self) -> Option<usize> {
        let leads = |position: &usize| self.info(*position, "state").is_some_and(|state| state == "leader");
        let leaders: Vec<usize> = self.running().into_iter().filter(leads).collect();
        if let [leader] = leaders[..] { Some(leader) } else { None }
    }

    pub(crate) fn running(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|position| self.members[*position].server.is_some()).collect()
    }

    pub(crate) fn signal(&mut self, position: usize, signal: Signal) {
        self.members[position].server.as_mut().expect("the node runs").signal(signal);
    }

    pub(crate) fn kill(&mut self, position: usize) {
        if let Some(server) = self.members[position].server.take() {
            self.keep_log(position, &server.log());
            server.kill();
        }
    }

    /// Asks a node to stop, and checks that it stops as told.
    pub(crate) fn stop(&mut self, position: usize) {
        if let Some(server) = self.members[position].server.take() {
            let ended = server.stop();
            self.keep_log(position, &ended.stderr);
            assert_eq!(ended.code, Some(0), "a node that is told to stop stops:\n{}", ended.stderr);
        }
    }

    /// Waits for the end of a node that cannot go on, and checks that it says why.
    pub(crate) fn wait_for_fault(&mut self, position: usize, reason: &str) {
        let mut server = self.members[position].server.take().expect("the node runs");
        let ended = server.wait();
        self.keep_log(position, &ended.stderr);
        assert_eq!(ended.code, Some(1), "a node whose disk fails stops:\n{}", ended.stderr);
        assert!(ended.stderr.contains(reason), "it says {reason:?}:\n{}", ended.stderr);
    }

    /// Starts a node that is down on its data.
    pub(crate) fn restart(&mut self, position: usize) {
        let member = &mut self.members[position];
        if member.server.is_none() {
            member.server = Some(member.node.launch());
        }
    }

    fn keep_log(&self, position: usize, log: &str) {
        let path = self.logs.join(format!("node-{}.log", self.members[position].name));
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(log.as_bytes()).unwrap();
    }

    pub(crate) fn small_disk(&self) -> Option<usize> {
        self.members.iter().position(|member| member.small_disk && member.server.is_some())
    }

    /// Writes to a node's disk until nothing more fits; removing the file makes room again.
    pub(crate) fn fill_disk(&self, position: usize) -> PathBuf {
        let ballast = self.members[position].node.dir().join("ballast");
        let mut file = fs::File::create(&ballast).unwrap();
        let mut piece = vec![7; 1 << 20];
        while !piece.is_empty() {
            if file.write_all(&piece).is_err() {
                piece.truncate(piece.len() / 2);
            }
        }
        ballast
    }

    /// All modes and cuts away.
    pub(crate) fn heal_network(&self) {
        self.network.heal();
        self.network.mend();
        for member in &self.members {
            if let Some(proxy) = &member.proxy {
                proxy.set(Mode::Pass);
            }
        }
    }

    /// Waits until all nodes have applied the same, their digests agree and nobody is in quarantine; returns the index.
    pub(crate) fn wait_for_agreement(&self, mut write: impl FnMut()) -> u64 {
        let mut tries = 0;
        wait::until("nodes that agree", || {
            if tries % 50 == 0 {
                write();
            }
            tries += 1;
            let agreed: BTreeSet<Vec<String>> = self
                .running()
                .into_iter()
                .map(|position| {
                    let names = ["applied_index", "standing", "digest", "digest_index", "state_digest"];
                    names.iter().filter_map(|name| self.info(position, name)).collect()
                })
                .collect();
            let [fields] = &agreed.iter().collect::<Vec<_>>()[..] else { return None };
            let [applied, standing, digest, ..] = &fields[..] else { return None };
            (standing == "sound" && digest.chars().any(|digit| digit != '0')).then(|| applied.parse().unwrap())
        })
    }

    /// Copies of everything that nodes have on their disks, for who wants to know what went wrong.
    pub(crate) fn keep_data(&self, to: &Path) {
        for member in &self.members {
            if let Some(server) = &member.server {
                let _ = fs::write(to.join(format!("node-{}.last.log", member.name)), server.log());
            }
            let copy = Command::new("cp").arg("-a").arg(member.node.dir()).arg(to.join(&member.name)).status();
            if !copy.is_ok_and(|status| status.success()) {
                println!("the data of node {} was not kept", member.name);
            }
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for member in &mut self.members {
            member.server = None;
            if member.small_disk {
                sh(&format!("umount --lazy {}", member.node.dir().display()));
            }
        }
    }
}

fn mount(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    sh(&format!("mount -t tmpfs -o size={SMALL_DISK} tmpfs {}", dir.display()));
}

fn sh(script: &str) {
    let status = Command::new("sh").args(["-c", script]).status().unwrap();
    assert!(status.success(), "{script}");
}
