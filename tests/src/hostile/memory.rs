//! Requests and replies that are large, late or never taken.

use super::{Attack, MIB, Setup, Target, be_nice, pong};
use crate::client::encode;
use crate::{ok, wait};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

const BUDGET: &[&str] = &["--clients-memory", "256MiB"];

/// The log since the last snapshot is in memory, too.
const BUDGET_AND_LOG: &[&str] = &["--clients-memory", "256MiB", "--snapshot-log-bytes", "64MiB"];

pub(super) const ATTACKS: &[Attack] = &[
    attack("an argument of 64 MiB that comes byte by byte", &[], 64, |target| {
        let mut streams: Vec<TcpStream> = (0..target.pick(20, 200)).map(|_| target.stream()).collect();
        for stream in &mut streams {
            stream.write_all(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$67108864\r\n").unwrap();
        }
        let rounds = target.pick(50, 400);
        for _ in 0..rounds {
            streams.iter_mut().for_each(|stream| stream.write_all(b"x").unwrap());
            thread::sleep(Duration::from_millis(if target.pick(0, 1) == 1 { 10 } else { 0 }));
        }
        assert_eq!(target.client().call(&["PING"]), pong());
        format!("nothing, to {} of them after {rounds} bytes", streams.len())
    }),
    // Besides the budget, the one that is run in the end is in the buffer, in the proposal, in the log and in the guest.
    attack("arguments of 64 MiB that lack their last byte", BUDGET, 768, |target| {
        let request = [b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$67108864\r\n", &vec![b'x'; 64 << 20][..]].concat();
        let count = target.pick(12, 60);
        let mut held: Vec<TcpStream> = Vec::new();
        for _ in 0..count {
            let mut stream = target.stream();
            // Who is too much is cut off, and that may be this one.
            let _ = stream.write_all(&request);
            held.push(stream);
        }
        target.hold();
        let cut_off = held.iter_mut().map(is_over).filter(|over| *over).count();
        assert!(cut_off >= count - 4, "{cut_off} of {count} were cut off");
        let whole = [&request[..], b"\r\n"].concat();
        let mut honest = target.client();
        honest.send_raw(&whole);
        assert_eq!(honest.receive(), ok());
        format!("{cut_off} of {count} are disconnected, and who ends a command has OK")
    }),
    attack("replies of 8 MiB, taken a byte at a time", BUDGET, 768, |target| {
        let value = "v".repeat(8 << 20);
        assert_eq!(target.client().call(&["SET", "large", &value]), ok());
        let request = encode(&["GET", "large"]).repeat(target.pick(2, 8));
        let mut slow: Vec<TcpStream> = Vec::new();
        for _ in 0..target.pick(12, 200) {
            let mut stream = target.stream();
            let _ = stream.write_all(&request);
            slow.push(stream);
        }
        let mut taken = 0;
        for _ in 0..target.pick(20, 300) {
            taken += slow.iter_mut().map(|stream| matches!(stream.read(&mut [0]), Ok(1))).filter(|took| *took).count();
            thread::sleep(Duration::from_millis(if target.pick(0, 1) == 1 { 10 } else { 0 }));
        }
        format!("{taken} bytes, of {} who take them slowly", slow.len())
    }),
    attack("pipelines whose replies are never read", BUDGET, 640, |target| {
        let value = "v".repeat(100 << 10);
        assert_eq!(target.client().call(&["SET", "large", &value]), ok());
        let count = target.pick(8, 32);
        let sent: u64 = thread::scope(|scope| {
            let greedy: Vec<_> =
                (0..count).map(|_| scope.spawn(|| never_read(target, &encode(&["GET", "large"])))).collect();
            greedy.into_iter().map(|greedy| greedy.join().unwrap()).sum()
        });
        format!("held back after {} KiB of requests each", sent / count as u64 / 1024)
    }),
    attack("writes in pipelines whose replies are never read", BUDGET_AND_LOG, 640, |target| {
        let count = target.pick(4, 32);
        let request = encode(&["SET", "k", &"v".repeat(1000)]);
        let sent: u64 = thread::scope(|scope| {
            let greedy: Vec<_> = (0..count).map(|_| scope.spawn(|| never_read(target, &request))).collect();
            greedy.into_iter().map(|greedy| greedy.join().unwrap()).sum()
        });
        format!("{} MiB of writes taken", sent / MIB)
    }),
    attack("clients that once sent and took much, and fell silent", &[], 1536, |target| {
        let value = "v".repeat(900 << 10);
        let mut quiet: Vec<_> = (0..target.pick(100, 1_000)).map(|_| target.client()).collect();
        for client in &mut quiet {
            assert_eq!(client.call(&["ECHO", &value]).bytes().len(), value.len());
        }
        let mut observer = target.client();
        wait::until("their buffers to be given back", || {
            observer.call(&["INFO", "memory"]).text().contains("mem_clients_normal:0\r\n").then_some(())
        });
        assert!(quiet.iter_mut().all(|client| client.call(&["PING"]) == pong()));
        format!("the replies; {} are still served", quiet.len())
    }),
];

const fn attack(
    name: &'static str,
    args: &'static [&'static str],
    growth_max_mib: u64,
    run: fn(&Target<'_>) -> String,
) -> Attack {
    Attack { name, setup: Setup::Open, args, growth_max_mib, run }
}

/// Whether the server has ended a connection on which it had nothing to say.
fn is_over(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    match stream.read(&mut [0; 4096]) {
        Ok(0) => true,
        Ok(_) => true,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// Sends without end and reads nothing, until the server takes no more or disconnects; how many bytes it took.
fn never_read(target: &Target<'_>, request: &[u8]) -> u64 {
    be_nice();
    let mut stream = target.stream();
    stream.set_write_timeout(Some(Duration::from_secs(target.pick(1, 4) as u64))).unwrap();
    let chunk = request.repeat((64 << 10) / request.len() + 1);
    let mut sent = 0;
    while sent < 256 * MIB
        && let Ok(bytes @ 1..) = stream.write(&chunk)
    {
        sent += bytes as u64;
    }
    sent
}
