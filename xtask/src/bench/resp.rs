//! As much of the Redis protocol as a client that measures needs. redis-benchmark has no keys in order and no longest
//! gap.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::load::Measured;
use anyhow::{Context as _, Result, bail, ensure};

/// A server that is silent for so long is stuck.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How much is written at a time.
const WRITE_BYTES: usize = 64 * 1024;
const OK: &[u8] = b"+OK\r\n";

/// One connection that waits for each reply.
pub(super) struct Client {
    stream: BufReader<TcpStream>,
    request: Vec<u8>,
}

impl Client {
    pub(super) fn connect(port: u16) -> Result<Client> {
        Ok(Client { stream: BufReader::new(connect(port)?), request: Vec::new() })
    }

    /// The reply as text; of an array its elements, a line each. An error reply is an error.
    pub(super) fn text(&mut self, words: &[&str]) -> Result<String> {
        self.request.clear();
        encode(&mut self.request, words);
        self.stream.get_mut().write_all(&self.request)?;
        self.reply().with_context(|| format!("the reply to {}", words[0]))
    }

    fn reply(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line)? > 0, "the server closed the connection");
        let line = line.trim_end();
        let (kind, rest) = line.split_at_checked(1).context("an empty line")?;
        match kind {
            "+" | ":" => Ok(rest.to_owned()),
            "-" => bail!("{rest}"),
            "$" if rest == "-1" => Ok(String::new()),
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>()? + 2];
                self.stream.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Ok(String::from_utf8(bytes)?)
            }
            "*" => {
                let elements: Result<Vec<String>> = (0..rest.parse::<usize>()?).map(|_| self.reply()).collect();
                Ok(elements?.join("\n"))
            }
            _ => bail!("{line:?} is no reply"),
        }
    }
}

/// How filling went.
pub(super) struct Filled {
    pub(super) elapsed: Duration,
    /// The longest time in which nothing was answered.
    pub(super) silence: Duration,
}

/// The name of a key, in the form of redis-benchmark.
pub(super) fn key(index: u32) -> String {
    format!("key:{index:012}")
}

/// 32 bytes that tell which key they belong to and which filling.
pub(super) fn value(index: u32, filling: char) -> String {
    format!("{index:031}{filling}")
}

/// Sets the keys 0 to `count` on one connection as fast as the server takes them, and checks every reply.
pub(super) fn fill(port: u16, count: u32, filling: char) -> Result<Filled> {
    let stream = connect(port)?;
    let began = Instant::now();
    thread::scope(|scope| {
        // Writing and reading at once: a server that waits for its replies to be read reads nothing more.
        let writer = scope.spawn(|| write_sets(&stream, count, filling));
        let silence = read_oks(&stream, count);
        if silence.is_err() {
            // The writer would wait for a server that may never read again.
            let _ = stream.shutdown(Shutdown::Both);
        }
        let written = writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?;
        let silence = silence?;
        written?;
        Ok(Filled { elapsed: began.elapsed(), silence })
    })
}

fn write_sets(mut stream: &TcpStream, count: u32, filling: char) -> Result<()> {
    let mut buffer = Vec::with_capacity(2 * WRITE_BYTES);
    for index in 0..count {
        encode(&mut buffer, &["SET", &key(index), &value(index, filling)]);
        if buffer.len() >= WRITE_BYTES {
            stream.write_all(&buffer)?;
            buffer.clear();
        }
    }
    stream.write_all(&buffer)?;
    Ok(())
}

/// Reads as many `OK`; returns the longest time without a byte.
fn read_oks(mut stream: &TcpStream, count: u32) -> Result<Duration> {
    let mut left = count as usize * OK.len();
    let mut buffer = vec![0; WRITE_BYTES];
    let mut position = 0;
    let mut silence = Duration::ZERO;
    let mut last = Instant::now();
    while left > 0 {
        let read = stream.read(&mut buffer).context("waiting for replies")?;
        ensure!(read > 0, "the server closed the connection, {} replies short", left.div_ceil(OK.len()));
        silence = silence.max(last.elapsed());
        last = Instant::now();
        for byte in &buffer[..read] {
            ensure!(
                *byte == OK[position],
                "a SET was answered {:?}",
                String::from_utf8_lossy(&buffer[..read.min(200)])
            );
            position = (position + 1) % OK.len();
        }
        left = left.checked_sub(read).context("more replies than commands")?;
    }
    Ok(silence)
}

/// One connection that writes a pipeline of `SET k n`, `GET k` over and over, `depth` of each, and finds in each GET what
/// the SET before it has set.
pub(super) fn mix(port: u16, depth: usize, count: u64) -> Result<Measured> {
    let mut client = Client::connect(port)?;
    let (mut latencies, began) = (Vec::new(), Instant::now());
    for round in 0..count.div_ceil(2 * depth as u64) {
        client.request.clear();
        for number in 0..depth as u64 {
            let value = (round * depth as u64 + number).to_string();
            encode(&mut client.request, &["SET", "k", &value]);
            encode(&mut client.request, &["GET", "k"]);
        }
        let asked = Instant::now();
        client.stream.get_mut().write_all(&client.request)?;
        for number in 0..depth as u64 {
            ensure!(client.reply()? == "OK", "a SET was not done");
            let (found, set) = (client.reply()?, (round * depth as u64 + number).to_string());
            ensure!(found == set, "a GET behind SET k {set} found {found}");
        }
        latencies.push(asked.elapsed());
    }
    Ok(Measured::of(latencies, began.elapsed(), 2.0 * depth as f64))
}

fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    Ok(stream)
}

fn encode(buffer: &mut Vec<u8>, words: &[&str]) {
    buffer.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        buffer.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn values_have_32_bytes() {
        assert_eq!(value(0, 'a').len(), 32);
        assert_eq!(value(u32::MAX, 'b').len(), 32);
    }

    #[test]
    fn a_request_is_an_array_of_blob_strings() {
        let mut buffer = Vec::new();
        encode(&mut buffer, &["SET", "k", ""]);
        assert_eq!(buffer, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n");
    }

    /// Answers the first bytes of a connection with `replies` and closes it.
    fn answering(replies: &'static [u8]) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(replies).unwrap();
        });
        port
    }

    #[test]
    fn replies_are_read_as_text() {
        let port = answering(b"*3\r\n$2\r\nid\r\n:7\r\n$-1\r\n+PONG\r\n-ERR no\r\n");
        let mut client = Client::connect(port).unwrap();
        assert_eq!(client.text(&["A"]).unwrap(), "id\n7\n");
        assert_eq!(client.reply().unwrap(), "PONG");
        assert_eq!(client.reply().unwrap_err().to_string(), "ERR no");
    }

    #[test]
    fn filling_counts_replies_and_refuses_errors() {
        assert!(fill(answering(b"+OK\r\n+OK\r\n"), 2, 'a').is_ok());
        assert!(fill(answering(b"+OK\r\n-BUSY\r\n"), 2, 'a').is_err());
        assert!(fill(answering(b"+OK\r\n"), 2, 'a').is_err());
    }
}
