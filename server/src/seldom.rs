//! `Seldom`: keeps what strangers can bring about from filling the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
const LINES_PER_SECOND_MAX: u32 = 10;

/// Lines of one kind; made to be a static beside where they are logged.
#[derive(Debug)]
pub struct Seldom(Mutex<Option<State>>);

#[derive(Debug)]
struct State {
    second: Instant,
    lines: u32,
    left_out: u64,
}

impl Seldom {
    #[allow(clippy::new_without_default, reason = "a default could not make a static")]
    pub const fn new() -> Seldom {
        Seldom(Mutex::new(None))
    }

    /// Whether one more line may be logged, and then how many were left out before it.
    pub fn may_log(&self) -> Option<u64> {
        self.may_log_at(Instant::now())
    }

    fn may_log_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let state = state.get_or_insert(State { second: now, lines: 0, left_out: 0 });
        if now.saturating_duration_since(state.second) >= SECOND {
            (state.second, state.lines) = (now, 0);
        }
        if state.lines == LINES_PER_SECOND_MAX {
            state.left_out += 1;
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_second_and_then_how_many_were_left_out() {
        let (seldom, begin) = (Seldom::new(), Instant::now());
        let logged = (0..100).filter(|_| seldom.may_log_at(begin) == Some(0)).count();
        assert_eq!(logged, 10);
        assert_eq!(seldom.may_log_at(begin + SECOND), Some(90));
        assert_eq!(seldom.may_log_at(begin + SECOND), Some(0));
    }
}
