//! A time series database with retention.

mod span;

use std::collections::{BTreeMap, BTreeSet};

use uhaha_guest::prelude::*;

use crate::span::Span;

#[derive(Serialize, Deserialize)]
struct Database {
    measurements: BTreeMap<String, Points>,
    /// Every measurement at the time of its oldest point: a tick looks only at those with something to drop.
    oldest: BTreeSet<(Time, String)>,
    retain: Span,
    written: u64,
    dropped: u64,
}

/// The points of a measurement: time and fields.
type Points = BTreeSet<(Time, String)>;

#[uhaha_guest::machine(init = Database::empty)]
impl Database {
    /// Writes a point: its time (nanoseconds, `now` or a duration from now) and its fields (`name=value,...`).
    fn write(&mut self, measurement: &str, time: Moment, fields: &str) -> Result<(), Error> {
        check_word(measurement)?;
        check_word(fields)?;
        let point = (time.resolve(), fields.to_owned());
        let points = self.measurements.entry(measurement.to_owned()).or_default();
        let before = points.first().map(|(time, _)| *time);
        if before.is_none_or(|before| point.0 < before) {
            if let Some(before) = before {
                self.oldest.remove(&(before, measurement.to_owned()));
            }
            self.oldest.insert((point.0, measurement.to_owned()));
        }
        self.written += u64::from(points.insert(point));
        Ok(())
    }

    /// Returns the points from start to end, oldest first, at most so many or `all`.
    fn query(&self, measurement: &str, start: Moment, end: Moment, limit: Limit) -> Result<Vec<String>, Error> {
        check_word(measurement)?;
        let (start, end) = (start.resolve(), end.resolve());
        let Some(points) = self.measurements.get(measurement) else { return Ok(Vec::new()) };
        let points = points.range((start, String::new())..).take_while(|(time, _)| *time <= end).take(limit.0);
        Ok(points.map(|(time, fields)| format!("{measurement} {} {fields}", time.as_nanos())).collect())
    }

    /// Returns for how long points are kept, or sets it.
    fn retain(&mut self, duration: Option<Span>) -> Result<Reply, Error> {
        match duration {
            None => Ok(self.retain.to_string().into()),
            Some(retain) if retain.is_negative() => Err(Error::SYNTAX),
            Some(retain) => {
                self.retain = retain;
                Ok(Reply::ok())
            }
        }
    }

    /// Returns how much there is.
    fn stats(&self) -> BTreeMap<&str, String> {
        let points: usize = self.measurements.values().map(BTreeSet::len).sum();
        BTreeMap::from([
            ("num_measurements", self.measurements.len().to_string()),
            ("num_points", points.to_string()),
            ("retain", self.retain.to_string()),
            ("total_dels", self.dropped.to_string()),
            ("total_sets", self.written.to_string()),
        ])
    }

    #[tick]
    fn drop_old(&mut self) -> bool {
        let keep_from = self.retain.before(Time::now());
        while self.oldest.first().is_some_and(|(time, _)| *time < keep_from) {
            let Some((_, measurement)) = self.oldest.pop_first() else { break };
            let Some(points) = self.measurements.get_mut(&measurement) else { continue };
            let kept = points.split_off(&(keep_from, String::new()));
            self.dropped += points.len() as u64;
            *points = kept;
            match points.first() {
                Some((time, _)) => {
                    self.oldest.insert((*time, measurement));
                }
                None => {
                    self.measurements.remove(&measurement);
                }
            }
        }
        !self.oldest.is_empty()
    }
}

impl Database {
    fn empty() -> Self {
        Database {
            measurements: BTreeMap::new(),
            oldest: BTreeSet::new(),
            retain: Span::days(7),
            written: 0,
            dropped: 0,
        }
    }
}

/// A reply of a query is words with spaces between, so a word has none.
fn check_word(word: &str) -> Result<(), Error> {
    if word.is_empty() || word.bytes().any(|byte| byte <= b' ') { Err(Error::SYNTAX) } else { Ok(()) }
}

/// A time as clients say it.
enum Moment {
    At(Time),
    FromNow(Option<Span>),
}

impl Moment {
    fn resolve(self) -> Time {
        match self {
            Moment::At(time) => time,
            Moment::FromNow(None) => Time::now(),
            Moment::FromNow(Some(span)) => span.after(Time::now()),
        }
    }
}

impl FromArg<'_> for Moment {
    fn from_arg(arg: &[u8]) -> Result<Self, Error> {
        if arg.eq_ignore_ascii_case(b"now") {
            return Ok(Moment::FromNow(None));
        }
        match u64::from_arg(arg) {
            Ok(nanos) => Ok(Moment::At(Time::from_nanos(nanos))),
            Err(_) => Ok(Moment::FromNow(Some(Span::from_arg(arg)?))),
        }
    }
}

struct Limit(usize);

impl FromArg<'_> for Limit {
    fn from_arg(arg: &[u8]) -> Result<Self, Error> {
        if arg.eq_ignore_ascii_case(b"all") {
            return Ok(Limit(usize::MAX));
        }
        // A guest cannot hold more points than its usize counts.
        Ok(Limit(usize::try_from(u64::from_arg(arg)?).unwrap_or(usize::MAX)))
    }
}

#[cfg(test)]
mod tests;
