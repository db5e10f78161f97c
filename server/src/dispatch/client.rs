//! `Client`: what the server knows of one connected client, and what commands may change about it.
//!
//! The session owns it and lends it to each command. The part that other clients may see or end lies in an `Entry`
//! that the register of all clients shares.

use super::acl::{DEFAULT, Rights, User};
use super::clients::{Clients, Entry, Profile};
use super::subscriptions::Subscriptions;
use crate::raft::Weight;
use crate::reply::Reply;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The version of the protocol in which replies are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resp {
    #[default]
    V2,
    V3,
}

impl Resp {
    pub(super) fn number(self) -> i64 {
        match self {
            Resp::V2 => 2,
            Resp::V3 => 3,
        }
    }
}

/// Which replies the client wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replies {
    On,
    Off,
    /// Not this many, the running command's included.
    Skip(u8),
}

#[derive(Debug)]
pub struct Client {
    entry: Arc<Entry>,
    clients: Arc<Clients>,
    /// Who has signed in, if anybody.
    known: Option<Known>,
    /// Of the users, when that was.
    generation: u64,
    resp: Resp,
    replies: Replies,
    closing: bool,
    /// Whether reads are answered by this node's own state.
    reads_here: bool,
    /// The newest log entry that it knows of, by its writes and by what it has read.
    seen_index: u64,
    /// What is expected of its reads.
    weight: Weight,
    subscriptions: Subscriptions,
    /// What was last told to the register, in steps of `MEMORY_STEP_BYTES`.
    memory_bytes: usize,
}

/// Replies together above this make others wait, and have their client wait for them.
const HEAVY_BYTES: usize = 256 << 10;
/// Less than this need not be counted: it costs a lock that all clients share.
const MEMORY_STEP_BYTES: usize = 64 << 10;

/// A user and what it may call.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) user: Arc<User>,
    pub(super) rights: Rights,
}

impl Client {
    pub(super) fn new(entry: Arc<Entry>, clients: Arc<Clients>) -> Client {
        Client {
            entry,
            clients,
            known: None,
            generation: 0,
            resp: Resp::V2,
            replies: Replies::On,
            closing: false,
            reads_here: false,
            seen_index: 0,
            // Who comes in crowds and asks for much must not be first, and later ones are known by what they had.
            weight: Weight::Heavy,
            subscriptions: Subscriptions::default(),
            memory_bytes: 0,
        }
    }

    /// To be told what memory the client's requests and replies take whenever that may have changed.
    pub fn note_memory(&mut self, bytes: usize) {
        let bytes = bytes - bytes % MEMORY_STEP_BYTES;
        if bytes != self.memory_bytes {
            self.memory_bytes = bytes;
            self.clients.note_memory(&self.entry, bytes);
        }
    }

    pub fn id(&self) -> u64 {
        self.entry.id
    }

    pub fn is_authenticated(&self) -> bool {
        self.known.is_some()
    }

    /// Of who has signed in; `default` otherwise.
    pub(super) fn user_name(&self) -> &str {
        self.known.as_ref().map_or(DEFAULT, |known| &known.user.name)
    }

    pub(super) fn rights(&self) -> Option<&Rights> {
        self.known.as_ref().map(|known| &known.rights)
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub fn resp(&self) -> Resp {
        self.resp
    }

    /// Whether the session must end once the replies so far are written.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Cancelled when the session must end: the client is killed, or the server stops.
    pub fn ended(&self) -> CancellationToken {
        self.entry.ended.clone()
    }

    /// Cancelled when the session must end at once, with replies waiting or not.
    pub fn killed(&self) -> CancellationToken {
        self.entry.killed.clone()
    }

    /// Whether the client wants the reply at hand. To be asked once for each command.
    pub fn takes_reply(&mut self) -> bool {
        match self.replies {
            Replies::On => true,
            Replies::Off => false,
            Replies::Skip(left) => {
                self.replies = if left > 1 { Replies::Skip(left - 1) } else { Replies::On };
                false
            }
        }
    }

    /// What it is told without asking, once there is something.
    pub async fn pushed(&mut self) -> Vec<Reply> {
        self.subscriptions.next().await
    }

    pub fn is_subscribed(&self) -> bool {
        self.subscriptions.count() > 0
    }

    pub(super) fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    pub(super) fn subscriptions_mut(&mut self) -> &mut Subscriptions {
        &mut self.subscriptions
    }

    pub(super) fn reads_here(&self) -> bool {
        self.reads_here
    }

    pub(super) fn read_here(&mut self, here: bool) {
        self.reads_here = here;
    }

    /// The log entry that a node's own state must have for this client to see what it has written and has seen before.
    pub(super) fn seen_index(&self) -> u64 {
        self.seen_index
    }

    pub(super) fn weight(&self) -> Weight {
        self.weight
    }

    /// Takes note of how large the replies to its last reads were: the next ones are taken to be the same.
    pub(super) fn note_replies(&mut self, bytes: usize) {
        self.weight = if bytes > HEAVY_BYTES { Weight::Heavy } else { Weight::Light };
    }

    pub(super) fn note_seen(&mut self, index: u64) {
        self.seen_index = self.seen_index.max(index);
    }

    pub(super) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    pub(super) fn profile(&self) -> Profile {
        self.entry.profile()
    }

    pub(super) fn change_profile(&self, change: impl FnOnce(&mut Profile)) {
        self.entry.change_profile(change);
    }

    pub(super) fn set_resp(&mut self, resp: Resp) {
        self.resp = resp;
        self.entry.change_profile(|profile| profile.resp = resp);
    }

    pub(super) fn set_user(&mut self, known: Option<Known>, generation: u64) {
        self.known = known;
        self.generation = generation;
    }

    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    pub(super) fn want_replies(&mut self, want: bool) {
        self.replies = if want { Replies::On } else { Replies::Off };
    }

    /// Leaves out the reply of the running command and of the next, unless all are off anyway.
    pub(super) fn skip_next_reply(&mut self) {
        if self.replies != Replies::Off {
            self.replies = Replies::Skip(2);
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.clients.remove(&self.entry);
    }
}
