//! Whether something keeps the system's clock right, as the kernel knows it.
#![expect(unsafe_code, reason = "no maintained crate reads adjtimex; the call is one line that only this file makes")]

use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(super) struct Discipline {
    /// Whether an NTP client has lately said that it is right.
    pub(super) synchronized: bool,
    /// How far it may be off, by what that client said and the time since.
    pub(super) error: Duration,
}

/// `None` where a sandbox forbids the question.
#[cfg(target_os = "linux")]
pub(super) fn discipline() -> Option<Discipline> {
    // SAFETY: `timex` is plain numbers, for which all zeros are values; no mode is set, so nothing is changed.
    let mut timex = unsafe { std::mem::zeroed::<libc::timex>() };
    // SAFETY: the pointer is to a `timex` of our own, which the kernel fills in.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    (state >= 0).then(|| Discipline {
        synchronized: state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0,
        error: Duration::from_micros(u64::try_from(timex.maxerror).unwrap_or(0)),
    })
}

/// Other systems are not asked.
#[cfg(not(target_os = "linux"))]
pub(super) fn discipline() -> Option<Discipline> {
    None
}
