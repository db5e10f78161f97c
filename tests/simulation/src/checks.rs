//! What clients may never see.

use crate::history::{Call, Operation, Outcome};
use crate::plan::Guest;
use crate::register::{self, Answer};
use crate::verdict::report;
use std::collections::BTreeMap;

/// Judges a history whose last operations were asked of a cluster without faults.
pub(crate) fn judge(guest: Guest, history: &[Operation]) {
    match guest {
        Guest::Ticket | Guest::Rash => tickets(history),
        Guest::Kvdb => registers(history),
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

fn registers(history: &[Operation]) {
    let mut keys: BTreeMap<&str, Vec<Operation>> = BTreeMap::new();
    for operation in history {
        match &operation.call {
            Call::Set { key, .. } | Call::Get { key } | Call::Del { key } => {
                keys.entry(key).or_default().push(operation.clone());
            }
            Call::Ticket | Call::Trap => {}
        }
    }
    for (key, operations) in keys {
        match register::check(&operations) {
            Answer::Possible => {}
            Answer::Impossible => {
                report("linearizable registers", &format!("what clients saw of {key} is no register's history"));
            }
            Answer::TooHard => crate::os::say(&format!("the history of {key} was too hard to check")),
        }
    }
}
