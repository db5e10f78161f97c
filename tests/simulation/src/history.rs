//! What clients asked and were told, with simulated times.

use crate::os;
use std::sync::{Mutex, PoisonError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Ticket,
    Set {
        key: String,
        value: String,
    },
    Get {
        key: String,
    },
    Del {
        key: String,
    },
    /// A command that fails in the middle of its work.
    Trap,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ticket(u64),
    Done,
    Value(Option<String>),
    Deleted(bool),
    Trapped,
    /// The server says that nothing was done.
    Refused(String),
    /// Nobody knows whether it was done, or will be yet.
    Unknown(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) client: usize,
    pub(crate) call: Call,
    pub(crate) invoked: u64,
    pub(crate) returned: u64,
    pub(crate) outcome: Outcome,
}

static HISTORY: Mutex<Vec<Operation>> = Mutex::new(Vec::new());

/// Has a client ask something. While it waits, and at the end if it waits still, nobody knows what becomes of it.
pub(crate) fn record(client: usize, call: Call, ask: impl FnOnce(&Call) -> Outcome) -> Outcome {
    let unknown = Outcome::Unknown("under way".to_owned());
    let number = {
        let mut history = HISTORY.lock().unwrap_or_else(PoisonError::into_inner);
        history.push(Operation {
            client,
            call: call.clone(),
            invoked: os::now(),
            returned: u64::MAX,
            outcome: unknown,
        });
        history.len() - 1
    };
    let outcome = ask(&call);
    os::say(&format!("{call:?} -> {outcome:?}"));
    let operation = &mut HISTORY.lock().unwrap_or_else(PoisonError::into_inner)[number];
    (operation.returned, operation.outcome) = (os::now(), outcome.clone());
    outcome
}

/// Whether a client was answered, so that a quorum has the log.
pub(crate) fn has_begun() -> bool {
    let is_answered = |operation: &Operation| !matches!(operation.outcome, Outcome::Refused(_) | Outcome::Unknown(_));
    HISTORY.lock().unwrap_or_else(PoisonError::into_inner).iter().any(is_answered)
}

pub(crate) fn all() -> Vec<Operation> {
    HISTORY.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
