//! `Reads`: linearizable reads.
//!
//! One task takes all reads that wait, asks openraft once for a point that is not behind anything acknowledged
//! (ReadIndex: a quorum confirms that this node still leads, then everything committed is applied), and has the machine
//! answer them together. Reads that come in meanwhile wait for the next point: the one under way may be behind them.

use super::queue::{Batch, Queue};
use super::{Error, Options, Raft};
use crate::fault::chain;
use crate::machine::Machine;
use crate::pace::Pace;
use openraft::ReadPolicy;

pub(super) struct Reads {
    raft: Raft,
    machine: Machine,
    queue: Queue,
    pace: Pace,
    batch_bytes_max: usize,
}

impl Reads {
    pub(super) fn new(raft: Raft, machine: Machine, queue: Queue, options: &Options) -> Reads {
        let pace = Pace::new(options.batch_commands_max);
        Reads { raft, machine, queue, pace, batch_bytes_max: options.batch_bytes_max }
    }

    /// Until the queue is closed and everything in it is answered.
    pub(super) async fn run(mut self) {
        loop {
            while let Some(batch) = self.queue.take(self.pace.commands(), self.batch_bytes_max, None) {
                let Batch { commands, answers, .. } = batch;
                if let Err(error) = self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
                    tracing::debug!(%error, "no linearizable point");
                    answers.give_back(commands, || error.clone().into());
                    continue;
                }
                match self.machine.read(commands).await {
                    Ok(replies) => {
                        self.pace.answered(replies.bytes());
                        answers.replies(&replies);
                    }
                    Err(fault) => {
                        // The machine reports the fault itself, and the node stops; a client only hears that it does.
                        tracing::debug!(fault = chain(&fault), "machine cannot read");
                        answers.error(|| Error::Stopped);
                    }
                }
            }
            if self.queue.is_done() {
                return;
            }
            self.queue.changed().await;
        }
    }
}
