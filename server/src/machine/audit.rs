//! `Audit`: what comparing this replica with the leaders' digests in the log has found.

use super::digest::Comparison;
use crate::digest::Digests;

#[derive(Default)]
pub(super) struct Audit {
    /// After the last mark since this start.
    pub(super) marked: Digests,
    /// The last entry whose digests in the log were this replica's own.
    pub(super) verified: u64,
    /// The last mark whose digests the log has.
    pub(super) heard_mark: u64,
    pub(super) incomparable: u64,
    pub(super) differences: u64,
}

impl Audit {
    /// An entry was applied, after which this replica has `digests`.
    pub(super) fn applied(&mut self, digests: Digests) {
        if digests.state.is_some() {
            self.marked = digests;
        }
    }

    /// The entry at `index` has told `theirs`.
    pub(super) fn note(&mut self, index: u64, theirs: &Digests, compared: Comparison) {
        if theirs.state.is_some() {
            self.heard_mark = self.heard_mark.max(theirs.index);
        }
        match compared {
            Comparison::Agree => self.verified = self.verified.max(theirs.index),
            Comparison::Forgotten => self.incomparable += 1,
            Comparison::Differ(ours) => {
                self.differences += 1;
                tracing::error!(index, ?ours, ?theirs, "this replica differs from what a leader had");
            }
        }
    }
}
