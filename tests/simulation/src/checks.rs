//! What clients may never see.

use crate::history::{Call, Operation, Outcome};
use crate::plan::Guest;
use crate::verdict::report;
use std::collections::BTreeMap;
use uhaha_tests::linearizability::{self, Kvdb, KvdbInput, KvdbOutput, Verdict};

/// Judges a history whose last operations were asked of a cluster without faults.
pub(crate) fn judge(guest: Guest, history: &[Operation]) {
    match guest {
        Guest::Ticket | Guest::Rash => tickets(history),
        Guest::Kvdb => keys(history),
    }
}

/// Each ticket is given once; a ticket given later is greater; none is missing that somebody has.
fn tickets(history: &[Operation]) {
    let mut given: Vec<(&Operation, u64)> = Vec::new();
    let mut unknown = 0;
    for operation in history {
        match operation.outcome {
            Outcome::Ticket(ticket) => given.push((operation, ticket)),
            Outcome::Unknown(_) if operation.call == Call::Ticket => unknown += 1,
            _ => {}
        }
    }
    let mut owners: BTreeMap<u64, usize> = BTreeMap::new();
    for (operation, ticket) in &given {
        if let Some(other) = owners.insert(*ticket, operation.client) {
            report("unique tickets", &format!("ticket {ticket} was given to clients {other} and {}", operation.client));
        }
    }
    given.sort_by_key(|(operation, _)| operation.invoked);
    let mut returned: Vec<(u64, u64)> = given.iter().map(|(operation, ticket)| (operation.returned, *ticket)).collect();
    returned.sort_unstable();
    let mut returned = returned.into_iter().peekable();
    let mut greatest = 0;
    for (operation, ticket) in &given {
        while let Some((_, earlier)) = returned.next_if(|(at, _)| *at < operation.invoked) {
            greatest = greatest.max(earlier);
        }
        if *ticket <= greatest {
            report("order of tickets", &format!("ticket {ticket} was asked for after {greatest} had been given"));
        }
    }
    let last = owners.keys().next_back().copied().unwrap_or(0);
    if last > owners.len() as u64 + unknown {
        let text =
            format!("the last ticket is {last}, but only {} were given and {unknown} may have been", owners.len());
        report("tickets done twice", &text);
    }
}

/// The search of one run's history ends long before that.
const STEPS_MAX: u64 = 10_000_000;

/// What clients saw of each key is the history of one value that is written, read and deleted.
fn keys(history: &[Operation]) {
    let operations: Vec<_> = history.iter().filter_map(of_kvdb).collect();
    match linearizability::check::<Kvdb>(&operations, STEPS_MAX) {
        Verdict::Linearizable => {}
        Verdict::Violation(violation) => {
            report("linearizable keys", &format!("what clients saw of {} cannot be\n{violation}", violation.part));
        }
        Verdict::Undecided { part, steps } => {
            report("linearizable keys", &format!("{part} is not decided after {steps} steps"));
        }
    }
}

fn of_kvdb(operation: &Operation) -> Option<linearizability::Operation<Kvdb>> {
    let input = match &operation.call {
        Call::Set { key, value } => KvdbInput::Set(key.clone(), value.clone()),
        Call::Get { key } => KvdbInput::Get(key.clone()),
        Call::Del { key } => KvdbInput::Del(key.clone()),
        Call::Ticket | Call::Trap => return None,
    };
    let output = match &operation.outcome {
        Outcome::Done => Some(KvdbOutput::Ok),
        Outcome::Value(value) => Some(KvdbOutput::Value(value.clone())),
        Outcome::Deleted(deleted) => Some(KvdbOutput::Deleted(i64::from(*deleted))),
        Outcome::Ticket(_) | Outcome::Trapped | Outcome::Refused(_) | Outcome::Unknown(_) => None,
    };
    let outcome = match (output, &operation.outcome) {
        (Some(output), _) => linearizability::Outcome::Returned { output, at: operation.returned },
        (None, Outcome::Unknown(_)) => linearizability::Outcome::Unknown,
        (None, _) => linearizability::Outcome::Refused,
    };
    Some(linearizability::Operation { client: operation.client, input, called: operation.invoked, outcome })
}
