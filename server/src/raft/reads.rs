//! `Reads`: linearizable reads.
//!
//! One task takes all reads that wait, asks openraft once for a point that is not behind anything acknowledged
//! (ReadIndex: a quorum confirms that this node still leads, then everything committed is applied), and has the machine
//! answer them together. Reads that come in meanwhile wait for the next point: the one under way may be behind them.

use super::queue::Queue;
use super::{Error, Options, Raft};
use crate::fault::chain;
use crate::machine::Machine;
use openraft::ReadPolicy;

pub(super) struct Reads {
    raft: Raft,
    machine: Machine,
    queue: Queue,
    batch_commands_max: usize,
    batch_bytes_max: usize,
}

impl Reads {
    pub(super) fn new(raft: Raft, machine: Machine, queue: Queue, options: &Options) -> Reads {
        let (batch_commands_max, batch_bytes_max) = (options.batch_commands_max, options.batch_bytes_max);
        Reads { raft, machine, queue, batch_commands_max, batch_bytes_max }
    }

    /// Until the queue is closed and everything in it is answered.
    pub(super) async fn run(self) {
        loop {
            while let Some(batch) = self.queue.take(self.batch_commands_max, self.batch_bytes_max) {
                let (commands, answers) = batch.split();
                if let Err(error) = self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
                    tracing::debug!(%error, "no linearizable point");
                    answers.error(|| error.clone().into());
                    continue;
                }
                match self.machine.read(commands).await {
                    Ok(replies) => answers.replies(&replies),
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
