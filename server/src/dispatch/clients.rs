//! The register of connected clients: how many may be, what `CLIENT LIST` shows, who can be killed.

use super::client::{Client, Resp};
use crate::undelivered::{Held, Undelivered};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// All connected clients.
#[derive(Debug)]
pub(super) struct Clients {
    most: usize,
    /// Most memory that the requests and replies of all may take.
    memory_bytes_max: usize,
    memory_bytes: AtomicUsize,
    evicted: AtomicU64,
    /// Counts what those still hold that are being disconnected for it.
    undelivered: Undelivered,
    /// Cancelled when the server stops; ends every session.
    ended: CancellationToken,
    begin: Instant,
    next_id: AtomicU64,
    entries: Mutex<BTreeMap<u64, Arc<Entry>>>,
}

/// What others may know of a client.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    /// The session takes nothing more from the client, but finishes what runs.
    pub(super) ended: CancellationToken,
    /// Not even waiting replies are written any more.
    pub(super) killed: CancellationToken,
    connected: Duration,
    /// Milliseconds after `Clients::begin`.
    last_active_ms: AtomicU64,
    /// The row of the last command in the table.
    last_row: AtomicU32,
    profile: Mutex<Profile>,
    /// Of its requests and replies, counted in `Clients::memory_bytes` unless it is evicted.
    memory_bytes: AtomicUsize,
    is_evicted: AtomicBool,
    /// What it still holds once it is evicted.
    held: Mutex<Option<Held>>,
}

/// What a client says of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Profile {
    pub(super) name: String,
    pub(super) library: String,
    pub(super) library_version: String,
    pub(super) resp: Resp,
}

impl Clients {
    pub(super) fn new(
        most: usize,
        memory_bytes_max: usize,
        undelivered: Undelivered,
        ended: CancellationToken,
    ) -> Clients {
        Clients {
            most,
            memory_bytes_max,
            memory_bytes: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
            undelivered,
            ended,
            begin: Instant::now(),
            next_id: AtomicU64::new(1),
            entries: Mutex::new(BTreeMap::new()),
        }
    }

    /// Registers a client until it is dropped; `None` if there are too many.
    pub(super) fn add(self: &Arc<Self>, peer: SocketAddr, local: SocketAddr) -> Option<Client> {
        let mut entries = self.entries();
        if entries.len() >= self.most {
            return None;
        }
        let connected = self.begin.elapsed();
        let entry = Arc::new(Entry {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            peer,
            local,
            ended: self.ended.child_token(),
            killed: CancellationToken::new(),
            connected,
            last_active_ms: AtomicU64::new(connected.as_millis() as u64),
            last_row: AtomicU32::new(u32::MAX),
            profile: Mutex::new(Profile::default()),
            memory_bytes: AtomicUsize::new(0),
            is_evicted: AtomicBool::new(false),
            held: Mutex::new(None),
        });
        entries.insert(entry.id, Arc::clone(&entry));
        drop(entries);
        Some(Client::new(entry, Arc::clone(self)))
    }

    pub(super) fn remove(&self, entry: &Entry) {
        let mut entries = self.entries();
        entries.remove(&entry.id);
        self.recount(&entries, entry, 0);
        drop(entries);
        // `CLIENT LIST` may keep the entry for a while.
        entry.hold(None);
    }

    /// Takes note of the memory that a client's requests and replies take now. If it is too much for all together, those
    /// with the most are disconnected, as Redis does with `maxmemory-clients`.
    pub(super) fn note_memory(&self, entry: &Entry, bytes: usize) {
        let entries = self.entries();
        self.recount(&entries, entry, bytes);
        while self.memory_bytes() > self.memory_bytes_max {
            let counted = entries.values().filter(|entry| !entry.is_evicted.load(Ordering::Relaxed));
            let Some(largest) = counted.max_by_key(|entry| entry.memory_bytes.load(Ordering::Relaxed)) else { return };
            let bytes = largest.memory_bytes.load(Ordering::Relaxed);
            self.recount(&entries, largest, 0);
            largest.is_evicted.store(true, Ordering::Relaxed);
            largest.hold(Some(self.undelivered.hold(bytes)));
            largest.kill();
            self.evicted.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(client = largest.id, peer = %largest.peer, bytes, "disconnected: --clients-memory is used up");
        }
    }

    /// The lock on the entries keeps the sum and its parts together.
    fn recount(&self, _: &MutexGuard<'_, BTreeMap<u64, Arc<Entry>>>, entry: &Entry, bytes: usize) {
        if !entry.is_evicted.load(Ordering::Relaxed) {
            let before = entry.memory_bytes.swap(bytes, Ordering::Relaxed);
            self.memory_bytes.fetch_add(bytes, Ordering::Relaxed);
            self.memory_bytes.fetch_sub(before, Ordering::Relaxed);
        }
    }

    /// Of the requests and replies of all.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    /// How many were disconnected for their memory.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self) -> usize {
        self.entries().len()
    }

    pub(super) fn most(&self) -> usize {
        self.most
    }

    pub(super) fn uptime(&self) -> Duration {
        self.begin.elapsed()
    }

    /// In the order of their ids.
    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        self.entries().values().cloned().collect()
    }

    pub(super) fn age(&self, entry: &Entry) -> Duration {
        self.begin.elapsed().saturating_sub(entry.connected)
    }

    /// Remembers that the client has just sent something.
    pub(super) fn note_active(&self, entry: &Entry) {
        entry.last_active_ms.store(self.begin.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// One line of `CLIENT LIST`; `command` names a row of the table.
    pub(super) fn line(&self, entry: &Entry, command: impl Fn(u32) -> String) -> String {
        let profile = entry.profile();
        let now = self.begin.elapsed().as_millis() as u64;
        let idle = now.saturating_sub(entry.last_active_ms.load(Ordering::Relaxed));
        let mut line = String::new();
        // Writing to a string cannot fail.
        let _ = write!(
            line,
            "id={} addr={} laddr={} fd=-1 name={} age={} idle={} flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 qbuf=0 \
             qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={} user=default \
             redir=-1 resp={} lib-name={} lib-ver={}",
            entry.id,
            entry.peer,
            entry.local,
            profile.name,
            self.age(entry).as_secs(),
            idle / 1000,
            command(entry.last_row()),
            profile.resp.number(),
            profile.library,
            profile.library_version,
        );
        line
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Entry>>> {
        // A map is whole between its operations, whoever panicked beside it.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn hold(&self, held: Option<Held>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }

    pub(super) fn kill(&self) {
        self.killed.cancel();
        self.ended.cancel();
    }

    pub(super) fn note_row(&self, row: u32) {
        self.last_row.store(row, Ordering::Relaxed);
    }

    pub(super) fn last_row(&self) -> u32 {
        self.last_row.load(Ordering::Relaxed)
    }

    pub(super) fn profile(&self) -> Profile {
        self.profile.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn change_profile(&self, change: impl FnOnce(&mut Profile)) {
        change(&mut self.profile.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
