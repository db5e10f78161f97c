//! `LogStorage`: openraft's log and vote, durable on disk, readable from memory.
//!
//! Every change goes into one queue. A thread takes all that waits behind the running fsync and commits it at once,
//! strictly in the order of the queue, so what is on disk is always a prefix of what was asked. A commit goes to the WAL,
//! and from there, with many others, to redb (`layered`). Entries
//! not yet purged are kept in memory, which the limits of snapshots bound; reads never touch the disk.
//!
//! The first failure of the disk is the last thing that happens: everything waiting gets the error, openraft stops, and
//! the `Fault` that `open` promises stops the node.

mod cache;
mod commit;
mod disk;
mod error;
#[cfg(debug_assertions)]
mod failing;
mod folder;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod guard;
mod layered;
mod overlay;
mod place;
mod rows;
#[cfg(test)]
mod tests;
mod wal;
mod watermark;
mod writer;

pub use self::error::Error;

use self::cache::Cache;
use self::commit::Change;
use self::disk::{Loaded, LogDisk};
use self::layered::Layered;
use self::writer::{Done, Writer};
use crate::fault::Fault;
use crate::storage::schema::Identity;
use crate::type_config::{Entry, LogId, Membership, NodeId, TypeConfig, Vote};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend};
use redb::StorageBackend;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// A handle; clones share one log.
#[derive(Clone)]
pub struct LogStorage {
    cache: Arc<Mutex<Cache>>,
    writer: Writer,
    identity: Arc<Mutex<Option<Identity>>>,
}

/// How a log is kept.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What was appended in the last second is lost in a crash; it is synced once a second and at `close`.
    pub nosync: bool,
    /// What the WAL takes on disk.
    pub wal_bytes: u32,
}

/// How large the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The first entry that is not purged, if there is one.
    pub first: Option<u64>,
    pub last: Option<LogId>,
    pub purged: Option<LogId>,
    /// What the entries that are not purged take.
    pub bytes: u64,
}

/// All of a log that nobody writes.
#[derive(Debug, Default, PartialEq)]
pub struct Contents {
    pub identity: Option<Identity>,
    pub purged: Option<LogId>,
    /// The last entry known to be committed when the node ended.
    pub committed: Option<LogId>,
    pub vote: Option<Vote>,
    /// Those that are not purged.
    pub entries: Vec<Entry>,
}

impl Contents {
    /// Who has a vote after the last change of that in the log, if there is one.
    pub fn voters(&self) -> Option<BTreeSet<NodeId>> {
        self.entries.iter().rev().find_map(|entry| match &entry.payload {
            EntryPayload::Membership(membership) => Some(membership.voter_ids().collect()),
            _ => None,
        })
    }
}

/// Whether there was a log at `path` ever.
pub(super) fn was_here(path: &Path) -> bool {
    path.exists() || watermark::path(path).exists()
}

/// Reads and checks the whole log without changing the file.
pub fn read(path: &Path) -> Result<Contents, Error> {
    let Loaded { entries, purged, vote, committed, identity } = layered::read(path)?;
    Ok(Contents { identity, purged, committed, vote, entries })
}

/// What one read of entries to send to a peer returns at most, but for a single larger entry.
const READ_BYTES_MAX: usize = 1 << 20;

impl LogStorage {
    /// Reads and checks the whole log.
    ///
    /// The receiver yields a `Fault` if the disk fails later, and is closed without one after `close`.
    pub fn open(path: &Path, options: Options) -> Result<(LogStorage, oneshot::Receiver<Fault>), Error> {
        let Options { nosync, wal_bytes } = options;
        let disk = Layered::open(path, wal_bytes)?;
        #[cfg(debug_assertions)]
        let disk = failing::Failing::new(disk, path);
        LogStorage::start(disk, nosync)
    }

    fn start(mut disk: impl LogDisk, nosync: bool) -> Result<(LogStorage, oneshot::Receiver<Fault>), Error> {
        let loaded = disk.load()?;
        let identity = Arc::new(Mutex::new(loaded.identity.clone()));
        let cache = Arc::new(Mutex::new(Cache::new(loaded)));
        let (writer, fault) = Writer::start(Box::new(disk), nosync)?;
        Ok((LogStorage { cache, writer, identity }, fault))
    }

    /// Whose log this is; `None` if it is new.
    pub fn identity(&self) -> Option<Identity> {
        lock(&self.identity).clone()
    }

    /// Says whose log this is; durable when it returns.
    pub async fn save_identity(&self, identity: Identity) -> io::Result<()> {
        self.writer.commit(Change::Identity(identity.clone())).await?;
        *lock(&self.identity) = Some(identity);
        Ok(())
    }

    /// The last entry known to be committed.
    pub fn committed(&self) -> Option<LogId> {
        self.cache().committed
    }

    pub fn status(&self) -> Status {
        self.cache().status()
    }

    /// Whether a state has everything that was acknowledged, without asking anybody: the state after the entry `applied`,
    /// with the membership that was applied last.
    ///
    /// It has if `node_id` is alone in the cluster, by the last membership in the log, and leads, in the term of that entry.
    /// Then nobody else can lead without its vote, nothing is acknowledged before it is applied, and what was in the log at
    /// the start is applied as well.
    pub fn is_all_in(&self, node_id: NodeId, applied: LogId, membership: &Membership) -> bool {
        self.cache().is_all_in(node_id, applied, membership)
    }

    /// What the entries above `index` take, or all of them.
    pub fn bytes_after(&self, index: Option<u64>) -> u64 {
        self.cache().bytes_after(index)
    }

    /// Commits all that waits and closes the files; every later change is an error.
    pub async fn close(&self) {
        self.writer.close().await;
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        lock(&self.cache)
    }
}

/// The data is whole even if a thread panicked with the lock: each critical section writes its fields at once.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RaftLogReader<TypeConfig> for LogStorage {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        Ok(self.cache().read(range, usize::MAX))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        Ok(self.cache().read(start..end, READ_BYTES_MAX))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.cache().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStorage {
    type LogReader = LogStorage;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let status = self.status();
        Ok(LogState { last_purged_log_id: status.purged, last_log_id: status.last })
    }

    async fn get_log_reader(&mut self) -> LogStorage {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.writer.commit(Change::Vote(*vote)).await?;
        self.cache().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.cache().committed = committed;
        // A sync of its own for each commit would halve the writes per second; a node that lost it learns it again.
        self.writer.note_committed(committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.cache().committed)
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        self.cache().append(&entries).map_err(io::Error::other)?;
        self.writer.send(Change::Append(entries), Done::Flushed(flushed)).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.cache().truncate(commit::first_after(last));
        // Nobody waits: what is appended next is durable only after this, for the queue keeps the order.
        self.writer.send(Change::Truncate { after: last }, Done::Nobody).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let purged = self.cache().purge(upto);
        // openraft would wait, for a gibibyte a tenth of a second; whether it is freed before anything else is of no matter.
        drop(tokio::task::spawn_blocking(move || drop(purged)));
        self.writer.send(Change::Purge(upto), Done::Nobody).await
    }
}
