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
    fn retain(&mut self, duration: Option<Span>) -> Result<Retention, Error> {
        match duration {
            None => Ok(Retention::Is(self.retain)),
            Some(retain) if retain.is_negative() => Err(Error::SYNTAX),
            Some(retain) => {
                self.retain = retain;
                Ok(Retention::Set)
            }
        }
    }

    /// Returns how much there is.
    fn stats(&self) -> Stats {
        Stats([
            ("num_measurements", self.measurements.len().to_string()),
            ("num_points", self.measurements.values().map(BTreeSet::len).sum::<usize>().to_string()),
            ("retain", self.retain.to_string()),
            ("total_dels", self.dropped.to_string()),
            ("total_sets", self.written.to_string()),
        ])
    }

    #[tick]
    fn drop_old(&mut self) -> bool {
        let keep_from = self.retain.before(Time::now());
        while let Some((_, measurement)) = pop_before(&mut self.oldest, keep_from) {
            let Some(points) = self.measurements.get_mut(&measurement) else { continue };
            while pop_before(points, keep_from).is_some() {
                self.dropped += 1;
            }
            if let Some((time, _)) = points.first() {
                self.oldest.insert((*time, measurement));
            } else {
                self.measurements.remove(&measurement);
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

/// Takes the first if it is of before this time.
fn pop_before(set: &mut BTreeSet<(Time, String)>, time: Time) -> Option<(Time, String)> {
    if set.first()?.0 < time { set.pop_first() } else { None }
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

/// The reply of `RETAIN`.
enum Retention {
    Is(Span),
    Set,
}

impl ToReply for Retention {
    fn write(&self, reply: &mut ReplyWriter) {
        match self {
            Retention::Is(span) => span.to_string().write(reply),
            Retention::Set => OK.write(reply),
        }
    }
}

/// The reply of `STATS`.
struct Stats([(&'static str, String); 5]);

impl ToReply for Stats {
    fn write(&self, reply: &mut ReplyWriter) {
        reply.map(self.0.len());
        for (name, value) in &self.0 {
            name.write(reply);
            value.write(reply);
        }
    }
}

#[cfg(test)]
mod tests;
