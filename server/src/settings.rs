//! `Settings`: what all replicas must have in common for one log to give one state.
//!
//! The module says what a command does, the engine what an instruction does and costs, the limits where a command is
//! stopped. All three decide replies, so they are part of the replicated state: a proposal sets them, and from there on
//! every replica applies with them, whatever it was started with.
//!
//! Numbers are little endian:
//!
//! ```text
//! settings: u8 version (1) │ text module │ text engine │ 8 × u64 limit, in the order of `Limits::named`
//! text:     u8 length │ bytes
//! ```

use bytes::{Buf, BufMut};
use std::fmt;

const VERSION: u8 = 1;
const TEXT_BYTES_MAX: usize = u8::MAX as usize;
/// What `--guest-replies` may be at most: replies of one entry have their ends in 32 bits and travel in one frame.
pub const REPLIES_BYTES_CEILING: u64 = 1 << 30;

/// Lines that a guest may log in a second, if nothing else is said. It decides no reply, so each node has its own limit.
pub const LOG_LINES_PER_SECOND: u32 = 1000;

/// What one instance of the guest may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Fuel of one command or one read.
    pub fuel_max: u64,
    pub tick_fuel_max: u64,
    /// Fuel of instantiation and `describe` together.
    pub start_fuel_max: u64,
    /// Each linear memory's size.
    pub memory_bytes_max: u64,
    pub table_elements_max: u64,
    /// Core instances, tables and memories of the component, of each.
    pub instances_max: u64,
    /// One reply, as RESP3.
    pub reply_bytes_max: u64,
    /// All replies of one log entry, or of reads that run together.
    pub replies_bytes_max: u64,
}

impl Limits {
    pub const DEFAULT: Limits = Limits {
        fuel_max: 10_000_000_000,
        tick_fuel_max: 10_000_000_000,
        start_fuel_max: 10_000_000_000,
        memory_bytes_max: 4 << 30,
        table_elements_max: 1 << 20,
        // The largest toolchains need a dozen.
        instances_max: 64,
        reply_bytes_max: 64 << 20,
        replies_bytes_max: 512 << 20,
    };

    /// Each with the name of its flag.
    pub fn named(&self) -> [(&'static str, u64); 8] {
        [
            ("guest-fuel", self.fuel_max),
            ("guest-tick-fuel", self.tick_fuel_max),
            ("guest-start-fuel", self.start_fuel_max),
            ("guest-memory", self.memory_bytes_max),
            ("guest-table", self.table_elements_max),
            ("guest-instances", self.instances_max),
            ("guest-reply", self.reply_bytes_max),
            ("guest-replies", self.replies_bytes_max),
        ]
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::DEFAULT
    }
}

/// Module, engine and limits of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// SHA-256 of the module, in hexadecimal.
    pub module: String,
    /// The fingerprint of the engine: see `guest::engine`.
    pub engine: String,
    pub limits: Limits,
}

/// What a proposal says about the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// They are in force from here on if none are: a new leader may not have applied those of the leader before it.
    First(Settings),
    /// They are in force from here on.
    To(Settings),
}

/// Why bytes are not settings.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("settings of unknown version {0}")]
    UnknownVersion(u8),
    #[error("settings cut short")]
    CutShort,
    #[error("settings with {0} bytes after their end")]
    TrailingBytes(usize),
    #[error("settings with a text that is not UTF-8")]
    NotText,
    #[error("settings that allow {0} bytes of replies, more than this server can handle")]
    Replies(u64),
}

impl Settings {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        for text in [&self.module, &self.engine] {
            debug_assert!(text.len() <= TEXT_BYTES_MAX, "a hash and a fingerprint are shorter");
            let bytes = &text.as_bytes()[..text.len().min(TEXT_BYTES_MAX)];
            out.put_u8(bytes.len() as u8);
            out.put_slice(bytes);
        }
        self.limits.named().iter().for_each(|(_, limit)| out.put_u64_le(*limit));
        out
    }

    pub fn decode(mut bytes: &[u8]) -> Result<Settings, Error> {
        let version = bytes.try_get_u8().map_err(|_| Error::CutShort)?;
        if version != VERSION {
            return Err(Error::UnknownVersion(version));
        }
        let (module, engine) = (take_text(&mut bytes)?, take_text(&mut bytes)?);
        let mut limit = || bytes.try_get_u64_le().map_err(|_| Error::CutShort);
        let limits = Limits {
            fuel_max: limit()?,
            tick_fuel_max: limit()?,
            start_fuel_max: limit()?,
            memory_bytes_max: limit()?,
            table_elements_max: limit()?,
            instances_max: limit()?,
            reply_bytes_max: limit()?,
            replies_bytes_max: limit()?,
        };
        if limits.replies_bytes_max > REPLIES_BYTES_CEILING {
            return Err(Error::Replies(limits.replies_bytes_max));
        }
        match bytes.len() {
            0 => Ok(Settings { module, engine, limits }),
            left => Err(Error::TrailingBytes(left)),
        }
    }

    /// All of it, by name.
    fn named(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        let limits = self.limits.named().into_iter().map(|(name, limit)| (name, limit.to_string()));
        [("module", self.module.clone()), ("engine", self.engine.clone())].into_iter().chain(limits)
    }

    /// What differs from `others`, as `name=value` with blanks between; empty if nothing does.
    pub fn difference(&self, others: &Settings) -> String {
        let differing = self.named().zip(others.named()).filter(|(own, other)| own != other);
        let shown: Vec<String> = differing.map(|((name, value), _)| format!("{name}={value}")).collect();
        shown.join(" ")
    }
}

impl Change {
    pub fn settings(&self) -> &Settings {
        match self {
            Change::First(settings) | Change::To(settings) => settings,
        }
    }
}

fn take_text(bytes: &mut &[u8]) -> Result<String, Error> {
    let length = bytes.try_get_u8().map_err(|_| Error::CutShort)?;
    let (text, rest) = bytes.split_at_checked(usize::from(length)).ok_or(Error::CutShort)?;
    *bytes = rest;
    std::str::from_utf8(text).map(str::to_owned).map_err(|_| Error::NotText)
}

/// All of it, as `name=value` with blanks between.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<String> = self.named().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&shown.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let limits = Limits { fuel_max: 1, replies_bytes_max: REPLIES_BYTES_CEILING, ..Limits::DEFAULT };
        Settings { module: "ab".repeat(32), engine: "wasmtime 1.2.3".to_owned(), limits }
    }

    #[test]
    fn roundtrip_and_every_cut_and_tail_is_an_error() {
        let bytes = settings().encode();
        assert_eq!(Settings::decode(&bytes), Ok(settings()));
        for end in 0..bytes.len() {
            assert_eq!(Settings::decode(&bytes[..end]), Err(Error::CutShort), "cut at {end}");
        }
        assert_eq!(Settings::decode(&[&bytes[..], &[0]].concat()), Err(Error::TrailingBytes(1)));
    }

    #[test]
    fn each_limit_has_its_own_place() {
        let mut bytes = settings().encode();
        let first = bytes.len() - 8 * 8;
        for place in 0..8_u8 {
            bytes[first + 8 * usize::from(place)..][..8].copy_from_slice(&(u64::from(place) + 1).to_le_bytes());
        }
        let limits = Settings::decode(&bytes).unwrap().limits;
        assert_eq!(limits.named().map(|(_, limit)| limit), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!((limits.fuel_max, limits.memory_bytes_max, limits.replies_bytes_max), (1, 4, 8));
    }

    #[test]
    fn refuses_unknown_versions_and_what_it_could_not_obey() {
        let mut bytes = settings().encode();
        bytes[0] = 2;
        assert_eq!(Settings::decode(&bytes), Err(Error::UnknownVersion(2)));
        bytes[0] = 1;
        bytes[2] = 0xff;
        assert_eq!(Settings::decode(&bytes), Err(Error::NotText));
        let mut vast = settings();
        vast.limits.replies_bytes_max = u64::MAX;
        assert_eq!(Settings::decode(&vast.encode()), Err(Error::Replies(u64::MAX)));
    }

    #[test]
    fn a_difference_names_what_differs_alone() {
        let (one, mut other) = (settings(), settings());
        assert_eq!(one.difference(&other), "");
        other.limits.fuel_max = 7;
        other.engine = "wasmtime 2".to_owned();
        assert_eq!(other.difference(&one), "engine=wasmtime 2 guest-fuel=7");
        assert!(one.to_string().ends_with(" guest-reply=67108864 guest-replies=1073741824"), "{one}");
    }
}
