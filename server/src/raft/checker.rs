//! `Checker`: which of a leader's proposals carry what replicas compare themselves by.
//!
//! Some proposals tell the newest digests that the leader has, and some are marks, after which everybody makes the digest
//! of its state. Both ride on proposals that are made anyway, but for one: the digest after a mark is told even if
//! nothing else happens, or a difference would wait for the next write.

use crate::machine::Status;
use crate::proposal::Checks;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often digests are told while there are proposals.
const DIGESTS_EVERY: Duration = Duration::from_millis(100);

/// Whether somebody wants a mark. Clones share it.
#[derive(Clone, Default)]
pub(super) struct MarkWanted(Arc<AtomicBool>);

impl MarkWanted {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

pub(super) struct Checker {
    /// How often a proposal is a mark while there are some; `None` if only when somebody wants one.
    mark_every: Option<Duration>,
    wanted: MarkWanted,
    last_digests: Instant,
    last_mark: Instant,
    /// Up to which entry digests were told, and up to which mark those of the state.
    told: u64,
    told_mark: u64,
}

impl Checker {
    pub(super) fn new(mark_every: Option<Duration>, wanted: MarkWanted, now: Instant) -> Checker {
        Checker { mark_every, wanted, last_digests: now, last_mark: now, told: 0, told_mark: 0 }
    }

    /// This node leads from now on. What it told in an earlier term may not be in the log.
    pub(super) fn lead(&mut self, now: Instant) {
        *self = Checker::new(self.mark_every, self.wanted.clone(), now);
    }

    /// What the next proposal carries; the machine stands at `status`.
    pub(super) fn next(&mut self, now: Instant, status: &Status) -> Checks {
        let digests = if self.owes_mark(status) {
            Some(status.marked)
        } else if now.saturating_duration_since(self.last_digests) >= DIGESTS_EVERY && status.digests.index > self.told
        {
            Some(status.digests)
        } else {
            None
        };
        if let Some(digests) = digests {
            self.last_digests = now;
            self.told = self.told.max(digests.index);
            if digests.state.is_some() {
                self.told_mark = self.told_mark.max(digests.index);
            }
        }
        let is_time = self.mark_every.is_some_and(|every| now.saturating_duration_since(self.last_mark) >= every);
        let mark = self.wanted.take() || is_time;
        if mark {
            self.last_mark = now;
        }
        Checks { digests, mark }
    }

    /// Whether the digest after a mark is known and not told yet.
    pub(super) fn owes_mark(&self, status: &Status) -> bool {
        status.marked.state.is_some() && status.marked.index > self.told_mark.max(status.heard_mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Digest, Digests};

    const TEN_SECONDS: Duration = Duration::from_secs(10);

    fn at(index: u64) -> Digests {
        Digests { index, running: Digest(u128::from(index)), state: None }
    }

    fn marked(index: u64) -> Digests {
        Digests { state: Some(Digest(1)), ..at(index) }
    }

    #[test]
    fn digests_are_told_now_and_then_and_once() {
        let start = Instant::now();
        let mut checker = Checker::new(None, MarkWanted::default(), start);
        let status = Status { digests: at(7), ..Status::default() };
        assert_eq!(checker.next(start, &status), Checks::default());
        let later = start + DIGESTS_EVERY;
        assert_eq!(checker.next(later, &status), Checks { digests: Some(at(7)), mark: false });
        assert_eq!(checker.next(later + DIGESTS_EVERY, &status), Checks::default(), "nothing is new");
        let status = Status { digests: at(8), ..status };
        assert_eq!(checker.next(later + DIGESTS_EVERY, &status).digests, Some(at(8)));
        checker.lead(later + DIGESTS_EVERY);
        assert_eq!(checker.next(later + 2 * DIGESTS_EVERY, &status).digests, Some(at(8)), "in another term again");
    }

    #[test]
    fn marks_come_in_time_or_when_wanted() {
        let start = Instant::now();
        let (wanted, status) = (MarkWanted::default(), Status::default());
        let mut checker = Checker::new(Some(TEN_SECONDS), wanted.clone(), start);
        assert!(!checker.next(start, &status).mark);
        wanted.set();
        assert!(checker.next(start, &status).mark);
        assert!(!checker.next(start, &status).mark);
        assert!(checker.next(start + TEN_SECONDS, &status).mark);
        assert!(!checker.next(start + TEN_SECONDS, &status).mark);
        let mut checker = Checker::new(None, wanted, start);
        assert!(!checker.next(start + 100 * TEN_SECONDS, &status).mark);
    }

    #[test]
    fn the_digest_after_a_mark_is_owed_until_the_log_has_it() {
        let start = Instant::now();
        let mut checker = Checker::new(None, MarkWanted::default(), start);
        let status = Status { digests: at(9), marked: marked(7), ..Status::default() };
        assert!(checker.owes_mark(&status));
        assert_eq!(checker.next(start, &status).digests, Some(marked(7)));
        assert!(!checker.owes_mark(&status));
        checker.lead(start);
        assert!(checker.owes_mark(&status), "another leader may have taken its place in the log");
        assert!(!checker.owes_mark(&Status { heard_mark: 7, ..status.clone() }));
        assert!(checker.owes_mark(&Status { heard_mark: 7, marked: marked(8), ..status }));
    }
}
