//! Reads of nodes' own states, which are not among those that must be linearizable.

use crate::load::{StaleRead, Work};
use crate::run::MAX_STALENESS;
use uhaha_tests::linearizability::{Operation, Outcome};
use uhaha_tests::own_state::{Read, Writes};

pub(crate) fn check<M: Work>(operations: &[Operation<M>], reads: &[StaleRead<M>]) {
    // The key and the value that a read shows are the last words of both.
    let mut writes = Writes::default();
    for operation in operations {
        let [_, key, value] = M::words(&operation.input)[..] else { continue };
        match operation.outcome {
            Outcome::Returned { at, .. } => writes.add(key, value, operation.called, Some(at)),
            Outcome::Unknown => writes.add(key, value, operation.called, None),
            Outcome::Refused => {}
        }
    }
    let mut checked = writes.reads(Some(MAX_STALENESS.as_nanos() as u64));
    for StaleRead { connection, operation } in reads {
        let Outcome::Returned { output, at } = &operation.outcome else { continue };
        let [_, key] = M::words(&operation.input)[..] else { continue };
        let value = output.to_string();
        if value == "nil" {
            continue;
        }
        let (connection, called, returned) = (*connection, operation.called, *at);
        let read = Read { connection, key, value: &value, called, returned };
        checked.check(read).unwrap_or_else(|wrong| panic!("{operation}: {wrong}"));
    }
}
