//! How long, how much, how many.

use std::path::PathBuf;
use std::time::Duration;

pub(crate) const USAGE: &str = "\
Usage: cargo xtask soak [options]

Runs a cluster of nodes under steady load, and judges whether anything grows.

  --hours H     how long [default: 2]
  --minutes M   the same in minutes; both add up
  --nodes N     how many nodes [default: 3]
  --rate R      commands a second of all clients together [default: 2000]
  --every S     seconds between events: snapshots, transfers, restarts [default: a fortieth of the time]
  --out DIR     where the report goes [default: target/soak]
  --help        this";

const SAMPLES: u32 = 360;
const SAMPLED_MIN: Duration = Duration::from_secs(1);
const EVENTS: u32 = 40;

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) length: Duration,
    pub(crate) nodes: usize,
    pub(crate) rate: u32,
    pub(crate) every: Duration,
    pub(crate) sampled: Duration,
    pub(crate) out: PathBuf,
}

impl Options {
    /// `None` if help was asked for.
    pub(crate) fn parse(args: &[String]) -> Result<Option<Options>, String> {
        let (mut seconds, mut nodes, mut rate, mut every) = (None, 3, 2000, None);
        let mut out = uhaha_tests::root().join("target/soak");
        let mut args = args.iter();
        while let Some(name) = args.next() {
            if matches!(name.as_str(), "-h" | "--help") {
                return Ok(None);
            }
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            let number = || {
                let number = value.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
                number.ok_or_else(|| format!("{name} needs a number above 0"))
            };
            match name.as_str() {
                "--hours" => seconds = Some(seconds.unwrap_or(0.0) + number()? * 3600.0),
                "--minutes" => seconds = Some(seconds.unwrap_or(0.0) + number()? * 60.0),
                "--nodes" => nodes = (number()? as usize).clamp(1, 9),
                "--rate" => rate = (number()? as u32).clamp(1, 1_000_000),
                "--every" => every = Some(Duration::from_secs_f64(number()?)),
                "--out" => out = PathBuf::from(value),
                _ => return Err(format!("no such option: {name}")),
            }
        }
        let length = Duration::from_secs_f64(seconds.unwrap_or(2.0 * 3600.0).min(1e7));
        let every = every.unwrap_or(length / EVENTS);
        Ok(Some(Options { length, nodes, rate, every, sampled: (length / SAMPLES).max(SAMPLED_MIN), out }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_and_minutes_add_up() {
        let parse = |line: &str| Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(parse("--hours 1 --minutes 30").unwrap().unwrap().length, Duration::from_secs(5400));
        assert_eq!(parse("").unwrap().unwrap().length, Duration::from_secs(7200));
        assert_eq!(parse("--minutes 3").unwrap().unwrap().sampled, SAMPLED_MIN);
        assert!(parse("--help").unwrap().is_none());
        for wrong in ["--hours", "--hours x", "--hours 0", "--hours inf", "--days 1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
