//! A client that is content with what its node has, and now and then is not. Whoever answers, one connection never sees
//! an older value than before.

use crate::client::{KEYS, STOP, ask, connect};
use crate::history::{Call, Operation, Outcome};
use crate::os::{self, HostId};
use crate::plan::Guest;
use crate::rng::Rng;
use crate::verdict::report;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use uhaha_tests::client::{Client as Connection, ok};
use uhaha_tests::own_state::{Read, Writes};

pub(crate) struct Reader {
    /// `HOST:PORT` of all nodes that there may be.
    pub(crate) nodes: Vec<String>,
    pub(crate) think_ns: u64,
    pub(crate) rng: Rng,
}

/// A value that a connection has read.
struct Seen {
    connection: u64,
    key: String,
    value: String,
    called: u64,
    returned: u64,
}

static READS: Mutex<Vec<Seen>> = Mutex::new(Vec::new());

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
        let called = os::now();
        let outcome = ask(Guest::Kvdb, to, &Call::Get { key: key.clone() });
        os::say(&format!("{mode} GET {key} -> {outcome:?}"));
        if let Outcome::Value(Some(value)) = &outcome {
            let read = Seen { connection, key, value: value.clone(), called, returned: os::now() };
            READS.lock().unwrap_or_else(PoisonError::into_inner).push(read);
        }
        matches!(outcome, Outcome::Value(_))
    }
}

/// What all readers have seen, against what was written.
pub(crate) fn judge(history: &[Operation]) {
    let mut writes = Writes::default();
    for operation in history {
        let Call::Set { key, value } = &operation.call else { continue };
        match operation.outcome {
            Outcome::Refused(_) => {}
            Outcome::Unknown(_) => writes.add(key, value, operation.invoked, None),
            _ => writes.add(key, value, operation.invoked, Some(operation.returned)),
        }
    }
    let reads = READS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut checked = writes.reads(None);
    for Seen { connection, key, value, called, returned } in reads.iter() {
        let read = Read { connection: *connection, key, value, called: *called, returned: *returned };
        if let Err(wrong) = checked.check(read) {
            report("reads of a node's own state", &wrong);
        }
    }
}
