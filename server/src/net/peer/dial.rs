//! `Connection`: the side that asks. Many requests may be under way on one connection.

use super::frame::Frame;
use super::{Error, Local, REQUESTS_MAX, Remote, hello, notice_silence};
use crate::net::Stream;
use bytes::Bytes;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufReader, BufWriter, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

type Answer = oneshot::Sender<Result<Bytes, String>>;

/// A handle; the connection closes with the last of them.
#[derive(Clone, Debug)]
pub struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    remote: Remote,
    requests: mpsc::Sender<Frame>,
    waiting: Arc<Waiting>,
    next_id: AtomicU64,
    frame_bytes_max: usize,
    closed: CancellationToken,
    _close: DropGuard,
}

/// Who waits for which answer; `None` once the connection is lost.
#[derive(Debug)]
struct Waiting(Mutex<Option<HashMap<u64, Answer>>>);

/// Connects to `address`, where the node `to` is expected, or any.
pub async fn dial(address: &str, to: Option<u64>, local: &Local, timeout: Duration) -> Result<Connection, Error> {
    let failed = |source| Error::Connect { address: address.to_owned(), source };
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        notice_silence(&stream)?;
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        match &local.tls {
            Some(tls) => tls.connect(host.trim_start_matches('[').trim_end_matches(']'), stream).await,
            None => Ok(Stream::plain(stream)),
        }
    };
    let connecting = tokio::time::timeout(timeout, connecting).await;
    let mut stream = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)?;
    let remote = hello::dial(&mut stream, local, to, address).await?;
    Ok(Connection::start(stream, remote, local.frame_bytes_max))
}

impl Connection {
    fn start(stream: Stream, remote: Remote, frame_bytes_max: usize) -> Connection {
        let (read, write) = tokio::io::split(stream);
        let (requests, queue) = mpsc::channel(REQUESTS_MAX);
        let waiting = Arc::new(Waiting(Mutex::new(Some(HashMap::new()))));
        let closed = CancellationToken::new();
        tokio::spawn(ended_with(closed.clone(), waiting.clone(), send(write, queue)));
        tokio::spawn(ended_with(closed.clone(), waiting.clone(), receive(read, waiting.clone(), frame_bytes_max)));
        let _close = closed.clone().drop_guard();
        let next_id = AtomicU64::new(1);
        Connection { shared: Arc::new(Shared { remote, requests, waiting, next_id, frame_bytes_max, closed, _close }) }
    }

    pub fn remote(&self) -> Remote {
        self.shared.remote
    }

    /// Returns when the connection is lost.
    pub async fn closed(&self) {
        self.shared.closed.cancelled().await;
    }

    pub fn is_lost(&self) -> bool {
        self.shared.closed.is_cancelled()
    }

    /// Sends a request and waits for its answer.
    pub async fn ask(&self, kind: u8, payload: Bytes, timeout: Duration) -> Result<Bytes, Error> {
        let exchange = async { self.send(kind, payload).await?.answer().await };
        tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(Error::Timeout))
    }

    /// Sends a request; it arrives before any that is sent after this returns.
    pub async fn send(&self, kind: u8, payload: Bytes) -> Result<Asked, Error> {
        let shared = &self.shared;
        if payload.len() > shared.frame_bytes_max {
            return Err(Error::TooLarge(payload.len()));
        }
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        match &mut *shared.waiting.lock() {
            Some(waiting) => drop(waiting.insert(id, answer)),
            None => return Err(Error::Lost),
        }
        let asked = Asked { answered, _forget: Forget { waiting: Arc::clone(&shared.waiting), id } };
        shared.requests.send(Frame { kind, id, payload }).await.map_err(|_| Error::Lost)?;
        Ok(asked)
    }
}

/// A request that is under way.
#[derive(Debug)]
pub struct Asked {
    answered: oneshot::Receiver<Result<Bytes, String>>,
    _forget: Forget,
}

impl Asked {
    /// Waits for the answer for as long as the connection lives.
    pub async fn answer(self) -> Result<Bytes, Error> {
        self.answered.await.map_err(|_| Error::Lost)?.map_err(Error::Answer)
    }
}

/// Takes an answer that nobody waits for any more out of the map.
#[derive(Debug)]
struct Forget {
    waiting: Arc<Waiting>,
    id: u64,
}

impl Drop for Forget {
    fn drop(&mut self) {
        if let Some(waiting) = &mut *self.waiting.lock() {
            waiting.remove(&self.id);
        }
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Option<HashMap<u64, Answer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Both halves end when one does; whoever waits then learns that the connection is lost.
async fn ended_with(closed: CancellationToken, waiting: Arc<Waiting>, half: impl Future<Output = io::Result<()>>) {
    tokio::select! {
        () = closed.cancelled() => {}
        ended = half => {
            if let Err(error) = ended {
                tracing::debug!(%error, "connection to a peer lost");
            }
            closed.cancel();
        }
    }
    waiting.lock().take();
}

async fn send(write: WriteHalf<Stream>, mut queue: mpsc::Receiver<Frame>) -> io::Result<()> {
    let mut write = BufWriter::new(write);
    while let Some(frame) = queue.recv().await {
        frame.write(&mut write).await?;
        while let Ok(frame) = queue.try_recv() {
            frame.write(&mut write).await?;
        }
        write.flush().await?;
    }
    Ok(())
}

async fn receive(read: ReadHalf<Stream>, waiting: Arc<Waiting>, frame_bytes_max: usize) -> io::Result<()> {
    let mut read = BufReader::new(read);
    while let Some(frame) = Frame::read(&mut read, frame_bytes_max).await? {
        let answer = waiting.lock().as_mut().and_then(|waiting| waiting.remove(&frame.id));
        if let Some(answer) = answer {
            let outcome = match frame.kind {
                0 => Ok(frame.payload),
                _ => Err(String::from_utf8_lossy(&frame.payload).into_owned()),
            };
            // Who asked may have gone.
            let _ = answer.send(outcome);
        }
    }
    Ok(())
}
