//! A network of its own for one test, with a machine for each node, which can be torn apart.
//!
//! Each machine is a network namespace, joined to one of two bridges by a cable; the test is on both. A node whose
//! cable is in the other bridge reaches the nodes there and no others, and nobody is told: packets just vanish. No
//! privilege is needed where users may make namespaces, and nothing is left behind, whatever ends the test.

use crate::server;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::process::{Command, Stdio};

/// Set for the process that is in the network.
const INSIDE: &str = "UHAHA_TEST_NETWORK";
const BRIDGES: [&str; 2] = ["br0", "br1"];
const PORT: u16 = 11001;

/// Machines numbered from 1.
#[derive(Debug)]
pub struct Network {
    machines: usize,
}

impl Network {
    /// Runs `test`, whose name in this binary is `name`, in a network with so many machines.
    pub fn run(name: &str, machines: usize, test: impl FnOnce(Network)) {
        if Network::is_inside() {
            return test(Network::new(machines));
        }
        let output = Network::process(name).output().unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let passed = output.status.success() && stdout.contains("1 passed");
        assert!(passed, "in a network of its own, the test {name} failed:\n{stdout}\n{stderr}");
    }

    /// Whether this process was made by `process`, and may make a network.
    pub fn is_inside() -> bool {
        std::env::var_os(INSIDE).is_some()
    }

    /// This binary again, for one test of it, where it can have a network of its own.
    pub fn process(name: &str) -> Command {
        // In namespaces of users, of processes (so that all end with the first), of mounts (for /run) and of the network.
        let unshare = |user: &[&str]| {
            let mut command = Command::new("unshare");
            command.args(user).args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
            command
        };
        let as_user = ["--user", "--map-root-user"];
        let works = |user: &[&str]| {
            let tried = unshare(user).arg("true").stderr(Stdio::null()).status();
            tried.is_ok_and(|status| status.success())
        };
        let user: &[&str] = match (works(&as_user), works(&[])) {
            (true, _) => &as_user,
            (false, true) => &[],
            (false, false) => panic!("this system lets this user make no network namespaces; run the test as root"),
        };
        let mut process = unshare(user);
        process
            .arg(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .env(INSIDE, "1")
            .env("UHAHA_SERVER_BIN", server::binary());
        process
    }

    /// In a process that was made for it, and once.
    pub fn new(machines: usize) -> Network {
        sh("mount -t tmpfs tmpfs /run && ip link set lo up");
        for bridge in BRIDGES {
            // The same address: a machine that moves must not have to learn the test's again.
            sh(&format!("ip link add {bridge} address 02:00:00:00:00:fe type bridge && ip link set {bridge} up"));
        }
        sh("ip addr add 10.77.0.254/32 dev br0");
        let network = Network { machines };
        for machine in 1..=machines {
            sh(&format!(
                "ip netns add m{machine} && ip link add cable{machine} type veth peer name eth0 netns m{machine} \
                 && ip link set cable{machine} up && ip -n m{machine} link set lo up \
                 && ip -n m{machine} addr add {}/24 dev eth0 && ip -n m{machine} link set eth0 up",
                ip(machine)
            ));
        }
        network.heal();
        network
    }

    /// What a command begins with to run on a machine.
    pub fn on(&self, machine: usize) -> Vec<String> {
        assert!((1..=self.machines).contains(&machine), "there is such a machine");
        ["ip", "netns", "exec", &format!("m{machine}")].map(str::to_owned).to_vec()
    }

    /// Where a server on a machine listens.
    pub fn address(&self, machine: usize) -> SocketAddr {
        SocketAddrV4::new(ip(machine), PORT).into()
    }

    /// These machines reach each other and the test, and so do the rest, but nobody one of the others.
    pub fn split(&self, apart: &[usize]) {
        // All at once: a test may count on a leader that has not noticed yet.
        let plugs = (1..=self.machines).map(|machine| plug(machine, BRIDGES[usize::from(apart.contains(&machine))]));
        ip_batch(&plugs.collect::<String>());
    }

    pub fn heal(&self) {
        self.split(&[]);
    }

    /// What one machine sends to another vanishes, and nothing else.
    pub fn cut_one_way(&self, from: usize, to: usize) {
        sh(&format!("ip netns exec m{to} nft add rule inet cuts input ip saddr {} drop", ip(from)));
    }

    /// Ends all one-way cuts.
    pub fn mend(&self) {
        for machine in 1..=self.machines {
            sh(&format!("ip netns exec m{machine} nft flush chain inet cuts input"));
        }
    }

    /// Makes the machines ready for `cut_one_way`.
    pub fn prepare_cuts(&self) {
        for machine in 1..=self.machines {
            sh(&format!(
                "ip netns exec m{machine} nft 'add table inet cuts; \
                 add chain inet cuts input {{ type filter hook input priority 0; }}'"
            ));
        }
    }
}

/// Where the test itself is: all machines reach it, whatever is split.
pub const TEST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);

/// Two lines of `ip -batch`.
fn plug(machine: usize, bridge: &str) -> String {
    format!("link set cable{machine} master {bridge}\nroute replace {}/32 dev {bridge} src 10.77.0.254\n", ip(machine))
}

/// The address of a machine.
pub fn ip(machine: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, u8::try_from(machine).expect("a few machines"))
}

fn ip_batch(lines: &str) {
    sh(&format!("ip -batch - <<'end'\n{lines}end"));
}

fn sh(script: &str) {
    // Ordinary users often have no path to what only root needs.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new("sh").args(["-c", script]).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}
