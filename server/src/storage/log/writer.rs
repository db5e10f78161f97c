//! `Writer`: the thread that makes changes durable, and the queue to it.
//!
//! The queue is bounded by permits, each returned when its change is on disk. A `Vec` of changes becomes one commit;
//! what comes in meanwhile is the next one.

use super::commit::{Change, Commit};
use super::disk::LogDisk;
use super::{Error, lock};
use crate::fault::{Fault, chain};
use crate::type_config::{LogId, TypeConfig};
use openraft::storage::IOFlushed;
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// How many changes may wait; an append of a batch is one of them.
const QUEUE_CHANGES_MAX: usize = 1024;
/// What one transaction takes at most, but for a single larger append.
const COMMIT_ENTRIES_MAX: usize = 64 << 10;
/// With `nosync`, how often the log is synced all the same.
const NOSYNC_PERIOD: Duration = Duration::from_secs(1);

/// Who is told that a change is durable.
pub(super) enum Done {
    Flushed(IOFlushed<TypeConfig>),
    Waiter(oneshot::Sender<io::Result<()>>),
    Nobody,
}

struct Job {
    change: Change,
    waiting: Waiting,
}

/// Who waits for a change.
struct Waiting {
    done: Done,
    _permit: OwnedSemaphorePermit,
}

enum Message {
    Job(Job),
    Close(oneshot::Sender<()>),
}

#[derive(Clone)]
pub(super) struct Writer {
    sender: mpsc::Sender<Message>,
    permits: Arc<Semaphore>,
    committed: Arc<Mutex<Committed>>,
}

/// The last `save_committed`, which waits for another change to take it along.
#[derive(Clone, Copy, Default)]
struct Committed {
    /// How many changes were queued so far.
    queued: u64,
    log_id: Option<LogId>,
    /// `queued` when `log_id` was noted: only behind these changes does it hold of the log on disk.
    after: u64,
}

impl Writer {
    pub(super) fn start(disk: Box<dyn LogDisk>, nosync: bool) -> Result<(Writer, oneshot::Receiver<Fault>), Error> {
        let (sender, receiver) = mpsc::channel();
        let (fault_sender, fault) = oneshot::channel();
        let permits = Arc::new(Semaphore::new(QUEUE_CHANGES_MAX));
        let committed = Arc::<Mutex<Committed>>::default();
        let committed_there = committed.clone();
        let permits_there = permits.clone();
        let body = move || {
            let mut run = Run {
                disk,
                receiver,
                committed: committed_there,
                nosync,
                handled: 0,
                unsynced: false,
                synced: Instant::now(),
                committed_written: None,
            };
            let result = run.run();
            // Whoever waits for room in the queue must not wait for ever.
            permits_there.close();
            run.refuse_what_waits();
            // The database is closed before anyone hears of the end.
            drop(run);
            match result {
                // Who asked for the end may have gone.
                Ok(Some(closed)) => drop(closed.send(())),
                Ok(None) => {}
                // The node may have gone, and then nobody needs to be told.
                Err(error) => drop(fault_sender.send(Fault::because("the log cannot be written", error))),
            }
        };
        thread::Builder::new().name("log-writer".into()).spawn(body).map_err(|source| Error::StartThread { source })?;
        Ok((Writer { sender, permits, committed }, fault))
    }

    /// Queues a change, behind all that were queued before.
    pub(super) async fn send(&self, change: Change, done: Done) -> io::Result<()> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| stopped())?;
        // Counting and sending under one lock keeps `Committed::after` in step with the queue.
        let mut committed = lock(&self.committed);
        committed.queued += 1;
        self.sender
            .send(Message::Job(Job { change, waiting: Waiting { done, _permit: permit } }))
            .map_err(|_| stopped())
    }

    /// Queues a change and waits until it is durable.
    pub(super) async fn commit(&self, change: Change) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        self.send(change, Done::Waiter(sender)).await?;
        receiver.await.map_err(|_| stopped())?
    }

    pub(super) fn note_committed(&self, log_id: Option<LogId>) {
        let mut committed = lock(&self.committed);
        committed.log_id = log_id;
        committed.after = committed.queued;
    }

    pub(super) async fn close(&self) {
        let (sender, receiver) = oneshot::channel();
        if self.sender.send(Message::Close(sender)).is_ok() {
            // An error means that the thread ended, which is what is waited for.
            let _ = receiver.await;
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the log's writer has stopped")
}

struct Run {
    disk: Box<dyn LogDisk>,
    receiver: mpsc::Receiver<Message>,
    committed: Arc<Mutex<Committed>>,
    nosync: bool,
    /// How many changes were taken from the queue.
    handled: u64,
    /// Something was committed without a sync.
    unsynced: bool,
    /// When the last sync was.
    synced: Instant,
    /// What was last written of the entries known to be committed.
    committed_written: Option<LogId>,
}

/// Changes of one commit.
#[derive(Default)]
struct Gathered {
    changes: Vec<Change>,
    /// One for each.
    waiting: Vec<Waiting>,
    /// A node that forgets who it is, or whom it voted for, harms the others, so it is synced in any case.
    is_rare: bool,
}

impl Gathered {
    fn push(&mut self, Job { change, waiting }: Job) {
        self.is_rare |= matches!(change, Change::Identity(_) | Change::Vote(_));
        self.changes.push(change);
        self.waiting.push(waiting);
    }
}

impl Run {
    /// Until everyone who could send is gone, or someone asks for the end and is returned.
    fn run(&mut self) -> Result<Option<oneshot::Sender<()>>, Error> {
        let mut gathered = Gathered::default();
        let mut closed = None;
        while closed.is_none() {
            match self.next() {
                Ok(Message::Job(job)) => {
                    closed = self.gather(job, &mut gathered);
                    let due = self.synced.elapsed() >= NOSYNC_PERIOD;
                    let durable = !self.nosync || due || gathered.is_rare;
                    self.commit(&mut gathered, durable)?;
                }
                Ok(Message::Close(done)) => closed = Some(done),
                Err(RecvTimeoutError::Timeout) => {
                    let durable = self.synced.elapsed() >= NOSYNC_PERIOD;
                    self.commit(&mut gathered, durable)?;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        // The last one also takes along what was noted as committed.
        self.commit(&mut gathered, true)?;
        Ok(closed)
    }

    /// The next message; a timeout if there is something to do without one.
    fn next(&self) -> Result<Message, RecvTimeoutError> {
        let sync = self.unsynced.then_some(NOSYNC_PERIOD);
        match self.disk.wake_after().into_iter().chain(sync).min() {
            Some(timeout) => self.receiver.recv_timeout(timeout),
            None => self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// Takes all that waits, up to the limits; returns whom to tell if the last of it is a `Close`.
    fn gather(&mut self, first: Job, gathered: &mut Gathered) -> Option<oneshot::Sender<()>> {
        let mut entries = 0;
        let mut next = Some(first);
        loop {
            let job = match next.take() {
                Some(job) => job,
                None if entries >= COMMIT_ENTRIES_MAX || gathered.waiting.len() >= QUEUE_CHANGES_MAX => return None,
                None => match self.receiver.try_recv() {
                    Ok(Message::Job(job)) => job,
                    Ok(Message::Close(done)) => return Some(done),
                    Err(_) => return None,
                },
            };
            if let Change::Append(appended) = &job.change {
                entries += appended.len();
            }
            self.handled += 1;
            gathered.push(job);
        }
    }

    /// Commits and empties what is gathered, and tells everyone concerned.
    fn commit(&mut self, gathered: &mut Gathered, durable: bool) -> Result<(), Error> {
        let Gathered { changes, waiting, .. } = std::mem::take(gathered);
        let noted = *lock(&self.committed);
        let committed = noted.log_id.filter(|_| noted.after <= self.handled && noted.log_id != self.committed_written);
        self.committed_written = committed.or(self.committed_written);
        let commit = Commit { changes, committed };
        self.unsynced = !durable && (self.unsynced || !commit.is_empty());
        let result = self.disk.commit(commit, durable);
        if durable {
            self.synced = Instant::now();
        }
        for Waiting { done, .. } in waiting {
            done.tell(result.as_ref().map(|_| ()).map_err(|error| io::Error::other(chain(error))));
        }
        result
    }

    fn refuse_what_waits(&mut self) {
        while let Ok(message) = self.receiver.try_recv() {
            if let Message::Job(job) = message {
                job.waiting.done.tell(Err(stopped()));
            }
        }
    }
}

impl Done {
    fn tell(self, result: io::Result<()>) {
        match self {
            Done::Flushed(flushed) => flushed.io_completed(result),
            // A waiter that is gone has no use for the answer.
            Done::Waiter(waiter) => drop(waiter.send(result)),
            Done::Nobody => {}
        }
    }
}
