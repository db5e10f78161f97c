//! Whether what clients saw of one key could have been a single register.
//!
//! Wing and Gong's search with Lowe's memory: operations are put in an order in which each could have happened between
//! its call and its return, and a state that was seen with the same operations done is not looked at again.

use crate::history::{Call, Operation, Outcome};
use std::collections::{BTreeSet, HashSet};

/// What an operation does to a register, or what it must have seen there.
#[derive(Clone, Debug)]
enum Step {
    Write(Option<String>),
    Read(Option<String>),
}

struct Node {
    step: Step,
    invoked: u64,
    /// Never, if nobody knows whether it was done.
    returned: u64,
}

/// How many states are looked at before the search gives up, which is no verdict.
const STATES_MAX: usize = 300_000;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Possible,
    Impossible,
    TooHard,
}

/// `operations` are those of one key; no two write the same value.
pub(crate) fn check(operations: &[Operation]) -> Answer {
    let read: HashSet<&str> = operations
        .iter()
        .filter_map(|operation| match &operation.outcome {
            Outcome::Value(Some(value)) => Some(value.as_str()),
            _ => None,
        })
        .collect();
    let mut nodes: Vec<Node> = operations.iter().filter_map(|operation| node(operation, &read)).collect();
    nodes.sort_by_key(|node| (node.invoked, node.returned));
    Search { nodes: &nodes, left: (0..nodes.len()).collect(), furthest: 0, seen: HashSet::new() }.run()
}

fn node(operation: &Operation, read: &HashSet<&str>) -> Option<Node> {
    let is_unknown = matches!(operation.outcome, Outcome::Unknown(_));
    let step = match (&operation.call, &operation.outcome) {
        // What nobody ever read may as well not have happened.
        (Call::Set { value, .. }, Outcome::Unknown(_)) if !read.contains(value.as_str()) => return None,
        (Call::Set { value, .. }, Outcome::Done | Outcome::Unknown(_)) => Step::Write(Some(value.clone())),
        (Call::Del { .. }, Outcome::Deleted(_) | Outcome::Unknown(_)) => Step::Write(None),
        (Call::Get { .. }, Outcome::Value(value)) => Step::Read(value.clone()),
        // A refused operation was not done; a read that was not answered saw nothing.
        _ => return None,
    };
    Some(Node { step, invoked: operation.invoked, returned: if is_unknown { u64::MAX } else { operation.returned } })
}

/// What is done is everything before the furthest operation but what is left.
type State = (usize, Vec<usize>, Option<String>);

struct Search<'a> {
    nodes: &'a [Node],
    left: BTreeSet<usize>,
    furthest: usize,
    seen: HashSet<State>,
}

/// One choice: which operation came next, and how it was before.
struct Choice {
    node: usize,
    register: Option<String>,
    furthest: usize,
    /// What else could have come next.
    others: Vec<usize>,
}

impl Search<'_> {
    fn run(mut self) -> Answer {
        let mut register: Option<String> = None;
        let mut choices: Vec<Choice> = Vec::new();
        let Some(mut candidates) = self.candidates() else { return Answer::Possible };
        loop {
            let next = loop {
                let Some(node) = candidates.pop() else { break None };
                let Some(after) = apply(&self.nodes[node].step, &register) else { continue };
                let furthest = self.furthest.max(node + 1);
                let left: Vec<usize> = self.left.range(..furthest).copied().filter(|left| *left != node).collect();
                if self.seen.insert((furthest, left, after.clone())) {
                    break Some((node, after, furthest));
                }
            };
            match next {
                Some((node, after, furthest)) => {
                    self.left.remove(&node);
                    let register = std::mem::replace(&mut register, after);
                    let furthest = std::mem::replace(&mut self.furthest, furthest);
                    choices.push(Choice { node, register, furthest, others: candidates });
                    match self.candidates() {
                        Some(next) => candidates = next,
                        None => return Answer::Possible,
                    }
                }
                None => {
                    let Some(choice) = choices.pop() else { return Answer::Impossible };
                    self.left.insert(choice.node);
                    (register, self.furthest, candidates) = (choice.register, choice.furthest, choice.others);
                }
            }
            if self.seen.len() > STATES_MAX {
                return Answer::TooHard;
            }
        }
    }

    /// What may come next, the likeliest last; `None` when all that returned is done.
    fn candidates(&self) -> Option<Vec<usize>> {
        let mut first_return = u64::MAX;
        let mut open = Vec::new();
        for node in &self.left {
            if self.nodes[*node].invoked > first_return {
                break;
            }
            first_return = first_return.min(self.nodes[*node].returned);
            open.push(*node);
        }
        open.retain(|node| self.nodes[*node].invoked <= first_return);
        // Those that nobody knows of come last.
        open.sort_by_key(|node| std::cmp::Reverse(self.nodes[*node].returned));
        (first_return != u64::MAX).then_some(open)
    }
}

/// What the register has after a step, if the step could have happened.
fn apply(step: &Step, register: &Option<String>) -> Option<Option<String>> {
    match step {
        Step::Write(value) => Some(value.clone()),
        Step::Read(value) => (value == register).then(|| register.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(value: &str, invoked: u64, returned: u64) -> Operation {
        let call = Call::Set { key: "k".into(), value: value.into() };
        Operation { client: 1, call, invoked, returned, outcome: Outcome::Done }
    }

    fn unknown(value: &str, invoked: u64) -> Operation {
        Operation { outcome: Outcome::Unknown("no reply".into()), ..set(value, invoked, invoked + 1) }
    }

    fn get(value: Option<&str>, invoked: u64, returned: u64) -> Operation {
        let call = Call::Get { key: "k".into() };
        Operation { client: 2, call, invoked, returned, outcome: Outcome::Value(value.map(str::to_owned)) }
    }

    #[test]
    fn accepts_what_a_register_may_do() {
        // Two writes at a time, seen in either order; one of unknown outcome that is done late.
        let history = [
            set("a", 0, 10),
            set("b", 1, 9),
            get(Some("b"), 11, 12),
            get(Some("b"), 13, 14),
            unknown("c", 15),
            get(Some("b"), 17, 18),
            get(Some("c"), 19, 20),
        ];
        assert_eq!(check(&history), Answer::Possible);
    }

    #[test]
    fn finds_a_stale_read() {
        assert_eq!(check(&[set("a", 0, 1), set("b", 2, 3), get(Some("a"), 4, 5)]), Answer::Impossible);
        assert_eq!(check(&[set("a", 0, 1), get(None, 2, 3)]), Answer::Impossible);
    }

    #[test]
    fn finds_a_write_that_comes_back() {
        let history = [unknown("a", 0), set("b", 2, 3), get(Some("a"), 4, 5), get(Some("b"), 6, 7)];
        assert_eq!(check(&history), Answer::Impossible);
    }
}
