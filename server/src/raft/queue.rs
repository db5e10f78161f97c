//! `Queue`: groups of commands on their way from sessions to the one task that serves them.
//!
//! It is bounded by commands and by bytes, and refuses what is over: a caller that must wait for room would only make
//! the queue longer by one more place. A group is answered as a whole, but for reads whose replies are large: then its
//! first commands are. What was certainly not done is given back, so that it can be sent to another node.
//!
//! Small groups do not wait behind large ones, which come from clients that want much and not at once: they go first,
//! but leave half of each batch.

use super::Error;
use crate::command::Command;
use crate::proposal::Origin;
use crate::replies::{Answered, Replies};
use crate::type_config::NodeId;
use crate::undelivered::Undelivered;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};

/// What a group may have that goes ahead of larger ones.
const SMALL_COMMANDS_MAX: usize = 64;
const SMALL_BYTES_MAX: usize = 64 << 10;

type Reply = oneshot::Sender<Result<Answered, Refusal>>;

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
    small: VecDeque<Group>,
    large: VecDeque<Group>,
    /// A large group found no room in the last batch, so it begins the next one.
    owed: bool,
    commands: usize,
    bytes: usize,
    closed: bool,
}

struct Group {
    commands: Vec<Command>,
    bytes: usize,
    ticket: Option<Ticket>,
    weight: Weight,
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

/// What is expected of the replies to a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weight {
    #[default]
    Light,
    /// They are large, or nobody knows: it counts among the large groups however small it is.
    Heavy,
}

/// Whom to answer.
#[derive(Default)]
pub(super) struct Answers(Vec<Asker>);

struct Asker {
    /// How many commands it sent.
    count: usize,
    weight: Weight,
    reply: Reply,
}

impl Queue {
    pub(super) fn new(commands_max: usize, bytes_max: usize) -> Queue {
        let shared = Shared { waiting: Mutex::default(), changed: Notify::new(), commands_max, bytes_max };
        Queue { shared: Arc::new(shared) }
    }

    /// Queues a group and waits for its replies.
    pub(super) async fn ask(
        &self,
        commands: Vec<Command>,
        ticket: Option<Ticket>,
        weight: Weight,
    ) -> Result<Answered, Refusal> {
        let (reply, answer) = oneshot::channel();
        let bytes = commands.iter().map(Command::bytes).sum();
        self.push(Group { commands, bytes, ticket, weight, reply })?;
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
            || waiting.groups() >= self.shared.commands_max;
        if over && waiting.groups() > 0 {
            return Err(Refusal { error: Error::Busy, given_back: Some(group.commands) });
        }
        waiting.commands += group.commands.len();
        waiting.bytes += group.bytes;
        waiting.groups_like(&group).push_back(group);
        drop(waiting);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Takes all that waits, up to the limits but one group at least; `None` if nothing waits. What was forwarded for
    /// another term than `term` is refused.
    pub(super) fn take(&self, commands_max: usize, bytes_max: usize, term: Option<u64>) -> Option<Batch> {
        let Waiting { small, large, owed, commands: commands_left, bytes: bytes_left, .. } = &mut *self.lock();
        let mut filling = Filling::new((*commands_left).min(commands_max), term);
        if !*owed {
            filling.add(small, commands_max / 2, bytes_max / 2);
        }
        let before = large.len();
        filling.add(large, commands_max, bytes_max);
        *owed = before > 0 && large.len() == before;
        filling.add(small, commands_max, bytes_max);
        *commands_left -= filling.taken_commands;
        *bytes_left -= filling.taken_bytes;
        let batch = filling.batch;
        (!batch.answers.0.is_empty()).then_some(batch)
    }

    /// Puts groups of which no command was run where they were.
    pub(super) fn put_back(&self, answers: Answers, mut commands: Vec<Command>) {
        let mut waiting = self.lock();
        for Asker { count, weight, reply } in answers.0.into_iter().rev() {
            let commands = commands.split_off(commands.len() - count.min(commands.len()));
            let bytes = commands.iter().map(Command::bytes).sum();
            waiting.commands += commands.len();
            waiting.bytes += bytes;
            let group = Group { commands, bytes, ticket: None, weight, reply };
            waiting.groups_like(&group).push_front(group);
        }
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
        waiting.closed && waiting.groups() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn groups_like(&mut self, group: &Group) -> &mut VecDeque<Group> {
        match group.is_small() {
            true => &mut self.small,
            false => &mut self.large,
        }
    }

    fn groups(&self) -> usize {
        self.small.len() + self.large.len()
    }
}

impl Group {
    fn is_small(&self) -> bool {
        self.weight == Weight::Light && is_small(self.commands.len(), || self.bytes)
    }
}

/// Whether commands of light weight would be a small group.
pub(super) fn are_small(commands: &[Command]) -> bool {
    is_small(commands.len(), || commands.iter().map(Command::bytes).sum())
}

fn is_small(commands: usize, bytes: impl FnOnce() -> usize) -> bool {
    commands <= SMALL_COMMANDS_MAX && bytes() <= SMALL_BYTES_MAX
}

/// A batch while groups are taken into it.
struct Filling {
    batch: Batch,
    /// Of the groups in the batch.
    bytes: usize,
    /// The term for which forwarded groups must be meant.
    term: Option<u64>,
    /// Of the groups in the batch and of those that were refused.
    taken_commands: usize,
    taken_bytes: usize,
}

impl Filling {
    fn new(room: usize, term: Option<u64>) -> Filling {
        let batch = Batch { commands: Vec::with_capacity(room), ..Batch::default() };
        Filling { batch, bytes: 0, term, taken_commands: 0, taken_bytes: 0 }
    }

    /// Takes groups in their order, up to these limits of the whole batch, but one at least.
    fn add(&mut self, groups: &mut VecDeque<Group>, commands_max: usize, bytes_max: usize) {
        while let Some(mut group) = groups.pop_front() {
            let commands = self.batch.commands.len() + group.commands.len();
            let over = commands > commands_max || self.bytes + group.bytes > bytes_max;
            if over && !self.batch.answers.0.is_empty() {
                groups.push_front(group);
                return;
            }
            self.taken_commands += group.commands.len();
            self.taken_bytes += group.bytes;
            // Whoever asked has gone, and hears of nothing. Another node that forwards still finds it in the log.
            if group.ticket.is_none() && group.reply.is_closed() {
                continue;
            }
            if let Some(ticket) = group.ticket {
                if Some(ticket.term) != self.term {
                    // A session that is gone needs no answer.
                    let _ = group.reply.send(Err(Refusal { error: Error::NoLeader, given_back: Some(group.commands) }));
                    continue;
                }
                self.batch.origins.push(Origin {
                    node_id: ticket.node_id,
                    request: ticket.request,
                    first: self.batch.commands.len() as u32,
                    count: group.commands.len() as u32,
                });
            }
            self.bytes += group.bytes;
            let asker = Asker { count: group.commands.len(), weight: group.weight, reply: group.reply };
            self.batch.answers.0.push(asker);
            self.batch.commands.append(&mut group.commands);
        }
    }
}

impl Answers {
    /// Gives each group its part of the replies, which are counted until they are taken.
    pub(super) fn replies(self, replies: Replies, undelivered: &Undelivered) {
        self.first_replies(replies, Vec::new(), undelivered);
    }

    /// The same with replies to the first of the commands only; `rest` are the others. Groups that get none are
    /// returned, with their commands.
    pub(super) fn first_replies(
        self,
        replies: Replies,
        mut rest: Vec<Command>,
        undelivered: &Undelivered,
    ) -> (Answers, Vec<Command>) {
        let mut left = Answers::default();
        let commands: usize = self.0.iter().map(|asker| asker.count).sum();
        if replies.len() + rest.len() != commands || replies.is_empty() && commands > 0 {
            tracing::error!(commands, replies = replies.len(), "the machine gave another number of replies");
            self.error(|| Error::Unknown);
            return (left, Vec::new());
        }
        let held = undelivered.hold(replies.memory_bytes());
        let replies = replies.held(held);
        let mut start = 0;
        for asker in self.0 {
            let end = replies.len().min(start + asker.count);
            if start == end && asker.count > 0 {
                left.0.push(asker);
                continue;
            }
            let later = rest.split_off(start + asker.count - end);
            let rest = std::mem::replace(&mut rest, later);
            // A session that is gone needs no answer.
            let _ = asker.reply.send(Ok(Answered { replies: replies.part(start..end), rest }));
            start = end;
        }
        (left, rest)
    }

    /// Nothing was done: gives each group its commands back, of which these are all.
    pub(super) fn give_back(self, mut commands: Vec<Command>, error: impl Fn() -> Error) {
        for Asker { count, reply, .. } in self.0 {
            let rest = commands.split_off(count.min(commands.len()));
            let given_back = Some(std::mem::replace(&mut commands, rest));
            // A session that is gone needs no answer.
            let _ = reply.send(Err(Refusal { error: error(), given_back }));
        }
    }

    /// Something may have been done.
    pub(super) fn error(self, error: impl Fn() -> Error) {
        for asker in self.0 {
            // A session that is gone needs no answer.
            let _ = asker.reply.send(Err(Refusal { error: error(), given_back: None }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// Queues a group of so many commands, whose name says whose they are.
    fn push(queue: &Queue, name: &'static str, commands: usize, ticket: Option<Ticket>) -> oneshot::Receiver<Answer> {
        let command = Command::new(vec![Bytes::from(name)]).unwrap();
        let (reply, answer) = oneshot::channel();
        let group = Group {
            bytes: commands * command.bytes(),
            commands: vec![command; commands],
            ticket,
            weight: Weight::Light,
            reply,
        };
        queue.push(group).unwrap();
        answer
    }

    type Answer = Result<Answered, Refusal>;

    /// The names in a batch, each once for all its commands.
    fn names(batch: &Batch) -> Vec<&str> {
        let mut names: Vec<&str> = batch.commands.iter().map(|c| std::str::from_utf8(c.name()).unwrap()).collect();
        names.dedup();
        names
    }

    #[test]
    fn small_groups_go_ahead_of_large_ones_and_leave_them_half() {
        let queue = Queue::new(10_000, 1 << 20);
        let _large: Vec<_> = ["L1", "L2"].map(|name| push(&queue, name, 100, None)).into();
        let _small: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| push(&queue, name, 40, None)).into();
        let take = || queue.take(200, 1 << 20, None).map(|batch| names(&batch).join(" "));
        assert_eq!(take().unwrap(), "a b L1", "two small ones are no more than half");
        assert_eq!(take().unwrap(), "c d L2");
        assert_eq!(take().unwrap(), "e");
        assert_eq!(take(), None);
        assert!(queue.lock().commands == 0 && queue.lock().bytes == 0);
    }

    #[test]
    fn a_large_group_waits_for_one_batch_of_small_ones_at_most() {
        let queue = Queue::new(10_000, 1 << 20);
        let _large = push(&queue, "L", 200, None);
        let _small: Vec<_> = (0..10).map(|_| push(&queue, "s", 40, None)).collect();
        let take = || queue.take(200, 1 << 20, None).map(|batch| names(&batch).join(" "));
        assert_eq!([take(), take(), take()].map(Option::unwrap), ["s", "L", "s"]);
    }

    #[test]
    fn a_group_whose_replies_are_large_counts_as_a_large_one() {
        let queue = Queue::new(10_000, 1 << 20);
        let heavy = group_of("H");
        assert!(!heavy.is_small());
        queue.push(heavy).unwrap();
        assert_eq!(queue.lock().large.len(), 1);
    }

    #[test]
    fn nothing_is_run_for_those_who_have_gone() {
        let queue = Queue::new(10_000, 1 << 20);
        drop(push(&queue, "gone", 1, None));
        let _there = push(&queue, "there", 1, None);
        assert_eq!(names(&queue.take(10, 1 << 20, None).unwrap()), ["there"]);
        drop(push(&queue, "gone", 1, None));
        assert!(queue.take(10, 1 << 20, None).is_none() && queue.lock().commands == 0);
        drop(push(&queue, "forwarded", 1, Some(Ticket { node_id: 2, request: 1, term: 3 })));
        assert_eq!(names(&queue.take(10, 1 << 20, Some(3)).unwrap()), ["forwarded"]);
    }

    #[test]
    fn one_group_over_all_limits_is_a_batch() {
        let queue = Queue::new(10, 10);
        let _large = push(&queue, "L", 100, None);
        assert!(matches!(queue.push(group_of("x")), Err(Refusal { error: Error::Busy, given_back: Some(_) })));
        assert_eq!(queue.take(4, 4, None).unwrap().commands.len(), 100);
        assert!(queue.take(4, 4, None).is_none());
    }

    #[test]
    fn what_was_forwarded_for_another_term_is_given_back() {
        let queue = Queue::new(10_000, 1 << 20);
        let ticket = |term| Some(Ticket { node_id: 2, request: term, term });
        let mut old = push(&queue, "old", 100, ticket(3));
        let _own = push(&queue, "own", 1, None);
        let _new = push(&queue, "new", 2, ticket(4));
        let batch = queue.take(200, 1 << 20, Some(4)).unwrap();
        assert_eq!(names(&batch), ["own", "new"]);
        let origins: Vec<_> = batch.origins.iter().map(|origin| (origin.request, origin.first, origin.count)).collect();
        assert_eq!(origins, [(4, 1, 2)]);
        let refusal = old.try_recv().unwrap().unwrap_err();
        assert!(matches!(refusal, Refusal { error: Error::NoLeader, given_back: Some(back) } if back.len() == 100));
        queue.close();
        assert!(queue.is_done() && queue.lock().commands == 0);
    }

    #[test]
    fn who_gets_no_reply_is_asked_again_in_its_place() {
        let queue = Queue::new(10_000, 1 << 20);
        let undelivered = Undelivered::new(1 << 20);
        let mut answers = ["a", "b", "c", "d"].map(|name| push(&queue, name, 2, None));
        let batch = queue.take(7, 1 << 20, None).unwrap();
        assert_eq!(names(&batch), ["a", "b", "c"]);
        let mut commands = batch.commands;
        let rest = commands.split_off(3);
        let replies = Replies::new(Bytes::from_static(b":1\r\n:2\r\n:3\r\n"), vec![4, 8, 12]);
        let (left, rest) = batch.answers.first_replies(replies, rest, &undelivered);
        let counts = |answer: Answer| answer.map(|answered| (answered.replies.len(), answered.rest.len())).unwrap();
        assert_eq!(counts(answers[0].try_recv().unwrap()), (2, 0));
        assert_eq!(counts(answers[1].try_recv().unwrap()), (1, 1));
        queue.put_back(left, rest);
        let batch = queue.take(7, 1 << 20, None).unwrap();
        assert_eq!(names(&batch), ["c", "d"]);
        assert!(queue.take(7, 1 << 20, None).is_none() && queue.lock().commands == 0);
    }

    fn group_of(name: &'static str) -> Group {
        let command = Command::new(vec![Bytes::from(name)]).unwrap();
        Group {
            bytes: command.bytes(),
            commands: vec![command],
            ticket: None,
            weight: Weight::Heavy,
            reply: oneshot::channel().0,
        }
    }
}
