//! etcd over its own protocol, gRPC on HTTP/2: as much of it as puts and the status of a node take.
//!
//! Messages are built by hand from etcd's `rpc.proto`: there are two of them, and a compiler for the format would be one
//! more thing to install.

use super::load::Measured;
use anyhow::{Context as _, Result, anyhow, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// Clients share so many connections, as those of etcd's own benchmark do.
const CONNECTIONS_MAX: usize = 16;
const ANSWER_MAX: Duration = Duration::from_secs(60);
const KEYS: u64 = 100_000;

/// Whether the node at this port leads; an error if it knows no leader.
pub(super) fn leads(port: u16) -> Result<bool> {
    runtime()?.block_on(async {
        let answer = call(&connect(port).await?, "/etcdserverpb.Maintenance/Status", Bytes::new()).await?;
        let (header, leader) = (field(&answer, 1).context("no header")?, number(&answer, 4).unwrap_or(0));
        ensure!(leader != 0, "no leader is known");
        Ok(number(header, 2) == Some(leader))
    })
}

/// So many puts by so many clients, each of which waits for its answer.
pub(super) fn put(port: u16, clients: u64, count: u64, value: &str) -> Result<Measured> {
    runtime()?.block_on(async {
        let mut connections = Vec::new();
        for _ in 0..(clients as usize).min(CONNECTIONS_MAX) {
            connections.push(connect(port).await?);
        }
        let next = Arc::new(AtomicU64::new(0));
        let began = Instant::now();
        let tasks: Vec<_> = (0..clients as usize)
            .map(|client| {
                let (connection, next) = (connections[client % connections.len()].clone(), next.clone());
                tokio::spawn(puts(connection, next, count, value.to_owned()))
            })
            .collect();
        let mut latencies = Vec::with_capacity(count as usize);
        for task in tasks {
            latencies.extend(task.await??);
        }
        Ok(Measured::of(latencies, began.elapsed(), 1.0))
    })
}

async fn puts(
    connection: SendRequest<Bytes>,
    next: Arc<AtomicU64>,
    count: u64,
    value: String,
) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            return Ok(latencies);
        }
        // As far from the last one as may be.
        let key = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % KEYS;
        let mut message = BytesMut::new();
        put_field(&mut message, 1, format!("key:{key:012}").as_bytes());
        put_field(&mut message, 2, value.as_bytes());
        let began = Instant::now();
        call(&connection, "/etcdserverpb.KV/Put", message.freeze()).await?;
        latencies.push(began.elapsed());
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

async fn connect(port: u16) -> Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = h2::client::handshake(stream).await?;
    // It ends with the connection; what went wrong, each call finds.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// One call of gRPC: a message there and a message back.
async fn call(connection: &SendRequest<Bytes>, path: &str, message: Bytes) -> Result<Bytes> {
    let asked = async {
        let mut sender = connection.clone().ready().await?;
        let request = http::Request::post(format!("http://etcd{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let (response, mut stream) = sender.send_request(request, false)?;
        let mut frame = BytesMut::with_capacity(5 + message.len());
        frame.put_u8(0);
        frame.put_u32(message.len() as u32);
        frame.put_slice(&message);
        stream.send_data(frame.freeze(), true)?;
        let response = response.await?;
        // A refusal may have no body, and its trailers are the headers.
        status(response.headers())?;
        let mut body = response.into_body();
        let mut answer = BytesMut::new();
        while let Some(part) = body.data().await {
            let part = part?;
            body.flow_control().release_capacity(part.len())?;
            answer.extend_from_slice(&part);
        }
        if let Some(trailers) = body.trailers().await? {
            status(&trailers)?;
        }
        ensure!(answer.len() >= 5, "an answer without a message");
        Ok(answer.freeze().slice(5..))
    };
    tokio::time::timeout(ANSWER_MAX, asked).await.map_err(|_| anyhow!("no answer to {path} for {ANSWER_MAX:?}"))?
}

fn status(headers: &http::HeaderMap) -> Result<()> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let message = text("grpc-message").unwrap_or_default();
    match text("grpc-status") {
        None | Some("0") => Ok(()),
        Some(code) => Err(anyhow!("etcd refuses: {code} {message}")),
    }
}

/// Appends a field of bytes, with fewer than 16 of a number.
fn put_field(message: &mut BytesMut, number: u8, value: &[u8]) {
    message.put_u8(number << 3 | 2);
    put_varint(message, value.len() as u64);
    message.put_slice(value);
}

fn put_varint(message: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        message.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    message.put_u8(value as u8);
}

fn get_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The first field of this number.
fn find(mut rest: &[u8], wanted: u64) -> Option<Value<'_>> {
    while !rest.is_empty() {
        let key = get_varint(&mut rest)?;
        let value = match key & 7 {
            0 => Value::Number(get_varint(&mut rest)?),
            2 => {
                let length = usize::try_from(get_varint(&mut rest)?).ok()?;
                let (bytes, tail) = rest.split_at_checked(length)?;
                rest = tail;
                Value::Bytes(bytes)
            }
            // etcd's messages have no others that are read here.
            _ => return None,
        };
        if key >> 3 == wanted {
            return Some(value);
        }
    }
    None
}

fn number(message: &[u8], wanted: u64) -> Option<u64> {
    match find(message, wanted) {
        Some(Value::Number(number)) => Some(number),
        _ => None,
    }
}

fn field(message: &[u8], wanted: u64) -> Option<&[u8]> {
    match find(message, wanted) {
        Some(Value::Bytes(bytes)) => Some(bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_number() {
        let mut message = BytesMut::new();
        put_field(&mut message, 1, &[7; 300]);
        message.put_u8(4 << 3);
        put_varint(&mut message, u64::MAX);
        assert_eq!(field(&message, 1), Some(&[7; 300][..]));
        assert_eq!(number(&message, 4), Some(u64::MAX));
        assert_eq!((number(&message, 1), number(&message, 5)), (None, None));
        // Cut short.
        assert_eq!(field(&message[..100], 1), None);
        assert_eq!(number(&message[..message.len() - 1], 4), None);
    }
}
