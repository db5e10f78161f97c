//! How digests are made, and the last of them.
//!
//! The **running digest** covers what was applied: `d(i) = H(d(i-1), i, H(proposal), H(replies))` over the normal entries.
//! A reply that differs shows in it at once and for ever. The **state digest** covers what the next entry will be
//! applied to: the sum, modulo 2^128, of `H(memory, page, H(bytes))` over all pages that are not zero, hashed together
//! with everything else that a snapshot holds. The sum does not depend on the order of the pages, so it can be kept up
//! to date page by page.
//!
//! H is XXH3-128, which is as fast as memory and finds accidents. It does not keep out an adversary: whoever can choose
//! the bytes of a replica's memory can forge it.

use crate::digest::{Digest, Digests};
use crate::fault::Fault;
use crate::guest::{Handles, Pages, Source};
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128;

/// Entries whose digests are remembered. The leader's digest comes a few entries after its own.
const RING_MAX: usize = 4096;

/// The running digest after one more entry.
pub(super) fn running(before: Digest, index: u64, proposal: &[u8], replies: &[u8]) -> Digest {
    let mut bytes = [0; 16 + 8 + 16 + 16];
    bytes[..16].copy_from_slice(&before.0.to_le_bytes());
    bytes[16..24].copy_from_slice(&index.to_le_bytes());
    bytes[24..40].copy_from_slice(&xxh3_128(proposal).to_le_bytes());
    bytes[40..].copy_from_slice(&xxh3_128(replies).to_le_bytes());
    Digest(xxh3_128(&bytes))
}

/// What one page adds to the sum; nothing if all of it is zero.
fn page(memory: u32, page: u64, bytes: &[u8]) -> u128 {
    if bytes.iter().all(|byte| *byte == 0) {
        return 0;
    }
    let mut number = [0; 4 + 8 + 16];
    number[..4].copy_from_slice(&memory.to_le_bytes());
    number[4..12].copy_from_slice(&page.to_le_bytes());
    number[12..].copy_from_slice(&xxh3_128(bytes).to_le_bytes());
    xxh3_128(&number)
}

/// The sum over all pages. Only those that have changed since the last time are looked at.
pub(super) fn pages(memories: &[Arc<Pages>]) -> Result<u128, Fault> {
    let mut sum = 0_u128;
    for (memory, pages) in (0..).zip(memories) {
        let of_memory = pages.sum(|number, bytes| page(memory, number, bytes));
        let failed = |error| Fault::because("reading the guest's memory failed", error);
        sum = sum.wrapping_add(of_memory.map_err(failed)?);
    }
    Ok(sum)
}

/// What a state digest covers besides the pages.
#[derive(Serialize)]
pub(super) struct Rest<'a> {
    /// Size of each memory.
    pub(super) memories: &'a [u64],
    pub(super) globals: &'a [u8],
    pub(super) source: &'a Source,
    pub(super) boot: u64,
    pub(super) ticking: bool,
    /// The entry after which the state stands.
    pub(super) index: u64,
    /// Behind all else, and only if there ever were any.
    #[serde(skip)]
    pub(super) handles: &'a Handles,
}

/// The state digest, given the sum over all pages.
pub(super) fn state(pages: u128, rest: &Rest<'_>) -> Digest {
    let bytes =
        postcard::to_extend(rest, pages.to_le_bytes().to_vec()).and_then(|bytes| match rest.handles.is_empty() {
            true => Ok(bytes),
            false => postcard::to_extend(rest.handles, bytes),
        });
    Digest(xxh3_128(&bytes.expect("numbers and bytes can be encoded, and a vector takes them all")))
}

/// What comparing with another replica gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Agree {
        /// Whether both had the digest of their state.
        states: bool,
    },
    /// What this replica has.
    Differ(Digests),
    /// This replica's own digests are not remembered.
    Forgotten,
}

/// The digests after the last entries, by which those of others are judged.
#[derive(Default)]
pub(super) struct Ring(VecDeque<Digests>);

impl Ring {
    /// Forgets all, for the state is another's from now on.
    pub(super) fn begin(&mut self, digests: Digests) {
        self.0.clear();
        self.push(digests);
    }

    /// `digests` are those of a later entry than all before.
    pub(super) fn push(&mut self, digests: Digests) {
        if self.0.len() == RING_MAX {
            self.0.pop_front();
        }
        self.0.push_back(digests);
    }

    /// Adds the digest of a state to those after its entry; false if they are not remembered.
    pub(super) fn complete(&mut self, digests: Digests) -> bool {
        let found = self.0.binary_search_by_key(&digests.index, |digests| digests.index);
        let ours = found.ok().map(|found| &mut self.0[found]).filter(|ours| ours.running == digests.running);
        ours.map(|ours| ours.state = digests.state).is_some()
    }

    /// Judges what another replica has.
    pub(super) fn compare(&self, theirs: &Digests) -> Comparison {
        let Some(ours) = self.at(theirs.index) else { return Comparison::Forgotten };
        let states = ours.state.zip(theirs.state);
        match ours.running == theirs.running && states.is_none_or(|(ours, theirs)| ours == theirs) {
            true => Comparison::Agree { states: states.is_some() },
            false => Comparison::Differ(ours),
        }
    }

    pub(super) fn at(&self, index: u64) -> Option<Digests> {
        self.0.binary_search_by_key(&index, |digests| digests.index).ok().map(|found| self.0[found])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::PAGE_BYTES;

    fn sum(runs: &[(usize, u64, &[u8])]) -> u128 {
        let memories: Vec<Arc<Pages>> = (0..3).map(|_| Arc::new(Pages::new(2 << 20).unwrap())).collect();
        for (memory, offset, bytes) in runs {
            assert!(memories[*memory].put(*offset, bytes).unwrap());
            // Looked at in between, the sum in the end is the same.
            pages(&memories).unwrap();
        }
        pages(&memories).unwrap()
    }

    fn rest<'a>(source: &'a Source) -> Rest<'a> {
        const NONE: &Handles = &Handles::NONE;
        Rest { memories: &[1 << 16], globals: b"globals", source, boot: 1, ticking: true, index: 9, handles: NONE }
    }

    /// Values in the field: a change of the definition must be a change of the formats that carry digests.
    #[test]
    fn digests_are_what_they_were() {
        let first = running(Digest::default(), 7, b"proposal", b":1\r\n");
        assert_eq!(first.to_string(), "fcfd59e09e31274db9ac17b1ec4567da");
        assert_eq!(
            state(sum(&[(0, 4096, b"x")]), &rest(&Source::default())).to_string(),
            "b3d338f2b91e4f84c94f1c14212db289"
        );
    }

    #[test]
    fn every_part_of_an_entry_and_of_what_was_before_counts() {
        let first = running(Digest::default(), 7, b"proposal", b":1\r\n");
        for other in [
            running(Digest(1), 7, b"proposal", b":1\r\n"),
            running(Digest::default(), 8, b"proposal", b":1\r\n"),
            running(Digest::default(), 7, b"Proposal", b":1\r\n"),
            running(Digest::default(), 7, b"proposal", b":2\r\n"),
            running(Digest::default(), 7, b"proposal:", b"1\r\n"),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn every_part_of_the_state_counts() {
        let source = Source::default();
        let mut later = source.clone();
        later.advance(1);
        let handles = postcard::from_bytes(&[1, 1, 1, 0]).unwrap();
        let pages = sum(&[(0, 4096, b"x")]);
        let whole = state(pages, &rest(&source));
        for other in [
            state(pages + 1, &rest(&source)),
            state(pages, &Rest { memories: &[2 << 16], ..rest(&source) }),
            state(pages, &Rest { globals: b"Globals", ..rest(&source) }),
            state(pages, &rest(&later)),
            state(pages, &Rest { boot: 2, ..rest(&source) }),
            state(pages, &Rest { ticking: false, ..rest(&source) }),
            state(pages, &Rest { index: 10, ..rest(&source) }),
            state(pages, &Rest { handles: &handles, ..rest(&source) }),
        ] {
            assert_ne!(whole, other);
        }
    }

    #[test]
    fn pages_sum_up_alike_however_they_are_cut_and_ordered() {
        let bytes: Vec<u8> = (0..3 * PAGE_BYTES + 100).map(|at| (at % 251) as u8).collect();
        let whole = sum(&[(0, 4096, &bytes), (1, 0, b"x")]);
        for cut in [1, 100, PAGE_BYTES - 1, PAGE_BYTES, PAGE_BYTES + 1, 2 * PAGE_BYTES + 7] {
            let (left, right) = bytes.split_at(cut);
            assert_eq!(sum(&[(0, 4096, left), (0, 4096 + cut as u64, right), (1, 0, b"x")]), whole, "cut at {cut}");
        }
        let zeros = [0; 2 * PAGE_BYTES];
        assert_eq!(sum(&[(0, 0, &zeros[..4096]), (0, 4096, &bytes), (0, 1 << 20, &zeros), (1, 0, b"x")]), whole);
        assert_eq!(sum(&[(1, 0, b"x"), (0, 4096, &bytes)]), whole, "in another order");
        assert_ne!(sum(&[(0, 8192, &bytes), (1, 0, b"x")]), whole, "in another place");
        assert_ne!(sum(&[(0, 4096, &bytes), (2, 0, b"x")]), whole, "in another memory");
    }

    #[test]
    fn replicas_differ_in_what_both_have() {
        let mut ring = Ring::default();
        let own = Digests { index: 5, running: Digest(1), state: None };
        ring.push(own);
        let marked = Digests { index: 9, running: Digest(2), state: Some(Digest(3)) };
        ring.push(marked);
        for (theirs, expected) in [
            (own, Comparison::Agree { states: false }),
            (Digests { running: Digest(7), ..own }, Comparison::Differ(own)),
            (Digests { state: Some(Digest(7)), ..own }, Comparison::Agree { states: false }),
            (marked, Comparison::Agree { states: true }),
            (Digests { state: None, ..marked }, Comparison::Agree { states: false }),
            (Digests { state: Some(Digest(7)), ..marked }, Comparison::Differ(marked)),
            (Digests { running: Digest(7), ..marked }, Comparison::Differ(marked)),
            (Digests { index: 6, ..own }, Comparison::Forgotten),
        ] {
            assert_eq!(ring.compare(&theirs), expected, "{theirs:?}");
        }
    }

    #[test]
    fn the_ring_has_the_last_entries_only() {
        let mut ring = Ring::default();
        let digests = |index: u64| Digests { index, running: Digest(u128::from(index)), state: None };
        assert_eq!(ring.at(0), None);
        (1..=2 * RING_MAX as u64).map(|number| 3 * number).for_each(|index| ring.push(digests(index)));
        let oldest = 3 * (RING_MAX as u64 + 1);
        assert_eq!(ring.at(oldest), Some(digests(oldest)));
        assert_eq!(ring.at(6 * RING_MAX as u64), Some(digests(6 * RING_MAX as u64)));
        for absent in [0, oldest - 3, oldest + 1, 6 * RING_MAX as u64 + 3] {
            assert_eq!(ring.at(absent), None);
        }
        assert_eq!(ring.0.len(), RING_MAX);
    }

    #[test]
    fn the_digest_of_a_state_may_come_later() {
        let mut ring = Ring::default();
        let applied = Digests { index: 5, running: Digest(1), state: None };
        ring.push(applied);
        let marked = Digests { state: Some(Digest(3)), ..applied };
        assert!(!ring.complete(Digests { index: 4, ..marked }), "it is not remembered");
        assert!(!ring.complete(Digests { running: Digest(9), ..marked }), "the state is another's since");
        assert_eq!(ring.at(5), Some(applied));
        assert!(ring.complete(marked));
        assert_eq!(ring.compare(&marked), Comparison::Agree { states: true });
    }
}
