//! NTP servers on this machine: chronyd, as people run it, and one that says whatever time a test wants.

use crate::server::Scratch;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds from 1900, where NTP begins, to 1970.
const EPOCH: i128 = 2_208_988_800;
const PACKET_BYTES: usize = 48;
const NANOS: i128 = 1_000_000_000;

/// A port of 127.0.0.1 on which nobody listens.
pub fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A chronyd that serves this machine's time and leaves its clock alone. Dropped, it is killed.
#[derive(Debug)]
pub struct Chronyd {
    child: Child,
    _dir: Scratch,
}

impl Chronyd {
    pub fn start(port: u16) -> Chronyd {
        let dir = Scratch::new();
        let (conf, pid) = (dir.path().join("chrony.conf"), dir.path().join("chronyd.pid"));
        let lines = [
            &format!("port {port}"),
            "bindaddress 127.0.0.1",
            "cmdport 0",
            // Nor a socket of a fixed name, which two could not share.
            "bindcmdaddress /",
            "allow 127.0.0.1",
            "local stratum 3",
            &format!("pidfile {}", pid.display()),
        ];
        std::fs::write(&conf, lines.join("\n")).unwrap();
        // Where it is installed, ordinary users often have no path to it.
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("chronyd");
        // -x: it sets no clock, and so needs no rights.
        command.args(["-x", "-d", "-U", "-f"]).arg(&conf).env("PATH", path).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Chronyd { child: child.expect("chronyd is needed: apt-get install chrony, or run .ci/run"), _dir: dir }
    }
}

impl Drop for Chronyd {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nobody to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that is as far ahead of this machine's clock as it is told. Dropped, it ends.
#[derive(Debug)]
pub struct FakeServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// In nanoseconds.
    ahead: AtomicI64,
    ended: AtomicBool,
}

impl FakeServer {
    pub fn start(ahead_seconds: i64) -> FakeServer {
        FakeServer::start_on(Ipv4Addr::LOCALHOST, ahead_seconds)
    }

    pub fn start_on(address: Ipv4Addr, ahead_seconds: i64) -> FakeServer {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        // Only paces the looks at whether it shall end.
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut server = FakeServer { address: socket.local_addr().unwrap(), shared: Arc::default(), serving: None };
        server.set(ahead_seconds);
        let shared = Arc::clone(&server.shared);
        server.serving = Some(thread::spawn(move || serve(&socket, &shared)));
        server
    }

    pub fn set(&self, ahead_seconds: i64) {
        self.shared.ahead.store(ahead_seconds * NANOS as i64, Ordering::Relaxed);
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(serving) = self.serving.take() {
            let _ = serving.join();
        }
    }
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut request = [0; PACKET_BYTES];
    while !shared.ended.load(Ordering::Relaxed) {
        let Ok((PACKET_BYTES, client)) = socket.recv_from(&mut request) else { continue };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i128;
        let time = timestamp(now + i128::from(shared.ahead.load(Ordering::Relaxed)));
        let mut reply = [0; PACKET_BYTES];
        // No leap second, version 4, mode 4 (server); stratum 1.
        reply[..2].copy_from_slice(&[0x24, 1]);
        reply[12..16].copy_from_slice(b"TEST");
        // The client's transmit time comes back as the originate time; reference, receive and transmit are now.
        reply[24..32].copy_from_slice(&request[40..48]);
        for at in [16, 32, 40] {
            reply[at..at + 8].copy_from_slice(&time);
        }
        let _ = socket.send_to(&reply, client);
    }
}

/// Seconds since 1900 and their fraction, 32 bits each.
fn timestamp(unix_nanos: i128) -> [u8; 8] {
    let seconds = unix_nanos.div_euclid(NANOS) + EPOCH;
    let fraction = (unix_nanos.rem_euclid(NANOS) << 32) / NANOS;
    (((seconds as u64) << 32) | fraction as u64).to_be_bytes()
}
