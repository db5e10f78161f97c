//! Logs to stderr, and panics as log lines.

use std::str::FromStr;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

/// From what on events are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Level {
    /// Every frame.
    Trace,
    /// Every command.
    #[value(alias = "verb")]
    Debug,
    #[default]
    Info,
    Warn,
    Error,
    /// Nothing.
    Silent,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Text,
    /// One object a line.
    Json,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot understand the filter {filter:?}")]
    Filter { filter: &'static str, source: tracing_subscriber::filter::ParseError },
    #[error("logging is set up already")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// The target of what guests log, and of nothing else.
const GUEST: &str = "guest";

/// To be called once, before anything is logged.
pub fn init(level: Level, format: Format) -> Result<(), Error> {
    let filter = filter(level);
    let filter = EnvFilter::from_str(filter).map_err(|source| Error::Filter { filter, source })?;
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        Format::Text => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            let text = || fmt::layer().with_writer(std::io::stderr).with_ansi(ansi);
            // Which part of the server says something matters little; that it is not the guest matters.
            let own = text().with_target(level == Level::Trace).with_filter(filter_fn(|line| line.target() != GUEST));
            own.and_then(text().with_filter(filter_fn(|line| line.target() == GUEST))).boxed()
        }
        Format::Json => fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).try_init().map_err(Error::Twice)?;
    // Who asked for silence still wants to know why the process died.
    if level != Level::Silent {
        std::panic::set_hook(Box::new(log_panic));
    }
    Ok(())
}

/// Libraries are heard when something is wrong, and in full only when everything is asked for. openraft warns of each
/// heartbeat that a dead node does not answer; that the node is dead is said once, where its connections are.
fn filter(level: Level) -> &'static str {
    match level {
        Level::Trace => "debug,uhaha_server=trace,guest=trace",
        Level::Debug => "warn,openraft=error,uhaha_server=debug,guest=debug",
        Level::Info => "warn,openraft=error,uhaha_server=info,guest=info",
        Level::Warn => "warn,openraft=error",
        Level::Error => "error",
        Level::Silent => "off",
    }
}

fn log_panic(info: &std::panic::PanicHookInfo<'_>) {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let message = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    let at = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let backtrace = std::backtrace::Backtrace::capture();
    match backtrace.status() {
        std::backtrace::BacktraceStatus::Captured => {
            tracing::error!(at, thread = thread.name(), message, %backtrace, "panic");
        }
        _ => tracing::error!(at, thread = thread.name(), message, "panic"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_level_has_a_filter_that_parses() {
        for level in Level::value_variants() {
            assert!(EnvFilter::from_str(filter(*level)).is_ok(), "{level:?}");
        }
        assert_eq!(Level::from_str("verb", true), Ok(Level::Debug));
    }
}
