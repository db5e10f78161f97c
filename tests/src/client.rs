//! A small blocking client that speaks RESP2 and RESP3, and bytes when a test wants them. Replies are decoded by
//! redis-protocol, so that the server's own idea of the protocol is not what judges it.

use crate::wait::{self, PATIENCE};
use bytes::{Bytes, BytesMut};
use redis_protocol::{resp2, resp3};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// A reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Boolean(bool),
    Integer(i64),
    Double(f64),
    Simple(String),
    Bulk(Bytes),
    Verbatim(Bytes),
    Error(String),
    Array(Vec<Value>),
    /// In no order that means anything.
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
    Push(Vec<Value>),
}

pub fn int(number: i64) -> Value {
    Value::Integer(number)
}

pub fn bulk(text: &str) -> Value {
    Value::Bulk(Bytes::copy_from_slice(text.as_bytes()))
}

pub fn ok() -> Value {
    Value::Simple("OK".to_owned())
}

impl Value {
    #[track_caller]
    pub fn integer(&self) -> i64 {
        match self {
            Value::Integer(number) => *number,
            other => panic!("expected an integer: {other:?}"),
        }
    }

    /// Of anything that is text, but for an error.
    #[track_caller]
    pub fn text(&self) -> &str {
        match self {
            Value::Simple(text) => text,
            Value::Bulk(bytes) | Value::Verbatim(bytes) => std::str::from_utf8(bytes).unwrap(),
            other => panic!("expected text: {other:?}"),
        }
    }

    #[track_caller]
    pub fn error(&self) -> &str {
        match self {
            Value::Error(message) => message,
            other => panic!("expected an error: {other:?}"),
        }
    }

    #[track_caller]
    pub fn bytes(&self) -> &Bytes {
        match self {
            Value::Bulk(bytes) => bytes,
            other => panic!("expected a bulk string: {other:?}"),
        }
    }

    #[track_caller]
    pub fn array(&self) -> &[Value] {
        match self {
            Value::Array(values) => values,
            other => panic!("expected an array: {other:?}"),
        }
    }

    #[track_caller]
    pub fn texts(&self) -> Vec<&str> {
        self.array().iter().map(Value::text).collect()
    }

    /// A map of text to text, which RESP2 has as an array.
    #[track_caller]
    pub fn fields(&self) -> BTreeMap<&str, &str> {
        match self {
            Value::Map(pairs) => pairs.iter().map(|(name, value)| (name.text(), value.text())).collect(),
            Value::Array(values) => {
                assert_eq!(values.len() % 2, 0, "a flat map has pairs: {values:?}");
                values.chunks(2).map(|pair| (pair[0].text(), pair[1].text())).collect()
            }
            other => panic!("expected a map: {other:?}"),
        }
    }

    #[track_caller]
    pub fn assert_error(&self, start: &str) {
        assert!(self.error().starts_with(start), "expected an error that starts with {start:?}: {self:?}");
    }
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    input: BytesMut,
    resp3: bool,
}

impl Client {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Client {
        Client::try_connect(address).expect("the server accepts a connection")
    }

    pub fn try_connect(address: SocketAddr) -> Option<Client> {
        Client::from_stream(TcpStream::connect(address).ok()?, PATIENCE)
    }

    /// One that waits no longer than that, for the connection and then for each reply.
    pub fn connect_within(address: SocketAddr, timeout: Duration) -> Option<Client> {
        Client::from_stream(TcpStream::connect_timeout(&address, timeout).ok()?, timeout)
    }

    fn from_stream(stream: TcpStream, timeout: Duration) -> Option<Client> {
        stream.set_read_timeout(Some(timeout)).ok()?;
        stream.set_write_timeout(Some(timeout)).ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Client { stream, input: BytesMut::new(), resp3: false })
    }

    /// How long a reply may take; tests that wait for a state leave it as it is.
    pub fn set_patience(&mut self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).unwrap();
        self.stream.set_write_timeout(Some(patience)).unwrap();
    }

    /// Chooses the version of the protocol.
    #[track_caller]
    pub fn hello(&mut self, version: u8) -> Value {
        self.send(&["HELLO", &version.to_string()]);
        // The reply comes in the new version already.
        self.resp3 = version == 3;
        self.receive()
    }

    #[track_caller]
    pub fn call(&mut self, words: &[impl AsRef<[u8]>]) -> Value {
        self.send(words);
        self.receive()
    }

    /// The same, again as long as there is no leader, when nothing is done.
    #[track_caller]
    pub fn insist(&mut self, words: &[impl AsRef<[u8]>]) -> Value {
        wait::until("a leader", || match self.call(words) {
            Value::Error(error) if error.starts_with("CLUSTERDOWN") => None,
            reply => Some(reply),
        })
    }

    /// None when the connection is gone.
    pub fn try_call(&mut self, words: &[impl AsRef<[u8]>]) -> Option<Value> {
        self.stream.write_all(&encode(words)).ok()?;
        self.try_receive().ok()?
    }

    #[track_caller]
    pub fn send(&mut self, words: &[impl AsRef<[u8]>]) {
        self.send_raw(&encode(words));
    }

    #[track_caller]
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes bytes");
    }

    /// As `send_raw`, to a server that may have closed the connection already.
    pub fn try_send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Tells the server that nothing more will come.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Sends all commands before it looks at a reply.
    #[track_caller]
    pub fn pipeline<W: AsRef<[u8]>>(&mut self, commands: &[Vec<W>]) -> Vec<Value> {
        let request: Vec<u8> = commands.iter().flat_map(|words| encode(words)).collect();
        let mut writer = self.stream.try_clone().unwrap();
        std::thread::scope(|scope| {
            // Aside, so that a request and replies larger than all buffers between do not wait for each other.
            scope.spawn(move || writer.write_all(&request));
            commands.iter().map(|_| self.receive()).collect()
        })
    }

    #[track_caller]
    pub fn receive(&mut self) -> Value {
        match self.try_receive() {
            Ok(Some(value)) => value,
            Ok(None) => panic!("the server closed the connection"),
            Err(error) => panic!("no reply came: {error}"),
        }
    }

    /// The next reply; `None` when the connection was closed in between two.
    pub fn try_receive(&mut self) -> io::Result<Option<Value>> {
        loop {
            if let Some(value) = self.decode()? {
                return Ok(Some(value));
            }
            let mut chunk = [0; 64 << 10];
            match self.stream.read(&mut chunk)? {
                0 if self.input.is_empty() => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                bytes => self.input.extend_from_slice(&chunk[..bytes]),
            }
        }
    }

    fn decode(&mut self) -> io::Result<Option<Value>> {
        let broken = |error| io::Error::other(format!("the reply is no RESP: {error}"));
        let decoded = if self.resp3 {
            let decoded = resp3::decode::complete::decode(&self.input).map_err(broken)?;
            decoded.map(|(frame, bytes)| (from_resp3(frame), bytes))
        } else {
            let decoded = resp2::decode::decode(&self.input).map_err(broken)?;
            decoded.map(|(frame, bytes)| (from_resp2(frame), bytes))
        };
        Ok(decoded.map(|(value, bytes)| {
            let _ = self.input.split_to(bytes);
            value
        }))
    }

    /// Everything up to the end of the connection, as it comes over the wire.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = self.input.split().to_vec();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => bytes,
            // A server that closes with bytes unread resets the connection.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => bytes,
            Err(error) => panic!("the server did not close the connection: {error}"),
        }
    }

    /// Asserts that the server has closed the connection and sent nothing more.
    #[track_caller]
    pub fn assert_closed(&mut self) {
        let rest = self.read_to_end();
        assert!(rest.is_empty(), "after the end came {:?}", String::from_utf8_lossy(&rest));
    }
}

/// A command as an array of bulk strings.
pub fn encode(words: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        let word = word.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Splits a command at its blanks.
pub fn words(command: &str) -> Vec<&str> {
    command.split_whitespace().collect()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("a simple string is text")
}

fn from_resp2(frame: resp2::types::OwnedFrame) -> Value {
    use resp2::types::OwnedFrame;
    match frame {
        OwnedFrame::SimpleString(bytes) => Value::Simple(text(bytes)),
        OwnedFrame::Error(message) => Value::Error(message),
        OwnedFrame::Integer(number) => Value::Integer(number),
        OwnedFrame::BulkString(bytes) => Value::Bulk(bytes.into()),
        OwnedFrame::Array(frames) => Value::Array(frames.into_iter().map(from_resp2).collect()),
        OwnedFrame::Null => Value::Null,
    }
}

fn from_resp3(frame: resp3::types::OwnedFrame) -> Value {
    use resp3::types::OwnedFrame;
    let all = |frames: Vec<OwnedFrame>| frames.into_iter().map(from_resp3).collect();
    match frame {
        OwnedFrame::SimpleString { data, .. } => Value::Simple(text(data)),
        OwnedFrame::SimpleError { data, .. } => Value::Error(data),
        OwnedFrame::BlobError { data, .. } => Value::Error(text(data)),
        OwnedFrame::Number { data, .. } => Value::Integer(data),
        OwnedFrame::Double { data, .. } => Value::Double(data),
        OwnedFrame::Boolean { data, .. } => Value::Boolean(data),
        OwnedFrame::BlobString { data, .. } => Value::Bulk(data.into()),
        OwnedFrame::VerbatimString { data, .. } => Value::Verbatim(data.into()),
        OwnedFrame::BigNumber { data, .. } => Value::Bulk(data.into()),
        OwnedFrame::Null => Value::Null,
        OwnedFrame::Array { data, .. } => Value::Array(all(data)),
        OwnedFrame::Set { data, .. } => Value::Set(data.into_iter().map(from_resp3).collect()),
        OwnedFrame::Push { data, .. } => Value::Push(all(data)),
        OwnedFrame::Map { data, .. } => {
            Value::Map(data.into_iter().map(|(name, value)| (from_resp3(name), from_resp3(value))).collect())
        }
        OwnedFrame::Hello { .. } | OwnedFrame::ChunkedString(_) => panic!("a server does not reply with {frame:?}"),
    }
}
