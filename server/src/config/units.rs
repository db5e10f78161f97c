//! Sizes, durations and counts as people write them: `64MiB`, `200ms`, `1_000_000`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Largest first, and of two that fit alike the binary one.
const UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("expected a size such as 512, 64KiB or 1.5GiB")]
    Size,
    #[error("expected a duration such as 200ms, 5s or 1h 30m")]
    Duration,
    #[error("expected a whole number")]
    Count,
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// For limits on what is in memory, which no machine can have more of.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<ByteSize, Error> {
        let text = text.trim();
        let digits = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '_')).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number = number.replace('_', "");
        let unit = match unit.trim() {
            "" => 1,
            unit => UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or(Error::Size)?.1,
        };
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(unit).map(ByteSize).ok_or(Error::Size);
        }
        let bytes = number.parse::<f64>().map_err(|_| Error::Size)? * unit as f64;
        // Half a byte is a mistake, and above 2^53 a fraction means nothing.
        if bytes.fract() != 0.0 || bytes >= 9e15 { Err(Error::Size) } else { Ok(ByteSize(bytes as u64)) }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |(_, unit): &&(&str, u64)| self.0 > 0 && self.0.is_multiple_of(*unit);
        match UNITS.iter().find(exact) {
            Some((name, unit)) if *unit > 1 => write!(f, "{}{name}", self.0 / unit),
            _ => write!(f, "{}", self.0),
        }
    }
}

/// A span of time; 0 often means none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval(pub Duration);

impl Interval {
    pub const fn from_millis(millis: u64) -> Interval {
        Interval(Duration::from_millis(millis))
    }

    /// `None` for 0.
    pub fn unless_zero(self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}

impl FromStr for Interval {
    type Err = Error;

    fn from_str(text: &str) -> Result<Interval, Error> {
        if text.trim() == "0" {
            return Ok(Interval(Duration::ZERO));
        }
        humantime::parse_duration(text).map(Interval).map_err(|_| Error::Duration)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() { f.write_str("0") } else { humantime::format_duration(self.0).fmt(f) }
    }
}

/// A number of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(pub u64);

impl Count {
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Count {
    type Err = Error;

    fn from_str(text: &str) -> Result<Count, Error> {
        if !text.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(Error::Count);
        }
        text.replace('_', "").parse().map(Count).map_err(|_| Error::Count)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("64KiB", 65_536),
            ("64kib", 65_536),
            ("1.5 GiB", 3 << 29),
            ("10MB", 10_000_000),
            ("1_000B", 1_000),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "x", "64M", "64 k", "-1", "1.5", "1.2.3KiB", "99999999999TiB", "18446744073709551616", "KiB"] {
            assert_eq!(text.parse::<ByteSize>(), Err(Error::Size), "{text}");
        }
        for text in ["0", "1", "1KiB", "64MiB", "3MB", "1TiB"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn intervals() {
        assert_eq!("200ms".parse(), Ok(Interval::from_millis(200)));
        assert_eq!("1h 30m".parse(), Ok(Interval(Duration::from_secs(5400))));
        assert_eq!("0".parse::<Interval>().unwrap().unless_zero(), None);
        for text in ["", "5", "-1s", "x"] {
            assert_eq!(text.parse::<Interval>(), Err(Error::Duration), "{text}");
        }
        assert_eq!(Interval::from_millis(1500).to_string(), "1s 500ms");
    }

    #[test]
    fn counts() {
        assert_eq!("1_000_000".parse(), Ok(Count(1_000_000)));
        for text in ["", "-1", "+1", "_1", "1.5", "1k"] {
            assert_eq!(text.parse::<Count>(), Err(Error::Count), "{text}");
        }
    }
}
