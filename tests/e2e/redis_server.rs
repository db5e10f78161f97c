//! The same bytes to redis-server and to this server: as many replies, and the same errors for what is malformed.
//!
//! Differences that are meant, and which the bytes here avoid or `same` knows: this server checks the line end behind an
//! argument and the line feed behind a length, where Redis skips two bytes unseen; it tells a web browser why it is sent
//! away; a NUL does not end a line; its limits are lower; and it escapes what cannot be seen.

use bytes::Bytes;
use redis_protocol::resp2::decode::decode_bytes;
use redis_protocol::resp2::types::BytesFrame;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use uhaha_tests::server::Scratch;
use uhaha_tests::{Module, Server, wait};

const REQUESTS: usize = 1500;
const PARTS_MAX: usize = 9;
/// More say nothing new.
const DIFFERENCES_MAX: usize = 40;
const ARGUMENT_END: &str = "ERR Protocol error: expected CR LF after an argument";

/// What requests are put together from.
const PARTS: [&str; 40] = [
    "*1\r\n",
    "*2\r\n",
    "*3\r\n",
    "*0\r\n",
    "*-1\r\n",
    "*x\r\n",
    "*01\r\n",
    "*+1\r\n",
    "*\r\n",
    "*1048576\r\n",
    "*2147483648\r\n",
    "*9223372036854775808\r\n",
    "$4\r\n",
    "$4\r\n",
    "$1\r\n",
    "$0\r\n",
    "$-1\r\n",
    "$04\r\n",
    "$x\r\n",
    "$\r\n",
    "$9223372036854775807\r\n",
    ":1\r\n",
    "+OK\r\n",
    "\r\n",
    "\n",
    "PING\r\n",
    "ECHO\r\n",
    "PING\r\n",
    "a\r\n",
    "ping",
    "echo",
    " ",
    "  \t",
    "\x0b",
    "\x0c",
    "'a b'",
    "\"\\x41\\n\\\"\"",
    "\"",
    "'",
    "\\",
];

/// Without data, on a socket in the file system.
struct Redis {
    process: Child,
    socket: PathBuf,
    _scratch: Scratch,
}

impl Redis {
    fn start() -> Redis {
        let scratch = Scratch::new();
        let socket = scratch.path().join("redis.sock");
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server starts");
        wait::until("redis-server", || UnixStream::connect(&socket).ok());
        Redis { process, socket, _scratch: scratch }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It keeps nothing.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn of_redis(socket: &Path, request: &[u8]) -> Vec<BytesFrame> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    // A server may be done with the client before it has taken everything.
    let _ = stream.write_all(request).and_then(|()| stream.shutdown(Shutdown::Write));
    read_to_end(stream)
}

fn of_this_server(server: &Server, request: &[u8]) -> Vec<BytesFrame> {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    let _ = stream.write_all(request).and_then(|()| stream.shutdown(Shutdown::Write));
    read_to_end(stream)
}

fn read_to_end(mut stream: impl Read) -> Vec<BytesFrame> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        // A server that closes with bytes unread resets the connection.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the server did not close the connection: {error}"),
    }
    let mut bytes = Bytes::from(bytes);
    let mut frames = Vec::new();
    while let Some((frame, taken)) = decode_bytes(&bytes).unwrap() {
        frames.push(frame);
        drop(bytes.split_to(taken));
    }
    assert!(bytes.is_empty(), "half a reply: {bytes:?}");
    frames
}

/// Protocol errors word by word, for clients may look at them; of others the first word.
fn class(frame: &BytesFrame) -> String {
    match frame {
        BytesFrame::Error(text) if text.starts_with("ERR Protocol error") => seen(text),
        BytesFrame::Error(text) => text.split(' ').next().unwrap_or_default().to_owned(),
        other => format!("{other:?}"),
    }
}

/// What cannot be seen is escaped, as this server does.
fn seen(text: &str) -> String {
    let shown =
        |byte: u8| if byte.is_ascii_control() { byte.escape_ascii().to_string() } else { char::from(byte).into() };
    text.bytes().map(shown).collect()
}

/// What is different, if it is not meant to be.
fn difference(redis: &Redis, server: &Server, request: &[u8]) -> Option<String> {
    let ours: Vec<String> = of_this_server(server, request).iter().map(class).collect();
    let theirs: Vec<String> = of_redis(&redis.socket, request).iter().map(class).collect();
    let same = match ours.split_last() {
        Some((last, before)) if last == ARGUMENT_END => theirs.starts_with(before),
        _ => theirs == ours,
    };
    (!same).then(|| format!("{}:\n  {ours:?}\n  {theirs:?} by redis-server", request.escape_ascii()))
}

/// Numbers that look random, and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

#[test]
fn malformed_and_whole_requests_are_answered_as_by_redis() {
    let (redis, server) = (Redis::start(), Server::start(Module::ticket()));
    let (mut numbers, mut requests) = (Numbers(1), Vec::new());
    for _ in 0..REQUESTS {
        let parts = (0..=numbers.below(PARTS_MAX)).map(|_| PARTS[numbers.below(PARTS.len())]);
        requests.push(parts.collect::<String>());
    }
    for line in [60_000, 65_535, 65_536, 65_537, 70_000] {
        for start in ["", "*", "*1\r\n$"] {
            requests.push(format!("{start}{}", "1".repeat(line)));
        }
    }
    let differences = requests.iter().filter_map(|request| difference(&redis, &server, request.as_bytes()));
    let differences: Vec<String> = differences.take(DIFFERENCES_MAX).collect();
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}
