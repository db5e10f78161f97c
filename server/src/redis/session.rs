//! One client from its first byte to its last.
//!
//! The session reads what is there, cuts it into commands, and lets the dispatcher say where each goes. Neighbours that
//! go the same way go together: consecutive writes are one proposal, consecutive reads one call of the machine. Where
//! they change over often, the reads go along with the writes. Replies come in the order of the commands. It reads again
//! only when all are written, so a client that does not take its replies stops being read, and the system's buffers push
//! back on it.

use super::{Decoder, Options, ProtocolError, encode, encode_value};
use crate::command::Command;
use crate::dispatch::{Client, Dispatcher, Route};
use crate::pace::Pace;
use crate::replies::{Answered, Replies};
use crate::reply::{ErrorCode, ErrorReply, Reply};
use crate::resp3::Value;
use bytes::{Buf, BytesMut};
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

/// A buffer that grew larger for one reply is given back.
const KEPT_OUTPUT_BYTES_MAX: usize = 1 << 20;
/// A client that has been silent for so long has no use for large buffers.
const SILENT_AFTER: Duration = Duration::from_secs(2);
/// How long one client's commands may keep a thread that others want too.
const SLICE: Duration = Duration::from_micros(500);

/// How a session came to its end. None is an error of the server; all are worth a debug line.
#[derive(Debug, thiserror::Error)]
pub enum End {
    #[error("the client closed the connection")]
    Gone,
    #[error("the client said goodbye")]
    Quit,
    #[error("there are too many clients")]
    Refused,
    #[error("the client was killed, or the server stops")]
    Ended,
    #[error("the client sent nothing for the idle timeout")]
    Idle,
    #[error("the client took nothing for the output timeout")]
    Stuck,
    #[error("protocol error")]
    Protocol(#[source] ProtocolError),
    #[error("the connection failed")]
    Io(#[source] io::Error),
}

/// Serves one client over a stream.
#[derive(Debug)]
pub struct Session<S> {
    wire: Wire<S>,
    decoder: Decoder,
    dispatcher: Arc<Dispatcher>,
    client: Client,
    pace: Pace,
}

/// The stream with what waits to be written to it.
#[derive(Debug)]
struct Wire<S> {
    stream: S,
    output: BytesMut,
    options: Options,
    ended: CancellationToken,
    killed: CancellationToken,
}

/// Commands of the guest that follow each other, and refusals between them.
#[derive(Debug, Default)]
struct Group {
    commands: Vec<Command>,
    /// One for each command and refusal, in order; `None` for what the dispatcher will answer.
    refusals: Vec<Option<ErrorReply>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Serves until the client goes or has to go. `peer` and `local` are the two ends of the connection.
    pub async fn serve(
        mut stream: S,
        peer: std::net::SocketAddr,
        local: std::net::SocketAddr,
        dispatcher: Arc<Dispatcher>,
        options: Options,
    ) -> End {
        let client = match dispatcher.connect(peer, local) {
            Ok(client) => client,
            Err(refusal) => {
                let line = format!("-{refusal}\r\n");
                // Whether it still listens does not matter.
                let _ = tokio::time::timeout(options.output_timeout, stream.write_all(line.as_bytes())).await;
                return End::Refused;
            }
        };
        let wire = Wire {
            stream,
            output: BytesMut::new(),
            options: options.clone(),
            ended: client.ended(),
            killed: client.killed(),
        };
        let pace = Pace::new(options.pipeline_commands_max);
        let mut session = Session { wire, decoder: Decoder::new(options), dispatcher, client, pace };
        let end = session.run().await.unwrap_or_else(|end| end);
        // Says goodbye properly, so that the last replies arrive.
        let _ = tokio::time::timeout(Duration::from_secs(1), session.wire.stream.shutdown()).await;
        end
    }

    async fn run(&mut self) -> Result<End, End> {
        let ended = self.wire.ended.clone();
        let mut commands = Vec::new();
        loop {
            let broken = self.decode(&mut commands);
            if commands.is_empty() && broken.is_none() {
                self.note_memory(0);
                self.read(&ended).await?;
                continue;
            }
            self.dispatcher.note_active(&mut self.client, commands.len());
            self.note_memory(0);
            self.run_pipeline(&mut commands).await?;
            self.decoder.settle();
            if self.client.is_closing() {
                self.wire.flush().await?;
                return Ok(End::Quit);
            }
            if let Some(error) = broken {
                let message = format!("Protocol error: {error}");
                self.emit(&Reply::error(ErrorCode::Err, message)).await?;
                self.wire.flush().await?;
                return Ok(End::Protocol(error));
            }
            self.wire.flush().await?;
            if ended.is_cancelled() {
                return Ok(End::Ended);
            }
        }
    }

    /// Takes the commands that are whole already, up to the limit of a pipeline.
    fn decode(&mut self, commands: &mut Vec<Command>) -> Option<ProtocolError> {
        // A stranger's first command may be the one that makes the next ones welcome.
        let authenticated = self.client.is_authenticated();
        let most = if authenticated { self.wire.options.pipeline_commands_max } else { 1 };
        while commands.len() < most {
            match self.decoder.next(authenticated) {
                Ok(Some(command)) => commands.push(command),
                Ok(None) => return None,
                Err(error) => return Some(error),
            }
        }
        None
    }

    /// Tells what memory this client takes: its requests, its replies that wait, and those of `replies_bytes` behind them.
    fn note_memory(&mut self, replies_bytes: usize) {
        self.client.note_memory(self.decoder.held_bytes() + self.wire.output.capacity() + replies_bytes);
    }

    async fn read(&mut self, ended: &CancellationToken) -> Result<(), End> {
        // Who listens for news has nothing to say.
        let idle = self.wire.options.idle_timeout.filter(|_| !self.client.is_subscribed());
        let idle = async {
            match idle {
                Some(idle) => tokio::time::sleep(idle).await,
                None => pending().await,
            }
        };
        let is_roomy = self.decoder.is_roomy() || self.wire.output.capacity() > self.wire.options.output_bytes_flush;
        let read = tokio::select! {
            biased;
            () = ended.cancelled() => return Err(End::Ended),
            read = self.wire.stream.read_buf(self.decoder.room()) => read,
            messages = self.client.pushed() => {
                messages.iter().for_each(|message| encode(&mut self.wire.output, self.client.resp(), message));
                return self.wire.flush().await;
            }
            () = idle => return Err(End::Idle),
            // A timer for each read would cost more than the small buffers of most clients.
            () = tokio::time::sleep(SILENT_AFTER), if is_roomy => {
                self.decoder.give_back();
                self.wire.output = BytesMut::new();
                return Ok(());
            }
        };
        match read {
            Ok(0) => Err(End::Gone),
            Ok(bytes) => {
                self.decoder.took(bytes);
                Ok(())
            }
            Err(error) if is_gone(&error) => Err(End::Gone),
            Err(error) => Err(End::Io(error)),
        }
    }

    /// Runs the commands in order. What follows one that closes the connection is not run.
    async fn run_pipeline(&mut self, commands: &mut Vec<Command>) -> Result<(), End> {
        let mut group = Group::default();
        let mut slice = Instant::now();
        for command in commands.drain(..) {
            let command = match self.dispatcher.route(&self.client, &command) {
                Route::Refuse(error) => {
                    group.refusals.push(Some(error));
                    continue;
                }
                Route::Local(local) => {
                    self.run_group(&mut group).await?;
                    let reply = self.dispatcher.answer(local, &mut self.client, &command).await;
                    self.emit(&reply).await?;
                    if self.client.is_closing() {
                        return Ok(());
                    }
                    if slice.elapsed() > SLICE {
                        tokio::task::yield_now().await;
                        slice = Instant::now();
                    }
                    continue;
                }
                Route::Write => command,
                Route::Read => command.read(),
            };
            if group.commands.len() >= self.pace.commands() {
                self.run_group(&mut group).await?;
            }
            group.commands.push(command);
            group.refusals.push(None);
        }
        self.run_group(&mut group).await
    }

    async fn run_group(&mut self, group: &mut Group) -> Result<(), End> {
        let mut commands = std::mem::take(&mut group.commands).into_iter();
        let mut refusals = std::mem::take(&mut group.refusals).into_iter();
        while commands.len() > 0 {
            let count = self.dispatcher.together(&self.client, commands.as_slice());
            let part: Vec<Command> = match count < commands.len() {
                true => commands.by_ref().take(count).collect(),
                false => std::mem::take(&mut commands).collect(),
            };
            let are_reads = part.iter().all(Command::is_read);
            self.run_part(part, are_reads, &mut refusals).await?;
        }
        // Those behind the last command.
        for error in refusals.flatten() {
            self.emit(&Reply::Error(error)).await?;
        }
        Ok(())
    }

    /// Runs commands that go the same way, and answers them and the refusals before each.
    async fn run_part(
        &mut self,
        mut commands: Vec<Command>,
        are_reads: bool,
        refusals: &mut impl Iterator<Item = Option<ErrorReply>>,
    ) -> Result<(), End> {
        while !commands.is_empty() {
            let count = commands.len();
            let outcome = match are_reads {
                false => self.dispatcher.write(&mut self.client, commands).await.map(Answered::whole),
                true => tokio::select! {
                    biased;
                    read = self.dispatcher.read(&mut self.client, commands) => read,
                    // What it would get is memory that others wait for.
                    () = self.wire.killed.cancelled() => return Err(End::Ended),
                },
            };
            let Answered { replies, rest } = match outcome {
                Ok(answered) => answered,
                Err(error) => {
                    let error = Reply::Error(error);
                    for _ in 0..count {
                        self.put_refusals(refusals);
                        self.emit(&error).await?;
                    }
                    return Ok(());
                }
            };
            if replies.len() + rest.len() != count || replies.is_empty() {
                // A client that missed a reply would read those of other commands as its own from there on.
                return Err(End::Io(io::Error::other("a command was left without a reply")));
            }
            self.pace.answered(replies.bytes());
            self.put_replies(replies, refusals).await?;
            commands = rest;
        }
        Ok(())
    }

    /// Puts the replies, and the refusals before each.
    async fn put_replies(
        &mut self,
        replies: Replies,
        refusals: &mut impl Iterator<Item = Option<ErrorReply>>,
    ) -> Result<(), End> {
        if replies.bytes() <= self.wire.options.output_bytes_flush {
            for value in replies.iter() {
                self.put_next(value, refusals);
            }
            // Before anything waits for the client: its replies may be a small part of those of many others.
            drop(replies);
            return self.wire.flush_if_large().await;
        }
        let mut replies = replies.alone();
        self.note_memory(replies.memory_bytes());
        replies.taken();
        for value in replies.iter() {
            self.put_next(value, refusals);
            self.wire.flush_if_large().await?;
        }
        self.note_memory(0);
        Ok(())
    }

    /// Puts the refusals before the next command.
    fn put_refusals(&mut self, refusals: &mut impl Iterator<Item = Option<ErrorReply>>) {
        while let Some(Some(error)) = refusals.next() {
            self.put(&Reply::Error(error));
        }
    }

    /// Puts the refusals before the next command, and the reply to that.
    fn put_next(&mut self, value: Value<'_>, refusals: &mut impl Iterator<Item = Option<ErrorReply>>) {
        self.put_refusals(refusals);
        if self.client.takes_reply() {
            encode_value(&mut self.wire.output, self.client.resp(), value);
        }
    }

    fn put(&mut self, reply: &Reply) {
        if self.client.takes_reply() {
            encode(&mut self.wire.output, self.client.resp(), reply);
        }
    }

    async fn emit(&mut self, reply: &Reply) -> Result<(), End> {
        self.put(reply);
        if self.wire.output.len() < self.wire.options.output_bytes_flush {
            return Ok(());
        }
        self.note_memory(0);
        self.wire.flush().await
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    async fn flush_if_large(&mut self) -> Result<(), End> {
        if self.output.len() >= self.options.output_bytes_flush { self.flush().await } else { Ok(()) }
    }

    /// Writes all that waits. The client has the output timeout to take some of it, each time anew.
    async fn flush(&mut self) -> Result<(), End> {
        while !self.output.is_empty() {
            let written = tokio::select! {
                biased;
                written = self.stream.write(&self.output) => written,
                () = self.killed.cancelled() => return Err(End::Ended),
                () = tokio::time::sleep(self.options.output_timeout) => return Err(End::Stuck),
            };
            match written {
                Ok(0) => return Err(End::Gone),
                Ok(written) => self.output.advance(written),
                Err(error) if is_gone(&error) => return Err(End::Gone),
                Err(error) => return Err(End::Io(error)),
            }
        }
        if self.output.capacity() > KEPT_OUTPUT_BYTES_MAX {
            self.output = BytesMut::new();
        }
        match self.stream.flush().await {
            Ok(()) => Ok(()),
            Err(error) if is_gone(&error) => Err(End::Gone),
            Err(error) => Err(End::Io(error)),
        }
    }
}

/// Errors that say no more than that the other side is not there.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

#[cfg(test)]
#[path = "session/tests.rs"]
mod tests;
