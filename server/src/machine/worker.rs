//! The apply thread: owns the replica and does one job at a time, in the order they were sent. While there are none, it
//! lends all of it to those who read (`lending`).
//!
//! While the replica is doubted or in quarantine, what needs its state is held, and so is a snapshot while a digest is made:
//! callers wait, and as each waits for its answer before it sends more, what is held is bounded.

use super::checkpoint::Checkpoint;
use super::digest::Comparison;
use super::replica::Replica;
use super::standing::{Audit, Standing, Verdict};
use super::start::PanicGuard;
use super::tail::Tail;
use super::{Shared, Status, snapshot};
use crate::command::Command;
use crate::digest::{Difference, Digests};
use crate::fault::Fault;
use crate::guest::Guest;
use crate::proposal::{Origin, Proposal};
use crate::replies::{Answered, Replies};
use crate::storage::snapshots::{SnapshotInfo, Snapshots};
use crate::type_config::{Entry, LogId, Membership, NodeId, SnapshotMeta, TypeConfig};
use openraft::EntryPayload;
use openraft::storage::ApplyResponder;
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// How often a long replay says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// How many short entries are applied at a time on a thread that has others to serve.
const SHORT_ENTRIES_MAX: usize = 4;

pub(super) type Applied = (Entry, Option<ApplyResponder<TypeConfig>>);

pub(super) enum Job {
    Apply {
        entries: VecDeque<Applied>,
        done: oneshot::Sender<()>,
    },
    /// Answered with nothing if the state is not to be shown.
    Read {
        commands: Vec<Command>,
        /// So many are run at most.
        most: usize,
        answer: oneshot::Sender<Option<Answered>>,
    },
    AppliedState {
        state: oneshot::Sender<(Option<LogId>, Membership)>,
    },
    Checkpoint {
        state: oneshot::Sender<(SnapshotMeta, Checkpoint)>,
    },
    Install {
        snapshot: SnapshotInfo,
        done: oneshot::Sender<()>,
    },
    /// The digest of the state after a mark is there.
    Marked {
        marked: Result<Digests, Fault>,
    },
    /// Another replica has told its digests.
    Compare {
        theirs: Digests,
    },
    /// Answered with the last entries, if that leaves the replica in quarantine.
    Judge {
        verdict: Verdict,
        tail: oneshot::Sender<Option<String>>,
    },
    /// Gives a replica in quarantine another's state.
    Heal {
        snapshot: SnapshotInfo,
        healed: oneshot::Sender<Result<(), snapshot::Error>>,
    },
    /// Makes the state wrong, for tests.
    #[cfg(debug_assertions)]
    Corrupt {
        pattern: Vec<u8>,
        places: oneshot::Sender<usize>,
    },
}

pub(super) struct Worker {
    pub(super) node_id: NodeId,
    pub(super) guest: Arc<Guest>,
    pub(super) snapshots: Snapshots,
    pub(super) replica: Replica,
    pub(super) applied: Option<LogId>,
    pub(super) membership: Membership,
    pub(super) audit: Audit,
    pub(super) tail: Tail,
    /// Where digests come back to that other threads make.
    pub(super) jobs: mpsc::WeakSender<Job>,
    /// The thread that makes the digest of a marked state, whose image it has a share in.
    pub(super) digesting: Option<JoinHandle<()>>,
    /// Jobs that wait for the end of a doubt, a quarantine or, if they want an image, of such a thread.
    pub(super) held: VecDeque<Job>,
    /// The last entry whose digests were compared: it is not applied yet if they raised a doubt.
    pub(super) compared: u64,
    /// Entries up to here were applied before this start; until then the guest's log lines are dropped.
    pub(super) replay: Option<Replay>,
    pub(super) shared: Arc<Shared>,
}

/// What a state is of.
pub struct Readable<'a> {
    pub applied: Option<LogId>,
    /// The last that was applied.
    pub membership: &'a Membership,
}

/// A replay in progress.
pub(super) struct Replay {
    first: u64,
    last: u64,
    started: Instant,
    said: Instant,
}

impl Replay {
    /// A replay of the entries after `applied` up to `committed`; `None` if there are none.
    pub(super) fn new(applied: u64, committed: u64) -> Option<Replay> {
        let now = Instant::now();
        (committed > applied).then(|| Replay { first: applied + 1, last: committed, started: now, said: now })
    }

    /// Says how far it is now and then; whether it is over.
    fn is_over(&mut self, applied: u64) -> bool {
        let entries = self.last - self.first + 1;
        if applied >= self.last {
            tracing::info!(entries, elapsed = ?self.started.elapsed(), "replayed the log");
            return true;
        }
        if self.said.elapsed() >= PROGRESS_EVERY {
            self.said = Instant::now();
            let done = (applied + 1).saturating_sub(self.first);
            tracing::info!(done, entries, percent = done * 100 / entries, "replaying the log");
        }
        false
    }
}

impl Worker {
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        self.replica.set_silent(self.replay.is_some());
        self.shared.lock_digests().begin(self.replica.digests());
        self.publish();
        let shared = Arc::clone(&self.shared);
        let mut worker = Box::new(self);
        loop {
            let job = match jobs.try_recv() {
                Ok(job) => job,
                Err(_) => {
                    shared.lending.leave(worker);
                    let job = jobs.blocking_recv();
                    worker = shared.lending.take_back();
                    let Some(job) = job else { return };
                    job
                }
            };
            if let Err(fault) = worker.work(job) {
                // Whoever waits for a job sees its channel close; the node stops.
                shared.alarm.raise(&fault);
                return;
            }
        }
    }

    /// What the state is of, if it is one that may be read; apart from the jobs, for whoever has it while there are none.
    pub(super) fn readable(&self) -> Option<Readable<'_>> {
        let is_busy = self.replay.is_some() || !self.held.is_empty() || self.replica.is_spoiled();
        let is_readable = self.audit.standing == Standing::Sound && !is_busy;
        is_readable.then_some(Readable { applied: self.applied, membership: &self.membership })
    }

    /// Runs reads that are short on the thread at hand; nothing if they are not.
    pub(super) fn read_short(&mut self, commands: &[Command]) -> Result<Option<Replies>, Fault> {
        let replies = self.replica.read_short(commands)?;
        Ok(replies.map(|replies| replies.at(self.applied.map_or(0, |applied| applied.index))))
    }

    /// Applies entries that are short on the thread at hand, and takes them out, up to the first that is not.
    pub(super) fn apply_short(&mut self, entries: &mut VecDeque<Applied>) -> Result<(), Fault> {
        for _ in 0..SHORT_ENTRIES_MAX {
            let Some((Entry { log_id, payload: EntryPayload::Normal(proposal) }, _)) = entries.front() else { break };
            let is_next = self.applied.is_none_or(|applied| applied.index < log_id.index);
            if !is_next || proposal.checks().digests.is_some() || self.readable().is_none() {
                break;
            }
            let Some(replies) = self.replica.apply_short(log_id.index, proposal)? else { break };
            let (log_id, proposal) = (*log_id, proposal.clone());
            let responder = entries.pop_front().and_then(|(_, responder)| responder);
            let origins = self.forwarded(&proposal);
            let replies = self.hand_out(log_id.index, proposal, origins, replies)?;
            self.applied = Some(log_id);
            self.publish();
            if let Some(responder) = responder {
                responder.send(replies);
            }
        }
        Ok(())
    }

    fn work(&mut self, job: Job) -> Result<(), Fault> {
        self.replica.mend()?;
        // A receiver that is gone has lost interest in the answer, which is not an error here.
        match (self.audit.standing, job) {
            (Standing::Quarantined(_), Job::Apply { mut entries, done }) if self.replay.is_some() => {
                entries.drain(..).for_each(|(entry, _)| self.pass_over(entry));
                self.publish();
                let _ = done.send(());
            }
            (Standing::Undecided(_) | Standing::Quarantined(_), Job::Read { answer, .. }) => {
                let _ = answer.send(None);
            }
            (
                Standing::Doubted(_) | Standing::Quarantined(_),
                job @ (Job::Apply { .. } | Job::Read { .. } | Job::Checkpoint { .. }),
            ) => self.held.push_back(job),
            (_, Job::Apply { entries, done }) => self.apply_all(entries, done)?,
            (_, Job::Read { mut commands, most, answer }) => {
                let before = self.replica.last_trap().cloned();
                let replies = self.replica.read(&commands[..most.min(commands.len())])?;
                let replies = replies.at(self.applied.map_or(0, |applied| applied.index));
                let rest = commands.split_off(replies.len());
                // Whoever has the error and then asks for the trap must find it.
                if self.replica.last_trap().map(Arc::as_ptr) != before.as_ref().map(Arc::as_ptr) {
                    self.publish();
                }
                let _ = answer.send(Some(Answered { replies, rest }));
            }
            (_, Job::AppliedState { state }) => {
                let _ = state.send((self.applied, self.membership.clone()));
            }
            // To take an image while the last one is in use, all of it would have to be copied at once.
            (_, job @ Job::Checkpoint { .. }) if self.is_digesting() => self.held.push_back(job),
            (_, Job::Checkpoint { state }) => {
                let meta = SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone() };
                let started = Instant::now();
                let checkpoint = self.replica.checkpoint()?;
                tracing::debug!(elapsed = ?started.elapsed(), "marked an image for a snapshot");
                let _ = state.send((meta, checkpoint));
            }
            (_, Job::Install { snapshot, done }) => {
                let install = self.install(&snapshot)?;
                install.map_err(|error| {
                    Fault::because(format!("installing the snapshot {} failed", snapshot.id), error)
                })?;
                let _ = done.send(());
                self.resume()?;
            }
            (_, Job::Marked { marked }) => {
                self.digesting = None;
                self.mark(marked?);
                self.publish();
                self.resume()?;
            }
            (_, Job::Compare { theirs }) => {
                let compared = self.shared.lock_digests().compare(&theirs);
                if let Comparison::Differ(ours) = compared {
                    self.audit.doubt(Difference { ours, theirs }, self.replay.is_some());
                    self.publish();
                }
            }
            (_, Job::Judge { verdict, tail }) => {
                self.audit.judge(verdict);
                let is_quarantined = self.audit.standing.is_quarantined();
                let _ = tail.send(is_quarantined.then(|| self.tail.text()));
                match is_quarantined {
                    true => self.silence(),
                    false => self.resume()?,
                }
                self.publish();
            }
            (Standing::Quarantined(_), Job::Heal { snapshot, healed }) => {
                let installed = self.install(&snapshot)?;
                let is_healed = installed.is_ok();
                let _ = healed.send(installed);
                if is_healed {
                    self.resume()?;
                }
            }
            #[cfg(debug_assertions)]
            (_, Job::Corrupt { pattern, places }) => {
                let _ = places.send(self.replica.corrupt(&pattern));
            }
            // openraft was faster.
            (_, Job::Heal { healed, .. }) => {
                let _ = healed.send(Ok(()));
            }
        }
        Ok(())
    }

    /// Applies entries up to the first whose digests raise a doubt.
    fn apply_all(&mut self, mut entries: VecDeque<Applied>, done: oneshot::Sender<()>) -> Result<(), Fault> {
        while let Some((entry, responder)) = entries.pop_front() {
            // The state that was installed has it already, with replies that nobody here knows.
            if self.applied.is_some_and(|applied| entry.log_id.index <= applied.index) {
                continue;
            }
            self.compare(&entry);
            if let Standing::Doubted(_) = self.audit.standing {
                entries.push_front((entry, responder));
                self.held.push_back(Job::Apply { entries, done });
                self.publish();
                return Ok(());
            }
            self.apply(entry, responder)?;
        }
        self.publish();
        // Whoever has lost interest in the answer needs none.
        let _ = done.send(());
        Ok(())
    }

    /// Has the digest of the state after a mark made by a thread of its own.
    fn digest_later(&mut self, checkpoint: Checkpoint) -> Result<(), Fault> {
        let jobs = self.jobs.clone();
        let make = {
            let (checkpoint, alarm) = (checkpoint.clone(), self.shared.alarm.clone());
            move || {
                // Whoever waits for the end of this would wait for ever.
                let _guard = PanicGuard(alarm);
                let digests = checkpoint.digests;
                let state = checkpoint.digest(digests.index);
                // Whoever takes the next image need not copy this one.
                drop(checkpoint);
                if let Some(jobs) = jobs.upgrade() {
                    let marked = state.map(|state| Digests { state: Some(state), ..digests });
                    // Without a receiver the machine has stopped.
                    let _ = jobs.blocking_send(Job::Marked { marked });
                }
            }
        };
        match std::thread::Builder::new().name("digest".to_owned()).spawn(make) {
            Ok(thread) => self.digesting = Some(thread),
            Err(_) => {
                let digests = checkpoint.digests;
                self.mark(Digests { state: Some(checkpoint.digest(digests.index)?), ..digests });
            }
        }
        Ok(())
    }

    fn is_digesting(&self) -> bool {
        self.digesting.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Takes note of the digest of the state after a mark, and compares it with a leader's that came before it.
    fn mark(&mut self, marked: Digests) {
        if !self.shared.lock_digests().complete(marked) {
            return;
        }
        self.audit.applied(marked);
        if let Some(theirs) = self.audit.take_early(marked.index) {
            let compared = self.shared.lock_digests().compare(&theirs);
            self.audit.note(&theirs, compared, self.replay.is_some());
        }
    }

    /// Compares the digests that an entry tells with those of this replica, once.
    fn compare(&mut self, entry: &Entry) {
        let EntryPayload::Normal(proposal) = &entry.payload else { return };
        let Some(theirs) = proposal.checks().digests else { return };
        if entry.log_id.index > self.compared {
            self.compared = entry.log_id.index;
            let compared = self.shared.lock_digests().compare(&theirs);
            if theirs.state.is_some() && compared == (Comparison::Agree { states: false }) {
                self.audit.early = Some(theirs);
            }
            self.audit.note(&theirs, compared, self.replay.is_some());
        }
    }

    fn apply(&mut self, entry: Entry, responder: Option<ApplyResponder<TypeConfig>>) -> Result<(), Fault> {
        let index = entry.log_id.index;
        let replies = match entry.payload {
            EntryPayload::Blank => Replies::default(),
            EntryPayload::Normal(proposal) => {
                let origins = self.forwarded(&proposal);
                let wants_reads =
                    responder.is_some() || origins.iter().any(|origin| self.shared.awaited.awaits(origin.request));
                let replies = self.replica.apply(index, &proposal, wants_reads)?;
                self.hand_out(index, proposal, origins, replies)?
            }
            EntryPayload::Membership(membership) => {
                self.membership = Membership::new(Some(entry.log_id), membership);
                Replies::default()
            }
        };
        self.applied = Some(entry.log_id);
        self.follow_replay(index);
        if let Some(responder) = responder {
            // Whoever has the reply and then asks for the status must find the entry applied.
            self.publish();
            responder.send(replies);
        }
        Ok(())
    }

    /// What clients of this node have sent by way of the leader.
    fn forwarded(&self, proposal: &Proposal) -> Vec<Origin> {
        proposal.origins().into_iter().filter(|origin| origin.node_id == self.node_id).collect()
    }

    /// Takes note of what a proposal has led to, and gives those clients theirs.
    fn hand_out(
        &mut self,
        index: u64,
        proposal: Proposal,
        origins: Vec<Origin>,
        replies: Replies,
    ) -> Result<Replies, Fault> {
        let replies = replies.at(index);
        let digests = self.replica.digests();
        self.shared.lock_digests().push(digests);
        self.audit.applied(digests);
        if let Some(checkpoint) = self.replica.take_marked() {
            self.digest_later(checkpoint)?;
        }
        self.shared.count(replies.len() as u64);
        let serves = self.audit.standing.serves();
        for origin in origins {
            match serves {
                true => self.shared.awaited.give(origin.request, &replies, origin.first, origin.count),
                false => self.shared.awaited.forget_one(origin.request),
            }
        }
        self.tail.push(index, proposal, replies.clone());
        Ok(replies)
    }

    /// Takes note of an entry that a replica which began in quarantine had applied before; what it does is in the state
    /// that heals it.
    fn pass_over(&mut self, entry: Entry) {
        if let EntryPayload::Membership(membership) = entry.payload {
            self.membership = Membership::new(Some(entry.log_id), membership);
        }
        self.applied = Some(entry.log_id);
        self.follow_replay(entry.log_id.index);
    }

    fn follow_replay(&mut self, index: u64) {
        if self.replay.as_mut().is_some_and(|replay| replay.is_over(index)) {
            self.replay = None;
            self.replica.set_silent(false);
        }
    }

    /// The state of a snapshot takes the place of this replica's.
    fn install(&mut self, snapshot: &SnapshotInfo) -> Result<Result<(), snapshot::Error>, Fault> {
        let (meta, checkpoint) = match snapshot::read(&self.snapshots, &self.guest, &snapshot.id) {
            Ok(read) => read,
            Err(error) => return Ok(Err(error)),
        };
        self.replica = Replica::restore(Arc::clone(&self.guest), checkpoint)?;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership;
        self.replay = None;
        self.tail = Tail::default();
        self.audit.begin(self.replica.digests());
        self.shared.lock_digests().begin(self.replica.digests());
        self.shared.awaited.forget();
        self.publish();
        Ok(Ok(()))
    }

    /// Nobody gets anything of what is held: whoever waits hears that the outcome is not known.
    fn silence(&mut self) {
        self.shared.awaited.forget();
        for job in std::mem::take(&mut self.held) {
            match job {
                Job::Apply { entries, done } => {
                    let entries = entries.into_iter().map(|(entry, _)| (entry, None)).collect();
                    self.held.push_back(Job::Apply { entries, done });
                }
                Job::Read { answer, .. } => {
                    // A receiver that is gone has lost interest in the answer.
                    let _ = answer.send(None);
                }
                job => self.held.push_back(job),
            }
        }
    }

    /// Does what was held, as far as it can be done now.
    fn resume(&mut self) -> Result<(), Fault> {
        std::mem::take(&mut self.held).into_iter().try_for_each(|job| self.work(job))
    }

    pub(super) fn publish(&self) {
        self.shared.publish(Status {
            now: self.replica.now(),
            boot: self.replica.boot(),
            applied: self.applied,
            digests: self.replica.digests(),
            marked: self.audit.marked,
            verified: self.audit.verified,
            heard_mark: self.audit.heard_mark,
            incomparable: self.audit.incomparable,
            differences: self.audit.differences,
            standing: self.audit.standing,
            memory_bytes: self.replica.memory_bytes(),
            fuel: self.replica.fuel(),
            traps: self.replica.traps(),
            last_trap: self.replica.last_trap().cloned(),
            ticks: self.replica.ticks(),
            ticking: self.replica.ticking(),
            replaying: self.replay.is_some(),
            settings: self.replica.settings().cloned(),
        });
    }
}
