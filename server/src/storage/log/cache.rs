//! `Cache`: the entries that are not purged, in memory.

use super::disk::Loaded;
use super::{Error, Status};
use crate::storage::schema::record_bytes;
use crate::type_config::{Entry, LogId, Membership, NodeId, Vote};
use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use std::collections::VecDeque;
use std::ops::{Bound, RangeBounds};

pub(super) struct Cache {
    entries: VecDeque<Cached>,
    purged: Option<LogId>,
    /// What all records ever cached took; the difference of two ends is what lies between them.
    end: u64,
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    /// The last entry that was ever appended to change the membership, also if it was purged or truncated since.
    membership_index: Option<u64>,
    /// The last entry that there was at the start.
    loaded_index: Option<u64>,
}

struct Cached {
    entry: Entry,
    /// `Cache::end` after this entry.
    end: u64,
}

impl Cache {
    pub(super) fn new(loaded: Loaded) -> Cache {
        let mut cache = Cache {
            entries: VecDeque::with_capacity(loaded.entries.len()),
            purged: loaded.purged,
            end: 0,
            vote: loaded.vote,
            committed: loaded.committed,
            membership_index: None,
            loaded_index: loaded.entries.last().map(|last| last.index()),
        };
        loaded.entries.into_iter().for_each(|entry| cache.push(entry));
        cache
    }

    /// Refuses an entry that does not follow the last one. The very first may have any index, for openraft's suite
    /// begins at 1; should it ever be wrong, `load` refuses it.
    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<(), Error> {
        for entry in entries {
            let expected = self.next_index();
            if entry.index() != expected && (self.purged.is_some() || !self.entries.is_empty()) {
                return Err(Error::AppendHole { expected, found: entry.index() });
            }
            self.push(entry.clone());
        }
        Ok(())
    }

    fn push(&mut self, entry: Entry) {
        self.end += record_bytes(&entry) as u64;
        if let EntryPayload::Membership(_) = entry.payload {
            self.membership_index = Some(entry.index());
        }
        self.entries.push_back(Cached { entry, end: self.end });
    }

    pub(super) fn truncate(&mut self, from: u64) {
        let keep = from.saturating_sub(self.first_index()) as usize;
        self.entries.truncate(keep);
        self.end = self.entries.back().map_or(self.end, |last| last.end);
    }

    /// Forgets the entries up to this one, and returns them: it takes a while to free them.
    pub(super) fn purge(&mut self, upto: LogId) -> impl Send + use<> {
        let purged = self.entries.partition_point(|cached| cached.entry.index() <= upto.index);
        let kept = self.entries.split_off(purged);
        self.purged = self.purged.max(Some(upto));
        std::mem::replace(&mut self.entries, kept)
    }

    /// The entries of `range` that there are, up to `bytes_max`, but one at least.
    pub(super) fn read(&self, range: impl RangeBounds<u64>, bytes_max: usize) -> Vec<Entry> {
        let first = self.first_index();
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let start = start.saturating_sub(first) as usize;
        let end = (end.saturating_sub(first) as usize).min(self.entries.len());
        if start >= end {
            return Vec::new();
        }
        let mut bytes = 0;
        self.entries
            .range(start..end)
            .take_while(|cached| {
                let fits = bytes < bytes_max;
                bytes += record_bytes(&cached.entry);
                fits
            })
            .map(|cached| cached.entry.clone())
            .collect()
    }

    pub(super) fn status(&self) -> Status {
        Status {
            first: self.entries.front().map(|first| first.entry.index()),
            last: self.entries.back().map(|last| last.entry.log_id()).or(self.purged),
            purged: self.purged,
            bytes: self.bytes_after(None),
        }
    }

    pub(super) fn bytes_after(&self, index: Option<u64>) -> u64 {
        let skip = index.map_or(0, |index| (index + 1).saturating_sub(self.first_index()) as usize);
        let Some(next) = self.entries.get(skip) else { return 0 };
        self.end - next.end + record_bytes(&next.entry) as u64
    }

    /// Whether a state has everything that was acknowledged, without asking anybody; see `LogStorage::is_all_in`.
    pub(super) fn is_all_in(&self, node_id: NodeId, applied: LogId, membership: &Membership) -> bool {
        let leads = self
            .vote
            .is_some_and(|vote| vote.leader_id.voted_for == node_id && vote.leader_id.term == applied.leader_id.term);
        let is_last = self.membership_index <= membership.log_id().map(|log_id| log_id.index);
        let is_alone = membership.nodes().map(|(id, _)| *id).eq([node_id]);
        leads && is_last && is_alone && self.loaded_index <= Some(applied.index)
    }

    fn first_index(&self) -> u64 {
        self.entries.front().map_or_else(|| self.next_index(), |first| first.entry.index())
    }

    fn next_index(&self) -> u64 {
        self.entries
            .back()
            .map(|last| last.entry.index())
            .or(self.purged.map(|purged| purged.index))
            .map_or(0, |i| i + 1)
    }
}
