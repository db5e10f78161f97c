//! `Reads`: linearizable reads.
//!
//! One task takes all reads that wait, asks openraft once for a point that is not behind anything acknowledged
//! (ReadIndex: a quorum confirms that this node still leads, then everything committed is applied), and has the machine
//! answer them together. Reads that come in meanwhile wait for the next point: the one under way may be behind them.
//! With a lease, what a quorum has confirmed lately is enough (dissertation, section 6.4.1).
//!
//! A second task does the same for reads that are content with this node's own state, without such a point.

use super::presence::Presence;
use super::queue::{self, Batch, Queue};
use super::{Error, Options, Raft};
use crate::fault::chain;
use crate::machine::Machine;
use crate::pace::Pace;
use crate::replies::Answered;
use crate::undelivered::Undelivered;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{LinearizerOption, ReadPolicy};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub(super) struct Reads {
    policy: Policy,
    machine: Machine,
    queue: Queue,
    undelivered: Undelivered,
    pace: Pace,
    batch_bytes_max: usize,
}

/// What the state must have for a read.
pub(super) enum Policy {
    /// Everything acknowledged before it.
    Linearizable { raft: Raft, lease: Option<Lease> },
    /// Whatever this node has.
    Here,
}

/// When a leader need not ask again whether it still leads.
pub(super) struct Lease {
    age_max: Duration,
    presence: Presence,
    stopping: CancellationToken,
}

impl Lease {
    pub(super) fn new(age_max: Duration, presence: Presence, stopping: CancellationToken) -> Lease {
        Lease { age_max, presence, stopping }
    }

    /// Only if all voters keep to it: one that does not may help another leader into office at any time. A node that
    /// stops may be taken for dead while it still answers.
    fn option(&self, raft: &Raft) -> Option<LinearizerOption> {
        if self.stopping.is_cancelled() {
            return None;
        }
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        let mut others = metrics.membership_config.membership().voter_ids().filter(|voter| *voter != metrics.id);
        others.all(|voter| self.presence.keeps_leases(voter)).then(|| LinearizerOption::new(Some(self.age_max), true))
    }
}

impl Policy {
    /// Why the state cannot be read, although it may be there.
    fn refusal(&self) -> Error {
        match self {
            // Another node leads soon.
            Policy::Linearizable { .. } => Error::NoLeader,
            Policy::Here => Error::Quarantined,
        }
    }

    /// Waits until the state is good enough.
    async fn point(&self) -> Result<(), Error> {
        let Policy::Linearizable { raft, lease } = self else { return Ok(()) };
        let option = lease.as_ref().and_then(|lease| lease.option(raft));
        raft.ensure_linearizable(option.unwrap_or_else(|| ReadPolicy::ReadIndex.into())).await?;
        Ok(())
    }
}

impl Reads {
    pub(super) fn new(
        policy: Policy,
        machine: Machine,
        queue: Queue,
        undelivered: Undelivered,
        options: &Options,
    ) -> Reads {
        let pace = Pace::new(options.batch_commands_max);
        Reads { policy, machine, queue, undelivered, pace, batch_bytes_max: options.batch_bytes_max }
    }

    /// Until the queue is closed and everything in it is answered.
    pub(super) async fn run(mut self) {
        loop {
            self.undelivered.room().await;
            let Some(batch) = self.queue.take(self.pace.commands(), self.batch_bytes_max, None) else {
                if self.queue.is_done() {
                    return;
                }
                self.queue.changed().await;
                continue;
            };
            let Batch { commands, answers, .. } = batch;
            if !self.machine.standing().serves() {
                answers.give_back(commands, || self.policy.refusal());
                continue;
            }
            if let Err(error) = self.policy.point().await {
                tracing::debug!(%error, "no linearizable point");
                answers.give_back(commands, || error.again());
                continue;
            }
            let replies = match queue::are_small(&commands) {
                // Without another thread.
                true => self.machine.read_now(&commands, |_| true),
                false => None,
            };
            if let Some(replies) = replies {
                answers.replies(replies, &self.undelivered);
                continue;
            }
            match self.machine.read(commands, self.pace.commands()).await {
                Ok(None) => answers.error(|| Error::Quarantined),
                Ok(Some(Answered { replies, rest })) => {
                    self.pace.answered(replies.bytes());
                    let (left, commands) = answers.first_replies(replies, rest, &self.undelivered);
                    self.queue.put_back(left, commands);
                }
                Err(fault) => {
                    // The machine reports the fault itself, and the node stops; a client only hears that it does.
                    tracing::debug!(fault = chain(&fault), "machine cannot read");
                    answers.error(|| Error::Stopped);
                }
            }
        }
    }
}
