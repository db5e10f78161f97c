//! `Proposer`: many commands → one `Proposal` → many replies.
//!
//! One task takes whatever waits and proposes it as one entry. A few proposals are in flight at once; what comes in
//! while they are is the next batch, so batches grow with the load and a lone command waits for nobody. Each proposal
//! names the term for which it was stamped, and openraft refuses it in any other.

use super::agreement::{Agreement, Next};
use super::checker::{Checker, MarkWanted};
use super::queue::{Answers, Batch, Queue};
use super::ticker::{Ticker, seed};
use super::{Error, Options, Raft};
use crate::command::Command;
use crate::machine::Machine;
use crate::proposal::{Origin, Proposal};
use crate::settings::Change;
use crate::time::{Clock, Reading};
use crate::type_config::{Node, NodeId, TypeConfig};
use crate::undelivered::Undelivered;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use openraft::RaftMetrics;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::impls::OneshotResponder;
use openraft::raft::ClientWriteResult;
use openraft::vote::RaftLeaderId;
use std::time::{Duration, Instant};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// What became of a proposal.
struct Outcome {
    /// `None` if openraft stopped with the entry in its hands, or no quorum answers for it.
    result: Option<ClientWriteResult<TypeConfig>>,
    proposal: Proposal,
    answers: Answers,
    /// The term, if it was a tick.
    tick: Option<u64>,
}

pub(super) struct Proposer {
    raft: Raft,
    machine: Machine,
    queue: Queue,
    undelivered: Undelivered,
    clock: Clock,
    ticker: Ticker,
    agreement: Agreement,
    checker: Checker,
    /// The last term for which a proposal was stamped.
    term: Option<u64>,
    node_id: NodeId,
    batch_commands_max: usize,
    batch_bytes_max: usize,
    proposals_in_flight_max: usize,
    idle: Interval,
    /// When it is looked whether there is something to say about settings.
    rounds: Interval,
    quorum: Quorum,
    clock_skew_max: Duration,
}

/// Whether a quorum answers. A leader that is cut off from it can commit nothing, so it proposes nothing more: what it
/// refuses is certainly not done, and its log does not grow. What it has proposed before it holds for a while, and
/// clients must not wait for that without end.
struct Quorum {
    /// How long proposals are held without one.
    patience: Duration,
    /// How old the last answer of one may be; openraft takes no proposals with an older one either.
    lease: Duration,
    last_seen: Instant,
    /// Cancelled when those who wait are told that nothing is known.
    given_up: CancellationToken,
}

impl Quorum {
    /// Whether this node leads one that has answered lately.
    fn look(&mut self, metrics: &RaftMetrics<TypeConfig>) -> bool {
        let alone = metrics.membership_config.membership().voter_ids().count() == 1;
        let acked = metrics.last_quorum_acked.is_some_and(|at| openraft::Instant::elapsed(&*at) < self.lease);
        let answers = metrics.state.is_leader() && (alone || acked);
        if answers {
            self.last_seen = Instant::now();
        } else if self.last_seen.elapsed() > self.patience {
            std::mem::take(&mut self.given_up).cancel();
        }
        answers
    }
}

impl Proposer {
    #[expect(clippy::too_many_arguments, reason = "each is a handle that only this task needs")]
    pub(super) fn new(
        raft: Raft,
        machine: Machine,
        queue: Queue,
        undelivered: Undelivered,
        clock: Clock,
        agreement: Agreement,
        wanted: MarkWanted,
        options: &Options,
    ) -> Proposer {
        let [mut idle, mut rounds] = [options.tick, options.heartbeat * 2].map(interval);
        idle.set_missed_tick_behavior(MissedTickBehavior::Delay);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Proposer {
            raft,
            machine,
            queue,
            undelivered,
            ticker: Ticker::new(options.tick, clock.read()),
            checker: Checker::new(options.mark_every, wanted, Instant::now()),
            clock,
            agreement,
            term: None,
            node_id: options.node_id,
            batch_commands_max: options.batch_commands_max,
            batch_bytes_max: options.batch_bytes_max,
            proposals_in_flight_max: options.proposals_in_flight_max.max(1),
            idle,
            rounds,
            clock_skew_max: options.clock_skew_max,
            quorum: Quorum {
                patience: options.leader_wait,
                lease: options.election_timeout_max,
                last_seen: Instant::now(),
                given_up: CancellationToken::new(),
            },
        }
    }

    /// Until the queue is closed and everything in it is answered.
    pub(super) async fn run(mut self) {
        let mut in_flight = FuturesUnordered::new();
        loop {
            while self.may_propose(in_flight.len()) {
                let term = self.leading_term();
                let (commands_max, bytes_max) = (self.batch_commands_max, self.batch_bytes_max);
                let Some(batch) = self.queue.take(commands_max, bytes_max, term.as_ref().ok().copied()) else { break };
                in_flight.extend(self.propose(batch, term).await);
            }
            if self.queue.is_done() && in_flight.is_empty() {
                return;
            }
            tokio::select! {
                Some(outcome) = in_flight.next() => self.answer(outcome),
                () = self.queue.changed(), if self.may_propose(in_flight.len()) => {}
                () = self.undelivered.room(), if !self.undelivered.has_room() => {}
                _ = self.idle.tick() => {
                    // For what is in flight; a proposal looks for itself.
                    self.quorum.look(&self.raft.metrics().borrow_watched());
                    if in_flight.is_empty() && (self.is_tick_wanted() || self.is_mark_owed()) {
                        let term = self.leading_term();
                        in_flight.extend(self.propose(Batch::default(), term).await);
                    }
                }
                _ = self.rounds.tick(), if self.raft.is_leader() => match self.next() {
                    Next::Commands(Some(Change::To(_))) if in_flight.is_empty() => {
                        let term = self.leading_term();
                        in_flight.extend(self.propose(Batch::default(), term).await);
                    }
                    // They go with the next proposal.
                    Next::Commands(Some(_)) => {}
                    Next::Commands(None) | Next::Nothing => {
                        self.agreement.report(&super::status::members(&self.raft.metrics().borrow_watched()));
                    }
                },
            }
        }
    }

    fn may_propose(&self, in_flight: usize) -> bool {
        in_flight < self.proposals_in_flight_max && self.undelivered.has_room()
    }

    /// Hands one proposal to openraft; what it returns waits for the outcome. Nothing if it was refused at once.
    async fn propose(
        &mut self,
        batch: Batch,
        term: Result<u64, Option<Node>>,
    ) -> Option<impl Future<Output = Outcome> + use<>> {
        let Batch { commands, origins, answers } = batch;
        let term = match term {
            Ok(term) => term,
            Err(leader) => {
                let error = || leader.clone().map_or(Error::NoLeader, |leader| Error::NotLeader { leader });
                answers.give_back(commands, error);
                return None;
            }
        };
        let Next::Commands(settings) = self.next() else {
            // A leader that may propose nothing is none yet.
            answers.give_back(commands, || Error::NoLeader);
            return None;
        };
        let (proposal, tick) = match self.proposal(term, &origins, settings.as_ref(), &commands) {
            Ok(proposal) => proposal,
            Err(error) => {
                answers.give_back(commands, || Error::Entropy(error));
                return None;
            }
        };
        // The proposal holds a copy; the buffers of the sockets are free again.
        drop(commands);
        let (responder, outcome) = OneshotResponder::new_pair();
        let leader = <TypeConfig as openraft::RaftTypeConfig>::LeaderId::new(term, self.node_id).to_committed();
        match self.raft.write(proposal.clone()).responder(responder).with_leader(leader).await {
            Ok(()) => {
                let given_up = self.quorum.given_up.clone();
                Some(async move {
                    let result = tokio::select! {
                        biased;
                        // A refusal says more than that the wait is over.
                        result = outcome => result.ok(),
                        () = given_up.cancelled() => None,
                    };
                    Outcome { result, proposal, answers, tick }
                })
            }
            Err(fatal) => {
                tracing::debug!(%fatal, "proposal not accepted");
                give_back(&proposal, answers, &Error::from(fatal));
                None
            }
        }
    }

    /// The term in which this node leads, or who does.
    fn leading_term(&mut self) -> Result<u64, Option<Node>> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        if self.machine.standing().is_quarantined() {
            // Another one leads soon.
            return Err(None);
        }
        if !metrics.state.is_leader() {
            return Err(super::status::leader(&metrics));
        }
        if !self.quorum.look(&metrics) {
            return Err(None);
        }
        Ok(metrics.current_term)
    }

    fn next(&self) -> Next {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        self.agreement.next(metrics.membership_config.membership().voter_ids())
    }

    /// The proposal, and the term if it is a tick.
    fn proposal(
        &mut self,
        term: u64,
        origins: &[Origin],
        settings: Option<&Change>,
        commands: &[Command],
    ) -> Result<(Proposal, Option<u64>), getrandom::Error> {
        let now = self.clock.read();
        if self.term != Some(term) {
            self.lead(term, now);
        }
        let seed = if self.ticker.is_due(now.monotonic) { Some(seed()?) } else { None };
        if seed.is_some() {
            self.ticker.ticked(now.monotonic);
        }
        let checks = self.checker.next(now.monotonic, &self.machine.status());
        let stamp = self.ticker.stamp(now);
        let proposal = Proposal::encode_with(stamp, seed, origins, settings, checks, commands.iter());
        Ok((proposal, seed.map(|_| term)))
    }

    fn lead(&mut self, term: u64, now: Reading) {
        let applied = self.machine.status().now;
        self.ticker.lead(now, applied);
        self.checker.lead(now.monotonic);
        self.term = Some(term);
        let ahead = Duration::from_nanos(applied.saturating_sub(now.time));
        if ahead > self.clock_skew_max {
            tracing::warn!(
                ?ahead,
                "the log's time is ahead of this leader's clock; it goes by a tenth slower until it is not"
            );
        }
    }

    fn is_mark_owed(&self) -> bool {
        self.raft.is_leader() && self.checker.owes_mark(&self.machine.status())
    }

    /// An idle cluster writes nothing but the ticks that its machine asks for, and what the last mark found.
    fn is_tick_wanted(&mut self) -> bool {
        self.machine.wants_ticks() && self.raft.is_leader() && self.ticker.is_due(Instant::now())
    }

    fn answer(&mut self, outcome: Outcome) {
        let answers = outcome.answers;
        match outcome.result {
            Some(Ok(response)) => {
                if outcome.tick.is_some() && outcome.tick == self.term {
                    self.ticker.confirm(self.machine.status().now);
                }
                answers.replies(response.data, &self.undelivered);
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "proposal failed");
                match Error::from(error) {
                    Error::Unknown => answers.error(|| Error::Unknown),
                    error => give_back(&outcome.proposal, answers, &error),
                }
            }
            // The entry may be in the log.
            None => answers.error(|| Error::Unknown),
        }
    }
}

/// Nothing was done: the commands go back to whoever sent them.
fn give_back(proposal: &Proposal, answers: Answers, error: &Error) {
    match proposal.decode() {
        Ok((_, commands)) => answers.give_back(commands, || error.again()),
        // It was encoded here; to say that nothing is known is safe.
        Err(_) => answers.error(|| Error::Unknown),
    }
}
