//! What reads of a node's own state promise: a value that was written, no older than `--max-staleness`, and on one
//! connection never an older one than before.
//!
//! Values are unique, so each tells which write it is of. Nothing is concluded from a write whose place in the order is
//! open: one is behind another only if it had returned before the other was called.

use crate::load::{StaleRead, Work};
use crate::run::MAX_STALENESS;
use std::collections::BTreeMap;
use uhaha_tests::linearizability::{Operation, Outcome};

/// When a write was called, and when it was done at the latest, if that is known.
#[derive(Clone, Copy)]
struct Write {
    called: u64,
    returned: Option<u64>,
}

impl Write {
    fn is_before(self, other: Write) -> bool {
        self.returned.is_some_and(|returned| returned < other.called)
    }
}

pub(crate) fn check<M: Work>(operations: &[Operation<M>], reads: &[StaleRead<M>]) {
    // By the key and the value that a read shows, which are the last words of both.
    let mut writes: BTreeMap<(String, String), Write> = BTreeMap::new();
    let mut of_key: BTreeMap<String, Vec<Write>> = BTreeMap::new();
    for operation in operations {
        let [_, key, value] = M::words(&operation.input)[..] else { continue };
        let returned = match operation.outcome {
            Outcome::Returned { at, .. } => Some(at),
            Outcome::Unknown => None,
            Outcome::Refused => continue,
        };
        let write = Write { called: operation.called, returned };
        writes.insert((key.to_owned(), value.to_owned()), write);
        of_key.entry(key.to_owned()).or_default().push(write);
    }
    let mut last: BTreeMap<(u64, String), Write> = BTreeMap::new();
    for StaleRead { connection, operation } in reads {
        let Outcome::Returned { output, at } = &operation.outcome else { continue };
        let [_, key] = M::words(&operation.input)[..] else { continue };
        let value = output.to_string();
        if value == "nil" {
            continue;
        }
        let write = writes.get(&(key.to_owned(), value.clone())).copied();
        let write = write.unwrap_or_else(|| panic!("{operation}: nobody wrote that, or it was refused"));
        assert!(write.called < *at, "{operation}: read before it was written");
        let too_old = |newer: &&Write| {
            let done = newer.returned.map(|returned| returned + MAX_STALENESS.as_nanos() as u64);
            write.is_before(**newer) && done.is_some_and(|done| done < operation.called)
        };
        assert!(!of_key[key].iter().any(|newer| too_old(&newer)), "{operation}: older than --max-staleness allows");
        if let Some(before) = last.insert((*connection, key.to_owned()), write) {
            assert!(!write.is_before(before), "{operation}: the connection has read a newer value before");
        }
    }
}
