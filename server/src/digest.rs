//! `Digest`: 128 bits by which replicas tell whether they have the same. How one is made is `machine::digest`'s.

use serde::{Deserialize, Serialize};
use std::fmt;

#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Digest(pub u128);

/// What a replica has after the entry at `index`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// A normal entry's; 0 before the first.
    pub index: u64,
    /// Of all proposals up to that entry and their replies.
    pub running: Digest,
    /// Of the state, where an entry asked for it.
    pub state: Option<Digest>,
}

/// Two replicas that have not the same after an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub ours: Digests,
    pub theirs: Digests,
}

impl Difference {
    pub fn index(&self) -> u64 {
        self.ours.index
    }

    /// Whether replies were different, and not only the states.
    pub fn is_of_replies(&self) -> bool {
        self.ours.running != self.theirs.running
    }

    /// The same, as the other replica sees it.
    pub fn reversed(self) -> Difference {
        Difference { ours: self.theirs, theirs: self.ours }
    }
}

impl fmt::Display for Digests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.running)?;
        self.state.map_or(Ok(()), |state| write!(f, ", state {state}"))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
