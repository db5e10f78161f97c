//! `Replies`: what applying one proposal gave, one RESP3 value a command.

use crate::resp3;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;

/// All replies of one proposal in one buffer. Each is one complete RESP3 value, checked by `guest`.
///
/// Serializable only because openraft asks it of every response type.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replies {
    bytes: Bytes,
    /// Where each reply ends.
    ends: Vec<u32>,
}

impl Replies {
    /// `ends` rises and its last is the length of `bytes`.
    pub fn new(bytes: Bytes, ends: Vec<u32>) -> Replies {
        debug_assert_eq!(ends.last().copied().unwrap_or(0) as usize, bytes.len());
        Replies { bytes, ends }
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All replies together.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// In the order of the commands.
    pub fn iter(&self) -> impl Iterator<Item = resp3::Value> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let value = self.bytes.slice(start..*end as usize);
            start = *end as usize;
            resp3::Value::from_checked(value)
        })
    }
}

impl fmt::Debug for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Replies({}, {} bytes)", self.ends.len(), self.bytes.len())
    }
}

impl fmt::Display for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
