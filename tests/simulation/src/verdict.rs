//! What was found to be wrong.

use crate::os;
use std::sync::{Mutex, PoisonError};

/// More would say nothing new.
const FINDINGS_MAX: usize = 20;

#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) check: &'static str,
    pub(crate) what: String,
    pub(crate) at_ns: u64,
}

static FINDINGS: Mutex<Vec<Finding>> = Mutex::new(Vec::new());

/// A check has fired.
pub(crate) fn report(check: &'static str, what: &str) {
    os::say(&format!("VIOLATION {check}: {what}"));
    let at_ns = os::now();
    let mut findings = FINDINGS.lock().unwrap_or_else(PoisonError::into_inner);
    if findings.len() < FINDINGS_MAX {
        findings.push(Finding { check, what: what.to_owned(), at_ns });
    }
}

pub(crate) fn findings() -> Vec<Finding> {
    FINDINGS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
