//! `Queue`: groups of commands on their way from sessions to the one task that serves them.
//!
//! It is bounded by commands and by bytes, and refuses what is over: a caller that must wait for room would only make
//! the queue longer by one more place. A group is answered as a whole.

use super::Error;
use crate::command::Command;
use crate::replies::Replies;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};

type Reply = oneshot::Sender<Result<Replies, Error>>;

/// A handle; clones share one queue.
#[derive(Clone)]
pub(super) struct Queue {
    shared: Arc<Shared>,
}

struct Shared {
    waiting: Mutex<Waiting>,
    /// Stores one permit, so a notification is not lost to a task that is busy.
    changed: Notify,
    commands_max: usize,
    bytes_max: usize,
}

#[derive(Default)]
struct Waiting {
    groups: VecDeque<Group>,
    commands: usize,
    bytes: usize,
    closed: bool,
}

struct Group {
    commands: Vec<Command>,
    bytes: usize,
    reply: Reply,
}

/// Groups that are served as one, and how to answer each.
pub(super) struct Batch {
    pub(super) commands: Vec<Command>,
    answers: Answers,
}

/// Whom to answer, and how many commands each sent.
#[derive(Default)]
pub(super) struct Answers(Vec<(usize, Reply)>);

impl Queue {
    pub(super) fn new(commands_max: usize, bytes_max: usize) -> Queue {
        let shared = Shared { waiting: Mutex::default(), changed: Notify::new(), commands_max, bytes_max };
        Queue { shared: Arc::new(shared) }
    }

    /// Queues a group and waits for its replies.
    pub(super) async fn ask(&self, commands: Vec<Command>) -> Result<Replies, Error> {
        let (reply, answer) = oneshot::channel();
        let bytes = commands.iter().map(Command::bytes).sum();
        self.push(Group { commands, bytes, reply })?;
        // It is dropped only by a task that ended without answering, and then nobody knows how far it got.
        answer.await.unwrap_or(Err(Error::Unknown))
    }

    fn push(&self, group: Group) -> Result<(), Error> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(Error::Stopped);
        }
        // An empty group and a group over the limit on its own are let in when nothing else waits.
        let over = waiting.commands + group.commands.len() > self.shared.commands_max
            || waiting.bytes + group.bytes > self.shared.bytes_max
            || waiting.groups.len() >= self.shared.commands_max;
        if over && !waiting.groups.is_empty() {
            return Err(Error::Busy);
        }
        waiting.commands += group.commands.len();
        waiting.bytes += group.bytes;
        waiting.groups.push_back(group);
        drop(waiting);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Takes all that waits, up to the limits but one group at least; `None` if nothing waits.
    pub(super) fn take(&self, commands_max: usize, bytes_max: usize) -> Option<Batch> {
        let mut waiting = self.lock();
        let mut bytes = 0;
        let room = waiting.commands.min(commands_max);
        let mut batch = Batch { commands: Vec::with_capacity(room), answers: Answers::default() };
        while let Some(group) = waiting.groups.front() {
            let over = batch.commands.len() + group.commands.len() > commands_max || bytes + group.bytes > bytes_max;
            if over && !batch.answers.0.is_empty() {
                break;
            }
            // The front was there a line ago, under the same lock.
            let Some(mut group) = waiting.groups.pop_front() else { break };
            waiting.commands -= group.commands.len();
            waiting.bytes -= group.bytes;
            bytes += group.bytes;
            batch.answers.0.push((group.commands.len(), group.reply));
            batch.commands.append(&mut group.commands);
        }
        (!batch.answers.0.is_empty()).then_some(batch)
    }

    /// Returns when a group came in or the queue was closed since the last call, if not earlier.
    pub(super) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// Refuses new groups; what waits is still taken.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.shared.changed.notify_one();
    }

    /// Closed, and nothing waits.
    pub(super) fn is_done(&self) -> bool {
        let waiting = self.lock();
        waiting.closed && waiting.groups.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batch {
    pub(super) fn split(self) -> (Vec<Command>, Answers) {
        (self.commands, self.answers)
    }
}

impl Answers {
    /// Gives each group its part of the replies.
    pub(super) fn replies(self, replies: &Replies) {
        let expected: usize = self.0.iter().map(|(count, _)| count).sum();
        if replies.len() != expected {
            tracing::error!(expected, replies = replies.len(), "the machine gave another number of replies");
            return self.error(|| Error::Unknown);
        }
        let mut start = 0;
        for (count, reply) in self.0 {
            // A session that is gone needs no answer.
            let _ = reply.send(Ok(replies.part(start..start + count)));
            start += count;
        }
    }

    pub(super) fn error(self, error: impl Fn() -> Error) {
        for (_, reply) in self.0 {
            // A session that is gone needs no answer.
            let _ = reply.send(Err(error()));
        }
    }
}
