//! `Retry`: what a node does between asking and asking again.

use super::network;
use std::time::Duration;
use tokio::time::Instant;

const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How often a node that waits says what for.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Pauses that grow, and now and then a line about what is waited for.
pub(super) struct Retry {
    pause: Duration,
    said: Option<Instant>,
}

impl Retry {
    pub(super) fn new() -> Retry {
        Retry { pause: PAUSE_MIN, said: None }
    }

    /// At first, and then now and then.
    pub(super) fn say(&mut self, asked: &str, what: &str) {
        if self.said.is_none_or(|said| said.elapsed() >= PROGRESS_EVERY) {
            tracing::info!(asked, "waiting for the cluster: {what}");
            self.said = Some(Instant::now());
        }
    }

    pub(super) fn hurry(&mut self) {
        self.pause = PAUSE_MIN;
    }

    pub(super) async fn pause(&mut self) {
        tokio::time::sleep(network::with_jitter(self.pause)).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}
