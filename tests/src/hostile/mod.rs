//! Clients that mean harm: what each sends, what must come back, and what it may cost the server.
//!
//! Tests run them small and assert the replies and the memory; `cargo xtask hostile` runs them at full size and measures
//! a bystander beside them.

mod connections;
mod malformed;
mod memory;
mod peers;
mod strangers;

use crate::bystander::{Bystander, Waits, Way};
use crate::client::{Client, Value};
use crate::process::Process;
use crate::server::binary;
use crate::{Module, Node, Server, tls, wait};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long an attack goes on while a bystander is measured, and how long that one is measured before.
const MEASURED: Duration = Duration::from_secs(4);
/// Niceness of hostile threads: on a small machine they would take the bystander's processor, and not the server's.
const NICE: i32 = 10;
pub const MIB: u64 = 1 << 20;

/// All of them, in the order of the table.
pub fn all() -> impl Iterator<Item = &'static Attack> {
    [malformed::ATTACKS, connections::ATTACKS, memory::ATTACKS, strangers::ATTACKS, peers::ATTACKS]
        .into_iter()
        .flatten()
}

/// The attack of that name.
pub fn named(name: &str) -> &'static Attack {
    all().find(|attack| attack.name == name).unwrap_or_else(|| panic!("no attack is named {name:?}"))
}

#[derive(Debug)]
pub struct Attack {
    /// What is sent.
    pub name: &'static str,
    pub setup: Setup,
    pub args: &'static [&'static str],
    /// How much more resident memory it may cost at most, at full size, in MiB.
    pub growth_max_mib: u64,
    /// Does it, asserts the replies, and says what came back.
    pub run: fn(&Target<'_>) -> String,
}

/// What kind of server it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    Open,
    /// With a user whose password is kept as Argon2.
    Users,
    Tls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// As much as shows what happens.
    Test,
    /// As much as one machine can send.
    Full,
}

/// The server under attack.
#[derive(Debug)]
pub struct Target<'a> {
    pub server: &'a Server,
    pub way: &'a Way,
    pub scale: Scale,
}

/// What an attack did.
#[derive(Debug)]
pub struct Outcome {
    pub came_back: String,
    /// Resident memory of the server in bytes: before, at most, and once the attackers were gone.
    pub before: u64,
    pub peak: u64,
    pub after: u64,
    /// Of a bystander, at full size.
    pub waits_before: Waits,
    pub waits_during: Waits,
}

impl Attack {
    /// Starts a server, attacks it, and sees whether it serves afterwards.
    pub fn run(&self, scale: Scale) -> Outcome {
        let (node, way) = self.setup.node(self.args);
        let server = node.launch();
        let way = Way { address: server.address(), ..way };
        server.wait_for_log(" ready");
        let process = Process(server.id());
        let bystander = Bystander::start(&way);
        let mut waits_before = Waits::default();
        if scale == Scale::Full {
            // The first calls warm up both.
            thread::sleep(MEASURED / 4);
            bystander.waits();
            thread::sleep(MEASURED);
            waits_before = bystander.waits();
        }
        let before = process.resident();
        process.forget_peak();
        let came_back = (self.run)(&Target { server: &server, way: &way, scale });
        let waits_during = bystander.waits();
        wait::until("the attackers to be forgotten", || (process.descriptors() < 100).then_some(()));
        let peak = process.peak();
        if scale == Scale::Full {
            // The allocator gives memory back a little later.
            thread::sleep(MEASURED / 2);
        }
        let after = process.resident();
        drop(bystander);
        drop(Bystander::start(&way));
        assert_eq!(server.stop().code, Some(0), "{}", self.name);
        Outcome { came_back, before, peak, after, waits_before, waits_during }
    }

    /// The small one, as a test.
    #[track_caller]
    pub fn test(&self) {
        let outcome = self.run(Scale::Test);
        let growth = outcome.peak.saturating_sub(outcome.before) / MIB;
        assert!(growth <= self.growth_max_mib, "{}: {growth} MiB more memory at the peak", self.name);
        println!("{}: {}; {growth} MiB more", self.name, outcome.came_back);
    }
}

impl Setup {
    fn node(self, args: &[&str]) -> (Node, Way) {
        let node = Node::new(Module::kvdb()).args(args);
        let way = Way { address: ([127, 0, 0, 1], 0).into(), auth: None, tls: None };
        match self {
            Setup::Open => (node, way),
            Setup::Users => {
                let file = node.scratch().join("users.acl");
                std::fs::write(&file, format!("user app on {} +@all\n", hash("a-password"))).unwrap();
                let auth = ["AUTH", "app", "a-password"].map(str::to_owned).to_vec();
                (node.args(&["--acl-file", file.to_str().unwrap()]), Way { auth: Some(auth), ..way })
            }
            Setup::Tls => {
                let cert = tls::Cert::new();
                (node.args(&cert.flags().each_ref().map(String::as_str)), Way { tls: Some(cert), ..way })
            }
        }
    }
}

/// Argon2 of a password.
fn hash(password: &str) -> String {
    let mut command = Command::new(binary());
    let mut child =
        command.arg("--hash-password").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the server runs");
    writeln!(child.stdin.take().expect("it is piped"), "{password}").unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Target<'_> {
    /// A number for a test, or for the full size.
    fn pick(&self, test: usize, full: usize) -> usize {
        match self.scale {
            Scale::Test => test,
            Scale::Full => full,
        }
    }

    /// Leaves everything as it is while the bystander is measured.
    fn hold(&self) {
        if self.scale == Scale::Full {
            thread::sleep(MEASURED);
        }
    }

    /// Does something in rounds on several threads, so many times in a test or for the measured time; returns how often.
    fn flood(&self, threads: usize, test_rounds: usize, act: impl Fn() + Sync) -> usize {
        let began = Instant::now();
        let goes_on = |round| match self.scale {
            Scale::Test => round < test_rounds,
            Scale::Full => began.elapsed() < MEASURED,
        };
        thread::scope(|scope| {
            let flood = || {
                be_nice();
                (0..).take_while(|round| goes_on(*round)).map(|_| act()).count()
            };
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(flood)).collect();
            threads.into_iter().map(|thread| thread.join().expect("an attacker does what it is told")).sum()
        })
    }

    fn client(&self) -> Client {
        self.server.client()
    }

    /// A bare connection.
    fn stream(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server.address()).expect("the server accepts a connection");
        stream.set_read_timeout(Some(wait::PATIENCE)).unwrap();
        stream.set_write_timeout(Some(wait::PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Sends bytes and returns all that comes until the server has closed the connection.
    fn last_words(&self, bytes: &[u8]) -> String {
        let mut stream = self.stream();
        // The server may be done with the client before it has taken everything.
        let _ = stream.write_all(bytes);
        rest(&mut stream)
    }
}

/// All that comes until the end of a connection, however it ends.
fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        // A server that closes with bytes unread resets the connection.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the server does not close the connection: {error}"),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn be_nice() {
    // On Linux this concerns the calling thread alone. Without it figures are worse, and no less true.
    let _ = rustix::process::setpriority_process(None, NICE);
}

fn pong() -> Value {
    Value::Simple("PONG".to_owned())
}

/// Bytes without a pattern, the same each time: the constants are Knuth's.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..count).map(|_| next()).collect()
}
