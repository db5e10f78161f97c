//! `Proposal`: what one normal log entry carries, a batch of commands with the leader's stamp.
//!
//! The bytes are the same in memory, on the wire and on disk. Numbers are little endian:
//!
//! ```text
//! u8 version (1) │ u8 flags (bit 0: seed) │ u64 stamp │ [u64 seed] │ u32 count │ count × command
//! command: u32 words │ words × { u32 length │ bytes }     the first word is the name
//! ```
//!
//! A proposal with a seed is a tick: before its commands, every replica reseeds its generator and calls the guest's
//! `tick`. A tick on its own has no commands.

use crate::command::Command;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use std::fmt;

const VERSION: u8 = 1;
const FLAG_SEED: u8 = 1;

/// One normal log entry's payload, encoded.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal(Bytes);

/// A proposal's fields in front of its commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The leader's clock when it proposed, in nanoseconds since the Unix epoch.
    pub stamp: u64,
    /// Present in a tick: what the generator starts from.
    pub seed: Option<u64>,
    /// How many commands follow.
    pub count: u32,
}

/// Why bytes are not a proposal.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("proposal of unknown version {0}")]
    UnknownVersion(u8),
    #[error("proposal with unknown flags {0:#04x}")]
    UnknownFlags(u8),
    #[error("proposal cut short")]
    CutShort,
    #[error("proposal with {0} bytes after its last command")]
    TrailingBytes(usize),
    #[error("proposal with a command without a name")]
    NoName,
}

impl Proposal {
    pub fn encode<'a>(stamp: u64, seed: Option<u64>, commands: impl Iterator<Item = &'a Command> + Clone) -> Proposal {
        let bytes = commands.clone().map(Command::bytes).sum::<usize>();
        let mut out = BytesMut::with_capacity(1 + 1 + 8 + 8 + 4 + bytes);
        out.put_u8(VERSION);
        out.put_u8(if seed.is_some() { FLAG_SEED } else { 0 });
        out.put_u64_le(stamp);
        if let Some(seed) = seed {
            out.put_u64_le(seed);
        }
        let count_at = out.len();
        out.put_u32_le(0);
        let mut count = 0_u32;
        for command in commands {
            count += 1;
            out.put_u32_le(command.words().len() as u32);
            for word in command.words() {
                out.put_u32_le(word.len() as u32);
                out.put_slice(word);
            }
        }
        out[count_at..count_at + 4].copy_from_slice(&count.to_le_bytes());
        Proposal(out.freeze())
    }

    /// Takes bytes from disk or from a peer as they are; `decode` checks them.
    pub fn from_bytes(bytes: Bytes) -> Proposal {
        Proposal(bytes)
    }

    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The header and the commands; the arguments are slices of the proposal.
    pub fn decode(&self) -> Result<(Header, Vec<Command>), Error> {
        let mut rest = self.0.clone();
        let version = rest.try_get_u8().map_err(|_| Error::CutShort)?;
        if version != VERSION {
            return Err(Error::UnknownVersion(version));
        }
        let flags = rest.try_get_u8().map_err(|_| Error::CutShort)?;
        if flags & !FLAG_SEED != 0 {
            return Err(Error::UnknownFlags(flags));
        }
        let stamp = rest.try_get_u64_le().map_err(|_| Error::CutShort)?;
        let seed = match flags & FLAG_SEED {
            0 => None,
            _ => Some(rest.try_get_u64_le().map_err(|_| Error::CutShort)?),
        };
        let count = rest.try_get_u32_le().map_err(|_| Error::CutShort)?;
        // A word takes at least its length field, so the counts cannot ask for more than the bytes at hand.
        let mut commands = Vec::with_capacity((count as usize).min(rest.len() / 8));
        for _ in 0..count {
            let words = rest.try_get_u32_le().map_err(|_| Error::CutShort)? as usize;
            let mut args = Vec::with_capacity(words.min(rest.len() / 4));
            for _ in 0..words {
                let length = rest.try_get_u32_le().map_err(|_| Error::CutShort)? as usize;
                if length > rest.len() {
                    return Err(Error::CutShort);
                }
                args.push(rest.split_to(length));
            }
            commands.push(Command::new(args).ok_or(Error::NoName)?);
        }
        match rest.len() {
            0 => Ok((Header { stamp, seed, count }, commands)),
            left => Err(Error::TrailingBytes(left)),
        }
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proposal({} bytes)", self.0.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> Command {
        Command::new(words.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect()).unwrap()
    }

    #[test]
    fn roundtrip_batch_and_tick() {
        let commands = [command(&["SET", "a", "1"]), command(&["TICKET"]), command(&["SET", "", ""])];
        let (header, decoded) = Proposal::encode(7, None, commands.iter()).decode().unwrap();
        assert_eq!(header, Header { stamp: 7, seed: None, count: 3 });
        assert_eq!(decoded, commands);
        let (header, decoded) = Proposal::encode(8, Some(9), [].iter()).decode().unwrap();
        assert_eq!(header, Header { stamp: 8, seed: Some(9), count: 0 });
        assert!(decoded.is_empty());
    }

    #[test]
    fn rejects_every_cut_and_every_tail() {
        let whole = Proposal::encode(7, Some(1), [command(&["SET", "a", "1"])].iter());
        for end in 0..whole.as_bytes().len() {
            let cut = Proposal::from_bytes(whole.as_bytes().slice(..end));
            assert_eq!(cut.decode().unwrap_err(), Error::CutShort, "cut at {end}");
        }
        let mut longer = whole.as_bytes().to_vec();
        longer.push(0);
        assert_eq!(Proposal::from_bytes(longer.into()).decode().unwrap_err(), Error::TrailingBytes(1));
    }

    #[test]
    fn rejects_unknown_version_flags_and_nameless_commands() {
        let mut bytes = Proposal::encode(7, None, [].iter()).as_bytes().to_vec();
        bytes[0] = 2;
        assert_eq!(Proposal::from_bytes(bytes.clone().into()).decode().unwrap_err(), Error::UnknownVersion(2));
        bytes[0] = 1;
        bytes[1] = 2;
        assert_eq!(Proposal::from_bytes(bytes.into()).decode().unwrap_err(), Error::UnknownFlags(2));
        let huge = [&[1, 0][..], &[0; 8], &[1, 0, 0, 0], &[0, 0, 0, 0]].concat();
        assert_eq!(Proposal::from_bytes(huge.into()).decode().unwrap_err(), Error::NoName);
    }

    #[test]
    fn a_count_larger_than_the_bytes_asks_for_no_memory() {
        let lie = [&[1, 0][..], &[0; 8], &[0xff; 4]].concat();
        assert_eq!(Proposal::from_bytes(lie.into()).decode().unwrap_err(), Error::CutShort);
    }
}
