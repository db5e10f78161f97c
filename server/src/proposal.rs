//! `Proposal`: what one normal log entry carries, a batch of commands with the leader's stamp.
//!
//! The bytes are the same in memory, on the wire and on disk. Numbers are little endian:
//!
//! ```text
//! u8 version (1) │ u8 flags │ u64 stamp │ [u64 seed] │ [u32 count │ count × origin] │ [settings] │ [digests]
//!     │ u32 count │ count × command
//! flags:   bit 0: there is a seed, bit 1: there are origins, bit 2: there are settings, bit 3: there are digests,
//!          bit 4: it is a mark
//! origin:  u64 node │ u64 request │ u32 first │ u32 count
//! settings: u8 kind, 1 first or 2 changed │ u32 length │ bytes of `Settings`
//! digests: u64 index │ u128 running │ u8 0, or 1 and u128 state
//! command: u32 words, or with bit 31 if it is a read │ words × { u32 length │ bytes }     the first word is the name
//! ```
//!
//! A proposal with a seed is a tick: before its commands, every replica reseeds its generator and calls the guest's
//! `tick`. A tick on its own has no commands.
//!
//! A read is there because writes of the same client stand before and after it. It is run where it stands, on a view of
//! the state, by nodes that have somebody to tell its reply. The others pass it over, but for this: no call of the guest has
//! commands from both sides of it, or its memory would not be the same everywhere.
//!
//! Settings are in force from before the tick and the commands of the proposal on.
//!
//! An origin says which commands another node forwarded to the leader. When that node applies the proposal itself it has
//! their replies, even if the leader is gone before it could answer.
//!
//! Digests are those that the leader has after an earlier entry. Every replica compares them with its own. After a mark
//! every replica also makes the digest of its state.

use crate::command::Command;
use crate::digest::{Digest, Digests};
use crate::settings::{self, Change, Settings};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use std::fmt;

const VERSION: u8 = 1;
const FLAG_SEED: u8 = 1;
const FLAG_ORIGINS: u8 = 2;
const FLAG_SETTINGS: u8 = 4;
const SETTINGS_FIRST: u8 = 1;
const SETTINGS_CHANGED: u8 = 2;
const FLAG_DIGESTS: u8 = 8;
const FLAG_MARK: u8 = 16;
const ORIGIN_BYTES: usize = 8 + 8 + 4 + 4;
/// Of the number of words.
const READ: u32 = 1 << 31;
const DIGESTS_BYTES_MAX: usize = 8 + 16 + 1 + 16;

/// One normal log entry's payload, encoded.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal(Bytes);

/// A proposal's fields in front of its commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The leader's clock when it proposed, in nanoseconds since the Unix epoch.
    pub stamp: u64,
    /// Present in a tick: what the generator starts from.
    pub seed: Option<u64>,
    /// In the order of their commands; commands of the leader's own clients have none.
    pub origins: Vec<Origin>,
    pub settings: Option<Change>,
    pub checks: Checks,
    /// How many commands follow.
    pub count: u32,
}

/// What a proposal carries for the replicas to compare themselves by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// What the leader has after an earlier entry.
    pub digests: Option<Digests>,
    /// Whether every replica makes the digest of its state after this entry.
    pub mark: bool,
}

/// Commands of a proposal that a node forwarded together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The node that forwarded them.
    pub node_id: u64,
    /// The node's own number for them, which it uses once.
    pub request: u64,
    /// The position of the first of them.
    pub first: u32,
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
    #[error("proposal with digests that cannot be decoded")]
    Digests,
    #[error("proposal with an origin of more commands than there are")]
    Origin,
    #[error("proposal with settings of unknown kind {0}")]
    UnknownSettings(u8),
    #[error("proposal with settings that cannot be read")]
    Settings(#[from] settings::Error),
}

impl Proposal {
    pub fn encode<'a>(
        stamp: u64,
        seed: Option<u64>,
        origins: &[Origin],
        commands: impl Iterator<Item = &'a Command> + Clone,
    ) -> Proposal {
        Proposal::encode_with(stamp, seed, origins, None, Checks::default(), commands)
    }

    pub fn encode_with<'a>(
        stamp: u64,
        seed: Option<u64>,
        origins: &[Origin],
        settings: Option<&Change>,
        checks: Checks,
        commands: impl Iterator<Item = &'a Command> + Clone,
    ) -> Proposal {
        let bytes = commands.clone().map(Command::bytes).sum::<usize>();
        let header_bytes = 1 + 1 + 8 + 8 + 4 + ORIGIN_BYTES * origins.len() + DIGESTS_BYTES_MAX + 4;
        let mut out = BytesMut::with_capacity(header_bytes + bytes);
        let flags = [
            (seed.is_some(), FLAG_SEED),
            (!origins.is_empty(), FLAG_ORIGINS),
            (settings.is_some(), FLAG_SETTINGS),
            (checks.digests.is_some(), FLAG_DIGESTS),
            (checks.mark, FLAG_MARK),
        ];
        out.put_u8(VERSION);
        out.put_u8(flags.iter().filter(|(there, _)| *there).map(|(_, flag)| flag).sum());
        out.put_u64_le(stamp);
        if let Some(seed) = seed {
            out.put_u64_le(seed);
        }
        if !origins.is_empty() {
            out.put_u32_le(origins.len() as u32);
        }
        for origin in origins {
            out.put_u64_le(origin.node_id);
            out.put_u64_le(origin.request);
            out.put_u32_le(origin.first);
            out.put_u32_le(origin.count);
        }
        if let Some(change) = settings {
            let bytes = change.settings().encode();
            out.put_u8(if matches!(change, Change::First(_)) { SETTINGS_FIRST } else { SETTINGS_CHANGED });
            out.put_u32_le(bytes.len() as u32);
            out.put_slice(&bytes);
        }
        if let Some(digests) = checks.digests {
            put_digests(&mut out, &digests);
        }
        let count_at = out.len();
        out.put_u32_le(0);
        let mut count = 0_u32;
        for command in commands {
            count += 1;
            out.put_u32_le(command.words().len() as u32 | if command.is_read() { READ } else { 0 });
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

    /// Only the origins, without looking at the commands; none if the proposal is malformed.
    pub fn origins(&self) -> Vec<Origin> {
        match self.0.get(1) {
            Some(flags) if flags & FLAG_ORIGINS != 0 => self.header().map(|(header, _)| header.origins),
            _ => return Vec::new(),
        }
        .unwrap_or_default()
    }

    /// Only what replicas compare themselves by, without looking at the commands; nothing if the proposal is malformed.
    pub fn checks(&self) -> Checks {
        match self.0.get(1) {
            Some(flags) if flags & (FLAG_DIGESTS | FLAG_MARK) != 0 => self.header().map(|(header, _)| header.checks),
            _ => return Checks::default(),
        }
        .unwrap_or_default()
    }

    /// The header, and the commands that follow it.
    fn header(&self) -> Result<(Header, Bytes), Error> {
        let mut rest = self.0.clone();
        let version = rest.try_get_u8().map_err(|_| Error::CutShort)?;
        if version != VERSION {
            return Err(Error::UnknownVersion(version));
        }
        let flags = rest.try_get_u8().map_err(|_| Error::CutShort)?;
        if flags & !(FLAG_SEED | FLAG_ORIGINS | FLAG_SETTINGS | FLAG_DIGESTS | FLAG_MARK) != 0 {
            return Err(Error::UnknownFlags(flags));
        }
        let stamp = rest.try_get_u64_le().map_err(|_| Error::CutShort)?;
        let seed = match flags & FLAG_SEED {
            0 => None,
            _ => Some(rest.try_get_u64_le().map_err(|_| Error::CutShort)?),
        };
        let origins = match flags & FLAG_ORIGINS {
            0 => Vec::new(),
            _ => origins(&mut rest)?,
        };
        let settings = match flags & FLAG_SETTINGS {
            0 => None,
            _ => Some(settings_change(&mut rest)?),
        };
        let digests = match flags & FLAG_DIGESTS {
            0 => None,
            _ => Some(digests(&mut rest)?),
        };
        let checks = Checks { digests, mark: flags & FLAG_MARK != 0 };
        let count = rest.try_get_u32_le().map_err(|_| Error::CutShort)?;
        if origins.iter().any(|origin| u64::from(origin.first) + u64::from(origin.count) > u64::from(count)) {
            return Err(Error::Origin);
        }
        Ok((Header { stamp, seed, origins, settings, checks, count }, rest))
    }

    /// The header and the commands; the arguments are slices of the proposal.
    pub fn decode(&self) -> Result<(Header, Vec<Command>), Error> {
        let (header, mut rest) = self.header()?;
        // A word takes at least its length field, so the counts cannot ask for more than the bytes at hand.
        let mut commands = Vec::with_capacity((header.count as usize).min(rest.len() / 8));
        for _ in 0..header.count {
            let words = rest.try_get_u32_le().map_err(|_| Error::CutShort)?;
            let (is_read, words) = (words & READ != 0, (words & !READ) as usize);
            let mut args = Vec::with_capacity(words.min(rest.len() / 4));
            for _ in 0..words {
                let length = rest.try_get_u32_le().map_err(|_| Error::CutShort)? as usize;
                if length > rest.len() {
                    return Err(Error::CutShort);
                }
                args.push(rest.split_to(length));
            }
            let command = Command::new(args).ok_or(Error::NoName)?;
            commands.push(if is_read { command.read() } else { command });
        }
        match rest.len() {
            0 => Ok((header, commands)),
            left => Err(Error::TrailingBytes(left)),
        }
    }
}

fn origins(rest: &mut Bytes) -> Result<Vec<Origin>, Error> {
    let count = rest.try_get_u32_le().map_err(|_| Error::CutShort)? as usize;
    if rest.len() / ORIGIN_BYTES < count {
        return Err(Error::CutShort);
    }
    let origin = |_| Origin {
        node_id: rest.get_u64_le(),
        request: rest.get_u64_le(),
        first: rest.get_u32_le(),
        count: rest.get_u32_le(),
    };
    Ok((0..count).map(origin).collect())
}

fn put_digests(out: &mut BytesMut, digests: &Digests) {
    out.put_u64_le(digests.index);
    out.put_u128_le(digests.running.0);
    out.put_u8(u8::from(digests.state.is_some()));
    if let Some(state) = digests.state {
        out.put_u128_le(state.0);
    }
}

fn digests(rest: &mut Bytes) -> Result<Digests, Error> {
    let index = rest.try_get_u64_le().map_err(|_| Error::CutShort)?;
    let running = Digest(rest.try_get_u128_le().map_err(|_| Error::CutShort)?);
    let state = match rest.try_get_u8().map_err(|_| Error::CutShort)? {
        0 => None,
        1 => Some(Digest(rest.try_get_u128_le().map_err(|_| Error::CutShort)?)),
        _ => return Err(Error::Digests),
    };
    Ok(Digests { index, running, state })
}

fn settings_change(rest: &mut Bytes) -> Result<Change, Error> {
    let kind = rest.try_get_u8().map_err(|_| Error::CutShort)?;
    let length = rest.try_get_u32_le().map_err(|_| Error::CutShort)? as usize;
    if length > rest.len() {
        return Err(Error::CutShort);
    }
    let bytes = rest.split_to(length);
    match kind {
        SETTINGS_FIRST => Ok(Change::First(Settings::decode(&bytes)?)),
        SETTINGS_CHANGED => Ok(Change::To(Settings::decode(&bytes)?)),
        other => Err(Error::UnknownSettings(other)),
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

    fn settings() -> Settings {
        Settings { module: "m".to_owned(), engine: "e".to_owned(), limits: settings::Limits::DEFAULT }
    }

    #[test]
    fn roundtrip_batch_and_tick() {
        let commands = [command(&["SET", "a", "1"]), command(&["GET", "a"]).read(), command(&["SET", "", ""])];
        let (header, decoded) = Proposal::encode(7, None, &[], commands.iter()).decode().unwrap();
        assert_eq!(header, Header { stamp: 7, count: 3, ..Header::default() });
        assert_eq!(decoded, commands);
        let (header, decoded) = Proposal::encode(8, Some(9), &[], [].iter()).decode().unwrap();
        assert_eq!(header, Header { stamp: 8, seed: Some(9), ..Header::default() });
        assert!(decoded.is_empty());
    }

    #[test]
    fn rejects_every_cut_and_every_tail() {
        let origin = Origin { node_id: 3, request: 4, first: 0, count: 1 };
        let digests = Digests { index: 5, running: Digest(6), state: Some(Digest(7)) };
        let checks = Checks { digests: Some(digests), mark: true };
        let commands = [command(&["SET", "a", "1"])];
        let change = Change::To(settings());
        let whole = Proposal::encode_with(7, Some(1), &[origin], Some(&change), checks, commands.iter());
        let (header, decoded) = whole.decode().unwrap();
        let settings = Some(change);
        assert_eq!(header, Header { stamp: 7, seed: Some(1), origins: vec![origin], settings, checks, count: 1 });
        assert_eq!(decoded, commands);
        assert_eq!((whole.origins(), whole.checks()), (vec![origin], checks));
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
        let mut bytes = Proposal::encode(7, None, &[], [].iter()).as_bytes().to_vec();
        bytes[0] = 2;
        assert_eq!(Proposal::from_bytes(bytes.clone().into()).decode().unwrap_err(), Error::UnknownVersion(2));
        bytes[0] = 1;
        bytes[1] = 0x80;
        assert_eq!(Proposal::from_bytes(bytes.into()).decode().unwrap_err(), Error::UnknownFlags(0x80));
        let origin = Origin { node_id: 3, request: 4, first: 1, count: u32::MAX };
        let lie = Proposal::encode(7, None, &[origin], [command(&["PING"])].iter());
        assert_eq!(lie.decode().unwrap_err(), Error::Origin);
        let huge = [&[1, 0][..], &[0; 8], &[1, 0, 0, 0], &[0, 0, 0, 0]].concat();
        assert_eq!(Proposal::from_bytes(huge.into()).decode().unwrap_err(), Error::NoName);
    }

    #[test]
    fn checks_come_alone_and_together() {
        let running = Digests { index: 5, running: Digest(6), state: None };
        for digests in [None, Some(running), Some(Digests { state: Some(Digest(0)), ..running })] {
            for mark in [false, true] {
                let checks = Checks { digests, mark };
                let proposal = Proposal::encode_with(7, None, &[], None, checks, [].iter());
                assert_eq!(proposal.decode().unwrap().0.checks, checks);
                assert_eq!(proposal.checks(), checks);
            }
        }
        let checks = Checks { digests: Some(running), mark: false };
        let mut bytes = Proposal::encode_with(7, None, &[], None, checks, [].iter()).as_bytes().to_vec();
        bytes[1 + 1 + 8 + 8 + 16] = 2;
        let lie = Proposal::from_bytes(bytes.into());
        assert_eq!(lie.decode().unwrap_err(), Error::Digests);
        assert_eq!(lie.checks(), Checks::default());
    }

    #[test]
    fn rejects_settings_of_unknown_kind_and_version() {
        let whole = Proposal::encode_with(7, None, &[], Some(&Change::First(settings())), Checks::default(), [].iter());
        assert_eq!(whole.decode().unwrap().0.settings, Some(Change::First(settings())));
        let with = |at: usize, byte: u8| {
            let mut bytes = whole.as_bytes().to_vec();
            bytes[at] = byte;
            Proposal::from_bytes(bytes.into()).decode().unwrap_err()
        };
        assert_eq!(with(10, 3), Error::UnknownSettings(3));
        assert_eq!(with(15, 9), Error::Settings(settings::Error::UnknownVersion(9)));
    }

    #[test]
    fn a_count_larger_than_the_bytes_asks_for_no_memory() {
        let lie = [&[1, 0][..], &[0; 8], &[0xff; 4]].concat();
        assert_eq!(Proposal::from_bytes(lie.into()).decode().unwrap_err(), Error::CutShort);
    }
}
