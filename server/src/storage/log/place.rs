//! `Place`: a moment in the life of a log.

use crate::storage::schema::Meta;
use bytes::{Buf, BufMut};

/// Later ones are greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// How often `Meta` was changed otherwise than by appending. As long as it was not, the log only grew.
    revision: u64,
    /// Term and index of the last entry.
    last: Option<(u64, u64)>,
}

impl Place {
    pub(super) const BYTES: usize = 8 + 1 + 8 + 8;

    /// Where a log with this is.
    pub(super) fn of(meta: &Meta) -> Place {
        Place { revision: meta.revision, last: meta.last.map(|id| (id.committed_leader_id().term, id.index)) }
    }

    /// ```text
    /// u64 revision │ u8 1 if there is a last entry │ u64 term │ u64 index
    /// ```
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let (term, index) = self.last.unwrap_or_default();
        out.put_u64_le(self.revision);
        out.put_u8(u8::from(self.last.is_some()));
        out.put_u64_le(term);
        out.put_u64_le(index);
    }

    /// `bytes` has at least `BYTES`.
    pub(super) fn get(bytes: &mut impl Buf) -> Place {
        let revision = bytes.get_u64_le();
        let has_last = bytes.get_u8() != 0;
        let last = (bytes.get_u64_le(), bytes.get_u64_le());
        Place { revision, last: has_last.then_some(last) }
    }
}
