//! The side that answers.

use super::frame::Frame;
use super::{Local, REQUESTS_MAX, Remote, hello, notice_silence};
use crate::net::{Stream, Visitor};
use bytes::Bytes;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use tokio::io::{AsyncWriteExt, BufReader, BufWriter, WriteHalf};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What answers the requests of other nodes.
pub trait Service: Clone + Send + Sync + 'static {
    /// `Err` says that nothing was done, and why. The requests of a connection are begun in the order in which they
    /// came, each up to where it first waits, and are then on their own.
    fn answer(&self, from: Remote, kind: u8, payload: Bytes) -> impl Future<Output = Result<Bytes, String>> + Send;
}

/// Serves one connection until the other side closes it or `stop` is cancelled. A visitor may be sent away until it has
/// proven that it is a node.
pub async fn serve(
    mut stream: Stream,
    visitor: Option<Visitor>,
    local: Local,
    service: impl Service,
    stop: CancellationToken,
) -> io::Result<()> {
    notice_silence(stream.tcp())?;
    let introduction = hello::listen(&mut stream, &local);
    let remote = match &visitor {
        None => introduction.await?,
        Some(visitor) => visitor.unless_sent_away(introduction).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))?,
    };
    drop(visitor);
    let (read, write) = tokio::io::split(stream);
    let mut read = BufReader::new(read);
    let (answers, queue) = mpsc::channel(REQUESTS_MAX);
    let places = Arc::new(Semaphore::new(REQUESTS_MAX));
    // Ends with this connection: nobody would hear the answers.
    let mut tasks = JoinSet::new();
    tasks.spawn(send(write, queue));
    loop {
        let frame = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            frame = Frame::read(&mut read, local.frame_bytes_max) => frame?,
        };
        let Some(frame) = frame else { return Ok(()) };
        while tasks.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
        let (service, answers) = (service.clone(), answers.clone());
        let mut answering = Box::pin(async move {
            let (kind, payload) = match service.answer(remote, frame.kind, frame.payload).await {
                Ok(payload) => (0, payload),
                Err(reason) => (1, Bytes::from(reason)),
            };
            // The connection may have ended, and then there is nobody to answer.
            let _ = answers.send(Frame { kind, id: frame.id, payload }).await;
            drop(place);
        });
        let begun = poll_fn(|context| Poll::Ready(answering.as_mut().poll(context))).await;
        if begun.is_pending() {
            tasks.spawn(answering);
        }
    }
}

async fn send(write: WriteHalf<Stream>, mut queue: mpsc::Receiver<Frame>) {
    let mut write = BufWriter::new(write);
    let sending = async {
        while let Some(frame) = queue.recv().await {
            frame.write(&mut write).await?;
            while let Ok(frame) = queue.try_recv() {
                frame.write(&mut write).await?;
            }
            write.flush().await?;
        }
        Ok::<_, io::Error>(())
    };
    if let Err(error) = sending.await {
        tracing::debug!(%error, "answers to a peer cannot be sent");
    }
}
