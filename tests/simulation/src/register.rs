//! Whether what clients saw of one key could have been a single register.
//!
//! Wing and Gong's search with Lowe's memory: operations are put in an order in which each could have happened between
//! its call and its return, and a state that was seen with the same operations done is not looked at again.

use crate::history::{Call, Operation, Outcome};
use std::collections::HashSet;

/// What an operation does to a register, and what it must have seen there.
#[derive(Clone, Debug)]
enum Step {
    Write(Option<String>),
    Read(Option<String>),
    /// It deleted something, or nothing.
    Delete(bool),
}

struct Node {
    step: Step,
    invoked: u64,
    /// Never, if nobody knows whether it was done.
    returned: u64,
}

/// How many states are looked at before the search gives up, which is no verdict.
const STATES_MAX: usize = 2_000_000;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Possible,
    Impossible,
    TooHard,
}

/// `operations` are those of one key.
pub(crate) fn check(operations: &[Operation]) -> Answer {
    let mut nodes: Vec<Node> = operations.iter().filter_map(node).collect();
    nodes.sort_by_key(|node| (node.invoked, node.returned));
    let mut done = vec![0u64; nodes.len().div_ceil(64)];
    let mut seen = HashSet::new();
    search(&nodes, &mut done, &mut seen)
}

fn node(operation: &Operation) -> Option<Node> {
    let is_unknown = matches!(operation.outcome, Outcome::Unknown(_));
    let step = match (&operation.call, &operation.outcome) {
        (Call::Set { value, .. }, Outcome::Done | Outcome::Unknown(_)) => Step::Write(Some(value.clone())),
        (Call::Del { .. }, Outcome::Deleted(some)) => Step::Delete(*some),
        (Call::Del { .. }, Outcome::Unknown(_)) => Step::Write(None),
        (Call::Get { .. }, Outcome::Value(value)) => Step::Read(value.clone()),
        // A refused operation was not done; a read that was not answered saw nothing.
        _ => return None,
    };
    Some(Node { step, invoked: operation.invoked, returned: if is_unknown { u64::MAX } else { operation.returned } })
}

/// One choice of the search: which operation came next, and what the register had before.
struct Choice {
    node: usize,
    before: Option<String>,
}

fn search(nodes: &[Node], done: &mut [u64], seen: &mut HashSet<(Vec<u64>, Option<String>)>) -> Answer {
    let is_done = |done: &[u64], node: usize| done[node / 64] & (1 << (node % 64)) != 0;
    let mut register: Option<String> = None;
    let mut choices: Vec<Choice> = Vec::new();
    let mut from = 0;
    loop {
        // All that returned must be done; what nobody knows of need not.
        let first_return = (0..nodes.len()).filter(|node| !is_done(done, *node)).map(|node| nodes[node].returned).min();
        let Some(first_return) = first_return.filter(|returned| *returned != u64::MAX) else {
            return Answer::Possible;
        };
        let mut candidates = (from..nodes.len()).take_while(|node| nodes[*node].invoked <= first_return);
        let next = candidates.find_map(|node| {
            if is_done(done, node) {
                return None;
            }
            let after = apply(&nodes[node].step, &register)?;
            done[node / 64] |= 1 << (node % 64);
            if seen.insert((done.to_vec(), after.clone())) {
                return Some((node, after));
            }
            done[node / 64] &= !(1 << (node % 64));
            None
        });
        match next {
            Some((node, after)) => {
                choices.push(Choice { node, before: std::mem::replace(&mut register, after) });
                from = 0;
            }
            None => {
                let Some(Choice { node, before }) = choices.pop() else { return Answer::Impossible };
                done[node / 64] &= !(1 << (node % 64));
                register = before;
                from = node + 1;
            }
        }
        if seen.len() > STATES_MAX {
            return Answer::TooHard;
        }
    }
}

/// What the register has after a step, if the step could have happened.
fn apply(step: &Step, register: &Option<String>) -> Option<Option<String>> {
    match step {
        Step::Write(value) => Some(value.clone()),
        Step::Read(value) => (value == register).then(|| register.clone()),
        Step::Delete(some) => (*some == register.is_some()).then_some(None),
    }
}
