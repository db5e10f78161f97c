//! Logs to stderr, and panics as log lines.

use std::str::FromStr;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

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

/// To be called once, before anything is logged.
pub fn init(level: Level, format: Format) -> Result<(), Error> {
    let filter = filter(level);
    let filter = EnvFilter::from_str(filter).map_err(|source| Error::Filter { filter, source })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        Format::Text => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            builder.with_ansi(ansi).with_target(level == Level::Trace).finish().try_init()
        }
        Format::Json => builder.json().flatten_event(true).finish().try_init(),
    }
    .map_err(Error::Twice)?;
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
