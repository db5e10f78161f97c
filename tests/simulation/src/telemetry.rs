//! Log lines of all nodes, into the trace.

use crate::os::{self, HostId};
use crate::verdict;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use tracing_subscriber::EnvFilter;

/// What a line of a node's log says, and must never say.
const FORBIDDEN: [(&str, &str); 2] =
    [("this replica differs from another", "digests"), ("this node's state is wrong", "digests")];

/// What a node's log says when it finds that it was removed.
const REMOVED: &str = "the cluster does not know this node";

/// Those who have said so.
static UNKNOWN: Mutex<BTreeSet<HostId>> = Mutex::new(BTreeSet::new());

/// Whether the node of a host has found that it was removed.
pub(crate) fn was_removed(host: HostId) -> bool {
    UNKNOWN.lock().unwrap_or_else(PoisonError::into_inner).contains(&host)
}

struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if os::is_simulated() {
            let text = String::from_utf8_lossy(bytes);
            let text = text.trim_end();
            os::say(text);
            if text.contains(REMOVED) {
                UNKNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert(os::here());
            }
            for (line, check) in FORBIDDEN {
                if text.contains(line) {
                    verdict::report(check, text);
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn init() {
    let filter = EnvFilter::new("warn,openraft=error,uhaha_server=info,guest=info");
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Lines);
    builder.with_ansi(false).without_time().with_target(false).init();
    std::panic::set_hook(Box::new(|info| {
        let text = format!("{info}");
        match os::is_simulated() {
            true => verdict::report("panic", &text),
            false => eprintln!("{text}"),
        }
    }));
}
