//! Is a recorded history linearizable: can each operation be given one moment between its call and its return, so that a
//! sequential model, run through these moments in order, gives exactly the replies that clients saw?
//!
//! An operation without a known outcome may have its moment at any time after its call, or never. One that certainly did
//! nothing has none.
//!
//! `check` searches as Wing and Gong do, with the memory of Lowe, each part of the state on its own (Horn and Kroening,
//! P-compositionality); `search` says what keeps it fast when many outcomes are unknown. It may give up, and says so: a
//! history is `Linearizable` only when the moments were found.

mod models;
mod search;
#[cfg(test)]
mod tests;
mod timeline;

pub use self::models::{Counter, Kvdb, KvdbInput, KvdbOutput, Register, RegisterInput, RegisterOutput};

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::hash::Hash;

/// What a correct system does, one operation after the other.
pub trait Model {
    type Input: Clone + Debug + Display + Eq + Hash;
    type Output: Clone + Debug + Display + PartialEq;
    type State: Clone + Debug + Eq + Hash;
    /// Operations on different parts do not see each other.
    type Part: Clone + Debug + Ord;

    fn part(input: &Self::Input) -> Self::Part;
    /// Whether it leaves every state as it is.
    fn is_read(input: &Self::Input) -> bool;
    /// Whether the output cannot come from this state or any after it, for models in which that is easy to tell: a
    /// search that has gone wrong then ends at once.
    fn is_past(_state: &Self::State, _input: &Self::Input, _output: &Self::Output) -> bool {
        false
    }

    fn initial() -> Self::State;
    fn step(state: &Self::State, input: &Self::Input) -> (Self::State, Self::Output);
}

/// What a client asked for and what came of it. Times are nanoseconds of a clock that all clients share.
#[derive(Debug)]
pub struct Operation<M: Model> {
    pub client: usize,
    pub input: M::Input,
    pub called: u64,
    pub outcome: Outcome<M::Output>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<O> {
    Returned {
        output: O,
        at: u64,
    },
    /// It took effect at some time after its call, or will, or never does.
    Unknown,
    /// Certainly nothing was done.
    Refused,
}

impl<M: Model> Clone for Operation<M> {
    fn clone(&self) -> Operation<M> {
        let Operation { client, input, called, outcome } = self;
        Operation { client: *client, input: input.clone(), called: *called, outcome: outcome.clone() }
    }
}

impl<M: Model> Display for Operation<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.outcome {
            Outcome::Returned { output, .. } => write!(f, "{} → {output}", self.input),
            Outcome::Unknown => write!(f, "{} → ?", self.input),
            Outcome::Refused => write!(f, "{} → refused", self.input),
        }
    }
}

#[derive(Debug)]
pub enum Verdict<M: Model> {
    Linearizable,
    Violation(Box<Violation<M>>),
    /// The search was given up after so many steps, with nothing found.
    Undecided {
        part: String,
        steps: u64,
    },
}

/// How far the best try came. `Display` draws the operations around the end of it.
#[derive(Debug)]
pub struct Violation<M: Model> {
    pub part: String,
    /// All of the part, in the order of their calls.
    pub operations: Vec<Operation<M>>,
    /// Which of them were given a moment, in that order.
    pub order: Vec<usize>,
    /// The state after those.
    pub state: M::State,
    /// The operation that returned next and cannot have its moment in time.
    pub stuck: usize,
}

/// Looks for the moments, in `steps_max` steps for all parts together.
pub fn check<M: Model>(operations: &[Operation<M>], steps_max: u64) -> Verdict<M> {
    let mut parts: BTreeMap<M::Part, Vec<Operation<M>>> = BTreeMap::new();
    for operation in operations {
        if operation.outcome != Outcome::Refused {
            parts.entry(M::part(&operation.input)).or_default().push(operation.clone());
        }
    }
    let (mut steps_left, mut undecided) = (steps_max, None);
    for (part, mut operations) in parts {
        operations.sort_by_key(|operation| operation.called);
        let part = format!("{part:?}");
        match search::search::<M>(&operations, &mut steps_left) {
            search::Found::Order => {}
            search::Found::Nothing { order, state, stuck } => {
                return Verdict::Violation(Box::new(Violation { part, operations, order, state, stuck }));
            }
            search::Found::GaveUp => {
                undecided.get_or_insert(part);
                // Another part may still show a violation.
                steps_left = steps_max / 10;
            }
        }
    }
    match undecided {
        Some(part) => Verdict::Undecided { part, steps: steps_max },
        None => Verdict::Linearizable,
    }
}
