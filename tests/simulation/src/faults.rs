//! The kinds of faults, and how often each was made.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

static COUNTS: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

pub(crate) fn count(kind: &'static str) {
    count_many(kind, 1);
}

pub(crate) fn count_many(kind: &'static str, many: u64) {
    if many > 0 {
        *COUNTS.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += many;
    }
}

pub(crate) fn counts() -> BTreeMap<&'static str, u64> {
    COUNTS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
