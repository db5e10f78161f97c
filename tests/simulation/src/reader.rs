//! A client that is content with what its node has, and now and then is not. Whoever answers, one connection never sees
//! an older value than before.

use crate::client::{KEYS, STOP, ask, connect};
use crate::history::{Call, Operation, Outcome};
use crate::os::{self, HostId};
use crate::plan::Guest;
use crate::rng::Rng;
use crate::verdict::report;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use uhaha_tests::client::{Client as Connection, ok};

pub(crate) struct Reader {
    /// `HOST:PORT` of all nodes that there may be.
    pub(crate) nodes: Vec<String>,
    pub(crate) think_ns: u64,
    pub(crate) rng: Rng,
}

/// A value that a connection has read.
struct Read {
    connection: u64,
    key: String,
    value: String,
    returned: u64,
}

static READS: Mutex<Vec<Read>> = Mutex::new(Vec::new());

impl Reader {
    pub(crate) fn start(self, host: HostId) {
        os::spawn_on(host, "reader", move || self.run());
    }

    fn run(mut self) {
        let mut number = 0;
        while !STOP.load(Ordering::Relaxed) {
            let wait = self.rng.between(1_000_000, self.think_ns);
            os::sleep(wait);
            let address = self.rng.pick::<String>(&self.nodes).clone();
            let Some(mut connection) = connect(&address, &mut self.rng) else { continue };
            number += 1;
            while !STOP.load(Ordering::Relaxed) && !self.rng.one_in(50) && self.read(number, &mut connection) {
                let wait = self.rng.between(1_000_000, self.think_ns);
                os::sleep(wait);
            }
        }
    }

    /// Whether there was an answer.
    fn read(&mut self, connection: u64, to: &mut Connection) -> bool {
        let mode = if self.rng.one_in(3) { "READWRITE" } else { "READONLY" };
        if to.try_call(&[mode]) != Some(ok()) {
            return false;
        }
        let key = format!("k{}", self.rng.below(KEYS));
        let outcome = ask(Guest::Kvdb, to, &Call::Get { key: key.clone() });
        os::say(&format!("{mode} GET {key} -> {outcome:?}"));
        if let Outcome::Value(Some(value)) = &outcome {
            let read = Read { connection, key, value: value.clone(), returned: os::now() };
            READS.lock().unwrap_or_else(PoisonError::into_inner).push(read);
        }
        matches!(outcome, Outcome::Value(_))
    }
}

/// When a value was written: from when to when at most, if that is known.
#[derive(Clone, Copy)]
struct Write {
    invoked: u64,
    returned: Option<u64>,
}

/// Values are unique, so each tells which write it is of. One write is behind another only if it had returned before the
/// other was invoked.
pub(crate) fn judge(history: &[Operation]) {
    let mut writes: BTreeMap<(&str, &str), Write> = BTreeMap::new();
    for operation in history {
        let Call::Set { key, value } = &operation.call else { continue };
        let returned = match operation.outcome {
            Outcome::Refused(_) => continue,
            Outcome::Unknown(_) => None,
            _ => Some(operation.returned),
        };
        writes.insert((key, value), Write { invoked: operation.invoked, returned });
    }
    let reads = READS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut last: BTreeMap<(u64, &str), (&str, Write)> = BTreeMap::new();
    for Read { connection, key, value, returned } in reads.iter() {
        let Some(write) = writes.get(&(key, value)).filter(|write| write.invoked < *returned) else {
            report("reads of a node's own state", &format!("nobody had written {value} to {key}"));
            continue;
        };
        let before = last.insert((*connection, key), (value, *write));
        if let Some((newer, before)) = before
            && write.returned.is_some_and(|returned| returned < before.invoked)
        {
            let text = format!("a connection read {value} of {key}, after the newer {newer}");
            report("reads of a node's own state", &text);
        }
    }
}
