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
