//! `Standing`: how far this replica's state can be trusted, and the moves between.
//!
//! ```text
//! Sound ──differs──> Doubted ──majority agrees with it──> Sound
//!                       ├──no majority either way──> Undecided ──agrees again──> Sound
//!                       └──majority against it──> Quarantined ──another's state──> Sound
//! ```
//!
//! The machine only finds differences and keeps to what is decided; `raft` asks the others and decides.

use super::digest::Comparison;
use crate::digest::{Difference, Digests};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    #[default]
    Sound,
    /// Another replica has something else. Until it is known who is right, nothing is applied and nothing read.
    Doubted(Difference),
    /// Nobody could say who is right. Entries are applied, and clients get nothing of it.
    Undecided(Difference),
    /// A majority has something else. Nothing is applied, and clients get nothing of it.
    Quarantined(Difference),
}

impl Standing {
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Sound => "sound",
            Standing::Doubted(_) => "doubted",
            Standing::Undecided(_) => "undecided",
            Standing::Quarantined(_) => "quarantined",
        }
    }

    pub fn is_quarantined(self) -> bool {
        matches!(self, Standing::Quarantined(_))
    }

    /// Whether clients may get what is read here, if only in a moment.
    pub fn serves(self) -> bool {
        matches!(self, Standing::Sound | Standing::Doubted(_))
    }
}

/// What the others have said about a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A majority has what this replica has.
    Sound,
    /// A majority has something else.
    Odd,
    Undecided,
}

/// What comparing this replica with others has found since the start.
#[derive(Default)]
pub(super) struct Audit {
    pub(super) standing: Standing,
    /// After the last mark.
    pub(super) marked: Digests,
    /// The last entry whose digests in the log were this replica's own.
    pub(super) verified: u64,
    /// The last mark whose digests the log has.
    pub(super) heard_mark: u64,
    /// What a leader has told of a state whose digest this replica has not made yet.
    pub(super) early: Option<Digests>,
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

    /// What a leader has told of the state after the entry at `index` before this replica had its digest.
    pub(super) fn take_early(&mut self, index: u64) -> Option<Digests> {
        self.early.take_if(|early| early.index == index)
    }

    /// A leader has told `theirs`. What is applied again after a start was told before it, and the others may have
    /// forgotten, so a difference is then no reason to wait for them.
    pub(super) fn note(&mut self, theirs: &Digests, compared: Comparison, replaying: bool) {
        if theirs.state.is_some() {
            self.heard_mark = self.heard_mark.max(theirs.index);
        }
        match compared {
            Comparison::Agree { states } => {
                self.verified = self.verified.max(theirs.index);
                // Equal replies now have equal replies before them; but they say nothing of a state that differed.
                if let Standing::Undecided(difference) = self.standing
                    && (difference.is_of_replies() || states)
                {
                    tracing::info!(index = theirs.index, "this replica has what the leader has again");
                    self.standing = Standing::Sound;
                }
            }
            Comparison::Forgotten => self.incomparable += 1,
            Comparison::Differ(ours) => self.doubt(Difference { ours, theirs: *theirs }, replaying),
        }
    }

    /// Another replica has something else.
    pub(super) fn doubt(&mut self, difference: Difference, replaying: bool) {
        self.differences += 1;
        let Difference { ours, theirs } = difference;
        let index = difference.index();
        self.standing = match self.standing {
            Standing::Sound => {
                tracing::error!(index, %ours, %theirs, "this replica differs from another");
                if replaying { Standing::Undecided(difference) } else { Standing::Doubted(difference) }
            }
            Standing::Undecided(_) => Standing::Undecided(difference),
            standing => standing,
        };
    }

    /// Does what was decided. A verdict that comes too late says nothing.
    pub(super) fn judge(&mut self, verdict: Verdict) {
        self.standing = match (self.standing, verdict) {
            (Standing::Doubted(_) | Standing::Undecided(_), Verdict::Sound) => Standing::Sound,
            (Standing::Doubted(difference) | Standing::Undecided(difference), Verdict::Odd) => {
                Standing::Quarantined(difference)
            }
            (Standing::Doubted(difference), Verdict::Undecided) => Standing::Undecided(difference),
            (standing, _) => standing,
        };
    }

    /// The state is another's.
    pub(super) fn begin(&mut self, digests: Digests) {
        (self.standing, self.marked, self.early) = (Standing::Sound, Digests::default(), None);
        self.applied(digests);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    const OURS: Digests = Digests { index: 9, running: Digest(1), state: Some(Digest(2)) };
    const OF_REPLIES: Difference = Difference { ours: OURS, theirs: Digests { running: Digest(5), ..OURS } };
    const OF_STATES: Difference = Difference { ours: OURS, theirs: Digests { state: Some(Digest(5)), ..OURS } };

    fn standing(standing: Standing) -> Audit {
        Audit { standing, ..Audit::default() }
    }

    #[test]
    fn a_difference_stops_a_sound_replica_until_it_is_judged() {
        for (verdict, expected) in [
            (Verdict::Sound, Standing::Sound),
            (Verdict::Odd, Standing::Quarantined(OF_REPLIES)),
            (Verdict::Undecided, Standing::Undecided(OF_REPLIES)),
        ] {
            let mut audit = Audit::default();
            audit.note(&OF_REPLIES.theirs, Comparison::Differ(OURS), false);
            assert_eq!(audit.standing, Standing::Doubted(OF_REPLIES));
            audit.judge(verdict);
            assert_eq!(audit.standing, expected);
        }
        let mut replaying = Audit::default();
        replaying.note(&OF_REPLIES.theirs, Comparison::Differ(OURS), true);
        assert_eq!(replaying.standing, Standing::Undecided(OF_REPLIES));
    }

    #[test]
    fn only_what_differed_can_agree_again() {
        let theirs = Digests { index: 20, running: Digest(7), state: None };
        for (difference, states, expected) in [
            (OF_REPLIES, false, Standing::Sound),
            (OF_REPLIES, true, Standing::Sound),
            (OF_STATES, false, Standing::Undecided(OF_STATES)),
            (OF_STATES, true, Standing::Sound),
        ] {
            let mut audit = standing(Standing::Undecided(difference));
            audit.note(&theirs, Comparison::Agree { states }, false);
            assert_eq!(audit.standing, expected);
            assert_eq!(audit.verified, 20);
        }
    }

    #[test]
    fn nothing_but_another_state_ends_a_quarantine() {
        let mut audit = standing(Standing::Quarantined(OF_STATES));
        audit.note(&OURS, Comparison::Agree { states: true }, false);
        audit.doubt(OF_REPLIES, false);
        [Verdict::Sound, Verdict::Undecided, Verdict::Odd].into_iter().for_each(|verdict| audit.judge(verdict));
        assert_eq!(audit.standing, Standing::Quarantined(OF_STATES));
        audit.begin(OURS);
        assert_eq!((audit.standing, audit.marked), (Standing::Sound, OURS));
    }
}
