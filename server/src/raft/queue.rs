//! `Queue`: groups of commands on their way from sessions to the one task that serves them.
//!
//! It is bounded by commands and by bytes, and refuses what is over: a caller that must wait for room would only make
//! the queue longer by one more place. A group is answered as a whole; what was certainly not done is given back, so
//! that it can be sent to another node.

use super::Error;
use crate::command::Command;
use crate::proposal::Origin;
use crate::replies::Replies;
use crate::type_config::NodeId;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};

type Reply = oneshot::Sender<Result<Replies, Refusal>>;

/// Why a group has no replies.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) error: Error,
    /// The commands, if none of them was run or will be.
    pub(super) given_back: Option<Vec<Command>>,
}

/// What another node says of commands that it forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) node_id: NodeId,
    /// The node's own number for them, which it uses once.
    pub(super) request: u64,
    /// They may be proposed in this term and in no other: in a later one the node may have sent them elsewhere.
    pub(super) term: u64,
}

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
    ticket: Option<Ticket>,
    reply: Reply,
}

/// Groups that are served as one, and how to answer each.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) commands: Vec<Command>,
    /// Which of them other nodes have forwarded.
    pub(super) origins: Vec<Origin>,
    pub(super) answers: Answers,
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
    pub(super) async fn ask(&self, commands: Vec<Command>, ticket: Option<Ticket>) -> Result<Replies, Refusal> {
        let (reply, answer) = oneshot::channel();
        let bytes = commands.iter().map(Command::bytes).sum();
        self.push(Group { commands, bytes, ticket, reply })?;
        // It is dropped only by a task that ended without answering, and then nobody knows how far it got.
        answer.await.unwrap_or(Err(Refusal { error: Error::Unknown, given_back: None }))
    }

    fn push(&self, group: Group) -> Result<(), Refusal> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(Refusal { error: Error::Stopped, given_back: Some(group.commands) });
        }
        // An empty group and a group over the limit on its own are let in when nothing else waits.
        let over = waiting.commands + group.commands.len() > self.shared.commands_max
            || waiting.bytes + group.bytes > self.shared.bytes_max
            || waiting.groups.len() >= self.shared.commands_max;
        if over && !waiting.groups.is_empty() {
            return Err(Refusal { error: Error::Busy, given_back: Some(group.commands) });
        }
        waiting.commands += group.commands.len();
        waiting.bytes += group.bytes;
        waiting.groups.push_back(group);
        drop(waiting);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Takes all that waits, up to the limits but one group at least; `None` if nothing waits. What was forwarded for
    /// another term than `term` is refused.
    pub(super) fn take(&self, commands_max: usize, bytes_max: usize, term: Option<u64>) -> Option<Batch> {
        let mut waiting = self.lock();
        let mut bytes = 0;
        let room = waiting.commands.min(commands_max);
        let mut batch = Batch { commands: Vec::with_capacity(room), origins: Vec::new(), answers: Answers::default() };
        while let Some(group) = waiting.groups.front() {
            let over = batch.commands.len() + group.commands.len() > commands_max || bytes + group.bytes > bytes_max;
            if over && !batch.answers.0.is_empty() {
                break;
            }
            // The front was there a line ago, under the same lock.
            let Some(mut group) = waiting.groups.pop_front() else { break };
            waiting.commands -= group.commands.len();
            waiting.bytes -= group.bytes;
            if let Some(ticket) = group.ticket {
                if Some(ticket.term) != term {
                    // A session that is gone needs no answer.
                    let _ = group.reply.send(Err(Refusal { error: Error::NoLeader, given_back: Some(group.commands) }));
                    continue;
                }
                batch.origins.push(Origin {
                    node_id: ticket.node_id,
                    request: ticket.request,
                    first: batch.commands.len() as u32,
                    count: group.commands.len() as u32,
                });
            }
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

    /// Nothing was done: gives each group its commands back, of which these are all.
    pub(super) fn give_back(self, mut commands: Vec<Command>, error: impl Fn() -> Error) {
        for (count, reply) in self.0 {
            let rest = commands.split_off(count.min(commands.len()));
            let given_back = Some(std::mem::replace(&mut commands, rest));
            // A session that is gone needs no answer.
            let _ = reply.send(Err(Refusal { error: error(), given_back }));
        }
    }

    /// Something may have been done.
    pub(super) fn error(self, error: impl Fn() -> Error) {
        for (_, reply) in self.0 {
            // A session that is gone needs no answer.
            let _ = reply.send(Err(Refusal { error: error(), given_back: None }));
        }
    }
}
