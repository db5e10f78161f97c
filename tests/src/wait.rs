//! Waiting for a state, never for an amount of time.

use std::time::{Duration, Instant};

/// Far more than anything here takes: only a test that fails waits for so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer. `what` is what the test waits for, as its failure shall say it.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        // Only paces the asking; which states are seen does not depend on it.
        std::thread::sleep(Duration::from_millis(5));
    }
}
