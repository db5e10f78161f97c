//! `Replies`: what applying one proposal gave, one RESP3 value a command.

use crate::command::Command;
use crate::resp3;
use crate::undelivered::Held;
use bytes::{Buf, BufMut, Bytes};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// All replies of one proposal in one buffer. Each is one complete RESP3 value, checked by `guest`.
///
/// Serializable only because openraft asks it of every response type.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Replies {
    bytes: Bytes,
    /// Where each reply ends.
    ends: Vec<u32>,
    /// The log entry that gave them; for those of reads the last one that the state had.
    index: u64,
    /// Of the buffer that `bytes` may be only a part of.
    #[serde(skip)]
    shared_bytes: usize,
    /// What that buffer is counted as until somebody takes its replies.
    #[serde(skip)]
    held: Option<Arc<Held>>,
}

/// What became of commands that were asked together.
#[derive(Debug, Default)]
pub struct Answered {
    /// To the first of the commands; to one at least, if there were any.
    pub replies: Replies,
    /// The others. They were not run: the replies would have been too much to keep.
    pub rest: Vec<Command>,
}

impl Answered {
    /// Nothing is left to be asked again.
    pub fn whole(replies: Replies) -> Answered {
        Answered { replies, rest: Vec::new() }
    }
}

impl Replies {
    /// `ends` rises and its last is the length of `bytes`.
    pub fn new(bytes: Bytes, ends: Vec<u32>) -> Replies {
        debug_assert_eq!(ends.last().copied().unwrap_or(0) as usize, bytes.len());
        let shared_bytes = bytes.len();
        Replies { bytes, ends, index: 0, shared_bytes, held: None }
    }

    /// The same, given by that log entry or by the state after it.
    pub fn at(self, index: u64) -> Replies {
        Replies { index, ..self }
    }

    /// The same, counted until `taken` or the end of all its parts.
    pub fn held(self, held: Held) -> Replies {
        Replies { held: Some(Arc::new(held)), ..self }
    }

    /// The log entry that gave them; for those of reads the last one that the state had.
    pub fn index(&self) -> u64 {
        self.index
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
    pub fn iter(&self) -> impl Iterator<Item = resp3::Value<'_>> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let value = &self.bytes[start..*end as usize];
            start = *end as usize;
            resp3::Value::from_checked(value)
        })
    }

    /// Some replies that follow each other, in the same buffer.
    pub fn part(&self, range: Range<usize>) -> Replies {
        let start = range.start.checked_sub(1).map_or(0, |before| self.ends[before]);
        let ends: Vec<u32> = self.ends[range].iter().map(|end| end - start).collect();
        let end = start + ends.last().copied().unwrap_or(0);
        let bytes = self.bytes.slice(start as usize..end as usize);
        Replies { bytes, ends, index: self.index, shared_bytes: self.shared_bytes, held: self.held.clone() }
    }

    /// The same for who may keep it long: in a buffer of its own, unless most of the shared one is its own anyway.
    pub fn alone(mut self) -> Replies {
        if self.shared_bytes / 2 > self.bytes.len() {
            self.bytes = Bytes::copy_from_slice(&self.bytes);
            self.shared_bytes = self.bytes.len();
        }
        self
    }

    /// The memory that they keep.
    pub fn memory_bytes(&self) -> usize {
        self.shared_bytes
    }

    /// To be called by who counts them from now on.
    pub fn taken(&mut self) {
        self.held = None;
    }
}

/// On the wire between nodes: `u64 index │ u32 count │ count × u32 end │ bytes`, little endian.
impl Replies {
    pub fn put(&self, out: &mut impl BufMut) {
        out.put_u64_le(self.index);
        out.put_u32_le(self.ends.len() as u32);
        self.ends.iter().for_each(|end| out.put_u32_le(*end));
        out.put_slice(&self.bytes);
    }

    /// All of `bytes` as replies, if that is what they are.
    pub fn take(mut bytes: Bytes) -> Option<Replies> {
        let index = bytes.try_get_u64_le().ok()?;
        let count = bytes.try_get_u32_le().ok()? as usize;
        if bytes.len() / size_of::<u32>() < count {
            return None;
        }
        let ends: Vec<u32> = (0..count).map(|_| bytes.get_u32_le()).collect();
        let mut start = 0;
        for end in &ends {
            let value = bytes.get(start..*end as usize)?;
            resp3::check(value).ok()?;
            start = *end as usize;
        }
        let shared_bytes = bytes.len();
        (start == bytes.len()).then_some(Replies { bytes, ends, index, shared_bytes, held: None })
    }
}

impl PartialEq for Replies {
    fn eq(&self, other: &Replies) -> bool {
        (&self.bytes, &self.ends, self.index) == (&other.bytes, &other.ends, other.index)
    }
}

impl Eq for Replies {}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_alone_keeps_no_others_in_memory() {
        let whole = Replies::new(Bytes::from_static(b":1\r\n:22\r\n_\r\n"), vec![4, 9, 12]);
        let (small, large) = (whole.part(0..1), whole.part(0..2));
        let within = |part: &Replies| whole.bytes.as_ptr_range().contains(&part.bytes.as_ptr());
        assert!(within(&small) && within(&large.alone()), "most of it is its own");
        let alone = small.clone().alone();
        assert!(!within(&alone));
        assert_eq!(alone, small);
    }

    #[test]
    fn parts_hold_what_the_whole_holds() {
        let whole = Replies::new(Bytes::from_static(b":1\r\n:22\r\n_\r\n"), vec![4, 9, 12]);
        for start in 0..=3 {
            for end in start..=3 {
                let part = whole.part(start..end);
                assert_eq!(part.len(), end - start);
                assert!(part.iter().eq(whole.iter().skip(start).take(end - start)), "{start}..{end}");
                assert_eq!(part.bytes(), part.iter().map(|value| value.as_bytes().len()).sum::<usize>());
            }
        }
    }
}
