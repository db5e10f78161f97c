//! Durations as Go writes them: `-5m`, `1h30m`, `1.5s`, `168h0m0s`.

use std::fmt;
use std::time::Duration;

use uhaha_guest::prelude::*;

/// A length of time in nanoseconds, forwards or backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Span(i64);

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl Span {
    pub(crate) const fn days(count: i64) -> Self {
        Span(count * 24 * 3_600_000_000_000)
    }

    pub(crate) fn is_negative(self) -> bool {
        self.0 < 0
    }

    pub(crate) fn after(self, time: Time) -> Time {
        let length = Duration::from_nanos(self.0.unsigned_abs());
        if self.is_negative() { time - length } else { time + length }
    }

    pub(crate) fn before(self, time: Time) -> Time {
        let length = Duration::from_nanos(self.0.unsigned_abs());
        if self.is_negative() { time + length } else { time - length }
    }

    fn parse(text: &str) -> Option<Self> {
        let (negative, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if rest == "0" {
            return Some(Span(0));
        }
        if rest.is_empty() {
            return None;
        }
        let mut sum = 0u64;
        while !rest.is_empty() {
            let number;
            (number, rest) = split(rest, |c| c.is_ascii_digit() || c == '.');
            let unit;
            (unit, rest) = split(rest, |c| !(c.is_ascii_digit() || c == '.'));
            let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
            sum = sum.checked_add(times(number, *unit)?)?;
        }
        let sum = i64::try_from(sum).ok()?;
        Some(Span(if negative { -sum } else { sum }))
    }
}

/// The longest start of the text whose characters are as asked, and the rest.
fn split(text: &str, is: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !is(c)).unwrap_or(text.len()))
}

/// A decimal number of units. What a fraction has beyond the nanosecond is dropped.
fn times(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut sum = whole.checked_mul(unit)?;
    let mut place = unit;
    for digit in fraction.bytes() {
        // Exact: units have no more digits after the point than they have zeros, but for m and h, whose sixties
        // divide by ten once or more too.
        place /= 10;
        sum = sum.checked_add(u64::from(digit - b'0') * place)?;
    }
    Some(sum)
}

impl FromArg<'_> for Span {
    fn from_arg(arg: &[u8]) -> Result<Self, Error> {
        std::str::from_utf8(arg).ok().and_then(Span::parse).ok_or(Error::SYNTAX)
    }
}

/// As Go does: `1h0m0s`, but the unit that fits below a second.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if self.is_negative() {
            f.write_str("-")?;
        }
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => write!(f, "{}µs", Decimal(nanos, 3)),
            1_000_000..1_000_000_000 => write!(f, "{}ms", Decimal(nanos, 6)),
            _ => {
                let minutes = nanos / 60_000_000_000;
                if minutes >= 60 {
                    write!(f, "{}h", minutes / 60)?;
                }
                if minutes > 0 {
                    write!(f, "{}m", minutes % 60)?;
                }
                write!(f, "{}s", Decimal(nanos % 60_000_000_000, 9))
            }
        }
    }
}

/// A number with this many decimals, without zeros at the end.
struct Decimal(u64, u32);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = 10u64.pow(self.1);
        write!(f, "{}", self.0 / scale)?;
        let fraction = format!("{:0width$}", self.0 % scale, width = self.1 as usize);
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() { Ok(()) } else { write!(f, ".{fraction}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_gos_durations() {
        for (text, nanos, shown) in [
            ("0", 0, "0s"),
            ("-5m", -300_000_000_000, "-5m0s"),
            ("+5m", 300_000_000_000, "5m0s"),
            ("168h", 604_800_000_000_000, "168h0m0s"),
            ("1h30m", 5_400_000_000_000, "1h30m0s"),
            ("1.5s", 1_500_000_000, "1.5s"),
            (".5s", 500_000_000, "500ms"),
            ("1.s", 1_000_000_000, "1s"),
            ("1.25h", 4_500_000_000_000, "1h15m0s"),
            ("0.1m", 6_000_000_000, "6s"),
            ("1500us", 1_500_000, "1.5ms"),
            ("1µs500ns", 1_500, "1.5µs"),
            ("7ns", 7, "7ns"),
        ] {
            assert_eq!(Span::parse(text), Some(Span(nanos)), "{text}");
            assert_eq!(Span(nanos).to_string(), shown);
        }
        for text in ["", "-", "5", "m", ".s", "1.2.3s", "1x", "5 m", "1h-5m", "99999999h", "99999999999999999999s"] {
            assert_eq!(Span::parse(text), None, "{text:?}");
        }
    }
}
