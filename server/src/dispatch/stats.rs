//! Counters since the start, for `INFO`.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(super) struct Stats {
    commands: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    connections: AtomicU64,
    rejected: AtomicU64,
}

impl Stats {
    pub(super) fn commands(&self, count: usize) {
        self.commands.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, count: usize) {
        self.failed.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// With the names that Redis has for them where it has one.
    pub(super) fn fields(&self) -> [(&'static str, u64); 5] {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("total_connections_received", load(&self.connections)),
            ("rejected_connections", load(&self.rejected)),
            ("total_commands_processed", load(&self.commands)),
            ("refused_commands", load(&self.refused)),
            ("failed_commands", load(&self.failed)),
        ]
    }
}
